"""A tree stored as tiles of 256 hashes, and its entries as bundles of 256 (C2SP tlog-tiles).

The tile (level, index) holds the hashes of the complete subtrees of 256^level entries that stand at
index * 256 and on. What is stored is the longest prefix known so far; a tree of an earlier size uses
the beginning of it. Everything here *asks* for tiles through `ReadTile` and hashes inside them.
Guarantees that proofs and roots come from no more than the right edge of each level and the tiles
on one path. Refuses paths, tiles and bundles in any form but the specified one.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from node.errors import Malformed, Unproven, problem
from node.ledger.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, fold, parents

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * HASH_BYTES
MAX_LEVEL = 63
MAX_ENTRY_BYTES = 65_535

ReadTile = Callable[[int, int], bytes]
"""Gives the stored hashes of the tile (level, index), possibly more than the asker's tree has."""

_LENGTH_BYTES = 2
_NUMBER = r"((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([0-9]{1,3}))?"
_TILE_PATH = re.compile(r"tile/([0-9]{1,2})/" + _NUMBER)
_BUNDLE_PATH = re.compile(r"tile/entries/" + _NUMBER)


@dataclass(frozen=True, slots=True)
class Tile:
    """The address of a tile: level 0 to 63, index from 0, width 1 to 256 hashes (256 is a full tile)."""

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        """Refuse an address at which no tile can be."""
        if not 0 <= self.level <= MAX_LEVEL:
            raise _no_path(f"level {self.level}", f"the level must be 0 to {MAX_LEVEL}")
        _check_place(self.index, self.width)

    def path(self) -> str:
        """The path below the log's prefix, such as `tile/0/x001/x234/067` or `tile/1/000.p/17`."""
        return f"tile/{self.level}/{_place(self.index, self.width)}"


def parse_path(path: str) -> Tile:
    """The tile at a path; `Malformed` unless the path is what `Tile.path` writes."""
    found = _TILE_PATH.fullmatch(path)
    if not found:
        raise _no_path(path, "must be tile/<level>/<index>, with .p/<width> if partial")
    tile = Tile(int(found[1]), _index(found[2]), _width(found[3]))
    if tile.path() != path:
        raise _no_path(path, f"must be spelt {tile.path()}")
    return tile


def bundle_path(index: int, width: int = TILE_WIDTH) -> str:
    """The path of an entry bundle, such as `tile/entries/x001/234.p/5`; `Malformed` if there is none."""
    _check_place(index, width)
    return f"tile/entries/{_place(index, width)}"


def parse_bundle_path(path: str) -> tuple[int, int]:
    """The (index, width) of a bundle; `Malformed` unless the path is what `bundle_path` writes."""
    found = _BUNDLE_PATH.fullmatch(path)
    if not found:
        raise _no_path(path, "must be tile/entries/<index>, with .p/<width> if partial")
    index, width = _index(found[1]), _width(found[2])
    if bundle_path(index, width) != path:
        raise _no_path(path, f"must be spelt {bundle_path(index, width)}")
    return index, width


@dataclass(frozen=True, slots=True)
class Grown:
    """A tree after appending: the tiles that changed, whole as far as known, its size and root."""

    tiles: dict[tuple[int, int], bytes]
    size: int
    root: bytes


