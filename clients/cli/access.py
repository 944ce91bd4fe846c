"""`aeo access`: who asked this node what, when and for what purpose, for auditors."""

from itertools import islice
from typing import Annotated, Any

import typer

from clients.cli.output import FINE, NOTHING_FOUND, say, say_json, say_pairs, say_table
from clients.cli.session import Session, on_node

cli = typer.Typer(no_args_is_help=True, help="Who asked this node what.", rich_markup_mode=None)

Purpose = Annotated[
    str, typer.Option(help="What you ask for; the node keeps it with who asked.", show_default=False)
]
Reference = Annotated[
    str, typer.Option(help="The case, such as the number of a declaration.", show_default=False)
]


def state(session: Session, purpose: str, reference: str) -> None:
    """Let purpose and reference go with what the command asks."""
    session.node.purpose, session.node.reference = purpose, reference


@cli.command(
    "list", epilog="Example: aeo access list --identifier BR99000001000101 --since 2026-11-01 --home uy"
)
@on_node
def list_reads(
    session: Session,
    of: Annotated[str, typer.Option(help="Id or label of a token.", show_default=False)] = "",
    identifier: Annotated[
        str, typer.Option(help="Any identifier of an operator, or a record's id.", show_default=False)
    ] = "",
    kind: Annotated[
        str, typer.Option(help="lookup, list, search, history, evidence ...", show_default=False)
    ] = "",
    since: Annotated[str, typer.Option(help="A day, or a moment in UTC.", show_default=False)] = "",
    until: Annotated[str, typer.Option(help="A day, or a moment in UTC.", show_default=False)] = "",
    stated: Annotated[str, typer.Option(help="What the purpose holds.", show_default=False)] = "",
    before: Annotated[int | None, typer.Option(min=0, help="Go on before this entry.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 50,
    purpose: Purpose = "",
    reference: Reference = "",
) -> int:
    """List who asked what, newest first; exit code 4 when nothing is found."""
    state(session, purpose, reference)
    page = session.node.access(
        of=of,
        identifier=identifier,
        kind=kind,
        since=since,
        until=until,
        stated=stated,
        before=before,
        limit=limit,
    )
    if session.as_json:
        say_json(page)
    else:
        columns = ("entry", "time", "kind", "who", "purpose", "reference", "asked", "told")
        say_table(
            columns, [_row(dict(each)) for each in page["entries"]], "Nothing of the kind is recorded here."
        )
        if page["next"] is not None:
            say(f"More may be before entry {page['next']}: --before {page['next']}")
    return FINE if page["entries"] else NOTHING_FOUND


@cli.command("show", epilog="Example: aeo access show 41 --home uy")
@on_node
def show(
    session: Session,
    entry: Annotated[int, typer.Argument(min=0, help="The number of an entry.")],
    purpose: Purpose = "",
    reference: Reference = "",
) -> None:
    """Show one entry with all that was asked and told."""
    state(session, purpose, reference)
    found: dict[str, Any] = dict(session.node.access_entry(entry))
    if session.as_json:
        say_json(found)
        return
    questions = found.pop("questions", [])
    who, detail = _who(found), found.pop("detail", None) or {}
    found.pop("caller", None)
    say_pairs([*found.items(), *detail.items(), ("who", who)])
    for each in questions:
        say(f"  {_asked(each)}: {_told(each)}")


@cli.command("partners", epilog="Example: aeo access partners --identifier BR99000001000101 --home br")
@on_node
def partners(
    session: Session,
    identifier: Annotated[
        str, typer.Option(help="Any identifier of an operator, or a record's id.", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many notices.")] = 50,
    purpose: Purpose = "",
    reference: Reference = "",
) -> int:
    """List how often partners read our operators, and we theirs, as it was told; exit code 4 for nothing."""
    state(session, purpose, reference)
    found = list(islice(session.node.told_reads(identifier), limit))
    if session.as_json:
        say_json(found)
        return FINE if found else NOTHING_FOUND
    columns = ("from", "to", "read by", "of", "tin", "kind", "purpose", "times")
    rows = [_told_row(dict(each), row) for each in found for row in each["reads"]]
    say_table(columns, rows, "Nothing was told of reads.")
    for each in (each for each in found if not each["follows"]):
        say(f"Something is missing of what was told before {each['from']} ({each['partner']}).")
    return FINE if found else NOTHING_FOUND


def _told_row(notice: dict[str, Any], row: dict[str, Any]) -> list[object]:
    by, of = (notice["partner"], "us") if notice["direction"] == "received" else ("us", notice["partner"])
    return [notice["from"], notice["to"], by, of, row["tin"], row["kind"], row["purpose"], row["times"]]


def _row(entry: dict[str, Any]) -> list[object]:
    told = [entry["seq"], entry["time"], entry["kind"]]
    if entry["expired"]:
        return [*told, "(expired)", "", "", "", ""]
    asked: list[dict[str, Any]] = entry["questions"]
    count = len(asked) + entry["more"]
    detail = entry.get("detail") or {}
    about = _asked(asked[0]) if count == 1 else f"{count} questions" if count else ""
    about = f"(to be asked of {detail['of']})" if "asked" in detail else about
    shown = _told(asked[0]) if count == 1 else sum(len(each["told"]) for each in asked) if count else ""
    gone = f" ({entry['forgotten']} forgotten)" if entry["forgotten"] else ""
    stated = [entry.get("purpose", ""), entry.get("reference", "")]
    return [*told, _who(entry), *stated, f"{about}{gone}", shown]


def _who(entry: dict[str, Any]) -> str:
    caller = entry.get("caller")
    return f"{caller['label']} ({caller['token']}), {caller['role']}" if caller else ""


def _asked(question: dict[str, Any]) -> str:
    if question["asked"] is not None:
        return str(question["asked"])
    return "(not typed, or forgotten)" if question["found"] else "(not kept: nothing was found)"


def _told(question: dict[str, Any]) -> str:
    return ", ".join(f"{each.get('issuer', 'own')} {each['record_id']}" for each in question["told"])
