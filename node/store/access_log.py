"""Queries over the access log: its state, the bodies beside its entries, which entries are about a record."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from node.ledger.encoding import b64u
from node.store.database import add, put, put_new, table
from node.store.tables import ACCESS, AccessBody, AccessForgotten, AccessSegment, AccessState, AccessTold

STATE, BODY, TOLD = table(AccessState), table(AccessBody), table(AccessTold)
SEGMENT, FORGOTTEN = table(AccessSegment), table(AccessForgotten)

PART = 500
BLOCK = 10_000
"""Rows of a block, or as many more as the reads that are taken over together have."""
Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class State:
    """The wrapped key, the newest `expired` entry, and what the ledger last committed to."""

    log: int
    wrapped: bytes
    expired: int | None
    committed_size: int
    committed_at: str
    block: int
    block_rows: int


def state(connection: Connection) -> State | None:
    """The state of the access log; None before it has begun."""
    row = connection.execute(select(STATE).where(STATE.c.log == ACCESS)).first()
    return State(*row) if row else None


def begin(connection: Connection, wrapped: bytes, time: str) -> None:
    """Keep the state of a new access log."""
    row = {"log": ACCESS, "wrapped": wrapped, "expired": None, "committed_size": 0, "committed_at": time}
    row |= {"block": 0, "block_rows": 0}
    add(connection, AccessState, [row])


def set_wrapped(connection: Connection, wrapped: bytes) -> None:
    """Keep its key as it was wrapped anew."""
    connection.execute(update(STATE).values(wrapped=wrapped))


def set_committed(connection: Connection, size: int, time: str) -> None:
    """Note what the ledger commits to."""
    connection.execute(update(STATE).values(committed_size=size, committed_at=time))


def set_expired(connection: Connection, seq: int) -> None:
    """Note the newest entry by which bodies were removed for their age."""
    connection.execute(update(STATE).values(expired=seq))


def is_taken(connection: Connection, segment: str) -> bool:
    """Whether a file of reads was taken over already."""
    return connection.execute(select(SEGMENT.c.name).where(SEGMENT.c.name == segment)).first() is not None


def take(connection: Connection, segment: str, gone: Sequence[str]) -> None:
    """Note that a file is taken over, and that those taken before it are gone."""
    put_new(connection, AccessSegment, {"name": segment})
    if gone:
        connection.execute(delete(SEGMENT).where(SEGMENT.c.name.in_(gone)))


def add_bodies(
    connection: Connection, sealed: Sequence[tuple[int, bytes]], told: Sequence[tuple[int, str, int]]
) -> None:
    """Keep (entry, body) of new entries, and (log, record, entry) of what they are about."""
    found = connection.execute(select(STATE.c.block, STATE.c.block_rows)).one()
    block, rows = (found.block, found.block_rows) if found.block_rows < BLOCK else (found.block + 1, 0)
    add(connection, AccessBody, [{"seq": seq, "block": block, "sealed": each} for seq, each in sealed])
    _add_told(connection, block, told)
    connection.execute(update(STATE).values(block=block, block_rows=rows + len(told)))


def _add_told(connection: Connection, block: int, told: Sequence[tuple[int, str, int]]) -> None:
    """Rows about in the order of the table, so that a page is seldom looked for twice.

    A file takes many in one statement: row by row, the driver would contend for the interpreter with whoever
    answers meanwhile.
    """
    rows = sorted(told, key=itemgetter(1))
    whole = len(rows) - len(rows) % PART if connection.dialect.name == "sqlite" else 0
    for start in range(0, whole, PART):
        values = tuple(chain.from_iterable((block, *row) for row in rows[start : start + PART]))
        connection.exec_driver_sql(_ADD_MANY, values)
    names = ("block", "log", "record_id", "seq")
    add(connection, AccessTold, [dict(zip(names, (block, *row), strict=True)) for row in rows[whole:]])


_ADD_MANY = "INSERT INTO access_told (block, log, record_id, seq) VALUES (?, ?, ?, ?)"
_ADD_MANY += ", (?, ?, ?, ?)" * (PART - 1)


def bodies(connection: Connection, start: int, stop: int) -> dict[int, bytes]:
    """The sealed bodies of the entries `start` up to, not including, `stop`."""
    found = select(BODY).where(BODY.c.seq >= start, BODY.c.seq < stop)
    return {row.seq: row.sealed for row in connection.execute(found)}


def has_bodies(connection: Connection, before: int) -> bool:
    """Whether any entry before a number has its body."""
    return connection.execute(select(BODY.c.seq).where(BODY.c.seq < before).limit(1)).first() is not None


def set_body(connection: Connection, seq: int, sealed: bytes) -> None:
    """Keep a body of which a part was forgotten."""
    connection.execute(update(BODY).where(BODY.c.seq == seq).values(sealed=sealed))


def remove_before(connection: Connection, before: int, limit: int) -> int:
    """Remove up to `limit` bodies of entries before a number, and what they are about; gives how many."""
    found = select(BODY.c.seq, BODY.c.block).where(BODY.c.seq < before).order_by(BODY.c.seq).limit(limit)
    rows = connection.execute(found).all()
    if rows:
        last = rows[-1]
        connection.execute(delete(TOLD).where(TOLD.c.block <= last.block, TOLD.c.seq <= last.seq))
        connection.execute(delete(BODY).where(BODY.c.seq <= last.seq))
    return len(rows)


def about(connection: Connection, keys: Iterable[Key], since: int = 0) -> list[int]:
    """The entries from a number on that are about any of these records, oldest first."""
    found: set[int] = set()
    for which in _about(connection, keys):
        found.update(connection.execute(select(TOLD.c.seq).where(*which, TOLD.c.seq >= since)).scalars())
    return sorted(found)


def about_log(connection: Connection, log: int, start: int, stop: int) -> list[int]:
    """The entries `start` up to, not including, `stop` that are about records of one log, oldest first."""
    newest = connection.execute(select(STATE.c.block)).scalar_one()
    since = select(BODY.c.block).where(BODY.c.seq >= start).order_by(BODY.c.seq).limit(1)
    oldest = connection.execute(since).scalar()
    found: set[int] = set()
    for at in range(newest + 1 if oldest is None else oldest, newest + 1, PART):
        of_these = (TOLD.c.block.in_(range(at, min(at + PART, newest + 1))), TOLD.c.log == log)
        seqs = select(TOLD.c.seq).where(*of_these, TOLD.c.seq >= start, TOLD.c.seq < stop).distinct()
        found.update(connection.execute(seqs).scalars())
    return sorted(found)


def first_body(connection: Connection) -> int | None:
    """The oldest entry that has its body; None when none has."""
    return connection.execute(select(func.min(BODY.c.seq))).scalar()


def _about(connection: Connection, keys: Iterable[Key]) -> Iterator[tuple[ColumnElement[bool], ...]]:
    """The rows about records, some blocks at a time: each block is looked into, none is walked through."""
    newest = connection.execute(select(STATE.c.block)).scalar_one()
    oldest = connection.execute(select(BODY.c.block).order_by(BODY.c.seq).limit(1)).scalar() or 0
    for log, record_id in keys:
        for start in range(oldest, newest + 1, PART):
            blocks = range(start, min(start + PART, newest + 1))
            yield TOLD.c.block.in_(blocks), TOLD.c.log == log, TOLD.c.record_id == record_id


def told_of(connection: Connection, start: int, stop: int) -> set[tuple[int, str, int]]:
    """(log, record, entry) of all that the entries `start` to `stop` are found by."""
    blocks = select(BODY.c.block).where(BODY.c.seq >= start, BODY.c.seq < stop).distinct()
    found = select(TOLD.c.log, TOLD.c.record_id, TOLD.c.seq)
    found = found.where(TOLD.c.block.in_(blocks), TOLD.c.seq >= start, TOLD.c.seq < stop)
    return {(row.log, row.record_id, row.seq) for row in connection.execute(found)}


def counts(connection: Connection) -> tuple[int, int]:
    """(bodies, rows that say what they are about)."""
    of_bodies = connection.execute(select(func.count()).select_from(BODY)).scalar_one()
    return of_bodies, connection.execute(select(func.count()).select_from(TOLD)).scalar_one()


def forget(connection: Connection, keys: Collection[Key], until_ms: int) -> None:
    """Nothing more is to be said about these records by reads up to a moment."""
    put(connection, AccessForgotten, [{"digest": digest_of(key), "until_ms": until_ms} for key in keys])


def digest_of(key: Key) -> str:
    """Names a record that is forgotten, without saying which it was."""
    log, record_id = key
    return b64u(hashlib.sha256(f"{log}:{record_id}".encode()).digest())


def untell(connection: Connection, keys: Collection[Key], since: int) -> None:
    """These records are found by no entry from a number on any more."""
    for which in _about(connection, keys):
        connection.execute(delete(TOLD).where(*which, TOLD.c.seq >= since))


def forgotten(connection: Connection) -> dict[str, int]:
    """The digests of the records that are forgotten, and up to when."""
    return {row.digest: row.until_ms for row in connection.execute(select(FORGOTTEN))}
