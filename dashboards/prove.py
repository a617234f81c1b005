# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Ask a live Prometheus every query of every dashboard, as Grafana would.

    python -m dashboards.prove [--inventory DIRECTORY | --url URL --ca FILE --password-file FILE]

A panel is proven when each of its queries returns values, names no metric that
Prometheus does not have, and the panel's unit is one. What cannot be proven where
it runs is named, and not counted as proven:

    ok           every query returned values
    empty        a query returned none, which is right in a healthy region; its metrics
                 are there
    not proven   the region has nothing of the kind, or a query returned none and its
                 metrics are not there, which is right in a healthy region
    FAILED       anything else
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from dashboards.amounts import UNITS
from dashboards.build import DASHBOARDS, DIRECTORY, everything, out_of_date
from dashboards.grafana import as_json
from dashboards.panels import Dashboard, Kind, PlacedPanel, placed
from dashboards.promql import metrics, substituted
from dashboards.server import NotAnsweredError, Prometheus, add_options, from_options

# Jobs that a region need not have.
OPTIONAL_JOBS = ("mirrormaker",)
STEP_S = 15


class Result(StrEnum):
    OK = "ok"
    EMPTY = "empty"
    NOT_PROVEN = "not proven"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Proof:
    dashboard: str
    panel: str
    result: Result
    series: int = 0
    why: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser)
    parser.add_argument(
        "--absent",
        action="append",
        default=list(OPTIONAL_JOBS),
        metavar="JOB",
        help="a job that the region does not have, beside " + ", ".join(OPTIONAL_JOBS),
    )
    parser.add_argument(
        "--minutes", type=int, default=10, help="how far back to look (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, help="write the results to this file as well")
    parser.add_argument("--verbose", "-v", action="store_true", help="list what is ok, too")
    options = parser.parse_args()

    wanted = {f"{dashboard.uid}.json": as_json(dashboard) for dashboard in DASHBOARDS}
    if any(True for _stale in out_of_date(DIRECTORY, wanted)):
        sys.exit("The files are not what the code says: run python -m dashboards.build.")
    prometheus = from_options(options)
    try:
        known = prometheus.metric_names()
        proofs = [
            proof
            for dashboard in DASHBOARDS
            for proof in prove(prometheus, dashboard, known, set(options.absent), options.minutes)
        ]
    except NotAnsweredError as error:
        sys.exit(f"Nothing was proven: {error}")
    print(report(proofs, verbose=options.verbose))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps([asdict(proof) for proof in proofs], indent=2) + "\n")
    return 1 if any(proof.result is Result.FAILED for proof in proofs) else 0


def prove(
    prometheus: Prometheus, dashboard: Dashboard, known: set[str], absent: set[str], minutes: int
) -> Iterator[Proof]:
    jobs = {series.labels.get("job", "") for series in prometheus.instant("up")}
    values = {**everything(dashboard), "__range": f"{minutes}m"}
    rows = placed(dashboard)
    dashboard_is_absent = {panel.job for row in rows for panel in row.panels} <= absent - jobs
    for variable in dashboard.variables:
        found = prometheus.label_values(substituted(variable.metric, values), variable.label)
        name = f"variable ${variable.name}"
        if found:
            yield Proof(dashboard.title, name, Result.OK, len(found))
        elif dashboard_is_absent:
            yield Proof(dashboard.title, name, Result.NOT_PROVEN, why="nothing of it is scraped")
        else:
            yield Proof(dashboard.title, name, Result.FAILED, why=f"{variable.query} has no value")
    for row in rows:
        for panel in row.panels:
            if panel.job in absent - jobs:
                why = f"the region has no {panel.job}"
                yield Proof(dashboard.title, panel.panel.title, Result.NOT_PROVEN, why=why)
            else:
                yield prove_panel(prometheus, dashboard, panel, known, values, minutes)


def prove_panel(
    prometheus: Prometheus,
    dashboard: Dashboard,
    placed_panel: PlacedPanel,
    known: set[str],
    values: dict[str, str],
    minutes: int,
) -> Proof:
    panel = placed_panel.panel
    series = 0
    empty, wrong = [], []
    units = {panel.unit, *(unit for _heading, unit in panel.column_units)}
    wrong += [f"{unit!r} is no unit" for unit in sorted(units - UNITS)]
    for query in placed_panel.queries:
        expr = substituted(query.expr, values)
        try:
            found = answered(prometheus, panel.kind, expr, minutes)
        except NotAnsweredError as error:
            wrong.append(f"{expr}: {error}")
            continue
        series += found
        if not found:
            empty.append(query)
    unknown = {name for query in placed_panel.queries for name in metrics(query.expr)} - known
    names = ", ".join(sorted(unknown))
    if unknown and not panel.may_be_empty:
        wrong.append(f"no such metric: {names}")
    if wrong:
        result, why = Result.FAILED, "; ".join(wrong)
    elif empty and not panel.may_be_empty:
        said = "; ".join(substituted(query.expr, values) for query in empty)
        result, why = Result.FAILED, f"no values: {said}"
    elif unknown:
        result, why = Result.NOT_PROVEN, f"{panel.may_be_empty} (nobody tells {names})"
    elif empty:
        result, why = Result.EMPTY, panel.may_be_empty
    else:
        result, why = Result.OK, ""
    return Proof(dashboard.title, panel.title, result, series, why)


def answered(prometheus: Prometheus, kind: Kind, expr: str, minutes: int) -> int:
    """How many series with a value the query returns."""
    if kind in (Kind.TABLE, Kind.BARS):
        found = prometheus.instant(expr)
    else:
        now = time.time()
        found = prometheus.over_time(expr, now - minutes * 60, now, STEP_S)
    return sum(any(not math.isnan(value) for _time, value in series.points) for series in found)


def report(proofs: list[Proof], *, verbose: bool) -> str:
    """Counts by dashboard, then what is not simply ok, worst last."""
    lines = [f"{'DASHBOARD':<28}" + "".join(f"{result:>12}" for result in Result)]
    for title in dict.fromkeys(proof.dashboard for proof in proofs):
        counts = Counter(proof.result for proof in proofs if proof.dashboard == title)
        lines.append(f"{title:<28}" + "".join(f"{counts[result]:>12}" for result in Result))
    counts = Counter(proof.result for proof in proofs)
    lines.append(f"{'all':<28}" + "".join(f"{counts[result]:>12}" for result in Result))
    for result in Result:
        listed = [proof for proof in proofs if proof.result is result]
        if listed and (result is not Result.OK or verbose):
            lines += ["", *(detail(proof) for proof in listed)]
    lines += ["", f"{counts[Result.OK]} of {len(proofs)} panels and variables are proven, "
              f"{counts[Result.FAILED]} failed"]  # fmt: skip
    return "\n".join(lines)


def detail(proof: Proof) -> str:
    what = f"{proof.dashboard} / {proof.panel}"
    return f"{proof.result:<11} {what:<66} {proof.series:>4}  {proof.why}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
