"""Two worlds that differ only in what the partner may not see: what is done in each, step by step.

A `Pair` is a list of steps, each with what is done at Brazil's node in the one world and in the other. Both
do the same at the same time as far as Uruguay may see it. What is public must be the same too, or the two
would differ by right: each step writes as many entries of the same types into Brazil's ledger in both
worlds, and a list that is shown by element has its elements within one class.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st
from stdnum.br import cnpj

from contracts import terms
from tests.service.world import LEIS, operator, withdrawn

Fields = dict[str, Any]
T = TypeVar("T")

KNOWN = (1, 2, 3)
"""Operators that Uruguay knows when a pair begins."""
FIRST_NEW, FIRST_UNSEEN = 10, 1_000
HELD = 1
"""The one that the law may forbid to erase, in one world only: so it is erased in none."""
FOREIGN_DRAFTS = 6
"""Drafts with a third administration that nobody has signed when a pair begins."""
SIDES = (0, 1)
TODAY = "2026-11-22"


class Choose(Protocol):
    """Draws: for generated pairs Hypothesis, for the written one a plan."""

    def one(self, options: Sequence[T]) -> T:
        """One of these."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that is done at a node; `name` is a method of `partner.Run`."""

    name: str
    says: Mapping[str, Any]

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.says.items())
        return f"{self.name}({told})"


NOTHING = Act("nothing", {})


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what is done in each of the two worlds."""

    what: str
    acts: tuple[Act, Act]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two worlds, and the numbers and names to ask about in both when all is done."""

    steps: tuple[Step, ...]
    numbers: tuple[int, ...]
    names: tuple[str, ...]


def with_argentina() -> Fields:
    """Terms with a third administration, under which it sees more than Uruguay."""
    clauses: Any = deepcopy(terms.terms("br_uy"))
    outward, inward = clauses["directions"].values()
    outward["fields"] = [*outward["fields"], "roles", "trade_names", "mra_contact"]
    inward |= {"accept_programmes": ["AR-OEA"], "accept_types": ["OEA"], "identifier_scheme": "CUIT"}
    inward["fields"] = [path.replace("RUT", "CUIT") for path in inward["fields"]]
    return dict(clauses) | {"name": "MRA-BR-AR", "directions": {"BR-AR": outward, "AR-BR": inward}}


# What a record has


def number_of(number: int) -> str:
    """The CNPJ of an invented operator."""
    root = f"{98_000_000 + number:08d}0001"
    return root + str(cnpj.calc_check_digits(root))


def tin_of(number: int) -> str:
    """The TIN of an invented operator."""
    return f"BR{operator(number)['identifiers'][0]['value'] if number in KNOWN else number_of(number)}"


def record(number: int, seen: Fields, hidden: Fields) -> Fields:
    """An operator: what Uruguay may see of it, and what not."""
    base = operator(number if number in KNOWN else 1)
    own = base["tin"][2:] if number in KNOWN else number_of(number)
    told = base | {"tin": f"BR{own}", "authorisation_number": f"ADE {number}/2025"} | seen
    for name in HIDDEN:
        told.pop(name, None)
    others = [{"scheme": "LEI", "value": LEIS[at]} for at in hidden.get("identifiers", ())]
    told["identifiers"] = [*others[:1], {"scheme": "CNPJ", "value": own}, *others[1:]]
    hidden = {name: value for name, value in hidden.items() if name != "identifiers" and value is not None}
    return told | hidden


def _site(number: int) -> Fields:
    return {"name": f"Armazém {number}", "address": {"line": "R", "city": "Santos", "country": "BR"}}


