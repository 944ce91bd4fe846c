"""Processes beside this one that do pure work, a part each at a time.

Whoever asks hands the parts over and waits for them itself. A process that takes too long is killed, which
ends whatever waits for it, handing over and hearing alike; it is replaced, and the work was not done. None
outlives the process that began it: each ends when nobody is at the other end of its pipe.
"""

import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

START_LIMIT_S = 60
"""Longer than a process takes to begin."""
PATIENCE_S = 1.0
"""How long to wait for a process that works for somebody else."""

T = TypeVar("T")
R = TypeVar("R")
H = TypeVar("H")


class HandsLostError(Exception):
    """A process died or took too long, and has been replaced."""


@dataclass(slots=True, eq=False)
class _Hand:
    process: SpawnProcess
    pipe: "Pipe[Any, Any]" = field(repr=False)
    is_ready: bool = False

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


class Hands:
    """So many processes, begun when first needed."""

    def __init__(self, count: int, begin: Callable[[], None]) -> None:
        """`begin` is called once in each of them, before its first work."""
        self._count, self._begin = count, begin
        self._changed = threading.Condition()
        self._all: list[_Hand] = []
        self._idle: list[_Hand] = []

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

        Raises `HandsLostError` when one of them died, or had not done its part in time.
        """
        hands, is_whole = self._free(), False
        if not hands:
            return None
        watch = threading.Timer(within_s, _end_all, [hands])
        try:
            size = -(-len(items) // len(hands))
            parts = [hand_over(items[at : at + size]) for at in range(0, len(items), size)]
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
        for hand in ended:
            hand.kill()

    def _free(self) -> list[_Hand]:
        """All that are free now or soon; none while the first are still to begin."""
        with self._changed:
            if not self._all:
                self._all = [self._begun() for _ in range(self._count)]
            self._changed.wait_for(
                lambda: self._idle or not any(each.is_ready for each in self._all), PATIENCE_S
            )
            hands, self._idle = self._idle, []
            return hands

    def _give_back(self, hands: Sequence[_Hand], *, is_whole: bool) -> None:
        if not is_whole:
            for hand in hands:
                hand.kill()
        with self._changed:
            kept = [hand for hand in hands if hand in self._all]
            if is_whole:
                self._idle += kept
            else:
                self._all = [hand for hand in self._all if hand not in kept] + [self._begun() for _ in kept]
            self._changed.notify_all()

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
            hand.kill()
        finally:
            watch.cancel()
        with self._changed:
            if hand in self._all and hand.is_ready:
                self._idle.append(hand)
            elif hand in self._all:
                self._all.remove(hand)
            self._changed.notify_all()


def _end_all(hands: Sequence[_Hand]) -> None:
    for hand in hands:
        hand.process.kill()


def _serve(pipe: "Pipe[Any, Any]", begin: Callable[[], None]) -> None:
    """What each process does; an interrupt is for the one that began it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    begin()
    try:
        pipe.send(None)
        while True:
            work, part = pipe.recv()
            pipe.send(work(part))
    except (EOFError, OSError):
        return
