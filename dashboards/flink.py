# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Dashboards of Flink: its jobs, what streams through them, their checkpoints, its processes."""

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
    table,
)

JOBMANAGER, TASKMANAGER = "flink_jobmanager", "flink_taskmanager"
JOB = 'job_name=~"$flink_job"'
# Where a panel of the JobManager's row asks the TaskManagers.
ON_TASKMANAGERS = f'job="{TASKMANAGER}", {REGION}'
SOURCES = 'operator_name=~"Source:.*"'


def job_variable() -> Variable:
    return Variable("flink_job", "Job", f"flink_jobmanager_job_numRestarts{{{REGION}}}", "job_name")


def by_task(expr: str) -> str:
    """The values of each task, which is called by the beginning of its name."""
    return f'label_replace({expr}, "task", "$1", "task_name", "(.{{0,32}}).*")'


def rate_by_task(metric: str) -> str:
    return by_task(f"sum by (job_name, task_name) (rate({metric}{{*, {JOB}}}[$__rate_interval]))")


FLINK_JOB_OVERVIEW = Dashboard(
    uid="bss-flink-jobs",
    title="Flink Job Overview",
    description="Whether the jobs run, how far they are behind, and what stops them.",
    variables=(region_variable(), instance_variable(JOBMANAGER), job_variable()),
    rows=(
        Row(
            "At a glance",
            JOBMANAGER,
            (
                number(
                    "Jobs that run",
                    units.Short,
                    "sum(flink_jobmanager_numRunningJobs{*})",
                    texts=((0, "none", RED),),
                    decimals=0,
                    runbook="failures/flink-job-fails-again-and-again.md",
                ),
                none_wanted(
                    "Jobs that do not",
                    "sum(max by (region, job_name) (flink_jobmanager_job_runningTime"
                    f"{{*, {JOB}}}) == bool 0)",
                    description="Jobs that fail, start again, or wait for slots.",
                    runbook="failures/flink-job-fails-again-and-again.md",
                ),
                number(
                    "Restarts",
                    units.Short,
                    f"sum(increase(flink_jobmanager_job_numRestarts{{*, {JOB}}}[$__range]))",
                    description="In the time that is shown.",
                    thresholds=((1, YELLOW), (10, RED)),
                    decimals=0,
                    runbook="failures/flink-job-fails-again-and-again.md",
                ),
                number(
                    "TaskManagers",
                    units.Short,
                    "sum(flink_jobmanager_numRegisteredTaskManagers{*})",
                    description="Those that have registered with the JobManager.",
                    texts=((0, "none", RED),),
                    decimals=0,
                    runbook="failures/flink-taskmanager-lost.md",
                ),
                number(
                    "Slots",
                    units.Short,
                    "sum(flink_jobmanager_taskSlotsTotal{*})",
                    decimals=0,
                ),
                number(
                    "Free slots",
                    units.Short,
                    "sum(flink_jobmanager_taskSlotsAvailable{*})",
                    description="Where a lost TaskManager's tasks could go.",
                    texts=((0, "none", YELLOW),),
                    decimals=0,
                    runbook="failures/flink-slots-short.md",
                ),
            ),
        ),
        Row(
            "Jobs",
            JOBMANAGER,
            (
                table(
                    "Jobs",
                    ("job_name",),
                    (
                        "Runs for",
                        units.Milliseconds,
                        f"max by (job_name) (flink_jobmanager_job_runningTime{{*, {JOB}}})",
                    ),
                    (
                        "Restarts",
                        units.Short,
                        f"sum by (job_name) (flink_jobmanager_job_numRestarts{{*, {JOB}}})",
                    ),
                    (
                        "Read",
                        units.RecordsPerSecond,
                        "sum by (job_name) (rate(flink_taskmanager_job_task_operator_numRecordsIn"
                        f"{{{ON_TASKMANAGERS}, {JOB}, {SOURCES}}}[$__rate_interval]))",
                    ),
                    (
                        "Behind by",
                        units.Short,
                        "sum by (job_name) (flink_taskmanager_job_task_operator_pendingRecords"
                        f"{{{ON_TASKMANAGERS}, {JOB}}})",
                    ),
                    (
                        "Last checkpoint before",
                        units.Seconds,
                        "time() - max by (job_name)"
                        " (flink_jobmanager_job_lastCheckpointCompletedTimestamp"
                        f"{{*, {JOB}}} > 0) / 1000",
                    ),
                    (
                        "State",
                        units.BytesIEC,
                        f"max by (job_name) (flink_jobmanager_job_lastCheckpointFullSize{{*,"
                        f" {JOB}}} >= 0)",
                    ),
                    description="Behind by: records that the job has still to read from Kafka.",
                    height=6,
                    runbook="failures/flink-job-fails-again-and-again.md",
                ),
                lines(
                    "Records read",
                    units.RecordsPerSecond,
                    (
                        "sum by (job_name) (rate(flink_taskmanager_job_task_operator_numRecordsIn"
                        f"{{{ON_TASKMANAGERS}, {JOB}, {SOURCES}}}[$__rate_interval]))",
                        "{{job_name}}",
                    ),
                ),
                lines(
                    "Records behind",
                    units.Short,
                    (
                        "sum by (job_name) (flink_taskmanager_job_task_operator_pendingRecords"
                        f"{{{ON_TASKMANAGERS}, {JOB}}})",
                        "{{job_name}}",
                    ),
                    description="What the job has still to read from Kafka.",
                ),
                lines(
                    "Records written",
                    units.RecordsPerSecond,
                    (
                        "sum by (job_name) (rate(flink_taskmanager_job_task_operator_numRecordsSend"
                        f"{{{ON_TASKMANAGERS}, {JOB}}}[$__rate_interval]))",
                        "{{job_name}}",
                    ),
                ),
                lines(
                    "Restarts of each job",
                    units.Short,
                    (
                        "sum by (job_name) (increase(flink_jobmanager_job_numRestarts"
                        f"{{*, {JOB}}}[10m]))",
                        "{{job_name}}",
                    ),
                    description="In ten minutes.",
                    runbook="failures/flink-job-fails-again-and-again.md",
                ),
                lines(
                    "Busiest task",
                    units.PercentUnit,
                    (
                        "max by (job_name) (flink_taskmanager_job_task_busyTimeMsPerSecond"
                        f"{{{ON_TASKMANAGERS}, {JOB}}}) / 1000",
                        "{{job_name}}",
                    ),
                    description="Share of its time that the job's busiest subtask works. At 1 it"
                    " takes no more.",
                    maximum=1,
                    thresholds=((0.9, RED),),
                ),
                lines(
                    "Time without running",
                    units.Milliseconds,
                    (
                        f"max by (job_name) (flink_jobmanager_job_restartingTime{{*, {JOB}}})",
                        "{{job_name}} starts again",
                    ),
                    (
                        f"max by (job_name) (flink_jobmanager_job_failingTime{{*, {JOB}}})",
                        "{{job_name}} fails",
                    ),
                    description="How long a job has been in that state; 0 while it runs.",
                ),
            ),
        ),
    ),
)

