"""Queries over channels: outgoing (what we disclosed) and incoming (what we verified and mirror)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Connection,
    and_,
    bindparam,
    exists,
    func,
    or_,
    select,
    tuple_,
    update,
)

from node.store.database import EachOf, Prepared, Row, add, among, listed, put, table
from node.store.tables import (
    LEDGER,
    Change,
    Channel,
    ChannelBody,
    ChannelEpoch,
    ChannelView,
    Decision,
    Erasure,
    Incident,
    LocalDecision,
    LogEntry,
    LogHead,
    Mirror,
    MirrorVersion,
    OperatorIdentifier,
    RecordVersion,
)

CHANNEL, EPOCH, BODY, VIEW = table(Channel), table(ChannelEpoch), table(ChannelBody), table(ChannelView)
DECISION, MIRROR, MIRROR_VERSION = table(Decision), table(Mirror), table(MirrorVersion)
INCIDENT, CHANGE, IDENTIFIER = table(Incident), table(Change), table(OperatorIdentifier)
HEAD, VERSION, ERASURE, ENTRY = table(LogHead), table(RecordVersion), table(Erasure), table(LogEntry)
LOCAL = table(LocalDecision)

_CHANNELS = Prepared(select(CHANNEL).order_by(CHANNEL.c.log))
_NEWEST = Prepared(select(func.max(CHANNEL.c.log)))
_PAIR = (CHANNEL.c.issuer == bindparam("by"), CHANNEL.c.partner == bindparam("to"))
_CHANNEL = Prepared(select(CHANNEL).where(CHANNEL.c.agreement == bindparam("under"), *_PAIR))
_EPOCHS = select(EPOCH).where(EPOCH.c.log == bindparam("of")).order_by(EPOCH.c.epoch.desc())
_NEWEST_EPOCH = Prepared(_EPOCHS.limit(1))


@dataclass(frozen=True, slots=True)
class StoredChannel:
    """One channel; `state` and `day` are those it was last brought into line with.

    `place`: day and last record of a pass over all records that is under way; None when none is.
    """

    log: int
    agreement: str
    issuer: str
    partner: str
    state: str
    day: str
    place: str | None = None

    def decided_up_to(self, day: str) -> str:
        """The last record that was decided again on this day, of those in the order of their ids."""
        of_day, _, record_id = (self.place or "").partition(" ")
        return record_id if of_day == day else ""


@dataclass(frozen=True, slots=True)
class StoredEpoch:
    """One epoch key, wrapped for the store and (outgoing) sealed for the partner."""

    log: int
    epoch: int
    wrapped: bytes
    envelope: bytes | None


class Mirrored(NamedTuple):
    """What an incoming channel says of one record now; `fields` None: it left our view.

    What is behind `doubt` stands in `fields` too: an answer decides on it without reading them.
    """

    log: int
    record_id: str
    seq: int
    fields: bytes | None
    ledger_seq: int
    credential: str
    doubt: str | None
    tin: str | None
    status: str | None
    status_since: str | None
    valid_to: str | None
    programme: str | None
    scope: str | None
    fetched_at: str | None


def channels(connection: Connection) -> list[StoredChannel]:
    """Every channel, outgoing and incoming."""
    return [StoredChannel(*row) for row in _CHANNELS.rows(connection, {})]


def newest(connection: Connection) -> int:
    """The number of the newest channel; 0 when there is none."""
    [(log,)] = _NEWEST.rows(connection, {})
    return log or 0


def by_log(connection: Connection) -> dict[int, StoredChannel]:
    """The same by their logs."""
    return {each.log: each for each in channels(connection)}


def channel(connection: Connection, agreement: str, issuer: str, partner: str) -> StoredChannel | None:
    """One channel, or None."""
    rows = _CHANNEL.rows(connection, {"under": agreement, "by": issuer, "to": partner})
    return StoredChannel(*rows[0]) if rows else None


def add_channel(connection: Connection, new: StoredChannel) -> None:
    """Store a new channel, whose log exists already."""
    row = {
        "log": new.log,
        "agreement": new.agreement,
        "issuer": new.issuer,
        "partner": new.partner,
        "state": new.state,
        "day": new.day,
    }
    add(connection, Channel, [row])


def set_line(connection: Connection, log: int, state: str, day: str) -> None:
    """Note the state and day with which a channel is now in line; a pass that was under way is over."""
    connection.execute(update(CHANNEL).where(CHANNEL.c.log == log).values(state=state, day=day, place=None))


def set_place(connection: Connection, log: int, day: str, record_id: str) -> None:
    """Note the last record that a pass has decided."""
    connection.execute(update(CHANNEL).where(CHANNEL.c.log == log).values(place=f"{day} {record_id}"))


def newest_epoch(connection: Connection, log: int) -> StoredEpoch | None:
    """The epoch key in use, or None."""
    rows = _NEWEST_EPOCH.rows(connection, {"of": log})
    return StoredEpoch(*rows[0]) if rows else None


def epochs(connection: Connection, log: int, numbers: Sequence[int]) -> dict[int, StoredEpoch]:
    """These epoch keys, by number."""
    rows = connection.execute(select(EPOCH).where(EPOCH.c.log == log, EPOCH.c.epoch.in_(numbers)))
    return {row.epoch: StoredEpoch(*row) for row in rows}


def add_epoch(connection: Connection, new: StoredEpoch) -> None:
    """Store a new epoch key."""
    add(
        connection,
        ChannelEpoch,
        [{"log": new.log, "epoch": new.epoch, "wrapped": new.wrapped, "envelope": new.envelope}],
    )


def epoch_count(connection: Connection) -> int:
    """How many epoch keys are kept."""
    return connection.execute(select(func.count()).select_from(EPOCH)).scalar_one()


def wrapped_after(
    connection: Connection, after: tuple[int, int], limit: int
) -> list[tuple[int, int, bytes, str]]:
    """(log, epoch, wrapped key, origin of the log) behind (log, epoch), in order."""
    found = (
        select(EPOCH.c.log, EPOCH.c.epoch, EPOCH.c.wrapped, HEAD.c.origin)
        .join(HEAD, HEAD.c.log == EPOCH.c.log)
        .where(tuple_(EPOCH.c.log, EPOCH.c.epoch) > tuple_(*after))
        .order_by(EPOCH.c.log, EPOCH.c.epoch)
        .limit(limit)
    )
    return [tuple(row) for row in connection.execute(found)]


def set_wrapped(connection: Connection, log: int, epoch: int, wrapped: bytes) -> None:
    """Keep an epoch key that was wrapped anew."""
    of = (EPOCH.c.log == log, EPOCH.c.epoch == epoch)
    connection.execute(update(EPOCH).where(*of).values(wrapped=wrapped))


def set_envelope(connection: Connection, log: int, epoch: int, envelope: bytes) -> None:
    """Deliver an epoch key anew."""
    of = (EPOCH.c.log == log, EPOCH.c.epoch == epoch)
    connection.execute(update(EPOCH).where(*of).values(envelope=envelope))


def views(connection: Connection, record_ids: Sequence[str]) -> dict[tuple[int, str], bytes | None]:
    """{(channel, record): digest of what its partner sees, None for a tombstone}; absent: never seen."""
    # The channels are named so that the primary key (channel, record) is searched, not the table scanned.
    wanted = (VIEW.c.log.in_(select(CHANNEL.c.log)), VIEW.c.record_id.in_(record_ids))
    rows = connection.execute(select(VIEW.c.log, VIEW.c.record_id, VIEW.c.digest).where(*wanted))
    return {(row.log, row.record_id): row.digest for row in rows}


def told_about(connection: Connection, log: int, record_id: str) -> int | None:
    """The ledger entry that the newest entry about a record, of an outgoing channel, rests on; or None."""
    newest = and_(BODY.c.log == VIEW.c.log, BODY.c.seq == VIEW.c.seq)
    found = select(BODY.c.ledger_seq).join_from(BODY, VIEW, newest)
    about: int | None = connection.execute(
        found.where(VIEW.c.log == log, VIEW.c.record_id == record_id)
    ).scalar()
    return about


def shared_count(connection: Connection, log: int) -> int:
    """How many records the partner of an outgoing channel sees now."""
    found = select(func.count()).select_from(VIEW).where(VIEW.c.log == log, VIEW.c.digest.is_not(None))
    return int(connection.execute(found).scalar_one())


def newest_answer_counts(connection: Connection, log: int) -> dict[str, int]:
    """How many records each answer is the newest decision on, for the partner of a channel."""
    newest = select(func.max(DECISION.c.decision)).where(DECISION.c.log == log).group_by(DECISION.c.record_id)
    found = select(DECISION.c.answer, func.count()).where(DECISION.c.decision.in_(newest))
    return {row[0]: row[1] for row in connection.execute(found.group_by(DECISION.c.answer))}


def mirrored(connection: Connection, keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], Mirrored]:
    """Mirror rows by (channel, record)."""
    wanted = set(keys)
    logs, ids = {log for log, _ in wanted}, {record_id for _, record_id in wanted}
    found = select(MIRROR).where(MIRROR.c.log.in_(logs), MIRROR.c.record_id.in_(ids))
    rows = (Mirrored(*row) for row in connection.execute(found))
    return {(row.log, row.record_id): row for row in rows if (row.log, row.record_id) in wanted}


Hit = tuple[str, int, str, Mirrored | None]


def look_up(connection: Connection, values: Sequence[str], scheme: str | None = None) -> Iterator[Hit]:
    """(value, log, record, mirror row) of every operator that carries one of these identifiers.

    One statement, so that an answer rests on one state of the store; own operators have no mirror row.
    """
    asked = {"scheme": scheme} if scheme else {}
    wanted = [value for value in values if "\0" not in value + (scheme or "")]  # PostgreSQL takes none such
    if len(wanted) == 1:
        rows = _looking_up_one(bool(scheme)).each(connection, {"value": wanted[0]} | asked)
    else:
        many = {"values": listed(wanted)}
        rows = _looking_up_many(bool(scheme)).each(connection, many | asked) if wanted else iter(())
    for row in rows:
        yield row[0], row[1], row[2], Mirrored._make(row[3:]) if row[3] is not None else None


_HIT = select(IDENTIFIER.c.value, IDENTIFIER.c.log, IDENTIFIER.c.record_id, *MIRROR.c)
_ITS_MIRROR = and_(MIRROR.c.log == IDENTIFIER.c.log, MIRROR.c.record_id == IDENTIFIER.c.record_id)
_OF_SCHEME = IDENTIFIER.c.scheme == bindparam("scheme")


@cache
def _looking_up_one(of_scheme: bool) -> Prepared:
    found = _HIT.outerjoin_from(IDENTIFIER, MIRROR, _ITS_MIRROR)
    found = found.where(IDENTIFIER.c.value == bindparam("value"))
    return Prepared(found.where(_OF_SCHEME) if of_scheme else found)


@cache
def _looking_up_many(of_scheme: bool) -> Prepared:
    asked = EachOf(bindparam("values")).table_valued("value")
    found = _HIT.select_from(
        asked.join(IDENTIFIER, IDENTIFIER.c.value == asked.c.value).outerjoin(MIRROR, _ITS_MIRROR)
    )
    return Prepared(found.where(_OF_SCHEME) if of_scheme else found)


def mirror_counts(connection: Connection, log: int) -> tuple[int, int]:
    """(records in view, tombstones) of an incoming channel."""
    rows = connection.execute(
        select(func.count(), func.count(MIRROR.c.fields)).where(MIRROR.c.log == log)
    ).one()
    return int(rows[1]), int(rows[0]) - int(rows[1])


def mirror_history(connection: Connection, log: int, record_id: str) -> list[Row]:
    """Every disclosure and tombstone of one record, oldest first."""
    found = select(MIRROR_VERSION).where(MIRROR_VERSION.c.log == log, MIRROR_VERSION.c.record_id == record_id)
    rows = [dict(row) for row in connection.execute(found).mappings()]
    return sorted(rows, key=lambda row: row["seq"])  # ordered by the store, SQLite would read the whole log


def opened(connection: Connection, log: int, seq: int) -> Row | None:
    """One entry of an incoming channel that was opened; None for one that was set apart or erased."""
    found = select(MIRROR_VERSION).where(MIRROR_VERSION.c.log == log, MIRROR_VERSION.c.seq == seq)
    row = connection.execute(found).mappings().one_or_none()
    return dict(row) if row else None


def unopened(connection: Connection, log: int, limit: int) -> list[bytes]:
    """Entries of an incoming channel behind which nothing stands here: set apart, or erased."""
    is_opened = exists().where(MIRROR_VERSION.c.log == log, MIRROR_VERSION.c.seq == ENTRY.c.seq)
    found = select(ENTRY.c.entry).where(ENTRY.c.log == log, ~is_opened).limit(limit)
    return list(connection.execute(found).scalars())


def other_logs(connection: Connection) -> list[tuple[int, str]]:
    """(log, origin) of every log that is neither the own ledger nor a channel."""
    found = select(HEAD.c.log, HEAD.c.origin).where(HEAD.c.log != LEDGER)
    found = found.where(HEAD.c.log.not_in(select(CHANNEL.c.log)))
    return [(int(row.log), str(row.origin)) for row in connection.execute(found)]


def notices(connection: Connection, log: int, limit: int = 10) -> list[Row]:
    """The newest notices of an incoming channel, newest first: the entries that are about no record.

    Ordered by what no index has, or the store would walk every disclosure from the newest back.
    """
    found = select(MIRROR_VERSION).where(MIRROR_VERSION.c.log == log, MIRROR_VERSION.c.record_id.is_(None))
    rows = connection.execute(found.order_by((MIRROR_VERSION.c.seq + 0).desc()).limit(limit)).mappings()
    return [dict(row) for row in rows]


def put_mirror(connection: Connection, rows: Sequence[Row], history: Sequence[Row]) -> None:
    """Store what a page brought: the newest row of each record, and the history."""
    put(connection, Mirror, rows)
    add(connection, MirrorVersion, history)


def told_of(connection: Connection, log: int, seqs: Sequence[int]) -> set[int]:
    """Those among these entries of an incoming channel that were opened."""
    found = select(MIRROR_VERSION.c.seq).where(MIRROR_VERSION.c.log == log, MIRROR_VERSION.c.seq.in_(seqs))
    return set(connection.execute(found).scalars())


def changes_after(connection: Connection, after: int, limit: int) -> list[Row]:
    """Rows of the change feed behind `after`."""
    found = select(CHANGE).where(CHANGE.c.change > after).order_by(CHANGE.c.change).limit(limit)
    return [dict(row) for row in connection.execute(found).mappings()]


def newest_change(connection: Connection) -> int:
    """The number of the newest change; 0 when there is none."""
    return int(connection.execute(select(func.coalesce(func.max(CHANGE.c.change), 0))).scalar_one())


def newest_answers(connection: Connection, log: int, record_ids: Sequence[str]) -> dict[str, str]:
    """The newest kept answer of the contract on each of these records."""
    newest = (
        select(func.max(DECISION.c.decision))
        .where(DECISION.c.log == log, DECISION.c.record_id.in_(record_ids))
        .group_by(DECISION.c.record_id)
    )
    rows = connection.execute(
        select(DECISION.c.record_id, DECISION.c.answer).where(DECISION.c.decision.in_(newest))
    )
    return {row.record_id: row.answer for row in rows}


def doubt(connection: Connection, log: int, record_id: str, reason: str) -> None:
    """Let nothing rest on a mirror row until a verified entry replaces it."""
    connection.execute(
        update(MIRROR).where(MIRROR.c.log == log, MIRROR.c.record_id == record_id).values(doubt=reason)
    )


_OF, _START, _STOP = (bindparam(name, type_=BigInteger) for name in ("of", "start", "stop"))
_SEALED_BEHIND = Prepared(
    select(BODY.c.seq, BODY.c.sealed, BODY.c.ledger_seq).where(
        BODY.c.log == _OF, BODY.c.seq >= _START, BODY.c.seq < _STOP
    )
)
_VIEWS_OF = Prepared(
    select(VIEW.c.record_id, VIEW.c.seq, VIEW.c.digest).where(VIEW.c.log == _OF, among(VIEW.c.record_id))
)
_DECISIONS_ON = Prepared(
    select(DECISION).where(DECISION.c.log == _OF, among(DECISION.c.record_id)).order_by(DECISION.c.decision)
)
_DECISIONS_AFTER = Prepared(
    select(DECISION)
    .where(DECISION.c.decision > bindparam("after", type_=BigInteger))
    .order_by(DECISION.c.decision)
    .limit(bindparam("most", type_=BigInteger))
)
_TOLD_BEHIND = Prepared(
    select(MIRROR_VERSION).where(
        MIRROR_VERSION.c.log == _OF, MIRROR_VERSION.c.seq >= _START, MIRROR_VERSION.c.seq < _STOP
    )
)


def sealed_behind(
    connection: Connection, log: int, start: int, stop: int
) -> dict[int, tuple[bytes, int | None]]:
    """{entry: (sealed body, ledger entry it is about)} of this range of an outgoing channel."""
    rows = _SEALED_BEHIND.rows(connection, {"of": log, "start": start, "stop": stop})
    return {seq: (sealed, about) for seq, sealed, about in rows}


def views_of(
    connection: Connection, log: int, record_ids: Sequence[str]
) -> dict[str, tuple[int, bytes | None]]:
    """{record: (entry, digest)} of what the partner of an outgoing channel sees of these."""
    rows = _VIEWS_OF.each(connection, {"of": log, "values": listed(record_ids)})
    return {record_id: (seq, digest) for record_id, seq, digest in rows}


def decisions_on(connection: Connection, log: int, record_ids: Sequence[str]) -> list[Row]:
    """Every decision on these records for the partner of a channel, oldest first."""
    names = DECISION.c.keys()
    rows = _DECISIONS_ON.each(connection, {"of": log, "values": listed(record_ids)})
    return [dict(zip(names, row, strict=True)) for row in rows]


def decision_count(connection: Connection) -> int:
    """How many decisions are recorded."""
    return int(connection.execute(select(func.count()).select_from(DECISION)).scalar_one())


def decisions_after(connection: Connection, after: int, limit: int) -> list[Row]:
    """Up to `limit` decisions for whatever partner behind the one of this number, oldest first."""
    names = DECISION.c.keys()
    rows = _DECISIONS_AFTER.rows(connection, {"after": after, "most": limit})
    return [dict(zip(names, row, strict=True)) for row in rows]


def told_behind(connection: Connection, log: int, start: int, stop: int) -> dict[int, Row]:
    """What was opened of the entries `start` up to, not including, `stop` of an incoming channel."""
    names = MIRROR_VERSION.c.keys()
    rows = _TOLD_BEHIND.rows(connection, {"of": log, "start": start, "stop": stop})
    return {row["seq"]: row for row in (dict(zip(names, each, strict=True)) for each in rows)}


def disclosed_before(
    connection: Connection, log: int, record_id: str, seq: int, received_at: str
) -> Row | None:
    """The newest disclosure of a record before one of its entries that had come by then."""
    found = select(MIRROR_VERSION).where(
        MIRROR_VERSION.c.log == log,
        MIRROR_VERSION.c.record_id == record_id,
        MIRROR_VERSION.c.kind == "disclosure",
        MIRROR_VERSION.c.seq < seq,
        MIRROR_VERSION.c.received_at <= received_at,
    )
    row = connection.execute(found.order_by(MIRROR_VERSION.c.seq.desc()).limit(1)).mappings().first()
    return dict(row) if row else None


def undecided(connection: Connection, log: int, since: int) -> list[tuple[str, int, int]]:
    """(record, version, ledger entry) of versions without a decision for the partner of a channel.

    Of those that the ledger holds from the entry `since` on, and those that were disclosed.
    """
    made = exists().where(
        DECISION.c.log == log,
        DECISION.c.record_id == VERSION.c.record_id,
        DECISION.c.version == VERSION.c.version,
    )
    told = select(BODY.c.ledger_seq).where(BODY.c.log == log, BODY.c.ledger_seq.is_not(None))
    found = select(VERSION.c.record_id, VERSION.c.version, VERSION.c.ledger_seq)
    found = found.where(or_(VERSION.c.ledger_seq >= since, VERSION.c.ledger_seq.in_(told)), ~made)
    return [(str(row[0]), int(row[1]), int(row[2])) for row in connection.execute(found.limit(1000))]


class Fed(NamedTuple):
    """A row of the change feed."""

    change: int
    tin: str
    record_id: str
    kind: str
    time: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Record, kind and time."""
        return self.record_id, self.kind, self.time


