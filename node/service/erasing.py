"""Erasing: an own operator, everywhere it went; and what a partner asks us to erase, or a term is over for.

Entries of logs commit to bodies and never show them, so bodies can go and every log still verifies. What is
erased is named by the numbers of those entries, in the own ledger and to partners: no record is named in it.

 1. The issuer deletes record, key, versions, index, decisions and disclosed bodies, records the erasure in
    its ledger, and tells every partner that received anything, all in one transaction (`Erase`).
 2. Each partner deletes what it holds of those entries, records that in its own ledger, and answers with the
    entry that does (`CarryOut`); or answers why it must keep them for now.
 3. The issuer holds the answer against what it told, and against its copy of the partner's ledger
    (`received`).

If a process dies before a transaction commits, nothing of it happened. What was asked stands in the store
from the moment it was proven, and is done by whoever writes next.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import orjson
from sqlalchemy import Connection

from node.agreements.document import direction_terms, is_on_demand
from node.agreements.state import TERMINATED
from node.errors import Conflict, NotFound, Refusal, Unproven
from node.exchange import key_tree, notices, reports, versions
from node.exchange.card import Card
from node.exchange.incoming import BROKEN, Disclosed, disclosed_in
from node.exchange.notices import Erased, Erasure, Kept
from node.exchange.outgoing import Line
from node.exchange.reads import READS
from node.exchange.versions import Fields
from node.ledger import canonical, moment
from node.ledger.entry import LedgerEntry
from node.service import forgetting
from node.service.batch import Batch, SmallWork, open_body
from node.service.parts import Parts
from node.service.ways import (
    Notice,
    channel_of,
    line_to,
    notices_in,
    origin_of,
    own_way,
    stands_in_ledger,
)
from node.store import channels, erasures, logs, reads, records
from node.store import reports as reported
from node.store.channels import StoredChannel
from node.store.erasures import ERASED_ANSWER, KEPT_ANSWER, Asked
from node.store.tables import LEDGER

OVER_LIMIT = 2_000
"""Entries whose term is over that go in one transaction."""


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


def _told_fields(batch: Batch, channel: StoredChannel, record_id: str) -> Iterator[Fields]:
    """What a partner ever told of a record; a disclosure that does not hold any more keeps no erasure up."""
    standing = batch.parts.standings.current(batch.connection)[channel.agreement]
    issuer = batch.parts.cards(batch.connection)[standing.agreement.party(channel.issuer).name]
    for row in channels.mirror_history(batch.connection, channel.log, record_id):
        with suppress(*BROKEN):
            yield disclosed_in(orjson.loads(row["body"]), issuer)[1].fields


def _forget_reports(connection: Connection, record_id: str) -> dict[int, list[int]]:
    """Delete what partners reported of an own record; gives the entries that told it, by channel to us."""
    found = reported.about(connection, LEDGER, [record_id])
    entries = _with_reads(connection, LEDGER, [record_id], reported.entries_about(found))
    for log, seqs in entries.items():
        reported.delete_received(connection, log, seqs)
    reported.delete_reports(connection, found)
    reads.forget(connection, LEDGER, [record_id])
    return entries


def _with_reads(
    connection: Connection, about: int, record_ids: Sequence[str], entries: Mapping[int, Sequence[int]]
) -> dict[int, list[int]]:
    """{log: entries}: these, and those that tell how often records were read and have a body still."""
    found = {log: set(seqs) for log, seqs in entries.items()}
    for log, seqs in reads.entries_about(connection, about, record_ids).items():
        gone = erasures.erased(connection, log, seqs[0], seqs[-1] + 1)
        found.setdefault(log, set()).update(seq for seq in seqs if seq not in gone)
    return {log: sorted(seqs) for log, seqs in found.items() if seqs}


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


@dataclass(frozen=True, slots=True)
class CarryOut(SmallWork):
    """Do what partners ask to erase."""

    def run(self, batch: Batch) -> None:
        """All of it."""
        carry_out_all(batch)


def carry_out_all(batch: Batch) -> None:
    """Erase what partners ask for, or answer why not."""
    for asked in erasures.open_asked(batch.connection):
        _carry_out(batch, asked)


def is_asked(connection: Connection) -> bool:
    """Whether a partner asks to erase something, and has had no answer."""
    return any(asked.kept is None for asked in erasures.open_asked(connection))


def _carry_out(batch: Batch, asked: Asked) -> None:
    channel = channel_of(batch.connection, asked.log)
    row = channels.told_behind(batch.connection, asked.log, asked.seq, asked.seq + 1)[asked.seq]
    body: Any = canonical.decode(row["body"])
    said = notices.read(body, asked.seq)
    assert isinstance(said, Erasure), "it was read when it came"
    record_ids = erasures.disclosed_ids(batch.connection, asked.log, said.entries)
    about = [(asked.log, each) for each in record_ids]
    about += [(each.about, each.record_id) for each in _reports_in(batch.connection, asked.log, said.entries)]
    held = [found for each in about if (found := erasures.hold(batch.connection, *each))]
    if not held and (before := _answered_before(batch, channel, said.entries, asked.seq)) is not None:
        erasures.set_asked(batch.connection, asked.log, asked.seq, before.entry.seq, None)
        _answer(batch, channel, before.body(), before.entry.seq)
    elif not held:
        _erase_disclosed(batch, channel, said.ground, said.entries, record_ids, asked.seq)
    elif asked.kept != held[0]["reason"]:
        reason = str(held[0]["reason"])
        _answer(
            batch,
            channel,
            Kept(origin_of(batch, channel.log), asked.seq, reason).body(),
            None,
        )
        erasures.set_asked(batch.connection, asked.log, asked.seq, None, reason)


def _answered_before(batch: Batch, channel: StoredChannel, seqs: Sequence[int], asked: int) -> Erased | None:
    """The answer that one erasure took all this before: nothing is left to erase, record or scrub.

    Only one that was recorded to be shown to this partner: what was erased for another cause names its case.
    """
    batch.flush()
    origin = origin_of(batch, channel.log)
    for number in erasures.that_took(batch.connection, channel.log, seqs):
        with suppress(Refusal):  # what does not open any more is erased anew
            [encoded] = logs.entries(batch.connection, LEDGER, number, number + 1)
            salt, content = open_body(batch.parts, number, logs.body(batch.connection, number))
            recorded: Any = canonical.decode(content)
            named = {origin: recorded["entries"].get(origin, [])}
            if recorded == notices.record_of_erasure(recorded["ground"], "", named):
                return Erased(origin, asked, LedgerEntry.decode(encoded), salt, recorded)
    return None


def erase_what_is_over(batch: Batch) -> bool:
    """Erase some of what the terms allow to keep no longer; False when nothing is left of that."""
    for channel in channels.channels(batch.connection):
        if channel.partner == batch.parts.country and (seqs := _over(batch, channel)):
            record_ids = erasures.disclosed_ids(batch.connection, channel.log, seqs)
            _erase_disclosed(batch, channel, notices.RETENTION, seqs, record_ids, None)
            return True
    return False


def _over(batch: Batch, channel: StoredChannel) -> list[int]:
    """Entries of an incoming channel that may be kept no longer: replaced, out of view, or of what ended.

    What was fetched is kept as long as the term counts from then: nobody says any more that it is still so.
    """
    standing = batch.parts.standings.current(batch.connection)[channel.agreement]
    terms = standing.agreement.terms
    last = (date.fromisoformat(batch.today) - timedelta(days=int(terms["retention_days"]))).isoformat()
    is_ended = standing.state(channel.issuer, channel.partner, last) == TERMINATED
    if is_ended or (terms["until"] and terms["until"] < last):
        return erasures.all_disclosed(batch.connection, channel.log, OVER_LIMIT)
    if is_on_demand(direction_terms(standing.agreement, channel.issuer, channel.partner, "")):
        return erasures.all_disclosed(batch.connection, channel.log, OVER_LIMIT, last)
    return erasures.over(batch.connection, channel.log, last, OVER_LIMIT)


def _erase_disclosed(
    batch: Batch,
    channel: StoredChannel,
    ground: str,
    seqs: Sequence[int],
    record_ids: Sequence[str],
    asked: int | None,
) -> None:
    """Delete what entries of a partner's channel said, record it in the own ledger, and tell the partner."""
    batch.flush()
    for each in erasures.left_with_nothing(batch.connection, channel.log, seqs, record_ids):
        known = _told_fields(batch, channel, each)
        forgetting.forget(batch.parts, batch.connection, channel.log, each, known)
    said = reported.notices_among(batch.connection, channel.log, seqs)
    kept = {seq for seq, body in said.items() if _is_asking(body)}  # what is asked for must stay to be done
    reported.delete_received(batch.connection, channel.log, sorted(said.keys() - kept))
    reported.delete_reports(batch.connection, _reports_in(batch.connection, channel.log, seqs))
    told = [seq for seq in seqs if seq not in kept]  # a notice that did not hold stands among the incidents
    gone = erasures.delete_disclosed(batch.connection, channel.log, told, record_ids)
    erasures.doom(batch.connection, [key_tree.name(f"{channel.log}:{each}") for each in gone])
    origin = origin_of(batch, channel.log)
    body = notices.record_of_erasure(ground, "", {origin: list(seqs)})
    entry, salt = batch.append_opened("erasure", body)
    erasures.add_erasure(batch.connection, entry.seq, batch.time, {channel.log: seqs})
    if asked is not None:
        erasures.set_asked(batch.connection, channel.log, asked, entry.seq, None)
    _answer(batch, channel, Erased(origin, asked, entry, salt, body).body(), entry.seq)
    batch.change(LEDGER, "", "", "erased")
    _erase_own_words(batch, channel, ground, gone)


