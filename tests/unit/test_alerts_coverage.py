# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What tests/rules says of alerts that are not proven, or do not say what they have to."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]

_spec = importlib.util.spec_from_file_location(
    "alerts_coverage", CHECKOUT / "tests" / "rules" / "coverage.py"
)
assert _spec is not None and _spec.loader is not None
coverage = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = coverage  # dataclasses look their module up
_spec.loader.exec_module(coverage)

RUNBOOK = coverage.variables()["prometheus_runbook_url"] + "/docs/failures/host-lost.md"
RECORDS = {"instance:host_up:max": "max by (instance) (up)"}


def alert(**said: Any) -> Any:
    annotations = {"summary": "it is down", "runbook_url": RUNBOOK} | said.pop("annotations", {})
    rule = {"name": "HostDown", "expr": "instance:host_up:max == 0"} | said
    return coverage.Alert("hosts", labels={"severity": "critical"}, annotations=annotations, **rule)


def case(fires: bool, series: str = 'up{instance="us-w1"}') -> dict[str, Any]:
    expected = {"exp_alerts": [{"exp_labels": {"severity": "critical"}}]} if fires else {}
    return {
        "input_series": [{"series": series, "values": "0x10"}],
        "alert_rule_test": [{"alertname": "HostDown", "eval_time": "5m", **expected}],
    }


def test_an_alert_that_fires_in_one_case_and_not_in_another_is_proven():
    tests = {"tests": [case(True), case(False)]}
    assert list(coverage.unproven([alert()], RECORDS, tests)) == []


@pytest.mark.parametrize(
    ("cases", "missing"),
    [
        ([case(False)], "no case fires it"),
        ([case(True)], "no case has its metrics and leaves it silent"),
        # Without its metrics, everything is silent.
        ([case(True), case(False, "node_load1")], "no case has its metrics and leaves it silent"),
    ],
)
def test_an_alert_that_is_not_proven(cases, missing):
    found = list(coverage.unproven([alert()], RECORDS, {"tests": cases}))
    assert found == [f"hosts: HostDown (critical): {missing}"]


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"name": "host_down"}, "CamelCase"),
        ({"annotations": {"summary": "two\nlines"}}, "not one line"),
        ({"annotations": {"summary": ""}}, "not one line"),
        ({"annotations": {"message": "?"}}, "an annotation message"),
        ({"annotations": {"runbook_url": "https://example.org/docs/site.md"}}, "not below"),
        ({"annotations": {"runbook_url": RUNBOOK.replace("lost", "found")}}, "does not exist"),
    ],
)
def test_an_alert_that_does_not_say_what_it_has_to(said, fault):
    (found,) = coverage.faults(alert(**said))
    assert fault in found


def test_an_alert_that_says_all():
    assert list(coverage.faults(alert())) == []


def test_a_name_is_one_alert_of_one_file():
    twice = list(coverage.twice([alert(), alert()]))
    assert twice == ["hosts: HostDown (critical): is in hosts as well"]


def test_values_are_read_as_promtool_reads_them():
    read = yaml.load("{values: 0x10, number: 16}", coverage.AsPromtoolReads)
    assert read == {"values": "0x10", "number": 16}
