"""`aeo mra`: arrangements with partners, from the draft to their end.

An id may be shortened to its first six characters or more; the node refuses one that begins several.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from clients.cli.files import read_object, read_text
from clients.cli.output import join, say, say_json, say_pairs, say_table
from clients.cli.session import Session, on_node
from node.advice import pasted
from node.errors import Malformed, NotFound, problem

TERMS_LIMIT_BYTES: Final = 2**20
CONTRACT_LIMIT_BYTES: Final = 65_536
_ON_ONE: Final = {"ignore_unknown_options": True}
"""An id may begin with a dash."""

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Arrangements with partners.")

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
    countries = _countries(agreed, session.node.card()["country"], partners)
    drafted = session.node.draft_agreement(title or str(agreed.get("name", "")), countries, agreed, text)
    if session.as_json:
        say_json({"agreement": drafted})
    else:
        say(pasted(f"Drafted {drafted} between {join(countries)}; next: `aeo mra sign {drafted[:10]}`"))


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
            _waiting(dict(each)),
        ]
        for each in agreements
    ]
    say_table(("id", "title", "directions", "waiting for"), rows, "There is no agreement; `aeo mra draft`.")


@cli.command("show", epilog="Example: aeo mra show Zk3c1d --home br", context_settings=_ON_ONE)
@on_node
def show(
    session: Session,
    agreement: Id,
    contract: Annotated[bool, typer.Option("--contract", help="Print the contract's text only.")] = False,
) -> None:
    """Show one agreement: parties, terms, states, acts, who signed and whose ledger proves it."""
    found = session.node.agreement(agreement)
    if contract:
        typer.echo(found["document"]["contract"]["text"], nl=False)
    elif session.as_json:
        say_json(found)
    else:
        _say_agreement(dict(found))


@cli.command("sign", epilog="Example: aeo mra sign Zk3c1d --home uy", context_settings=_ON_ONE)
@on_node
def sign(session: Session, agreement: Id) -> None:
    """Sign the agreement for this administration."""
    _act(session, agreement, "sign")


@cli.command(
    "start",
    epilog="Example: aeo mra start Zk3c1d --direction BR-UY --mode pilot --home br",
    context_settings=_ON_ONE,
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
    context_settings=_ON_ONE,
)
@on_node
def suspend(
    session: Session,
    agreement: Id,
    direction: Direction = None,
    effective: Effective = None,
    reason: Reason = "",
) -> None:
    """Suspend a direction; one signature is enough, under every contract."""
    _act(session, agreement, "suspend", direction, effective=effective, reason=reason)


@cli.command(
    "resume",
    epilog="Example: aeo mra resume Zk3c1d --direction BR-UY --home br",
    context_settings=_ON_ONE,
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
    context_settings=_ON_ONE,
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
    "withdraw", epilog="Example: aeo mra withdraw Zk3c1d --act 7Qm0aX --home br", context_settings=_ON_ONE
)
@on_node
def withdraw(
    session: Session,
    agreement: Id,
    act: Annotated[
        str | None,
        typer.Option(
            help="Id of a proposed act, as `aeo mra show` lists it; else the draft itself.",
            show_default=False,
        ),
    ] = None,
    reason: Reason = "",
) -> None:
    """Take back a draft or a proposed act, or decline a partner's; only while not all have signed it."""
    answer = session.node.withdraw(agreement, act, reason)
    if session.as_json:
        say_json(answer)
    else:
        say(f"{'The act' if act else 'The draft'} is withdrawn; this node will never let it count.")


@cli.command(
    "decisions",
    epilog="Example: aeo mra decisions Zk3c1d --home br",
    context_settings=_ON_ONE,
)
@on_node
def decisions(session: Session, agreement: Id) -> None:
    """Count what the contract decided about the own operators: shared, or withheld and why."""
    told = session.node.decisions(agreement)
    if session.as_json:
        say_json(told)
        return
    rows = [row for direction in told["directions"] for row in _decided(direction)]
    say_table(("partner", "state", "decision", "operators"), rows, "No direction goes out of this node.")


