"""Accusations: proof that a log has signed two histories, which anyone can check who has its key.

Two checkpoints of one log contradict each other when they have one size and two roots, or when the larger
tree begins otherwise than the smaller one was signed. The second takes one more proof: the root that the
larger tree has at the smaller size, with the consistency proof from there (RFC 9162, 2.1.4) that binds it
to the larger root; the log's own tiles give both (`between`). Guarantees that what `Accusation.check`
accepts no honest log can have signed. The file is canonical JSON, in which both checkpoints are notes as
they were signed, for other tools to open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from node.errors import Malformed, Unproven, problem
from node.ledger import canonical
from node.ledger.checkpoint import Checkpoint, open_checkpoint
from node.ledger.encoding import b64, unb64
from node.ledger.merkle import HASH_BYTES, verify_consistency
from node.ledger.note import Verifier, read_note
from node.ledger.tiles import ReadTile, Tree, tree_root

KIND = "aeo-accusation/v1"
MAX_HASHES = 63
LIMIT_BYTES = 1 << 22
MEMBERS = {"kind", "older", "newer", "root", "proof"}


@dataclass(frozen=True, slots=True)
class Accusation:
    """Two notes of one log, the smaller size first; if sizes differ, the newer tree's `root` at the older."""

    older: str
    newer: str
    root: bytes | None = None
    proof: tuple[bytes, ...] = ()

    @property
    def origin(self) -> str:
        """The log that is accused; nothing is verified."""
        return read_note(self.older)[0].partition("\n")[0]

    def encode(self) -> bytes:
        """The accusation as a file."""
        content: dict[str, canonical.Json] = {"kind": KIND, "older": self.older, "newer": self.newer}
        content["root"] = None if self.root is None else b64(self.root)
        content["proof"] = [b64(each) for each in self.proof]
        return canonical.encode(content)

    @classmethod
    def decode(cls, encoded: bytes) -> "Accusation":
        """The accusation that `encode` writes so; anything else is `Malformed`."""
        content = canonical.decode(encoded, LIMIT_BYTES)
        if not isinstance(content, dict) or set(content) != MEMBERS or content["kind"] != KIND:
            raise _refused("kind", f"must be {KIND}, with {', '.join(sorted(MEMBERS))} and nothing else")
        root, proof = content["root"], content["proof"]
        texts = [content["older"], content["newer"], *([] if root is None else [root])]
        if not isinstance(proof, list) or len(proof) > MAX_HASHES or not _are_texts([*texts, *proof]):
            raise _refused("proof", f"must be at most {MAX_HASHES} hashes, and all else text")
        hashes = tuple(unb64(cast(str, each)) for each in proof)
        older, newer = cast(str, content["older"]), cast(str, content["newer"])
        return cls(older, newer, None if root is None else unb64(cast(str, root)), hashes)

    def check(self, verifiers: Sequence[Verifier]) -> tuple[Checkpoint, Checkpoint]:
        """The two checkpoints, once it is shown that they contradict each other.

        `Unproven` when they do not, or when the log itself signed only one of them; `Malformed` for the form.
        """
        older, newer = (open_checkpoint(each, self.origin, verifiers) for each in (self.older, self.newer))
        if older.size > newer.size:
            raise _refused("older", "must be the one of the smaller size")
        if older.size == newer.size:
            if self.root is not None or self.proof:
                raise _refused("proof", "must be empty, and the root null, where both sizes are one")
            if older.root == newer.root:
                raise _unproven(self.origin, "it is one tree, signed twice")
            return older, newer
        if self.root is None or len(self.root) != HASH_BYTES or self.root == older.root:
            raise _unproven(self.origin, "nothing shows that the newer tree begins otherwise than the older")
        verify_consistency(older.size, newer.size, self.root, newer.root, self.proof)
        return older, newer


def between(older: str, newer: str, verifiers: Sequence[Verifier], read_tile: ReadTile) -> Accusation | None:
    """What two notes of one log, the smaller tree first, prove by its tiles; None when they are consistent.

    `Unproven` when the tiles do not make the larger tree: then nothing is shown either way. Raises as
    `open_checkpoint` does.
    """
    origin = read_note(older)[0].partition("\n")[0]
    first, second = (open_checkpoint(each, origin, verifiers) for each in (older, newer))
    if first.size == second.size:
        return None if first.root == second.root else Accusation(older, newer)
    root, proof = tree_root(read_tile, first.size), Tree(read_tile, second.size).consistency_proof(first.size)
    verify_consistency(first.size, second.size, root, second.root, proof)
    return None if root == first.root else Accusation(older, newer, root, proof)


def _are_texts(values: Sequence[object]) -> bool:
    return all(isinstance(each, str) for each in values)


def _refused(field: str, rule: str) -> Malformed:
    return Malformed("an accusation was refused", problems=[problem(field, "", rule)])


def _unproven(origin: str, why: str) -> Unproven:
    return Unproven("an accusation does not hold", where=origin, why=why, do="do not accuse the log of it")
