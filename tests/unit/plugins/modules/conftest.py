# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Kafka modules run by their real main() against a scripted cluster.

A script is a list of steps, each a pair: what the module has to send next, as the name of the
request or ``Name {part of its JSON}``, and what it gets for it: a response or an exception. A
login that is tried is ``login NAME``, and gets True or False.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import Session

Step = tuple[str, Any]

LOGIN = {"bootstrap_servers": "k1", "sasl_username": "admin", "sasl_password": "secret"}


class ScriptedKafka(Session):
    """Stands for a session: takes the script's requests, in order, and no other."""

    def __init__(self, script: Sequence[Step]) -> None:
        self.script = list(script)
        self.sent = []
        self.closed = False

    name = "k1:9092"
    username = "admin"
    timeout_ms = 27000
    api_versions: Mapping[str, Any] = {}

    def read(
        self, api: str, body: Mapping[str, Any], broker: tuple[str, int] | None = None
    ) -> dict[str, Any]:
        to = "" if broker is None else f" to {broker[0]}"
        answer: dict[str, Any] = self._next(f"{api}{to} {json.dumps(body, default=_shown)}")
        return answer

    def write(
        self,
        api: str,
        body: Mapping[str, Any],
        shown: Mapping[str, Any] | None = None,
        broker: tuple[str, int] | None = None,
    ) -> dict[str, Any]:
        self.sent.append(f"{api} {json.dumps(body if shown is None else shown)}")
        to = "" if broker is None else f" to {broker[0]}"
        answer: dict[str, Any] = self._next(f"{api}{to} {json.dumps(body, default=_shown)}")
        return answer

    def accepts_login(self, username: str, password: str) -> bool:
        return bool(self._next(f"login {username}"))

    def close(self) -> None:
        self.closed = True

    def _next(self, shown: str) -> Any:
        assert self.script, f"the script has ended, but the module sends: {shown}"
        wanted, answer = self.script.pop(0)
        api, _, part = wanted.partition(" {")
        assert shown.startswith(f"{api} " if part else api), f"not {wanted!r} but {shown}"
        assert part.rstrip("}") in shown, f"the script has {wanted!r}, the module sends: {shown}"
        if isinstance(answer, Exception):
            raise answer
        return answer


def _shown(value: Any) -> str:
    return bytes(value).hex() if isinstance(value, bytes | bytearray) else str(value)


RunKafka = Callable[..., dict[str, Any]]


@pytest.fixture
def run_kafka(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunKafka:
    """Run a module's main() with a script; its JSON. The whole script has to be used."""

    def run(
        module: ModuleType, script: Sequence[Step], args: Mapping[str, Any], check: bool = False
    ) -> dict[str, Any]:
        session = ScriptedKafka(script)
        monkeypatch.setattr(module, "connect", lambda options: session)
        with (
            patch_module_args({**LOGIN, **args, "_ansible_check_mode": check}),
            pytest.raises(SystemExit),
        ):
            module.main()
        assert not session.script, f"the module did not send: {session.script[0][0]}"
        assert session.closed, "the module left the connection open"
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return {"failed": False, **answer}

    return run
