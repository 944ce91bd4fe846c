"""Telling the issuer how often its operators were read here, where the terms have `report_reads`.

 1. When the ledger has committed to the access log (`CommitHead`), what was read of each partner's operators
    up to there, since the last time, is counted beside the writer (`due`): at most every
    `report_reads_every_s` under one agreement, and not when nothing was read.
 2. The counts go out on the way back, in parts, all in one transaction (`TellReads`). If the process dies
    before it commits, nothing was told, and the next commitment tells it; after it, nothing is told twice.
 3. The issuer holds what a notice says against what it told, and against its copy of the reader's ledger
    (`received`); what is not so becomes an incident `unfounded` and changes nothing.

Who read stays with the reader. What was told goes when the record is erased (`erasing`); what was told of
other records in the same notice stays counted, though the notice itself has no body any more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from node.errors import Unproven
from node.exchange import reads
from node.exchange.card import Card, ledger_origin
from node.exchange.reads import MOST_ROWS, Reads
from node.ledger import canonical, moment
from node.ledger.entry import ChannelEntry, LedgerEntry
from node.service import reading_access
from node.service.batch import Batch, SmallWork, open_body
from node.service.parts import Parts
from node.service.reading_access import Counted
from node.service.ways import Notice, channel_of, line_to, origin_of, own_way, stands_in_ledger
from node.store import channels, erasures, logs, records
from node.store import reads as store
from node.store.channels import StoredChannel
from node.store.reads import StoredReads
from node.store.tables import LEDGER

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Committed:
    """An entry of the ledger that commits to the access log, and how many entries that had."""

    ledger_seq: int
    size: int


@dataclass(frozen=True, slots=True)
class TellReads(SmallWork):
    """Tell the issuer of an incoming channel what was read of its operators since `start`."""

    log: int
    start: int
    committed: Committed
    counts: Mapping[Counted, int]

    def run(self, batch: Batch) -> int:
        """Tell it; gives how many notices, none where it was told meanwhile or nobody is there to hear it."""
        channel, connection = channel_of(batch.connection, self.log), batch.connection
        line = line_to(batch, channel.agreement, channel.issuer)
        if line is None:
            return 0
        batch.flush()
        since, start = _told_up_to(connection, channel, line.channel.log)
        rows = self._rows(connection) if start == self.start else []
        [encoded] = logs.entries(connection, LEDGER, self.committed.ledger_seq, self.committed.ledger_seq + 1)
        parts = [rows[at : at + MOST_ROWS] for at in range(0, len(rows), MOST_ROWS)]
        for number, part in enumerate(parts, 1):
            named = tuple((row["entry"], row["kind"], row["purpose"], row["times"]) for row in part)
            entry = LedgerEntry.decode(encoded)
            said = Reads(origin_of(batch, channel.log), since, entry, number, len(parts), named)
            seq = batch.notice(line, said.body(), entry.seq)
            kept = _kept(said, line.channel.log, seq, channel.log, batch.time)
            store.keep(connection, kept | {"size": self.committed.size}, part)
        return len(parts)

    def _rows(self, connection: Connection) -> list[Json]:
        """What is told, in order; of a record that was erased meanwhile nothing is."""
        record_ids = sorted({record_id for record_id, _, _ in self.counts})
        told = store.told_of(connection, self.log, record_ids)
        tins = {
            each.record_id: each.tin or ""
            for part in erasures.parts_of(record_ids)
            for each in channels.mirrored(connection, [(self.log, each) for each in part]).values()
        }
        rows = [
            {"entry": told[of], "kind": kind, "purpose": purpose}
            | {"record_id": of, "tin": tins.get(of, ""), "times": times}
            for (of, kind, purpose), times in self.counts.items()
            if of in told
        ]
        return sorted(rows, key=lambda row: (row["entry"], row["kind"], row["purpose"]))


def due(parts: Parts, committed: Committed) -> list[TellReads]:
    """What is to be told now: of each partner's channel whose terms ask for it, if anything was read."""
    found = list[TellReads]()
    latest_ms = parts.now_ms() - int(1000 * parts.settings.report_reads_every_s)
    with parts.database.read(at_length=True) as connection:
        for channel in channels.channels(connection):
            back = channels.channel(connection, channel.agreement, parts.country, channel.issuer)
            if channel.partner != parts.country or back is None:
                continue
            since, start = _told_up_to(connection, channel, back.log)
            if _is_asked(parts, connection, channel) and moment.parse(since) <= latest_ms:
                counts = reading_access.reads_of(parts, connection, channel.log, start, committed.size)
                found += [TellReads(channel.log, start, committed, counts)] if counts else []
    return found


def _is_asked(parts: Parts, connection: Connection, channel: StoredChannel) -> bool:
    terms = parts.standings.current(connection)[channel.agreement].agreement.terms
    return bool(terms.get("report_reads"))


def _told_up_to(connection: Connection, channel: StoredChannel, back: int) -> tuple[str, int]:
    """(moment, size of the access log) up to which the issuer was told on the way back."""
    last = store.last(connection, back)
    return (last.until, last.size or 0) if last else (_begun(connection, channel.log), 0)


def _begun(connection: Connection, log: int) -> str:
    """When a channel began: nothing of it was read before."""
    first = logs.entries(connection, log, 0, 1)
    return moment.format(ChannelEntry.decode(first[0]).time if first else 0)


def _kept(said: Reads, log: int, seq: int, about: int, time: str) -> Json:
    kept: Json = {"log": log, "seq": seq, "about": about, "since": said.since, "until": said.until}
    return kept | {"ledger_seq": said.entry.seq, "part": said.part, "parts": said.of, "time": time}


