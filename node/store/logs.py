"""Queries over logs: heads, entries, tiles.

`advance` is the commit point of every log: it moves the head only if nobody else moved it first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import BindParameter, Connection, bindparam, func, select, update

from node.errors import Conflict, Damaged
from node.ledger.checkpoint import stated
from node.ledger.merkle import HASH_BYTES
from node.ledger.tiles import TILE_WIDTH
from node.store.database import Database, Prepared, add, put, table
from node.store.tables import LedgerBody, LogEntry, LogHead, LogTile

HEAD, ENTRY, TILE, BODY = table(LogHead), table(LogEntry), table(LogTile), table(LedgerBody)

_OF: BindParameter[int] = bindparam("of")
_HEAD_OF_LOG = Prepared(select(HEAD).where(HEAD.c.log == _OF))
_HEAD_OF_ORIGIN = Prepared(select(HEAD).where(HEAD.c.origin == _OF))
_PREFIX: BindParameter[str] = bindparam("prefix")
_OWN = func.substr(HEAD.c.origin, 1, func.length(_PREFIX)) == _PREFIX
_NEWEST_TIME = Prepared(select(func.max(HEAD.c.time)).where(_OWN))
_MOVE = update(HEAD).where(HEAD.c.log == _OF, HEAD.c.size == bindparam("old_size"))
_RANGE = (ENTRY.c.log == _OF, ENTRY.c.seq >= bindparam("start"), ENTRY.c.seq < bindparam("stop"))
_ENTRIES = Prepared(select(ENTRY.c.entry).where(*_RANGE).order_by(ENTRY.c.seq))
_PLACE = (TILE.c.log == _OF, TILE.c.level == bindparam("at_level"), TILE.c.idx == bindparam("at"))
_TILE = Prepared(select(TILE.c.hashes).where(*_PLACE))


LeafAt = Callable[[int], bytes]
"""The hash of the entry at a place of a log; empty where what is held of the log does not reach."""


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

    @property
    def is_whole(self) -> bool:
        """Whether what is held reaches as far as the checkpoint; a copy may be behind it."""
        return stated(self.checkpoint).size == self.size


def head(connection: Connection, log: int) -> Head | None:
    """The head of a log, or None when there is no such log."""
    rows = _HEAD_OF_LOG.rows(connection, {"of": log})
    return Head(*rows[0]) if rows else None


def head_of(connection: Connection, origin: str) -> Head | None:
    """The head of the log with this origin, or None."""
    rows = _HEAD_OF_ORIGIN.rows(connection, {"of": origin})
    return Head(*rows[0]) if rows else None


def entry_count(connection: Connection) -> int:
    """How many entries all logs hold that are kept here entry by entry."""
    kept = select(ENTRY.c.log).where(ENTRY.c.log == HEAD.c.log, ENTRY.c.seq == 0).exists()
    return int(connection.execute(select(func.coalesce(func.sum(HEAD.c.size), 0)).where(kept)).scalar_one())


def newest_time(connection: Connection, name: str) -> str:
    """The time of the newest head among the logs of the node of this name: none of them may go back."""
    ((newest,),) = _NEWEST_TIME.rows(connection, {"prefix": f"{name}/"})
    return str(newest)


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
    values = {name: getattr(new, name) for name in ("size", "root", "last_leaf", "time", "checkpoint")}
    moved = connection.execute(_MOVE, values | {"of": new.log, "old_size": old_size})
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
    return [entry for (entry,) in _ENTRIES.rows(connection, {"of": log, "start": start, "stop": stop})]


def tile(connection: Connection, log: int, level: int, index: int) -> bytes | None:
    """The stored hashes of one tile, or None."""
    rows = _TILE.rows(connection, {"of": log, "at_level": level, "at": index})
    return rows[0][0] if rows else None


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


def later_reader(database: Database, log: int) -> Callable[[int, int], bytes]:
    """A reader of this log's tiles as they are when each is read.

    A tile only ever grows, so one read later than a checkpoint still begins with what its tree needs.
    """

    def read(level: int, index: int) -> bytes:
        with database.glance() as connection:
            return tile_reader(connection, log)(level, index)

    return read


def leaf_reader(connection: Connection, head: Head, new: Sequence[bytes] = ()) -> LeafAt:
    """A reader of the hashes of a log's entries: those stored, and the `new` ones behind them."""
    read_tile = tile_reader(connection, head.log)

    def leaf_at(seq: int) -> bytes:
        if seq >= head.size:
            return new[seq - head.size] if seq < head.size + len(new) else b""
        index, at = divmod(seq, TILE_WIDTH)
        return read_tile(0, index)[at * HASH_BYTES :][:HASH_BYTES]

    return leaf_at


def body(connection: Connection, seq: int) -> bytes:
    """The sealed body behind a ledger entry that is no record version; `Damaged` when it is gone."""
    sealed = connection.execute(select(BODY.c.sealed).where(BODY.c.seq == seq)).scalar_one_or_none()
    if sealed is None:
        raise Damaged("the body of a ledger entry is missing", where=f"entry {seq}", do="run `aeo fsck`")
    return bytes(sealed)


def set_body(connection: Connection, seq: int, sealed: bytes) -> None:
    """Keep a body that was sealed anew."""
    connection.execute(update(BODY).where(BODY.c.seq == seq).values(sealed=sealed))


def bodies(connection: Connection, start: int, stop: int) -> dict[int, bytes]:
    """The sealed bodies behind the ledger entries `start` up to, not including, `stop`."""
    found = select(BODY.c.seq, BODY.c.sealed).where(BODY.c.seq >= start, BODY.c.seq < stop)
    return {row.seq: row.sealed for row in connection.execute(found)}
