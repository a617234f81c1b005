# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What citus_distributed_table plans and refuses, and what its main() sends."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.bss.platform.plugins.module_utils.citus_table_drift import Declaration
from ansible_collections.bss.platform.plugins.module_utils.citus_table_plan import (
    TablePlan,
    plan,
    rewritten_tables,
)
from ansible_collections.bss.platform.plugins.module_utils.citus_tables import (
    Catalog,
    CitusTable,
    Cluster,
    Column,
    ForeignKey,
    Relation,
    Size,
    UniqueIndex,
    canonical_name,
)
from ansible_collections.bss.platform.plugins.module_utils.postgresql import (
    ConnectionLost,
    StatementFailed,
)
from ansible_collections.bss.platform.plugins.modules import citus_distributed_table

RunMain = Callable[..., dict[str, Any]]
Step = tuple[str, Any, Sequence[str]]

TYPES = {"bigint": 20, "integer": 23, "text": 25}

CLUSTER = Cluster(
    coordinator=True,
    in_recovery=False,
    coordinator_registered=True,
    nodes_with_shards=3,
    shard_count=32,
    replication_factor=1,
    unsafe_triggers=False,
    wal_level="logical",
    output_plugins="pgoutput, test_decoding, citus",
)


# What the catalogs could say


def oid(name: str) -> int:
    return zlib.crc32(name.encode())


def table(name: str, definition: str = "id bigint, note text", **changes: Any) -> Relation:
    """A plain table in schema public, with a primary key on its first column."""
    pairs = [column.split() for column in definition.split(", ")]
    whole = Relation(
        oid=oid(name),
        name=f"public.{name}",
        kind="r",
        system=False,
        temporary=False,
        owned=True,
        partition_of=None,
        inherits=False,
        subpartitioned=False,
        replica_identity=True,
        triggers=(),
        columns=tuple(Column(each, type_, TYPES[type_], False, False) for each, type_ in pairs),
        unique_indexes=(UniqueIndex(f"{name}_pkey", "primary key", (pairs[0][0],)),),
    )
    return replace(whole, **changes)


def spread(name: str, group: int, shard_count: int = 6, **changes: Any) -> CitusTable:
    """The metadata of a table distributed by its bigint column id."""
    whole = CitusTable(
        oid=oid(name),
        name=f"public.{name}",
        kind="distributed",
        automatic=False,
        column="id",
        column_type_oid=TYPES["bigint"],
        shard_count=shard_count,
        colocation_id=group,
        replication_factor=1,
    )
    return replace(whole, **changes)


def kept(name: str, kind: str, automatic: bool = False) -> CitusTable:
    """The metadata of a reference or local table."""
    group = 1 if kind == "reference" else 0
    return CitusTable(oid(name), f"public.{name}", kind, automatic, None, None, 1, group, None)


def key(arrow: str, **changes: Any) -> ForeignKey:
    """A foreign key written as "orders.id -> customers.id"."""
    (source, column), (target, other) = (end.split(".") for end in arrow.split(" -> "))
    whole = ForeignKey(
        name=f"{source}_{column}_fkey",
        referencing=oid(source),
        referencing_name=f"public.{source}",
        referenced=oid(target),
        referenced_name=f"public.{target}",
        columns=(column,),
        referenced_columns=(other,),
        on_delete="a",
        on_update="a",
        definition=f"FOREIGN KEY ({column}) REFERENCES {target}({other})",
    )
    return replace(whole, **changes)


def catalog(
    *relations: Relation | str,
    citus: Sequence[CitusTable] = (),
    keys: Sequence[ForeignKey] = (),
    **cluster: Any,
) -> Catalog:
    tables = [table(each) if isinstance(each, str) else each for each in relations]
    bare = {f'"{each.name.partition(".")[2]}"': each.oid for each in tables}
    qualified = {f'"public".{name}': number for name, number in bare.items()}
    return Catalog(
        oids=bare | qualified,
        relations={each.oid: each for each in tables},
        citus_tables={each.oid: each for each in citus},
        foreign_keys=tuple(keys),
        cluster=replace(CLUSTER, **cluster),
        known_names=tuple(each.name for each in tables),
    )


def hashed(name: str, **options: Any) -> Declaration:
    return Declaration(name, column=options.pop("column", "id"), **options)


def reference(name: str, **options: Any) -> Declaration:
    return Declaration(name, type="reference", **options)


def local(name: str, **options: Any) -> Declaration:
    return Declaration(name, type="local", **options)


def planned(there: Catalog, *declared: Declaration) -> TablePlan:
    sizes = {
        relation.oid: Size(rows=1_000_000, bytes=3 * 1024**2)
        for relation in rewritten_tables(declared, there)
    }
    return plan(declared, there, sizes)


