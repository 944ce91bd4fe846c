"""What a node tells a peer that asks for news, out of one snapshot of its store.

Agreements between the two with every signature and this ledger's receipts; the hashes of the ledger's
entries behind the peer's copy of them; the entries of the peer's channels behind its cursors, each only once
the record that it discloses is among those hashes; and checkpoints that carry this node's cosignature *as of
now*, so that "nothing new" differs from silence.
A channel is read by its two parties only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import orjson
from sqlalchemy import Connection

from node.agreements.act import Instrument
from node.errors import Damaged
from node.exchange.card import Card
from node.exchange.page import ENTRIES_LIMIT_BYTES
from node.exchange.standing import HeldAct, Standing
from node.ledger import canonical
from node.ledger.checkpoint import Checkpoint
from node.ledger.encoding import b64, b64u
from node.ledger.proof import TlogProof
from node.ledger.tiles import Tree, leaf_hashes
from node.store import access, channels, logs, witnessed
from node.store.channels import StoredChannel
from node.store.logs import Head
from node.store.tables import LEDGER

OpenBody = Callable[[int, bytes], tuple[bytes, bytes]]
Beat = Callable[[str], str]

CHUNK = 100
"""Entries read from the store at once."""


LEAVES_LIMIT = 1 << 14
"""Most leaf hashes of the ledger in one answer."""
CURSORS_LIMIT = 100
"""Most channels that one request asks about."""


@dataclass(frozen=True, slots=True)
class Cursors:
    """How far a peer has come: number of our card, revision of agreements, size of our ledger and of each
    channel."""

    card: int
    rev: int
    ledger: int
    channels: Mapping[str, int]


def has_news(
    connection: Connection, standings: Mapping[str, Standing], own: Card, peer: Card, cursors: Cursors
) -> bool:
    """Whether there is anything behind a peer's cursors, or less here than the peer has proven."""
    if (
        own.number > cursors.card
        or revision(shared_with(standings, own, peer)) != cursors.rev
        or _head(connection, LEDGER).size < cursors.ledger
    ):
        return True
    return any(
        _head(connection, channel.log).size != cursors.channels[channel.agreement]
        for channel in _channels_to(connection, own.country, peer.country, cursors)
    )


def news(
    connection: Connection,
    standings: Mapping[str, Standing],
    own: Card,
    peer: Card,
    cursors: Cursors,
    page_limit: int,
    beat: Beat,
    open_body: OpenBody,
) -> dict[str, Any]:
    """The answer to a peer's request for news.

    Where the peer has proven more than there is here (a store restored from an old backup), it gets the
    signed, shorter checkpoint all the same: that is its evidence.
    """
    ledger = _head(connection, LEDGER)
    tree = Tree(logs.tile_reader(connection, LEDGER), ledger.size)
    start = min(cursors.ledger, ledger.size)
    covered = min(start + LEAVES_LIMIT, ledger.size)
    shared = shared_with(standings, own, peer)
    rev = revision(shared)
    room = Room(page_limit, ENTRIES_LIMIT_BYTES)
    pages = [
        _page(connection, channel, cursors.channels[channel.agreement], room, covered, beat)
        for channel in _channels_to(connection, own.country, peer.country, cursors)
    ]
    return {
        "v": 1,
        "rev": rev,
        "agreements": [_agreement(connection, each, tree, ledger, open_body) for each in shared]
        if rev != cursors.rev
        else None,
        "card": _card(connection, own, tree, open_body) if own.number > cursors.card else None,
        "ledger": {
            "checkpoint": _beaten(ledger, beat, witnessed.published(connection, ledger)),
            "leaves": b64(leaf_hashes(tree.read_tile, start, covered)),
            "consistency": _texts(tree.consistency_proof(covered)),
        },
        "channels": pages,
    }


def shared_with(standings: Mapping[str, Standing], own: Card, peer: Card) -> list[Standing]:
    """The agreements that both are parties of."""
    return [each for each in standings.values() if each.is_with(own) and each.is_with(peer)]


def revision(shared: Sequence[Standing]) -> int:
    """Names all that a peer is told of these agreements: each document, act, signature and receipt.

    It is a digest and no count: a node restored from an older backup is heard whatever it lost, and a
    peer cannot tell from it how much happens between this node and others. 53 bits, as JSON has them.
    """
    told = sorted(b64u(each.told) for each in shared)
    return int.from_bytes(canonical.digest(told)[:7], "big") & canonical.MAX_INTEGER if told else 0


