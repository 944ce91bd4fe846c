"""Agreements: drafted, signed, carried between nodes, recorded in the ledger.

Peers hand each other everything they know about an agreement they share, as often as they like; what
is new is verified and added, so the order of arrival does not matter and nothing can be lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc.jwk import ECKey

from contracts.evaluation import Contract, load
from node.agreements import act as acts
from node.agreements import document, state
from node.agreements.act import Act, Instrument, Signature
from node.agreements.document import Agreement
from node.errors import Conflict, Malformed, NotFound, Refusal, TooMuch, Unproven
from node.exchange.card import Card, ledger_origin
from node.exchange.page import ActPart, AgreementPart
from node.exchange.standing import HeldAct, Standing, directions_of
from node.ledger import canonical
from node.ledger.checkpoint import Checkpoint
from node.ledger.encoding import b64u, unb64u
from node.ledger.entry import LedgerEntry, commitment
from node.ledger.merkle import leaf_hash
from node.ledger.proof import TlogProof
from node.service.batch import Batch
from node.store import agreements, logs
from node.store.logs import Head

AGREEMENTS_LIMIT = 1000
ACTS_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Draft:
    """A new agreement out of terms and a contract text, between this node and pinned peers."""

    title: str
    countries: Sequence[str]
    terms: Mapping[str, Any]
    contract_text: str

    weight = 1
    tins: Sequence[str] = ()

    def run(self, batch: Batch) -> str:
        """Store the draft and give its id; nobody has signed it yet."""
        parts = batch.parts
        if len(set(self.countries)) != len(self.countries):
            why = f"{parts.country} is this node's own country" if parts.country in self.countries else ""
            raise Conflict(
                "an agreement is between different administrations",
                where=", ".join(self.countries),
                why=why,
                do="name each party once",
            )
        cards = {parts.country: parts.card, **parts.peers.by_country(batch.connection)}
        missing = [country for country in self.countries if country not in cards]
        if missing or parts.country not in self.countries:
            raise Conflict(
                "an agreement is drafted between this node and pinned peers",
                where=", ".join(self.countries),
                why="not pinned: " + ", ".join(missing)
                if missing
                else f"{parts.country} is not among the parties",
                do="pin the partner's card first: `aeo peer add`",
            )
        parties = [party_of(cards[country]) for country in sorted(self.countries)]
        agreement = self._typable(batch, parties)
        add_document(batch, agreement)
        return agreement.id

    def _typable(self, batch: Batch, parties: Sequence[document.Party]) -> Agreement:
        """The draft, with a nonce for which its id does not look like an option on a command line."""
        while True:
            nonce, terms = batch.parts.entropy(16), dict(self.terms)
            agreement = document.draft(self.title, parties, terms, self.contract_text, batch.today, nonce)
            if agreement.id[0].isalnum():
                return agreement


@dataclass(frozen=True, slots=True)
class Sign:
    """This administration's signature: on an act that a partner proposed, or on one it proposes itself."""

    agreement: str
    act: str
    issuer: str | None = None
    partner: str | None = None
    mode: str | None = None
    effective: str | None = None
    reason: str = ""
    preconditions_met: Sequence[str] = ()

    weight = 1
    tins: Sequence[str] = ()

    def run(self, batch: Batch) -> dict[str, Any]:
        """Sign, record the act if that completes it, and say what is still missing."""
        standing = standing_of(batch, self.agreement)
        if self.act == "sign":
            _refuse_withdrawn_draft(standing)
        proposed = next((held for held in standing.held if self._is_awaited(held, standing, batch)), None)
        new = proposed.act if proposed else self._propose(standing, batch)
        signature = acts.sign(new, batch.parts.country, ECKey.import_key(batch.parts.keys.credential))
        ruling = _with(proposed, new, signature).complete(standing.agreement, batch.today, standing.contract)
        if not ruling.allowed and not ruling.missing:
            raise Conflict(
                "the agreement's contract does not allow this act", where=self.act, why=ruling.reason
            )
        if proposed is None:
            agreements.add_act(batch.connection, new.id, standing.agreement.id, new.encode())
        put_signature(batch, new, signature)
        record_complete(batch, standing.agreement.id)
        return {"act": new.id, "complete": ruling.allowed, "missing": list(ruling.missing)}

    def _is_awaited(self, held: HeldAct, standing: Standing, batch: Batch) -> bool:
        """Whether a partner's proposal says what is asked for here, and waits for our signature."""
        if _says(held.act) != (self.act, self.issuer, self.partner, self.mode) or held.ledger_seq is not None:
            return False
        if self.effective not in (None, held.act.effective) or withdrawn_by(standing, held.act):
            return False
        return batch.parts.country not in held.instrument.signed_by(standing.agreement)

    def _propose(self, standing: Standing, batch: Batch) -> Act:
        says = {
            "v": 1,
            "agreement": self.agreement,
            "act": self.act,
            "issuer": self.issuer,
            "partner": self.partner,
            "mode": self.mode,
            "effective": self.effective
            or (standing.agreement.drafted_on if self.act == "sign" else batch.today),
            "lifts": list(self._lifts(standing, batch.today)),
            "reason": self.reason,
            "preconditions_met": list(self.preconditions_met),
        }
        act = acts.parse_act(says | {"nonce": b64u(self._nonce(says, standing, batch))})
        if self.issuer and (self.issuer, str(self.partner)) not in directions_of(standing.agreement):
            named = ", ".join(sorted(standing.agreement.terms["directions"]))
            raise NotFound(
                f"the agreement has no direction {self.issuer}-{self.partner}", do=f"it has {named}"
            )
        issuer, partner = (self.issuer, self.partner) if self.issuer else _any_direction(standing)
        if any(_says(held.act) == _says(act) and _is_open(held, standing) for held in standing.held):
            raise Conflict(
                "this act is proposed already and waits for the partner",
                where=self.act,
                do="see `aeo mra show`, or take it back with `aeo mra withdraw`",
            )
        state.propose(
            standing.agreement, act, standing.state(str(issuer), str(partner), batch.today), batch.today
        )
        return act

    def _nonce(self, says: Mapping[str, Any], standing: Standing, batch: Batch) -> bytes:
        """Only a suspension is new each time; the same words of two parties are otherwise the same act.

        So two that sign or start at the same moment, each unaware of the other, sign one act. Words that
        were withdrawn are said anew under another nonce, which both derive from what was withdrawn.
        """
        if self.act == "suspend":
            return batch.parts.entropy(16)
        before = [held.act for held in standing.held if says.items() <= held.act.to_json().items()]
        withdrawn = sorted(each.id for each in before if withdrawn_by(standing, each))
        return canonical.digest({**says, **({"withdrawn": withdrawn} if withdrawn else {})})[:16]

    def _lifts(self, standing: Standing, today: str) -> list[str]:
        """The suspensions that a resumption of this direction lifts: every one not lifted yet."""
        if self.act != "resume":
            return []
        counted = standing.counted(today)
        lifted = {number for act in counted if act.act == "resume" for number in act.lifts}
        open_ones = [
            act
            for act in counted
            if act.act == "suspend" and act.concerns(str(self.issuer), str(self.partner))
        ]
        return sorted({act.id for act in open_ones} - lifted)


