"""Agreements: drafted, signed, carried between nodes, recorded in the ledger.

Peers hand each other everything they know about an agreement they share, as often as they like; what
is new is verified and added, so the order of arrival does not matter and nothing can be lost.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import ECKey

from contracts.evaluation import Contract
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
from node.service.mirror import incident
from node.store import agreements, logs
from node.store.channels import WHOLE_PEER, note_incident
from node.store.logs import Head

AGREEMENTS_LIMIT = 100
DRAFTS_LIMIT = 20
DRAFTS_LIMIT_BYTES = 2**20
"""With one peer: agreements in all, and those of them that this side has neither signed nor declined."""
CONTRACTS_LIMIT_BYTES = 2**20
REFUSALS_LIMIT = 100
"""Of one answer of a peer: the different contracts in it, and what is refused before the rest is left."""


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
    """This administration's signature: on an act that a partner proposed, or on one it proposes itself.

    A partner's words are signed only if they are those given here, or if `proposal` is its id.
    """

    agreement: str
    act: str
    issuer: str | None = None
    partner: str | None = None
    mode: str | None = None
    effective: str | None = None
    reason: str = ""
    preconditions_met: Sequence[str] = ()
    proposal: str | None = None

    weight = 1
    tins: Sequence[str] = ()

    def run(self, batch: Batch) -> dict[str, Any]:
        """Sign, record the act if that completes it, and say what is still missing."""
        standing, own = standing_of(batch, self.agreement), batch.parts.country
        if self.act == "sign":
            _refuse_withdrawn_draft(standing)
        proposed = self._proposed(standing, batch)
        new = proposed.act if proposed else self._propose(standing, batch)
        signed = (*(proposed.signed if proposed else ()), own)
        ruling = acts.ruling(new, signed, standing.agreement, batch.today, standing.contract)
        if not ruling.allowed and not ruling.missing:
            raise Conflict(
                "the agreement's contract does not allow this act", where=self.act, why=ruling.reason
            )
        if proposed is None:
            agreements.add_act(batch.connection, new.id, standing.agreement.id, new.encode())
        put_signature(batch, new, acts.sign(new, own, ECKey.import_key(batch.parts.keys.credential)))
        record_complete(batch, standing.agreement.id)
        return {"act": new.id, "complete": ruling.allowed, "missing": list(ruling.missing)}

    def _proposed(self, standing: Standing, batch: Batch) -> HeldAct | None:
        """The partner's proposal that says what is asked for here; `Conflict` if all say something else."""
        found = [held for held in standing.held if self._waits_for_us(held, standing)]
        if self.proposal and not found:
            raise NotFound(
                "no such proposal waits for our signature", where=self.proposal, do="see `aeo mra show`"
            )
        different = [self._differences(held.act, standing, batch.today) for held in found]
        for held, differences in zip(found, different, strict=True):
            if not differences:
                state.check_day(standing.agreement, held.act)
                return held
        if not found:
            return None
        number = found[0].act.id
        sign = f"sign it as it stands with `aeo mra {self.act} {self.agreement} --act {number}`, or "
        decline = f"decline it with `aeo mra withdraw {self.agreement} --act {number}` and propose your own"
        raise Conflict(
            "the partner's proposal says something else",
            where=number,
            why="; ".join(different[0]),
            do=decline if self.proposal else sign + decline,
        )

    def _waits_for_us(self, held: HeldAct, standing: Standing) -> bool:
        is_asked_for = held.act.words == (self.act, self.issuer, self.partner, self.mode)
        is_named = self.proposal in (None, held.act.id)
        return is_asked_for and is_named and standing.own not in held.signed and _is_open(held, standing)

    def _differences(self, act: Act, standing: Standing, today: str) -> list[str]:
        """In what a proposal differs from the words given; named by its id, in what it lifts."""
        ours, theirs = set(self._lifts(standing, today)), set(act.lifts)
        stay, surplus = ", ".join(sorted(ours - theirs)), ", ".join(sorted(theirs - ours))
        found = [f"suspended would stay what it does not lift: {stay}"] if stay else []
        found += [f"it lifts what is not suspended here: {surplus}"] if surplus else []
        if self.proposal:
            return found
        if act.reason != self.reason:
            found.append(f"its reason is {act.reason!r}, not {self.reason!r}")
        if set(act.preconditions_met) != set(self.preconditions_met):
            met = [", ".join(each) or "none" for each in (act.preconditions_met, self.preconditions_met)]
            found.append(f"its preconditions met are: {met[0]}; not: {met[1]}")
        if act.effective != self.effective and (self.effective or act.effective > today):
            found.append(f"it takes effect on {act.effective}, not on {self.effective or today}")
        return found

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
        if any(
            held.act == act or (held.act.words == act.words and _is_open(held, standing))
            for held in standing.held
        ):
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
        withdrawn = sorted(each.id for each in before if standing.withdrawn_by(each))
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

    From then on no honest node of those it binds enters it in its ledger, without which it cannot count
    anywhere. What the ledgers of all hold already counts, and is refused here.
    """

    agreement: str
    act: str | None = None
    reason: str = ""

    weight = 1
    tins: Sequence[str] = ()

    def run(self, batch: Batch) -> dict[str, Any]:
        """Sign the withdrawal and record it; it waits for nobody."""
        standing = standing_of(batch, self.agreement)
        self._refuse_late(standing, batch.today)
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
        if all(held.act != act for held in standing.held):
            agreements.add_act(batch.connection, act.id, self.agreement, act.encode())
        put_signature(batch, act, signature)
        record_complete(batch, self.agreement)
        return {"act": act.id, "complete": True, "missing": []}

    def _refuse_late(self, standing: Standing, today: str) -> None:
        """`Conflict` for what counts, what this side has withdrawn already, and what is not ours."""
        held = [each for each in standing.held if each.act.id == self.act]
        if self.act and not held:
            raise NotFound("there is no such act here", where=self.act, do="see `aeo mra show`")
        named = held[0].act if held else None
        entered = held or [each for each in standing.held if each.act.act == "sign"]
        if any(standing.counts(each, today) or each.act.act in acts.STOPPING for each in entered):
            raise Conflict(
                "what is signed by all it takes cannot be withdrawn",
                where=self.act or self.agreement,
                do="suspend the direction, or terminate: `aeo mra suspend`, `aeo mra terminate`",
            )
        if standing.own in (gone := standing.withdrawn_by(named)):
            raise Conflict("this is withdrawn already", where=self.act or self.agreement, why=_by(gone))
        if named and standing.own not in standing.parties_of(named):
            raise Conflict("this act is not between us and others", where=named.id)


@dataclass(frozen=True, slots=True)
class Told:
    """One agreement as a peer tells of it: parsed and compiled, compared with nothing yet."""

    agreement: Agreement
    acts: Mapping[str, tuple[Instrument, Mapping[str, Any] | None]]
    """By id: the act with its signatures, and the receipt of the peer."""


@dataclass(frozen=True, slots=True)
class Merge:
    """What a peer says it knows about the agreements we share.

    It is read where it is made, by the thread that follows the peer: the writer compares and adds. What
    one peer can make this node read, keep and verify is bounded, for each peer by itself.
    """

    peer: Card
    parts: Sequence[AgreementPart]
    _told: tuple[Told, ...] = field(init=False, repr=False)
    _unread: tuple[str, ...] = field(init=False, repr=False)

    weight = 1
    tins: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Read and compile; what cannot be read is refused, and the rest is taken."""
        refused: list[str] = []
        object.__setattr__(self, "_told", tuple(_read(self.parts, refused)))
        object.__setattr__(self, "_unread", tuple(refused))

    def run(self, batch: Batch) -> list[str]:
        """Add what is new and proven; gives the refusals of what is not, which is not used."""
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
        add_document(batch, agreement)

    def _acts(self, batch: Batch, told: Told, refused: list[str], *, withdrawals: bool) -> None:
        """One round over the acts that are told, in which a few of the same kind cost one reading."""
        standing = standing_of(batch, told.agreement.id)
        known = {held.stored.act: (held.act, held.signed) for held in standing.held}
        proven = {held.stored.act for held in standing.held if self.peer.country in held.receipts}
        has_receipts = False
        for number, (instrument, receipt) in told.acts.items():
            if (instrument.act.act == "withdraw") is not withdrawals:
                continue
            if len(refused) >= REFUSALS_LIMIT:
                return
            with _noting(refused):
                if not told.acts.keys() | known.keys() >= set(instrument.act.lifts):
                    raise Unproven("an act takes back or lifts one that is not known here", where=number)
                self._act(batch, told.agreement, number, instrument, known)
                if receipt is not None and number in known and number not in proven:
                    self._receipt(batch, standing, number, instrument.act, receipt)
                    has_receipts = True
        if has_receipts:
            self._note_broken_promises(batch, told.agreement.id)

    def _act(
        self, batch: Batch, agreement: Agreement, number: str, told: Instrument, known: dict[str, state.Known]
    ) -> None:
        """Add what is new of an act: itself, and signatures that hold."""
        own, (act, signed) = batch.parts.country, known.get(number, (told.act, ()))
        new = {each.country: each for each in told.signatures if each.country not in (*signed, own)}
        for signature in new.values():
            acts.verify(act, signature, agreement.party(signature.country))
        if number not in known and new:
            for country in new:
                state.admit(agreement, act, country, own, known)
            agreements.add_act(batch.connection, number, agreement.id, act.encode())
        for signature in new.values():
            put_signature(batch, act, signature)
            known[number] = (act, (*signed, *new))

    def _receipt(
        self, batch: Batch, standing: Standing, number: str, act: Act, receipt: Mapping[str, Any]
    ) -> None:
        if standing.withdrawal_unproven(act, self.peer.country):
            raise Unproven(
                "a receipt came for an act that its party withdrew, and none for the withdrawal",
                where=number,
            )
        proven = logs.head_of(batch.connection, ledger_origin(self.peer.name))
        check_receipt(receipt, act, standing, self.peer, proven, batch.today)
        text = canonical.encode(dict(receipt)).decode()
        agreements.put_receipt(batch.connection, number, self.peer.country, text)
        batch.forget_lines()

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
                row = incident(
                    self.peer.name, WHOLE_PEER, -1, "withdrawn", detail, evidence, batch.time, number.encode()
                )
                note_incident(batch.connection, row)


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

    Never one that was withdrawn before (see `Withdraw`), and what others say of a draft only once this
    side has signed it too.
    """
    standing = standing_of(batch, agreement)
    for held in standing.held:
        is_ours = standing.is_signed_here or standing.own in held.signed
        if is_ours and _is_open(held, standing) and standing.is_complete(held, batch.today):
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
    """Store a new agreement; it was parsed, so its contract is in the language."""
    agreements.add_document(batch.connection, agreement.id, agreement.encode())


def put_signature(batch: Batch, act: Act, signature: Signature) -> None:
    """Store a verified signature."""
    text = canonical.encode({"protected": signature.protected, "signature": signature.signature}).decode()
    agreements.put_signature(batch.connection, act.id, signature.country, text)


def _is_open(held: HeldAct, standing: Standing) -> bool:
    return held.ledger_seq is None and not standing.withdrawn_by(held.act)


def _refuse_withdrawn_draft(standing: Standing) -> None:
    if gone := standing.withdrawn_by():
        raise Conflict(
            "the draft was withdrawn", where=standing.agreement.id, why=_by(gone), do="draft a new one"
        )


def _by(countries: Sequence[str]) -> str:
    return f"by {', '.join(countries)}"


def _any_direction(standing: Standing) -> tuple[str, str]:
    return standing.directions()[0]
