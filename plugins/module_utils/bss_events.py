# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The events of BSS: what customers do, what they order, and frauds among it.

Every event is a function of the stream (its seed and settings) and its own number. So any range
can be made again, which tells what an event that was lost had in it, and which frauds a
detector has to find. docs/events.md has the fields and the patterns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from struct import Struct
from typing import NamedTuple

from ansible_collections.bss.platform.plugins.module_utils.bss_data import (
    ORDER_STATUSES,
    QUANTITIES,
    as_decimal,
    as_uuid,
    customer_id,
    product_price,
    row_hash,
    service_fee,
)

CUSTOMER_TOPIC = "bss.customer.events"
ORDER_TOPIC = "bss.order.events"

# Event time runs ahead evenly, and each event is behind it: nearly all a little, few by far.
# Nothing lies between the two: a watermark that allows for anything from DISORDER_MS to
# LATE_FROM_MS calls the same events late.
DISORDER_MS = 2_000
LATE_FROM_MS = 10_000
LATE_TO_MS = 60_000
LATE_OF_65536 = 66  # one in a thousand

# No order but an injected one costs as much: the dearest product five times is below.
HIGH_VALUE_CENTS = 750_000
# What belongs to a pattern happens within this time, and the patterns of one customer
# are further apart than twice this time.
WINDOW_MS = 60_000
# Between two events of a pattern, at the least. More than the disorder, so that their
# order in event time is certain.
SPACING_MS = 5_000
LONGEST_BLOCK_MS = 15_000
# One customer in so many is one that patterns are injected for.
VICTIM_EVERY = 4

PATTERNS = ("high_value_burst", "order_after_address_change", "two_countries")
# What nearly is a pattern, so that a detector can be wrong in this direction, too.
NEAR_MISSES = ("two_high_values", "address_change_alone")
# One byte of the hash picks: a fifth each.
_KINDS = (*PATTERNS, *NEAR_MISSES)

# One byte of the hash picks from 256 slots; how often a value stands there is its weight.
COUNTRIES = ("DE",) * 96 + ("FR",) * 56 + ("ES",) * 40 + ("IT",) * 32 + ("PL",) * 20 + ("SE",) * 12
COUNTRIES_ABROAD = ("BR", "NG", "VN", "US")
CHANNELS = ("WEB",) * 120 + ("APP",) * 96 + ("SHOP",) * 28 + ("CALL_CENTRE",) * 12
EVENT_TYPES = (
    ("SIGNED_IN",) * 160
    + ("PROFILE_UPDATED",) * 36
    + ("SERVICE_ADDED",) * 28
    + ("SERVICE_REMOVED",) * 16
    + ("ADDRESS_CHANGED",) * 16
)
CUSTOMER_EVENTS_OF_256 = 64

HANDSETS = 5  # among as many products, number 2 is one (bss_data.PRODUCT_CATEGORIES)

_FIELDS = Struct("<16xIHHHHBBBB")


class Event(NamedTuple):
    """A message, and its number in the stream."""

    number: int
    topic: str
    key: bytes
    value: bytes


class Fraud(NamedTuple):
    """An injected pattern: its events by number, in the order of their event times."""

    pattern: str
    customer: int
    numbers: tuple[int, ...]


class ImpossibleStream(ValueError):
    """The settings do not go together; says which, and what would."""


