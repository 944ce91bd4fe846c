"""The agreement: who, under which terms, decided by which contract text.

Guarantees that an `Agreement` that exists is whole: its contract is in the language and has the hash it
states, its terms have every required clause and no unknown one, and its bytes have one spelling, so that
all parties sign the same 32 bytes. Refuses anything else with every problem named (`Malformed`).

JSON: {"v":1,"title","parties":[{"country","name","administration","key"}],"terms":{...},
"contract":{"sha256","text"},"drafted_on","nonce"}, and "supersedes" where it replaces another agreement: that
one's id; canonical (RFC 8785) where it is signed.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from contracts import Contract, ContractRefused, load
from node.agreements import contradictions, hosting
from node.errors import Malformed, Problem, problem
from node.ledger import canonical
from node.ledger.encoding import b64u, unb64u
from node.ledger.moment import parse_date
from node.records.model import KINDS, NEEDED, OPERATOR, PROGRAMME, ROLES, SCOPES
from node.records.status import STATUSES

Json = dict[str, Any]

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

SILENT: Json = {
    "accept_programmes": [],
    "accept_types": None,
    "min_scope": [],
    "accept_roles": None,
    "exclude_roles": None,
    "share_statuses": [],
    "fields": [],
}
"""What stands in the terms of a way on which notices travel and no records."""

MOST_PARTIES = 20
MOST_ITEMS = 64
MOST_DAYS = 36_525
MOST_STALENESS_S = 31 * 86_400
HIGHEST_RANK = 100
LONGEST_TEXT = 500
CONTRACTS_KEPT = 128
NONCE_BYTES = (16, 32)
ID_BYTES = 32

_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_NAME = re.compile(r"[A-Z0-9][A-Z0-9-]{1,34}", re.ASCII)
_NODE = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+", re.ASCII)
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,34}", re.ASCII)
_SCHEME = re.compile(r"[A-Z][A-Z0-9_]{0,15}", re.ASCII)

Rule = Callable[[object], str]
"""A rule gives what is wrong with a value, or an empty text."""


@dataclass(frozen=True, slots=True)
class Party:
    """One side: ISO 3166-1 alpha-2 country or EU, node name, administration, public P-256 key (JWK)."""

    country: str
    name: str
    administration: str
    key: Mapping[str, str]

    def to_json(self) -> Json:
        """Give the party as it stands in the document."""
        return {
            "country": self.country,
            "name": self.name,
            "administration": self.administration,
            "key": dict(self.key),
        }


@dataclass(frozen=True, slots=True)
class Agreement:
    """A whole agreement; made by `draft` or `parse` only, which check it. `nonce`: 16 to 32 bytes.

    `supersedes`: the id of the agreement that it replaces, or empty.
    """

    title: str
    parties: tuple[Party, ...]
    terms: Json
    contract_text: str
    contract_sha256: str
    drafted_on: str
    nonce: bytes
    supersedes: str = ""

    def to_json(self) -> Json:
        """Give the document as plain JSON values."""
        told: Json = {
            "v": 1,
            "title": self.title,
            "parties": [party.to_json() for party in self.parties],
            "terms": self.terms,
            "contract": {"sha256": self.contract_sha256, "text": self.contract_text},
            "drafted_on": self.drafted_on,
            "nonce": b64u(self.nonce),
        }
        return told | ({"supersedes": self.supersedes} if self.supersedes else {})

    def encode(self) -> bytes:
        """Give the canonical bytes, the ones whose digest every party signs."""
        return canonical.encode(self.to_json())

    def digest(self) -> bytes:
        """Give the SHA-256 (32 bytes) of the canonical bytes."""
        return sha256(self.encode()).digest()

    @property
    def id(self) -> str:
        """The digest as text (base64url)."""
        return b64u(self.digest())

    @property
    def countries(self) -> tuple[str, ...]:
        """The parties' countries, in the order of the document."""
        return tuple(party.country for party in self.parties)

    def party(self, country: str) -> Party:
        """Give the party of a country; raise `Malformed` if it is not one."""
        for party in self.parties:
            if party.country == country:
                return party
        raise _refused([problem("country", country, f"must be a party: {', '.join(self.countries)}")])


def draft(
    title: str,
    parties: Iterable[Party],
    terms: Json,
    contract_text: str,
    drafted_on: str,
    nonce: bytes,
    supersedes: str = "",
) -> Agreement:
    """Make an agreement ready to be signed; raise `Malformed` as `parse` does."""
    drafted = Agreement(
        title,
        tuple(parties),
        terms,
        contract_text,
        sha256(contract_text.encode("utf-8", "surrogatepass")).hexdigest(),
        drafted_on,
        nonce,
        supersedes,
    )
    return parse(drafted.to_json())


