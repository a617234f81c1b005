# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What cannot be declared of Flink's jobs, and why; pure.

What only Flink can judge (whether SQL parses, tables are there, main() runs) is not here: Flink is
asked for it on trial, which starts nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.flink_job_files import Snapshot
from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import Spec
from ansible_collections.bss.platform.plugins.module_utils.flink_jobs import Cluster, Job
from ansible_collections.bss.platform.plugins.module_utils.flink_secrets import masked_sql
from ansible_collections.bss.platform.plugins.module_utils.flink_sql_text import (
    only_prepares,
    setting_of,
    split_statements,
    starts_job,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Refusal, counted

OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str"},
    "jar": {"type": "path"},
    "sql": {"type": "str"},
    "sql_file": {"type": "path"},
    "entry_class": {"type": "str"},
    "args": {"type": "list", "elements": "str"},
    "parallelism": {"type": "int"},
    "config": {"type": "dict"},
    "state": {"type": "str", "choices": ["present", "suspended", "absent"]},
    "upgrade_mode": {"type": "str", "choices": ["savepoint", "last_state", "stateless"]},
    "savepoint": {"type": "str"},
    "savepoint_format": {"type": "str", "choices": ["canonical", "native"]},
    "allow_non_restored_state": {"type": "bool"},
    "take_savepoint": {"type": "bool"},
    "restart": {"type": "bool"},
    "drop_state": {"type": "bool"},
}
"""Of one job."""

OPTIONS_IN_LIST = {**OPTIONS, "name": {"type": "str", "required": True}}

LEGAL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

GOVERNED = {
    "pipeline.name": "name",
    "parallelism.default": "parallelism",
    "$internal.pipeline.job-id": "name",
    "execution.checkpointing.savepoint-dir": "savepoint_dir",
    "execution.state-recovery.path": "savepoint",
    "execution.state-recovery.claim-mode": "savepoint",
    "execution.state-recovery.ignore-unclaimed-state": "allow_non_restored_state",
    # As they were called before Flink 2; it still takes them.
    "state.savepoints.dir": "savepoint_dir",
    "execution.savepoint.path": "savepoint",
    "execution.savepoint-restore-mode": "savepoint",
    "execution.savepoint.ignore-unclaimed-state": "allow_non_restored_state",
}
"""Settings that options of the module stand for."""

OF_CLUSTER = (
    "execution.checkpointing.dir",
    "state.checkpoints.dir",
    "execution.checkpointing.externalized-checkpoint-retention",
)
"""Settings by which what a job saved last is found again; a job must not have its own."""


@dataclass(frozen=True)
class Declaration:
    """One job as it was declared."""

    name: str
    spec: Spec | None = None
    """None where nothing is said of what it runs: then it can only be ended."""
    jar_classes: Collection[str] | None = None
    """None where there is no jar, or what is there is not one."""
    state: str = "present"
    upgrade_mode: str = "savepoint"
    savepoint: str | None = None
    savepoint_format: str = "canonical"
    allow_non_restored_state: bool = False
    take_savepoint: bool = False
    restart: bool = False
    drop_state: bool = False

    @property
    def is_wanted(self) -> bool:
        return self.state == "present"

    def __str__(self) -> str:
        return f"job {self.name}"


@dataclass(frozen=True)
class Present:
    """What there is of one declared name."""

    live: tuple[Job, ...] = ()
    strangers: tuple[Job, ...] = ()
    """Live jobs of that name that this module did not start."""
    ended: tuple[Job, ...] = ()
    """That Flink remembers, the newest last."""
    lost: tuple[Job, ...] = ()
    """Of those, the ones that had saved state, which is not found."""
    snapshots: tuple[Snapshot, ...] = ()
    """Savepoints and kept checkpoints, the newest last."""
    records: Mapping[str, Spec] = field(default_factory=dict)
    """What former jobs ran, by their id, as far as it is known."""
    parallelism: int = 0
    """Slots that the live job takes."""
    keeps_checkpoints: bool = True
    """Whether the live job's last checkpoint stays when it is cancelled."""
    savepoint_is_missing: bool = False
    """Whether the declared savepoint is looked for in vain on this host."""

    @property
    def job(self) -> Job | None:
        return self.live[0] if self.live else None

    @property
    def newest(self) -> Snapshot | None:
        return self.snapshots[-1] if self.snapshots else None

    @property
    def last_generation(self) -> int:
        return max(
            (
                *(each.mark.generation for each in (*self.live, *self.ended)),
                *(each.age[0] for each in self.snapshots),
            ),
            default=0,
        )


@dataclass(frozen=True)
class Current:
    """All that is there, as far as it was needed to be read."""

    jobs: Mapping[str, Present] = field(default_factory=dict)
    cluster: Cluster | None = None
    default_parallelism: int = 1
    files_are_here: bool = True
    """Whether savepoints and checkpoints could be looked for."""
    savepoints: str = ""
    """The directory of savepoints."""


def refusals_of_list(declared: Sequence[Declaration]) -> Iterator[Refusal]:
    counts = Counter(each.name for each in declared)
    for name in sorted(name for name, count in counts.items() if count > 1):
        yield Refusal(
            f"job {name}",
            "it is in the list more than once",
            "a job can be declared only once",
            "leave one of them, or name them apart",
        )


