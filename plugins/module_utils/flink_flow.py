# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""How fast records run through jobs of Flink, and how many wait for them.

Flink reads the metrics of its TaskManagers only while somebody asks for them, every 10 s
(``metrics.fetcher.update-interval``). Whoever asks first in a while gets what the last one got.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ansible_collections.bss.platform.plugins.module_utils.flink_rest import Api

REFRESH_S = 2.0
"""How long to wait for that; where somebody has just asked, nothing new comes."""
POLL_S = 0.2
CLOCK = "Status.JVM.CPU.Time"
"""A metric of every TaskManager that never stands still."""

SOURCE, WRITER = "Source: ", ": Writer"
# Flink's names for these in the names of metrics.
SOURCE_METRIC, WRITER_METRIC = "Source__", "__Writer."
RATE_IN = "numRecordsInPerSecond"
PENDING = "pendingRecords"


def refresh(api: Api) -> None:
    """Have Flink read its metrics, and wait until it has."""
    path = f"/taskmanagers/metrics?get={CLOCK}&agg=min,max"
    before = api.get(path)
    deadline = time.monotonic() + REFRESH_S
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        if _all_differ(before, api.get(path)):
            return


def read_flow(api: Api, job_id: str) -> dict[str, Any]:
    """The flow of a live job; what no task of it tells is None."""
    found: dict[str, float] = {}
    for vertex in api.get(f"/jobs/{job_id}")["vertices"]:
        if vertex["name"].startswith(SOURCE) or WRITER in vertex["name"]:
            found |= _read_metrics(api, f"/jobs/{job_id}/vertices/{vertex['id']}/subtasks/metrics")
    restarts = api.get(f"/jobs/{job_id}/metrics?get=numRestarts")
    pending = _sum(found, SOURCE_METRIC, PENDING)
    return {
        "records_in_s": _sum(found, SOURCE_METRIC, RATE_IN),
        "records_out_s": _sum(found, WRITER_METRIC, RATE_IN),
        "pending_records": None if pending is None else round(pending),
        "restarts": int(restarts[0]["value"]) if restarts else None,
    }


def _read_metrics(api: Api, path: str) -> dict[str, float]:
    """What the tasks of a vertex tell of the flow, each summed up over its subtasks."""
    names = [
        each["id"]
        for each in api.get(path)
        if (each["id"].startswith(SOURCE_METRIC) and each["id"].endswith((RATE_IN, PENDING)))
        or (WRITER_METRIC in each["id"] and each["id"].endswith(RATE_IN))
    ]
    if not names:
        return {}
    asked = quote(",".join(names), safe=",")
    return {each["id"]: float(each["sum"]) for each in api.get(f"{path}?agg=sum&get={asked}")}


def _sum(metrics: Mapping[str, float], part: str, ending: str) -> float | None:
    """Of those whose names have both; None where there is none."""
    found = [each for name, each in metrics.items() if part in name and name.endswith(ending)]
    return sum(found) if found else None


def _all_differ(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> bool:
    """Whether every TaskManager has told anew: the least and the most are of two of them."""
    if not before or not after:
        return bool(after)
    return all(before[0][which] != after[0][which] for which in ("min", "max"))
