"""Re-reading a peer's ledger where its node serves it, from the first entry, a bundle at a time."""

from collections.abc import Callable

from node.ledger import reread, tiles
from node.ledger.checkpoint import Checkpoint
from node.ledger.merkle import leaf_hash
from node.ledger.reread import Chain, Progress
from node.store.logs import Head

__all__ = ["Progress", "audit_bundle"]

Fetch = Callable[[str], bytes]
LOG = "/log/"


def audit_bundle(fetch: Fetch, progress: Progress, proven: Head, country: str) -> Progress:
    """Read the next bundle up to the proven size; `Unproven` names the first entry that is not as signed."""
    start, signed = progress.tree.size, Checkpoint(proven.origin, proven.size, proven.root)
    index, width = start // tiles.TILE_WIDTH, min(tiles.TILE_WIDTH, proven.size - start)
    if width > 0:
        entries = reread.opened(fetch(LOG + tiles.bundle_path(index, width)), start, width)
        leaves = [leaf_hash(entry) for entry in entries]
        reread.compare(start, leaves, fetch(LOG + tiles.Tile(0, index, width).path()))
        chain = (progress.chain or Chain(country)).follow(start, entries, leaves)
        progress = Progress(progress.tree.extend(leaves), chain)
    return progress.ended(signed)
