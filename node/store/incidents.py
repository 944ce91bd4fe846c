"""Queries over incidents: what peers sent that failed verification, with its evidence, bounded by peer."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, select, update

from node.ledger.encoding import b64u
from node.store.channels import told_of
from node.store.database import Prepared, Row, add, table
from node.store.tables import Incident

INCIDENT = table(Incident)
WHOLE_PEER = -1
"""The log number of an incident that is about a peer's answer as a whole."""
FOLDED = -1
"""The entry number of the one incident of a channel that counts what is not kept singly."""
INCIDENTS_LIMIT = 10_000
"""Most incidents kept singly of one peer: about its answers as a whole, and again about entries."""
OVERTAKEN_LIMIT = 100
"""Of a peer with as many incidents about entries, those that a later entry overtook are only counted."""
EVIDENCE_LIMIT_BYTES = 256 * 2**10
PEER_EVIDENCE_LIMIT_BYTES = 32 * 2**20
"""Evidence kept of one incident; of one peer's answers as a whole, and again of its entries."""
BEGINNING_BYTES = 2**10
_SAME = ("peer", "log", "seq", "kind", "evidence_digest")
_OPEN_KINDS = Prepared(
    select(INCIDENT.c.kind)
    .where(
        INCIDENT.c.peer == bindparam("of"),
        INCIDENT.c.log == bindparam("about"),
        INCIDENT.c.closed.is_(None),
    )
    .distinct()
)
_OPEN_DETAIL = Prepared(
    select(INCIDENT.c.detail)
    .where(
        INCIDENT.c.peer == bindparam("of"),
        INCIDENT.c.log == WHOLE_PEER,
        INCIDENT.c.kind == bindparam("what"),
        INCIDENT.c.closed.is_(None),
    )
    .order_by(INCIDENT.c.incident)
    .limit(1)
)
_CLAIMLESS = b64u(hashlib.sha256().digest())
REASON_LIMIT = 1_000
"""Characters kept of why something failed: a peer's words may be in it."""


def row(
    peer: str, log: int, seq: int, kind: str, detail: str, evidence: bytes, time: str, claim: bytes = b""
) -> Row:
    """Something from a peer that failed verification, as it is kept; another `claim` is another incident."""
    row = {"peer": peer, "log": log, "seq": seq, "kind": kind, "record_id": None}
    row |= {
        "detail": detail[:REASON_LIMIT].replace("\0", "\ufffd"),  # PostgreSQL takes none such
        "evidence": evidence,
        "evidence_digest": b64u(hashlib.sha256(claim).digest()),
    }
    return row | {"first_seen": time, "last_seen": time, "closed": None}


def note(connection: Connection, row: Row) -> None:
    """Keep something that failed verification with its evidence; the same again is only renewed."""
    note_all(connection, [row])


def note_all(connection: Connection, rows: Sequence[Row]) -> None:
    """Keep what failed of one log of a peer, with its evidence; the same again is only renewed.

    A peer's room is bounded, and what is open is never let go of: the oldest closed ones make room.
    Where none is left, an entry is counted in one incident of its channel, and an answer as a whole in
    one of its kind. An incident names a record only with the whole evidence, which shows that it is so.
    """
    new = [row for row in rows if not _is_renewed(connection, row)]
    if not new:
        return
    is_whole = new[0]["log"] == WHOLE_PEER
    count, held = _make_room(connection, new)
    kept, folded = list[Row](), list[Row]()
    for each in new:
        row = _within(each, min(EVIDENCE_LIMIT_BYTES, PEER_EVIDENCE_LIMIT_BYTES - held))
        is_single = not is_whole and row["seq"] < 0
        if is_single or count < (OVERTAKEN_LIMIT if row["closed"] else INCIDENTS_LIMIT):
            kept.append(row)
            count, held = count + 1, held + len(row["evidence"])
        else:
            folded.append(row)
    add(connection, Incident, kept)
    if is_whole:
        for row in folded:
            claimless = row | {"evidence_digest": _CLAIMLESS}
            if not _is_renewed(connection, claimless):
                add(connection, Incident, [claimless])
    elif folded:
        _fold(connection, folded[0], len(folded), is_open=any(row["closed"] is None for row in folded))


def is_kept(connection: Connection, row: Row) -> bool:
    """Whether this very thing is an open incident already, or counted in one of its kind for want of room."""
    same = [INCIDENT.c[name] == row[name] for name in _SAME if name != "evidence_digest"]
    digests = INCIDENT.c.evidence_digest.in_((row["evidence_digest"], _CLAIMLESS))
    found = select(INCIDENT.c.incident).where(*same, digests, INCIDENT.c.closed.is_(None)).limit(1)
    return connection.execute(found).first() is not None


