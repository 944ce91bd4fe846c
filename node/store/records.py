"""Queries over own operators, and over the identifiers and names of all operators."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    delete,
    false,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from node.records import identifiers, model
from node.store.database import Prepared, Row, among, listed, put, table
from node.store.tables import (
    LEDGER,
    ChannelBody,
    LogEntry,
    OperatorIdentifier,
    OperatorName,
    Record,
    RecordVersion,
)

RECORD, VERSION = table(Record), table(RecordVersion)
IDENTIFIER, NAME = table(OperatorIdentifier), table(OperatorName)
BODY, ENTRY = table(ChannelBody), table(LogEntry)


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One sealed version of an own record, with the record's wrapped key, and its kind if no operator."""

    record_id: str
    tin: str
    wrapped_key: bytes
    version: int
    ledger_seq: int
    sealed: bytes
    kind: str | None = None


def _versions() -> Select[Any]:
    columns = (
        RECORD.c.record_id,
        RECORD.c.tin,
        RECORD.c.wrapped_key,
        VERSION.c.version,
        VERSION.c.ledger_seq,
        VERSION.c.sealed,
        RECORD.c.kind,
    )
    return select(*columns).join(VERSION, VERSION.c.record_id == RECORD.c.record_id)


def _newest() -> Select[Any]:
    return _versions().where(VERSION.c.version == RECORD.c.version)


def newest_by_tin(connection: Connection, tins: Sequence[str]) -> dict[str, StoredVersion]:
    """The newest version of each of these operators that is known."""
    known = [tin for tin in tins if "\0" not in tin]  # PostgreSQL takes none such
    rows = connection.execute(_newest().where(RECORD.c.tin.in_(known)))
    return {row.tin: StoredVersion(*row) for row in rows}


def newest(connection: Connection, record_ids: Sequence[str]) -> list[StoredVersion]:
    """The newest version of each of these records."""
    rows = connection.execute(_newest().where(RECORD.c.record_id.in_(record_ids)))
    return [StoredVersion(*row) for row in rows]


def newest_after(connection: Connection, after: str, limit: int) -> list[StoredVersion]:
    """The newest versions of up to `limit` records, in the order of their ids, behind `after`."""
    rows = connection.execute(
        _newest().where(RECORD.c.record_id > after).order_by(RECORD.c.record_id).limit(limit)
    )
    return [StoredVersion(*row) for row in rows]


def newest_before(connection: Connection, after: str, limit: int, size: int) -> list[StoredVersion]:
    """As `newest_after`, of the versions that stand in the first `size` entries of the ledger."""
    last = select(VERSION.c.record_id, func.max(VERSION.c.version).label("version"))
    last = last.where(VERSION.c.ledger_seq < size, VERSION.c.record_id > after)
    part = last.group_by(VERSION.c.record_id).order_by(VERSION.c.record_id).limit(limit).subquery()
    is_last = and_(VERSION.c.record_id == part.c.record_id, VERSION.c.version == part.c.version)
    rows = connection.execute(_versions().join(part, is_last).order_by(RECORD.c.record_id))
    return [StoredVersion(*row) for row in rows]


def wrapped_after(connection: Connection, after: str, limit: int) -> list[tuple[str, bytes]]:
    """(record, wrapped key) of up to `limit` records, in the order of their ids, behind `after`."""
    found = select(RECORD.c.record_id, RECORD.c.wrapped_key).where(RECORD.c.record_id > after)
    rows = connection.execute(found.order_by(RECORD.c.record_id).limit(limit))
    return [(row.record_id, row.wrapped_key) for row in rows]


def set_wrapped(connection: Connection, anew: Mapping[str, bytes]) -> None:
    """Keep record keys that were wrapped anew."""
    change = update(RECORD).where(RECORD.c.record_id == bindparam("of")).values(wrapped_key=bindparam("anew"))
    if anew:
        connection.execute(change, [{"of": of, "anew": wrapped} for of, wrapped in anew.items()])


