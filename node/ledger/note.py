"""Signed notes (C2SP signed-note v1) and timestamped cosignatures (C2SP tlog-cosignature).

A note is a text ending in a newline, a blank line, and one line for each signature. Key kinds here:
0x01 Ed25519 over the text; and two of cosignatures, which say of a checkpoint that it was the largest seen
at a time: 0x04 Ed25519, and 0x06 ML-DSA-44 (FIPS 204), which is also over the cosigner's name.
Guarantees that `open_note` returns only what at least one known key signed, and that no known key's
signature in the note is bad. Signatures of unknown keys are kept and mean nothing. Refuses control
characters, more than 64 signatures or 1 MiB, a key that signed twice, and any second spelling.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from node.errors import Malformed, Unproven, problem
from node.ledger.encoding import b64, parse_decimal, unb64

ED25519 = 0x01
COSIGNATURE = 0x04
ML_DSA_COSIGNATURE = 0x06
KEY_BYTES = {ED25519: 32, COSIGNATURE: 32, ML_DSA_COSIGNATURE: 1312}
COSIGNATURES = (COSIGNATURE, ML_DSA_COSIGNATURE)

MAX_NOTE_BYTES = 1 << 20
MAX_SIGNATURES = 64
MAX_TIME_S = (1 << 63) - 1

_NOT_IN_NAMES = re.compile(r"[\s+\x00-\x1f]")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_DASH = "\u2014 "
_KEY_ID_BYTES = 4
_TIME_BYTES = 8
_SUBTREE = b"subtree/v1\n\0"
_NAME_LIMIT_BYTES = 255
_ROOT_BYTES = 32
_SIZE_LIMIT = 1 << 64


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key and its owner: name, kind (one of `KEY_BYTES`), and so many bytes."""

    name: str
    kind: int
    public_key: bytes

    def __post_init__(self) -> None:
        """Refuse a name, kind or key that no note can carry."""
        check_name(self.name, "key name")
        if self.kind not in KEY_BYTES:
            raise _no_key(f"kind {self.kind:#04x}", "must be of kind 0x01, 0x04 or 0x06")
        if len(self.public_key) != KEY_BYTES[self.kind]:
            rule = f"must be a key of {KEY_BYTES[self.kind]} bytes"
            raise _no_key(f"{len(self.public_key)} bytes", rule)

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || kind || public key), the first 4 bytes."""
        return sha256(self.name.encode() + b"\n" + self._typed_key()).digest()[:_KEY_ID_BYTES]

    def vkey(self) -> str:
        """The key as one line of text: `name+hex(key id)+base64(kind || public key)`."""
        return f"{self.name}+{self.key_id.hex()}+{b64(self._typed_key())}"

    def _typed_key(self) -> bytes:
        return bytes([self.kind]) + self.public_key


def parse_vkey(vkey: str) -> Verifier:
    """The verifier that `Verifier.vkey` writes as this text; anything else is `Malformed`."""
    name, _, rest = vkey.partition("+")
    typed_key = unb64(rest.partition("+")[2])
    if not typed_key:
        raise _no_key(vkey, "must be name+key id+base64 of the key")
    verifier = Verifier(name, typed_key[0], typed_key[1:])
    if verifier.vkey() != vkey:
        raise _no_key(vkey, f"must be spelt {verifier.vkey()}")
    return verifier


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that can sign: `sign` gives its signature of the bytes it is handed."""

    name: str
    kind: int
    public_key: bytes
    sign: Callable[[bytes], bytes]

    def verifier(self) -> Verifier:
        """What others need to check this signer's signatures."""
        return Verifier(self.name, self.kind, self.public_key)


def ed25519_signer(name: str, private_key: Ed25519PrivateKey) -> Signer:
    """A signer of notes."""
    return Signer(name, ED25519, private_key.public_key().public_bytes_raw(), private_key.sign)


def ed25519_verifier(name: str, public_key: bytes) -> Verifier:
    """A verifier of notes; `Malformed` unless the key is 32 bytes."""
    return Verifier(name, ED25519, public_key)


def cosigner(name: str, private_key: Ed25519PrivateKey) -> Signer:
    """A signer of cosignatures, with a key that it uses for nothing else."""
    return Signer(name, COSIGNATURE, private_key.public_key().public_bytes_raw(), private_key.sign)


