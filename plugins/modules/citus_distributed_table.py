#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: citus_distributed_table
short_description: Declare how Citus keeps tables
version_added: 0.1.0
description:
  - Distributes existing tables over the workers, makes them reference tables, or adds them to
    Citus' metadata as local tables; and tells in which part a table differs from what is
    declared.
  - Tables are declared one at a time or as a list (O(tables)). A list is planned as a whole, and
    nothing is changed if any part of it is refused; all reasons are told at once.
  - The order in the list does not matter. Reference tables come first, then distributed ones,
    each after the table it is colocated with and after those it references, then local ones.
  - Tables that are not named are left alone. A table's storage (its access method) is left alone
    as well.
  - Tables that are not spread over nodes yet (plain ones, and local ones of Citus) become what
    they are declared to be at once, rows and all. Whatever would write distributed rows anew
    needs O(allow_rewrite).
  - A list that is as declared costs five queries of the catalogs, however long it is.
options:
  name:
    description:
      - The table, as SQL writes it. V(orders), V(sales.orders) and V(sales."Order-Items") are
        names; case is folded to lower unless quoted.
      - A name without schema is looked up in the C(search_path) of O(login_user) in O(login_db),
        as any query would. Statements, results and messages always have the schema.
      - Mutually exclusive with O(tables), as are all the options of a table.
    type: str
  type:
    description:
      - V(distributed) spreads the rows over the nodes by a hash of O(column). It is what a table
        is that names no type.
      - V(reference) keeps a full copy on every node.
      - V(local) is a local table in Citus' metadata. Its rows stay on the coordinator, and every
        node knows that, so it can be queried through any of them and joined with the others. It
        is not the same as a plain PostgreSQL table, which only the coordinator knows; plain is
        what a table is that was never declared, and this module makes no table plain again.
      - Citus adds a plain table to its metadata by itself when a foreign key ties it to a
        reference table, and takes it out again with the last of these keys. V(local) keeps it
        there.
    type: str
    choices: [distributed, reference, local]
  column:
    description:
      - The distribution column, spelt exactly as in the table and without quotes.
      - Required for, and only for, distributed tables.
    type: str
  shard_count:
    description:
      - Number of shards.
      - When not set, a new distributed table gets C(citus.shard_count) shards, or those of the
        table it is colocated with, and an existing one keeps what it has.
    type: int
  colocate_with:
    description:
      - A distributed table, or one that becomes so in the same task, next to whose rows those
        with an equal value in O(column) are to lie. The columns must be of the same type.
      - V(none) starts a colocation group of its own when the table is distributed. It says
        nothing about a table that is distributed already, since others may have joined since.
      - When not set, Citus puts a new table into the oldest group of tables that have as many
        shards and a column of the same type, and an existing table is left where it is.
      - Mutually exclusive with O(shard_count) unless it is V(none).
    type: str
  online:
    description:
      - Distributes the table while it is written to (C(create_distributed_table_concurrently)).
      - This needs a primary key or replica identity, C(wal_level=logical), C(citus) in
        C(output_plugin_libraries) where PostgreSQL has that setting (15.19 and later), a
        coordinator that is registered, and no foreign keys but to reference tables.
      - If it is interrupted, the table is left as a local table of Citus, from which the same
        task goes on.
      - Only distributing is possible online, rewriting is not.
    type: bool
  allow_rewrite:
    description:
      - Whether a table that is distributed or a reference table already may be written anew to
        become as declared. Writers wait meanwhile, and the table's rows are on disk twice until
        it is done.
      - Check mode tells how many rows and bytes that is. To know, it counts the rows.
      - A new type takes the table back to the coordinator, and from there to the nodes, in one
        transaction.
      - When a whole colocation group is declared to change in the same way, it is rewritten by
        one statement, and the foreign keys between its tables stay. Any other change that would
        lose a foreign key is refused.
    type: bool
  tables:
    description: A list of tables; each takes the options of a single one.
    type: list
    elements: dict
    suboptions:
      name:
        description: As O(name).
        type: str
        required: true
      type:
        description: As O(type).
        type: str
        choices: [distributed, reference, local]
      column:
        description: As O(column).
        type: str
      shard_count:
        description: As O(shard_count).
        type: int
      colocate_with:
        description: As O(colocate_with).
        type: str
      online:
        description: As O(online).
        type: bool
      allow_rewrite:
        description: As O(allow_rewrite).
        type: bool
