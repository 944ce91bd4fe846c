"""A great many short texts, eight bytes each: which of them stand twice, and whether one is among them.

Two texts are taken for the same in one case in 2^64. The digest is the interpreter's keyed hash, so that
nobody who writes a list can choose two that collide; it means nothing outside of this process.
"""

from array import array
from bisect import bisect_left
from itertools import pairwise
from typing import Final

_SHARDS: Final = 256


class Digests:
    """Texts as they were added, of which only digests are kept."""

    def __init__(self) -> None:
        """Begin with none."""
        self._shards = [array("q") for _ in range(_SHARDS)]
        self._sorted = True

    def __len__(self) -> int:
        """How many were added."""
        return sum(map(len, self._shards))

    def add(self, text: str) -> None:
        """Add one."""
        digest = hash(text)
        self._shards[digest % _SHARDS].append(digest)
        self._sorted = False

    def __contains__(self, text: str) -> bool:
        """Whether it was added."""
        self._sort()
        digest = hash(text)
        shard = self._shards[digest % _SHARDS]
        at = bisect_left(shard, digest)
        return at < len(shard) and shard[at] == digest

    def repeated(self) -> "Digests":
        """Those that were added more than once."""
        self._sort()
        found = Digests()
        for shard, theirs in zip(self._shards, found._shards, strict=True):
            theirs.extend(one for one, next_ in pairwise(shard) if one == next_)
        return found

    def _sort(self) -> None:
        """One shard at a time, so that only one is ever held as a list."""
        if not self._sorted:
            self._shards = [array("q", sorted(shard)) for shard in self._shards]
            self._sorted = True
