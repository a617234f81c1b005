# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The program that checks the streams, with a consumer that has no network."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.bss_events import Stream
from ansible_collections.bss.platform.plugins.module_utils.bss_streams import (
    ALERT_TOPIC,
    ANALYTICS_TOPIC,
    LATE_TOPIC,
    Acknowledged,
    Expected,
)

CHECKOUT = Path(__file__).parents[2]
PROGRAM = CHECKOUT / "roles/bss_workload/files/check_streams.py"
GENERATOR = CHECKOUT / "roles/bss_workload/files/generate_events.py"
STREAM = Stream(1, {"products": 500, "services": 40, "customers": 4_000}, 0, 10, 100)
COUNT = 10_000

Record = tuple[str, dict[str, Any]]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_streams", PROGRAM)
    assert spec is not None and spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program


program = load()


class Error:
    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name

    def str(self) -> str:
        return "said the broker"

    def retriable(self) -> bool:
        return self._name == "_TRANSPORT"


class Message:
    def __init__(self, topic: str, value: bytes = b"", error: Error | None = None) -> None:
        self._topic, self._value, self._error = topic, value, error

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return 0

    def value(self) -> bytes:
        return self._value

    def error(self) -> Error | None:
        return self._error


class FakeConsumer:
    """Has some messages, then the end of each topic, then nothing."""

    def __init__(self, messages: list[Message]) -> None:
        ends = [Message(topic, error=Error("_PARTITION_EOF")) for topic in TOPICS]
        self._messages = [*messages, *ends]
        self.polls = 0

    def poll(self, timeout: float) -> Message | None:
        self.polls += 1
        return self._messages.pop(0) if self._messages else None

    def close(self) -> None:
        pass


TOPICS = (ANALYTICS_TOPIC, ALERT_TOPIC, LATE_TOPIC)


def expect(count: int) -> Expected:
    """Of so many events, with all of a topic in one partition."""
    numbers: dict[str, list[int]] = {}
    for event in STREAM.events(range(count)):
        numbers.setdefault(event.topic, []).append(event.number)
    return Expected(STREAM, [Acknowledged(topic, 0, 0, found) for topic, found in numbers.items()])


@pytest.fixture(scope="module")
def expected() -> Expected:
    return expect(COUNT)


@pytest.fixture
def outputs(expected: Expected) -> list[Record]:
    """What jobs write that do all right."""
    records: list[Record] = []
    for key in sorted(expected.due_windows()):
        of = "status" if key.metric == "ORDER_STATUS" else "customer_id"
        window = {"metric": key.metric, "window_start": key.start, "window_end": key.end}
        records.append((ANALYTICS_TOPIC, {**window, of: key.of, **expected.windows[key]}))
    for alert_id, (pattern, customer, event_ids, times) in expected.alerts.items():
        alert = {"alert_id": alert_id, "pattern": pattern, "customer_id": customer}
        ids_and_times = {"event_ids": list(event_ids), "event_times": list(times)}
        records.append((ALERT_TOPIC, {**alert, **ids_and_times}))
    return records


def checked(expected: Expected, records: list[Record]) -> dict[str, Any]:
    messages = [Message(topic, as_json(values)) for topic, values in records]
    ticks = iter(range(10**9))
    result: dict[str, Any] = program.check(
        expected,
        program.Outputs(FakeConsumer(messages), [(topic, 0) for topic in TOPICS]),
        patience_s=len(messages) + 100,  # the clock goes on by a second with each look at it
        clock=lambda: next(ticks),
    )
    return result


def as_json(values: dict[str, Any]) -> bytes:
    """Amounts as numbers with all their digits."""
    marked = json.dumps(values, default=lambda amount: f"<{amount}>")
    return marked.replace('"<', "").replace('>"', "").encode()


def test_what_is_right_is_equal(expected: Expected, outputs: list[Record]) -> None:
    result = checked(expected, outputs)
    windows, alerts = result["windows"], result["alerts"]
    assert windows["due"] == windows["equal"] > 1_000
    assert alerts["due"] == alerts["equal"] == len(expected.alerts)
    assert windows["examples"] == alerts["examples"] == {}
    assert program.is_right(result)


def lose(topic: str) -> Callable[[list[Record]], None]:
    return lambda records: records.remove(next(each for each in records if each[0] == topic))


def repeat(topic: str) -> Callable[[list[Record]], None]:
    return lambda records: records.append(next(each for each in records if each[0] == topic))


def change(topic: str, field: str, by: Any) -> Callable[[list[Record]], None]:
    def change_first(records: list[Record]) -> None:
        values = next(values for name, values in records if name == topic and field in values)
        values[field] = values[field] + by

    return change_first


def raise_near_miss(records: list[Record]) -> None:
    _, alert = next(each for each in records if each[0] == ALERT_TOPIC)
    records.append((ALERT_TOPIC, {**alert, "alert_id": "high_value_burst:1-3"}))