# What notices say


def received(parts: Parts, connection: Connection, peer: Card, back: StoredChannel, notice: Notice) -> None:
    """Note what a notice of a channel tells of reads; a `Refusal` where it says what is not so."""
    each, body = notice
    said = reads.read(body)
    if said is None:
        return
    log = own_way(parts, connection, back, said.channel)
    if not _is_asked(parts, connection, back):
        raise Unproven("a partner tells of reads, which the terms do not ask for", where=f"entry {each.seq}")
    _check_committed(connection, peer, said.entry)
    _check_follows(store.last(connection, back.log, each.seq), said)
    owners = _records(connection, log, [entry for entry, *_ in said.rows])
    tins = {
        found.record_id: found.tin
        for part in erasures.parts_of(sorted(set(owners.values())))
        for found in records.newest(connection, part)
    }
    rows: list[Json] = [
        {"entry": entry, "kind": kind, "purpose": purpose, "times": times}
        | {"record_id": owners[entry], "tin": tins[owners[entry]]}
        for entry, kind, purpose, times in said.rows
        if entry in owners
    ]
    store.keep(connection, _kept(said, back.log, each.seq, LEDGER, each.time), rows)


def _check_committed(connection: Connection, peer: Card, entry: LedgerEntry) -> None:
    """`Unproven` unless the partner's ledger, as we copy it, holds the entry that ends the period."""
    if entry.country != peer.country or not stands_in_ledger(connection, peer, entry):
        what = "the period of reads does not end with an entry of the ledger of who tells them"
        raise Unproven(what, where=f"{peer.name}, ledger entry {entry.seq}")


def _check_follows(last: StoredReads | None, said: Reads) -> None:
    """`Unproven` when a period was told of before, or a part of it; what is missing is shown as such."""
    if last is None:
        return
    if last.ledger_seq == said.entry.seq:
        is_next = last.part < said.part and (last.since, last.parts) == (said.since, said.of)
    else:
        is_next = last.ledger_seq < said.entry.seq and last.until <= said.since
    if not is_next:
        raise Unproven("the reads of a period are told twice", where=f"{said.since} to {said.until}")


def _records(connection: Connection, log: int, entries: Sequence[int]) -> dict[int, str]:
    """{entry: own record} of entries of an own channel; those that were erased are left out."""
    found = store.records_at(connection, log, entries)
    for entry in sorted(set(entries)):
        encoded = logs.entries(connection, log, entry, entry + 1)
        if not encoded or ChannelEntry.decode(encoded[0]).kind == "notice":
            raise Unproven("reads are about an entry that told of no operator", where=f"entry {entry}")
        if entry not in found and not erasures.erased(connection, log, entry, entry + 1):
            raise Unproven("reads are about a record that is not here", where=f"entry {entry}")
    return found


# What is shown


def listed(parts: Parts, connection: Connection, identifier: str, before: int, limit: int) -> list[Json]:
    """The notices before a number, newest first; with `identifier` those about it, and of them what is."""
    record_ids = _meant(connection, identifier) if identifier else []
    if identifier and not record_ids:
        return []
    known = channels.by_log(connection)
    return [
        _shown(parts, connection, known, each, record_ids)
        for each in store.listed(connection, before, limit, record_ids)
    ]


def _meant(connection: Connection, identifier: str) -> list[str]:
    return sorted({identifier, *(record_id for _, record_id in records.carrying(connection, identifier))})


def _shown(
    parts: Parts,
    connection: Connection,
    known: Mapping[int, StoredChannel],
    told: StoredReads,
    record_ids: Sequence[str],
) -> Json:
    back, is_received = known[told.log], told.about == LEDGER
    reader = parts.standings.current(connection)[back.agreement].agreement.party(back.issuer)
    rows = [
        {"record_id": row.record_id, "tin": row.tin, "kind": row.kind, "purpose": row.purpose}
        | {"times": row.times}
        for row in store.counted(connection, told.told)
        if not record_ids or row.record_id in record_ids
    ]
    return {
        "notice": told.told,
        "direction": "received" if is_received else "sent",
        "partner": back.issuer if is_received else back.partner,
        "agreement": back.agreement,
        "from": told.since,
        "to": told.until,
        "part": told.part,
        "parts": told.parts,
        "follows": _follows(connection, back, told),
        "told_at": told.time,
        "ledger": {"origin": ledger_origin(reader.name), "seq": told.ledger_seq},
        "access": None if is_received else _head(parts, connection, told.ledger_seq),
        "reads": rows,
    }


def _follows(connection: Connection, back: StoredChannel, told: StoredReads) -> bool:
    """Whether nothing is missing between this and what was told before."""
    last = store.last(connection, told.log, told.seq)
    if last is not None and told.part > 1:
        return (last.ledger_seq, last.part) == (told.ledger_seq, told.part - 1)
    if last is not None:
        return last.part == last.parts and last.until == told.since
    forth = channels.channel(connection, back.agreement, back.partner, back.issuer)
    return told.part == 1 and forth is not None and told.since == _begun(connection, forth.log)


def _head(parts: Parts, connection: Connection, ledger_seq: int) -> Json:
    """What an entry of the own ledger commits to: size and root of the access log."""
    _, content = open_body(parts, ledger_seq, logs.body(connection, ledger_seq))
    body: Any = canonical.decode(content)
    return {name: body["access"][name] for name in ("size", "root")}
