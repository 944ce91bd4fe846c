"""The reading end of a channel: verifies everything a peer says before any of it is used.

The page as a whole (any failure stops at the last proven state, and is tried again):
 1. the issuer's ledger checkpoint is signed by its pinned key and consistent with the last one seen;
 2. the channel's entries follow one behind the other, without a gap, behind our copy;
 3. together they make the beginning of exactly the tree the issuer signed;
 4. both checkpoints carry the issuer's cosignature with a time not before the last one.
Each entry by itself (a failure sets that entry apart, with its reason, and the rest goes on):
 5. the sealed body is the one the entry names, and opens with the epoch key for this entry only;
 6. the record's ledger entry is the issuer's and stands in its ledger;
 7. its commitment opens to the body, and the body names this record and this credential;
 8. the credential is signed by the issuer, and every disclosed value hangs on its signature;
 9. no field goes beyond the terms, each has the form of the model, and what must be there is: record,
   country, TIN, status, scope;
10. the record's ledger position does not go backwards.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import Connection

from node.agreements.document import REQUIRED_FIELDS
from node.errors import Malformed, Refusal, Unproven
from node.exchange import sealing
from node.exchange.card import Card, channel_origin, ledger_origin
from node.exchange.log_writer import LogWriter, begin
from node.exchange.outgoing import epoch_owner
from node.exchange.page import ChannelPart, EntryPart, LedgerPart
from node.ledger import canonical, moment
from node.ledger.checkpoint import Checkpoint, opened_checkpoint
from node.ledger.encoding import b64u, unb64, unb64u
from node.ledger.entry import ChannelEntry, LedgerEntry, check_chain, commitment
from node.ledger.merkle import leaf_hash, verify_consistency, verify_inclusion
from node.ledger.note import open_note
from node.records import credential, model
from node.store import channels, logs
from node.store.channels import StoredChannel, StoredEpoch
from node.store.database import Row
from node.store.logs import Head

SKEW_S = 60
NEVER = moment.format(0)
"""The time of a copy that nothing was proven of yet."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A checkpoint that holds, as the note it came in, and the time its issuer last stood by it."""

    checkpoint: Checkpoint
    note: str
    time_s: int


@dataclass(frozen=True, slots=True)
class Disclosed:
    """One opened entry: what the peer now tells us of a record (`fields` None: it left our view)."""

    seq: int
    kind: str
    time: str
    record_id: str | None
    body: bytes
    fields: dict[str, Any] | None = None
    ledger_seq: int = -1
    credential: str = ""


@dataclass(frozen=True, slots=True)
class SetApart:
    """One entry that failed verification."""

    seq: int
    record_id: str | None
    reason: str
    evidence: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a channel may carry: the agreement, and the field paths its terms list for this direction."""

    agreement: str
    fields: tuple[str, ...]


def prove(note: str, peer: Card, origin: str, now_s: float) -> Proven:
    """Checks 1 and 4 on one checkpoint note: who signed, and as of when."""
    opened = open_note(note, peer.verifiers(origin))
    checkpoint = opened_checkpoint(opened, origin)
    times = [
        each.time_s
        for each in opened.signatures
        if each.time_s is not None and each.name == peer.cosigner.name
    ]
    if not times:
        raise Unproven(
            "a checkpoint has no time on it", where=origin, why="the issuer's cosignature is missing"
        )
    if times[0] > now_s + SKEW_S:
        raise Unproven("a checkpoint is from the future", where=origin, do="set the clocks of both nodes")
    return Proven(checkpoint, note, times[0])


def check_ledger(page: LedgerPart, peer: Card, last: Head | None, now_s: float) -> Proven:
    """Check 1: the peer's ledger goes on from where we last saw it."""
    origin = ledger_origin(peer.name)
    proven = prove(page.checkpoint, peer, origin, now_s)
    if last is not None:
        proof = _hashes(page.consistency)
        new = proven.checkpoint
        if new.size < last.size:
            raise Unproven(
                "a ledger has become shorter", where=origin, why=f"it had {last.size} entries, now {new.size}"
            )
        verify_consistency(last.size, new.size, last.root, new.root, proof)
        _check_not_older(proven, last)
    return proven


