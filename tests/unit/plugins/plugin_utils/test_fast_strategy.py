# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

import pytest
from ansible.plugins.loader import strategy_loader
from ansible_collections.bss.platform.plugins.plugin_utils import fast_strategy


@pytest.mark.parametrize("name", ["linear", "free"])
def test_it_is_the_stock_strategy_over_mitogen(name: str) -> None:
    stock = strategy_loader.get(name, class_only=True)
    bases = [base.__module__ for base in fast_strategy.fast(name).__mro__]
    assert stock.__module__ in bases
    assert "ansible_mitogen.strategy" in bases


@pytest.mark.parametrize("name", ["linear", "free"])
def test_it_is_the_stock_strategy_where_mitogen_is_not(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_strategy, "StrategyMixin", None)
    assert fast_strategy.fast(name) is strategy_loader.get(name, class_only=True)
