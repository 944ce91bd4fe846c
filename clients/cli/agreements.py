"""`aeo mra`: arrangements with partners, from the draft to their end.

An id may be shortened to its first six characters or more; the node refuses one that begins several.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import typer

from clients.cli.clauses import direction_in_words, terms_in_words
from clients.cli.output import join, say, say_json, say_pairs, say_table
from clients.cli.readymade import contract_of, terms_of
from clients.cli.session import Session, on_node
from node.advice import pasted
from node.errors import Malformed, NotFound, problem

_ON_ONE: Final = {"ignore_unknown_options": True}
"""An id may begin with a dash."""

GO_ON: Final = ("PILOT", "IN_OPERATION", "SUSPENDED")
"""States of a direction that an agreement takes over from the one it replaces."""

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Arrangements with partners.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The agreement's id, or how it begins.")]
Direction = Annotated[str | None, typer.Option(help="Issuer and partner, such as BR-UY.", show_default=False)]
Proposal = Annotated[
    str | None,
    typer.Option(
        "--act",
        help="Id of the partner's proposal, to sign it as it stands; nothing else is given then.",
        show_default=False,
    ),
]
Reason = Annotated[str, typer.Option(help="Stands in the act, for the partner to read.")]
Effective = Annotated[
    str | None, typer.Option(help="First day it counts, YYYY-MM-DD; today if absent.", show_default=False)
]


@cli.command("draft", epilog="Example: aeo mra draft --with UY --terms br_uy --contract mra_v2 --home br")
@on_node
def draft(
    session: Session,
    partners: Annotated[list[str], typer.Option("--with", help="The partner's country; repeat for more.")],
    terms: Annotated[str, typer.Option(help="Ready-made terms by name, or a JSON file.")],
    contract: Annotated[str, typer.Option(help="A published contract by name, or a file.")] = "mra_v2",
    title: Annotated[str, typer.Option(help="The terms' name if absent.", show_default=False)] = "",
) -> None:
    """Draft an agreement out of terms and a contract; nothing takes effect before all have signed."""
    agreed, text = terms_of(terms), contract_of(contract)
    countries = _countries(agreed, session.node.card()["country"], partners)
    drafted = session.node.draft_agreement(title or str(agreed.get("name", "")), countries, agreed, text)
    if session.as_json:
        say_json({"agreement": drafted})
    else:
        say(pasted(f"Drafted {drafted} between {join(countries)}; next: `aeo mra sign {drafted[:10]}`"))


@cli.command("amend", epilog="Example: aeo mra amend Zk3c1d --terms four.json --with PY --home br")
@on_node
def amend(
    session: Session,
    agreement: Id,
    terms: Annotated[str, typer.Option(help="Ready-made terms by name, or a JSON file.")],
    newcomers: Annotated[
        list[str], typer.Option("--with", help="A country that joins; repeat for more.")
    ] = [],  # noqa: B006
    contract: Annotated[
        str, typer.Option(help="A published contract by name, or a file; the old one if absent.")
    ] = "",
    title: Annotated[str, typer.Option(help="The old title if absent.", show_default=False)] = "",
) -> None:
    """Draft the agreement that is to replace one: other terms, another contract, or a party more.

    Once all have signed it, what was in operation goes on under it, and the old one ends. `aeo mra diff` says
    before what it changes.
    """
    found = session.node.agreement(agreement)
    agreed, old = terms_of(terms), found["document"]
    named = {country for direction in agreed.get("directions", ()) for country in direction.split("-")}
    joining, told = named - set(found["parties"]), {each.upper() for each in newcomers}
    if joining != told:
        why = f"they name beside the parties: {join(sorted(joining)) or 'nobody'}"
        do = "name with --with each country that joins, and no other"
        raise Malformed("the terms are not between the parties and who joins", where=terms, why=why, do=do)
    text = contract_of(contract) if contract else str(old["contract"]["text"])
    drafted = session.node.draft_agreement(
        title or found["title"], sorted(named), agreed, text, found["agreement"]
    )
    if session.as_json:
        say_json({"agreement": drafted})
    else:
        before, after = found["agreement"][:10], drafted[:10]
        say(pasted(f"Drafted {drafted} between {join(sorted(named))}, to replace {before}"))
        say(pasted(f"See `aeo mra diff {before} {after}`; then `aeo mra sign {after}`"))


@cli.command("list", epilog="Example: aeo mra list --home br")
@on_node
def list_agreements(session: Session) -> None:
    """List the agreements, with the state of each direction today."""
    agreements = session.node.agreements()
    if session.as_json:
        say_json(agreements)
        return
    if not agreements:
        say(pasted("There is no agreement; `aeo mra draft`."))
    for each in agreements:
        say(f"{each['agreement'][:10]}  {each['title']}")
        say_pairs(
            [("directions", join(map(_state, each["directions"]))), ("waiting for", _waiting(dict(each)))]
        )


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
def sign(session: Session, agreement: Id, proposal: Proposal = None) -> None:
    """Sign the agreement for this administration."""
    _act(session, agreement, "sign", proposal=proposal)


@cli.command(
    "start",
    epilog="Example: aeo mra start Zk3c1d --direction BR-UY --mode pilot --home br",
    context_settings=_ON_ONE,
)
@on_node
def start(
    session: Session,
    agreement: Id,
    direction: Direction = None,
    mode: Annotated[
        Literal["pilot", "operation"], typer.Option(help="Which state it goes to.")
    ] = "operation",
    preconditions: Annotated[
        list[str], typer.Option("--precondition", help="A precondition of the terms that is met; repeat.")
    ] = [],  # noqa: B006
    effective: Effective = None,
    reason: Reason = "",
    proposal: Proposal = None,
) -> None:
    """Start a direction; it counts once both sides have signed the same start."""
    told = {"mode": mode, "preconditions_met": preconditions, "effective": effective, "reason": reason}
    _act(session, agreement, "start", direction, proposal, **told)


@cli.command(
    "suspend",
    epilog="Example: aeo mra suspend Zk3c1d --direction BR-UY --reason 'Joint review' --home br",
    context_settings=_ON_ONE,
)
@on_node
def suspend(
    session: Session,
    agreement: Id,
    direction: Annotated[str, typer.Option(help="Issuer and partner, such as BR-UY.")],
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
    proposal: Proposal = None,
) -> None:
    """Lift every suspension of a direction; it counts once both sides have signed."""
    _act(session, agreement, "resume", direction, proposal, effective=effective, reason=reason)


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
    proposal: Proposal = None,
) -> None:
    """End the agreement, or one direction of it, for good; the terms say how much notice it takes.

    The whole of an agreement of more than two ends when all of them have signed that; alone, `leave` it.
    """
    _act(session, agreement, "terminate", direction, proposal, effective=effective, reason=reason)


@cli.command(
    "leave",
    epilog="Example: aeo mra leave Zk3c1d --effective 2027-12-31 --home br",
    context_settings=_ON_ONE,
)
@on_node
def leave(session: Session, agreement: Id, effective: Effective = None, reason: Reason = "") -> None:
    """Leave the agreement: ends every direction from and to this administration, for good.

    It goes on between the others. The terms say how much notice it takes, as for `terminate`.
    """
    _act(session, agreement, "leave", effective=effective, reason=reason)


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
    """Take back a draft or a proposed act, or decline a partner's; only while it does not count."""
    answer = session.node.withdraw(agreement, act, reason)
    if session.as_json:
        say_json(answer)
    else:
        say(f"{'The act' if act else 'The draft'} is withdrawn.")
        _say_whether_it_may_count(dict(session.node.agreement(agreement)), act)


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
    nothing = "No direction goes out of this node."
    if not rows and not session.node.agreement(agreement)["signed"]:
        nothing = "Nothing is decided before both ledgers are proven to hold both signatures."
    say_table(("partner", "state", "decision", "operators"), rows, nothing)


