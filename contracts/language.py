"""The language of contracts: a total subset of Python, held on the syntax tree.

Guarantees that a text which `check` accepts always ends, within a number of steps known before it runs;
that no value in it outgrows the larger of its inputs and its own text; and that it touches nothing: it
has no imports, no attributes, no mutation, no names but its own and those of `contracts.functions`.
Refuses everything that is not listed here, with the place, the rule and what to write instead.

How the bound on size works: there is no arithmetic, lists are made of constants, and a comprehension
has one `for` and may keep only the loop's own item or a part of it. A list of computed elements exists
only as an argument of `share`, `need`, `has_any` or `has_all`, none of which gives it back.
A list or dict that is written out has at most `MOST_ITEMS` elements, those of the lists in it included, so
that comparing two of them is no longer work than is counted for it.
How the bound on time works: functions call only functions that stand above them, every loop runs over a
list of at most `MOST_ITEMS` items (checked when it runs), and `MOST_STEPS` bounds the product. A step is one
expression or statement looked at; a comparison, and each list that a function reads, is `MOST_ITEMS` more.
"""

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from contracts.functions import ARITY, MOST_ITEMS

MOST_BYTES = 65_536
MOST_DEPTH = 40
MOST_CALLS_DEEP = 40
"""Functions that wait for each other: far below what any Python's stack holds, whoever calls the contract."""
MOST_STEPS = 10_000_000
LARGEST_INTEGER = 2**53 - 1

ENTRY_POINTS = {"decide": ("record", "terms", "today"), "govern": ("act", "terms", "signatures", "today")}

_FOREIGN = re.compile(r"[^\n -\[\]-~À-ÖØ-öø-ÿ¡¿§°]")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}|[A-Z][A-Z0-9_]{0,63}", re.ASCII)
_NUMBER = re.compile(r"[0-9]+(?![0-9A-Za-z_])")
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn)
_READS_LISTS = frozenset({"has_any", "has_all", "sorted", "share", "need"})
_TAKES_COMPUTED_LIST = frozenset({"share", "need", "has_any", "has_all"})

_IMPORT = "write what you need as a function above; the built-in functions are always there"
_OTHER_LOOP = "write a list comprehension with one `for`"
_FAILURE = "let the error happen: an error in a contract withholds"
_INSTEAD = {
    "Import": _IMPORT,
    "ImportFrom": _IMPORT,
    "While": "write `for item in items:` over a list",
    "AsyncFor": "write `for item in items:` over a list",
    "Try": _FAILURE,
    "TryStar": _FAILURE,
    "Raise": 'write `return withhold("reason")`',
    "Assert": 'write `if not ...: return withhold("reason")`',
    "Attribute": 'write `get(value, "name")` or `value["name"]`',
    "BinOp": "compare dates with `days_between` and count with `len`; there is no arithmetic",
    "AugAssign": "there is no arithmetic; assign a new name",
    "AnnAssign": "write `name = value` without a type",
    "NamedExpr": "assign on a line of its own",
    "Lambda": "write a function above and call it by name",
    "ClassDef": "write a function",
    "FunctionDef": "write the function above, not inside another",
    "AsyncFunctionDef": "write `def`",
    "IfExp": "write an `if` statement",
    "JoinedStr": "write the whole text as one literal",
    "Starred": "name each argument",
    "Set": "write a list",
    "Tuple": "write a list",
    "SetComp": _OTHER_LOOP,
    "DictComp": _OTHER_LOOP,
    "GeneratorExp": _OTHER_LOOP,
    "Slice": "write a list comprehension with an `if`",
    "Match": "write `if` and `elif`",
    "Break": "put the rest under an `if`, or `return`",
    "Continue": "put the rest under an `if`",
    "Pass": "leave the branch out",
    "Expr": "assign or return the value",
    "Delete": "nothing needs deleting; every name ends with its function",
    "Global": "pass the value as an argument",
    "Nonlocal": "pass the value as an argument",
    "Await": "call the function directly",
    "Yield": "write `return`",
    "YieldFrom": "write `return`",
    "With": "there is nothing to open or close",
}


