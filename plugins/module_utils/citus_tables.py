# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What PostgreSQL's and Citus' catalogs say about tables, in a handful of queries.

Each function runs one query, however many tables are asked about: a task over 200 tables
costs as many round trips as a task over one. Nothing here decides or writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError
from ansible_collections.bss.platform.plugins.module_utils.postgresql import (
    Session,
    StatementFailed,
)

UNDEFINED_OBJECT_STATES = ("42P01", "42883", "42704")
"""SQLSTATE of an undefined table, function or setting: here, Citus is not in this database."""

_IDENTIFIER = r'(?:"(?:[^"\0]|"")+"|[^\W\d][\w$]*)'
_TABLE_NAME = re.compile(rf"(?:({_IDENTIFIER})\.)?({_IDENTIFIER})")


class CitusMissing(PlatformError):
    """The database has no Citus, or one that is too old for these reads."""


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    """As SQL writes it, without length: ``character varying``."""
    type_oid: int
    generated: bool
    """GENERATED ALWAYS AS (expression) STORED."""
    identity: bool
    """GENERATED ... AS IDENTITY."""


@dataclass(frozen=True)
class UniqueIndex:
    """A promise that no two rows are alike: of the table or of one of its partitions."""

    name: str
    kind: str
    """``primary key``, ``unique index`` or ``exclusion constraint``."""
    columns: tuple[str, ...]
    """What is compared for equality (an exclusion constraint may compare others as well)."""


@dataclass(frozen=True)
class Relation:
    """A table as PostgreSQL knows it; or what stands under a table's name instead."""

    oid: int
    name: str
    """With its schema, quoted where SQL needs it."""
    kind: str
    """pg_class.relkind."""
    system: bool
    temporary: bool
    owned: bool
    """Whether the session's role may alter it."""
    partition_of: str | None
    inherits: bool
    """Involved in inheritance that is not partitioning."""
    subpartitioned: bool
    replica_identity: bool
    """Whether logical replication can tell its rows apart (in every partition)."""
    triggers: tuple[str, ...]
    columns: tuple[Column, ...]
    unique_indexes: tuple[UniqueIndex, ...] = ()

    def column(self, name: str | None) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True)
class CitusTable:
    """A table as Citus' metadata has it."""

    oid: int
    name: str
    kind: str
    """``distributed`` (by hash), ``reference``, ``local``, ``single-shard``, ``schema`` (its
    schema is distributed), ``append`` or ``range``."""
    automatic: bool
    """Citus added it by itself, because a foreign key ties it to a reference table."""
    column: str | None
    column_type_oid: int | None
    shard_count: int
    colocation_id: int
    replication_factor: int | None


@dataclass(frozen=True)
class ForeignKey:
    name: str
    """Quoted where SQL needs it."""
    referencing: int
    """oid of the table that has the constraint."""
    referencing_name: str
    referenced: int
    referenced_name: str
    columns: tuple[str, ...]
    referenced_columns: tuple[str, ...]
    on_delete: str
    """pg_constraint.confdeltype: a (no action), r (restrict), c (cascade), n (set null),
    d (set default)."""
    on_update: str
    definition: str
    """What ALTER TABLE ... ADD CONSTRAINT takes."""

    def __str__(self) -> str:
        return (
            f"foreign key {self.name}: {self.referencing_name} ({', '.join(self.columns)}) -> "
            f"{self.referenced_name} ({', '.join(self.referenced_columns)})"
        )


@dataclass(frozen=True)
class Cluster:
    """What the connected node says of itself and of the cluster."""

    coordinator: bool
    in_recovery: bool
    coordinator_registered: bool
    nodes_with_shards: int
    """Active primaries that take shards."""
    shard_count: int
    """citus.shard_count: for tables that declare none."""
    replication_factor: int
    unsafe_triggers: bool
    wal_level: str
    output_plugins: str | None
    """output_plugin_libraries; None where PostgreSQL knows no such limit or does not tell."""


