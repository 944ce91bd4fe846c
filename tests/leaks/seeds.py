"""Deliberate leaks, one at a time: each puts into a running node what tells a partner more than it may know.

Each is a function that changes one thing while it lasts, named after what it does; its first line says what
leaks. `SEEDS` has all of them.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any
from unittest.mock import patch

from fastapi import Request
from sqlalchemy import Connection, func, select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node import app
from node.api import edge, logs, operators, system, witness
from node.errors import Conflict, NotFound, Unauthenticated
from node.exchange import notices, outgoing, reports, sealing, serving, versions
from node.exchange.outgoing import ChannelWriter, Line
from node.exchange.versions import Draft, Version
from node.ledger import canonical
from node.ledger.encoding import b64, b64u
from node.ledger.entry import commitment
from node.ledger.witness import Rejected
from node.records import credential
from node.records.credential import Disclosure
from node.service import admit, behind, fetching, holding, tokens
from node.service.access_log import AccessLog, CommitHead
from node.service.batch import Batch
from node.service.erasing import Erase
from node.service.fetching import Tell
from node.service.line import Keeper
from node.service.reporting import Acknowledge, ReportIrregularity, SuspendHere
from node.service.signing import Sign
from node.store import access, agreements, channels, records
from node.store import logs as stored_logs
from node.store.database import table
from node.store.tables import AccessBody, Hold, Idempotency, Incident, Record

Leak = Callable[[], AbstractContextManager[None]]
Made = Callable[[Any], Any]

SEEDS: dict[str, Leak] = {}


def seed(leaking: Callable[[], Iterator[None]]) -> Leak:
    """One of `SEEDS`."""
    SEEDS[leaking.__name__] = made = contextmanager(leaking)
    return made


@contextmanager
def changed(*changes: tuple[Any, str, Made]) -> Iterator[None]:
    """While it lasts, each named member of a module or class is what is made of it."""
    with ExitStack() as stack:
        for owner, name, made in changes:
            stack.enter_context(patch.object(owner, name, made(getattr(owner, name))))
        yield


@contextmanager
def built(change: Callable[[Any], None]) -> Iterator[None]:
    """While it lasts, each application that is built is changed."""

    def made(real: Any) -> Any:
        def build(parts: Any) -> Any:
            application = real(parts)
            change(application)
            return application

        return build

    with changed((app, "build", made)):
        yield


# Fields, and what hides them


def also(*paths: str) -> AbstractContextManager[None]:
    """Disclosures with these field paths too."""

    def made(real: Any) -> Any:
        def decide(self: Line, fields: Any, today: str) -> Any:
            answer = real(self, fields, today)
            return replace(answer, fields=(*answer.fields, *paths)) if answer.shared else answer

        return decide

    return changed((Line, "decide", made))


@seed
def a_field_too_many() -> Iterator[None]:
    """The contact person travels with each disclosure."""
    with also("mra_contact"):
        yield


@seed
def consent_is_told() -> Iterator[None]:
    """To which other agreements an operator consented, and since when."""
    with also("mra_consent"):
        yield


@seed
def every_number_is_told() -> Iterator[None]:
    """The numbers of other schemes than the agreed one."""
    with also("identifiers"):
        yield


@seed
def the_reason_is_told() -> Iterator[None]:
    """The class of reason behind a status."""
    with also("status_reason_class"):
        yield


@seed
def sites_are_told() -> Iterator[None]:
    """The places of a firm."""
    with also("sites"):
        yield


@seed
def salts_that_all_can_guess() -> Iterator[None]:
    """Fields are hidden under salts that are no secret: whoever guesses a value sees that it is the one."""

    def made(_real: Any) -> Any:
        return lambda *_: lambda _group, count: [bytes([at]) * 16 for at in range(count)]

    with changed((sealing, "salts", made)):
        yield


@seed
def salts_out_of_the_record() -> Iterator[None]:
    """Salts are derived from the fields, the hidden ones too, and not from the record's key."""

    def made(_real: Any) -> Any:
        def salts(self: Draft) -> Any:
            key = canonical.digest({**self.operator})
            return sealing.salts(key, "", self.number)

        return salts

    with changed((Draft, "salts", made)):
        yield


@seed
def no_decoys() -> Iterator[None]:
    """As many digests as fields: how many are hidden can be counted."""

    def made(real: Any) -> Any:
        return lambda texts, secrets: real(texts, secrets[: len(texts)])

    with changed((credential, "_among_decoys", made)):
        yield


