"""Several agreements over one pair: each channel by its own terms, and one answer that names them all."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from contracts import terms
from node.api.problems import encoded
from node.errors import Conflict
from node.service.erasing import Erase
from node.service.evidence import evidence
from node.service.reporting import SuspendHere
from node.service.signing import Sign
from node.store import channels
from tests.service.region import Region, copied_region, new_region, of
from tests.service.test_evidence import assert_holds
from tests.service.world import CNPJS, LEIS, Json, World, asking, operator, withdrawn

ONE, TWO, THREE = (f"BR{cnpj}" for cnpj in CNPJS[1:4])
BILATERAL, REGIONAL = "Bilateral", "Mercosur"


def bilateral(**changed: Any) -> Json:
    """BR and UY: with roles and the LEI, without brokers, under consents of its own."""
    clauses: Any = deepcopy(terms.terms("br_uy_without_brokers")) | changed
    clauses["directions"]["BR-UY"]["fields"] += ["roles", "identifiers.LEI"]
    return dict(clauses)


def mercosur(**changed: Any) -> Json:
    """The four's terms, for three: with trade names, without validity, and no authorisation number."""
    clauses: Any = deepcopy(terms.terms("mercosur")) | changed
    kept = {name: each for name, each in clauses["directions"].items() if "PY" not in name}
    hidden = ("valid_to", "authorisation_number")
    for each in kept.values():
        each["fields"] = [*(path for path in each["fields"] if path not in hidden), "trade_names"]
    return dict(clauses) | {"directions": kept}


@dataclass
class Agreed:
    """Three countries under a regional agreement, and two of them under a bilateral one too."""

    region: Region
    bilateral: str
    regional: str

    def look_up(self, tin: str = ONE) -> Json:
        return self.region.nodes["UY"].look_up(tin)

    def told(self, agreement: str) -> dict[str, Json | None]:
        """By TIN what UY's store holds of BR's records under one agreement: the fields, None once gone."""
        with self.region.nodes["UY"].parts.database.read() as connection:
            channel = channels.channel(connection, agreement, "BR", "UY")
            assert channel is not None
            ids = {tin: self.region.nodes["BR"].look_up(tin)["record_id"] for tin in (ONE, TWO, THREE)}
            rows = channels.mirrored(connection, [(channel.log, each) for each in ids.values()])
        found = {tin: rows.get((channel.log, record_id)) for tin, record_id in ids.items()}
        return {tin: row.fields and orjson.loads(row.fields) for tin, row in found.items() if row is not None}


COUNTRIES = ("AR", "BR", "UY")


@contextmanager
def agreed(folder: Path, two: Json, three: Json) -> Iterator[Agreed]:
    with new_region(folder, COUNTRIES) as region:
        found = Agreed(region, region.agree(BILATERAL, two), region.agree(REGIONAL, three))
        region.nodes["BR"].admit(operator(1))
        region.nodes["BR"].admit(operator(2, roles=["broker"]))
        region.nodes["BR"].admit(operator(3, identifiers=[{"scheme": "LEI", "value": LEIS[3]}]))
        region.exchange()
        yield found


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    folder = tmp_path_factory.mktemp("several")
    with agreed(folder, bilateral(), mercosur()) as found:
        return folder, found.bilateral, found.regional


@pytest.fixture
def both(_made: tuple[Path, str, str], tmp_path: Path) -> Iterator[Agreed]:
    with copied_region(_made[0], tmp_path, COUNTRIES) as region:
        yield Agreed(region, *_made[1:])


def test_each_channel_lets_through_what_its_own_terms_allow_and_no_union_of_both(both: Agreed) -> None:
    under_two, under_three = both.told(both.bilateral), both.told(both.regional)
    assert set(under_two) == {ONE}, "a broker is excluded, and who has no CNPJ cannot be matched"
    assert set(under_three) == {ONE, TWO}
    assert under_two[ONE]
    assert under_three[ONE]
    paths = {
        name: each["directions"]["BR-UY"]["fields"] for name, each in (("2", bilateral()), ("3", mercosur()))
    }
    shown = {name: {path.partition(".")[0] for path in each} for name, each in paths.items()}
    assert set(under_two[ONE]) <= shown["2"]
    assert set(under_three[ONE]) <= shown["3"]
    assert {"roles", "valid_to", "authorisation_number"} <= set(under_two[ONE]) - set(under_three[ONE])
    assert set(under_three[ONE]) - set(under_two[ONE]) == {"trade_names"}
    assert [each["scheme"] for each in under_three[ONE]["identifiers"]] == ["CNPJ"]
    never = {"mra_contact", "mra_consent", "issuing_authority"}
    assert not never & (set(under_two[ONE]) | set(under_three[ONE]))