def _act(
    session: Session,
    agreement: str,
    act: str,
    direction: str | None = None,
    proposal: str | None = None,
    **told: Any,
) -> None:
    issuer, partner = _pair(direction) if direction else (None, None)
    if proposal is not None:
        told = _words_of(dict(session.node.agreement(agreement)), act, proposal)
    elif act in ("start", "resume") and direction is None:
        raise Malformed(f"{act} is about one direction", do="give it with --direction, such as BR-UY")
    else:
        told |= {"issuer": issuer, "partner": partner}
    answer = session.node.act(agreement, act, **told)
    if session.as_json:
        say_json(answer)
        return
    done = "is complete and in the ledger." if answer["complete"] else f"waits for: {join(answer['missing'])}"
    say(f"Signed; {act} {done}")
    found: dict[str, Any] = dict(session.node.agreement(agreement))
    [signed] = [each for each in found["acts"] if each["act"] == answer["act"]]
    say_pairs([*_words(signed["says"]), ("state today", join(map(_state, found["directions"])))])
    if act == "sign" and answer["complete"]:
        _say_what_next(session, found)


def _say_what_next(session: Session, found: dict[str, Any]) -> None:
    """What begins once an agreement is signed, and what goes on under it by itself."""
    directions = sorted(found["document"]["terms"]["directions"])
    if found["supersedes"]:
        before = session.node.agreement(found["supersedes"])["directions"]
        kept = {f"{each['issuer']}-{each['partner']}" for each in before if each["state"] in GO_ON}
        if goes_on := sorted(kept.intersection(directions)):
            say(f"Once each ledger is proven to hold all signatures, this goes on by itself: {join(goes_on)}")
            say("(where its start met what the new terms ask for first)")
        directions = [each for each in directions if each not in goes_on]
    if directions:
        say("Next, once each ledger is proven to hold both signatures, both start each direction:")
    for each in directions:
        say(pasted(f"  `aeo mra start {found['agreement'][:10]} --direction {each}`"))


