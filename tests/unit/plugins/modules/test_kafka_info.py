# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_info makes of Kafka's answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    CannotConnect,
    RequestRefused,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import (
    MIN_INSYNC,
    ConfigValue,
    Partition,
    Topic,
)
from ansible_collections.bss.platform.plugins.modules import kafka_info

RunKafka = Callable[..., dict[str, Any]]


def test_partitions_are_told_apart_by_what_is_wrong() -> None:
    partitions = (
        Partition(0, 1, (1, 2, 3), (1, 2, 3)),
        Partition(1, 1, (1, 2, 3), (1, 2)),
        Partition(2, 1, (1, 2, 3), (1,)),
        Partition(3, -1, (1, 2, 3), ()),
        Partition(4, 1, (1, 2, 3, 4), (1, 2, 3), adding=(4,)),
    )
    topic = Topic("t", partitions, config={MIN_INSYNC: ConfigValue("2")})
    assert kafka_info.unwell([topic]) == {
        "under_replicated": ["t-1", "t-2", "t-3"],
        "at_min_isr": ["t-1"],
        "under_min_isr": ["t-2", "t-3"],
        "offline": ["t-3"],
    }


def test_as_many_replicas_as_have_to_be_in_sync_is_not_at_the_edge() -> None:
    """Two of two in sync is all there can be."""
    topic = Topic("t", (Partition(0, 1, (1, 2), (1, 2)),), config={MIN_INSYNC: ConfigValue("2")})
    assert not any(kafka_info.unwell([topic]).values())


def test_main_tells_how_far_controllers_are_behind_the_leader(run_kafka: RunKafka) -> None:
    voters = [
        {"replica_id": 1, "log_end_offset": 90, "last_caught_up_timestamp": 1000},
        {"replica_id": 2, "log_end_offset": 101, "last_caught_up_timestamp": 5000},
        {"replica_id": 3, "log_end_offset": 0, "last_caught_up_timestamp": -1},
    ]
    partition = {
        "error_code": 0,
        "leader_id": 2,
        "leader_epoch": 7,
        "high_watermark": 100,
        "current_voters": voters,
        "observers": [],
    }
    script = [("DescribeQuorum", {"topics": [{"partitions": [partition]}]})]
    quorum = run_kafka(kafka_info, script, {"gather_subset": ["quorum"]})["quorum"]
    assert (quorum["leader"], quorum["epoch"]) == (2, 7)
    assert [(each["lag"], each["behind_ms"]) for each in quorum["voters"]] == [
        (10, 4000),
        (0, 0),
        (100, None),
    ]


def test_main_reassignments_of_all_topics_where_only_some_are_read(run_kafka: RunKafka) -> None:
    move = {"partition_index": 3, "replicas": [1, 2], "adding_replicas": [2]}
    other = {"name": "other", "partitions": [{**move, "removing_replicas": []}]}
    script = [
        ('Metadata {"name": "t"}', {"topics": [{"name": "t", "error_code": 3}]}),
        ("ListPartitionReassignments", {"topics": [other]}),
    ]
    subsets = {"gather_subset": ["topics", "reassignments"], "topics": ["t"]}
    answer = run_kafka(kafka_info, script, subsets)
    assert answer["topics"] == {}
    assert answer["reassignments"] == [
        {"topic": "other", "partition": 3, "replicas": [1, 2], "adding": [2], "removing": []}
    ]


def partition(number: int, leader: int) -> dict[str, Any]:
    return {"partition_index": number, "leader_id": leader}


def committed(number: int, offset: int, error: int = 0) -> dict[str, Any]:
    return {"partition_index": number, "committed_offset": offset, "error_code": error}


