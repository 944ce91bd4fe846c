"""Behind what was told of reads: each notice is kept as it says, and what we told is what the access log has.

A period can be counted again as long as none of its bodies expired. What is about an erased record is gone
from the log and from what was told alike.
"""

from collections import Counter
from collections.abc import Iterator

from sqlalchemy import Connection

from node.errors import Damaged
from node.exchange import reads
from node.service import reading_access
from node.service.check_reports import notice_in
from node.service.findings import Finding, guarded
from node.service.parts import Parts
from node.service.reading_access import Counted
from node.store import access_log, channels, erasures
from node.store import reads as store
from node.store.reads import StoredReads
from node.store.tables import LEDGER


def check_reads(parts: Parts, connection: Connection) -> Iterator[Finding]:
    """Every notice, and every period that this node told of."""
    told: Counter[Counted] = Counter()
    size, log = 0, -1
    for each in store.all_told(connection):
        where = f"channel {each.log}"
        yield from guarded(where, each.seq, _check, parts, connection, each)
        if each.about == LEDGER:
            continue
        size, log = (size, log) if each.log == log else (0, each.log)
        for row in store.counted(connection, each.told):
            told[row.record_id, row.kind, row.purpose] += row.times
        if each.part == each.parts:
            yield from guarded(where, each.seq, _count_again, parts, connection, each, size, Counter(told))
            size = each.size or 0
            told.clear()


def _check(parts: Parts, connection: Connection, kept: StoredReads) -> None:
    if kept.seq in erasures.erased(connection, kept.log, kept.seq, kept.seq + 1):
        return
    said = reads.read(notice_in(parts, connection, kept.log, kept.seq, is_received=kept.about == LEDGER))
    if said is None:
        raise Damaged("a telling of reads is kept where none was")
    told = (said.since, said.until, said.entry.seq, said.part, said.of)
    if told != (kept.since, kept.until, kept.ledger_seq, kept.part, kept.parts):
        raise Damaged("a telling of reads is kept as being of another period")
    rows = [(row.entry, row.kind, row.purpose, row.times) for row in store.counted(connection, kept.told)]
    about = _told_about(parts, connection, kept)
    missing = set(said.rows) - set(rows)
    gone = {entry for entry, *_ in missing if erasures.erased(connection, about, entry, entry + 1)}
    if set(rows) - set(said.rows) or any(entry not in gone for entry, *_ in missing):
        raise Damaged("what was read is not kept as it was told")


def _told_about(parts: Parts, connection: Connection, kept: StoredReads) -> int:
    """The log of the channel by whose entries a notice names operators."""
    if kept.about != LEDGER:
        return kept.about
    back = channels.by_log(connection)[kept.log]
    own = channels.channel(connection, back.agreement, parts.country, back.issuer)
    assert own is not None, "it was there when this was told"
    return own.log


def _count_again(
    parts: Parts, connection: Connection, kept: StoredReads, start: int, told: Counter[Counted]
) -> None:
    first = access_log.first_body(connection)
    if first is None or first > start:
        return
    counts = reading_access.reads_of(parts, connection, kept.about, start, kept.size or 0)
    named = store.told_of(connection, kept.about, sorted({record_id for record_id, _, _ in counts}))
    if {key: times for key, times in counts.items() if key[0] in named} != told:
        what = f"what was told of reads up to {kept.until} is not what the access log has"
        raise Damaged(what, where=f"its entries {start} to {kept.size}")
