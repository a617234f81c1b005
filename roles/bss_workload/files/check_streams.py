#!/usr/bin/env python3
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Compare what the jobs of BSS have made of its events with what they have to.

The events are made anew from what generate_events.py has kept: those that brokers acknowledged. It
waits for windows that have to close and alerts that have to come. The result is a line of JSON on
stdout. The exit status is 1 when something differs, and 2 when that could not be found out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol


def _collections() -> Path:
    """The directory that has this collection: as installed, or the one that a clone brings."""
    collection = Path(__file__).resolve().parents[3]
    if collection.parts[-3:] == ("ansible_collections", "bss", "platform"):
        return collection.parents[2]
    return collection / ".collections"


# Without Ansible, nobody else makes the collection importable.
sys.path.append(str(_collections()))

from ansible_collections.bss.platform.plugins.module_utils.bss_events import (  # noqa: E402
    Stream,
)
from ansible_collections.bss.platform.plugins.module_utils.bss_streams import (  # noqa: E402
    ALERT_TOPIC,
    ANALYTICS_TOPIC,
    LATE_TOPIC,
    Acknowledged,
    BadRecord,
    Comparison,
    Expected,
    alert_of,
    job_of_late,
    read_acknowledged,
    unknown_events,
    window_of,
)

CONNECT_S = 10.0
POLL_S = 1.0
# What has to be equal, and may come more than once only where that is promised.
WRONG = ("missing", "extra", "different")


class CannotCheck(Exception):
    """Nothing is known of whether the streams are right; says why."""


class Consumer(Protocol):
    """What is used of confluent_kafka.Consumer."""

    def poll(self, timeout: float) -> Any: ...

    def close(self) -> None: ...


class Outputs:
    """What the jobs have written, as it comes; knows when there is no more for now."""

    def __init__(self, consumer: Consumer, partitions: Iterable[tuple[str, int]]) -> None:
        self._consumer = consumer
        self._partitions = set(partitions)
        self._ended: set[tuple[str, int]] = set()

    @property
    def is_at_end(self) -> bool:
        return self._ended == self._partitions

    def take(self, timeout_s: float) -> tuple[str, bytes | None] | None:
        """The next record and its topic; None if none came. Raises CannotCheck."""
        record = self._consumer.poll(timeout_s)
        if record is None:
            return None
        place = (record.topic(), record.partition())
        if record.error() is None:
            self._ended.discard(place)
            return record.topic(), record.value()
        if record.error().name() == "_PARTITION_EOF":
            self._ended.add(place)
        elif not record.error().retriable():
            raise CannotCheck(f"{record.error().name()}: {record.error().str()}")
        return None


def connect(options: argparse.Namespace) -> Outputs:
    """A reader of what is committed, from the beginning. Raises CannotCheck."""
    # Here, since the tests bring a consumer of their own.
    from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition
    from confluent_kafka import Consumer as ConfluentConsumer

    login = {}
    if options.security_protocol.startswith("SASL"):
        login = {
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": options.username,
            "sasl.password": options.password_file.read_text(encoding="utf-8").strip(),
        }
    if options.ca_cert:
        login["ssl.ca.location"] = options.ca_cert
    reasons: dict[str, str] = {}
    try:
        consumer = ConfluentConsumer(
            {
                "bootstrap.servers": options.bootstrap_servers,
                "security.protocol": options.security_protocol,
                "ssl.endpoint.identification.algorithm": "https",
                **login,
                "isolation.level": "read_committed",
                "group.id": f"{options.username}-check-streams",  # it commits nothing
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "log_level": 2,
                "error_cb": lambda error: reasons.update({error.name(): error.str()}),
            }
        )
        try:
            metadata = consumer.list_topics(timeout=CONNECT_S)
        except KafkaException:
            consumer.poll(0)  # for the reasons
            raise
    except KafkaException as error:
        reasons.pop("_ALL_BROKERS_DOWN", None)  # follows from the others
        raise CannotCheck(
            f"no session with {options.bootstrap_servers} as {options.username}: "
            f"{'; '.join(reasons.values()) or error.args[0].str()}. Check that the brokers run and "
            f"are reached from here, the password (in {options.password_file}) and the authority "
            f"(in {options.ca_cert})."
        ) from error
    topics = (ANALYTICS_TOPIC, ALERT_TOPIC, LATE_TOPIC)
    if absent := [topic for topic in topics if topic not in metadata.topics]:
        raise CannotCheck(
            f"{options.username} sees no topic {', '.join(absent)}: site.yml declares topics, "
            f"users and ACLs."
        )
    places = [(topic, number) for topic in topics for number in metadata.topics[topic].partitions]
    consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in places])
    return Outputs(consumer, places)


