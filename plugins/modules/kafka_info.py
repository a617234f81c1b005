#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_info
short_description: Read what a Kafka cluster consists of and how it is
version_added: 0.2.0
description:
  - Returns the brokers, the controllers' quorum, features, topics with their partitions and
    settings, users, ACLs and reassignments under way. Changes nothing.
  - Each subset costs one to three requests, however much there is; V(groups) up to three to each
    broker.
options:
  gather_subset:
    description:
      - What to read. What is not read is not in the result.
      - V(topics) needs the cluster's reassignments as well, and returns them.
      - V(groups) is only read where it is named.
    type: list
    elements: str
    choices: [brokers, quorum, features, topics, users, acls, reassignments, groups]
    default: [brokers, quorum, features, topics, users, acls, reassignments]
  topics:
    description: Names of the topics to read; all of the cluster when not set.
    type: list
    elements: str
extends_documentation_fragment:
  - bss.platform.attributes.info
  - bss.platform.kafka
seealso:
  - module: bss.platform.kafka_topic
  - module: bss.platform.kafka_user
  - module: bss.platform.kafka_acl
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Read the cluster
  bss.platform.kafka_info:
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
  register: kafka

- name: Wait until every partition has all its replicas in sync
  bss.platform.kafka_info:
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
    gather_subset: [topics]
  register: kafka
  until: kafka.partitions.under_replicated == [] and kafka.partitions.offline == []
  retries: 120
  delay: 1
"""

RETURN = r"""
cluster_id:
  description: Id of the cluster.
  returned: with subset brokers
  type: str
  sample: Y29udHJhY3Qta2Fma2EtMQ
brokers:
  description: Registered brokers, by number.
  returned: with subset brokers
  type: list
  elements: dict
  contains:
    id:
      description: Number of the broker.
      type: int
      sample: 1
    host:
      description: Host at which clients reach it.
      type: str
      sample: us-k1
    port:
      description: Port at which clients reach it.
      type: int
      sample: 9092
    rack:
      description: Its rack, or null.
      type: str
      sample: us-east
    fenced:
      description: Whether it is registered but does not serve (stopped, starting or cut off).
      type: bool
      sample: false
quorum:
  description: The quorum of the controllers.
  returned: with subset quorum
  type: dict
  contains:
    leader:
      description: Number of the active controller.
      type: int
      sample: 2
    epoch:
      description: How often a leader was elected.
      type: int
      sample: 5
    high_watermark:
      description: Offset up to which the majority has the metadata.
      type: int
      sample: 1042
    voters:
      description: The controllers.
      type: list
      elements: dict
      contains: &replica
        id:
          description: Number of the node.
          type: int
          sample: 1
        directory_id:
          description: Id of its directory of metadata.
          type: str
          sample: 00000000-0000-0000-0000-0000000000d4
        log_end_offset:
          description: Offset up to which it has the metadata.
          type: int
          sample: 1042
        lag:
          description: How many records it is behind the high watermark.
          type: int
          sample: 0
        behind_ms:
          description:
            - Milliseconds since it last had all that the leader had; null where that is not known.
          type: int
          sample: 12
    observers:
      description: Nodes that follow without a vote, as brokers that are no controllers.
      type: list
      elements: dict
      contains: *replica
features:
  description: Features by name, such as metadata.version.
  returned: with subset features
  type: dict
  sample:
    metadata.version: {finalized: 29, supported_min: 7, supported_max: 29}
topics:
  description: Topics, by name.
  returned: with subset topics
  type: dict
  sample:
    shop.orders:
      internal: false
      replication_factor: [3]
      min_insync_replicas: 2
      config: {min.insync.replicas: "2"}
      partitions:
        - {id: 0, leader: 1, replicas: [1, 2, 3], isr: [1, 2, 3], offline_replicas: []}
partitions:
  description: Partitions of those topics that are not well, as topic-number.
  returned: with subset topics
  type: dict
  contains:
    under_replicated:
      description: Fewer replicas in sync than there are.
      type: list
      elements: str
      sample: [shop.orders-0]
    at_min_isr:
      description: Exactly as many in sync as C(min.insync.replicas) asks for, and fewer than all.
      type: list
      elements: str
      sample: [shop.orders-0]
    under_min_isr:
      description: Fewer in sync than C(min.insync.replicas), so that nothing is written (acks=all).
      type: list
      elements: str
      sample: []
    offline:
      description: Without a leader, so that nothing is read or written.
      type: list
      elements: str
      sample: []
users:
  description: Users that have a credential or a quota, by name.
  returned: with subset users
  type: dict
  sample:
    orders:
      credentials: {SCRAM-SHA-512: 4096}
      quotas: {producer_byte_rate: 1048576.0}
acls:
  description: Entries of the access control lists, as M(bss.platform.kafka_acl) returns them.
  returned: with subset acls
  type: list
  elements: dict
  sample:
    - principal: User:orders
      resource_type: topic
      resource_name: shop.orders
      pattern_type: literal
      operation: write
      permission: allow
      host: "*"
groups:
  description: Groups of consumers, by name.
  returned: with subset groups
  type: dict
  sample:
    shop-billing: {state: Stable, topics: {shop.orders: 17}, lag: 17}
  contains:
    state:
      description:
        - State of the group, in Kafka's words. V(Empty) where it has no members, as where a job of
          Flink commits for it.
      type: str
      sample: Stable
    topics:
      description: Records that it has not read yet, by topic; null where not known.
      type: dict
      sample: {shop.orders: 17}
    lag:
      description:
        - The sum of these; null where one is not known, as of a partition without a leader.
      type: int
      sample: 17