HIDDEN: Mapping[str, Sequence[Any]] = {
    "trade_names": (None, ["Marca"], ["Marca oculta de nome bastante comprido", "Outra", "Terceira"]),
    "roles": (None, ["importer"], ["exporter", "carrier", "warehouse", "broker", "terminal"]),
    "mra_contact": (None, "a@b.example", "responsavel.pela.certificacao@empresa-muito-longa.example"),
    "sites": (None, [_site(1)], [_site(each) for each in range(6)]),
    "identifiers": ((), (1,), (2, 3), (4, 5, 6)),
    "legal_name_latin": (None, "X", "A very long name written in Latin letters SA"),
    "issuing_authority": ({"code": "RFB", "name": "Receita Federal"}, {"code": "ALF", "name": "Alfândega"}),
    "next_revalidation": (None, "2028-01-10"),
    "effective_from": (None, "2025-02-01"),
    "source_system": (None, "legado", "sistema nacional de operadores certificados"),
    "source_updated_at": (None, "2026-11-01T00:00:00.000Z"),
    "successor": (None, "urn:aeo:br:sucessora"),
    "status_reason_class": (None, "NON_COMPLIANCE", "UNDER_REVIEW"),
    "mra_consent": (
        {"given": True, "scope": "GENERAL"},
        {"given": True, "scope": "GENERAL", "from": "2025-03-01"},
        {"given": True, "scope": ["MRA-BR-UY"]},
        {"given": True, "scope": ["MRA-BR-AR", "MRA-BR-PY", "MRA-BR-UY"], "from": "2026-01-01"},
    ),
}
"""What Uruguay may not see of an operator that it knows."""

CAUSES: tuple[Fields, ...] = (
    {"mra_consent": withdrawn(TODAY)},
    {"mra_consent": {"given": False, "scope": "GENERAL"}},
    {"mra_consent": {"given": True, "scope": ["MRA-BR-AR"]}},
    {"national_types": ["OEA-C"]},
    {"scope": ["CUSTOMS_COMPLIANCE"]},
    {"programme": "BR-OUTRO"},
    {"status": "WITHDRAWN", "status_reason_class": "VOLUNTARY"},
    {"status": "WITHDRAWN", "status_reason_class": "MERGER", "successor": "urn:aeo:br:sucessora"},
)
"""Why a record leaves Uruguay's view, or never comes into it; all can be taken back."""
UNSEEN: tuple[Fields, ...] = (*CAUSES, {"valid_to": "2026-01-31"}, {"status": "ANNULLED"}, {"kind": "trader"})
NAMES = ("Ipê", "Jacarandá Logística Internacional", "Sucupira", "Aroeira Comércio Exterior e Navegação")
OFFICERS = ("ana", "fiscal de plantão da delegacia regional")
REASONS = ("", "denúncia", "auditoria posterior ao despacho, processo em sigilo")
LISTS = ((True, False, True, False, False), (False, True), (True, False))
"""Which rows of a list Uruguay is told of."""
UNHEARD = ("enter", "enter", "amend", "enter", "conceal", "amend")
ABROAD = ("suspend_abroad", "decline_abroad", "decide_here", "leave_abroad")
ONCE = ("suspend_abroad", "leave_abroad")
QUIET = ("read", "nothing", "new_token", "hold", "incident", "nothing", "new_draft", "refused")
QUIET += ("sign_abroad", "nothing", "read", "report_abroad", "acknowledge_abroad", "backup")
QUIET += ("amend_abroad", "nothing")
READS = ("{tin}?purpose=clearance&reference=26BR0000123", "{tin}/history", "{tin}/as-of", "{tin}/evidence")
READS += ("{tin}/consents", "{tin}/disclosures")
TEXTS = ("o lacre foi rompido", "a carga não confere com o declarado; ver o processo da delegacia")
SCOPES = ((), ("MRA-BR-UY",), ("MRA-BR-AR", "MRA-BR-UY"))
"""To what an operator may consent so that Uruguay sees it; none named: to everything."""
DRAFTS = tuple(range(FOREIGN_DRAFTS))
EITHER = (True, False)
TRADER = ("kind", "country", "tin", "identifiers", "legal_name", "status", "status_since", "effective_at")


