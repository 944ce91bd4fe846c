"""What partners tell each other about single operators, and what one decides for itself.

 1. A reader may stop treating one told operator as recognised, by its own decision (`SuspendHere`), where the
    terms have `local_suspension`: recorded in its own ledger, where nobody else can open it, and lifted the
    same way (`ResumeHere`). Where the terms have `irregularity_notice`, the issuer is told: that it happened
    and of which class, not why.
 2. A reader reports an irregularity (`ReportIrregularity`) on the way back, where the terms have
    `irregularity_notice`; the issuer acknowledges it (`Acknowledge`).
 3. What a notice says is held against what this node told (`received`); what is not so becomes an incident
    `unfounded` and changes nothing.

All of it goes when the record is erased (`erasing`).
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection

from node.agreements.state import TERMINATED
from node.errors import Conflict, NotFound, Unproven, problem
from node.exchange import reports
from node.exchange.incoming import Disclosed
from node.exchange.outgoing import Line
from node.exchange.reports import RESUMED, SUSPENDED, Acknowledged, Irregularity, Report, Treatment
from node.exchange.standing import Standing
from node.ledger import canonical
from node.ledger.entry import ChannelEntry
from node.records import identifiers
from node.service.batch import Batch, SmallWork
from node.service.parts import Parts
from node.service.ways import Notice, channel_of, line_to, origin_of, own_way
from node.store import channels, erasures, logs, records
from node.store import reports as store
from node.store.channels import StoredChannel
from node.store.reports import IRREGULARITY, StoredReport
from node.store.tables import LEDGER


@dataclass(frozen=True, slots=True)
class Known:
    """One operator as an incoming channel tells of it: the newest entry that disclosed it, and the terms."""

    channel: StoredChannel
    record_id: str
    tin: str
    entry: int
    origin: str
    standing: Standing

    def has(self, clause: str) -> bool:
        """Whether the terms have this clause."""
        return bool(self.standing.agreement.terms[clause])

    def named(self, rule: str) -> Any:
        """The agreement in a refusal."""
        return problem(self.channel.agreement, self.standing.agreement.title, rule)


@dataclass(frozen=True, slots=True)
class SuspendHere(SmallWork):
    """Stop treating a partner's operator as recognised, under one agreement or every one that tells of it."""

    tin: str
    code: str
    reason: str
    by: str
    agreement: str = ""

    def run(self, batch: Batch) -> dict[str, Any]:
        """Decide it; `Conflict` where the terms do not allow it or it is decided already."""
        found = _known(batch, self.tin, self.agreement)
        if refused := [each.named("has no clause `local_suspension`") for each in found if not _may(each)]:
            raise Conflict(
                "the terms do not allow to suspend a single operator of the partner's",
                where=self.tin,
                do="name an agreement that does, report an irregularity, or suspend the direction",
                problems=refused,
            )
        before = suspensions(batch.parts, batch.connection)
        new = [each for each in found if (each.channel.log, each.record_id) not in before]
        if not new:
            held = before[found[0].channel.log, found[0].record_id]
            why = f"since {held.time}, by {held.by}: {held.reason}"
            raise Conflict(
                "the treatment of this operator is suspended here already", where=self.tin, why=why
            )
        return _decide(batch, new, SUSPENDED, self.code, self.reason, self.by)


@dataclass(frozen=True, slots=True)
class ResumeHere(SmallWork):
    """Treat it as recognised again, where nothing else stands against that."""

    tin: str
    reason: str
    by: str
    agreement: str = ""

    def run(self, batch: Batch) -> dict[str, Any]:
        """Decide it; `NotFound` when its treatment is not suspended here."""
        before = suspensions(batch.parts, batch.connection)
        found = [
            each
            for each in _known(batch, self.tin, self.agreement)
            if (each.channel.log, each.record_id) in before
        ]
        if not found:
            raise NotFound("the treatment of this operator is not suspended here", where=self.tin)
        code = before[found[0].channel.log, found[0].record_id].code
        return _decide(batch, found, RESUMED, code, self.reason, self.by)


