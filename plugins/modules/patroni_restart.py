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
  - Restarts the members of which PostgreSQL says that a changed setting waits for a restart, and
    those that O(only) names; never two at once and never two groups at once.
  - Within a group the standbys go first; then the lead is handed to one of them, in which Patroni
    restarts the old primary as a standby. A primary that no standby can replace restarts in place.
    The coordinator's group comes last.
  - Where a setting is lowered that no standby may have lower than its primary (such as
    C(max_connections)), the primary restarts first and in place.
  - Each step waits until its group is whole, and after it until PostgreSQL was started anew, the
    primary serves, the standbys stream, and one of them is synchronous where one was before.
  - Nothing is restarted if a group is not whole, is paused, or lacks a declared member.
  - A run that was interrupted is simply repeated; what has been restarted no longer waits for it.
extends_documentation_fragment:
  - bss.platform.attributes
  - bss.platform.client_certificate
  - bss.platform.patroni_members
options:
  only:
    description:
      - Names of members to restart although no setting waits for it (after an upgrade of the
        programs). They are restarted each time that this is asked.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - How long a step may take, in seconds. A primary that is not back in time loses its lead to a
        standby.
    type: int
    default: 120
attributes:
  idempotent:
    description: The same task again changes nothing.
    support: partial
    details: Not with O(only).
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
    - switch group 1 from us-w1 to us-w1b, which restarts us-w1
requests:
  description: What was sent to Patroni.
  type: list
  elements: str
  returned: success
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.patroni import (
    CLIENT_OPTIONS,
    MEMBER_OPTIONS,
    Api,
    Group,
    Member,
    read_groups,
)
from ansible_collections.bss.platform.plugins.module_utils.patroni_actions import (
    restart,
    switch_over,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import (
    Action,
    Plan,
    PlatformError,
    Refusal,
)

# A standby does not start with less of these than its primary has.
PRIMARY_FIRST = (
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
)


def plan(groups: Collection[Group], only: Sequence[str]) -> Plan:
    """Standbys first, then the primary by a switchover; the coordinator's group last."""
    actions: list[Action] = []
    before: dict[str, str] = {}
    refusals = [
        Refusal(
            f"restart of {name}",
            "; ".join(f"group {group.number}: {group}" for group in groups),
            "no member has that name",
            "correct the name",
        )
        for name in only
        if not any(group.member(name) for group in groups)
    ]
    for group in sorted(groups, key=lambda group: (group.number == 0, group.number)):
        todo = [member for member in group.members if member.pending_restart or member.name in only]
        if not todo:
            continue
        before.update(
            (member.name, "waits for a restart" if member.pending_restart else "runs")
            for member in todo
        )
        refusal = _refusal(group, todo)
        if refusal is not None:
            refusals.append(refusal)
            continue
        actions.extend(_steps(group, todo))
    return Plan(tuple(actions), before, dict.fromkeys(before, "restarted"), tuple(refusals))


def _refusal(group: Group, todo: Sequence[Member]) -> Refusal | None:
    asked = f"restart of {', '.join(member.name for member in todo)}"
    if group.paused:
        return Refusal(
            asked,
            str(group),
            f"Patroni is paused in group {group.number}, so nobody would take over",
            "run `patronictl resume` first",
        )
    if not group.is_whole:
        return Refusal(
            asked,
            str(group),
            f"group {group.number} is not whole, and a restart would take away what is left",
            "bring its members back first (`patronictl list`, `journalctl -u patroni`)",
        )
    return None


def _steps(group: Group, todo: Sequence[Member]) -> Iterator[Action]:
    standbys = [_restart_step(group, member, "standby") for member in todo if member.streams]
    primary = next((member for member in todo if member.is_primary), None)
    if primary is None:
        yield from standbys
        return
    lowered = [name for name in PRIMARY_FIRST if _is_lowered(primary, name)]
    if group.standbys and lowered:
        because = f", before its standbys, which may not have less {', '.join(lowered)}"
        yield _restart_step(group, primary, "primary", because)
        yield from standbys
        return
    yield from standbys
    able = group.candidates()
    if not able:
        yield _restart_step(group, primary, "primary")
        return
    # Restarts move who is synchronous: among several the heir is chosen then.
    heir = able[0].name if len(group.standbys) == 1 else ""
    to = heir or "its best standby"
    yield Action(
        sentence=f"switch group {group.number} from {primary.name} to {to}, "
        f"which restarts {primary.name}",
        statement="POST /switchover",
        options={"group": group.number, "leader": primary.name, "candidate": heir},
    )


def _is_lowered(member: Member, setting: str) -> bool:
    waiting = member.pending_settings.get(setting)
    return waiting is not None and int(waiting["new_value"]) < int(waiting["old_value"])


def _restart_step(group: Group, member: Member, role: str, because: str = "") -> Action:
    return Action(
        sentence=f"restart {role} {member.name} of group {group.number}{because}",
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
