#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_acl
short_description: Declare who may do what in a Kafka cluster
version_added: 0.2.0
description:
  - Creates and deletes entries of Kafka's access control lists.
  - Entries are declared one at a time or as a list (O(acls)). A list is planned as a whole, and
    nothing is changed if any part of it is refused; all reasons are told at once.
  - Entries that are not declared are left alone, but for those of declared principals with
    O(purge).
  - What denies is created first, and nothing is deleted before all is created, so that whoever
    stays allowed is so all the time.
  - A list that is as declared costs one request, however long it is.
options:
  principal:
    description:
      - Who, as V(User:name); V(User:*) is everybody.
      - Mutually exclusive with O(acls), as are all the options of an entry.
    type: str
  resource_type:
    description: Of what kind the resource is.
    type: str
    choices: [topic, group, cluster, transactional_id, delegation_token, user]
  resource_name:
    description:
      - Name of the resource, or the beginning of it with O(pattern_type=prefixed); V(*) is every
        resource of that kind.
      - Not needed for the cluster.
    type: str
  pattern_type:
    description: How O(resource_name) is meant; V(literal) when not set.
    type: str
    choices: [literal, prefixed]
  operations:
    description:
      - What is allowed or denied; an entry comes to be for each.
      - C(read), C(write), C(delete) and C(alter) imply C(describe), and C(alter_configs) implies
        C(describe_configs), where they are allowed.
    type: list
    elements: str
    choices: &operations
      - all
      - read
      - write
      - create
      - delete
      - alter
      - describe
      - cluster_action
      - describe_configs
      - alter_configs
      - idempotent_write
      - create_tokens
      - describe_tokens
      - two_phase_commit
  permission:
    description: V(allow) when not set. What is denied is so whatever else is allowed.
    type: str
    choices: [allow, deny]
  host:
    description: Address that the principal comes from; V(*), any, when not set.
    type: str
  state:
    description: V(present) when not set.
    type: str
    choices: [present, absent]
  acls:
    description: A list of entries; each takes the options of a single one.
    type: list
    elements: dict
    suboptions:
      principal:
        description: As O(principal).
        type: str
        required: true
      resource_type:
        description: As O(resource_type).
        type: str
        required: true
        choices: [topic, group, cluster, transactional_id, delegation_token, user]
      resource_name:
        description: As O(resource_name).
        type: str
      pattern_type:
        description: As O(pattern_type).
        type: str
        choices: [literal, prefixed]
      operations:
        description: As O(operations).
        type: list
        elements: str
        required: true
        choices: *operations
      permission:
        description: As O(permission).
        type: str
        choices: [allow, deny]
      host:
        description: As O(host).
        type: str
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
  purge:
    description:
      - Whether all entries of the declared principals that are not declared as present are deleted.
        Entries of other principals are left alone.
    type: bool
    default: false
extends_documentation_fragment:
  - bss.platform.attributes
  - bss.platform.kafka
notes:
  - The brokers need an authorizer (C(authorizer.class.name)). Super users need no entries.
  - When the connection is lost, what was done before stays, and the same task goes on from there.
seealso:
  - module: bss.platform.kafka_user
  - module: bss.platform.kafka_info
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Let orders write its topic and reports read it, and nothing else
  bss.platform.kafka_acl:
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
    purge: true
    acls:
      - principal: User:orders
        resource_type: topic
        resource_name: shop.orders
        operations: [write]
      - principal: User:reports
        resource_type: topic
        resource_name: shop.
        pattern_type: prefixed
        operations: [read]
      - principal: User:reports
        resource_type: group
        resource_name: reports
        operations: [read]

- name: Let nobody delete topics from that address
  bss.platform.kafka_acl:
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
    principal: User:*
    resource_type: topic
    resource_name: "*"
    operations: [delete]
    permission: deny
    host: 192.0.2.7
"""

RETURN = r"""
plan:
  description: What was done, or would be done in check mode, one sentence a step.
  returned: success
  type: list
  elements: str
  sample:
    - create User:orders allow write on topic shop.orders
    - create User:reports allow read on topic prefixed shop.
diff:
  description: The entries that are created or deleted, by principal.
  returned: success
  type: dict
  contains:
    before:
      description: Those that are deleted.
      type: dict
      sample: {}
    after:
      description: Those that are created.
      type: dict
      sample:
        User:orders: [allow write on topic shop.orders]