STREAM_PROCESSING_METRICS = Dashboard(
    uid="bss-stream-processing",
    title="Stream Processing Metrics",
    description="What goes through the tasks of the jobs, how late, and where it is held up.",
    variables=(region_variable(), instance_variable(TASKMANAGER), job_variable()),
    rows=(
        Row(
            "Records",
            TASKMANAGER,
            (
                lines(
                    "Into tasks",
                    units.RecordsPerSecond,
                    (
                        rate_by_task("flink_taskmanager_job_task_numRecordsIn"),
                        "{{job_name}} {{task}}",
                    ),
                    description="Tasks that read from Kafka are under Read from Kafka.",
                ),
                lines(
                    "Out of tasks",
                    units.RecordsPerSecond,
                    (
                        rate_by_task("flink_taskmanager_job_task_numRecordsOut"),
                        "{{job_name}} {{task}}",
                    ),
                ),
                lines(
                    "Bytes into tasks",
                    units.BytesPerSecondIEC,
                    (
                        rate_by_task("flink_taskmanager_job_task_numBytesIn"),
                        "{{job_name}} {{task}}",
                    ),
                ),
            ),
        ),
        Row(
            "From and to Kafka",
            TASKMANAGER,
            (
                lines(
                    "Read from Kafka",
                    units.RecordsPerSecond,
                    (
                        "sum by (job_name, operator_name)"
                        " (rate(flink_taskmanager_job_task_operator_numRecordsIn"
                        f"{{*, {JOB}, {SOURCES}}}[$__rate_interval]))",
                        "{{job_name}} {{operator_name}}",
                    ),
                ),
                lines(
                    "Records behind",
                    units.Short,
                    (
                        "sum by (job_name, operator_name)"
                        " (flink_taskmanager_job_task_operator_pendingRecords"
                        f"{{*, {JOB}}})",
                        "{{job_name}} {{operator_name}}",
                    ),
                    description="What is still to be read from Kafka.",
                ),
                lines(
                    "Written to Kafka",
                    units.RecordsPerSecond,
                    (
                        "sum by (job_name, operator_name)"
                        " (rate(flink_taskmanager_job_task_operator_numRecordsSend"
                        f"{{*, {JOB}}}[$__rate_interval]))",
                        "{{job_name}} {{operator_name}}",
                    ),
                ),
                lines(
                    "Errors of sinks and sources",
                    units.CountsPerSecond,
                    (
                        "sum by (job_name)"
                        " (rate(flink_taskmanager_job_task_operator_numRecordsSendErrors"
                        f"{{*, {JOB}}}[$__rate_interval]))",
                        "{{job_name}} written",
                    ),
                    (
                        "sum by (job_name)"
                        " (rate(flink_taskmanager_job_task_operator_numRecordsInErrors"
                        f"{{*, {JOB}}}[$__rate_interval]))",
                        "{{job_name}} read",
                    ),
                    (
                        "sum by (job_name)"
                        " (rate(flink_taskmanager_job_task_operator_KafkaSourceReader_commitsFailed"
                        f"{{*, {JOB}}}[$__rate_interval]))",
                        "{{job_name}} offsets",
                    ),
                ),
                lines(
                    "Time of a write to Kafka",
                    units.Milliseconds,
                    (
                        "max by (job_name, operator_name)"
                        " (flink_taskmanager_job_task_operator_currentSendTime"
                        f"{{*, {JOB}}})",
                        "{{job_name}} {{operator_name}}",
                    ),
                    description="Of the last batch.",
                ),
                lines(
                    "Records left out for being late",
                    units.RecordsPerSecond,
                    (
                        "sum by (job_name)"
                        " (rate(flink_taskmanager_job_task_operator_numLateRecordsDropped"
                        f"{{*, {JOB}}}[$__rate_interval]))",
                        "{{job_name}}",
                    ),
                    description="What no window took.",
                    runbook="streams.md",
                ),
            ),
        ),
        Row(
            "How late",
            TASKMANAGER,
            (
                lines(
                    "Age of events when they are read",
                    units.Milliseconds,
                    (
                        "max by (job_name, operator_name)"
                        " (flink_taskmanager_job_task_operator_currentEmitEventTimeLag"
                        f"{{*, {JOB}}} > 0 < 1e12)",
                        "{{job_name}} {{operator_name}}",
                    ),
                    description="Between the time of the last event and its reading. Grows while"
                    " nothing new comes.",
                ),
                lines(
                    "Watermarks are behind the clock by",
                    units.Seconds,
                    (
                        by_task(
                            "time() - min by (job_name, task_name) "
                            f"(flink_taskmanager_job_task_currentInputWatermark{{*, {JOB}}} > 0) /"
                            f" 1000"
                        ),
                        "{{job_name}} {{task}}",
                    ),
                    description="A window closes when the watermark has passed its end.",
                    runbook="streams.md",
                    may_be_empty="before the first watermark there is none",
                ),
                lines(
                    "Sources without new records for",
                    units.Milliseconds,
                    (
                        "max by (job_name, operator_name)"
                        " (flink_taskmanager_job_task_operator_sourceIdleTime"
                        f"{{*, {JOB}}})",
                        "{{job_name}} {{operator_name}}",
                    ),
                ),
            ),
        ),
        Row(
            "Where it is held up",
            TASKMANAGER,
            (
                lines(
                    "Busy",
                    units.PercentUnit,
                    (
                        by_task(
                            "max by (job_name, task_name) "
                            f"(flink_taskmanager_job_task_busyTimeMsPerSecond{{*, {JOB}}}) / 1000"
                        ),
                        "{{job_name}} {{task}}",
                    ),
                    description="Share of its time that the busiest subtask works.",
                    maximum=1,
                    thresholds=((0.9, RED),),
                ),
                lines(
                    "Held up by the next task",
                    units.PercentUnit,
                    (
                        by_task(
                            "max by (job_name, task_name) "
                            f"(flink_taskmanager_job_task_backPressuredTimeMsPerSecond{{*,"
                            f" {JOB}}}) / 1000"
                        ),
                        "{{job_name}} {{task}}",
                    ),
                    description="Back pressure: share of its time that a subtask waits until its"
                    " output is taken.",
                    maximum=1,
                    thresholds=((0.5, RED),),
                ),
                lines(
                    "Buffers in front of tasks in use",
                    units.PercentUnit,
                    (
                        by_task(
                            "max by (job_name, task_name) "
                            "(flink_taskmanager_job_task_Shuffle_Netty_Input_Buffers_inPoolUsage"
                            f"{{*, {JOB}}})"
                        ),
                        "{{job_name}} {{task}}",
                    ),
                    description="Full where a task is too slow for what comes.",
                ),
            ),
        ),
    ),
)

