"""`aeo fsck`: recomputes everything this node has stored from the entries up, and reports what differs.

Each finding names the log, the entry, what was expected and what was found. The quick check at start
looks at the newest entries only; the whole check reads everything once, streaming.
"""

import hashlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from node.agreements import act as acts
from node.agreements import document
from node.agreements.act import Act
from node.agreements.document import Agreement
from node.errors import Damaged, Refusal
from node.exchange import sealing, versions
from node.exchange.card import Card, ledger_origin
from node.exchange.card import read as read_card
from node.exchange.incoming import prove
from node.exchange.outgoing import epoch_owner
from node.ledger import canonical, moment, tiles
from node.ledger.checkpoint import Checkpoint, open_checkpoint
from node.ledger.encoding import b64u, unb64u
from node.ledger.entry import ChannelEntry, LedgerEntry, check_chain, commitment
from node.ledger.merkle import EMPTY_ROOT, leaf_hash
from node.ledger.proof import TlogProof
from node.records import credential
from node.service.batch import index_row, open_body
from node.service.parts import Parts
from node.store import access, agreements, channels, logs, records
from node.store.agreements import StoredAct
from node.store.channels import StoredChannel
from node.store.database import Row
from node.store.logs import Head
from node.store.tables import LEDGER

Told = Callable[[str, int, int], None]
BUNDLE = tiles.TILE_WIDTH
BROKEN = (Refusal, LookupError, ValueError, TypeError, AttributeError)


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
        yield from _guarded("ledger", _log(parts, connection, LEDGER, parts.card, told))
        yield from _guarded("ledger", _versions(parts, connection, told))
        cards = yield from _cards(parts, connection)
        for channel in channels.channels(connection):
            yield from _guarded(f"channel {channel.log}", _channel(parts, connection, channel, cards, told))
        for card in (card for card in cards.values() if card is not parts.card):
            proven = logs.head_of(connection, ledger_origin(card.name))
            if proven is not None:
                yield from _guarded(proven.origin, _head(proven, proven.origin, card, is_own=False))
        yield from _guarded("logs", _other_logs(connection, cards))
        yield from _guarded("mirror", _mirror(connection, cards))
        yield from _guarded("mirror", _mirror_newest(connection))
        yield from _guarded("operators", _register(parts, connection, cards))
        yield from _guarded("agreements", _agreements(parts, connection, cards))


def _guarded(log: str, found: Iterator[Finding]) -> Iterator[Finding]:
    """What stands so wrongly in the store that it stops a check is a finding of that check."""
    try:
        yield from found
    except BROKEN as error:
        yield Finding(log, -1, f"it cannot be checked to its end: {_why(error)}")


def _why(error: Exception) -> str:
    return error.sentence() if isinstance(error, Refusal) else f"it is out of form: {error!r}"


def _cards(parts: Parts, connection: Connection) -> Generator[Finding, None, dict[str, Card]]:
    """The cards by country, as they stand in the store."""
    found = {}
    for row in access.peers(connection):
        try:
            card = read_card(row["card"])
            if (card.name, card.country) != (row["name"], row["country"]):
                raise Damaged("a card is pinned for another node", where=row["name"])
            found[card.country] = card
        except BROKEN as error:
            yield Finding(f"peer {row['name']}", -1, _why(error))
    return {**found, parts.country: parts.card}


def _channel(
    parts: Parts, connection: Connection, channel: StoredChannel, cards: dict[str, Card], told: Told
) -> Iterator[Finding]:
    if channel.issuer not in cards:
        yield Finding(f"channel {channel.log}", -1, f"its issuer {channel.issuer} is not pinned")
        return
    yield from _log(parts, connection, channel.log, cards[channel.issuer], told)
    yield from _bodies(parts, connection, channel, told)


def _other_logs(connection: Connection, cards: dict[str, Card]) -> Iterator[Finding]:
    known = {ledger_origin(card.name) for card in cards.values()}
    for _, origin in channels.other_logs(connection):
        if origin not in known:
            yield Finding(origin, -1, "it is the log of no channel and of no pinned peer")


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
        except BROKEN as error:
            yield Finding(head.origin, seq, _why(error))
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
    except BROKEN as error:
        yield Finding(head.origin, -1, _why(error))
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
    except BROKEN as error:
        yield Finding(origin, seq, _why(error))


