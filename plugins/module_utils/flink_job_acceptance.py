# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Whether a job that was started does what it is for: runs, and saves its state."""

from __future__ import annotations

import time
from contextlib import suppress

from ansible_collections.bss.platform.plugins.module_utils.flink_job_savepoints import POLL_S
from ansible_collections.bss.platform.plugins.module_utils.flink_jobs import (
    Job,
    read_checkpoints,
    read_failures,
    read_job,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_rest import (
    Api,
    CannotReachFlink,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError, counted

STORM = 3
"""Failures after which a job that has yet to prove itself is taken to fail for good."""

LONG_INTERVAL_MS = 30_000
"""Of checkpoints; where it is longer, one is asked for."""


class NotAccepted(PlatformError):
    """A job does not run, or completes no checkpoint; its text is Flink's root cause."""

    def __init__(self, cause: str, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(cause)


def accept(api: Api, job_id: str, timeout_s: float, failed_before_ms: int = 0) -> float:
    """Wait until all tasks run and a checkpoint is completed; when they began to run.

    Of a job that was accepted before and failed since, ``failed_before_ms`` is when it did last.
    Failures up to then do not count, nor do the checkpoints that it has: it has to run for a while.
    Raises NotAccepted.
    """
    deadline = time.monotonic() + timeout_s
    ran: float | None = None
    asked = False
    while True:
        why = "Flink does not answer"
        with suppress(CannotReachFlink):  # a JobManager that is restarted brings jobs back
            job = read_job(api, job_id)
            why = "Flink does not know it"
            if job is not None:
                why = _trouble(api, job, failed_before_ms)
                ran = (ran or time.monotonic()) if job.runs else None
            if ran is not None and failed_before_ms:
                if job is not None and job.is_steady:
                    return ran
                why = "it has failed, and not run for long since"
            elif ran is not None:
                checkpoints = read_checkpoints(api, job_id)
                if not checkpoints.enabled or checkpoints.completed:
                    return ran
                why = (
                    "all of its tasks run, but no checkpoint is completed "
                    f"({checkpoints.failed} failed)"
                )
                if checkpoints.interval_ms > LONG_INTERVAL_MS and not asked:
                    api.send("POST", f"/jobs/{job_id}/checkpoints", {})
                    asked = True
        if time.monotonic() > deadline:
            raise NotAccepted(f"after {timeout_s:g} s (accept_timeout), {why}", job_id)
        time.sleep(POLL_S)


def _trouble(api: Api, job: Job, failed_before_ms: int) -> str:
    """What keeps a live job from running. Raises NotAccepted where it will not."""
    failures = read_failures(api, job.job_id, failed_before_ms)
    because = f": {failures.cause}" if failures.cause else ""
    if not job.is_live:
        ended = "it came to its end by itself" if job.state == "FINISHED" else job.state
        raise NotAccepted(f"{ended}{because}", job.job_id)
    if failures.count >= STORM:
        raise NotAccepted(
            f"it failed {failures.count} times within a short time{because}", job.job_id
        )
    return f"{job.running} of {counted(job.tasks, 'task')} run{because}"
