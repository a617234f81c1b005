# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Dashboards of the databases: the cluster, its shards, its queries."""

from __future__ import annotations

from grafana_foundation_sdk.models import units

from dashboards.panels import (
    BLUE,
    GREEN,
    RED,
    REGION,
    YELLOW,
    Dashboard,
    Row,
    Variable,
    bars,
    instance_variable,
    lines,
    none_wanted,
    number,
    region_variable,
    table,
)

# Where a panel of PostgreSQL's row asks Patroni.
PATRONI = f'job="patroni", {REGION}'
DATABASES = 'datname!~"template.*|postgres"'
NO_STANDBY = "no group has a standby"

CITUS_CLUSTER_OVERVIEW = Dashboard(
    uid="bss-citus-overview",
    title="Citus Cluster Overview",
    description="The databases: who is there, who leads, what they do, what waits.",
    variables=(region_variable(), instance_variable("postgres")),
    rows=(
        Row(
            "At a glance",
            "postgres",
            (
                none_wanted(
                    "Members whose PostgreSQL is down",
                    "count(up{+}) - (sum(pg_up{+}) or vector(0))",
                    runbook="failures/host-lost.md",
                ),
                none_wanted(
                    "Groups without a primary",
                    f"count(count by (region, citus_group) (up{{{PATRONI}}}))"
                    f" - (count(max by (region, citus_group) (patroni_primary{{{PATRONI}}}) == 1)"
                    " or vector(0))",
                    description="Nobody takes writes for the shards of such a group.",
                    runbook="failures/primary-lost.md",
                ),
                none_wanted(
                    "Nodes that Citus does not use",
                    "sum(citus_node_active{+} == bool 0)",
                    description="Nodes of pg_dist_node that are not active.",
                ),
                none_wanted(
                    "Nodes behind the metadata",
                    "sum(citus_node_metadata_synced{+} == bool 0)",
                    description="Nodes that cannot plan queries themselves before Citus has"
                    " reached them again.",
                ),
                number(
                    "Oldest transaction left prepared",
                    units.Seconds,
                    "max(pg_prepared_xacts_oldest_seconds{+})",
                    description="A transaction over two nodes that is half done holds its locks"
                    " until it is settled.",
                    thresholds=((60, YELLOW), (300, RED)),
                    runbook="failures/two-phase-leftovers.md",
                ),
                number(
                    "Standbys are behind by",
                    units.Seconds,
                    "max(pg_replication_lag_seconds{+})",
                    description="The age of the last transaction that the worst standby has"
                    " replayed; 0 where there is none.",
                    thresholds=((5, YELLOW), (60, RED)),
                ),
            ),
        ),
        Row(
            "Who is there",
            "patroni",
            (
                table(
                    "Members",
                    ("citus_group", "instance"),
                    (
                        "Primary",
                        units.BoolYesNo,
                        "max by (citus_group, instance) (patroni_primary{*})",
                    ),
                    (
                        "PostgreSQL runs",
                        units.BoolYesNo,
                        "max by (citus_group, instance) (patroni_postgres_running{*})",
                    ),
                    (
                        "Timeline",
                        units.NoUnit,
                        "max by (citus_group, instance) (patroni_postgres_timeline{*})",
                    ),
                    (
                        "Waits for a restart",
                        units.BoolYesNo,
                        "max by (citus_group, instance) (patroni_pending_restart{*})",
                    ),
                    (
                        "Quorum seen before",
                        units.Seconds,
                        "time() - max by (citus_group, instance) (patroni_dcs_last_seen{*})",
                    ),
                    description="As Patroni tells. A timeline grows by one at each failover of its"
                    " group.",
                    width=14,
                    runbook="failures/primary-lost.md",
                ),
                lines(
                    "Changes of who leads",
                    units.Short,
                    (
                        "sum by (citus_group) (changes(patroni_postgres_timeline{*}[10m]))",
                        "group {{citus_group}}",
                    ),
                    description="New timelines seen in ten minutes, each by all members of the"
                    " group.",
                    width=10,
                    runbook="citus_switchover.md",
                ),
            ),
        ),
        Row(
            "What they do",
            "postgres",
            (
                lines(
                    "Transactions",
                    units.OpsPerSecond,
                    (
                        f"sum by (instance) (rate(pg_stat_database_xact_commit{{*,"
                        f" {DATABASES}}}[$__rate_interval]))",
                        "{{instance}}",
                    ),
                    description="Committed on each node; one of a client may be one on each of"
                    " several nodes.",
                ),
                lines(
                    "Transactions rolled back",
                    units.OpsPerSecond,
                    (
                        f"sum by (instance) (rate(pg_stat_database_xact_rollback{{*,"
                        f" {DATABASES}}}[$__rate_interval]))",
                        "{{instance}}",
                    ),
                ),
                lines(
                    "Rows changed",
                    units.RowsPerSecond,
                    (
                        f"sum by (instance) (rate(pg_stat_database_tup_inserted{{*,"
                        f" {DATABASES}}}[$__rate_interval])"
                        f" + rate(pg_stat_database_tup_updated{{*, {DATABASES}}}[$__rate_interval])"
                        f" + rate(pg_stat_database_tup_deleted{{*,"
                        f" {DATABASES}}}[$__rate_interval]))",
                        "{{instance}}",
                    ),
                ),
                lines(
                    "Connections in use",
                    units.PercentUnit,
                    (
                        "max by (instance) (pg_connections_used{*} / pg_connections_max{*})",
                        "{{instance}}",
                    ),
                    description="Of as many as there may be but for superusers.",
                    maximum=1,
                    thresholds=((0.8, RED),),
                ),
                lines(
                    "Connections by who opened them",
                    units.Short,
                    ("sum by (origin, state) (citus_connections_open{*})", "{{origin}}, {{state}}"),
                    stacked=True,
                ),
                lines(
                    "Connections opened to other nodes",
                    units.OpsPerSecond,
                    (
                        "sum by (instance)"
                        " (rate(citus_stat_connections_opened_total{*}[$__rate_interval]))",
                        "{{instance}} opened",
                    ),
                    (
                        "sum by (instance)"
                        " (rate(citus_stat_connections_reused_total{*}[$__rate_interval]))",
                        "{{instance}} used again",
                    ),
                    (
                        "sum by (instance)"
                        " (rate(citus_stat_connections_failed_total{*}[$__rate_interval]))",
                        "{{instance}} failed",
                    ),
                    may_be_empty="the stand-in for Citus does not count them",
                ),
            ),
        ),
        Row(
            "What waits",
            "postgres",
            (
                lines(
                    "Sessions that wait for a lock",
                    units.Short,
                    ("max by (instance) (pg_lock_waits_sessions{*})", "{{instance}}"),
                ),
                lines(
                    "Deadlocks",
                    units.Short,
                    (
                        f"sum by (instance) (increase(pg_stat_database_deadlocks{{*,"
                        f" {DATABASES}}}[10m]))",
                        "{{instance}}",
                    ),
                    (
                        "sum by (instance) (increase(citus_distributed_deadlocks_total{*}[10m]))",
                        "{{instance}}, between nodes",
                    ),
                    description="Broken in ten minutes: by PostgreSQL within a node, by Citus"
                    " between nodes.",
                ),
                lines(
                    "Oldest transaction",
                    units.Seconds,
                    ("max by (instance) (pg_long_running_transaction_seconds{*})", "{{instance}}"),
                    description="What it may still see, no vacuum removes.",
                ),
                lines(
                    "Transactions left prepared",
                    units.Short,
                    (
                        "sum by (instance, origin) (pg_prepared_xacts_count{*})",
                        "{{instance}} {{origin}}",
                    ),
                    runbook="failures/two-phase-leftovers.md",
                ),
                lines(
                    "Transaction numbers used of what is safe",
                    units.PercentUnit,
                    (
                        "max by (instance) (pg_xid_age{*}) / 2 ^ 31",
                        "{{instance}}",
                    ),
                    description="At 1, PostgreSQL would refuse to write; autovacuum keeps it far"
                    " below.",
                    maximum=1,
                ),
                lines(
                    "Tables that vacuum has not come to",
                    units.Short,
                    ("max by (instance) (pg_tables_vacuum_overdue{*})", "{{instance}}"),
                    description="Past twice what autovacuum begins at; shards are counted one by"
                    " one.",
                ),
            ),
        ),
        Row(
            "Replication and WAL",
            "postgres",
            (
                lines(
                    "WAL that standbys have not replayed",
                    units.BytesIEC,
                    (
                        "max by (instance, standby) (pg_replication_standby_replay_lag_bytes{*})",
                        "{{standby}} behind {{instance}}",
                    ),
                    may_be_empty=NO_STANDBY,
                ),
                lines(
                    "WAL written",
                    units.BytesPerSecondIEC,
                    (
                        "sum by (instance) (rate(pg_wal_written_bytes_total{*}[$__rate_interval]))",
                        "{{instance}}",
                    ),
                ),
                lines(
                    "WAL kept",
                    units.BytesIEC,
                    ("max by (instance) (pg_wal_bytes{*})", "{{instance}}"),
                    description="Size of pg_wal. It grows while a slot or the archive is behind.",
                    runbook="failures/disk-full.md",
                ),
            ),
        ),
        Row(
            "The quorum (etcd)",
            "etcd",
            (
                bars(
                    "Members that see a leader",
                    units.BoolYesNo,
                    "max by (instance) (etcd_server_has_leader{*})",
                    "{{instance}}",
                    runbook="failures/etcd-without-majority.md",
                ),
                lines(
                    "Time to write to disk",
                    units.Seconds,
                    (
                        "histogram_quantile(0.99, sum by (instance, le) "
                        "(rate(etcd_disk_wal_fsync_duration_seconds_bucket{*}[$__rate_interval])))",
                        "{{instance}}",
                    ),
                    description="99 of 100 writes take less. Slow disks make etcd lose its leader.",
                    thresholds=((0.5, RED),),
                ),
                lines(
                    "Changes of its leader",
                    units.Short,
                    ("increase(etcd_server_leader_changes_seen_total{*}[10m])", "{{instance}}"),
                    description="Seen in ten minutes.",
                    runbook="failures/etcd-without-majority.md",
                ),
            ),
        ),
    ),
)

