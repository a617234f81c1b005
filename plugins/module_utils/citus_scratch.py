# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Rows of our own, written through the coordinator and read back on every node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.checks import (
    CheckFailed,
    conclude,
    termination_raises,
)
from ansible_collections.bss.platform.plugins.module_utils.citus import Address, read_nodes
from ansible_collections.bss.platform.plugins.module_utils.citus_connection import connect_as_node
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError
from ansible_collections.bss.platform.plugins.module_utils.postgresql import Session

# ruff: noqa: S608 (statements are put together from constants)

SCHEMA = "bss_verify_scratch"
ACCOUNTS = 500
PAYMENTS_PER_ACCOUNT = 3

TABLES = (
    f"CREATE SCHEMA {SCHEMA}",
    f"CREATE TABLE {SCHEMA}.account (id bigint PRIMARY KEY, weight bigint NOT NULL)",
    f"CREATE TABLE {SCHEMA}.payment (account_id bigint NOT NULL, amount bigint NOT NULL)",
)

DISTRIBUTE_ACCOUNT = f"""
SELECT create_distributed_table('{SCHEMA}.account', 'id',
  colocate_with => 'none', shard_count => %s)
"""
DISTRIBUTE_PAYMENT = f"""
SELECT create_distributed_table('{SCHEMA}.payment', 'account_id',
  colocate_with => '{SCHEMA}.account')
"""

WRITE_ACCOUNT = f"""
INSERT INTO {SCHEMA}.account SELECT id, id % 7 FROM generate_series(1, {ACCOUNTS}) id
"""
WRITE_PAYMENT = f"""
INSERT INTO {SCHEMA}.payment SELECT id, id * number
FROM generate_series(1, {ACCOUNTS}) id, generate_series(1, {PAYMENTS_PER_ACCOUNT}) number
"""

READ = f"""
SELECT count(*) AS rows, coalesce(sum(p.amount * a.weight), 0)::bigint AS total
FROM {SCHEMA}.payment p JOIN {SCHEMA}.account a ON a.id = p.account_id
"""

# What READ must give, computed apart from any database.
EXPECTED = {
    "rows": ACCOUNTS * PAYMENTS_PER_ACCOUNT,
    "total": sum(
        id * number * (id % 7)
        for id in range(1, ACCOUNTS + 1)
        for number in range(1, PAYMENTS_PER_ACCOUNT + 1)
    ),
}


def read_back_everywhere(session: Session, password: str) -> str:
    """Probe: distribute two tables, fill them, join them on every node, remove them.

    ``password`` as in connect_as_node().
    """
    nodes = [node for node in read_nodes(session) if node.is_primary]
    shards = sum(node.shards for node in nodes)
    faults = []
    with _scratch_schema(session):
        for statement in TABLES:
            session.execute(statement)
        session.execute(DISTRIBUTE_ACCOUNT, (shards,))
        for statement in (DISTRIBUTE_PAYMENT, WRITE_ACCOUNT, WRITE_PAYMENT):
            session.execute(statement)
        for node in nodes:
            try:
                found = _read_on(session, node.address, password)
            except PlatformError as error:
                faults.append(str(error))
                continue
            if found != EXPECTED:
                faults.append(f"{node.address} reads {found}, written was {EXPECTED}")
    names = ", ".join(str(node.address) for node in nodes)
    return conclude(faults, f"{EXPECTED['rows']} rows in {shards} shards, read on {names}")


def _read_on(session: Session, address: Address, password: str) -> dict[str, Any]:
    node = connect_as_node(session, address, password)
    try:
        (row,) = node.rows(READ)
        return row
    finally:
        node.close()


@contextmanager
def _scratch_schema(session: Session) -> Iterator[None]:
    """No scratch schema at the start, and none at the end, however that comes.

    Two verifications at once would take it from each other, so the second refuses.
    """
    if not session.value("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (SCHEMA,)):
        raise CheckFailed("another verification is writing its rows now: run again after it")
    with termination_raises():
        try:
            _remove(session)
            yield
        finally:
            _remove(session)
            session.value("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (SCHEMA,))


def _remove(session: Session) -> None:
    session.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
