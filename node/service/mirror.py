"""Taking over what a peer's page proves: mirror, cursors and incidents, all in one transaction.

A later card of the peer is pinned before, by the one writer; it is true whatever becomes of the page.

What a page is checked against is read first, and checked without holding up the one writer; the
transaction that stores it makes sure that nothing of that has moved meanwhile.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson
from sqlalchemy import Connection

from node.agreements.document import direction_terms, is_on_demand
from node.errors import Conflict, Unproven
from node.exchange import incoming, sealing
from node.exchange.card import Card, channel_origin, ledger_origin
from node.exchange.incoming import NEVER, NEVER_SHOWN, Disclosed, Found, Newest, Proven, Reading
from node.exchange.log_writer import LogWriter, begin
from node.exchange.outgoing import epoch_owner, held_key
from node.exchange.page import ChannelPart, EntryPart, LedgerPart, News
from node.exchange.serving import CURSORS_LIMIT, Cursors
from node.exchange.standing import Standing, asker
from node.ledger import moment, tiles
from node.ledger.entry import ChannelEntry, LedgerEntry
from node.ledger.merkle import EMPTY_ROOT
from node.service import accusing, erasing, reporting, telling_reads
from node.service.batch import index_row
from node.service.parts import Parts
from node.service.ways import notices_in
from node.store import channels, incidents, logs, records, witnessed
from node.store.channels import Mirrored, StoredChannel, StoredEpoch
from node.store.database import Row, add
from node.store.incidents import FOLDED, WHOLE_PEER
from node.store.logs import Head, LeafAt
from node.store.tables import LEDGER, Change

STRUCTURAL = ("missing", "replaced", "late")
UNFOUNDED = "unfounded"
"""The kind of an incident: a notice says what is not so."""
HEARTBEAT_S = 3600
"""One checkpoint of a channel is kept in so long, or twice in the time that a proof may be old."""
STRAYS_LIMIT = 1_000
"""Entries with nothing behind them among which it is looked for a disclosure; beyond, there may be one."""
NOT_BEGUN = -1
"""The log number of a copy that does not exist yet."""


@dataclass(frozen=True, slots=True)
class Held:
    """Our copy of a channel before a page: where it ends, and the epoch keys that we hold."""

    channel: StoredChannel
    head: Head
    keys: Mapping[int, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Followed:
    """Our copy of the hashes of a peer's ledger before a page, and what the page proves of it."""

    held: Head
    proven: Proven
    leaves: Sequence[bytes]
    grown: tiles.Grown

    @property
    def is_whole(self) -> bool:
        """Whether our copy is complete with these leaves."""
        return self.grown.size == self.proven.checkpoint.size

    def reader(self, connection: Connection) -> tiles.ReadTile:
        """Reads the tiles of our copy with these leaves."""
        kept, new = logs.tile_reader(connection, self.held.log), self.grown.tiles
        return lambda level, index: new.get((level, index)) or kept(level, index)


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken over: the peer's newest card, whether our copy of its ledger is whole, whether the peer
    has more, and whether any copy grew."""

    peer: Card
    is_ledger_whole: bool
    more: bool
    has_grown: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """One channel's part of a page that goes on from our copy, and what its entries say."""

    held: Held
    page: ChannelPart
    proven: Proven
    entries: list[ChannelEntry]
    found: Found
    keys: Mapping[int, bytes] = field(repr=False)
    before: Mapping[str, Mirrored]
    max_staleness_s: int

    @property
    def is_whole(self) -> bool:
        """Whether our copy is complete with these entries."""
        return self.held.head.size + len(self.entries) == self.proven.checkpoint.size


Renew = Callable[[Card], None]
"""Pins a later card of a peer, before anything that rests on it is stored; a refusal ends it."""


