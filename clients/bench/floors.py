"""What the machine itself can do, in the same run: the floors under the node's figures."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from clients.bench.figures import Conditions, Figure, Measure, in_turn
from node.records.credential import es256_signer

ROUNDS = 5
ROUND_S = 0.4
SIGNED_BYTES = 2048
SIGNED = "es256_signed_and_verified_per_s"
ENTRY_BYTES = 240
HASHED = "hashed_entries_per_s"

Act = Callable[[], object]


@contextmanager
def sqlite_commit(folder: Path, size: int) -> Iterator[Act]:
    """A transaction of one row of so many bytes, durable."""
    store = sqlite3.connect(folder / "floor.sqlite", isolation_level=None)
    store.execute("PRAGMA journal_mode=WAL")
    store.execute("PRAGMA synchronous=FULL")
    store.execute("CREATE TABLE row (content BLOB NOT NULL)")
    content = bytes(size)
    yield lambda: store.execute("INSERT INTO row VALUES (?)", (content,))
    store.close()


@contextmanager
def postgresql_commit(url: str, size: int) -> Iterator[Act]:
    """The same on a PostgreSQL server."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as store:
        store.execute("CREATE TABLE row (content bytea NOT NULL)")
        content = bytes(size)
        yield lambda: store.execute("INSERT INTO row VALUES (%s)", (content,))


def rate(act: Act) -> Measure:
    """How often a second, one after the other."""
    return lambda _: _rate(act)


def signatures() -> Measure:
    """ES256 signatures, as each credential has one."""
    sign = es256_signer(ec.generate_private_key(ec.SECP256R1()))
    content = bytes(SIGNED_BYTES)
    return rate(lambda: sign(content))


def signed_and_verified() -> Measure:
    """ES256 signatures that are verified too, as each credential is by issuer and partner together."""
    key = ec.generate_private_key(ec.SECP256R1())
    content, how, public = bytes(SIGNED_BYTES), ec.ECDSA(SHA256()), key.public_key()
    return rate(lambda: public.verify(key.sign(content, how), content, how))


def hashes() -> Measure:
    """What a tree takes of each entry at the least: one hash of its bytes, and one of two hashes."""
    entry, pair = bytes(ENTRY_BYTES + 1), bytes(65)

    def hash_one() -> None:
        sha256(entry).digest()
        sha256(pair).digest()

    return rate(hash_one)


def salts() -> Figure:
    """How many times as long the 48 salts of a version take one by one as in three groups."""
    sizes = {"single": (48, [16]), "grouped": (1, [640, 64, 64])}
    runs = in_turn(ROUNDS, {name: _deriving(*each) for name, each in sizes.items()})
    return Figure(
        "salts_one_by_one_ratio",
        "ratio",
        [grouped / single for single, grouped in zip(runs["single"], runs["grouped"], strict=True)],
        Conditions(
            "cryptography alone, HKDF-Expand of 48 salts of 16 bytes over the same bytes in three groups, "
            "in turn",
            concurrency="one thread",
        ),
        floor=True,
    )


def _deriving(times: int, sizes: Sequence[int]) -> Measure:
    """Expand a key into outputs of these sizes, so many times."""

    def derive() -> None:
        for _ in range(times):
            for size in sizes:
                HKDFExpand(SHA256(), size, b"aeo/salt/urn:aeo:br:0000000000000000000000/1/fields").derive(
                    bytes(32)
                )

    return rate(derive)


def _rate(act: Act) -> float:
    count, begun = 0, time.perf_counter()
    while (took := time.perf_counter() - begun) < ROUND_S:
        act()
        count += 1
    return count / took
