# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_acl plans and refuses, and what its main() sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from ansible_collections.bss.platform.plugins.module_utils.kafka_acl_plan import (
    AclPlan,
    Declaration,
    plan,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_acls import Acl
from ansible_collections.bss.platform.plugins.modules import kafka_acl

RunKafka = Callable[..., dict[str, Any]]

WRITE = Acl("User:app", "topic", "orders", "literal", "write", "allow", "*")
READ = Acl("User:app", "topic", "orders", "literal", "read", "allow", "*")
OTHERS = Acl("User:other", "topic", "orders", "literal", "read", "allow", "*")


def entry(*operations: str, **changes: Any) -> Declaration:
    values = {"principal": "User:app", "resource_type": "topic", "resource_name": "orders"}
    return Declaration(**{**values, "operations": operations, **changes})


def planned(there: set[Acl], *declared: Declaration, purge: bool = False) -> AclPlan:
    decided = plan(there, declared, purge)
    decided.raise_if_refused()
    return decided


def test_creates_what_is_not_there_and_no_more() -> None:
    decided = planned({READ, OTHERS}, entry("read", "write"))
    assert decided.sentences == ["create User:app allow write on topic orders"]
    assert decided.diff == {"before": {}, "after": {"User:app": ["allow write on topic orders"]}}
    assert decided.acls == (READ, WRITE)
    assert not planned({READ, WRITE}, entry("read", "write")).changed


def test_what_denies_comes_first_and_what_goes_comes_last() -> None:
    deny = entry("write", permission="deny", host="192.0.2.1")
    decided = planned({READ}, entry("describe"), deny, entry("read", state="absent"))
    assert decided.sentences == [
        "create User:app deny write on topic orders from 192.0.2.1",
        "create User:app allow describe on topic orders",
        "delete User:app allow read on topic orders",
    ]


def test_purge_is_about_declared_principals_only() -> None:
    there = {READ, WRITE, OTHERS}
    decided = planned(there, entry("write"), purge=True)
    assert decided.sentences == ["delete User:app allow read on topic orders"]
    assert not planned(there, entry("write")).changed
    gone = planned(there, entry("write", state="absent"), purge=True)
    assert len(gone.actions) == 2 and gone.acls == ()


def test_a_prefix_is_another_resource() -> None:
    decided = planned({READ}, entry("read", pattern_type="prefixed"))
    assert decided.sentences == ["create User:app allow read on topic prefixed orders"]


def test_the_cluster_needs_no_name() -> None:
    of_cluster = entry("create", resource_type="cluster", resource_name=None)
    decided = planned(set(), of_cluster)
    assert decided.actions[0].parameters[0]["resource_name"] == "kafka-cluster"


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (entry("read", principal="app"), "write User:app"),
        (entry("read", resource_name=None), "set resource_name"),
        (entry("create", resource_type="cluster", resource_name="mine"), "leave resource_name out"),
        (entry(), "set operations"),
        (entry("read", "cluster_action"), "operations cluster_action: they would allow nothing"),
        (entry("write", resource_type="group"), "a group has"),
    ],
)
def test_refusals(declared: Declaration, message: str) -> None:
    (said,) = (str(each) for each in plan(set(), [declared], False).refusals)
    assert message in said


def test_present_and_absent_at_once_is_refused() -> None:
    decided = plan(set(), [entry("read"), entry("read", state="absent")], False)
    assert "it cannot be both" in str(decided.refusals[0])


# main()


def there(*acls: tuple[int, int]) -> tuple[str, dict[str, Any]]:
    """Operations and permissions on topic orders."""
    said = [
        {"principal": "User:app", "host": "*", "operation": operation, "permission_type": allow}
        for operation, allow in acls
    ]
    resource = {"resource_type": 2, "resource_name": "orders", "pattern_type": 3, "acls": said}
    return "DescribeAcls", {"resources": [resource] if said else []}


ARGS = {
    "principal": "User:app",
    "resource_type": "topic",
    "resource_name": "orders",
    "operations": ["write"],
}


def test_main_creates_then_deletes(run_kafka: RunKafka) -> None:
    script = [
        there((3, 3)),
        ("CreateAcls", {"results": [{"error_code": 0}]}),
        ("DeleteAcls", {"filter_results": [{"error_code": 0}]}),
        there((3, 3)),
        there((4, 3)),
    ]
    answer = run_kafka(kafka_acl, script, {**ARGS, "purge": True})
    assert answer["changed"] and len(answer["requests"]) == 2
    assert [each["operation"] for each in answer["acls"]] == ["write"]


def test_main_a_list_as_declared_costs_one_request(run_kafka: RunKafka) -> None:
    answer = run_kafka(kafka_acl, [there((4, 3))], {"acls": [ARGS]})
    assert (answer["changed"], answer["requests"]) == (False, [])


def test_main_check_mode_only_reads(run_kafka: RunKafka) -> None:
    answer = run_kafka(kafka_acl, [there()], ARGS, check=True)
    assert answer["plan"] == ["create User:app allow write on topic orders"]


def test_main_says_what_kafka_refused(run_kafka: RunKafka) -> None:
    words = {"error_code": 42, "error_message": "Invalid principal"}
    answer = run_kafka(kafka_acl, [there(), ("CreateAcls", {"results": [words]})], ARGS)
    assert answer["failed"]
    assert "to create User:app allow write on topic orders: Invalid principal" in answer["msg"]


def test_documentation_has_the_options_of_the_module() -> None:
    documented = yaml.safe_load(kafka_acl.DOCUMENTATION)["options"]
    suboptions = documented.pop("acls")["suboptions"]
    own = {name: kafka_acl.ARGUMENT_SPEC[name] for name in documented}
    assert own.keys() == {*kafka_acl.ACL_OPTIONS, "purge"}
    fields = ("type", "elements", "choices", "required", "default")
    for described, taken in (
        (documented, own),
        (suboptions, kafka_acl.ARGUMENT_SPEC["acls"]["options"]),
    ):
        assert {
            name: {field: each[field] for field in fields if field in each}
            for name, each in described.items()
        } == taken
