#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Versioned SQL migrations of a database, each applied once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sql_migration
short_description: Applies versioned SQL migrations, each once and in order
description:
  - Applies those of a list of migrations that the database has not had, in the order of the list,
    each in a transaction of its own together with its record in the table C(public.sql_migration).
  - Refuses, before anything is applied, whatever would make two databases differ that had the same
    list, namely a migration that was changed after it was applied, one that was applied and is no
    longer in the list, and a new one that stands before one that was applied.
  - A migration that fails is rolled back whole. Those before it stay, and the same task goes on
    from there once it is corrected.
notes:
  - A statement that cannot run in a transaction (C(CREATE INDEX CONCURRENTLY), C(VACUUM)) cannot be
    in a migration.
  - In Citus, a migration that alters a reference table and the distributed tables that refer to it
    begins with C(SET LOCAL citus.multi_shard_modify_mode = 'sequential').
version_added: 0.1.0
author: the bss.platform contributors
options:
  migrations:
    description: All migrations of the database, old and new, in the order they are to be applied.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What the migration is known by from then on, such as its file's name.
        type: str
        required: true
      sql:
        description:
          - The statements. How lines end does not count as a change, anything else does.
          - The transaction is opened and closed by the module, not by the statements.
        type: str
        required: true
  target:
    description:
      - Name of the last migration to apply; those after it stay pending.
      - Without it all are applied.
    type: str
extends_documentation_fragment:
  - bss.platform.postgresql
  - bss.platform.attributes
"""

EXAMPLES = r"""
- name: Bring the schema of BSS up to date
  bss.platform.sql_migration:
    login_unix_socket: /var/run/postgresql
    login_db: bss
    migrations:
      - name: 0001_customers.sql
        sql: "{{ lookup('ansible.builtin.file', 'migrations/0001_customers.sql') }}"
      - name: 0002_customer_status.sql
        sql: ALTER TABLE customers ADD COLUMN status text NOT NULL DEFAULT 'ACTIVE'
"""

RETURN = r"""
plan:
  description: What was done, or in check mode would be, one sentence a step.
  type: list
  elements: str
  returned: success
  sample: [apply migration 0002_customer_status.sql]
applied:
  description: Names of the migrations that the database has had, those of this run included.
  type: list
  elements: str
  returned: success
  sample: [0001_customers.sql, 0002_customer_status.sql]
pending:
  description:
    - Names of the migrations that the database has not had, in order.
    - After a run those behind O(target); in check mode those that a run would apply as well.
  type: list
  elements: str
  returned: success
  sample: []
queries:
  description: The writing statements that were sent.
  type: list
  elements: str
  returned: success
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.plan import (
    Action,
    Plan,
    PlatformError,
    Refusal,
)
from ansible_collections.bss.platform.plugins.module_utils.postgresql import (
    CONNECTION_OPTIONS,
    Session,
    StatementFailed,
    connect,
)
from ansible_collections.bss.platform.plugins.module_utils.sql_statements import split_statements

RECORD_TABLE = "public.sql_migration"

CREATE_RECORD_TABLE = """
CREATE TABLE IF NOT EXISTS public.sql_migration (
    name       text        PRIMARY KEY,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""

READ_RECORDS = """
SELECT name, checksum, applied_at::timestamptz(0)::text AS applied_at FROM public.sql_migration"""

HAS_RECORD = "SELECT 1 FROM public.sql_migration WHERE name = %s"

ADD_RECORD = "INSERT INTO public.sql_migration (name, checksum) VALUES (%s, %s)"

# Two runs at once take turns; the second finds the work done.
TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('bss.platform.sql_migration', 0))"

TRANSACTION_CONTROL = re.compile(
    r"(begin|start|commit|end|abort|rollback(?!.*\bto\b)|prepare\s+transaction)\b",
    re.IGNORECASE | re.DOTALL,
)


class MigrationFailed(PlatformError):
    """A statement of a migration was refused; the migration was rolled back."""


@dataclass(frozen=True)
class Migration:
    """A step in the life of a schema."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the statements, the same for a checkout with other line ends."""
        text = "\n".join(self.sql.splitlines()).strip()
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        return split_statements(self.sql)

    @property
    def transaction_control(self) -> list[str]:
        """Those of its statements that would end the transaction, or begin another."""
        return [text for text in self.statements if TRANSACTION_CONTROL.match(text)]


@dataclass(frozen=True)
class Record:
    """A migration that the database has had."""

    checksum: str
    applied_at: str


def read(session: Session) -> dict[str, Record] | None:
    """The migrations the database has had, by name; None before there was any."""
    if session.value("SELECT to_regclass(%s)", (RECORD_TABLE,)) is None:
        return None
    return {
        row["name"]: Record(row["checksum"], row["applied_at"])
        for row in session.rows(READ_RECORDS)
    }