CHECKPOINT_STATISTICS = Dashboard(
    uid="bss-checkpoints",
    title="Checkpoint Statistics",
    description="Whether the jobs' state is saved, how long that takes, how large it is.",
    variables=(region_variable(), instance_variable(f"{JOBMANAGER}|{TASKMANAGER}"), job_variable()),
    rows=(
        Row(
            "At a glance",
            JOBMANAGER,
            (
                number(
                    "Oldest last checkpoint",
                    units.Seconds,
                    "max(time() - max by (job_name)"
                    " (flink_jobmanager_job_lastCheckpointCompletedTimestamp"
                    f"{{*, {JOB}}} > 0) / 1000)",
                    description="What a job that starts again has to read once more.",
                    thresholds=((60, YELLOW), (300, RED)),
                    runbook="failures/flink-savepoint-fails.md",
                ),
                number(
                    "Longest last checkpoint",
                    units.Milliseconds,
                    f"max(flink_jobmanager_job_lastCheckpointDuration{{*, {JOB}}} >= 0)",
                ),
                number(
                    "Largest state",
                    units.BytesIEC,
                    f"max(flink_jobmanager_job_lastCheckpointFullSize{{*, {JOB}}} >= 0)",
                ),
                number(
                    "Checkpoints completed",
                    units.Short,
                    f"sum(increase(flink_jobmanager_job_numberOfCompletedCheckpoints{{*,"
                    f" {JOB}}}[$__range]))",
                    description="In the time that is shown.",
                    decimals=0,
                ),
                number(
                    "Checkpoints failed",
                    units.Short,
                    f"sum(increase(flink_jobmanager_job_numberOfFailedCheckpoints{{*,"
                    f" {JOB}}}[$__range]))",
                    description="In the time that is shown. A few, while a job starts, are"
                    " ordinary.",
                    thresholds=((5, YELLOW), (20, RED)),
                    decimals=0,
                    runbook="failures/flink-savepoint-fails.md",
                ),
                number(
                    "Checkpoints under way",
                    units.Short,
                    f"sum(flink_jobmanager_job_numberOfInProgressCheckpoints{{*, {JOB}}})",
                    decimals=0,
                ),
            ),
        ),
        Row(
            "Checkpoints of each job",
            JOBMANAGER,
            (
                lines(
                    "Since the last one",
                    units.Seconds,
                    (
                        "time() - max by (job_name)"
                        " (flink_jobmanager_job_lastCheckpointCompletedTimestamp"
                        f"{{*, {JOB}}} > 0) / 1000",
                        "{{job_name}}",
                    ),
                    runbook="failures/flink-savepoint-fails.md",
                ),
                lines(
                    "Duration",
                    units.Milliseconds,
                    (
                        f"max by (job_name) (flink_jobmanager_job_lastCheckpointDuration{{*,"
                        f" {JOB}}} >= 0)",
                        "{{job_name}}",
                    ),
                ),
                lines(
                    "Size of the state",
                    units.BytesIEC,
                    (
                        f"max by (job_name) (flink_jobmanager_job_lastCheckpointFullSize{{*,"
                        f" {JOB}}} >= 0)",
                        "{{job_name}} all",
                    ),
                    (
                        f"max by (job_name) (flink_jobmanager_job_lastCheckpointSize{{*, {JOB}}}"
                        f" >= 0)",
                        "{{job_name}} written",
                    ),
                    description="Of incremental checkpoints, only what is new is written.",
                ),
                lines(
                    "Completed",
                    units.Short,
                    (
                        "sum by (job_name)"
                        " (increase(flink_jobmanager_job_numberOfCompletedCheckpoints"
                        f"{{*, {JOB}}}[10m]))",
                        "{{job_name}}",
                    ),
                    description="In ten minutes.",
                ),
                lines(
                    "Failed",
                    units.Short,
                    (
                        "sum by (job_name) (increase(flink_jobmanager_job_numberOfFailedCheckpoints"
                        f"{{*, {JOB}}}[10m]))",
                        "{{job_name}}",
                    ),
                    description="In ten minutes.",
                    runbook="failures/flink-savepoint-fails.md",
                ),
                lines(
                    "Processed while one was taken",
                    units.BytesIEC,
                    (
                        f"max by (job_name) (flink_jobmanager_job_lastCheckpointProcessedData{{*,"
                        f" {JOB}}} >= 0)",
                        "{{job_name}}",
                    ),
                    description="Between the first and the last barrier that reached a task.",
                ),
            ),
        ),
        Row(
            "What takes the time",
            TASKMANAGER,
            (
                lines(
                    "Until a task begins",
                    units.Seconds,
                    (
                        by_task(
                            "max by (job_name, task_name) "
                            f"(flink_taskmanager_job_task_checkpointStartDelayNanos{{*, {JOB}}}) /"
                            f" 1e9"
                        ),
                        "{{job_name}} {{task}}",
                    ),
                    description="Long where barriers wait behind records: a task before it is held"
                    " up.",
                    width=12,
                ),
                lines(
                    "Waiting for all inputs",
                    units.Seconds,
                    (
                        by_task(
                            "max by (job_name, task_name) "
                            f"(flink_taskmanager_job_task_checkpointAlignmentTime{{*, {JOB}}}) /"
                            f" 1e9"
                        ),
                        "{{job_name}} {{task}}",
                    ),
                    description="Between a task's first and last barrier.",
                    width=12,
                ),
            ),
        ),
    ),
)

