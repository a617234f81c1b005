#!/usr/bin/python
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The sample data of BSS in the tables of a Citus database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bss_dataset
short_description: Loads the sample data of BSS, the same rows on every machine
description:
  - Fills the tables C(products), C(services), C(customers) and C(orders) by C(COPY), in this order,
    with rows that depend on nothing but O(seed) and O(rows).
  - Goes on where it was interrupted. Each part is one transaction together with its record in the
    table C(public.bss_dataset), so a row is loaded once, whatever happens in between.
  - A table that has its rows is left alone, and rows that an application added stay.
  - A table that is empty although it is on record (it was truncated, or made anew) is loaded again.
  - Refuses another O(seed) and smaller counts for a table that has rows of the data already. More
    orders can be asked for at any time, more of the rest until there are orders.
version_added: 0.1.0
author: the bss.platform contributors
options:
  seed:
    description: Which data. Another seed gives other customers, prices and orders.
    type: int
    default: 1
  rows:
    description: How many rows of the data each table has in the end.
    type: dict
    default: {}
    suboptions:
      products:
        description: Things that can be ordered, at a price each.
        type: int
        default: 500
      services:
        description: What can be booked with them, at a monthly fee.
        type: int
        default: 40
      customers:
        description: Who orders. All joined in 2022 and 2023.
        type: int
        default: 100000
      orders:
        description:
          - Orders of 2024 and 2025. A fifth of the customers has 58 % of them.
          - The amount is the price of the product times the quantity, and the fee of the service.
        type: int
        default: 1000000
  time_limit:
    description:
      - Seconds after which no further part is begun, so that a loop can show how far it is.
      - Each run loads at least one part. Nothing means no limit.
    type: float
extends_documentation_fragment:
  - bss.platform.postgresql
  - bss.platform.attributes
"""

EXAMPLES = r"""
- name: Load all of it
  bss.platform.bss_dataset:
    login_unix_socket: /var/run/postgresql
    login_db: bss

- name: Load a tenth of it
  bss.platform.bss_dataset:
    login_unix_socket: /var/run/postgresql
    login_db: bss
    rows:
      customers: 10000
      orders: 100000

- name: Load it and show every five seconds how far it is (ansible-core 2.18)
  bss.platform.bss_dataset:
    login_unix_socket: /var/run/postgresql
    login_db: bss
    time_limit: 5
  register: batch
  loop: "{{ range(10000) | list }}"
  loop_control:
    label: "{{ batch.progress | default('failed') }}"
    break_when: batch.complete | default(true) or ansible_check_mode
"""

RETURN = r"""
plan:
  description: What was missing, one sentence a step.
  type: list
  elements: str
  returned: success
  sample: ["load orders: rows 350,001 to 1,000,000"]
complete:
  description: Whether all rows are there.
  type: bool
  returned: success
progress:
  description: How far it is, in a sentence.
  type: str
  returned: success
  sample: orders 450,000 of 1,000,000, 52,110 rows/s
loaded:
  description: How many rows of the data each table has.
  type: dict
  returned: success
  sample: {products: 500, services: 40, customers: 100000, orders: 450000}
rows:
  description: How many rows this run loaded.
  type: int
  returned: success
seconds:
  description: How long that took.
  type: float
  returned: success
queries:
  description: The writing statements that were sent.
  type: list
  elements: str
  returned: success
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.bss.platform.plugins.module_utils.bss_data import COLUMNS, Dataset
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

RECORD_TABLE = "public.bss_dataset"

# The rows of a table are loaded from the first to the last, so a number says how far it is.
CREATE_RECORD_TABLE = """
CREATE TABLE IF NOT EXISTS public.bss_dataset (
    table_name text   PRIMARY KEY,
    source     text   NOT NULL,
    rows       bigint NOT NULL
)"""

READ_RECORDS = "SELECT table_name, source, rows FROM public.bss_dataset"

SET_RECORD = """
INSERT INTO public.bss_dataset (table_name, source, rows) VALUES (%s, %s, %s)
ON CONFLICT (table_name) DO UPDATE SET source = excluded.source, rows = excluded.rows"""