def _reports_in(connection: Connection, log: int, seqs: Sequence[int]) -> list[reported.StoredReport]:
    """The reports on own records in these entries of a channel to us."""
    return [each for each in reported.reported_among(connection, log, seqs) if each.about == LEDGER]


def _is_asking(body: bytes) -> bool:
    """Whether a notice is none about operators: it names nobody, and may have to be answered yet."""
    content: Any = canonical.decode(body)
    return content["notice"] not in (*reports.SUBJECTS, READS)


def _erase_own_words(batch: Batch, channel: StoredChannel, ground: str, record_ids: Sequence[str]) -> None:
    """Erase what this node itself said and decided of a partner's records of which nothing is left.

    An erasure of its own in the ledger: the partner learns of what it was told, and of nothing else.
    """
    connection = batch.connection
    sent = [
        each
        for part in erasures.parts_of(record_ids)
        for each in reported.about(connection, channel.log, part)
    ]
    made = [
        each
        for part in erasures.parts_of(record_ids)
        for each in reported.decisions_on(connection, channel.log, part)
    ]
    batch.flush()
    entries = _with_reads(connection, channel.log, record_ids, reported.entries_about(sent))
    reads.forget(connection, channel.log, record_ids)
    if not entries and not made:
        return
    reported.delete_sent(connection, entries)
    if answers := sorted(each.answer_seq for each in sent if each.answer_seq is not None):
        reported.delete_received(connection, channel.log, answers)
        entries[channel.log] = answers
    if made:
        reported.delete_decisions(connection, made)
        entries[LEDGER] = [each.ledger_seq for each in made]
    reported.delete_reports(connection, sent)
    named = {origin_of(batch, log): seqs for log, seqs in entries.items()}
    number = batch.append_body("erasure", notices.record_of_erasure(ground, "", named))
    erasures.add_erasure(connection, number, batch.time, entries)
    batch.change(LEDGER, "", "", "erased")
    line = line_to(batch, channel.agreement, channel.issuer)
    if line is not None and (seqs := entries.get(line.channel.log)):
        notice = Erasure(ground, tuple(seqs)).body()
        erasures.add_told(connection, line.channel.log, batch.notice(line, notice), number)


