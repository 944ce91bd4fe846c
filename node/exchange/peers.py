"""The peers whose cards are pinned here, and requests to them and to witnesses.

The one module that speaks HTTP as a client. Every request is bounded in time and in the size of its answer,
and those to peers are signed; whatever goes wrong on the way comes out as one refusal that names who was
asked.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any
from urllib.parse import quote

import httpcore
import httpx
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from node.errors import Busy, Forbidden, Malformed, NotFound, Refusal, TooMuch, Unauthenticated
from node.exchange import card, requests
from node.exchange.card import Card
from node.exchange.page import ANSWER_LIMIT_BYTES
from node.exchange.trust import policy_of
from node.ledger.policy import Policy
from node.store import access

REFUSALS: dict[int, type[Refusal]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    413: TooMuch,
    429: Busy,
    503: Busy,
}


class OwnCard:
    """The node's own card: what stands in its ledger, or will stand there once it is written.

    It is replaced when the keys or the address of the node have changed.
    """

    def __init__(self, card: Card) -> None:
        self.card = card

    def become(self, card: Card) -> None:
        """Go by another card from now on."""
        self.card = card


class Peers:
    """The pinned cards, read from the store and kept until one is added."""

    def __init__(self) -> None:
        self._cards: dict[str, Card] | None = None
        self._current: dict[str, Card] = {}
        self._policy: Policy | None = None

    def by_country(self, connection: Connection) -> dict[str, Card]:
        """The cards by country, but for nodes that were succeeded."""
        self.by_name(connection)
        return self._current

    def by_name(self, connection: Connection) -> dict[str, Card]:
        """All cards by name of the node."""
        if self._cards is None:
            rows = access.peers(connection)
            known = {row["name"]: card.read(row["card"]) for row in rows}
            gone = {row["name"] for row in rows if row["successor"]}
            self._current = {each.country: each for each in known.values() if each.name not in gone}
            self._cards = known
        return self._cards

    def with_own(self, connection: Connection, own: OwnCard) -> dict[str, Card]:
        """The cards of all nodes that are or were pinned, and of this one, by name."""
        return {**self.by_name(connection), own.card.name: own.card}

    def policy(self, connection: Connection, own: Card) -> Policy:
        """The trust policy that has these peers as witnesses of the own ledger."""
        if self._policy is None:
            self._policy = policy_of(own, list(self.by_country(connection).values()))
        return self._policy

    def forget(self) -> None:
        """Read the cards again next time: one was added."""
        self._cards = self._policy = None


class Deadline(threading.local):
    """When the request of the calling thread must have ended: threads share connections, not deadlines."""

    def __init__(self) -> None:
        self.at_s = float("inf")

    def left_s(self, timeout_s: float | None, late: type[Exception]) -> float:
        """The time a step may take; raises `late` when there is none left."""
        left_s = self.at_s - time.monotonic()
        if left_s <= 0:
            raise late("the deadline has passed")
        return left_s if timeout_s is None else min(left_s, timeout_s)


class TimelyStream(httpcore.NetworkStream):
    """A connection whose every step ends by the deadline, so that a peer gains nothing by dripping."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there, by the deadline."""
        return self._stream.read(max_bytes, self._deadline.left_s(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of it, by the deadline."""
        self._stream.write(buffer, self._deadline.left_s(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Go on in TLS, with the same deadline."""
        left_s = self._deadline.left_s(timeout, httpcore.ConnectTimeout)
        return TimelyStream(self._stream.start_tls(ssl_context, server_hostname, left_s), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """What the connection tells about itself."""
        return self._stream.get_extra_info(info)


class TimelyBackend(httpcore.SyncBackend):
    """Opens connections that keep to the deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect, by the deadline."""
        left_s = self._deadline.left_s(timeout, httpcore.ConnectTimeout)
        stream = super().connect_tcp(host, port, left_s, local_address, socket_options)
        return TimelyStream(stream, self._deadline)


def _transport(deadline: Deadline) -> httpx.HTTPTransport:
    trusted = httpx.create_ssl_context(trust_env=False)
    transport = httpx.HTTPTransport(verify=trusted)
    # httpx has no public way to give its pool another network; a test sees to it that this one is used.
    transport._pool = httpcore.ConnectionPool(ssl_context=trusted, network_backend=TimelyBackend(deadline))
    return transport


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: status, content type, and the bytes of its body."""

    status: int
    content_type: str
    body: bytes


class Caller:
    """Requests to one other party, over kept connections, each bounded."""

    def __init__(self, who: str) -> None:
        """`who` is named when something goes wrong."""
        self._who, self._deadline = who, Deadline()
        self._http = httpx.Client(
            follow_redirects=False,
            trust_env=False,
            headers={"user-agent": "aeo-exchange", "accept-encoding": "identity"},
            transport=_transport(self._deadline),
        )

    def send(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        timeout_s: float,
        body: bytes = b"",
        limit_bytes: int | None = None,
    ) -> Answered:
        """The answer, whole within `timeout_s`; `Busy` when there is none, `TooMuch` for one too long."""
        try:
            limit = ANSWER_LIMIT_BYTES if limit_bytes is None else limit_bytes
            return self._bounded(method, url, headers, timeout_s, body, limit)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            late = isinstance(error, httpx.TimeoutException)
            raise Busy(
                f"{self._who} cannot be reached{' in time' if late else ''}",
                where=self._who,
                why=type(error).__name__,
                do="this node asks again by itself",
            ) from None

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _bounded(
        self, method: str, url: str, headers: dict[str, str], timeout_s: float, body: bytes, limit_bytes: int
    ) -> Answered:
        self._deadline.at_s = time.monotonic() + timeout_s
        with self._http.stream(
            method, url, headers=headers, timeout=timeout_s, content=body or None
        ) as answer:
            if "content-encoding" in answer.headers:  # decoding would come before any bound
                raise Malformed("an answer is encoded, which was not asked for", where=self._who)
            told = bytearray()
            for chunk in answer.iter_raw():
                told += chunk
                if len(told) > limit_bytes:
                    raise TooMuch("an answer is too long", where=self._who)
        return Answered(answer.status_code, answer.headers.get("content-type", ""), bytes(told))


def asking(path: str, query: Iterable[tuple[str, object]]) -> str:
    """A path with its query, as `PeerClient.get_bytes` takes it."""
    return f"{path}?" + "&".join(f"{name}={quote(str(value), safe=':')}" for name, value in query)


class PeerClient:
    """Signed requests of this node to one peer."""

    def __init__(
        self, peer: Card, sender: str, key: Ed25519PrivateKey, timeout_s: float, now_s: Callable[[], float]
    ) -> None:
        """`timeout_s` bounds each whole request, on top of the time it asks the peer to wait."""
        self.peer, self._sender, self._key, self._timeout_s, self._now_s = peer, sender, key, timeout_s, now_s
        self._caller = Caller(peer.name)

    def get_bytes(self, path: str, wait_s: float = 0) -> bytes:
        """GET the bytes at a path of the peer's address."""
        url = self.peer.address + quote(path, safe="/?=&%:.-_~")
        headers = requests.sign("GET", url, b"", self._sender, self._key, self._now_s())
        answer = self._caller.send("GET", url, headers, self._timeout_s + wait_s)
        if answer.status != 200:
            raise _refusal(self.peer.name, answer.status, answer.body)
        return answer.body

    def post(self, path: str, body: bytes) -> bytes:
        """POST JSON to a path of the peer's address; gives the bytes of the answer."""
        url = self.peer.address + path
        headers = requests.sign("POST", url, body, self._sender, self._key, self._now_s())
        headers |= {"content-type": "application/json"}
        answer = self._caller.send("POST", url, headers, self._timeout_s, body)
        if answer.status != 200:
            raise _refusal(self.peer.name, answer.status, answer.body)
        return answer.body

    def close(self) -> None:
        """Let go of the connections."""
        self._caller.close()


def _refusal(peer: str, status: int, body: bytes) -> Refusal:
    try:
        told = orjson.loads(body)
        why = str(told.get("detail", told))[:500]
    except (orjson.JSONDecodeError, AttributeError):
        why = f"status {status}"
    return REFUSALS.get(status, Malformed)(f"peer {peer} refused", where=peer, why=why)
