"""The processes of a node: one, or several that serve the same sockets over one PostgreSQL."""

import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any, Final

import structlog
import uvicorn

from node import app, assembly
from node.service.bell import Bell
from node.service.parts import Parts

LOOK_S: Final = 0.5
FOLD_S: Final = 2.0
STOP_S: Final = 30.0
"""Longer than a process takes to stop, whatever its store does."""
KEPT_BYTES: Final = 16 * 2**20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""


def serve(parts: Parts, listening: list[socket.socket]) -> None:
    """Serve a node in this process, on these sockets, until it is told to stop; the process ends with it.

    Threads that wait for a store which does not answer are not waited for: what was answered is durable, and
    the rest was promised to nobody.
    """
    server = _server(parts)
    _keep_memory()
    gc.freeze()  # what is loaded now stays; collections need not walk it again
    server.run(listening)
    _fold(parts)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if server.started else 1)


def _fold(parts: Parts) -> None:
    """Close the store, so that SQLite's log is folded into it; one that stands still is not waited for."""
    closing = threading.Thread(target=parts.database.close, daemon=True)
    closing.start()
    closing.join(FOLD_S)


def _keep_memory() -> None:
    """Keep up to `KEPT_BYTES` that were freed: a long answer takes them again, page by page otherwise."""
    with suppress(OSError, AttributeError):  # another C library has no `mallopt`
        allocator = ctypes.CDLL(None)
        allocator.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        allocator.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def _serve_as_one_of_many(home: Path, listening: list[socket.socket]) -> None:
    """What each process does under `supervise`, until that ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log_to_stderr()
    serve(assembly.parts_of(home), listening)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None, "it was started by `supervise`"
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def supervise(home: Path, listening: list[socket.socket], count: int) -> None:
    """Keep `count` processes serving one set of sockets; one that dies is started again."""
    context = get_context("spawn")
    stopping = threading.Event()

    def started() -> SpawnProcess:
        process = context.Process(target=_serve_as_one_of_many, args=(home, listening))
        process.start()
        return process

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    serving = [started() for _ in range(count)]
    while not stopping.wait(LOOK_S):
        for at, process in enumerate(serving):
            if not process.is_alive():
                structlog.get_logger().error("a process died", pid=process.pid, code=process.exitcode)
                serving[at] = started()
    for process in serving:
        process.terminate()
    until_s = time.monotonic() + STOP_S
    for process in serving:
        process.join(max(0.0, until_s - time.monotonic()))
        process.kill()


def log_to_stderr() -> None:
    """Log warnings and worse, a line of JSON each."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _server(parts: Parts) -> "_Server":
    config = uvicorn.Config(
        app.build(parts),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,
        server_header=False,
        date_header=False,
        proxy_headers=bool(parts.settings.proxies),
        forwarded_allow_ips=parts.settings.proxies,
        **bounds(),
    )
    return _Server(config, parts.bell)


def bounds() -> dict[str, Any]:
    """What keeps half-sent requests from using up the descriptors; elsewhere httptools is not installed."""
    if sys.platform == "win32":
        return {"limit_concurrency": 800}
    from node.api import connections

    return {"limit_concurrency": connections.CONNECTION_LIMIT, "http": connections.TimelyProtocol}


class _Server(uvicorn.Server):
    """Ends the long polls first when it is told to stop, so that stopping takes no time."""

    def __init__(self, config: uvicorn.Config, bell: Bell) -> None:
        super().__init__(config)
        self._bell = bell

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Close the bell, then stop as uvicorn does."""
        self._bell.close()
        super().handle_exit(sig, frame)
