"""Which of several agreements over one operator the benefit rests on, and why.

An agreement whose terms have a `rank` goes before those of a lower rank or none, as long as it is in
operation and still tells of the operator: what is suspended or over ranks nothing. Beyond that the most
favourable to the operator goes first: one that still tells of it; the one with the fewest reasons against
recognition, so that one that applies wins over one that does not; the one agreed for longest; the one whose
newest proof may be relied on for longest; the one told of first. The order is total: whoever has the same
inputs comes to the same answer.
"""

from dataclasses import dataclass
from datetime import date

from node.agreements.recognition import IN_OPERATION
from node.agreements.rules import Json

UNRANKED = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """What speaks for one agreement; `holds_until_ms`: when its newest proof becomes too old.

    `told`: the number of its channel, which grows with each one opened.
    """

    rank: int
    is_gone: bool
    reasons: int
    until: str | None
    holds_until_ms: int
    told: int

    def order(self) -> tuple[int, bool, int, int, int, int]:
        """The smallest goes first."""
        end = date.fromisoformat(self.until) if self.until else date.max
        return -self.rank, self.is_gone, self.reasons, -end.toordinal(), -self.holds_until_ms, self.told


def rank(terms: Json, state: str, is_gone: bool, day: str) -> int:
    """The rank that counts on a day: none of what is out of operation, out of its time, or tells nothing."""
    is_within = terms["from"] <= day <= (terms["until"] or day)
    return (
        int(terms.get("rank", UNRANKED)) if state == IN_OPERATION and is_within and not is_gone else UNRANKED
    )


def because(first: Claim, second: Claim) -> str:
    """Why the first goes before the second: what sets them apart."""
    if first.rank != second.rank:
        return "its terms rank it before the others"
    if first.is_gone != second.is_gone:
        return "the others no longer tell us of the operator"
    if first.reasons != second.reasons:
        return "recognition applies under it" if not first.reasons else "the fewest reasons stand against it"
    if first.until != second.until:
        return "it is agreed for longer than the next"
    if first.holds_until_ms != second.holds_until_ms:
        return "its newest proof may be relied on for longer than that of the next"
    return "nothing sets it apart from the next but that its channel is the older one"
