import ast

import pytest

from contracts import ContractRefused, check, load
from contracts.functions import ARITY, FUNCTIONS
from contracts.language import ENTRY_POINTS, MOST_BYTES
from contracts.rules import text as published

GOVERN = "def govern(act, terms, signatures, today):\n    return allow()\n"
DECIDE = 'def decide(record, terms, today):\n    return withhold("no")\n'


def in_decide(statement: str) -> str:
    body = "".join(f"    {line}\n" for line in statement.split("\n"))
    return f'def decide(record, terms, today):\n{body}    return withhold("no")\n{GOVERN}'


# Each hostile program, the line it must be refused at, and words the refusal must hold.
HOSTILE_STATEMENTS = {
    "import": ("import os", 2, "Import"),
    "import from": ("from os import system", 2, "ImportFrom"),
    "conditional import": ("if today:\n    import os", 3, "Import"),
    "while": ("while True:\n    x = 1", 2, "While"),
    "try": ("try:\n    x = 1\nexcept Exception:\n    x = 2", 2, "Try"),
    "try star": ("try:\n    x = 1\nexcept* Exception:\n    x = 2", 2, "TryStar"),
    "raise": ("raise today", 2, "Raise"),
    "assert": ("assert today", 2, "Assert"),
    "with": ("with today:\n    x = 1", 2, "With"),
    "delete": ("x = 1\ndel x", 3, "Delete"),
    "delete an element": ('del record["tin"]', 2, "Delete"),
    "global": ("global today", 2, "Global"),
    "nonlocal": ("nonlocal today", 2, "Nonlocal"),
    "class": ("class A:\n    x = 1", 2, "ClassDef"),
    "inner function": ("def inner():\n    return 1", 2, "FunctionDef"),
    "async function": ("async def inner():\n    return 1", 2, "AsyncFunctionDef"),
    "async for": ("async for x in today:\n    y = x", 2, "AsyncFor"),
    "await": ("x = await today", 2, "Await"),
    "yield": ("x = yield today", 2, "Yield"),
    "yield from": ("x = yield from today", 2, "YieldFrom"),
    "lambda": ("x = lambda: 1", 2, "Lambda"),
    "match": ("match today:\n    case _:\n        x = 1", 2, "Match"),
    "pass": ("pass", 2, "Pass"),
    "break": ("for x in [1]:\n    break", 3, "Break"),
    "continue": ("for x in [1]:\n    continue", 3, "Continue"),
    "bare expression": ("get(record, today)", 2, "Expr"),
    "bare return": ("return", 2, "return"),
    "walrus": ("if (x := today):\n    y = x", 2, "NamedExpr"),
    "annotation": ("x: int = 1", 2, "AnnAssign"),
    "augmented assignment": ("x = 1\nx += 1", 3, "AugAssign"),
    "unpacking": ("a, b = today", 2, "one plain name"),
    "double assignment": ("a = b = today", 2, "one plain name"),
    "assign to an element": ('record["tin"] = "X"', 2, "one plain name"),
    "assign to an attribute": ("record.tin = 1", 2, "one plain name"),
    "assign to a parameter": ("record = {}", 2, "parameter"),
    "assign to a loop item": ("for x in [1]:\n    x = 2", 3, "item of a loop"),
    "assign to a built-in": ("share = withhold", 2, "not a value"),
    "shadow a built-in": ("len = 1", 2, "built-in"),
    "shadow its own function": ("decide = 1", 2, "already a function"),
    "shadow a function": ("decide2 = 1\ngovern = 1", 3, "already a function"),
    "loop item shadows a parameter": ("for record in [1]:\n    x = 1", 2, "already in use"),
    "loop item shadows a built-in": ("for share in [1]:\n    x = 1", 2, "built-in"),
    "reassign the list looped over": ("for x in terms:\n    terms = x", 3, "parameter"),
    "comprehension item shadows": ("x = [today for today in [1]]", 2, "already in use"),
    "loop else": ("for x in [1]:\n    y = x\nelse:\n    y = 2", 2, "else"),
    "loop unpacking": ("for a, b in [1]:\n    x = a", 2, "one plain name"),
    "attribute": ("x = record.tin", 2, "Attribute"),
    "method": ('x = "a".upper()', 2, "called by its name"),
    "class ladder": ("x = ().__class__.__bases__", 2, "Attribute"),
    "dunder name": ("x = __builtins__", 2, "not defined above"),
    "assign a dunder": ("__builtins__ = 1", 2, "a name is"),
    "the checker's own name": ("x = _items_of(record)", 2, "no function"),
    "private name": ("_x = 1", 2, "a name is"),
    "unicode name": ("é = 1", 2, "a name is"),
    "long name": ("a" * 65 + " = 1", 2, "a name is"),
    "eval": ('x = eval("1")', 2, "no function"),
    "open": ('x = open("f")', 2, "no function"),
    "getattr": ('x = getattr(record, "x")', 2, "no function"),
    "unknown name": ("x = os", 2, "not defined above"),
    "name used before": ("x = y\ny = 1", 2, "not defined above"),
    "item used after its comprehension": ("x = [y for y in [1]]\nz = y", 3, "not defined above"),
    "function as a value": ("x = [f for f in [1] if share]", 2, "not a value"),
    "power": ("x = 9 ** 9 ** 9", 2, "BinOp"),
    "shift": ("x = 1 << 999999999", 2, "BinOp"),
    "multiply": ('x = "a" * 999999999', 2, "BinOp"),
    "add lists": ("x = [1] + [1]", 2, "BinOp"),
    "negative": ("x = -1", 2, "no arithmetic"),
    "invert": ("x = ~1", 2, "no arithmetic"),
    "huge integer": ("x = " + "9" * 400, 2, "number"),
    "integer too long to read": ("x = " + "9" * 5000, 2, "not Python"),
    "hexadecimal": ("x = 0x10", 2, "number"),
    "underscores in a number": ("x = 1_0", 2, "number"),
    "float": ("x = 1.5", 2, "float"),
    "complex": ("x = 1j", 2, "complex"),
    "bytes": ('x = b"a"', 2, "bytes"),
    "ellipsis": ("x = ...", 2, "ellipsis"),
    "f-string": ('x = f"{record}"', 2, "JoinedStr"),
    "backslash": ('x = "\\x00"', 2, "U+005C"),
    "conditional expression": ("x = 1 if today else 2", 2, "IfExp"),
    "tuple": ("x = (1, 2)", 2, "Tuple"),
    "set": ("x = {1, 2}", 2, "Set"),
    "set comprehension": ("x = {y for y in [1]}", 2, "SetComp"),
    "dict comprehension": ("x = {y: y for y in [1]}", 2, "DictComp"),
    "generator": ("x = len(y for y in [1])", 2, "GeneratorExp"),
    "two loops in one comprehension": ("x = [a for a in [1] for b in [1]]", 2, "one plain `for`"),
    "list that grows by nesting": ("a = [1]\nx = [a for b in a]", 3, "keeps its own item"),
    "comprehension of comprehensions": ("x = [[a for a in [1]] for b in [1]]", 2, "keeps its own item"),
    "growth through a default": ("a = [1]\nx = [get(b, today, a) for b in a]", 3, "keeps its own item"),
    "doubling list": ("a = [1]\nb = [a, a]", 3, "made of constants"),
    "doubling dict": ('a = [1]\nb = {"x": a}', 3, "made of constants"),
    "doubling in a default": ("a = [1]\nx = get(record, today, [a, a])", 3, "made of constants"),
    "doubling in a sort": ("a = [1]\nx = sorted([a, a])", 3, "made of constants"),
    "dict key computed": ("x = {today: 1}", 2, "keys"),
    "dict unpacking": ("x = {**record}", 2, "keys"),
    "list unpacking": ("x = [*record]", 2, "made of constants"),
    "star argument": ("x = share(*record)", 2, "Starred"),
    "keyword argument": ("x = share(fields=[])", 2, "by position"),
    "double star argument": ("x = share(**record)", 2, "by position"),
    "too few arguments": ("x = get(record)", 2, "2 to 3"),
    "too many arguments": ("x = allow(1)", 2, "0 to 0"),
    "slice": ("x = record[0:1]", 2, "Slice"),
    "slice with a step": ("x = record[::2]", 2, "Slice"),
    "subscript of a literal": ("x = [1][0]", 2, "subscripted"),
    "identity": ("x = record is None", 2, "Is"),
    "identity denied": ("x = record is not None", 2, "IsNot"),
    "chained comparison": ("x = 1 < 2 < 3", 2, "one comparison"),
    "substring": ('x = today in "2026"', 2, "looks into"),
    "recursion": ("x = decide(record, terms, today)", 2, "no function"),
    "call of a function below": ("x = govern(record, terms, [], today)", 2, "no function"),
    "call of a result": ("x = get(record, today)(1)", 2, "called by its name"),
    "four nested loops": (
        "for a in terms:\n for b in terms:\n  for c in terms:\n   for d in terms:\n    x = d",
        1,
        "steps",
    ),
    "deep nesting": ("x = " + "not " * 60 + "today", 2, "nested deeper"),
    "deep brackets": ("x = " + "(" * 150 + "1" + ")" * 150 + "[" * 300, 2, "not Python"),
    "parser bomb": ("x = " + "not " * 9000 + "today", 1, "nested"),
}

