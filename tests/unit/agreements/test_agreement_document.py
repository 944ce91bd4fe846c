import copy
from hashlib import sha256
from typing import Any

import pytest
from joserfc.jwk import ECKey

from contracts.rules import text as rules
from contracts.terms import terms as ready_made
from node.agreements.document import Agreement, Party, direction_terms, draft, governing_terms, parse
from node.agreements.terms import FIELD_PATHS, parse_terms
from node.errors import Malformed
from node.ledger import canonical
from node.records import model

KEYS = {country: ECKey.generate_key("P-256", private=True) for country in ("BR", "UY")}


def party(country: str) -> Party:
    key = KEYS[country].as_dict(private=False)
    public = {name: str(key[name]) for name in ("kty", "crv", "x", "y")}
    return Party(country, f"aeo.{country.lower()}.example", f"Customs of {country}", public)


def agreement() -> Agreement:
    parties = [party("BR"), party("UY")]
    return draft("Brazil and Uruguay", parties, ready_made(), rules(), "2026-11-01", b"n" * 16)


WHOLE = agreement()


def edited(path: str, value: object) -> dict[str, Any]:
    """The document with one member replaced, or removed if the value is `...`."""
    json: dict[str, Any] = copy.deepcopy(WHOLE.to_json())
    *parents, last = path.split("/")
    inside: Any = json
    for name in parents:
        inside = inside[int(name) if name.isdigit() else name]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    return json


def test_a_document_survives_the_round_trip_byte_for_byte() -> None:
    again = parse(canonical.decode(WHOLE.encode()))
    assert again == WHOLE
    assert again.encode() == WHOLE.encode()
    assert again.digest() == sha256(WHOLE.encode()).digest()
    assert len(WHOLE.id) == 43


def test_any_change_of_text_terms_or_nonce_is_another_agreement() -> None:
    others = [
        edited("title", "Another"),
        edited("terms/max_staleness_s", 901),
        edited("terms/directions/BR-UY/fields", [*model.NEEDED["operator"], "identifiers.CNPJ"]),
        edited("nonce", "b" * 24),
        edited("drafted_on", "2026-11-02"),
    ]
    assert len({WHOLE.id, *(parse(other).id for other in others)}) == 6


