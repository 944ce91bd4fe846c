"""One spelling of JSON, and every trap on the way to it."""

from collections import OrderedDict
from datetime import date
from decimal import Decimal
from enum import IntEnum, StrEnum
from hashlib import sha256

import pytest

from node.errors import Malformed
from node.ledger import canonical


class Colour(StrEnum):
    RED = "red"


class Rank(IntEnum):
    FIRST = 1


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_keys_are_sorted_and_no_space_is_spent() -> None:
    value = {"b": [1, -2, True, None], "a": {"z": "", "B": "é\n\x01\x7f"}, "": 0}
    assert canonical.encode(value) == (
        '{"":0,"a":{"B":"é\\n\\u0001\x7f","z":""},"b":[1,-2,true,null]}'.encode()
    )


def test_a_tuple_is_written_as_an_array() -> None:
    assert canonical.encode({"fields": ("a", ("b",))}) == b'{"fields":["a",["b"]]}'


def test_the_digest_is_that_of_the_canonical_bytes() -> None:
    assert canonical.digest({"b": 1, "a": 2}) == sha256(b'{"a":2,"b":1}').digest()


@pytest.mark.parametrize(
    "value", [0, 2**53 - 1, 1 - 2**53, "", "São Paulo", "\x00", "𝄞", [], {}, None, True, [[]]]
)
def test_what_is_written_is_read_back(value: object) -> None:
    assert canonical.decode(canonical.encode(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        2**53,
        -(2**53),
        2**70,
        "e\u0301",
        "\ud800",
        {"é": 1},
        {1: 1},
        {None: 1},
        {Colour.RED: 1},
        Colour.RED,
        Rank.FIRST,
        b"bytes",
        date(2026, 11, 22),
        Decimal(1),
        {1, 2},
        OrderedDict(a=1),
        object(),
        nested(33),
    ],
    ids=lambda value: "object()" if type(value) is object else repr(value),
)
def test_what_lies_outside_the_subset_is_refused_at_any_depth(value: object) -> None:
    for inside in (value, [value], {"a": value}, {"a": [{"b": value}]}):
        with pytest.raises(Malformed):
            canonical.encode(inside)


@pytest.mark.parametrize("wrong", [1.5, 2**53, "e\u0301", "\ud800", {"é": 1}, b""], ids=ascii)
def test_a_refusal_names_the_path_in_text_that_can_be_sent(wrong: object) -> None:
    with pytest.raises(Malformed) as refusal:
        canonical.encode({"sites": [{}, {"area": wrong}]})
    assert refusal.value.problems[0].field == "$.sites[1].area"
    assert str(refusal.value).encode()


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(Malformed, match="nested"):
        canonical.encode(endless)


def test_thirty_two_levels_are_accepted_and_no_more() -> None:
    assert canonical.decode(canonical.encode(nested(32))) == nested(32)
    for depth in (33, 1_000, 100_000):
        with pytest.raises(Malformed):
            canonical.decode(b"[" * depth + b"]" * depth)


@pytest.mark.parametrize(
    "encoded",
    [
        b'{"a":1,"a":2}',
        b'{"a":2,"a":2}',
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"a":1}\n',
        b' {"a":1}',
        b"\xef\xbb\xbf{}",
        b'"\\u0041"',
        b'"\\/"',
        b'"\\u00e9"',
        b'"\\u000A"',
        b'"\\u000a"',
        b'"\\ud800"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        '"e\u0301"'.encode(),
        b"1.0",
        b"1e2",
        b"-0",
        b"-0.0",
        b"01",
        b"+1",
        b"9007199254740992",
        b"99999999999999999999999",
        b"NaN",
        b"Infinity",
        b"{}{}",
        b"{'a':1}",
        b"[1,]",
        b"",
        b"\x00",
    ],
    ids=repr,
)
def test_no_other_bytes_are_read(encoded: bytes) -> None:
    with pytest.raises(Malformed):
        canonical.decode(encoded)


def test_more_bytes_than_the_limit_are_refused_unread() -> None:
    assert canonical.decode(b"[1,2]", limit=5) == [1, 2]
    with pytest.raises(Malformed, match="at most 4 bytes"):
        canonical.decode(b"[1,2]", limit=4)
    with pytest.raises(Malformed, match="at most 1048576 bytes"):
        canonical.decode(b" " * (2**20 + 1))
