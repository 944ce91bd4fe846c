"""How answers and refusals are shown: tables and cards for people, JSON for programs.

Guarantees that text which came from elsewhere (a partner's operator, a file's cell) cannot drive the
terminal: what is not printable is shown as U+FFFD. JSON is the node's answer as it came, and a refusal
is JSON too (problem details, RFC 9457) where JSON was asked for.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson
import typer

from node.advice import pasted
from node.errors import Refusal

EXIT_CODES: Final = {
    0: "done, or found",
    1: "done, with refused rows or findings",
    2: "refused, or the command is not understood; nothing was changed by what was refused",
    3: "the node cannot be reached",
    4: "the answer is no: nothing was found",
    5: "a log contradicts what it signed before; the proof is kept",
    130: "interrupted",
}
FINE, FINDINGS, REFUSED, UNREACHABLE, NOTHING_FOUND, CONTRADICTED, INTERRUPTED = EXIT_CODES
PIPE_WIDTH: Final = 1000
NAME_WIDTH: Final = 12


def say(text: object = "") -> None:
    """Print one line for a person."""
    typer.echo(printable(text))


def warn(text: str) -> None:
    """Print one line on standard error."""
    typer.echo(printable(text), err=True)


def say_json(answer: object) -> None:
    """Print an answer for a program."""
    typer.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())


def say_line(answer: object) -> None:
    """Print an answer for a program, on one line."""
    typer.echo(orjson.dumps(answer).decode())


def say_refusal(refusal: Refusal, as_json: bool) -> int:
    """Tell why something was not done, with commands that can be pasted; gives the exit code."""
    refusal.do = pasted(refusal.do)
    unreachable = refusal.code == "unreachable"
    if as_json:
        say_json(refusal.details(getattr(refusal, "status", 0)))
    else:
        warn(f"{'Not done' if unreachable else 'Refused'}: {refusal.sentence()}")
    return UNREACHABLE if unreachable else REFUSED


def say_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values below each other, leaving out what is empty."""
    shown = [(name, value) for name, value in pairs if value not in (None, "")]
    width = max([NAME_WIDTH, *(len(name) for name, _ in shown)])
    for name, value in shown:
        say(f"  {name:<{width}}  {value}")


def say_table(header: Sequence[str], rows: Sequence[Sequence[object]], nothing: str) -> None:
    """Print a table, or the sentence `nothing` when it has no rows; a pipe gets unbroken lines."""
    if not rows:
        say(pasted(nothing))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    table = Table(*header, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(printable("" if cell is None else cell), overflow="fold") for cell in row))
    console.print(table)


def printable(text: object) -> str:
    """The text with whatever a terminal could take for a command replaced."""
    return "".join(each if each.isprintable() else "\ufffd" for each in str(text))


def join(values: Iterable[Any]) -> str:
    """Values with commas between."""
    return ", ".join(map(str, values))
