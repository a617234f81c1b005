# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""kafka_user against a real cluster: what counts is who can log in."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import connect
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import CredentialsRefused
from ansible_collections.bss.platform.plugins.modules import kafka_user
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

PASSWORD = "first-Contract-password"
OTHER = "second-Contract-password"


class Operator:
    """Somebody who declares users."""

    def __init__(self, cluster: Any, run_module: Callable[..., dict[str, Any]]) -> None:
        self.cluster = cluster
        self._run = run_module

    def declare(self, *users: dict[str, Any], check: bool = False, **args: Any) -> dict[str, Any]:
        arguments = {**self.cluster.login, **({"users": list(users)} if users else {}), **args}
        answer = self._run("kafka_user", arguments, check=check, diff=True)
        said = json.dumps(answer)  # what was given in is in it as well, masked by Ansible
        assert PASSWORD not in said and OTHER not in said
        return answer

    def declared(self, *users: dict[str, Any]) -> dict[str, Any]:
        """The same three times: check, run, run again; the first and the last change nothing."""
        predicted = self.declare(*users, check=True)
        assert not predicted["failed"], predicted
        assert predicted["requests"] == []
        done = self.declare(*users)
        assert not done["failed"], done
        for part in ("changed", "plan", "diff", "users"):
            assert done[part] == predicted[part]
        again = self.declare(*users)
        assert not again["failed"], again
        assert (again["changed"], again["plan"], again["requests"]) == (False, [], [])
        return done

    def can_log_in(self, name: str, password: str) -> bool:
        """With kafka-python's own client, which reports a wrong password as a time-out."""
        options = {"sasl_plain_username": name, "sasl_plain_password": password}
        try:
            with self.cluster.admin(**options, bootstrap_timeout_ms=3000):
                return True
        except KafkaError:
            return False

    def users(self) -> set[str]:
        with self.cluster.admin() as admin:
            return set(admin.describe_user_scram_credentials())


@pytest.fixture
def operator(kafka: Any, run_module: Any) -> Operator:
    return Operator(kafka, run_module)


def test_a_user_comes_changes_its_password_and_goes(operator: Operator) -> None:
    name = operator.cluster.name("user")
    done = operator.declared({"name": name, "password": PASSWORD})
    assert done["plan"] == [f"give user {name} a password (SCRAM-SHA-512, 4096 iterations)"]
    assert '"salt": "***", "salted_password": "***"' in done["requests"][0]
    assert operator.can_log_in(name, PASSWORD)

    done = operator.declared({"name": name, "password": OTHER})
    assert done["plan"] == [f"change the password of user {name}"]
    assert done["diff"]["after"][name]["password"] == "(new)"
    assert operator.can_log_in(name, OTHER)
    assert not operator.can_log_in(name, PASSWORD)

    done = operator.declared({"name": name, "state": "absent"})
    assert done["plan"] == [f"remove user {name} (SCRAM-SHA-512)"]
    assert not operator.can_log_in(name, OTHER)


def test_a_password_is_left_alone_on_create(operator: Operator) -> None:
    name = operator.cluster.name("user")
    operator.declare({"name": name, "password": PASSWORD})
    again = operator.declare({"name": name, "password": OTHER, "update_password": "on_create"})
    assert not again["changed"]
    assert operator.can_log_in(name, PASSWORD)


def test_iterations_are_changed_with_the_password(operator: Operator) -> None:
    name = operator.cluster.name("user")
    operator.declared({"name": name, "password": PASSWORD, "iterations": 5000})
    done = operator.declared({"name": name, "password": PASSWORD, "iterations": 8192})
    assert "with 8192 iterations, instead of 5000" in done["plan"][0]
    assert operator.can_log_in(name, PASSWORD)


def test_names_that_scram_has_to_escape(operator: Operator) -> None:
    name = operator.cluster.name("CN=a,OU=b")
    operator.declared({"name": name, "password": PASSWORD})
    connect(login_of(operator, name, PASSWORD)).close()


def test_quotas_come_change_and_go(operator: Operator) -> None:
    name = operator.cluster.name("user")
    done = operator.declared(
        {"name": name, "quotas": {"producer_byte_rate": 1048576, "request_percentage": 12.5}}
    )
    assert done["plan"] == [
        f"set producer_byte_rate of user {name} from none to 1048576",
        f"set request_percentage of user {name} from none to 12.5",
    ]
    done = operator.declared(
        {"name": name, "quotas": {"producer_byte_rate": 2097152, "consumer_byte_rate": None}}
    )
    assert done["users"][0]["quotas"] == {
        "producer_byte_rate": 2097152,
        "request_percentage": 12.5,
    }
    operator.declared({"name": name, "quotas": {"request_percentage": None}})
    done = operator.declared({"name": name, "state": "absent"})
    assert done["plan"] == [f"take producer_byte_rate off user {name}, which is 2097152"]


def test_all_reasons_are_told_at_once_and_nothing_is_changed(operator: Operator) -> None:
    name = operator.cluster.name("user")
    answer = operator.declare(
        {"name": name, "password": PASSWORD, "iterations": 1},
        {"name": "a", "quotas": {"producer_rate": 1, "request_percentage": 0}},
        {"name": "admin", "state": "absent"},
    )
    assert answer["failed"] and answer["msg"].count("To go on:") == 4
    assert "write producer_byte_rate, if that is meant" in answer["msg"]
    assert "it would lock itself out" in answer["msg"]
    assert name not in operator.users() and "admin" in operator.users()


def test_no_password_is_in_a_log_or_an_exception(
    operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    name = operator.cluster.name("user")
    caplog.set_level(logging.DEBUG)
    options = {option: each.get("default") for option, each in kafka_user.ARGUMENT_SPEC.items()}
    options |= {**operator.cluster.login, "name": name, "password": PASSWORD}
    assert kafka_user.run(options, check_mode=False)["changed"]
    with pytest.raises(CredentialsRefused) as refused:
        connect(login_of(operator, name, OTHER))
    secrets = (PASSWORD, OTHER, operator.cluster.login["sasl_password"])
    assert not [each for each in secrets if each in caplog.text + str(refused.value)]
    # The library's own client does write it there: the test can see one.
    own = {**operator.cluster.client_options, "sasl_plain_password": OTHER}
    with pytest.raises(KafkaError):
        KafkaAdminClient(**own, bootstrap_timeout_ms=500)
    assert OTHER in caplog.text


def login_of(operator: Operator, name: str, password: str) -> dict[str, Any]:
    options = {option: each.get("default") for option, each in kafka_user.ARGUMENT_SPEC.items()}
    return {**options, **operator.cluster.login_as(name, password)}
