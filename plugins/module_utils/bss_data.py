# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The sample data of BSS: products, services, customers and their orders.

Every row is a function of the seed and its own number, by a hash and integer
arithmetic alone. The rows are therefore the same bytes on any machine, and any
range of them can be made without the rows before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from hashlib import blake2b
from struct import Struct

COLUMNS: dict[str, tuple[str, ...]] = {
    "products": ("product_id", "sku", "name", "category", "price"),
    "services": ("service_id", "name", "monthly_fee"),
    "customers": ("customer_id", "name", "email", "status", "created_at"),
    "orders": (
        "customer_id",
        "order_id",
        "product_id",
        "service_id",
        "quantity",
        "amount",
        "status",
        "created_at",
    ),
}
"""Columns of each table in the order of a line; referenced tables come first."""

# Customers joined in the two years before the first order: nobody orders before they exist.
FIRST_CUSTOMER_DAY = date(2022, 1, 1)
CUSTOMER_DAYS = 730
FIRST_ORDER_DAY = date(2024, 1, 1)
ORDER_DAYS = 731  # two years, to the end of 2025

PRODUCT_CATEGORIES = (  # name, lowest and highest price in cents
    ("Mobile plan", 999, 5999),
    ("Fibre plan", 1999, 9999),
    ("Handset", 9900, 129900),
    ("Router", 4900, 29900),
    ("TV box", 2900, 14900),
)
SERVICE_KINDS = (
    *("Static address", "Roaming", "Device insurance", "Voicemail", "TV package"),
    *("Cloud backup", "Parental control", "Premium support"),
)
GIVEN_NAMES = (
    *("Ada", "Amina", "Bruno", "Carla", "Chen", "Daria", "David", "Elena", "Emil", "Fatima"),
    *("Grace", "Hana", "Hugo", "Ines", "Ivan", "Jonas", "Kofi", "Lea", "Linus", "Maria"),
    *("Mei", "Nadia", "Noah", "Olga", "Omar", "Priya", "Rosa", "Sven", "Tomas", "Yusuf"),
)
FAMILY_NAMES = (
    *("Abebe", "Andersen", "Bauer", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia"),
    *("Haddad", "Ivanov", "Jansen", "Khan", "Kowalski", "Lopez", "Moreau", "Nakamura"),
    *("Novak", "Okafor", "Pereira", "Quinn", "Rossi", "Santos", "Schmidt", "Tanaka"),
    *("Ueda", "Vargas", "Weber", "Xu", "Yilmaz", "Zhang"),
)

# One byte of a row's hash picks from 256 slots; how often a value stands there is its weight.
QUANTITIES = (1,) * 180 + (2,) * 50 + (3,) * 18 + (5,) * 8
CUSTOMER_STATUSES = ("ACTIVE",) * 224 + ("SUSPENDED",) * 20 + ("CLOSED",) * 12
ORDER_STATUSES = (
    ("COMPLETED",) * 200
    + ("IN_PROGRESS",) * 20
    + ("CANCELLED",) * 20
    + ("PENDING",) * 12
    + ("FAILED",) * 4
)

_CUSTOMER_FIELDS = Struct("<16xIBBB")
_ORDER_FIELDS = Struct("<16xIIHHBB")


@dataclass(frozen=True)
class Dataset:
    """Which data: a seed, and how many rows each table has."""

    seed: int
    rows: Mapping[str, int]

    def source(self, table: str) -> str:
        """What the rows of that table depend on; equal sources mean equal rows."""
        source = f"seed={self.seed}"
        if table == "orders":
            for referenced in ("products", "services", "customers"):
                source += f" {referenced}={self.rows[referenced]}"
        return source

    def lines(self, table: str, start: int, stop: int) -> Iterator[str]:
        """Rows start (the first is 0) up to, not including, stop, as lines for COPY."""
        make = {
            "products": self._products,
            "services": self._services,
            "customers": self._customers,
            "orders": self._orders,
        }[table]
        return make(range(start, stop))

    def _products(self, numbers: range) -> Iterator[str]:
        for number in numbers:
            name = PRODUCT_CATEGORIES[number % len(PRODUCT_CATEGORIES)][0]
            price = as_decimal(product_price(self.seed, number))
            yield f"{number + 1}\tP-{number + 1:05d}\t{name} {number + 1}\t{name}\t{price}\n"

    def _services(self, numbers: range) -> Iterator[str]:
        for number in numbers:
            name = SERVICE_KINDS[number % len(SERVICE_KINDS)]
            fee = as_decimal(service_fee(self.seed, number))
            yield f"{number + 1}\t{name} {number + 1}\t{fee}\n"

    def _customers(self, numbers: range) -> Iterator[str]:
        days = _days(FIRST_CUSTOMER_DAY, CUSTOMER_DAYS)
        times = _times()
        for number in numbers:
            digest = row_hash(self.seed, "customers", number)
            moment, given, family, status = _CUSTOMER_FIELDS.unpack_from(digest)
            first = GIVEN_NAMES[given * len(GIVEN_NAMES) >> 8]
            last = FAMILY_NAMES[family * len(FAMILY_NAMES) >> 8]
            day, second = divmod(moment * CUSTOMER_DAYS * 86400 >> 32, 86400)
            yield (
                f"{as_uuid(digest)}\t{first} {last}\t"
                f"{first.lower()}.{last.lower()}.{number + 1}@example.com\t"
                f"{CUSTOMER_STATUSES[status]}\t{days[day]} {times[second]}+00\n"
            )

    def _orders(self, numbers: range) -> Iterator[str]:
        customers = [customer_id(self.seed, number) for number in range(self.rows["customers"])]
        prices = [product_price(self.seed, number) for number in range(self.rows["products"])]
        fees = [service_fee(self.seed, number) for number in range(self.rows["services"])]
        days = _days(FIRST_ORDER_DAY, ORDER_DAYS)
        times = _times()
        for number in numbers:
            digest = row_hash(self.seed, "orders", number)
            buyer, moment, choice, extra, units, status = _ORDER_FIELDS.unpack_from(digest)
            # Power laws: with u even in [0, 1), N * u**3 gives a fifth of the customers
            # 58 % of the orders, P * u**2 a fifth of the products 45 % of the sales.
            customer = customers[buyer**3 * len(customers) >> 96]
            product = choice**2 * len(prices) >> 32
            quantity = QUANTITIES[units]
            cents = prices[product] * quantity
            service = r"\N"  # three of five orders take a service as well
            if extra >= 26214:
                chosen = (extra - 26214) * len(fees) // (65536 - 26214)
                cents += fees[chosen]
                service = str(chosen + 1)
            day, second = divmod(moment * ORDER_DAYS * 86400 >> 32, 86400)
            yield (
                f"{customer}\t{as_uuid(digest)}\t{product + 1}\t{service}\t{quantity}\t"
                f"{as_decimal(cents)}\t{ORDER_STATUSES[status]}\t{days[day]} {times[second]}+00\n"
            )


def customer_id(seed: int, number: int) -> str:
    """The UUID of a customer; number 0 is the one with the most orders."""
    return as_uuid(row_hash(seed, "customers", number))


def product_price(seed: int, number: int) -> int:
    """The price of product ``number + 1`` in cents."""
    _name, low, high = PRODUCT_CATEGORIES[number % len(PRODUCT_CATEGORIES)]
    return low + int.from_bytes(row_hash(seed, "products", number)[:4], "little") % (high - low)


def service_fee(seed: int, number: int) -> int:
    """The monthly fee of service ``number + 1`` in cents: 0.99 to 19.98."""
    return 99 + int.from_bytes(row_hash(seed, "services", number)[:4], "little") % 1900


def row_hash(seed: int, table: str, number: int) -> bytes:
    """32 bytes that a row is made from; the first 16 make its UUID."""
    return blake2b(f"{seed}/{table}/{number}".encode(), digest_size=32).digest()


def as_uuid(digest: bytes) -> str:
    """A UUID of version 8 (RFC 9562: of one's own making) from the first 16 bytes."""
    text = digest[:16].hex()
    return f"{text[:8]}-{text[8:12]}-8{text[13:16]}-8{text[17:20]}-{text[20:]}"


def as_decimal(cents: int) -> str:
    """``129.99`` of 12999."""
    return f"{cents // 100}.{cents % 100:02d}"


@cache
def _days(first: date, count: int) -> tuple[str, ...]:
    return tuple((first + timedelta(days=day)).isoformat() for day in range(count))


@cache
def _times() -> tuple[str, ...]:
    return tuple(
        f"{hour:02d}:{minute:02d}:{second:02d}"
        for hour in range(24)
        for minute in range(60)
        for second in range(60)
    )