class ContractRefused(Exception):  # noqa: N818 - a refusal, named like those of node.errors
    """A text that is not a contract: where (line and column, from 1), which rule, what to write instead."""

    def __init__(self, line: int, column: int, rule: str, instead: str) -> None:
        self.line, self.column, self.rule, self.instead = line, column, rule, instead
        super().__init__(f"line {line}, column {column}: {rule}; {instead}")


def check(text: str) -> ast.Module:
    """Give the syntax tree of a contract text; raise `ContractRefused` at the first broken rule."""
    return examine(text)[0]


def examine(text: str) -> tuple[ast.Module, dict[str, int]]:
    """Give the tree, and the most steps each entry point can take; raise `ContractRefused` as `check`."""
    _check_characters(text)
    tree = _parse(text)
    _check_depth(tree)
    checker = _Checker(text)
    try:
        checker.module(tree)
    except ContractRefused as refused:  # Python counts the bytes before a column, a person the characters
        before = checker.lines[refused.line - 1].encode()[: refused.column - 1].decode()
        raise ContractRefused(refused.line, len(before) + 1, refused.rule, refused.instead) from None
    return tree, {name: checker.functions[name].steps for name in ENTRY_POINTS}


def _check_characters(text: str) -> None:
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise ContractRefused(1, 1, f"a contract has at most {MOST_BYTES} bytes", "shorten it")
    foreign = _FOREIGN.search(text)
    if foreign:
        start = foreign.start()
        column = start - text.rfind("\n", 0, start)
        rule = f"the character U+{ord(foreign.group()):04X} is not allowed"
        instead = "use printable ASCII and accented Latin letters, spaces to indent, and no backslash"
        raise ContractRefused(text.count("\n", 0, start) + 1, column, rule, instead)


def _parse(text: str) -> ast.Module:
    try:
        return ast.parse(text, feature_version=(3, 11))
    except SyntaxError as error:
        rule = f"this is not Python ({error.msg})"
        raise ContractRefused(error.lineno or 1, error.offset or 1, rule, "correct the syntax") from None
    except (RecursionError, MemoryError, ValueError):
        raise ContractRefused(1, 1, "the text is nested too deeply to read", "write it flatter") from None


def _check_depth(tree: ast.Module) -> None:
    pending: list[tuple[ast.AST, int, int]] = [(tree, 0, 1)]
    while pending:
        node, depth, above = pending.pop()
        line = getattr(node, "lineno", above)
        if depth > MOST_DEPTH:
            rule = f"nothing is nested deeper than {MOST_DEPTH} levels"
            raise ContractRefused(line, 1, rule, "assign the inner part to a name, or write a function")
        pending.extend((child, depth + 1, line) for child in ast.iter_child_nodes(node))


def _refuse(node: ast.stmt | ast.expr | ast.arg, rule: str, instead: str) -> NoReturn:
    raise ContractRefused(node.lineno, node.col_offset + 1, rule, instead)


@dataclass(frozen=True, slots=True)
class _Function:
    """What a call needs to know: parameters, steps at most, and how many functions wait in it at most."""

    arity: int
    steps: int
    deep: int


def _without_docstring(body: Sequence[ast.stmt]) -> Sequence[ast.stmt]:
    first = body[0] if body else None
    documented = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    return body[1:] if documented else body


