# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""sql_migration against a cluster: what it applies, what a failure leaves, what Citus does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

MIGRATIONS = Path(__file__).parents[2] / "roles/bss_workload/files/migrations"

ONE = {"name": "0001.sql", "sql": "CREATE TABLE one (id int PRIMARY KEY);\nCREATE TABLE eins ();\n"}
TWO = {"name": "0002.sql", "sql": "ALTER TABLE one ADD COLUMN note text DEFAULT '100 %; yes';"}


def tables(citus: Any) -> set[str]:
    rows = citus.sql(
        citus.coordinator_port, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )
    return {row["tablename"] for row in rows}


def columns(citus: Any, table: str) -> list[str]:
    rows = citus.sql(
        citus.coordinator_port,
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s",
        (table,),
    )
    return [row["column_name"] for row in rows]


def arguments(citus: Any, *migrations: dict[str, str], **more: Any) -> dict[str, Any]:
    return {**citus.login, "migrations": list(migrations), **more}


def test_check_run_again(citus: Any, run_module: Any) -> None:
    wanted = arguments(citus, ONE, TWO)
    checked = run_module("sql_migration", wanted, check=True, diff=True)
    assert checked["changed"]
    assert checked["pending"] == ["0001.sql", "0002.sql"]
    assert checked["queries"] == []
    assert tables(citus) == set()

    done = run_module("sql_migration", wanted, diff=True)
    assert (done["changed"], done["plan"], done["diff"]) == (
        True,
        checked["plan"],
        checked["diff"],
    )
    assert done["applied"] == ["0001.sql", "0002.sql"]
    assert tables(citus) == {"one", "eins", "sql_migration"}
    assert columns(citus, "one") == ["id", "note"]

    for check in (True, False):
        again = run_module("sql_migration", wanted, check=check)
        assert (again["changed"], again["plan"], again["queries"]) == (False, [], [])
        assert again["pending"] == []


def test_those_behind_the_target_wait(citus: Any, run_module: Any) -> None:
    done = run_module("sql_migration", arguments(citus, ONE, TWO, target="0001.sql"))
    assert (done["applied"], done["pending"]) == (["0001.sql"], ["0002.sql"])
    assert columns(citus, "one") == ["id"]


def test_a_migration_that_fails_is_rolled_back_whole(citus: Any, run_module: Any) -> None:
    wrong = {"name": "0002.sql", "sql": "CREATE TABLE two (); ALTER TABLE nowhere ADD a int;"}
    failed = run_module("sql_migration", arguments(citus, ONE, wrong))
    assert failed["failed"]
    for words in ("0002.sql", 'relation "nowhere" does not exist', "rolled back", "run the same"):
        assert words in failed["msg"]
    assert tables(citus) == {"one", "eins", "sql_migration"}

    done = run_module("sql_migration", arguments(citus, ONE, TWO))
    assert done["plan"] == ["apply migration 0002.sql"]


def test_a_commit_that_is_refused(citus: Any, run_module: Any) -> None:
    wrong = {
        "name": "0002.sql",
        "sql": "CREATE TABLE two (id int REFERENCES one DEFERRABLE INITIALLY DEFERRED);"
        "INSERT INTO two VALUES (1);",
    }
    failed = run_module("sql_migration", arguments(citus, ONE, wrong))
    assert failed["failed"]
    for words in ("0002.sql", "violates foreign key constraint", "rolled back"):
        assert words in failed["msg"]
    assert tables(citus) == {"one", "eins", "sql_migration"}


def test_a_connection_that_breaks_leaves_nothing_half_done(citus: Any, run_module: Any) -> None:
    cut = {
        "name": "0002.sql",
        "sql": "CREATE TABLE two (); SELECT pg_terminate_backend(pg_backend_pid());",
    }
    failed = run_module("sql_migration", arguments(citus, ONE, cut))
    assert failed["failed"]
    assert "run the same task again" in failed["msg"]
    assert tables(citus) == {"one", "eins", "sql_migration"}
    assert run_module("sql_migration", arguments(citus, ONE, TWO))["changed"]


@pytest.mark.parametrize(
    ("later", "said"),
    [
        pytest.param(
            [{**ONE, "sql": "CREATE TABLE one ();"}], "changed after it was", id="changed"
        ),
        pytest.param([TWO], "0001.sql is not in the list", id="lost"),
        pytest.param([{**TWO, "name": "0000.sql"}, ONE], "in the other order", id="late"),
    ],
)
def test_a_list_that_contradicts_the_record_is_refused(
    citus: Any, run_module: Any, later: list[dict[str, str]], said: str
) -> None:
    run_module("sql_migration", arguments(citus, ONE))
    for check in (True, False):
        refused = run_module("sql_migration", arguments(citus, *later), check=check)
        assert refused["failed"]
        assert refused["msg"].startswith("Nothing was changed.")
        assert said in refused["msg"]
    assert columns(citus, "one") == ["id"]


def test_two_runs_at_once_take_turns(citus: Any, run_module: Any) -> None:
    slow = {"name": "0001.sql", "sql": "SELECT pg_sleep(1); CREATE TABLE slow ();"}
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(run_module, "sql_migration", arguments(citus, slow)) for _ in range(2)]
    assert [run.result()["failed"] for run in runs] == [False, False]


def test_a_wrong_password(citus: Any, run_module: Any) -> None:
    failed = run_module("sql_migration", arguments(citus, ONE, login_password="wrong"))
    assert failed["failed"]
    assert "password authentication failed" in failed["msg"]


def test_migrations_of_bss_on_distributed_tables(citus: Any, run_module: Any) -> None:
    """As the role does it: each migration, then the distribution of what it created."""
    citus.register_workers()
    migrations = [
        {"name": path.name, "sql": path.read_text()} for path in sorted(MIGRATIONS.glob("*.sql"))
    ]
    run_module("sql_migration", arguments(citus, *migrations, target=migrations[0]["name"]))
    for statement in (
        "SELECT create_reference_table('products')",
        "SELECT create_reference_table('services')",
        "SELECT create_distributed_table('customers', 'customer_id', shard_count := 6)",
        "SELECT create_distributed_table('orders', 'customer_id', colocate_with := 'customers')",
    ):
        citus.sql(citus.coordinator_port, statement)

    # Several statements in one file: each is passed on to the shards by itself.
    more = {
        "name": "9001.sql",
        "sql": "ALTER TABLE customers ADD COLUMN a int; ALTER TABLE customers ADD COLUMN b int;",
    }
    done = run_module("sql_migration", arguments(citus, *migrations, more))
    assert not done["failed"], done.get("msg")
    if citus.is_standin:
        pytest.skip("the stand-in has no shards to look at")
    for table, expected in (
        ("customers", {"columns": 7, "foreign_keys": 0}),
        ("orders", {"columns": 8, "foreign_keys": 3}),
    ):
        shards = citus.sql(
            citus.coordinator_port,
            f"""SELECT success, result::jsonb AS result FROM run_command_on_shards('{table}', $$
            SELECT jsonb_build_object(
              'columns', (SELECT count(*) FROM pg_attribute
                          WHERE attrelid = '%1$s'::regclass AND attnum > 0),
              'foreign_keys', (SELECT count(*) FROM pg_constraint
                               WHERE conrelid = '%1$s'::regclass AND contype = 'f')) $$)""",
        )
        assert [shard["result"] for shard in shards] == [expected] * 6