def _answer(batch: Batch, channel: StoredChannel, body: bytes, ledger_seq: int | None) -> None:
    """Tell the issuer of a channel, on the way back; nobody hears it of a node that is gone."""
    line = line_to(batch, channel.agreement, channel.issuer)
    if line is not None:
        batch.notice(line, body, ledger_seq)


def _records_of(connection: Connection, tin: str) -> list[tuple[int, str]]:
    """(log, record) of everything here that has a TIN."""
    if found := records.carrying(connection, tin, "TIN"):
        return found
    raise NotFound("nothing is recorded here of this TIN, and nothing was disclosed to us", where=tin)


# What notices say


def received(
    parts: Parts, connection: Connection, peer: Card, channel: StoredChannel, notice: Notice, time: str
) -> None:
    """Note what a notice of a channel asks or answers; a `Refusal` where it says what is not so."""
    each, body = notice
    said = notices.read(body, each.seq)
    if isinstance(said, Erasure):
        erasures.add_asked(connection, channel.log, each.seq)
    elif isinstance(said, Kept):
        _kept(parts, connection, channel, said, time)
    elif isinstance(said, Erased):
        _check_recorded(connection, peer, said)
        _erased(parts, connection, channel, said, time)


def asked_for(disclosed: Sequence[Disclosed]) -> set[int]:
    """The entries that the notices among these ask to erase; those out of form ask for nothing."""
    found = set[int]()
    for each, body in notices_in(disclosed):
        with suppress(Refusal):
            said = notices.read(body, each.seq)
            found |= set(said.entries) if isinstance(said, Erasure) else set()
    return found


