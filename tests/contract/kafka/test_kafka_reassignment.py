# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""kafka_reassignment against a real cluster that gets a fourth broker and gives it up again.

The module moves the replicas of all topics, those of other tests too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.modules import kafka_node, kafka_reassignment
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource

Spread = Callable[..., dict[str, Any]]
NEW = 4
ALL = [1, 2, 3, NEW]
RECORDS = 3600
"""Of 10 kB: what a limit holds up has to be more than the first fetches bring."""
OLD = [1, 2, 3]


@pytest.fixture(scope="module", autouse=True)
def fourth_broker(kafka: Any) -> Iterator[None]:
    kafka.add(NEW)
    yield
    for module, options in (
        (kafka_reassignment, {"brokers": OLD}),
        (kafka_node, {"number": NEW, "state": "absent"}),
    ):
        defaults = {name: each.get("default") for name, each in module.ARGUMENT_SPEC.items()}
        module.run({**defaults, **kafka.login, **options}, check_mode=False)
        if module is kafka_reassignment:
            kafka.kill(NEW)


@pytest.fixture
def spread(kafka: Any, run_module: Any) -> Spread:
    def spread(brokers: list[int], check: bool = False, **options: Any) -> dict[str, Any]:
        args = {**kafka.login, "brokers": brokers, **options}
        answer: dict[str, Any] = run_module("kafka_reassignment", args, check=check, diff=True)
        return answer

    return spread


@pytest.fixture
def topic(kafka: Any, run_module: Any) -> str:
    """Twelve partitions with records, two replicas of each."""
    name: str = kafka.name("wide")
    wanted = {"name": name, "partitions": 12, "replication_factor": 2}
    assert run_module("kafka_topic", {**kafka.login, **wanted})["changed"]
    producer = KafkaProducer(**kafka.client_options, acks="all", batch_size=200_000)
    for number in range(RECORDS):
        producer.send(name, b"x" * 10_000, partition=number % 12)
    producer.flush()
    producer.close()
    return name


def layout(kafka: Any) -> dict[tuple[str, int], tuple[int, list[int]]]:
    """Leader and replicas of every partition."""
    with kafka.admin() as admin:
        return {
            (topic["name"], each["partition_index"]): (each["leader_id"], each["replica_nodes"])
            for topic in admin.describe_topics()
            for each in topic["partitions"]
        }


def shares(kafka: Any, brokers: list[int]) -> tuple[list[int], list[int]]:
    """How many replicas those brokers hold, and how many partitions they lead, in order."""
    there = layout(kafka).values()
    held = Counter(broker for _leader, replicas in there for broker in replicas)
    led = Counter(leader for leader, _replicas in there)
    assert {*held} <= {*brokers}
    return sorted(held[each] for each in brokers), sorted(led[each] for each in brokers)


def limits(kafka: Any) -> list[str]:
    """Settings that limit reassignments, on any topic or broker."""
    with kafka.admin() as admin:
        topics = [ConfigResource("TOPIC", each["name"]) for each in admin.describe_topics()]
        brokers = [ConfigResource("BROKER", str(each)) for each in ALL]
        said = admin.describe_configs([*topics, *brokers], config_filter="all")
    return [
        f"{kind} {name}: {setting}"
        for kind, of_kind in said.items()
        for name, settings in of_kind.items()
        for setting, each in settings.items()
        if "replication.throttled" in setting and each["config_source"].startswith("DYNAMIC")
    ]


def count_records(kafka: Any, topic: str) -> int:
    consumer = KafkaConsumer(**kafka.client_options)
    ends = consumer.end_offsets([TopicPartition(topic, number) for number in range(12)])
    consumer.close()
    return sum(ends.values())


