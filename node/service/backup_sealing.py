"""What a backup is sealed with: its frames under a key of the file, rows under the keys of their records."""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, BinaryIO, Final

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import LargeBinary, Table

from node.errors import Malformed, Unproven
from node.exchange import key_tree, sealing
from node.exchange.key_tree import KeyTree
from node.ledger.encoding import b64, unb64
from node.service.backup_rows import ABOUT, Owners
from node.service.parts import Parts
from node.store.database import Row

FRAME_LIMIT_BYTES: Final = 1 << 28
LENGTH_BYTES: Final = 4
KEYS_KEPT: Final = 10_000


class Frames:
    """The frames of one file, sealed under its own key, each bound to its number."""

    def __init__(self, common: bytes, line: bytes) -> None:
        line = line.rstrip(b"\n")
        self._digest = hashlib.sha256(line).digest()
        self._cipher = AESGCM(
            sealing.expand(common, f"aeo/backup/v1/{self._digest.hex()}", sealing.KEY_BYTES)
        )
        self._next = 0

    def sealed(self, content: Row) -> bytes:
        """The next frame."""
        packed = zlib.compress(orjson.dumps(content), 1)
        sealed = self._cipher.encrypt(self._nonce(), packed, self._digest)
        return len(sealed).to_bytes(LENGTH_BYTES, "big") + sealed

    def opened(self, file: BinaryIO) -> Iterator[Row]:
        """Frame by frame; `Unproven` for one that is not what was written here."""
        while length := file.read(LENGTH_BYTES):
            size = int.from_bytes(length, "big")
            if size > FRAME_LIMIT_BYTES:
                raise Malformed("a frame of a backup is too long")
            try:
                packed = self._cipher.decrypt(self._nonce(), file.read(size), self._digest)
            except (InvalidTag, ValueError):
                do = "use another copy of it, or the keys that belong to it"
                raise Unproven("a backup does not open", where=f"frame {self._next - 1}", do=do) from None
            content: Row = orjson.loads(zlib.decompress(packed))
            yield content

    def _nonce(self) -> bytes:
        self._next += 1
        return self._next.to_bytes(sealing.NONCE_BYTES, "big")


class Sealer:
    """Seals each row that is about records under their keys."""

    def __init__(self, parts: Parts, tree: KeyTree, owners: Owners) -> None:
        self._entropy, self._owners = parts.entropy, owners

        @lru_cache(KEYS_KEPT)
        def key_of(owner: str) -> tuple[str, bytes]:
            path = tree.free_path(key_tree.name(owner))
            return path, tree.key(path)

        self._key_of = key_of

    def row(self, table: str, row: Row) -> object:
        """The row as it stands in the file."""
        keys = [self._key_of(owner) for owner in self._owners.of(table, row)]
        plain = {
            name: b64(value) if isinstance(value, bytes) else value
            for name, value in row.items()
            if name != ABOUT
        }
        if not keys:
            return plain
        nonce = self._entropy(sealing.NONCE_BYTES)
        sealed = nonce + _joined([key for _, key in keys]).encrypt(nonce, orjson.dumps(plain), table.encode())
        return [[path for path, _ in keys], b64(sealed)]


class Opener:
    """Opens rows; counts those whose key was destroyed."""

    def __init__(self, tree: KeyTree) -> None:
        self.erased = 0

        @lru_cache(KEYS_KEPT)
        def key_of(path: str) -> bytes | None:
            return tree.key(path) if tree.has(path) else None

        self._key_of = key_of

    def row(self, table: Table, told: Any) -> Row | None:
        """The row as it is stored; None for one of a record that was erased since."""
        if isinstance(told, list):
            sealed, keys = unb64(told[1]), [key for path in told[0] if (key := self._key_of(path))]
            if len(keys) < len(told[0]):
                self.erased += 1
                return None
            cipher = _joined(keys)
            size = sealing.NONCE_BYTES
            told = orjson.loads(cipher.decrypt(sealed[:size], sealed[size:], table.name.encode()))
        binary = [column.name for column in table.columns if isinstance(column.type, LargeBinary)]
        row: Row = told
        return row | {name: unb64(row[name]) for name in binary if row[name] is not None}


def _joined(keys: Sequence[bytes]) -> AESGCM:
    """The cipher of what is about several records: without the key of any of them it does not open."""
    return AESGCM(keys[0] if len(keys) == 1 else hashlib.sha256(b"".join(keys)).digest())
