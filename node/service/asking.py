"""Who asked what, as it lies sealed beside an entry of the access log: to be read, and forgotten in part.

A body has a *head* (caller, purpose, reference, when) and *items*, one for each thing that was asked and each
record that was told. The entry commits to the head, and the head to a salted digest of every item, so that
one item can go, and its digest in its place leaves everything else provable. An item is

    [salt, question, asked, log, record_id]      what was asked, or what was told, or both where one was told
    [digest, entry]                              gone, as the `forgotten` entry of this number says

What was asked and found nothing is kept as a keyed digest of the number or name (`log` -1): whoever holds the
key and knows a number can tell that it was asked for; the number itself is not there.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Any

import orjson

from node.errors import Damaged
from node.exchange import sealing
from node.exchange.sealing import Entropy
from node.ledger import moment
from node.ledger.encoding import b64u, unb64u
from node.ledger.entry import SALT_BYTES, commitment
from node.records import identifiers
from node.service.names import fold
from node.store.tables import ACCESS

ITEM_SALT_BYTES = 16
DIGEST_BYTES = 16

WAITING = b"aeo/access/waiting"

Json = dict[str, Any]
Key = tuple[int, str]
"""(log, record) as in the index of operators; log -1: the keyed digest of what was not found."""
Item = list[Any]


Question = tuple[str | None, Sequence[Key], bool]
"""What was asked, as typed, the records that were told, and whether it was a name and not a number."""


@dataclass(frozen=True, slots=True)
class Why:
    """What somebody says that they ask for, and the number of their case."""

    purpose: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The keys of an access log: what seals its bodies, and what digests that which was not found."""

    seal: bytes
    digest: bytes

    @classmethod
    def of(cls, key: bytes) -> "Secrets":
        """Both, out of the one that the store keeps wrapped."""
        uses = ("seal", "asked")
        return cls(*(sealing.expand(key, f"aeo/access/v1/{use}", sealing.KEY_BYTES) for use in uses))

    def unfound(self, asked: str, *, is_name: bool = False) -> Key:
        """What is kept of a number or name that found nothing."""
        plain = ("name " + fold(asked)) if is_name else identifiers.plain(asked)
        mac = blake2b(plain.encode("utf-8", "replace"), key=self.digest, digest_size=DIGEST_BYTES)
        return ACCESS, mac.hexdigest()


@dataclass(frozen=True, slots=True)
class Body:
    """An opened body."""

    salt: str
    head: Json
    items: list[Item]

    def commit(self) -> bytes:
        """What its entry commits to."""
        return commitment(unb64u(self.salt), _dumped(self.head))

    def check(self, commit: bytes) -> None:
        """`Damaged` unless this is what an entry commits to."""
        if self.commit() != commit:
            raise Damaged("its body is not what the entry commits to")
        if self.head["items"] != _root(self.items):
            raise Damaged("what was asked and told is not what its body commits to")

    def about(self) -> set[Key]:
        """The records that it is about, and the digests of what was not found."""
        return {(each[3], each[4]) for each in self.items if len(each) == 5 and each[3] is not None}

    def gone(self) -> Iterator[tuple[int, int]]:
        """(place of an item that is gone, the entry that says so)."""
        for at, each in enumerate(self.items):
            if len(each) == 2:
                yield at, each[1]

    def without(self, keys: Collection[Key], entry: int) -> tuple["Body", list[int]]:
        """The body without these records and what was asked when they were told; and the places of both."""
        questions = {each[1] for each in self.items if len(each) == 5 and (each[3], each[4]) in keys}
        gone = [
            at
            for at, each in enumerate(self.items)
            if len(each) == 5
            and ((each[3], each[4]) in keys or (each[1] in questions and each[2] is not None))
        ]
        items = list(self.items)
        for at in gone:
            items[at] = [_digest(items[at]).hex(), entry]
        return Body(self.salt, self.head, items), gone

    def encode(self) -> bytes:
        """As it is sealed."""
        return orjson.dumps([self.salt, self.head, self.items])

    def questions(self) -> list[tuple[str | None, list[Key]]]:
        """What was asked, as typed (None: not kept), and which records were told, question by question."""
        found: dict[int, tuple[list[str], list[Key]]] = {}
        for each in self.items:
            if len(each) == 5:
                asked, told = found.setdefault(each[1], ([], []))
                asked += [] if each[2] is None else [each[2]]
                told += [] if each[3] in (None, ACCESS) else [(each[3], each[4])]
        return [(asked[0] if asked else None, told) for _, (asked, told) in sorted(found.items())]