HOSTILE_TEXTS = {
    "empty": ("", 1, "defines `decide`"),
    "no decide": (GOVERN, 1, "defines `decide`"),
    "no govern": (DECIDE, 1, "defines `govern`"),
    "code at top level": ("x = 1\n" + DECIDE + GOVERN, 1, "Assign"),
    "call at top level": ("share([1])\n" + DECIDE + GOVERN, 1, "Expr"),
    "defined twice": (DECIDE + DECIDE + GOVERN, 3, "twice"),
    "wrong parameters": ("def decide(record):\n    return 1\n" + GOVERN, 1, "fixed parameters"),
    "swapped parameters": (DECIDE.replace("record, terms", "terms, record") + GOVERN, 1, "fixed"),
    "default argument": ("def f(a=1):\n    return a\n", 1, "plain names"),
    "keyword-only": ("def f(*, a):\n    return a\n", 1, "plain names"),
    "positional-only": ("def f(a, /):\n    return a\n", 1, "plain names"),
    "rest": ("def f(*a):\n    return a\n", 1, "plain names"),
    "keywords": ("def f(**a):\n    return a\n", 1, "plain names"),
    "parameter type": ("def f(a: int):\n    return a\n", 1, "no type"),
    "return type": ("def f(a) -> int:\n    return a\n", 1, "no decorator"),
    "decorator": ("@share\ndef f(a):\n    return a\n", 2, "no decorator"),
    "built-in redefined": ("def share(a):\n    return a\n", 1, "built-in"),
    "parameter named as a built-in": ("def f(get):\n    return 1\n", 1, "built-in"),
    "parameter named as its function": ("def f(f):\n    return 1\n", 1, "already a function"),
    "self recursion": ("def f(a):\n    return f(a)\n", 2, "no function"),
    "mutual recursion": ("def f(a):\n    return g(a)\ndef g(a):\n    return f(a)\n", 2, "no function"),
    "dunder function": ("def __init__(a):\n    return a\n", 1, "a name is"),
    "too long": ("#" * (MOST_BYTES + 1), 1, "bytes"),
    "null character": ("x\0", 1, "U+0000"),
    "tab": ("\tx", 1, "U+0009"),
    "carriage return": ("x\ry", 1, "U+000D"),
    "bidirectional override": ("# \u202e", 1, "U+202E"),
    "homoglyph that Python folds": ("\u017fhare", 1, "U+017F"),
    "full-width letter": ("\uff53hare", 1, "U+FF53"),
    "lone surrogate": ("# \ud800", 1, "U+D800"),
    "syntax error": ("def", 1, "not Python"),
    "elif tower": (
        "def f(a):\n    if a:\n        return 1\n" + "    elif a:\n        return 1\n" * 2000,
        1,
        "nested",
    ),
    "call doubling": (
        "def f0(a):\n    return a\n"
        + "".join(f"def f{n}(a):\n    x = f{n - 1}(a)\n    return f{n - 1}(a)\n" for n in range(1, 60)),
        57,
        "steps",
    ),
}