ONE_DIRECTION = "terms/directions/BR-UY"
READER = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
BROKEN = {
    "version": ("v", 2, "v"),
    "version as a flag": ("v", True, "v"),
    "no title": ("title", ..., "agreement.title"),
    "unknown key": ("extra", 1, "agreement.extra"),
    "title with a line break": ("title", "a\nb", "title"),
    "one party": ("parties", [party("BR").to_json()], "parties"),
    "the same party twice": ("parties", [party("BR").to_json()] * 2, "parties"),
    "party country": ("parties/0/country", "br", "parties[0].country"),
    "party node with a schema": ("parties/0/name", "https://aeo.br.example", "parties[0].name"),
    "party unknown key": ("parties/0/extra", 1, "parties[0].extra"),
    "key of another curve": ("parties/0/key/crv", "P-384", "parties[0].key"),
    "key off the curve": ("parties/0/key/x", "A" * 43, "parties[0].key"),
    "private key in the document": ("parties/0/key/d", "A" * 43, "parties[0].key"),
    "contract hash": ("contract/sha256", "0" * 64, "contract.sha256"),
    "contract text outside the language": ("contract/text", "import os\n", "contract.text"),
    "contract text edited": ("contract/text", rules() + "\n", "contract.sha256"),
    "drafted on no real day": ("drafted_on", "2026-02-30", "drafted_on"),
    "short nonce": ("nonce", "AAAA", "nonce"),
    "nonce in another spelling": ("nonce", "AAAAAAAAAAAAAAAAAAAAAB", "nonce"),
    "terms without retention": ("terms/retention_days", ..., "terms.retention_days"),
    "terms without onward transfer": ("terms/onward_transfer", ..., "terms.onward_transfer"),
    "unknown clause": ("terms/extra", 1, "terms.extra"),
    "unbounded staleness": ("terms/max_staleness_s", 10**9, "terms.max_staleness_s"),
    "staleness as a flag": ("terms/max_staleness_s", True, "terms.max_staleness_s"),
    "consent in other words": ("terms/consent", "general", "terms.consent"),
    "from no real day": ("terms/from", "2026-13-01", "terms.from"),
    "rank of nothing": ("terms/rank", 0, "terms.rank"),
    "rank as a flag": ("terms/rank", True, "terms.rank"),
    "reads told in other words": ("terms/report_reads", "yes", "terms.report_reads"),
    "preconditions of another mode": ("terms/preconditions", {"pilot": []}, "terms.preconditions"),
    "no direction": ("terms/directions", {}, "terms.directions"),
    "direction to a stranger": ("terms/directions/BR-AR", {}, "terms.directions.BR-AR"),
    "direction to itself": ("terms/directions/BR-BR", {}, "terms.directions.BR-BR"),
    "direction without fields": (f"{ONE_DIRECTION}/fields", ..., "terms.directions.BR-UY.fields"),
    "unknown field": (f"{ONE_DIRECTION}/fields", ["tin", "risk"], "terms.directions.BR-UY.fields"),
    "no status": (
        f"{ONE_DIRECTION}/fields",
        ["record_id", "country", "tin", "programme", "scope"],
        "terms.directions.BR-UY.fields",
    ),
    "no programme": (f"{ONE_DIRECTION}/accept_programmes", [], "terms.directions.BR-UY.accept_programmes"),
    "a programme in no form": (
        f"{ONE_DIRECTION}/accept_programmes",
        ["OEA"],
        "terms.directions.BR-UY.accept_programmes",
    ),
    "unknown mode": (f"{ONE_DIRECTION}/mode", "PUSH", "terms.directions.BR-UY.mode"),
    "no reader": (f"{ONE_DIRECTION}/readers", [], "terms.directions.BR-UY.readers"),
    "a reader without a key": (
        f"{ONE_DIRECTION}/readers",
        [{"country": "PY", "administration": "Customs"}],
        "terms.directions.BR-UY.readers",
    ),
    "a reader with a secret key": (
        f"{ONE_DIRECTION}/readers",
        [
            {
                "country": "PY",
                "administration": "Customs",
                "key": {"kty": "OKP", "crv": "Ed25519", "x": "A", "d": "B"},
            }
        ],
        "terms.directions.BR-UY.readers",
    ),
    "a reader twice": (
        f"{ONE_DIRECTION}/readers",
        [{"country": "PY", "administration": "Customs", "key": READER}] * 2,
        "terms.directions.BR-UY.readers",
    ),
    "no kind": (f"{ONE_DIRECTION}/accept_kinds", [], "terms.directions.BR-UY.accept_kinds"),
    "unknown kind": (f"{ONE_DIRECTION}/accept_kinds", ["ship"], "terms.directions.BR-UY.accept_kinds"),
    "traders without their kind": (
        f"{ONE_DIRECTION}/accept_kinds",
        ["trader"],
        "terms.directions.BR-UY.fields",
    ),
    "a field twice": (f"{ONE_DIRECTION}/fields", ["tin", "tin"], "terms.directions.BR-UY.fields"),
    "no field": (f"{ONE_DIRECTION}/fields", [], "terms.directions.BR-UY.fields"),
    "all identifiers": (f"{ONE_DIRECTION}/fields", ["identifiers"], "terms.directions.BR-UY.fields"),
    "unnamed scheme": (f"{ONE_DIRECTION}/fields", ["identifiers."], "terms.directions.BR-UY.fields"),
    "unknown role": (f"{ONE_DIRECTION}/accept_roles", ["spy"], "terms.directions.BR-UY.accept_roles"),
    "empty list of types": (f"{ONE_DIRECTION}/accept_types", [], "terms.directions.BR-UY.accept_types"),
    "nested list": (f"{ONE_DIRECTION}/min_scope", [["SECURITY"]], "terms.directions.BR-UY.min_scope"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_document_is_refused_by_name(name: str) -> None:
    path, value, field = BROKEN[name]
    with pytest.raises(Malformed) as refused:
        parse(edited(path, value))
    assert field in {problem.field for problem in refused.value.problems}, str(refused.value)


@pytest.mark.parametrize("json", [None, 1, "x", [], {}])
def test_what_is_no_document_is_refused(json: object) -> None:
    with pytest.raises(Malformed):
        parse(json)


def test_every_broken_clause_is_named_at_once() -> None:
    json = edited("terms/consent", "maybe")
    json["terms"]["retention_days"] = -1
    with pytest.raises(Malformed) as refused:
        parse(json)
    assert {"terms.consent", "terms.retention_days"} == {p.field for p in refused.value.problems}


def test_the_terms_of_a_direction_hold_that_direction_only() -> None:
    terms = direction_terms(WHOLE, "BR", "UY", "PILOT")
    assert terms["parties"] == ["BR", "UY"]
    assert terms["direction"]["issuer"] == "BR"
    assert terms["direction"]["state"] == "PILOT"
    assert "directions" not in terms
    assert "identifiers.RUT" not in terms["direction"]["fields"]
    assert "direction" not in governing_terms(WHOLE)


def test_an_unknown_direction_has_no_terms() -> None:
    with pytest.raises(Malformed, match="BR-UY"):
        direction_terms(WHOLE, "BR", "AR", "PILOT")
    with pytest.raises(Malformed, match="must be a party"):
        WHOLE.party("AR")


def test_what_may_be_agreed_on_is_what_a_record_has() -> None:
    added_by_the_ledger = {"record_id", "recorded_at"}
    never_shared = {"source_system", "source_updated_at"}
    assert set(FIELD_PATHS) - added_by_the_ledger == set(model.FIELDS) - never_shared - {"identifiers"}


@pytest.mark.parametrize("kinds", [["trader"], ["operator", "trader"]])
def test_terms_for_master_data_need_the_fields_of_the_kinds_that_they_name(kinds: list[str]) -> None:
    needed = list(dict.fromkeys(name for kind in kinds for name in model.NEEDED[kind]))
    agreed: dict[str, Any] = ready_made("br_uy_master_data")
    for direction in agreed["directions"].values():
        number = f"identifiers.{direction['identifier_scheme']}"
        direction |= {"accept_kinds": kinds, "fields": [number, *needed]}
    assert parse_terms(agreed, ("BR", "UY")) == agreed
    agreed["directions"]["BR-UY"]["fields"] = ["identifiers.CNPJ", *needed[:-1]]
    with pytest.raises(Malformed, match=f"must hold {needed[-1]}"):
        parse_terms(agreed, ("BR", "UY"))
