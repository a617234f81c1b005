# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_topic would do: the declared topics against those that there are.

Pure: ``plan`` reads and writes nothing. It is the only place that decides. Actions come in the
order of Step, so that a topic never needs more replicas than it has: min.insync.replicas is
lowered before replicas are taken away, and raised after they were added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_assignment import resized
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker
from ansible_collections.bss.platform.plugins.module_utils.kafka_topic_rules import (
    Current,
    Declaration,
    refusals_of,
    refusals_of_list,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import (
    BOOLEAN,
    BROKER_RESOURCE,
    DOUBLE,
    INT,
    LIST,
    LONG,
    MIN_INSYNC,
    SHORT,
    TOPIC_RESOURCE,
    ConfigValue,
    Partition,
    Topic,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Action, Plan, Refusal

SET, DELETE = 0, 1
"""Operations of IncrementalAlterConfigs."""

LEADER_THROTTLED = "leader.replication.throttled.replicas"
FOLLOWER_THROTTLED = "follower.replication.throttled.replicas"
THROTTLED = (LEADER_THROTTLED, FOLLOWER_THROTTLED)
RATES = ("leader.replication.throttled.rate", "follower.replication.throttled.rate")


class Step(IntEnum):
    """The order of things; what is of one step is sent as one request."""

    DELETE_TOPICS = 1
    CREATE_TOPICS = 2
    CONFIGURE = 3
    LIMIT_TOPICS = 4
    LIMIT_BROKERS = 5
    REASSIGN = 6
    """Ends when the reassignments are done."""
    CONFIGURE_GROWN = 7
    UNLIMIT_TOPICS = 8
    UNLIMIT_BROKERS = 9
    CREATE_PARTITIONS = 10


API = {
    Step.DELETE_TOPICS: "DeleteTopics",
    Step.CREATE_TOPICS: "CreateTopics",
    Step.CONFIGURE: "IncrementalAlterConfigs",
    Step.LIMIT_TOPICS: "IncrementalAlterConfigs",
    Step.LIMIT_BROKERS: "IncrementalAlterConfigs",
    Step.REASSIGN: "AlterPartitionReassignments",
    Step.CONFIGURE_GROWN: "IncrementalAlterConfigs",
    Step.UNLIMIT_TOPICS: "IncrementalAlterConfigs",
    Step.UNLIMIT_BROKERS: "IncrementalAlterConfigs",
    Step.CREATE_PARTITIONS: "CreatePartitions",
}


@dataclass(frozen=True)
class TopicPlan(Plan):
    """A plan that also tells how the declared topics are once it is done."""

    topics: tuple[dict[str, Any], ...] = ()


def plan(current: Current, declared: Sequence[Declaration], throttle: int | None) -> TopicPlan:
    """What to do, in order; ``throttle`` is in bytes/s.

    Where topics are refused, the actions are those of the others: they are to be tried, so that
    Kafka's own refusals can be told together with ours.
    """
    refusals = list(refusals_of_list(declared, current))
    if throttle is not None and throttle < 1:
        refusals.append(
            Refusal(
                f"throttle {throttle}",
                "it is in bytes a second",
                "nothing would ever be copied",
                "set it to more than what is written to the topics, or leave it out",
            )
        )
    accepted: list[Declaration] = []
    for each in declared:
        wrong = list(refusals_of(each, current))
        refusals += wrong
        if not wrong:
            accepted.append(each)
    draft = _Draft(current, throttle)
    for each in accepted:
        draft.add(each)
    draft.limit_brokers()
    return TopicPlan(
        actions=tuple(sorted(draft.actions, key=lambda action: action.options["step"])),
        before=draft.before,
        after=draft.after,
        refusals=tuple(refusals),
        topics=tuple(draft.facts),
    )


def refused_too(decided: TopicPlan, refusals: Sequence[Refusal]) -> TopicPlan:
    """The plan with what Kafka said of it."""
    return replace(decided, refusals=(*decided.refusals, *refusals))


class _Draft:
    """A plan in the making."""

    def __init__(self, current: Current, throttle: int | None) -> None:
        self.current = current
        self.throttle = throttle
        self.brokers: dict[int, Broker] = {each.number: each for each in current.brokers}
        self.load = Counter(
            broker
            for topic in current.topics.values()
            for partition in topic.partitions
            for broker in partition.target
        )
        self.actions: list[Action] = []
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        self.facts: list[dict[str, Any]] = []
        self.limited: set[int] = set()
        """Brokers whose rate is to be limited."""
        self.unlimited: set[int] = set()
        """Brokers whose limit is to be taken off at the end."""

    def add(self, topic: Declaration) -> None:
        present = self.current.topics.get(topic.name)
        if not topic.is_wanted:
            if present is not None:
                self._delete(topic, present)
        elif present is None:
            self._create(topic)
        else:
            self._change(topic, present)

    def limit_brokers(self) -> None:
        """The rates that LIMIT_TOPICS and UNLIMIT_TOPICS speak of are those of whole brokers."""
        for number in sorted(self.limited):
            self._rates(
                Step.LIMIT_BROKERS,
                number,
                f"limit what broker {number} copies to {self.throttle} bytes/s",
                [_set(rate, str(self.throttle)) for rate in RATES],
            )
        for number in sorted(self.unlimited):
            self._rates(
                Step.UNLIMIT_BROKERS,
                number,
                f"take the limit off broker {number}",
                [_reset(rate) for rate in RATES],
            )

    def _delete(self, topic: Declaration, present: Topic) -> None:
        count = len(present.partitions)
        self._act(
            Step.DELETE_TOPICS,
            f"delete topic {topic.name} and the records in its {_number(count, 'partition')}",
            {"name": topic.name},
        )
        self.before[topic.name] = _shown(present, present.own_config)

    def _create(self, topic: Declaration) -> None:
        config = {name: value for name, value in topic.config.items() if value is not None}
        defaults = self.current.defaults
        partitions, factor = topic.partitions, topic.replication_factor
        if defaults is not None:
            partitions = partitions or defaults.partitions
            factor = factor or defaults.replication_factor
        said = [
            *([_number(partitions, "partition")] if partitions else []),
            *([_number(factor, "replica") + " of each"] if factor else []),
            *(f"{name}={value}" for name, value in config.items()),
        ]
        self._act(
            Step.CREATE_TOPICS,
            f"create topic {topic.name}: {', '.join(said) or 'as the brokers have it by default'}",
            {
                "name": topic.name,
                "num_partitions": topic.partitions or -1,
                "replication_factor": topic.replication_factor or -1,
                "configs": [{"name": name, "value": value} for name, value in config.items()],
            },
        )
        self.after[topic.name] = {
            "partitions": partitions,
            "replication_factor": factor,
            "config": config,
        }
        self.facts.append({"name": topic.name, **self.after[topic.name]})

    def _change(self, topic: Declaration, present: Topic) -> None:
        self._configure(topic, present)
        self._replicate(topic, present)
        self._grow(topic, present)
        own = present.own_config
        config = {
            name: value
            for name, value in own.items()
            if name not in topic.config and not (topic.purge_configs or name in THROTTLED)
        }
        config |= {name: value for name, value in topic.config.items() if value is not None}
        for name, value in topic.config.items():
            # As Kafka writes it, where both mean the same.
            if name in own and value is not None and _same(present.config[name], value):
                config[name] = own[name]
        managed = {*topic.config, *(own if topic.purge_configs else ())}
        self.before[topic.name] = _shown(
            present, {name: own[name] for name in sorted(managed) if name in own}
        )
        self.after[topic.name] = {
            "partitions": topic.partitions or len(present.partitions),
            "replication_factor": topic.replication_factor or _factor(present),
            "config": {name: config[name] for name in sorted(managed) if name in config},
        }
        self.facts.append(
            {"name": topic.name, **self.after[topic.name], "config": dict(sorted(config.items()))}
        )

    def _configure(self, topic: Declaration, present: Topic) -> None:
        own = present.own_config
        wanted: dict[str, str | None] = dict(topic.config)
        if topic.purge_configs:
            wanted |= {name: None for name in own if name not in wanted and name not in THROTTLED}
        for name, value in sorted(wanted.items()):
            there = present.config.get(name, ConfigValue(""))
            if value is None and not there.own:
                continue
            if value is not None and there.own and _same(there, value):
                continue
            self._act(
                self._when(topic, present, name, value),
                f"reset {name} of {topic.name}, which is {there.value}"
                if value is None
                else f"set {name} of {topic.name} from {there.value or 'nothing'}"
                f"{'' if there.own else ' (default)'} to {value}",
                _config_of_topic(
                    topic.name, [_reset(name) if value is None else _set(name, value)]
                ),
            )

    def _when(self, topic: Declaration, present: Topic, name: str, value: str | None) -> Step:
        """All at once, but min.insync.replicas of a topic that gets more replicas."""
        grows = topic.replication_factor is not None and (
            topic.replication_factor > present.replication_factors[0]
        )
        return Step.CONFIGURE_GROWN if name == MIN_INSYNC and grows else Step.CONFIGURE

    def _replicate(self, topic: Declaration, present: Topic) -> None:
        wanted = topic.replication_factor
        if wanted is None:
            return
        moved: list[Partition] = []
        joined = [part for part in present.partitions if part.moves and len(part.target) == wanted]
        for part in present.partitions:
            if len(part.target) != wanted:
                target = resized(part, wanted, self.brokers, self.load)
                adding = tuple(each for each in target if each not in part.replicas)
                moved.append(replace(part, replicas=target, adding=adding))
        if joined:
            self._act(
                Step.REASSIGN,
                f"wait for the reassignment of {_number(len(joined), 'partition')} of "
                f"{topic.name} that is under way",
                topic=topic.name,
            )
        if moved:
            self._act(
                Step.REASSIGN,
                f"reassign {_number(len(moved), 'partition')} of {topic.name} from "
                f"{_factor(present)} to {_number(wanted, 'replica')}",
                {
                    "name": topic.name,
                    "partitions": [
                        {"partition_index": part.number, "replicas": list(part.replicas)}
                        for part in moved
                    ],
                },
                topic=topic.name,
            )
        self._limit(topic, present, [*moved, *joined])

    def _limit(self, topic: Declaration, present: Topic, moving: Sequence[Partition]) -> None:
        """Which replicas count against the brokers' limits while they are copied."""
        old = {part.number: part for part in present.partitions}
        copied = [part for part in moving if part.adding]
        if self.throttle is not None and copied:
            sources = {
                part.number: [each for each in old[part.number].replicas if each not in part.adding]
                for part in copied
            }
            self._act(
                Step.LIMIT_TOPICS,
                f"limit the copying of {topic.name} to {self.throttle} bytes/s and broker",
                _config_of_topic(
                    topic.name,
                    [
                        _set(LEADER_THROTTLED, _replicas(sources)),
                        _set(
                            FOLLOWER_THROTTLED,
                            _replicas({part.number: part.adding for part in copied}),
                        ),
                    ],
                ),
            )
            involved = {each for part in copied for each in (*sources[part.number], *part.adding)}
            self.limited |= {each for each in involved if self._serves(each)}
        limits = {
            name: value
            for name, value in present.own_config.items()
            if name in THROTTLED and name not in topic.config
        }
        if limits or (self.throttle is not None and copied):
            self._act(
                Step.UNLIMIT_TOPICS,
                f"take the limit off the copying of {topic.name}",
                _config_of_topic(topic.name, [_reset(name) for name in THROTTLED]),
            )
            named = {broker for value in limits.values() for broker in _brokers_named(value)}
            self.unlimited |= self.limited | {each for each in named if self._serves(each)}

    def _grow(self, topic: Declaration, present: Topic) -> None:
        there = len(present.partitions)
        if topic.partitions is not None and topic.partitions > there:
            self._act(
                Step.CREATE_PARTITIONS,
                f"grow {topic.name} from {there} to {_number(topic.partitions, 'partition')}",
                {"name": topic.name, "count": topic.partitions, "assignments": None},
            )

    def _serves(self, number: int) -> bool:
        return number in self.brokers and not self.brokers[number].fenced

    def _rates(self, step: Step, broker: int, sentence: str, configs: list[dict[str, Any]]) -> None:
        self._act(
            step,
            sentence,
            {"resource_type": BROKER_RESOURCE, "resource_name": str(broker), "configs": configs},
            # The setting of a broker is taken by that broker only.
            broker=self.brokers[broker].address,
        )

    def _act(self, step: Step, sentence: str, *bodies: dict[str, Any], **options: Any) -> None:
        self.actions.append(Action(sentence, API[step], bodies, {"step": step, **options}))


def _shown(present: Topic, config: Mapping[str, str]) -> dict[str, Any]:
    return {
        "partitions": len(present.partitions),
        "replication_factor": _factor(present),
        "config": dict(config),
    }


def _factor(topic: Topic) -> int | str:
    factors = topic.replication_factors
    return factors[0] if len(factors) == 1 else f"{factors[0]} to {factors[-1]}"


def _same(there: ConfigValue, declared: str) -> bool:
    """Alike as Kafka reads values of that type."""
    try:
        if there.kind in (INT, SHORT, LONG):
            return int(there.value) == int(declared)
        if there.kind == DOUBLE:
            return float(there.value) == float(declared)
    except ValueError:  # Kafka says so, when it is tried
        return False
    if there.kind == BOOLEAN:
        return there.value.lower() == declared.strip().lower()
    if there.kind == LIST:
        return list(_listed(there.value)) == list(_listed(declared))
    return there.value == declared


def _listed(value: str) -> Iterator[str]:
    return (each.strip() for each in value.split(","))


def _config_of_topic(name: str, configs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"resource_type": TOPIC_RESOURCE, "resource_name": name, "configs": configs}


def _set(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "config_operation": SET, "value": value}


def _reset(name: str) -> dict[str, Any]:
    return {"name": name, "config_operation": DELETE, "value": None}


def _replicas(brokers: Mapping[int, Sequence[int]]) -> str:
    """As the throttling settings write it: ``partition:broker,...``."""
    return ",".join(f"{number}:{broker}" for number, each in brokers.items() for broker in each)


def _brokers_named(value: str) -> Iterator[int]:
    for pair in _listed(value):
        broker = pair.rpartition(":")[2]
        if broker.isdecimal():
            yield int(broker)


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
