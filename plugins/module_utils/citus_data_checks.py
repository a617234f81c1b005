# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Checks of what a Citus cluster's nodes hold, and of what queries over them answer."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.checks import CheckFailed, conclude
from ansible_collections.bss.platform.plugins.module_utils.citus import read_nodes
from ansible_collections.bss.platform.plugins.module_utils.citus_table_drift import Declaration
from ansible_collections.bss.platform.plugins.module_utils.postgresql import (
    Session,
    StatementFailed,
)

# ruff: noqa: S608 (names stand in statements as the server has quoted them)

Row = Mapping[str, Any]

ATTEMPTS = 3
"""How often two readings are compared: there is no snapshot over all nodes, so a
writer between the two makes them differ now and then, but not each time."""

SAMPLE_OF_SHARD = 200
"""Rows of each shard whose values of the distribution column are looked at."""

OWN_PLACEMENTS = """
SELECT json_build_object('placements', count(*), 'missing', coalesce(json_agg(shard)
  FILTER (WHERE to_regclass(shard) IS NULL), '[]'))
FROM (SELECT shard_name(s.logicalrelid, s.shardid) AS shard
      FROM pg_dist_shard s JOIN pg_dist_placement p USING (shardid)
      JOIN pg_dist_local_group l USING (groupid)) own
"""

EXPECTED_PLACEMENTS = """
SELECT n.nodeid, count(p.shardid) AS placements FROM pg_dist_node n
LEFT JOIN pg_dist_placement p USING (groupid)
WHERE n.noderole = 'primary' GROUP BY 1
"""

CHECKSUM = (
    "SELECT count(*) || ' rows, sum ' || coalesce(sum(hashtextextended(r::text, 0)), 0) FROM %s r"
)

DISTRIBUTION_COLUMN = """
SELECT column_to_column_name(logicalrelid, partkey) FROM pg_dist_partition
WHERE logicalrelid = %s::regclass
"""

NUMERIC_COLUMN = """
SELECT quote_ident(attname) FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attname <> %s
  AND atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype)
ORDER BY atttypid = 'numeric'::regtype DESC, attnum LIMIT 1
"""

# Of which one at least can be cast to any type that tables are distributed by.
CANDIDATE_VALUES = ("0", "00000000-0000-0000-0000-000000000000", "2000-01-01", "t", "127.0.0.1")


@dataclass(frozen=True)
class Column:
    """A distribution column: its name, quoted, and its type."""

    name: str
    type: str


def read_column(session: Session, table: str, column: str | None) -> Column:
    """The column, which None stands for where the table has no distribution column."""
    rows = session.rows(
        "SELECT quote_ident(attname) AS name, format_type(atttypid, atttypmod) AS type "
        "FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s",
        (_quoted(session, table), column),
    )
    if not rows:
        raise CheckFailed(
            f"{table} has no {f'column {column}' if column else 'distribution column'}"
        )
    return Column(**rows[0])


def nodes_reach_each_other(session: Session) -> str:
    ways = session.rows("SELECT * FROM citus_check_cluster_node_health()")
    faults = [
        f"{way['from_nodename']}:{way['from_nodeport']} does not reach "
        f"{way['to_nodename']}:{way['to_nodeport']}"
        for way in ways
        if way["result"] is not True
    ]
    return conclude(faults or ([] if ways else ["no way was tried"]), f"{len(ways)} ways are open")


def shards_present(session: Session) -> str:
    expected = {row["nodeid"]: row["placements"] for row in session.rows(EXPECTED_PLACEMENTS)}
    names = {node.node_id: str(node.address) for node in read_nodes(session)}
    answers = session.rows("SELECT * FROM run_command_on_all_nodes(%s)", (OWN_PLACEMENTS,))
    faults = presence_faults(answers, expected, names)
    return conclude(faults, f"{sum(expected.values())} placements on {len(answers)} nodes")