@seed
def decoys_at_the_end() -> Iterator[None]:
    """Digests in the order of the fields' names: where the shown ones stand tells which are hidden."""

    def made(_real: Any) -> Any:
        def among(texts: list[str], secrets: Any) -> list[bytes]:
            hidden = [*(text.encode("ascii") for text in texts), *secrets[len(texts) :]]
            return [sha256(each).digest() for each in hidden]

        return among

    with changed((credential, "_among_decoys", made)):
        yield


@seed
def elements_without_decoys() -> Iterator[None]:
    """As many digests in a list as it has elements."""

    def made(real: Any) -> Any:
        def hide(name: str, elements: Any, salts: Any) -> Any:
            opened, holders = real(name, elements, salts)
            kept = {_digest_of(each) for each in opened}
            return opened, [each for each in holders if each["..."] in kept]

        return hide

    with changed((credential, "_hide_elements", made)):
        yield


@seed
def elements_in_their_order() -> Iterator[None]:
    """The digests of a list's elements in the list's own order: how many stand before the shown one."""

    def made(real: Any) -> Any:
        def hide(name: str, elements: Any, salts: Any) -> Any:
            opened, holders = real(name, elements, salts)
            first = [{"...": _digest_of(each)} for each in opened]
            return opened, first + [each for each in holders if each not in first]

        return hide

    with changed((credential, "_hide_elements", made)):
        yield


def _digest_of(each: Disclosure) -> str:
    return b64u(sha256(each.text.encode("ascii")).digest())


def in_the_body(told: Callable[[Version], dict[str, Any]]) -> AbstractContextManager[None]:
    """The body that a ledger entry commits to, with something else in it."""

    def made(real: Any) -> Any:
        return property(lambda self: real.func(self) | told(self))

    return changed((Version, "body", made))


@seed
def the_private_part_is_open() -> Iterator[None]:
    """Who entered a change and why stands in what opens its ledger entry."""
    with in_the_body(lambda version: {"private": version.private}):
        yield


@seed
def the_words_of_a_consent_are_told() -> Iterator[None]:
    """That an operator consented anew, and in which words, stands in what opens its ledger entry."""
    with in_the_body(lambda version: {"said": version.private.get("statement")}):
        yield


@seed
def the_private_part_can_be_guessed() -> Iterator[None]:
    """Who entered a change is committed to under a salt that is no secret."""
    with in_the_body(lambda each: {"private": b64u(commitment(bytes(32), canonical.encode(each.private)))}):
        yield


@seed
def the_version_is_told() -> Iterator[None]:
    """How many versions there were, hidden ones too."""
    with in_the_body(lambda version: {"version": version.number}):
        yield


@seed
def the_salt_of_an_entry_can_be_guessed() -> Iterator[None]:
    """Ledger entries commit under a salt that is no secret, so anybody can try bodies."""
    with changed((Version, "salt", lambda _: lambda _self: bytes(32))):
        yield


def named(name: Callable[[Batch, dict[str, Any]], str]) -> AbstractContextManager[None]:
    """New records have this id."""
    entered: list[dict[str, Any]] = [{}]

    def remembering(real: Any) -> Any:
        def admitting(batch: Batch, operator: Any, author: Any) -> Any:
            entered[0] = operator
            return real(batch, operator, author)

        return admitting

    def naming(_real: Any) -> Any:
        return lambda batch: f"urn:aeo:br:{name(batch, entered[0])}"

    return changed((admit, "admit", remembering), (admit, "_new_record_id", naming))


@seed
def record_id_out_of_the_tin() -> Iterator[None]:
    """One id for ever: an erased operator that is entered again is known again."""
    with named(lambda _, fields: sha256(fields["tin"].encode()).hexdigest()):
        yield


@seed
def record_id_out_of_hidden_numbers() -> Iterator[None]:
    """The id names numbers that are not shared."""
    with named(
        lambda batch, fields: f"{batch.next_seq}-{sha256(str(fields['identifiers']).encode()).hexdigest()}"
    ):
        yield


@seed
def record_ids_in_a_row() -> Iterator[None]:
    """Records are counted through, those too that the partner never hears of."""
    with named(lambda batch, _: f"{records.count(batch.connection)}-{batch.next_seq}"):
        yield


# Channels


def watching(told: Callable[[Batch, Line, Version, Any, bool], None]) -> AbstractContextManager[None]:
    """After each decision: told of it, and whether the partner's view changed."""

    def made(real: Any) -> Any:
        def bring(self: Batch, line: Line, version: Version, answer: Any) -> None:
            before = _size(self, line)
            real(self, line, version, answer)
            told(self, line, version, answer, _size(self, line) != before)

        return bring

    return changed((Batch, "_bring_in_line", made))


