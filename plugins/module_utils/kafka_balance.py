# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Which replicas to move so that a set of brokers, and no other, holds equal shares.

Pure. What lies well stays: each replica that is moved has to be copied.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TypeAlias

from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker

Key: TypeAlias = tuple[str, int]
"""A partition: the name of its topic, and its number."""
Replicas: TypeAlias = tuple[int, ...]
"""The brokers that hold a partition, the preferred leader first."""
Layout: TypeAlias = dict[Key, Replicas]


def balanced(
    present: Mapping[Key, Replicas], brokers: Collection[Broker], pinned: Collection[Key] = ()
) -> Layout:
    """Where the partitions belong, by the fewest moves.

    No replica lies outside ``brokers``, of which there have to be enough; a partition's lie in as
    many racks as they can; the brokers' numbers of replicas differ by one at most, as far as the
    racks let them, and so do those of preferred leaders, as far as others have replicas that could
    lead. ``pinned`` partitions count and stay.
    """
    racks = {each.number: each.number if each.rack is None else each.rack for each in brokers}
    layout = dict(present)
    free = [key for key in sorted(layout) if key not in pinned]
    load = Counter(broker for replicas in layout.values() for broker in replicas)
    for key in free:
        layout[key] = _moved_in(key, layout[key], racks, load)
    for key in free:
        layout[key] = _spread(layout[key], racks, load)
    _Exchange(layout, present, free, racks, _replaced(racks), _strangers, lambda held: held).level()
    _Exchange(layout, present, free, racks, _led, _touched, lambda held: held[:1]).level()
    return layout


def _moved_in(
    key: Key, replicas: Replicas, racks: Mapping[int, int | str], load: Counter[int]
) -> Replicas:
    """Replicas outside go to racks that have none, then to the brokers with the fewest."""
    order = sorted(racks)
    held = list(replicas)
    for place, broker in enumerate(replicas):
        if broker in racks:
            continue
        taken = [racks[each] for each in held if each in racks]
        held[place] = min(
            (each for each in order if each not in held),
            # Ties by turns, so that a topic's partitions do not all go to one.
            key=lambda each: (
                taken.count(racks[each]),
                load[each],
                (order.index(each) - key[1]) % len(order),
            ),
        )
        load[broker] -= 1
        load[held[place]] += 1
    return tuple(held)


def _spread(replicas: Replicas, racks: Mapping[int, int | str], load: Counter[int]) -> Replicas:
    """Of replicas that share a rack, those of the busiest brokers go to racks that have none."""
    held = list(replicas)
    while len({racks[each] for each in held}) < _most_racks(held, racks):
        taken = [racks[each] for each in held]
        gone = max(
            (each for each in held if taken.count(racks[each]) > 1),
            key=lambda each: (load[each], each),
        )
        new = min(
            (each for each in racks if racks[each] not in taken),
            key=lambda each: (load[each], each),
        )
        held[held.index(gone)] = new
        load[gone] -= 1
        load[new] += 1
    return tuple(held)


def _most_racks(replicas: Collection[int], racks: Mapping[int, int | str]) -> int:
    return min(len(replicas), len(set(racks.values())))


Offer: TypeAlias = tuple[int, int, Replicas]
"""From a broker, to a broker, and the replicas of a partition once that is done."""


def _replaced(racks: Mapping[int, int | str]) -> Callable[[Replicas], Iterator[Offer]]:
    """Each way to move one replica that leaves the partition in as many racks."""

    def offers(replicas: Replicas) -> Iterator[Offer]:
        most = _most_racks(replicas, racks)
        for place, source in enumerate(replicas):
            for target in racks:
                changed = (*replicas[:place], target, *replicas[place + 1 :])
                if target not in replicas and len({racks[each] for each in changed}) >= most:
                    yield source, target, changed

    return offers


def _led(replicas: Replicas) -> Iterator[Offer]:
    """Each way to put another replica first."""
    for place in range(1, len(replicas)):
        first, *others = replicas
        others[place - 1] = first
        yield first, replicas[place], (replicas[place], *others)


def _strangers(home: Replicas, replicas: Replicas) -> int:
    """Replicas that have to be copied."""
    return len({*replicas} - {*home})


def _touched(home: Replicas, replicas: Replicas) -> int:
    return int(home != replicas)


