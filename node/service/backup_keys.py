"""The keys of backups, in a file of the key store: made once, and from then on only ever less.

`backup.keys` stands with the node's other keys, mode 0600. When a record is erased its key goes from there,
and with it what every backup ever made has of the record. So of this file only the newest copy may be kept.
"""

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from node.errors import Damaged, NotFound
from node.exchange.key_tree import SEED_BYTES, KeyTree
from node.ledger.encoding import b64u, unb64u

FILE: Final = "backup.keys"
MOST_SEEDS: Final = 400_000
"""Beyond that, about 2,600 erasures, one new tree takes the place of all that is left: see `destroy`."""

log = structlog.get_logger()


class BackupKeys:
    """The file of one node; only one process may change it at a time."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read or written yet."""
        self.path = folder / FILE

    def load(self) -> tuple[bytes, KeyTree]:
        """(the key of what is of no record, the tree of the others); `NotFound` where there is no file."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            do = "restore the newest copy from your key backup; without it no backup can be read"
            raise NotFound("the keys of backups are missing", where=str(self.path), do=do) from None
        if stat.S_IMODE(self.path.stat().st_mode) & 0o077 and os.name == "posix":
            raise Damaged(
                "the keys of backups may be read by others", where=str(self.path), do="chmod 600 it"
            )
        try:
            told: Any = orjson.loads(content)
            seeds = {path: unb64u(seed) for path, seed in told["seeds"].items()}
            return unb64u(told["common"]), KeyTree(seeds)
        except (ValueError, KeyError, TypeError, AttributeError):
            do = "restore the newest copy from your key backup"
            raise Damaged("the keys of backups cannot be read", where=str(self.path), do=do) from None

    def made(self, entropy: Callable[[int], bytes]) -> tuple[bytes, KeyTree]:
        """As `load`; makes the file where there is none yet."""
        if not self.path.exists():
            self._write(entropy(SEED_BYTES), KeyTree.of(entropy(SEED_BYTES)))
        return self.load()

    def destroy(self, owners: Iterable[str], entropy: Callable[[int], bytes]) -> None:
        """Destroy the keys of these owners (`key_tree.name`); where no backup was ever made there are none.

        When too many are gone for what is left to be kept singly, all of them go: then no backup made
        before can be read any more, and the log says so.
        """
        if not self.path.exists():
            return
        common, tree = self.load()
        tree = tree.without([tree.free_path(owner) for owner in owners])
        if len(tree.seeds) > MOST_SEEDS:
            log.warning("backups made before cannot be read any more", do="make a new one: `aeo backup`")
            common, tree = entropy(SEED_BYTES), KeyTree.of(entropy(SEED_BYTES))
        self._write(common, tree)

    def _write(self, common: bytes, tree: KeyTree) -> None:
        """Put a new file in the place of the old one, and overwrite that as far as the system lets us."""
        seeds = {path: b64u(seed) for path, seed in sorted(tree.seeds.items())}
        new = self.path.with_suffix(".new")
        new.unlink(missing_ok=True)
        _write_durably(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600),
            orjson.dumps({"common": b64u(common), "seeds": seeds}),
        )
        old = os.open(self.path, os.O_WRONLY) if self.path.exists() else None
        new.replace(self.path)
        if os.name == "posix":
            folder = os.open(self.path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        if old is not None:
            _write_durably(old, bytes(os.fstat(old).st_size))


def _write_durably(handle: int, content: bytes) -> None:
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