def statements(decided: TablePlan) -> list[str]:
    return [
        each.statement % tuple(map(repr, each.parameters)) if each.parameters else each.statement
        for each in decided.actions
    ]


PAIR = [spread("customers", 2), spread("orders", 2)]
ORDERS_KEY = key("orders.id -> customers.id")


@pytest.mark.parametrize(
    ("there", "declared", "expected"),
    [
        pytest.param(catalog(), [], [], id="nothing declared"),
        pytest.param(
            catalog(
                "customers",
                "orders",
                "products",
                "log",
                citus=[*PAIR, kept("products", "reference"), kept("log", "local")],
                keys=[ORDERS_KEY],
            ),
            [
                hashed("orders", colocate_with="customers"),
                hashed("customers", shard_count=6),
                reference("products", allow_rewrite=True),
                local("public.log"),
            ],
            [],
            id="unchanged",
        ),
        pytest.param(
            catalog("customers", citus=[spread("customers", 2, shard_count=48)]),
            [hashed("customers")],
            [],
            id="a number of shards that is not declared is left alone",
        ),
        pytest.param(
            catalog("customers", "orders", citus=PAIR),
            [hashed("customers", colocate_with="none")],
            [],
            id="others may have joined a group of its own",
        ),
        pytest.param(
            catalog("customers"),
            [hashed("customers")],
            ["SELECT create_distributed_table('public.customers', 'id')"],
            id="distribute",
        ),
        pytest.param(
            catalog("customers", citus=[kept("customers", "local")]),
            [hashed("customers", shard_count=6, colocate_with="none", online=True)],
            [
                "SELECT create_distributed_table_concurrently('public.customers', 'id', "
                "colocate_with => 'none', shard_count => 6)"
            ],
            id="online, after it was interrupted",
        ),
        pytest.param(
            catalog("products"),
            [reference("products")],
            ["SELECT create_reference_table('public.products')"],
            id="reference",
        ),
        pytest.param(
            catalog("log"),
            [local("log")],
            ["SELECT citus_add_local_table_to_metadata('public.log')"],
            id="local",
        ),
        pytest.param(
            catalog("log", citus=[kept("log", "local", automatic=True)]),
            [local("log")],
            ["SELECT citus_add_local_table_to_metadata('public.log')"],
            id="local, and to stay so",
        ),
        pytest.param(
            catalog("a", "b", "c", keys=[key("a.id -> b.id"), key("b.id -> c.id")]),
            [local("a"), local("b"), local("c")],
            [
                "SET LOCAL citus.multi_shard_modify_mode TO sequential",
                "SELECT citus_add_local_table_to_metadata('public.a', "
                "cascade_via_foreign_keys => True)",
            ],
            id="local tables that foreign keys tie together are added together",
        ),
        pytest.param(
            catalog("customers", "orders", "products", keys=[ORDERS_KEY]),
            [
                hashed("orders", colocate_with="customers"),
                hashed("customers", shard_count=6),
                reference("products"),
            ],
            [
                "SELECT create_reference_table('public.products')",
                "SELECT create_distributed_table('public.customers', 'id', shard_count => 6)",
                "SELECT create_distributed_table('public.orders', 'id', "
                "colocate_with => 'public.customers')",
            ],
            id="references first, then what others are colocated with",
        ),
        pytest.param(
            catalog("a", "b", "c", keys=[key("a.id -> b.id"), key("b.id -> c.id")]),
            [hashed("a"), hashed("b"), hashed("c")],
            [
                "SELECT create_distributed_table('public.c', 'id')",
                "SELECT create_distributed_table('public.b', 'id')",
                "SELECT create_distributed_table('public.a', 'id')",
            ],
            id="referenced before referencing",
        ),
        pytest.param(
            catalog("a", "b", keys=[key("a.id -> b.id"), key("b.id -> a.id")]),
            [reference("a"), reference("b")],
            [
                "SELECT create_reference_table('public.a')",
                "SELECT create_reference_table('public.b')",
            ],
            id="reference tables may reference each other",
        ),
        pytest.param(
            catalog(
                "customers",
                "orders",
                "products",
                keys=[ORDERS_KEY, key("orders.note -> products.id")],
            ),
            [hashed("customers"), hashed("orders"), reference("products")],
            [
                "SET LOCAL citus.enable_local_reference_table_foreign_keys TO off",
                "SELECT create_reference_table('public.products')",
                "SELECT create_distributed_table('public.customers', 'id')",
                "SELECT create_distributed_table('public.orders', 'id')",
            ],
            id="a reference table must not drag what is to be distributed into the metadata",
        ),
        pytest.param(
            catalog(
                "customers",
                "orders",
                citus=[spread("customers", 2), kept("regions", "reference")],
                keys=[ORDERS_KEY, key("customers.note -> regions.id")],
            ),
            [hashed("orders", colocate_with="customers")],
            [
                "SET LOCAL citus.multi_shard_modify_mode TO sequential",
                "SELECT create_distributed_table('public.orders', 'id', "
                "colocate_with => 'public.customers')",
            ],
            id="a foreign key chain to a reference table",
        ),
        pytest.param(
            catalog(
                "customers",
                "orders",
                citus=[kept("customers", "local", True), kept("orders", "local", True)],
                keys=[ORDERS_KEY],
            ),
            [hashed("orders"), hashed("customers")],
            [
                "SET LOCAL citus.multi_shard_modify_mode TO sequential",
                "ALTER TABLE public.orders DROP CONSTRAINT orders_id_fkey",
                "SELECT create_distributed_table('public.customers', 'id')",
                "SELECT create_distributed_table('public.orders', 'id')",
                "ALTER TABLE public.orders ADD CONSTRAINT orders_id_fkey "
                "FOREIGN KEY (id) REFERENCES customers(id)",
            ],
            id="local tables that reference each other",
        ),
        pytest.param(
            catalog("customers", "orders", citus=PAIR, keys=[ORDERS_KEY]),
            [
                hashed("orders", colocate_with="customers", allow_rewrite=True),
                hashed("customers", shard_count=12, allow_rewrite=True),
            ],
            [
                "SELECT alter_distributed_table('public.customers', shard_count => 12, "
                "cascade_to_colocated => True)"
            ],
            id="a whole colocation group is rewritten by one statement",
        ),
        pytest.param(
            catalog("customers", "orders", citus=[*PAIR, spread("visits", 2)]),
            [
                hashed("orders", colocate_with="customers", allow_rewrite=True),
                hashed("customers", shard_count=12, allow_rewrite=True),
            ],
            [
                "SELECT alter_distributed_table('public.customers', shard_count => 12, "
                "cascade_to_colocated => False)",
                "SELECT alter_distributed_table('public.orders', "
                "colocate_with => 'public.customers', cascade_to_colocated => False)",
            ],
            id="a part of a colocation group is rewritten one by one",
        ),
        pytest.param(
            catalog(table("customers", "id bigint, region bigint", unique_indexes=()), citus=PAIR),
            [hashed("customers", column="region", allow_rewrite=True)],
            ["SELECT alter_distributed_table('public.customers', distribution_column => 'region')"],
            id="another column",
        ),
        pytest.param(
            catalog(
                "orders",
                citus=[spread("orders", 2), kept("products", "reference")],
                keys=[key("orders.note -> products.id")],
            ),
            [hashed("orders", shard_count=12, allow_rewrite=True)],
            ["SELECT alter_distributed_table('public.orders', shard_count => 12)"],
            id="a foreign key to a reference table survives a rewrite",
        ),
        pytest.param(
            catalog("customers", citus=[spread("customers", 2)]),
            [reference("customers", allow_rewrite=True)],
            [
                "SELECT undistribute_table('public.customers')",
                "SELECT create_reference_table('public.customers')",
            ],
            id="another type",
        ),
        pytest.param(
            catalog("events", citus=[spread("events", 0, kind="append")]),
            [hashed("events", allow_rewrite=True)],
            [
                "SELECT undistribute_table('public.events')",
                "SELECT create_distributed_table('public.events', 'id')",
            ],
            id="distributed by append",
        ),
        pytest.param(
            catalog("products", citus=[kept("products", "reference")]),
            [local("products", allow_rewrite=True)],
            [
                "SELECT undistribute_table('public.products')",
                "SELECT citus_add_local_table_to_metadata('public.products')",
            ],
            id="taken back",
        ),
    ],
)
def test_plan(there: Catalog, declared: list[Declaration], expected: list[str]) -> None:
    decided = planned(there, *declared)
    assert [str(refusal) for refusal in decided.refusals] == []
    assert statements(decided) == expected
    assert decided.changed == bool(expected)
    assert bool(decided.diff["after"]) == bool(expected)