@dataclass
class Making:
    """A pair that is being made: what Uruguay sees in both worlds, and what there is besides in each."""

    choose: Choose
    steps: list[Step] = field(default_factory=list)
    shown: dict[int, Fields] = field(default_factory=lambda: {number: {} for number in KNOWN})
    gone: dict[int, Fields] = field(default_factory=dict)
    hidden: tuple[dict[int, Fields], dict[int, Fields]] = field(default_factory=lambda: ({}, {}))
    unseen: tuple[dict[int, Fields], dict[int, Fields]] = field(default_factory=lambda: ({}, {}))
    drafts: list[int] = field(default_factory=lambda: [0, 0])
    abroad_once: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    is_decided_here: list[bool] = field(default_factory=lambda: [False, False])
    suspended_here: set[int] = field(default_factory=set)
    withdrew: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))
    is_paused: bool = False
    swaps: bool = True
    """Whether the two worlds may change what is hidden of different operators: not where all are shown anew
    later, for the partner then sees which version it is shown."""

    def made(self, kinds: Sequence[str]) -> Pair:
        """The pair, once each of these was added, where it can be."""
        for kind in kinds:
            getattr(self, kind)()
        unseen = [number for known in self.unseen for number in [*known][-2:]]
        numbers = dict.fromkeys((*self.shown, *self.gone, *unseen, FIRST_UNSEEN - 1))
        return Pair(tuple(self.steps), tuple(numbers), NAMES)

    # What the partner sees

    def admit(self) -> None:
        """A new operator that Uruguay is told of."""
        number = self._new()
        self.shown[number] = {"legal_name": f"{self.choose.one(NAMES)} {number} S/A"}
        self._record("admit", number)

    def rename(self) -> None:
        """A change that Uruguay sees; what is hidden may change with it."""
        for number in self._any(self.shown):
            seen = self.shown[number]
            is_active = seen.get("status", "ACTIVE") == "ACTIVE"
            other = {"status": "SUSPENDED" if is_active else "ACTIVE"}
            name = {"legal_name": f"Nome {len(self.steps)}"}
            self.shown[number] = seen | (name if self.choose.one(EITHER) else other)
            self._record("rename", number)

    def leave(self) -> None:
        """An operator leaves Uruguay's view, in each world for a cause of its own."""
        for number in self._any(self.shown):
            seen = self.gone[number] = self.shown.pop(number)
            self._add("leave", *(self._leaving(side, number, seen) for side in SIDES))

    def come_back(self) -> None:
        """It comes back, the same in both worlds."""
        for number in self._any(self.gone):
            seen = self.gone.pop(number)
            self.shown[number] = seen | {"status": "ACTIVE"}
            is_changed = seen.get("status", "ACTIVE") != "ACTIVE"
            self._add("come_back", *(self._returning(side, number, is_changed) for side in SIDES))

    def erase(self) -> None:
        """An operator that Uruguay was told of is erased, in its view or not."""
        known = self.shown | self.gone
        for number in self._any({each: seen for each, seen in known.items() if each != HELD}):
            self.shown.pop(number, None)
            self.gone.pop(number, None)
            self._add("erase", *(self._erasing(number) for _ in SIDES))

    def report(self) -> None:
        """Uruguay reports something of an operator; it is acknowledged in the same words."""
        for number in self._any(self.shown):
            text = f"o lacre {len(self.steps)} foi rompido"
            acts = (Act("report", {"number": number, "text": text, "by": self._by()}) for _ in SIDES)
            self._add("report", *acts)

    def ask(self) -> None:
        """Uruguay asks about one operator: one that it may be told of, one of either world, or of none."""
        numbers = [*self.shown, *self.gone, *self.unseen[0], *self.unseen[1], FIRST_UNSEEN - 1]
        asked = ("TIN", tin_of(self.choose.one(numbers))), ("LEI", LEIS[self.choose.one([*range(1, 7)])])
        scheme, identifier = self.choose.one(asked)
        says = {"identifier": identifier, "scheme": self.choose.one(("", scheme))}
        self._add("ask", *(Act("fetch", says) for _ in SIDES))

    def suspend_here(self) -> None:
        """Uruguay stops treating an operator as recognised."""
        for number in self._any({each: seen for each, seen in self.shown.items() if self._may_decide(each)}):
            self.suspended_here.add(number)
            self._add("suspend_here", *(Act("suspend_here", {"number": number}) for _ in SIDES))

    def _may_decide(self, number: int) -> bool:
        return number not in self.suspended_here

    def bring_list(self) -> None:
        """A list with operators that Uruguay is told of, among others."""
        rows: tuple[list[Fields], list[Fields]] = ([], [])
        for is_shown in self.choose.one(LISTS):
            number = self._new()
            if is_shown:
                self.shown[number] = {"legal_name": f"Da lista {number}"}
            for side in SIDES:
                told = self._full(side, number, self.shown[number]) if is_shown else self._withheld(side)
                rows[side].append(told)
        acts = (Act("import_list", {"rows": rows[side]} | self._author()) for side in SIDES)
        self._add("bring_list", *acts)

    def day(self) -> None:
        """A day passes."""
        self._add("day", *(Act("days_pass", {}) for _ in SIDES))

    def pause(self) -> None:
        """Brazil suspends the direction, or resumes it with Uruguay: every record is decided again."""
        if self.swaps and not self.is_paused:
            return
        name = "resume" if self.is_paused else "suspend"
        self.is_paused = not self.is_paused
        self._add("pause", *(Act(name, {}) for _ in SIDES))

    def amend(self) -> None:
        """The agreement with Uruguay is replaced: all that is shown is shown anew, under the new one."""
        if not (self.swaps or self.is_paused):
            self._add("amend", *(Act("amend", {}) for _ in SIDES))

    def let_swap(self) -> None:
        """From here on the worlds may change what is hidden of different operators."""
        self.swaps = not self.is_paused

    # What it does not see

    def conceal(self) -> None:
        """What is hidden of an operator changes."""
        for number in self._any(self.shown):
            if self.swaps and self.choose.one(EITHER):
                self._add(
                    "conceal", *(self._changing(side, self.choose.one([*self.shown])) for side in SIDES)
                )
            else:
                self._add("conceal", *(self._changing(side, number) for side in SIDES))

    def elsewhere(self) -> None:
        """A record is entered or changed that Uruguay never hears of."""
        self._add("elsewhere", *(self._unheard(side) for side in SIDES))

    def erase_elsewhere(self) -> None:
        """A record is erased that Uruguay never heard of."""
        if all(self.unseen):
            acts = []
            for side in SIDES:
                number = self.choose.one([*self.unseen[side]])
                del self.unseen[side][number]
                acts.append(self._erasing(number))
            self._add("erase_elsewhere", *acts)

    def abroad(self) -> None:
        """Brazil signs something with a third administration."""
        if max(self.drafts) < FOREIGN_DRAFTS:
            self._add("abroad", *(self._abroad(side) for side in SIDES))

    def quietly(self) -> None:
        """Something that writes no entry, in one world or in both, and not the same."""
        self._add("quietly", *(self._quiet(side) for side in SIDES))

    def _add(self, what: str, one: Act, other: Act) -> None:
        self.steps.append(Step(what, (one, other)))

    def _record(self, what: str, number: int) -> None:
        """A version of an operator that is shown, with what is hidden of it drawn anew for each world."""
        self._add(what, *(self._anew(side, number) for side in SIDES))

    def _anew(self, side: int, number: int) -> Act:
        self.hidden[side][number] = self._drawn()
        return self._recording(side, number, self.shown[number])

    def _recording(self, side: int, number: int, seen: Fields) -> Act:
        return self._entering(self._full(side, number, seen))

    def _entering(self, fields: Fields) -> Act:
        key = f"key-{len(self.steps)}" if self.choose.one(EITHER) else None
        return Act("record", {"fields": fields, "key": key} | self._author())

    def _full(self, side: int, number: int, seen: Fields) -> Fields:
        hidden = self.hidden[side]
        if number not in hidden:
            hidden[number] = self._drawn()
        return record(number, seen, hidden[number])

    def _of(self, side: int, number: int, seen: Fields, cause: Fields) -> Act:
        """The act by which an operator has a cause to be out of view."""
        return self._entering(self._full(side, number, seen) | cause)

    def _leaving(self, side: int, number: int, seen: Fields) -> Act:
        cause = self.choose.one(CAUSES)
        if cause == CAUSES[0] and self.choose.one(EITHER):
            self.withdrew[side].add(number)
            return self._consenting(number, False, ())
        return self._of(side, number, seen, cause)

    def _returning(self, side: int, number: int, is_changed: bool) -> Act:
        """By a consent, where the withdrawal of one was all that was against it; else by a new version."""
        is_consent = number in self.withdrew[side] and not is_changed
        self.withdrew[side].discard(number)
        if is_consent:
            return self._consenting(number, True, self.choose.one(SCOPES))
        return self._anew(side, number)

    def _consenting(self, number: int, given: bool, scope: Sequence[str]) -> Act:
        said = f"{self.choose.one(TEXTS)} {len(self.steps)}"
        return Act(
            "consent", {"number": number, "given": given, "scope": scope, "said": said, "by": self._by()}
        )

    def _changing(self, side: int, number: int) -> Act:
        old = self.hidden[side].get(number, {})
        if old and self.choose.one(EITHER):
            return self._consenting(number, True, self.choose.one(SCOPES))
        new = self._drawn()
        new["mra_contact"] = f"{len(self.steps)}{new.get('mra_contact') or '@c.example'}"
        assert new != old
        self.hidden[side][number] = new
        return self._recording(side, number, self.shown[number])

    def _unheard(self, side: int) -> Act:
        known = self.unseen[side]
        kind = self.choose.one(UNHEARD)
        if kind == "conceal" and self.swaps and self.shown:
            return self._changing(side, self.choose.one([*self.shown]))
        if kind == "amend" and known:
            old = self.choose.one([*known])
            known[old] = known[old] | {"legal_name": f"{self.choose.one(NAMES)} {len(self.steps)}"}
            return self._entering(known[old])
        return self._entering(self._withheld(side))

    def _withheld(self, side: int) -> Fields:
        number = FIRST_UNSEEN * (side + 1) + len(self.steps) * 8 + len(self.unseen[side])
        cause = self.choose.one(UNSEEN)
        fields = record(number, {"legal_name": f"{self.choose.one(NAMES)} {number}"}, self._drawn()) | cause
        if "kind" in fields:
            fields = {name: fields[name] for name in TRADER}
        self.unseen[side][number] = fields
        return fields

    def _erasing(self, number: int) -> Act:
        return Act(
            "erase", {"number": number, "reference": self.choose.one(REASONS) or "caso 1", "by": self._by()}
        )

    def _abroad(self, side: int) -> Act:
        kind, once = self.choose.one(ABROAD), self.abroad_once[side]
        if kind == "decide_here":
            self.is_decided_here[side] = not self.is_decided_here[side]
            says = {"is_suspended": self.is_decided_here[side], "reason": self.choose.one(TEXTS)}
            return Act(kind, says | {"by": self._by()})
        if kind in ONCE and kind not in once:
            once.add(kind)
            return Act(kind, {"reason": self.choose.one(REASONS)})
        self.drafts[side] += 1
        return Act("decline_abroad", {"draft": self.drafts[side] - 1, "reason": self.choose.one(REASONS)})

    def _quiet(self, side: int) -> Act:
        number = self.choose.one([*self.shown, *self.unseen[side]] or [1])
        tin = tin_of(number)
        says: Mapping[str, Callable[[], Fields]] = {
            "nothing": dict,
            "read": lambda: {"path": f"/v1/operators/{self.choose.one(READS).format(tin=tin)}"},
            "hold": lambda: {"number": HELD, "reason": self.choose.one(REASONS) or "ordem judicial"},
            "new_token": lambda: {"label": self._by()},
            "new_draft": lambda: {"title": self.choose.one(NAMES)},
            "amend_abroad": lambda: {"title": self.choose.one(NAMES)},
            "report_abroad": lambda: {"text": self.choose.one(TEXTS), "by": self._by()},
            "acknowledge_abroad": lambda: {
                "report": self.choose.one(KNOWN),
                "text": self.choose.one(TEXTS),
                "by": self._by(),
            },
            "backup": dict,
            "sign_abroad": lambda: {"draft": self.choose.one(DRAFTS)},
            "incident": lambda: {"why": self.choose.one(NAMES)},
            "refused": lambda: {"number": number},
        }
        name = self.choose.one(QUIET)
        return Act(name, says[name]())

    def _author(self) -> Fields:
        return {"by": self._by(), "reason": self.choose.one(REASONS)}

    def _by(self) -> str:
        return self.choose.one(OFFICERS)

    def _drawn(self) -> Fields:
        return {name: self.choose.one(options) for name, options in HIDDEN.items()}

    def _new(self) -> int:
        return FIRST_NEW + len(self.steps) * 8 + len(self.shown)

    def _any(self, numbers: Mapping[int, Fields]) -> list[int]:
        """One of these; none where there is none, or where nothing is shown for now."""
        return [self.choose.one([*numbers])] if numbers and not self.is_paused else []


