# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_node would do to take a stopped node out of its cluster. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker
from ansible_collections.bss.platform.plugins.module_utils.kafka_gate import (
    NAMES_SHOWN,
    not_caught_up,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import Topic
from ansible_collections.bss.platform.plugins.module_utils.plan import (
    Action,
    Plan,
    Refusal,
    counted,
)

KRAFT_VERSION = "kraft.version"
DYNAMIC_QUORUM = 1
"""The kraft.version from which on the quorum's voters can be changed."""


@dataclass(frozen=True)
class Current:
    """All that is there."""

    cluster_id: str
    brokers: tuple[Broker, ...]
    quorum: Mapping[str, Any]
    """As kafka_info returns it."""
    features: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """As kafka_info returns them."""
    topics: Mapping[str, Topic] = field(default_factory=dict)

    def broker(self, number: int) -> Broker | None:
        return next((each for each in self.brokers if each.number == number), None)

    def voter(self, number: int) -> Mapping[str, Any] | None:
        return next((each for each in self.quorum["voters"] if each["id"] == number), None)


def still_running(current: Current, number: int) -> list[Refusal]:
    """What waiting mends, if the node was stopped: Kafka notices after a while."""
    asked = f"node {number} absent"
    found = []
    broker, voter = current.broker(number), current.voter(number)
    if broker is not None and not broker.fenced:
        found.append(
            Refusal(
                asked,
                f"it serves as a broker at {broker.host}:{broker.port}",
                "it would register again",
                "stop it for good first",
            )
        )
    if voter is not None:
        others = [each["id"] for each in current.quorum["voters"] if each["id"] != number]
        if not not_caught_up(current.quorum, [number]):
            found.append(
                Refusal(
                    asked,
                    "it takes part in the controllers' quorum",
                    "it may join again by itself, and the quorum may need it",
                    "stop it for good first",
                )
            )
        behind = not_caught_up(current.quorum, others)
        if len(others) - len(behind) < len(others) // 2 + 1:
            found.append(
                Refusal(
                    asked,
                    "; ".join(behind) or f"controller {number} is the only voter",
                    f"of the {counted(len(others), 'controller')} left, no majority would be there "
                    "to decide",
                    "start the others first",
                )
            )
    return found


def plan(current: Current, number: int) -> Plan:
    """What to do so that the cluster forgets this node."""
    broker, voter = current.broker(number), current.voter(number)
    refusals = [*_lasting(current, number), *still_running(current, number)]
    before: dict[str, Any] = {}
    actions = []
    if voter is not None:
        before["voter"] = {"id": number, "directory_id": voter["directory_id"]}
        actions.append(
            Action(
                f"take controller {number} (directory {voter['directory_id']}) out of the quorum",
                "RemoveRaftVoter",
                (
                    {
                        "cluster_id": current.cluster_id,
                        "voter_id": number,
                        "voter_directory_id": voter["directory_id"],
                    },
                ),
            )
        )
    if broker is not None:
        before["broker"] = {"id": number, "host": broker.host, "port": broker.port}
        actions.append(
            Action(
                f"unregister broker {number} ({broker.host}:{broker.port})",
                "UnregisterBroker",
                ({"broker_id": number},),
            )
        )
    return Plan(
        actions=tuple(actions),
        before={str(number): before} if before else {},
        refusals=tuple(refusals),
    )


def _lasting(current: Current, number: int) -> list[Refusal]:
    found = []
    held = {
        topic.name: count
        for topic in current.topics.values()
        if (count := sum(number in each.replicas for each in topic.partitions))
    }
    if held:
        names = sorted(held)
        more = len(names) - NAMES_SHOWN
        found.append(
            Refusal(
                f"node {number} absent",
                f"{counted(sum(held.values()), 'replica')} on it, of "
                f"{', '.join(names[:NAMES_SHOWN])}{f' and {more} more' if more > 0 else ''}",
                "these partitions would stay without it for good",
                "move them away first (kafka_reassignment with the brokers that stay)",
            )
        )
    version = current.features.get(KRAFT_VERSION, {}).get("finalized", 0)
    if current.voter(number) is not None and version < DYNAMIC_QUORUM:
        found.append(
            Refusal(
                f"node {number} absent",
                f"{KRAFT_VERSION} {version}, with voters that controller.quorum.voters names",
                "such a quorum cannot be changed while it runs",
                f"raise {KRAFT_VERSION} to {DYNAMIC_QUORUM} first, or change that setting on all "
                "nodes",
            )
        )
    return found
