"""JSON with exactly one spelling: RFC 8785 (JCS) on a safe subset.

The subset: null, booleans, integers within 2^53 - 1, text in Unicode NFC, arrays, and objects with
ASCII keys, nested at most 32 deep. On it every JCS writer gives the same bytes.
Guarantees that `decode` accepts only what `encode` writes, so that duplicate keys, spare white
space and other escapes never arrive. Refuses floats, and every Python type that only resembles
a JSON one (enumerations, subclasses, dates, dataclasses).
"""

from hashlib import sha256
from typing import TypeAlias, cast
from unicodedata import is_normalized

import orjson

from node.errors import SHOWN_CHARACTERS, Malformed, problem

Json: TypeAlias = bool | int | str | list["Json"] | dict[str, "Json"] | None

LIMIT_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_INTEGER = (1 << 53) - 1

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


def encode(value: object) -> bytes:
    """The canonical bytes of a JSON value; tuples are written as arrays.

    Raises `Malformed`, naming the path, for what lies outside the subset.
    """
    try:
        _check(value, 0)
    except _Outside as outside:
        path = "".join(["$", *reversed(outside.path)])
        raise _refused(path, outside.value, outside.rule) from None
    return orjson.dumps(value, option=_OPTIONS)


def decode(encoded: bytes, limit: int = LIMIT_BYTES) -> Json:
    """The value of canonical bytes, of which there may be at most `limit`.

    Raises `Malformed` for anything that `encode` would not have written byte for byte.
    """
    if len(encoded) > limit:
        raise _refused("$", f"{len(encoded)} bytes", f"must be at most {limit} bytes")
    try:
        value = orjson.loads(encoded)
    except orjson.JSONDecodeError as error:
        raise _refused("$", encoded[:SHOWN_CHARACTERS], f"must be JSON in UTF-8: {error}") from error
    if encode(value) != encoded:
        rule = "must be canonical: sorted unique keys, no white space, shortest escapes"
        raise _refused("$", encoded[:SHOWN_CHARACTERS], rule)
    return cast(Json, value)


def digest(value: object) -> bytes:
    """SHA-256 of the canonical bytes: 32 bytes. Raises `Malformed` as `encode` does."""
    return sha256(encode(value)).digest()


def _check(value: object, depth: int) -> None:
    kind = type(value)
    if kind is str:
        _check_text(cast(str, value))
    elif kind is int:
        if not -MAX_INTEGER <= cast(int, value) <= MAX_INTEGER:
            raise _Outside(value, "must lie within 2^53 - 1; write a larger number as text")
    elif kind is dict:
        _check_members(cast("dict[object, object]", value), _deeper(depth))
    elif kind is list or kind is tuple:
        _check_elements(cast("list[object]", value), _deeper(depth))
    elif value is not None and kind is not bool:
        raise _Outside(value, f"must be a JSON value without floats, not {kind.__name__}")


def _check_text(text: str) -> None:
    if not is_normalized("NFC", text):
        raise _Outside(text, "must be in Unicode normal form C")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Outside(ascii(text), "must be text that UTF-8 can carry, without lone surrogates") from None


def _check_members(members: dict[object, object], depth: int) -> None:
    for key, member in members.items():
        if type(key) is not str or not key.isascii():
            raise _Outside(ascii(key), "must have keys of ASCII text only")
        if type(member) is not str or not member.isascii():
            try:
                _check(member, depth)
            except _Outside as outside:
                outside.path.append(f".{key}")
                raise


def _check_elements(elements: list[object], depth: int) -> None:
    for position, element in enumerate(elements):
        if type(element) is not str or not element.isascii():
            try:
                _check(element, depth)
            except _Outside as outside:
                outside.path.append(f"[{position}]")
                raise


def _deeper(depth: int) -> int:
    if depth == MAX_DEPTH:
        raise _Outside("...", f"must be nested at most {MAX_DEPTH} deep")
    return depth + 1


class _Outside(Exception):  # noqa: N818  # it lies outside the subset
    """A value outside the subset; each level it leaves adds its place, the innermost first."""

    def __init__(self, value: object, rule: str) -> None:
        self.value, self.rule, self.path = value, rule, list[str]()


def _refused(path: str, value: object, rule: str) -> Malformed:
    return Malformed("JSON to be signed or hashed was refused", problems=[problem(path, value, rule)])
