"""One spelling of a moment and of a day."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import Malformed
from node.ledger import moment

KNOWN = [
    (0, "1970-01-01T00:00:00.000Z"),
    (1, "1970-01-01T00:00:00.001Z"),
    (1_795_356_000_123, "2026-11-22T14:00:00.123Z"),
    (951_825_599_999, "2000-02-29T11:59:59.999Z"),
    (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
]


@pytest.mark.parametrize(("ms", "text"), KNOWN)
def test_a_moment_is_written_and_read_as_specified(ms: int, text: str) -> None:
    assert moment.format(ms) == text
    assert moment.parse(text) == ms
    assert moment.date_of(ms) == text[:10]


@settings(deadline=None, max_examples=200)
@given(st.integers(0, moment.LATEST_MS))
def test_every_millisecond_survives_the_round_trip(ms: int) -> None:
    assert moment.parse(moment.format(ms)) == ms


@settings(deadline=None, max_examples=100)
@given(st.integers(0, moment.LATEST_MS - 1), st.integers(1, 10**12))
def test_text_sorts_as_time_does(ms: int, later_ms: int) -> None:
    assert moment.format(ms) < moment.format(min(ms + later_ms, moment.LATEST_MS))


@pytest.mark.parametrize("ms", [-1, moment.LATEST_MS + 1, 2**80, True])
def test_moments_outside_1970_to_9999_are_refused(ms: int) -> None:
    with pytest.raises(Malformed, match="1970"):
        moment.format(ms)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T14:00:00Z",
        "2026-11-22T14:00:00.12Z",
        "2026-11-22T14:00:00.123456Z",
        "2026-11-22T14:00:00.1234Z",
        "2026-11-22T14:00:00,123Z",
        "2026-11-22T14:00:00.123",
        "2026-11-22T14:00:00.123z",
        "2026-11-22t14:00:00.123Z",
        "2026-11-22 14:00:00.123Z",
        "2026-11-22T14:00:00.123+00:00",
        "2026-11-22T14:00:00.123+00:00Z",
        "2026-11-22T14:00:00.123ZZ",
        "2026-11-22T14:00:00.123Z\n",
        " 2026-11-22T14:00:00.123Z",
        "2026-11-22T24:00:00.000Z",
        "2026-11-22T23:59:60.000Z",
        "2026-02-29T00:00:00.000Z",
        "2026-13-01T00:00:00.000Z",
        "1969-12-31T23:59:59.999Z",
        "20261122T140000.123Z",
        "2026-W47-7T14:00:00.123Z",
        "٢٠٢٦-11-22T14:00:00.123Z",
        "2026-11-22Z",
        "Z",
        "",
    ],
)
def test_no_other_spelling_of_a_moment_is_read(text: str) -> None:
    with pytest.raises(Malformed):
        moment.parse(text)


@pytest.mark.parametrize("day", ["1970-01-01", "2024-02-29", "9999-12-31", "0001-01-01"])
def test_a_day_that_exists_is_given_back(day: str) -> None:
    assert moment.parse_date(day) == day


NO_DAYS = ["2026-02-29", "2026-11-31", "2026-00-10", "20261122", "2026-W47-7", "2026-1-2", "22/11/2026"]
NO_DAYS += ["2026-11-22\n", " 2026-11-22", "2026-11-22T00:00:00", "٢٠٢٦-11-22", "0000-01-01", ""]


@pytest.mark.parametrize("day", NO_DAYS)
def test_no_other_spelling_of_a_day_is_read(day: str) -> None:
    with pytest.raises(Malformed):
        moment.parse_date(day)