def _size(batch: Batch, line: Line) -> int:
    writer = batch._writers.get(line.channel.log)
    return writer.writer.seq if writer else -1


def deciding(note: Callable[[Version, Any], None]) -> AbstractContextManager[None]:
    """Before each decision is carried out: what it is."""

    def made(real: Any) -> Any:
        def bring(self: Batch, line: Line, version: Version, answer: Any) -> None:
            note(version, answer)
            real(self, line, version, answer)

        return bring

    return changed((Batch, "_bring_in_line", made))


@seed
def hidden_changes_are_disclosed() -> Iterator[None]:
    """A change of what is hidden writes an entry, with nothing new in it."""
    with changed((outgoing, "view_digest", lambda _: lambda fields, _paths: canonical.digest(fields))):
        yield


@seed
def a_tombstone_for_what_was_never_seen() -> Iterator[None]:
    """A record that the partner never heard of leaves an entry."""

    def told(batch: Batch, line: Line, version: Version, answer: Any, is_written: bool) -> None:
        if not answer.shared and not is_written and version.number == 1:
            batch._writer(line).append("tombstone", outgoing.tombstone(version.record_id), batch.now_ms)

    with watching(told):
        yield


@seed
def a_tombstone_tells_its_cause() -> Iterator[None]:
    """Consent withdrawn, or out of scope: the tombstone says which."""
    cause = [""]

    def made(_real: Any) -> Any:
        return lambda record_id: canonical.encode({"v": 1, "record_id": record_id, "why": cause[0]})

    with (
        deciding(lambda _, answer: cause.__setitem__(0, answer.reason or "")),
        changed((outgoing, "tombstone", made)),
    ):
        yield


def longer(count: Callable[[Version, Any], int]) -> AbstractContextManager[None]:
    """Bodies of channels with so many classes of padding more."""
    classes = [0]

    def made(real: Any) -> Any:
        def seal(key: bytes, entry: Any, body: bytes) -> bytes:
            extra = classes[0] if entry.kind != "notice" else 0
            with changed((sealing, "_pad", lambda pad: lambda text: pad(text) + bytes(512 * extra))):
                sealed: bytes = real(key, entry, body)
            return sealed

        return seal

    @contextmanager
    def both() -> Iterator[None]:
        with (
            deciding(lambda version, answer: classes.__setitem__(0, count(version, answer))),
            changed((sealing, "seal_body", made)),
        ):
            yield

    return both()


@seed
def a_tombstone_longer_for_a_cause() -> Iterator[None]:
    """The tombstone of a withdrawn consent is longer than others."""
    with longer(lambda _, answer: answer.reason == "consent withdrawn"):
        yield