def _is_renewed(connection: Connection, row: Row) -> bool:
    same = [INCIDENT.c[name] == row[name] for name in _SAME]
    values = {name: row[name] for name in ("last_seen", "detail", "closed")}
    return connection.execute(update(INCIDENT).where(*same).values(**values)).rowcount > 0


def _within(row: Row, room: int) -> Row:
    evidence = row["evidence"]
    if len(evidence) <= room:
        return row
    told = {"begins": evidence[:BEGINNING_BYTES].decode(errors="replace"), "bytes": len(evidence)}
    told["sha256"] = hashlib.sha256(evidence).hexdigest()
    return row | {"evidence": orjson.dumps(told), "record_id": None}


def _make_room(connection: Connection, new: Sequence[Row]) -> tuple[int, int]:
    """Delete the oldest closed incidents until new ones have room; gives the count and bytes now held."""
    peer, log = new[0]["peer"], new[0]["log"]
    of_entries = and_(INCIDENT.c.log != WHOLE_PEER, INCIDENT.c.seq >= 0)
    group = (INCIDENT.c.peer == peer, INCIDENT.c.log == log if log == WHOLE_PEER else of_entries)
    size = func.length(INCIDENT.c.evidence)
    totals = select(func.count(), func.coalesce(func.sum(size), 0)).where(*group)
    count, held = map(int, connection.execute(totals).one())
    still_open = [row for row in new if row["closed"] is None]
    most = INCIDENTS_LIMIT - len(still_open)
    wanted = sum(min(len(row["evidence"]), EVIDENCE_LIMIT_BYTES) for row in still_open)
    if count <= most and held + wanted <= PEER_EVIDENCE_LIMIT_BYTES:
        return count, held
    closed = select(INCIDENT.c.incident, INCIDENT.c.log, INCIDENT.c.seq, size.label("size"))
    closed = closed.where(*group, INCIDENT.c.closed.is_not(None))
    gone: dict[int, list[int]] = {}
    for row in connection.execute(closed.order_by(INCIDENT.c.kind != "invalid", INCIDENT.c.incident)).all():
        if count <= most and held + wanted <= PEER_EVIDENCE_LIMIT_BYTES:
            break
        connection.execute(delete(INCIDENT).where(INCIDENT.c.incident == row.incident))
        gone.setdefault(row.log, []).append(row.seq)
        count, held = count - 1, held - row.size
    for each, seqs in gone.items() if log != WHOLE_PEER else ():
        unmirrored = len(seqs) - sum(
            len(told_of(connection, each, seqs[at : at + 500])) for at in range(0, len(seqs), 500)
        )
        if unmirrored:
            _fold(connection, new[0] | {"log": each}, unmirrored, is_open=False)
    return count, held


def _fold(connection: Connection, row: Row, count: int, *, is_open: bool) -> None:
    """Count entries of a channel that failed; while one of them was open, so is the incident that counts."""
    folded = row | {"seq": FOLDED, "kind": "invalid", "record_id": None, "evidence_digest": _CLAIMLESS}
    old = connection.execute(
        select(INCIDENT.c.evidence, INCIDENT.c.closed).where(
            *(INCIDENT.c[name] == folded[name] for name in _SAME)
        )
    ).first()
    count += int(old.evidence) if old else 0
    folded |= {"evidence": str(count).encode(), "first_seen": row["last_seen"]}
    folded["detail"] = f"{count} more entries of this channel failed: not kept singly"
    folded["closed"] = None if is_open else old.closed if old else row["last_seen"]
    if _is_renewed(connection, folded):
        same = (INCIDENT.c[name] == folded[name] for name in _SAME)
        connection.execute(update(INCIDENT).where(*same).values(evidence=folded["evidence"]))
    else:
        add(connection, Incident, [folded])


def close_kinds(connection: Connection, peer: str, log: int, kinds: Sequence[str], time: str) -> int:
    """Close open incidents that no longer hold; gives how many."""
    if _open_kinds(connection, peer, log).isdisjoint(kinds):
        return 0
    open_ones = (
        INCIDENT.c.peer == peer,
        INCIDENT.c.log == log,
        INCIDENT.c.kind.in_(kinds),
        INCIDENT.c.closed.is_(None),
    )
    return connection.execute(update(INCIDENT).where(*open_ones).values(closed=time)).rowcount


def settle(connection: Connection, log: int, record_ids: Sequence[str], time: str) -> None:
    """Close incidents about records of which a newer, verified entry has come."""
    if not record_ids:
        return
    about = (INCIDENT.c.log == log, INCIDENT.c.record_id.in_(record_ids), INCIDENT.c.closed.is_(None))
    connection.execute(update(INCIDENT).where(*about).values(closed=time))


