#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_reassignment
short_description: Spread the replicas of all topics over a set of Kafka's brokers
version_added: 0.2.0
description:
  - Moves the replicas of all topics, Kafka's own included, to O(brokers), and spreads them there.
    Give a new broker its share by naming it with the others; empty one by naming all but it.
  - It moves as few replicas as it can. Afterwards the numbers of replicas that two brokers hold
    differ by one at most, and so do the numbers of partitions that they lead, as far as that needs
    no more copies. A partition has its replicas in as many racks as it can, which comes first
    where the racks differ in size.
  - Nothing is moved where replicas lie so already, and the replication factor stays as it is.
  - Kafka copies while records are written and read, and takes a replica away only when the one
    in its place is in sync.
options:
  brokers:
    description: Numbers of the brokers that may hold replicas; each of them has to serve.
    type: list
    elements: int
    required: true
  throttle:
    description:
      - Bytes a second that each broker may copy for reassignments; as fast as can be when not set.
      - As with C(kafka-reassign-partitions), this is done by settings of the brokers and topics
        (C(leader.replication.throttled.rate) and others), which are reset at the end. If the task
        is interrupted, the same task resets them when it is repeated.
      - Repeating the task with another value changes the limit on what is being copied.
      - Below the rate at which the topics are written to, a reassignment never ends.
    type: int
  timeout:
    description:
      - How long to wait for replicas to be copied, in seconds.
      - When it has passed, the task fails; Kafka goes on with what it was told, and the same task
        joins it and goes on from there.
      - With V(0) the task does what can be done now and does not wait. RV(left) tells what is
        left; repeat the task until that is nothing.
    type: int
    default: 3600
extends_documentation_fragment:
  - bss.platform.attributes
  - bss.platform.kafka
notes:
  - Partitions are moved a hundred at a time.
  - Replicas that somebody else has told Kafka to move are waited for. Where they are on their way
    to a broker that is not among O(brokers), that is taken back first.
  - When the connection is lost, what was done before stays, and the same task goes on from there.
seealso:
  - module: bss.platform.kafka_node
  - module: bss.platform.kafka_topic
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Give the new broker 4 its share, 50 MB/s at most
  bss.platform.kafka_reassignment:
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
    brokers: [1, 2, 3, 4]
    throttle: 50000000

- name: Begin to empty broker 4
  bss.platform.kafka_reassignment: &empty
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
    brokers: [1, 2, 3]
    timeout: 0
  register: started

- name: Go on, and show how far it is
  bss.platform.kafka_reassignment: *empty
  register: progress
  loop: "{{ range(100000 if started.left.partitions and not ansible_check_mode else 0) | list }}"
  loop_control:
    pause: 2
    label: >-
      {{ '%s of %s partitions left, %s' % (left.partitions, started.left.partitions,
                                           left.bytes | human_readable) }}
    break_when: left.partitions == 0
  vars:
    left: "{{ progress.left | default(started.left) }}"
"""

RETURN = r"""
plan:
  description:
    - What was done, or would be done in check mode. With O(timeout=0), also what is left for the
      next time.
  returned: success
  type: list
  elements: str
  sample:
    - limit the copying of 5 topics to 50000000 bytes/s and broker
    - limit what broker 1 copies to 50000000 bytes/s
    - limit what broker 4 copies to 50000000 bytes/s
    - move 12 replicas (340.00 MB) from broker 4 to broker 1
    - take the limit off broker 1
    - take the limit off broker 4
    - take the limit off the copying of 5 topics
    - let broker 1 lead 3 partitions more
diff:
  description: The partitions that get other replicas, or others first, by topic and number.
  returned: success
  type: dict
  contains:
    before:
      description: Brokers that hold replicas, the preferred leader first.
      type: dict
      sample:
        shop.orders-0: [4, 2]
    after:
      description: Those that hold them now, or will.
      type: dict
      sample:
        shop.orders-0: [1, 2]
requests:
  description: What was sent to change something.
  returned: success
  type: list
  elements: str
  sample:
    - >-
      AlterPartitionReassignments {"topics": [{"name": "shop.orders", "partitions":
      [{"partition_index": 0, "replicas": [1, 2]}]}], "allow_replication_factor_change": false,
      "timeout_ms": 27000}
