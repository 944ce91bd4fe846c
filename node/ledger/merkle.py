"""Merkle trees over a log (RFC 6962 section 2.1; verification as RFC 9162 2.1.3.2 and 2.1.4.2).

A hash is 32 bytes; a leaf is always given by its hash, `leaf_hash(entry)`. Guarantees that a proof
which verifies could only have been made from the tree behind the root (under SHA-256). Refuses with
`Unproven` proofs that are too short, too long, or hold hashes of another length.
A proof from size 0 is empty, as in C2SP tlog-witness, and the root of size 0 is `EMPTY_ROOT` only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from node.errors import Malformed, Unproven, problem

HASH_BYTES = 32
MAX_SIZE = (1 << 63) - 1
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def split(together: bytes) -> list[bytes]:
    """Hashes that stand one behind the other; `Malformed` when the last one is not whole."""
    if len(together) % HASH_BYTES:
        rule = f"must be hashes of {HASH_BYTES} bytes, one behind the other"
        raise Malformed("hashes are not whole", problems=[problem("hashes", f"{len(together)} bytes", rule)])
    return [together[at : at + HASH_BYTES] for at in range(0, len(together), HASH_BYTES)]


def parents(row: Sequence[bytes]) -> list[bytes]:
    """The hashes one level up: one for each complete pair, a last odd one left out."""
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=False)]


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The root of the tree over these leaf hashes; `EMPTY_ROOT` if there are none."""
    row = list(leaf_hashes)
    while len(row) > 1:
        row = parents(row) + row[len(row) & ~1 :]
    return row[0] if row else EMPTY_ROOT


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` stands at `index` in the tree of `size` leaves under `root`.

    `proof` has the leaf's sibling first. Raises `Unproven` if it does not hold.
    """
    if not 0 <= index < size:
        raise _refused("inclusion", f"there is no leaf {index} in a tree of {size}")
    _check_lengths("inclusion", [leaf, *proof])
    if _climb(index, size - 1, leaf, proof) != root:
        raise _refused("inclusion", f"the proof for leaf {index} does not lead to the root of size {size}")


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of `new_size` under `new_root` begins with the one of `old_size` under `old_root`.

    Raises `Unproven` if it does not hold: then somebody rewrote history, or the proof is damaged.
    """
    if not 0 <= old_size <= new_size:
        raise _refused("consistency", f"a tree of {new_size} cannot begin with one of {old_size}")
    _check_lengths("consistency", proof)
    if old_size == 0 and old_root != EMPTY_ROOT:
        raise _refused("consistency", "the root of the empty tree is SHA-256 of nothing")
    if old_size in (0, new_size):
        _check_nothing_to_prove(old_size, new_size, old_root, new_root, proof)
    elif _climb_both(old_size, new_size, old_root, proof) != (old_root, new_root):
        raise _refused("consistency", f"the proof does not lead from size {old_size} to size {new_size}")


def _check_nothing_to_prove(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    if proof:
        raise _refused("consistency", f"the proof from size {old_size} to {new_size} must be empty")
    if old_size == new_size and old_root != new_root:
        raise _refused("consistency", f"two roots for one size, {old_size}: keep both as evidence")


def _climb(index: int, last: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root that the proof leads to, or None if it is too short or too long."""
    reached = leaf
    for sibling in proof:
        if last == 0:
            return None
        if index & 1 or index == last:
            reached = node_hash(sibling, reached)
            index, last = _skip_lone(index, last)
        else:
            reached = node_hash(reached, sibling)
        index, last = index >> 1, last >> 1
    return reached if last == 0 else None


def _climb_both(
    old_size: int, new_size: int, old_root: bytes, proof: Sequence[bytes]
) -> tuple[bytes, bytes] | None:
    """The old and new roots that the proof leads to, or None if it is too short or too long."""
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    index, last = old_size - 1, new_size - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    if not path:
        return None
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return None
        if index & 1 or index == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            index, last = _skip_lone(index, last)
        else:
            new = node_hash(new, sibling)
        index, last = index >> 1, last >> 1
    return (old, new) if last == 0 else None


def _skip_lone(index: int, last: int) -> tuple[int, int]:
    """Rise past the levels at which a node on the right edge has no sibling."""
    while index and not index & 1:
        index, last = index >> 1, last >> 1
    return index, last


def _check_lengths(proof_of: str, hashes: Iterable[bytes]) -> None:
    if any(len(each) != HASH_BYTES for each in hashes):
        raise _refused(proof_of, f"every hash must be {HASH_BYTES} bytes")


def _refused(proof_of: str, why: str) -> Unproven:
    return Unproven(
        f"a proof of {proof_of} does not hold",
        why=why,
        do="do not rely on what it was to prove; fetch it again, and keep it if it fails again",
    )


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree: the roots of its complete subtrees, the largest first.

    All that is needed to go on appending and to know the root. There is one hash for each bit set
    in `size`; anything else is `Malformed`.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a frontier that no tree has."""
        if not 0 <= self.size <= MAX_SIZE or len(self.hashes) != self.size.bit_count():
            raise _no_frontier(self.size, "must have one hash for each bit set in the size")
        if any(len(each) != HASH_BYTES for each in self.hashes):
            raise _no_frontier(self.size, f"must have hashes of {HASH_BYTES} bytes")

    def extend(self, roots: Iterable[bytes], height: int = 0) -> "Frontier":
        """The frontier after appending leaf hashes, or roots of complete subtrees of 2^height leaves each.

        `Malformed` where no such subtree can begin at the end of this tree.
        """
        step = 1 << height
        if self.size % step:
            raise _no_frontier(self.size, f"must be a multiple of {step}")
        size, hashes = self.size, list(self.hashes)
        for root in roots:
            hashes.append(root)
            size += step
            completed = size >> height
            while not completed & 1:
                right = hashes.pop()
                hashes[-1] = node_hash(hashes[-1], right)
                completed >>= 1
        return Frontier(size, tuple(hashes))

    def root(self) -> bytes:
        """The root of the whole tree."""
        return fold(self.hashes) if self.hashes else EMPTY_ROOT


def fold(hashes: Sequence[bytes]) -> bytes:
    """Join the roots of neighbouring complete subtrees, the largest first, into one hash."""
    reached = hashes[-1]
    for left in reversed(hashes[:-1]):
        reached = node_hash(left, reached)
    return reached


def _no_frontier(size: int, rule: str) -> Malformed:
    return Malformed("a tree frontier was refused", problems=[problem("frontier", size, rule)])
