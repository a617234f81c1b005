# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_node plans and refuses, and what its main() sends."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import pytest
import yaml
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker
from ansible_collections.bss.platform.plugins.module_utils.kafka_node_plan import Current, plan
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import Partition, Topic
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import ConnectionLost
from ansible_collections.bss.platform.plugins.modules import kafka_node

RunKafka = Callable[..., dict[str, Any]]
DIRECTORY = "00000000-0000-0000-0000-0000000000d4"


def current(
    brokers: Collection[int] = (1, 2, 3, 4),
    fenced: Collection[int] = (4,),
    voters: Collection[int] = (1, 2, 3, 4),
    behind: Collection[int] = (4,),
    kraft: int = 1,
    replicas: Sequence[int] = (),
) -> Current:
    """A cluster of four nodes; 4 is stopped. ``replicas`` are those of topic t."""
    return Current(
        "c",
        tuple(Broker(each, f"k{each}", 9092, fenced=each in fenced) for each in brokers),
        {
            "leader": 1,
            "voters": [
                {
                    "id": each,
                    "directory_id": DIRECTORY,
                    "lag": 0,
                    "behind_ms": 9000 if each in behind else 100,
                }
                for each in voters
            ],
        },
        {"kraft.version": {"finalized": kraft}},
        {"t": Topic("t", (Partition(0, 1, tuple(replicas), ()),))} if replicas else {},
    )


def refused(there: Current, number: int = 4) -> list[str]:
    decided = plan(there, number)
    assert decided.refusals
    return [str(each) for each in decided.refusals]


def test_a_stopped_node_loses_its_vote_and_its_registration() -> None:
    decided = plan(current(), 4)
    assert not decided.refusals
    assert decided.sentences == [
        f"take controller 4 (directory {DIRECTORY}) out of the quorum",
        "unregister broker 4 (k4:9092)",
    ]
    vote, registration = (action.parameters[0] for action in decided.actions)
    assert vote == {"cluster_id": "c", "voter_id": 4, "voter_directory_id": DIRECTORY}
    assert registration == {"broker_id": 4}
    assert list(decided.diff["before"]["4"]) == ["voter", "broker"]
    assert decided.diff["after"] == {}


@pytest.mark.parametrize(
    ("there", "sentences"),
    [
        (current(voters=(1, 2, 3)), ["unregister broker 4 (k4:9092)"]),
        (
            current(brokers=(1, 2, 3), fenced=()),
            [f"take controller 4 (directory {DIRECTORY}) out of the quorum"],
        ),
        (current(brokers=(1, 2, 3), fenced=(), voters=(1, 2, 3)), []),
    ],
)
def test_only_what_is_there_is_removed(there: Current, sentences: list[str]) -> None:
    decided = plan(there, 4)
    assert not decided.refusals and decided.sentences == sentences
    assert decided.changed == bool(sentences)


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (current(fenced=()), "stop it for good first"),
        (current(behind=()), "it takes part in the controllers' quorum"),
        (
            current(behind=(2, 3, 4)),
            "controller 2 is 0 records behind; controller 3 is 0 records behind",
        ),
        (current(voters=(4,)), "controller 4 is the only voter"),
        (current(replicas=(1, 4)), "There is: 1 replica on it, of t"),
        (current(kraft=0), "such a quorum cannot be changed while it runs"),
    ],
)
def test_refusals(there: Current, message: str) -> None:
    (told,) = refused(there)
    assert message in told and told.startswith("node 4 absent: ")


def test_two_of_the_three_that_are_left_are_a_majority() -> None:
    assert not plan(current(behind=(3, 4)), 4).refusals


def test_a_static_quorum_is_no_matter_to_a_broker() -> None:
    assert not plan(current(voters=(1, 2, 3), kraft=0), 4).refusals


def test_all_reasons_are_told_at_once() -> None:
    assert len(refused(current(fenced=(), behind=(), replicas=(4,), kraft=0))) == 4


