"""Erasing an own operator everywhere it went; what the law holds; freeing the store's files of what is gone.

Entries of logs commit to bodies and never show them, so bodies can go and every log still verifies. What is
erased is named by the numbers of those entries, in the own ledger and to partners: no record is named in it.

 1. The issuer deletes record, key, versions, index, decisions and disclosed bodies, records the erasure in
    its ledger, and tells every partner that received anything, all in one transaction (`Erase`).
 2. Each partner deletes what it holds of those entries, records that in its own ledger, and answers with the
    entry that does (`erasing_disclosed`); or answers why it must keep them for now.
 3. The issuer holds the answer against what it told, and against its copy of the partner's ledger
    (`erasure_notices`).

If a process dies before a transaction commits, nothing of it happened. What was asked stands in the store
from the moment it was proven, and is done by whoever writes next.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from node.errors import Conflict, NotFound, Refusal
from node.exchange import key_tree, notices, versions
from node.exchange.notices import Erasure
from node.exchange.outgoing import Line
from node.exchange.versions import Fields
from node.ledger import moment
from node.service import forgetting
from node.service.batch import Batch, SmallWork
from node.service.erasing_disclosed import carry_out_all
from node.service.parts import Parts
from node.service.ways import origin_of
from node.store import erasures, reads, records
from node.store import reports as reported
from node.store.tables import LEDGER


@dataclass(frozen=True, slots=True)
class Erase:
    """Erase an own operator or trader, on one of `notices.GROUNDS`; `reference` names a case, no person."""

    tin: str
    ground: str
    reference: str
    by: str

    weight = 1

    @property
    def tins(self) -> Sequence[str]:
        """The operator's TIN."""
        return [self.tin]

    def run(self, batch: Batch) -> dict[str, Any]:
        """Erase it and tell partners; `NotFound` when there is none, `Conflict` while the law holds it."""
        current = batch.current(self.tin)
        if current is None:
            do = "look it up by another identifier; what was erased before is listed by `aeo erasure status`"
            raise NotFound("no own operator has this TIN", where=self.tin, do=do)
        if held := erasures.hold(batch.connection, LEDGER, current.record_id):
            raise Conflict(
                "this operator may not be erased now",
                where=self.tin,
                why=f"{held['reason']} (since {held['since']}, by {held['by']})",
                do="when that is over, `aeo erasure release`, and erase it then",
            )
        batch.flush()
        entries = erasures.own_entries(batch.connection, current.record_id)
        known = _own_fields(batch, current.record_id)
        forgetting.forget(batch.parts, batch.connection, LEDGER, current.record_id, known)
        erasures.delete_own(batch.connection, current.record_id, entries)
        erasures.doom(batch.connection, [key_tree.name(f"{LEDGER}:{current.record_id}")])
        entries |= _forget_reports(batch.connection, current.record_id)
        batch.forget_record(self.tin, current.record_id)
        lines = {line.channel.log: line for line in batch.lines()}
        numbers = [self._record(batch, lines, part) for part in _at_a_time(entries)]
        return {
            "erasure": numbers[0],
            "entries": sum(map(len, entries.values())),
            "partners": [lines[log].channel.partner for log in entries if log in lines],
        }

    def _record(self, batch: Batch, lines: Mapping[int, Line], entries: Mapping[int, Sequence[int]]) -> int:
        """Record that these entries have nothing behind them now, and tell partners; gives the own entry."""
        named = {origin_of(batch, log): list(seqs) for log, seqs in entries.items()}
        body = notices.record_of_erasure(self.ground, self.reference, named)
        number = batch.append_body("erasure", body | {"by": self.by})
        erasures.add_erasure(batch.connection, number, batch.time, entries)
        for log in (log for log in entries if log in lines):
            notice = Erasure(self.ground, tuple(entries[log])).body()
            erasures.add_told(batch.connection, log, batch.notice(lines[log], notice), number)
        batch.change(LEDGER, "", "", "erased")
        return number


def _at_a_time(entries: Mapping[int, Sequence[int]]) -> Iterator[dict[int, list[int]]]:
    """These entries, at most `MOST_ENTRIES` at a time: one that is asked for daily has many in a channel."""
    flat = [(log, seq) for log, seqs in entries.items() for seq in seqs]
    for at in range(0, len(flat), notices.MOST_ENTRIES):
        part: dict[int, list[int]] = {}
        for log, seq in flat[at : at + notices.MOST_ENTRIES]:
            part.setdefault(log, []).append(seq)
        yield part


def _own_fields(batch: Batch, record_id: str) -> Iterator[Fields]:
    """What an own record ever said; a version that does not open keeps no erasure up."""
    for stored in records.versions(batch.connection, record_id):
        with suppress(Refusal):
            yield versions.unseal(stored, batch.parts.keys.store).fields


def _forget_reports(connection: Connection, record_id: str) -> dict[int, list[int]]:
    """Delete what partners reported of an own record; gives the entries that told it, by channel to us."""
    found = reported.about(connection, LEDGER, [record_id])
    entries = reads.with_entries_about(connection, LEDGER, [record_id], reported.entries_about(found))
    for log, seqs in entries.items():
        reported.delete_received(connection, log, seqs)
    reported.delete_reports(connection, found)
    reads.forget(connection, LEDGER, [record_id])
    return entries


@dataclass(frozen=True, slots=True)
class HoldRecord(SmallWork):
    """The law forbids to erase a record for now, own or disclosed to us: also when its term is over."""

    tin: str
    reason: str
    by: str

    def run(self, batch: Batch) -> int:
        """Hold it; gives how many records have this TIN here, `NotFound` when none has."""
        batch.flush()
        found = _records_of(batch.connection, self.tin)
        for log, record_id in found:
            row = {"log": log, "record_id": record_id, "reason": self.reason, "by": self.by}
            erasures.put_hold(batch.connection, row | {"since": batch.time})
        return len(found)


@dataclass(frozen=True, slots=True)
class ReleaseRecord(SmallWork):
    """The law does not forbid it any more; what partners asked for meanwhile is done at once."""

    tin: str

    def run(self, batch: Batch) -> int:
        """Release it; gives of how many records, `NotFound` when none is held."""
        batch.flush()
        found = _records_of(batch.connection, self.tin)
        released = sum(erasures.release(batch.connection, log, record_id) for log, record_id in found)
        if not released:
            raise NotFound("no record with this TIN is held", where=self.tin, do="see `aeo erasure status`")
        carry_out_all(batch)
        return released


def _records_of(connection: Connection, tin: str) -> list[tuple[int, str]]:
    """(log, record) of everything here that has a TIN."""
    if found := records.carrying(connection, tin, "TIN"):
        return found
    raise NotFound("nothing is recorded here of this TIN, and nothing was disclosed to us", where=tin)


def scrub(parts: Parts) -> bool:
    """Free the files of the store of what was erased since, and backups of it; False when that must wait.

    If the process dies in between, all of it is done again: keys that are destroyed stay so.
    """
    with parts.database.glance() as connection:
        if not erasures.is_unscrubbed(connection):
            return True
        last, doomed = erasures.newest(connection), erasures.doomed(connection)
    if doomed:
        parts.backup_keys.destroy(doomed, parts.entropy)
    if not parts.database.scrub():
        return False
    with parts.database.write() as connection:
        erasures.are_destroyed(connection, doomed)
        erasures.set_scrubbed(connection, last, moment.format(parts.now_ms()))
    return True
