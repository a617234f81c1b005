# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_topic would do: the declared topics against those that there are.

Pure: ``plan`` reads and writes nothing. It is the only place that decides. Actions come in the
order of Step, so that a topic never needs more replicas than it has: min.insync.replicas is
lowered before replicas are taken away, and raised after they were added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_assignment import resized
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker
from ansible_collections.bss.platform.plugins.module_utils.kafka_config_changes import (
    of_topic,
    reset,
    set_to,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_throttle import (
    THROTTLED,
    brokers_named,
    limit_broker,
    limit_topic,
    refusals_of_throttle,
    unlimit_broker,
    unlimit_topic,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topic_rules import (
    Current,
    Declaration,
    refusals_of,
    refusals_of_list,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import (
    MIN_INSYNC,
    ConfigValue,
    Partition,
    Topic,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import (
    Action,
    Plan,
    Refusal,
    counted,
)


class Step(IntEnum):
    """The order of things; what is of one step is sent as one request."""

    DELETE_TOPICS = 1
    CREATE_TOPICS = 2
    CONFIGURE = 3
    TAKE_BACK = 4
    LIMIT_TOPICS = 5
    LIMIT_BROKERS = 6
    REASSIGN = 7
    """Ends when the reassignments are done."""
    CONFIGURE_GROWN = 8
    UNLIMIT_BROKERS = 9
    UNLIMIT_TOPICS = 10
    """Last, since what a topic lists tells a later run which brokers are limited."""
    CREATE_PARTITIONS = 11


API = {
    Step.DELETE_TOPICS: "DeleteTopics",
    Step.CREATE_TOPICS: "CreateTopics",
    Step.CONFIGURE: "IncrementalAlterConfigs",
    Step.TAKE_BACK: "AlterPartitionReassignments",
    Step.LIMIT_TOPICS: "IncrementalAlterConfigs",
    Step.LIMIT_BROKERS: "IncrementalAlterConfigs",
    Step.REASSIGN: "AlterPartitionReassignments",
    Step.CONFIGURE_GROWN: "IncrementalAlterConfigs",
    Step.UNLIMIT_BROKERS: "IncrementalAlterConfigs",
    Step.UNLIMIT_TOPICS: "IncrementalAlterConfigs",
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
    refusals = [*refusals_of_list(declared, current), *refusals_of_throttle(throttle)]
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
        if self.throttle is not None:
            for number in sorted(self.limited):
                self._act(
                    Step.LIMIT_BROKERS,
                    f"limit what broker {number} copies to {self.throttle} bytes/s",
                    limit_broker(number, self.throttle),
                    broker=self.brokers[number].address,
                )
        for number in sorted(self.unlimited):
            self._act(
                Step.UNLIMIT_BROKERS,
                f"take the limit off broker {number}",
                unlimit_broker(number),
                broker=self.brokers[number].address,
            )

    def _delete(self, topic: Declaration, present: Topic) -> None:
        count = len(present.partitions)
        self._act(
            Step.DELETE_TOPICS,
            f"delete topic {topic.name} and the records in its {counted(count, 'partition')}",
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
            *([counted(partitions, "partition")] if partitions else []),
            *([counted(factor, "replica") + " of each"] if factor else []),
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
            if name in own and value is not None and present.config[name].means(value):
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
            if value is not None and there.own and there.means(value):
                continue
            self._act(
                self._when(topic, present, name, value),
                f"reset {name} of {topic.name}, which is {there.value}"
                if value is None
                else f"set {name} of {topic.name} from {there.value or 'nothing'}"
                f"{'' if there.own else ' (default)'} to {value}",
                of_topic(topic.name, [reset(name) if value is None else set_to(name, value)]),
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
        joined: list[Partition] = []
        stray: list[int] = []
        for each in present.partitions:
            part = each
            if part.moves:
                if len(part.target) == wanted and not part.never_ends:
                    joined.append(part)
                    continue
                stray.append(part.number)
                self.load.subtract(part.target)
                part = part.taken_back
                self.load.update(part.target)
            if len(part.target) != wanted:
                target = resized(part, wanted, self.brokers, self.load)
                adding = tuple(broker for broker in target if broker not in part.replicas)
                moved.append(replace(part, replicas=target, adding=adding))
        if stray:
            self._act(
                Step.TAKE_BACK,
                f"take back the reassignment of {counted(len(stray), 'partition')} of {topic.name}",
                {
                    "name": topic.name,
                    "partitions": [
                        {"partition_index": number, "replicas": None} for number in stray
                    ],
                },
            )
        if joined:
            self._act(
                Step.REASSIGN,
                f"wait for the reassignment of {counted(len(joined), 'partition')} of "
                f"{topic.name} that is under way",
                topic=topic.name,
            )
        if moved:
            self._act(
                Step.REASSIGN,
                f"reassign {counted(len(moved), 'partition')} of {topic.name} from "
                f"{_factor(present)} to {counted(wanted, 'replica')}",
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
        copied = [part for part in moving if part.adding]
        if self.throttle is not None and copied:
            sources = {
                part.number: [each for each in part.replicas if each not in part.adding]
                for part in copied
            }
            self._act(
                Step.LIMIT_TOPICS,
                f"limit the copying of {topic.name} to {self.throttle} bytes/s and broker",
                limit_topic(topic.name, sources, {part.number: part.adding for part in copied}),
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
                unlimit_topic(topic.name),
            )
            named = {broker for value in limits.values() for broker in brokers_named(value)}
            self.unlimited |= self.limited | {each for each in named if self._serves(each)}

    def _grow(self, topic: Declaration, present: Topic) -> None:
        there = len(present.partitions)
        if topic.partitions is not None and topic.partitions > there:
            self._act(
                Step.CREATE_PARTITIONS,
                f"grow {topic.name} from {there} to {counted(topic.partitions, 'partition')}",
                {"name": topic.name, "count": topic.partitions, "assignments": None},
            )

    def _serves(self, number: int) -> bool:
        return number in self.brokers and not self.brokers[number].fenced

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
