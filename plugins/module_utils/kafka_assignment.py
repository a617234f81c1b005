# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Which brokers hold the replicas of a partition that gets more or fewer of them.

Pure. What is there stays as far as it can: a replica that is kept is not copied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import Partition


def resized(
    partition: Partition,
    replication_factor: int,
    brokers: Mapping[int, Broker],
    load: Counter[int],
) -> tuple[int, ...]:
    """The partition's replicas with that replication factor; ``load`` is kept up to date.

    ``load`` counts the replicas that each broker holds. There have to be enough brokers.
    """
    replicas = list(partition.target)
    while len(replicas) > replication_factor:
        gone = max(
            replicas, key=lambda broker: _dispensable(broker, replicas, partition, brokers, load)
        )
        replicas.remove(gone)
        load[gone] -= 1
    while len(replicas) < replication_factor:
        free = [each for each in brokers if each not in replicas and not brokers[each].fenced]
        new = min(free, key=lambda broker: _crowded(broker, replicas, partition, brokers, load))
        replicas.append(new)
        load[new] += 1
    return tuple(replicas)


def _dispensable(
    broker: int,
    replicas: Sequence[int],
    partition: Partition,
    brokers: Mapping[int, Broker],
    load: Counter[int],
) -> tuple[bool, bool, bool, int, int]:
    """Out of sync goes first, the leader last; then who shares a rack, then the busiest."""
    return (
        broker not in partition.isr,
        broker != partition.leader,
        _sharing(broker, [each for each in replicas if each != broker], brokers) > 0,
        load[broker],
        broker,
    )


def _crowded(
    broker: int,
    replicas: Sequence[int],
    partition: Partition,
    brokers: Mapping[int, Broker],
    load: Counter[int],
) -> tuple[int, int, int]:
    """A rack without a replica comes first, then the least busy; ties by turns."""
    order = sorted(brokers)
    turn = (order.index(broker) - partition.number) % len(order)
    return _sharing(broker, replicas, brokers), load[broker], turn


def _sharing(broker: int, replicas: Sequence[int], brokers: Mapping[int, Broker]) -> int:
    """How many of these replicas are in the broker's rack; a broker without one has its own."""
    known = brokers.get(broker)
    if known is None or known.rack is None:
        return 0
    racks = [brokers[each].rack for each in replicas if each in brokers]
    return racks.count(known.rack)
