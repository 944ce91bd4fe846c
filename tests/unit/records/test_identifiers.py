import pytest

from node.errors import Malformed
from node.records.identifiers import COUNTRIES, ISSUERS, SCHEMES, check, is_natural_person, tin_of

# As typed, canonical, and one that must be refused.
NUMBERS = {
    "CNPJ": ("16.727.230/0001-97", "16727230000197", "16727230000198"),
    "RUT": ("21-100342-001-7", "211003420017", "211003420018"),
    "CUIT": ("20-05536168-2", "20055361682", "20055361683"),
    "RUC": ("80028061-0", "800280610", "800280611"),
    "NIT": ("213.123.432-1", "2131234321", "2131234320"),
    "CL_RUT": ("12.531.909-2", "125319092", "125319093"),
    "PE_RUC": ("20512333797", "20512333797", "20512333798"),
    "RFC": ("MAB-930714-8T4", "MAB9307148T4", "MAB9313148T4"),
    "EC_RUC": ("1792060346-001", "1792060346001", "1792060347001"),
    "CR_CPJ": ("3-101-999999", "3101999999", "9101999999"),
    "GT_NIT": ("576937-K", "576937K", "5769370"),
    "DO_RNC": ("1-01-85004-3", "101850043", "101850042"),
    "USCC": ("91110000600037341L", "91110000600037341L", "91110000600037342L"),
    "JP_CN": ("5-8356-7825-6246", "5835678256246", "6835678256246"),
    "KR_BRN": ("116-82-00276", "1168200276", "116820027"),
    "EIN": ("91-1144442", "911144442", "071144442"),
    "LEI": ("213800KUD8LAJWSQ9D15", "213800KUD8LAJWSQ9D15", "213800KUD8LXJWSQ9D15"),
    "EU_VAT": ("BE 0697.449.992", "BE0697449992", "BE0697449993"),
    "EORI": ("DE 1234567", "DE1234567", "ZZ1234567"),
    "BO_NIT": ("1020703023", "1020703023", "0020703023"),
    "CTPAT": ("12345678", "12345678", "123"),
    "MID": ("BRCAAELE3091RIO", "BRCAAELE3091RIO", "ZZCAAELE3091RIO"),
    "AEO_CODE": ("AEOCN 1234567890", "AEOCN1234567890", "AEOCN123456789"),
    "CN10": ("3122480025", "3122480025", "312248002"),
}


def test_every_scheme_has_an_example() -> None:
    assert set(NUMBERS) == set(SCHEMES)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_valid_number_becomes_its_only_canonical_form(scheme: str) -> None:
    typed, canonical, _ = NUMBERS[scheme]
    assert check(scheme, typed) == canonical
    assert check(scheme, canonical) == canonical


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_wrong_number_is_refused_with_the_rule(scheme: str) -> None:
    wrong = NUMBERS[scheme][2]
    with pytest.raises(Malformed) as refusal:
        check(scheme, wrong)
    assert [(p.field, p.value, p.rule) for p in refusal.value.problems] == [
        (scheme, wrong, SCHEMES[scheme].rule)
    ]


def test_full_width_digits_are_typing_and_become_plain_ones() -> None:
    assert check("CNPJ", "１６７２７２３００００１９７") == "16727230000197"


def test_the_alphanumeric_cnpj_is_accepted() -> None:
    assert check("CNPJ", "12.ABC.345/01DE-35") == "12ABC34501DE35"


@pytest.mark.parametrize(
    "value", ["", "\n", "1672723000019٧", "१६७२७२३००००१९७", "1" * 65, "16727230000197\0"]
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_foreign_digits_and_rubbish_are_refused_everywhere(scheme: str, value: str) -> None:
    with pytest.raises(Malformed):
        check(scheme, value)


@pytest.mark.parametrize(
    ("scheme", "value"),
    [
        ("RUC", "1008"),
        ("RFC", "COMG600703"),
        ("AEO_CODE", "AEOSG12345678901"),
        ("AEO_CODE", "MY1234567890123"),
        ("MID", "BRX3091RIO99"),
        ("EORI", "GB1234567890123456"),
        ("EORI", "XK1234567"),
        ("CL_RUT", "1\n2531909"),
    ],
)
def test_forms_that_are_never_issued_are_refused(scheme: str, value: str) -> None:
    with pytest.raises(Malformed):
        check(scheme, value)


@pytest.mark.parametrize(
    ("scheme", "value"),
    [
        ("AEO_CODE", "AEOSG123456789012"),
        ("AEO_CODE", "MY123456789012"),
        ("AEO_CODE", "CN1234567890"),
        ("EORI", "XI123456789000"),
        ("MID", "XOBIGMAP12TOR"),
        ("RFC", "GODE561231GR8"),
    ],
)
def test_the_forms_that_partners_quote_are_accepted(scheme: str, value: str) -> None:
    assert check(scheme, value) == value


def test_an_unknown_scheme_is_refused_naming_those_there_are() -> None:
    with pytest.raises(Malformed, match="CNPJ"):
        check("CPF", "12345678909")


@pytest.mark.parametrize(
    ("scheme", "value", "natural"),
    [
        ("CUIT", "20055361682", True),
        ("CUIT", "30500010912", False),
        ("PE_RUC", "10054145016", True),
        ("PE_RUC", "20512333797", False),
        ("RFC", "GODE561231GR8", True),
        ("RFC", "MAB9307148T4", False),
        ("CNPJ", "20000000000000", False),
    ],
)
def test_a_sole_trader_is_known_by_the_number(scheme: str, value: str, natural: bool) -> None:
    assert is_natural_person(scheme, value) is natural


def test_a_tin_is_country_and_national_number() -> None:
    assert tin_of("BR", "CNPJ", "16.727.230/0001-97") == "BR16727230000197"
    assert tin_of("DE", "EORI", "DE1234567") == "DE1234567"
    assert tin_of("EU", "EORI", "DE1234567") == "DE1234567", "the Union's operators have a member's number"


@pytest.mark.parametrize(
    ("country", "scheme", "value"),
    [
        ("ZZ", "CNPJ", "16727230000197"),
        ("BR", "CNPJ", "16727230000198"),
        ("BR", "LEI", "213800KUD8LAJWSQ9D15"),
        ("EU", "EORI", "US1234567"),
        ("EU", "CNPJ", "16727230000197"),
    ],
)
def test_a_tin_that_does_not_fit_is_refused(country: str, scheme: str, value: str) -> None:
    with pytest.raises(Malformed):
        tin_of(country, scheme, value)


def test_countries_are_those_of_iso_3166_1() -> None:
    assert {"BR", "UY", "XK", "XI", "EU"} & COUNTRIES == {"BR", "UY"}
    assert len(COUNTRIES) == 249


def test_the_union_issues_records_beside_the_countries() -> None:
    assert ISSUERS.difference(COUNTRIES) == {"EU"}
