"""What was measured: a figure out of its runs, the table for people, the JSON for programs.

`p50` and `p99` are read from the bad side: 50 and 99 of 100 runs were no worse. For a time that is the
usual percentile; for a rate, where more is better, `p99` is the rate that 99 of 100 runs reached.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from rich.box import SIMPLE
from rich.table import Table

Better = Literal["lower", "higher"]
COLUMNS = ("figure", "p50", "p99", "unit", "goal", "met")


@dataclass(frozen=True, slots=True)
class Goal:
    """Bounds on p50 and, where there is one, on p99; reached exactly is not met."""

    p50: float
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured in several runs."""

    name: str
    unit: str
    runs: Sequence[float]
    conditions: str
    better: Better = "higher"
    goal: Goal | None = None

    def __post_init__(self) -> None:
        """Refuse a figure that nothing was measured for."""
        if not self.runs or not all(math.isfinite(run) for run in self.runs):
            raise ValueError(f"{self.name}: a figure needs runs, and every run a finite number")

    def percentile(self, share: int) -> float:
        """The run that `share` of 100 runs were no worse than (nearest rank)."""
        ordered = sorted(self.runs, reverse=self.better == "higher")
        return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]

    def is_met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        bounds = [(50, self.goal.p50)] + ([(99, self.goal.p99)] if self.goal.p99 is not None else [])
        return all(self._is_within(self.percentile(share), bound) for share, bound in bounds)

    def to_json(self) -> dict[str, Any]:
        """As it stands in `bench.json`."""
        told: dict[str, Any] = {"name": self.name, "unit": self.unit, "better": self.better}
        told |= {"median": _rounded(median(self.runs))}
        told |= {"p50": _rounded(self.percentile(50)), "p99": _rounded(self.percentile(99))}
        told |= {"runs": len(self.runs), "conditions": self.conditions}
        return told | ({"goal": self.goal_text(), "met": self.is_met()} if self.goal else {})

    def goal_text(self) -> str:
        """The goal as a person reads it."""
        if self.goal is None:
            return ""
        word = "under" if self.better == "lower" else "over"
        tail = "" if self.goal.p99 is None else f", p99 {word} {self.goal.p99:g}"
        return f"p50 {word} {self.goal.p50:g}{tail}"

    def _is_within(self, value: float, bound: float) -> bool:
        return value < bound if self.better == "lower" else value > bound


def table(figures: Sequence[Figure]) -> Table:
    """The figures as a table."""
    shown = Table(title="Measured on this machine", box=SIMPLE)
    for column in COLUMNS:
        is_number = column in ("p50", "p99")
        shown.add_column(column, justify="right" if is_number else "left", no_wrap=True)
    for figure in figures:
        shown.add_row(*_cells(figure))
    return shown


def write(
    path: Path, machine: Mapping[str, Any], versions: Mapping[str, str], all_: Sequence[Figure]
) -> None:
    """Write the report, replacing an earlier one."""
    report = {"machine": machine, "versions": versions, "results": [figure.to_json() for figure in all_]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _cells(figure: Figure) -> list[str]:
    numbers = [f"{_rounded(figure.percentile(share)):,g}" for share in (50, 99)]
    met = {None: "", True: "yes", False: "NO"}[figure.is_met()]
    return [figure.name, *numbers, figure.unit, _goal_cell(figure), met]


def _goal_cell(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    sign = "<" if figure.better == "lower" else ">"
    bounds = [bound for bound in (figure.goal.p50, figure.goal.p99) if bound is not None]
    return ", ".join(f"{sign}{bound:,g}" for bound in bounds)


def _rounded(value: float) -> float:
    """To four significant digits: more would pretend."""
    return float(f"{value:.4g}")
