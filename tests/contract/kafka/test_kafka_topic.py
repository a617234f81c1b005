# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""kafka_topic against a real cluster, looked at with kafka-python's own client."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils import kafka_wire
from ansible_collections.bss.platform.plugins.modules import kafka_topic
from kafka import KafkaProducer
from kafka.admin import ConfigResource, NewTopic

RECORD = b"x" * 1000


class Operator:
    """Somebody who declares topics."""

    def __init__(self, cluster: Any, run_module: Callable[..., dict[str, Any]]) -> None:
        self.cluster = cluster
        self._run = run_module

    def declare(self, *topics: dict[str, Any], check: bool = False, **args: Any) -> dict[str, Any]:
        arguments = {**self.cluster.login, **({"topics": list(topics)} if topics else {}), **args}
        return self._run("kafka_topic", arguments, check=check, diff=True)

    def declared(self, *topics: dict[str, Any], **args: Any) -> dict[str, Any]:
        """The same three times: check, run, run again; the first and the last change nothing."""
        names = [topic["name"] for topic in topics]
        before = self.state(*names)
        predicted = self.declare(*topics, check=True, **args)
        assert not predicted["failed"], predicted
        assert self.state(*names) == before
        done = self.declare(*topics, **args)
        assert not done["failed"], done
        for part in ("changed", "plan", "diff", "topics"):
            assert done[part] == predicted[part]
        again = self.declare(*topics, **args)
        assert not again["failed"], again
        assert (again["changed"], again["plan"], again["requests"]) == (False, [], [])
        return done

    def refused(self, *topics: dict[str, Any], **args: Any) -> str:
        """What the module says when it refuses; nothing may have been changed."""
        names = [topic["name"] for topic in topics]
        before = self.state(*names)
        answer = self.declare(*topics, **args)
        assert answer["failed"], answer
        assert self.state(*names) == before
        return str(answer["msg"])

    def state(self, *names: str) -> dict[str, Any]:
        """Replicas by partition, and the settings of their own, of those topics that exist."""
        with self.cluster.admin() as admin:
            there = [each for each in admin.describe_topics() if each["name"] in names]
            return {
                topic["name"]: {
                    "replicas": [
                        each["replica_nodes"]
                        for each in sorted(
                            topic["partitions"], key=lambda each: each["partition_index"]
                        )
                    ],
                    "config": self.own_config(admin, topic["name"]),
                }
                for topic in there
            }

    @staticmethod
    def own_config(admin: Any, name: str) -> dict[str, str]:
        said = admin.describe_configs([ConfigResource("TOPIC", name)], config_filter="all")
        return {
            key: each["value"]
            for key, each in said["topic"][name].items()
            if each["config_source"] == "DYNAMIC_TOPIC_CONFIG"
        }

    def fill(self, name: str, records: int) -> None:
        """Write records of 1000 bytes to partition 0, and wait for their acknowledgement."""
        producer = KafkaProducer(**self.cluster.client_options, acks="all", batch_size=200_000)
        sent = [producer.send(name, RECORD, partition=0) for _ in range(records)]
        producer.flush()
        assert all(each.succeeded() for each in sent)
        producer.close()


@pytest.fixture
def operator(kafka: Any, run_module: Any) -> Operator:
    return Operator(kafka, run_module)


def test_creates_changes_and_deletes(operator: Operator) -> None:
    orders, prices = operator.cluster.name("orders"), operator.cluster.name("prices")
    config = {"min.insync.replicas": 2, "retention.ms": 86400000}
    operator.declared(
        {"name": orders, "partitions": 3, "replication_factor": 3, "config": config},
        {"name": prices, "config": {"cleanup.policy": "compact"}},
    )
    there = operator.state(orders, prices)
    assert [sorted(each) for each in there[orders]["replicas"]] == [[1, 2, 3]] * 3
    assert there[orders]["config"] == {"min.insync.replicas": "2", "retention.ms": "86400000"}
    assert len(there[prices]["replicas"]) == 1

    done = operator.declared(
        {"name": orders, "partitions": 5, "config": {"retention.ms": None}},
        {"name": prices, "config": {"preallocate": False}, "purge_configs": True},
    )
    assert done["plan"] == [
        f"reset retention.ms of {orders}, which is 86400000",
        f"reset cleanup.policy of {prices}, which is compact",
        f"set preallocate of {prices} from false (default) to false",
        f"grow {orders} from 3 to 5 partitions",
    ]
    there = operator.state(orders, prices)
    assert len(there[orders]["replicas"]) == 5
    assert there[orders]["config"] == {"min.insync.replicas": "2"}
    assert there[prices]["config"] == {"preallocate": "false"}

    gone = {"state": "absent", "allow_delete": True}
    operator.declared({"name": orders, **gone}, {"name": prices, **gone})
    assert operator.state(orders, prices) == {}


