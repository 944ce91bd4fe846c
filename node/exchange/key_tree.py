"""Keys of which single ones can be destroyed: a tree that gives each path a key, and forgets paths for good.

A puncturable pseudorandom function after Goldreich, Goldwasser and Micali (1986), as in Green and Miers
(2015): every node of a 16-ary tree has 32 bytes, from which those of its children follow by HMAC-SHA256 and
not the other way round. A key is the bytes of a leaf, at a path of hexadecimal digits. To destroy one, all
nodes above it are given up, and those beside its path are kept instead, which follow from none of them. So
whoever holds the tree as it is now has every key but those destroyed, however many there are, and what was
sealed under these is lost, wherever copies of it are: in backups, old files, replicas.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from node.errors import Unproven

DIGITS: Final = "0123456789abcdef"
DEPTH: Final = 12
"""Digits of a path: 48 bits, so that among a million owners two seldom share one."""
SEED_BYTES: Final = 32

Seeds = Mapping[str, bytes]


@dataclass(frozen=True)
class KeyTree:
    """The nodes that are left, by their paths: none is above another, and what is below none is destroyed."""

    seeds: Seeds = field(repr=False)

    @classmethod
    def of(cls, seed: bytes) -> "KeyTree":
        """The whole tree."""
        return cls({"": seed})

    def key(self, path: str) -> bytes:
        """The key at a path (32 bytes); `Unproven` when it was destroyed."""
        above = self._above(path)
        if above is None:
            raise Unproven("a key was destroyed", where=path, why="what it sealed was erased")
        seed = self.seeds[above]
        for digit in path[len(above) :]:
            seed = _child(seed, digit)
        return seed

    def has(self, path: str) -> bool:
        """Whether the key at a path can still be made."""
        return self._above(path) is not None

    def without(self, paths: Iterable[str]) -> "KeyTree":
        """The tree in which the keys at these paths are destroyed."""
        seeds = dict(self.seeds)
        for path in paths:
            above = _above(seeds, path)
            if above is None:
                continue
            seed = seeds.pop(above)
            for at in range(len(above), len(path)):
                beside = (digit for digit in DIGITS if digit != path[at])
                seeds |= {path[:at] + digit: _child(seed, digit) for digit in beside}
                seed = _child(seed, path[at])
        return KeyTree(seeds)

    def free_path(self, owner: str) -> str:
        """The first path of an owner whose key is not destroyed; `owner` as `name` gives it."""
        turn = 0
        while not self.has(path := _path(owner, turn)):
            turn += 1
        return path

    def _above(self, path: str) -> str | None:
        return _above(self.seeds, path)


def name(owner: str) -> str:
    """An owner as it may be written down: its SHA-256, hexadecimal."""
    return hashlib.sha256(owner.encode()).hexdigest()


def _path(owner: str, turn: int) -> str:
    return hashlib.sha256(f"{owner}/{turn}".encode()).hexdigest()[:DEPTH]


def _above(seeds: Seeds, path: str) -> str | None:
    """The node that is left at or above a path."""
    return next((path[:at] for at in range(len(path) + 1) if path[:at] in seeds), None)


def _child(seed: bytes, digit: str) -> bytes:
    return hmac.digest(seed, digit.encode(), "sha256")
