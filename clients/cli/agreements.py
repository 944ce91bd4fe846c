"""`aeo mra`: arrangements with partners, from the draft to their end.

An id may be shortened to its first six characters or more; it is looked up among the agreements that the
node knows, so that a signature is only ever asked for on one agreement.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from clients.cli.files import read_object, read_text
from clients.cli.output import join, say, say_json, say_pairs, say_table
from clients.cli.session import Session, on_node
from node.errors import Malformed, NotFound, problem

TERMS_LIMIT_BYTES: Final = 2**20
CONTRACT_LIMIT_BYTES: Final = 65_536
SHORTEST_ID: Final = 6

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Arrangements with partners.")

_ID_MAY_BEGIN_WITH_A_DASH: Final = {"ignore_unknown_options": True}

Id = Annotated[str, typer.Argument(metavar="ID", help="The agreement's id, or how it begins.")]
Direction = Annotated[str | None, typer.Option(help="Issuer and partner, such as BR-UY.", show_default=False)]
Reason = Annotated[str, typer.Option(help="Stands in the act, for the partner to read.")]
Effective = Annotated[
    str | None, typer.Option(help="First day it counts, YYYY-MM-DD; today if absent.", show_default=False)
]


@cli.command("draft", epilog="Example: aeo mra draft --with UY --terms br_uy --contract mra_v1 --home br")
@on_node
def draft(
    session: Session,
    partners: Annotated[list[str], typer.Option("--with", help="The partner's country; repeat for more.")],
    terms: Annotated[str, typer.Option(help="Ready-made terms by name, or a JSON file.")],
    contract: Annotated[str, typer.Option(help="A published contract by name, or a file.")] = "mra_v1",
    title: Annotated[str, typer.Option(help="The terms' name if absent.", show_default=False)] = "",
) -> None:
    """Draft an agreement out of terms and a contract; nothing takes effect before all have signed."""
    agreed, text = _terms(terms), _contract(contract)
    countries = _countries(agreed, partners)
    drafted = session.node.draft_agreement(title or str(agreed.get("name", "")), countries, agreed, text)
    if session.as_json:
        say_json({"agreement": drafted})
    else:
        say(f"Drafted {drafted} between {join(countries)}; next: aeo mra sign {drafted[:10]}")


@cli.command("list", epilog="Example: aeo mra list --home br")
@on_node
def list_agreements(session: Session) -> None:
    """List the agreements, with the state of each direction today."""
    agreements = session.node.agreements()
    if session.as_json:
        say_json(agreements)
        return
    rows = [
        [
            each["agreement"][:10],
            each["title"],
            join(map(_state, each["directions"])),
            _waiting(each["waiting"]),
        ]
        for each in agreements
    ]
    say_table(("id", "title", "directions", "waiting for"), rows, "There is no agreement; `aeo mra draft`.")


@cli.command(
    "show", epilog="Example: aeo mra show Zk3c1d --home br", context_settings=_ID_MAY_BEGIN_WITH_A_DASH
)
@on_node
def show(
    session: Session,
    agreement: Id,
    contract: Annotated[bool, typer.Option("--contract", help="Print the contract's text only.")] = False,
) -> None:
    """Show one agreement: parties, terms, states, acts, who signed and whose ledger proves it."""
    found = session.node.agreement(full_id(session, agreement))
    if contract:
        typer.echo(found["document"]["contract"]["text"], nl=False)
    elif session.as_json:
        say_json(found)
    else:
        _say_agreement(dict(found))


@cli.command(
    "sign", epilog="Example: aeo mra sign Zk3c1d --home uy", context_settings=_ID_MAY_BEGIN_WITH_A_DASH
)
@on_node
def sign(session: Session, agreement: Id) -> None:
    """Sign the agreement for this administration."""
    _act(session, agreement, "sign")


@cli.command(
    "start",
    epilog="Example: aeo mra start Zk3c1d --direction BR-UY --mode pilot --home br",
    context_settings=_ID_MAY_BEGIN_WITH_A_DASH,
)
@on_node
def start(
    session: Session,
    agreement: Id,
    direction: Annotated[str, typer.Option(help="Issuer and partner, such as BR-UY.")],
    mode: Annotated[
        Literal["pilot", "operation"], typer.Option(help="Which state it goes to.")
    ] = "operation",
    preconditions: Annotated[
        list[str], typer.Option("--precondition", help="A precondition of the terms that is met; repeat.")
    ] = [],  # noqa: B006
    effective: Effective = None,
    reason: Reason = "",
) -> None:
    """Start a direction; it counts once both sides have signed the same start."""
    told = {"mode": mode, "preconditions_met": preconditions, "effective": effective, "reason": reason}
    _act(session, agreement, "start", direction, **told)


@cli.command(
    "suspend",
    epilog="Example: aeo mra suspend Zk3c1d --direction BR-UY --reason 'Joint review' --home br",
    context_settings=_ID_MAY_BEGIN_WITH_A_DASH,
)
@on_node
def suspend(
    session: Session,
    agreement: Id,
    direction: Direction = None,
    effective: Effective = None,
    reason: Reason = "",
) -> None:
    """Suspend a direction; one signature is enough under the standard contract."""
    _act(session, agreement, "suspend", direction, effective=effective, reason=reason)


@cli.command(
    "resume",
    epilog="Example: aeo mra resume Zk3c1d --direction BR-UY --home br",
    context_settings=_ID_MAY_BEGIN_WITH_A_DASH,
)
@on_node
def resume(
    session: Session,
    agreement: Id,
    direction: Direction = None,
    effective: Effective = None,
    reason: Reason = "",
) -> None:
    """Lift every suspension of a direction; it counts once both sides have signed."""
    _act(session, agreement, "resume", direction, effective=effective, reason=reason)


@cli.command(
    "terminate",
    epilog="Example: aeo mra terminate Zk3c1d --effective 2027-12-31 --home br",
    context_settings=_ID_MAY_BEGIN_WITH_A_DASH,
)
@on_node
def terminate(
    session: Session,
    agreement: Id,
    direction: Direction = None,
    effective: Effective = None,
    reason: Reason = "",
) -> None:
    """End the agreement, or one direction of it, for good; the terms say how much notice it takes."""
    _act(session, agreement, "terminate", direction, effective=effective, reason=reason)


@cli.command(
    "decisions",
    epilog="Example: aeo mra decisions Zk3c1d --home br",
    context_settings=_ID_MAY_BEGIN_WITH_A_DASH,
)
@on_node
def decisions(session: Session, agreement: Id) -> None:
    """Count what the contract decided about the own operators: shared, or withheld and why."""
    told = session.node.decisions(full_id(session, agreement))
    if session.as_json:
        say_json(told)
        return
    rows = [row for direction in told["directions"] for row in _decided(direction)]
    say_table(("partner", "state", "decision", "operators"), rows, "No direction goes out of this node.")


def full_id(session: Session, start: str) -> str:
    """The id of the one agreement that begins so; `NotFound` when there is none or several."""
    known = [each["agreement"] for each in session.node.agreements()]
    found = [number for number in known if len(start) >= SHORTEST_ID and number.startswith(start)]
    if len(found) == 1:
        return found[0]
    why = "several begin so" if found else f"give at least {SHORTEST_ID} characters of an id known here"
    raise NotFound("there is no such agreement", where=start, why=why, do="list them with `aeo mra list`")


def _act(session: Session, agreement: str, act: str, direction: str | None = None, **told: Any) -> None:
    issuer, partner = _pair(direction) if direction else (None, None)
    answer = session.node.act(full_id(session, agreement), act, issuer=issuer, partner=partner, **told)
    if session.as_json:
        say_json(answer)
    elif answer["complete"]:
        say(f"Signed; {act} is complete and in the ledger.")
    else:
        say(f"Signed; {act} waits for: {join(answer['missing'])}")


def _pair(direction: str) -> tuple[str, str]:
    issuer, _, partner = direction.upper().partition("-")
    if len(issuer) != 2 or len(partner) != 2:
        rule = "must be issuer and partner with a dash between, such as BR-UY"
        raise Malformed("the direction is out of form", problems=[problem("--direction", direction, rule)])
    return issuer, partner


def _terms(name: str) -> dict[str, Any]:
    from contracts.terms import terms

    if _is_path(name):
        return read_object(Path(name), TERMS_LIMIT_BYTES)
    try:
        return terms(name)
    except FileNotFoundError:
        raise _no_such("terms", name) from None


def _contract(name: str) -> str:
    from contracts.rules import text

    if _is_path(name):
        return read_text(Path(name), CONTRACT_LIMIT_BYTES)
    try:
        return text(name)
    except FileNotFoundError:
        raise _no_such("contract", name) from None


def _is_path(name: str) -> bool:
    """A ready-made name is letters, digits and underscores; anything else is a file."""
    return not name.replace("_", "").isalnum()


def _no_such(kind: str, name: str) -> NotFound:
    do = "give a file's path, with its ending, for your own"
    return NotFound(f"there is no ready-made {kind} of this name", where=name, do=do)


def _countries(terms: dict[str, Any], partners: Iterable[str]) -> list[str]:
    """Every country that the terms' directions name: the partners, and this administration's own."""
    named = sorted({country for direction in terms.get("directions", ()) for country in direction.split("-")})
    others = {partner.upper() for partner in partners}
    if not others < set(named) or len(named) != len(others) + 1:
        why = f"their directions are between {join(named) or 'nobody'}"
        raise Malformed("the terms are not between you and these partners", where=join(others), why=why)
    return named


def _say_agreement(found: dict[str, Any]) -> None:
    document = found["document"]
    say(found["title"])
    say_pairs(
        [
            ("id", found["agreement"]),
            ("drafted on", found["drafted_on"]),
            ("contract", f"SHA-256 {found['contract']} (read it with --contract)"),
            *(("party", f"{p['country']}  {p['name']}  {p['administration']}") for p in document["parties"]),
        ]
    )
    say("Terms")
    say_pairs((name, _term(value)) for name, value in document["terms"].items() if name != "directions")
    for direction in found["directions"]:
        say(_state(direction))
        terms = document["terms"]["directions"][f"{direction['issuer']}-{direction['partner']}"]
        say_pairs((name, _term(value)) for name, value in terms.items())
    columns = ("act", "direction", "mode", "effective", "signed by", "in force", "own entry", "proven in")
    say_table(columns, [_act_row(act) for act in found["acts"]], "Nobody has signed anything yet.")


def _term(value: object) -> str:
    """A term as it was signed; what is left open is said to be so."""
    if value is None:
        return "not limited"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return join(value) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_term(each)}" for name, each in value.items())
    return str(value)


def _act_row(held: dict[str, Any]) -> list[object]:
    says, counts = held["says"], held["counts"]
    direction = f"{says['issuer']}-{says['partner']}" if says["issuer"] else "all"
    told = [says["act"], direction, says["mode"], says["effective"], join(held["signed_by"])]
    return [*told, "yes" if counts else "no", held["own_ledger_seq"], join(held["proven_in_ledgers_of"])]


def _state(direction: dict[str, str]) -> str:
    return f"{direction['issuer']}-{direction['partner']} {direction['state']}"


def _waiting(acts: list[dict[str, Any]]) -> str:
    return join(f"{act['act']} (signed by {join(act['signed_by']) or 'nobody'})" for act in acts)


def _decided(direction: dict[str, Any]) -> list[list[object]]:
    place = [direction["partner"], direction["state"]]
    withheld = [[*place, f"withheld: {reason}", count] for reason, count in direction["withheld"].items()]
    return [[*place, "shared", direction["shared"]], *withheld]
