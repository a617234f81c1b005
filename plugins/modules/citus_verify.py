#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Named checks of a Citus cluster, asked of its primary coordinator."""

from __future__ import annotations

DOCUMENTATION = r"""
module: citus_verify
short_description: Checks a Citus cluster and the tables that a workload declares
description:
  - Runs named checks on the primary coordinator and returns what each found.
  - A failed check does not fail the module. Give the results to M(bss.platform.verify_report), or
    judge RV(passed).
  - Where the test stand-in for Citus is installed, a check that needs distribution is not run and
    its state is V(standin), which is neither passed nor failed.
  - Runs as the user that PostgreSQL runs as, since it reaches the other nodes with what Citus is
    set to use, C(citus.node_conninfo) and C(pg_dist_authinfo).
  - C(coordinator_answers), the coordinator answers, has Citus and is not a standby.
  - C(nodes_active), all nodes are active, have the metadata and are in step with it.
  - C(nodes_reach_each_other), C(citus_check_cluster_node_health) finds every way between two nodes
    open.
  - C(primaries_agree), the primary of each group is, for Citus, the one that O(members) name.
  - C(tables_as_declared), each of O(tables) has the declared type, distribution column, number of
    shards and colocation.
  - C(shards_placed), every shard has an active placement, none on a node that should have no
    shards, and the cluster's own rebalancer has nothing to move.
  - C(shards_present), every node has the tables of the shards that are placed on it, and agrees
    with the coordinator on which those are.
  - C(colocated_side_by_side), shards of colocated tables for the same values are on the same nodes.
  - C(single_shard_query), a query for one value of the distribution column of each of O(tables) is
    one task on one shard.
  - C(cross_shard_join), for each of O(tables) that names another in C(colocate_with), a join over
    all shards gives what its rows, fetched shard by shard, add up to. It looks at a sample of the
    values of each shard, so that its cost is bounded.
  - C(reference_tables_equal), each reference table has the same rows on every node.
  - C(rows_read_back_everywhere), rows that are written through the coordinator into a schema of
    its own, C(bss_verify_scratch), are read back and joined on every node. The schema is removed
    at the end, also when the module is stopped, and at the start if a killed one left it.
version_added: 0.1.0
author: the bss.platform contributors
options:
  tables:
    description:
      - Tables that the workload declares, in the form that the option C(tables) of
        M(bss.platform.citus_distributed_table) takes.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the table, with its schema where that is not in the search path.
        type: str
        required: true
      type:
        description: How Citus holds it.
        type: str
        choices: [distributed, reference, local]
        default: distributed
      column:
        description: The distribution column.
        type: str
      shard_count:
        description: Number of shards; not looked at where none is declared.
        type: int
      colocate_with:
        description: Table whose shards lie beside this one's, or V(default), or V(none).
        type: str
      online:
        description: Taken so that the same list serves both modules; says nothing of the result.
        type: bool
      allow_rewrite:
        description: Taken so that the same list serves both modules; says nothing of the result.
        type: bool
  members:
    description:
      - What Patroni's members say of who leads, RV(bss.platform.patroni_verify#module:member).
      - Without it C(primaries_agree) is left out, as for a cluster without Patroni.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the member that says so.
        type: str
        required: true
      group:
        description: Its group.
        type: int
        required: true
      leader:
        description: Name of the member that leads, empty when none does.
        type: str
        required: true
extends_documentation_fragment:
  - bss.platform.postgresql
attributes:
  check_mode:
    description: Leaves out C(rows_read_back_everywhere), the only check that writes.
    support: partial
  diff_mode:
    description: Changes nothing that lasts, so there is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Check the cluster
  bss.platform.citus_verify:
    login_unix_socket: /var/run/postgresql
    login_db: bss
    tables:
      - name: customers
        column: customer_id
        shard_count: 6
      - name: orders
        column: customer_id
        colocate_with: customers
      - name: products
        type: reference
  become: true
  become_user: postgres
  register: verify_citus
"""

