"""Records that are fetched one by one: the issuer's decision on a question, and a reader's way to ask it.

 1. A reader asks (`Fetcher.fetch`): a signed request with the identifier, the purpose and the reference.
 2. The issuer decides by the contract (`Tell`) and appends the answer to the channel: the record, or that
    nothing is shared. By an identifier that the reader may not see nothing is found, or asking would tell it.
 3. The answer reaches the reader as every entry does, proven, and is held against what was asked.

Nothing else is told where a direction is on demand, but that a record which was told has left the view.
"""

import threading
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import orjson
from sqlalchemy import Connection

from node.agreements import hosting
from node.agreements.document import direction_terms, is_on_demand
from node.agreements.state import TERMINATED
from node.errors import Busy, Conflict, Malformed, NotFound, Unproven, problem
from node.exchange import fetches, versions
from node.exchange.card import Card
from node.exchange.fetches import Asker, Case, Named, Question
from node.exchange.peers import PeerClient
from node.exchange.standing import Standing, asker
from node.ledger import canonical
from node.ledger.encoding import b64u
from node.ledger.entry import SALT_BYTES
from node.records import identifiers
from node.records.credential import es256_signer
from node.service.batch import Batch, SmallWork
from node.service.parts import Parts
from node.service.ways import line_to
from node.store import channels, logs, records
from node.store.database import Bound
from node.store.tables import LEDGER

FETCH = "/v1/peer/fetch"
AT_ONCE: Final = 8
"""Questions that wait for an answer at a time, in threads of their own: they hold up no other request."""
AT_ONCE_OF_ONE: Final = 4
"""Of these, so many that wait for one partner: one that is silent holds up no question to another."""


@dataclass(frozen=True, slots=True)
class Tell(SmallWork):
    """Answer a partner's question, in the channel to it."""

    partner: str
    question: Question

    def run(self, batch: Batch) -> int:
        """The number of the entry that answers; `Conflict` where nothing is fetched under this agreement.

        `Unproven` for a question that is not signed by the partner, or not asked just now.
        """
        batch.flush()
        line = line_to(batch, self.question.agreement, self.partner)
        if line is None or not line.carries_records or not line.is_on_demand or line.state == TERMINATED:
            what = "under this agreement nothing can be fetched from here"
            do = "look the operator up at the own node, to which it is mirrored if it is shared"
            raise Conflict(what, where=self.question.agreement, do=do)
        reader = self.question.asked.case.reader
        if reader not in {self.partner} | {each.country for each in hosting.hosted(line.terms)}:
            why = "it is neither the partner nor one whom the agreement names as served by it (`readers`)"
            raise Conflict("this administration is not told anything here", where=reader, why=why)
        standing = batch.parts.standings.current(batch.connection)[self.question.agreement]
        card = batch.parts.peers.by_country(batch.connection)[self.partner]
        asker(standing, batch.parts.country, card, {}).check(self.question.asked, batch.now_ms)
        schemes: dict[str, set[str]] = {}
        for scheme, record_id in _own(batch.connection, self.question):
            schemes.setdefault(record_id, set()).add(scheme)
        found = records.newest(batch.connection, sorted(schemes))
        opened = [(versions.unseal(each, batch.parts.keys.store), schemes[each.record_id]) for each in found]
        return batch.tell(line, opened, self.question)


