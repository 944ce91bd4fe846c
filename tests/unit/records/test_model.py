from copy import deepcopy
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from node.errors import Malformed
from node.records.model import FIELDS, KINDS, NEEDED, Operator, Trader, is_natural_person, parse, to_json

RECORD: dict[str, Any] = {
    "country": "BR",
    "issuing_authority": {"code": "RFB", "name": "Receita Federal do Brasil"},
    "tin": "BR99000001000101",
    "identifiers": [
        {"scheme": "CNPJ", "value": "99000001000101"},
        {"scheme": "LEI", "value": "213800KUD8LAJWSQ9D15", "purpose": "MRA", "valid_from": "2024-01-01"},
    ],
    "authorisation_number": "ADE 307/2025",
    "legal_name": "Caatinga Eletrônica S/A",
    "trade_names": ["Caatinga"],
    "address": {"line": "Av. Serra Negra, 3091", "city": "Rio Grande", "subdivision": "RS", "country": "BR"},
    "sites": [{"name": "Armazém", "address": {"line": "Rua 1", "city": "Santos", "country": "BR"}}],
    "programme": "BR-OEA",
    "national_types": ["OEA-S", "OEA-C"],
    "scope": ["SECURITY", "CUSTOMS_COMPLIANCE"],
    "roles": ["importer", "exporter"],
    "status": "ACTIVE",
    "status_since": "2025-11-18T00:00:00.000Z",
    "authorised_on": "2025-11-18",
    "valid_to": "2029-11-18",
    "mra_consent": {"given": True, "scope": ["br-uy-2016"], "from": "2025-11-18"},
    "predecessor": "urn:aeo:br.example:17",
    "effective_at": "2025-11-18T00:00:00.000Z",
}
TRADER: dict[str, Any] = {
    "kind": "trader",
    "country": "BR",
    "tin": "BR99000001000284",
    "identifiers": [{"scheme": "CNPJ", "value": "99000001000284"}],
    "legal_name": "Comércio Fictício Ltda",
    "trade_names": ["Fictício"],
    "address": {"line": "Rua 1", "city": "Santos", "country": "BR"},
    "status": "ACTIVE",
    "status_since": "2020-03-02T00:00:00.000Z",
    "effective_at": "2020-03-02T00:00:00.000Z",
    "activity": "4630",
}
REMOVED = object()


def changed(path: str, value: object) -> dict[str, Any]:
    """The record with one place changed; steps are separated by dots, list positions are numbers."""
    record = deepcopy(RECORD)
    *outer, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    part: Any = record
    for step in outer:
        part = part[step]
    if value is REMOVED:
        del part[last]
    else:
        part[last] = value
    return record


def fields_refused(record: Any) -> list[str]:
    with pytest.raises(Malformed) as refusal:
        parse(record)
    return [broken.field for broken in refusal.value.problems]


def test_what_is_parsed_is_written_again_in_the_order_of_the_fields() -> None:
    written = to_json(parse(RECORD))
    assert written == RECORD
    assert list(written) == [name for name in FIELDS if name in RECORD]


def test_an_operator_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        parse(RECORD).status = "REVOKED"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("colour", "blue", "colour"),
        ("record_id", "urn:aeo:br.example:1", "record_id"),
        ("address.planet", "Mars", "address.planet"),
        ("country", "XK", "country"),
        ("country", None, "country"),
        ("issuing_authority", "RFB", "issuing_authority"),
        ("tin", "UY99000001000101", "tin"),
        ("tin", "BR99000001000101\n", "tin"),
        ("tin", "BR" + "9" * 16, "tin"),
        ("identifiers", [], "identifiers"),
        ("identifiers", {"scheme": "CNPJ"}, "identifiers"),
        ("identifiers.0.value", "99000001000102", "identifiers[0].value"),
        ("identifiers.0.value", "99.000.001/0001-01", "identifiers[0].value"),
        ("identifiers.0.scheme", "CPF", "identifiers[0].scheme"),
        ("identifiers.0.scheme", ["CNPJ"], "identifiers[0].scheme"),
        ("identifiers.1.valid_to", "2023-12-31", "identifiers[1].valid_to"),
        ("identifiers.1", {"scheme": "CNPJ", "value": "99000001000101"}, "identifiers[1]"),
        ("authorisation_number", "9" * 36, "authorisation_number"),
        ("legal_name", "", "legal_name"),
        ("legal_name", "x" * 71, "legal_name"),
        ("legal_name", "Acme\x00", "legal_name"),
        ("legal_name", "Acme\nLtda", "legal_name"),
        ("legal_name", "Acme\u202eadtL", "legal_name"),
        ("legal_name", "Caf\u0065\u0301", "legal_name"),
        ("legal_name", "Acme\ud800", "legal_name"),
        ("legal_name", " Acme", "legal_name"),
        ("legal_name", "Acme\u00a0", "legal_name"),
        ("legal_name", 7, "legal_name"),
        ("trade_names", ["A"] * 2, "trade_names[1]"),
        ("trade_names", [str(n) for n in range(17)], "trade_names"),
        ("address.country", "ZZ", "address.country"),
        ("address.subdivision", "0123456789", "address.subdivision"),
        ("sites.0.address.city", REMOVED, "sites[0].address.city"),
        ("sites.0.identifiers", [{"scheme": "RUT", "value": "1"}], "sites[0].identifiers[0].value"),
        ("sites", [{"name": str(n), "address": RECORD["address"]} for n in range(65)], "sites"),
        ("programme", "OEA", "programme"),
        ("national_types", [], "national_types"),
        ("scope", ["SAFETY"], "scope[0]"),
        ("scope", ["SECURITY", "SECURITY"], "scope[1]"),
        ("roles", ["IMPORTER"], "roles[0]"),
        ("roles", [], "roles"),
        ("status", "NOT_SHARED", "status"),
        ("status_since", "2025-11-18", "status_since"),
        ("status_since", "2025-11-18T00:00:00Z", "status_since"),
        ("status_since", 1_763_424_000_000, "status_since"),
        ("status_until", "2025-11-17", "status_until"),
        ("status_reason_class", "because", "status_reason_class"),
        ("authorised_on", "2025-02-29", "authorised_on"),
        ("authorised_on", "20251118", "authorised_on"),
        ("valid_to", "2025-11-17", "valid_to"),
        ("valid_to", None, "valid_to"),
        ("mra_consent.given", "yes", "mra_consent.given"),
        ("mra_consent.given", 1, "mra_consent.given"),
        ("mra_consent.scope", "SOME", "mra_consent.scope"),
        ("mra_consent.scope", ["a", "a"], "mra_consent.scope[1]"),
        ("mra_consent.withdrawn_on", "2026-01-01", "mra_consent.withdrawn_on"),
        ("predecessor", "17", "predecessor"),
        ("source_updated_at", "2025-13-01T00:00:00.000Z", "source_updated_at"),
    ],
)
def test_a_broken_rule_is_refused_under_its_field(path: str, value: object, field: str) -> None:
    assert fields_refused(changed(path, value)) == [field]


