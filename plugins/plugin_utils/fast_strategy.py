# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Ansible's own strategies, over mitogen where it is installed.

Mitogen keeps one interpreter running on each host instead of starting one a
task: about a third of the time for a run that changes nothing. It is a
convenience: everything here also runs with the stock strategies.
"""

from __future__ import annotations

import gc
from typing import Any

from ansible.plugins.loader import strategy_loader as stock_strategies

try:
    import ansible.collections.list
    from ansible_mitogen.loaders import strategy_loader as mitogen_strategies
    from ansible_mitogen.strategy import StrategyMixin
except ImportError:
    StrategyMixin = None


def fast(name: str) -> Any:
    """The class of the strategy ``name`` of ansible.builtin, over mitogen where there is one."""
    if StrategyMixin is None:
        return stock_strategies.get(name, class_only=True)

    class StrategyModule(StrategyMixin, mitogen_strategies.get(name, class_only=True)):  # type: ignore[misc]
        def run(self, *args: Any, **kwargs: Any) -> Any:
            # Mitogen looks for the collections anew in each process that runs a
            # task, and reads what each of a hundred says of itself. Known here,
            # all of them inherit it.
            list(ansible.collections.list.list_collection_dirs())
            # What the processes inherit they then share: their garbage collection
            # leaves it alone, or each would copy all of it.
            gc.freeze()
            return super().run(*args, **kwargs)

    return StrategyModule
