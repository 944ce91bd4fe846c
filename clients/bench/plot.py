"""The report as a picture: a panel for each kind of unit, a row for each figure.

A dot is p50, the thick line the middle half of the runs, the thin one all of them; a tick is the
goal, with the side that meets it; floors are grey and hollow. Every axis is logarithmic, and its own.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

Result = Mapping[str, Any]
PANELS: Mapping[str, Callable[[str], bool]] = {
    "a second": lambda unit: unit.endswith("/s"),
    "milliseconds": lambda unit: unit == "ms",
    "seconds": lambda unit: unit == "s",
    "ratio": lambda unit: unit == "ratio",
    "bytes": lambda unit: unit == "bytes",
    "microseconds": lambda unit: unit == "us",
    "MB": lambda unit: unit == "MB",
}
INK, MET, MISSED, FLOOR = "#24292f", "#1a7f64", "#c2410c", "#8a9099"
NARROW = 50
ROW_INCHES, PANEL_INCHES, WIDTH_INCHES = 0.27, 0.75, 10.0


def draw(results: Sequence[Result], path: Path) -> None:
    """Draw a report's results into a file, SVG or PNG by its ending."""
    shown = {name: [each for each in results if holds(each["unit"])] for name, holds in PANELS.items()}
    shown = {name: rows for name, rows in shown.items() if rows}
    heights = [len(rows) * ROW_INCHES + PANEL_INCHES for rows in shown.values()]
    with mpl.rc_context(
        {"svg.hashsalt": "aeo", "svg.fonttype": "none", "font.size": 8.5, "font.family": "sans-serif"}
    ):
        figure = Figure(figsize=(WIDTH_INCHES, sum(heights) + 0.6), layout="constrained")
        figure.suptitle(
            "dot: p50 · thick line: middle half of the runs · thin line: all runs · tick: goal, and the "
            "side that meets it · hollow grey: floor",
            color=INK,
            fontsize=8.5,
        )
        panels = figure.subplots(len(shown), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes, (name, rows) in zip(panels[:, 0], shown.items(), strict=True):
            _panel(axes, name, rows)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _panel(axes: Axes, name: str, rows: Sequence[Result]) -> None:
    for at, row in enumerate(rows):
        _row(axes, at, row)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows], color=INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("log")
    _widen(axes)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(name, color=INK)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _row(axes: Axes, at: int, row: Result) -> None:
    colour = FLOOR if row["floor"] else {True: MET, False: MISSED, None: INK}[row.get("met")]
    axes.plot(row["range"], [at, at], color=colour, linewidth=0.9, solid_capstyle="butt")
    axes.plot(row["quartiles"], [at, at], color=colour, linewidth=3.4, alpha=0.55, solid_capstyle="butt")
    inside = "white" if row["floor"] else colour
    axes.plot([row["p50"]], [at], "o", color=colour, markerfacecolor=inside, markersize=5)
    low, high = row["range"]
    is_left = high < row.get("goal_p50", 0) < 1.5 * high  # the goal's tick stands where the number would
    axes.annotate(
        f"{row['p50']:,.10g}",
        (low if is_left else high, at),
        (-7 if is_left else 7, 0),
        textcoords="offset points",
        ha="right" if is_left else "left",
        va="center",
        color=colour,
        fontsize=7.5,
    )
    if "goal_p50" in row:
        side = ">" if row["better"] == "higher" else "<"
        axes.plot([row["goal_p50"]], [at], "|", color=colour, markersize=13, markeredgewidth=1.6)
        axes.annotate(
            side,
            (row["goal_p50"], at),
            (3 if side == ">" else -3, 5),
            textcoords="offset points",
            ha="left" if side == ">" else "right",
            va="center",
            color=colour,
            fontsize=7,
        )


def _widen(axes: Axes) -> None:
    """Room at the right for the number beside the last dot; more marks where there are few decades."""
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.15, high * (high / low) ** 0.12 * 1.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < NARROW * low else (1,)))