def _words_of(found: dict[str, Any], act: str, start: str) -> dict[str, Any]:
    """The words of one proposal, as the node is asked to sign them."""
    named = [each["says"] for each in found["acts"] if start and each["act"].startswith(start)]
    if len(named) != 1 or named[0]["act"] != act:
        raise NotFound(f"there is no one {act} whose id begins so", where=start, do="see `aeo mra show`")
    return {
        name: named[0][name]
        for name in ("issuer", "partner", "mode", "effective", "reason", "preconditions_met")
    }


def _say_whether_it_may_count(found: dict[str, Any], act: str | None) -> None:
    named = [each for each in found["acts"] if act and each["act"].startswith(act)]
    named = named or [each for each in found["acts"] if each["says"]["act"] == "sign"]
    if any(each["own_ledger_seq"] is not None for each in named):
        say("All had signed it: it counts all the same if the partner's ledger held it before this arrives.")
    else:
        say("This node will never let it count.")


def _pair(direction: str) -> tuple[str, str]:
    issuer, _, partner = direction.upper().partition("-")
    if len(issuer) != 2 or len(partner) != 2:
        rule = "must be issuer and partner with a dash between, such as BR-UY"
        raise Malformed("the direction is out of form", problems=[problem("--direction", direction, rule)])
    return issuer, partner


def _countries(terms: dict[str, Any], own: str, partners: Iterable[str]) -> list[str]:
    """Every country that the terms' directions name: the partners, and this administration's own."""
    named = sorted({country for direction in terms.get("directions", ()) for country in direction.split("-")})
    others = {partner.upper() for partner in partners}
    if own in others:
        do = "name the partner's country"
        raise Malformed(f"--with {own} is this node's own country", do=do)
    if others | {own} != set(named):
        why = f"their directions are between {join(named) or 'nobody'}"
        do = "name each partner as two letters with --with, or give other terms"
        raise Malformed(
            "the terms are not between you and these partners", where=join(others), why=why, do=do
        )
    return named