def parse(json: object) -> Agreement:
    """Read an agreement document strictly; raise `Malformed` with every problem found."""
    document = _object(json, "agreement", _KEYS, ("supersedes",))
    amends = {"supersedes": _agreement_id} if "supersedes" in document else {}
    found = _check_members(document, "", _DOCUMENT_RULES | amends)
    _raise(found)
    parties = tuple(_parse_party(party, f"parties[{i}]") for i, party in enumerate(document["parties"]))
    countries = tuple(party.country for party in parties)
    _raise([] if _unique(countries) else [problem("parties", countries, "must be different countries")])
    contract = _object(document["contract"], "contract", ("sha256", "text"))
    _raise(_check_contract(contract))
    agreement = Agreement(
        document["title"],
        parties,
        parse_terms(document["terms"], countries),
        contract["text"],
        contract["sha256"],
        document["drafted_on"],
        unb64u(document["nonce"]),
        document.get("supersedes", ""),
    )
    agreement.encode()
    return agreement


def parse_terms(terms: object, countries: Iterable[str]) -> Json:
    """Check terms strictly and give them back; raise `Malformed` with every problem found.

    Every clause of `_TERMS_RULES` is required, so that retention, onward transfer and notice are agreed
    and never assumed; `directions` are named `<issuer>-<partner>`, two different parties. Some clauses may be
    left out: a direction without `accept_kinds` is for operators, as all agreements were, terms without
    `rank` have none, and without `report_reads` reads are not told. Clauses that contradict each other are
    refused (see `contradictions`).
    """
    clauses = _object(terms, "terms", tuple(_TERMS_RULES), tuple(_OPTIONAL_RULES))
    rules = _TERMS_RULES | {name: rule for name, rule in _OPTIONAL_RULES.items() if name in clauses}
    _raise(_check_members(clauses, "terms.", rules))
    found, parties = list(contradictions.of_terms(clauses)), tuple(countries)
    for name, direction in clauses["directions"].items():
        found += _check_direction(name, direction, parties, clauses["consent"])
    named = {country for name in clauses["directions"] for country in name.split("-")}
    idle = [country for country in parties if country not in named]
    found += [
        problem("terms.directions", country, "must be in a direction, as every party") for country in idle
    ]
    _raise(found)
    return clauses


def is_on_demand(terms: Json) -> bool:
    """Whether records of a direction are fetched one by one; `terms` as `direction_terms` makes them."""
    return bool(terms["direction"].get("mode") == ON_DEMAND)


def direction_terms(agreement: Agreement, issuer: str, partner: str, state: str) -> Json:
    """Make the `terms` argument of a contract's `decide` for one direction in one state.

    The way back of a direction that the terms name one way only is `SILENT`. Raises `Malformed` if the
    agreement has neither.
    """
    named = agreement.terms["directions"]
    directed = named.get(f"{issuer}-{partner}")
    if directed is None and f"{partner}-{issuer}" in named:
        other = named[f"{partner}-{issuer}"]
        directed = {name: other[name] for name in other if name not in _OPTIONAL_DIRECTION_RULES} | SILENT
    if directed is None:
        known = ", ".join(sorted(named))
        raise _refused([problem("direction", f"{issuer}-{partner}", f"must be one of {known}")])
    direction = {**directed, "issuer": issuer, "partner": partner, "state": state}
    return {**governing_terms(agreement), "direction": direction}


@lru_cache(CONTRACTS_KEPT)
def contract_of(text: str) -> Contract:
    """Check and compile a contract text; the last ones are kept, for a long one takes a third of a second."""
    return load(text)


def governing_terms(agreement: Agreement) -> Json:
    """Make the `terms` argument of a contract's `govern`: the shared clauses and the parties."""
    shared = {name: clause for name, clause in agreement.terms.items() if name != "directions"}
    return {**shared, "parties": list(agreement.countries)}


def _refused(problems: Iterable[Problem]) -> Malformed:
    return Malformed("the agreement was refused", problems=problems, do="correct the draft and send it again")


def _raise(problems: list[Problem]) -> None:
    if problems:
        raise _refused(problems)


def _unique(values: Iterable[object]) -> bool:
    listed = list(values)
    return len(set(listed)) == len(listed)


def _object(json: object, where: str, keys: tuple[str, ...], optional: tuple[str, ...] = ()) -> Json:
    if not isinstance(json, dict):
        raise _refused([problem(where, json, "must be an object")])
    missing = [problem(f"{where}.{key}", "absent", "is required") for key in keys if key not in json]
    unknown = [
        problem(f"{where}.{key}", "present", "is not known") for key in json if key not in keys + optional
    ]
    _raise(missing + unknown)
    return json


