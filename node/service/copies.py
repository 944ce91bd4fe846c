"""Our copies of a peer's logs: how far they go, the keys we hold, and what news of them is checked against.

That is read first, and news is checked without holding up the one writer. The transaction that stores
what it proves makes sure, with `check_unmoved`, that the copy has not moved meanwhile.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from node.agreements.document import direction_terms, is_on_demand
from node.errors import Conflict
from node.exchange import sealing
from node.exchange.card import Card, channel_origin, ledger_origin
from node.exchange.incoming import NEVER, Newest, Reading
from node.exchange.log_writer import begin
from node.exchange.outgoing import epoch_owner, held_key
from node.exchange.page import ChannelPart
from node.exchange.serving import CURSORS_LIMIT, Cursors
from node.exchange.standing import Standing, asker
from node.ledger.entry import LedgerEntry
from node.ledger.merkle import EMPTY_ROOT
from node.service.parts import Parts
from node.store import channels, logs
from node.store.channels import Mirrored, StoredChannel, StoredEpoch
from node.store.logs import Head
from node.store.tables import LEDGER

NOT_BEGUN = -1
"""The log number of a copy that does not exist yet."""


@dataclass(frozen=True, slots=True)
class Held:
    """Our copy of a channel before a page: where it ends, and the epoch keys that we hold."""

    channel: StoredChannel
    head: Head
    keys: Mapping[int, bytes] = field(repr=False)


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


def held_ledger(connection: Connection, peer: Card) -> Head:
    """The head of our copy of its ledger; of an empty one where there is none yet."""
    origin = ledger_origin(peer.name)
    return logs.head_of(connection, origin) or Head(NOT_BEGUN, origin, 0, EMPTY_ROOT, None, NEVER, "")


def held_channel(parts: Parts, connection: Connection, peer: Card, page: ChannelPart) -> Held:
    """Our copy of the channel that a page is of, with those of our epoch keys that the page names."""
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


def begin_channel(connection: Connection, held: Held) -> Held:
    """Begin our copy of a channel, empty."""
    head = begin(connection, held.head.origin, NEVER)
    channel = replace(held.channel, log=head.log)
    channels.add_channel(connection, channel)
    return Held(channel, head, {})


def check_unmoved(connection: Connection, held: Head) -> None:
    """Make sure that a copy still ends where it did; `Conflict` when it moved."""
    if logs.head_of(connection, held.origin) != (None if held.log == NOT_BEGUN else held):
        raise Conflict("a copy moved while a page for it was verified", where=held.origin, do="ask again")


def keep_epochs(
    parts: Parts, connection: Connection, held: Held, keys: Mapping[int, bytes], opened: Collection[int]
) -> None:
    """Store the new ones among the epoch keys that opened an entry the issuer signed.

    Anyone can seal a key for us; one that opened nothing must not stand in the way of the true one.
    """
    for number in sorted(set(opened) - held.keys.keys()):
        nonce = parts.entropy(sealing.NONCE_BYTES)
        wrapped = sealing.wrap(parts.keys.store, keys[number], epoch_owner(held.head.origin, number), nonce)
        channels.add_epoch(connection, StoredEpoch(held.head.log, number, wrapped, None))


def reading(
    parts: Parts, connection: Connection, peer: Card, standing: Standing, keys: Mapping[int, bytes]
) -> Reading:
    """What single entries of a channel are checked against, under the agreement as it stands."""
    terms = direction_terms(standing.agreement, peer.country, parts.country, "")
    by = asker(standing, peer.country, parts.card, _ends(connection, parts.card))
    return Reading(peer, tuple(terms["direction"]["fields"]), keys, is_on_demand(terms), by)


def _ends(connection: Connection, own: Card) -> dict[int, int]:
    """{ledger entry: when it was written} of those at which a key for credentials and acts ended."""
    ends = [each.until for each in own.keys["credential"] if each.until is not None]
    found = [(end, logs.entries(connection, LEDGER, end, end + 1)) for end in ends]
    return {end: LedgerEntry.decode(entries[0]).time for end, entries in found if entries}


def newest_reader(connection: Connection, log: int, seq: int, before: dict[str, Mirrored]) -> Newest:
    """Reads mirror rows that `before` lacks into it; counts those that rest on an entry before `seq`."""

    def newest(record_ids: Collection[str]) -> dict[str, int]:
        lacking = [(log, record_id) for record_id in record_ids if record_id not in before]
        rows = channels.mirrored(connection, lacking)
        before.update({record_id: row for (_, record_id), row in rows.items()})
        return {record_id: row.ledger_seq for record_id, row in before.items() if row.seq < seq}

    return newest
