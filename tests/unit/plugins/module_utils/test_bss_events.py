# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The events: the same everywhere, in a known disorder, with just the frauds that are on record."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.bss.platform.plugins.module_utils.bss_data import (
    customer_id,
    product_price,
    service_fee,
)
from ansible_collections.bss.platform.plugins.module_utils.bss_events import (
    CUSTOMER_TOPIC,
    DISORDER_MS,
    LATE_FROM_MS,
    LATE_TO_MS,
    ORDER_TOPIC,
    PATTERNS,
    ImpossibleStream,
    Stream,
)

CHECKOUT = Path(__file__).parents[4]
START_MS = 1_767_225_600_000
STREAM = Stream(
    seed=1,
    rows={"products": 500, "services": 40, "customers": 4_000},
    start_ms=START_MS,
    event_rate=1_000,
    fraud_every=500,
)
COUNT = 300_000


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    return read(STREAM, range(COUNT))


def read(stream: Stream, numbers: Iterable[int]) -> list[dict[str, Any]]:
    """Events as a consumer has them, with their topic and number."""
    return [
        {
            **json.loads(event.value, parse_float=Decimal),
            "topic": event.topic,
            "number": event.number,
        }
        for event in stream.events(numbers)
    ]


def delay(event: dict[str, Any]) -> int:
    """How far an event is behind the time that belongs to its number."""
    behind: int = START_MS + event["number"] - event["event_time"]  # one a millisecond
    return behind


def test_the_bytes_never_change() -> None:
    """What was sent by an earlier version is looked up by making it again."""
    made = hashlib.sha256()
    for event in STREAM.events(range(20_000)):
        made.update(event.topic.encode() + event.key + event.value)
    assert made.hexdigest() == ("56f42b005645815ee07e4adce5c2c5f6ea130ab3629d15769b6ac1c9dc5af0af")


def test_an_event_is_the_same_in_any_range_and_order() -> None:
    whole = list(STREAM.events(range(5_000)))
    assert list(STREAM.events(range(4_321, 4_999))) == whole[4_321:4_999]
    assert list(STREAM.events(range(3_000, 100, -7))) == whole[3_000:100:-7]


def test_parts_have_customers_of_their_own() -> None:
    numbers = range(20_000)  # with frauds among them
    parts = [list(STREAM.events(numbers, part, 3)) for part in range(3)]
    assert sorted(event for part in parts for event in part) == list(STREAM.events(numbers))
    keys = [{event.key for event in part} for part in parts]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])
    # Some customers have many events, and are spread nevertheless.
    assert max(map(len, parts)) < 1.3 * min(map(len, parts))


def test_another_seed_makes_other_events() -> None:
    other = replace(STREAM, seed=2)
    keys = {event.key for event in STREAM.events(range(100))}
    assert keys.isdisjoint(event.key for event in other.events(range(100)))


def test_keys_are_the_customers_of_the_data_set() -> None:
    customers = {customer_id(1, number) for number in range(STREAM.rows["customers"])}
    for event in STREAM.events(range(5_000)):
        assert event.key.decode() in customers
        assert json.loads(event.value)["customer_id"] == event.key.decode()


def test_ids_are_unique(events: list[dict[str, Any]]) -> None:
    assert len({event["event_id"] for event in events}) == COUNT
    orders = [event["order_id"] for event in events if event["topic"] == ORDER_TOPIC]
    assert len(set(orders)) == len(orders)


def test_a_quarter_is_of_customers(events: list[dict[str, Any]]) -> None:
    topics = Counter(event["topic"] for event in events)
    assert set(topics) == {CUSTOMER_TOPIC, ORDER_TOPIC}
    assert topics[CUSTOMER_TOPIC] / COUNT == pytest.approx(0.25, abs=0.01)


def test_orders_cost_what_the_data_set_says(events: list[dict[str, Any]]) -> None:
    for order in events[:20_000]:
        if order["topic"] == ORDER_TOPIC:
            cents = product_price(1, order["product_id"] - 1) * order["quantity"]
            if order["service_id"] is not None:
                cents += service_fee(1, order["service_id"] - 1)
            assert order["amount"] * 100 == cents


