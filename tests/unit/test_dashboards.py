# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The dashboards as Grafana reads them: what each has, and that its parts fit together. Whether
the queries are PromQL, `python -m dashboards.build --check` asks promtool; whether they return
anything, `python -m dashboards.prove` asks a Prometheus."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.amounts import UNITS, as_text
from dashboards.build import DASHBOARDS, DIRECTORY, everything, out_of_date
from dashboards.grafana import DOCUMENTATION, as_json
from dashboards.panels import (
    Dashboard,
    Row,
    lines,
    none_wanted,
    placed,
    region_variable,
    table,
    with_selectors,
)
from dashboards.promql import BUILT_IN, metrics, ranges, selectors, substituted, variables
from dashboards.prove import Result, prove
from dashboards.server import Series

CHECKOUT = Path(__file__).parents[2]
RULES = CHECKOUT / "roles" / "prometheus" / "files" / "rules"
FILES = sorted(DIRECTORY.glob("*.json"))

TITLES = {
    "Citus Cluster Overview",
    "Shard Distribution",
    "Query Performance",
    "Node Health",
    "Flink Job Overview",
    "Stream Processing Metrics",
    "Checkpoint Statistics",
    "TaskManager Resources",
    "Kafka Overview",
    "MirrorMaker",
    "Region Overview",
}
# Metrics that Prometheus makes itself; not every alert knows its region.
WITHOUT_REGION = {"ALERTS"}