def test_topics_are_named_in_part() -> None:
    topic = Topic("t", (Partition(0, 1, (4,), ()), Partition(1, 1, (1, 4), ())))
    topics = {f"t{number}": replace(topic, name=f"t{number}") for number in range(7)}
    (told,) = refused(replace(current(), topics=topics))
    assert "14 replicas on it, of t0, t1, t2, t3, t4 and 2 more" in told


# main()


def reads(*fenced: int, brokers: Sequence[int] = (1, 4)) -> list[tuple[str, dict[str, Any]]]:
    """What a cluster of these brokers tells, of which 1 is the only voter."""
    known = [
        {"broker_id": n, "host": f"k{n}", "port": 9092, "rack": None, "is_fenced": n in fenced}
        for n in brokers
    ]
    partition = {
        "error_code": 0,
        "leader_id": 1,
        "leader_epoch": 1,
        "high_watermark": 9,
        "current_voters": [{"replica_id": 1, "last_caught_up_timestamp": 1, "log_end_offset": 9}],
        "observers": [],
    }
    return [
        ("DescribeCluster", {"cluster_id": "c", "brokers": known}),
        ("DescribeQuorum", {"topics": [{"partitions": [partition]}]}),
        ("Metadata", {"topics": []}),
    ]


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No features, and time that passes only while something sleeps."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(kafka_node, "read_features", lambda session: {})
    monkeypatch.setattr(kafka_node.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(kafka_node.time, "sleep", sleep)


ASKED = {"number": 4, "state": "absent"}
UNREGISTER = ('UnregisterBroker {"broker_id": 4}', {"error_code": 0})


def test_main_waits_until_the_node_is_fenced_and_then_until_it_is_gone(
    run_kafka: RunKafka,
) -> None:
    script = [*reads(), *reads(4), UNREGISTER, *reads(4), *reads(brokers=[1])]
    answer = run_kafka(kafka_node, script, ASKED)
    assert answer["changed"]
    assert [json.loads(each.partition(" ")[2]) for each in answer["requests"]] == [{"broker_id": 4}]
    assert not run_kafka(kafka_node, reads(brokers=[1]), ASKED)["changed"]


def test_main_check_mode_only_reads(run_kafka: RunKafka) -> None:
    answer = run_kafka(kafka_node, reads(4), ASKED, check=True)
    assert answer["changed"] and answer["requests"] == []


def test_main_waits_not_for_ever(run_kafka: RunKafka) -> None:
    answer = run_kafka(kafka_node, reads() * 3, {**ASKED, "timeout": 1})
    assert answer["failed"] and "it serves as a broker at k4:9092" in answer["msg"]


def test_main_does_not_wait_where_that_does_not_help(run_kafka: RunKafka) -> None:
    partition = {
        "error_code": 0,
        "partition_index": 0,
        "leader_id": 4,
        "replica_nodes": [4],
        "isr_nodes": [4],
        "offline_replicas": [],
    }
    topic = {"error_code": 0, "name": "t", "is_internal": False, "partitions": [partition]}
    script = [
        *reads()[:2],
        ("Metadata", {"topics": [topic]}),
        ("DescribeConfigs", {"results": [{"error_code": 0, "resource_name": "t", "configs": []}]}),
        ("ListPartitionReassignments", {"topics": []}),
    ]
    answer = run_kafka(kafka_node, script, ASKED)
    assert answer["failed"] and "1 replica on it, of t" in answer["msg"]
    assert "stop it for good first" in answer["msg"]


def test_main_connection_lost(run_kafka: RunKafka) -> None:
    script = [*reads(4), ("UnregisterBroker", ConnectionLost("It broke."))]
    answer = run_kafka(kafka_node, script, ASKED)
    assert answer["failed"] and answer["msg"] == "It broke."


def test_documentation_has_the_options_of_the_module() -> None:
    documented = yaml.safe_load(kafka_node.DOCUMENTATION)["options"]
    fields = ("type", "choices", "required", "default")
    assert {
        name: {field: each[field] for field in fields if field in each}
        for name, each in documented.items()
    } == {name: kafka_node.ARGUMENT_SPEC[name] for name in documented}
    assert {*documented} == {"number", "state", "timeout"}
