# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What kafka_feature plans and refuses, and what its main() sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml
from ansible_collections.bss.platform.plugins.module_utils import kafka_connection
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import RequestRefused
from ansible_collections.bss.platform.plugins.module_utils.kafka_feature_plan import (
    Current,
    FeaturePlan,
    plan,
)
from ansible_collections.bss.platform.plugins.modules import kafka_feature

RunKafka = Callable[..., dict[str, Any]]

METADATA, SHARE = "metadata.version", "share.version"
OLD = {METADATA: (7, 27), "group.version": (0, 1)}
NEW = {METADATA: (9, 30), "group.version": (0, 1), SHARE: (0, 1)}


def planned(supported: Mapping[int, Any], finalized: int, declared: dict[str, Any]) -> FeaturePlan:
    decided = plan(Current({METADATA: finalized}, supported), declared)
    decided.raise_if_refused()
    return decided


def test_latest_is_what_all_brokers_support() -> None:
    decided = planned({1: NEW, 2: NEW}, 25, {METADATA: "latest", SHARE: "latest"})
    assert decided.sentences == [
        "raise metadata.version from 25 to 30",
        "raise share.version from 0 to 1",
    ]
    assert decided.diff == {
        "before": {METADATA: 25, SHARE: 0},
        "after": {METADATA: 30, SHARE: 1},
    }
    assert decided.features[METADATA] == {
        "finalized_before": 25,
        "finalized": 30,
        "supported_min": 9,
        "supported_max": 30,
    }


def test_latest_is_that_of_the_oldest_while_versions_differ() -> None:
    decided = planned({1: NEW, 2: OLD, 3: NEW}, 25, {METADATA: "latest", SHARE: "latest"})
    assert decided.sentences == [
        "raise metadata.version from 25 to 27, the highest that broker 2 supports"
    ]
    assert decided.features[METADATA]["supported_max"] == 27
    assert decided.features[SHARE]["supported_max"] == 0


def test_a_level_that_is_finalised_is_left() -> None:
    decided = planned({1: NEW}, 30, {METADATA: 30})
    assert not decided.changed and decided.diff == {"before": {}, "after": {}}
    assert not planned({1: NEW}, 30, {METADATA: "latest"}).changed
    assert planned({1: NEW}, 25, {METADATA: "26"}).sentences == [
        "raise metadata.version from 25 to 26"
    ]


def test_metadata_is_raised_first() -> None:
    supported = {1: {**NEW, "a.version": (0, 1)}}
    declared = {SHARE: 1, METADATA: 30, "a.version": 1}
    assert [each.split()[1] for each in planned(supported, 25, declared).sentences] == [
        METADATA,
        "a.version",
        SHARE,
    ]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({METADATA: 24}, "metadata.version: 24: a cluster does not go back"),
        ({METADATA: 24}, "There is: level 25 is finalised"),
        ({METADATA: 31}, "broker 1, 2 does not support it"),
        ({METADATA: 28}, "broker 2 does not support it. There is: all brokers support 9 to 27"),
        ({METADATA: "4.3"}, "a level is a whole number, or latest"),
        ({METADATA: True}, "a level is a whole number, or latest"),
        ({METADATA: None}, "a level is a whole number, or latest"),
        ({METADATA: -1}, "a level is a whole number, or latest"),
        ({"metadata.versoin": 25}, "write metadata.version, if that is meant"),
    ],
)
def test_what_cannot_be_is_refused(declared: dict[str, Any], message: str) -> None:
    decided = plan(Current({METADATA: 25}, {1: NEW, 2: OLD}), declared)
    (said,) = decided.refusals
    assert message in str(said)
    assert not decided.changed


# main()

CLUSTER: dict[str, Any] = {
    "cluster_id": "c",
    "brokers": [
        {"broker_id": 1, "host": "k1", "port": 9092, "rack": None},
        {"broker_id": 2, "host": "k2", "port": 9092, "rack": None},
        {"broker_id": 3, "host": "k3", "port": 9092, "rack": None, "is_fenced": True},
    ],
}
ACCEPTED: dict[str, Any] = {"results": []}


def told(finalized: int, epoch: int = 1) -> dict[str, Any]:
    return {
        "finalized_features_epoch": epoch,
        "finalized_features": [{"name": METADATA, "max_version_level": finalized}],
        "supported_features": [{"name": METADATA, "min_version": 7, "max_version": 30}],
    }


READ = [
    ("DescribeCluster", CLUSTER),
    ("ApiVersions to k1", told(25)),
    ("ApiVersions to k2", told(25)),
]
ARGS = {"features": {METADATA: "latest"}}


def test_main_tries_sends_and_waits_until_it_holds(run_kafka: RunKafka) -> None:
    script = [
        *READ,
        ('UpdateFeatures {"validate_only": true}', ACCEPTED),
        ('UpdateFeatures {"validate_only": false}', ACCEPTED),
        *READ,
        ("DescribeCluster", CLUSTER),
        ("ApiVersions to k1", told(25)),
        ("ApiVersions to k2", told(30, epoch=2)),
    ]
    said = run_kafka(kafka_feature, script, ARGS)
    assert not said["failed"], said
    assert said["plan"] == ["raise metadata.version from 25 to 30"]
    assert len(said["requests"]) == 1 and '"upgrade_type": 1' in said["requests"][0]


def test_main_in_check_mode_only_tries(run_kafka: RunKafka) -> None:
    script = [*READ, ('UpdateFeatures {"validate_only": true}', ACCEPTED)]
    said = run_kafka(kafka_feature, script, ARGS, check=True)
    assert (said["changed"], said["requests"]) == (True, [])
    assert said["features"][METADATA]["finalized_before"] == 25


@pytest.mark.parametrize(
    "answer",
    [
        RequestRefused("Kafka at k1 refused", "Controller 4 only supports versions 7-29"),
        {
            "results": [
                {
                    "feature": METADATA,
                    "error_code": 95,
                    "error_message": "Controller 4 only supports versions 7-29",
                }
            ]
        },
    ],
)
def test_main_tells_what_kafka_has_against_it(run_kafka: RunKafka, answer: Any) -> None:
    said = run_kafka(kafka_feature, [*READ, ("UpdateFeatures", answer)], ARGS)
    assert said["failed"]
    assert "Kafka says: Controller 4 only supports versions 7-29" in said["msg"]


def test_main_only_tells_where_nothing_is_declared(run_kafka: RunKafka) -> None:
    said = run_kafka(kafka_feature, READ, {"features": {}})
    assert not said["changed"]
    assert said["features"][METADATA]["finalized"] == 25


def test_main_tells_that_no_broker_serves(run_kafka: RunKafka) -> None:
    fenced = {**CLUSTER, "brokers": [CLUSTER["brokers"][2]]}
    said = run_kafka(kafka_feature, [("DescribeCluster", fenced)], ARGS)
    assert said["failed"] and "No broker of the cluster" in said["msg"]


def test_documentation_has_the_options_of_the_module() -> None:
    documented = yaml.safe_load(kafka_feature.DOCUMENTATION)["options"]
    own = {*kafka_feature.ARGUMENT_SPEC} - {*kafka_connection.CONNECTION_OPTIONS}
    assert {*documented} == own