def presence_faults(
    answers: Sequence[Row], expected: Mapping[int, int], names: Mapping[int | None, str]
) -> list[str]:
    """Where a node lacks a shard, or counts others than the coordinator.

    ``answers``: rows of run_command_on_all_nodes(OWN_PLACEMENTS). ``expected``,
    ``names``: placements and name of each node by its id.
    """
    faults = []
    for answer in answers:
        name = names[answer["nodeid"]]
        if not answer["success"]:
            faults.append(f"{name} does not answer: {answer['result']}")
            continue
        own = json.loads(answer["result"])
        if own["missing"]:
            faults.append(f"{name} lacks {', '.join(own['missing'])}")
        if own["placements"] != expected[answer["nodeid"]]:
            faults.append(
                f"{name} counts {own['placements']} placements on itself, "
                f"the coordinator counts {expected[answer['nodeid']]}"
            )
    silent = set(expected) - {answer["nodeid"] for answer in answers}
    return faults + [f"{names[nodeid]} was not asked" for nodeid in sorted(silent)]


def single_shard_query(session: Session, tables: Sequence[Row]) -> str:
    faults = []
    for table in tables:
        column = read_column(session, table["name"], table["column"])
        value = _value_of(session, table["name"], column)
        plan = session.rows(
            f"EXPLAIN SELECT count(*) FROM {_quoted(session, table['name'])} "
            f"WHERE {column.name} = %s::{column.type}",
            (value,),
        )
        text = "\n".join(row["QUERY PLAN"] for row in plan)
        tasks = re.findall(r"Task Count: (\d+)", text)
        if tasks != ["1"]:
            count = tasks[0] if tasks else "no"
            faults.append(f"{table['name']}: one value of {column.name} makes {count} tasks")
    return conclude(faults, f"one task for {', '.join(table['name'] for table in tables)}")


def _value_of(session: Session, table: str, column: Column) -> str:
    """A value of the column as text: one that is there, or any where there is none."""
    value = session.value(f"SELECT {column.name}::text FROM {_quoted(session, table)} LIMIT 1")
    if value is not None:
        return str(value)
    for candidate in CANDIDATE_VALUES:
        try:
            session.value(f"SELECT %s::{column.type}", (candidate,))
        except StatementFailed:
            continue
        return candidate
    raise CheckFailed(f"{table} is empty, and no value of type {column.type} is known to ask for")


def cross_shard_join(session: Session, tables: Sequence[Row]) -> str:
    """Compare the join of each table with the table beside it to what the shards hold."""
    seen: list[str] = []
    faults: list[str] = []
    for table in map(Declaration.from_options, tables):
        if table.colocation_target is not None:
            join = SampledJoin(session, table.name, table.colocation_target)
            faults += _settled(join.faults)
            seen.append(str(join))
    return conclude(faults, "; ".join(seen) or "no table is declared to lie beside another")


