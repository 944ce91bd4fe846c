"""Reads: how often a partner's operators were read, told to their issuer on the way back, and never by whom.

Each notice is a part of what was read in one period: from `since` to the time of an entry of the reader's
ledger that commits to the head of its access log as it was then. So an audit at the reader can count again,
and the issuer is not told how much else was read there. An operator is named by an entry of the channel that
told of it and by nothing else. Everything is a number, a moment, or one of the words listed here: there is no
place for a name. Bodies are made here and strictly read.
"""

from dataclasses import dataclass
from typing import Any, Final

from node.exchange.notices import Json, malformed, notice, told_by
from node.ledger import moment
from node.ledger.entry import READ_KINDS, LedgerEntry

READS: Final = "reads"
KINDS: Final = tuple(sorted(READ_KINDS - {"access"}))
"""Every kind of read; that an auditor looked at the log itself is none."""
NOT_STATED: Final = "NONE"
OTHER: Final = "OTHER"
PURPOSES: Final = {
    "CLEARANCE": "release of goods",
    "RISK": "analysis of risk",
    "INSPECTION": "inspection of goods, documents or premises",
    "RECOGNITION": "whether a benefit applies",
    "AUDIT": "audit of this administration or of an operator",
    NOT_STATED: "none was stated",
    OTHER: "stated in other words, which stay with the reader",
}
"""What reads are told to have been for."""
MOST_ROWS: Final = 500
MOST_PARTS: Final = 100_000
COMMITTING: Final = "access"
"""The type of the ledger's entries that commit to the access log."""

Counted = tuple[int, str, str, int]
"""Entry of the channel that told of the operator, kind of read, purpose, how often."""


@dataclass(frozen=True, slots=True)
class Reads:
    """One part of what was read of the operators of `channel` from `since` to the time of `entry`."""

    channel: str
    since: str
    entry: LedgerEntry
    part: int
    of: int
    rows: tuple[Counted, ...]

    @property
    def until(self) -> str:
        """The end of the period, from which on it counts for the next."""
        return moment.format(self.entry.time)

    def body(self) -> bytes:
        """The body of the notice."""
        told: dict[str, Any] = {"channel": self.channel, "from": self.since}
        told |= {"ledger": self.entry.encode().decode()}
        told |= {"part": self.part, "of": self.of, "reads": [list(each) for each in self.rows]}
        return notice(READS, f"{self.since} to {self.until}", told)


def purpose_code(stated: str) -> str:
    """The code of a purpose as it was stated; free text, which may name people, is `OTHER`."""
    code = stated.strip().upper()
    return NOT_STATED if not code else code if code in PURPOSES else OTHER


def read(body: Json) -> Reads | None:
    """What a notice tells of reads; None for any other subject, `Malformed` when it is out of form."""
    if body["notice"] != READS:
        return None
    told = told_by(body, {"channel", "from", "ledger", "part", "of", "reads"})
    if not all(isinstance(told[name], str) for name in ("channel", "from", "ledger")):
        raise malformed(READS, "channel, from and ledger must be texts")
    entry = LedgerEntry.decode(told["ledger"].encode())
    since, part, of = moment.format(moment.parse(told["from"])), told["part"], told["of"]
    if type(part) is not int or type(of) is not int or not 1 <= part <= of <= MOST_PARTS:
        raise malformed(READS, f"it must be a part of at most {MOST_PARTS}")
    found = Reads(told["channel"], since, entry, part, of, _rows(told["reads"]))
    if entry.type != COMMITTING or moment.parse(since) > entry.time:
        raise malformed(READS, "its period must end with a ledger entry that commits to an access log")
    if body["detail"] != f"{found.since} to {found.until}":
        raise malformed(READS, "its detail must be the period")
    return found


def _rows(value: Any) -> tuple[Counted, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MOST_ROWS or not all(map(_is_row, value)):
        raise malformed(READS, f"reads must be 1 to {MOST_ROWS} of entry, kind, purpose and count")
    named = [tuple(each[:3]) for each in value]
    if named != sorted(set(named)):
        raise malformed(READS, "reads must stand in order, each once")
    return tuple((entry, kind, purpose, count) for entry, kind, purpose, count in value)


def _is_row(each: Any) -> bool:
    if not isinstance(each, list) or len(each) != 4:
        return False
    entry, kind, purpose, count = each
    are_numbers = type(entry) is int and type(count) is int and 0 <= entry < 2**31 and 0 < count < 2**31
    return are_numbers and kind in KINDS and isinstance(purpose, str) and purpose in PURPOSES
