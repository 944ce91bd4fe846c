"""`aeo operator`: the own operators; import a list, add one, change its status or consent."""

from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from clients.cli.files import read_object
from clients.cli.output import FINDINGS, FINE, join, say, say_json, say_table
from clients.cli.session import Session, on_node
from node.ledger.encoding import unb64u

RECORD_LIMIT_BYTES: Final = 2**20

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The own operators.")

Tin = Annotated[str, typer.Argument(metavar="TIN", help="The operator's TIN.")]
Reason = Annotated[str, typer.Option(help="For the own file; never leaves the node.")]


@cli.command("import", epilog="Example: aeo operator import list.csv --profile br-oea --dry-run --home br")
@on_node
def import_file(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The list, as CSV.")],
    profile: Annotated[str, typer.Option(help="How it is read: br-oea, uy-oec, or a TOML file.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, change nothing.")
    ] = False,
) -> int:
    """Import a list of operators. A refused row stops no other; a repeated list changes nothing.

    Operators that are recorded but not in the list are reported, never revoked.
    """
    from clients.cli import imports

    report = imports.import_file(session.node, file, profile, dry_run)
    if session.as_json:
        say_json(report.to_json())
    else:
        imports.say_report(report)
    return FINDINGS if report.refused else FINE


@cli.command("add", epilog="Example: aeo operator add operator.json --home br")
@on_node
def add(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The operator as a JSON object; - for stdin.")],
    reason: Reason = "",
) -> None:
    """Record one operator, new or changed."""
    _say_outcome(session, session.node.admit(read_object(file, RECORD_LIMIT_BYTES), reason=reason))


@cli.command(
    "status",
    epilog="Example: aeo operator status BR99000001000101 SUSPENDED --reason-class UNDER_REVIEW --home br",
)
@on_node
def status(
    session: Session,
    tin: Tin,
    status: Annotated[str, typer.Argument(help="ACTIVE, SUSPENDED, REVOKED, WITHDRAWN, ANNULLED ...")],
    reason_class: Annotated[
        str | None, typer.Option(help="A word of the closed list.", show_default=False)
    ] = None,
    effective_at: Annotated[
        str | None,
        typer.Option(
            help="When it takes effect (2026-11-22T14:00:00.000Z); now if absent.", show_default=False
        ),
    ] = None,
    reason: Reason = "",
) -> None:
    """Suspend, reinstate, revoke ... an own operator."""
    change = session.node.change_status(
        tin, status.upper(), effective_at=effective_at, reason_class=reason_class, reason=reason
    )
    _say_outcome(session, change)


@cli.command("consent", epilog="Example: aeo operator consent BR99000001000101 --withdraw --home br")
@on_node
def consent(
    session: Session,
    tin: Tin,
    given: Annotated[bool, typer.Option("--give/--withdraw", help="To being named to partners.")],
    reason: Reason = "",
) -> None:
    """Record that an operator gives or withdraws its consent to being named to partners."""
    _say_outcome(session, session.node.change_consent(tin, given, reason=reason))


@cli.command("history", epilog="Example: aeo operator history BR99000001000101 --home br")
@on_node
def history(session: Session, tin: Tin) -> None:
    """Show every version of an operator that the node recorded or was told, oldest first."""
    found = session.node.history(tin)
    if session.as_json:
        say_json(found)
        return
    columns = ("kind", "known since", "status", "effective", "ledger entry", "by", "reason")
    say_table(columns, [_version(each) for each in found["versions"]], "Nothing is known.")


def _say_outcome(session: Session, outcome: Any) -> None:
    if session.as_json:
        say_json(outcome)
        return
    entry = f"version {outcome['version']}, ledger entry {outcome['ledger_seq']}"
    say(join([f"{outcome['tin']}: {outcome['outcome']}", entry]))


def _version(version: dict[str, Any]) -> list[object]:
    known = version.get("recorded_at") or version.get("told_at")
    shown = version | _disclosed(version.get("presentation", ""))
    told = [shown.get(name) for name in ("status", "effective_at", "ledger_seq", "by", "reason")]
    return [version["kind"], known, *told]


def _disclosed(presentation: str) -> dict[str, Any]:
    """The whole fields that a credential discloses (RFC 9901); the node verified it before it kept it."""
    _, *disclosures = presentation.rstrip("~").split("~")
    opened = [orjson.loads(unb64u(each)) for each in disclosures]
    return {each[1]: each[2] for each in opened if len(each) == 3}
