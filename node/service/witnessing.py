"""This node as a witness of its peers' logs (C2SP tlog-witness).

A request is examined on the newest state of the store, so that nonsense costs no turn of the one writer. What
follows is kept by the writer, which looks again at what may have changed meanwhile (whether the store was put
back it looks at before any work), and only then cosigned.
"""

import threading
from concurrent.futures import Future
from dataclasses import dataclass

from sqlalchemy import Connection

from node.errors import Busy
from node.exchange.card import Card, channel_origin, ledger_origin
from node.exchange.incoming import signed_part
from node.ledger import moment
from node.ledger.checkpoint import stated
from node.ledger.witness import Accepted, Rejected, Watch, Watched, examine
from node.service import behind
from node.service.accusing import is_stopped, recorded, see, weigh, weighed
from node.service.batch import Batch, SmallWork
from node.service.parts import Parts
from node.service.sequencer import Sequencer
from node.store import channels, incidents

Answer = Accepted | Rejected


def considered(parts: Parts, body: bytes, sender: Card | None) -> "Answer | AddCheckpoint | KeepRefused":
    """What a request for a cosignature comes to, on the newest state of the store; nothing is kept.

    `sender` signed the request; a channel's log is known to its issuer only. An answer is the last word:
    `Accepted` is what is recorded already. Else it is what the writer does about it, and answers then.
    """
    with parts.database.read() as connection:
        if why := behind.told_outside(parts, connection):
            return Rejected(503, why)
        verdict = examine(body, _watch(parts, connection, sender))
        if isinstance(verdict, Rejected):
            return _evidence(parts, connection, verdict, sender) or verdict
        if verdict.checkpoint.size == verdict.old:
            return verdict
        peer = _owner(parts, connection, verdict.checkpoint.origin, sender)
        assert peer is not None, "its log is watched"
        return AddCheckpoint(verdict, peer)


def _evidence(
    parts: Parts, connection: Connection, verdict: Rejected, sender: Card | None
) -> "KeepRefused | None":
    """What is to be kept of a checkpoint that does not follow, unless it shows nothing, or that is kept."""
    if verdict.signed is None:
        return None
    origin = stated(verdict.signed).origin
    peer = _owner(parts, connection, origin, sender)
    if peer is None or (signed := signed_part(verdict.signed, peer, origin)) is None:
        return None
    row = weighed(connection, peer, origin, signed, moment.format(parts.now_ms()))
    if row is None or incidents.is_kept(connection, row):
        return None
    return KeepRefused(peer, signed, verdict)


def _watch(parts: Parts, connection: Connection, sender: Card | None) -> Watch:
    def watched(origin: str) -> Watched | None:
        peer = _owner(parts, connection, origin, sender)
        if peer is None:
            return None
        if is_stopped(connection, peer):
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
class AddCheckpoint(SmallWork):
    """A checkpoint that follows what was recorded when it was examined, to be kept before it is cosigned."""

    accepted: Accepted
    peer: Card

    @property
    def origin(self) -> str:
        """The log that it is of."""
        return self.accepted.checkpoint.origin

    def run(self, batch: Batch) -> Answer:
        """Keep it, unless something was recorded since, or the log was found to have signed two histories."""
        new, connection = self.accepted.checkpoint, batch.connection
        if is_stopped(connection, self.peer):
            return Rejected(403, "the log was found to have signed two histories")
        size, _ = recorded(connection, new.origin)
        if size != self.accepted.old:
            return Rejected(409, f"the size recorded is {size}", size=size)
        see(connection, self.peer, new, self.accepted.note, batch.time)
        return self.accepted


@dataclass(frozen=True, slots=True)
class KeepRefused(SmallWork):
    """A checkpoint that its log signed and that was refused: an accusation, if it can be shown to be one."""

    peer: Card
    signed: str
    answer: Rejected

    @property
    def origin(self) -> str:
        """The log that it is of."""
        return stated(self.signed).origin

    def run(self, batch: Batch) -> Rejected:
        """Keep it as evidence, unless it is the beginning of our copy after all."""
        weigh(batch.connection, self.peer, self.origin, self.signed, batch.time)
        return self.answer


class Turns:
    """Bounds the turns of the one writer that callers of this witness take; none need say who he is.

    Of each log one checkpoint at a time waits to be recorded, and one to be kept as evidence, for all callers
    together. What is recorded or kept already takes no turn, so each checkpoint of a log takes two at most.
    """

    def __init__(self, sequencer: Sequencer) -> None:
        """The writer whose turns these are."""
        self._sequencer = sequencer
        self._lock = threading.Lock()
        self._taken: set[tuple[type, str]] = set()

    def submit(self, work: AddCheckpoint | KeepRefused) -> "Future[Answer]":
        """Queue it as the writer does; `Busy` as well while another of its kind and log waits."""
        turn = (type(work), work.origin)
        with self._lock:
            if turn in self._taken:
                what = "another checkpoint of this log is being kept"
                raise Busy(what, where=work.origin, do="repeat the request in a moment")
            future = self._sequencer.submit(work)
            self._taken.add(turn)
        future.add_done_callback(lambda _: self._over(turn))
        return future

    def _over(self, turn: tuple[type, str]) -> None:
        with self._lock:
            self._taken.discard(turn)
