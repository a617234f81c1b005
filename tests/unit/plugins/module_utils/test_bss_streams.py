# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What the streams have to hold: held against the plainest computation there is."""

from __future__ import annotations

import json
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.bss_events import ORDER_TOPIC, Stream
from ansible_collections.bss.platform.plugins.module_utils.bss_streams import (
    Acknowledged,
    Alert,
    BadRecord,
    Comparison,
    Expected,
    Totals,
    WindowKey,
    alert_of,
    read_acknowledged,
    unknown_events,
    window_of,
)

STREAM = Stream(
    seed=1,
    rows={"products": 500, "services": 40, "customers": 4_000},
    start_ms=1_767_225_600_000,
    event_rate=10,
    fraud_every=100,
)
COUNT = 10_000


def acknowledged(numbers: range, partitions: int = 3) -> list[Acknowledged]:
    """Events as a broker has them: those of a customer in one partition of a topic."""
    places: dict[tuple[str, int], list[int]] = {}
    for event in STREAM.events(numbers):
        places.setdefault((event.topic, sum(event.key) % partitions), []).append(event.number)
    return [Acknowledged(*place, 0, numbers) for place, numbers in places.items()]


@pytest.fixture(scope="module")
def expected() -> Expected:
    return Expected(STREAM, acknowledged(range(COUNT)))


@pytest.fixture(scope="module")
def orders() -> list[dict[str, Any]]:
    return [
        json.loads(event.value, parse_float=Decimal)
        for event in STREAM.events(range(COUNT))
        if event.topic == ORDER_TOPIC
    ]


