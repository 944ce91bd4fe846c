"""How each cause by which an operator loses its benefit reaches the partner; the page shows this table."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import select

from contracts import terms
from node.errors import NotFound
from node.ledger.entry import ChannelEntry, LedgerEntry
from node.service.erasing import Erase
from node.service.reporting import SuspendHere
from node.service.signing import Sign
from node.store import logs
from node.store.database import table
from node.store.tables import LEDGER, ChannelBody
from tests.service.world import CNPJS, DAY_MS, Json, World, operator, withdrawn

PAGE = Path(__file__).resolve().parents[2] / "docs" / "leaving-the-view.md"
TIN = f"BR{CNPJS[1]}"
SUCCESSOR = "urn:aeo:br:AAAAAAAAAAAAAAAAAAAAAA"
GONE = "the issuer no longer shares this record with us"


class Row(NamedTuple):
    """A cause, the channel entries that it makes, the status that the partner answers, and its reasons."""

    cause: str
    entries: str
    status: str
    reasons: str


TABLE = (
    Row("suspended", "disclosure", "SUSPENDED", "the status is SUSPENDED"),
    Row("revoked", "disclosure", "REVOKED", "the status is REVOKED"),
    Row("left by itself", "tombstone", "NOT_SHARED", GONE),
    Row("annulled", "tombstone", "NOT_SHARED", GONE),
    Row("merged into another", "tombstone", "NOT_SHARED", GONE),
    Row("security part lost", "tombstone", "NOT_SHARED", GONE),
    Row("another programme", "tombstone", "NOT_SHARED", GONE),
    Row("consent withdrawn", "tombstone", "NOT_SHARED", GONE),
    Row("expired", "tombstone", "NOT_SHARED", GONE),
    Row(
        "agreement suspended",
        "notice, tombstone",
        "NOT_SHARED",
        f"the agreement is suspended in this direction; {GONE}",
    ),
    Row(
        "agreement ended",
        "notice, tombstone",
        "NOT_SHARED",
        f"the agreement is terminated in this direction; {GONE}",
    ),
    Row("annulled, where the terms tell it", "disclosure", "ANNULLED", "the status is ANNULLED"),
    Row("merged, where the terms tell it", "disclosure", "SUPERSEDED", "the status is SUPERSEDED"),
    Row(
        "suspended by the partner itself",
        "none",
        "ACTIVE",
        "suspended here since 2026-11-22T12:00:05.000Z (SECURITY): case 1",
    ),
    Row("erased", "notice", "not known", "nothing is left to answer from"),
)
RECORDED = ("left by itself", "annulled", "merged into another", "security part lost", "another programme")
RECORDED += ("consent withdrawn",)
"""Hidden causes that are recorded when they happen."""


CAUSES: dict[str, Callable[[World], Any]] = {
    "suspended": lambda world: world.br.amend(TIN, status="SUSPENDED"),
    "revoked": lambda world: world.br.amend(TIN, status="REVOKED"),
    "left by itself": lambda world: world.br.amend(TIN, status="WITHDRAWN"),
    "annulled": lambda world: world.br.amend(TIN, status="ANNULLED"),
    "merged into another": lambda world: world.br.amend(TIN, status="SUPERSEDED", successor=SUCCESSOR),
    "security part lost": lambda world: world.br.amend(
        TIN, national_types=["OEA-C"], scope=["CUSTOMS_COMPLIANCE"]
    ),
    "another programme": lambda world: world.br.amend(TIN, programme="BR-OEA-INTEGRADO"),
    "consent withdrawn": lambda world: world.br.amend(TIN, mra_consent=withdrawn("2026-11-22")),
    "expired": lambda world: world.days_pass(),
    "agreement suspended": lambda world: world.br.settle(Sign(world.agreement, "suspend", "BR", "UY")),
    "agreement ended": lambda world: world.br.settle(Sign(world.agreement, "terminate")),
    "annulled, where the terms tell it": lambda world: world.br.amend(TIN, status="ANNULLED"),
    "merged, where the terms tell it": lambda world: world.br.amend(
        TIN, status="SUPERSEDED", successor=SUCCESSOR
    ),
    "suspended by the partner itself": lambda world: world.uy.settle(
        SuspendHere(TIN, "SECURITY", "case 1", "chief")
    ),
    "erased": lambda world: world.br.settle(Erase(TIN, "OBJECTION", "case 1", "officer")),
}
BEFORE: dict[str, Json] = {
    "expired": {"valid_to": "2026-11-22"},
}


@dataclass(frozen=True)
class Observed:
    """What the partner holds of what happened: all of it that is no hash, proof or number drawn at random."""

    entries: list[tuple[str, int, int]]
    """(kind, time, bytes of the sealed body) of each new entry of the channel."""
    ledger: list[tuple[str, int]]
    """(type, time) of each new entry of the issuer's ledger."""
    answer: Json


