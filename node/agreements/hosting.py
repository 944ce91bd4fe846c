"""Hosted readers: administrations without a node, which a direction names as served through its partner's.

A reader is named with its own public key (Ed25519, RFC 8037) in the text that issuer and host sign, so that
neither can let in another. Its requests are signed with that key, and name it by its thumbprint (RFC 7638).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from node.agreements.rules import Json

KEY_RULE = "must be a public Ed25519 key with exactly kty, crv and x, as `aeo reader key` prints it"


@dataclass(frozen=True, slots=True)
class Hosted:
    """One reader of a direction: ISO 3166-1 alpha-2 country, administration, thumbprint and key."""

    country: str
    administration: str
    thumbprint: str
    key: Ed25519PublicKey


def hosted(terms: Mapping[str, Any]) -> Iterator[Hosted]:
    """The readers that a direction names; `terms` as `document.direction_terms` makes them."""
    for each in terms["direction"].get("readers", []):
        key = Ed25519PublicKey.from_public_bytes(OKPKey.import_key(each["key"]).public_key.public_bytes_raw())
        yield Hosted(each["country"], each["administration"], thumbprint(each["key"]), key)


def thumbprint(key: Json) -> str:
    """The name of a key, by which a request says who signed it."""
    return str(OKPKey.import_key(key).thumbprint())


def key_fault(value: object) -> str:
    """What is wrong with the public key of a reader, or an empty text."""
    if not isinstance(value, dict) or set(value) != {"kty", "crv", "x"}:
        return KEY_RULE
    if (value["kty"], value["crv"]) != ("OKP", "Ed25519"):
        return KEY_RULE
    try:
        fits = OKPKey.import_key(value).as_dict(private=False).items() >= value.items()
    except (JoseError, ValueError, TypeError):
        return KEY_RULE
    return "" if fits else KEY_RULE
