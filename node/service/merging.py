"""Merging what a peer says it knows about the agreements we share.

Peers hand each other everything they know, as often as they like; what is new is verified and added, so
the order of arrival does not matter and nothing can be lost.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from contracts.evaluation import Contract
from node.agreements import act as acts
from node.agreements import document, state
from node.agreements.act import Act, Instrument
from node.agreements.document import Agreement
from node.errors import Malformed, Refusal, TooMuch, Unproven
from node.exchange.card import Card, ledger_origin
from node.exchange.page import ActPart, AgreementPart
from node.exchange.standing import Standing, entry_of, later_keys
from node.ledger import canonical, moment
from node.ledger.encoding import unb64u
from node.ledger.entry import LedgerEntry, commitment
from node.ledger.merkle import leaf_hash
from node.ledger.proof import TlogProof
from node.service.accusing import check_believed
from node.service.batch import Batch, SmallWork
from node.service.signing import add_document, put_signature, record_complete, standing_of
from node.store import agreements, incidents, logs
from node.store.incidents import WHOLE_PEER
from node.store.logs import LeafAt

AGREEMENTS_LIMIT = 100
DRAFTS_LIMIT = 20
DRAFTS_LIMIT_BYTES = 2**20
"""With one peer: agreements in all, and those of them that this side has neither signed nor declined."""
CONTRACTS_LIMIT_BYTES = 2**20
REFUSALS_LIMIT = 100
"""Of one answer of a peer: the different contracts in it, and what is refused before the rest is left."""


@dataclass(frozen=True, slots=True)
class Told:
    """One agreement as a peer tells of it: parsed and compiled, compared with nothing yet."""

    agreement: Agreement
    acts: Mapping[str, tuple[Instrument, Mapping[str, Any] | None]]
    """By id: the act with its signatures, and the receipt of the peer."""


@dataclass(frozen=True, slots=True)
class Merge(SmallWork):
    """What a peer says it knows about the agreements we share.

    It is read where it is made, by the thread that follows the peer: the writer compares and adds. What
    one peer can make this node read, keep and verify is bounded, for each peer by itself.
    """

    peer: Card
    parts: Sequence[AgreementPart]
    _told: tuple[Told, ...] = field(init=False, repr=False)
    _unread: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Read and compile; what cannot be read is refused, and the rest is taken."""
        refused: list[str] = []
        object.__setattr__(self, "_told", tuple(_read(self.parts, refused)))
        object.__setattr__(self, "_unread", tuple(refused))

    def run(self, batch: Batch) -> list[str]:
        """Add what is new and proven; gives the refusals of what is not, which is not used."""
        check_believed(batch.connection, self.peer)
        refused = list(self._unread)
        for told in self._told:
            with _noting(refused):
                self._document(batch, told.agreement)
                # Withdrawals first: what is taken back no longer waits, and its receipt proves less.
                self._acts(batch, told, refused, withdrawals=True)
                self._acts(batch, told, refused, withdrawals=False)
                record_complete(batch, told.agreement.id)
        return refused

    def _document(self, batch: Batch, agreement: Agreement) -> None:
        known = batch.parts.standings.current(batch.connection)
        check_parties(batch, agreement, self.peer)
        if agreement.id in known:
            return
        shared = [each for each in known.values() if self.peer.country in each.agreement.countries]
        drafts = [
            len(each.agreement.encode())
            for each in shared
            if not each.is_signed_here and each.own not in each.withdrawn_by()
        ]
        size = len(agreement.encode()) + sum(drafts)
        if len(drafts) >= DRAFTS_LIMIT or size > DRAFTS_LIMIT_BYTES or len(shared) >= AGREEMENTS_LIMIT:
            raise TooMuch(
                f"there are too many drafts with {self.peer.country} here",
                where=agreement.id,
                do="decline those that are not wanted: `aeo mra withdraw`",
            )
        add_document(batch.connection, agreement)

    def _acts(self, batch: Batch, told: Told, refused: list[str], *, withdrawals: bool) -> None:
        """One round over the acts that are told, in which a few of the same kind cost one reading."""
        standing = standing_of(batch, told.agreement.id)
        known = {held.stored.act: (held.act, held.signed) for held in standing.held}
        proven = {held.stored.act for held in standing.held if self.peer.country in held.receipts}
        has_receipts, stops = False, list[str]()
        for number, (instrument, receipt) in told.acts.items():
            if (instrument.act.act == "withdraw") is not withdrawals:
                continue
            if len(refused) >= REFUSALS_LIMIT:
                return
            with _noting(refused):
                is_here = told.acts.keys() | known.keys() >= set(instrument.act.lifts)
                # What a resumption lifts may be an act under the agreement before, which we need not know.
                if not (is_here or (standing.agreement.supersedes and instrument.act.act == "resume")):
                    raise Unproven("an act takes back or lifts one that is not known here", where=number)
                is_new = number not in known
                self._act(batch, standing, number, instrument, known, receipt)
                is_proven = receipt is not None and number in known and number not in proven
                if (is_new or is_proven) and self.peer.country in known.get(number, (None, ()))[1]:
                    stops.append(number)
                if receipt is not None and is_proven:
                    self._receipt(batch, standing, number, instrument.act, receipt)
                    has_receipts = True
        if has_receipts:
            self._note_broken_promises(batch, told.agreement.id)
        if stops:
            self._note_short_notice(batch, told.agreement.id, stops)

    def _act(
        self,
        batch: Batch,
        standing: Standing,
        number: str,
        told: Instrument,
        known: dict[str, state.Known],
        receipt: Mapping[str, Any] | None,
    ) -> None:
        """Add what is new of an act: itself, and signatures that hold."""
        agreement = standing.agreement
        own, (act, signed) = batch.parts.country, known.get(number, (told.act, ()))
        cards = batch.parts.cards(batch.connection)
        later = later_keys(agreement, cards)
        new = {each.country: each for each in told.signatures if each.country not in (*signed, own)}
        for signature in new.values():
            party = agreement.party(signature.country)
            key = acts.verify(act, signature, party, later)
            card = cards.get(party.name)
            if card is not None and (until := card.ended(key)) is not None:
                self._check_before(batch, standing, act, party.country, until, receipt)
        if number not in known and new:
            for country in new:
                state.admit(agreement, act, country, own, known)
            agreements.add_act(batch.connection, number, agreement.id, act.encode())
        for signature in new.values():
            put_signature(batch.connection, act, signature)
            known[number] = (act, (*signed, *new))

    def _check_before(
        self,
        batch: Batch,
        standing: Standing,
        act: Act,
        country: str,
        until: int,
        receipt: Mapping[str, Any] | None,
    ) -> None:
        """`Unproven` unless a party's ledger has its signature before entry `until`, where its key ended."""
        if country == self.peer.country and receipt is not None:
            entry = self._proven(batch, standing, act, receipt)
            recorded = acts.parse(receipt["body"]["instrument"])
            later = later_keys(standing.agreement, batch.parts.cards(batch.connection))
            if entry.seq < until and country in recorded.signed_by(standing.agreement, later):
                return
        why = f"it counted up to entry {until - 1} of its party's ledger, which is not proven to have the act"
        do = "ask the party to take it back and to propose it again"
        raise Unproven(
            "an act is signed with a key that was retired", where=f"{act.id}, {country}", why=why, do=do
        )

    def _receipt(
        self, batch: Batch, standing: Standing, number: str, act: Act, receipt: Mapping[str, Any]
    ) -> None:
        if standing.withdrawal_unproven(act, self.peer.country):
            raise Unproven(
                "a receipt came for an act that its party withdrew, and none for the withdrawal",
                where=number,
            )
        self._proven(batch, standing, act, receipt)
        text = canonical.encode(dict(receipt)).decode()
        agreements.put_receipt(batch.connection, number, self.peer.country, text)
        batch.forget_lines()

    def _proven(self, batch: Batch, standing: Standing, act: Act, receipt: Mapping[str, Any]) -> LedgerEntry:
        """The entry of the peer's ledger that a receipt proves to hold an act."""
        followed = logs.head_of(batch.connection, ledger_origin(self.peer.name))
        if followed is None:
            raise Unproven("a receipt came from a ledger that we do not follow", where=self.peer.name)
        leaf_at = logs.leaf_reader(batch.connection, followed)
        cards = batch.parts.cards(batch.connection)
        return check_receipt(receipt, act, standing, self.peer, leaf_at, batch.today, cards)

    def _note_broken_promises(self, batch: Batch, agreement: str) -> None:
        """Keep as an incident that a peer entered in its ledger what it had withdrawn there before."""
        standing = standing_of(batch, agreement)
        for held in standing.held:
            if standing.was_withdrawn_before(held, self.peer.country):
                number, place = held.stored.act, held.entered[self.peer.country]
                detail = (
                    f"its ledger holds act {number} at {place}, behind a withdrawal of it: it does not count"
                )
                told = [
                    each.receipts[self.peer.country] for each in standing.proofs_of(held, self.peer.country)
                ]
                evidence = canonical.encode(told)
                row = incidents.row(
                    self.peer.name, WHOLE_PEER, -1, "withdrawn", detail, evidence, batch.time, number.encode()
                )
                incidents.note(batch.connection, row)

    def _note_short_notice(self, batch: Batch, agreement: str, stops: Sequence[str]) -> None:
        """Keep as an incident that the peer stopped sooner than the terms allow; it counts all the same.

        The day it announced it is the day on which its ledger holds it, or today where that is not proven.
        What it did is looked at when it tells of it itself: another party's word has no such day.
        """
        standing, by = standing_of(batch, agreement), self.peer.country
        for held in standing.held:
            if held.stored.act not in stops:
                continue
            receipt = held.receipts.get(by)
            announced = moment.date_of(entry_of(receipt).time) if receipt else batch.today
            if why := state.short_notice(standing.agreement, held.act, announced):
                told = {"instrument": held.instrument.to_json(), "receipt": receipt}
                detail = (
                    f"{held.act.act} by {by} under {standing.agreement.title}: {why}; it counts all the same"
                )
                row = incidents.row(
                    standing.agreement.party(by).name,
                    WHOLE_PEER,
                    -1,
                    "unannounced",
                    detail,
                    canonical.encode(told),
                    batch.time,
                    held.stored.act.encode(),
                )
                incidents.note(batch.connection, row)