def _check_members(members: Json, prefix: str, rules: Mapping[str, Rule]) -> list[Problem]:
    broken = [(name, rule(members[name])) for name, rule in rules.items()]
    return [problem(prefix + name, members[name], why) for name, why in broken if why]


def _parse_party(json: object, where: str) -> Party:
    party = _object(json, where, tuple(_PARTY_RULES))
    _raise(_check_members(party, f"{where}.", _PARTY_RULES))
    return Party(party["country"], party["name"], party["administration"], party["key"])


def _check_contract(contract: Json) -> list[Problem]:
    text, stated = contract["text"], contract["sha256"]
    if not isinstance(text, str):
        return [problem("contract.text", text, "must be text")]
    try:
        contract_of(text)
    except ContractRefused as refused:
        return [problem("contract.text", f"line {refused.line}", str(refused))]
    if sha256(text.encode()).hexdigest() != stated:
        return [problem("contract.sha256", stated, "must be the SHA-256 (hex) of the contract's text")]
    return []


def _check_direction(name: str, json: object, countries: tuple[str, ...], consent: str) -> list[Problem]:
    where = f"terms.directions.{name}"
    issuer, _, partner = name.partition("-")
    if issuer == partner or issuer not in countries or partner not in countries:
        return [problem(where, name, "must be named <issuer>-<partner>, two different parties")]
    try:
        direction = _object(
            json, where, tuple(_DIRECTION_RULES), ("accept_kinds", *_OPTIONAL_DIRECTION_RULES)
        )
    except Malformed as refused:
        return list(refused.problems)
    rules = _DIRECTION_RULES | (_MASTER_DATA_RULES if "accept_kinds" in direction else {})
    rules |= {name: rule for name, rule in _OPTIONAL_DIRECTION_RULES.items() if name in direction}
    if broken := _check_members(direction, f"{where}.", rules):
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


def _matches(pattern: re.Pattern[str], what: str) -> Rule:
    return lambda value: "" if isinstance(value, str) and pattern.fullmatch(value) else f"must be {what}"


def _one_of(choices: tuple[str, ...]) -> Rule:
    return lambda value: "" if value in choices else f"must be one of {', '.join(choices)}"


def _integer(least: int, most: int) -> Rule:
    def rule(value: object) -> str:
        fits = type(value) is int and least <= value <= most
        return "" if fits else f"must be a whole number from {least} to {most}"

    return rule


def _list_of(item: Rule, *, least: int = 1) -> Rule:
    def rule(value: object) -> str:
        if not isinstance(value, list) or not least <= len(value) <= MOST_ITEMS:
            return f"must be a list of {least} to {MOST_ITEMS} items"
        broken = [why for why in map(item, value) if why]
        return broken[0] if broken else "" if _unique(value) else "must not repeat an item"

    return rule


def _or_null(rule: Rule) -> Rule:
    return lambda value: "" if value is None else rule(value)


def _text(value: object) -> str:
    fits = isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and value.isprintable()
    return "" if fits else f"must be a line of 1 to {LONGEST_TEXT} characters"


def _flag(value: object) -> str:
    return "" if isinstance(value, bool) else "must be true or false"


def _date(value: object) -> str:
    try:
        return "" if isinstance(value, str) and parse_date(value) else "must be a date YYYY-MM-DD"
    except Malformed:
        return "must be a real date YYYY-MM-DD"


def _version(value: object) -> str:
    return "" if type(value) is int and value == 1 else "must be 1"


def _nonce(value: object) -> str:
    rule = "must be {} to {} random bytes as base64url".format(*NONCE_BYTES)
    try:
        fits = isinstance(value, str) and NONCE_BYTES[0] <= len(unb64u(value)) <= NONCE_BYTES[1]
    except Malformed:
        return rule
    return "" if fits else rule


def _agreement_id(value: object) -> str:
    try:
        fits = isinstance(value, str) and len(unb64u(value)) == ID_BYTES
    except Malformed:
        fits = False
    return "" if fits else "must be the id of an agreement"


def _field_path(value: object) -> str:
    if not isinstance(value, str):
        return "must be a list of field paths"
    scheme = value.removeprefix("identifiers.")
    known = value in FIELD_PATHS or (scheme != value and _SCHEME.fullmatch(scheme))
    return "" if known else f"must name known fields; {value!r} is not one"


def _public_key(value: object) -> str:
    rule = "must be a public P-256 key with exactly kty, crv, x and y"
    if not isinstance(value, dict) or set(value) != {"kty", "crv", "x", "y"}:
        return rule
    if (value["kty"], value["crv"]) != ("EC", "P-256"):
        return rule
    try:
        fits = ECKey.import_key(value).as_dict(private=False).items() >= value.items()
    except (JoseError, ValueError, TypeError):
        return rule
    return "" if fits else rule


