"""Wakes everyone who waits for something new: long polls and event streams.

Rung from any thread after a commit; a ring says only "look again", never what happened.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from node.errors import Busy

WAITING_LIMIT = 2_000


class Bell:
    """One bell for the whole node."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self.rings = 0
        self.is_closed = False
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def ring(self) -> None:
        """Wake everyone who waits now."""
        with self._lock:
            self.rings += 1
            self._lock.notify_all()
            waiting, self._waiting = self._waiting, set()
        for loop, event in waiting:
            with suppress(RuntimeError):  # the loop is closed, so nobody waits there any more
                loop.call_soon_threadsafe(event.set)

    def wait(self, heard: int, timeout_s: float) -> None:
        """Wait in a thread until there were other `rings` than those heard before, or the time is over."""
        with self._lock:
            self._lock.wait_for(lambda: self.rings != heard or self.is_closed, timeout_s)

    def close(self) -> None:
        """Wake everyone for the last time: the node stops, and nobody should wait any more."""
        self.is_closed = True
        self.ring()

    @contextmanager
    def ticket(self) -> Iterator["Ticket"]:
        """A place in the queue, taken *before* looking, so that no ring in between is missed."""
        place = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            if len(self._waiting) >= WAITING_LIMIT:
                raise Busy("too many callers wait for news", do="ask again in a moment")
            self._waiting.add(place)
        try:
            yield Ticket(place[1])
        finally:
            with self._lock:
                self._waiting.discard(place)


class Ticket:
    """One caller's wait for the next ring."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the ring; False when the time is over first."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout_s)
        except TimeoutError:
            return False
        return True
