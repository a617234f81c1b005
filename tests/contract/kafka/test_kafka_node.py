# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""kafka_node against a real cluster: nodes that joined, were emptied and stopped, and go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kafka import TopicPartition

Declare = Callable[..., dict[str, Any]]
NODE = 4


@pytest.fixture
def absent(kafka: Any, run_module: Any) -> Declare:
    def declare(check: bool = False, **options: Any) -> dict[str, Any]:
        args = {**kafka.login, "number": NODE, "state": "absent", **options}
        answer: dict[str, Any] = run_module("kafka_node", args, check=check, diff=True)
        return answer

    return declare


@pytest.mark.parametrize("roles", ["broker", "broker,controller"])
def test_a_node_that_was_emptied_and_stopped_is_forgotten(
    kafka: Any, run_module: Any, absent: Declare, roles: str
) -> None:
    kafka.add(NODE, roles)
    topic = kafka.name("moved")
    run_module("kafka_topic", {**kafka.login, "name": topic, "replication_factor": 1})
    with kafka.admin() as admin:
        admin.alter_partition_reassignments({TopicPartition(topic, 0): [NODE]})
    kafka.wait("the replica to be there", lambda: replicas(kafka, topic) == [NODE])

    refused = absent(timeout=0)
    assert refused["failed"] and "it serves as a broker" in refused["msg"]
    assert f"1 replica on it, of {topic}" in refused["msg"]
    assert ("takes part in the controllers' quorum" in refused["msg"]) == (roles != "broker")

    stay = {**kafka.login, "brokers": [1, 2, 3]}
    assert not run_module("kafka_reassignment", stay)["failed"]
    kafka.run("kill_hard", str(NODE))  # and the module waits until the cluster has noticed

    predicted = absent(check=True)
    assert predicted["changed"] and predicted["requests"] == [], predicted
    assert NODE in brokers(kafka)
    done = absent()
    assert not done["failed"], done
    assert (done["plan"], done["diff"]) == (predicted["plan"], predicted["diff"])
    asked = ["UnregisterBroker"] if roles == "broker" else ["RemoveRaftVoter", "UnregisterBroker"]
    assert [each.partition(" ")[0] for each in done["requests"]] == asked
    assert brokers(kafka) == {1, 2, 3} and kafka.voters() == {1, 2, 3}
    again = absent()
    assert (again["changed"], again["plan"], again["requests"]) == (False, [], [])


def test_a_controller_that_runs_is_not_removed(kafka: Any, absent: Declare) -> None:
    answer = absent(number=3, timeout=0)
    assert answer["failed"] and "takes part in the controllers' quorum" in answer["msg"]
    assert kafka.voters() == {1, 2, 3}


def replicas(kafka: Any, topic: str) -> list[int]:
    with kafka.admin() as admin:
        (there,) = (each for each in admin.describe_topics() if each["name"] == topic)
    found: list[int] = there["partitions"][0]["replica_nodes"]
    return found


def brokers(kafka: Any) -> set[int]:
    """Those that are registered, whether they serve or not."""
    with kafka.admin() as admin:
        return {each["broker_id"] for each in admin.describe_cluster()["brokers"]}