def _own(connection: Connection, question: Question) -> list[tuple[str, str]]:
    """(scheme, record) of every own record that carries the identifier of a question."""
    named = question.named
    hits = records.find(connection, [identifiers.plain(named.identifier)], named.scheme or None)
    return [(scheme, record_id) for _, scheme, log, record_id in hits if log == LEDGER]


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer that is proven here: the channel, the number of the entry, and the record if it is told."""

    log: int
    entry: int
    record_id: str | None


Source = tuple[Standing, Card]
"""An agreement under which a partner answers single questions, and the partner."""


def sources(parts: Parts, connection: Connection, country: str = "", agreement: str = "") -> list[Source]:
    """Who can be asked, of one country or under one agreement where that is given."""
    peers, found = parts.peers.by_country(connection), list[Source]()
    for number, standing in parts.standings.current(connection).items():
        for issuer, partner in standing.directions():
            peer = peers.get(issuer)
            is_meant = country in ("", issuer) and agreement in ("", number) and partner == parts.country
            if not is_meant or peer is None or not standing.is_with(peer):
                continue
            state = standing.state(issuer, partner, parts.today())
            terms = direction_terms(standing.agreement, issuer, partner, state)
            if is_on_demand(terms) and standing.is_signed(parts.today()) and state != TERMINATED:
                found.append((standing, peer))
    return found


def source(
    parts: Parts, connection: Connection, country: str, agreement: str, among: Collection[str] | None = None
) -> Source:
    """The one that is meant; `NotFound` where there is none, `Conflict` where there are several.

    `among`: the agreements under which the asking reader is served, where it is hosted.
    """
    found = sources(parts, connection, country, agreement)
    found = [each for each in found if among is None or each[0].agreement.id in among]
    if not found:
        what = "no partner has agreed to answer single questions"
        do = "look the operator up: what partners share otherwise is mirrored here"
        raise NotFound(what, where=agreement or country or "any partner", do=do)
    if len(found) > 1:
        told = [
            problem(each.agreement.id, each.agreement.title, f"with {peer.country}") for each, peer in found
        ]
        do = "name the country, or the agreement"
        raise Conflict("several partners can be asked", where=country or "any", do=do, problems=told)
    return found[0]


def question(parts: Parts, agreement: str, issuer: str, identifier: tuple[str, str], case: Case) -> Question:
    """A question to a partner by an identifier, given as (value, scheme or empty), signed now."""
    value, scheme = identifier
    named = Named(value, scheme, b64u(parts.entropy(SALT_BYTES)))
    asks = Asker(agreement, issuer, parts.country)
    return asks.ask(named, case, parts.now_ms(), es256_signer(parts.keys.credential[0]))


class Fetcher:
    """Asks partners, over kept connections."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock, self._clients = threading.Lock(), dict[str, PeerClient]()
        self._waiting = Counter[str]()
        self.bound = Bound(AT_ONCE)

    def fetch(self, peer: Card, question: Question) -> Fetched:
        """Ask, and wait until the answer is proven here.

        `Busy` when the partner cannot be reached, its answer does not arrive in time, or `AT_ONCE_OF_ONE`
        questions wait for it already; `Unproven` when what arrives is no answer to this question.
        """
        with self._lock:
            if self._waiting[peer.country] >= AT_ONCE_OF_ONE:
                do = "ask again in a moment"
                raise Busy("this partner is to answer other questions first", where=peer.name, do=do)
            self._waiting[peer.country] += 1
        try:
            return self._fetch(peer, question)
        finally:
            with self._lock:
                self._waiting[peer.country] -= 1

    def _fetch(self, peer: Card, question: Question) -> Fetched:
        parts, end_s = self._parts, time.monotonic() + self._parts.settings.request_timeout_s
        known = self._size(question.agreement, peer)
        try:
            told = self._client(peer).post(FETCH, canonical.encode(question.to_json()))
        except Busy as refusal:
            refusal.do = "ask again later: nothing was told, and this node does not ask again by itself"
            raise
        seq = _entry(told)
        if seq < known:
            why = f"it names entry {seq}, of which {known} were here before"
            raise Unproven("a partner answers with what it had told before", where=peer.name, why=why)
        while True:
            heard = parts.bell.rings
            if self._size(question.agreement, peer) > seq:
                return self._proven(peer, question, seq)
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                do = "look the operator up in a moment: the answer arrives by itself"
                raise Busy("the answer has not arrived here yet", where=f"{peer.name}, entry {seq}", do=do)
            parts.bell.wait(heard, left_s)

    def close(self) -> None:
        """Let go of the connections."""
        for client in self._clients.values():
            client.close()

    def _client(self, peer: Card) -> PeerClient:
        with self._lock:
            known = self._clients.get(peer.country)
            if known is None or known.peer.text != peer.text:
                known = self._clients[peer.country] = self._parts.client(peer)
            return known

    def _size(self, agreement: str, peer: Card) -> int:
        with self._parts.database.read() as connection:
            channel = channels.channel(connection, agreement, peer.country, self._parts.country)
            head = logs.head(connection, channel.log) if channel else None
        return head.size if head else 0

    def _proven(self, peer: Card, question: Question, seq: int) -> Fetched:
        with self._parts.database.read() as connection:
            channel = channels.channel(connection, question.agreement, peer.country, self._parts.country)
            assert channel is not None, "it has entries"
            row = channels.opened(connection, channel.log, seq)
        where = f"{peer.name}, entry {seq}"
        if row is None:
            do = "see `aeo incidents --open`; ask again once it is settled"
            raise Unproven("the answer does not hold, and was set apart", where=where, do=do)
        answers = fetches.answered(row["kind"], orjson.loads(row["body"]))
        if answers is None or answers.asked != question.asked:
            do = "ask again; if it comes back, ask whoever runs the partner's node"
            raise Unproven("what arrived is no answer to this question", where=where, do=do)
        return Fetched(channel.log, seq, row["record_id"])


def _entry(answer: bytes) -> int:
    try:
        told = orjson.loads(answer)
    except orjson.JSONDecodeError:
        told = None
    seq = told.get("entry") if isinstance(told, dict) else None
    if type(seq) is not int or not 0 <= seq < 2**31:
        raise Malformed("a partner's answer is out of form", why="it must name the entry that answers")
    return seq
