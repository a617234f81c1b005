# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Measure the region that `make demo` made; print, and write JSON and a plot.

    python -m bench.run [--inventory DIRECTORY] [--only citus|kafka|flink|prometheus]

Every figure is of this one run on the machine that is named with it. Nothing
here passes or fails: lines to beat are drawn, not asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt

from bench.flink import flink, plot_flink
from bench.measuring import PROJECT, bars, hosts_of, measure, playbook, say, title
from bench.prometheus import plot_prometheus, prometheus

RESULTS = PROJECT / "bench" / "results"

# Lines to beat: the target system's, and those of the design.
REGION_S = 180
SECOND_RUN_S = 30
SINGLE_SHARD_MS = 10
CROSS_SHARD_MS = 100
LIST_RATIO = 100

STRATEGIES = {"mitogen": "bss.platform.fast_linear", "stock Ansible": "ansible.builtin.linear"}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--inventory", default="inventories/us-east")
    parser.add_argument("--only", choices=PARTS, help="measure this part and leave the others")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for part in [options.only] if options.only else PARTS:
        measure_part, plot_part = PARTS[part]
        result = {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            **measure_part(options.inventory),
        }
        (RESULTS / f"{part}.json").write_text(json.dumps(result, indent=2) + "\n")
        plot_part(result, RESULTS / f"{part}.svg")
        print(json.dumps(result, indent=2))
    return 0


def citus(inventory: str) -> dict[str, Any]:
    demo = PROJECT / "reports" / "demo.json"
    return {
        "citus": citus_version(),
        "demo_s": json.loads(demo.read_text()) if demo.is_file() else None,
        "second_run": second_run(inventory),
        "declare_200_tables": {
            name: declare_tables(inventory, strategy) for name, strategy in STRATEGIES.items()
        },
        "latency": measure("latency", inventory),
    }


