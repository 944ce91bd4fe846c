"""Taking over what a peer's page proves: mirror, cursors and incidents, all in one transaction."""

from dataclasses import dataclass
from hashlib import sha256

import orjson
from sqlalchemy import Connection

from node.agreements.document import direction_terms
from node.errors import Gap, Refusal, Unproven
from node.exchange.card import Card, ledger_origin
from node.exchange.incoming import (
    NEVER,
    ChannelReader,
    Disclosed,
    Opener,
    Terms,
    check_ledger,
    start_copy,
)
from node.exchange.page import ChannelPart, LedgerPart, News
from node.exchange.serving import Cursors
from node.exchange.standing import Standing
from node.ledger import moment
from node.ledger.checkpoint import Checkpoint, open_checkpoint
from node.ledger.encoding import b64u
from node.ledger.merkle import EMPTY_ROOT
from node.service.batch import index_row
from node.service.parts import Parts
from node.store import channels, logs, records
from node.store.database import Row, add
from node.store.logs import Head
from node.store.tables import Change

STRUCTURAL = ("missing", "replaced", "late")
CURSORS_LIMIT = 64
WHOLE_PEER = -1
"""The log number of an incident that is about a peer's answer as a whole."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a page brought: entries copied, and whether the peer has more."""

    entries: int
    more: bool


def cursors(parts: Parts, connection: Connection, peer: Card, rev: int) -> Cursors:
    """How far we have come with a peer."""
    ledger = logs.head_of(connection, ledger_origin(peer.name))
    sizes = {}
    for number, _ in expected(parts, connection, peer):
        channel = channels.channel(connection, number, peer.country, parts.country)
        head = logs.head(connection, channel.log) if channel else None
        sizes[number] = head.size if head else 0
    return Cursors(rev, ledger.size if ledger else 0, sizes)


def expected(parts: Parts, connection: Connection, peer: Card) -> list[tuple[str, Standing]]:
    """The agreements under which this peer has a channel to us."""
    pair = (peer.country, parts.country)
    standings = parts.standings.current(connection)
    found = [
        (number, standing)
        for number, standing in standings.items()
        if pair in standing.directions() and standing.is_signed(parts.today())
    ]
    return found[:CURSORS_LIMIT]


def take(parts: Parts, connection: Connection, peer: Card, news: News) -> Taken:
    """Verify a page and store what it proves; a `Refusal` means that nothing of it was stored."""
    now_ms = parts.now_ms()
    time = moment.format(now_ms)
    ledger = _take_ledger(connection, peer, news, now_ms)
    known = dict(expected(parts, connection, peer))
    copied, more = 0, False
    for page in news.channels:
        if page.agreement not in known:
            raise Unproven("a peer sends a channel of an agreement that is not signed", where=page.agreement)
        reader, head = _read_channel(parts, connection, peer, page, known[page.agreement], ledger, now_ms)
        _store(parts, connection, peer, reader, time)
        copied += len(page.entries)
        signed = open_checkpoint(page.checkpoint, head.origin, peer.verifiers(head.origin))
        more = more or head.size < signed.size
        if head.size == signed.size:
            channels.close_incidents(connection, peer.name, head.log, STRUCTURAL, time)
    channels.close_incidents(connection, peer.name, WHOLE_PEER, (*STRUCTURAL, "invalid"), time)
    return Taken(copied, more)


def _take_ledger(connection: Connection, peer: Card, news: News, now_ms: int) -> Checkpoint:
    last = logs.head_of(connection, ledger_origin(peer.name))
    proven = check_ledger(news.ledger, peer, last, now_ms / 1000)
    time = moment.format(proven.time_s * 1000)
    if last is None:
        number = logs.begin(connection, proven.checkpoint.origin, EMPTY_ROOT, time, "")
        last = Head(number, proven.checkpoint.origin, 0, EMPTY_ROOT, None, time, "")
    new = Head(last.log, last.origin, proven.checkpoint.size, proven.checkpoint.root, None, time, proven.note)
    logs.advance(connection, last.size, new)
    return proven.checkpoint


def _read_channel(
    parts: Parts,
    connection: Connection,
    peer: Card,
    page: ChannelPart,
    standing: Standing,
    ledger: Checkpoint,
    now_ms: int,
) -> tuple[ChannelReader, Head]:
    channel = channels.channel(connection, page.agreement, peer.country, parts.country)
    if channel is None:
        channel = start_copy(connection, page.agreement, peer, parts.country, NEVER)
    head = logs.head(connection, channel.log)
    assert head is not None, "a channel is stored together with its log"
    terms = direction_terms(standing.agreement, peer.country, parts.country, "")
    reader = ChannelReader(
        connection, channel, head, peer, Terms(page.agreement, tuple(terms["direction"]["fields"]))
    )
    opener = Opener(parts.keys.seal, parts.keys.store, parts.entropy)
    return reader, reader.read(page, ledger, opener, now_ms / 1000)


