"""Logs that sign whatever a test wants, and serve it as logs do; and liars among them."""

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.ledger import tiles
from node.ledger.checkpoint import Checkpoint, sign_checkpoint
from node.ledger.entry import LedgerEntry
from node.ledger.merkle import leaf_hash
from node.ledger.note import Signer, ed25519_signer
from node.ledger.tiles import Tile
from tests import http_server
from tests.http_server import Answer

ORIGIN = "aeo.br.example/ledger"
FIRST_MS = 1_790_000_000_000


def signer(seed: int = 0) -> Signer:
    return ed25519_signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def ledger(count: int, before: Sequence[bytes] = (), country: str = "BR", salt: int = 0) -> list[bytes]:
    """So many entries of a ledger, behind these; another salt makes another history."""
    made, prev = list[bytes](), leaf_hash(before[-1]) if before else None
    for seq in range(len(before), len(before) + count):
        commit = leaf_hash(b"%d %d" % (salt, seq))
        entry = LedgerEntry(country, seq, prev, FIRST_MS + seq, "record", commit).encode()
        made.append(entry)
        prev = leaf_hash(entry)
    return made


@dataclass
class Book:
    """A log in memory."""

    entries: list[bytes] = field(default_factory=list)
    by: Signer = field(default_factory=signer)
    hashes: dict[tuple[int, int], bytes] = field(default_factory=dict)
    root: bytes = tiles.tree_root(lambda *at: b"", 0)

    def __post_init__(self) -> None:
        entries, self.entries = self.entries, []
        self.append(entries)

    def append(self, entries: Sequence[bytes]) -> None:
        leaves = [leaf_hash(entry) for entry in entries]
        grown = tiles.append(self.tile, len(self.entries), leaves)
        self.hashes |= grown.tiles
        self.root = grown.root
        self.entries += entries

    def tile(self, level: int, index: int) -> bytes:
        return self.hashes.get((level, index), b"")

    @property
    def signed(self) -> Checkpoint:
        return Checkpoint(ORIGIN, len(self.entries), self.root)

    def note(self) -> str:
        return sign_checkpoint(self.signed, [self.by])

    def bundle(self, index: int) -> bytes:
        return tiles.encode_bundle(self.entries[256 * index : 256 * (index + 1)])

    def change_entry(self, seq: int, at: int = 50) -> None:
        """Flip a bit of a stored entry."""
        entry = self.entries[seq]
        self.entries[seq] = entry[:at] + bytes([entry[at] ^ 1]) + entry[at + 1 :]

    def change_hash(self, level: int, place: int, hash_: bytes = bytes(32)) -> None:
        """Put another hash at a place of a level."""
        index, at = divmod(place, 256)
        tile = self.hashes[level, index]
        self.hashes[level, index] = tile[: 32 * at] + hash_ + tile[32 * (at + 1) :]

    def answer(self, path: str) -> bytes | None:
        """What is served at a path below the prefix; None for what is not there."""
        if path == "checkpoint":
            return self.note().encode()
        if path.startswith("tile/entries/"):
            index, width = tiles.parse_bundle_path(path)
            found = self.entries[256 * index : 256 * index + width]
            return tiles.encode_bundle(found) if len(found) == width else None
        tile: Tile = tiles.parse_path(path)
        hashes = self.tile(tile.level, tile.index)[: 32 * tile.width]
        return hashes if len(hashes) == 32 * tile.width else None


@dataclass
class Place:
    """Where a log is served, what was asked for there, and who answers instead of it."""

    book: Book
    url: str = ""
    asked: list[str] = field(default_factory=list)
    instead: Callable[[str], Answer | None] = lambda path: None

    def answer(self, path: str) -> Answer:
        self.asked.append(path)
        told = self.instead(path)
        if told is not None:
            return told
        body = self.book.answer(path)
        return (404, {}, b"") if body is None else (200, {}, body)

    def bundles(self) -> list[int]:
        """The bundles that were asked for since this was last asked, in their order."""
        found = sorted(tiles.parse_bundle_path(path)[0] for path in self.asked if "/entries/" in path)
        self.asked.clear()
        return found


def packed(body: bytes) -> Answer:
    return 200, {"content-encoding": "gzip"}, gzip.compress(body, mtime=0)


@contextmanager
def served(book: Book) -> Iterator[Place]:
    """Serve a log until the context ends."""
    place = Place(book)

    def answer(request: BaseHTTPRequestHandler, _body: bytes) -> Answer:
        return place.answer(request.path.removeprefix("/log/"))

    with http_server.serving(answer) as address:
        place.url = f"{address}/log"
        yield place
