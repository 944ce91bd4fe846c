"""Queries over cards, tokens and idempotency keys."""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, inspect, select, update

from node.store.database import Row, add, put, put_new, table
from node.store.tables import Idempotency, OwnCardRow, Peer, PeerNonce, Token

PEER, TOKEN, IDEMPOTENCY = table(Peer), table(Token), table(Idempotency)
NONCE, OWN_CARD = table(PeerNonce), table(OwnCardRow)


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A bearer token without its secret."""

    token: str
    role: str
    label: str
    secret_hash: bytes
    created_at: str
    expires_at: str | None
    revoked_at: str | None


def peers(connection: Connection) -> list[Row]:
    """Every pinned card, with those of nodes that were succeeded."""
    return [dict(row) for row in connection.execute(select(PEER).order_by(PEER.c.country)).mappings()]


def put_peer(connection: Connection, row: Row) -> None:
    """Pin a card, in place of an earlier one of the same node."""
    put(connection, Peer, [row])


def succeed_peer(connection: Connection, name: str, successor: str) -> None:
    """Note that a pinned node was succeeded by another."""
    connection.execute(update(PEER).where(PEER.c.name == name).values(successor=successor))


def holds(connection: Connection, name: str, number: int) -> None:
    """Note that a peer has this card of ours, unless it is known to have a later one."""
    found = update(PEER).where(PEER.c.name == name, PEER.c.holds < number).values(holds=number)
    connection.execute(found)


def held_by(connection: Connection, name: str) -> int:
    """The number of the newest card of ours that a peer is known to have."""
    return connection.execute(select(PEER.c.holds).where(PEER.c.name == name)).scalar() or 0


def has_cards(connection: Connection) -> bool:
    """Whether the store was made, and brought to this version."""
    return inspect(connection).has_table(OWN_CARD.name)


def own_card(connection: Connection) -> str:
    """The newest card of this node; empty before the first."""
    newest = select(OWN_CARD.c.card).order_by(OWN_CARD.c.number.desc()).limit(1)
    return connection.execute(newest).scalar() or ""


def own_card_place(connection: Connection, number: int) -> int | None:
    """The place in the ledger of a card of this node; None if it has none of this number."""
    found = select(OWN_CARD.c.ledger_seq).where(OWN_CARD.c.number == number)
    return connection.execute(found).scalar()


def own_cards(connection: Connection) -> dict[int, tuple[int, str]]:
    """(place in the ledger, card) of all cards of this node, by number."""
    found = select(OWN_CARD.c.number, OWN_CARD.c.ledger_seq, OWN_CARD.c.card)
    return {number: (seq, card) for number, seq, card in connection.execute(found)}


def add_own_card(connection: Connection, number: int, ledger_seq: int, card: str) -> None:
    """Keep a new card of this node."""
    add(connection, OwnCardRow, [{"number": number, "ledger_seq": ledger_seq, "card": card}])


def token(connection: Connection, number: str) -> StoredToken | None:
    """One token by its public part, or None."""
    row = connection.execute(select(TOKEN).where(TOKEN.c.token == number)).first()
    return StoredToken(*row) if row else None


def tokens(connection: Connection) -> list[StoredToken]:
    """Every token, oldest first."""
    return [StoredToken(*row) for row in connection.execute(select(TOKEN).order_by(TOKEN.c.created_at))]


def add_token(connection: Connection, row: Row) -> None:
    """Store a new token."""
    add(connection, Token, [row])


def revoke_token(connection: Connection, number: str, time: str) -> bool:
    """Revoke a token; False when it is unknown or already revoked."""
    found = update(TOKEN).where(TOKEN.c.token == number, TOKEN.c.revoked_at.is_(None)).values(revoked_at=time)
    return connection.execute(found).rowcount == 1


def answered(connection: Connection, caller: str, key: str) -> tuple[bytes, bytes] | None:
    """(request digest, answer) once given to this key of this caller, or None."""
    found = select(IDEMPOTENCY.c.request, IDEMPOTENCY.c.answer).where(
        IDEMPOTENCY.c.caller == caller, IDEMPOTENCY.c.key == key
    )
    row = connection.execute(found).first()
    return (row.request, row.answer) if row else None


def remember_answers(connection: Connection, rows: list[Row]) -> None:
    """Remember the answers given in this transaction."""
    add(connection, Idempotency, rows)


def use_nonce(connection: Connection, sender: str, nonce: str, until_s: int) -> bool:
    """Use a nonce of a peer; False when it was used before."""
    row = {"sender": sender, "nonce": nonce, "until_s": until_s}
    return put_new(connection, PeerNonce, row)


def forget_nonces(connection: Connection, before_s: int) -> None:
    """Forget nonces of signatures that have expired."""
    connection.execute(delete(NONCE).where(NONCE.c.until_s < before_s))


def forget_answers(connection: Connection, before: str) -> None:
    """Forget answers older than `before`."""
    connection.execute(delete(IDEMPOTENCY).where(IDEMPOTENCY.c.time < before))