@dataclass(frozen=True, slots=True)
class Withdraw:
    """This administration takes back a proposal, or declines a partner's; `act` None: the draft itself.

    From then on this node never enters it in its own ledger, without which it cannot count anywhere; so
    what is in this ledger already is refused here, and a signature that crosses changes nothing.
    """

    agreement: str
    act: str | None = None
    reason: str = ""

    weight = 1
    tins: Sequence[str] = ()

    def run(self, batch: Batch) -> dict[str, Any]:
        """Sign the withdrawal and record it; it waits for nobody."""
        standing = standing_of(batch, self.agreement)
        self._refuse_late(standing, batch.parts.country)
        says: dict[str, Any] = {
            "v": 1,
            "agreement": self.agreement,
            "act": "withdraw",
            "issuer": None,
            "partner": None,
            "mode": None,
            "effective": batch.today,
            "lifts": [self.act] if self.act else [],
            "reason": self.reason,
            "preconditions_met": [],
        }
        act = acts.parse_act(says | {"nonce": b64u(canonical.digest(says)[:16])})
        signature = acts.sign(act, batch.parts.country, ECKey.import_key(batch.parts.keys.credential))
        agreements.add_act(batch.connection, act.id, self.agreement, act.encode())
        put_signature(batch, act, signature)
        record_complete(batch, self.agreement)
        return {"act": act.id, "complete": True, "missing": []}

    def _refuse_late(self, standing: Standing, own: str) -> None:
        """`Conflict` for what counts or stands in the own ledger, is withdrawn already, or is not ours."""
        held = [each for each in standing.held if each.act.id == self.act]
        if self.act and not held:
            raise NotFound("there is no such act here", where=self.act, do="see `aeo mra show`")
        named = held[0].act if held else None
        entered = held or [each for each in standing.held if each.act.act == "sign"]
        if any(each.ledger_seq is not None or each.act.act in acts.STOPPING for each in entered):
            raise Conflict(
                "what is signed by all it takes cannot be withdrawn",
                where=self.act or self.agreement,
                do="suspend the direction, or terminate: `aeo mra suspend`, `aeo mra terminate`",
            )
        if gone := withdrawn_by(standing, named):
            raise Conflict("this is withdrawn already", where=self.act or self.agreement, why=_by(gone))
        if named and own not in standing.parties_of(named):
            raise Conflict("this act is not between us and others", where=named.id)


