"""The state of each direction of an agreement: what its acts add up to on a day.

Guarantees that the state depends only on which acts are complete and on the day, never on the order or
number of times they arrived, so that every node that holds the same acts agrees; and that no direction
is live before the agreement is signed (P8). Refuses (`Conflict`) to propose an act out of turn.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta

from node.agreements.act import ACTS, STOPPING, Act, bound_by, stops
from node.agreements.document import Agreement
from node.errors import Conflict, TooMuch

NEGOTIATING, SIGNED, PILOT = "NEGOTIATING", "SIGNED", "PILOT"
IN_OPERATION, SUSPENDED, TERMINATED = "IN_OPERATION", "SUSPENDED", "TERMINATED"
STATES = (NEGOTIATING, SIGNED, PILOT, IN_OPERATION, SUSPENDED, TERMINATED)

_ENDING = {"terminate": (TERMINATED,), "leave": (TERMINATED,)}

# Where each act leads from each state; an act that is not listed may not be proposed there.
# A resumed direction goes back to what it was: the mode of its last complete start.
ALLOWED: dict[str, dict[str, tuple[str, ...]]] = {
    NEGOTIATING: {"sign": (SIGNED,)},
    SIGNED: {"start": (PILOT, IN_OPERATION), "suspend": (SUSPENDED,), **_ENDING},
    PILOT: {"start": (IN_OPERATION,), "suspend": (SUSPENDED,), **_ENDING},
    IN_OPERATION: {"suspend": (SUSPENDED,), **_ENDING},
    SUSPENDED: {"suspend": (SUSPENDED,), "resume": (SIGNED, PILOT, IN_OPERATION), **_ENDING},
    TERMINATED: {},
}
Known = tuple[Act, tuple[str, ...]]
"""An act, and the countries whose signatures on it were found to hold."""

MOST_ACTS = 500
MOST_ACTS_OF_A_DRAFT = 8
MOST_STOPS = 8
"""What one party may have here: in all; under a draft not signed here; of suspensions in the same words."""

_NOTICE = {
    "suspend": "suspension_notice_days",
    "terminate": "termination_notice_days",
    "leave": "termination_notice_days",
}


def takes_back(withdrawal: Act, act: Act | None, agreement: Agreement) -> bool:
    """Tell whether a withdrawal names a proposed act, or the draft itself (None), with every signature on it.

    Whoever restricts cannot take it back: it counted at once.
    """
    if withdrawal.act != "withdraw" or (act and stops(act, agreement)):
        return False
    if not withdrawal.lifts:
        return act is None or act.act == "sign"
    return act is not None and withdrawal.lifts == (act.id,)


def withdrawn_by(agreement: Agreement, known: Iterable[Known], act: Act | None = None) -> tuple[str, ...]:
    """Give the parties, in order, that took back a proposed act, or the draft itself when none is given.

    Depends on the set of what is known only. It never undoes what counts: see decision 8.
    """
    signed = {
        country for each, countries in known if takes_back(each, act, agreement) for country in countries
    }
    return tuple(country for country in bound_by(act, agreement) if country in signed)


def fold(acts: Iterable[Act], issuer: str, partner: str, today: str) -> str:
    """Give the state of a direction from complete acts; the strongest fact wins, not the latest."""
    effective = [act for act in acts if act.effective <= today and act.concerns(issuer, partner)]
    kinds = {act.act for act in effective}
    lifted = {suspension for act in effective if act.act == "resume" for suspension in act.lifts}
    modes = {act.mode for act in effective if act.act == "start"}
    if not kinds.isdisjoint(_ENDING):
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
    check_day(agreement, act)
    if why := short_notice(agreement, act, today):
        raise Conflict(
            f"{act.act} takes effect too soon",
            where=f"effective {act.effective}, proposed {today}",
            why=why,
            do=f"choose {_first_day(agreement, act, today)} or a later day",
        )


def short_notice(agreement: Agreement, act: Act, announced: str) -> str:
    """Which clause an act breaks that was announced on this day; empty where it gives the notice agreed.

    What all must sign is announced to nobody.
    """
    asked = _notice_days(agreement, act)
    given = (date.fromisoformat(act.effective) - date.fromisoformat(announced)).days
    if not asked or given >= asked:
        return ""
    return f"the terms ask for {asked} days of notice (`{_NOTICE[act.act]}`), and it gives {max(0, given)}"


def _notice_days(agreement: Agreement, act: Act) -> int:
    clause = _NOTICE.get(act.act) if stops(act, agreement) else None
    return int(agreement.terms[clause]) if clause else 0


def _first_day(agreement: Agreement, act: Act, announced: str) -> date:
    return date.fromisoformat(announced) + timedelta(days=_notice_days(agreement, act))


def check_day(agreement: Agreement, act: Act) -> None:
    """Raise `Conflict` for an act dated before the draft or, if it starts or resumes, before the terms."""
    begins = act.act in ("start", "resume")
    first = max(agreement.drafted_on, str(agreement.terms["from"])) if begins else agreement.drafted_on
    if act.effective < first:
        raise Conflict(
            f"{act.act} cannot take effect before the agreement",
            where=f"effective {act.effective}",
            why=f"it was drafted on {agreement.drafted_on}, its terms are from {agreement.terms['from']}",
            do=f"choose {first} or a later day",
        )


def admit(agreement: Agreement, act: Act, by: str, own: str, known: Mapping[str, Known]) -> None:
    """Check that one party may add an act to those known (by id) at another, `own`.

    So that nobody fills another's store: one proposal in the same words may wait, one withdrawal names
    it, and only signing and withdrawing is possible before `own` has signed; nobody leaves for another.
    Raises `Conflict`, `TooMuch`.
    """
    if act.act == "leave" and by != act.issuer:
        raise Conflict(f"{by} cannot leave for {act.issuer}", where=act.id)
    if act.act not in STOPPING:
        check_day(agreement, act)
    is_signed = any(each.act == "sign" and own in signed for each, signed in known.values())
    if not is_signed and act.act not in ("sign", "withdraw"):
        raise Conflict(f"{act.act} is not possible under a draft that {own} has not signed", where=act.id)
    theirs = {number: each for number, each in known.items() if by in each[1]}
    if len(theirs) >= (MOST_ACTS if is_signed else MOST_ACTS_OF_A_DRAFT):
        raise TooMuch(f"there are too many acts of {by} under this agreement", where=act.id)
    if _waiting_alike(agreement, act, theirs, known) >= (MOST_STOPS if act.act in _NOTICE else 1):
        raise TooMuch(f"{by} has said the same before, and that still stands", where=act.id)


def _waiting_alike(
    agreement: Agreement, act: Act, theirs: Mapping[str, Known], known: Mapping[str, Known]
) -> int:
    """Count a party's acts in the same words that still wait for others, or stop and are not lifted."""
    if act.act == "withdraw":
        return sum(each.act == "withdraw" and each.lifts == act.lifts for each, _ in theirs.values())
    undone = {
        lifted for each, _ in known.values() if each.act in ("withdraw", "resume") for lifted in each.lifts
    }
    if act.id in undone:
        return 0
    alike = {number: each for number, each in theirs.items() if each[0].words == act.words}
    return sum(
        number not in undone
        and (each.act in STOPPING or not set(signed).issuperset(bound_by(each, agreement)))
        for number, (each, signed) in alike.items()
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
