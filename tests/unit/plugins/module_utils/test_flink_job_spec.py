# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What a job's id says, and what of its contents may be shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.flink_job_spec import (
    Mark,
    Spec,
    job_id,
    mark_of,
    owner_of,
    trigger_id,
)

JAR = Spec(jar_sha256="ab" * 32, entry_class="shop.Clicks", args=("--window", "60"), jar="/a.jar")


def test_an_id_says_whose_it_is_what_it_runs_and_which_one_it_is() -> None:
    made = job_id("clicks", JAR.mark, 42)
    assert len(made) == 32 and int(made, 16)
    assert mark_of(made) == Mark(owner_of("clicks"), JAR.mark, 42)


@pytest.mark.parametrize("foreign", ["", "short", "f" * 33])
def test_what_is_no_id_says_nothing(foreign: str) -> None:
    assert mark_of(foreign) == Mark("", "", 0)


@pytest.mark.parametrize(
    "change",
    [
        {"jar_sha256": "ac" * 32},
        {"entry_class": "shop.Orders"},
        {"args": ("--window", "61")},
        {"args": ("60", "--window")},
        {"parallelism": 2},
        {"config": {"execution.checkpointing.interval": "10s"}},
        {"sql": "INSERT INTO a SELECT 1"},
    ],
)
def test_each_part_counts(change: dict[str, Any]) -> None:
    assert replace(JAR, **change).mark != JAR.mark


def test_where_the_jar_lies_does_not_count() -> None:
    assert replace(JAR, jar="/elsewhere.jar").mark == JAR.mark


def test_a_record_is_the_same_again() -> None:
    spec = replace(JAR, parallelism=3, config={"a": "b"})
    assert Spec.from_record(spec.to_record(), "/a.jar") == spec


def test_triggers_differ_by_attempt_and_are_the_same_again() -> None:
    ids = [trigger_id("a" * 32, attempt) for attempt in (0, 1, 0)]
    assert ids[0] == ids[2] != ids[1]
    assert all(len(each) == 32 for each in ids)


def test_secrets_are_not_shown() -> None:
    sql = "CREATE TABLE t WITH ('properties.sasl.jaas.config' = 'x password=\"hush\";', 'a' = 'b')"
    assert Spec(sql=sql).shown["sql"] == (
        "CREATE TABLE t WITH ('properties.sasl.jaas.config' = '********', 'a' = 'b')"
    )
    spec = replace(
        JAR,
        args=("--db-password", "hush", "--token=hush", "--window", "60"),
        config={"fs.s3a.secret.key": "hush", "parallelism.max": "4"},
    )
    assert "hush" not in str(spec.shown)
    assert spec.shown["args"] == ["--db-password", "********", "--token=********", "--window", "60"]
    assert spec.shown["config"] == {"fs.s3a.secret.key": "********", "parallelism.max": "4"}


@pytest.mark.parametrize("key", ["auth-params", "service-key", "basic-auth", "http-headers"])
def test_all_that_flink_takes_for_secret_is(key: str) -> None:
    assert Spec(config={f"x.{key}": "hush"}).shown["config"] == {f"x.{key}": "********"}