def test_sentences_say_what_a_rewrite_costs() -> None:
    there = catalog("customers", "orders", citus=PAIR)
    moved = hashed("customers", shard_count=12, allow_rewrite=True)
    along = hashed("orders", colocate_with="customers", allow_rewrite=True)
    assert planned(there, moved, along).sentences == [
        "rewrite public.customers, 1,000,000 rows (3.00 MB): shard_count 6 -> 12; "
        "along with it public.orders, 1,000,000 rows (3.00 MB)"
    ]
    assert planned(there, moved).sentences == [
        "rewrite public.customers, 1,000,000 rows (3.00 MB): shard_count 6 -> 12; "
        "no longer colocated with public.orders"
    ]
    assert planned(there, local("orders", allow_rewrite=True)).sentences == [
        "take public.orders back to the coordinator, 1,000,000 rows (3.00 MB): "
        "it is distributed by id into 6 shards",
        "add public.orders to Citus' metadata, with the rows on the coordinator",
    ]


def test_steps_of_one_transaction_carry_its_name() -> None:
    there = catalog("customers", "log", citus=[spread("customers", 2)])
    decided = planned(there, reference("customers", allow_rewrite=True), local("log"))
    assert [dict(action.options) for action in decided.actions] == [
        {"transaction": "public.customers"},
        {"transaction": "public.customers"},
        {},
    ]


