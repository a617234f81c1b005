#!/usr/bin/env python3
# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Send events of BSS to Kafka, and keep what the brokers acknowledged.

What the events are is in plugins/module_utils/bss_events.py; this sends them. Progress goes to
stderr, the result as a line of JSON to stdout. The exit status is 1 when an event was not
acknowledged: such an event may be there or not.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TextIO


def _collections() -> Path:
    """The directory that has this collection: as installed, or the one that a clone brings."""
    collection = Path(__file__).resolve().parents[3]
    if collection.parts[-3:] == ("ansible_collections", "bss", "platform"):
        return collection.parents[2]
    return collection / ".collections"


# Without Ansible, nobody else makes the collection importable.
sys.path.append(str(_collections()))

from ansible_collections.bss.platform.plugins.module_utils.bss_events import (  # noqa: E402
    Event,
    ImpossibleStream,
    Stream,
)

# So many events at most are sent between two looks at what the brokers say.
STEP = 100
# How far one process may be ahead of the slowest: it adds to the disorder.
AHEAD_MS = 500
# The library counts whole milliseconds: to wait for less is not to wait at all.
NAP_S = 0.001
PROGRESS_S = 5.0
FLUSH_S = 1.0
CONNECT_S = 10.0
STATISTICS_MS = 500
RUN = 1000
FAILED_NUMBERS = 100
# Buckets of latency are 1 % wide, and so exact are percentiles.
BUCKET = math.log(1.01)


class CannotSend(Exception):
    """A process could not begin, or ended before its time; says why."""


class Producer(Protocol):
    """What is used of confluent_kafka.Producer."""

    def produce(
        self, topic: str, value: bytes, key: bytes, on_delivery: Callable[[Any, Any], None]
    ) -> None: ...

    def poll(self, timeout: float) -> int: ...

    def flush(self, timeout: float) -> int: ...


class Latencies:
    """How long acknowledgements took, as a histogram that needs no memory for each."""

    def __init__(self) -> None:
        self.buckets: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        self.buckets[math.ceil(math.log(max(seconds, 1e-6) * 1e6) / BUCKET)] += 1

    def percentile_ms(self, percent: float) -> float | None:
        """The least time within which so many of the acknowledgements came; None of none."""
        rank = math.ceil(sum(self.buckets.values()) * percent / 100)
        for bucket in sorted(self.buckets):
            rank -= self.buckets[bucket]
            if rank <= 0:
                return round(math.exp(bucket * BUCKET) / 1000, 2)
        return None


class Acknowledged:
    """Writes what was acknowledged: topic, partition, first offset, numbers of the events.

    A line holds events that lie one behind the other, so that millions need little room.
    """

    def __init__(self, kept: TextIO) -> None:
        self._kept = kept
        self._runs: dict[tuple[str, int], tuple[int, list[int]]] = {}
        self._flushed_at = time.monotonic()

    def add(self, topic: str, partition: int, offset: int, number: int) -> None:
        first, numbers = self._runs.get((topic, partition), (-1, []))
        if first + len(numbers) == offset and len(numbers) < RUN:
            numbers.append(number)
        else:
            if numbers:
                self._write(topic, partition)
            self._runs[topic, partition] = (offset, [number])

    def flush_in_time(self) -> None:
        """Write all every now and then, should this process be killed."""
        if time.monotonic() - self._flushed_at > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        for topic, partition in list(self._runs):
            self._write(topic, partition)
        self._kept.flush()
        self._flushed_at = time.monotonic()

    def _write(self, topic: str, partition: int) -> None:
        first, numbers = self._runs.pop((topic, partition))
        self._kept.write(f"{topic}\t{partition}\t{first}\t{','.join(map(str, numbers))}\n")


def merge_acknowledged(output: Path, processes: int) -> None:
    """Make one file of those of the processes."""
    with (output / "acknowledged.tsv").open("w", encoding="utf-8") as merged:
        for process in range(processes):
            part = acknowledged_by(output, process)
            if part.exists():
                with part.open(encoding="utf-8") as lines:
                    # A process that was killed may have left half a line.
                    merged.writelines(line for line in lines if line.endswith("\n"))
                part.unlink()


def acknowledged_by(output: Path, process: int) -> Path:
    return output / f"acknowledged-{process}.tsv"


