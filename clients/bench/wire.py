"""The wire between two nodes, counted: it hands on every byte and looks at none."""

import asyncio
import threading
from types import TracebackType
from typing import Self, cast

import uvloop

from clients.demo.waiting import free_port

START_LIMIT_S = 10.0


class Wire:
    """Listens on `port` and hands on to `to`; `count` is what went through, both ways together."""

    def __init__(self, to: int) -> None:
        """Nothing listens yet."""
        self.to, self.port, self.count = to, free_port(), 0
        self.ends: set[_End] = set()
        self._listens = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        """Listen, from a thread of its own."""
        self._thread.start()
        if not self._listens.wait(START_LIMIT_S):
            raise RuntimeError("the counted wire does not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        """Stop; open connections break."""
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        server = await self._loop.create_server(lambda: _End(self), "127.0.0.1", self.port)
        self._listens.set()
        await self._ending.wait()
        for end in tuple(self.ends):
            end.transport.abort()
        server.close()
        await server.wait_closed()


class _End(asyncio.Protocol):
    """One end of a connection; what it gets, the other end sends on."""

    def __init__(self, wire: Wire, other: "_End | None" = None) -> None:
        self._wire, self._other = wire, other
        self._early: list[bytes] = []
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._wire.ends.add(self)
        if self._other is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        try:
            loop, to = asyncio.get_running_loop(), self._wire.to
            _, other = await loop.create_connection(lambda: _End(self._wire, self), "127.0.0.1", to)
        except OSError:
            self.transport.close()
            return
        other.transport.write(b"".join(self._early))
        self._other = other
        if self.transport.is_closing():
            other.transport.close()

    def data_received(self, data: bytes) -> None:
        self._wire.count += len(data)
        if self._other is None:
            self._early.append(data)
        else:
            self._other.transport.write(data)

    def pause_writing(self) -> None:
        if self._other is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._wire.ends.discard(self)
        if self._other is not None:
            self._other.transport.close()
