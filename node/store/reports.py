"""Queries over reports on single operators, and over own decisions not to recognise one."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select, update

from node.store.database import Prepared, Row, add, table
from node.store.erasures import parts_of
from node.store.tables import (
    LEDGER,
    Change,
    ChannelBody,
    LedgerBody,
    LocalDecision,
    MirrorVersion,
    RecordVersion,
    Report,
)

REPORT, LOCAL, CHANGE = table(Report), table(LocalDecision), table(Change)
BODY, LEDGER_BODY = table(ChannelBody), table(LedgerBody)
MIRROR_VERSION, VERSION = table(MirrorVersion), table(RecordVersion)

IRREGULARITY, SUSPENDED, RESUMED = "IRREGULARITY", "SUSPENDED", "RESUMED"
LOCAL_WORD = "local"
"""The kind of a change that tells of an own decision about a partner's operator."""


class StoredReport(NamedTuple):
    """One report, as its table has it."""

    report: int
    log: int
    seq: int
    about: int
    record_id: str
    tin: str
    kind: str
    code: str
    text: str
    time: str
    by: str
    answer_seq: int | None
    answered_at: str | None
    answer: str | None
    answered_by: str | None


class Decided(NamedTuple):
    """One own decision, and the ledger entry that records it."""

    ledger_seq: int
    log: int
    record_id: str
    tin: str
    decision: str
    code: str
    reason: str
    by: str
    time: str


# Reports


def add_report(connection: Connection, row: Row) -> None:
    """Keep a report that was sent or received."""
    add(connection, Report, [row])


def at(connection: Connection, log: int, seq: int) -> StoredReport | None:
    """The report in an entry of a channel."""
    row = connection.execute(select(REPORT).where(REPORT.c.log == log, REPORT.c.seq == seq)).first()
    return StoredReport(*row) if row else None


def numbered(connection: Connection, report: int) -> StoredReport | None:
    """The report with this number."""
    row = connection.execute(select(REPORT).where(REPORT.c.report == report)).first()
    return StoredReport(*row) if row else None


def about(connection: Connection, log: int, record_ids: Sequence[str]) -> list[StoredReport]:
    """Every report on these records, own (log 0) or told on an incoming channel, oldest first."""
    found = select(REPORT).where(REPORT.c.about == log, REPORT.c.record_id.in_(record_ids))
    return [StoredReport(*row) for row in connection.execute(found.order_by(REPORT.c.report))]


def listed(connection: Connection, before: int, limit: int) -> list[StoredReport]:
    """The reports before a number, newest first."""
    found = select(REPORT).where(REPORT.c.report < before).order_by(REPORT.c.report.desc()).limit(limit)
    return [StoredReport(*row) for row in connection.execute(found)]


def all_reports(connection: Connection) -> list[StoredReport]:
    """All of them."""
    return [StoredReport(*row) for row in connection.execute(select(REPORT).order_by(REPORT.c.report))]


def acknowledge(connection: Connection, report: int, seq: int, time: str, text: str, by: str) -> None:
    """Note the acknowledgement of a report, and the entry that told it."""
    values = {"answer_seq": seq, "answered_at": time, "answer": text, "answered_by": by}
    connection.execute(update(REPORT).where(REPORT.c.report == report).values(**values))


_ANY_OF_OWN = Prepared(select(REPORT.c.report).where(REPORT.c.about == LEDGER).limit(1))


def has_own(connection: Connection) -> bool:
    """Whether a partner ever reported on an own operator."""
    return bool(_ANY_OF_OWN.rows(connection, {}))


def disclosed_record(connection: Connection, log: int, seq: int) -> tuple[str, int] | None:
    """(record, ledger entry) that an entry of an outgoing channel is about, while both are there."""
    found = (
        select(VERSION.c.record_id, VERSION.c.ledger_seq)
        .join(BODY, BODY.c.ledger_seq == VERSION.c.ledger_seq)
        .where(BODY.c.log == log, BODY.c.seq == seq)
    )
    row = connection.execute(found).first()
    return (str(row[0]), int(row[1])) if row else None


def last_disclosure(connection: Connection, log: int, record_id: str) -> int | None:
    """The newest entry of an incoming channel that disclosed a record."""
    of_record = (MIRROR_VERSION.c.log == log, MIRROR_VERSION.c.record_id == record_id)
    found = select(func.max(MIRROR_VERSION.c.seq)).where(*of_record, MIRROR_VERSION.c.kind == "disclosure")
    seq = connection.execute(found).scalar()
    return None if seq is None else int(seq)


# Own decisions


def add_decision(connection: Connection, row: Row) -> None:
    """Keep a decision that the own ledger records."""
    add(connection, LocalDecision, [row])


_DECISIONS = Prepared(select(LOCAL).order_by(LOCAL.c.ledger_seq))


def decisions(connection: Connection) -> list[Decided]:
    """Every decision, in the order of the ledger."""
    return [Decided(*row) for row in _DECISIONS.rows(connection, {})]


