"""Checks evidence, accusations and receipts of AEO Exchange offline, and says what holds and what does not.

    python verifier.py FILE POLICY

FILE was written by `aeo evidence` or `aeo receipt`, or kept as an accusation; POLICY is a trust policy (C2SP
tlog-policy) that names the issuer's ledger with the key that you trust, and the witnesses that must have
cosigned it.
Nothing else is trusted, asked or written: no node, no network, no other part of AEO Exchange. It needs
Python 3.11 or newer and the package `cryptography`, 50 or newer, and is meant to be read from its first
line to its last by whoever relies on it.

An evidence file says: by that moment, under that agreement, this is what the issuing administration had
told the reading one about that operator, and this is whether a benefit follows from it and why. It is
checked in numbered steps; what each one shows stands in its title. A step is passed, or failed with what
was expected and what was found; behind the first that failed none is reached. The evidence holds if every
step passed.

What it cannot show: that the reader was told nothing else about the operator, and that no other act was
signed under the agreement, for the reader chose what to put into the file. The issuer can: an entry in the
same channel or ledger, older than that moment, that is not in the file. Nor what the reader knew beyond the
file, such as an entry that failed verification.

Formats: C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-policy; RFC 6962 and RFC 9162 (Merkle
trees); RFC 7515 (JWS), RFC 9901 (SD-JWT), RFC 8785 (canonical JSON), all as AEO Exchange writes them.
"""

import json
import re
import sys
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from unicodedata import is_normalized

try:
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
except ImportError:
    print("This needs the package cryptography, 50 or newer: pip install cryptography", file=sys.stderr)
    sys.exit(2)

Json = Any
DATING_MS: Final = 60_000
"""How far the issuer's clocks may differ from each other, and from the reader's."""
ANSWERED_MS: Final = 300_000
"""How soon a question is answered."""
EVIDENCE: Final = "aeo-evidence/v1"
ACCUSATION: Final = "aeo-accusation/v1"
RECEIPT: Final = "c2sp.org/tlog-proof@v1"
LIMIT_BYTES: Final = 64 << 20
"""Of a file; it is held in memory as a whole."""


class Failed(Exception):  # noqa: N818  # a check failed
    """Something does not hold: what was expected, and what was found."""

    def __init__(self, expected: str, found: object) -> None:
        super().__init__(expected, found)
        self.expected, self.found = expected, str(found)[:300]


def need(holds: object, expected: str, found: object) -> None:
    """Go on only if something holds."""
    if not holds:
        raise Failed(expected, found)


# --- Bytes as text, each in its one spelling --------------------------------------------------------------


def unb64(text: Json) -> bytes:
    """The bytes of standard base64 with padding."""
    return _decoded(text, b64decode, lambda raw: b64encode(raw).decode(), "base64")


def unb64u(text: Json) -> bytes:
    """The bytes of URL-safe base64 without padding."""
    pad = "=" * (-len(text) % 4) if isinstance(text, str) else ""
    return _decoded(text, lambda given: urlsafe_b64decode(given + pad), b64u, "base64url")


def b64u(raw: bytes) -> str:
    """URL-safe base64 without padding."""
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(text: Json, read: Callable[[str], bytes], write: Callable[[bytes], str], form: str) -> bytes:
    need(isinstance(text, str), f"text in {form}", type(text).__name__)
    try:
        raw = read(text)
    except ValueError:
        raise Failed(f"text in {form}", text) from None
    need(write(raw) == text, f"{form} in its one spelling", text)
    return raw


def decimal(text: str) -> int:
    """A number from 0 on without leading zeros."""
    need(re.fullmatch("0|[1-9][0-9]{0,18}", text, re.ASCII), "a decimal number", text)
    return int(text)


def canonical(value: Json) -> bytes:
    """The canonical JSON (RFC 8785) of a value without fractions."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parsed(encoded: bytes) -> Json:
    """The value of canonical JSON; anything that would be written otherwise is refused."""
    try:
        value = json.loads(encoded, parse_float=_no_fraction, parse_constant=_no_fraction)
        _check_plain(value, 0)
        again = canonical(value)
    except (ValueError, RecursionError) as error:
        raise Failed("JSON", error) from None
    need(again == encoded, "canonical JSON", encoded[:80])
    return value


def _check_plain(value: Json, depth: int) -> None:
    """Whole numbers within 2^53, text in Unicode normal form C, names in ASCII, not too deep."""
    need(depth <= 32, "at most 32 levels", depth)
    if isinstance(value, dict):
        for name, each in value.items():
            need(name.isascii(), "names in ASCII", name)
            _check_plain(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            _check_plain(each, depth + 1)
    elif isinstance(value, str):
        need(is_normalized("NFC", value), "text in normal form C", value)
    elif isinstance(value, int):
        need(abs(value) < 1 << 53, "numbers within 2^53", value)


def _no_fraction(text: str) -> None:
    raise Failed("JSON without fractions", text)


def members(value: Json, names: str) -> list[Json]:
    """The members of an object that has exactly these names."""
    wanted = names.split()
    need(isinstance(value, dict) and set(value) == set(wanted), f"an object with {names}", value)
    return [value[name] for name in wanted]


def milliseconds(text: Json) -> int:
    """A moment such as 2026-11-22T14:00:00.123Z, in milliseconds since 1970."""
    form = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"
    need(
        isinstance(text, str) and re.fullmatch(form, text, re.ASCII),
        "a moment in UTC with milliseconds",
        text,
    )
    try:
        at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError:
        raise Failed("a moment that exists", text) from None
    return round((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def moment(ms: int) -> str:
    """A moment in UTC with milliseconds."""
    at = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


# --- Merkle trees (RFC 6962; verification as in RFC 9162, 2.1.3.2 and 2.1.4.2) ----------------------------


def leaf_hash(entry: bytes) -> bytes:
    """The hash of an entry of a log."""
    return sha256(b"\x00" + entry).digest()


def _parent(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def included(seq: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Entry number `seq` is in the tree of `size` entries under `root`."""
    need(0 <= seq < size, f"an entry below {size}", seq)
    at, last, reached = seq, size - 1, leaf
    for sibling in proof:
        need(last and len(sibling) == 32, "a proof of inclusion of the right length", len(proof))
        if at & 1 or at == last:
            reached = _parent(sibling, reached)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            reached = _parent(reached, sibling)
        at, last = at >> 1, last >> 1
    need(last == 0 and reached == root, f"entry {seq} in the tree of {size} that was signed", "another tree")