@dataclass(frozen=True)
class Stream:
    """Which events: equal streams have equal events."""

    seed: int
    rows: Mapping[str, int]
    """How many products, services and customers there are, as in bss_data."""
    start_ms: int
    """Event time of number 0, in milliseconds since 1970."""
    event_rate: int
    """How many events happen in a second of event time."""
    fraud_every: int
    """How many events there are for one injected pattern (or near miss)."""

    def __post_init__(self) -> None:
        if min(self.event_rate, self.rows["services"], self.rows["customers"]) < 1:
            raise ImpossibleStream("event_rate, services and customers are at least 1.")
        if self.rows["products"] < HANDSETS:
            raise ImpossibleStream(f"products are at least {HANDSETS}, so that one is a handset.")
        if self.fraud_every < 3 or self._block_ms > LONGEST_BLOCK_MS:
            raise ImpossibleStream(
                f"fraud_every {self.fraud_every} at {self.event_rate} events a second: a pattern "
                f"would not fit in its minute. Take 3 to {self.event_rate * 15}."
            )
        if self._victims * self._block_ms < 3 * WINDOW_MS:
            least = -(-3 * WINDOW_MS * self.event_rate // (1000 * max(self._victims, 1)))
            raise ImpossibleStream(
                f"fraud_every {self.fraud_every} at {self.event_rate} events a second with "
                f"{self.rows['customers']} customers: patterns of one customer would overlap. "
                f"Take fraud_every {least} or more, or more customers."
            )

    def prepare(self) -> None:
        """Work out now what all events need: for 100,000 customers, that takes a moment."""
        next(self.events([0]))

    def events(self, numbers: Iterable[int], part: int = 0, parts: int = 1) -> Iterator[Event]:
        """The events with these numbers, in the order given.

        Of ``parts`` that have customers of their own each, those of one ``part`` (from 0).
        """
        seed = self.seed
        customers = self._customers
        prices, fees = self._prices, self._fees
        start_ms, event_rate, fraud_every = self.start_ms, self.event_rate, self.fraud_every
        block, injected = -1, dict[int, tuple[Fraud, int]]()
        for number in numbers:
            if number // fraud_every != block:
                block = number // fraud_every
                injected = self._injected(block)
            digest = row_hash(seed, "events", number)
            (who, choice, extra, disorder, late, units, status, channel, kind) = (
                _FIELDS.unpack_from(digest)
            )
            # As with the orders of bss_data: a fifth of the customers has 58 % of the events.
            customer = who**3 * len(customers) >> 96
            pattern = injected.get(number)
            if pattern:
                customer = pattern[0].customer
            if customer % parts != part:
                continue
            is_order = kind >= CUSTOMER_EVENTS_OF_256
            product = choice**2 * len(prices) >> 32
            quantity = QUANTITIES[units]
            event_type = EVENT_TYPES[status]
            order_status = ORDER_STATUSES[status]
            delay = disorder**2 * DISORDER_MS >> 32
            if disorder < LATE_OF_65536:
                delay = LATE_FROM_MS + (late * (LATE_TO_MS - LATE_FROM_MS) >> 16)
            abroad = False
            if pattern:
                fraud, step = pattern
                delay = late * DISORDER_MS >> 16  # its disorder, but never late
                order_status = "PENDING"
                event_type = "ADDRESS_CHANGED"
                address_change = fraud.pattern in (PATTERNS[1], NEAR_MISSES[1]) and step == 0
                is_order = not address_change
                abroad = fraud.pattern == PATTERNS[2] and step == 1
                if fraud.pattern in (PATTERNS[0], PATTERNS[1], NEAR_MISSES[0]):
                    product = 2 + choice % (len(prices) // HANDSETS) * HANDSETS
                    quantity = HIGH_VALUE_CENTS // prices[product] + 1 + units % 3
            elif event_type == "ADDRESS_CHANGED" and customer % VICTIM_EVERY == VICTIM_EVERY - 1:
                # It would go with the high-value orders that are injected for this customer.
                event_type = "SIGNED_IN"
            key, country = customers[customer]
            if abroad:
                country = COUNTRIES_ABROAD[late % len(COUNTRIES_ABROAD)]
            event_time = start_ms + number * 1000 // event_rate - delay
            if is_order:
                cents = prices[product] * quantity
                service = "null"  # three of five orders take a service as well
                if extra >= 26214:
                    chosen = (extra - 26214) * len(fees) // (65536 - 26214)
                    cents += fees[chosen]
                    service = str(chosen + 1)
                value = (
                    f'{{"event_id":"{seed}-{number}","event_time":{event_time},'
                    f'"customer_id":"{key}","order_id":"{as_uuid(digest)}",'
                    f'"product_id":{product + 1},"service_id":{service},"quantity":{quantity},'
                    f'"amount":{as_decimal(cents)},"status":"{order_status}",'
                    f'"country":"{country}","channel":"{CHANNELS[channel]}"}}'
                )
                yield Event(number, ORDER_TOPIC, key.encode(), value.encode())
            else:
                value = (
                    f'{{"event_id":"{seed}-{number}","event_time":{event_time},'
                    f'"customer_id":"{key}","event_type":"{event_type}",'
                    f'"country":"{country}","channel":"{CHANNELS[channel]}"}}'
                )
                yield Event(number, CUSTOMER_TOPIC, key.encode(), value.encode())

    def frauds(self, start: int, stop: int) -> Iterator[Fraud]:
        """The patterns that lie as a whole in the events start up to, not including, stop."""
        first = max(start // self.fraud_every, 0)
        for block in range(first, -(-stop // self.fraud_every)):
            fraud = self._fraud(block)
            if fraud.pattern in PATTERNS and start <= fraud.numbers[0] <= fraud.numbers[-1] < stop:
                yield fraud

    def ground_truth(self, start: int, stop: int) -> Iterator[dict[str, object]]:
        """What a detector has to find in these events: a record for each fraud."""
        for fraud in self.frauds(start, stop):
            event_ids = [f"{self.seed}-{number}" for number in fraud.numbers]
            yield {
                "alert_id": f"{fraud.pattern}:{event_ids[-1]}",
                "pattern": fraud.pattern,
                "customer_id": self._customers[fraud.customer][0],
                "event_ids": event_ids,
                "event_times": [self.event_time(number) for number in fraud.numbers],
            }

    def event_time(self, number: int) -> int:
        """Milliseconds since 1970 at which the event with that number happened."""
        value = next(self.events([number])).value
        return int(value.split(b'"event_time":', 1)[1].split(b",", 1)[0])

    @property
    def _block_ms(self) -> float:
        return self.fraud_every * 1000 / self.event_rate

    @property
    def _victims(self) -> int:
        return self.rows["customers"] // VICTIM_EVERY

    @cached_property
    def _blocks_between(self) -> int:
        """From a block with an event of a pattern to that with the next, so far are they apart."""
        return -int(-SPACING_MS // self._block_ms)

    @cached_property
    def _customers(self) -> list[tuple[str, str]]:
        """Id and usual country of each."""
        return [
            (
                customer_id(self.seed, number),
                COUNTRIES[row_hash(self.seed, "countries", number)[0]],
            )
            for number in range(self.rows["customers"])
        ]

    @cached_property
    def _prices(self) -> list[int]:
        return [product_price(self.seed, number) for number in range(self.rows["products"])]

    @cached_property
    def _fees(self) -> list[int]:
        return [service_fee(self.seed, number) for number in range(self.rows["services"])]

    @cached_property
    def _first_victim(self) -> int:
        return int.from_bytes(row_hash(self.seed, "victims", 0)[:4], "little")

    def _fraud(self, block: int) -> Fraud:
        """What begins in a block of ``fraud_every`` events.

        Its parts lie in the first, second and last third of a block each, so that those of
        several patterns do not meet in the block that they share.
        """
        digest = row_hash(self.seed, "frauds", block)
        pattern = _KINDS[digest[0] * len(_KINDS) >> 8]
        third = self.fraud_every // 3
        parts = 3 if pattern == "high_value_burst" else 2
        numbers = tuple(
            (block + part * self._blocks_between) * self.fraud_every
            + part * third
            + int.from_bytes(digest[4 + 4 * part : 8 + 4 * part], "little") % third
            for part in range(parts)
        )
        victim = (self._first_victim + block) % self._victims
        return Fraud(pattern, victim * VICTIM_EVERY + VICTIM_EVERY - 1, numbers)

    def _injected(self, block: int) -> dict[int, tuple[Fraud, int]]:
        """The numbers in a block that belong to a pattern, each with its part of it."""
        injected = {}
        for part in range(3):
            began = block - part * self._blocks_between
            if began >= 0:
                fraud = self._fraud(began)
                if part < len(fraud.numbers):
                    injected[fraud.numbers[part]] = (fraud, part)
        return injected
