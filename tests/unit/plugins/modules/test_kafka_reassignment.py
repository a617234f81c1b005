# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_reassignment plans and refuses, and what its main() sends."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml
from ansible_collections.bss.platform.plugins.module_utils import kafka_topics
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker
from ansible_collections.bss.platform.plugins.module_utils.kafka_reassignment_plan import (
    BATCH,
    Current,
    Left,
    ReassignmentPlan,
    Step,
    plan,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_throttle import (
    FOLLOWER_THROTTLED,
    LEADER_THROTTLED,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import (
    ConfigValue,
    Partition,
    Topic,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import ConnectionLost
from ansible_collections.bss.platform.plugins.modules import kafka_reassignment

RunKafka = Callable[..., dict[str, Any]]
MB = 1024**2


def part(number: int, *replicas: int, **changes: Any) -> Partition:
    return replace(Partition(number, replicas[0], replicas, replicas), **changes)


def topic(name: str, *partitions: Partition, limits: tuple[str, str] | None = None) -> Topic:
    config = {
        setting: ConfigValue(value, own=limits is not None)
        for setting, value in zip(
            (LEADER_THROTTLED, FOLLOWER_THROTTLED), limits or ("", ""), strict=True
        )
    }
    return Topic(name, partitions, config=config)


def current(
    *topics: Topic,
    brokers: int = 4,
    fenced: Collection[int] = (),
    size: int = MB,
    rates: Mapping[int, str] | None = None,
) -> Current:
    """Each broker has ``size`` bytes of what it has all of."""
    known = tuple(
        Broker(each, f"k{each}", 9092, fenced=each in fenced) for each in range(1, brokers + 1)
    )
    return Current(
        {each.name: each for each in topics},
        known,
        {
            broker.number: {
                (each.name, one.number): size
                for each in topics
                for one in each.partitions
                if broker.number in one.replicas and broker.number not in one.adding
            }
            for broker in known
        },
        {each.number: ((rates or {}).get(each.number),) * 2 for each in known},
    )


def planned(there: Current, *brokers: int, throttle: int | None = None) -> ReassignmentPlan:
    decided = plan(there, brokers, throttle)
    decided.raise_if_refused()
    return decided


def refused(there: Current, *brokers: int, throttle: int | None = None) -> list[str]:
    decided = plan(there, brokers, throttle)
    assert decided.refusals and not decided.actions
    return [str(each) for each in decided.refusals]


def steps(decided: ReassignmentPlan, due: bool = False) -> list[Step]:
    return [action.options["step"] for action in (decided.due if due else decided.actions)]


def sent(decided: ReassignmentPlan, step: Step) -> list[dict[str, Any]]:
    """What the actions of that step send."""
    return [
        body
        for action in decided.actions
        if action.options["step"] == step
        for body in action.parameters
    ]


SPREAD = topic("t", part(0, 1, 2), part(1, 2, 3), part(2, 3, 1))


def test_a_layout_that_is_well_needs_nothing() -> None:
    decided = planned(current(SPREAD), 1, 2, 3)
    assert decided == ReassignmentPlan()
    assert not decided.changed


def test_a_broker_is_emptied() -> None:
    there = current(topic("t", part(0, 4, 2), part(1, 1, 4), part(2, 3, 1), part(3, 2, 3)))
    decided = planned(there, 1, 2, 3)
    assert decided.sentences == [
        "move 1 replica (1.00 MB) from broker 4 to broker 1",
        "move 1 replica (1.00 MB) from broker 4 to broker 2",
    ]
    assert decided.changed and decided.left == Left(2, 2 * MB)
    assert sorted(decided.diff["before"]) == ["t-0", "t-1"]
    moved = {
        f"{body['name']}-{each['partition_index']}": each["replicas"]
        for body in sent(decided, Step.REASSIGN)
        for each in body["partitions"]
    }
    assert moved == decided.diff["after"]
    request = decided.actions[0].options["request"]
    assert request == {"allow_replication_factor_change": False}


def test_sentences_are_as_many_as_pairs_of_brokers() -> None:
    many = [topic(f"t{name}", *(part(number, 1, 2) for number in range(50))) for name in range(20)]
    decided = planned(current(*many, brokers=4), 1, 2, 3, 4)
    moved = [each for each in decided.sentences if each.startswith("move ")]
    assert len(moved) == 4 and sum(int(each.split()[1]) for each in moved) == 1000


def test_leads_alone_are_spread_without_copies() -> None:
    decided = planned(current(topic("t", part(0, 1, 2), part(1, 1, 2))), 1, 2, throttle=1000)
    assert decided.sentences == [
        "put another replica of 1 partition first, so that each broker leads its share",
        "let broker 2 lead 1 partition more",
    ]
    assert decided.left == Left(1, 0)
    assert sent(decided, Step.ELECT) == [{"topic": "t", "partitions": [1]}]
    assert decided.actions[-1].options["request"] == {"election_type": 0}


def test_a_lead_that_went_elsewhere_comes_back_to_a_replica_in_sync() -> None:
    away = topic("t", part(0, 1, 2, leader=2), part(1, 2, 1))
    decided = planned(current(away), 1, 2)
    assert decided.sentences == ["let broker 1 lead 1 partition more"]
    assert steps(decided, due=True) == [Step.ELECT] and decided.left == Left()
    unsynced = topic("t", part(0, 1, 2, leader=2, isr=(2,)), part(1, 2, 1))
    assert not planned(current(unsynced), 1, 2).actions


# The limit


def test_copies_are_limited_until_nothing_is_left() -> None:
    there = current(topic("t", part(0, 4, 2), part(1, 1, 2), part(2, 1, 2)))
    decided = planned(there, 1, 2, 3, throttle=1000)
    assert steps(decided) == [
        Step.LIMIT_TOPICS,
        *[Step.LIMIT_BROKERS] * 4,
        *[Step.REASSIGN] * len(sent(decided, Step.REASSIGN)),
        *[Step.UNLIMIT_BROKERS] * 4,
        Step.UNLIMIT_TOPICS,
        *[Step.ELECT] * (steps(decided).count(Step.ELECT)),
    ]
    assert decided.sentences[:2] == [
        "limit the copying of 1 topic to 1000 bytes/s and broker",
        "limit what broker 1 copies to 1000 bytes/s",
    ]
    assert Step.UNLIMIT_BROKERS not in steps(decided, due=True)
    assert decided.actions[1].options["broker"] == ("k1", 9092)
    (limits,) = sent(decided, Step.LIMIT_TOPICS)
    leaders, followers = (each["value"].split(",") for each in limits["configs"])
    assert {"0:4", "0:2"} <= {*leaders}
    after = decided.diff["after"]
    assert followers == [
        f"{number}:{broker}"
        for number, before in enumerate(((4, 2), (1, 2), (1, 2)))
        for broker in after.get(f"t-{number}", before)
        if broker not in before
    ]


def test_what_is_limited_already_is_not_limited_again() -> None:
    moving = topic(
        "t", part(0, 3, 2, 1, adding=(3,), removing=(1,), leader=1, isr=(1, 2)), limits=LISTED
    )
    there = current(moving, rates=dict.fromkeys(range(1, 5), "1000"))
    decided = planned(there, 1, 2, 3, throttle=1000)
    assert decided.sentences[0] == "wait for 1 partition (1.00 MB) being moved"
    assert not any(action.parameters for action in decided.due)
    faster = planned(there, 1, 2, 3, throttle=2000)
    assert steps(faster, due=True) == [*[Step.LIMIT_BROKERS] * 3, Step.REASSIGN]


LISTED = ("0:1,0:2", "0:3")


def test_without_a_limit_one_that_a_former_run_left_is_taken_off_first() -> None:
    moving = topic(
        "t", part(0, 3, 2, 1, adding=(3,), removing=(1,), leader=1, isr=(1, 2)), limits=LISTED
    )
    decided = planned(current(moving), 1, 2, 3)
    assert steps(decided, due=True) == [
        *[Step.UNLIMIT_BROKERS] * 3,
        Step.UNLIMIT_TOPICS,
        Step.REASSIGN,
    ]
    done = planned(current(topic("t", part(0, 1, 2), limits=LISTED)), 1, 2, throttle=1000)
    assert done.sentences == [
        "take the limit off broker 1",
        "take the limit off broker 2",
        "take the limit off broker 3",
        "take the limit off the copying of 1 topic",
    ]
    assert done.due == done.actions


def test_a_limit_on_all_replicas_is_somebodys_own() -> None:
    there = current(topic("t", part(0, 1, 2), limits=("*", "*")))
    assert not planned(there, 1, 2).actions
    moved = planned(current(topic("t", part(0, 4, 2), limits=("*", "*"))), 1, 2, throttle=9)
    assert Step.LIMIT_TOPICS not in steps(moved)


# Under way


def test_a_reassignment_under_way_is_waited_for_and_counts_as_done() -> None:
    moving = part(0, 3, 1, adding=(3,), removing=(1,), leader=1, isr=(1,))
    decided = planned(current(topic("t", moving, part(1, 2)), size=8), 2, 3)
    assert decided.sentences == ["wait for 1 partition (8.00 Bytes) being moved"]
    assert decided.left == Left(1, 8) and not decided.changed


def test_what_a_new_replica_has_already_is_not_left() -> None:
    moving = part(0, 3, 1, adding=(3,), removing=(1,), leader=1, isr=(1,))
    there = current(topic("t", moving, part(1, 2)), size=8)
    there = replace(there, sizes={**there.sizes, 3: {("t", 0): 5}})
    assert planned(there, 2, 3).left == Left(1, 3)


def test_what_is_on_its_way_elsewhere_is_taken_back_first() -> None:
    moving = part(0, 4, 1, adding=(4,), removing=(1,), leader=1, isr=(1,))
    decided = planned(current(topic("t", moving, part(1, 2))), 1, 2)
    assert decided.sentences == ["take back the reassignment of 1 partition"]
    assert sent(decided, Step.TAKE_BACK) == [
        {"name": "t", "partitions": [{"partition_index": 0, "replicas": None}]}
    ]
    assert decided.due == decided.actions and decided.left == Left()
    moved = planned(current(topic("t", moving, part(1, 2))), 2, 3)
    assert steps(moved) == [Step.TAKE_BACK, Step.REASSIGN]
    assert moved.diff == {"before": {"t-0": [1]}, "after": {"t-0": [3]}}


def test_a_reassignment_that_never_ends_is_taken_back() -> None:
    stuck = part(0, 1, 3, 4, adding=(4,), removing=(4,))
    decided = planned(current(topic("t", stuck)), 1, 3, 4)
    assert decided.sentences[0] == "take back the reassignment of 1 partition"


def test_partitions_are_moved_in_batches() -> None:
    wide = topic("t", *(part(number, 4) for number in range(BATCH + 50)))
    decided = planned(current(wide), 1, 2, 3, throttle=1000)
    assert len(decided.diff["after"]) == decided.left.partitions == BATCH + 50
    moved = [each for body in sent(decided, Step.REASSIGN) for each in body["partitions"]]
    assert len(moved) == BATCH
    (limits,) = sent(decided, Step.LIMIT_TOPICS)
    assert limits["configs"][0]["value"].count(",") == BATCH - 1
    assert sum(int(each.split()[1]) for each in decided.sentences if "move " in each) == BATCH + 50

    partitions = [
        part(each, 1 + each % 3, 4, adding=(1 + each % 3,), removing=(4,), leader=4, isr=(4,))
        for each in range(BATCH - 1)
    ]
    rest = [part(number, 4) for number in range(BATCH, BATCH + 50)]
    further = planned(current(topic("t", *partitions, *rest)), 1, 2, 3)
    moved = [each for body in sent(further, Step.REASSIGN) for each in body["partitions"]]
    assert len(moved) == 1 and further.left.partitions == BATCH + 49


# Refusals


def test_all_reasons_are_told_at_once() -> None:
    there = current(
        *(topic(f"t{number}", part(0, 1, 2, 3)) for number in range(7)),
        topic("lost", part(0, 4, leader=-1, isr=(4,))),
        fenced=[2, 4],
    )
    told = refused(there, 2, 7, throttle=0)
    assert len(told) == 5
    assert told[0].startswith("broker 2: it does not serve") and "k2:9092" in told[0]
    assert told[1].startswith("broker 7: the cluster does not know it")
    assert "the brokers 1, 2, 3, 4" in told[1]
    assert "3 replicas of each partition of t0, t1, t2, t3, t4 and 2 more" in told[2]
    assert "name at least 3 brokers" in told[2]
    assert told[3].startswith("moving lost-0: none of those that serve has all their records")
    assert told[4].startswith("throttle 0")
    assert refused(current(SPREAD))[0].startswith("brokers []: replicas have to lie somewhere")


def test_a_broker_that_is_gone_for_good_is_emptied_where_others_have_its_records() -> None:
    there = current(topic("t", part(0, 4, 2, leader=2, isr=(2,))), fenced=[4])
    decided = planned(there, 1, 2, 3, throttle=1000)
    assert decided.left.partitions == 1
    limited = [each for each in decided.sentences if each.startswith("limit what broker")]
    assert not any("broker 4" in each for each in limited)


# main()


def metadata(replicas: list[int], leader: int) -> tuple[str, dict[str, Any]]:
    partition = {
        "error_code": 0,
        "partition_index": 0,
        "leader_id": leader,
        "replica_nodes": replicas,
        "isr_nodes": replicas,
        "offline_replicas": [],
    }
    found = {"error_code": 0, "name": "t", "is_internal": False, "partitions": [partition]}
    return "Metadata", {"topics": [found]}


def moves(adding: list[int], removing: list[int]) -> tuple[str, dict[str, Any]]:
    partition = {
        "partition_index": 0,
        "replicas": [*adding, *removing],
        "adding_replicas": adding,
        "removing_replicas": removing,
    }
    return "ListPartitionReassignments", {"topics": [{"name": "t", "partitions": [partition]}]}


NO_MOVES: tuple[str, dict[str, Any]] = ("ListPartitionReassignments", {"topics": []})


def reads(
    replicas: list[int],
    before: tuple[str, dict[str, Any]] = NO_MOVES,
    after: tuple[str, dict[str, Any]] = NO_MOVES,
    fenced: Collection[int] = (),
) -> list[tuple[str, dict[str, Any]]]:
    """All that tells of a cluster with a one-partition topic and the brokers 1 and 2."""
    known = [
        {"broker_id": n, "host": f"k{n}", "port": 9092, "rack": None, "is_fenced": n in fenced}
        for n in (1, 2)
    ]
    logs = {
        "name": "t",
        "partitions": [
            {"partition_index": 0, "partition_size": 70, "is_future_key": False},
            {"partition_index": 0, "partition_size": 900, "is_future_key": True},
        ],
    }
    return [
        before,
        metadata(replicas, replicas[0]),
        ("DescribeConfigs", {"results": [{"error_code": 0, "resource_name": "t", "configs": []}]}),
        after,
        ("DescribeCluster", {"cluster_id": "x", "brokers": known}),
        *(
            (
                f"DescribeLogDirs to k{number}",
                {"error_code": 0, "results": [{"topics": [logs] if number in replicas else []}]},
            )
            for number in (1, 2)
            if number not in fenced
        ),
    ]


ASK = ('AlterPartitionReassignments {"replicas": [2]}', {"error_code": 0, "responses": []})
DONE = {"partitions": 0, "bytes": 0}


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which passes only while something sleeps."""
    time = [0.0]

    def sleep(seconds: float) -> None:
        time[0] += seconds

    for module in (kafka_reassignment, kafka_topics):
        monkeypatch.setattr(module.time, "monotonic", lambda: time[0])
        monkeypatch.setattr(module.time, "sleep", sleep)
    return time


LOOKS = 5
"""So often does it look, half a second each and a second between, until a refusal stands."""


def test_main_nothing_to_do(run_kafka: RunKafka) -> None:
    answer = run_kafka(kafka_reassignment, reads([1]), {"brokers": [1, 2]})
    assert (answer["changed"], answer["plan"], answer["requests"]) == (False, [], [])
    assert answer["left"] == DONE


def test_main_moves_and_waits(run_kafka: RunKafka) -> None:
    under_way = moves([2], [1])
    script = [*reads([1]), ASK, *reads([2, 1], under_way, under_way), *reads([2])]
    answer = run_kafka(kafka_reassignment, script, {"brokers": [2]})
    assert answer["changed"] and answer["left"] == DONE
    assert answer["plan"] == ["move 1 replica (70.00 Bytes) from broker 1 to broker 2"]
    assert answer["diff"] == {"before": {"t-0": [1]}, "after": {"t-0": [2]}}
    (request,) = answer["requests"]
    assert json.loads(request.partition(" ")[2])["allow_replication_factor_change"] is False


def test_main_check_mode_only_reads(run_kafka: RunKafka) -> None:
    answer = run_kafka(kafka_reassignment, reads([1]), {"brokers": [2]}, check=True)
    assert answer["changed"] and answer["requests"] == []
    assert answer["left"] == {"partitions": 1, "bytes": 70}


def test_main_timeout_0_does_what_is_due_and_tells_what_is_left(run_kafka: RunKafka) -> None:
    args = {"brokers": [2], "timeout": 0}
    first = run_kafka(kafka_reassignment, [*reads([1]), ASK], args)
    assert first["changed"] and first["left"] == {"partitions": 1, "bytes": 70}
    under_way = moves([2], [1])
    second = run_kafka(kafka_reassignment, reads([2, 1], under_way, under_way), args)
    assert not second["changed"] and second["left"]["partitions"] == 1
    third = run_kafka(kafka_reassignment, reads([2]), args)
    assert not third["changed"] and third["left"] == DONE


def test_main_waits_not_for_ever(run_kafka: RunKafka) -> None:
    under_way = moves([2], [1])
    script = [*reads([1]), ASK, *reads([2, 1], under_way, under_way) * 2]
    answer = run_kafka(kafka_reassignment, script, {"brokers": [2], "timeout": 2})
    assert answer["failed"]
    assert "After 2 s, this is still to be moved: 1 partition (0.00 Bytes)" in answer["msg"]
    assert "Run the same task again to join it" in answer["msg"]


def test_main_a_move_that_ended_between_two_requests_is_not_taken_for_more_replicas(
    run_kafka: RunKafka,
) -> None:
    """The broker still tells of both replicas, the controllers of no reassignment any more."""
    script = [*reads([2, 1], before=moves([2], [1])), *reads([2])]
    answer = run_kafka(kafka_reassignment, script, {"brokers": [2]})
    assert (answer["changed"], answer["requests"]) == (False, [])


def test_main_a_broker_that_stops_meanwhile_ends_the_task(run_kafka: RunKafka) -> None:
    under_way = moves([2], [1])
    stopped = reads([2, 1], under_way, under_way, fenced=[2])
    script = [*reads([1]), ASK, *stopped * LOOKS]
    answer = run_kafka(kafka_reassignment, script, {"brokers": [2]})
    assert answer["failed"] and "Not all was moved: broker 2: it does not serve" in answer["msg"]


def test_main_says_what_was_refused(run_kafka: RunKafka) -> None:
    words = {"partition_index": 0, "error_code": 39, "error_message": "no such broker"}
    refusal = {"error_code": 0, "responses": [{"name": "t", "partitions": [words]}]}
    script = [*reads([1]), ("AlterPartitionReassignments", refusal)]
    answer = run_kafka(kafka_reassignment, script, {"brokers": [2]})
    assert answer["failed"] and "t-0: no such broker" in answer["msg"]


def test_main_connection_lost(run_kafka: RunKafka) -> None:
    script = [*reads([1]), ("AlterPartitionReassignments", ConnectionLost("It broke."))]
    answer = run_kafka(kafka_reassignment, script, {"brokers": [2]})
    assert answer["failed"] and answer["msg"] == "It broke."


def test_main_refuses(run_kafka: RunKafka) -> None:
    answer = run_kafka(kafka_reassignment, reads([1]) * LOOKS, {"brokers": [7]})
    assert answer["failed"] and answer["msg"].startswith("Nothing was changed. broker 7: ")


def test_main_a_broker_that_still_tells_of_what_has_gone(run_kafka: RunKafka) -> None:
    script = [*reads([1, 2]), *reads([1])]
    answer = run_kafka(kafka_reassignment, script, {"brokers": [1]})
    assert (answer["changed"], answer["plan"]) == (False, [])


def test_main_elects_and_looks_again(run_kafka: RunKafka) -> None:
    before = reads([1, 2])
    before[1] = metadata([1, 2], leader=2)
    elected = {"error_code": 0, "replica_election_results": []}
    script = [*before, ('ElectLeaders {"election_type": 0}', elected), *before, *reads([1, 2])]
    answer = run_kafka(kafka_reassignment, script, {"brokers": [1, 2]})
    assert answer["plan"] == ["let broker 1 lead 1 partition more"]


def test_documentation_has_the_options_of_the_module() -> None:
    documented = yaml.safe_load(kafka_reassignment.DOCUMENTATION)["options"]
    fields = ("type", "elements", "required", "default")
    assert {
        name: {field: each[field] for field in fields if field in each}
        for name, each in documented.items()
    } == {name: kafka_reassignment.ARGUMENT_SPEC[name] for name in documented}
    assert {*documented} == {"brokers", "throttle", "timeout"}