class _Exchange:
    """Brokers that hand each other shares of the load until they have equal ones.

    What one cannot hand to another directly goes by way of others. The cheapest such chain is
    taken each time, counting what a change costs against the layout that there was; a chain that
    takes back an earlier change is cheaper for it. So the whole costs as little as can be.
    """

    def __init__(
        self,
        layout: Layout,
        home: Mapping[Key, Replicas],
        free: Iterable[Key],
        brokers: Collection[int],
        offers: Callable[[Replicas], Iterable[Offer]],
        price: Callable[[Replicas, Replicas], int],
        loaded: Callable[[Replicas], Iterable[int]],
    ) -> None:
        """``offers`` tells what can be done with a partition, ``loaded`` on whom it counts."""
        self.layout = layout
        self.home = home
        self.brokers = sorted(brokers)
        self.offers = offers
        self.price = price
        self.loaded = loaded
        self.load: Counter[int] = Counter()
        self.topic_load: Counter[tuple[str, int]] = Counter()
        self.offered: defaultdict[tuple[int, int], defaultdict[int, dict[Key, Replicas]]]
        self.offered = defaultdict(lambda: defaultdict(dict))
        for (topic, _number), replicas in layout.items():
            self._count(topic, replicas, 1)
        for key in free:
            self._offer(key)

    def level(self) -> None:
        stuck: set[tuple[int, int]] = set()
        while (chain := self._cheapest_chain(stuck)) is not None:
            if self._do(chain):
                stuck.clear()
            else:
                stuck.add((chain[0], chain[-1]))

    def _cheapest_chain(self, stuck: Collection[tuple[int, int]]) -> Replicas | None:
        """The brokers by way of which one share goes from a busy one to a less busy one."""
        costs = {
            pair: min(cost for cost, partitions in by_cost.items() if partitions)
            for pair, by_cost in self.offered.items()
            if any(by_cost.values())
        }
        for source in sorted(self.brokers, key=lambda each: (-self.load[each], each)):
            chains: dict[int, tuple[int, Replicas]] = {source: (0, (source,))}
            changed = True
            while changed:
                changed = False
                for (giver, taker), cost in costs.items():
                    if giver not in chains or taker in chains[giver][1]:
                        continue
                    total = chains[giver][0] + cost
                    if taker not in chains or total < chains[taker][0]:
                        chains[taker] = total, (*chains[giver][1], taker)
                        changed = True
            targets = [
                each
                for each, (cost, _chain) in chains.items()
                # By one is as good either way, so it is done where it takes back a change.
                if self.load[source] - self.load[each] >= (2 if cost >= 0 else 1)
                and (source, each) not in stuck
            ]
            if targets:
                target = min(targets, key=lambda each: (chains[each][0], self.load[each], each))
                return chains[target][1]
        return None

    def _do(self, chain: Replicas) -> bool:
        """Whether it could be done: a link may want the partition that an earlier one changed."""
        undo: list[tuple[Key, Replicas]] = []
        for pair in pairwise(chain):
            by_cost = self.offered[pair]
            cost = min((cost for cost, partitions in by_cost.items() if partitions), default=None)
            if cost is None:
                for key, replicas in reversed(undo):
                    self._change(key, replicas)
                return False
            key = max(by_cost[cost], key=lambda each: (self._surplus(each[0], *pair), each))
            undo.append((key, self.layout[key]))
            self._change(key, by_cost[cost][key])
        return True

    def _surplus(self, topic: str, source: int, target: int) -> int:
        """How many more of this topic's shares one has: each topic is to be spread as well."""
        return self.topic_load[topic, source] - self.topic_load[topic, target]

    def _change(self, key: Key, replicas: Replicas) -> None:
        for pair, cost, _replicas in self._offers_of(key):
            del self.offered[pair][cost][key]
        self._count(key[0], self.layout[key], -1)
        self.layout[key] = replicas
        self._count(key[0], replicas, 1)
        self._offer(key)

    def _count(self, topic: str, replicas: Replicas, by: int) -> None:
        for broker in self.loaded(replicas):
            self.load[broker] += by
            self.topic_load[topic, broker] += by

    def _offer(self, key: Key) -> None:
        for pair, cost, replicas in self._offers_of(key):
            self.offered[pair][cost][key] = replicas

    def _offers_of(self, key: Key) -> Iterator[tuple[tuple[int, int], int, Replicas]]:
        home, now = self.home[key], self.layout[key]
        for source, target, replicas in self.offers(now):
            cost = self.price(home, replicas) - self.price(home, now)
            yield (source, target), cost, replicas