def test_diff_shows_the_declared_part_of_what_differs() -> None:
    there = catalog("customers", "orders", "products", citus=[spread("customers", 2)])
    decided = planned(there, hashed("orders", colocate_with="customers"), hashed("customers"))
    assert decided.diff == {
        "before": {"public.orders": {"type": "plain"}},
        "after": {
            "public.orders": {
                "type": "distributed",
                "column": "id",
                "shard_count": 6,
                "colocate_with": "public.customers",
            }
        },
    }
    assert decided.colocation_groups == (["public.customers", "public.orders"],)


def test_default_group_is_the_oldest_that_is_alike() -> None:
    there = catalog(
        "new", citus=[spread("later", 5), spread("older", 3), spread("other", 2, shard_count=7)]
    )
    decided = planned(there, hashed("new", shard_count=6))
    assert decided.colocation_groups == (["public.new", "public.older"],)


# Refusals

WIDE = "id bigint, customer_id integer, note text"


@pytest.mark.parametrize(
    ("there", "declared", "reasons"),
    [
        pytest.param(
            catalog("customers"),
            [hashed("customer"), hashed("a.b.c"), hashed("elsewhere.zz")],
            [
                "table customer: the table does not exist in the schemas of the search_path. "
                "There is: similar tables: public.customers",
                "table 'a.b.c': this is not a table's name as SQL writes it",
                "table elsewhere.zz: the table does not exist. There is: no table of such a name",
            ],
            id="names",
        ),
        pytest.param(
            catalog("customers"),
            [hashed("customers"), reference("PUBLIC.Customers")],
            ["public.customers is declared as customers already"],
            id="the same table twice",
        ),
        pytest.param(
            catalog("customers"),
            [Declaration("customers", shard_count=0)],
            [
                "table customers: type distributed: a distributed table is distributed by a column",
                "table customers: shard_count 0: it is out of range",
            ],
            id="contradictions",
        ),
        pytest.param(
            catalog("a", "b"),
            [hashed("b"), hashed("a", shard_count=3, colocate_with="b")],
            ["table a: shard_count 3: a table has as many shards as the one it is colocated with"],
            id="shard_count with colocate_with",
        ),
        pytest.param(
            catalog("a"),
            [reference("a", column="id", shard_count=2, colocate_with="b", online=True)],
            [
                "table a: column id: column is of distributed tables only",
                "table a: shard_count 2: shard_count is of distributed tables only",
                "table a: colocate_with b: colocate_with is of distributed tables only",
                "table a: online True: online is of distributed tables only",
            ],
            id="options that a type has not",
        ),
        pytest.param(
            catalog(table("a", kind="v"), table("b", kind="f"), table("c", temporary=True)),
            [reference("a"), hashed("b"), hashed("c")],
            ["public.a is a view", "public.b is a foreign table", "public.c is temporary"],
            id="not tables, or not permanent ones",
        ),
        pytest.param(
            catalog(
                table("a", partition_of="public.whole"),
                table("b", inherits=True),
                table("c", subpartitioned=True, kind="p"),
                table("d", kind="p"),
                table("e", system=True),
            ),
            [hashed("a"), hashed("b"), hashed("c"), reference("d"), reference("e")],
            [
                "public.a is a partition of public.whole",
                "public.b inherits from another table or is inherited from",
                "partitions of public.c are partitioned in turn",
                "a partitioned table can be distributed, but cannot be a reference table",
                "the catalogs cannot be distributed",
            ],
            id="inheritance",
        ),
        pytest.param(
            catalog(
                table("a", owned=False),
                table("b", triggers=("t1", "t2")),
                "c",
                citus=[spread("c", 9, kind="schema")],
            ),
            [reference("a"), hashed("b"), reference("c", allow_rewrite=True)],
            [
                "public.a belongs to another role",
                "triggers t1, t2 on public.b",
                "public.c is in a distributed schema",
            ],
            id="owner, triggers, distributed schema",
        ),
        pytest.param(
            catalog(table("orders", WIDE)),
            [hashed("orders", column="Custmer_ID")],
            [
                "There is: public.orders has the columns id, customer_id, note. "
                "To go on: set column to customer_id, if that was meant"
            ],
            id="no such column",
        ),
        pytest.param(
            catalog(table("orders", WIDE)),
            [hashed("orders", column="customer_id")],
            ["primary key orders_pkey on public.orders (id)"],
            id="unique constraint without the distribution column",
        ),
        pytest.param(
            catalog(table("a", columns=(Column("id", "bigint", 20, True, False),))),
            [hashed("a")],
            ["id is generated from other columns"],
            id="generated column",
        ),
        pytest.param(
            catalog("customers", table("orders", "id integer")),
            [hashed("customers"), hashed("orders", colocate_with="customers")],
            ["public.orders.id is integer, public.customers.id is bigint"],
            id="type differs from the colocated table's",
        ),
        pytest.param(
            catalog("a", "b", "c", citus=[kept("c", "reference")]),
            [
                hashed("a", colocate_with="b"),
                hashed("b", colocate_with="c"),
                hashed("c", colocate_with="nowhere", allow_rewrite=True),
            ],
            ["table c: colocate_with nowhere: the table does not exist"],
            id="colocated with a table that does not exist",
        ),
        pytest.param(
            catalog("a", "b"),
            [hashed("a", colocate_with="b")],
            ["There is: public.b is a plain PostgreSQL table"],
            id="colocated with a table that is neither distributed nor declared",
        ),
        pytest.param(
            catalog("a", "b"),
            [hashed("a", colocate_with="b"), reference("b")],
            ["There is: public.b is declared as a reference table"],
            id="colocated with a reference table",
        ),
        pytest.param(
            catalog("a", "b", "c"),
            [hashed("a", colocate_with="b"), hashed("b", colocate_with="a"), hashed("nope")],
            ["-> ", "table nope: the table does not exist"],
            id="colocated in a circle",
        ),
        pytest.param(
            catalog("a"), [hashed("a", colocate_with="a")], ["a -> a"], id="colocated with itself"
        ),
        pytest.param(
            catalog("a", "b", keys=[key("a.id -> b.id"), key("b.id -> a.id")]),
            [hashed("a"), hashed("b")],
            ["each would have to be distributed after the next one"],
            id="distributed tables that reference each other",
        ),
        pytest.param(
            catalog(
                table("orders", WIDE, unique_indexes=()),
                "products",
                citus=[spread("orders", 2), kept("products", "reference")],
            ),
            [hashed("orders", column="customer_id", shard_count=8), hashed("products")],
            [
                "table orders: column customer_id, shard_count 8: public.orders is distributed "
                "already, and this would write all its rows anew while writers wait. "
                "There is: column id, shard_count 6. To go on: set allow_rewrite to true for it",
                "table products: type distributed: public.products is reference already",
            ],
            id="drift without allow_rewrite",
        ),
        pytest.param(
            catalog(
                table("a", columns=(Column("id", "bigint", 20, False, True),)),
                citus=[spread("a", 2)],
            ),
            [hashed("a", shard_count=8, online=True, allow_rewrite=True)],
            [
                "Citus can distribute a table while it is written to, but not rewrite one",
                "identity column id in public.a",
            ],
            id="what cannot be rewritten",
        ),
        pytest.param(
            catalog(
                table("a", replica_identity=False),
                "b",
                keys=[key("b.id -> a.id")],
                wal_level="replica",
                output_plugins="pgoutput",
                replication_factor=2,
                coordinator_registered=False,
            ),
            [hashed("a", online=True), hashed("b")],
            [
                "public.a has neither a primary key nor a replica identity",
                "wal_level replica",
                "set output_plugin_libraries to 'pgoutput, citus'",
                "citus.shard_replication_factor 2",
                "can only be distributed while writers wait",
                "a coordinator that is not in pg_dist_node",
            ],
            id="what online needs",
        ),
        pytest.param(
            catalog("a", nodes_with_shards=0, coordinator_registered=False),
            [hashed("a")],
            ["no active node that takes shards"],
            id="no worker",
        ),
        pytest.param(
            catalog("a", "b", nodes_with_shards=0, coordinator_registered=False),
            [reference("a"), local("b")],
            ["a coordinator that is not in pg_dist_node", "no registered node"],
            id="no node",
        ),
        pytest.param(
            catalog("a", coordinator=False), [hashed("a")], ["There is: a worker"], id="a worker"
        ),
        pytest.param(
            catalog("a", in_recovery=True), [hashed("a")], ["There is: a standby"], id="a standby"
        ),
    ],
)
def test_refusals(there: Catalog, declared: list[Declaration], reasons: list[str]) -> None:
    decided = planned(there, *declared)
    said = [str(refusal) for refusal in decided.refusals]
    assert len(said) == len(reasons), said
    for reason in reasons:
        assert any(reason in each for each in said), said
    assert decided.actions == ()


