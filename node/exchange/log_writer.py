"""Appending to a log: frames new entries one behind the other, then grows the tree once.

The ledger and every outgoing channel are written this way; an incoming channel is copied with `copy`, and
of a peer's ledger the hashes of its entries alone. A copy is accepted only when what it makes is the
beginning of exactly the tree that the issuer signed.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from node.errors import Damaged
from node.ledger import tiles
from node.ledger.checkpoint import Checkpoint
from node.ledger.entry import Entry
from node.ledger.merkle import EMPTY_ROOT, leaf_hash, verify_consistency
from node.store import logs
from node.store.logs import Head


class LogWriter:
    """The end of one log inside one transaction."""

    def __init__(self, connection: Connection, head: Head) -> None:
        """Start behind the last entry of `head`."""
        self._connection, self._head = connection, head
        self._entries: list[bytes] = []
        self._leaves: list[bytes] = []

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._head.origin

    @property
    def seq(self) -> int:
        """The number that the next entry gets."""
        return self._head.size + len(self._entries)

    @property
    def prev(self) -> bytes | None:
        """The leaf hash of the entry before the next one."""
        return self._leaves[-1] if self._leaves else self._head.last_leaf

    def append(self, entry: Entry) -> None:
        """Append an entry made with this writer's `seq` and `prev`."""
        encoded = entry.encode()
        self._entries.append(encoded)
        self._leaves.append(leaf_hash(encoded))

    def append_leaves(self, leaves: Sequence[bytes]) -> None:
        """Go on with entries of which the hashes alone are kept."""
        self._leaves += leaves

    def commit(self, time: str, sign: Callable[[Checkpoint], str]) -> Head:
        """Write entries, tiles and the signed new head into the transaction; `Conflict` if the head moved.

        If the process dies before the transaction commits, nothing of this is on disk and no checkpoint
        over it was ever handed out; once it commits, all of it is.
        """
        if not self._entries:
            return self._head
        grown = self._grown()
        checkpoint = Checkpoint(self.origin, grown.size, grown.root)
        return self.keep(grown, time, sign(checkpoint))

    def copy(self, checkpoint: Checkpoint, note: str, proof: Sequence[bytes], time: str) -> Head:
        """As `commit`, under somebody else's checkpoint, of which these entries may be a first part.

        `proof` is the consistency proof from the size after these entries to the checkpoint's.
        Raises `Unproven` unless the tree made here is the beginning of the one that was signed.
        """
        return self.keep(self.proven(checkpoint, proof), time, note)

    def proven(self, checkpoint: Checkpoint, proof: Sequence[bytes]) -> tiles.Grown:
        """The tree with the new entries; `Unproven` as `copy`. Nothing is written."""
        grown = self._grown()
        verify_consistency(grown.size, checkpoint.size, grown.root, checkpoint.root, proof)
        return grown

    def _grown(self) -> tiles.Grown:
        """The tree with the new entries; `Damaged` when the stored tiles are not those signed.

        What is signed can never be taken back, so the tiles are checked before anything is built on them.
        """
        read_tile, head = logs.tile_reader(self._connection, self._head.log), self._head
        if tiles.tree_root(read_tile, head.size) != head.root:
            what = "the stored tiles do not make the root of the head"
            raise Damaged(what, where=head.origin, do="run `aeo fsck`")
        return tiles.append(read_tile, head.size, self._leaves)

    def keep(self, grown: tiles.Grown, time: str, note: str) -> Head:
        """Store the tree with the new entries under a checkpoint; `Conflict` if the head moved."""
        head = Head(self._head.log, self.origin, grown.size, grown.root, self.prev, time, note)
        logs.add_entries(self._connection, head.log, self._head.size, self._entries)
        logs.put_tiles(self._connection, head.log, grown.tiles)
        logs.advance(self._connection, self._head.size, head)
        return head


def begin(
    connection: Connection,
    origin: str,
    time: str,
    sign: Callable[[Checkpoint], str] | None = None,
    log: int | None = None,
) -> Head:
    """Start an empty log with its first signed checkpoint; a copy of somebody else's begins without."""
    note = sign(Checkpoint(origin, 0, EMPTY_ROOT)) if sign else ""
    number = logs.begin(connection, origin, EMPTY_ROOT, time, note, log)
    return Head(number, origin, 0, EMPTY_ROOT, None, time, note)
