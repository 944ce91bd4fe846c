"""Files of reads: what was asked is handed to the kernel here before it is answered.

A *segment* is a file in the folder `access` of the home folder, to which one process appends; it is held by a
lock for as long as that process lives, so that another one takes over what a killed one left, and nothing
else. Taken over means: written into the access log of the store in one transaction that names the segment;
only then the file goes. If the process dies before that transaction, the file is there and is taken over at
the next start; if it dies behind it, the store names the segment, and the file is only removed. A killed
process loses nothing that it answered. A loss of power may lose what was not in the store yet.

A record is length || CRC-32 || what was asked, sealed. That is all that is done while somebody waits: what an
entry commits to, and how its body rests, is made when it is taken over, many at a time.
"""

import os
import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = "access"
SUFFIX: Final = ".reads"
_FRAME: Final = struct.Struct(">II")


class Segment:
    """One file of reads, open for appending and locked."""

    def __init__(self, folder: Path, name: str) -> None:
        """Make the file; `OSError` where that cannot be done."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self.path = folder / f"{name}{SUFFIX}"
        new = folder / f"{name}.new"  # nobody takes over what has this name: it is not locked yet
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._handle = os.open(new, flags, 0o600)
        try:
            _locked(self._handle)
            new.rename(self.path)
        except OSError:
            os.close(self._handle)
            raise
        self.size, self.count = 0, 0

    def append(self, encoded: bytes) -> None:
        """Hand one record to the kernel, whole or not at all; `OSError` where that cannot be done."""
        written = 0
        try:
            while written < len(encoded):
                written += os.write(self._handle, encoded[written:])
        except OSError:
            os.ftruncate(self._handle, self.size)
            raise
        self.size += len(encoded)
        self.count += 1

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._handle)


@dataclass(slots=True)
class Left:
    """A file of reads that a process left behind which is no more, locked by this one."""

    path: Path
    size: int
    handle: int

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.handle)


def left(folder: Path) -> Iterator[Left]:
    """The files that nobody holds, oldest first."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            handle = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            continue
        if not _locked(handle, wait=False):
            os.close(handle)
            continue
        yield Left(path, os.fstat(handle).st_size, handle)


def framed(sealed: bytes) -> bytes:
    """One record as it stands in a file."""
    return _FRAME.pack(len(sealed), zlib.crc32(sealed)) + sealed


def read(path: Path) -> tuple[list[bytes], int]:
    """What a file holds, and how many bytes at its end are none: what a loss of power left of a record."""
    content, found, at = path.read_bytes(), list[bytes](), 0
    while at + _FRAME.size <= len(content):
        size, crc = _FRAME.unpack_from(content, at)
        sealed = content[at + _FRAME.size : at + _FRAME.size + size]
        if len(sealed) != size or not size or zlib.crc32(sealed) != crc:
            break
        found.append(sealed)
        at += _FRAME.size + size
    return found, len(content) - at


def _locked(handle: int, *, wait: bool = True) -> bool:
    """Lock a file for this process; False where another one holds it, which is not waited for."""
    if sys.platform == "win32":
        return True  # one process serves a node there
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
