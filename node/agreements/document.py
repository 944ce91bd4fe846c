"""The agreement: who, under which terms, decided by which contract text.

Guarantees that an `Agreement` that exists is whole: its contract is in the language and has the hash it
states, its terms have every required clause and no unknown one, and its bytes have one spelling, so that
all parties sign the same 32 bytes. Refuses anything else with every problem named (`Malformed`).

JSON: {"v":1,"title","parties":[{"country","name","administration","key"}],"terms":{...},
"contract":{"sha256","text"},"drafted_on","nonce"}, and "supersedes" where it replaces another agreement: that
one's id; canonical (RFC 8785) where it is signed.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from contracts import Contract, ContractRefused, load
from node.agreements.rules import (
    COUNTRY,
    Json,
    Rule,
    check_members,
    is_unique,
    matches,
    object_of,
    real_date,
    refusal,
    refuse,
    short_text,
)
from node.agreements.terms import MOST_PARTIES, ON_DEMAND, OPTIONAL_DIRECTION_RULES, parse_terms
from node.errors import Malformed, Problem, problem
from node.ledger import canonical
from node.ledger.encoding import b64u, unb64u

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

CONTRACTS_KEPT = 128
NONCE_BYTES = (16, 32)
ID_BYTES = 32

_NODE = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+", re.ASCII)


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
        raise refusal([problem("country", country, f"must be a party: {', '.join(self.countries)}")])


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
    document = object_of(json, "agreement", _KEYS, ("supersedes",))
    amends = {"supersedes": _agreement_id} if "supersedes" in document else {}
    found = check_members(document, "", _DOCUMENT_RULES | amends)
    refuse(found)
    parties = tuple(_parse_party(party, f"parties[{i}]") for i, party in enumerate(document["parties"]))
    countries = tuple(party.country for party in parties)
    refuse([] if is_unique(countries) else [problem("parties", countries, "must be different countries")])
    contract = object_of(document["contract"], "contract", ("sha256", "text"))
    refuse(_check_contract(contract))
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
        directed = {name: other[name] for name in other if name not in OPTIONAL_DIRECTION_RULES} | SILENT
    if directed is None:
        known = ", ".join(sorted(named))
        raise refusal([problem("direction", f"{issuer}-{partner}", f"must be one of {known}")])
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


def _parse_party(json: object, where: str) -> Party:
    party = object_of(json, where, tuple(_PARTY_RULES))
    refuse(check_members(party, f"{where}.", _PARTY_RULES))
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


def _party_list(value: object) -> str:
    fits = isinstance(value, list) and 2 <= len(value) <= MOST_PARTIES
    return "" if fits else f"must be a list of 2 to {MOST_PARTIES} parties"


def _any_object(value: object) -> str:
    return "" if isinstance(value, dict) else "must be an object"


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


_KEYS = ("v", "title", "parties", "terms", "contract", "drafted_on", "nonce")
_DOCUMENT_RULES: dict[str, Rule] = {
    "v": _version,
    "title": short_text,
    "parties": _party_list,
    "contract": _any_object,
    "drafted_on": real_date,
    "nonce": _nonce,
}
_PARTY_RULES: dict[str, Rule] = {
    "country": COUNTRY,
    "name": matches(_NODE, "a node name such as aeo.br.example"),
    "administration": short_text,
    "key": _public_key,
}