@dataclass
class Sent:
    """What one process has done."""

    sent: int = 0
    acknowledged: int = 0
    failed: int = 0
    retried: int = 0
    cpu_s: float = 0.0
    behind_s: float = 0.0
    """How far it was behind the rate, at most."""
    errors: Counter[str] = field(default_factory=Counter)
    failed_numbers: list[int] = field(default_factory=list)
    """The first of them."""
    latencies: Latencies = field(default_factory=Latencies)


class Schedule:
    """Which numbers there are, when each is due, and where that ends.

    Every process goes through all of them and sends the events of its own customers.
    """

    def __init__(self, start: int, stop: int | None, rate: int, processes: int, ahead: int):
        self.start = start
        self.behind_s = 0.0
        """How far this process was behind the rate, at most."""
        self._rate = rate
        self._step = min(max(rate // 1000, 1), STEP) if rate else STEP
        self._ahead = max(ahead, self._step)
        # Shared: how far each process is, whether it has ended, and where all of them stop.
        self._reached = multiprocessing.Array("q", [start] * processes, lock=False)
        self._gone = multiprocessing.Array("b", processes, lock=False)
        self._stop = multiprocessing.Value("q", -1 if stop is None else stop)

    @property
    def stop(self) -> int:
        """The number behind the last one; -1 while that is open."""
        return self._stop.value

    def end(self) -> None:
        """Let all processes end where the one that is furthest ends its step."""
        with self._stop.get_lock():
            stop = max(self._reached) + self._step
            if self._stop.value < 0 or stop < self._stop.value:
                self._stop.value = stop

    def steps(
        self, process: int, began: float, meanwhile: Callable[[float], None]
    ) -> Iterator[range]:
        """All numbers, a few at a time, when they are due and the slowest process is near.

        Until then, and between any two, ``meanwhile`` is called with the seconds it may take.
        """
        first = self.start
        while True:
            with self._stop.get_lock():
                self._reached[process] = first
                stop = self._stop.value
            if 0 <= stop <= first:
                return
            meanwhile(0)
            while first > self._slowest() + self._ahead:
                meanwhile(NAP_S)
            if self._rate:
                due = began + (first - self.start) / self._rate
                while (early := due - time.monotonic()) > 0:
                    meanwhile(max(early, NAP_S))
                self.behind_s = max(self.behind_s, -early)
            step = range(first, first + self._step)
            yield step if stop < 0 else range(first, min(step.stop, stop))
            first = step.stop

    def leave(self, process: int) -> None:
        """Nobody is to wait for this process any more."""
        self._gone[process] = True

    def _slowest(self) -> int:
        return min(
            (at for at, gone in zip(self._reached, self._gone, strict=True) if not gone),
            default=self.start,
        )


class Sender:
    """Sends events and notes what became of each."""

    def __init__(self, producer: Producer, acknowledged: Acknowledged) -> None:
        self.result = Sent()
        self._producer = producer
        self._acknowledged = acknowledged

    def send(self, event: Event) -> None:
        """Hand an event to the producer, once few enough are under way."""
        self.result.sent += 1
        said = partial(self._on_delivery, event.number)
        while True:
            try:
                self._producer.produce(event.topic, event.value, event.key, on_delivery=said)
                return
            except BufferError:  # as many as may be
                self._producer.poll(NAP_S)
            except Exception as error:  # of any kind, the event was not sent
                self._note_failure(event.number, str(error))
                return

    def listen(self, seconds: float) -> None:
        """Take in what the brokers have said, or say in that time."""
        self._producer.poll(seconds)
        self._acknowledged.flush_in_time()

    def finish(self, patience_s: float) -> Sent:
        """Wait until it is known of every event what became of it."""
        if unknown := self._producer.flush(patience_s):
            self.result.errors["no answer"] += unknown
            self.result.failed += unknown
        self._acknowledged.flush()
        return self.result

    # Called by the producer's poll and flush, hence in this thread.
    def _on_delivery(self, number: int, error: Any, message: Any) -> None:
        if error is not None:
            self._note_failure(number, f"{error.name()}: {error.str()}")
            return
        self._acknowledged.add(message.topic(), message.partition(), message.offset(), number)
        self.result.latencies.add(message.latency())
        self.result.acknowledged += 1

    def _note_failure(self, number: int, error: str) -> None:
        self.result.errors[error[:160]] += 1
        if len(self.result.failed_numbers) < FAILED_NUMBERS:
            self.result.failed_numbers.append(number)
        self.result.failed += 1


class Statistics:
    """What the producer says of itself every now and then."""

    def __init__(self) -> None:
        self._transmitted: int | None = None

    def note(self, said: str) -> None:
        self._transmitted = json.loads(said)["txmsgs"]

    def retried(self, producer: Producer, sent: int) -> int:
        """How many of the events that were sent went to a broker once more."""
        self._transmitted = None  # what it said before the last of them
        while self._transmitted is None:
            producer.poll(STATISTICS_MS / 1000)
        return max(self._transmitted - sent, 0)


def connect(options: argparse.Namespace) -> tuple[Producer, Statistics]:
    """A producer that loses nothing and writes nothing twice; raises CannotSend."""
    # Here, since what only makes events needs no library.
    from confluent_kafka import KafkaException
    from confluent_kafka import Producer as ConfluentProducer

    login = {}
    if options.security_protocol.startswith("SASL"):
        login = {
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": options.username,
            "sasl.password": options.password_file.read_text(encoding="utf-8").strip(),
        }
    if options.ca_cert:
        login["ssl.ca.location"] = options.ca_cert
    statistics = Statistics()
    reasons: dict[str, str] = {}
    try:
        producer = ConfluentProducer(
            {
                "bootstrap.servers": options.bootstrap_servers,
                "security.protocol": options.security_protocol,
                "ssl.endpoint.identification.algorithm": "https",
                **login,
                "acks": "all",
                "enable.idempotence": True,
                # With more in flight, it may send a batch under a new epoch that the broker
                # has already: https://github.com/confluentinc/librdkafka/issues/4953
                "max.in.flight.requests.per.connection": 1,
                "delivery.timeout.ms": options.delivery_timeout_s * 1000,
                "request.timeout.ms": min(10_000, options.delivery_timeout_s * 500),
                # A broker that is back already is not to wait for up to ten seconds.
                "reconnect.backoff.max.ms": 1_000,
                "compression.type": "lz4",
                "linger.ms": options.linger_ms,
                "batch.size": options.batch_size,
                "queue.buffering.max.messages": options.in_flight,
                # A key is where the clients of Java put it.
                "partitioner": "murmur2_random",
                "allow.auto.create.topics": False,
                "statistics.interval.ms": STATISTICS_MS,
                "stats_cb": statistics.note,
                # What it sends once more is counted; its warnings of that would be thousands.
                "log_level": 2,
                "error_cb": lambda error: reasons.update({error.name(): error.str()}),
            }
        )
        try:
            producer.list_topics(timeout=CONNECT_S)
        except KafkaException:
            producer.poll(0)  # for the reasons
            raise
    except KafkaException as error:
        reasons.pop("_ALL_BROKERS_DOWN", None)  # follows from the others
        raise CannotSend(
            f"no session with {options.bootstrap_servers} as {options.username}: "
            f"{'; '.join(reasons.values()) or error.args[0].str()}. Check that the brokers run and "
            f"are reached from here, the password (in {options.password_file}) and the authority "
            f"(in {options.ca_cert})."
        ) from error
    return producer, statistics


def work(
    process: int,
    stream: Stream,
    options: argparse.Namespace,
    schedule: Schedule,
    shared: Shared,
) -> None:
    """What one process does: send its events, and put into the queue what became of them."""
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)  # the first process tells all of them
    parent = os.getppid()
    try:
        with acknowledged_by(options.output, process).open("w", encoding="utf-8") as kept:
            producer, statistics = connect(options)
            sender = Sender(producer, Acknowledged(kept))
            shared.ready.wait()
            began, used = time.monotonic(), time.process_time()

            def meanwhile(seconds: float) -> None:
                sender.listen(seconds)
                shared.acknowledged[process] = sender.result.acknowledged
                shared.failed[process] = sender.result.failed
                if os.getppid() != parent or (
                    options.seconds and time.monotonic() - began >= options.seconds
                ):
                    schedule.end()

            numbers = chain.from_iterable(schedule.steps(process, began, meanwhile))
            for event in stream.events(numbers, process, options.processes):
                sender.send(event)
            schedule.leave(process)
            result = sender.finish(options.delivery_timeout_s + 10)
            ended = time.monotonic()
            result.cpu_s = time.process_time() - used
            result.behind_s = schedule.behind_s
            result.retried = statistics.retried(producer, result.sent)
            shared.results.put((process, began, ended, result))
    except threading.BrokenBarrierError:
        shared.results.put((process, 0.0, 0.0, None))  # another process has said why
    except CannotSend as error:
        shared.ready.abort()
        shared.results.put((process, 0.0, 0.0, str(error)))
    except Exception as error:  # whatever it is, the first process says it and ends the others
        shared.ready.abort()
        shared.results.put((process, 0.0, 0.0, f"{type(error).__name__}: {error}"))
    finally:
        schedule.leave(process)


class Shared:
    """What the processes tell each other, beside the schedule."""

    def __init__(self, processes: int) -> None:
        self.ready = multiprocessing.Barrier(processes)
        self.results: multiprocessing.Queue[tuple[int, float, float, Sent | str | None]] = (
            multiprocessing.Queue()
        )
        self.acknowledged = multiprocessing.Array("q", processes, lock=False)
        self.failed = multiprocessing.Array("q", processes, lock=False)


def send(stream: Stream, options: argparse.Namespace) -> dict[str, Any]:
    """Send with as many processes as asked for; the report."""
    stop = options.first + options.events if options.events else None
    if stop is None and options.rate and options.seconds:
        stop = options.first + round(options.rate * options.seconds)
    ahead = stream.event_rate * AHEAD_MS // 1000
    schedule = Schedule(options.first, stop, options.rate, options.processes, ahead)
    shared = Shared(options.processes)
    stream.prepare()  # once, for all processes
    processes = [
        multiprocessing.Process(target=work, args=(number, stream, options, schedule, shared))
        for number in range(options.processes)
    ]
    for process in processes:
        process.start()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda _signal, _frame: schedule.end())
    try:
        results = collect(processes, schedule, shared)
    finally:
        merge_acknowledged(options.output, options.processes)
    return report(results, schedule)


