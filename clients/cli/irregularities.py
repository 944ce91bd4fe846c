"""`aeo irregularity`: what is told of a single operator to its issuer, and what the issuer answers."""

from typing import Annotated

import typer

from clients.cli.operators import Id, told_tin
from clients.cli.output import FINDINGS, FINE, say, say_json, say_table
from clients.cli.session import Session, on_node
from clients.cli.suspensions import Agreement, Class, word_of
from clients.sdk.answers import Report
from node.advice import pasted

cli = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Irregularities of single operators, told and answered."
)


@cli.command(
    "report",
    epilog="Example: aeo irregularity report BR99000001000101 --class CARGO "
    '--text "seal 1234 was broken" --home uy',
)
@on_node
def report(
    session: Session,
    identifier: Id,
    code: Class,
    text: Annotated[str, typer.Option(help="One line; no more of a person than the issuer needs.")],
    agreement: Agreement = "",
) -> None:
    """Report an irregularity of a partner's operator to its issuer."""
    tin = told_tin(session, identifier)
    made = session.node.report_irregularity(tin, word_of(code), text, agreement)
    if session.as_json:
        say_json(made)
    else:
        what = f"{made['partner']} is told of it. It is report {made['report']}"
        say(pasted(f"{what}: `aeo irregularity list`."))


@cli.command("list", epilog="Example: aeo irregularity list --open --home br")
@on_node
def listed(
    session: Session,
    is_open: Annotated[bool, typer.Option("--open", help="Only what nobody has acknowledged yet.")] = False,
) -> int:
    """List what was reported of single operators, newest first; exit code 1 while one received is open."""
    found = [each for each in session.node.reports() if not is_open or _is_open(each)]
    if session.as_json:
        say_json({"reports": found})
    else:
        columns = ("number", "told", "partner", "operator", "what", "class", "text", "acknowledged")
        say_table(columns, [_row(each) for each in found], "Nothing was reported of any operator.")
    return FINDINGS if any(_is_open(each) and each["direction"] == "received" for each in found) else FINE


@cli.command("acknowledge", epilog='Example: aeo irregularity acknowledge 3 --text "seal replaced" --home br')
@on_node
def acknowledge(
    session: Session,
    number: Annotated[int, typer.Argument(min=1, help="As `aeo irregularity list` has it.")],
    text: Annotated[str, typer.Option(help="One line for the partner that reported it.")],
) -> None:
    """Tell the partner that reported an irregularity of an own operator that note was taken of it."""
    made = session.node.acknowledge(number, text)
    if session.as_json:
        say_json(made)
    else:
        say(f"{made['partner']} is told that note was taken of report {number}.")


def _is_open(each: Report) -> bool:
    return each["kind"] == "IRREGULARITY" and each["acknowledged_at"] is None


def _row(each: Report) -> list[object]:
    answered = f"{each['acknowledged_at']}: {each['acknowledgement']}" if each["acknowledged_at"] else ""
    shown = "not yet" if _is_open(each) else answered
    way = "from" if each["direction"] == "received" else "to"
    of = [each["report"], each["told_at"], f"{way} {each['partner']}", each["tin"], each["kind"]]
    return [*of, each["class"], each["text"], shown]
