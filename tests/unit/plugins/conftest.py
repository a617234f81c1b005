# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Modules run by their real main() against scripted members of Patroni groups.

A script is a list of steps, each a pair: the request that the module has to send next, as
``GET us-w1/cluster`` or ``POST us-w1/restart {"timeout": 60}``, and what it gets for it: a
dict (JSON, status 200), a pair of a status and a text, or an exception.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from email.message import Message
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import HTTPError

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.bss.platform.plugins.module_utils import patroni, patroni_actions

Step = tuple[str, Mapping[str, Any] | tuple[int, str] | Exception]


class Clock:
    """Stands for the module time: sleeping takes no time, but is counted."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class ScriptedPatroni:
    """Stands for the members' REST APIs: takes the script's requests, in order, and no other."""

    def __init__(self, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.clock = Clock()
        self.script: list[Step] = []
        self._capsys = capsys
        self.options = {"ca_cert": str(files / "ca.crt"), "client_cert": str(files / "host.pem")}
        for path in self.options.values():
            Path(path).touch()

    def open_url(self, url: str, *, method: str, data: str | None, **_: Any) -> io.BytesIO:
        shown = f"{method} {url.removeprefix('https://').replace(':8008', '')} {data or ''}".strip()
        assert self.script, f"the script has ended, but the module sends: {shown}"
        request, answer = self.script.pop(0)
        assert request == shown, f"the script has {request!r}, the module sends: {shown}"
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, tuple):
            status, text = answer
            raise HTTPError(url, status, "reason", Message(), io.BytesIO(text.encode()))
        return io.BytesIO(json.dumps(answer).encode())

    def run(
        self,
        module: ModuleType,
        script: Sequence[Step],
        args: Mapping[str, Any],
        check: bool = False,
    ) -> dict[str, Any]:
        """Run a module's main(); its JSON. The whole script has to be used."""
        self.script = list(script)
        with (
            patch_module_args({**self.options, **args, "_ansible_check_mode": check}),
            pytest.raises(SystemExit),
        ):
            module.main()
        assert not self.script, f"the module did not send: {self.script[0][0]}"
        answer: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return {"failed": False, **answer}

    @staticmethod
    def look(asked: str, *members: Mapping[str, Any], **settings: Any) -> list[Step]:
        """The reading of a group from ``asked``; it is synchronous unless ``settings`` differ."""
        paused = {"pause": True} if settings.pop("paused", False) else {}
        return [
            (f"GET {asked}/cluster", {"members": members, **paused}),
            (f"GET {asked}/config", {"synchronous_mode": True, **settings}),
        ]

    @staticmethod
    def leader(name: str, **others: Any) -> dict[str, Any]:
        """A primary, as /cluster tells it."""
        return {
            "name": name,
            "role": "leader",
            "state": "running",
            "api_url": f"https://{name}:8008/patroni",
            **others,
        }

    @classmethod
    def standby(cls, name: str, **others: Any) -> dict[str, Any]:
        """A synchronous standby, as /cluster tells it."""
        values = {"role": "sync_standby", "state": "streaming", "lag": 0, **others}
        return cls.leader(name, **values)

    @staticmethod
    def leads(name: str, started: str = "before", **others: Any) -> Step:
        """A primary, as it says of itself."""
        status = {"state": "running", "role": "primary", "postmaster_start_time": started}
        return f"GET {name}/patroni", {**status, **others}

    @classmethod
    def streams(cls, name: str, started: str = "before", **others: Any) -> Step:
        """A standby, as it says of itself."""
        values = {"role": "replica", "replication_state": "streaming", **others}
        return cls.leads(name, started, **values)


@pytest.fixture
def members(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> ScriptedPatroni:
    """Members of Patroni groups that answer by a script, and a clock without real sleeps."""
    scripted = ScriptedPatroni(tmp_path, capsys)
    monkeypatch.setattr(patroni, "open_url", scripted.open_url)
    monkeypatch.setattr(patroni_actions, "time", scripted.clock)
    return scripted