@pytest.mark.parametrize("name", HOSTILE_STATEMENTS)
def test_a_hostile_statement_is_refused_with_line_and_rule(name: str) -> None:
    statement, line, words = HOSTILE_STATEMENTS[name]
    with pytest.raises(ContractRefused) as refused:
        check(in_decide(statement))
    assert (refused.value.line, words in refused.value.rule) == (line, True), str(refused.value)
    assert refused.value.instead
    assert refused.value.column >= 1


@pytest.mark.parametrize("name", HOSTILE_TEXTS)
def test_a_hostile_text_is_refused_with_line_and_rule(name: str) -> None:
    text, line, words = HOSTILE_TEXTS[name]
    with pytest.raises(ContractRefused) as refused:
        check(text)
    if name not in {"call doubling", "elif tower"}:
        assert refused.value.line == line, str(refused.value)
    assert words in refused.value.rule


def test_every_kind_of_node_python_knows_is_refused_or_listed() -> None:
    kinds = {kind.__name__ for kind in [*ast.stmt.__subclasses__(), *ast.expr.__subclasses__()]}
    listed = {"Assign", "If", "For", "Return", "Constant", "Name", "List", "Dict", "Compare", "BoolOp"}
    listed |= {"UnaryOp", "Subscript", "Call", "ListComp"}
    from contracts.language import _EXPRESSIONS, _STATEMENTS

    assert {kind.__name__ for kind in [*_STATEMENTS, *_EXPRESSIONS]} == listed
    assert listed < kinds


