"""This node's own record of how far it has signed its ledger, in a file apart from the store.

Whoever puts an older copy of the store in the place of the present one leaves this file as it is, and so the
node notices at its start. It is written behind each commit and before anybody is answered, whole or not at
all: in turn to one of two slots, each with its digest, so that the checkpoint before the newest is there
whatever becomes of that. (A new file each time, renamed, made a single change take a quarter longer.)
It is not forced to the disk: it is there against old copies, not against a loss of power, after which it is
at most behind the store, or empty, and an empty one counts as none.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EFBIG, ENOSPC
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from node.errors import Refusal
from node.ledger.checkpoint import stated
from node.store.logs import Head

FILE: Final = "last-checkpoint"
LOCK: Final = "last-checkpoint.lock"
SLOT_BYTES: Final = 1 << 13
PLACES: Final = (0, SLOT_BYTES)
DIGEST_BYTES: Final = 64
TELL_AGAIN_S: Final = 60.0
EMPTY: Final = "\0\n "

log = structlog.get_logger()


class Bookmark:
    """The file of one home folder, which all processes of a node that live there share."""

    def __init__(self, home: Path) -> None:
        """Nothing is read or written yet."""
        self.path = home / FILE
        self._lock_path = home / LOCK
        self._turn = threading.Lock()
        self._digests: list[bytes] = []
        self._sizes = [-1, -1]
        self._told_s: float | None = None

    def note(self) -> str:
        """The newest checkpoint that was kept, as a signed note; empty when there is none.

        Raises `OSError` when the file is there and cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                kept = file.read(2 * SLOT_BYTES)
        except FileNotFoundError:
            return ""
        whole = [note for at in PLACES if (note := _unslotted(kept[at : at + SLOT_BYTES]))]
        return max(whole, key=_size) if whole else kept.decode(errors="replace").strip(EMPTY)

    def keep(self, head: Head) -> None:
        """Keep the checkpoint of the ledger's head, unless a larger one is kept.

        Where that cannot be done writing goes on, for the ledger is durable without; but the log says so.
        """
        try:
            with self._turn, self._alone():
                self._write(head)
            self._told_s = None
        except OSError as error:
            self._warn(error)

    def _write(self, head: Head) -> None:
        """Write the slot that does not hold the newest; read are the notes only if somebody else wrote."""
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        try:
            if self._digests != [_read(file, at, DIGEST_BYTES) for at in PLACES]:
                self._sizes = [_size(_unslotted(_read(file, at, SLOT_BYTES))) for at in PLACES]
            if head.size <= max(self._sizes):
                return
            older, slot = self._sizes.index(min(self._sizes)), _slotted(head.checkpoint)
            self._digests = []
            if _put(file, PLACES[older], slot) < len(slot):
                raise OSError(ENOSPC, os.strerror(ENOSPC))
            self._sizes[older] = head.size
            self._digests = [_read(file, at, DIGEST_BYTES) for at in PLACES]
        finally:
            os.close(file)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold what the processes of this home take turns in; elsewhere than on POSIX there is only one."""
        if sys.platform == "win32":
            yield
            return
        import fcntl

        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _warn(self, error: OSError) -> None:
        if self._told_s is None or time.monotonic() - self._told_s >= TELL_AGAIN_S:
            self._told_s = time.monotonic()
            log.error(
                "the record of the last checkpoint could not be written; writing goes on without it",
                where=str(self.path),
                why=error.strerror or str(error),
                do="make room on the disk, or let this account write there: until then the start of this "
                "node would not notice an older copy of the store",
            )


def _read(file: int, at: int, count: int) -> bytes:
    os.lseek(file, at, os.SEEK_SET)
    return os.read(file, count)


def _put(file: int, at: int, slot: bytes) -> int:
    os.lseek(file, at, os.SEEK_SET)
    return os.write(file, slot)


def _slotted(note: str) -> bytes:
    """A slot: the digest of a note in a line, the note, and zeros."""
    content = note.encode()
    slot = sha256(content).hexdigest().encode() + b"\n" + content
    if len(slot) > SLOT_BYTES:
        raise OSError(EFBIG, "the checkpoint is larger than its place")
    return slot.ljust(SLOT_BYTES, b"\0")


def _unslotted(slot: bytes) -> str:
    """The note in a slot; empty when it is not whole."""
    digest, _, content = slot.rstrip(b"\0").partition(b"\n")
    return content.decode(errors="replace") if sha256(content).hexdigest().encode() == digest else ""


def _size(note: str) -> int:
    """How many entries a note is about; what is no checkpoint counts as less than any."""
    try:
        return stated(note).size
    except Refusal:
        return -1
