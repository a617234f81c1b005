# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What modules and playbooks rely on in Citus; holds for the real one and for the stand-in.

Every expectation was read off a real Citus. A difference here means that the stand-in has to be
mended, or that Citus has changed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psycopg2
import pytest

EXTENSION_VERSION = "13.2-1"

SIGNATURES = """
SELECT DISTINCT p.proname || '(' || pg_get_function_arguments(p.oid) || ') -> '
       || coalesce(pg_get_function_result(p.oid), '') AS signature
  FROM pg_proc p WHERE p.proname = ANY (%s) AND p.pronamespace = 'pg_catalog'::regnamespace
"""

COLUMNS = """
SELECT c.relname AS relation,
       c.relnamespace::regnamespace || ': '
       || string_agg(attname || ' ' || format_type(atttypid, atttypmod)
                     || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END, ', ' ORDER BY attnum)
         AS columns
  FROM pg_class c JOIN pg_attribute ON attrelid = c.oid
 WHERE c.relname = ANY (%s)
   AND c.relnamespace IN ('pg_catalog'::regnamespace, 'public'::regnamespace)
   AND attnum > 0 AND NOT attisdropped
 GROUP BY 1, c.relnamespace
"""

NODE = "nodename text, nodeport integer"
ADDED = (
    "groupid integer DEFAULT '-1'::integer, noderole noderole DEFAULT 'primary'::noderole, "
    "nodecluster name DEFAULT 'default'::name"
)
DISTRIBUTED = (
    "table_name regclass, distribution_column text, "
    "distribution_type citus.distribution_type DEFAULT 'hash'::citus.distribution_type, "
    "colocate_with text DEFAULT 'default'::text, shard_count integer DEFAULT NULL::integer"
)
MODE = "citus.shard_transfer_mode DEFAULT 'auto'::citus.shard_transfer_mode"

EXPECTED_SIGNATURES = {
    f"citus_activate_node({NODE}) -> integer",
    f"citus_add_inactive_node({NODE}, {ADDED}) -> integer",
    f"citus_add_node({NODE}, {ADDED}) -> integer",
    f"citus_add_secondary_node({NODE}, primaryname text, primaryport integer, "
    "nodecluster name DEFAULT 'default'::name) -> integer",
    f"citus_disable_node({NODE}, synchronous boolean DEFAULT false) -> void",
    f"citus_drain_node({NODE}, shard_transfer_mode {MODE}, "
    "rebalance_strategy name DEFAULT NULL::name) -> void",
    f"citus_remove_node({NODE}) -> void",
    f"citus_set_node_property({NODE}, property text, value boolean) -> void",
    "citus_set_coordinator_host(host text, "
    "port integer DEFAULT (current_setting('port'::text))::integer, "
    "node_role noderole DEFAULT 'primary'::noderole, "
    "node_cluster name DEFAULT 'default'::name) -> void",
    "citus_update_node(node_id integer, new_node_name text, new_node_port integer, "
    "force boolean DEFAULT false, lock_cooldown integer DEFAULT 10000) -> void",
    f"create_distributed_table({DISTRIBUTED}) -> void",
    f"create_distributed_table_concurrently({DISTRIBUTED}) -> void",
    "create_reference_table(table_name regclass) -> void",
    "citus_add_local_table_to_metadata(table_name regclass, "
    "cascade_via_foreign_keys boolean DEFAULT false) -> void",
    "undistribute_table(table_name regclass, "
    "cascade_via_foreign_keys boolean DEFAULT false) -> void",
    "alter_distributed_table(table_name regclass, distribution_column text DEFAULT NULL::text, "
    "shard_count integer DEFAULT NULL::integer, colocate_with text DEFAULT NULL::text, "
    "cascade_to_colocated boolean DEFAULT NULL::boolean) -> void",
    "update_distributed_table_colocation(table_name regclass, colocate_with text) -> void",
    "get_rebalance_table_shards_plan(relation regclass DEFAULT NULL::regclass, "
    "threshold real DEFAULT NULL::real, max_shard_moves integer DEFAULT 1000000, "
    "excluded_shard_list bigint[] DEFAULT '{}'::bigint[], drain_only boolean DEFAULT false, "
    "rebalance_strategy name DEFAULT NULL::name, improvement_threshold real DEFAULT NULL::real) "
    "-> TABLE(table_name regclass, shardid bigint, shard_size bigint, sourcename text, "
    "sourceport integer, targetname text, targetport integer)",
    "citus_rebalance_start(rebalance_strategy name DEFAULT NULL::name, "
    f"drain_only boolean DEFAULT false, shard_transfer_mode {MODE}, "
    "parallel_transfer_reference_tables boolean DEFAULT false, "
    "parallel_transfer_colocated_shards boolean DEFAULT false) -> bigint",
    "citus_job_wait(jobid bigint, "
    "desired_status citus_job_status DEFAULT NULL::citus_job_status) -> void",
    "citus_rebalance_stop() -> void",
    f"replicate_reference_tables(shard_transfer_mode {MODE}) -> void",
    "citus_check_cluster_node_health(OUT from_nodename text, OUT from_nodeport integer, "
    "OUT to_nodename text, OUT to_nodeport integer, OUT result boolean) -> SETOF record",
    "citus_check_connection_to_node(nodename text, nodeport integer DEFAULT 5432) -> boolean",
    "master_run_on_worker(worker_name text[], port integer[], command text[], parallel boolean, "
    "OUT node_name text, OUT node_port integer, OUT success boolean, OUT result text) "
    "-> SETOF record",
    "run_command_on_all_nodes(command text, parallel boolean DEFAULT true, "
    "give_warning_for_connection_errors boolean DEFAULT false, OUT nodeid integer, "
    "OUT success boolean, OUT result text) -> SETOF record",
    "run_command_on_shards(table_name regclass, command text, parallel boolean DEFAULT true, "
    "OUT shardid bigint, OUT success boolean, OUT result text) -> SETOF record",
    "start_metadata_sync_to_all_nodes() -> boolean",
    "recover_prepared_transactions() -> integer",
    "shard_name(object_name regclass, shard_id bigint, "
    "skip_qualify_public boolean DEFAULT true) -> text",
}

