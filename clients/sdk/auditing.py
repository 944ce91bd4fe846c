"""The audit of somebody else's log: all of it against what it signed, and that against the last audit.

What must not be lost between two audits stands in one small file: the largest checkpoint that the log ever
showed here, and how far its entries were re-read. The file is replaced as a whole and never says more than
what was shown to hold, so an audit may be killed at any moment. Guarantees that an audit which holds has
seen every entry and every hash tile of the tree that the checkpoint signs, and that this tree begins with
every one audited before. A log that contradicts what it signed is accused: the proof is kept in a file that
anyone can check.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote

from clients.sdk.tlog import Log
from node.errors import Malformed, NotFound, Refusal, TooMuch, Unproven, reason
from node.ledger import accusation, canonical, checkpoint, moment, policy
from node.ledger.accusation import Accusation
from node.ledger.checkpoint import Checkpoint, open_checkpoint
from node.ledger.encoding import b64, unb64
from node.ledger.merkle import Frontier
from node.ledger.note import MAX_NOTE_BYTES, open_note, parse_vkey
from node.ledger.policy import Policy
from node.ledger.reread import Chain, Hashes, Progress, take
from node.ledger.tiles import TILE_WIDTH, ReadTile, width

KIND: Final = "aeo-audit/v1"
LIMIT_BYTES: Final = 2 * MAX_NOTE_BYTES
NAME_LIMIT: Final = 180
SAVE_S: Final = 1.0
AHEAD: Final = 8
"""Bundles that are asked for before they are needed; the largest that can be have 17 MB."""
FOUND: Final = (Unproven, Malformed, NotFound, TooMuch)
"""What a log's own content is refused with."""

Tell = Callable[[int, int], None]
"""Hears how many entries of how many are re-read in this run."""


@dataclass(frozen=True, slots=True)
class State:
    """What is kept of the audits of one log: its largest checkpoint, as signed, and whole bundles re-read."""

    checkpoint: str
    progress: Progress

    def encode(self) -> bytes:
        """The state as a file."""
        tree, chain = self.progress.tree, self.progress.chain
        content: dict[str, canonical.Json] = {"kind": KIND, "checkpoint": self.checkpoint}
        content |= {"size": tree.size, "tree": [b64(each) for each in tree.hashes], "chain": None}
        if chain is not None:
            last = None if chain.last_leaf is None else b64(chain.last_leaf)
            content["chain"] = {"country": chain.country, "last": last, "time": moment.format(chain.time)}
        return canonical.encode(content)

    @classmethod
    def decode(cls, encoded: bytes) -> "State":
        """The state that `encode` writes so; anything else is `Malformed`."""
        try:
            state = cls._read(canonical.decode(encoded, LIMIT_BYTES))
        except (Malformed, TooMuch):
            state = None
        if state is None or state.encode() != encoded:
            raise Malformed("this is not the state of an audit")
        return state

    @classmethod
    def _read(cls, content: canonical.Json) -> "State | None":
        match content:
            case {"checkpoint": str(note), "size": int(size), "tree": list(tree), "chain": chain}:
                hashes = tuple(unb64(str(each)) for each in tree)
                of = checkpoint.stated(note).size
                if size % TILE_WIDTH == 0 and size <= of:
                    return cls(note, Progress(Frontier(size, hashes), _chain(chain)))
        return None


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit showed; `found`: what does not hold, `accused`: where the proof of a contradiction is."""

    signed: Checkpoint
    before: int | None
    """The size of the largest tree that earlier audits knew."""
    state: Path
    chain: Chain | None = None
    read: int = 0
    """How many entries this run re-read."""
    found: Refusal | None = None
    accused: Path | None = None


def trusting(vkey: str) -> Policy:
    """The policy that believes what one log key signed, whoever cosigned it."""
    return policy.parse(f"log {parse_vkey(vkey).vkey()}\nquorum none\n")


def state_file(origin: str) -> Path:
    """Where the state of a log's audits is unless it is told: named by its origin, in the current folder."""
    return Path(f"{quote(origin.replace('/', '_'), safe='')[:NAME_LIMIT]}.audit")


def audit(log: Log, trusted: Policy, path: Path | None, tell: Tell) -> Report:
    """Re-read a log from where the last audit stopped, up to the checkpoint that it shows now.

    Raises `Malformed` and `Unproven` for a checkpoint that is not signed as trusted and for another log's
    state, and what `Log` raises when it cannot be reached; what does not hold in the log is in the report.
    """
    served = log.checkpoint()
    shown = trusted.open(served).checkpoint
    note = _kept(served, trusted, shown.origin)
    path = path or state_file(shown.origin)
    held = load(path)
    if held is None:
        return _reread(log, State(note, Progress()), Report(shown, None, path), tell)
    known = _known(held, trusted, shown.origin, path)
    older, newer = (held.checkpoint, note) if known.size <= shown.size else (note, held.checkpoint)
    report = Report(max(known, shown, key=lambda each: each.size), known.size, path, held.progress.chain)
    verifiers = trusted.logs[shown.origin]
    try:
        accused = accusation.between(older, newer, verifiers, _tiles(log, report.signed))
    except FOUND as refusal:
        return replace(report, found=_shrunk(known, shown, refusal) if shown.size < known.size else refusal)
    if accused is None:
        return _reread(log, State(newer, held.progress), report, tell)
    return _accused(accused, report)