def test_argentina_is_told_under_the_regional_one_alone(both: Agreed) -> None:
    answer = both.region.nodes["AR"].look_up(ONE)
    assert (answer["recognition"]["title"], answer["because"], answer["others"]) == (REGIONAL, None, [])
    assert "roles" not in answer["fields"]
    assert "valid_to" not in answer["fields"]


def test_an_answer_names_every_agreement_with_its_own_fields_reasons_and_clauses(both: Agreed) -> None:
    answer = both.look_up()
    [other] = answer["others"]
    assert {answer["recognition"]["agreement"], other["recognition"]["agreement"]} == {
        both.bilateral,
        both.regional,
    }
    assert [each["recognition"]["applies"] for each in (answer, other)] == [True, True]
    assert answer["fields"] != other["fields"]
    assert answer["record_id"] == other["record_id"]
    assert (other["because"], other["others"]) == (None, [])
    assert answer["because"] == "nothing sets it apart from the next but that its channel is the older one"


def test_an_operator_told_under_one_of_two_is_answered_under_that_one(both: Agreed) -> None:
    answer = both.look_up(TWO)
    assert (answer["recognition"]["title"], answer["because"], answer["others"]) == (REGIONAL, None, [])


def test_who_is_suspended_here_under_one_is_recognised_under_the_other(both: Agreed) -> None:
    uy = both.region.nodes["UY"]
    uy.settle(SuspendHere(ONE, "SECURITY", "case 1", "chief", both.bilateral))
    answer = both.look_up()
    assert (answer["recognition"]["title"], answer["recognition"]["applies"]) == (REGIONAL, True)
    assert "suspended here" in str(answer["others"][0]["recognition"]["reasons"])
    uy.settle(SuspendHere(ONE, "SECURITY", "case 1", "chief", both.regional))
    assert not both.look_up()["recognition"]["applies"]
    both.region.nodes["BR"].settle(Erase(ONE, "NOT_NEEDED", "", "admin"))
    both.region.exchange()
    assert uy.findings() == []


def test_one_that_applies_wins_over_one_that_does_not(both: Agreed) -> None:
    for first, second, title in (
        (both.bilateral, both.regional, REGIONAL),
        (both.regional, both.bilateral, BILATERAL),
    ):
        both.region.nodes["UY"].settle(Sign(first, "suspend", "BR", "UY"))
        answer = both.look_up()
        assert (answer["recognition"]["title"], answer["recognition"]["applies"]) == (title, True)
        assert answer["because"] == "recognition applies under it"
        [other] = answer["others"]
        assert other["recognition"]["reasons"] == ["the agreement is suspended in this direction"]
        both.region.exchange()
        assert both.look_up()["because"] == "the others no longer tell us of the operator"
        both.region.both(first, "resume", "BR", "UY")
        both.region.exchange()
        assert second in (
            both.look_up()["recognition"]["agreement"],
            both.look_up()["others"][0]["recognition"]["agreement"],
        )


def test_it_is_found_by_a_number_that_only_one_agreement_shows_and_told_under_both(both: Agreed) -> None:
    [answer] = both.region.nodes["UY"].find([LEIS[1]])[LEIS[1]]
    assert len(answer["others"]) == 1
    assert both.region.nodes["UY"].find([CNPJS[1], ONE]) == {
        CNPJS[1]: [both.look_up()],
        ONE: [both.look_up()],
    }


def test_a_search_suggests_it_once(both: Agreed) -> None:
    with asking(both.region.nodes["UY"]) as (connection, answers):
        found = orjson.loads(encoded(answers.search(connection, answers.tellers(), "Caatinga", 5)))
    assert [each["operator"] for each in found["suggestions"]] == [both.look_up()]


