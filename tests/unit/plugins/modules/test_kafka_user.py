# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_user plans and refuses, and what its main() sends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible_collections.bss.platform.plugins.module_utils.kafka_user_plan import (
    Current,
    Declaration,
    UserPlan,
    plan,
    to_try,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_users import (
    User,
    new_credential,
)
from ansible_collections.bss.platform.plugins.modules import kafka_user

RunKafka = Callable[..., dict[str, Any]]

SCRAM = "SCRAM-SHA-512"
PASSWORD = "hunter2-and-more"


def current(*users: User, accepted: tuple[str, ...] = ()) -> Current:
    return Current({each.name: each for each in users}, frozenset(accepted), "admin")


def planned(there: Current, *declared: Declaration) -> UserPlan:
    decided = plan(there, declared)
    decided.raise_if_refused()
    return decided


def refused(there: Current, *declared: Declaration) -> list[str]:
    return [str(each) for each in plan(there, declared).refusals]


def test_a_new_user_gets_a_password_and_quotas() -> None:
    decided = planned(
        current(), Declaration("app", PASSWORD, quotas={"producer_byte_rate": "1048576"})
    )
    assert decided.sentences == [
        "give user app a password (SCRAM-SHA-512, 4096 iterations)",
        "set producer_byte_rate of user app from none to 1048576",
    ]
    assert decided.diff["before"] == {}
    assert decided.diff["after"]["app"] == {
        "credentials": {SCRAM: 4096},
        "password": "(new)",
        "quotas": {"producer_byte_rate": 1048576.0},
    }
    assert PASSWORD not in repr(decided)


def test_credentials_come_before_quotas_whatever_the_order() -> None:
    decided = planned(
        current(), Declaration("a", quotas={"request_percentage": 5}), Declaration("b", PASSWORD)
    )
    assert [each.partition(" ")[0] for each in decided.sentences] == ["give", "set"]


def test_a_password_that_is_accepted_stays_and_another_is_changed() -> None:
    there = User("app", {SCRAM: 8192})
    assert not planned(current(there, accepted=("app",)), Declaration("app", PASSWORD)).changed
    changed = planned(current(there), Declaration("app", PASSWORD))
    assert changed.sentences == ["change the password of user app"]
    assert changed.actions[0].options["iterations"] == 8192
    kept = Declaration("app", PASSWORD, update_password=False)
    assert not planned(current(there), kept).changed
    assert not planned(current(there), Declaration("app")).changed


def test_only_what_could_be_another_password_is_tried() -> None:
    users = {"app": User("app", {SCRAM: 4096}), "old": User("old", {"SCRAM-SHA-256": 4096})}
    declared = [
        Declaration("app", PASSWORD),
        Declaration("new", PASSWORD),
        Declaration("old", PASSWORD),
        Declaration("app"),
        Declaration("app", PASSWORD, update_password=False),
        Declaration("app", PASSWORD, state="absent"),
    ]
    assert to_try(declared, users) == declared[:1]


def test_quotas_that_are_not_declared_are_left_alone() -> None:
    there = User("app", quotas={"producer_byte_rate": 5.0, "consumer_byte_rate": 6.0})
    declared = {"producer_byte_rate": None, "consumer_byte_rate": 6}
    decided = planned(current(there), Declaration("app", quotas=declared))
    assert decided.sentences == ["take producer_byte_rate off user app, which is 5"]
    assert decided.users[0]["quotas"] == {"consumer_byte_rate": 6.0}
    assert not planned(
        current(there), Declaration("app", quotas={"request_percentage": None})
    ).changed


def test_a_user_that_goes_loses_every_credential_and_quota() -> None:
    there = User("app", {SCRAM: 4096, "SCRAM-SHA-256": 4096}, {"controller_mutation_rate": 2.0})
    decided = planned(current(there), Declaration("app", state="absent"))
    assert decided.sentences == [
        "remove user app (SCRAM-SHA-256)",
        "remove user app (SCRAM-SHA-512)",
        "take controller_mutation_rate off user app, which is 2",
    ]
    assert decided.diff["after"] == {}
    assert not planned(current(), Declaration("app", state="absent")).changed


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (Declaration(" "), "nobody could log in as it"),
        (Declaration("a", ""), "Kafka takes no empty password"),
        (Declaration("a", PASSWORD, iterations=4095), "4096 to 16384"),
        (Declaration("a", iterations=5000), "set password as well"),
        (Declaration("a", quotas={"producer_rate": 1}), "write producer_byte_rate"),
        (Declaration("a", quotas={"request_percentage": 0}), "a quota is a number above 0"),
        (Declaration("a", quotas={"request_percentage": "lots"}), "a quota is a number above 0"),
        (Declaration("a", quotas={"request_percentage": "nan"}), "a quota is a number above 0"),
        (Declaration("admin", state="absent"), "lock itself out"),
    ],
)
def test_refusals(declared: Declaration, message: str) -> None:
    (said,) = refused(current(User("admin", {SCRAM: 4096})), declared)
    assert message in said