@dataclass(frozen=True)
class Size:
    rows: int
    bytes: int
    """On disk, with indexes, over all nodes."""


@dataclass(frozen=True)
class Catalog:
    """All that a plan about tables is made from, but for sizes."""

    oids: Mapping[str, int]
    """The relation behind each name that was asked about; missing names are not in it."""
    relations: Mapping[int, Relation]
    citus_tables: Mapping[int, CitusTable]
    """All of the cluster but partitions, which follow their table."""
    foreign_keys: tuple[ForeignKey, ...]
    """Those from or to a relation that was asked about."""
    cluster: Cluster
    known_names: tuple[str, ...] = field(default=())
    """Names of existing tables; read only if one that was asked about does not exist."""


def canonical_name(text: str) -> str | None:
    """The name as PostgreSQL would read it in SQL, quoted; None if SQL could not read it.

    As in SQL, case is folded unless quoted: ``Sales.Orders`` is ``"sales"."orders"``.
    """
    match = _TABLE_NAME.fullmatch(text)
    if match is None:
        return None
    return ".".join(
        part if part.startswith('"') else f'"{part.lower()}"' for part in match.groups() if part
    )


def read_catalog(session: Session, names: Iterable[str]) -> Catalog:
    """Everything about the tables of these canonical names: five queries, six if one is missing.

    Raises CitusMissing when the database has no Citus.
    """
    asked = sorted(set(names))
    try:
        cluster = _read_cluster(session)
        citus_tables = _read_citus_tables(session)
    except StatementFailed as error:
        if error.sqlstate in UNDEFINED_OBJECT_STATES:
            raise CitusMissing(
                f"{session.name} has no Citus of version 12 or newer ({error}). Set login_db to "
                "the database that has the extension, or run CREATE EXTENSION citus there."
            ) from error
        raise
    found = _read_oids(session, asked)
    relations = _read_relations(session, sorted(set(found.values())))
    # Citus hides its shards from the second of these queries, but not from the first.
    oids = {name: oid for name, oid in found.items() if oid in relations}
    return Catalog(
        oids=oids,
        relations=relations,
        citus_tables=citus_tables,
        foreign_keys=_read_foreign_keys(session, list(relations)),
        cluster=cluster,
        known_names=() if len(oids) == len(asked) else _read_table_names(session),
    )


def read_size(session: Session, relation: Relation) -> Size:
    """Rows, counted, and bytes of one table: two queries that every shard takes part in."""
    count = f"SELECT count(*) FROM {relation.name}"  # noqa: S608 (quoted by the catalog)
    size = session.value(
        """
        SELECT coalesce(sum(citus_total_relation_size(member)), 0)::bigint
          FROM (SELECT %s::oid AS member UNION SELECT relid FROM pg_partition_tree(%s::oid)) AS tree
        """,
        (relation.oid, relation.oid),
    )
    return Size(rows=session.value(count), bytes=size)


def _read_cluster(session: Session) -> Cluster:
    """Also turns off JIT for the session: compiling these queries takes longer than all of them."""
    (row,) = session.rows(
        """
        SELECT (SELECT groupid = 0 FROM pg_dist_local_group) AS coordinator,
               pg_is_in_recovery() AS in_recovery,
               EXISTS (SELECT FROM pg_dist_node
                        WHERE groupid = 0 AND noderole = 'primary') AS coordinator_registered,
               (SELECT count(*) FROM pg_dist_node
                 WHERE isactive AND shouldhaveshards AND noderole = 'primary') AS nodes_with_shards,
               current_setting('citus.shard_count')::int AS shard_count,
               current_setting('citus.shard_replication_factor')::int AS replication_factor,
               current_setting('citus.enable_unsafe_triggers')::boolean AS unsafe_triggers,
               current_setting('wal_level') AS wal_level,
               CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')
                    THEN current_setting('output_plugin_libraries', true) END AS output_plugins,
               set_config('jit', 'off', false) AS jit
        """
    )
    del row["jit"]
    return Cluster(**row)


