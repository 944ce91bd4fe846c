"""Terms and contracts as a command is given them: ready-made by name, or a file of one's own."""

from pathlib import Path
from typing import Any, Final

from clients.cli.files import read_object, read_text
from clients.cli.output import join
from node.errors import NotFound

TERMS_LIMIT_BYTES: Final = 2**20
CONTRACT_LIMIT_BYTES: Final = 65_536


def terms_of(name: str) -> dict[str, Any]:
    """Ready-made terms by name, or those in a JSON file; `NotFound` or `Malformed` when there are none."""
    from contracts.terms import terms

    if is_path(name):
        return read_object(Path(name), TERMS_LIMIT_BYTES)
    try:
        return terms(name)
    except FileNotFoundError:
        raise _no_such("terms", name, ".json") from None


def contract_of(name: str) -> str:
    """The text of a published contract by name, or of a file; raises as `terms_of`."""
    from contracts.rules import text

    if is_path(name):
        return read_text(Path(name), CONTRACT_LIMIT_BYTES)
    try:
        return text(name)
    except FileNotFoundError:
        raise _no_such("contract", name, ".py") from None


def is_path(name: str) -> bool:
    """A ready-made name is letters, digits and underscores; anything else is a file."""
    return not name.replace("_", "").isalnum()


def _no_such(kind: str, name: str, ending: str) -> NotFound:
    from importlib.resources import files

    names = [
        file.name for file in files("contracts.terms" if kind == "terms" else "contracts.rules").iterdir()
    ]
    known = sorted(name.removesuffix(ending) for name in names if name.endswith(ending) and name[0] != "_")
    why = f"ready-made are: {join(known)}"
    do = "give a file's path, with its ending, for your own"
    return NotFound(f"no ready-made {kind} of this name", where=name, why=why, do=do)
