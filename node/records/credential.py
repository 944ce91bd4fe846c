"""A record version as an SD-JWT (RFC 9901), every field of which can be shown or kept alone.

Guarantees that the signed part holds exactly `DIGESTS` digests and nothing readable but the issuer,
so that neither the number nor the names of hidden fields can be read from it; that elements of
identifiers, roles and sites are hidden one by one, among decoys and in the order of their digests;
and that apart from the signature the same fields and salts give the same bytes. `verify` refuses
every disclosure that the issuer's signature does not reach exactly once, every other algorithm or
type, short salts, JSON that is not canonical, and anything larger than the bounds.

A field path is a field's name (`legal_name`), or `identifiers.<scheme>` for the numbers of one scheme.
The bare name of a list stands for all of its elements.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeGuard, cast

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from node.errors import Malformed, TooMuch, Unproven, problem
from node.ledger import canonical
from node.ledger.canonical import Json
from node.ledger.encoding import b64u, unb64u

ALG: Final = "ES256"
TYP: Final = "aeo-operator+sd-jwt"
DIGESTS: Final = 40
FEWEST_ELEMENTS: Final = 4
SALT_BYTES: Final = 16
MAX_SALT_BYTES: Final = 64
MAX_PRESENTATION_BYTES: Final = 1 << 20
MAX_DISCLOSURES: Final = 256

FIELDS: Final = "fields"
LISTS: Final = ("identifiers", "roles", "sites")
_NAME: Final = re.compile("[a-z][0-9a-z_]{0,63}")
_SCHEME: Final = re.compile("[0-9A-Z_]{1,35}")
# 22 to 86 characters of base64url carry 16 to 64 bytes; decoding each salt would cost a fifth of `verify`.
_SALT: Final = re.compile("[0-9A-Za-z_-]{22,86}")
_SALT_SIZES: Final = frozenset(range(SALT_BYTES, MAX_SALT_BYTES + 1))
_COORDINATE_BYTES: Final = 32

Salts = Callable[[str, int], Sequence[bytes]]
"""Gives so many secret salts for the `FIELDS` of a version, or for the elements of one of its lists."""


@dataclass(frozen=True, slots=True)
class Disclosure:
    """The text that opens one digest, and the field path that it belongs to."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Credential:
    """The signed part, `header.payload.signature`, and what opens each of its digests."""

    jwt: str
    disclosures: tuple[Disclosure, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """What a presentation proves: the disclosed fields, under which key, and the credential's digest.

    `digest` is SHA-256 of `jwt`. Elements of a list stand in canonical order, not the issuer's.
    `paths` are sorted; identifiers count by scheme, so a list shown without elements has no path.
    """

    fields: dict[str, Json]
    jwt: str
    digest: bytes
    paths: tuple[str, ...]
    kid: str


def issue(
    fields: Mapping[str, Json], *, salts: Salts, issuer: str, kid: str, sign: Callable[[bytes], bytes]
) -> Credential:
    """Sign a credential over `fields`; `sign` gives the raw 64-byte ES256 signature (RFC 7518, 3.4).

    `salts("fields", 40)` or `salts("identifiers", 4)` gives that many times 16 or more secret bytes, no two
    of them the same, nor those of two versions. Fields take theirs in the order of their names, elements
    in their own order, and decoys the rest. Raises `Malformed` for reserved names, values outside
    canonical JSON, short salts; `TooMuch` for more than `DIGESTS` fields.
    """
    opened, digests = _hide(fields, salts)
    header = canonical.encode({"alg": ALG, "kid": kid, "typ": TYP})
    payload = canonical.encode({"_sd": digests, "_sd_alg": "sha-256", "iss": issuer})
    signed = f"{b64u(header)}.{b64u(payload)}"
    return Credential(f"{signed}.{b64u(sign(signed.encode('ascii')))}", opened)


def disclosures(fields: Mapping[str, Json], *, salts: Salts) -> tuple[Disclosure, ...]:
    """The disclosures that `issue` made from the same fields and salts; raises as it does."""
    return _hide(fields, salts)[0]


def present(jwt: str, opened: Iterable[Disclosure], paths: Iterable[str]) -> str:
    """The presentation that opens the named paths and nothing else: `jwt~disclosure~...~`.

    A path that the record does not have opens nothing. `identifiers.<scheme>` also opens the list
    itself, which shows neither how many other numbers there are nor of which schemes.
    """
    wanted = frozenset(paths)
    shown = wanted | {"identifiers"} if any(covered(each, ("identifiers",)) for each in wanted) else wanted
    chosen = [each.text for each in opened if each.path in shown or each.path.partition(".")[0] in wanted]
    return "~".join([jwt, *chosen, ""])


def covered(path: str, paths: Iterable[str]) -> bool:
    """Whether a disclosed `path` lies within `paths`, where `identifiers` covers every scheme."""
    allowed = frozenset(paths)
    return path in allowed or path.partition(".")[0] in allowed


def verify(presentation: str, public_key: ec.EllipticCurvePublicKey, *, issuer: str) -> Verified:
    """Check a presentation against the issuer's name and P-256 key, and read what it discloses.

    1. It is `jwt~disclosure~...~` within the bounds, with no key binding. 2. The signature holds, and
    header and payload are exactly those `issue` writes. 3. Every disclosure opens one digest of the
    payload or of a disclosed list, no digest stands twice, no disclosure is left over.
    Raises `Malformed` or `TooMuch` for the form, `Unproven` for whatever the signature does not cover.
    """
    jwt, texts = _split(presentation)
    kid, digests = _open_jwt(jwt, public_key, issuer)
    closed = _by_digest(texts)
    fields = _read_fields(digests, closed)
    for name in LISTS:
        if name in fields:
            inner = _placeholders(name, fields[name])
            fields[name] = _read_elements(name, inner, closed)
            digests += inner
    if len(set(digests)) != len(digests):
        raise Unproven("a digest stands twice in the credential", where="credential")
    if closed:
        raise Unproven("a disclosure opens nothing that was signed", where="credential")
    return Verified(fields, jwt, sha256(jwt.encode("ascii")).digest(), _paths(fields), kid)


def es256_signer(private_key: ec.EllipticCurvePrivateKey) -> Callable[[bytes], bytes]:
    """A signing function giving raw `r || s`, 64 bytes, for a P-256 key (`Malformed` for another curve)."""
    _check_curve(private_key.curve)

    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(private_key.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")

    return sign


def es256_verify(public_key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> None:
    """Check a raw 64-byte ES256 signature; raises `Unproven`, or `Malformed` for a key of another curve."""
    _check_curve(public_key.curve)
    if len(signature) != 2 * _COORDINATE_BYTES:
        raise Unproven("the signature is not 64 bytes long", where="signature")
    r, s = (
        int.from_bytes(half, "big") for half in (signature[:_COORDINATE_BYTES], signature[_COORDINATE_BYTES:])
    )
    try:
        public_key.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise Unproven("the signature does not hold", where="signature", do="ask the issuer again") from None


def _hide(fields: Mapping[str, Json], salts: Salts) -> tuple[tuple[Disclosure, ...], list[str]]:
    _check_fields(fields)
    secrets = _drawn(salts, FIELDS, DIGESTS)
    opened: list[Disclosure] = []
    digests: list[str] = []
    for secret, name in zip(secrets, sorted(fields), strict=False):
        value = fields[name]
        if name in LISTS:
            elements, value = _hide_elements(name, value, salts)
            opened += elements
        text = _text([b64u(secret), name, value])
        opened.append(Disclosure(name, text))
        digests.append(_digest(text))
    return tuple(opened), _among_decoys(digests, secrets)


def _check_fields(fields: Mapping[str, Json]) -> None:
    if len(fields) > DIGESTS:
        raise TooMuch(f"a credential holds at most {DIGESTS} fields", where="credential")
    for name in fields:
        _check_name(name)
    # Once for all of them; each part can then be written without being checked again.
    _check_keys(canonical.encode(dict(fields)))


def _hide_elements(name: str, elements: Json, salts: Salts) -> tuple[list[Disclosure], Json]:
    """The disclosures of a list's elements, and the placeholders that stand in the list for them."""
    if type(elements) is not list:
        raise _malformed(name, elements, "must be a list")
    secrets = _drawn(salts, name, max(FEWEST_ELEMENTS, 1 << (len(elements) - 1).bit_length()))
    opened = [
        Disclosure(_element_path(name, element), _text([b64u(secret), element]))
        for secret, element in zip(secrets, elements, strict=False)
    ]
    digests = _among_decoys([_digest(each.text) for each in opened], secrets)
    return opened, [{"...": digest} for digest in digests]


def _among_decoys(digests: list[str], secrets: Sequence[bytes]) -> list[str]:
    """The digests in an order that tells nothing, with one that opens nothing for each salt left over."""
    decoys = [b64u(sha256(secret).digest()) for secret in secrets[len(digests) :]]
    return sorted(digests + decoys)


def _drawn(salts: Salts, group: str, count: int) -> Sequence[bytes]:
    secrets = salts(group, count)
    if len(secrets) != count or not set(map(len, secrets)) <= _SALT_SIZES:
        rule = f"takes {count} salts of {SALT_BYTES} to {MAX_SALT_BYTES} bytes"
        raise _malformed(group, len(secrets), rule)
    return secrets


def _text(disclosure: list[Json]) -> str:
    return b64u(orjson.dumps(disclosure, option=orjson.OPT_SORT_KEYS))


def _digest(text: str) -> str:
    return b64u(sha256(text.encode("ascii")).digest())


def _element_path(name: str, element: Json) -> str:
    if name != "identifiers":
        return name
    scheme = element.get("scheme") if type(element) is dict else None
    if type(scheme) is not str or _SCHEME.fullmatch(scheme) is None:
        raise _malformed(name, element, "each element must be an object with a scheme")
    return f"{name}.{scheme}"


def _split(presentation: str) -> tuple[str, list[str]]:
    if len(presentation) > MAX_PRESENTATION_BYTES or presentation.count("~") > MAX_DISCLOSURES + 1:
        rule = f"at most {MAX_PRESENTATION_BYTES} bytes and {MAX_DISCLOSURES} disclosures"
        raise TooMuch("the presentation is too large", where="credential", why=rule)
    jwt, *texts = presentation.split("~")
    if not presentation.isascii() or not texts or texts.pop() or not all(texts):
        raise _malformed("presentation", presentation, "must be jwt~disclosure~...~, ending in ~")
    return jwt, texts


def _open_jwt(jwt: str, public_key: ec.EllipticCurvePublicKey, issuer: str) -> tuple[str, list[str]]:
    parts = jwt.split(".")
    if len(parts) != 3:
        raise _malformed("jwt", jwt, "must have three parts")
    kid = _header(parts[0])
    es256_verify(public_key, unb64u(parts[2]), f"{parts[0]}.{parts[1]}".encode("ascii"))
    return kid, _payload(parts[1], issuer)


def _header(part: str) -> str:
    header = canonical.decode(unb64u(part))
    kid = header.get("kid") if type(header) is dict else None
    if type(kid) is not str or header != {"alg": ALG, "kid": kid, "typ": TYP}:
        raise _malformed("header", header, f"must hold alg {ALG}, typ {TYP} and a kid, nothing else")
    return kid


def _payload(part: str, issuer: str) -> list[str]:
    payload = canonical.decode(unb64u(part))
    digests = payload.get("_sd") if type(payload) is dict else None
    if not _are_texts(digests) or payload != {"_sd": digests, "_sd_alg": "sha-256", "iss": issuer}:
        raise Unproven(f"the credential was not issued by {issuer} in this form", where="payload")
    if len(digests) != DIGESTS:
        raise _malformed("_sd", len(digests), f"must hold {DIGESTS} digests")
    return digests


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return type(value) is list and all(type(item) is str for item in value)


def _by_digest(texts: list[str]) -> dict[str, bytes]:
    raw = {_digest(text): unb64u(text) for text in texts}
    if len(raw) != len(texts):
        raise Unproven("a disclosure stands twice in the presentation", where="credential")
    return raw


def _read_fields(digests: list[str], closed: dict[str, bytes]) -> dict[str, Json]:
    fields: dict[str, Json] = {}
    for digest in digests:
        if digest in closed:
            name, value = _read_field(closed.pop(digest))
            if name in fields:
                raise Unproven(f"the field {name} is disclosed twice", where="credential")
            fields[name] = value
    return fields


def _read_field(raw: bytes) -> tuple[str, Json]:
    name, value = _read_disclosure(raw, "[salt, name, value]", 3)
    if type(name) is not str:
        raise _malformed("disclosure", name, "a field's name must be text")
    _check_name(name)
    if name not in LISTS:
        _check_keys(raw)
    return name, value


def _read_disclosure(raw: bytes, form: str, length: int) -> list[Json]:
    array = canonical.decode(raw)
    if type(array) is not list or len(array) != length or type(array[0]) is not str:
        raise _malformed("disclosure", array, f"must be {form}")
    if _SALT.fullmatch(array[0]) is None:
        raise _malformed("disclosure", array[0], f"a salt has {SALT_BYTES} to {MAX_SALT_BYTES} bytes")
    return array[1:]


def _placeholders(name: str, value: Json) -> list[str]:
    holders = value if type(value) is list else [None]
    digests = [holder.get("...") if type(holder) is dict else None for holder in holders]
    if not _are_texts(digests) or holders != [{"...": digest} for digest in digests]:
        raise _malformed(name, value, "must be a list of digests")
    return digests


def _read_elements(name: str, digests: list[str], closed: dict[str, bytes]) -> list[Json]:
    elements = [_read_element(name, closed.pop(digest)) for digest in digests if digest in closed]
    return sorted(elements, key=canonical.encode)


def _read_element(name: str, raw: bytes) -> Json:
    [element] = _read_disclosure(raw, "[salt, value]", 2)
    _check_keys(raw)
    _element_path(name, element)
    return element


def _paths(fields: Mapping[str, Json]) -> tuple[str, ...]:
    names = [name for name in fields if name != "identifiers"]
    numbers = cast("list[Json]", fields.get("identifiers", []))
    return tuple(sorted(dict.fromkeys([*names, *(_element_path("identifiers", n) for n in numbers)])))


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None or name == "iss":
        raise _malformed(
            "field", name, "a field's name must be lower case letters, digits and _, and not iss"
        )


def _check_keys(encoded: bytes) -> None:
    # In canonical JSON a quote inside text is escaped, so these bytes can only be a key.
    if b'"_sd":' in encoded or b'"...":' in encoded:
        raise _malformed("credential", encoded, 'the keys "_sd" and "..." are reserved')


def _check_curve(curve: ec.EllipticCurve) -> None:
    if not isinstance(curve, ec.SECP256R1):
        raise _malformed("key", curve.name, "ES256 needs a P-256 key")


def _malformed(field: str, value: object, rule: str) -> Malformed:
    return Malformed("the credential was refused", problems=[problem(field, value, rule)])
