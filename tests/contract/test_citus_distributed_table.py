# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""citus_distributed_table against four real servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from ansible_collections.bss.platform.plugins.module_utils.postgresql import Session
from ansible_collections.bss.platform.plugins.modules import citus_distributed_table

ROWS = 1000

SHOP = """
    CREATE TABLE products (id int PRIMARY KEY);
    CREATE TABLE customers (customer_id bigint PRIMARY KEY, name text);
    CREATE TABLE orders (
        customer_id bigint REFERENCES customers, order_id bigint, note text,
        PRIMARY KEY (customer_id, order_id));
    INSERT INTO products SELECT generate_series(1, 10);
    INSERT INTO customers SELECT n, 'x' FROM generate_series(1, 1000) n;
    INSERT INTO orders SELECT n, n FROM generate_series(1, 1000) n;
"""

CUSTOMERS = {"name": "customers", "column": "customer_id", "shard_count": 6}
ORDERS = {"name": "orders", "column": "customer_id", "colocate_with": "customers"}
PRODUCTS = {"name": "products", "type": "reference"}


class Operator:
    """Somebody who declares the tables of one cluster."""

    def __init__(self, cluster: Any, run_module: Callable[..., dict[str, Any]]) -> None:
        self.cluster = cluster
        self._run = run_module

    def declare(self, *tables: dict[str, Any], check: bool = False, **args: Any) -> dict[str, Any]:
        """Run the module for that list of tables."""
        arguments = {**self.cluster.login, **({"tables": list(tables)} if tables else {}), **args}
        return self._run("citus_distributed_table", arguments, check=check, diff=True)

    def declared(self, *tables: dict[str, Any], **args: Any) -> dict[str, Any]:
        """The same three times: check, run, run again; the first and the last change nothing."""
        before = self.catalog()
        predicted = self.declare(*tables, check=True, **args)
        assert not predicted["failed"], predicted["msg"]
        assert self.catalog() == before
        assert (predicted["changed"], predicted["queries"]) == (True, [])
        done = self.declare(*tables, **args)
        assert not done["failed"], done["msg"]
        assert {key: done[key] for key in ("plan", "diff", "tables")} == {
            key: predicted[key] for key in ("plan", "diff", "tables")
        }
        again = self.declare(*tables, **args)
        assert not again["failed"], again["msg"]
        assert (again["changed"], again["plan"], again["queries"]) == (False, [], [])
        assert again["diff"] == {"before": {}, "after": {}}
        assert again["tables"] == done["tables"]
        return done

    def refused(self, *tables: dict[str, Any], **args: Any) -> str:
        """What the module says when it refuses; nothing may have been changed."""
        before = self.catalog()
        for check in (True, False):
            answer = self.declare(*tables, check=check, **args)
            assert answer["failed"], answer
            assert answer["msg"].startswith("Nothing was changed. ")
            assert self.catalog() == before
        return str(answer["msg"])

    def sql(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        return self.cluster.sql(self.cluster.coordinator_port, statement, parameters)

    def catalog(self) -> list[Any]:
        """Everything about tables that a change would show in."""
        return [
            self.sql(
                "SELECT logicalrelid::text, logicalrelid::oid, partmethod, colocationid, repmodel,"
                " autoconverted FROM pg_dist_partition ORDER BY 1"
            ),
            self.sql("SELECT shardid FROM pg_dist_shard ORDER BY 1"),
            self.keys(),
        ]

    def keys(self) -> list[str]:
        """The foreign keys between tables (those between shards have other names)."""
        rows = self.sql(
            "SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) AS key"
            " FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 AND conname !~ '_[0-9]+$'"
            " AND connamespace <> 'pg_catalog'::regnamespace ORDER BY 1"
        )
        return [row["key"] for row in rows]

    def kinds(self) -> dict[str, tuple[str, int]]:
        """Kind and number of shards of every table that Citus knows."""
        rows = self.sql(
            """SELECT logicalrelid::text AS name,
                      CASE WHEN partmethod = 'h' THEN column_to_column_name(logicalrelid, partkey)
                           WHEN repmodel = 't' THEN 'reference' ELSE 'local' END AS kind,
                      (SELECT count(*) FROM pg_dist_shard s
                        WHERE s.logicalrelid = p.logicalrelid) AS shards
                 FROM pg_dist_partition p ORDER BY 1"""
        )
        return {row["name"]: (row["kind"], row["shards"]) for row in rows}

    def colocated(self, *names: str) -> bool:
        rows = self.sql(
            "SELECT DISTINCT colocationid FROM pg_dist_partition"
            " WHERE logicalrelid::text = ANY (%s)",
            list(names),
        )
        return len(rows) == 1

    def count(self, table: str) -> int:
        return int(self.sql(f"SELECT count(*) FROM {table}")[0]["count"])


@pytest.fixture
def operator(citus: Any, run_module: Any) -> Operator:
    citus.register_workers()
    return Operator(citus, run_module)


@pytest.fixture
def shop(operator: Operator) -> Operator:
    """With plain tables: orders references customers, products stands alone."""
    operator.sql(SHOP)
    return operator


@pytest.fixture
def distributed_shop(shop: Operator) -> Operator:
    shop.sql("SELECT create_reference_table('products')")
    shop.sql("SELECT create_distributed_table('customers', 'customer_id', shard_count => 6)")
    shop.sql(
        "SELECT create_distributed_table('orders', 'customer_id', colocate_with => 'customers')"
    )
    return shop


@pytest.fixture
def distributing(citus: Any) -> None:
    """For tests of what the stand-in cannot do: spread rows, decode what is written."""
    if citus.is_standin:
        pytest.skip("the stand-in distributes no data")


# Distributing


def test_shop_is_distributed_whatever_the_order_of_the_list(shop: Operator) -> None:
    done = shop.declared(ORDERS, CUSTOMERS, PRODUCTS)
    assert done["plan"] == [
        "make public.products a reference table, copied to every node",
        "distribute public.customers by customer_id into 6 shards",
        "distribute public.orders by customer_id, colocated with public.customers",
    ]
    assert done["queries"] == [
        "SELECT create_reference_table('public.products')",
        "SELECT create_distributed_table('public.customers', 'customer_id', shard_count => 6)",
        "SELECT create_distributed_table('public.orders', 'customer_id', "
        "colocate_with => 'public.customers')",
    ]
    assert shop.kinds() == {
        "products": ("reference", 1),
        "customers": ("customer_id", 6),
        "orders": ("customer_id", 6),
    }
    assert shop.colocated("customers", "orders")
    assert done["tables"][0] == {
        "name": "public.orders",
        "type": "distributed",
        "column": "customer_id",
        "shard_count": 6,
    }
    assert done["colocation_groups"][0] == ["public.customers", "public.orders"]
    assert [shop.count(name) for name in ("products", "customers", "orders")] == [10, ROWS, ROWS]


def test_single_form(shop: Operator) -> None:
    done = shop.declared(**PRODUCTS)
    assert done["diff"] == {
        "before": {"public.products": {"type": "plain"}},
        "after": {"public.products": {"type": "reference"}},
    }


def test_foreign_keys_to_a_new_reference_table_and_between_distributed_ones(
    shop: Operator,
) -> None:
    """With Citus' defaults the reference table would drag the others into the metadata."""
    shop.sql("ALTER TABLE orders ADD product int REFERENCES products")
    keys = shop.keys()
    shop.declared(CUSTOMERS, ORDERS, PRODUCTS)
    assert shop.kinds()["orders"] == ("customer_id", 6)
    assert shop.keys() == keys


def test_local_tables_that_reference_each_other_are_distributed_together(shop: Operator) -> None:
    shop.sql("SELECT create_reference_table('products')")
    shop.sql("ALTER TABLE orders ADD product int REFERENCES products")
    assert shop.kinds()["customers"] == shop.kinds()["orders"] == ("local", 1)
    keys = shop.keys()
    done = shop.declared(CUSTOMERS, ORDERS)
    assert done["plan"][:2] == [
        "use one connection to each node for public.customers, public.orders, "
        "as foreign keys tie tables together",
        "drop foreign key orders_customer_id_fkey of public.orders for the time being",
    ]
    assert shop.kinds()["orders"] == ("customer_id", 6)
    assert shop.keys() == keys
    assert [shop.count(name) for name in ("customers", "orders")] == [ROWS, ROWS]


def test_foreign_key_chain_to_a_reference_table(shop: Operator) -> None:
    """With several connections, Citus fails on the rows of orders."""
    shop.sql("CREATE TABLE regions (id int PRIMARY KEY)")
    shop.sql("ALTER TABLE customers ADD region int REFERENCES regions")
    shop.declared({"name": "regions", "type": "reference"}, CUSTOMERS, ORDERS)
    assert shop.count("orders") == ROWS


def test_reference_tables_that_reference_each_other(operator: Operator) -> None:
    operator.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
    operator.sql("ALTER TABLE a ADD b int REFERENCES b")
    operator.sql("ALTER TABLE b ADD a int REFERENCES a")
    operator.declared({"name": "a", "type": "reference"}, {"name": "b", "type": "reference"})
    assert operator.kinds() == {"a": ("reference", 1), "b": ("reference", 1)}


def test_local_tables_tied_by_foreign_keys_are_added_together(operator: Operator) -> None:
    operator.sql("CREATE TABLE a (id int PRIMARY KEY)")
    operator.sql("CREATE TABLE b (a int REFERENCES a)")
    done = operator.declared({"name": "b", "type": "local"}, {"name": "a", "type": "local"})
    assert done["plan"] == [
        "use one connection to each node for public.a, public.b, as foreign keys tie tables "
        "together",
        "add public.a, public.b to Citus' metadata, with the rows on the coordinator",
    ]
    assert operator.kinds() == {"a": ("local", 1), "b": ("local", 1)}


def test_local_table_that_citus_added_itself_is_kept(operator: Operator) -> None:
    operator.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (a int REFERENCES a)")
    operator.sql("SELECT create_reference_table('a')")
    automatic = "SELECT autoconverted FROM pg_dist_partition WHERE logicalrelid = 'b'::regclass"
    assert operator.sql(automatic) == [{"autoconverted": True}]
    operator.declared({"name": "b", "type": "local"})
    assert operator.sql(automatic) == [{"autoconverted": False}]


def test_partitions_follow_their_table(operator: Operator) -> None:
    operator.sql("CREATE TABLE events (device int, day date) PARTITION BY RANGE (day)")
    operator.sql(
        "CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO"
        " ('2026-01-01')"
    )
    operator.sql("INSERT INTO events VALUES (1, '2025-05-05')")
    operator.declared(name="events", column="device", shard_count=4)
    assert operator.kinds() == {"events": ("device", 4), "events_2025": ("device", 4)}
    message = operator.refused(name="events_2025", column="device")
    assert "public.events_2025 is a partition of public.events" in message
    assert "declare public.events instead" in message


def test_names_are_read_as_sql_reads_them(operator: Operator) -> None:
    operator.sql('CREATE SCHEMA sales; CREATE TABLE sales."Order-Items" ("Id" int, n int)')
    operator.sql("CREATE TABLE sales.orders (id int); CREATE TABLE orders (id int)")
    done = operator.declared(name='SALES."Order-Items"', column="Id", shard_count=2)
    assert done["tables"][0]["name"] == 'sales."Order-Items"'
    operator.sql("ALTER DATABASE bss SET search_path = sales, public")
    done = operator.declared(name="Orders", column="id", colocate_with="none", shard_count=2)
    assert done["tables"][0]["name"] == "sales.orders"
    assert not operator.colocated("orders", '"Order-Items"')
    message = operator.refused(name="order-items", column="id")
    assert "not a table's name as SQL writes it" in message


def test_online(shop: Operator, distributing: None) -> None:
    shop.sql("ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey")
    done = shop.declared({**CUSTOMERS, "online": True}, {**ORDERS, "online": True})
    assert "create_distributed_table_concurrently" in done["queries"][0]
    assert shop.kinds()["orders"] == ("customer_id", 6)
    assert [shop.count(name) for name in ("customers", "orders")] == [ROWS, ROWS]


def test_online_goes_on_from_where_it_was_interrupted(shop: Operator, distributing: None) -> None:
    shop.sql("ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey")
    shop.sql("SELECT citus_add_local_table_to_metadata('customers')")
    shop.declared({**CUSTOMERS, "online": True})
    assert shop.kinds()["customers"] == ("customer_id", 6)


# Rewriting


def test_drift_is_refused_part_by_part(distributed_shop: Operator) -> None:
    message = distributed_shop.refused(
        {"name": "orders", "column": "order_id", "shard_count": 8},
        {"name": "products", "column": "id"},
        {"name": "customers", "type": "reference"},
    )
    assert "table orders: column order_id, shard_count 8" in message
    assert "There is: column customer_id, shard_count 6" in message
    assert "table products: type distributed" in message and "There is: type reference" in message
    assert "table customers: type reference" in message
    assert message.count("set allow_rewrite to true") == 3


def test_new_shard_count_rewrites_the_whole_colocation_group(distributed_shop: Operator) -> None:
    keys = distributed_shop.keys()
    done = distributed_shop.declared(
        {**ORDERS, "allow_rewrite": True},
        {**CUSTOMERS, "shard_count": 4, "allow_rewrite": True},
    )
    (sentence,) = done["plan"]
    assert sentence.startswith("rewrite public.customers, 1,000 rows (")
    assert "shard_count 6 -> 4; along with it public.orders, 1,000 rows (" in sentence
    assert done["queries"] == [
        "SELECT alter_distributed_table('public.customers', shard_count => 4, "
        "cascade_to_colocated => true)"
    ]
    assert done["diff"]["before"]["public.customers"]["shard_count"] == 6
    assert distributed_shop.kinds()["orders"] == ("customer_id", 4)
    assert distributed_shop.colocated("customers", "orders")
    assert distributed_shop.keys() == keys
    assert distributed_shop.count("orders") == ROWS


def test_a_rewrite_that_would_lose_a_foreign_key_is_refused(distributed_shop: Operator) -> None:
    message = distributed_shop.refused({**CUSTOMERS, "shard_count": 4, "allow_rewrite": True})
    assert "foreign key orders_customer_id_fkey: public.orders (customer_id)" in message
    assert "rewriting public.customers without the other table would drop it" in message
    message = distributed_shop.refused(name="customers", type="reference", allow_rewrite=True)
    assert "Citus takes no table back while a foreign key ties it" in message


def test_new_column_and_colocation(operator: Operator) -> None:
    for name in ("a", "b", "c"):
        operator.sql(f"CREATE TABLE {name} (id int, k int, j bigint)")
    operator.sql("INSERT INTO a SELECT n, n % 7, n FROM generate_series(1, 100) n")
    tables = [
        {"name": "a", "column": "id", "shard_count": 4},
        {"name": "b", "column": "id", "colocate_with": "a"},
        {"name": "c", "column": "j", "shard_count": 3, "colocate_with": "none"},
    ]
    operator.declared(*tables)
    done = operator.declared({"name": "a", "column": "k", "allow_rewrite": True})
    assert done["queries"] == [
        "SELECT alter_distributed_table('public.a', distribution_column => 'k')"
    ]
    assert operator.colocated("a", "b") and operator.kinds()["a"] == ("k", 4)
    assert operator.count("a") == 100

    moved = {"name": "a", "column": "j", "colocate_with": "c"}
    message = operator.refused(moved)
    assert "table a: column j, colocate_with public.c" in message
    assert "There is: column k, colocate_with public.b" in message
    done = operator.declared({**moved, "allow_rewrite": True})
    (sentence,) = done["plan"]
    assert "column k -> j, colocate_with public.b -> public.c" in sentence
    assert sentence.endswith("; no longer colocated with public.b")
    assert operator.colocated("a", "c") and operator.kinds()["a"] == ("j", 3)


def test_types_are_converted_in_one_transaction(operator: Operator) -> None:
    operator.sql("CREATE TABLE a (id int PRIMARY KEY)")
    operator.sql("INSERT INTO a SELECT generate_series(1, 100)")
    operator.sql("SELECT create_reference_table('a')")
    done = operator.declared(name="a", column="id", shard_count=4, allow_rewrite=True)
    assert done["plan"][0].startswith("take public.a back to the coordinator, 100 rows (")
    assert done["queries"] == [
        "BEGIN",
        "SELECT undistribute_table('public.a')",
        "SELECT create_distributed_table('public.a', 'id', shard_count => 4)",
        "COMMIT",
    ]
    assert operator.kinds() == {"a": ("id", 4)}
    operator.declared(name="a", type="reference", allow_rewrite=True)
    assert operator.kinds() == {"a": ("reference", 1)}
    operator.declared(name="a", type="local", allow_rewrite=True)
    assert operator.kinds() == {"a": ("local", 1)}
    operator.declared(name="a", column="id", shard_count=2)
    assert operator.kinds() == {"a": ("id", 2)}
    assert operator.count("a") == 100


# Refusing


def test_bad_input_is_refused_all_at_once(shop: Operator) -> None:
    shop.sql("CREATE VIEW recent AS SELECT * FROM orders")
    shop.sql("CREATE TABLE payments (id int PRIMARY KEY, customer_id int)")
    shop.sql("CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent)")
    message = shop.refused(
        PRODUCTS,
        {**CUSTOMERS, "column": "custmer_id"},
        {"name": "public.customers", "column": "customer_id"},
        {"name": "ordesr", "column": "customer_id"},
        {"name": "recent", "type": "reference"},
        {"name": "payments", "column": "customer_id", "colocate_with": "customers"},
        {"name": "child", "column": "id"},
        {"name": "orders", "column": "order_id", "shard_count": 3, "colocate_with": "nowhere"},
    )
    for part in (
        "set column to customer_id, if that was meant",
        "public.customers is declared as customers already",
        "table ordesr: the table does not exist in the schemas of the search_path."
        " There is: similar tables: public.orders",
        "public.recent is a view",
        "primary key payments_pkey on public.payments (id)",
        "public.child inherits from another table",
        "table orders: shard_count 3: a table has as many shards as the one it is colocated with",
        "table orders: colocate_with nowhere: the table does not exist",
    ):
        assert part in message


def test_column_type_that_differs_from_the_colocated_tables(shop: Operator) -> None:
    shop.sql("CREATE TABLE payments (customer_id int)")
    payments = {"name": "payments", "column": "customer_id", "colocate_with": "customers"}
    difference = "public.payments.customer_id is integer, public.customers.customer_id is bigint"
    assert difference in shop.refused(CUSTOMERS, payments)
    message = shop.refused(payments)
    assert "public.customers is a plain PostgreSQL table" in message
    assert "declare public.customers as a distributed table in the same task" in message
    shop.declared(CUSTOMERS, ORDERS)
    assert difference in shop.refused(payments)


# Of a table t (a int, b int, r int4range): what was done to it, its declaration, the reason.
NOT_TO_BE_KEPT: list[tuple[str, dict[str, Any], str]] = [
    (
        "CREATE UNIQUE INDEX one ON t (b)",
        {"column": "a"},
        "unique index one on public.t (b)",
    ),
    (
        "ALTER TABLE t ADD CONSTRAINT apart EXCLUDE USING gist (r WITH &&)",
        {"column": "a"},
        "exclusion constraint apart on public.t (no column compared for equality)",
    ),
    (
        "CREATE TRIGGER noise BEFORE UPDATE ON t FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        {"type": "reference"},
        "triggers noise on public.t",
    ),
    (
        "ALTER TABLE t ADD g int GENERATED ALWAYS AS (a + 1) STORED",
        {"column": "g"},
        "g is generated from other columns",
    ),
    (
        "CREATE TABLE u (id int PRIMARY KEY); ALTER TABLE t ADD u int REFERENCES u",
        {"column": "a"},
        "a distributed table can reference reference tables and colocated tables only",
    ),
    (
        "ALTER TABLE t ADD PRIMARY KEY (a); CREATE TABLE u (a int REFERENCES t)",
        {"column": "a"},
        "Citus would no longer check it when rows of public.t are changed or deleted",
    ),
    (
        "CREATE TABLE u (id int PRIMARY KEY); ALTER TABLE t ADD u int REFERENCES u;"
        " SELECT create_distributed_table('u', 'id')",
        {"type": "reference"},
        "a reference table can have no foreign key to a distributed one",
    ),
    (
        "CREATE TABLE u (id int PRIMARY KEY); ALTER TABLE t ADD u int REFERENCES u;"
        " SELECT create_distributed_table('u', 'id')",
        {"column": "a", "colocate_with": "u"},
        "it has to pair the distribution column of the one table with that of the other",
    ),
    (
        "CREATE TABLE u (id int PRIMARY KEY);"
        " ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u ON DELETE SET NULL;"
        " SELECT create_distributed_table('u', 'id')",
        {"column": "a", "colocate_with": "u"},
        "ON DELETE SET NULL ON UPDATE NO ACTION would change the distribution column a",
    ),
    (
        "CREATE TABLE u (id int PRIMARY KEY); ALTER TABLE t ADD u int REFERENCES u",
        {"type": "local"},
        "declare public.u in the same task with type local",
    ),
    (
        "CREATE TABLE u (id int PRIMARY KEY);"
        " ALTER TABLE t ADD u int REFERENCES u ON DELETE CASCADE",
        {"type": "reference"},
        "declare public.u as a reference table too",
    ),
]


def test_tables_that_citus_could_not_keep(operator: Operator) -> None:
    for prepared, table, reason in NOT_TO_BE_KEPT:
        operator.sql("CREATE TABLE t (a int, b int, r int4range)")
        operator.sql(prepared)
        assert reason in operator.refused({"name": "t", **table}), prepared
        operator.sql("DROP TABLE IF EXISTS u CASCADE")
        operator.sql("DROP TABLE t CASCADE")


def test_foreign_key_between_tables_that_are_not_colocated(shop: Operator) -> None:
    message = shop.refused(CUSTOMERS, {"name": "orders", "column": "customer_id"})
    assert "declare public.orders with colocate_with public.customers" in message


def test_temporary_and_foreign_owner(shop: Operator) -> None:
    shop.sql("CREATE ROLE clerk LOGIN PASSWORD 'clerk'; GRANT ALL ON SCHEMA public TO clerk")
    message = shop.refused(**PRODUCTS, login_user="clerk", login_password="clerk")
    assert "public.products belongs to another role" in message


def test_online_needs_what_logical_decoding_needs(shop: Operator) -> None:
    shop.sql("CREATE TABLE loose (id int)")
    message = shop.refused(
        {"name": "loose", "column": "id", "online": True},
        {**CUSTOMERS, "online": True},
        ORDERS,
        {**PRODUCTS, "online": True},
    )
    assert "public.loose has neither a primary key nor a replica identity" in message
    assert "can only be distributed while writers wait" in message
    assert "table products: online True: online is of distributed tables only" in message


def test_cluster_without_workers(citus: Any, run_module: Any) -> None:
    operator = Operator(citus, run_module)
    operator.sql(SHOP)
    message = operator.refused(PRODUCTS, CUSTOMERS, ORDERS)
    assert "no active node that takes shards" in message
    assert "reference tables public.products" in message
    operator.sql("CREATE TABLE log (id int)")
    assert "register it" in operator.refused(name="log", type="local")


def test_worker_is_not_the_place_to_ask(shop: Operator) -> None:
    worker = shop.cluster.worker_ports[0]
    shop.declared(CUSTOMERS, ORDERS)
    if not shop.cluster.is_standin:  # every node has the metadata
        unchanged = shop.declare(CUSTOMERS, ORDERS, login_port=worker)
        assert not unchanged["failed"] and not unchanged["changed"]
    shop.cluster.sql(worker, "SET citus.enable_ddl_propagation TO off; CREATE TABLE w (id int)")
    answer = shop.declare(login_port=worker, name="w", column="id")
    assert answer["failed"] and "only the primary coordinator" in answer["msg"]


def test_database_without_citus(operator: Operator) -> None:
    answer = operator.declare(**PRODUCTS, login_db="postgres")
    assert answer["failed"]
    assert "has no Citus of version 12 or newer" in answer["msg"]


# Faults


def test_connection_lost_between_two_tables(shop: Operator) -> None:
    """The same task goes on from there."""
    login = shop.cluster.login
    holder = psycopg2.connect(
        host=login["login_host"],
        port=login["login_port"],
        user=login["login_user"],
        password=login["login_password"],
        dbname=login["login_db"],
    )
    answers: list[dict[str, Any]] = []
    with holder.cursor() as cursor:
        cursor.execute("LOCK TABLE orders IN ROW EXCLUSIVE MODE")
        task = threading.Thread(
            target=lambda: answers.append(shop.declare(PRODUCTS, CUSTOMERS, ORDERS))
        )
        task.start()
        cut = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND application_name LIKE 'bss.platform%'"
        )
        deadline = time.monotonic() + 30
        while not shop.sql(cut):
            assert time.monotonic() < deadline, "the task never waited for the lock"
            time.sleep(0.05)
        task.join()
    holder.close()
    assert answers[0]["failed"]
    assert "run the same task again, it goes on from there" in answers[0]["msg"]
    assert shop.kinds() == {"products": ("reference", 1), "customers": ("customer_id", 6)}
    done = shop.declared(PRODUCTS, CUSTOMERS, ORDERS)
    assert len(done["queries"]) == 1
    assert [shop.count(name) for name in ("customers", "orders")] == [ROWS, ROWS]


