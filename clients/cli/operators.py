"""`aeo operator`: the own operators; import a list, add one, change its status or consent."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from clients.cli.files import read_bytes, read_object
from clients.cli.lookup import not_known
from clients.cli.output import FINDINGS, FINE, join, say, say_json, say_table
from clients.cli.session import Session, on_node
from clients.sdk.answers import OperatorAnswer
from node.errors import Conflict, Malformed, NotFound, problem

RECORD_LIMIT_BYTES: Final = 2**20
PAPER_LIMIT_BYTES: Final = 2**26
BOOKKEEPING: Final = ("recorded_at", "effective_at", "status_since")
"""Fields that change with every version, and so tell nothing of what changed."""

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The own operators.")

Id = Annotated[
    str, typer.Argument(metavar="ID", help="The operator's TIN, CNPJ, RUT or any other identifier.")
]
Reason = Annotated[str, typer.Option(help="For the own file; never leaves the node.")]


@cli.command("import", epilog="Example: aeo operator import list.csv --profile br-oea --dry-run --home br")
@on_node
def import_file(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The list, as CSV.")],
    profile: Annotated[str, typer.Option(help="How it is read: br-oea, br-cnpj, uy-oec, or a TOML file.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, change nothing.")
    ] = False,
    from_line: Annotated[
        int, typer.Option(help="Go on from this line of the list, where an import was broken off.", min=0)
    ] = 0,
) -> int:
    """Import a list of operators or traders. A refused row stops no other; a repeated list changes nothing.

    Those that are recorded but not in the list are reported, never revoked.
    """
    from clients.cli import imports

    report = imports.import_file(session.node, file, profile, dry_run, from_line)
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
    """Record one operator, new or changed; `docs/commands.md` shows one as JSON."""
    _say_outcome(session, session.node.admit(read_object(file, RECORD_LIMIT_BYTES), reason=reason))


@cli.command(
    "status",
    epilog="Example: aeo operator status BR99000001000101 SUSPENDED --reason-class UNDER_REVIEW --home br",
)
@on_node
def status(
    session: Session,
    identifier: Id,
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
        own_tin(session, identifier),
        status.upper(),
        effective_at=effective_at,
        reason_class=reason_class,
        reason=reason,
    )
    _say_outcome(session, change)


@cli.command(
    "consent",
    epilog='Example: aeo operator consent BR99000001000101 --give --by "the director" --text "I consent ..." '
    "--home br",
)
@on_node
def consent(
    session: Session,
    identifier: Id,
    given: Annotated[
        bool | None,
        typer.Option(
            "--give/--withdraw", help="To being named to partners; one of them.", show_default=False
        ),
    ] = None,
    by: Annotated[str, typer.Option(help="Who at the operator says so.")] = "",
    text: Annotated[str, typer.Option(help="What is consented to, word for word.")] = "",
    paper: Annotated[
        Path | None, typer.Option(help="The signed paper, of which the SHA-256 is kept.", show_default=False)
    ] = None,
    agreement: Annotated[
        list[str] | None,
        typer.Option(help="Only for agreements of this name; may be given again.", show_default=False),
    ] = None,
    reason: Reason = "",
) -> None:
    """Record that an operator gives or withdraws its consent to being named to partners, and how."""
    if given is None:
        do = "say --give or --withdraw"
        raise Malformed("it is not said whether the operator consents", where=identifier, do=do)
    document = hashlib.sha256(read_bytes(paper, PAPER_LIMIT_BYTES)).hexdigest() if paper else ""
    said = {"by": by, "text": text, "document": document}
    change = session.node.change_consent(
        own_tin(session, identifier), given, agreement or "GENERAL", reason=reason, **said
    )
    _say_outcome(session, change)


@cli.command("consents", epilog="Example: aeo operator consents BR99000001000101 --home br")
@on_node
def consents(session: Session, identifier: Id) -> None:
    """Show each time that an operator's consent was recorded: who said so, when, and in which words."""
    found = session.node.consents(own_tin(session, identifier))
    if session.as_json:
        say_json({"consents": found})
        return
    columns = ("recorded", "consent", "for", "by", "text", "paper", "entered by", "ledger entry")
    say_table(columns, [_consent_row(each) for each in found], "No consent was ever recorded.")


