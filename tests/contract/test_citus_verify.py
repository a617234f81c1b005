# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Each check of citus_verify: green on a cluster that is well, red when its thing is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]

TABLES = [
    {"name": "customers", "column": "customer_id", "shard_count": 6},
    {"name": "orders", "column": "customer_id", "colocate_with": "public.customers"},
    {"name": "products", "type": "reference"},
]

ALWAYS = {"coordinator_answers", "nodes_active", "tables_as_declared"}
NEED_DISTRIBUTION = {
    "nodes_reach_each_other",
    "shards_placed",
    "shards_present",
    "colocated_side_by_side",
    "single_shard_query",
    "cross_shard_join",
    "reference_tables_equal",
    "rows_read_back_everywhere",
}


@pytest.fixture
def workload(citus: Any) -> Any:
    """A registered cluster with two colocated tables and a reference table, filled."""
    citus.register_workers()
    for statement in (
        "CREATE TABLE customers (customer_id bigint PRIMARY KEY, name text)",
        "CREATE TABLE orders (customer_id bigint, order_id bigint, amount numeric(12, 2), "
        "PRIMARY KEY (customer_id, order_id))",
        "CREATE TABLE products (product_id bigint PRIMARY KEY, name text)",
        "SELECT create_distributed_table('customers', 'customer_id', shard_count => 6)",
        "SELECT create_distributed_table('orders', 'customer_id', colocate_with => 'customers')",
        "SELECT create_reference_table('products')",
        "INSERT INTO customers SELECT id, '100% of ' || id FROM generate_series(1, 3000) id",
        "INSERT INTO orders SELECT id % 3000 + 1, id, id * 1.25 FROM generate_series(1, 9000) id",
        "INSERT INTO products SELECT id, 'product ' || id FROM generate_series(1, 50) id",
    ):
        citus.sql(citus.coordinator_port, statement)
    return citus


@pytest.fixture
def real(citus_source: Any, request: pytest.FixtureRequest) -> Any:
    """The workload on real Citus, of which a test breaks something."""
    if citus_source.name == "standin":
        pytest.skip("the stand-in distributes nothing that could be broken")
    return request.getfixturevalue("workload")


@pytest.fixture
def verify(run_module: Any) -> Any:
    """Run the module; each check's result by name."""

    def run(cluster: Any, check: bool = False, **options: Any) -> dict[str, dict[str, Any]]:
        answer = run_module(
            "citus_verify", {**cluster.login, "tables": TABLES, **options}, check=check
        )
        assert answer["failed"] is False, answer
        assert answer["changed"] is False
        results = {result["name"]: result for result in answer["results"]}
        assert answer["passed"] == (not failures(results))
        assert answer["standin"] == cluster.is_standin
        return results

    return run


def failures(results: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: item["detail"] for name, item in results.items() if item["state"] == "failed"}


def everything(cluster: Any) -> list[Any]:
    """What a check could leave behind, on every node."""
    return [
        cluster.sql(port, statement)
        for port in (cluster.coordinator_port, *cluster.worker_ports)
        for statement in (
            "SELECT nspname FROM pg_namespace ORDER BY 1",
            "SELECT count(*) FROM pg_class",
            "SELECT * FROM pg_dist_colocation ORDER BY colocationid",
            "SELECT classid, objid FROM pg_dist_object ORDER BY 1, 2",
            "SELECT logicalrelid FROM pg_dist_partition ORDER BY 1",
        )
    ]


def test_a_cluster_that_is_well(workload: Any, verify: Any) -> None:
    before = everything(workload)
    results = verify(workload)
    assert failures(results) == {}
    assert set(results) == ALWAYS | NEED_DISTRIBUTION
    expected = "standin" if workload.is_standin else "ok"
    assert {results[name]["state"] for name in ALWAYS} == {"ok"}
    assert {results[name]["state"] for name in NEED_DISTRIBUTION} == {expected}
    assert all(result["proves"] and result["detail"] for result in results.values())
    assert everything(workload) == before


def test_check_mode_writes_nothing(workload: Any, verify: Any) -> None:
    results = verify(workload, check=True)
    assert failures(results) == {}
    assert "rows_read_back_everywhere" not in results
    assert len(results) == len(ALWAYS | NEED_DISTRIBUTION) - 1


def test_no_workload(workload: Any, verify: Any) -> None:
    results = verify(workload, tables=[])
    assert failures(results) == {}
    assert "tables_as_declared" not in results


def test_a_coordinator_that_does_not_answer(citus: Any, run_module: Any) -> None:
    answer = run_module("citus_verify", {**citus.login, "login_port": 1})
    assert answer["passed"] is False
    assert [result["name"] for result in answer["results"]] == ["coordinator_answers"]
    assert "No connection to PostgreSQL" in answer["results"][0]["detail"]