def collect(
    processes: Sequence[multiprocessing.Process], schedule: Schedule, shared: Shared
) -> list[tuple[float, float, Sent]]:
    """Show progress until every process has answered; raises CannotSend."""
    results = []
    said: list[str] = []
    open_ones = set(range(len(processes)))
    before, at = 0, time.monotonic()
    while open_ones:
        try:
            process, began, ended, result = shared.results.get(timeout=PROGRESS_S)
        except queue.Empty:
            count, now = sum(shared.acknowledged), time.monotonic()
            print(
                f"{count:,} acknowledged, {sum(shared.failed):,} failed, "
                f"{(count - before) / (now - at):,.0f} events/s",
                file=sys.stderr,
            )
            before, at = count, now
            for process in [each for each in open_ones if processes[each].exitcode]:
                said.append(f"process {process} ended with {processes[process].exitcode}")
                open_ones.discard(process)
                shared.ready.abort()
                schedule.leave(process)
                schedule.end()
            continue
        open_ones.discard(process)
        if isinstance(result, Sent):
            results.append((began, ended, result))
        elif result:
            said.append(result)
            schedule.end()
    for each in processes:
        each.join()
    if said:
        raise CannotSend("; ".join(sorted(set(said))))
    return results


def report(results: Sequence[tuple[float, float, Sent]], schedule: Schedule) -> dict[str, Any]:
    """What all processes have done together."""
    latencies = Latencies()
    errors: Counter[str] = Counter()
    failed_numbers: list[int] = []
    for _began, _ended, result in results:
        latencies.buckets += result.latencies.buckets
        errors += result.errors
        failed_numbers += result.failed_numbers
    seconds = max(ended for _, ended, _ in results) - min(began for began, _, _ in results)
    acknowledged = sum(result.acknowledged for _, _, result in results)
    return {
        "first": schedule.start,
        "stop": schedule.stop,
        "processes": len(results),
        "seconds": round(seconds, 3),
        "sent": sum(result.sent for _, _, result in results),
        "acknowledged": acknowledged,
        "failed": sum(result.failed for _, _, result in results),
        "failed_numbers": sorted(failed_numbers)[:FAILED_NUMBERS],
        "retried": sum(result.retried for _, _, result in results),
        "errors": dict(errors.most_common(5)),
        "events_per_second": round(acknowledged / max(seconds, 1e-3), 1),
        "cpu_s_per_million": round(
            sum(result.cpu_s for _, _, result in results) * 1e6 / max(acknowledged, 1), 1
        ),
        "behind_s": round(max(result.behind_s for _, _, result in results), 3),
        "acknowledged_within_ms": {
            "p50": latencies.percentile_ms(50),
            "p99": latencies.percentile_ms(99),
        },
    }


