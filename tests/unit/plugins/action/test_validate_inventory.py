# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The playbook validate, run as an operator runs it, with the collection's real variables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

BAD = {
    "us_east": {
        "vars": {"region": "us-east", "citus_databse": "bss"},
        "hosts": {
            "us-c1": {"ansible_host": "192.0.2.1"},
            "us-w1": {"ansible_host": "192.0.2.1"},
        },
    },
    "citus_coordinator": {"hosts": {"us-c1": {"citus_group": 1}}},
    "citus_worker": {"hosts": {"us-w1": {"citus_group": 0}}},
    "etcd": {"hosts": {"us-c1": {}, "us-w1": {}}},
}


@pytest.fixture
def validate(ansible_playbook: Callable[..., Any]) -> Callable[..., Any]:
    def validate(*arguments: str) -> Any:
        return ansible_playbook("playbooks/validate.yml", *arguments)

    return validate


@pytest.fixture
def bad_inventory(tmp_path: Path) -> str:
    source = tmp_path / "hosts.yml"
    source.write_text(yaml.safe_dump(BAD))
    return str(source)


@pytest.mark.parametrize("limit", [[], ["--limit", "us-w1", "--check"]])
def test_all_mistakes_are_told_at_once(
    limit: list[str], bad_inventory: str, validate: Callable[..., Any]
) -> None:
    run = validate("-i", bad_inventory, "-e", "citus_zebra=1", *limit)
    assert run.returncode == 2, run.stdout + run.stderr
    for mistake in (
        "1. citus_databse (group us_east)",
        "2. citus_zebra (command line)",
        "3. citus_group: 1 (host us-c1)",
        "4. citus_group: 0 (host us-w1)",
        "5. group etcd: 2 members in all",
        "6. ansible_host: 192.0.2.1, port 22",
    ):
        assert mistake in run.stdout + run.stderr
    assert "7. " not in run.stdout
    assert "unreachable=0" in run.stdout


def test_the_inventory_as_shipped_is_right(validate: Callable[..., Any]) -> None:
    run = validate("-i", "inventories/us-east")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 region, 11 hosts" in run.stdout
    assert "nothing to object to" in run.stdout


def test_no_inventory_is_refused(validate: Callable[..., Any]) -> None:
    run = validate("-i", "localhost,")
    assert run.returncode == 2
    assert "no host of this platform" in run.stdout + run.stderr
