# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Write the dashboards as the files that role grafana installs.

python -m dashboards.build            write the files
python -m dashboards.build --check    write nothing; fail when a file is out of date,
                                      or promtool finds a query that is no PromQL
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dashboards.citus import CITUS_CLUSTER_OVERVIEW, QUERY_PERFORMANCE, SHARD_DISTRIBUTION
from dashboards.flink import (
    CHECKPOINT_STATISTICS,
    FLINK_JOB_OVERVIEW,
    STREAM_PROCESSING_METRICS,
    TASKMANAGER_RESOURCES,
)
from dashboards.grafana import as_json
from dashboards.hosts import NODE_HEALTH
from dashboards.kafka import KAFKA_OVERVIEW, MIRROR_MAKER
from dashboards.panels import Dashboard, placed
from dashboards.promql import substituted
from dashboards.region import REGION_OVERVIEW

CHECKOUT = Path(__file__).resolve().parents[1]
DIRECTORY = CHECKOUT / "roles" / "grafana" / "files" / "dashboards"

DASHBOARDS = (
    REGION_OVERVIEW,
    CITUS_CLUSTER_OVERVIEW,
    SHARD_DISTRIBUTION,
    QUERY_PERFORMANCE,
    NODE_HEALTH,
    KAFKA_OVERVIEW,
    MIRROR_MAKER,
    FLINK_JOB_OVERVIEW,
    STREAM_PROCESSING_METRICS,
    CHECKPOINT_STATISTICS,
    TASKMANAGER_RESOURCES,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, only look")
    check = parser.parse_args().check
    wanted = {f"{dashboard.uid}.json": as_json(dashboard) for dashboard in DASHBOARDS}
    stale = list(out_of_date(DIRECTORY, wanted))
    for path, text in stale:
        if check:
            print(f"{path.relative_to(CHECKOUT)} is out of date: run python -m dashboards.build")
        elif text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(CHECKOUT)}")
    wrong = no_promql(DASHBOARDS) if check else ""
    if wrong:
        print(wrong)
    return 1 if check and (stale or wrong) else 0


def out_of_date(directory: Path, wanted: Mapping[str, str]) -> Iterator[tuple[Path, str | None]]:
    """The files that differ from what is wanted, with their text; None for one too many."""
    there = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.json")}
    for name in sorted(there.keys() | wanted.keys()):
        if there.get(name) != wanted.get(name):
            yield directory / name, wanted.get(name)


def no_promql(dashboards: Sequence[Dashboard]) -> str:
    """What promtool says against the queries; nothing when it takes them all."""
    # lab/install-promtool puts it beside Python.
    promtool = shutil.which("promtool", path=Path(sys.executable).parent) or shutil.which(
        "promtool"
    )
    if promtool is None:
        return "The queries were not checked: there is no promtool. Run lab/install-promtool."
    with tempfile.TemporaryDirectory() as directory:
        rules = Path(directory) / "queries.json"
        rules.write_text(json.dumps(as_rules(dashboards)), encoding="utf-8")
        checked = subprocess.run(
            [promtool, "check", "rules", "--lint=none", rules], capture_output=True, text=True
        )
    return "" if checked.returncode == 0 else checked.stdout + checked.stderr


def as_rules(dashboards: Sequence[Dashboard]) -> dict[str, object]:
    """Every query as a recording rule, which promtool can parse; JSON is YAML as well."""
    return {
        "groups": [
            {
                "name": f"{dashboard.title}: {panel.panel.title}",
                "rules": [
                    {
                        "record": f"query:{index}",
                        "expr": substituted(query.expr, everything(dashboard)),
                        "labels": {"panel": str(panel.number)},
                    }
                    for index, query in enumerate(panel.queries)
                ],
            }
            for dashboard in dashboards
            for row in placed(dashboard)
            for panel in row.panels
        ]
    }


def everything(dashboard: Dashboard) -> dict[str, str]:
    """The variables as they are when a dashboard is opened: all of each."""
    return {variable.name: ".+" for variable in dashboard.variables}


if __name__ == "__main__":
    sys.exit(main())