LOWEST, HIGHEST = -(1 << 63), (1 << 63) - 1
"""Before the first and behind the last row that the feed can have."""
_FEED = select(CHANGE.c.change, CHANGE.c.tin, CHANGE.c.record_id, CHANGE.c.kind, CHANGE.c.time).where(
    CHANGE.c.log == bindparam("of"), CHANGE.c.change > bindparam("after", type_=BigInteger)
)
_FED = Prepared(_FEED.where(CHANGE.c.change <= bindparam("last", type_=BigInteger)).order_by(CHANGE.c.change))
_MARK = _FEED.with_only_columns(CHANGE.c.change).order_by(CHANGE.c.change)
_TOLD_OF_OWN = select(func.count()).where(
    VERSION.c.ledger_seq >= bindparam("start"), VERSION.c.ledger_seq < bindparam("stop")
)
_TOLD_OF_ERASURES = select(func.count()).where(
    ERASURE.c.ledger_seq >= bindparam("start"), ERASURE.c.ledger_seq < bindparam("stop")
)
_TOLD_OF_DECISIONS = select(func.count()).where(
    LOCAL.c.ledger_seq >= bindparam("start"), LOCAL.c.ledger_seq < bindparam("stop")
)
_TOLD_OF = select(func.count()).where(
    MIRROR_VERSION.c.log == bindparam("of"),
    MIRROR_VERSION.c.seq >= bindparam("start"),
    MIRROR_VERSION.c.seq < bindparam("stop"),
)