def _say_agreement(found: dict[str, Any]) -> None:
    document = found["document"]
    say(found["title"])
    say_pairs(
        [
            ("id", found["agreement"]),
            ("waiting for", _waiting(found)),
            ("replaces", found["supersedes"] or ""),
            ("replaced by", found["superseded_by"] or ""),
            ("drafted on", found["drafted_on"]),
            ("contract", f"SHA-256 {found['contract']} (read it with --contract)"),
            *(("party", f"{p['country']}  {p['name']}  {p['administration']}") for p in document["parties"]),
        ]
    )
    say("Terms")
    say_pairs(terms_in_words(document["terms"]))
    for direction in found["directions"]:
        say(_state(direction))
        terms = document["terms"]["directions"][f"{direction['issuer']}-{direction['partner']}"]
        say_pairs(direction_in_words(terms))
    for act in found["acts"]:
        _say_act(act)
    if not found["acts"]:
        say("Nobody has signed anything yet.")


def _say_act(held: dict[str, Any]) -> None:
    """An act by its whole id, in all its words."""
    says = held["says"]
    say(f"{held['act']}  {_title(says)}")
    say_pairs(
        [
            *_words(says),
            ("signed by", join(held["signed_by"])),
            ("in force", _in_force(held)),
            ("own entry", held["own_ledger_seq"]),
            ("proven in", join(held["proven_in_ledgers_of"])),
        ]
    )


def _words(says: dict[str, Any]) -> list[tuple[str, str]]:
    """What an act says beside what is to be done."""
    lifts = "" if says["act"] == "withdraw" else join(says["lifts"])
    return [
        ("effective", says["effective"]),
        ("reason", says["reason"]),
        ("preconditions met", join(says["preconditions_met"])),
        ("lifts", lifts),
    ]


def _in_force(held: dict[str, Any]) -> str:
    """Whether an act has effect today, or from which day."""
    if held["withdrawn_by"]:
        return f"withdrawn by {join(held['withdrawn_by'])}"
    if not (held["complete"] if held["says"]["act"] == "withdraw" else held["counts"]):
        return "no"
    effective = str(held["says"]["effective"])
    return "yes" if effective <= datetime.now(UTC).date().isoformat() else f"from {effective}"


def _title(says: dict[str, Any]) -> str:
    """What is to be done, and with what."""
    if says["act"] == "withdraw":
        return f"withdraw {says['lifts'][0] if says['lifts'] else 'the draft'}"
    direction = "-".join(filter(None, (says["issuer"], says["partner"])))
    return " ".join(filter(None, (says["act"], direction, says["mode"])))


def _state(direction: dict[str, str]) -> str:
    """The state of a direction today, and its end where that is settled and still to come."""
    ends, state = direction.get("ends"), direction["state"]
    later = f", TERMINATED from {ends}" if ends and state != "TERMINATED" else ""
    return f"{direction['issuer']}-{direction['partner']} {state}{later}"


def _waiting(agreement: dict[str, Any]) -> str:
    """Who still has to sign what; or who withdrew the draft, for which nobody waits any more."""
    if agreement["withdrawn_by"]:
        return f"nobody: withdrawn by {join(agreement['withdrawn_by'])}"
    waiting = [
        f"{_title(act)} by {join(act['missing']) or 'nobody: the contract refuses it'}"
        for act in agreement["waiting"]
    ]
    return "; ".join(waiting) or ("" if agreement["signed"] else "proof that the partner's ledger holds it")


def _decided(direction: dict[str, Any]) -> list[list[object]]:
    place = [direction["partner"], direction["state"]]
    withheld = [[*place, f"withheld: {reason}", count] for reason, count in direction["withheld"].items()]
    return [[*place, "shared", direction["shared"]], *withheld]