class _Checker:
    """One pass over a tree; every method gives the steps its node can take at most."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.defined: frozenset[str] = frozenset()
        self.functions: dict[str, _Function] = {}
        self.parameters: frozenset[str] = frozenset()
        self.assigned: set[str] = set()
        self.loops: list[str] = []
        self.deep = 1

    def module(self, tree: ast.Module) -> None:
        self.defined = frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))
        for node in _without_docstring(tree.body):
            if not isinstance(node, ast.FunctionDef):
                self.not_listed(node)
            self.function(node)
        for name in ENTRY_POINTS:
            if name not in self.functions:
                rule = f"a contract defines `{name}`"
                raise ContractRefused(1, 1, rule, f"write `def {name}({', '.join(ENTRY_POINTS[name])}):`")

    def function(self, node: ast.FunctionDef) -> None:
        if node.decorator_list or node.returns or getattr(node, "type_params", None):
            _refuse(node, "a function has no decorator, type or type parameter", "write only its name")
        self.name(node, node.name)
        if node.name in self.functions:
            _refuse(node, f"`{node.name}` is defined twice", "give each function a name of its own")
        parameters = self.parameters_of(node)
        if parameters != ENTRY_POINTS.get(node.name, parameters):
            expected = ", ".join(ENTRY_POINTS[node.name])
            _refuse(node, f"`{node.name}` has fixed parameters", f"write `def {node.name}({expected}):`")
        self.parameters, self.assigned, self.deep = frozenset(parameters), set(), 1
        steps = self.block(_without_docstring(node.body))
        if steps > MOST_STEPS:
            rule = f"`{node.name}` may take {steps} steps; at most {MOST_STEPS} are allowed"
            _refuse(node, rule, "nest fewer loops, or call fewer functions inside them")
        if self.deep > MOST_CALLS_DEEP:
            rule = (
                f"`{node.name}` is a call {self.deep} functions deep; at most {MOST_CALLS_DEEP} are allowed"
            )
            _refuse(node, rule, "write it with fewer functions that call each other")
        # Registered only now: a function that is not above its caller does not exist, so nothing recurs.
        self.functions[node.name] = _Function(len(parameters), steps, self.deep)

    def parameters_of(self, node: ast.FunctionDef) -> tuple[str, ...]:
        args = node.args
        if args.posonlyargs or args.kwonlyargs or args.vararg or args.kwarg or args.defaults:
            _refuse(node, "parameters are plain names", "write `def name(first, second):`")
        for arg in args.args:
            if arg.annotation:
                _refuse(arg, "a parameter has no type", "write only its name")
            self.variable(arg, arg.arg)
        names = tuple(arg.arg for arg in args.args)
        if len(set(names)) < len(names):
            _refuse(node, "two parameters have one name", "give each parameter a name of its own")
        return names

    def name(self, node: ast.stmt | ast.expr | ast.arg, name: str) -> None:
        if name in ARITY:
            _refuse(node, f"`{name}` is a built-in function", "choose another name")
        if not _NAME.fullmatch(name):
            rule = "a name is lower or upper case ASCII letters, digits and _, starts with a letter"
            _refuse(node, rule, "choose a plain name of at most 64 characters")

    def variable(self, node: ast.expr | ast.arg, name: str) -> None:
        self.name(node, name)
        if name in self.defined:
            _refuse(node, f"`{name}` is already a function", "choose another name")

    def block(self, body: Sequence[ast.stmt]) -> int:
        return sum(self.statement(node) for node in body)

    def statement(self, node: ast.stmt) -> int:
        check_node = _STATEMENTS.get(type(node))
        return check_node(self, node) if check_node else self.not_listed(node)

    def expression(self, node: ast.expr) -> int:
        check_node = _EXPRESSIONS.get(type(node))
        return check_node(self, node) if check_node else self.not_listed(node)

    def not_listed(self, node: ast.stmt | ast.expr) -> NoReturn:
        kind = type(node).__name__
        instead = _INSTEAD.get(kind, "use only what docs/contracts.md lists")
        _refuse(node, f"{kind} is not part of the language here", instead)

    def assign(self, node: ast.Assign) -> int:
        target = node.targets[0]
        if len(node.targets) > 1 or not isinstance(target, ast.Name):
            _refuse(node, "one plain name is assigned at a time", "write `name = value`")
        steps = self.expression(node.value)
        self.variable(target, target.id)
        if target.id in self.parameters or target.id in self.loops:
            rule = f"`{target.id}` is a parameter or the item of a loop"
            _refuse(target, rule, "assign to a new name")
        self.assigned.add(target.id)
        return 1 + steps

    def if_(self, node: ast.If) -> int:
        return 1 + self.expression(node.test) + self.block(node.body) + self.block(node.orelse)

    def for_(self, node: ast.For) -> int:
        if node.orelse:
            _refuse(node, "a loop has no `else`", "write what follows below the loop")
        steps = self.expression(node.iter)
        self.enter_loop(node, node.target)
        inside = self.block(node.body)
        self.loops.pop()
        return 1 + steps + MOST_ITEMS * inside

    def enter_loop(self, node: ast.stmt | ast.expr, target: ast.expr) -> str:
        if not isinstance(target, ast.Name):
            _refuse(node, "a loop has one plain name for its item", "write `for item in items`")
        self.variable(target, target.id)
        if self.known(target.id):
            _refuse(target, f"`{target.id}` is already in use", "give the item of the loop a new name")
        self.loops.append(target.id)
        return target.id

    def return_(self, node: ast.Return) -> int:
        if node.value is None:
            _refuse(node, "`return` gives a value", "write what is returned")
        return 1 + self.expression(node.value)

    def known(self, name: str) -> bool:
        return name in self.parameters or name in self.assigned or name in self.loops

    def constant(self, node: ast.Constant) -> int:
        if type(node.value) not in (str, int, bool, type(None)):
            rule = f"{type(node.value).__name__} is not a kind of value here"
            _refuse(node, rule, "write a text, a whole number, True, False or None")
        if type(node.value) is int:
            self.integer(node, node.value)
        return 1

    def integer(self, node: ast.Constant, value: int) -> None:
        line = self.lines[node.lineno - 1].encode()
        written = line[node.col_offset :].decode()
        if value > LARGEST_INTEGER or not _NUMBER.match(written):
            _refuse(node, "a number is decimal digits, below 2 to the 53rd", "write it plainly")

    def load(self, node: ast.Name) -> int:
        if node.id in self.defined or node.id in ARITY:
            _refuse(node, f"`{node.id}` is a function, not a value", "call it")
        if not self.known(node.id):
            _refuse(node, f"`{node.id}` is not defined above", "assign it first, or pass it as an argument")
        return 1

    def constants(self, node: ast.List) -> int:
        self.small(node)
        return 1 + sum(self.element(item) for item in node.elts)

    def small(self, node: ast.List | ast.Dict) -> None:
        elements = sum(_elements(inner) for inner in ast.walk(node))
        if elements > MOST_ITEMS:
            rule = (
                f"a list or dict has at most {MOST_ITEMS} items, those of the lists and dicts in it included"
            )
            _refuse(node, rule, "put longer lists into the terms")

    def table(self, node: ast.Dict) -> int:
        self.small(node)
        for key in node.keys:
            if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                _refuse(node, "the keys of a dict are written as texts", 'write `{"name": value}`')
        return 1 + sum(1 + self.element(value) for value in node.values)

    def element(self, node: ast.expr) -> int:
        if not isinstance(node, ast.Constant | ast.List | ast.Dict):
            rule = "a list or dict is made of constants"
            where = ", ".join(sorted(_TAKES_COMPUTED_LIST))
            _refuse(node, rule, f"computed elements may stand only in the arguments of {where}")
        return self.expression(node)

    def compare(self, node: ast.Compare) -> int:
        operator, right = node.ops[0], node.comparators[0]
        if len(node.ops) > 1:
            _refuse(node, "one comparison at a time", "write `a < b and b < c`")
        if not isinstance(operator, _COMPARISONS):
            _refuse(node, f"`{type(operator).__name__}` is not a comparison here", "write == or !=")
        if isinstance(operator, ast.In | ast.NotIn) and isinstance(right, ast.Constant):
            _refuse(right, "`in` looks into a list or dict", "write a list, or ==")
        return MOST_ITEMS + self.expression(node.left) + self.expression(right)

    def bool_op(self, node: ast.BoolOp) -> int:
        return 1 + sum(self.expression(value) for value in node.values)

    def unary(self, node: ast.UnaryOp) -> int:
        if not isinstance(node.op, ast.Not):
            _refuse(node, "there is no arithmetic", "the only operator before a value is `not`")
        return 1 + self.expression(node.operand)

    def subscript(self, node: ast.Subscript) -> int:
        if not isinstance(node.value, ast.Name | ast.Call | ast.Subscript):
            _refuse(node, "only a name or a result is subscripted", "assign the value to a name first")
        return 1 + self.expression(node.value) + self.expression(node.slice)

    def call(self, node: ast.Call) -> int:
        if not isinstance(node.func, ast.Name):
            _refuse(node, "a function is called by its name", "write `name(...)`")
        if node.keywords:
            _refuse(node, "arguments are given by position", "write only the values")
        name = node.func.id
        fewest, most, steps = self.signature(node, name)
        if not fewest <= len(node.args) <= most:
            _refuse(node, f"`{name}` takes {fewest} to {most} arguments", "give as many as it takes")
        return 1 + steps + sum(self.argument(name, argument) for argument in node.args)

    def signature(self, node: ast.Call, name: str) -> tuple[int, int, int]:
        if name in self.functions:
            called = self.functions[name]
            self.deep = max(self.deep, 1 + called.deep)
            return called.arity, called.arity, called.steps
        if name not in ARITY:
            rule = f"there is no function `{name}` above this line"
            _refuse(node, rule, "define it further up; a function cannot call itself")
        return *ARITY[name], MOST_ITEMS * ARITY[name][0] if name in _READS_LISTS else 1

    def argument(self, function: str, node: ast.expr) -> int:
        if isinstance(node, ast.List) and function in _TAKES_COMPUTED_LIST:
            return 1 + sum(self.expression(item) for item in node.elts)
        return self.expression(node)

    def comprehension(self, node: ast.ListComp) -> int:
        loop = node.generators[0]
        if len(node.generators) > 1 or loop.is_async:
            _refuse(node, "a comprehension has one plain `for`", "write the inner loop as a `for` statement")
        steps = self.expression(loop.iter)
        variable = self.enter_loop(node, loop.target)
        inside = self.expression(node.elt) + sum(self.expression(test) for test in loop.ifs)
        if not _is_part(node.elt, variable):
            rule = "a comprehension keeps its own item, a part of it, or a constant"
            _refuse(node.elt, rule, f"write `{variable}`, `{variable}[...]` or `get({variable}, ...)`")
        self.loops.pop()
        return 1 + steps + MOST_ITEMS * inside


def _elements(node: ast.AST) -> int:
    return (
        len(node.elts) if isinstance(node, ast.List) else len(node.keys) if isinstance(node, ast.Dict) else 0
    )


def _is_part(node: ast.expr, variable: str) -> bool:
    """Whether the value can be no larger than the loop's item: what keeps lists from growing."""
    if isinstance(node, ast.Subscript):
        return _is_part(node.value, variable) and not isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Call):
        getting = isinstance(node.func, ast.Name) and node.func.id == "get"
        constant = all(isinstance(argument, ast.Constant) for argument in node.args[1:])
        return getting and constant and _is_part(node.args[0], variable)
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id == variable)


