# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A job given to Flink, be it SQL or a jar: on trial, and in earnest."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from ansible_collections.bss.platform.plugins.module_utils import flink_jars
from ansible_collections.bss.platform.plugins.module_utils.flink_job_acceptance import NotAccepted
from ansible_collections.bss.platform.plugins.module_utils.flink_job_files import JobFiles
from ansible_collections.bss.platform.plugins.module_utils.flink_job_plan import JobPlan, Start
from ansible_collections.bss.platform.plugins.module_utils.flink_job_savepoints import POLL_S
from ansible_collections.bss.platform.plugins.module_utils.flink_jobs import read_job
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
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError, Refusal

USED_UP = "Job has already been submitted"


class NoSqlGateway(PlatformError):
    """What is to run is written in SQL, and there is nobody to give it to."""


class NotHeard(PlatformError):
    """Nobody took a job that is to be started."""


@dataclass(frozen=True)
class Submission:
    """Gives jobs to Flink, and keeps what they run."""

    api: Api
    files: JobFiles
    gateway: SqlGateway | None
    accept_timeout_s: float

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
                found.append(
                    Refusal(
                        f"job {start.declaration.name} as declared",
                        f"Flink says: {_said(error)}",
                        "it refused to plan the job, which starts nothing yet",
                        "change what it speaks of",
                    )
                )
        return found

    def submit(self, start: Start, source: str | None) -> str:
        """Start a job from that savepoint or checkpoint, or empty; its id.

        Never starts two: Flink takes an id once. Raises NotAccepted, and NotHeard where nobody
        answers for ``accept_timeout_s``.
        """
        deadline = time.monotonic() + self.accept_timeout_s
        is_asked_again = False
        while True:
            self.keep(start)
            try:
                if is_asked_again and read_job(self.api, start.job_id) is not None:
                    return start.job_id  # an earlier submission was heard
                if self._send(start, source):
                    return start.job_id
                job = read_job(self.api, start.job_id)
                if job is not None and job.is_live:
                    return start.job_id
                start = replace(start, generation=start.generation + 1)
                is_asked_again = False
            except (CannotReachFlink, StatementPending) as error:
                if time.monotonic() > deadline:
                    whence = f"starts from {source}" if source else "starts it"
                    raise NotHeard(
                        f"Job {start.declaration.name} ({start.job_id}) was not started within "
                        f"{self.accept_timeout_s:g} s (accept_timeout): {error} Nothing of it is "
                        f"lost: run the same again, which {whence}."
                    ) from error
                is_asked_again = True
                time.sleep(POLL_S)

    def keep(self, start: Start) -> None:
        """Keep what is to run, where it can be kept. Raises CannotUseFiles."""
        if self.files.are_here:
            self.files.keep(start.declaration.name, start.job_id, start.spec)

    def _send(self, start: Start, source: str | None) -> bool:
        """False where Flink has had a job of that id. Raises NotAccepted."""
        name, spec = start.declaration.name, start.spec
        properties = {**spec.config, "pipeline.name": name}
        if spec.parallelism is not None:
            properties["parallelism.default"] = str(spec.parallelism)
        if source is not None:
            properties["execution.state-recovery.path"] = source
            properties["execution.state-recovery.claim-mode"] = "NO_CLAIM"
            properties["execution.state-recovery.ignore-unclaimed-state"] = str(
                start.declaration.allow_non_restored_state
            ).lower()
        try:
            if spec.sql is not None:
                self._gateway().submit(spec.sql, properties, start.job_id)
            else:
                flink_jars.submit(self.api, spec, properties, start.job_id)
        except (StatementRefused, FlinkRefused) as error:
            if USED_UP not in str(error):
                raise NotAccepted(_said(error), start.job_id) from error
            return False
        return True

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


def _said(error: StatementRefused | FlinkRefused) -> str:
    return error.cause if isinstance(error, FlinkRefused) else str(error)
