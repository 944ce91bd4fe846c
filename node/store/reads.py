"""Queries over what was read of operators, as it was told to their issuer and by partners to us."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select

from node.store import erasures
from node.store.database import Row, add, table
from node.store.erasures import parts_of
from node.store.tables import (
    LARGEST,
    ChannelBody,
    MirrorVersion,
    ReadsCounted,
    ReadsTold,
    RecordVersion,
)

TOLD, COUNTED = table(ReadsTold), table(ReadsCounted)
BODY, VERSION, MIRROR_VERSION = table(ChannelBody), table(RecordVersion), table(MirrorVersion)


class StoredReads(NamedTuple):
    """One notice, as its table has it."""

    told: int
    log: int
    seq: int
    about: int
    since: str
    until: str
    ledger_seq: int
    part: int
    parts: int
    time: str
    size: int | None


class Count(NamedTuple):
    """One row of a notice."""

    told: int
    entry: int
    kind: str
    purpose: str
    about: int
    record_id: str
    tin: str
    times: int


def keep(connection: Connection, notice: Row, counted: Sequence[Row]) -> None:
    """Keep a notice that was sent or received, and what it says of each record."""
    add(connection, ReadsTold, [notice])
    at = (TOLD.c.log == notice["log"], TOLD.c.seq == notice["seq"])
    told = connection.execute(select(TOLD.c.told).where(*at)).scalar_one()
    about = {"told": told, "about": notice["about"]}
    add(connection, ReadsCounted, [each | about for each in counted])


def last(connection: Connection, log: int, before: int = LARGEST) -> StoredReads | None:
    """The newest notice of a channel before one of its entries."""
    found = select(TOLD).where(TOLD.c.log == log, TOLD.c.seq < before).order_by(TOLD.c.seq.desc()).limit(1)
    row = connection.execute(found).first()
    return StoredReads(*row) if row else None


def listed(
    connection: Connection, before: int, limit: int, record_ids: Sequence[str] = ()
) -> list[StoredReads]:
    """The notices before a number, newest first; those about records, where some are named."""
    found = select(TOLD).where(TOLD.c.told < before)
    if record_ids:
        about = select(COUNTED.c.told).where(COUNTED.c.record_id.in_(record_ids))
        found = found.where(TOLD.c.told.in_(about))
    rows = connection.execute(found.order_by(TOLD.c.told.desc()).limit(limit))
    return [StoredReads(*row) for row in rows]


def all_told(connection: Connection) -> list[StoredReads]:
    """All of them, in the order of each channel."""
    rows = connection.execute(select(TOLD).order_by(TOLD.c.log, TOLD.c.seq))
    return [StoredReads(*row) for row in rows]


def counted(connection: Connection, told: int) -> list[Count]:
    """What one notice says, as far as it was not erased, in its order."""
    found = select(COUNTED).where(COUNTED.c.told == told)
    rows = connection.execute(found.order_by(COUNTED.c.entry, COUNTED.c.kind, COUNTED.c.purpose))
    return [Count(*row) for row in rows]


def told_of(connection: Connection, log: int, record_ids: Sequence[str]) -> dict[str, int]:
    """{record: the newest entry of an incoming channel that tells of it}."""
    found: dict[str, int] = {}
    for part in parts_of(record_ids):
        of_part = (MIRROR_VERSION.c.log == log, MIRROR_VERSION.c.record_id.in_(part))
        newest = select(MIRROR_VERSION.c.record_id, func.max(MIRROR_VERSION.c.seq)).where(*of_part)
        rows = connection.execute(newest.group_by(MIRROR_VERSION.c.record_id))
        found.update((record_id, seq) for record_id, seq in rows)
    return found


def records_at(connection: Connection, log: int, entries: Collection[int]) -> dict[int, str]:
    """{entry: own record} of entries of an outgoing channel, of those that rest on a version still here."""
    found: dict[int, str] = {}
    for part in parts_of(sorted(set(entries))):
        rests = select(BODY.c.seq, VERSION.c.record_id).join(
            VERSION, BODY.c.ledger_seq == VERSION.c.ledger_seq
        )
        rows = connection.execute(rests.where(BODY.c.log == log, BODY.c.seq.in_(part)))
        found.update((seq, record_id) for seq, record_id in rows)
    return found


# Erasing


def _entries_about(connection: Connection, about: int, record_ids: Sequence[str]) -> dict[int, list[int]]:
    """{log: entries} of the notices that say something of these records."""
    found: dict[int, set[int]] = {}
    for part in parts_of(record_ids):
        named = select(TOLD.c.log, TOLD.c.seq).join(COUNTED, COUNTED.c.told == TOLD.c.told)
        of_part = (COUNTED.c.about == about, COUNTED.c.record_id.in_(part))
        for log, seq in connection.execute(named.where(*of_part).distinct()):
            found.setdefault(log, set()).add(seq)
    return {log: sorted(seqs) for log, seqs in found.items()}


def with_entries_about(
    connection: Connection, about: int, record_ids: Sequence[str], entries: Mapping[int, Sequence[int]]
) -> dict[int, list[int]]:
    """{log: entries}: these, and those that tell how often records were read and have a body still."""
    found = {log: set(seqs) for log, seqs in entries.items()}
    for log, seqs in _entries_about(connection, about, record_ids).items():
        gone = erasures.erased(connection, log, seqs[0], seqs[-1] + 1)
        found.setdefault(log, set()).update(seq for seq in seqs if seq not in gone)
    return {log: sorted(seqs) for log, seqs in found.items() if seqs}


def forget(connection: Connection, about: int, record_ids: Sequence[str]) -> None:
    """Delete what was told of these records; what was told of others with them stays."""
    for part in parts_of(record_ids):
        connection.execute(delete(COUNTED).where(COUNTED.c.about == about, COUNTED.c.record_id.in_(part)))


Key = tuple[int, str]


def owners(connection: Connection, entries: Mapping[int, Sequence[int]]) -> dict[tuple[int, int], list[Key]]:
    """{(log, entry): records, by log and id} of the notices among these entries of channels, by log."""
    found: dict[tuple[int, int], list[Key]] = {}
    columns = (TOLD.c.log, TOLD.c.seq, COUNTED.c.about, COUNTED.c.record_id)
    for log, seqs in entries.items():
        for part in parts_of(seqs):
            named = select(*columns).join(COUNTED, COUNTED.c.told == TOLD.c.told).distinct()
            rows = connection.execute(named.where(TOLD.c.log == log, TOLD.c.seq.in_(part)))
            for of, seq, about, record_id in rows:
                found.setdefault((of, seq), []).append((about, record_id))
    return {at: sorted(each) for at, each in found.items()}
