# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What sql_migration plans, and refuses, for a list of migrations and a record."""

from __future__ import annotations

import pytest
from ansible_collections.bss.platform.plugins.modules.sql_migration import (
    Migration,
    Record,
    plan,
)

ONE = Migration("0001.sql", "CREATE TABLE a ();")
TWO = Migration("0002.sql", "CREATE TABLE b ();")
THREE = Migration("0003.sql", "CREATE TABLE c ();")


def had(*migrations: Migration) -> dict[str, Record]:
    return {item.name: Record(item.checksum, "2025-11-01 10:00:00+00") for item in migrations}


def test_a_new_database_gets_the_record_and_all_migrations_in_order() -> None:
    steps = plan(None, [ONE, TWO], None)
    assert steps.sentences == [
        "create table public.sql_migration for the record",
        "apply migration 0001.sql",
        "apply migration 0002.sql",
    ]
    assert not steps.refusals


def test_what_was_applied_is_left_alone() -> None:
    steps = plan(had(ONE), [ONE, TWO], None)
    assert steps.sentences == ["apply migration 0002.sql"]
    assert steps.diff == {
        "before": {},
        "after": {"0002.sql": f"applied, {TWO.checksum[:12]}"},
    }


def test_nothing_to_do() -> None:
    steps = plan(had(ONE, TWO), [ONE, TWO], None)
    assert not steps.changed
    assert steps.diff == {"before": {}, "after": {}}


@pytest.mark.parametrize(
    ("target", "sentences"),
    [
        ("0001.sql", []),
        ("0002.sql", ["apply migration 0002.sql"]),
        (None, ["apply migration 0002.sql", "apply migration 0003.sql"]),
    ],
)
def test_those_behind_the_target_wait(target: str | None, sentences: list[str]) -> None:
    assert plan(had(ONE), [ONE, TWO, THREE], target).sentences == sentences


@pytest.mark.parametrize("sql", ["CREATE TABLE a ();\r\n", "\nCREATE TABLE a ();\n\n"])
def test_line_ends_are_no_change(sql: str) -> None:
    assert not plan(had(ONE), [Migration("0001.sql", sql)], None).refusals


@pytest.mark.parametrize(
    ("records", "desired", "target", "said"),
    [
        pytest.param(
            had(ONE),
            [Migration("0001.sql", "CREATE TABLE a (id int);"), TWO],
            None,
            ["0001.sql", "changed after it was applied", "2025-11-01", "as a new migration"],
            id="changed",
        ),
        pytest.param(had(ONE, TWO), [ONE], None, ["0002.sql is not in the list"], id="lost"),
        pytest.param(
            had(ONE, THREE), [ONE, TWO, THREE], None, ["0002.sql", "0003.sql", "rename"], id="late"
        ),
        pytest.param({}, [ONE, ONE], None, ["0001.sql", "a name of its own"], id="twice"),
        pytest.param({}, [ONE], "0009.sql", ["target 0009.sql", "0001.sql"], id="no such target"),
        pytest.param(
            {}, [Migration("0001.sql", "-- later\n")], None, ["no statement"], id="no statement"
        ),
        pytest.param(
            {},
            [Migration("0001.sql", "SELECT 1;\n -- done\n commit ;")],
            None,
            ["'commit'", "one transaction"],
            id="commits",
        ),
    ],
)
def test_refusals(
    records: dict[str, Record], desired: list[Migration], target: str | None, said: list[str]
) -> None:
    refusals = plan(records, desired, target).refusals
    assert len(refusals) == 1
    for words in said:
        assert words in str(refusals[0])


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$\nBEGIN\n COMMIT;\nEND;\n$$;",
        "SAVEPOINT s; ROLLBACK TO s;",
        "ROLLBACK TRANSACTION TO SAVEPOINT s",
        "PREPARE transactions AS SELECT 1",
        "CREATE TABLE commits (); COMMENT ON TABLE commits IS 'commit;';",
    ],
)
def test_what_only_looks_like_the_end_of_the_transaction(sql: str) -> None:
    assert not plan({}, [Migration("0001.sql", sql)], None).refusals


def test_all_refusals_come_at_once() -> None:
    changed = Migration("0001.sql", "SELECT 1;")
    assert len(plan(had(ONE, TWO), [changed, Migration("0003.sql", "")], "0009.sql").refusals) == 4
