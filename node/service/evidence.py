"""Evidence: what a partner had told this node about an operator by a moment, provable to anyone.

One file with everything that `clients/sdk/verifier.py` checks: the disclosures with the keys that open them
and nothing else, the proofs that they stand in the issuer's channel and ledger, both checkpoints, the
agreement with every act that counted, the contract's text, how new the proof was, and what follows from that.
An entry counts from when it was received. What follows is a function of the file alone: the
node's own answer may have known more reasons, such as an entry that failed verification.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from node.agreements import amending, recognition, state
from node.agreements.act import Act
from node.agreements.document import direction_terms
from node.errors import Busy, Conflict, Malformed, NotFound, problem
from node.exchange import incoming, sealing
from node.exchange.card import Card, cosigner_name, ledger_origin
from node.exchange.outgoing import held_key
from node.exchange.standing import HeldAct, Standing, later_keys
from node.ledger import canonical, moment
from node.ledger.checkpoint import Checkpoint, stated
from node.ledger.encoding import b64
from node.ledger.entry import ChannelEntry, LedgerEntry
from node.ledger.note import read_note
from node.ledger.tiles import Tree
from node.records import identifiers
from node.service.accusing import is_stopped
from node.service.parts import Parts
from node.store import channels, logs, records, witnessed
from node.store.channels import StoredChannel
from node.store.database import Row
from node.store.logs import Head

KIND = "aeo-evidence/v1"
ACTS = ("sign", "start", "suspend", "resume", "terminate", "leave")
DAY_MS = 86_400_000
CATCHING_UP_MS = 60_000
"""For so long we wait for what an issuer has shown us as a witness, and not told us yet."""
TOLD = ("disclosure", "tombstone")
Recorded = tuple[HeldAct, dict[str, Any]]
"""An act, and its issuer's receipt: what opens the entry of the issuer's ledger that has it."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Our copy of a log under a checkpoint of its issuer that it is whole under."""

    note: str
    signed: Checkpoint
    tree: Tree

    def proof(self, seq: int) -> list[str]:
        """The inclusion proof of an entry."""
        return [b64(each) for each in self.tree.inclusion_proof(seq)]


@dataclass(frozen=True, slots=True)
class Found:
    """An operator on an incoming channel."""

    channel: StoredChannel
    record_id: str
    standing: Standing
    issuer: Card


def evidence(
    parts: Parts,
    connection: Connection,
    tin: str,
    at_ms: int,
    agreement: str = "",
    only: Collection[int] | None = None,
    reader: str = "",
) -> bytes:
    """The evidence about a partner's operator as of a moment, as canonical JSON.

    `only`, `reader`: the channels of a hosted reader, and its country: what others fetched, which says what
    for, is not in its evidence.
    `NotFound` when nothing had been told by then, `Conflict` when several agreements cover the operator and
    none is named, `Busy` while our copy of the issuer's log is being completed.
    """
    found = _found(parts, connection, tin, agreement, at_ms, only)
    head = logs.head(connection, found.channel.log)
    assert head is not None, "a channel is stored together with its log"
    ledger = _ledger(parts, connection, found.issuer)
    channel, (proven_at, beat) = _channel(connection, head), heartbeat(connection, head, at_ms)
    rows = [
        row
        for row in channels.mirror_history(connection, head.log, found.record_id)
        if row["kind"] in TOLD and moment.parse(row["received_at"]) <= at_ms
        if not reader or not _is_fetched(row) or json.loads(row["body"])["told"]["reader"] == reader
    ]
    if not rows or (reader and all(row["kind"] == "tombstone" for row in rows)):
        raise NotFound("nothing had been told about this operator by then", where=moment.format(at_ms))
    counted = chain(found.standing, found.channel, at_ms)
    parties = [_of_agreement(parts, connection, found, each, acts, ledger) for each, acts in counted]
    told_at = rows[-1]["time"] if _is_fetched(rows[-1]) else proven_at
    age_s = (at_ms - min(moment.parse(proven_at), moment.parse(told_at))) // 1000
    content = {
        "kind": KIND,
        "tin": identifiers.plain(tin),
        "at": moment.format(at_ms),
        "reader": parts.country,
        "issuer": found.issuer.text,
        **parties[0],
        "ledger": ledger.note,
        "channel": channel.note,
        "heartbeat": beat,
        "heartbeat_proof": [b64(each) for each in channel.tree.consistency_proof(stated(beat).size)],
        "told": _told(parts, connection, head, channel, ledger, rows),
    }
    acts = effective(counted, moment.date_of(at_ms))
    content["answer"] = _answer(parts, found, acts, rows[-1], at_ms, age_s)
    if parties[1:]:
        content["before"] = parties[1:]
    return canonical.encode(content)