def versions(connection: Connection, record_id: str) -> list[StoredVersion]:
    """Every version of one record, oldest first."""
    rows = connection.execute(_versions().where(RECORD.c.record_id == record_id).order_by(VERSION.c.version))
    return [StoredVersion(*row) for row in rows]


def versions_named(connection: Connection, named: Sequence[tuple[str, int]]) -> list[StoredVersion]:
    """These versions, each named by its record and number, as far as they are there."""
    wanted = tuple_(VERSION.c.record_id, VERSION.c.version).in_(named)
    return [StoredVersion(*row) for row in connection.execute(_versions().where(wanted))]


def tins_after(connection: Connection, after: str, limit: int, kind: str | None = None) -> list[str]:
    """TINs of own records in order, of one kind if given, for comparing a list with the register."""
    found = select(RECORD.c.tin).where(RECORD.c.tin > after, *_of(kind)).order_by(RECORD.c.tin).limit(limit)
    return list(connection.execute(found).scalars())


def count(connection: Connection, kind: str | None = None) -> int:
    """How many own records there are, of one kind if given."""
    return int(connection.execute(select(func.count()).select_from(RECORD).where(*_of(kind))).scalar_one())


def _of(kind: str | None) -> list[ColumnElement[bool]]:
    """As in a record itself, an operator is one that says no kind."""
    return [] if kind is None else [RECORD.c.kind == (None if kind == model.OPERATOR else kind)]


def index(connection: Connection, log: int, found: dict[str, Row], new: Set[str] = frozenset()) -> None:
    """Replace identifiers and names of the given records: {record_id: {"identifiers", "names"}}.

    `new`: those of them that nothing can be found by yet.
    """
    clear_index(connection, log, found.keys() - new)
    identifiers = [
        {"log": log, "record_id": record_id, "scheme": scheme, "value": value}
        for record_id, entry in found.items()
        for scheme, value in sorted(set(entry["identifiers"]))
    ]
    names = [
        {"log": log, "record_id": record_id, "name": entry["name"], "folded": entry["folded"]}
        for record_id, entry in found.items()
        if entry["name"]
    ]
    put(connection, OperatorIdentifier, identifiers)
    put(connection, OperatorName, names)


def clear_names(connection: Connection, log: int, record_ids: Iterable[str]) -> None:
    """Forget the names of these records; their identifiers still find that they left our view."""
    if ids := list(record_ids):
        connection.execute(delete(NAME).where(NAME.c.log == log, NAME.c.record_id.in_(ids)))


def clear_index(connection: Connection, log: int, record_ids: Iterable[str]) -> None:
    """Forget identifiers and names of these records."""
    ids = list(record_ids)
    for index_table in (IDENTIFIER, NAME) if ids else ():
        connection.execute(
            delete(index_table).where(index_table.c.log == log, index_table.c.record_id.in_(ids))
        )


def find(
    connection: Connection, values: Sequence[str], scheme: str | None = None
) -> list[tuple[str, str, int, str]]:
    """(value, scheme, log, record_id) of every operator that carries one of these identifiers."""
    wanted = [value for value in values if "\0" not in value + (scheme or "")]  # PostgreSQL takes none such
    found = select(IDENTIFIER).where(IDENTIFIER.c.value.in_(wanted))
    if scheme:
        found = found.where(IDENTIFIER.c.scheme == scheme)
    return [tuple(row) for row in connection.execute(found)]


def carrying(connection: Connection, identifier: str, scheme: str | None = None) -> list[tuple[int, str]]:
    """(log, record_id) of every operator that carries an identifier, however it is written; each once."""
    hits = find(connection, [identifiers.plain(identifier)], scheme)
    return list(dict.fromkeys((log, record_id) for _, _, log, record_id in hits))


Name = tuple[int, str, str, str]
"""(log, record_id, name, folded)."""


def names(connection: Connection, limit: int) -> list[Name]:
    """The names of up to `limit` operators, own ones first."""
    return [tuple(row) for row in connection.execute(select(NAME).order_by(NAME.c.log).limit(limit))]


