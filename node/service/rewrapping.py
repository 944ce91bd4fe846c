"""Wrapping everything in the store with its newest key, so that the one before can be destroyed.

A part at a time, each in a transaction of its own: a node that holds both keys goes on beside it, and whoever
cut it short begins again. What is sealed under the keys that are wrapped stays as it is.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from node.exchange import sealing
from node.exchange.outgoing import epoch_owner
from node.exchange.sealing import NONCE_BYTES
from node.service.access_writing import OWNER
from node.service.batch import open_body, seal_body
from node.service.parts import Parts
from node.store import access_log, channels, logs, records
from node.store.tables import LEDGER

PART = 1_000
At = TypeVar("At")
Step = Callable[[Parts, Connection, At], tuple[At, int]]
"""Wraps up to `PART` anew from a place on; gives where it came to, and how many."""
Told = Callable[[str, int, int], None]
"""What is wrapped anew, how many are, and of how many."""


def rewrap(parts: Parts, told: Told) -> None:
    """Wrap every record key, epoch key and ledger body anew, and the access log's key.

    `Unproven` for one that no key opens.
    """
    with parts.database.read() as connection:
        record_count, epoch_count = records.count(connection), channels.epoch_count(connection)
        head = logs.head(connection, LEDGER)
        size = head.size if head else 0
    _in_parts(parts, _records, "", partial(told, "record keys"), record_count)
    _in_parts(parts, _epochs, (-1, -1), partial(told, "epoch keys"), epoch_count)
    _in_parts(parts, _bodies, 0, partial(told, "ledger bodies"), size)
    with parts.database.write() as connection:
        state = access_log.state(connection)
        if state is not None:
            access_log.set_wrapped(connection, _anew(parts, state.wrapped, OWNER))


def _in_parts(parts: Parts, step: Step[At], at: At, told: Callable[[int, int], None], of: int) -> None:
    """One step behind the other, until one finds less than it could take."""
    done, count = 0, PART
    while count == PART:
        with parts.database.write() as connection:
            at, count = step(parts, connection, at)
        done += count
        told(min(done, of), of)


def _records(parts: Parts, connection: Connection, after: str) -> tuple[str, int]:
    rows = records.wrapped_after(connection, after, PART)
    records.set_wrapped(connection, {owner: _anew(parts, wrapped, owner) for owner, wrapped in rows})
    return (rows[-1][0] if rows else after), len(rows)


def _epochs(parts: Parts, connection: Connection, after: tuple[int, int]) -> tuple[tuple[int, int], int]:
    rows = channels.wrapped_after(connection, after, PART)
    for log, epoch, wrapped, origin in rows:
        anew = _anew(parts, wrapped, epoch_owner(origin, epoch))
        channels.set_wrapped(connection, log, epoch, anew)
    return (rows[-1][:2] if rows else after), len(rows)


def _bodies(parts: Parts, connection: Connection, start: int) -> tuple[int, int]:
    head = logs.head(connection, LEDGER)
    stop = min(start + PART, head.size if head else 0)
    for seq, sealed in logs.bodies(connection, start, stop).items():
        logs.set_body(connection, seq, seal_body(parts, seq, *open_body(parts, seq, sealed)))
    return stop, stop - start


def _anew(parts: Parts, wrapped: bytes, owner: str) -> bytes:
    key = sealing.unwrap(parts.keys.store, wrapped, owner)
    return sealing.wrap(parts.keys.store, key, owner, parts.entropy(NONCE_BYTES))
