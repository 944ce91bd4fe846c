"""Connections from outside: none may stand open with half a request, and there are only so many."""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_LIMIT_S = 15.0
"""Within which a request, once begun, must have come in whole."""
CONNECTION_LIMIT: Final = 800
"""Stays below the 1,024 descriptors that an account has where nobody raised them."""


class TimelyProtocol(HttpToolsProtocol):
    """Cuts a connection that does not complete its request; an answer may take as long as it takes."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request, unless there are too many connections already."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTION_LIMIT:
            transport.abort()
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Whatever comes must become a whole request in time."""
        self._expect()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Also one that comes right behind another."""
        self._expect()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._forget()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is expected any more."""
        self._forget()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._timer = self._timer or self.loop.call_later(REQUEST_LIMIT_S, self._cut)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut(self) -> None:
        self._timer = None
        cycle = self.cycle
        if self.pipeline or (cycle and not cycle.more_body and not cycle.response_complete):
            self._expect()  # an earlier request is being answered, and nothing is read meanwhile
        else:
            self.transport.abort()
