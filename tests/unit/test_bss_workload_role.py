# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The role bss_workload as far as it needs no database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).parents[2]
DECLARE = {"tasks": [{"ansible.builtin.import_role": {"name": "bss.platform.bss_workload"}}]}


def test_no_workload_at_all(run_play: Callable[..., str]) -> None:
    none = {"bss_workload_migrations_dir": "", "bss_workload_tables": []}
    said = run_play(DECLARE, variables=none)
    assert "changed=0" in said and "failed=0" in said, said


def test_tables_without_migrations_are_refused(run_play: Callable[..., str]) -> None:
    said = run_play(DECLARE, variables={"bss_workload_migrations_dir": ""})
    assert "set it to '' and bss_workload_tables to []" in " ".join(said.split()), said


def test_what_an_interrupted_run_left_is_distributed_before_the_next_migration() -> None:
    tasks = yaml.safe_load(
        (CHECKOUT / "roles/bss_workload/tasks/migration.yml").read_text(encoding="utf-8")
    )
    modules = [key for task in tasks for key in task if key.startswith("bss.platform.")]
    assert modules == ["bss.platform.citus_distributed_table", "bss.platform.sql_migration"]


def test_a_workload_without_a_user_of_kafka_for_flink(run_play: Callable[..., str]) -> None:
    hand_over = {"name": "bss.platform.bss_workload", "tasks_from": "flink"}
    said = run_play(
        {"tasks": [{"ansible.builtin.import_role": hand_over}]},
        variables={"bss_workload_kafka_applications": []},
    )
    assert "skipped=1" in said and "failed=0" in said, said
