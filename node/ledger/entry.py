"""Entries of a country's ledger, of a channel and of an access log, byte for byte (canonical JSON, RFC 8785).

Each entry names the leaf hash of the one before it, so that a log is a chain as well as a tree. An
entry commits to its body and never shows it. Guarantees `decode(entry.encode()) == entry`, and that
`decode` accepts no other bytes. Refuses missing or further keys and values out of form.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeAlias

from node.errors import Gap, Malformed, Problem, Unproven, problem
from node.ledger import canonical, moment
from node.ledger.encoding import b64u, unb64u
from node.ledger.merkle import HASH_BYTES
from node.ledger.note import check_name
from node.ledger.tiles import MAX_ENTRY_BYTES

VERSION = 1
ENTRY_TYPES = frozenset({"record", "agreement", "member", "erasure", "key", "access"})
CHANNEL_KINDS = frozenset({"disclosure", "tombstone", "notice"})
READ_KINDS = frozenset(
    {"lookup", "list", "search", "history", "evidence", "register", "changes", "export", "fetch", "access"}
)
"""What somebody may have asked for, as an access log names it."""
ACCESS_KINDS = READ_KINDS | {"forgotten", "expired"}
"""And what became of the bodies of earlier entries."""
SALT_BYTES = 32

_COUNTRY = re.compile(r"[A-Z]{2}")
_ACCESS_LOG = re.compile(r"[a-z0-9.-]{1,253}/access")


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One entry of a country's ledger, all that its members see of a change.

    `prev` is the leaf hash of the entry before (None for seq 0), `time` is in milliseconds since the
    epoch, `commit` is the `commitment` to the body. Values out of form are `Malformed`.
    """

    country: str
    seq: int
    prev: bytes | None
    time: int
    type: str
    commit: bytes

    def __post_init__(self) -> None:
        """Refuse values that are out of form, all of them at once."""
        _refuse(self, self._problems())

    def encode(self) -> bytes:
        """The bytes that are hashed into the tree."""
        return canonical.encode(
            {
                "v": VERSION,
                "country": self.country,
                "seq": self.seq,
                "prev": _b64u_or_null(self.prev),
                "time": moment.format(self.time),
                "type": self.type,
                "commit": b64u(self.commit),
            }
        )

    @classmethod
    def decode(cls, encoded: bytes) -> "LedgerEntry":
        """The entry that `encode` writes as these bytes; anything else is `Malformed`."""
        members = _members(encoded, cls)
        return cls(
            country=_text(members, "country"),
            seq=_integer(members, "seq"),
            prev=_hash_or_none(members, "prev"),
            time=moment.parse(_text(members, "time")),
            type=_text(members, "type"),
            commit=unb64u(_text(members, "commit")),
        )

    def _problems(self) -> Iterator[Problem]:
        if not _COUNTRY.fullmatch(self.country):
            yield problem("country", self.country, "must be two capital letters (ISO 3166-1)")
        if self.type not in ENTRY_TYPES:
            yield problem("type", self.type, f"must be one of {', '.join(sorted(ENTRY_TYPES))}")
        yield from _frame_problems(self.seq, self.prev, self.time)
        yield from _digest_problems("commit", self.commit)


@dataclass(frozen=True, slots=True)
class ChannelEntry:
    """One entry of a channel: what its partner is told, as the digest of a sealed body.

    `channel` is the channel's origin, `prev` and `time` are as in `LedgerEntry`, `epoch` (from 1)
    names the key that seals, `body` is SHA-256 of the sealed body. Values out of form are `Malformed`.
    """

    channel: str
    seq: int
    prev: bytes | None
    time: int
    kind: str
    epoch: int
    body: bytes

    def __post_init__(self) -> None:
        """Refuse values that are out of form, all of them at once."""
        _refuse(self, self._problems())

    def encode(self) -> bytes:
        """The bytes that are hashed into the tree."""
        return canonical.encode(self._header() | {"body": b64u(self.body)})

    def header(self) -> bytes:
        """The entry without `body`, known before sealing: the associated data of the seal."""
        return canonical.encode(self._header())

    @classmethod
    def decode(cls, encoded: bytes) -> "ChannelEntry":
        """The entry that `encode` writes as these bytes; anything else is `Malformed`."""
        members = _members(encoded, cls)
        return cls(
            channel=_text(members, "channel"),
            seq=_integer(members, "seq"),
            prev=_hash_or_none(members, "prev"),
            time=moment.parse(_text(members, "time")),
            kind=_text(members, "kind"),
            epoch=_integer(members, "epoch"),
            body=unb64u(_text(members, "body")),
        )

    def _header(self) -> dict[str, int | str | None]:
        return {
            "v": VERSION,
            "channel": self.channel,
            "seq": self.seq,
            "prev": _b64u_or_null(self.prev),
            "time": moment.format(self.time),
            "kind": self.kind,
            "epoch": self.epoch,
        }

    def _problems(self) -> Iterator[Problem]:
        check_name(self.channel, "channel")
        if self.kind not in CHANNEL_KINDS:
            yield problem("kind", self.kind, f"must be one of {', '.join(sorted(CHANNEL_KINDS))}")
        if not 1 <= self.epoch <= canonical.MAX_INTEGER:
            yield problem("epoch", self.epoch, "must be 1 or more")
        yield from _frame_problems(self.seq, self.prev, self.time)
        yield from _digest_problems("body", self.body)


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """One entry of a node's access log: that somebody asked, when and for what kind of thing, and no more.

    `log` is the access log's origin, `prev` and `time` are as in `LedgerEntry`, `commit` is the commitment to
    who asked what, which lies beside the log so that it can go. Values out of form are `Malformed`.
    """

    log: str
    seq: int
    prev: bytes | None
    time: int
    kind: str
    commit: bytes

    def __post_init__(self) -> None:
        """Refuse values that are out of form, all of them at once."""
        _refuse(self, self._problems())

    def encode(self) -> bytes:
        """The bytes that are hashed into the tree; written out by hand, for there are thousands a second."""
        prev = "null" if self.prev is None else f'"{b64u(self.prev)}"'
        return (
            f'{{"commit":"{b64u(self.commit)}","kind":"{self.kind}","log":"{self.log}","prev":{prev},'
            f'"seq":{self.seq},"time":"{moment.format(self.time)}","v":{VERSION}}}'
        ).encode("ascii")

    @classmethod
    def decode(cls, encoded: bytes) -> "AccessEntry":
        """The entry that `encode` writes as these bytes; anything else is `Malformed`."""
        members = _members(encoded, cls)
        return cls(
            log=_text(members, "log"),
            seq=_integer(members, "seq"),
            prev=_hash_or_none(members, "prev"),
            time=moment.parse(_text(members, "time")),
            kind=_text(members, "kind"),
            commit=unb64u(_text(members, "commit")),
        )

    def _problems(self) -> Iterator[Problem]:
        if not _ACCESS_LOG.fullmatch(self.log):
            yield problem("log", self.log, "must be the name of a node, and /access")
        if self.kind not in ACCESS_KINDS:
            yield problem("kind", self.kind, f"must be one of {', '.join(sorted(ACCESS_KINDS))}")
        yield from _frame_problems(self.seq, self.prev, self.time)
        yield from _digest_problems("commit", self.commit)


