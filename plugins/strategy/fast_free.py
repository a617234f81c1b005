# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Ansible's free strategy, over mitogen where mitogen is installed.

Mitogen keeps one interpreter running on each host instead of starting one a
task: about a third of the time for a run that changes nothing. It is a
convenience: everything here also runs with the stock strategy.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: fast_free
short_description: Executes tasks without waiting for other hosts, over mitogen if installed
description:
  - Behaves as P(ansible.builtin.free#strategy).
author: the bss.platform contributors
"""

try:
    from ansible_mitogen.loaders import strategy_loader
    from ansible_mitogen.strategy import StrategyMixin

    class StrategyModule(StrategyMixin, strategy_loader.get("free", class_only=True)):  # type: ignore[misc]
        """Free, over mitogen."""

except ImportError:
    from ansible.plugins.strategy.free import StrategyModule  # type: ignore[no-redef] # noqa: F401
