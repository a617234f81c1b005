# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Results of all hosts: gathered without gaps, and judged."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

from ansible_collections.bss.platform.plugins.plugin_utils.verification import (
    Verification,
    as_json,
    as_junit,
    as_table,
    gather,
    standin_warning,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def result(name: str, state: str = "ok", detail: str = "seen <&> done") -> dict[str, Any]:
    return {
        "name": name,
        "proves": f"The {name} holds",
        "state": state,
        "detail": detail,
        "seconds": 0.25,
        "host": "",
    }


REGISTERED = {
    "us-c1": {
        "verify_etcd": {"results": [result("etcd_healthy")]},
        "verify_citus": {"results": [result("nodes_active"), result("shards_placed", "standin")]},
    },
    "us-w1": {"verify_etcd": {"results": [result("etcd_healthy", "failed", "no leader")]}},
    "us-w2": {"verify_etcd": {"unreachable": True, "msg": "No route\n to host"}},
    "us-w3": {"verify_etcd": {"failed": True, "msg": "python is missing"}},
    "us-w4": {},
}
SUITES = {
    "verify_etcd": ["us-c1", "us-w1", "us-w2", "us-w3", "us-w4"],
    "verify_citus": ["us-c1"],
}
BAD = gather("verify", SUITES, REGISTERED)
GOOD = gather("verify", {"verify_citus": ["us-c1"]}, REGISTERED)
NOTHING = gather("verify", {"verify_etcd": []}, REGISTERED)


def failed(verification: Verification) -> list[tuple[str, str, str]]:
    return [(item.host, item.name, item.detail) for item in verification.failures]


def test_a_host_without_results_is_a_failed_check() -> None:
    assert failed(BAD) == [
        ("us-w1", "etcd_healthy", "no leader"),
        ("us-w2", "verify_etcd_ran", "the host was not reached: No route to host"),
        ("us-w3", "verify_etcd_ran", "python is missing"),
        ("us-w4", "verify_etcd_ran", "its checks did not run"),
    ]
    assert BAD.counts == {"ok": 2, "failed": 4, "standin": 1}
    assert BAD.fault == "4 of 7 checks failed"


def test_what_a_standin_leaves_open_is_neither_passed_nor_failed() -> None:
    assert GOOD.fault is None
    assert GOOD.sentence == "1 checks passed, 0 failed, 1 not proven by a stand-in"
    assert "shards_placed" in (standin_warning(GOOD) or "")
    assert standin_warning(NOTHING) is None


def test_nothing_is_not_enough() -> None:
    assert NOTHING.fault == "No check ran, so nothing is proven"
    only_standin = {"us-c1": {"v": {"results": [result("shards_placed", "standin")]}}}
    assert gather("verify", {"v": ["us-c1"]}, only_standin).fault is not None


def test_the_table() -> None:
    lines = as_table(BAD).splitlines()
    assert lines[0].split() == ["RESULT", "HOSTS", "CHECK", "SECONDS", "WHAT", "IT", "PROVES"]
    assert lines[1].split()[:4] == ["FAILED", "1/2", "etcd_healthy", "0.25"]
    assert ["STAND-IN", "0/1", "shards_placed"] in [line.split()[:3] for line in lines]
    assert lines[-4] == "FAILED  us-w1  etcd_healthy: no leader"


def test_the_json() -> None:
    document = json.loads(as_json(BAD, NOW))
    assert document["passed"] is False
    assert document["finished"] == "2026-01-02T03:04:05+00:00"
    assert document["counts"] == BAD.counts
    assert len(document["results"]) == 7
    assert document["results"][0]["host"] == "us-c1"
    assert json.loads(as_json(GOOD, NOW))["passed"] is True


def test_the_junit() -> None:
    root = ElementTree.fromstring(as_junit(BAD, NOW))
    assert (root.get("tests"), root.get("failures")) == ("7", "4")
    assert [suite.get("hostname") for suite in root] == SUITES["verify_etcd"]
    cases = {(case.get("classname"), case.get("name")): case for case in root.iter("testcase")}
    failure = cases["verify.us-w1", "etcd_healthy"].find("failure")
    assert failure is not None
    assert failure.get("message") == "no leader"
    assert cases["verify.us-c1", "shards_placed"].find("skipped") is not None
    assert cases["verify.us-c1", "nodes_active"].find("failure") is None


def test_the_junit_of_nothing_is_not_green() -> None:
    assert ElementTree.fromstring(as_junit(NOTHING, NOW)).get("failures") == "1"
