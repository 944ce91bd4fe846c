"""The one writer of a node: a bounded queue, drained in batches, one transaction a batch.

Callers wait for durability: their future is resolved only after the transaction has committed. A
refused change is told so without touching the others in its batch. Between batches the sequencer
brings outgoing channels into line with the state of their agreements and with the day.
"""

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from node.errors import Busy, Refusal
from node.service import behind, erasing, introduction, line
from node.service.batch import Batch
from node.service.introduction import Introduce
from node.service.parts import Parts

IDLE_S = 0.5
PAUSE_S = 0.5
SCRUB_PAUSE_S = 60.0
STOP_S = 4.0
"""How long a store may take to write what is queued when the node stops; what it has not by then was promised
to nobody."""

log = structlog.get_logger()


class Work(Protocol):
    """One item of the queue."""

    @property
    def weight(self) -> int:
        """How many changes it holds, against the batch limit."""

    @property
    def tins(self) -> Sequence[str]:
        """The operators it is about, read in one query for the whole batch."""

    def run(self, batch: Batch) -> Any:
        """Add to the batch and give the answer, or raise a `Refusal` having added nothing."""


@dataclass(slots=True)
class _Item:
    work: Work
    future: Future[Any] = field(default_factory=Future)


class Sequencer:
    """The writer's thread and its queue; `leads` says whether it also keeps channels in line."""

    def __init__(self, parts: Parts) -> None:
        """`start` begins the work; nothing is written before."""
        self._parts = parts
        self._queue: queue.Queue[_Item | None] = queue.Queue(parts.settings.queue_limit)
        self._keeper = line.Keeper()
        self._thread = threading.Thread(target=self._run, name="sequencer", daemon=True)
        self._open, self._scrub_at_s, self._scrub_pause_s = True, 0.0, 0.0
        self.has_looked_back = False
        self.leads = False

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is queued, then stop; a store that stands still is not waited for."""
        self._open = False
        with suppress(queue.Full):
            self._queue.put(None, timeout=STOP_S)
        self._thread.join(STOP_S)

    @property
    def is_alive(self) -> bool:
        """Whether the writer writes."""
        return self._thread.is_alive()

    def submit(self, work: Work) -> Future[Any]:
        """Queue a change; `Busy` when the queue is full. The future is resolved once it is durable."""
        item = _Item(work)
        if not self._open:
            raise Busy("the node is stopping", do="repeat the request in a moment")
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            raise Busy(
                "too many changes are waiting", do="repeat the request in a moment; nothing of it was done"
            ) from None
        return item.future

    def _run(self) -> None:
        self._look_back()
        while (items := self._drain()) is not None:
            if not self.has_looked_back:
                for item in items:
                    _answer(item.future, Busy("the node is stopping", do="repeat the request in a moment"))
                continue
            if items:
                self._settle(items)
            if self.leads:
                self._keep_in_line(more_waits=not self._queue.empty())
                self._scrub()

    def _look_back(self) -> None:
        """Before anything is written, ask peers whether the store was put back; a dead one stops nobody.

        Each process of a node does so. A store that cannot be read is waited for: nothing could be written.
        """
        while self._open and not self.has_looked_back:
            try:
                behind.look_back(self._parts)
                self._introduce()
                self.has_looked_back = True
            except Exception as error:  # noqa: BLE001  # the one writer must outlive whatever the store does
                log.error("the node could not begin to write", why=repr(error))
                time.sleep(PAUSE_S)
        self._ring()

    def _introduce(self) -> None:
        """Write the node's card if it has changed, before anything is signed that rests on it."""
        with self._parts.database.read() as connection:
            if not introduction.is_due(self._parts, connection):
                return
        [answer] = self._written([_Item(Introduce())])
        if isinstance(answer, Busy):
            raise answer
        if isinstance(answer, Refusal):
            log.error("the node's card stays as it was", why=answer.sentence())

    def _drain(self) -> list[_Item] | None:
        """The next batch; empty when nothing came for a while; None to stop."""
        try:
            first = self._queue.get(timeout=0 if self.leads and self._keeper.is_busy else IDLE_S)
        except queue.Empty:
            return []
        items: list[_Item] = []
        weight = 0
        while first is not None:
            items.append(first)
            weight += first.work.weight
            if weight >= self._parts.settings.batch_limit or self._queue.empty():
                return items
            first = self._queue.get()
        if items:
            self._queue.put(None)
            return items
        return None

    def _settle(self, items: list[_Item]) -> None:
        """Write a batch, then answer. Nobody is answered before the commit.

        When a batch fails as a whole, its items are tried one by one, so that only the culprit is refused;
        not so when the store is away, which no single change is to blame for.
        """
        try:
            answers = self._written(items)
        except Exception as error:  # noqa: BLE001  # the one writer must outlive whatever a change does
            self._forget()
            log.error("batch failed", why=repr(error), changes=len(items))
            if len(items) > 1 and not isinstance(error, Busy):
                for item in items:
                    self._settle([item])
                return
            answers = [_not_stored(error)] * len(items)
        self._ring()
        for item, answer in zip(items, answers, strict=True):
            _answer(item.future, answer)

    def _written(self, items: list[_Item]) -> list[Any]:
        """The answers of a batch that is durable."""
        with self._parts.database.write() as connection:
            refusal = behind.refusal(self._parts, connection) or introduction.refusal(self._parts, connection)
            if refusal is not None:
                return [refusal] * len(items)
            batch = Batch(self._parts, connection)
            batch.prepare(tin for item in items for tin in item.work.tins)
            answers = [_attempt(item.work, batch) for item in items]
            batch.commit()
        batch.settle()
        return answers

    def _keep_in_line(self, *, more_waits: bool) -> None:
        """One step of bringing channels into line; short, so that changes in the queue wait little."""
        try:
            if not self._keeper.is_due(self._parts):
                return
            with self._parts.database.write() as connection:
                if behind.told(self._parts, connection) or introduction.refusal(self._parts, connection):
                    self._keeper.rest()
                    return
                batch = Batch(self._parts, connection)
                self._keeper.step(batch, 50 if more_waits else 250)
                batch.commit()
            batch.settle()
        except Exception as error:  # noqa: BLE001  # the one writer must outlive whatever a change does
            self._forget()
            log.error("channels could not be brought into line", why=repr(error))
            self._keeper.rest()
        self._ring()

    def _scrub(self) -> None:
        """Free the files of what was erased; where somebody is in the way, a moment later."""
        if self._keeper.is_busy or time.monotonic() < self._scrub_at_s:
            return
        is_free = False
        try:
            is_free = erasing.scrub(self._parts)
        except Exception as error:  # noqa: BLE001  # the one writer must outlive whatever the store does
            log.error("the files of the store are not free yet of what was erased", why=repr(error))
        self._scrub_pause_s = 0.0 if is_free else min(2 * self._scrub_pause_s + PAUSE_S, SCRUB_PAUSE_S)
        self._scrub_at_s = time.monotonic() + self._scrub_pause_s

    def _forget(self) -> None:
        """What is remembered of the store may be what did not commit, or lack what did, though it failed."""
        self._parts.standings.forget()
        self._parts.peers.forget()

    def _ring(self) -> None:
        """Wake who waits; where that fails they look again by themselves, and what is durable is answered."""
        try:
            self._parts.bell.ring()
        except Exception as error:  # noqa: BLE001  # the one writer must outlive it
            log.error("the bell did not ring", why=repr(error))


def _not_stored(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    return Busy(
        "the change could not be stored",
        why=type(error).__name__,
        do="repeat it with the same idempotency key; if it fails again, read the node's log",
    )


class HalfDoneError(Exception):
    """A change was refused after it had begun to write: its batch must not commit."""


def _attempt(work: Work, batch: Batch) -> Any:
    before = batch.additions
    try:
        return work.run(batch)
    except Refusal as refusal:
        if batch.additions != before:
            raise HalfDoneError(refusal.sentence()) from refusal
        return refusal


def _answer(future: Future[Any], answer: Any) -> None:
    if isinstance(answer, Refusal):
        future.set_exception(answer)
    else:
        future.set_result(answer)
