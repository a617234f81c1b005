# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What cannot be declared of topics, and why; pure.

What only Kafka can judge (the value of a setting, what this user may do) is not here: Kafka is
asked for it by trial requests, which change nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker
from ansible_collections.bss.platform.plugins.module_utils.kafka_config_values import written
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import (
    MIN_INSYNC,
    ConfigValue,
    Defaults,
    Topic,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Refusal

OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str"},
    "partitions": {"type": "int"},
    "replication_factor": {"type": "int"},
    "config": {"type": "dict"},
    "purge_configs": {"type": "bool"},
    "allow_delete": {"type": "bool"},
    "state": {"type": "str", "choices": ["present", "absent"]},
}
"""Of one topic."""

OPTIONS_IN_LIST = {**OPTIONS, "name": {"type": "str", "required": True}}

LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


@dataclass(frozen=True)
class Declaration:
    """One topic as it was declared."""

    name: str
    partitions: int | None = None
    replication_factor: int | None = None
    config: Mapping[str, str | None] = field(default_factory=dict)
    """None: not to be set on the topic."""
    purge_configs: bool = False
    allow_delete: bool = False
    state: str = "present"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Declaration:
        return cls(
            name=options["name"],
            partitions=options["partitions"],
            replication_factor=options["replication_factor"],
            config={str(key): written(value) for key, value in (options["config"] or {}).items()},
            purge_configs=bool(options["purge_configs"]),
            allow_delete=bool(options["allow_delete"]),
            state=options["state"] or "present",
        )

    @property
    def is_wanted(self) -> bool:
        return self.state == "present"

    def __str__(self) -> str:
        return f"topic {self.name}"


@dataclass(frozen=True)
class Current:
    """All that is there; what the declaration cannot need is left empty."""

    topics: Mapping[str, Topic] = field(default_factory=dict)
    brokers: tuple[Broker, ...] = ()
    defaults: Defaults | None = None
    """Of new topics; None where none is declared, or Kafka did not tell."""

    @property
    def known_settings(self) -> frozenset[str]:
        """All settings that topics can have; empty where nothing tells."""
        told: list[Mapping[str, ConfigValue]] = [each.config for each in self.topics.values()]
        if self.defaults is not None:
            told.append(self.defaults.config)
        return frozenset(told[0] if told else ())


def is_legal_name(name: str) -> bool:
    return bool(LEGAL_NAME.fullmatch(name)) and name not in (".", "..")


def refusals_of_list(declared: Sequence[Declaration], current: Current) -> Iterator[Refusal]:
    """What is wrong with topics in respect of each other."""
    by_metric_name: defaultdict[str, list[str]] = defaultdict(list)
    for each in declared:
        by_metric_name[each.name.replace(".", "_")].append(each.name)
    for names in by_metric_name.values():
        alike = sorted(set(names))
        if len(names) > len(alike):
            twice = [name for name in alike if names.count(name) > 1]
            yield Refusal(
                f"topic {', '.join(twice)}",
                "it is in the list more than once",
                "a topic can be declared only once",
                "leave one of them",
            )
        new = [name for name in alike if name not in current.topics]
        if len(alike) > 1 and new:
            yield Refusal(
                f"topics {', '.join(alike)}",
                f"{', '.join(new)} would be new",
                "Kafka takes no topics whose names differ only in dots and underscores, since "
                "their metrics could not be told apart",
                "use dots or underscores in topic names, not both",
            )


def refusals_of(topic: Declaration, current: Current) -> Iterator[Refusal]:
    """What is wrong with one declared topic."""
    present = current.topics.get(topic.name)
    if not is_legal_name(topic.name):
        yield Refusal(
            f"topic {topic.name!r}",
            f"a name of {len(topic.name)} characters",
            "Kafka takes 1 to 249 letters (a-z, A-Z), digits, dots, underscores and hyphens, and "
            "neither . nor ..",
            "give it another name",
        )
    elif not topic.is_wanted:
        if present is not None:
            yield from _refusals_of_deletion(topic, present)
    else:
        yield from _refusals_of_partitions(topic, present)
        yield from _refusals_of_replicas(topic, present, current)
        yield from _refusals_of_config(topic, current)
        yield from _refusals_of_min_insync(topic, present, current)