def receipt(
    connection: Connection, seq: int, tree: Tree, ledger: Head, open_body: OpenBody
) -> dict[str, Any]:
    """Proof that the ledger holds an entry, with what opens its commitment."""
    salt, content = open_body(seq, logs.body(connection, seq))
    proof = TlogProof(seq, tree.inclusion_proof(seq), ledger.checkpoint)
    entry = logs.entries(connection, LEDGER, seq, seq + 1)[0]
    return {
        "entry": entry.decode(),
        "salt": b64u(salt),
        "body": canonical.decode(content),
        "proof": proof.encode(),
    }


def _card(connection: Connection, own: Card, tree: Tree, open_body: OpenBody) -> dict[str, Any] | None:
    """The own card as the ledger holds it; None for one that is not there yet."""
    seq = access.own_card_place(connection, own.number)
    if seq is None:
        return None
    salt, _ = open_body(seq, logs.body(connection, seq))
    [entry] = logs.entries(connection, LEDGER, seq, seq + 1)
    proof = _texts(tree.inclusion_proof(seq))
    return {"card": own.text, "entry": entry.decode(), "salt": b64u(salt), "proof": proof}


def _agreement(
    connection: Connection, standing: Standing, tree: Tree, ledger: Head, open_body: OpenBody
) -> dict[str, Any]:
    acts = [_act(connection, held, tree, ledger, open_body) for held in standing.held]
    return {"document": standing.agreement.to_json(), "acts": acts}


def _act(
    connection: Connection, held: HeldAct, tree: Tree, ledger: Head, open_body: OpenBody
) -> dict[str, Any]:
    instrument: Instrument = held.instrument
    proven = (
        None if held.ledger_seq is None else receipt(connection, held.ledger_seq, tree, ledger, open_body)
    )
    return {"instrument": instrument.to_json(), "receipt": proven}


@dataclass(slots=True)
class Room:
    """What one answer may still hold: entries, and their bytes as they travel."""

    entries: int
    size_bytes: int

    def take(self, part: Mapping[str, Any]) -> bool:
        """Take in one entry, if there is room left; the last may go over, so that any entry finds room."""
        if self.entries <= 0 or self.size_bytes <= 0:
            return False
        self.entries -= 1
        self.size_bytes -= len(part["entry"]) + len(part["body"] or "")
        return True


def _page(
    connection: Connection, channel: StoredChannel, after: int, room: Room, covered: int, beat: Beat
) -> dict[str, Any]:
    head = _head(connection, channel.log)
    after = min(after, head.size)
    stop = min(head.size, after + room.entries)
    parts = list(takewhile(room.take, _parts(connection, channel.log, after, stop, covered)))
    numbers = {orjson.loads(part["entry"])["epoch"] for part in parts}
    epochs = channels.epochs(connection, channel.log, sorted(numbers))
    proof = Tree(logs.tile_reader(connection, channel.log), head.size).consistency_proof(after + len(parts))
    return {
        "agreement": channel.agreement,
        "checkpoint": _beaten(head, beat),
        "consistency": _texts(proof),
        "epochs": {str(number): b64(epoch.envelope or b"") for number, epoch in epochs.items()},
        "entries": parts,
    }


def _parts(connection: Connection, log: int, start: int, stop: int, covered: int) -> Iterator[dict[str, Any]]:
    """The entries of a channel as they travel, read a few at a time: bodies may be large.

    They end before the first that discloses a record which is not among the ledger's `covered` entries.
    """
    for at in range(start, stop, CHUNK):
        until = min(stop, at + CHUNK)
        behind = channels.sealed_behind(connection, log, at, until)
        for seq, entry in enumerate(logs.entries(connection, log, at, until), at):
            sealed, about = behind.get(seq, (None, None))
            if about is not None and about >= covered:
                return
            yield {"entry": entry.decode(), "body": None if sealed is None else b64(sealed)}


def _channels_to(connection: Connection, own: str, peer: str, cursors: Cursors) -> list[StoredChannel]:
    """The newest first: what takes over from an older one is whole at the peer before that one ends."""
    return [
        channel
        for channel in reversed(channels.channels(connection))
        if (channel.issuer, channel.partner) == (own, peer) and channel.agreement in cursors.channels
    ]


def _head(connection: Connection, log: int) -> Head:
    head = logs.head(connection, log)
    if head is None:
        raise Damaged("a log has no head", where=f"log {log}", do="run `aeo fsck`")
    return head


def _beaten(head: Head, beat: Beat, note: str = "") -> str:
    return (note or head.checkpoint) + beat(Checkpoint(head.origin, head.size, head.root).text())


def _texts(hashes: tuple[bytes, ...]) -> list[str]:
    return [b64(each) for each in hashes]
