import pytest

from contracts import load
from contracts.rules import text
from contracts.terms import terms as ready_made

# A published text is never edited: a change of rules is a new file with a hash of its own.
PUBLISHED_SHA256 = "dce13ad1e6686b4b2c124b22ff4c0ad81c805c865cff60034ce5041ab38f2817"
MASTER_DATA_SHA256 = "0f7283e9235cb8b173fa06626e6ef7f09d0f41cc68bbaa0a5d154a3f5d7a6f82"
CONTRACT = load(text())
MASTER_DATA = load(text("master_data_v1"))
TODAY = "2027-06-15"

BR_RECORD: dict[str, object] = {
    "country": "BR",
    "programme": "BR-OEA",
    "national_types": ["OEA-S", "OEA-C"],
    "scope": ["SECURITY", "CUSTOMS_COMPLIANCE"],
    "roles": ["exporter"],
    "status": "ACTIVE",
    "valid_to": "2028-01-01",
    "mra_consent": {"given": True, "scope": "GENERAL", "from": "2024-01-01"},
}
UY_RECORD = {**BR_RECORD, "country": "UY", "programme": "UY-OEC", "national_types": ["OEC"]}


TRADER: dict[str, object] = {"kind": "trader", "country": "BR", "status": "ACTIVE"}


def terms_for(direction: str, name: str = "br_uy", **changes: object) -> dict[str, object]:
    """Terms as a node gives them; a change goes to the direction if the clause is the direction's."""
    terms = ready_made(name)
    directions: dict[str, dict[str, object]] = terms.pop("directions")  # type: ignore[assignment]
    issuer, partner = direction.split("-")
    directed = {**directions[direction], "issuer": issuer, "partner": partner, "state": "IN_OPERATION"}
    directed.update({name: value for name, value in changes.items() if name in directed})
    shared = {name: value for name, value in changes.items() if name not in directed}
    return {**terms, **shared, "parties": ["BR", "UY"], "direction": directed}


def consent(**changes: object) -> dict[str, object]:
    return {"mra_consent": {"given": True, "scope": "GENERAL", **changes}}


NAMED = ["MRA-BR-UY"]
# What stands in the record, what stands in the terms, why it is withheld (None: shared).
CASES = [
    ({}, {}, None),
    ({}, {"state": "PILOT"}, None),
    ({}, {"state": "SIGNED"}, "agreement not in operation"),
    ({}, {"state": "NEGOTIATING"}, "agreement not in operation"),
    ({}, {"state": "SUSPENDED"}, "agreement not in operation"),
    ({}, {"state": "TERMINATED"}, "agreement not in operation"),
    ({}, {"from": "2027-06-16"}, "agreement not yet in force"),
    ({}, {"from": TODAY, "until": TODAY}, None),
    ({}, {"until": "2027-06-14"}, "agreement ended"),
    ({"programme": "UY-OEC"}, {}, "programme not accepted"),
    ({"programme": None}, {}, "programme not accepted"),
    ({"mra_consent": None}, {}, "consent not given"),
    ({"mra_consent": None}, {"consent": "NONE"}, None),
    (consent(given=False), {}, "consent not given"),
    (consent(**{"from": "2027-06-16"}), {}, "consent not given"),
    (consent(**{"from": TODAY}), {}, None),
    (consent(given=False, withdrawn_on=TODAY), {}, "consent withdrawn"),
    (consent(withdrawn_on=TODAY), {}, "consent withdrawn"),
    (consent(withdrawn_on="2027-06-16"), {}, None),
    (consent(scope=NAMED), {}, None),
    (consent(scope=["MRA-BR-US"]), {}, "consent not for this agreement"),
    (consent(scope=[]), {}, "consent not for this agreement"),
    (consent(scope=NAMED), {"consent": "PER_AGREEMENT"}, None),
    (consent(), {"consent": "PER_AGREEMENT"}, "consent not for this agreement"),
    ({"national_types": ["OEA-C"]}, {}, "type not accepted"),
    ({"national_types": ["OEA-C"]}, {"accept_types": None}, None),
    ({"scope": ["CUSTOMS_COMPLIANCE"]}, {}, "required scope missing"),
    ({"scope": ["SECURITY"]}, {}, None),
    ({"scope": ["SECURITY"]}, {"min_scope": ["SECURITY", "CUSTOMS_COMPLIANCE"]}, "required scope missing"),
    ({"roles": ["broker"]}, {}, None),
    ({"roles": ["broker"]}, {"exclude_roles": ["broker"]}, "role not accepted"),
    ({"roles": ["broker", "exporter"]}, {"exclude_roles": ["broker"]}, None),
    ({"roles": []}, {"exclude_roles": ["broker"]}, None),
    ({"roles": ["carrier"]}, {"accept_roles": ["exporter"]}, "role not accepted"),
    ({"roles": ["carrier", "exporter"]}, {"accept_roles": ["exporter"]}, None),
    ({"status": "SUSPENDED"}, {}, None),
    ({"status": "REVOKED"}, {}, None),
    ({"status": "WITHDRAWN"}, {}, "status not shared"),
    ({"status": "ANNULLED"}, {}, "status not shared"),
    ({"status": "REVOKED"}, {"share_statuses": ["ACTIVE"]}, "status not shared"),
    ({"valid_to": "2027-06-14"}, {}, "expired"),
    ({"valid_to": TODAY}, {}, None),
    ({"valid_to": None}, {}, None),
]