def refusals_of(job: Declaration, present: Present, gateway: bool) -> Iterator[Refusal]:
    """What is wrong with one declared job; ``gateway`` says whether there is a SQL Gateway."""
    if not LEGAL_NAME.fullmatch(job.name):
        yield Refusal(
            f"job {job.name!r}",
            f"a name of {counted(len(job.name), 'character')}",
            "its savepoints are kept in a directory of that name",
            "use up to 100 letters (a-z, A-Z), digits, dots, underscores and hyphens, a letter or "
            "digit first",
        )
        return
    yield from _refusals_of_live(job, present)
    if job.is_wanted:
        yield from _refusals_of_program(job, gateway)
        yield from _refusals_of_settings(job)
        yield from _refusals_of_savepoint(job, present)
    elif job.take_savepoint or job.restart:
        yield Refusal(
            f"{job} {job.state} with {'restart' if job.restart else 'take_savepoint'}",
            "a job that is not to run",
            "a job is stopped with a savepoint anyway, and one that is stopped cannot restart",
            "leave that option out, or declare the job present",
        )
    if job.upgrade_mode == "last_state" and not present.keeps_checkpoints and not job.drop_state:
        yield Refusal(
            f"{job}: upgrade_mode last_state",
            f"job {present.job}, of which no checkpoint stays when it is cancelled",
            "nothing would be left to go on from",
            "use upgrade_mode: savepoint; for jobs to come, set execution.checkpointing."
            "externalized-checkpoint-retention of the cluster to RETAIN_ON_CANCELLATION",
        )
    if job.drop_state and job.state != "absent":
        yield Refusal(
            f"{job} {job.state} with drop_state",
            "a job whose state is to be kept",
            "only what is absent has no use for its state",
            "declare state: absent as well, or upgrade_mode: stateless to start anew",
        )


def _refusals_of_live(job: Declaration, present: Present) -> Iterator[Refusal]:
    if len(present.live) > 1:
        yield Refusal(
            f"{job}",
            f"two live jobs of it: {', '.join(map(str, present.live))}",
            "which of them goes on with its state cannot be known",
            "cancel one of them in Flink's web interface, or by PATCH /jobs/<id>?mode=cancel",
        )
    if present.strangers and (job.is_wanted or not present.live):
        yield Refusal(
            f"{job}",
            f"a live job of that name that flink_job did not start: "
            f"{', '.join(map(str, present.strangers))}",
            "what it runs is not known, so it can be neither kept nor brought back",
            "stop it with a savepoint (POST /jobs/<id>/stop) and name that in savepoint",
        )


def _refusals_of_program(job: Declaration, gateway: bool) -> Iterator[Refusal]:
    spec = job.spec
    if spec is None:
        yield Refusal(
            f"{job} present",
            "neither jar nor sql nor sql_file",
            "there is nothing to run",
            "declare one of them",
        )
    elif spec.sql is not None:
        yield from _refusals_of_sql(job, spec, spec.sql, gateway)
    elif job.jar_classes is None:
        yield Refusal(
            f"{job}: jar {spec.jar}",
            "a file that is no zip archive",
            "it is not a jar",
            "name a jar, on the host that the module runs on",
        )
    elif spec.entry_class is not None and spec.entry_class not in job.jar_classes:
        near = get_close_matches(spec.entry_class, job.jar_classes, n=1)
        yield Refusal(
            f"{job}: entry_class {spec.entry_class}",
            f"{counted(len(job.jar_classes), 'class file')} in {spec.jar}",
            "it is none of them",
            f"write {near[0]}, if that is meant" if near else "name the class that has main()",
        )


def _refusals_of_sql(job: Declaration, spec: Spec, sql: str, gateway: bool) -> Iterator[Refusal]:
    if not gateway:
        yield Refusal(
            f"{job}: sql",
            "no sql_gateway_url",
            "Flink takes SQL only through a SQL Gateway",
            "set sql_gateway_url, such as https://us-f1:8083",
        )
    if spec.entry_class is not None or spec.args:
        yield Refusal(
            f"{job}: {'entry_class' if spec.entry_class else 'args'}",
            "a job in SQL",
            "only a jar has a main() that takes them",
            "leave it out",
        )
    statements = split_statements(sql)
    for statement in statements:
        if not starts_job(statement) and not only_prepares(statement):
            yield Refusal(
                f"{job}: sql",
                f"the statement {' '.join(masked_sql(statement).split())[:60]}",
                "only statements that make what the INSERT needs go with it; another may run a "
                "job of its own, or change settings that are the module's",
                "leave it out",
            )
    yield from _refusals_of_keys(job, [key for each in statements if (key := setting_of(each))])
    jobs = [statement for statement in statements if starts_job(statement)]
    if len(jobs) != 1:
        yield Refusal(
            f"{job}: sql",
            f"{counted(len(jobs), 'INSERT statement')}",
            "each would be a job of its own" if jobs else "none of its statements starts a job",
            "put them between EXECUTE STATEMENT SET BEGIN and END, or declare a job for each"
            if jobs
            else "add the INSERT INTO",
        )


