# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The faults that the checks of the catalogs tell, from rows as the catalogs give them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.citus import Address, Node
from ansible_collections.bss.platform.plugins.module_utils.citus_metadata_checks import (
    colocation_faults,
    leader_faults,
    move_faults,
    node_faults,
    placement_faults,
)
from ansible_collections.bss.platform.plugins.module_utils.citus_rebalance import Move


def node(group: int, name: str = "", **others: Any) -> Node:
    address = Address(name or f"us-{group}", 5432)
    well = Node(group + 1, group, address, "primary", "default", True, True, True)
    return replace(well, **others)


@pytest.mark.parametrize(
    ("nodes", "faults"),
    [
        ([node(0), node(1)], []),
        ([node(0), node(1), node(1, role="secondary", metadata_synced=False)], []),
        ([], ["the coordinator is not registered", "no worker is registered"]),
        ([node(0), node(1, role="secondary")], ["no worker is registered"]),
        ([node(1)], ["the coordinator is not registered"]),
        ([node(0), node(1, active=False)], ["us-1:5432 is not active"]),
        ([node(0), node(1, metadata_synced=False)], ["us-1:5432 lacks metadata"]),
        (
            [node(0), node(1), node(1, "us-1b", role="secondary", active=False)],
            ["us-1b:5432 is not active"],
        ),
    ],
)
def test_nodes(nodes: list[Node], faults: list[str]) -> None:
    found = node_faults(nodes)
    assert all(text.startswith(fault) for text, fault in zip(found, faults, strict=True))


def test_a_standby_is_not_taken_for_the_primary() -> None:
    nodes = [node(1, "us-1b"), node(1, role="secondary")]
    say = {"name": "us-1", "group": 1, "leader": "us-1b"}
    assert leader_faults(nodes, [say]) == []
    assert len(leader_faults(nodes, [{**say, "leader": "us-1"}])) == 1


def placement(**others: Any) -> dict[str, Any]:
    return {
        "table": "orders",
        "shardid": 102008,
        "shardstate": 1,
        "node": "us-1:5432",
        "shouldhaveshards": True,
        **others,
    }


@pytest.mark.parametrize(
    ("row", "faults"),
    [
        (placement(), []),
        (placement(shardstate=None, node=None, shouldhaveshards=None), ["is nowhere"]),
        (placement(node=None, shouldhaveshards=None), ["is on a node that is not registered"]),
        (placement(shardstate=4), ["on us-1:5432 is in state 4"]),
        (placement(shouldhaveshards=False), ["is on us-1:5432, which should have no shards"]),
    ],
)
def test_placements(row: dict[str, Any], faults: list[str]) -> None:
    assert placement_faults([row]) == [f"shard 102008 of orders {fault}" for fault in faults]


def test_moves_are_counted_by_way() -> None:
    a, b, c = (Address(name, 5432) for name in "abc")
    assert move_faults([]) == []
    assert move_faults([Move("t", a, b), Move("t", a, c), Move("u", a, b)]) == [
        "2 shards are to be moved from a:5432 to b:5432: run citus_rebalance",
        "1 shards are to be moved from a:5432 to c:5432: run citus_rebalance",
    ]


def shard(table: str, start: str, group: int, colocation: int = 1) -> dict[str, Any]:
    return {"colocation": colocation, "table": table, "range": start, "groups": [group]}


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([shard("a", "0", 1), shard("b", "0", 1), shard("a", "9", 2), shard("b", "9", 2)], None),
        ([shard("a", "0", 1), shard("c", "0", 2, colocation=2)], None),
        ([shard("a", "0", 1), shard("b", "0", 2)], "shards from 0 on are in different groups"),
        (
            [shard("a", "0", 1), shard("b", "0", 1), shard("a", "9", 2)],
            "colocation group 1: b has no shard from 9 on",
        ),
    ],
)
def test_colocation(rows: list[dict[str, Any]], fault: str | None) -> None:
    found = colocation_faults(rows)
    assert [text[: len(fault or "")] for text in found] == ([fault] if fault else [])