def test_what_stays_a_plain_program_is_accepted() -> None:
    text = (
        '"""Perfil padrão."""\n'
        'def known(types):\n    """Sim."""\n    return [t for t in types if t != "Ñ"]\n'
        "def decide(record, terms, today):\n"
        '    for kind in known(record["types"]):\n'
        '        if kind in ["A", "B"] and not kind == "C":\n'
        '            return share(["tin", kind])\n'
        '        elif days_between(today, get(terms, "until", today)) < 10:\n'
        '            late = {"reason": "late", "n": [1, 2]}\n'
        '            return withhold(late["reason"])\n'
        '    return withhold("none")\n' + GOVERN
    )
    contract = load(text)
    assert contract.decide({"types": ["Ñ", "A"]}, {}, "2026-01-01").fields == ("A", "tin")
    assert contract.decide({"types": ["Z"]}, {}, "2026-01-01").reason == "late"


def test_three_nested_loops_are_accepted_and_bounded_when_they_run() -> None:
    contract = load(in_decide("for a in terms:\n for b in terms:\n  for c in terms:\n   x = c"))
    assert contract.decide({}, [1] * 101, "").reason == (  # type: ignore[arg-type]
        "contract error: a loop runs over at most 100 items, line 2"
    )
    assert contract.decide({}, [1] * 20, "").reason == "no"  # type: ignore[arg-type]


def test_every_function_has_an_arity_and_no_entry_point_is_one() -> None:
    assert ARITY.keys() == FUNCTIONS.keys()
    assert not ENTRY_POINTS.keys() & FUNCTIONS.keys()


def test_the_published_contract_is_in_the_language() -> None:
    assert isinstance(check(published()), ast.Module)
