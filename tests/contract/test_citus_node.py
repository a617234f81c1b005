# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""citus_node and citus_info against four real servers."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

STANDBY_PORT = 5499
ROWS = 5000


class Operator:
    """Somebody who declares the nodes of one cluster."""

    def __init__(self, cluster: Any, run_module: Callable[..., dict[str, Any]]) -> None:
        self.cluster = cluster
        self._run = run_module

    def node(self, number: int, **options: Any) -> dict[str, Any]:
        """The declaration of worker ``number``, which is its group as well."""
        return {
            "name": self.cluster.host,
            "port": self.cluster.worker_ports[number - 1],
            "group": number,
            **options,
        }

    def address(self, number: int) -> str:
        return f"{self.cluster.host}:{self.cluster.worker_ports[number - 1]}"

    def declare(self, *nodes: dict[str, Any], check: bool = False, **args: Any) -> dict[str, Any]:
        """Run citus_node for that set of nodes."""
        arguments = {**self.cluster.login, **({"nodes": list(nodes)} if nodes else {}), **args}
        return self._run("citus_node", arguments, check=check, diff=True)

    def declared(self, *nodes: dict[str, Any], **args: Any) -> dict[str, Any]:
        """The same three times: check, run, run again; the first and the last change nothing."""
        before = self.catalog()
        predicted = self.declare(*nodes, check=True, **args)
        assert not predicted["failed"], predicted
        assert self.catalog() == before
        done = self.declare(*nodes, **args)
        assert not done["failed"], done
        assert (done["changed"], done["plan"]) == (predicted["changed"], predicted["plan"])
        assert done["nodes"] == predicted["nodes"]
        again = self.declare(*nodes, **args)
        assert not again["failed"], again
        assert (again["changed"], again["plan"], again["queries"]) == (False, [], [])
        return done

    def refused(self, *nodes: dict[str, Any], **args: Any) -> str:
        """What the module says when it refuses; nothing may have been changed."""
        before = self.catalog()
        answer = self.declare(*nodes, **args)
        assert answer["failed"], answer
        assert self.catalog() == before
        return str(answer["msg"])

    def sql(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        return self.cluster.sql(self.cluster.coordinator_port, statement, parameters)

    def catalog(self) -> list[Any]:
        """Everything about nodes and placements that a change would show in."""
        return [
            self.sql(
                "SELECT nodeid, groupid, nodename, nodeport, noderole::text, nodecluster, isactive,"
                " hasmetadata, shouldhaveshards FROM pg_dist_node ORDER BY nodeid"
            ),
            self.sql("SELECT shardid, groupid FROM pg_dist_placement ORDER BY shardid, groupid"),
        ]

    def shards_on(self, number: int) -> int:
        """Shards of distributed tables on that worker."""
        return int(
            self.sql(
                "SELECT count(*) FROM pg_dist_placement JOIN pg_dist_shard USING (shardid)"
                " JOIN pg_dist_partition USING (logicalrelid)"
                " WHERE partmethod = 'h' AND groupid = %s",
                number,
            )[0]["count"]
        )

    def create_tables(self) -> None:
        """Two colocated tables of six shards and a reference table, with rows."""
        self.sql("CREATE TABLE customers (id bigint PRIMARY KEY, name text)")
        self.sql(
            "CREATE TABLE orders (id bigint, customer_id bigint, PRIMARY KEY (customer_id, id))"
        )
        self.sql("CREATE TABLE products (id bigint PRIMARY KEY)")
        self.sql("SELECT create_distributed_table('customers', 'id', shard_count => 6)")
        self.sql(
            "SELECT create_distributed_table('orders', 'customer_id', colocate_with => 'customers')"
        )
        self.sql("SELECT create_reference_table('products')")
        self.sql(
            "INSERT INTO customers SELECT n, repeat('x', 100) FROM generate_series(1, %s) n", ROWS
        )
        self.sql("INSERT INTO products SELECT generate_series(1, 10)")

    def assert_rows_are_whole(self) -> None:
        count, total = self.sql("SELECT count(*), sum(id) FROM customers")[0].values()
        assert (count, total) == (ROWS, ROWS * (ROWS + 1) // 2)


@pytest.fixture
def operator(citus: Any, run_module: Any) -> Operator:
    return Operator(citus, run_module)


@pytest.fixture
def cluster_of_two(operator: Operator) -> Operator:
    """Coordinator and workers 1 and 2, with tables."""
    answer = operator.declare(
        operator.node(1), operator.node(2), coordinator_host=operator.cluster.host
    )
    assert not answer["failed"], answer
    operator.create_tables()
    return operator


@pytest.fixture
def distributing(citus: Any) -> None:
    """For tests of what the stand-in cannot do: it has no data on workers and moves at once."""
    if citus.is_standin:
        pytest.skip("the stand-in distributes no data")


# Registration


def test_registers_the_coordinator_and_workers(operator: Operator) -> None:
    done = operator.declared(
        operator.node(1), operator.node(2, shards=False), coordinator_host=operator.cluster.host
    )
    assert done["plan"] == [
        f"make {operator.cluster.host}:{operator.cluster.coordinator_port} the address of the "
        "coordinator",
        f"register {operator.address(1)} as the primary of group 1",
        f"register {operator.address(2)} as the primary of group 2",
        f"place no more shards on {operator.address(2)}",
    ]
    assert done["diff"]["before"] == {}
    assert set(done["diff"]["after"]) == {
        f"{operator.cluster.host}:{operator.cluster.coordinator_port}",
        operator.address(1),
        operator.address(2),
    }
    assert [(node["group"], node["shards"]) for node in done["nodes"]] == [
        (0, False),
        (1, True),
        (2, False),
    ]


def test_the_coordinator_can_be_declared_as_group_0(operator: Operator) -> None:
    coordinator = {
        "name": operator.cluster.host,
        "port": operator.cluster.coordinator_port,
        "group": 0,
        "shards": True,
    }
    done = operator.declared(coordinator)
    assert [(node["group"], node["shards"]) for node in done["nodes"]] == [(0, True)]


def test_a_single_node_takes_the_options_of_the_set(operator: Operator) -> None:
    assert not operator.declare(coordinator_host=operator.cluster.host)["failed"]
    done = operator.declare(name=operator.cluster.host, port=operator.cluster.worker_ports[0])
    assert done["changed"], done
    assert not operator.declare(name=operator.cluster.host, port=operator.cluster.worker_ports[0])[
        "changed"
    ]


def test_shards_are_switched_off_and_on(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    operator.declared(operator.node(2, shards=False))
    undeclared = operator.declare(operator.node(2))
    assert not undeclared["changed"] and undeclared["nodes"][-1]["shards"] is False
    done = operator.declared(operator.node(2, shards=True))
    assert done["plan"] == [f"let shards be placed on {operator.address(2)}"]


def test_a_disabled_node_is_activated(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    operator.declare(operator.node(3))
    operator.sql(
        "SELECT citus_disable_node(%s, %s, true)",
        operator.cluster.host,
        operator.cluster.worker_ports[2],
    )
    done = operator.declared(operator.node(3))
    assert done["plan"] == [f"activate {operator.address(3)}"]


def test_metadata_that_is_not_synced_is_synced(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    operator.sql(
        "SELECT stop_metadata_sync_to_node(%s, %s)",
        operator.cluster.host,
        operator.cluster.worker_ports[1],
    )
    done = operator.declared(operator.node(1), operator.node(2))
    assert done["plan"] == ["sync the metadata to all nodes"]


# Refusals


def test_all_reasons_are_told_at_once_and_nothing_is_changed(operator: Operator) -> None:
    host = operator.cluster.host
    message = operator.refused(
        operator.node(1),
        {"name": "no-such-host.invalid", "group": 2},
        {"name": host, "port": 1, "group": 3},
        {"name": host, "port": operator.cluster.coordinator_port, "group": 4},
    )
    assert "could not translate host name" in message and "no-such-host.invalid:5432" in message
    assert f"cannot talk to {host}:1" in message
    assert "it cannot be its own worker" in message
    assert message.count("To go on:") == 3


def test_a_node_that_is_listed_twice_is_refused(operator: Operator) -> None:
    message = operator.refused(operator.node(1), operator.node(1, group=2))
    assert f"node {operator.address(1)}: a node can be declared only once" in message


def test_two_names_of_one_server_are_refused(operator: Operator) -> None:
    message = operator.refused(operator.node(1), operator.node(2, name="localhost", port=5433))
    assert "leads to that same server" in message


def test_the_server_of_another_cluster_is_refused(operator: Operator) -> None:
    other, its_worker = operator.cluster.worker_ports[:2]
    host = operator.cluster.host
    operator.cluster.sql(other, "SELECT citus_set_coordinator_host(%s, %s)", (host, other))
    operator.cluster.sql(other, "SELECT citus_add_node(%s, %s)", (host, its_worker))
    message = operator.refused(
        operator.node(1), operator.node(2), operator.node(3), coordinator_host=host
    )
    assert message.count(f"belongs to the cluster of coordinator {host}:{other}") == 2


def test_a_server_without_the_extension_is_refused(operator: Operator) -> None:
    operator.cluster.sql(operator.cluster.worker_ports[0], "DROP EXTENSION citus")
    message = operator.refused(operator.node(1))
    assert "does not exist" in message and "extension citus in database bss" in message


def test_a_coordinator_host_that_leads_elsewhere_is_refused(operator: Operator) -> None:
    message = operator.refused(
        {"name": operator.cluster.host, "port": operator.cluster.worker_ports[0], "group": 0}
    )
    assert "has to lead to the coordinator" in message


def test_a_registered_node_keeps_its_group(cluster_of_two: Operator) -> None:
    message = cluster_of_two.refused(cluster_of_two.node(2, group=7))
    assert f"{cluster_of_two.address(2)} is registered as a primary of group 2" in message


def test_nodes_are_declared_on_the_coordinator(cluster_of_two: Operator) -> None:
    port = cluster_of_two.cluster.worker_ports[0]
    answer = cluster_of_two.declare(cluster_of_two.node(1), login_port=port)
    assert answer["failed"] and "is a worker (group 1)" in answer["msg"]


@pytest.mark.parametrize(
    ("login", "said"),
    [
        ({"login_password": "wrong"}, "password authentication failed"),
        ({"login_db": "postgres"}, "has no extension citus"),
        ({"login_port": 1}, "No connection to PostgreSQL"),
    ],
)
def test_a_wrong_login_is_told(operator: Operator, login: dict[str, Any], said: str) -> None:
    answer = operator.declare(operator.node(1), **login)
    assert answer["failed"] and said in answer["msg"]


def test_a_node_that_is_away_stops_changes_only(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    operator.cluster.stop(operator.cluster.worker_ports[1])
    assert not operator.declare(operator.node(1), operator.node(2))["changed"]
    for change in ({"shards": False}, {"state": "drained"}):
        message = operator.refused(operator.node(1, **change))
        assert f"{operator.address(2)} does not answer" in message
    assert f"{operator.address(2)} does not answer" in operator.refused(operator.node(3))


# Moving shards


def test_a_new_worker_gets_its_share(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    done = operator.declared(operator.node(3), rebalance={})
    assert done["rebalance"]["state"] == "finished"
    assert operator.shards_on(3) == 4
    assert operator.sql(
        "SELECT count(*) FROM pg_dist_placement JOIN pg_dist_shard USING (shardid)"
        " WHERE logicalrelid = 'products'::regclass"
    ) == [{"count": 4}]
    operator.assert_rows_are_whole()


def test_reference_tables_are_copied_though_no_shard_moves(operator: Operator) -> None:
    operator.declare(operator.node(1), coordinator_host=operator.cluster.host)
    operator.sql("CREATE TABLE products (id bigint PRIMARY KEY)")
    operator.sql("SELECT create_reference_table('products')")
    done = operator.declared(operator.node(2), rebalance={})
    assert done["plan"][-1] == f"copy the reference tables to {operator.address(2)}"


def test_the_plan_says_how_many_shards_move_where(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    operator.declare(operator.node(3))
    done = operator.declare(rebalance={"strategy": "by_shard_count"})
    assert len(done["plan"]) == 2
    for source in (1, 2):
        way = f"move 2 shards from {operator.address(source)} to {operator.address(3)}"
        assert way in done["plan"][0]
    assert done["diff"]["after"]["shards to move"] == {}
    assert "rebalance_strategy => 'by_shard_count'" in done["queries"][0]


def test_an_unknown_strategy_is_refused(cluster_of_two: Operator) -> None:
    message = cluster_of_two.refused(rebalance={"strategy": "by_luck"})
    assert "by_disk_size" in message and "by_shard_count" in message


def test_drain_then_remove(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    operator.declare(operator.node(3), rebalance={})
    message = operator.refused(operator.node(3, state="absent"))
    assert "the only copy of 4 shards" in message
    assert "drain it first" in message and operator.address(1) in message

    done = operator.declared(operator.node(3, state="drained"))
    assert done["plan"][0] == f"place no more shards on {operator.address(3)}"
    assert done["plan"][1].startswith(f"move 4 shards away from {operator.address(3)} (")
    assert operator.shards_on(3) == 0
    operator.assert_rows_are_whole()

    done = operator.declared(operator.node(3, state="absent"))
    assert done["plan"] == [f"remove {operator.address(3)} (primary of group 3)"]
    assert [node["group"] for node in done["nodes"]] == [0, 1, 2]
    operator.declared(operator.node(3))


def test_a_drain_in_the_foreground(cluster_of_two: Operator) -> None:
    done = cluster_of_two.declare(
        cluster_of_two.node(2, state="drained"), rebalance={"background": False}
    )
    assert not done["failed"], done
    assert done["rebalance"] is None
    assert cluster_of_two.shards_on(2) == 0


def test_the_last_worker_is_neither_drained_nor_removed(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    both = [operator.node(number, state="drained") for number in (1, 2)]
    assert "the rest cannot hold the shards" in operator.refused(*both)
    assert not operator.declare(operator.node(2, state="drained"))["failed"]
    assert not operator.declare(operator.node(2, state="absent"))["failed"]
    assert "the rest cannot hold the shards" in operator.refused(operator.node(1, state="drained"))
    assert "would have no place for its tables" in operator.refused(
        operator.node(1, state="absent")
    )


def test_a_table_without_identity_is_told_before_anything_moves(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    operator.sql("CREATE TABLE log (id bigint)")
    operator.sql("SELECT create_distributed_table('log', 'id', colocate_with => 'customers')")
    drained = operator.node(2, state="drained")
    message = operator.refused(drained)
    assert "shards of log moved" in message and "transfer_mode: block_writes" in message
    done = operator.declare(drained, transfer_mode="block_writes")
    assert not done["failed"], done
    assert operator.shards_on(2) == 0


def test_a_dead_worker_without_shards_is_removed(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    operator.declare(operator.node(3))
    operator.cluster.kill(operator.cluster.worker_ports[2])
    operator.declared(operator.node(3, state="absent"))


# Rebalances that take long


@pytest.fixture
def slow_moves(cluster_of_two: Operator, distributing: None) -> Iterator[Callable[[], None]]:
    """A third worker to move shards to; moves wait until the function is called.

    A session that writes to a shard holds its move up before the metadata changes.
    """
    operator = cluster_of_two
    operator.declare(operator.node(3))
    stop = threading.Event()
    holding = threading.Event()

    def hold() -> None:
        login = operator.cluster.login
        connection = psycopg2.connect(
            host=login["login_host"],
            port=login["login_port"],
            user=login["login_user"],
            password=login["login_password"],
            dbname=login["login_db"],
        )
        with connection.cursor() as cursor:
            cursor.execute("UPDATE customers SET name = name")
            holding.set()
            stop.wait(300)
            connection.rollback()
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert holding.wait(30)

    def release() -> None:
        stop.set()
        holder.join()

    yield release
    release()


def test_a_running_rebalance_is_joined_not_started_twice(
    cluster_of_two: Operator, slow_moves: Callable[[], None]
) -> None:
    operator = cluster_of_two
    started = operator.declare(rebalance={}, timeout=0)
    assert started["changed"] and started["rebalance"]["state"] in ("scheduled", "running")
    job = started["rebalance"]["job"]

    late = operator.declare(rebalance={}, timeout=2)
    assert late["failed"] and f"Rebalance job {job}" in late["msg"]
    assert "steps done" in late["msg"] and "joins it" in late["msg"]

    slow_moves()
    joined = operator.declare(rebalance={})
    assert not joined["failed"], joined
    assert joined["plan"][0].startswith(f"wait for rebalance job {job}, which runs already")
    assert joined["rebalance"]["job"] == job and joined["rebalance"]["state"] == "finished"
    assert not operator.declare(rebalance={})["changed"]
    assert operator.shards_on(3) == 4
    operator.assert_rows_are_whole()


def test_a_rebalance_that_was_stopped_is_told_and_started_anew(
    cluster_of_two: Operator, slow_moves: Callable[[], None]
) -> None:
    operator = cluster_of_two
    answers: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: answers.append(operator.declare(rebalance={})))
    waiting.start()
    _wait_for(lambda: operator.sql("SELECT state::text FROM citus_rebalance_status()"))
    operator.sql("SELECT citus_rebalance_stop()")
    waiting.join()
    assert answers[0]["failed"] and "is cancelled" in answers[0]["msg"]
    slow_moves()
    anew = operator.declare(rebalance={})
    assert not anew["failed"] and anew["rebalance"]["state"] == "finished", anew
    assert operator.shards_on(3) == 4
    assert operator.declare(rebalance={})["rebalance"] is None


def test_a_worker_killed_in_a_rebalance_is_told_and_the_task_converges(
    cluster_of_two: Operator, slow_moves: Callable[[], None]
) -> None:
    operator = cluster_of_two
    answers: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: answers.append(operator.declare(rebalance={})))
    waiting.start()
    _wait_for(
        lambda: operator.sql("SELECT 1 FROM pg_dist_background_task WHERE status = 'running'")
    )
    operator.cluster.kill(operator.cluster.worker_ports[2])
    waiting.join()
    assert answers[0]["failed"]
    assert f"waits for {operator.address(3)}, which does not answer" in answers[0]["msg"]
    assert "it joins the job" in answers[0]["msg"]
    assert f"{operator.address(3)} does not answer" in operator.refused(rebalance={})

    slow_moves()
    operator.cluster.start(operator.cluster.worker_ports[2])
    answer = operator.declare(rebalance={})
    assert not answer["failed"], answer
    assert answer["plan"][0].startswith("wait for rebalance job")
    assert not operator.declare(rebalance={})["changed"]
    assert operator.shards_on(3) == 4
    operator.assert_rows_are_whole()


def test_a_lost_connection_is_told_and_the_task_converges(
    cluster_of_two: Operator, slow_moves: Callable[[], None]
) -> None:
    operator = cluster_of_two
    drained = operator.node(2, state="drained")
    answers: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: answers.append(operator.declare(drained)))
    waiting.start()
    _wait_for(
        lambda: operator.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE starts_with(application_name, 'bss.platform')"
            " AND query = 'SELECT citus_job_wait(' || (SELECT max(job_id)"
            " FROM pg_dist_background_job) || ')'"
        )
    )
    waiting.join()
    assert answers[0]["failed"] and "run the same task again" in answers[0]["msg"]
    slow_moves()
    answer = operator.declare(drained)
    assert not answer["failed"], answer
    assert operator.shards_on(2) == 0
    operator.assert_rows_are_whole()


# Addresses


def test_a_moved_host_gets_its_address_replaced_in_place(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    ids = operator.sql("SELECT nodeid FROM pg_dist_node WHERE groupid = 2")
    done = operator.declared(operator.node(2, name="localhost"), operator.node(3))
    assert done["plan"] == [
        f"replace the address of group 2's primary: {operator.address(2)} -> "
        f"localhost:{operator.cluster.worker_ports[1]}",
        "sync the metadata to all nodes",
        f"register {operator.address(3)} as the primary of group 3",
    ]
    assert operator.sql("SELECT nodeid FROM pg_dist_node WHERE groupid = 2") == ids
    operator.assert_rows_are_whole()


def test_an_address_is_not_replaced_by_another_groups_server(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    message = operator.refused(operator.node(2, port=operator.cluster.worker_ports[2]))
    assert "says that it is of group 0" in message
    assert "its shards are not there" in message


def test_a_moved_host_without_its_group_is_recognised(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    operator.sql(
        "SELECT citus_update_node(nodeid, %s, 1) FROM pg_dist_node WHERE groupid = 2", "localhost"
    )
    nameless = {key: value for key, value in operator.node(2).items() if key != "group"}
    assert "set group: 2, which replaces the address" in operator.refused(nameless)
    operator.declared(operator.node(2))
    operator.assert_rows_are_whole()


# Standbys


@pytest.fixture
def standby(cluster_of_two: Operator) -> Iterator[dict[str, Any]]:
    """The declaration of a physical standby of worker 1."""
    operator = cluster_of_two
    cluster = operator.cluster
    script = (
        f"pg_basebackup -h 127.0.0.1 -p {cluster.worker_ports[0]} -U postgres -c fast -R"
        f" -D /instances/{STANDBY_PORT}"
    )
    subprocess.run(["docker", "exec", cluster.container, "bash", "-c", script], check=True)
    cluster.start(STANDBY_PORT)
    yield operator.node(1, port=STANDBY_PORT, role="secondary", cluster="reports")
    cluster.kill(STANDBY_PORT)
    subprocess.run(
        ["docker", "exec", cluster.container, "rm", "-rf", f"/instances/{STANDBY_PORT}"], check=True
    )


def test_a_standby_is_registered_and_removed(
    cluster_of_two: Operator, standby: dict[str, Any]
) -> None:
    operator = cluster_of_two
    address = f"{operator.cluster.host}:{STANDBY_PORT}"
    assert "is a standby" in operator.refused(
        {**standby, "role": "primary", "group": 5, "cluster": "default"}
    )
    assert "a physical standby" in operator.refused({**standby, "group": 2})
    assert "a physical standby" in operator.refused(operator.node(3, group=1, role="secondary"))
    done = operator.declared(operator.node(1), standby)
    assert done["plan"] == [f"register {address} as a secondary of group 1 in cluster reports"]
    assert "cannot change the cluster" in operator.refused({**standby, "cluster": "other"})
    done = operator.declared({**standby, "state": "absent"})
    assert done["plan"] == [f"remove {address} (secondary of group 1)"]


def test_a_promoted_standby_changes_places_with_its_dead_primary(
    cluster_of_two: Operator, standby: dict[str, Any]
) -> None:
    operator = cluster_of_two
    assert not operator.declare(standby)["failed"]
    promoted = operator.node(1, port=STANDBY_PORT)
    assert "promote it" in operator.refused(promoted)
    operator.cluster.kill(operator.cluster.worker_ports[0])
    operator.cluster.sql(STANDBY_PORT, "SELECT pg_promote(true, 30)")
    done = operator.declare(promoted)
    assert not done["failed"], done
    assert done["plan"][0] == (
        f"make {operator.cluster.host}:{STANDBY_PORT} the primary of group 1 "
        f"and {operator.address(1)} its secondary"
    )
    assert not operator.declare(promoted)["changed"]
    operator.assert_rows_are_whole()


# Groups that Patroni runs


def test_the_member_that_is_primary_is_registered(
    cluster_of_two: Operator, standby: dict[str, Any]
) -> None:
    operator = cluster_of_two
    group = operator.node(3, members=["no-such-host.invalid", operator.cluster.host])
    done = operator.declared(group)
    assert done["plan"] == [f"register {operator.address(3)} as the primary of group 3"]
    nobody = {**group, "group": 4, "name": "a.invalid", "members": ["a.invalid", "b.invalid"]}
    assert "exactly one of them has to be the primary" in operator.refused(nobody)


def test_a_failover_by_patroni_is_no_difference(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    group = operator.node(2, members=[operator.cluster.host, "localhost"])
    assert not operator.declare(group)["changed"]
    operator.sql(
        "SELECT citus_update_node(nodeid, 'localhost', nodeport) FROM pg_dist_node"
        " WHERE groupid = %s",
        2,
    )
    _wait_for(
        lambda: operator.sql("SELECT 1 WHERE (SELECT bool_and(metadatasynced) FROM pg_dist_node)")
    )
    assert not operator.declare(group)["changed"]
    operator.declared({**group, "shards": False})
    others = operator.node(2, name="us-w2", members=["us-w2", "us-w2b"])
    assert "addresses of Patroni's groups are kept by Patroni" in operator.refused(others)


def test_a_group_is_removed_once_its_patroni_is_gone(cluster_of_two: Operator) -> None:
    operator = cluster_of_two
    operator.declare(operator.node(3))
    group = operator.node(3, members=[operator.cluster.host], state="absent")
    assert "stop Patroni on all members of group 3" in operator.refused(group)
    operator.cluster.stop(operator.cluster.worker_ports[2])
    operator.declared(group)


# citus_info


def test_info_returns_what_there_is(cluster_of_two: Operator, run_module: Any) -> None:
    operator = cluster_of_two
    info = run_module("citus_info", operator.cluster.login)
    assert not info["failed"], info
    assert info["version"].startswith("13.")
    assert [node["group"] for node in info["nodes"]] == [0, 1, 2]
    tables = {table["name"]: table for table in info["tables"]}
    assert tables["orders"]["column"] == "customer_id"
    assert tables["orders"]["colocation_id"] == tables["customers"]["colocation_id"]
    assert [(t, tables[t]["type"], tables[t]["shard_count"]) for t in sorted(tables)] == [
        ("customers", "distributed", 6),
        ("orders", "distributed", 6),
        ("products", "reference", 1),
    ]
    assert [held["count"] for held in info["shards"]] == [1, 7, 7]
    assert sum(held["bytes"] for held in info["shards"]) == sum(
        table["bytes"] for table in info["tables"]
    )
    assert [group["tables"] for group in info["colocation_groups"]] == [
        ["customers", "orders"],
        ["products"],
    ]
    assert info["rebalance"] is None


def test_info_without_a_node_knows_its_sizes_not(
    cluster_of_two: Operator, run_module: Any, distributing: None
) -> None:
    operator = cluster_of_two
    operator.cluster.kill(operator.cluster.worker_ports[1])
    info = run_module("citus_info", operator.cluster.login)
    assert not info["failed"], info
    assert [held["bytes"] is None for held in info["shards"]] == [False, False, True]
    quick = run_module("citus_info", {**operator.cluster.login, "sizes": False})
    assert {held["bytes"] for held in quick["shards"]} == {None}


def test_info_warns_of_the_standin(operator: Operator, run_module: Any) -> None:
    info = run_module("citus_info", operator.cluster.login)
    assert info["standin"] is operator.cluster.is_standin
    assert any("stand-in" in str(text) for text in info.get("warnings", [])) is info["standin"]


def _wait_for(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Poll from outside, as nobody tells a test of what happens inside a server."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
