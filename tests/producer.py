#!/usr/bin/env python3
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""An application that writes to Kafka while something is done to its brokers.

It sends numbered records with acks=all as an idempotent producer, keeps the numbers that the
brokers acknowledged, and in the end reads the topic and looks for each of them. A record that
was not acknowledged may be there or not; an acknowledged one must be, once.

It goes on until the file ``--until`` exists. The result is a line of JSON; the exit status is
not 0 when an acknowledged record is missing or there twice, or when a send failed for good.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

RECORDS_A_SECOND = 500
SETTLE_S = 90.0
"""How long a record may take to be acknowledged, retries included, and reading to end."""


class Record:
    """What the brokers said, in seconds since the start."""

    def __init__(self, begun: Path) -> None:
        self._begun = begun
        self.acknowledged: set[int] = set()
        self.failed: Counter[str] = Counter()
        self.longest_pause_s = 0.0
        self.slowest_s = 0.0
        self._started = self._last = time.monotonic()

    def now_s(self) -> float:
        return round(time.monotonic() - self._started, 3)

    def keep(self, number: int, sent_at: float, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            self.fail(str(error))
            return
        if not self.acknowledged:
            self._begun.touch()
        now = time.monotonic()
        self.longest_pause_s = max(self.longest_pause_s, now - self._last)
        self.slowest_s = max(self.slowest_s, now - sent_at)
        self._last = now
        self.acknowledged.add(number)

    def fail(self, words: str) -> None:
        self.failed[words[:160]] += 1


def connection(options: argparse.Namespace, username: str, password_file: Path) -> dict[str, Any]:
    """How a client reaches the brokers; names in their certificates are verified."""
    return {
        "bootstrap.servers": options.bootstrap_servers,
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(options.ca_cert),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": username,
        "sasl.password": password_file.read_text(encoding="utf-8").strip(),
    }


def write(options: argparse.Namespace, record: Record, writer: str) -> int:
    """Send until told to stop; returns how many records were sent."""
    producer = Producer(
        {
            **connection(options, options.username, options.password_file),
            "acks": "all",
            "enable.idempotence": True,
            # With more in flight, it may send a batch under a new epoch that the broker
            # has already: https://github.com/confluentinc/librdkafka/issues/4953
            "max.in.flight.requests.per.connection": 1,
            "delivery.timeout.ms": int(SETTLE_S * 1000),
        }
    )
    began = time.monotonic()
    for number in count():
        if options.until.exists():
            break
        producer.poll(0)  # serves what the brokers said meanwhile
        while (wait := began + number / RECORDS_A_SECOND - time.monotonic()) > 0:
            producer.poll(wait)
        try:
            producer.produce(
                options.topic,
                key=str(number),
                value=f"{writer} {number}",
                on_delivery=partial(record.keep, number, time.monotonic()),
            )
        except BufferError as error:
            record.fail(str(error))
    for _ in range(producer.flush(SETTLE_S)):
        record.fail("neither acknowledged nor given up")
    return number


def read(options: argparse.Namespace, writer: str) -> Counter[int]:
    """How often each of this writer's records is in the topic."""
    consumer = Consumer(
        {
            **connection(options, options.reader, options.reader_password_file),
            "group.id": f"{options.reader}-{writer}",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    there = consumer.list_topics(options.topic, timeout=SETTLE_S).topics[options.topic].partitions
    consumer.assign([TopicPartition(options.topic, number, 0) for number in there])
    unread = set(there)
    found: Counter[int] = Counter()
    deadline = time.monotonic() + SETTLE_S
    while unread:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{options.topic} could not be read within {SETTLE_S:.0f} s")
        for message in consumer.consume(10_000, timeout=1.0):
            if message.error() is None:
                name, _, number = message.value().decode(errors="replace").partition(" ")
                if name == writer:
                    found[int(number)] += 1
            elif message.error().code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition())
            else:
                raise KafkaException(message.error())
    consumer.close()
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bootstrap-servers", required=True, help="separated by commas")
    parser.add_argument("--ca-cert", type=Path, required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--username", required=True)
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--reader", required=True, help="user that may read the topic")
    parser.add_argument("--reader-password-file", type=Path, required=True)
    parser.add_argument("--begun", type=Path, required=True, help="file to make when it writes")
    parser.add_argument("--until", type=Path, required=True, help="file that ends the writing")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    record = Record(options.begun)
    writer = str(uuid4())
    sent = write(options, record, writer)
    found = read(options, writer)
    missing = sorted(record.acknowledged - found.keys())
    twice = sorted(number for number, times in found.items() if times > 1)
    failed = sum(record.failed.values())
    print(
        json.dumps(
            {
                "sent": sent,
                "acknowledged": len(record.acknowledged),
                "missing": len(missing),
                "missing_numbers": missing[:20],
                "twice": len(twice),
                "failed": failed,
                "words": dict(record.failed.most_common(5)),
                "seconds": record.now_s(),
                "longest_pause_s": round(record.longest_pause_s, 3),
                "slowest_s": round(record.slowest_s, 3),
            }
        )
    )
    return 0 if record.acknowledged and not missing and not twice and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
