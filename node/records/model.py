"""The record: the master data that one administration keeps about one trusted trader, or any other trader.

A record is of one of the `KINDS`. It says which (`"kind": "trader"`), and is an operator where it does not;
an operator has no other spelling. Each kind is a selection of the same fields, read by the same rules.

Guarantees that every record that `parse` returns obeys every rule below, and that
`to_json(parse(x)) == x`: nothing is dropped, reordered, trimmed or normalised on the way. Refuses
unknown keys, other types, text beyond the lengths of the WCO Data Model, control and
text-direction characters, text not in NFC, days and moments that do not exist, identifiers that are
invalid or not compact, repeated list entries, and dates in the wrong order; all problems of a record
are reported at once, each under its dotted field name (`identifiers[0].value`).

Days are `YYYY-MM-DD`; moments are UTC with milliseconds (`2026-11-22T14:00:00.123Z`), so that both
compare in time order as text. An absent optional field is a missing key in JSON, None or () inside.
`record_id` and `recorded_at` are the node's to assign and no part of a record as it is handed in.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Final
from unicodedata import is_normalized

from node.errors import Malformed, Problem, problem
from node.ledger import moment
from node.ledger.canonical import Json
from node.records import identifiers
from node.records.credential import LISTS
from node.records.status import STATUSES

SCOPES: Final = ("SECURITY", "CUSTOMS_COMPLIANCE")
ROLES: Final = (
    "importer",
    "exporter",
    "manufacturer",
    "carrier",
    "forwarder",
    "consolidator",
    "broker",
    "warehouse",
    "terminal",
)
REASON_CLASSES: Final = ("VOLUNTARY", "NON_COMPLIANCE", "UNDER_REVIEW", "EXPIRY", "MERGER", "CONSENT")
PROGRAMME: Final = re.compile("[A-Z]{2}-[0-9A-Z][0-9A-Z-]{0,31}")
GENERAL: Final = "GENERAL"
OPERATOR: Final = "operator"
TRADER: Final = "trader"

MAX_IDENTIFIERS: Final = 16
MAX_SITES: Final = 64
MAX_TRADE_NAMES: Final = 16
MAX_NATIONAL_TYPES: Final = 8
MAX_CONSENT_AGREEMENTS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuingAuthority:
    """The customs office that granted the authorisation: its code and its name."""

    code: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """One number of the operator; `value` is canonical under `scheme`. Days bound its validity, inclusive."""

    scheme: str
    value: str
    purpose: str | None = None
    valid_from: str | None = None
    valid_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A postal address (WCO Data Model 04A); `country` is ISO 3166-1 alpha-2."""

    line: str
    city: str
    postcode: str | None = None
    subdivision: str | None = None
    country: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One facility that the authorisation covers, with numbers of its own where it has them."""

    name: str
    address: Address
    identifiers: tuple[Identifier, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """Whether the operator lets its data go to partners: to all (`GENERAL`) or under listed agreements."""

    given: bool
    scope: str | tuple[str, ...]
    from_: str | None = None
    withdrawn_on: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One state of a trusted trader, as its administration knows it; see the module for the forms."""

    country: str
    issuing_authority: IssuingAuthority
    tin: str
    identifiers: tuple[Identifier, ...]
    authorisation_number: str
    legal_name: str
    legal_name_latin: str | None = None
    trade_names: tuple[str, ...] = ()
    address: Address
    sites: tuple[Site, ...] = ()
    programme: str
    national_types: tuple[str, ...]
    scope: tuple[str, ...]
    roles: tuple[str, ...] = ()
    status: str
    status_since: str
    status_until: str | None = None
    status_reason_class: str | None = None
    authorised_on: str
    effective_from: str | None = None
    valid_to: str | None = None
    next_revalidation: str | None = None
    mra_consent: Consent
    mra_contact: str | None = None
    predecessor: str | None = None
    successor: str | None = None
    effective_at: str
    source_system: str | None = None
    source_updated_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trader:
    """One state of a trader that is not authorised: what risk management needs of anybody, and no more.

    `activity` is a code of ISIC Rev. 4; a national one does not always have one that is the same.
    """

    kind: str
    country: str
    tin: str
    identifiers: tuple[Identifier, ...]
    legal_name: str
    legal_name_latin: str | None = None
    trade_names: tuple[str, ...] = ()
    address: Address | None = None
    status: str
    status_since: str
    effective_at: str
    source_system: str | None = None
    source_updated_at: str | None = None
    activity: str | None = None


Record = Operator | Trader

