# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The limit on how fast reassignments copy, which Kafka keeps in settings.

Those of a topic list the replicas that count against the limit (``partition:broker,...``), those
of a broker say how many bytes a second it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker
from ansible_collections.bss.platform.plugins.module_utils.kafka_config_changes import (
    of_broker,
    of_topic,
    reset,
    set_to,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import Session
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import (
    BROKER_RESOURCE,
    SET_ON_BROKER,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Refusal

LEADER_THROTTLED = "leader.replication.throttled.replicas"
FOLLOWER_THROTTLED = "follower.replication.throttled.replicas"
THROTTLED = (LEADER_THROTTLED, FOLLOWER_THROTTLED)
RATES = ("leader.replication.throttled.rate", "follower.replication.throttled.rate")

ByPartition = Mapping[int, Sequence[int]]
"""Brokers by the number of the partition that they have a replica of."""


def refusals_of_throttle(throttle: int | None) -> Iterator[Refusal]:
    if throttle is not None and throttle < 1:
        yield Refusal(
            f"throttle {throttle}",
            "it is in bytes a second",
            "nothing would ever be copied",
            "set it to more than what is written to the topics, or leave it out",
        )


def limit_topic(name: str, sources: ByPartition, copies: ByPartition) -> dict[str, Any]:
    return of_topic(
        name,
        [set_to(LEADER_THROTTLED, _listed(sources)), set_to(FOLLOWER_THROTTLED, _listed(copies))],
    )


def unlimit_topic(name: str) -> dict[str, Any]:
    return of_topic(name, [reset(each) for each in THROTTLED])


def limit_broker(number: int, throttle: int) -> dict[str, Any]:
    return of_broker(number, [set_to(rate, str(throttle)) for rate in RATES])


def unlimit_broker(number: int) -> dict[str, Any]:
    return of_broker(number, [reset(rate) for rate in RATES])


def brokers_named(value: str) -> Iterator[int]:
    """The brokers in a list of replicas that count against the limit."""
    for pair in value.split(","):
        broker = pair.rpartition(":")[2].strip()
        if broker.isdecimal():
            yield int(broker)


def covers(value: str, wanted: ByPartition) -> bool:
    """Whether such a list has all of these."""
    if value.strip() == "*":
        return True
    there = {pair.strip() for pair in value.split(",")}
    return there >= {*_pairs(wanted)}


def read_rates(session: Session, brokers: Iterable[Broker]) -> dict[int, tuple[str | None, ...]]:
    """What is set of RATES on each broker itself: one request to each."""
    found = {}
    for broker in brokers:
        resource = {
            "resource_type": BROKER_RESOURCE,
            "resource_name": str(broker.number),
            "configuration_keys": list(RATES),
        }
        said = session.read("DescribeConfigs", {"resources": [resource]}, broker=broker.address)
        own = {
            each["name"]: each["value"]
            for each in said["results"][0]["configs"]
            if each["config_source"] == SET_ON_BROKER
        }
        found[broker.number] = tuple(own.get(rate) for rate in RATES)
    return found


def _listed(brokers: ByPartition) -> str:
    return ",".join(_pairs(brokers))


def _pairs(brokers: ByPartition) -> Iterator[str]:
    return (f"{number}:{broker}" for number, each in brokers.items() for broker in each)