def close(connection: Connection, incident: int, time: str) -> bool:
    """Close one incident; False when there is no open one of this number."""
    found = update(INCIDENT).where(INCIDENT.c.incident == incident, INCIDENT.c.closed.is_(None))
    return connection.execute(found.values(closed=time)).rowcount == 1


def listed(connection: Connection, *, only_open: bool, limit: int = 1000) -> list[Row]:
    """What failed verification, newest first, without the evidence bytes."""
    columns = [column for column in INCIDENT.c if column.name != "evidence"]
    found = select(*columns).order_by(INCIDENT.c.incident.desc()).limit(limit)
    if only_open:
        found = found.where(INCIDENT.c.closed.is_(None))
    return [dict(row) for row in connection.execute(found).mappings()]


def _open_about(peer: str) -> tuple[ColumnElement[bool], ...]:
    return INCIDENT.c.peer == peer, INCIDENT.c.log == WHOLE_PEER, INCIDENT.c.closed.is_(None)


def _open_kinds(connection: Connection, peer: str, log: int) -> set[str]:
    return {kind for (kind,) in _OPEN_KINDS.each(connection, {"of": peer, "about": log})}


def is_open(connection: Connection, peer: str, *kinds: str) -> bool:
    """Whether an incident of one of these kinds is open about a peer as a whole."""
    return not _open_kinds(connection, peer, WHOLE_PEER).isdisjoint(kinds)


def open_detail(connection: Connection, peer: str, kind: str) -> str:
    """What the first open incident of this kind about a peer as a whole says; empty when there is none."""
    rows = _OPEN_DETAIL.rows(connection, {"of": peer, "what": kind})
    return str(rows[0][0]) if rows else ""


def last_of_kind(connection: Connection, peer: str, kind: str) -> str | None:
    """When the last incident of this kind about a peer as a whole was first seen, open or closed."""
    about = (INCIDENT.c.peer == peer, INCIDENT.c.log == WHOLE_PEER, INCIDENT.c.kind == kind)
    found: str | None = connection.execute(select(func.max(INCIDENT.c.first_seen)).where(*about)).scalar()
    return found


def open_of_kind(connection: Connection, peer: str, kind: str) -> list[Row]:
    """The open incidents of this kind about a peer as a whole, with their evidence bytes."""
    if not is_open(connection, peer, kind):
        return []
    found = select(INCIDENT).where(*_open_about(peer), INCIDENT.c.kind == kind)
    found = found.order_by(INCIDENT.c.incident)
    return [dict(row) for row in connection.execute(found).mappings()]


def still_open(connection: Connection, peer: str, log: int) -> list[Row]:
    """The open incidents of one log of a peer, in the order of its entries, without the evidence bytes."""
    columns = [column for column in INCIDENT.c if column.name != "evidence"]
    about = (INCIDENT.c.peer == peer, INCIDENT.c.log == log, INCIDENT.c.closed.is_(None))
    found = select(*columns).where(*about)
    rows = connection.execute(found.order_by(INCIDENT.c.seq, INCIDENT.c.incident)).mappings()
    return [dict(row) for row in rows]


def with_evidence(connection: Connection, incident: int) -> Row | None:
    """One incident with its evidence bytes, or None."""
    row = connection.execute(select(INCIDENT).where(INCIDENT.c.incident == incident)).mappings().first()
    return dict(row) if row else None


@dataclass(frozen=True, slots=True)
class SetApart:
    """An incident about one entry: which, about whom if that is known, why, and since when."""

    seq: int
    record_id: str | None
    detail: str
    first_seen: str


def set_apart(connection: Connection, peer: str, log: int) -> tuple[list[SetApart], int]:
    """The entries that were set apart on a channel, and how many more were counted only."""
    found = select(INCIDENT.c.seq, INCIDENT.c.record_id, INCIDENT.c.detail, INCIDENT.c.first_seen)
    about = (INCIDENT.c.log == log, INCIDENT.c.kind == "invalid", INCIDENT.c.peer == peer)
    singly = connection.execute(found.where(*about, INCIDENT.c.seq >= 0).order_by(INCIDENT.c.seq))
    counted = connection.execute(select(INCIDENT.c.evidence).where(*about, INCIDENT.c.seq == FOLDED)).scalar()
    return [SetApart(*row) for row in singly], int(counted or 0)


def named_apart(connection: Connection, log: int, start: int, stop: int) -> dict[int, tuple[str, bytes]]:
    """{entry: (record, evidence)} of those set apart in this range that name a record."""
    found = select(INCIDENT.c.seq, INCIDENT.c.record_id, INCIDENT.c.evidence).where(
        INCIDENT.c.log == log,
        INCIDENT.c.kind == "invalid",
        INCIDENT.c.record_id.is_not(None),
        INCIDENT.c.seq >= start,
        INCIDENT.c.seq < stop,
    )
    return {row.seq: (row.record_id, row.evidence) for row in connection.execute(found)}
