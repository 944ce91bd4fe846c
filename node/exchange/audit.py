"""Re-reading a ledger from its first entry: a change of one byte, however old, is found.

Works on a ledger that anyone may read (C2SP tiles): entry bundles are chained, hashed and, at the end,
compared with the root of a checkpoint that was proven before. Resumable after every bundle.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from node.errors import Unproven
from node.ledger import tiles
from node.ledger.entry import LedgerEntry, check_chain
from node.ledger.merkle import Frontier, leaf_hash
from node.store.logs import Head

Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an audit has come: the tree so far, and the leaf hash of the last entry."""

    tree: Frontier = field(default_factory=lambda: Frontier(0, ()))
    last_leaf: bytes | None = None
    done: bool = False


def audit_bundle(fetch: Fetch, progress: Progress, proven: Head, country: str) -> Progress:
    """Read the next bundle up to the proven size; `Unproven` names the first entry that is not as signed."""
    start = progress.tree.size
    index, width = start // tiles.TILE_WIDTH, min(tiles.TILE_WIDTH, proven.size - start)
    if width > 0:
        entries = tiles.decode_bundle(fetch("/log/" + tiles.bundle_path(index, width)))
        if len(entries) != width:
            why = f"{len(entries)} entries, not {width}"
            raise Unproven("a bundle has another width than was asked for", where=proven.origin, why=why)
        check_leaves(fetch, start, entries)
        progress = _chained(entries, progress, country)
    if progress.tree.size < proven.size:
        return progress
    if progress.tree.root() != proven.root:
        raise Unproven(
            "a ledger was altered",
            where=proven.origin,
            why=f"its first {proven.size} entries do not make the root that was signed",
        )
    return Progress(progress.tree, progress.last_leaf, True)


def check_leaves(fetch: Fetch, start: int, entries: tuple[bytes, ...]) -> None:
    """`Unproven` names the first entry whose hash is not the one in the ledger's own tile."""
    path = tiles.Tile(0, start // tiles.TILE_WIDTH, len(entries)).path()
    hashes = fetch("/log/" + path)
    for at, entry in enumerate(entries):
        if hashes[32 * at : 32 * at + 32] != leaf_hash(entry):
            raise Unproven(
                "a ledger was altered",
                where=f"entry {start + at}",
                why="it is not the entry that was hashed into the tree",
            )


def _chained(entries: tuple[bytes, ...], progress: Progress, country: str) -> Progress:
    last, seq = progress.last_leaf, progress.tree.size
    leaves = []
    for encoded in entries:
        entry = LedgerEntry.decode(encoded)
        if entry.country != country:
            raise Unproven("a ledger holds another country's entry", where=f"entry {seq}", why=entry.country)
        check_chain(last, seq, entry)
        last, seq = leaf_hash(encoded), seq + 1
        leaves.append(last)
    return Progress(progress.tree.extend(leaves), last)
