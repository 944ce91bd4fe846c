"""What an arrangement would let out, before anyone signs it, and how that differs from another one.

Decides as a node would, as if every direction were in operation, and changes nothing. What would newly
arrive from a partner cannot be known here: only the partner holds its records.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from contracts import Answer, Contract, ContractRefused
from node.agreements.deciding import decide
from node.agreements.document import Agreement, Party, contract_of, direction_terms, is_on_demand
from node.agreements.rules import Json
from node.agreements.terms import parse_terms
from node.errors import Malformed, problem

IN_OPERATION = "IN_OPERATION"
NO_DIRECTION = "no such direction"
NO_AGREEMENT = "no agreement"
LEAVES, STOPS, CHANGES = "leaves", "stops", "changes"


def proposed(terms: object, contract_text: str) -> Agreement:
    """Terms and a contract as an agreement that nobody has drafted; its parties have no names and keys.

    Raises `Malformed` with every problem of the terms, or with where and why the contract is refused.
    """
    try:
        contract = contract_of(contract_text)
    except ContractRefused as refused:
        told = [problem("contract.text", f"line {refused.line}", str(refused))]
        do = "correct it until `aeo contract check` accepts it"
        raise Malformed("the contract was refused", problems=told, do=do) from None
    directions = terms.get("directions") if isinstance(terms, dict) else None
    if not isinstance(directions, dict) or not all(isinstance(name, str) for name in directions):
        rule = "must be an object with at least one direction"
        raise Malformed("the terms were refused", problems=[problem("terms.directions", directions, rule)])
    countries = sorted({country for name in directions for country in name.split("-")})
    parties = tuple(Party(country, "", "", {}) for country in countries)
    return Agreement("", parties, parse_terms(terms, countries), contract_text, contract.sha256, "", b"")


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of an arrangement, ready to decide: its contract, and its terms in one state."""

    contract: Contract
    terms: Json

    def answer(self, fields: Json, today: str) -> Answer:
        """What would be shared of a record on a day."""
        return decide(self.contract, fields, self.terms, today)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What an arrangement, or none, answers in each direction of one issuer: `{partner: Direction}`."""

    directions: Mapping[str, Direction]
    nothing: str

    def answer(self, partner: str, fields: Json, today: str) -> Answer:
        """What would be shared with a partner; a direction that is not agreed withholds."""
        direction = self.directions.get(partner)
        return direction.answer(fields, today) if direction else Answer(False, (), self.nothing)

    def is_on_demand(self, partner: str) -> bool:
        """Whether a record leaves for this partner only when that asks for it."""
        return partner in self.directions and is_on_demand(self.directions[partner].terms)

    @property
    def steps(self) -> int:
        """The most steps that the contracts take for one record."""
        return sum(each.contract.steps["decide"] for each in self.directions.values())


def outlook(agreement: Agreement | None, issuer: str, state: str = IN_OPERATION) -> Outlook:
    """What an agreement lets out of one country, as if all its directions were in this state."""
    if agreement is None:
        return Outlook({}, NO_AGREEMENT)
    contract = contract_of(agreement.contract_text)
    partners = [name.partition("-")[2] for name in agreement.terms["directions"] if name[:3] == f"{issuer}-"]
    found = {to: Direction(contract, direction_terms(agreement, issuer, to, state)) for to in partners}
    return Outlook(found, NO_DIRECTION)


@dataclass(frozen=True, slots=True)
class Change:
    """How two answers about one record differ: what becomes of it, why, and which fields come and go."""

    what: str
    reason: str = ""
    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def change(old: Answer, new: Answer, fields: Json) -> Change | None:
    """What a partner would see otherwise of a record; None if nothing. Only fields that it has count."""
    before, after = held(fields, old.fields), held(fields, new.fields)
    if old.shared and new.shared:
        gained, lost = _without(after, before), _without(before, after)
        return Change(CHANGES, "", gained, lost) if gained or lost else None
    if new.shared:
        return Change(LEAVES, old.reason, after)
    return Change(STOPS, new.reason, (), before) if old.shared else None


def held(fields: Json, paths: Iterable[str]) -> tuple[str, ...]:
    """The field paths for which a record has something to show."""
    schemes = {f"identifiers.{each['scheme']}" for each in fields.get("identifiers", ())}
    return tuple(path for path in paths if path in fields or path in schemes)


def _without(some: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each for each in some if each not in others)


@dataclass(slots=True)
class Count:
    """How many records of one direction: by what becomes of them, and why."""

    leaves: dict[str, int] = field(default_factory=dict)
    stops: dict[str, int] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    shared_alike: int = 0
    withheld: dict[str, int] = field(default_factory=dict)

    def add(self, new: Answer, found: Change | None) -> None:
        """Count one more record."""
        if found is not None:
            counted: dict[str, int] = getattr(self, found.what)
            _more(counted, found.reason or _fields(found))
        elif new.shared:
            self.shared_alike += 1
        else:
            _more(self.withheld, new.reason)


def _more(counts: dict[str, int], of: str) -> None:
    counts[of] = counts.get(of, 0) + 1


def _fields(found: Change) -> str:
    """The fields that come and go, as one line."""
    return " ".join([*(f"+{each}" for each in found.gained), *(f"-{each}" for each in found.lost)])


def clauses(old: Agreement | None, new: Agreement) -> list[str]:
    """How the terms and the contract differ, a sentence for each clause; none: they do not."""
    if old is None:
        return ["there is no agreement to compare with: every clause is new"]
    told = list(_differences("", old.terms, new.terms))
    if old.contract_sha256 != new.contract_sha256:
        told.append(f"contract: the text with SHA-256 {old.contract_sha256} becomes {new.contract_sha256}")
    return told


def _differences(where: str, old: object, new: object) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys([*old, *new]):
            yield from _member(f"{where}.{name}" if where else name, old, new, name)
    elif isinstance(old, list) and isinstance(new, list) and old != new:
        added, dropped = [each for each in new if each not in old], [each for each in old if each not in new]
        words = [f"adds {_words(added)}"] if added else []
        words += [f"drops {_words(dropped)}"] if dropped else []
        yield f"{where}: {' and '.join(words) or 'is in another order'}"
    elif old != new:
        yield f"{where}: {_words(old)} becomes {_words(new)}"


def _member(where: str, old: Json, new: Json, name: str) -> Iterator[str]:
    if name not in old:
        yield f"{where}: is new: {_words(new[name])}"
    elif name not in new:
        yield f"{where}: is left out; it was {_words(old[name])}"
    else:
        yield from _differences(where, old[name], new[name])


def _words(value: object) -> str:
    """A clause as a person reads it."""
    if value is None:
        return "not limited"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_words(each)}" for name, each in value.items())
    return str(value)
