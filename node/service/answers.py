"""What this node answers when asked about an operator: is it an AEO, may I rely on it, can I prove it?

Everything is answered from the own store. A mirrored operator's recognition applies only if every
reason against it is absent; each reason that stands in the way is named (`reach`). An operator that was told
under several agreements is answered once (`teller`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import orjson
from rapidfuzz import fuzz, process
from sqlalchemy import Connection

from node.agreements.document import is_on_demand
from node.agreements.hosting import Hosted
from node.errors import NotFound
from node.exchange import incoming, versions
from node.exchange.card import Card, ledger_origin
from node.records import credential, identifiers, status
from node.service import behind, reporting
from node.service.asking import Key
from node.service.names import fold
from node.service.parts import Parts
from node.service.reach import Json, Reach, reaches_now
from node.service.teller import ALONE, Teller, Tellers, Told, under_all, written
from node.store import channels, records, reports
from node.store.tables import LEDGER

SEARCH_LIMIT = 5_000
SEARCH_SCORE = 60
SEARCH_NOTE = "suggestions by likeness of the name; check an identifier"
SEARCH_CUT = "not all names with such words were compared: write more of the name"
PIECES, PIECE_LETTERS = 3, 5
"""A name is worth comparing that has the beginning of one of the longest words that are searched for."""
UNDECIDED = '{"answer": "withhold", "reason": "not decided yet"}'
ALERTS_LIMIT = 20
"""Of what partners report of one own operator, the newest that an answer has."""


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
        hits: Iterable[channels.Hit] = channels.look_up(connection, sorted(set(stored.values())), scheme)
        gone = set[Key]()
        if any(teller.reach.successors for teller in tellers.values()):
            hits = [*hits]
            gone = self._overruled(connection, tellers, {(log, each) for _, log, each, _ in hits})
        for number, log, record_id, row in hits:
            teller = None if (log, record_id) in gone else tellers.get(log)
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
        chosen = under_all(connection, [each[1:] for each in several]) if several else {}
        for number, teller, record_id in several:
            told.setdefault(number, []).append(chosen[teller.reach.issuer, record_id])
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
        gone = self._overruled(connection, tellers, keys)
        mirrored = channels.mirrored(connection, [key for key in keys if key not in gone])
        by_record = under_all(connection, [(tellers[log], each) for log, each in mirrored if log in tellers])
        own = self._own(connection, [record_id for log, record_id in keys if log == LEDGER])
        ours = self._parts.settings.name
        by_record |= {(ours, each): _own(answer) for each, answer in own.items()}
        nodes = {log: teller.reach.issuer for log, teller in tellers.items()} | {LEDGER: ours}
        suggestions, keys_told = list[Json](), list[tuple[int, str]]()
        for _, score, at in hits:
            log, record_id, name = names[at][:3]
            # The likest name of an operator that several agreements tell of stands for it.
            found = by_record.pop((nodes.get(log, ""), record_id), None)
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

    def _overruled(self, connection: Connection, tellers: Tellers, keys: Collection[Key]) -> set[Key]:
        """Those of these records of whose TIN a node tells itself that succeeds the one which told it."""
        gone = set[Key]()
        for log in {log for log, _ in keys if log in tellers and tellers[log].reach.successors}:
            tin_of = records.tins(connection, log, [each for of, each in keys if of == log])
            hits = records.find(connection, sorted({*tin_of.values()}), "TIN")
            told = {tin for tin, _, other, _ in hits if other in tellers[log].reach.successors}
            gone |= {(log, each) for each, tin in tin_of.items() if tin in told}
        return gone

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
                known = self._reaches = (mark, reaches_now(self._parts, connection))
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
            by_issuer.setdefault(teller.reach.issuer, []).append(teller)
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


def shown(told: Mapping[str, Sequence[Told]]) -> dict[str, list[orjson.Fragment]]:
    """The answers alone."""
    return {value: [answer for _, _, _, answer in each] for value, each in told.items()}


def _read_status(fields: Mapping[str, Any], today: str) -> Json:
    """The status as it must be read today, beside the one that was stated."""
    stated = str(fields["status"])
    read = status.as_read(stated, fields.get("valid_to"), today)
    return {"value": read, "stated": stated, "since": fields.get("status_since")}


def _own(answer: Json) -> Told:
    """Own records come first, then those whose recognition applies."""
    return False, LEDGER, answer["record_id"], written(answer)


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
