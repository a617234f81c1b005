# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

from ansible_collections.bss.platform.plugins.plugin_utils.fast_strategy import fast

DOCUMENTATION = r"""
name: fast_free
short_description: Executes tasks without waiting for other hosts, over mitogen if installed
description:
  - Behaves as P(ansible.builtin.free#strategy).
author: the bss.platform contributors
"""

StrategyModule = fast("free")