def cursors(parts: Parts, connection: Connection, peer: Card, rev: int) -> Cursors:
    """How far we have come with a peer."""
    ledger = logs.head_of(connection, ledger_origin(peer.name))
    sizes = {}
    for number, _ in expected(parts, connection, peer):
        channel = channels.channel(connection, number, peer.country, parts.country)
        head = logs.head(connection, channel.log) if channel else None
        sizes[number] = head.size if head else 0
    return Cursors(peer.number, rev, ledger.size if ledger else 0, sizes)


def expected(parts: Parts, connection: Connection, peer: Card) -> list[tuple[str, Standing]]:
    """The agreements under which this peer has a channel to us."""
    pair = (peer.country, parts.country)
    standings = parts.standings.current(connection)
    found = [
        (number, standing)
        for number, standing in standings.items()
        if pair in standing.ways() and standing.is_with(peer) and standing.is_signed(parts.today())
    ]
    return found[:CURSORS_LIMIT]


def take(parts: Parts, peer: Card, news: News, renew: Renew) -> Taken:
    """Verify a page and store what it proves.

    A `Refusal` means that nothing of it was stored, but for a later card of the peer that it brought.
    """
    now_ms, known = parts.now_ms(), peer
    with parts.database.read() as connection:
        peer = incoming.newest_card(news.card, known)
        ledger = _followed(connection, peer, news.ledger, _latest_s(parts, now_ms))
        if news.card is not None:
            incoming.check_recorded(news.card, known, peer, ledger.proven.checkpoint, ledger.held.size)
        leaf_at = logs.leaf_reader(connection, ledger.held, ledger.leaves)
        waited = dict(expected(parts, connection, peer))
        checked = [
            _checked(parts, connection, peer, page, waited.pop(page.agreement, None), leaf_at, now_ms)
            for page in news.channels
        ]
        if peer is not known and ledger.is_whole:
            accusing.check_begins(connection, peer, ledger.proven, ledger.reader(connection))
    if peer is not known:
        renew(peer)
    time, skew_s = moment.format(now_ms), parts.settings.clock_skew_s
    with parts.database.write() as connection:
        accusing.check_believed(connection, peer)
        _take_ledger(connection, ledger)
        if ledger.is_whole:
            accusing.hold(connection, peer, ledger.proven, now_ms, skew_s)
        for each in checked:
            log = _take_channel(
                parts, connection, peer, each, time, is_whole=each.is_whole and ledger.is_whole
            )
            if each.is_whole:
                incidents.close_kinds(connection, peer.name, log, STRUCTURAL, time)
                accusing.hold(connection, peer, each.proven, now_ms, skew_s)
            if each.is_whole and ledger.is_whole:
                _keep_heartbeat(connection, log, each)
        incidents.close_kinds(connection, peer.name, WHOLE_PEER, (*STRUCTURAL, "invalid"), time)
    is_whole = ledger.is_whole
    more = not (is_whole and all(each.is_whole for each in checked))
    return Taken(peer, is_whole, more, bool(ledger.leaves) or any(each.entries for each in checked))


def _latest_s(parts: Parts, now_ms: int) -> float:
    """The newest time that a peer's clock may show now."""
    return now_ms / 1000 + parts.settings.clock_skew_s


def _followed(connection: Connection, peer: Card, page: LedgerPart, latest_s: float) -> Followed:
    held = _held_ledger(connection, peer)
    proven = incoming.check_ledger(page, peer, held, latest_s)
    leaves = incoming.new_leaves(page, proven.checkpoint, held)
    writer = LogWriter(connection, held)
    writer.append_leaves(leaves)
    grown = writer.proven(proven.checkpoint, incoming.hashes(page.consistency))
    return Followed(held, proven, leaves, grown)


def _held_ledger(connection: Connection, peer: Card) -> Head:
    origin = ledger_origin(peer.name)
    return logs.head_of(connection, origin) or Head(NOT_BEGUN, origin, 0, EMPTY_ROOT, None, NEVER, "")


