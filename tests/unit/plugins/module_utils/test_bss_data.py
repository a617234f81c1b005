# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""The sample data: the same bytes everywhere, and a shape that makes sense."""

from __future__ import annotations

import hashlib
from collections import Counter
from decimal import Decimal

import pytest
from ansible_collections.bss.platform.plugins.module_utils.bss_data import (
    COLUMNS,
    Dataset,
    customer_id,
)

DATASET = Dataset(
    seed=1, rows={"products": 500, "services": 40, "customers": 5_000, "orders": 20_000}
)


def rows(table: str, dataset: Dataset = DATASET) -> list[dict[str, str]]:
    lines = dataset.lines(table, 0, dataset.rows[table])
    return [dict(zip(COLUMNS[table], line.rstrip("\n").split("\t"), strict=True)) for line in lines]


@pytest.mark.parametrize(
    ("table", "sha256"),
    [
        ("products", "ecccaac2f56144d9ace2c4279410d37bf07a53207e1873c0fe847a9bbad74e21"),
        ("services", "94d9868fae79c9f850e67f4b2647dfae7a8fd571f4bb0734667afa72b36755f7"),
        ("customers", "e8f43dd991f23253beccb95531f474827627be7a81b320aaeadecd63d7796e06"),
        ("orders", "32ee27b9cba675b194486963cb7ef4b8005bfbc959fb644ea48d38492cc32946"),
    ],
)
def test_the_bytes_never_change(table: str, sha256: str) -> None:
    """Databases in use hold rows made by earlier versions; a load goes on from these."""
    text = "".join(DATASET.lines(table, 0, DATASET.rows[table]))
    assert hashlib.sha256(text.encode()).hexdigest() == sha256


@pytest.mark.parametrize("table", list(COLUMNS))
def test_a_range_is_the_same_as_in_the_whole(table: str) -> None:
    whole = list(DATASET.lines(table, 0, DATASET.rows[table]))
    assert list(DATASET.lines(table, 7, 30)) == whole[7:30]


@pytest.mark.parametrize("table", list(COLUMNS))
def test_another_seed_makes_other_rows(table: str) -> None:
    assert rows(table, Dataset(2, DATASET.rows)) != rows(table)


def test_keys_are_unique() -> None:
    for table, key in (("products", "product_id"), ("services", "service_id")):
        assert [row[key] for row in rows(table)] == [
            str(number + 1) for number in range(DATASET.rows[table])
        ]
    for table, key in (("customers", "customer_id"), ("orders", "order_id")):
        assert len({row[key] for row in rows(table)}) == DATASET.rows[table]


def test_orders_refer_to_what_there_is_and_cost_what_it_costs() -> None:
    customers = {row["customer_id"]: row for row in rows("customers")}
    prices = {row["product_id"]: Decimal(row["price"]) for row in rows("products")}
    fees = {row["service_id"]: Decimal(row["monthly_fee"]) for row in rows("services")}
    fees[r"\N"] = Decimal(0)
    for order in rows("orders"):
        cost = prices[order["product_id"]] * int(order["quantity"]) + fees[order["service_id"]]
        assert Decimal(order["amount"]) == cost
        assert customers[order["customer_id"]]["created_at"] < order["created_at"]


def test_few_customers_have_most_of_the_orders() -> None:
    counts = Counter(row["customer_id"] for row in rows("orders"))
    fifth = sum(count for _customer, count in counts.most_common(DATASET.rows["customers"] // 5))
    assert fifth / DATASET.rows["orders"] == pytest.approx(0.6, abs=0.05)
    assert counts.most_common(1)[0][0] == customer_id(DATASET.seed, 0)


def test_every_product_and_service_is_sold() -> None:
    sold = rows("orders")
    assert len({row["product_id"] for row in sold}) == DATASET.rows["products"]
    assert len({row["service_id"] for row in sold}) == DATASET.rows["services"] + 1  # and none


def test_orders_alone_depend_on_the_other_counts() -> None:
    more = Dataset(1, {**DATASET.rows, "customers": 6_000})
    assert more.source("customers") == DATASET.source("customers")
    assert more.source("orders") != DATASET.source("orders")
    assert Dataset(1, {**DATASET.rows, "orders": 30_000}).source("orders") == DATASET.source(
        "orders"
    )