@dataclass(frozen=True, slots=True)
class ReportIrregularity(SmallWork):
    """Tell the issuer of an irregularity of one of its operators."""

    tin: str
    code: str
    text: str
    by: str
    agreement: str = ""

    def run(self, batch: Batch) -> dict[str, Any]:
        """Tell it; `Conflict` where the terms ask for no such notices, or it was told in the same words."""
        known = _reportable(batch, self.tin, self.agreement)
        alike = [
            each
            for each in store.about(batch.connection, known.channel.log, [known.record_id])
            if (each.kind, each.code, each.text) == (IRREGULARITY, self.code, self.text)
            and each.answered_at is None
        ]
        if alike:
            what = "this irregularity is reported already, and not acknowledged yet"
            raise Conflict(what, where=self.tin, why=f"report {alike[0].report} of {alike[0].time}")
        body = Irregularity(known.origin, known.entry, self.code, reports.check_text(self.text)).body()
        line = _line(batch, known.channel.agreement, known.channel.issuer)
        seq = _tell(batch, line, known, body, (IRREGULARITY, self.code, self.text), self.by)
        kept = store.at(batch.connection, line.channel.log, seq)
        assert kept is not None, "it was just added"
        return {"report": kept.report, "partner": known.channel.issuer, "agreement": known.channel.agreement}


@dataclass(frozen=True, slots=True)
class Acknowledge(SmallWork):
    """Tell the partner that reported an irregularity that note was taken of it."""

    report: int
    text: str
    by: str

    def run(self, batch: Batch) -> dict[str, Any]:
        """Tell it; `NotFound` when there is none such, `Conflict` when it is acknowledged or none of ours."""
        batch.flush()
        found = store.numbered(batch.connection, self.report)
        if found is None or found.kind != IRREGULARITY:
            raise NotFound("there is no irregularity of this number", where=str(self.report))
        if found.about != LEDGER:
            why = "this node reported it; only the issuer of the operator acknowledges it"
            raise Conflict("this irregularity is not ours to acknowledge", where=str(self.report), why=why)
        if found.answered_at is not None:
            why = f"at {found.answered_at}, by {found.answered_by}"
            raise Conflict("this irregularity is acknowledged already", where=str(self.report), why=why)
        way_back = channel_of(batch.connection, found.log)
        line = _line(batch, way_back.agreement, way_back.issuer)
        [current] = records.newest(batch.connection, [found.record_id])
        origin = origin_of(batch, way_back.log)
        body = Acknowledged(origin, found.seq, reports.check_text(self.text)).body()
        # It goes with the record: what rests on a version of it is found by that.
        seq = batch.notice(line, body, current.ledger_seq)
        store.acknowledge(batch.connection, found.report, seq, batch.time, self.text, self.by)
        return {"report": found.report, "partner": way_back.issuer, "agreement": way_back.agreement}


def _may(known: Known) -> bool:
    return known.has("local_suspension")


def suspensions(parts: Parts, connection: Connection, by: str = "") -> dict[tuple[int, str], store.Decided]:
    """{(log, record): decision} of what is suspended here, now or `by` a moment.

    A decision counts for the same operator of the same issuer also where another channel of it, be it a
    successor's, told of it only later, unless it was decided on there, or the terms have no such clause.
    """
    made = [each for each in store.decisions(connection) if not by or each.time <= by]
    found = store.standing(made)
    if not found:
        return found
    known, decided = channels.by_log(connection), {(each.log, each.record_id) for each in made}
    standings = parts.standings.current(connection)
    in_order = sorted(found.values(), key=attrgetter("ledger_seq"))
    newest = {(known[each.log].issuer, each.tin): each for each in in_order}
    for tin, _, log, record_id in records.find(connection, [tin for _, tin in newest], "TIN"):
        if log == LEDGER or (log, record_id) in decided:
            continue
        each = newest.get((known[log].issuer, tin))
        may = standings[known[log].agreement].agreement.terms["local_suspension"]
        if each is not None and may and not store.was_told(connection, log, record_id, each):
            found[log, record_id] = each
    return found


def carry(batch: Batch, log: int, record_ids: Sequence[str]) -> None:
    """Decide anew, on what goes on without them, what was decided on records that are about to be erased."""
    for (other, _), each in suspensions(batch.parts, batch.connection).items():
        if each.log == log and each.record_id in record_ids and other != log:
            with suppress(NotFound):  # nothing but a tombstone is left of it there
                found = _known(batch, each.tin, channel_of(batch.connection, other).agreement)
                _decide(batch, found, SUSPENDED, each.code, each.reason, each.by)


