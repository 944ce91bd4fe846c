"""Queries over logs: heads, entries, tiles.

`advance` is the commit point of every log: it moves the head only if nobody else moved it first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from node.errors import Conflict, Damaged
from node.store.database import add, put, table
from node.store.tables import LedgerBody, LogEntry, LogHead, LogTile

HEAD, ENTRY, TILE, BODY = table(LogHead), table(LogEntry), table(LogTile), table(LedgerBody)


@dataclass(frozen=True, slots=True)
class Head:
    """The newest tree head of one log."""

    log: int
    origin: str
    size: int
    root: bytes
    last_leaf: bytes | None
    time: str
    checkpoint: str


def head(connection: Connection, log: int) -> Head | None:
    """The head of a log, or None when there is no such log."""
    row = connection.execute(select(HEAD).where(HEAD.c.log == log)).first()
    return Head(*row) if row else None


def head_of(connection: Connection, origin: str) -> Head | None:
    """The head of the log with this origin, or None."""
    row = connection.execute(select(HEAD).where(HEAD.c.origin == origin)).first()
    return Head(*row) if row else None


def newest_time(connection: Connection, name: str) -> str:
    """The time of the newest head among the logs of the node of this name: none of them may go back."""
    own = select(func.max(HEAD.c.time)).where(HEAD.c.origin.startswith(f"{name}/", autoescape=True))
    return str(connection.execute(own).scalar_one())


def begin(
    connection: Connection, origin: str, root: bytes, time: str, checkpoint: str, log: int | None = None
) -> int:
    """Start an empty log and give its number."""
    if log is None:
        log = int(connection.execute(select(func.coalesce(func.max(HEAD.c.log), 0) + 1)).scalar_one())
    row = {
        "log": log,
        "origin": origin,
        "size": 0,
        "root": root,
        "last_leaf": None,
        "time": time,
        "checkpoint": checkpoint,
    }
    add(connection, LogHead, [row])
    return log


def advance(connection: Connection, old_size: int, new: Head) -> None:
    """Move a head from `old_size` to `new`; `Conflict` when another writer was there first."""
    values = {
        "size": new.size,
        "root": new.root,
        "last_leaf": new.last_leaf,
        "time": new.time,
        "checkpoint": new.checkpoint,
    }
    moved = connection.execute(
        update(HEAD).where(HEAD.c.log == new.log, HEAD.c.size == old_size).values(values)
    )
    if moved.rowcount != 1:
        raise Conflict(
            "another writer moved this log",
            where=new.origin,
            do="make sure that one node only writes to this store",
        )


def add_entries(connection: Connection, log: int, start: int, entries: Sequence[bytes]) -> None:
    """Store the entries from `start` on."""
    add(
        connection,
        LogEntry,
        [{"log": log, "seq": start + i, "entry": entry} for i, entry in enumerate(entries)],
    )


def put_tiles(connection: Connection, log: int, tiles: dict[tuple[int, int], bytes]) -> None:
    """Store new or longer tiles."""
    put(
        connection,
        LogTile,
        [{"log": log, "level": at[0], "idx": at[1], "hashes": hashes} for at, hashes in tiles.items()],
    )


def entries(connection: Connection, log: int, start: int, stop: int) -> list[bytes]:
    """The bytes of the entries `start` up to, not including, `stop`."""
    found = select(ENTRY.c.entry).where(ENTRY.c.log == log, ENTRY.c.seq >= start, ENTRY.c.seq < stop)
    return list(connection.execute(found.order_by(ENTRY.c.seq)).scalars())


def tile(connection: Connection, log: int, level: int, index: int) -> bytes | None:
    """The stored hashes of one tile, or None."""
    found = select(TILE.c.hashes).where(TILE.c.log == log, TILE.c.level == level, TILE.c.idx == index)
    return connection.execute(found).scalar_one_or_none()


def tile_reader(connection: Connection, log: int) -> Callable[[int, int], bytes]:
    """A reader of this log's tiles for the pure code, remembering what it has read."""
    known: dict[tuple[int, int], bytes] = {}

    def read(level: int, index: int) -> bytes:
        if (level, index) not in known:
            hashes = tile(connection, log, level, index)
            if hashes is None:
                raise Damaged(
                    "a tile is missing", where=f"log {log}, level {level}, tile {index}", do="run `aeo fsck`"
                )
            known[level, index] = hashes
        return known[level, index]

    return read


def body(connection: Connection, seq: int) -> bytes:
    """The sealed body behind a ledger entry that is no record version; `Damaged` when it is gone."""
    sealed = connection.execute(select(BODY.c.sealed).where(BODY.c.seq == seq)).scalar_one_or_none()
    if sealed is None:
        raise Damaged("the body of a ledger entry is missing", where=f"entry {seq}", do="run `aeo fsck`")
    return bytes(sealed)
