"""The end of the access log in the store: how it begins, its keys, and new entries in one transaction."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

from node.errors import Damaged
from node.exchange import sealing
from node.exchange.card import access_origin
from node.exchange.log_writer import LogWriter
from node.exchange.log_writer import begin as begin_log
from node.ledger import moment
from node.ledger.checkpoint import Checkpoint, sign_checkpoint
from node.ledger.entry import AccessEntry
from node.ledger.note import ed25519_signer
from node.service.asking import Made, Secrets
from node.service.parts import Parts
from node.store import access_log, logs
from node.store.tables import ACCESS

OWNER: Final = "aeo/access"
"""Whose key the store key wraps."""


def begin(parts: Parts) -> None:
    """Begin the access log of a store that has none: an empty tree, and a key of its own."""
    with parts.database.write(quietly=True) as connection:
        if access_log.state(connection) is not None:
            return  # another process of this node was first
        key, now = parts.entropy(sealing.KEY_BYTES), moment.format(parts.now_ms())
        wrapped = sealing.wrap(parts.keys.store, key, OWNER, parts.entropy(sealing.NONCE_BYTES))
        begin_log(connection, access_origin(parts.settings.name), now, signer_of(parts), ACCESS)
        access_log.begin(connection, wrapped, now)


def secrets_of(parts: Parts, connection: Connection) -> Secrets:
    """The keys of the access log; `Unproven` when the store key does not open them, `Damaged` without any."""
    state = access_log.state(connection)
    if state is None:
        raise Damaged("the store has no access log", do="start the node with `aeo serve`, which begins one")
    return Secrets.of(sealing.unwrap(parts.keys.store, state.wrapped, OWNER))


def signer_of(parts: Parts) -> Callable[[Checkpoint], str]:
    """Signs heads of the access log, with the log's keys alone: nobody outside is to check them."""
    return lambda checkpoint: sign_checkpoint(
        checkpoint, [ed25519_signer(checkpoint.origin, key) for key in parts.keys.log]
    )


class Writing:
    """New entries of the access log inside one transaction."""

    def __init__(self, parts: Parts, connection: Connection) -> None:
        """Begin behind the last entry; `Damaged` when there is no log."""
        head = logs.head(connection, ACCESS)
        if head is None:
            raise Damaged("the store has no access log", do="run `aeo fsck`")
        self._parts, self._connection, self._writer = parts, connection, LogWriter(connection, head)
        self._time_ms = moment.parse(head.time)
        self._sealed: list[tuple[int, bytes]] = []
        self._told: list[tuple[int, str, int]] = []

    @property
    def seq(self) -> int:
        """The number of the next entry."""
        return self._writer.seq

    def append(self, read: Made) -> None:
        """Append an entry and keep its body; the log's times never go back."""
        seq, self._time_ms = self._writer.seq, max(self._time_ms, read.time_ms)
        origin, prev = self._writer.origin, self._writer.prev
        self._writer.append(AccessEntry(origin, seq, prev, self._time_ms, read.kind, read.commit))
        self._sealed.append((seq, read.sealed))
        self._told += [(log, record_id, seq) for log, record_id in read.about]

    def commit(self) -> None:
        """Write it all into the transaction."""
        access_log.add_bodies(self._connection, self._sealed, self._told)
        self._writer.commit(moment.format(self._time_ms), signer_of(self._parts))