def _decide(
    batch: Batch, found: Sequence[Known], decision: str, code: str, reason: str, by: str
) -> dict[str, Any]:
    """Record a decision for each agreement, and tell the issuer where the terms ask for it."""
    told, entries = list[str](), list[int]()
    for each in found:
        said: dict[str, canonical.Json] = {
            "decision": decision,
            "channel": each.origin,
            "entry": each.entry,
            "tin": each.tin,
        }
        said |= {"record_id": each.record_id, "class": code, "reason": reason, "by": by}
        seq = batch.append_body("agreement", {"v": 1, "local": said})
        batch.change(LEDGER, each.record_id, each.tin, store.LOCAL_WORD)
        row = {"ledger_seq": seq, "log": each.channel.log, "record_id": each.record_id, "tin": each.tin}
        row |= {"decision": decision, "code": code, "reason": reason, "by": by, "time": batch.time}
        store.add_decision(batch.connection, row)
        entries.append(seq)
        line = line_to(batch, each.channel.agreement, each.channel.issuer)
        # What was told before an agreement ended is taken back behind its end too.
        is_said = each.has("irregularity_notice") and (decision == RESUMED or not _is_over(batch, each))
        if line is not None and is_said:
            body = Treatment(each.origin, each.entry, code, decision).body()
            _tell(batch, line, each, body, (decision, code, ""), by)
            told.append(each.channel.issuer)
    agreements = [each.channel.agreement for each in found]
    return {"decision": decision, "ledger_entries": entries, "agreements": agreements, "told": told}


def _tell(batch: Batch, line: Line, known: Known, body: bytes, said: tuple[str, str, str], by: str) -> int:
    """Send a report (`said`: kind, class, text) on the way back, and keep it; gives its entry."""
    kind, code, text = said
    seq = batch.notice(line, body)
    row = {"log": line.channel.log, "seq": seq, "about": known.channel.log, "record_id": known.record_id}
    row |= {"tin": known.tin, "kind": kind, "code": code, "text": text, "time": batch.time, "by": by}
    store.add_report(batch.connection, row)
    return seq


def _is_over(batch: Batch, known: Known) -> bool:
    channel = known.channel
    return known.standing.state(channel.issuer, channel.partner, batch.today) == TERMINATED


def _known(batch: Batch, tin: str, agreement: str) -> list[Known]:
    """The operator with a TIN as partners told of it, under each agreement or the one named."""
    batch.flush()
    connection, country = batch.connection, batch.parts.country
    number, hits = identifiers.plain(tin), dict(records.carrying(connection, tin, "TIN"))
    standings, found = batch.parts.standings.current(connection), list[Known]()
    for channel in channels.channels(connection):
        is_meant = channel.partner == country and agreement in ("", channel.agreement)
        if not is_meant or channel.log not in hits:
            continue
        entry = store.last_disclosure(connection, channel.log, hits[channel.log])
        if entry is not None:
            standing = standings[channel.agreement]
            origin = origin_of(batch, channel.log)
            found.append(Known(channel, hits[channel.log], number, entry, origin, standing))
    if not found:
        do = "look it up; about own operators use `aeo operator status`"
        raise NotFound("no partner has disclosed an operator with this TIN to us", where=tin, do=do)
    return found


def _reportable(batch: Batch, tin: str, agreement: str) -> Known:
    """The one agreement under which an irregularity is to be told."""
    found = _known(batch, tin, agreement)
    if all(_is_over(batch, each) for each in found):
        raise Conflict("the agreement has ended: nothing more is told under it", where=tin)
    asked = [each for each in found if each.has("irregularity_notice") and not _is_over(batch, each)]
    if not asked:
        told = [each.named("has no clause `irregularity_notice`") for each in found]
        do = "tell the partner by the contact that the terms name"
        raise Conflict("the terms ask for no notices of irregularities", where=tin, do=do, problems=told)
    if len(asked) > 1:
        told = [each.named("asks for it") for each in asked]
        raise Conflict("several agreements cover this operator", where=tin, do="name one", problems=told)
    return asked[0]


def _line(batch: Batch, agreement: str, partner: str) -> Line:
    line = line_to(batch, agreement, partner)
    if line is None:
        why = "its node was succeeded by another, or this one has no channel to it yet"
        raise Conflict("the partner cannot be told under this agreement", where=partner, why=why)
    return line


# What notices say


def received(parts: Parts, connection: Connection, channel: StoredChannel, notice: Notice) -> None:
    """Note what a notice of a channel reports; a `Refusal` where it says what is not so."""
    each, body = notice
    said = reports.read(body)
    if isinstance(said, Acknowledged):
        _acknowledged(parts, connection, channel, said, each)
    elif said is not None:
        _reported(parts, connection, channel, said, each)


