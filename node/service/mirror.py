"""What verified entries say, stored: mirror, history, index and change feed; and what their notices say."""

from collections.abc import Mapping, Sequence

import orjson
from sqlalchemy import Connection

from node.exchange import incoming
from node.exchange.card import Card
from node.exchange.incoming import Disclosed
from node.service import erasure_notices, reporting, telling_reads
from node.service.batch import index_row
from node.service.parts import Parts
from node.service.ways import notices_in
from node.store import channels, incidents, records
from node.store.channels import Mirrored, StoredChannel
from node.store.database import Row, add
from node.store.tables import Change

UNFOUNDED = "unfounded"
"""The kind of an incident: a notice says what is not so."""


def write(
    connection: Connection,
    log: int,
    disclosed: list[Disclosed],
    before: Mapping[str, Mirrored],
    time: str,
    doubt: str | None = None,
) -> None:
    """Store what verified entries say: newest row of each record, history, index, change feed."""
    named = {each.record_id: each.fields for each in disclosed if each.record_id and each.fields}
    history = [_history_row(log, each, time) for each in disclosed]
    newest = {each.record_id: each for each in disclosed if each.record_id is not None}
    channels.put_mirror(connection, [newest_row(log, each, doubt) for each in newest.values()], history)
    # What was disclosed and left our view again within one page must be found too: it is not unknown.
    found_by = {record_id: index_row(fields) for record_id, fields in named.items()}
    changed = {each: row for each, row in found_by.items() if row != _found_by(before.get(each))}
    records.index(connection, log, changed)
    gone = [record_id for record_id, each in newest.items() if each.fields is None]
    records.clear_names(connection, log, gone)
    add(connection, Change, _changes(log, disclosed, before, time))


def write_overtaken(
    connection: Connection, log: int, each: Disclosed, before: Mapping[str, Mirrored], time: str
) -> None:
    """Store what an entry says that came after a later one about its record: history and change feed only."""
    channels.put_mirror(connection, [], [_history_row(log, each, time)])
    add(connection, Change, _changes(log, [each], before, time))


def _found_by(row: Mirrored | None) -> Row | None:
    return None if row is None or row.fields is None else index_row(orjson.loads(row.fields))


def _changes(log: int, disclosed: list[Disclosed], before: Mapping[str, Mirrored], time: str) -> list[Row]:
    """One row of the change feed for each entry that opened, in the order in which they did."""
    tins = {record_id: row.tin or "" for record_id, row in before.items()}
    tins |= {each.record_id: str(each.fields["tin"]) for each in disclosed if each.record_id and each.fields}
    changes = []
    for each in disclosed:
        tin = (each.fields or {}).get("tin") or tins.get(each.record_id or "", "")
        changes.append(
            {"log": log, "record_id": each.record_id or "", "tin": tin, "kind": each.kind, "time": time}
        )
    return changes


def _history_row(log: int, each: Disclosed, time: str) -> Row:
    row = {"log": log, "seq": each.seq, "record_id": each.record_id, "kind": each.kind}
    return row | {"time": each.time, "received_at": time, "body": each.body}


def newest_row(log: int, each: Disclosed, doubt: str | None) -> Row:
    """The row of a record that rests on this entry, with what speaks against a later one about it."""
    fields = None if each.fields is None else orjson.dumps(each.fields)
    row = {"log": log, "record_id": each.record_id, "seq": each.seq, "fields": fields}
    row |= {"ledger_seq": each.ledger_seq, "credential": each.credential, "doubt": doubt}
    row |= {"fetched_at": each.time if each.is_fetched else None}
    return row | decided_on(each.fields)


def decided_on(fields: Row | None) -> Row:
    """What an answer about a record decides on, out of its fields; nothing of one that left our view."""
    told: Row = dict.fromkeys(("tin", "status", "status_since", "valid_to", "programme", "scope"))
    if fields is not None:
        told |= {name: fields.get(name) for name in told} | {"scope": " ".join(fields.get("scope", []))}
    return told


def hear(
    parts: Parts,
    connection: Connection,
    peer: Card,
    channel: StoredChannel,
    disclosed: Sequence[Disclosed],
    time: str,
) -> None:
    """Note what notices ask, answer and report; one that says what is not so is an incident, and no more."""
    for each, body in notices_in(disclosed):
        try:
            erasure_notices.received(parts, connection, peer, channel, (each, body), time)
            reporting.received(parts, connection, channel, (each, body))
            telling_reads.received(parts, connection, peer, channel, (each, body))
        except incoming.BROKEN as error:
            why = incoming.why(error)
            row = incidents.row(peer.name, channel.log, each.seq, UNFOUNDED, why, each.body, time)
            incidents.note(connection, row)