@pytest.mark.parametrize(
    ("arrow", "changes", "declared", "citus", "reason"),
    [
        ("a.id -> b.id", {}, [hashed("a")], [], "tables and colocated tables only"),
        ("a.id -> b.id", {}, [hashed("a"), local("b")], [], "tables and colocated tables only"),
        ("a.id -> b.id", {}, [hashed("b")], [], "would no longer check it"),
        ("a.id -> b.id", {}, [reference("a"), hashed("b")], [], "a reference table can have no"),
        ("a.id -> b.id", {}, [local("a"), hashed("b")], [], "a local table can have no"),
        ("a.id -> b.id", {}, [hashed("a", shard_count=2), hashed("b")], [], "not colocated"),
        ("a.note -> b.id", {}, [hashed("a"), hashed("b")], [], "pair the distribution column"),
        ("a.note -> a.id", {}, [hashed("a")], [], "pair the distribution column"),
        ("a.id -> b.id", {"on_delete": "n"}, [hashed("a"), reference("b")], [], "SET NULL"),
        ("a.id -> b.id", {"on_update": "c"}, [hashed("a"), hashed("b")], [], "UPDATE CASCADE"),
        ("a.id -> b.id", {"on_delete": "c"}, [reference("a")], [], "DELETE CASCADE"),
        ("a.id -> b.id", {}, [local("a")], [], "declare public.b in the same task with type local"),
        ("a.id -> b.id", {}, [local("b")], [], "declare public.a in the same task with type local"),
        (
            "a.id -> b.id",
            {},
            [hashed("b", shard_count=2, allow_rewrite=True)],
            [spread("a", 2), spread("b", 2)],
            "rewriting public.b without the other table would drop it",
        ),
        (
            "a.id -> b.id",
            {},
            [hashed("b", shard_count=2, allow_rewrite=True)],
            [spread("b", 2)],
            "rewriting public.b without the other table would drop it",
        ),
        (
            "a.id -> a.id",
            {},
            [hashed("a", shard_count=2, allow_rewrite=True)],
            [spread("a", 2)],
            "rewriting public.a would lose a foreign key to itself",
        ),
        (
            "a.id -> b.id",
            {},
            [hashed("b", allow_rewrite=True)],
            [kept("a", "reference"), kept("b", "reference")],
            "Citus takes no table back while a foreign key ties it: public.b",
        ),
    ],
)
def test_foreign_keys_that_citus_cannot_keep(
    arrow: str,
    changes: dict[str, Any],
    declared: list[Declaration],
    citus: list[CitusTable],
    reason: str,
) -> None:
    decided = planned(catalog("a", "b", citus=citus, keys=[key(arrow, **changes)]), *declared)
    (refusal,) = decided.refusals
    assert reason in str(refusal)
    assert f"There is: foreign key {arrow.split('.')[0]}_" in str(refusal)


