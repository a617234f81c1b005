# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What Citus cannot do with a table, or would do and not keep: the reasons to refuse.

Pure. Each rule was seen on Citus 13.2; where Citus itself says nothing (a foreign key that it
accepts and no longer checks, or drops with a warning), the rule says what happens.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from ansible_collections.bss.platform.plugins.module_utils.citus_table_drift import (
    DISTRIBUTED,
    LOCAL,
    MAX_SHARD_COUNT,
    PLAIN,
    REFERENCE,
    Comparison,
    Declaration,
    State,
    Subject,
    missing_table,
    unreadable_name,
)
from ansible_collections.bss.platform.plugins.module_utils.citus_tables import (
    ForeignKey,
    canonical_name,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Refusal

NOT_TABLES = {
    "v": "a view",
    "m": "a materialized view",
    "S": "a sequence",
    "i": "an index",
    "I": "an index",
    "c": "a composite type",
    "t": "a TOAST table",
}
"""pg_class.relkind of what no type can be declared for."""

ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}
"""pg_constraint.confdeltype and confupdtype."""


def declaration_refusals(declaration: Declaration) -> Iterator[Refusal]:
    """Options that contradict each other, whatever the database holds."""
    asked = f"table {declaration.name}"
    if declaration.type == DISTRIBUTED and not declaration.column:
        yield Refusal(
            asked=f"{asked}: type distributed",
            found="no column",
            why="a distributed table is distributed by a column",
            remedy="set column",
        )
    if declaration.type != DISTRIBUTED:
        for option in ("column", "shard_count", "colocate_with", "online"):
            value = getattr(declaration, option)
            if value is not None and value is not False:
                yield Refusal(
                    asked=f"{asked}: {option} {value}",
                    found=f"type {declaration.type}",
                    why=f"{option} is of distributed tables only",
                    remedy=f"leave out {option}, or set type to distributed",
                )
        return
    if declaration.shard_count is not None:
        if not 1 <= declaration.shard_count <= MAX_SHARD_COUNT:
            yield Refusal(
                asked=f"{asked}: shard_count {declaration.shard_count}",
                found=f"Citus takes 1 to {MAX_SHARD_COUNT}",
                why="it is out of range",
                remedy="set shard_count in that range; twice to four times the cores of all "
                "workers together is usual",
            )
        if declaration.colocation_target is not None:
            yield Refusal(
                asked=f"{asked}: shard_count {declaration.shard_count}",
                found=f"colocate_with {declaration.colocate_with}",
                why="a table has as many shards as the one it is colocated with",
                remedy="leave out one of the two",
            )
    target = declaration.colocation_target
    if target is not None and canonical_name(target) is None:
        yield unreadable_name(f"{asked}: colocate_with", target)


def table_refusals(subject: Subject, comparison: Comparison) -> Iterator[Refusal]:
    """What stands against one table becoming what it is declared to be."""
    unfit = _unfit(subject)
    if unfit:
        yield unfit
        return
    obstacles = [*_column_refusals(subject), *_colocation_refusals(subject, comparison)]
    yield from obstacles
    if not subject.changes:
        return
    if not subject.relation.owned:
        yield Refusal(
            asked=f"table {subject.declared.name}: {subject.target}",
            found=f"{subject.name} belongs to another role",
            why="only the owner of a table, or a superuser, may change how it is kept",
            remedy="set login_user to its owner",
        )
    if subject.target.type != LOCAL and not comparison.catalog.cluster.unsafe_triggers:
        yield from _trigger_refusals(subject)
    if obstacles:
        return
    if subject.target.type == DISTRIBUTED:
        yield from _uniqueness_refusals(subject)
    if subject.rewrites:
        yield from _rewrite_refusals(subject)
    elif subject.declared.online:
        yield from _online_refusals(subject, comparison)


