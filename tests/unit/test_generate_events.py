# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The program that sends events, with a producer that has no network."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
from ansible_collections.bss.platform.plugins.module_utils.bss_events import Stream

CHECKOUT = Path(__file__).parents[2]
PROGRAM = CHECKOUT / "roles/bss_workload/files/generate_events.py"
STREAM = Stream(1, {"products": 500, "services": 40, "customers": 4_000}, 0, 1_000, 500)


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_events", PROGRAM)
    assert spec is not None and spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = program  # dataclasses look there
    spec.loader.exec_module(program)
    return program


program = load()


class Failure:
    """What confluent_kafka says of an event that was not delivered."""

    def name(self) -> str:
        return "_MSG_TIMED_OUT"

    def str(self) -> str:
        return "Local: Message timed out"


class Message(NamedTuple):
    """What confluent_kafka says of one that was: methods, not attributes."""

    place: tuple[str, int, int]

    def topic(self) -> str:
        return self.place[0]

    def partition(self) -> int:
        return self.place[1]

    def offset(self) -> int:
        return self.place[2]

    def latency(self) -> float:
        return 0.02


class FakeProducer:
    """Three partitions a topic; ``answers`` says what becomes of the n-th event, if not success.

    It answers when it is polled, and takes no more than ``room`` events before.
    """

    def __init__(self, answers: dict[int, str] | None = None, room: int = 500) -> None:
        self.answers = answers or {}
        self.values: list[bytes] = []
        self.most_under_way = 0
        self._room = room
        self._said: list[Callable[[], None]] = []
        self._silent = 0
        self._offsets: Counter[tuple[str, int]] = Counter()

    def produce(
        self, topic: str, value: bytes, key: bytes, on_delivery: Callable[[Any, Any], None]
    ) -> None:
        if len(self._said) >= self._room:
            raise BufferError("Local: Queue full")
        answer = self.answers.get(len(self.values))
        self.values.append(value)
        if answer == "refuse":
            raise ValueError("too large")
        if answer == "silence":
            self._silent += 1
        elif answer == "expire":
            self._said.append(lambda: on_delivery(Failure(), None))
        else:
            partition = sum(key) % 3
            message = Message((topic, partition, self._offsets[topic, partition]))
            self._offsets[topic, partition] += 1
            self._said.append(lambda: on_delivery(None, message))
        self.most_under_way = max(self.most_under_way, len(self._said))

    def poll(self, timeout: float) -> int:
        said, self._said = self._said, []
        for say in said:
            say()
        return len(said)

    def flush(self, timeout: float) -> int:
        self.poll(timeout)
        return self._silent


class FakeStatistics:
    def retried(self, _producer: Any, _sent: int) -> int:
        return 7


def read(kept: str) -> Iterator[tuple[str, int, int, int]]:
    """(topic, partition, offset, number) of each event that was acknowledged."""
    for line in kept.splitlines():
        topic, partition, first, numbers = line.split("\t")
        for index, number in enumerate(numbers.split(",")):
            yield topic, int(partition), int(first) + index, int(number)


def sent(producer: FakeProducer, count: int = 1_000) -> tuple[Any, str]:
    """What became of so many events, and what was kept of them."""
    kept = io.StringIO()
    sender = program.Sender(producer, program.Acknowledged(kept))
    for event in STREAM.events(range(count)):
        sender.send(event)
    return sender.finish(patience_s=5.0), kept.getvalue()


def test_what_was_acknowledged_is_kept() -> None:
    producer = FakeProducer()
    result, kept = sent(producer)
    assert (result.sent, result.acknowledged, result.failed) == (1_000, 1_000, 0)
    rows = list(read(kept))
    assert sorted(number for _topic, _partition, _offset, number in rows) == list(range(1_000))
    assert len({row[:3] for row in rows}) == 1_000
    events = {event.number: event for event in STREAM.events(range(1_000))}
    for topic, partition, _offset, number in rows:
        assert events[number].topic == topic
        assert sum(events[number].key) % 3 == partition
    assert result.latencies.percentile_ms(50) == pytest.approx(20, rel=0.011)


def test_millions_need_little_room() -> None:
    _result, kept = sent(FakeProducer(), 20_000)
    assert len(kept) / 20_000 < 8


