"""What this administration does about an agreement: drafts it, signs, withdraws, records what is complete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc.jwk import ECKey
from sqlalchemy import Connection

from node.agreements import act as acts
from node.agreements import amending, document, state
from node.agreements.act import Act, Signature
from node.agreements.document import Agreement
from node.errors import Conflict, NotFound
from node.exchange.card import Card
from node.exchange.standing import HeldAct, Standing, directions_of
from node.ledger import canonical
from node.ledger.encoding import b64u
from node.service.batch import Batch, SmallWork
from node.store import agreements


@dataclass(frozen=True, slots=True)
class Draft(SmallWork):
    """A new agreement out of terms and a contract text, between this node and pinned peers.

    `supersedes`: the id of the agreement that it is to replace.
    """

    title: str
    countries: Sequence[str]
    terms: Mapping[str, Any]
    contract_text: str
    supersedes: str = ""

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
        cards = parts.current(batch.connection)
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
        if self.supersedes:
            check_replaceable(standing_of(batch, self.supersedes), self.countries, batch.today)
        parties = [party_of(cards[country]) for country in sorted(self.countries)]
        agreement = self._typable(batch, parties)
        add_document(batch.connection, agreement)
        return agreement.id

    def _typable(self, batch: Batch, parties: Sequence[document.Party]) -> Agreement:
        """The draft, with a nonce for which its id does not look like an option on a command line."""
        while True:
            nonce, terms = batch.parts.entropy(16), dict(self.terms)
            agreement = document.draft(
                self.title, parties, terms, self.contract_text, batch.today, nonce, self.supersedes
            )
            if agreement.id[0].isalnum():
                return agreement


@dataclass(frozen=True, slots=True)
class Sign(SmallWork):
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

    def run(self, batch: Batch) -> dict[str, Any]:
        """Sign, record the act if that completes it, and say what is still missing."""
        standing, own = standing_of(batch, self.agreement), batch.parts.country
        if self.act == "sign":
            _refuse_withdrawn_draft(standing)
            _refuse_amendment(standing, batch.today)
        proposed = self._proposed(standing, batch)
        new = proposed.act if proposed else self._propose(standing, batch)
        signed = (*(proposed.signed if proposed else ()), own)
        ruling = acts.ruling(new, signed, standing.agreement, batch.today, standing.contract)
        _refuse_hopeless(new, standing, batch.today)
        if proposed is None:
            agreements.add_act(batch.connection, new.id, standing.agreement.id, new.encode())
        put_signature(
            batch.connection, new, acts.sign(new, own, ECKey.import_key(batch.parts.keys.credential[0]))
        )
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
            "issuer": batch.parts.country if self.act == "leave" else self.issuer,
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
        issuer, partner = (
            (self.issuer, self.partner) if self.issuer else _any_direction(standing, batch.today)
        )
        for held in standing.held:
            if held.act == act or (held.act.words == act.words and _is_open(held, standing)):
                self._refuse_repeated(held, standing, batch.today)
        state.propose(
            standing.agreement, act, standing.state(str(issuer), str(partner), batch.today), batch.today
        )
        return act

    def _refuse_repeated(self, held: HeldAct, standing: Standing, today: str) -> None:
        if standing.counts(held, today):
            raise Conflict("this act counts already", where=self.act, do="see `aeo mra show`")
        if standing.is_complete(held, today):
            why = "all who must have signed it; it waits until the ledgers of all are proven to hold it"
            raise Conflict("this act is signed already", where=self.act, why=why, do="see `aeo mra show`")
        do = "see `aeo mra show`, or take it back with `aeo mra withdraw`"
        raise Conflict("this act is proposed already and waits for the partner", where=self.act, do=do)

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
        counted = standing.acts(today)
        lifted = {number for act in counted if act.act == "resume" for number in act.lifts}
        open_ones = [
            act
            for act in counted
            if act.act == "suspend" and act.concerns(str(self.issuer), str(self.partner))
        ]
        return sorted({act.id for act in open_ones} - lifted)


@dataclass(frozen=True, slots=True)
class Withdraw(SmallWork):
    """This administration takes back a proposal, or declines a partner's; `act` None: the draft itself.

    From then on no honest node of those it binds enters it in its ledger, without which it cannot count
    anywhere. What the ledgers of all hold already counts, and is refused here.
    """

    agreement: str
    act: str | None = None
    reason: str = ""

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
        signature = acts.sign(act, batch.parts.country, ECKey.import_key(batch.parts.keys.credential[0]))
        if all(held.act != act for held in standing.held):
            agreements.add_act(batch.connection, act.id, self.agreement, act.encode())
        put_signature(batch.connection, act, signature)
        record_complete(batch, self.agreement)
        return {"act": act.id, "complete": True, "missing": []}

    def _refuse_late(self, standing: Standing, today: str) -> None:
        """`Conflict` for what counts, what this side has withdrawn already, and what is not ours."""
        held = [each for each in standing.held if each.act.id == self.act]
        if self.act and not held:
            raise NotFound("there is no such act here", where=self.act, do="see `aeo mra show`")
        named = held[0].act if held else None
        entered = held or [each for each in standing.held if each.act.act == "sign"]
        if any(standing.counts(each, today) or acts.stops(each.act, standing.agreement) for each in entered):
            raise Conflict(
                "what is signed by all it takes cannot be withdrawn",
                where=self.act or self.agreement,
                do="suspend the direction, or terminate: `aeo mra suspend`, `aeo mra terminate`",
            )
        if standing.own in (gone := standing.withdrawn_by(named)):
            raise Conflict("this is withdrawn already", where=self.act or self.agreement, why=_by(gone))
        if named and standing.own not in standing.parties_of(named):
            raise Conflict("this act is not between us and others", where=named.id)


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
    return document.Party(card.country, card.name, card.administration, card.of("credential")[0])


def add_document(connection: Connection, agreement: Agreement) -> None:
    """Store a new agreement; it was parsed, so its contract is in the language."""
    agreements.add_document(connection, agreement.id, agreement.encode())


def put_signature(connection: Connection, act: Act, signature: Signature) -> None:
    """Store a verified signature."""
    text = canonical.encode({"protected": signature.protected, "signature": signature.signature}).decode()
    agreements.put_signature(connection, act.id, signature.country, text)


def _refuse_hopeless(act: Act, standing: Standing, today: str) -> None:
    """`Conflict` for an act that the contract would not allow with the signatures of all it binds either."""
    bound = acts.bound_by(act, standing.agreement)
    ruling = acts.ruling(act, bound, standing.agreement, today, standing.contract)
    if not ruling.allowed and not ruling.missing:
        why = ruling.reason
        raise Conflict("the agreement's contract does not allow this act", where=act.act, why=why)


def _is_open(held: HeldAct, standing: Standing) -> bool:
    return held.ledger_seq is None and not standing.withdrawn_by(held.act)


def _refuse_withdrawn_draft(standing: Standing) -> None:
    if gone := standing.withdrawn_by():
        raise Conflict(
            "the draft was withdrawn", where=standing.agreement.id, why=_by(gone), do="draft a new one"
        )


def check_replaceable(old: Standing, countries: Sequence[str], today: str) -> None:
    """`Conflict` unless an agreement is in force, not replaced yet, and binds none but these countries."""
    where, listed = old.agreement.id, "list them with `aeo mra list`"
    if not old.is_signed(today):
        raise Conflict("only an agreement that all have signed is amended", where=where, do="draft a new one")
    if found := old.replaced(today):
        raise Conflict("it was replaced already", where=where, why=f"by {found[1].agreement.id}", do=listed)
    if all(old.state(*pair, today) == state.TERMINATED for pair in directions_of(old.agreement)):
        raise Conflict("what has ended is not amended", where=where, do="draft a new one: `aeo mra draft`")
    lacking = [
        each for each in amending.bound(old.agreement, old.acts(today), today) if each not in countries
    ]
    if lacking:
        raise Conflict(
            "an agreement is amended by all that it binds",
            where=where,
            why=f"not a party of the new one: {', '.join(lacking)}",
            do="name them in the terms too; who wants out leaves: `aeo mra leave`",
        )


def _refuse_amendment(standing: Standing, today: str) -> None:
    """`Conflict` for what cannot replace its predecessor, or where this side has signed another that may.

    Of two amendments of one agreement an honest party enters one in its ledger, and both need all.
    """
    if standing.before is None:
        return
    check_replaceable(standing.before, standing.agreement.countries, today)
    for each in standing.rivals:
        for held in each.held:
            is_ours, number = held.act.act == "sign" and standing.own in held.signed, each.agreement.id
            if is_ours and not (held.ledger_seq is None and standing.own in each.withdrawn_by(held.act)):
                raise Conflict(
                    "another amendment of the same agreement is signed here",
                    where=number,
                    do=f"take that back first, if it is not signed by all: `aeo mra withdraw {number}`",
                )


def _by(countries: Sequence[str]) -> str:
    return f"by {', '.join(countries)}"


def _any_direction(standing: Standing, today: str) -> tuple[str, str]:
    """One of ours, that has not ended if there is one."""
    ours = standing.directions()
    return next((pair for pair in ours if standing.state(*pair, today) != state.TERMINATED), ours[0])
