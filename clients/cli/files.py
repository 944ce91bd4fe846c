"""Small files that a command reads or writes whole: within a bound, `-` for standard input."""

import sys
from pathlib import Path
from typing import Any

import orjson

from node.errors import Conflict, Malformed, TooMuch, reason


def read_text(path: Path, limit_bytes: int) -> str:
    """The UTF-8 text of a file; `Malformed` when it cannot be read, `TooMuch` beyond the bound."""
    try:
        return read_bytes(path, limit_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        do = "give a text file in UTF-8"
        raise Malformed("the file cannot be read", where=str(path), why=str(error), do=do) from None


def read_bytes(path: Path, limit_bytes: int) -> bytes:
    """The bytes of a file; raises as `read_text` does."""
    try:
        if str(path) == "-":
            content = sys.stdin.buffer.read(limit_bytes + 1)
        else:
            with path.open("rb") as file:
                content = file.read(limit_bytes + 1)
        if len(content) > limit_bytes:
            why, do = f"at most {limit_bytes:,} bytes", "see whether this is the file that was meant"
            raise TooMuch("the file is too large", where=str(path), why=why, do=do)
        return content
    except OSError as error:
        do = "give the path of a file that you may read"
        raise Malformed("the file cannot be read", where=str(path), why=reason(error), do=do) from None


def write_new(path: Path, content: bytes, *, replace: bool) -> None:
    """Write a whole file or none of it; `Conflict` if it exists, unless it is to be replaced."""
    if str(path) == "-" or path.is_dir():
        raise Malformed("this is no file to write", where=str(path), do="name a file, such as out.json")
    if path.exists() and not replace:
        raise Conflict("the file exists", where=str(path), do="name another, or give --force")
    from clients.sdk.auditing import replace_file

    replace_file(path, content)


def read_object(path: Path, limit_bytes: int) -> dict[str, Any]:
    """The JSON object in a file; raises as `read_text` does."""
    try:
        found = orjson.loads(read_text(path, limit_bytes))
    except orjson.JSONDecodeError as error:
        do = "see whether this is the file that was meant"
        raise Malformed("the file is not JSON", where=str(path), why=str(error), do=do) from None
    if not isinstance(found, dict):
        do = "give a file that begins with { and ends with }"
        raise Malformed("the file does not hold one JSON object", where=str(path), do=do)
    return found
