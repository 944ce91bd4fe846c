"""Hostile contracts, each with what it tries: refused with line and reason, or harmless within its bound.

More of them, a construct of Python each, stand in `test_contract_language.py`; what generated programs try is
in `tests/property/test_contract_fuzzer.py`.
"""

import pytest

from contracts import ContractRefused, check, load
from contracts.language import MOST_CALLS_DEEP, MOST_STEPS
from tests.contract_oracles import Outcome, Reference, outcome_of

GOVERN = "def govern(act, terms, signatures, today):\n    return allow()\n"
DECIDE = 'def decide(record, terms, today):\n    return withhold("no")\n'


def decides(body: str, above: str = "") -> str:
    """A contract whose `decide` begins with these statements, on line 2 if nothing is above."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f'{above}def decide(record, terms, today):\n{lines}    return withhold("no")\n{GOVERN}'


def chain(length: int, calls: str = "f{0}(a)") -> str:
    """Functions that each call the one above."""
    first = "def f0(a):\n    return a\n"
    return first + "".join(f"def f{n}(a):\n    return {calls.format(n - 1)}\n" for n in range(1, length))


def indented(text: str) -> str:
    """A text under something."""
    return "".join(f"    {line}\n" for line in text.splitlines())


# What it tries: (the text, the line at which it is refused, words of the reason).
REFUSED: dict[str, tuple[str, int, str]] = {
    # Out through attributes.
    "reach the globals of a built-in function": (decides("x = get.__globals__"), 2, "Attribute"),
    "climb from an answer to object": (decides('x = share(["a"]).__class__.__mro__'), 2, "Attribute"),
    "climb from an empty list to every class": (
        decides("x = [].__class__.__subclasses__()"),
        2,
        "by its name",
    ),
    "climb from a text": (decides('x = "".__class__'), 2, "Attribute"),
    "climb from a number": (decides("x = 1 .__class__"), 2, "Attribute"),
    "reach a frame through a generator": (decides("x = (y for y in [1]).gi_frame"), 2, "Attribute"),
    "mutate a list by its method": (decides('x = record["roles"].append(1)'), 2, "by its name"),
    "mutate the terms": (decides('x = terms.update({"from": "2000"})'), 2, "by its name"),
    "forge an answer": (decides('x = share(["a"])\nx.fields = ["b"]'), 3, "one plain name"),
    "read an attribute deep in a condition": (
        decides("if not (1 == 1 and record.x):\n    x = 1"),
        2,
        "Attribute",
    ),
    # Out through built-in names.
    "import by function": (decides('x = __import__("os")'), 2, "no function"),
    "run text": (decides('x = exec("import os")'), 2, "no function"),
    "compile text": (decides('x = compile("1", "f", "eval")'), 2, "no function"),
    "list the globals": (decides("x = globals()"), 2, "no function"),
    "list the variables": (decides("x = vars(record)"), 2, "no function"),
    "set an attribute by function": (decides('x = setattr(record, "a", 1)'), 2, "no function"),
    "start the debugger": (decides("x = breakpoint()"), 2, "no function"),
    "wait for input": (decides("x = input()"), 2, "no function"),
    "print what is confidential": (decides("print(record)"), 2, "Expr"),
    "print it as a value": (decides("x = print(record)"), 2, "no function"),
    "build a class": (decides('x = type("X", [], {})'), 2, "no function"),
    "ask for the identity of an object": (decides("x = id(record)"), 2, "no function"),
    "ask for a hash, which has a seed": (decides('x = hash("a")'), 2, "no function"),
    "ask for the name of the module": (decides("x = __name__"), 2, "not defined above"),
    "ask whether it is optimised": (decides("x = __debug__"), 2, "not defined above"),
    "assign what Python debugs with": (decides("__debug__ = 0"), 2, "a name is"),
    "hold an exception class": (decides("x = BaseException"), 2, "not defined above"),
    "iterate for ever": (decides("for x in iter(int, 1):\n    y = x"), 2, "no function"),
    "loop over a range": (decides("for x in range(99999999999):\n    y = x"), 2, "no function"),
    # Out through text that is formatted.
    "format an attribute": (decides('x = "{0.__class__}".format(record)'), 2, "by its name"),
    "format with percent": (decides('x = "%999999999s" % record'), 2, "BinOp"),
    "pad in an f-string": (decides('x = f"{1:>999999999}"'), 2, "JoinedStr"),
    "call in an f-string": (decides("x = f\"{__import__('os')}\""), 2, "JoinedStr"),
    "nest f-strings": (decides("x = f\"{f'{record}'}\""), 2, "JoinedStr"),
    "hide an f-string in a list of fields": (decides('x = share([f"{record}"])'), 2, "JoinedStr"),
    # Code that runs when a function is defined.
    "decorate decide": (f"@get\n{DECIDE}{GOVERN}", 2, "no decorator"),
    "decorate with a call": (f'@share(["a"])\n{DECIDE}{GOVERN}', 2, "no decorator"),
    "run code in a default": (f'def f(a=share(["x"])):\n    return a\n{DECIDE}{GOVERN}', 1, "plain names"),
    "keep a list between calls in a default": (
        f"def f(a=[]):\n    return a\n{DECIDE}{GOVERN}",
        1,
        "plain names",
    ),
    "run code in an annotation": (f'def f(a: share(["x"])):\n    return a\n{DECIDE}{GOVERN}', 1, "no type"),
    "run code in the annotation of a result": (
        f"def f(a) -> get(1, 2):\n    return a\n{DECIDE}",
        1,
        "no decorator",
    ),
    "run code in the annotation of a name": (decides('x: share(["tin"]) = 1'), 2, "AnnAssign"),
    "postpone annotations": (f"from __future__ import annotations\n{DECIDE}{GOVERN}", 1, "ImportFrom"),
    "run code at the top": (f'x = share(["tin"])\n{DECIDE}{GOVERN}', 1, "Assign"),
    "define decide under a condition": ("if 1 == 1:\n" + indented(DECIDE + GOVERN), 1, "If"),
    "make decide out of a built-in": (f"decide = share\n{GOVERN}", 1, "Assign"),
    "make decide a class": (f"class decide:\n    x = 1\n{GOVERN}", 1, "ClassDef"),
    "make decide a coroutine": (f"async {DECIDE}{GOVERN}", 1, "AsyncFunctionDef"),
    "make decide a generator": (decides("x = yield record"), 2, "Yield"),
    "parameters of one name": (f"def f(a, a):\n    return a\n{DECIDE}{GOVERN}", 1, "two parameters"),
    "a parameter for the type": (f"def f[T](a):\n    return a\n{DECIDE}{GOVERN}", 1, ""),
    # Scopes and names.
    "leak the item of a comprehension": (decides("x = [y for y in [1]]\nz = y"), 3, "not defined above"),
    "assign in a comprehension": (decides("x = [(z := y) for y in [1]]"), 2, "NamedExpr"),
    "assign in the condition of a comprehension": (
        decides("x = [y for y in [1] if (z := y)]"),
        2,
        "NamedExpr",
    ),
    "an item with the name of a function below": (
        decides("for govern in [1]:\n    x = 1"),
        2,
        "already a function",
    ),
    "an item with the name of decide": (decides("x = [decide for decide in [1]]"), 2, "already a function"),
    "one name for two loops": (
        decides("for x in [1]:\n    for x in [2]:\n        y = x"),
        3,
        "already in use",
    ),
    "replace a built-in for all": (f"def get(a, b):\n    return a\n{DECIDE}{GOVERN}", 1, "built-in"),
    "replace a built-in in one function": (
        f"def f(share):\n    return share\n{DECIDE}{GOVERN}",
        1,
        "built-in",
    ),
    "call what was handed in": (f"def f(g):\n    return g(g)\n{DECIDE}{GOVERN}", 2, "no function"),
    "hand a function on": (decides("x = has_any([get], [get])"), 2, "not a value"),
    "define decide again, further down": (DECIDE + GOVERN + DECIDE, 5, "twice"),
    "make a constant of Python false": (decides("True = 0"), 2, "not Python"),
    "the name through which loops are bounded": (decides("_items_of = 1"), 2, "a name is"),
    "a name that differs in case only": (decides("Record = 1"), 2, "a name is"),
    # Text that reads otherwise than it runs.
    "a Cyrillic letter in a name": (decides("x = r\u0435cord"), 2, "U+0435"),
    "a Greek letter in a name": (decides("\u03bf = 1"), 2, "U+03BF"),
    "a ligature that Python takes for two letters": (decides("x = \ufb01eld"), 2, "U+FB01"),
    "a superscript that Python takes for a letter": (decides("x = \u1d57erms"), 2, "U+1D57"),
    "a script letter that Python takes for a plain one": (decides("x = \U0001d4c8hare"), 2, "U+1D4C8"),
    "a full-width bracket": (decides("x = len\uff08record)"), 2, "U+FF08"),
    "a space of no width": (decides("x = rec\u200bord"), 2, "U+200B"),
    "a joiner of no width": (decides("x = rec\u200dord"), 2, "U+200D"),
    "a soft hyphen": (decides('x = "A\u00adCTIVE"'), 2, "U+00AD"),
    "a space that does not break": (decides("x\u00a0= 1"), 2, "U+00A0"),
    "an accent by itself": (decides('x = "a\u0301"'), 2, "U+0301"),
    "a line separator in a comment": (decides("x = 1 # \u2028import os"), 2, "U+2028"),
    "a next-line character in a comment": (decides("x = 1 # \u0085import os"), 2, "U+0085"),
    "a carriage return in a comment": (decides("x = 1 # \rimport os"), 2, "U+000D"),
    "a form feed before code": (decides("x = 1\n\x0cimport os"), 3, "U+000C"),
    "a vertical tab": (decides("x =\x0b1"), 2, "U+000B"),
    "a tab that looks like four spaces": (decides("if today:\n\tx = 1"), 3, "U+0009"),
    "a terminal that obeys": (decides('x = "\x1b[2J"'), 2, "U+001B"),
    "a backspace over what was written": (decides('x = "a\x08b"'), 2, "U+0008"),
    "a byte-order mark": ("\ufeff" + DECIDE + GOVERN, 1, "U+FEFF"),
    "a null behind which a reader in C stops": (decides("x = 1 # \0\nimport os"), 2, "U+0000"),
    "text that turns around": (decides('x = "\u202enimda\u202c"'), 2, "U+202E"),
    "isolated text that turns around": (decides("# \u2067if record\u2069\nx = 1"), 2, "U+2067"),
    "half a character": (decides('x = "\udc80"'), 2, "U+DC80"),
    "a line that goes on": (decides("x = 1 + \\\n    1"), 2, "U+005C"),
    "code far to the right": (decides("x = 1" + " " * 300 + "; import os"), 2, "Import"),
    "code behind a text": (decides('"""\nonly words\n"""; import os'), 4, "Import"),
    "a text that stands alone": (decides("x = 1\n'''y = 2'''"), 3, "Expr"),
    "a number with a sign before it": (decides("x = record[-1]"), 2, "arithmetic"),
    "a number that is glued to a word": (decides("x = [y for y in [1] if 0or record]"), 2, ""),
    "a number in another base": (decides("x = 0b11"), 2, "number"),
    "a number of a thousand digits": (decides("x = " + "9" * 1000), 2, "number"),
    "the first number that is not exact elsewhere": (decides("x = 9007199254740992"), 2, "number"),
    "a number that is no number": (decides("x = 1e999"), 2, "float"),
    # Memory.
    "a text a billion times": (decides('x = "a" * 1000000000'), 2, "BinOp"),
    "a list of lists a billion times": (decides("x = [[1]] * 1000000000"), 2, "BinOp"),
    "a list that holds itself twice, thirty times": (
        decides("a = [1]\n" + "\n".join(f"a{n} = [a, a]" for n in range(30))),
        3,
        "made of constants",
    ),
    "the same through a dict": (decides('a = [1]\nb = {"x": [a, a]}'), 3, "made of constants"),
    "the same through a condition": (decides("a = [1]\nb = a and [a, a]"), 3, "made of constants"),
    "the same through a subscript": (decides("a = [1]\nb = [a, a][0]"), 3, "subscripted"),
    "a new list for each item": (decides("x = [[1, 2] for a in terms]"), 2, "keeps its own item"),
    "a new dict for each item": (decides('x = [{"a": a} for a in terms]'), 2, "made of constants"),
    "an answer for each item": (decides('x = [share(["a"]) for a in terms]'), 2, "keeps its own item"),
    "the whole for each item": (decides("x = [terms for a in terms]"), 2, "keeps its own item"),
    "the whole as a default for each item": (
        decides('x = [get(a, "b", terms) for a in terms]'),
        2,
        "keeps its own",
    ),
    "a list of 101": (decides(f"x = [{'1, ' * 101}]"), 2, "at most 100 items"),
    "a dict of 101": (
        decides("x = {" + ", ".join(f'"k{n}": 1' for n in range(101)) + "}"),
        2,
        "at most 100 items",
    ),
    "a list of lists whose comparison is long": (
        decides(f"x = [{'[1, 1, 1, 1, 1, 1, 1, 1, 1], ' * 11}]"),
        2,
        "most 100",
    ),
    "a dict of lists whose comparison is long": (
        decides(f'x = {{"a": [{"[1, 1], " * 40}]}}'),
        2,
        "at most 100 items",
    ),
    # Time.
    "loops of two functions": (
        decides(
            "for a in terms:\n    for b in terms:\n        x = f(a)",
            "def f(a):\n    y = [b for b in a if b == 1]\n"
            "    for c in a:\n        y = [d for d in a if d == 1]\n    return y\n",
        ),
        6,
        "steps",
    ),
    "comprehensions in conditions of comprehensions": (
        decides("x = [a for a in terms if [b for b in terms if [c for c in terms if [d for d in terms]]]]"),
        1,
        "steps",
    ),
    "a million comparisons that read lists": (
        decides("for a in terms:\n for b in terms:\n  for c in terms:\n   x = a == b"),
        1,
        "steps",
    ),
    "functions that call twice": (decides("x = 1", chain(40, "f{0}(f{0}(a))")), 43, "steps"),
    "a tower of loops": (
        decides("\n".join(" " * n + f"for a{n} in terms:" for n in range(30)) + "\n" + " " * 30 + "x = 1"),
        1,
        "",
    ),
    # Depth, which another stack bears otherwise.
    "functions that wait for each other": (
        decides("x = 1", chain(MOST_CALLS_DEEP + 1)),
        81,
        "functions deep",
    ),
    "fifteen hundred functions that wait for each other": (
        decides("x = 1", chain(1500)),
        81,
        "functions deep",
    ),
    "decide one deeper than its functions": (
        decides("x = f39(record)", chain(MOST_CALLS_DEEP)),
        81,
        "`decide` is a call 41 functions deep",
    ),
    "two parts that call each other": (
        f"def f(a):\n    return g(a)\ndef g(a):\n    return f(a)\n{DECIDE}",
        2,
        "no function",
    ),
    "a function that calls itself as an argument": (
        f"def f(a):\n    return get(f(a), 1)\n{DECIDE}",
        2,
        "no function",
    ),
    "a Y combinator": (decides("x = (lambda f: f(f))(lambda f: f(f))"), 2, "by its name"),
    "forty conditions in each other": (
        decides("\n".join(" " * n + "if today:" for n in range(45)) + "\n" + " " * 45 + "x = 1"),
        41,
        "nested deeper",
    ),
    "a hundred indentations": (
        decides("\n".join(" " * n + "if today:" for n in range(120)) + "\n" + " " * 120 + "x = 1"),
        101,
        "not Python",
    ),
    "brackets in brackets": (decides("x = " + "[" * 60 + "]" * 60), 2, "nested deeper"),
    "a subscript of a subscript, a hundred times": (decides("x = record" + "[0]" * 100), 2, "nested"),
    "a call of a call, a hundred times": (decides("x = record" + "()" * 100), 2, "nested"),
    # Statements.
    "catch everything": (decides("try:\n    x = 1\nexcept BaseException:\n    x = 2"), 2, "Try"),
    "leave through finally": (decides('try:\n    x = 1\nfinally:\n    return share(["a"])'), 2, "Try"),
    "delete decide": (decides("del decide"), 2, "Delete"),
    "make the built-ins global": (decides("global __builtins__"), 2, "Global"),
    "match on a class": (decides("match record:\n    case dict():\n        x = 1"), 2, "Match"),
    "an index of many": (decides("x = record[1, 2]"), 2, "Tuple"),
    "an index that is a slice": (decides("x = record[:]"), 2, "Slice"),
    "a comprehension that waits": (decides("x = [y async for y in terms]"), 2, "one plain `for`"),
    "more parameters for decide": (DECIDE.replace("today)", "today, more)") + GOVERN, 1, "fixed parameters"),
    "govern is missing": (DECIDE, 1, "defines `govern`"),
}


@pytest.mark.parametrize("tries", REFUSED)
def test_what_it_tries_is_refused_with_line_and_reason(tries: str) -> None:
    text, line, words = REFUSED[tries]
    with pytest.raises(ContractRefused) as refused:
        check(text)
    assert refused.value.line == line, str(refused.value)
    assert words in refused.value.rule, str(refused.value)
    assert refused.value.instead
    assert refused.value.column >= 1


def test_there_are_enough_of_them() -> None:
    assert len(REFUSED) > 100
    assert len({text for text, _, _ in REFUSED.values()}) == len(REFUSED)


TWENTY = ["a", *range(19)]
# What it tries: (the text, the outcome for a record with a list of twenty, and no more than that).
HARMLESS: dict[str, tuple[str, Outcome]] = {
    "have its bytes read as another encoding": (
        "# -*- coding: utf-7 -*-\n" + decides(""),
        Outcome("withhold", ("no",)),
    ),
    "have its text turned by a codec": ("# coding: rot13\n" + decides("x = 1"), Outcome("withhold", ("no",))),
    "speak to a type checker": (decides("x = 1 # type: ignore"), Outcome("withhold", ("no",))),
    "a text that looks like code": (decides('"""import os"""\nx = "eval(1)"'), Outcome("withhold", ("no",))),
    "a text that looks like a format": (
        decides('return withhold("{0.__class__} %s")'),
        Outcome("withhold", ("{0.__class__} %s",)),
    ),
    "a prefix that changes how a text is read": (decides("x = rb'' == 1"), Outcome("refused")),
    "a prefix that changes nothing": (decides("return withhold(u'a' r'b')"), Outcome("withhold", ("ab",))),
    "a function with a built-in name of Python": (
        decides("return withhold(eval(today))", "def eval(a):\n    return a\n"),
        Outcome("withhold", ("2027-01-01",)),
    ),
    "words that are keywords in some places": (
        decides('match = 1\ncase = 2\ntype = 3\nif match < case:\n    return withhold("m")'),
        Outcome("withhold", ("m",)),
    ),
    "five thousand conditions": (
        decides("x = " + " and ".join(["today"] * 5000)),
        Outcome("withhold", ("no",)),
    ),
    "two thousand conditions in a row": (
        decides("\n".join(["if record:", "    x = 1"] * 2000)),
        Outcome("withhold", ("no",)),
    ),
    "a million items": (
        decides('for a in record["l"]:\n for b in record["l"]:\n  for c in record["l"]:\n   x = c'),
        Outcome("withhold", ("no",)),
    ),
    "as deep as it goes": (decides("return f38(record)", chain(MOST_CALLS_DEEP - 1)), Outcome("no answer")),
    "return what it was given": (decides("return record"), Outcome("no answer")),
    "answer govern's questions": (decides('return need(["BR"])'), Outcome("no answer")),
    "share a list with something else in it": (
        decides('return share(record["l"])'),
        Outcome("misuse", (), 2),
    ),
    "share a text as if it were a list": (decides("return share(today)"), Outcome("misuse", (), 2)),
    "tell what is confidential in a reason": (decides("return withhold(record)"), Outcome("misuse", (), 2)),
    "tell it in a reason of a thousand letters": (
        decides(f'return withhold("{"x" * 1000}")'),
        Outcome("misuse", (), 2),
    ),
    "loop over a text": (decides("for a in today:\n    x = a"), Outcome("misuse", (), 2)),
    "loop over a dict": (decides("for a in record:\n    x = a"), Outcome("misuse", (), 2)),
    "loop over 101": (decides('x = [a for a in record["m"]]'), Outcome("misuse", (), 2)),
    "sort what has no order": (decides('x = sorted(record["l"])'), Outcome("misuse", (), 2)),
    "compare what has no order": (decides('if record["l"] < today:\n    x = 1'), Outcome("TypeError", (), 2)),
    "a list as a key": (decides('x = record[record["l"]]'), Outcome("TypeError", (), 2)),
    "a list in a set": (decides("x = has_any([record], [today])"), Outcome("TypeError", (), 2)),
    "a member of an answer": (decides('x = share(["a"])["fields"]'), Outcome("TypeError", (), 2)),
    "compare answers": (
        decides('if share(["a"]) == share(["a", "a"]):\n    return withhold("same")'),
        Outcome("withhold", ("same",)),
    ),
    "order answers": (decides('if share(["a"]) < share(["b"]):\n    x = 1'), Outcome("TypeError", (), 2)),
    "a name that has a value on one way only": (
        decides("if today == record:\n    y = 1\nx = y"),
        Outcome("NameError", (), 4),
    ),
    "the same in a comprehension": (
        decides('if today == record:\n    y = 1\nx = [a for a in record["l"] if y]'),
        Outcome("NameError", (), 4),
    ),
    "an error on the second line of a statement": (
        decides('x = [\n1, 2,\n3] == record[\n"none"]'),
        Outcome("KeyError", (), 2),
    ),
    "an error where two statements share a line": (
        decides('x = (1 ==\n record["none"]); y = 1'),
        Outcome("KeyError", (), 2),
    ),
    "an error in the head of a branch that shares its line": (
        decides('if (1 ==\n record["none"]): y = 1'),
        Outcome("KeyError", (), 2),
    ),
    "an error further down a chain of functions": (
        decides(
            "return f2(record)",
            'def f0(a):\n    return a["none"]\ndef f1(a):\n    return f0(a)\ndef f2(a):\n    return f1(a)\n',
        ),
        Outcome("KeyError", (), 2),
    ),
    "a day that does not exist": (
        decides('x = days_between(today, "2027-02-29")'),
        Outcome("ValueError", (), 2),
    ),
    "digits of another script as a day": (
        decides('x = days_between(today, record["arabic"])'),
        Outcome("misuse", (), 2),
    ),
}


@pytest.mark.parametrize("tries", HARMLESS)
def test_what_is_accepted_is_harmless_within_its_bound(tries: str) -> None:
    text, outcome = HARMLESS[tries]
    record = {"l": TWENTY, "m": list(range(101)), "arabic": "٢٠٢٧-٠١-٠١"}
    if outcome.kind == "refused":
        with pytest.raises(ContractRefused):
            check(text)
        return
    contract, reference = load(text), Reference(text)
    assert outcome_of(contract.decide(record, {}, "2027-01-01")) == outcome  # type: ignore[arg-type]
    assert reference.decide(record, {}, "2027-01-01") == outcome
    assert reference.steps <= contract.steps["decide"] <= MOST_STEPS
    assert reference.deepest <= MOST_CALLS_DEEP
