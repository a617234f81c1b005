# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Savepoints made and disposed of through Flink's REST endpoint.

Flink makes them in the background and is asked whether they are done. A savepoint is asked for
under an id of our own: asked again with the same, Flink makes no second one.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import trigger_id
from ansible_collections.bss.platform.plugins.module_utils.flink_jobs import (
    read_failures,
    read_job,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_rest import (
    NOT_FOUND,
    AnswerLost,
    Api,
    CannotReachFlink,
    FlinkRefused,
    root_cause,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

CONFLICT = 409
POLL_S = 0.2
T = TypeVar("T")


class WaitedTooLong(PlatformError):
    """What was waited for did not come within its time."""


class CannotSave(PlatformError):
    """Flink could not make a savepoint; the job goes on."""


class CannotDispose(PlatformError):
    """Flink could not remove a savepoint."""


def wait_for(what: str, look: Callable[[], T | None], timeout_s: float) -> T:
    """Look until there is something, and return it; Flink has no call that waits.

    A JobManager that is restarted meanwhile is waited for; whether a request was heard whose answer
    is lost, the next look tells. Raises WaitedTooLong.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        unreached = ""
        try:
            if (found := look()) is not None:
                return found
        except CannotReachFlink as error:
            unreached = f" {error}"
        if time.monotonic() > deadline:
            raise WaitedTooLong(
                f"Waited {timeout_s:g} s for {what}, and it did not come about.{unreached} What "
                "was done before stays; run the same again, it goes on from there."
            )
        time.sleep(POLL_S)


def stop_with_savepoint(
    api: Api,
    job_id: str,
    directory: str,
    form: str,
    timeout_s: float,
    kept: Callable[[], str | None],
) -> str:
    """Stop a job; the savepoint's address, once the job has ended.

    One that an earlier run has asked for is joined. ``kept`` finds the savepoint where Flink has
    forgotten of it. Raises CannotSave and WaitedTooLong.
    """
    attempt = _next_attempt(api, job_id)
    trigger = trigger_id(job_id, attempt)
    body = {
        "targetDirectory": directory,
        "drain": False,
        "formatType": form.upper(),
        "triggerId": trigger,
    }

    def look() -> str | None:
        said = _status(api, f"/jobs/{job_id}/savepoints/{trigger}")
        if said is None:
            job = read_job(api, job_id)
            if job is None or not job.is_live:
                return kept() or ""
            api.send("POST", f"/jobs/{job_id}/stop", body)
            return None
        return _location(api, said, job_id, directory)

    location = wait_for(f"the savepoint of job {job_id}", look, timeout_s)
    if not location:
        raise CannotSave(
            f"Job {job_id} ended before its savepoint was made. Run the same again: it goes on "
            "from what was saved last."
        )
    wait_until_ended(api, job_id, timeout_s)
    return location


def take_savepoint(api: Api, job_id: str, directory: str, form: str, timeout_s: float) -> str:
    """Make a savepoint of a job that goes on; its address. Raises as stop_with_savepoint does."""
    trigger = uuid.uuid4().hex
    body = {
        "target-directory": directory,
        "cancel-job": False,
        "formatType": form.upper(),
        "triggerId": trigger,
    }

    def look() -> str | None:
        said = _status(api, f"/jobs/{job_id}/savepoints/{trigger}")
        if said is None:
            api.send("POST", f"/jobs/{job_id}/savepoints", body)
            return None
        return _location(api, said, job_id, directory)

    return wait_for(f"the savepoint of job {job_id}", look, timeout_s)


def cancel(api: Api, job_id: str, timeout_s: float) -> None:
    """Cancel a job; returns when it has ended. Raises WaitedTooLong."""
    try:
        with suppress(AnswerLost):
            api.send("PATCH", f"/jobs/{job_id}?mode=cancel")
    except FlinkRefused as refusal:
        if refusal.status not in (NOT_FOUND, CONFLICT):  # gone, or ended already
            raise
    wait_until_ended(api, job_id, timeout_s)


def wait_until_ended(api: Api, job_id: str, timeout_s: float) -> None:
    def ended() -> bool | None:
        job = read_job(api, job_id)
        return True if job is None or not job.is_live else None

    wait_for(f"job {job_id} to end", ended, timeout_s)


def dispose(api: Api, path: str, timeout_s: float) -> None:
    """Remove a savepoint or a kept checkpoint; one that is gone is well. Raises CannotDispose."""
    request = api.send("POST", "/savepoint-disposal", {"savepoint-path": path})["request-id"]

    def look() -> dict[str, Any] | None:
        said: dict[str, Any] = api.get(f"/savepoint-disposal/{request}")
        return said if said["status"]["id"] == "COMPLETED" else None

    said = wait_for(f"{path} to be disposed of", look, timeout_s)
    failure = (said.get("operation") or {}).get("failure-cause")
    if failure and "FileNotFoundException" not in failure["stack-trace"]:
        raise CannotDispose(
            f"Flink cannot dispose of {path}: {root_cause(failure['stack-trace'])}. Remove it by "
            "hand, or see that Flink's user may."
        )


def _next_attempt(api: Api, job_id: str) -> int:
    """The number of the stop that is under way or done, or that is to be asked for next.

    One that failed is remembered by Flink for a while, and asked again would only say so again.
    """
    attempt = 0
    while True:
        said = _status(api, f"/jobs/{job_id}/savepoints/{trigger_id(job_id, attempt)}")
        if said is None or not (said.get("operation") or {}).get("failure-cause"):
            return attempt
        attempt += 1


def _status(api: Api, path: str) -> dict[str, Any] | None:
    """What Flink says of a savepoint; None where it knows none of that id."""
    try:
        said: dict[str, Any] = api.get(path)
    except FlinkRefused as refusal:
        if refusal.status != NOT_FOUND:
            raise
        return None
    return said


def _location(api: Api, said: dict[str, Any], job_id: str, directory: str) -> str | None:
    if said["status"]["id"] != "COMPLETED":
        return None
    operation = said["operation"]
    if "failure-cause" in operation:
        # Where a task failed at it, Flink only says that saving was given up.
        failed = read_failures(api, job_id).cause
        raise CannotSave(
            f"Flink cannot save job {job_id} to {directory}: "
            f"{root_cause(operation['failure-cause']['stack-trace'])}. "
            f"{f'The last failure of the job: {failed}. ' if failed else ''}The job goes on. See "
            "that all of its tasks run and that Flink's user may write there on every host. Some "
            "state can only be saved with savepoint_format: native; a job that cannot be saved is "
            "replaced by way of its last checkpoint with upgrade_mode: last_state."
        )
    return str(operation["location"])
