"""What this node answers when asked about an operator: is it an AEO, may I rely on it, can I prove it?

Everything is answered from the own store. A mirrored operator's recognition applies only if every
reason against it is absent; each reason that stands in the way is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from rapidfuzz import fuzz, process
from sqlalchemy import Connection

from node.agreements.document import direction_terms
from node.errors import NotFound
from node.exchange import versions
from node.exchange.card import Card, ledger_origin
from node.ledger import moment
from node.records import credential, identifiers, status
from node.service.names import fold
from node.service.parts import Parts
from node.store import channels, incidents, logs, records
from node.store.channels import Mirrored, StoredChannel
from node.store.tables import LEDGER

SEARCH_LIMIT = 20_000
SEARCH_SCORE = 60

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reach:
    """One incoming channel as it stands: what an answer out of it rests on."""

    channel: StoredChannel
    title: str
    origin: str
    state: str
    limit_s: int
    proven_ms: int
    ledger_origin: str
    ledger_size: int
    alerts: tuple[str, ...]
    unread: tuple[int, ...]
    terms: Json

    def freshness(self, now_ms: int) -> Json:
        """How old the newest proof behind an answer is, against the agreement's limit."""
        age_s = self.age_s(now_ms)
        return {
            "proven_at": moment.format(self.proven_ms),
            "age_s": age_s,
            "limit_s": self.limit_s,
            "fresh": age_s <= self.limit_s,
        }

    def state_in_words(self) -> str:
        """The state of the direction as a reason."""
        return f"the agreement is {self.state.lower().replace('_', ' ')} in this direction"

    def age_s(self, now_ms: int) -> int:
        """Whole seconds since the newest proof."""
        return max(0, (now_ms - self.proven_ms) // 1000)

    def against(self, row: Mirrored, fields: Mapping[str, Any], read: str, now_ms: int) -> list[str]:
        """Every reason why recognition does not apply."""
        found = [] if self.state == "IN_OPERATION" else [self.state_in_words()]
        if read != "ACTIVE":
            found.append(f"the status is {read}")
        direction = self.terms["direction"]
        if fields.get("programme") not in direction["accept_programmes"]:
            found.append("no authorisation under a programme that the agreement recognises")
        missing = [each for each in direction["min_scope"] if each not in fields.get("scope", ())]
        if missing:
            found.append("the authorisation does not cover " + ", ".join(missing))
        today = moment.date_of(now_ms)
        if today < self.terms["from"] or (self.terms["until"] and today > self.terms["until"]):
            found.append(
                f"the agreement is for {self.terms['from']} to {self.terms['until'] or 'further notice'}"
            )
        if row.doubt:
            found.append(f"a newer entry about this operator failed verification: {row.doubt}")
        if self.unread:
            numbers = ", ".join(map(str, self.unread[:10]))
            found.append(f"an entry that could not be read may be about this operator: incident {numbers}")
        if self.age_s(now_ms) > self.limit_s:
            found.append("the newest proof is older than the agreement allows")
        return found


class Answers:
    """Looks up operators; remembers channels and names only until the next commit."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._reaches: tuple[tuple[int, str], dict[int, Reach]] | None = None
        self._names: tuple[int, list[tuple[int, str, str, str]]] | None = None

    def operator(self, connection: Connection, tin: str) -> Json:
        """The answer about one TIN; `NotFound` when no own or mirrored operator has it."""
        found = self.operators(connection, [tin], "TIN")
        if not found[tin]:
            raise NotFound(
                "no operator with this TIN is recorded here or was ever disclosed to us",
                where=tin,
                do="try another identifier or the name",
            )
        return found[tin][0]

    def operators(
        self, connection: Connection, values: Sequence[str], scheme: str | None = None
    ) -> dict[str, list[Json]]:
        """The answers about each identifier as it was written, of any scheme unless one is given."""
        stored = {value: identifiers.plain(value) for value in values}
        hits = channels.look_up(connection, sorted(set(stored.values())), scheme)
        told = self._told(connection, {(log, record_id): row for _, log, record_id, row in hits})
        found: dict[str, list[Json]] = {number: [] for number in stored.values()}
        for number, log, record_id, _ in sorted(hits, key=lambda hit: hit[1:3]):
            answer = told.get((log, record_id))
            if answer is not None and answer not in found[number]:
                found[number].append(answer)
        return {value: _best_first(found[number]) for value, number in stored.items()}

    def history(self, connection: Connection, tin: str) -> Json:
        """Every version of an operator that this node knows, oldest first."""
        hits = records.find(connection, [identifiers.plain(tin)], "TIN")
        if not hits:
            raise NotFound(
                "no operator with this TIN is recorded here or was ever disclosed to us", where=tin
            )
        own = [
            version
            for _, _, log, record_id in hits
            if log == LEDGER
            for version in self._own_versions(connection, record_id)
        ]
        told = [
            entry
            for _, _, log, record_id in hits
            if log != LEDGER
            for entry in self._told_versions(connection, log, record_id)
        ]
        return {"tin": tin, "versions": own + told}

    def search(self, connection: Connection, name: str, limit: int) -> Json:
        """Operators with a name like this one: suggestions to a person, never a decision."""
        names = self._all_names()
        hits = process.extract(
            fold(name),
            [row[3] for row in names],
            scorer=fuzz.token_set_ratio,
            limit=limit,
            score_cutoff=SEARCH_SCORE,
        )
        keys = [names[at][:2] for _, _, at in hits]
        mirrored = channels.mirrored(connection, keys)
        told = self._told(connection, {key: mirrored.get(key) for key in keys})
        suggestions = [
            {"score": round(score), "name": names[at][2], "operator": told[names[at][:2]]}
            for _, score, at in hits
            if names[at][:2] in told
        ]
        return {
            "query": name,
            "note": "suggestions by likeness of the name; check an identifier",
            "searched": len(names),
            "suggestions": suggestions,
        }

    def reaches(self) -> dict[int, Reach]:
        """The incoming channels as they stand now; read again, in an own snapshot, after each commit."""
        mark, known = (self._parts.bell.rings, self._parts.today()), self._reaches
        if known is None or known[0] != mark:
            with self._parts.database.read() as connection:
                known = self._reaches = (mark, _reaches(self._parts, connection))
        return known[1]

    def _all_names(self) -> list[tuple[int, str, str, str]]:
        mark, known = self._parts.bell.rings, self._names
        if known is None or known[0] != mark:
            with self._parts.database.read() as connection:
                known = self._names = (mark, records.names(connection, SEARCH_LIMIT))
        return known[1]

    def _told(
        self, connection: Connection, rows: Mapping[tuple[int, str], Mirrored | None]
    ) -> dict[tuple[int, str], Json]:
        """The answers by (log, record), out of the mirror rows of those that a partner disclosed."""
        reaches, now_ms = self.reaches(), self._parts.now_ms()
        told = {}
        for (log, record_id), row in rows.items():
            if log == LEDGER:
                told[log, record_id] = self._own(connection, record_id)
            elif row is not None and log in reaches:
                told[log, record_id] = foreign(reaches[log], row, now_ms)
        return told

    def _own(self, connection: Connection, record_id: str) -> Json:
        stored = records.newest(connection, record_id)
        if stored is None:
            raise NotFound("the record is not here any more", where=record_id)
        version = versions.unseal(stored, self._parts.keys.store)
        lines = self._parts.lines(connection, self._parts.today())
        return {
            "tin": version.tin,
            "record_id": record_id,
            "country": self._parts.country,
            "source": "own",
            "fields": version.fields,
            "status": read_status(version.fields, self._parts.today()),
            "recognition": None,
            "partners": [self._shown(connection, line, record_id) for line in lines],
            "provenance": {
                "ledger": {"origin": ledger_origin(self._parts.settings.name), "seq": version.ledger_seq},
                "version": version.number,
            },
            "freshness": None,
            "alerts": [],
        }

    def _shown(self, connection: Connection, line: Any, record_id: str) -> Json:
        decisions = channels.newest_decisions(connection, line.channel.log, record_id)
        answer = (
            orjson.loads(decisions[0]["answer"])
            if decisions
            else {"answer": "withhold", "reason": "not decided yet"}
        )
        seen = bool(channels.views(connection, [record_id]).get((line.channel.log, record_id)))
        told = {
            "partner": line.channel.partner,
            "agreement": line.channel.agreement,
            "state": line.state,
            "sees_it": seen,
        }
        return told | {"decision": answer}

    def _own_versions(self, connection: Connection, record_id: str) -> list[Json]:
        opened = [
            versions.unseal(stored, self._parts.keys.store)
            for stored in records.versions(connection, record_id)
        ]
        return [
            {
                "kind": "recorded",
                "version": version.number,
                "ledger_seq": version.ledger_seq,
                "recorded_at": version.fields["recorded_at"],
                "effective_at": version.fields["effective_at"],
                "status": version.fields["status"],
                "by": version.private["actor"],
                "reason": version.private["reason"],
                "fields": version.fields,
            }
            for version in opened
        ]

    def _told_versions(self, connection: Connection, log: int, record_id: str) -> list[Json]:
        rows = channels.mirror_history(connection, log, record_id)
        reach = self.reaches()[log]
        issuer = self._parts.peers.by_country(connection)[reach.channel.issuer]
        return [
            {
                "kind": row["kind"],
                "agreement": reach.channel.agreement,
                "channel_seq": row["seq"],
                "told_at": row["time"],
                "received_at": row["received_at"],
            }
            | _shown_then(orjson.loads(row["body"]), issuer)
            for row in rows
        ]


def foreign(reach: Reach, row: Mirrored, now_ms: int) -> Json:
    """The answer about an operator that a partner disclosed, or whose record left our view."""
    fields = orjson.loads(row.fields) if row.fields is not None else None
    told: Json = {"record_id": row.record_id, "country": reach.channel.issuer, "source": "mirror"}
    recognition: Json = {"applies": False, "agreement": reach.channel.agreement, "title": reach.title}
    if fields is None:
        read: Json = {"value": "NOT_SHARED", "stated": None, "since": None}
        stopped = [] if reach.state == "IN_OPERATION" else [reach.state_in_words()]
        recognition["reasons"] = [*stopped, "the issuer no longer shares this record with us"]
    else:
        read = read_status(fields, moment.date_of(now_ms))
        recognition["reasons"] = reach.against(row, fields, read["value"], now_ms)
        recognition["applies"] = not recognition["reasons"]
    return {
        "tin": fields["tin"] if fields else None,
        **told,
        "fields": fields,
        "status": read,
        "recognition": recognition,
        "partners": None,
        "provenance": {
            "ledger": {
                "origin": reach.ledger_origin,
                "seq": row.ledger_seq,
                "proven_size": reach.ledger_size,
            },
            "channel": {"origin": reach.origin, "seq": row.seq},
            "credential": row.credential or None,
        },
        "freshness": reach.freshness(now_ms),
        "alerts": list(reach.alerts),
    }


def read_status(fields: Mapping[str, Any], today: str) -> Json:
    """The status as it must be read today, beside the one that was stated."""
    stated = str(fields["status"])
    return {
        "value": status.as_read(stated, fields.get("valid_to"), today),
        "stated": stated,
        "since": fields.get("status_since"),
    }


def _reaches(parts: Parts, connection: Connection) -> dict[int, Reach]:
    standings = parts.standings.current(connection)
    cards = parts.peers.by_country(connection)
    found = {}
    for channel in channels.channels(connection):
        if channel.partner != parts.country:
            continue
        standing, head = standings[channel.agreement], logs.head(connection, channel.log)
        peer = cards[channel.issuer]
        ledger = logs.head_of(connection, ledger_origin(peer.name))
        assert head is not None, "a channel is stored together with its log"
        assert ledger is not None, "a ledger's checkpoint is stored before its channels"
        own = incidents.still_open(connection, peer.name, channel.log)
        about = [*own, *incidents.still_open(connection, peer.name, incidents.WHOLE_PEER)]
        about.sort(key=lambda row: int(row["incident"]), reverse=True)
        found[channel.log] = Reach(
            channel,
            standing.agreement.title,
            head.origin,
            standing.state(channel.issuer, channel.partner, parts.today()),
            int(standing.agreement.terms["max_staleness_s"]),
            moment.parse(head.time),
            ledger.origin,
            ledger.size,
            tuple(f"{row['kind']}: {row['detail']}" for row in about[:10]),
            tuple(row["incident"] for row in own if row["kind"] == "invalid" and row["record_id"] is None),
            direction_terms(standing.agreement, channel.issuer, channel.partner, ""),
        )
    return found


def _best_first(answers: list[Json]) -> list[Json]:
    """Own records first, then those whose recognition applies."""
    return sorted(
        answers, key=lambda answer: answer["recognition"] is not None and not answer["recognition"]["applies"]
    )


def _shown_then(body: Json, issuer: Card) -> Json:
    """What a disclosure said; a tombstone said nothing."""
    if "credential" not in body:
        return {}
    shown = credential.verify_packed(body["credential"], issuer.credential_key, issuer=issuer.name)
    seq = orjson.loads(body["ledger"]["entry"])["seq"]
    presentation = credential.unpack(body["credential"], issuer=issuer.name)
    return {"ledger_seq": seq, "fields": shown.fields, "presentation": presentation}