@seed
def longer_where_more_is_hidden() -> Iterator[None]:
    """A sealed body grows with what it hides, and not only with what it says."""
    with longer(lambda version, _: len(version.fields) // 3):
        yield


@seed
def a_new_epoch_for_a_hidden_change() -> Iterator[None]:
    """The key of the channel is rotated when something changed that the partner does not see."""

    def told(batch: Batch, line: Line, version: Version, answer: Any, is_written: bool) -> None:
        log, parts = line.channel.log, batch.parts
        epoch = channels.newest_epoch(batch.connection, log)
        if answer.shared and not is_written and epoch is not None and log not in batch._writers:
            head = stored_logs.head(batch.connection, log)
            assert head is not None
            partner = parts.peers.by_country(batch.connection)[line.channel.partner].seal_key
            keys, number = parts.keys.store, epoch.epoch + 1
            _, stored = outgoing.new_epoch(log, head.origin, number, keys, partner, parts.entropy)
            channels.add_epoch(batch.connection, stored)

    with watching(told):
        yield


@seed
def the_time_of_an_entry_tells() -> Iterator[None]:
    """An entry is as many milliseconds late as its record has fields, hidden ones too."""
    fields = [0]

    def made(real: Any) -> Any:
        def append(
            self: ChannelWriter, kind: str, body: bytes, now_ms: int, ledger_seq: int | None = None
        ) -> int:
            late = fields[0] if kind == "disclosure" else 0
            seq: int = real(self, kind, body, now_ms + late, ledger_seq)
            return seq

        return append

    with (
        deciding(lambda version, _: fields.__setitem__(0, len(version.fields))),
        changed((ChannelWriter, "append", made)),
    ):
        yield


@seed
def the_order_follows_what_is_hidden() -> Iterator[None]:
    """When all is decided again, records come in the order of a hidden field."""

    def made(_real: Any) -> Any:
        def again(self: Keeper, batch: Batch, at: Line, limit: int) -> None:
            found = records.newest_after(batch.connection, "", 10_000)
            opened = [versions.unseal(each, batch.parts.keys.store) for each in found]
            for version in sorted(opened, key=lambda each: str(each.fields.get("trade_names"))):
                batch.show([at], version)
            channels.set_line(batch.connection, at.channel.log, at.state, batch.today)

        return again

    with changed((Keeper, "_decide_again", made)):
        yield


@seed
def a_notice_of_the_state_counts() -> Iterator[None]:
    """The notice of a suspension says how many records are withheld."""

    def made(_real: Any) -> Any:
        def announce(self: Keeper, batch: Batch, at: Line) -> None:
            detail = f"{at.state} {records.count(batch.connection)}"
            batch.notice(at, notices.notice(notices.STATE, detail))
            channels.set_line(batch.connection, at.channel.log, at.state, "")

        return announce

    with changed((Keeper, "_announce", made)):
        yield


@seed
def an_erasure_names_its_case() -> Iterator[None]:
    """The notice of an erasure carries the reference of the case file."""
    cases = [""]

    def running(real: Any) -> Any:
        def run(self: Erase, batch: Batch) -> Any:
            cases[0] = self.reference
            return real(self, batch)

        return run

    def made(_real: Any) -> Any:
        return lambda self: notices.notice(
            notices.ERASURE, self.ground, {"entries": list(self.entries), "case": cases[0]}
        )

    with changed((Erase, "run", running), (notices.Erasure, "body", made)):
        yield


@seed
def an_erasure_of_what_was_never_told() -> Iterator[None]:
    """A partner hears of the erasure of an operator that it never heard of."""

    def running(real: Any) -> Any:
        def run(self: Erase, batch: Batch) -> Any:
            told = real(self, batch)
            for each in batch.lines():
                if each.channel.partner not in told["partners"]:
                    batch.notice(each, notices.notice("erased elsewhere", self.tin))
            return told

        return run

    with changed((Erase, "run", running)):
        yield


@seed
def an_erasure_counts_channels() -> Iterator[None]:
    """The notice of an erasure says in how many channels and reports the operator was."""
    counts = [0]

    def recording(real: Any) -> Any:
        def record(ground: str, reference: str, entries: Any) -> Any:
            counts[0] = len(entries)
            return real(ground, reference, entries)

        return record

    def made(_real: Any) -> Any:
        return lambda self: notices.notice(
            notices.ERASURE, self.ground, {"entries": list(self.entries), "channels": counts[0]}
        )

    with changed((notices, "record_of_erasure", recording), (notices.Erasure, "body", made)):
        yield


# Reports, own decisions, and what others left


def and_to_all(owner: Any, told: Callable[[Any], bytes | None]) -> AbstractContextManager[None]:
    """Behind such work, a notice to every partner."""

    def made(real: Any) -> Any:
        def run(self: Any, batch: Batch) -> Any:
            answer, body = real(self, batch), told(self)
            for each in batch.lines() if body else ():
                batch.notice(each, body)
            return answer

        return run

    return changed((owner, "run", made))


@seed
def a_report_is_told_to_all() -> Iterator[None]:
    """What is reported to one partner of its operator is told to every other."""
    with and_to_all(ReportIrregularity, lambda work: notices.notice("reported", f"{work.tin} {work.text}")):
        yield


@seed
def an_acknowledgement_is_told_to_all() -> Iterator[None]:
    """That one partner's report was acknowledged is told to every other."""
    with and_to_all(Acknowledge, lambda work: notices.notice("acknowledged elsewhere", work.text)):
        yield


@seed
def an_own_suspension_is_told_to_all() -> Iterator[None]:
    """That the treatment of one partner's operator is suspended is told to every other."""
    with and_to_all(SuspendHere, lambda work: notices.notice("suspended", work.tin)):
        yield


@seed
def leaving_is_told_to_all() -> Iterator[None]:
    """That an agreement was left is told to those too that it does not bind."""
    with and_to_all(
        Sign, lambda work: notices.notice("left", work.agreement) if work.act == "leave" else None
    ):
        yield


@seed
def an_acknowledgement_names_its_officer() -> Iterator[None]:
    """Who acknowledged a report is told with it."""
    officers = [""]

    def running(real: Any) -> Any:
        def run(self: Acknowledge, batch: Batch) -> Any:
            officers[0] = self.by
            return real(self, batch)

        return run

    def made(real: Any) -> Any:
        return lambda self: real(replace(self, text=f"{self.text} ({officers[0]})"))

    with changed((Acknowledge, "run", running), (reports.Acknowledged, "body", made)):
        yield


@seed
def an_own_decision_is_of_another_type() -> Iterator[None]:
    """The public ledger says of an entry that it is an own decision on an operator, and no act."""

    def made(real: Any) -> Any:
        return lambda self, kind, body: real(self, "member" if "local" in body else kind, body)

    with changed((Batch, "append_body", made)):
        yield


@seed
def what_is_withheld_is_of_another_type() -> Iterator[None]:
    """The public ledger says of each record entry whether it was disclosed to anybody."""

    def made(real: Any) -> Any:
        def store(self: Batch, each: Any) -> None:
            lines = [at for at in self.lines() if at.carries_records]
            shared = any(at.decide(each.version.fields, self.today).shared for at in lines)
            append = self._append
            with patch.object(
                self, "_append", lambda kind, commit: append(kind if shared else "member", commit)
            ):
                real(self, each)

        return store

    with changed((Batch, "_store_version", made)):
        yield


# Reads


@seed
def the_ledger_commits_to_each_read() -> Iterator[None]:
    """The ledger commits to the access log when something was asked, and not when its time has come."""

    def made(real: Any) -> Any:
        return lambda _self, batch: real(CommitHead(is_last=True), batch)

    with changed((CommitHead, "run", made), (AccessLog, "_is_due", lambda _: lambda _self: True)):
        yield


@seed
def health_counts_reads() -> Iterator[None]:
    """`/healthz` says how much was asked."""
    with healthy(lambda node, _: str(_count(node, AccessBody))):
        yield


@seed
def health_tells_of_backups() -> Iterator[None]:
    """`/healthz` says whether a backup was ever made."""
    with healthy(lambda node, _: "kept" if node.backup_keys.path.exists() else "never kept"):
        yield


def healthy(told: Callable[[Any, Connection], str]) -> AbstractContextManager[None]:
    """One line more in the answer of `/healthz`."""

    def made(real: Any) -> Any:
        def health(node: Any) -> str:
            with node.database.glance() as connection:
                return f"{real(node)}{told(node, connection)}\n"

        return health

    return changed((system, "_health", made))


@seed
def a_peer_reads_the_access_log() -> Iterator[None]:
    """Who asked what is told to peers as well as to auditors."""
    with open_to_peers("/v1/access", edge.Auditor.__metadata__[0].dependency):  # type: ignore[attr-defined]
        yield


# News


def with_connection(change: Callable[[Connection, dict[str, Any]], None]) -> AbstractContextManager[None]:
    """The answer with news, changed."""

    def made(real: Any) -> Any:
        def news(connection: Connection, *given: Any) -> dict[str, Any]:
            answer: dict[str, Any] = real(connection, *given)
            change(connection, answer)
            return answer

        return news

    return changed((serving, "news", made))


@seed
def news_count_records() -> Iterator[None]:
    """The answer says how many records there are."""
    with with_connection(lambda connection, answer: answer.update(records=records.count(connection))):
        yield


@seed
def a_line_under_the_checkpoint() -> Iterator[None]:
    """The heartbeat carries a note of how many records there are."""

    def change(connection: Connection, answer: dict[str, Any]) -> None:
        line_ = f"— records {b64(records.count(connection).to_bytes(8, 'big'))}\n"
        answer["ledger"]["checkpoint"] += line_

    with with_connection(change):
        yield


@seed
def pages_shrink_with_what_is_withheld() -> Iterator[None]:
    """A page holds fewer entries the more records there are."""

    def made(real: Any) -> Any:
        def news(connection: Connection, *given: Any) -> Any:
            *others, limit, beat, open_body = given
            return real(connection, *others, max(1, limit - records.count(connection) % 3), beat, open_body)

        return news

    with changed((serving, "news", made)):
        yield


@seed
def the_revision_counts_other_agreements() -> Iterator[None]:
    """The revision of agreements moves with those of others."""
    every: list[Any] = []

    def remembering(real: Any) -> Any:
        def shared(standings: Any, own: Any, peer: Any) -> Any:
            every[:] = standings.values()
            return real(standings, own, peer)

        return shared

    def counting(real: Any) -> Any:
        return lambda _shared: real(every)

    with changed((serving, "shared_with", remembering), (serving, "revision", counting)):
        yield


@seed
def agreements_of_others_are_told() -> Iterator[None]:
    """News bring the agreements with others, drafts too."""
    with changed((serving, "shared_with", lambda _: lambda standings, _own, _peer: list(standings.values()))):
        yield


@seed
def a_wait_ends_when_others_agree() -> Iterator[None]:
    """The open request is answered, with nothing new, when something moved between others."""
    last: dict[int, int] = {}

    def made(real: Any) -> Any:
        def has_news(connection: Connection, standings: Any, *given: Any) -> bool:
            new = agreements.rev(connection)
            moved = last.setdefault(id(standings.values), new) != new or last.get(0, new) != new
            last[0] = new
            return moved or real(connection, standings, *given)

        return has_news

    with changed((serving, "has_news", made)):
        yield


@seed
def held_tells_acts_of_others() -> Iterator[None]:
    """What is given back of the own ledger has acts of another party's ledger in it."""

    def made(real: Any) -> Any:
        def acts(connection: Connection, peer: Any, start: int) -> Any:
            others = [each.act for each in agreements.acts(connection)]
            return real(connection, peer, start) + [
                {"entry": "", "salt": "", "body": {"act": each}} for each in others
            ]

        return acts

    with changed((holding, "_acts", made)):
        yield


@seed
def held_tells_what_is_held_back() -> Iterator[None]:
    """It is said how many operators the law forbids to erase."""

    def made(real: Any) -> Any:
        def held(parts: Any, connection: Connection, *given: Any) -> Any:
            count = connection.execute(select(func.count()).select_from(table(Hold))).scalar()
            return real(parts, connection, *given) | {"holds": count}

        return held

    with changed((holding, "held", made)):
        yield


@seed
def seen_tells_channels_of_others() -> Iterator[None]:
    """Among what was seen of the own logs are checkpoints of every channel of this node."""

    def made(real: Any) -> Any:
        def seen_of(connection: Connection, own: str, peer: Any) -> Any:
            heads = [stored_logs.head(connection, each.log) for each in channels.channels(connection)]
            return real(connection, own, peer) + [
                head.checkpoint for head in heads if head and head.checkpoint
            ]

        return seen_of

    with changed((behind, "seen_of", made)):
        yield


# Routes, refusals and headers


@seed
def a_refusal_tells_that_a_channel_is_there() -> Iterator[None]:
    """Whoever asks for a channel of others is told how much is in it."""

    def change(application: Any) -> None:
        async def channel(
            request: Request, node: edge.Node, agreement: str, issuer: str, partner: str
        ) -> None:
            found = logs._channel(node, agreement, issuer, partner)
            try:
                await logs.channel(
                    request, node, agreement, issuer, partner, await edge.asking_country(request)
                )
            except NotFound as refusal:
                with node.database.glance() as connection:
                    head = stored_logs.head(connection, found.log) if found else None
                raise NotFound(refusal.what, why=f"it is not yours: {head and head.size}") from None

        application.dependency_overrides[logs.channel] = channel

    with built(change):
        yield


@seed
def channels_of_others_can_be_read() -> Iterator[None]:
    """Any peer may read any channel's checkpoint and entries."""

    def change(application: Any) -> None:
        async def channel(
            request: Request, node: edge.Node, agreement: str, issuer: str, partner: str
        ) -> None:
            await edge.asking_country(request)
            found = logs._channel(node, agreement, issuer, partner)
            if found is None:
                raise NotFound("there is no such channel")
            request.state.shown = logs.Shown(found.log, False)

        application.dependency_overrides[logs.channel] = channel

    with built(change):
        yield


@seed
def health_counts_records() -> Iterator[None]:
    """`/healthz` says how many records there are."""
    with healthy(lambda _, connection: f"records {records.count(connection)}"):
        yield


@seed
def a_peer_may_search() -> Iterator[None]:
    """The search by name answers peers as well."""
    with open_to_peers("/v1/search", edge.reader):
        yield


@seed
def a_peer_may_look_up_by_number() -> Iterator[None]:
    """So does the lookup by any number."""
    with open_to_peers("/v1/operators", edge.reader):
        yield


@seed
def a_peer_sees_the_decisions() -> Iterator[None]:
    """The view of how many records are withheld for which reason answers peers as well."""
    with open_to_peers("/decisions", edge.reader):
        yield


@seed
def a_peer_sees_reports() -> Iterator[None]:
    """The list of what partners reported, and were told, answers peers as well."""
    with open_to_peers("/v1/reports", edge.reader):
        yield


@seed
def a_peer_sees_incidents() -> Iterator[None]:
    """An auditor's view answers peers as well."""
    with open_to_peers("/v1/incidents", edge.Auditor.__metadata__[0].dependency):  # type: ignore[attr-defined]
        yield


def open_to_peers(path: str, guard: Any) -> AbstractContextManager[None]:
    """A route that asks for a token lets a signed request in as well."""

    def change(application: Any) -> None:
        async def lenient(request: Request) -> Any:
            if request.url.path.endswith(path) and "signature" in request.headers:
                return tokens.Caller("", "", "administrator")
            return await guard(request)

        application.dependency_overrides[guard] = lenient

    return built(change)


@seed
def a_repeated_key_is_answered_to_anybody() -> Iterator[None]:
    """Whoever repeats an idempotency key gets the answer that was given to it."""

    def made(real: Any) -> Any:
        async def officer(request: Request) -> Any:
            row = table(Idempotency)
            with request.app.state.parts.database.glance() as connection:
                key = request.headers.get("idempotency-key", "")
                found = connection.execute(select(row.c.answer).where(row.c.key == key)).scalar()
            if found is not None and "authorization" not in request.headers:
                raise Conflict("this was answered before", why=found.decode())
            return await real(request)

        return officer

    with changed((operators, "officer", made)):
        yield


@seed
def a_refusal_counts_tokens() -> Iterator[None]:
    """A token that is not known is told how many are."""

    def made(real: Any) -> Any:
        def caller(connection: Connection, *given: Any) -> Any:
            try:
                return real(connection, *given)
            except Unauthenticated as refusal:
                raise Unauthenticated(
                    refusal.what, why=f"{len(access.tokens(connection))} are known"
                ) from None

        return caller

    with changed((tokens, "_caller", made)):
        yield


@seed
def a_witness_tells_channels_of_others() -> Iterator[None]:
    """Asked for a cosignature on a channel of its own to others, the witness says how large it is."""

    def made(real: Any) -> Any:
        def considered(parts: Any, body: bytes, sender: Any) -> Any:
            origin = body.partition(b"\n\n")[2].partition(b"\n")[0].decode()
            with parts.database.read() as connection:
                head = stored_logs.head_of(connection, origin)
            if head is not None and "/channel/" in origin:
                return Rejected(409, "another size is recorded", size=head.size)
            return real(parts, body, sender)

        return considered

    with changed((witness, "considered", made)):
        yield


class _Changed:
    """An application whose answers are changed on their way out."""

    def __init__(self, application: ASGIApp, change: Any, parts: Any) -> None:
        self._app, self._change, self._parts = application, change, parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: list[Message] = []

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                held.append(message)
                return
            if held:
                start, body = held.pop(), message.get("body", b"")
                whole = not message.get("more_body")
                headers = {name.decode(): value.decode() for name, value in start["headers"]}
                status, headers, body = self._change(self._parts, scope, start["status"], headers, body)
                if whole and "content-length" in headers:
                    headers["content-length"] = str(len(body))
                sent = [(name.encode(), value.encode()) for name, value in headers.items()]
                await send(start | {"status": status, "headers": sent})
                message = message | {"body": body}
            await send(message)

        if scope["type"] != "http" or scope["path"] == "/v1/changes":
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, sending)


