"""The peers whose cards are pinned here, and requests to them.

The one module that speaks HTTP as a client. Every request is signed, bounded in time and in the size of
its answer; whatever goes wrong on the way comes out as one refusal that names the peer.
"""

import time
from collections.abc import Callable
from urllib.parse import quote

import httpx
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from node.errors import Busy, Forbidden, Malformed, NotFound, Refusal, TooMuch, Unauthenticated
from node.exchange import card, requests
from node.exchange.card import Card
from node.store import access

ANSWER_LIMIT_BYTES = 64 * 2**20
REFUSALS: dict[int, type[Refusal]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    413: TooMuch,
    429: Busy,
    503: Busy,
}


class Peers:
    """The pinned cards, read from the store and kept until one is added."""

    def __init__(self) -> None:
        self._cards: dict[str, Card] | None = None

    def by_country(self, connection: Connection) -> dict[str, Card]:
        """The cards by country."""
        if self._cards is None:
            self._cards = {row["country"]: card.read(row["card"]) for row in access.peers(connection)}
        return self._cards

    def forget(self) -> None:
        """Read the cards again next time: one was added."""
        self._cards = None


class PeerClient:
    """Signed requests of this node to one peer, over a kept connection."""

    def __init__(
        self, peer: Card, sender: str, key: Ed25519PrivateKey, timeout_s: float, now_s: Callable[[], float]
    ) -> None:
        """`timeout_s` bounds each request, on top of the time it asks the peer to wait."""
        self.peer, self._sender, self._key, self._timeout_s, self._now_s = peer, sender, key, timeout_s, now_s
        self._http = httpx.Client(
            follow_redirects=False, trust_env=False, headers={"user-agent": "aeo-exchange"}
        )

    def get_bytes(self, path: str, wait_s: float = 0) -> bytes:
        """GET the bytes at a path of the peer's address."""
        url = self.peer.address + quote(path, safe="/?=&%:.-_~")
        headers = requests.sign("GET", url, b"", self._sender, self._key, self._now_s())
        try:
            return self._bounded(url, headers, self._timeout_s + wait_s)
        except httpx.HTTPError as error:
            raise Busy(
                "a peer cannot be reached",
                where=self.peer.name,
                why=type(error).__name__,
                do="this node asks again by itself",
            ) from None

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()

    def _bounded(self, url: str, headers: dict[str, str], timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        with self._http.stream("GET", url, headers=headers, timeout=timeout_s) as answer:
            body = bytearray()
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > ANSWER_LIMIT_BYTES or time.monotonic() > deadline:
                    raise TooMuch("a peer's answer is too long or too slow", where=self.peer.name)
        if answer.status_code != 200:
            raise _refusal(self.peer.name, answer.status_code, bytes(body))
        return bytes(body)


def _refusal(peer: str, status: int, body: bytes) -> Refusal:
    try:
        told = orjson.loads(body)
        why = str(told.get("detail", told))[:500]
    except (orjson.JSONDecodeError, AttributeError):
        why = f"status {status}"
    return REFUSALS.get(status, Malformed)(f"peer {peer} refused", where=peer, why=why)
