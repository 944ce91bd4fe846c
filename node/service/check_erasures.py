"""Behind erasures: the own ledger says which entries have nothing behind them, and no other may be empty."""

from collections.abc import Iterator

from sqlalchemy import Connection

from node.exchange.card import ledger_origin
from node.service.check_logs import Recorded
from node.service.findings import Finding
from node.service.parts import Parts
from node.store import erasures, logs
from node.store.tables import LARGEST


def check_erasures(parts: Parts, connection: Connection, recorded: Recorded) -> Iterator[Finding]:
    """Every erasure that is kept is one that the ledger records, and took exactly the entries named there."""
    origin = ledger_origin(parts.settings.name)
    kept = {row["ledger_seq"] for row in erasures.erasures(connection, LARGEST, LARGEST)}
    for seq in sorted(kept ^ recorded.erasures.keys()):
        what = (
            "it records an erasure that is not kept"
            if seq in recorded.erasures
            else "no erasure is recorded here"
        )
        yield Finding(origin, seq, what)
    for seq, named in recorded.erasures.items():
        heads = {name: logs.head_of(connection, name) for name in named}
        wanted = {head.log: sorted(named[name]) for name, head in heads.items() if head is not None}
        if len(wanted) < len(named) or erasures.taken_by(connection, seq) != wanted:
            yield Finding(origin, seq, "the entries kept as erased are not those that it names")
    if unknown := erasures.count_taken(connection) - sum(map(len, _all(recorded))):
        yield Finding(origin, -1, f"{unknown} entries are kept as erased that no erasure names")


def _all(recorded: Recorded) -> Iterator[list[int]]:
    for named in recorded.erasures.values():
        yield from named.values()
