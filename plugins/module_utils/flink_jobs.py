# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What Flink says of its jobs and of itself. Nothing here decides or writes.

Only /overview and /jobs/overview are answered afresh. The rest comes from a cache that is up to
``web.refresh-interval`` old (3 s where it is not set); since each start of a job has an id of its
own, a stale answer is never about another job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import Mark, mark_of
from ansible_collections.bss.platform.plugins.module_utils.flink_rest import (
    NOT_FOUND,
    Api,
    FlinkRefused,
    root_cause,
)

LIKELY_GENERATIONS = 1_000_000
STEADY_MS = 10_000
ENDED = ("FINISHED", "CANCELED", "FAILED")
OPERATOR = re.compile(r"operator ([0-9a-f]{32})")


@dataclass(frozen=True)
class Job:
    """One job, as /jobs/overview tells it."""

    job_id: str
    name: str
    """That Flink has: a jar's main() may have chosen it."""
    state: str
    tasks: int = 0
    running: int = 0
    """Tasks that run, or have done all that they had to: a source may have come to its end."""
    started_ms: int = 0
    quiet_ms: int = STEADY_MS
    """How long nothing has happened to it or its tasks."""

    @cached_property
    def mark(self) -> Mark:
        return mark_of(self.job_id)

    @property
    def is_marked(self) -> bool:
        """Whether its id is one that flink_job gives: random ones have no small last part."""
        return 0 < self.mark.generation < LIKELY_GENERATIONS

    @property
    def is_live(self) -> bool:
        return self.state not in ENDED

    @property
    def runs(self) -> bool:
        """Whether all of its tasks do."""
        return self.state == "RUNNING" and self.running == self.tasks > 0

    @property
    def is_steady(self) -> bool:
        """Whether it runs and goes on so: one that fails in a loop runs from time to time."""
        return self.runs and self.quiet_ms >= STEADY_MS

    def __str__(self) -> str:
        tasks = f", {self.running} of {self.tasks} tasks run" if self.is_live else ""
        return f"{self.job_id} ({self.state}{tasks})"


@dataclass(frozen=True)
class Cluster:
    version: str
    taskmanagers: int
    slots: int
    free_slots: int


@dataclass(frozen=True)
class Checkpoints:
    """What a job has saved; addresses are None where there is none."""

    enabled: bool = True
    interval_ms: int = 0
    completed: int = 0
    failed: int = 0
    latest: str | None = None
    """Of the last checkpoint that is kept; a job that was stopped keeps none."""
    latest_ms: int | None = None
    savepoint: str | None = None
    savepoint_ms: int | None = None
    restored: str | None = None
    """What the job was started from."""


@dataclass(frozen=True)
class Failures:
    count: int
    cause: str = ""
    """Of the last one."""
    last_ms: int = 0


def read_jobs(api: Api) -> list[Job]:
    """All jobs that Flink knows: the live ones, and those that ended within the last hour."""
    return [
        Job(
            each["jid"],
            each["name"],
            each["state"],
            each["tasks"]["total"],
            each["tasks"]["running"] + each["tasks"]["finished"],
            each["start-time"],
            each["start-time"] + each["duration"] - each["last-modification"],
        )
        for each in api.get("/jobs/overview")["jobs"]
    ]


def read_job(api: Api, job_id: str) -> Job | None:
    return next((job for job in read_jobs(api) if job.job_id == job_id), None)


def read_cluster(api: Api) -> Cluster:
    said = api.get("/overview")
    return Cluster(
        said["flink-version"], said["taskmanagers"], said["slots-total"], said["slots-available"]
    )


def read_taskmanagers(api: Api) -> list[dict[str, Any]]:
    return [
        {"id": each["id"], "slots": each["slotsNumber"], "free_slots": each["freeSlots"]}
        for each in api.get("/taskmanagers")["taskmanagers"]
    ]


def read_settings(api: Api) -> dict[str, str]:
    """The JobManager's configuration; Flink hides what is secret."""
    return {each["key"]: str(each["value"]) for each in api.get("/jobmanager/config")}


def read_parallelism(api: Api, job_id: str) -> int:
    """The slots that the job takes: as many as the widest of its operators has subtasks."""
    vertices = api.get(f"/jobs/{job_id}")["vertices"]
    return max((each["parallelism"] for each in vertices), default=0)


def read_operators(api: Api, job_id: str) -> dict[str, str]:
    """Names of the operators that head a chain, by id."""
    return {each["id"]: each["name"] for each in api.get(f"/jobs/{job_id}")["vertices"]}


def read_checkpoints(api: Api, job_id: str) -> Checkpoints:
    try:
        config = api.get(f"/jobs/{job_id}/checkpoints/config")
        said = api.get(f"/jobs/{job_id}/checkpoints")
    except FlinkRefused as refusal:
        if refusal.status != NOT_FOUND:
            raise
        return Checkpoints(enabled=False)
    latest: Mapping[str, Any] = said["latest"]
    kept = latest["completed"] if not (latest["completed"] or {}).get("discarded") else None
    return Checkpoints(
        interval_ms=config["interval"],
        completed=said["counts"]["completed"],
        failed=said["counts"]["failed"],
        latest=(kept or {}).get("external_path"),
        latest_ms=(latest["completed"] or {}).get("latest_ack_timestamp"),
        savepoint=(latest["savepoint"] or {}).get("external_path"),
        savepoint_ms=(latest["savepoint"] or {}).get("latest_ack_timestamp"),
        restored=(latest["restored"] or {}).get("external_path"),
    )


def keeps_checkpoints(api: Api, job_id: str) -> bool:
    """Whether the last checkpoint of the job stays when it is cancelled."""
    try:
        kept = api.get(f"/jobs/{job_id}/checkpoints/config")["externalization"]
    except FlinkRefused as refusal:
        if refusal.status != NOT_FOUND:
            raise
        return False  # it makes none
    return bool(kept["enabled"] and not kept["delete_on_cancellation"])


def read_failures(api: Api, job_id: str, after_ms: int = 0) -> Failures:
    """How often the job failed since then, as far as Flink remembers, and why the last time."""
    try:
        history = api.get(f"/jobs/{job_id}/exceptions")["exceptionHistory"]["entries"]
    except FlinkRefused as refusal:
        if refusal.status != NOT_FOUND:
            raise
        return Failures(0)
    entries = [each for each in history if each["timestamp"] > after_ms]
    if not entries:
        return Failures(0)
    last = max(entries, key=lambda each: each["timestamp"])
    task = f" (task {last['taskName']})" if last.get("taskName") else ""
    return Failures(len(entries), f"{root_cause(last['stacktrace'])}{task}", last["timestamp"])


def with_operator_names(cause: str, names: Mapping[str, str]) -> str:
    """Flink names an operator whose state has no place by a digest only."""

    def named(found: re.Match[str]) -> str:
        name = names.get(found[1])
        return f"operator {name!r} ({found[1]})" if name else found.group()

    return OPERATOR.sub(named, cause)
