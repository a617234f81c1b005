# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What the jobs of BSS have to make of its events, computed without Flink, to compare with.

The jobs are the SQL files of the role bss_workload. docs/streams.md has the fields of what they
write.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from ansible_collections.bss.platform.plugins.module_utils.bss_events import (
    HIGH_VALUE_CENTS,
    ORDER_TOPIC,
    Stream,
)

ANALYTICS_TOPIC = "bss.analytics.events"
ALERT_TOPIC = "bss.fraud.alerts"
LATE_TOPIC = "bss.late.events"

CUSTOMER_ORDERS = "CUSTOMER_ORDERS"
ORDER_STATUS = "ORDER_STATUS"
CUSTOMER_WINDOW_MS = 300_000
STATUS_WINDOW_MS = 600_000
STATUS_SLIDE_MS = 60_000
# The watermark of a partition is so far behind its newest order.
WATERMARK_DELAY_MS = 65_000

HIGH_VALUE_TOTAL_CENTS = 500_000
FREQUENT_ORDERS = 3

HIGH_VALUE_ORDER = "high_value_order"
TWO_COUNTRIES = "two_countries"

EXAMPLES = 3


class BadRecord(ValueError):
    """A record of a stream that is not what docs/streams.md says."""


class Acknowledged(NamedTuple):
    """Events that lie one behind the other in a partition, by their numbers."""

    topic: str
    partition: int
    offset: int
    numbers: Sequence[int]


class WindowKey(NamedTuple):
    """Which window of which stream; ``of`` is the customer or the status."""

    metric: str
    start: int
    end: int
    of: str

    def __str__(self) -> str:
        return f"{self.metric} of {self.of} in {self.start} to {self.end}"


class Totals(NamedTuple):
    """Orders of a window, taken together; amounts in cents."""

    orders: int = 0
    total: int = 0
    highest: int = 0

    def plus(self, other: Totals) -> Totals:
        return Totals(
            self.orders + other.orders, self.total + other.total, max(self.highest, other.highest)
        )

    @property
    def average(self) -> Decimal:
        """To six decimals, half up."""
        millionths = (self.total * 20_000 + self.orders) // (2 * self.orders)
        return Decimal(millionths).scaleb(-6)

    @property
    def behaviour(self) -> str:
        if self.total >= HIGH_VALUE_TOTAL_CENTS:
            return "HIGH_VALUE"
        return "FREQUENT" if self.orders >= FREQUENT_ORDERS else "REGULAR"


class Alert(NamedTuple):
    """What an alert tells, as far as it is determined.

    That of two_countries is compared by its last event: the job names no other.
    """

    pattern: str
    customer: str
    event_ids: tuple[str, ...]
    event_times: tuple[int, ...]

    @classmethod
    def of(
        cls, pattern: str, customer: str, event_ids: Sequence[str], event_times: Sequence[int]
    ) -> Alert:
        determined = slice(-1, None) if pattern == TWO_COUNTRIES else slice(None)
        return cls(pattern, customer, tuple(event_ids[determined]), tuple(event_times[determined]))


class Expected:
    """What has to come of the events that were acknowledged."""

    def __init__(self, stream: Stream, acknowledged: Iterable[Acknowledged]) -> None:
        self.windows: dict[WindowKey, dict[str, Any]] = {}
        self.alerts: dict[str, Alert] = {}
        self.events = 0
        self._customers: dict[tuple[int, str], Totals] = defaultdict(Totals)
        self._statuses: dict[tuple[int, str], Totals] = defaultdict(Totals)
        self._newest: dict[int, int] = {}
        numbers: set[int] = set()
        for run in acknowledged:
            numbers.update(run.numbers)
            self.events += len(run.numbers)
            if run.topic == ORDER_TOPIC:
                self._add_orders(stream, run)
        self._add_windows()
        if numbers:
            self._add_frauds(stream, numbers)

    @property
    def closed_until(self) -> int:
        """Windows that end up to here are closed: orders that are younger came from everywhere."""
        return min(self._newest.values(), default=0) - WATERMARK_DELAY_MS

    def due_windows(self) -> set[WindowKey]:
        return {key for key in self.windows if key.end <= self.closed_until}

    def _add_orders(self, stream: Stream, run: Acknowledged) -> None:
        for event in stream.events(run.numbers):
            order = json.loads(event.value, parse_float=Decimal)
            time, cents = order["event_time"], int(order["amount"] * 100)
            self._newest[run.partition] = max(time, self._newest.get(run.partition, time))
            one = Totals(1, cents, cents)
            window = time - time % CUSTOMER_WINDOW_MS
            minute = time - time % STATUS_SLIDE_MS
            for totals, place in (
                (self._customers, (window, order["customer_id"])),
                (self._statuses, (minute, order["status"])),
            ):
                totals[place] = totals[place].plus(one)
            if cents >= HIGH_VALUE_CENTS:
                self.alerts[f"{HIGH_VALUE_ORDER}:{order['event_id']}"] = Alert.of(
                    HIGH_VALUE_ORDER, order["customer_id"], [order["event_id"]], [time]
                )

    def _add_windows(self) -> None:
        for (start, customer), totals in self._customers.items():
            key = WindowKey(CUSTOMER_ORDERS, start, start + CUSTOMER_WINDOW_MS, customer)
            self.windows[key] = {
                "orders": totals.orders,
                "total_amount": Decimal(totals.total).scaleb(-2),
                "average_amount": totals.average,
                "behaviour": totals.behaviour,
            }
        sliding: dict[WindowKey, Totals] = defaultdict(Totals)
        for (minute, status), totals in self._statuses.items():
            for end in range(
                minute + STATUS_SLIDE_MS, minute + STATUS_WINDOW_MS + 1, STATUS_SLIDE_MS
            ):
                key = WindowKey(ORDER_STATUS, end - STATUS_WINDOW_MS, end, status)
                sliding[key] = sliding[key].plus(totals)
        for key, totals in sliding.items():
            self.windows[key] = {
                "orders": totals.orders,
                "total_amount": Decimal(totals.total).scaleb(-2),
                "average_amount": totals.average,
                "highest_amount": Decimal(totals.highest).scaleb(-2),
            }

    def _add_frauds(self, stream: Stream, numbers: set[int]) -> None:
        for known in stream.ground_truth(min(numbers), max(numbers) + 1):
            truth: dict[str, Any] = known
            parts = (int(event_id.rpartition("-")[2]) for event_id in truth["event_ids"])
            if numbers.issuperset(parts):
                self.alerts[truth["alert_id"]] = Alert.of(
                    truth["pattern"],
                    truth["customer_id"],
                    truth["event_ids"],
                    truth["event_times"],
                )


