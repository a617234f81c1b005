# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""kafka_feature against a real cluster, looked at with kafka-python's own client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

METADATA = "metadata.version"
FORMATTED_AT, LATEST = 29, 30
"""Of Kafka 4.2, as nodes.sh formats the directories, and of the Kafka that runs."""

Declare = Callable[..., dict[str, Any]]


@pytest.fixture
def declare(kafka: Any, run_module: Any) -> Declare:
    def run(features: dict[str, Any], check: bool = False, **args: Any) -> dict[str, Any]:
        arguments = {**kafka.login, "features": features, **args}
        answer: dict[str, Any] = run_module("kafka_feature", arguments, check=check, diff=True)
        return answer

    return run


def finalized(kafka: Any) -> int:
    with kafka.admin() as admin:
        _least, most = admin.describe_features()[METADATA]["finalized"]
    return int(most)


def test_a_level_is_raised_once_and_never_lowered(
    kafka: Any, run_module: Any, declare: Declare
) -> None:
    """In one test, since there is no way back for another."""
    wanted = {METADATA: "latest", "share.version": "latest", "transaction.version": 2}
    name = kafka.name("user")
    assert run_module("kafka_user", {**kafka.login, "name": name, "password": "pw"})["changed"]
    nobody = declare(wanted, **kafka.login_as(name, "pw"))
    assert nobody["failed"] and "needs ALTER permission" in nobody["msg"], nobody["msg"]

    predicted = declare(wanted, check=True)
    assert (predicted["changed"], predicted["requests"]) == (True, [])
    assert finalized(kafka) == FORMATTED_AT
    done = declare(wanted)
    assert not done["failed"], done
    for part in ("changed", "plan", "diff", "features"):
        assert done[part] == predicted[part]
    assert done["plan"] == [f"raise {METADATA} from {FORMATTED_AT} to {LATEST}"]
    assert done["features"][METADATA] == {
        "finalized_before": FORMATTED_AT,
        "finalized": LATEST,
        "supported_min": 7,
        "supported_max": LATEST,
    }
    assert finalized(kafka) == LATEST
    again = declare(wanted)
    assert (again["changed"], again["plan"], again["requests"]) == (False, [], [])

    lowered = declare({METADATA: FORMATTED_AT, "share.version": 0})
    assert lowered["failed"]
    assert f"{METADATA}: {FORMATTED_AT}: a cluster does not go back" in lowered["msg"]
    assert f"level {LATEST} is finalised" in lowered["msg"]
    assert "share.version: 0" in lowered["msg"]
    assert finalized(kafka) == LATEST


def test_what_the_brokers_do_not_have_is_refused(declare: Declare) -> None:
    said = declare({"metadata.versoin": "latest", "share.version": 9, METADATA: "4.3"})
    assert said["failed"]
    assert f"write {METADATA}, if that is meant" in said["msg"]
    assert "broker 1, 2, 3 does not support it" in said["msg"]
    assert "a level is a whole number, or latest" in said["msg"]


def test_levels_are_told_without_a_wish(declare: Declare) -> None:
    said = declare({})
    assert (said["changed"], said["diff"]) == (False, {"before": {}, "after": {}})
    assert said["features"]["kraft.version"]["finalized"] == 1
