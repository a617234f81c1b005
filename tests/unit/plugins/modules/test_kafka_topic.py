# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_topic plans and refuses, and what its main() sends."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.bss.platform.plugins.module_utils import kafka_topic_actions
from ansible_collections.bss.platform.plugins.module_utils.kafka_assignment import resized
from ansible_collections.bss.platform.plugins.module_utils.kafka_cluster import Broker
from ansible_collections.bss.platform.plugins.module_utils.kafka_config_values import (
    BOOLEAN,
    DOUBLE,
    INT,
    LIST,
    LONG,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_throttle import (
    FOLLOWER_THROTTLED,
    LEADER_THROTTLED,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topic_plan import (
    Step,
    TopicPlan,
    plan,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topic_rules import (
    Current,
    Declaration,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_topics import (
    ConfigValue,
    Defaults,
    Partition,
    Topic,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import ConnectionLost
from ansible_collections.bss.platform.plugins.modules import kafka_topic

RunKafka = Callable[..., dict[str, Any]]

BROKERS = tuple(Broker(number, f"k{number}", 9092, f"r{number}") for number in (1, 2, 3))
SETTINGS = {
    "cleanup.policy": ConfigValue("delete", kind=LIST),
    "min.insync.replicas": ConfigValue("1", kind=INT),
    "retention.ms": ConfigValue("604800000", kind=LONG),
    "min.cleanable.dirty.ratio": ConfigValue("0.5", kind=DOUBLE),
    "preallocate": ConfigValue("false", kind=BOOLEAN),
    LEADER_THROTTLED: ConfigValue("", kind=LIST),
    FOLLOWER_THROTTLED: ConfigValue("", kind=LIST),
}
DEFAULTS = Defaults(1, 1, SETTINGS)


def part(number: int, *replicas: int, **changes: Any) -> Partition:
    whole = Partition(number, replicas[0], replicas, replicas)
    return replace(whole, **changes)


def topic(name: str, *partitions: Partition, internal: bool = False, **own: str) -> Topic:
    """A topic; ``own`` are settings, with _ for each dot."""
    settings = {key.replace("_", "."): value for key, value in own.items()}
    config = {
        key: replace(there, value=settings.get(key, there.value), own=key in settings)
        for key, there in SETTINGS.items()
    }
    return Topic(name, partitions, internal, config)


def current(*topics: Topic, brokers: tuple[Broker, ...] = BROKERS) -> Current:
    return Current({each.name: each for each in topics}, brokers, DEFAULTS)


def planned(there: Current, *declared: Declaration, throttle: int | None = None) -> TopicPlan:
    decided = plan(there, declared, throttle)
    decided.raise_if_refused()
    return decided


def refused(there: Current, *declared: Declaration, throttle: int | None = None) -> list[str]:
    decided = plan(there, declared, throttle)
    assert decided.refusals
    return [str(each) for each in decided.refusals]


def steps(decided: TopicPlan) -> list[Step]:
    return [action.options["step"] for action in decided.actions]


# Creating and deleting


def test_creates_with_what_is_declared_and_says_what_the_rest_becomes() -> None:
    decided = planned(
        current(), Declaration("orders", 6, 3, {"min.insync.replicas": "2"}), Declaration("log")
    )
    assert decided.sentences == [
        "create topic orders: 6 partitions, 3 replicas of each, min.insync.replicas=2",
        "create topic log: 1 partition, 1 replica of each",
    ]
    assert decided.actions[1].parameters == (
        {"name": "log", "num_partitions": -1, "replication_factor": -1, "configs": []},
    )
    assert decided.diff["before"] == {}
    assert decided.topics[1] == {
        "name": "log",
        "partitions": 1,
        "replication_factor": 1,
        "config": {},
    }


def test_deletes_only_with_permission() -> None:
    there = current(topic("old", part(0, 1), part(1, 2)))
    (message,) = refused(there, Declaration("old", state="absent"))
    assert "the records in them would be lost" in message and "allow_delete: true" in message
    decided = planned(there, Declaration("old", state="absent", allow_delete=True))
    assert decided.sentences == ["delete topic old and the records in its 2 partitions"]
    assert decided.diff["after"] == {}
    assert not planned(current(), Declaration("old", state="absent")).changed


def test_kafkas_own_topics_are_not_deleted() -> None:
    there = current(topic("__consumer_offsets", part(0, 1), internal=True))
    gone = Declaration("__consumer_offsets", state="absent", allow_delete=True)
    assert "Kafka keeps its own state in it" in refused(there, gone)[0]


# Partitions


def test_partitions_grow_and_never_shrink() -> None:
    there = current(topic("orders", part(0, 1), part(1, 2)))
    decided = planned(there, Declaration("orders", partitions=5))
    assert decided.sentences == ["grow orders from 2 to 5 partitions"]
    (message,) = refused(there, Declaration("orders", partitions=1))
    assert message.startswith("topic orders: partitions 1: Kafka cannot take partitions away")
    assert "declare 2 or more" in message
    assert not planned(there, Declaration("orders")).changed
    assert not planned(there, Declaration("orders", partitions=2)).changed


# Settings


@pytest.mark.parametrize(
    ("name", "there", "declared"),
    [
        ("retention.ms", "1000", "1000"),
        ("retention.ms", "1000", " 1000"),
        ("min.cleanable.dirty.ratio", "0.5", "0.50"),
        ("preallocate", "true", "True"),
        ("cleanup.policy", "compact,delete", "compact, delete"),
    ],
)
def test_values_that_mean_the_same_are_the_same(name: str, there: str, declared: str) -> None:
    state = current(topic("t", part(0, 1), **{name.replace(".", "_"): there}))
    decided = planned(state, Declaration("t", config={name: declared}))
    assert not decided.changed and decided.diff == {"before": {}, "after": {}}


def test_only_declared_settings_are_touched() -> None:
    there = current(topic("t", part(0, 1), retention_ms="1000", preallocate="true"))
    declared = {"retention.ms": "2000", "cleanup.policy": "delete"}
    decided = planned(there, Declaration("t", config=declared))
    assert decided.sentences == [
        "set cleanup.policy of t from delete (default) to delete",
        "set retention.ms of t from 1000 to 2000",
    ]
    assert decided.diff["before"]["t"]["config"] == {"retention.ms": "1000"}
    assert decided.diff["after"]["t"]["config"] == declared
    assert decided.topics[0]["config"] == {**declared, "preallocate": "true"}


def test_settings_are_reset_by_null_and_by_purge() -> None:
    there = current(topic("t", part(0, 1), retention_ms="1000", preallocate="true"))
    one = planned(there, Declaration("t", config={"retention.ms": None, "cleanup.policy": None}))
    assert one.sentences == ["reset retention.ms of t, which is 1000"]
    purged = planned(there, Declaration("t", config={"retention.ms": "1000"}, purge_configs=True))
    assert purged.sentences == ["reset preallocate of t, which is true"]
    assert purged.topics[0]["config"] == {"retention.ms": "1000"}


def test_values_of_yaml_are_written_as_kafka_writes_them() -> None:
    config = {"preallocate": True, "retention.ms": 5, "cleanup.policy": ["compact", "delete"]}
    options = dict.fromkeys(kafka_topic.TOPIC_OPTIONS)
    declared = Declaration.from_options({**options, "name": "t", "config": config})
    assert list(declared.config.values()) == ["true", "5", "compact,delete"]


# Replicas


def test_replicas_are_added_under_a_limit_and_min_insync_is_raised_after() -> None:
    there = current(topic("t", part(0, 1), part(1, 2)))
    declared = Declaration("t", 3, 3, {"min.insync.replicas": "2", "retention.ms": "5"})
    decided = planned(there, declared, throttle=1000)
    assert steps(decided) == [
        Step.CONFIGURE,
        Step.LIMIT_TOPICS,
        *[Step.LIMIT_BROKERS] * 3,
        Step.REASSIGN,
        Step.CONFIGURE_GROWN,
        *[Step.UNLIMIT_BROKERS] * 3,
        Step.UNLIMIT_TOPICS,
        Step.CREATE_PARTITIONS,
    ]
    limits = {each["name"]: each["value"] for each in decided.actions[1].parameters[0]["configs"]}
    assert limits == {LEADER_THROTTLED: "0:1,1:2", FOLLOWER_THROTTLED: "0:3,0:2,1:3,1:1"}
    (moved,) = decided.actions[5].parameters
    assert [each["replicas"] for each in moved["partitions"]] == [[1, 3, 2], [2, 3, 1]]
    assert "reassign 2 partitions of t from 1 to 3 replicas" in decided.sentences


def test_min_insync_is_lowered_before_replicas_are_taken_away() -> None:
    there = current(topic("t", part(0, 1, 2, 3), min_insync_replicas="2"))
    declared = Declaration("t", replication_factor=1, config={"min.insync.replicas": "1"})
    assert steps(planned(there, declared, throttle=1000)) == [Step.CONFIGURE, Step.REASSIGN]


def test_a_reassignment_under_way_is_joined() -> None:
    moving = part(0, 2, 3, 1, adding=(2, 3), removing=(), isr=(1,), leader=1)
    there = current(topic("t", moving))
    decided = planned(there, Declaration("t", replication_factor=3))
    assert decided.sentences == ["wait for the reassignment of 1 partition of t that is under way"]
    assert decided.actions[0].parameters == ()
    limited = planned(there, Declaration("t", replication_factor=3), throttle=9)
    assert steps(limited)[:2] == [Step.LIMIT_TOPICS, Step.LIMIT_BROKERS]


def test_a_reassignment_to_something_else_is_taken_back_first() -> None:
    there = current(topic("t", part(0, 2, 1, adding=(2,), removing=(1,), leader=1, isr=(1,))))
    decided = planned(there, Declaration("t", replication_factor=2))
    assert steps(decided) == [Step.TAKE_BACK, Step.REASSIGN]
    back, moved = (action.parameters[0]["partitions"][0] for action in decided.actions)
    assert back == {"partition_index": 0, "replicas": None}
    assert moved["replicas"] in ([1, 2], [1, 3])
    less = planned(there, Declaration("t", replication_factor=1))
    assert less.sentences == ["wait for the reassignment of 1 partition of t that is under way"]


def test_a_reassignment_that_never_ends_is_taken_back() -> None:
    stuck = part(0, 1, 3, 2, adding=(2,), removing=(2,), leader=1)
    decided = planned(current(topic("t", stuck)), Declaration("t", replication_factor=2))
    assert decided.sentences == ["take back the reassignment of 1 partition of t"]


def test_a_limit_that_an_interrupted_run_left_is_taken_off() -> None:
    there = topic("t", part(0, 1, 2))
    config = {**there.config, LEADER_THROTTLED: ConfigValue("0:1", own=True, kind=LIST)}
    config[FOLLOWER_THROTTLED] = ConfigValue("0:2", own=True, kind=LIST)
    left = current(replace(there, config=config))
    decided = planned(left, Declaration("t", replication_factor=2))
    assert decided.sentences == [
        "take the limit off broker 1",
        "take the limit off broker 2",
        "take the limit off the copying of t",
    ]
    assert not planned(left, Declaration("t", purge_configs=True)).changed


def test_replicas_go_to_other_racks_and_to_the_least_busy() -> None:
    racks = {1: "a", 2: "a", 3: "b", 4: "b", 5: None}
    brokers = {number: Broker(number, "h", 9092, rack) for number, rack in racks.items()}
    assert resized(part(0, 1), 2, brokers, Counter({3: 5, 5: 9}))[1] == 4
    assert resized(part(0, 1), 2, brokers, Counter({2: 0, 3: 5, 4: 5}))[1] == 5
    fenced = {**brokers, 4: replace(brokers[4], fenced=True)}
    assert resized(part(0, 1), 2, fenced, Counter({3: 5, 5: 9}))[1] == 3


def test_the_replica_that_goes_is_out_of_sync_or_shares_a_rack_and_leads_last() -> None:
    brokers = {n: Broker(n, "h", 9092, rack) for n, rack in {1: "a", 2: "a", 3: "b"}.items()}
    assert resized(part(0, 1, 2, 3, isr=(1, 2)), 2, brokers, Counter()) == (1, 2)
    assert resized(part(0, 1, 2, 3), 2, brokers, Counter({3: 9})) == (1, 3)
    assert resized(part(0, 1, 2, 3), 1, brokers, Counter({1: 9})) == (1,)
    assert resized(part(0, 1, 2, leader=2), 1, brokers, Counter()) == (2,)


# Refusals


def test_all_reasons_are_told_at_once_and_the_others_are_planned_for_the_trial() -> None:
    there = current(topic("t", part(0, 1)))
    decided = plan(
        there,
        [
            Declaration("t", 0, 4, {"retension.ms": "1"}),
            Declaration("bad name"),
            Declaration("."),
            Declaration("new", 2, 1),
        ],
        0,
    )
    told = [str(each) for each in decided.refusals]
    assert len(told) == 6
    assert "throttle 0" in told[0]
    assert "partitions 0" in told[1] and "replication_factor 4" in told[2]
    assert "There is: brokers in the cluster: 3" in told[2]
    assert "write retention.ms, if that is meant" in told[3]
    assert "topic 'bad name'" in told[4] and "topic '.'" in told[5]
    assert decided.sentences == ["create topic new: 2 partitions, 1 replica of each"]


@pytest.mark.parametrize(
    ("there", "declared"),
    [
        (None, Declaration("t", 1, 1, {"min.insync.replicas": "2"})),
        (None, Declaration("t", config={"min.insync.replicas": "2"})),
        (topic("t", part(0, 1, 2)), Declaration("t", config={"min.insync.replicas": "3"})),
        (
            topic("t", part(0, 1, 2), min_insync_replicas="2"),
            Declaration("t", replication_factor=1),
        ),
    ],
)
def test_more_in_sync_than_there_are_replicas_is_refused(
    there: Topic | None, declared: Declaration
) -> None:
    (message,) = refused(current(*([there] if there else [])), declared)
    assert "with acks=all, Kafka takes no record" in message


def test_min_insync_of_a_topic_that_declares_neither_is_nobodys_business() -> None:
    there = current(topic("t", part(0, 1), min_insync_replicas="2"))
    assert not planned(there, Declaration("t")).changed


def test_a_broker_that_does_not_serve_gets_no_new_replica() -> None:
    brokers = (*BROKERS[:2], replace(BROKERS[2], fenced=True))
    there = current(topic("t", part(0, 1, 2)), brokers=brokers)
    (message,) = refused(there, Declaration("t", replication_factor=3))
    assert "broker 3 does not serve" in message
    assert not planned(there, Declaration("t", replication_factor=2)).changed


def test_names_that_collide_are_refused() -> None:
    assert "differ only in dots" in refused(current(), Declaration("a.b"), Declaration("a_b"))[0]
    assert "more than once" in refused(current(), Declaration("a"), Declaration("a"))[0]
    there = current(topic("a.b", part(0, 1)), topic("a_b", part(0, 1)))
    assert not planned(there, Declaration("a.b"), Declaration("a_b")).changed


# main()


def reads(*names: str, replicas: tuple[int, ...] = (1,)) -> list[tuple[str, dict[str, Any]]]:
    """The four requests that tell of one-partition topics."""
    partition = {
        "error_code": 0,
        "partition_index": 0,
        "leader_id": 1,
        "replica_nodes": list(replicas),
        "isr_nodes": list(replicas),
        "offline_replicas": [],
    }
    found = {"error_code": 0, "is_internal": False, "partitions": [partition]}
    config = {"name": "retention.ms", "value": "9", "config_source": 5, "config_type": LONG}
    result = {"error_code": 0, "configs": [config]}
    described = [
        ("DescribeConfigs", {"results": [{**result, "resource_name": name} for name in names]}),
        ("ListPartitionReassignments", {"topics": []}),
    ]
    return [
        ("Metadata", {"topics": [{**found, "name": name} for name in names]}),
        *(described if names else []),
        (
            "DescribeCluster",
            {
                "cluster_id": "x",
                "brokers": [
                    {"broker_id": n, "host": f"k{n}", "port": 9092, "rack": None} for n in (1, 2)
                ],
            },
        ),
    ]


def trial(name: str, **changes: Any) -> tuple[str, dict[str, Any]]:
    said = {"error_code": 0, "name": name, "num_partitions": 1, "replication_factor": 1}
    configs = [{"name": "retention.ms", "value": "9"}]
    return "CreateTopics", {"topics": [{**said, "configs": configs, **changes}]}


def test_main_200_topics_as_declared_cost_four_requests(run_kafka: RunKafka) -> None:
    names = [f"t{number}" for number in range(200)]
    answer = run_kafka(
        kafka_topic, reads(*names), {"topics": [{"name": name, "partitions": 1} for name in names]}
    )
    assert (answer["changed"], answer["plan"], answer["requests"]) == (False, [], [])
    assert len(answer["topics"]) == 200


def test_main_creates_after_a_trial_and_waits_until_it_shows(run_kafka: RunKafka) -> None:
    script = [
        *reads(),
        trial("t"),
        ('CreateTopics {"validate_only": true}', {"topics": [{"name": "t", "error_code": 0}]}),
        ("CreateTopics", {"topics": [{"name": "t", "error_code": 0}]}),
        *reads(),
        trial("t"),
        *reads("t"),
    ]
    answer = run_kafka(kafka_topic, script, {"name": "t", "partitions": 1})
    assert answer["changed"]
    assert [each.partition(" ")[0] for each in answer["requests"]] == ["CreateTopics"]
    assert "validate_only" not in answer["requests"][0]


def test_main_takes_a_topic_for_deleted_that_goes_while_it_is_looked_at(
    run_kafka: RunKafka,
) -> None:
    going = reads("t")
    going[1] = ("DescribeConfigs", {"results": [{"resource_name": "t", "error_code": 3}]})
    script = [
        *reads("t"),
        ("DeleteTopics", {"responses": [{"name": "t", "error_code": 0}]}),
        *going,
    ]
    absent = {"name": "t", "state": "absent", "allow_delete": True}
    assert run_kafka(kafka_topic, script, absent)["changed"]


def test_main_check_mode_only_tries(run_kafka: RunKafka) -> None:
    script = [*reads(), trial("t"), trial("t")]
    answer = run_kafka(kafka_topic, script, {"name": "t"}, check=True)
    assert answer["changed"] and answer["requests"] == []
    assert answer["topics"][0]["name"] == "t"


def test_main_settings_of_one_topic_are_one_resource(run_kafka: RunKafka) -> None:
    done: dict[str, Any] = {"responses": [{"resource_name": "t", "error_code": 0}]}
    script = [*reads("t"), ("IncrementalAlterConfigs", done), ("IncrementalAlterConfigs", done)]
    after = reads("t")
    after[1][1]["results"][0]["configs"] = [
        {"name": name, "value": "1", "config_source": 1} for name in ("retention.ms", "segment.ms")
    ]
    known = {"name": "segment.ms", "value": "9", "config_source": 5}
    script[1][1]["results"][0]["configs"].append(known)
    config = {"retention.ms": 1, "segment.ms": 1}
    answer = run_kafka(kafka_topic, [*script, *after], {"name": "t", "config": config})
    (sent,) = (json.loads(each.partition(" ")[2]) for each in answer["requests"])
    (resource,) = sent["resources"]
    assert [each["name"] for each in resource["configs"]] == ["retention.ms", "segment.ms"]


def test_main_tells_kafkas_reasons_with_its_own(run_kafka: RunKafka) -> None:
    words = {"error_code": 40, "error_message": "Invalid value x", "name": "new"}
    script = [*reads("old"), trial("new"), ("CreateTopics", {"topics": [words]})]
    topics = [{"name": "new", "config": {"retention.ms": "x"}}, {"name": "old", "partitions": 0}]
    answer = run_kafka(kafka_topic, script, {"topics": topics})
    assert answer["failed"]
    assert "Kafka says: Invalid value x" in answer["msg"]
    assert "topic old: partitions 0" in answer["msg"]


def test_main_says_what_was_refused_in_the_middle(run_kafka: RunKafka) -> None:
    words = {"error_code": 44, "error_message": "no such policy.", "name": "t"}
    script = [*reads(), trial("t"), trial("t"), ("CreateTopics", {"topics": [words]})]
    answer = run_kafka(kafka_topic, script, {"name": "t"})
    assert answer["failed"]
    assert answer["msg"].startswith("Kafka refused a part of CreateTopics: t: no such policy. The")


def test_main_connection_lost_in_the_middle(run_kafka: RunKafka) -> None:
    script = [*reads(), trial("t"), trial("t"), ("CreateTopics", ConnectionLost("It broke."))]
    answer = run_kafka(kafka_topic, script, {"name": "t"})
    assert answer["failed"] and answer["msg"] == "It broke."
    assert not run_kafka(kafka_topic, reads("t"), {"name": "t"})["changed"]


MOVING = {"partition_index": 0, "replicas": [1, 2], "adding_replicas": [2], "removing_replicas": []}


def test_main_waits_for_the_reassignment_and_not_for_ever(
    run_kafka: RunKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(kafka_topic_actions.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(kafka_topic_actions.time, "sleep", sleep)
    start = [*reads("t"), ("AlterPartitionReassignments", {"error_code": 0, "responses": []})]
    under_way = ("ListPartitionReassignments", {"topics": [{"name": "t", "partitions": [MOVING]}]})
    done = ("ListPartitionReassignments", {"topics": []})
    args = {"name": "t", "replication_factor": 2, "reassignment_timeout": 1}

    script = [*start, under_way, done, *reads("t", replicas=(1, 2))]
    assert run_kafka(kafka_topic, script, args)["changed"]

    answer = run_kafka(kafka_topic, [*start, *[under_way] * 4], args)
    assert answer["failed"]
    assert "After 1 s, 1 partitions are still reassigned: t-0 (broker 2)" in answer["msg"]
    assert "Run the same task again to join it" in answer["msg"]


def test_main_unreadable_topics(run_kafka: RunKafka) -> None:
    forbidden = {"name": "t", "error_code": 29}
    answer = run_kafka(kafka_topic, [("Metadata", {"topics": [forbidden]})], {"name": "t"})
    assert answer["failed"] and "t (TopicAuthorizationFailedError)" in answer["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of the following is required: name, topics"),
        ({"name": "a", "topics": []}, "mutually exclusive: topics|name"),
        ({"topics": [{"partitions": 1}]}, "missing required arguments: name"),
    ],
)
def test_main_options(
    options: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with patch_module_args({"bootstrap_servers": "k", **options}), pytest.raises(SystemExit):
        kafka_topic.main()
    assert message in json.loads(capsys.readouterr().out)["msg"]


def test_documentation_has_the_options_of_the_module() -> None:
    documented = yaml.safe_load(kafka_topic.DOCUMENTATION)["options"]
    suboptions = documented.pop("topics")["suboptions"]
    spec = kafka_topic.ARGUMENT_SPEC
    own = {name: spec[name] for name in (*kafka_topic.TOPIC_OPTIONS, *documented)}
    fields = ("type", "choices", "required", "default")
    for described, taken in ((documented, own), (suboptions, spec["topics"]["options"])):
        assert {
            name: {field: each[field] for field in fields if field in each}
            for name, each in described.items()
        } == taken
