"""Connections from outside: none may stand open with half a request, and there are only so many.

When there are too many, one that is not being answered makes room: whoever holds the most gives up the one
that has been waiting longest. So connections that ask nothing cannot shut out those that do.
"""

import asyncio
from collections import Counter
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_LIMIT_S = 15.0
"""Within which a request, once begun, must have come in whole."""
CONNECTION_LIMIT: Final = 800
"""Stays below the 1,024 descriptors that an account has where nobody raised them."""


class TimelyProtocol(HttpToolsProtocol):
    """Cuts a connection that does not complete its request; an answer may take as long as it takes."""

    _timer: asyncio.TimerHandle | None = None
    _idle_since: float = 0.0

    @property
    def is_answering(self) -> bool:
        """Whether a whole request has come in and its answer is not complete."""
        cycle = self.cycle
        return bool(self.pipeline or (cycle and not cycle.more_body and not cycle.response_complete))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request, and make room when there are too many connections already."""
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._expect()
        if len(self.connections) > CONNECTION_LIMIT - 1:  # at the limit itself every request is refused
            self._make_room()

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

    def on_response_complete(self) -> None:
        """From now on it waits for its next request."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is expected any more."""
        self._forget()
        super().connection_lost(exc)

    def _make_room(self) -> None:
        """Close one of the others; this one, when all of them are being answered."""
        others = [each for each in self.connections if isinstance(each, TimelyProtocol) and each is not self]
        held = Counter(each.client and each.client[0] for each in (self, *others))
        idle = [each for each in others if not each.is_answering]
        given_up = min(
            idle,
            key=lambda each: (-held[each.client and each.client[0]], each._idle_since),
            default=self,
        )
        self.connections.discard(given_up)
        given_up.transport.abort()

    def _expect(self) -> None:
        self._timer = self._timer or self.loop.call_later(REQUEST_LIMIT_S, self._cut)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut(self) -> None:
        self._timer = None
        if self.is_answering:
            self._expect()  # nothing is read meanwhile
        else:
            self.transport.abort()
