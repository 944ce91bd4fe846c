"""Each file of ready-made terms: it parses; who is shared with whom, and which fields, as its page says."""

from collections.abc import Iterator
from importlib.resources import files
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from contracts import load
from contracts.rules import text
from contracts.terms import terms as ready_made
from node.agreements.terms import parse_terms

PAGE = Path(__file__).parents[3] / "docs" / "ready-made-terms.md"
NAMES = sorted(f.name.removesuffix(".json") for f in files("contracts.terms").iterdir() if ".json" in f.name)
CONTRACTS = {name: load(text(name)) for name in ("mra_v2", "master_data_v1")}
TODAY = "2027-06-15"
MERCOSUR = ("AR", "BR", "PY", "UY")


def parties(terms: dict[str, Any]) -> list[str]:
    return sorted({country for name in terms["directions"] for country in name.split("-")})


def directions() -> Iterator[tuple[str, str]]:
    for name in NAMES:
        told: dict[str, Any] = ready_made(name)
        yield from ((name, direction) for direction in told["directions"])


def record(programme: str, kind: str, scheme: str, **changed: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "programme": programme,
        "national_types": [kind],
        "scope": ["SECURITY"],
        "roles": ["exporter"],
        "status": "ACTIVE",
        "identifiers": [{"scheme": scheme, "value": "1"}],
        "mra_consent": {"given": True, "scope": "GENERAL"},
    }
    return fields | changed


def answer(name: str, direction: str, asked: dict[str, Any]) -> Any:
    agreed: dict[str, Any] = ready_made(name)
    issuer, partner = direction.split("-")
    directed = agreed.pop("directions")[direction]
    directed |= {"issuer": issuer, "partner": partner, "state": "IN_OPERATION"}
    contract = "master_data_v1" if "accept_kinds" in directed else "mra_v2"
    return CONTRACTS[contract].decide(asked, agreed | {"direction": directed}, TODAY)


@pytest.mark.parametrize("name", NAMES)
def test_ready_made_terms_are_sound_and_have_their_place_on_the_page(name: str) -> None:
    agreed: dict[str, Any] = ready_made(name)
    assert parse_terms(agreed, parties(agreed)) == agreed
    assert f"| [`{name}`](" in PAGE.read_text("utf-8")


def test_no_two_have_one_name() -> None:
    names = [ready_made(name)["name"] for name in NAMES]
    assert len(set(names)) == len(names), "an operator's consent names the agreement by it"


AR = record("AR-OEA", "OEA", "CUIT")
BR = record("BR-OEA", "OEA-S", "CNPJ")
EU = record("EU-AEO", "AEOS", "EORI")
PY = record("PY-OEA", "OEA", "RUC")
UY = record("UY-OEC", "OEC", "RUT")
US = record("US-CTPAT", "Tier 2", "CTPAT")
SHARED = {"AR": AR, "BR": BR, "EU": EU, "PY": PY, "US": US, "UY": UY}


@pytest.mark.parametrize(("name", "direction"), [each for each in directions() if "master" not in each[0]])
def test_each_direction_shares_its_issuers_operators_with_their_number_and_nobody_elses(
    name: str, direction: str
) -> None:
    issuer = direction[:2]
    for country, asked in SHARED.items():
        told = answer(name, direction, asked)
        assert told.shared is (country == issuer), told.reason
    assert (
        f"identifiers.{SHARED[issuer]['identifiers'][0]['scheme']}"
        in answer(name, direction, SHARED[issuer]).fields
    )


WITHHELD = [
    ("br_uy", "BR-UY", BR | {"roles": ["broker"]}, ""),
    ("br_uy", "BR-UY", BR | {"national_types": ["OEA-C"]}, "type not accepted"),
    ("br_uy_without_brokers", "BR-UY", BR | {"roles": ["broker"]}, "role not accepted"),
    ("br_uy_without_brokers", "BR-UY", BR | {"roles": ["broker", "exporter"]}, ""),
    ("br_uy_without_brokers", "UY-BR", UY | {"roles": ["broker"]}, "role not accepted"),
    ("br_uy_without_brokers", "UY-BR", UY | {"roles": []}, ""),
    ("mercosur", "BR-PY", BR | {"national_types": ["OEA-C"]}, "type not accepted"),
    ("mercosur", "AR-UY", AR | {"national_types": ["anything"]}, ""),
    ("mercosur", "AR-UY", AR | {"scope": ["CUSTOMS_COMPLIANCE"]}, "required scope missing"),
    (
        "mercosur",
        "PY-BR",
        PY | {"identifiers": [{"scheme": "LEI", "value": "1"}]},
        "no identifier of the agreed scheme",
    ),
    ("eu_us", "EU-US", EU | {"national_types": ["AEOC"]}, "type not accepted"),
    ("eu_us", "EU-US", EU | {"national_types": ["AEOF"], "scope": ["SECURITY", "CUSTOMS_COMPLIANCE"]}, ""),
    ("eu_us", "US-EU", US | {"roles": ["broker"]}, "role not accepted"),
    ("eu_us", "EU-US", EU | {"mra_consent": {"given": False, "scope": "GENERAL"}}, "consent not given"),
    ("eu_us_one_way", "EU-US", EU | {"status": "REVOKED"}, ""),
    ("eu_us_one_way", "EU-US", EU | {"status": "WITHDRAWN"}, "status not shared"),
    ("br_uy_master_data", "BR-UY", BR, "kind not accepted"),
    ("br_uy_master_data", "BR-UY", {"kind": "trader", "status": "ACTIVE"}, ""),
]


@pytest.mark.parametrize(("name", "direction", "asked", "reason"), WITHHELD)
def test_who_stays_at_home_and_why(name: str, direction: str, asked: dict[str, Any], reason: str) -> None:
    told = answer(name, direction, asked)
    assert (told.shared, told.reason) == (not reason, reason)


def test_mercosur_is_every_directed_pair_of_four() -> None:
    told: dict[str, Any] = ready_made("mercosur")
    assert set(told["directions"]) == {f"{issuer}-{partner}" for issuer, partner in permutations(MERCOSUR, 2)}


def test_eu_us_shows_the_seven_elements_and_what_every_reader_needs() -> None:
    seven = {
        "legal_name",
        "address",
        "status",
        "authorised_on",
        "status_since",
        "status_until",
        "identifiers.EORI",
    }
    needed = {"record_id", "country", "tin", "programme", "national_types", "scope"}
    clocks = {"effective_at", "recorded_at"}
    assert set(answer("eu_us", "EU-US", EU).fields) == seven | needed | clocks


def test_one_way_is_one_direction_that_both_sign() -> None:
    told: dict[str, Any] = ready_made("eu_us_one_way")
    assert list(told["directions"]) == ["EU-US"]
    assert parties(told) == ["EU", "US"]
    asked = {"act": "start", "issuer": "EU", "partner": "US", "mode": "operation", "preconditions_met": []}
    terms = {"parties": parties(told), "preconditions": told["preconditions"]}
    assert CONTRACTS["mra_v2"].govern(asked, terms, ["EU", "US"], TODAY).reason == "preconditions not met"
    asked["preconditions_met"] = told["preconditions"]["operation"]
    assert CONTRACTS["mra_v2"].govern(asked, terms, ["EU", "US"], TODAY).allowed
    assert CONTRACTS["mra_v2"].govern(asked, terms, ["US"], TODAY).missing == ("EU",)