@dataclass(frozen=True, slots=True)
class Asked:
    """One read, as it is recorded before it is answered. `caller`: id, label and role of the token."""

    time_ms: int
    kind: str
    caller: tuple[str, str, str] | None
    why: Why
    questions: Sequence[Question]
    detail: Mapping[str, Any]

    def seal(self, secrets: Secrets, nonce: bytes) -> bytes:
        """As it waits to be taken over."""
        why = self.why.purpose, self.why.reference
        told = [self.time_ms, self.kind, self.caller, why, self.questions, self.detail]
        return sealing.seal(secrets.seal, _dumped(told), WAITING, nonce)

    @classmethod
    def unseal(cls, secrets: Secrets, sealed: bytes) -> "Asked":
        """What was sealed; `Unproven` when a byte of it was changed."""
        time_ms, kind, caller, why, questions, detail = orjson.loads(
            sealing.unseal(secrets.seal, sealed, WAITING)
        )
        return cls(time_ms, kind, caller and tuple(caller), Why(*why), questions, detail)

    def head(self) -> Json:
        """The head of its body, but for its items; what is empty is left out."""
        told: Json = {"at": moment.format(self.time_ms), "detail": self.detail}
        told |= {"purpose": self.why.purpose, "reference": self.why.reference}
        if self.caller:
            told["caller"] = dict(zip(("token", "label", "role"), self.caller, strict=True))
        return {"v": 1} | {name: value for name, value in told.items() if value}


@dataclass(frozen=True, slots=True)
class Made:
    """What is written of a read: its kind and time, what its entry commits to, its body, what it is about."""

    time_ms: int
    kind: str
    commit: bytes
    sealed: bytes
    about: Sequence[Key]


def make(asked: Asked, secrets: Secrets, entropy: Entropy) -> Made:
    """The commitment and the sealed body of a read."""
    count = sum(len(told) + (len(told) != 1) for _, told, _ in asked.questions)
    drawn = entropy(SALT_BYTES + sealing.NONCE_BYTES + ITEM_SALT_BYTES * count)
    salt, nonce = drawn[:SALT_BYTES], drawn[SALT_BYTES : SALT_BYTES + sealing.NONCE_BYTES]
    salts, size, dumps = drawn[SALT_BYTES + sealing.NONCE_BYTES :].hex(), 2 * ITEM_SALT_BYTES, orjson.dumps
    items = list(_items(asked.questions, secrets))
    about = list(dict.fromkeys((each[2], each[3]) for each in items if each[2] is not None))
    salted = zip(range(0, size * count, size), items, strict=False)
    encoded = [dumps([salts[at : at + size], *each]) for at, each in salted]
    root = _root_of([sha256(each).digest() for each in encoded])
    head = _dumped({**asked.head(), "items": root, "count": len(encoded)})
    commit = commitment(salt, head)
    plaintext = b'["%s",%s,[%s]]' % (b64u(salt).encode(), head, b",".join(encoded))
    return Made(asked.time_ms, asked.kind, commit, seal(secrets, commit, plaintext, nonce), about)


def read(plaintext: bytes) -> Body:
    """A body as it was sealed; `Damaged` when it is none."""
    try:
        salt, head, items = orjson.loads(plaintext)
        found = Body(str(salt), dict(head), list(items))
        assert all(type(each) is list and len(each) in (2, 5) for each in found.items)
    except (orjson.JSONDecodeError, ValueError, TypeError, AssertionError):
        raise Damaged("a body of the access log is out of form") from None
    return found


def seal(secrets: Secrets, commit: bytes, plaintext: bytes, nonce: bytes) -> bytes:
    """A body as it rests, bound to the commitment in its entry."""
    return sealing.seal(secrets.seal, plaintext, b"aeo/access/" + commit, nonce)


def unseal(secrets: Secrets, commit: bytes, sealed: bytes) -> Body:
    """A body that was sealed for this commitment; `Unproven` when a byte of it was changed."""
    return read(sealing.unseal(secrets.seal, sealed, b"aeo/access/" + commit))


def _items(questions: Sequence[Question], secrets: Secrets) -> Iterator[Item]:
    """What was asked and what was told, apart where several were, so that one of them can go."""
    for number, (asked, told, is_name) in enumerate(questions):
        if len(told) == 1:
            yield [number, asked, *told[0]]
        elif told:
            if asked is not None:
                yield [number, asked, None, None]
            for log, record_id in told:
                yield [number, None, log, record_id]
        elif asked is not None:
            yield [number, None, *secrets.unfound(asked, is_name=is_name)]


def _root(items: Sequence[Item]) -> str:
    return _root_of(map(_digest, items))


def _root_of(digests: Iterable[bytes]) -> str:
    return sha256(b"".join(digests)).hexdigest()


def _digest(item: Item) -> bytes:
    """The digest of an item, or the one that stands in its place."""
    return bytes.fromhex(item[0]) if len(item) == 2 else sha256(_dumped(item)).digest()


def _dumped(value: Json | Item) -> bytes:
    """The bytes that are committed to; half a surrogate pair, which a caller may send, becomes `?`."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return orjson.dumps(_clean(value), option=orjson.OPT_SORT_KEYS)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {name: _clean(each) for name, each in value.items()}
    return [_clean(each) for each in value] if isinstance(value, list | tuple) else value
