#!/usr/bin/env python3
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""An application that writes while something is done to its database.

It keeps the ids that the database acknowledged, reconnects when a connection
breaks and every hundred writes, reads its password again each time, and in the
end looks for every acknowledged id. An id that was not acknowledged may be there
or not; an acknowledged one must be, in the end.

It goes on until the file ``--until`` exists, and then until each of its clients
has written twenty times in a row: what was broken meanwhile has to heal by then.
The result is a line of JSON; the exit status is not 0 when an acknowledged id is
missing or the writes did not come back.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import psycopg2
from psycopg2.extensions import connection as Connection

TABLE = "acknowledged_writes"
# The second client writes two rows a statement: mostly rows of two shards, which
# Citus commits in two phases.
ROWS_OF_CLIENT = (1, 2, 1)
WRITES_OF_CONNECTION = 100
WRITES_IN_A_ROW = 20
PAUSE_S = 0.01
RECOVERY_S = 120
# What a client needs to notice a host that is gone without a word.
PATIENCE = {
    "connect_timeout": 2,
    "tcp_user_timeout": 3000,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "options": "-c statement_timeout=5s",
}


@dataclass
class Failures:
    """One way for a write to fail: how often, from when to when, in which words."""

    count: int = 0
    first_s: float | None = None
    last_s: float | None = None
    words: Counter[str] = field(default_factory=Counter)

    def add(self, at_s: float, error: psycopg2.Error) -> None:
        self.count += 1
        self.first_s = at_s if self.first_s is None else self.first_s
        self.last_s = at_s
        self.words[str(error).strip().split("\n")[0][:160]] += 1

    def as_json(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "from_s": self.first_s,
            "to_s": self.last_s,
            "words": dict(self.words.most_common(5)),
        }


class Record:
    """What the database said, in seconds since the start; safe for several threads."""

    def __init__(self, kept: TextIO) -> None:
        self.acknowledged: set[str] = set()
        self.connects = 0
        self.longest_pause_s = 0.0
        # On a connection that stays open; by a connection that breaks; instead
        # of a connection.
        self.refused, self.broken, self.unreachable = Failures(), Failures(), Failures()
        self._kept = kept
        self._lock = threading.Lock()
        self._started = self._last = time.monotonic()

    def now_s(self) -> float:
        return round(time.monotonic() - self._started, 3)

    def keep(self, ids: list[str]) -> None:
        """Remember acknowledged ids, also in the file, should this process be killed."""
        with self._lock:
            now = time.monotonic()
            self.longest_pause_s = max(self.longest_pause_s, now - self._last)
            self._last = now
            self.acknowledged.update(ids)
            self._kept.writelines(f"{identity}\n" for identity in ids)
            self._kept.flush()

    def connected(self) -> None:
        with self._lock:
            self.connects += 1

    def failed(self, failures: Failures, error: psycopg2.Error) -> None:
        with self._lock:
            failures.add(self.now_s(), error)


@dataclass(frozen=True)
class Database:
    """How to reach the database. The password is read from its file at each connect."""

    conninfo: str
    password_file: Path

    def connect(self) -> Connection:
        """Raises psycopg2.OperationalError."""
        password = self.password_file.read_text(encoding="utf-8").strip()
        connection = psycopg2.connect(self.conninfo, password=password, **PATIENCE)
        connection.autocommit = True
        return connection