TABLE = 'table=~"$table"'

SHARD_DISTRIBUTION = Dashboard(
    uid="bss-shard-distribution",
    title="Shard Distribution",
    description="Where the shards are, how large they are, and how they move.",
    variables=(
        region_variable(),
        instance_variable("postgres"),
        Variable("table", "Table", f"citus_table_bytes{{{REGION}}}", "table"),
    ),
    rows=(
        Row(
            "At a glance",
            "postgres",
            (
                number(
                    "Shards",
                    units.Short,
                    "sum(citus_shard_count{+})",
                    decimals=0,
                ),
                none_wanted(
                    "Shards that no node holds",
                    "sum(citus_shard_unplaced{+})",
                ),
                none_wanted(
                    "Placements out of use",
                    "sum(citus_shard_placements_inactive{+})",
                    description="Copies of shards that Citus does not read.",
                ),
                number(
                    "Most shards over the average",
                    units.PercentUnit,
                    'max(citus_node_shards{+, role="primary"} and citus_node_should_have_shards{+}'
                    " == 1)"
                    ' / avg(citus_node_shards{+, role="primary"} and'
                    " citus_node_should_have_shards{+} == 1) - 1",
                    description="How much more than the average the node with the most shards has.",
                    thresholds=((0.2, YELLOW),),
                    decimals=0,
                    runbook="citus_rebalance.md",
                ),
                number(
                    "Most bytes over the average",
                    units.PercentUnit,
                    'max(sum by (instance) (citus_table_bytes{+, kind="distributed"}))'
                    ' / avg(sum by (instance) (citus_table_bytes{+, kind="distributed"})) - 1',
                    description="How much more than the average the node with the most data has.",
                    thresholds=((0.3, YELLOW),),
                    decimals=0,
                    runbook="citus_rebalance.md",
                ),
                none_wanted(
                    "Leftovers of moves",
                    "sum(citus_cleanup_records{+})",
                    description="What Citus has still to drop; it does so by itself.",
                    colour=YELLOW,
                    may_be_empty="the stand-in for Citus moves nothing",
                ),
            ),
        ),
        Row(
            "Nodes",
            "postgres",
            (
                bars(
                    "Shards of each node",
                    units.Short,
                    'max by (node) (citus_node_shards{+, role="primary"})',
                    "{{node}}",
                    runbook="citus_rebalance.md",
                ),
                bars(
                    "Data of each node",
                    units.BytesIEC,
                    f"sum by (instance) (citus_table_bytes{{*, {TABLE}}})",
                    "{{instance}}",
                    description="Shards with their indexes, of the tables that are chosen.",
                    runbook="citus_rebalance.md",
                ),
                lines(
                    "Data of each node over time",
                    units.BytesIEC,
                    (f"sum by (instance) (citus_table_bytes{{*, {TABLE}}})", "{{instance}}"),
                ),
            ),
        ),
        Row(
            "Tables",
            "postgres",
            (
                table(
                    "Tables",
                    ("table", "kind"),
                    (
                        "Data",
                        units.BytesIEC,
                        f"sum by (table, kind) (citus_table_bytes{{*, {TABLE}}})",
                    ),
                    (
                        "Indexes",
                        units.BytesIEC,
                        f"sum by (table, kind) (citus_table_index_bytes{{*, {TABLE}}})",
                    ),
                    (
                        "Largest shard",
                        units.BytesIEC,
                        f"max by (table, kind) (citus_table_largest_shard_bytes{{*, {TABLE}}})",
                    ),
                    (
                        "Shards",
                        units.Short,
                        f"sum by (table, kind) (citus_table_shards{{*, {TABLE}}})",
                    ),
                    (
                        "Rows",
                        units.Short,
                        f"sum by (table, kind) (citus_table_live_rows{{*, {TABLE}}})",
                    ),
                    (
                        "Dead rows",
                        units.Short,
                        f"sum by (table, kind) (citus_table_dead_rows{{*, {TABLE}}})",
                    ),
                    description="A reference table is counted once for each node. Rows are"
                    " PostgreSQL's estimates.",
                ),
                bars(
                    "Largest shard over the average",
                    units.PercentUnit,
                    f'max by (table) (citus_table_largest_shard_bytes{{*, kind="distributed",'
                    f" {TABLE}}})"
                    f' / (sum by (table) (citus_table_bytes{{*, kind="distributed", {TABLE}}})'
                    f' / sum by (table) (citus_table_shards{{*, kind="distributed", {TABLE}}}) >'
                    f" 0) - 1",
                    "{{table}}",
                    description="Large where a few values of the distribution column have most of"
                    " the rows: moving shards does not help then.",
                    width=12,
                ),
                lines(
                    "Size of tables",
                    units.BytesIEC,
                    (f"sum by (table) (citus_table_bytes{{*, {TABLE}}})", "{{table}}"),
                    width=12,
                ),
            ),
        ),
        Row(
            "Rebalance",
            "postgres",
            (
                number(
                    "Rebalance",
                    units.Short,
                    "max(citus_rebalance_running{+})",
                    texts=((0, "none runs", GREEN), (1, "runs", BLUE)),
                    runbook="failures/rebalance-stuck.md",
                ),
                none_wanted(
                    "Last one failed",
                    "max(citus_rebalance_failed{+})",
                    runbook="failures/worker-killed-during-rebalance.md",
                ),
                lines(
                    "Moves of the last rebalance",
                    units.Short,
                    ("max(citus_rebalance_tasks{+})", "planned"),
                    ("max(citus_rebalance_tasks_done{+})", "done"),
                    ("max(citus_rebalance_tasks_retried{+})", "failed and tried again"),
                    runbook="failures/rebalance-stuck.md",
                ),
                lines(
                    "Running for",
                    units.Seconds,
                    ("max(citus_rebalance_running_seconds{+})", "rebalance"),
                    runbook="failures/rebalance-stuck.md",
                ),
            ),
        ),
    ),
)

