"""The terms of an agreement: every clause there is, and what it may say."""

import re
from collections.abc import Iterable

from node.agreements import contradictions, hosting
from node.agreements.rules import (
    COUNTRY,
    Json,
    Rule,
    check_members,
    flag,
    is_unique,
    list_of,
    matches,
    object_of,
    one_of,
    or_null,
    real_date,
    refuse,
    short_text,
    whole_number,
)
from node.errors import Malformed, Problem, problem
from node.records.model import KINDS, NEEDED, OPERATOR, PROGRAMME, ROLES, SCOPES
from node.records.status import STATUSES

FIELD_PATHS = (
    "record_id",
    "kind",
    "country",
    "issuing_authority",
    "tin",
    "authorisation_number",
    "legal_name",
    "legal_name_latin",
    "trade_names",
    "address",
    "sites",
    "programme",
    "national_types",
    "scope",
    "roles",
    "status",
    "status_since",
    "status_until",
    "status_reason_class",
    "authorised_on",
    "effective_from",
    "valid_to",
    "next_revalidation",
    "mra_consent",
    "mra_contact",
    "predecessor",
    "successor",
    "effective_at",
    "recorded_at",
    "activity",
)
CONSENTS = ("NONE", "GENERAL", "PER_AGREEMENT")
ONWARD_TRANSFERS = ("NONE", "WITH_WRITTEN_CONSENT")
MODES = ("pilot", "operation")
MIRROR, ON_DEMAND = "MIRROR", "ON_DEMAND"
"""How records reach the partner: replicated as they change, or fetched one by one, each with its reason."""

MOST_PARTIES = 20
MOST_DAYS = 36_525
MOST_STALENESS_S = 31 * 86_400
HIGHEST_RANK = 100

_NAME = re.compile(r"[A-Z0-9][A-Z0-9-]{1,34}", re.ASCII)
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,34}", re.ASCII)
_SCHEME = re.compile(r"[A-Z][A-Z0-9_]{0,15}", re.ASCII)


def parse_terms(terms: object, countries: Iterable[str]) -> Json:
    """Check terms strictly and give them back; raise `Malformed` with every problem found.

    Every clause of `TERMS_RULES` is required, so that retention, onward transfer and notice are agreed
    and never assumed; `directions` are named `<issuer>-<partner>`, two different parties. Some clauses may be
    left out: a direction without `accept_kinds` is for operators, as all agreements were, terms without
    `rank` have none, and without `report_reads` reads are not told. Clauses that contradict each other are
    refused (see `contradictions`).
    """
    clauses = object_of(terms, "terms", tuple(TERMS_RULES), tuple(OPTIONAL_RULES))
    rules = TERMS_RULES | {name: rule for name, rule in OPTIONAL_RULES.items() if name in clauses}
    refuse(check_members(clauses, "terms.", rules))
    found, parties = list(contradictions.of_terms(clauses)), tuple(countries)
    for name, direction in clauses["directions"].items():
        found += _check_direction(name, direction, parties, clauses["consent"])
    named = {country for name in clauses["directions"] for country in name.split("-")}
    idle = [country for country in parties if country not in named]
    found += [
        problem("terms.directions", country, "must be in a direction, as every party") for country in idle
    ]
    refuse(found)
    return clauses


def _check_direction(name: str, json: object, countries: tuple[str, ...], consent: str) -> list[Problem]:
    where = f"terms.directions.{name}"
    issuer, _, partner = name.partition("-")
    if issuer == partner or issuer not in countries or partner not in countries:
        return [problem(where, name, "must be named <issuer>-<partner>, two different parties")]
    try:
        direction = object_of(
            json, where, tuple(DIRECTION_RULES), ("accept_kinds", *OPTIONAL_DIRECTION_RULES)
        )
    except Malformed as refused:
        return list(refused.problems)
    rules = DIRECTION_RULES | (MASTER_DATA_RULES if "accept_kinds" in direction else {})
    rules |= {name: rule for name, rule in OPTIONAL_DIRECTION_RULES.items() if name in direction}
    if broken := check_members(direction, f"{where}.", rules):
        return broken
    found = [*_check_relied_on(direction, where), *contradictions.of_direction(name, direction, consent)]
    parties = [each for each in direction.get("readers", []) if each["country"] in countries]
    rule = "must not be a party: each has a node of its own"
    return found + [problem(f"{where}.readers", each["country"], rule) for each in parties]


