# Copyright: the bss.platform contributors
# Apache License 2.0 (see LICENSE)

"""Draw the dashboards as they are now, without Grafana.

    python -m dashboards.render [--inventory DIRECTORY | --url URL --ca FILE --password-file FILE]

Asks Prometheus what Grafana would, and writes a picture of each dashboard and one
page with all of them into reports/dashboards.
"""

from __future__ import annotations

import argparse
import html
import math
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dashboards.amounts import as_text
from dashboards.build import DASHBOARDS, everything
from dashboards.panels import COLUMNS, Dashboard, Kind, Panel, PlacedPanel, placed
from dashboards.promql import substituted
from dashboards.server import (
    CHECKOUT,
    NotAnsweredError,
    Prometheus,
    Series,
    add_options,
    from_options,
)

OUTPUT = CHECKOUT / "reports" / "dashboards"
POINTS = 240
MOST_LEGENDS = 9
MOST_BARS, FEWEST_BARS = 14, 5

# In inches: a column and a row of Grafana's grid, and what is around them.
COLUMN, ROW = 0.8, 0.42
HEAD, GAP = 0.75, 0.12
DOTS_PER_INCH = 80

COLOURS = {"green": "#2e8b57", "orange": "#e08e0b", "red": "#c0392b", "blue": "#2f6fb0"}
GREY, LIGHT = "#6b6f76", "#e3e5e8"
SMALL = 7.5

# A query's answer, with the query's legend or a column's name.
Answer = list[tuple[str, list[Series]]]
# From when to when, in seconds since 1970.
Span = tuple[float, float]
# Between marks of the time, in minutes.
MARKS = (1, 2, 5, 10, 15, 30, 60, 120, 240, 720, 1440)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser)
    parser.add_argument(
        "--minutes", type=int, default=60, help="how far back to look (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="(default: reports/dashboards)")
    options = parser.parse_args()
    prometheus = from_options(options)
    options.output.mkdir(parents=True, exist_ok=True)
    end = time.time()
    try:
        for dashboard in DASHBOARDS:
            figure = drawn(prometheus, dashboard, end, options.minutes)
            figure.savefig(options.output / f"{dashboard.uid}.png", dpi=DOTS_PER_INCH)
            plt.close(figure)
    except NotAnsweredError as error:
        sys.exit(f"The dashboards cannot be drawn: {error}")
    page = options.output / "index.html"
    page.write_text(as_page(prometheus.url, end, options.minutes), encoding="utf-8")
    print(f"{len(DASHBOARDS)} dashboards are in {page}")
    return 0


def as_page(url: str, end: float, minutes: int) -> str:
    """One page with all pictures, for a browser without a network."""
    when = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%d %H:%M UTC")
    links = "\n".join(
        f'<li><a href="#{dashboard.uid}">{html.escape(dashboard.title)}</a></li>'
        for dashboard in DASHBOARDS
    )
    pictures = "\n".join(
        f'<section id="{dashboard.uid}"><h2>{html.escape(dashboard.title)}</h2>'
        f'<img src="{dashboard.uid}.png" alt="{html.escape(dashboard.description)}"></section>'
        for dashboard in DASHBOARDS
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>bss.platform, {when}</title>
<style>
body {{ font-family: sans-serif; margin: 2em auto; max-width: 1600px; }}
img {{ max-width: 100%; border: 1px solid {LIGHT}; }}
</style>
</head>
<body>
<h1>bss.platform, {when}</h1>
<p>The {minutes} minutes before, as {html.escape(url)} has them.</p>
<ul>
{links}
</ul>
{pictures}
</body>
</html>
"""


def drawn(prometheus: Prometheus, dashboard: Dashboard, end: float, minutes: int) -> Figure:
    rows = placed(dashboard)
    bottom = max((panel.y + panel.panel.height for row in rows for panel in row.panels), default=1)
    width, height = COLUMNS * COLUMN, bottom * ROW + HEAD
    figure = plt.figure(figsize=(width, height), facecolor="white")
    when = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%d %H:%M UTC")
    figure.text(GAP / width, 1 - 0.3 / height, dashboard.title, fontsize=16, weight="bold")
    figure.text(
        GAP / width,
        1 - 0.58 / height,
        f"{dashboard.description} {minutes} minutes until {when}.",
        fontsize=9,
        color=GREY,
    )
    values = {**everything(dashboard), "__range": f"{minutes}m"}
    span = (end - minutes * 60, end)
    for row in rows:
        top = 1 - (HEAD + (row.y + 0.75) * ROW) / height
        figure.text(GAP / width, top, row.title, fontsize=11, weight="bold", color=GREY)
        for panel in row.panels:
            axes = figure.add_axes(inner(panel, width, height))
            answer = asked(prometheus, panel, values, span)
            DRAW[panel.panel.kind](axes, panel.panel, answer)
            if axes.lines or axes.collections:
                mark_times(axes, span)
    return figure


def inner(
    placed_panel: PlacedPanel, width: float, height: float
) -> tuple[float, float, float, float]:
    """Where the panel's axes are: within its place on the grid, with room for their labels."""
    panel = placed_panel.panel
    left, right = {
        Kind.TIME_SERIES: (0.8, 0.2),
        Kind.BARS: (1.8, 0.6),
        Kind.STAT: (0.1, 0.1),
        Kind.TABLE: (0.1, 0.1),
    }[panel.kind]
    above, below = (0.3, 0.72) if panel.kind is Kind.TIME_SERIES else (0.3, 0.12)
    x = placed_panel.x * COLUMN + left
    top = HEAD + placed_panel.y * ROW + above
    inner_width = panel.width * COLUMN - left - right
    inner_height = panel.height * ROW - above - below
    return (
        x / width,
        1 - (top + inner_height) / height,
        inner_width / width,
        inner_height / height,
    )


def asked(
    prometheus: Prometheus, placed_panel: PlacedPanel, values: dict[str, str], span: Span
) -> Answer:
    start, end = span
    answer = []
    for query in placed_panel.queries:
        expr = substituted(query.expr, values)
        if placed_panel.panel.kind is Kind.TIME_SERIES:
            step = max(15, (end - start) / POINTS)
            found = prometheus.over_time(expr, start, end, step)
        else:
            found = prometheus.instant(expr)
        answer.append((query.legend, found))
    return answer


# A panel of each kind ---------------------------------------------------------------


def draw_lines(axes: Axes, panel: Panel, answer: Answer) -> None:
    title(axes, panel)
    found = [
        (legend_of(legend, one.labels), one.points)
        for legend, series in answer
        for one in sorted(series, key=lambda one: sorted(one.labels.items()))
    ]
    if not found:
        nothing(axes, panel)
        return
    if panel.stacked:
        stack(axes, found)
    else:
        for name, points in found:
            axes.plot([time_ for time_, _value in points], [v for _t, v in points],
                      linewidth=1.1, label=name)  # fmt: skip
    limits(axes, panel)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _at: as_text(value, panel.unit)))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.tick_params(labelsize=SMALL, colors=GREY, length=2)
    axes.grid(color=LIGHT, linewidth=0.6)
    axes.spines[:].set_visible(False)
    legend(axes)


