# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_reassignment would do: where replicas lie against where they should.

Pure: ``plan`` reads and writes nothing. It is the only place that decides. It is made anew
whenever replicas were copied: its sentences tell of all that is left, its requests are those of
the next batch.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from ansible.module_utils.common.text.formatters import bytes_to_human
from ansible_collections.bss.platform.plugins.module_utils.kafka_balance import (
    Key,
    Replicas,
    balanced,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker
from ansible_collections.bss.platform.plugins.module_utils.kafka_throttle import (
    THROTTLED,
    brokers_named,
    covers,
    limit_broker,
    limit_topic,
    refusals_of_throttle,
    unlimit_broker,
    unlimit_topic,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import (
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

BATCH = 100
"""Partitions that are moved at a time. Kafka writes the replicas that are limited into one setting
of at most 32 kB a topic, and each copy needs its room on the old brokers and the new ones."""
NAMES_SHOWN = 5
PREFERRED = 0
"""Of ElectLeaders: the first replica leads, where it is in sync."""


class Step(IntEnum):
    """What is of one step is sent as one request, or as one to each broker."""

    TAKE_BACK = 1
    LIMIT_TOPICS = 2
    LIMIT_BROKERS = 3
    REASSIGN = 4
    UNLIMIT_BROKERS = 5
    UNLIMIT_TOPICS = 6
    ELECT = 7


API = {
    Step.TAKE_BACK: "AlterPartitionReassignments",
    Step.LIMIT_TOPICS: "IncrementalAlterConfigs",
    Step.LIMIT_BROKERS: "IncrementalAlterConfigs",
    Step.REASSIGN: "AlterPartitionReassignments",
    Step.UNLIMIT_BROKERS: "IncrementalAlterConfigs",
    Step.UNLIMIT_TOPICS: "IncrementalAlterConfigs",
    Step.ELECT: "ElectLeaders",
}


@dataclass(frozen=True)
class Current:
    """All that is there."""

    topics: Mapping[str, Topic]
    brokers: tuple[Broker, ...]
    sizes: Mapping[int, Mapping[Key, int]] = field(default_factory=dict)
    """Bytes of partitions, by broker; of those that serve."""
    rates: Mapping[int, tuple[str | None, ...]] = field(default_factory=dict)
    """What brokers are limited to, of those that serve."""


@dataclass(frozen=True)
class Left:
    """What is still to be moved."""

    partitions: int = 0
    bytes: int = 0

    def __str__(self) -> str:
        return f"{counted(self.partitions, 'partition')} ({bytes_to_human(self.bytes)})"


@dataclass(frozen=True)
class ReassignmentPlan(Plan):
    """A plan that also tells what of it can be sent now, and how much is to be copied."""

    due: tuple[Action, ...] = ()
    """What can be done before the next replicas are there."""
    left: Left = Left()

    @property
    def changed(self) -> bool:
        """Waiting alone changes nothing."""
        return any(action.parameters for action in self.actions)


@dataclass(frozen=True)
class Move:
    """A partition that gets other replicas, or has been told to."""

    key: Key
    before: Replicas
    after: Replicas
    holders: Replicas
    """The brokers that have all of it."""
    sizes: Mapping[int, int]
    """Bytes of it, by broker."""

    @property
    def copies(self) -> Replicas:
        return tuple(each for each in self.after if each not in self.holders)

    @property
    def size(self) -> int:
        return max(self.sizes.values(), default=0)

    @property
    def bytes_left(self) -> int:
        return sum(max(0, self.size - self.sizes.get(each, 0)) for each in self.copies)

    @property
    def pairs(self) -> Iterator[tuple[int, int]]:
        """From which broker to which each replica moves."""
        gone = (each for each in self.before if each not in self.after)
        return zip(gone, (each for each in self.after if each not in self.before), strict=True)


def plan(current: Current, numbers: Collection[int], throttle: int | None) -> ReassignmentPlan:
    """What to do so that the brokers of those numbers, and no others, hold equal shares.

    ``throttle`` is in bytes/s.
    """
    refusals = (*_refusals_of(current, numbers), *refusals_of_throttle(throttle))
    if refusals:
        return ReassignmentPlan(refusals=refusals)
    draft = _Draft(current, numbers)
    limited = [move for move in (*draft.under_way, *draft.moves) if move.copies]
    if throttle is None:  # also where a former run had one
        opening, closing = draft.unlimit([]), []
    else:
        opening, closing = draft.limit(limited, throttle), draft.unlimit(limited)
    opening = [*draft.take_back(), *opening, *draft.reassign()]
    closing += draft.elect()
    left = Left(
        len(draft.under_way) + len(draft.moves),
        sum(move.bytes_left for move in (*draft.under_way, *draft.moves)),
    )
    return ReassignmentPlan(
        actions=(*opening, *closing),
        before={_name(move.key): list(move.before) for move in draft.moves},
        after={_name(move.key): list(move.after) for move in draft.moves},
        due=(*opening, *(() if left.partitions else closing)),
        left=left,
    )


def _refusals_of(current: Current, numbers: Collection[int]) -> Iterator[Refusal]:
    known = {each.number: each for each in current.brokers}
    there = f"the brokers {_listed(known)}"
    if not numbers:
        yield Refusal(
            "brokers []",
            there,
            "replicas have to lie somewhere",
            "name the brokers that may hold replicas",
        )
        return
    for number in sorted(numbers):
        if number not in known:
            yield Refusal(
                f"broker {number}",
                there,
                "the cluster does not know it",
                "start it first, or leave it out",
            )
        elif known[number].fenced:
            yield Refusal(
                f"broker {number}",
                f"it is registered at {known[number].host}:{known[number].port}",
                "it does not serve, so its replicas would never be in sync",
                "start it first, or leave it out",
            )
    yield from _refusals_of_too_few(current, numbers)
    headless = [
        _name((topic.name, each.number))
        for topic in current.topics.values()
        for each in topic.partitions
        if each.leader < 0 and not {*each.target} <= {*numbers}
    ]
    if headless:
        yield Refusal(
            f"moving {_first_of(headless)}",
            "no broker leads them",
            "none of those that serve has all their records, so there is nothing to copy from",
            "start the brokers that hold them",
        )


def _refusals_of_too_few(current: Current, numbers: Collection[int]) -> Iterator[Refusal]:
    topics: defaultdict[int, list[str]] = defaultdict(list)
    for topic in current.topics.values():
        if topic.replication_factors[-1] > len({*numbers}):
            topics[topic.replication_factors[-1]].append(topic.name)
    for replicas, names in sorted(topics.items()):
        yield Refusal(
            f"brokers {_listed(numbers)}",
            f"{replicas} replicas of each partition of {_first_of(names)}",
            "each replica of a partition is on a broker of its own",
            f"name at least {replicas} brokers, or lower the replication_factor of these topics "
            "first (kafka_topic)",
        )


class _Draft:
    """What is moved and what is to be, and the actions that come of it."""

    def __init__(self, current: Current, numbers: Collection[int]) -> None:
        self.current = current
        self.serving = {each.number: each for each in current.brokers if not each.fenced}
        self.partitions: dict[Key, Partition] = {
            (topic.name, each.number): each
            for topic in current.topics.values()
            for each in topic.partitions
        }
        self.stray = [
            key
            for key, each in self.partitions.items()
            if each.moves and (each.never_ends or not {*each.target} <= {*numbers})
        ]
        for key in self.stray:
            self.partitions[key] = self.partitions[key].taken_back
        present = {key: each.target for key, each in self.partitions.items()}
        self.after = balanced(
            present,
            [each for each in current.brokers if each.number in numbers],
            pinned={key for key, each in self.partitions.items() if each.moves},
        )
        self.moves = [
            self._move(key, self.after[key]) for key in present if self.after[key] != present[key]
        ]
        self.under_way = [
            self._move(key, each.target) for key, each in self.partitions.items() if each.moves
        ]
        self.batch = self.moves[: max(0, BATCH - len(self.under_way))]

    def take_back(self) -> list[Action]:
        """What moves to where it must not, or never gets there."""
        if not self.stray:
            return []
        return [
            _action(
                Step.TAKE_BACK,
                f"take back the reassignment of {counted(len(self.stray), 'partition')}",
                *(
                    {"name": name, "partitions": [{"partition_index": number, "replicas": None}]}
                    for name, number in self.stray
                ),
            )
        ]

    def limit(self, moves: Sequence[Move], throttle: int) -> list[Action]:
        """Limit what these copy, where it is not limited; sent is what is of the batch."""
        topics = [each for each in _by_topic(moves) if not self._is_limited(each)]
        now = _by_topic(move for move in (*self.under_way, *self.batch) if move.copies)
        actions = []
        if topics:
            actions.append(
                _action(
                    Step.LIMIT_TOPICS,
                    f"limit the copying of {counted(len(topics), 'topic')} to {throttle} bytes/s "
                    "and broker",
                    *(
                        limit_topic(each[0].key[0], *_replicas(each))
                        for each in now
                        if not self._is_limited(each)
                    ),
                )
            )
        return actions + [
            _action(
                Step.LIMIT_BROKERS,
                f"limit what broker {number} copies to {throttle} bytes/s",
                limit_broker(number, throttle),
                broker=self.serving[number].address,
            )
            for number in self._involved(moves)
            if any(rate != str(throttle) for rate in self.current.rates[number])
        ]

    def unlimit(self, limited: Sequence[Move]) -> list[Action]:
        """Take off what is limited by then, and what an interrupted run left."""
        left = {
            topic.name: [topic.own_config.get(name, "") for name in THROTTLED]
            for topic in self.current.topics.values()
            # Of all replicas: somebody wants it so, no reassignment lists them like this.
            if any(topic.own_config.get(name, "*") != "*" for name in THROTTLED)
        }
        topics = {*left, *(move.key[0] for move in limited)}
        named = {
            broker
            for values in left.values()
            for value in values
            for broker in brokers_named(value)
        }
        brokers = sorted({*self._involved(limited), *(named & {*self.serving})})
        actions = [
            _action(
                Step.UNLIMIT_BROKERS,
                f"take the limit off broker {number}",
                unlimit_broker(number),
                broker=self.serving[number].address,
            )
            for number in brokers
        ]
        if topics:
            actions.append(
                _action(
                    Step.UNLIMIT_TOPICS,
                    f"take the limit off the copying of {counted(len(topics), 'topic')}",
                    *map(unlimit_topic, sorted(topics)),
                )
            )
        return actions

    def reassign(self) -> list[Action]:
        """A sentence for each pair of brokers; a partition is sent with the first of its pairs."""
        actions = []
        if self.under_way:
            left = Left(len(self.under_way), sum(move.bytes_left for move in self.under_way))
            actions.append(_reassign(f"wait for {left} being moved", []))
        replicas: Counter[tuple[int, int]] = Counter()
        sizes: Counter[tuple[int, int]] = Counter()
        reordered = 0
        sent: defaultdict[tuple[int, int] | None, list[Move]] = defaultdict(list)
        batch = {move.key for move in self.batch}
        for move in self.moves:
            pairs = list(move.pairs)
            for pair in pairs:
                replicas[pair] += 1
                sizes[pair] += move.size
            reordered += not pairs
            if move.key in batch:
                sent[pairs[0] if pairs else None].append(move)
        for pair in sorted(replicas):
            source, target = pair
            actions.append(
                _reassign(
                    f"move {counted(replicas[pair], 'replica')} ({bytes_to_human(sizes[pair])}) "
                    f"from broker {source} to broker {target}",
                    sent[pair],
                )
            )
        if reordered:
            actions.append(
                _reassign(
                    f"put another replica of {counted(reordered, 'partition')} first, so that "
                    "each broker leads its share",
                    sent[None],
                )
            )
        return actions

    def elect(self) -> list[Action]:
        """Let the first replica lead, where another one does or will."""
        topics: defaultdict[int, defaultdict[str, list[int]]]
        topics = defaultdict(lambda: defaultdict(list))
        for (name, number), replicas in self.after.items():
            partition = self.partitions[name, number]
            first = replicas[0]
            moved = partition.moves or replicas != partition.replicas
            # One that loses its replica hands the lead to the first by itself.
            if partition.leader in replicas[1:] and (moved or first in partition.isr):
                topics[first][name].append(number)
        return [
            _action(
                Step.ELECT,
                f"let broker {broker} lead "
                f"{counted(sum(map(len, by_topic.values())), 'partition')} more",
                *({"topic": name, "partitions": each} for name, each in by_topic.items()),
                request={"election_type": PREFERRED},
            )
            for broker, by_topic in sorted(topics.items())
        ]

    def _move(self, key: Key, after: Replicas) -> Move:
        partition = self.partitions[key]
        sizes = {broker: there[key] for broker, there in self.current.sizes.items() if key in there}
        holders = tuple(each for each in partition.replicas if each not in partition.adding)
        return Move(key, partition.target, after, holders, sizes)

    def _is_limited(self, moves: Sequence[Move]) -> bool:
        """Whether all that these (of one topic) copy counts against the limit already."""
        config = self.current.topics[moves[0].key[0]].config
        sources, copies = _replicas(moves)
        listed = (config.get(name, ConfigValue("")).value for name in THROTTLED)
        return all(map(covers, listed, (sources, copies)))

    def _involved(self, moves: Iterable[Move]) -> list[int]:
        involved = {each for move in moves for each in (*move.holders, *move.copies)}
        return sorted(involved & {*self.serving})


def _by_topic(moves: Iterable[Move]) -> list[list[Move]]:
    topics: defaultdict[str, list[Move]] = defaultdict(list)
    for move in moves:
        topics[move.key[0]].append(move)
    return list(topics.values())


def _replicas(moves: Iterable[Move]) -> tuple[dict[int, Replicas], dict[int, Replicas]]:
    """Who sends and who gets copies, by the number of the partition."""
    return (
        {move.key[1]: move.holders for move in moves},
        {move.key[1]: move.copies for move in moves},
    )


def _reassign(sentence: str, moves: Iterable[Move]) -> Action:
    return _action(
        Step.REASSIGN,
        sentence,
        *(
            {
                "name": each[0].key[0],
                "partitions": [
                    {"partition_index": move.key[1], "replicas": list(move.after)} for move in each
                ],
            }
            for each in _by_topic(moves)
        ),
        # In case that a broker told us of replicas that are gone. Kafka before 4.1 lacks it.
        request={"allow_replication_factor_change": False},
    )


def _action(step: Step, sentence: str, *bodies: dict[str, Any], **options: Any) -> Action:
    return Action(sentence, API[step], bodies, {"step": step, **options})


def _name(key: Key) -> str:
    return f"{key[0]}-{key[1]}"


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _first_of(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
