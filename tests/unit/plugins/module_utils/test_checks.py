# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""One check never stops another, and what is not proven is never passed."""

from __future__ import annotations

import pytest
from ansible_collections.bss.platform.plugins.module_utils.checks import (
    Check,
    CheckFailed,
    as_returned,
    conclude,
    run_checks,
)


def fails() -> str:
    raise CheckFailed("us-w1 is\n  missing")


def breaks() -> str:
    raise ZeroDivisionError("by\x00zero")


CHECKS = [
    Check("first", "The first holds", fails),
    Check("second", "The second holds", breaks),
    Check("third", "The third holds", lambda: "as it should"),
    Check("fourth", "The fourth holds", lambda: "seen", needs_real_service=True),
]


def test_every_check_runs_whatever_the_others_do() -> None:
    results = run_checks(CHECKS)
    assert [(result.name, result.state, result.detail) for result in results] == [
        ("first", "failed", "us-w1 is missing"),
        ("second", "failed", "ZeroDivisionError: by zero"),
        ("third", "ok", "as it should"),
        ("fourth", "ok", "seen"),
    ]


def test_a_standin_is_not_asked_what_only_the_real_service_proves() -> None:
    *_, third, fourth = run_checks(CHECKS, standin=True)
    assert (third.state, fourth.state) == ("ok", "standin")
    assert "not proven" in fourth.detail


def test_what_a_module_returns() -> None:
    returned = as_returned(run_checks(CHECKS[2:]))
    assert returned["passed"] is True
    assert set(returned["results"][0]) == {"name", "proves", "state", "detail", "seconds", "host"}
    assert as_returned(run_checks(CHECKS[1:2]))["passed"] is False
    # What was not proven is no failure either: the report counts it by itself.
    assert as_returned(run_checks(CHECKS[3:], standin=True))["passed"] is True


def test_all_faults_are_told() -> None:
    assert conclude([], "all is well") == "all is well"
    with pytest.raises(CheckFailed, match="a; b"):
        conclude(["a", "b"], "all is well")
