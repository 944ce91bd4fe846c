"""The node's own card: written at first, and anew when its keys or its address are others than it says.

A card becomes a fact by standing in the ledger; peers hear of it with their next news. Before it does,
nothing is signed with a new key for credentials, and after it every log of this node carries the signatures
that the card tells peers to look for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection

from node.errors import Conflict, Unproven
from node.exchange import card
from node.exchange.card import Card
from node.ledger import canonical
from node.ledger.checkpoint import stated
from node.ledger.note import joined
from node.service.batch import Batch, SmallWork, open_body, seal_body
from node.service.findings import Finding
from node.service.parts import Parts
from node.store import access, channels, logs, witnessed
from node.store.tables import LEDGER

CARD: Final = "card"


def record(batch: Batch, new: Card, predecessor: Mapping[str, str] | None = None) -> None:
    """Write a card into the ledger and make it the one that this node goes by.

    `predecessor`: what the first entry also commits to, of a node that succeeds another.
    """
    body: dict[str, canonical.Json] = {"v": 1, "card": new.text}
    if predecessor:
        body["predecessor"] = dict(predecessor)
    parts, seq = batch.parts, batch.append_body("key", body)
    access.add_own_card(batch.connection, new.number, seq, new.text)
    batch.after_commit.append(lambda: parts.own.become(new))


@dataclass(frozen=True, slots=True)
class Introduce(SmallWork):
    """The first work of a node that starts: its card as its keys and settings are now."""

    def run(self, batch: Batch) -> Card:
        """Record a new card if there is one to write; `Conflict` as `card.renew`.

        The first body of the ledger is sealed anew with the newest store key, which shows that it is in use.
        """
        if not is_store_key_in_use(batch.parts, batch.connection):
            opened = open_body(batch.parts, 0, logs.body(batch.connection, 0))
            logs.set_body(batch.connection, 0, seal_body(batch.parts, 0, *opened))
        known = newest(batch.parts, batch.connection)
        new = renewed(batch.parts, known, batch.next_seq)
        if new is None:
            return known
        record(batch, new)
        _sign_again(batch)
        return new


@dataclass(frozen=True, slots=True)
class NoteHeld(SmallWork):
    """A peer has shown, in a request that it signed, that it has this card of ours."""

    peer: str
    number: int

    def run(self, batch: Batch) -> None:
        """Note it."""
        access.holds(batch.connection, self.peer, self.number)


def newest(parts: Parts, connection: Connection) -> Card:
    """The node's card as this state of the store has it: another process may have written it just now."""
    text, own = access.own_card(connection), parts.card
    if text == own.text:
        return own
    new = card.read(text)
    if new.number > own.number:
        parts.own.become(new)
    return new


def refusal(parts: Parts, connection: Connection) -> Conflict | None:
    """The refusal of what a process would sign whose keys another process of the node has retired."""
    if not parts.database.is_shared:  # one process writes, and its card is the newest
        return None
    known = newest(parts, connection)
    newest_of = {use: card.publics_of(parts.keys, use)[0] for use in card.ENDORSED}
    gone = [
        use for use, key in newest_of.items() if key in known.of(use, ever=True) and key not in known.of(use)
    ]
    if not gone:
        return None
    why = f"card {known.number} has retired the key that it was started with: {', '.join(gone)}"
    return Conflict("this process signs nothing any more", why=why, do="stop it and start it again")


def is_due(parts: Parts, connection: Connection) -> bool:
    """Whether there is a card to write, or keys that cannot follow."""
    known, head = newest(parts, connection), logs.head(connection, LEDGER)
    try:
        is_new = renewed(parts, known, head.size if head else 0) is not None
        return is_new or not is_store_key_in_use(parts, connection)
    except Conflict:
        return True


def is_store_key_in_use(parts: Parts, connection: Connection) -> bool:
    """Whether the node was started with its newest store key since that was made."""
    with_newest = replace(parts, keys=replace(parts.keys, store=parts.keys.store[:1]))
    try:
        open_body(with_newest, 0, logs.body(connection, 0))
    except Unproven:
        return False
    return True


def renewed(parts: Parts, known: Card, seq: int) -> Card | None:
    """The card that follows the known one, if keys or settings changed since; `Conflict` as `card.renew`."""
    told = parts.settings
    return card.renew(known, told.administration, told.address, parts.keys, seq)


def check_keys(parts: Parts, connection: Connection) -> Iterator[Finding]:
    """The keys that were loaded are those of the node's card, or can follow them."""
    known, head = card.read(access.own_card(connection)), logs.head(connection, LEDGER)
    try:
        renewed(parts, known, head.size if head else 0)
    except Conflict as conflict:
        yield Finding(CARD, -1, conflict.sentence())
    try:
        open_body(parts, 0, logs.body(connection, 0))
    except Unproven:
        what = "the store key opens nothing in it: restore the newest one from your key backup"
        yield Finding("store", -1, what)


def _sign_again(batch: Batch) -> None:
    """Sign every own channel as it is, so that its readers find the signatures that the new card names."""
    parts, connection = batch.parts, batch.connection
    for channel in channels.channels(connection):
        head = logs.head(connection, channel.log)
        if channel.issuer == parts.country and head is not None:
            note = parts.sign(stated(head.checkpoint))
            logs.advance(connection, head.size, replace(head, checkpoint=note))
            kept = witnessed.cosigned(connection, head.origin)
            if kept is not None and kept.size == head.size:
                witnessed.keep(connection, head.origin, head.size, joined(kept.note, note))
