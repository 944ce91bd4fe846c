"""Sealing: AES-256-GCM under a key that only those entitled hold.

A *sealed* body is nonce (12 bytes) || ciphertext || tag, made from a plaintext padded to a multiple of
`CLASS_BYTES`, so that its length tells little. Three kinds of key seal:

- the store key wraps record keys and epoch keys (associated data: whose key it is);
- a record key seals every version of its record, and the salts of its fields are derived from it
  (HKDF-Expand, RFC 5869), so that destroying it erases them all;
- an epoch key gives each entry of a channel the key that seals its body (HKDF-Expand), so that one body can
  be shown to a third party and no other; it reaches the partner by HPKE (RFC 9180: DHKEM X25519,
  HKDF-SHA256, AES-256-GCM; the context is bound in `info`).

Random bytes are handed in by the caller, but for the ephemeral key that HPKE draws itself.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from node.errors import Unproven
from node.ledger.entry import ChannelEntry

KEY_BYTES = 32
NONCE_BYTES = 12
SALT_BYTES = 16
CLASS_BYTES = 512

SUITE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)

Entropy = Callable[[int], bytes]
StoreKeys = Sequence[bytes]
"""The newest key of the store, which wraps, and behind it the one before, which still opens."""


def seal(key: bytes, plaintext: bytes, associated: bytes, nonce: bytes) -> bytes:
    """Pad and encrypt; `associated` must be given again to open it."""
    return nonce + AESGCM(key).encrypt(nonce, _pad(plaintext), associated)


def seal_once(key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Seal with a key that seals nothing else: whoever has key and plaintext can make the same bytes again.

    The nonce is drawn from both, so that even a key which sealed twice would show no more than equality.
    """
    drawn = expand(key, f"aeo/nonce/v1/{sha256(plaintext).hexdigest()}", NONCE_BYTES)
    return seal(key, plaintext, associated, drawn)


def unseal(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """The plaintext; `Unproven` when the key, the associated data or a byte of it is another."""
    try:
        padded = AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated)
    except (InvalidTag, ValueError):
        raise Unproven(
            "a sealed body does not open", why="its key, header or a byte of it was changed"
        ) from None
    return _unpad(padded)


def unseal_any(keys: StoreKeys, sealed: bytes, associated: bytes) -> bytes:
    """The plaintext of what one of these keys sealed; `Unproven` as `unseal`."""
    for each in keys[:-1]:
        with suppress(Unproven):
            return unseal(each, sealed, associated)
    return unseal(keys[-1], sealed, associated)


def wrap(store_keys: StoreKeys, key: bytes, owner: str, nonce: bytes) -> bytes:
    """Wrap a key for the store; `owner` names the record or the channel epoch it belongs to."""
    return nonce + AESGCM(store_keys[0]).encrypt(nonce, key, owner.encode())


def unwrap(store_keys: StoreKeys, wrapped: bytes, owner: str) -> bytes:
    """The wrapped key; `Unproven` when it belongs to somebody else or the store keys are others."""
    for each in store_keys:
        with suppress(InvalidTag, ValueError):
            return AESGCM(each).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], owner.encode())
    raise Unproven(
        "a stored key does not open", where=owner, why="the store key is not the one it was wrapped with"
    )


def salts(record_key: bytes, record_id: str, version: int) -> Callable[[str, int], list[bytes]]:
    """The salts (16 bytes each) of one record version, derived when asked: so many of one group."""

    def derive(group: str, count: int) -> list[bytes]:
        drawn = expand(record_key, f"aeo/salt/{record_id}/{version}/{group}", SALT_BYTES * count)
        return [drawn[at : at + SALT_BYTES] for at in range(0, len(drawn), SALT_BYTES)]

    return derive


def expand(key: bytes, label: str, size: int) -> bytes:
    """HKDF-Expand (RFC 5869, SHA-256) of a uniformly random key: up to 8,160 bytes."""
    return HKDFExpand(hashes.SHA256(), size, label.encode()).derive(key)


def entry_key(epoch_key: bytes, seq: int) -> bytes:
    """The key that seals the body of one entry of an epoch."""
    return expand(epoch_key, f"aeo/entry/v1/{seq}", KEY_BYTES)


def seal_body(epoch_key: bytes, entry: ChannelEntry, body: bytes) -> bytes:
    """The sealed body of a channel entry: the same bytes each time, bound to the rest of the entry."""
    return seal_once(entry_key(epoch_key, entry.seq), body, entry.header())


def deliver(epoch_key: bytes, partner: X25519PublicKey, channel: str, epoch: int) -> bytes:
    """The HPKE envelope (enc || ciphertext) that hands an epoch key to the partner."""
    return SUITE.encrypt(epoch_key, partner, _context(channel, epoch))


def receive(envelope: bytes, own: Sequence[X25519PrivateKey], channel: str, epoch: int) -> bytes:
    """The epoch key out of its envelope; `Unproven` when it was made for other keys, channel or epoch."""
    key = b""
    for each in own:
        with suppress(InvalidTag, ValueError):
            key = key or SUITE.decrypt(envelope, each, _context(channel, epoch))
    if not key:
        raise Unproven(
            "an epoch key does not open",
            where=f"{channel}, epoch {epoch}",
            why="it was sealed for another key or channel",
        )
    if len(key) != KEY_BYTES:
        raise Unproven("an epoch key has the wrong length", where=f"{channel}, epoch {epoch}")
    return key


def _context(channel: str, epoch: int) -> bytes:
    return f"aeo/epoch/v1\n{channel}\n{epoch}\n".encode()


def _pad(plaintext: bytes) -> bytes:
    """ISO/IEC 7816-4 padding: one 0x80, then zeros up to the class."""
    marked = plaintext + b"\x80"
    return marked + bytes(-len(marked) % CLASS_BYTES)


def _unpad(padded: bytes) -> bytes:
    plaintext, mark, rest = padded.rpartition(b"\x80")
    if not mark or rest.strip(b"\0") or len(padded) % CLASS_BYTES:
        raise Unproven("a sealed body has wrong padding")
    return plaintext
