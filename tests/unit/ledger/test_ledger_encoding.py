"""Every byte string and number has one spelling; Python's own decoders know several."""

from collections.abc import Callable

import pytest

from node.errors import Malformed
from node.ledger.encoding import b64, b64u, b64u_each, parse_decimal, unb64, unb64u


@pytest.mark.parametrize(
    ("value", "text"), [(b"", ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"\xfb\xff", "+/8=")]
)
def test_standard_base64_is_that_of_rfc4648(value: bytes, text: str) -> None:
    assert b64(value) == text
    assert unb64(text) == value


@pytest.mark.parametrize(("value", "text"), [(b"", ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"\xfb\xff", "-_8")])
def test_url_safe_base64_is_that_of_rfc4648_without_padding(value: bytes, text: str) -> None:
    assert b64u(value) == text
    assert unb64u(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "Zh==",
        "Zg",
        "Zg=",
        "Zg===",
        "Zm8=\n",
        " Zm8=",
        "Zm 8=",
        "Zm8=Zm8=",
        "-_8=",
        "Zm8=!",
        "Z",
        "Ｚg==",
        "\ud800",
    ],
)
def test_no_second_spelling_of_standard_base64_is_read(text: str) -> None:
    with pytest.raises(Malformed, match="base64"):
        unb64(text)


@pytest.mark.parametrize(
    "text", ["Zh", "Zg==", "Zg=", "Zm8\n", " Zm8", "Zm 8", "+/8", "Zm8!", "Z", "Zm8=", "Ｚg", "é"]
)
def test_no_second_spelling_of_url_safe_base64_is_read(text: str) -> None:
    with pytest.raises(Malformed, match="base64"):
        unb64u(text)


@pytest.mark.parametrize("decode", [unb64, unb64u])
def test_a_refusal_of_a_long_text_shows_a_short_one(decode: Callable[[str], bytes]) -> None:
    with pytest.raises(Malformed) as refusal:
        decode("!" * 100_000)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("number", [0, 7, 10, 70_000, 2**63 - 1, 2**64 - 1])
def test_a_decimal_is_read_as_it_is_written(number: int) -> None:
    assert parse_decimal(str(number), "size") == number


@pytest.mark.parametrize(
    "text",
    ["", "007", "00", "+7", "-7", "-0", "1_0", " 5", "5\n", "5 ", "٣", "²", "7.0", "1e3", "0x1", "9" * 21],
)
def test_no_second_spelling_of_a_decimal_is_read(text: str) -> None:
    with pytest.raises(Malformed, match="size"):
        parse_decimal(text, "size")


@pytest.mark.parametrize("size", range(70))
def test_many_at_once_are_written_as_each_by_itself(size: int) -> None:
    values = [bytes((at * 37 + place) % 256 for place in range(size)) for at in range(5)]
    for some in ([], values[:1], values, [*values, b"another length"]):
        assert b64u_each(some) == [b64u(each) for each in some]
