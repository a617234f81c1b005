# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What citus_info makes of the catalogs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.modules import citus_info

RunMain = Callable[..., dict[str, Any]]
Step = tuple[str, Any, Sequence[str]]


def step(contains: str, answer: Any = (), warnings: Sequence[str] = ()) -> Step:
    """A statement that has to be sent next, and what comes back."""
    return contains, answer, warnings


def node(group: int, **columns: Any) -> dict[str, Any]:
    return {
        "nodeid": group + 1,
        "groupid": group,
        "nodename": f"us-w{group}",
        "nodeport": 5432,
        "role": "primary",
        "nodecluster": "default",
        "isactive": True,
        "synced": True,
        "shouldhaveshards": group != 0,
        **columns,
    }


def placement(
    table: str, kind: str, colocation: int, group: int, bytes_: int | None
) -> dict[str, Any]:
    distributed = kind == "distributed"
    return {
        "table_name": table,
        "type": kind,
        "column_name": "customer_id" if distributed else None,
        "colocationid": colocation,
        "groupid": group,
        "table_shards": 6 if distributed else 1,
        "shards": 3 if distributed else 1,
        "bytes": bytes_,
    }


PLACEMENTS = [
    placement("countries", "local", 0, 0, 10),
    placement("customers", "distributed", 1, 1, 100),
    placement("customers", "distributed", 1, 2, 200),
    placement("orders", "distributed", 1, 1, 1000),
    placement("orders", "distributed", 1, 2, None),
    *(placement("products", "reference", 2, group, 5) for group in (0, 1, 2)),
]


def script(
    version: str = "Citus 13.2.2 on x86_64", job: list[dict[str, Any]] | None = None
) -> list[Step]:
    return [
        step("FROM pg_extension", [{"count": 1}]),
        step("citus_version()", [{"citus_version": version}]),
        step(
            "FROM pg_dist_node",
            [node(0), node(1), node(1, nodename="us-w1b", role="secondary"), node(2)],
        ),
        step("citus_shard_sizes() WHERE True", PLACEMENTS),
        step("pg_dist_background_job", job or []),
    ]


def test_what_there_is(run_main: RunMain) -> None:
    info = run_main(citus_info, script(), {})
    assert not info["failed"], info
    assert (info["version"], info["standin"], info["changed"]) == ("13.2.2", False, False)
    assert [(n["name"], n["role"], n["shards"]) for n in info["nodes"]] == [
        ("us-w0", "primary", False),
        ("us-w1", "primary", True),
        ("us-w1b", "secondary", True),
        ("us-w2", "primary", True),
    ]
    assert [(t["name"], t["type"], t["shard_count"], t["bytes"]) for t in info["tables"]] == [
        ("countries", "local", 1, 10),
        ("customers", "distributed", 6, 300),
        ("orders", "distributed", 6, None),
        ("products", "reference", 1, 15),
    ]
    assert [(s["name"], s["count"], s["bytes"]) for s in info["shards"]] == [
        ("us-w0", 2, 15),
        ("us-w1", 7, 1105),
        ("us-w2", 7, None),
    ]
    assert info["colocation_groups"] == [
        {"id": 1, "type": "distributed", "shard_count": 6, "tables": ["customers", "orders"]},
        {"id": 2, "type": "reference", "shard_count": 1, "tables": ["products"]},
    ]
    assert info["rebalance"] is None
    assert "warnings" not in info


def test_a_rebalance_that_runs(run_main: RunMain) -> None:
    job = {
        "job_id": 7,
        "state": "running",
        "tasks": 6,
        "tasks_done": 2,
        "trouble": "ERROR: connection refused\nCONTEXT: background",
        "started_at": None,
        "finished_at": None,
    }
    info = run_main(citus_info, script(job=[job]), {}, check=True)
    assert info["rebalance"] == {
        "job": 7,
        "state": "running",
        "tasks": 6,
        "tasks_done": 2,
        "trouble": "connection refused",
        "started_at": None,
        "finished_at": None,
    }


def test_without_sizes_no_other_node_is_asked(run_main: RunMain) -> None:
    steps = script()
    steps[3] = step("citus_shard_sizes() WHERE False", PLACEMENTS)
    assert not run_main(citus_info, steps, {"sizes": False})["failed"]


def test_the_standin_is_warned_of(run_main: RunMain) -> None:
    info = run_main(citus_info, script("Citus 13.2.2 stand-in"), {})
    assert info["standin"] is True
    assert any("stand-in" in str(warning) for warning in info["warnings"])


@pytest.mark.parametrize("check", [False, True])
def test_no_extension(run_main: RunMain, check: bool) -> None:
    info = run_main(citus_info, [step("FROM pg_extension", [{"count": 0}])], {}, check=check)
    assert info["failed"] and "CREATE EXTENSION citus" in info["msg"]
