"""The writing end of a channel: what one partner gets to see under one agreement, entry by entry.

Default deny: a record is disclosed only if the contract answers `share`, and only the fields that it
names and the terms list. An entry is written when what the partner sees changes, and only then; a
change of hidden fields writes nothing.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from contracts.evaluation import Answer, Contract
from node.agreements import deciding
from node.agreements.document import is_on_demand
from node.errors import Damaged
from node.exchange import sealing
from node.exchange.fetches import Question
from node.exchange.log_writer import LogWriter
from node.exchange.sealing import Entropy, StoreKeys
from node.exchange.versions import Fields, Version
from node.ledger import canonical
from node.ledger.encoding import b64u
from node.ledger.entry import ChannelEntry
from node.records.credential import covered
from node.store.channels import StoredChannel, StoredEpoch
from node.store.database import Row

CLOCKS = frozenset(("recorded_at", "effective_at", "source_updated_at"))
UNSEEN = b""
"""The view digest of a record that the partner was never told of."""


@dataclass(frozen=True, slots=True)
class Line:
    """One outgoing direction as it stands today: the contract, the terms with the state, the partner."""

    channel: StoredChannel
    contract: Contract
    terms: Fields
    terms_digest: str
    state: str

    @property
    def carries_records(self) -> bool:
        """Whether the terms name this direction; else it is the way back of one, for notices."""
        return bool(self.terms["direction"]["fields"])

    @property
    def is_on_demand(self) -> bool:
        """Whether a record is told only when the partner asks for it."""
        return is_on_demand(self.terms)

    def decide(self, fields: Fields, today: str) -> Answer:
        """What the contract answers, held to the fields that the terms list and to those a reader needs."""
        return deciding.decide(self.contract, fields, self.terms, today)

    def decision(self, version: Version, answer: Answer, today: str, record_digest: str) -> Row:
        """The decision as it is kept, so that anyone with its inputs can replay it."""
        inputs = {"record": record_digest, "terms": self.terms_digest, "today": today}
        return {
            "log": self.channel.log,
            "record_id": version.record_id,
            "version": version.number,
            "day": today,
            "contract": self.contract.sha256,
            "terms": self.terms_digest,
            "input": b64u(canonical.digest(inputs)),
            "answer": canonical.encode(answer.to_json()).decode(),
        }


def selected(fields: Fields, paths: Sequence[str]) -> Fields:
    """The part of a record that field paths name: whole fields, or `identifiers.SCHEME`."""
    whole = {path for path in paths if "." not in path}
    schemes = {path.split(".")[1] for path in paths if path.startswith("identifiers.")}
    chosen = {name: value for name, value in fields.items() if name in whole}
    if schemes and "identifiers" not in whole:
        chosen["identifiers"] = [item for item in fields["identifiers"] if item["scheme"] in schemes]
    return chosen


def is_shown(schemes: Collection[str], paths: Sequence[str]) -> bool:
    """Whether one of these identifier schemes, or the TIN, is among what field paths show."""
    return any(covered("tin" if each == "TIN" else f"identifiers.{each}", tuple(paths)) for each in schemes)


def view_digest(fields: Fields, paths: Sequence[str]) -> bytes:
    """Names what a partner sees of a record; clocks alone make no new view."""
    seen = {name: value for name, value in selected(fields, paths).items() if name not in CLOCKS}
    return canonical.digest(seen)


LIST_ALONE = "identifiers."
"""The path of the list of identifiers without any of its numbers."""


def shown_paths(version: Version, packed: Mapping[str, Any]) -> list[str]:
    """The field paths that a packed presentation opens; `Damaged` if it is not one of this version."""
    by_salt = {opening[0]: opening for opening in packed["disclosures"]}
    opened = [each for each in version.disclosures() if by_salt.get(each.opening[0]) == each.opening]
    if [each.opening for each in opened] != packed["disclosures"]:
        raise Damaged("it opens what the version does not have")
    # The list itself shows none of its numbers: each is shown by its own disclosure.
    return [LIST_ALONE if each.path == "identifiers" else each.path for each in opened]


def shown_digest(version: Version, packed: Mapping[str, Any]) -> bytes:
    """What names the view that a packed presentation gives; `Damaged` as `shown_paths`."""
    return view_digest(version.fields, shown_paths(version, packed))


def disclosure(
    version: Version, paths: Sequence[str], ledger_entry: bytes, question: Question | None = None
) -> bytes:
    """The body of a disclosure: the packed presentation, and what opens the ledger entry's commitment.

    `question`: what it answers, where the record was asked for.
    """
    shown = version.credential.packed(paths)
    opening = {"entry": ledger_entry.decode(), "salt": b64u(version.salt()), "body": version.body}
    body = {"v": 1, "record_id": version.record_id, "credential": shown, "ledger": opening}
    return canonical.encode(body if question is None else body | {"told": question.told()})


def tombstone(record_id: str) -> bytes:
    """The body of a tombstone: which record left the view, and nothing else."""
    return canonical.encode({"v": 1, "record_id": record_id})


class ChannelWriter:
    """The end of one outgoing channel inside one transaction."""

    def __init__(self, writer: LogWriter, log: int, epoch: int, epoch_key: bytes) -> None:
        """Entries are sealed under keys of `epoch_key`, number `epoch`."""
        self.writer, self.log = writer, log
        self._epoch, self._key = epoch, epoch_key
        self.bodies: list[Row] = []

    def append(self, kind: str, body: bytes, now_ms: int, ledger_seq: int | None = None) -> int:
        """Seal a body, append its entry, and give its number; `ledger_seq` is what a disclosure is about."""
        seq = self.writer.seq
        frame = ChannelEntry(self.writer.origin, seq, self.writer.prev, now_ms, kind, self._epoch, bytes(32))
        sealed = sealing.seal_body(self._key, frame, body)
        digest = hashlib.sha256(sealed).digest()
        self.writer.append(ChannelEntry(frame.channel, seq, frame.prev, now_ms, kind, self._epoch, digest))
        self.bodies.append({"log": self.log, "seq": seq, "ledger_seq": ledger_seq, "sealed": sealed})
        return seq


def epoch_owner(origin: str, epoch: int) -> str:
    """What an epoch key is wrapped for in the store."""
    return f"{origin}#{epoch}"


def held_key(store_keys: StoreKeys, origin: str, stored: StoredEpoch) -> bytes:
    """A channel's epoch key as it rests in the store; `Unproven` when it does not open."""
    return sealing.unwrap(store_keys, stored.wrapped, epoch_owner(origin, stored.epoch))


def new_epoch(
    log: int, origin: str, epoch: int, store_keys: StoreKeys, partner: X25519PublicKey, entropy: Entropy
) -> tuple[bytes, StoredEpoch]:
    """A fresh epoch key, wrapped for the store and sealed for the partner."""
    key = entropy(sealing.KEY_BYTES)
    wrapped = sealing.wrap(store_keys, key, epoch_owner(origin, epoch), entropy(sealing.NONCE_BYTES))
    return key, StoredEpoch(log, epoch, wrapped, sealing.deliver(key, partner, origin, epoch))