def _read(parts: Sequence[AgreementPart], refused: list[str]) -> Iterator[Told]:
    """Each agreement that can be read; compiling is bounded by the size of the different contracts."""
    room, met = CONTRACTS_LIMIT_BYTES, set()
    for part in parts:
        if len(refused) >= REFUSALS_LIMIT:
            return
        with _noting(refused):
            contract = str(part.document.get("contract"))
            room -= 0 if contract in met else len(contract)
            met.add(contract)
            if room < 0:
                raise TooMuch(
                    "a peer tells of too many contracts at once", where=str(part.document.get("title"))
                )
            agreement = document.parse(part.document)
            yield Told(agreement, _read_acts(agreement, part.acts, refused))


def _read_acts(
    agreement: Agreement, items: Sequence[ActPart], refused: list[str]
) -> dict[str, tuple[Instrument, Mapping[str, Any] | None]]:
    told: dict[str, tuple[Instrument, Mapping[str, Any] | None]] = {}
    digest = agreement.digest()
    for item in items:
        if len(refused) >= REFUSALS_LIMIT:
            break
        with _noting(refused):
            instrument = acts.parse(item.instrument)
            if instrument.act.agreement != digest:
                raise Unproven("an act is about another agreement", where=instrument.act.id)
            told.setdefault(instrument.act.id, (instrument, item.receipt))
    return told


