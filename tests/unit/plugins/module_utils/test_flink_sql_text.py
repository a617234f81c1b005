# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Scripts of Flink SQL: where their statements end, and what of them counts."""

from __future__ import annotations

import pytest
from ansible_collections.bss.platform.plugins.module_utils.flink_sql_text import (
    explanation_of,
    normalised,
    only_prepares,
    split_statements,
    starts_job,
)

SET = """EXECUTE STATEMENT SET BEGIN
INSERT INTO a SELECT CASE WHEN x THEN 1 ELSE 0 END FROM s;
INSERT INTO b SELECT 1 FROM s;
END"""


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        (" ; ;\n", []),
        ("-- only; a comment", []),
        ("CREATE TABLE a; INSERT INTO a SELECT 1", ["CREATE TABLE a", "INSERT INTO a SELECT 1"]),
        ("SELECT ';', `a;b` -- ; no\n; SELECT 2", ["SELECT ';', `a;b`", "SELECT 2"]),
        ("SELECT 'it''s; one'", ["SELECT 'it''s; one'"]),
        ("SELECT /* ; */ 1", ["SELECT   1"]),
        ("SELECT 1 // ; no\n", ["SELECT 1"]),
        (f"CREATE TABLE a; {SET}; SHOW JOBS", ["CREATE TABLE a", SET, "SHOW JOBS"]),
        ("SELECT 'http://x' AS u; SELECT '--'", ["SELECT 'http://x' AS u", "SELECT '--'"]),
    ],
)
def test_statements(script: str, statements: list[str]) -> None:
    assert split_statements(script) == statements


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT a,b FROM t", "SELECT a , b\n\tFROM t;"),
        ("SELECT 1", "-- why\nSELECT /* not */ 1 // so\n;"),
        ("SELECT COUNT(*) FROM t", "SELECT COUNT( * )  FROM t"),
        ("SELECT /*+ OPTIONS('a'='b') */ 1", "SELECT /*+  OPTIONS('a'='b')  */ 1"),
    ],
)
def test_what_does_not_count(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT 'a b'", "SELECT 'a  b'"),
        ("SELECT '-- x'", "SELECT ''"),
        ("SELECT a FROM t", "SELECT b FROM t"),
        ("SELECT /*+ OPTIONS('a'='b') */ 1", "SELECT 1"),
        ("SELECT ab", "SELECT a b"),
        ("SELECT `a b`", "SELECT `ab`"),
        ("SELECT 1; SELECT 2", "SELECT 2; SELECT 1"),
    ],
)
def test_what_counts(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


@pytest.mark.parametrize(
    ("statement", "explanation"),
    [
        ("INSERT INTO a SELECT 1", "EXPLAIN INSERT INTO a SELECT 1"),
        ("EXECUTE INSERT INTO a SELECT 1", "EXPLAIN INSERT INTO a SELECT 1"),
        (SET, f"EXPLAIN {SET.removeprefix('EXECUTE ')}"),
        ("insert into a SELECT 1", "EXPLAIN insert into a SELECT 1"),
    ],
)
def test_jobs_are_explained(statement: str, explanation: str) -> None:
    assert starts_job(statement)
    assert explanation_of(statement) == explanation


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE insert_into (a INT)", "SELECT 1", "SET 'a'='b'"]
)
def test_what_starts_no_job(statement: str) -> None:
    assert not starts_job(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE a (id INT, twice AS id * 2) WITH ('connector' = 'x')",
        "CREATE TABLE a (`select` INT) LIKE b",
        "CREATE TEMPORARY VIEW v AS SELECT 1",
        "CREATE FUNCTION f AS 'shop.F'",
        "DROP TABLE IF EXISTS a",
        "USE CATALOG c",
        "SET 'table.local-time-zone' = 'UTC'",
        "LOAD MODULE m",
        "ADD JAR '/a.jar'",
    ],
)
def test_what_only_prepares(statement: str) -> None:
    assert only_prepares(statement)