def chain(standing: Standing, channel: StoredChannel, at_ms: int) -> list[tuple[Standing, list[Recorded]]]:
    """An agreement and those that it replaced by a moment, the newest first, with the acts that counted."""
    found, each = [(standing, _counted(standing, channel, at_ms))], standing
    while (before := each.before) is not None and (after := before.replaced(moment.date_of(at_ms))):
        if after[1].agreement.id != each.agreement.id:
            break
        each = before
        found.append((each, _counted(each, channel, at_ms, is_before=True)))
    return found


def effective(counted: Sequence[tuple[Standing, Sequence[Recorded]]], day: str) -> tuple[Act, ...]:
    """What the acts of an agreement and of those before it, as `chain` gives them, add up to on a day."""
    return amending.carried([(each.agreement, [held.act for held, _ in acts]) for each, acts in counted], day)


def _of_agreement(
    parts: Parts,
    connection: Connection,
    found: Found,
    standing: Standing,
    acts: Iterable[Recorded],
    ledger: Copy,
) -> dict[str, Any]:
    """An agreement with the keys that it does not name, and its acts with the proof that they stand."""
    told = []
    for _, receipt in acts:
        kept = {name: receipt[name] for name in ("entry", "salt", "body")}
        told.append(kept | {"proof": ledger.proof(LedgerEntry.decode(kept["entry"].encode()).seq)})
    return {
        "later_keys": _later_keys(parts, connection, found, standing),
        "agreement": standing.agreement.to_json(),
        "acts": told,
    }


def _later_keys(parts: Parts, connection: Connection, found: Found, standing: Standing) -> dict[str, Any]:
    """The keys of the other parties that followed those which the agreement names, as on their cards."""
    agreement, cards = standing.agreement, parts.cards(connection)
    later = {}
    for country, keys in later_keys(agreement, cards).items():
        if keys and country != found.issuer.country:
            listed = cards[agreement.party(country).name].keys["credential"]
            later[country] = [each.to_json() for each in listed if each.key in keys]
    return later


def moment_of(at: str, now_ms: int, name: str = "at") -> int:
    """A moment as people write it, in milliseconds: a day means its end, or now if it has not ended.

    `Malformed` for what has not begun yet.
    """
    if not at:
        return now_ms
    is_day = len(at) == len("2026-11-22")
    begun_ms = moment.parse(f"{moment.parse_date(at)}T00:00:00.000Z" if is_day else at)
    if begun_ms > now_ms:
        rule = f"must not be in the future; it is {moment.format(now_ms)} (UTC)"
        raise Malformed("nothing can be said of a moment to come", problems=[problem(name, at, rule)])
    return min(begun_ms + DAY_MS - 1, now_ms) if is_day else begun_ms


def _found(
    parts: Parts, connection: Connection, tin: str, agreement: str, at_ms: int, only: Collection[int] | None
) -> Found:
    standings, cards = parts.standings.current(connection), parts.cards(connection)
    to_us = {
        log: each
        for log, each in channels.by_log(connection).items()
        if each.partner == parts.country and (only is None or log in only)
    }
    hits = {
        log: record_id
        for log, record_id in records.carrying(connection, tin, "TIN")
        if log in to_us and agreement in ("", to_us[log].agreement)
    }
    if not hits:
        do = "ask the node of a partner that was told, or look the operator up here"
        raise NotFound("no partner has disclosed an operator with this TIN to us", where=tin, do=do)
    hits = _newest_of_each(parts, connection, hits, to_us, at_ms)
    if len(hits) > 1:
        told = [
            problem(each, standings[each].agreement.title, "covers this operator")
            for each in sorted(to_us[log].agreement for log in hits)
        ]
        do = "name one; a lookup says which one the benefit rests on now, and why"
        raise Conflict("several agreements cover this operator", where=tin, do=do, problems=told)
    [(log, record_id)] = hits.items()
    channel = to_us[log]
    standing = standings[channel.agreement]
    return Found(channel, record_id, standing, cards[standing.agreement.party(channel.issuer).name])


def _newest_of_each(
    parts: Parts, connection: Connection, hits: dict[int, str], to_us: dict[int, StoredChannel], at_ms: int
) -> dict[int, str]:
    """Of agreements that replaced one another, the newest that had told of the operator by a moment."""
    standings, day = parts.standings.current(connection), parts.today()
    chosen: dict[str, int] = {}
    for log in sorted(hits):
        chain = standings[to_us[log].agreement].latest(day).agreement.id
        history = channels.mirror_history(connection, log, hits[log])
        if chain not in chosen or any(moment.parse(row["received_at"]) <= at_ms for row in history):
            chosen[chain] = log
    return {log: hits[log] for log in chosen.values()}


