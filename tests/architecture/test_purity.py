"""What import-linter cannot see: the pure packages ask for time, randomness and files, and never fetch."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PURE = ("node/ledger", "node/records", "node/agreements", "contracts")
READ_PACKAGE_FILES = ("contracts/rules/__init__.py", "contracts/terms/__init__.py")
READ_ENVIRONMENT = ["node/keys.py"]
"""Settings are read from it by pydantic, in `node/settings.py`."""
RUNS_CONTRACTS = "contracts/evaluation.py"
"""The one place that runs text, once the language checker has accepted it."""
MIGRATIONS = "node/store/migrations/versions/"
"""One table after the other; their length is the schema's."""
LONGEST = 60

IMPURE_MODULES = frozenset(("time", "random", "secrets", "uuid", "os", "sys", "io", "socket", "threading"))
IMPURE_MODULES |= {"pathlib", "tempfile", "subprocess", "shutil", "importlib", "asyncio", "logging", "locale"}
IMPURE_CALLS = frozenset(("open", "print", "input", "float", "exec", "eval", "id", "hash", "__import__"))
IMPURE_METHODS = frozenset(("now", "utcnow", "today", "fromtimestamp", "urandom", "getenv", "read_text"))
IMPURE_METHODS |= {"read_bytes", "write_text", "write_bytes", "astimezone"}
NAMELESS = frozenset(("manager", "helper", "helpers", "util", "utils", "data", "process"))


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found, folders
    return found


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


PURE_FILES = [p for p in sources(*PURE) if place(p) not in READ_PACKAGE_FILES]
ALL_FILES = sources("node", "contracts", "clients")


def impurities(tree: ast.AST) -> Iterator[str]:
    """What in a syntax tree could give another answer another time, or on another machine."""
    for node in ast.walk(tree):
        what = _impurity(node)
        if what:
            yield f"line {getattr(node, 'lineno', 0)}: {what}"


def _impurity(node: ast.AST) -> str | None:
    match node:
        case ast.Import(names=names):
            modules = {alias.name.split(".")[0] for alias in names}
            return _listed("import of", modules & IMPURE_MODULES)
        case ast.ImportFrom(module=str(module), names=names):
            found = {module.split(".")[0]} & IMPURE_MODULES
            return _listed("import from", found)
        case ast.Constant(value=float() | complex()):
            return "a float"
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            return "a division that gives a float"
        case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
            return f"a call of {name}"
        case ast.Call(func=ast.Attribute(attr=name)) if name in IMPURE_METHODS:
            return f"a call of .{name}"
        case ast.For(iter=walked) | ast.comprehension(iter=walked) if _is_set(walked):
            return "a walk over a set, in whatever order"
        case ast.Call(func=ast.Name(id="list" | "tuple"), args=[walked]) if _is_set(walked):
            return "a set in whatever order"
        case ast.Call(func=ast.Attribute(attr="join"), args=[walked]) if _is_set(walked):
            return "a set joined in whatever order"
    return None


def _listed(what: str, found: set[str] | frozenset[str]) -> str | None:
    return f"{what} {', '.join(sorted(found))}" if found else None


def _is_set(node: ast.expr) -> bool:
    """Whether an expression is a set by its form: a literal, a call, or set algebra over one."""
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr() | ast.Sub() | ast.BitXor(), right=right):
            return _is_set(left) or _is_set(right)
    return False


def reads_environment(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr="environ" | "environb" | "getenv"):
                return True
            case ast.ImportFrom(module="os", names=names) if {n.name for n in names} & {"environ", "getenv"}:
                return True
    return False


def long_functions(tree: ast.AST) -> list[str]:
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {n.name: (n.end_lineno or n.lineno) - n.lineno + 1 for n in functions}
    return [f"{name}: {length} lines" for name, length in lengths.items() if length > LONGEST]


@pytest.mark.parametrize("path", PURE_FILES, ids=place)
def test_pure_code_fetches_nothing(path: Path) -> None:
    found = [what.split(": ")[1] for what in impurities(ast.parse(path.read_text()))]
    assert found == (["a call of exec"] if place(path) == RUNS_CONTRACTS else [])


@pytest.mark.parametrize(
    "snippet",
    [
        "import time",
        "import os.path",
        "import random as r",
        "from uuid import uuid4",
        "from secrets import token_bytes",
        "from pathlib import Path",
        "def f(): import socket",
        "datetime.now()",
        "date.today()",
        "datetime.datetime.fromtimestamp(5)",
        "os.urandom(3)",
        "x = 0.5",
        "x = 1e3",
        "x = 2j",
        "a / b",
        "a /= b",
        "float('1')",
        "open('f')",
        "folder.read_text()",
        "print(1)",
        "hash('a')",
        "for x in {1, 2}: pass",
        "for x in set(y): pass",
        "[x for x in frozenset(y)]",
        "{x: 1 for x in {z for z in y}}",
        "for x in set(a) - set(b): pass",
        "for x in a | {1}: pass",
        "tuple({1, 2})",
        "', '.join({'a', 'b'})",
    ],
)
def test_the_purity_test_bites(snippet: str) -> None:
    assert list(impurities(ast.parse(snippet)))


@pytest.mark.parametrize(
    "snippet",
    [
        "a // b",
        "for x in sorted({1, 2}): pass",
        "x in {1, 2}",
        "len(set(y))",
        "import datetime",
        "date.fromisoformat('2026-11-22')",
        "from hashlib import sha256",
        "for x in [1, 2]: pass",
        "any(x in {1} for x in y)",
    ],
)
def test_the_purity_test_lets_pure_code_be(snippet: str) -> None:
    assert list(impurities(ast.parse(snippet))) == []


def test_the_environment_is_read_by_hand_in_one_file_of_the_node_only() -> None:
    readers = [p for p in sources("node", "contracts") if reads_environment(ast.parse(p.read_text()))]
    assert [place(path) for path in readers] == READ_ENVIRONMENT


@pytest.mark.parametrize("snippet", ["os.environ['A']", "os.getenv('A')", "from os import environ"])
def test_reading_the_environment_is_seen(snippet: str) -> None:
    assert reads_environment(ast.parse(snippet))


def test_no_module_has_a_name_that_says_nothing() -> None:
    modules = [path for path in ALL_FILES if path.name != "__init__.py"]
    packages = {parent for path in ALL_FILES for parent in path.parents if (parent / "__init__.py").exists()}
    assert [place(path) for path in modules if path.stem in NAMELESS] == []
    assert [place(package) for package in packages if package.name in NAMELESS] == []


@pytest.mark.parametrize("path", ALL_FILES, ids=place)
def test_functions_are_short_and_modules_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert place(path).startswith(MIGRATIONS) or long_functions(tree) == []
    assert ast.get_docstring(tree), "a module without a docstring"


def test_a_long_function_and_a_silent_module_are_seen() -> None:
    tree = ast.parse("def f():\n" + "    x = 1\n" * LONGEST)
    assert long_functions(tree) == [f"f: {LONGEST + 1} lines"]
    assert ast.get_docstring(tree) is None
