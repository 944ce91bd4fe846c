"""A notice of reads: read as it was made, and nothing in it that could name anybody."""

from dataclasses import replace
from typing import Any

import pytest

from node.errors import Malformed
from node.exchange import notices, reads
from node.exchange.reads import KINDS, MOST_ROWS, PURPOSES, Reads
from node.ledger import canonical, moment
from node.ledger.entry import LedgerEntry

SINCE, UNTIL = "2026-11-22T00:00:00.000Z", "2026-11-23T00:00:00.000Z"
ENTRY = LedgerEntry("UY", 7, bytes(32), moment.parse(UNTIL), "access", bytes(32))
ROWS = ((2, "list", "NONE", 3), (2, "lookup", "CLEARANCE", 2), (5, "evidence", "OTHER", 1))
TOLD = Reads("aeo.br.example/channel/x/UY", SINCE, ENTRY, 1, 2, ROWS)


def body(made: Reads = TOLD) -> Any:
    return canonical.decode(made.body())


def test_it_is_read_as_it_was_made() -> None:
    assert reads.read(body()) == TOLD
    assert body()["detail"] == f"{SINCE} to {UNTIL}"
    assert reads.read(canonical.decode(notices.notice("state", "SUSPENDED"))) is None  # type: ignore[arg-type]


def test_its_size_is_bounded() -> None:
    longest = max(KINDS, key=len), max(PURPOSES, key=len), 2**31 - 1
    rows = tuple((2**31 - 1 - MOST_ROWS + at, *longest) for at in range(MOST_ROWS))
    whole = replace(TOLD, rows=rows)
    assert reads.read(body(whole)) == whole
    assert len(whole.body()) < 2**15
    with pytest.raises(Malformed):
        reads.read(body(replace(TOLD, rows=(*rows, (2**31 - 1, *longest)))))


@pytest.mark.parametrize(
    "rows",
    [
        (),
        ROWS[::-1],
        (ROWS[0], ROWS[0]),
        ((2, "access", "NONE", 1),),
        ((2, "asked by Sra. Oculta", "NONE", 1),),
        ((2, "lookup", "for Sra. Oculta", 1),),
        ((2, "lookup", "NONE", 0),),
        ((2, "lookup", "NONE", True),),
        ((-1, "lookup", "NONE", 1),),
        ((2, "lookup", "NONE"),),
        ((2, "lookup", "NONE", 1, "Sra. Oculta"),),
        ((2, "lookup", ["NONE"], 1),),
        ((2, ["lookup"], "NONE", 1),),
    ],
)
def test_rows_out_of_form_are_refused(rows: Any) -> None:
    with pytest.raises(Malformed):
        reads.read(body(replace(TOLD, rows=rows)))


@pytest.mark.parametrize(
    "changed",
    [
        {"part": 3},
        {"part": 0},
        {"of": 10**6},
        {"since": "2026-11-24T00:00:00.000Z"},
        {"since": "yesterday"},
        {"entry": replace(ENTRY, type="record")},
    ],
)
def test_a_period_or_part_out_of_form_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        reads.read(body(replace(TOLD, **changed)))


@pytest.mark.parametrize("more", [{"by": "Sra. Oculta"}, {"channel": 3}, {"ledger": "{}"}, {"part": "1"}])
def test_what_else_is_told_is_refused(more: dict[str, Any]) -> None:
    said = body()
    with pytest.raises(Malformed):
        reads.read(said | {"told": said["told"] | more})
    with pytest.raises(Malformed):
        reads.read(said | {"detail": "asked by Sra. Oculta"})


@pytest.mark.parametrize(
    ("stated", "code"),
    [
        ("", "NONE"),
        ("clearance", "CLEARANCE"),
        (" Risk ", "RISK"),
        ("clearance for Sra. Oculta", "OTHER"),
        ("none of your business", "OTHER"),
    ],
)
def test_a_purpose_is_told_as_one_of_a_few_words(stated: str, code: str) -> None:
    assert reads.purpose_code(stated) == code