@pytest.mark.parametrize(("record", "terms", "reason"), CASES)
@pytest.mark.parametrize("direction", ["BR-UY"])
def test_each_clause_decides_as_it_reads(
    record: dict[str, object], terms: dict[str, object], reason: str | None, direction: str
) -> None:
    given = terms_for(direction, **terms)
    answer = CONTRACT.decide({**BR_RECORD, **record}, given, TODAY)
    assert (answer.shared, answer.reason) == (reason is None, reason or "")
    fields = given["direction"]["fields"]  # type: ignore[index]
    assert answer.fields == (tuple(sorted(fields)) if reason is None else ())


def test_each_direction_accepts_its_own_programme_only() -> None:
    assert "identifiers.RUT" in CONTRACT.decide(UY_RECORD, terms_for("UY-BR"), TODAY).fields
    assert not CONTRACT.decide(UY_RECORD, terms_for("BR-UY"), TODAY).shared
    assert not CONTRACT.decide(BR_RECORD, terms_for("UY-BR"), TODAY).shared


def test_the_first_reason_in_order_is_the_one_given() -> None:
    late = {**BR_RECORD, "valid_to": "2020-01-01", "status": "WITHDRAWN", "national_types": ["X"]}
    terms = terms_for("BR-UY")
    reasons = []
    for repair in ({"national_types": ["OEA-S"]}, {"status": "ACTIVE"}, {"valid_to": None}, {}):
        reasons.append(CONTRACT.decide(late, terms, TODAY).reason)
        late = {**late, **repair}
    assert reasons == ["type not accepted", "status not shared", "expired", ""]


def test_an_expiry_is_judged_by_the_day_asked_about() -> None:
    terms = terms_for("BR-UY")
    assert CONTRACT.decide(BR_RECORD, terms, "2028-01-01").shared
    assert CONTRACT.decide(BR_RECORD, terms, "2028-01-02").reason == "expired"


PILOT = {"pilot": ["adequacy judged"], "operation": ["adequacy judged", "pilot reviewed"]}
RULINGS = [
    ("sign", None, [], (False, ("BR", "UY"))),
    ("sign", None, ["UY"], (False, ("BR",))),
    ("sign", None, ["UY", "BR"], (True, ())),
    ("start", "pilot", ["UY"], (False, ("BR",))),
    ("start", "pilot", ["UY", "BR"], (True, ())),
    ("start", "operation", ["UY", "BR"], (False, ())),
    ("start", "demo", ["UY", "BR"], (False, ())),
    ("suspend", None, [], (False, ())),
    ("suspend", None, ["UY"], (True, ())),
    ("suspend", None, ["AR"], (False, ())),
    ("resume", None, ["UY"], (False, ("BR",))),
    ("resume", None, ["UY", "BR"], (True, ())),
    ("terminate", None, [], (False, ())),
    ("terminate", None, ["BR"], (True, ())),
    ("annex", None, ["UY", "BR"], (False, ())),
]


