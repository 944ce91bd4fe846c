"""What held for an operator at one moment, as far as this node knew at another.

Two clocks. A version takes effect at `effective_at`, and is known from when it was recorded here, or received
from a partner. Of what was known by a moment, the last thing that was said of a moment is what held at it: an
annulment recorded today takes away what was said of last year, and who asks what was known last year is
still told what was said then.

A partner's version whose clock the terms do not show takes effect when its status began, or when it was told;
a tombstone when it was told. Nothing takes effect later than it was received. Recognition is worked out as
`aeo evidence --at` does, with the acts that counted by then; a proof's age is counted up to the moment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from node.agreements import recognition, state
from node.agreements.document import direction_terms, is_on_demand
from node.errors import NotFound
from node.exchange import incoming, versions
from node.exchange.card import predecessors
from node.ledger import moment
from node.records import identifiers, status
from node.service import evidence, reporting
from node.service.parts import Parts
from node.store import channels, logs, records
from node.store.channels import StoredChannel
from node.store.database import Row
from node.store.tables import LEDGER

UNPROVEN = "nothing was proven of the channel by then"
NOTHING = "NOTHING"
"""The status of what was known, and in effect only later."""


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that was said: from when it holds, its clocks, and the fields (None: it left our view)."""

    since: str
    clocks: Row
    fields: Mapping[str, Any] | None


def as_of(parts: Parts, connection: Connection, tin: str, effective_ms: int, known_ms: int) -> Row:
    """What held at `effective_ms`, by what was known at `known_ms`; `NotFound` if nothing was.

    An answer of the own record, and of each agreement under which a partner told of the operator; of a node
    and one that succeeds it, where both had told by then, of the latter.
    """
    at, known = moment.format(effective_ms), moment.format(known_ms)
    number = identifiers.plain(tin)
    by_log = dict(records.carrying(connection, tin, "TIN"))
    answers = list[Row]()
    if LEDGER in by_log and (said := _own(parts, connection, by_log[LEDGER], known)):
        answers.append({"source": "own", "country": parts.country, "agreement": None} | _own_answer(said, at))
    told = {
        channel: said
        for channel in channels.channels(connection)
        if channel.partner == parts.country and channel.log in by_log
        if (said := _told(parts, connection, channel, by_log[channel.log], known))
    }
    issuers, cards = {each: parts.issuer_of(connection, each) for each in told}, parts.cards(connection)
    succeeded = {name for issuer in issuers.values() for name in predecessors(issuer, cards)}
    for channel, said in told.items():
        if issuers[channel].name not in succeeded:
            record_id = by_log[channel.log]
            found = _mirror_answer(parts, connection, channel, record_id, said, effective_ms, known_ms)
            answers.append({"source": "mirror", "country": channel.issuer} | found)
    if not answers:
        raise NotFound("nothing was known here of an operator with this TIN by then", where=f"{tin}, {known}")
    return {"tin": number, "effective": at, "known": known, "answers": answers}


def holding(said: Sequence[Said], at: str) -> Said | None:
    """The last of what was said that is in effect at a moment."""
    return next((each for each in reversed(said) if each.since <= at), None)


def _own(parts: Parts, connection: Connection, record_id: str, known: str) -> list[Said]:
    found = list[Said]()
    for stored in records.versions(connection, record_id):
        version = versions.unseal(stored, parts.keys.store)
        fields, clocks = version.fields, {"version": version.number, "ledger_seq": version.ledger_seq}
        if fields["recorded_at"] <= known:
            clocks |= {"effective_at": fields["effective_at"], "recorded_at": fields["recorded_at"]}
            found.append(Said(min(fields["effective_at"], fields["recorded_at"]), clocks, fields))
    return found


def _told(
    parts: Parts, connection: Connection, channel: StoredChannel, record_id: str, known: str
) -> list[Said]:
    issuer = parts.issuer_of(connection, channel)
    found = list[Said]()
    for row in channels.mirror_history(connection, channel.log, record_id):
        if row["received_at"] > known:
            continue
        clocks: Row = {"channel_seq": row["seq"], "told_at": row["time"], "received_at": row["received_at"]}
        fields, since = None, str(row["time"])
        if row["kind"] == "disclosure":
            seq, shown = incoming.disclosed_in(orjson.loads(row["body"]), issuer)
            fields = shown.fields
            clocks |= {name: fields.get(name) for name in ("effective_at", "recorded_at")}
            clocks["ledger_seq"] = seq
            since = str(fields.get("effective_at") or fields.get("status_since") or since)
        found.append(Said(min(since, row["received_at"]), clocks, fields))
    return found


def _own_answer(said: Sequence[Said], at: str) -> Row:
    held = holding(said, at)
    return _shown(held, at) | {"recognition": None}


def _shown(held: Said | None, at: str) -> Row:
    fields = held.fields if held else None
    if held is None:
        value: Row = {"value": NOTHING, "stated": None, "since": None}
    elif fields is None:
        value = {"value": recognition.NOT_SHARED, "stated": None, "since": None}
    else:
        stated = str(fields["status"])
        read = status.as_read(stated, fields.get("valid_to"), at[:10])
        value = {"value": read, "stated": stated, "since": fields.get("status_since")}
    return {"status": value, "clocks": held.clocks if held else None, "fields": fields}


def _mirror_answer(
    parts: Parts,
    connection: Connection,
    channel: StoredChannel,
    record_id: str,
    said: Sequence[Said],
    effective_ms: int,
    known_ms: int,
) -> Row:
    at, standing = moment.format(effective_ms), parts.standings.current(connection)[channel.agreement]
    day, held = at[:10], holding(said, at)
    acts = evidence.effective(evidence.chain(standing, channel, known_ms), day)
    now = state.fold(acts, channel.issuer, parts.country, day)
    terms = direction_terms(standing.agreement, channel.issuer, parts.country, now)
    head = logs.head(connection, channel.log)
    assert head is not None, "a channel is stored together with its log"
    try:
        proven_ms = moment.parse(evidence.heartbeat(connection, head, known_ms)[0])
    except NotFound:
        proven_ms = None
    shown = _shown(held, at)
    as_of_ms = proven_ms
    if proven_ms is not None and held is not None and is_on_demand(terms):
        as_of_ms = min(proven_ms, moment.parse(held.clocks["told_at"]))
    age_s = 0 if as_of_ms is None else max(0, (effective_ms - as_of_ms) // 1000)
    if held is None:
        reasons = recognition.against(terms, now, NOTHING, None, [], day, age_s)
    else:
        _, reasons = recognition.read(terms, now, held.fields, day, age_s)
    if proven_ms is None:
        reasons.append(UNPROVEN)
    suspended = reporting.suspensions(parts, connection, min(at, moment.format(known_ms)))
    if here := suspended.get((channel.log, record_id)):
        reasons.append(reporting.in_words(here))
    told_as = {"agreement": channel.agreement, "title": standing.agreement.title}
    return shown | {
        "agreement": channel.agreement,
        "recognition": {"applies": not reasons, **told_as, "reasons": reasons},
    }
