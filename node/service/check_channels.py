"""What stands behind the entries of a channel: what we told a partner, or what a partner told us."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from sqlalchemy import Connection

from node.errors import Damaged
from node.exchange import incoming, outgoing, sealing, versions
from node.exchange.card import Card, ledger_origin
from node.exchange.notices import ERASED, STATE
from node.exchange.page import EntryPart
from node.exchange.reads import READS
from node.exchange.reports import ACKNOWLEDGED
from node.exchange.sealing import StoreKeys
from node.ledger import canonical, moment, tiles
from node.ledger.encoding import b64u
from node.ledger.entry import ChannelEntry, LedgerEntry
from node.ledger.merkle import leaf_hash
from node.records import credential
from node.service.check_ledger import check_index
from node.service.check_logs import Entries, Noted
from node.service.findings import Finding, Seen, Telling, guarded
from node.service.ground import Ground
from node.service.mirror import decided_on
from node.service.parts import Parts
from node.store import channels, erasures, incidents, logs, records, witnessed
from node.store.channels import Mirrored, StoredChannel
from node.store.database import Row
from node.store.incidents import SetApart
from node.store.logs import Head, LeafAt
from node.store.records import Found, StoredVersion
from node.store.tables import LEDGER

POINT_BYTES = 32
ENVELOPE_BYTES = POINT_BYTES + sealing.KEY_BYTES + 16
"""HPKE: the ephemeral public key, then the epoch key and its tag."""


@dataclass(slots=True)
class Keys:
    """The epoch keys of a channel, each opened once; with a seal key, as they are delivered too."""

    store: StoreKeys = field(repr=False)
    connection: Connection
    seal: X25519PrivateKey | None = field(default=None, repr=False)
    _opened: dict[int, bytes | None] = field(default_factory=dict, repr=False)

    def key(self, head: Head, epoch: int) -> bytes | None:
        """The key of an epoch, None when none is stored; `Unproven` when it does not open."""
        if epoch not in self._opened:
            stored = channels.epochs(self.connection, head.log, [epoch]).get(epoch)
            self._opened[epoch] = None
            if stored is not None:
                self._opened[epoch] = outgoing.held_key(self.store, head.origin, stored)
                if self.seal is not None:
                    _check_envelope(stored.envelope, self.seal)
        return self._opened[epoch]


def _check_envelope(envelope: bytes | None, own: X25519PrivateKey) -> None:
    """An envelope has the form of one; what is in it only the partner can open."""
    if envelope is None or len(envelope) != ENVELOPE_BYTES or not any(envelope[POINT_BYTES:]):
        raise Damaged("the key of an epoch is not as it was delivered to the partner")
    try:
        own.exchange(X25519PublicKey.from_public_bytes(envelope[:POINT_BYTES]))
    except ValueError:
        raise Damaged("the key of an epoch was delivered under a point that is no key") from None


def _epochs(entries: Entries) -> set[int]:
    return {entry.epoch for entry in entries if isinstance(entry, ChannelEntry)}


def check_whole(
    ground: Ground, channel: StoredChannel, issuer: Card, noted: Noted, seen: Seen
) -> Iterator[Finding]:
    """What only all entries of a channel together can show."""
    connection, log, where = ground.connection, channel.log, f"channel {channel.log}"
    seen["channel_epoch", log] += len(channels.epochs(connection, log, sorted(noted.epochs)))
    if channel.issuer == ground.parts.country:  # one may wait for its first entry: the partner's key is new
        waiting = max(noted.epochs, default=0) + 1
        seen["channel_epoch", log] += len(channels.epochs(connection, log, [waiting]))
    if channel.issuer != ground.parts.country:
        _, counted = incidents.set_apart(connection, issuer.name, log)
        if counted and counted != noted.unaccounted:
            what = f"{noted.unaccounted} entries are neither mirrored nor set apart singly"
            yield Finding(where, -1, f"{what}; {counted} were counted")
        yield from _heartbeats(ground, log, issuer, seen)
        return
    if noted.state != channel.state:
        what = f"its state is kept as {channel.state or 'none'}; the partner was told {noted.state}"
        yield Finding(where, -1, what)
    if not ground.carries(channel):
        return
    # From its first entry on, a channel's contract decides each version with the batch that adds it; where
    # records are fetched, only what was told, and what comes while a record is in view (the ledger's check).
    start = None if ground.is_on_demand(channel) else _time_of(connection, log, 0)
    since = _first_behind(connection, LEDGER, start)
    for record_id, number, seq in channels.undecided(connection, log, since):
        what = f"there is no decision on version {number} of {record_id}"
        yield Finding(where, -1, f"{what} (ledger entry {seq})")


def _heartbeats(ground: Ground, log: int, issuer: Card, seen: Seen) -> Iterator[Finding]:
    """Every kept checkpoint is the issuer's, of its time, and our copy begins with its tree."""
    head = logs.head(ground.connection, log)
    if head is None:
        return
    for time, note in witnessed.heartbeats(ground.connection, log):
        seen["heartbeat", log] += 1
        yield from guarded(head.origin, -1, _heartbeat, ground.connection, head, issuer, time, note)


