#!/usr/bin/env python3
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Measure the region that `make demo` made; print, and write JSON and a plot.

Every figure is of this one run on the machine that is named with it. Nothing
here passes or fails: lines to beat are drawn, not asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BIN = Path(sys.executable).parent
PROJECT = Path(__file__).resolve().parent.parent
RESULTS = PROJECT / "bench" / "results"

# Lines to beat: the target system's, and those of the design.
REGION_S = 180
SECOND_RUN_S = 30
SINGLE_SHARD_MS = 10
CROSS_SHARD_MS = 100
LIST_RATIO = 100

STRATEGIES = {"mitogen": "bss.platform.fast_linear", "stock Ansible": "ansible.builtin.linear"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inventory", default="inventories/us-east")
    inventory = parser.parse_args().inventory
    demo = PROJECT / "reports" / "demo.json"
    result: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "citus": citus_version(),
        "demo_s": json.loads(demo.read_text()) if demo.is_file() else None,
        "second_run": second_run(inventory),
        "declare_200_tables": {
            name: declare_tables(inventory, strategy) for name, strategy in STRATEGIES.items()
        },
        "latency": measure("latency", inventory),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(result, indent=2) + "\n")
    plot(result, RESULTS / "latest.svg")
    print(json.dumps(result, indent=2))
    return 0


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


def playbook(name: Path | str, inventory: str, *more: str, strategy: str | None = None) -> str:
    """Run a playbook and return what it printed; its failure ends the bench."""
    run = subprocess.run(
        [BIN / "ansible-playbook", "-i", inventory, str(name), *more],
        cwd=PROJECT,
        env=os.environ | ({"ANSIBLE_STRATEGY": strategy} if strategy else {}),
        capture_output=True,
        text=True,
    )
    if run.returncode:
        sys.exit(f"{name} failed:\n{run.stdout[-4000:]}\n{run.stderr[-2000:]}")
    return run.stdout


def second_run(inventory: str) -> dict[str, Any]:
    print("site.yml on the converged region ...", file=sys.stderr, flush=True)
    began = time.monotonic()
    output = playbook("playbooks/site.yml", inventory)
    return {
        "seconds": round(time.monotonic() - began, 1),
        "changed": sum(int(count) for count in re.findall(r"changed=(\d+)", output)),
    }


def declare_tables(inventory: str, strategy: str) -> dict[str, float]:
    seconds = measure("declare_tables", inventory, strategy)
    return seconds | {"ratio": round(seconds["loop_s"] / seconds["list_s"], 1)}


def measure(name: str, inventory: str, strategy: str | None = None) -> dict[str, Any]:
    print(f"{name} {strategy or ''} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "output.json"
        playbook(f"bench/{name}.yml", inventory, "-e", f"bench_output={output}", strategy=strategy)
        measured: dict[str, Any] = json.loads(output.read_text())
        return measured


def citus_version() -> str:
    """Which Citus the figures are of, as verify's report of this region says."""
    report = PROJECT / "reports" / "verify.json"
    if not report.is_file():
        return "unknown: run verify first"
    results = json.loads(report.read_text())["results"]
    return next((r["detail"] for r in results if r["name"] == "coordinator_answers"), "unknown")


def plot(result: dict[str, Any], path: Path) -> None:
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
    where = result["machine"]
    figure.suptitle(
        f"bss.platform, {result['when']}: {where['cores']} x {where['cpu']}, "
        f"{where['memory_gib']} GiB, {result['citus']}",
        fontsize=9,
    )
    figure.savefig(path)


def bars(axis: plt.Axes, title: str, values: dict[str, float], unit: str) -> None:
    drawn = axis.barh(list(values), list(values.values()))
    axis.bar_label(drawn, fmt="%.3g", padding=3)
    axis.invert_yaxis()
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(unit)
    axis.margins(x=0.15)


if __name__ == "__main__":
    sys.exit(main())
