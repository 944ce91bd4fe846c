"""An agreement that replaces another: from which day, which one of several, and what it takes over.

Guarantees that all who hold the same acts come to the same answer, whatever their order; that nothing is
replaced without every party that it binds being one of the new agreement, whose signature counts like any
other (P8); and that nothing is taken over that the old agreement had ended, or that lacks what the new one
asks for first. What restricted is taken over with what allowed: a suspension, a notice that runs.
"""

from collections.abc import Iterable, Sequence

from node.agreements.act import Act
from node.agreements.document import Agreement
from node.agreements.state import TERMINATED, fold

Counted = tuple[Agreement, Sequence[Act]]
"""An agreement, and the acts that have effect under it."""
Replacement = tuple[str, str]
"""(the first day, the id of the agreement that replaces)."""


def bound(agreement: Agreement, acts: Iterable[Act], day: str) -> tuple[str, ...]:
    """The parties that have not left by a day, in the order of the document."""
    gone = {act.issuer for act in acts if act.act == "leave" and act.effective <= day}
    return tuple(country for country in agreement.countries if country not in gone)


def begins(new: Agreement, acts: Iterable[Act]) -> str | None:
    """The first day on which an agreement can replace another: it is signed, and its terms begin."""
    days = [act.effective for act in acts if act.act == "sign"]
    return max(min(days), str(new.terms["from"])) if days else None


def replacement(old: Counted, others: Iterable[Counted], today: str) -> Replacement | None:
    """Which of several agreements that name this one has replaced it by today: the first, then by its id.

    None can that lacks a party which this one binds on its first day, or before this one is signed.
    """
    agreement, acts = old
    if all(act.act != "sign" for act in acts):
        return None
    found = [
        (day, new.id)
        for new, own in others
        if (day := begins(new, own))
        and day <= today
        and set(bound(agreement, acts, day)) <= set(new.countries)
    ]
    return min(found, default=None)


def taken_over(new: Agreement, day: str, acts: Sequence[Act]) -> tuple[Act, ...]:
    """What of the old agreement's acts has effect under the one that replaces it from this day on."""
    named = {(str(act.issuer), str(act.partner)) for act in acts if act.partner is not None}
    ended = {pair for pair in named if fold(acts, *pair, day) == TERMINATED}
    return tuple(act for act in acts if _goes_on(act, new, day, ended))


def carried(chain: Sequence[Counted], today: str) -> tuple[Act, ...]:
    """The acts that have effect under the first of a chain of agreements, each of which names the next."""
    (new, own), *older = chain
    if not older:
        return tuple(own)
    acts = carried(older, today)
    found = replacement((older[0][0], acts), [(new, own)], today)
    return (*own, *(taken_over(new, found[0], acts) if found else ()))


def _goes_on(act: Act, new: Agreement, day: str, ended: set[tuple[str, str]]) -> bool:
    if act.act in ("sign", "withdraw"):
        return False
    if act.partner is None:
        return act.effective > day
    asked = new.terms["preconditions"][act.mode] if act.mode else []
    return (act.issuer, act.partner) not in ended and set(asked) <= set(act.preconditions_met)
