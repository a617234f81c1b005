# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Where kafka_balance puts replicas: by hand, and over random clusters."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from itertools import combinations

import pytest
from ansible_collections.bss.platform.plugins.module_utils.kafka_balance import (
    Key,
    Layout,
    Replicas,
    _Exchange,
    balanced,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker


def brokers(*numbers: int, racks: int = 0) -> list[Broker]:
    """Brokers in turn in that many racks; none where it is 0."""
    return [Broker(each, "k", 9092, f"r{each % racks}" if racks else None) for each in numbers]


def random_layout(rng: random.Random, pool: list[int], most_replicas: int) -> Layout:
    layout: Layout = {}
    fewest = rng.randint(1, 2)
    for topic in ("a", "b", "c"):
        replicas = rng.randint(fewest, max(fewest, min(most_replicas, len(pool))))
        for number in range(rng.randint(0, 12)):
            layout[topic, number] = tuple(rng.sample(pool, replicas))
    return layout


def copies(before: Mapping[Key, Replicas], after: Mapping[Key, Replicas]) -> int:
    return sum(len({*after[key]} - {*before[key]}) for key in before)


def load(layout: Mapping[Key, Replicas], among: list[Broker]) -> list[int]:
    held = Counter(each for replicas in layout.values() for each in replicas)
    assert {*held} <= {each.number for each in among}
    return [held[each.number] for each in among]


def led(layout: Mapping[Key, Replicas], among: list[Broker]) -> list[int]:
    first = Counter(replicas[0] for replicas in layout.values())
    return [first[each.number] for each in among]


def squares(loads: tuple[int, ...]) -> int:
    return sum(each * each for each in loads)


def best(layout: Mapping[Key, Replicas], among: list[Broker]) -> tuple[int, int]:
    """The most even loads that there can be (as the sum of squares), and the fewest copies."""
    rack = {each.number: each.rack or each.number for each in among}
    ways: dict[tuple[int, ...], int] = {(0,) * len(among): 0}
    for replicas in layout.values():
        most = min(len(replicas), len({*rack.values()}))
        further: dict[tuple[int, ...], int] = {}
        for chosen in combinations(rack, len(replicas)):
            if len({rack[each] for each in chosen}) < most:
                continue
            cost = len({*chosen} - {*replicas})
            for loads, so_far in ways.items():
                now = tuple(
                    have + (each.number in chosen) for have, each in zip(loads, among, strict=True)
                )
                further[now] = min(further.get(now, so_far + cost), so_far + cost)
        ways = further
    return min((squares(loads), cost) for loads, cost in ways.items())


def test_a_new_broker_gets_its_share_and_no_other_replica_moves() -> None:
    before = {("t", number): ((1, 2), (2, 3), (3, 1))[number % 3] for number in range(12)}
    after = balanced(before, brokers(1, 2, 3, 4))
    assert load(after, brokers(1, 2, 3, 4)) == [6, 6, 6, 6]
    assert led(after, brokers(1, 2, 3, 4)) == [3, 3, 3, 3]
    assert copies(before, after) == 6
    assert sum(4 in replicas for replicas in after.values()) == 6


def test_an_emptied_broker_keeps_nothing_and_the_others_keep_what_they_have() -> None:
    before = {("t", 0): (4, 1), ("t", 1): (2, 4), ("t", 2): (3, 1), ("t", 3): (2, 3)}
    after = balanced(before, brokers(1, 2, 3))
    assert copies(before, after) == 2
    assert sorted(load(after, brokers(1, 2, 3))) == [2, 3, 3]
    assert {*after["t", 2]} == {3, 1} and {*after["t", 3]} == {2, 3}


def test_what_lies_well_is_not_touched() -> None:
    before = {("t", 0): (1, 2), ("t", 1): (2, 1), ("u", 0): (3, 1), ("u", 1): (3, 2)}
    assert balanced(before, brokers(1, 2, 3)) == before
    assert balanced({}, brokers(1, 2)) == {}


def test_leads_are_spread_without_a_copy() -> None:
    before: Layout = {("t", number): (1, 2) for number in range(4)}
    after = balanced(before, brokers(1, 2))
    assert copies(before, after) == 0 and led(after, brokers(1, 2)) == [2, 2]
    assert sum(after[key] != before[key] for key in before) == 2


def test_each_topic_is_spread_and_not_only_all_of_them_together() -> None:
    before: Layout = {(topic, number): (1,) for topic in "ab" for number in range(4)}
    after = balanced(before, brokers(1, 2))
    for topic in "ab":
        assert Counter(after[topic, number][0] for number in range(4)) == {1: 2, 2: 2}


def test_what_cannot_go_directly_goes_by_way_of_another_broker() -> None:
    """1 holds too many, and the one with room has each of them already."""
    before: Layout = {("t", 0): (1, 3), ("t", 1): (1, 3), ("t", 2): (1, 3), ("u", 0): (2,)}
    before |= {("u", 1): (2,), ("v", 0): (1,)}
    after = balanced(before, brokers(1, 2, 3))
    assert sorted(load(after, brokers(1, 2, 3))) == [3, 3, 3]


def test_what_would_as_well_have_stayed_stays() -> None:
    """Who ends up with one more than others is decided by what that costs."""
    before: Layout = {("a", 0): (1, 5), ("a", 1): (2, 1), ("b", 0): (2, 3, 1)}
    before |= {("b", 1): (4, 3, 5), ("b", 2): (4, 3, 5)}
    after = balanced(before, brokers(1, 2, 3))
    assert copies(before, after) == best(before, brokers(1, 2, 3))[1] == 5


def test_racks_come_before_equal_shares() -> None:
    """Broker 2 is alone in its rack: it has one replica of each partition."""
    among = [*brokers(1, 3, 5, racks=2), *brokers(2, racks=2)]
    before: Layout = {("t", number): (1, 3) for number in range(6)}
    after = balanced(before, among)
    assert all(2 in replicas for replicas in after.values())
    assert load(after, among) == [2, 2, 2, 6]


def test_more_replicas_than_racks_use_every_rack() -> None:
    after = balanced({("t", 0): (1, 3, 5)}, brokers(1, 2, 3, 5, racks=2))
    assert len(after["t", 0]) == 3 and 2 in after["t", 0]


def test_pinned_partitions_count_and_stay() -> None:
    before: Layout = {("t", number): (1,) for number in range(4)}
    pinned = [("t", 0), ("t", 1), ("t", 2)]
    after = balanced(before, brokers(1, 2), pinned)
    assert [after[key] for key in pinned] == [(1,)] * 3 and after["t", 3] == (2,)


def test_a_chain_whose_links_want_the_same_partition_is_undone() -> None:
    """From 1 to 3 it goes by way of 2 only, and only ("p", 0) can go: once, not twice."""
    layout: Layout = {("p", 0): (1,), ("q", 0): (1,), ("q", 1): (2,)}
    ways = {(1,): [(1, 2, (2,)), (2, 3, (3,))]}
    exchange = _Exchange(
        layout,
        dict(layout),
        [("p", 0)],
        [1, 2, 3],
        lambda replicas: ways.get(replicas, []),
        lambda home, replicas: int(home != replicas),
        lambda replicas: replicas,
    )
    exchange.level()
    assert layout == {("p", 0): (1,), ("q", 0): (1,), ("q", 1): (2,)}
    assert exchange.load == Counter({1: 2, 2: 1})


@pytest.mark.parametrize("seed", range(300))
def test_random_clusters(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.randint(2, 8)
    numbers = range(1, count + 1)
    among = brokers(*numbers, racks=rng.choice([0, count]))
    pool = [*numbers, *range(count + 1, count + 1 + rng.randint(0, 3))]
    before = random_layout(rng, rng.choice([pool, pool[: count // 2 + 1]]), min(count, 4))
    after = balanced(before, among)
    for key, replicas in after.items():
        assert len({*replicas}) == len(replicas) == len(before[key])
    loads = load(after, among)
    assert max(loads) - min(loads) <= 1
    # Who leads has to have a replica: with at least two of each, there is somebody to swap with.
    if all(len(replicas) > 1 for replicas in after.values()):
        leads = led(after, among)
        assert max(leads) - min(leads) <= 1
    assert balanced(after, among) == after


@pytest.mark.parametrize("seed", range(150))
def test_no_layout_is_more_even_or_needs_fewer_copies(seed: int) -> None:
    """Compared with every way there is, where the cluster is small enough to try them all."""
    rng = random.Random(seed)
    count = rng.randint(2, 4)
    among = brokers(*range(1, count + 1), racks=rng.choice([0, 2, count]))
    pool = list(range(1, count + 1 + rng.randint(0, 2)))
    before: Layout = {}
    for topic in "ab":
        replicas = rng.randint(1, min(3, count))
        for number in range(rng.randint(0, 4)):
            before[topic, number] = tuple(rng.sample(pool, replicas))
    after = balanced(before, among)
    assert (squares(tuple(load(after, among))), copies(before, after)) == best(before, among)
    assert balanced(after, among) == after
