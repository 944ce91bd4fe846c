"""What one version of an operator weighs, by the lengths in the issuer's tables and by its file."""

import sqlite3
from contextlib import closing
from pathlib import Path

from clients.bench.figures import Conditions, Figure, Goal
from clients.sdk.client import Node

LEDGER = 0
PARTS = {
    "ledger entry": "SELECT sum(length(entry)), count(*) FROM log_entry WHERE log = 0",
    "its share of the ledger's tiles": "SELECT sum(length(hashes)), "
    "(SELECT size FROM log_head WHERE log = 0) FROM log_tile WHERE log = 0",
    "version as stored": "SELECT sum(length(sealed)), count(*) FROM record_version",
    "channel entry": "SELECT sum(length(entry)), count(*) FROM log_entry WHERE log = :channel",
    "its share of the channel's tiles": "SELECT sum(length(hashes)), "
    "(SELECT size FROM log_head WHERE log = :channel) FROM log_tile WHERE log = :channel",
    "channel body": "SELECT sum(length(sealed)), count(*) FROM channel_body WHERE log = :channel",
}
"""The parts of a version, each with its bytes and how many share them."""


def of_version(database: Path) -> Figure:
    """The bytes of one version, ledger and channel together, in an issuer's SQLite file."""
    parts = parts_of_version(database)
    told = ", ".join(f"{name} {size:,.0f}" for name, size in parts.items())
    return Figure(
        "bytes_per_version",
        "bytes",
        [sum(parts.values())],
        Conditions(
            "one version of one operator at the issuer, shared with one partner, as lengths in its tables: "
            f"{told}"
        ),
        better="lower",
        goal=Goal(6000),
    )


def parts_of_version(database: Path) -> dict[str, float]:
    """The mean bytes of each part of a version."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as store:
        (channel,) = store.execute("SELECT max(log) FROM channel_body").fetchone()
        found = {name: store.execute(query, {"channel": channel}).fetchone() for name, query in PARTS.items()}
    return {name: total / count for name, (total, count) in found.items()}


def file_bytes(database: Path) -> int:
    """The bytes that a SQLite file holds once its write-ahead log is in it."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as store:
        (pages,) = store.execute("PRAGMA page_count").fetchone()
        (size,) = store.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(size)


def reads_kept(database: Path) -> int:
    """How many reads the access log in a SQLite file has."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as store:
        found = store.execute("SELECT size FROM log_head WHERE origin LIKE '%/access'").fetchone()
    return int(found[0]) if found else 0


def of_reads(client: Node, database: Path, before: tuple[int, int]) -> Figure:
    """What the file of a node grew by for each lookup since `before`: its bytes, and its reads."""
    client.access(limit=1)  # for which what waits is taken over
    reads = reads_kept(database) - before[1]
    return Figure(
        "access_bytes_per_lookup",
        "bytes",
        [(file_bytes(database) - before[0]) / reads],
        Conditions(
            f"what the SQLite file of the partner grew by over {reads:,} lookups, each in the access log: "
            "entry, body, tree, index and free space"
        ),
        better="lower",
    )


def growth(before: int, after: int, versions: int, where: str) -> Figure:
    """What a node's whole file grew by, for each version."""
    return Figure(
        f"{where}_file_bytes_per_version",
        "bytes",
        [(after - before) / versions],
        Conditions(
            f"what the SQLite file of the {where} grew by over {versions} new operators, each shared: "
            "indexes, change feed, decisions and free space included"
        ),
        better="lower",
    )