def ml_dsa_cosigner(name: str, private_key: MLDSA44PrivateKey) -> Signer:
    """A signer of cosignatures that outlast quantum computers."""
    return Signer(name, ML_DSA_COSIGNATURE, private_key.public_key().public_bytes_raw(), private_key.sign)


def cosigner_verifier(name: str, public_key: bytes) -> Verifier:
    """A verifier of cosignatures; `Malformed` unless the key is 32 bytes."""
    return Verifier(name, COSIGNATURE, public_key)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: key name, key id (4 bytes), what follows it, and a cosignature's time.

    `time_s` (seconds since the epoch) is known only once verified, and only for a cosignature.
    """

    name: str
    key_id: bytes
    payload: bytes
    time_s: int | None = None

    def line(self) -> str:
        """The line as it stands in a note, with its newline."""
        return f"{_DASH}{self.name} {b64(self.key_id + self.payload)}\n"


@dataclass(frozen=True, slots=True)
class Opened:
    """A note that held: its text, the verified signatures (one a key), and those of unknown keys."""

    text: str
    signatures: tuple[Signature, ...]
    unverified: tuple[Signature, ...]


def sign_note(text: str, signers: Iterable[Signer]) -> str:
    """The text and a signature of each signer. Raises `Malformed` for a text that no note can carry.

    A cosigner is `Malformed` here: its signature needs a time, see `cosign`.
    """
    _check_text(text)
    return f"{text}\n" + "".join(_signed(text, signer).line() for signer in signers)


def cosign(text: str, signer: Signer, time_s: int) -> str:
    """The cosignature line, with its newline, for a checkpoint's text as of a time in seconds.

    Append it to the checkpoint. Raises `Malformed` unless the signer is one of cosignatures, and for what an
    ML-DSA cosignature cannot be over: it takes a checkpoint, and names of at most 255 bytes.
    """
    _check_text(text)
    if signer.kind not in COSIGNATURES or not 0 <= time_s <= MAX_TIME_S:
        raise _no_key(signer.name, "must be of kind 0x04 or 0x06 to cosign, as of a time from 1970 on")
    payload = time_s.to_bytes(_TIME_BYTES, "big") + signer.sign(_cosigned(text, signer, time_s))
    return Signature(signer.name, signer.verifier().key_id, payload).line()


def read_note(note: str) -> tuple[str, tuple[Signature, ...]]:
    """The text and signatures of a note, *nothing verified*: enough to see whose keys to look up.

    Raises `Malformed` for anything that is not a signed note.
    """
    _check_characters(note)
    split = note.rfind("\n\n")
    if split < 0 or not note.endswith("\n"):
        raise _no_note(note, "must be a text, a blank line, and signature lines that each end in a newline")
    lines = note[split + 2 :].split("\n")[:-1]
    if not 1 <= len(lines) <= MAX_SIGNATURES:
        raise _no_note(f"{len(lines)} signatures", f"must have 1 to {MAX_SIGNATURES} signatures")
    return note[: split + 1], tuple(_parse_line(line) for line in lines)


def joined(before: str, new: str) -> str:
    """A note with the signatures of two on the same text, the newer one of each key."""
    (text, old_signatures), (same, signatures) = read_note(before), read_note(new)
    if text != same:
        return new
    by_key = {(each.name, each.key_id): each for each in (*old_signatures, *signatures)}
    return f"{text}\n" + "".join(each.line() for each in by_key.values())


def open_note(note: str, verifiers: Iterable[Verifier]) -> Opened:
    """Verify a note against the keys one knows.

    Raises `Malformed` if it is no note, or a known key signed twice; `Unproven` if a known key's
    signature is bad, or no known key signed.
    """
    text, signatures = read_note(note)
    known = _by_key(verifiers)
    verified, unverified = list[Signature](), list[Signature]()
    for signature in signatures:
        verifier = known.get((signature.name, signature.key_id))
        if verifier is None:
            unverified.append(signature)
        else:
            verified.append(_verified(text, signature, verifier))
    if len({(each.name, each.key_id) for each in verified}) != len(verified):
        raise _no_note(text, "must have at most one signature of each known key")
    if not verified:
        raise _not_signed(text, "no known key signed it")
    return Opened(text, tuple(verified), tuple(unverified))


def check_name(name: str, field: str) -> None:
    """Refuse as `Malformed` what cannot name a key or an origin: empty, white space, `+`, control."""
    if not name or _NOT_IN_NAMES.search(name) or not _is_utf8(name):
        rule = "must be a name such as aeo.br.example/ledger, without white space or +"
        raise Malformed("a name was refused", problems=[problem(field, name, rule)])


def _signed(text: str, signer: Signer) -> Signature:
    if signer.kind != ED25519:
        raise _no_key(signer.name, "must be of kind 0x01 to sign a note; a cosignature needs a time")
    return Signature(signer.name, signer.verifier().key_id, signer.sign(text.encode()))


def _verified(text: str, signature: Signature, verifier: Verifier) -> Signature:
    message, raw, time_s = text.encode(), signature.payload, None
    if verifier.kind in COSIGNATURES:
        time_s = int.from_bytes(raw[:_TIME_BYTES], "big")
        message, raw = _cosigned(text, verifier, time_s), raw[_TIME_BYTES:]
    try:
        _public(verifier).verify(raw, message)
    except InvalidSignature:
        raise _not_signed(text, f"the signature of {verifier.name} is bad") from None
    return Signature(signature.name, signature.key_id, signature.payload, time_s)


def _public(verifier: Verifier) -> Ed25519PublicKey | MLDSA44PublicKey:
    kind = MLDSA44PublicKey if verifier.kind == ML_DSA_COSIGNATURE else Ed25519PublicKey
    return kind.from_public_bytes(verifier.public_key)


def _cosigned(text: str, by: Signer | Verifier, time_s: int) -> bytes:
    """What a cosignature is over."""
    if by.kind == COSIGNATURE:
        return f"cosignature/v1\ntime {time_s}\n{text}".encode()
    origin, size, root = _tree(text)
    name = by.name.encode()
    if not 0 < len(name) <= _NAME_LIMIT_BYTES:
        raise _no_key(by.name, f"must have a name of at most {_NAME_LIMIT_BYTES} bytes")
    who = bytes([len(name)]) + name + time_s.to_bytes(_TIME_BYTES, "big")
    what = bytes([len(origin)]) + origin + bytes(8) + size.to_bytes(8, "big") + root
    return _SUBTREE + who + what


def _tree(text: str) -> tuple[bytes, int, bytes]:
    """Origin, size and root of a checkpoint's text, whatever lines follow."""
    lines = text.split("\n")
    if len(lines) < 4:
        raise _no_note(text, "must be a checkpoint to be cosigned: origin, size, root")
    origin, size, root = lines[0].encode(), parse_decimal(lines[1], "size"), unb64(lines[2])
    if not 0 < len(origin) <= _NAME_LIMIT_BYTES or size >= _SIZE_LIMIT or len(root) != _ROOT_BYTES:
        raise _no_note(
            text, "must have an origin of at most 255 bytes, a size of 64 bits, a root of 32 bytes"
        )
    return origin, size, root


