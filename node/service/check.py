"""`aeo fsck`: recomputes everything this node has stored from the entries up, and reports what differs.

Each finding names the log, the entry, what was expected and what was found. The quick check at start
looks at the newest entries only; the whole check reads everything once, streaming.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from node.errors import Damaged, Refusal
from node.exchange import sealing, versions
from node.exchange.card import Card, ledger_origin
from node.exchange.incoming import prove
from node.exchange.outgoing import epoch_owner
from node.ledger import canonical, moment, tiles
from node.ledger.checkpoint import Checkpoint, open_checkpoint
from node.ledger.entry import ChannelEntry, LedgerEntry, check_chain, commitment
from node.ledger.merkle import EMPTY_ROOT, leaf_hash
from node.records import credential
from node.service.batch import open_body
from node.service.parts import Parts
from node.store import channels, logs, records
from node.store.channels import StoredChannel
from node.store.database import Row
from node.store.logs import Head
from node.store.tables import LEDGER

Told = Callable[[str, int, int], None]
BUNDLE = tiles.TILE_WIDTH


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction: in which log, at which entry (-1: the log as a whole), and what it is."""

    log: str
    entry: int
    what: str


def check(parts: Parts, told: Told = lambda what, done, of: None) -> Iterator[Finding]:
    """Check the ledger, its bodies, every channel and the mirror; `told` hears of progress."""
    try:
        yield from _everything(parts, told)
    except SQLAlchemyError as error:
        yield Finding("store", -1, f"it cannot be read: {error}")


def _everything(parts: Parts, told: Told) -> Iterator[Finding]:
    with parts.database.read() as connection:
        yield from _log(parts, connection, LEDGER, parts.card, told)
        yield from _versions(parts, connection, told)
        cards = {**parts.peers.by_country(connection), parts.country: parts.card}
        for channel in channels.channels(connection):
            if channel.issuer not in cards:
                yield Finding(f"channel {channel.log}", -1, f"its issuer {channel.issuer} is not pinned")
                continue
            yield from _log(parts, connection, channel.log, cards[channel.issuer], told)
            yield from _bodies(parts, connection, channel, told)
        for card in parts.peers.by_country(connection).values():
            proven = logs.head_of(connection, ledger_origin(card.name))
            if proven is not None:
                yield from _head(proven, proven.origin, card, is_own=False)
        yield from _mirror(parts, connection, cards)


def check_start(parts: Parts) -> Iterator[Finding]:
    """What must hold before the node serves: the ledger is its own, its head signed, its end unbroken."""
    with parts.database.read() as connection:
        head = logs.head(connection, LEDGER)
        if head is None:
            yield Finding("ledger", -1, "there is no ledger in this store; run `aeo init`")
            return
        yield from _head(head, ledger_origin(parts.settings.name), parts.card, is_own=True)
        start = max(0, head.size - BUNDLE)
        yield from _tail(connection, head, start)


