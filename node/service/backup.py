"""A node's store as one file, out of which what is erased later cannot be read back; and back into a store.

Every row that is about records is sealed under their own keys, all others under a key of the
file. The keys are not in the file: they are in the key store (`backup_keys.py`), which loses the key of a
record when that is erased. So a backup needs no change, and nobody has to find its copies.

    line 1      what it is, as JSON: name, country, time, schema, the ledger's signed checkpoint, a random id
    frames      4 bytes length, then AES-256-GCM under HKDF(common key, line 1), nonce: the frame's number;
                each holds rows of one table, zlib over JSON; of records: [paths of their keys, sealed row]
    last frame  how many rows of each table there are: a file that was cut short does not restore
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, LargeBinary, Table, func, select, text
from sqlmodel import SQLModel

from node.errors import Conflict, Malformed, Unproven
from node.exchange import key_tree, sealing
from node.exchange.key_tree import KeyTree
from node.ledger import moment
from node.ledger.encoding import b64, b64u, unb64
from node.service.parts import Parts
from node.store import channels, logs, reads, reports
from node.store.database import Row, add
from node.store.tables import (
    LEDGER,
    AccessBody,
    AccessSegment,
    AccessTold,
    Change,
    ChannelBody,
    Idempotency,
    LedgerBody,
    MirrorVersion,
    PeerNonce,
    ReadsCounted,
    RecordVersion,
    Report,
)

FORMAT: Final = "aeo-backup/v1"
LEFT_OUT: Final = (Idempotency, PeerNonce, AccessSegment)
"""What is remembered for a few days only, against repeated requests; and which files were taken over."""
ROWS_AT_ONCE: Final = 1_000
HEADER_LIMIT_BYTES: Final = 1 << 16
FRAME_LIMIT_BYTES: Final = 1 << 28
KEYS_KEPT: Final = 10_000
ABOUT: Final = "_about"
"""The records that a row is about, where it does not say so itself."""
LENGTH_BYTES: Final = 4

Key = tuple[int, str]
"""A log, and a record: an own one (log 0), or as told on that incoming channel."""
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
        frames, counts = _Frames(common, line), dict[str, int]()
        sealer = _Sealer(parts, tree, _Owners(parts, connection))
        for table in _tables():
            name = str(table.name)
            counts[name] = 0
            of = int(connection.execute(select(func.count()).select_from(table)).scalar_one())
            for rows in _read(connection, table):
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
        return _read_all(header, _Frames(common, line), file, _Opener(tree), told, None)
    parts.database.migrate()
    with parts.database.write() as connection:
        if connection.execute(select(SQLModel.metadata.tables["log_head"])).first() is not None:
            do = "restore into a home folder whose store does not exist yet"
            raise Conflict("there is a store already", where=str(parts.database.url), do=do)
        if header["schema"] != _schema(connection):
            do = "restore it with the version that made it, and start this one then"
            raise Conflict("the backup is of another version", where=str(header["schema"]), do=do)
        contents = _read_all(header, _Frames(common, line), file, _Opener(tree), told, connection)
        _set_sequences(connection)
    return contents


def _read_all(
    header: Row,
    frames: "_Frames",
    file: BinaryIO,
    opener: "_Opener",
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


class _Frames:
    """The frames of one file, sealed under its own key, each bound to its number."""

    def __init__(self, common: bytes, line: bytes) -> None:
        line = line.rstrip(b"\n")
        self._digest = hashlib.sha256(line).digest()
        self._cipher = AESGCM(
            sealing.expand(common, f"aeo/backup/v1/{self._digest.hex()}", sealing.KEY_BYTES)
        )
        self._next = 0

    def sealed(self, content: Row) -> bytes:
        """The next frame."""
        packed = zlib.compress(orjson.dumps(content), 1)
        sealed = self._cipher.encrypt(self._nonce(), packed, self._digest)
        return len(sealed).to_bytes(LENGTH_BYTES, "big") + sealed

    def opened(self, file: BinaryIO) -> Iterator[Row]:
        """Frame by frame; `Unproven` for one that is not what was written here."""
        while length := file.read(LENGTH_BYTES):
            size = int.from_bytes(length, "big")
            if size > FRAME_LIMIT_BYTES:
                raise Malformed("a frame of a backup is too long")
            try:
                packed = self._cipher.decrypt(self._nonce(), file.read(size), self._digest)
            except (InvalidTag, ValueError):
                do = "use another copy of it, or the keys that belong to it"
                raise Unproven("a backup does not open", where=f"frame {self._next - 1}", do=do) from None
            content: Row = orjson.loads(zlib.decompress(packed))
            yield content

    def _nonce(self) -> bytes:
        self._next += 1
        return self._next.to_bytes(sealing.NONCE_BYTES, "big")


class _Owners:
    """Which records a row is about, by log and id: not only those that it names itself."""

    def __init__(self, parts: Parts, connection: Connection) -> None:
        outgoing = (each.log for each in channels.channels(connection) if each.issuer == parts.country)
        self._own = frozenset((LEDGER, *outgoing))
        self._decided = {
            each.ledger_seq: (each.log, each.record_id) for each in reports.decisions(connection)
        }
        self._decided_on = {record_id: log for log, record_id in self._decided.values()}
        self._notices: dict[tuple[int, int], Key] = {}
        for each in reports.all_reports(connection):
            key = (each.about, each.record_id)
            self._notices[each.log, each.seq] = key
            if each.answer_seq is not None and each.about != LEDGER:  # ours rests on a version of the record
                self._notices[each.about, each.answer_seq] = key

    def of(self, table: str, row: Row) -> list[str]:
        """The owners of the keys that seal a row: own records, or what one channel told of a record."""
        return [f"{LEDGER if log in self._own else log}:{of}" for log, of in self._about(table, row)]

    def _about(self, table: str, row: Row) -> Sequence[Key]:
        if ABOUT in row:
            return list(row[ABOUT])
        if record_id := row.get("record_id"):
            return [(self._log_of(table, row), str(record_id))]
        found: Key | None = None
        if table == LedgerBody.__tablename__:
            found = self._decided.get(row["seq"])
        elif table in (ChannelBody.__tablename__, MirrorVersion.__tablename__):
            found = self._notices.get((row["log"], row["seq"]))
        return [found] if found else []

    def _log_of(self, table: str, row: Row) -> int:
        """Whose record it is that a row names; a report stands in one channel and is about another."""
        if table in (Report.__tablename__, ReadsCounted.__tablename__):
            return int(row["about"])
        if table == Change.__tablename__ and row["kind"] == reports.LOCAL_WORD:
            return self._decided_on.get(row["record_id"], LEDGER)
        return int(row.get("log", LEDGER))


class _Sealer:
    """Seals each row that is about records under their keys."""

    def __init__(self, parts: Parts, tree: KeyTree, owners: _Owners) -> None:
        self._entropy, self._owners = parts.entropy, owners

        @lru_cache(KEYS_KEPT)
        def key_of(owner: str) -> tuple[str, bytes]:
            path = tree.free_path(key_tree.name(owner))
            return path, tree.key(path)

        self._key_of = key_of

    def row(self, table: str, row: Row) -> object:
        """The row as it stands in the file."""
        keys = [self._key_of(owner) for owner in self._owners.of(table, row)]
        plain = {
            name: b64(value) if isinstance(value, bytes) else value
            for name, value in row.items()
            if name != ABOUT
        }
        if not keys:
            return plain
        nonce = self._entropy(sealing.NONCE_BYTES)
        sealed = nonce + _joined([key for _, key in keys]).encrypt(nonce, orjson.dumps(plain), table.encode())
        return [[path for path, _ in keys], b64(sealed)]


def _joined(keys: Sequence[bytes]) -> AESGCM:
    """The cipher of what is about several records: without the key of any of them it does not open."""
    return AESGCM(keys[0] if len(keys) == 1 else hashlib.sha256(b"".join(keys)).digest())


class _Opener:
    """Opens rows; counts those whose key was destroyed."""

    def __init__(self, tree: KeyTree) -> None:
        self.erased = 0

        @lru_cache(KEYS_KEPT)
        def key_of(path: str) -> bytes | None:
            return tree.key(path) if tree.has(path) else None

        self._key_of = key_of

    def row(self, table: Table, told: Any) -> Row | None:
        """The row as it is stored; None for one of a record that was erased since."""
        if isinstance(told, list):
            sealed, keys = unb64(told[1]), [key for path in told[0] if (key := self._key_of(path))]
            if len(keys) < len(told[0]):
                self.erased += 1
                return None
            cipher = _joined(keys)
            size = sealing.NONCE_BYTES
            told = orjson.loads(cipher.decrypt(sealed[:size], sealed[size:], table.name.encode()))
        binary = [column.name for column in table.columns if isinstance(column.type, LargeBinary)]
        row: Row = told
        return row | {name: unb64(row[name]) for name in binary if row[name] is not None}


def _models() -> list[tuple[type[SQLModel], Table]]:
    left_out = {model.__tablename__ for model in LEFT_OUT}
    found = [
        (model, SQLModel.metadata.tables[str(model.__tablename__)]) for model in SQLModel.__subclasses__()
    ]
    return [(model, table) for model, table in found if table.name not in left_out]


def _tables() -> list[Table]:
    return [table for _, table in _models()]


def _read(connection: Connection, table: Table) -> Iterator[list[Row]]:
    """The rows of a table in the order of its key, some at a time, with `ABOUT` where other tables know."""
    ordered = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=ROWS_AT_ONCE)
    for part in connection.execute(ordered).mappings().partitions(ROWS_AT_ONCE):
        rows: list[Row] = [{str(name): value for name, value in row.items()} for row in part]
        if table.name == ChannelBody.__tablename__:
            behind = _versions_of(connection, rows)
            rows = [
                row | ({ABOUT: [(LEDGER, of)]} if (of := behind.get(row["ledger_seq"])) else {})
                for row in rows
            ]
        if table.name in (ChannelBody.__tablename__, MirrorVersion.__tablename__):
            rows = _with_owners_of_reads(connection, rows)
        if table.name == AccessBody.__tablename__:
            told = _told_in(connection, rows)
            rows = [row | {ABOUT: told.get(row["seq"], [])} for row in rows]
        yield rows


def _versions_of(connection: Connection, rows: Sequence[Row]) -> dict[int, str]:
    """{ledger entry: record} of the versions that these bodies of a channel rest on."""
    version = SQLModel.metadata.tables[str(RecordVersion.__tablename__)]
    seqs = {row["ledger_seq"] for row in rows if row["ledger_seq"] is not None}
    found = select(version.c.ledger_seq, version.c.record_id).where(version.c.ledger_seq.in_(seqs))
    return {row.ledger_seq: row.record_id for row in connection.execute(found)}


def _with_owners_of_reads(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    """These rows, with `ABOUT` where a notice tells how often records were read."""
    seqs: dict[int, list[int]] = {}
    for row in rows:
        seqs.setdefault(row["log"], []).append(row["seq"])
    owners = reads.owners(connection, seqs)
    return [row | ({ABOUT: of} if (of := owners.get((row["log"], row["seq"]))) else {}) for row in rows]


def _told_in(connection: Connection, rows: Sequence[Row]) -> dict[int, list[tuple[int, str]]]:
    """{entry of the access log: records, by log and id, that it is about} of these bodies of it."""
    told = SQLModel.metadata.tables[str(AccessTold.__tablename__)]
    seqs = [row["seq"] for row in rows]
    found: dict[int, list[tuple[int, str]]] = {}
    wanted = (
        told.c.block.in_(sorted({row["block"] for row in rows})),
        told.c.seq.between(min(seqs), max(seqs)),
        told.c.log >= LEDGER,
    )
    for row in connection.execute(select(told).where(*wanted).order_by(told.c.log, told.c.record_id)):
        found.setdefault(row.seq, []).append((row.log, row.record_id))
    return found


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