def test_worker_that_is_down(distributed_shop: Operator, distributing: None) -> None:
    """A message instead of a traceback, nothing half done, and the repeated task converges."""
    worker = distributed_shop.cluster.worker_ports[2]
    wanted = [
        {**CUSTOMERS, "shard_count": 4, "allow_rewrite": True},
        {**ORDERS, "allow_rewrite": True},
    ]
    distributed_shop.cluster.stop(worker)
    unchanged = distributed_shop.declare(CUSTOMERS, ORDERS, PRODUCTS)
    assert (unchanged["failed"], unchanged["changed"]) == (False, False)
    before = distributed_shop.catalog()
    answer = distributed_shop.declare(*wanted)
    assert answer["failed"], answer
    assert distributed_shop.catalog() == before
    distributed_shop.cluster.start(worker)
    distributed_shop.declared(*wanted)


# Cost


def test_two_hundred_tables_as_declared_cost_five_queries(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    operator.sql(
        "DO $$ BEGIN FOR n IN 1..200 LOOP EXECUTE format("
        "'CREATE TABLE t%s (id int PRIMARY KEY, a text, b text)', n); END LOOP; END $$"
    )
    operator.sql("SELECT create_distributed_table('t1', 'id', shard_count => 1)")
    operator.sql(
        "SELECT create_distributed_table(format('t%s', n), 'id', colocate_with => 't1')"
        " FROM generate_series(2, 200) n"
    )
    seconds = []
    ask = Session.rows

    def timed(session: Session, *arguments: Any) -> list[dict[str, Any]]:
        started = time.perf_counter()
        try:
            return ask(session, *arguments)
        finally:
            seconds.append(time.perf_counter() - started)

    monkeypatch.setattr(Session, "rows", timed)
    options = {
        **dict.fromkeys(citus_distributed_table.TABLE_OPTIONS),
        "login_unix_socket": "",
        "ca_cert": None,
        **operator.cluster.login,
    }
    options["tables"] = [{"name": f"t{number}", "column": "id"} for number in range(1, 201)]
    answer = citus_distributed_table.run(options, check_mode=False)
    assert not answer["changed"] and len(answer["tables"]) == 200
    assert len(seconds) == 5
    record_property("database_ms", round(1000 * sum(seconds), 1))
    print(f"200 tables as declared: {1000 * sum(seconds):.1f} ms in the database")