class ChannelReader:
    """One incoming channel inside one transaction."""

    def __init__(
        self, connection: Connection, channel: StoredChannel, head: Head, peer: Card, terms: Terms
    ) -> None:
        """`head` is where our copy ends."""
        self._connection, self.channel, self._head, self._peer, self._terms = (
            connection,
            channel,
            head,
            peer,
            terms,
        )
        self.disclosed: list[Disclosed] = []
        self.set_apart: list[SetApart] = []
        self._newest: dict[str, int] = {}
        self._last_ms = _time_of_last(connection, head)
        self._opened: dict[int, bytes] = {}
        self._credential_key = peer.credential_key

    def read(self, page: ChannelPart, ledger: Checkpoint, own: "Opener", now_s: float) -> Head:
        """Verify a page and copy it; `Unproven` or `Malformed` when it as a whole does not hold."""
        proven = prove(page.checkpoint, self._peer, self._head.origin, now_s)
        writer = LogWriter(self._connection, self._head)
        keys = own.epoch_keys(self._connection, self.channel.log, self._head.origin, page.epochs)
        for item in page.entries:
            entry = ChannelEntry.decode(item.entry.encode())
            check_chain(writer.prev, writer.seq, entry)
            if entry.channel != self._head.origin:
                raise Unproven(
                    "an entry belongs to another channel", where=self._head.origin, why=entry.channel
                )
            self._check_time(entry, proven.time_s)
            writer.append(entry)
            self._open(entry, item, keys, ledger)
        _check_not_older(proven, self._head)
        # Only a whole copy is as new as its proof: who keeps entries back must not look up to date.
        is_new = writer.seq == proven.checkpoint.size or self._head.time == NEVER
        time = moment.format(proven.time_s * 1000) if is_new else self._head.time
        own.keep(self._connection, self.channel.log, self._head.origin, self._opened)
        return writer.copy(proven.checkpoint, proven.note, _hashes(page.consistency), time)

    def _check_time(self, entry: ChannelEntry, proven_s: int) -> None:
        """The rest of check 4: no entry is older than the one before it or newer than the checkpoint."""
        if not self._last_ms <= entry.time <= (proven_s + SKEW_S) * 1000:
            raise Unproven("an entry's time is out of order", where=f"{self._head.origin}, entry {entry.seq}")
        self._last_ms = entry.time

    def _open(
        self, entry: ChannelEntry, item: EntryPart, keys: Mapping[int, bytes], ledger: Checkpoint
    ) -> None:
        record_id: str | None = None
        try:
            body = unsealed(entry, item, keys)
            self._opened[entry.epoch] = keys[entry.epoch]
            content = _members(body)
            record_id = _text(content, "record_id") if "record_id" in content else None
            self.disclosed.append(self._checked(entry, body, content, item, ledger))
        except (Refusal, TypeError, ValueError, KeyError, AttributeError) as refusal:
            evidence = canonical.encode({"entry": item.entry, "body": item.body})
            why = refusal.sentence() if isinstance(refusal, Refusal) else f"it is out of form: {refusal!r}"
            self.set_apart.append(SetApart(entry.seq, record_id, why, evidence))

    def _checked(
        self, entry: ChannelEntry, body: bytes, content: Row, item: EntryPart, ledger: Checkpoint
    ) -> Disclosed:
        time = moment.format(entry.time)
        _check_members(entry.kind, content)
        if entry.kind == "notice":
            return Disclosed(entry.seq, entry.kind, time, None, body)
        record_id = _text(content, "record_id")
        if entry.kind == "tombstone":
            return Disclosed(
                entry.seq, entry.kind, time, record_id, body, ledger_seq=self._newest_of(record_id)
            )
        ledger_entry = check_opening(content, item.proof, self._peer, ledger)
        verified = credential.verify(
            _text(content, "presentation"), self._credential_key, issuer=self._peer.name
        )
        check_names_credential(content, verified.digest)
        check_fields(verified, record_id, self._peer.country, self._terms.fields)
        self._check_forward(record_id, ledger_entry.seq)
        return Disclosed(
            entry.seq,
            entry.kind,
            time,
            record_id,
            body,
            verified.fields,
            ledger_entry.seq,
            b64u(verified.digest),
        )

    def _check_forward(self, record_id: str, ledger_seq: int) -> None:
        """Check 10."""
        if ledger_seq < self._newest_of(record_id):
            raise Unproven("an older version of a record was disclosed after a newer one", where=record_id)
        self._newest[record_id] = ledger_seq

    def _newest_of(self, record_id: str) -> int:
        """The newest ledger position that we were shown of a record; it outlives a tombstone."""
        if record_id not in self._newest:
            stored = channels.mirror_row(self._connection, self.channel.log, record_id)
            self._newest[record_id] = stored.ledger_seq if stored else -1
        return self._newest[record_id]


