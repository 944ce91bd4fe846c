"""Notice before a suspension or termination: asked of the proposer, noted where a partner keeps none."""

import orjson
import pytest

from node.agreements import state
from node.errors import Conflict
from node.service.failures import CloseIncident
from node.service.signing import Sign
from node.store import incidents
from tests.service.world import DAY_MS, START_MS, Json, Node, World

TERMS = {"suspension_notice_days": 60, "termination_notice_days": 180}


@pytest.fixture
def bound(strangers: World) -> World:
    """An agreement in operation that asks for 60 and 180 days of notice."""
    strangers.operate(**TERMS)
    return strangers


def without_notice(world: World, monkeypatch: pytest.MonkeyPatch, act: str, **says: str) -> None:
    """UY acts as a node that looks at no notice."""
    with monkeypatch.context() as patched:
        patched.setattr(state, "short_notice", lambda *_: "")
        world.uy.settle(Sign(world.agreement, act, "BR", "UY", **says))  # type: ignore[arg-type]


def noted(node: Node) -> list[Json]:
    return [each for each in node.incidents() if each["kind"] == "unannounced"]


@pytest.mark.parametrize(("act", "clause"), [("suspend", "suspension"), ("terminate", "termination")])
def test_an_honest_node_refuses_to_stop_without_the_agreed_notice(
    bound: World, act: str, clause: str
) -> None:
    with pytest.raises(Conflict, match=f"`{clause}_notice_days`"):
        bound.uy.settle(Sign(bound.agreement, act, "BR", "UY"))


def test_a_suspension_without_notice_counts_at_once_and_is_noted_with_its_clause(
    bound: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_notice(bound, monkeypatch, "suspend", reason="a breach")
    bound.exchange()
    assert bound.br.findings() == []
    [incident] = noted(bound.br)
    assert incident["peer"] == "aeo.uy.example"
    assert "60 days of notice (`suspension_notice_days`), and it gives 0" in incident["detail"]
    with bound.br.parts.database.read() as connection:
        standing = bound.br.parts.standings.current(connection)[bound.agreement]
        assert standing.state("BR", "UY", bound.br.parts.today()) == "SUSPENDED", (
            "what protects waits for nobody"
        )
        kept = incidents.with_evidence(connection, incident["incident"])
    assert kept is not None
    told = orjson.loads(kept["evidence"])
    assert set(told) == {"instrument", "receipt"}
    assert told["receipt"]
    bound.exchange()
    assert len(noted(bound.br)) == 1
    assert noted(bound.uy) == []


def test_a_termination_with_less_notice_says_how_much_it_gives(
    bound: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_notice(bound, monkeypatch, "terminate", effective="2026-12-02")
    bound.exchange()
    [incident] = noted(bound.br)
    assert "180 days of notice (`termination_notice_days`), and it gives 10" in incident["detail"]


def test_a_stop_that_keeps_its_notice_is_not_noted_however_late_it_arrives(bound: World) -> None:
    bound.uy.settle(Sign(bound.agreement, "suspend", "BR", "UY", effective="2027-01-21"))
    bound.clock.ms = START_MS + 90 * DAY_MS
    bound.exchange()
    assert noted(bound.br) == [], "its ledger held it in time"
    with bound.br.parts.database.read() as connection:
        standing = bound.br.parts.standings.current(connection)[bound.agreement]
        assert standing.state("BR", "UY", bound.br.parts.today()) == "SUSPENDED"


def test_terms_that_ask_for_no_notice_note_nothing(known: World) -> None:
    known.uy.settle(Sign(known.agreement, "suspend", "BR", "UY"))
    known.exchange()
    assert known.br.incidents() == []


def test_it_is_closed_by_people_and_stays_closed(bound: World, monkeypatch: pytest.MonkeyPatch) -> None:
    without_notice(bound, monkeypatch, "suspend")
    bound.exchange()
    [incident] = noted(bound.br)
    bound.br.settle(CloseIncident(incident["incident"]))
    bound.exchange()
    assert noted(bound.br) == []
