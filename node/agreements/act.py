"""Acts on an agreement, and the signatures that make them count.

Guarantees that a signature counts for exactly one act, on exactly one agreement text, by exactly one
party, under the key that the agreement names for it or one that followed that (promise P8). Refuses
(`Unproven`) a signature over another act, by another party, with another key or with any protected header but
the expected one.

Signed form: JWS General JSON Serialization (RFC 7515, 7.2.1), payload the act's canonical JSON, one
entry for each party, protected header {"alg":"ES256","kid":"<country>:<thumbprint>","typ":"aeo-act+jws"}.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from contracts import Contract, Ruling
from node.agreements.document import NONCE_BYTES, Agreement, Party, contract_of, governing_terms
from node.agreements.rules import LONGEST_TEXT, Json
from node.agreements.terms import MODES
from node.errors import Malformed, Problem, Unproven, problem
from node.ledger import canonical
from node.ledger.encoding import b64u, unb64u
from node.ledger.moment import parse_date

ACTS = ("sign", "start", "suspend", "resume", "terminate", "leave", "withdraw")
STOPPING = ("suspend", "terminate", "leave", "withdraw")
"""What one party alone does; but see `stops`."""
TYPE = "aeo-act+jws"
ALGORITHM = "ES256"
DIGEST_BYTES = 32
MOST_LISTED = 64
MOST_SIGNATURES = 64

LaterKeys = Mapping[str, Sequence[Mapping[str, str]]]
"""By country: the keys (JWK) of a party that followed the one which an agreement names, and sign too."""
NO_LATER: LaterKeys = MappingProxyType({})

_KEYS = frozenset(
    {"v", "agreement", "act", "issuer", "partner", "mode", "effective", "lifts", "reason"}
    | {"preconditions_met", "nonce"}
)


@dataclass(frozen=True, slots=True)
class Act:
    """One step in an agreement's life.

    `agreement` is the 32-byte digest of its text; `issuer` and `partner` name a direction (None: the whole
    agreement; `issuer` alone: the party that leaves, with every direction from and to it); `effective` is
    the first day (`YYYY-MM-DD`) it counts; `lifts` are ids of acts: the suspensions that a resumption
    lifts, the proposal that a withdrawal takes back (none: the draft).
    """

    agreement: bytes
    act: str
    issuer: str | None
    partner: str | None
    mode: str | None
    effective: str
    lifts: tuple[str, ...]
    reason: str
    preconditions_met: tuple[str, ...]
    nonce: bytes

    def to_json(self) -> Json:
        """Give the act as plain JSON values."""
        return {
            "v": 1,
            "agreement": b64u(self.agreement),
            "act": self.act,
            "issuer": self.issuer,
            "partner": self.partner,
            "mode": self.mode,
            "effective": self.effective,
            "lifts": list(self.lifts),
            "reason": self.reason,
            "preconditions_met": list(self.preconditions_met),
            "nonce": b64u(self.nonce),
        }

    def encode(self) -> bytes:
        """Give the canonical bytes: the payload that parties sign."""
        return canonical.encode(self.to_json())

    def digest(self) -> bytes:
        """Give the SHA-256 (32 bytes) of the canonical bytes."""
        return sha256(self.encode()).digest()

    @property
    def id(self) -> str:
        """The digest as text (base64url): what `lifts` of another act names."""
        return b64u(self.digest())

    @property
    def words(self) -> tuple[str, str | None, str | None, str | None]:
        """What is to be done: act, direction and mode."""
        return self.act, self.issuer, self.partner, self.mode

    def concerns(self, issuer: str, partner: str) -> bool:
        """Tell whether the act is about this direction, by name, by a party of it or with all others."""
        if self.partner is None:
            return self.issuer in (None, issuer, partner)
        return (self.issuer, self.partner) == (issuer, partner)


@dataclass(frozen=True, slots=True)
class Signature:
    """One entry of the JWS: the country it claims, its protected header and signature, both base64url."""

    country: str
    protected: str
    signature: str


@dataclass(frozen=True, slots=True)
class Instrument:
    """An act with the signatures gathered so far; holding one proves nothing until `signed_by`."""

    act: Act
    signatures: tuple[Signature, ...]

    def to_json(self) -> Json:
        """Give the general JWS serialization."""
        entries = [{"protected": s.protected, "signature": s.signature} for s in self.signatures]
        return {"payload": b64u(self.act.encode()), "signatures": entries}

    def signed_by(self, agreement: Agreement, later: LaterKeys = NO_LATER) -> tuple[str, ...]:
        """Give the countries of the parties that validly signed this act on this agreement, in order.

        A signature that does not hold counts for nothing; an act on another text has no signatures here.
        `later`: keys of a party that followed the one which the agreement names.
        """
        if self.act.agreement != agreement.digest():
            return ()
        signed = {s.country for s in self.signatures if _holds(self.act, s, agreement, later)}
        return tuple(country for country in agreement.countries if country in signed)

    def complete(
        self,
        agreement: Agreement,
        today: str,
        contract: Contract | None = None,
        later: LaterKeys = NO_LATER,
    ) -> Ruling:
        """Say whether these signatures are enough (day `YYYY-MM-DD`).

        No contract can lower the floor: nothing is agreed, started or resumed without the signature of
        every party it binds, and every party may stop what concerns it. Above the floor the agreement's
        own contract decides. `contract` spares loading the text again; raises `Unproven` if it is not
        the agreement's.
        """
        return ruling(self.act, self.signed_by(agreement, later), agreement, today, contract)


def ruling(
    act: Act, signed: Iterable[str], agreement: Agreement, today: str, contract: Contract | None = None
) -> Ruling:
    """Say whether the signatures of these countries, found to hold, are enough: see `Instrument.complete`."""
    if contract and contract.sha256 != agreement.contract_sha256:
        raise Unproven("another contract was given", why="its hash is not the one in the agreement")
    signed = list(signed)
    bound = bound_by(act, agreement)
    missing = tuple(country for country in bound if country not in signed)
    if stops(act, agreement):
        return Ruling(len(missing) < len(bound), () if len(missing) < len(bound) else missing, "")
    if missing:
        return Ruling(False, missing, f"not yet signed by {', '.join(missing)}")
    rules = contract or contract_of(agreement.contract_text)
    return rules.govern(act.to_json(), governing_terms(agreement), signed, today)


def bound_by(act: Act | None, agreement: Agreement) -> tuple[str, ...]:
    """Give the countries that an act binds: those it names, or all; all, too, for the draft."""
    if act and act.issuer:
        return (act.issuer, act.partner) if act.partner else (act.issuer,)
    return agreement.countries


def stops(act: Act, agreement: Agreement) -> bool:
    """Tell whether an act counts by the signature of one party that it binds, at once and for good.

    The end of an agreement of more than two takes all of them: who wants out leaves.
    """
    is_end_of_all = act.act == "terminate" and act.issuer is None and len(agreement.parties) > 2
    return act.act in STOPPING and not is_end_of_all


def sign(act: Act, country: str, private_key: ECKey) -> Signature:
    """Sign an act for a country with its private P-256 key; a signature differs each time (ES256)."""
    header = _header(country, private_key.thumbprint())
    token = jws.serialize_compact(header, act.encode(), private_key, algorithms=[ALGORITHM])
    protected, _, signature = token.split(".")
    return Signature(country, protected, signature)


def verify(act: Act, signature: Signature, party: Party, later: LaterKeys = NO_LATER) -> Mapping[str, str]:
    """Check that this party signed this act; gives the key (JWK) it did with, or raises `Unproven`."""
    token = f"{signature.protected}.{b64u(act.encode())}.{signature.signature}"
    keys = [party.key, *later.get(party.country, ())]
    # The header is compared, not read: nothing in it can choose an algorithm, or a key but one of these.
    told = _protected(token) if signature.country == party.country else None
    key = next((each for each in keys if told == _header(party.country, _thumbprint(each))), None)
    if key is None:
        raise _unproven(act, party, "its header is not the one this party signs with")
    try:
        unb64u(signature.signature)
        jws.deserialize_compact(token, ECKey.import_key(dict(key)), algorithms=[ALGORITHM])
    except (JoseError, Malformed, ValueError):
        raise _unproven(act, party, "it does not hold over this act with this party's key") from None
    return key


def parse_act(json: object) -> Act:
    """Read an act strictly; raise `Malformed` with every problem found."""
    if not isinstance(json, dict) or set(json) != _KEYS:
        raise _refused([problem("act", json, f"must be an object with exactly {', '.join(sorted(_KEYS))}")])
    found = [*_check_fields(json), *_check_lists(json)]
    if found:
        raise _refused(found)
    act = Act(
        unb64u(json["agreement"]),
        json["act"],
        json["issuer"],
        json["partner"],
        json["mode"],
        json["effective"],
        tuple(json["lifts"]),
        json["reason"],
        tuple(json["preconditions_met"]),
        unb64u(json["nonce"]),
    )
    act.encode()
    return act


def parse(json: object) -> Instrument:
    """Read a general JWS over an act strictly; raise `Malformed`. Verifies nothing: see `signed_by`."""
    rule = f"must be a general JWS with payload and 0 to {MOST_SIGNATURES} signatures"
    if not isinstance(json, dict) or set(json) != {"payload", "signatures"}:
        raise _refused([problem("instrument", json, rule)])
    payload, entries = json["payload"], json["signatures"]
    if not (isinstance(payload, str) and isinstance(entries, list) and len(entries) <= MOST_SIGNATURES):
        raise _refused([problem("instrument", json, rule)])
    act = parse_act(canonical.decode(unb64u(payload)))
    return Instrument(act, tuple(_parse_signature(entry) for entry in entries))


def _header(country: str, thumbprint: str) -> dict[str, str]:
    return {"alg": ALGORITHM, "kid": f"{country}:{thumbprint}", "typ": TYPE}


def _thumbprint(key: Mapping[str, str]) -> str:
    return str(ECKey.import_key(dict(key)).thumbprint())


def _protected(token: str) -> object:
    try:
        return canonical.decode(unb64u(token.partition(".")[0]))
    except Malformed:
        return None


def _holds(act: Act, signature: Signature, agreement: Agreement, later: LaterKeys) -> bool:
    if signature.country not in agreement.countries:
        return False
    try:
        verify(act, signature, agreement.party(signature.country), later)
    except Unproven:
        return False
    return True


def _parse_signature(entry: object) -> Signature:
    rule = "must have exactly protected and signature, both base64url text"
    if not isinstance(entry, dict) or set(entry) != {"protected", "signature"}:
        raise _refused([problem("signatures", entry, rule)])
    protected, signature = entry["protected"], entry["signature"]
    if not isinstance(protected, str) or not isinstance(signature, str):
        raise _refused([problem("signatures", entry, rule)])
    unb64u(signature)
    header = canonical.decode(unb64u(protected))
    kid = header.get("kid") if isinstance(header, dict) else None
    if not isinstance(kid, str):
        raise _refused([problem("signatures.protected", header, "must name the key in kid")])
    return Signature(kid.partition(":")[0], protected, signature)


def _check_fields(json: Json) -> list[Problem]:
    act, issuer, partner, mode = json["act"], json["issuer"], json["partner"], json["mode"]
    reason = json["reason"]
    rules = (
        ("v", type(json["v"]) is int and json["v"] == 1, "must be 1"),
        ("agreement", _is_bytes(json["agreement"], DIGEST_BYTES, DIGEST_BYTES), "must be a digest"),
        ("act", act in ACTS, f"must be one of {', '.join(ACTS)}"),
        (
            "issuer",
            _direction_fits(act, issuer, partner),
            "names a direction with partner, for leave the party: see docs",
        ),
        ("mode", mode in MODES if act == "start" else mode is None, "is pilot or operation, for start only"),
        ("effective", _is_date(json["effective"]), "must be a real date YYYY-MM-DD"),
        ("reason", isinstance(reason, str) and len(reason) <= LONGEST_TEXT, "must be short text"),
        ("nonce", _is_bytes(json["nonce"], *NONCE_BYTES), "must be 16 to 32 bytes as base64url"),
    )
    return [problem(name, json[name], rule) for name, holds, rule in rules if not holds]


def _check_lists(json: Json) -> list[Problem]:
    lifts, met = json["lifts"], json["preconditions_met"]
    ids = _is_text_list(lifts) and all(_is_bytes(item, DIGEST_BYTES, DIGEST_BYTES) for item in lifts)
    rules = (
        ("lifts", ids and _lifts_fit(json["act"], len(lifts)), "lists ids, for resume and withdraw only"),
        ("preconditions_met", _is_text_list(met), f"must be at most {MOST_LISTED} different texts"),
    )
    return [problem(name, json[name], rule) for name, holds, rule in rules if not holds]


def _direction_fits(act: object, issuer: object, partner: object) -> bool:
    named = isinstance(issuer, str) and isinstance(partner, str) and issuer != partner
    whole = issuer is None and partner is None
    if act in ("sign", "withdraw"):
        return whole
    if act == "leave":
        return isinstance(issuer, str) and partner is None
    return named or (whole and act == "terminate")


def _lifts_fit(act: object, count: int) -> bool:
    if act == "resume":
        return count > 0
    return count == 0 or (act == "withdraw" and count == 1)


def _is_text_list(value: object) -> bool:
    if not isinstance(value, list) or len(value) > MOST_LISTED:
        return False
    return all(isinstance(item, str) for item in value) and len(set(value)) == len(value)


def _is_bytes(value: object, least: int, most: int) -> bool:
    try:
        return isinstance(value, str) and least <= len(unb64u(value)) <= most
    except Malformed:
        return False


def _is_date(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(parse_date(value))
    except Malformed:
        return False


def _refused(problems: Iterable[Problem]) -> Malformed:
    return Malformed("the act was refused", problems=problems, do="correct it and send it again")


def _unproven(act: Act, party: Party, why: str) -> Unproven:
    return Unproven(
        f"a signature on {act.act} does not count",
        where=f"act {act.id}, {party.country}",
        why=why,
        do="ask the party to sign this act again with the key in the agreement",
    )
