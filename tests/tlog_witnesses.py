"""Witnesses (C2SP tlog-witness) over HTTP that cosign a log as it grows, as promptly as a test lets them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from threading import Lock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.ledger.checkpoint import Checkpoint
from node.ledger.merkle import EMPTY_ROOT
from node.ledger.note import Signer, Verifier, cosign, cosigner
from node.ledger.witness import LIMIT_BYTES, SIZE_TYPE, Rejected, Watched, examine
from tests import http_server

TIME_S = 1_790_000_000


def nothing() -> None:
    """Goes on."""


@dataclass
class Witness:
    """A witness of one log: its key, and what it cosigned last.

    `arrives` is called before a request is looked at, `leaves` before its answer is sent; an `OSError` of
    either breaks the connection off.
    """

    name: str
    origin: str
    log: Sequence[Verifier]
    arrives: Callable[[], None] = nothing
    leaves: Callable[[], None] = nothing
    url: str = ""
    last: Checkpoint | None = None
    by: Signer = field(init=False)
    _turn: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.by = cosigner(self.name, Ed25519PrivateKey.generate())

    @property
    def size(self) -> int:
        """How much of the log it has cosigned."""
        return self.last.size if self.last else 0

    @property
    def policy_line(self) -> str:
        """It, as a trust policy names it."""
        return f"witness {self.name} {self.by.verifier().vkey()} {self.url}\n"

    def answer(self, body: bytes) -> tuple[int, str, bytes]:
        """Status, content type and body of its answer."""
        self.arrives()
        with self._turn:
            verdict = examine(body, lambda origin: self._watched() if origin == self.origin else None)
            if not isinstance(verdict, Rejected):
                self.last = verdict.checkpoint
        self.leaves()
        if isinstance(verdict, Rejected):
            told = verdict.why if verdict.size is None else f"{verdict.size}\n"
            return verdict.status, "text/plain" if verdict.size is None else SIZE_TYPE, told.encode()
        return 200, "text/plain", cosign(verdict.checkpoint.text(), self.by, TIME_S).encode()

    def _watched(self) -> Watched:
        return Watched(self.log, self.size, self.last.root if self.last else EMPTY_ROOT)


@contextmanager
def serving(witness: Witness) -> Iterator[Witness]:
    """Serve a witness until the context ends."""

    def answer(_request: BaseHTTPRequestHandler, body: bytes) -> http_server.Answer:
        status, kind, told = witness.answer(body[: LIMIT_BYTES + 1])
        return status, {"content-type": kind}, told

    with http_server.serving(answer) as witness.url:
        yield witness
