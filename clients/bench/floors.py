"""What the machine itself can do, in the same run: the floors under the node's figures."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from clients.bench.figures import Figure
from node.records.credential import es256_signer

ROUNDS = 5
ROUND_S = 0.4


def commits(folder: Path, size: int) -> Figure:
    """Transactions of one row of so many bytes, one after the other, each durable."""
    store = sqlite3.connect(folder / "floor.sqlite", isolation_level=None)
    store.execute("PRAGMA journal_mode=WAL")
    store.execute("PRAGMA synchronous=FULL")
    store.execute("CREATE TABLE row (content BLOB NOT NULL)")
    content = bytes(size)
    runs = _rates(lambda: store.execute("INSERT INTO row VALUES (?)", (content,)))
    store.close()
    return Figure(
        "sqlite_commits_per_s",
        "commits/s",
        runs,
        f"floor: sqlite3 alone, WAL, synchronous=FULL, one row of {size} bytes a transaction, one writer",
    )


def signatures() -> Figure:
    """ES256 signatures, as each credential has one."""
    sign = es256_signer(ec.generate_private_key(ec.SECP256R1()))
    content = bytes(2048)
    return Figure(
        "es256_signatures_per_s",
        "signatures/s",
        _rates(lambda: sign(content)),
        "floor: cryptography alone, 2,048 bytes each, one thread",
    )


def salts() -> Figure:
    """How many times as long the 48 salts of a version take one by one as in three groups."""
    pairs = [
        (_rate(lambda: _derive(48, [16])), _rate(lambda: _derive(1, [640, 64, 64]))) for _ in range(ROUNDS)
    ]
    return Figure(
        "salts_one_by_one_ratio",
        "ratio",
        [grouped / single for single, grouped in pairs],
        "floor: cryptography alone, HKDF-Expand of 48 salts of 16 bytes over the same bytes in three groups, "
        "in turn, one thread",
    )


def _derive(times: int, sizes: Sequence[int]) -> None:
    """Expand a key into outputs of these sizes, so many times."""
    for _ in range(times):
        for size in sizes:
            HKDFExpand(SHA256(), size, b"aeo/salt/urn:aeo:br:0000000000000000000000/1/fields").derive(
                bytes(32)
            )


def _rates(act: Callable[[], object]) -> list[float]:
    return [_rate(act) for _ in range(ROUNDS)]


def _rate(act: Callable[[], object]) -> float:
    count, begun = 0, time.perf_counter()
    while (took := time.perf_counter() - begun) < ROUND_S:
        act()
        count += 1
    return count / took
