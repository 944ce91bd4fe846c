"""`aeo suspension`: a single operator of a partner's that is not recognised here, by own decision."""

from typing import Annotated, Final

import typer

from clients.cli.operators import Id, told_tin
from clients.cli.output import join, say, say_json, say_table
from clients.cli.session import Session, on_node
from clients.sdk.answers import LocalDecision
from node.errors import Malformed, problem

CLASSES: Final = ("CARGO", "DECLARATION", "SECURITY", "IDENTITY", "RECORD", "OTHER")

cli = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="A partner's operators that are not recognised here."
)

Class = Annotated[str, typer.Option("--class", help=f"One of {', '.join(CLASSES)}.")]
Agreement = Annotated[
    str, typer.Option(help="The whole id of one agreement, where several cover it.", show_default=False)
]
Reason = Annotated[str, typer.Option(help="For the own file and answers; never leaves the node.")]


@cli.command(
    "impose",
    epilog='Example: aeo suspension impose BR99000001000101 --class SECURITY --reason "case 4711" --home uy',
)
@on_node
def impose(session: Session, identifier: Id, code: Class, reason: Reason, agreement: Agreement = "") -> None:
    """Stop treating a partner's operator as recognised, by own decision."""
    tin = told_tin(session, identifier)
    _say(session, tin, session.node.suspend_here(tin, word_of(code), reason, agreement))


@cli.command(
    "lift", epilog='Example: aeo suspension lift BR99000001000101 --reason "case 4711 closed" --home uy'
)
@on_node
def lift(session: Session, identifier: Id, reason: Reason, agreement: Agreement = "") -> None:
    """Lift such a decision; what the issuer says of the operator counts again."""
    tin = told_tin(session, identifier)
    _say(session, tin, session.node.resume_here(tin, reason, agreement))


@cli.command("list", epilog="Example: aeo suspension list --home uy")
@on_node
def listed(session: Session) -> None:
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
    say_table(columns, rows, "No operator of a partner's is suspended here.")


def word_of(code: str) -> str:
    """A class as the node knows it; `Malformed` when there is none such."""
    if code.upper() in CLASSES:
        return code.upper()
    told = [problem("--class", code, f"must be one of {', '.join(CLASSES)}")]
    raise Malformed("there is no such class", problems=told)


def _say(session: Session, tin: str, made: LocalDecision) -> None:
    if session.as_json:
        say_json(made)
        return
    told = f"told: {join(made['told'])}" if made["told"] else "the issuer was not told"
    say(f"{tin}: {made['decision']} here, own ledger entry {join(made['ledger_entries'])}; {told}.")
