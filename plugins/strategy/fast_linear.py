# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Ansible's linear strategy, over mitogen where mitogen is installed.

Mitogen keeps one interpreter running on each host instead of starting one a
task: about a third of the time for a run that changes nothing. It is a
convenience: everything here also runs with the stock strategy.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: fast_linear
short_description: Executes tasks in a linear fashion, over mitogen where it is installed
description:
  - Behaves as P(ansible.builtin.linear#strategy).
author: the bss.platform contributors
"""

try:
    from ansible_mitogen.loaders import strategy_loader
    from ansible_mitogen.strategy import StrategyMixin

    class StrategyModule(StrategyMixin, strategy_loader.get("linear", class_only=True)):  # type: ignore[misc]
        """Linear, over mitogen."""

except ImportError:
    from ansible.plugins.strategy.linear import StrategyModule  # type: ignore[no-redef] # noqa: F401
