# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A plan about Flink's jobs, done: each job is stopped, started and accepted in its turn.

Whatever interrupts it, the same task goes on from there: a job is started under an id that Flink
takes once, and what was saved last is what it starts from.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NoReturn

from ansible_collections.bss.platform.plugins.module_utils.flink_job_acceptance import (
    NotAccepted,
    accept,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_files import Snapshot
from ansible_collections.bss.platform.plugins.module_utils.flink_job_plan import (
    JobPlan,
    Start,
    Step,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_rules import Declaration
from ansible_collections.bss.platform.plugins.module_utils.flink_job_savepoints import (
    cancel,
    dispose,
    stop_with_savepoint,
    take_savepoint,
    wait_for,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import (
    Spec,
    mark_of,
    owner_of,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_submission import Submission
from ansible_collections.bss.platform.plugins.module_utils.flink_jobs import (
    Job,
    read_checkpoints,
    read_failures,
    read_job,
    read_operators,
    with_operator_names,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_rest import (
    CannotReachFlink,
    FlinkRefused,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError


class CannotGoOn(PlatformError):
    """A job was ended, and there is nothing that the next could start from."""


class NotBroughtBack(PlatformError):
    """Neither the new job runs nor the former."""


class FormerBroughtBack(PlatformError):
    """The new job was not accepted; the former runs again."""


class Cancelled(PlatformError):
    """The new job was not accepted, and there was none before it."""


class FailsAgainAndAgain(PlatformError):
    """A job that is as declared does not come to run; it was left as it is."""


@dataclass
class Outcome:
    """What became of a job."""

    job_id: str | None = None
    savepoint: str | None = None
    downtime_ms: int | None = None
    stopped: float | None = None
    """When it was asked to end (time.monotonic)."""
    saved: str | None = None
    """What is left of the job that was ended, for the next to start from."""
    operators: dict[str, str] = field(default_factory=dict)
    """Names of the operators of the job that was ended, by id."""


@dataclass
class Steps:
    """Does plans."""

    submission: Submission
    save_timeout_s: float
    accept_timeout_s: float
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """By name."""

    def __post_init__(self) -> None:
        self.api = self.submission.api
        self.files = self.submission.files

    def apply(self, decided: JobPlan) -> None:
        """Do the plan. Raises PlatformError; what was done before stays."""
        for action in decided.actions:  # what cannot be kept, stops no job
            if "start" in action.options:
                self.submission.keep(action.options["start"])
        for action in decided.actions:
            options = action.options
            name = options["name"]
            outcome = self.outcomes.setdefault(name, Outcome())
            match options["step"]:
                case Step.STOP:
                    self._stop(name, options["of_job"], options["format"], outcome)
                case Step.CANCEL:
                    self._cancel(name, options["of_job"], outcome)
                case Step.START | Step.START_SQL:
                    self._start(name, options["start"], outcome)
                case Step.SAVEPOINT:
                    job_id = str(options["of_job"] or outcome.job_id)
                    outcome.savepoint = take_savepoint(
                        self.api,
                        job_id,
                        self.files.directory_of(name, job_id),
                        options["format"],
                        self.save_timeout_s,
                    )
                case Step.DISPOSE:
                    dispose(self.api, options["snapshot"].path, self.save_timeout_s)
                    self._forget(name, outcome)
                case Step.FORGET:
                    for each in self._snapshots(name):
                        dispose(self.api, each.path, self.save_timeout_s)
                    self._forget(name, outcome)

    def watch(self, name: str, job: Job) -> None:
        """Wait until a job that is as declared runs.

        One that never completed a checkpoint was left by a run that was interrupted: what ran
        before is brought back. Another is left to Flink, which goes on trying.
        """
        since = read_failures(self.api, job.job_id).last_ms
        checkpoints = read_checkpoints(self.api, job.job_id)
        restored = checkpoints.restored
        is_proven = checkpoints.completed > 0 or job.job_id in (restored or "")
        try:
            accept(self.api, job.job_id, self.accept_timeout_s, since if is_proven else 0)
        except NotAccepted as error:
            former = None if is_proven or not restored else self._origin(name, job, restored)
            if former is not None:
                self._bring_back(name, former, restored, error)
            raise FailsAgainAndAgain(
                f"Job {name} ({job.job_id}) is as declared, and does not run: {error}. Flink "
                "goes on trying. Mend what it speaks of, or declare another spec with "
                "upgrade_mode: last_state."
            ) from error

    def _stop(self, name: str, job_id: str, form: str, outcome: Outcome) -> None:
        self._remember(job_id, outcome)

        def kept() -> str | None:
            own = self._snapshots(name, job_id)
            # One that is older than a checkpoint is not that of this stop.
            return own[-1].path if own and own[-1].is_savepoint else None

        directory = self.files.directory_of(name, job_id)
        outcome.savepoint = outcome.saved = stop_with_savepoint(
            self.api, job_id, directory, form, self.save_timeout_s, kept
        )

    def _cancel(self, name: str, job_id: str, outcome: Outcome) -> None:
        self._remember(job_id, outcome)
        cancel(self.api, job_id, self.save_timeout_s)
        if kept := self._snapshots(name, job_id):
            outcome.saved = kept[-1].path
            return
        checkpoints = wait_for(
            f"what job {job_id} has saved",
            lambda: read_checkpoints(self.api, job_id),
            self.save_timeout_s,
        )
        if not checkpoints.completed:  # it has nothing but what it was started from
            outcome.saved = checkpoints.restored
        elif not self.files.are_here:
            outcome.saved = checkpoints.latest

    def _remember(self, job_id: str, outcome: Outcome) -> None:
        self._remember_operators(job_id, outcome)
        outcome.stopped = time.monotonic()

    def _remember_operators(self, job_id: str, outcome: Outcome) -> None:
        with suppress(CannotReachFlink, FlinkRefused):  # only for the words of a message
            outcome.operators = read_operators(self.api, job_id)

    def _start(self, name: str, start: Start, outcome: Outcome) -> None:
        source = None if start.empty else start.source or outcome.saved
        if source is None and not start.empty:
            raise CannotGoOn(
                f"Job {name} was cancelled, and no checkpoint of it was kept. It was not started "
                "again, since it would have lost its state: name a savepoint in savepoint, or "
                "start it anew with upgrade_mode: stateless."
            )
        try:
            outcome.job_id = self.submission.submit(start, source)
            ran = accept(self.api, outcome.job_id, self.accept_timeout_s)
        except NotAccepted as error:
            of_job = PurePosixPath(source or "").parent.name
            if not outcome.operators and of_job.startswith(owner_of(name)):
                self._remember_operators(of_job, outcome)
            cause = NotAccepted(with_operator_names(str(error), outcome.operators), error.job_id)
            if start.former is not None:
                self._bring_back(name, start.former, outcome.saved or source, cause)
            job = read_job(self.api, error.job_id) if start.ran_before else None
            if job is not None and job.is_live:
                raise FailsAgainAndAgain(
                    f"Job {name} ({error.job_id}) was started with the spec that it had, and is "
                    f"not accepted: {cause}. It was left as it is, and Flink goes on trying. Mend "
                    "what it speaks of; run the same again to see whether it runs."
                ) from error
            self._end(error.job_id)
            rest = f" What it was started from is still there: {source}." if source else ""
            raise Cancelled(
                f"Job {name} ({error.job_id}) was started and not accepted, and cancelled again: "
                f"{cause}.{rest} Mend what it speaks of and run the same again."
            ) from error
        if outcome.stopped is not None:
            outcome.downtime_ms = round((ran - outcome.stopped) * 1000)

    def _bring_back(
        self, name: str, former: Spec, source: str | None, cause: NotAccepted
    ) -> NoReturn:
        """End the new job and start what ran before; always raises, with ``cause`` in it."""
        self._end(cause.job_id)
        left = ""
        try:
            for each in self._snapshots(name, cause.job_id):  # nobody is to go on from these
                dispose(self.api, each.path, self.save_timeout_s)
        except PlatformError as error:  # more matters that what ran before runs again
            left = f" {error}"
        generation = mark_of(cause.job_id).generation + 1
        start = Start(Declaration(name), former, generation, source, empty=source is None)
        said = f"Job {name} was not accepted with its new spec (job {cause.job_id}): {cause}."
        try:
            back = self.submission.submit(start, source)
            accept(self.api, back, self.accept_timeout_s)
        except PlatformError as error:
            raise NotBroughtBack(
                f"{said} What ran before was to be started again from {source}, and that failed "
                f"too: {error}. Nothing of it is lost: mend what both speak of, declare what is to "
                "run and run this again."
            ) from error
        whence = f", from {source}" if source else ""
        raise FormerBroughtBack(
            f"{said} What ran before runs again as job {back}{whence}. Correct the new spec and "
            f"run this again.{left}"
        )

    def _origin(self, name: str, job: Job, restored: str) -> Spec | None:
        """What the job ran that had saved what this one was started from, if it was another."""
        for each in self._snapshots(name):
            if each.is_at(restored):
                spec = self.files.record(name, each.job_id)
                if spec is not None and spec.mark != job.mark.spec:
                    return spec
        return None

    def _snapshots(self, name: str, job_id: str | None = None) -> list[Snapshot]:
        """Those that can be seen from here, the newest last."""
        found = self.files.snapshots(name) if self.files.are_here else ()
        return [each for each in found if job_id in (None, each.job_id)]

    def _end(self, job_id: str) -> None:
        job = read_job(self.api, job_id)
        if job is not None and job.is_live:
            cancel(self.api, job_id, self.save_timeout_s)

    def _forget(self, name: str, outcome: Outcome) -> None:
        if self.files.are_here:
            left = {each.job_id for each in self.files.snapshots(name)}
            self.files.forget_all_but(name, {*left, *filter(None, [outcome.job_id])})