QUERY_PERFORMANCE = Dashboard(
    uid="bss-query-performance",
    title="Query Performance",
    description="What the databases are asked, what it costs, and what slows it down.",
    variables=(region_variable(), instance_variable("postgres")),
    rows=(
        Row(
            "Statements",
            "postgres",
            (
                lines(
                    "Statements",
                    units.OpsPerSecond,
                    (
                        "sum by (instance) (rate(pg_statements_calls_total{*}[$__rate_interval]))",
                        "{{instance}}",
                    ),
                    description="A statement of a client may become one for each shard that it"
                    " touches.",
                ),
                lines(
                    "Time of a statement, on average",
                    units.Seconds,
                    (
                        "sum by (instance) (rate(pg_statements_seconds_total{*}[$__rate_interval]))"
                        " / (sum by (instance)"
                        " (rate(pg_statements_calls_total{*}[$__rate_interval])) > 0)",
                        "{{instance}}",
                    ),
                ),
                lines(
                    "Statements at work",
                    units.Short,
                    (
                        "sum by (instance)"
                        " (rate(pg_statements_seconds_total{*}[$__rate_interval]))",
                        "{{instance}}",
                    ),
                    description="Seconds of statements in each second: as many as run at a time.",
                ),
                table(
                    "The statements that cost most, in the time that is shown",
                    ("query",),
                    (
                        "Time",
                        units.Seconds,
                        "sum by (query) (increase(pg_stat_statements_seconds_total{*}[$__range]))"
                        " > 0",
                    ),
                    (
                        "Calls",
                        units.Short,
                        "sum by (query) (increase(pg_stat_statements_calls_total{*}[$__range])) >"
                        " 0",
                    ),
                    (
                        "Time of one",
                        units.Seconds,
                        "sum by (query) (increase(pg_stat_statements_seconds_total{*}[$__range]))"
                        " / (sum by (query)"
                        " (increase(pg_stat_statements_calls_total{*}[$__range])) > 0)",
                    ),
                    (
                        "Rows",
                        units.Short,
                        "sum by (query) (increase(pg_stat_statements_rows_total{*}[$__range]))",
                    ),
                    description="Of the twenty that have cost most on each node since its"
                    " statistics began.",
                    height=10,
                ),
            ),
        ),
        Row(
            "How Citus runs them",
            "postgres",
            (
                lines(
                    "Queries by shards they touch",
                    units.OpsPerSecond,
                    (
                        "sum(rate(citus_stat_queries_single_shard_total{*}[$__rate_interval]))",
                        "one shard",
                    ),
                    (
                        "sum(rate(citus_stat_queries_multi_shard_total{*}[$__rate_interval]))",
                        "several shards",
                    ),
                    description="A query for one value of the distribution column touches one"
                    " shard.",
                    stacked=True,
                    may_be_empty="the stand-in for Citus does not count them",
                ),
                lines(
                    "Longest running query",
                    units.Seconds,
                    ("max by (instance) (pg_long_running_query_seconds{*})", "{{instance}}"),
                ),
                lines(
                    "Longest wait for a lock",
                    units.Seconds,
                    ("max by (instance) (pg_lock_waits_oldest_seconds{*})", "{{instance}}"),
                ),
                lines(
                    "Clients idle within a transaction, longest",
                    units.Seconds,
                    (
                        "max by (instance) (pg_long_running_idle_in_transaction_seconds{*})",
                        "{{instance}}",
                    ),
                ),
                lines(
                    "Locks held",
                    units.Short,
                    (f"sum by (mode) (pg_locks_count{{*, {DATABASES}}})", "{{mode}}"),
                    stacked=True,
                ),
                lines(
                    "Locks held of what fits",
                    units.PercentUnit,
                    (
                        "sum by (instance) (pg_locks_count{*}) / max by (instance)"
                        " (pg_limits_locks{*})",
                        "{{instance}}",
                    ),
                    maximum=1,
                ),
            ),
        ),
        Row(
            "What they read and write",
            "postgres",
            (
                lines(
                    "Read from memory",
                    units.PercentUnit,
                    (
                        f"sum by (instance) (rate(pg_stat_database_blks_hit{{*,"
                        f" {DATABASES}}}[$__rate_interval]))"
                        f" / (sum by (instance) (rate(pg_stat_database_blks_hit{{*,"
                        f" {DATABASES}}}[$__rate_interval])"
                        f" + rate(pg_stat_database_blks_read{{*, {DATABASES}}}[$__rate_interval]))"
                        f" > 0)",
                        "{{instance}}",
                    ),
                    description="Share of the blocks that PostgreSQL found in its own buffers.",
                    maximum=1,
                ),
                lines(
                    "Rows looked at",
                    units.RowsPerSecond,
                    (
                        f"sum by (instance) (rate(pg_stat_database_tup_returned{{*,"
                        f" {DATABASES}}}[$__rate_interval]))",
                        "{{instance}} by scans",
                    ),
                    (
                        f"sum by (instance) (rate(pg_stat_database_tup_fetched{{*,"
                        f" {DATABASES}}}[$__rate_interval]))",
                        "{{instance}} by index",
                    ),
                ),
                lines(
                    "Spilt to disk",
                    units.BytesPerSecondIEC,
                    (
                        f"sum by (instance) (rate(pg_stat_database_temp_bytes{{*,"
                        f" {DATABASES}}}[$__rate_interval]))",
                        "{{instance}}",
                    ),
                    description="Sorts and joins that did not fit into work_mem.",
                ),
                lines(
                    "Checkpoints",
                    units.Short,
                    (
                        "sum by (instance)"
                        " (increase(pg_stat_bgwriter_checkpoints_timed_total{*}[10m]))",
                        "{{instance}} by time",
                    ),
                    (
                        "sum by (instance)"
                        " (increase(pg_stat_bgwriter_checkpoints_req_total{*}[10m]))",
                        "{{instance}} for WAL",
                    ),
                    description="In ten minutes. Many for WAL: max_wal_size is small for what is"
                    " written.",
                ),
                lines(
                    "Buffers written",
                    units.OpsPerSecond,
                    (
                        "sum by (instance)"
                        " (rate(pg_stat_bgwriter_buffers_checkpoint_total{*}[$__rate_interval]))",
                        "{{instance}} by checkpoints",
                    ),
                    (
                        "sum by (instance)"
                        " (rate(pg_stat_bgwriter_buffers_backend_total{*}[$__rate_interval]))",
                        "{{instance}} by statements",
                    ),
                ),
                bars(
                    "Size of databases",
                    units.BytesIEC,
                    f"max by (instance, datname) (pg_database_size_bytes{{*, {DATABASES}}})",
                    "{{instance}} {{datname}}",
                ),
            ),
        ),
    ),
)
