"""What this node answers when asked about an operator: is it an AEO, may I rely on it, can I prove it?

Everything is answered from the own store. A mirrored operator's recognition applies only if every
reason against it is absent; each reason that stands in the way is named. An operator that was told under
several agreements is answered once: under the one the benefit rests on (`precedence`), with the others behind
it, each by its own terms and with what it told.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import orjson
from rapidfuzz import fuzz, process
from sqlalchemy import Connection

from node.agreements import hosting, precedence, recognition
from node.agreements.document import direction_terms, is_on_demand
from node.agreements.hosting import Hosted
from node.agreements.precedence import Claim
from node.errors import NotFound
from node.exchange import incoming, versions
from node.exchange.card import Card, ledger_origin
from node.ledger import moment
from node.records import credential, identifiers, status
from node.service import behind, reporting
from node.service.accusing import UNPROVEN
from node.service.names import fold
from node.service.parts import Parts
from node.store import channels, incidents, logs, records, reports
from node.store.channels import Mirrored, StoredChannel
from node.store.reports import Decided
from node.store.tables import LEDGER

SEARCH_LIMIT = 5_000
SEARCH_SCORE = 60
SEARCH_NOTE = "suggestions by likeness of the name; check an identifier"
SEARCH_CUT = "not all names with such words were compared: write more of the name"
PIECES, PIECE_LETTERS = 3, 5
"""A name is worth comparing that has the beginning of one of the longest words that are searched for."""

UNDECIDED = '{"answer": "withhold", "reason": "not decided yet"}'

Json = dict[str, Any]
Told = tuple[bool, int, str, orjson.Fragment]
"""(whether others come first, log, record, the answer)."""
ALERTS_LIMIT = 20
"""Of what partners report of one own operator, the newest that an answer has."""
Reading = tuple[str, orjson.Fragment, bool]
"""(the status as it must be read today, whether recognition applies and why not, whether not)."""
ALONE: Sequence[orjson.Fragment] = ()
ASK_AGAIN = "it is told on demand only: `aeo fetch` tells whether it is shared now"
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Reach:
    """One incoming channel as it stands: what an answer out of it rests on."""

    channel: StoredChannel
    issuer: str
    agreement: str
    """The agreement by which it is read: its own, or that which has replaced it."""
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
    disowned_from: int | None
    """From which entry on the issuer's successor disowns its ledger."""
    suspended: Mapping[str, Decided]
    """By record: whose treatment is suspended by our own decision."""
    readers: tuple[Hosted, ...] = ()
    """Whom we serve with it: named by its own agreement and by that which has replaced it."""

    def is_disowned(self, row: Mirrored) -> bool:
        """Whether a record rests on an entry that its administration stands by no more."""
        return self.disowned_from is not None and row.ledger_seq >= self.disowned_from

    def freshness(self, now_ms: int, row: Mirrored | None = None) -> Json:
        """How old the newest proof behind an answer is, against the agreement's limit.

        A record that is told only when it is asked for is as new as what was told of it last.
        """
        age_s, proven_ms = self.age_s(now_ms, row), self.as_of_ms(row)
        return {
            "proven_at": moment.format(proven_ms),
            "age_s": age_s,
            "limit_s": self.limit_s,
            "fresh": age_s <= self.limit_s,
        }

    def clauses(self, now_ms: int) -> Json:
        """What binds whoever reads an answer now; `keep_until`: the last day for what is taken from it."""
        terms = self.terms
        return {
            "purpose": terms["purpose"],
            "onward_transfer": terms["onward_transfer"],
            "keep_until": moment.date_of(now_ms + int(terms["retention_days"]) * DAY_MS),
            "identifier_scheme": terms["direction"]["identifier_scheme"],
        }

    def age_s(self, now_ms: int, row: Mirrored | None = None) -> int:
        """Whole seconds since the newest proof."""
        return max(0, (now_ms - self.as_of_ms(row)) // 1000)

    def as_of_ms(self, row: Mirrored | None) -> int:
        """When what an answer rests on was so, as it is proven."""
        if row is None or row.fetched_at is None:
            return self.proven_ms
        return min(moment.parse(row.fetched_at), self.proven_ms)

    def against(self, row: Mirrored, read: str, now_ms: int) -> list[str]:
        """Every reason why recognition does not apply."""
        scope, day, age_s = (row.scope or "").split(), moment.date_of(now_ms), self.age_s(now_ms, row)
        found = recognition.against(self.terms, self.state, read, row.programme, scope, day, age_s)
        if self.is_disowned(row):
            found.append(f"the issuer disowns what its ledger holds from entry {self.disowned_from} on")
        if row.doubt:
            found.append(f"a newer entry about this operator failed verification: {row.doubt}")
        if self.unread:
            numbers = ", ".join(map(str, self.unread[:10]))
            found.append(f"an entry that could not be read may be about this operator: incident {numbers}")
        return [*found, *self.decided_here(row)]

    def decided_here(self, row: Mirrored) -> list[str]:
        """Why the own administration does not treat an operator as recognised, if it has so decided."""
        decided = self.suspended.get(row.record_id)
        return [reporting.in_words(decided)] if decided else []


class Teller:
    """Tells the operators of one incoming channel at one moment; what is the same for many is made once."""

    def __init__(self, reach: Reach, now_ms: int) -> None:
        self.reach, self._now_ms, self._today = reach, now_ms, moment.date_of(now_ms)
        self.of_issuer: Sequence[Teller] = ()
        """Where the issuer tells us under several agreements: the tellers of all of them."""
        self._alerts = _written(list(reach.alerts))
        self._freshness: dict[str | None, orjson.Fragment] = {None: _written(reach.freshness(now_ms))}
        self._clauses = _written(reach.clauses(now_ms))
        self._read: dict[tuple[bool | str | None, ...], Reading] = {}

    def told(
        self, row: Mirrored, because: str | None = None, others: Sequence[orjson.Fragment] = ALONE
    ) -> Told:
        """The answer about an operator that a partner disclosed, or whose record left our view.

        `others`: the answers under other agreements; `because`: why this one goes before them.
        """
        reach = self.reach
        is_gone, is_disowned = row.fields is None, reach.disowned_from is not None and reach.is_disowned(row)
        here = row.record_id if row.record_id in reach.suspended else None
        decided_on = is_gone, is_disowned, row.status, row.valid_to, row.programme, row.scope, row.doubt, here
        key = (*decided_on, row.fetched_at)
        found = self._read.get(key)
        if found is None:
            found = self._read[key] = self._reading(row)
        read, told, is_later = found
        answer = {
            "tin": row.tin,
            "record_id": row.record_id,
            "country": reach.channel.issuer,
            "source": "mirror",
            "fields": None if row.fields is None else orjson.Fragment(row.fields),
            "status": {"value": read, "stated": row.status, "since": row.status_since},
            "recognition": told,
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
            "freshness": self._fresh(row),
            "clauses": self._clauses,
            "alerts": self._alerts,
            "because": because,
            "others": others,
        }
        return is_later, row.log, row.record_id, orjson.Fragment(orjson.dumps(answer))

    def _fresh(self, row: Mirrored) -> orjson.Fragment:
        known = self._freshness.get(row.fetched_at)
        if known is None:
            known = self._freshness[row.fetched_at] = _written(self.reach.freshness(self._now_ms, row))
        return known

    @property
    def country(self) -> str:
        """Whose operators it tells."""
        return self.reach.channel.issuer

    def claim(self, row: Mirrored) -> Claim:
        """What speaks for answering under this agreement where others tell of the same operator."""
        reach, is_gone = self.reach, row.fields is None
        return Claim(
            precedence.rank(reach.terms, reach.state, is_gone, self._today),
            is_gone,
            len(self._reasons(row)[1]),
            reach.terms["until"],
            reach.as_of_ms(row) + 1000 * reach.limit_s,
            reach.channel.log,
        )

    def _reading(self, row: Mirrored) -> Reading:
        reach, (read, reasons) = self.reach, self._reasons(row)
        told = {"applies": not reasons, "agreement": reach.agreement, "title": reach.title}
        return read, _written(told | {"reasons": reasons}), bool(reasons)

    def _reasons(self, row: Mirrored) -> tuple[str, list[str]]:
        """(the status as it must be read today, every reason why recognition does not apply)."""
        if row.fields is None:
            unshared = recognition.unshared(self.reach.state)
            unshared += [ASK_AGAIN] if is_on_demand(self.reach.terms) else []
            return recognition.NOT_SHARED, unshared + self.reach.decided_here(row)
        read = status.as_read(row.status or "", row.valid_to, self._today)
        return read, self.reach.against(row, read, self._now_ms)


Tellers = Mapping[int, Teller]


def unknown(tin: str, tellers: Tellers) -> NotFound:
    """That nobody has this TIN; and who can be asked."""
    what = "no operator with this TIN is recorded here or was ever disclosed to us"
    asked = sorted({each.country for each in tellers.values() if is_on_demand(each.reach.terms)})
    do = f"try another identifier or the name{'; or `aeo fetch` it from ' if asked else ''}{', '.join(asked)}"
    return NotFound(what, where=tin, do=do)


class Answers:
    """Looks up operators; remembers channels only until the next commit.

    Whoever asks takes the tellers first and the connection then, so that it never holds two: those who
    answer at the same time could else take up every connection and wait for one more.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._reaches: tuple[tuple[int, str], dict[int, Reach]] | None = None
        self._is_reported = True
        """Whether partners report on own operators; looked at with the channels."""

    def operator(self, connection: Connection, tellers: Tellers, tin: str) -> orjson.Fragment:
        """The answer about one TIN; `NotFound` when no own or mirrored operator has it."""
        found = self.told(connection, tellers, [tin], "TIN")[tin]
        if not found:
            raise unknown(tin, tellers)
        return found[0][3]

    def operators(
        self, connection: Connection, tellers: Tellers, values: Sequence[str], scheme: str | None = None
    ) -> dict[str, list[orjson.Fragment]]:
        """The answers about each identifier as it was written, of any scheme unless one is given."""
        return shown(self.told(connection, tellers, values, scheme))

    def told(
        self,
        connection: Connection,
        tellers: Tellers,
        values: Sequence[str],
        scheme: str | None = None,
        *,
        is_own_told: bool = True,
    ) -> dict[str, list[Told]]:
        """The same with the record that each is about; `is_own_told`: own ones with those of partners.

        As JSON, each written out as soon as its row is read: a long list is held in no other form.
        """
        stored = {value: identifiers.plain(value) for value in values}
        own = list[tuple[str, str]]()
        several = list[tuple[str, Teller, str]]()
        told: dict[str, list[Told]] = {}
        for number, log, record_id, row in channels.look_up(connection, sorted(set(stored.values())), scheme):
            teller = tellers.get(log)
            if row is not None and teller is not None:
                if teller.of_issuer:
                    several.append((number, teller, record_id))
                else:
                    told.setdefault(number, []).append(teller.told(row))
            elif log == LEDGER and is_own_told:
                own.append((number, record_id))
        known = self._own(connection, [record_id for _, record_id in own])
        for number, record_id in own:
            told.setdefault(number, []).append(_own(known[record_id]))
        chosen = _under_all(connection, [each[1:] for each in several]) if several else {}
        for number, teller, record_id in several:
            told.setdefault(number, []).append(chosen[teller.country, record_id])
        return {value: _best_first(told.get(number, [])) for value, number in stored.items()}

    def history(self, connection: Connection, tellers: Tellers, tin: str) -> Json:
        """Every version of an operator that this node knows, oldest first."""
        hits = records.find(connection, [identifiers.plain(tin)], "TIN")
        if not hits:
            raise unknown(tin, tellers)
        own = [
            version
            for _, _, log, record_id in hits
            if log == LEDGER
            for version in self._own_versions(connection, record_id)
        ]
        told = [
            entry
            for _, _, log, record_id in hits
            if log in tellers
            for entry in self._told_versions(connection, tellers[log].reach, record_id)
        ]
        return {"tin": tin, "versions": own + told}

    def search(self, connection: Connection, tellers: Tellers, name: str, limit: int) -> Json:
        """Operators with a name like this one: suggestions to a person, never a decision."""
        return self.searched(connection, tellers, name, limit)[0]

    def searched(
        self, connection: Connection, tellers: Tellers, name: str, limit: int
    ) -> tuple[Json, list[tuple[int, str]]]:
        """The same with the (log, record) of each suggestion."""
        folded = fold(name)
        pieces = [word[:PIECE_LETTERS] for word in sorted(set(folded.split()), key=len, reverse=True)]
        alike = records.names_with(connection, pieces[:PIECES], SEARCH_LIMIT)
        # A word may be misspelt at its beginning: of a small register every name is compared.
        others = records.names(connection, SEARCH_LIMIT - len(alike))
        names = list({row[:2]: row for row in (*alike, *others)}.values())
        hits = process.extract(
            folded,
            [row[3] for row in names],
            scorer=fuzz.token_set_ratio,
            limit=limit,
            score_cutoff=SEARCH_SCORE,
        )
        keys = [names[at][:2] for _, _, at in hits]
        mirrored = channels.mirrored(connection, keys)
        by_record = _under_all(connection, [(tellers[log], each) for log, each in mirrored if log in tellers])
        own = self._own(connection, [record_id for log, record_id in keys if log == LEDGER])
        by_record |= {(self._parts.country, each): _own(answer) for each, answer in own.items()}
        countries = {log: teller.country for log, teller in tellers.items()} | {LEDGER: self._parts.country}
        suggestions, keys_told = list[Json](), list[tuple[int, str]]()
        for _, score, at in hits:
            log, record_id, name = names[at][:3]
            # The likest name of an operator that several agreements tell of stands for it.
            found = by_record.pop((countries.get(log, ""), record_id), None)
            if found is not None:
                suggestions.append({"score": round(score), "name": name, "operator": found[-1]})
                keys_told.append((log, record_id))
        answer = {
            "query": name,
            "note": SEARCH_NOTE if len(alike) < SEARCH_LIMIT else f"{SEARCH_NOTE}; {SEARCH_CUT}",
            "searched": len(names),
            "suggestions": suggestions,
        }
        return answer, keys_told

    def hosted(self) -> dict[str, tuple[Hosted, frozenset[int]]]:
        """The readers that are hosted here, by thumbprint, each with the channels that tell it."""
        found: dict[str, tuple[Hosted, frozenset[int]]] = {}
        for log, reach in self.reaches().items():
            for reader in reach.readers:
                known = found.get(reader.thumbprint, (reader, frozenset[int]()))
                found[reader.thumbprint] = reader, known[1] | {log}
        return found

    def reaches(self) -> dict[int, Reach]:
        """The incoming channels as they stand now; read again, in an own snapshot, after each commit."""
        mark, known = (self._parts.bell.rings, self._parts.today()), self._reaches
        if known is None or known[0] != mark:
            with self._parts.database.read() as connection:
                self._is_reported = reports.has_own(connection)
                known = self._reaches = (mark, _reaches(self._parts, connection))
        return known[1]

    def tellers(self, only: Collection[int] | None = None) -> Tellers:
        """Those who tell what each incoming channel says, all at this moment.

        `only`: the channels of a hosted reader, which is not told what was decided here of an operator.
        """
        now_ms, reaches = self._parts.now_ms(), self.reaches()
        if only is not None:
            reaches = {log: replace(each, suspended={}) for log, each in reaches.items() if log in only}
        found = {log: Teller(reach, now_ms) for log, reach in reaches.items()}
        by_issuer: dict[str, list[Teller]] = {}
        for teller in found.values():
            by_issuer.setdefault(teller.country, []).append(teller)
        for alike in by_issuer.values():
            for teller in alike if len(alike) > 1 else ():
                teller.of_issuer = alike
        return found

    def _own(self, connection: Connection, record_ids: Sequence[str]) -> dict[str, Json]:
        """The answers about these own operators."""
        if not record_ids:
            return {}
        opened = {
            stored.record_id: versions.unseal(stored, self._parts.keys.store)
            for stored in records.newest(connection, record_ids)
        }
        partners = self._partners(connection, list(opened))
        origin, today = ledger_origin(self._parts.settings.name), self._parts.today()
        why = behind.told(self._parts, connection)
        alerts = [f"{behind.BEHIND}: {why}"] if why else []
        told = reporting.alerts(connection, list(opened)) if self._is_reported else {}
        return {
            record_id: {
                "tin": version.tin,
                "record_id": record_id,
                "country": self._parts.country,
                "source": "own",
                "fields": version.fields,
                "status": _read_status(version.fields, today),
                "recognition": None,
                "partners": partners[record_id],
                "provenance": {
                    "ledger": {"origin": origin, "seq": version.ledger_seq},
                    "version": version.number,
                },
                "freshness": None,
                "clauses": None,
                "alerts": alerts + told.get(record_id, [])[-ALERTS_LIMIT:],
                "because": None,
                "others": ALONE,
            }
            for record_id, version in opened.items()
        }

    def _partners(self, connection: Connection, record_ids: list[str]) -> dict[str, list[Json]]:
        """What each partner sees of these own operators, and why."""
        told: dict[str, list[Json]] = {record_id: [] for record_id in record_ids}
        seen = channels.views(connection, record_ids)
        for line in self._parts.lines(connection, self._parts.today()):
            if not line.carries_records:
                continue
            decisions = channels.newest_answers(connection, line.channel.log, record_ids)
            for record_id in record_ids:
                told[record_id].append(
                    {
                        "partner": line.channel.partner,
                        "agreement": line.channel.agreement,
                        "state": line.state,
                        "sees_it": bool(seen.get((line.channel.log, record_id))),
                        "decision": orjson.loads(decisions.get(record_id, UNDECIDED)),
                    }
                )
        return told

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

    def _told_versions(self, connection: Connection, reach: Reach, record_id: str) -> list[Json]:
        rows = channels.mirror_history(connection, reach.channel.log, record_id)
        issuer = self._parts.cards(connection)[reach.issuer]
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


def _reaches(parts: Parts, connection: Connection) -> dict[int, Reach]:
    standings = parts.standings.current(connection)
    cards = parts.cards(connection)
    found = {}
    suspended: dict[int, dict[str, Decided]] = {}
    for (log, record_id), decided in reports.standing(reports.decisions(connection)).items():
        suspended.setdefault(log, {})[record_id] = decided
    for channel in channels.channels(connection):
        if channel.partner != parts.country:
            continue
        standing, head = standings[channel.agreement], logs.head(connection, channel.log)
        told_under = direction_terms(standing.agreement, channel.issuer, channel.partner, "")
        peer = cards[standing.agreement.party(channel.issuer).name]
        latest = standing.latest(parts.today())
        if (channel.issuer, channel.partner) in latest.directions():
            standing = latest
        ledger = logs.head_of(connection, ledger_origin(peer.name))
        assert head is not None, "a channel is stored together with its log"
        assert ledger is not None, "a ledger's checkpoint is stored before its channels"
        terms = direction_terms(standing.agreement, channel.issuer, channel.partner, "")
        named = {each.thumbprint for each in hosting.hosted(told_under)}
        own = incidents.still_open(connection, peer.name, channel.log)
        about = [*own, *incidents.still_open(connection, peer.name, incidents.WHOLE_PEER)]
        about = [row for row in about if row["kind"] != UNPROVEN]  # anybody may have shown it to us
        about.sort(key=lambda row: int(row["incident"]), reverse=True)
        found[channel.log] = Reach(
            channel,
            peer.name,
            standing.agreement.id,
            standing.agreement.title,
            head.origin,
            standing.state(channel.issuer, channel.partner, parts.today()),
            int(standing.agreement.terms["max_staleness_s"]),
            moment.parse(head.time),
            ledger.origin,
            ledger.size,
            tuple(f"{row['kind']}: {row['detail']}" for row in about[:10]),
            tuple(row["incident"] for row in own if row["kind"] == "invalid" and row["record_id"] is None),
            terms,
            _disowned_from(peer, cards.values()),
            suspended.get(channel.log, {}),
            tuple(each for each in hosting.hosted(terms) if each.thumbprint in named),
        )
    return found


def _disowned_from(peer: Card, cards: Iterable[Card]) -> int | None:
    """From which entry of its ledger on a node's successor disowns it; None where there is none.

    A card may claim to succeed any node; only one of the same country was held against that one's.
    """
    after = (card.succeeds for card in cards if card.succeeds and card.country == peer.country)
    return next((each.size for each in after if each.name == peer.name), None)


def _written(value: Json | list[str]) -> orjson.Fragment:
    """What is the same in many answers, written out once."""
    return orjson.Fragment(orjson.dumps(value))


def _read_status(fields: Mapping[str, Any], today: str) -> Json:
    """The status as it must be read today, beside the one that was stated."""
    stated = str(fields["status"])
    read = status.as_read(stated, fields.get("valid_to"), today)
    return {"value": read, "stated": stated, "since": fields.get("status_since")}


def shown(told: Mapping[str, Sequence[Told]]) -> dict[str, list[orjson.Fragment]]:
    """The answers alone."""
    return {value: [answer for _, _, _, answer in each] for value, each in told.items()}


def _own(answer: Json) -> Told:
    """Own records come first, then those whose recognition applies."""
    return False, LEDGER, answer["record_id"], _written(answer)


def _under_all(connection: Connection, wanted: Sequence[tuple[Teller, str]]) -> dict[tuple[str, str], Told]:
    """By issuer and record: the answer under the agreement that goes first, with those under the others."""
    alike = {(teller.country, each): teller.of_issuer or (teller,) for teller, each in wanted}
    keys = [(each.reach.channel.log, key[1]) for key, tellers in alike.items() for each in tellers]
    rows = channels.mirrored(connection, keys)
    return {
        (country, record_id): _chosen(
            [(each, row) for each in tellers if (row := rows.get((each.reach.channel.log, record_id)))]
        )
        for (country, record_id), tellers in alike.items()
    }


def _chosen(told: Sequence[tuple[Teller, Mirrored]]) -> Told:
    """One operator as told under each of several agreements: one answer, with the others behind it.

    Of an agreement that has replaced others the newest channel tells.
    """
    newest = {each.reach.agreement: (each, row) for each, row in sorted(told, key=lambda pair: pair[1].log)}
    claims = sorted(
        ((each.claim(row), each, row) for each, row in newest.values()), key=lambda claim: claim[0].order()
    )
    (first, teller, row), *rest = claims
    because = precedence.because(first, rest[0][0]) if rest else None
    return teller.told(row, because, [each.told(behind, None)[-1] for _, each, behind in rest])


def _best_first(told: list[Told]) -> list[Told]:
    """Each record once, though it may carry a number under two schemes."""
    if len(told) > 1:
        told = [*{each[:3]: each for each in sorted(told, key=itemgetter(0, 1, 2))}.values()]
    return told


def _shown_then(body: Json, issuer: Card) -> Json:
    """What a disclosure said; a tombstone said nothing."""
    if "credential" not in body:
        return {}
    seq, shown = incoming.disclosed_in(body, issuer)
    presentation = credential.unpack(body["credential"], issuer=issuer.name)
    return {"ledger_seq": seq, "fields": shown.fields, "presentation": presentation}