def _refusals_of_settings(job: Declaration) -> Iterator[Refusal]:
    yield from _refusals_of_keys(job, job.spec.config if job.spec else ())
    parallelism = job.spec.parallelism if job.spec else None
    if parallelism is not None and parallelism < 1:
        yield Refusal(
            f"{job}: parallelism {parallelism}",
            "a job has at least one subtask of each operator",
            "nothing would run",
            "set it to 1 or more, or leave it out for the cluster's default",
        )


def _refusals_of_keys(job: Declaration, keys: Collection[str]) -> Iterator[Refusal]:
    for key in sorted({*keys} & {*GOVERNED}):
        yield Refusal(
            f"{job}: setting {key}",
            f"the option {GOVERNED[key]}",
            "the option stands for that setting",
            f"use {GOVERNED[key]} instead",
        )
    for key in sorted({*keys} & {*OF_CLUSTER}):
        yield Refusal(
            f"{job}: setting {key}",
            "a setting of the whole cluster",
            "what the job saves would not be found again",
            "leave it out, or set it in the configuration of JobManager and SQL Gateway",
        )


def _refusals_of_savepoint(job: Declaration, present: Present) -> Iterator[Refusal]:
    if present.savepoint_is_missing:
        yield Refusal(
            f"{job}: savepoint {job.savepoint}",
            "no savepoint there (no file _metadata)",
            "the job would not start",
            f"name one of {', '.join(each.path for each in present.snapshots)}"
            if present.snapshots
            else "name the directory that flink_job, or Flink, has told of",
        )


def refusals_of_state(job: Declaration, present: Present, current: Current) -> Iterator[Refusal]:
    """A job that has state, or may have, and would be started without it."""
    if present.lost:
        yield Refusal(
            f"{job}",
            f"it ended as {present.lost[-1]}, and what it had saved is not in {current.savepoints}",
            "started from anything else, it would have lost its state",
            "name a savepoint or checkpoint in savepoint, or start it anew with upgrade_mode: "
            "stateless",
        )
    elif present.newest is None and not current.files_are_here:
        yield Refusal(
            f"{job}",
            f"no live job of that name, and no {current.savepoints}, or no directory of "
            "checkpoints, on this host",
            "whether there is state to start from cannot be known",
            "run this where both are mounted (or create them, if Flink has not yet), or name a "
            "savepoint in savepoint, or start the job anew with upgrade_mode: stateless",
        )


def refusal_of_dropping(job: Declaration, current: Current) -> Refusal:
    """State that cannot be seen cannot be dropped."""
    return Refusal(
        f"{job}: drop_state",
        f"no {current.savepoints}, or no directory of checkpoints, on this host",
        "what the job has saved cannot be found, and would stay",
        "run this where both are mounted, or leave drop_state out and remove it by hand",
    )


def refusal_of_going_back(job: Declaration, newest: Snapshot) -> Refusal:
    """A savepoint that was left in the declaration: the job has gone on since."""
    return Refusal(
        f"{job}: savepoint {job.savepoint}",
        f"{newest.path}, which was saved last",
        "what the job did since that savepoint would be forgotten",
        "leave savepoint out, and the job goes on from what was saved last; or say restart: true "
        "as well, for this run only, to go back to that savepoint",
    )


def refusal_of_unknown(job: Declaration, live: Job, current: Current) -> Refusal:
    """A live job that could not be brought back if the new one does not run."""
    first = "" if current.files_are_here else f"run this where {current.savepoints} is mounted, or "
    return Refusal(
        f"{job}: another spec",
        f"job {live}, of which nothing tells what it runs",
        "it could not be brought back if the new one does not run",
        f"{first}declare it suspended first, which saves its state, then present with the new spec",
    )


def refusal_of_gateway(job: Declaration, live: Job) -> Refusal:
    """A live job in SQL that a jar is to replace, and that only a SQL Gateway could bring back."""
    return Refusal(
        f"{job}: jar in place of SQL",
        f"job {live}, and no sql_gateway_url",
        "it could not be brought back if the new one does not run",
        "set sql_gateway_url, such as https://us-f1:8083",
    )


def refusals_of_slots(
    starting: Mapping[str, int], freed: int, cluster: Cluster | None
) -> Iterator[Refusal]:
    """More slots than there are; ``starting`` has the parallelism of what is to be started."""
    if cluster is None or not starting:
        return
    needed, free = sum(starting.values()), cluster.free_slots + freed
    if needed > free:
        jobs = ", ".join(f"{name} {count}" for name, count in sorted(starting.items()))
        yield Refusal(
            f"{counted(needed, 'slot')} for the jobs that are to be started ({jobs})",
            f"{counted(free, 'slot')} for them, of {cluster.slots} on "
            f"{counted(cluster.taskmanagers, 'TaskManager')}",
            "a job takes as many slots as its parallelism, and waits in vain for those that are "
            "not there",
            "declare less parallelism, or give the cluster more TaskManagers or slots "
            "(taskmanager.numberOfTaskSlots); of a list, put the jobs first that free slots",
        )