def observe(world: World, cause: str) -> Observed:
    """Let it happen to an operator that the partner knows, and look at what the partner has of it."""
    clauses: Any = terms.terms("br_uy")
    directions = clauses["directions"]
    if cause.endswith("where the terms tell it"):
        told = directions["BR-UY"]
        told["share_statuses"] = [*told["share_statuses"], "ANNULLED", "SUPERSEDED"]
        told["fields"] = [*told["fields"], "successor"]
    world.operate(directions=directions, termination_notice_days=0)
    world.br.admit(operator(1, **BEFORE.get(cause, {})))
    world.exchange()
    assert world.uy.look_up(TIN)["recognition"]["applies"]
    size, ledger = world.br.channel_size("BR", "UY"), world.br.ledger().size
    world.clock.ms += 5_000
    CAUSES[cause](world)
    world.exchange()
    log = world.br.log_of("BR", "UY")
    body = table(ChannelBody)
    with world.br.parts.database.read() as connection:
        told_entries = [ChannelEntry.decode(each) for each in logs.entries(connection, log, size, 10_000)]
        new = [LedgerEntry.decode(each) for each in logs.entries(connection, LEDGER, ledger, 10_000)]
        found = select(body.c.seq, body.c.sealed).where(body.c.log == log, body.c.seq >= size)
        sizes = {row.seq: len(row.sealed) for row in connection.execute(found)}
    entries = [(each.kind, each.time, sizes.get(each.seq, 0)) for each in told_entries]
    try:
        answer = world.uy.look_up(TIN)
    except NotFound:
        answer = {}
    assert [node.findings() for node in world.nodes] == [[], []]
    assert world.uy.incidents() == []
    return Observed(entries, [(each.type, each.time) for each in new], answer)


def test_every_cause_has_its_row() -> None:
    assert [row.cause for row in TABLE] == list(CAUSES)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.cause)
def test_each_cause_reaches_the_partner_as_the_table_says(row: Row, strangers: World) -> None:
    seen = observe(strangers, row.cause)
    assert (", ".join(kind for kind, *_ in seen.entries) or "none") == row.entries
    if row.status == "not known":
        assert seen.answer == {}
        return
    assert (seen.answer["status"]["value"], seen.answer["recognition"]["applies"]) == (row.status, False)
    assert "; ".join(seen.answer["recognition"]["reasons"]) == row.reasons
    assert (seen.answer["fields"] is None) == (row.status == "NOT_SHARED")
    if row.status == "SUPERSEDED":
        assert seen.answer["fields"]["successor"] == SUCCESSOR


def plain(seen: Observed, world: World) -> Any:
    """What was observed, without what a new world draws at random: ids."""
    record, agreement = seen.answer["record_id"], world.agreement
    told = repr((seen.entries, seen.ledger, seen.answer))
    return told.replace(record, "RECORD").replace(agreement, "AGREEMENT")


seen_before: list[str] = []
"""What the partner had of the hidden causes so far; each is one test, in a world of its own."""


@pytest.mark.parametrize("cause", RECORDED)
def test_a_tombstone_tells_nothing_of_which_hidden_cause_it_had(cause: str, strangers: World) -> None:
    """Number, kind, time and size of the entries of channel and ledger, and all of the answer: the same."""
    seen_before.append(plain(observe(strangers, cause), strangers))
    assert seen_before[-1] == seen_before[0]


def test_what_happens_to_a_record_out_of_view_tells_nothing_more(world: World) -> None:
    world.br.admit(operator(1))
    world.br.amend(TIN, mra_consent=withdrawn("2026-11-22"))
    world.exchange()
    size = world.br.channel_size("BR", "UY")
    for change in ({"status": "SUSPENDED"}, {"status": "REVOKED"}, {"national_types": ["OEA-C"]}):
        world.br.amend(TIN, **change)
    world.clock.ms += DAY_MS
    world.exchange()
    assert world.br.channel_size("BR", "UY") == size


def test_under_the_ready_made_terms_nothing_links_a_merged_operator_with_its_successor(world: World) -> None:
    world.br.admit(operator(1))
    world.exchange()
    old = world.br.look_up(TIN)["record_id"]
    world.br.admit(operator(2, predecessor=old))
    successor = world.br.look_up(f"BR{CNPJS[2]}")["record_id"]
    world.br.amend(TIN, status="SUPERSEDED", successor=successor)
    world.exchange()
    assert "predecessor" not in world.uy.look_up(f"BR{CNPJS[2]}")["fields"]
    assert successor not in repr(world.uy.look_up(TIN))


def test_the_page_shows_this_table() -> None:
    found = re.findall(r"^\| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    rows = [tuple(each.strip() for each in line.split(" | ")) for line in found]
    assert [row for row in rows if len(row) == len(Row._fields)][1:] == [tuple(row) for row in TABLE]
