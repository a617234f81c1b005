# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What the role kafka computes."""

from __future__ import annotations

from pathlib import Path

import yaml

VARIABLES = Path(__file__).parents[2] / "roles/kafka/vars/main.yml"


def java_bucket(name: str, capacity: int) -> int:
    """Where java.util.HashMap puts a string: a table is walked from 0 on."""
    value = 0
    for character in name:
        value = (31 * value + ord(character)) & 0xFFFFFFFF
    return (value ^ (value >> 16)) & (capacity - 1)


def test_anchor_is_the_first_user_in_every_table_of_users() -> None:
    anchor = yaml.safe_load(VARIABLES.read_text())["kafka_anchor"]
    capacities = [2**power for power in range(4, 21)]
    assert {java_bucket(anchor, capacity) for capacity in capacities} == {0}


def test_without_it_a_user_that_a_rotation_removes_would_be_first() -> None:
    order = sorted(("admin", "broker-a", "broker-b"), key=lambda name: java_bucket(name, 16))
    assert order[0] == "broker-b"
