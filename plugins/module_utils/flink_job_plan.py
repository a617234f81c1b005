# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What flink_job would do: the declared jobs against those that there are.

Pure: ``plan`` reads and writes nothing. It is the only place that decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.flink_job_files import Snapshot
from ansible_collections.bss.platform.plugins.module_utils.flink_job_rules import (
    Current,
    Declaration,
    Present,
    refusal_of_dropping,
    refusal_of_gateway,
    refusal_of_going_back,
    refusal_of_unknown,
    refusals_of,
    refusals_of_list,
    refusals_of_slots,
    refusals_of_state,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import (
    Spec,
    job_id,
    mark_of,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_jobs import Job
from ansible_collections.bss.platform.plugins.module_utils.plan import (
    Action,
    Plan,
    Refusal,
)


class Step(Enum):
    """What is sent for it, with the job's id in place of :id."""

    STOP = "POST /jobs/:id/stop"
    """Ends when the savepoint is made and the job has ended."""
    CANCEL = "PATCH /jobs/:id?mode=cancel"
    START = "POST /jars/:jar/run"
    """Ends when the job is accepted; else the former one is brought back."""
    START_SQL = "POST /v3/sessions/:session/statements"
    """As START, by the SQL Gateway."""
    SAVEPOINT = "POST /jobs/:id/savepoints"
    DISPOSE = "POST /savepoint-disposal"
    FORGET = "remove what was kept of the job"


@dataclass(frozen=True)
class Start:
    """A job that is to be started."""

    declaration: Declaration
    spec: Spec
    generation: int
    source: str | None = None
    """The savepoint or checkpoint that it starts from; None: what the step before has saved."""
    empty: bool = False
    """Whether it starts without state."""
    ran_before: bool = False
    """Whether the job that it goes on from ran the same."""
    former: Spec | None = None
    """What is brought back where this is not accepted; None where nothing else ran."""

    @property
    def job_id(self) -> str:
        return job_id(self.declaration.name, self.spec.mark, self.generation)


@dataclass(frozen=True)
class JobPlan(Plan):
    """A plan that also tells how the declared jobs are once it is done."""

    jobs: tuple[dict[str, Any], ...] = ()
    watched: tuple[tuple[str, Job], ...] = ()
    """Declared names and jobs that are as declared, of which it is not known yet that they run."""


def is_settled(job: Declaration, present: Present) -> bool:
    """Whether the list of live jobs alone tells that there is nothing to do."""
    if job.drop_state or present.strangers or len(present.live) > 1:
        return False
    if not job.is_wanted:
        return not present.live
    live = present.job
    if live is None or job.spec is None or job.restart or job.take_savepoint:
        return False
    return live.mark.spec == job.spec.mark


def plan(
    current: Current, declared: Sequence[Declaration], keep_savepoints: int, gateway: bool
) -> JobPlan:
    """What to do, job by job in the order of the list; those that end come first.

    These free slots, which others may need. A job that would wait for slots that only one after it
    frees is refused.

    ``keep_savepoints`` is how many of a job's savepoints stay when one is made; ``gateway`` says
    whether there is a SQL Gateway.
    """
    draft = _Draft(current, keep_savepoints, gateway)
    refusals = list(refusals_of_list(declared))
    for each in sorted(declared, key=lambda job: job.is_wanted):
        present = current.jobs.get(each.name, Present())
        wrong = list(refusals_of(each, present, gateway))
        refusals += wrong
        if not wrong:
            refusals += draft.add(each, present)
    refusals += draft.short
    return JobPlan(
        actions=tuple(draft.actions),
        before=draft.before,
        after=draft.after,
        refusals=tuple(refusals),
        jobs=tuple(draft.facts[each.name] for each in declared if each.name in draft.facts),
        watched=tuple(draft.watched),
    )


def refused_too(decided: JobPlan, refusals: Sequence[Refusal]) -> JobPlan:
    """The plan with what Flink said of it."""
    return replace(decided, refusals=(*decided.refusals, *refusals))


class _Draft:
    """A plan in the making."""

    def __init__(self, current: Current, keep_savepoints: int, gateway: bool) -> None:
        self.current = current
        self.keep = keep_savepoints
        self.gateway = gateway
        self.actions: list[Action] = []
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.watched: list[tuple[str, Job]] = []
        self.starting: dict[str, int] = {}
        """Slots that each job to be started takes."""
        self.freed = 0
        """Slots that jobs to be ended give back, up to here."""
        self.short: list[Refusal] = []
        """Of the last job for which there are not enough."""

    def add(self, job: Declaration, present: Present) -> list[Refusal]:
        """What is to be done for one job; its refusals where nothing can be."""
        if is_settled(job, present):
            self._leave(job, present)
            return []
        if not job.is_wanted or job.spec is None:
            if job.drop_state and not self.current.files_are_here:
                return [refusal_of_dropping(job, self.current)]
            self._end(job, present)
            return []
        live = present.job
        if live is None:
            return self._begin(job, present, job.spec)
        if live.mark.spec == job.spec.mark and not job.restart:
            self._save(job, live)
            self._prune(job, present, 1)
            return []
        return self._replace(job, present, live, job.spec)

    def _leave(self, job: Declaration, present: Present) -> None:
        live = present.job
        self._tell(job, live.job_id if live else None, live.state if live else None)
        if live is not None and not live.is_steady:
            self.watched.append((job.name, live))

    def _end(self, job: Declaration, present: Present) -> None:
        live = present.job
        saved = 0
        if live is not None:
            self.freed += present.parallelism
            if job.drop_state or job.upgrade_mode == "last_state":
                self._cancel(job, live)
            else:
                self._stop(job, live)
                saved = 1
            self._show(job, present, None)
        if job.drop_state:
            self._drop(job, present)
        elif saved:
            self._prune(job, present, saved)
        self._tell(job, None, None)

    def _drop(self, job: Declaration, present: Present) -> None:
        for each in present.snapshots:
            if each.is_savepoint or each.job_id != (present.job and present.job.job_id):
                self._dispose(job, each)
        if present.live or present.snapshots or present.records:
            self._act(job, Step.FORGET, f"forget what {job.name} ran, and its last state")

    def _begin(self, job: Declaration, present: Present, spec: Spec) -> list[Refusal]:
        newest = None if job.upgrade_mode == "stateless" else present.newest
        source = job.savepoint or (newest.path if newest else None)
        if job.savepoint is None and job.upgrade_mode != "stateless":
            refusals = list(refusals_of_state(job, present, self.current))
            if refusals:
                return refusals
        if newest is not None and not job.restart and not newest.is_at(source):
            return [refusal_of_going_back(job, newest)]
        former = None
        ran_before = False
        if newest is not None and newest.is_at(source):
            former = self._former(newest.job_id, present, spec)
            ran_before = mark_of(newest.job_id).spec == spec.mark
        self._start(job, present, spec, source, former, ran_before=ran_before)
        if job.take_savepoint:
            self._save(job, None)
            self._prune(job, present, 1)
        self._show(job, present, spec)
        return []

    def _replace(self, job: Declaration, present: Present, live: Job, spec: Spec) -> list[Refusal]:
        if live.mark.spec != spec.mark and live.job_id not in present.records:
            return [refusal_of_unknown(job, live, self.current)]
        former = self._former(live.job_id, present, spec)
        if former is not None and former.sql is not None and not self.gateway:
            return [refusal_of_gateway(job, live)]
        self.freed += present.parallelism
        if job.upgrade_mode == "savepoint":
            self._stop(job, live)
        else:
            self._cancel(job, live)
        self._start(
            job,
            present,
            spec,
            job.savepoint if job.restart else None,
            former,
            live,
            ran_before=live.mark.spec == spec.mark,
        )
        if job.take_savepoint:
            self._save(job, None)
        saved = (job.upgrade_mode == "savepoint") + job.take_savepoint
        if saved:
            self._prune(job, present, saved)
        self._show(job, present, spec)
        return []

    @staticmethod
    def _former(of_job: str, present: Present, spec: Spec) -> Spec | None:
        known = present.records.get(of_job)
        return known if known is not None and known.mark != spec.mark else None

    def _stop(self, job: Declaration, live: Job) -> None:
        sentence = f"stop {job.name} (job {live.job_id}) with a savepoint"
        self._act(job, Step.STOP, sentence, of_job=live.job_id, format=job.savepoint_format)

    def _cancel(self, job: Declaration, live: Job) -> None:
        words = {
            "last_state": ", keeping its last checkpoint",
            "stateless": " without saving its state",
        }.get("stateless" if job.drop_state else job.upgrade_mode, "")
        sentence = f"cancel {job.name} (job {live.job_id}){words}"
        self._act(job, Step.CANCEL, sentence, of_job=live.job_id)

    def _start(
        self,
        job: Declaration,
        present: Present,
        spec: Spec,
        source: str | None,
        former: Spec | None,
        live: Job | None = None,
        ran_before: bool = False,
    ) -> None:
        empty = job.upgrade_mode == "stateless" if source is None else False
        if source is None and live is None:
            empty = True
        start = Start(job, spec, present.last_generation + 1, source, empty, ran_before, former)
        whence = "without state" if empty else f"from {source}" if source else ""
        if not whence:
            last = "its last checkpoint" if job.upgrade_mode == "last_state" else "that savepoint"
            whence = f"from {last}"
        self._act(
            job,
            Step.START if spec.sql is None else Step.START_SQL,
            f"start {job.name} as job {start.job_id} {whence}",
            start=start,
        )
        self.starting[job.name] = spec.parallelism or self.current.default_parallelism
        short = list(refusals_of_slots(self.starting, self.freed, self.current.cluster))
        self.short = short or self.short
        self._tell(job, start.job_id, "RUNNING")

    def _save(self, job: Declaration, live: Job | None) -> None:
        self._act(
            job,
            Step.SAVEPOINT,
            f"take a savepoint of {job.name}",
            of_job=live.job_id if live else None,
            format=job.savepoint_format,
        )
        if live is not None:
            self._tell(job, live.job_id, live.state)

    def _prune(self, job: Declaration, present: Present, saved: int) -> None:
        """So that ``keep`` stay, of which some are only now being made."""
        own = present.job.job_id if present.job else None
        old = [each for each in present.snapshots if each.is_savepoint or each.job_id != own]
        surplus = max(0, len(old) + saved - self.keep)
        for each in old[:surplus]:
            self._dispose(job, each)

    def _dispose(self, job: Declaration, snapshot: Snapshot) -> None:
        kind = "savepoint" if snapshot.is_savepoint else "checkpoint"
        self._act(
            job, Step.DISPOSE, f"dispose of {kind} {snapshot.path} of {job.name}", snapshot=snapshot
        )

    def _show(self, job: Declaration, present: Present, spec: Spec | None) -> None:
        live = present.job
        if live is not None:
            known = present.records.get(live.job_id)
            self.before[job.name] = {
                "state": "present",
                **(known.shown if known else {"spec": live.mark.spec}),
            }
        if spec is not None:
            self.after[job.name] = {"state": "present", **spec.shown}
        elif live is not None:
            self.after[job.name] = {"state": job.state}

    def _tell(self, job: Declaration, of_job: str | None, state: str | None) -> None:
        self.facts[job.name] = {
            "name": job.name,
            "job_id": of_job,
            "state": state or job.state,
            "savepoint": None,
            "downtime_ms": None,
        }

    def _act(self, job: Declaration, step: Step, sentence: str, **options: Any) -> None:
        self.actions.append(
            Action(sentence, step.value, options={"step": step, "name": job.name, **options})
        )
