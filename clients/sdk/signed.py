"""Requests of an administration without a node, signed with its own key: RFC 9421, Ed25519.

Covered are the method, the address and the digest of the body, with a nonce that counts once and an end after
a minute; the key is named by its thumbprint (RFC 7638). The address must be the node's own, as on its card.
"""

import secrets
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver
from http_message_signatures.algorithms import ED25519
from joserfc.jwk import OKPKey

from node.errors import Malformed

LIFETIME: Final = timedelta(seconds=60)
LABEL: Final = "aeo"


def read_key(pem: bytes, where: str) -> Ed25519PrivateKey:
    """The key in a PEM text; `Malformed` when it is none, or of another kind."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise Malformed("the reader's key cannot be read", where=where, why=str(error)) from None
    if not isinstance(key, Ed25519PrivateKey):
        do = "make one with `aeo reader key`"
        raise Malformed("the reader's key is of another kind", where=where, why="it must be Ed25519", do=do)
    return key


def public_jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    """The public half, as the terms of an agreement name it."""
    told = OKPKey.import_key(key.public_key()).as_dict(private=False)
    return {name: str(told[name]) for name in ("kty", "crv", "x")}


@dataclass(frozen=True, slots=True)
class _Keys(HTTPSignatureKeyResolver):
    key: Ed25519PrivateKey

    def resolve_private_key(self, key_id: str) -> Ed25519PrivateKey:
        return self.key

    def resolve_public_key(self, key_id: str) -> Ed25519PrivateKey:
        raise KeyError(key_id)


class SignedBy(httpx.Auth):
    """Signs each request, and each repetition anew."""

    requires_request_body = True

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._signer = HTTPMessageSigner(signature_algorithm=ED25519, key_resolver=_Keys(key))
        self._name = str(OKPKey.import_key(key.public_key()).thumbprint())

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """The request with its signature."""
        now, message = datetime.now(UTC).replace(microsecond=0), _Message(request)
        self._signer.sign(
            message,
            key_id=self._name,
            created=now,
            expires=now + LIFETIME,
            nonce=secrets.token_urlsafe(18),
            label=LABEL,
            covered_component_ids=("@method", "@target-uri"),
            body=request.content,
        )
        request.headers.update(message.headers)
        yield request


class _Message:
    """What the signature library reads and writes."""

    def __init__(self, request: httpx.Request) -> None:
        self.method, self.url = request.method, str(request.url)
        self.headers = dict[str, str]()