@contextmanager
def _noting(refused: list[str]) -> Iterator[None]:
    """Note a refusal and go on."""
    try:
        yield
    except Refusal as refusal:
        refused.append(refusal.sentence())


def check_receipt(
    receipt: Mapping[str, Any],
    act: Act,
    standing: Standing,
    peer: Card,
    leaf_at: LeafAt,
    today: str,
    cards: Mapping[str, Card],
) -> LedgerEntry:
    """The entry of the peer's ledger, as we follow it, that holds this act with enough signatures.

    `Unproven` when there is none.
    """
    entry = receipt_entry(receipt, act, standing.agreement, standing.contract, peer, today, cards)
    if leaf_at(entry.seq) != leaf_hash(entry.encode()):
        raise Unproven("a receipt rests on another tree than the one we follow", where=peer.name)
    return entry


def receipt_entry(
    receipt: Mapping[str, Any],
    act: Act,
    agreement: Agreement,
    contract: Contract | None,
    peer: Card,
    today: str,
    cards: Mapping[str, Card],
) -> LedgerEntry:
    """What a receipt proves by itself: the entry of the peer's ledger that holds this act, complete."""
    if set(receipt) != {"entry", "salt", "body", "proof"} or not isinstance(receipt["body"], dict):
        raise Malformed("a receipt is not of the agreed form", where=peer.name)
    encoded = str(receipt["entry"]).encode()
    entry = LedgerEntry.decode(encoded)
    if (entry.country, entry.type) != (peer.country, "agreement"):
        raise Unproven("a receipt is about another kind of entry", where=peer.name)
    if commitment(unb64u(str(receipt["salt"])), canonical.encode(receipt["body"])) != entry.commit:
        raise Unproven("a receipt's entry commits to something else", where=peer.name)
    recorded = acts.parse(receipt["body"].get("instrument"))
    if (
        recorded.act != act
        or not recorded.complete(agreement, today, contract, later_keys(agreement, cards)).allowed
    ):
        raise Unproven("a receipt does not hold the complete act", where=act.id)
    proof = TlogProof.decode(str(receipt["proof"]))
    if proof.index != entry.seq:
        raise Unproven("a receipt proves another entry", where=peer.name)
    origin = ledger_origin(peer.name)
    proof.verify(leaf_hash(encoded), origin, peer.verifiers(origin, ever=True))
    return entry


def check_parties(batch: Batch, agreement: Agreement, peer: Card) -> None:
    """`Unproven` unless the agreement names us, the peer, and every pinned party with the keys we know."""
    cards = batch.parts.current(batch.connection)
    if not {batch.parts.country, peer.country} <= set(agreement.countries):
        raise Unproven("an agreement is not between us and the peer that sends it", where=agreement.id)
    for party in agreement.parties:
        card = cards.get(party.country)
        is_known = card is None or (
            party.name == card.name and dict(party.key) in card.of("credential", ever=True)
        )
        if not is_known:
            raise Unproven(
                "an agreement names another node or key for a party", where=f"{agreement.id}, {party.country}"
            )