def _unfit(subject: Subject) -> Refusal | None:
    """Why the relation is not one that Citus takes, or takes as this type."""
    relation, type_ = subject.relation, subject.declared.type
    asked = f"table {subject.declared.name}: type {type_}"
    found = why = remedy = ""
    if not subject.changes:
        return None
    if relation.kind in NOT_TABLES:
        found = f"{relation.name} is {NOT_TABLES[relation.kind]}"
        why, remedy = "only tables can be distributed", "name the table instead"
    elif relation.kind == "f" and type_ != LOCAL:
        found = f"{relation.name} is a foreign table"
        why = "the rows of a foreign table are elsewhere"
        remedy = "declare it local, or name another table"
    elif relation.system:
        found = f"{relation.name} is a table of the catalogs"
        why, remedy = "the catalogs cannot be distributed", "name a table of yours"
    elif relation.temporary:
        found = f"{relation.name} is temporary"
        why = "a temporary table is of one session"
        remedy = "name a permanent table; check which one the search_path finds first"
    elif relation.partition_of:
        found = f"{relation.name} is a partition of {relation.partition_of}"
        why = "partitions are kept as their table is"
        remedy = f"declare {relation.partition_of} instead"
    elif relation.inherits:
        found = f"{relation.name} inherits from another table or is inherited from"
        why = "Citus supports partitions, but no other inheritance"
        remedy = "end the inheritance, or use declarative partitioning"
    elif relation.subpartitioned:
        found = f"partitions of {relation.name} are partitioned in turn"
        why, remedy = "Citus supports one level of partitions", "flatten the partitions"
    elif relation.kind == "p" and type_ == REFERENCE:
        found = f"{relation.name} is partitioned"
        why = "a partitioned table can be distributed, but cannot be a reference table"
        remedy = "declare it distributed, or make it a table without partitions"
    elif subject.citus is not None and subject.citus.kind == "schema":
        found = f"{relation.name} is in a distributed schema"
        why = "its schema decides where it lies"
        remedy = "move it to another schema, or run citus_schema_undistribute on this one"
    return Refusal(asked, found, why, remedy) if found else None


def _column_refusals(subject: Subject) -> Iterator[Refusal]:
    name = subject.declared.column
    if subject.target.type != DISTRIBUTED or not name:
        return
    column = subject.relation.column(name)
    asked = f"table {subject.declared.name}: column {name}"
    if column is None:
        names = [column.name for column in subject.relation.columns]
        close = difflib.get_close_matches(name.lower(), {each.lower(): each for each in names}, n=1)
        meant = [each for each in names if each.lower() in close]
        yield Refusal(
            asked=asked,
            found=f"{subject.name} has the columns {', '.join(names)}",
            why="there is no such column",
            remedy=f"set column to {meant[0]}, if that was meant" if meant else "correct column",
        )
    elif subject.changes and column.generated:
        yield Refusal(
            asked=asked,
            found=f"{name} is generated from other columns",
            why="Citus needs the value before the row is computed",
            remedy="distribute by a column that is not generated",
        )


def _colocation_refusals(subject: Subject, comparison: Comparison) -> Iterator[Refusal]:
    written = subject.declared.colocation_target
    canonical = canonical_name(written or "")
    if subject.declared.type != DISTRIBUTED or canonical is None:
        return
    asked = f"table {subject.declared.name}: colocate_with {written}"
    catalog = comparison.catalog
    if subject.colocation is None:
        yield missing_table(asked, canonical, catalog)
        return
    partner = comparison.after(subject.colocation)
    relation = catalog.relations[subject.colocation]
    if partner.type != DISTRIBUTED:
        declared = subject.colocation in comparison.subjects
        yield Refusal(
            asked=asked,
            found=f"{relation.name} is {'declared as ' if declared else ''}{partner}",
            why="a table can only be colocated with one that is distributed by a column",
            remedy=f"declare {relation.name} as a distributed table in the same task, "
            "or name another one",
        )
        return
    column, other = subject.relation.column(subject.target.column), relation.column(partner.column)
    if column and other and column.type_oid != other.type_oid:
        yield Refusal(
            asked=f"{asked}, column {column.name}",
            found=f"{subject.name}.{column.name} is {column.type}, "
            f"{relation.name}.{other.name} is {other.type}",
            why="rows are placed by a hash of the value, and that depends on its type",
            remedy=f"distribute by a column of type {other.type} "
            f"(ALTER TABLE ... ALTER COLUMN ... TYPE {other.type} first, if need be), "
            "or leave out colocate_with",
        )


def _trigger_refusals(subject: Subject) -> Iterator[Refusal]:
    if subject.relation.triggers:
        yield Refusal(
            asked=f"table {subject.declared.name}: {subject.target}",
            found=f"triggers {', '.join(subject.relation.triggers)} on {subject.name}",
            why="Citus takes no tables with triggers",
            remedy="drop the triggers, or set citus.enable_unsafe_triggers knowing what it says",
        )


