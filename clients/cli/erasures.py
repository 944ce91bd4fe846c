"""`aeo erasure` and `aeo operator erase`: what was erased, who has answered, and what the law holds."""

from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from clients.cli.operators import Id, own_tin
from clients.cli.operators import cli as operators
from clients.cli.output import FINDINGS, FINE, say, say_json, say_table
from clients.cli.session import Session, on_node
from node.advice import pasted
from node.errors import Malformed

GROUNDS: Final = ("NOT_NEEDED", "CONSENT_WITHDRAWN", "OBJECTION", "UNLAWFUL", "LEGAL_OBLIGATION")

cli = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="What was erased, who has answered, what the law holds."
)


@operators.command(
    "erase",
    epilog="Example: aeo operator erase BR99000001000101 --ground NOT_NEEDED "
    '--reference "case 12" --yes --home br',
)
@on_node
def erase(
    session: Session,
    identifier: Id,
    ground: Annotated[str, typer.Option(help=f"Why: {', '.join(GROUNDS)}.")],
    reference: Annotated[str, typer.Option(help="Of the case file; names no person. It stays in the node.")],
    yes: Annotated[bool, typer.Option("--yes", help="It cannot be undone; say so.")] = False,
) -> None:
    """Erase an own operator: here, and at every partner that was told of it."""
    tin = own_tin(session, identifier)
    if not yes:
        why = "its record, all its versions and all that partners have of it go for good"
        raise Malformed("an erasure cannot be undone", where=tin, why=why, do="give the command with --yes")
    made = session.node.erase(tin, ground.upper(), reference)
    if session.as_json:
        say_json(made)
        return
    told = ", ".join(made["partners"]) or "no partner was ever told of it"
    say(f"Erased: {made['entries']} entries have nothing behind them any more. Told: {told}.")
    say(pasted(f"It is erasure {made['erasure']}; who has erased it too: `aeo erasure status`."))


@cli.command("status", epilog="Example: aeo erasure status --open --home br")
@on_node
def status(
    session: Session,
    is_open: Annotated[bool, typer.Option("--open", help="Only what a partner has not erased yet.")] = False,
) -> int:
    """List what was erased, newest first, and who has erased it too; exit code 1 while a partner has not."""
    found = [each for each in session.node.erasures() if not is_open or _open(each)]
    if session.as_json:
        say_json({"erasures": found})
    else:
        columns = ("erasure", "time", "files free of it", "partner", "answer", "at", "reason")
        say_table(columns, [row for each in found for row in _rows(each)], "Nothing was erased.")
    return FINDINGS if any(map(_open, found)) else FINE


@cli.command("hold", epilog='Example: aeo erasure hold BR99000001000101 --reason "court order 12" --home uy')
@on_node
def hold(
    session: Session,
    tin: Annotated[str, typer.Argument(help="The TIN of an operator, own or told by a partner.")],
    reason: Annotated[str, typer.Option(help="A partner that asks to erase it is told this.")],
) -> None:
    """Keep a record, whatever asks for its erasure, because the law demands it."""
    held = session.node.hold(tin, reason)
    if session.as_json:
        say_json(held)
    else:
        what = f"{tin} is held ({held['records']} records): nothing of it goes"
        say(pasted(f"{what} until `aeo erasure release {tin}`."))


@cli.command("release", epilog="Example: aeo erasure release BR99000001000101 --home uy")
@on_node
def release(
    session: Session, tin: Annotated[str, typer.Argument(help="The TIN of an operator that is held.")]
) -> None:
    """End a hold; what a partner asked to erase meanwhile is erased at once."""
    released = session.node.release(tin)
    if session.as_json:
        say_json(released)
    else:
        say(f"{tin} is held no longer.")


def _open(erasure: Any) -> bool:
    return any(each["answer"] != "ERASED" for each in erasure["partners"])


def _rows(erasure: Any) -> Iterator[list[object]]:
    of = [erasure[name] or "not yet" for name in ("erasure", "time", "scrubbed")]
    if not erasure["partners"]:
        yield [*of, "-", "-", "", ""]
    for each in erasure["partners"]:
        answered = [each["answer"] or "not yet", each["answered_at"] or "", each["reason"] or ""]
        yield [*of, each["partner"], *answered]