KINDS: Final[Mapping[str, type[Record]]] = MappingProxyType({OPERATOR: Operator, TRADER: Trader})
BECOMES: Final = frozenset(((TRADER, OPERATOR),))
"""Which kind a record may turn into by its next version: an authorisation is not undone by forgetting it."""
NEEDED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        OPERATOR: ("record_id", "country", "tin", "status", "programme", "scope"),
        TRADER: ("record_id", "country", "tin", "status", "kind"),
    }
)
"""What a disclosure of each kind must hold for its reader to rely on it.

One without `kind` is an operator's; so a trader whose kind is hidden lacks programme and scope: refused.
"""

FIELDS: Final = tuple(
    dict.fromkeys(["kind", *(field.name for kind in KINDS.values() for field in fields(kind))])
)


def parse(value: Json) -> Record:
    """The record that a JSON object describes; `Malformed` with every problem found."""
    shape = _SHAPES[kind_of(value)] if type(value) is dict else _SHAPES[OPERATOR]
    record: Record = shape.read(value)
    return record


def kind_of(shown: Mapping[str, Any]) -> str:
    """The kind of a record, or of what was shown of it; `Malformed` where it is of none that is known."""
    if "kind" not in shown:
        return OPERATOR
    kind = shown["kind"]
    if type(kind) is not str or kind == OPERATOR or kind not in KINDS:
        rule = f"must be {TRADER}, or left out: an {OPERATOR}"
        raise Malformed("the record was refused", problems=[problem("kind", kind, rule)])
    return kind


def check_fields(fields: Mapping[str, Json]) -> None:
    """Check what was shown of a record, and that it fits together; `Malformed` with every problem.

    A list of `LISTS` may be empty here: its elements can be hidden one by one.
    """
    readers = _SHAPES[kind_of(fields)].readers
    problems: list[Problem] = []
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if name in ("record_id", "recorded_at"):
            problems += _assigned_problems(name, value)
        elif name not in readers:
            problems.append(problem(name, "", "unknown field"))
        elif not (value == [] and name in LISTS):
            try:
                found[name] = readers[name](value)
            except Malformed as refusal:
                problems += _under(name, refusal)
    problems += _record_rules(found)
    if problems:
        raise Malformed("the record was refused", problems=problems)


def _assigned_problems(name: str, value: Json) -> list[Problem]:
    """What is wrong with a field that the issuer's node assigned."""
    try:
        (_moment if name == "recorded_at" else _text(100))(value)
    except Malformed as refusal:
        return list(_under(name, refusal))
    return []


def to_json(record: Record) -> dict[str, Json]:
    """The JSON object of a record, keys in the order of `FIELDS`, absent fields left out."""
    return dict(_members(record))


def is_natural_person(record: Record) -> bool:
    """Whether any of the record's numbers is a person's, so that it is personal data."""
    return any(identifiers.is_natural_person(number.scheme, number.value) for number in record.identifiers)


Reader = Callable[[object], Any]
Rules = Callable[[Mapping[str, Any]], Iterable[Problem]]


@dataclass(frozen=True, slots=True)
class _Shape:
    """The fields of one JSON object: how each is read, which may be missing, which rules join them."""

    make: Callable[..., Any]
    readers: Mapping[str, Reader]
    optional: frozenset[str]
    rules: Rules = lambda found: ()

    def read(self, value: object) -> Any:
        if type(value) is not dict:
            raise _broken(value, "must be an object")
        found: dict[str, Any] = {}
        problems = [problem(str(key), "", "unknown field") for key in value if key not in self.readers]
        for name, reader in self.readers.items():
            if name in value:
                try:
                    found[name] = reader(value[name])
                except Malformed as refusal:
                    problems += _under(name, refusal)
            elif name not in self.optional:
                problems.append(problem(name, "", "required field is missing"))
        problems += self.rules(found)
        if problems:
            raise Malformed("the record was refused", do="correct the fields named", problems=problems)
        return self.make(**found)


def _broken(value: object, rule: str) -> Malformed:
    return Malformed("the record was refused", problems=[problem("", value, rule)])


def _under(name: str, refusal: Malformed) -> Iterator[Problem]:
    for broken in refusal.problems:
        dot = "." if broken.field and not broken.field.startswith("[") else ""
        yield replace(broken, field=f"{name}{dot}{broken.field}")


_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def _text(longest: int) -> Reader:
    def read(value: object) -> str:
        if type(value) is not str:
            raise _broken(value, "must be text")
        if not 1 <= len(value) <= longest:
            raise _broken(value, f"must have 1 to {longest} characters (has {len(value)})")
        if not (value.isascii() and value.isprintable()):
            _check_unicode(value)
        if value != value.strip():
            raise _broken(value, "must not begin or end with white space")
        return value

    return read