def _uniqueness_refusals(subject: Subject) -> Iterator[Refusal]:
    column = subject.target.column
    for index in subject.relation.unique_indexes if column else ():
        if column not in index.columns:
            yield Refusal(
                asked=f"table {subject.declared.name}: column {column}",
                found=f"{index.kind} {index.name} on {subject.name} "
                f"({', '.join(index.columns) or 'no column compared for equality'})",
                why="each shard can only vouch for its own rows, so what is unique has to "
                "include the distribution column",
                remedy=f"add {column} to it, drop it, or distribute by one of its columns",
            )


def _rewrite_refusals(subject: Subject) -> Iterator[Refusal]:
    asked = f"table {subject.declared.name}: " + ", ".join(
        f"{drift.part} {drift.declared}" for drift in subject.drift
    )
    actual = ", ".join(f"{drift.part} {drift.actual}" for drift in subject.drift)
    if not subject.declared.allow_rewrite:
        yield Refusal(
            asked=asked,
            found=actual,
            why=f"{subject.name} is {subject.citus and subject.citus.kind} already, "
            "and this would write all its rows anew while writers wait",
            remedy="set allow_rewrite to true for it (check mode then says how many rows and "
            "bytes), or declare what is there",
        )
    if subject.declared.online:
        yield Refusal(
            asked=f"{asked}, online",
            found=actual,
            why="Citus can distribute a table while it is written to, but not rewrite one",
            remedy="set online to false for a time when writers may wait",
        )
    identity = [column.name for column in subject.relation.columns if column.identity]
    if identity:
        yield Refusal(
            asked=asked,
            found=f"identity column {', '.join(identity)} in {subject.name}",
            why="Citus rewrites no tables with identity columns",
            remedy="ALTER TABLE ... ALTER COLUMN ... DROP IDENTITY first",
        )


def _online_refusals(subject: Subject, comparison: Comparison) -> Iterator[Refusal]:
    """What create_distributed_table_concurrently asks for beyond the rest."""
    cluster = comparison.catalog.cluster
    asked = f"table {subject.declared.name}: online"
    if not subject.relation.replica_identity:
        yield Refusal(
            asked=asked,
            found=f"{subject.name} has neither a primary key nor a replica identity",
            why="updates and deletes would fail while it is distributed",
            remedy="add a primary key, set REPLICA IDENTITY FULL, or leave out online",
        )
    if cluster.wal_level != "logical":
        yield Refusal(
            asked=asked,
            found=f"wal_level {cluster.wal_level}",
            why="what is written meanwhile is carried over by logical decoding",
            remedy="set wal_level to logical on all nodes and restart them, or leave out online",
        )
    plugins = cluster.output_plugins
    if plugins is not None and "citus" not in [part.strip(' "') for part in plugins.split(",")]:
        yield Refusal(
            asked=asked,
            found=f"output_plugin_libraries {plugins}",
            why="PostgreSQL does not let Citus decode what is written meanwhile",
            remedy=f"set output_plugin_libraries to '{plugins}, citus' on all nodes and reload "
            "them, or leave out online",
        )
    if cluster.replication_factor > 1:
        yield Refusal(
            asked=asked,
            found=f"citus.shard_replication_factor {cluster.replication_factor}",
            why="shards with replicas can only be made while writers wait",
            remedy="set it to 1, or leave out online",
        )
    for key in comparison.catalog.foreign_keys:
        if key.referenced == subject.oid or (
            key.referencing == subject.oid and comparison.after(key.referenced).is_spread
        ):
            yield Refusal(
                asked=asked,
                found=str(key),
                why="a table that others reference, or that references distributed ones, can "
                "only be distributed while writers wait",
                remedy="leave out online, or drop the foreign key and add it afterwards",
            )


def foreign_key_refusals(comparison: Comparison) -> Iterator[Refusal]:
    """Foreign keys of changing tables that Citus would not take or not keep; one reason each."""
    changing = {subject.oid for subject in comparison.changing}
    for key in comparison.catalog.foreign_keys:
        if not changing & {key.referencing, key.referenced}:
            continue
        oid = key.referencing if key.referencing in changing else key.referenced
        subject = comparison.subjects[oid]
        for why, remedy in _broken(key, comparison):
            yield Refusal(
                asked=f"table {subject.declared.name}: {subject.target}",
                found=str(key),
                why=why,
                remedy=remedy,
            )
            break


