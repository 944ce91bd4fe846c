"""The second standard contract decides as the first, and keeps at home whom the partner could not match."""

import pytest

from contracts import load
from contracts.rules import text
from tests.unit.contracts.test_standard_contract import (
    BR_RECORD,
    CASES,
    CONTRACT,
    TODAY,
    UY_RECORD,
    terms_for,
)

PUBLISHED_SHA256 = "9640151185e35b5a303d04f16dc689418c7c21ad3923473e8aa5cbe39dd62b92"
SECOND = load(text("mra_v2"))
CNPJ = {"scheme": "CNPJ", "value": "99000001000101"}
UNMATCHED = "no identifier of the agreed scheme"


def test_the_published_text_is_never_edited() -> None:
    assert SECOND.sha256 == PUBLISHED_SHA256


@pytest.mark.parametrize(("record", "terms", "reason"), CASES)
def test_of_an_operator_with_the_number_it_decides_as_the_first(
    record: dict[str, object], terms: dict[str, object], reason: str | None
) -> None:
    given, asked = terms_for("BR-UY", **terms), {**BR_RECORD, "identifiers": [CNPJ], **record}
    answer = SECOND.decide(asked, given, TODAY)
    assert answer == CONTRACT.decide(asked, given, TODAY)
    assert answer.reason == (reason or "")


NUMBERS = {
    "none": (None, False),
    "of another scheme": ([{"scheme": "LEI", "value": "x"}], False),
    "of the scheme": ([{"scheme": "LEI", "value": "x"}, CNPJ], True),
    "valid until yesterday": ([{**CNPJ, "valid_to": "2027-06-14"}], False),
    "valid until today": ([{**CNPJ, "valid_to": TODAY}], True),
    "valid from today": ([{**CNPJ, "valid_from": TODAY}], True),
    "valid from tomorrow": ([{**CNPJ, "valid_from": "2027-06-16"}], False),
    "one past and one current": ([{**CNPJ, "valid_to": "2027-06-14"}, {**CNPJ, "valid_from": TODAY}], True),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_an_operator_is_shared_only_with_a_number_that_the_partner_can_match(name: str) -> None:
    numbers, is_shared = NUMBERS[name]
    answer = SECOND.decide({**BR_RECORD, "identifiers": numbers}, terms_for("BR-UY"), TODAY)
    assert (answer.shared, answer.reason) == (is_shared, "" if is_shared else UNMATCHED)


def test_each_direction_asks_for_its_own_scheme() -> None:
    asked: dict[str, object] = {**UY_RECORD, "identifiers": [CNPJ]}
    assert SECOND.decide(asked, terms_for("UY-BR"), TODAY).reason == UNMATCHED
    asked["identifiers"] = [{"scheme": "RUT", "value": "079000040015"}]
    assert SECOND.decide(asked, terms_for("UY-BR"), TODAY).shared


@pytest.mark.parametrize("act", ["sign", "start", "resume", "suspend", "terminate", "annex"])
@pytest.mark.parametrize("signatures", [[], ["BR"], ["BR", "UY"]])
@pytest.mark.parametrize("met", [[], ["adequacy judged"]])
def test_it_governs_as_the_first(act: str, signatures: list[str], met: list[str]) -> None:
    asked: dict[str, object] = {"act": act, "issuer": "BR", "partner": "UY", "mode": "operation"}
    asked["preconditions_met"] = met
    given = terms_for("BR-UY", preconditions={"pilot": [], "operation": ["adequacy judged"]})
    assert SECOND.govern(asked, given, signatures, TODAY) == CONTRACT.govern(asked, given, signatures, TODAY)
