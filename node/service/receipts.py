"""Receipts: proof that an entry is in the ledger, as a C2SP tlog-proof against a checkpoint that holds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from node.errors import Damaged, NotFound
from node.ledger.checkpoint import Checkpoint, sign_checkpoint
from node.ledger.note import ed25519_signer
from node.ledger.policy import Policy
from node.ledger.proof import TlogProof
from node.ledger.tiles import Tree
from node.service.parts import Parts
from node.store import logs, witnessed
from node.store.logs import Head
from node.store.tables import LEDGER
from node.store.witnessed import CosignedNote


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt, which witnesses of the trust policy cosigned its checkpoint, and whether they suffice."""

    text: str
    cosigned_by: tuple[str, ...]
    is_witnessed: bool


@dataclass(frozen=True, slots=True)
class Anchor:
    """A checkpoint that receipts can be against: its note, and what they say of it."""

    note: str
    cosigned_by: tuple[str, ...] = ()
    is_witnessed: bool = False


class Receipts:
    """Makes receipts; all those asked for after one commit share the hashing of its tree."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._waiting = 0
        self._newest: tuple[int, Tree, Anchor] | None = None
        self._last: tuple[str, Policy, Anchor] | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether somebody may wait for cosignatures; of several processes each knows its own callers."""
        return self._waiting > 0 or self._parts.database.is_shared

    @contextmanager
    def awaited(self, *, is_wanted: bool) -> Iterator[None]:
        """Somebody waits for cosignatures, if so; one thread counts, that of the event loop."""
        self._waiting += is_wanted
        try:
            yield
        finally:
            self._waiting -= is_wanted

    def newest(self, seq: int) -> Receipt:
        """The receipt against the newest checkpoint; `NotFound` when the ledger has no such entry."""
        tree, anchor = self._current()
        if seq >= tree.size:  # a ring may have been lost
            self._newest = None
            tree, anchor = self._current()
        return self._receipt(seq, tree, anchor)

    def witnessed(self, seq: int) -> Receipt | None:
        """The receipt of an entry against the newest checkpoint that a quorum cosigned, if that holds it."""
        with self._parts.database.glance() as connection:
            head = _head(connection)
            kept = witnessed.cosigned(connection, head.origin) or CosignedNote(head.size, head.checkpoint)
            anchor = self._told(kept.note, self._parts.policy(connection))
        if kept.size <= seq or not anchor.is_witnessed:
            return None
        return self._receipt(seq, self._tree(kept.size), anchor)

    def at(self, seq: int, size: int) -> Receipt:
        """The receipt against the ledger of an earlier size, which is signed with the log's keys alone.

        `NotFound` when the ledger is not as long, or has no such entry by then.
        """
        with self._parts.database.glance() as connection:
            head = _head(connection)
        if size > head.size:
            raise NotFound("the ledger is not as long", where=f"size {size}", why=f"it has {head.size}")
        tree = self._tree(size)
        checkpoint = Checkpoint(head.origin, size, tree.root())
        note = sign_checkpoint(checkpoint, [ed25519_signer(head.origin, key) for key in self._parts.keys.log])
        return self._receipt(seq, tree, Anchor(note))

    def with_entry(self, seq: int, receipt: Receipt) -> Receipt:
        """The receipt with the entry that it proves, so that it can be checked without the ledger."""
        with self._parts.database.glance() as connection:
            [entry] = logs.entries(connection, LEDGER, seq, seq + 1)
        return replace(receipt, text=replace(TlogProof.decode(receipt.text), extra=entry).encode())

    def _receipt(self, seq: int, tree: Tree, anchor: Anchor) -> Receipt:
        if not 0 <= seq < tree.size:
            raise NotFound("the ledger has no such entry", where=f"entry {seq}", why=f"it has {tree.size}")
        text = TlogProof(seq, tree.inclusion_proof(seq), anchor.note).encode()
        return Receipt(text, anchor.cosigned_by, anchor.is_witnessed)

    def _current(self) -> tuple[Tree, Anchor]:
        """The newest tree and checkpoint, read again after every ring, which follows every commit."""
        rings = self._parts.bell.rings
        if self._newest is None or self._newest[0] != rings:
            with self._parts.database.glance() as connection:
                head = _head(connection)
                kept = witnessed.cosigned(connection, head.origin)
                policy = self._parts.policy(connection)
            anchor = Anchor(head.checkpoint, (), policy.is_quorum(()))
            if kept is not None and kept.size == head.size:
                anchor = self._told(kept.note, policy)
            self._newest = (rings, self._tree(head.size), anchor)
        return self._newest[1], self._newest[2]

    def _told(self, note: str, policy: Policy) -> Anchor:
        """Who cosigned a note; verified once for all who wait for it."""
        if self._last is None or self._last[:2] != (note, policy):
            times_s = policy.cosigned(note).times_s
            anchor = Anchor(note, tuple(sorted(times_s)), policy.is_quorum(times_s))
            self._last = (note, policy, anchor)
        return self._last[2]

    def _tree(self, size: int) -> Tree:
        return Tree(logs.later_reader(self._parts.database, LEDGER), size)


def _head(connection: Connection) -> Head:
    head = logs.head(connection, LEDGER)
    if head is None:
        raise Damaged("the store has no ledger", do="run `aeo fsck`")
    return head