extends_documentation_fragment:
  - bss.platform.attributes
  - bss.platform.postgresql
notes:
  - Connect to the primary coordinator, as the owner of the tables or a superuser.
  - After the rows of a table were spread, Citus leaves the old copy on the coordinator's disk,
    where no query sees it. C(SELECT truncate_local_data_after_distributing_table('orders')) frees
    the space; this module does not, since it is the last copy from before.
  - Each table is committed by itself. When the connection is lost, what was done before stays,
    and the same task goes on from there.
  - A unique index counts only by its key columns. Citus would also accept a distribution column
    that is merely included, and then let through rows that are alike.
  - Between two local tables of Citus that reference each other the foreign key is dropped and
    added again, in the same transaction in which both are distributed; Citus offers no other way.
seealso:
  - module: bss.platform.citus_info
  - module: bss.platform.citus_node
author:
  - The bss.platform contributors (@bss-platform)
"""

EXAMPLES = r"""
- name: Declare the tables of a shop
  bss.platform.citus_distributed_table:
    login_unix_socket: /var/run/postgresql
    login_db: bss
    tables:
      - {name: products, type: reference}
      - {name: customers, column: customer_id, shard_count: 6}
      - {name: orders, column: customer_id, colocate_with: customers}
      - {name: audit_log, type: local}

- name: Distribute one large table while it is written to
  bss.platform.citus_distributed_table:
    login_unix_socket: /var/run/postgresql
    login_db: bss
    name: events
    column: device_id
    colocate_with: none
    online: true

- name: See what more shards for customers and orders would cost
  bss.platform.citus_distributed_table:
    login_unix_socket: /var/run/postgresql
    login_db: bss
    tables:
      - {name: customers, column: customer_id, shard_count: 12, allow_rewrite: true}
      - {name: orders, column: customer_id, colocate_with: customers, allow_rewrite: true}
  check_mode: true
  register: more_shards

- name: Show it
  ansible.builtin.debug:
    var: more_shards.plan

- name: Take a table back from the nodes, from anywhere, over TLS
  bss.platform.citus_distributed_table:
    login_host: us-c1
    login_user: bss
    login_password: "{{ bss_password }}"
    login_db: bss
    ssl_mode: verify-full
    ca_cert: /etc/bss/tls/ca.crt
    name: sales."Order-Archive"
    type: local
    allow_rewrite: true
"""

RETURN = r"""
plan:
  description: What was done, or would be done in check mode, one sentence a step.
  returned: success
  type: list
  elements: str
  sample:
    - make public.products a reference table, copied to every node
    - distribute public.customers by customer_id into 6 shards
    - distribute public.orders by customer_id, colocated with public.customers
diff:
  description: The declared part of the tables that differ, by name.
  returned: success
  type: dict
  contains:
    before:
      description: Tables as they were. The type is V(plain) for those Citus did not know.
      type: dict
      sample:
        public.orders:
          type: plain
    after:
      description: Tables as they are now, or would be.
      type: dict
      sample:
        public.orders:
          type: distributed
          column: customer_id
          shard_count: 6
          colocate_with: public.customers
queries:
  description: The statements that were sent to change something.
  returned: success
  type: list
  elements: str
  sample:
    - SELECT create_reference_table('public.products')
    - SELECT create_distributed_table('public.customers', 'customer_id', shard_count => 6)
