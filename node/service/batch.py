"""One transaction of the sequencer: what the changes in it add, in order, and how it is committed.

A change looks at the state through the batch, so it sees the changes before it in the same batch.
It first works everything out, which may refuse, and only then adds; a refused change leaves no trace.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import ClassVar

from sqlalchemy import Connection
from sqlmodel import SQLModel

from contracts.evaluation import Answer
from node.errors import Damaged
from node.exchange import outgoing, sealing, versions
from node.exchange.card import channel_origin
from node.exchange.fetches import Question
from node.exchange.log_writer import LogWriter, begin
from node.exchange.outgoing import ChannelWriter, Line
from node.exchange.versions import Draft, Version
from node.ledger import canonical, moment
from node.ledger.encoding import b64u
from node.ledger.entry import LedgerEntry, commitment
from node.records import identifiers
from node.service.names import fold
from node.service.parts import Parts, line_of
from node.service.workshop import Made
from node.store import access, channels, logs, records
from node.store.channels import StoredChannel
from node.store.database import Row, add, put
from node.store.logs import Head
from node.store.tables import (
    LEDGER,
    Change,
    ChannelBody,
    ChannelView,
    Decision,
    LedgerBody,
    Record,
    RecordVersion,
)

FIND_LIMIT = 500
SIGNED_AT_ONCE = 256
SILENT_S = 1.0
"""A writer at work is silent for no longer, unless it waits for the workshop."""


class SmallWork:
    """What work for the writer is, unless it says otherwise: one change, about no operator."""

    __slots__ = ()
    weight: ClassVar[int] = 1
    tins: ClassVar[Sequence[str]] = ()


class Batch:
    """The work of one transaction."""

    def __init__(self, parts: Parts, connection: Connection) -> None:
        """Open the ledger's end; `connection` is the writer's transaction."""
        self.parts, self.connection = parts, connection
        head = logs.head(connection, LEDGER)
        if head is None:
            raise Damaged("the store has no ledger", do="run `aeo init` in an empty folder")
        self.now_ms = max(parts.now_ms(), moment.parse(logs.newest_time(connection, parts.settings.name)))
        self.time, self.today = moment.format(self.now_ms), moment.date_of(self.now_ms)
        self.ledger, self._begun_at = LogWriter(connection, head), head.size
        self._committed: Head | None = None
        self.after_commit: list[Callable[[], None]] = []
        self.additions = 0
        self._answers: list[Row] = []
        self._rows: dict[type[SQLModel], list[Row]] = {}
        self._puts: dict[type[SQLModel], dict[object, Row]] = {}
        self._versions: dict[str, Draft | None] = {}
        self._drafts: list[Draft] = []
        self._seen: dict[tuple[int, str], bytes | None] = {}
        self._known_views: set[str] = set()
        self._new: set[str] = set()
        self._index: dict[str, Row] = {}
        self._entries: dict[int, bytes] = {}
        self._writers: dict[int, ChannelWriter] = {}
        self._lines: list[Line] | None = None
        self._heard_s = time.monotonic()

    # What there is

    def lines(self) -> list[Line]:
        """Every outgoing direction as it stands now."""
        if self._lines is None:
            self._lines = self.parts.lines(self.connection, self.today)
        return self._lines

    def prepare(self, tins: Iterable[str]) -> None:
        """Read the newest versions and the partners' views of these operators in few queries."""
        missing = [tin for tin in dict.fromkeys(tins) if tin not in self._versions]
        for start in range(0, len(missing), FIND_LIMIT):
            part = missing[start : start + FIND_LIMIT]
            found = records.newest_by_tin(self.connection, part)
            for tin in part:
                stored = found.get(tin)
                self._versions[tin] = versions.unseal(stored, self.parts.keys.store) if stored else None
            self.prepare_views([stored.record_id for stored in found.values()])

    def prepare_views(self, record_ids: list[str]) -> None:
        """Read what partners see of these records."""
        self._seen |= channels.views(self.connection, record_ids)
        self._known_views |= set(record_ids)

    def current(self, tin: str) -> Draft | None:
        """The newest version of an operator, with the changes of this batch."""
        if tin not in self._versions:
            self.prepare([tin])
        return self._versions[tin]

    def answered(self, caller: str, key: str) -> tuple[bytes, bytes] | None:
        """(request digest, answer) once given to an idempotency key, in this batch or before."""
        for row in self._answers:
            if (row["caller"], row["key"]) == (caller, key):
                return row["request"], row["answer"]
        return access.answered(self.connection, caller, key)

    # What is added

    def remember(self, caller: str, key: str, request: bytes, answer: bytes) -> None:
        """Remember the answer given to an idempotency key."""
        self._answers.append(
            {"caller": caller, "key": key, "request": request, "answer": answer, "time": self.time}
        )

    @property
    def next_seq(self) -> int:
        """The number of the next ledger entry, behind those of the drafts that wait to be signed."""
        return self.ledger.seq + len(self._drafts)

    def append(self, kind: str, commit: bytes) -> int:
        """Append an entry to the ledger and give its number."""
        self._sign_drafts()
        self.additions += 1
        return self._append(kind, commit)

    def _append(self, kind: str, commit: bytes) -> int:
        seq = self.ledger.seq
        entry = LedgerEntry(self.parts.country, seq, self.ledger.prev, self.now_ms, kind, commit)
        self.ledger.append(entry)
        self._entries[seq] = entry.encode()
        return seq

    def append_body(self, kind: str, body: canonical.Json) -> int:
        """Append an entry that commits to a body which is no record, and keep the body sealed."""
        entry, _ = self.append_opened(kind, body)
        return entry.seq

    def append_opened(self, kind: str, body: canonical.Json) -> tuple[LedgerEntry, bytes]:
        """As `append_body`; gives the entry, and the salt that opens its commitment."""
        salt = self.parts.entropy(32)
        content = canonical.encode(body)
        seq = self.append(kind, commitment(salt, content))
        sealed = seal_body(self.parts, seq, salt, content)
        self._rows.setdefault(LedgerBody, []).append({"seq": seq, "sealed": sealed})
        return LedgerEntry.decode(self._entries[seq]), salt

    def add_version(self, draft: Draft) -> None:
        """Take in a version: it is signed with the others of this batch, before anything is behind it."""
        assert draft.ledger_seq == self.next_seq, "a draft's entry is the next one"
        self._stay(SILENT_S)
        self.additions += 1
        self._drafts.append(draft)
        before, found_by = self._versions.get(draft.tin), index_row(draft.fields)
        if before is None or index_row(before.fields) != found_by:
            self._index[draft.record_id] = found_by
        self._versions[draft.tin] = draft

    def _sign_drafts(self) -> None:
        """Sign what waits, commit to it in the ledger, store it, and show it to every partner entitled."""
        drafts, self._drafts = self._drafts, []
        if not drafts:
            return
        lines = self.lines()
        for at in range(0, len(drafts), SIGNED_AT_ONCE):
            orders = [
                (draft, self.parts.entropy(sealing.NONCE_BYTES)) for draft in drafts[at : at + SIGNED_AT_ONCE]
            ]
            self._stay(0)
            for made in self.parts.workshop.make(orders, is_shown=bool(lines)):
                self._store_version(made)
                self._show(lines, made.version)

    def _stay(self, for_s: float) -> None:
        """After a silence of `for_s`, show that this writer works: a server cuts off one that stalls."""
        if time.monotonic() - self._heard_s >= for_s:
            self.connection.exec_driver_sql("SELECT 1")
            self._heard_s = time.monotonic()

    def _store_version(self, made: Made) -> None:
        version = made.version
        self._append("record", made.commit)
        if version.number == 1:
            self._known_views.add(version.record_id)
            self._new.add(version.record_id)
        wrapped = sealing.wrap(self.parts.keys.store, version.key, version.record_id, self.parts.entropy(12))
        row = {
            "record_id": version.record_id,
            "tin": version.tin,
            "version": version.number,
            "wrapped_key": wrapped,
            "kind": version.fields.get("kind"),
        }
        self._put(Record, version.record_id, row)
        stored = {
            "record_id": version.record_id,
            "version": version.number,
            "ledger_seq": version.ledger_seq,
            "sealed": made.sealed,
        }
        self._rows.setdefault(RecordVersion, []).append(stored)
        self.change(LEDGER, version.record_id, version.tin, "recorded")

    def show(self, lines: Sequence[Line], version: Version, last_answer: str | None = None) -> None:
        """Run each contract, keep the decision, and write what changes in the partner's view.

        `last_answer`: the answer kept before; a repeated one is not kept twice.
        """
        self._sign_drafts()
        self._show(lines, version, last_answer)

    def _show(self, lines: Sequence[Line], version: Version, last_answer: str | None = None) -> None:
        lines = [line for line in lines if self._follows(line, version.record_id)]
        digest = b64u(canonical.digest(version.fields)) if lines else ""
        for line in lines:
            self._stay(SILENT_S)
            answer = self._decide(line, version, digest, last_answer)
            self._bring_in_line(line, version, answer)

    def _follows(self, line: Line, record_id: str) -> bool:
        """Whether a partner is told what becomes of a record: all of it, or that it left the view."""
        return line.carries_records and (
            not line.is_on_demand or bool(self._view(line.channel.log, record_id))
        )

    def _decide(self, line: Line, version: Version, digest: str, last_answer: str | None = None) -> Answer:
        """What the contract answers, kept unless it is the `last_answer`; `digest` names the fields."""
        answer = line.decide(version.fields, self.today)
        decision = line.decision(version, answer, self.today, digest)
        if decision["answer"] != last_answer:
            self._rows.setdefault(Decision, []).append(decision)
        return answer

    def _bring_in_line(self, line: Line, version: Version, answer: Answer) -> None:
        log, record_id = line.channel.log, version.record_id
        seen = self._view(log, record_id)
        if answer.shared and not line.is_on_demand:
            digest = outgoing.view_digest(version.fields, answer.fields)
            if digest != seen:
                body = outgoing.disclosure(version, answer.fields, self._entry(version.ledger_seq))
                self._see(line, record_id, body, digest, version.ledger_seq)
        elif seen and not answer.shared:
            self._see(line, record_id, outgoing.tombstone(record_id), None, version.ledger_seq)

    def tell(self, line: Line, found: Sequence[tuple[Version, Collection[str]]], question: Question) -> int:
        """Answer what a partner asks for on demand: the one record that the contract shares with it.

        `found`: the records that carry the identifier, each with its schemes there; by one that the partner
        may not see none is found, and one that is hidden does not stand in the way of another. Gives the
        number of the entry that answers. A record that was told before, and may not be told any more, leaves
        the partner's view first, if the terms show it the identifier.
        """
        self._sign_drafts()
        shown = list[tuple[Version, Answer]]()
        for version, schemes in found:
            answer = self._decide(line, version, b64u(canonical.digest(version.fields)))
            if answer.shared and outgoing.is_shown(schemes, answer.fields):
                shown.append((version, answer))
            elif outgoing.is_shown(schemes, line.terms["direction"]["fields"]):
                self._bring_in_line(line, version, answer)
        if len(shown) != 1:
            return self.notice(line, question.asked.withheld())
        [(version, answer)] = shown
        digest = outgoing.view_digest(version.fields, answer.fields)
        body = outgoing.disclosure(version, answer.fields, self._entry(version.ledger_seq), question)
        return self._see(line, version.record_id, body, digest, version.ledger_seq)

    def notice(self, line: Line, body: bytes, ledger_seq: int | None = None) -> int:
        """Tell a partner something it must know; gives the number of the entry that does.

        `ledger_seq`: the ledger entry that it rests on, which the partner must have first.
        """
        self._sign_drafts()
        return self._writer(line).append("notice", body, self.now_ms, ledger_seq)

    def open_channel(self, agreement: str, partner: str) -> None:
        """Start the channel of a newly signed direction, not yet in line with any state."""
        self._sign_drafts()
        origin = channel_origin(self.parts.settings.name, agreement, partner)
        head = begin(self.connection, origin, self.time, self.parts.sign)
        new = StoredChannel(head.log, agreement, self.parts.country, partner, "", "")
        channels.add_channel(self.connection, new)
        standing = self.parts.standings.current(self.connection)[agreement]
        stored = channels.channels(self.connection)
        self.lines().append(line_of(self.connection, standing, new, stored, self.today))

    def forget_lines(self) -> None:
        """Work the directions out again: an act in this batch changed one."""
        self._sign_drafts()
        self._lines = None

    def change(self, log: int, record_id: str, tin: str, kind: str) -> None:
        """Tell the change feed that an answer may have changed."""
        row = {"log": log, "record_id": record_id, "tin": tin, "kind": kind, "time": self.time}
        self._rows.setdefault(Change, []).append(row)

    # What is erased

    def flush(self) -> None:
        """Write into the transaction what waits for the commit, but for the heads: to be found there."""
        self._sign_drafts()
        for model, rows in self._rows.items():
            add(self.connection, model, rows)
        for model, by_key in self._puts.items():
            put(self.connection, model, list(by_key.values()))
        if self._index:
            records.index(self.connection, LEDGER, self._index, self._new)
        access.remember_answers(self.connection, self._answers)
        for writer in self._writers.values():
            add(self.connection, ChannelBody, writer.bodies)
            writer.bodies = []
        self._rows, self._puts, self._index, self._new, self._answers = {}, {}, {}, set(), []

    def forget_record(self, tin: str, record_id: str) -> None:
        """An own record was deleted from the transaction: look it up again, and what partners see of it."""
        self.additions += 1
        self._versions.pop(tin, None)
        self._known_views.discard(record_id)
        self._seen = {key: seen for key, seen in self._seen.items() if key[1] != record_id}

    # Commit

    def commit(self) -> None:
        """Write everything into the transaction; the heads last.

        If the process dies before the transaction commits, none of this happened and nobody was
        answered; if it dies after, all of it happened, and callers who were not answered find it when
        they repeat their request under its idempotency key.
        """
        self.flush()
        for writer in self._writers.values():
            writer.writer.commit(self.time, self.parts.sign)
        self._committed = self.ledger.commit(self.time, self.parts.sign)

    def settle(self) -> None:
        """The transaction has committed: keep how far the ledger has come, then do what waited for that.

        If the process dies before, the record is behind the store, which contradicts nothing.
        """
        assert self._committed is not None, "it was committed"
        if self._committed.size > self._begun_at:
            self.parts.bookmark.keep(self._committed)
        for act in self.after_commit:
            act()

    def _put(self, model: type[SQLModel], key: object, row: Row) -> None:
        self._puts.setdefault(model, {})[key] = row

    def _view(self, log: int, record_id: str) -> bytes | None:
        if record_id not in self._known_views:
            self.prepare_views([record_id])
        return self._seen.get((log, record_id), outgoing.UNSEEN)

    def _see(self, line: Line, record_id: str, body: bytes, digest: bytes | None, ledger_seq: int) -> int:
        log, kind = line.channel.log, "tombstone" if digest is None else "disclosure"
        seq = self._writer(line).append(kind, body, self.now_ms, ledger_seq)
        self._seen[log, record_id] = digest
        self._put(
            ChannelView, (log, record_id), {"log": log, "record_id": record_id, "digest": digest, "seq": seq}
        )
        return seq

    def _entry(self, seq: int) -> bytes:
        if seq not in self._entries:
            self._entries[seq] = logs.entries(self.connection, LEDGER, seq, seq + 1)[0]
        return self._entries[seq]

    def _writer(self, line: Line) -> ChannelWriter:
        log = line.channel.log
        if log not in self._writers:
            self._writers[log] = self._open_writer(line)
        return self._writers[log]

    def _open_writer(self, line: Line) -> ChannelWriter:
        log, parts = line.channel.log, self.parts
        head = logs.head(self.connection, log)
        if head is None:
            raise Damaged("a channel has no log", where=f"channel {log}", do="run `aeo fsck`")
        epoch = channels.newest_epoch(self.connection, log)
        if epoch is None or head.size >= epoch.epoch * parts.settings.epoch_entries:
            number = epoch.epoch + 1 if epoch else 1
            partner = parts.peers.by_country(self.connection)[line.channel.partner].seal_key
            key, stored = outgoing.new_epoch(
                log, head.origin, number, parts.keys.store, partner, parts.entropy
            )
            channels.add_epoch(self.connection, stored)
        else:
            number = epoch.epoch
            key = outgoing.held_key(parts.keys.store, head.origin, epoch)
        return ChannelWriter(LogWriter(self.connection, head), log, number, key)


def index_row(fields: versions.Fields) -> Row:
    """What an operator is found by: its TIN, identifiers and names."""
    names = [fields.get("legal_name"), fields.get("legal_name_latin"), *fields.get("trade_names", [])]
    known = [name for name in names if name]
    return {
        "identifiers": identifiers.carried(fields),
        "name": known[0] if known else "",
        "folded": fold(" ".join(known)),
    }


def seal_body(parts: Parts, seq: int, salt: bytes, content: bytes) -> bytes:
    """A ledger body and its salt as they rest in the store."""
    return sealing.seal(
        parts.keys.store[0], salt + content, b"aeo/body/%d" % seq, parts.entropy(sealing.NONCE_BYTES)
    )


def open_body(parts: Parts, seq: int, sealed: bytes) -> tuple[bytes, bytes]:
    """(salt, content) of a stored ledger body; `Unproven` when a byte of it was changed."""
    opened = sealing.unseal_any(parts.keys.store, sealed, b"aeo/body/%d" % seq)
    return opened[:32], opened[32:]
