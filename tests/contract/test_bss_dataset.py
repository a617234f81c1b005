# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""bss_dataset against a cluster: every row once, whatever happens in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.bss_data import COLUMNS, Dataset

MIGRATIONS = Path(__file__).parents[2] / "roles/bss_workload/files/migrations"

FEW = {"products": 50, "services": 10, "customers": 200, "orders": 1_000}
SEVERAL_PARTS = {"products": 50, "services": 10, "customers": 1_000, "orders": 100_000}


@pytest.fixture
def bss(citus: Any, run_module: Any) -> Any:
    """A cluster with the empty tables of BSS, distributed."""
    citus.register_workers()
    migrations = [
        {"name": path.name, "sql": path.read_text()} for path in sorted(MIGRATIONS.glob("*.sql"))
    ]
    arguments = {**citus.login, "migrations": migrations}
    run_module("sql_migration", {**arguments, "target": migrations[0]["name"]})
    for statement in (
        "SELECT create_reference_table('products')",
        "SELECT create_reference_table('services')",
        "SELECT create_distributed_table('customers', 'customer_id', shard_count := 6)",
        "SELECT create_distributed_table('orders', 'customer_id', colocate_with := 'customers')",
    ):
        citus.sql(citus.coordinator_port, statement)
    run_module("sql_migration", arguments)
    return citus


def counts(citus: Any) -> dict[str, int]:
    return {
        table: citus.sql(citus.coordinator_port, f"SELECT count(*) FROM {table}")[0]["count"]
        for table in COLUMNS
    }


def load_until(
    citus: Any, run_module: Any, rows: dict[str, int], event: Callable[[], None]
) -> dict[str, Any]:
    """Start a load and let the event happen once a part of the orders is there."""
    with ThreadPoolExecutor() as pool:
        load: Future[dict[str, Any]] = pool.submit(
            run_module, "bss_dataset", {**citus.login, "rows": rows}
        )
        while not load.done():
            found = citus.sql(citus.coordinator_port, "SELECT to_regclass('bss_dataset') AS record")
            if found[0]["record"] and citus.sql(
                citus.coordinator_port, "SELECT 1 FROM bss_dataset WHERE table_name = 'orders'"
            ):
                event()
                break
            time.sleep(0.05)
        return load.result()


def test_check_run_again(bss: Any, run_module: Any) -> None:
    wanted = {**bss.login, "rows": FEW}
    checked = run_module("bss_dataset", wanted, check=True, diff=True)
    assert (checked["changed"], checked["complete"], checked["queries"]) == (True, False, [])
    assert counts(bss) == dict.fromkeys(FEW, 0)

    done = run_module("bss_dataset", wanted, diff=True)
    assert (done["changed"], done["plan"], done["diff"]) == (
        True,
        checked["plan"],
        checked["diff"],
    )
    assert (done["complete"], done["rows"], done["loaded"]) == (True, sum(FEW.values()), FEW)
    assert counts(bss) == FEW

    for check in (True, False):
        again = run_module("bss_dataset", wanted, check=check)
        assert (again["changed"], again["complete"], again["queries"]) == (False, True, [])
    assert counts(bss) == FEW


def test_sums_are_those_computed_apart(bss: Any, run_module: Any) -> None:
    run_module("bss_dataset", {**bss.login, "rows": FEW})
    amount = COLUMNS["orders"].index("amount")
    expected = sum(
        Decimal(line.split("\t")[amount]) for line in Dataset(1, FEW).lines("orders", 0, 1_000)
    )
    found = bss.sql(
        bss.coordinator_port,
        """SELECT sum(o.amount) AS paid,
                  sum(p.price * o.quantity + coalesce(s.monthly_fee, 0)) AS owed
           FROM orders o JOIN customers USING (customer_id) JOIN products p USING (product_id)
           LEFT JOIN services s USING (service_id)""",
    )[0]
    assert (found["paid"], found["owed"]) == (expected, expected)


def test_a_time_limit_ends_a_run_between_two_parts(bss: Any, run_module: Any) -> None:
    wanted = {**bss.login, "rows": SEVERAL_PARTS, "time_limit": 0}
    seen = []
    while not seen or not seen[-1]["complete"]:
        seen.append(run_module("bss_dataset", wanted))
        assert seen[-1]["changed"] and seen[-1]["rows"] > 0
    assert len(seen) == 7
    assert "orders 25,000 of 100,000, " in seen[3]["progress"]
    assert counts(bss) == SEVERAL_PARTS


