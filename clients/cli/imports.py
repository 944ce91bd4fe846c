"""The import of a list: read whole, sent in pages, reported by line.

Guarantees that nothing is sent of a file that cannot be trusted as a whole, and that every row is either
counted or named with its line, column, field, value and the rule it breaks. Never revokes: what is recorded
and missing from the list is only reported, apart from what stands on a refused row. Refuses, before the file
is read, a token that may not import, and a list without rows: out of it every operator would seem to have
disappeared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from clients.cli.output import say, say_table, warn
from clients.sdk.answers import Outcome
from clients.sdk.client import Node
from clients.sdk.importing import (
    ImportedRow,
    ImportProblem,
    Profile,
    load_profile,
    read_import,
    refused_by_node,
)
from node.errors import Malformed, Problem, Refusal

PAGE: Final = 250
KINDS: Final = ("new", "changed", "unchanged", "refused")
NAME_LIMIT: Final = 200
SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a list; `missing` are TINs that are recorded and not in it.

    `on_refused_rows` are TINs that are recorded and in the list, on rows that could not be read whole;
    `unnamed` counts the refused rows whose number cannot be read either.
    """

    dry_run: bool
    counts: dict[str, int]
    refused: tuple[ImportProblem, ...]
    missing: tuple[str, ...]
    on_refused_rows: tuple[str, ...] = ()
    unnamed: int = 0

    def to_json(self) -> dict[str, Any]:
        """The report for a program."""
        return asdict(self)


def import_file(node: Node, file: Path, profile: str, dry_run: bool) -> Report:
    """Import a list; raises what reading it and the node raise."""
    how = load_profile(profile)
    node.import_list([], dry_run=True)  # refused now, and not after the reading, if the token may not
    with _progress() as progress:
        rows = list(progress.track(read_import(file, how), description="reading"))
        if not rows:
            do = "export it again; nothing was changed"
            raise Malformed("the list holds no rows", where=str(file), why="it has its header only", do=do)
        good = [row for row in rows if row.operator is not None]
        outcomes = _send(node, good, dry_run, file.name[:NAME_LIMIT], progress)
    unread = [row for row in rows if row.operator is None]
    counts = {kind: sum(each["outcome"] == kind for each in outcomes) for kind in KINDS}
    counts["refused"] += len(unread)
    refused = [problem for row in unread for problem in row.problems]
    refused += [
        problem
        for row, outcome in zip(good, outcomes, strict=True)
        for problem in _refused(row, outcome, how)
    ]
    listed, on_refused = {row.tin for row in good}, {row.tin for row in unread}
    absent = [tin for tin in node.register() if tin not in listed]
    return Report(
        dry_run,
        counts,
        tuple(sorted(refused, key=lambda each: each.line)),
        missing=tuple(tin for tin in absent if tin not in on_refused),
        on_refused_rows=tuple(tin for tin in absent if tin in on_refused),
        unnamed=sum(not row.tin for row in unread),
    )


def say_report(report: Report) -> None:
    """Print the report for a person."""
    would = "Nothing was changed; it would be: " if report.dry_run else ""
    say(would + ", ".join(f"{report.counts[kind]} {kind}" for kind in KINDS))
    if report.refused:
        shown = [
            [each.line, each.column, each.field, each.value, each.rule] for each in report.refused[:SHOWN]
        ]
        say_table(("line", "column", "field", "value", "why"), shown, "")
        _say_rest(len(report.refused))
    _say_tins(report.on_refused_rows, "on a refused row")
    unnamed = ", or on a refused row without a readable number" if report.unnamed else ""
    _say_tins(report.missing, f"not in the list{unnamed}")


def _say_tins(tins: Sequence[str], where: str) -> None:
    if tins:
        say(f"{len(tins)} recorded here but {where}; they stay as they are:")
        for tin in tins[:SHOWN]:
            say(f"  {tin}")
        _say_rest(len(tins))


def _say_rest(count: int) -> None:
    if count > SHOWN:
        say(f"  and {count - SHOWN} more; --json tells all, and with --dry-run it changes nothing")


def _send(
    node: Node, rows: list[ImportedRow], dry_run: bool, source: str, progress: Progress
) -> list[Outcome]:
    task = progress.add_task("sending", total=len(rows))
    outcomes: list[Outcome] = []
    for start in range(0, len(rows), PAGE):
        page = [row.operator for row in rows[start : start + PAGE] if row.operator]
        try:
            outcomes += node.import_list(page, dry_run, source)["outcomes"]
        except (Refusal, KeyboardInterrupt):
            warn(f"{start} of {len(rows)} rows were sent; import it again, a repeated row changes nothing.")
            raise
        progress.update(task, completed=len(outcomes))
    return outcomes


def _refused(row: ImportedRow, outcome: Outcome, profile: Profile) -> Iterator[ImportProblem]:
    if outcome["outcome"] != "refused":
        return
    problems = outcome.get("problems") or [{"field": "", "value": outcome["tin"], "rule": outcome["message"]}]
    for broken in problems:
        yield refused_by_node(row.line, Problem(**broken), row.operator or {}, profile)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