def _act(session: Session, agreement: str, act: str, direction: str | None = None, **told: Any) -> None:
    issuer, partner = _pair(direction) if direction else (None, None)
    answer = session.node.act(agreement, act, issuer=issuer, partner=partner, **told)
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
        raise _no_such("terms", name, ".json") from None


def _contract(name: str) -> str:
    from contracts.rules import text

    if _is_path(name):
        return read_text(Path(name), CONTRACT_LIMIT_BYTES)
    try:
        return text(name)
    except FileNotFoundError:
        raise _no_such("contract", name, ".py") from None


def _is_path(name: str) -> bool:
    """A ready-made name is letters, digits and underscores; anything else is a file."""
    return not name.replace("_", "").isalnum()


def _no_such(kind: str, name: str, ending: str) -> NotFound:
    from importlib.resources import files

    names = [
        file.name for file in files("contracts.terms" if kind == "terms" else "contracts.rules").iterdir()
    ]
    known = sorted(name.removesuffix(ending) for name in names if name.endswith(ending) and name[0] != "_")
    why = f"ready-made are: {join(known)}"
    do = "give a file's path, with its ending, for your own"
    return NotFound(f"there is no ready-made {kind} of this name", where=name, why=why, do=do)


def _countries(terms: dict[str, Any], own: str, partners: Iterable[str]) -> list[str]:
    """Every country that the terms' directions name: the partners, and this administration's own."""
    named = sorted({country for direction in terms.get("directions", ()) for country in direction.split("-")})
    others = {partner.upper() for partner in partners}
    if own in others:
        do = "name the partner's country"
        raise Malformed(f"--with {own} is this node's own country", do=do)
    if others | {own} != set(named):
        why = f"their directions are between {join(named) or 'nobody'}"
        raise Malformed("the terms are not between you and these partners", where=join(others), why=why)
    return named


def _say_agreement(found: dict[str, Any]) -> None:
    document = found["document"]
    say(found["title"])
    say_pairs(
        [
            ("id", found["agreement"]),
            ("waiting for", _waiting(found)),
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
    columns = (
        "id",
        "act",
        "direction",
        "mode",
        "effective",
        "signed by",
        "in force",
        "own entry",
        "proven in",
    )
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
    if says["act"] == "withdraw":
        direction, counts = (says["lifts"][0][:10] if says["lifts"] else "the draft"), held["complete"]
    told = [
        held["act"][:10],
        says["act"],
        direction,
        says["mode"],
        says["effective"],
        join(held["signed_by"]),
    ]
    gone = f"withdrawn by {join(held['withdrawn_by'])}" if held["withdrawn_by"] else "no"
    return [*told, "yes" if counts else gone, held["own_ledger_seq"], join(held["proven_in_ledgers_of"])]


def _state(direction: dict[str, str]) -> str:
    return f"{direction['issuer']}-{direction['partner']} {direction['state']}"


def _waiting(agreement: dict[str, Any]) -> str:
    """Who still has to sign what; or who withdrew the draft, for which nobody waits any more."""
    if agreement["withdrawn_by"]:
        return f"nobody: withdrawn by {join(agreement['withdrawn_by'])}"
    waiting = [
        f"{_words(act)} by {join(act['missing']) or 'nobody: the contract refuses it'}"
        for act in agreement["waiting"]
    ]
    return "; ".join(waiting) or ("" if agreement["signed"] else "proof that the partner's ledger holds it")


def _words(act: dict[str, Any]) -> str:
    direction = f"{act['issuer']}-{act['partner']}" if act["issuer"] else ""
    return " ".join(filter(None, (act["act"], direction, act["mode"])))


def _decided(direction: dict[str, Any]) -> list[list[object]]:
    place = [direction["partner"], direction["state"]]
    withheld = [[*place, f"withheld: {reason}", count] for reason, count in direction["withheld"].items()]
    return [[*place, "shared", direction["shared"]], *withheld]