def kafka(inventory: str) -> dict[str, Any]:
    return {
        "producer": compare_producers(measure("kafka_producer", inventory)),
        "rolling_restart": rolling_restart(inventory),
        "declare_200_topics": declare_topics(inventory),
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on; without names of the machine itself."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model.group(1) if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def second_run(inventory: str) -> dict[str, Any]:
    say("site.yml on the converged region")
    began = time.monotonic()
    output = playbook("playbooks/site.yml", inventory)
    return {
        "seconds": round(time.monotonic() - began, 1),
        "changed": sum(int(count) for count in re.findall(r"changed=(\d+)", output)),
    }


def declare_tables(inventory: str, strategy: str) -> dict[str, float]:
    seconds = measure("declare_tables", inventory, strategy)
    return seconds | {"ratio": round(seconds["loop_s"] / seconds["list_s"], 1)}


def compare_producers(measured: dict[str, Any]) -> dict[str, Any]:
    """Medians of the runs, by load; ratios are the platform's to those by hand."""
    runs = [run | producer_figures(run["said"]) for run in measured.pop("runs")]
    result = dict(measured)
    for load in dict.fromkeys(run["load"] for run in runs):
        of_load: dict[str, Any] = {
            cluster: {
                figure: median(
                    run[figure] for run in runs if (run["load"], run["cluster"]) == (load, cluster)
                )
                for figure in ("records_per_s", "p50_ms", "p99_ms")
            }
            for cluster in ("platform", "by_hand")
        }
        of_load["ratio"] = {
            figure: round(value / of_load["by_hand"][figure], 2)
            for figure, value in of_load["platform"].items()
        }
        of_load["runs"] = [
            {name: value for name, value in run.items() if name not in ("load", "said")}
            for run in runs
            if run["load"] == load
        ]
        result[load] = of_load
    return result


def producer_figures(said: str) -> dict[str, float]:
    """What Kafka's ProducerPerformance says in its last line, of what came after the warm-up."""
    found = re.fullmatch(
        r"\d+ steady state records sent, ([\d.]+) records/sec .*"
        r" ([\d.]+) ms 50th, .* ([\d.]+) ms 99th, .*",
        said,
    )
    if not found:
        sys.exit(f"ProducerPerformance did not end with its summary but with: {said}")
    rate, p50, p99 = map(float, found.groups())
    return {"records_per_s": rate, "p50_ms": p50, "p99_ms": p99}


def rolling_restart(inventory: str) -> dict[str, Any]:
    """Seconds of each node, from its first gate to its last."""
    say("kafka_rolling_restart")
    hosts = hosts_of(inventory, "kafka")
    output = playbook(
        "playbooks/kafka_rolling_restart.yml",
        inventory,
        "-e",
        json.dumps({"kafka_restart_hosts": hosts}),
        settings={
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            # In the place of those of ansible.cfg, which would print between the JSON.
            "ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.json",
        },
    )
    return restart_times(json.loads(output)["plays"])


def restart_times(plays: list[dict[str, Any]]) -> dict[str, Any]:
    """Each node is a batch of its own of the play that restarts them, in this order."""
    seconds = {}
    for play in plays:
        if play["play"]["name"] == "Restart one node at a time":
            (host,) = {host for task in play["tasks"] for host in task["hosts"]}
            began, ended = (
                datetime.fromisoformat(play["play"]["duration"][moment])
                for moment in ("start", "end")
            )
            seconds[host] = round((ended - began).total_seconds(), 1)
    return {"seconds_per_broker": seconds, "median_s": median(seconds.values())}


def declare_topics(inventory: str) -> dict[str, float]:
    seconds = measure("kafka_topics", inventory)
    tool_s = 200 * seconds["tool_s_per_topic"]
    return seconds | {
        "tool_200_s": round(tool_s, 1),
        "ratio": round(tool_s / seconds["list_s"], 1),
        "ratio_describe_all": round(seconds["tool_describe_all_s"] / seconds["list_s"], 1),
    }


def citus_version() -> str:
    """Which Citus the figures are of, as verify's report of this region says."""
    report = PROJECT / "reports" / "verify.json"
    if not report.is_file():
        return "unknown: run verify first"
    results = json.loads(report.read_text())["results"]
    return next((r["detail"] for r in results if r["name"] == "coordinator_answers"), "unknown")


def plot_citus(result: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    (parts, again), (tables, latency) = axes
    demo = result["demo_s"] or {}
    bars(parts, "make demo, by part", demo, "s")
    second = {"second run": result["second_run"]["seconds"]}
    bars(again, f"site.yml again, {result['second_run']['changed']} changed", second, "s")
    again.axvline(SECOND_RUN_S, linestyle="--", label=f"to beat: {SECOND_RUN_S} s")
    again.legend()
    declared = result["declare_200_tables"]
    ratios = " and ".join(f"{seconds['ratio']:.0f}" for seconds in declared.values())
    bars(
        tables,
        f"200 tables declared: {ratios} times less (to beat: {LIST_RATIO})",
        {
            f"{what}, {name}": seconds[f"{what}_s"]
            for name, seconds in declared.items()
            for what in ("list", "loop")
        },
        "s, logarithmic",
    )
    tables.set_xscale("log")
    points = {
        f"{query.replace('_', '-')} {quantile}": measured[f"{quantile}_ms"]
        for query, measured in result["latency"].items()
        for quantile in ("p50", "p99")
    }
    bars(latency, "latency under 16 clients", points, "ms, logarithmic")
    latency.set_xscale("log")
    for limit, what in ((SINGLE_SHARD_MS, "single"), (CROSS_SHARD_MS, "cross")):
        latency.axvline(limit, linestyle="--", label=f"to beat, {what}-shard: {limit} ms")
    latency.legend()
    title(figure, result, result["citus"])
    figure.savefig(path)


def plot_kafka(result: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    (throughput, latency), (restart, topics) = axes
    clusters = {"platform": "TLS, SCRAM, ACLs", "by_hand": "by hand, plaintext"}
    most, some = result["producer"]["as_many_as_possible"], result["producer"]["5000_a_second"]
    bars(
        throughput,
        f"producer, acks=all: {most['ratio']['records_per_s']:.0%} of plaintext",
        {label: most[name]["records_per_s"] for name, label in clusters.items()},
        "records/s",
    )
    bars(
        latency,
        f"at 5000 records/s: p99 is {some['ratio']['p99_ms']:.1f} times that of plaintext",
        {
            f"{label}, {quantile}": some[name][f"{quantile}_ms"]
            for name, label in clusters.items()
            for quantile in ("p50", "p99")
        },
        "ms",
    )
    restarted = result["rolling_restart"]
    bars(restart, "rolling restart, gates included", restarted["seconds_per_broker"], "s")
    declared = result["declare_200_topics"]
    bars(
        topics,
        f"200 topics declared: {declared['ratio']:.0f} times less",
        {
            "list": declared["list_s"],
            "kafka-topics, describe all": declared["tool_describe_all_s"],
            "kafka-topics, create each": declared["tool_200_s"],
        },
        "s, logarithmic",
    )
    topics.set_xscale("log")
    title(figure, result, "Kafka")
    figure.savefig(path)


PARTS: dict[
    str,
    tuple[Callable[[str], dict[str, Any]], Callable[[dict[str, Any], Path], None]],
] = {
    "citus": (citus, plot_citus),
    "kafka": (kafka, plot_kafka),
    "flink": (flink, plot_flink),
    "prometheus": (prometheus, plot_prometheus),
}

if __name__ == "__main__":
    sys.exit(main())
