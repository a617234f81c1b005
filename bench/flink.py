# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Measure Flink with the three jobs of BSS: how many events a second, how late, how long away."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt

from bench.measuring import BIN, PROJECT, bars, inventory_of, measure, say, title
from bench.streams import Alert, Flink, Kafka, Watch

JOBS = ("customer_analytics", "order_processing", "fraud_patterns")
RAISES_ALERTS = ("order_processing", "fraud_patterns")

# Lines to beat: the target system's.
OFFERED = 50_000
OFFERED_S = 180
ALERT_MS = 100
RECOVERY_S = 5

BACKLOG = 2_000_000
LATENCY_RATES = (1_000, 20_000)
LATENCY_S = 60
# While JVMs compile, figures are of that.
NOT_COUNTED_S = 20
# What leaves the cores time for a JVM to start.
RECOVERY_RATE = 2_000
RECOVERY_S_AT_MOST = 900
KILLS = 3
# Event time of number 0, as the generator has it.
EVENTS_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
# Enough alerts to see when there are none: frauds that begin in a second.
FRAUDS_PER_S = 50


@dataclass
class Region:
    """The region under measurement, and how far its event time is."""

    inventory: str
    flink: Flink
    kafka: Kafka
    brokers: list[str]
    """Events are sent from the first one."""
    taskmanagers: list[str]
    event_s: float
    """Seconds of event time that the topics have: later events are younger than these."""


@dataclass
class Load:
    """A run of the generator."""

    began_ms: float
    samples: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    """Each second, what jobs had not read yet."""
    said: dict[str, Any] = field(default_factory=dict)
    """The generator's report."""
    cpu_s: float = 0.0


def flink(inventory: str) -> dict[str, Any]:
    region = region_of(inventory)
    run_jobs(region, JOBS)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "no_op": lambda: no_op(inventory),
        "catch_up": lambda: catch_up(region),
        "alert_latency_ms": lambda: {
            str(rate): alert_latency(region, rate) for rate in LATENCY_RATES
        },
        "offered": lambda: offered(region),
        "taskmanager_killed": lambda: taskmanager_killed(region),
        "savepoint_restart": lambda: savepoint_restart(region),
    }
    result = {}
    for name, part in parts.items():
        result[name] = part()
        # It takes a quarter of an hour: what is measured is shown, whatever comes.
        say(f"{name}: {json.dumps(result[name])}")
    return result


def region_of(inventory: str) -> Region:
    tree = inventory_of(inventory)
    hosts = tree["_meta"]["hostvars"]
    secrets = PROJECT / inventory / ".." / ".secrets"
    (jobmanager,) = tree["flink_jobmanager"]["hosts"]
    servers = [
        listener["advertised"]
        for broker in tree["kafka"]["hosts"]
        for listener in hosts[broker]["kafka_extra_listeners"]
    ]
    password = (secrets / "kafka_admin_password").read_text().strip()
    kafka = Kafka(servers, password, secrets / "ca")
    return Region(
        inventory=inventory,
        flink=Flink(f"https://{hosts[jobmanager]['ansible_host']}:8081", secrets / "flink_ca"),
        kafka=kafka,
        brokers=tree["kafka"]["hosts"],
        taskmanagers=tree["flink_taskmanager"]["hosts"],
        event_s=max(0.0, kafka.last_event_ms() / 1000 - EVENTS_BEGIN.timestamp()),
    )


def run_jobs(region: Region, jobs: Sequence[str], restart: bool = False) -> list[dict[str, Any]]:
    """Have these jobs run and no other; what flink_job says of them."""
    said: Any = measure(
        "flink_jobs", region.inventory, bench_running=list(jobs), bench_restart=restart
    )
    return list(said)


def no_op(inventory: str) -> dict[str, float]:
    seconds = measure("flink_no_op", inventory)
    return {
        **{name: round(value, 3) for name, value in seconds.items()},
        "ratio": round(seconds["tool_s"] / seconds["declare_s"], 1),
    }