def test_no_nodes(citus: Any, verify: Any) -> None:
    failed = failures(verify(citus, tables=[]))
    assert "not registered" in failed["nodes_active"]


def test_tables_that_are_not_as_declared(workload: Any, verify: Any) -> None:
    workload.sql(workload.coordinator_port, "CREATE TABLE plain (id bigint)")
    failed = failures(
        verify(
            workload,
            tables=[
                {"name": "customers", "column": "name", "shard_count": 8},
                {"name": "products", "column": "product_id"},
                {"name": "plain", "column": "id"},
                {"name": "nowhere", "type": "reference"},
            ],
        )
    )["tables_as_declared"]
    for fault in (
        "customers has column customer_id, declared is name",
        "customers has shard_count 6, declared is 8",
        "products has type reference, declared is distributed",
        "plain has type plain, declared is distributed",
        "table nowhere: the table does not exist",
    ):
        assert fault in failed


def test_a_table_that_is_not_colocated_as_declared(real: Any, verify: Any) -> None:
    real.sql(real.coordinator_port, "SELECT update_distributed_table_colocation('orders', 'none')")
    failed = failures(verify(real))
    assert set(failed) == {"tables_as_declared", "cross_shard_join"}
    assert "orders has colocate_with none, declared is" in failed["tables_as_declared"]


def test_leaders_that_patroni_sees_otherwise(workload: Any, verify: Any) -> None:
    host = workload.host
    members = [
        {"name": "us-c1", "group": 0, "leader": host},
        {"name": "us-w1", "group": 1, "leader": "us-w1b"},
        {"name": "us-w2", "group": 2, "leader": ""},
        {"name": "us-w9", "group": 9, "leader": host},
    ]
    assert verify(workload, members=members[:1])["primaries_agree"]["state"] == "ok"
    detail = failures(verify(workload, members=members))["primaries_agree"]
    assert "us-w1 says that us-w1b leads group 1" in detail
    assert "us-w2 sees no leader" in detail
    assert "group 9 of us-w9 is not registered" in detail


def test_a_node_that_is_not_active(real: Any, verify: Any) -> None:
    for statement in (
        "DROP TABLE customers, orders, products",  # a node with the only copy cannot be disabled
        f"SELECT citus_disable_node('{real.host}', {real.worker_ports[-1]}, synchronous => true)",
    ):
        real.sql(real.coordinator_port, statement)
    assert "is not active" in failures(verify(real, tables=[]))["nodes_active"]


def test_a_node_that_is_down(real: Any, verify: Any) -> None:
    """The checks that need it fail, each with its own words; the others go on."""
    down = real.worker_ports[0]
    real.stop(down)
    try:
        results = verify(real)
    finally:
        real.start(down)
    failed = failures(results)
    assert f"{real.host}:{down}" in failed["nodes_reach_each_other"]
    assert {"shards_present", "reference_tables_equal", "rows_read_back_everywhere"} <= set(failed)
    assert results["tables_as_declared"]["state"] == "ok"
    assert results["colocated_side_by_side"]["state"] == "ok"
    # What could not be written or removed then is not there afterwards.
    assert failures(verify(real)) == {}


def test_shards_where_none_should_be(real: Any, verify: Any) -> None:
    real.sql(
        real.coordinator_port,
        "SELECT citus_set_node_property(%s, %s, 'shouldhaveshards', false)",
        (real.host, real.worker_ports[0]),
    )
    failed = failures(verify(real))
    assert set(failed) == {"shards_placed"}
    assert "should have no shards" in failed["shards_placed"]
    assert "run citus_rebalance" in failed["shards_placed"]


def test_a_placement_that_is_not_active(real: Any, verify: Any) -> None:
    real.sql(
        real.coordinator_port,
        "UPDATE pg_dist_placement SET shardstate = 4 WHERE shardid = "
        "(SELECT min(shardid) FROM pg_dist_shard WHERE logicalrelid = 'orders'::regclass)",
    )
    assert "is in state 4" in failures(verify(real))["shards_placed"]


def test_a_placement_that_is_missing(real: Any, verify: Any) -> None:
    real.sql(
        real.coordinator_port,
        "DELETE FROM pg_dist_placement WHERE shardid = "
        "(SELECT min(shardid) FROM pg_dist_shard WHERE logicalrelid = 'orders'::regclass)",
    )
    failed = failures(verify(real))
    assert "is nowhere" in failed["shards_placed"]
    assert "the coordinator counts" in failed["shards_present"]
    assert "colocation group" in failed["colocated_side_by_side"]


def test_a_shard_that_a_node_lost(real: Any, verify: Any) -> None:
    (shard,) = real.sql(
        real.coordinator_port,
        "SELECT shard_name, nodeport FROM citus_shards "
        "WHERE table_name = 'orders'::regclass ORDER BY shardid LIMIT 1",
    )
    real.sql(
        shard["nodeport"],
        f"SET citus.enable_manual_changes_to_shards = on; DROP TABLE {shard['shard_name']}",
    )
    failed = failures(verify(real))
    assert f"lacks {shard['shard_name']}" in failed["shards_present"]


