"""When a peer's logs contradict each other: what is kept of them, what is an accusation, and what follows.

Of each log one checkpoint is kept: the largest that is proven to begin with every one before it, whether it
came with news or from anyone who asked for a cosignature. Our copy of the log holds to it and it to our copy.
Two that contradict each other become an accusation, which anyone can check; from then on nothing new of that
peer is believed until people close the incident, and answers go on from what was proven.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from sqlalchemy import Connection

from node.errors import Conflict, Forbidden, Refusal, Unproven
from node.exchange.card import Card, ledger_origin
from node.exchange.incoming import Proven, signed_part
from node.ledger import moment, tiles
from node.ledger.accusation import Accusation, between
from node.ledger.checkpoint import Checkpoint, stated
from node.ledger.merkle import EMPTY_ROOT
from node.ledger.note import read_note
from node.ledger.tiles import ReadTile
from node.service.parts import Parts
from node.store import incidents, logs, witnessed
from node.store.database import Row
from node.store.incidents import WHOLE_PEER
from node.store.witnessed import Seen

FORKED, FROZEN, UNPROVEN = "forked", "frozen", "unproven"
"""Kinds of incident: a log signed two histories; people froze a node; a checkpoint beyond our copy did not
follow what was seen."""


def is_stopped(connection: Connection, peer: Card) -> bool:
    """Whether nothing new of a peer is believed, until people settle it: it was accused, or frozen."""
    return incidents.is_open(connection, peer.name, FORKED, FROZEN)


def check_believed(connection: Connection, peer: Card) -> None:
    """`Conflict` if nothing new of a peer is believed: an answer may have been on its way."""
    if is_stopped(connection, peer):
        do = "see `aeo incidents --open`"
        raise Conflict(
            "nothing new of this peer is believed: it was accused, or frozen", where=peer.name, do=do
        )


def is_frozen(connection: Connection, peer: Card) -> bool:
    """Whether people said that a peer's keys are not its own any more: nothing is told to it either."""
    return incidents.is_open(connection, peer.name, FROZEN)


def check_told(connection: Connection, peer: Card) -> None:
    """`Forbidden` if people froze a peer: nothing is told to it, also where it asked before."""
    if is_frozen(connection, peer):
        do = "speak with this administration; a node that succeeds this one is heard again"
        raise Forbidden("nothing is told to this node: it was frozen here", where=peer.name, do=do)


def freeze(connection: Connection, peer: Card, why: str, time: str) -> None:
    """Freeze a peer at what is proven of it; the evidence is the checkpoint of its ledger."""
    head = logs.head_of(connection, ledger_origin(peer.name))
    what = f"nothing new of it is believed behind entry {head.size if head else 0} of its ledger: {why}"
    note = head.checkpoint.encode() if head else b""
    incidents.note(connection, _row(peer, FROZEN, what, note, time.encode(), time))


class Forked(Unproven):
    """A log has signed two histories; the accusation shows it."""

    def __init__(self, accusation: Accusation) -> None:
        """Nothing of what showed it is to be stored but the accusation."""
        what = "a log signed two histories"
        super().__init__(what, where=accusation.origin, do="show `aeo incidents` to whoever answers for it")
        self.accusation = accusation


def hold(connection: Connection, peer: Card, proven: Proven, now_ms: int, skew_s: float) -> None:
    """Our copy of a log is whole under this checkpoint: what was seen before must begin it, else `Forked`.

    A smaller one than was seen may have been on its way; `Unproven` if the log stands by it much later.
    """
    checkpoint, origin, time = proven.checkpoint, proven.checkpoint.origin, moment.format(now_ms)
    seen = witnessed.seen(connection, origin)
    if seen is not None:
        check_begins(connection, peer, proven, _read_copy(connection, origin))
    if seen is None or seen.size < checkpoint.size:
        see(connection, peer, checkpoint, proven.note, time)
    elif seen.mark <= checkpoint.size < seen.size:
        witnessed.see(connection, origin, replace(seen, mark=seen.size, time=time))
    elif checkpoint.size < seen.mark and 1000 * (proven.time_s - skew_s) > moment.parse(seen.time):
        why = f"{seen.mark} entries were signed by {seen.time}, and now {checkpoint.size} are all there is"
        raise Unproven("a log has become shorter than it was signed", where=origin, why=why)
    settle(connection, peer, origin, checkpoint.size, time)


def recorded(connection: Connection, origin: str) -> tuple[int, bytes]:
    """The size and root that whatever is cosigned next must begin with.

    Those of the largest checkpoint seen, or of our copy where that is larger: what was signed begins with it.
    """
    seen, head = witnessed.seen(connection, origin), logs.head_of(connection, origin)
    known = (seen.size, seen.root) if seen else (0, EMPTY_ROOT)
    return (head.size, head.root) if head and head.size > known[0] else known


def check_begins(connection: Connection, peer: Card, proven: Proven, read_tile: ReadTile) -> None:
    """`Forked` unless the tree that these tiles make of a whole log begins with what was seen of it."""
    origin, seen = proven.checkpoint.origin, witnessed.seen(connection, proven.checkpoint.origin)
    if (
        seen is None
        or seen.size > proven.checkpoint.size
        or tiles.tree_root(read_tile, seen.size) == seen.root
    ):
        return
    newer = _signed(peer, origin, proven.note)
    found = between(seen.note, newer, peer.verifiers(origin, ever=True), read_tile)
    if found is not None:
        raise Forked(found)