class Comparison:
    """What comes, held against what is expected: values by keys that have names."""

    def __init__(self, expected: Mapping[Any, Any], due: Iterable[Any]) -> None:
        self.missing = set(due)
        self._due = len(self.missing)
        self._expected = expected
        self._found: Counter[Any] = Counter()
        self._equal: set[Any] = set()
        self._wrong: dict[str, list[str]] = {"extra": [], "different": []}
        self._counts = Counter[str]()

    def add(self, key: Any, found: Any) -> None:
        self._found[key] += 1
        self.missing.discard(key)
        if key not in self._expected:
            if self._found[key] == 1:
                self._note("extra", f"{key}: {_shown(found)}")
        elif found != self._expected[key]:
            self._note(
                "different",
                f"{key}: {_shown(found)}, not {_shown(self._expected[key])}",
            )
        else:
            self._equal.add(key)

    def result(self) -> dict[str, Any]:
        """Numbers of each kind, with examples of what is wrong."""
        repeated = sorted(str(key) for key, count in self._found.items() if count > 1)
        missing = sorted(map(str, self.missing))
        return {
            "due": self._due,
            "equal": len(self._equal),
            "missing": len(missing),
            "extra": self._counts["extra"],
            "different": self._counts["different"],
            "repeated": len(repeated),
            "examples": {
                kind: examples
                for kind, examples in {
                    "missing": missing[:EXAMPLES],
                    **self._wrong,
                    "repeated": repeated[:EXAMPLES],
                }.items()
                if examples
            },
        }

    def _note(self, kind: str, example: str) -> None:
        self._counts[kind] += 1
        if len(self._wrong[kind]) < EXAMPLES:
            self._wrong[kind].append(example)


def read_acknowledged(lines: Iterable[str]) -> Iterator[Acknowledged]:
    """The lines of an ``acknowledged.tsv``. Raises BadRecord."""
    for line in lines:
        try:
            topic, partition, offset, numbers = line.rstrip("\n").split("\t")
            yield Acknowledged(
                topic, int(partition), int(offset), [int(number) for number in numbers.split(",")]
            )
        except ValueError as error:
            raise BadRecord(f"{line!r} is no line of acknowledged events: {error}") from error


def unknown_events(acknowledged: Iterable[Acknowledged]) -> int:
    """How many events lie before or between those that were acknowledged, and are of others."""
    known: dict[tuple[str, int], int] = defaultdict(int)
    ends: dict[tuple[str, int], int] = defaultdict(int)
    for run in acknowledged:
        place = (run.topic, run.partition)
        known[place] += len(run.numbers)
        ends[place] = max(ends[place], run.offset + len(run.numbers))
    return sum(end - known[place] for place, end in ends.items())


def window_of(value: bytes | None) -> tuple[WindowKey, dict[str, Any]]:
    """Which window a record of the analytics is of, and what it tells. Raises BadRecord."""
    fields = _fields(value)
    try:
        metric = fields.pop("metric")
        of = fields.pop({CUSTOMER_ORDERS: "customer_id", ORDER_STATUS: "status"}[metric])
        return WindowKey(metric, fields.pop("window_start"), fields.pop("window_end"), of), fields
    except KeyError as error:
        raise BadRecord(f"{value!r} has no {error}, or an unknown one") from error


def alert_of(value: bytes | None) -> tuple[str, Alert]:
    """Id and contents of an alert. Raises BadRecord."""
    fields = _fields(value)
    try:
        return fields["alert_id"], Alert.of(
            fields["pattern"], fields["customer_id"], fields["event_ids"], fields["event_times"]
        )
    except KeyError as error:
        raise BadRecord(f"{value!r} has no {error}") from error


def job_of_late(value: bytes | None) -> str:
    """Which job a record of the late events is of. Raises BadRecord."""
    try:
        return str(_fields(value)["job"])
    except KeyError as error:
        raise BadRecord(f"{value!r} has no {error}") from error


def _fields(value: bytes | None) -> dict[str, Any]:
    try:
        fields = json.loads(value or b"", parse_float=Decimal)
    except ValueError as error:
        raise BadRecord(f"{value!r} is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadRecord(f"{value!r} is no JSON object")
    return fields


def _shown(values: Any) -> str:
    if isinstance(values, Alert):
        values = values._asdict()
    return ", ".join(f"{name} {value}" for name, value in values.items())
