# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The role bss_workload against a cluster, with its own workload and with a user's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]

Play = Callable[..., dict[str, int]]
"""Runs an entry point of the role and returns Ansible's recap of the host."""


@pytest.fixture
def play(citus: Any, tmp_path: Path) -> Play:
    citus.register_workers()
    citus.sql(citus.coordinator_port, "CREATE ROLE bss LOGIN")
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "bss_workload_login": citus.login,
    }
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"coordinator": host}}}))

    def run(*options: str, tasks_from: str = "main", **variables: Any) -> dict[str, int]:
        playbook = tmp_path / "play.json"
        role = {"name": "bss.platform.bss_workload", "tasks_from": tasks_from}
        task = {"name": "Run the role", "ansible.builtin.import_role": role}
        playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
        result = subprocess.run(
            [
                *(sys.executable, "-m", "ansible", "playbook", "-i", inventory, playbook),
                *("-e", json.dumps(variables), *options),
            ],
            cwd=CHECKOUT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        recap = [line for line in result.stdout.splitlines() if line.startswith("coordinator ")]
        assert recap, result.stdout + result.stderr
        counts = dict(word.split("=") for word in recap[0].split(":")[1].split())
        assert counts["failed"] == "0", result.stdout
        return {name: int(count) for name, count in counts.items()}

    return run


def layout(citus: Any) -> dict[str, str]:
    rows = citus.sql(
        citus.coordinator_port,
        "SELECT logicalrelid::text AS name, partmethod::text AS method FROM pg_dist_partition",
    )
    return {row["name"]: row["method"] for row in rows}


def test_check_run_again(citus: Any, play: Play) -> None:
    assert play("--check")["changed"] == 1  # all pending migrations, as one step
    assert layout(citus) == {}

    assert play()["changed"] > 0
    assert layout(citus) == {"customers": "h", "orders": "h", "products": "n", "services": "n"}
    for table, allowed in (("orders", True), ("sql_migration", False)):
        found = citus.sql(
            citus.coordinator_port,
            "SELECT has_table_privilege('bss', %s, 'SELECT, INSERT, UPDATE, DELETE') AS allowed",
            (table,),
        )
        assert found[0]["allowed"] is allowed

    assert play()["changed"] == 0
    assert play("--check")["changed"] == 0


def test_load(citus: Any, play: Play) -> None:
    play()
    few = {"products": 50, "services": 10, "customers": 200, "orders": 1_000}
    assert play("--check", tasks_from="load", bss_workload_rows=few)["changed"] == 1
    assert play(tasks_from="load", bss_workload_rows=few)["changed"] == 1
    assert play(tasks_from="load", bss_workload_rows=few)["changed"] == 0
    assert citus.sql(citus.coordinator_port, "SELECT count(*) FROM orders")[0]["count"] == 1_000


PARENTS = "CREATE TABLE parents (id int PRIMARY KEY);"


@pytest.fixture
def family(tmp_path: Path) -> dict[str, Any]:
    """The variables of a workload whose second migration wants what the first made distributed."""
    (tmp_path / "1_parents.sql").write_text(PARENTS)
    (tmp_path / "2_children.sql").write_text(
        "CREATE TABLE children (id int, parent_id int, PRIMARY KEY (parent_id, id));\n"
        "SELECT 1 / count(*) FROM pg_dist_partition WHERE logicalrelid = 'parents'::regclass;\n"
    )
    (tmp_path / "3_foreign_key.sql").write_text(
        "ALTER TABLE children ADD CONSTRAINT children_parent_fkey\n"
        "  FOREIGN KEY (parent_id) REFERENCES parents (id);\n"
    )
    return {
        "bss_workload_migrations_dir": str(tmp_path),
        "bss_workload_tables": [
            {"name": "parents", "column": "id", "shard_count": 4},
            {"name": "children", "column": "parent_id", "colocate_with": "parents"},
        ],
    }


def test_a_table_is_distributed_before_the_next_migration(
    citus: Any, play: Play, family: dict[str, Any]
) -> None:
    """So a migration meets the same tables on a new database as on one in use."""
    assert play(**family)["changed"] > 0
    assert layout(citus) == {"parents": "h", "children": "h"}
    assert play(**family)["changed"] == 0


def test_a_run_that_ended_before_it_distributed_is_repeated(
    citus: Any, play: Play, run_module: Any, family: dict[str, Any]
) -> None:
    """The repeat passes through the same states."""
    first = {"name": "1_parents.sql", "sql": PARENTS}
    assert not run_module("sql_migration", {**citus.login, "migrations": [first]})["failed"]
    assert layout(citus) == {}
    assert play(**family)["changed"] > 0
    assert layout(citus) == {"parents": "h", "children": "h"}


def test_a_table_in_a_schema_of_its_own(citus: Any, play: Play, tmp_path: Path) -> None:
    (tmp_path / "1.sql").write_text(
        "CREATE SCHEMA app;\nCREATE TABLE app.events (id int PRIMARY KEY);\n"
    )
    variables = {
        "bss_workload_migrations_dir": str(tmp_path),
        "bss_workload_tables": [{"name": "app.events", "column": "id", "shard_count": 4}],
    }
    play(**variables)
    found = citus.sql(
        citus.coordinator_port,
        "SELECT has_schema_privilege('bss', 'app', 'USAGE') AS schema,"
        " has_table_privilege('bss', 'app.events', 'SELECT, INSERT, UPDATE, DELETE') AS table",
    )
    assert found == [{"schema": True, "table": True}]
    assert play(**variables)["changed"] == 0