SEEN = ("admit", "rename", "leave", "come_back", "erase", "bring_list", "day", "pause")
SEEN += ("report", "suspend_here", "amend", "ask")
HIDDEN_KINDS = ("conceal", "elsewhere", "erase_elsewhere", "abroad", "quietly")


class Drawing:
    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw

    def one(self, options: Sequence[T]) -> T:
        """One of these, drawn by Hypothesis."""
        found: T = options[self._draw(st.integers(0, len(options) - 1))]
        return found


class Planned:
    """Takes the options of a table in turn, so that the worlds differ and all come; others by chance."""

    def __init__(self) -> None:
        self._random, self._taken = Random(5), Counter[int]()

    def one(self, options: Sequence[T]) -> T:
        """One of these."""
        if isinstance(options, list):
            return self._random.choice(options)
        self._taken[id(options)] += 1
        return options[(self._taken[id(options)] - 1) % len(options)]


@st.composite
def pairs(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Pair:
    """Generated pairs."""
    kinds = draw(st.lists(st.sampled_from(SEEN + HIDDEN_KINDS), min_size=2, max_size=8))
    return Making(Drawing(draw), swaps=draw(st.booleans())).made(kinds)


PLAN = (
    "quietly admit elsewhere quietly conceal pause elsewhere pause bring_list leave let_swap conceal abroad"
)
PLAN += " quietly rename elsewhere report come_back leave erase_elsewhere quietly day erase quietly abroad"
PLAN += " quietly come_back conceal suspend_here quietly quietly abroad elsewhere admit leave rename report"


def planned() -> Pair:
    """A pair with every kind of step in it."""
    return Making(Planned(), swaps=False).made(PLAN.split())


def replaced() -> Pair:
    """The agreement with Uruguay is replaced, among what Uruguay does not see."""
    plan = "admit conceal elsewhere leave abroad amend conceal rename report elsewhere come_back pause pause"
    return Making(Planned(), swaps=False).made([*plan.split(), "erase"])


def asking() -> Pair:
    """Uruguay asks about operators that are there in one world only, or hidden in different ways."""
    plan = "ask elsewhere ask ask admit ask conceal ask conceal leave ask ask elsewhere ask come_back ask"
    made = Making(Planned(), swaps=False)
    made.made([*plan.split(), "conceal", "erase"])
    for number in [*made.shown, *made.gone, *made.unseen[0], *made.unseen[1], FIRST_UNSEEN - 1]:
        made._add("ask", *(Act("fetch", {"identifier": tin_of(number), "scheme": ""}) for _ in SIDES))
    for lei in LEIS[1:]:
        made._add("ask", *(Act("fetch", {"identifier": lei, "scheme": "LEI"}) for _ in SIDES))
    return made.made(["conceal", "leave", "elsewhere", "ask", "erase_elsewhere", "day", "rename", "ask"])


def leaving() -> Pair:
    """One operator leaves the view and comes back again and again: for one cause, and for each other one."""
    made = Making(Planned())
    for cause in CAUSES[1:]:
        acts = (made._of(side, HELD, {}, each) for side, each in enumerate((CAUSES[0], cause)))
        made._add("leave", *acts)
        made._record("come_back", HELD)
    return made.made([])


def put_back() -> Pair:
    """Brazil's store turns out to be an old one: in each world it lacks entries of another channel."""
    acts = (Act("put_back", {"draft": draft, "ahead": 10 + draft}) for draft in (0, 1))
    return Pair((Step("put back", (*acts,)),), (*KNOWN, FIRST_UNSEEN - 1), NAMES)
