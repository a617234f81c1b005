# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A plan about Flink's jobs, done: each job is stopped, started and accepted in its turn.

Whatever interrupts it, the same task goes on from there: a job is started under an id that Flink
takes once, and what was saved last is what it starts from.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace

from ansible_collections.bss.platform.plugins.module_utils import flink_jars
from ansible_collections.bss.platform.plugins.module_utils.flink_job_files import JobFiles
from ansible_collections.bss.platform.plugins.module_utils.flink_job_plan import (
    Former,
    JobPlan,
    Start,
    Step,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_job_rules import Declaration
from ansible_collections.bss.platform.plugins.module_utils.flink_job_savepoints import (
    POLL_S,
    cancel,
    dispose,
    stop_with_savepoint,
    take_savepoint,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_jobs import (
    Job,
    read_checkpoints,
    read_failures,
    read_job,
    read_operators,
    with_operator_names,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_rest import (
    Api,
    CannotReachFlink,
    FlinkRefused,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_sql_gateway import (
    SqlGateway,
    StatementPending,
    StatementRefused,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import (
    PlatformError,
    Refusal,
    counted,
)

STORM = 3
"""Failures after which a job that has yet to prove itself is taken to fail for good."""

LONG_INTERVAL_MS = 30_000
"""Of checkpoints; where it is longer, one is asked for."""

SUBMISSIONS = 3
"""How often a submission whose answer was lost is sent."""

USED_UP = "Job has already been submitted"


class NotAccepted(PlatformError):
    """A job does not run, or completes no checkpoint."""


class NoSqlGateway(PlatformError):
    """What runs, or ran, is written in SQL, and there is nobody to give it to."""


class NotBroughtBack(PlatformError):
    """Neither the new job runs nor the former."""


class FailsAgainAndAgain(PlatformError):
    """A job that is as declared does not come to run; it was left as it is."""


class FormerBroughtBack(PlatformError):
    """The new job was not accepted; the former runs again."""


@dataclass
class Outcome:
    """What became of a job."""

    job_id: str | None = None
    savepoint: str | None = None
    downtime_ms: int | None = None


@dataclass
class Steps:
    """Does plans; ``timeout_s`` are those of making a savepoint and of accepting a job."""

    api: Api
    files: JobFiles
    gateway: SqlGateway | None
    save_timeout_s: float
    accept_timeout_s: float
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    _stopped: dict[str, float] = field(default_factory=dict)
    """When a job was asked to stop, by name."""
    _saved: dict[str, str | None] = field(default_factory=dict)
    """What the step before has saved, by name."""
    _operators: dict[str, dict[str, str]] = field(default_factory=dict)
    """Names of the operators of former jobs, by name and id."""

    def objections(self, decided: JobPlan, check_mode: bool) -> list[Refusal]:
        """What Flink would refuse of a plan, found out on trial.

        A jar is not tried in check mode: it would have to be uploaded.
        """
        found = []
        for action in decided.actions:
            start = action.options.get("start")
            if start is None or (start.spec.sql is None and check_mode):
                continue
            try:
                self._try_out(start)
            except (StatementRefused, FlinkRefused) as error:
                said = error.cause if isinstance(error, FlinkRefused) else str(error)
                found.append(
                    Refusal(
                        f"job {start.declaration.name} as declared",
                        f"Flink says: {said}",
                        "it refused to plan the job, which starts nothing yet",
                        "change what it speaks of",
                    )
                )
        return found

    def apply(self, decided: JobPlan) -> None:
        """Do the plan. Raises PlatformError; what was done before stays."""
        for action in decided.actions:
            options = action.options
            name = options["name"]
            outcome = self.outcomes.setdefault(name, Outcome())
            step = options["step"]
            if step is Step.STOP:
                self._stop(name, options["of_job"], options["format"], outcome)
            elif step is Step.CANCEL:
                self._cancel(name, options["of_job"])
            elif step in (Step.START, Step.START_SQL):
                self._start(name, options["start"], outcome)
            elif step is Step.SAVEPOINT:
                job_id = str(options["of_job"] or outcome.job_id)
                directory = self.files.directory_of(name, job_id)
                outcome.savepoint = take_savepoint(
                    self.api, job_id, directory, options["format"], self.save_timeout_s
                )
            elif step is Step.DISPOSE:
                dispose(self.api, options["snapshot"].path, self.save_timeout_s)
                self._forget(name)
            elif step is Step.FORGET:
                for each in self.files.snapshots(name) if self.files.are_here else ():
                    dispose(self.api, each.path, self.save_timeout_s)
                self._forget(name)

    def watch(self, name: str, job: Job) -> None:
        """Wait until a job that is as declared runs.

        One that never completed a checkpoint was left by a run that was interrupted: its former
        is brought back. Another is left to Flink, which goes on trying.
        """
        since = read_failures(self.api, job.job_id).last_ms
        checkpoints = read_checkpoints(self.api, job.job_id)
        proven = checkpoints.completed > 0 or job.job_id in (checkpoints.restored or job.job_id)
        try:
            self._accept(job.job_id, since if proven else 0)
        except NotAccepted as error:
            former = None if proven else self._former_of(name, job, checkpoints.restored)
            if former is None:
                raise FailsAgainAndAgain(
                    f"Job {name} ({job.job_id}) is as declared, and does not run: {error}. Flink "
                    "goes on trying. Mend what it speaks of, or declare another spec with "
                    "upgrade_mode: last_state."
                ) from error
            generation = job.mark.generation
            self._bring_back(name, job.job_id, former, checkpoints.restored, generation, error)

    def _former_of(self, name: str, job: Job, restored: str | None) -> Former | None:
        if restored is None or not self.files.are_here:
            return None
        for each in self.files.snapshots(name):
            if each.path.rpartition(":")[2].lstrip("/") == restored.rpartition(":")[2].lstrip("/"):
                spec = self.files.record(name, each.job_id)
                if spec is not None and spec.mark != job.mark.spec:
                    return Former(each.job_id, spec)
        return None

    def _stop(self, name: str, job_id: str, form: str, outcome: Outcome) -> None:
        self._remember(name, job_id)
        self._stopped[name] = time.monotonic()

        def kept() -> str | None:
            saved = self.files.snapshots(name) if self.files.are_here else ()
            own = [each.path for each in saved if each.is_savepoint and each.job_id == job_id]
            return own[-1] if own else None

        outcome.savepoint = self._saved[name] = stop_with_savepoint(
            self.api,
            job_id,
            self.files.directory_of(name, job_id),
            form,
            self.save_timeout_s,
            kept,
        )

    def _cancel(self, name: str, job_id: str) -> None:
        self._remember(name, job_id)
        before = read_checkpoints(self.api, job_id).latest
        self._stopped[name] = time.monotonic()
        cancel(self.api, job_id, self.save_timeout_s)
        saved = [
            each.path
            for each in (self.files.snapshots(name) if self.files.are_here else ())
            if each.job_id == job_id
        ]
        self._saved[name] = saved[-1] if saved else before

    def _remember(self, name: str, job_id: str) -> None:
        with suppress(CannotReachFlink, FlinkRefused):  # only for the words of a later message
            self._operators[name] = read_operators(self.api, job_id)

    def _start(self, name: str, start: Start, outcome: Outcome) -> None:
        saved = self._saved.get(name)
        source = None if start.empty else start.source or saved
        if source is None and not start.empty:
            raise NotBroughtBack(
                f"Job {name} was cancelled, and no checkpoint of it was kept. It was not started "
                "again, since it would have lost its state: name a savepoint in savepoint, or "
                "start it anew with upgrade_mode: stateless."
            )
        job_id = start.job_id
        try:
            job_id = self._submit(name, start, source)
            ran = self._accept(job_id)
        except NotAccepted as error:
            cause = NotAccepted(with_operator_names(str(error), self._operators.get(name, {})))
            self._end(job_id)
            if start.former is None:
                rest = f" What it was started from is still there: {source}." if source else ""
                raise NotAccepted(
                    f"Job {name} ({job_id}) was started and not accepted, and cancelled again: "
                    f"{cause}.{rest} Mend what it speaks of and run the same again."
                ) from error
            generation = start.generation
            self._bring_back(name, job_id, start.former, saved or source, generation, cause)
        outcome.job_id = job_id
        if name in self._stopped:
            outcome.downtime_ms = round((ran - self._stopped[name]) * 1000)

    @staticmethod
    def _not_accepted(
        name: str, job_id: str, source: str | None, cause: NotAccepted
    ) -> NotAccepted:
        rest = f" What it was started from is still there: {source}." if source else ""
        return NotAccepted(
            f"Job {name} ({job_id}) was started and not accepted, and cancelled again: "
            f"{cause}.{rest} Mend what it speaks of and run the same again."
        )

    def _bring_back(
        self,
        name: str,
        job_id: str,
        former: Former,
        source: str | None,
        generation: int,
        cause: PlatformError,
    ) -> None:
        """Start what ran before from what it had saved; always raises, with ``cause`` in it."""
        self._end(job_id)
        start = Start(Declaration(name), former.spec, generation + 1, source, empty=source is None)
        said = f"Job {name} was not accepted with its new spec (job {job_id}): {cause}."
        try:
            back = self._submit(name, start, source)
            self._accept(back)
        except PlatformError as error:
            raise NotBroughtBack(
                f"{said} What ran before was to be started again from {source}, and that failed "
                f"too: {error}. Nothing of it is lost: mend what both speak of, declare what is to "
                "run and run this again."
            ) from error
        raise FormerBroughtBack(
            f"{said} What ran before runs again as job {back}"
            f"{f', from {source}' if source else ''}. Correct the new spec and run this again."
        )

    def _submit(self, name: str, start: Start, source: str | None) -> str:
        """Give the job to Flink; its id. Never starts two: Flink takes an id once."""
        generation = start.generation
        sent = 0
        while True:
            each = replace(start, generation=generation)
            if self.files.are_here:
                self.files.keep(name, each.job_id, each.spec)
            try:
                sent += 1
                self._send(name, each, source)
                return each.job_id
            except (StatementRefused, FlinkRefused) as error:
                if USED_UP not in str(error):
                    raise NotAccepted(
                        error.cause if isinstance(error, FlinkRefused) else str(error)
                    ) from error
                job = read_job(self.api, each.job_id)
                if job is not None and job.is_live:  # an earlier submission was heard
                    return each.job_id
                generation, sent = generation + 1, 0
            except (CannotReachFlink, StatementPending):
                if read_job(self.api, each.job_id) is not None:
                    return each.job_id
                if sent == SUBMISSIONS:
                    raise

    def _send(self, name: str, start: Start, source: str | None) -> None:
        declaration, spec = start.declaration, start.spec
        properties = {**spec.config, "pipeline.name": name}
        if spec.parallelism is not None:
            properties["parallelism.default"] = str(spec.parallelism)
        if source is not None:
            properties["execution.state-recovery.path"] = source
            properties["execution.state-recovery.claim-mode"] = "NO_CLAIM"
            properties["execution.state-recovery.ignore-unclaimed-state"] = str(
                declaration.allow_non_restored_state
            ).lower()
        if spec.sql is not None:
            self._gateway().submit(spec.sql, properties, start.job_id)
        else:
            flink_jars.submit(self.api, spec, properties, start.job_id)

    def _try_out(self, start: Start) -> None:
        if start.spec.sql is not None:
            self._gateway().try_out(start.spec.sql, start.spec.config)
        else:
            flink_jars.try_out(self.api, start.spec)

    def _gateway(self) -> SqlGateway:
        if self.gateway is None:
            raise NoSqlGateway(
                "Flink takes SQL only through a SQL Gateway, and sql_gateway_url is not set."
            )
        return self.gateway

    def _accept(self, job_id: str, failed_before_ms: int = 0) -> float:
        """Wait until all tasks run and a checkpoint is completed; when they began to run.

        Raises NotAccepted, with Flink's root cause.
        """
        deadline = time.monotonic() + self.accept_timeout_s
        ran: float | None = None
        asked = False
        while True:
            why = "Flink does not answer"
            with suppress(CannotReachFlink):  # a JobManager that is restarted brings jobs back
                job = read_job(self.api, job_id)
                why = "Flink does not know it"
                if job is not None:
                    why = self._trouble(job, failed_before_ms)
                    ran = (ran or time.monotonic()) if job.runs else None
                if ran is not None:
                    checkpoints = read_checkpoints(self.api, job_id)
                    if not checkpoints.enabled or checkpoints.completed:
                        return ran
                    why = (
                        "all of its tasks run, but no checkpoint is completed "
                        f"({checkpoints.failed} failed)"
                    )
                    if checkpoints.interval_ms > LONG_INTERVAL_MS and not asked:
                        self.api.send("POST", f"/jobs/{job_id}/checkpoints", {})
                        asked = True
            if time.monotonic() > deadline:
                raise NotAccepted(f"after {self.accept_timeout_s:g} s, {why}")
            time.sleep(POLL_S)

    def _trouble(self, job: Job, failed_before_ms: int) -> str:
        """What keeps a live job from running. Raises NotAccepted where it will not."""
        failures = read_failures(self.api, job.job_id, failed_before_ms)
        because = f": {failures.cause}" if failures.cause else ""
        if not job.is_live:
            ended = "it came to its end by itself" if job.state == "FINISHED" else job.state
            raise NotAccepted(f"{ended}{because}")
        if failures.count >= STORM:
            raise NotAccepted(f"it failed {failures.count} times within a short time{because}")
        return f"{job.running} of {counted(job.tasks, 'task')} run{because}"

    def _end(self, job_id: str) -> None:
        job = read_job(self.api, job_id)
        if job is not None and job.is_live:
            cancel(self.api, job_id, self.save_timeout_s)

    def _forget(self, name: str) -> None:
        if self.files.are_here:
            left = {each.job_id for each in self.files.snapshots(name)}
            live = {outcome.job_id for outcome in (self.outcomes.get(name),) if outcome}
            self.files.forget_all_but(name, {*left, *(each for each in live if each)})
