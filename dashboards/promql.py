# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""What can be told of a query without Prometheus: what it reads, and itself without variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Grafana's own: four scrapes at least, the time that a dashboard shows, and a point's.
BUILT_IN = {"__rate_interval": "1m", "__range": "1h", "__interval": "15s"}

STRING = r'"(?:\\.|[^"\\])*"'
TOKEN = re.compile(
    rf"""
      (?P<string>{STRING})
    | (?P<matchers>\{{(?:{STRING}|[^{{}}"])*\}})
    | (?P<range>\[[^\]]*\])
    # Labels that a clause names are no metrics.
    | (?P<clause>\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\))
    | (?P<number>\b\d[\w.]*)
    | (?P<function>[a-zA-Z_]\w*(?=\s*\(|\s+(?:by|without)\b))
    | (?P<name>[a-zA-Z_:][\w:]*)
    """,
    re.VERBOSE,
)
KEYWORDS = {
    *("and", "or", "unless", "bool", "offset", "by", "without", "group_left", "group_right"),
    *("inf", "nan"),
}


@dataclass(frozen=True)
class Selector:
    metric: str
    # What stands within the braces.
    matchers: str


def selectors(expr: str) -> list[Selector]:
    """What a query reads."""
    tokens = [
        (found.lastgroup, found[0])
        for found in TOKEN.finditer(expr)
        if not (found.lastgroup == "name" and found[0].lower() in KEYWORDS)
    ]
    following = [*tokens[1:], ("end", "")]
    return [
        Selector(text, after[1:-1] if kind_after == "matchers" else "")
        for (kind, text), (kind_after, after) in zip(tokens, following, strict=True)
        if kind == "name"
    ]


def metrics(expr: str) -> set[str]:
    """The names of the metrics that a query reads."""
    return {selector.metric for selector in selectors(expr)}


def ranges(expr: str) -> list[str]:
    """The lengths of time that a query looks back over, as $__rate_interval."""
    return [
        found[0][1:-1].split(":")[0] for found in TOKEN.finditer(expr) if found.lastgroup == "range"
    ]


def variables(text: str) -> set[str]:
    """The variables that a query, a legend or a link names."""
    return set(re.findall(r"\$\{?([a-zA-Z_]\w*)", text))


def substituted(text: str, values: Mapping[str, str]) -> str:
    """The text with every variable's value in its place; one that has none is a KeyError."""
    known = {**BUILT_IN, **values}
    return re.sub(
        r"\$(?:\{([a-zA-Z_]\w*)(?::\w+)?\}|([a-zA-Z_]\w*))",
        lambda found: known[found[1] or found[2]],
        text,
    )
