"""Points in time and calendar days, one spelling each (a profile of RFC 3339).

A moment is an integer number of milliseconds since 1970-01-01T00:00:00Z, and as text always UTC with
three decimals and `Z`. A day is `YYYY-MM-DD`. Guarantees that parsing gives back exactly what
formatting wrote. Refuses other offsets, other precisions, leap seconds, days that do not exist and
years outside 1970 to 9999.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from node.errors import Malformed, problem

LATEST_MS = 253_402_300_799_999

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIRST_DAY = date(1970, 1, 1).toordinal()
_DAY_MS = 86_400_000
_RANGE = "must be milliseconds since 1970, up to the end of the year 9999"
_REMEMBERED = 4096
"""The entries of a batch or a page share few moments."""


@lru_cache(_REMEMBERED, typed=True)
def format(ms: int) -> str:
    """Milliseconds since the epoch as `2026-11-22T14:00:00.123Z`; `Malformed` outside 1970 to 9999."""
    if type(ms) is not int or not 0 <= ms <= LATEST_MS:
        raise _refused(ms, _RANGE)
    return (_EPOCH + ms * _MILLISECOND).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(_REMEMBERED)
def parse(text: str) -> int:
    """The milliseconds that `format` writes as `text`; `Malformed` for any other spelling."""
    if not text.endswith("Z"):
        raise _refused(text, "must be in UTC and end in Z, such as 2026-11-22T14:00:00.123Z")
    try:
        ms = (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
    except ValueError:
        raise _refused(text, "must be a moment that exists, such as 2026-11-22T14:00:00.123Z") from None
    if format(ms) != text:
        raise _refused(text, f"must be spelt {format(ms)}")
    return ms


def date_of(ms: int) -> str:
    """The UTC day `YYYY-MM-DD` on which a moment falls; `Malformed` outside 1970 to 9999."""
    if type(ms) is not int or not 0 <= ms <= LATEST_MS:
        raise _refused(ms, _RANGE)
    return date.fromordinal(_FIRST_DAY + ms // _DAY_MS).isoformat()


def parse_date(text: str) -> str:
    """The day as given if it exists and is spelt `YYYY-MM-DD`; else `Malformed`."""
    try:
        spelling = date.fromisoformat(text).isoformat()
    except ValueError:
        raise _refused(text, "must be a day that exists, such as 2026-11-22") from None
    if spelling != text:
        raise _refused(text, "must be spelt YYYY-MM-DD")
    return text


def _refused(value: object, rule: str) -> Malformed:
    return Malformed("a point in time was refused", problems=[problem("time", value, rule)])
