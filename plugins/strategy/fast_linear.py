# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

from ansible_collections.bss.platform.plugins.plugin_utils.fast_strategy import fast

DOCUMENTATION = r"""
name: fast_linear
short_description: Executes tasks in a linear fashion, over mitogen where it is installed
description:
  - Behaves as P(ansible.builtin.linear#strategy).
author: the bss.platform contributors
"""

StrategyModule = fast("linear")
