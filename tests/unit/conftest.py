# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Plays run by Ansible, and modules run by their real main() against a scripted session.

A script is a list of steps, each a tuple of three: a part of the statement that the module
has to send next (with its parameters filled in), the rows or the exception that it gets for
it, and the warnings that come with them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

CHECKOUT = Path(__file__).parents[2]

Step = tuple[str, Sequence[Mapping[str, Any]] | Exception, Sequence[str]]


@dataclass
class ScriptedSession:
    """Stands for Session: takes the script's statements, in order, and no other."""

    script: list[Step]
    name: str = "us-c1:5432/bss"
    sent: list[str] = field(default_factory=list)
    closed: bool = False
    notices: list[str] = field(default_factory=list)

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        shown = _fill_in(statement, parameters)
        assert self.script, f"the script has ended, but the module sends: {shown}"
        contains, answer, warnings = self.script.pop(0)
        assert contains in shown, f"the script has {contains!r}, the module sends: {shown}"
        self.notices.extend(warnings)
        if isinstance(answer, Exception):
            raise answer
        return [dict(row) for row in answer]

    def value(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        rows = self.rows(statement, parameters)
        return next(iter(rows[0].values())) if rows else None

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        self.sent.append(_fill_in(statement, parameters))
        return self.rows(statement, parameters)

    def close(self) -> None:
        self.closed = True


def _fill_in(statement: str, parameters: Sequence[Any]) -> str:
    one_line = " ".join(statement.split())
    return one_line % tuple(map(_literal, parameters)) if parameters else one_line


def _literal(value: Any) -> str:
    return "NULL" if value is None else repr(value)


@pytest.fixture
def run_main(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    """Run a module's main() with a script; its JSON. The whole script has to be used."""

    def run(
        module: ModuleType, script: Sequence[Step], args: Mapping[str, Any], check: bool = False
    ) -> dict[str, Any]:
        session = ScriptedSession(list(script))
        monkeypatch.setattr(module, "connect", lambda options: session)
        # Another test may have loaded the controller's code into this process; a module's
        # own process never has, and tells its warnings in its result.
        monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)
        with (
            patch_module_args({**args, "_ansible_check_mode": check}),
            pytest.raises(SystemExit),
        ):
            module.main()
        assert not session.script, f"the module did not send: {session.script[0][0]}"
        assert session.closed, "the module left the connection open"
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return {"failed": False, **answer}

    return run


Playbook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ansible_playbook() -> Playbook:
    """Run ansible-playbook from the clone, by the clone's own ansible.cfg and nothing else."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", *arguments],
            cwd=CHECKOUT,
            env={name: value for name, value in os.environ.items() if "ANSIBLE" not in name},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def run_play(tmp_path: Path, ansible_playbook: Playbook) -> Callable[..., str]:
    """Run a play on this machine, on hosts that it has or an inventory names; what Ansible says."""

    def run(
        play: Mapping[str, Any],
        *options: str,
        inventory: str | Path = "localhost,",
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        playbook = tmp_path / "play.json"
        playbook.write_text(
            json.dumps([{"hosts": "all", "connection": "local", "gather_facts": False, **play}])
        )
        said = ansible_playbook(
            *("-i", inventory, playbook, "-e", json.dumps(variables or {}), *options)
        )
        return said.stdout + said.stderr

    return run
