"""Anybody's log, read over HTTP as it is served to everyone (C2SP tlog-tiles).

Guarantees that no answer is read beyond the bytes that it can rightly have, packed or unpacked; that every
call ends within a time, however slowly an answer drips; and that nothing is asked of any other place than
the one named: neither redirects nor proxies and credentials of the environment are followed. Refuses with
`NotFound` what the log does not serve, with `Malformed` and `TooMuch` what is no answer of a log, and with
`LogUnreachable` when the log is away, or stays too busy to answer for `PATIENCE_S`.
"""

import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Final, Self

import httpx

from node.errors import Malformed, NotFound, Refusal, TooMuch
from node.ledger import tiles
from node.ledger.merkle import HASH_BYTES
from node.ledger.note import MAX_NOTE_BYTES
from node.ledger.tiles import MAX_ENTRY_BYTES, TILE_BYTES, TILE_WIDTH, Tile

BUNDLE_BYTES: Final = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)
TIMEOUT_S: Final = 20.0
PATIENCE_S: Final = 180.0
PAUSES_S: Final = (1.0, 60.0)
"""The shortest and the longest time until a busy log is asked again."""
READERS: Final = 4
"""Requests that are under way at a time."""
SPARE_BYTES: Final = 1 << 16
"""What packing may add to what cannot be packed."""
GZIP: Final = 16 + zlib.MAX_WBITS
PREFIX: Final = "give the prefix under which it is served, such as https://aeo.br.example/log"
OK, GONE, TOO_OFTEN, ERRORS = 200, (404, 410), 429, 500


class LogUnreachable(Refusal):
    """The log did not answer."""

    code = "unreachable"


