# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Shows on one screen what all hosts told of the platform."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.bss.platform.plugins.plugin_utils.status import (
    gather,
    screen,
    watched_regions,
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
                "hosts": {"type": "list", "elements": "str", "required": True},
                "certificate_days": {"type": "int", "default": 14},
            }
        )
        variables = task_vars or {}
        hostvars, groups = variables["hostvars"], variables["groups"]
        shown = screen(
            gather(arguments["hosts"], hostvars, groups),
            watched_regions(hostvars, groups),
            arguments["certificate_days"],
            datetime.now(UTC),
        )
        well = not shown.faults and not shown.alerts
        display.display(
            f"\n{shown.text}\n", color=constants.COLOR_OK if well else constants.COLOR_WARN
        )
        return {
            "changed": False,
            "failed": False,  # it shows; what judges is verify
            "msg": shown.sentence,
            "faults": shown.faults,
            "alerts": shown.alerts,
        }