def answers(change: Callable[[Any, Scope, int, dict[str, str], bytes], Any]) -> AbstractContextManager[None]:
    """Every answer as `change(parts, scope, status, headers, body)` makes it."""
    return built(lambda made: made.add_middleware(_Changed, change=change, parts=made.state.parts))


def _count(parts: Any, of: Any) -> int:
    with parts.database.glance() as connection:
        return connection.execute(select(func.count()).select_from(table(of))).scalar() or 0


def _is_known(parts: Any, path: str) -> bool:
    """Whether a path names an operator that is recorded."""
    found = re.search(r"/operators/(BR\w+)", path)
    with parts.database.glance() as connection:
        return bool(found and records.find(connection, [found[1]], "TIN"))


@seed
def a_length_that_counts() -> Iterator[None]:
    """The card comes with as many spaces behind it as there are records."""

    def change(parts: Any, scope: Scope, status: int, headers: Any, body: bytes) -> Any:
        return status, headers, body + b" " * (_count(parts, Record) if scope["path"] == "/v1/card" else 0)

    with answers(change):
        yield


@seed
def an_etag_that_counts() -> Iterator[None]:
    """The ledger's checkpoint has an ETag that moves with every incident."""

    def change(parts: Any, scope: Scope, status: int, headers: Any, body: bytes) -> Any:
        tag = {"etag": f'"{_count(parts, Incident)}"'} if scope["path"] == "/log/checkpoint" else {}
        return status, headers | tag, body

    with answers(change):
        yield


