# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What a dashboard is made of: variables, rows, panels, queries.

A query is written for one target's labels at a time, and says so in short:

    {*}   the row's job, and the region and the instances that are chosen
    {+}   the row's job and the region that is chosen, all of its instances

More matchers may follow within the braces, as in node_cpu_seconds_total{*, mode="idle"}.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

REGION = 'region=~"$region"'
INSTANCE = 'instance=~"$instance"'

GREEN, YELLOW, RED, BLUE = "green", "orange", "red", "blue"


class Kind(Enum):
    """How a panel shows what it asked for."""

    TIME_SERIES = "timeseries"
    STAT = "stat"
    BARS = "bargauge"
    TABLE = "table"


@dataclass(frozen=True)
class Query:
    expr: str
    # As Grafana's legends: {{label}} is the label's value. A table's is its column's name.
    legend: str


@dataclass(frozen=True)
class Panel:
    title: str
    # One of Grafana's units; grafana_foundation_sdk.models.units has their names.
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = Kind.TIME_SERIES
    # What is not plain from the title.
    description: str = ""
    # Of 24 columns, and of rows of about 38 pixels.
    width: int = 8
    height: int = 7
    # From which value on the panel takes which colour; below the first it is green.
    thresholds: tuple[tuple[float, str], ...] = ()
    # What a value is shown as, and in which colour.
    texts: tuple[tuple[int, str, str], ...] = ()
    # Of a table: the labels that are shown, in their order, and the units of columns.
    labels: tuple[str, ...] = ()
    column_units: tuple[tuple[str, str], ...] = ()
    minimum: float | None = 0
    maximum: float | None = None
    decimals: int | None = None
    stacked: bool = False
    # A page of docs/ that says what to do about it.
    runbook: str = ""
    # Why the queries may return nothing although all is well; then an empty answer
    # proves the query's metrics, not its panel.
    may_be_empty: str = ""


@dataclass(frozen=True)
class Row:
    title: str
    # Prometheus' job whose metrics the panels show.
    job: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard: the values of a label of a metric."""

    name: str
    title: str
    metric: str
    label: str

    @property
    def query(self) -> str:
        return f"label_values({self.metric}, {self.label})"


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class PlacedPanel:
    """A panel with its place on the dashboard and its queries as Prometheus takes them."""

    number: int
    panel: Panel
    job: str
    x: int
    y: int
    queries: tuple[Query, ...]


@dataclass(frozen=True)
class PlacedRow:
    number: int
    title: str
    y: int
    panels: tuple[PlacedPanel, ...]


COLUMNS = 24


def region_variable() -> Variable:
    return Variable("region", "Region", "up", "region")


def instance_variable(job: str) -> Variable:
    """The hosts whose metrics of this job there are, in the regions that are chosen."""
    return Variable("instance", "Host", f'up{{job=~"{job}", {REGION}}}', "instance")


def placed(dashboard: Dashboard) -> list[PlacedRow]:
    """The rows from top to bottom, the panels of each from left to right."""
    rows = []
    number, y = 1, 0
    for row in dashboard.rows:
        row_number, row_y = number, y
        number += 1
        panels = []
        x, y, tallest = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            queries = tuple(
                Query(with_selectors(query.expr, row.job), query.legend) for query in panel.queries
            )
            panels.append(PlacedPanel(number, panel, row.job, x, y, queries))
            number += 1
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
        rows.append(PlacedRow(row_number, row.title, row_y, tuple(panels)))
    return rows


def with_selectors(expr: str, job: str) -> str:
    """The expression with {*} and {+} written out."""
    expr = expr.replace("{*", f'{{job="{job}", {REGION}, {INSTANCE}')
    expr = expr.replace("{+", f'{{job="{job}", {REGION}')
    return re.sub(r"\s+", " ", expr).strip()


# The panels that there are most of ----------------------------------------------


def lines(
    title: str,
    unit: str,
    *queries: tuple[str, str],
    description: str = "",
    width: int = 8,
    stacked: bool = False,
    maximum: float | None = None,
    minimum: float | None = 0,
    thresholds: tuple[tuple[float, str], ...] = (),
    runbook: str = "",
    may_be_empty: str = "",
) -> Panel:
    """Values over time, of (query, legend)."""
    return Panel(
        title,
        unit,
        tuple(Query(expr, legend) for expr, legend in queries),
        description=description,
        width=width,
        stacked=stacked,
        minimum=minimum,
        maximum=maximum,
        thresholds=thresholds,
        runbook=runbook,
        may_be_empty=may_be_empty,
    )


def number(
    title: str,
    unit: str,
    expr: str,
    *,
    description: str = "",
    width: int = 4,
    thresholds: tuple[tuple[float, str], ...] = (),
    texts: tuple[tuple[int, str, str], ...] = (),
    decimals: int | None = None,
    runbook: str = "",
    may_be_empty: str = "",
) -> Panel:
    """One value, large."""
    return Panel(
        title,
        unit,
        (Query(expr, title),),
        kind=Kind.STAT,
        description=description,
        width=width,
        height=4,
        thresholds=thresholds,
        texts=texts,
        decimals=decimals,
        minimum=None,
        runbook=runbook,
        may_be_empty=may_be_empty,
    )


def none_wanted(
    title: str,
    expr: str,
    *,
    description: str = "",
    runbook: str = "",
    colour: str = RED,
    width: int = 4,
    may_be_empty: str = "",
) -> Panel:
    """How many there are of what there should be none of."""
    return number(
        title,
        "short",
        expr,
        description=description,
        runbook=runbook,
        thresholds=((1, colour),),
        decimals=0,
        width=width,
        may_be_empty=may_be_empty,
    )


def bars(
    title: str,
    unit: str,
    expr: str,
    legend: str,
    *,
    description: str = "",
    width: int = 8,
    height: int = 7,
    thresholds: tuple[tuple[float, str], ...] = (),
    maximum: float | None = None,
    runbook: str = "",
    may_be_empty: str = "",
) -> Panel:
    """What each has now, side by side."""
    return Panel(
        title,
        unit,
        (Query(expr, legend),),
        kind=Kind.BARS,
        description=description,
        width=width,
        height=height,
        thresholds=thresholds,
        maximum=maximum,
        runbook=runbook,
        may_be_empty=may_be_empty,
    )


def table(
    title: str,
    labels: tuple[str, ...],
    *columns: tuple[str, str, str],
    description: str = "",
    width: int = 24,
    height: int = 8,
    runbook: str = "",
    may_be_empty: str = "",
) -> Panel:
    """A row for each set of labels; columns of (heading, unit, query)."""
    return Panel(
        title,
        columns[0][1],
        tuple(Query(expr, heading) for heading, _unit, expr in columns),
        kind=Kind.TABLE,
        description=description,
        width=width,
        height=height,
        labels=labels,
        column_units=tuple((heading, unit) for heading, unit, _expr in columns),
        runbook=runbook,
        may_be_empty=may_be_empty,
    )