def append(read_tile: ReadTile, size: int, leaves: Sequence[bytes]) -> Grown:
    """Append leaf hashes to the tree of `size` whose tiles can be read.

    Costs one hash or two for each leaf, and the right edge of each level. Raises `Unproven` if a
    tile of the tree is shorter than `size` says, `Malformed` for a leaf that is not a hash.
    """
    if any(len(leaf) != HASH_BYTES for leaf in leaves):
        raise _no_tree(size, f"every leaf must be given as its hash of {HASH_BYTES} bytes")
    changed: dict[tuple[int, int], bytes] = {}
    row, level, count = list(leaves), 0, size
    while row:
        rows = _rows(_edge(read_tile, level, count), row)
        changed |= {(level, count // TILE_WIDTH + at): b"".join(each) for at, each in enumerate(rows)}
        row = [_top(each) for each in rows if len(each) == TILE_WIDTH]
        level, count = level + 1, count // TILE_WIDTH

    def read_grown(level: int, index: int) -> bytes:
        return changed.get((level, index)) or read_tile(level, index)

    grown = size + len(leaves)
    return Grown(changed, grown, tree_root(read_grown, grown))


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree of `size` entries read through its tiles; each tile is read and hashed once.

    Make one, ask it for many proofs, and let it go: what it remembers grows with the tiles it met.
    Every method raises `Unproven` if a tile is shorter than `size` says.
    """

    read_tile: ReadTile
    size: int
    _pyramids: dict[tuple[int, int], list[list[bytes]]] = field(default_factory=dict, repr=False)
    _edges: dict[int, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Refuse a size that no tree has."""
        if not 0 <= self.size <= MAX_SIZE:
            raise _no_tree(self.size, "the size must be from 0 to 2^63 - 1")

    def root(self) -> bytes:
        """The root of the whole tree."""
        return self._span(0, self.size) if self.size else EMPTY_ROOT

    def inclusion_proof(self, index: int) -> tuple[bytes, ...]:
        """The siblings from the leaf `index` up; `Malformed` if the tree has no such leaf."""
        if not 0 <= index < self.size:
            raise _no_tree(self.size, f"it has no leaf {index}")
        siblings = ((height, (index >> height) ^ 1) for height in range((self.size - 1).bit_length()))
        return tuple(
            self._subtree(height, place) for height, place in siblings if place << height < self.size
        )

    def consistency_proof(self, old: int) -> tuple[bytes, ...]:
        """The proof that the tree of `old` entries is the beginning of this one (RFC 9162 2.1.4.1).

        Empty for size 0 and for the same size. Raises `Malformed` if `old` is larger.
        """
        if not 0 <= old <= self.size:
            raise _no_tree(self.size, f"it cannot begin with a tree of {old}")
        start, end, proof = 0, self.size, list[bytes]()
        while 0 < old < end:
            middle = start + (1 << (end - start - 1).bit_length() - 1)
            if old <= middle:
                proof.append(self._span(middle, end))
                end = middle
            else:
                proof.append(self._span(start, middle))
                start = middle
        if start:
            proof.append(self._span(start, end))
        return tuple(reversed(proof)) if old else ()

    def _subtree(self, height: int, place: int) -> bytes:
        """The hash of the subtree at a height, which may be cut off by the end of the tree."""
        if (place + 1) << height <= self.size:
            return self._complete(height, place)
        if height not in self._edges:
            self._edges[height] = self._span(place << height, self.size)
        return self._edges[height]

    def _span(self, start: int, end: int) -> bytes:
        """The hash of the entries from `start` to `end`, where a subtree of the tree begins at `start`."""
        hashes = []
        while start < end:
            height = (end - start).bit_length() - 1
            hashes.append(self._complete(height, start >> height))
            start += 1 << height
        return fold(hashes)

    def _complete(self, height: int, place: int) -> bytes:
        """The hash of a complete subtree of 2^height entries, found or hashed inside one tile."""
        level, inner = divmod(height, TILE_HEIGHT)
        index, offset = divmod(place, TILE_WIDTH >> inner)
        pyramid = self._pyramids.get((level, index))
        if pyramid is None:
            pyramid = self._pyramids[level, index] = self._pyramid(level, index)
        return pyramid[inner][offset]

    def _pyramid(self, level: int, index: int) -> list[list[bytes]]:
        """The hashes of a tile that belong to this tree, and above them the seven levels inside it."""
        pyramid = [_hashes(self.read_tile, level, index, width(self.size, level, index))]
        for _ in range(TILE_HEIGHT - 1):
            pyramid.append(parents(pyramid[-1]))
        return pyramid


def tree_root(read_tile: ReadTile, size: int) -> bytes:
    """The root of the tree of `size` entries; raises as `Tree` does."""
    return Tree(read_tile, size).root()


def width(size: int, level: int, index: int) -> int:
    """How many hashes of a tile (level, index) belong to the tree of `size` entries."""
    return min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH)


def leaf_hashes(read_tile: ReadTile, start: int, stop: int) -> bytes:
    """The leaf hashes `start` up to, not including, `stop`, one behind the other; raises as `Tree` does."""
    found = bytearray()
    for index in range(start // TILE_WIDTH, -(-stop // TILE_WIDTH)):
        first = index * TILE_WIDTH
        hashes = _hashes(read_tile, 0, index, min(TILE_WIDTH, stop - first))
        found += b"".join(hashes[max(0, start - first) :])
    return bytes(found)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """1 to 256 entries, each as its length (uint16, big-endian) and its at most 65,535 bytes."""
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise _no_bundle(f"{len(entries)} entries", f"must hold 1 to {TILE_WIDTH} entries")
    if any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        raise _no_bundle("an entry", f"must hold entries of at most {MAX_ENTRY_BYTES} bytes")
    return b"".join(len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in entries)


def decode_bundle(bundle: bytes) -> tuple[bytes, ...]:
    """The entries that `encode_bundle` wrote; anything else is `Malformed`."""
    entries, at = [], 0
    while at < len(bundle):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(bundle[at:start], "big")
        entries.append(bundle[start:at])
    if at != len(bundle):
        raise _no_bundle(f"{len(bundle)} bytes", "must end where its last entry ends")
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise _no_bundle(f"{len(entries)} entries", f"must hold 1 to {TILE_WIDTH} entries")
    return tuple(entries)


def _edge(read_tile: ReadTile, level: int, count: int) -> list[bytes]:
    """The hashes of the partial tile at the end of a level that holds `count` hashes."""
    index, width = divmod(count, TILE_WIDTH)
    return _hashes(read_tile, level, index, width) if width else []


def _hashes(read_tile: ReadTile, level: int, index: int, width: int) -> list[bytes]:
    stored = read_tile(level, index)
    if not width * HASH_BYTES <= len(stored) <= TILE_BYTES:
        raise Unproven(
            "a tile does not hold what the size of the tree needs",
            where=f"level {level}, index {index}",
            why=f"{width} hashes are needed and {len(stored)} bytes were read",
            do="restore the tile, or rebuild it from the entries",
        )
    return [stored[at : at + HASH_BYTES] for at in range(0, width * HASH_BYTES, HASH_BYTES)]


def _rows(edge: list[bytes], row: list[bytes]) -> list[list[bytes]]:
    whole = edge + row
    return [whole[at : at + TILE_WIDTH] for at in range(0, len(whole), TILE_WIDTH)]


def _top(row: Sequence[bytes]) -> bytes:
    while len(row) > 1:
        row = parents(row)
    return row[0]


def _place(index: int, width: int) -> str:
    digits = str(index)
    padded = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [padded[at : at + 3] for at in range(0, len(padded), 3)]
    return "/".join(_marked(groups)) + ("" if width == TILE_WIDTH else f".p/{width}")


def _marked(groups: list[str]) -> Iterable[str]:
    return [f"x{group}" for group in groups[:-1]] + groups[-1:]


def _index(groups: str) -> int:
    return int(groups.replace("x", "").replace("/", ""))


def _width(digits: str | None) -> int:
    return int(digits) if digits else TILE_WIDTH


def _check_place(index: int, width: int) -> None:
    if not 0 <= index <= MAX_SIZE >> TILE_HEIGHT or not 1 <= width <= TILE_WIDTH:
        raise _no_path(
            f"index {index}, width {width}", f"the width must be 1 to {TILE_WIDTH}, the index below 2^55"
        )


def _no_path(path: str, rule: str) -> Malformed:
    return Malformed("there is no such tile", problems=[problem("path", path, rule)])


def _no_tree(size: int, rule: str) -> Malformed:
    return Malformed("a tree cannot answer this", problems=[problem("size", size, rule)])


def _no_bundle(shown: str, rule: str) -> Malformed:
    return Malformed("an entry bundle was refused", problems=[problem("bundle", shown, rule)])