def _other_body(parts: Parts, connection: Connection, seq: int, encoded: bytes) -> Iterator[Finding]:
    origin = ledger_origin(parts.settings.name)
    try:
        salt, content = open_body(parts, seq, logs.body(connection, seq))
        if commitment(salt, content) != LedgerEntry.decode(encoded).commit:
            yield Finding(origin, seq, "its body is not what the entry commits to")
    except BROKEN as error:
        yield Finding(origin, seq, _why(error))


def _bodies(parts: Parts, connection: Connection, channel: StoredChannel, told: Told) -> Iterator[Finding]:
    """Every channel entry names the sealed body stored beside it, and the body opens."""
    head = logs.head(connection, channel.log)
    if head is None:
        return
    keys: dict[int, bytes] = {}
    for start in range(0, head.size, BUNDLE):
        told(f"bodies of {head.origin}", start, head.size)
        stop = min(start + BUNDLE, head.size)
        kinds = channels.mirror_kinds(connection, channel.log, start, stop)
        bodies = channels.bodies(connection, channel.log, start, stop)
        for seq, encoded in enumerate(logs.entries(connection, channel.log, start, stop), start):
            try:
                entry = ChannelEntry.decode(encoded)
                if kinds.get(seq, entry.kind) != entry.kind:
                    raise Damaged("the entry is mirrored as another kind", where=kinds[seq])
                if channel.issuer == parts.country:
                    _open_sealed(parts, connection, head, entry, bodies.get(seq), keys)
            except BROKEN as error:
                yield Finding(head.origin, seq, _why(error))


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


def _mirror(connection: Connection, cards: dict[str, Card]) -> Iterator[Finding]:
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
        except BROKEN as error:
            yield Finding(f"mirror of {channel.issuer}", row.seq, _why(error))


def _proven(told: Row, issuer: Card) -> dict[str, Any] | None:
    """The fields that a stored disclosure proves; None for a tombstone."""
    body = canonical.decode(told["body"])
    presentation = body.get("presentation") if isinstance(body, dict) else None
    if told["kind"] == "tombstone":
        return None
    return credential.verify(str(presentation), issuer.credential_key, issuer=issuer.name).fields


def _mirror_newest(connection: Connection) -> Iterator[Finding]:
    """The mirror answers from the newest entry about each record."""
    for log, record_id, seq in channels.mirror_not_newest(connection):
        yield Finding(f"mirror of channel {log}", seq, f"it is the newest of {record_id}, but not mirrored")


def _register(parts: Parts, connection: Connection, cards: dict[str, Card]) -> Iterator[Finding]:
    """Each own operator stands at its newest version, and every operator is found by what it carries."""
    carried: dict[int, int] = {}
    for named, stored, record_id in records.last_of_each(connection):
        yield from _guarded(f"record {record_id}", _own(parts, connection, named, stored, carried))
    for channel, row in channels.mirror_rows(connection):
        where = f"mirror of {channel.issuer}"
        yield from _guarded(where, _mirrored(connection, row, cards[channel.issuer], carried))
    if {log: count for log, count in carried.items() if count} != records.identifier_counts(connection):
        yield Finding("index", -1, "it does not hold as many identifiers as the operators carry")


def _own(
    parts: Parts,
    connection: Connection,
    named: int,
    stored: records.StoredVersion | None,
    carried: dict[int, int],
) -> Iterator[Finding]:
    if stored is None:
        raise Damaged("an operator has no version")
    fields = versions.unseal(stored, parts.keys.store).fields
    if named != stored.version or fields["tin"] != stored.tin:
        yield Finding(
            f"record {stored.record_id}",
            stored.ledger_seq,
            f"it names version {named} of {stored.tin}; the newest is {stored.version} of {fields['tin']}",
        )
    yield from _index(connection, LEDGER, stored.record_id, fields, carried)