def _checked(
    parts: Parts,
    connection: Connection,
    peer: Card,
    page: ChannelPart,
    standing: Standing | None,
    leaf_at: LeafAt,
    now_ms: int,
) -> Checked:
    if standing is None:
        what = "a peer sends a channel twice, or of an agreement that is not signed"
        raise Unproven(what, where=page.agreement)
    held = _held(parts, connection, peer, page)
    proven = incoming.prove(page.checkpoint, peer, held.head.origin, _latest_s(parts, now_ms))
    last = logs.entries(connection, held.head.log, held.head.size - 1, held.head.size)
    latest_ms = 1000 * proven.time_s + int(1000 * parts.settings.clock_skew_s)
    # What was all there is at a time leaves nothing to be dated before it.
    proven_ms = moment.parse(held.head.time) - int(1000 * parts.settings.clock_skew_s)
    last_ms = max(proven_ms, ChannelEntry.decode(last[0]).time if last else 0)
    entries = incoming.check_entries(page.entries, held.head, last_ms, latest_ms)
    incoming.check_not_older(proven, held.head)
    keys = incoming.epoch_keys(held.keys, page.epochs, parts.keys.seal, held.head.origin)
    before: dict[str, Mirrored] = {}
    newest = _newest(connection, held.head.log, held.head.size, before)
    by = _reading(parts, connection, peer, standing, keys)
    found = incoming.read(entries, page.entries, by, newest, leaf_at, parts.workshop.examine)
    found = _without_strays(connection, held.head, entries, page.entries, found)
    max_staleness_s = int(standing.agreement.terms["max_staleness_s"])
    return Checked(held, page, proven, entries, found, keys, before, max_staleness_s)


def _without_strays(
    connection: Connection,
    head: Head,
    entries: Sequence[ChannelEntry],
    items: Sequence[EntryPart],
    found: Found,
) -> Found:
    """Tombstones of records that were never disclosed are set apart, where all that was disclosed is here.

    Where an entry is missing, was erased or set apart, the record may be one of those.
    """
    strays = [each for each in found.disclosed if each.kind == "tombstone" and each.ledger_seq == NEVER_SHOWN]
    if not strays:
        return found
    lacking = [ChannelEntry.decode(each) for each in channels.unopened(connection, head.log, STRAYS_LIMIT)]
    lacking += [entries[each.seq - head.size] for each in found.set_apart]
    if len(lacking) >= STRAYS_LIMIT or any(each.kind == "disclosure" for each in lacking):
        return found
    error = Unproven("a record leaves our view that was never disclosed to us")
    apart = [
        incoming.apart(entries[each.seq - head.size], items[each.seq - head.size], each.record_id, error)
        for each in strays
    ]
    told = [each for each in found.disclosed if each not in strays]
    return replace(found, disclosed=told, set_apart=[*found.set_apart, *apart])


def _held(parts: Parts, connection: Connection, peer: Card, page: ChannelPart) -> Held:
    channel = channels.channel(connection, page.agreement, peer.country, parts.country)
    if channel is None:
        new = StoredChannel(NOT_BEGUN, page.agreement, peer.country, parts.country, "", "")
        origin = channel_origin(peer.name, page.agreement, parts.country)
        return Held(new, Head(NOT_BEGUN, origin, 0, EMPTY_ROOT, None, NEVER, ""), {})
    head = logs.head(connection, channel.log)
    assert head is not None, "a channel is stored together with its log"
    stored = channels.epochs(connection, channel.log, [int(number) for number in page.epochs])
    keys = {number: held_key(parts.keys.store, head.origin, epoch) for number, epoch in stored.items()}
    return Held(channel, head, keys)


def _reading(
    parts: Parts, connection: Connection, peer: Card, standing: Standing, keys: Mapping[int, bytes]
) -> Reading:
    terms = direction_terms(standing.agreement, peer.country, parts.country, "")
    by = asker(standing, peer.country, parts.card, _ends(connection, parts.card))
    return Reading(peer, tuple(terms["direction"]["fields"]), keys, is_on_demand(terms), by)


def _ends(connection: Connection, own: Card) -> dict[int, int]:
    """{ledger entry: when it was written} of those at which a key for credentials and acts ended."""
    ends = [each.until for each in own.keys["credential"] if each.until is not None]
    found = [(end, logs.entries(connection, LEDGER, end, end + 1)) for end in ends]
    return {end: LedgerEntry.decode(entries[0]).time for end, entries in found if entries}