@dataclass(frozen=True, slots=True)
class Opener:
    """The keys with which this node opens what was sealed for it."""

    seal: X25519PrivateKey = field(repr=False)
    store: bytes = field(repr=False)
    entropy: sealing.Entropy

    def epoch_keys(
        self, connection: Connection, log: int, origin: str, envelopes: Mapping[str, str]
    ) -> dict[int, bytes]:
        """The epoch keys a page needs: those we hold, and those it brings, of which nothing is proven yet.

        An envelope that does not open leaves its epoch out: its entries are then set apart.
        """
        numbers = [int(number) for number in envelopes]
        held = channels.epochs(connection, log, numbers)
        keys = {
            number: sealing.unwrap(self.store, epoch.wrapped, epoch_owner(origin, number))
            for number, epoch in held.items()
        }
        for number in set(numbers) - set(held):
            try:
                keys[number] = sealing.receive(unb64(envelopes[str(number)]), self.seal, origin, number)
            except Unproven:
                continue
        return keys

    def keep(self, connection: Connection, log: int, origin: str, opened: Mapping[int, bytes]) -> None:
        """Store the new ones among the epoch keys that opened an entry the issuer signed.

        Anyone can seal a key for us; one that opened nothing must not stand in the way of the true one.
        """
        held = channels.epochs(connection, log, list(opened))
        for number, key in opened.items():
            if number not in held:
                owner = epoch_owner(origin, number)
                wrapped = sealing.wrap(self.store, key, owner, self.entropy(sealing.NONCE_BYTES))
                channels.add_epoch(connection, StoredEpoch(log, number, wrapped, None))


def unsealed(entry: ChannelEntry, item: EntryPart, keys: Mapping[int, bytes]) -> bytes:
    """Check 5."""
    if item.body is None:
        raise Unproven(
            "a sealed body is missing",
            where=f"entry {entry.seq}",
            why="the issuer no longer has it or keeps it back",
        )
    sealed = unb64(item.body)
    if hashlib.sha256(sealed).digest() != entry.body:
        raise Unproven("a sealed body is not the one its entry names", where=f"entry {entry.seq}")
    if entry.epoch not in keys:
        raise Unproven(
            "there is no key for an entry's epoch", where=f"entry {entry.seq}, epoch {entry.epoch}"
        )
    return sealing.unseal(keys[entry.epoch], sealed, entry.header())


