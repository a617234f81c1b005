# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Checks of what Citus' catalogs say: nodes, tables, shards and where they are.

Each probe reads, then asks a pure function for the faults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.checks import conclude
from ansible_collections.bss.platform.plugins.module_utils.citus import (
    COORDINATOR_GROUP,
    Node,
    read_nodes,
)
from ansible_collections.bss.platform.plugins.module_utils.citus_rebalance import Move, read_moves
from ansible_collections.bss.platform.plugins.module_utils.citus_table_drift import (
    Declaration,
    compare,
)
from ansible_collections.bss.platform.plugins.module_utils.citus_tables import read_catalog
from ansible_collections.bss.platform.plugins.module_utils.postgresql import Session

Row = Mapping[str, Any]

PLACEMENTS = """
SELECT t.logicalrelid::text AS table, s.shardid, p.shardstate,
  n.nodename || ':' || n.nodeport AS node, n.shouldhaveshards
FROM pg_dist_partition t
JOIN pg_dist_shard s USING (logicalrelid)
LEFT JOIN pg_dist_placement p USING (shardid)
LEFT JOIN pg_dist_node n ON n.groupid = p.groupid AND n.noderole = 'primary'
WHERE t.partmethod = 'h'
"""

ACTIVE_PLACEMENT = 1

COLOCATED = """
SELECT t.colocationid AS colocation, t.logicalrelid::text AS table, s.shardminvalue AS range,
  array_agg(p.groupid ORDER BY p.groupid) AS groups
FROM pg_dist_partition t
JOIN pg_dist_shard s USING (logicalrelid)
JOIN pg_dist_placement p USING (shardid)
WHERE t.partmethod = 'h'
GROUP BY 1, 2, 3
"""


def nodes_active(session: Session) -> str:
    nodes = read_nodes(session)
    return conclude(node_faults(nodes), ", ".join(str(node.address) for node in nodes))


def node_faults(nodes: Sequence[Node]) -> list[str]:
    """What is wrong with the nodes of a cluster by its own account."""
    faults = []
    if not any(node.group == COORDINATOR_GROUP for node in nodes):
        faults.append("the coordinator is not registered: see citus_set_coordinator_host")
    if not any(node.is_worker for node in nodes):
        faults.append("no worker is registered")
    for node in nodes:
        if not node.active:
            faults.append(f"{node.address} is not active")
        if node.is_primary and not node.metadata_synced:
            faults.append(f"{node.address} lacks metadata; Citus sends it again within a minute")
    return faults


def primaries_agree(session: Session, members: Sequence[Row]) -> str:
    faults = leader_faults(read_nodes(session), members)
    return conclude(faults, f"as {', '.join(member['name'] for member in members)} say")


def leader_faults(nodes: Sequence[Node], members: Sequence[Row]) -> list[str]:
    """Where Citus and a member of a group name different primaries of it.

    ``members``: mappings with ``name``, ``group`` and ``leader``.
    """
    primaries = {node.group: node.address.name for node in nodes if node.is_primary}
    faults = []
    for member in members:
        registered = primaries.get(member["group"])
        if registered is None:
            faults.append(f"group {member['group']} of {member['name']} is not registered")
        elif not member["leader"]:
            faults.append(f"{member['name']} sees no leader, for Citus it is {registered}")
        elif member["leader"] != registered:
            faults.append(
                f"{member['name']} says that {member['leader']} leads group {member['group']}, "
                f"for Citus it is {registered}"
            )
    return faults


def tables_as_declared(session: Session, tables: Sequence[Row]) -> str:
    """As citus_distributed_table would find them: with nothing to change."""
    declared = [Declaration.from_options(table) for table in tables]
    catalog = read_catalog(session, (name for each in declared for name in each.names))
    comparison = compare(declared, catalog)
    faults = [str(refusal) for refusal in comparison.refusals]
    faults += [
        f"{subject.declared.name} has {drift.part} {drift.actual}, declared is {drift.declared}"
        for subject in comparison.subjects.values()
        for drift in subject.drift
    ]
    return conclude(faults, ", ".join(f"{each.name} {each.type}" for each in declared))


def shards_placed(session: Session) -> str:
    placements = session.rows(PLACEMENTS)
    moves = read_moves(session, None) if placements else ()
    counts = Counter(row["node"] for row in placements)
    seen = ", ".join(f"{node}: {count}" for node, count in sorted(counts.items(), key=str))
    return conclude(
        placement_faults(placements) + move_faults(moves), f"shards by node: {seen or 'none'}"
    )


def placement_faults(placements: Sequence[Row]) -> list[str]:
    """What is wrong with where shards are; takes rows of PLACEMENTS."""
    faults = []
    for row in placements:
        shard = f"shard {row['shardid']} of {row['table']}"
        if row["shardstate"] is None:
            faults.append(f"{shard} is nowhere")
        elif row["node"] is None:
            faults.append(f"{shard} is on a node that is not registered")
        elif row["shardstate"] != ACTIVE_PLACEMENT:
            faults.append(f"{shard} on {row['node']} is in state {row['shardstate']}")
        elif not row["shouldhaveshards"]:
            faults.append(f"{shard} is on {row['node']}, which should have no shards")
    return faults


def move_faults(moves: Sequence[Move]) -> list[str]:
    """What the cluster's own rebalancer would move, counted by way."""
    ways = Counter((move.source, move.target) for move in moves)
    return [
        f"{count} shards are to be moved from {source} to {target}: run citus_rebalance"
        for (source, target), count in sorted(ways.items())
    ]


def colocated_side_by_side(session: Session) -> str:
    rows = session.rows(COLOCATED)
    groups = {row["colocation"] for row in rows}
    return conclude(colocation_faults(rows), f"colocation groups: {len(groups)}")


def colocation_faults(rows: Sequence[Row]) -> list[str]:
    """Where colocated tables are apart; takes rows of COLOCATED."""
    tables: dict[int, set[str]] = {}
    at: dict[tuple[int, str], dict[str, list[int]]] = {}
    for row in rows:
        tables.setdefault(row["colocation"], set()).add(row["table"])
        at.setdefault((row["colocation"], row["range"]), {})[row["table"]] = row["groups"]
    faults = []
    for (colocation, start), places in sorted(at.items()):
        missing = tables[colocation] - set(places)
        if missing:
            faults.append(
                f"colocation group {colocation}: {', '.join(sorted(missing))} "
                f"has no shard from {start} on, others have"
            )
        elif len({tuple(groups) for groups in places.values()}) > 1:
            apart = ", ".join(f"{table} on {groups}" for table, groups in sorted(places.items()))
            faults.append(f"shards from {start} on are in different groups: {apart}")
    return faults