def _newest(connection: Connection, log: int, seq: int, before: dict[str, Mirrored]) -> Newest:
    """Reads mirror rows that `before` lacks into it; counts those that rest on an entry before `seq`."""

    def newest(record_ids: Collection[str]) -> dict[str, int]:
        lacking = [(log, record_id) for record_id in record_ids if record_id not in before]
        rows = channels.mirrored(connection, lacking)
        before.update({record_id: row for (_, record_id), row in rows.items()})
        return {record_id: row.ledger_seq for record_id, row in before.items() if row.seq < seq}

    return newest


def _take_ledger(connection: Connection, ledger: Followed) -> None:
    """Copy the hashes of the peer's ledger."""
    held, proven = ledger.held, ledger.proven
    _check_unmoved(connection, held)
    if held.log == NOT_BEGUN:
        held = begin(connection, held.origin, NEVER)
    writer = LogWriter(connection, held)
    writer.append_leaves(ledger.leaves)
    writer.keep(ledger.grown, moment.format(proven.time_s * 1000), proven.note)


def _take_channel(
    parts: Parts, connection: Connection, peer: Card, each: Checked, time: str, *, is_whole: bool
) -> int:
    """Copy the entries, mirror what they say, and note what was set apart; gives the log."""
    held, proven = each.held, each.proven
    _check_unmoved(connection, held.head)
    if held.head.log == NOT_BEGUN:
        held = _begin(connection, held)
    writer = LogWriter(connection, held.head)
    for entry in each.entries:
        writer.append(entry)
    # Only whole copies, of channel and ledger, are as new as their proof: who keeps entries back must not
    # look up to date.
    is_new = is_whole or held.head.time == NEVER
    proven_at = moment.format(proven.time_s * 1000) if is_new else held.head.time
    writer.copy(proven.checkpoint, proven.note, incoming.hashes(each.page.consistency), proven_at)
    _keep_epochs(parts, connection, held, each.keys, each.found.epochs)
    _mirror(connection, held.head.log, each.found.disclosed, each.before, time)
    _settle(connection, peer, held.head.log, each.found, time)
    _hear(parts, connection, peer, held.channel, each.found.disclosed, time)
    return held.head.log