EXPECTED_COLUMNS = {
    "pg_dist_node": "nodeid integer NOT NULL, groupid integer NOT NULL, nodename text NOT NULL, "
    "nodeport integer NOT NULL, noderack text NOT NULL, hasmetadata boolean NOT NULL, "
    "isactive boolean NOT NULL, noderole noderole NOT NULL, nodecluster name NOT NULL, "
    "metadatasynced boolean, shouldhaveshards boolean NOT NULL, nodeisclone boolean NOT NULL, "
    "nodeprimarynodeid integer NOT NULL",
    "pg_dist_partition": 'logicalrelid regclass NOT NULL, partmethod "char" NOT NULL, '
    'partkey text, colocationid integer NOT NULL, repmodel "char" NOT NULL, '
    "autoconverted boolean",
    "pg_dist_shard": 'logicalrelid regclass NOT NULL, shardid bigint NOT NULL, shardstorage "char" '
    "NOT NULL, shardminvalue text, shardmaxvalue text",
    "pg_dist_placement": "placementid bigint NOT NULL, shardid bigint NOT NULL, "
    "shardstate integer NOT NULL, shardlength bigint NOT NULL, groupid integer NOT NULL",
    "pg_dist_colocation": "colocationid integer NOT NULL, shardcount integer NOT NULL, "
    "replicationfactor integer NOT NULL, distributioncolumntype oid NOT NULL, "
    "distributioncolumncollation oid NOT NULL",
    "pg_dist_authinfo": "nodeid integer NOT NULL, rolename name NOT NULL, authinfo text NOT NULL",
    "pg_dist_local_group": "groupid integer NOT NULL",
    "pg_dist_background_job": "job_id bigint NOT NULL, state citus_job_status NOT NULL, "
    "job_type name NOT NULL, description text NOT NULL, started_at timestamp with time zone, "
    "finished_at timestamp with time zone",
    "pg_dist_background_task": "job_id bigint NOT NULL, task_id bigint NOT NULL, "
    "owner regrole NOT NULL, pid integer, status citus_task_status NOT NULL, "
    "command text NOT NULL, retry_count integer, not_before timestamp with time zone, "
    "message text NOT NULL, nodes_involved integer[]",
    "citus_tables": "table_name regclass, citus_table_type text, distribution_column text, "
    "colocation_id integer, table_size text, shard_count bigint, table_owner name, "
    "access_method name",
    "citus_shards": "table_name regclass, shardid bigint, shard_name text, "
    "citus_table_type text, colocation_id integer, nodename text, nodeport integer, "
    "shard_size bigint",
}
IN_PUBLIC = {"citus_tables"}