class SampledJoin:
    """Two colocated tables, joined by what distributes them, for a sample of its values."""

    def __init__(self, session: Session, child: str, parent: str) -> None:
        self._session = session
        self._child, self._parent = _quoted(session, child), _quoted(session, parent)
        child_column = session.value(DISTRIBUTION_COLUMN, (self._child,))
        parent_column = session.value(DISTRIBUTION_COLUMN, (self._parent,))
        self._child_column = read_column(session, child, child_column)
        self._parent_column = read_column(session, parent, parent_column)
        # Of a table without a numeric column, the rows are counted.
        self._number = session.value(NUMERIC_COLUMN, (self._child, child_column)) or "1"
        self._sample = sorted(
            {
                row[0]
                for row in self._rows_of_shards(
                    self._parent,
                    f"SELECT json_build_array({self._parent_column.name}::text) AS r "
                    f"FROM %s LIMIT {SAMPLE_OF_SHARD}",
                )
            }
        )
        self._rows = 0

    def __str__(self) -> str:
        return (
            f"{self._child} with {self._parent}: {self._rows} rows "
            f"for {len(self._sample)} values are right"
        )

    def faults(self) -> list[str]:
        joined, added_up = self._joined(), self._added_up()
        self._rows = joined[0]
        if joined == added_up:
            return []
        fault = (
            f"{self._child} with {self._parent}: the join has {joined[0]} rows, sum {joined[1]}; "
            f"the shards have {added_up[0]} rows, sum {added_up[1]}"
        )
        return [fault]

    def _joined(self) -> tuple[int, Decimal]:
        """Rows and sum, as the cluster joins over all shards."""
        (row,) = self._session.rows(
            f"SELECT count(*) AS rows, coalesce(sum(child.number), 0)::text AS total FROM "
            f"(SELECT {self._child_column.name} AS key, {self._number} AS number "
            f"FROM {self._child}) child "
            f"JOIN {self._parent} parent ON parent.{self._parent_column.name} = child.key "
            f"WHERE child.key = ANY (%s::{self._child_column.type}[])",
            (self._sample,),
        )
        return row["rows"], Decimal(row["total"])

    def _added_up(self) -> tuple[int, Decimal]:
        """Rows and sum, joined here from what each shard was asked for by itself."""
        parents: Counter[str] = Counter()
        for value, count, _total in self._aggregates(self._parent, self._parent_column, "1"):
            parents[value] += count
        rows, total = 0, Decimal(0)
        for value, count, subtotal in self._aggregates(
            self._child, self._child_column, self._number
        ):
            rows += parents[value] * count
            total += parents[value] * Decimal(subtotal)
        return rows, total

    def _aggregates(self, table: str, column: Column, number: str) -> list[Any]:
        """For each shard and value of the sample: the value, its rows, the sum of a number."""
        sample = self._session.value("SELECT quote_literal(%s::text[]::text)", (self._sample,))
        values = sample.replace("%", "%%")  # the command is a format
        return self._rows_of_shards(
            table,
            f"SELECT json_build_array({column.name}::text, count(*), "
            f"coalesce(sum({number}), 0)::text) AS r FROM %s "
            f"WHERE {column.name} = ANY ({values}::{column.type}[]) GROUP BY {column.name}",
        )

    def _rows_of_shards(self, table: str, command: str) -> list[Any]:
        """What a command that makes JSON arrays named r returns on each shard of a table."""
        answers = self._session.rows(
            "SELECT shardid, success, result FROM run_command_on_shards(%s::regclass, %s)",
            (table, f"SELECT json_agg(r) FROM ({command}) rows"),
        )
        rows: list[Any] = []
        for answer in answers:
            if not answer["success"]:
                raise CheckFailed(f"shard {answer['shardid']} of {table}: {answer['result']}")
            rows += json.loads(answer["result"] or "null") or []
        return rows


def reference_tables_equal(session: Session) -> str:
    tables = session.rows(
        "SELECT logicalrelid::text AS name FROM pg_dist_partition "
        "WHERE partmethod = 'n' AND repmodel = 't' ORDER BY 1"
    )
    names = [table["name"] for table in tables]
    faults = [fault for name in names for fault in _settled(partial(_copies_differ, session, name))]
    return conclude(faults, ", ".join(names) or "there is none")


def _copies_differ(session: Session, table: str) -> list[str]:
    nodes = {str(node.address) for node in read_nodes(session) if node.is_primary}
    copies = session.rows(
        "SELECT nodename || ':' || nodeport AS node, success, result "
        "FROM run_command_on_placements(%s::regclass, %s)",
        (table, CHECKSUM),
    )
    return copy_faults(table, copies, nodes)


def copy_faults(table: str, copies: Sequence[Row], nodes: set[str]) -> list[str]:
    """Where the copies of a reference table differ, or a node has none.

    ``copies``: mappings with ``node``, ``success`` and ``result``, a checksum.
    """
    faults = [
        f"{table} on {copy['node']}: {copy['result']}" for copy in copies if not copy["success"]
    ]
    faults += [
        f"{table} has no copy on {node}: call replicate_reference_tables()"
        for node in sorted(nodes - {copy["node"] for copy in copies})
    ]
    sums = {copy["node"]: copy["result"] for copy in copies if copy["success"]}
    if len(set(sums.values())) > 1:
        said = ", ".join(f"{node}: {result}" for node, result in sorted(sums.items()))
        faults.append(f"the copies of {table} differ: {said}")
    return faults


def _settled(compare: Callable[[], list[str]]) -> list[str]:
    """The faults of the last comparison; none as soon as one finds none."""
    faults: list[str] = []
    for _attempt in range(ATTEMPTS):
        faults = compare()
        if not faults:
            break
    return faults


def _quoted(session: Session, table: str) -> str:
    """The table's name as a statement takes it. Raises CheckFailed when there is none."""
    name = session.value("SELECT to_regclass(%s)::text", (table,))
    if name is None:
        raise CheckFailed(f"{table} does not exist")
    return str(name)
