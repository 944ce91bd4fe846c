"""The import of a list: streamed, in pages, reported by line.

Guarantees that nothing is sent of a file that cannot be trusted as a whole, and that every row is either
counted or named with its line, column, field, value and the rule it breaks. Holds a few pages of the list at
a time, and of each row no more than some bytes. Never revokes: what is recorded and missing from the list is
only reported, apart from what stands on a refused row. Refuses, before the file is read, a token that may not
import, and a list without rows: out of it every operator would seem to have disappeared.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from clients.cli.output import say, say_table, warn
from clients.cli.progress import Tell, steps
from clients.sdk.answers import ImportOutcome, Outcome
from clients.sdk.client import Node
from clients.sdk.digests import Digests
from clients.sdk.importing import (
    ImportedRow,
    ImportProblem,
    Profile,
    Row,
    Survey,
    load_profile,
    read_import,
    refused_by_node,
    survey,
)
from node.errors import Malformed, Problem, Refusal
from node.records import model

PAGE: Final = 250
FIRST_ROW: Final = 2
IN_FLIGHT: Final = 2
KINDS: Final = ("new", "changed", "unchanged", "refused")
NAME_LIMIT: Final = 120
SHOWN: Final = 20
MOST_TOLD: Final = 10_000
"""Of more refused cells than these a list tells nothing that these do not."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a list; `missing` are TINs that are recorded and not in it.

    `on_refused_rows` are TINs that are recorded and in the list, on rows that could not be read whole;
    `unnamed` counts the refused rows whose number cannot be read either, `untold` the refused cells beyond
    the first `MOST_TOLD`, `passed_over` the rows before the line from which it was to go on.
    """

    dry_run: bool
    counts: dict[str, int]
    refused: tuple[ImportProblem, ...]
    missing: tuple[str, ...]
    on_refused_rows: tuple[str, ...] = ()
    unnamed: int = 0
    untold: int = 0
    passed_over: int = 0

    def to_json(self) -> dict[str, Any]:
        """The report for a program."""
        return asdict(self)


@dataclass(slots=True)
class _Tally:
    """What became of the rows so far: of each no more than eight bytes, its TIN's digest."""

    profile: Profile
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    problems: list[ImportProblem] = field(default_factory=list)
    untold: int = 0
    unnamed: int = 0
    passed_over: int = 0
    read: Digests = field(default_factory=Digests)
    unread: Digests = field(default_factory=Digests)

    @property
    def rows(self) -> int:
        """How many there were."""
        return sum(self.counts.values())

    def refuse(self, row: ImportedRow) -> None:
        """Count a row that could not be read whole."""
        self.counts["refused"] += 1
        self._tell(row.problems)
        if row.tin:
            self.unread.add(row.tin)
        else:
            self.unnamed += 1

    def settle(self, row: ImportedRow, outcome: Outcome) -> None:
        """Count what the node made of a row."""
        self.counts[outcome["outcome"]] += 1
        self._tell(_refused(row, outcome, self.profile))

    def _tell(self, problems: Iterable[ImportProblem]) -> None:
        for each in problems:
            if len(self.problems) < MOST_TOLD:
                self.problems.append(each)
            else:
                self.untold += 1


def import_file(node: Node, file: Path, profile: str, dry_run: bool, from_line: int = 0) -> Report:
    """Import a list, from a line on; raises what reading it and the node raise."""
    how = load_profile(profile)
    tally = _Tally(how)
    node.import_list([], dry_run=True)  # refused now, and not after the reading, if the token may not
    with steps("reading") as tell:
        surveyed = survey(file, how, lambda rows: _counted(rows, tally, from_line, tell))
    if not surveyed.rows:
        do = "export it again; nothing was changed"
        raise Malformed("the list holds no rows", where=str(file), why="it has its header only", do=do)
    rows = _readable(read_import(file, how, surveyed, from_line), tally, from_line)
    _send(node, rows, tally, surveyed.rows - tally.passed_over, from_line, dry_run, _named(file))
    missing, on_refused = _absent(
        node.register(str(how.constants.get("kind", model.OPERATOR))), surveyed, tally
    )
    return Report(
        dry_run,
        tally.counts,
        tuple(sorted(tally.problems, key=lambda each: each.line)),
        tuple(missing),
        tuple(on_refused),
        tally.unnamed,
        tally.untold,
        tally.passed_over,
    )