TASKMANAGER_RESOURCES = Dashboard(
    uid="bss-taskmanager-resources",
    title="TaskManager Resources",
    description="What the processes of Flink use: memory by kind, processors, threads, files.",
    variables=(region_variable(), instance_variable(f"{TASKMANAGER}|{JOBMANAGER}")),
    rows=(
        Row(
            "Memory of TaskManagers",
            TASKMANAGER,
            (
                lines(
                    "Heap in use",
                    units.PercentUnit,
                    (
                        "flink_taskmanager_Status_JVM_Memory_Heap_Used{*}"
                        " / flink_taskmanager_Status_JVM_Memory_Heap_Max{*}",
                        "{{instance}}",
                    ),
                    description="With the state of the jobs, where it is on the heap.",
                    maximum=1,
                    thresholds=((0.9, RED),),
                ),
                lines(
                    "Heap",
                    units.BytesIEC,
                    ("flink_taskmanager_Status_JVM_Memory_Heap_Used{*}", "{{instance}} in use"),
                    ("flink_taskmanager_Status_JVM_Memory_Heap_Max{*}", "{{instance}} at most"),
                ),
                lines(
                    "Managed memory",
                    units.BytesIEC,
                    (
                        "flink_taskmanager_Status_Flink_Memory_Managed_Used{*}",
                        "{{instance}} in use",
                    ),
                    (
                        "flink_taskmanager_Status_Flink_Memory_Managed_Total{*}",
                        "{{instance}} at most",
                    ),
                    description="Of RocksDB, and of windows while they are computed.",
                ),
                lines(
                    "Network buffers in use",
                    units.PercentUnit,
                    (
                        "flink_taskmanager_Status_Shuffle_Netty_UsedMemorySegments{*}"
                        " / flink_taskmanager_Status_Shuffle_Netty_TotalMemorySegments{*}",
                        "{{instance}}",
                    ),
                    description="At 1, no further task can start.",
                    maximum=1,
                    thresholds=((0.9, RED),),
                ),
                lines(
                    "Metaspace",
                    units.BytesIEC,
                    (
                        "flink_taskmanager_Status_JVM_Memory_Metaspace_Used{*}",
                        "{{instance}} in use",
                    ),
                    (
                        "flink_taskmanager_Status_JVM_Memory_Metaspace_Max{*}",
                        "{{instance}} at most",
                    ),
                    description="Classes of Flink and of jobs. It grows with restarts where a job"
                    " leaks its classes.",
                ),
                lines(
                    "Direct memory",
                    units.BytesIEC,
                    ("flink_taskmanager_Status_JVM_Memory_Direct_MemoryUsed{*}", "{{instance}}"),
                ),
            ),
        ),
        Row(
            "Work of TaskManagers",
            TASKMANAGER,
            (
                lines(
                    "Processors in use",
                    units.Short,
                    (
                        "rate(flink_taskmanager_Status_JVM_CPU_Time{*}[$__rate_interval]) / 1e9",
                        "{{instance}}",
                    ),
                    description="In processors: 2 means two of them, wholly.",
                ),
                lines(
                    "Time spent on collecting garbage",
                    units.PercentUnit,
                    (
                        "flink_taskmanager_Status_JVM_GarbageCollector_All_TimeMsPerSecond{*} /"
                        " 1000",
                        "{{instance}}",
                    ),
                    thresholds=((0.2, RED),),
                ),
                lines(
                    "Threads",
                    units.Short,
                    ("flink_taskmanager_Status_JVM_Threads_Count{*}", "{{instance}}"),
                ),
                lines(
                    "Open files",
                    units.PercentUnit,
                    (
                        "flink_taskmanager_Status_JVM_FileDescriptor_Open{*}"
                        " / flink_taskmanager_Status_JVM_FileDescriptor_Max{*}",
                        "{{instance}}",
                    ),
                    description="Of as many as the process may open.",
                ),
                lines(
                    "Records between TaskManagers",
                    units.BytesPerSecondIEC,
                    (
                        "sum by (instance)"
                        " (rate(flink_taskmanager_job_task_numBytesInRemote{*}[$__rate_interval]))",
                        "{{instance}} from others",
                    ),
                    (
                        "sum by (instance)"
                        " (rate(flink_taskmanager_job_task_numBytesInLocal{*}[$__rate_interval]))",
                        "{{instance}} from itself",
                    ),
                ),
                bars(
                    "Subtasks",
                    units.Short,
                    "count by (instance) (flink_taskmanager_job_task_numRecordsIn{*})",
                    "{{instance}}",
                    description="How the jobs are spread over the TaskManagers.",
                ),
            ),
        ),
        Row(
            "JobManager",
            JOBMANAGER,
            (
                lines(
                    "Heap of the JobManager in use",
                    units.PercentUnit,
                    (
                        "flink_jobmanager_Status_JVM_Memory_Heap_Used{*}"
                        " / flink_jobmanager_Status_JVM_Memory_Heap_Max{*}",
                        "{{instance}}",
                    ),
                    maximum=1,
                    thresholds=((0.9, RED),),
                ),
                lines(
                    "Processors that it uses",
                    units.Short,
                    (
                        "rate(flink_jobmanager_Status_JVM_CPU_Time{*}[$__rate_interval]) / 1e9",
                        "{{instance}}",
                    ),
                ),
                lines(
                    "Time that it spends on collecting garbage",
                    units.PercentUnit,
                    (
                        "flink_jobmanager_Status_JVM_GarbageCollector_All_TimeMsPerSecond{*} /"
                        " 1000",
                        "{{instance}}",
                    ),
                    thresholds=((0.2, RED),),
                ),
            ),
        ),
    ),
)
