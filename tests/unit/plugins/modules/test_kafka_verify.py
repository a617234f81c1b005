# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_verify makes of Kafka's answers, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import yaml
from ansible_collections.bss.platform.plugins.module_utils import kafka_wire
from ansible_collections.bss.platform.plugins.module_utils.checks import CheckFailed
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    ConnectionLost,
    Session,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_records import batch
from ansible_collections.bss.platform.plugins.module_utils.kafka_scratch import TOPIC
from ansible_collections.bss.platform.plugins.modules import kafka_verify

RunKafka = Callable[..., dict[str, Any]]

CLUSTER = {"brokers": [1, 2], "voters": [1, 2]}
BROKER = {"broker": 1, "ca_cert": "/etc/bss/tls/ca.crt"}
ID = UUID(int=7)
VALUE = "ab" * 16
REFUSED, NO_SUCH, NOT_LEADING, FEW = 29, 3, 6, 19


def cluster(*fenced: int) -> tuple[str, dict[str, Any]]:
    brokers = [
        {
            "broker_id": each,
            "host": f"k{each}",
            "port": 9092,
            "rack": None,
            "is_fenced": each in fenced,
        }
        for each in (1, 2)
    ]
    return "DescribeCluster", {"cluster_id": "c", "brokers": brokers}


def quorum(leader: int = 1, behind: int = 0, voters: tuple[int, ...] = (1, 2)) -> Any:
    said = [
        {
            "replica_id": each,
            "log_end_offset": 1000 - (behind if each == voters[-1] else 0),
            "last_caught_up_timestamp": 5000,
        }
        for each in voters
    ]
    partition = {
        "error_code": 0,
        "leader_id": leader,
        "leader_epoch": 3,
        "high_watermark": 1000,
        "current_voters": said,
        "observers": [],
    }
    return "DescribeQuorum", {"topics": [{"partitions": [partition]}]}


def metadata(
    leader: int = 1, isr: tuple[int, ...] = (1, 2), name: str = "t", error: int = 0
) -> tuple[str, dict[str, Any]]:
    partition = {
        "partition_index": 0,
        "leader_id": leader,
        "replica_nodes": [1, 2],
        "isr_nodes": isr,
        "offline_replicas": [],
    }
    topic = {
        "name": name,
        "topic_id": ID,
        "error_code": error,
        "is_internal": False,
        "partitions": [] if error else [partition],
    }
    brokers = [{"node_id": each, "host": f"k{each}", "port": 9092} for each in (1, 2)]
    return "Metadata", {"topics": [topic], "brokers": brokers}


def topic(leader: int = 1, isr: tuple[int, ...] = (1, 2)) -> list[tuple[str, Any]]:
    """All that is read of a cluster with this one topic."""
    config = {"name": "min.insync.replicas", "value": "1", "config_source": 5, "config_type": 3}
    described = {"error_code": 0, "resource_name": "t", "configs": [config]}
    return [
        metadata(leader, isr),
        ("DescribeConfigs", {"results": [described]}),
        ("ListPartitionReassignments", {"topics": []}),
    ]


def answer(api: str, error: int, records: bytes = b"") -> tuple[str, dict[str, Any]]:
    parts = "partition_responses" if api.startswith("Produce") else "partitions"
    part = {"error_code": error, "records": records}
    return api, {"responses": [{"topic_id": ID, parts: [part]}]}


GONE = metadata(error=NO_SUCH, name=TOPIC)
THERE = metadata(name=TOPIC)


def removal(error: int = NO_SUCH) -> list[tuple[str, Any]]:
    responses = {"responses": [{"name": TOPIC, "error_code": error}]}
    return [THERE, ("DeleteTopics", responses), GONE]


CREATION = (
    f'CreateTopics {{"name": "{TOPIC}", "num_partitions": 1, "replication_factor": 2}}',
    {"topics": [{"name": TOPIC, "error_code": 0}]},
)