@dataclass(frozen=True, slots=True)
class Merge:
    """What a peer says it knows about the agreements we share."""

    peer: Card
    parts: Sequence[AgreementPart]

    weight = 1
    tins: Sequence[str] = ()

    def run(self, batch: Batch) -> list[str]:
        """Add what is new and proven; gives the refusals of what is not, which is not used."""
        refused = []
        for part in self.parts:
            try:
                agreement = self._document(batch, part)
            except Refusal as refusal:
                refused.append(refusal.sentence())
                continue
            for item in part.acts:
                try:
                    self._act(batch, agreement, item)
                except Refusal as refusal:
                    refused.append(refusal.sentence())
            record_complete(batch, agreement.id)
        return refused

    def _document(self, batch: Batch, part: AgreementPart) -> Agreement:
        agreement = document.parse(part.document)
        known = batch.parts.standings.current(batch.connection)
        check_parties(batch, agreement, self.peer)
        if agreement.id not in known:
            if len(known) >= AGREEMENTS_LIMIT:
                raise TooMuch("there are too many agreements here", where=agreement.id)
            add_document(batch, agreement)
        return agreement

    def _act(self, batch: Batch, agreement: Agreement, item: ActPart) -> None:
        instrument = acts.parse(item.instrument)
        if instrument.act.agreement != agreement.digest():
            raise Unproven("an act is about another agreement", where=instrument.act.id)
        held = {each.act.id: each for each in standing_of(batch, agreement.id).held}
        own = held.get(instrument.act.id)
        have = {signature.country for signature in own.instrument.signatures} if own else set()
        new = [s for s in instrument.signatures if s.country not in have and s.country != batch.parts.country]
        for signature in new:
            acts.verify(instrument.act, signature, agreement.party(signature.country))
        if own is None and new:
            if len(held) >= ACTS_LIMIT:
                raise TooMuch("there are too many acts under this agreement", where=agreement.id)
            agreements.add_act(batch.connection, instrument.act.id, agreement.id, instrument.act.encode())
        for signature in new:
            put_signature(batch, instrument.act, signature)
        if item.receipt is not None and (own or new) and not (own and self.peer.country in own.receipts):
            proven = logs.head_of(batch.connection, ledger_origin(self.peer.name))
            standing = standing_of(batch, agreement.id)
            check_receipt(item.receipt, instrument.act, standing, self.peer, proven, batch.today)
            agreements.put_receipt(
                batch.connection,
                instrument.act.id,
                self.peer.country,
                canonical.encode(item.receipt).decode(),
            )
            batch.forget_lines()


def check_receipt(
    receipt: Mapping[str, Any], act: Act, standing: Standing, peer: Card, proven: Head | None, today: str
) -> None:
    """`Unproven` unless the peer's ledger, as we follow it, holds this act with enough signatures."""
    tree = receipt_tree(receipt, act, standing.agreement, standing.contract, peer, today)
    if proven is None or (tree.size, tree.root) != (proven.size, proven.root):
        raise Unproven("a receipt rests on another tree than the one we follow", where=peer.name)