def test_a_consent_withdrawn_for_one_agreement_leaves_the_other(tmp_path: Path) -> None:
    named = {"given": True, "scope": ["MRA-BR-UY-WITHOUT-BROKERS", "MRA-MERCOSUR"], "from": "2025-01-10"}
    per = {"consent": "PER_AGREEMENT"}
    with agreed(tmp_path, bilateral(**per), mercosur(**per)) as both:
        both.region.nodes["BR"].amend(ONE, mra_consent=named)
        both.region.exchange()
        assert len(both.look_up()["others"]) == 1
        both.region.nodes["BR"].amend(ONE, mra_consent=named | {"scope": ["MRA-MERCOSUR"]})
        both.region.exchange()
        assert both.told(both.bilateral)[ONE] is None
        answer = both.look_up()
        assert (answer["recognition"]["title"], answer["recognition"]["applies"]) == (REGIONAL, True)
        assert answer["others"][0]["status"]["value"] == "NOT_SHARED"
        assert "roles" not in answer["fields"], "what the other agreement told is gone"
        both.region.nodes["BR"].amend(ONE, mra_consent=withdrawn("2026-11-22"))
        both.region.exchange()
        assert both.look_up()["fields"] is None


def test_the_terms_may_rank_them_as_long_as_the_first_is_in_operation(tmp_path: Path) -> None:
    narrow = mercosur(rank=2)
    narrow["directions"]["BR-UY"] |= {"min_scope": ["SECURITY"]}
    with agreed(tmp_path, bilateral(max_staleness_s=86_400, rank=1), narrow) as both:
        answer = both.look_up()
        assert (answer["recognition"]["title"], answer["because"]) == (
            REGIONAL,
            "its terms rank it before the others",
        )
        both.region.clock.ms += 1_000_000
        answer = both.look_up()
        stale = "the newest proof is older than the agreement allows"
        assert (answer["recognition"]["title"], answer["recognition"]["reasons"]) == (REGIONAL, [stale])
        assert answer["others"][0]["recognition"]["applies"], "the terms rank it behind"
        both.region.nodes["UY"].settle(Sign(both.regional, "suspend", "BR", "UY"))
        answer = both.look_up()
        assert (answer["recognition"]["title"], answer["recognition"]["applies"]) == (BILATERAL, True)


def test_of_two_that_apply_the_one_agreed_for_longest_goes_first(tmp_path: Path) -> None:
    with agreed(tmp_path, bilateral(until="2027-12-31"), mercosur(until="2028-12-31")) as both:
        answer = both.look_up()
        assert (answer["recognition"]["title"], answer["because"]) == (
            REGIONAL,
            "it is agreed for longer than the next",
        )


def test_of_two_alike_the_one_whose_proof_holds_for_longest_goes_first(tmp_path: Path) -> None:
    with agreed(tmp_path, bilateral(), mercosur(max_staleness_s=86_400)) as both:
        answer = both.look_up()
        assert answer["recognition"]["title"] == REGIONAL
        assert "relied on for longer" in answer["because"]


def test_the_issuer_sees_what_each_agreement_shows(both: Agreed) -> None:
    told = {
        (each["partner"], each["agreement"]): each["decision"]
        for each in both.region.nodes["BR"].look_up(TWO)["partners"]
    }
    assert told["UY", both.bilateral] == {"answer": "withhold", "reason": "role not accepted"}
    assert told["UY", both.regional]["answer"] == "share"
    assert set(told) == {("UY", both.bilateral), ("UY", both.regional), ("AR", both.regional)}


def test_evidence_is_about_one_agreement_and_says_the_same_as_the_answer_under_it(both: Agreed) -> None:
    uy, br = both.region.nodes["UY"], both.region.nodes["BR"]
    both.region.both(both.bilateral, "suspend", "BR", "UY")
    both.region.exchange()
    wire = World(both.region.clock, br, uy)
    with uy.parts.database.read() as connection:
        with pytest.raises(Conflict, match="several agreements") as refused:
            evidence(uy.parts, connection, ONE, uy.parts.now_ms())
        known = {each.field: each.value for each in refused.value.problems}
        assert known == {both.bilateral: BILATERAL, both.regional: REGIONAL}
        answer = both.look_up()
        for each in (answer, *answer["others"]):
            told = each["recognition"]
            shown = assert_holds(
                wire, evidence(uy.parts, connection, ONE, uy.parts.now_ms(), told["agreement"])
            )
            assert ("the benefit applied" in shown[-1].found) is told["applies"]
    assert [each["recognition"]["applies"] for each in (answer, *answer["others"])] == [True, False]


def test_every_node_is_whole(both: Agreed) -> None:
    both.region.nodes["AR"].admit(of("AR"))
    both.region.exchange()
    assert both.region.nodes["BR"].look_up(of("AR")["tin"])["recognition"]["applies"]
    assert [node.findings() for node in both.region.nodes.values()] == [[], [], []]
    assert [node.incidents() for node in both.region.nodes.values()] == [[], [], []]
