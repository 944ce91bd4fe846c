"""Requests between nodes: RFC 9421 HTTP message signatures, Ed25519, each accepted once.

Covered: method, target URI (with the address on the recipient's card, so that a request cannot be sent
on to another node), content digest; with created, expires, nonce, and the sender's node name as keyid.
The library does not detect replay: `Replays` remembers every nonce until it expires, in the memory of a
node's one process, or in the store that its processes share. A signature made before that one process
started is refused, so that a restart forgets nothing that matters.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, HTTPSignatureKeyResolver
from http_message_signatures.algorithms import ED25519
from http_message_signatures.exceptions import HTTPMessageSignaturesException

from node.errors import Unauthenticated
from node.exchange.card import MOST_VALID

COVERED = ("@method", "@target-uri", "content-digest")
LABEL = "aeo"
LIFETIME_S = 60
NONCES_LIMIT = 200_000
UNFOUNDED = "the request's signature does not hold"
_ANY_TIME = timedelta(days=30_000)


@dataclass(slots=True)
class Message:
    """What the signature library reads and writes: method, full URL, headers (lower-case names)."""

    method: str
    url: str
    headers: dict[str, str]


class _Keys(HTTPSignatureKeyResolver):
    def __init__(
        self, private: Ed25519PrivateKey | None, public: Callable[[str], Ed25519PublicKey | None]
    ) -> None:
        self._private, self._public = private, public

    def resolve_private_key(self, key_id: str) -> Ed25519PrivateKey:
        if self._private is None:
            raise HTTPMessageSignaturesException("no private key here")
        return self._private

    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey:
        key = self._public(key_id)
        if key is None:
            raise HTTPMessageSignaturesException(f"{key_id} is not a peer")
        return key


class Replays(Protocol):
    """Remembers the nonces already used, each until its signature has expired."""

    def use(self, sender: str, nonce: str, created_s: int, expires_s: float, now_s: float) -> None:
        """Use a nonce once; `Unauthenticated` the second time, or when memory does not reach back."""


class RememberedReplays:
    """The memory of a node that is one process; `started_s` is when it begins."""

    def __init__(self, started_s: float) -> None:
        self._started_s = started_s
        self._until: dict[tuple[str, str], float] = {}

    def use(self, sender: str, nonce: str, created_s: int, expires_s: float, now_s: float) -> None:
        """Use a nonce once; `Unauthenticated` the second time, or when memory does not reach back."""
        if created_s < int(self._started_s):
            raise Unauthenticated("the request was signed before this node started", do="sign it again")
        if len(self._until) >= NONCES_LIMIT:
            self._until = {key: until for key, until in self._until.items() if until >= now_s}
        if len(self._until) >= NONCES_LIMIT:
            raise Unauthenticated(
                "too many requests at once to tell replays apart", do="try again in a minute"
            )
        if self._until.get((sender, nonce), -1.0) >= now_s:
            raise used_once(sender)
        self._until[sender, nonce] = expires_s


def used_once(sender: str) -> Unauthenticated:
    """The refusal of a request that was used before."""
    return Unauthenticated("the request was already used once", where=sender, do="sign each request anew")


def sign(
    method: str, url: str, body: bytes, sender: str, key: Ed25519PrivateKey, now_s: float
) -> dict[str, str]:
    """The headers that make a request of `sender`'s."""
    message = Message(method, url, {})
    signer = HTTPMessageSigner(signature_algorithm=ED25519, key_resolver=_Keys(key, lambda _: None))
    created = datetime.fromtimestamp(int(now_s), UTC)
    signer.sign(
        message,
        key_id=sender,
        created=created,
        expires=datetime.fromtimestamp(int(now_s) + LIFETIME_S, UTC),
        nonce=secrets.token_urlsafe(18),
        label=LABEL,
        covered_component_ids=COVERED[:2],
        body=body,
    )
    return {name.lower(): value for name, value in message.headers.items()}


def verify(
    message: Message,
    body: bytes,
    peer_keys: Callable[[str], Sequence[Ed25519PublicKey]],
    replays: Replays,
    now_s: float,
    skew_s: float,
) -> str:
    """The name of the peer that signed this request with one of its keys in use.

    `Unauthenticated` says why it is nobody's.
    """
    why = ""
    for number in range(MOST_VALID):
        keys = _Keys(None, partial(_key_at, peer_keys, number))
        verifier = HTTPMessageVerifier(signature_algorithm=ED25519, key_resolver=keys)
        verifier.max_clock_skew = _ANY_TIME  # `_fresh` judges the time, by the clock it is handed
        try:
            [result] = verifier.verify(message, max_age=None, require_components=COVERED, body=body)
        except (HTTPMessageSignaturesException, ValueError) as error:
            why = why or str(error)
        else:
            return _fresh(result.parameters, replays, now_s, skew_s)
    raise Unauthenticated(
        UNFOUNDED,
        why=why,
        do="sign it with a key of the log that is in use on your card, as it is pinned here",
    )


def _key_at(
    peer_keys: Callable[[str], Sequence[Ed25519PublicKey]], number: int, sender: str
) -> Ed25519PublicKey | None:
    keys = peer_keys(sender)
    return keys[number] if number < len(keys) else None


def _fresh(parameters: Mapping[str, object], replays: Replays, now_s: float, skew_s: float) -> str:
    sender, nonce = parameters.get("keyid"), parameters.get("nonce")
    created, expires = parameters.get("created"), parameters.get("expires")
    if not (
        isinstance(sender, str)
        and isinstance(nonce, str)
        and isinstance(created, int)
        and isinstance(expires, int)
    ):
        raise Unauthenticated("the signature must carry keyid, nonce, created and expires")
    if (
        created > now_s + skew_s
        or expires < now_s - skew_s
        or expires - created > 2 * LIFETIME_S
        or len(nonce) > 100
    ):
        raise Unauthenticated(
            "the signature is of another time",
            where=sender,
            why=f"created {created}, expires {expires}, now {int(now_s)}",
            do="set the clock of the sending node",
        )
    replays.use(sender, nonce, created, expires + skew_s, now_s)
    return sender