def check_opening(content: Row, proof: list[str] | None, peer: Card, ledger: Checkpoint) -> LedgerEntry:
    """Checks 6 and 7: gives the ledger entry behind a disclosure."""
    opening = content.get("ledger")
    if not isinstance(opening, dict) or set(opening) != {"entry", "salt", "body"}:
        raise Malformed("a disclosure does not say which ledger entry it rests on")
    encoded = _text(opening, "entry").encode()
    entry = LedgerEntry.decode(encoded)
    if entry.country != peer.country or entry.type != "record":
        raise Unproven("the ledger entry is not a record of the issuer", where=f"ledger entry {entry.seq}")
    verify_inclusion(entry.seq, ledger.size, leaf_hash(encoded), _hashes(proof or []), ledger.root)
    if commitment(unb64u(_text(opening, "salt")), canonical.encode(opening["body"])) != entry.commit:
        raise Unproven("the ledger entry commits to another body", where=f"ledger entry {entry.seq}")
    if not isinstance(opening["body"], dict) or opening["body"].get("record_id") != content["record_id"]:
        raise Unproven("the ledger entry is about another record", where=f"ledger entry {entry.seq}")
    return entry


def check_names_credential(content: Row, digest: bytes) -> None:
    """The rest of check 7: the ledger commits to this very credential."""
    if content["ledger"]["body"].get("credential") != b64u(digest):
        raise Unproven("the ledger entry names another credential", where=str(content["record_id"]))


def check_fields(
    verified: credential.Verified, record_id: str, country: str, allowed: tuple[str, ...]
) -> None:
    """Check 9."""
    beyond = [path for path in verified.paths if not credential.covered(path, allowed)]
    if beyond:
        raise Unproven(
            "a disclosure goes beyond the terms", where=record_id, why="not agreed: " + ", ".join(beyond)
        )
    missing = [name for name in REQUIRED_FIELDS if name not in verified.fields]
    if missing:
        raise Unproven(
            "a disclosure lacks what every reader needs",
            where=record_id,
            why="missing: " + ", ".join(missing),
        )
    if verified.fields["record_id"] != record_id or verified.fields["country"] != country:
        raise Unproven("a disclosure is about another record or country", where=record_id)
    model.check_fields(verified.fields)


def start_copy(
    connection: Connection, agreement: str, peer: Card, own_country: str, time: str
) -> StoredChannel:
    """Begin our copy of a peer's channel to us, empty."""
    head = begin(connection, channel_origin(peer.name, agreement, own_country), time, [])
    new = StoredChannel(head.log, agreement, peer.country, own_country, "", "")
    channels.add_channel(connection, new)
    return new


def _time_of_last(connection: Connection, head: Head) -> int:
    last = logs.entries(connection, head.log, head.size - 1, head.size)
    return ChannelEntry.decode(last[0]).time if last else 0


def _check_not_older(proven: Proven, last: Head) -> None:
    """The first part of check 4, against the last checkpoint seen."""
    time = moment.format(proven.time_s * 1000)
    if time < last.time:
        raise Unproven(
            "a checkpoint is older than the last one", where=last.origin, why=f"{time} after {last.time}"
        )


def _members(body: bytes) -> Row:
    content = canonical.decode(body)
    if not isinstance(content, dict) or content.get("v") != 1:
        raise Malformed("a body is not of version 1")
    return content


MEMBERS = {
    "disclosure": {"v", "record_id", "presentation", "ledger"},
    "tombstone": {"v", "record_id"},
    "notice": {"v", "notice", "detail"},
}


def _check_members(kind: str, content: Row) -> None:
    """Each kind of body has exactly its members, all texts but the version and the opening."""
    texts = [value for name, value in content.items() if name not in ("v", "ledger")]
    if set(content) != MEMBERS[kind] or not all(isinstance(value, str) for value in texts):
        raise Malformed(f"a {kind} is out of form", why="it must hold " + ", ".join(sorted(MEMBERS[kind])))


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise Malformed("a peer's answer is not of the agreed form", where=name, why="it must be a text")
    return value


def _hashes(texts: Sequence[str]) -> list[bytes]:
    return [unb64(text) for text in texts]
