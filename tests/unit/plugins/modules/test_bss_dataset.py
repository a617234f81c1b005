# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What bss_dataset plans, and refuses, for what the tables hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.bss.platform.plugins.module_utils.bss_data import Dataset
from ansible_collections.bss.platform.plugins.modules.bss_dataset import Found, plan, progress

ROWS = {"products": 5, "services": 4, "customers": 100, "orders": 1_000}
DATASET = Dataset(seed=1, rows=ROWS)
NOTHING = {table: Found(exists=True) for table in ROWS}
ALL = {
    table: Found(exists=True, empty=False, source=DATASET.source(table), rows=rows)
    for table, rows in ROWS.items()
}


def test_empty_tables_are_filled_referenced_ones_first() -> None:
    steps = plan(NOTHING, DATASET)
    assert steps.sentences == [
        "load products: rows 1 to 5",
        "load services: rows 1 to 4",
        "load customers: rows 1 to 100",
        "load orders: rows 1 to 1,000",
    ]
    assert steps.diff["after"] == ROWS


def test_nothing_to_do() -> None:
    steps = plan(ALL, DATASET)
    assert not steps.changed
    assert steps.diff == {"before": {}, "after": {}}


def test_it_goes_on_where_it_was_interrupted() -> None:
    current = {**ALL, "orders": replace(ALL["orders"], rows=350)}
    assert plan(current, DATASET).sentences == ["load orders: rows 351 to 1,000"]


def test_a_table_that_lost_its_rows_is_loaded_again() -> None:
    current = {**ALL, "orders": replace(ALL["orders"], empty=True)}
    assert plan(current, DATASET).sentences == ["load orders: rows 1 to 1,000"]


def test_rows_of_an_application_are_no_obstacle() -> None:
    current = {**NOTHING, "customers": Found(exists=True, empty=False)}
    assert "load customers: rows 1 to 100" in plan(current, DATASET).sentences


def test_more_orders_can_be_asked_for() -> None:
    steps = plan(ALL, Dataset(1, {**ROWS, "orders": 2_000}))
    assert steps.sentences == ["load orders: rows 1,001 to 2,000"]
    assert not steps.refusals


@pytest.mark.parametrize(
    ("current", "dataset", "said"),
    [
        pytest.param(
            {**NOTHING, "orders": Found()}, DATASET, ["no table", "migrations"], id="no table"
        ),
        pytest.param(
            {**NOTHING, "orders": ALL["orders"]},
            Dataset(2, ROWS),
            ["seed=2", "seed=1", "TRUNCATE orders"],
            id="other seed",
        ),
        pytest.param(
            ALL,
            Dataset(1, {**ROWS, "customers": 200}),
            ["customers=200", "customers=100", "TRUNCATE orders"],
            id="more customers after the orders",
        ),
        pytest.param(
            ALL, Dataset(1, {**ROWS, "orders": 10}), ["10 rows", "1,000 rows"], id="fewer rows"
        ),
        pytest.param(
            NOTHING,
            Dataset(1, {**ROWS, "services": 0}),
            ["services=0", "an order needs"],
            id="nothing to order",
        ),
        pytest.param(
            NOTHING, Dataset(1, {**ROWS, "orders": -1}), ["orders=-1", "negative"], id="negative"
        ),
    ],
)
def test_refusals(current: dict[str, Found], dataset: Dataset, said: list[str]) -> None:
    refusals = plan(current, dataset).refusals
    assert len(refusals) == 1
    for words in said:
        assert words in str(refusals[0])


@pytest.mark.parametrize(
    ("loaded", "rate", "said"),
    [
        ({**ROWS, "orders": 450}, 52_110.4, "orders 450 of 1,000, 52,110 rows/s"),
        ({**ROWS, "orders": 450}, 0, "orders 450 of 1,000"),
        (
            ROWS,
            0,
            "products 5 of 5, services 4 of 4, customers 100 of 100, orders 1,000 of 1,000",
        ),
    ],
)
def test_progress(loaded: dict[str, int], rate: float, said: str) -> None:
    assert progress(loaded, DATASET, rate) == said