def _by_key(verifiers: Iterable[Verifier]) -> dict[tuple[str, bytes], Verifier]:
    known: dict[tuple[str, bytes], Verifier] = {}
    for verifier in verifiers:
        same = known.setdefault((verifier.name, verifier.key_id), verifier)
        if same != verifier:
            raise _no_key(verifier.name, "must not share name and key id with another key")
    return known


def _parse_line(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise _no_note(line, "must have signature lines of a dash, a key name and base64")
    check_name(name, "key name")
    signed = unb64(encoded)
    if len(signed) <= _KEY_ID_BYTES:
        raise _no_note(line, "must have a key id and a signature in each signature line")
    return Signature(name, signed[:_KEY_ID_BYTES], signed[_KEY_ID_BYTES:])


def _check_text(text: str) -> None:
    _check_characters(text)
    if not text.endswith("\n"):
        raise _no_note(text, "must have a text that ends in a newline")


def _check_characters(note: str) -> None:
    if not _is_utf8(note) or len(note.encode()) > MAX_NOTE_BYTES:
        raise _no_note(note, f"must be UTF-8 of at most {MAX_NOTE_BYTES} bytes")
    if _CONTROL.search(note):
        raise _no_note(note, "must have no control character but the newline")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_note(shown: str, rule: str) -> Malformed:
    return Malformed("a signed note was refused", problems=[problem("note", shown, rule)])


def _no_key(shown: str, rule: str) -> Malformed:
    return Malformed("a note's key was refused", problems=[problem("key", shown, rule)])


def _not_signed(text: str, why: str) -> Unproven:
    return Unproven(
        "a signed note does not hold",
        where=text.partition("\n")[0],
        why=why,
        do="compare the key with the one pinned for this name, and keep the note if it should match",
    )