def _heartbeat(connection: Connection, head: Head, issuer: Card, time: str, note: str) -> None:
    proven = incoming.prove(note, issuer, head.origin, float("inf"), ever=True)
    new, read_tile = proven.checkpoint, logs.tile_reader(connection, head.log)
    if moment.format(1000 * proven.time_s) != time:
        raise Damaged("a kept checkpoint is of another time than it says", where=time)
    if new.size > head.size or tiles.tree_root(read_tile, new.size) != new.root:
        raise Damaged("our copy does not begin with the tree of a kept checkpoint", where=time)


def _time_of(connection: Connection, log: int, seq: int) -> int | None:
    """The time of one entry of an own log; None when it is not there."""
    found = logs.entries(connection, log, seq, seq + 1)
    if not found:
        return None
    return (LedgerEntry if log == LEDGER else ChannelEntry).decode(found[0]).time


def _first_behind(connection: Connection, log: int, time: int | None) -> int:
    """The number of the first entry of a log that is later than `time`; times never go back."""
    head = logs.head(connection, log)
    low, high = 0, head.size if head else 0
    if time is None:
        return high
    while low < high:
        middle = (low + high) // 2
        at = _time_of(connection, log, middle)
        low, high = (low, middle) if at is None or at > time else (middle + 1, high)
    return low