def _hear(
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
            erasing.received(parts, connection, peer, channel, (each, body), time)
            reporting.received(parts, connection, channel, (each, body))
            telling_reads.received(parts, connection, peer, channel, (each, body))
        except incoming.BROKEN as error:
            why = incoming.why(error)
            row = incidents.row(peer.name, channel.log, each.seq, UNFOUNDED, why, each.body, time)
            incidents.note(connection, row)


def _keep_heartbeat(connection: Connection, log: int, each: Checked) -> None:
    """Keep the checkpoint, if the last one that was kept is old enough."""
    last, at_ms = witnessed.newest_heartbeat(connection, log), 1000 * each.proven.time_s
    every_ms = 1000 * min(HEARTBEAT_S, each.max_staleness_s // 2)
    if last is None or at_ms - moment.parse(last[0]) >= every_ms:
        witnessed.keep_heartbeat(connection, log, moment.format(at_ms), each.proven.note)


def _begin(connection: Connection, held: Held) -> Held:
    """Begin our copy of a channel, empty."""
    head = begin(connection, held.head.origin, NEVER)
    channel = replace(held.channel, log=head.log)
    channels.add_channel(connection, channel)
    return Held(channel, head, {})


def _check_unmoved(connection: Connection, held: Head) -> None:
    if logs.head_of(connection, held.origin) != (None if held.log == NOT_BEGUN else held):
        raise Conflict("a copy moved while a page for it was verified", where=held.origin, do="ask again")


def _keep_epochs(
    parts: Parts, connection: Connection, held: Held, keys: Mapping[int, bytes], opened: Collection[int]
) -> None:
    """Store the new ones among the epoch keys that opened an entry the issuer signed.

    Anyone can seal a key for us; one that opened nothing must not stand in the way of the true one.
    """
    for number in sorted(set(opened) - held.keys.keys()):
        nonce = parts.entropy(sealing.NONCE_BYTES)
        wrapped = sealing.wrap(parts.keys.store, keys[number], epoch_owner(held.head.origin, number), nonce)
        channels.add_epoch(connection, StoredEpoch(held.head.log, number, wrapped, None))


def _mirror(
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
    channels.put_mirror(connection, [_mirror_row(log, each, doubt) for each in newest.values()], history)
    # What was disclosed and left our view again within one page must be found too: it is not unknown.
    found_by = {record_id: index_row(fields) for record_id, fields in named.items()}
    changed = {each: row for each, row in found_by.items() if row != _found_by(before.get(each))}
    records.index(connection, log, changed)
    gone = [record_id for record_id, each in newest.items() if each.fields is None]
    records.clear_names(connection, log, gone)
    add(connection, Change, _changes(log, disclosed, before, time))


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


def _settle(connection: Connection, peer: Card, log: int, found: Found, time: str) -> None:
    """Close incidents about records that a verified entry replaced; note the entries set apart."""
    newest = {each.record_id: each.seq for each in found.disclosed if each.record_id is not None}
    incidents.settle(connection, log, list(newest), time)
    gone = erasing.asked_for(found.disclosed)
    rows = []
    for apart in found.set_apart:
        row = incidents.row(peer.name, log, apart.seq, "invalid", apart.reason, apart.evidence, time)
        overtaken = newest.get(apart.record_id or "", -1) > apart.seq or apart.seq in gone
        rows.append(row | {"record_id": apart.record_id, "closed": time if overtaken else None})
        if apart.record_id is not None and not overtaken:
            channels.doubt(connection, log, apart.record_id, apart.reason)
    incidents.note_all(connection, rows)


def _history_row(log: int, each: Disclosed, time: str) -> Row:
    row = {"log": log, "seq": each.seq, "record_id": each.record_id, "kind": each.kind}
    return row | {"time": each.time, "received_at": time, "body": each.body}


def _mirror_row(log: int, each: Disclosed, doubt: str | None) -> Row:
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


def unopened(parts: Parts, connection: Connection, peer: Card) -> dict[str, list[Row]]:
    """By agreement, in order: the open incidents about entries of which nobody can say whom they concern.

    Only those due to be asked for again: the pause is as long as it has been tried for, so it doubles.
    """
    now_ms, found = parts.now_ms(), {}
    for number, _ in expected(parts, connection, peer):
        channel = channels.channel(connection, number, peer.country, parts.country)
        rows = _open_ones(connection, peer, channel.log) if channel else []
        due = [row for row in rows if row["record_id"] is None and _is_due(row, now_ms)]
        if due:
            found[number] = due
    return found


def _open_ones(connection: Connection, peer: Card, log: int) -> list[Row]:
    """The open incidents about single entries of a channel, in their order."""
    rows = incidents.still_open(connection, peer.name, log)
    return [row for row in rows if row["kind"] == "invalid" and row["seq"] != FOLDED]


def _is_due(row: Row, now_ms: int) -> bool:
    first, last = moment.parse(row["first_seen"]), moment.parse(row["last_seen"])
    return now_ms - last >= last - first


@dataclass(frozen=True, slots=True)
class Late:
    """One entry read again: the incident it has, what it says now, and its record's mirror row before."""

    incident: int
    found: Found
    before: Mapping[str, Mirrored]


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """What the entries of one channel that did not open before say now."""

    held: Held
    keys: Mapping[int, bytes] = field(repr=False)
    entries: list[Late]


def take_again(parts: Parts, peer: Card, news: News) -> None:
    """Take over what did not open before and holds now; what still does not renews its incident.

    Only entries that stand in our copy count, so nothing but their bodies, keys and proofs is new here.
    """
    now_ms = parts.now_ms()
    pages = {page.agreement: page for page in news.channels}
    with parts.database.read() as connection:
        ledger = _held_ledger(connection, peer)
        leaf_at = logs.leaf_reader(connection, ledger)
        standings = dict(expected(parts, connection, peer))
        again = [
            _read_again(parts, connection, peer, pages[number], standings[number], leaf_at, rows)
            for number, rows in unopened(parts, connection, peer).items()
            if number in pages
        ]
    with parts.database.write() as connection:
        accusing.check_believed(connection, peer)
        for each in again:
            _check_unmoved(connection, each.held.head)
            _take_again(parts, connection, peer, each, moment.format(now_ms))


def _read_again(
    parts: Parts,
    connection: Connection,
    peer: Card,
    page: ChannelPart,
    standing: Standing,
    leaf_at: LeafAt,
    rows: list[Row],
) -> ReadAgain:
    held, items = _held(parts, connection, peer, page), {item.entry: item for item in page.entries}
    keys = incoming.epoch_keys(held.keys, page.epochs, parts.keys.seal, held.head.origin)
    log, by, entries = held.head.log, _reading(parts, connection, peer, standing, keys), list[Late]()
    before: dict[str, Mirrored] = {}
    for row in rows:
        [encoded] = logs.entries(connection, log, row["seq"], row["seq"] + 1)
        item = items.get(encoded.decode()) or EntryPart(entry=encoded.decode(), body=None)
        if item.body is None and row is not rows[0]:
            continue  # perhaps behind the end of the page: the next time asks from there
        newest = _newest(connection, log, row["seq"], before)
        found = incoming.read([ChannelEntry.decode(encoded)], [item], by, newest, leaf_at)
        named = {each.record_id: each for each in found.disclosed if each.record_id is not None}
        entries.append(Late(row["incident"], found, {each: before[each] for each in named if each in before}))
        for record_id, each in named.items():
            if not _is_overtaken(each, before):
                before[record_id] = Mirrored(**_mirror_row(log, each, None))
    return ReadAgain(held, keys, entries)


def _take_again(parts: Parts, connection: Connection, peer: Card, again: ReadAgain, time: str) -> None:
    """Store what was read again of a channel; an incident that was closed meanwhile stays as it is."""
    log, epochs = again.held.head.log, set[int]()
    open_ones = {row["incident"]: row for row in _open_ones(connection, peer, log)}
    for late in again.entries:
        if late.incident not in open_ones:
            continue
        epochs |= late.found.epochs
        for each in late.found.disclosed:
            _take_late(connection, log, each, late.before, list(open_ones.values()), time)
            incidents.close(connection, late.incident, time)
        _hear(parts, connection, peer, again.held.channel, late.found.disclosed, time)
        for apart in late.found.set_apart:
            row = incidents.row(peer.name, log, apart.seq, "invalid", apart.reason, b"", time)
            incidents.note(connection, row)
    _keep_epochs(parts, connection, again.held, again.keys, epochs)


def _take_late(
    connection: Connection,
    log: int,
    each: Disclosed,
    before: Mapping[str, Mirrored],
    open_ones: list[Row],
    time: str,
) -> None:
    """Mirror an entry that opened late, behind what came after it about the same record."""
    if _is_overtaken(each, before):
        channels.put_mirror(connection, [], [_history_row(log, each, time)])
        add(connection, Change, _changes(log, [each], before, time))
        return
    about = [row for row in open_ones if row["record_id"] is not None and row["record_id"] == each.record_id]
    doubts = [str(row["detail"]) for row in about if row["seq"] > each.seq]
    _mirror(connection, log, [each], before, time, doubts[-1] if doubts else None)
    for row in about:
        if row["seq"] < each.seq:
            incidents.close(connection, row["incident"], time)


def _is_overtaken(each: Disclosed, before: Mapping[str, Mirrored]) -> bool:
    """Whether our copy of the record rests on a later entry already."""
    newer = before.get(each.record_id or "")
    return newer is not None and newer.seq > each.seq