def test_foreign_keys_of_tables_that_stay_as_they_are_do_not_matter() -> None:
    strange = key("a.note -> b.note")
    there = catalog("a", "b", "c", citus=[spread("a", 2), spread("b", 3)], keys=[strange])
    assert statements(planned(there, hashed("a"), hashed("b"), reference("c"))) == [
        "SELECT create_reference_table('public.c')"
    ]


def test_plain_table_beside_a_reference_table_that_is_kept_apart() -> None:
    keys = [ORDERS_KEY, key("orders.note -> products.id"), key("reviews.id -> products.id")]
    there = catalog("customers", "orders", "products", "reviews", keys=keys)
    declared = [hashed("customers"), hashed("orders"), reference("products")]
    (refusal,) = planned(there, *declared).refusals
    assert "declare public.reviews in the same task with type local" in str(refusal)
    assert planned(there, *declared, local("reviews")).refusals == ()


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("orders", '"orders"'),
        ("Sales.Orders", '"sales"."orders"'),
        ('sales."Order-Items"', '"sales"."Order-Items"'),
        ('"say ""when"""', '"say ""when"""'),
        ("straße_1$", '"straße_1$"'),
        ("a.b.c", None),
        ("order-items", None),
        ("1st", None),
        ('"open', None),
        ("", None),
    ],
)
def test_canonical_name(written: str, canonical: str | None) -> None:
    assert canonical_name(written) == canonical


def test_a_table_named_like_a_keyword_needs_quotes() -> None:
    assert hashed("a", colocate_with="None").colocation_target is None
    assert hashed("a", colocate_with='"none"').colocation_target == '"none"'


# main() against a scripted session


def step(contains: str, answer: Any = ()) -> Step:
    """A statement that has to be sent next, and what comes back."""
    return contains, answer, ()


