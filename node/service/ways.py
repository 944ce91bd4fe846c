"""The two ways between this node and a partner under one agreement, and the notices that travel on them."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection

from node.errors import Unproven
from node.exchange import outgoing, sealing
from node.exchange.card import Card, channel_origin, ledger_origin
from node.exchange.incoming import Disclosed
from node.exchange.outgoing import Line
from node.ledger import canonical
from node.ledger.entry import ChannelEntry, LedgerEntry
from node.ledger.merkle import leaf_hash
from node.service.batch import Batch
from node.service.parts import Parts
from node.store import channels, logs
from node.store.channels import StoredChannel
from node.store.tables import LEDGER


def channel_of(connection: Connection, log: int) -> StoredChannel:
    """The channel of a log."""
    return channels.by_log(connection)[log]


def origin_of(batch: Batch, log: int) -> str:
    """The origin of the own ledger or of a channel."""
    if log == LEDGER:
        return ledger_origin(batch.parts.settings.name)
    channel = channel_of(batch.connection, log)
    standing = batch.parts.standings.current(batch.connection)[channel.agreement]
    return channel_origin(standing.agreement.party(channel.issuer).name, channel.agreement, channel.partner)


def told_in(parts: Parts, connection: Connection, log: int, seq: int) -> tuple[Any, int | None]:
    """What an entry of a channel to a partner says, and the entry of the own ledger that it rests on."""
    [encoded] = logs.entries(connection, log, seq, seq + 1)
    entry = ChannelEntry.decode(encoded)
    sealed, about = channels.sealed_behind(connection, log, seq, seq + 1)[seq]
    epoch = channels.epochs(connection, log, [entry.epoch])[entry.epoch]
    key = sealing.entry_key(outgoing.held_key(parts.keys.store, entry.channel, epoch), seq)
    return canonical.decode(sealing.unseal(key, sealed, entry.header())), about


def line_to(batch: Batch, agreement: str, partner: str) -> Line | None:
    """The way to a partner under an agreement; None when its node is gone, or has no channel yet."""
    pair = (agreement, partner)
    return next(
        (each for each in batch.lines() if (each.channel.agreement, each.channel.partner) == pair), None
    )


def own_way(parts: Parts, connection: Connection, channel: StoredChannel, origin: str) -> int:
    """The own channel that a notice on the other way names; `Unproven` when it is none between these two."""
    own = channels.channel(connection, channel.agreement, parts.country, channel.issuer)
    if own is None or origin != channel_origin(parts.settings.name, own.agreement, own.partner):
        raise Unproven("a notice is about a channel that is not between us", where=origin)
    return own.log


def stands_in_ledger(connection: Connection, peer: Card, entry: LedgerEntry) -> bool:
    """Whether a partner's ledger, as we copy it, holds this entry at its place."""
    head = logs.head_of(connection, ledger_origin(peer.name))
    assert head is not None, "a ledger's checkpoint is stored before its channels"
    return logs.leaf_reader(connection, head)(entry.seq) == leaf_hash(entry.encode())


Notice = tuple[Disclosed, Any]
"""The entry of a notice, and its body."""


def notices_in(disclosed: Sequence[Disclosed]) -> Iterator[Notice]:
    """The notices among what a page said, each with its body."""
    return ((each, canonical.decode(each.body)) for each in disclosed if each.kind == "notice")
