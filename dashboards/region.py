# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Dashboard of a region, or of both: what an operator looks at first."""

from __future__ import annotations

from grafana_foundation_sdk.models import units

from dashboards.panels import (
    RED,
    REGION,
    YELLOW,
    Dashboard,
    Row,
    bars,
    lines,
    none_wanted,
    number,
    region_variable,
    table,
)


def of_region(recorded: str) -> str:
    """A recording rule's value for each region. Those whose names begin with region: are the
    other region's as well: each Prometheus takes them over from the other."""
    return f"max by (region) ({recorded}{{{REGION}}})"


def missing(there_are: str, answer: str) -> str:
    """How many of those that there are do not answer."""
    return f"sum({of_region(there_are)} - {of_region(answer)})"


REGION_OVERVIEW = Dashboard(
    uid="bss-region-overview",
    title="Region Overview",
    description="Everything at a glance: what is down, what is behind, what is about to run out.",
    variables=(region_variable(),),
    rows=(
        Row(
            "At a glance",
            "prometheus",
            (
                none_wanted(
                    "Alerts, critical",
                    'count(ALERTS{alertstate="firing", severity="critical"}) or vector(0)',
                    description="Alerts that fire now, in all that this Prometheus watches.",
                    width=3,
                ),
                none_wanted(
                    "Alerts, warning",
                    'count(ALERTS{alertstate="firing", severity="warning"}) or vector(0)',
                    colour=YELLOW,
                    width=3,
                ),
                none_wanted(
                    "Hosts down",
                    missing("region:hosts:count", "region:hosts_up:sum"),
                    runbook="failures/host-lost.md",
                    width=3,
                ),
                none_wanted(
                    "Targets down",
                    missing("region:targets:count", "region:targets_up:sum"),
                    description="What Prometheus cannot scrape.",
                    width=3,
                ),
                none_wanted(
                    "Workers down",
                    missing("region:citus_workers:count", "region:citus_workers_up:sum"),
                    description="Workers of Citus whose PostgreSQL does not answer.",
                    runbook="failures/primary-lost.md",
                    width=3,
                ),
                none_wanted(
                    "Members of etcd down",
                    missing("region:etcd_members:count", "region:etcd_members_up:sum"),
                    runbook="failures/etcd-without-majority.md",
                    width=3,
                ),
                number(
                    "Fullest disk",
                    units.PercentUnit,
                    f"max({of_region('region:node_filesystem_used:max')})",
                    thresholds=((0.8, YELLOW), (0.9, RED)),
                    decimals=0,
                    width=3,
                    runbook="failures/disk-full.md",
                ),
                number(
                    "Certificates last for",
                    units.Days,
                    f"min({of_region('region:certificate_left:seconds_min')}) / 86400",
                    description="Days until the first certificate of a host, or of an authority,"
                    " expires.",
                    decimals=0,
                    width=3,
                    runbook="failures/certificate-expired.md",
                ),
            ),
        ),
        Row(
            "Targets and alerts",
            "prometheus",
            (
                bars(
                    "Targets that answer",
                    units.PercentUnit,
                    f'avg by (job) (up{{job!="federate", {REGION}}})',
                    "{{job}}",
                    maximum=1,
                    width=10,
                    height=10,
                ),
                table(
                    "Alerts that fire",
                    ("severity", "alertname", "region", "instance"),
                    (
                        "Alerts",
                        units.Short,
                        "count by (severity, alertname, region, instance)"
                        ' (ALERTS{alertstate="firing", severity=~"critical|warning"})',
                    ),
                    width=14,
                    height=10,
                    may_be_empty="nothing is wrong",
                ),
            ),
        ),
        Row(
            "Databases",
            "postgres",
            (
                lines(
                    "Transactions",
                    units.OpsPerSecond,
                    (
                        "sum by (region) (rate(pg_stat_database_xact_commit"
                        '{+, datname!~"template.*|postgres"}[$__rate_interval]))',
                        "{{region}}",
                    ),
                    description="Committed on all nodes together; one of a client may be one on"
                    " each of several.",
                ),
                lines(
                    "Connections in use, most of a member",
                    units.PercentUnit,
                    (
                        "max by (region) (pg_connections_used{+} / pg_connections_max{+})",
                        "{{region}}",
                    ),
                    maximum=1,
                    thresholds=((0.8, RED),),
                ),
                lines(
                    "Data of distributed and reference tables",
                    units.BytesIEC,
                    (of_region("region:citus_table_bytes:sum"), "{{region}}"),
                ),
            ),
        ),
        Row(
            "Events",
            "kafka",
            (
                lines(
                    "Records written to Kafka",
                    units.RecordsPerSecond,
                    (of_region("region:kafka_messages_in:rate5m"), "{{region}}"),
                ),
                lines(
                    "Partitions in trouble",
                    units.Short,
                    (
                        of_region("region:kafka_partitions_under_replicated:sum"),
                        "{{region}} with a replica behind",
                    ),
                    (
                        of_region("region:kafka_partitions_under_min_isr:sum"),
                        "{{region}} that refuse writes",
                    ),
                    (
                        of_region("region:kafka_partitions_offline:max"),
                        "{{region}} without a leader",
                    ),
                    runbook="failures/kafka-under-min-isr.md",
                ),
                lines(
                    "Time of a write",
                    units.Milliseconds,
                    (
                        "max by (region) (kafka_network_requestmetrics_totaltimems"
                        '{+, request="Produce", quantile="0.99"})',
                        "{{region}}",
                    ),
                    description="99 of 100 writes to the slowest broker take less.",
                ),
            ),
        ),
        Row(
            "Streams",
            "flink_jobmanager",
            (
                lines(
                    "Jobs and slots",
                    units.Short,
                    (of_region("region:flink_jobs_running:sum"), "{{region}} jobs that run"),
                    (of_region("region:flink_slots_available:sum"), "{{region}} free slots"),
                    runbook="failures/flink-job-fails-again-and-again.md",
                ),
                lines(
                    "Records read by jobs",
                    units.RecordsPerSecond,
                    (of_region("region:flink_records_in:rate5m"), "{{region}}"),
                ),
                lines(
                    "Since the last checkpoint",
                    units.Seconds,
                    (
                        "time() - max by (region, job_name)"
                        " (flink_jobmanager_job_lastCheckpointCompletedTimestamp{+} > 0) / 1000",
                        "{{region}} {{job_name}}",
                    ),
                    runbook="failures/flink-savepoint-fails.md",
                ),
            ),
        ),
        Row(
            "What is promised",
            "prometheus",
            (
                lines(
                    "Frauds told late",
                    units.PercentUnit,
                    (
                        f"max by (region)"
                        f" (avg_over_time(region:fraud_alerts_late:max{{{REGION}}}[1h]))",
                        "{{region}}",
                    ),
                    description="Share of the last hour in which jobs that look for frauds did not"
                    " run or were too far behind. Of 100 moments, 99 are to be well.",
                    maximum=1,
                    thresholds=((0.01, RED),),
                ),
                lines(
                    "Writes to Kafka refused",
                    units.PercentUnit,
                    (
                        f"{of_region('region:kafka_writes_refused:rate5m')}"
                        f" / clamp_min({of_region('region:kafka_writes:rate5m')}, 1e-9)",
                        "{{region}}",
                    ),
                    description="For the platform's reasons, not those of a client."
                    " Of 1000 writes, 999 are to be taken.",
                    thresholds=((0.001, RED),),
                    runbook="failures/kafka-under-min-isr.md",
                ),
                lines(
                    "Standbys are behind by",
                    units.Seconds,
                    (of_region("region:postgres_standby_lag:max"), "{{region}}"),
                    description="Of each group the best standby, of those the worst:"
                    " what the loss of its primary could cost.",
                    may_be_empty="no group has a standby",
                ),
            ),
        ),
        Row(
            "Hosts",
            "node",
            (
                lines(
                    "Processors in use, on average",
                    units.PercentUnit,
                    (of_region("region:node_cpu_busy:avg"), "{{region}}"),
                    maximum=1,
                ),
                lines(
                    "Memory in use, most of a host",
                    units.PercentUnit,
                    (of_region("region:node_memory_used:max"), "{{region}}"),
                    maximum=1,
                ),
                lines(
                    "Disk in use, fullest of a host",
                    units.PercentUnit,
                    (of_region("region:node_filesystem_used:max"), "{{region}}"),
                    maximum=1,
                    thresholds=((0.9, RED),),
                    runbook="failures/disk-full.md",
                ),
            ),
        ),
        Row(
            "What watching costs",
            "prometheus",
            (
                lines(
                    "Samples taken",
                    units.OpsPerSecond,
                    (
                        "sum by (region)"
                        " (rate(prometheus_tsdb_head_samples_appended_total{+}[$__rate_interval]))",
                        "{{region}}",
                    ),
                ),
                lines(
                    "Series",
                    units.Short,
                    ("sum by (region) (prometheus_tsdb_head_series{+})", "{{region}}"),
                ),
                lines(
                    "Prometheus' memory",
                    units.BytesIEC,
                    ("sum by (region) (process_resident_memory_bytes{+})", "{{region}}"),
                ),
            ),
        ),
    ),
)
