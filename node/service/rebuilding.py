"""Rebuilding the end of a store that was put back, where partners hold all of what is missing.

They do where no record and no card was recorded since: acts of agreements, which both sides hold whole, and
what channels told meanwhile of records that the store has. What is written makes exactly the trees that this
node signed, or nothing is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from node.agreements import act as acts
from node.agreements import document
from node.errors import Conflict, Unproven
from node.exchange import outgoing, sealing, versions
from node.exchange.card import Card
from node.exchange.incoming import Disclosed
from node.exchange.log_writer import LogWriter, begin
from node.exchange.outgoing import epoch_owner
from node.exchange.page import EntryPart, OpenedEntry
from node.ledger import canonical, moment
from node.ledger.checkpoint import Checkpoint
from node.ledger.encoding import unb64, unb64u
from node.ledger.entry import ChannelEntry, LedgerEntry
from node.service.batch import seal_body
from node.service.parts import Parts
from node.service.signing import add_document, put_signature
from node.store import agreements, channels, logs, records
from node.store.channels import StoredChannel, StoredEpoch
from node.store.database import Row, add, put
from node.store.logs import Head
from node.store.tables import LEDGER, ChannelBody, ChannelView, LedgerBody


@dataclass(frozen=True, slots=True)
class Told:
    """The missing entries of one channel, as its partner holds them, opened and proven."""

    channel: StoredChannel
    peer: Card
    signed: Checkpoint
    entries: Sequence[ChannelEntry]
    items: Sequence[EntryPart]
    disclosed: Sequence[Disclosed]
    keys: dict[int, bytes] = field(repr=False)


def rebuild(
    parts: Parts, ledger: Checkpoint | None, missing: Sequence[OpenedEntry], told: Sequence[Told]
) -> None:
    """Write what is missing, of the ledger and of channels, in one transaction.

    `ledger` is the checkpoint that the ledger comes to, `missing` its missing entries: each records an act.
    `Unproven` when that does not make the trees that were signed, `Conflict` when a record is not here.
    """
    with parts.database.write() as connection:
        if ledger is not None:
            _ledger(parts, connection, ledger, missing)
        for each in told:
            _channel(parts, connection, each)


def _ledger(parts: Parts, connection: Connection, signed: Checkpoint, missing: Sequence[OpenedEntry]) -> None:
    head = logs.head(connection, LEDGER)
    assert head is not None, "the store has a ledger"
    writer, bodies = LogWriter(connection, head), []
    for each in missing:
        entry, content = LedgerEntry.decode(each.entry.encode()), canonical.encode(each.body)
        writer.append(entry)
        sealed = seal_body(parts, entry.seq, unb64u(each.salt), content)
        bodies.append({"seq": entry.seq, "sealed": sealed})
    add(connection, LedgerBody, bodies)
    _acts(connection, bodies, missing)
    _keep(parts, writer, signed, head)


def _acts(connection: Connection, bodies: Sequence[Row], missing: Sequence[OpenedEntry]) -> None:
    """The acts that these entries record, with their signatures, as they were kept."""
    documents = set(agreements.documents(connection))
    known = {stored.act for stored in agreements.acts(connection)}
    for row, body in zip(bodies, (each.body for each in missing), strict=True):
        if "document" in body and (agreement := document.parse(body["document"])).id not in documents:
            add_document(connection, agreement)
            documents.add(agreement.id)
        instrument = acts.parse(body["instrument"])
        act = instrument.act
        if act.id not in known:
            agreements.add_act(connection, act.id, str(body["agreement"]), act.encode())
            known.add(act.id)
        for signature in instrument.signatures:
            put_signature(connection, act, signature)
        agreements.set_ledger_seq(connection, act.id, row["seq"])


def _channel(parts: Parts, connection: Connection, told: Told) -> None:
    channel, head = told.channel, logs.head(connection, told.channel.log)
    if head is None:
        head = begin(connection, told.signed.origin, moment.format(parts.now_ms()), parts.sign)
        channel = StoredChannel(head.log, channel.agreement, channel.issuer, channel.partner, "", "")
        channels.add_channel(connection, channel)
    writer, bodies, views = LogWriter(connection, head), [], dict[str, Row]()
    found = {each.seq: each for each in told.disclosed}
    for entry, item in zip(told.entries, told.items, strict=True):
        writer.append(entry)
        each, is_shown = found[entry.seq], entry.kind == "disclosure"
        about = each.ledger_seq if each.ledger_seq >= 0 else None
        if about is None and each.record_id is not None:  # a tombstone of what was told before
            about = channels.told_about(connection, head.log, each.record_id)
        bodies.append(
            {"log": head.log, "seq": entry.seq, "ledger_seq": about, "sealed": unb64(item.body or "")}
        )
        if each.record_id is not None:
            digest = _view(parts, connection, each) if is_shown else None
            view = {"log": head.log, "record_id": each.record_id, "digest": digest, "seq": entry.seq}
            views[each.record_id] = view
    add(connection, ChannelBody, bodies)
    put(connection, ChannelView, list(views.values()))
    _epochs(parts, connection, head, told)
    states = [state for each in told.disclosed if (state := _state(each))]
    channels.set_line(connection, head.log, states[-1] if states else channel.state, "")
    _keep(parts, writer, told.signed, head)


def _state(found: Disclosed) -> str:
    """The state of the agreement that an entry told, if it did."""
    body: Any = canonical.decode(found.body) if found.kind == "notice" else {}
    return str(body["detail"]) if body.get("notice") == "state" else ""


def _view(parts: Parts, connection: Connection, found: Disclosed) -> bytes:
    """What names the partner's view of a record behind a disclosure, of the version that the store has."""
    kept = records.versions_behind(connection, found.ledger_seq, found.ledger_seq + 1)
    if not kept:
        raise Conflict("a record that was disclosed is not in this store", where=str(found.record_id))
    body: Any = canonical.decode(found.body)
    return outgoing.shown_digest(versions.unseal(kept[0][0], parts.keys.store), body["credential"])


def _epochs(parts: Parts, connection: Connection, head: Head, told: Told) -> None:
    """The epoch keys that the store lacks, wrapped for it and sealed for the partner again."""
    known = channels.epochs(connection, head.log, sorted(told.keys))
    for number in sorted({entry.epoch for entry in told.entries} - known.keys()):
        key, owner = told.keys[number], epoch_owner(head.origin, number)
        wrapped = sealing.wrap(parts.keys.store, key, owner, parts.entropy(sealing.NONCE_BYTES))
        envelope = sealing.deliver(key, told.peer.seal_key, head.origin, number)
        channels.add_epoch(connection, StoredEpoch(head.log, number, wrapped, envelope))


def _keep(parts: Parts, writer: LogWriter, signed: Checkpoint, head: Head) -> None:
    grown = writer.proven(signed, ())
    if grown.size != signed.size:
        raise Unproven("what partners hold does not reach as far as was signed", where=head.origin)
    if grown.size > head.size:
        writer.keep(grown, moment.format(parts.now_ms()), parts.sign(signed))
