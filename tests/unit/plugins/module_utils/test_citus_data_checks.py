# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The faults that the checks of data tell, from what the nodes answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils import citus_data_checks
from ansible_collections.bss.platform.plugins.module_utils.citus_data_checks import (
    copy_faults,
    presence_faults,
)

NAMES = {1: "us-c1:5432", 2: "us-w1:5432"}


def answer(nodeid: int, placements: int, missing: list[str] | None = None) -> dict[str, Any]:
    own = {"placements": placements, "missing": missing or []}
    return {"nodeid": nodeid, "success": True, "result": json.dumps(own)}


@pytest.mark.parametrize(
    ("answers", "faults"),
    [
        ([answer(1, 0), answer(2, 4)], []),
        ([answer(1, 0)], ["us-w1:5432 was not asked"]),
        ([answer(1, 0), answer(2, 4, ["orders_1"])], ["us-w1:5432 lacks orders_1"]),
        (
            [answer(1, 0), answer(2, 3)],
            ["us-w1:5432 counts 3 placements on itself, the coordinator counts 4"],
        ),
        (
            [answer(1, 0), {"nodeid": 2, "success": False, "result": "connection refused"}],
            ["us-w1:5432 does not answer: connection refused"],
        ),
    ],
)
def test_presence(answers: list[dict[str, Any]], faults: list[str]) -> None:
    assert presence_faults(answers, {1: 0, 2: 4}, NAMES) == faults


def copy(node: str, result: str = "50 rows, sum 7", success: bool = True) -> dict[str, Any]:
    return {"node": node, "success": success, "result": result}


@pytest.mark.parametrize(
    ("copies", "faults"),
    [
        ([copy("a"), copy("b")], []),
        (
            [copy("a"), copy("b", "50 rows, sum 8")],
            ["the copies of products differ: a: 50 rows, sum 7, b: 50 rows, sum 8"],
        ),
        ([copy("a")], ["products has no copy on b: call replicate_reference_tables()"]),
        ([copy("a"), copy("b", "no such table", False)], ["products on b: no such table"]),
    ],
)
def test_copies(copies: list[dict[str, Any]], faults: list[str]) -> None:
    assert copy_faults("products", copies, {"a", "b"}) == faults


@pytest.mark.parametrize(
    ("readings", "faults"),
    [
        ([[]], []),
        ([["a writer came between"], []], []),
        ([["differs"], ["differs"], ["differs still"]], ["differs still"]),
    ],
)
def test_a_difference_must_last(readings: list[list[str]], faults: list[str]) -> None:
    remaining = iter(readings)
    assert citus_data_checks._settled(lambda: next(remaining)) == faults
    assert list(remaining) == []