def _check_relied_on(direction: Json, where: str) -> list[Problem]:
    """No reader could rely on a record without these fields, so terms that lack them could never work."""
    needed = {kind: NEEDED[kind] for kind in direction.get("accept_kinds", [OPERATOR])}
    missing = dict.fromkeys(name for names in needed.values() for name in names)
    lacking = [name for name in missing if name not in direction["fields"]]
    rule = f"must hold {', '.join(lacking)}: no reader could rely on the record"
    return [problem(f"{where}.fields", direction["fields"], rule)] if lacking else []


def _field_path(value: object) -> str:
    if not isinstance(value, str):
        return "must be a list of field paths"
    scheme = value.removeprefix("identifiers.")
    known = value in FIELD_PATHS or (scheme != value and _SCHEME.fullmatch(scheme))
    return "" if known else f"must name known fields; {value!r} is not one"


def _preconditions(value: object) -> str:
    if not isinstance(value, dict) or set(value) != set(MODES):
        return "must list what comes before pilot and before operation"
    broken = [why for mode in MODES if (why := list_of(short_text, least=0)(value[mode]))]
    return broken[0] if broken else ""


def _directions(value: object) -> str:
    fits = isinstance(value, dict) and 0 < len(value) <= MOST_PARTIES * (MOST_PARTIES - 1)
    return "" if fits else "must be an object with at least one direction"


def _readers(value: object) -> str:
    if not isinstance(value, list) or not 0 < len(value) <= MOST_PARTIES:
        return f"must be a list of 1 to {MOST_PARTIES} administrations without a node"
    broken = [why for each in value if (why := _reader(each))]
    if broken:
        return broken[0]
    names = [(each["country"], each["key"]["x"]) for each in value]
    return "" if all(map(is_unique, zip(*names, strict=True))) else "must name each country and key once"


def _reader(value: object) -> str:
    try:
        reader = object_of(value, "readers", tuple(_READER_RULES))
    except Malformed as refused:
        return refused.problems[0].rule
    broken = [f"{name} {why}" for name, rule in _READER_RULES.items() if (why := rule(reader[name]))]
    return "; ".join(broken)


_CODES = list_of(matches(_CODE, "codes of letters, digits, _ and -"))
_PROGRAMME = matches(PROGRAMME, "programmes such as BR-OEA")
TERMS_RULES: dict[str, Rule] = {
    "name": matches(_NAME, "2 to 35 capital letters, digits and -"),
    "purpose": short_text,
    "from": real_date,
    "until": or_null(real_date),
    "consent": one_of(CONSENTS),
    "preconditions": _preconditions,
    "max_staleness_s": whole_number(1, MOST_STALENESS_S),
    "retention_days": whole_number(0, MOST_DAYS),
    "onward_transfer": one_of(ONWARD_TRANSFERS),
    "termination_notice_days": whole_number(0, MOST_DAYS),
    "suspension_notice_days": whole_number(0, MOST_DAYS),
    "local_suspension": flag,
    "irregularity_notice": flag,
    "joint_validation": flag,
    "contacts": short_text,
    "directions": _directions,
}
OPTIONAL_RULES: dict[str, Rule] = {"rank": whole_number(1, HIGHEST_RANK), "report_reads": flag}
"""Which of several agreements over one operator goes before: the one of the higher rank; and whether each
side tells the other how often its operators were read."""
DIRECTION_RULES: dict[str, Rule] = {
    "accept_programmes": list_of(_PROGRAMME),
    "accept_types": or_null(_CODES),
    "min_scope": list_of(one_of(SCOPES), least=0),
    "accept_roles": or_null(list_of(one_of(ROLES))),
    "exclude_roles": or_null(list_of(one_of(ROLES))),
    "share_statuses": list_of(one_of(STATUSES)),
    "identifier_scheme": matches(_SCHEME, "an identifier scheme such as CNPJ"),
    "fields": list_of(_field_path),
}
_READER_RULES: dict[str, Rule] = {
    "country": COUNTRY,
    "administration": short_text,
    "key": hosting.key_fault,
}
OPTIONAL_DIRECTION_RULES: dict[str, Rule] = {
    "mode": one_of((MIRROR, ON_DEMAND)),
    "readers": _readers,
}
MASTER_DATA_RULES: dict[str, Rule] = {
    "accept_kinds": list_of(one_of(tuple(KINDS))),
    "accept_programmes": list_of(_PROGRAMME, least=0),
}
"""Where a direction says which kinds of record it is for, it may recognise no programme at all."""