Entry: TypeAlias = LedgerEntry | ChannelEntry | AccessEntry


def commitment(salt: bytes, body: bytes) -> bytes:
    """SHA-256(0x02 || salt || body): 32 bytes that show nothing of the canonical body.

    The salt is 32 random bytes, used once; another length is `Malformed`.
    """
    if len(salt) != SALT_BYTES:
        rule = f"must be {SALT_BYTES} bytes"
        raise Malformed("a commitment was refused", problems=[problem("salt", f"{len(salt)} bytes", rule)])
    return sha256(b"\x02" + salt + body).digest()


def check_chain(previous_leaf: bytes | None, expected_seq: int, entry: Entry) -> None:
    """Check that an entry comes next, after the entry with this leaf hash (None before the first).

    Raises `Gap` if entries are missing or repeated, `Unproven` if the entry follows another history.
    """
    if entry.seq != expected_seq:
        raise _broken_chain(Gap, entry, f"entry {expected_seq} must come next")
    if entry.prev != previous_leaf:
        raise _broken_chain(Unproven, entry, "it follows another entry than the one before it here")


def _refuse(entry: Entry, problems: Iterable[Problem]) -> None:
    found = tuple(problems)
    if found:
        raise _refused(type(entry).__name__, *found)


def _frame_problems(seq: int, prev: bytes | None, time: int) -> Iterator[Problem]:
    if not 0 <= seq <= canonical.MAX_INTEGER:
        yield problem("seq", seq, "must be 0 or more")
    if (prev is None) != (seq == 0):
        yield problem("prev", prev, "must be null for seq 0, and for no other")
    if prev is not None:
        yield from _digest_problems("prev", prev)
    if not 0 <= time <= moment.LATEST_MS:
        yield problem("time", time, "must be milliseconds since 1970")


def _digest_problems(field: str, digest: bytes) -> Iterator[Problem]:
    if len(digest) != HASH_BYTES:
        yield problem(field, f"{len(digest)} bytes", f"must be {HASH_BYTES} bytes")


def _members(encoded: bytes, of: type[Entry]) -> dict[str, canonical.Json]:
    """The members of a canonical object whose keys are `v`, of this version, and the fields of the entry.

    Each member has one spelling and so has the object: what is read here is written the same again.
    """
    members = canonical.decode(encoded, limit=MAX_ENTRY_BYTES)
    names = {"v", *of.__slots__}
    if not isinstance(members, dict) or members.keys() != names:
        rule = f"must be an object with exactly the keys {', '.join(sorted(names))}"
        raise _refused(of.__name__, problem("entry", members, rule))
    if _integer(members, "v") != VERSION:
        raise _refused(of.__name__, problem("v", members["v"], f"must be {VERSION}"))
    return members


def _text(members: dict[str, canonical.Json], key: str) -> str:
    value = members[key]
    if type(value) is not str:
        raise _refused("", problem(key, value, "must be text"))
    return value


def _integer(members: dict[str, canonical.Json], key: str) -> int:
    value = members[key]
    if type(value) is not int:
        raise _refused("", problem(key, value, "must be an integer"))
    return value


def _hash_or_none(members: dict[str, canonical.Json], key: str) -> bytes | None:
    return None if members[key] is None else unb64u(_text(members, key))


def _b64u_or_null(value: bytes | None) -> str | None:
    return None if value is None else b64u(value)


def _refused(where: str, *problems: Problem) -> Malformed:
    return Malformed("an entry was refused", where=where, problems=problems)


def _broken_chain(kind: type[Unproven], entry: Entry, why: str) -> Unproven:
    log = (
        entry.country
        if isinstance(entry, LedgerEntry)
        else entry.channel
        if isinstance(entry, ChannelEntry)
        else entry.log
    )
    return kind(
        "an entry does not continue its log",
        where=f"{log}, entry {entry.seq}",
        why=why,
        do="fetch the entries in between, and report the log if they cannot be had",
    )