@seed
def a_cache_header_that_tells() -> Iterator[None]:
    """A refused lookup may be cached if there is no such operator, and not if there is."""

    def change(parts: Any, scope: Scope, status: int, headers: Any, body: bytes) -> Any:
        is_told = "/operators/" in scope["path"] and not _is_known(parts, scope["path"])
        return status, headers | ({"cache-control": "max-age=60"} if is_told else {}), body

    with answers(change):
        yield


@seed
def not_found_before_not_allowed() -> Iterator[None]:
    """404 for an operator that there is not, 401 for one that there is, whoever asks."""

    def change(parts: Any, scope: Scope, status: int, headers: Any, body: bytes) -> Any:
        is_unknown = "/operators/BR" in scope["path"] and not _is_known(parts, scope["path"])
        return (404 if status == 401 and is_unknown else status), headers, body

    with answers(change):
        yield


@seed
def a_header_counts_requests() -> Iterator[None]:
    """A header counts the requests of all callers: how busy the own officers are."""
    counts: dict[int, int] = {}

    def change(parts: Any, scope: Scope, status: int, headers: Any, body: bytes) -> Any:
        counts[id(parts)] = counts.get(id(parts), 0) + 1
        return status, headers | {"x-requests": str(counts[id(parts)])}, body

    with answers(change):
        yield


