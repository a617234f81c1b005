#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_topic
short_description: Declare the topics of a Kafka cluster
version_added: 0.2.0
description:
  - Creates topics, gives them more partitions, changes how many replicas they have and how they
    are configured, and deletes them.
  - Topics are declared one at a time or as a list (O(topics)). A list is planned as a whole, and
    nothing is changed if any part of it is refused; all reasons are told at once.
  - What only Kafka can judge (values of settings, rights of the user) is found out before anything
    is changed, also in check mode, by trial requests (C(validate_only)).
  - Topics that are not named, and settings that are not declared, are left alone.
  - A list that is as declared costs four requests, however long it is.
options:
  name:
    description:
      - Name of the topic.
      - Mutually exclusive with O(topics), as are all the options of a topic.
    type: str
  partitions:
    description:
      - Number of partitions; when not set, a new topic gets C(num.partitions) of the brokers.
      - It can only grow. Records with a key then go to other partitions than before, so that the
        order of one key's records holds only among those written after.
    type: int
  replication_factor:
    description:
      - Replicas of each partition, on as many brokers; when not set, a new topic gets
        C(default.replication.factor) of the brokers.
      - It is changed by a reassignment, which copies only what is added; O(throttle) limits how
        fast. The module waits until it is done (O(reassignment_timeout)). If it is interrupted,
        Kafka goes on by itself, and the same task joins what is under way.
      - New replicas come to racks that have none of the partition, then to the brokers with the
        fewest. What is taken away is out of sync first, and the leader last.
    type: int
  config:
    description:
      - Settings of the topic, by name. A value of V(null) declares that the topic has none of its
        own, so that the brokers' default holds.
      - A declared value is set on the topic also where it equals the brokers' default, so that it
        stays when that changes.
      - C(min.insync.replicas) above the replication factor is refused, since nothing could be
        written with C(acks=all). It is raised after replicas were added.
    type: dict
  purge_configs:
    description: Whether settings of the topic that are not in O(config) are reset.
    type: bool
  allow_delete:
    description: Whether O(state=absent) may delete the topic, which loses its records.
    type: bool
  state:
    description:
      - V(present) when not set.
      - V(absent) needs O(allow_delete) where the topic exists.
    type: str
    choices: [present, absent]
  topics:
    description: A list of topics; each takes the options of a single one.
    type: list
    elements: dict
    suboptions:
      name:
        description: As O(name).
        type: str
        required: true
      partitions:
        description: As O(partitions).
        type: int
      replication_factor:
        description: As O(replication_factor).
        type: int
      config:
        description: As O(config).
        type: dict
      purge_configs:
        description: As O(purge_configs).
        type: bool
      allow_delete:
        description: As O(allow_delete).
        type: bool
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
  throttle:
    description:
      - Bytes a second that each broker may copy for the reassignments of this task; as fast as
        can be when not set.
      - As with C(kafka-reassign-partitions), this is done by settings of the brokers and topics
        (C(leader.replication.throttled.rate) and others), which are reset at the end. If the task
        is interrupted, the same task resets them when it is repeated.
      - Below the rate at which the topics are written to, a reassignment never ends.
    type: int
  reassignment_timeout:
    description: Seconds to wait for reassignments.
    type: int
    default: 3600
extends_documentation_fragment:
  - bss.platform.attributes
  - bss.platform.kafka
notes:
  - When the connection is lost, what was done before stays, and the same task goes on from there.
seealso:
  - module: bss.platform.kafka_acl
  - module: bss.platform.kafka_info
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Declare the topics of a shop
  bss.platform.kafka_topic:
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
    topics:
      - name: shop.orders
        partitions: 6
        replication_factor: 3
        config:
          min.insync.replicas: 2
          retention.ms: 604800000
      - name: shop.prices
        partitions: 1
        replication_factor: 3
        config: {cleanup.policy: compact, min.insync.replicas: 2}

- name: Give a topic three replicas, 50 MB/s at most
  bss.platform.kafka_topic:
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
    name: shop.audit
    replication_factor: 3
    throttle: 50000000