@cli.command("disclosures", epilog="Example: aeo operator disclosures BR99000001000101 --home br")
@on_node
def disclosures(session: Session, identifier: Id) -> None:
    """Show what was disclosed about an operator: to whom, when, under which agreement, which fields."""
    found = session.node.disclosures(own_tin(session, identifier))
    if session.as_json:
        say_json({"disclosures": found})
        return
    columns = ("time", "partner", "agreement", "what", "fields", "asked for", "channel entry")
    rows = [
        [
            each["time"],
            each["partner"],
            each["agreement"][:8],
            each["kind"],
            join(each["fields"]),
            join(each["asked"].values()) if each["asked"] else "",
            each["channel_seq"],
        ]
        for each in found
    ]
    say_table(columns, rows, "No partner was ever told of it.")


@cli.command("history", epilog="Example: aeo operator history BR99000001000101 --home br")
@on_node
def history(session: Session, identifier: Id) -> None:
    """Show every version of an operator that the node recorded or was told, oldest first."""
    found = session.node.history(identifier)
    if session.as_json:
        say_json(found)
        return
    columns = ("kind", "known since", "status", "what changed", "effective", "ledger entry", "by", "reason")
    say_table(columns, list(_versions(found["versions"])), "Nothing is known.")


def own_tin(session: Session, identifier: str) -> str:
    """The TIN of the one own operator with this identifier; refused when there is none or several."""
    found = session.node.find(identifier)
    own = [each for each in found if each["source"] == "own"]
    if own:
        return _one_tin(identifier, own)
    why = "a partner told of it; only its own administration changes it" if found else not_known(identifier)
    raise NotFound(
        "no own operator has this identifier",
        where=identifier,
        why=why,
        do="find it: `aeo lookup --name NAME`",
    )


def told_tin(session: Session, identifier: str) -> str:
    """The TIN of the one operator of a partner's with this identifier; refused for none or several."""
    told = [each for each in session.node.find(identifier) if each["source"] == "mirror"]
    if told:
        return _one_tin(identifier, told)
    raise NotFound(
        "no partner has told of an operator with this identifier",
        where=identifier,
        do="find it: `aeo lookup --name NAME`; of an own one use `aeo operator status`",
    )


def _one_tin(identifier: str, found: Sequence[OperatorAnswer]) -> str:
    """The TIN that all of these have; the identifier itself where their records have left our view."""
    names = {each["tin"]: (each["fields"] or {}).get("legal_name", "") for each in found if each["tin"]}
    if len(names) > 1:
        told = [problem(tin, name, "has this identifier") for tin, name in names.items()]
        do = "give the TIN of the one that is meant"
        raise Conflict("several operators have this identifier", where=identifier, problems=told, do=do)
    return next(iter(names), identifier)


def _consent_row(told: Any) -> list[object]:
    consent, said = told["consent"] or {}, told["statement"] or {}
    is_given = "given" if consent.get("given") else "withdrawn" if consent else "none"
    scope = consent.get("scope", "")
    of = [
        is_given,
        scope if isinstance(scope, str) else join(scope),
        said.get("by", ""),
        said.get("text", ""),
    ]
    entered = told["entered_by"] if not told["source"] else f"{told['entered_by']}, {told['source']}"
    return [told["recorded_at"], *of, said.get("document", "")[:16], entered, told["ledger_seq"]]


def _say_outcome(session: Session, outcome: Any) -> None:
    if session.as_json:
        say_json(outcome)
        return
    entry = f"version {outcome['version']}, ledger entry {outcome['ledger_seq']}"
    say(join([f"{outcome['tin']}: {outcome['outcome']}", entry]))


def _versions(versions: Iterable[dict[str, Any]]) -> Iterator[list[object]]:
    """A row for each version, told apart from the one before it from the same source."""
    before: dict[str | None, dict[str, Any]] = {}
    for version in versions:
        source = version.get("agreement")
        fields = version.get("fields", {})
        changed = join(_changes(before[source], fields)) if source in before else "first version"
        before[source] = fields
        shown = version | fields
        known = version.get("recorded_at") or version.get("told_at")
        told = [shown.get(name) for name in ("effective_at", "ledger_seq", "by", "reason")]
        yield [version["kind"], known, shown.get("status"), changed, *told]


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What became different, a word for each field; consent by what was done."""
    if not new:
        yield "left our view"
        return
    if not old:
        yield "back in view"
        return
    for name in dict.fromkeys([*new, *old]):
        if name in BOOKKEEPING or new.get(name) == old.get(name):
            continue
        if name == "status":
            yield f"status {old.get(name)} -> {new.get(name)}"
        elif name == "mra_consent":
            yield _consent_change(old.get(name) or {}, new.get(name) or {})
        else:
            yield name


def _consent_change(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    if old.get("given") == new.get("given"):
        return "consent: scope or date"
    return "consent given" if new.get("given") else "consent withdrawn"