def test_disorder_and_lateness_are_as_stated(events: list[dict[str, Any]]) -> None:
    delays = [delay(event) for event in events]
    late = [each for each in delays if each > DISORDER_MS]
    assert min(delays) >= 0 and min(late) >= LATE_FROM_MS and max(late) < LATE_TO_MS
    assert len(late) / COUNT == pytest.approx(0.001, rel=0.3)
    small = sorted(each for each in delays if each <= DISORDER_MS)
    assert small[len(small) // 2] == pytest.approx(DISORDER_MS / 4, rel=0.05)
    assert small[-1] > DISORDER_MS * 0.99


def found(events: Iterable[dict[str, Any]]) -> list[str]:
    """The alerts of a detector that knows only the patterns' definitions in docs/events.md."""
    of_customer = defaultdict(list)
    for event in sorted(events, key=lambda each: (each["event_time"], each["number"])):
        if delay(event) <= DISORDER_MS:  # a watermark leaves the late ones out
            of_customer[event["customer_id"]].append(event)
    alerts = []

    def match(pattern: str, rows: list[dict[str, Any]], *conditions: Any) -> None:
        """MATCH_RECOGNIZE ... AFTER MATCH SKIP PAST LAST ROW ... WITHIN INTERVAL '1' MINUTE."""
        at = 0
        while at + len(conditions) <= len(rows):
            part = rows[at : at + len(conditions)]
            within = part[-1]["event_time"] - part[0]["event_time"] < 60_000
            if within and all(
                holds(row, part[0]) for holds, row in zip(conditions, part, strict=True)
            ):
                alerts.append(f"{pattern}:{part[-1]['event_id']}")
                at += len(conditions)
            else:
                at += 1

    def high(row: dict[str, Any], _first: dict[str, Any]) -> bool:
        return row.get("amount", 0) >= 7500

    def moved(row: dict[str, Any], _first: dict[str, Any]) -> bool:
        return row.get("event_type") == "ADDRESS_CHANGED"

    for rows in of_customer.values():
        orders = [row for row in rows if row["topic"] == ORDER_TOPIC]
        highs = [row for row in orders if high(row, row)]
        match("high_value_burst", highs, high, high, high)
        both = [row for row in rows if high(row, row) or moved(row, row)]
        match("order_after_address_change", both, moved, high)
        match(
            "two_countries",
            orders,
            lambda _row, _first: True,
            lambda row, first: row["country"] != first["country"],
        )
    return alerts


def test_a_detector_finds_the_ground_truth_and_nothing_else(events: list[dict[str, Any]]) -> None:
    truth = list(STREAM.ground_truth(0, COUNT))
    alerts = found(events)
    assert sorted(alerts) == sorted(str(record["alert_id"]) for record in truth)
    counts = Counter(record["pattern"] for record in truth)
    assert set(counts) == set(PATTERNS) and min(counts.values()) > 50


def test_no_alert_twice_where_customers_are_few() -> None:
    stream = replace(STREAM, rows={**STREAM.rows, "customers": 1_600}, fraud_every=450)
    truth = [str(record["alert_id"]) for record in stream.ground_truth(0, COUNT)]
    assert sorted(found(read(stream, range(COUNT)))) == sorted(truth)


def test_ground_truth_names_events_as_they_are(events: list[dict[str, Any]]) -> None:
    by_id = {event["event_id"]: event for event in events}
    for record in STREAM.ground_truth(0, COUNT):
        parts = [by_id[each] for each in record["event_ids"]]  # type: ignore[attr-defined]
        assert [part["event_time"] for part in parts] == record["event_times"]
        assert {part["customer_id"] for part in parts} == {record["customer_id"]}
        assert all(after["event_time"] > row["event_time"] for row, after in pairwise(parts))
        assert parts[-1]["event_time"] - parts[0]["event_time"] < 60_000


def test_near_misses_are_there(events: list[dict[str, Any]]) -> None:
    """Of what is only nearly a pattern, there is enough to be wrong about."""
    named = {
        each
        for record in STREAM.ground_truth(0, COUNT)
        for each in record["event_ids"]  # type: ignore[attr-defined]
    }
    alone = [event for event in events if event.get("amount", 0) >= 7500]
    assert len([event for event in alone if event["event_id"] not in named]) > 100


def test_a_range_has_only_the_patterns_that_lie_in_it_as_a_whole() -> None:
    whole = list(STREAM.frauds(0, COUNT))
    first, last = whole[3].numbers[0], whole[3].numbers[-1]
    assert whole[3] in list(STREAM.frauds(first, last + 1))
    assert whole[3] not in list(STREAM.frauds(first + 1, last + 1))
    assert whole[3] not in list(STREAM.frauds(first, last))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"fraud_every": 20_000}, "Take 3 to 15000"),
        ({"fraud_every": 100}, "Take fraud_every 180 or more, or more customers"),
        ({"event_rate": 0}, "at least 1"),
        ({"rows": {"products": 4, "services": 1, "customers": 4_000}}, "products are at least 5"),
        ({"rows": {"products": 5, "services": 1, "customers": 3}}, "more customers"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ImpossibleStream, match=re.escape(says)):
        replace(STREAM, **changed)


KINDS: dict[str, type] = {"string": str, "integer": int, "number": Decimal}


@pytest.mark.parametrize("topic", [CUSTOMER_TOPIC, ORDER_TOPIC])
def test_the_page_documents_each_field(topic: str, events: list[dict[str, Any]]) -> None:
    page = (CHECKOUT / "docs/events.md").read_text(encoding="utf-8")
    section = page.split(f"## {topic}\n")[1].split("\n## ")[0]
    documented = {
        name: kind.split(" or ")
        for name, kind in re.findall(r"^\| `(\w+)` \| ([\w ]+) \|", section, re.M)
    }
    for event in [event for event in events if event["topic"] == topic][:5_000]:
        assert list(event)[:-2] == list(documented)  # the test's own two come last
        for name, kinds in documented.items():
            value = event[name]
            assert ("null" in kinds) if value is None else isinstance(value, KINDS[kinds[0]]), name


def test_the_page_lists_each_value(events: list[dict[str, Any]]) -> None:
    page = (CHECKOUT / "docs/events.md").read_text(encoding="utf-8")
    words = set(re.findall(r"`([A-Z_]+)`", page))
    seen = {
        event[name]
        for event in events
        for name in ("event_type", "status", "country", "channel")
        if name in event
    }
    assert seen - words == set()
    assert {name for name in PATTERNS if f"`{name}`" not in page} == set()
