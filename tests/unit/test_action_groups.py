# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The action group of the modules that log in alike has each of them, so its login reaches all."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("group", "fragment", "one"),
    [
        ("citus", "postgresql", "citus_node"),
        ("kafka", "kafka", "kafka_topic"),
        ("flink", "flink", "flink_job"),
    ],
)
def test_every_module_that_logs_in_is_in_the_group(group: str, fragment: str, one: str) -> None:
    runtime = yaml.safe_load((CHECKOUT / "meta/runtime.yml").read_text(encoding="utf-8"))
    logging_in = {
        module.stem
        for module in (CHECKOUT / "plugins/modules").glob("*.py")
        if f"  - bss.platform.{fragment}\n" in module.read_text(encoding="utf-8")
    }
    assert one in logging_in
    assert set(runtime["action_groups"][group]) == logging_in
