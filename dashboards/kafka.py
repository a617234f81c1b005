# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Dashboards of Kafka, and of MirrorMaker between two of them."""

from __future__ import annotations

from grafana_foundation_sdk.models import units

from dashboards.panels import (
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
)

TOPIC = 'topic=~"$topic"'

KAFKA_OVERVIEW = Dashboard(
    uid="bss-kafka-overview",
    title="Kafka Overview",
    description="The region's Kafka: whether all replicas are there, what goes through, how long"
    " it takes.",
    variables=(
        region_variable(),
        instance_variable("kafka"),
        Variable(
            "topic",
            "Topic",
            f"kafka_log_log_size{{{REGION}}}",
            "topic",
        ),
    ),
    rows=(
        Row(
            "At a glance",
            "kafka",
            (
                none_wanted(
                    "Brokers that do not answer",
                    "sum(up{+} == bool 0)",
                    runbook="failures/broker-lost.md",
                ),
                number(
                    "Controllers that lead",
                    units.Short,
                    "sum(kafka_controller_kafkacontroller_activecontrollercount{+})",
                    description="One in each region. None: nobody decides who leads partitions.",
                    thresholds=((2, RED),),
                    texts=((0, "none", RED),),
                    decimals=0,
                    runbook="failures/kafka-quorum-lost.md",
                ),
                none_wanted(
                    "Partitions without a leader",
                    "sum(kafka_controller_kafkacontroller_offlinepartitionscount{+})",
                    runbook="failures/kafka-quorum-lost.md",
                ),
                none_wanted(
                    "Partitions that refuse writes",
                    "sum(kafka_server_replicamanager_underminisrpartitioncount{+})",
                    description="Fewer replicas are in sync than min.insync.replicas wants.",
                    runbook="failures/kafka-under-min-isr.md",
                ),
                none_wanted(
                    "Partitions with a replica behind",
                    "sum(kafka_server_replicamanager_underreplicatedpartitions{+})",
                    colour=YELLOW,
                    runbook="failures/broker-lost.md",
                ),
                none_wanted(
                    "Disks that failed",
                    "sum(kafka_log_logmanager_offlinelogdirectorycount{+})",
                    description="Directories of records that a broker has given up on.",
                    runbook="failures/disk-full.md",
                ),
            ),
        ),
        Row(
            "What goes through",
            "kafka",
            (
                lines(
                    "Records written",
                    units.RecordsPerSecond,
                    (
                        "sum by (topic) (rate(kafka_server_brokertopicmetrics_messagesin_total"
                        f'{{*, topic!="", {TOPIC}}}[$__rate_interval]))',
                        "{{topic}}",
                    ),
                    stacked=True,
                ),
                lines(
                    "Bytes written",
                    units.BytesPerSecondIEC,
                    (
                        "sum by (topic) (rate(kafka_server_brokertopicmetrics_bytesin_total"
                        f'{{*, topic!="", {TOPIC}}}[$__rate_interval]))',
                        "{{topic}}",
                    ),
                    stacked=True,
                ),
                lines(
                    "Bytes read",
                    units.BytesPerSecondIEC,
                    (
                        "sum by (topic) (rate(kafka_server_brokertopicmetrics_bytesout_total"
                        f'{{*, topic!="", {TOPIC}}}[$__rate_interval]))',
                        "{{topic}}",
                    ),
                    stacked=True,
                ),
                lines(
                    "Records written, by broker",
                    units.RecordsPerSecond,
                    (
                        "sum by (instance) (rate(kafka_server_brokertopicmetrics_messagesin_total"
                        f'{{*, topic!="", {TOPIC}}}[$__rate_interval]))',
                        "{{instance}}",
                    ),
                    description="What each broker takes as a leader; even, where leaders are"
                    " spread.",
                ),
                lines(
                    "Requests that failed",
                    units.RequestsPerSecond,
                    (
                        "sum by (instance)"
                        " (rate(kafka_server_brokertopicmetrics_failedproducerequests_total"
                        '{*, topic=""}[$__rate_interval]))',
                        "{{instance}} write",
                    ),
                    (
                        "sum by (instance)"
                        " (rate(kafka_server_brokertopicmetrics_failedfetchrequests_total"
                        '{*, topic=""}[$__rate_interval]))',
                        "{{instance}} read",
                    ),
                ),
                bars(
                    "Leaders",
                    units.Short,
                    "sum by (instance) (kafka_server_replicamanager_leadercount{*})",
                    "{{instance}}",
                    description="Partitions that each broker leads. Uneven for long:"
                    " kafka_rebalance.",
                    runbook="kafka_rebalance.md",
                ),
            ),
        ),
        Row(
            "How long it takes",
            "kafka",
            (
                lines(
                    "Time of a write",
                    units.Milliseconds,
                    (
                        'kafka_network_requestmetrics_totaltimems{*, request="Produce",'
                        ' quantile="0.99"}',
                        "{{instance}} 99 %",
                    ),
                    (
                        'kafka_network_requestmetrics_totaltimems{*, request="Produce",'
                        ' quantile="0.50"}',
                        "{{instance}} half",
                    ),
                    description="From the request to the answer, with the wait for the replicas.",
                ),
                lines(
                    "Time of a consumer's read",
                    units.Milliseconds,
                    (
                        'kafka_network_requestmetrics_totaltimems{*, request="FetchConsumer",'
                        ' quantile="0.99"}',
                        "{{instance}} 99 %",
                    ),
                    description="With the time that the broker waits for new records, as long as"
                    " the consumer wants it to.",
                ),
                lines(
                    "Threads that are idle",
                    units.PercentUnit,
                    (
                        "kafka_server_kafkarequesthandlerpool_requesthandleravgidlepercent{*}",
                        "{{instance}} requests",
                    ),
                    (
                        "kafka_network_socketserver_networkprocessoravgidlepercent{*}",
                        "{{instance}} network",
                    ),
                    description="Below a third, requests begin to wait for each other.",
                    maximum=1,
                ),
            ),
        ),
        Row(
            "Replicas and the quorum",
            "kafka",
            (
                lines(
                    "Replicas that fell behind and caught up",
                    units.CountsPerSecond,
                    (
                        "sum by (instance) (rate(kafka_server_replicamanager_isrshrinks_total{*}"
                        "[$__rate_interval]))",
                        "{{instance}} fell behind",
                    ),
                    (
                        "sum by (instance) (rate(kafka_server_replicamanager_isrexpands_total{*}"
                        "[$__rate_interval]))",
                        "{{instance}} caught up",
                    ),
                    runbook="failures/kafka-under-min-isr.md",
                ),
                lines(
                    "Followers are behind by",
                    units.Short,
                    (
                        "max by (instance) (kafka_server_fetcherlagmetrics_consumerlag{*})",
                        "{{instance}}",
                    ),
                    description="Records that the worst replica of a broker has not copied yet.",
                    may_be_empty="a broker that follows nobody has no lag",
                ),
                lines(
                    "Controllers' log",
                    units.Short,
                    ("kafka_server_raft_metrics_log_end_offset{*}", "{{instance}} end"),
                    ("kafka_server_raft_metrics_high_watermark{*}", "{{instance}} agreed on"),
                    description="Where the ends are apart for long, a node of the quorum is"
                    " behind.",
                    runbook="failures/kafka-quorum-lost.md",
                ),
            ),
        ),
        Row(
            "Clients and disks",
            "kafka",
            (
                lines(
                    "Connections",
                    units.Short,
                    (
                        "sum by (instance, listener)"
                        " (kafka_server_socket_server_metrics_connection_count{*})",
                        "{{instance}} {{listener}}",
                    ),
                ),
                lines(
                    "Refused logins",
                    units.CountsPerSecond,
                    (
                        "sum by (instance, listener)"
                        " (rate(kafka_server_socket_server_metrics_failed_authentication_total"
                        "{*}[$__rate_interval]))",
                        "{{instance}} {{listener}}",
                    ),
                    runbook="failures/password-wrong.md",
                ),
                bars(
                    "Size of topics",
                    units.BytesIEC,
                    f"sum by (topic) (kafka_log_log_size{{*, {TOPIC}}})",
                    "{{topic}}",
                    description="Of all replicas together, on the brokers that are chosen.",
                    runbook="failures/disk-full.md",
                ),
            ),
        ),
        Row(
            "The brokers' Java",
            "kafka",
            (
                lines(
                    "Heap in use",
                    units.PercentUnit,
                    (
                        'jvm_memory_used_bytes{*, area="heap"} / jvm_memory_max_bytes{*,'
                        ' area="heap"}',
                        "{{instance}}",
                    ),
                    maximum=1,
                ),
                lines(
                    "Time spent on collecting garbage",
                    units.PercentUnit,
                    (
                        "sum by (instance)"
                        " (rate(jvm_gc_collection_seconds_sum{*}[$__rate_interval]))",
                        "{{instance}}",
                    ),
                ),
                lines(
                    "Processors in use",
                    units.Short,
                    ("rate(process_cpu_seconds_total{*}[$__rate_interval])", "{{instance}}"),
                    description="In processors: 2 means two of them, wholly.",
                ),
            ),
        ),
    ),
)