tables:
  description: The declared tables as they are now, or would be in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name with its schema, quoted where SQL needs it.
      type: str
      sample: public.orders
    type:
      description: V(distributed), V(reference) or V(local).
      type: str
      sample: distributed
    column:
      description: The distribution column; null if not distributed.
      type: str
      sample: customer_id
    shard_count:
      description: Number of shards.
      type: int
      sample: 6
colocation_groups:
  description:
    - The colocation groups of the declared tables, each as the names of all its tables, declared
      here or not.
  returned: success
  type: list
  elements: list
  sample: [[public.customers, public.orders]]
"""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.citus_table_drift import (
    Declaration,
)
from ansible_collections.bss.platform.plugins.module_utils.citus_table_plan import (
    TRANSACTION,
    plan,
    rewritten_tables,
)
from ansible_collections.bss.platform.plugins.module_utils.citus_tables import (
    read_catalog,
    read_size,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import (
    Plan,
    PlatformError,
)
from ansible_collections.bss.platform.plugins.module_utils.postgresql import (
    CONNECTION_OPTIONS,
    Session,
    StatementFailed,
    connect,
)

TABLE_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str"},
    "type": {"type": "str", "choices": ["distributed", "reference", "local"]},
    "column": {"type": "str"},
    "shard_count": {"type": "int"},
    "colocate_with": {"type": "str"},
    "online": {"type": "bool"},
    "allow_rewrite": {"type": "bool"},
}

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    **TABLE_OPTIONS,
    "tables": {
        "type": "list",
        "elements": "dict",
        "options": {**TABLE_OPTIONS, "name": {"type": "str", "required": True}},
    },
    **CONNECTION_OPTIONS,
}


def declared_tables(options: Mapping[str, Any]) -> list[Declaration]:
    """The tables of the task, of its single form or its list form."""
    entries = options["tables"]
    if entries is None:
        entries = [{option: options[option] for option in TABLE_OPTIONS}]
    return [Declaration.from_options(entry) for entry in entries]


def run(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Plan, apply unless in check mode, and say what was done.

    Raises PlatformError for every condition that a user can cause or mend.
    """
    declared = declared_tables(options)
    session = connect(options)
    try:
        catalog = read_catalog(session, (name for each in declared for name in each.names))
        rewritten = rewritten_tables(declared, catalog)
        sizes = {relation.oid: read_size(session, relation) for relation in rewritten}
        decided = plan(declared, catalog, sizes)
        decided.raise_if_refused()
        if not check_mode:
            apply(session, decided)
    finally:
        session.close()
    return {
        "changed": decided.changed,
        "plan": decided.sentences,
        "diff": decided.diff,
        "queries": session.sent,
        "tables": list(decided.tables),
        "colocation_groups": list(decided.colocation_groups),
    }


class StepFailed(PlatformError):
    """A step of the plan could not be done; says which, and what became of the others."""


def apply(session: Session, decided: Plan) -> None:
    """Send the plan; each step commits by itself, but for those of one transaction.

    When a step of a transaction fails, the closing of the session takes back the others.
    Raises StepFailed or ConnectionLost.
    """
    steps = enumerate(decided.actions, start=1)
    for transaction, members in groupby(steps, key=lambda step: step[1].options.get(TRANSACTION)):
        if transaction:
            session.execute("BEGIN")
        for number, action in members:
            try:
                session.execute(action.statement, action.parameters)
            except StatementFailed as error:
                raise StepFailed(
                    f"Step {number} of {len(decided.actions)} failed, to {action.sentence}. "
                    f"{error}. The steps before it are done"
                    f"{', but for those of the same transaction' if transaction else ''}. "
                    "Mend the cause and run the same task again, it goes on from there."
                ) from error
        if transaction:
            session.execute("COMMIT")


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        mutually_exclusive=[("tables", option) for option in TABLE_OPTIONS],
        required_one_of=[("name", "tables")],
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
