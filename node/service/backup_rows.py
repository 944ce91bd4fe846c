"""The rows that go into a backup, and which records each is about: under the keys of those it is sealed."""

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, Table, select
from sqlmodel import SQLModel

from node.service.parts import Parts
from node.store import channels, reads, reports
from node.store.database import Row
from node.store.tables import (
    LEDGER,
    AccessBody,
    AccessTold,
    Change,
    ChannelBody,
    LedgerBody,
    MirrorVersion,
    ReadsCounted,
    RecordVersion,
    Report,
)

ROWS_AT_ONCE: Final = 1_000
ABOUT: Final = "_about"
"""The records that a row is about, where it does not say so itself."""

Key = tuple[int, str]
"""A log, and a record: an own one (log 0), or as told on that incoming channel."""


class Owners:
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


def rows_of(connection: Connection, table: Table) -> Iterator[list[Row]]:
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
