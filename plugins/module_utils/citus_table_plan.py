# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""How declared tables come about: in which order, by which statements.

Pure, like the comparison and the rules it starts from. The list is planned as a whole:
reference tables first, then distributed ones, each after the table it is colocated with and
after the tables it references, then local ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ansible.module_utils.common.text.formatters import bytes_to_human
from ansible_collections.bss.platform.plugins.module_utils.citus_table_drift import (
    DISTRIBUTED,
    LOCAL,
    REFERENCE,
    Comparison,
    Declaration,
    Subject,
    compare,
)
from ansible_collections.bss.platform.plugins.module_utils.citus_table_rules import (
    isolated,
    refusals,
)
from ansible_collections.bss.platform.plugins.module_utils.citus_tables import (
    Catalog,
    ForeignKey,
    Relation,
    Size,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Action, Plan, Refusal

TRANSACTION = "transaction"
"""Action option: neighbouring actions with the same value take effect together or not at all."""

Sizes = Mapping[int, Size]


@dataclass(frozen=True)
class TablePlan(Plan):
    """A plan that also tells how the declared tables are kept once it is done."""

    tables: tuple[dict[str, Any], ...] = ()
    colocation_groups: tuple[list[str], ...] = ()


def rewritten_tables(declared: Sequence[Declaration], catalog: Catalog) -> list[Relation]:
    """The tables whose size ``plan`` is to be told; none when it would refuse anyway."""
    comparison = compare(declared, catalog)
    if refusals(declared, comparison):
        return []
    return [subject.relation for subject in comparison.changing if subject.rewrites]


def plan(declared: Sequence[Declaration], catalog: Catalog, sizes: Sizes) -> TablePlan:
    """What to do, in which order; or every reason why nothing is done.

    ``sizes`` holds those of ``rewritten_tables``, by oid.
    """
    comparison = compare(declared, catalog)
    circles: list[Refusal] = []
    references = _reference_tables_in_order(comparison, circles)
    units = _distributed_units_in_order(comparison, circles)
    reasons = (*refusals(declared, comparison), *circles)
    if reasons:
        return TablePlan(refusals=reasons)
    subjects = comparison.subjects.values()
    return TablePlan(
        actions=(
            *(step for each in references for step in _reference_steps(each, comparison, sizes)),
            *(step for unit in units for step in _distributed_steps(unit, comparison, sizes)),
            *_local_steps(comparison, sizes),
        ),
        before={each.name: _shown(each, comparison, now=True) for each in subjects},
        after={each.name: _shown(each, comparison, now=False) for each in subjects},
        tables=tuple(_described(each) for each in subjects),
        colocation_groups=tuple(comparison.colocation_groups),
    )


def _reference_tables_in_order(comparison: Comparison, circles: list[Refusal]) -> list[Subject]:
    """Referenced before referencing; where they reference each other, Citus takes any order."""
    subjects = {each.oid: each for each in _changing_to(REFERENCE, comparison)}
    needs = {oid: _referenced_by(oid, comparison) & set(subjects) for oid in subjects}
    try:
        return [subjects[oid] for oid in TopologicalSorter(needs).static_order()]
    except CycleError as error:
        if any(isolated(oid, comparison) for oid in subjects):
            circles.append(_circle([subjects[oid].name for oid in error.args[1]]))
        return list(subjects.values())


def _distributed_units_in_order(
    comparison: Comparison, circles: list[Refusal]
) -> list[list[Subject]]:
    """What has to be there first comes first; a unit is distributed in one transaction."""
    following = {
        each.oid: leader for leader, along in comparison.followers.items() for each in along
    }
    subjects = {
        each.oid: each
        for each in _changing_to(DISTRIBUTED, comparison)
        if each.oid not in following
    }
    needs: dict[int, set[int]] = {}
    for oid, subject in subjects.items():
        wanted = _referenced_by(oid, comparison) if subject.creates else set()
        if subject.colocation is not None:
            wanted.add(subject.colocation)
        needs[oid] = {following.get(each, each) for each in wanted} & set(subjects) - {oid}
    try:
        order = list(TopologicalSorter(needs).static_order())
        unit_of = _tied_units(subjects, comparison)
        unit_needs = {
            unit: {unit_of[need] for oid in unit for need in needs[oid]} - {unit}
            for unit in dict.fromkeys(unit_of[oid] for oid in order)
        }
        units = list(TopologicalSorter(unit_needs).static_order())
    except CycleError as error:
        circles.append(_circle([_names(each, subjects) for each in error.args[1]]))
        return []
    return [[subjects[oid] for oid in order if oid in unit] for unit in units]


def _names(node: int | frozenset[int], subjects: Mapping[int, Subject]) -> str:
    oids = {node} if isinstance(node, int) else node
    return " and ".join(sorted(subjects[oid].name for oid in oids))


def _circle(names: Sequence[str]) -> Refusal:
    return Refusal(
        asked=f"tables {', '.join(sorted(set(names)))}",
        found=f"foreign keys or colocate_with in a circle: {' -> '.join(reversed(names))}",
        why="each would have to be distributed after the next one",
        remedy="let the referenced table be the one that the others are colocated with, or drop "
        "one of the foreign keys and add it again afterwards",
    )


def _tied_units(
    subjects: Mapping[int, Subject], comparison: Comparison
) -> dict[int, frozenset[int]]:
    """The tables that can only be distributed together, for each of them.

    Of two local tables in Citus' metadata, neither can be distributed as long as one references
    the other. Citus puts tables there by itself when they reference a reference table.
    """
    unit_of = {oid: frozenset({oid}) for oid in subjects}
    for key in _keys_between_local(comparison):
        unit = unit_of[key.referencing] | unit_of[key.referenced]
        unit_of.update(dict.fromkeys(unit, unit))
    return unit_of


def _keys_between_local(comparison: Comparison) -> Iterator[ForeignKey]:
    """Foreign keys between two local tables that are to be distributed."""
    local = {
        each.oid for each in _changing_to(DISTRIBUTED, comparison) if each.creates and each.is_local
    }
    for key in comparison.catalog.foreign_keys:
        if key.referencing != key.referenced and {key.referencing, key.referenced} <= local:
            yield key


def _changing_to(type_: str, comparison: Comparison) -> list[Subject]:
    return [subject for subject in comparison.changing if subject.target.type == type_]


def _referenced_by(oid: int, comparison: Comparison) -> set[int]:
    return {
        key.referenced
        for key in comparison.catalog.foreign_keys
        if key.referencing == oid != key.referenced
    }


def _reference_steps(subject: Subject, comparison: Comparison, sizes: Sizes) -> Iterator[Action]:
    transaction = {}
    if subject.rewrites or isolated(subject.oid, comparison):
        transaction = {TRANSACTION: subject.name}
    if subject.rewrites:
        yield _take_back(subject, comparison, sizes)
    elif transaction:
        yield Action(
            f"leave the tables that foreign keys tie to {subject.name} as they are: "
            "they are to be distributed",
            "SET LOCAL citus.enable_local_reference_table_foreign_keys TO off",
            options=transaction,
        )
    yield Action(
        f"make {subject.name} a reference table, copied to every node",
        "SELECT create_reference_table(%s)",
        (subject.name,),
        options=transaction,
    )


def _distributed_steps(
    unit: Sequence[Subject], comparison: Comparison, sizes: Sizes
) -> Iterator[Action]:
    if len(unit) > 1:
        yield from _tied_steps(unit, comparison)
    elif unit[0].alters:
        yield _alter(unit[0], comparison, sizes)
    elif unit[0].rewrites:
        yield _take_back(unit[0], comparison, sizes)
        yield _distribute(unit[0], comparison, {TRANSACTION: unit[0].name})
    elif _references_through_others(unit[0], comparison):
        yield _one_connection(unit[0].name, {TRANSACTION: unit[0].name})
        yield _distribute(unit[0], comparison, {TRANSACTION: unit[0].name})
    else:
        yield _distribute(unit[0], comparison)


def _references_through_others(subject: Subject, comparison: Comparison) -> bool:
    """Whether it references a reference table, but by way of a distributed table only.

    Citus fails on such a table if there are rows in it, unless it is told to use one connection;
    of a direct reference it takes care itself. Tables that were not asked about may reference
    anything.
    """
    direct = _referenced_by(subject.oid, comparison)
    if subject.declared.online or any(comparison.after(oid).type == REFERENCE for oid in direct):
        return False
    reached: set[int] = set()
    while direct - reached:
        reached |= direct
        direct = {other for oid in reached for other in _referenced_by(oid, comparison)}
    return any(
        comparison.after(oid).type == REFERENCE or oid not in comparison.catalog.relations
        for oid in reached
    )


def _tied_steps(unit: Sequence[Subject], comparison: Comparison) -> Iterator[Action]:
    names = ", ".join(subject.name for subject in unit)
    transaction = {TRANSACTION: names}
    oids = {subject.oid for subject in unit}
    keys = [key for key in _keys_between_local(comparison) if key.referencing in oids]
    yield _one_connection(names, transaction)
    for key in keys:
        yield Action(
            f"drop foreign key {key.name} of {key.referencing_name} for the time being",
            f"ALTER TABLE {key.referencing_name} DROP CONSTRAINT {key.name}",
            options=transaction,
        )
    for subject in unit:
        yield _distribute(subject, comparison, transaction)
    for key in keys:
        yield Action(
            f"add foreign key {key.name} of {key.referencing_name} again",
            f"ALTER TABLE {key.referencing_name} ADD CONSTRAINT {key.name} {key.definition}",
            options=transaction,
        )


def _one_connection(names: str, transaction: Mapping[str, Any]) -> Action:
    """Citus can fail on what foreign keys tie together if it uses several connections."""
    return Action(
        f"use one connection to each node for {names}, as foreign keys tie tables together",
        "SET LOCAL citus.multi_shard_modify_mode TO sequential",
        options=transaction,
    )


def _distribute(
    subject: Subject, comparison: Comparison, options: Mapping[str, Any] | None = None
) -> Action:
    declared, target = subject.declared, subject.target
    sentence = f"distribute {subject.name} by {target.column}"
    arguments: dict[str, Any] = {}
    if subject.colocation is not None:
        arguments["colocate_with"] = comparison.catalog.relations[subject.colocation].name
        sentence += f", colocated with {arguments['colocate_with']}"
    else:
        sentence += f" into {target.shard_count} shards"
    if declared.own_group:
        arguments["colocate_with"] = "none"
        sentence += ", in a colocation group of its own"
    if declared.shard_count is not None:
        arguments["shard_count"] = declared.shard_count
    function = "create_distributed_table"
    if declared.online:
        function += "_concurrently"
        sentence += ", while it is written to"
    return _call(sentence, function, (subject.name, target.column), arguments, options)


def _alter(subject: Subject, comparison: Comparison, sizes: Sizes) -> Action:
    arguments: dict[str, Any] = {}
    if subject.drifted("column"):
        arguments["distribution_column"] = subject.target.column
    if subject.drifted("shard_count"):
        arguments["shard_count"] = subject.target.shard_count
    if subject.drifted("colocate_with") and subject.colocation is not None:
        arguments["colocate_with"] = comparison.catalog.relations[subject.colocation].name
    sentence = f"rewrite {subject.name}, {_amount(subject, sizes)}: "
    sentence += ", ".join(map(str, subject.drift))
    followers = comparison.followers.get(subject.oid, ())
    companions = comparison.companions_now(subject.oid)
    if companions and arguments.keys() != {"distribution_column"}:
        arguments["cascade_to_colocated"] = bool(followers)
    if followers:
        sentence += "; along with it " + ", ".join(
            f"{follower.name}, {_amount(follower, sizes)}" for follower in followers
        )
    elif subject.target.group != comparison.now(subject.oid).group:
        left = [
            table.name
            for table in companions
            if comparison.after(table.oid).group == comparison.now(table.oid).group
        ]
        if left:
            sentence += f"; no longer colocated with {', '.join(left)}"
    return _call(sentence, "alter_distributed_table", (subject.name,), arguments)


def _take_back(subject: Subject, comparison: Comparison, sizes: Sizes) -> Action:
    return Action(
        f"take {subject.name} back to the coordinator, {_amount(subject, sizes)}: "
        f"it is {comparison.now(subject.oid)}",
        "SELECT undistribute_table(%s)",
        (subject.name,),
        options={TRANSACTION: subject.name},
    )


def _local_steps(comparison: Comparison, sizes: Sizes) -> Iterator[Action]:
    """One step for all tables that foreign keys tie together: Citus adds them together."""
    subjects = {each.oid: each for each in _changing_to(LOCAL, comparison)}
    done: set[int] = set()
    for subject in subjects.values():
        if subject.oid in done:
            continue
        tied = _tied_by_keys(subject.oid, comparison)
        together = {
            oid for oid in tied & set(subjects) if subjects[oid].is_local == subject.is_local
        }
        done |= together
        names = ", ".join(sorted(subjects[oid].name for oid in together))
        arguments: dict[str, Any] = {}
        transaction: dict[str, Any] = {}
        if subject.rewrites:
            transaction = {TRANSACTION: names}
            yield _take_back(subject, comparison, sizes)
        elif subject.citus is None and len(tied) > 1:
            # Citus drops and adds all foreign keys that it can reach from here.
            arguments = {"cascade_via_foreign_keys": True}
            transaction = {TRANSACTION: names}
            yield _one_connection(names, transaction)
        yield _call(
            f"add {names} to Citus' metadata, with the rows on the coordinator",
            "citus_add_local_table_to_metadata",
            (subject.name,),
            arguments,
            transaction,
        )


def _tied_by_keys(oid: int, comparison: Comparison) -> set[int]:
    """The table and all that foreign keys connect it with, so far as the catalog tells."""
    tied = {oid}
    while True:
        reached = {
            end
            for key in comparison.catalog.foreign_keys
            if tied & {key.referencing, key.referenced}
            for end in (key.referencing, key.referenced)
        }
        if reached <= tied:
            return tied
        tied |= reached


def _call(
    sentence: str,
    function: str,
    positional: Iterable[Any],
    named: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
) -> Action:
    """An action that calls one of Citus' functions."""
    values = (*positional, *named.values())
    places = ["%s"] * (len(values) - len(named)) + [f"{name} => %s" for name in named]
    return Action(
        sentence, f"SELECT {function}({', '.join(places)})", values, options=options or {}
    )


def _amount(subject: Subject, sizes: Sizes) -> str:
    size = sizes[subject.oid]
    return f"{size.rows:,} rows ({bytes_to_human(size.bytes)})"


def _shown(subject: Subject, comparison: Comparison, now: bool) -> dict[str, Any]:
    """The declared part of a table, before or after."""
    state_of = comparison.now if now else comparison.after
    state = state_of(subject.oid)
    shown: dict[str, Any] = {"type": state.type}
    for drift in subject.drift:
        if now and drift.part == "type":
            shown["type"] = drift.actual
    if state.type != DISTRIBUTED:
        return shown
    shown["column"] = state.column
    if subject.declared.shard_count is not None or subject.colocation is not None:
        shown["shard_count"] = state.shard_count
    if subject.colocation is not None:
        if state.group == state_of(subject.colocation).group:
            shown["colocate_with"] = comparison.catalog.relations[subject.colocation].name
        else:
            others = comparison.companions_now(subject.oid)
            shown["colocate_with"] = ", ".join(table.name for table in others) or "none"
    return shown


def _described(subject: Subject) -> dict[str, Any]:
    return {
        "name": subject.name,
        "type": subject.target.type,
        "column": subject.target.column,
        "shard_count": subject.target.shard_count,
    }