def _named(file: Path) -> str:
    """The list as each change out of it names it: what a consent that came with it rests on."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return f"{file.name[:NAME_LIMIT]} sha256:{digest}"


def say_report(report: Report) -> None:
    """Print the report for a person."""
    would = "Nothing was changed; it would be: " if report.dry_run else ""
    passed = f", {report.passed_over} passed over" if report.passed_over else ""
    say(would + ", ".join(f"{report.counts[kind]} {kind}" for kind in KINDS) + passed)
    if report.refused:
        shown = [
            [each.line, each.column, each.field, each.value, each.rule] for each in report.refused[:SHOWN]
        ]
        say_table(("line", "column", "field", "value", "why"), shown, "")
        _say_rest(len(report.refused) + report.untold, f"the first {MOST_TOLD}" if report.untold else "all")
    _say_tins(report.on_refused_rows, "on a refused row")
    unnamed = ", or on a refused row without a readable number" if report.unnamed else ""
    _say_tins(report.missing, f"not in the list{unnamed}")


def _say_tins(tins: Sequence[str], where: str) -> None:
    if tins:
        say(f"{len(tins)} recorded here but {where}; they stay as they are:")
        for tin in tins[:SHOWN]:
            say(f"  {tin}")
        _say_rest(len(tins), "all")


def _say_rest(count: int, told: str) -> None:
    if count > SHOWN:
        say(f"  and {count - SHOWN} more; --json tells {told}, and with --dry-run it changes nothing")


def _counted(rows: Iterator[Row], tally: _Tally, from_line: int, tell: Tell) -> Iterator[Row]:
    """The rows of the first reading, as they pass."""
    for count, row in enumerate(rows, 1):
        tally.passed_over += row.line < from_line
        if count % PAGE == 0:
            tell(count, "")
        yield row


def _readable(rows: Iterator[ImportedRow], tally: _Tally, from_line: int) -> Iterator[ImportedRow]:
    """The rows to send; the others are counted, or were sent before."""
    for row in rows:
        if row.line < from_line:
            continue
        if row.operator is None:
            tally.refuse(row)
        else:
            tally.read.add(row.tin)
            yield row


def _send(
    node: Node,
    rows: Iterator[ImportedRow],
    tally: _Tally,
    total: int,
    from_line: int,
    dry_run: bool,
    source: str,
) -> None:
    """Send rows in pages, `IN_FLIGHT` of them at a time; told in the order of the list."""
    line = max(from_line, FIRST_ROW)
    with steps("sending", total) as tell, ThreadPoolExecutor(IN_FLIGHT) as pool:

        def sent(page: list[ImportedRow]) -> Future[ImportOutcome]:
            return pool.submit(node.import_list, [row.operator or {} for row in page], dry_run, source)

        try:
            for page, outcomes in _answered(rows, sent):
                for row, outcome in zip(page, outcomes, strict=True):
                    tally.settle(row, outcome)
                line = page[-1].line + 1
                tell(tally.rows, f", to line {page[-1].line}")
        except (Refusal, KeyboardInterrupt):
            warn(
                f"The rows before line {line} were sent; go on with --from-line {line}, "
                "or import it again: a repeated row changes nothing."
            )
            raise


def _answered(
    rows: Iterator[ImportedRow], sent: Callable[[list[ImportedRow]], Future[ImportOutcome]]
) -> Iterator[tuple[list[ImportedRow], list[Outcome]]]:
    """Each page with its outcomes, while the next ones are on their way."""
    waiting: deque[tuple[list[ImportedRow], Future[ImportOutcome]]] = deque()
    while page := list(islice(rows, PAGE)):
        waiting.append((page, sent(page)))
        if len(waiting) > IN_FLIGHT:
            first, answer = waiting.popleft()
            yield first, answer.result()["outcomes"]
    for first, answer in waiting:
        yield first, answer.result()["outcomes"]


def _absent(register: Iterator[str], surveyed: Survey, tally: _Tally) -> tuple[list[str], list[str]]:
    """Who is recorded and not in the list, and who only on rows that could not be read whole."""
    missing, on_refused = list[str](), list[str]()
    for tin in register:
        if tin in tally.unread and tin not in tally.read:
            on_refused.append(tin)
        elif tin not in surveyed.tins:
            missing.append(tin)
    return missing, on_refused


def _refused(row: ImportedRow, outcome: Outcome, profile: Profile) -> Iterator[ImportProblem]:
    if outcome["outcome"] != "refused":
        return
    problems = outcome.get("problems") or [{"field": "", "value": outcome["tin"], "rule": outcome["message"]}]
    for broken in problems:
        yield refused_by_node(row.line, Problem(**broken), row.operator or {}, profile)
