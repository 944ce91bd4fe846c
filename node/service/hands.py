"""Processes beside this one that do pure work, a part each at a time.

Whoever asks hands the parts over and waits for them itself. A process that takes too long is killed, which
ends whatever waits for it, handing over and hearing alike; the next work begins another. None outlives the
process that began it, whatever it does.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

import structlog

START_LIMIT_S = 60
"""Longer than a process takes to begin."""
PAUSE_S = 10.0
"""Before another is begun after one that could not."""
PATIENCE_S = 1.0
"""How long to wait for a process that works for somebody else."""

T = TypeVar("T")
R = TypeVar("R")
H = TypeVar("H")

log = structlog.get_logger()


class HandsLostError(Exception):
    """A process died or took too long; its work was not done."""


@dataclass(slots=True, eq=False)
class _Hand:
    process: SpawnProcess
    pipe: "Pipe[Any, Any]" = field(repr=False)
    is_ready: bool = False


class Hands:
    """So many processes, begun when first needed."""

    def __init__(self, count: int, begin: Callable[[], None]) -> None:
        """`begin` is called once in each of them, before its first work."""
        self._count, self._begin = count, begin
        self._changed = threading.Condition()
        self._all: list[_Hand] = []
        self._idle: list[_Hand] = []
        self._not_before_s = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether all of them work; the first take a second or two to begin."""
        with self._changed:
            return bool(self._all) and all(hand.is_ready for hand in self._all)

    def over(
        self,
        work: Callable[[H], list[R]],
        hand_over: Callable[[Sequence[T]], H],
        items: Sequence[T],
        within_s: float,
    ) -> list[R] | None:
        """What `work` makes of so many items, in their order; None when no process is free to do it.

        Raises `HandsLostError` when one of them died, or had not done its part within `within_s` of the call.
        """
        until_s = time.monotonic() + within_s
        hands, is_whole = self._free(min(PATIENCE_S, within_s / 2)), True
        if not hands:
            return None
        watch = threading.Timer(until_s - time.monotonic(), _kill, [hands])
        try:
            size = -(-len(items) // len(hands))
            parts = [hand_over(items[at : at + size]) for at in range(0, len(items), size)]
            is_whole = False  # from here on a process may be left with something that nobody hears
            watch.start()
            for hand, part in zip(hands, parts, strict=False):
                hand.pipe.send((work, part))
            answers = [hand.pipe.recv() for hand, _ in zip(hands, parts, strict=False)]
            is_whole = True
        except (EOFError, OSError) as error:
            raise HandsLostError(
                f"a process ended before its work was done, or after {within_s} s"
            ) from error
        finally:
            watch.cancel()
            self._give_back(hands, is_whole=is_whole)
        return [each for answer in answers for each in answer]

    def close(self) -> None:
        """End them, whatever they do; the next work begins others."""
        with self._changed:
            ended, self._all, self._idle = self._all, [], []
            self._changed.notify_all()
        _kill(ended)

    def _free(self, patience_s: float) -> list[_Hand]:
        """All that are free now or soon; none while the first are still to begin."""
        with self._changed:
            self._fill()
            self._changed.wait_for(lambda: self._idle or not self._works(), patience_s)
            hands, self._idle = self._idle, []
            return hands

    def _works(self) -> bool:
        return any(hand.is_ready for hand in self._all)

    def _give_back(self, hands: Sequence[_Hand], *, is_whole: bool) -> None:
        if not is_whole:
            _kill(hands)
        with self._changed:
            kept = [hand for hand in hands if hand in self._all]
            if is_whole:
                self._idle += kept
            else:
                self._all = [hand for hand in self._all if hand not in kept]
            self._changed.notify_all()

    def _fill(self) -> None:
        """Begin as many as are missing; where that cannot be done, a call after a pause tries again."""
        try:
            while len(self._all) < self._count and time.monotonic() >= self._not_before_s:
                self._all.append(self._begun())
        except OSError as error:
            self._not_before_s = time.monotonic() + PAUSE_S
            log.warning("a process for pure work cannot be begun", why=repr(error))

    def _begun(self) -> _Hand:
        context = get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, self._begin), daemon=True)
        process.start()
        there.close()
        hand = _Hand(process, here)
        threading.Thread(target=self._await_ready, args=(hand,), daemon=True).start()
        return hand

    def _await_ready(self, hand: _Hand) -> None:
        watch = threading.Timer(START_LIMIT_S, hand.process.kill)
        watch.daemon = True
        watch.start()
        try:
            hand.pipe.recv()
            hand.is_ready = True
        except (EOFError, OSError):
            _kill([hand])
        finally:
            watch.cancel()
        with self._changed:
            if hand in self._all and hand.is_ready:
                self._idle.append(hand)
            elif hand in self._all:
                self._all.remove(hand)
                self._not_before_s = time.monotonic() + PAUSE_S
            self._changed.notify_all()


def _kill(hands: Sequence[_Hand]) -> None:
    for hand in hands:
        hand.process.kill()
        hand.process.join()


def _serve(pipe: "Pipe[Any, Any]", begin: Callable[[], None]) -> None:
    """What each process does; an interrupt is for the one that began it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin()
    try:
        pipe.send(None)
        while True:
            work, part = pipe.recv()
            pipe.send(work(part))
    except (EOFError, OSError):
        return


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "it was begun by another process"
    parent.join()
    os._exit(0)