silent_brokers:
  description: Brokers that were not reached. The groups that they coordinate are not in RV(groups).
  returned: with subset groups
  type: list
  elements: int
  sample: []
reassignments:
  description: Partitions whose replicas are being moved.
  returned: with subset reassignments or topics
  type: list
  elements: dict
  contains:
    topic:
      description: Name of the topic.
      type: str
      sample: shop.orders
    partition:
      description: Number of the partition.
      type: int
      sample: 0
    replicas:
      description: Brokers that have a replica, or get one.
      type: list
      elements: int
      sample: [1, 2, 3]
    adding:
      description: Brokers that get one.
      type: list
      elements: int
      sample: [3]
    removing:
      description: Brokers that lose theirs.
      type: list
      elements: int
      sample: []
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.kafka_acls import read_acls
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import (
    read_cluster,
    read_features,
    read_quorum,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    CONNECTION_OPTIONS,
    Session,
    connect,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_groups import read_groups
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import (
    MIN_INSYNC,
    Partition,
    Topic,
    read_reassignments,
    read_topics,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_users import read_users
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

SUBSETS = ["brokers", "quorum", "features", "topics", "users", "acls", "reassignments"]

ALL_SUBSETS = [*SUBSETS, "groups"]

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "gather_subset": {
        "type": "list",
        "elements": "str",
        "choices": ALL_SUBSETS,
        "default": SUBSETS,
    },
    "topics": {"type": "list", "elements": "str"},
    **CONNECTION_OPTIONS,
}


def facts_of_topic(topic: Topic) -> dict[str, Any]:
    return {
        "internal": topic.internal,
        "replication_factor": list(topic.replication_factors),
        "min_insync_replicas": _min_insync(topic),
        "config": topic.own_config,
        "partitions": [
            {
                "id": each.number,
                "leader": each.leader,
                "replicas": list(each.replicas),
                "isr": list(each.isr),
                "offline_replicas": list(each.offline),
            }
            for each in topic.partitions
        ],
    }


def unwell(topics: Iterable[Topic]) -> dict[str, list[str]]:
    """The partitions that are not as they should be, by what is wrong."""
    found: dict[str, list[str]] = {
        "under_replicated": [],
        "at_min_isr": [],
        "under_min_isr": [],
        "offline": [],
    }
    for topic in topics:
        least = _min_insync(topic)
        for each in topic.partitions:
            name = f"{topic.name}-{each.number}"
            # What a reassignment adds is not in sync yet, and that is no fault.
            lacking = len(each.isr) < len([one for one in each.replicas if one not in each.adding])
            if lacking:
                found["under_replicated"].append(name)
            if len(each.isr) < least:
                found["under_min_isr"].append(name)
            elif lacking and len(each.isr) == least:
                found["at_min_isr"].append(name)
            if each.leader < 0:
                found["offline"].append(name)
    return found


def _min_insync(topic: Topic) -> int:
    return int(topic.config[MIN_INSYNC].value)


def facts_of_moves(moves: Mapping[str, Mapping[int, Partition]]) -> list[dict[str, Any]]:
    return [
        {
            "topic": name,
            "partition": each.number,
            "replicas": list(each.replicas),
            "adding": list(each.adding),
            "removing": list(each.removing),
        }
        for name, partitions in sorted(moves.items())
        for each in partitions.values()
    ]


def _brokers(session: Session) -> dict[str, Any]:
    cluster_id, brokers = read_cluster(session)
    return {"cluster_id": cluster_id, "brokers": [each.facts() for each in brokers]}


def _users(session: Session) -> dict[str, Any]:
    return {
        name: {"credentials": dict(user.iterations), "quotas": dict(user.quotas)}
        for name, user in read_users(session).items()
    }


def run(options: Mapping[str, Any]) -> dict[str, Any]:
    """Read the subsets. Raises PlatformError for every condition that a user can cause or mend."""

    def topics(session: Session) -> dict[str, Any]:
        found = read_topics(session, options["topics"])
        moving: dict[str, dict[int, Partition]] = {
            name: {each.number: each for each in topic.partitions if each.moves}
            for name, topic in found.items()
        }
        return {
            "topics": {name: facts_of_topic(topic) for name, topic in found.items()},
            "partitions": unwell(found.values()),
            "reassignments": facts_of_moves(moving),
        }

    readers: dict[str, Callable[[Session], dict[str, Any]]] = {
        "brokers": _brokers,
        "quorum": lambda session: {"quorum": read_quorum(session)},
        "features": lambda session: {"features": read_features(session)},
        "topics": topics,
        "users": lambda session: {"users": _users(session)},
        "acls": lambda session: {"acls": [acl.facts() for acl in sorted(read_acls(session))]},
        "reassignments": lambda session: {
            "reassignments": facts_of_moves(read_reassignments(session))
        },
        "groups": lambda session: dict(
            zip(("groups", "silent_brokers"), read_groups(session), strict=True)
        ),
    }
    result: dict[str, Any] = {"changed": False}
    with closing(connect(options)) as session:
        for subset in ALL_SUBSETS:  # reassignments after topics: those of all
            if subset in options["gather_subset"]:
                result |= readers[subset](session)
    return result


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = run(module.params)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