def _check_recorded(connection: Connection, peer: Card, said: Erased) -> None:
    """`Unproven` unless the partner's ledger, as we copy it, holds the erasure that it speaks of."""
    entry = said.entry
    if (entry.country, entry.type) != (peer.country, "erasure"):
        raise Unproven("an erasure is not recorded as one", where=f"{peer.name}, ledger entry {entry.seq}")
    if not stands_in_ledger(connection, peer, entry):
        why = "its ledger has another entry at this place"
        raise Unproven(
            "an erasure is not in the ledger of who claims it", where=f"entry {entry.seq}", why=why
        )


def _erased(parts: Parts, connection: Connection, channel: StoredChannel, said: Erased, time: str) -> None:
    log = own_way(parts, connection, channel, said.channel)
    if said.notice is None:
        return  # its term was over; the notice itself says so
    told = _told(connection, log, said.notice)
    wanted = erasures.taken_by(connection, told.erasure).get(log, [])
    if missing := sorted(set(wanted) - set(said.entries)):
        why = f"entries that were to go are not among those erased: {', '.join(map(str, missing[:10]))}"
        raise Unproven("a partner erased less than it was asked", where=f"notice {said.notice}", why=why)
    erasures.answer(connection, log, said.notice, ERASED_ANSWER, time, said.entry.seq, "")


def _kept(parts: Parts, connection: Connection, channel: StoredChannel, said: Kept, time: str) -> None:
    log = own_way(parts, connection, channel, said.channel)
    if _told(connection, log, said.notice).answer == ERASED_ANSWER:
        raise Unproven("a partner keeps what it said it has erased", where=f"notice {said.notice}")
    erasures.answer(connection, log, said.notice, KEPT_ANSWER, time, None, said.reason)


def _told(connection: Connection, log: int, seq: int) -> erasures.Told:
    told = erasures.told(connection, log, seq)
    if told is None:
        raise Unproven("an answer is about a notice that asked for nothing", where=f"notice {seq}")
    return told


def status(connection: Connection, before: int, limit: int) -> list[Mapping[str, Any]]:
    """Each erasure, newest first: what was told to whom, who has answered what, and who has not."""
    known = channels.by_log(connection)
    return [
        {
            "erasure": row["ledger_seq"],
            "time": row["time"],
            "scrubbed": row["scrubbed"],
            "partners": [
                _answered(known[told.log], told) for told in erasures.told_of(connection, row["ledger_seq"])
            ],
        }
        for row in erasures.erasures(connection, before, limit)
    ]


def _answered(channel: StoredChannel, told: erasures.Told) -> dict[str, Any]:
    return {
        "partner": channel.partner,
        "agreement": channel.agreement,
        "notice": told.seq,
        "answer": told.answer,
        "answered_at": told.answered_at,
        "ledger_seq": told.ledger_seq,
        "reason": told.reason or None,
    }


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
