# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Shards on the move: what a rebalance would do, what one does, and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.citus import (
    Address,
    ask_nodes,
    read_nodes,
)
from ansible_collections.bss.platform.plugins.module_utils.plan import Action, PlatformError
from ansible_collections.bss.platform.plugins.module_utils.postgresql import (
    Session,
    StatementFailed,
)

QUERY_CANCELED = "57014"
JOB_LOOK_S = 5.0
"""While a job runs, its tasks are looked at this often."""
STUCK_AFTER_S = 30.0
"""How long a node may be away while a job wants it: longer than a failover by Patroni."""


class RebalanceFailed(PlatformError):
    """A rebalance ended otherwise than by finishing."""


class RebalanceStuck(PlatformError):
    """A running rebalance waits for a node that does not answer."""


class RebalanceUnfinished(PlatformError):
    """The deadline passed while shards were still being moved."""


@dataclass(frozen=True)
class Move:
    """A shard that a rebalance would move now; colocated shards each have their own."""

    table: str
    source: Address
    target: Address


@dataclass(frozen=True)
class Job:
    """A background rebalance."""

    job_id: int
    state: str
    """scheduled, running, cancelling, failing; finished, cancelled, failed."""
    tasks: int
    tasks_done: int
    trouble: str | None
    """The last error of a task that failed or is being tried again."""
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def running(self) -> bool:
        return self.state not in ("finished", "cancelled", "failed")

    @property
    def progress(self) -> str:
        return f"{self.tasks_done} of {self.tasks} steps done"

    def facts(self) -> dict[str, Any]:
        """The job as modules return it."""
        return {
            "job": self.job_id,
            "state": self.state,
            "tasks": self.tasks,
            "tasks_done": self.tasks_done,
            "trouble": self.trouble,
            "started_at": self.started_at and self.started_at.isoformat(),
            "finished_at": self.finished_at and self.finished_at.isoformat(),
        }


def read_strategies(session: Session) -> tuple[str, ...]:
    """Names of the rebalance strategies that the cluster knows."""
    rows = session.rows("SELECT name FROM pg_dist_rebalance_strategy ORDER BY name")
    return tuple(row["name"] for row in rows)


def read_moves(session: Session, strategy: str | None) -> tuple[Move, ...]:
    """What a rebalance would move now; empty when the shards lie well.

    Fails when a node does not answer, since the strategy asks it for sizes.
    """
    rows = session.rows(
        "SELECT table_name::text AS table_name, sourcename, sourceport, targetname, targetport"
        " FROM get_rebalance_table_shards_plan(rebalance_strategy => %s)",
        (strategy,),
    )
    return tuple(
        Move(
            row["table_name"],
            Address(row["sourcename"], row["sourceport"]),
            Address(row["targetname"], row["targetport"]),
        )
        for row in rows
    )


def read_reference_gaps(session: Session) -> tuple[int, tuple[Address, ...]]:
    """How many reference tables there are, and the nodes that lack at least one of them."""
    rows = session.rows(
        """
        WITH reference AS (
          SELECT shardid FROM pg_dist_shard JOIN pg_dist_partition USING (logicalrelid)
           WHERE partmethod = 'n' AND repmodel = 't')
        SELECT (SELECT count(*) FROM reference) AS tables, nodename, nodeport
          FROM (SELECT 1) AS always
          LEFT JOIN pg_dist_node n
            ON noderole = 'primary' AND isactive
           AND EXISTS (SELECT FROM reference r WHERE NOT EXISTS (
                         SELECT FROM pg_dist_placement p
                          WHERE p.shardid = r.shardid AND p.groupid = n.groupid))
         ORDER BY nodename, nodeport
        """
    )
    return rows[0]["tables"], tuple(
        Address(row["nodename"], row["nodeport"]) for row in rows if row["nodename"] is not None
    )


def read_tables_without_identity(session: Session) -> dict[str, frozenset[int]]:
    """Distributed tables whose rows logical replication cannot tell apart: table -> groups."""
    rows = session.rows(
        """
        SELECT logicalrelid::text AS table_name, array_agg(DISTINCT groupid) AS groups
          FROM pg_dist_partition t
          JOIN pg_class c ON c.oid = t.logicalrelid
          JOIN pg_dist_shard USING (logicalrelid)
          JOIN pg_dist_placement USING (shardid)
         WHERE (partmethod <> 'n' OR (repmodel <> 't' AND colocationid <> 0))
           AND relreplident <> 'f'
           AND NOT EXISTS (SELECT FROM pg_index i
                            WHERE i.indrelid = c.oid
                              AND ((relreplident = 'd' AND i.indisprimary)
                                   OR (relreplident = 'i' AND i.indisreplident)))
         GROUP BY logicalrelid
        """
    )
    return {row["table_name"]: frozenset(row["groups"]) for row in rows}