@pytest.mark.parametrize(
    ("corrupt", "stream", "kind"),
    [
        (lose(ANALYTICS_TOPIC), "windows", "missing"),
        (repeat(ANALYTICS_TOPIC), "windows", "repeated"),
        (change(ANALYTICS_TOPIC, "orders", 1), "windows", "different"),
        (change(ANALYTICS_TOPIC, "average_amount", Decimal("0.000001")), "windows", "different"),
        (change(ANALYTICS_TOPIC, "highest_amount", Decimal("-0.01")), "windows", "different"),
        (change(ANALYTICS_TOPIC, "behaviour", "S"), "windows", "different"),
        (change(ANALYTICS_TOPIC, "customer_id", "x"), "windows", "extra"),
        (lose(ALERT_TOPIC), "alerts", "missing"),
        (change(ALERT_TOPIC, "event_ids", ["1-1"]), "alerts", "different"),
        (raise_near_miss, "alerts", "extra"),
    ],
)
def test_what_is_wrong_is_told(
    corrupt: Callable[[list[Record]], None],
    stream: str,
    kind: str,
    expected: Expected,
    outputs: list[Record],
) -> None:
    corrupt(outputs)
    result = checked(expected, outputs)
    assert result[stream][kind] == 1
    assert not program.is_right(result)
    said = " ".join(program.complaints({**result, "unknown_events": 0}, [Path("run")]))
    assert f"{stream}, {kind} (1)" in said and result[stream]["examples"][kind][0] in said


def test_an_alert_may_come_twice(expected: Expected, outputs: list[Record]) -> None:
    repeat(ALERT_TOPIC)(outputs)
    result = checked(expected, outputs)
    assert result["alerts"]["repeated"] == 1
    assert program.is_right(result)


def test_late_events_are_counted_by_job(expected: Expected, outputs: list[Record]) -> None:
    late: list[Record] = [(LATE_TOPIC, {"job": "order_processing"})] * 2
    assert checked(expected, [*outputs, *late])["late"] == {"order_processing": 2}


def test_it_waits_for_what_is_due_and_no_longer(expected: Expected, outputs: list[Record]) -> None:
    # All topics are at their end, but it is not the end: jobs go on.
    consumer = FakeConsumer([])
    consumer._messages += [Message(topic, as_json(values)) for topic, values in outputs]
    consumer._messages += [Message(topic, error=Error("_PARTITION_EOF")) for topic in TOPICS]
    places = [(topic, 0) for topic in TOPICS]
    result = program.check(expected, program.Outputs(consumer, places), patience_s=60)
    assert program.is_right(result)
    # The last one stayed at its end.
    assert consumer.polls == len(outputs) + 2 * len(TOPICS) - 1


def test_what_the_broker_refuses_is_told(expected: Expected) -> None:
    refusal = Message(ALERT_TOPIC, error=Error("TOPIC_AUTHORIZATION_FAILED"))
    outputs = program.Outputs(FakeConsumer([refusal]), [(ALERT_TOPIC, 0)])
    with pytest.raises(program.CannotCheck, match="TOPIC_AUTHORIZATION_FAILED: said the broker"):
        program.check(expected, outputs, patience_s=60)


def test_nothing_to_check_is_not_taken_for_right() -> None:
    with pytest.raises(program.CannotCheck, match="no window of 100 events is due"):
        checked(expect(100), [])


def report(directory: Path, **changes: Any) -> Path:
    directory.mkdir()
    stream = {
        "seed": 1,
        "rows": dict(STREAM.rows),
        "start_ms": 0,
        "event_rate": 10,
        "fraud_every": 100,
    }
    kept = {"failed": 0, "stream": stream, **changes}
    (directory / "report.json").write_text(json.dumps(kept))
    (directory / "acknowledged.tsv").write_text("")
    return directory


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, "--security-protocol=PLAINTEXT", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"failed": 3}, "3 events of"),
        ({"stream": {"seed": 2}}, "different streams"),
    ],
)
def test_runs_that_nothing_can_be_said_of_are_refused(
    changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    runs = [report(tmp_path / "a"), report(tmp_path / "b", **changes)]
    result = run("--bootstrap-servers=127.0.0.1:1", *runs)
    assert result.returncode == 2 and says in result.stderr


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path) -> None:
    result = run("--bootstrap-servers=127.0.0.1:1", report(tmp_path / "a"))
    assert result.returncode == 2
    assert "no session with 127.0.0.1:1" in result.stderr and "Traceback" not in result.stderr


def test_a_directory_of_another_kind_is_told(tmp_path: Path) -> None:
    result = run("--bootstrap-servers=127.0.0.1:1", tmp_path)
    assert result.returncode == 2
    assert "report.json" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"{}"])
def test_a_record_of_another_kind_is_told(
    expected: Expected, topic: str, value: bytes | None
) -> None:
    outputs = program.Outputs(FakeConsumer([Message(topic, value)]), [(each, 0) for each in TOPICS])
    with pytest.raises(program.BadRecord):
        program.check(expected, outputs, patience_s=1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("report.json", '{"stream": {'),
        ("report.json", "{}"),
        ("report.json", "[]"),
        ("acknowledged.tsv", "bss.orders\t0"),
        ("acknowledged.tsv", "bss.orders\t0\t0\t1,"),
    ],
)
def test_what_was_kept_by_half_is_told(tmp_path: Path, name: str, text: str) -> None:
    directory = report(tmp_path / "a")
    (directory / name).write_text(text)
    with pytest.raises((program.CannotCheck, program.BadRecord)):
        program.read_runs([directory])