def begins(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """The tree of `new` entries begins with the tree of `old` entries."""
    need(0 <= old <= new, f"a tree of at most {new} entries", old)
    if old == 0:
        need(not proof and old_root == sha256().digest(), "the root of the empty tree", old_root.hex())
        return
    if old == new:
        need(not proof and old_root == new_root, f"one tree of {old} entries", "two")
        return
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    need(path and all(len(each) == 32 for each in path), "a proof of consistency", len(proof))
    first = second = path[0]
    for sibling in path[1:]:
        need(last, "a proof of consistency of the right length", len(proof))
        if at & 1 or at == last:
            first, second = _parent(sibling, first), _parent(sibling, second)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            second = _parent(second, sibling)
        at, last = at >> 1, last >> 1
    holds = (last, first, second) == (0, old_root, new_root)
    need(holds, f"the tree of {new} begins with the tree of {old}", "it begins otherwise")


# --- Signed notes, checkpoints and cosignatures -----------------------------------------------------------

LOG, COSIGNATURE, LASTING = 0x01, 0x04, 0x06
KEY_BYTES: Final = {LOG: 32, COSIGNATURE: 32, LASTING: 1312}


@dataclass(frozen=True)
class Key:
    """A public key: its name, its kind (a log's Ed25519; a witness's Ed25519, ML-DSA-44), its bytes."""

    name: str
    kind: int
    raw: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that name the key on a signature line."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.raw).digest()[:4]

    def holds(self, signature: bytes, text: str) -> int | None:
        """The time in seconds of a cosignature on a text, None of a log's signature; or `Failed`."""
        message, at = text.encode(), None
        if self.kind != LOG:
            at, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            message = self._cosigned(text, at)
        kind = mldsa.MLDSA44PublicKey if self.kind == LASTING else ed25519.Ed25519PublicKey
        try:
            kind.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            raise Failed(f"a good signature of {self.name}", "a bad one") from None
        return at

    def _cosigned(self, text: str, at: int) -> bytes:
        if self.kind == COSIGNATURE:
            return f"cosignature/v1\ntime {at}\n{text}".encode()
        tree = Checkpoint.of(text)
        name, origin = self.name.encode(), tree.origin.encode()
        who = bytes([len(name)]) + name + at.to_bytes(8, "big")
        return (
            b"subtree/v1\n\0"
            + who
            + bytes([len(origin)])
            + origin
            + bytes(8)
            + tree.size.to_bytes(8, "big")
            + tree.root
        )


def key_of(vkey: str) -> Key:
    """The key that is written `name+id+base64`."""
    name, _, rest = vkey.partition("+")
    identity, _, encoded = rest.partition("+")
    raw = unb64(encoded)
    need(raw and KEY_BYTES.get(raw[0]) == len(raw) - 1 and name, "a verifier key", vkey)
    key = Key(name, raw[0], raw[1:])
    need(key.id.hex() == identity, f"the key id {key.id.hex()}", identity)
    return key


@dataclass(frozen=True)
class Checkpoint:
    """The signed state of a log: whose, how many entries, and the root of their tree."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def of(cls, text: str) -> "Checkpoint":
        """Out of the three lines that are signed."""
        lines = text.split("\n")
        need(len(lines) == 4 and not lines[3] and lines[0], "a checkpoint of three lines", text)
        made = cls(lines[0], decimal(lines[1]), unb64(lines[2]))
        need(len(made.root) == 32 and len(made.origin.encode()) < 256, "a root of 32 bytes", lines[2])
        return made


@dataclass(frozen=True)
class Opened:
    """A checkpoint whose signatures by known keys all hold, and the times of the cosignatures by key."""

    checkpoint: Checkpoint
    signed: frozenset[Key]
    times: Mapping[Key, int]


def opened(note: Json, known: Iterable[Key]) -> Opened:
    """Open a signed note; a bad signature of a known key fails it, those of others mean nothing."""
    need(isinstance(note, str) and len(note) < 1 << 20, "a signed checkpoint", type(note).__name__)
    text, gap, lines = note.rpartition("\n\n")
    need(
        gap and lines.endswith("\n") and not re.search("[\x00-\x09\x0b-\x1f]", note),
        "a signed note",
        note[:80],
    )
    keys = {(key.name, key.id): key for key in known}
    times, signed = dict[Key, int](), set[Key]()
    for line in lines[:-1].split("\n"):
        parts = line.split(" ")
        need(len(parts) == 3 and parts[0] == "\u2014", "a signature line", line)
        raw = unb64(parts[2])
        key = keys.get((parts[1], raw[:4]))
        if key is not None:
            need(key not in signed, f"one signature of {key.name}", "two")
            at = key.holds(raw[4:], f"{text}\n")
            signed.add(key)
            times |= {} if at is None else {key: at}
    return Opened(Checkpoint.of(f"{text}\n"), frozenset(signed), times)


@dataclass
class Policy:
    """Which logs are trusted, and how many of which witnesses must have cosigned (C2SP tlog-policy)."""

    logs: list[Key] = field(default_factory=list)
    witnesses: dict[str, Key] = field(default_factory=dict)
    groups: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    quorum: str = ""

    @classmethod
    def of(cls, text: str) -> "Policy":
        """Read line by line; what is named must stand on a line before."""
        made = cls()
        strange = re.search("[\x00-\x08\x0b-\x1f\x7f]", text)
        need(strange is None, "no control characters but tab and newline", ascii(text[:80]))
        for line in text.split("\n"):
            words = line.split()
            if words and not words[0].startswith("#"):
                made._read(*words)
        need(made.quorum, "a quorum line", "none")
        return made

    def _key(self, vkey: str) -> Key:
        key = key_of(vkey)
        taken = {each.raw for each in (*self.logs, *self.witnesses.values())}
        need(key.raw not in taken, "each key once, so that nobody counts twice", vkey)
        return key

    def _read(self, word: str, *rest: str) -> None:
        known = {*self.witnesses, *self.groups}
        if word == "log" and len(rest) in (1, 2):
            self.logs.append(self._key(rest[0]))
            need(self.logs[-1].kind == LOG, "the key of a log", rest[0])
        elif word == "witness" and len(rest) in (2, 3) and rest[0] not in {*known, "none"}:
            self.witnesses[rest[0]] = self._key(rest[1])
            need(self.witnesses[rest[0]].kind != LOG, "the key of a witness", rest[1])
        elif word == "group" and len(rest) > 2 and rest[0] not in {*known, "none"}:
            listed = list(rest[2:])
            taken = [each for _, others in self.groups.values() for each in others]
            need(
                set(listed) <= known and len({*listed, *taken}) == len(listed) + len(taken),
                "members once",
                " ".join(rest),
            )
            count = {"any": 1, "all": len(listed)}.get(rest[1]) or decimal(rest[1])
            need(1 <= count <= len(listed), "a number of members", rest[1])
            self.groups[rest[0]] = (count, listed)
        elif word == "quorum" and len(rest) == 1 and rest[0] in {*known, "none"} and not self.quorum:
            self.quorum = rest[0]
        else:
            raise Failed("a line of a trust policy", f"{word} {' '.join(rest)}")

    def check(self, note: Json, log: Sequence[Key]) -> tuple[Opened, dict[str, int]]:
        """A checkpoint that one of these keys signed and a quorum cosigned, and by whom as of when."""
        found = opened(note, [*log, *self.witnesses.values()])
        need(found.checkpoint.origin == log[0].name, log[0].name, found.checkpoint.origin)
        need(found.signed & set(log), f"a signature of {found.checkpoint.origin}", "none")
        times = {name: found.times[key] for name, key in self.witnesses.items() if key in found.times}
        held = {"none", *times}
        for name, (count, listed) in self.groups.items():
            held |= {name} if sum(each in held for each in listed) >= count else set()
        need(self.quorum in held, f"cosignatures of the quorum {self.quorum}", ", ".join(times) or "none")
        return found, times


# --- Signatures with the keys of a card and of an agreement -----------------------------------------------


def es256(key: Json, signature: bytes, message: bytes, whose: str) -> None:
    """An ES256 signature (RFC 7518) holds under a P-256 key given as JWK."""
    kty, crv, x, y = members(key, "kty crv x y")
    need((kty, crv) == ("EC", "P-256") and len(signature) == 64, "a P-256 key and signature", (kty, crv))
    numbers = int.from_bytes(unb64u(x), "big"), int.from_bytes(unb64u(y), "big")
    raw = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        public = ec.EllipticCurvePublicNumbers(*numbers, ec.SECP256R1()).public_key()
        public.verify(raw, message, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        raise Failed(f"a good signature of {whose}", "a bad one") from None


def thumbprint(key: Json) -> str:
    """The name of a JWK (RFC 7638)."""
    return b64u(sha256(canonical({name: key[name] for name in ("crv", "kty", "x", "y")})).digest())


# --- What an evidence file is checked for, step by step ---------------------------------------------------


@dataclass
class Case:
    """The file, the policy, and what the steps so far have shown."""

    file: dict[str, Json]
    policy: Policy
    at_ms: int = 0
    ledger: Checkpoint = field(init=False)
    cosigned: dict[str, int] = field(default_factory=dict)
    card: dict[str, Json] = field(default_factory=dict)
    log: list[Key] = field(default_factory=list)
    signing: dict[str, list[Json]] = field(default_factory=dict)
    agreement: dict[str, Json] = field(default_factory=dict)
    direction: dict[str, Json] = field(default_factory=dict)
    state: str = ""
    channel: Checkpoint = field(init=False)
    proven_ms: int = 0
    proven_size: int = 0
    entries: list[tuple[dict[str, Json], Json]] = field(default_factory=list)
    shown: dict[str, Json] = field(default_factory=dict)
    fields: dict[str, Json] | None = None

    @property
    def day(self) -> str:
        """The day of the moment, in UTC."""
        return str(self.file["at"])[:10]

    @property
    def reader(self) -> str:
        """The country that was told."""
        return str(self.file["reader"])

    @property
    def disclosed(self) -> Json:
        """What the last disclosure opened; None when there is none."""
        found = [content for frame, content in self.entries if frame["kind"] == "disclosure"]
        return found[-1] if found else None

    @property
    def age_s(self) -> int:
        """How old the newest proof was at that moment, in seconds; of what was fetched, when it was told."""
        frame, content = self.entries[-1]
        told_ms = milliseconds(frame["time"]) if "told" in content else self.proven_ms
        return (self.at_ms - min(told_ms, self.proven_ms)) // 1000


Step = Callable[[Case], str]
STEPS: list[tuple[str, Step]] = []


def step(title: str) -> Callable[[Step], Step]:
    """The next of the numbered steps; it gives what was found, or raises `Failed`."""

    def add(function: Step) -> Step:
        STEPS.append((title, function))
        return function

    return add


QUESTION: Final = "purpose reference reader at about by identifier scheme salt"
NAMES: Final = (
    "kind tin at reader issuer later_keys agreement acts ledger channel heartbeat heartbeat_proof told answer"
)


@step("the file is evidence in its form, about one operator at one moment")
def _form(case: Case) -> str:
    members(case.file, NAMES + (" before" if "before" in case.file else ""))
    case.at_ms = milliseconds(case.file["at"])
    named = all(isinstance(case.file[name], str) for name in ("tin", "reader", "issuer"))
    need(
        named and re.fullmatch("[A-Z]{2}", case.reader),
        "a TIN, a reader's country and an issuer's card",
        case.reader,
    )
    return f"{case.file['tin']} at {case.file['at']}, as {case.reader} was told"


@step(
    "the issuer's card is signed with a key that the policy names for its ledger, or one that followed that"
)
def _card(case: Case) -> str:
    parts = case.file["issuer"].split(".")
    need(len(parts) == 3, "a card", case.file["issuer"][:80])
    need(parsed(unb64u(parts[0])) == {"alg": "Ed25519", "typ": "aeo-card+jws"}, "a card's header", parts[0])
    case.card = parsed(unb64u(parts[1]))
    members(case.card, "v name country administration address number keys succeeds")
    origin = f"{case.card['name']}/ledger"
    case.log = [Key(origin, LOG, unb64u(each["key"])) for each in case.card["keys"]["log"]]
    trusted = [number for number, key in enumerate(case.log) if key in case.policy.logs]
    need(
        trusted,
        f"a log that the policy names, with its key for {origin}",
        ", ".join(k.raw.hex() for k in case.log),
    )
    for before, after in zip(
        case.log[trusted[0] :], case.card["keys"]["log"][trusted[0] + 1 :], strict=False
    ):
        before.holds(unb64u(after["by"]), _endorsement(case.card, "log", after["key"]).decode())
    case.log = case.log[trusted[0] :]
    case.log[-1].holds(unb64u(parts[2]), f"{parts[0]}.{parts[1]}")
    followed = f", {len(case.log)} keys, each signed by the one before" if len(case.log) > 1 else ""
    return f"{case.card['name']}, {case.card['country']}{followed}"


def _endorsement(card: Json, use: str, key: Json) -> bytes:
    """What the older of two keys of a node signs: that this one follows it."""
    return canonical({"v": 1, "endorses": use, "key": key, "name": card["name"]})


@step("the issuer's ledger is signed with one of these keys, cosigned as the policy wants and by the issuer")
def _ledger(case: Case) -> str:
    found, case.cosigned = case.policy.check(case.file["ledger"], case.log)
    case.ledger = found.checkpoint
    _, stood_by_ms = _stood_by(case, case.file["ledger"], case.ledger.origin)
    by = (
        ", ".join(f"{name} at {moment(1000 * at)}" for name, at in case.cosigned.items())
        or "nobody, which suffices"
    )
    return f"{case.ledger.size} entries, cosigned by {by}; the issuer stood by it at {moment(stood_by_ms)}"


@step("the agreement is between the two and names the issuer as its card does")
def _agreement(case: Case) -> str:
    document = case.file["agreement"]
    title, parties, terms, contract = _document(document)
    sha, text = members(contract, "sha256 text")
    need(sha256(text.encode()).hexdigest() == sha, "the hash of the contract's text", sha)
    party = {each["country"]: each for each in parties}
    own = party.get(case.card["country"], {})
    need(own.get("name") == case.card["name"], f"{case.card['name']} as the issuer", own.get("name"))
    keys = [each["key"] for each in case.card["keys"]["credential"]]
    need(own["key"] in keys, "the issuer with a key of its card", own["key"])
    case.agreement = document
    case.signing = _signing(case, document, case.file["later_keys"])
    case.direction = terms["directions"].get(f"{case.card['country']}-{case.reader}") or {}
    need(case.direction and case.reader in party, f"a direction to {case.reader}", list(terms["directions"]))
    return f"{title}, {b64u(sha256(canonical(document)).digest())}, contract {sha}"


@step("every act is signed, and stands in the issuer's ledger by that moment")
def _acts(case: Case) -> str:
    acts = [_act(case, each, case.agreement, case.signing) for each in case.file["acts"]]
    chain, wanted = [(case.agreement, acts)], case.agreement.get("supersedes")
    for given in case.file.get("before", ()):
        document, later, acts_before = members(given, "agreement later_keys acts")
        _document(document)
        found = b64u(sha256(canonical(document)).digest())
        need(found == wanted, f"the agreement that was replaced, {wanted}", found)
        signing = _signing(case, document, later)
        chain.append((document, [_act(case, each, document, signing) for each in acts_before]))
        wanted = document.get("supersedes")
    acts = _carried(chain, case.day)
    case.state = _state(acts, (case.card["country"], case.reader), case.day)
    return f"{len(acts)} acts; the direction was {case.state}"


def _document(document: Json) -> tuple[Json, Json, Json, Json]:
    """The title, parties, terms and contract of an agreement."""
    names = "v title parties terms contract drafted_on nonce"
    _, title, parties, terms, contract, *_ = members(
        document, names + (" supersedes" if "supersedes" in document else "")
    )
    return title, parties, terms, contract


def _signing(case: Case, document: Json, later_keys: Json) -> dict[str, list[Json]]:
    """By country the keys with which each party of an agreement signs: the one named, and those after it."""
    signing, own = {}, [each["key"] for each in case.card["keys"]["credential"]]
    for each in document["parties"]:
        later = later_keys.get(each["country"], [])
        if each["country"] == case.card["country"]:
            need(each["key"] in own, "the issuer with a key of its card", each["key"])
            later = case.card["keys"]["credential"][own.index(each["key"]) + 1 :]
        signing[each["country"]] = _followed(each, later)
    return signing


def _carried(chain: Sequence[tuple[Json, list[Json]]], today: str) -> list[Json]:
    """The acts that have effect under an agreement, which replaced the next in the chain, and so on.

    It did from the day on which it is signed and its terms begin, if all that the old one bound then are its
    parties. What had not ended by that day goes on, but for a start that lacks what the new terms ask for.
    """
    (new, own), *older = chain
    if not older:
        return own
    before, terms = _carried(older, today), new["terms"]
    signed = [each["effective"] for each in own if each["act"] == "sign"]
    day = max(min(signed), terms["from"]) if signed else ""
    gone = {each["issuer"] for each in before if each["act"] == "leave" and each["effective"] <= day}
    bound = {each["country"] for each in older[0][0]["parties"]} - gone
    is_whole = bound <= {each["country"] for each in new["parties"]}
    if not day or day > today or not is_whole or all(each["act"] != "sign" for each in before):
        return own

    def goes_on(act: Json) -> bool:
        if act["act"] == "sign":
            return False
        if act["partner"] is None:
            return bool(act["effective"] > day)
        asked = terms["preconditions"][act["mode"]] if act["mode"] else []
        is_over = _state(before, (act["issuer"], act["partner"]), day) == "TERMINATED"
        return not is_over and set(asked) <= set(act["preconditions_met"])

    return [*own, *filter(goes_on, before)]


def _followed(party: Json, later: Json) -> list[Json]:
    """The key that the agreement names for a party, and those after it, each signed by the one before."""
    keys = [party["key"]]
    for each in later:
        message = _endorsement(party, "credential", each["key"])
        es256(keys[-1], unb64u(each["by"]), message, f"{party['country']} on its next key")
        keys.append(each["key"])
    return keys


def _act(case: Case, given: Json, agreement: Json, signing: dict[str, list[Json]]) -> Json:
    """One act with the signatures it needs, opened from the ledger."""
    entry, salt, body, proof = members(given, "entry salt body proof")
    recorded = _ledger_entry(case, entry, salt, body, proof, "agreement")
    need(milliseconds(recorded["time"]) <= case.at_ms, f"entered by {case.file['at']}", recorded["time"])
    payload, signatures = members(body["instrument"], "payload signatures")
    act = parsed(unb64u(payload))
    digest = b64u(sha256(canonical(agreement)).digest())
    need(act["agreement"] == digest, "an act on this agreement", act["agreement"])
    issuer, partner, whole = act["issuer"], act["partner"], act["issuer"] is None and act["partner"] is None
    named = isinstance(issuer, str) and isinstance(partner, str) and issuer != partner
    alone = isinstance(issuer, str) and partner is None
    forms = {"sign": whole, "terminate": whole or named, "leave": alone}
    need(forms.get(act["act"], named), "an act in its form", f"{act['act']} of {issuer}, {partner}")
    party = {each["country"]: each for each in agreement["parties"]}
    signed = set()
    for each in signatures:
        protected, signature = members(each, "protected signature")
        country, _, name = str(parsed(unb64u(protected)).get("kid")).partition(":")
        need(country in party, "a signature of a party", country)
        key = next((each for each in signing[country] if thumbprint(each) == name), None)
        wanted = {"alg": "ES256", "kid": f"{country}:{name}", "typ": "aeo-act+jws"}
        need(key and parsed(unb64u(protected)) == wanted, "a signature with the party's key", name)
        es256(key, unb64u(signature), f"{protected}.{payload}".encode(), f"{country} on {act['act']}")
        signed.add(country)
    bound = {act["issuer"], act["partner"] or act["issuer"]} if act["issuer"] else set(party)
    is_end_of_all = act["act"] == "terminate" and not act["issuer"] and len(party) > 2
    stops = act["act"] in ("suspend", "terminate", "leave") and not is_end_of_all
    enough = bound & signed if stops else bound <= signed
    need(enough, f"{act['act']} signed by {', '.join(sorted(bound))}", ", ".join(sorted(signed)))
    return act | {"id": b64u(sha256(unb64u(payload)).digest())}


def _concerns(act: Json, pair: tuple[str, str]) -> bool:
    """Whether an act is about this direction, by name, by a party of it that leaves, or with all others."""
    if act["partner"] is None:
        return act["issuer"] is None or act["issuer"] in pair
    return (act["issuer"], act["partner"]) == pair


def _state(acts: Sequence[Json], pair: tuple[str, str], day: str) -> str:
    """The state that the acts make of a direction on a day: the strongest fact wins."""
    of = [each for each in acts if each["effective"] <= day]
    of = [each for each in of if _concerns(each, pair)]
    kinds = {each["act"] for each in of}
    lifted = {one for each in of if each["act"] == "resume" for one in each["lifts"]}
    modes = {each["mode"] for each in of if each["act"] == "start"}
    if kinds & {"terminate", "leave"}:
        return "TERMINATED"
    if "sign" not in kinds:
        return "NEGOTIATING"
    if any(each["act"] == "suspend" and each["id"] not in lifted for each in of):
        return "SUSPENDED"
    return "IN_OPERATION" if "operation" in modes else "PILOT" if "pilot" in modes else "SIGNED"


@step(
    "the channel to the reader is signed by the issuer, and its state at that moment is the beginning of it"
)
def _channel(case: Case) -> str:
    agreement = b64u(sha256(canonical(case.agreement)).digest())
    origin = f"{case.card['name']}/channel/{agreement}/{case.reader}"
    case.channel, _ = _stood_by(case, case.file["channel"], origin)
    then, case.proven_ms = _stood_by(case, case.file["heartbeat"], origin)
    case.proven_size = then.size
    need(case.proven_ms <= case.at_ms, f"a checkpoint by {case.file['at']}", moment(case.proven_ms))
    proof = [unb64(each) for each in case.file["heartbeat_proof"]]
    begins(then.size, case.channel.size, then.root, case.channel.root, proof)
    return f"{origin}, {then.size} entries as of {moment(case.proven_ms)}, {case.channel.size} in all"


def _stood_by(case: Case, note: Json, origin: str) -> tuple[Checkpoint, int]:
    """A checkpoint with all the issuer's signatures, and when the issuer last stood by it."""
    name = f"{case.card['name']}/witness"
    keys = [Key(origin, LOG, key.raw) for key in case.log]
    for kind, use in ((COSIGNATURE, "cosign"), (LASTING, "cosign_pq")):
        keys += [Key(name, kind, unb64u(each["key"])) for each in case.card["keys"][use]]
    found = opened(note, keys)
    need(found.checkpoint.origin == origin, origin, found.checkpoint.origin)
    kinds = {key.kind for key in found.signed}
    need(kinds == {LOG, COSIGNATURE, LASTING}, "signatures of the issuer of three kinds", sorted(kinds))
    return found.checkpoint, 1000 * max(at for key, at in found.times.items() if key.kind == COSIGNATURE)


@step("every entry stands in the channel, opens, and was written by that moment")
def _told(case: Case) -> str:
    last = -1
    for given in case.file["told"]:
        entry, key, sealed, proof, _ = members(given, "entry key sealed proof ledger_proof")
        frame = parsed(entry.encode())
        _, channel, seq, _, time, kind, _, body = members(frame, "v channel seq prev time kind epoch body")
        need(
            channel == case.channel.origin and seq > last,
            "later entries of this channel, in order",
            (channel, seq),
        )
        need(milliseconds(time) <= case.at_ms, f"written by {case.file['at']}", time)
        is_behind = seq >= case.proven_size
        dated_ms = milliseconds(time) + DATING_MS
        need(not is_behind or dated_ms >= case.proven_ms, f"dated after {moment(case.proven_ms)}", time)
        included(
            seq,
            case.channel.size,
            leaf_hash(entry.encode()),
            [unb64(each) for each in proof],
            case.channel.root,
        )
        raw = unb64(sealed)
        need(b64u(sha256(raw).digest()) == body, f"the sealed body of entry {seq}", "another")
        header = canonical({name: value for name, value in frame.items() if name != "body"})
        content = parsed(_unsealed(unb64(key), raw, header))
        need(kind in ("disclosure", "tombstone"), "a disclosure or a tombstone", kind)
        case.entries.append((frame | {"given": given}, content))
        last = seq
    records = {content.get("record_id") for _, content in case.entries}
    need(len(records) == 1, "entries about one record", records)
    need(case.disclosed is not None, "a disclosure, which says who it is about", "none")
    behind = sum(frame["seq"] >= case.proven_size for frame, _ in case.entries)
    more = f"; {behind} of them after that checkpoint" if behind else ""
    return f"{len(case.entries)} entries, the last of {case.entries[-1][0]['time']}{more}"


def _unsealed(key: bytes, sealed: bytes, header: bytes) -> bytes:
    try:
        padded = AESGCM(key).decrypt(sealed[:12], sealed[12:], header)
    except (InvalidTag, ValueError):
        raise Failed("a body that opens with its key", "it does not") from None
    plain, mark, rest = padded.rpartition(b"\x80")
    need(mark and not rest.strip(b"\0"), "a padded body", "another form")
    return plain


@step("every disclosure rests on an entry of the issuer's ledger that commits to this very credential")
def _commitments(case: Case) -> str:
    places = []
    for frame, content in case.entries:
        if frame["kind"] != "disclosure":
            members(content, "v record_id")
            continue
        is_fetched = case.direction.get("mode") == "ON_DEMAND"
        names = "v record_id credential ledger" + (" told" if is_fetched else "")
        _, record_id, credential, opening, *asked = members(content, names)
        for each in asked:
            members(each, QUESTION)
        entry, salt, body = members(opening, "entry salt body")
        found = _ledger_entry(case, entry, salt, body, frame["given"]["ledger_proof"], "record")
        need(body.get("record_id") == record_id, f"an entry about {record_id}", body.get("record_id"))
        need(
            body.get("credential") == _credential_digest(case, credential),
            "this credential",
            body.get("credential"),
        )
        places.append(found["seq"])
    need(places == sorted(places), "ledger entries that do not go back", places)
    return f"ledger entries {', '.join(map(str, places))}"


def _ledger_entry(case: Case, entry: str, salt: Json, body: Json, proof: Json, kind: str) -> Json:
    """An entry of the issuer's ledger, with the body that it commits to."""
    found = parsed(entry.encode())
    _, country, seq, _, _, of, commit = members(found, "v country seq prev time type commit")
    need((country, of) == (case.card["country"], kind), f"a {kind} of {case.card['country']}", (country, of))
    committed = sha256(b"\x02" + unb64u(salt) + canonical(body)).digest()
    need(
        len(unb64u(salt)) == 32 and b64u(committed) == commit, f"what entry {seq} commits to", "another body"
    )
    hashes = [unb64(each) for each in proof]
    included(seq, case.ledger.size, leaf_hash(entry.encode()), hashes, case.ledger.root)
    return found


def _signed_part(case: Case, credential: Json) -> tuple[str, list[str], bytes]:
    """The header and payload of a credential, its digests, and its signature."""
    kid, digests, signature, _ = members(credential, "kid digests signature disclosures")
    raw = unb64u(digests)
    need(len(raw) == 40 * 32, "40 digests", len(raw) // 32)
    listed = [b64u(raw[at : at + 32]) for at in range(0, len(raw), 32)]
    header = canonical({"alg": "ES256", "kid": kid, "typ": "aeo-operator+sd-jwt"})
    payload = canonical({"_sd": listed, "_sd_alg": "sha-256", "iss": case.card["name"]})
    return f"{b64u(header)}.{b64u(payload)}", listed, unb64u(signature)


def _credential_digest(case: Case, credential: Json) -> str:
    signed, _, signature = _signed_part(case, credential)
    return b64u(sha256(f"{signed}.{b64u(signature)}".encode()).digest())


@step("the last disclosure is of this operator: signed by the issuer, every field hanging on the signature")
def _credential(case: Case) -> str:
    credential, record_id = case.disclosed["credential"], case.disclosed["record_id"]
    signed, digests, signature = _signed_part(case, credential)
    seq = parsed(case.disclosed["ledger"]["entry"].encode())["seq"]
    key = _key_at(case, credential["kid"], seq)
    es256(key, signature, signed.encode(), f"{case.card['name']} on the credential")
    closed = {
        b64u(sha256(b64u(canonical(each)).encode()).digest()): each for each in credential["disclosures"]
    }
    need(len(closed) == len(credential["disclosures"]), "each disclosure once", "one stands twice")
    salts = [len(unb64u(each[0])) for each in credential["disclosures"]]
    need(all(size >= 16 for size in salts), "salts of 16 bytes or more", min(salts, default=0))
    fields = {}
    for digest in digests:
        if digest in closed:
            _, name, value = closed.pop(digest)
            need(name not in fields, f"{name} once", "twice")
            fields[name] = value
    for name in ("identifiers", "roles", "sites"):
        if isinstance(fields.get(name), list):
            places = [each["..."] for each in fields[name]]
            shown = [closed.pop(place) for place in places if place in closed]
            need(all(len(each) == 2 for each in shown), "[salt, element]", name)
            fields[name] = sorted((each[1] for each in shown), key=canonical)
    need(not closed, "no disclosure that the signature does not reach", len(closed))
    need(
        (fields.get("record_id"), fields.get("country")) == (record_id, case.card["country"]),
        record_id,
        fields,
    )
    need(fields.get("tin") == case.file["tin"], case.file["tin"], fields.get("tin"))
    case.shown = fields
    if case.entries[-1][0]["kind"] == "tombstone":
        return f"{case.file['tin']}; the record had left the reader's view since"
    case.fields = fields
    return ", ".join(
        f"{name} {fields[name]}" for name in ("legal_name", "status", "valid_to") if name in fields
    )


def _key_at(case: Case, kid: Json, seq: int) -> Json:
    """The issuer's key of this name, if it counted at this entry of the ledger."""
    for each in case.card["keys"]["credential"]:
        if kid == f"{case.card['name']}#{thumbprint(each['key'])}":
            counts = each["from"] <= seq and (each["until"] is None or seq < each["until"])
            need(counts, f"a key that counted at ledger entry {seq}", f"{each['from']} to {each['until']}")
            return each["key"]
    raise Failed("a key of the issuer's card", kid)


@step("what was fetched answers questions that the reader signed shortly before, the last by a number shown")
def _questions(case: Case) -> str:
    fetched = [(frame, content["told"]) for frame, content in case.entries if "told" in content]
    for frame, told in fetched:
        _question(case, frame, told)
    if not fetched:
        return "nothing was fetched: the agreement has records mirrored"
    identifier, scheme = fetched[-1][1]["identifier"], fetched[-1][1]["scheme"]
    shown = [("TIN", case.shown["tin"])]
    shown += [(each["scheme"], each["value"]) for each in case.shown.get("identifiers", [])]
    wanted = re.sub(r"[\s./-]", "", identifier).upper()
    is_shown = any(wanted == value and scheme in ("", of) for of, value in shown)
    need(is_shown, f"the operator with {scheme} {identifier}", shown)
    return f"{len(fetched)} questions, the last of {fetched[-1][1]['at']}, by {identifier}"


def _question(case: Case, frame: Json, told: Json) -> None:
    """What an entry answers was asked by the reader, by this identifier, shortly before."""
    members(told, QUESTION)
    named, salt = canonical({name: told[name] for name in ("identifier", "scheme")}), unb64u(told["salt"])
    committed = b64u(sha256(b"\x02" + salt + named).digest())
    need(len(salt) == 32 and committed == told["about"], "a question by the number it names", "by another")
    of = {"agreement": b64u(sha256(canonical(case.agreement)).digest()), "issuer": case.card["country"]}
    asked = {name: told[name] for name in ("purpose", "reference", "reader", "at", "about")}
    message = canonical({"v": 1, "asks": "fetch", "partner": case.reader} | of | asked)
    is_signed = any(_is_signed(key, unb64u(told["by"]), message) for key in case.signing[case.reader])
    need(is_signed, f"a question signed by {case.reader}", "one that it did not sign")
    passed_ms = milliseconds(frame["time"]) - milliseconds(told["at"])
    is_soon = -DATING_MS <= passed_ms <= ANSWERED_MS + DATING_MS
    need(is_soon, f"an answer soon after {told['at']}", frame["time"])


def _is_signed(key: Json, signature: bytes, message: bytes) -> bool:
    try:
        es256(key, signature, message, "the reader on a question")
    except Failed:
        return False
    return True


@step("no field goes beyond what the agreement lets the issuer disclose")
def _bounds(case: Case) -> str:
    allowed = case.direction["fields"]
    paths = {name for name in case.shown if name != "identifiers"}
    paths |= {f"identifiers.{each['scheme']}" for each in case.shown.get("identifiers", [])}
    beyond = [path for path in sorted(paths) if path not in allowed and path.partition(".")[0] not in allowed]
    need(not beyond, "fields of the agreement", ", ".join(beyond))
    return f"{len(paths)} of {len(allowed)} fields"


@step("the answer follows from all that")
def _answer(case: Case) -> str:
    status, reasons = answer(
        case.agreement["terms"], case.direction, case.state, case.fields, case.day, case.age_s
    )
    found = {"status": status, "applies": not reasons, "reasons": reasons, "age_s": case.age_s}
    need(found == case.file["answer"], json.dumps(found), json.dumps(case.file["answer"]))
    return f"{status}: " + ("the benefit applied" if not reasons else "no benefit: " + "; ".join(reasons))


def answer(
    terms: Json, direction: Json, state: str, fields: Json, day: str, age_s: int
) -> tuple[str, list[str]]:
    """(the status as it had to be read on that day, every reason why the benefit did not apply)."""
    reasons = []
    if state != "IN_OPERATION":
        reasons.append(f"the agreement is {state.lower().replace('_', ' ')} in this direction")
    if fields is None:
        return "NOT_SHARED", [*reasons, "the issuer no longer shares this record with us"]
    status, valid_to = fields["status"], fields.get("valid_to")
    if valid_to is not None and valid_to < day and status in ("ACTIVE", "SUSPENDED"):
        status = "EXPIRED"
    if status != "ACTIVE":
        reasons.append(f"the status is {status}")
    if fields.get("programme") not in direction["accept_programmes"]:
        reasons.append("no authorisation under a programme that the agreement recognises")
    missing = [each for each in direction["min_scope"] if each not in fields.get("scope", [])]
    if missing:
        reasons.append("the authorisation does not cover " + ", ".join(missing))
    if day < terms["from"] or (terms["until"] and day > terms["until"]):
        reasons.append(f"the agreement is for {terms['from']} to {terms['until'] or 'further notice'}")
    if age_s > terms["max_staleness_s"]:
        reasons.append("the newest proof is older than the agreement allows")
    return status, reasons


# --- Accusations: two checkpoints of one log that cannot both be true -------------------------------------


def accused(file: dict[str, Json], policy: Policy) -> list[tuple[str, Callable[[], str]]]:
    """The numbered steps of an accusation."""
    notes: dict[str, Checkpoint] = {}

    def signed(name: str) -> str:
        members(file, "kind older newer root proof")
        found = opened(file[name], policy.logs)
        own = [key for key in policy.logs if key.name == found.checkpoint.origin]
        need(found.signed & set(own), "a signature of a log that the policy names", found.checkpoint.origin)
        notes[name] = found.checkpoint
        return f"{found.checkpoint.origin}, {found.checkpoint.size} entries"

    def contradicts() -> str:
        older, newer = notes["older"], notes["newer"]
        need(
            older.origin == newer.origin and older.size <= newer.size,
            "one log, the smaller size first",
            newer.origin,
        )
        if older.size == newer.size:
            need((file["root"], file["proof"]) == (None, []), "nothing to prove", file["root"])
            need(older.root != newer.root, "two trees of one size", "one tree")
            return f"two trees of {older.size} entries were signed"
        root, proof = unb64(file["root"]), [unb64(each) for each in file["proof"]]
        need(root != older.root, f"another tree of {older.size} entries than was signed", "the same")
        begins(older.size, newer.size, root, newer.root, proof)
        return f"the tree of {newer.size} does not begin with the tree of {older.size} that was signed"

    return [
        ("the log signed the first checkpoint", lambda: signed("older")),
        ("the log signed the second checkpoint", lambda: signed("newer")),
        ("no honest log can have signed both", contradicts),
    ]


# --- Receipts: an entry of a log (C2SP tlog-proof, with the entry as its extra) ---------------------------


def received(text: str, policy: Policy) -> list[tuple[str, Callable[[], str]]]:
    """The numbered steps of a receipt."""
    head, _, note = text.partition("\n\n")
    shown = dict[str, Any]()

    def formed() -> str:
        lines = head.split("\n")[1:]
        need(lines and lines[0].startswith("extra "), "the entry, as `aeo receipt` adds it", lines[:1])
        need(lines[1:] and lines[1].startswith("index "), "the entry's number", lines[1:2])
        entry, index = unb64(lines[0].removeprefix("extra ")), decimal(lines[1].removeprefix("index "))
        _, country, seq, _, time, kind, _ = members(parsed(entry), "v country seq prev time type commit")
        need(seq == index, f"entry {index}", seq)
        shown.update(leaf=leaf_hash(entry), seq=index, path=lines[2:])
        return f"entry {seq} of {country}, a {kind}, of {time}"

    def signed() -> str:
        origin = note.partition("\n")[0]
        log = [key for key in policy.logs if key.name == origin]
        need(log, "a log that the policy names", origin)
        found, cosigned = policy.check(note, log)
        shown["tree"] = found.checkpoint
        by = ", ".join(f"{name} at {moment(1000 * at)}" for name, at in cosigned.items())
        return f"{origin}, {found.checkpoint.size} entries, cosigned by {by or 'nobody, which suffices'}"

    def holds() -> str:
        tree, seq, path = shown["tree"], shown["seq"], [unb64(each) for each in shown["path"]]
        included(seq, tree.size, shown["leaf"], path, tree.root)
        return f"entry {seq} of {tree.size}"

    return [
        ("the file is a receipt in its form, with the entry that it is about", formed),
        ("a log that the policy trusts signed the checkpoint, cosigned as the policy wants", signed),
        ("the log holds this entry at this place", holds),
    ]


# --- The whole --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """One numbered check: its title, whether it passed (None: not reached), what was expected and found."""

    number: int
    title: str
    passed: bool | None
    expected: str
    found: str


def verify(encoded: bytes, policy_text: str) -> list[Result]:
    """Every check of a file against a trust policy; it holds if all have passed."""
    what = "the trust policy can be read"
    try:
        policy = Policy.of(policy_text)
        what = "the file is evidence, an accusation or a receipt"
        need(len(encoded) <= LIMIT_BYTES, f"at most {LIMIT_BYTES} bytes", len(encoded))
        if encoded.startswith(RECEIPT.encode()):
            return _run(received(encoded.decode("utf-8", "replace"), policy))
        file = parsed(encoded)
        kind = file.get("kind") if isinstance(file, dict) else None
        need(kind in (EVIDENCE, ACCUSATION), f"{EVIDENCE}, {ACCUSATION} or {RECEIPT}", kind)
    except Failed as failed:
        return [Result(1, what, False, failed.expected, failed.found)]
    if kind == ACCUSATION:
        return _run(accused(file, policy))
    case = Case(file, policy)
    return _run([(title, lambda function=function: function(case)) for title, function in STEPS])  # type: ignore[misc]


BROKEN: Final = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    OverflowError,
    OSError,
    RecursionError,
)


def _run(steps: Sequence[tuple[str, Callable[[], str]]]) -> list[Result]:
    results: list[Result] = []
    for number, (title, function) in enumerate(steps, 1):
        if results and not results[-1].passed:
            results.append(Result(number, title, None, "", "not reached"))
            continue
        try:
            results.append(Result(number, title, True, "", function()))
        except Failed as failed:
            results.append(Result(number, title, False, failed.expected, failed.found))
        except BROKEN as error:
            results.append(Result(number, title, False, "the form of such a file", repr(error)[:300]))
    return results


def told(results: Sequence[Result]) -> str:
    """The results as lines for a person; nothing in a file can end a line or drive a terminal."""
    lines = []
    for each in results:
        mark = {True: "passed", False: "FAILED", None: "not reached"}[each.passed]
        lines.append(f"{each.number:2}. {mark}: {each.title}")
        if each.passed is False:
            lines += [
                f"      expected: {_printable(each.expected)}",
                f"      found:    {_printable(each.found)}",
            ]
        elif each.passed:
            lines.append(f"      {_printable(each.found)}")
    holds = all(each.passed for each in results)
    return "\n".join([*lines, "", "It holds." if holds else "It does NOT hold."])


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def main() -> int:
    """0 if the file holds, 1 if not, 2 if it cannot be read."""
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    try:
        results = verify(Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]).read_bytes().decode())
    except (OSError, UnicodeDecodeError) as error:
        where = getattr(error, "filename", None) or sys.argv[2]
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        print(f"{where} cannot be read: {why}; give a file, then the trust policy", file=sys.stderr)
        return 2
    print(told(results))
    return 0 if all(each.passed for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