def see(connection: Connection, peer: Card, new: Checkpoint, note: str, time: str) -> None:
    """Keep a checkpoint that follows what was seen before, with what the peer signed of its note."""
    before, head = witnessed.seen(connection, new.origin), logs.head_of(connection, new.origin)
    mark, since = new.size, time
    if before is not None and before.mark > (head.size if head else 0):
        mark, since = before.mark, before.time  # our copy has not come that far yet
    kept = Seen(new.size, new.root, _signed(peer, new.origin, note), mark, since)
    witnessed.see(connection, new.origin, kept)


def _signed(peer: Card, origin: str, note: str) -> str:
    """What the peer signed of a note that was verified, without what others may have added at any length."""
    text, signatures = read_note(note)
    own = {(key.name, key.key_id) for key in peer.verifiers(origin, ever=True)}
    return f"{text}\n" + "".join(each.line() for each in signatures if (each.name, each.key_id) in own)


def weigh(connection: Connection, peer: Card, origin: str, note: str, time: str) -> None:
    """Keep what a checkpoint shows that a peer signed and that does not follow, if it shows anything."""
    if row := weighed(connection, peer, origin, note, time):
        incidents.note(connection, row)


def weighed(connection: Connection, peer: Card, origin: str, note: str, time: str) -> Row | None:
    """The incident that a checkpoint is which a peer signed and that does not follow; None if it is none."""
    new, seen, head = stated(note), witnessed.seen(connection, origin), logs.head_of(connection, origin)
    if seen is not None and seen.size == new.size and seen.root != new.root:
        return _forked(peer, Accusation(seen.note, note), time)
    if head is None or new.size > head.size or not head.is_whole:
        if copied_root(connection, origin, new.size) == new.root:
            return None
        what = f"{origin}: a checkpoint of size {new.size} did not follow; our copy is not whole yet"
        return _row(peer, UNPROVEN, what, note.encode(), new.text().encode(), time)
    whole, read_tile = _signed(peer, origin, head.checkpoint), logs.tile_reader(connection, head.log)
    found = between(note, whole, peer.verifiers(origin, ever=True), read_tile)
    return _forked(peer, found, time) if found is not None else None


def pursue(parts: Parts, peer: Card, note: str, fetch: Callable[[str], bytes]) -> None:
    """News did not follow: if the ledger's checkpoint in it contradicts one that was seen, accuse the peer.

    Of a tree that our copy does not reach, the peer's own tiles are asked for; whoever keeps them back is
    not accused by this, but not believed either.
    """
    origin = ledger_origin(peer.name)
    signed = signed_part(note, peer, origin)
    if signed is None:
        return
    new, row, time = stated(signed), None, moment.format(parts.now_ms())
    with parts.database.read() as connection:
        seen, head = witnessed.seen(connection, origin), logs.head_of(connection, origin)
        if head is not None and new.size <= head.size:
            row = weighed(connection, peer, origin, signed, time)
    if seen is not None and new.size > max(seen.size, head.size if head else 0):
        with suppress(Refusal):
            found = between(seen.note, signed, peer.verifiers(origin, ever=True), _fetched(fetch, new.size))
            row = _forked(peer, found, time) if found is not None else None
    if row is not None:
        with parts.database.write() as connection:
            incidents.note(connection, row)


def _fetched(fetch: Callable[[str], bytes], size: int) -> ReadTile:
    """Reads the tiles of the peer's tree of a size as anyone may."""

    def read_tile(level: int, index: int) -> bytes:
        return fetch("/log/" + tiles.Tile(level, index, tiles.width(size, level, index)).path())

    return read_tile


def settle(connection: Connection, peer: Card, origin: str, size: int, time: str) -> None:
    """Weigh again what our copy did not reach when it came, now that it has this size."""
    for row in incidents.open_of_kind(connection, peer.name, UNPROVEN):
        note = row["evidence"].decode()
        new = stated(note)
        if new.origin == origin and new.size <= size:
            incidents.close(connection, row["incident"], time)
            weigh(connection, peer, origin, note, time)


def accuse(connection: Connection, peer: Card, found: Accusation, time: str) -> None:
    """Keep an accusation: whoever holds the peer's keys can check it."""
    incidents.note(connection, _forked(peer, found, time))


def _forked(peer: Card, found: Accusation, time: str) -> Row:
    older, newer = found.check(peer.verifiers(found.origin, ever=True))
    what = f"{found.origin} signed two histories: of {older.size} and of {newer.size} entries"
    return _row(peer, FORKED, what, found.encode(), found.origin.encode(), time)


def _row(peer: Card, kind: str, what: str, evidence: bytes, claim: bytes, time: str) -> Row:
    return incidents.row(peer.name, WHOLE_PEER, -1, kind, what, evidence, time, claim)


def _read_copy(connection: Connection, origin: str) -> ReadTile:
    head = logs.head_of(connection, origin)
    assert head is not None, "there is a copy"
    return logs.tile_reader(connection, head.log)


def copied_root(connection: Connection, origin: str, size: int) -> bytes | None:
    """The root of our copy of a log at a size; None where it does not reach."""
    head = logs.head_of(connection, origin)
    if head is None or head.size < size:
        return None
    return tiles.tree_root(logs.tile_reader(connection, head.log), size)
