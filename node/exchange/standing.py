"""Where each agreement stands, as this node can prove it.

What agrees, starts or resumes counts once all it binds have signed it, the agreement's contract allows
it, and the ledgers of all its parties are proven to hold it with all signatures. What stops counts with
one signature, and no contract is asked. So nothing is shared before both signatures are in both ledgers,
and a suspension never waits for anybody.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from contracts.evaluation import Contract, Ruling
from node.agreements import act as acts
from node.agreements import amending, document, state
from node.agreements.act import Act, Instrument, LaterKeys
from node.agreements.document import Agreement
from node.errors import Malformed
from node.exchange.card import Card
from node.exchange.fetches import Asker
from node.ledger import canonical
from node.ledger.encoding import b64u
from node.ledger.entry import LedgerEntry
from node.store import agreements as store
from node.store.agreements import StoredAct


@dataclass(frozen=True, slots=True)
class HeldAct:
    """An act as this node holds it: signatures so far, place in the own ledger, proofs of others."""

    stored: StoredAct = field(repr=False)
    instrument: Instrument
    signed: tuple[str, ...]
    """The parties whose signatures hold, looked at once."""
    entered: Mapping[str, int]
    """Where the ledgers that are proven to hold it have it, the own one with them."""

    @property
    def act(self) -> Act:
        """The act itself."""
        return self.instrument.act

    @property
    def ledger_seq(self) -> int | None:
        """Its place in the own ledger, if it is there."""
        return self.stored.ledger_seq

    @property
    def receipts(self) -> Mapping[str, str]:
        """The proofs, by country, that other ledgers hold it."""
        return self.stored.receipts


@dataclass(frozen=True, slots=True)
class Standing:
    """One agreement with every act known under it."""

    agreement: Agreement
    contract: Contract
    held: tuple[HeldAct, ...]
    own: str
    told: bytes
    """Digest of all that a party is told of it: document, acts, signatures, places in the own ledger."""
    _withdrawals: Mapping[str, tuple[HeldAct, ...]] = field(repr=False)
    """By the id of what they take back; the draft is the empty text."""
    _counted: dict[str, tuple[Act, ...]] = field(default_factory=dict, repr=False, compare=False)
    _others: Mapping[str, "Standing"] = field(default_factory=dict, repr=False, compare=False)
    _heirs: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False, compare=False)
    """All agreements by id, and by the id of the one that they are to replace."""
    _acts: dict[str, tuple[Act, ...]] = field(default_factory=dict, repr=False, compare=False)

    def parties_of(self, act: Act) -> frozenset[str]:
        """The countries whose ledgers must hold an act: those of its direction, or all."""
        return frozenset(acts.bound_by(act, self.agreement))

    @property
    def is_signed_here(self) -> bool:
        """Whether this administration has signed the agreement, which says nothing of the others."""
        return any(held.act.act == "sign" and self.own in held.signed for held in self.held)

    def ruling(self, held: HeldAct, today: str) -> Ruling:
        """Whether the signatures are enough, or whose are missing."""
        return acts.ruling(held.act, held.signed, self.agreement, today, self.contract)

    def is_complete(self, held: HeldAct, today: str) -> bool:
        """Whether enough parties signed: one for what stops; else all it binds, if the contract allows it."""
        return self.ruling(held, today).allowed

    def withdrawn_by(self, act: Act | None = None) -> tuple[str, ...]:
        """The parties that took an act back, or the draft itself; it may count all the same."""
        known = ((each.act, each.signed) for each in self._naming(act))
        return state.withdrawn_by(self.agreement, known, act)

    def was_withdrawn_before(self, held: HeldAct, country: str) -> bool:
        """Whether a party's ledger has an act behind its withdrawal, where no honest node enters it."""
        return len(self.proofs_of(held, country)) > 1

    def proofs_of(self, held: HeldAct, country: str) -> tuple[HeldAct, ...]:
        """An act that a party's ledger holds, behind those withdrawals of it that stand there before it."""
        place, bound = held.entered.get(country, -1), self.parties_of(held.act)
        before = [
            each
            for each in self._naming(held.act)
            if each.entered.get(country, place) < place
            and state.takes_back(each.act, held.act, self.agreement)
            and not bound.isdisjoint(each.signed)
        ]
        return (*before, held)

    def withdrawal_unproven(self, act: Act, country: str) -> bool:
        """Whether a party took an act back and has not proven yet where its ledger has the withdrawal."""
        return any(
            country in each.signed
            and country not in each.entered
            and state.takes_back(each.act, act, self.agreement)
            for each in self._naming(act)
        )

    def _naming(self, act: Act | None) -> tuple[HeldAct, ...]:
        """The withdrawals of an act, and of the draft."""
        of_draft = self._withdrawals.get("", ())
        return of_draft if act is None else (*of_draft, *self._withdrawals.get(act.id, ()))

    def counts(self, held: HeldAct, today: str) -> bool:
        """Whether an act has effect here (from its effective date on)."""
        if not self.is_complete(held, today):
            return False
        if acts.stops(held.act, self.agreement):
            return True
        return all(
            country in held.entered and not self.was_withdrawn_before(held, country)
            for country in self.parties_of(held.act)
        )

    def counted(self, today: str) -> tuple[Act, ...]:
        """The acts that have effect here, worked out once a day."""
        counted = self._counted.get(today)
        if counted is None:
            counted = self._counted[today] = tuple(held.act for held in self.held if self.counts(held, today))
        return counted

    def acts(self, today: str) -> tuple[Act, ...]:
        """The acts that have effect under it: its own, and those of an agreement that it has replaced."""
        known = self._acts.get(today)
        if known is None:
            known = self._acts[today] = (*self.counted(today), *self._taken_over(today))
        return known

    def _taken_over(self, today: str) -> tuple[Act, ...]:
        before = self.before
        if before is None or not self.is_signed(today):
            return ()
        found = before._replacement(today)
        if found is None or found[1] != self.agreement.id:
            return ()
        return amending.taken_over(self.agreement, found[0], before.acts(today))

    @property
    def before(self) -> "Standing | None":
        """The agreement that this one names as the one it replaces, where that is known here."""
        return self._others.get(self.agreement.supersedes)

    @property
    def rivals(self) -> "list[Standing]":
        """The other agreements that are to replace the same one."""
        alike = self._heirs.get(self.agreement.supersedes, ()) if self.agreement.supersedes else ()
        return [self._others[number] for number in alike if number != self.agreement.id]

    def _replacement(self, today: str) -> amending.Replacement | None:
        found = [self._others[number] for number in self._heirs.get(self.agreement.id, ())]
        signed = [(each.agreement, each.counted(today)) for each in found if each.is_signed(today)]
        if not signed:
            return None
        return amending.replacement((self.agreement, self.acts(today)), signed, today)

    def replaced(self, today: str) -> "tuple[str, Standing] | None":
        """From which day on another agreement has replaced this one, and where that one stands."""
        found = self._replacement(today)
        return found and (found[0], self._others[found[1]])

    def is_outrun(self, today: str) -> bool:
        """Whether another agreement has replaced the one that this one was to replace."""
        found = self.before._replacement(today) if self.before else None
        return found is not None and found[1] != self.agreement.id

    def latest(self, today: str) -> "Standing":
        """The agreement itself, or the last of those that replaced one another from it on."""
        found = self.replaced(today)
        return found[1].latest(today) if found else self

    def state(self, issuer: str, partner: str, today: str) -> str:
        """The state of one direction on one day."""
        if self.replaced(today) or self.is_outrun(today):
            return state.TERMINATED
        return state.fold(self.acts(today), issuer, partner, today)

    def is_signed(self, today: str) -> bool:
        """Whether both signatures on the agreement are proven to be in both ledgers."""
        return any(act.act == "sign" for act in self.counted(today))

    def is_with(self, node: Card | None) -> bool:
        """Whether this very node is a party; one that it was succeeded by is not."""
        return node is not None and any(
            (party.country, party.name) == (node.country, node.name) for party in self.agreement.parties
        )

    def directions(self) -> tuple[tuple[str, str], ...]:
        """The (issuer, partner) pairs that the terms name and this node is part of."""
        return tuple(pair for pair in directions_of(self.agreement) if self.own in pair)

    def ways(self) -> tuple[tuple[str, str], ...]:
        """The pairs that have a channel: the directions, and the way back of each, for notices."""
        back = ((partner, issuer) for issuer, partner in self.directions())
        return tuple(dict.fromkeys((*self.directions(), *back)))


