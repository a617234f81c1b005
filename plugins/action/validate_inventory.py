# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Refuses an inventory with mistakes, all of them at once, before a host is touched."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.bss.platform.plugins.plugin_utils.inventory import read_inventory
from ansible_collections.bss.platform.plugins.plugin_utils.inventory_rules import judge, summary
from ansible_collections.bss.platform.plugins.plugin_utils.role_variables import read_specs


class ActionModule(ActionBase):
    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        super().run(tmp, task_vars)
        self.validate_argument_spec({})
        variables = task_vars or {}
        inventory = read_inventory(
            loader=self._loader,
            sources=variables["ansible_inventory_sources"],
            groups=variables["groups"],
            hostvars=variables["hostvars"],
            specs=read_specs(),
        )
        problems = [str(refusal) for refusal in judge(inventory)]
        if problems:
            numbered = [f"{number}. {problem}" for number, problem in enumerate(problems, start=1)]
            return {
                "failed": True,
                "msg": "\n".join(["No host was touched: the inventory is not right.", *numbered]),
            }
        return {
            "changed": False,
            "msg": f"{summary(inventory)}: nothing to object to",
            "_ansible_verbose_always": True,
        }