def _preconditions(value: object) -> str:
    if not isinstance(value, dict) or set(value) != set(MODES):
        return "must list what comes before pilot and before operation"
    broken = [why for mode in MODES if (why := _list_of(_text, least=0)(value[mode]))]
    return broken[0] if broken else ""


def _any_object(value: object) -> str:
    return "" if isinstance(value, dict) else "must be an object"


def _directions(value: object) -> str:
    fits = isinstance(value, dict) and 0 < len(value) <= MOST_PARTIES * (MOST_PARTIES - 1)
    return "" if fits else "must be an object with at least one direction"


def _party_list(value: object) -> str:
    fits = isinstance(value, list) and 2 <= len(value) <= MOST_PARTIES
    return "" if fits else f"must be a list of 2 to {MOST_PARTIES} parties"


_KEYS = ("v", "title", "parties", "terms", "contract", "drafted_on", "nonce")
_DOCUMENT_RULES: dict[str, Rule] = {
    "v": _version,
    "title": _text,
    "parties": _party_list,
    "contract": _any_object,
    "drafted_on": _date,
    "nonce": _nonce,
}
_PARTY_RULES: dict[str, Rule] = {
    "country": _matches(_COUNTRY, "an ISO 3166-1 alpha-2 code, or EU"),
    "name": _matches(_NODE, "a node name such as aeo.br.example"),
    "administration": _text,
    "key": _public_key,
}
_CODES = _list_of(_matches(_CODE, "codes of letters, digits, _ and -"))
_PROGRAMME = _matches(PROGRAMME, "programmes such as BR-OEA")
_TERMS_RULES: dict[str, Rule] = {
    "name": _matches(_NAME, "2 to 35 capital letters, digits and -"),
    "purpose": _text,
    "from": _date,
    "until": _or_null(_date),
    "consent": _one_of(CONSENTS),
    "preconditions": _preconditions,
    "max_staleness_s": _integer(1, MOST_STALENESS_S),
    "retention_days": _integer(0, MOST_DAYS),
    "onward_transfer": _one_of(ONWARD_TRANSFERS),
    "termination_notice_days": _integer(0, MOST_DAYS),
    "suspension_notice_days": _integer(0, MOST_DAYS),
    "local_suspension": _flag,
    "irregularity_notice": _flag,
    "joint_validation": _flag,
    "contacts": _text,
    "directions": _directions,
}
_OPTIONAL_RULES: dict[str, Rule] = {"rank": _integer(1, HIGHEST_RANK), "report_reads": _flag}
"""Which of several agreements over one operator goes before: the one of the higher rank; and whether each
side tells the other how often its operators were read."""
_DIRECTION_RULES: dict[str, Rule] = {
    "accept_programmes": _list_of(_PROGRAMME),
    "accept_types": _or_null(_CODES),
    "min_scope": _list_of(_one_of(SCOPES), least=0),
    "accept_roles": _or_null(_list_of(_one_of(ROLES))),
    "exclude_roles": _or_null(_list_of(_one_of(ROLES))),
    "share_statuses": _list_of(_one_of(STATUSES)),
    "identifier_scheme": _matches(_SCHEME, "an identifier scheme such as CNPJ"),
    "fields": _list_of(_field_path),
}
_READER_RULES: dict[str, Rule] = {
    "country": _matches(_COUNTRY, "an ISO 3166-1 alpha-2 code, or EU"),
    "administration": _text,
    "key": hosting.key_fault,
}


def _readers(value: object) -> str:
    if not isinstance(value, list) or not 0 < len(value) <= MOST_PARTIES:
        return f"must be a list of 1 to {MOST_PARTIES} administrations without a node"
    broken = [why for each in value if (why := _reader(each))]
    if broken:
        return broken[0]
    names = [(each["country"], each["key"]["x"]) for each in value]
    return "" if all(map(_unique, zip(*names, strict=True))) else "must name each country and key once"


def _reader(value: object) -> str:
    try:
        reader = _object(value, "readers", tuple(_READER_RULES))
    except Malformed as refused:
        return refused.problems[0].rule
    broken = [f"{name} {why}" for name, rule in _READER_RULES.items() if (why := rule(reader[name]))]
    return "; ".join(broken)


_OPTIONAL_DIRECTION_RULES: dict[str, Rule] = {
    "mode": _one_of((MIRROR, ON_DEMAND)),
    "readers": _readers,
}
_MASTER_DATA_RULES: dict[str, Rule] = {
    "accept_kinds": _list_of(_one_of(tuple(KINDS))),
    "accept_programmes": _list_of(_PROGRAMME, least=0),
}
"""Where a direction says which kinds of record it is for, it may recognise no programme at all."""
