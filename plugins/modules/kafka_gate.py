#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: kafka_gate
short_description: Wait until a Kafka cluster is whole, and until one of its brokers may stop
version_added: 0.2.0
description:
  - Waits until every broker serves, every controller is a voter that has caught up, and every
    partition has all its replicas in sync.
  - With O(stopping), waits until that is so of all others than this node, and requires that no
    partition falls under C(min.insync.replicas) without it. Producers with C(acks=all) would
    otherwise be refused meanwhile. What the node itself lacks does not count; a restart may be what
    it needs.
  - Put it before and after each step of whatever stops brokers one at a time. Changes nothing.
options:
  brokers:
    description: Numbers of the brokers that have to serve.
    type: list
    elements: int
    required: true
  voters:
    description: Numbers of the controllers that have to be voters.
    type: list
    elements: int
    required: true
  stopping:
    description: Number of the node that is to be stopped next.
    type: int
  allow_refused_writes:
    description:
      - Let O(stopping) stop although some partitions will take no writes meanwhile. The gate then
        waits for the other controllers only.
    type: bool
    default: false
  timeout:
    description: How long to wait, in seconds.
    type: int
    default: 300
extends_documentation_fragment:
  - bss.platform.attributes.info
  - bss.platform.kafka
seealso:
  - module: bss.platform.kafka_info
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Wait until broker 2 may stop
  bss.platform.kafka_gate:
    brokers: [1, 2, 3]
    voters: [1, 2, 3]
    stopping: 2
    bootstrap_servers: [us-k1:9092, us-k2:9092, us-k3:9092]
    sasl_username: admin
    sasl_password: "{{ kafka_admin_password }}"
    ca_cert: /etc/bss/tls/ca.crt
"""

RETURN = r"""
waited_s:
  description: Seconds until the gate opened.
  returned: success
  type: float
  sample: 3.1
leader:
  description: Number of the controller that leads.
  returned: success
  type: int
  sample: 1
"""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import (
    read_cluster,
    read_quorum,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    CONNECTION_OPTIONS,
    connect,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_gate import (
    State,
    all_voters,
    lost_without,
    not_caught_up,
    not_whole,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import read_topics
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

LOOK_S = 1.0
"""Nobody tells when replicas are in sync again: the gate looks this often."""

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "brokers": {"type": "list", "elements": "int", "required": True},
    "voters": {"type": "list", "elements": "int", "required": True},
    "stopping": {"type": "int"},
    "allow_refused_writes": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 300},
    **CONNECTION_OPTIONS,
}


class GateShut(PlatformError):
    """The cluster did not become whole in time, or a step would cost writes."""


def read(options: Mapping[str, Any]) -> State:
    """Over a connection of its own: the broker asked last may be the one that was stopped."""
    with closing(connect(options)) as session:
        return State(read_cluster(session)[1], read_quorum(session), read_topics(session))


def shut(state: State, options: Mapping[str, Any]) -> list[str]:
    """What keeps the gate shut, and waiting may mend."""
    stopping = options["stopping"]
    if stopping is not None and options["allow_refused_writes"]:
        return not_caught_up(state.quorum, all_voters(state.quorum, options["voters"]) - {stopping})
    return not_whole(state, options["brokers"], options["voters"], apart_from=stopping)


def run(options: Mapping[str, Any]) -> dict[str, Any]:
    """Wait. Raises GateShut."""
    began = time.monotonic()
    stopping = options["stopping"]
    while True:
        costs: list[str] = []
        try:
            state = read(options)
            missing = shut(state, options)
            if stopping is not None:
                costs = lost_without(state.topics, stopping)
        except PlatformError as error:  # no broker answers yet, or the one that did went away
            missing = [str(error).rstrip(".")]
        if not missing:
            break
        if time.monotonic() - began >= options["timeout"]:
            raise GateShut(
                f"The cluster was to be whole within {options['timeout']} s, and it is not: "
                f"{'; '.join(missing + costs)}. Nothing further was stopped. Look at the log of "
                "the nodes named, mend it, and run this again: it goes on with what is left."
            )
        time.sleep(LOOK_S)
    if costs and not options["allow_refused_writes"]:
        raise GateShut(
            f"Broker {stopping} was not stopped: {'; '.join(costs)}. Raise the "
            "replication factor of these topics or lower their min.insync.replicas, or accept "
            "it with allow_refused_writes."
        )
    return {
        "changed": False,
        "waited_s": round(time.monotonic() - began, 1),
        "leader": state.quorum["leader"],
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = run(module.params)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
