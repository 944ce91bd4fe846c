import pytest

from clients.sdk.numbers import SCHEMES, doubt, fault, scheme_of
from node.errors import Malformed


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("99.000.001/0001-02", "CNPJ"),
        ("BR99000001000102", "CNPJ"),
        ("049000010018", "RUT"),
        ("UY 049000010018", "RUT"),
        ("30-12345678-9", "CUIT"),
    ],
)
def test_a_wrong_check_digit_is_told_with_the_scheme_it_resembles(value: str, named: str) -> None:
    assert doubt(value) == f"the check digit of this {named} does not fit: mistyped?"


@pytest.mark.parametrize(
    "value",
    [
        "99000001000101",
        "BR99000001000101",
        "049000010017",
        "20100070970",
        "AEOCN1234567890",
        "DE136695976",
        "X",
    ],
)
def test_a_number_that_fits_or_resembles_none_is_in_no_doubt(value: str) -> None:
    assert doubt(value) == ""


def test_empty_mistyped_and_of_another_form_are_told_apart() -> None:
    told = [fault("CNPJ", value) for value in ("99000001000101", " . ", "99000001000102", "99000001")]
    assert told[:2] == ["", "must not be empty"]
    assert told[2].startswith("the check digit of this CNPJ does not fit: mistyped?")
    assert told[3].startswith("this is no CNPJ (Brazil: ")


def test_schemes_are_found_whatever_their_case_and_others_refused_with_the_list() -> None:
    assert [scheme_of(name) for name in ("cnpj", "Tin")] == ["CNPJ", "TIN"]
    with pytest.raises(Malformed) as refusal:
        scheme_of("XX")
    [told] = refusal.value.problems
    assert told.field == "--scheme"
    assert all(name in told.rule for name in SCHEMES)