def test_a_single_topic_takes_the_options_of_the_list(operator: Operator) -> None:
    name = operator.cluster.name()
    assert operator.declare(name=name, partitions=2)["changed"]
    assert not operator.declare(name=name, partitions=2)["changed"]


def test_all_reasons_are_told_at_once_and_nothing_is_changed(operator: Operator) -> None:
    name, new = operator.cluster.name(), operator.cluster.name()
    operator.declare(name=name, partitions=2)
    message = operator.refused(
        {"name": name, "partitions": 1, "replication_factor": 4, "config": {"retension.ms": 1}},
        {"name": "not a name"},
        {"name": new, "replication_factor": 1, "config": {"min.insync.replicas": 2}},
        {"name": f"{new}-b", "config": {"retention.ms": "soon"}},
        {"name": f"{new}-c"},
    )
    assert "Kafka cannot take partitions away" in message
    assert "brokers in the cluster: 3" in message
    assert "write retention.ms, if that is meant" in message
    assert "topic 'not a name'" in message
    assert "with acks=all" in message
    assert "Invalid value soon for configuration retention.ms" in message
    assert message.count("To go on:") == 6


def test_a_topic_with_records_is_not_deleted_by_absent_alone(operator: Operator) -> None:
    name = operator.cluster.name()
    operator.declare(name=name)
    assert "allow_delete: true" in operator.refused({"name": name, "state": "absent"})


def test_replication_factor_up_and_down(operator: Operator) -> None:
    name = operator.cluster.name()
    operator.declare(name=name, partitions=4, replication_factor=1)
    done = operator.declared(
        {"name": name, "replication_factor": 3, "config": {"min.insync.replicas": 2}},
        throttle=50_000_000,
    )
    assert f"reassign 4 partitions of {name} from 1 to 3 replicas" in done["plan"]
    there = operator.state(name)[name]
    assert [sorted(each) for each in there["replicas"]] == [[1, 2, 3]] * 4
    assert there["config"] == {"min.insync.replicas": "2"}
    with operator.cluster.admin() as admin:
        for node in (1, 2, 3):
            broker = admin.describe_configs(
                [ConfigResource("BROKER", str(node))], config_filter="all"
            )
            rates = [
                each
                for key, each in broker["broker"][str(node)].items()
                if key.endswith("replication.throttled.rate")
                and each["config_source"] == "DYNAMIC_BROKER_CONFIG"
            ]
            assert rates == []
    operator.declared({"name": name, "replication_factor": 2, "config": {"min.insync.replicas": 1}})
    assert [len(each) for each in operator.state(name)[name]["replicas"]] == [2] * 4


def test_a_reassignment_that_was_not_waited_for_is_joined(operator: Operator) -> None:
    name = operator.cluster.name()
    operator.declare(name=name, partitions=1, replication_factor=1)
    operator.fill(name, 5000)
    wanted = {"name": name, "replication_factor": 3}

    first = operator.declare(wanted, throttle=200_000, reassignment_timeout=1)
    assert first["failed"]
    assert "After 1 s, 1 partitions are still reassigned" in first["msg"]

    second = operator.declare(wanted, throttle=100_000_000)
    assert not second["failed"], second
    assert f"wait for the reassignment of 1 partition of {name} that is under way" in second["plan"]
    there = operator.state(name)[name]
    assert [len(each) for each in there["replicas"]] == [3]
    assert there["config"] == {}
    assert not operator.declare(wanted)["changed"]


def test_a_reassignment_to_something_else_is_taken_back(operator: Operator) -> None:
    name = operator.cluster.name()
    operator.declare(name=name, partitions=1, replication_factor=1)
    operator.fill(name, 5000)
    three = {"name": name, "replication_factor": 3}
    assert operator.declare(three, throttle=200_000, reassignment_timeout=1)["failed"]
    done = operator.declare({"name": name, "replication_factor": 1}, reassignment_timeout=30)
    assert not done["failed"], done
    there = operator.state(name)[name]
    assert [len(each) for each in there["replicas"]] == [1]
    assert there["config"] == {}
    assert not operator.declare({"name": name, "replication_factor": 1})["changed"]


def test_a_run_goes_on_where_a_killed_broker_ended_it(operator: Operator) -> None:
    """The servers are tried in order: with the first one gone, the next one answers."""
    name, elsewhere = operator.cluster.name(), operator.cluster.name()
    with operator.cluster.admin() as admin:
        # Not left to Kafka, which also gives replicas to a broker that is away.
        admin.create_topics([NewTopic(elsewhere, replica_assignments={0: [2, 3], 1: [3, 2]})])
    operator.cluster.kill(1)
    try:
        assert operator.declare(name=name, partitions=2, replication_factor=2)["changed"]
        assert not operator.declare(name=name, partitions=2, replication_factor=2)["changed"]
        more = operator.declare(name=elsewhere, replication_factor=3)
        assert more["failed"] and "broker 1 does not serve" in more["msg"], more
    finally:
        operator.cluster.start(1)
    assert operator.declare(name=elsewhere, replication_factor=3)["changed"]