@pytest.fixture
def verify(
    run_kafka: RunKafka, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, dict[str, Any]]]:
    """Run the module with a script; each check's result by name."""
    monkeypatch.setattr("secrets.token_hex", lambda _size: VALUE)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)

    def run(
        script: list[tuple[str, Any]], check: bool = True, **options: Any
    ) -> dict[str, dict[str, Any]]:
        said = run_kafka(kafka_verify, script, options, check)
        assert not said["failed"] and said["changed"] is False, said
        results = {result["name"]: result for result in said["results"]}
        assert said["passed"] == all(each["state"] == "ok" for each in results.values())
        return results

    return run


def failures(results: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: each["detail"] for name, each in results.items() if each["state"] == "failed"}


def test_a_cluster_that_is_well(verify: Any) -> None:
    results = verify([cluster(), quorum(), *topic()], **CLUSTER)
    assert {name: each["detail"] for name, each in results.items()} == {
        "kafka_brokers_serve": "1, 2 serve",
        "kafka_quorum": "1 leads, 1, 2 vote, none is more than 0 records behind",
        "kafka_replicas_in_sync": "1 partitions of 1 topics",
    }
    assert not failures(results)


@pytest.mark.parametrize(
    ("script", "name", "detail"),
    [
        ([cluster(2), quorum(), *topic()], "kafka_brokers_serve", "broker 2 does not serve"),
        ([cluster(), quorum(-1), *topic()], "kafka_quorum", "the controllers have no leader"),
        (
            [cluster(), quorum(behind=51), *topic()],
            "kafka_quorum",
            "controller 2 is 51 records behind",
        ),
        (
            # A voter that nobody declared counts for the majority all the same.
            [cluster(), quorum(behind=51, voters=(1, 2, 4)), *topic()],
            "kafka_quorum",
            "controller 4 is 51 records behind",
        ),
        (
            [cluster(), quorum(voters=(1,)), *topic()],
            "kafka_quorum",
            "controller 2 is no voter",
        ),
        (
            [cluster(), quorum(), *topic(isr=(1,))],
            "kafka_replicas_in_sync",
            "replicas are not in sync of t-0",
        ),
        (
            [cluster(), quorum(), *topic(leader=-1)],
            "kafka_replicas_in_sync",
            "no broker leads t-0",
        ),
    ],
)
def test_one_fault_of_a_cluster(verify: Any, script: Any, name: str, detail: str) -> None:
    found = failures(verify(script, **CLUSTER))
    assert list(found) == [name] and found[name].startswith(detail)


def test_a_check_that_breaks_stops_no_other(verify: Any) -> None:
    script = [("DescribeCluster", ConnectionLost("cut")), quorum(), *topic()]
    assert failures(verify(script, **CLUSTER)) == {"kafka_brokers_serve": "cut"}


@pytest.mark.parametrize(
    ("declared", "detail"),
    [
        ({"partitions": 1, "replication_factor": 2}, None),
        ({"partitions": 3}, "kafka_topic would grow t from 1 to 3 partitions"),
        ({"config": {"min.insync.replicas": 2}}, "from 1 (default) to 2"),
        ({"state": "absent", "allow_delete": True}, "kafka_topic would delete topic t"),
        ({"replication_factor": 3}, "topic t: replication_factor 3"),
    ],
)
def test_topics_as_declared(verify: Any, declared: dict[str, Any], detail: str | None) -> None:
    script = [cluster(), quorum(), *topic(), *topic(), cluster()]
    found = failures(verify(script, topics=[{"name": "t", **declared}], **CLUSTER))
    assert list(found) == (["kafka_topics_as_declared"] if detail else [])
    assert (detail or "") in found.get("kafka_topics_as_declared", "")


def test_a_topic_that_cannot_spare_a_broker(verify: Any) -> None:
    script = [cluster(), quorum(), *topic(), *topic(isr=(2,)), cluster()]
    found = failures(verify(script, topics=[{"name": "t"}], **CLUSTER))
    cost = "without broker 2 these take no acknowledged writes: t-0"
    assert found == {"kafka_spares_a_broker": cost}


USER = {"name": "app", "password": "app-secret", "reads": ["t"]}
NO_PARTITION = 2**31 - 1
WRITES, READS = f'Produce {{"index": {NO_PARTITION}, }}', f'Fetch {{"partition": {NO_PARTITION}, }}'