@dataclass(slots=True)
class Outgoing:
    """Every body opens and is the one its entry names; the view kept of each record is the newest told."""

    parts: Parts
    connection: Connection
    channel: StoredChannel
    _keys: "Keys"
    noted: Noted = field(default_factory=Noted)

    @classmethod
    def on(cls, ground: Ground, channel: StoredChannel) -> "Outgoing":
        """Its keys are also held against what was delivered of them."""
        parts = ground.parts
        keys = Keys(parts.keys.store, ground.connection, parts.keys.seal[0])
        return cls(parts, ground.connection, channel, keys)

    def __call__(self, head: Head, start: int, entries: Entries) -> Iterator[Finding]:
        """One bundle."""
        log, stop = self.channel.log, start + len(entries)
        self.noted.epochs |= _epochs(entries)
        sealed = channels.sealed_behind(self.connection, log, start, stop)
        self.noted.seen["channel_body", log] += len(sealed)
        opened: list[tuple[ChannelEntry, Row, int | None]] = []
        gone = erasures.erased(self.connection, log, start, stop) - sealed.keys()
        for seq, entry in enumerate(entries, start):
            if isinstance(entry, ChannelEntry) and seq not in gone:
                yield from guarded(head.origin, seq, self._open, head, entry, sealed.get(seq), opened)
        about = [body["record_id"] for _, body, _ in opened if "record_id" in body]
        views = channels.views_of(self.connection, log, about)
        known = records.versions_disclosed(self.connection, log, start, stop)
        for entry, body, at in opened:
            if entry.kind == "notice":
                self.noted.state = body["detail"] if body["notice"] == STATE else self.noted.state
                if at is not None and body["notice"] not in (ERASED, ACKNOWLEDGED, READS):
                    yield Finding(head.origin, entry.seq, "a notice is kept as being about a ledger entry")
                continue
            view = views.get(body["record_id"])
            version = None if at is None else known.get(at)
            yield from guarded(head.origin, entry.seq, self._view, head, entry, body, at, view, version)

    def _open(
        self,
        head: Head,
        entry: ChannelEntry,
        stored: tuple[bytes, int | None] | None,
        opened: list[tuple[ChannelEntry, Row, int | None]],
    ) -> None:
        if stored is None or hashlib.sha256(stored[0]).digest() != entry.body:
            raise Damaged("the sealed body is not the one the entry names")
        if (key := self._keys.key(head, entry.epoch)) is None:
            raise Damaged("there is no key for the entry's epoch", where=f"epoch {entry.epoch}")
        key = sealing.entry_key(key, entry.seq)
        body = canonical.decode(sealing.unseal(key, stored[0], entry.header()))
        if not isinstance(body, dict):
            raise Damaged("the sealed body is out of form")
        opened.append((entry, body, stored[1]))

    def _view(
        self,
        head: Head,
        entry: ChannelEntry,
        body: Row,
        ledger_seq: int | None,
        view: tuple[int, bytes | None] | None,
        version: tuple[StoredVersion, bytes] | None,
    ) -> Iterator[Finding]:
        record_id, about = body["record_id"], None
        if entry.kind == "disclosure":
            about = incoming.check_commitment(body, self.parts.card).seq
            if about != ledger_seq:
                what = f"it is kept as being about ledger entry {ledger_seq}"
                raise Damaged(what, why=f"it is about {about}")
        elif version is None or version[0].record_id != record_id:
            raise Damaged(f"it is kept as resting on ledger entry {ledger_seq}, which is not of {record_id}")
        if view is None or view[0] < entry.seq:
            raise Damaged(f"it is the newest of {record_id}, but the view kept is another")
        if view[0] > entry.seq:
            return
        self.noted.seen["channel_view", head.log] += 1
        shown = None if about is None else self._shown(body, version)
        if shown != view[1]:
            yield Finding(head.origin, entry.seq, f"the view kept of {record_id} is not what was told")

    def _shown(self, body: Row, version: tuple[StoredVersion, bytes] | None) -> bytes:
        """The view digest of what a disclosure opened.

        The credential is the version's if the ledger entry that it rests on commits to it; that the version
        is what the entry commits to is checked where the ledger is.
        """
        if version is None:
            raise Damaged("the record version that was disclosed is gone")
        stored, ledger_entry = version
        disclosed = versions.unseal(stored, self.parts.keys.store)
        if body["ledger"]["entry"].encode() != ledger_entry or disclosed.record_id != body["record_id"]:
            raise Damaged("it discloses another version than it says")
        shown = body["credential"]
        digest = credential.packed_digest(shown, issuer=self.parts.settings.name)
        incoming.check_names_credential(body, b64u(digest))
        return outgoing.shown_digest(disclosed, shown)


@dataclass(frozen=True, slots=True)
class Reproven:
    """One opened entry of a partner, proven again: what it disclosed (None: nothing), and by what."""

    row: Row
    fields: dict[str, Any] | None = None
    ledger_seq: int = -1
    credential: str = ""
    is_fetched: bool = False


@dataclass(slots=True)
class Apart:
    """What was set apart on a channel, found at once however much it is."""

    counted: int
    """How many entries beside these were only counted."""
    seqs: set[int] = field(default_factory=set)
    named: dict[str, list[SetApart]] = field(default_factory=dict)
    """By record."""
    unnamed: dict[str, int] = field(default_factory=dict)
    """The newest entry, by reason, of those about a record that is not known."""

    @classmethod
    def of(cls, singly: Sequence[SetApart], counted: int) -> "Apart":
        """`singly` is in the order of the entries."""
        made = cls(counted)
        for each in singly:
            made.seqs.add(each.seq)
            if each.record_id is None:
                made.unnamed[each.detail] = each.seq
            else:
                made.named.setdefault(each.record_id, []).append(each)
        return made


