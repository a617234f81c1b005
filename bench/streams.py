# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What the bench sees of a region's streams: Flink by REST, alerts as a consumer has them.

It runs on the controller, beside the hosts of the lab, and takes little of what it measures: a
hundred alerts a second, one request to Flink.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from confluent_kafka import Consumer, Message, TopicPartition

ALERTS = "bss.fraud.alerts"
INPUTS = ("bss.order.events", "bss.customer.events")
WAIT_S = 10.0


@dataclass(frozen=True)
class Alert:
    arrived_ms: float
    pattern: str
    event_ids: tuple[str, ...]


class Flink:
    """A region's JobManager, as the operator's certificate reaches it."""

    def __init__(self, url: str, authority: Path) -> None:
        self._url = url
        self._authority = authority
        # One for each thread, kept: a handshake costs Flink more than an answer.
        self._kept = threading.local()

    def get(self, path: str) -> Any:
        """What it answers. Raises OSError (requests.RequestException)."""
        answer = self._session().get(self._url + path, timeout=WAIT_S)
        answer.raise_for_status()
        return answer.json()

    def _session(self) -> requests.Session:
        if not hasattr(self._kept, "session"):
            session = requests.Session()
            session.trust_env = False  # neither a proxy nor another authority
            session.verify = str(self._authority / "ca.crt")
            session.cert = (str(self._authority / "admin.crt"), str(self._authority / "admin.key"))
            self._kept.session = session
        kept: requests.Session = self._kept.session
        return kept

    def jobs(self) -> dict[str, str]:
        """Ids of the jobs whose tasks all run, by name."""
        return {
            job["name"]: job["jid"]
            for job in self.get("/jobs/overview")["jobs"]
            if job["state"] == "RUNNING" and job["tasks"]["running"] == job["tasks"]["total"]
        }

    def taskmanagers(self) -> set[str]:
        """Ids of those that have registered."""
        return {each["id"] for each in self.get("/taskmanagers")["taskmanagers"]}

    def pending(self, job_id: str) -> int | None:
        """Records that its sources have not read yet; None while they do not know."""
        counts = []
        for vertex in self.get(f"/jobs/{job_id}")["vertices"]:
            if not vertex["name"].startswith("Source"):
                continue
            path = f"/jobs/{job_id}/vertices/{vertex['id']}/subtasks/metrics"
            names = [each["id"] for each in self.get(path) if each["id"].endswith("pendingRecords")]
            found = self.get(f"{path}?agg=sum&get={','.join(names)}") if names else []
            if not found:
                return None
            counts += [round(each["sum"]) for each in found]
        return sum(counts)

    def cpu_s(self) -> float:
        """CPU time that its processes have taken, the SQL Gateway's aside."""
        path = "metrics?get=Status.JVM.CPU.Time"
        places = ["/jobmanager/"]
        places += [f"/taskmanagers/{each}/" for each in self.taskmanagers()]
        return (
            sum(float(each["value"]) for place in places for each in self.get(place + path)) / 1e9
        )


class Kafka:
    """A region's brokers, as their administrator reaches them from here."""

    def __init__(self, servers: list[str], password: str, authority: Path) -> None:
        self._settings = {
            "bootstrap.servers": ",".join(servers),
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "admin",
            "sasl.password": password,
            "ssl.ca.location": str(authority / "ca.crt"),
            "group.id": "bss-bench",  # the library asks for one; nothing is committed
            "enable.auto.commit": False,
            "isolation.level": "read_uncommitted",
            "fetch.wait.max.ms": 5,
        }

    def consumer(self, topic: str, from_ms: float | None = None) -> Consumer:
        """Reads a topic from a time, or from its end."""
        consumer = Consumer(self._settings)
        partitions = consumer.list_topics(topic, WAIT_S).topics[topic].partitions
        if from_ms is None:
            begin = [
                TopicPartition(
                    topic,
                    each,
                    consumer.get_watermark_offsets(TopicPartition(topic, each), WAIT_S)[1],
                )
                for each in partitions
            ]
        else:
            begin = consumer.offsets_for_times(
                [TopicPartition(topic, each, round(from_ms)) for each in partitions], WAIT_S
            )
        consumer.assign(begin)
        return consumer

    def records(self, topic: str, from_ms: float) -> Iterator[Message]:
        """What there is from a time on, until there is no more."""
        consumer = self.consumer(topic, from_ms)
        try:
            while records := consumer.consume(10_000, 3.0):
                yield from records
        finally:
            consumer.close()

    def last_event_ms(self) -> int:
        """Event time of the latest of the last events of all partitions; 0 where there is none."""
        latest = 0
        for topic in INPUTS:
            consumer = self.consumer(topic)
            try:
                for partition in consumer.assignment():
                    low, high = consumer.get_watermark_offsets(partition, WAIT_S)
                    if low == high:
                        continue
                    consumer.assign([TopicPartition(topic, partition.partition, high - 1)])
                    (record,) = consumer.consume(1, WAIT_S)
                    latest = max(latest, json.loads(record.value() or b"{}")["event_time"])
            finally:
                consumer.close()
        return latest

    def sent_at(self, from_ms: float, event_ids: set[str]) -> dict[str, int]:
        """When a producer sent the events of these ids, in ms since 1970."""
        wanted = {each.encode() for each in event_ids}
        pattern = re.compile(rb'"event_id": ?"([^"]+)"')
        sent = {}
        for topic in INPUTS:
            for record in self.records(topic, from_ms):
                found = pattern.search(record.value() or b"")
                if found and found.group(1) in wanted:
                    sent[found.group(1).decode()] = record.timestamp()[1]
        return sent


class Watch(threading.Thread):
    """Notes when alerts arrive, from its beginning to its end."""

    def __init__(self, kafka: Kafka) -> None:
        super().__init__(daemon=True)
        self.alerts: list[Alert] = []
        self._consumer = kafka.consumer(ALERTS)
        self._ended = threading.Event()

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.is_set():
            record = self._consumer.poll(0.2)
            if record is None or record.error():
                continue
            now = time.time() * 1000
            alert = json.loads(record.value() or b"{}")
            self.alerts.append(Alert(now, alert["pattern"], tuple(alert["event_ids"])))
        self._consumer.close()