def load(path: Path) -> State | None:
    """The state in a file; None when there is no file, `Malformed` when it holds anything else."""
    try:
        with path.open("rb") as file:
            return State.decode(file.read(LIMIT_BYTES + 1))
    except FileNotFoundError:
        return None
    except OSError as error:
        do = "name a file that you may read with --state"
        what = "the state of an audit cannot be read"
        raise Malformed(what, where=str(path), why=reason(error), do=do) from None
    except Malformed as refusal:
        do = "name another file with --state; without this one the log is audited from its first entry"
        raise Malformed(refusal.what, where=str(path), do=do) from None


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in the place of another; whoever looks, also after a loss of power, finds one of them."""
    new = path.with_name(f"{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        do = "see that its folder is there, may be written to and has room"
        raise Malformed("the file cannot be written", where=str(path), why=reason(error), do=do) from None


def _kept(note: str, trusted: Policy, origin: str) -> str:
    """A checkpoint with the signatures of those who are trusted: what others sign could be of any form."""
    known = [*trusted.logs[origin], *(each.verifier for each in trusted.witnesses.values())]
    opened = open_note(note, known)
    return f"{opened.text}\n{''.join(each.line() for each in opened.signatures)}"


def _known(held: State, trusted: Policy, origin: str, path: Path) -> Checkpoint:
    """The checkpoint of the last audit; it was cosigned as the policy wanted when it was kept."""
    try:
        return open_checkpoint(held.checkpoint, origin, trusted.logs[origin])
    except (Malformed, Unproven) as refusal:
        do = "name the file of this log's audits with --state, or another one to begin anew"
        what = "the state is not that of this log's audits"
        raise Malformed(what, where=str(path), why=refusal.sentence(), do=do) from None


def _tiles(log: Log, signed: Checkpoint) -> ReadTile:
    def read(level: int, index: int) -> bytes:
        return log.tile(level, index, width(signed.size, level, index))

    return read


def _shrunk(known: Checkpoint, shown: Checkpoint, refusal: Refusal) -> Unproven:
    return Unproven(
        "the log shows a smaller tree than the one that it signed before, and does not serve that one",
        where=f"{shown.origin}, size {shown.size}, before {known.size}",
        why=refusal.sentence(),
        do="ask again, a cache may be old; if it stays so, keep the state: it has the larger checkpoint",
    )


def _accused(accused: Accusation, report: Report) -> Report:
    """The proof goes into a file named by its content, so that none is overwritten by another."""
    content = accused.encode()
    path = report.state.with_name(f"{report.state.name}.{sha256(content).hexdigest()[:12]}.accusation")
    replace_file(path, content)
    found = Unproven(
        "the log contradicts what it signed before",
        where=accused.origin,
        why=f"the proof is in {path}",
        do="show it to whoever relies on this log, and rely on nothing that it says",
    )
    return replace(report, found=found, accused=path)


def _reread(log: Log, state: State, report: Report, tell: Tell) -> Report:
    """Re-read what is behind the state, which moves with it, at the latest when this ends in whatever way."""
    kept, signed, found = state.progress, report.signed, None
    begun, saved_s = kept.tree.size, time.monotonic()
    progress = kept
    replace_file(report.state, state.encode())
    try:
        for progress in _bundles(log, signed, kept):
            kept = progress if progress.tree.size % TILE_WIDTH == 0 else kept
            if time.monotonic() - saved_s >= SAVE_S:
                saved_s = time.monotonic()
                replace_file(report.state, State(state.checkpoint, kept).encode())
            tell(progress.tree.size - begun, signed.size - begun)
    except FOUND as refusal:
        found = refusal
    finally:
        replace_file(report.state, State(state.checkpoint, kept).encode())
    return replace(report, read=progress.tree.size - begun, chain=progress.chain, found=found)


def _bundles(log: Log, signed: Checkpoint, progress: Progress) -> Iterator[Progress]:
    """How far it is behind each bundle that holds; the last has the whole tree, and its signed root."""
    progress.ended(signed)
    hashes = Hashes(_tiles(log, signed), signed)
    expected, last = progress.tree.size // TILE_WIDTH, -(-signed.size // TILE_WIDTH)
    for index in range(expected, last):
        while expected < min(index + AHEAD, last):
            log.expect(expected, hashes.width(0, expected))
            expected += 1
        progress = take(progress, hashes, log.bundle(index, hashes.width(0, index)))
        yield progress


def _chain(told: canonical.Json) -> Chain | None:
    match told:
        case {"country": str(country), "last": str() | None as last, "time": str(time)}:
            return Chain(country, None if last is None else unb64(last), moment.parse(time))
    return None
