"""Notices: what the two parties of a channel must tell each other beside records, as a closed list of bodies.

A notice has a subject, a detail for people, and for some subjects `told`, an object that this module makes
and strictly reads. A subject that is not known is kept and shown, and nothing follows from it.

Erasure. The issuer of a channel names the entries that it erased, by their numbers and never by the record
(`Erasure`). The partner erases what it holds of them, records that in its own ledger, and answers on the way
back with the entry that records it and what opens it (`Erased`); or says why it must keep them (`Kept`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from node.errors import Malformed, Unproven
from node.ledger import canonical
from node.ledger.encoding import b64u, unb64u
from node.ledger.entry import LedgerEntry, commitment

STATE: Final = "state"
ERASURE: Final = "erasure"
ERASED: Final = "erased"
KEPT: Final = "kept"

GROUNDS: Final = (
    "NOT_NEEDED",
    "CONSENT_WITHDRAWN",
    "OBJECTION",
    "UNLAWFUL",
    "LEGAL_OBLIGATION",
    "RETENTION",
)
"""Why something is erased: the grounds of Article 17(1) of Regulation (EU) 2016/679; and a term is over."""
RETENTION: Final = GROUNDS[-1]
LONGEST_REASON: Final = 500
MOST_ENTRIES: Final = 50_000

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Erasure:
    """Entries of the channel that carries this notice, all behind it, whose bodies are to be erased."""

    ground: str
    entries: tuple[int, ...]

    def body(self) -> bytes:
        """The body of the notice."""
        return notice(ERASURE, self.ground, {"entries": list(self.entries)})


@dataclass(frozen=True, slots=True)
class Erased:
    """The answer: entries of a channel to us that were erased, and the entry of the own ledger that says so.

    `notice` is the number of the notice that asked for it; None where a term was over.
    """

    channel: str
    notice: int | None
    entry: LedgerEntry
    salt: bytes
    recorded: Json

    def body(self) -> bytes:
        """The body of the notice."""
        opened = {"entry": self.entry.encode().decode(), "salt": b64u(self.salt), "body": dict(self.recorded)}
        told = {"channel": self.channel, "notice": self.notice, "ledger": opened}
        return notice(ERASED, str(self.recorded["ground"]), told)

    @property
    def entries(self) -> tuple[int, ...]:
        """The entries that were erased."""
        return tuple(self.recorded["entries"][self.channel])


@dataclass(frozen=True, slots=True)
class Kept:
    """The other answer: why what a notice asks for is not erased now."""

    channel: str
    notice: int
    reason: str

    def body(self) -> bytes:
        """The body of the notice."""
        return notice(KEPT, self.reason, {"channel": self.channel, "notice": self.notice})


def notice(subject: str, detail: str, told: Json | None = None) -> bytes:
    """The body of a notice."""
    body: dict[str, Any] = {"v": 1, "notice": subject, "detail": detail}
    return canonical.encode(body if told is None else body | {"told": dict(told)})


def record_of_erasure(ground: str, reference: str, entries: Mapping[str, list[int]]) -> dict[str, Any]:
    """The body behind a ledger entry of type `erasure`: why, and which entries, by origin, have none now."""
    return {"v": 1, "ground": ground, "reference": reference, "entries": dict(entries)}


def read(body: Json, seq: int) -> Erasure | Erased | Kept | None:
    """What the notice that is entry `seq` of its channel asks or answers; None for any other subject.

    `Malformed` when it is out of form, `Unproven` when its ledger entry commits to something else.
    """
    subject = body["notice"]
    if subject not in (ERASURE, ERASED, KEPT):
        return None
    names = {ERASURE: {"entries"}, ERASED: {"channel", "notice", "ledger"}, KEPT: {"channel", "notice"}}
    told, detail = told_by(body, names[subject]), body["detail"]
    if subject == ERASURE:
        if detail not in GROUNDS:
            raise malformed(subject, f"its ground must be one of {', '.join(GROUNDS)}")
        return Erasure(detail, _entries(subject, told["entries"], below=seq))
    if subject == KEPT:
        return Kept(
            _text(subject, told["channel"]), _number(subject, told["notice"]), detail[:LONGEST_REASON]
        )
    asked = None if told["notice"] is None else _number(subject, told["notice"])
    return _erased(_text(subject, told["channel"]), asked, told["ledger"])


def _erased(channel: str, asked: int | None, ledger: Any) -> Erased:
    if not isinstance(ledger, dict) or set(ledger) != {"entry", "salt", "body"}:
        raise malformed(ERASED, "its ledger entry must come with entry, salt and body")
    entry = LedgerEntry.decode(_text(ERASED, ledger["entry"]).encode())
    salt, recorded = unb64u(_text(ERASED, ledger["salt"])), ledger["body"]
    if commitment(salt, canonical.encode(recorded)) != entry.commit:
        raise Unproven("the ledger entry of an erasure commits to something else", where=f"entry {entry.seq}")
    if not isinstance(recorded, dict) or set(recorded) != {"v", "ground", "reference", "entries"}:
        raise malformed(ERASED, "what its ledger entry commits to is no erasure")
    entries = recorded["entries"]
    if not isinstance(entries, dict) or set(entries) != {channel} or recorded["ground"] not in GROUNDS:
        raise malformed(ERASED, "what its ledger entry commits to is about another channel")
    _entries(ERASED, entries[channel])
    return Erased(channel, asked, entry, salt, recorded)


def _entries(subject: str, value: Any, below: int = 2**53) -> tuple[int, ...]:
    fits = isinstance(value, list) and 0 < len(value) <= MOST_ENTRIES
    if not fits or not all(type(each) is int and 0 <= each < below for each in value):
        raise malformed(subject, f"entries must be 1 to {MOST_ENTRIES} numbers of entries before the notice")
    if value != sorted(set(value)):
        raise malformed(subject, "entries must stand in order, each once")
    return tuple(value)


def _number(subject: str, value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise malformed(subject, "it must name a notice by its number")
    return value


def _text(subject: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > 2**16:
        raise malformed(subject, "a text of it is out of form")
    return value


def told_by(body: Json, names: set[str]) -> Json:
    """What a notice tells; `Malformed` unless it has exactly these members."""
    told = body.get("told")
    if not isinstance(told, dict) or set(told) != names:
        raise malformed(body["notice"], "it must tell " + ", ".join(sorted(names)))
    return told


def is_line(value: object, limit: int) -> bool:
    """Whether a value is a printable line with something in it, of at most so many characters."""
    return isinstance(value, str) and len(value) <= limit and value.isprintable() and bool(value.strip())


def malformed(subject: str, why: str) -> Malformed:
    """The refusal of a notice of a subject that is not in its form."""
    return Malformed(f"a notice of {subject} is out of form", why=why)