def _log(parts: Parts, connection: Connection, log: int, signer: Card, told: Told) -> Iterator[Finding]:
    """Entries, chain, tiles, root and signature of one log."""
    head = logs.head(connection, log)
    if head is None:
        yield Finding(f"log {log}", -1, "it has no head")
        return
    made: dict[tuple[int, int], bytes] = {}
    root, last = EMPTY_ROOT, None
    for start in range(0, head.size, BUNDLE):
        entries = logs.entries(connection, log, start, min(start + BUNDLE, head.size))
        told(head.origin, start, head.size)
        if len(entries) != min(BUNDLE, head.size - start):
            yield Finding(
                head.origin,
                start,
                f"{min(BUNDLE, head.size - start) - len(entries)} entries are missing behind it",
            )
            return
        leaves = [leaf_hash(entry) for entry in entries]
        yield from _tile(connection, head, start // BUNDLE, leaves)
        yield from _entries(head, start, entries, last)
        grown = tiles.append(lambda *at: made[at], start, leaves)
        made.update({at: hashes for at, hashes in grown.tiles.items() if at[0] > 0})
        root, last = grown.root, leaves[-1]
    if last != head.last_leaf:
        yield Finding(head.origin, head.size - 1, "the last entry is not the one the head names")
    yield from _tree(connection, head, root, made)
    yield from _head(head, head.origin, signer, is_own=signer is parts.card)


def _entries(head: Head, start: int, entries: list[bytes], last: bytes | None) -> Iterator[Finding]:
    for seq, encoded in enumerate(entries, start):
        try:
            entry = _decoded(head, encoded)
            check_chain(last, seq, entry)
        except Refusal as refusal:
            yield Finding(head.origin, seq, refusal.sentence())
        last = leaf_hash(encoded)


def _decoded(head: Head, encoded: bytes) -> LedgerEntry | ChannelEntry:
    return LedgerEntry.decode(encoded) if head.log == LEDGER else ChannelEntry.decode(encoded)


def _tile(connection: Connection, head: Head, index: int, leaves: list[bytes]) -> Iterator[Finding]:
    stored = logs.tile(connection, head.log, 0, index) or b""
    if len(stored) > 32 * len(leaves):
        yield Finding(
            head.origin, -1, f"the tile of entries {index * BUNDLE} and on holds more than there is"
        )
    for at, leaf in enumerate(leaves):
        if stored[32 * at : 32 * at + 32] != leaf:
            yield Finding(
                head.origin, index * BUNDLE + at, "the entry is not the one that was hashed into the tree"
            )


def _tree(
    connection: Connection, head: Head, root: bytes, made: dict[tuple[int, int], bytes]
) -> Iterator[Finding]:
    """The root, and every tile above the entries, byte for byte as the entries make it."""
    if root != head.root:
        yield Finding(head.origin, -1, "the entries do not make the root of the head")
    for (level, index), hashes in made.items():
        if logs.tile(connection, head.log, level, index) != hashes:
            yield Finding(head.origin, -1, f"tile {index} of level {level} is not what the entries make")


def _head(head: Head, origin: str, signer: Card, *, is_own: bool) -> Iterator[Finding]:
    """The signature on a head; a copy may end before the checkpoint that its entries were proven against."""
    try:
        signed = _signed(head, origin, signer, is_own=is_own)
    except Refusal as refusal:
        yield Finding(head.origin, -1, refusal.sentence())
        return
    is_whole = signed.size == head.size and signed.root == head.root
    if not is_whole and (is_own or signed.size <= head.size):
        yield Finding(head.origin, -1, "the signed checkpoint is not that of the head")


def _signed(head: Head, origin: str, signer: Card, *, is_own: bool) -> Checkpoint:
    """The checkpoint that was signed; a copied one also carries the time up to which it is proven."""
    if is_own:
        return open_checkpoint(head.checkpoint, origin, signer.verifiers(origin))
    proven = prove(head.checkpoint, signer, origin, float("inf"))
    if moment.format(proven.time_s * 1000) < head.time:
        raise Damaged("the head claims to be proven later than its checkpoint says", where=origin)
    return proven.checkpoint


def _tail(connection: Connection, head: Head, start: int) -> Iterator[Finding]:
    encoded = logs.entries(connection, head.log, start, head.size)
    if len(encoded) != head.size - start:
        yield Finding(head.origin, start, "entries are missing behind it")
        return
    before = logs.entries(connection, head.log, start - 1, start)
    yield from _entries(head, start, encoded, leaf_hash(before[0]) if before else None)
    if encoded and leaf_hash(encoded[-1]) != head.last_leaf:
        yield Finding(head.origin, head.size - 1, "the last entry is not the one the head names")


def _versions(parts: Parts, connection: Connection, told: Told) -> Iterator[Finding]:
    """Every ledger entry opens: record versions and other bodies against the commitments."""
    head = logs.head(connection, LEDGER)
    if head is None:
        return
    committed = 0
    for stored in records.all_versions(connection):
        committed += 1
        if committed % 500 == 0:
            told("record versions", committed, head.size)
        yield from _version(parts, connection, stored)
    for start in range(0, head.size, BUNDLE):
        for seq, encoded in enumerate(logs.entries(connection, LEDGER, start, start + BUNDLE), start):
            if b'"type":"record"' not in encoded:
                committed += 1
                yield from _other_body(parts, connection, seq, encoded)
    if committed != head.size:
        yield Finding(head.origin, -1, f"{head.size} entries, but {committed} bodies behind them")


def _version(parts: Parts, connection: Connection, stored: records.StoredVersion) -> Iterator[Finding]:
    origin, seq = ledger_origin(parts.settings.name), stored.ledger_seq
    try:
        version = versions.unseal(stored, parts.keys.store)
        encoded = logs.entries(connection, LEDGER, seq, seq + 1)
        if not encoded or LedgerEntry.decode(encoded[0]).commit != version.commit():
            yield Finding(
                origin,
                seq,
                f"version {stored.version} of {stored.record_id} is not what the entry commits to",
            )
        presentation = credential.present(version.jwt, version.disclosures(), list(version.fields))
        verified = credential.verify(presentation, parts.card.credential_key, issuer=parts.settings.name)
        if set(verified.fields) != set(version.fields):
            yield Finding(origin, seq, "the credential does not hold every field of the record")
    except Refusal as refusal:
        yield Finding(origin, seq, refusal.sentence())


def _other_body(parts: Parts, connection: Connection, seq: int, encoded: bytes) -> Iterator[Finding]:
    origin = ledger_origin(parts.settings.name)
    try:
        salt, content = open_body(parts, seq, logs.body(connection, seq))
        if commitment(salt, content) != LedgerEntry.decode(encoded).commit:
            yield Finding(origin, seq, "its body is not what the entry commits to")
    except Refusal as refusal:
        yield Finding(origin, seq, refusal.sentence())


def _bodies(parts: Parts, connection: Connection, channel: StoredChannel, told: Told) -> Iterator[Finding]:
    """Every channel entry names the sealed body stored beside it, and the body opens."""
    head = logs.head(connection, channel.log)
    if head is None:
        return
    keys: dict[int, bytes] = {}
    for start in range(0, head.size, BUNDLE):
        told(f"bodies of {head.origin}", start, head.size)
        stop = min(start + BUNDLE, head.size)
        bodies = channels.bodies(connection, channel.log, start, stop)
        for seq, encoded in enumerate(logs.entries(connection, channel.log, start, stop), start):
            try:
                entry = ChannelEntry.decode(encoded)
                if channel.issuer == parts.country:
                    _open_sealed(parts, connection, head, entry, bodies.get(seq), keys)
            except Refusal as refusal:
                yield Finding(head.origin, seq, refusal.sentence())


def _open_sealed(
    parts: Parts,
    connection: Connection,
    head: Head,
    entry: ChannelEntry,
    sealed: bytes | None,
    keys: dict[int, bytes],
) -> None:
    if sealed is None or hashlib.sha256(sealed).digest() != entry.body:
        raise Damaged("the sealed body is not the one the entry names")
    if entry.epoch not in keys:
        stored = channels.epochs(connection, head.log, [entry.epoch]).get(entry.epoch)
        if stored is None:
            raise Damaged("there is no key for the entry's epoch", where=f"epoch {entry.epoch}")
        keys[entry.epoch] = sealing.unwrap(
            parts.keys.store, stored.wrapped, epoch_owner(head.origin, entry.epoch)
        )
    sealing.unseal(keys[entry.epoch], sealed, entry.header())


def _mirror(parts: Parts, connection: Connection, cards: dict[str, Card]) -> Iterator[Finding]:
    """What is answered from the mirror is what the stored presentations prove."""
    for channel, row in channels.mirror_rows(connection):
        told = {
            each["seq"]: each for each in channels.mirror_history(connection, row.log, row.record_id)
        }.get(row.seq)
        try:
            if told is None or _proven(told, cards[channel.issuer]) != (
                row.fields and orjson.loads(row.fields)
            ):
                yield Finding(
                    f"mirror of {channel.issuer}",
                    row.seq,
                    f"the stored fields of {row.record_id} are not those that were disclosed",
                )
        except (Refusal, orjson.JSONDecodeError) as error:
            yield Finding(f"mirror of {channel.issuer}", row.seq, str(error))


def _proven(told: Row, issuer: Card) -> dict[str, Any] | None:
    """The fields that a stored disclosure proves; None for a tombstone."""
    body = canonical.decode(told["body"])
    presentation = body.get("presentation") if isinstance(body, dict) else None
    if told["kind"] == "tombstone":
        return None
    return credential.verify(str(presentation), issuer.credential_key, issuer=issuer.name).fields
