"""What this node holds of a peer's own logs, given back to that peer when it has lost them.

All of it was signed by the peer and disclosed to us: the hashes of its ledger's entries, the acts that its
ledger recorded, with what opens them, and the entries of its channels to us. Their bodies are sealed as they
came, and the keys of that for the peer's own seal key: who has stolen its log key reads none by asking.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Connection

from node.exchange import sealing
from node.exchange.card import Card, ledger_origin
from node.exchange.outgoing import held_key
from node.exchange.page import ENTRIES_LIMIT_BYTES
from node.exchange.serving import CHUNK, LEAVES_LIMIT, Room
from node.ledger import canonical
from node.ledger.encoding import b64
from node.ledger.entry import ChannelEntry, LedgerEntry
from node.ledger.tiles import leaf_hashes
from node.service.parts import Parts
from node.store import agreements, channels, logs
from node.store.channels import StoredChannel
from node.store.database import Row

ACTS_LIMIT: Final = 1_000
"""Most acts in one answer: the first of them behind what is asked for."""


def held(
    parts: Parts, connection: Connection, peer: Card, start: int, at: Mapping[str, int]
) -> dict[str, Any]:
    """What is held behind `start` entries of a peer's ledger, and `at` so many of its channels to us."""
    room = Room(parts.settings.page_limit, ENTRIES_LIMIT_BYTES)
    standings = parts.standings.current(connection)
    to_us = [
        channel
        for channel in channels.channels(connection)
        if (channel.issuer, channel.partner) == (peer.country, parts.country)
        and standings[channel.agreement].is_with(peer)
    ]
    return {
        "v": 1,
        "leaves": b64(_leaves(connection, peer, start)),
        "acts": _acts(connection, peer, start),
        "channels": [
            _channel(parts, connection, peer, each, at.get(each.agreement, 0), room) for each in to_us
        ],
    }


def _leaves(connection: Connection, peer: Card, start: int) -> bytes:
    head = logs.head_of(connection, ledger_origin(peer.name))
    if head is None or head.size <= start:
        return b""
    return leaf_hashes(logs.tile_reader(connection, head.log), start, min(head.size, start + LEAVES_LIMIT))


def _acts(connection: Connection, peer: Card, start: int) -> list[Row]:
    """The entries of a peer's ledger that recorded acts, each with the salt and body that open it."""
    kept = [act.receipts[peer.country] for act in agreements.acts(connection) if peer.country in act.receipts]
    found: dict[int, Row] = {}
    for text in kept:
        receipt: Any = canonical.decode(text.encode())
        found[LedgerEntry.decode(receipt["entry"].encode()).seq] = {
            name: receipt[name] for name in ("entry", "salt", "body")
        }
    return [found[seq] for seq in sorted(found) if seq >= start][:ACTS_LIMIT]


def _channel(
    parts: Parts, connection: Connection, peer: Card, channel: StoredChannel, start: int, room: Room
) -> dict[str, Any]:
    head = logs.head(connection, channel.log)
    assert head is not None, "a channel is stored together with its log"
    entries, numbers = list[Row](), set[int]()
    for entry, part in _sealed(parts, connection, channel, head.origin, start, head.size):
        if not room.take(part):
            break
        entries.append(part)
        numbers.add(entry.epoch)
    keys = _keys(parts, connection, channel, head.origin, numbers)
    envelopes = {
        str(number): b64(sealing.deliver(key, peer.seal_key, head.origin, number))
        for number, key in keys.items()
    }
    return {"agreement": channel.agreement, "size": head.size, "epochs": envelopes, "entries": entries}


def _sealed(
    parts: Parts, connection: Connection, channel: StoredChannel, origin: str, start: int, stop: int
) -> Iterator[tuple[ChannelEntry, Row]]:
    """The entries as they came, each body sealed again as it was; None where it did not open."""
    for at in range(start, stop, CHUNK):
        until = min(stop, at + CHUNK)
        told = channels.told_behind(connection, channel.log, at, until)
        encoded = logs.entries(connection, channel.log, at, until)
        entries = [ChannelEntry.decode(each) for each in encoded]
        keys = _keys(parts, connection, channel, origin, {entry.epoch for entry in entries})
        for entry, text in zip(entries, encoded, strict=True):
            body = None
            if entry.seq in told and entry.epoch in keys:
                body = b64(sealing.seal_body(keys[entry.epoch], entry, told[entry.seq]["body"]))
            yield entry, {"entry": text.decode(), "body": body}


def _keys(
    parts: Parts, connection: Connection, channel: StoredChannel, origin: str, numbers: set[int]
) -> dict[int, bytes]:
    stored = channels.epochs(connection, channel.log, sorted(numbers))
    return {number: held_key(parts.keys.store, origin, epoch) for number, epoch in stored.items()}