def test_failures_are_told_with_their_numbers() -> None:
    producer = FakeProducer({5: "expire", 7: "refuse", 900: "expire"})
    result, kept = sent(producer)
    assert (result.acknowledged, result.failed) == (997, 3)
    assert sorted(result.failed_numbers) == [5, 7, 900]
    assert result.errors == {"_MSG_TIMED_OUT: Local: Message timed out": 2, "too large": 1}
    assert {row[3] for row in read(kept)} == set(range(1_000)) - {5, 7, 900}


def test_silence_is_a_failure_in_the_end() -> None:
    result, _kept = sent(FakeProducer({5: "silence"}))
    assert (result.acknowledged, result.failed) == (999, 1)
    assert result.errors == {"no answer": 1}


def test_it_waits_where_as_many_are_under_way_as_may_be() -> None:
    producer = FakeProducer(room=10)
    result, _kept = sent(producer, 100)
    assert result.acknowledged == 100 and producer.most_under_way == 10


def test_what_is_known_is_written_every_now_and_then() -> None:
    kept = io.StringIO()
    acknowledged = program.Acknowledged(kept)
    sender = program.Sender(FakeProducer(), acknowledged)
    sender.send(next(STREAM.events([0])))
    sender.listen(0)
    assert kept.getvalue() == ""
    acknowledged._flushed_at -= 10
    sender.listen(0)
    assert len(list(read(kept.getvalue()))) == 1


def test_the_files_of_all_processes_become_one(tmp_path: Path) -> None:
    for process, lines in enumerate(["t\t0\t5\t1,2\n", "t\t1\t7\t3\nt\t1\t8\t4,5", ""]):
        program.acknowledged_by(tmp_path, process).write_text(lines)
    program.merge_acknowledged(tmp_path, 4)  # the fourth never began
    merged = (tmp_path / "acknowledged.tsv").read_text()
    # A line that was cut off counts as unknown: of its last number, digits may be missing.
    assert list(read(merged)) == [("t", 0, 5, 1), ("t", 0, 6, 2), ("t", 1, 7, 3)]
    assert [path.name for path in tmp_path.iterdir()] == ["acknowledged.tsv"]


def test_retries_are_what_was_transmitted_beyond_what_was_sent() -> None:
    """Read from what the producer says once all is done, not from what it said before."""
    statistics = program.Statistics()
    statistics.note('{"txmsgs": 5}')
    producer = SimpleNamespace(poll=lambda _seconds: statistics.note('{"txmsgs": 1012}'))
    assert statistics.retried(producer, 1_000) == 12
    # Some never left: they are failures, and no negative number of retries.
    assert statistics.retried(producer, 2_000) == 0


def test_percentiles() -> None:
    latencies = program.Latencies()
    assert latencies.percentile_ms(50) is None
    for milliseconds in range(1, 1_001):
        latencies.add(milliseconds / 1_000)
    assert latencies.percentile_ms(50) == pytest.approx(500, rel=0.011)
    assert latencies.percentile_ms(99) == pytest.approx(990, rel=0.011)
    assert latencies.percentile_ms(100) == pytest.approx(1_000, rel=0.011)


def numbers(schedule: Any, process: int = 0) -> Iterator[int]:
    return chain.from_iterable(schedule.steps(process, time.monotonic(), lambda _seconds: None))


@pytest.mark.parametrize("rate", [0, 1_000_000, 20_000_000])
def test_every_number_is_there_once(rate: int) -> None:
    schedule = program.Schedule(1_000, 2_550, rate, processes=1, ahead=0)
    assert list(numbers(schedule)) == list(range(1_000, 2_550))


def test_no_process_runs_ahead_of_the_slowest() -> None:
    schedule = program.Schedule(0, 100_000, rate=0, processes=2, ahead=300)
    reached = []

    def run() -> None:
        for number in numbers(schedule, 0):
            reached.append(number)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(0.2)
    assert max(reached) == 399  # the step that begins at 400 is further than that
    schedule.leave(1)
    thread.join(10)
    assert len(reached) == 100_000


def test_all_processes_end_at_the_same_number() -> None:
    schedule = program.Schedule(0, None, rate=0, processes=2, ahead=10**9)
    first, second = numbers(schedule, 0), numbers(schedule, 1)
    seen = [next(first) for _ in range(250)], [next(second) for _ in range(10)]
    schedule.end()
    schedule.end()  # as every process may
    assert [*seen[0], *first] == [*seen[1], *second] == list(range(300))
    schedule.leave(0)
    schedule.leave(1)
    schedule.end()  # as a signal may that comes late
    assert schedule.stop == 300


