# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Render the rules of Prometheus with its role's defaults, and say which alert is not proven.

    coverage.py DIRECTORY [STEM ...]    writes DIRECTORY/rules and DIRECTORY/tests, for promtool

An alert is proven by a case of its test file that expects it and by one that
does not, where what it asks for is there to be judged. Its page is in docs/.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml

CHECKOUT = Path(__file__).parents[2]
RULES = CHECKOUT / "roles" / "prometheus" / "files" / "rules"
TESTS = Path(__file__).parent
# Where a variable of the rules has its value, the last one first.
VARIABLES = ("_platform/defaults", "_platform/vars", "prometheus/defaults", "prometheus/vars")

SEVERITIES = {"critical", "warning"}
# It fires always, so that somebody misses it: nothing can keep it silent.
ALWAYS_FIRING = "Watchdog"
METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`[^`]*`")


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    directory = Path(sys.argv[1])
    stems = sorted(sys.argv[2:] or (path.stem for path in RULES.glob("*.yml")))
    wrong = [f"{stem}: {file} is missing" for stem in stems for file in missing(stem)]
    stems = [stem for stem in stems if not missing(stem)]
    tests = {
        stem: yaml.load(rendered(TESTS / f"{stem}_test.yml"), AsPromtoolReads) for stem in stems
    }
    # A file's tests may take recording rules from another.
    sources = {stem: rendered(RULES / f"{stem}.yml") for stem in named(tests) | set(stems)}
    rules = {stem: yaml.safe_load(source) for stem, source in sources.items()}
    alerts = [alert for stem in stems for alert in alerts_of(stem, rules[stem])]
    wrong += [*twice(alerts), *(fault for alert in alerts for fault in faults(alert))]
    (directory / "rules").mkdir(parents=True)
    (directory / "tests").mkdir()
    for stem, source in sources.items():
        (directory / "rules" / f"{stem}.yml").write_text(source, encoding="utf-8")
    for stem, test in tests.items():
        of_file = [alert for alert in alerts if alert.stem == stem]
        wrong += unproven(of_file, recorded(rules), test)
        (directory / "tests" / f"{stem}_test.yml").write_text(
            yaml.safe_dump(completed(test, rules, of_file), sort_keys=False), encoding="utf-8"
        )
    for line in wrong:
        print(line)
    print(f"{len(alerts)} alerts in {len(stems)} files")
    return 1 if wrong or not alerts else 0


def missing(stem: str) -> list[str]:
    """The files of a set of rules that are not there."""
    files = (RULES / f"{stem}.yml", TESTS / f"{stem}_test.yml")
    return [str(path.relative_to(CHECKOUT)) for path in files if not path.exists()]


def named(tests: Mapping[str, Any]) -> set[str]:
    """The files of rules that tests load."""
    return {Path(name).stem for test in tests.values() for name in test["rule_files"]}


class AsPromtoolReads(yaml.SafeLoader):
    """0x10 is eleven times a zero there, not sixteen."""


AsPromtoolReads.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:int"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
AsPromtoolReads.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)


# Rendering -----------------------------------------------------------------------


@functools.cache
def variables() -> dict[str, Any]:
    """What the role gives its rules where an inventory sets nothing."""
    found: dict[str, Any] = {}
    for source in VARIABLES:
        path = CHECKOUT / "roles" / source / "main.yml"
        if path.exists():
            found |= yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return found


def rendered(path: Path) -> str:
    """As the role's template task does: Prometheus' own brackets stay what they are."""
    environment = jinja2.Environment(
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.from_string(path.read_text(encoding="utf-8")).render(variables())


# Alerts --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Alert:
    stem: str
    name: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def severity(self) -> str:
        return self.labels.get("severity", "")

    def __str__(self) -> str:
        return f"{self.stem}: {self.name} ({self.severity})"


def alerts_of(stem: str, groups: Mapping[str, Any]) -> Iterator[Alert]:
    for group in groups["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                yield Alert(
                    stem,
                    rule["alert"],
                    str(rule["expr"]),
                    rule.get("labels", {}),
                    rule.get("annotations", {}),
                )


def recorded(rules: Mapping[str, Any]) -> dict[str, str]:
    """The expression of each recording rule, by its name."""
    return {
        rule["record"]: str(rule["expr"])
        for groups in rules.values()
        for group in groups["groups"]
        for rule in group["rules"]
        if "record" in rule
    }


def twice(alerts: list[Alert]) -> Iterator[str]:
    """One name is one alert: a second of it has another severity, and is in the same file."""
    seen: dict[str, Alert] = {}
    for alert in alerts:
        former = seen.setdefault(alert.name, alert)
        if former is not alert and (former.stem != alert.stem or former.severity == alert.severity):
            yield f"{alert}: is in {former.stem} as well"


def faults(alert: Alert) -> Iterator[str]:
    """What the alert does not say of itself, or says wrongly."""
    if not re.fullmatch(r"([A-Z][a-z0-9]*)+", alert.name):
        yield f"{alert}: the name is not in CamelCase"
    if alert.severity not in SEVERITIES | ({"none"} if alert.name == ALWAYS_FIRING else set()):
        yield f"{alert}: the severity is none of {', '.join(sorted(SEVERITIES))}"
    summary = alert.annotations.get("summary", "")
    if not summary or "\n" in summary.strip():
        yield f"{alert}: the summary is not one line"
    for key in alert.annotations.keys() - {"summary", "description", "runbook_url"}:
        yield f"{alert}: nothing shows an annotation {key}"
    link, _, page = alert.annotations.get("runbook_url", "").partition("/docs/")
    if link != variables()["prometheus_runbook_url"]:
        yield f"{alert}: the runbook is not below prometheus_runbook_url"
    elif not (CHECKOUT / "docs" / page).is_file():
        yield f"{alert}: the runbook docs/{page} does not exist"


# Tests ---------------------------------------------------------------------------


def unproven(
    alerts: list[Alert], records: Mapping[str, str], test: Mapping[str, Any]
) -> Iterator[str]:
    """Alerts without a case that fires them, or without one that could and does not."""
    known = {alert.name for alert in alerts}
    fired, silent = set(), set()
    for group in test["tests"]:
        series = {METRIC.match(one["series"])[0] for one in group.get("input_series", [])}  # type: ignore[index]
        for case in group.get("alert_rule_test", []):
            name = case["alertname"]
            if name not in known:
                yield f"{name}: is tested and no alert of the file"
            expected = {one["exp_labels"]["severity"] for one in case.get("exp_alerts") or []}
            for alert in alerts:
                if alert.name != name:
                    continue
                if alert.severity in expected:
                    fired.add(alert)
                elif asked(alert.expr, records) & series:
                    silent.add(alert)
    for alert in alerts:
        if alert not in fired:
            yield f"{alert}: no case fires it"
        if alert not in silent and alert.name != ALWAYS_FIRING:
            yield f"{alert}: no case has its metrics and leaves it silent"


def asked(expr: str, records: Mapping[str, str]) -> set[str]:
    """Words of an expression, metrics among them; recording rules give theirs."""
    words = set(METRIC.findall(STRING.sub("", expr)))
    for record in words & records.keys():
        words |= asked(records[record], records)
    return words


def completed(test: Mapping[str, Any], rules: Mapping[str, Any], alerts: list[Alert]) -> Any:
    """The test with its rules where promtool finds them, and with runbooks where it names none."""
    runbooks = {
        (alert.name, alert.severity): alert.annotations.get("runbook_url") for alert in alerts
    }
    for group in test["tests"]:
        for case in group.get("alert_rule_test", []):
            for one in case.get("exp_alerts") or []:
                runbook = runbooks.get((case["alertname"], one["exp_labels"]["severity"]))
                one.setdefault("exp_annotations", {}).setdefault("runbook_url", runbook)
    stems = [Path(name).stem for name in test["rule_files"]]
    return {
        **test,
        "rule_files": [f"../rules/{stem}.yml" for stem in stems],
        # promtool takes groups in any order, but what is recorded comes before its alerts.
        "group_eval_order": [group["name"] for stem in stems for group in rules[stem]["groups"]],
    }


if __name__ == "__main__":
    sys.exit(main())