def test_a_new_broker_gets_its_share_and_gives_it_back(
    kafka: Any, spread: Spread, topic: str
) -> None:
    for brokers in (ALL, OLD):
        before = layout(kafka)
        predicted = spread(brokers, check=True, throttle=100_000_000)
        assert predicted["changed"] and predicted["requests"] == [], predicted
        assert layout(kafka) == before
        done = spread(brokers, throttle=100_000_000)
        assert not done["failed"], done
        for part in ("changed", "plan", "diff"):
            assert done[part] == predicted[part]
        assert done["left"] == {"partitions": 0, "bytes": 0}
        held, led = shares(kafka, brokers)
        assert held[-1] - held[0] <= 1 and led[-1] - led[0] <= 1
        assert limits(kafka) == []
        again = spread(brokers, throttle=100_000_000)
        assert (again["changed"], again["plan"], again["requests"]) == (False, [], [])
    assert count_records(kafka, topic) == RECORDS
    assert kafka.out_of_sync() == []


def test_bytes_are_told(spread: Spread, topic: str) -> None:
    plan = spread(ALL, check=True)["plan"]
    assert any("MB) from broker" in each and each.endswith("to broker 4") for each in plan), plan


def test_it_goes_on_slice_by_slice(kafka: Any, spread: Spread, topic: str) -> None:
    """Each tells what is left, until nothing is; a later one may change the limit."""
    first = spread(ALL, timeout=0, throttle=200_000)
    assert first["changed"] and first["left"]["partitions"] > 0
    looked = spread(ALL, timeout=0, throttle=200_000)
    assert (looked["changed"], looked["requests"]) == (False, []), looked
    assert 0 < looked["left"]["bytes"] <= first["left"]["bytes"]
    faster = spread(ALL, timeout=0, throttle=50_000_000)
    assert len(faster["requests"]) == len(ALL)
    left = [faster["left"]]
    while left[-1]["partitions"] and len(left) < 100:
        left.append(spread(ALL, timeout=0, throttle=50_000_000)["left"])
    partitions = [each["partitions"] for each in left]
    assert partitions == sorted(partitions, reverse=True) and partitions[-1] == 0
    assert limits(kafka) == []
    assert not spread(ALL, throttle=50_000_000)["changed"]
    assert not spread(OLD)["failed"]


def test_an_interrupted_run_is_joined_and_its_limit_taken_off(
    kafka: Any, spread: Spread, topic: str
) -> None:
    first = spread(ALL, throttle=100_000, timeout=1)
    assert first["failed"] and "Run the same task again to join it" in first["msg"]
    assert limits(kafka) != []
    second = spread(ALL)
    assert not second["failed"], second
    assert any(each.startswith("wait for ") for each in second["plan"])
    assert limits(kafka) == []
    held, led = shares(kafka, ALL)
    assert held[-1] - held[0] <= 1 and led[-1] - led[0] <= 1
    assert not spread(OLD)["failed"]


def test_what_is_on_its_way_elsewhere_is_taken_back(kafka: Any, spread: Spread, topic: str) -> None:
    spread(OLD)
    started = spread(ALL, throttle=100_000, timeout=0)
    assert started["left"]["partitions"] > 0
    done = spread(OLD)
    assert not done["failed"], done
    assert done["plan"][0].startswith("take back the reassignment of "), done["plan"]
    shares(kafka, OLD)
    assert limits(kafka) == []
    assert count_records(kafka, topic) == RECORDS


def test_all_reasons_are_told_at_once_and_nothing_is_changed(
    kafka: Any, run_module: Any, spread: Spread
) -> None:
    topic = kafka.name("thrice")
    wanted = {"name": topic, "partitions": 1, "replication_factor": 3}
    run_module("kafka_topic", {**kafka.login, **wanted})
    before = layout(kafka)
    answer = spread([1, 7], throttle=0)
    assert answer["failed"]
    assert "broker 7: the cluster does not know it" in answer["msg"]
    assert "3 replicas of each partition of" in answer["msg"]
    assert "throttle 0" in answer["msg"]
    assert layout(kafka) == before