class Standings:
    """Every agreement of this node; what has moved is read again, what has not is not."""

    def __init__(self, own: str, cards: Callable[[Connection], Mapping[str, Card]]) -> None:
        """`own` is the node's country; `cards` reads all cards, by name of the node."""
        self._own, self._cards = own, cards
        self._known: tuple[int, dict[str, Standing]] = (-1, {})

    def current(self, connection: Connection) -> dict[str, Standing]:
        """The standings by agreement id."""
        rev, known = store.rev(connection), self._known
        if rev != known[0]:
            known = self._known = (
                rev,
                load_standings(connection, self._own, self._cards(connection), known[1]),
            )
        return known[1]

    def forget(self) -> None:
        """Compare again next time: a transaction that was looked at from inside did not commit."""
        self._known = (-1, self._known[1])


def directions_of(agreement: Agreement) -> tuple[tuple[str, str], ...]:
    """The (issuer, partner) pairs that the terms name, in order."""
    pairs = (name.split("-") for name in sorted(agreement.terms["directions"]))
    return tuple((issuer, partner) for issuer, partner in pairs)


def load_standings(
    connection: Connection,
    own: str,
    cards: Mapping[str, Card],
    before: Mapping[str, Standing] | None = None,
) -> dict[str, Standing]:
    """Read every agreement and act from the store.

    What is unchanged in `before` is taken from there: parsed, compiled and verified once.
    """
    stored: defaultdict[str, list[StoredAct]] = defaultdict(list)
    for each in store.acts(connection):
        stored[each.agreement].append(each)
    alone = {
        number: _standing(content, stored[number], own, cards, (before or {}).get(number))
        for number, content in store.documents(connection).items()
    }
    return _related(alone)


