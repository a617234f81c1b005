# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What a job runs, and the mark of it that Flink keeps: the job's id.

Flink has no place for a mark that every kind of job keeps: a jar's main() may overwrite the job's
name and parameters. What it cannot change is the id, and a JobManager that recovers its jobs
recovers them under theirs. So the id says all that has to be decided by: whose job it is, what it
runs, and which one it is in the row of those that there were. Flink runs no id twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.bss.platform.plugins.module_utils.flink_secrets import masked, masked_sql
from ansible_collections.bss.platform.plugins.module_utils.flink_sql_text import normalised

_HASH_DIGITS = 12
_GENERATION_DIGITS = 8
_ID_DIGITS = 2 * _HASH_DIGITS + _GENERATION_DIGITS


@dataclass(frozen=True)
class Spec:
    """What a job runs: SQL or a jar, and with what."""

    sql: str | None = None
    jar_sha256: str | None = None
    entry_class: str | None = None
    args: tuple[str, ...] = ()
    parallelism: int | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    jar: str = ""
    """Where the jar lies on this host; that does not count."""

    @property
    def mark(self) -> str:
        """Equal for two that run the same; comments and white space of the SQL do not count."""
        parts = {
            "sql": None if self.sql is None else normalised(self.sql),
            "jar": self.jar_sha256,
            "entry_class": self.entry_class,
            "args": list(self.args),
            "parallelism": self.parallelism,
            "config": dict(self.config),
        }
        return _digest(json.dumps(parts, sort_keys=True))

    def to_record(self) -> dict[str, Any]:
        return {
            "sql": self.sql,
            "jar_sha256": self.jar_sha256,
            "entry_class": self.entry_class,
            "args": list(self.args),
            "parallelism": self.parallelism,
            "config": dict(self.config),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], jar: str) -> Spec:
        return cls(**{**record, "args": tuple(record["args"]), "jar": jar})

    @property
    def shown(self) -> dict[str, Any]:
        """For a diff: what is set, without secrets."""
        parts = {**masked(self.to_record()), "sql": self.sql and masked_sql(self.sql.strip())}
        return {key: value for key, value in parts.items() if value not in (None, [], {})}


@dataclass(frozen=True)
class Mark:
    """What a job's id says."""

    owner: str
    """Digest of the declared name."""
    spec: str
    """Digest of what it runs."""
    generation: int
    """1 for the first job of that name; each start counts it up."""


def owner_of(name: str) -> str:
    return _digest(name)


def job_id(name: str, spec_mark: str, generation: int) -> str:
    """The id under which to start the job."""
    return f"{owner_of(name)}{spec_mark}{generation:0{_GENERATION_DIGITS}x}"


def mark_of(of_job: str) -> Mark:
    """What the id of a job says; of one that is not ours, nothing that matches."""
    if len(of_job) != _ID_DIGITS:
        return Mark("", "", 0)
    return Mark(
        of_job[:_HASH_DIGITS],
        of_job[_HASH_DIGITS : 2 * _HASH_DIGITS],
        int(of_job[2 * _HASH_DIGITS :], 16),
    )


def trigger_id(of_job: str, attempt: int) -> str:
    """An id for the savepoint of a stop that a repeated task finds again, instead of a second."""
    return hashlib.sha256(f"{of_job} stop {attempt}".encode()).hexdigest()[:32]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]