def _check_unicode(value: str) -> None:
    if _UNSEEN.search(value):
        raise _broken(value, "must not hold control, text-direction or surrogate characters")
    if not is_normalized("NFC", value):
        raise _broken(value, "must be in Unicode normal form C")


def _matching(pattern: re.Pattern[str], rule: str) -> Reader:
    def read(value: object) -> str:
        if type(value) is not str or pattern.fullmatch(value) is None:
            raise _broken(value, rule)
        return value

    return read


def _one_of(allowed: Iterable[str], rule: str) -> Reader:
    words = frozenset(allowed)

    def read(value: object) -> str:
        if type(value) is not str or value not in words:
            raise _broken(value, rule)
        return value

    return read


def _word(allowed: tuple[str, ...]) -> Reader:
    return _one_of(allowed, f"must be one of {', '.join(allowed)}")


def _list(read_one: Reader, most: int, key: Callable[[Any], object] = lambda item: item) -> Reader:
    def read(value: object) -> tuple[Any, ...]:
        if type(value) is not list or not 1 <= len(value) <= most:
            raise _broken(value, f"must be a list of 1 to {most}")
        items = _read_each(read_one, value)
        _check_distinct([key(item) for item in items])
        return tuple(items)

    return read


def _read_each(read_one: Reader, values: list[object]) -> list[Any]:
    items: list[Any] = []
    problems: list[Problem] = []
    for position, value in enumerate(values):
        try:
            items.append(read_one(value))
        except Malformed as refusal:
            problems += _under(f"[{position}]", refusal)
    if problems:
        raise Malformed("the record was refused", problems=problems)
    return items


def _check_distinct(keys: list[object]) -> None:
    if len(set(keys)) == len(keys):
        return
    repeated = [n for n, key in enumerate(keys) if key in keys[:n]]
    rule = "repeats an earlier entry of the list"
    raise Malformed("the record was refused", problems=[problem(f"[{n}]", "", rule) for n in repeated])


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise _broken(value, "must be true or false")
    return value


def _date(value: object) -> str:
    return _timed(moment.parse_date, value, "must be a day that exists, as YYYY-MM-DD")


def _moment(value: object) -> str:
    return _timed(moment.parse, value, "must be a UTC moment such as 2026-11-22T14:00:00.123Z")


def _timed(check: Callable[[str], object], value: object, rule: str) -> str:
    if type(value) is not str:
        raise _broken(value, rule)
    try:
        check(value)
    except Malformed:
        raise _broken(value, rule) from None
    return value


def _consent_scope(value: object) -> str | tuple[str, ...]:
    if value == GENERAL:
        return GENERAL
    if type(value) is str:
        raise _broken(value, f'must be "{GENERAL}" or a list of agreements')
    agreements: tuple[str, ...] = _AGREEMENTS(value)
    return agreements


def _consent(given: bool, scope: str | tuple[str, ...], **days: str) -> Consent:
    return Consent(given=given, scope=scope, from_=days.get("from"), withdrawn_on=days.get("withdrawn_on"))


def _in_order(found: Mapping[str, Any], *pairs: tuple[str, str]) -> Iterator[Problem]:
    for earlier, later in pairs:
        if earlier in found and later in found and found[later] < found[earlier][:10]:
            yield problem(later, found[later], f"must not lie before {earlier} ({found[earlier]})")


