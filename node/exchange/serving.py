"""What a node tells a peer that asks for news, out of one snapshot of its store.

Agreements between the two with every signature and this ledger's receipts; the entries of the peer's
channels behind its cursors, each disclosure with the proof that its record stands in the ledger; and
checkpoints that carry this node's cosignature *as of now*, so that "nothing new" differs from silence.
A channel is read by its two parties only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from node.agreements.act import Instrument
from node.errors import Damaged
from node.exchange.standing import HeldAct, Standing
from node.ledger import canonical
from node.ledger.checkpoint import Checkpoint
from node.ledger.encoding import b64, b64u
from node.ledger.entry import ChannelEntry
from node.ledger.proof import TlogProof
from node.ledger.tiles import Tree
from node.store import channels, logs
from node.store.channels import StoredChannel
from node.store.logs import Head
from node.store.tables import LEDGER

OpenBody = Callable[[int, bytes], tuple[bytes, bytes]]
Beat = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Cursors:
    """How far a peer has come: revision of agreements, size of our ledger, size of each channel."""

    rev: int
    ledger: int
    channels: Mapping[str, int]


def has_news(
    connection: Connection, standings: Mapping[str, Standing], own: str, peer: str, cursors: Cursors
) -> bool:
    """Whether there is anything behind a peer's cursors, or less here than the peer has proven."""
    if (
        revision(shared_with(standings, own, peer)) > cursors.rev
        or _head(connection, LEDGER).size < cursors.ledger
    ):
        return True
    return any(
        _head(connection, channel.log).size > cursors.channels[channel.agreement]
        for channel in _channels_to(connection, own, peer, cursors)
    )


def news(
    connection: Connection,
    standings: Mapping[str, Standing],
    own: str,
    peer: str,
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
    shared = shared_with(standings, own, peer)
    rev = revision(shared)
    pages, left = [], page_limit
    for channel in _channels_to(connection, own, peer, cursors):
        page = _page(connection, channel, cursors.channels[channel.agreement], left, tree, beat)
        left -= len(page["entries"])
        pages.append(page)
    return {
        "v": 1,
        "rev": rev,
        "agreements": [_agreement(connection, each, tree, ledger, open_body) for each in shared]
        if rev > cursors.rev
        else None,
        "ledger": {
            "checkpoint": _beaten(ledger, beat),
            "consistency": _texts(tree.consistency_proof(min(cursors.ledger, ledger.size))),
        },
        "channels": pages,
    }


def shared_with(standings: Mapping[str, Standing], own: str, peer: str) -> list[Standing]:
    """The agreements that both are parties of."""
    return [each for each in standings.values() if {own, peer} <= set(each.agreement.countries)]


def revision(shared: Sequence[Standing]) -> int:
    """Grows with every document, act, signature and receipt of these agreements, and with nothing else.

    So a peer cannot tell from it how much happens between this node and others.
    """
    acts = [held for each in shared for held in each.held]
    proofs = sum(len(held.receipts) + (held.ledger_seq is not None) for held in acts)
    return len(shared) + len(acts) + proofs + sum(len(held.instrument.signatures) for held in acts)


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


def _page(
    connection: Connection, channel: StoredChannel, after: int, limit: int, tree: Tree, beat: Beat
) -> dict[str, Any]:
    head = _head(connection, channel.log)
    after = min(after, head.size)
    stop = min(head.size, after + limit)
    entries = logs.entries(connection, channel.log, after, stop)
    bodies = channels.bodies(connection, channel.log, after, stop)
    ledger_seqs = channels.ledger_seqs(connection, channel.log, after, stop)
    epochs = channels.epochs(
        connection, channel.log, sorted({ChannelEntry.decode(entry).epoch for entry in entries})
    )
    proof = Tree(logs.tile_reader(connection, channel.log), head.size).consistency_proof(stop)
    return {
        "agreement": channel.agreement,
        "checkpoint": _beaten(head, beat),
        "consistency": _texts(proof),
        "epochs": {str(number): b64(epoch.envelope or b"") for number, epoch in epochs.items()},
        "entries": [
            {
                "entry": entry.decode(),
                "body": b64(bodies[seq]) if seq in bodies else None,
                "proof": _texts(tree.inclusion_proof(ledger_seqs[seq])) if seq in ledger_seqs else None,
            }
            for seq, entry in enumerate(entries, after)
        ],
    }


def _channels_to(connection: Connection, own: str, peer: str, cursors: Cursors) -> list[StoredChannel]:
    return [
        channel
        for channel in channels.channels(connection)
        if (channel.issuer, channel.partner) == (own, peer) and channel.agreement in cursors.channels
    ]


def _head(connection: Connection, log: int) -> Head:
    head = logs.head(connection, log)
    if head is None:
        raise Damaged("a log has no head", where=f"log {log}", do="run `aeo fsck`")
    return head


def _beaten(head: Head, beat: Beat) -> str:
    return head.checkpoint + beat(Checkpoint(head.origin, head.size, head.root).text())


def _texts(hashes: tuple[bytes, ...]) -> list[str]:
    return [b64(each) for each in hashes]