def test_the_rate_is_kept() -> None:
    schedule = program.Schedule(0, 100, rate=500, processes=1, ahead=0)
    began = time.monotonic()
    pauses: list[float] = []

    def meanwhile(seconds: float) -> None:
        pauses.append(seconds)
        time.sleep(seconds)

    assert len(list(chain.from_iterable(schedule.steps(0, began, meanwhile)))) == 100
    assert time.monotonic() - began >= 0.198
    assert max(pauses) < 0.003  # one event at a time, not a burst of all that are due
    # To the library, less than a millisecond is none: it would take a core to wait.
    assert min(pause for pause in pauses if pause) >= 0.001
    late = program.Schedule(0, 1, rate=500, processes=1, ahead=0)
    list(chain.from_iterable(late.steps(0, began, meanwhile)))
    assert late.behind_s >= 0.198


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The program by itself, without anything that makes the collection importable."""
    return subprocess.run(
        [sys.executable, PROGRAM, *words],
        capture_output=True,
        text=True,
        check=False,
        env={},
        cwd="/",
    )


def test_it_makes_events_from_a_clone(tmp_path: Path) -> None:
    done = run("--make-only", "--events", "20000", "--customers", "5000", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["first"], said["stop"]) == (0, 20_000)
    truth = (tmp_path / "ground_truth.jsonl").read_text().splitlines()
    assert len(truth) == sum(said["frauds"].values()) > 0
    assert json.loads((tmp_path / "report.json").read_text()) == said


def test_it_makes_events_where_it_is_installed(tmp_path: Path) -> None:
    installed = tmp_path / "ansible_collections/bss/platform"
    for part in (
        "plugins/module_utils/bss_data.py",
        "plugins/module_utils/bss_events.py",
        "roles/bss_workload/files/generate_events.py",
    ):
        (installed / part).parent.mkdir(parents=True, exist_ok=True)
        (installed / part).write_bytes((CHECKOUT / part).read_bytes())
    done = subprocess.run(
        [
            *(sys.executable, installed / "roles/bss_workload/files/generate_events.py"),
            *("--make-only", "--events", "10", "--output", tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--make-only"], "--make-only needs --events"),
        ([], "name --bootstrap-servers"),
        (["--bootstrap-servers", "a:1"], "SASL_SSL needs --password-file"),
        (["--make-only", "--events", "0"], "invalid"),
        (["--make-only", "--events", "9", "--start", "2026-01-01"], "invalid milliseconds value"),
        (["--make-only", "--events", "9", "--fraud-every", "2"], "Take 3 to 15000"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], says: str, tmp_path: Path) -> None:
    done = run(*words, "--output", tmp_path)
    assert done.returncode == 2 and says in done.stderr, done.stderr


def test_a_cluster_that_is_not_there_is_told_by_every_process_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(_options: Any) -> None:
        raise program.CannotSend("no session with a:1")

    monkeypatch.setattr(program, "connect", connect)
    options = program.arguments(
        [
            *("--bootstrap-servers", "a:1", "--security-protocol", "SSL", "--events", "10"),
            *("--processes", "2", "--output", str(tmp_path)),
        ]
    )
    with pytest.raises(program.CannotSend, match=r"^no session with a:1$"):
        program.send(STREAM, options)


def test_two_processes_send_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        program, "connect", lambda _options: (FakeProducer({3: "expire"}), FakeStatistics())
    )
    options = program.arguments(
        [
            *("--bootstrap-servers", "a:1", "--security-protocol", "SSL", "--events", "2050"),
            *("--processes", "2", "--output", str(tmp_path)),
        ]
    )
    done = program.send(STREAM, options)
    assert (done["sent"], done["acknowledged"], done["failed"]) == (2_050, 2_048, 2)
    assert done["retried"] == 14
    of_each = [[event.number for event in STREAM.events(range(2_050), part, 2)] for part in (0, 1)]
    fourth = {of_each[0][3], of_each[1][3]}
    assert set(done["failed_numbers"]) == fourth
    kept = read((tmp_path / "acknowledged.tsv").read_text())
    assert sorted(row[3] for row in kept) == sorted(set(range(2_050)) - fourth)
