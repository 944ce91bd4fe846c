"""Offline proofs that an entry is in a log (C2SP tlog-proof v1, files `*.tlog-proof`).

A proof carries the leaf's index, its inclusion proof and the signed checkpoint that it leads to.
Guarantees that what `verify` accepts is in the log that signed the checkpoint. `extra` is signed by
nobody. Refuses any second spelling of the same proof.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from node.errors import Malformed, problem
from node.ledger.checkpoint import Checkpoint, open_checkpoint
from node.ledger.encoding import b64, parse_decimal, unb64
from node.ledger.merkle import HASH_BYTES, MAX_SIZE, verify_inclusion
from node.ledger.note import MAX_NOTE_BYTES, Verifier

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63
MAX_EXTRA_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class TlogProof:
    """Where a leaf stands, its siblings (the lowest first), the signed checkpoint, and a free extra.

    `checkpoint` is the whole note with its signatures; an empty `extra` means none.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes = b""

    def __post_init__(self) -> None:
        """Refuse as `Malformed` what cannot be written as a proof."""
        if not 0 <= self.index <= MAX_SIZE:
            raise _refused("index", self.index, "must be from 0 to 2^63 - 1")
        if len(self.hashes) > MAX_HASHES or any(len(each) != HASH_BYTES for each in self.hashes):
            raise _refused("hashes", len(self.hashes), f"must be at most {MAX_HASHES} of {HASH_BYTES} bytes")
        if len(self.extra) > MAX_EXTRA_BYTES:
            raise _refused("extra", f"{len(self.extra)} bytes", f"must be at most {MAX_EXTRA_BYTES} bytes")

    def encode(self) -> str:
        """The proof as text."""
        extra = [f"extra {b64(self.extra)}"] if self.extra else []
        lines = [HEADER, *extra, f"index {self.index}", *map(b64, self.hashes), "", self.checkpoint]
        return "\n".join(lines)

    @classmethod
    def decode(cls, text: str) -> "TlogProof":
        """The proof that `encode` writes as this text; anything else is `Malformed`."""
        if len(text) > 2 * MAX_NOTE_BYTES:
            raise _refused("text", f"{len(text)} characters", f"must be at most {2 * MAX_NOTE_BYTES}")
        head, _, checkpoint = text.partition("\n\n")
        lines = head.split("\n")[1:]
        extra = unb64(lines.pop(0)[6:]) if lines and lines[0].startswith("extra ") else b""
        if not lines or not lines[0].startswith("index "):
            raise _refused("text", text, "must have its header, then an index line")
        index = parse_decimal(lines[0][6:], "index")
        proof = cls(index, tuple(unb64(line) for line in lines[1:]), checkpoint, extra)
        if proof.encode() != text:
            raise _refused("text", text, f"must begin with {HEADER} and be spelt in its only way")
        return proof

    def verify(self, leaf: bytes, origin: str, verifiers: Iterable[Verifier]) -> Checkpoint:
        """The checkpoint, once it is shown that the log `origin` holds this leaf hash at `index`.

        Raises `Malformed` or `Unproven` as `open_checkpoint` does, `Unproven` if the leaf is not there.
        """
        checkpoint = open_checkpoint(self.checkpoint, origin, verifiers)
        verify_inclusion(self.index, checkpoint.size, leaf, self.hashes, checkpoint.root)
        return checkpoint


def _refused(field: str, shown: object, rule: str) -> Malformed:
    return Malformed("an offline proof was refused", problems=[problem(field, shown, rule)])
