# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What Kafka says about topics: partitions, configuration, reassignments under way, sizes.

Each function sends a few requests, however many topics are asked about. Nothing here decides or
writes.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker
from ansible_collections.bss.platform.plugins.module_utils.kafka_config_values import (
    UNKNOWN,
    is_same,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import Session
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import error_name
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

TOPIC_RESOURCE = 2
BROKER_RESOURCE = 4
UNKNOWN_TOPIC = 3

# DescribeConfigs: where a value comes from.
SET_ON_TOPIC, SET_ON_BROKER = 1, 2

MIN_INSYNC = "min.insync.replicas"

BROKER_LAG_S = 0.5
"""How long a broker may take to learn what the controllers have decided."""


class TopicsUnreadable(PlatformError):
    """Kafka does not tell of some of the topics that were asked about."""


@dataclass(frozen=True)
class ConfigValue:
    value: str
    own: bool = False
    """Set on the topic itself, not a default of the brokers."""
    kind: int = UNKNOWN
    """As in kafka_config_values."""

    def means(self, declared: str) -> bool:
        """Whether Kafka would take the declared value for this one."""
        return is_same(self.kind, self.value, declared)


@dataclass(frozen=True)
class Partition:
    number: int
    leader: int
    """-1 where there is none."""
    replicas: tuple[int, ...]
    """The preferred leader first."""
    isr: tuple[int, ...]
    offline: tuple[int, ...] = ()
    adding: tuple[int, ...] = ()
    removing: tuple[int, ...] = ()

    @property
    def moves(self) -> bool:
        return bool(self.adding or self.removing)

    @property
    def target(self) -> tuple[int, ...]:
        """Its replicas once a reassignment that is under way is done."""
        return tuple(each for each in self.replicas if each not in self.removing)

    @property
    def never_ends(self) -> bool:
        """Whether its reassignment was replaced by another in a way that Kafka does not finish.

        It then waits for a broker to be in sync which it has also told to go.
        """
        return bool({*self.adding} & {*self.removing})

    @property
    def taken_back(self) -> Partition:
        """What it is once its reassignment is cancelled.

        That has to come before another one: Kafka told of another would wait for both.
        """
        there = tuple(each for each in self.replicas if each not in self.adding)
        return replace(self, replicas=there, adding=(), removing=())


@dataclass(frozen=True)
class Topic:
    name: str
    partitions: tuple[Partition, ...]
    """By number."""
    internal: bool = False
    config: Mapping[str, ConfigValue] = field(default_factory=dict)
    """Every key that Kafka knows, with the value that holds."""

    @property
    def own_config(self) -> dict[str, str]:
        return {name: each.value for name, each in sorted(self.config.items()) if each.own}

    @property
    def replication_factors(self) -> tuple[int, ...]:
        """Of its partitions, without repetition: one number where all are alike."""
        return tuple(sorted({len(each.target) for each in self.partitions}))


@dataclass(frozen=True)
class Defaults:
    """What a topic becomes that is created without saying more."""

    partitions: int
    replication_factor: int
    config: Mapping[str, ConfigValue]


def read_topics(session: Session, names: Collection[str] | None = None) -> dict[str, Topic]:
    """The named topics that exist, or all: three requests, two or one where there is none.

    Raises TopicsUnreadable.
    """
    topics = _read_partitions(session, names)
    if not topics:
        return {}
    configs = _read_configs(session, topics)
    moves = read_reassignments(session)
    return {
        name: replace(
            topic,
            config=configs[name],
            partitions=tuple(_with_move(each, moves.get(name, {})) for each in topic.partitions),
        )
        for name, topic in topics.items()
        if name in configs
    }


def read_reassignments(session: Session) -> dict[str, dict[int, Partition]]:
    """The partitions that are being moved, by topic and number; leaders and ISR are not in it."""
    said = session.read("ListPartitionReassignments", {"topics": None})
    return {
        topic["name"]: {
            each["partition_index"]: Partition(
                number=each["partition_index"],
                leader=-1,
                replicas=tuple(each["replicas"]),
                isr=(),
                adding=tuple(each["adding_replicas"]),
                removing=tuple(each["removing_replicas"]),
            )
            for each in topic["partitions"]
        }
        for topic in said["topics"]
    }


def read_all_topics(session: Session) -> dict[str, Topic]:
    """Every topic, with replicas that hold also while partitions are being moved.

    For a moment after a reassignment has ended, a broker still counts the replicas that went, and
    nothing in its answer tells. So what moves is asked for first, of the controllers, and what
    had ended by then is given the time to reach the broker.
    """
    moves = read_reassignments(session)
    time.sleep(BROKER_LAG_S)
    return {
        name: replace(
            topic,
            partitions=tuple(
                each if each.moves else _with_move(each, moves.get(name, {}))
                for each in topic.partitions
            ),
        )
        for name, topic in read_topics(session).items()
    }


def read_sizes(
    session: Session, brokers: Iterable[Broker]
) -> dict[int, dict[tuple[str, int], int]]:
    """What each broker has on disk of each partition, in bytes: one request to each."""
    sizes: dict[int, dict[tuple[str, int], int]] = {}
    for broker in brokers:
        said = session.read("DescribeLogDirs", {"topics": None}, broker=broker.address)
        sizes[broker.number] = {
            (topic["name"], each["partition_index"]): each["partition_size"]
            for directory in said["results"]
            for topic in directory["topics"]
            for each in topic["partitions"]
            if not each["is_future_key"]  # a second copy, on its way to another directory
        }
    return sizes


def read_defaults(session: Session, name: str) -> Defaults | None:
    """What the brokers would make of a new topic of this name; None when they would not make it.

    Asked by a request to create it that is marked as a trial.
    """
    said = session.read(
        "CreateTopics",
        {
            "topics": [{"name": name, "num_partitions": -1, "replication_factor": -1}],
            "validate_only": True,
        },
    )["topics"][0]
    if said["error_code"] or not said["configs"]:
        return None
    return Defaults(
        said["num_partitions"],
        said["replication_factor"],
        {each["name"]: ConfigValue(each["value"] or "") for each in said["configs"]},
    )


def _read_partitions(session: Session, names: Collection[str] | None) -> dict[str, Topic]:
    asked = None if names is None else [{"name": name} for name in names]
    said = session.read("Metadata", {"topics": asked, "allow_auto_topic_creation": False})
    found = [each for each in said["topics"] if each["error_code"] != UNKNOWN_TOPIC]
    _require_readable((each["name"], each) for each in found)
    return {
        each["name"]: Topic(
            each["name"],
            tuple(sorted(map(_partition, each["partitions"]), key=lambda part: part.number)),
            each["is_internal"],
        )
        for each in sorted(found, key=lambda topic: topic["name"])
    }


def _partition(said: Mapping[str, Any]) -> Partition:
    return Partition(
        said["partition_index"],
        said["leader_id"],
        tuple(said["replica_nodes"]),
        tuple(said["isr_nodes"]),
        tuple(said["offline_replicas"]),
    )


def _with_move(partition: Partition, moves: Mapping[int, Partition]) -> Partition:
    move = moves.get(partition.number)
    if move is None:
        return partition
    return replace(partition, replicas=move.replicas, adding=move.adding, removing=move.removing)


def _read_configs(session: Session, names: Iterable[str]) -> dict[str, dict[str, ConfigValue]]:
    resources = [
        {"resource_type": TOPIC_RESOURCE, "resource_name": name, "configuration_keys": None}
        for name in names
    ]
    said = session.read("DescribeConfigs", {"resources": resources})["results"]
    # One that is deleted may be gone since the broker told of its partitions.
    found = [each for each in said if each["error_code"] != UNKNOWN_TOPIC]
    _require_readable((each["resource_name"], each) for each in found)
    return {
        each["resource_name"]: {
            config["name"]: ConfigValue(
                config["value"] or "",
                config["config_source"] == SET_ON_TOPIC,
                config.get("config_type", 0),
            )
            for config in each["configs"]
        }
        for each in found
    }


def _require_readable(parts: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    failures = [f"{name} ({error_name(said)})" for name, said in parts if said["error_code"]]
    if failures:
        raise TopicsUnreadable(
            f"Kafka does not tell of these topics: {', '.join(failures)}. Check that the user of "
            "this task is a super user or may DESCRIBE and DESCRIBE_CONFIGS them."
        )