def _ledger(parts: Parts, connection: Connection, issuer: Card) -> Copy:
    """The issuer's ledger, with the cosignatures that came with it, and ours while we stand by it."""
    head = logs.head_of(connection, ledger_origin(issuer.name))
    if head is None or not head.is_whole:
        do = "ask again in a moment; `aeo channels` tells how far it is"
        raise Busy("our copy of the issuer's ledger is not complete yet", where=issuer.name, do=do)
    copy, own = _copy(connection, head, head.checkpoint), cosigner_name(parts.settings.name)
    seen = witnessed.seen(connection, head.origin)
    is_largest = seen is None or seen.size <= head.size
    is_cosigned = any(each.name == own for each in read_note(copy.note)[1])
    if is_cosigned or is_stopped(connection, issuer):
        return copy
    if seen is not None and not is_largest:
        if parts.now_ms() - moment.parse(seen.time) < CATCHING_UP_MS:
            do = "ask again in a moment: then this node vouches for it too"
            raise Busy("the issuer's ledger has grown beyond our copy just now", where=issuer.name, do=do)
        return copy
    return Copy(copy.note + parts.witness(copy.signed.text()), copy.signed, copy.tree)


def _channel(connection: Connection, head: Head) -> Copy:
    """The channel, under the newest checkpoint that our copy is whole under."""
    if head.is_whole:
        return _copy(connection, head, head.checkpoint)
    kept = witnessed.newest_heartbeat(connection, head.log)
    if kept is None:
        raise Busy(
            "our copy of the channel is not complete yet", where=head.origin, do="ask again in a moment"
        )
    return _copy(connection, head, kept[1])


def _copy(connection: Connection, head: Head, note: str) -> Copy:
    signed = stated(note)
    return Copy(note, signed, Tree(logs.tile_reader(connection, head.log), signed.size))


def heartbeat(connection: Connection, head: Head, at_ms: int) -> tuple[str, str]:
    """(time, note) of the newest checkpoint that our copy was whole under at a moment."""
    if moment.parse(head.time) <= at_ms and head.is_whole:
        return head.time, head.checkpoint
    kept = witnessed.newest_heartbeat(connection, head.log, moment.format(at_ms))
    if kept is None:
        first = next(witnessed.heartbeats(connection, head.log), (head.time, ""))[0]
        do = f"ask for a moment from {first} on, when the channel was first proven here"
        raise NotFound("nothing was proven of the channel by then", where=moment.format(at_ms), do=do)
    return kept


def _counted(
    standing: Standing, channel: StoredChannel, at_ms: int, *, is_before: bool = False
) -> list[Recorded]:
    """The acts on a channel's direction that counted at a moment and stood in its issuer's ledger.

    Of an agreement that was replaced, with every leave: it was replaced by those that were still bound.
    """
    found, day = [], moment.date_of(at_ms)
    for held in standing.held:
        text = held.receipts.get(channel.issuer)
        concerns = held.act.act in ACTS and held.act.concerns(channel.issuer, channel.partner)
        concerns = concerns or (is_before and held.act.act == "leave")
        if text is None or not concerns or not standing.counts(held, day):
            continue
        receipt: Any = canonical.decode(text.encode())
        if LedgerEntry.decode(receipt["entry"].encode()).time <= at_ms:
            found.append((held, receipt))
    return found


def _told(
    parts: Parts, connection: Connection, head: Head, channel: Copy, ledger: Copy, rows: Sequence[Row]
) -> list[dict[str, Any]]:
    """The entries about the record, each with its body sealed again and the key that opens it alone."""
    told = []
    for row in rows:
        [encoded] = logs.entries(connection, head.log, row["seq"], row["seq"] + 1)
        entry = ChannelEntry.decode(encoded)
        epoch = channels.epochs(connection, head.log, [entry.epoch])[entry.epoch]
        key = held_key(parts.keys.store, head.origin, epoch)
        about = json.loads(row["body"]).get("ledger")
        at = LedgerEntry.decode(about["entry"].encode()).seq if about else None
        told.append(
            {
                "entry": encoded.decode(),
                "key": b64(sealing.entry_key(key, entry.seq)),
                "sealed": b64(sealing.seal_body(key, entry, row["body"])),
                "proof": channel.proof(row["seq"]),
                "ledger_proof": None if at is None else ledger.proof(at),
            }
        )
    return told


def _answer(
    parts: Parts, found: Found, acts: Sequence[Act], row: Row, at_ms: int, age_s: int
) -> dict[str, Any]:
    """What followed for the operator at that moment."""
    issuer, day = found.issuer, moment.date_of(at_ms)
    now = state.fold(acts, issuer.country, parts.country, day)
    is_gone = row["kind"] == "tombstone"
    shown = None if is_gone else incoming.disclosed_in(json.loads(row["body"]), issuer)[1].fields
    terms = direction_terms(found.standing.agreement, issuer.country, parts.country, now)
    read, reasons = recognition.read(terms, now, shown, day, age_s)
    return {"status": read, "applies": not reasons, "reasons": reasons, "age_s": age_s}


def _is_fetched(row: Row) -> bool:
    """Whether an entry answers a question: what it tells is as new as it is itself, and gets no newer."""
    return "told" in json.loads(row["body"])
