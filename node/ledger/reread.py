"""Re-reading a log from its first entry: a change of one byte, however old, is found and named.

Entries come a bundle at a time. They are hashed and held against the log's hash tiles, chained to each
other where they are entries of a ledger, and grown into a tree whose root must in the end be the one that
was signed. Whoever re-reads may stop behind any whole bundle, keep its `Progress`, and go on from there.
Guarantees that what `take` lets pass stands under the signed root, at its place, byte for byte. Refuses
with `Unproven`, which names the first entry that does not, and with `Malformed` what is no bundle or no
entry.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from node.errors import Malformed, Unproven
from node.ledger import tiles
from node.ledger.checkpoint import Checkpoint
from node.ledger.entry import LedgerEntry, check_chain
from node.ledger.merkle import HASH_BYTES, Frontier, leaf_hash, root, split
from node.ledger.tiles import TILE_HEIGHT, TILE_WIDTH, ReadTile, Tile, Tree, width

NOT_HASHED = "it is not the entry that was hashed into the tree"


@dataclass(frozen=True, slots=True)
class Chain:
    """How far the entries of a ledger hang together: its country, leaf hash and time of the last one."""

    country: str
    last_leaf: bytes | None = None
    time: int = 0

    def follow(self, start: int, entries: Sequence[bytes], leaves: Sequence[bytes]) -> "Chain":
        """The chain behind these entries, the first of which has the number `start`.

        `Unproven` for one of another country, behind another entry, out of its place or dated back.
        """
        last, time = self.last_leaf, self.time
        for seq, (encoded, leaf) in enumerate(zip(entries, leaves, strict=True), start):
            entry = _decoded(encoded, seq)
            if entry.country != self.country:
                what = "a ledger holds another country's entry"
                raise Unproven(what, where=f"entry {seq}", why=entry.country)
            check_chain(last, seq, entry)
            if entry.time < time:
                why = "it is dated before the entry before it"
                raise Unproven("time goes back in a ledger", where=f"entry {seq}", why=why)
            last, time = leaf, entry.time
        return Chain(self.country, last, time)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a log was re-read: its tree, and its chain; no chain where the entries are of another form."""

    tree: Frontier = field(default_factory=Frontier)
    chain: Chain | None = None
    done: bool = False
    """Whether the whole tree was read, and its root is the one that was signed."""

    def ended(self, signed: Checkpoint) -> "Progress":
        """This, once the tree is as large as the signed one; `Unproven` unless it has the same root."""
        if self.tree.size < signed.size:
            return self
        if self.tree.root() != signed.root:
            why = f"its first {signed.size} entries do not make the root that was signed"
            raise Unproven("a ledger was altered", where=signed.origin, why=why)
        return Progress(self.tree, self.chain, True)


