# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker
from ansible_collections.bss.platform.plugins.module_utils.kafka_gate import (
    State,
    lost_without,
    not_whole,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import (
    MIN_INSYNC,
    ConfigValue,
    Partition,
    Topic,
)

NODES = (1, 2, 3)


def voter(number: int, lag: int = 0, behind_ms: int | None = 100) -> dict[str, Any]:
    return {"id": number, "lag": lag, "behind_ms": behind_ms}


def topic(
    name: str,
    isr: Sequence[int],
    replicas: Sequence[int] = NODES,
    least: int = 2,
    removing: Sequence[int] = (),
) -> Topic:
    partition = Partition(0, isr[0], tuple(replicas), tuple(isr), removing=tuple(removing))
    return Topic(name, (partition,), config={MIN_INSYNC: ConfigValue(str(least))})


def state(
    *topics: Topic,
    fenced: Sequence[int] = (),
    leader: int = 1,
    voters: Sequence[dict[str, Any]] | None = None,
) -> State:
    return State(
        tuple(Broker(each, f"k{each}", 9092, fenced=each in fenced) for each in NODES),
        {"leader": leader, "voters": voters or [voter(each) for each in NODES]},
        {each.name: each for each in topics},
    )


def test_a_whole_cluster_misses_nothing() -> None:
    assert not_whole(state(topic("t", NODES)), NODES, NODES) == []


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (state(fenced=[2]), "broker 2 does not serve"),
        (state(leader=-1), "the controllers have no leader"),
        (state(voters=[voter(1), voter(2)]), "controller 3 is no voter"),
        (state(voters=[voter(1), voter(2), voter(3, lag=51)]), "controller 3 is 51 records behind"),
        (
            state(voters=[voter(1), voter(2), voter(3, behind_ms=3001)]),
            "controller 3 is 0 records behind",
        ),
        (
            state(voters=[voter(1), voter(2), voter(3, behind_ms=None)]),
            "controller 3 is 0 records behind",
        ),
        (state(topic("t", (1, 2))), "replicas are not in sync of t-0"),
    ],
)
def test_what_a_cluster_misses(broken: State, said: str) -> None:
    assert not_whole(broken, NODES, NODES) == [said]


def test_a_broker_that_never_registered_is_missed() -> None:
    assert not_whole(state(), (*NODES, 4), NODES) == ["broker 4 does not serve"]


def test_a_replica_that_is_moving_away_is_not_missed() -> None:
    moving = topic("t", (1, 2), removing=[3])
    assert not_whole(state(moving), NODES, NODES) == []


def test_a_voter_that_nobody_declared_counts() -> None:
    stranger = state(voters=[voter(1), voter(2), voter(3), voter(4, lag=51)])
    assert not_whole(stranger, NODES, NODES) == ["controller 4 is 51 records behind"]


def test_what_a_node_lacks_itself_does_not_keep_it_running() -> None:
    sick = state(
        topic("t", (1, 2)),
        topic("u", (2, 3)),
        fenced=[3],
        voters=[voter(1), voter(2), voter(3, 51)],
    )
    assert not_whole(sick, NODES, NODES, apart_from=3) == ["replicas are not in sync of u-0"]
    assert lost_without(sick.topics, 3) == [
        "without broker 3 these take no acknowledged writes: u-0"
    ]
    assert lost_without(state(topic("t", (1, 2))).topics, 3) == []


def test_many_partitions_are_named_in_part() -> None:
    topics = [topic(f"t{number}", (1, 2)) for number in range(7)]
    assert not_whole(state(*topics), NODES, NODES) == [
        "replicas are not in sync of t0-0, t1-0, t2-0, t3-0, t4-0 and 2 more"
    ]


def test_a_broker_may_stop_where_enough_are_left() -> None:
    assert lost_without(state(topic("t", NODES)).topics, 2) == []


def test_a_broker_may_not_stop_where_too_few_are_left() -> None:
    tight = state(topic("t", (1, 2), replicas=(1, 2)), topic("u", NODES, least=3))
    assert lost_without(tight.topics, 2) == [
        "without broker 2 these take no acknowledged writes: t-0, u-0"
    ]
    assert lost_without(tight.topics, 3) == [
        "without broker 3 these take no acknowledged writes: u-0"
    ]
