# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The action group of the SQL modules has each of them, so its login reaches all."""

from __future__ import annotations

from pathlib import Path

import yaml

CHECKOUT = Path(__file__).parents[2]


def test_every_module_that_logs_in_is_in_the_group() -> None:
    runtime = yaml.safe_load((CHECKOUT / "meta/runtime.yml").read_text(encoding="utf-8"))
    logging_in = {
        module.stem
        for module in (CHECKOUT / "plugins/modules").glob("*.py")
        if "  - bss.platform.postgresql\n" in module.read_text(encoding="utf-8")
    }
    assert "citus_node" in logging_in
    assert set(runtime["action_groups"]["citus"]) == logging_in
