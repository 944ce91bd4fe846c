"""Checkpoints: the signed head of a log (C2SP tlog-checkpoint v1).

A checkpoint is a signed note of three lines: origin, size, base64 of the root. The key of a log bears
the name of its origin. Guarantees that `open_checkpoint` returns only what the log's own key signed;
cosignatures alone never suffice. Refuses extension lines, leading zeros and another log's checkpoint.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from node.errors import Malformed, Unproven, problem
from node.ledger.encoding import b64, parse_decimal, unb64
from node.ledger.merkle import HASH_BYTES, MAX_SIZE
from node.ledger.note import Opened, Signer, Verifier, check_name, open_note, read_note, sign_note

_LINES = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: origin, size in entries, and root hash (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        """Refuse as `Malformed` a head that no log has."""
        check_name(self.origin, "origin")
        if not 0 <= self.size <= MAX_SIZE:
            raise _refused("size", str(self.size), "must be from 0 to 2^63 - 1")
        if len(self.root) != HASH_BYTES:
            raise _refused("root", f"{len(self.root)} bytes", f"must be {HASH_BYTES} bytes")

    def text(self) -> str:
        """The text that is signed: three lines, each with its newline."""
        return f"{self.origin}\n{self.size}\n{b64(self.root)}\n"


def parse(text: str) -> Checkpoint:
    """The checkpoint whose `text` this is; anything else is `Malformed`. Verifies no signature."""
    lines = text.split("\n")
    if len(lines) != _LINES + 1 or lines[-1]:
        raise _refused("text", text, "must be three lines: origin, size, base64 of the root")
    return Checkpoint(lines[0], parse_decimal(lines[1], "size"), unb64(lines[2]))


def stated(note: str) -> Checkpoint:
    """What a note states, *nothing verified*: for notes that were verified when they were kept."""
    return parse(read_note(note)[0])


def sign_checkpoint(checkpoint: Checkpoint, signers: Iterable[Signer]) -> str:
    """The signed note of a checkpoint; `Malformed` if a signer does not bear the origin's name.

    The caller sees to it that nothing inconsistent with an earlier checkpoint is ever signed.
    """
    own = list(signers)
    if not own or any(signer.name != checkpoint.origin for signer in own):
        names = ", ".join(signer.name for signer in own)
        raise _refused("signers", names, f"must be keys named {checkpoint.origin}, at least one")
    return sign_note(checkpoint.text(), own)


def open_checkpoint(note: str, origin: str, verifiers: Iterable[Verifier]) -> Checkpoint:
    """The checkpoint in a note that the log `origin` signed, verified against the keys one knows.

    Raises `Malformed` as `open_note` and `parse` do; `Unproven` if a known signature is bad, the
    log's own key did not sign, or it is another log's checkpoint.
    """
    return opened_checkpoint(open_note(note, verifiers), origin)


def opened_checkpoint(opened: Opened, origin: str) -> Checkpoint:
    """As `open_checkpoint`, for a note already opened to see its cosignatures too."""
    checkpoint = parse(opened.text)
    if checkpoint.origin != origin:
        raise _unproven(origin, f"it is the checkpoint of {checkpoint.origin}")
    if not any(each.name == origin and each.time_s is None for each in opened.signatures):
        raise _unproven(origin, "the log's own key did not sign it")
    return checkpoint


def _refused(field: str, shown: str, rule: str) -> Malformed:
    return Malformed("a checkpoint was refused", problems=[problem(field, shown, rule)])


def _unproven(origin: str, why: str) -> Unproven:
    return Unproven(
        "a checkpoint does not hold",
        where=origin,
        why=why,
        do="fetch the log's own checkpoint, and pin its key",
    )