class Log:
    """The log whose prefix is `url`. A context manager: leaving it begins nothing more.

    What is under way then ends in its time, and the last reader closes the connections: a pool that is closed
    while it connects forgets to close that one.
    """

    def __init__(self, url: str) -> None:
        self.url = _checked(url)
        self._http = httpx.Client(
            headers={"accept-encoding": "gzip", "user-agent": "aeo-exchange"},
            timeout=TIMEOUT_S,
            trust_env=False,
            follow_redirects=False,
            verify=self.url.startswith("https:"),
        )
        self._is_heard = self._is_over = False
        self._left = count(1)
        self._expected: dict[str, Future[bytes]] = {}
        self._asked: SimpleQueue[tuple[Future[bytes], Callable[[], bytes]] | None] = SimpleQueue()
        for _ in range(READERS):
            # Unlike those of a pool, nobody waits for these at the end: one may hang.
            Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        for _ in range(READERS):
            self._asked.put(None)

    def checkpoint(self) -> str:
        """The newest checkpoint as it is served; nothing is verified."""
        note = self._take("checkpoint", lambda: self._get("checkpoint", MAX_NOTE_BYTES))
        try:
            return note.decode()
        except UnicodeDecodeError:
            raise Malformed("a log's checkpoint is not text", where=self.url) from None

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of a tile; fewer or more bytes if the log serves such."""
        path = Tile(level, index, width).path()
        return self._take(path, lambda: self._tile(level, index, width))

    def bundle(self, index: int, width: int) -> bytes:
        """The first `width` entries of a bundle; others if the log serves such."""
        return self._take(tiles.bundle_path(index, width), lambda: self._bundle(index, width))

    def expect(self, index: int, width: int) -> None:
        """Begin to read a bundle and the hashes of its entries, which will be asked for soon."""
        self._expected[tiles.bundle_path(index, width)] = self._ask(lambda: self._bundle(index, width))
        self._expected[Tile(0, index, width).path()] = self._ask(lambda: self._tile(0, index, width))

    def _take(self, path: str, answer: Callable[[], bytes]) -> bytes:
        future = self._expected.pop(path, None) or self._ask(answer)
        try:
            return future.result(PATIENCE_S + TIMEOUT_S)
        except TimeoutError:
            raise self._unreachable(path, "the whole of its answer did not come in time") from None

    def _ask(self, answer: Callable[[], bytes]) -> Future[bytes]:
        future: Future[bytes] = Future()
        self._asked.put((future, answer))
        return future

    def _read(self) -> None:
        """What each reader does."""
        while (asked := self._asked.get()) is not None:
            future, answer = asked
            if self._is_over:
                future.cancel()
                continue
            try:
                future.set_result(answer())
            except Exception as error:  # noqa: BLE001 - it is raised where the answer is taken
                future.set_exception(error)
        if next(self._left) == READERS:
            self._http.close()

    def _tile(self, level: int, index: int, width: int) -> bytes:
        """A partial tile may be gone once the whole one is there, which begins with it."""
        try:
            return self._get(Tile(level, index, width).path(), TILE_BYTES)
        except NotFound:
            if width == TILE_WIDTH:
                raise
            return self._get(Tile(level, index).path(), TILE_BYTES)[: HASH_BYTES * width]

    def _bundle(self, index: int, width: int) -> bytes:
        """As with a tile."""
        try:
            return self._get(tiles.bundle_path(index, width), BUNDLE_BYTES)
        except NotFound:
            if width == TILE_WIDTH:
                raise
            whole = self._get(tiles.bundle_path(index), BUNDLE_BYTES)
            return tiles.encode_bundle(tiles.decode_bundle(whole)[:width])

    def _get(self, path: str, limit: int) -> bytes:
        """What is served at a path; a log that has answered once is asked again while it is busy or away."""
        end_s, pause_s = time.monotonic() + PATIENCE_S, PAUSES_S[0]
        while True:
            try:
                status, told_s, body = self._exchange(path, limit)
                self._is_heard, why = True, f"it answered {status}"
            except httpx.RequestError as error:
                status, told_s, body, why = 0, 0.0, b"", str(error) or type(error).__name__
            if status == OK:
                return body
            self._raise_final(status, path)
            pause_s = min(max(pause_s, told_s), PAUSES_S[1])
            if not self._is_heard or time.monotonic() + pause_s > end_s:
                raise self._unreachable(path, why)
            time.sleep(pause_s)
            pause_s *= 2

    def _exchange(self, path: str, limit: int) -> tuple[int, float, bytes]:
        """Status, how long to wait before asking again (seconds), and the body where there is one to take."""
        end_s = time.monotonic() + TIMEOUT_S
        with self._http.stream("GET", f"{self.url}/{path}") as answer:
            if answer.status_code != OK:
                told = answer.headers.get("retry-after", "")
                return answer.status_code, float(told) if told.isdecimal() else 0.0, b""
            packed, body = answer.headers.get("content-encoding", "identity"), bytearray()
            for piece in answer.iter_raw():
                body += piece
                if len(body) > limit + (SPARE_BYTES if packed == "gzip" else 0):
                    raise self._too_much(path, limit)
                if time.monotonic() > end_s:
                    raise httpx.ReadTimeout("its answer did not end in time")
        if packed == "gzip":
            return OK, 0.0, self._unpacked(path, bytes(body), limit)
        if packed != "identity":
            raise Malformed(
                "a log's answer is packed in a way that was not asked for", where=path, why=packed
            )
        return OK, 0.0, bytes(body)

    def _unpacked(self, path: str, body: bytes, limit: int) -> bytes:
        unpacker = zlib.decompressobj(GZIP)
        try:
            content = unpacker.decompress(body, limit + 1)
        except zlib.error as error:
            raise Malformed("a log's answer cannot be unpacked", where=path, why=str(error)) from None
        if len(content) > limit:
            raise self._too_much(path, limit)
        if not unpacker.eof or unpacker.unused_data:
            why = "it does not end where its packed form does"
            raise Malformed("a log's answer cannot be unpacked", where=path, why=why)
        return content

    def _raise_final(self, status: int, path: str) -> None:
        """Raise the refusal of an answer after which it makes no sense to ask again."""
        if status in GONE:
            do = PREFIX if path == "checkpoint" else ""
            raise NotFound("the log does not serve this", where=f"{self.url}/{path}", do=do)
        if OK <= status < ERRORS and status != TOO_OFTEN:
            do = "check the address: redirects are not followed" if status < min(GONE) else ""
            raise Malformed(f"the log answered {status}", where=f"{self.url}/{path}", do=do)

    def _too_much(self, path: str, limit: int) -> TooMuch:
        return TooMuch("a log's answer is too long", where=f"{self.url}/{path}", why=f"at most {limit} bytes")

    def _unreachable(self, path: str, why: str) -> LogUnreachable:
        do = "give the same command again later: it goes on where it stopped"
        return LogUnreachable("the log cannot be read now", where=f"{self.url}/{path}", why=why, do=do)


def _checked(url: str) -> str:
    """The prefix without a slash at its end; `Malformed` unless it is of HTTP, with host and path only."""
    try:
        parsed = httpx.URL(url)
        fits = parsed.scheme in ("http", "https") and parsed.host and not (parsed.query or parsed.fragment)
        fits = fits and not parsed.userinfo
    except httpx.InvalidURL:
        fits = False
    if not fits:
        raise Malformed("this is not the address of a log", where=url, do=PREFIX)
    return url.rstrip("/")