@dataclass(slots=True)
class Incoming:
    """Every entry was opened or set apart; what is answered is what the newest one proves."""

    parts: Parts
    connection: Connection
    channel: StoredChannel
    issuer: Card
    _keys: Keys
    _apart: "Apart"
    _ledger: Head | None
    noted: Noted = field(default_factory=Noted)
    _leaf_at: LeafAt = field(default=lambda seq: b"", repr=False)

    @classmethod
    def on(cls, ground: Ground, channel: StoredChannel, issuer: Card) -> "Incoming":
        """With everything that was set apart on the channel: it is bounded."""
        parts, connection = ground.parts, ground.connection
        keys = Keys(parts.keys.store, connection)
        apart = Apart.of(*incidents.set_apart(connection, issuer.name, channel.log))
        ledger = logs.head_of(connection, ledger_origin(issuer.name))
        return cls(parts, connection, channel, issuer, keys, apart, ledger)

    def __call__(self, head: Head, start: int, entries: Entries) -> Iterator[Finding]:
        """One bundle."""
        log = self.channel.log
        if self._ledger is not None:  # anew for each bundle: what it has read stays in memory
            self._leaf_at = logs.leaf_reader(self.connection, self._ledger)
        self.noted.epochs |= _epochs(entries)
        rows = channels.told_behind(self.connection, log, start, start + len(entries))
        self.noted.seen["mirror_version", log] += len(rows)
        about = sorted({row["record_id"] for row in rows.values() if row["record_id"] is not None})
        mirrored = channels.mirrored(self.connection, [(log, each) for each in about])
        index = records.indexed(self.connection, log, about)
        named = incidents.named_apart(self.connection, log, start, start + len(entries))
        gone = erasures.erased(self.connection, log, start, start + len(entries))
        for seq, entry in enumerate(entries, start):
            row = rows.get(seq)
            if isinstance(entry, ChannelEntry):
                yield from guarded(head.origin, seq, self._key, head, entry, is_opened=row is not None)
            if row is not None and isinstance(entry, ChannelEntry):
                newest = mirrored.get((log, row["record_id"]))
                yield from guarded(head.origin, seq, self._entry, head, entry, row, newest, index)
            elif seq in gone:
                continue
            elif seq not in self._apart.seqs:
                self.noted.unaccounted += 1
                if not self._apart.counted:
                    yield Finding(head.origin, seq, "it is neither mirrored nor set apart")
            elif seq in named and isinstance(entry, ChannelEntry):
                yield from guarded(head.origin, seq, self._named, head, entry, *named[seq])

    def _named(self, head: Head, entry: ChannelEntry, record_id: str, evidence: bytes) -> None:
        """An entry that was set apart is about a record only if its body opens and says so."""
        kept: Any = canonical.decode(evidence)
        key = self._keys.key(head, entry.epoch)
        item = EntryPart(entry=kept["entry"], body=kept["body"])
        body = canonical.decode(incoming.unsealed(entry, item, {} if key is None else {entry.epoch: key}))
        if not isinstance(body, dict) or body.get("record_id") != record_id:
            raise Damaged("it is set apart as being about another record", where=record_id)

    def _entry(
        self, head: Head, entry: ChannelEntry, row: Row, newest: Mirrored | None, index: Found
    ) -> Iterator[Finding]:
        if (row["kind"], row["time"]) != (entry.kind, moment.format(entry.time)):
            yield Finding(
                head.origin, entry.seq, f"it is mirrored as another: {row['kind']} of {row['time']}"
            )
        self._sealed(head, entry, row)
        proven = self._proven(row)
        last = self._last(proven) if entry.kind == "tombstone" else proven
        tins = {_tin(last.fields if last else None)}
        if entry.kind == "tombstone":
            tins |= {"", _tin(orjson.loads(newest.fields) if newest and newest.fields else None)}
        key = (row["record_id"] or "", row["kind"], row["received_at"])
        self.noted.tellings.append(Telling(head.origin, entry.seq, key, tins))
        if row["record_id"] is None:
            return
        if newest is None or newest.seq < entry.seq:
            raise Damaged(f"it is the newest of {row['record_id']}, but not mirrored")
        if newest.seq == entry.seq:
            self.noted.seen["mirror", head.log] += 1
            yield from self._newest(newest, proven, last)
            fields = (last.fields if last else None) or {}
            is_in_view = proven.fields is not None
            yield from check_index(
                self.noted.seen, head.log, newest.record_id, fields, index, is_named=is_in_view
            )

    def _key(self, head: Head, entry: ChannelEntry, *, is_opened: bool) -> Iterator[Finding]:
        if self._keys.key(head, entry.epoch) is None and is_opened:
            yield Finding(head.origin, entry.seq, "the key that opened it is gone")

    def _sealed(self, head: Head, entry: ChannelEntry, row: Row) -> None:
        """What was opened makes, sealed again, the body that the entry names."""
        if (key := self._keys.key(head, entry.epoch)) is not None:
            sealed = sealing.seal_body(key, entry, row["body"])
            if hashlib.sha256(sealed).digest() != entry.body:
                raise Damaged("what was opened is not the body that the entry names")

    def _proven(self, row: Row) -> Reproven:
        """What the stored body of an entry proves by itself."""
        body = canonical.decode(row["body"])
        if not isinstance(body, dict) or body.get("record_id") != row["record_id"]:
            raise Damaged("what was opened is about another record", where=str(row["record_id"]))
        if row["kind"] != "disclosure":
            if "credential" in body:
                raise Damaged("a disclosure is kept as another kind", where=row["kind"])
            return Reproven(row)
        entry = incoming.check_commitment(body, self.issuer)
        if self._leaf_at(entry.seq) != leaf_hash(entry.encode()):
            raise Damaged("the issuer's ledger has another entry at this place", where=f"entry {entry.seq}")
        shown: Any = body["credential"]
        verified = incoming.verify_credential(shown, self.issuer, entry.seq)
        digest = b64u(verified.digest)
        incoming.check_names_credential(body, digest)
        return Reproven(row, verified.fields, entry.seq, digest, "told" in body)

    def _last(self, proven: Reproven) -> Reproven | None:
        """The disclosure that a tombstone ended; one that opened later is not what it ended."""
        about = (proven.row["record_id"], proven.row["seq"], proven.row["received_at"])
        row = channels.disclosed_before(self.connection, self.channel.log, *about)
        return self._proven(row) if row else None

    def _newest(self, row: Mirrored, proven: Reproven, last: Reproven | None) -> Iterator[Finding]:
        """The mirror row is what the newest entry proves; doubt on it is what was set apart since."""
        where, record_id = f"mirror of {self.issuer.country}", row.record_id
        decided = decided_on(proven.fields)
        kept = {name: getattr(row, name) for name in decided}
        if (row.fields and orjson.loads(row.fields)) != proven.fields or kept != decided:
            what = f"the stored fields of {record_id} are not those that were disclosed"
            yield Finding(where, row.seq, what)
        ledger_seq = last.ledger_seq if last else -1
        if (row.ledger_seq, row.credential) != (ledger_seq, proven.credential):
            what = f"{record_id} is kept as resting on another ledger entry or credential than was disclosed"
            yield Finding(where, row.seq, what)
        fetched_at = proven.row["time"] if proven.is_fetched else None
        if row.fetched_at != fetched_at:
            what = f"{record_id} is kept as told at another time than it was"
            yield Finding(where, row.seq, what)
        since = [each for each in self._apart.named.get(record_id, ()) if each.seq > row.seq]
        is_known = (
            self._apart.counted > 0
            or row.doubt in {each.detail for each in since}
            or self._apart.unnamed.get(row.doubt or "", -1) > row.seq
        )
        # An incident older than the row may have been closed before the row came: the entry opened late.
        must = any(each.first_seen >= proven.row["received_at"] for each in since)
        if (row.doubt is None and must) or (row.doubt is not None and not is_known):
            yield Finding(where, row.seq, f"the doubt kept about {record_id} is not what was set apart")


def _tin(fields: Row | None) -> str:
    return str(fields["tin"]) if fields else ""