def decisions_on(connection: Connection, log: int, record_ids: Sequence[str]) -> list[Decided]:
    """The decisions on these records of an incoming channel, in the order of the ledger."""
    found = select(LOCAL).where(LOCAL.c.log == log, LOCAL.c.record_id.in_(record_ids))
    return [Decided(*row) for row in connection.execute(found.order_by(LOCAL.c.ledger_seq))]


def standing(made: Sequence[Decided]) -> dict[tuple[int, str], Decided]:
    """{(log, record): decision} of what is suspended after these decisions."""
    newest = {(each.log, each.record_id): each for each in made}
    return {key: each for key, each in newest.items() if each.decision == SUSPENDED}


def was_told(connection: Connection, log: int, record_id: str, decided: Decided) -> bool:
    """Whether an incoming channel had told of a record when something was decided of another one."""
    told = select(func.min(CHANGE.c.change)).where(CHANGE.c.log == log, CHANGE.c.record_id == record_id)
    about = (CHANGE.c.log == LEDGER, CHANGE.c.kind == LOCAL_WORD, CHANGE.c.record_id == decided.record_id)
    made = select(func.max(CHANGE.c.change)).where(*about, CHANGE.c.time == decided.time)
    first, then = connection.execute(told).scalar(), connection.execute(made).scalar()
    return first is not None and then is not None and first < then


# Erasing


def entries_about(found: Sequence[StoredReport]) -> dict[int, list[int]]:
    """{log: entries} of the notices that carried these reports."""
    entries: dict[int, list[int]] = {}
    for each in found:
        entries.setdefault(each.log, []).append(each.seq)
    return {log: sorted(seqs) for log, seqs in entries.items()}


def delete_reports(connection: Connection, found: Sequence[StoredReport]) -> None:
    """Delete reports."""
    connection.execute(delete(REPORT).where(REPORT.c.report.in_([each.report for each in found])))


def delete_sent(connection: Connection, entries: Mapping[int, Sequence[int]]) -> None:
    """Delete what entries of outgoing channels carried."""
    for log, seqs in entries.items():
        for part in parts_of(seqs):
            connection.execute(delete(BODY).where(BODY.c.log == log, BODY.c.seq.in_(part)))


def delete_received(connection: Connection, log: int, seqs: Sequence[int]) -> None:
    """Delete what notices of an incoming channel said, each with its row of the change feed."""
    times, gone = list[str](), MIRROR_VERSION.c.record_id.is_(None)
    for part in parts_of(seqs):
        of_these = (MIRROR_VERSION.c.log == log, MIRROR_VERSION.c.seq.in_(part))
        times += connection.execute(select(MIRROR_VERSION.c.received_at).where(*of_these, gone)).scalars()
        connection.execute(delete(MIRROR_VERSION).where(*of_these, gone))
    for time in times:
        alike = (CHANGE.c.log == log, CHANGE.c.kind == "notice", CHANGE.c.time == time)
        first = select(func.min(CHANGE.c.change)).where(*alike).scalar_subquery()
        connection.execute(delete(CHANGE).where(CHANGE.c.change == first))


def delete_decisions(connection: Connection, made: Sequence[Decided]) -> None:
    """Delete own decisions, with what stood behind the ledger's entries, and one row of the feed for each.

    Another decision on the same record, under another agreement, keeps its own.
    """
    seqs = [each.ledger_seq for each in made]
    connection.execute(delete(LEDGER_BODY).where(LEDGER_BODY.c.seq.in_(seqs)))
    connection.execute(delete(LOCAL).where(LOCAL.c.ledger_seq.in_(seqs)))
    for each in made:
        about = (CHANGE.c.log == LEDGER, CHANGE.c.kind == LOCAL_WORD, CHANGE.c.record_id == each.record_id)
        found = select(func.min(CHANGE.c.change)).where(*about, CHANGE.c.time == each.time)
        connection.execute(delete(CHANGE).where(CHANGE.c.change == found.scalar_subquery()))


def notices_among(connection: Connection, log: int, seqs: Sequence[int]) -> dict[int, bytes]:
    """{entry: body} of the notices among entries of an incoming channel."""
    found: dict[int, bytes] = {}
    for named in parts_of(seqs):
        of_these = (MIRROR_VERSION.c.log == log, MIRROR_VERSION.c.seq.in_(named))
        part = select(MIRROR_VERSION.c.seq, MIRROR_VERSION.c.body)
        part = part.where(*of_these, MIRROR_VERSION.c.record_id.is_(None))
        found |= {row.seq: row.body for row in connection.execute(part)}
    return found


def reported_among(connection: Connection, log: int, seqs: Sequence[int]) -> list[StoredReport]:
    """The reports in these entries of a channel."""
    found: list[StoredReport] = []
    for named in parts_of(seqs):
        of_these = (REPORT.c.log == log, REPORT.c.seq.in_(named))
        found += [StoredReport(*row) for row in connection.execute(select(REPORT).where(*of_these))]
    return found
