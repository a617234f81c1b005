# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What Kafka says of groups of consumers: which there are, and how far they are behind.

A request or two to each broker, however many groups there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import read_cluster
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    CannotConnect,
    Session,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import ConnectionLost

CONSUMER = "consumer"
LATEST = -1
READ_UNCOMMITTED = 0
NO_MEMBER = -1
# Older brokers do not tell.
UNKNOWN = "Unknown"


class Place(NamedTuple):
    """A partition."""

    topic: str
    number: int


def read_groups(session: Session) -> tuple[dict[str, dict[str, Any]], list[int]]:
    """The groups of consumers, by name, as kafka_info returns them; brokers that did not answer."""
    topics = session.read("Metadata", {"topics": None, "allow_auto_topic_creation": False})
    _cluster_id, brokers = read_cluster(session)
    addresses = {each.number: each.address for each in brokers if not each.fenced}
    states: dict[str, str] = {}
    committed: dict[str, dict[Place, int]] = {}
    names = {each.get("topic_id"): each["name"] for each in topics["topics"]}
    silent = []
    for number, address in addresses.items():
        try:
            own = _read_states(session, address)
            committed |= _read_committed(session, address, list(own), names)
        except (CannotConnect, ConnectionLost):  # lost, and not fenced yet
            silent.append(number)
            continue
        states |= own
    wanted = {place for places in committed.values() for place in places}
    leaders = {
        Place(topic["name"], each["partition_index"]): addresses.get(each["leader_id"])
        for topic in topics["topics"]
        for each in topic["partitions"]
    }
    ends = _read_ends(session, {place: leaders.get(place) for place in wanted})
    facts = {name: _facts(state, committed[name], ends) for name, state in sorted(states.items())}
    return facts, silent


def _read_states(session: Session, address: tuple[str, int]) -> dict[str, str]:
    """The groups that a broker coordinates."""
    said = session.read("ListGroups", {"states_filter": [], "types_filter": []}, broker=address)
    return {
        each["group_id"]: each.get("group_state") or UNKNOWN
        for each in said["groups"]
        # A group of which nobody is a member has no type: who commits for it assigns by itself.
        if each["protocol_type"] in ("", CONSUMER)
    }


def _read_committed(
    session: Session, address: tuple[str, int], groups: list[str], names: Mapping[Any, str]
) -> dict[str, dict[Place, int]]:
    """Up to where each of these groups has read, by partition. ``names``: of topics, by id."""
    if not groups:
        return {}
    asked = [
        {"group_id": name, "member_id": None, "member_epoch": NO_MEMBER, "topics": None}
        for name in groups
    ]
    said = session.read("OffsetFetch", {"groups": asked, "require_stable": False}, broker=address)
    found: dict[str, dict[Place, int]] = {name: {} for name in groups}
    for group in said["groups"]:
        for topic in group["topics"]:
            name = topic.get("name") or names.get(topic.get("topic_id"))
            if name is None:
                continue  # it was deleted
            for each in topic["partitions"]:
                if not each["error_code"] and each["committed_offset"] >= 0:
                    place = Place(name, each["partition_index"])
                    found[group["group_id"]][place] = each["committed_offset"]
    return found


def _read_ends(
    session: Session, leaders: Mapping[Place, tuple[str, int] | None]
) -> dict[Place, int]:
    """Where these partitions end; those whose leader is lost are not in it."""
    by_leader: dict[tuple[str, int], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, leader in sorted(leaders.items()):
        if leader is not None:
            by_leader[leader][place.topic].append(place.number)
    ends = {}
    for leader, topics in by_leader.items():
        asked = [
            {
                "name": name,
                "partitions": [
                    {"partition_index": number, "current_leader_epoch": -1, "timestamp": LATEST}
                    for number in numbers
                ],
            }
            for name, numbers in topics.items()
        ]
        body = {
            "replica_id": -1,
            "isolation_level": READ_UNCOMMITTED,
            "topics": asked,
            "timeout_ms": session.timeout_ms,
        }
        try:
            said = session.read("ListOffsets", body, broker=leader)
        except (CannotConnect, ConnectionLost):
            continue
        for topic in said["topics"]:
            for each in topic["partitions"]:
                if not each["error_code"]:
                    ends[Place(topic["name"], each["partition_index"])] = each["offset"]
    return ends


def _facts(state: str, committed: Mapping[Place, int], ends: Mapping[Place, int]) -> dict[str, Any]:
    lags: dict[str, int | None] = {}
    for place, offset in sorted(committed.items()):
        before, end = lags.get(place.topic, 0), ends.get(place)
        lag = None if end is None else max(0, end - offset)
        lags[place.topic] = None if before is None or lag is None else before + lag
    known = [lag for lag in lags.values() if lag is not None]
    return {
        "state": state,
        "topics": lags,
        "lag": sum(known) if len(known) == len(lags) else None,
    }