left:
  description:
    - What is still to be moved. Nothing is, and all else is done, once C(partitions) is 0.
    - In check mode, what a run would move.
  returned: success
  type: dict
  contains:
    partitions:
      description: Partitions that are being moved, or wait for their turn.
      type: int
      sample: 12
    bytes:
      description: Bytes of them that are still to be copied.
      type: int
      sample: 340000000
"""

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import read_cluster
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    CONNECTION_OPTIONS,
    Session,
    connect,
    settle,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_reassignment_plan import (
    Current,
    ReassignmentPlan,
    Step,
    plan,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_steps import (
    by_request,
    request_of,
    send,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_throttle import read_rates
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import (
    read_all_topics,
    read_sizes,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Action, PlatformError

LOOK_S = 1.0
"""Nobody tells when replicas are there: they are looked for this often."""

REFUSAL_S = 5.0
"""So long a refusal has to stand: a busy broker may tell of replicas that have just gone."""

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "brokers": {"type": "list", "elements": "int", "required": True},
    "throttle": {"type": "int"},
    "timeout": {"type": "int", "default": 3600},
    **CONNECTION_OPTIONS,
}


class ReassignmentUnfinished(PlatformError):
    """Not all replicas are where they belong, and no more is done about it."""


def read(session: Session, throttle: int | None) -> Current:
    """Five requests, and one or two to each broker."""
    topics = read_all_topics(session)
    _cluster_id, brokers = read_cluster(session)
    serving = [each for each in brokers if not each.fenced]
    return Current(
        topics,
        brokers,
        read_sizes(session, serving),
        {} if throttle is None else read_rates(session, serving),
    )


def look(session: Session, options: Mapping[str, Any]) -> ReassignmentPlan:
    """What is to be done, as things are now."""
    throttle = options["throttle"]
    deadline = time.monotonic() + REFUSAL_S
    while True:
        decided = plan(read(session, throttle), options["brokers"], throttle)
        if not decided.refusals or time.monotonic() > deadline:
            return decided
        time.sleep(LOOK_S)


def send_due(session: Session, decided: ReassignmentPlan) -> None:
    """Do what can be done before the next replicas are there. Raises StepFailed."""
    for actions in by_request(decided.due):
        if actions[0].options["step"] == Step.ELECT:
            elect(session, actions)
        else:
            send(session, actions)


def elect(session: Session, actions: list[Action]) -> None:
    """Where Kafka refuses, another leader was elected meanwhile: looking again tells."""
    session.write(actions[0].statement, request_of(session, actions))


def carry_out(
    session: Session, decided: ReassignmentPlan, options: Mapping[str, Any]
) -> ReassignmentPlan:
    """Send what is due until nothing is left, or once (timeout 0); what was decided last.

    Raises StepFailed, ReassignmentUnfinished or ConnectionLost; the same task goes on from there.
    """
    deadline = time.monotonic() + options["timeout"]
    while decided.actions:
        send_due(session, decided)
        if not decided.left.partitions:
            settle("The new layout", lambda: not look(session, options).actions)
            break
        if options["timeout"] == 0:
            break
        if time.monotonic() > deadline:
            raise ReassignmentUnfinished(
                f"After {options['timeout']} s, this is still to be moved: {decided.left}. Kafka "
                "goes on with what it was told, and nothing is lost. Run the same task again to "
                "join it, with a longer timeout or a higher throttle; check that the brokers serve."
            )
        time.sleep(LOOK_S)
        decided = look(session, options)
        if decided.refusals:
            raise ReassignmentUnfinished(
                f"Not all was moved: {' | '.join(map(str, decided.refusals))} Kafka goes on with "
                "what it was told, and nothing is lost. Run the same task again then."
            )
    return decided


def run(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Plan, apply unless in check mode, and say what was done.

    Raises PlatformError for every condition that a user can cause or mend.
    """
    with closing(connect(options)) as session:
        decided = last = look(session, options)
        decided.raise_if_refused()
        if not check_mode:
            last = carry_out(session, decided, options)
    return {
        "changed": decided.changed if check_mode else bool(session.sent),
        "plan": decided.sentences,
        "diff": decided.diff,
        "requests": session.sent,
        "left": asdict(last.left),
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
