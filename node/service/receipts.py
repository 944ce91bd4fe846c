"""Receipts: proof that an entry is in the ledger, as a C2SP tlog-proof against the newest checkpoint."""

from node.errors import Damaged, NotFound
from node.ledger.proof import TlogProof
from node.ledger.tiles import Tree
from node.service.parts import Parts
from node.store import logs
from node.store.tables import LEDGER


class Receipts:
    """Makes receipts; all those asked for after one commit share the hashing of its tree."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._newest: tuple[int, str, Tree] | None = None

    def text(self, seq: int) -> str:
        """The receipt of one entry; `NotFound` when the ledger has none of this number."""
        checkpoint, tree = self._current()
        if seq >= tree.size:  # a ring may have been lost
            self._newest = None
            checkpoint, tree = self._current()
        if not 0 <= seq < tree.size:
            raise NotFound("the ledger has no such entry", where=f"entry {seq}", why=f"it has {tree.size}")
        return TlogProof(seq, tree.inclusion_proof(seq), checkpoint).encode()

    def _current(self) -> tuple[str, Tree]:
        """The newest checkpoint and its tree, read again after every ring, which follows every commit."""
        rings = self._parts.bell.rings
        if self._newest is None or self._newest[0] != rings:
            with self._parts.database.glance() as connection:
                head = logs.head(connection, LEDGER)
            if head is None:
                raise Damaged("the store has no ledger", do="run `aeo fsck`")
            self._newest = (rings, head.checkpoint, Tree(self._read_tile, head.size))
        return self._newest[1:]

    def _read_tile(self, level: int, index: int) -> bytes:
        # A tile only ever grows, so one read later than the checkpoint still begins with what it needs.
        with self._parts.database.glance() as connection:
            return logs.tile_reader(connection, LEDGER)(level, index)