def _broken(key: ForeignKey, comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Why a foreign key could not stay, and what to do about it."""
    yield from _lost_by_rewrite(key, comparison)
    referencing = comparison.after(key.referencing)
    referenced = comparison.after(key.referenced)
    if referencing.is_spread:
        yield from _broken_from_distributed(key, referencing, referenced)
    elif referenced.is_spread:
        if referencing.type == PLAIN:
            why = (
                f"Citus would no longer check it when rows of {key.referenced_name} are "
                "changed or deleted"
            )
        else:
            why = f"a {referencing.type} table can have no foreign key to a distributed one"
        yield (
            why,
            f"declare {key.referencing_name} in the same task as distributed and colocated "
            f"with {key.referenced_name}, or drop the foreign key",
        )
    elif key.referencing == key.referenced:
        return
    elif referencing.type == REFERENCE and referenced.type != REFERENCE:
        if {key.on_delete, key.on_update} - {"a", "r"}:
            yield (
                f"ON DELETE {ACTIONS[key.on_delete]} ON UPDATE {ACTIONS[key.on_update]} cannot "
                "reach from the coordinator to the copies of a reference table",
                f"declare {key.referenced_name} as a reference table too, or make it NO ACTION",
            )
    elif {referencing.type, referenced.type} == {LOCAL, PLAIN}:
        plain = key.referencing_name if referencing.type == PLAIN else key.referenced_name
        yield (
            "foreign keys between tables that Citus knows and plain ones are not supported",
            f"declare {plain} in the same task with type local, or drop the foreign key",
        )
    if isolated(key.referencing, comparison) or isolated(key.referenced, comparison):
        yield from _broken_by_isolation(key, referencing, referenced)


def _broken_from_distributed(
    key: ForeignKey, referencing: State, referenced: State
) -> Iterator[tuple[str, str]]:
    if referenced.type in (LOCAL, PLAIN):
        yield (
            "a distributed table can reference reference tables and colocated tables only",
            f"declare {key.referenced_name} in the same task, as a reference table or "
            "distributed and colocated, or drop the foreign key",
        )
    if referenced.type != REFERENCE:
        if referencing.group != referenced.group:
            yield (
                "rows that reference each other have to lie on the same node, and these tables "
                "are not colocated",
                f"declare {key.referencing_name} with colocate_with {key.referenced_name}, "
                "or drop the foreign key",
            )
        pair = (referencing.column, referenced.column)
        known = referencing.column_type_oid and referenced.column_type_oid
        if known and pair not in list(zip(key.columns, key.referenced_columns, strict=True)):
            yield (
                "it has to pair the distribution column of the one table with that of the other "
                f"({referencing.column} with {referenced.column})",
                "add the distribution columns to the foreign key, distribute by its columns, "
                "or drop it",
            )
    if referencing.column in key.columns and (key.on_delete in "nd" or key.on_update in "cnd"):
        yield (
            f"ON DELETE {ACTIONS[key.on_delete]} ON UPDATE {ACTIONS[key.on_update]} would change "
            f"the distribution column {referencing.column}, and rows cannot move",
            "use ON DELETE CASCADE, RESTRICT or NO ACTION, and ON UPDATE NO ACTION",
        )


def _lost_by_rewrite(key: ForeignKey, comparison: Comparison) -> Iterator[tuple[str, str]]:
    remedy = "drop the foreign key, run this task, and add it again"
    for oid in {key.referencing, key.referenced}:
        subject = comparison.subjects.get(oid)
        if subject is None or not subject.rewrites:
            continue
        if not subject.alters:
            yield f"Citus takes no table back while a foreign key ties it: {subject.name}", remedy
        elif key.referencing == key.referenced:
            yield f"rewriting {subject.name} would lose a foreign key to itself", remedy
        elif not _restored(key, oid, comparison):
            group = ", ".join(table.name for table in comparison.companions_now(oid))
            yield (
                f"rewriting {subject.name} without the other table would drop it",
                f"{remedy}; or rewrite its whole colocation group ({group}): declare all of it in "
                f"the same task, with allow_rewrite and with colocate_with {subject.name}",
            )


def _restored(key: ForeignKey, rewritten: int, comparison: Comparison) -> bool:
    """Whether Citus adds the foreign key again after it has rewritten one of its tables."""
    to_reference_table = (
        key.referencing == rewritten and comparison.now(key.referenced).type == REFERENCE
    )
    return to_reference_table or comparison.rewritten_together(key.referencing, key.referenced)


def isolated(oid: int, comparison: Comparison) -> bool:
    """Whether a new reference table has to be kept from the tables tied to it.

    Citus adds every plain table that foreign keys tie to a new reference table to its metadata,
    through all of their foreign keys; and of two tables in the metadata that reference each
    other, none can be distributed any more.
    """
    subject = comparison.subjects.get(oid)
    if subject is None or subject.citus is not None or subject.target.type != REFERENCE:
        return False
    tied = {oid}
    while True:
        reached = {
            end
            for key in comparison.catalog.foreign_keys
            for end in (key.referencing, key.referenced)
            if tied & {key.referencing, key.referenced} and comparison.now(end).type == PLAIN
        }
        if reached <= tied:
            break
        tied |= reached
    return any(
        key.referencing != key.referenced
        and {key.referencing, key.referenced} <= tied
        and comparison.after(key.referencing).type == DISTRIBUTED
        and comparison.after(key.referenced).type == DISTRIBUTED
        for key in comparison.catalog.foreign_keys
    )


def _broken_by_isolation(
    key: ForeignKey, referencing: State, referenced: State
) -> Iterator[tuple[str, str]]:
    """Kept apart, tables that stay on the coordinator are not added to the metadata either."""
    why = (
        "the plain table would have to be added to Citus' metadata with all that foreign keys "
        "tie to it, and some of that is to be distributed"
    )
    if referencing.type == PLAIN:
        yield why, f"declare {key.referencing_name} in the same task with type local"
    elif referenced.type in (PLAIN, LOCAL):
        yield why, f"declare {key.referenced_name} in the same task as a reference table"


def cluster_refusals(comparison: Comparison) -> Iterator[Refusal]:
    """What the cluster lacks for the changes that are due."""
    changing = comparison.changing
    if not changing:
        return
    cluster = comparison.catalog.cluster
    asked = f"tables {', '.join(subject.name for subject in changing)}"
    if cluster.in_recovery or not cluster.coordinator:
        yield Refusal(
            asked=asked,
            found="a standby" if cluster.in_recovery else "a worker",
            why="only the primary coordinator can change how tables are kept",
            remedy="connect to the primary coordinator (login_host, login_port)",
        )
        return
    spread = [subject.name for subject in changing if subject.target.type == DISTRIBUTED]
    if spread and not cluster.nodes_with_shards:
        yield Refusal(
            asked=f"distributed tables {', '.join(spread)}",
            found="no active node that takes shards",
            why="there is no place for the shards",
            remedy="register a worker, or let a node take shards "
            "(bss.platform.citus_node with shards: true)",
        )
    on_coordinator = [
        subject.name
        for subject in changing
        if subject.target.type == LOCAL or subject.declared.online
    ]
    if on_coordinator and not cluster.coordinator_registered:
        yield Refusal(
            asked=f"tables {', '.join(on_coordinator)}, local or distributed online",
            found="a coordinator that is not in pg_dist_node",
            why="the other nodes would not know where the rows are",
            remedy="register it (bss.platform.citus_node with coordinator_host)",
        )
    copied = [subject.name for subject in changing if subject.target.type == REFERENCE]
    if copied and not (cluster.nodes_with_shards or cluster.coordinator_registered):
        yield Refusal(
            asked=f"reference tables {', '.join(copied)}",
            found="no registered node",
            why="there is no place for the copies",
            remedy="register the coordinator and the workers (bss.platform.citus_node)",
        )


def refusals(declared: Sequence[Declaration], comparison: Comparison) -> tuple[Refusal, ...]:
    """Every reason why these tables cannot become as declared."""
    return (
        *(refusal for declaration in declared for refusal in declaration_refusals(declaration)),
        *comparison.refusals,
        *(
            refusal
            for subject in comparison.subjects.values()
            for refusal in table_refusals(subject, comparison)
        ),
        *foreign_key_refusals(comparison),
        *cluster_refusals(comparison),
    )
