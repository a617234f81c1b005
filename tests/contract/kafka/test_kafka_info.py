# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""kafka_info against a real cluster, whole and with a broker down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

Read = Callable[..., dict[str, Any]]


@pytest.fixture
def read(kafka: Any, run_module: Any) -> Read:
    def read(**options: Any) -> dict[str, Any]:
        answer: dict[str, Any] = run_module("kafka_info", {**kafka.login, **options})
        assert not answer["failed"], answer
        assert answer["changed"] is False
        return answer

    return read


def test_reads_all_of_a_cluster(kafka: Any, run_module: Any, read: Read) -> None:
    topic, user = kafka.name("topic"), kafka.name("user")
    for module, options in (
        ("kafka_topic", {"name": topic, "partitions": 2, "replication_factor": 3}),
        ("kafka_user", {"name": user, "quotas": {"consumer_byte_rate": 1000}}),
        (
            "kafka_acl",
            {
                "principal": f"User:{user}",
                "resource_type": "group",
                "resource_name": topic,
                "operations": ["read"],
            },
        ),
    ):
        assert run_module(module, {**kafka.login, **options})["changed"]
    said = read()
    assert [(each["id"], each["rack"], each["fenced"]) for each in said["brokers"]] == [
        (1, "rack1", False),
        (2, "rack2", False),
        (3, "rack3", False),
    ]
    assert said["quorum"]["leader"] in (1, 2, 3)
    assert [each["id"] for each in said["quorum"]["voters"]] == [1, 2, 3]
    assert max(each["lag"] for each in said["quorum"]["voters"]) < 50
    assert said["features"]["metadata.version"]["finalized"] > 20
    found = said["topics"][topic]
    assert [each["id"] for each in found["partitions"]] == [0, 1]
    assert sorted(found["partitions"][0]["isr"]) == [1, 2, 3]
    assert found["min_insync_replicas"] == 1 and found["config"] == {}
    assert said["partitions"]["offline"] == []
    assert said["users"][user] == {"credentials": {}, "quotas": {"consumer_byte_rate": 1000}}
    assert "SCRAM-SHA-512" in said["users"]["admin"]["credentials"]
    assert f"User:{user}" in [each["principal"] for each in said["acls"]]
    assert said["reassignments"] == []


def test_reads_only_what_was_asked_for(kafka: Any, run_module: Any, read: Read) -> None:
    topic = kafka.name("topic")
    run_module("kafka_topic", {**kafka.login, "name": topic})
    said = read(gather_subset=["topics", "quorum"], topics=[topic, "no-such-topic"])
    assert list(said["topics"]) == [topic]
    assert "quorum" in said
    assert "users" not in said and "acls" not in said and "brokers" not in said


def test_tells_what_a_lost_broker_costs(kafka: Any, run_module: Any, read: Read) -> None:
    names = {factor: kafka.name(f"of{factor}") for factor in (1, 2, 3)}
    declared = [
        {
            "name": name,
            "partitions": 3,
            "replication_factor": factor,
            "config": {"min.insync.replicas": min(factor, 2)},
        }
        for factor, name in names.items()
    ]
    assert run_module("kafka_topic", {**kafka.login, "topics": declared})["changed"]
    kafka.kill(2)
    try:
        said = read(gather_subset=["brokers", "quorum", "topics"], topics=list(names.values()))
        assert [each["id"] for each in said["brokers"] if each["fenced"]] == [2]
        partitions = said["partitions"]
        assert len(partitions["under_replicated"]) == 1 + 2 + 3
        assert partitions["offline"] == [
            f"{names[1]}-{each['id']}"
            for each in said["topics"][names[1]]["partitions"]
            if each["replicas"] == [2]
        ]
        under = [name for name in partitions["under_min_isr"] if name not in partitions["offline"]]
        assert len(under) == 2 and all(name.startswith(names[2]) for name in under)
        assert len([n for n in partitions["at_min_isr"] if n.startswith(names[3])]) == 3
        assert said["quorum"]["leader"] != 2
    finally:
        kafka.start(2)
    assert read(gather_subset=["topics"])["partitions"]["under_replicated"] == []


def test_tells_how_far_a_group_is_behind(kafka: Any, run_module: Any, read: Read) -> None:
    topic, group = kafka.name("topic"), kafka.name("group")
    declared = {"name": topic, "partitions": 2, "replication_factor": 3}
    assert run_module("kafka_topic", {**kafka.login, **declared})["changed"]
    producer = KafkaProducer(**kafka.client_options, acks="all")
    try:
        for number in range(10):
            producer.send(topic, b"event", partition=number % 2).get(timeout=30)
    finally:
        producer.close()

    def found() -> dict[str, Any]:
        said = read(gather_subset=["groups"])
        assert said["silent_brokers"] == []
        return dict(said["groups"][group])

    # As a job of Flink does: nobody is a member, and partitions are committed one by one.
    consumer = KafkaConsumer(**kafka.client_options, group_id=group, enable_auto_commit=False)
    try:
        first = TopicPartition(topic, 0)
        consumer.assign([first])
        consumer.commit({first: OffsetAndMetadata(3, "", -1)})
    finally:
        consumer.close()
    assert found() == {"state": "Empty", "topics": {topic: 2}, "lag": 2}
