"""Incoming channels as they stand: how fresh each is, its terms, and every reason against recognition."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from node.agreements import hosting, recognition
from node.agreements.document import direction_terms
from node.agreements.hosting import Hosted
from node.exchange.card import Card, ledger_origin, predecessors
from node.ledger import moment
from node.service import reporting
from node.service.accusing import UNPROVEN
from node.service.parts import Parts
from node.store import channels, incidents, logs
from node.store.channels import Mirrored, StoredChannel
from node.store.reports import Decided

DAY_MS = 86_400_000
Json = dict[str, Any]


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
    successors: frozenset[int]
    """The channels of nodes that succeed the issuer: what they tell of an operator counts in its place."""
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


def reaches_now(parts: Parts, connection: Connection) -> dict[int, Reach]:
    """The incoming channels as they stand, by log."""
    standings = parts.standings.current(connection)
    cards = parts.cards(connection)
    found = {}
    suspended: dict[int, dict[str, Decided]] = {}
    for (log, record_id), decided in reporting.suspensions(parts, connection).items():
        suspended.setdefault(log, {})[record_id] = decided
    to_us = [each for each in channels.channels(connection) if each.partner == parts.country]
    issuers = {each.log: parts.issuer_of(connection, each) for each in to_us}
    before = {log: predecessors(peer, cards) for log, peer in issuers.items()}
    for channel in to_us:
        standing, head = standings[channel.agreement], logs.head(connection, channel.log)
        told_under = direction_terms(standing.agreement, channel.issuer, channel.partner, "")
        peer = issuers[channel.log]
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
            frozenset(log for log, names in before.items() if peer.name in names),
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
