"""Three others who say what a contract decides, for tests that hold `contracts` against them.

`Reference` walks the syntax tree itself, with functions of its own, and counts its steps. `OtherProcess` is
`contracts` in an interpreter process with another hash seed, time zone, locale and flags; it measures memory.
`OtherInterpreter` is Monty, a Python written in Rust that shares no code with CPython.

All give an `Outcome`: what was answered, or the kind of error; `line` where it is known.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pydantic_monty

from contracts import Answer

ROOT = Path(__file__).resolve().parents[1]
CHILD = Path(__file__).with_name("contract_child.py")
MISUSE, NO_ANSWER = "misuse", "no answer"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`kind` is share, withhold, or the kind of error; `told` the fields or the reason."""

    kind: str
    told: tuple[str, ...] = ()
    line: int = 0


def outcome_of(answer: Answer) -> Outcome:
    """An answer of `contracts`, without the words of a misuse."""
    if answer.shared:
        return Outcome("share", answer.fields)
    if not answer.reason.startswith("contract error: "):
        return Outcome("withhold", (answer.reason,))
    what, _, line = answer.reason.removeprefix("contract error: ").rpartition(", line ")
    if not what:
        return Outcome(NO_ANSWER)
    return Outcome(MISUSE if " " in what else what, (), int(line))


class _FailedError(Exception):
    """An error within a contract, and the line of the innermost statement."""

    def __init__(self, kind: str) -> None:
        self.kind, self.line = kind, 0


class _ReturnedError(Exception):
    def __init__(self, value: Any) -> None:
        self.value = value


@dataclass(frozen=True)
class _Said:
    """What one of the answering functions gave; nothing can be done with it but to return or compare it."""

    kind: str
    told: tuple[str, ...]