_STATEMENTS: dict[type[ast.stmt], Callable[[_Checker, ast.stmt], int]] = {
    ast.Assign: _Checker.assign,  # type: ignore[dict-item]
    ast.If: _Checker.if_,  # type: ignore[dict-item]
    ast.For: _Checker.for_,  # type: ignore[dict-item]
    ast.Return: _Checker.return_,  # type: ignore[dict-item]
}
_EXPRESSIONS: dict[type[ast.expr], Callable[[_Checker, ast.expr], int]] = {
    ast.Constant: _Checker.constant,  # type: ignore[dict-item]
    ast.Name: _Checker.load,  # type: ignore[dict-item]
    ast.List: _Checker.constants,  # type: ignore[dict-item]
    ast.Dict: _Checker.table,  # type: ignore[dict-item]
    ast.Compare: _Checker.compare,  # type: ignore[dict-item]
    ast.BoolOp: _Checker.bool_op,  # type: ignore[dict-item]
    ast.UnaryOp: _Checker.unary,  # type: ignore[dict-item]
    ast.Subscript: _Checker.subscript,  # type: ignore[dict-item]
    ast.Call: _Checker.call,  # type: ignore[dict-item]
    ast.ListComp: _Checker.comprehension,  # type: ignore[dict-item]
}
