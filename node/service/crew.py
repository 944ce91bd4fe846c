"""Who checks the ranges of a store: this process, or several that begin at one state of it.

A process that dies is an error and never a pass: what it had in hand was not checked. None outlives the
one that started it: each ends when nobody is at the other end of its pipe.
"""

import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import connection as pipes
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any

from node.errors import Busy, Refusal
from node.service.check_access import AccessBodies
from node.service.check_channels import Incoming, Outgoing
from node.service.check_ledger import LedgerBodies
from node.service.check_logs import Behind, Checked, Noted, Range, check_range
from node.service.ground import Ground, ground
from node.service.parts import Parts
from node.store.tables import ACCESS, LEDGER

IN_HAND = 2
"""Ranges that a process holds at a time, so that it never waits for the next."""
AHEAD = 4
"""How many ranges for each process may be done before the one that is told of next."""


class Ranges:
    """Checks ranges of whatever log they are of; what each log needs is opened once."""

    def __init__(self, on: Ground) -> None:
        """All of them at one state of the store."""
        self._on = on
        self._behind: dict[int, Behind] = {}

    def check(self, range_: Range) -> Checked:
        """Check one range."""
        log = range_.head.log
        if log not in self._behind:
            self._behind[log] = _behind(self._on, log)
        self._behind[log].noted = Noted()
        return check_range(self._on, range_, self._behind[log])


def _behind(on: Ground, log: int) -> Behind:
    if log == LEDGER:
        return LedgerBodies.on(on)
    if log == ACCESS:
        return AccessBodies.on(on)
    channel = on.channel(log)
    if channel.issuer == on.parts.country:
        return Outgoing.on(on, channel)
    issuer = on.issuer(channel)
    assert issuer is not None, "its log was begun to be checked"
    return Incoming.on(on, channel, issuer)


class Alone:
    """This process."""

    def over(self, ground: Ground, ranges: Iterator[Range]) -> Generator[tuple[Range, Checked], None, None]:
        """One after the other."""
        here = Ranges(ground)
        for range_ in ranges:
            yield range_, here.check(range_)


@dataclass(slots=True)
class _Hand:
    """One of several processes."""

    process: SpawnProcess
    pipe: "Pipe[Any, Any]"
    asked: deque[int] = field(default_factory=deque)

    def told(self) -> Any:
        """What it says next; `Busy` when it says nothing any more, a refusal as it was."""
        try:
            said = self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            why = f"process {self.process.pid} ended with code {self.process.exitcode}"
            do = "give the command again; if memory was short, with fewer `--processes`"
            raise Busy("a process of the check ended before its work was done", why=why, do=do) from None
        if isinstance(said, Refusal):
            raise said
        return said


class Several:
    """As many processes, each with its own connection to the store."""

    def __init__(self, parts: Callable[[], Parts], processes: int) -> None:
        """`parts` is called in each of them."""
        self._parts, self._count = parts, processes
        self._hands: list[_Hand] = []

    def __enter__(self) -> "Several":
        """Start them all, and wait until they are ready."""
        context = get_context("spawn")
        try:
            for _ in range(self._count):
                here, there = context.Pipe()
                process = context.Process(target=_work, args=(there, self._parts), daemon=True)
                process.start()
                there.close()
                self._hands.append(_Hand(process, here))
            for hand in self._hands:
                hand.told()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """End them, whatever they do."""
        self._end()

    def _end(self) -> None:
        for hand in self._hands:
            hand.process.kill()  # it only reads; and one that stands still would not hear of anything else
        for hand in self._hands:
            hand.process.join()
            hand.pipe.close()

    def begin(self) -> None:
        """Let each take the state of the store as it is now."""
        for hand in self._hands:
            hand.pipe.send(None)
        for hand in self._hands:
            hand.told()

    def over(self, ground: Ground, ranges: Iterator[Range]) -> Generator[tuple[Range, Checked], None, None]:
        """Side by side, in the order of the ranges."""
        out: dict[int, Range] = {}
        done: dict[int, Checked] = {}
        numbered = enumerate(ranges)
        try:
            for turn in count():
                self._hand_out(numbered, out)
                if not out:
                    return
                while turn not in done:
                    self._take(done)
                yield out.pop(turn), done.pop(turn)
        except GeneratorExit:
            while any(hand.asked for hand in self._hands):
                self._take(done)  # nobody asks for these any more; what is asked next comes behind them
            raise

    def _hand_out(self, ranges: "enumerate[Range]", out: dict[int, Range]) -> None:
        """Give each process what it can hold, as long as not too many wait for one that takes long."""
        while len(out) < AHEAD * len(self._hands):
            hand = min(self._hands, key=lambda each: len(each.asked))
            if len(hand.asked) == IN_HAND:
                return
            number, range_ = next(ranges, (-1, None))
            if range_ is None:
                return
            out[number] = range_
            hand.asked.append(number)
            hand.pipe.send(range_)

    def _take(self, done: dict[int, Checked]) -> None:
        """Wait for what any of them says next."""
        asked = {hand.pipe: hand for hand in self._hands if hand.asked}
        for pipe in pipes.wait(list(asked)):
            hand = asked[pipe]  # type: ignore[index]  # these are the ones that were waited for
            done[hand.asked[0]] = hand.told()
            hand.asked.popleft()


def _work(pipe: "Pipe[Any, Any]", parts: Callable[[], Parts]) -> None:
    """What each process does; an interrupt is for the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        own = parts()
        pipe.send(None)
        pipe.recv()
        with ground(own) as on:
            pipe.send(None)
            here = Ranges(on)
            while True:
                pipe.send(here.check(pipe.recv()))
    except (EOFError, ConnectionError):
        return
    except Refusal as refusal:
        pipe.send(refusal)
