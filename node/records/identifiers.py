"""The numbers under which an operator is known, and the rule each of them obeys.

Guarantees that what `check` returns is compact (no separators, upper case), valid, and its own
canonical form: `check(s, check(s, v)) == check(s, v)`. Refuses (`Malformed`) unknown schemes, wrong
check digits and wrong forms, naming the rule. National numbers are checked by python-stdnum; the
schemes it lacks follow the public descriptions given beside each of them. A valid number is
not proof that the firm exists: only its register knows that.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType, ModuleType
from typing import Any, Final

from iso3166 import countries_by_alpha2
from stdnum import lei
from stdnum.ar import cuit
from stdnum.br import cnpj
from stdnum.cl import rut as cl_rut
from stdnum.cn import uscc
from stdnum.co import nit as co_nit
from stdnum.cr import cpj
from stdnum.do import rnc
from stdnum.ec import ruc as ec_ruc
from stdnum.eu import vat
from stdnum.exceptions import InvalidFormat, InvalidLength
from stdnum.gt import nit as gt_nit
from stdnum.jp import cn as jp_cn
from stdnum.kr import brn
from stdnum.mx import rfc
from stdnum.pe import ruc as pe_ruc
from stdnum.py import ruc as py_ruc
from stdnum.us import ein
from stdnum.uy import rut as uy_rut

from node.errors import Malformed, problem

# The library also lists XK, which ISO 3166-1 leaves to its users.
COUNTRIES: Final = frozenset(countries_by_alpha2) - {"XK"}
EU: Final = "EU"
ISSUERS: Final = COUNTRIES | {EU}
"""Who may issue records: ISO 3166-1 reserves EU for the Union, which signs as one party."""
_OF_EU: Final = tuple(sorted(state.upper() for state in vat.MEMBER_STATES))
EORI_PREFIXES: Final = COUNTRIES | {"XI"}

# 19 CFR part 102, appendix: a Canadian maker is coded by province instead of by country.
MID_PREFIXES: Final = COUNTRIES | frozenset(
    f"X{province}" for province in ("A", "B", "C", "M", "N", "O", "P", "Q", "S", "T", "V", "W", "Y")
)

TIN: Final = re.compile(r"[A-Z]{2}[0-9A-Z]{1,15}")
LONGEST: Final = 35
_LONGEST_AS_TYPED: Final = 64
CHECKED_KEPT: Final = 1_024
"""Each row of a list asks about its numbers several times in a row."""
_SEPARATORS: Final = re.compile(r"[\s./-]")


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of number: the rule as a person reads it, and its test.

    `validate` returns the compact number or raises `ValueError`, as python-stdnum does.
    """

    rule: str
    validate: Callable[[str], str]


def _library(rule: str, module: ModuleType) -> Scheme:
    return Scheme(rule, module.validate)


def _pattern(rule: str, pattern: str, prefixes: frozenset[str] | None = None) -> Scheme:
    matches = re.compile(pattern).fullmatch

    def validate(text: str) -> str:
        value = plain(text)
        if matches(value) is None or (prefixes is not None and value[:2] not in prefixes):
            raise InvalidFormat
        return value

    return Scheme(rule, validate)


def _stricter(rule: str, module: ModuleType, lengths: range) -> Scheme:
    """As the library, which for this number also accepts lengths that are never issued."""

    def validate(text: str) -> str:
        value: str = module.validate(text)
        if len(value) not in lengths:
            raise InvalidLength
        return value

    return Scheme(rule, validate)