def _mirrored(
    connection: Connection, row: channels.Mirrored, issuer: Card, carried: dict[int, int]
) -> Iterator[Finding]:
    """A record that left our view is still found by what was last disclosed of it."""
    history = channels.mirror_history(connection, row.log, row.record_id)
    last = next((each for each in reversed(history) if each["kind"] == "disclosure"), None)
    fields = _proven(last, issuer) if last else None
    yield from _index(connection, row.log, row.record_id, fields or {}, carried)


def _index(
    connection: Connection, log: int, record_id: str, fields: dict[str, Any], carried: dict[int, int]
) -> Iterator[Finding]:
    expected = set(index_row(fields)["identifiers"])
    carried[log] = carried.get(log, 0) + len(expected)
    if records.identifiers_of(connection, log, record_id) != expected:
        yield Finding(f"index of log {log}", -1, f"{record_id} is not found by what it carries")


def _agreements(parts: Parts, connection: Connection, cards: dict[str, Card]) -> Iterator[Finding]:
    """Agreements and acts are what their ids say, and signatures, receipts and ledger stand behind them."""
    known: dict[str, Agreement] = {}
    for number, content in agreements.documents(connection).items():
        try:
            known[number] = agreement = document.parse(canonical.decode(content))
            if agreement.id != number or agreement.encode() != content:
                raise Damaged("its text is not the one its id names")
        except BROKEN as error:
            yield Finding(f"agreement {number}", -1, _why(error))
    for stored in agreements.acts(connection):
        yield from _guarded(
            f"act {stored.act}", _act(parts, connection, stored, known[stored.agreement], cards)
        )


def _act(
    parts: Parts, connection: Connection, stored: StoredAct, agreement: Agreement, cards: dict[str, Card]
) -> Iterator[Finding]:
    where, act = f"act {stored.act}", acts.parse_act(canonical.decode(stored.content))
    is_named = act.id == stored.act and act.encode() == stored.content
    if not is_named or act.agreement != agreement.digest():
        yield Finding(where, -1, "its content is not the one its id names under its agreement")
    for country, text in stored.signatures.items():
        yield from _guarded(where, _signature(act, agreement, country, text))
    for country, text in stored.receipts.items():
        yield from _guarded(where, _receipt(parts, act, agreement, cards[country], text))
    if stored.ledger_seq is not None:
        body = canonical.decode(
            open_body(parts, stored.ledger_seq, logs.body(connection, stored.ledger_seq))[1]
        )
        if not isinstance(body, dict) or acts.parse(body.get("instrument")).act != act:
            yield Finding(where, stored.ledger_seq, "the ledger entry does not hold the act")


def _signature(act: Act, agreement: Agreement, country: str, text: str) -> Iterator[Finding]:
    signed = {"payload": b64u(act.encode()), "signatures": [canonical.decode(text.encode())]}
    acts.verify(act, acts.parse(signed).signatures[0], agreement.party(country))
    yield from ()


def _receipt(parts: Parts, act: Act, agreement: Agreement, peer: Card, text: str) -> Iterator[Finding]:
    """The receipt holds by itself; which tree was followed when it came is not kept."""
    receipt = canonical.decode(text.encode())
    if not isinstance(receipt, dict) or not isinstance(receipt["body"], dict):
        raise Damaged("a receipt is not of the agreed form", where=peer.name)
    encoded, origin = str(receipt["entry"]).encode(), ledger_origin(peer.name)
    entry, proof = LedgerEntry.decode(encoded), TlogProof.decode(str(receipt["proof"]))
    recorded = acts.parse(receipt["body"].get("instrument"))
    commit = commitment(unb64u(str(receipt["salt"])), canonical.encode(receipt["body"]))
    is_about = (entry.country, entry.type, entry.commit) == (peer.country, "agreement", commit)
    is_complete = recorded.act == act and recorded.complete(agreement, parts.today()).allowed
    if not is_about or not is_complete or proof.index != entry.seq:
        yield Finding(f"act {act.id}", -1, f"the receipt of {peer.country} does not hold the complete act")
    proof.verify(leaf_hash(encoded), origin, peer.verifiers(origin))