def _read_oids(session: Session, names: Sequence[str]) -> dict[str, int]:
    """The relations behind the names, as the search_path has it; missing ones are left out."""
    rows = session.rows(
        """
        SELECT name, to_regclass(name)::oid AS oid FROM unnest(%s::text[]) AS name
         WHERE to_regclass(name) IS NOT NULL
        """,
        (list(names),),
    )
    return {row["name"]: row["oid"] for row in rows}


def _read_relations(session: Session, oids: Sequence[int]) -> dict[int, Relation]:
    rows = session.rows(
        """
        SELECT c.oid, c.relkind AS kind,
               (pg_identify_object('pg_class'::regclass, c.oid, 0)).identity AS name,
               c.relnamespace IN (SELECT oid FROM pg_namespace
                                   WHERE nspname IN ('pg_catalog', 'information_schema')
                                 ) AS system,
               c.relpersistence = 't' AS temporary,
               pg_has_role(c.relowner, 'USAGE') AS owned,
               (SELECT (pg_identify_object('pg_class'::regclass, inhparent, 0)).identity
                  FROM pg_inherits WHERE inhrelid = c.oid AND c.relispartition) AS partition_of,
               EXISTS (SELECT FROM pg_inherits i
                        WHERE (i.inhrelid = c.oid AND NOT c.relispartition)
                           OR (i.inhparent = c.oid AND c.relkind <> 'p')) AS inherits,
               EXISTS (SELECT FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhrelid
                        WHERE i.inhparent = c.oid AND p.relkind = 'p') AS subpartitioned,
               NOT EXISTS (SELECT FROM (SELECT c.oid UNION ALL
                                         SELECT inhrelid FROM pg_inherits
                                          WHERE inhparent = c.oid) AS member
                             JOIN pg_class leaf ON leaf.oid = member.oid AND leaf.relkind = 'r'
                            WHERE leaf.relreplident <> 'f'
                              AND NOT EXISTS (
                                    SELECT FROM pg_index x
                                     WHERE x.indrelid = leaf.oid
                                       AND ((leaf.relreplident = 'd' AND x.indisprimary)
                                         OR (leaf.relreplident = 'i' AND x.indisreplident)))
                          ) AS replica_identity,
               ARRAY(SELECT t.tgname::text FROM pg_trigger t
                      WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgparentid = 0
                      ORDER BY 1) AS triggers,
               coalesce((SELECT json_agg(json_build_object(
                                  'name', a.attname,
                                  'type', format_type(a.atttypid, NULL),
                                  'type_oid', a.atttypid::bigint,
                                  'generated', a.attgenerated <> '',
                                  'identity', a.attidentity <> '') ORDER BY a.attnum)
                           FROM pg_attribute a
                          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
                        '[]') AS columns,
               (SELECT coalesce(json_agg(json_build_object(
                         'name', ic.relname,
                         'kind', CASE WHEN x.indisprimary THEN 'primary key'
                                      WHEN x.indisexclusion THEN 'exclusion constraint'
                                      ELSE 'unique index' END,
                         'columns', ARRAY(
                            SELECT a.attname
                              FROM generate_series(0, x.indnkeyatts - 1) AS place
                              JOIN pg_attribute a
                                ON a.attrelid = x.indrelid AND a.attnum = x.indkey[place]
                             WHERE NOT x.indisexclusion
                                OR (SELECT o.oprname = '=' FROM pg_constraint e
                                      JOIN pg_operator o ON o.oid = e.conexclop[place + 1]
                                     WHERE e.conindid = x.indexrelid AND e.contype = 'x')
                             ORDER BY place)) ORDER BY ic.relname), '[]')
                  FROM (SELECT c.oid UNION ALL
                        SELECT inhrelid FROM pg_inherits
                         WHERE inhparent = c.oid AND c.relkind = 'p') AS member
                  JOIN pg_index x ON x.indrelid = member.oid
                   AND (x.indisunique OR x.indisexclusion)
                  JOIN pg_class ic ON ic.oid = x.indexrelid AND NOT ic.relispartition
               ) AS unique_indexes
          FROM pg_class c
         WHERE c.oid = ANY (%s::oid[])
        """,
        (list(oids),),
    )
    return {
        row["oid"]: Relation(
            **{
                **row,
                "triggers": tuple(row["triggers"]),
                "columns": tuple(Column(**column) for column in row["columns"]),
                "unique_indexes": tuple(
                    UniqueIndex(**{**index, "columns": tuple(index["columns"])})
                    for index in row["unique_indexes"]
                ),
            }
        )
        for row in rows
    }