@pytest.mark.parametrize(
    ("write", "read", "found"),
    [
        (REFUSED, NO_SUCH, {}),
        (NO_SUCH, NO_SUCH, {"kafka_acl_denies": "app may write to t"}),
        (REFUSED, REFUSED, {"kafka_acl_allows": "app may not read t"}),
        (
            NOT_LEADING,
            NO_SUCH,
            {
                "kafka_acl_denies": "app: asked for a right on t, Kafka answers "
                "NotLeaderForPartitionError"
            },
        ),
    ],
)
def test_rights(verify: Any, write: int, read: int, found: dict[str, str]) -> None:
    well = [cluster(), quorum(), *topic()]
    script = [*well, metadata(), answer(WRITES, write), metadata(), answer(READS, read)]
    results = verify(script, users=[USER], **CLUSTER)
    assert failures(results) == found
    if not found:
        assert results["kafka_acl_denies"]["detail"] == "1 refused to app"
        assert results["kafka_acl_allows"]["detail"] == "1 granted to app"


def test_rights_on_a_topic_that_is_not_there_are_not_proven(verify: Any) -> None:
    missing = metadata(error=NO_SUCH)
    found = failures(
        verify([cluster(), quorum(), *topic(), missing, missing], users=[USER], **CLUSTER)
    )
    assert found == dict.fromkeys(("kafka_acl_denies", "kafka_acl_allows"), "there is no topic t")


def test_the_passwords_of_users_are_shown_nowhere(verify: Any) -> None:
    script = [cluster(), quorum(), *topic(), ("Metadata", ConnectionLost("app-secret")), metadata()]
    results = verify([*script, answer(READS, NO_SUCH)], users=[USER], **CLUSTER)
    assert "app-secret" not in str(results)


def round_trip(*steps: tuple[str, Any], removed: int = 0) -> list[tuple[str, Any]]:
    well = [cluster(), quorum(), *topic()]
    return [*well, *removal(), CREATION, *steps, *removal(removed)]


READ_BACK = answer("Fetch to k1", 0, batch(VALUE.encode()))
WRITTEN = answer('Produce to k1 {"acks": -1}', 0)


def test_round_trip_waits_until_the_leader_knows_of_itself(verify: Any) -> None:
    script = round_trip(
        GONE,
        metadata(leader=-1, name=TOPIC),
        THERE,
        answer("Produce to k1", NOT_LEADING),
        THERE,
        WRITTEN,
        THERE,
        READ_BACK,
    )
    results = verify(script, check=False, **CLUSTER)
    assert not failures(results)
    assert "a record in 2 replicas" in results["kafka_round_trip"]["detail"]


@pytest.mark.parametrize(
    ("steps", "detail"),
    [
        ([THERE, answer("Produce to k1", FEW)], "NotEnoughReplicasError"),
        ([THERE, WRITTEN, THERE, answer("Fetch to k1", 0, batch(b"other"))], "b'other'"),
        ([THERE, WRITTEN, THERE, answer("Fetch to k1", 0)], "gives [], written was"),
        ([THERE, ("Produce to k1", ConnectionLost("cut"))], "cut"),
    ],
)
def test_round_trip_that_fails_leaves_no_topic(
    verify: Any, steps: list[tuple[str, Any]], detail: str
) -> None:
    # The script has to be used up, the deletion at its end with it.
    found = failures(verify(round_trip(*steps), check=False, **CLUSTER))
    assert list(found) == ["kafka_round_trip"]
    assert detail in found["kafka_round_trip"]