- name: Delete a topic and its records
  bss.platform.kafka_topic:
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
    name: shop.tryout
    state: absent
    allow_delete: true
"""

RETURN = r"""
plan:
  description: What was done, or would be done in check mode, one sentence a step.
  returned: success
  type: list
  elements: str
  sample:
    - "create topic shop.orders: 6 partitions, 3 replicas of each, min.insync.replicas=2"
    - set retention.ms of shop.prices from 604800000 (default) to 86400000
diff:
  description: The declared part of the topics that differ, by name.
  returned: success
  type: dict
  contains:
    before:
      description: Topics as they were; those that did not exist are not in it.
      type: dict
      sample: {}
    after:
      description: Topics as they are now, or would be.
      type: dict
      sample:
        shop.orders:
          partitions: 6
          replication_factor: 3
          config:
            min.insync.replicas: "2"
requests:
  description: What was sent to change something.
  returned: success
  type: list
  elements: str
  sample:
    - >-
      CreateTopics {"topics": [{"name": "shop.orders", "num_partitions": 6, "replication_factor": 3,
      "configs": [{"name": "min.insync.replicas", "value": "2"}]}], "timeout_ms": 27000}
topics:
  description: The declared topics that exist now, or would exist after a run in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the topic.
      type: str
      sample: shop.orders
    partitions:
      description: Number of partitions.
      type: int
      sample: 6
    replication_factor:
      description: Replicas of each partition; a text such as V(2 to 3) where partitions differ.
      type: int
      sample: 3
    config:
      description: Settings of the topic itself, declared ones and others.
      type: dict
      sample:
        min.insync.replicas: "2"
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import read_cluster
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    CONNECTION_OPTIONS,
    Session,
    connect,
    settle,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topic_actions import (
    apply,
    objections,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topic_plan import (
    plan,
    refused_too,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topic_rules import (
    OPTIONS as TOPIC_OPTIONS,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topic_rules import (
    OPTIONS_IN_LIST,
    Current,
    Declaration,
    is_legal_name,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import (
    read_defaults,
    read_topics,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **TOPIC_OPTIONS,
    "topics": {"type": "list", "elements": "dict", "options": OPTIONS_IN_LIST},
    "throttle": {"type": "int"},
    "reassignment_timeout": {"type": "int", "default": 3600},
    **CONNECTION_OPTIONS,
}


def declared_topics(options: Mapping[str, Any]) -> list[Declaration]:
    """The topics of the task, of its single form or its list form."""
    entries = options["topics"]
    if entries is None:
        entries = [{option: options[option] for option in TOPIC_OPTIONS}]
    return [Declaration.from_options(entry) for entry in entries]


def read(session: Session, declared: Sequence[Declaration]) -> Current:
    """Four requests, and one more where topics are to be created."""
    names = sorted({each.name for each in declared if is_legal_name(each.name)})
    topics = read_topics(session, names)
    _cluster_id, brokers = read_cluster(session)
    new = [each.name for each in declared if each.is_wanted and each.name in {*names} - {*topics}]
    return Current(topics, brokers, read_defaults(session, new[0]) if new else None)


def run(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Plan, apply unless in check mode, and say what was done.

    Raises PlatformError for every condition that a user can cause or mend.
    """
    declared = declared_topics(options)
    throttle = options["throttle"]
    with closing(connect(options)) as session:
        decided = plan(read(session, declared), declared, throttle)
        decided = refused_too(decided, objections(session, decided))
        decided.raise_if_refused()
        if decided.changed and not check_mode:
            apply(session, decided, options["reassignment_timeout"])
            settle(
                "What was declared of the topics",
                lambda: not plan(read(session, declared), declared, throttle).changed,
            )
    return {
        "changed": decided.changed,
        "plan": decided.sentences,
        "diff": decided.diff,
        "requests": session.sent,
        "topics": list(decided.topics),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        mutually_exclusive=[("topics", option) for option in TOPIC_OPTIONS],
        required_one_of=[("name", "topics")],
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