def test_a_connection_that_breaks(bss: Any, run_module: Any) -> None:
    def cut() -> None:
        bss.sql(
            bss.coordinator_port,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'bss.platform[%%'",
        )

    failed = load_until(bss, run_module, SEVERAL_PARTS, cut)
    assert failed["failed"]
    assert "run the same task again" in failed["msg"]
    assert 0 < counts(bss)["orders"] < SEVERAL_PARTS["orders"]

    done = run_module("bss_dataset", {**bss.login, "rows": SEVERAL_PARTS})
    assert done["complete"]
    assert counts(bss) == SEVERAL_PARTS


def test_rows_and_their_record_are_one(bss: Any, run_module: Any) -> None:
    """The record cannot be written: then the rows of that part are not there either."""
    run_module("bss_dataset", {**bss.login, "rows": FEW})
    bss.sql(bss.coordinator_port, "ALTER TABLE bss_dataset ADD CONSTRAINT few CHECK (rows < 30000)")
    more = {**FEW, "orders": 60_000}
    failed = run_module("bss_dataset", {**bss.login, "rows": more})
    assert failed["failed"]
    assert counts(bss)["orders"] == 26_000

    bss.sql(bss.coordinator_port, "ALTER TABLE bss_dataset DROP CONSTRAINT few")
    assert run_module("bss_dataset", {**bss.login, "rows": more})["rows"] == 34_000
    assert counts(bss) == more


def test_a_worker_that_is_killed(bss: Any, run_module: Any) -> None:
    if bss.is_standin:
        pytest.skip("the stand-in keeps no rows on workers")
    worker = bss.worker_ports[0]
    failed = load_until(bss, run_module, SEVERAL_PARTS, lambda: bss.kill(worker))
    assert failed["failed"]
    assert "Asked was to load orders" in failed["msg"]
    assert "run the same task again" in failed["msg"]

    bss.start(worker)
    done = run_module("bss_dataset", {**bss.login, "rows": SEVERAL_PARTS})
    assert done["complete"], done
    assert counts(bss) == SEVERAL_PARTS


def test_two_loads_at_once_take_turns(bss: Any, run_module: Any) -> None:
    wanted = {**bss.login, "rows": {**FEW, "orders": 60_000}, "time_limit": 0}
    with ThreadPoolExecutor() as pool:
        loads = [pool.submit(run_module, "bss_dataset", wanted) for _ in range(3)]
    assert not any(load.result()["failed"] for load in loads)
    assert sum(load.result()["rows"] for load in loads) == sum(counts(bss).values())


def test_a_truncated_table_is_loaded_again(bss: Any, run_module: Any) -> None:
    wanted = {**bss.login, "rows": FEW}
    run_module("bss_dataset", wanted)
    bss.sql(bss.coordinator_port, "TRUNCATE orders")
    again = run_module("bss_dataset", wanted)
    assert again["plan"] == ["load orders: rows 1 to 1,000"]
    assert counts(bss) == FEW


def test_another_seed_is_refused(bss: Any, run_module: Any) -> None:
    run_module("bss_dataset", {**bss.login, "rows": FEW})
    refused = run_module("bss_dataset", {**bss.login, "rows": FEW, "seed": 2})
    assert refused["failed"]
    assert refused["msg"].count("seed=2") == len(COLUMNS)


def test_a_row_in_the_way(bss: Any, run_module: Any) -> None:
    bss.sql(bss.coordinator_port, "INSERT INTO products VALUES (7, 'x', 'x', 'x', 1)")
    failed = run_module("bss_dataset", {**bss.login, "rows": FEW})
    assert failed["failed"]
    for words in ("load products, rows 1 to 50", "duplicate key", "TRUNCATE products"):
        assert words in failed["msg"]
    assert counts(bss)["products"] == 1


def test_a_database_without_the_tables(citus: Any, run_module: Any) -> None:
    refused = run_module("bss_dataset", {**citus.login, "rows": FEW})
    assert refused["failed"]
    assert "apply the migrations first" in refused["msg"]