@pytest.mark.parametrize(("act", "mode", "signatures", "expected"), RULINGS)
def test_each_act_needs_its_signatures(
    act: str, mode: str | None, signatures: list[str], expected: tuple[bool, tuple[str, ...]]
) -> None:
    terms = {**terms_for("BR-UY"), "preconditions": PILOT}
    directed = {"issuer": "BR", "partner": "UY"} if act != "sign" else {"issuer": None, "partner": None}
    asked = {"act": act, "mode": mode, "preconditions_met": ["adequacy judged"], **directed}
    ruling = CONTRACT.govern(asked, terms, signatures, TODAY)
    assert (ruling.allowed, ruling.missing) == expected


def test_either_party_ends_the_whole_agreement() -> None:
    asked: dict[str, object] = {"act": "terminate", "issuer": None, "partner": None}
    assert CONTRACT.govern(asked, terms_for("BR-UY"), ["UY"], TODAY).allowed
    assert not CONTRACT.govern(asked, terms_for("BR-UY"), [], TODAY).allowed


def test_in_a_wider_agreement_a_third_party_cannot_act_on_a_direction() -> None:
    terms = {**terms_for("BR-UY"), "parties": ["AR", "BR", "UY"]}
    for act in ("suspend", "terminate", "resume"):
        asked: dict[str, object] = {"act": act, "issuer": "BR", "partner": "UY"}
        assert not CONTRACT.govern(asked, terms, ["AR"], TODAY).allowed
    assert CONTRACT.govern({"act": "sign"}, terms, ["BR", "UY"], TODAY).missing == ("AR",)


def test_the_published_text_is_never_edited() -> None:
    assert CONTRACT.sha256 == PUBLISHED_SHA256
    assert MASTER_DATA.sha256 == MASTER_DATA_SHA256


@pytest.mark.parametrize(
    ("record", "terms", "reason"),
    [
        ({}, {}, None),
        ({"status": "SUSPENDED"}, {}, None),
        ({"status": "WITHDRAWN"}, {}, "status not shared"),
        ({"kind": None}, {}, "kind not accepted"),
        ({"kind": "ship"}, {"accept_kinds": ["operator", "trader"]}, "kind not accepted"),
        ({"kind": None}, {"accept_kinds": ["operator", "trader"]}, None),
        ({"kind": None, "valid_to": "2027-06-14"}, {"accept_kinds": ["operator"]}, "expired"),
        ({}, {"consent": "GENERAL"}, "consent not given"),
        ({}, {"from": "2027-06-16"}, "agreement not yet in force"),
        ({}, {"until": "2027-06-14"}, "agreement ended"),
    ],
)
def test_the_master_data_contract_shares_the_kinds_and_statuses_of_the_terms(
    record: dict[str, object], terms: dict[str, object], reason: str | None
) -> None:
    given = terms_for("BR-UY", "br_uy_master_data", **terms)
    answer = MASTER_DATA.decide({**TRADER, **record}, given, TODAY)
    assert (answer.shared, answer.reason) == (reason is None, reason or "")
    assert answer.fields == (tuple(sorted(given["direction"]["fields"])) if answer.shared else ())  # type: ignore[index]


def test_the_master_data_contract_shares_nothing_under_terms_that_name_no_kind() -> None:
    for record in (TRADER, BR_RECORD):
        assert MASTER_DATA.decide(record, terms_for("BR-UY"), TODAY).reason == "kind not accepted"
    assert CONTRACT.decide(TRADER, terms_for("BR-UY"), TODAY).reason == "programme not accepted"


@pytest.mark.parametrize("state", ["NEGOTIATING", "SIGNED", "SUSPENDED", "TERMINATED"])
def test_no_master_data_crosses_out_of_operation(state: str) -> None:
    given = terms_for("BR-UY", "br_uy_master_data", state=state)
    assert MASTER_DATA.decide(TRADER, given, TODAY).reason == "agreement not in operation"


@pytest.mark.parametrize("act", ["sign", "start", "resume", "suspend", "terminate"])
@pytest.mark.parametrize("signatures", [[], ["BR"], ["BR", "UY"]])
def test_both_contracts_govern_alike(act: str, signatures: list[str]) -> None:
    asked: dict[str, object] = {"act": act, "issuer": "BR", "partner": "UY", "mode": "operation"}
    asked["preconditions_met"] = []
    given = terms_for("BR-UY", "br_uy_master_data")
    assert MASTER_DATA.govern(asked, given, signatures, TODAY) == CONTRACT.govern(
        asked, given, signatures, TODAY
    )
