#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Hands the lead of groups to named members, in the order that is given."""

from __future__ import annotations

DOCUMENTATION = r"""
module: patroni_switchover
short_description: Hand the lead of groups to other members
version_added: 0.1.0
author: the bss.platform contributors
description:
  - Makes a named member, or the best standby, the primary of its group by Patroni's planned
    switchover, in which the old primary first stops taking writes and hands over everything it has.
  - A group that the candidate leads already is left alone, so the same task again changes nothing.
  - All groups are looked at before the first is touched; nothing happens if one of them cannot be
    switched.
  - One group at a time, and the next only when the last one has its new primary, and its standbys
    stream from it.
extends_documentation_fragment:
  - bss.platform.attributes
  - bss.platform.client_certificate
  - bss.platform.patroni_members
options:
  switchovers:
    description: What to do, in this order.
    type: list
    elements: dict
    required: true
    suboptions:
      group:
        description: Number of the group.
        type: int
        required: true
      candidate:
        description:
          - Member that is to lead.
          - Empty means the standby with the least to lose. The lead then moves each time that this
            is asked.
        type: str
        default: ''
  max_lag_bytes:
    description: A candidate that lacks more than this of the primary's log is refused.
    type: int
    default: 1048576
  timeout:
    description:
      - How long a group may take to have its new primary and its standbys back, in seconds.
    type: int
    default: 60
attributes:
  idempotent:
    description: The same task again changes nothing.
    support: partial
    details: Only where a candidate is named.
"""

EXAMPLES = r"""
- name: Let us-w1b lead group 1
  bss.platform.patroni_switchover:
    ca_cert: /etc/bss/tls/ca.crt
    client_cert: /etc/bss/tls/host.pem
    members:
      - {name: us-w1, url: "https://us-w1:8008", group: 1}
      - {name: us-w1b, url: "https://us-w1b:8008", group: 1}
    switchovers:
      - group: 1
        candidate: us-w1b
"""

RETURN = r"""
plan:
  description: What was done, or would be in check mode, a sentence each.
  type: list
  elements: str
  returned: success
  sample: ["switch group 1 from us-w1 to us-w1b"]
requests:
  description: What was sent to Patroni.
  type: list
  elements: str
  returned: success
primaries:
  description: Who leads each group afterwards (in check mode, would lead), by number of the group.
  type: dict
  returned: success
  sample: {"1": "us-w1b"}
"""

from collections.abc import Mapping, Sequence
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
from ansible_collections.bss.platform.plugins.module_utils.patroni_actions import switch_over
from ansible_collections.bss.platform.plugins.module_utils.plan import (
    Action,
    Plan,
    PlatformError,
    Refusal,
)

LOOK = "look at it with `patronictl list` and at `journalctl -u patroni` on its members"


def plan(
    groups: Mapping[int, Group], switchovers: Sequence[Mapping[str, Any]], max_lag_bytes: int
) -> Plan:
    """One action for each group that its candidate does not lead yet, in the order given."""
    actions: list[Action] = []
    refusals: list[Refusal] = []
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for wish in switchovers:
        number, name = int(wish["group"]), wish["candidate"]
        asked = f"switchover of group {number} to {name or 'its best standby'}"
        group = groups.get(number)
        if group is None:
            known = ", ".join(str(each) for each in groups)
            refusals.append(
                Refusal(asked, f"groups {known}", "no member of it was given", "correct the group")
            )
            continue
        key = f"group {number}"
        if key in before:
            refusals.append(
                Refusal(asked, "an earlier switchover of it", "it is listed twice", "list it once")
            )
            continue
        before[key] = after[key] = group.primary.name if group.primary else ""
        if name and before[key] == name:
            continue
        heir = _heir(asked, group, name, max_lag_bytes)
        if isinstance(heir, Refusal):
            refusals.append(heir)
            continue
        after[key] = heir.name
        actions.append(
            Action(
                sentence=f"switch group {number} from {before[key]} to {heir.name}",
                statement="POST /switchover",
                options={"group": number, "leader": before[key], "candidate": heir.name},
            )
        )
    return Plan(tuple(actions), before, after, tuple(refusals))


def _heir(asked: str, group: Group, name: str, max_lag_bytes: int) -> Member | Refusal:
    """Who takes over: ``name``, or the best standby; or why nobody can."""
    found = str(group)
    if group.primary is None:
        return Refusal(
            asked, found, "the group has no primary to hand over, so this is a failover", LOOK
        )
    if group.paused:
        return Refusal(asked, found, "Patroni is paused there", "run `patronictl resume` first")
    if not name and not group.standbys and not group.missing:
        return Refusal(
            asked,
            found,
            "the group has no standby to hand over to",
            "add a host with this citus_group to the inventory and run site.yml",
        )
    able = group.candidates()
    heir = next((member for member in able if name in ("", member.name)), None)
    if heir is None:
        return _why_not(asked, group, name, able)
    if heir.lag_bytes is None or heir.lag_bytes > max_lag_bytes:
        lacks = "an unknown number of" if heir.lag_bytes is None else str(heir.lag_bytes)
        return Refusal(
            asked,
            f"{heir.name} lacks {lacks} bytes of the primary's log",
            f"more than {max_lag_bytes} may not be missing",
            "wait until it has caught up",
        )
    return heir


def _why_not(asked: str, group: Group, name: str, able: Sequence[Member]) -> Refusal:
    found = str(group)
    member = group.member(name)
    if not name:
        return Refusal(asked, found, "no standby streams from the primary and may lead", LOOK)
    if name in group.missing:
        return Refusal(asked, found, f"Patroni does not know {name}, or not any more", LOOK)
    if member is None:
        return Refusal(asked, found, f"{name} is no member of the group", "name one that is")
    if member.nofailover:
        return Refusal(
            asked, found, f"the tag nofailover keeps {name} from leading", "name another"
        )
    if not member.streams:
        return Refusal(asked, found, f"{name} does not stream from the primary", LOOK)
    names = ", ".join(each.name for each in able)
    return Refusal(asked, found, f"commits wait for {names} and not for {name}", f"name {names}")


def run(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    api = Api(parameters)
    todo = plan(
        read_groups(api, parameters["members"]),
        parameters["switchovers"],
        parameters["max_lag_bytes"],
    )
    todo.raise_if_refused()
    if not check_mode:
        for action in todo.actions:
            switch_over(
                api, parameters["members"], timeout_s=parameters["timeout"], **action.options
            )
    return {
        "changed": todo.changed,
        "plan": todo.sentences,
        "diff": todo.diff,
        "requests": api.sent,
        "primaries": {name.removeprefix("group "): who for name, who in todo.after.items()},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CLIENT_OPTIONS,
            **MEMBER_OPTIONS,
            "switchovers": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "group": {"type": "int", "required": True},
                    "candidate": {"type": "str", "default": ""},
                },
            },
            "max_lag_bytes": {"type": "int", "default": 1048576},
            "timeout": {"type": "int", "default": 60},
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
