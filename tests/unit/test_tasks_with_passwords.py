# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A task that sends a password leaves it in no log: neither Ansible's nor PostgreSQL's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
VARIABLE = "citus_coordinator_log_no_statement"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def senders() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every task that gives a role of PostgreSQL its password, and where it is."""
    for path in CHECKOUT.glob("roles/*/tasks/*.yml"):
        for task in load(path):
            if "password" in task.get("community.postgresql.postgresql_user", {}):
                yield f"{path.relative_to(CHECKOUT)}: {task['name']}", task


SENDERS = dict(senders())


def test_there_are_such_tasks() -> None:
    assert len(SENDERS) >= 2


@pytest.mark.parametrize("place", SENDERS)
def test_the_password_is_in_no_log(place: str) -> None:
    assert SENDERS[place].get("no_log") is True
    assert SENDERS[place].get("environment") == f"{{{{ {VARIABLE} }}}}"


def test_no_reason_is_left_to_log_the_statement() -> None:
    settings = load(CHECKOUT / "roles/citus_coordinator/vars/main.yml")[VARIABLE]["PGOPTIONS"]
    assert dict(re.findall(r"-c (\S+)=(\S+)", settings)) == {
        "log_statement": "none",
        "log_min_duration_statement": "-1",
        "log_min_error_statement": "panic",
    }