def stack(axes: Axes, found: Sequence[tuple[str, list[tuple[float, float]]]]) -> None:
    """Areas on top of each other; a series that has no value at a time counts nothing there."""
    times = sorted({time_ for _name, points in found for time_, _value in points})
    heights = []
    for _name, points in found:
        there = {time_: value for time_, value in points if not math.isnan(value)}
        heights.append([there.get(time_, 0.0) for time_ in times])
    names = [name for name, _points in found]
    axes.stackplot(times, heights, labels=names, alpha=0.7)


def mark_times(axes: Axes, span: Span) -> None:
    start, end = span
    axes.set_xlim(start, end)
    minutes = next((mark for mark in MARKS if (end - start) / 60 / mark <= 6), MARKS[-1])
    first = -(-start // (minutes * 60))
    marks = [(first + index) * minutes * 60 for index in range(7)]
    axes.set_xticks(
        [mark for mark in marks if mark <= end],
        [datetime.fromtimestamp(mark, UTC).strftime("%H:%M") for mark in marks if mark <= end],
    )


def limits(axes: Axes, panel: Panel) -> None:
    bottom, top = axes.get_ylim()
    highest = axes.dataLim.ymax
    # A line along the edge would not be seen.
    top = 1 if highest == 0 else max(top, highest + abs(highest) * 0.1)
    if panel.minimum is not None:
        bottom = panel.minimum
    if panel.maximum is not None:
        top = panel.maximum
    axes.set_ylim(bottom, top if top > bottom else bottom + 1)
    for value, colour in panel.thresholds:
        if value <= axes.get_ylim()[1]:
            axes.axhline(value, color=COLOURS[colour], linewidth=0.8, linestyle="--")


def legend(axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    shown = [name if len(name) <= 34 else name[:33] + "…" for name in names[:MOST_LEGENDS]]
    if len(names) > MOST_LEGENDS:
        shown[-1] = f"and {len(names) - MOST_LEGENDS + 1} more"
    axes.legend(
        handles[:MOST_LEGENDS],
        shown,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.13),
        ncols=3,
        fontsize=6.5,
        frameon=False,
        columnspacing=1,
        handlelength=1.2,
    )


def draw_number(axes: Axes, panel: Panel, answer: Answer) -> None:
    title(axes, panel)
    box(axes)
    values = [one.points[-1][1] for _legend, series in answer for one in series]
    if not values or math.isnan(values[0]):
        nothing(axes, panel)
        return
    text, colour = as_shown(panel, values[0])
    axes.text(0.5, 0.45, text, fontsize=20, weight="bold", color=colour, ha="center", va="center")


def as_shown(panel: Panel, value: float) -> tuple[str, str]:
    """The text and the colour of a value by the panel's texts and thresholds."""
    for known, text, colour in panel.texts:
        if value == known:
            return text, COLOURS[colour]
    colour = "green"
    for threshold, above in panel.thresholds:
        if value >= threshold:
            colour = above
    return as_text(round(value) if panel.unit == "short" and panel.decimals == 0 else value,
                   panel.unit), COLOURS[colour]  # fmt: skip


def draw_bars(axes: Axes, panel: Panel, answer: Answer) -> None:
    title(axes, panel)
    found = sorted(
        (legend_of(legend, one.labels), one.points[-1][1])
        for legend, series in answer
        for one in series
        if not math.isnan(one.points[-1][1])
    )
    if not found:
        nothing(axes, panel)
        return
    if len(found) > MOST_BARS:
        found = sorted(found, key=lambda bar: bar[1], reverse=True)[:MOST_BARS]
        axes.set_title(f"{panel.title} (the {MOST_BARS} largest)", fontsize=9, loc="left")
    names = [name if len(name) <= 26 else name[:25] + "…" for name, _value in found]
    values = [value for _name, value in found]
    drawn_bars = axes.barh(
        range(len(found)), values, color=[as_shown(panel, value)[1] for value in values], height=0.6
    )
    axes.set_yticks(range(len(found)), names, fontsize=SMALL)
    axes.bar_label(drawn_bars, [as_text(value, panel.unit) for value in values],
                   fontsize=SMALL, padding=3)  # fmt: skip
    axes.set_ylim(max(len(found), FEWEST_BARS) - 0.5, -0.5)
    axes.set_xlim(0, panel.maximum or max([*values, 0]) * 1.05 or 1)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def draw_table(axes: Axes, panel: Panel, answer: Answer) -> None:
    title(axes, panel)
    axes.axis("off")
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for heading, series in answer:
        for one in series:
            key = tuple(one.labels.get(label, "") for label in panel.labels)
            rows.setdefault(key, {})[heading] = one.points[-1][1]
    if not rows:
        nothing(axes, panel)
        return
    units = dict(panel.column_units)
    headings = [heading for heading, _series in answer]
    room = int((panel.height * ROW - 0.5) / 0.2)
    listed = sorted(rows.items())
    if panel.labels == ("query",):
        listed = sorted(rows.items(), key=lambda row: -row[1].get(headings[0], 0))
    cells = [
        [
            *(shortened(part, 90 if part_of == "query" else 30)
              for part_of, part in zip(panel.labels, key, strict=True)),
            *(as_text(values[heading], units[heading]) if heading in values else ""
              for heading in headings),
        ]
        for key, values in listed[: room - 1]
    ]  # fmt: skip
    shown = axes.table(
        cells, colLabels=[*panel.labels, *headings], loc="upper left", cellLoc="left", edges="B"
    )
    shown.auto_set_font_size(False)
    shown.set_fontsize(8)
    shown.auto_set_column_width(list(range(len(panel.labels) + len(headings))))
    for cell in shown.get_celld().values():
        cell.set_edgecolor(LIGHT)
        cell.set_height(0.2 / (panel.height * ROW - 0.42))


DRAW: dict[Kind, Callable[[Axes, Panel, Answer], None]] = {
    Kind.TIME_SERIES: draw_lines,
    Kind.STAT: draw_number,
    Kind.BARS: draw_bars,
    Kind.TABLE: draw_table,
}


# Parts of panels --------------------------------------------------------------------


def title(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title, fontsize=9, loc="left")


def nothing(axes: Axes, panel: Panel) -> None:
    box(axes)
    why = panel.may_be_empty or "no data"
    axes.text(0.5, 0.45, why, fontsize=9, color=GREY, ha="center", transform=axes.transAxes)


def box(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(LIGHT)


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def legend_of(legend: str, labels: dict[str, str]) -> str:
    """The legend with each {{label}} as the series has it."""
    for label, value in labels.items():
        legend = legend.replace("{{" + label + "}}", value)
    # A dollar would begin a formula.
    return legend.replace("$", r"\$")


if __name__ == "__main__":
    sys.exit(main())
