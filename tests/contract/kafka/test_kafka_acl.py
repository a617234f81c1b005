# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""kafka_acl against a real cluster: what counts is who may do what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaError, TopicAuthorizationFailedError

PASSWORD = "contract-acl"


class Operator:
    """Somebody who declares ACLs, for an application with a user and a topic."""

    def __init__(self, cluster: Any, run_module: Callable[..., dict[str, Any]]) -> None:
        self.cluster = cluster
        self._run = run_module
        self.user = cluster.name("app")
        self.topic = cluster.name("topic")
        self.principal = f"User:{self.user}"
        user = {"name": self.user, "password": PASSWORD}
        assert not run_module("kafka_user", {**cluster.login, **user})["failed"]
        assert not run_module("kafka_topic", {**cluster.login, "name": self.topic})["failed"]

    def on_topic(self, *operations: str, **changes: Any) -> dict[str, Any]:
        """An entry of the application's principal about its topic."""
        return {
            "principal": self.principal,
            "resource_type": "topic",
            "resource_name": self.topic,
            "operations": list(operations),
            **changes,
        }

    def declare(self, *acls: dict[str, Any], check: bool = False, **args: Any) -> dict[str, Any]:
        arguments = {**self.cluster.login, **({"acls": list(acls)} if acls else {}), **args}
        return self._run("kafka_acl", arguments, check=check, diff=True)

    def declared(self, *acls: dict[str, Any], **args: Any) -> dict[str, Any]:
        """The same three times: check, run, run again; the first and the last change nothing."""
        predicted = self.declare(*acls, check=True, **args)
        assert not predicted["failed"], predicted
        assert predicted["requests"] == []
        done = self.declare(*acls, **args)
        assert not done["failed"], done
        for part in ("changed", "plan", "diff", "acls"):
            assert done[part] == predicted[part]
        again = self.declare(*acls, **args)
        assert not again["failed"], again
        assert (again["changed"], again["plan"], again["requests"]) == (False, [], [])
        return done

    def write(self) -> None:
        """As the application; raises what Kafka says to it."""
        options = {"sasl_plain_username": self.user, "sasl_plain_password": PASSWORD}
        producer = KafkaProducer(
            **{**self.cluster.client_options, **options}, max_block_ms=5000, retries=0
        )
        try:
            producer.send(self.topic, b"x").get(timeout=10)
        finally:
            producer.close()

    def wait_until_denied(self) -> None:
        """An ACL that is gone is so at the other brokers a moment later."""

        def denied() -> bool:
            try:
                self.write()
            except TopicAuthorizationFailedError:
                return True
            return False

        self.cluster.wait("the broker of the topic to deny", denied)


@pytest.fixture
def operator(kafka: Any, run_module: Any) -> Operator:
    return Operator(kafka, run_module)


def test_what_is_allowed_can_be_done_and_nothing_else(operator: Operator) -> None:
    with pytest.raises(KafkaError):
        operator.write()
    done = operator.declared(operator.on_topic("write", "describe"))
    assert done["plan"] == [
        f"create {operator.principal} allow describe on topic {operator.topic}",
        f"create {operator.principal} allow write on topic {operator.topic}",
    ]
    operator.write()
    done = operator.declared(operator.on_topic("write", state="absent"))
    assert done["plan"] == [f"delete {operator.principal} allow write on topic {operator.topic}"]
    assert [each["operation"] for each in done["acls"]] == ["describe"]
    operator.wait_until_denied()


def test_purge_leaves_what_is_declared_and_other_principals(operator: Operator) -> None:
    other = operator.on_topic("read", principal="User:somebody-else")
    operator.declared(
        operator.on_topic("write", "read"),
        operator.on_topic("read", resource_name="prefix", pattern_type="prefixed"),
        operator.on_topic("delete", permission="deny", host="192.0.2.7"),
        {"principal": operator.principal, "resource_type": "cluster", "operations": ["create"]},
        other,
    )
    done = operator.declared(operator.on_topic("write"), purge=True)
    assert [each["operation"] for each in done["acls"]] == ["write"]
    assert len(done["plan"]) == 4
    operator.write()
    assert not operator.declare(other)["changed"]
    operator.declare({**other, "state": "absent"})


def test_a_single_entry_takes_the_options_of_the_list(operator: Operator) -> None:
    assert operator.declare(**operator.on_topic("read"))["changed"]
    assert not operator.declare(**operator.on_topic("read"))["changed"]


def test_all_reasons_are_told_at_once_and_nothing_is_changed(operator: Operator) -> None:
    answer = operator.declare(
        operator.on_topic("write"),
        operator.on_topic("write", state="absent"),
        operator.on_topic("cluster_action"),
        operator.on_topic("read", principal="app"),
        operator.on_topic("read", resource_name=None),
    )
    assert answer["failed"] and answer["msg"].count("To go on:") == 4, answer
    assert "write User:app" in answer["msg"]
    with pytest.raises(KafkaError):
        operator.write()


def test_a_user_without_rights_is_told_so(operator: Operator, run_module: Any) -> None:
    login = operator.cluster.login_as(operator.user, PASSWORD)
    answer = run_module("kafka_acl", {**login, **operator.on_topic("read")})
    assert answer["failed"] and f"refused DescribeAcls for {operator.user}" in answer["msg"]
    answer = run_module("kafka_topic", {**login, "name": operator.topic})
    assert answer["failed"] and f"{operator.topic} (" in answer["msg"], answer
