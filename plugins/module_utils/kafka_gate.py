# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Whether a node of a Kafka cluster may stop now, and what it would cost if it did."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import (
    MIN_INSYNC,
    Partition,
    Topic,
)

VOTER_LAG = 50
"""Records of metadata that a voter may lack and still count as caught up."""
VOTER_BEHIND_MS = 3000
NAMES_SHOWN = 5


@dataclass(frozen=True)
class State:
    """What a gate looks at, all of it read at about the same time."""

    brokers: tuple[Broker, ...]
    quorum: Mapping[str, Any]
    """As kafka_info returns it."""
    topics: Mapping[str, Topic]


def not_whole(
    state: State, brokers: Collection[int], voters: Collection[int], apart_from: int | None = None
) -> list[str]:
    """What is missing at a cluster of these brokers and voters; waiting may mend it.

    What one of them misses itself (``apart_from``) does not count: stopping it costs no more.
    """
    others = {apart_from} if apart_from is not None else set()
    return [
        *not_serving(state.brokers, set(brokers) - others),
        *not_caught_up(state.quorum, all_voters(state.quorum, voters) - others),
        *not_in_sync(state.topics, apart_from),
    ]


def not_serving(known: Iterable[Broker], brokers: Collection[int]) -> list[str]:
    """Which of these brokers do not serve."""
    serving = {each.number for each in known if not each.fenced}
    return [f"broker {each} does not serve" for each in sorted(set(brokers) - serving)]


def all_voters(quorum: Mapping[str, Any], declared: Collection[int]) -> set[int]:
    """Who has a vote and who is to have one: a voter that nobody declared counts all the same."""
    return {*declared, *(each["id"] for each in quorum["voters"])}


def not_caught_up(quorum: Mapping[str, Any], voters: Collection[int]) -> list[str]:
    """What is missing at a quorum of these voters."""
    missing = [] if quorum["leader"] >= 0 else ["the controllers have no leader"]
    known = {each["id"]: each for each in quorum["voters"]}
    for voter in sorted(voters):
        if voter not in known:
            missing.append(f"controller {voter} is no voter")
        elif _is_behind(known[voter]):
            missing.append(f"controller {voter} is {known[voter]['lag']} records behind")
    return missing


def not_in_sync(topics: Mapping[str, Topic], apart_from: int | None = None) -> list[str]:
    """Where replicas are missing among those that are in sync, on others than this broker."""
    unsynced = partitions_that(
        topics, lambda each, _least: bool(set(each.target) - set(each.isr) - {apart_from})
    )
    return [f"replicas are not in sync of {unsynced}"] if unsynced else []


def lost_without(topics: Mapping[str, Topic], broker: int) -> list[str]:
    """What stops while the broker does; waiting does not mend it."""
    unwritable = partitions_that(
        topics, lambda each, least: broker in each.isr and len(each.isr) - 1 < least
    )
    if not unwritable:
        return []
    return [f"without broker {broker} these take no acknowledged writes: {unwritable}"]


def _is_behind(voter: Mapping[str, Any]) -> bool:
    behind = voter["behind_ms"]
    return voter["lag"] > VOTER_LAG or behind is None or behind > VOTER_BEHIND_MS


def partitions_that(topics: Mapping[str, Topic], fits: Callable[[Partition, int], bool]) -> str:
    """The partitions that fit, as people read them: the first few and how many more.

    ``fits`` gets a partition and how many of its replicas have to be in sync.
    """
    names = [
        f"{topic.name}-{each.number}"
        for topic in topics.values()
        for each in topic.partitions
        if fits(each, int(topic.config[MIN_INSYNC].value))
    ]
    shown = ", ".join(names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