SCHEMES: Final[Mapping[str, Scheme]] = MappingProxyType(
    {
        "CNPJ": _library("Brazil: 12 letters or digits and 2 check digits (IN RFB 2.229/2024)", cnpj),
        "RUT": _library("Uruguay: 12 digits, the last a check digit", uy_rut),
        "CUIT": _library("Argentina: 11 digits, the last a check digit", cuit),
        "RUC": _stricter("Paraguay: 5 to 9 digits, the last a check digit", py_ruc, range(5, 10)),
        "NIT": _library("Colombia: 8 to 16 digits, the last a check digit", co_nit),
        "CL_RUT": _library("Chile: 8 or 9 characters, the last a check digit (0-9 or K)", cl_rut),
        "PE_RUC": _library("Peru: 11 digits, the last a check digit", pe_ruc),
        "RFC": _stricter(
            "Mexico: 3 (firm) or 4 (person) letters, a date YYMMDD, 3 characters", rfc, range(12, 14)
        ),
        "EC_RUC": _library("Ecuador: 13 digits with check digits", ec_ruc),
        "CR_CPJ": _library("Costa Rica: 10 digits, first the class of the legal person", cpj),
        "GT_NIT": _library("Guatemala: 2 to 12 characters, the last a check digit (0-9 or K)", gt_nit),
        "DO_RNC": _library("Dominican Republic: 9 digits, the last a check digit", rnc),
        "USCC": _library("China: 18 characters, the last a check character (GB 32100-2015)", uscc),
        "JP_CN": _library("Japan: 13 digits, the first a check digit", jp_cn),
        "KR_BRN": _library("Korea: 10 digits in the ranges in use; it has no check digit", brn),
        "EIN": _library("United States: 9 digits with a campus prefix in use", ein),
        "LEI": _library("ISO 17442: 20 letters or digits, the last two check digits", lei),
        "EU_VAT": _library("European Union: member state prefix and its national VAT number", vat),
        # Regulation (EU) 2015/2446, annex B: country and up to 15 characters. No check digit.
        "EORI": _pattern(
            "EORI: country code (or XI) and 1 to 15 letters or digits",
            "[A-Z]{2}[0-9A-Z]{1,15}",
            EORI_PREFIXES,
        ),
        # No check digit is published for the Bolivian number.
        "BO_NIT": _pattern("Bolivia: 7 to 12 digits, the first not 0", "[1-9][0-9]{6,11}"),
        # No form is published for the account number beyond letters and digits.
        "CTPAT": _pattern("CTPAT account: 4 to 17 letters or digits", "[0-9A-Z]{4,17}"),
        # 19 CFR part 102, appendix: country, 2 x 3 letters of the name, address number, 3 of the city.
        "MID": _pattern(
            "MID: country or Canadian province, 2 to 6 characters of the name, 0 to 4 digits, 3 letters",
            "[A-Z]{2}[0-9A-Z]{2,6}[0-9]{0,4}[A-Z]{3}",
            MID_PREFIXES,
        ),
        # Each partner quotes its own form; Hong Kong trades by name, so no form of its own is published.
        "AEO_CODE": _pattern(
            "AEO code: AEOCN or CN and 10 digits, AEOSG or MY and 12 characters, AEOHK and 6 to 12",
            "(?:AEO)?CN[0-9]{10}|AEOSG[0-9A-Z]{12}|MY[0-9A-Z]{12}|AEOHK[0-9A-Z]{6,12}",
        ),
        "CN10": _pattern("China customs registration: 10 letters or digits", "[0-9A-Z]{10}"),
    }
)

_NATURAL_PERSON: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        "CUIT": re.compile("2[0347]"),
        "PE_RUC": re.compile("10"),
        "RFC": re.compile("[A-Z&Ñ]{4}[0-9]"),
    }
)


def carried(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(scheme, number) of all that a record shows, its TIN first."""
    tin = [("TIN", str(fields["tin"]))] if "tin" in fields else []
    return tin + [(each["scheme"], each["value"]) for each in fields.get("identifiers", [])]


def plain(text: str) -> str:
    """What people write, as canonical numbers of every scheme are stored: no separators, upper case."""
    return _SEPARATORS.sub("", text).upper()


@lru_cache(CHECKED_KEPT)
def check(scheme: str, value: str) -> str:
    """Return the compact canonical form of `value`, or raise `Malformed` naming the scheme's rule."""
    known = _scheme(scheme)
    if len(value) > _LONGEST_AS_TYPED:
        raise _refused(scheme, value, known.rule)
    try:
        canonical = known.validate(value)
    # The library lets the ValueError of int() through for some foreign characters.
    except ValueError:
        raise _refused(scheme, value, known.rule) from None
    if len(canonical) > LONGEST or not (canonical.isascii() or scheme == "RFC"):
        raise _refused(scheme, value, known.rule)
    return canonical


def is_natural_person(scheme: str, value: str) -> bool:
    """Whether a canonical number is a person's by its form, so that the record is personal data.

    CUIT 20, 23, 24, 27; Peruvian RUC 10; Mexican RFC of four letters. False does not prove a firm.
    """
    pattern = _NATURAL_PERSON.get(scheme)
    return pattern is not None and pattern.match(value) is not None


def tin_prefixes(issuer: str) -> tuple[str, ...]:
    """How a TIN of this issuer may begin: with its country; with a member's, of the Union's EORI numbers."""
    return _OF_EU if issuer == EU else (issuer,)


def tin_of(country: str, scheme: str, value: str) -> str:
    """The trader identification number (WCO R143, an..17): country, then the national number.

    A number that begins with its country already (EORI, EU VAT) is kept; one of the Union must.
    Raises `Malformed` when the number is invalid, the country unknown, or the two do not fit the form.
    """
    if country not in ISSUERS:
        raise _refused("country", country, "ISO 3166-1 alpha-2 code, or EU")
    number, begins = check(scheme, value), tin_prefixes(country)
    prefixed = scheme in ("EORI", "EU_VAT") and number.startswith(begins)
    tin = number if prefixed else country + number
    if TIN.fullmatch(tin) is None or not tin.startswith(begins):
        raise _refused("tin", tin, "country and 1 to 15 letters or digits; of the EU, an EORI")
    return tin


def _scheme(scheme: str) -> Scheme:
    known = SCHEMES.get(scheme)
    if known is None:
        raise _refused("scheme", scheme, f"one of {', '.join(SCHEMES)}")
    return known


def _refused(kind: str, value: str, rule: str) -> Malformed:
    return Malformed(
        f"not a valid {kind}",
        where=kind,
        do="check the number with its register",
        problems=[problem(kind, value, rule)],
    )