def plan(
    current: Mapping[str, Record] | None, desired: Sequence[Migration], target: str | None
) -> Plan:
    """What brings a database that had ``current`` up to ``target`` (None: to the last)."""
    records = current or {}
    names = [migration.name for migration in desired]
    refusals = list(_refusals(records, desired))
    wanted = desired
    if target in names:
        wanted = desired[: names.index(target) + 1]
    elif target is not None:
        refusals.append(
            Refusal(
                asked=f"target {target}",
                found=f"the migrations {', '.join(names)}",
                why="no migration has that name",
                remedy="name one of the list, or leave target out",
            )
        )
    pending = [migration for migration in wanted if migration.name not in records]
    actions = [
        Action(
            sentence=f"apply migration {migration.name}",
            statement=migration.sql,
            options={"migration": migration},
        )
        for migration in pending
    ]
    if actions and current is None:
        actions.insert(
            0, Action(f"create table {RECORD_TABLE} for the record", CREATE_RECORD_TABLE)
        )
    before = {name: f"applied, {record.checksum[:12]}" for name, record in records.items()}
    after = {item.name: f"applied, {item.checksum[:12]}" for item in pending}
    return Plan(
        actions=tuple(actions),
        before=before,
        after={**before, **after},
        refusals=tuple(refusals),
    )


def _refusals(records: Mapping[str, Record], desired: Sequence[Migration]) -> list[Refusal]:
    refusals = []
    names = [migration.name for migration in desired]
    last_applied = max((names.index(name) for name in records if name in names), default=-1)
    for position, migration in enumerate(desired):
        asked = f"migration {migration.name}"
        record = records.get(migration.name)
        if position != names.index(migration.name):
            refusals.append(
                Refusal(
                    asked=asked,
                    found="another migration of that name in the list",
                    why="a name stands for one migration for ever",
                    remedy="give each migration a name of its own",
                )
            )
        elif record is None and position < last_applied:
            refusals.append(
                Refusal(
                    asked=asked,
                    found=f"{names[last_applied]}, which comes later and was applied",
                    why="a new database would get the two in the other order",
                    remedy="rename it so that it comes after all that were applied",
                )
            )
        elif record is not None and record.checksum != migration.checksum:
            refusals.append(
                Refusal(
                    asked=f"{asked} with checksum {migration.checksum[:12]}",
                    found=f"it was applied at {record.applied_at} with {record.checksum[:12]}",
                    why="it was changed after it was applied, so a new database would differ",
                    remedy="restore its text and write the change as a new migration",
                )
            )
        elif record is None and not migration.statements:
            refusals.append(
                Refusal(
                    asked=asked,
                    found="no statement",
                    why="there is nothing to apply",
                    remedy="write its statements or take it out of the list",
                )
            )
        elif record is None and migration.transaction_control:
            refusals.append(
                Refusal(
                    asked=asked,
                    found=f"the statement {migration.transaction_control[0]!r}",
                    why="a migration and its record are one transaction, which the module closes",
                    remedy="take the statement out",
                )
            )
    for name in records:
        if name not in names:
            refusals.append(
                Refusal(
                    asked=f"the migrations {', '.join(names)}",
                    found=f"{name}, applied at {records[name].applied_at}",
                    why=f"{name} is not in the list, which is older than the database or lost it",
                    remedy="use the list that has it",
                )
            )
    return refusals


def apply(session: Session, steps: Plan) -> None:
    """Apply each migration in a transaction of its own.

    Raises MigrationFailed; the migrations before the failed one stay applied.
    """
    for action in steps.actions:
        migration = action.options.get("migration")
        try:
            with session.transaction():
                session.rows(TAKE_TURN)
                if migration is None:
                    session.execute(action.statement)
                elif not session.rows(HAS_RECORD, (migration.name,)):
                    for statement in migration.statements:
                        session.execute(statement)
                    session.execute(ADD_RECORD, (migration.name, migration.checksum))
        except StatementFailed as error:
            raise MigrationFailed(
                f"Asked was to {action.sentence}, but {error}. It was rolled back whole and "
                "those before it stay. Correct it and run the same task again."
            ) from error


def run(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Plan, and apply unless ``check_mode``; returns what the module answers."""
    desired = [Migration(item["name"], item["sql"]) for item in parameters["migrations"]]
    session = connect(parameters)
    try:
        steps = plan(read(session), desired, parameters["target"])
        steps.raise_if_refused()
        if not check_mode:
            apply(session, steps)
        had = steps.before if check_mode else steps.after
        names = [migration.name for migration in desired]
        return {
            "changed": steps.changed,
            "plan": steps.sentences,
            "diff": steps.diff,
            "queries": session.sent,
            "applied": [name for name in names if name in had],
            "pending": [name for name in names if name not in had],
        }
    finally:
        session.close()


def main() -> None:
    migration = {
        "name": {"type": "str", "required": True},
        "sql": {"type": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "migrations": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": migration,
            },
            "target": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
