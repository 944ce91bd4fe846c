"""Queries over what is witnessed: of peers' logs, of own logs by witnesses, of channels over time."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, select

from node.store.database import Prepared, put, put_new, table
from node.store.logs import Head
from node.store.tables import Cosigned, Heartbeat, Witnessed

WITNESSED, COSIGNED, HEARTBEAT = table(Witnessed), table(Cosigned), table(Heartbeat)
_SEEN_COLUMNS = (WITNESSED.c.size, WITNESSED.c.root, WITNESSED.c.note, WITNESSED.c.mark, WITNESSED.c.time)
_SEEN = Prepared(select(*_SEEN_COLUMNS).where(WITNESSED.c.origin == bindparam("of")))
_COSIGNED = Prepared(select(COSIGNED.c.size, COSIGNED.c.note).where(COSIGNED.c.origin == bindparam("of")))
_BEATS = select(HEARTBEAT.c.time, HEARTBEAT.c.note).where(HEARTBEAT.c.log == bindparam("of"))
_NEWEST_BEAT = Prepared(
    _BEATS.where(HEARTBEAT.c.time <= bindparam("until")).order_by(HEARTBEAT.c.time.desc()).limit(1)
)
EVER = "9"
"""Behind every time."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The largest checkpoint of a peer's log that is proven to begin with every one before it.

    `mark`: the oldest size seen that our copy has not reached; `time`: when that was seen.
    """

    size: int
    root: bytes
    note: str
    mark: int
    time: str


@dataclass(frozen=True, slots=True)
class CosignedNote:
    """A checkpoint of an own log, with the cosignatures that its witnesses gave."""

    size: int
    note: str


def seen(connection: Connection, origin: str) -> Seen | None:
    """What was seen of a peer's log, or None."""
    rows = _SEEN.rows(connection, {"of": origin})
    return Seen(*rows[0]) if rows else None


def see(connection: Connection, origin: str, new: Seen) -> None:
    """Keep a checkpoint that follows what was seen before."""
    row = {"origin": origin, "size": new.size, "root": new.root, "note": new.note}
    put(connection, Witnessed, [row | {"mark": new.mark, "time": new.time}])


def cosigned(connection: Connection, origin: str) -> CosignedNote | None:
    """The newest cosigned checkpoint of an own log, or None."""
    rows = _COSIGNED.rows(connection, {"of": origin})
    return CosignedNote(*rows[0]) if rows else None


def keep(connection: Connection, origin: str, size: int, note: str) -> None:
    """Keep a cosigned checkpoint in place of the one before."""
    put(connection, Cosigned, [{"origin": origin, "size": size, "note": note}])


def newest_heartbeat(connection: Connection, log: int, until: str = EVER) -> tuple[str, str] | None:
    """(time, note) of the newest kept checkpoint of an incoming channel up to a time, or None."""
    rows = _NEWEST_BEAT.rows(connection, {"of": log, "until": until})
    return (rows[0][0], rows[0][1]) if rows else None


def heartbeats(connection: Connection, log: int) -> Iterator[tuple[str, str]]:
    """(time, note) of every kept checkpoint of an incoming channel, oldest first."""
    for row in connection.execute(_BEATS.order_by(HEARTBEAT.c.time), {"of": log}):
        yield row.time, row.note


def keep_heartbeat(connection: Connection, log: int, time: str, note: str) -> None:
    """Keep a checkpoint that our copy of a channel is whole under."""
    put_new(connection, Heartbeat, {"log": log, "time": time, "note": note})


def published(connection: Connection, head: Head) -> str:
    """The newest checkpoint of an own log, with the cosignatures that it has."""
    kept = cosigned(connection, head.origin)
    return kept.note if kept is not None and kept.size == head.size else head.checkpoint
