"""A node that succeeds another of the same administration: its ledger begins by committing to the old one.

It has a new name, new keys and a new store. Its card and its first entry say which ledger it succeeds and
up to which checkpoint: what stands behind that is disowned. The own records as they stood there are carried
over, each as the first version of a new record.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from node.errors import Conflict, Refusal
from node.exchange import card, versions
from node.exchange.card import Succession, ledger_origin
from node.ledger.checkpoint import Checkpoint, stated
from node.ledger.encoding import b64u
from node.service import behind, genesis
from node.service.admit import Author, Outcome, admit
from node.service.batch import Batch
from node.service.parts import Parts
from node.store import incidents, logs, records, witnessed
from node.store.tables import LEDGER

PART = 500
Told = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The node to be succeeded, and the checkpoint of its ledger that is stood by, as a signed note."""

    parts: Parts
    note: str
    signed: Checkpoint
    size: int
    """How many entries of its ledger its store holds: fewer than were signed where it was put back."""


@dataclass(frozen=True, slots=True)
class Carried:
    """How many records were carried over, and which were not, with the reason."""

    count: int
    refused: tuple[Outcome, ...]


def predecessor(old: Parts, name: str, country: str, note: str = "") -> Predecessor:
    """What a new node of this name and country succeeds; nothing is written.

    `Conflict` when it cannot succeed that node, or the store contradicts the checkpoint; `Unproven` when the
    node did not sign that.
    """
    if country != old.country or name == old.settings.name:
        why = f"{old.settings.name} of {old.country}, by {name} of {country}"
        do = "give the successor the same country and another name"
        raise Conflict("a node is succeeded by another one of the same country", why=why, do=do)
    note = note or _newest(old)
    signed = behind.opened(old, note, ever=True)
    with old.database.read() as connection:
        head = logs.head(connection, LEDGER)
        size = head.size if head else 0
        if signed.origin != ledger_origin(old.settings.name):
            raise Conflict("the checkpoint is not of the old node's ledger", where=signed.origin)
        if signed.size <= size and (found := behind.against(connection, signed)):
            raise Conflict("the old store contradicts the checkpoint", where=signed.origin, why=found)
    return Predecessor(old, note, signed, size)


def succeed(parts: Parts, before: Predecessor, told: Told) -> Carried:
    """Begin the ledger of a new, migrated, empty store, and carry the old node's records over."""
    own, old, signed = parts.card, before.parts, before.signed
    after = Succession(old.settings.name, signed.size, b64u(signed.root))
    parts.own.become(card.write(own.name, own.country, own.administration, own.address, parts.keys, after))
    genesis.start_ledger(parts, {"card": old.card.text, "checkpoint": before.note})
    return _carry(parts, old, min(signed.size, before.size), told)


def _newest(old: Parts) -> str:
    """The largest checkpoint that others can have relied on: cosigned, or seen by a peer; else the newest.

    A store that was put back may be behind it; then what stands in the record beside it counts too.
    `Unproven` when this node signed nothing such.
    """
    recorded = old.bookmark.note()
    with old.database.read() as connection:
        head = logs.head(connection, LEDGER)
        if head is None:
            raise Conflict(
                "the old store has no ledger", do="give the home folder of the node to be succeeded"
            )
        kept = witnessed.cosigned(connection, head.origin)
        seen = incidents.open_of_kind(connection, old.settings.name, behind.BEHIND)
        notes = [row["evidence"].decode() for row in seen] + ([kept.note] if kept else [])
        if recorded and behind.against(connection, behind.recorded(old, recorded)):
            notes.append(recorded)
        own = [note for note in notes if stated(note).origin == head.origin]
        return max(own, key=lambda note: stated(note).size) if own else head.checkpoint


def _carry(parts: Parts, old: Parts, size: int, told: Told) -> Carried:
    """Carry over every record as it stood before entry `size` of the old ledger."""
    with old.database.read() as connection:
        of = records.count(connection)
    after, done, refused = "", 0, list[Outcome]()
    while True:
        with old.database.read() as connection:
            found = records.newest_before(connection, after, PART, size)
        if not found:
            return Carried(done - len(refused), tuple(refused))
        with parts.database.write() as connection:
            refused += _admitted(parts, connection, old, found)
        after, done = found[-1].record_id, done + len(found)
        told("records", done, of)


def _admitted(
    parts: Parts, connection: Connection, old: Parts, found: list[records.StoredVersion]
) -> list[Outcome]:
    batch, refused = Batch(parts, connection), list[Outcome]()
    batch.prepare([stored.tin for stored in found])
    for stored in found:
        version = versions.unseal(stored, old.keys.store)
        author = Author("succession", f"as in entry {version.ledger_seq} of {old.card.name}")
        before = batch.additions
        try:
            admit(batch, version.operator, author)
        except Refusal as refusal:
            if batch.additions != before:
                raise
            refused.append(Outcome("refused", version.tin, message=refusal.sentence()))
    batch.commit()
    batch.settle()
    return refused