def loaded(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield panel


def expressions(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(panel's title, query)"""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def in_file(path: Path) -> str:
    return path.stem


each_file = pytest.mark.parametrize("path", FILES, ids=in_file)


# The files --------------------------------------------------------------------------


def test_the_files_are_what_the_code_says() -> None:
    wanted = {f"{dashboard.uid}.json": as_json(dashboard) for dashboard in DASHBOARDS}
    assert [path.name for path, _text in out_of_date(DIRECTORY, wanted)] == []


def test_what_is_out_of_date(tmp_path: Path) -> None:
    for name, text in (("same", "a"), ("changed", "b"), ("dropped", "c")):
        (tmp_path / f"{name}.json").write_text(text)
    wanted = {"same.json": "a", "changed.json": "B", "new.json": "d"}
    assert list(out_of_date(tmp_path, wanted)) == [
        (tmp_path / "changed.json", "B"),
        (tmp_path / "dropped.json", None),
        (tmp_path / "new.json", "d"),
    ]


def test_there_are_the_eleven() -> None:
    assert {loaded(path)["title"] for path in FILES} == TITLES


def test_no_two_share_an_address() -> None:
    assert len({loaded(path)["uid"] for path in FILES}) == len(FILES)
    assert all(8 <= len(loaded(path)["uid"]) <= 40 for path in FILES)


# What a dashboard has -----------------------------------------------------------------


@each_file
def test_the_data_source_is_chosen_and_never_fixed(path: Path) -> None:
    dashboard = loaded(path)
    first = dashboard["templating"]["list"][0]
    assert (first["name"], first["type"], first["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    sources = [
        part["datasource"] for panel in panels(dashboard) for part in (panel, *panel["targets"])
    ] + [each["datasource"] for each in dashboard["templating"]["list"][1:]]
    assert {(source["type"], source["uid"]) for source in sources} == {
        ("prometheus", "${datasource}")
    }


@each_file
def test_region_and_hosts_are_chosen(path: Path) -> None:
    dashboard = loaded(path)
    names = [each["name"] for each in dashboard["templating"]["list"]]
    assert "region" in names
    if dashboard["title"] != "Region Overview":
        assert "instance" in names
    for variable in dashboard["templating"]["list"][1:]:
        assert re.fullmatch(r"label_values\(.+, \w+\)", variable["query"])
        assert variable["multi"] and variable["includeAll"] and variable["allValue"] == ".+"
        # Values are those of the regions that are chosen.
        if variable["name"] != "region":
            assert 'region=~"$region"' in variable["query"]


@each_file
def test_every_variable_is_there_and_is_used(path: Path) -> None:
    dashboard = loaded(path)
    declared = {each["name"] for each in dashboard["templating"]["list"]}
    text = path.read_text(encoding="utf-8")
    used = {name for _title, expr in expressions(dashboard) for name in variables(expr)}
    assert used <= declared | BUILT_IN.keys()
    assert declared - {"datasource"} <= used, "a choice changes nothing"
    assert "${datasource}" in text


@each_file
def test_alerts_are_marked_and_the_handbook_is_linked(path: Path) -> None:
    dashboard = loaded(path)
    (marks,) = dashboard["annotations"]["list"]
    assert marks["expr"].startswith("ALERTS{")
    assert [link["title"] for link in dashboard["links"]] == [
        "Dashboards",
        "What to do about failures",
    ]


@each_file
def test_panels_fill_the_grid_without_overlap(path: Path) -> None:
    taken: Counter[tuple[int, int]] = Counter()
    numbers = []
    for panel in loaded(path)["panels"]:
        grid = panel["gridPos"]
        numbers.append(panel["id"])
        assert grid["x"] + grid["w"] <= 24
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                taken[x, y] += 1
    assert max(taken.values()) == 1
    assert len(set(numbers)) == len(numbers)


# What a panel has ---------------------------------------------------------------------


@each_file
def test_every_panel_has_a_title_of_its_own_and_queries(path: Path) -> None:
    titles = [panel["title"] for panel in panels(loaded(path))]
    assert all(titles)
    assert [title for title, times in Counter(titles).items() if times > 1] == []
    assert all(panel["targets"] for panel in panels(loaded(path)))


@each_file
def test_every_panel_has_a_unit_that_is_known(path: Path) -> None:
    for panel in panels(loaded(path)):
        config = panel["fieldConfig"]
        units = [config["defaults"]["unit"]]
        units += [
            part["value"]
            for override in config["overrides"]
            for part in override["properties"]
            if part["id"] == "unit"
        ]
        assert set(units) <= UNITS, panel["title"]
        if panel["type"] == "table":
            assert len(units) == 1 + len(panel["targets"]), panel["title"]


@each_file
def test_descriptions_are_sentences(path: Path) -> None:
    for panel in panels(loaded(path)):
        description = panel.get("description", ".")
        assert description.endswith(".") and "  " not in description, panel["title"]


@each_file
def test_every_series_has_a_legend_of_labels_that_the_query_keeps(path: Path) -> None:
    for panel in panels(loaded(path)):
        for target in panel["targets"]:
            if panel["type"] == "table":
                continue
            legend = target["legendFormat"]
            assert legend, panel["title"]
            kept = re.search(r"\bby \(([^)]*)\)", target["expr"])
            if kept and not re.search(r"label_replace|group_left", target["expr"]):
                named = set(re.findall(r"{{(\w+)}}", legend))
                assert named <= set(re.split(r",\s*", kept[1])), panel["title"]


@each_file
def test_links_lead_to_pages_that_there_are(path: Path) -> None:
    for panel in panels(loaded(path)):
        for link in panel.get("links", []):
            page = link["url"].removeprefix(f"{DOCUMENTATION}/")
            assert (CHECKOUT / page).is_file(), panel["title"]


# Queries ------------------------------------------------------------------------------


@each_file
def test_every_selector_keeps_to_the_region(path: Path) -> None:
    for title, expr in expressions(loaded(path)):
        for selector in selectors(expr):
            if selector.metric not in WITHOUT_REGION:
                assert 'region=~"$region"' in selector.matchers, f"{title}: {expr}"


@each_file
def test_rates_look_back_as_far_as_grafana_says(path: Path) -> None:
    for title, expr in expressions(loaded(path)):
        fixed = re.findall(r"\b(rate|irate)\([^[]*\[([^\]]+)\]", expr)
        allowed = {"$__rate_interval"} | ({"5m"} if "heartbeats" in expr else set())
        assert {range_ for _function, range_ in fixed} <= allowed, f"{title}: {expr}"


@each_file
def test_an_alarm_is_not_silenced_by_a_metric_that_is_missing(path: Path) -> None:
    """A count of what is wrong tells nothing, not 0, where its metric is unknown."""
    for title, expr in expressions(loaded(path)):
        if expr.endswith("or vector(0)"):
            assert metrics(expr) == {"ALERTS"}, f"{title}: {expr}"


@each_file
def test_every_recorded_value_is_recorded_by_a_rule(path: Path) -> None:
    rules = [rule.read_text(encoding="utf-8") for rule in RULES.glob("*.yml")]
    recorded = {name for rule in rules for name in re.findall(r"record: (\S+)", rule)}
    read = {name for _title, expr in expressions(loaded(path)) for name in metrics(expr)}
    assert {name for name in read if ":" in name} <= recorded


def test_queries_have_no_selector_left_to_fill_in() -> None:
    for path in FILES:
        for title, expr in expressions(loaded(path)):
            assert not re.search(r"\{[*+]", expr), title
            assert substituted(expr, dict.fromkeys(variables(expr) - BUILT_IN.keys(), ".+"))


# How queries are read -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        ("up", {"up"}),
        ('sum by (region, job) (rate(a_total{x=~"b|c{2}"}[5m]))', {"a_total"}),
        ("max(a) without (b) / on (c) group_left (d) e", {"a", "e"}),
        ("a and b unless on (c) d > bool 1e3 or vector(0)", {"a", "b", "d"}),
        ("region:x:sum * 2 ^ 31 - 86400 offset 5m", {"region:x:sum"}),
        ('label_replace(a, "b", "$1", "c", "(.{0,3}).*")', {"a"}),
        ("histogram_quantile(0.99, sum by (le) (rate(a_bucket[$__rate_interval])))", {"a_bucket"}),
    ],
)
def test_metrics_of_a_query(expr: str, names: set[str]) -> None:
    assert metrics(expr) == names


def test_selectors_and_ranges_of_a_query() -> None:
    expr = 'rate(a{b="}"}[$__rate_interval]) / c[5m:15s]'
    assert [(each.metric, each.matchers) for each in selectors(expr)] == [("a", 'b="}"'), ("c", "")]
    assert ranges(expr) == ["$__rate_interval", "5m"]


def test_variables_are_replaced_and_a_missing_one_is_told() -> None:
    assert substituted('a{b=~"$c"}[$__rate_interval] ${c:regex} $1', {"c": "d"}) == (
        'a{b=~"d"}[1m] d $1'
    )
    with pytest.raises(KeyError, match="unknown"):
        substituted("$unknown", {})


def test_selectors_are_written_out() -> None:
    assert with_selectors('a{*, b="c"}\n  + d{+}', "kafka") == (
        'a{job="kafka", region=~"$region", instance=~"$instance", b="c"}'
        ' + d{job="kafka", region=~"$region"}'
    )


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "short", "0"),
        (1234, "short", "1.23 k"),
        (0.126, "percentunit", "12.6 %"),
        (3 * 2**30, "bytes", "3 GiB"),
        (1536, "binBps", "1.5 KiB/s"),
        (90, "s", "1.5 min"),
        (0.5, "ms", "500 µs"),
        (12.3, "recps", "12.3/s"),
        (1, "bool_yes_no", "yes"),
        (math.nan, "short", "-"),
    ],
)
def test_amounts(value: float, unit: str, text: str) -> None:
    assert as_text(value, unit) == text


