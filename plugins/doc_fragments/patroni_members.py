# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations


class ModuleDocFragment:
    """The members that a module for several Patroni groups is told of."""

    DOCUMENTATION = r"""
options:
  members:
    description: All members of the groups concerned.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the member.
        type: str
        required: true
      url:
        description: Address of its REST API.
        type: str
        required: true
      group:
        description: Number of its group.
        type: int
        required: true
"""
