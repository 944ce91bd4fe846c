"""A party leaves an agreement of three: what was between it and others ends everywhere, the rest goes on."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from contracts import terms
from node.agreements import state
from node.api.agreements import summary
from node.errors import Conflict
from node.service.evidence import evidence
from node.service.signing import Sign, Withdraw
from tests.service.region import Region, copied_region, new_region, of
from tests.service.test_evidence import assert_holds
from tests.service.world import DAY_MS, Json, Node, World, asking

COUNTRIES = ("AR", "BR", "UY")
DAY = "2027-05-21"
"""180 days after the first."""
TINS = {country: str(of(country)["tin"]) for country in COUNTRIES}


def of_three(**changed: Any) -> Json:
    """The terms of the four, between three of them."""
    clauses: Any = deepcopy(terms.terms("mercosur")) | changed
    kept = {name: each for name, each in clauses["directions"].items() if "PY" not in name}
    return dict(clauses) | {"directions": kept}


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("three")
    with new_region(folder, COUNTRIES) as region:
        agreed = region.agree("Mercosur", of_three())
        for country, node in region.nodes.items():
            node.admit(of(country))
        region.exchange()
    return folder, agreed


@pytest.fixture
def three(_made: tuple[Path, str], tmp_path: Path) -> Iterator[tuple[Region, str]]:
    with copied_region(_made[0], tmp_path, COUNTRIES) as region:
        yield region, _made[1]


def applies(node: Node) -> dict[str, bool]:
    """By country: whether the benefit applies here to its operator."""
    answers = {each: node.look_up(tin) for each, tin in TINS.items() if each != node.country}
    return {each: answer["recognition"]["applies"] for each, answer in answers.items()}


def states(node: Node, agreed: str) -> dict[str, str]:
    with asking(node) as (connection, _):
        told = summary(node.parts.standings.current(connection)[agreed], node.parts)
    return {f"{each['issuer']}-{each['partner']}": each["state"] for each in told["directions"]}


def leave(region: Region, agreed: str) -> None:
    """BR leaves with the notice agreed, and the day comes."""
    region.nodes["BR"].settle(Sign(agreed, "leave", effective=DAY, reason="a new law"))
    region.exchange()
    region.clock.ms += 180 * DAY_MS
    region.exchange()


def test_who_left_is_told_nothing_more_and_the_others_go_on(three: tuple[Region, str]) -> None:
    region, agreed = three
    assert all(all(applies(node).values()) for node in region.nodes.values())
    leave(region, agreed)
    ar, br, uy = region.nodes.values()
    assert applies(ar) == {"BR": False, "UY": True}
    assert applies(uy) == {"AR": True, "BR": False}
    assert applies(br) == {"AR": False, "UY": False}
    assert states(br, agreed) == dict.fromkeys(("AR-BR", "BR-AR", "BR-UY", "UY-BR"), "TERMINATED")
    assert states(uy, agreed)["AR-UY"] == "IN_OPERATION"
    gone = uy.look_up(TINS["BR"])
    assert gone["fields"] is None, "a tombstone, which does not say why"
    assert gone["recognition"]["reasons"][0] == "the agreement is terminated in this direction"
    ar.amend(TINS["AR"], legal_name="AR renamed")
    region.exchange()
    assert uy.look_up(TINS["AR"])["fields"]["legal_name"] == "AR renamed"
    assert br.look_up(TINS["AR"])["fields"] is None
    assert [node.findings() for node in region.nodes.values()] == [[], [], []]
    assert [node.incidents() for node in region.nodes.values()] == [[], [], []]


def test_until_its_day_a_leave_is_announced_and_everything_goes_on(three: tuple[Region, str]) -> None:
    region, agreed = three
    region.nodes["BR"].settle(Sign(agreed, "leave", effective=DAY))
    region.exchange()
    for node in region.nodes.values():
        assert all(applies(node).values())
    with asking(region.nodes["UY"]) as (connection, _):
        told = summary(
            region.nodes["UY"].parts.standings.current(connection)[agreed], region.nodes["UY"].parts
        )
    ends = {f"{each['issuer']}-{each['partner']}": each["ends"] for each in told["directions"]}
    assert ends == {"AR-UY": None, "UY-AR": None, "BR-UY": DAY, "UY-BR": DAY}


def test_a_leave_waits_for_no_other_party_and_cannot_be_taken_back(three: tuple[Region, str]) -> None:
    region, agreed = three
    told = region.nodes["BR"].settle(Sign(agreed, "leave", effective=DAY))
    assert told["complete"]
    region.exchange()
    for node in region.nodes.values():
        with pytest.raises(Conflict, match="cannot be withdrawn"):
            node.settle(Withdraw(agreed, told["act"]))


def test_who_has_left_cannot_act_on_what_has_ended(three: tuple[Region, str]) -> None:
    region, agreed = three
    leave(region, agreed)
    for says in (("start", "BR", "UY", "operation"), ("suspend", "UY", "BR"), ("leave",), ("terminate",)):
        with pytest.raises(Conflict, match="state TERMINATED"):
            region.nodes["BR"].settle(Sign(agreed, *says))
    region.nodes["UY"].settle(Sign(agreed, "suspend", "AR", "UY"))
    region.exchange()
    assert applies(region.nodes["UY"])["AR"] is False


def test_one_party_alone_does_not_end_the_agreement_of_all(three: tuple[Region, str]) -> None:
    region, agreed = three
    told = region.nodes["BR"].settle(Sign(agreed, "terminate"))
    assert (told["complete"], told["missing"]) == (False, ["AR", "UY"])
    region.exchange()
    assert all(all(applies(node).values()) for node in region.nodes.values())
    region.nodes["AR"].settle(Sign(agreed, "terminate"))
    region.exchange()
    assert all(all(applies(node).values()) for node in region.nodes.values())
    region.nodes["UY"].settle(Sign(agreed, "terminate"))
    region.exchange()
    assert not any(any(applies(node).values()) for node in region.nodes.values())
    assert [node.incidents() for node in region.nodes.values()] == [[], [], []], "all wanted it"
    assert [node.findings() for node in region.nodes.values()] == [[], [], []]


def test_without_notice_an_honest_node_does_not_leave_and_of_another_the_notice_is_noted(
    three: tuple[Region, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    region, agreed = three
    with pytest.raises(Conflict, match="180 days of notice"):
        region.nodes["BR"].settle(Sign(agreed, "leave"))
    with monkeypatch.context() as patched:
        patched.setattr(state, "short_notice", lambda *_: "")
        region.nodes["BR"].settle(Sign(agreed, "leave"))
    region.exchange()
    assert applies(region.nodes["UY"]) == {"AR": True, "BR": False}, "what protects waits for nobody"
    for country in ("AR", "UY"):
        [incident] = region.nodes[country].incidents()
        assert (incident["kind"], incident["peer"]) == ("unannounced", "aeo.br.example")
        assert "leave by BR" in incident["detail"]
    assert region.nodes["BR"].incidents() == []


def test_who_hears_of_a_leave_from_a_third_party_blames_nobody(three: tuple[Region, str]) -> None:
    region, agreed = three
    region.nodes["BR"].settle(Sign(agreed, "leave", effective=DAY))
    to_ar, to_uy = region.wire("AR", "BR"), region.wire("AR", "UY")
    pull(to_ar, "AR")
    region.clock.ms += 170 * DAY_MS
    pull(to_uy, "UY")
    with asking(region.nodes["UY"]) as (connection, _):
        held = region.nodes["UY"].parts.standings.current(connection)[agreed].held
    assert any(each.act.act == "leave" for each in held)
    assert region.nodes["UY"].incidents() == [], "AR's word does not say when BR announced it"
    region.exchange()
    assert region.nodes["UY"].incidents() == [], "BR's ledger held it in time"


def pull(wire: World, country: str) -> None:
    """One node takes what the other has."""
    [node] = [each for each in wire.nodes if each.country == country]
    while wire.carry(node):
        pass


def test_evidence_of_both_sides_of_the_day_holds(three: tuple[Region, str]) -> None:
    region, agreed = three
    before_ms = region.clock.ms
    leave(region, agreed)
    wire, uy = region.wire("BR", "UY"), region.nodes["UY"]
    for at_ms, expected in ((before_ms, True), (region.clock.ms, False)):
        with asking(uy) as (connection, _):
            encoded = evidence(uy.parts, connection, TINS["BR"], at_ms)
        assert (b'"applies":true' in encoded) is expected
        assert_holds(wire, encoded)
    with asking(uy) as (connection, _):
        encoded = evidence(uy.parts, connection, TINS["AR"], region.clock.ms)
    assert b'"applies":true' in encoded
    assert_holds(region.wire("AR", "UY"), encoded)
