# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""When two values of a setting mean the same, and which ones can be at all."""

from __future__ import annotations

import pytest
from ansible_collections.bss.platform.plugins.module_utils.kafka_config_values import (
    BOOLEAN,
    DOUBLE,
    INT,
    LIST,
    LONG,
    SHORT,
    STRING,
    UNKNOWN,
    is_fit,
    is_same,
    normal,
)


@pytest.mark.parametrize(
    ("kind", "value", "as_kafka_writes_it"),
    [
        (INT, " +0012 ", "12"),
        (LONG, "-1", "-1"),
        (INT, "1_000", "1_000"),  # a number to Python, not to Java
        (INT, "soon", "soon"),
        (DOUBLE, "1e6", "1000000.0"),
        (DOUBLE, ".70", "0.7"),
        (DOUBLE, "inf", "inf"),
        (BOOLEAN, " TRUE", "true"),
        (BOOLEAN, "Yes", "Yes"),
        (LIST, " compact , delete", "compact,delete"),
        (STRING, " TRUE ", "TRUE"),
        (UNKNOWN, "True", "true"),
    ],
)
def test_a_value_is_written_in_one_way(kind: int, value: str, as_kafka_writes_it: str) -> None:
    assert normal(kind, value) == as_kafka_writes_it
    assert is_same(kind, value, as_kafka_writes_it)


def test_no_value_is_not_an_empty_one() -> None:
    assert is_same(STRING, None, None)
    assert not is_same(STRING, None, "")


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        (SHORT, "32767", True),
        (SHORT, "32768", False),
        (INT, "-2147483648", True),
        (INT, "2147483648", False),
        (LONG, "9223372036854775807", True),
        (INT, "", False),
        (INT, "1.0", False),
        (DOUBLE, "1", True),
        (DOUBLE, "nan", False),
        (BOOLEAN, "yes", False),
        (STRING, "", True),
    ],
)
def test_a_value_fits_its_kind(kind: int, value: str, fits: bool) -> None:
    assert is_fit(kind, value) is fits