def _store(parts: Parts, connection: Connection, peer: Card, reader: ChannelReader, time: str) -> None:
    log = reader.channel.log
    named = {each.record_id: each.fields for each in reader.disclosed if each.record_id and each.fields}
    tins = _known_tins(connection, log, reader.disclosed)
    tins |= {record_id: str(fields["tin"]) for record_id, fields in named.items()}
    history = [_history_row(log, each, time) for each in reader.disclosed]
    newest = {each.record_id: each for each in reader.disclosed if each.record_id is not None}
    rows = [_mirror_row(log, each) for each in newest.values()]
    channels.put_mirror(connection, rows, history)
    # What was disclosed and left our view again within one page must be found too: it is not unknown.
    records.index(connection, log, {record_id: index_row(fields) for record_id, fields in named.items()})
    gone = [record_id for record_id, each in newest.items() if each.fields is None]
    records.clear_names(connection, log, gone)
    changes = []
    for each in reader.disclosed:
        tin = (each.fields or {}).get("tin") or tins.get(each.record_id or "", "")
        changes.append(
            {"log": log, "record_id": each.record_id or "", "tin": tin, "kind": each.kind, "time": time}
        )
    add(connection, Change, changes)
    channels.settle_incidents(connection, log, list(newest), time)
    for apart in reader.set_apart:
        row = incident(peer.name, log, apart.seq, "invalid", apart.reason, apart.evidence, time)
        overtaken = apart.record_id in newest and newest[apart.record_id].seq > apart.seq
        channels.note_incident(
            connection, row | {"record_id": apart.record_id, "closed": time if overtaken else None}
        )
        if apart.record_id is not None and not overtaken:
            channels.doubt(connection, log, apart.record_id, apart.reason)


def _known_tins(connection: Connection, log: int, disclosed: list[Disclosed]) -> dict[str, str]:
    gone = [(log, each.record_id) for each in disclosed if each.kind == "tombstone" and each.record_id]
    kept = channels.mirrored(connection, gone)
    return {record_id: orjson.loads(row.fields)["tin"] for (_, record_id), row in kept.items() if row.fields}


def _history_row(log: int, each: Disclosed, time: str) -> Row:
    row = {"log": log, "seq": each.seq, "record_id": each.record_id, "kind": each.kind}
    return row | {"time": each.time, "received_at": time, "body": each.body}


def _mirror_row(log: int, each: Disclosed) -> Row:
    fields = None if each.fields is None else orjson.dumps(each.fields)
    row = {"log": log, "record_id": each.record_id, "seq": each.seq, "fields": fields}
    return row | {"ledger_seq": each.ledger_seq, "credential": each.credential, "doubt": None}


def incident(
    peer: str, log: int, seq: int, kind: str, detail: str, evidence: bytes, time: str, claim: bytes = b""
) -> Row:
    """Something from a peer that failed verification, as it is kept; another `claim` is another incident."""
    row = {"peer": peer, "log": log, "seq": seq, "kind": kind, "record_id": None}
    row |= {"detail": detail, "evidence": evidence, "evidence_digest": b64u(sha256(claim).digest())}
    return row | {"first_seen": time, "last_seen": time, "closed": None}


def failed(parts: Parts, peer: Card, refusal: Refusal, news: News | None) -> None:
    """Keep what did not hold as a whole: nothing of it was used, and answers go on from what was proven.

    The evidence is what the peer signed: its checkpoints and what it gave as proof of consistency.
    """
    kind = (
        "missing" if isinstance(refusal, Gap) else "replaced" if isinstance(refusal, Unproven) else "invalid"
    )
    pages: list[LedgerPart | ChannelPart] = [news.ledger, *news.channels] if news else []
    evidence = orjson.dumps(
        [{"checkpoint": page.checkpoint, "consistency": page.consistency} for page in pages]
    )
    # The cosignatures differ each time; what is claimed are the trees.
    claim = orjson.dumps([page.checkpoint.partition("\n\n")[0] for page in pages])
    _note(parts, peer, kind, refusal, evidence, claim)


def altered(parts: Parts, peer: Card, refusal: Refusal) -> None:
    """Keep that re-reading the peer's ledger found an entry that is not the one signed."""
    told = refusal.sentence().encode()
    _note(parts, peer, "altered", refusal, told, told)


def unaltered(parts: Parts, peer: Card) -> None:
    """A whole round of re-reading held: close what an earlier one found."""
    with parts.database.write() as connection:
        time = moment.format(parts.now_ms())
        channels.close_incidents(connection, peer.name, WHOLE_PEER, ("altered",), time)


def _note(parts: Parts, peer: Card, kind: str, refusal: Refusal, evidence: bytes, claim: bytes) -> None:
    time = moment.format(parts.now_ms())
    with parts.database.write() as connection:
        row = incident(peer.name, WHOLE_PEER, -1, kind, refusal.sentence(), evidence, time, claim)
        channels.note_incident(connection, row)
