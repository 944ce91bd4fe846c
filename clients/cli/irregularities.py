"""`aeo irregularity`, `aeo operator suspend-here`: single operators of a partner, and what is told of them."""

from typing import Annotated, Final

import typer

from clients.cli.operators import Id, told_tin
from clients.cli.operators import cli as operators
from clients.cli.output import FINDINGS, FINE, join, say, say_json, say_table
from clients.cli.session import Session, on_node
from clients.sdk.answers import LocalDecision, Report
from node.errors import Malformed, problem

CLASSES: Final = ("CARGO", "DECLARATION", "SECURITY", "IDENTITY", "RECORD", "OTHER")

cli = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Irregularities of single operators, told and answered."
)

Class = Annotated[str, typer.Option("--class", help=f"One of {', '.join(CLASSES)}.")]
Agreement = Annotated[
    str, typer.Option(help="The whole id of one agreement, where several cover it.", show_default=False)
]
Reason = Annotated[str, typer.Option(help="For the own file and answers; never leaves the node.")]


@operators.command(
    "suspend-here",
    epilog="Example: aeo operator suspend-here BR99000001000101 --class SECURITY "
    '--reason "case 4711" --home uy',
)
@on_node
def suspend_here(
    session: Session, identifier: Id, code: Class, reason: Reason, agreement: Agreement = ""
) -> None:
    """Stop treating a partner's operator as recognised, by own decision."""
    tin = told_tin(session, identifier)
    _say_decision(session, tin, session.node.suspend_here(tin, _class(code), reason, agreement))


@operators.command(
    "resume-here",
    epilog='Example: aeo operator resume-here BR99000001000101 --reason "case 4711 closed" --home uy',
)
@on_node
def resume_here(session: Session, identifier: Id, reason: Reason, agreement: Agreement = "") -> None:
    """Lift an own decision on a partner's operator; what its issuer says of it counts again."""
    tin = told_tin(session, identifier)
    _say_decision(session, tin, session.node.resume_here(tin, reason, agreement))


@operators.command("suspended-here", epilog="Example: aeo operator suspended-here --home uy")
@on_node
def suspended_here(session: Session) -> None:
    """List the partners' operators whose treatment is suspended here, with why, by whom, since when."""
    found = session.node.suspended_here()
    if session.as_json:
        say_json({"suspended": found})
        return
    rows = [
        [each["tin"], each["agreement"][:10], each["since"], each["class"], each["by"], each["reason"]]
        for each in found
    ]
    columns = ("operator", "agreement", "since", "class", "by", "reason")
    say_table(columns, rows, "No operator of a partner is suspended here.")


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
    made = session.node.report_irregularity(tin, _class(code), text, agreement)
    if session.as_json:
        say_json(made)
    else:
        say(f"{made['partner']} is told of it. It is report {made['report']}: `aeo irregularity list`.")


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


def _class(code: str) -> str:
    if code.upper() in CLASSES:
        return code.upper()
    told = [problem("--class", code, f"must be one of {', '.join(CLASSES)}")]
    raise Malformed("there is no such class", problems=told)


def _say_decision(session: Session, tin: str, made: LocalDecision) -> None:
    if session.as_json:
        say_json(made)
        return
    told = f"told: {join(made['told'])}" if made["told"] else "the terms do not ask for telling the issuer"
    entries = join(made["ledger_entries"])
    say(f"{tin}: {made['decision']} here, ledger entry {entries}, own decision; {told}.")


def _is_open(each: Report) -> bool:
    return each["kind"] == "IRREGULARITY" and each["acknowledged_at"] is None


def _row(each: Report) -> list[object]:
    answered = f"{each['acknowledged_at']}: {each['acknowledgement']}" if each["acknowledged_at"] else ""
    shown = "not yet" if _is_open(each) else answered
    way = "from" if each["direction"] == "received" else "to"
    of = [each["report"], each["told_at"], f"{way} {each['partner']}", each["tin"], each["kind"]]
    return [*of, each["class"], each["text"], shown]
