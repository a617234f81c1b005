# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""A record of our own, written to a topic of our own and read back."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from ansible_collections.bss.platform.plugins.module_utils import kafka_records
from ansible_collections.bss.platform.plugins.module_utils.checks import (
    CheckFailed,
    termination_raises,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_connection import (
    POLL_INTERVAL_S,
    SETTLE_TIMEOUT_S,
    Session,
    refused_parts,
    settle,
)
from ansible_collections.bss.platform.plugins.module_utils.kafka_wire import error_name

TOPIC = "bss_verify_scratch"
LEADER_NOT_AVAILABLE = 5
PASSING = (kafka_records.UNKNOWN_PARTITION, LEADER_NOT_AVAILABLE, 6, 100)
"""Errors of a broker that has not yet heard from the controllers of a new topic, or that it leads
it (NOT_LEADER_OR_FOLLOWER, UNKNOWN_TOPIC_ID)."""

Ask = Callable[[Mapping[str, UUID], tuple[str, int]], dict[str, dict[str, Any]]]


def read_back(session: Session, replicas: int) -> str:
    """Probe: make a topic, write a record to it, read it, delete the topic."""
    value = secrets.token_hex(16).encode()
    with _scratch_topic(session, replicas):
        _ask_leader(session, lambda ids, at: kafka_records.write(session, ids, 0, value, at))
        leader, part = _ask_leader(session, lambda ids, at: kafka_records.read(session, ids, 0, at))
    found = kafka_records.values(part)
    if found != [value]:
        raise CheckFailed(f"broker {leader} gives {found}, written was {value!r} alone")
    return f"a record in {replicas} replicas, written with acks=all, read from broker {leader}"


def _ask_leader(session: Session, ask: Ask) -> tuple[int, dict[str, Any]]:
    """The leader's number and its answer, as soon as there is one that knows itself as such."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        said = session.read(
            "Metadata", {"topics": [{"name": TOPIC}], "allow_auto_topic_creation": False}
        )
        brokers = {each["node_id"]: (each["host"], each["port"]) for each in said["brokers"]}
        topic = said["topics"][0]
        leader = topic["partitions"][0]["leader_id"] if topic["partitions"] else -1
        part = {"error_code": topic["error_code"] or LEADER_NOT_AVAILABLE}
        if leader in brokers:
            part = ask({TOPIC: topic["topic_id"]}, brokers[leader])[TOPIC]
        if not part["error_code"]:
            return leader, part
        if part["error_code"] not in PASSING or time.monotonic() > deadline:
            raise CheckFailed(f"{TOPIC} at broker {leader}: {error_name(part)}")
        time.sleep(POLL_INTERVAL_S)


@contextmanager
def _scratch_topic(session: Session, replicas: int) -> Iterator[None]:
    """No scratch topic at the start, and none at the end, however that comes."""
    with termination_raises():
        try:
            _remove(session)
            _create(session, replicas)
            yield
        finally:
            _remove(session)


def _create(session: Session, replicas: int) -> None:
    topic = {"name": TOPIC, "num_partitions": 1, "replication_factor": replicas}
    said = session.write("CreateTopics", {"topics": [topic], "timeout_ms": session.timeout_ms})
    refused = refused_parts(said)
    if refused:
        raise CheckFailed(f"Kafka refuses to make {TOPIC}: {refused[TOPIC]}")


def _remove(session: Session) -> None:
    kafka_records.read_ids(session, [TOPIC])  # a lost connection is replaced by reading only
    # Not only where it is seen: a broker hears of a new topic a moment later.
    body = {"topics": [{"name": TOPIC}], "timeout_ms": session.timeout_ms}
    (said,) = session.write("DeleteTopics", body)["responses"]
    if said["error_code"] not in (0, kafka_records.UNKNOWN_PARTITION):
        raise CheckFailed(f"Kafka refuses to delete {TOPIC}: {error_name(said)}: delete it by hand")
    settle(f"Deleting {TOPIC}", lambda: not kafka_records.read_ids(session, [TOPIC]))
