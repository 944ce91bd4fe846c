"""Entries of a peer that did not open when they came: asked for once more, read again, taken over late."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from node.exchange import incoming
from node.exchange.card import Card
from node.exchange.incoming import Disclosed, Found
from node.exchange.page import ChannelPart, EntryPart, News
from node.exchange.standing import Standing
from node.ledger import moment
from node.ledger.entry import ChannelEntry
from node.service import accusing, copies, mirror
from node.service.copies import Held, expected
from node.service.parts import Parts
from node.store import channels, incidents, logs
from node.store.channels import Mirrored
from node.store.database import Row
from node.store.incidents import FOLDED
from node.store.logs import LeafAt


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


def _is_due(row: Row, now_ms: int) -> bool:
    first, last = moment.parse(row["first_seen"]), moment.parse(row["last_seen"])
    return now_ms - last >= last - first


def take_again(parts: Parts, peer: Card, news: News) -> None:
    """Take over what did not open before and holds now; what still does not renews its incident.

    Only entries that stand in our copy count, so nothing but their bodies, keys and proofs is new here.
    """
    now_ms = parts.now_ms()
    pages = {page.agreement: page for page in news.channels}
    with parts.database.read() as connection:
        ledger = copies.held_ledger(connection, peer)
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
            copies.check_unmoved(connection, each.held.head)
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
    held = copies.held_channel(parts, connection, peer, page)
    items = {item.entry: item for item in page.entries}
    keys = incoming.epoch_keys(held.keys, page.epochs, parts.keys.seal, held.head.origin)
    log, by, entries = held.head.log, copies.reading(parts, connection, peer, standing, keys), list[Late]()
    before: dict[str, Mirrored] = {}
    for row in rows:
        [encoded] = logs.entries(connection, log, row["seq"], row["seq"] + 1)
        item = items.get(encoded.decode()) or EntryPart(entry=encoded.decode(), body=None)
        if item.body is None and row is not rows[0]:
            continue  # perhaps behind the end of the page: the next time asks from there
        newest = copies.newest_reader(connection, log, row["seq"], before)
        found = incoming.read([ChannelEntry.decode(encoded)], [item], by, newest, leaf_at)
        named = {each.record_id: each for each in found.disclosed if each.record_id is not None}
        entries.append(Late(row["incident"], found, {each: before[each] for each in named if each in before}))
        for record_id, each in named.items():
            if not _is_overtaken(each, before):
                before[record_id] = Mirrored(**mirror.newest_row(log, each, None))
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
        mirror.hear(parts, connection, peer, again.held.channel, late.found.disclosed, time)
        for apart in late.found.set_apart:
            row = incidents.row(peer.name, log, apart.seq, "invalid", apart.reason, b"", time)
            incidents.note(connection, row)
    copies.keep_epochs(parts, connection, again.held, again.keys, epochs)


def _open_ones(connection: Connection, peer: Card, log: int) -> list[Row]:
    """The open incidents about single entries of a channel, in their order."""
    rows = incidents.still_open(connection, peer.name, log)
    return [row for row in rows if row["kind"] == "invalid" and row["seq"] != FOLDED]


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
        mirror.write_overtaken(connection, log, each, before, time)
        return
    about = [row for row in open_ones if row["record_id"] is not None and row["record_id"] == each.record_id]
    doubts = [str(row["detail"]) for row in about if row["seq"] > each.seq]
    mirror.write(connection, log, [each], before, time, doubts[-1] if doubts else None)
    for row in about:
        if row["seq"] < each.seq:
            incidents.close(connection, row["incident"], time)


def _is_overtaken(each: Disclosed, before: Mapping[str, Mirrored]) -> bool:
    """Whether our copy of the record rests on a later entry already."""
    newer = before.get(each.record_id or "")
    return newer is not None and newer.seq > each.seq