def _related(alone: Mapping[str, Standing]) -> dict[str, Standing]:
    """Each that is to replace another, or to be replaced, with all others; the rest as they are."""
    heirs: defaultdict[str, list[str]] = defaultdict(list)
    for number, each in alone.items():
        if each.agreement.supersedes:
            heirs[each.agreement.supersedes].append(number)
    related = dict(alone)
    for number, each in alone.items():
        if each.agreement.supersedes or number in heirs:
            related[number] = replace(each, _others=related, _heirs=heirs, _acts={})
    return related


def asker(standing: Standing, issuer: str, partner: Card, ends: Mapping[int, int]) -> Asker:
    """A partner as who asks an issuer: with the key that the agreement names for it, and those after it.

    `ends`: by ledger entry of the partner's, when it was written (ms); of a key that ended at another entry
    nothing holds.
    """
    named = standing.agreement.party(partner.country).key
    ended = [(each, partner.ended(each)) for each in (named, *partner.successors(named))]
    keys = [(each, None if end is None else ends[end]) for each, end in ended if end is None or end in ends]
    return Asker(standing.agreement.id, issuer, partner.country, tuple(keys))


def later_keys(agreement: Agreement, cards: Mapping[str, Card]) -> LaterKeys:
    """The keys of each party that followed the one which the agreement names for it."""
    return {
        party.country: cards[party.name].successors(party.key)
        for party in agreement.parties
        if party.name in cards
    }


def _standing(
    content: bytes,
    stored: Sequence[StoredAct],
    own: str,
    cards: Mapping[str, Card],
    before: Standing | None,
) -> Standing:
    """One agreement; its id names its text, so that what is known by this id is the same text."""
    if before and [each.stored for each in before.held] == stored:
        return before
    agreement = before.agreement if before else document.parse(canonical.decode(content))
    contract = before.contract if before else document.contract_of(agreement.contract_text)
    known = {each.stored.act: each for each in before.held} if before else {}
    later = later_keys(agreement, cards)
    held = tuple(_held(each, agreement, own, later, known.get(each.act)) for each in stored)
    withdrawals: defaultdict[str, tuple[HeldAct, ...]] = defaultdict(tuple)
    for each in held:
        if each.act.act == "withdraw":
            withdrawals["".join(each.act.lifts)] += (each,)
    return Standing(agreement, contract, held, own, _told(agreement, held), dict(withdrawals))


def _held(
    stored: StoredAct, agreement: Agreement, own: str, later: LaterKeys, before: HeldAct | None
) -> HeldAct:
    if before and before.stored == stored:
        return before
    signatures = [canonical.decode(text.encode()) for text in stored.signatures.values()]
    instrument = acts.parse({"payload": b64u(stored.content), "signatures": signatures})
    places = {country: place_in(text) for country, text in stored.receipts.items()} | {own: stored.ledger_seq}
    entered = {country: seq for country, seq in places.items() if seq is not None}
    return HeldAct(stored, instrument, instrument.signed_by(agreement, later), entered)


def place_in(receipt: str) -> int | None:
    """The place that a receipt names in the ledger of its party; a text that is none proves nothing."""
    try:
        return entry_of(receipt).seq
    except Malformed:
        return None


def entry_of(receipt: str) -> LedgerEntry:
    """The entry of its party's ledger that a stored receipt is about; `Malformed` for a text that is none."""
    told = canonical.decode(receipt.encode())
    if not isinstance(told, dict) or "entry" not in told:
        raise Malformed("a receipt is not of the agreed form")
    return LedgerEntry.decode(str(told["entry"]).encode())


def _told(agreement: Agreement, held: Sequence[HeldAct]) -> bytes:
    """Order independent: it names a set of acts, each with a set of signatures."""
    acts_told = [
        {
            "act": b64u(each.act.digest()),
            "signatures": sorted(f"{s.protected}.{s.signature}" for s in each.instrument.signatures),
            "ledger_seq": each.ledger_seq,
        }
        for each in held
    ]
    acts_told.sort(key=canonical.encode)
    return canonical.digest({"document": b64u(agreement.digest()), "acts": acts_told})
