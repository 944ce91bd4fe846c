"""What a witness answers to a checkpoint (C2SP tlog-witness, `add-checkpoint`).

`examine` takes the request's bytes and what is known of its log, and gives the checkpoint to record and
cosign, or why not, in the order of the specification. Nothing is recorded here: whoever calls records the
checkpoint, and makes sure that the size is still the one it was examined against, before it cosigns.

1. 404: the log is not one that is watched. 2. 403: none of its keys signed, or one of them badly. 3. 400: the
request is out of form, or its old size is beyond the checkpoint's. 4. 409: the old size is not the one
recorded; the answer tells that one. 5. 422: the proof does not lead from what is recorded to the checkpoint.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from node.errors import Malformed, Unproven, problem
from node.ledger.checkpoint import Checkpoint, opened_checkpoint
from node.ledger.encoding import b64, parse_decimal, unb64
from node.ledger.merkle import EMPTY_ROOT, verify_consistency
from node.ledger.note import Verifier, open_note

LIMIT_BYTES = 1 << 18
SIZE_TYPE = "text/x.tlog.size"
"""The content type of an answer with 409, which is the size recorded and a newline."""
MAX_HASHES = 63
OLD = "old "


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known of a log: who may sign it, and the size and root that were cosigned last."""

    verifiers: Sequence[Verifier]
    size: int = 0
    root: bytes = EMPTY_ROOT


@dataclass(frozen=True, slots=True)
class Accepted:
    """A checkpoint that follows the one of size `old`, to be recorded and cosigned; the note it came in."""

    checkpoint: Checkpoint
    note: str
    old: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a checkpoint is not cosigned, as a status code of HTTP and in words.

    `size` is the size recorded, with 409. `signed` is, with 422, what the log itself signed: evidence, if
    it is the checkpoint that does not follow, and not the proof that is wrong.
    """

    status: int
    why: str
    size: int | None = None
    signed: str | None = None


Watch = Callable[[str], Watched | None]
"""What is known of the log of an origin; None when it is not watched."""


def request(old: int, proof: Sequence[bytes], checkpoint: str) -> bytes:
    """The body that asks for a cosignature of a checkpoint's note."""
    return "\n".join([f"{OLD}{old}", *map(b64, proof), "", checkpoint]).encode()


def examine(body: bytes, watch: Watch) -> Accepted | Rejected:
    """What a request comes to, given what is known of its log."""
    try:
        head, note = _split(body)
    except Malformed as refusal:
        return Rejected(400, refusal.sentence())
    watched = watch(note.partition("\n")[0])
    if watched is None:
        return Rejected(404, "this log is not watched here")
    try:
        checkpoint = opened_checkpoint(open_note(note, watched.verifiers), note.partition("\n")[0])
    except Unproven as refusal:
        return Rejected(403, refusal.sentence())
    except Malformed as refusal:
        return Rejected(400, refusal.sentence())
    return _following(head, note, checkpoint, watched)


def _following(head: str, note: str, checkpoint: Checkpoint, watched: Watched) -> Accepted | Rejected:
    try:
        old, proof = _parse(head)
    except Malformed as refusal:
        return Rejected(400, refusal.sentence())
    if old > checkpoint.size:
        return Rejected(400, f"the old size {old} is beyond the checkpoint's, {checkpoint.size}")
    if old != watched.size:
        return Rejected(409, f"the size recorded is {watched.size}", size=watched.size)
    try:
        verify_consistency(old, checkpoint.size, watched.root, checkpoint.root, proof)
    except Unproven as refusal:
        return Rejected(422, refusal.sentence(), signed=note)
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        return Rejected(422, "the root of the empty tree is SHA-256 of nothing", signed=note)
    return Accepted(checkpoint, note, old)


def _split(body: bytes) -> tuple[str, str]:
    """The lines of the request, and the note behind them."""
    if len(body) > LIMIT_BYTES:
        raise _refused("body", f"{len(body)} bytes", f"must be at most {LIMIT_BYTES} bytes")
    try:
        head, gap, note = body.decode("utf-8").partition("\n\n")
    except UnicodeDecodeError:
        raise _refused("body", "", "must be UTF-8") from None
    if not gap:
        raise _refused("body", head, "must be an old size line, a proof, an empty line and a checkpoint")
    return head, note


def _parse(head: str) -> tuple[int, list[bytes]]:
    first, *hashes = head.split("\n")
    if not first.startswith(OLD):
        raise _refused("old", first, "must be `old` and the size of the checkpoint before")
    if len(hashes) > MAX_HASHES:
        raise _refused("proof", f"{len(hashes)} lines", f"must have at most {MAX_HASHES}")
    return parse_decimal(first.removeprefix(OLD), "old"), [unb64(each) for each in hashes]


def _refused(field: str, shown: str, rule: str) -> Malformed:
    return Malformed("a request to a witness was refused", problems=[problem(field, shown, rule)])