requests:
  description: What was sent to change something, with Kafka's numbers.
  returned: success
  type: list
  elements: str
  sample:
    - >-
      CreateAcls {"creations": [{"resource_type": 2, "resource_name": "shop.orders",
      "resource_pattern_type": 3, "principal": "User:orders", "host": "*", "operation": 4,
      "permission_type": 3}]}
acls:
  description: All entries of the declared principals as they are now, or would be in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    principal:
      description: Who.
      type: str
      sample: User:orders
    resource_type:
      description: Of what kind the resource is.
      type: str
      sample: topic
    resource_name:
      description: Name of the resource, or the beginning of it.
      type: str
      sample: shop.orders
    pattern_type:
      description: V(literal) or V(prefixed).
      type: str
      sample: literal
    operation:
      description: What is allowed or denied.
      type: str
      sample: write
    permission:
      description: V(allow) or V(deny).
      type: str
      sample: allow
    host:
      description: Address that the principal comes from.
      type: str
      sample: "*"
"""

from collections.abc import Mapping
from contextlib import closing
from itertools import groupby
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.kafka_acl_plan import (
    CREATE,
    Declaration,
    plan,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_acls import (
    OPERATIONS,
    PATTERNS,
    PERMISSIONS,
    RESOURCE_TYPES,
    read_acls,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    CONNECTION_OPTIONS,
    Session,
    StepFailed,
    connect,
    settle,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import error_name
from ansible_collections.bss.platform.plugins.module_utils.plan import Plan, PlatformError

ACL_OPTIONS: dict[str, dict[str, Any]] = {
    "principal": {"type": "str"},
    "resource_type": {"type": "str", "choices": list(RESOURCE_TYPES)},
    "resource_name": {"type": "str"},
    "pattern_type": {"type": "str", "choices": list(PATTERNS)},
    "operations": {"type": "list", "elements": "str", "choices": list(OPERATIONS)},
    "permission": {"type": "str", "choices": sorted(PERMISSIONS)},
    "host": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"]},
}
NEEDED = ("principal", "resource_type", "operations")

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **ACL_OPTIONS,
    "acls": {
        "type": "list",
        "elements": "dict",
        "options": {
            name: {**option, "required": True} if name in NEEDED else option
            for name, option in ACL_OPTIONS.items()
        },
    },
    "purge": {"type": "bool", "default": False},
    **CONNECTION_OPTIONS,
}


def apply(session: Session, decided: Plan) -> None:
    """Create by one request, then delete by another.

    Raises StepFailed or ConnectionLost; the same task goes on from there.
    """
    for api, group in groupby(decided.actions, key=lambda action: action.statement):
        actions = list(group)
        part = "creations" if api == CREATE else "filters"
        said = session.write(api, {part: [body for act in actions for body in act.parameters]})
        results = said["results" if api == CREATE else "filter_results"]
        refused = [
            f"to {action.sentence}: {error_name(result)}"
            for action, result in zip(actions, results, strict=True)
            if result["error_code"]
        ]
        if refused:
            raise StepFailed(
                f"Kafka refused a part of {api}: {'; '.join(refused)}. The rest of it is done. "
                "Mend the cause and run the same task again, it goes on from there."
            )


def declared_acls(options: Mapping[str, Any]) -> list[Declaration]:
    """The entries of the task, of its single form or its list form."""
    entries = options["acls"]
    if entries is None:
        entries = [{option: options[option] for option in ACL_OPTIONS}]
    return [Declaration.from_options(entry) for entry in entries]


def run(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Plan, apply unless in check mode, and say what was done.

    Raises PlatformError for every condition that a user can cause or mend.
    """
    declared = declared_acls(options)
    purge = options["purge"]
    with closing(connect(options)) as session:
        decided = plan(read_acls(session), declared, purge)
        decided.raise_if_refused()
        if decided.changed and not check_mode:
            apply(session, decided)
            settle(
                "What was declared of the ACLs",
                lambda: not plan(read_acls(session), declared, purge).changed,
            )
    return {
        "changed": decided.changed,
        "plan": decided.sentences,
        "diff": decided.diff,
        "requests": session.sent,
        "acls": [acl.facts() for acl in decided.acls],
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        mutually_exclusive=[("acls", option) for option in ACL_OPTIONS],
        required_one_of=[("principal", "acls")],
        required_by={"principal": [option for option in NEEDED if option != "principal"]},
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
