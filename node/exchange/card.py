"""A node's card: its name, country, address and public keys, signed by its own log key.

To admit a peer is to pin its card. A card proves only that the holder of the log key wrote it; that the
key is the administration's must be checked by people, who compare `fingerprint` over another channel.
JWS compact serialization (RFC 7515), algorithm Ed25519 (RFC 9864), `typ` aeo-card+jws.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from node.errors import Malformed, Unproven, problem
from node.exchange import sealing
from node.keys import NodeKeys, public_raw
from node.ledger import canonical
from node.ledger.encoding import b64u, unb64u
from node.ledger.note import ML_DSA_COSIGNATURE, Verifier, cosigner_verifier, ed25519_verifier

TYPE = "aeo-card+jws"
LIMIT_CHARACTERS = 8_192
KEYS = ("log", "cosign", "cosign_pq", "credential", "seal")
VERSION = 2


@dataclass(frozen=True, slots=True)
class Card:
    """What a node says of itself; `text` is the signed card as it travels."""

    name: str
    country: str
    administration: str
    address: str
    keys: dict[str, Any]
    text: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the signed content, in groups of four hexadecimal digits, to be read aloud."""
        digest = hashlib.sha256(self.text.split(".")[1].encode()).hexdigest()[:32].upper()
        return " ".join(digest[i : i + 4] for i in range(0, 32, 4))

    @property
    def log_key(self) -> Ed25519PublicKey:
        """The key of its checkpoints and requests."""
        return Ed25519PublicKey.from_public_bytes(unb64u(self.keys["log"]))

    @property
    def credential_key(self) -> EllipticCurvePublicKey:
        """The key of its credentials and agreements."""
        public = ECKey.import_key(self.keys["credential"]).public_key
        if not isinstance(public.curve, SECP256R1):
            raise Malformed("a card has a credential key of another curve", where=self.name)
        return public

    @property
    def seal_key(self) -> X25519PublicKey:
        """The key that epoch keys are sealed to."""
        return X25519PublicKey.from_public_bytes(unb64u(self.keys["seal"]))

    def verifiers(self, origin: str) -> list[Verifier]:
        """Who may sign the checkpoint of a log of this node: the log's key, and its cosigner's two."""
        return [ed25519_verifier(origin, unb64u(self.keys["log"])), *self.cosigners]

    @property
    def cosigners(self) -> tuple[Verifier, Verifier]:
        """The keys of its timestamped cosignatures: Ed25519, ML-DSA-44."""
        name = cosigner_name(self.name)
        classic = cosigner_verifier(name, unb64u(self.keys["cosign"]))
        return classic, Verifier(name, ML_DSA_COSIGNATURE, unb64u(self.keys["cosign_pq"]))


def ledger_origin(name: str) -> str:
    """The origin of a node's ledger."""
    return f"{name}/ledger"


def channel_origin(issuer: str, agreement: str, partner: str) -> str:
    """The origin of the channel from the node `issuer` to the country `partner`."""
    return f"{issuer}/channel/{agreement}/{partner}"


def credential_kid(name: str) -> str:
    """The id of a node's key on the credentials that it issues."""
    return f"{name}#credential"


def cosigner_name(name: str) -> str:
    """The key name under which a node cosigns checkpoints."""
    return f"{name}/witness"


def write(name: str, country: str, administration: str, address: str, keys: NodeKeys) -> Card:
    """Write and sign the card of the node that holds `keys`."""
    credential = ECKey.import_key(keys.credential.public_key()).as_dict(private=False)
    content = {
        "v": VERSION,
        "name": name,
        "country": country,
        "administration": administration,
        "address": address,
        "keys": {
            "log": b64u(public_raw(keys.log)),
            "cosign": b64u(public_raw(keys.cosign)),
            "cosign_pq": b64u(public_raw(keys.cosign_pq)),
            "credential": {part: credential[part] for part in ("kty", "crv", "x", "y")},
            "seal": b64u(public_raw(keys.seal)),
        },
    }
    header = {"alg": "Ed25519", "typ": TYPE}
    text = jws.serialize_compact(header, canonical.encode(content), OKPKey.import_key(keys.log), ["Ed25519"])
    return read(text)


def read(text: str) -> Card:
    """Read a card and check its own signature; raises `Malformed` or `Unproven`."""
    text = text.strip()
    if len(text) > LIMIT_CHARACTERS or text.count(".") != 2:
        raise Malformed(
            "this is not a card",
            why="a card is three base64url parts with dots between",
            do="export it with `aeo card`",
        )
    card = _card(canonical.decode(unb64u(text.split(".")[1])), text)
    try:
        token = jws.deserialize_compact(text, OKPKey.import_key(card.log_key), ["Ed25519"])
    except (JoseError, ValueError) as error:
        raise Unproven(
            "the card's signature does not hold",
            where=card.name,
            why=str(error),
            do="ask its node for it again",
        ) from None
    if token.protected != {"alg": "Ed25519", "typ": TYPE}:
        raise Malformed("the card has another type", where=card.name)
    return card


def _card(content: canonical.Json, text: str) -> Card:
    names = {"v", "name", "country", "administration", "address", "keys"}
    if not isinstance(content, dict) or set(content) != names or content["v"] != VERSION:
        raise Malformed(f"this is not a card of version {VERSION}", do="export it with `aeo card`")
    texts = {name: content[name] for name in names - {"v", "keys"}}
    wrong = [
        problem(name, value, "must be a text of 1 to 200 characters")
        for name, value in texts.items()
        if not _is_text(value)
    ]
    keys = content["keys"]
    if not isinstance(keys, dict) or set(keys) != set(KEYS):
        wrong.append(problem("keys", keys, "must hold " + ", ".join(KEYS)))
    if wrong:
        raise Malformed("the card is not well formed", problems=wrong)
    card = Card(keys=keys, text=text, **texts)  # type: ignore[arg-type]  # checked to be texts just above
    return _with_usable_keys(card)


def _with_usable_keys(card: Card) -> Card:
    try:
        _ = card.log_key, card.credential_key, card.cosigners
        sealing.deliver(
            bytes(sealing.KEY_BYTES), card.seal_key, "trial", 1
        )  # some points cannot be sealed to
    except (ValueError, TypeError, JoseError, AttributeError) as error:
        raise Malformed("a key of the card cannot be used", where=card.name, why=str(error)) from None
    return card


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200
