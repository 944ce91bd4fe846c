"""The state of each direction of an agreement: what its acts add up to on a day.

Guarantees that the state depends only on which acts are complete and on the day, never on the order or
number of times they arrived, so that every node that holds the same acts agrees; and that no direction
is live before the agreement is signed (P8). Refuses (`Conflict`) to propose an act out of turn.
"""

from collections.abc import Iterable
from datetime import date

from node.agreements.act import ACTS, STOPPING, Act, Instrument
from node.agreements.document import Agreement
from node.errors import Conflict

NEGOTIATING, SIGNED, PILOT = "NEGOTIATING", "SIGNED", "PILOT"
IN_OPERATION, SUSPENDED, TERMINATED = "IN_OPERATION", "SUSPENDED", "TERMINATED"
STATES = (NEGOTIATING, SIGNED, PILOT, IN_OPERATION, SUSPENDED, TERMINATED)

# Where each act leads from each state; an act that is not listed may not be proposed there.
# A resumed direction goes back to what it was: the mode of its last complete start.
ALLOWED: dict[str, dict[str, tuple[str, ...]]] = {
    NEGOTIATING: {"sign": (SIGNED,)},
    SIGNED: {"start": (PILOT, IN_OPERATION), "suspend": (SUSPENDED,), "terminate": (TERMINATED,)},
    PILOT: {"start": (IN_OPERATION,), "suspend": (SUSPENDED,), "terminate": (TERMINATED,)},
    IN_OPERATION: {"suspend": (SUSPENDED,), "terminate": (TERMINATED,)},
    SUSPENDED: {
        "suspend": (SUSPENDED,),
        "resume": (SIGNED, PILOT, IN_OPERATION),
        "terminate": (TERMINATED,),
    },
    TERMINATED: {},
}
_NOTICE = {"suspend": "suspension_notice_days", "terminate": "termination_notice_days"}


def withdrawn_by(
    agreement: Agreement, instruments: Iterable[Instrument], act: Act | None = None
) -> tuple[str, ...]:
    """Give the parties, in order, that took back a proposed act, or the draft itself when none is given.

    Depends on the set of instruments only. Whoever restricts cannot take it back: it counted at once.
    It never undoes what counts: see decision 8.
    """
    if act and act.act in STOPPING:
        return ()
    named = (act.id,) if act else ()
    about = [
        each
        for each in instruments
        if each.act.act == "withdraw"
        and (each.act.lifts == named or (act and act.act == "sign" and not each.act.lifts))
    ]
    signed = {country for each in about for country in each.signed_by(agreement)}
    bound = (act.issuer, act.partner) if act and act.issuer else agreement.countries
    return tuple(str(country) for country in bound if country in signed)


def fold(acts: Iterable[Act], issuer: str, partner: str, today: str) -> str:
    """Give the state of a direction from complete acts; the strongest fact wins, not the latest."""
    effective = [act for act in acts if act.effective <= today and act.concerns(issuer, partner)]
    kinds = {act.act for act in effective}
    lifted = {suspension for act in effective if act.act == "resume" for suspension in act.lifts}
    modes = {act.mode for act in effective if act.act == "start"}
    if "terminate" in kinds:
        return TERMINATED
    if "sign" not in kinds:
        return NEGOTIATING
    if any(act.act == "suspend" and act.id not in lifted for act in effective):
        return SUSPENDED
    if "operation" in modes:
        return IN_OPERATION
    return PILOT if "pilot" in modes else SIGNED


def propose(agreement: Agreement, act: Act, state: str, today: str) -> None:
    """Check that an act may newly be proposed in a state, with the notice the terms ask for.

    Raises `Conflict`, saying what is possible.
    """
    possible = ALLOWED[state]
    if act.act not in possible or (act.mode == "pilot" and PILOT not in possible["start"]):
        listed = ", ".join(possible) or "nothing"
        raise Conflict(f"{act.act} is not possible", where=f"state {state}", do=f"possible here: {listed}")
    notice = agreement.terms[_NOTICE[act.act]] if act.act in _NOTICE else 0
    given = (date.fromisoformat(act.effective) - date.fromisoformat(today)).days
    if notice and given < notice:
        raise Conflict(
            f"{act.act} takes effect too soon",
            where=f"effective {act.effective}, proposed {today}",
            why=f"the terms ask for {notice} days of notice",
            do="choose a later day",
        )


def diagram() -> str:
    """Draw `ALLOWED` as a Mermaid state diagram, for the documentation."""
    moves = [
        f"    {state} --> {target}: {act}"
        for state in STATES
        for act in ACTS
        for target in ALLOWED[state].get(act, ())
        if target != state
    ]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {NEGOTIATING}", *moves, f"    {TERMINATED} --> [*]"])
