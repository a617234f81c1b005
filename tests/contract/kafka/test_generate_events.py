# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The program that sends the events of BSS, against a real cluster that loses a broker."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from kafka.admin import NewTopic

CHECKOUT = Path(__file__).resolve().parents[3]
PROGRAM = CHECKOUT / "roles/bss_workload/files/generate_events.py"
TOPICS = ("bss.customer.events", "bss.order.events")
PARTITIONS = 6


@pytest.fixture(scope="module")
def topics(kafka: Any) -> Iterator[None]:
    settings = {"min.insync.replicas": "2"}
    with kafka.admin() as admin:
        admin.create_topics(
            [NewTopic(name, PARTITIONS, 3, topic_configs=settings) for name in TOPICS]
        )
        yield
        admin.delete_topics(list(TOPICS))


def generator(kafka: Any, output: Path, *words: str) -> subprocess.Popen[str]:
    password_file = output.parent / "password"
    password_file.write_text(kafka.login["sasl_password"])
    return subprocess.Popen(
        [
            *(sys.executable, PROGRAM, "--bootstrap-servers", ",".join(kafka.servers)),
            *("--username", "admin", "--password-file", password_file),
            *("--ca-cert", kafka.ca_cert, "--output", output, *words),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    said, complaint = process.communicate(timeout=240)
    assert process.returncode == 0, said + complaint
    result: dict[str, Any] = json.loads(said)
    return result


def acknowledged(output: Path) -> dict[tuple[str, int, int], int]:
    """The number of the event that is at each place."""
    kept = {}
    for line in (output / "acknowledged.tsv").read_text().splitlines():
        topic, partition, first, numbers = line.split("\t")
        for index, number in enumerate(numbers.split(",")):
            kept[topic, int(partition), int(first) + index] = int(number)
    return kept


def in_topics(kafka: Any) -> dict[tuple[str, int, int], dict[str, Any]]:
    """Every event that there is, by its place, in the order of each partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": ",".join(kafka.servers),
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": kafka.login["sasl_username"],
            "sasl.password": kafka.login["sasl_password"],
            "ssl.ca.location": kafka.ca_cert,
            "group.id": "none",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    places = [
        TopicPartition(topic, number, OFFSET_BEGINNING)
        for topic in TOPICS
        for number in range(PARTITIONS)
    ]
    consumer.assign(places)
    unread = {(place.topic, place.partition) for place in places}
    found = {}
    while unread:
        record = consumer.poll(30)
        assert record is not None, f"nothing comes of {unread}"
        if record.error():
            assert record.error().name() == "_PARTITION_EOF", record.error()
            unread.remove((record.topic(), record.partition()))
            continue
        found[record.topic(), record.partition(), record.offset()] = {
            **json.loads(record.value()),
            "key": record.key().decode(),
        }
    consumer.close()
    return found


def test_what_is_acknowledged_survives_a_killed_broker(
    kafka: Any, topics: None, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    process = generator(kafka, output, "--rate", "1000", "--events", "30000", "--processes", "2")
    time.sleep(8)  # it is sending by then
    kafka.kill(2)
    kafka.start(2)
    result = ended(process)
    assert (result["acknowledged"], result["failed"], result["stop"]) == (30_000, 0, 30_000)
    # Or the broker did not matter: what it led waits until another one does.
    assert result["acknowledged_within_ms"]["p99"] > 1_000
    kept, there = acknowledged(output), in_topics(kafka)
    assert sorted(kept.values()) == list(range(30_000))
    lost = {
        place
        for place, number in kept.items()
        if place not in there or there[place]["event_id"] != f"1-{number}"
    }
    assert lost == set()
    assert len(there) == 30_000  # idempotent: what was sent again is there once
    assert all(event["key"] == event["customer_id"] for event in there.values())
    assert in_order(there)


def in_order(there: dict[tuple[str, int, int], dict[str, Any]]) -> bool:
    """Whether the events of each customer are in each topic in the order of their numbers."""
    last: dict[tuple[str, str], int] = {}
    for (topic, _partition, _offset), event in sorted(there.items()):
        number = int(event["event_id"].partition("-")[2])
        if number < last.get((topic, event["key"]), 0):
            return False
        last[topic, event["key"]] = number
    return True


def test_a_wrong_password_is_told(kafka: Any, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("not-Its-password")
    process = subprocess.run(
        [
            *(sys.executable, PROGRAM, "--bootstrap-servers", ",".join(kafka.servers)),
            *("--username", "admin", "--password-file", tmp_path / "password"),
            *("--ca-cert", kafka.ca_cert, "--output", tmp_path / "run", "--events", "10"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert process.returncode == 2
    assert "no session with" in process.stderr and "invalid credentials" in process.stderr
    assert "not-Its-password" not in process.stderr
