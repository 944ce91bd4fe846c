"""Running a contract: the same text and inputs give the same answer on every machine.

Guarantees that what was not shared explicitly is withheld: an error in a contract is an answer that
withholds, whose reason names the kind of error and the line and nothing that differs between machines
or Python versions. Refuses to load a text outside the language. A contract changes nothing it is
given: the language has no way to write into a list or dict, so inputs are passed as they are.
"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import CodeType, TracebackType

from contracts.functions import FUNCTIONS, Answer, Misuse, Ruling, items_of
from contracts.language import examine

__all__ = ["Answer", "Contract", "Ruling", "load"]

_FILE = "<contract>"
# A contract's own names never begin with an underscore, so it cannot reach or replace this one.
_ITEMS_OF = "_items_of"


@dataclass(frozen=True, slots=True)
class Contract:
    """A checked text, the SHA-256 (hex) of its UTF-8 bytes, and its functions with the most steps of each."""

    text: str
    sha256: str
    steps: Mapping[str, int] = field(compare=False)
    _functions: dict[str, Callable[..., object]] = field(repr=False, compare=False)

    def decide(self, record: dict[str, object], terms: dict[str, object], today: str) -> Answer:
        """Ask which fields of a record (operator JSON) one partner may have on a day (`YYYY-MM-DD`)."""
        try:
            answer = self._functions["decide"](record, terms, today)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the answer is to withhold
            return Answer(False, (), self._reason(error))
        if type(answer) is not Answer:
            return Answer(False, (), "contract error: decide gave neither share nor withhold")
        return answer

    def govern(
        self, act: dict[str, object], terms: dict[str, object], signatures: list[str], today: str
    ) -> Ruling:
        """Ask whether an act takes effect, given the countries whose signatures over it hold."""
        try:
            ruling = self._functions["govern"](act, terms, signatures, today)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the act takes no effect
            return Ruling(False, (), self._reason(error))
        if type(ruling) is not Ruling:
            return Ruling(False, (), "contract error: govern gave no ruling")
        return _after_signatures(ruling, signatures)

    def _reason(self, error: Exception) -> str:
        return f"contract error: {_named(error)}, line {_line(error.__traceback__)}"


def _named(error: Exception) -> str:
    if isinstance(error, Misuse):
        return str(error)
    # Which of the two it is for a name in a comprehension differs between versions of Python.
    return "NameError" if isinstance(error, NameError) else type(error).__name__


def _line(traceback: TracebackType | None) -> int:
    """Give the first line of the failing statement, to which everything in the statement was moved."""
    line = 1
    while traceback:
        if traceback.tb_frame.f_code.co_filename == _FILE:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def load(text: str) -> Contract:
    """Check and compile a contract text; raise `ContractRefused` if it is outside the language."""
    tree, steps = examine(text)
    code = compile(_ready(tree), _FILE, "exec")
    return Contract(text, sha256(text.encode()).hexdigest(), steps, _functions_in(code))


def _functions_in(code: CodeType) -> dict[str, Callable[..., object]]:
    names: dict[str, object] = {**FUNCTIONS, _ITEMS_OF: items_of, "__builtins__": {}}
    # What the checker accepts at top level is function definitions, so this defines and runs nothing.
    exec(code, names)  # noqa: S102
    return {name: value for name in ("decide", "govern") if callable(value := names[name])}


def _after_signatures(ruling: Ruling, signatures: list[str]) -> Ruling:
    if not ruling.missing:
        return ruling
    missing = tuple(country for country in ruling.missing if country not in signatures)
    reason = f"not yet signed by {', '.join(missing)}" if missing else ""
    return Ruling(not missing, missing, reason)


def _ready(tree: ast.Module) -> ast.Module:
    """Put `items_of` around what each loop runs over, and each expression onto its statement's first line.

    Python versions differ on the line of an error within a statement of several lines.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.comprehension):
            node.iter = ast.Call(ast.Name(_ITEMS_OF, ast.Load()), [node.iter], [])
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            _onto(
                node.lineno, [each for each in ast.iter_child_nodes(node) if not isinstance(each, ast.stmt)]
            )
    return tree


def _onto(line: int, pending: list[ast.AST]) -> None:
    while pending:
        node = pending.pop()
        if isinstance(node, ast.expr | ast.arg):
            node.lineno = node.end_lineno = line
            node.col_offset = node.end_col_offset = 0
        pending.extend(ast.iter_child_nodes(node))