def read_job(session: Session, job_id: int | None = None) -> Job | None:
    """That background rebalance, or the latest; None when there was none."""
    rows = session.rows(
        """
        SELECT job_id, state::text AS state, started_at, finished_at,
               count(task_id) AS tasks, count(*) FILTER (WHERE status = 'done') AS tasks_done,
               (array_agg(message ORDER BY retry_count DESC)
                  FILTER (WHERE status = 'error' OR retry_count > 0 AND status <> 'done'))[1]
                 AS trouble
          FROM pg_dist_background_job
          LEFT JOIN pg_dist_background_task USING (job_id)
         WHERE job_type = 'rebalance' AND job_id = coalesce(%s, job_id)
         GROUP BY job_id
         ORDER BY job_id DESC
         LIMIT 1
        """,
        (job_id,),
    )
    if not rows:
        return None
    row = rows[0]
    # The first line is the error, the rest says which background process met it.
    trouble = row["trouble"] and row["trouble"].splitlines()[0].removeprefix("ERROR: ")
    return Job(
        job_id=row["job_id"],
        state=row["state"],
        tasks=row["tasks"],
        tasks_done=row["tasks_done"],
        trouble=trouble or None,
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )


def follow_job(session: Session, job_id: int, deadline: float) -> Job:
    """Wait until the job has finished; ``deadline`` is a time of time.monotonic().

    Raises RebalanceFailed when it ended otherwise, RebalanceStuck when it waits for a
    node that stays away, RebalanceUnfinished at the deadline. The job runs on in the
    last two, and following it again joins it.
    """
    away_since: float | None = None
    while True:
        job = read_job(session, job_id)
        if job is None or job.state in ("cancelled", "failed"):
            state, trouble = (job.state, job.trouble) if job else ("gone", None)
            raise RebalanceFailed(
                f"Rebalance job {job_id} was to finish and is {state}: "
                f"{trouble or 'somebody stopped it'}. "
                "What it had moved stays moved and every shard is whole. "
                "Mend the cause and run the same task again: it moves the rest."
            )
        if not job.running:
            return job
        away = _nodes_away(session) if job.trouble else []
        now = time.monotonic()
        away_since = (away_since or now) if away else None
        if away_since is not None and now - away_since >= STUCK_AFTER_S:
            raise RebalanceStuck(
                f"Rebalance job {job_id} ({job.progress}) waits for "
                f"{', '.join(map(str, away))}, which does not answer: {job.trouble}. Citus keeps "
                "trying and every shard is whole. Bring the node back and run the same task "
                "again: it joins the job. Or end the job with SELECT citus_rebalance_stop()."
            )
        if now >= deadline:
            raise RebalanceUnfinished(
                f"Rebalance job {job_id} was to finish within the timeout and still runs "
                f"({job.progress}){': ' + job.trouble if job.trouble else ''}. It goes on in the "
                "background. Run the same task again, which joins it, or raise timeout."
            )
        with statement_timeout(session, min(JOB_LOOK_S, deadline - now)):
            try:
                session.rows("SELECT citus_job_wait(%s)", (job_id,))
            except StatementFailed as error:
                if error.sqlstate != QUERY_CANCELED:
                    raise


@contextmanager
def statement_timeout(session: Session, seconds: float) -> Iterator[None]:
    """Let the server cancel any statement inside that takes longer."""
    setting = "SELECT set_config('statement_timeout', %s, false)"
    session.rows(setting, (f"{max(1, round(seconds * 1000))}ms",))
    yield
    session.rows(setting, ("0",))


def copy_reference_tables(addresses: Sequence[Address], transfer_mode: str) -> Action:
    return Action(
        f"copy the reference tables to {', '.join(map(str, addresses))}",
        "SELECT replicate_reference_tables(%s)",
        (transfer_mode,),
    )


def _nodes_away(session: Session) -> list[Address]:
    nodes = [node for node in read_nodes(session) if node.is_primary and node.active]
    answers = ask_nodes(session, [node.address for node in nodes])
    return sorted(address for address, answer in answers.items() if answer.trouble)
