"""Small files that a command is given: read whole, within a bound, `-` for standard input."""

import sys
from pathlib import Path
from typing import Any

import orjson

from node.errors import Malformed, TooMuch


def read_text(path: Path, limit_bytes: int) -> str:
    """The UTF-8 text of a file; `Malformed` when it cannot be read, `TooMuch` beyond the bound."""
    try:
        if str(path) == "-":
            content = sys.stdin.buffer.read(limit_bytes + 1)
        else:
            with path.open("rb") as file:
                content = file.read(limit_bytes + 1)
        if len(content) > limit_bytes:
            raise TooMuch("the file is too large", where=str(path), why=f"at most {limit_bytes} bytes")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed("the file cannot be read", where=str(path), why=str(error)) from None


def read_object(path: Path, limit_bytes: int) -> dict[str, Any]:
    """The JSON object in a file; raises as `read_text` does."""
    try:
        found = orjson.loads(read_text(path, limit_bytes))
    except orjson.JSONDecodeError as error:
        raise Malformed("the file is not JSON", where=str(path), why=str(error)) from None
    if not isinstance(found, dict):
        raise Malformed("the file does not hold one JSON object", where=str(path))
    return found
