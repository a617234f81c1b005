#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_user
short_description: Declare the users of a Kafka cluster and their quotas
version_added: 0.2.0
description:
  - Gives users passwords for SCRAM-SHA-512, which Kafka keeps in its own metadata, and limits what
    they may use of the brokers (quotas).
  - Users are declared one at a time or as a list (O(users)). A list is planned as a whole, and
    nothing is changed if any part of it is refused; all reasons are told at once.
  - What a user may do is declared by M(bss.platform.kafka_acl).
  - Users that are not named, and quotas that are not declared, are left alone.
  - Kafka does not tell passwords, nor anything that is made from them. Whether a password is the
    declared one is found out by a login with it, at the broker that answers; this also happens in
    check mode. A password that is another costs a failed login, which the broker logs and counts.
options:
  name:
    description:
      - Name of the user, as in C(User:name) of an ACL.
      - Mutually exclusive with O(users), as are all the options of a user.
    type: str
  password:
    description:
      - The password. When not set, the credential of the user is left alone, as for users that
        log in by certificate and have quotas.
      - It is sent to Kafka as a salted hash, and is in no result, diff or log.
    type: str
  update_password:
    description:
      - V(always) changes a password that is another, V(on_create) only sets one where the user has
        none, and so needs no login to try it.
      - V(always) when not set.
    type: str
    choices: [always, on_create]
  iterations:
    description:
      - How often the password is hashed, 4096 to 16384; when not set, as often as it is, or 4096
        for a new user.
    type: int
  quotas:
    description:
      - Limits of the user, whatever its client ids are. Those of a user together with a client id
        are left alone.
      - C(producer_byte_rate) and C(consumer_byte_rate) are the bytes a second that it may write to
        and read from each broker, C(request_percentage) the share of a thread (100 for one) that
        its requests may take there. V(null) declares that there is no such limit.
    type: dict
  state:
    description:
      - V(present) when not set.
      - V(absent) removes the user's credentials and quotas; connections that it has stay until they
        end. Its ACLs are left alone.
    type: str
    choices: [present, absent]
  users:
    description: A list of users; each takes the options of a single one.
    type: list
    elements: dict
    suboptions:
      name:
        description: As O(name).
        type: str
        required: true
      password:
        description: As O(password).
        type: str
      update_password:
        description: As O(update_password).
        type: str
        choices: [always, on_create]
      iterations:
        description: As O(iterations).
        type: int
      quotas:
        description: As O(quotas).
        type: dict
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
extends_documentation_fragment:
  - bss.platform.attributes
  - bss.platform.kafka