def test_main_tells_how_far_groups_are_behind(run_kafka: RunKafka) -> None:
    """Offsets come from who coordinates the group, by the topic's id; ends from who leads."""
    orders, payments = "1" * 32, "2" * 32
    topics = [
        {"name": "orders", "topic_id": orders, "partitions": [partition(0, 1), partition(1, 2)]},
        {"name": "payments", "topic_id": payments, "partitions": [partition(0, -1)]},
    ]
    brokers = [
        {"broker_id": number, "host": f"k{number}", "port": 9092, "rack": None, "is_fenced": fenced}
        for number, fenced in ((1, False), (2, False), (3, True))
    ]
    offsets = [
        {"topic_id": orders, "partitions": [committed(0, 90), committed(1, 205)]},
        {"topic_id": "3" * 32, "partitions": [committed(0, 1)]},
    ]
    script = [
        ("Metadata", {"topics": topics}),
        ("DescribeCluster", {"cluster_id": "c", "brokers": brokers}),
        (
            "ListGroups to k1",
            {
                "groups": [
                    {"group_id": "billing", "protocol_type": "consumer", "group_state": "Stable"},
                    {"group_id": "connect", "protocol_type": "connect", "group_state": "Stable"},
                ]
            },
        ),
        (
            'OffsetFetch to k1 {"group_id": "billing"}',
            {"groups": [{"group_id": "billing", "topics": offsets}]},
        ),
        ("ListGroups to k2", {"groups": [{"group_id": "jobs", "protocol_type": ""}]}),
        (
            'OffsetFetch to k2 {"group_id": "jobs"}',
            {
                "groups": [
                    {
                        "group_id": "jobs",
                        "topics": [
                            {"name": "payments", "partitions": [committed(0, 1)]},
                            {"name": "orders", "partitions": [committed(0, -1)]},
                        ],
                    }
                ]
            },
        ),
        (
            'ListOffsets to k1 {"name": "orders"}',
            {
                "topics": [
                    {
                        "name": "orders",
                        "partitions": [{"partition_index": 0, "error_code": 0, "offset": 100}],
                    }
                ]
            },
        ),
        (
            'ListOffsets to k2 {"name": "orders"}',
            {
                "topics": [
                    {
                        "name": "orders",
                        "partitions": [{"partition_index": 1, "error_code": 0, "offset": 200}],
                    }
                ]
            },
        ),
    ]
    answer = run_kafka(kafka_info, script, {"gather_subset": ["groups"]})
    assert answer["silent_brokers"] == []
    assert answer["groups"] == {
        "billing": {"state": "Stable", "topics": {"orders": 10}, "lag": 10},
        "jobs": {"state": "Unknown", "topics": {"payments": None}, "lag": None},
    }


def test_main_a_broker_that_is_lost_hides_no_other(run_kafka: RunKafka) -> None:
    brokers = [
        {"broker_id": number, "host": f"k{number}", "port": 9092, "rack": None, "is_fenced": False}
        for number in (1, 2)
    ]
    orders = {"name": "orders", "topic_id": "1" * 32, "partitions": [partition(0, 1)]}
    listed = {"group_id": "billing", "protocol_type": "consumer", "group_state": "Stable"}
    offsets = [{"name": "orders", "partitions": [committed(0, 90)]}]
    script = [
        ("Metadata", {"topics": [orders]}),
        ("DescribeCluster", {"cluster_id": "c", "brokers": brokers}),
        ("ListGroups to k1", CannotConnect("k1")),
        ("ListGroups to k2", {"groups": [listed]}),
        ("OffsetFetch to k2", {"groups": [{"group_id": "billing", "topics": offsets}]}),
        ("ListOffsets to k1", CannotConnect("k1")),
    ]
    answer = run_kafka(kafka_info, script, {"gather_subset": ["groups"]})
    assert answer["silent_brokers"] == [1]
    assert answer["groups"] == {
        "billing": {"state": "Stable", "topics": {"orders": None}, "lag": None}
    }


def test_main_without_groups_asks_for_no_offsets(run_kafka: RunKafka) -> None:
    broker = {"broker_id": 1, "host": "k1", "port": 9092, "rack": None, "is_fenced": False}
    script = [
        ("Metadata", {"topics": []}),
        ("DescribeCluster", {"cluster_id": "c", "brokers": [broker]}),
        ("ListGroups to k1", {"groups": []}),
    ]
    assert run_kafka(kafka_info, script, {"gather_subset": ["groups"]})["groups"] == {}


def test_main_tells_what_it_may_not_read(run_kafka: RunKafka) -> None:
    script = [("DescribeAcls", RequestRefused("Kafka refused DescribeAcls for app."))]
    answer = run_kafka(kafka_info, script, {"gather_subset": ["acls"]})
    assert answer["failed"] and answer["msg"] == "Kafka refused DescribeAcls for app."


def test_documentation_has_the_options_of_the_module() -> None:
    documented = yaml.safe_load(kafka_info.DOCUMENTATION)["options"]
    fields = ("type", "elements", "choices", "required", "default")
    assert {
        name: {field: each[field] for field in fields if field in each}
        for name, each in documented.items()
    } == {name: kafka_info.ARGUMENT_SPEC[name] for name in documented}


@pytest.mark.parametrize(
    "name", ["users", "acls", "topics", "quorum", "partitions", "groups", "silent_brokers"]
)
def test_what_is_returned_is_documented(name: str) -> None:
    assert name in yaml.safe_load(kafka_info.RETURN)
