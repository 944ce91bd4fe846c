"""Programs generated within the language and near it: whatever is accepted ends in time, and decides alike.

Alike in this process, in other processes (hash seed, time zone, locale, flags), in a Python that shares no
code with this one, and in a third that walks the tree by itself and counts the steps. A program is made of
names that are in scope, mostly; `strange` parts come from the rest of the grammar of Python, which the
checker must refuse or, if it accepts them, understand as everybody else does.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import ContractRefused, load
from contracts.language import MOST_CALLS_DEEP, MOST_STEPS
from contracts.rules import text as published
from tests.contract_oracles import (
    OtherInterpreter,
    OtherProcess,
    Outcome,
    Reference,
    other_interpreter,
    other_process,
    outcome_of,
)

GOVERN = "def govern(act, terms, signatures, today):\n    return allow()\n"
TODAY = "2027-06-15"
MEMORY_BYTES = 65_536
"""Held while deciding, beside the inputs and the text, for which eight times their length is allowed."""
KEYS = ("a", "b", "roles", "status", "days", "fields")
TEXTS = ("a", "b", "tin", "exporter", "ACTIVE", "2027-01-01", "2027-02-30", "Ñandú", "")
FUZZED = settings(deadline=None, max_examples=400, suppress_health_check=list(HealthCheck))

STRANGE_EXPRESSIONS = (
    "{0}.a",
    "{0}.__class__.__base__",
    "({0} + {1})",
    "({0} * 9999999)",
    "(-{0})",
    "(9 ** 9 ** 9)",
    "(lambda: {0})",
    "(lambda v9: {0})({1})",
    'f"{{{0}}}"',
    'f"{{{0}!r:>99999}}"',
    '"{{0.__class__}}".format({0})',
    '("%99999s" % {0})',
    "(v0 := {0})",
    "[*{0}, *{1}]",
    "[{0}, {1}]",
    "[[{0}] for v9 in {1}]",
    "[v9 for v9 in {0} for v8 in {1}]",
    "[{0} for v9 in {1}]",
    "[v9 for v9 in {0} if [v8 for v8 in {1}]]",
    "[get(v9, {0}) for v9 in {1}]",
    "[v9[{0}] for v9 in {1}]",
    "(v9 for v9 in {0})",
    "{{v9 for v9 in {0}}}",
    "{{v9: v9 for v9 in {0}}}",
    "{{{0}: {1}}}",
    '{{"a": {0}}}',
    "{{**{0}}}",
    "{{{0}, {1}}}",
    "({0}, {1})",
    "({0},)[0]",
    "{0}[0:1]",
    "{0}[...]",
    "({0} if {1} else {0})",
    "({0} < {1} < {0})",
    "({0} is {1})",
    "({0} in 'abc')",
    "(await {0})",
    "(yield {0})",
    "(yield from {0})",
    "get({0}, name={1})",
    "get(*{0})",
    "get(**{0})",
    "share(v9 for v9 in {0})",
    "{0}({1})",
    "get({0})",
    "has_any({0}, [{1}, [{0}]])",
    "decide({0}, {1}, today)",
    "govern({0}, {1}, {0}, {1})",
    "eval({0})",
    "getattr({0}, {1})",
    '__import__("os")',
    "__builtins__",
    "_items_of({0})",
    "print",
    "1.5",
    "1e308",
    "1j",
    "0x1f",
    "1_000",
    "9007199254740992",
    "9007199254740991",
    "b'a'",
    "u'a'",
    "r'a'",
    "'a' 'b'",
    "'''a\nb'''",
    "...",
    "~{0}",
    "({0} or\n {1})",
    "{0}\\\n",
    "[" * 45 + "]" * 45,
    "not " * 45 + "{0}",
    "sorted(sorted)",
    "len",
)
STRANGE_STATEMENTS = (
    "while {0}:\n    v0 = {1}",
    "try:\n    v0 = {0}\nexcept:\n    v0 = {1}",
    "try:\n    v0 = {0}\nfinally:\n    v0 = {1}",
    "with {0}:\n    v0 = {1}",
    "def v7():\n    return {0}",
    "def f0(v7):\n    return {0}",
    "class v7:\n    v6 = {0}",
    "import os",
    "from os import system",
    "del {0}",
    "del v0",
    "global v0\nv0 = {0}",
    "nonlocal v0",
    "v0 += {0}",
    "v0: int = {0}",
    "v0: {0}",
    "v0, v1 = {0}",
    "v0 = v1 = {0}",
    "v0[0] = {0}",
    "record['a'] = {0}",
    "record = {0}",
    "today = {0}",
    "len = {0}",
    "decide = {0}",
    "_v = {0}",
    "é = {0}",
    "pass",
    "break",
    "continue",
    "{0}",
    "assert {0}",
    "raise {0}",
    "return",
    "match {0}:\n    case [v0, *_]:\n        v1 = {1}",
    "match = {0}\ntype = {1}\nv0 = [match, type]",
    "match = {0}\nv0 = match",
    "type = {0}\nv0 = type",
    "type v0 = {0}",
    "async for v5 in {0}:\n    v0 = v5",
    "for v5 in {0}:\n    v5 = {1}",
    "for v5, v4 in {0}:\n    v0 = v5",
    "for v5 in {0}:\n    v0 = v5\nelse:\n    v0 = {1}",
    "for v5 in {0}:\n    for v5 in {1}:\n        v0 = v5",
    "for record in {0}:\n    v0 = record",
    "for v5 in {0}: v0 = v5; v1 = v0",
    "v0 = {0}; v1 = {1}",
    "if {0}: v0 = {1}",
    "v0 = ({0} ==\n  {1}); v1 = v0",
    "'''a text\nthat stands alone'''",
    "# coding: utf-7\nv0 = {0}",
    "v0 = {0} # type: ignore",
)
STRANGE_HEADS = (
    "def {0}({1}, {1}):",
    "def {0}({1}=share):",
    "def {0}({1}=[]):",
    "def {0}(*{1}):",
    "def {0}(**{1}):",
    "def {0}({1}: 'os'):",
    "def {0}({1}) -> share:",
    "@share\ndef {0}({1}):",
    "async def {0}({1}):",
    "def {0}[T]({1}):",
    "def {0}({1}, /):",
    "def {0}(*, {1}):",
)


# Of each kind of value, how it is written; a hole is another value of the kind that it names.
WRITTEN: dict[str, tuple[str, ...]] = {
    "truth": (
        "({text} == {text})",
        "({any} != {any})",
        "({text} < {text})",
        "({number} >= {number})",
        "({text} in {name})",
        "({text} not in {name})",
        "({truth} and {truth})",
        "({any} or {truth})",
        "(not {any})",
        "has_any({list}, [{text}, {text}])",
        "has_all({list}, {list})",
        "({list} == {list})",
        "({list} <= {list})",
        "True",
    ),
    "text": ("get({dict}, {key}, {text})", "{name}[0]", '{name}["status"]', "{constant}", "{constant}"),
    "list": (
        "get({dict}, {key}, {list})",
        'get({dict}, "roles")',
        '{name}["roles"]',
        "sorted({list})",
        "{comprehension}",
        "{comprehension}",
        '["a", "tin"]',
        '["exporter", 1, [None, []]]',
        "[]",
    ),
    "number": ("len({list})", "len({text})", "days_between({text}, {text})", "0", "1", "30", "{name}[1]"),
    "dict": ("get({dict}, {key}, {dict})", '{name}["a"]', "{table}", "{table}", "{name}[0]"),
    "any": ("None", "withhold({text})", "need([{text}])", "{call}", "{call}", "{name}[{number}]"),
}
KINDS = tuple(WRITTEN)
HOLE = re.compile(r"\{(\w+)\}")


STRANGE_WORDS = (
    *"()[]{}:,;.=\\\"'#\n \t@*-+é\u017f\0",
    "",
    "  ",
    "not ",
    "share(",
    "if ",
    "in ",
    "[0]",
    ".a",
    "1",
)


@dataclass(slots=True)
class Names:
    """What a body may speak of: its values with their kinds, and the functions above it with theirs."""

    values: dict[str, str]
    functions: dict[str, list[str]] = field(default_factory=dict)
    loops: int = 0


@dataclass(frozen=True, slots=True)
class Writing:
    """A program being drawn; of a hundred parts so many are strange."""

    draw: st.DrawFn
    strange: int

    def is_strange(self) -> bool:
        return self.strange > 0 and self.number(0, 99) < self.strange

    def number(self, least: int, most: int) -> int:
        return self.draw(st.integers(least, most))

    def one_of(self, *choices: str) -> str:
        return choices[self.number(0, len(choices) - 1)]

    def program(self) -> str:
        functions: dict[str, list[str]] = {}
        written = []
        for index in range(self.number(0, 2)):
            name, kinds = f"f{index}", [self.one_of(*KINDS) for _ in range(self.number(1, 2))]
            parameters = {f"p{each}": kind for each, kind in enumerate(kinds)}
            head = f"def {name}({', '.join(parameters)}):"
            if self.is_strange():
                head = self.one_of(*STRANGE_HEADS).format(name, "p0")
            written.append(head + self.body(Names(parameters, dict(functions)), "any"))
            functions[name] = kinds
        own = {"record": "dict", "terms": "dict", "today": "text"}
        decides = self.body(Names(own, functions), "answer")
        parts = [*written, f"def decide(record, terms, today):{decides}"]
        if self.is_strange():
            parts.reverse()
        return "\n".join([*parts, GOVERN])

    def body(self, names: Names, gives: str) -> str:
        lines = [line for _ in range(self.number(0, 3)) for line in self.statement(names, 0, gives)]
        lines += [f"return {self.given(names, gives)}"]
        return "".join(f"\n    {line}" for line in lines)

    def given(self, names: Names, gives: str) -> str:
        if gives != "answer":
            return self.value(names, 0, gives)
        kind = self.number(0, 4)
        if kind == 4:
            return self.value(names, 0, "any")
        holes = ('share(["tin", "status"])', "share({list})", "share([{text}, {text}])", "withhold({text})")
        return self.filled(holes[kind], names, 1)

    def statement(self, names: Names, deep: int, gives: str) -> list[str]:
        if self.is_strange():
            template = self.one_of(*STRANGE_STATEMENTS)
            names.values["v0"] = "any"
            return template.format(self.value(names, 1, "any"), self.value(names, 1, "any")).split("\n")
        kind = self.one_of("assign", "assign", "if", "for", "return") if deep < 3 else "assign"
        if kind == "return":
            return [f"if {self.value(names, 1, 'truth')}:", f"    return {self.given(names, gives)}"]
        if kind == "if":
            words = ("if", "if else", "if elif", "if elif else")[self.number(0, 3)].split()
            return [line for word in words for line in self.branch(word, names, deep, gives)]
        if kind == "for":
            return self.loop(names, deep, gives)
        of = self.one_of(*KINDS)
        value, name = self.value(names, 0, of), f"v{self.number(0, 3)}"
        names.values[name] = of
        return [f"{name} = {value}"]

    def branch(self, word: str, names: Names, deep: int, gives: str) -> list[str]:
        head = f"{word} {self.value(names, 1, 'truth')}:" if word != "else" else "else:"
        return [head, *(f"    {line}" for line in self.statement(names, deep + 1, gives))]

    def loop(self, names: Names, deep: int, gives: str) -> list[str]:
        over, item = self.value(names, 1, "list"), self.item(names)
        names.values[item] = self.one_of("text", "any")
        inside = [f"    {line}" for line in self.statement(names, deep + 1, gives)]
        del names.values[item]
        return [f"for {item} in {over}:", *inside]

    def item(self, names: Names) -> str:
        names.loops += 1
        return f"i{names.loops}"

    def value(self, names: Names, deep: int, kind: str) -> str:
        """A value that is of this kind, mostly."""
        if self.is_strange():
            template = self.one_of(*STRANGE_EXPRESSIONS)
            inner = [self.value(names, deep + 1, "any") if deep < 3 else "record" for _ in range(2)]
            return template.format(*inner)
        if self.number(0, 19) == 19:
            kind = self.one_of(*KINDS)
        named = [name for name, of in names.values.items() if kind in (of, "any")]
        if named and (deep > 3 or self.number(0, 2) == 0):
            return self.one_of(*named)
        return self.filled(self.one_of(*WRITTEN[kind]), names, deep + 1)

    def filled(self, template: str, names: Names, deep: int) -> str:
        return HOLE.sub(lambda hole: self.hole(hole[1], names, deep), template)

    def hole(self, of: str, names: Names, deep: int) -> str:
        match of:
            case "constant":
                return json.dumps(self.one_of(*TEXTS), ensure_ascii=False)
            case "name":
                return self.one_of(*names.values)
            case "key":
                return json.dumps(self.one_of(*KEYS))
            case "table":
                return '{"a": [1, 2], "status": "ACTIVE", "roles": []}'
            case "comprehension":
                return self.comprehension(names, deep) if deep < 4 else "[]"
            case "call":
                return self.call(names, deep)
        return self.value(names, deep, of) if deep < 5 else self.one_of(*names.values)

    def call(self, names: Names, deep: int) -> str:
        if not names.functions:
            return "None"
        called = self.one_of(*names.functions)
        told = [self.value(names, deep, kind) for kind in names.functions[called]]
        return f"{called}({', '.join(told)})"

    def comprehension(self, names: Names, deep: int) -> str:
        over, item = self.value(names, deep, "list"), self.item(names)
        names.values[item] = self.one_of("text", "any")
        test = f" if {self.value(names, deep, 'truth')}" if self.number(0, 1) else ""
        del names.values[item]
        kept = self.one_of(item, item, f'get({item}, "a")', f'{item}["a"]', f"{item}[0]", '"a"')
        return f"[{kept} for {item} in {over}{test}]"


@st.composite
def programs(draw: st.DrawFn, strange: int) -> str:
    """A program of which so many parts in a hundred are from outside the language."""
    return Writing(draw, strange).program()


SINGLE = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(TEXTS)
JSON: st.SearchStrategy[Any] = st.recursive(
    SINGLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
LISTS = st.lists(st.sampled_from(TEXTS), max_size=4) | st.just(list(range(100))) | st.just(["a"] * 101)
RECORDS = st.fixed_dictionaries(
    {"status": st.sampled_from(TEXTS), "roles": LISTS}, optional=dict.fromkeys(("a", "b", "days"), JSON)
)


def is_told(refused: ContractRefused, text: str) -> bool:
    """Whether a refusal has a place within the text, a rule and what to write instead."""
    within = 1 <= refused.line <= text.count("\n") + 1 and refused.column >= 1
    return within and bool(refused.rule) and bool(refused.instead)


@dataclass(slots=True)
class Others:
    """Everybody who is asked beside `contracts` in this process."""

    processes: list[OtherProcess]
    interpreter: OtherInterpreter
    answers: Counter[str] = field(default_factory=Counter)

    def hold(self, text: str, record: Any, terms: Any) -> None:
        """Ask all about a text, if it is accepted."""
        try:
            contract = load(text)
        except ContractRefused as refused:
            self.answers["refused"] += 1
            assert is_told(refused, text)  # noqa: PT017 - most examples raise nothing
            return
        before = json.dumps([record, terms])
        answer = contract.decide(record, terms, TODAY)
        assert json.dumps([record, terms]) == before
        outcome = outcome_of(answer)
        self.answers[outcome.kind] += 1
        reference = Reference(text)
        assert reference.decide(record, terms, TODAY) == outcome
        assert reference.steps <= contract.steps["decide"] <= MOST_STEPS
        assert reference.deepest <= MOST_CALLS_DEEP
        allowed = MEMORY_BYTES + 8 * (len(before) + len(text))
        for process in self.processes:
            told, steps, peak = process.decide(text, record, terms, TODAY)
            assert (told, steps) == (answer, contract.steps)
            assert peak <= allowed
        assert self.interpreter.decide(text, record, terms, TODAY) == Outcome(outcome.kind, outcome.told)


@pytest.fixture(scope="module")
def others() -> Iterator[Others]:
    with ExitStack() as stack:
        processes = [
            stack.enter_context(other_process("1", "Pacific/Kiritimati", "C")),
            stack.enter_context(
                other_process("4242424242", "America/St_Johns", "tr_TR.UTF-8", "-O", "-X", "no_debug_ranges")
            ),
        ]
        yield Others(processes, stack.enter_context(other_interpreter()))


def test_programs_of_the_language_end_within_their_steps_and_decide_alike_everywhere(others: Others) -> None:
    others.answers.clear()

    @FUZZED
    @given(programs(0), RECORDS, RECORDS)
    def hold(text: str, record: Any, terms: Any) -> None:
        others.hold(text, record, terms)

    hold()
    # A generator whose programs are all refused, or all err at once, would show nothing.
    assert others.answers["refused"] < others.answers.total() / 4
    assert others.answers["share"] + others.answers["withhold"] > others.answers.total() / 8


@FUZZED
@given(programs(4), RECORDS, RECORDS)
def test_what_is_accepted_of_programs_near_the_language_decides_alike_everywhere(
    others: Others, text: str, record: Any, terms: Any
) -> None:
    others.hold(text, record, terms)


@FUZZED
@given(programs(0), st.data(), RECORDS, RECORDS)
def test_what_is_accepted_of_damaged_programs_decides_alike_everywhere(
    others: Others, text: str, data: st.DataObject, record: Any, terms: Any
) -> None:
    words = re.findall(r"\w+|\W", text)
    for _ in range(data.draw(st.integers(1, 2))):
        at, other = data.draw(st.integers(0, len(words) - 1)), data.draw(st.integers(0, len(words) - 1))
        instead = data.draw(st.sampled_from(STRANGE_WORDS) | st.just(words[other]) | st.just(words[other]))
        words[at : at + data.draw(st.integers(0, 2))] = [instead]
    others.hold("".join(words), record, terms)


@pytest.mark.parametrize("name", ["mra_v1", "master_data_v1"])
def test_the_published_contracts_decide_alike_everywhere(others: Others, name: str) -> None:
    from tests.unit.contracts.test_standard_contract import BR_RECORD, CASES, TRADER, terms_for

    under = "br_uy" if name == "mra_v1" else "br_uy_master_data"
    for record, changed, _ in CASES:
        for kind in (BR_RECORD, TRADER):
            others.hold(published(name), {**kind, **record}, terms_for("BR-UY", under, **changed))