# One loader at a time. One whose Ansible was stopped may still be in its last part.
TAKE_TURN = "SELECT pg_advisory_lock(hashtextextended('bss.platform.bss_dataset', 0))"
TURN_TIMEOUT_S = 60

# One transaction each: large enough that two-phase commit costs little, small enough
# that a slow machine does one in a few seconds.
ROWS_PER_PART = 25_000

LINES_PER_READ = 500


class AnotherLoad(PlatformError):
    """Another load holds the turn and did not end."""


@dataclass(frozen=True)
class Found:
    """What there is of one table."""

    exists: bool = False
    empty: bool = True
    source: str = ""
    """What the rows on record were made from; empty before there were any."""
    rows: int = 0
    """How many rows of the data are on record."""


class LoadFailed(PlatformError):
    """PostgreSQL refused rows; their part was rolled back."""


class Lines:
    """Lines as the file that COPY reads from."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def read(self, _size: int) -> bytes:
        """Some of the lines; psycopg2 sends whatever it is given, until nothing is."""
        return "".join(islice(self._lines, LINES_PER_READ)).encode()


def read(session: Session) -> dict[str, Found]:
    """What there is of each table of the data, by name."""
    records = {}
    if session.value("SELECT to_regclass(%s)", (RECORD_TABLE,)) is not None:
        records = {row["table_name"]: row for row in session.rows(READ_RECORDS)}
    found = {}
    for table in COLUMNS:
        if session.value("SELECT to_regclass(%s)", (table,)) is None:
            found[table] = Found()
            continue
        found[table] = Found(
            exists=True,
            # Not EXISTS (...): for that, Citus would fetch the whole table.
            empty=not session.rows(f"SELECT 1 FROM {table} LIMIT 1"),  # noqa: S608 (of COLUMNS)
            source=records.get(table, {}).get("source", ""),
            rows=records.get(table, {}).get("rows", 0),
        )
    return found


def plan(current: Mapping[str, Found], desired: Dataset) -> Plan:
    """One step a table that lacks rows, in the order of the foreign keys."""
    actions = []
    refusals = []
    referenced = [table for table in COLUMNS if table != "orders"]
    if min(desired.rows.values()) < 0 or (
        desired.rows["orders"] and not all(desired.rows[table] for table in referenced)
    ):
        refusals.append(
            Refusal(
                asked="rows " + ", ".join(f"{table}={desired.rows[table]}" for table in COLUMNS),
                found="the foreign keys of orders",
                why="counts are not negative, and an order needs a product, service and customer",
                remedy=f"ask for at least one row of {', '.join(referenced)}",
            )
        )
    for table, columns in COLUMNS.items():
        found = current[table]
        wanted = desired.rows[table]
        source = desired.source(table)
        start = 0 if found.empty else found.rows
        if not found.exists:
            refusals.append(
                Refusal(
                    asked=f"{wanted:,} rows in {table}",
                    found="no table of that name",
                    why="the data goes into the tables of BSS",
                    remedy="apply the migrations first (the role bss_workload, or site.yml)",
                )
            )
        elif start and found.source != source:
            refusals.append(
                Refusal(
                    asked=f"rows of {table} made from {source}",
                    found=f"{start:,} rows made from {found.source}",
                    why="rows of two data sets do not go together",
                    remedy=f"ask for what there is, or empty the table first (TRUNCATE {table})",
                )
            )
        elif start > max(wanted, 0):
            refusals.append(
                Refusal(
                    asked=f"{wanted:,} rows in {table}",
                    found=f"{start:,} rows",
                    why="loading never deletes",
                    remedy=f"ask for as many, or empty the table first (TRUNCATE {table})",
                )
            )
        elif start < wanted:
            actions.append(
                Action(
                    sentence=f"load {table}: rows {start + 1:,} to {wanted:,}",
                    statement=f"COPY {table} ({', '.join(columns)}) FROM STDIN",
                    options={"table": table, "source": source, "start": start, "stop": wanted},
                )
            )
    before = {table: 0 if found.empty else found.rows for table, found in current.items()}
    return Plan(
        actions=tuple(actions),
        before=before,
        after=dict(desired.rows),
        refusals=tuple(refusals),
    )


def apply(
    session: Session, steps: Plan, dataset: Dataset, time_limit: float | None
) -> dict[str, int]:
    """Load part after part until all is there or ``time_limit`` (seconds) is over.

    Returns how many rows of the data each table then has.
    """
    began = time.monotonic()
    loaded = dict(steps.before)
    for action in steps.actions:
        table = action.options["table"]
        lines = dataset.lines(table, action.options["start"], action.options["stop"])
        for start in range(action.options["start"], action.options["stop"], ROWS_PER_PART):
            stop = min(start + ROWS_PER_PART, action.options["stop"])
            try:
                with session.transaction():
                    session.copy(action.statement, Lines(islice(lines, stop - start)))
                    session.execute(SET_RECORD, (table, action.options["source"], stop))
            except StatementFailed as error:
                raise LoadFailed(
                    f"Asked was to load {table}, rows {start + 1:,} to {stop:,}, but {error}. "
                    "They were rolled back and those before them stay. Mend the cause (rows with "
                    f"the same keys that were not loaded by this module: TRUNCATE {table}) and "
                    "run the same task again; it goes on from there."
                ) from error
            loaded[table] = stop
            if time_limit is not None and time.monotonic() - began >= time_limit:
                return loaded
    return loaded


def take_turn(session: Session) -> None:
    """Keep other loads out until the session ends; raises AnotherLoad."""
    try:
        with session.transaction():
            session.rows("SELECT set_config('lock_timeout', %s, true)", (f"{TURN_TIMEOUT_S}s",))
            session.rows(TAKE_TURN)
            session.execute(CREATE_RECORD_TABLE)
    except StatementFailed as error:
        if error.sqlstate != "55P03":  # lock_not_available
            raise
        raise AnotherLoad(
            f"Another load has been under way on {session.name} for more than {TURN_TIMEOUT_S} s. "
            "Nothing was changed. Wait until it is done, then run the same task again."
        ) from error


def run(parameters: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Plan, and load unless ``check_mode``; returns what the module answers."""
    dataset = Dataset(parameters["seed"], parameters["rows"])
    session = connect(parameters)
    try:
        steps = plan(read(session), dataset)
        loaded = dict(steps.before)
        steps.raise_if_refused()
        began = time.monotonic()
        if steps.changed and not check_mode:
            take_turn(session)
            # Again, since another load may have gone on until now.
            steps = plan(read(session), dataset)
            steps.raise_if_refused()
            began = time.monotonic()
            loaded = apply(session, steps, dataset, parameters["time_limit"])
        seconds = time.monotonic() - began
        count = sum(loaded.values()) - sum(steps.before.values())
        return {
            "changed": steps.changed,
            "plan": steps.sentences,
            "diff": steps.diff,
            "queries": session.sent,
            "complete": loaded == dataset.rows,
            "progress": progress(loaded, dataset, count / seconds if count else 0),
            "loaded": loaded,
            "rows": count,
            "seconds": round(seconds, 3),
        }
    finally:
        session.close()


def progress(loaded: Mapping[str, int], dataset: Dataset, rate: float) -> str:
    """How far it is: the table being loaded, or all of them; ``rate`` in rows/s."""
    unfinished = [table for table in COLUMNS if loaded[table] < dataset.rows[table]]
    tables = unfinished[:1] or list(COLUMNS)
    parts = [f"{table} {loaded[table]:,} of {dataset.rows[table]:,}" for table in tables]
    if rate:
        parts.append(f"{rate:,.0f} rows/s")
    return ", ".join(parts)


def main() -> None:
    counts = {"products": 500, "services": 40, "customers": 100_000, "orders": 1_000_000}
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "seed": {"type": "int", "default": 1},
            "rows": {
                "type": "dict",
                "default": {},
                "options": {name: {"type": "int", "default": n} for name, n in counts.items()},
            },
            "time_limit": {"type": "float"},
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
