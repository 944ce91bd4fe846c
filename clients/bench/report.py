"""How figures are told: the table for people, `bench.json` for programs.

A report is added to: a run replaces the figures it measured and leaves those of other runs, each with the
run it comes from. What cannot be read as a report is never overwritten.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from clients.bench.figures import Figure, rounded

PATH = Path("build/bench.json")
COLUMNS = ("figure", "p50", "quartiles", "p99", "unit", "ratio to a floor", "goal", "met")
NUMBERS = ("p50", "quartiles", "p99")
MET = {None: "", True: "yes", False: "NO"}
Report = dict[str, Any]


def table(figures: Sequence[Figure]) -> Table:
    """The figures as a table."""
    shown = Table(title="Measured on this machine", box=SIMPLE, pad_edge=False)
    for column in COLUMNS:
        shown.add_column(column, justify="right" if column in NUMBERS else "left", no_wrap=True)
    for figure in figures:
        shown.add_row(*_cells(figure))
    return shown


def read(path: Path) -> Report:
    """The report as it is; an empty one where there is none."""
    if not path.is_file():
        return {"runs": {}, "results": []}
    try:
        report: Report = json.loads(path.read_text(encoding="utf-8"))
        return {"runs": report["runs"], "results": report["results"]}
    except (ValueError, LookupError, TypeError):
        raise OSError(f"{path} is not a report of this bench; move it away") from None


def write(
    path: Path,
    run: str,
    at: Mapping[str, Any],
    machine: Mapping[str, Any],
    versions: Mapping[str, str],
    figures: Sequence[Figure],
) -> Report:
    """Add what the run of this name measured, and on what, beside its time; gives the whole report."""
    known = read(path)
    measured = {figure.name: figure.to_json() | {"run": run} for figure in figures}
    kept = [each for each in known["results"] if each["name"] not in measured]
    runs = known["runs"] | {run: {**at, "machine": machine, "versions": versions}}
    report = {"runs": runs, "results": [*kept, *measured.values()]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return report


def _cells(figure: Figure) -> list[str]:
    low, high = figure.quartiles()
    spread = f"{rounded(low):,.10g}..{rounded(high):,.10g}"
    p50, p99 = (f"{rounded(figure.percentile(share)):,.10g}" for share in (50, 99))
    ratios = "\n".join(f"{of:.2g} of {name.removesuffix('_per_s')}" for name, of in figure.ratios.items())
    ratio = "(floor)" if figure.floor else ratios
    return [figure.name, p50, spread, p99, figure.unit, ratio, _goal_cell(figure), MET[figure.is_met()]]


def _goal_cell(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    sign = "<" if figure.better == "lower" else ">"
    bounds = [bound for bound in (figure.goal.p50, figure.goal.p99) if bound is not None]
    return ", ".join(f"{sign}{bound:,.10g}" for bound in bounds)
