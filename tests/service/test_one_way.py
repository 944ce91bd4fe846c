"""A one-way arrangement of the Union with the United States: one tells, the other reads, both sign."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from clients.cli import agreements, readymade
from contracts import rules, terms
from node.errors import Conflict, NotFound
from node.service.signing import Draft, Sign
from node.store import channels
from tests.service.region import Region, new_region
from tests.service.world import Json, operator
from tests.unit.contracts.test_ready_made_terms import NAMES, parties

EORI, MET = "DE1234567", terms.terms("eu_us_one_way")["preconditions"]


def european(**changed: object) -> Json:
    """An operator that the Union issues: a member's number and address."""
    fields = operator(1) | {"country": "EU", "tin": EORI, "programme": "EU-AEO", "national_types": ["AEOF"]}
    fields["identifiers"] = [{"scheme": "EORI", "value": EORI}]
    fields["address"] = {"line": "Kai 1", "city": "Hamburg", "country": "DE"}
    return {name: value for name, value in (fields | changed).items() if name != "valid_to"}


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    with new_region(tmp_path, ("EU", "US")) as found:
        yield found


def signed(region: Region) -> str:
    eu, us = region.nodes.values()
    drafted: str = eu.settle(
        Draft("One way", ("EU", "US"), terms.terms("eu_us_one_way"), rules.text("mra_v2"))
    )
    region.exchange()
    for node in (eu, us):
        node.settle(Sign(drafted, "sign"))
        region.exchange()
    return drafted


@pytest.mark.parametrize("name", NAMES)
def test_ready_made_terms_are_drafted_by_their_name_from_any_of_their_parties(name: str) -> None:
    agreed = readymade.terms_of(name)
    countries = parties(agreed)
    for own in countries:
        others = [each for each in countries if each != own]
        assert agreements._countries(agreed, own, others) == countries


def test_nothing_is_told_before_what_comes_first_is_met_and_signed_by_both(region: Region) -> None:
    eu, us = region.nodes.values()
    agreed = signed(region)
    eu.admit(european())
    for node, met in product((eu, us), ((), ("The pilot is reviewed by both",))):
        with pytest.raises(Conflict, match="does not allow") as refused:
            node.settle(Sign(agreed, "start", "EU", "US", mode="pilot", preconditions_met=met))
        assert refused.value.why == "preconditions not met"
    pilot = {"mode": "pilot", "preconditions_met": MET["pilot"]}  # type: ignore[index]
    us.settle(Sign(agreed, "start", "EU", "US", **pilot))
    region.exchange()
    with pytest.raises(NotFound):
        us.look_up(EORI)


def test_the_union_tells_and_the_reader_tells_nothing(region: Region) -> None:
    eu, us = region.nodes.values()
    agreed = signed(region)
    for mode in ("pilot", "operation"):
        region.both(agreed, "start", "EU", "US", mode=mode, preconditions_met=tuple(MET[mode]))  # type: ignore[index]
        region.exchange()
    eu.admit(european())
    eu.admit(
        european(tin="DE7654321", roles=["broker"], identifiers=[{"scheme": "EORI", "value": "DE7654321"}])
    )
    region.exchange()
    answer = us.look_up(EORI)
    assert (answer["country"], answer["recognition"]["applies"]) == ("EU", True)
    assert answer["fields"]["identifiers"] == [{"scheme": "EORI", "value": EORI}]
    assert not {"roles", "valid_to", "authorisation_number"} & set(answer["fields"])
    assert answer["clauses"]["identifier_scheme"] == "EORI"
    with pytest.raises(NotFound):
        us.look_up("DE7654321")
    with us.parts.database.read() as connection:
        ways = {(each.issuer, each.partner): each.log for each in channels.channels(connection)}
        assert set(ways) == {("EU", "US"), ("US", "EU")}, "the way back carries notices"
        assert channels.shared_count(connection, ways["US", "EU"]) == 0
    with pytest.raises(NotFound, match="no direction US-EU"):
        us.settle(Sign(agreed, "start", "US", "EU", mode="operation"))
    assert [node.findings() + node.incidents() for node in (eu, us)] == [[], []]
