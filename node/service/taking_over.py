"""Taking over what a peer's page proves: copies of its logs, mirror and incidents, all in one transaction.

A later card of the peer is pinned before, by the one writer; it is true whatever becomes of the page.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from node.errors import Unproven
from node.exchange import incoming
from node.exchange.card import Card
from node.exchange.incoming import NEVER, NEVER_SHOWN, Found, Proven
from node.exchange.log_writer import LogWriter, begin
from node.exchange.page import ChannelPart, EntryPart, LedgerPart, News
from node.exchange.standing import Standing
from node.ledger import moment, tiles
from node.ledger.entry import ChannelEntry
from node.service import accusing, copies, erasure_notices, mirror
from node.service.copies import Held
from node.service.parts import Parts
from node.store import channels, incidents, logs, witnessed
from node.store.channels import Mirrored
from node.store.incidents import WHOLE_PEER
from node.store.logs import Head, LeafAt

STRUCTURAL = ("missing", "replaced", "late")
HEARTBEAT_S = 3600
"""One checkpoint of a channel is kept in so long, or twice in the time that a proof may be old."""
STRAYS_LIMIT = 1_000
"""Entries with nothing behind them among which it is looked for a disclosure; beyond, there may be one."""


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
        waited = dict(copies.expected(parts, connection, peer))
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
    held = copies.held_ledger(connection, peer)
    proven = incoming.check_ledger(page, peer, held, latest_s)
    leaves = incoming.new_leaves(page, proven.checkpoint, held)
    writer = LogWriter(connection, held)
    writer.append_leaves(leaves)
    grown = writer.proven(proven.checkpoint, incoming.hashes(page.consistency))
    return Followed(held, proven, leaves, grown)


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
    held = copies.held_channel(parts, connection, peer, page)
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
    newest = copies.newest_reader(connection, held.head.log, held.head.size, before)
    by = copies.reading(parts, connection, peer, standing, keys)
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


def _take_ledger(connection: Connection, ledger: Followed) -> None:
    """Copy the hashes of the peer's ledger."""
    held, proven = ledger.held, ledger.proven
    copies.check_unmoved(connection, held)
    if held.log == copies.NOT_BEGUN:
        held = begin(connection, held.origin, NEVER)
    writer = LogWriter(connection, held)
    writer.append_leaves(ledger.leaves)
    writer.keep(ledger.grown, moment.format(proven.time_s * 1000), proven.note)


def _take_channel(
    parts: Parts, connection: Connection, peer: Card, each: Checked, time: str, *, is_whole: bool
) -> int:
    """Copy the entries, mirror what they say, and note what was set apart; gives the log."""
    held, proven = each.held, each.proven
    copies.check_unmoved(connection, held.head)
    if held.head.log == copies.NOT_BEGUN:
        held = copies.begin_channel(connection, held)
    writer = LogWriter(connection, held.head)
    for entry in each.entries:
        writer.append(entry)
    # Only whole copies, of channel and ledger, are as new as their proof: who keeps entries back must not
    # look up to date.
    is_new = is_whole or held.head.time == NEVER
    proven_at = moment.format(proven.time_s * 1000) if is_new else held.head.time
    writer.copy(proven.checkpoint, proven.note, incoming.hashes(each.page.consistency), proven_at)
    copies.keep_epochs(parts, connection, held, each.keys, each.found.epochs)
    mirror.write(connection, held.head.log, each.found.disclosed, each.before, time)
    _settle(connection, peer, held.head.log, each.found, time)
    mirror.hear(parts, connection, peer, held.channel, each.found.disclosed, time)
    return held.head.log


def _keep_heartbeat(connection: Connection, log: int, each: Checked) -> None:
    """Keep the checkpoint, if the last one that was kept is old enough."""
    last, at_ms = witnessed.newest_heartbeat(connection, log), 1000 * each.proven.time_s
    every_ms = 1000 * min(HEARTBEAT_S, each.max_staleness_s // 2)
    if last is None or at_ms - moment.parse(last[0]) >= every_ms:
        witnessed.keep_heartbeat(connection, log, moment.format(at_ms), each.proven.note)


def _settle(connection: Connection, peer: Card, log: int, found: Found, time: str) -> None:
    """Close incidents about records that a verified entry replaced; note the entries set apart."""
    newest = {each.record_id: each.seq for each in found.disclosed if each.record_id is not None}
    incidents.settle(connection, log, list(newest), time)
    gone = erasure_notices.asked_for(found.disclosed)
    rows = []
    for apart in found.set_apart:
        row = incidents.row(peer.name, log, apart.seq, "invalid", apart.reason, apart.evidence, time)
        overtaken = newest.get(apart.record_id or "", -1) > apart.seq or apart.seq in gone
        rows.append(row | {"record_id": apart.record_id, "closed": time if overtaken else None})
        if apart.record_id is not None and not overtaken:
            channels.doubt(connection, log, apart.record_id, apart.reason)
    incidents.note_all(connection, rows)