notes:
  - The brokers need a listener with SCRAM-SHA-512. The first users come to be when the cluster's
    storage is formatted (C(kafka-storage format --add-scram)).
  - The module does not remove the user that it is logged in as. It can change that user's password;
    the next task then logs in with the new one.
  - When the connection is lost, what was done before stays, and the same task goes on from there.
  - Kafka (seen in 4.3.1, the same code is in 4.4.0) can forget all users on a node that restarts
    after one of them was removed, until the node has made a snapshot of its metadata, once an hour.
    The role P(bss.platform.kafka#role) founds clusters with a user who prevents that. On a cluster
    of your own, make a user C(anchor-abyww) before you remove one.
seealso:
  - module: bss.platform.kafka_acl
  - module: bss.platform.kafka_info
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Declare the applications' users
  bss.platform.kafka_user:
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
    users:
      - name: orders
        password: "{{ orders_password }}"
      - name: reports
        password: "{{ reports_password }}"
        quotas:
          consumer_byte_rate: 10485760

- name: Remove a user
  bss.platform.kafka_user:
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
    name: orders
    state: absent
"""

RETURN = r"""
plan:
  description: What was done, or would be done in check mode, one sentence a step.
  returned: success
  type: list
  elements: str
  sample:
    - give user orders a password (SCRAM-SHA-512, 4096 iterations)
    - set consumer_byte_rate of user reports from none to 10485760
diff:
  description:
    - The declared part of the users that differ, by name. A password that is set or changed shows
      as V((new\)).
  returned: success
  type: dict
  contains:
    before:
      description: Users as they were; those that did not exist are not in it.
      type: dict
      sample: {}
    after:
      description: Users as they are now, or would be.
      type: dict
      sample:
        orders:
          credentials: {SCRAM-SHA-512: 4096}
          password: (new)
          quotas: {}
requests:
  description: What was sent to change something, without salts and hashes.
  returned: success
  type: list
  elements: str
  sample:
    - >-
      AlterUserScramCredentials {"deletions": [], "upsertions": [{"name": "orders",
      "mechanism": 2, "iterations": 4096, "salt": "***", "salted_password": "***"}]}
users:
  description: The declared users that exist now, or would exist after a run in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the user.
      type: str
      sample: orders
    credentials:
      description: Iterations of its credentials, by mechanism.
      type: dict
      sample: {SCRAM-SHA-512: 4096}
    quotas:
      description: Its quotas, declared ones and others.
      type: dict
      sample: {consumer_byte_rate: 10485760.0}
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    CONNECTION_OPTIONS,
    Session,
    StepFailed,
    connect,
    refused_parts,
    settle,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_user_plan import (
    CREDENTIALS,
    Current,
    Declaration,
    plan,
    to_try,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_users import (
    USER,
    new_credential,
    read_users,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import (
    Action,
    Plan,
    PlatformError,
)

USER_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    # Not a secret, whatever its name suggests.
    "update_password": {"type": "str", "choices": ["always", "on_create"], "no_log": False},
    "iterations": {"type": "int"},
    # No suboptions: null means that there is to be no such quota, and not that none is declared.
    "quotas": {"type": "dict"},
    "state": {"type": "str", "choices": ["present", "absent"]},
}

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **USER_OPTIONS,
    "users": {
        "type": "list",
        "elements": "dict",
        "options": {**USER_OPTIONS, "name": {"type": "str", "required": True}},
    },
    **CONNECTION_OPTIONS,
}


def read(session: Session, declared: Sequence[Declaration]) -> Current:
    """Two requests, and a login for each password that may be another."""
    users = read_users(session)
    accepted = frozenset(
        each.name
        for each in to_try(declared, users)
        if session.accepts_login(each.name, each.password or "")
    )
    return Current(users, accepted, session.username)


def apply(session: Session, decided: Plan, declared: Sequence[Declaration]) -> None:
    """Send the credentials as one request, the quotas as another.

    Raises StepFailed or ConnectionLost; the same task goes on from there.
    """
    passwords = {each.name: each.password or "" for each in declared}
    for api, group in groupby(decided.actions, key=lambda action: action.statement):
        actions = list(group)
        if api == CREDENTIALS:
            body = {
                "deletions": [body for action in actions for body in action.parameters],
                "upsertions": [
                    new_credential(
                        action.options["name"],
                        passwords[action.options["name"]],
                        action.options["iterations"],
                    )
                    for action in actions
                    if not action.parameters
                ],
            }
            masked = [
                {**each, "salt": "***", "salted_password": "***"} for each in body["upsertions"]
            ]
            said = session.write(api, body, shown={**body, "upsertions": masked})
        else:
            said = session.write(
                api, {"entries": list(_quota_entries(actions)), "validate_only": False}
            )
        refused = refused_parts(said)
        if refused:
            raise StepFailed(
                f"Kafka refused a part of {api}: "
                + "; ".join(f"user {name}: {words}" for name, words in refused.items())
                + ". The rest of it is done. Mend the cause and run the same task again, it goes "
                "on from there."
            )


def _quota_entries(actions: Sequence[Action]) -> Iterator[dict[str, Any]]:
    """Kafka takes each user once in a request."""
    by_user: dict[str, list[Any]] = {}
    for action in actions:
        by_user.setdefault(action.options["name"], []).extend(action.parameters)
    for name, operations in by_user.items():
        yield {"entity": [{"entity_type": USER, "entity_name": name}], "ops": operations}


def declared_users(options: Mapping[str, Any]) -> list[Declaration]:
    """The users of the task, of its single form or its list form."""
    entries = options["users"]
    if entries is None:
        entries = [{option: options[option] for option in USER_OPTIONS}]
    return [Declaration.from_options(entry) for entry in entries]


def run(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Plan, apply unless in check mode, and say what was done.

    Raises PlatformError for every condition that a user can cause or mend.
    """
    declared = declared_users(options)
    with closing(connect(options)) as session:
        decided = plan(read(session, declared), declared)
        decided.raise_if_refused()
        if decided.changed and not check_mode:
            apply(session, decided, declared)
            settle(
                "What was declared of the users",
                lambda: not plan(read(session, declared), declared).changed,
            )
    return {
        "changed": decided.changed,
        "plan": decided.sentences,
        "diff": decided.diff,
        "requests": session.sent,
        "users": list(decided.users),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        mutually_exclusive=[("users", option) for option in USER_OPTIONS],
        required_one_of=[("name", "users")],
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
