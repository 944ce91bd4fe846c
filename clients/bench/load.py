"""The load: many clients that each send the next request as soon as the last one is answered.

It runs in a process of its own and costs little, so that what is measured is the node. Requests are
written out beforehand; one event loop keeps every connection open and parses answers with httptools.
Processor time for one answer of an empty endpoint to 64 clients, measured on two shared cores: this
21 microseconds, http.client in threads 84, httpx in threads 970, httpx on asyncio 2,800. With httpx, or
the SDK that is built on it, the load would be the bottleneck.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from multiprocessing import get_context
from typing import cast

import httptools
import uvloop

CONNECT_LIMIT_S = 10.0
ANSWER_LIMIT_S = 35.0


@dataclass(slots=True)
class Driven:
    """What became of a load: answers counted by status, how long each took, and the whole time."""

    statuses: dict[int, int] = field(default_factory=dict)
    waits_ms: list[float] = field(default_factory=list)
    took_s: float = 0.0
    last_body: bytes = b""

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return len(self.waits_ms) / self.took_s

    def require(self, status: int) -> "Driven":
        """This, if every answer had the status: refusals are fast and must not count."""
        if set(self.statuses) != {status}:
            raise RuntimeError(f"expected {status} only, got {self.statuses}: {self.last_body[:300]!r}")
        return self


@dataclass(frozen=True, slots=True)
class Load:
    """Requests to one port of this machine, by so many clients, round and round or once, for a time."""

    port: int
    requests: Sequence[bytes]
    clients: int
    limit_s: float
    repeat: bool = False


Drive = Callable[[Load], Driven]
"""Drives a load to its end."""


def request(method: str, path: str, token: str = "", body: bytes = b"") -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1"]
    lines += [f"authorization: Bearer {token}"] if token else []
    lines += ["content-type: application/json", f"content-length: {len(body)}"] if body else []
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@contextmanager
def loader() -> Iterator[Drive]:
    """Drives one load after the other, from one process that is not this one."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        yield lambda load: process.submit(_drive, load).result()


def _drive(load: Load) -> Driven:
    return uvloop.run(_all_clients(load))


async def _all_clients(load: Load) -> Driven:
    driven, loop = Driven(), asyncio.get_running_loop()
    queue = iter(cycle(load.requests) if load.repeat else load.requests)
    clients = [_Client(queue, driven) for _ in range(load.clients)]
    async with asyncio.timeout(CONNECT_LIMIT_S):
        for client in clients:
            await loop.create_connection(lambda each=client: each, "127.0.0.1", load.port)  # type: ignore[misc]
    begun = time.perf_counter()
    for client in clients:
        client.go(begun + load.limit_s)
    async with asyncio.timeout(load.limit_s + ANSWER_LIMIT_S):
        await asyncio.gather(*(client.done for client in clients))
    driven.took_s = time.perf_counter() - begun
    return driven


class _Client(asyncio.Protocol):
    """One client on one connection; also the callbacks of its parser."""

    def __init__(self, queue: Iterator[bytes], driven: Driven) -> None:
        self._queue, self._driven = queue, driven
        self._parser = httptools.HttpResponseParser(self)
        self._until = self._sent = 0.0
        self._body = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def go(self, until: float) -> None:
        """Send the next request, or end when the time or the requests are used up."""
        self._until, self._sent = until, time.perf_counter()
        following = next(self._queue, None) if self._sent < until else None
        if following is not None:
            self._transport.write(following)
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Keep the end of the last answer, to show when something is refused."""
        self._driven.last_body = body

    def on_message_complete(self) -> None:
        """Count the answer and go on."""
        status = self._parser.get_status_code()
        self._driven.statuses[status] = self._driven.statuses.get(status, 0) + 1
        self._driven.waits_ms.append(1000 * (time.perf_counter() - self._sent))
        self.go(self._until)

    def connection_lost(self, error: Exception | None) -> None:
        """End; before the load is over that is a failure."""
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the node closed the connection"))