def test_a_connection_that_breaks_before_a_write_leaves_what_the_next_run_mends(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = operator.cluster.name()
    operator.declare(name=name, partitions=1)
    send = kafka_wire.Connection._send

    def broken(self: Any, message_class: Any, body: Any, version: int) -> Any:
        if message_class.name == "CreatePartitionsRequest" and "validate_only" not in body:
            self._socket.close()
        return send(self, message_class, body, version)

    monkeypatch.setattr(kafka_wire.Connection, "_send", broken)
    options = {
        **{option: each.get("default") for option, each in kafka_topic.ARGUMENT_SPEC.items()},
        **operator.cluster.login,
        "name": name,
        "partitions": 3,
        "config": {"retention.ms": 5000},
    }
    with pytest.raises(kafka_wire.ConnectionLost, match="run the same task again"):
        kafka_topic.run(options, check_mode=False)
    there = operator.state(name)[name]
    assert (len(there["replicas"]), there["config"]) == (1, {"retention.ms": "5000"})
    done = operator.declare(name=name, partitions=3, config={"retention.ms": 5000})
    assert done["plan"] == [f"grow {name} from 1 to 3 partitions"]


def test_200_topics_as_declared_cost_four_requests(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = operator.cluster.name("many")
    topics = [
        {"name": f"{prefix}-{number}", "partitions": 1, "config": {"retention.ms": 86400000}}
        for number in range(200)
    ]
    assert operator.declare(*topics)["changed"]
    sent: list[str] = []
    send = kafka_wire.Connection._send

    def counted(self: Any, message_class: Any, body: Any, version: int) -> Any:
        sent.append(message_class.name)
        return send(self, message_class, body, version)

    monkeypatch.setattr(kafka_wire.Connection, "_send", counted)
    options = {option: each.get("default") for option, each in kafka_topic.ARGUMENT_SPEC.items()}
    empty = dict.fromkeys(kafka_topic.TOPIC_OPTIONS)
    options |= {**operator.cluster.login, "topics": [{**empty, **each} for each in topics]}
    assert not kafka_topic.run(options, check_mode=False)["changed"]
    login = ["ApiVersions", "SaslHandshake", "SaslAuthenticate", "SaslAuthenticate"]
    reads = ["Metadata", "DescribeConfigs", "ListPartitionReassignments", "DescribeCluster"]
    assert [each.removesuffix("Request") for each in sent] == [*login, *reads]
    gone = {"state": "absent", "allow_delete": True}
    operator.declare(*({"name": each["name"], **gone} for each in topics))


# Who may not


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sasl_password": "another"}, "refuses the login of admin"),
        ({"sasl_username": "nobody"}, "refuses the login of nobody"),
        ({"ca_cert": None}, "a certificate that is not to be trusted"),
        ({"security_protocol": "PLAINTEXT"}, "Check that security_protocol"),
        ({"security_protocol": "SASL_PLAINTEXT"}, "Check that security_protocol"),
        ({"security_protocol": "SSL"}, "Check that security_protocol"),
        ({"sasl_mechanism": "SCRAM-SHA-256"}, "but SCRAM-SHA-512"),
        ({"sasl_password": None}, "set sasl_password"),
        ({"ca_cert": "no-such-file"}, "cannot be used"),
        ({"bootstrap_servers": ["127.0.0.1:1"]}, "No connection to Kafka: 127.0.0.1:1"),
        ({"bootstrap_servers": ["no-such-host.invalid"]}, "no-such-host.invalid:9092"),
    ],
)
def test_a_connection_that_cannot_be_is_explained_at_once(
    operator: Operator, wrong: dict[str, Any], message: str
) -> None:
    answer = operator.declare(name="t", **{**wrong, "bootstrap_timeout": 5})
    assert answer["failed"] and message in answer["msg"], answer
    password = str(operator.cluster.login["sasl_password"])
    assert password not in json.dumps({**answer, "invocation": None})


def test_the_name_in_the_certificate_is_verified(operator: Operator) -> None:
    """The same address, written in a way that the certificate does not have."""
    other = str(int(ip_address(operator.cluster.host)))
    answer = operator.declare(name="t", bootstrap_servers=[f"{other}:9092"])
    assert answer["failed"] and f"that it names {other}" in answer["msg"], answer


def test_the_controllers_port_is_told_from_the_brokers(operator: Operator) -> None:
    answer = operator.declare(name="t", bootstrap_servers=[f"{operator.cluster.host}:19092"])
    assert "the port is for clients, not for controllers" in answer["msg"]
