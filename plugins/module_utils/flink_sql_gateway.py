# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Jobs written in SQL, given to Flink through its SQL Gateway: on trial, and in earnest."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from ansible_collections.bss.platform.plugins.module_utils.flink_rest import (
    NOT_FOUND,
    Api,
    CannotReachFlink,
    FlinkRefused,
)
from ansible_collections.bss.platform.plugins.module_utils.flink_secrets import masked_sql
from ansible_collections.bss.platform.plugins.module_utils.flink_sql_text import (
    explanation_of,
    split_statements,
    starts_job,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

POLL_S = 0.05
ANSWERED = ("FINISHED", "ERROR", "CANCELED", "CLOSED", "TIMEOUT")
FIXED_JOB_ID = "$internal.pipeline.job-id"


class StatementRefused(PlatformError):
    """Flink does not take a statement; its text is Flink's reason."""


class NoSuchGateway(PlatformError):
    """Somebody answers at that address who is no SQL Gateway."""


class StatementPending(PlatformError):
    """A statement is not answered in the time given; whether it was done is not known."""


class SqlGateway:
    """Sessions of the gateway at ``address``; ``api`` is what requests are sent and noted with."""

    def __init__(self, api: Api, address: str, timeout_s: float) -> None:
        self._api = api
        self._address = f"{address.rstrip('/')}/v3/sessions"
        self._timeout_s = timeout_s

    def try_out(self, script: str, properties: Mapping[str, str]) -> None:
        """Let Flink parse and plan the script without running it. Raises StatementRefused."""
        with self._session(properties) as session:
            for statement in split_statements(script):
                job = starts_job(statement)
                self._run(session, explanation_of(statement) if job else statement, statement)

    def submit(self, script: str, properties: Mapping[str, str], job_id: str) -> None:
        """Start the script's job under that id. Raises StatementRefused."""
        with self._session({**properties, FIXED_JOB_ID: job_id}) as session:
            for statement in split_statements(script):
                if starts_job(statement):
                    self._api.sent.append(
                        f"POST {self._address}/:session/statements as job {job_id}: "
                        f"{masked_sql(statement)}"
                    )
                self._run(session, statement, statement)

    @contextmanager
    def _session(self, properties: Mapping[str, str]) -> Iterator[str]:
        try:
            answer = self._api.ask("POST", self._address, {"properties": dict(properties)})
        except FlinkRefused as refusal:
            if refusal.status != NOT_FOUND:
                raise
            raise NoSuchGateway(
                f"There is no SQL Gateway at {self._address.removesuffix('/v3/sessions')}: what "
                "answers there knows no sessions, as a JobManager does not. Correct "
                "sql_gateway_url; a gateway listens on port 8083 where nothing else is set."
            ) from refusal
        session = f"{self._address}/{answer['sessionHandle']}"
        try:
            yield session
        finally:
            with suppress(CannotReachFlink, FlinkRefused):  # it ends by itself when left alone
                self._api.ask("DELETE", session)

    def _run(self, session: str, statement: str, shown: str) -> None:
        handle = self._api.ask("POST", f"{session}/statements", {"statement": statement})
        operation = f"{session}/operations/{handle['operationHandle']}"
        deadline = time.monotonic() + self._timeout_s
        while (status := self._api.get(f"{operation}/status")["status"]) not in ANSWERED:
            if time.monotonic() > deadline:
                raise StatementPending(
                    f"The SQL Gateway did not answer within {self._timeout_s:g} s: {_brief(shown)}"
                )
            time.sleep(POLL_S)
        if status != "FINISHED":
            try:
                self._api.get(f"{operation}/result/0?rowFormat=JSON")
            except FlinkRefused as refusal:
                raise StatementRefused(f"{refusal.cause} (in: {_brief(shown)})") from refusal
            raise StatementRefused(f"it was ended ({status}) (in: {_brief(shown)})")


def _brief(statement: str) -> str:
    text = " ".join(masked_sql(statement).split())
    return text if len(text) <= 120 else f"{text[:117]}..."
