# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations


class ModuleDocFragment:
    """What every declarative module of this collection supports."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Prints the plan and returns what would be returned, and changes nothing.
    support: full
  diff_mode:
    description: Shows the declared part before and after; it comes from the same plan.
    support: full
  idempotent:
    description: The same task again changes nothing.
    support: full
"""

    INFO = r"""
attributes:
  check_mode:
    description: Only reads, so check mode does the same.
    support: full
  diff_mode:
    description: Changes nothing, so there is nothing to show.
    support: none
"""
