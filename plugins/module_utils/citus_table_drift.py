# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Declared tables against the catalogs: what each is to become, and in which parts it differs.

Pure. Whether Citus could keep the result is asked in citus_table_rules, and what is done about
it in citus_table_plan.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.citus_tables import (
    Catalog,
    CitusTable,
    Relation,
    canonical_name,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Refusal

DISTRIBUTED = "distributed"
REFERENCE = "reference"
LOCAL = "local"
PLAIN = "plain"
"""Known to PostgreSQL only: not in Citus' metadata."""

COLOCATION_KEYWORDS = ("none", "default")
"""What colocate_with may hold instead of a table: a new group, and Citus' own choice."""

MAX_SHARD_COUNT = 64000

Group = tuple[Any, ...]
"""Which tables are colocated: ("id", n) exists; ("default", shard count, type) is the one that
Citus will make when a table names none; ("own", oid) is a new one of that table."""


@dataclass(frozen=True)
class Declaration:
    """One table as the user declared it; the fields are the module's options."""

    name: str
    type: str = DISTRIBUTED
    column: str | None = None
    shard_count: int | None = None
    colocate_with: str | None = None
    online: bool = False
    allow_rewrite: bool = False

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Declaration:
        return cls(**{name: value for name, value in options.items() if value is not None})

    @property
    def own_group(self) -> bool:
        return (self.colocate_with or "").lower() == "none"

    @property
    def colocation_target(self) -> str | None:
        """The table to be colocated with, as written; None if no table is named."""
        if (self.colocate_with or "default").lower() in COLOCATION_KEYWORDS:
            return None
        return self.colocate_with

    @property
    def names(self) -> list[str]:
        """Canonical names of the tables it speaks of, so far as they can be read."""
        written = [self.name, *filter(None, [self.colocation_target])]
        return [name for name in map(canonical_name, written) if name is not None]


@dataclass(frozen=True)
class State:
    """How Citus keeps a table, now or after the plan."""

    type: str
    """DISTRIBUTED, REFERENCE, LOCAL, PLAIN, or another kind of CitusTable."""
    column: str | None = None
    column_type_oid: int | None = None
    shard_count: int | None = None
    group: Group | None = None
    """Of tables that are spread over nodes; None for the others."""

    def __str__(self) -> str:
        if self.type == DISTRIBUTED:
            return f"distributed by {self.column} into {self.shard_count} shards"
        return "a plain PostgreSQL table" if self.type == PLAIN else f"a {self.type} table"

    @property
    def is_spread(self) -> bool:
        """Whether different nodes hold different tables or rows of its kind."""
        return self.type not in (REFERENCE, LOCAL, PLAIN)


@dataclass(frozen=True)
class Drift:
    """One part of a table that is not as declared."""

    part: str
    declared: str
    actual: str

    def __str__(self) -> str:
        return f"{self.part} {self.actual} -> {self.declared}"


@dataclass(frozen=True)
class Subject:
    """A declared table that exists, with what it is to become."""

    declared: Declaration
    relation: Relation
    citus: CitusTable | None
    """None as long as Citus does not know the table."""
    colocation: int | None
    """oid of the table to be colocated with."""
    target: State
    drift: tuple[Drift, ...]

    @property
    def oid(self) -> int:
        return self.relation.oid

    @property
    def name(self) -> str:
        return self.relation.name

    @property
    def changes(self) -> bool:
        return bool(self.drift)

    @property
    def is_local(self) -> bool:
        return self.citus is not None and self.citus.kind == LOCAL

    @property
    def creates(self) -> bool:
        """Whether its rows lie on the coordinator only, as in any PostgreSQL table."""
        return self.changes and (self.citus is None or self.is_local)

    @property
    def rewrites(self) -> bool:
        """Whether rows that lie on several nodes would be written anew."""
        return self.changes and not self.creates

    @property
    def alters(self) -> bool:
        """Whether Citus can rewrite it in one step, without taking it back first."""
        return self.rewrites and not self.drifted("type")

    def drifted(self, part: str) -> bool:
        return any(drift.part == part for drift in self.drift)


@dataclass(frozen=True)
class Comparison:
    """The declared tables beside what is there."""

    catalog: Catalog
    subjects: Mapping[int, Subject]
    """By oid, in the order in which they were declared."""
    refusals: tuple[Refusal, ...]
    """Of declarations that speak of no table, or of none that could be compared."""

    @property
    def changing(self) -> list[Subject]:
        return [subject for subject in self.subjects.values() if subject.changes]

    def now(self, oid: int) -> State:
        return _state_now(self.catalog, oid)

    def after(self, oid: int) -> State:
        subject = self.subjects.get(oid)
        return subject.target if subject else self.now(oid)

    @property
    def colocation_groups(self) -> list[list[str]]:
        """Names of the tables that will lie together, for each group of a declared table."""
        groups = {self.after(oid).group for oid in self.subjects}
        return [names for group, names in self._groups_after.items() if group in groups]

    def companions_now(self, oid: int) -> list[CitusTable]:
        """The other tables of the colocation group that a table is in."""
        group = self.now(oid).group
        return [table for table in self._groups_now.get(group, ()) if table.oid != oid]

    @cached_property
    def _groups_now(self) -> dict[Group | None, list[CitusTable]]:
        groups: dict[Group | None, list[CitusTable]] = {}
        for oid, table in self.catalog.citus_tables.items():
            if group := self.now(oid).group:
                groups.setdefault(group, []).append(table)
        return groups

    @cached_property
    def _groups_after(self) -> dict[Group, list[str]]:
        names = {oid: table.name for oid, table in self.catalog.citus_tables.items()}
        names |= {oid: subject.name for oid, subject in self.subjects.items()}
        groups: dict[Group, list[str]] = {}
        for oid, name in sorted(names.items(), key=lambda item: item[1]):
            if group := self.after(oid).group:
                groups.setdefault(group, []).append(name)
        return groups

    @cached_property
    def followers(self) -> dict[int, tuple[Subject, ...]]:
        """Tables that Citus rewrites together with another one, by that one's oid.

        Only a whole colocation group can be rewritten together (and only so are the foreign keys
        inside it kept), all into the same new group, without a change of column.
        """
        followers: dict[int, tuple[Subject, ...]] = {}
        taken: set[int] = set()
        for subject in self.changing:
            if subject.oid in taken or not _moves_only(subject):
                continue
            others = [self.subjects.get(table.oid) for table in self.companions_now(subject.oid)]
            if subject.colocation in {other.oid for other in others if other}:
                continue  # it is not the one that leads its group to another place
            along = tuple(
                other
                for other in others
                if other and _moves_only(other) and other.target.group == subject.target.group
            )
            if along and len(along) == len(others):
                followers[subject.oid] = along
                taken.update(other.oid for other in (subject, *along))
        return followers

    def rewritten_together(self, one: int, other: int) -> bool:
        return any(
            {one, other} <= {leader, *(subject.oid for subject in along)}
            for leader, along in self.followers.items()
        )


def compare(declared: Sequence[Declaration], catalog: Catalog) -> Comparison:
    """Find the declared tables in the catalogs and tell what each is to become."""
    chosen, refusals = _resolve(declared, catalog)
    targets = {oid: _colocation(declaration, catalog) for oid, declaration in chosen.items()}
    order, circles = _colocation_order(targets, chosen)
    refusals += circles
    after: dict[int, State] = {}
    subjects: dict[int, Subject] = {}
    for oid in order:
        subjects[oid] = _subject(chosen[oid], oid, targets[oid], catalog, after)
        after[oid] = subjects[oid].target
    return Comparison(
        catalog=catalog,
        subjects={oid: subjects[oid] for oid in chosen if oid in subjects},
        refusals=tuple(refusals),
    )


def _resolve(
    declared: Sequence[Declaration], catalog: Catalog
) -> tuple[dict[int, Declaration], list[Refusal]]:
    chosen: dict[int, Declaration] = {}
    refusals = []
    for declaration in declared:
        canonical = canonical_name(declaration.name)
        oid = catalog.oids.get(canonical or "")
        if canonical is None:
            refusals.append(unreadable_name(f"table {declaration.name!r}", declaration.name))
        elif oid is None:
            refusals.append(missing_table(f"table {declaration.name}", canonical, catalog))
        elif oid in chosen:
            refusals.append(
                Refusal(
                    asked=f"table {declaration.name}",
                    found=f"{catalog.relations[oid].name} is declared as "
                    f"{chosen[oid].name} already",
                    why="a table can be declared only once in a task",
                    remedy="keep one of the two entries",
                )
            )
        else:
            chosen[oid] = declaration
    return chosen, refusals


def unreadable_name(asked: str, name: str) -> Refusal:
    return Refusal(
        asked=asked,
        found=f"{name!r}",
        why="this is not a table's name as SQL writes it",
        remedy="write table or schema.table, with double quotes around a part that is not a "
        'lower-case word, as in sales."Order-Items"',
    )


def missing_table(asked: str, canonical: str, catalog: Catalog) -> Refusal:
    """The table does not exist; names that resemble it are suggested."""
    by_table: dict[str, list[str]] = {}
    for name in catalog.known_names:
        by_table.setdefault(_bare(name), []).append(name)
    similar = [
        name
        for match in difflib.get_close_matches(_bare(canonical), by_table, n=3)
        for name in by_table[match]
    ]
    return Refusal(
        asked=asked,
        found=f"similar tables: {', '.join(similar)}" if similar else "no table of such a name",
        why="the table does not exist"
        + ("" if "." in canonical else " in the schemas of the search_path"),
        remedy="correct the name, or create the table first (an undistributed one)",
    )


def _bare(name: str) -> str:
    """The part of a quoted name after its schema; good enough to compare names by."""
    return name.rpartition(".")[2].strip('"')


def _colocation(declaration: Declaration, catalog: Catalog) -> int | None:
    if declaration.type != DISTRIBUTED or declaration.colocation_target is None:
        return None
    return catalog.oids.get(canonical_name(declaration.colocation_target) or "")


def _colocation_order(
    targets: Mapping[int, int | None], chosen: Mapping[int, Declaration]
) -> tuple[list[int], list[Refusal]]:
    """Each table after the one it is to be colocated with; those in a circle are left out."""
    graph: dict[int, set[int]] = {
        oid: {target} if target is not None and target in chosen else set()
        for oid, target in targets.items()
    }
    refusals: list[Refusal] = []
    while True:
        try:
            return list(TopologicalSorter(graph).static_order()), refusals
        except CycleError as error:
            circle = error.args[1]
            refusals.append(
                Refusal(
                    asked=f"colocate_with: {' -> '.join(chosen[oid].name for oid in circle[::-1])}",
                    found="a circle",
                    why="one table of a colocation group has to stand by itself, so that the "
                    "others can join it",
                    remedy="leave out colocate_with for one of them",
                )
            )
            graph = {oid: needs - set(circle) for oid, needs in graph.items() if oid not in circle}


def _subject(
    declaration: Declaration,
    oid: int,
    colocation: int | None,
    catalog: Catalog,
    after: Mapping[int, State],
) -> Subject:
    """``after`` holds what the tables before it in the order of colocation will be."""
    relation = catalog.relations[oid]
    now = _state_now(catalog, oid)
    partner = None
    if colocation is not None:
        partner = after.get(colocation, _state_now(catalog, colocation))
    target = _target(declaration, relation, now, partner, catalog)
    return Subject(
        declared=declaration,
        relation=relation,
        citus=catalog.citus_tables.get(oid),
        colocation=colocation,
        target=target,
        drift=tuple(_drift(declaration, oid, target, colocation, catalog)),
    )


def _state_now(catalog: Catalog, oid: int) -> State:
    table = catalog.citus_tables.get(oid)
    if table is None:
        return State(PLAIN)
    state = State(table.kind, shard_count=table.shard_count)
    if not state.is_spread:
        return state
    return State(
        type=table.kind,
        column=table.column,
        column_type_oid=table.column_type_oid,
        shard_count=table.shard_count,
        group=("id", table.colocation_id),
    )


def _target(
    declaration: Declaration,
    relation: Relation,
    now: State,
    partner: State | None,
    catalog: Catalog,
) -> State:
    if declaration.type != DISTRIBUTED:
        return State(declaration.type, shard_count=1)
    column = relation.column(declaration.column)
    type_oid = column.type_oid if column else None
    group: Group | None
    if partner is not None:
        shard_count, group = partner.shard_count, partner.group
    elif now.type == DISTRIBUTED:
        shard_count = declaration.shard_count or now.shard_count
        if (shard_count, type_oid) == (now.shard_count, now.column_type_oid):
            group = now.group
        else:
            group = _default_group(shard_count, type_oid, catalog)
    else:
        shard_count = declaration.shard_count or catalog.cluster.shard_count
        if declaration.own_group:
            group = ("own", relation.oid)
        else:
            group = _default_group(shard_count, type_oid, catalog)
    return State(DISTRIBUTED, declaration.column, type_oid, shard_count, group)


def _default_group(shard_count: int | None, type_oid: int | None, catalog: Catalog) -> Group:
    """Where Citus puts a table that names none: the oldest group that is like it."""
    alike = [
        table.colocation_id
        for table in catalog.citus_tables.values()
        if table.kind == DISTRIBUTED
        and (table.shard_count, table.column_type_oid) == (shard_count, type_oid)
        and table.replication_factor == catalog.cluster.replication_factor
    ]
    return ("id", min(alike)) if alike else ("default", shard_count, type_oid)


def _drift(
    declaration: Declaration, oid: int, target: State, colocation: int | None, catalog: Catalog
) -> Iterable[Drift]:
    citus = catalog.citus_tables.get(oid)
    now = _state_now(catalog, oid)
    if now.type != target.type:
        yield Drift("type", target.type, now.type)
        return
    if now.type == LOCAL and citus is not None and citus.automatic:
        yield Drift("type", LOCAL, "local, for as long as a foreign key to a reference table is")
    if now.type != DISTRIBUTED:
        return
    if now.column != target.column:
        yield Drift("column", str(target.column), str(now.column))
    if colocation is not None and now.group != target.group:
        partner = catalog.relations[colocation].name
        if now.group == _state_now(catalog, colocation).group:
            yield Drift("colocate_with", f"{partner} as it will be", f"{partner} as it is")
        else:
            others = [
                table.name
                for table in catalog.citus_tables.values()
                if table.colocation_id == (citus and citus.colocation_id) and table != citus
            ]
            yield Drift("colocate_with", partner, ", ".join(others) or "none")
    if declaration.shard_count is not None and now.shard_count != target.shard_count:
        yield Drift("shard_count", str(target.shard_count), str(now.shard_count))


def _moves_only(subject: Subject) -> bool:
    return subject.alters and not subject.drifted("column")