def test_round_trip_that_may_not_make_or_delete_its_topic_says_so(verify: Any) -> None:
    creation = ("CreateTopics", {"topics": [{"name": TOPIC, "error_code": REFUSED}]})
    well = [cluster(), quorum(), *topic()]
    script = [*well, *removal(), creation, *removal()]
    assert f"Kafka refuses to make {TOPIC}" in str(failures(verify(script, check=False, **CLUSTER)))
    deletion = removal(REFUSED)[:2]
    script = [*well, *removal(), CREATION, THERE, WRITTEN, THERE, READ_BACK, *deletion]
    assert "delete it by hand" in str(failures(verify(script, check=False, **CLUSTER)))


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A broker that is well but for what a test changes in here."""
    says: dict[str, Any] = {"unit": None, "days": 100.0, "plaintext": False}

    def require_active(unit: str) -> None:
        if says["unit"]:
            raise CheckFailed(f"the unit {unit} is {says['unit']}")

    class Authority:
        def get_ca_certs(self) -> list[dict[str, str]]:
            return [{"notAfter": "Jan  1 00:00:00 2099 GMT"}]

    monkeypatch.setattr(kafka_verify, "require_active", require_active)
    monkeypatch.setattr(kafka_verify.tls, "anonymous_context", lambda _file: Authority())
    monkeypatch.setattr(
        kafka_verify.tls, "server_certificate_days_left", lambda *_server: says["days"]
    )
    monkeypatch.setattr(kafka_wire, "answers_without_tls", lambda *_server: says["plaintext"])
    return says


BROKER_WELL = [cluster(), ("login admin", False)]


def test_a_broker_that_is_well(verify: Any, broker: dict[str, Any]) -> None:
    results = verify(BROKER_WELL, **BROKER)
    assert not failures(results)
    assert list(results) == [
        "kafka_running",
        "kafka_certificate",
        "kafka_refuses_plaintext",
        "kafka_refuses_wrong_password",
    ]
    assert results["kafka_running"]["detail"] == "kafka is active, broker 1 serves at k1:9092"


@pytest.mark.parametrize(
    ("change", "script", "name", "detail"),
    [
        ({"unit": "failed"}, BROKER_WELL[1:], "kafka_running", "the unit kafka is failed"),
        ({}, [cluster(1), BROKER_WELL[1]], "kafka_running", "broker 1 does not serve"),
        ({"days": 13.0}, BROKER_WELL, "kafka_certificate", "13 days left"),
        ({"plaintext": True}, BROKER_WELL, "kafka_refuses_plaintext", "k1:9092 answers"),
        (
            {},
            [cluster(), ("login admin", True)],
            "kafka_refuses_wrong_password",
            "lets admin in with any password",
        ),
    ],
)
def test_one_fault_of_a_broker(
    verify: Any, broker: dict[str, Any], change: Any, script: Any, name: str, detail: str
) -> None:
    broker |= change
    found = failures(verify(script, **BROKER))
    assert list(found) == [name] and detail in found[name]


def test_a_broker_under_the_name_of_another(verify: Any, broker: dict[str, Any]) -> None:
    found = failures(verify(BROKER_WELL, **{**BROKER, "broker": 2}))
    assert found == {"kafka_running": "broker 2 is at k2:9092, not at k1:9092"}


def test_without_a_connection_each_check_says_why(
    monkeypatch: pytest.MonkeyPatch, broker: dict[str, Any]
) -> None:
    def connect(options: Any) -> Session:
        raise ConnectionLost("no broker answers")

    monkeypatch.setattr(kafka_verify, "connect", connect)
    options = {"bootstrap_servers": ["k1"], "certificate_days": 14, "bootstrap_timeout": 1}
    options |= {**BROKER, "unit": "kafka", "sasl_username": "admin"}
    results = {each.name: each.detail for each in kafka_verify.BrokerChecks(options).run()}
    assert results["kafka_running"] == results["kafka_refuses_wrong_password"]
    assert results["kafka_running"] == "no broker answers"
    assert "100 days" in results["kafka_certificate"]


def test_documentation_has_the_options_of_the_module() -> None:
    documented = yaml.safe_load(kafka_verify.DOCUMENTATION)["options"]

    def described(options: dict[str, Any]) -> dict[str, Any]:
        fields = ("type", "elements", "choices", "required", "default")
        return {
            name: {field: each[field] for field in fields if field in each}
            | ({"options": described(each["suboptions"])} if "suboptions" in each else {})
            for name, each in options.items()
        }

    def specified(options: dict[str, Any]) -> dict[str, Any]:
        return {
            name: {field: value for field, value in each.items() if field != "no_log"}
            | ({"options": specified(each["options"])} if "options" in each else {})
            for name, each in options.items()
        }

    own = {name: kafka_verify.ARGUMENT_SPEC[name] for name in documented}
    assert described(documented) == specified(own)
