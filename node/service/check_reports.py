"""Behind reports on single operators and own decisions: each row says what its notice or entry says."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from node.errors import Damaged
from node.exchange import reports
from node.exchange.card import ledger_origin
from node.exchange.reports import Irregularity, Treatment
from node.ledger import canonical
from node.service import ways
from node.service.check_logs import Recorded
from node.service.findings import Finding, guarded
from node.service.parts import Parts
from node.store import channels
from node.store import reports as store
from node.store.reports import IRREGULARITY, StoredReport
from node.store.tables import LEDGER


def check_reports(parts: Parts, connection: Connection, recorded: Recorded) -> Iterator[Finding]:
    """Every own decision is the one that the ledger records, and every report the one that was told."""
    origin, kept = ledger_origin(parts.settings.name), {}
    for each in store.decisions(connection):
        kept[each.ledger_seq] = {
            "decision": each.decision,
            "record_id": each.record_id,
            "tin": each.tin,
            "class": each.code,
            "reason": each.reason,
            "by": each.by,
        }
    for seq in sorted(kept.keys() | recorded.decisions.keys()):
        said = recorded.decisions.get(seq, {})
        if kept.get(seq) != {name: value for name, value in said.items() if name not in ("channel", "entry")}:
            yield Finding(origin, seq, "what is kept of an own decision is not what it records")
    for report in store.all_reports(connection):
        yield from guarded(f"channel {report.log}", report.seq, _check, parts, connection, report)


def _check(parts: Parts, connection: Connection, kept: StoredReport) -> None:
    said = reports.read(notice_in(parts, connection, kept.log, kept.seq, is_received=kept.about == LEDGER))
    if isinstance(said, Irregularity):
        told = (IRREGULARITY, said.code, said.text)
    elif isinstance(said, Treatment):
        told = (said.decision, said.code, "")
    else:
        raise Damaged("a report is kept that was not told")
    if (kept.kind, kept.code, kept.text) != told:
        raise Damaged(f"report {kept.report} is not kept as it was told")


def notice_in(parts: Parts, connection: Connection, log: int, seq: int, *, is_received: bool) -> Any:
    """The notice in an entry of a channel, as it came or as it was sent."""
    if is_received:
        return canonical.decode(channels.told_behind(connection, log, seq, seq + 1)[seq]["body"])
    return ways.told_in(parts, connection, log, seq)[0]
