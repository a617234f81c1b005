# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Values of Kafka's settings: their kinds, and when two mean the same."""

from __future__ import annotations

import re
from typing import Any

UNKNOWN, BOOLEAN, STRING, INT, SHORT, LONG, DOUBLE, LIST = range(8)
"""DescribeConfigs' numbers of kinds. UNKNOWN has no definition in Kafka."""

BITS = {SHORT: 16, INT: 32, LONG: 64}
WHOLE = re.compile(r"[+-]?[0-9]+")
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def written(value: Any) -> str | None:
    """A value of YAML as Kafka writes it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(str(each) for each in value)
    return str(value)


def normal(kind: int, value: str) -> str:
    """The one way of writing a value of that kind, as Kafka tells it; unfit ones as they are.

    Kafka stores what it is sent, and some of it fails on a broker with what the check before had
    let pass (a space before a number), so that only this is sent.
    """
    value = value.strip()
    if not is_fit(kind, value):
        return value
    if kind in BITS:
        return str(int(value))
    if kind == DOUBLE:
        return str(float(value))
    if kind in (BOOLEAN, UNKNOWN) and value.lower() in ("true", "false"):
        return value.lower()
    if kind == LIST:
        return ",".join(each.strip() for each in value.split(","))
    return value


def is_same(kind: int, one: str | None, other: str | None) -> bool:
    """Whether two values mean the same to Kafka; None is that there is none."""
    if one is None or other is None:
        return one is other
    return normal(kind, one) == normal(kind, other)


def is_fit(kind: int, value: str) -> bool:
    """Whether a value can be of that kind; what each setting further asks for, only Kafka knows."""
    value = value.strip()
    if kind in BITS:
        most: int = 2 ** (BITS[kind] - 1)
        return bool(WHOLE.fullmatch(value)) and -most <= int(value) < most
    if kind == DOUBLE:
        return bool(DECIMAL.fullmatch(value))
    return kind != BOOLEAN or value.lower() in ("true", "false")
