"""Bytes and numbers as text, one spelling each.

Guarantees that `decode(text)` succeeds only if encoding the result gives the same text again, so
that no two texts stand for the same bytes or number (RFC 4648, with and without padding).
Refuses stray characters, wrong or missing padding, non-zero trailing bits, leading zeros, signs,
and the digits of other scripts, all of which Python's own decoders let through.
"""

from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence

from node.errors import Malformed, problem

DECIMAL_DIGITS = 20

_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def b64(value: bytes) -> str:
    """Bytes as standard base64 with padding (RFC 4648 section 4)."""
    return b2a_base64(value, newline=False).decode("ascii")


def unb64(text: str) -> bytes:
    """The bytes that `b64` writes as `text`; `Malformed` for any other spelling."""
    try:
        value = a2b_base64(text)
    except ValueError:
        raise _not_base64(text, "standard base64 with padding") from None
    if b64(value) != text:
        raise _not_base64(text, "standard base64 with padding")
    return value


def b64u(value: bytes) -> str:
    """Bytes as URL-safe base64 without padding (RFC 4648 section 5)."""
    return b2a_base64(value, newline=False).translate(_TO_URL_SAFE, b"=").decode("ascii")


def b64u_each(values: Sequence[bytes]) -> list[str]:
    """`b64u` of each of some values; in one go if they are of one length."""
    sizes = {*map(len, values)}
    if len(sizes) != 1 or 0 in sizes:
        return [b64u(value) for value in values]
    (size,) = sizes
    gap = bytes(-size % 3)  # behind a gap that fills up three bytes each value begins a text of its own
    together = b2a_base64(gap.join(values) + gap, newline=False).translate(_TO_URL_SAFE).decode("ascii")
    step, shown = (size + len(gap)) // 3 * 4, (size * 4 + 2) // 3
    return [together[at : at + shown] for at in range(0, len(together), step)]


def unb64u(text: str) -> bytes:
    """The bytes that `b64u` writes as `text`; `Malformed` for any other spelling."""
    try:
        # Spare padding is ignored, and whatever else is let through is spelt otherwise when written again.
        value = a2b_base64(text.encode("ascii").translate(_FROM_URL_SAFE) + b"==")
    except ValueError:
        raise _not_base64(text, "URL-safe base64 without padding") from None
    if b64u(value) != text:
        raise _not_base64(text, "URL-safe base64 without padding")
    return value


def parse_decimal(text: str, field: str) -> int:
    """A whole number from 0 on, of at most 20 ASCII digits and no leading zero; else `Malformed`."""
    digits = len(text) <= DECIMAL_DIGITS and text.isascii() and text.isdigit()
    if not digits or (text[0] == "0" and text != "0"):
        rule = "must be a decimal number without sign or leading zero"
        raise Malformed("a number was refused", problems=[problem(field, text, rule)])
    return int(text)


def _not_base64(text: str, form: str) -> Malformed:
    rule = f"must be {form}, in its only spelling"
    return Malformed("encoded bytes were refused", problems=[problem("base64", text, rule)])
