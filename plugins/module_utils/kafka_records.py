# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Single records, offered to topics and read from them, as checks need it; no client for data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import Session
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import error_name
from ansible_collections.bss.platform.plugins.module_utils.plan import PlatformError

with suppress(ImportError):  # reported by kafka_connection.connect(), as a sentence
    from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

UNKNOWN_PARTITION = 3
TOPIC_AUTHORIZATION_FAILED = 29

ALL_IN_SYNC = -1
RECORD_FORMAT = 2
UNCOMPRESSED = 0
MAX_BYTES = 64 * 1024
MAX_WAIT_MS = 5000
NO_PARTITION = 2**31 - 1
"""A number that no partition has: rights are judged before it is looked for."""


class RightUnknown(PlatformError):
    """Kafka answers something else than whether a user has a right."""


def read_ids(session: Session, names: Iterable[str]) -> dict[str, UUID]:
    """The ids of those of these topics that exist; records are sent by them."""
    asked = [{"name": name} for name in names]
    said = session.read("Metadata", {"topics": asked, "allow_auto_topic_creation": False})
    return {each["name"]: each["topic_id"] for each in said["topics"] if not each["error_code"]}


def write(
    session: Session,
    topics: Mapping[str, UUID],
    partition: int,
    value: bytes,
    broker: tuple[str, int] | None = None,
) -> dict[str, dict[str, Any]]:
    """Offer a record to a partition of each of these topics; what was said of it, by topic.

    A record that is taken is one that all replicas in sync have.
    """
    data = [
        {
            "name": name,
            "topic_id": topic_id,
            "partition_data": [{"index": partition, "records": batch(value)}],
        }
        for name, topic_id in topics.items()
    ]
    said = session.write(
        "Produce",
        {
            "transactional_id": None,
            "acks": ALL_IN_SYNC,
            "timeout_ms": session.timeout_ms,
            "topic_data": data,
        },
        shown={"topics": [*topics], "partition": partition},
        broker=broker,
    )
    return _by_topic(said, "partition_responses", topics)


def read(
    session: Session,
    topics: Mapping[str, UUID],
    partition: int,
    broker: tuple[str, int] | None = None,
) -> dict[str, dict[str, Any]]:
    """The first records of a partition of each of these topics, as Kafka answers, by topic."""
    asked = [
        {
            "topic": name,
            "topic_id": topic_id,
            "partitions": [
                {"partition": partition, "fetch_offset": 0, "partition_max_bytes": MAX_BYTES}
            ],
        }
        for name, topic_id in topics.items()
    ]
    said = session.read(
        "Fetch",
        {"max_wait_ms": MAX_WAIT_MS, "min_bytes": 1, "max_bytes": MAX_BYTES, "topics": asked},
        broker=broker,
    )
    return _by_topic(said, "partitions", topics)


def values(part: Mapping[str, Any]) -> list[bytes]:
    """The values of the records in a part of what read() returns."""
    records = MemoryRecords(bytes(part["records"] or b""))
    return [bytes(record.value) for batch in records for record in batch]


def writable(session: Session, topics: Mapping[str, UUID]) -> set[str]:
    """Which of these topics the session's user may write to; nothing is written. As readable()."""
    return _permitted(write(session, topics, NO_PARTITION, b"")) if topics else set()


def readable(session: Session, topics: Mapping[str, UUID]) -> set[str]:
    """Which of these topics the session's user may read. Raises RightUnknown."""
    return _permitted(read(session, topics, NO_PARTITION)) if topics else set()


def _permitted(parts: Mapping[str, Mapping[str, Any]]) -> set[str]:
    for name, part in parts.items():
        if part["error_code"] not in (TOPIC_AUTHORIZATION_FAILED, UNKNOWN_PARTITION):
            raise RightUnknown(f"asked for a right on {name}, Kafka answers {error_name(part)}")
    return {name for name, part in parts.items() if part["error_code"] == UNKNOWN_PARTITION}


def batch(value: bytes) -> bytes:
    """A record without a key, as Produce takes it."""
    builder = MemoryRecordsBuilder(RECORD_FORMAT, UNCOMPRESSED, MAX_BYTES)
    builder.append(timestamp=int(time.time() * 1000), key=None, value=value)
    builder.close()
    return bytes(builder.buffer())


def _by_topic(
    said: Mapping[str, Any], parts: str, topics: Mapping[str, UUID]
) -> dict[str, dict[str, Any]]:
    """The one partition's part of a response, by topic. Older brokers answer with names."""
    names = {topic_id: name for name, topic_id in topics.items()}
    return {
        names.get(each.get("topic_id")) or each.get("name") or each["topic"]: each[parts][0]
        for each in said["responses"]
    }
