#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_node
short_description: Take a stopped node out of a Kafka cluster for good
version_added: 0.2.0
description:
  - Removes a controller from the quorum's voters, and unregisters a broker; both, where the node is
    both. Until then, a stopped node counts towards the majority that the controllers need.
  - A node is not added by it. A node that starts registers itself.
  - It is refused while the node runs, while it holds replicas (M(bss.platform.kafka_reassignment)
    moves them away), and while the controllers that are left would have no majority.
options:
  number:
    description: Number of the node (C(node.id)).
    type: int
    required: true
  state:
    description: V(absent) is all that can be declared of a node.
    type: str
    choices: [absent]
    required: true
  timeout:
    description:
      - How long to wait, in seconds, until the cluster has noticed that the node is stopped. After
        a kill that takes it C(broker.session.timeout.ms), 9 seconds by default.
    type: int
    default: 60
extends_documentation_fragment:
  - bss.platform.attributes
  - bss.platform.kafka
notes:
  - Stop the node first, and see to it that nothing starts it again. One that runs would register
    again, and with C(controller.quorum.auto.join.enable) also vote again.
  - When the connection is lost, what was done before stays, and the same task goes on from there.
seealso:
  - module: bss.platform.kafka_reassignment
  - module: bss.platform.kafka_gate
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Forget node 4, which was emptied and stopped
  bss.platform.kafka_node:
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
    number: 4
    state: absent
"""

RETURN = r"""
plan:
  description: What was done, or would be done in check mode, one sentence a step.
  returned: success
  type: list
  elements: str
  sample:
    - take controller 4 (directory 00000000-0000-0000-0000-0000000000d4) out of the quorum
    - unregister broker 4 (us-k4:9092)
diff:
  description: What the cluster knew of the node, by its number.
  returned: success
  type: dict
  contains:
    before:
      description: Its vote and its registration, as far as it had them.
      type: dict
      sample:
        "4":
          voter: {id: 4, directory_id: 00000000-0000-0000-0000-0000000000d4}
          broker: {id: 4, host: us-k4, port: 9092}
    after:
      description: Nothing.
      type: dict
      sample: {}
requests:
  description: What was sent to change something.
  returned: success
  type: list
  elements: str
  sample:
    - 'UnregisterBroker {"broker_id": 4}'
"""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import (
    read_cluster,
    read_features,
    read_quorum,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    CONNECTION_OPTIONS,
    Session,
    connect,
    settle,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_node_plan import (
    Current,
    plan,
    still_running,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import read_topics
from ansible_collections.bss.platform.plugins.module_utils.plan import Plan, PlatformError

LOOK_S = 1.0
"""Nobody tells when a broker is fenced: it is looked for this often."""

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "number": {"type": "int", "required": True},
    "state": {"type": "str", "choices": ["absent"], "required": True},
    "timeout": {"type": "int", "default": 60},
    **CONNECTION_OPTIONS,
}


def read(session: Session) -> Current:
    """Five requests."""
    cluster_id, brokers = read_cluster(session)
    return Current(
        cluster_id,
        brokers,
        read_quorum(session),
        read_features(session),
        read_topics(session),
    )


def decide(session: Session, number: int, timeout: int) -> Plan:
    """The plan, once the cluster has noticed that the node is stopped, or the time is over."""
    deadline = time.monotonic() + timeout
    while True:
        current = read(session)
        decided = plan(current, number)
        passing = still_running(current, number)
        if len(decided.refusals) > len(passing) or not passing or time.monotonic() > deadline:
            return decided
        time.sleep(LOOK_S)


def apply(session: Session, decided: Plan) -> None:
    """Send the plan. Raises RequestRefused or ConnectionLost; the same task goes on from there."""
    for action in decided.actions:
        (body,) = action.parameters
        session.write(action.statement, body)


def run(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Plan, apply unless in check mode, and say what was done.

    Raises PlatformError for every condition that a user can cause or mend.
    """
    number = options["number"]
    with closing(connect(options)) as session:
        decided = decide(session, number, options["timeout"])
        decided.raise_if_refused()
        if decided.changed and not check_mode:
            apply(session, decided)
            settle(f"That node {number} is gone", lambda: not plan(read(session), number).changed)
    return {
        "changed": decided.changed,
        "plan": decided.sentences,
        "diff": decided.diff,
        "requests": session.sent,
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = run(module.params, module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
