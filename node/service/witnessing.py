"""This node as a witness of its peers' logs (C2SP tlog-witness), and what it does when one of them lies.

Of each log one checkpoint is kept: the largest that is proven to begin with every one before it, whether it
came with news or from anyone who asked for a cosignature. Our copy of the log holds to it and it to our copy.
Two that contradict each other become an accusation, which anyone can check; from then on nothing new of that
peer is believed until people close the incident, and answers go on from what was proven.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from node.errors import Unproven
from node.exchange.card import Card, channel_origin, ledger_origin
from node.exchange.incoming import Proven, signed_part
from node.ledger import moment, tiles
from node.ledger.accusation import Accusation
from node.ledger.checkpoint import Checkpoint, parse
from node.ledger.note import read_note
from node.ledger.tiles import ReadTile, Tree
from node.ledger.witness import Accepted, Rejected, Watch, Watched, examine
from node.service import behind
from node.service.batch import Batch
from node.service.parts import Parts
from node.store import channels, incidents, logs, witnessed
from node.store.incidents import WHOLE_PEER
from node.store.witnessed import Seen

FORKED, UNPROVEN = "forked", "unproven"
"""Kinds of incident: a log signed two histories; one beyond our copy did not follow what was seen."""


def considered(parts: Parts, body: bytes, sender: Card | None) -> Accepted | Rejected:
    """What a request for a cosignature comes to, on the newest state of the store; nothing is kept.

    `sender` signed the request; a channel's log is known to its issuer only.
    """
    with parts.database.read() as connection:
        if why := behind.told(parts, connection):
            return Rejected(503, why)
        return examine(body, _watch(parts, connection, sender))


def _watch(parts: Parts, connection: Connection, sender: Card | None) -> Watch:
    def watched(origin: str) -> Watched | None:
        peer = _owner(parts, connection, origin, sender)
        if peer is None:
            return None
        if is_accused(connection, peer):
            return Watched(())  # none of its keys is trusted
        seen = witnessed.seen(connection, origin)
        known = peer.verifiers(origin)
        return Watched(known) if seen is None else Watched(known, seen.size, seen.root)

    return watched


def _owner(parts: Parts, connection: Connection, origin: str, sender: Card | None) -> Card | None:
    """The peer whose log this is, if it is watched here."""
    for peer in parts.peers.by_country(connection).values():
        if origin == ledger_origin(peer.name):
            return peer
    for channel in channels.channels(connection) if sender else ():
        name = channel_origin(sender.name, channel.agreement, parts.country) if sender else ""
        if (channel.issuer, origin) == (sender.country if sender else "", name):
            return sender
    return None


def is_accused(connection: Connection, peer: Card) -> bool:
    """Whether a peer was found to have signed two histories, and people have not settled it."""
    return incidents.is_open(connection, peer.name, FORKED)


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A checkpoint that was examined, to be kept before it is cosigned."""

    accepted: Accepted

    weight = 1
    tins: Sequence[str] = ()

    def run(self, batch: Batch) -> Rejected | None:
        """Keep it, unless another came first or our copy contradicts it; gives why not."""
        new, connection = self.accepted.checkpoint, batch.connection
        seen = witnessed.seen(connection, new.origin)
        size = seen.size if seen else 0
        if size != self.accepted.old:
            return Rejected(409, f"the size recorded is {size}", size=size)
        copied = _copied(connection, new.origin, new.size)
        if copied is not None and copied != new.root:
            return Rejected(422, "it is another tree than the one we hold", signed=self.accepted.note)
        witnessed.see(connection, new.origin, Seen(new.size, new.root, self.accepted.note))
        return None


@dataclass(frozen=True, slots=True)
class KeepRefused:
    """A checkpoint that its log signed and that was refused: an accusation, if it can be shown to be one."""

    note: str

    weight = 1
    tins: Sequence[str] = ()

    def run(self, batch: Batch) -> None:
        """Keep it as evidence, unless it is the beginning of our copy after all."""
        origin = _stated(self.note).origin
        for peer in batch.parts.peers.by_country(batch.connection).values():
            if (signed := signed_part(self.note, peer, origin)) is not None:
                weigh(batch.connection, peer, origin, signed, batch.time)


class Forked(Unproven):
    """A log has signed two histories; the accusation shows it."""

    def __init__(self, accusation: Accusation) -> None:
        """Nothing of what showed it is to be stored but the accusation."""
        what = "a log signed two histories"
        super().__init__(what, where=accusation.origin, do="show `aeo incidents` to whoever answers for it")
        self.accusation = accusation


def hold(connection: Connection, peer: Card, proven: Proven, time: str) -> None:
    """Our copy of a log is whole under this checkpoint: what was seen before must begin it, else `Forked`.

    A smaller one than was seen is no contradiction by itself: the log may have asked for a cosignature since.
    """
    checkpoint, origin = proven.checkpoint, proven.checkpoint.origin
    seen = witnessed.seen(connection, origin)
    if seen is not None and seen.size <= checkpoint.size:
        found = _contradiction(connection, origin, seen.note, proven.note)
        if found is not None:
            raise Forked(found)
    if seen is None or seen.size < checkpoint.size:
        witnessed.see(connection, origin, Seen(checkpoint.size, checkpoint.root, proven.note))
    settle(connection, peer, origin, checkpoint.size, time)