def reads(there: Catalog, *asked: str) -> list[Step]:
    """The five queries of the catalogs and their answers."""
    as_rows = json.loads(json.dumps([asdict(each) for each in there.relations.values()]))
    return [
        step("FROM pg_dist_local_group", [{**asdict(there.cluster), "jit": "off"}]),
        step("FROM pg_dist_partition", [asdict(each) for each in there.citus_tables.values()]),
        step("to_regclass", [{"name": f'"{name}"', "oid": oid(name)} for name in asked]),
        step("FROM pg_class c", as_rows),
        step(
            "FROM pg_constraint k",
            [
                {
                    **asdict(each),
                    "columns": list(each.columns),
                    "referenced_columns": list(each.referenced_columns),
                }
                for each in there.foreign_keys
            ],
        ),
    ]


def sizes(*names: str) -> list[Step]:
    return [
        each
        for name in names
        for each in (
            step(
                f"citus_total_relation_size(member)), 0)::bigint FROM (SELECT {oid(name)}",
                [{"sum": 2048}],
            ),
            step(f"SELECT count(*) FROM public.{name}", [{"count": 1000}]),
        )
    ]


SHOP = catalog("customers", "orders", "products", keys=[ORDERS_KEY])
SHOP_TABLES = [
    {"name": "orders", "column": "id", "colocate_with": "customers"},
    {"name": "customers", "column": "id", "shard_count": 6},
    {"name": "products", "type": "reference"},
]
SHOP_READS = reads(SHOP, "customers", "orders", "products")
SHOP_WRITES = [
    "SELECT create_reference_table('public.products')",
    "SELECT create_distributed_table('public.customers', 'id', shard_count => 6)",
    "SELECT create_distributed_table('public.orders', 'id', colocate_with => 'public.customers')",
]
DONE = catalog("customers", "orders", citus=PAIR, keys=[ORDERS_KEY])
REWRITE = [
    {"name": "orders", "column": "id", "colocate_with": "customers", "allow_rewrite": True},
    {"name": "customers", "column": "id", "shard_count": 12, "allow_rewrite": True},
]


def test_main_unchanged(run_main: RunMain) -> None:
    answer = run_main(
        citus_distributed_table,
        reads(DONE, "customers", "orders"),
        {"tables": SHOP_TABLES[:2]},
    )
    assert (answer["failed"], answer["changed"]) == (False, False)
    assert (answer["plan"], answer["queries"]) == ([], [])
    assert answer["diff"] == {"before": {}, "after": {}}
    assert answer["tables"][0] == {
        "name": "public.orders",
        "type": "distributed",
        "column": "id",
        "shard_count": 6,
    }
    assert answer["colocation_groups"] == [["public.customers", "public.orders"]]


def test_main_distributes_a_list(run_main: RunMain) -> None:
    script = [*SHOP_READS, *(step(each, [{}]) for each in SHOP_WRITES)]
    answer = run_main(citus_distributed_table, script, {"tables": SHOP_TABLES})
    assert answer["changed"]
    assert answer["queries"] == SHOP_WRITES
    assert answer["plan"][0] == "make public.products a reference table, copied to every node"


def test_main_check_mode_only_reads(run_main: RunMain) -> None:
    answer = run_main(citus_distributed_table, SHOP_READS, {"tables": SHOP_TABLES}, check=True)
    assert (answer["changed"], answer["queries"]) == (True, [])
    assert len(answer["plan"]) == 3
    assert set(answer["diff"]["after"]) == {"public.customers", "public.orders", "public.products"}


def test_main_single_form(run_main: RunMain) -> None:
    script = [
        *reads(catalog("products"), "products"),
        step("SELECT create_reference_table('public.products')", [{}]),
    ]
    answer = run_main(citus_distributed_table, script, {"name": "products", "type": "reference"})
    assert answer["tables"][0]["type"] == "reference"


def test_main_refuses_before_anything_is_sent(run_main: RunMain) -> None:
    there = catalog(table("orders", WIDE), "customers", "products")
    script = [
        *reads(there, "orders", "customers"),
        step("relkind IN ('r', 'p')", [{"name": "public.products"}]),
    ]
    answer = run_main(
        citus_distributed_table,
        script,
        {
            "tables": [
                {"name": "customers", "column": "id"},
                {"name": "orders", "column": "customer_id"},
                {"name": "prodcuts", "type": "reference"},
            ]
        },
    )
    assert answer["failed"]
    assert answer["msg"].startswith("Nothing was changed. ")
    assert "primary key orders_pkey" in answer["msg"]
    assert "similar tables: public.products" in answer["msg"]


def test_main_names_the_drift_and_counts_nothing(run_main: RunMain) -> None:
    tables = [{**each, "allow_rewrite": False} for each in REWRITE]
    script = reads(DONE, "customers", "orders")
    answer = run_main(citus_distributed_table, script, {"tables": tables})
    assert answer["failed"]
    assert "table customers: shard_count 12" in answer["msg"]
    assert "There is: shard_count 6" in answer["msg"]
    assert "table orders: colocate_with public.customers as it will be" in answer["msg"]