def _reported(
    parts: Parts, connection: Connection, way_back: StoredChannel, said: Report, each: Disclosed
) -> None:
    assert not isinstance(said, Acknowledged), "that is the other way"
    log = own_way(parts, connection, way_back, said.channel)
    terms = parts.standings.current(connection)[way_back.agreement].agreement.terms
    is_treatment = isinstance(said, Treatment)
    if not terms["irregularity_notice"] or (is_treatment and not terms["local_suspension"]):
        raise Unproven("a partner reports what the terms do not ask for", where=f"entry {each.seq}")
    encoded = logs.entries(connection, log, said.entry, said.entry + 1)
    if not encoded or ChannelEntry.decode(encoded[0]).kind != "disclosure":
        raise Unproven("a report is about an entry that disclosed nothing", where=f"entry {said.entry}")
    shown = store.disclosed_record(connection, log, said.entry)
    if shown is None:
        if said.entry in erasures.erased(connection, log, said.entry, said.entry + 1):
            return  # the partner has not heard yet that it is erased; it then asks to erase this too
        raise Unproven("a report is about a record that is not here", where=f"entry {said.entry}")
    [record] = records.newest(connection, [shown[0]])
    kind, text = (said.decision, "") if isinstance(said, Treatment) else (IRREGULARITY, said.text)
    row = {"log": way_back.log, "seq": each.seq, "about": LEDGER, "record_id": record.record_id}
    row |= {"tin": record.tin, "kind": kind, "code": said.code, "text": text, "time": each.time, "by": ""}
    store.add_report(connection, row)


def _acknowledged(
    parts: Parts, connection: Connection, channel: StoredChannel, said: Acknowledged, each: Disclosed
) -> None:
    log = own_way(parts, connection, channel, said.channel)
    found = store.at(connection, log, said.notice)
    if found is None or found.kind != IRREGULARITY:
        if said.notice in erasures.erased(connection, log, said.notice, said.notice + 1):
            return
        raise Unproven("an irregularity is acknowledged that was not reported", where=f"entry {said.notice}")
    if found.answered_at is not None:
        raise Unproven("an irregularity is acknowledged twice", where=f"entry {said.notice}")
    store.acknowledge(connection, found.report, each.seq, each.time, said.text, "")


# What is shown


def listed(connection: Connection, before: int, limit: int) -> list[dict[str, Any]]:
    """The reports before a number, newest first, with who told whom and what was answered."""
    known = channels.by_log(connection)
    return [_shown(known[each.log], each) for each in store.listed(connection, before, limit)]


def _shown(way_back: StoredChannel, found: StoredReport) -> dict[str, Any]:
    is_received = found.about == LEDGER
    return {
        "report": found.report,
        "direction": "received" if is_received else "sent",
        "partner": way_back.issuer if is_received else way_back.partner,
        "agreement": way_back.agreement,
        "tin": found.tin,
        "kind": found.kind,
        "class": found.code,
        "text": found.text,
        "told_at": found.time,
        "by": found.by or None,
        "acknowledged_at": found.answered_at,
        "acknowledgement": found.answer,
        "acknowledged_by": found.answered_by or None,
    }


def alerts(connection: Connection, record_ids: Sequence[str]) -> dict[str, list[str]]:
    """{own record: what partners report of it and nobody has acknowledged, and where it is suspended}."""
    known = channels.by_log(connection)
    told: dict[str, list[str]] = {}
    treated: dict[tuple[str, int], StoredReport] = {}
    for each in store.about(connection, LEDGER, record_ids):
        partner = known[each.log].issuer
        if each.kind != IRREGULARITY:
            treated[each.record_id, each.log] = each
        elif each.answered_at is None:
            said = f"irregularity {each.report}: {partner} reports {each.code}: {each.text}"
            told.setdefault(each.record_id, []).append(said)
    for (record_id, log), each in treated.items():
        if each.kind == SUSPENDED:
            said = f"treatment: {known[log].issuer} has suspended it there since {each.time} ({each.code})"
            told.setdefault(record_id, []).append(said)
    return told


def suspended(parts: Parts, connection: Connection) -> list[dict[str, Any]]:
    """Every operator whose treatment is suspended here, and by which decision."""
    known = channels.by_log(connection)
    return [
        {
            "tin": each.tin,
            "country": known[log].issuer,
            "agreement": known[log].agreement,
            "since": each.time,
            "class": each.code,
            "reason": each.reason,
            "by": each.by,
            "ledger_seq": each.ledger_seq,
        }
        for (log, _), each in suspensions(parts, connection).items()
    ]


def in_words(decided: store.Decided) -> str:
    """A local suspension as a reason against recognition."""
    return f"suspended here since {decided.time} ({decided.code}): {decided.reason}"
