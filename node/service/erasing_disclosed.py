"""What partners disclosed, erased here: because they ask for it, or because a term is over.

Every erasure is recorded in the own ledger, and answered to who disclosed it; while the law holds a record,
the answer is why. `erasing` says how the parts fit.
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
from node.errors import Refusal
from node.exchange import key_tree, notices, reports
from node.exchange.card import predecessors
from node.exchange.incoming import BROKEN, disclosed_in
from node.exchange.notices import Erased, Erasure, Kept
from node.exchange.reads import READS
from node.exchange.versions import Fields
from node.ledger import canonical
from node.ledger.entry import LedgerEntry
from node.service import forgetting, reporting
from node.service.accusing import FROZEN
from node.service.batch import Batch, SmallWork, open_body
from node.service.ways import channel_of, line_to, origin_of
from node.store import channels, erasures, incidents, logs, reads, records
from node.store import reports as reported
from node.store.channels import StoredChannel
from node.store.erasures import Asked
from node.store.tables import LEDGER

OVER_LIMIT = 2_000
"""Entries whose term is over that go in one transaction."""


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
    earlier = _told_before(batch, channel, record_ids)
    about += [(log, each) for log, told in earlier.items() for each in told]
    held = [found for each in about if (found := erasures.hold(batch.connection, *each))]
    if not held and (before := _answered_before(batch, channel, said.entries, asked.seq)) is not None:
        erasures.set_asked(batch.connection, asked.log, asked.seq, before.entry.seq, None)
        _answer(batch, channel, before.body(), before.entry.seq)
    elif not held:
        _erase_disclosed(batch, channel, said.ground, said.entries, record_ids, asked.seq)
        gone = erasures.only_gone(batch.connection, channel.log, record_ids)
        _erase_all_of(batch, said.ground, earlier | ({channel.log: gone} if gone else {}))
    elif asked.kept != held[0]["reason"]:
        reason = str(held[0]["reason"])
        _answer(
            batch,
            channel,
            Kept(origin_of(batch, channel.log), asked.seq, reason).body(),
            None,
        )
        erasures.set_asked(batch.connection, asked.log, asked.seq, None, reason)


def _erase_all_of(batch: Batch, ground: str, about: Mapping[int, Sequence[str]]) -> None:
    """Erase all that channels told of these records, as erasures of our own."""
    for log, record_ids in about.items():
        seqs = erasures.entries_of(batch.connection, log, record_ids)
        _erase_disclosed(batch, channel_of(batch.connection, log), ground, seqs, record_ids, None)


def _told_before(batch: Batch, channel: StoredChannel, record_ids: Sequence[str]) -> dict[int, list[str]]:
    """{log: records} of what nodes that the issuer succeeds told of the same operators, by their TINs."""
    connection, parts, found = batch.connection, batch.parts, dict[int, list[str]]()
    names = predecessors(parts.issuer_of(connection, channel), parts.cards(connection))
    if not names:
        return found
    to_us = channels.by_log(connection)
    tins = records.tins(connection, channel.log, record_ids)
    for _, _, log, record_id in records.find(connection, sorted({*tins.values()}), "TIN"):
        if log != LEDGER and parts.issuer_of(connection, to_us[log]).name in names:
            found.setdefault(log, []).append(record_id)
    return found


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
            going = erasures.left_with_nothing(batch.connection, channel.log, seqs, record_ids)
            earlier = {
                log: free
                for log, told in _told_before(batch, channel, going).items()
                if (free := [each for each in told if not erasures.hold(batch.connection, log, each)])
            }
            _erase_disclosed(batch, channel, notices.RETENTION, seqs, record_ids, None)
            _erase_all_of(batch, notices.RETENTION, earlier)
            return True
    return False


def _over(batch: Batch, channel: StoredChannel) -> list[int]:
    """Entries of an incoming channel that may be kept no longer: replaced, out of view, or of what ended.

    What a node told that another succeeds ended when it was frozen.

    What was fetched is kept as long as the term counts from then: nobody says any more that it is still so.
    """
    standing = batch.parts.standings.current(batch.connection)[channel.agreement]
    terms = standing.agreement.terms
    last = (date.fromisoformat(batch.today) - timedelta(days=int(terms["retention_days"]))).isoformat()
    is_ended = standing.state(channel.issuer, channel.partner, last) == TERMINATED
    issuer = batch.parts.issuer_of(batch.connection, channel)
    if batch.parts.current(batch.connection)[channel.issuer].name != issuer.name:
        frozen = incidents.last_of_kind(batch.connection, issuer.name, FROZEN)
        is_ended = is_ended or (frozen is not None and frozen < last)
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


def _told_fields(batch: Batch, channel: StoredChannel, record_id: str) -> Iterator[Fields]:
    """What a partner ever told of a record; a disclosure that does not hold any more keeps no erasure up."""
    issuer = batch.parts.issuer_of(batch.connection, channel)
    for row in channels.mirror_history(batch.connection, channel.log, record_id):
        with suppress(*BROKEN):
            yield disclosed_in(orjson.loads(row["body"]), issuer)[1].fields


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
    reporting.carry(batch, channel.log, record_ids)
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
    entries = reads.with_entries_about(connection, channel.log, record_ids, reported.entries_about(sent))
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