def _refusals_of_deletion(topic: Declaration, present: Topic) -> Iterator[Refusal]:
    if present.internal:
        yield Refusal(
            f"{topic} absent",
            "it is internal",
            "Kafka keeps its own state in it",
            "leave it out of the list",
        )
    elif not topic.allow_delete:
        yield Refusal(
            f"{topic} absent",
            f"it is there, partitions: {len(present.partitions)}",
            "the records in them would be lost",
            "set allow_delete: true for this topic if nobody needs them",
        )


def _refusals_of_partitions(topic: Declaration, present: Topic | None) -> Iterator[Refusal]:
    if topic.partitions is None:
        return
    if topic.partitions < 1:
        yield Refusal(
            f"{topic}: partitions {topic.partitions}",
            "a topic has at least one",
            "there would be nowhere to write to",
            "set partitions to 1 or more, or leave it out for the brokers' default",
        )
    elif present is not None and topic.partitions < len(present.partitions):
        yield Refusal(
            f"{topic}: partitions {topic.partitions}",
            f"it has {len(present.partitions)}",
            "Kafka cannot take partitions away, the records in them would be lost",
            f"declare {len(present.partitions)} or more; for fewer, make a new topic and copy "
            "the records",
        )


def _refusals_of_replicas(
    topic: Declaration, present: Topic | None, current: Current
) -> Iterator[Refusal]:
    wanted = topic.replication_factor
    if wanted is None:
        return
    asked = f"{topic}: replication_factor {wanted}"
    serving = [broker for broker in current.brokers if not broker.fenced]
    fenced = [broker for broker in current.brokers if broker.fenced]
    if wanted < 1:
        yield Refusal(
            asked,
            "a partition has at least one replica",
            "the records would be nowhere",
            "set replication_factor to 1 or more, or leave it out for the brokers' default",
        )
    elif wanted > len(current.brokers):
        yield Refusal(
            asked,
            f"brokers in the cluster: {len(current.brokers)}",
            "each replica of a partition is on a broker of its own",
            f"declare at most {len(current.brokers)}, or add brokers first",
        )
    elif present is not None and fenced and wanted > present.replication_factors[0]:
        growable = all(
            wanted <= len({*part.target, *(broker.number for broker in serving)})
            for part in present.partitions
        )
        if not growable:
            yield Refusal(
                asked,
                f"broker {', '.join(str(broker.number) for broker in fenced)} does not serve",
                "a new replica would be put there and never be in sync",
                "start that broker first",
            )


def _refusals_of_config(topic: Declaration, current: Current) -> Iterator[Refusal]:
    known = current.known_settings
    for name in topic.config:
        if known and name not in known:
            near = get_close_matches(name, known, n=1)
            yield Refusal(
                f"{topic}: config {name}",
                f"{len(known)} settings that topics can have",
                "it is none of them",
                f"write {near[0]}, if that is meant" if near else "leave it out",
            )


def _refusals_of_min_insync(
    topic: Declaration, present: Topic | None, current: Current
) -> Iterator[Refusal]:
    """More replicas that must have a record than there are: every acks=all would fail."""
    if present is not None and topic.replication_factor is None and MIN_INSYNC not in topic.config:
        return
    declared = topic.config.get(MIN_INSYNC)
    default = None
    if current.defaults is not None and present is None:
        default = current.defaults.config.get(MIN_INSYNC)
    elif present is not None and MIN_INSYNC not in topic.config:
        default = present.config.get(MIN_INSYNC)
    text = declared if declared is not None else default.value if default is not None else ""
    factor = topic.replication_factor
    if factor is None and present is not None:
        factor = present.replication_factors[0]
    elif factor is None and current.defaults is not None:
        factor = current.defaults.replication_factor
    if factor is not None and factor > 0 and text.isdecimal() and int(text) > factor:
        whence = "" if declared is not None else ", which it has without being declared"
        yield Refusal(
            f"{topic}: replication_factor {factor} with {MIN_INSYNC} {text}{whence}",
            f"a replication factor of {factor}",
            f"with acks=all, Kafka takes no record that fewer than {text} replicas have",
            f"declare config {MIN_INSYNC} of at most {factor}, or more replicas",
        )
