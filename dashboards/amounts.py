# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Values in Grafana's units, as text."""

from __future__ import annotations

import math

SHORT = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"))
IEC = ((2**40, " TiB"), (2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB"))
TIMES = ((86400, " d"), (3600, " h"), (60, " min"), (1, " s"), (1e-3, " ms"), (1e-6, " µs"))

# Units that are a number of something in each second; of what, titles say.
EACH_SECOND = {"ops", "cps", "eps", "recps", "rowsps", "reqps", "pps", "mps", "iops"}
UNITS = {"short", "none", "percentunit", "bytes", "binBps", "s", "dtdurations", "ms", "d",
         "bool_yes_no", *EACH_SECOND}  # fmt: skip


def as_text(value: float, unit: str) -> str:
    """The value as a person reads it, as '1.5 GiB'."""
    if math.isnan(value):
        return "-"
    if unit == "bool_yes_no":
        return "yes" if value else "no"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "none":
        return f"{value:.10g}"
    if unit in ("bytes", "binBps"):
        return scaled(value, IEC, " B") + ("/s" if unit == "binBps" else "")
    if unit in ("s", "dtdurations"):
        return scaled(value, TIMES, " s")
    if unit == "ms":
        return scaled(value / 1000, TIMES, " s")
    if unit == "d":
        return f"{value:.3g} d"
    text = scaled(value, SHORT, "")
    return f"{text}/s" if unit in EACH_SECOND else text


def scaled(value: float, scale: tuple[tuple[float, str], ...], smallest: str) -> str:
    if math.isinf(value):
        return f"{value}"
    for size, suffix in scale:
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}{smallest}"
