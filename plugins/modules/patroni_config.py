#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Declares the settings that the members of a Patroni group share."""

from __future__ import annotations

DOCUMENTATION = r"""
module: patroni_config
short_description: Declare the settings that the members of a Patroni group share
version_added: 0.1.0
author: the bss.platform contributors
description:
  - Patroni keeps the leases and PostgreSQL's settings of a group in its configuration store (the
    "dynamic configuration"). This module compares the declared settings with those, and sends what
    differs in one request.
  - Only what is declared is compared; other settings are left alone. A setting declared as V(null)
    is removed.
  - It acts only when O(url) is the group's primary, so a play may ask every member. While the group
    has no primary, as when it is founded, it waits for one.
  - After a change of PostgreSQL's settings it returns when all members have taken them up, because
    only then do they say whether a restart is needed.
  - Settings that need a restart are stored and marked by Patroni as pending;
    M(bss.platform.patroni_restart) restarts the members one at a time.
extends_documentation_fragment:
  - bss.platform.attributes
  - bss.platform.client_certificate
options:
  url:
    description: Address of a member's REST API, such as V(https://us-w1:8008).
    type: str
    required: true
  config:
    description: The declared part of the dynamic configuration, nested as Patroni has it.
    type: dict
    required: true
seealso:
  - name: Patroni's dynamic configuration
    description: All settings and their meaning.
    link: https://patroni.readthedocs.io/en/latest/dynamic_configuration.html
"""

EXAMPLES = r"""
- name: Give the group longer leases and a larger cache
  bss.platform.patroni_config:
    url: https://us-w1:8008
    ca_cert: /etc/bss/tls/ca.crt
    client_cert: /etc/bss/tls/host.pem
    config:
      ttl: 30
      postgresql:
        parameters:
          shared_buffers: 4GB
          # back to PostgreSQL's own value
          random_page_cost: null
"""

RETURN = r"""
plan:
  description: What was changed, or would be in check mode, a sentence each.
  type: list
  elements: str
  returned: success
  sample: ["set postgresql.parameters.shared_buffers from 128MB to 4GB"]
requests:
  description: What was sent to Patroni.
  type: list
  elements: str
  returned: success
  sample: ["PATCH https://us-w1:8008/config {\"ttl\": 30}"]
primary:
  description: Whether O(url) is the group's primary.
  type: bool
  returned: success
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.patroni import (
    CLIENT_OPTIONS,
    Api,
    CannotReachPatroni,
    PatroniRefused,
    as_bool,
    read_members,
)
from ansible_collections.bss.platform.plugins.module_utils.patroni_actions import wait_for
from ansible_collections.bss.platform.plugins.module_utils.plan import (
    Action,
    Plan,
    PlatformError,
)

NOT_YET = 502  # what /config answers while the group has no settings
FOUNDING_TIMEOUT_S = 30
PATRONI_LOOP_WAIT_S = 10  # Patroni's own value where the settings have none


def leads(api: Api, url: str) -> bool:
    """Whether the member at ``url`` is its group's primary; waits until there is one."""
    name = api.get(f"{url}/patroni").get("patroni", {}).get("name")
    primary = wait_for(
        f"the group of {url} to have a primary",
        lambda: next((member for member in read_members(api, url) if member.is_primary), None),
        FOUNDING_TIMEOUT_S,
    )
    return primary.name == name


def read(api: Api, url: str) -> dict[str, Any]:
    """The group's settings; a group that was founded just now has them in a moment."""

    def settings() -> dict[str, Any] | None:
        try:
            return api.get(f"{url}/config")
        except PatroniRefused as refusal:
            if refusal.status != NOT_YET:
                raise
            return None

    return wait_for(
        f"the settings of the group of {url} to be in etcd", settings, FOUNDING_TIMEOUT_S
    )


def plan(current: Mapping[str, Any], declared: Mapping[str, Any]) -> Plan:
    """Compare setting by setting; None declares that there is none."""
    actions = []
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for path, value in _leaves(declared):
        present = _at(current, path)
        if _same(present, value):
            continue
        name = ".".join(path)
        if present is not None:
            before[name] = present
        if value is not None:
            after[name] = value
        actions.append(
            Action(
                sentence=f"remove {name}, which is {present}"
                if value is None
                else f"set {name} from {'nothing' if present is None else present} to {value}",
                statement="PATCH /config",
                options={"path": path, "value": value},
            )
        )
    return Plan(tuple(actions), before, after)


def apply(api: Api, url: str, todo: Plan, loop_wait_s: float) -> None:
    """Send the whole difference at once: Patroni applies it as one."""
    if not todo.changed:
        return
    patch: dict[str, Any] = {}
    for action in todo.actions:
        _put(patch, action.options["path"], action.options["value"])
    api.send("PATCH", f"{url}/config", patch)
    if "postgresql" in patch:
        _wait_until_taken_up(api, url, loop_wait_s)


def run(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    api = Api(parameters)
    url = parameters["url"].rstrip("/")
    primary = leads(api, url)
    todo = Plan()
    if primary:
        current = read(api, url)
        todo = plan(current, parameters["config"])
        if not check_mode:
            apply(api, url, todo, float(current.get("loop_wait", PATRONI_LOOP_WAIT_S)))
    return {
        "changed": todo.changed,
        "plan": todo.sentences,
        "diff": todo.diff,
        "requests": api.sent,
        "primary": primary,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CLIENT_OPTIONS,
            "url": {"type": "str", "required": True},
            "config": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def _wait_until_taken_up(api: Api, url: str, loop_wait_s: float) -> None:
    """Wait until each member that answers has been twice through its loop.

    The first time it reads the settings and reloads PostgreSQL, the second time
    it tells the others which of them wait for a restart.
    """
    looked: dict[str, set[int]] = {member.api_url: set() for member in read_members(api, url)}

    def taken_up() -> bool:
        for each, times in list(looked.items()):
            try:
                times.add(api.get(f"{each}/patroni")["dcs_last_seen"])
            except CannotReachPatroni:  # it reads them when it starts
                del looked[each]
        return all(len(times) > 2 for times in looked.values())

    wait_for(
        f"the members of the group of {url} to take up the settings",
        taken_up,
        FOUNDING_TIMEOUT_S + 2 * loop_wait_s,
    )


def _leaves(
    tree: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(tree, Mapping) or key not in tree:
            return None
        tree = tree[key]
    return tree


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


def _same(present: Any, declared: Any) -> bool:
    """Alike as PostgreSQL reads them: a template may have made 100 a string."""
    if present is None or declared is None:
        return present is declared
    if isinstance(present, bool) or isinstance(declared, bool):
        return as_bool(present) is as_bool(declared)
    return str(present) == str(declared)


if __name__ == "__main__":
    main()
