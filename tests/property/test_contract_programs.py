"""Programs drawn from the grammar are accepted, end quickly, and answer the same again."""

import ast
import copy
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from contracts import ContractRefused, check, load
from contracts.functions import Misuse, days_between, get, has_all, has_any, in_order
from contracts.rules import text as published

NAMES = ("record", "terms", "today")
ATOMS = st.sampled_from(
    [*NAMES, '"tin"', '"a"', "1", "0", "True", "None", "[]", '["tin", "a"]', '{"a": [1]}']
)


def _compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(inner, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda e: f"(not {e})"),
        pair.map(lambda t: f"get({t[0]}, {t[1]})"),
        pair.map(lambda t: f"get(record, {t[0]})[{t[1]}]"),
        pair.map(lambda t: f"has_any({t[0]}, [{t[1]}, today])"),
        pair.map(lambda t: f"has_all({t[0]}, {t[1]})"),
        pair.map(lambda t: f"days_between({t[0]}, {t[1]})"),
        inner.map(lambda e: f"len({e})"),
        inner.map(lambda e: f"sorted({e})"),
        inner.map(lambda e: f"share([{e}])"),
        inner.map(lambda e: f"withhold({e})"),
        pair.map(lambda t: f"[item for item in get(record, {t[0]!s}) if {t[1]}]"),
    )


EXPRESSIONS = st.recursive(ATOMS, _compound, max_leaves=6)


@st.composite
def statements(draw: st.DrawFn, depth: int = 0) -> list[str]:
    kind = draw(st.sampled_from(["return", "assign", "if", "for"] if depth < 2 else ["return", "assign"]))
    value = draw(EXPRESSIONS)
    if kind == "return":
        return [f"return {value}"]
    if kind == "assign":
        return [f"v{draw(st.integers(0, 3))} = {value}"]
    inside = [f"    {line}" for line in draw(statements(depth + 1))]
    if kind == "if":
        return [f"if {value}:", *inside]
    return [f"for x{depth} in {value}:", *inside]


def _program(blocks: list[list[str]]) -> str:
    lines = [f"    {line}" for block in blocks for line in block] or ["    return None"]
    return "\n".join(
        [
            "def decide(record, terms, today):",
            *lines,
            "def govern(act, terms, signatures, today):",
            "    return allow()",
        ]
    )


PROGRAMS = st.lists(statements(), min_size=1, max_size=5).map(_program)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["a", "tin", "2026-01-01", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "tin", "b"]), inner),
    max_leaves=12,
)


def refusal(text: str) -> ContractRefused | None:
    try:
        check(text)
    except ContractRefused as refused:
        return refused
    return None


@settings(deadline=None, max_examples=150)
@given(PROGRAMS, JSON, JSON)
def test_a_program_of_the_language_ends_and_answers_the_same_again(
    text: str, record: Any, terms: Any
) -> None:
    assume(refusal(text) is None)  # the grammar may nest a comprehension whose item has the same name
    before = copy.deepcopy((record, terms))
    contract = load(text)
    answer = contract.decide(record, terms, "2026-01-01")
    assert answer == load(text).decide(*copy.deepcopy(before), "2026-01-01")
    assert answer.shared == bool(answer.fields)
    assert answer.shared or answer.reason
    assert (record, terms) == before


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=200))
def test_any_text_is_accepted_or_refused_and_nothing_else(text: str) -> None:
    refused = refusal(text)
    assert refused is None or (refused.line >= 1 and refused.rule and refused.instead)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_character_changed_in_the_published_text_never_escapes(data: st.DataObject) -> None:
    text = published()
    position = data.draw(st.integers(0, len(text) - 1))
    written = data.draw(st.sampled_from(list('().,:[]{}"*=+-_ \n\\0a#@!\u00e9')))
    changed = text[:position] + written + text[position + 1 :]
    try:
        answer = load(changed).decide({}, {}, "2026-01-01")
    except ContractRefused:
        return
    assert not answer.shared


EXPRESSION_KINDS = [
    "lambda: 1",
    "record.x",
    "1 + 1",
    "(yield)",
    "f'{1}'",
    "{1}",
    "(1, 2)",
    "1.5",
    "b''",
    "-1",
]


@settings(deadline=None, max_examples=150)
@given(PROGRAMS, st.sampled_from(EXPRESSION_KINDS), st.data())
def test_one_foreign_expression_anywhere_is_refused(text: str, foreign: str, data: st.DataObject) -> None:
    tree = ast.parse(text)
    places = [node for node in ast.walk(tree) if isinstance(node, ast.Return | ast.Assign)]
    place = data.draw(st.sampled_from(places))
    place.value = ast.parse(foreign, mode="eval").body
    assert refusal(ast.unparse(tree)) is not None


LISTS = st.lists(st.sampled_from(["a", "b", "c"]))


@settings(deadline=None, max_examples=100)
@given(LISTS, LISTS)
def test_the_list_functions_mean_what_sets_mean(items: list[str], wanted: list[str]) -> None:
    assert has_any(items, wanted) == bool(set(items) & set(wanted))
    assert has_all(items, wanted) == (set(wanted) <= set(items))
    assert in_order(items) == sorted(items)


@settings(deadline=None, max_examples=100)
@given(st.dates(), st.dates())
def test_days_between_is_antisymmetric(start: Any, end: Any) -> None:
    assert days_between(str(start), str(end)) == -days_between(str(end), str(start)) == (end - start).days


@settings(deadline=None, max_examples=200)
@given(st.lists(JSON, max_size=5))
def test_sorting_has_a_defined_result_or_withholds(items: list[Any]) -> None:
    try:
        assert in_order(items) == sorted(items)
    except Misuse:
        assert {type(item) for item in items} not in (set(), {str}, {int})


def test_get_treats_null_as_absent() -> None:
    assert get({"a": None}, "a", 1) == get({}, "a", 1) == get(None, "a", 1) == 1
    assert get({"a": False}, "a", 1) is False