class Reference:
    """A contract walked over its tree, step by step."""

    def __init__(self, text: str) -> None:
        self.functions = {
            each.name: each for each in ast.parse(text).body if isinstance(each, ast.FunctionDef)
        }
        self.steps = 0
        self.deep = self.deepest = 0

    def decide(self, *given: Any) -> Outcome:
        """What `decide` answers; `steps` and `deepest` then say what it took."""
        self.steps = self.deep = self.deepest = 0
        try:
            said = self._run("decide", list(given))
        except _FailedError as failed:
            return Outcome(failed.kind, (), failed.line)
        if isinstance(said, _Said) and said.kind in ("share", "withhold"):
            return Outcome(said.kind, said.told)
        return Outcome(NO_ANSWER)

    def _run(self, name: str, given: list[Any]) -> Any:
        function = self.functions[name]
        scope = dict(zip((each.arg for each in function.args.args), given, strict=True))
        self.deep += 1
        self.deepest = max(self.deep, self.deepest)
        try:
            self._block(function.body, scope)
        except _ReturnedError as returned:
            return returned.value
        finally:
            self.deep -= 1
        return None

    def _block(self, body: list[ast.stmt], scope: dict[str, Any]) -> None:
        for each in body:
            if not isinstance(each, ast.Expr):  # a docstring
                self.steps += 1
                try:
                    self._statement(each, scope)
                except _FailedError as failed:
                    failed.line = failed.line or each.lineno
                    raise

    def _statement(self, each: ast.stmt, scope: dict[str, Any]) -> None:
        match each:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                scope[name] = self._value(value, scope)
            case ast.Return(value=value) if value is not None:
                raise _ReturnedError(self._value(value, scope))
            case ast.If(test=test, body=body, orelse=orelse):
                self._block(body if self._true(self._value(test, scope)) else orelse, scope)
            case ast.For(target=ast.Name(id=name), iter=over, body=body):
                for item in _items(self._value(over, scope)):
                    scope[name] = item
                    self._block(body, scope)
            case _:
                raise AssertionError(f"accepted, and not known to the reference: {ast.dump(each)}")

    def _value(self, node: ast.expr, scope: dict[str, Any]) -> Any:
        self.steps += 1
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                if name not in scope:
                    raise _FailedError("NameError")
                return scope[name]
            case ast.List(elts=elements):
                return [self._value(each, scope) for each in elements]
            case ast.Dict(keys=keys, values=values):
                self.steps += len(values)
                return {
                    each.value: self._value(value, scope)
                    for each, value in zip(keys, values, strict=True)
                    if isinstance(each, ast.Constant)
                }
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self._true(self._value(operand, scope))
            case ast.BoolOp(op=op, values=values):
                return self._either(isinstance(op, ast.Or), values, scope)
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._compare(op, self._value(left, scope), self._value(right, scope))
            case ast.Subscript(value=value, slice=index):
                return _member(self._value(value, scope), self._value(index, scope))
            case ast.Call(func=ast.Name(id=name), args=given):
                return self._call(name, [self._value(each, scope) for each in given])
            case ast.ListComp(elt=kept, generators=[loop]):
                return list(self._kept(kept, loop, scope))
            case _:
                raise AssertionError(f"accepted, and not known to the reference: {ast.dump(node)}")

    def _kept(self, kept: ast.expr, loop: ast.comprehension, scope: dict[str, Any]) -> Iterator[Any]:
        assert isinstance(loop.target, ast.Name)
        for item in _items(self._value(loop.iter, scope)):
            inner = {**scope, loop.target.id: item}
            if all(self._true(self._value(test, inner)) for test in loop.ifs):
                yield self._value(kept, inner)

    def _either(self, one_is_enough: bool, values: list[ast.expr], scope: dict[str, Any]) -> Any:
        value = None
        for each in values:
            value = self._value(each, scope)
            if self._true(value) == one_is_enough:
                break
        return value

    def _true(self, value: Any) -> bool:
        return value not in (None, False, 0, "") and not (isinstance(value, list | dict) and not value)

    def _compare(self, op: ast.cmpop, left: Any, right: Any) -> bool:
        """As many steps as values are looked at; a record and terms hold no list over 100, but tests do."""
        before = self.steps
        try:
            return self._compared(op, left, right)
        finally:
            self.steps = min(self.steps, before + 100)

    def _compared(self, op: ast.cmpop, left: Any, right: Any) -> bool:
        match op:
            case ast.Eq():
                return self._equal(left, right)
            case ast.NotEq():
                return not self._equal(left, right)
            case ast.In():
                return self._holds(right, left)
            case ast.NotIn():
                return not self._holds(right, left)
            case ast.Lt():
                return self._before(left, right, same=False)
            case ast.LtE():
                return self._before(left, right, same=True)
            case ast.Gt():
                return self._before(right, left, same=False)
        assert isinstance(op, ast.GtE)
        return self._before(right, left, same=True)

    def _equal(self, left: Any, right: Any) -> bool:
        self.steps += 1
        if isinstance(left, list) and isinstance(right, list):
            return len(left) == len(right) and all(map(self._equal, left, right))
        if isinstance(left, dict) and isinstance(right, dict):
            alike = left.keys() == right.keys()
            return alike and all(self._equal(value, right[name]) for name, value in left.items())
        return _plain(left) == _plain(right)

    def _holds(self, where: Any, wanted: Any) -> bool:
        if isinstance(where, list):
            return any(self._equal(each, wanted) for each in where)
        if isinstance(where, dict):
            return _key(wanted) in {_key(name) for name in where}
        if isinstance(where, str) and isinstance(wanted, str):
            return where.find(wanted) >= 0
        raise _FailedError("TypeError")

    def _before(self, left: Any, right: Any, *, same: bool) -> bool:
        self.steps += 1
        if isinstance(left, list) and isinstance(right, list):
            for one, other in zip(left, right, strict=False):
                if not self._equal(one, other):
                    return self._before(one, other, same=same)
            return len(left) <= len(right) if same else len(left) < len(right)
        numbers = isinstance(left, int) and isinstance(right, int)
        if not numbers and not (isinstance(left, str) and isinstance(right, str)):
            raise _FailedError("TypeError")
        return bool(left < right or (same and left == right))

    def _call(self, name: str, given: list[Any]) -> Any:
        if name in self.functions:
            return self._run(name, given)
        for each in given if name in READS_LISTS else ():
            self.steps += min(len(each), 100) if isinstance(each, list) else 0
        return FUNCTIONS[name](*given)


def _plain(value: Any) -> tuple[str, Any]:
    """What makes two single values the same: a truth value counts as the number it is."""
    return ("number", int(value)) if isinstance(value, int) else (type(value).__name__, value)


def _key(value: Any) -> tuple[str, Any]:
    """What names a member of a dict or set; lists and dicts name none."""
    if isinstance(value, list | dict):
        raise _FailedError("TypeError")
    return _plain(value)


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > 100:
        raise _FailedError(MISUSE)
    return value