class Hashes:
    """The hash tiles of a signed tree, none believed before it is shown to stand under the signed root.

    To be read in the order of the entries: of each level only the newest tile is remembered.
    """

    def __init__(self, read_tile: ReadTile, signed: Checkpoint) -> None:
        """`Unproven` when the tiles at the right edge do not make the root that was signed."""
        self._read, self.signed = read_tile, signed
        self._edges: dict[int, bytes] = {}
        self._newest: dict[int, tuple[int, bytes]] = {}
        if Tree(self._edge, signed.size).root() != signed.root:
            raise Unproven(
                "the hash tiles of a log do not make the root that it signed",
                where=f"{signed.origin}, size {signed.size}",
                do="ask again; if it stays so, keep the checkpoint, and ask whoever keeps the log",
            )

    def width(self, level: int, index: int) -> int:
        """How many hashes of a tile the signed tree has."""
        return width(self.signed.size, level, index)

    def leaves(self, index: int, entries: Sequence[bytes]) -> tuple[list[bytes], bytes]:
        """The leaf hashes of a whole bundle that is as it was signed, and the root over them."""
        leaves = [leaf_hash(entry) for entry in entries]
        top, tile = root(leaves), self._tile(0, index)
        if top != self._top(0, index):
            raise self._altered(index, entries, leaves, tile)
        if tile != b"".join(leaves):
            raise _altered_tile(0, index, "its entries are as they were signed, and it is not")
        return leaves, top

    def _tile(self, level: int, index: int) -> bytes:
        """A tile as it was read; a shorter one could hold the hashes above those that belong there."""
        hashes = self._read(level, index)[: HASH_BYTES * self.width(level, index)]
        if len(hashes) != HASH_BYTES * self.width(level, index):
            raise _altered_tile(level, index, f"it has {len(hashes)} bytes")
        return hashes

    def _edge(self, level: int, index: int) -> bytes:
        """The partial tile that a level ends with: all of them together make the root."""
        self._edges[level] = self._tile(level, index)
        return self._edges[level]

    def _top(self, level: int, index: int) -> bytes:
        """The root that the signed tree has over the hashes of a tile."""
        if self.width(level, index) < TILE_WIDTH:
            return root(split(self._edges[level]))
        at = HASH_BYTES * (index % TILE_WIDTH)
        return self._proven(level + 1, index // TILE_WIDTH)[at : at + HASH_BYTES]

    def _proven(self, level: int, index: int) -> bytes:
        """The hashes of a tile above the entries."""
        if self.width(level, index) < TILE_WIDTH:
            return self._edges[level]
        newest = self._newest.get(level)
        if newest is None or newest[0] != index:
            newest = self._newest[level] = index, self._tile(level, index)
            if root(split(newest[1])) != self._top(level, index):
                del self._newest[level]
                raise _altered_tile(level, index, "it does not stand under the root that was signed")
        return newest[1]

    def _altered(
        self, index: int, entries: Sequence[bytes], leaves: Sequence[bytes], tile: bytes
    ) -> Unproven:
        """Names the first entry that is not as signed, as closely as the hashes or the chain tell it."""
        start = index * TILE_WIDTH
        if root(split(tile)) == self._top(0, index):
            return _altered_entry(start + _first_unlike(leaves, tile), NOT_HASHED)
        at = _unlinked(entries, leaves)
        if at is not None:
            return _altered_entry(start + at, "neither it nor its hash is what was signed")
        where = f"one of the entries {start} to {start + len(entries) - 1}"
        why = "neither they nor their hashes are those that were signed"
        return Unproven("a ledger was altered", where=where, why=why)


def take(progress: Progress, hashes: Hashes, bundle: bytes) -> Progress:
    """Go on by the next bundle as it was served, a whole one or the last.

    The form of the first entry decides: where it is that of a ledger, all must be entries of that ledger.
    """
    start = progress.tree.size
    index = start // TILE_WIDTH
    entries = opened(bundle, start, hashes.width(0, index))
    leaves, top = hashes.leaves(index, entries)
    chain = progress.chain if start else _begun(entries[0])
    if chain is not None:
        chain = chain.follow(start, entries, leaves)
    is_whole = len(leaves) == TILE_WIDTH
    tree = progress.tree.extend([top], TILE_HEIGHT) if is_whole else progress.tree.extend(leaves)
    return Progress(tree, chain).ended(hashes.signed)


def opened(bundle: bytes, start: int, width: int) -> tuple[bytes, ...]:
    """The entries of a bundle of which the first has the number `start`; `Unproven` for another width."""
    where = f"entries {start} to {start + width - 1}"
    try:
        entries = tiles.decode_bundle(bundle)
    except Malformed as refusal:
        raise Malformed(refusal.what, where=where, problems=refusal.problems) from None
    if len(entries) != width:
        why = f"{len(entries)} entries, not {width}"
        raise Unproven("a bundle has another width than was asked for", where=where, why=why)
    return entries


def compare(start: int, leaves: Sequence[bytes], tile: bytes) -> None:
    """`Unproven` names the first entry whose leaf hash is not the one in the tile."""
    if b"".join(leaves) != tile[: HASH_BYTES * len(leaves)]:
        raise _altered_entry(start + _first_unlike(leaves, tile), NOT_HASHED)


def _first_unlike(leaves: Sequence[bytes], tile: bytes) -> int:
    return next(at for at, leaf in enumerate(leaves) if tile[HASH_BYTES * at : HASH_BYTES * (at + 1)] != leaf)


def _unlinked(entries: Sequence[bytes], leaves: Sequence[bytes]) -> int | None:
    """The first entry that is not the one which the next entry of a ledger follows."""
    for at, leaf in enumerate(leaves[:-1]):
        try:
            follows = LedgerEntry.decode(entries[at + 1]).prev
        except Malformed:
            continue
        if follows != leaf:
            return at
    return None


def _begun(first: bytes) -> Chain | None:
    """The chain of a log whose first entry is this; None when it is no entry of a ledger."""
    try:
        return Chain(LedgerEntry.decode(first).country)
    except Malformed:
        return None


def _decoded(encoded: bytes, seq: int) -> LedgerEntry:
    try:
        return LedgerEntry.decode(encoded)
    except Malformed as refusal:
        raise Malformed(refusal.what, where=f"entry {seq}", problems=refusal.problems) from None


def _altered_entry(seq: int, why: str) -> Unproven:
    return Unproven("a ledger was altered", where=f"entry {seq}", why=why)


def _altered_tile(level: int, index: int, why: str) -> Unproven:
    return Unproven("a hash tile of a log was altered", where=Tile(level, index).path(), why=why)
