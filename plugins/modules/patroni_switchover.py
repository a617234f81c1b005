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
  - Makes a named member, or the best standby, the primary of its group by Patroni's planned switchover, in which the
    old primary first stops taking writes and hands over everything it has.
  - A group that the candidate leads already is left alone, so the same task again changes nothing.
  - All groups are looked at before the first is touched; nothing happens if one of them cannot be switched.
  - One group at a time, and the next only when the last one has its primary and its standby back.
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
        description: Member that is to lead. Empty means the standby with the least to catch up.
        type: str
        default: ''
  max_lag_bytes:
    description: A candidate that lacks more than this of the primary's log is refused.
    type: int
    default: 1048576
  timeout:
    description: How long a group may take to have its new primary and its standby back, in seconds.
    type: int
    default: 60
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
    read_groups,
    switch_over,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import (
    Action,
    Plan,
    PlatformError,
    Refusal,
)


def plan(
    groups: Mapping[int, Group], switchovers: Sequence[Mapping[str, Any]], max_lag_bytes: int
) -> Plan:
    """One action for each group that the candidate does not lead yet."""
    actions: list[Action] = []
    refusals: list[Refusal] = []
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for wanted in switchovers:
        number, name = wanted["group"], wanted.get("candidate") or ""
        asked = f"group {number} led by {name or 'its best standby'}"
        group = groups.get(number)
        if group is None:
            known = ", ".join(str(known) for known in sorted(groups)) or "none"
            refusals.append(
                Refusal(asked, f"groups {known}", "no member of it was given", "correct the group")
            )
            continue
        primary = group.primary
        if primary is not None:
            before[f"group {number}"] = after[f"group {number}"] = primary.name
            if primary.name == name:
                continue
        refusal = _refusal(asked, group, name, max_lag_bytes)
        if refusal is not None:
            refusals.append(refusal)
            continue
        candidate = group.member(name) if name else group.best_standby()
        assert primary is not None and candidate is not None  # refused above
        after[f"group {number}"] = candidate.name
        actions.append(
            Action(
                sentence=f"switch group {number} from {primary.name} to {candidate.name}",
                statement="POST /switchover",
                options={"group": number, "leader": primary.name, "candidate": candidate.name},
            )
        )
    return Plan(tuple(actions), before, after, tuple(refusals))


def _refusal(asked: str, group: Group, name: str, max_lag_bytes: int) -> Refusal | None:
    found = ", ".join(f"{member.name} ({member.role}, {member.state})" for member in group.members)
    look = "look at it with `patronictl list` and at `journalctl -u patroni` on its members"
    if group.primary is None:
        return Refusal(
            asked, found, "the group has no primary to hand over, so this is a failover", look
        )
    if group.paused:
        return Refusal(asked, found, "Patroni is paused there", "run `patronictl resume` first")
    if name and group.member(name) is None:
        return Refusal(asked, found, f"{name} is no member of the group", "name one that is")
    candidate = group.member(name) if name else group.best_standby()
    if candidate is None or candidate.state != "streaming":
        who = name or "no standby"
        return Refusal(
            asked,
            found,
            f"{who} {'does not stream' if name else 'streams'} from the primary, "
            "so there is nobody to hand over to",
            look if name else "add a host with this citus_group to the inventory, run site.yml",
        )
    if (candidate.lag_bytes or 0) > max_lag_bytes:
        return Refusal(
            asked,
            f"{candidate.name} lacks {candidate.lag_bytes} bytes of the primary's log",
            f"more than {max_lag_bytes} may not be missing",
            "wait until it has caught up",
        )
    return None


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
            switch_over(api, parameters["members"], timeout_s=parameters["timeout"], **action.options)
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
