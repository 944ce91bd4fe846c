"""Terms and contracts as a command is given them: ready-made by name, or a file of one's own."""

from pathlib import Path
from typing import Any, Final

from clients.cli.files import read_object, read_text
from clients.cli.output import join
from node.errors import NotFound

TERMS_LIMIT_BYTES: Final = 2**20
CONTRACT_LIMIT_BYTES: Final = 65_536
READY_MADE: Final = {"contract": ("contracts.rules", ".py"), "terms": ("contracts.terms", ".json")}


def terms_of(name: str) -> dict[str, Any]:
    """Ready-made terms by name, or those in a JSON file; `NotFound` or `Malformed` when there are none."""
    from contracts.terms import terms

    if is_path(name):
        return read_object(Path(name), TERMS_LIMIT_BYTES)
    try:
        return terms(name)
    except FileNotFoundError:
        raise _no_such("terms", name) from None


def contract_of(name: str) -> str:
    """The text of a published contract by name, or of a file; raises as `terms_of`."""
    from contracts.rules import text

    if is_path(name):
        return read_text(Path(name), CONTRACT_LIMIT_BYTES)
    try:
        return text(name)
    except FileNotFoundError:
        raise _no_such("contract", name) from None


def text_of(name: str) -> str:
    """The text of what is ready-made under a name, contract or terms; `NotFound` when nothing is."""
    from importlib.resources import files

    for folder, ending in READY_MADE.values():
        if name in _names(folder, ending):
            return files(folder).joinpath(name + ending).read_text("utf-8")
    known = ", ".join(join(_names(*where)) for where in READY_MADE.values())
    raise NotFound("nothing ready-made has this name", where=name, why=f"there are: {known}", do="name one")


def is_terms(name: str) -> bool:
    """Whether this names terms, ready-made or in a file, and not an agreement by its id."""
    return (
        Path(name).suffix == ".json"
        or (is_path(name) and Path(name).is_file())
        or name in _names(*READY_MADE["terms"])
    )


def is_path(name: str) -> bool:
    """A ready-made name is letters, digits and underscores; anything else is a file."""
    return not name.replace("_", "").isalnum()


def _no_such(kind: str, name: str) -> NotFound:
    why = f"ready-made are: {join(_names(*READY_MADE[kind]))}"
    do = "give a file's path, with its ending, for your own"
    return NotFound(f"no ready-made {kind} of this name", where=name, why=why, do=do)


def _names(folder: str, ending: str) -> list[str]:
    from importlib.resources import files

    names = [file.name for file in files(folder).iterdir()]
    return sorted(name.removesuffix(ending) for name in names if name.endswith(ending) and name[0] != "_")
