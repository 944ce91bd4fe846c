"""The two ways between this node and a partner under one agreement, and the notices that travel on them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection

from node.errors import Unproven
from node.exchange.card import Card, channel_origin, ledger_origin
from node.exchange.incoming import BROKEN, Disclosed, why
from node.exchange.outgoing import Line
from node.ledger import canonical
from node.service.batch import Batch
from node.service.parts import Parts
from node.store import channels, incidents
from node.store.channels import StoredChannel
from node.store.tables import LEDGER

UNFOUNDED: Final = "unfounded"
"""The kind of an incident: a notice says what is not so."""


def channel_of(connection: Connection, log: int) -> StoredChannel:
    """The channel of a log."""
    return next(each for each in channels.channels(connection) if each.log == log)


def origin_of(batch: Batch, log: int) -> str:
    """The origin of the own ledger or of a channel."""
    if log == LEDGER:
        return ledger_origin(batch.parts.settings.name)
    channel = channel_of(batch.connection, log)
    standing = batch.parts.standings.current(batch.connection)[channel.agreement]
    return channel_origin(standing.agreement.party(channel.issuer).name, channel.agreement, channel.partner)


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


def notices_in(disclosed: Sequence[Disclosed]) -> Iterator[tuple[Disclosed, Any]]:
    """The notices among what a page said, each with its body."""
    return ((each, canonical.decode(each.body)) for each in disclosed if each.kind == "notice")


@contextmanager
def unfounded(
    connection: Connection, peer: Card, channel: StoredChannel, each: Disclosed, time: str
) -> Iterator[None]:
    """What a notice says that is not so becomes an incident, and changes nothing."""
    try:
        yield
    except BROKEN as error:
        row = incidents.row(peer.name, channel.log, each.seq, UNFOUNDED, why(error), each.body, time)
        incidents.note(connection, row)
