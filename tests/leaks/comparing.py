"""Two transcripts of one partner, compared: whatever is not named here must be the same, byte for byte.

`MAY_DIFFER` is all that may differ: values made out of random bytes and of what is hidden. Of those are
compared the kind, the length, and which of them is the same as which other, so that a value which comes
again, or changes when it should not, is seen. That they are made out of random bytes is not taken on trust:
see `stale`.
"""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

from node.errors import Refusal
from node.ledger import tiles
from node.ledger.encoding import b64u, unb64, unb64u
from node.records import credential

MAY_DIFFER: Mapping[str, str] = {
    "prev": "the hash of the entry before",
    "commit": "what a ledger entry commits to, under a salt",
    "private": "the commitment to who entered a change, and why",
    "credential": "the digest of a credential, which holds its random signature",
    "signature": "a signature over one of these, or a random one",
    "body": "a sealed body, or the digest of one: what it says is compared when it is opened",
    "sealed": "a sealed body as evidence carries it",
    "envelope": "the envelope of an epoch key: the key is compared",
    "salt": "which of its version's salts a field has: that moves with what is hidden",
    "rev": "the digest of what is told of agreements, with their random signatures",
}
"""Members of JSON that may differ, where they are texts or numbers."""
BY_DIGEST = "fields"
"""What was disclosed of an operator, whose members a reader has in the order of their digests."""
HASHES = ("consistency", "proof", "heartbeat_proof", "ledger_proof")
"""Members that are lists of hashes."""
ISSUERS = ("aeo.br.example", "aeo.uy.example")
HASH_BYTES, KEY_ID_BYTES, TIME_BYTES = 32, 4, 8
ED25519, ML_DSA_44 = 64, 2420


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value that may differ."""

    kind: str
    value: Any

    @property
    def size(self) -> int:
        """How long it is; of a number it does not count."""
        return 0 if isinstance(self.value, int) else len(self.value)


@dataclass(frozen=True, slots=True)
class Unordered:
    """Digests of what is hidden, in the order of the digests: it tells nothing, and so they are a set."""

    values: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer as it came."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def structured(self, path: str) -> dict[str, Any]:
        """What is compared of it; a length that is not that of the body stands for itself."""
        lengths = [int(value) for name, value in self.headers if name == "content-length"]
        kept = [pair for pair in self.headers if pair[0] != "content-length"]
        told: dict[str, Any] = {"status": self.status, "headers": kept}
        told["length"] = "the body's" if lengths == [len(self.body)] else lengths
        return told | _body(self.body, dict(self.headers), path)


def _body(body: bytes, headers: Mapping[str, str], path: str) -> dict[str, Any]:
    kind = headers.get("content-type", "")
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    if "json" in kind:
        value = orjson.loads(body)
        return {"body": structured(value), "surplus": len(body) - len(orjson.dumps(value))}
    if kind.startswith("text/"):
        return {"body": text(body.decode())}
    if headers.get("content-type") != "application/octet-stream":
        return {"body": body}
    if "/tile/entries/" in path:
        return {"body": [text(each.decode()) for each in tiles.decode_bundle(body)]}
    return {"body": _hashes(body)}


def _hashes(raw: bytes) -> list[Opaque]:
    return [Opaque("hash", raw[at : at + HASH_BYTES]) for at in range(0, len(raw), HASH_BYTES)]


def structured(value: Any, name: str = "") -> Any:
    """A value out of JSON, with what may differ marked."""
    if isinstance(value, dict):
        if set(value) >= {"kid", "digests", "signature", "disclosures"}:
            return _credential(value)
        if name == "epochs":
            return {number: Opaque("envelope", each) for number, each in value.items()}
        members = sorted(value.items()) if name == BY_DIGEST else value.items()
        return {key: structured(each, key) for key, each in members}
    if isinstance(value, list):
        if name in HASHES and all(isinstance(each, str) for each in value):
            return [Opaque("hash", each) for each in value]
        return [structured(each, name) for each in value]
    if isinstance(value, str):
        return text(value, name)
    return Opaque(name, value) if name == "rev" else value


def text(value: str, name: str = "") -> Any:
    """A text, by what it is: an opaque value, a presentation, hashes, JSON, or lines."""
    if name in MAY_DIFFER and "\n" not in value:
        return Opaque(name, value)
    if name == "leaves":
        return _hashes(unb64(value))
    if name == "presentation":
        return _presentation(value)
    if value[:1] == "{":
        try:
            return structured(orjson.loads(value))
        except orjson.JSONDecodeError:
            return value
    return [_line(each) for each in value.split("\n")] if "\n" in value else value


def _presentation(value: str) -> Any:
    for issuer in ISSUERS:
        try:
            return structured(credential.pack(value, issuer=issuer))
        except Refusal:
            continue
    return value


def _line(line: str) -> Any:
    """A line of a note, a proof or an entry: signatures and hashes are opaque, their names and times not."""
    if line.startswith("— "):
        return _signature(line)
    if line[:1] == "{":
        return text(line)
    try:
        raw = unb64(line)
    except Refusal:
        return line
    return Opaque("hash", raw) if len(raw) == HASH_BYTES else line


def _signature(line: str) -> Any:
    _, name, encoded = line.split(" ")
    raw = unb64(encoded)
    key, payload = raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:]
    for size in (ED25519, ML_DSA_44):
        if len(payload) in (size, size + TIME_BYTES):
            at = len(payload) - size
            return [name, key, payload[:at], Opaque("signature", payload[at:])]
    return line


def _credential(packed: Mapping[str, Any]) -> Any:
    """A packed presentation: what it opens, and of what it hides the number; the order, unless by digest."""
    opened = {_digest(opening) for opening in packed["disclosures"]}
    raw = unb64u(packed["digests"])
    digests = [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]
    others = {name: value for name, value in packed.items() if name not in ("digests", "disclosures")}
    openings = [
        [Opaque("salt", opening[0]), *(_value(each, opened) for each in opening[1:])]
        for opening in packed["disclosures"]
    ]
    return structured(others) | {"digests": _hidden(digests, opened), "disclosures": openings}


def _value(value: Any, opened: set[bytes]) -> Any:
    """A disclosed value; of a list whose elements are hidden one by one, as of the credential itself."""
    is_list = isinstance(value, list) and value and all(isinstance(each, dict) for each in value)
    if is_list and all(set(each) == {"..."} for each in value):
        return _hidden([unb64u(each["..."]) for each in value], opened)
    return value


def _hidden(digests: Sequence[bytes], opened: set[bytes]) -> Any:
    places = [at for at, each in enumerate(digests) if each in opened]
    order = len(places) if list(digests) == sorted(digests) else places
    return [order, Unordered(tuple(each for each in digests if each not in opened))]


def _digest(opening: Any) -> bytes:
    return sha256(b64u(orjson.dumps(opening, option=orjson.OPT_SORT_KEYS)).encode()).digest()


@dataclass
class Drawn:
    """What the node made out of random bytes about records that are new in a run, by kind."""

    values: dict[str, set[Any]] = field(default_factory=dict)

    def add(self, kind: str, *values: Any) -> None:
        """Note some."""
        self.values.setdefault(kind, set()).update(values)

    def note(self, body: Mapping[str, Any]) -> None:
        """Note what a disclosure shows."""
        packed, opened = body["credential"], body["ledger"]
        openings = {_digest(each) for each in packed["disclosures"]}
        raw = unb64u(packed["digests"])
        digests = {raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)}
        self.add("hidden digest", *(digests - openings))
        self.add("salt of a field", *(each[0] for each in packed["disclosures"]))
        self.add("record id", body["record_id"])
        self.add("salt of an entry", opened["salt"])
        self.add("commitment", orjson.loads(opened["entry"])["commit"])
        self.add("private part", orjson.dumps(opened["body"].get("private")))


def stale(one: Drawn, again: Drawn) -> Iterator[str]:
    """Which values stayed the same though the random bytes were others: they are made of the record alone."""
    for kind in sorted(one.values.keys() & again.values.keys()):
        same = one.values[kind] & again.values[kind]
        if same:
            yield f"{len(same)} of kind {kind!r} do not depend on random bytes"


class Comparison:
    """Walks two transcripts side by side."""

    def __init__(self) -> None:
        self._names: tuple[dict[Opaque, Opaque], dict[Opaque, Opaque]] = ({}, {})
        self._known: tuple[set[bytes], set[bytes]] = (set(), set())

    def differences(self, one: Any, other: Any, where: str = "") -> Iterator[str]:
        """Where the two differ, and how."""
        if _both(one, other, dict) and list(one) != list(other):
            yield f"{where}: {list(one)} | {list(other)}"
        elif _both(one, other, dict):
            for name in one:
                yield from self.differences(one[name], other[name], f"{where}/{name}")
        elif _both(one, other, (list, tuple)) and len(one) == len(other):
            for at, (left, right) in enumerate(zip(one, other, strict=True)):
                yield from self.differences(left, right, f"{where}/{at}")
        elif _both(one, other, Opaque):
            yield from self._renamed(one, other, where)
        elif _both(one, other, Unordered):
            yield from self._counted(one, other, where)
        elif one != other or type(one) is not type(other):
            yield f"{where}: {_short(one)} | {_short(other)}"

    def _renamed(self, one: Opaque, other: Opaque, where: str) -> Iterator[str]:
        if (one.kind, one.size) != (other.kind, other.size):
            yield f"{where}: {one.kind} of {one.size} | {other.kind} of {other.size}"
        elif self._names[0].setdefault(one, other) != other or self._names[1].setdefault(other, one) != one:
            yield f"{where}: a {one.kind} is the same as before on one side only"

    def _counted(self, one: Unordered, other: Unordered, where: str) -> Iterator[str]:
        told = []
        for side, known in zip((one, other), self._known, strict=True):
            told.append((len(side.values), len(known & set(side.values))))
            known |= set(side.values)
        if told[0] != told[1]:
            yield f"{where}: (digests, of which known before) {told[0]} | {told[1]}"


def _both(one: Any, other: Any, kind: Any) -> bool:
    return isinstance(one, kind) and isinstance(other, kind)


def _short(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 120 else f"{told[:120]}..."