MIRRORED = 'topic=~"$topic"'
HEARTBEATS = 'topic=~".*heartbeats"'

MIRROR_MAKER = Dashboard(
    uid="bss-mirrormaker",
    title="MirrorMaker",
    description="What is copied from the other region's Kafka, and how far behind it is.",
    variables=(
        region_variable(),
        instance_variable("mirrormaker"),
        Variable(
            "topic",
            "Topic",
            f"kafka_connect_mirror_mirrorsourceconnector_record_count{{{REGION}}}",
            "topic",
        ),
    ),
    rows=(
        Row(
            "At a glance",
            "mirrormaker",
            (
                none_wanted(
                    "Processes that do not answer",
                    "sum(up{*} == bool 0)",
                ),
                none_wanted(
                    "Failed tasks",
                    "sum(kafka_connect_connect_worker_metrics_connector_failed_task_count{*})",
                ),
                none_wanted(
                    "Links that are dead",
                    "sum(sum by (source, target)"
                    " (rate(kafka_connect_mirror_mirrorsourceconnector_record_count"
                    f"{{*, {HEARTBEATS}}}[5m])) == bool 0)",
                    description="A heartbeat is copied every second; none in five minutes means"
                    " that nothing is.",
                ),
                number(
                    "Oldest record copied",
                    units.Milliseconds,
                    "max(kafka_connect_mirror_mirrorsourceconnector_record_age_ms_max{*})",
                    description="How old the records are when they are copied: what a lost region"
                    " would cost.",
                    thresholds=((5000, YELLOW), (60000, RED)),
                ),
            ),
        ),
        Row(
            "What is copied",
            "mirrormaker",
            (
                lines(
                    "Records",
                    units.RecordsPerSecond,
                    (
                        "sum by (source, target, topic)"
                        " (rate(kafka_connect_mirror_mirrorsourceconnector_record_count"
                        f"{{*, {MIRRORED}}}[$__rate_interval]))",
                        "{{source}} to {{target}} {{topic}}",
                    ),
                    stacked=True,
                ),
                lines(
                    "Bytes",
                    units.BytesPerSecondIEC,
                    (
                        "sum by (source, target, topic)"
                        " (kafka_connect_mirror_mirrorsourceconnector_byte_rate"
                        f"{{*, {MIRRORED}}})",
                        "{{source}} to {{target}} {{topic}}",
                    ),
                    stacked=True,
                ),
                lines(
                    "Age of records when they are copied",
                    units.Milliseconds,
                    (
                        "max by (source, target, topic)"
                        " (kafka_connect_mirror_mirrorsourceconnector_record_age_ms_avg"
                        f"{{*, {MIRRORED}}})",
                        "{{source}} to {{target}} {{topic}}",
                    ),
                ),
                lines(
                    "Time of copying",
                    units.Milliseconds,
                    (
                        "max by (source, target, topic) "
                        "(kafka_connect_mirror_mirrorsourceconnector_replication_latency_ms_avg"
                        f"{{*, {MIRRORED}}})",
                        "{{source}} to {{target}} {{topic}}",
                    ),
                    description="From the record's time to its acknowledgement by the other Kafka.",
                ),
                lines(
                    "Tasks",
                    units.Short,
                    (
                        "sum by (instance)"
                        " (kafka_connect_connect_worker_metrics_connector_running_task_count{*})",
                        "{{instance}} run",
                    ),
                    (
                        "sum by (instance)"
                        " (kafka_connect_connect_worker_metrics_connector_failed_task_count{*})",
                        "{{instance}} failed",
                    ),
                ),
                lines(
                    "Heap in use",
                    units.PercentUnit,
                    (
                        'jvm_memory_used_bytes{*, area="heap"} / jvm_memory_max_bytes{*,'
                        ' area="heap"}',
                        "{{instance}}",
                    ),
                    maximum=1,
                ),
            ),
        ),
    ),
)
