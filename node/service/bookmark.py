"""This node's own record of how far it has signed its ledger, in a file apart from the store.

Whoever puts an older copy of the store in the place of the present one leaves this file as it is, and so the
node notices at its start. It is written behind each commit and before anybody is answered, whole or not at
all. It is not forced to the disk: it is there against old copies, not against a loss of power, after which it
is at most behind the store, or empty, and an empty one counts as none.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import structlog

from node.errors import Refusal
from node.ledger.checkpoint import parse
from node.ledger.note import read_note
from node.store.logs import Head

FILE: Final = "last-checkpoint"
LOCK: Final = "last-checkpoint.lock"
LIMIT_BYTES: Final = 1 << 16
TELL_AGAIN_S: Final = 60.0
EMPTY: Final = "\0\n "

log = structlog.get_logger()


class Bookmark:
    """The file of one home folder, which all processes of a node that live there share."""

    def __init__(self, home: Path) -> None:
        """Nothing is read or written yet."""
        self.path = home / FILE
        self._lock_path, self._new = home / LOCK, home / f"{FILE}.{os.getpid()}"
        self._turn = threading.Lock()
        self._told_s: float | None = None

    def note(self) -> str:
        """The newest checkpoint that was kept, as a signed note; empty when there is none.

        Raises `OSError` when the file is there and cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                kept = file.read(LIMIT_BYTES).decode(errors="replace")
        except FileNotFoundError:
            return ""
        return kept if kept.strip(EMPTY) else ""

    def keep(self, head: Head) -> None:
        """Keep the checkpoint of the ledger's head, unless a larger one is kept.

        Where that cannot be done writing goes on, for the ledger is durable without; but the log says so.
        """
        try:
            with self._turn, self._alone():
                if _size(self.note()) < head.size:
                    self._replace(head.checkpoint)
            self._told_s = None
        except OSError as error:
            self._warn(error)

    def _replace(self, note: str) -> None:
        try:
            file = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(file, "wb") as new:
                new.write(note.encode())
            os.replace(self._new, self.path)
        except OSError:
            with suppress(OSError):
                self._new.unlink()
            raise

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


def _size(note: str) -> int:
    """How many entries a note is about; what is no checkpoint counts as less than any."""
    try:
        return parse(read_note(note)[0]).size
    except Refusal:
        return -1
