"""What held at one moment by what was known at another: both clocks, own records and told ones."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import terms
from node.errors import NotFound
from node.ledger import moment
from node.service.asof import Said, as_of, holding
from node.service.evidence import evidence
from node.service.reporting import ResumeHere, SuspendHere
from node.service.signing import Sign
from tests.service.world import CNPJS, DAY_MS, START_MS, Json, Node, World, operator, withdrawn

TIN = f"BR{CNPJS[1]}"
MINUTE_MS = 60_000


def asked(node: Node, effective_ms: int, known_ms: int) -> Json:
    with node.parts.database.read() as connection:
        [answer] = as_of(node.parts, connection, TIN, effective_ms, known_ms)["answers"]
    found: Json = answer
    return found


def value(node: Node, effective_ms: int, known_ms: int) -> str:
    return str(asked(node, effective_ms, known_ms)["status"]["value"])


@pytest.fixture
def lived(strangers: World) -> World:
    """An operator renamed on the first day, on the second suspended from the first on, on the third annulled.

    The annulment reaches back to before it was authorised; the terms tell of annulments.
    """
    clauses: Any = terms.terms("br_uy")
    clauses["directions"]["BR-UY"]["share_statuses"].append("ANNULLED")
    strangers.operate(directions=clauses["directions"], max_staleness_s=900)
    strangers.br.admit(operator(1))
    strangers.exchange()
    for changes in (
        {"legal_name": "Outro Nome S/A"},
        suspended("SUSPENDED", START_MS),
        suspended("ANNULLED", moment.parse("2024-06-01T00:00:00.000Z")),
    ):
        strangers.days_pass()
        strangers.br.amend(TIN, **changes)
        strangers.exchange()
    return strangers


def suspended(status: str, at_ms: int) -> Json:
    at = moment.format(at_ms)
    return {"status": status, "status_since": at, "effective_at": at}


@pytest.mark.parametrize("at", ["br", "uy"])
def test_a_back_dated_fact_holds_from_its_day_for_who_knows_it_and_not_for_who_did_not(
    at: str, lived: World
) -> None:
    node, days = getattr(lived, at), [START_MS + day * DAY_MS for day in range(4)]
    told = [[value(node, effective, known) for effective in days] for known in days]
    assert told == [
        ["ACTIVE", "ACTIVE", "ACTIVE", "ACTIVE"],
        ["ACTIVE", "ACTIVE", "ACTIVE", "ACTIVE"],
        ["SUSPENDED", "SUSPENDED", "SUSPENDED", "SUSPENDED"],
        ["ANNULLED", "ANNULLED", "ANNULLED", "ANNULLED"],
    ]
    assert value(node, START_MS - 1, days[2]) == "ACTIVE", (
        "it was suspended from the first day on, not before"
    )
    assert value(node, moment.parse("2024-01-01T00:00:00.000Z"), days[3]) == "NOTHING"


@pytest.mark.parametrize("at", ["br", "uy"])
def test_both_clocks_are_shown(at: str, lived: World) -> None:
    clocks = asked(getattr(lived, at), START_MS, START_MS + 3 * DAY_MS)["clocks"]
    assert clocks["effective_at"] == "2024-06-01T00:00:00.000Z"
    assert clocks["recorded_at"] == "2026-11-25T12:00:00.000Z"
    if at == "uy":
        assert clocks["told_at"] == clocks["received_at"] == clocks["recorded_at"]


def test_nothing_is_known_before_it_came(lived: World) -> None:
    for node in lived.nodes:
        with pytest.raises(NotFound):
            asked(node, START_MS, START_MS - DAY_MS)


def test_an_expired_authorisation_is_read_as_such_on_the_day_asked_for(world: World) -> None:
    world.br.admit(operator(1, valid_to="2026-11-23"))
    world.exchange()
    world.days_pass(3)
    for node in world.nodes:
        known = START_MS + 3 * DAY_MS
        assert value(node, START_MS, known) == "ACTIVE"
        assert value(node, START_MS + 2 * DAY_MS, known) == "EXPIRED"


def test_what_left_the_view_left_it_from_when_that_was_told(known: World) -> None:
    known.clock.ms += MINUTE_MS
    known.br.amend(TIN, mra_consent=withdrawn("2026-11-22"))
    known.exchange()
    now = known.clock.ms
    assert value(known.uy, now, now) == "NOT_SHARED"
    before = asked(known.uy, now - 1, now)
    assert (before["status"]["value"], before["fields"]["tin"]) == ("ACTIVE", TIN)
    assert value(known.br, now, now) == "ACTIVE"


def test_an_own_decision_counts_from_when_it_was_taken_until_it_was_lifted(known: World) -> None:
    def reasons(effective_ms: int, known_ms: int) -> list[str]:
        told: list[str] = asked(known.uy, effective_ms, known_ms)["recognition"]["reasons"]
        return [each for each in told if "here" in each]

    known.clock.ms += MINUTE_MS
    known.uy.settle(SuspendHere(TIN, "SECURITY", "case 1", "chief"))
    known.clock.ms += MINUTE_MS
    known.uy.settle(ResumeHere(TIN, "closed", "chief"))
    first, then, now = START_MS, START_MS + MINUTE_MS, START_MS + 2 * MINUTE_MS
    assert [len(reasons(at, now)) for at in (first, then, now)] == [0, 1, 0]
    assert len(reasons(now, then)) == 1


def test_it_agrees_with_the_evidence_about_what_was_known(known: World) -> None:
    """At each of many moments, of an operator that lived through everything."""
    steps = (
        lambda: known.br.amend(TIN, legal_name="Outro Nome S/A"),
        lambda: known.br.amend(TIN, **suspended("SUSPENDED", START_MS - DAY_MS)),
        lambda: None,
        lambda: known.br.amend(TIN, **suspended("ACTIVE", START_MS + 50 * MINUTE_MS)),
        lambda: known.br.settle(Sign(known.agreement, "suspend", "BR", "UY")),
        lambda: known.both("resume", "BR", "UY"),
        lambda: known.br.amend(TIN, mra_consent=withdrawn("2026-11-22")),
        lambda: known.br.amend(TIN, mra_consent={"given": True, "scope": "GENERAL", "from": "2026-11-22"}),
        lambda: known.br.amend(TIN, **suspended("REVOKED", START_MS + 90 * MINUTE_MS)),
    )
    for step in steps:
        known.clock.ms += 20 * MINUTE_MS
        step()
        known.exchange()
    known.clock.ms += 20 * MINUTE_MS
    agreed = set()
    for at_ms in range(START_MS, known.clock.ms, 7 * MINUTE_MS + 1_000):
        with known.uy.parts.database.read() as connection:
            said = json.loads(evidence(known.uy.parts, connection, TIN, at_ms))["answer"]
        found = asked(known.uy, at_ms, at_ms)
        told = {"status": found["status"]["value"]}
        told |= {name: found["recognition"][name] for name in ("applies", "reasons")}
        assert told == {name: said[name] for name in told}, moment.format(at_ms)
        agreed.add((said["status"], tuple(said["reasons"])))
    assert len(agreed) > 5, "or it would have agreed about little"


def naive(said: Sequence[Said], at: str) -> Said | None:
    """A day book in which each later word strikes out what was written from its day on."""
    book: list[Said] = []
    for each in said:
        book = [other for other in book if other.since < each.since] + [each]
    return next((each for each in reversed(book) if each.since <= at), None)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=8), st.integers(0, 9))
def test_the_last_word_about_a_day_holds(days: list[int], at: int) -> None:
    said = [Said(f"2026-01-0{day}", {"version": number}, {}) for number, day in enumerate(days)]
    assert holding(said, f"2026-01-0{at}") == naive(said, f"2026-01-0{at}")
