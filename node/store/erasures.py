"""Queries over erasures: finding and deleting everything about a record, and who was told and answered."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, String, cast, delete, func, select, update

from node.store import records
from node.store.database import Prepared, Row, add, put, table
from node.store.tables import (
    LEDGER,
    Change,
    Channel,
    ChannelBody,
    ChannelView,
    Decision,
    DoomedKey,
    Erased,
    Erasure,
    ErasureAsked,
    ErasureTold,
    Hold,
    Idempotency,
    Incident,
    Mirror,
    MirrorVersion,
    Record,
    RecordVersion,
)

ERASURE, ERASED, TOLD, ASKED = table(Erasure), table(Erased), table(ErasureTold), table(ErasureAsked)
HOLD, CHANNEL, BODY, VIEW = table(Hold), table(Channel), table(ChannelBody), table(ChannelView)
RECORD, VERSION, DECISION, CHANGE = table(Record), table(RecordVersion), table(Decision), table(Change)
MIRROR, MIRROR_VERSION, INCIDENT = table(Mirror), table(MirrorVersion), table(Incident)
IDEMPOTENCY, DOOMED = table(Idempotency), table(DoomedKey)
_UNSCRUBBED = Prepared(select(ERASURE.c.ledger_seq).where(ERASURE.c.scrubbed.is_(None)).limit(1))
_OPEN_ASKED = Prepared(
    select(ASKED.c.log, ASKED.c.seq, ASKED.c.kept)
    .where(ASKED.c.erasure.is_(None))
    .order_by(ASKED.c.log, ASKED.c.seq)
)

AT_ONCE = 500
"""Entries named in one statement."""
ERASED_WORD = "erased"

ERASED_ANSWER, KEPT_ANSWER = "ERASED", "KEPT"


@dataclass(frozen=True, slots=True)
class Asked:
    """A notice of a partner that asks us to erase, not carried out yet; `kept`: why, if that was answered."""

    log: int
    seq: int
    kept: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """A notice that told a partner of an erasure, and what it answered."""

    log: int
    seq: int
    erasure: int
    answer: str | None
    answered_at: str | None
    ledger_seq: int | None
    reason: str


# An own record


def own_entries(connection: Connection, record_id: str) -> dict[int, list[int]]:
    """{log: entries} behind which something about an own record stands: versions, disclosures, tombstones."""
    seqs = list(
        connection.execute(select(VERSION.c.ledger_seq).where(VERSION.c.record_id == record_id)).scalars()
    )
    found: dict[int, list[int]] = {LEDGER: sorted(seqs)}
    for part in parts_of(seqs):
        about = select(BODY.c.log, BODY.c.seq).where(BODY.c.ledger_seq.in_(part))
        for row in connection.execute(about):
            found.setdefault(row.log, []).append(row.seq)
    return {log: sorted(entries) for log, entries in found.items()}


def delete_own(connection: Connection, record_id: str, entries: Mapping[int, Sequence[int]]) -> None:
    """Delete an own record with its key, its versions, and all that is derived or was disclosed."""
    records.clear_index(connection, LEDGER, [record_id])
    connection.execute(delete(RECORD).where(RECORD.c.record_id == record_id))
    connection.execute(delete(VERSION).where(VERSION.c.record_id == record_id))
    for log, seqs in entries.items():
        for part in parts_of(seqs) if log != LEDGER else ():
            connection.execute(delete(BODY).where(BODY.c.log == log, BODY.c.seq.in_(part)))
    outgoing = select(CHANNEL.c.log)
    for each in (VIEW, DECISION):
        connection.execute(delete(each).where(each.c.log.in_(outgoing), each.c.record_id == record_id))
    _trim_changes(connection, LEDGER, [record_id], {})
    # Answers that were remembered name the record in their JSON; they are forgotten after a week anyhow.
    column, is_text = IDEMPOTENCY.c.answer, connection.dialect.name == "sqlite"
    answer = cast(column, String) if is_text else func.convert_from(column, "UTF8")
    connection.execute(delete(IDEMPOTENCY).where(answer.contains(record_id, autoescape=True)))


# What a partner disclosed


def disclosed_ids(connection: Connection, log: int, seqs: Sequence[int]) -> list[str]:
    """The records that these entries of an incoming channel are about, as far as they were opened."""
    found = set[str]()
    for part in parts_of(seqs):
        about = select(MIRROR_VERSION.c.record_id).where(
            _in(MIRROR_VERSION.c.log, log, MIRROR_VERSION.c.seq, part)
        )
        found |= {each for each in connection.execute(about).scalars() if each is not None}
        apart = select(INCIDENT.c.record_id).where(_in(INCIDENT.c.log, log, INCIDENT.c.seq, part))
        found |= {each for each in connection.execute(apart).scalars() if each is not None}
    return sorted(found)


def entries_of(connection: Connection, log: int, record_ids: Sequence[str]) -> list[int]:
    """The entries of an incoming channel about these records, as far as they were opened."""
    found = list[int]()
    for part in parts_of(record_ids):
        about = (MIRROR_VERSION.c.log == log, MIRROR_VERSION.c.record_id.in_(part))
        found += connection.execute(select(MIRROR_VERSION.c.seq).where(*about)).scalars()
    return sorted(found)


def left_with_nothing(
    connection: Connection, log: int, seqs: Sequence[int], record_ids: Sequence[str]
) -> list[str]:
    """Those of these records of which nothing is left once these entries of a channel are deleted."""
    gone, going = set(record_ids), set(seqs)
    for part in parts_of(record_ids):
        of_part = (MIRROR_VERSION.c.log == log, MIRROR_VERSION.c.record_id.in_(part))
        rows = connection.execute(select(MIRROR_VERSION.c.record_id, MIRROR_VERSION.c.seq).where(*of_part))
        gone -= {record_id for record_id, seq in rows if seq not in going}
    return sorted(gone)


def delete_disclosed(
    connection: Connection, log: int, seqs: Sequence[int], record_ids: Sequence[str]
) -> list[str]:
    """Delete what these entries of an incoming channel said, and of these records what nothing is left of.

    Gives the records of which nothing is left.
    """
    for part in parts_of(seqs):
        of_part = _in(MIRROR_VERSION.c.log, log, MIRROR_VERSION.c.seq, part)
        connection.execute(delete(MIRROR_VERSION).where(of_part))
        _empty_incidents(connection, _in(INCIDENT.c.log, log, INCIDENT.c.seq, part))
    told = _still_told(connection, log, record_ids)
    gone = [each for each in record_ids if each not in told]
    if gone:
        records.clear_index(connection, log, gone)
        connection.execute(delete(MIRROR).where(MIRROR.c.log == log, MIRROR.c.record_id.in_(gone)))
        _empty_incidents(connection, (INCIDENT.c.log == log) & INCIDENT.c.record_id.in_(gone))
    _trim_changes(connection, log, record_ids, told)
    return gone


def only_gone(connection: Connection, log: int, record_ids: Sequence[str]) -> list[str]:
    """Those of these records of which nothing is left but that they left our view."""
    told = _still_told(connection, log, record_ids)
    return [each for each, left in told.items() if all(kind == "tombstone" for kind, _ in left)]


def _still_told(
    connection: Connection, log: int, record_ids: Sequence[str]
) -> dict[str, Counter[tuple[str, str]]]:
    """{record: (kind, time) of what is left of it} of those of which something is left."""
    found: dict[str, Counter[tuple[str, str]]] = {}
    columns = (MIRROR_VERSION.c.record_id, MIRROR_VERSION.c.kind, MIRROR_VERSION.c.received_at)
    for part in parts_of(record_ids):
        of_part = (MIRROR_VERSION.c.log == log, MIRROR_VERSION.c.record_id.in_(part))
        for record_id, kind, time in connection.execute(select(*columns).where(*of_part)):
            found.setdefault(record_id, Counter())[kind, time] += 1
    return found


def _trim_changes(
    connection: Connection, log: int, record_ids: Sequence[str], told: Mapping[str, Counter[tuple[str, str]]]
) -> None:
    """Let the change feed tell of these records only what is still there to be told."""
    surplus = list[int]()
    for part in parts_of(record_ids):
        of_part = (CHANGE.c.log == log, CHANGE.c.record_id.in_(part))
        for row in connection.execute(select(CHANGE).where(*of_part).order_by(CHANGE.c.change.desc())):
            left = told.get(row.record_id, Counter())
            if left[row.kind, row.time] > 0:
                left[row.kind, row.time] -= 1
            else:
                surplus.append(row.change)
    for numbers in parts_of(surplus):
        connection.execute(delete(CHANGE).where(CHANGE.c.change.in_(numbers)))


def _empty_incidents(connection: Connection, about: ColumnElement[bool]) -> None:
    """What failed verification is closed, and says no more about whom or why."""
    gone = {
        "record_id": None,
        "detail": ERASED_WORD,
        "evidence": b"",
        "closed": func.coalesce(INCIDENT.c.closed, INCIDENT.c.last_seen),
    }
    connection.execute(update(INCIDENT).where(about).values(**gone))


# What is kept of an erasure


def add_erasure(
    connection: Connection, ledger_seq: int, time: str, entries: Mapping[int, Sequence[int]]
) -> None:
    """Note an erasure, and the entries that have nothing behind them from now on."""
    add(connection, Erasure, [{"ledger_seq": ledger_seq, "time": time}])
    rows = [{"log": log, "seq": seq, "erasure": ledger_seq} for log, seqs in entries.items() for seq in seqs]
    put(connection, Erased, rows)


def erased(connection: Connection, log: int, start: int, stop: int) -> set[int]:
    """The entries of this range of a log behind which there is nothing any more."""
    found = select(ERASED.c.seq).where(ERASED.c.log == log, ERASED.c.seq >= start, ERASED.c.seq < stop)
    return set(connection.execute(found).scalars())


def taken_by(connection: Connection, erasure: int) -> dict[int, list[int]]:
    """{log: entries} of what one erasure took."""
    found: dict[int, list[int]] = {}
    rows = connection.execute(select(ERASED).where(ERASED.c.erasure == erasure).order_by(ERASED.c.seq))
    for row in rows:
        found.setdefault(row.log, []).append(row.seq)
    return found


def that_took(connection: Connection, log: int, seqs: Sequence[int]) -> list[int]:
    """The erasures that took all of these entries, the first one first."""
    took = list[set[int]]()
    for part in parts_of(seqs):
        named = _in(ERASED.c.log, log, ERASED.c.seq, part)
        found = select(ERASED.c.erasure).where(named).group_by(ERASED.c.erasure)
        took.append(set(connection.execute(found.having(func.count() == len(part))).scalars()))
    return sorted(set[int].intersection(*took)) if took else []


def count_taken(connection: Connection) -> int:
    """How many entries have nothing behind them any more."""
    return int(connection.execute(select(func.count()).select_from(ERASED)).scalar_one())


def erasures(connection: Connection, before: int, limit: int) -> list[Row]:
    """The erasures that the own ledger records, newest first, before a ledger entry."""
    found = select(ERASURE).where(ERASURE.c.ledger_seq < before).order_by(ERASURE.c.ledger_seq.desc())
    return [dict(row) for row in connection.execute(found.limit(limit)).mappings()]


def doom(connection: Connection, owners: Sequence[str]) -> None:
    """Note that the keys of backups of these owners are to be destroyed."""
    put(connection, DoomedKey, [{"owner": owner} for owner in owners])


def doomed(connection: Connection) -> list[str]:
    """The owners whose keys of backups are to be destroyed."""
    return list(connection.execute(select(DOOMED.c.owner)).scalars())


def are_destroyed(connection: Connection, owners: Sequence[str]) -> None:
    """The keys of backups of these owners are destroyed."""
    for part in parts_of(owners):
        connection.execute(delete(DOOMED).where(DOOMED.c.owner.in_(part)))


def newest(connection: Connection) -> int:
    """The newest erasure; -1 when there is none."""
    return int(connection.execute(select(func.coalesce(func.max(ERASURE.c.ledger_seq), -1))).scalar_one())


def set_scrubbed(connection: Connection, last: int, time: str) -> None:
    """The files of the store hold nothing any more of what was erased, up to this erasure."""
    due = (ERASURE.c.scrubbed.is_(None), ERASURE.c.ledger_seq <= last)
    connection.execute(update(ERASURE).where(*due).values(scrubbed=time))


def is_unscrubbed(connection: Connection) -> bool:
    """Whether something was erased since the files of the store were last made free of it."""
    return bool(_UNSCRUBBED.rows(connection, {}))


# Who was told, and who asks


def add_told(connection: Connection, log: int, seq: int, erasure: int) -> None:
    """Note that an entry of an outgoing channel tells its partner of an erasure."""
    add(connection, ErasureTold, [{"log": log, "seq": seq, "erasure": erasure, "reason": ""}])


def told(connection: Connection, log: int, seq: int) -> Told | None:
    """What an entry of an outgoing channel told of an erasure; None if it told of none."""
    row = connection.execute(select(TOLD).where(TOLD.c.log == log, TOLD.c.seq == seq)).first()
    return _told(row) if row else None


def told_of(connection: Connection, erasure: int) -> list[Told]:
    """Everything that was told of one erasure."""
    rows = connection.execute(select(TOLD).where(TOLD.c.erasure == erasure).order_by(TOLD.c.log, TOLD.c.seq))
    return [_told(row) for row in rows]


def _told(row: Any) -> Told:
    return Told(row.log, row.seq, row.erasure, row.answer, row.answered_at, row.ledger_seq, row.reason)


def answer(
    connection: Connection, log: int, seq: int, kind: str, time: str, ledger_seq: int | None, reason: str
) -> None:
    """Keep what a partner answered to a notice."""
    values = {"answer": kind, "answered_at": time, "ledger_seq": ledger_seq, "reason": reason}
    connection.execute(update(TOLD).where(TOLD.c.log == log, TOLD.c.seq == seq).values(**values))


def add_asked(connection: Connection, log: int, seq: int) -> None:
    """Note that an entry of an incoming channel asks us to erase."""
    add(connection, ErasureAsked, [{"log": log, "seq": seq}])


def open_asked(connection: Connection) -> list[Asked]:
    """What partners ask and is not done, in the order of their entries."""
    return [Asked(*row) for row in _OPEN_ASKED.each(connection, {})]


def set_asked(connection: Connection, log: int, seq: int, erasure: int | None, kept: str | None) -> None:
    """Note that it was done, or why it is not."""
    values = {"erasure": erasure, "kept": kept}
    connection.execute(update(ASKED).where(ASKED.c.log == log, ASKED.c.seq == seq).values(**values))


# Holds


def hold(connection: Connection, log: int, record_id: str) -> Row | None:
    """The hold on a record, or on another that has its TIN; None where there is none."""
    tins = records.tins(connection, log, [record_id])
    alike = records.find(connection, list(tins.values()), "TIN")
    for of in [(log, record_id), *(each[2:] for each in alike)]:
        found = select(HOLD).where(HOLD.c.log == of[0], HOLD.c.record_id == of[1])
        if row := connection.execute(found).mappings().first():
            return dict(row)
    return None


def put_hold(connection: Connection, row: Row) -> None:
    """Hold a record, or change why."""
    put(connection, Hold, [row])


def release(connection: Connection, log: int, record_id: str) -> bool:
    """End a hold; False when there is none."""
    found = delete(HOLD).where(HOLD.c.log == log, HOLD.c.record_id == record_id)
    return connection.execute(found).rowcount == 1


def _held(connection: Connection, log: int) -> set[str]:
    """The records of a channel that are held, or have the TIN of one that is."""
    by_log: dict[int, list[str]] = {}
    for row in connection.execute(select(HOLD.c.log, HOLD.c.record_id)):
        by_log.setdefault(row.log, []).append(row.record_id)
    tins = {tin for each in by_log.items() for tin in records.tins(connection, *each).values()}
    alike = records.find(connection, sorted(tins), "TIN")
    return {*by_log.get(log, ()), *(record_id for _, _, other, record_id in alike if other == log)}


def over(connection: Connection, log: int, cutoff: str, limit: int) -> list[int]:
    """The entries of an incoming channel that a later one about the same record replaced by `cutoff`.

    And tombstones of before `cutoff`: nothing has to be known any more of what left our view that long ago.
    """
    later = MIRROR_VERSION.alias()
    replaced = select(later.c.seq).where(
        later.c.log == MIRROR_VERSION.c.log,
        later.c.record_id == MIRROR_VERSION.c.record_id,
        later.c.seq > MIRROR_VERSION.c.seq,
        later.c.received_at < cutoff,
    )
    gone = (MIRROR_VERSION.c.kind == "tombstone") & (MIRROR_VERSION.c.received_at < cutoff)
    found = select(MIRROR_VERSION.c.seq).where(
        MIRROR_VERSION.c.log == log,
        MIRROR_VERSION.c.record_id.is_not(None),
        MIRROR_VERSION.c.received_at < cutoff,
        gone | replaced.exists(),
        MIRROR_VERSION.c.record_id.not_in(_held(connection, log)),
    )
    return list(connection.execute(found.order_by(MIRROR_VERSION.c.seq).limit(limit)).scalars())


def all_disclosed(connection: Connection, log: int, limit: int, cutoff: str = "") -> list[int]:
    """The entries of an incoming channel about records, as far as they were opened; by `cutoff` alone."""
    about = (
        MIRROR_VERSION.c.record_id.is_not(None),
        MIRROR_VERSION.c.record_id.not_in(_held(connection, log)),
    )
    found = select(MIRROR_VERSION.c.seq).where(MIRROR_VERSION.c.log == log, *about)
    found = found.where(MIRROR_VERSION.c.received_at < cutoff) if cutoff else found
    return list(connection.execute(found.order_by(MIRROR_VERSION.c.seq).limit(limit)).scalars())


Item = TypeVar("Item")


def parts_of(items: Sequence[Item]) -> list[Sequence[Item]]:
    """These, as many at a time as one statement names."""
    return [items[at : at + AT_ONCE] for at in range(0, len(items), AT_ONCE)]


def _in(
    log_column: ColumnElement[int], log: int, seq_column: ColumnElement[int], seqs: Sequence[int]
) -> ColumnElement[bool]:
    return (log_column == log) & seq_column.in_(seqs)
