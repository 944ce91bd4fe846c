"""Where each agreement stands, as this node can prove it.

What agrees, starts or resumes counts once all it binds have signed it, the agreement's contract allows
it, and the ledgers of all its parties are proven to hold it with all signatures. What stops counts with
one signature, and no contract is asked. So nothing is shared before both signatures are in both ledgers,
and a suspension never waits for anybody.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from contracts.evaluation import Contract, load
from node.agreements import act as acts
from node.agreements import document, state
from node.agreements.act import Act, Instrument
from node.agreements.document import Agreement
from node.ledger import canonical
from node.ledger.encoding import b64u
from node.store import agreements as store


@dataclass(frozen=True, slots=True)
class HeldAct:
    """An act as this node holds it: signatures so far, place in the own ledger, proofs of others."""

    instrument: Instrument
    ledger_seq: int | None
    receipts: dict[str, str] = field(repr=False)

    @property
    def act(self) -> Act:
        """The act itself."""
        return self.instrument.act


@dataclass(frozen=True, slots=True)
class Standing:
    """One agreement with every act known under it."""

    agreement: Agreement
    contract: Contract
    held: tuple[HeldAct, ...]
    own: str
    told: bytes
    """Digest of all that a party is told of it: document, acts, signatures, places in the own ledger."""
    _counted: dict[str, tuple[Act, ...]] = field(default_factory=dict, repr=False, compare=False)

    def parties_of(self, act: Act) -> frozenset[str]:
        """The countries whose ledgers must hold an act: those of its direction, or all."""
        if act.issuer and act.partner:
            return frozenset((act.issuer, act.partner))
        return frozenset(party.country for party in self.agreement.parties)

    def is_complete(self, held: HeldAct, today: str) -> bool:
        """Whether enough parties signed: one for what stops; else all it binds, if the contract allows it."""
        return held.instrument.complete(self.agreement, today, self.contract).allowed

    def counts(self, held: HeldAct, today: str) -> bool:
        """Whether an act has effect here (from its effective date on)."""
        if not self.is_complete(held, today):
            return False
        if held.act.act in acts.STOPPING:
            return True
        others = self.parties_of(held.act) - {self.own}
        return held.ledger_seq is not None and others <= held.receipts.keys()

    def counted(self, today: str) -> tuple[Act, ...]:
        """The acts that have effect here, worked out once a day."""
        counted = self._counted.get(today)
        if counted is None:
            counted = self._counted[today] = tuple(held.act for held in self.held if self.counts(held, today))
        return counted

    def state(self, issuer: str, partner: str, today: str) -> str:
        """The state of one direction on one day."""
        return state.fold(self.counted(today), issuer, partner, today)

    def is_signed(self, today: str) -> bool:
        """Whether both signatures on the agreement are proven to be in both ledgers."""
        return any(act.act == "sign" for act in self.counted(today))

    def directions(self) -> tuple[tuple[str, str], ...]:
        """The (issuer, partner) pairs that the terms name and this node is part of."""
        return tuple(pair for pair in directions_of(self.agreement) if self.own in pair)


class Standings:
    """Every agreement of this node, read again only when one of them has moved."""

    def __init__(self, own: str) -> None:
        """`own` is the node's country."""
        self._own = own
        self._known: tuple[int, dict[str, Standing]] = (-1, {})

    def current(self, connection: Connection) -> dict[str, Standing]:
        """The standings by agreement id."""
        rev, known = store.rev(connection), self._known
        if rev != known[0]:
            known = self._known = (rev, load_standings(connection, self._own))
        return known[1]

    def forget(self) -> None:
        """Read again next time: a transaction that was looked at from inside did not commit."""
        self._known = (-1, {})


def directions_of(agreement: Agreement) -> tuple[tuple[str, str], ...]:
    """The (issuer, partner) pairs that the terms name, in order."""
    pairs = (name.split("-") for name in sorted(agreement.terms["directions"]))
    return tuple((issuer, partner) for issuer, partner in pairs)


def load_standings(connection: Connection, own: str) -> dict[str, Standing]:
    """Read every agreement and act from the store."""
    held: dict[str, list[HeldAct]] = {}
    for stored in store.acts(connection):
        signatures = [canonical.decode(text.encode()) for text in stored.signatures.values()]
        instrument = acts.parse({"payload": b64u(stored.content), "signatures": signatures})
        held.setdefault(stored.agreement, []).append(HeldAct(instrument, stored.ledger_seq, stored.receipts))
    found = {}
    for number, content in store.documents(connection).items():
        agreement = document.parse(canonical.decode(content))
        under = tuple(held.get(number, ()))
        contract = load(agreement.contract_text)
        found[number] = Standing(agreement, contract, under, own, _told(agreement, under))
    return found


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