def check(
    expected: Expected,
    outputs: Outputs,
    patience_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Read until all that is due has come and there is no more, or nothing due comes any longer.

    Raises CannotCheck.
    """
    windows = Comparison(expected.windows, expected.due_windows())
    if not windows.missing:
        raise CannotCheck(
            f"no window of {expected.events:,} events is due: they span too little time. Send more "
            f"of them, or fewer in a second of event time (bss_workload_event_time_rate)."
        )
    alerts = Comparison(expected.alerts, expected.alerts)
    late: Counter[str] = Counter()
    left, since = len(windows.missing) + len(alerts.missing), clock()
    while (left or not outputs.is_at_end) and clock() < since + patience_s:
        if record := outputs.take(POLL_S):
            topic, value = record
            if topic == ANALYTICS_TOPIC:
                windows.add(*window_of(value))
            elif topic == ALERT_TOPIC:
                alerts.add(*alert_of(value))
            else:
                late[job_of_late(value)] += 1
        now_left = len(windows.missing) + len(alerts.missing)
        if now_left < left:
            left, since = now_left, clock()
    return {
        "events": expected.events,
        "windows": windows.result(),
        "alerts": alerts.result(),
        "late": dict(late),
    }


def is_right(result: dict[str, Any]) -> bool:
    """Windows come exactly once; an alert at least once."""
    wrong = sum(result[stream][kind] for stream in ("windows", "alerts") for kind in WRONG)
    return not wrong and not result["windows"]["repeated"]


def read_runs(directories: Sequence[Path]) -> tuple[Stream, list[Acknowledged]]:
    """The stream of these runs of the generator, and what brokers acknowledged of it.

    Raises CannotCheck.
    """
    streams: dict[str, Any] = {}
    acknowledged: list[Acknowledged] = []
    for directory in directories:
        stream, failed = _reported(directory / "report.json")
        streams[json.dumps(stream, sort_keys=True)] = stream
        if failed:
            raise CannotCheck(
                f"{failed} events of {directory} were not acknowledged. Each may be "
                f"there or not, so what has to come of them is not known. Send others."
            )
        with (directory / "acknowledged.tsv").open(encoding="utf-8") as lines:
            acknowledged += read_acknowledged(lines)
    if len(streams) > 1:
        raise CannotCheck(
            f"the runs are of different streams: {' and '.join(streams)}. Name those of one."
        )
    return Stream(**next(iter(streams.values()))), acknowledged


def _reported(path: Path) -> tuple[dict[str, Any], int]:
    """The stream of a run, and how many of its events failed. Raises CannotCheck and OSError."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return report["stream"], report["failed"]
    except (ValueError, KeyError, TypeError) as error:
        raise CannotCheck(
            f"{path} is no whole report of generate_events.py ({error!r}). Send others."
        ) from error


def complaints(result: dict[str, Any], directories: Sequence[Path]) -> Iterator[str]:
    for stream in ("windows", "alerts"):
        for kind, examples in result[stream]["examples"].items():
            if kind in WRONG or stream == "windows":
                yield f"{stream}, {kind} ({result[stream][kind]:,}): {'; '.join(examples)}; ..."
    if result["unknown_events"]:
        yield (
            f"{result['unknown_events']:,} events before or between those of "
            f"{', '.join(map(str, directories))} are of others; what comes of these differs. Name "
            f"the directories of their runs as well."
        )


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "directories",
        type=Path,
        nargs="+",
        metavar="directory",
        help="what generate_events.py has kept; of several runs, each that went on from another",
    )
    parser.add_argument(
        "--patience-s",
        type=float,
        default=120,
        help="give up when nothing that is due has come for so long (default: 120)",
    )
    kafka = parser.add_argument_group("Kafka")
    kafka.add_argument("--bootstrap-servers", required=True, help="host:port,host:port")
    kafka.add_argument(
        "--security-protocol",
        choices=["SASL_SSL", "SASL_PLAINTEXT", "SSL", "PLAINTEXT"],
        default="SASL_SSL",
    )
    kafka.add_argument("--username", default="bss-reader")
    kafka.add_argument("--password-file", type=Path)
    kafka.add_argument("--ca-cert", help="who signs for the brokers, in PEM")
    options = parser.parse_args(words)
    if options.security_protocol.startswith("SASL") and not options.password_file:
        parser.error(f"{options.security_protocol} needs --password-file")
    return options


def main() -> int:
    options = arguments()
    began = time.monotonic()
    try:
        stream, acknowledged = read_runs(options.directories)
        outputs = connect(options)
        result = check(Expected(stream, acknowledged), outputs, options.patience_s)
    except (CannotCheck, BadRecord, OSError) as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        return 2
    result["unknown_events"] = unknown_events(acknowledged)
    result["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(result))
    if is_right(result):
        return 0
    for complaint in complaints(result, options.directories):
        print(f"{Path(__file__).name}: {complaint}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
