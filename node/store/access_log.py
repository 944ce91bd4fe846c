"""Queries over the access log: its state, the bodies beside its entries, which entries are about a record."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, tuple_, update

from node.store.database import add, put, put_new, table
from node.store.tables import ACCESS, AccessBody, AccessForgotten, AccessSegment, AccessState, AccessTold

STATE, BODY, TOLD = table(AccessState), table(AccessBody), table(AccessTold)
SEGMENT, FORGOTTEN = table(AccessSegment), table(AccessForgotten)

PART = 500
Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class State:
    """The wrapped key, the newest `expired` entry, and what the ledger last committed to."""

    log: int
    wrapped: bytes
    expired: int | None
    committed_size: int
    committed_at: str


def state(connection: Connection) -> State | None:
    """The state of the access log; None before it has begun."""
    row = connection.execute(select(STATE).where(STATE.c.log == ACCESS)).first()
    return State(*row) if row else None


def begin(connection: Connection, wrapped: bytes, time: str) -> None:
    """Keep the state of a new access log."""
    row = {"log": ACCESS, "wrapped": wrapped, "expired": None, "committed_size": 0, "committed_at": time}
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
    connection: Connection, sealed: Mapping[int, bytes], told: Mapping[int, Iterable[Key]]
) -> None:
    """Keep the bodies of new entries, and what each is about."""
    add(connection, AccessBody, [{"seq": seq, "sealed": each} for seq, each in sealed.items()])
    rows = [
        {"log": log, "record_id": record_id, "seq": seq}
        for seq, keys in told.items()
        for log, record_id in keys
    ]
    # In the order of the table, so that each of its pages is looked for once.
    add(connection, AccessTold, sorted(rows, key=lambda row: (row["log"], row["record_id"], row["seq"])))


def bodies(connection: Connection, start: int, stop: int) -> dict[int, bytes]:
    """The sealed bodies of the entries `start` up to, not including, `stop`."""
    found = select(BODY).where(BODY.c.seq >= start, BODY.c.seq < stop)
    return {row.seq: row.sealed for row in connection.execute(found)}


def oldest_bodies(connection: Connection, before: int, limit: int) -> dict[int, bytes]:
    """Up to `limit` bodies of entries before a number."""
    found = select(BODY).where(BODY.c.seq < before).order_by(BODY.c.seq).limit(limit)
    return {row.seq: row.sealed for row in connection.execute(found)}


def set_body(connection: Connection, seq: int, sealed: bytes) -> None:
    """Keep a body of which a part was forgotten."""
    connection.execute(update(BODY).where(BODY.c.seq == seq).values(sealed=sealed))


def remove(connection: Connection, seqs: Sequence[int], told: Sequence[tuple[int, str, int]]) -> None:
    """Remove bodies, and the rows that say what they are about."""
    connection.execute(delete(BODY).where(BODY.c.seq.in_(seqs)))
    place = tuple_(TOLD.c.log, TOLD.c.record_id, TOLD.c.seq)
    for start in range(0, len(told), PART):
        connection.execute(delete(TOLD).where(place.in_(told[start : start + PART])))


def about(connection: Connection, keys: Iterable[Key]) -> list[int]:
    """The entries that are about any of these records, oldest first."""
    found: set[int] = set()
    for log, record_id in keys:
        rows = select(TOLD.c.seq).where(TOLD.c.log == log, TOLD.c.record_id == record_id)
        found.update(connection.execute(rows).scalars())
    return sorted(found)


def told_of(connection: Connection, seqs: Mapping[int, Iterable[Key]]) -> set[tuple[int, str, int]]:
    """Those of these rows that are there: (log, record, entry)."""
    wanted = [(log, record_id, seq) for seq, keys in seqs.items() for log, record_id in keys]
    place, found = tuple_(TOLD.c.log, TOLD.c.record_id, TOLD.c.seq), set[tuple[int, str, int]]()
    for start in range(0, len(wanted), PART):
        rows = connection.execute(select(TOLD).where(place.in_(wanted[start : start + PART])))
        found.update((row.log, row.record_id, row.seq) for row in rows)
    return found


def counts(connection: Connection) -> tuple[int, int]:
    """(bodies, rows that say what they are about)."""
    of_bodies = connection.execute(select(func.count()).select_from(BODY)).scalar_one()
    return of_bodies, connection.execute(select(func.count()).select_from(TOLD)).scalar_one()


def forget(connection: Connection, keys: Iterable[Key], until_ms: int) -> None:
    """Nothing more is to be said about these records by reads up to a moment."""
    rows = [{"log": log, "record_id": record_id, "until_ms": until_ms} for log, record_id in keys]
    put(connection, AccessForgotten, rows)
    for row in rows:
        connection.execute(delete(TOLD).where(TOLD.c.log == row["log"], TOLD.c.record_id == row["record_id"]))


def forgotten(connection: Connection) -> dict[Key, int]:
    """The records that are forgotten, and up to when."""
    return {(row.log, row.record_id): row.until_ms for row in connection.execute(select(FORGOTTEN))}