def test_a_user_twice_is_refused() -> None:
    assert "in the list 2 times" in refused(current(), Declaration("a"), Declaration("a"))[0]


def test_a_credential_is_what_scram_makes_of_the_password() -> None:
    made = new_credential("app", PASSWORD, 4096)
    expected = hashlib.pbkdf2_hmac("sha512", PASSWORD.encode(), made["salt"], 4096)
    assert made["salted_password"] == expected
    assert new_credential("app", PASSWORD, 4096)["salt"] != made["salt"]


# main()


def reads(*users: str, **quotas: float) -> list[tuple[str, dict[str, Any]]]:
    info = {"credential_infos": [{"mechanism": 2, "iterations": 4096}]}
    values = [{"key": key, "value": value} for key, value in quotas.items()]
    entity = [{"entity_type": "user", "entity_name": "app"}]
    default = [{"entity_type": "user", "entity_name": None}]
    entries = [{"entity": entity, "values": values}, {"entity": default, "values": values}]
    return [
        ("DescribeUserScramCredentials", {"results": [{"user": name, **info} for name in users]}),
        ("DescribeClientQuotas", {"entries": entries if quotas else None}),
    ]


def test_main_sends_no_password_and_shows_no_hash(run_kafka: RunKafka) -> None:
    script = [
        *reads(),
        ("AlterUserScramCredentials", {"results": [{"user": "app", "error_code": 0}]}),
        *reads("app"),
        ("login app", True),
    ]
    answer = run_kafka(kafka_user, script, {"name": "app", "password": PASSWORD})
    assert answer["changed"]
    assert '"salt": "***", "salted_password": "***"' in answer["requests"][0]
    assert PASSWORD not in json.dumps(answer)


def test_main_check_mode_tries_the_login_and_sends_nothing(run_kafka: RunKafka) -> None:
    script = [*reads("app"), ("login app", False)]
    answer = run_kafka(kafka_user, script, {"name": "app", "password": PASSWORD}, check=True)
    assert answer["plan"] == ["change the password of user app"] and answer["requests"] == []


def test_main_as_declared_changes_nothing(run_kafka: RunKafka) -> None:
    script = [*reads("app", producer_byte_rate=5.0), ("login app", True)]
    options = {"name": "app", "password": PASSWORD, "quotas": {"producer_byte_rate": 5}}
    answer = run_kafka(kafka_user, script, {"users": [options]})
    assert (answer["changed"], answer["plan"], answer["requests"]) == (False, [], [])


def test_main_quotas_of_one_user_are_one_entry(run_kafka: RunKafka) -> None:
    entity = {"entity": [{"entity_type": "user", "entity_name": "app"}], "error_code": 0}
    script = [
        *reads(),
        ("AlterClientQuotas", {"entries": [entity]}),
        *reads("app", producer_byte_rate=5.0, consumer_byte_rate=6.0),
    ]
    quotas = {"producer_byte_rate": 5, "consumer_byte_rate": 6}
    answer = run_kafka(kafka_user, script, {"name": "app", "quotas": quotas})
    assert answer["requests"][0].count('"entity"') == 1


def test_main_says_whom_kafka_refused(run_kafka: RunKafka) -> None:
    entity = {"entity": [{"entity_type": "user", "entity_name": "app"}]}
    words = {**entity, "error_code": 42, "error_message": "no such quota"}
    script = [*reads(), ("AlterClientQuotas", {"entries": [words]})]
    quotas = {"producer_byte_rate": 5}
    answer = run_kafka(kafka_user, script, {"name": "app", "quotas": quotas})
    assert answer["failed"] and "user app: no such quota" in answer["msg"]


def test_documentation_has_the_options_of_the_module() -> None:
    documented = yaml.safe_load(kafka_user.DOCUMENTATION)["options"]
    suboptions = documented.pop("users")["suboptions"]
    fields = ("type", "choices", "required", "default")
    for described, taken in (
        (documented, kafka_user.USER_OPTIONS),
        (suboptions, kafka_user.ARGUMENT_SPEC["users"]["options"]),
    ):
        assert described.keys() == taken.keys()
        for name, option in taken.items():
            expected = {field: option[field] for field in fields if field in option}
            said = {field: described[name][field] for field in fields if field in described[name]}
            assert said == expected


@pytest.mark.parametrize("name", ["password", "sasl_password"])
def test_passwords_are_secret(name: str) -> None:
    assert kafka_user.ARGUMENT_SPEC[name]["no_log"] is True
