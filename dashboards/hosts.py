# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Dashboard of the machines that the platform runs on."""

from __future__ import annotations

from grafana_foundation_sdk.models import units

from dashboards.panels import (
    RED,
    YELLOW,
    Dashboard,
    Row,
    bars,
    instance_variable,
    lines,
    none_wanted,
    number,
    region_variable,
)

# What is a disk, and not memory. The exporter leaves out what is neither.
DISKS = 'fstype!~"tmpfs|ramfs"'

NODE_HEALTH = Dashboard(
    uid="bss-node-health",
    title="Node Health",
    description="The hosts of the platform: processors, memory, disks, network, units, clocks.",
    variables=(region_variable(), instance_variable("node")),
    rows=(
        Row(
            "At a glance",
            "node",
            (
                none_wanted(
                    "Hosts that do not answer",
                    "sum(up{*} == bool 0)",
                    description="Hosts whose node exporter Prometheus cannot scrape.",
                    runbook="failures/host-lost.md",
                ),
                number(
                    "Busiest processors",
                    units.PercentUnit,
                    'max(1 - avg by (instance) (rate(node_cpu_seconds_total{*, mode="idle"}'
                    "[$__rate_interval])))",
                    thresholds=((0.8, YELLOW), (0.95, RED)),
                    decimals=0,
                ),
                number(
                    "Least memory left",
                    units.PercentUnit,
                    "min(node_memory_MemAvailable_bytes{*} / node_memory_MemTotal_bytes{*})",
                    description="What a host could still give to processes, as a share of what it"
                    " has.",
                    decimals=0,
                ),
                number(
                    "Fullest disk",
                    units.PercentUnit,
                    f"max(1 - node_filesystem_avail_bytes{{*, {DISKS}}}"
                    f" / node_filesystem_size_bytes{{*, {DISKS}}})",
                    thresholds=((0.8, YELLOW), (0.9, RED)),
                    decimals=0,
                    runbook="failures/disk-full.md",
                ),
                none_wanted(
                    "Failed units",
                    'sum(node_systemd_units{*, state="failed"})',
                    description="Units that systemd has given up on.",
                ),
                none_wanted(
                    "Killed for memory",
                    "sum(increase(node_vmstat_oom_kill{*}[$__range]))",
                    description="Processes that the kernel has killed in the time that is shown.",
                ),
            ),
        ),
        Row(
            "Processors and memory",
            "node",
            (
                lines(
                    "Processors in use",
                    units.PercentUnit,
                    (
                        '1 - avg by (instance) (rate(node_cpu_seconds_total{*, mode="idle"}'
                        "[$__rate_interval]))",
                        "{{instance}}",
                    ),
                    maximum=1,
                ),
                lines(
                    "Load for each processor",
                    units.Short,
                    (
                        "node_load5{*} / on (instance, region) count by (instance, region)"
                        ' (node_cpu_seconds_total{*, mode="idle"})',
                        "{{instance}}",
                    ),
                    description="Processes that run or want to, on average over five minutes.",
                    thresholds=((2, RED),),
                ),
                lines(
                    "Time that processes waited for a processor",
                    units.PercentUnit,
                    (
                        "rate(node_pressure_cpu_waiting_seconds_total{*}[$__rate_interval])",
                        "{{instance}}",
                    ),
                    description="Share of the time in which some process had to wait.",
                ),
                lines(
                    "Memory left",
                    units.BytesIEC,
                    ("node_memory_MemAvailable_bytes{*}", "{{instance}}"),
                ),
                lines(
                    "Pages read back from disk",
                    units.CountsPerSecond,
                    ("rate(node_vmstat_pgmajfault{*}[$__rate_interval])", "{{instance}}"),
                    description="Major page faults: memory is so short that code and data are"
                    " dropped and read again.",
                ),
                lines(
                    "Time that processes waited for memory",
                    units.PercentUnit,
                    (
                        "rate(node_pressure_memory_waiting_seconds_total{*}[$__rate_interval])",
                        "{{instance}}",
                    ),
                    description="Share of the time in which some process had to wait.",
                ),
            ),
        ),
        Row(
            "Disks",
            "node",
            (
                bars(
                    "Disks in use",
                    units.PercentUnit,
                    "max by (instance, mountpoint) (1 - node_filesystem_avail_bytes"
                    f"{{*, {DISKS}}} / node_filesystem_size_bytes{{*, {DISKS}}})",
                    "{{instance}} {{mountpoint}}",
                    maximum=1,
                    thresholds=((0.8, YELLOW), (0.9, RED)),
                    height=9,
                    runbook="failures/disk-full.md",
                ),
                lines(
                    "Full at this rate in",
                    units.Seconds,
                    (
                        f"min by (instance, mountpoint) (node_filesystem_avail_bytes{{*, {DISKS}}}"
                        f" / clamp_min(-deriv(node_filesystem_avail_bytes{{*, {DISKS}}}[30m]), 1))"
                        " < 30 * 86400",
                        "{{instance}} {{mountpoint}}",
                    ),
                    description="Disks that last for less than 30 days if they fill as in the last"
                    " half hour.",
                    runbook="failures/disk-full.md",
                    may_be_empty="no disk fills that fast",
                ),
                lines(
                    "Time that disks were busy",
                    units.PercentUnit,
                    (
                        "rate(node_disk_io_time_seconds_total{*}[$__rate_interval])",
                        "{{instance}} {{device}}",
                    ),
                    maximum=1,
                ),
                lines(
                    "Read and written",
                    units.BytesPerSecondIEC,
                    (
                        "sum by (instance) (rate(node_disk_read_bytes_total{*}[$__rate_interval]))",
                        "{{instance}} read",
                    ),
                    (
                        "sum by (instance)"
                        " (rate(node_disk_written_bytes_total{*}[$__rate_interval]))",
                        "{{instance}} written",
                    ),
                ),
                lines(
                    "Time that processes waited for disks",
                    units.PercentUnit,
                    (
                        "rate(node_pressure_io_waiting_seconds_total{*}[$__rate_interval])",
                        "{{instance}}",
                    ),
                    description="Share of the time in which some process had to wait.",
                ),
                bars(
                    "Files that can still be made",
                    units.PercentUnit,
                    "min by (instance, mountpoint) (node_filesystem_files_free"
                    f"{{*, {DISKS}}} / (node_filesystem_files{{*, {DISKS}}} > 0))",
                    "{{instance}} {{mountpoint}}",
                    maximum=1,
                    description="Free inodes; where a file system has no limit, it is not shown.",
                ),
            ),
        ),
        Row(
            "Network, files and clocks",
            "node",
            (
                lines(
                    "Received and sent",
                    units.BytesPerSecondIEC,
                    (
                        "sum by (instance) (rate(node_network_receive_bytes_total"
                        "{*}[$__rate_interval]))",
                        "{{instance}} received",
                    ),
                    (
                        "sum by (instance) (rate(node_network_transmit_bytes_total"
                        "{*}[$__rate_interval]))",
                        "{{instance}} sent",
                    ),
                ),
                lines(
                    "Packets lost or broken",
                    units.PacketsPerSecond,
                    (
                        "sum by (instance)"
                        " (rate(node_network_receive_errs_total{*}[$__rate_interval])"
                        " + rate(node_network_transmit_errs_total{*}[$__rate_interval])"
                        " + rate(node_network_receive_drop_total{*}[$__rate_interval])"
                        " + rate(node_network_transmit_drop_total{*}[$__rate_interval]))",
                        "{{instance}}",
                    ),
                ),
                lines(
                    "Segments sent again",
                    units.PercentUnit,
                    (
                        "rate(node_netstat_Tcp_RetransSegs{*}[$__rate_interval])"
                        " / (rate(node_netstat_Tcp_OutSegs{*}[$__rate_interval]) > 0)",
                        "{{instance}}",
                    ),
                    description="Share of TCP's segments that were not acknowledged in time.",
                ),
                lines(
                    "Open files",
                    units.PercentUnit,
                    ("node_filefd_allocated{*} / node_filefd_maximum{*}", "{{instance}}"),
                    description="Of as many as the kernel allows on the host.",
                ),
                lines(
                    "Clock is off by",
                    units.Seconds,
                    ("abs(node_time_seconds{*} - timestamp(node_time_seconds{*}))", "{{instance}}"),
                    description="From the clock of Prometheus' host; a scrape takes part of it.",
                ),
                lines(
                    "Up since",
                    units.DurationSeconds,
                    ("node_time_seconds{*} - node_boot_time_seconds{*}", "{{instance}}"),
                ),
            ),
        ),
    ),
)