def names_with(connection: Connection, pieces: Sequence[str], limit: int) -> list[Name]:
    """Up to `limit` names that hold one of these pieces, those that hold most of them first.

    Every name is looked at, by the store and without holding more than `limit`: a quarter of a second for
    a million. An index of words would be quicker, and cost every record that is written.
    """
    holds = [NAME.c.folded.contains(piece, autoescape=True) for piece in pieces]
    how_many = sum((case((each, 1), else_=0) for each in holds), literal(0))
    found = select(NAME).where(or_(false(), *holds)).order_by(how_many.desc(), NAME.c.log, NAME.c.record_id)
    return [tuple(row) for row in connection.execute(found.limit(limit))]


_LATER = VERSION.alias()
_FOLLOWS = select(_LATER.c.version).where(
    _LATER.c.record_id == VERSION.c.record_id, _LATER.c.version > VERSION.c.version
)
_BEHIND = Prepared(
    _versions()
    .add_columns(RECORD.c.version.label("named"), ~_FOLLOWS.exists())
    .where(VERSION.c.ledger_seq >= bindparam("start"), VERSION.c.ledger_seq < bindparam("stop"))
)
_DISCLOSED = Prepared(
    _versions()
    .add_columns(ENTRY.c.entry)
    .join(BODY, BODY.c.ledger_seq == VERSION.c.ledger_seq)
    .join(ENTRY, and_(ENTRY.c.log == LEDGER, ENTRY.c.seq == VERSION.c.ledger_seq))
    .where(BODY.c.log == bindparam("of"), BODY.c.seq >= bindparam("start"), BODY.c.seq < bindparam("stop"))
)
_OF: BindParameter[int] = bindparam("of")
_NUMBERS = Prepared(select(IDENTIFIER).where(IDENTIFIER.c.log == _OF, among(IDENTIFIER.c.record_id)))
_NAMES = Prepared(select(NAME).where(NAME.c.log == _OF, among(NAME.c.record_id)))


def versions_behind(connection: Connection, start: int, stop: int) -> list[tuple[StoredVersion, int, bool]]:
    """(version, which is named newest, whether it is the newest) behind entries `start` to `stop`."""
    rows = _BEHIND.rows(connection, {"start": start, "stop": stop})
    return [(StoredVersion(*row[:7]), row[7], bool(row[8])) for row in rows]


def versions_disclosed(
    connection: Connection, log: int, start: int, stop: int
) -> dict[int, tuple[StoredVersion, bytes]]:
    """{ledger entry: (version, the entry's bytes)} of what this range of a channel is kept as being about."""
    rows = _DISCLOSED.rows(connection, {"of": log, "start": start, "stop": stop})
    return {row[4]: (StoredVersion(*row[:7]), row[7]) for row in rows}


Found = dict[str, tuple[set[tuple[str, str]], tuple[str, str] | None]]


def tins(connection: Connection, log: int, record_ids: Sequence[str]) -> dict[str, str]:
    """{record: its TIN} of those of these records that are found by one."""
    found = indexed(connection, log, record_ids)
    return {
        each: value for each, (numbers, _) in found.items() for scheme, value in numbers if scheme == "TIN"
    }


def indexed(connection: Connection, log: int, record_ids: Sequence[str]) -> Found:
    """{record: ((scheme, value) of all it is found by, (name, folded) it is searched by)}."""
    carried: dict[str, set[tuple[str, str]]] = {each: set() for each in record_ids}
    named: dict[str, tuple[str, str]] = {}
    asked = {"of": log, "values": listed(record_ids)}
    for value, scheme, _, record_id in _NUMBERS.each(connection, asked):
        carried[record_id].add((scheme, value))
    for _, record_id, name, folded in _NAMES.each(connection, asked):
        named[record_id] = (name, folded)
    return {each: (numbers, named.get(each)) for each, numbers in carried.items()}
