"""This node as a witness of its peers' logs (C2SP tlog-witness).

A request is examined on the newest state of the store, so that nonsense costs no turn of the one writer. What
follows is kept by the writer, which looks again at what may have changed meanwhile (whether the store was put
back it looks at before any work), and only then cosigned.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from node.exchange.card import Card, channel_origin, ledger_origin
from node.exchange.incoming import signed_part
from node.ledger.checkpoint import stated
from node.ledger.witness import Accepted, Rejected, Watch, Watched, examine
from node.service import behind
from node.service.accusing import is_accused, recorded, see, weigh
from node.service.batch import Batch
from node.service.parts import Parts
from node.store import channels

Answer = Accepted | Rejected


def considered(parts: Parts, body: bytes, sender: Card | None) -> "Answer | AddCheckpoint | KeepRefused":
    """What a request for a cosignature comes to, on the newest state of the store; nothing is kept.

    `sender` signed the request; a channel's log is known to its issuer only. An answer is the last word:
    `Accepted` is what is recorded already. Else it is what the writer does about it, and answers then.
    """
    with parts.database.read() as connection:
        if why := behind.told(parts, connection):
            return Rejected(503, why)
        verdict = examine(body, _watch(parts, connection, sender))
        if isinstance(verdict, Rejected):
            return verdict if verdict.signed is None else KeepRefused(verdict.signed, verdict)
        if verdict.checkpoint.size == verdict.old > 0:
            return verdict
        peer = _owner(parts, connection, verdict.checkpoint.origin, sender)
        assert peer is not None, "its log is watched"
        return AddCheckpoint(verdict, peer)


def _watch(parts: Parts, connection: Connection, sender: Card | None) -> Watch:
    def watched(origin: str) -> Watched | None:
        peer = _owner(parts, connection, origin, sender)
        if peer is None:
            return None
        if is_accused(connection, peer):
            return Watched(())  # none of its keys is trusted
        return Watched(peer.verifiers(origin), *recorded(connection, origin))

    return watched


def _owner(parts: Parts, connection: Connection, origin: str, sender: Card | None) -> Card | None:
    """The peer whose log this is, if it is watched here."""
    for peer in parts.peers.by_country(connection).values():
        if origin == ledger_origin(peer.name):
            return peer
    if sender is None:
        return None
    own = (each.agreement for each in channels.channels(connection) if each.issuer == sender.country)
    return sender if origin in {channel_origin(sender.name, each, parts.country) for each in own} else None


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A checkpoint that follows what was recorded when it was examined, to be kept before it is cosigned."""

    accepted: Accepted
    peer: Card

    weight = 1
    tins: Sequence[str] = ()

    def run(self, batch: Batch) -> Answer:
        """Keep it, unless something was recorded since, or the log was found to have signed two histories."""
        new, connection = self.accepted.checkpoint, batch.connection
        if is_accused(connection, self.peer):
            return Rejected(403, "the log was found to have signed two histories")
        size, _ = recorded(connection, new.origin)
        if size != self.accepted.old:
            return Rejected(409, f"the size recorded is {size}", size=size)
        see(connection, self.peer, new, self.accepted.note, batch.time)
        return self.accepted


@dataclass(frozen=True, slots=True)
class KeepRefused:
    """A checkpoint that its log signed and that was refused: an accusation, if it can be shown to be one."""

    note: str
    answer: Rejected

    weight = 1
    tins: Sequence[str] = ()

    def run(self, batch: Batch) -> Rejected:
        """Keep it as evidence, unless it is the beginning of our copy after all."""
        origin = stated(self.note).origin
        for peer in batch.parts.peers.by_country(batch.connection).values():
            if (signed := signed_part(self.note, peer, origin)) is not None:
                weigh(batch.connection, peer, origin, signed, batch.time)
        return self.answer