@pytest.mark.parametrize("name", [name for name in FIELDS if name in RECORD])
def test_only_optional_fields_may_be_missing(name: str) -> None:
    record = changed(name, REMOVED)
    if name in ("trade_names", "sites", "roles", "valid_to", "predecessor"):
        assert to_json(parse(record)) == record
    else:
        assert name in fields_refused(record)


def test_every_problem_is_reported_at_once() -> None:
    record = changed("identifiers.0.value", "99000001000102")
    record |= {"zone": 1, "status": "LOST", "valid_to": "2020-01-01", "country": "UY"}
    del record["legal_name"]
    assert sorted(fields_refused(record)) == [
        "identifiers[0].value",
        "legal_name",
        "status",
        "tin",
        "valid_to",
        "zone",
    ]


@pytest.mark.parametrize("record", [None, [], "BR", 7])
def test_what_is_no_object_is_refused(record: object) -> None:
    assert fields_refused(record) == [""]


def test_one_number_may_serve_two_purposes() -> None:
    number = {"scheme": "CNPJ", "value": "99000001000101"}
    record = changed("identifiers", [number, {**number, "purpose": "MRA"}])
    assert to_json(parse(record)) == record


def test_a_sole_trader_is_personal_data() -> None:
    assert not is_natural_person(parse(RECORD))
    assert is_natural_person(parse(changed("identifiers.1", {"scheme": "CUIT", "value": "20055361682"})))


def test_a_record_that_names_no_kind_is_an_operator() -> None:
    assert (type(parse(RECORD)), type(parse(TRADER))) == (Operator, Trader)
    assert fields_refused({**RECORD, "kind": "operator"}) == ["kind"]


@pytest.mark.parametrize("kind", ["ship", "Trader", "", None, ["trader"], {}])
def test_a_kind_that_is_none_is_refused(kind: object) -> None:
    assert fields_refused({**TRADER, "kind": kind}) == ["kind"]


def test_a_trader_is_written_as_it_came_in_the_order_of_the_fields() -> None:
    written = to_json(parse(TRADER))
    assert written == TRADER
    assert list(written) == [name for name in FIELDS if name in TRADER]


@pytest.mark.parametrize("name", [name for name in TRADER if name != "kind"])
def test_a_trader_needs_no_more_than_who_it_is_and_its_status(name: str) -> None:
    record = {key: value for key, value in TRADER.items() if key != name}
    if name in ("trade_names", "address", "activity"):
        assert to_json(parse(record)) == record
    else:
        assert name in fields_refused(record)


@pytest.mark.parametrize("name", ["programme", "scope", "mra_consent", "authorised_on", "valid_to"])
def test_a_trader_has_nothing_of_an_authorisation(name: str) -> None:
    value = changed("valid_to", "2029-11-18")[name]
    assert fields_refused({**TRADER, name: value}) == [name]


@pytest.mark.parametrize("activity", ["4", "46301", "G46", "4632-0", 4630, ""])
def test_an_activity_is_a_code_of_isic(activity: object) -> None:
    assert fields_refused({**TRADER, "activity": activity}) == ["activity"]


def test_every_kind_says_what_its_readers_need() -> None:
    assert set(NEEDED) == set(KINDS)
    assert all(set(names) <= {"record_id", *FIELDS} for names in NEEDED.values())


def test_the_union_issues_records_with_a_members_number_and_address() -> None:
    numbers = [{"scheme": "EORI", "value": "DE1234567"}]
    union = {**RECORD, "country": "EU", "tin": "DE1234567", "identifiers": numbers}
    assert parse(union).country == "EU"
    assert fields_refused({**union, "tin": "EU1234567"}) == ["tin"]
    assert fields_refused({**union, "tin": "US1234567"}) == ["tin"]
    assert fields_refused({**union, "address": {**RECORD["address"], "country": "EU"}}) == ["address.country"]