@pytest.mark.parametrize(
    ("metric", "field", "size"),
    [("CUSTOMER_ORDERS", "customer_id", 300_000), ("ORDER_STATUS", "status", 600_000)],
)
def test_windows_hold_what_happened_in_them(
    expected: Expected, orders: list[dict[str, Any]], metric: str, field: str, size: int
) -> None:
    windows = {key: values for key, values in expected.windows.items() if key.metric == metric}
    for key, values in list(windows.items())[:: len(windows) // 40]:
        assert key.end - key.start == size
        amounts = [
            order["amount"]
            for order in orders
            if order[field] == key.of and key.start <= order["event_time"] < key.end
        ]
        average = sum(amounts) / len(amounts)
        assert values["orders"] == len(amounts)
        assert values["total_amount"] == sum(amounts)
        assert values["average_amount"] == average.quantize(Decimal("1e-6"), ROUND_HALF_UP)
        if metric == "ORDER_STATUS":
            assert values["highest_amount"] == max(amounts)


def test_every_order_is_in_one_window_of_its_customer_and_ten_of_its_status(
    expected: Expected, orders: list[dict[str, Any]]
) -> None:
    counts = {"CUSTOMER_ORDERS": 0, "ORDER_STATUS": 0}
    for key, values in expected.windows.items():
        counts[key.metric] += values["orders"]
    assert counts == {"CUSTOMER_ORDERS": len(orders), "ORDER_STATUS": 10 * len(orders)}
    starts = {key.start % 60_000 for key in expected.windows}
    assert starts == {0}


@pytest.mark.parametrize(
    ("totals", "average", "behaviour"),
    [
        (Totals(1, 499_999), "4999.99", "REGULAR"),
        (Totals(1, 500_000), "5000", "HIGH_VALUE"),
        (Totals(3, 500_000), "1666.666667", "HIGH_VALUE"),
        (Totals(3, 1_000), "3.333333", "FREQUENT"),
        (Totals(2, 1_000), "5", "REGULAR"),
        (Totals(64, 1), "0.000156", "REGULAR"),  # 0.00015625
        (Totals(800, 1), "0.000013", "FREQUENT"),  # 0.0000125
    ],
)
def test_average_and_behaviour(totals: Totals, average: str, behaviour: str) -> None:
    assert totals.average == Decimal(average)
    if totals.orders < 64:
        assert totals.behaviour == behaviour


def test_windows_are_due_once_every_partition_is_past_them() -> None:
    parts = acknowledged(range(COUNT))
    whole = Expected(STREAM, parts)
    newest = max(STREAM.event_time(number) for number in range(COUNT - 100, COUNT))
    assert newest - 75_000 < whole.closed_until < newest - 65_000
    due = whole.due_windows()
    assert 0 < len(due) < len(whole.windows)
    assert all(key.end <= whole.closed_until for key in due)
    # One partition whose newest order is old holds all of them back.
    behind = next(run for run in parts if run.topic == ORDER_TOPIC)
    parts[parts.index(behind)] = behind._replace(numbers=behind.numbers[:100])
    assert Expected(STREAM, parts).closed_until < whole.closed_until - 300_000


def test_alerts_are_the_frauds_and_the_high_values(
    expected: Expected, orders: list[dict[str, Any]]
) -> None:
    truths = {str(truth["alert_id"]) for truth in STREAM.ground_truth(0, COUNT)}
    high = {f"high_value_order:{o['event_id']}" for o in orders if o["amount"] >= 7500}
    assert truths and high and set(expected.alerts) == truths | high


def test_a_pattern_whose_event_was_not_acknowledged_is_not_expected() -> None:
    fraud = next(STREAM.frauds(0, COUNT))
    left = [
        run._replace(numbers=[number for number in run.numbers if number != fraud.numbers[0]])
        for run in acknowledged(range(COUNT))
    ]
    gone = (
        Expected(STREAM, acknowledged(range(COUNT))).alerts.keys()
        - Expected(STREAM, left).alerts.keys()
    )
    assert f"{fraud.pattern}:1-{fraud.numbers[-1]}" in gone


def test_events_that_were_sent_twice_count_twice() -> None:
    once, twice = acknowledged(range(1_000)), acknowledged(range(1_000)) * 2
    counts = [
        sum(w["orders"] for w in Expected(STREAM, runs).windows.values()) for runs in (once, twice)
    ]
    assert counts[1] == 2 * counts[0]


def test_of_two_countries_only_the_order_from_abroad_counts() -> None:
    one = Alert.of("two_countries", "c", ["1-1", "1-9"], [5, 9])
    assert one == Alert.of("two_countries", "c", ["1-9"], [9])
    assert one != Alert.of("two_countries", "c", ["1-1", "1-8"], [5, 9])
    bursts = [Alert.of("high_value_burst", "c", [first, "1-9"], [5, 9]) for first in ("1-1", "1-4")]
    assert bursts[0] != bursts[1]


def test_what_is_wrong_is_counted_with_examples() -> None:
    comparison = Comparison({"a": {"n": 1}, "b": {"n": 2}, "c": {"n": 3}, "d": {"n": 4}}, "abc")
    for key, number in [("a", 1), ("b", 7), ("x", 9), ("x", 9), ("d", 4)]:
        comparison.add(key, {"n": number})
    assert comparison.missing == {"c"}
    assert comparison.result() == {
        "due": 3,
        "equal": 2,
        "missing": 1,
        "extra": 1,
        "different": 1,
        "repeated": 1,
        "examples": {
            "missing": ["c"],
            "extra": ["x: n 9"],
            "different": ["b: n 7, not n 2"],
            "repeated": ["x"],
        },
    }


def test_what_the_generator_kept_is_read() -> None:
    lines = ["bss.order.events\t2\t100\t7,9\n", "bss.order.events\t2\t105\t12\n"]
    runs = list(read_acknowledged(lines))
    assert runs == [
        Acknowledged("bss.order.events", 2, 100, [7, 9]),
        Acknowledged("bss.order.events", 2, 105, [12]),
    ]
    assert unknown_events(runs) == 103
    assert unknown_events([*runs, Acknowledged("bss.order.events", 2, 0, list(range(100)))]) == 3


def test_records_are_read() -> None:
    window = (
        b'{"metric":"ORDER_STATUS","window_start":0,"window_end":600000,"status":"FAILED",'
        b'"orders":2,"total_amount":20.10}'
    )
    assert window_of(window) == (
        WindowKey("ORDER_STATUS", 0, 600_000, "FAILED"),
        {"orders": 2, "total_amount": Decimal("20.1")},
    )
    alert = (
        b'{"alert_id":"high_value_order:1-5","pattern":"high_value_order","customer_id":"c",'
        b'"event_ids":["1-5"],"event_times":[50]}'
    )
    assert alert_of(alert) == (
        "high_value_order:1-5",
        Alert("high_value_order", "c", ("1-5",), (50,)),
    )


@pytest.mark.parametrize("value", [b"{", b"[]", b'{"metric":"OTHER"}', b'{"orders":1}'])
def test_records_of_another_kind_are_told(value: bytes) -> None:
    with pytest.raises(BadRecord):
        window_of(value)
    with pytest.raises(BadRecord):
        alert_of(value)