def _read_citus_tables(session: Session) -> dict[int, CitusTable]:
    rows = session.rows(
        """
        SELECT p.logicalrelid::oid AS oid,
               (pg_identify_object('pg_class'::regclass, p.logicalrelid, 0)).identity AS name,
               CASE WHEN p.colocationid IN (SELECT colocationid FROM pg_dist_schema) THEN 'schema'
                    WHEN p.partmethod = 'h' THEN 'distributed'
                    WHEN p.partmethod = 'a' THEN 'append'
                    WHEN p.partmethod = 'r' THEN 'range'
                    WHEN p.repmodel = 't' THEN 'reference'
                    WHEN p.colocationid = 0 THEN 'local'
                    ELSE 'single-shard' END AS kind,
               p.autoconverted AS automatic,
               column_to_column_name(p.logicalrelid, p.partkey) AS column,
               g.distributioncolumntype::bigint AS column_type_oid,
               coalesce(s.shards, 0) AS shard_count,
               p.colocationid AS colocation_id,
               g.replicationfactor AS replication_factor
          FROM pg_dist_partition p
          LEFT JOIN pg_dist_colocation g ON g.colocationid = p.colocationid
          LEFT JOIN (SELECT logicalrelid, count(*) AS shards
                       FROM pg_dist_shard GROUP BY logicalrelid) s
            ON s.logicalrelid = p.logicalrelid
         WHERE p.logicalrelid NOT IN (SELECT inhrelid FROM pg_inherits)
         ORDER BY name
        """
    )
    return {row["oid"]: CitusTable(**row) for row in rows}


def _read_foreign_keys(session: Session, oids: Sequence[int]) -> tuple[ForeignKey, ...]:
    """Foreign keys from or to these relations; those of partitions follow their table's."""
    rows = session.rows(
        """
        SELECT quote_ident(k.conname) AS name,
               k.conrelid AS referencing,
               (pg_identify_object('pg_class'::regclass, k.conrelid, 0)).identity
                 AS referencing_name,
               k.confrelid AS referenced,
               (pg_identify_object('pg_class'::regclass, k.confrelid, 0)).identity
                 AS referenced_name,
               ARRAY(SELECT a.attname::text
                       FROM unnest(k.conkey) WITH ORDINALITY AS key(num, place)
                       JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = key.num
                      ORDER BY key.place) AS columns,
               ARRAY(SELECT a.attname::text
                       FROM unnest(k.confkey) WITH ORDINALITY AS key(num, place)
                       JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = key.num
                      ORDER BY key.place) AS referenced_columns,
               k.confdeltype AS on_delete,
               k.confupdtype AS on_update,
               pg_get_constraintdef(k.oid) AS definition
          FROM pg_constraint k
         WHERE k.contype = 'f' AND k.conparentid = 0
           AND (k.conrelid = ANY (%s::oid[]) OR k.confrelid = ANY (%s::oid[]))
         ORDER BY referencing_name, name
        """,
        (list(oids), list(oids)),
    )
    return tuple(
        ForeignKey(
            **{
                **row,
                "columns": tuple(row["columns"]),
                "referenced_columns": tuple(row["referenced_columns"]),
            }
        )
        for row in rows
    )


def _read_table_names(session: Session) -> tuple[str, ...]:
    rows = session.rows(
        """
        SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
          FROM pg_class c
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
           AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'citus', 'pg_toast')
         ORDER BY name
        """
    )
    return tuple(row["name"] for row in rows)