@contextmanager
def load(region: Region, rate: int, seconds: int) -> Iterator[Load]:
    """Send events in the background; at the end, wait until all are sent and fetch the report.

    With rate 0, as many as BACKLOG, as fast as they go.
    """
    event_rate = rate or OFFERED
    region.event_s += 120  # past all that any job still takes for late
    count = rate * seconds or BACKLOG
    first = round(region.event_s * event_rate)
    region.event_s += count / event_rate
    run = Load(time.time() * 1000)
    with tempfile.TemporaryDirectory() as directory:
        variables = {
            "bss_workload_event_first": first,
            "bss_workload_event_count": count,
            "bss_workload_event_rate": rate,
            "bss_workload_event_time_rate": event_rate,
            "bss_workload_event_fraud_every": event_rate // FRAUDS_PER_S,
            # Not among those that check_streams looks at.
            "platform_reports_dir": directory,
        }
        before = region.flink.cpu_s()
        generator = subprocess.Popen(
            [
                *(BIN / "ansible-playbook", "-i", region.inventory),
                *("playbooks/generate_events.yml", "-e", json.dumps(variables)),
            ],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        sampler = threading.Thread(target=sample, args=(region, run, generator), daemon=True)
        sampler.start()
        yield run
        output = generator.communicate()[0]
        sampler.join()
        if generator.returncode:
            sys.exit(f"generate_events failed:\n{output[-4000:]}")
        (report,) = Path(directory).glob("events/*/report.json")
        run.said = json.loads(report.read_text())
        run.cpu_s = region.flink.cpu_s() - before


def end_load(region: Region) -> None:
    """Have the generator end now: it reports what it has sent so far."""
    name = "^/usr/bin/python3 .*/generate_events.py "
    tell(region, region.brokers[0], f"pkill --signal TERM --full '{name}'")


def tell(region: Region, host: str, command: str) -> None:
    """Run a command on a host."""
    subprocess.run(
        [BIN / "ansible", host, "-i", region.inventory, "--become", "-a", command],
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )


def sample(region: Region, run: Load, generator: subprocess.Popen[str]) -> None:
    """Note once a second what jobs have not read yet."""
    while generator.poll() is None:
        at = time.time() * 1000
        try:
            pending = pending_of(region)
        except OSError:  # while a TaskManager is away, so are its figures
            pending = {}
        run.samples.append((at, pending))
        try:
            generator.wait(max(0.0, 1 - (time.time() - at / 1000)))
        except subprocess.TimeoutExpired:
            continue


def pending_of(region: Region) -> dict[str, int]:
    """What jobs have not read yet, of those that run and know it."""
    counts = {name: region.flink.pending(job) for name, job in region.flink.jobs().items()}
    return {name: count for name, count in counts.items() if count is not None}


def left_of(region: Region, names: Collection[str]) -> int | None:
    """What these jobs have not read yet, together; None while one of them does not tell."""
    pending = pending_of(region)
    return sum(pending[name] for name in names) if pending.keys() >= {*names} else None


def wait_until(done: Callable[[], bool], what: str, seconds: float = 300) -> float:
    """Look ten times a second; how long it took."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > seconds:
            sys.exit(f"waited {seconds} s for nothing: {what}")
        time.sleep(0.1)
    return time.monotonic() - began


def catch_up(region: Region) -> dict[str, Any]:
    """Rates at which jobs read what had come while they were suspended."""
    rates: dict[str, Any] = {"events": BACKLOG}
    fill(region)
    for number, job in enumerate(JOBS, start=1):
        rates[job] = reading_rate(region, JOBS[:number], (job,))
    fill(region)
    rates["all three"] = reading_rate(region, JOBS, JOBS)
    return rates


def fill(region: Region) -> None:
    """Suspend the jobs, and send what they will have to read."""
    run_jobs(region, ())
    say(f"{BACKLOG:,} events")
    with load(region, 0, 0):
        pass


def reading_rate(region: Region, running: Sequence[str], watched: Sequence[str]) -> dict[str, Any]:
    """Records a second, from when the sources of all that are watched know what they have to read.

    That is after their first records: what they have read until then counts for nothing.
    """
    seen: list[tuple[float, dict[str, int]]] = []

    def look() -> None:
        known: set[str] = set()
        while not seen or any(seen[-1][1].values()):
            at, pending = time.monotonic(), pending_of(region)
            known |= {name for name, count in pending.items() if count}
            # One that does not tell, for a moment, has not read everything.
            if known.issuperset(watched) and pending.keys() >= {*watched}:
                seen.append((at, {name: pending[name] for name in watched}))
            time.sleep(0.2)

    before = region.flink.cpu_s()
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    run_jobs(region, running)
    thread.join(600)
    if thread.is_alive():
        sys.exit(f"{', '.join(watched)} did not read everything within ten minutes")
    cpu = region.flink.cpu_s() - before
    (began, records), (ended, _) = seen[0], seen[-1]
    return {
        "records": records,
        "records_per_s": round(sum(records.values()) / (ended - began)),
        "cpu_s_per_million_events": round(cpu / BACKLOG * 1e6, 1),
    }


def alert_latency(region: Region, rate: int) -> dict[str, Any]:
    say(f"alerts at {rate:,} events/s")
    with Watch(region.kafka) as watch:
        with load(region, rate, LATENCY_S) as run:
            pass
        # The latest alerts are those that count most: they come while what is left is read.
        wait_until(lambda: left_of(region, JOBS) == 0, "jobs read what is left", 900)
    return latency(region, run, watch.alerts)


def latency(region: Region, run: Load, alerts: Sequence[Alert]) -> dict[str, Any]:
    """From the send of an alert's last event to its arrival, by job, warm-up aside."""
    from_ms = run.began_ms
    sent = region.kafka.sent_at(from_ms, {each for alert in alerts for each in alert.event_ids})
    begin = min(sent.values(), default=0.0) + NOT_COUNTED_S * 1000
    found: dict[str, list[float]] = {job: [] for job in RAISES_ALERTS}
    for alert in alerts:
        times = [sent[each] for each in alert.event_ids if each in sent]
        if len(times) == len(alert.event_ids) and max(times) >= begin:
            found[job_of(alert)].append(alert.arrived_ms - max(times))
    return {
        "events_per_s": run.said["events_per_second"],
        "acknowledged_within_ms": run.said["acknowledged_within_ms"],
        **{job: percentiles(times) for job, times in found.items()},
    }


def job_of(alert: Alert) -> str:
    """Which job raises what: one pattern is of this one, the others of the other."""
    return RAISES_ALERTS[alert.pattern != "high_value_order"]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "alerts": len(ordered),
        **{
            f"p{percent}": round(ordered[min(len(ordered) * percent // 100, len(ordered) - 1)], 1)
            for percent in (50, 90, 99)
            if ordered
        },
    }


def offered(region: Region) -> dict[str, Any]:
    """What the target system promises: so many events a second with all jobs."""
    say(f"{OFFERED:,} events/s for {OFFERED_S} s")
    # The machine may take fewer: what counts is what it took in that time.
    with Watch(region.kafka) as watch:
        with load(region, OFFERED, 2 * OFFERED_S) as run:
            wait_until(lambda: any(any(p.values()) for _, p in run.samples), "the first events")
            end_at = time.monotonic() + OFFERED_S
            wait_until(lambda: time.monotonic() > end_at, "the end")
            end_load(region)
            told_ms = time.time() * 1000
        wait_until(lambda: left_of(region, JOBS) == 0, "jobs read what is left", 900)
        drained = time.time() - told_ms / 1000
    seen = [pending for at, pending in run.samples if len(pending) == len(JOBS) and at <= told_ms]
    recent = run.said["seconds"] - LATENCY_S
    late = [alert for alert in watch.alerts if alert.arrived_ms >= run.began_ms + recent * 1000]
    run.began_ms += recent * 1000
    return {
        "seconds": run.said["seconds"],
        "events_per_s": run.said["events_per_second"],
        "generator_behind_s": run.said["behind_s"],
        "generator_cpu_s_per_million_events": run.said["cpu_s_per_million"],
        "most_pending": {job: max(each[job] for each in seen) for job in JOBS},
        "pending_when_sent": seen[-1],
        "drained_after_s": round(drained, 1),
        "flink_cpu_s_per_million_events": round(run.cpu_s / run.said["acknowledged"] * 1e6, 1),
        "alert_latency_ms": latency(region, run, late),
    }


def taskmanager_killed(region: Region) -> dict[str, Any]:
    """How long no alert comes when a TaskManager is killed, of each job that raises them."""
    kills: list[float] = []
    with Watch(region.kafka) as watch, load(region, RECOVERY_RATE, RECOVERY_S_AT_MOST):
        for number in range(KILLS):
            warm(region)
            before = region.flink.taskmanagers()
            host = region.taskmanagers[number % len(region.taskmanagers)]
            say(f"kill -9 of the TaskManager of {host}")
            tell(region, host, "systemctl kill --signal=KILL flink-taskmanager")
            kills.append(time.time() * 1000)
            wait_whole(region, before)
        warm(region)
        end_load(region)
    pauses: dict[str, list[float]] = {}
    for killed, until in pairwise([*kills, time.time() * 1000]):
        for job in RAISES_ALERTS:
            arrived = [
                alert.arrived_ms
                for alert in watch.alerts
                if job_of(alert) == job and killed - 5_000 < alert.arrived_ms < until - 5_000
            ]
            longest = max(later - earlier for earlier, later in pairwise(arrived))
            pauses.setdefault(job, []).append(round(longest / 1000, 2))
    return {
        "events_per_s": RECOVERY_RATE,
        "longest_pause_s": pauses,
        "median_s": {job: median(each) for job, each in pauses.items()},
    }


def wait_whole(region: Region, before: set[str]) -> None:
    """Until a TaskManager has come in place of one of these, and every job runs."""

    def is_whole() -> bool:
        now = region.flink.taskmanagers()
        return len(now) == len(before) and now != before and set(JOBS) <= region.flink.jobs().keys()

    wait_until(is_whole, "TaskManagers and jobs are back")


def warm(region: Region) -> None:
    """Let JVMs compile, and jobs read what has waited."""
    warm_at = time.monotonic() + NOT_COUNTED_S
    wait_until(lambda: time.monotonic() > warm_at, "the warm-up")

    def is_close() -> bool:
        left = left_of(region, JOBS)
        return left is not None and left < RECOVERY_RATE

    wait_until(is_close, "jobs read what has waited")


def savepoint_restart(region: Region) -> dict[str, Any]:
    """How long a job is away that is stopped with a savepoint and goes on from it, under events."""
    with Watch(region.kafka) as watch, load(region, RECOVERY_RATE, 60):
        wait_until(lambda: bool(watch.alerts), "the first alert")
        said = run_jobs(region, JOBS, restart=True)
    return {"downtime_ms": {job["name"]: job["downtime_ms"] for job in said}}


def plot_flink(result: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    (rates, latencies), (recovery, declared) = axes
    read = {name: each for name, each in result["catch_up"].items() if name != "events"}
    offer = result["offered"]
    bars(
        rates,
        f"{OFFERED:,} events/s offered for {OFFERED_S} s: {offer['events_per_s']:,.0f}, "
        f"{sum(offer['pending_when_sent'].values()):,} pending",
        {f"{name}, catching up": each["records_per_s"] for name, each in read.items()}
        | {"offered, all three": offer["events_per_s"]},
        "records/s",
    )
    rates.axvline(OFFERED, linestyle="--", label=f"to beat: {OFFERED:,}")
    rates.legend()
    measured = result["alert_latency_ms"] | {str(OFFERED): offer["alert_latency_ms"]}
    bars(
        latencies,
        "alerts, from the send of the last event",
        {
            f"{int(rate):,} events/s, {job}, {quantile}": each[job][quantile]
            for rate, each in measured.items()
            for job in RAISES_ALERTS
            for quantile in ("p50", "p99")
        },
        "ms, logarithmic",
    )
    latencies.set_xscale("log")
    latencies.axvline(ALERT_MS, linestyle="--", label=f"to beat: {ALERT_MS} ms")
    latencies.legend()
    killed, moved = result["taskmanager_killed"], result["savepoint_restart"]
    bars(
        recovery,
        "no output after kill -9 of a TaskManager; restart with savepoint",
        {f"killed, {job}": seconds for job, seconds in killed["median_s"].items()}
        | {f"savepoint, {job}": ms / 1000 for job, ms in moved["downtime_ms"].items()},
        "s",
    )
    recovery.axvline(RECOVERY_S, linestyle="--", label=f"to beat: {RECOVERY_S} s")
    recovery.legend()
    bars(
        declared,
        f"three jobs declared, nothing to do: {result['no_op']['ratio']:.0f} times less",
        {"flink_job": result["no_op"]["declare_s"], "flink list": result["no_op"]["tool_s"]},
        "s",
    )
    title(figure, result, "Flink")
    figure.savefig(path)
