"""One log of the store, from its entries up: form, chain, tiles, root, head and signature.

Reads each entry once, a bundle at a time; what stands behind the entries is checked by whoever is handed
the decoded bundle.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from node.errors import Damaged
from node.exchange.card import Card
from node.exchange.incoming import prove
from node.ledger import moment, tiles
from node.ledger.checkpoint import Checkpoint, open_checkpoint
from node.ledger.entry import ChannelEntry, LedgerEntry, check_chain
from node.ledger.merkle import EMPTY_ROOT, leaf_hash
from node.service.findings import Finding, Seen, Told, guarded, why
from node.store import logs
from node.store.logs import Head
from node.store.tables import LEDGER

BUNDLE = tiles.TILE_WIDTH
Entries = Sequence[LedgerEntry | ChannelEntry | None]
Behind = Callable[[Head, int, Entries], Iterator[Finding]]
"""Checks what stands behind the entries from a number on; None in place of one that is out of form."""


@dataclass(frozen=True, slots=True)
class LogCheck:
    """Where one check reads, whom it tells how far it is, and what it has seen."""

    connection: Connection
    told: Told
    seen: Seen

    def log(self, log: int, signer: Card, behind: Behind, *, is_own: bool) -> Iterator[Finding]:
        """Everything about one log; stops where entries are missing."""
        head = logs.head(self.connection, log)
        if head is None:
            yield Finding(f"log {log}", -1, "it has no head")
            return
        made: dict[tuple[int, int], bytes] = {}
        root, last = EMPTY_ROOT, None
        for start in range(0, head.size, BUNDLE):
            self.told(head.origin, start, head.size)
            encoded = logs.entries(self.connection, log, start, min(start + BUNDLE, head.size))
            self.seen["log_entry", log] += len(encoded)
            if len(encoded) != min(BUNDLE, head.size - start):
                missing = min(BUNDLE, head.size - start) - len(encoded)
                yield Finding(head.origin, start, f"{missing} entries are missing behind it")
                return
            leaves = [leaf_hash(entry) for entry in encoded]
            yield from guarded(head.origin, -1, self._tile, head, start // BUNDLE, leaves)
            entries = yield from decoded(head, start, encoded, leaves, last)
            yield from behind(head, start, entries)
            grown = tiles.append(lambda *at: made[at], start, leaves)
            made.update({at: hashes for at, hashes in grown.tiles.items() if at[0] > 0})
            root, last = grown.root, leaves[-1]
        if last != head.last_leaf:
            yield Finding(head.origin, head.size - 1, "the last entry is not the one the head names")
        yield from self._tree(head, root, made)
        yield from check_head(head, head.origin, signer, is_own=is_own)

    def _tile(self, head: Head, index: int, leaves: list[bytes]) -> Iterator[Finding]:
        stored = logs.tile(self.connection, head.log, 0, index) or b""
        self.seen["log_tile", head.log] += 1
        if stored == b"".join(leaves):
            return
        if len(stored) > 32 * len(leaves):
            what = f"the tile of entries {index * BUNDLE} and on holds more than there is"
            yield Finding(head.origin, -1, what)
        for at, leaf in enumerate(leaves):
            if stored[32 * at : 32 * at + 32] != leaf:
                what = "the entry is not the one that was hashed into the tree"
                yield Finding(head.origin, index * BUNDLE + at, what)

    def _tree(self, head: Head, root: bytes, made: dict[tuple[int, int], bytes]) -> Iterator[Finding]:
        """The root, and every tile above the entries, byte for byte as the entries make it."""
        if root != head.root:
            yield Finding(head.origin, -1, "the entries do not make the root of the head")
        self.seen["log_tile", head.log] += len(made)
        for (level, index), hashes in made.items():
            if logs.tile(self.connection, head.log, level, index) != hashes:
                yield Finding(head.origin, -1, f"tile {index} of level {level} is not what the entries make")


def decoded(
    head: Head, start: int, encoded: list[bytes], leaves: list[bytes], last: bytes | None
) -> Generator[Finding, None, Entries]:
    """Decode entries and check their chain; gives them, with None for each that is out of form."""
    kind = LedgerEntry if head.log == LEDGER else ChannelEntry
    entries: list[LedgerEntry | ChannelEntry | None] = []
    for at, each in enumerate(encoded):
        entry = None
        try:
            entry = kind.decode(each)
            check_chain(leaves[at - 1] if at else last, start + at, entry)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next entry is looked at too
            yield Finding(head.origin, start + at, why(error))
        entries.append(entry)
    return entries


def check_head(head: Head, origin: str, signer: Card, *, is_own: bool) -> Iterator[Finding]:
    """The signature on a head; a copy may end before the checkpoint that its entries were proven against."""
    try:
        signed = _signed(head, origin, signer, is_own=is_own)
    except Exception as error:  # noqa: BLE001 - a head that cannot be read is a finding
        yield Finding(head.origin, -1, why(error))
        return
    is_whole = signed.size == head.size and signed.root == head.root
    if not is_whole and (is_own or signed.size <= head.size):
        yield Finding(head.origin, -1, "the signed checkpoint is not that of the head")


def _signed(head: Head, origin: str, signer: Card, *, is_own: bool) -> Checkpoint:
    """The checkpoint that was signed; a copied one also carries the time up to which it is proven."""
    if is_own:
        return open_checkpoint(head.checkpoint, origin, signer.verifiers(origin))
    proven = prove(head.checkpoint, signer, origin, float("inf"))
    if moment.format(proven.time_s * 1000) < head.time:
        raise Damaged("the head claims to be proven later than its checkpoint says", where=origin)
    return proven.checkpoint


def check_tail(connection: Connection, head: Head) -> Iterator[Finding]:
    """The newest entries hang together and end as the head says."""
    start = max(0, head.size - BUNDLE)
    encoded = logs.entries(connection, head.log, start, head.size)
    if len(encoded) != head.size - start:
        yield Finding(head.origin, start, "entries are missing behind it")
        return
    before = logs.entries(connection, head.log, start - 1, start)
    leaves = [leaf_hash(entry) for entry in encoded]
    yield from decoded(head, start, encoded, leaves, leaf_hash(before[0]) if before else None)
    if leaves and leaves[-1] != head.last_leaf:
        yield Finding(head.origin, head.size - 1, "the last entry is not the one the head names")
