"""What was disclosed about an own operator, to whom and when: every entry of every channel about it."""

from typing import Any

from sqlalchemy import Connection

from node.errors import NotFound
from node.exchange import outgoing, versions
from node.ledger import moment
from node.ledger.entry import ChannelEntry
from node.service.parts import Parts
from node.service.ways import told_in
from node.store import channels, erasures, logs, records
from node.store.channels import StoredChannel


def report(parts: Parts, connection: Connection, tin: str) -> list[dict[str, Any]]:
    """Each disclosure, tombstone and acknowledgement about an own operator, oldest first.

    `NotFound` when there is none.
    """
    found = records.newest_by_tin(connection, [tin])
    if tin not in found:
        raise NotFound("no own operator has this TIN", where=tin)
    record_id = found[tin].record_id
    known = {stored.ledger_seq: stored for stored in records.versions(connection, record_id)}
    entries = erasures.own_entries(connection, record_id)
    told = [
        _told(parts, connection, channel, seq, known)
        for channel in channels.channels(connection)
        for seq in entries.get(channel.log, ())
    ]
    return sorted(told, key=lambda each: (each["time"], each["agreement"], each["channel_seq"]))


def _told(
    parts: Parts,
    connection: Connection,
    channel: StoredChannel,
    seq: int,
    known: dict[int, records.StoredVersion],
) -> dict[str, Any]:
    [encoded] = logs.entries(connection, channel.log, seq, seq + 1)
    entry = ChannelEntry.decode(encoded)
    body, about = told_in(parts, connection, channel.log, seq)
    fields, asked = list[str](), None
    if entry.kind == "disclosure" and about is not None:
        version = versions.unseal(known[about], parts.keys.store)
        shown = outgoing.shown_paths(version, body["credential"])
        fields = [each for each in shown if each != outgoing.LIST_ALONE]
        asked = body.get("told")
    return {
        "time": moment.format(entry.time),
        "partner": channel.partner,
        "agreement": channel.agreement,
        "kind": entry.kind,
        "fields": fields,
        "asked": asked,
        "channel_seq": seq,
        "ledger_seq": about,
    }
