"""A record version as an SD-JWT (RFC 9901), every field of which can be shown or kept alone.

Guarantees that the signed part holds exactly `DIGESTS` digests and nothing readable but the issuer,
so that neither the number nor the names of hidden fields can be read from it; that elements of
identifiers, roles and sites are hidden one by one, among decoys and in the order of their digests;
and that apart from the signature the same fields and salts give the same bytes. `verify` refuses
every disclosure that the issuer's signature does not reach exactly once, every other algorithm or
type, short salts, JSON that is not canonical, and anything larger than the bounds.

A field path is a field's name (`legal_name`), or `identifiers.<scheme>` for the numbers of one scheme.
The bare name of a list stands for all of its elements.

A presentation has two forms: the text `jwt~disclosure~...~` of the RFC, and the same *packed*, a JSON object
without what can be written again: {kid, digests, signature, disclosures}, half as long. `pack` and `unpack`
lead from one to the other.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Final, NamedTuple, TypeGuard, cast

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from node.errors import Malformed, TooMuch, Unproven, problem
from node.ledger import canonical
from node.ledger.canonical import Json
from node.ledger.encoding import b64u, b64u_each, unb64u

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
_DIGEST_BYTES: Final = 32
_DIGEST_CHARACTERS: Final = 43
_BOUNDS: Final = f"at most {MAX_PRESENTATION_BYTES} bytes and {MAX_DISCLOSURES} disclosures"

Salts = Callable[[str, int], Sequence[bytes]]
"""Gives so many secret salts for the `FIELDS` of a version, or for the elements of one of its lists."""


Packed = dict[str, Json]
"""A presentation without what follows from it: the header, the rest of the payload, one of two base64s."""


class Disclosure(NamedTuple):
    """What opens one digest, [salt, name, value] or [salt, element], and the field path it belongs to."""

    path: str
    opening: list[Json]

    @property
    def text(self) -> str:
        """The opening as it is hashed and presented."""
        return _text(self.opening)


@dataclass(frozen=True)
class Credential:
    """What the issuer signed, its digests (32 bytes each), the signature, and what opens them."""

    issuer: str
    kid: str
    digests: bytes
    signature: bytes
    disclosures: tuple[Disclosure, ...]

    @cached_property
    def jwt(self) -> str:
        """The signed part of every presentation: `header.payload.signature`."""
        return _jwt(self.signed_part, self.signature)

    @cached_property
    def signed_part(self) -> bytes:
        """What the signature is over: `header.payload`."""
        return _signed(self.issuer, self.kid, self.digests)

    def present(self, paths: Iterable[str]) -> str:
        """The presentation that opens the named paths and nothing else: `jwt~disclosure~...~`.

        A path that the record does not have opens nothing. `identifiers.<scheme>` also opens the list
        itself, which shows neither how many other numbers there are nor of which schemes.
        """
        return "~".join([self.jwt, *(each.text for each in self._shown(paths)), ""])

    def packed(self, paths: Iterable[str]) -> Packed:
        """The same, packed."""
        openings: list[Json] = [each.opening for each in self._shown(paths)]
        return _packed(self.kid, self.digests, self.signature, openings)

    def _shown(self, paths: Iterable[str]) -> list[Disclosure]:
        wanted = frozenset(paths)
        lists = {"identifiers"} if any(covered(each, ("identifiers",)) for each in wanted) else set()
        shown = wanted | lists
        return [
            each for each in self.disclosures if each.path in shown or each.path.partition(".")[0] in wanted
        ]


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
    signature = sign(_signed(issuer, kid, digests))
    return Credential(issuer, kid, digests, signature, opened)


def restore(
    fields: Mapping[str, Json], *, salts: Salts, issuer: str, kid: str, signature: bytes
) -> Credential:
    """The credential that `issue` made of the same fields, salts and names, from its signature alone.

    The signature is not verified here: the digest of the credential stands where it was committed to.
    """
    opened, digests = _hide(fields, salts)
    return Credential(issuer, kid, digests, signature, opened)


def disclosures(fields: Mapping[str, Json], *, salts: Salts) -> tuple[Disclosure, ...]:
    """What opens the credential of these fields and salts, which were issued once, without the rest of it."""
    return _opened(fields, salts, _drawn(salts, FIELDS, DIGESTS))


def packed_digest(packed: Packed, *, issuer: str) -> bytes:
    """SHA-256 of the signed part of a packed presentation; raises as `unpack` does."""
    kid, digests, signature, _ = _members(packed)
    return sha256(_jwt(_signed(issuer, kid, digests), signature).encode("ascii")).digest()


def covered(path: str, paths: Iterable[str]) -> bool:
    """Whether a disclosed `path` lies within `paths`, where `identifiers` covers every scheme."""
    allowed = frozenset(paths)
    return path in allowed or path.partition(".")[0] in allowed


def pack(presentation: str, *, issuer: str) -> Packed:
    """A presentation, packed; `Malformed` or `TooMuch` for the form, `Unproven` for another issuer."""
    jwt, texts = _split(presentation)
    parts = jwt.split(".")
    if len(parts) != 3:
        raise _malformed("jwt", jwt, "must have three parts")
    digests = b"".join(map(unb64u, _payload(parts[1], issuer)))
    return _packed(_header(parts[0]), digests, unb64u(parts[2]), [_decoded(text) for text in texts])


def unpack(packed: Packed, *, issuer: str) -> str:
    """The presentation that was packed; raises `Malformed` as `verify_packed` does."""
    kid, digests, signature, openings = _members(packed)
    texts = [_text(_array(opening)) for opening in openings]
    return "~".join([_jwt(_signed(issuer, kid, digests), signature), *texts, ""])


def verify(presentation: str, public_key: ec.EllipticCurvePublicKey, *, issuer: str) -> Verified:
    """Check a presentation against the issuer's name and P-256 key, and read what it discloses.

    1. It is `jwt~disclosure~...~` within the bounds, with no key binding, and header and payload are exactly
    those `issue` writes. 2. The signature holds. 3. Every disclosure opens one digest of the
    payload or of a disclosed list, no digest stands twice, no disclosure is left over.
    Raises `Malformed` or `TooMuch` for the form, `Unproven` for whatever the signature does not cover.
    """
    return verify_packed(pack(presentation, issuer=issuer), public_key, issuer=issuer)


def verify_packed(packed: Packed, public_key: ec.EllipticCurvePublicKey, *, issuer: str) -> Verified:
    """As `verify`, of a packed presentation out of canonical JSON."""
    kid, raw, signature, openings = _members(packed)
    signed = _signed(issuer, kid, raw)
    es256_verify(public_key, signature, signed)
    jwt, digests = _jwt(signed, signature), _texts(raw)
    closed = _by_digest(openings)
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


def _signed(issuer: str, kid: str, digests: bytes) -> bytes:
    """What the issuer signs: `header.payload`, both of them canonical JSON."""
    header = canonical.encode({"alg": ALG, "kid": kid, "typ": TYP})
    payload = canonical.encode({"_sd": _texts(digests), "_sd_alg": "sha-256", "iss": issuer})
    return f"{b64u(header)}.{b64u(payload)}".encode("ascii")


def _jwt(signed: bytes, signature: bytes) -> str:
    return f"{signed.decode('ascii')}.{b64u(signature)}"


def _texts(digests: bytes) -> list[str]:
    return b64u_each([digests[at : at + _DIGEST_BYTES] for at in range(0, len(digests), _DIGEST_BYTES)])


def _hide(fields: Mapping[str, Json], salts: Salts) -> tuple[tuple[Disclosure, ...], bytes]:
    _check_fields(fields)
    secrets = _drawn(salts, FIELDS, DIGESTS)
    opened = _opened(fields, salts, secrets)
    texts = [_text(each.opening) for each in opened if len(each.opening) == 3]
    return opened, b"".join(_among_decoys(texts, secrets))


def _opened(fields: Mapping[str, Json], salts: Salts, secrets: Sequence[bytes]) -> tuple[Disclosure, ...]:
    opened: list[Disclosure] = []
    for salt, name in zip(b64u_each(secrets[: len(fields)]), sorted(fields), strict=True):
        value = fields[name]
        if name in LISTS:
            elements, value = _hide_elements(name, value, salts)
            opened += elements
        opened.append(Disclosure(name, [salt, name, value]))
    return tuple(opened)


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
        Disclosure(_element_path(name, element), [salt, element])
        for salt, element in zip(b64u_each(secrets[: len(elements)]), elements, strict=True)
    ]
    digests = _among_decoys([_text(each.opening) for each in opened], secrets)
    return opened, [{"...": digest} for digest in b64u_each(digests)]


def _among_decoys(texts: list[str], secrets: Sequence[bytes]) -> list[bytes]:
    """The digests in an order that tells nothing, with one that opens nothing for each salt left over."""
    hidden = [text.encode("ascii") for text in texts]
    hidden += secrets[len(texts) :]
    return sorted([sha256(each).digest() for each in hidden])


def _drawn(salts: Salts, group: str, count: int) -> Sequence[bytes]:
    secrets = salts(group, count)
    if len(secrets) != count or not set(map(len, secrets)) <= _SALT_SIZES:
        rule = f"takes {count} salts of {SALT_BYTES} to {MAX_SALT_BYTES} bytes"
        raise _malformed(group, len(secrets), rule)
    return secrets


def _text(opening: list[Json]) -> str:
    return b64u(_written(opening))


def _written(opening: list[Json]) -> bytes:
    """The canonical JSON of what was checked to be of its subset."""
    return orjson.dumps(opening, option=orjson.OPT_SORT_KEYS)


def _digest(text: str) -> bytes:
    return sha256(text.encode("ascii")).digest()


def _element_path(name: str, element: Json) -> str:
    if name != "identifiers":
        return name
    scheme = element.get("scheme") if type(element) is dict else None
    if type(scheme) is not str or _SCHEME.fullmatch(scheme) is None:
        raise _malformed(name, element, "each element must be an object with a scheme")
    return f"{name}.{scheme}"


def _split(presentation: str) -> tuple[str, list[str]]:
    if len(presentation) > MAX_PRESENTATION_BYTES or presentation.count("~") > MAX_DISCLOSURES + 1:
        raise TooMuch("the presentation is too large", where="credential", why=_BOUNDS)
    jwt, *texts = presentation.split("~")
    if not presentation.isascii() or not texts or texts.pop() or not all(texts):
        raise _malformed("presentation", presentation, "must be jwt~disclosure~...~, ending in ~")
    return jwt, texts


def _packed(kid: str, digests: bytes, signature: bytes, openings: list[Json]) -> Packed:
    return {"kid": kid, "digests": b64u(digests), "signature": b64u(signature), "disclosures": openings}


def _members(packed: Packed) -> tuple[str, bytes, bytes, list[Json]]:
    """(kid, digests, signature, disclosures) of a packed presentation; `Malformed` for another form."""
    names = ("kid", "digests", "signature", "disclosures")
    kid, digests, signature, openings = (packed.get(name) for name in names)
    if set(packed) != set(names) or type(openings) is not list:
        raise _malformed("credential", sorted(packed), f"must hold {', '.join(names)}, and nothing else")
    if type(kid) is not str or type(digests) is not str or type(signature) is not str:
        raise _malformed("credential", "", "kid, digests and signature must be text")
    if len(openings) > MAX_DISCLOSURES:
        raise TooMuch("the presentation is too large", where="credential", why=_BOUNDS)
    raw = unb64u(digests)
    if len(raw) != DIGESTS * _DIGEST_BYTES:
        raise _malformed("digests", len(raw), f"must hold {DIGESTS} digests of {_DIGEST_BYTES} bytes")
    return kid, raw, unb64u(signature), openings


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
    if len(digests) != DIGESTS or {len(each) for each in digests} != {_DIGEST_CHARACTERS}:
        raise _malformed("_sd", len(digests), f"must hold {DIGESTS} digests of {_DIGEST_BYTES} bytes")
    return digests


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return type(value) is list and all(type(item) is str for item in value)


def _by_digest(openings: list[Json]) -> dict[str, list[Json]]:
    arrays = [_array(opening) for opening in openings]
    closed = {b64u(_digest(_text(array))): array for array in arrays}
    if len(closed) != len(arrays):
        raise Unproven("a disclosure stands twice in the presentation", where="credential")
    return closed


def _decoded(text: str) -> Json:
    return canonical.decode(unb64u(text))


def _array(opening: Json) -> list[Json]:
    if type(opening) is not list or not opening or type(opening[0]) is not str:
        raise _malformed("disclosure", opening, "must be [salt, name, value] or [salt, element]")
    if _SALT.fullmatch(opening[0]) is None:
        raise _malformed("disclosure", opening[0], f"a salt has {SALT_BYTES} to {MAX_SALT_BYTES} bytes")
    return opening


def _read_fields(digests: list[str], closed: dict[str, list[Json]]) -> dict[str, Json]:
    fields: dict[str, Json] = {}
    for digest in digests:
        if digest in closed:
            name, value = _read_field(closed.pop(digest))
            if name in fields:
                raise Unproven(f"the field {name} is disclosed twice", where="credential")
            fields[name] = value
    return fields


def _read_field(opening: list[Json]) -> tuple[str, Json]:
    name = opening[1] if len(opening) == 3 else None
    if type(name) is not str:
        raise _malformed("disclosure", opening, "must be [salt, name, value]")
    _check_name(name)
    if name not in LISTS:
        _check_keys(_written(opening))
    return name, opening[2]


def _placeholders(name: str, value: Json) -> list[str]:
    holders = value if type(value) is list else [None]
    digests = [holder.get("...") if type(holder) is dict else None for holder in holders]
    if not _are_texts(digests) or holders != [{"...": digest} for digest in digests]:
        raise _malformed(name, value, "must be a list of digests")
    return digests


def _read_elements(name: str, digests: list[str], closed: dict[str, list[Json]]) -> list[Json]:
    elements = [_read_element(name, closed.pop(digest)) for digest in digests if digest in closed]
    return sorted(elements, key=canonical.encode)


def _read_element(name: str, opening: list[Json]) -> Json:
    if len(opening) != 2:
        raise _malformed("disclosure", opening, "must be [salt, element]")
    _check_keys(_written(opening))
    _element_path(name, opening[1])
    return opening[1]


def _paths(fields: Mapping[str, Json]) -> tuple[str, ...]:
    names = [name for name in fields if name != "identifiers"]
    numbers = cast("list[Json]", fields.get("identifiers", []))
    return tuple(sorted(dict.fromkeys([*names, *(_element_path("identifiers", n) for n in numbers)])))


@lru_cache(maxsize=256)
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
