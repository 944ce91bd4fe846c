"""Queries over agreements, acts, signatures and receipts.

Every write moves `rev`, one counter over both tables, so that readers know when to read again.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, union_all, update

from node.store.database import Prepared, add, put, table
from node.store.tables import ActReceipt, ActRow, ActSignature, AgreementRow

AGREEMENT, ACT = table(AgreementRow), table(ActRow)
SIGNATURE, RECEIPT = table(ActSignature), table(ActReceipt)

_NEWEST = Prepared(union_all(select(func.max(AGREEMENT.c.rev)), select(func.max(ACT.c.rev))))


@dataclass(frozen=True, slots=True)
class StoredAct:
    """One act: its content, who signed it, where it stands in this ledger, who proved to hold it."""

    act: str
    agreement: str
    content: bytes
    ledger_seq: int | None
    rev: int
    signatures: dict[str, str]
    receipts: dict[str, str]


def rev(connection: Connection) -> int:
    """The newest revision; 0 when there is nothing yet."""
    return max(newest or 0 for (newest,) in _NEWEST.rows(connection, {}))


def documents(connection: Connection) -> dict[str, bytes]:
    """The canonical text of every agreement, by its id."""
    rows = connection.execute(select(AGREEMENT.c.agreement, AGREEMENT.c.document).order_by(AGREEMENT.c.rev))
    return {row.agreement: row.document for row in rows}


def acts(connection: Connection) -> list[StoredAct]:
    """Every act, oldest first."""
    signatures: dict[str, dict[str, str]] = {}
    receipts: dict[str, dict[str, str]] = {}
    for row in connection.execute(select(SIGNATURE)):
        signatures.setdefault(row.act, {})[row.country] = row.signature
    for row in connection.execute(select(RECEIPT)):
        receipts.setdefault(row.act, {})[row.country] = row.receipt
    rows = connection.execute(
        select(ACT.c.act, ACT.c.agreement, ACT.c.content, ACT.c.ledger_seq, ACT.c.rev).order_by(ACT.c.rev)
    )
    return [StoredAct(*row, signatures.get(row.act, {}), receipts.get(row.act, {})) for row in rows]


def add_document(connection: Connection, agreement: str, document: bytes) -> None:
    """Store a new agreement."""
    add(
        connection, AgreementRow, [{"agreement": agreement, "document": document, "rev": rev(connection) + 1}]
    )


def add_act(connection: Connection, act: str, agreement: str, content: bytes) -> None:
    """Store a new act, unsigned."""
    row = {
        "act": act,
        "agreement": agreement,
        "content": content,
        "ledger_seq": None,
        "rev": rev(connection) + 1,
    }
    add(connection, ActRow, [row])


def put_signature(connection: Connection, act: str, country: str, signature: str) -> None:
    """Store a party's signature."""
    put(connection, ActSignature, [{"act": act, "country": country, "signature": signature}])
    _touch(connection, act)


def put_receipt(connection: Connection, act: str, country: str, receipt: str) -> None:
    """Store a peer's proof that its ledger holds the act."""
    put(connection, ActReceipt, [{"act": act, "country": country, "receipt": receipt}])
    _touch(connection, act)


def set_ledger_seq(connection: Connection, act: str, seq: int) -> None:
    """Note where this node's own ledger holds the complete act."""
    connection.execute(update(ACT).where(ACT.c.act == act).values(ledger_seq=seq))
    _touch(connection, act)


def _touch(connection: Connection, act: str) -> None:
    connection.execute(update(ACT).where(ACT.c.act == act).values(rev=rev(connection) + 1))