@seed
def a_line_of_the_log_in_a_refusal() -> Iterator[None]:
    """Refusals carry the newest line of the node's log: who entered whom."""
    lines: dict[int, str] = {}

    def logging(real: Any) -> Any:
        def admitting(batch: Batch, operator: Any, author: Any) -> Any:
            lines[id(batch.parts.database)] = f"{author.caller}: {operator['legal_name']}"
            return real(batch, operator, author)

        return admitting

    def change(parts: Any, scope: Scope, status: int, headers: Any, body: bytes) -> Any:
        line_ = lines.get(id(parts.database), "").encode("ascii", "replace").decode()
        return status, headers | ({"x-debug": line_} if status >= 400 else {}), body

    with changed((admit, "admit", logging)), answers(change):
        yield


@seed
def the_realm_names_who_works_there() -> Iterator[None]:
    """The challenge of a 401 names the token that was made last."""

    def change(parts: Any, scope: Scope, status: int, headers: Any, body: bytes) -> Any:
        with parts.database.glance() as connection:
            newest = sorted(access.tokens(connection), key=lambda each: each.created_at)[-1]
        realm = f'Bearer realm="{newest.token}"'
        return status, headers | ({"www-authenticate": realm} if status == 401 else {}), body

    with answers(change):
        yield