class Client(threading.Thread):
    """One connection at a time, one write after the other."""

    def __init__(
        self, database: Database, record: Record, writer: str, rows: int, stop: Stop
    ) -> None:
        super().__init__(daemon=True)
        self._database = database
        self._record = record
        self._writer = writer
        self._rows = rows
        self._ending = stop
        self._connection: Connection | None = None
        self.settled = False

    def run(self) -> None:
        in_a_row = 0
        for number in count():
            if number % WRITES_OF_CONNECTION == 0:
                self._disconnect()
            in_a_row = in_a_row + 1 if self._write() else 0
            if self._ending.asked and in_a_row >= WRITES_IN_A_ROW:
                self.settled = True
                break
            if self._ending.overdue:
                break
            time.sleep(PAUSE_S)
        self._disconnect()

    def _write(self) -> bool:
        if self._connection is None:
            try:
                self._connection = self._database.connect()
            except psycopg2.OperationalError as error:
                self._record.failed(self._record.unreachable, error)
                return False
            self._record.connected()
        ids = [str(uuid4()) for _ in range(self._rows)]
        try:
            with self._connection.cursor() as cursor:
                values = ", ".join(["(%s, %s)"] * len(ids))
                cursor.execute(
                    f"INSERT INTO {TABLE} (id, writer) VALUES {values}",
                    [value for identity in ids for value in (identity, self._writer)],
                )
        except psycopg2.Error as error:
            if self._connection.closed:
                self._record.failed(self._record.broken, error)
                self._connection = None
            else:
                self._record.failed(self._record.refused, error)
            return False
        self._record.keep(ids)
        return True

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Stop:
    """Asked for by a file; overdue when the writes do not come back in time."""

    def __init__(self, file: Path, settle_s: float) -> None:
        self._file = file
        self._settle_s = settle_s
        self._asked_at: float | None = None

    @property
    def asked(self) -> bool:
        if self._asked_at is None and self._file.exists():
            self._asked_at = time.monotonic()
        return self._asked_at is not None

    @property
    def overdue(self) -> bool:
        return (
            self.asked
            and self._asked_at is not None
            and time.monotonic() - self._asked_at > self._settle_s
        )


def look_for(database: Database, record: Record, writer: str) -> tuple[set[str], float, str]:
    """The acknowledged ids that are not in the table, and the seconds until none was missing.

    Third, what the database says of its Citus: a stand-in keeps all rows on the coordinator.

    A group that failed over between the two phases of a commit holds its part of the
    transaction prepared until Citus finishes it (``citus.recover_2pc_interval``): such a row is
    late, not lost. Raises psycopg2.Error when the table cannot be read in the end.
    """
    began = time.monotonic()
    while True:
        late = time.monotonic() - began > RECOVERY_S
        try:
            connection = database.connect()
            with connection, connection.cursor() as cursor:
                cursor.execute(f"SELECT id::text FROM {TABLE} WHERE writer = %s", [writer])
                lost = record.acknowledged - {row[0] for row in cursor}
                cursor.execute("SELECT citus_version()")
                citus = str(cursor.fetchone()[0])
            connection.close()
            if late or not lost:
                return lost, round(time.monotonic() - began, 3), citus
        except psycopg2.Error:
            if late:
                raise
        time.sleep(1)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--conninfo", required=True, help="libpq's, without a password")
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--acknowledged", type=Path, required=True, help="file to keep ids in")
    parser.add_argument("--until", type=Path, required=True, help="file that ends the writing")
    parser.add_argument(
        "--settle-s", type=float, default=90.0, help="for the writes to come back after that"
    )
    return parser.parse_args()


def main() -> int:
    options = arguments()
    database = Database(options.conninfo, options.password_file)
    writer = str(uuid4())
    stop = Stop(options.until, options.settle_s)
    with options.acknowledged.open("w", encoding="utf-8") as kept:
        record = Record(kept)
        clients = [Client(database, record, writer, rows, stop) for rows in ROWS_OF_CLIENT]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    lost, complete_after_s, citus = look_for(database, record, writer)
    settled = all(client.settled for client in clients)
    result = {
        "acknowledged": len(record.acknowledged),
        "missing": len(lost),
        "missing_ids": sorted(lost)[:20],
        "complete_after_s": complete_after_s,
        "settled": settled,
        "citus": citus,
        "seconds": record.now_s(),
        "connects": record.connects,
        "longest_pause_s": round(record.longest_pause_s, 3),
        "refused": record.refused.as_json(),
        "broken": record.broken.as_json(),
        "unreachable": record.unreachable.as_json(),
    }
    print(json.dumps(result))
    return 0 if record.acknowledged and settled and not lost else 1


if __name__ == "__main__":
    sys.exit(main())
