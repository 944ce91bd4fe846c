"""For whoever starts nodes: a port for each, and to wait until something has come about there."""

import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

POLL_S: Final = 0.01
FIRST_PORT: Final = 10_000
PORTS: Final = 22_000
T = TypeVar("T")


def until(look: Callable[[], T], limit_s: float = 30.0, what: str = "the condition") -> T:
    """Look again and again until the answer is true, and give it; `RuntimeError` when the time is over."""
    end = time.monotonic() + limit_s
    while not (found := look()):
        if time.monotonic() > end:
            raise RuntimeError(f"waited {limit_s:g} s in vain: {what}")
        time.sleep(POLL_S)
    return found


def free_port() -> int:
    """A port that nobody listens on now, below those that systems give to outgoing connections."""
    while True:
        port = FIRST_PORT + secrets.randbelow(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