# How they are proven ------------------------------------------------------------------


class ScriptedPrometheus:
    """Answers the queries that it has an answer for, and others with nothing."""

    def __init__(self, answers: dict[str, float]) -> None:
        self.answers = answers

    def instant(self, expr: str) -> list[Series]:
        if expr == "up":
            return [Series({"job": "node"}, [(0, 1)])]
        return self.over_time(expr, 0, 0, 0)

    def over_time(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        return [Series({}, [(0, self.answers[expr])])] if expr in self.answers else []

    def label_values(self, selector: str, label: str) -> list[str]:
        return ["us-east"]


def proof_of(panel: Any, answers: dict[str, float], job: str = "node") -> tuple[Result, str]:
    dashboard = Dashboard("one", "One", "One.", (region_variable(),), (Row("Row", job, (panel,)),))
    prometheus: Any = ScriptedPrometheus(answers)
    known = {"known"}
    variable, proof = prove(prometheus, dashboard, known, {"mirrormaker"}, 10)
    assert variable.result is Result.OK
    return proof.result, proof.why


def test_a_panel_is_proven_by_values_of_metrics_that_are_known() -> None:
    assert proof_of(lines("A", "short", ("known", "a")), {"known": 1}) == (Result.OK, "")


@pytest.mark.parametrize(
    ("panel", "answers", "why"),
    [
        (lines("A", "short", ("known", "a")), {}, "no values: known"),
        (lines("A", "short", ("known", "a")), {"known": math.nan}, "no values: known"),
        (none_wanted("A", "other or known"), {"other or known": 1}, "no such metric: other"),
        (lines("A", "furlongs", ("known", "a")), {"known": 1}, "'furlongs' is no unit"),
        (table("A", ("b",), ("C", "short", "known"), ("D", "ells", "known")), {"known": 1},
         "'ells' is no unit"),
    ],
)  # fmt: skip
def test_a_panel_fails(panel: Any, answers: dict[str, float], why: str) -> None:
    assert proof_of(panel, answers) == (Result.FAILED, why)


def test_what_may_be_empty_is_told_apart_from_what_nobody_tells() -> None:
    empty = lines("A", "short", ("known", "a"), may_be_empty="all is well")
    assert proof_of(empty, {}) == (Result.EMPTY, "all is well")
    unknown = lines("A", "short", ("other", "a"), may_be_empty="all is well")
    assert proof_of(unknown, {}) == (Result.NOT_PROVEN, "all is well (nobody tells other)")


def test_what_the_region_does_not_have_is_not_proven() -> None:
    panel = lines("A", "short", ("other", "a"))
    assert proof_of(panel, {}, job="mirrormaker") == (
        Result.NOT_PROVEN,
        "the region has no mirrormaker",
    )


def test_variables_are_all_when_a_dashboard_is_opened() -> None:
    for dashboard in DASHBOARDS:
        assert set(everything(dashboard).values()) == {".+"}
        assert placed(dashboard)
