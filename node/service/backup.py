"""A node's store as one file, out of which what is erased later cannot be read back; and back into a store.

Every row that is about records (`backup_rows`) is sealed under their own keys, all others under a key of the
file (`backup_sealing`). The keys are not in the file: they are in the key store (`backup_keys`), which loses
the key of a record when that is erased. So a backup needs no change, and nobody has to find its copies.

    line 1      what it is, as JSON: name, country, time, schema, the ledger's signed checkpoint, a random id
    frames      4 bytes length, then AES-256-GCM under HKDF(common key, line 1), nonce: the frame's number;
                each holds rows of one table, zlib over JSON; of records: [paths of their keys, sealed row]
    last frame  how many rows of each table there are: a file that was cut short does not restore
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

import orjson
from sqlalchemy import Connection, Table, func, select, text
from sqlmodel import SQLModel

from node.errors import Conflict, Malformed
from node.ledger import moment
from node.ledger.encoding import b64u
from node.service.backup_rows import Owners, rows_of
from node.service.backup_sealing import Frames, Opener, Sealer
from node.service.parts import Parts
from node.store import logs
from node.store.database import Row, add
from node.store.tables import LEDGER, AccessSegment, Idempotency, PeerNonce

FORMAT: Final = "aeo-backup/v1"
LEFT_OUT: Final = (Idempotency, PeerNonce, AccessSegment)
"""What is remembered for a few days only, against repeated requests; and which files were taken over."""
HEADER_LIMIT_BYTES: Final = 1 << 16

Told = Callable[[str, int, int], None]
"""Which table is written or read, how many of its rows are, and of how many."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup holds: of which node, as of when, rows by table, and how many are of erased records."""

    name: str
    made_at: str
    ledger_size: int
    rows: Mapping[str, int]
    erased: int


def write(parts: Parts, out: BinaryIO, told: Told) -> Contents:
    """Write one state of the store; the node may run meanwhile."""
    common, tree = parts.backup_keys.made(parts.entropy)
    with parts.database.read(at_length=True) as connection:
        head = logs.head(connection, LEDGER)
        if head is None:
            raise Conflict("there is no ledger in this store", do="run `aeo init`")
        header = {
            "format": FORMAT,
            "name": parts.settings.name,
            "country": parts.country,
            "made_at": moment.format(parts.now_ms()),
            "schema": _schema(connection),
            "checkpoint": head.checkpoint,
            "ledger_size": head.size,
            "id": b64u(parts.entropy(16)),
        }
        line = orjson.dumps(header)
        out.write(line + b"\n")
        frames, counts = Frames(common, line), dict[str, int]()
        sealer = Sealer(parts, tree, Owners(parts, connection))
        for table in _tables():
            name = str(table.name)
            counts[name] = 0
            of = int(connection.execute(select(func.count()).select_from(table)).scalar_one())
            for rows in rows_of(connection, table):
                out.write(frames.sealed({"table": name, "rows": [sealer.row(name, row) for row in rows]}))
                counts[name] += len(rows)
                told(name, counts[name], of)
        out.write(frames.sealed({"rows": counts}))
    return Contents(parts.settings.name, str(header["made_at"]), head.size, counts, 0)


def restore(parts: Parts, file: BinaryIO, told: Told, *, is_check: bool = False) -> Contents:
    """Write the store out of a backup, all of it or nothing; `is_check`: only see that it could be.

    `Conflict` where there is a store already or the backup is another node's, `Malformed` or `Unproven`
    when the file is not whole or not of these keys. Rows of records that were erased since are left out,
    and counted.
    """
    common, tree = parts.backup_keys.load()
    line = file.readline(HEADER_LIMIT_BYTES)
    header = _header(line)
    if header["name"] != parts.settings.name:
        raise Conflict(
            "a backup is another node's", where=str(header["name"]), do="restore it with that node's home"
        )
    if is_check:
        return _read_all(header, Frames(common, line), file, Opener(tree), told, None)
    parts.database.migrate()
    with parts.database.write() as connection:
        if connection.execute(select(SQLModel.metadata.tables["log_head"])).first() is not None:
            do = "restore into a home folder whose store does not exist yet"
            raise Conflict("there is a store already", where=str(parts.database.url), do=do)
        if header["schema"] != _schema(connection):
            do = "restore it with the version that made it, and start this one then"
            raise Conflict("the backup is of another version", where=str(header["schema"]), do=do)
        contents = _read_all(header, Frames(common, line), file, Opener(tree), told, connection)
        _set_sequences(connection)
    return contents


def _read_all(
    header: Row,
    frames: Frames,
    file: BinaryIO,
    opener: Opener,
    told: Told,
    connection: Connection | None,
) -> Contents:
    counts, tables = dict[str, int](), {str(table.name): (model, table) for model, table in _models()}
    for frame in frames.opened(file):
        if "table" not in frame:
            if frame["rows"] != {name: counts.get(name, 0) for name in frame["rows"]}:
                raise Malformed("a backup does not hold as many rows as it says")
            is_whole = file.read(1) == b""
            if not is_whole:
                raise Malformed("something stands behind the end of a backup")
            size = int(header["ledger_size"])
            return Contents(str(header["name"]), str(header["made_at"]), size, counts, opener.erased)
        model, table = tables[frame["table"]]
        name = frame["table"]
        counts[name] = counts.get(name, 0) + len(frame["rows"])
        rows = [row for each in frame["rows"] if (row := opener.row(table, each)) is not None]
        if connection is not None:
            add(connection, model, rows)
        told(name, counts[name], counts[name])
    raise Malformed("a backup was cut short", do="use another copy of it")


def _header(line: bytes) -> Row:
    try:
        header: Row = orjson.loads(line)
        if header["format"] == FORMAT:
            return header
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass
    raise Malformed("this is no backup of a node", do="give a file that `aeo backup` wrote")


def _models() -> list[tuple[type[SQLModel], Table]]:
    left_out = {model.__tablename__ for model in LEFT_OUT}
    found = [
        (model, SQLModel.metadata.tables[str(model.__tablename__)]) for model in SQLModel.__subclasses__()
    ]
    return [(model, table) for model, table in found if table.name not in left_out]


def _tables() -> list[Table]:
    return [table for _, table in _models()]


def _schema(connection: Connection) -> str:
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())


def _set_sequences(connection: Connection) -> None:
    """PostgreSQL numbers new rows from where the restored ones end; SQLite does so by itself."""
    if connection.dialect.name != "postgresql":
        return
    for table in _tables():
        column = table.autoincrement_column
        if (
            column is not None
            and column.default is None
            and str(column.type) == "INTEGER"
            and column.nullable is False
        ):
            name = connection.execute(select(func.pg_get_serial_sequence(table.name, column.name))).scalar()
            if name:
                # The log of the access log is below zero, where no sequence begins.
                largest = select(func.greatest(func.max(column), 0) + 1).scalar_subquery()
                connection.execute(select(func.setval(name, largest, False)))
