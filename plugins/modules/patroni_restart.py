#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Restarts PostgreSQL where it is needed, one member after the other."""

from __future__ import annotations

DOCUMENTATION = r"""
module: patroni_restart
short_description: Restart PostgreSQL where it is needed, one member after the other
version_added: 0.1.0
author: the bss.platform contributors
description:
  - Restarts the members of which PostgreSQL says that a changed setting waits for a restart (or all of them, or those
    named), never two at once and never two groups at once.
  - Within a group the standbys go first; then the lead is handed to one of them and the old primary restarts as a
    standby. A primary without a standby restarts in place. The coordinator's group comes last.
  - A run that was interrupted is simply repeated; what has been restarted no longer waits for it.
extends_documentation_fragment:
  - bss.platform.attributes
  - bss.platform.patroni
options:
  members:
    description: All members of the groups concerned.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the member.
        type: str
        required: true
      url:
        description: Address of its REST API.
        type: str
        required: true
      group:
        description: Number of its group.
        type: int
        required: true
  only:
    description:
      - Names of members to restart although no setting waits for it (after an upgrade of the programs).
    type: list
    elements: str
    default: []
  timeout:
    description: How long a member may take to be back, in seconds.
    type: int
    default: 120
"""

EXAMPLES = r"""
- name: Restart what waits for a restart
  bss.platform.patroni_restart:
    ca_cert: /etc/bss/tls/ca.crt
    client_cert: /etc/bss/tls/host.pem
    members:
      - {name: us-c1, url: "https://us-c1:8008", group: 0}
      - {name: us-w1, url: "https://us-w1:8008", group: 1}
      - {name: us-w1b, url: "https://us-w1b:8008", group: 1}
"""

RETURN = r"""
plan:
  description: What was done, or would be in check mode, a sentence each.
  type: list
  elements: str
  returned: success
  sample:
    - restart standby us-w1b of group 1
    - switch group 1 from us-w1 to us-w1b
    - restart standby us-w1 of group 1
requests:
  description: What was sent to Patroni.
  type: list
  elements: str
  returned: success
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bss.platform.plugins.module_utils.patroni import (
    CLIENT_OPTIONS,
    MEMBER_OPTIONS,
    Api,
    Group,
    Member,
    read_groups,
    restart,
    switch_over,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import (
    Action,
    Plan,
    PlatformError,
    Refusal,
)


def plan(groups: Iterable[Group], only: Collection[str]) -> Plan:
    """Standbys first, then a switchover, then the old primary; coordinator last."""
    actions: list[Action] = []
    refusals: list[Refusal] = []
    before: dict[str, Any] = {}
    in_order = sorted(groups, key=lambda group: (group.number == 0, group.number))
    for group in in_order:
        todo = [member for member in group.members if _needs(member, only)]
        if not todo:
            continue
        before.update({member.name: "waits for a restart" for member in todo})
        absent = [member for member in group.members if not member.serves]
        if group.primary is None or absent:
            refusals.append(
                Refusal(
                    f"restart of {', '.join(member.name for member in todo)}",
                    ", ".join(f"{m.name} ({m.role}, {m.state})" for m in group.members),
                    f"group {group.number} is not whole, and a restart would take away what is left",
                    "bring its members back first (`patronictl list`, `journalctl -u patroni`)",
                )
            )
            continue
        actions.extend(_steps(group, todo))
    return Plan(
        tuple(actions), before, {name: "restarted" for name in before}, tuple(refusals)
    )


def _needs(member: Member, only: Collection[str]) -> bool:
    return member.pending_restart or member.name in only


def _steps(group: Group, todo: list[Member]) -> Iterable[Action]:
    for member in todo:
        if not member.is_primary:
            yield _restart_step(group, member, "standby")
    primary = group.primary
    if primary is None or primary not in todo:
        return
    heir = group.best_standby()
    if heir is None:
        yield _restart_step(group, primary, "primary")
        return
    yield Action(
        sentence=f"switch group {group.number} from {primary.name} to {heir.name}",
        statement="POST /switchover",
        options={"group": group.number, "leader": primary.name, "candidate": heir.name},
    )
    yield _restart_step(group, primary, "standby")


def _restart_step(group: Group, member: Member, role: str) -> Action:
    return Action(
        sentence=f"restart {role} {member.name} of group {group.number}",
        statement="POST /restart",
        options={"group": group.number, "member": member.name},
    )


def run(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    api = Api(parameters)
    members = parameters["members"]
    todo = plan(read_groups(api, members).values(), parameters["only"])
    todo.raise_if_refused()
    if not check_mode:
        for action in todo.actions:
            step = switch_over if "candidate" in action.options else restart
            step(api, members, timeout_s=parameters["timeout"], **action.options)
    return {
        "changed": todo.changed,
        "plan": todo.sentences,
        "diff": todo.diff,
        "requests": api.sent,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CLIENT_OPTIONS,
            **MEMBER_OPTIONS,
            "only": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
