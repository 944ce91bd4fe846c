"""The workshop: reads and signs versions, in processes beside the serving one when there are many at a time.

What it does is pure, so it may be done anywhere: a row of a list goes out and comes back parsed; a draft goes
out, and its signature, commitment and sealed form come back. The processes are begun when first needed, and
until they are ready, or when one of them dies, whoever asked does the work itself. They hold the key that
signs credentials and no other secret but the record keys that drafts bring, and end with the process that
began them.
"""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TypeVar

import orjson
import structlog

from node import keys
from node.errors import Malformed, Problem
from node.exchange import versions
from node.exchange.versions import Body, Draft, Fields, Signatory, Signed, Version
from node.records import model
from node.records.credential import Credential, Disclosure, es256_signer

WORTH = 16
"""So many versions at a time are worth sending out."""

T = TypeVar("T")
R = TypeVar("R")

log = structlog.get_logger()

Order = tuple[Draft, bytes]
"""A draft, and the nonce to seal it with."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A row that is out of form."""

    tin: str
    problems: tuple[Problem, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Made:
    """A signed version, with its commitment and as it rests in the store."""

    version: Version
    commit: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class _Returned:
    """What comes back of a version: the rest of it is at hand. `shown` only if partners may see it."""

    signature: bytes
    commit: bytes
    sealed: bytes
    shown: tuple[bytes, bytes, Body] | None


Parsed = Fields | Unread
"""A row of a list as it is recorded, or what is wrong with it."""


def parse(rows: Sequence[Fields]) -> list[Parsed]:
    """Parse each row by itself."""
    return [_parsed(row) for row in rows]


def _parsed(row: Fields) -> Parsed:
    try:
        return model.to_json(model.parse(row))
    except Malformed as refusal:
        return Unread(str(row.get("tin", ""))[:64], refusal.problems, refusal.sentence())


def make(order: Order, by: Signatory) -> Made:
    """Sign and seal one version."""
    draft, nonce = order
    version = versions.sign(draft, by)
    return Made(version, version.commit(), version.seal(nonce))


class Workshop:
    """The processes, and whether they are ready."""

    def __init__(self, by: Signatory, key_place: str, home: Path, processes: int) -> None:
        """`processes` of them, which load their key themselves; 0: everything is done here."""
        self._by, self._begin = by, (by.issuer, by.kid, key_place, home)
        self._count = processes
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._ready: list[Future[None]] = []

    def make(self, orders: Sequence[Order], *, is_shown: bool) -> list[Made]:
        """Sign and seal versions, in their order; `is_shown`: their credentials will be disclosed at once."""
        returned = self._sent_out(partial(_made, is_shown=is_shown), orders)
        if returned is None:
            return [make(order, self._by) for order in orders]
        return [self._taken(draft, each) for (draft, _), each in zip(orders, returned, strict=True)]

    def parse(self, rows: Sequence[Fields]) -> list[Parsed]:
        """Each row of a list parsed, or what is wrong with it."""
        return self._sent_out(parse, rows) or parse(rows)

    @property
    def is_ready(self) -> bool:
        """Whether there are processes that work; the first take a second or two to begin."""
        return bool(self._ready) and all(each.done() for each in self._ready)

    def close(self) -> None:
        """End the processes; the next large list begins them again."""
        with self._lock:
            pool, self._pool, self._ready = self._pool, None, []
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def _sent_out(self, work: Callable[[Sequence[T]], list[R]], items: Sequence[T]) -> list[R] | None:
        """What the processes make of so many items; None when it is better done, or must be done, here."""
        pool = self._staffed(len(items))
        if pool is None:
            return None
        size = -(-len(items) // self._count)
        parts = [items[at : at + size] for at in range(0, len(items), size)]
        try:
            return [each for part in pool.map(work, parts) for each in part]
        except (BrokenProcessPool, RuntimeError) as error:  # RuntimeError: it was closed at this moment
            log.warning("the processes of the workshop ended; it is done without them", why=repr(error))
            self.close()
            return None

    def _staffed(self, count: int) -> ProcessPoolExecutor | None:
        """The processes, if there are any, they are ready, and it is worth it."""
        if not self._count or count < WORTH:
            return None
        with self._lock:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(self._count, get_context("spawn"), _begin, self._begin)
                self._ready = [self._pool.submit(_nothing) for _ in range(self._count)]
            return self._pool if self.is_ready else None

    def _taken(self, draft: Draft, returned: _Returned) -> Made:
        issuer, kid = self._by.issuer, self._by.kid
        issued = None
        if returned.shown is not None:
            digests, openings, body = returned.shown
            opened = tuple(Disclosure(path, opening) for path, opening in orjson.loads(openings))
            issued = Credential(issuer, kid, digests, returned.signature, opened), body
        version = versions.signed(draft, Signed(issuer, kid, returned.signature), issued)
        return Made(version, returned.commit, returned.sealed)


_signatory: Signatory
"""Of a process of the workshop: set once, when it begins."""


def _begin(issuer: str, kid: str, key_place: str, home: Path) -> None:
    global _signatory  # noqa: PLW0603  # how a process of a pool is given what all its work needs
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that serves
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _signatory = Signatory(issuer, kid, es256_signer(keys.load(key_place, home).credential))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "it was started by a node"
    parent.join()
    os._exit(0)


def _nothing() -> None:
    """Done as soon as a process is ready."""


def _made(orders: Sequence[Order], is_shown: bool) -> list[_Returned]:  # called through a pool's map
    return [_returned(make(order, _signatory), is_shown=is_shown) for order in orders]


def _returned(made: Made, is_shown: bool) -> _Returned:
    shown = _shown(made.version) if is_shown else None
    return _Returned(made.version.signed.signature, made.commit, made.sealed, shown)


def _shown(version: Version) -> tuple[bytes, bytes, Body]:
    issued = version.credential
    openings = orjson.dumps([(each.path, each.opening) for each in issued.disclosures])
    return issued.digests, openings, version.body