def feed_of(connection: Connection, log: int, after: int, last: int) -> list[Fed]:
    """The change feed of one log behind the row `after` up to the row `last`, oldest first."""
    rows = _FED.rows(connection, {"of": log, "after": after, "last": last})
    return [Fed._make(row) for row in rows]


def feed_mark(connection: Connection, log: int, after: int, start: int, stop: int) -> int:
    """The row of the feed that ends what it tells, behind the row `after`, of these entries of a log.

    If all is in its place; it is where to look first.
    """
    asked = {"of": log, "start": start, "stop": stop}
    count = sum(
        connection.execute(counting, asked).scalar_one()
        for counting in (
            (_TOLD_OF_OWN, _TOLD_OF_ERASURES, _TOLD_OF_DECISIONS) if log == LEDGER else (_TOLD_OF,)
        )
    )
    if not count:
        return after
    found = connection.execute(_MARK.limit(1).offset(count - 1), {"of": log, "after": after}).scalar()
    return HIGHEST if found is None else int(found)


def row_counts(connection: Connection) -> dict[tuple[str, int], int]:
    """{(table, log): rows} of every table whose rows belong to a log; the ledger's own have log 0."""
    of_log = ["log_entry", "log_tile", "channel_epoch", "channel_body", "channel_view", "decision", "mirror"]
    of_log += ["heartbeat", "mirror_version", "change", "operator_identifier", "operator_name"]
    counts: dict[tuple[str, int], int] = {}
    for name in of_log:
        each = CHANGE.metadata.tables[name]
        for row in connection.execute(select(each.c.log, func.count()).group_by(each.c.log)):
            counts[name, row[0]] = row[1]
    for name in ("ledger_body", "record_version", "record", "act", "act_signature", "act_receipt"):
        found = select(func.count()).select_from(CHANGE.metadata.tables[name])
        counts[name, LEDGER] = connection.execute(found).scalar_one()
    return counts