class Coordinator:
    """Statements on the coordinator, and how they fail."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.host = cluster.host

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        port = self.cluster.coordinator_port
        return [tuple(row.values()) for row in self.cluster.sql(port, statement, parameters)]

    def refuses(
        self, statement: str, sqlstate: str, text: str, detail: str = "", hint: str = ""
    ) -> None:
        """The statement fails with that SQLSTATE and with exactly these texts."""
        with pytest.raises(psycopg2.Error) as refusal:
            self.rows(statement.format(host=self.host))
        diagnostics = refusal.value.diag
        assert (
            refusal.value.pgcode,
            diagnostics.message_primary,
            diagnostics.message_detail or "",
            diagnostics.message_hint or "",
        ) == (sqlstate, text.format(host=self.host), detail, hint.format(host=self.host))


@pytest.fixture
def alone(citus: Any) -> Coordinator:
    """A coordinator without nodes."""
    return Coordinator(citus)


@pytest.fixture
def coordinator(citus: Any) -> Coordinator:
    """A coordinator (node and group 1 and 0) with three workers (2 to 4; 1 to 3)."""
    citus.register_workers()
    return Coordinator(citus)


def test_the_same_extension(alone: Coordinator) -> None:
    assert alone.rows("SELECT extversion FROM pg_extension WHERE extname = 'citus'") == [
        (EXTENSION_VERSION,)
    ]
    version = alone.rows("SELECT citus_version()")[0][0]
    assert version.startswith("Citus 13.2.")
    assert ("stand-in" in version) is alone.cluster.is_standin


def test_the_same_signatures(alone: Coordinator) -> None:
    names = sorted({signature.partition("(")[0] for signature in EXPECTED_SIGNATURES})
    found = {signature for (signature,) in alone.rows(SIGNATURES, (names,))}
    assert found == EXPECTED_SIGNATURES


def test_the_same_columns(alone: Coordinator) -> None:
    found = dict(alone.rows(COLUMNS, (sorted(EXPECTED_COLUMNS),)))
    assert found == {
        relation: f"{'public' if relation in IN_PUBLIC else 'pg_catalog'}: {columns}"
        for relation, columns in EXPECTED_COLUMNS.items()
    }


def test_only_superusers_change_nodes(coordinator: Coordinator) -> None:
    coordinator.rows("CREATE ROLE app")
    for call in ("citus_add_node('x', 1)", "citus_remove_node('x', 1)", "citus_drain_node('x', 1)"):
        coordinator.refuses(
            f"SET ROLE app; SELECT {call}",
            "42501",
            f"permission denied for function {call.partition('(')[0]}",
        )
    coordinator.refuses(
        "SET ROLE app; SELECT * FROM pg_dist_authinfo",
        "42501",
        "permission denied for table pg_dist_authinfo",
    )


# Nodes


def test_what_patroni_does_at_bootstrap_and_failover(alone: Coordinator) -> None:
    host = alone.host
    alone.rows("INSERT INTO pg_dist_authinfo VALUES (0, current_user, 'password=contract')")
    alone.rows("SELECT citus_set_coordinator_host(%s, 5432, 'primary', 'default')", (host,))
    added = "SELECT citus_add_node(%s, %s, %s, 'primary', 'default')"
    assert alone.rows(added, (host, 5433, 1)) == [(2,)]
    assert alone.rows(added, (host, 5433, 1)) == [(2,)]
    secondary = "SELECT citus_add_node('stands-by', 5432, 1, 'secondary', 'default')"
    assert alone.rows(secondary) == [(3,)]
    alone.refuses(
        "SELECT citus_update_node(2, 'stands-by', 5432, true, 1000)",
        "55000",
        "there is already another node with the specified hostname and port",
    )
    alone.rows("SELECT citus_remove_node('stands-by', 5432)")
    alone.rows("SELECT citus_update_node(2, %s, 5433, true, 1000)", (host + "-demoted",))
    alone.rows("SELECT citus_update_node(2, %s, 5434, true, 1000)", (host,))
    columns = "nodeid, groupid, nodename, nodeport, noderole, isactive, shouldhaveshards"
    assert alone.rows(f"SELECT {columns} FROM pg_dist_node ORDER BY nodeid") == [
        (1, 0, host, 5432, "primary", True, False),
        (2, 1, host, 5434, "primary", True, True),
    ]


def test_workers_learn_of_the_cluster(coordinator: Coordinator) -> None:
    nodes = "SELECT nodeid, groupid, nodename, nodeport FROM pg_dist_node ORDER BY nodeid"
    for group, port in enumerate(coordinator.cluster.worker_ports, start=1):
        answer = coordinator.cluster.sql(port, "SELECT groupid FROM pg_dist_local_group")
        assert answer == [{"groupid": group}]
        answer = coordinator.cluster.sql(port, nodes)
        assert [tuple(row.values()) for row in answer] == coordinator.rows(nodes)
        with pytest.raises(psycopg2.Error, match="operation is not allowed on this node"):
            coordinator.cluster.sql(port, "SELECT citus_add_node('x', 1)")


def test_nodes_that_cannot_be_added(coordinator: Coordinator) -> None:
    answer = "failed with the following error:"
    coordinator.refuses(
        "SELECT citus_add_node('{host}', 5999)",
        "08006",
        "connection to the remote node postgres@{host}:5999 "
        f"{answer} Connection refused\n\tIs the server running on that host and accepting "
        "TCP/IP connections?",
    )
    coordinator.refuses(
        "SELECT citus_add_node('no-such-host.invalid', 5432)",
        "08006",
        f"connection to the remote node postgres@no-such-host.invalid:5432 {answer} could not "
        'translate host name "no-such-host.invalid" to address: Name or service not known',
    )
    coordinator.refuses(
        "SELECT citus_add_node('localhost', 5433)",  # a worker already, by its other name
        "40P01",
        "canceling the transaction since it was involved in a distributed deadlock",
    )
    coordinator.refuses(
        "SELECT citus_add_node('other', 5433, groupid => 1)",
        "XX000",
        "group 1 already has a primary node",
    )
    coordinator.refuses(
        "SELECT citus_add_secondary_node('b', 1, 'nobody', 1)",
        "XX000",
        'node at "nobody:1" does not exist',
    )


def test_a_wrong_password_between_nodes(alone: Coordinator) -> None:
    alone.rows("SELECT citus_set_coordinator_host(%s, 5432)", (alone.host,))
    alone.rows("INSERT INTO pg_dist_authinfo VALUES (0, current_user, 'password=wrong')")
    with pytest.raises(psycopg2.Error, match="password authentication failed"):
        alone.rows("SELECT citus_add_node(%s, 5433)", (alone.host,))


def test_a_node_with_shards_is_not_removed(coordinator: Coordinator) -> None:
    coordinator.rows("CREATE TABLE t (id int PRIMARY KEY)")
    coordinator.rows("SELECT create_distributed_table('t', 'id', shard_count => 6)")
    coordinator.refuses(
        "SELECT citus_remove_node('{host}', 5434)",
        "XX000",
        "cannot remove or disable the node {host}:5434 because because it contains the only shard "
        "placement for shard 102009",
        "One of the table(s) that prevents the operation complete successfully is public.t",
        "To proceed, either drop the tables or use undistribute_table() function to convert them "
        "to local tables",
    )


def test_a_lost_worker_stops_changes_of_the_metadata(coordinator: Coordinator) -> None:
    coordinator.rows("CREATE TABLE t (id int)")
    coordinator.cluster.kill(5434)
    for change in (
        "create_distributed_table('t', 'id')",
        "create_reference_table('t')",
        "citus_set_node_property('{host}', 5433, 'shouldhaveshards', false)",
        "citus_remove_node('{host}', 5435)",
    ):
        coordinator.refuses(
            f"SELECT {change}",
            "08006",
            "connection to the remote node postgres@{host}:5434 failed with the following error: "
            "Connection refused\n\tIs the server running on that host and accepting TCP/IP "
            "connections?",
        )
    assert coordinator.rows("SELECT * FROM run_command_on_all_nodes('SELECT 1')") == [
        (1, True, "1"),
        (2, True, "1"),
        (3, False, f"failed to connect to {coordinator.host}:5434"),
        (4, True, "1"),
    ]
    health = coordinator.rows(
        "SELECT from_nodeport, to_nodeport FROM citus_check_cluster_node_health()"
        " WHERE result IS NOT TRUE ORDER BY 1, 2"
    )
    assert health == [
        (5432, 5434),
        (5433, 5434),
        *((5434, port) for port in (5432, 5433, 5434, 5435)),
        (5435, 5434),
    ]


# Tables


def test_shards_lie_where_citus_puts_them(coordinator: Coordinator) -> None:
    coordinator.rows("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int)")
    coordinator.rows("CREATE TABLE r (id int PRIMARY KEY)")
    coordinator.rows("SELECT create_distributed_table('t', 'id', shard_count => 6)")
    coordinator.rows("SELECT create_distributed_table('u', 'id', colocate_with => 't')")
    coordinator.rows("SELECT create_reference_table('r')")
    shards = coordinator.rows(
        "SELECT shardid, shardminvalue, shardmaxvalue, groupid"
        " FROM pg_dist_shard JOIN pg_dist_placement USING (shardid)"
        " WHERE logicalrelid = 't'::regclass ORDER BY shardid"
    )
    assert shards == [
        (102008, "-2147483648", "-1431655767", 1),
        (102009, "-1431655766", "-715827885", 2),
        (102010, "-715827884", "-3", 3),
        (102011, "-2", "715827879", 1),
        (102012, "715827880", "1431655761", 2),
        (102013, "1431655762", "2147483647", 3),
    ]
    tables = coordinator.rows(
        "SELECT table_name::text, citus_table_type, distribution_column, colocation_id, shard_count"
        " FROM citus_tables ORDER BY 1"
    )
    assert tables == [
        ("r", "reference", "<none>", 2, 1),
        ("t", "distributed", "id", 1, 6),
        ("u", "distributed", "id", 1, 6),
    ]
    copies = "SELECT nodeport FROM citus_shards WHERE table_name = 'r'::regclass ORDER BY 1"
    assert coordinator.rows(copies) == [(5432,), (5433,), (5434,), (5435,)]


def test_values_belong_to_the_shards_of_citus(coordinator: Coordinator) -> None:
    coordinator.rows("CREATE TABLE t (id int PRIMARY KEY)")
    coordinator.rows("INSERT INTO t SELECT generate_series(1, 1000)")
    coordinator.rows("SELECT create_distributed_table('t', 'id', shard_count => 6)")
    shards = "SELECT get_shard_id_for_distribution_column('t', n) FROM generate_series(1, 5) n"
    assert coordinator.rows(shards) == [(102008,), (102012,), (102010,), (102009,), (102009,)]
    counts = (
        "SELECT result FROM run_command_on_shards('t', 'SELECT count(*) FROM %s') ORDER BY shardid"
    )
    assert [count for (count,) in coordinator.rows(counts)] == [
        *("163", "163", "184", "160", "146", "184")
    ]
    assert coordinator.rows("SELECT worker_hash('abc'::text)") == [(-785388649,)]
    assert coordinator.rows("SELECT worker_hash(1)") == [(-1905060026,)]


def test_tables_that_cannot_be_distributed(coordinator: Coordinator) -> None:
    unique = (
        "Distributed relations cannot have UNIQUE, EXCLUDE, or PRIMARY KEY constraints that do not "
        "include the partition column (with an equality operator if EXCLUDE)."
    )
    coordinator.rows("CREATE TABLE t (id int, other bigint, name text UNIQUE, data json)")
    coordinator.refuses(
        "SELECT create_distributed_table('t', 'nope')",
        "42703",
        'column "nope" of relation "t" does not exist',
    )
    coordinator.refuses(
        "SELECT create_distributed_table('t', 'data')",
        "42704",
        "data type json has no default operator class for specified partition method",
        "Partition column types must have a default operator class defined.",
    )
    coordinator.refuses(
        "SELECT create_distributed_table('t', 'id')",
        "0A000",
        'cannot create constraint on "t"',
        unique,
    )
    coordinator.rows("ALTER TABLE t DROP CONSTRAINT t_name_key")
    coordinator.rows("SELECT create_distributed_table('t', 'id')")
    coordinator.refuses(
        "SELECT create_distributed_table('t', 'id')", "42P16", 'table "t" is already distributed'
    )
    coordinator.refuses(
        "ALTER TABLE t ADD UNIQUE (name)", "0A000", 'cannot create constraint on "t"', unique
    )
    coordinator.refuses(
        "CREATE UNIQUE INDEX ON t (name)",
        "0A000",
        "creating unique indexes on non-partition columns is currently unsupported",
    )
    coordinator.rows("CREATE TABLE u (id bigint)")
    coordinator.refuses(
        "SELECT create_distributed_table('u', 'id', colocate_with => 't')",
        "XX000",
        "cannot colocate tables t and u",
        "Distribution column types don't match for t and u.",
    )
    coordinator.refuses(
        "SELECT create_distributed_table('u', 'id', shard_count => 0)",
        "XX000",
        '0 is outside the valid range for parameter "shard_count" (1 .. 64000)',
    )


def test_foreign_keys_that_cannot_be_kept(coordinator: Coordinator) -> None:
    coordinator.rows("CREATE TABLE customers (id bigint PRIMARY KEY)")
    coordinator.rows("CREATE TABLE orders (customer bigint REFERENCES customers, number int)")
    coordinator.refuses(
        "SELECT create_distributed_table('orders', 'customer')",
        "42P16",
        'referenced table "customers" must be a distributed table or a reference table',
        "To enforce foreign keys, the referencing and referenced rows need to be stored on the "
        "same node.",
        "You could use SELECT create_reference_table('customers') to replicate the referenced "
        "table to all nodes or consider dropping the foreign key",
    )
    coordinator.rows("SELECT create_distributed_table('customers', 'id')")
    coordinator.refuses(
        "SELECT create_distributed_table('orders', 'customer', colocate_with => 'none')",
        "0A000",
        "cannot create foreign key constraint since relations are not colocated or not "
        "referencing a reference table",
        "A distributed table can only have foreign keys if it is referencing another colocated "
        "hash distributed table or a reference table",
    )
    coordinator.rows("SELECT create_distributed_table('orders', 'customer')")
    coordinator.refuses(
        "SELECT undistribute_table('customers')",
        "XX000",
        "cannot complete operation because table customers is referenced by a foreign key",
        hint="Use cascade option to undistribute all the relations involved in a foreign key "
        "relationship with public.customers by executing SELECT "
        "undistribute_table($$public.customers$$, cascade_via_foreign_keys=>true)",
    )
    coordinator.rows("SELECT undistribute_table('customers', cascade_via_foreign_keys => true)")
    assert coordinator.rows("SELECT count(*) FROM pg_dist_partition") == [(0,)]
    assert coordinator.rows("SELECT count(*) FROM pg_dist_colocation") == [(0,)]


def test_a_dropped_table_leaves_nothing(coordinator: Coordinator) -> None:
    coordinator.rows("CREATE SCHEMA s; CREATE TABLE s.t (id int)")
    coordinator.rows("SELECT create_distributed_table('s.t', 'id')")
    coordinator.rows("DROP SCHEMA s CASCADE")
    for catalog in ("partition", "shard", "placement", "colocation"):
        assert coordinator.rows(f"SELECT count(*) FROM pg_dist_{catalog}") == [(0,)]


# Shards on the move


def placements(coordinator: Coordinator) -> dict[int, int]:
    """How many shards each group has."""
    return dict(coordinator.rows("SELECT groupid, count(*)::int FROM pg_dist_placement GROUP BY 1"))


@pytest.fixture
def unbalanced(coordinator: Coordinator) -> Coordinator:
    """Six shards on two of the workers, the third has just been allowed to have some."""
    coordinator.rows("CREATE TABLE t (id int PRIMARY KEY)")
    third = "SELECT citus_set_node_property(%s, 5435, 'shouldhaveshards', %s)"
    coordinator.rows(third, (coordinator.host, False))
    coordinator.rows("SELECT create_distributed_table('t', 'id', shard_count => 6)")
    coordinator.rows(third, (coordinator.host, True))
    assert placements(coordinator) == {1: 3, 2: 3}
    return coordinator


def test_the_plan_of_a_rebalance(unbalanced: Coordinator) -> None:
    plan = (
        "SELECT table_name::text, shardid, sourceport, targetport"
        " FROM get_rebalance_table_shards_plan({})"
    )
    moves = [("t", 102009, 5434, 5435), ("t", 102008, 5433, 5435)]
    assert unbalanced.rows(plan.format("")) == moves
    by_count = "rebalance_strategy => 'by_shard_count'"
    assert unbalanced.rows(plan.format(by_count)) == moves
    unbalanced.refuses(
        plan.format("rebalance_strategy => 'nope'"),
        "XX000",
        "could not find rebalance strategy with name nope",
    )


def test_a_rebalance_as_a_job(unbalanced: Coordinator) -> None:
    assert unbalanced.rows(
        "SELECT citus_rebalance_start(shard_transfer_mode => 'block_writes')"
    ) == [(1,)]
    steps = "SELECT command, nodes_involved FROM pg_dist_background_task ORDER BY task_id"
    assert unbalanced.rows(steps) == [
        ("SELECT pg_catalog.citus_move_shard_placement(102009,3,4,'block_writes')", [3, 4]),
        ("SELECT pg_catalog.citus_move_shard_placement(102008,2,4,'block_writes')", [2, 4]),
    ]
    unbalanced.rows("SELECT citus_job_wait(1)")
    assert unbalanced.rows("SELECT state, job_type FROM citus_rebalance_status()") == [
        ("finished", "rebalance")
    ]
    assert placements(unbalanced) == {1: 2, 2: 2, 3: 2}
    assert unbalanced.rows("SELECT citus_rebalance_start()") == [(None,)]


def test_a_job_goes_on_when_nobody_looks(unbalanced: Coordinator) -> None:
    unbalanced.rows("SELECT citus_rebalance_start(shard_transfer_mode => 'block_writes')")
    deadline = time.monotonic() + 60
    while unbalanced.rows("SELECT state FROM pg_dist_background_job") != [("finished",)]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert placements(unbalanced) == {1: 2, 2: 2, 3: 2}


def test_one_rebalance_at_a_time(unbalanced: Coordinator) -> None:
    start = "SELECT citus_rebalance_start(shard_transfer_mode => 'block_writes')"
    unbalanced.rows(start)
    unbalanced.refuses(
        start,
        "XX000",
        "A rebalance is already running as job 1",
        "A rebalance was already scheduled as background job",
        "To monitor progress, run: SELECT * FROM citus_rebalance_status();",
    )
    unbalanced.rows("SELECT citus_rebalance_stop()")
    unbalanced.refuses(
        "SELECT citus_rebalance_stop()", "XX000", "no ongoing rebalance that can be stopped"
    )
    assert unbalanced.rows("SELECT state FROM citus_rebalance_status()") == [("cancelled",)]


def test_draining_and_removing_a_worker(coordinator: Coordinator) -> None:
    coordinator.rows("CREATE TABLE t (id int PRIMARY KEY)")
    coordinator.rows("SELECT create_distributed_table('t', 'id', shard_count => 6)")
    coordinator.rows("SELECT citus_drain_node(%s, 5435, 'block_writes')", (coordinator.host,))
    assert placements(coordinator) == {1: 3, 2: 3}
    coordinator.rows("SELECT citus_remove_node(%s, 5435)", (coordinator.host,))
    workers = "SELECT node_port FROM citus_get_active_worker_nodes() ORDER BY 1"
    assert coordinator.rows(workers) == [(5433,), (5434,)]


def test_shards_without_an_identity_need_a_mode(coordinator: Coordinator) -> None:
    coordinator.rows("CREATE TABLE t (id int)")
    coordinator.rows("SELECT create_distributed_table('t', 'id', shard_count => 3)")
    coordinator.refuses(
        "SELECT citus_move_shard_placement(102008, 2, 3)",
        "0A000",
        "cannot use logical replication to transfer shards of the relation t since it doesn't "
        "have a REPLICA IDENTITY or PRIMARY KEY",
        "UPDATE and DELETE commands on the shard will error out during logical replication unless "
        "there is a REPLICA IDENTITY or PRIMARY KEY.",
        "If you wish to continue without a replica identity set the shard_transfer_mode to "
        "'force_logical' or 'block_writes'.",
    )
    coordinator.rows("SELECT citus_move_shard_placement(102008, 2, 3, 'block_writes')")
    assert placements(coordinator) == {2: 2, 3: 1}


def test_tables_distributed_while_written_to(coordinator: Coordinator) -> None:
    coordinator.rows("CREATE TABLE t (id int PRIMARY KEY)")
    coordinator.rows("INSERT INTO t SELECT generate_series(1, 100)")
    coordinator.rows("SELECT create_distributed_table_concurrently('t', 'id', shard_count => 4)")
    assert coordinator.rows("SELECT count(*) FROM t") == [(100,)]
    assert sum(placements(coordinator).values()) == 4