RETURN = r"""
passed:
  description: Whether no check failed.
  returned: always
  type: bool
  sample: true
standin:
  description: Whether the test stand-in is installed in place of Citus.
  returned: always
  type: bool
  sample: false
results:
  description: What each check found, in the order in which they ran.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the check.
      type: str
      sample: single_shard_query
    proves:
      description: What holds when it passes.
      type: str
      sample: A query for one value of the distribution column is one task
    state:
      description: V(ok), V(failed), or V(standin) where a test stand-in proves nothing.
      type: str
      sample: ok
    detail:
      description: What was seen, or what is wrong.
      type: str
      sample: customers, orders
    seconds:
      description: How long it took.
      type: float
      sample: 0.009
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils import citus_data_checks as data
from ansible_collections.bss.platform.plugins.module_utils import citus_metadata_checks as metadata
from ansible_collections.bss.platform.plugins.module_utils.checks import (
    Check,
    CheckFailed,
    Result,
    as_returned,
    passed,
    run_checks,
)
from ansible_collections.bss.platform.plugins.module_utils.citus import is_standin, read_version
from ansible_collections.bss.platform.plugins.module_utils.citus_scratch import read_back_everywhere
from ansible_collections.bss.platform.plugins.module_utils.postgresql import (
    CONNECTION_OPTIONS,
    Session,
    connect,
)

STATEMENT_TIMEOUT = "30s"
LOCK_TIMEOUT = "5s"
"""No check waits longer for one answer. Patroni locks the nodes' catalog while a group has no
primary, which is a finding and nothing to wait for."""

TABLE_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "type": {
        "type": "str",
        "choices": ["distributed", "reference", "local"],
        "default": "distributed",
    },
    "column": {"type": "str"},
    "shard_count": {"type": "int"},
    "colocate_with": {"type": "str"},
    "online": {"type": "bool"},
    "allow_rewrite": {"type": "bool"},
}

MEMBER_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "group": {"type": "int", "required": True},
    "leader": {"type": "str", "required": True},
}


class ClusterChecks:
    """The checks of one cluster; all but the first use the session that it opened."""

    def __init__(self, options: Mapping[str, Any], check_mode: bool) -> None:
        self._options = options
        self._check_mode = check_mode
        self._session: Session
        self.standin = False
        """Set by answers(): whether the stand-in is installed."""

    def answers(self) -> str:
        self._session = connect(self._options)
        version = read_version(self._session)
        self.standin = is_standin(version)
        (row,) = self._session.rows(
            "SELECT pg_is_in_recovery() AS standby, set_config('statement_timeout', %s, false), "
            "set_config('lock_timeout', %s, false)",
            (STATEMENT_TIMEOUT, LOCK_TIMEOUT),
        )
        if row["standby"]:
            raise CheckFailed("this is a standby: run on the group's primary")
        return version

    def run(self) -> list[Result]:
        """All results; only the first when the coordinator does not answer."""
        first = run_checks(
            [
                Check(
                    "coordinator_answers",
                    "The primary coordinator answers and has Citus",
                    self.answers,
                )
            ]
        )
        if not passed(first):
            return first
        try:
            return first + run_checks(self._checks(), standin=self.standin)
        finally:
            self._session.close()

    def _checks(self) -> list[Check]:
        session, tables = self._session, self._options["tables"]
        distributed = [table for table in tables if table["type"] == "distributed"]
        checks = [
            Check(
                "nodes_active",
                "All nodes are active and in step with the metadata",
                partial(metadata.nodes_active, session),
            ),
            Check(
                "nodes_reach_each_other",
                "Every node reaches every node",
                partial(data.nodes_reach_each_other, session),
                needs_real_service=True,
            ),
        ]
        if self._options["members"]:
            checks.append(
                Check(
                    "primaries_agree",
                    "Citus and Patroni name the same primary of each group",
                    partial(metadata.primaries_agree, session, self._options["members"]),
                )
            )
        if tables:
            checks.append(
                Check(
                    "tables_as_declared",
                    "Tables have the declared type, column, shards and colocation",
                    partial(metadata.tables_as_declared, session, tables),
                )
            )
        checks += [
            Check(
                "shards_placed",
                "Shards are active, where they should be, and evenly placed",
                partial(metadata.shards_placed, session),
                needs_real_service=True,
            ),
            Check(
                "shards_present",
                "Every node has the shards that are placed on it",
                partial(data.shards_present, session),
                needs_real_service=True,
            ),
            Check(
                "colocated_side_by_side",
                "Shards of colocated tables are on the same nodes",
                partial(metadata.colocated_side_by_side, session),
                needs_real_service=True,
            ),
        ]
        if distributed:
            checks += [
                Check(
                    "single_shard_query",
                    "A query for one value of the distribution column is one task",
                    partial(data.single_shard_query, session, distributed),
                    needs_real_service=True,
                ),
                Check(
                    "cross_shard_join",
                    "A join over all shards is what the shards add up to",
                    partial(data.cross_shard_join, session, distributed),
                    needs_real_service=True,
                ),
            ]
        checks.append(
            Check(
                "reference_tables_equal",
                "Reference tables have the same rows on every node",
                partial(data.reference_tables_equal, session),
                needs_real_service=True,
            )
        )
        if not self._check_mode:
            checks.append(
                Check(
                    "rows_read_back_everywhere",
                    "Rows written through the coordinator are read and joined on every node",
                    partial(read_back_everywhere, session, self._options["login_password"]),
                    needs_real_service=True,
                )
            )
        return checks


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "tables": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": TABLE_OPTIONS,
            },
            "members": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": MEMBER_OPTIONS,
            },
        },
        supports_check_mode=True,
    )
    checks = ClusterChecks(module.params, module.check_mode)
    results = checks.run()
    module.exit_json(changed=False, standin=checks.standin, **as_returned(results))


if __name__ == "__main__":
    main()
