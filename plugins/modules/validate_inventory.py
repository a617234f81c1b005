#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: validate_inventory
short_description: Refuse an inventory with mistakes before any host is touched
version_added: 0.1.0
description:
  - Looks at all groups, hosts and variables of the inventories that were given with C(-i), on the
    controller and without a connection, and fails with every mistake at once.
  - Regions have a coordinator and a worker, a host has one region, groups that decide by majority
    have an odd number of members, groups of shards are numbered, addresses are different, versions
    go together, and every variable that starts like one of this collection is one, of its type.
  - What facts or lookups complete on the host is left to the roles, which check their arguments.
  - Variables that other roles read, but that start like ones of this collection, are listed in the
    variable C(platform_foreign_variables).
author:
  - The bss.platform maintainers
attributes:
  action:
    description: Runs on the controller, as an action plugin.
    support: full
  check_mode:
    description: Only reads, so check mode does the same.
    support: full
  diff_mode:
    description: Changes nothing, so there is nothing to show.
    support: none
notes:
  - It sees the whole inventory under C(--limit), too. The play then has to match a host of the
    limit, so give it the hosts C(localhost,all) and the task C(run_once).
seealso:
  - module: ansible.builtin.validate_argument_spec
"""

EXAMPLES = r"""
- name: Validate the inventory
  hosts: localhost,all
  gather_facts: false
  tasks:
    - name: Refuse an inventory with mistakes
      bss.platform.validate_inventory:
      run_once: true
"""

RETURN = r"""
msg:
  description: What was looked at, or the numbered problems.
  returned: always
  type: str
  sample: >-
    No host was touched: the inventory is not right. 1. group etcd: 2 members in all: its members
    decide by majority, so their number is odd. There is: us-c1 and us-w1. To go on: make it 1 or 3.
"""