def make(stream: Stream, first: int, count: int) -> dict[str, Any]:
    """Make events and send none: how fast that goes."""
    stream.prepare()
    began = time.monotonic()
    size = sum(len(event.value) for event in stream.events(range(first, first + count)))
    seconds = time.monotonic() - began
    return {
        "first": first,
        "stop": first + count,
        "seconds": round(seconds, 3),
        "events_per_second": round(count / max(seconds, 1e-3), 1),
        "bytes_per_event": round(size / count, 1),
    }


def milliseconds(text: str) -> int:
    """Since 1970, of an ISO 8601 time with its offset from UTC."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no offset from UTC")
    return round(moment.timestamp() * 1000)


def at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < least:
            raise ValueError(text)
        return int(text)

    return number


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    whole = parser.add_argument_group("how many")
    whole.add_argument("--first", type=at_least(0), default=0, help="number of the first event")
    whole.add_argument("--events", type=at_least(1), help="end after so many")
    whole.add_argument("--seconds", type=at_least(1), help="end after so long (default: never)")
    whole.add_argument(
        "--rate", type=at_least(0), default=0, help="events/s; 0 (default): as fast as it goes"
    )
    whole.add_argument("--processes", type=at_least(1), default=1)
    whole.add_argument("--make-only", action="store_true", help="send nothing; needs --events")
    what = parser.add_argument_group("which stream (equal streams have equal events)")
    what.add_argument("--seed", type=int, default=1)
    what.add_argument("--products", type=int, default=500)
    what.add_argument("--services", type=int, default=40)
    what.add_argument("--customers", type=int, default=100_000)
    what.add_argument(
        "--start",
        type=milliseconds,
        default=milliseconds("2026-01-01T00:00:00+00:00"),
        help="event time of number 0, as 2026-01-01T00:00:00+00:00 (default)",
    )
    what.add_argument(
        "--event-rate",
        type=at_least(1),
        help="events in a second of event time (default: --rate, or 1000)",
    )
    what.add_argument(
        "--fraud-every",
        type=at_least(1),
        help="events for one injected pattern (default: 2000, fewer below 200 events/s)",
    )
    kafka = parser.add_argument_group("Kafka")
    kafka.add_argument("--bootstrap-servers", help="host:port,host:port")
    kafka.add_argument(
        "--security-protocol",
        choices=["SASL_SSL", "SASL_PLAINTEXT", "SSL", "PLAINTEXT"],
        default="SASL_SSL",
    )
    kafka.add_argument("--username", default="bss-generator")
    kafka.add_argument("--password-file", type=Path)
    kafka.add_argument("--ca-cert", help="who signs for the brokers, in PEM")
    kafka.add_argument(
        "--in-flight", type=at_least(1), default=100_000, help="events of a process, at most"
    )
    kafka.add_argument("--linger-ms", type=at_least(0), default=20)
    kafka.add_argument("--batch-size", type=at_least(1), default=131_072, help="in bytes")
    kafka.add_argument(
        "--delivery-timeout-s", type=at_least(1), default=120, help="when a send has failed"
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="directory for acknowledged.tsv, ground_truth.jsonl and report.json",
    )
    options = parser.parse_args(words)
    if options.make_only and not options.events:
        parser.error("--make-only needs --events")
    if not options.make_only and not options.bootstrap_servers:
        parser.error("name --bootstrap-servers, or --make-only")
    if (
        not options.make_only
        and options.security_protocol.startswith("SASL")
        and not options.password_file
    ):
        parser.error(f"{options.security_protocol} needs --password-file")
    options.event_rate = options.event_rate or options.rate or 1000
    options.fraud_every = options.fraud_every or min(2000, 10 * options.event_rate)
    return options


def main() -> int:
    options = arguments()
    try:
        stream = Stream(
            seed=options.seed,
            rows={name: getattr(options, name) for name in ("products", "services", "customers")},
            start_ms=options.start,
            event_rate=options.event_rate,
            fraud_every=options.fraud_every,
        )
        options.output.mkdir(parents=True, exist_ok=True)
        if options.make_only:
            done = make(stream, options.first, options.events)
        else:
            done = send(stream, options)
    except (ImpossibleStream, CannotSend, OSError) as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        return 2
    with (options.output / "ground_truth.jsonl").open("w", encoding="utf-8") as kept:
        frauds: Counter[str] = Counter()
        for truth in stream.ground_truth(done["first"], done["stop"]):
            kept.write(json.dumps(truth) + "\n")
            frauds[str(truth["pattern"])] += 1
    line = json.dumps({**done, "frauds": dict(frauds), "stream": asdict(stream)})
    (options.output / "report.json").write_text(line + "\n", encoding="utf-8")
    print(line)
    return 1 if done.get("failed") or done.get("errors") else 0


if __name__ == "__main__":
    sys.exit(main())