def receipt_tree(
    receipt: Mapping[str, Any],
    act: Act,
    agreement: Agreement,
    contract: Contract | None,
    peer: Card,
    today: str,
) -> Checkpoint:
    """What a receipt proves by itself: the tree of the peer's that holds this act, complete."""
    if set(receipt) != {"entry", "salt", "body", "proof"} or not isinstance(receipt["body"], dict):
        raise Malformed("a receipt is not of the agreed form", where=peer.name)
    encoded = str(receipt["entry"]).encode()
    entry = LedgerEntry.decode(encoded)
    if (entry.country, entry.type) != (peer.country, "agreement"):
        raise Unproven("a receipt is about another kind of entry", where=peer.name)
    if commitment(unb64u(str(receipt["salt"])), canonical.encode(receipt["body"])) != entry.commit:
        raise Unproven("a receipt's entry commits to something else", where=peer.name)
    recorded = acts.parse(receipt["body"].get("instrument"))
    if recorded.act != act or not recorded.complete(agreement, today, contract).allowed:
        raise Unproven("a receipt does not hold the complete act", where=act.id)
    proof = TlogProof.decode(str(receipt["proof"]))
    if proof.index != entry.seq:
        raise Unproven("a receipt proves another entry", where=peer.name)
    origin = ledger_origin(peer.name)
    return proof.verify(leaf_hash(encoded), origin, peer.verifiers(origin))


def record_complete(batch: Batch, agreement: str) -> None:
    """Write every act that has become complete into the ledger, with all its signatures.

    Never one that was withdrawn before: see `Withdraw`.
    """
    standing = standing_of(batch, agreement)
    for held in standing.held:
        if _is_open(held, standing) and standing.is_complete(held, batch.today):
            body: dict[str, Any] = {"v": 1, "agreement": agreement, "instrument": held.instrument.to_json()}
            if held.act.act == "sign":
                body["document"] = standing.agreement.to_json()
            agreements.set_ledger_seq(batch.connection, held.act.id, batch.append_body("agreement", body))
            batch.forget_lines()


def standing_of(batch: Batch, agreement: str) -> Standing:
    """Where an agreement stands; `NotFound` when there is none of this id."""
    standing = batch.parts.standings.current(batch.connection).get(agreement)
    if standing is None:
        raise NotFound("there is no such agreement here", where=agreement, do="list them with `aeo mra list`")
    return standing


def withdrawn_by(standing: Standing, act: Act | None = None) -> tuple[str, ...]:
    """The parties that took an act back, or the draft itself; no matter whether it counts all the same."""
    return state.withdrawn_by(standing.agreement, (held.instrument for held in standing.held), act)


def party_of(card: Card) -> document.Party:
    """A node as a party of an agreement: it signs with the credential key on its card."""
    return document.Party(card.country, card.name, card.administration, card.keys["credential"])


def check_parties(batch: Batch, agreement: Agreement, peer: Card) -> None:
    """`Unproven` unless the agreement names us, the peer, and every pinned party with the keys we know."""
    cards = {batch.parts.country: batch.parts.card, **batch.parts.peers.by_country(batch.connection)}
    if not {batch.parts.country, peer.country} <= set(agreement.countries):
        raise Unproven("an agreement is not between us and the peer that sends it", where=agreement.id)
    for party in agreement.parties:
        card = cards.get(party.country)
        if card and (party.name, dict(party.key)) != (card.name, card.keys["credential"]):
            raise Unproven(
                "an agreement names another node or key for a party", where=f"{agreement.id}, {party.country}"
            )


def add_document(batch: Batch, agreement: Agreement) -> None:
    """Store a new agreement whose contract loads."""
    load(agreement.contract_text)
    agreements.add_document(batch.connection, agreement.id, agreement.encode())


def put_signature(batch: Batch, act: Act, signature: Signature) -> None:
    """Store a verified signature."""
    text = canonical.encode({"protected": signature.protected, "signature": signature.signature}).decode()
    agreements.put_signature(batch.connection, act.id, signature.country, text)


def _is_open(held: HeldAct, standing: Standing) -> bool:
    return held.ledger_seq is None and not withdrawn_by(standing, held.act)


def _refuse_withdrawn_draft(standing: Standing) -> None:
    if gone := withdrawn_by(standing):
        raise Conflict(
            "the draft was withdrawn", where=standing.agreement.id, why=_by(gone), do="draft a new one"
        )


def _by(countries: Sequence[str]) -> str:
    return f"by {', '.join(countries)}"


def _says(act: Act) -> tuple[str, str | None, str | None, str | None]:
    return act.act, act.issuer, act.partner, act.mode


def _with(proposed: HeldAct | None, act: Act, signature: Signature) -> Instrument:
    given = proposed.instrument.signatures if proposed else ()
    return Instrument(act, (*given, signature))


def _any_direction(standing: Standing) -> tuple[str, str]:
    return standing.directions()[0]