def _member(value: Any, index: Any) -> Any:
    if isinstance(value, dict):
        wanted = _key(index)
        for name, each in value.items():
            if _key(name) == wanted:
                return each
        raise _FailedError("KeyError")
    if not isinstance(value, list | str) or not isinstance(index, int):
        raise _FailedError("TypeError")
    place = index + len(value) if index < 0 else int(index)
    if not 0 <= place < len(value):
        raise _FailedError("IndexError")
    return value[place]


def _get(mapping: Any, name: Any, default: Any = None) -> Any:
    if mapping is None:
        return default
    if not isinstance(mapping, dict):
        raise _FailedError(MISUSE)
    wanted = _key(name)
    found = [value for key, value in mapping.items() if _key(key) == wanted]
    return default if not found or found[0] is None else found[0]


def _members(value: Any) -> list[tuple[str, Any]]:
    return [_key(each) for each in _items([] if value is None else value)]


def _has_any(items: Any, wanted: Any) -> bool:
    held, asked = _members(items), _members(wanted)
    return any(each in held for each in asked)


def _has_all(items: Any, wanted: Any) -> bool:
    held, asked = _members(items), _members(wanted)
    return all(each in held for each in asked)


def _len(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise _FailedError(MISUSE)
    return sum(1 for _ in value)


def _sorted(items: Any) -> list[Any]:
    kinds = {type(each) for each in items} if isinstance(items, list) else {None}
    if kinds not in (set(), {str}, {int}):
        raise _FailedError(MISUSE)
    found: list[Any] = []
    for each in _items(items):
        place = sum(1 for other in found if other <= each)
        found.insert(place, each)
    return found


def _days(start: Any, end: Any) -> int:
    return _day(end) - _day(start)


def _day(text: Any) -> int:
    fits = isinstance(text, str) and len(text) == 10 and text[4] == text[7] == "-"
    if not fits or not all(each in "0123456789" for each in text[:4] + text[5:7] + text[8:]):
        raise _FailedError(MISUSE)
    try:
        return date(int(text[:4]), int(text[5:7]), int(text[8:])).toordinal()
    except ValueError:
        raise _FailedError("ValueError") from None


def _list_of_texts(kind: str) -> Callable[[Any], _Said]:
    def said(values: Any) -> _Said:
        fits = isinstance(values, list) and 0 < len(values) <= 100
        if not fits or not all(isinstance(each, str) for each in values):
            raise _FailedError(MISUSE)
        return _Said(kind, tuple(sorted(set(values))))

    return said


def _reason(kind: str) -> Callable[[Any], _Said]:
    def said(reason: Any) -> _Said:
        if not isinstance(reason, str) or not 1 <= len(reason) <= 200 or "\n" in reason:
            raise _FailedError(MISUSE)
        return _Said(kind, (reason,))

    return said


READS_LISTS = ("has_any", "has_all", "sorted", "share", "need")
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "get": _get,
    "has_any": _has_any,
    "has_all": _has_all,
    "len": _len,
    "sorted": _sorted,
    "days_between": _days,
    "share": _list_of_texts("share"),
    "withhold": _reason("withhold"),
    "need": _list_of_texts("need"),
    "refuse": _reason("refuse"),
    "allow": lambda: _Said("allow", ()),
}