def _identifier_rules(found: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _in_order(found, ("valid_from", "valid_to"))
    if "scheme" not in found or "value" not in found:
        return
    try:
        canonical = identifiers.check(found["scheme"], found["value"])
    except Malformed as refusal:
        yield problem("value", found["value"], refusal.problems[0].rule)
        return
    if canonical != found["value"]:
        yield problem("value", found["value"], f"must be written without separators: {canonical}")


def _consent_rules(found: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _in_order(found, ("from", "withdrawn_on"))
    if found.get("given") and "withdrawn_on" in found:
        yield problem("withdrawn_on", found["withdrawn_on"], "consent that was withdrawn cannot be given")


def _record_rules(found: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _in_order(
        found,
        ("authorised_on", "valid_to"),
        ("authorised_on", "next_revalidation"),
        ("effective_from", "valid_to"),
        ("status_since", "status_until"),
    )
    if "tin" in found and "country" in found:
        begins = identifiers.tin_prefixes(found["country"])
        if not found["tin"].startswith(begins):
            rule = f"must begin with the record's country, {', '.join(begins)}"
            yield problem("tin", found["tin"], rule)


_COUNTRY = _one_of(identifiers.COUNTRIES, "must be an ISO 3166-1 alpha-2 country code, such as BR")
_ISSUER = _one_of(
    identifiers.ISSUERS, "must be an ISO 3166-1 alpha-2 country code, such as BR, or EU for the Union"
)
_RECORD_ID = _matching(
    re.compile(r"urn:[a-z0-9][a-z0-9-]{0,31}:[!-~]{1,200}"), "must be the record_id of another record, a URN"
)
_AGREEMENTS = _list(
    _matching(re.compile("[!-~]{1,128}"), "must be an agreement's identifier: 1 to 128 ASCII characters"),
    MAX_CONSENT_AGREEMENTS,
)

_IDENTIFIER = _Shape(
    make=Identifier,
    readers={
        "scheme": _one_of(identifiers.SCHEMES, f"must be one of {', '.join(identifiers.SCHEMES)}"),
        "value": _text(identifiers.LONGEST),
        "purpose": _text(35),
        "valid_from": _date,
        "valid_to": _date,
    },
    optional=frozenset(("purpose", "valid_from", "valid_to")),
    rules=_identifier_rules,
)
_IDENTIFIERS = _list(
    _IDENTIFIER.read, MAX_IDENTIFIERS, lambda number: (number.scheme, number.value, number.purpose)
)

_ADDRESS = _Shape(
    make=Address,
    readers={
        "line": _text(70),
        "city": _text(35),
        "postcode": _text(17),
        "subdivision": _text(9),
        "country": _COUNTRY,
    },
    optional=frozenset(("postcode", "subdivision")),
)

_SITE = _Shape(
    make=Site,
    readers={"name": _text(70), "address": _ADDRESS.read, "identifiers": _IDENTIFIERS},
    optional=frozenset(("identifiers",)),
)

_AUTHORITY = _Shape(
    make=IssuingAuthority, readers={"code": _text(35), "name": _text(70)}, optional=frozenset()
)

_CONSENT = _Shape(
    make=_consent,
    readers={"given": _flag, "scope": _consent_scope, "from": _date, "withdrawn_on": _date},
    optional=frozenset(("from", "withdrawn_on")),
    rules=_consent_rules,
)

_READERS: Final[Mapping[str, Reader]] = MappingProxyType(
    {
        "kind": _word((TRADER,)),
        "country": _ISSUER,
        "issuing_authority": _AUTHORITY.read,
        "tin": _matching(identifiers.TIN, "must be a country code and 1 to 15 letters or digits"),
        "identifiers": _IDENTIFIERS,
        "authorisation_number": _text(35),
        "legal_name": _text(70),
        "legal_name_latin": _text(70),
        "trade_names": _list(_text(70), MAX_TRADE_NAMES),
        "address": _ADDRESS.read,
        "sites": _list(_SITE.read, MAX_SITES),
        "programme": _matching(PROGRAMME, "must be a programme such as BR-OEA"),
        "national_types": _list(_text(35), MAX_NATIONAL_TYPES),
        "scope": _list(_word(SCOPES), len(SCOPES)),
        "roles": _list(_word(ROLES), len(ROLES)),
        "status": _word(STATUSES),
        "status_since": _moment,
        "status_until": _date,
        "status_reason_class": _word(REASON_CLASSES),
        "authorised_on": _date,
        "effective_from": _date,
        "valid_to": _date,
        "next_revalidation": _date,
        "mra_consent": _CONSENT.read,
        "mra_contact": _text(254),
        "predecessor": _RECORD_ID,
        "successor": _RECORD_ID,
        "effective_at": _moment,
        "source_system": _text(70),
        "source_updated_at": _moment,
        "activity": _matching(
            re.compile("[0-9]{2,4}"), "must be a division, group or class of ISIC Rev. 4: 2 to 4 digits"
        ),
    }
)


def _shape_of(kind: type[Record]) -> _Shape:
    readers = {field.name: _READERS[field.name] for field in fields(kind)}
    optional = frozenset(field.name for field in fields(kind) if field.default in (None, ()))
    return _Shape(make=kind, readers=readers, optional=optional, rules=_record_rules)


_SHAPES: Final = MappingProxyType({name: _shape_of(kind) for name, kind in KINDS.items()})

_NAMES: Final[Mapping[type, tuple[tuple[str, str], ...]]] = MappingProxyType(
    {
        kind: tuple((field.name.rstrip("_"), field.name) for field in fields(kind))
        for kind in (IssuingAuthority, Identifier, Address, Site, Consent, *KINDS.values())
    }
)


def _members(part: object) -> Iterator[tuple[str, Json]]:
    for name, attribute in _NAMES[type(part)]:
        value = getattr(part, attribute)
        if value is not None and value != ():
            yield name, value if type(value) is str else _written(value)


def _written(value: Any) -> Json:
    if type(value) is tuple:
        return [_written(item) for item in value]
    return dict(_members(value)) if type(value) in _NAMES else value