def test_main_rewrites_when_allowed(run_main: RunMain) -> None:
    statement = (
        "SELECT alter_distributed_table('public.customers', shard_count => 12, "
        "cascade_to_colocated => True)"
    )
    script = [
        *reads(DONE, "customers", "orders"),
        *sizes("orders", "customers"),
        step(statement, [{}]),
    ]
    answer = run_main(citus_distributed_table, script, {"tables": REWRITE})
    assert answer["plan"] == [
        "rewrite public.customers, 1,000 rows (2.00 KB): shard_count 6 -> 12; "
        "along with it public.orders, 1,000 rows (2.00 KB)"
    ]
    assert answer["queries"] == [statement]


TAKEN_BACK = [
    *reads(catalog("products", citus=[kept("products", "reference")]), "products"),
    *sizes("products"),
    step("BEGIN"),
    step("SELECT undistribute_table('public.products')", [{}]),
]


def test_main_converts_types_in_one_transaction(run_main: RunMain) -> None:
    script = [
        *TAKEN_BACK,
        step("SELECT citus_add_local_table_to_metadata('public.products')", [{}]),
        step("COMMIT"),
    ]
    table_options = {"name": "products", "type": "local", "allow_rewrite": True}
    answer = run_main(citus_distributed_table, script, table_options)
    assert answer["queries"][0] == "BEGIN" and answer["queries"][-1] == "COMMIT"


def test_main_commits_no_transaction_that_failed(run_main: RunMain) -> None:
    failure = StatementFailed("us-c1:5432/bss refused: could not connect", "08006")
    script = [*TAKEN_BACK, step("SELECT citus_add_local_table_to_metadata", failure)]
    table_options = {"name": "products", "type": "local", "allow_rewrite": True}
    answer = run_main(citus_distributed_table, script, table_options)
    assert answer["failed"]
    assert answer["msg"] == (
        "Step 2 of 2 failed, to add public.products to Citus' metadata, with the rows on the "
        "coordinator. us-c1:5432/bss refused: could not connect. The steps before it are done, "
        "but for those of the same transaction. "
        "Mend the cause and run the same task again, it goes on from there."
    )


def test_main_connection_lost_between_statements(run_main: RunMain) -> None:
    """What was done stays; the same task then sends only the rest."""
    script = [
        *SHOP_READS,
        step(SHOP_WRITES[0], [{}]),
        step(SHOP_WRITES[1], ConnectionLost("The connection broke. Run the same task again.")),
    ]
    answer = run_main(citus_distributed_table, script, {"tables": SHOP_TABLES})
    assert answer["failed"] and answer["msg"].startswith("The connection broke.")
    after = replace(SHOP, citus_tables={oid("products"): kept("products", "reference")})
    script = [
        *reads(after, "customers", "orders", "products"),
        *(step(each, [{}]) for each in SHOP_WRITES[1:]),
    ]
    answer = run_main(citus_distributed_table, script, {"tables": SHOP_TABLES})
    assert answer["queries"] == SHOP_WRITES[1:]


def test_main_without_citus(run_main: RunMain) -> None:
    undefined = StatementFailed('refused: relation "pg_dist_local_group" does not exist', "42P01")
    script = [step("FROM pg_dist_local_group", undefined)]
    answer = run_main(citus_distributed_table, script, {"name": "products", "type": "reference"})
    assert answer["failed"]
    assert "has no Citus of version 12 or newer" in answer["msg"]
    assert "CREATE EXTENSION citus" in answer["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of the following is required: name, tables"),
        ({"name": "a", "tables": []}, "mutually exclusive: tables|name"),
        ({"tables": [{"column": "id"}]}, "missing required arguments: name"),
        ({"tables": [], "online": False}, "mutually exclusive: tables|online"),
    ],
)
def test_main_options(
    options: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with patch_module_args(options), pytest.raises(SystemExit):
        citus_distributed_table.main()
    assert message in json.loads(capsys.readouterr().out)["msg"]


def test_documentation_has_the_options_of_the_module() -> None:
    documented = yaml.safe_load(citus_distributed_table.DOCUMENTATION)["options"]
    suboptions = documented.pop("tables")["suboptions"]
    spec = citus_distributed_table.ARGUMENT_SPEC
    for described, taken in (
        (documented, citus_distributed_table.TABLE_OPTIONS),
        (suboptions, spec["tables"]["options"]),
    ):
        assert {
            name: {field: each[field] for field in ("type", "choices", "required") if field in each}
            for name, each in described.items()
        } == taken
