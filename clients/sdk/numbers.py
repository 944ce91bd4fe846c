"""What is wrong with a number, in words: a slip of the hand is told apart from another kind of number."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from stdnum.exceptions import InvalidChecksum

from node.errors import Malformed, problem
from node.records import identifiers

SCHEMES: Final = ("TIN", *identifiers.SCHEMES)

_OF_COUNTRY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "AR": "CUIT",
        "BR": "CNPJ",
        "CL": "CL_RUT",
        "CN": "USCC",
        "CO": "NIT",
        "DO": "DO_RNC",
        "EC": "EC_RUC",
        "GT": "GT_NIT",
        "JP": "JP_CN",
        "PE": "PE_RUC",
        "PY": "RUC",
        "UY": "RUT",
    }
)
"""The number with a check digit that follows the country in a TIN."""

_OF_ONE_LENGTH: Final = ("CNPJ", "RUT", "CUIT", "PE_RUC", "EC_RUC", "JP_CN", "USCC")
"""Those that can be told by their form; others have so many forms that most numbers resemble them."""


def scheme_of(name: str) -> str:
    """The scheme of this name, whatever its case; `Malformed` when there is none."""
    if name.upper() in SCHEMES:
        return name.upper()
    told = problem("--scheme", name, f"must be one of {', '.join(SCHEMES)}")
    raise Malformed("there is no such scheme", problems=[told], do="leave it out to look in all of them")


def fault(scheme: str, value: str) -> str:
    """Why the value is no number of the scheme; empty when it is one."""
    if not identifiers.plain(value):
        return "must not be empty"
    if _is_valid(scheme, value):
        return ""
    rule = identifiers.SCHEMES[scheme].rule
    if _is_mistyped(scheme, value):
        return f"the check digit of this {scheme} does not fit: mistyped? ({rule})"
    return f"this is no {scheme} ({rule})"


def doubt(value: str) -> str:
    """Why a number of an unknown scheme, or a TIN, looks mistyped; empty when it does not."""
    number = identifiers.plain(value)
    national = _OF_COUNTRY.get(number[:2])
    tried = {national: number[2:]} if national else dict.fromkeys(_OF_ONE_LENGTH, number)
    near = [scheme for scheme, each in tried.items() if _is_mistyped(scheme, each)]
    if not near or any(_is_valid(scheme, each) for scheme, each in tried.items()):
        return ""
    return f"the check digit of this {' or '.join(near)} does not fit: mistyped?"


def _is_valid(scheme: str, value: str) -> bool:
    try:
        identifiers.check(scheme, value)
    except Malformed:
        return False
    return True


def _is_mistyped(scheme: str, value: str) -> bool:
    """Whether the number is of the scheme's form and only its check digit is not."""
    try:
        identifiers.SCHEMES[scheme].validate(value)
    except InvalidChecksum:
        return True
    except ValueError:
        return False
    return False