def _contradiction(connection: Connection, origin: str, older: str, newer: str) -> Accusation | None:
    """What is wrong between two notes of a log, the newer of which our copy makes."""
    first, second = _stated(older), _stated(newer)
    if first.size == second.size:
        return Accusation(older, newer) if first.root != second.root else None
    head = logs.head_of(connection, origin)
    assert head is not None, "there is a copy"
    return accusation(logs.tile_reader(connection, head.log), older, newer)


def accusation(read_tile: ReadTile, older: str, newer: str) -> Accusation | None:
    """Shows that the tree of the newer note begins otherwise than the older was signed; None if it does not.

    `read_tile` reads the newer one's tree; `Unproven` when that is not the tree which was signed.
    """
    first, second = _stated(older), _stated(newer)
    root = tiles.tree_root(read_tile, first.size)
    if root == first.root:
        return None
    tree = Tree(read_tile, second.size)
    if tree.root() != second.root:
        raise Unproven("the tiles are not those of the tree that was signed", where=second.origin)
    return Accusation(older, newer, root, tree.consistency_proof(first.size))


def weigh(connection: Connection, peer: Card, origin: str, note: str, time: str) -> None:
    """A checkpoint that a peer signed and that does not follow: an incident of the kind that can be shown."""
    new, seen, head = _stated(note), witnessed.seen(connection, origin), logs.head_of(connection, origin)
    if seen is not None and seen.size == new.size and seen.root != new.root:
        accuse(connection, peer, Accusation(seen.note, note), time)
    elif head is None or new.size > head.size:
        what = f"{origin}: a checkpoint of size {new.size} did not follow; our copy does not reach it yet"
        _note(connection, peer, UNPROVEN, what, note.encode(), new.text().encode(), time)
    elif _stated(head.checkpoint).size == head.size:
        found = _contradiction(connection, origin, note, head.checkpoint)
        if found is not None:
            accuse(connection, peer, found, time)


def pursue(parts: Parts, peer: Card, note: str, fetch: Callable[[str], bytes]) -> None:
    """News did not follow: if the ledger's checkpoint in it contradicts one that was seen, accuse the peer.

    Of a tree that our copy does not reach, the peer's own tiles are asked for; whoever keeps them back is
    not accused by this, but not believed either.
    """
    origin = ledger_origin(peer.name)
    signed = signed_part(note, peer, origin)
    if signed is None:
        return
    with parts.database.read() as connection:
        seen, head = witnessed.seen(connection, origin), logs.head_of(connection, origin)
    new, found = _stated(signed), None
    if seen is not None and new.size > max(seen.size, head.size if head else 0):
        found = accusation(_fetched(fetch, new.size), seen.note, signed)
    with parts.database.write() as connection:
        time = moment.format(parts.now_ms())
        if found is not None:
            accuse(connection, peer, found, time)
        elif head is not None and new.size <= head.size:
            weigh(connection, peer, origin, signed, time)


def _fetched(fetch: Callable[[str], bytes], size: int) -> ReadTile:
    """Reads the tiles of the peer's tree of a size as anyone may."""

    def read_tile(level: int, index: int) -> bytes:
        width = min(tiles.TILE_WIDTH, (size >> (tiles.TILE_HEIGHT * level)) - index * tiles.TILE_WIDTH)
        return fetch("/log/" + tiles.Tile(level, index, width).path())

    return read_tile


def settle(connection: Connection, peer: Card, origin: str, size: int, time: str) -> None:
    """Weigh again what our copy did not reach when it came, now that it has this size."""
    for row in incidents.open_of_kind(connection, peer.name, UNPROVEN):
        note = row["evidence"].decode()
        stated = _stated(note)
        if stated.origin == origin and stated.size <= size:
            incidents.close(connection, row["incident"], time)
            weigh(connection, peer, origin, note, time)


def accuse(connection: Connection, peer: Card, found: Accusation, time: str) -> None:
    """Keep an accusation: whoever holds the peer's keys can check it."""
    older, newer = found.check(peer.verifiers(found.origin))
    what = f"{found.origin} signed two histories: of {older.size} and of {newer.size} entries"
    _note(connection, peer, FORKED, what, found.encode(), found.origin.encode(), time)


def _note(
    connection: Connection, peer: Card, kind: str, what: str, evidence: bytes, claim: bytes, time: str
) -> None:
    row = incidents.row(peer.name, WHOLE_PEER, -1, kind, what, evidence, time, claim)
    incidents.note(connection, row)


def _copied(connection: Connection, origin: str, size: int) -> bytes | None:
    """The root of our copy of a log at a size; None where it does not reach."""
    head = logs.head_of(connection, origin)
    if head is None or head.size < size:
        return None
    return tiles.tree_root(logs.tile_reader(connection, head.log), size)


def _stated(note: str) -> Checkpoint:
    """What a note says, of which the signatures were verified before."""
    return parse(read_note(note)[0])