def test_colocated_shards_that_are_apart(real: Any, verify: Any) -> None:
    real.sql(
        real.coordinator_port,
        "UPDATE pg_dist_placement SET groupid = groupid % 3 + 1 WHERE shardid = "
        "(SELECT min(shardid) FROM pg_dist_shard WHERE logicalrelid = 'orders'::regclass)",
    )
    assert "are in different groups" in failures(verify(real))["colocated_side_by_side"]


def test_a_row_in_the_wrong_shard(real: Any, verify: Any) -> None:
    """A join that is pushed down does not see it; rows fetched shard by shard do."""
    shards = real.sql(
        real.coordinator_port,
        "SELECT shard_name, nodeport FROM citus_shards "
        "WHERE table_name = 'orders'::regclass ORDER BY shardid LIMIT 2",
    )
    (row,) = real.sql(
        shards[0]["nodeport"],
        f"SELECT customer_id FROM {shards[0]['shard_name']} ORDER BY 1 LIMIT 1",
    )
    real.sql(
        shards[1]["nodeport"],
        "SET citus.enable_manual_changes_to_shards = on; "
        f"INSERT INTO {shards[1]['shard_name']} VALUES (%s, 0, 1)",
        (row["customer_id"],),
    )
    failed = failures(verify(real))
    assert set(failed) == {"cross_shard_join"}
    assert "the shards have" in failed["cross_shard_join"]


def test_a_query_that_takes_more_than_one_task(real: Any, verify: Any) -> None:
    """The distribution column that is declared is not the one that the table has."""
    tables = [{"name": "orders", "column": "order_id"}]
    failed = failures(verify(real, tables=tables))
    assert "makes 6 tasks" in failed["single_shard_query"]


def test_reference_tables_that_differ(real: Any, verify: Any) -> None:
    (shard,) = real.sql(
        real.coordinator_port,
        "SELECT shard_name FROM citus_shards WHERE table_name = 'products'::regclass LIMIT 1",
    )
    real.sql(
        real.worker_ports[1],
        "SET citus.enable_manual_changes_to_shards = on; "
        f"UPDATE {shard['shard_name']} SET name = 'other' WHERE product_id = 7",
    )
    failed = failures(verify(real))
    assert set(failed) == {"reference_tables_equal"}
    assert "the copies of products differ" in failed["reference_tables_equal"]


def test_a_reference_table_without_a_copy(real: Any, verify: Any) -> None:
    real.sql(
        real.coordinator_port,
        "DELETE FROM pg_dist_placement WHERE groupid = 2 AND shardid = "
        "(SELECT shardid FROM pg_dist_shard WHERE logicalrelid = 'products'::regclass)",
    )
    assert "products has no copy on" in failures(verify(real))["reference_tables_equal"]


def test_a_node_that_cannot_be_written_to(real: Any, verify: Any) -> None:
    real.sql(real.worker_ports[2], "ALTER SYSTEM SET default_transaction_read_only = on")
    real.sql(real.worker_ports[2], "SELECT pg_reload_conf()")
    failed = failures(verify(real))
    assert set(failed) == {"rows_read_back_everywhere"}
    assert "read-only" in failed["rows_read_back_everywhere"]


def test_what_a_killed_run_left_is_removed(real: Any, verify: Any) -> None:
    before = everything(real)
    for statement in (
        "CREATE SCHEMA bss_verify_scratch",
        "CREATE TABLE bss_verify_scratch.account (id bigint)",
        "SELECT create_distributed_table('bss_verify_scratch.account', 'id')",
    ):
        real.sql(real.coordinator_port, statement)
    assert failures(verify(real)) == {}
    assert everything(real) == before


def test_what_a_stopped_run_made_is_removed(real: Any) -> None:
    before = everything(real)
    module = subprocess.Popen(
        [sys.executable, "-m", "ansible_collections.bss.platform.plugins.modules.citus_verify"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / ".collections")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert module.stdin is not None
    module.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": real.login}).encode())
    module.stdin.close()
    scratch = "SELECT 1 FROM pg_namespace WHERE nspname = 'bss_verify_scratch'"
    while not real.sql(real.coordinator_port, scratch):
        assert module.poll() is None, "it ended before it could be stopped"
    module.terminate()
    module.wait(timeout=30)
    assert module.stderr is not None
    assert "stopped by signal 15" in module.stderr.read().decode()
    assert everything(real) == before


def test_tables_that_are_empty(real: Any, verify: Any) -> None:
    """Nothing to compare is no failure, and is said."""
    real.sql(real.coordinator_port, "TRUNCATE customers, orders, products")
    results = verify(real)
    assert failures(results) == {}
    assert "0 rows for 0 values" in results["cross_shard_join"]["detail"]