@dataclass(slots=True)
class OtherProcess:
    """`contracts` in another interpreter process, asked line by line."""

    process: "subprocess.Popen[str]"

    def decide(self, text: str, *given: Any) -> tuple[Answer, dict[str, int], int]:
        """The answer, the bound on steps, and the most bytes that were held beside the inputs."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([text, *given]) + "\n")
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline())
        shared, fields, reason = told["answer"]
        return Answer(shared, tuple(fields), reason), told["steps"], told["peak"]


@contextmanager
def other_process(hash_seed: str, zone: str, locale: str, *flags: str) -> Iterator[OtherProcess]:
    """Start one, and end it."""
    own = {name: each for name, each in os.environ.items() if not name.startswith(("PYTHON", "LC_", "LANG"))}
    own |= {"PYTHONHASHSEED": hash_seed, "TZ": zone, "LC_ALL": locale, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *flags, str(CHILD)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=own, stdin=pipe, stdout=pipe, text=True, encoding="utf-8") as process:
        yield OtherProcess(process)
        assert process.stdin is not None
        process.stdin.close()


@dataclass(slots=True)
class OtherInterpreter:
    """Monty, with the functions of the language written in it."""

    pool: "pydantic_monty.Monty"

    def decide(self, text: str, *given: Any) -> Outcome:
        """What `decide` answers in Monty; lines are not compared."""
        inputs = dict(zip(("given_record", "given_terms", "given_today"), given, strict=True))
        with self.pool.checkout() as session:
            session.feed_run(PRELUDE)
            session.feed_run(_loops_bounded(text))
            call = "_told_of(decide, given_record, given_terms, given_today)"
            kind, told = session.feed_run(call, inputs=inputs)
        if kind == "UnboundLocalError":
            kind = "NameError"
        return Outcome(kind, tuple(told))


@contextmanager
def other_interpreter() -> Iterator[OtherInterpreter]:
    """Start one, and end it."""
    with pydantic_monty.Monty() as pool:
        yield OtherInterpreter(pool)


def _loops_bounded(text: str) -> str:
    """The text with `items_of(...)` around what its loops run over, as `contracts` runs it."""
    lines = [line.encode() for line in text.split("\n")]
    places = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.For | ast.comprehension):
            over = node.iter
            assert over.end_lineno is not None
            assert over.end_col_offset is not None
            places.append((over.end_lineno, over.end_col_offset, b"))"))
            places.append((over.lineno, over.col_offset, b"_items_of(("))
    # Of two at one place the outer begins first and ends last.
    for line, column, written in sorted(places, key=lambda each: each[:2], reverse=True):
        before, after = lines[line - 1][:column], lines[line - 1][column:]
        lines[line - 1] = before + written + after
    return b"\n".join(lines).decode()


PRELUDE = """
from datetime import date as _date

_counted, _ordered = len, sorted


class _Said:
    def __init__(self, kind, told):
        self.kind = kind
        self.told = told

    def __eq__(self, other):
        return type(other) is _Said and self.kind == other.kind and self.told == other.told

    def __hash__(self):
        return 1


def _told_of(function, record, terms, today):
    try:
        said = function(record, terms, today)
    except RuntimeError:
        return ["misuse", []]
    except Exception as error:
        return [type(error).__name__, []]
    if type(said) is _Said and said.kind in ["share", "withhold"]:
        return [said.kind, said.told]
    return ["no answer", []]


def _misuse_unless(fits):
    if not fits:
        raise RuntimeError("misuse")


def _items_of(value):
    _misuse_unless(type(value) is list and _counted(value) <= 100)
    return value


def get(mapping, name, default=None):
    if mapping is None:
        return default
    _misuse_unless(type(mapping) is dict)
    value = mapping.get(name)
    return default if value is None else value


def _as_set(items):
    return set([] if items is None else _items_of(items))


def has_any(items, wanted):
    return _counted(_as_set(items) & _as_set(wanted)) > 0


def has_all(items, wanted):
    held = _as_set(items)
    return _counted(_as_set(wanted) - held) == 0


def len(value):
    _misuse_unless(type(value) in [str, list, dict])
    return _counted(value)


def sorted(items):
    _misuse_unless(type(items) is list and _counted(set([type(each) for each in items])) <= 1)
    _misuse_unless(_counted(items) == 0 or type(items[0]) in [str, int])
    return _ordered(_items_of(items))


def days_between(start, end):
    last = _day(end)
    return (last - _day(start)).days


def _day(text):
    _misuse_unless(type(text) is str and _counted(text) == 10 and text[4] == "-" and text[7] == "-")
    _misuse_unless(_counted([each for each in text if each in "0123456789"]) == 8)
    return _date.fromisoformat(text)


def _texts(kind, values):
    _misuse_unless(type(values) is list and 0 < _counted(values) <= 100)
    _misuse_unless(_counted([each for each in values if type(each) is not str]) == 0)
    return _Said(kind, _ordered(set(values)))


def _reason(kind, value):
    _misuse_unless(type(value) is str and 0 < _counted(value) <= 200 and "\\n" not in value)
    return _Said(kind, [value])


def share(fields):
    return _texts("share", fields)


def need(countries):
    return _texts("need", countries)


def withhold(value):
    return _reason("withhold", value)


def refuse(value):
    return _reason("refuse", value)


def allow():
    return _Said("allow", [])
"""
