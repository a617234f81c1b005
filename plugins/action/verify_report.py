# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Collects the results of checks from all hosts, shows them, and judges."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.bss.platform.plugins.plugin_utils.verification import (
    Verification,
    as_json,
    as_junit,
    as_table,
    gather,
    standin_warning,
)

display = Display()


class ActionModule(ActionBase):
    _requires_connection = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _result, arguments = self.validate_argument_spec(
            {
                "suites": {"type": "dict", "required": True},
                "directory": {"type": "path", "required": True},
                "name": {"type": "str", "default": "verify"},
            }
        )
        hostvars = (task_vars or {})["hostvars"]
        verification = gather(arguments["name"], arguments["suites"], hostvars)
        show(verification)
        files = [] if self._task.check_mode else write(verification, Path(arguments["directory"]))
        return {
            "changed": False,  # the report says how the platform is; it changes nothing of it
            "failed": verification.fault is not None,
            "msg": verification.fault or verification.sentence,
            "counts": verification.counts,
            "files": [str(file) for file in files],
        }


def show(verification: Verification) -> None:
    """Print the table, and the warning that no reader may miss."""
    color = constants.COLOR_ERROR if verification.fault else constants.COLOR_OK
    display.display(f"\n{as_table(verification)}\n\n{verification.sentence}\n", color=color)
    if warning := standin_warning(verification):
        display.warning(warning)


def write(verification: Verification, directory: Path) -> list[Path]:
    """Write both files, and say which."""
    finished = datetime.now(UTC)
    directory.mkdir(parents=True, exist_ok=True)
    files = {
        directory / f"{verification.name}.json": as_json(verification, finished),
        directory / f"{verification.name}.xml": as_junit(verification, finished),
    }
    for file, text in files.items():
        file.write_text(text, encoding="utf-8")
    return list(files)