@seed
def whose_channel_falls_short() -> Iterator[None]:
    """A node that was put back tells everybody which of its channels it lost entries of."""
    with changed((behind, "told_outside", lambda _: behind.told)):
        yield


# What is asked for


@seed
def what_is_not_there_is_refused() -> Iterator[None]:
    """A question about an operator that is not there is refused, one about a hidden operator answered."""

    def made(real: Any) -> Any:
        def run(self: Tell, batch: Batch) -> Any:
            batch.flush()
            if not fetching._own(batch.connection, self.question):
                raise NotFound("no own operator has this identifier", where="", do="ask for another")
            return real(self, batch)

        return run

    with changed((Tell, "run", made)):
        yield


@seed
def a_hidden_number_finds() -> Iterator[None]:
    """An operator is found by a number that the partner may not see."""
    with changed((outgoing, "is_shown", lambda _: lambda *_: True)):
        yield


def told_of(change: Callable[[Batch, Line, Version], None]) -> AbstractContextManager[None]:
    """Something more is done with each record that has the number, once a question is answered."""

    def made(real: Any) -> Any:
        def tell(self: Batch, line: Line, found: Sequence[tuple[Version, Any]], asked: Any) -> int:
            seq: int = real(self, line, found, asked)
            for version, _ in found:
                change(self, line, version)
            return seq

        return tell

    return changed((Batch, "tell", made))


@seed
def why_it_is_not_told_is_told() -> Iterator[None]:
    """Behind an answer that tells nothing stands why the contract withholds."""

    def also_why(batch: Batch, line: Line, version: Version) -> None:
        if why := line.decide(version.fields, batch.today).reason:
            batch.notice(line, notices.notice("why", why))

    with told_of(also_why):
        yield


@seed
def an_answer_that_tells_nothing_goes_with_its_record() -> Iterator[None]:
    """When a hidden operator is erased, the partner is told to erase the answers that told it nothing."""

    def rests(batch: Batch, line: Line, version: Version) -> None:
        batch._writer(line).bodies[-1]["ledger_seq"] = version.ledger_seq

    with told_of(rests):
        yield
