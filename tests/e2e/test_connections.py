"""Connections that ask nothing take no place from those that do, at a real server process."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from node.api.connections import CONNECTION_LIMIT, REQUEST_LIMIT_S
from tests.nodes import Node

ASKING = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
FLOOD, ELSEWHERE = "127.0.0.1", "127.0.0.2"
PROMPT_S = REQUEST_LIMIT_S / 3


@pytest.fixture(autouse=True)
def _enough_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTION_LIMIT + 400
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("this account may not open enough connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(node: Node, source: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.port), PROMPT_S, source_address=(source, 0))


def answer(connection: socket.socket) -> bytes:
    connection.sendall(ASKING)
    return connection.recv(65536).partition(b"\r\n")[0]


def closed(connections: list[socket.socket]) -> int:
    """How many the server has closed."""
    return sum(_is_closed(each) for each in connections)


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nx: "], ids=["nothing", "half a request"])
def test_silent_connections_shut_nobody_out(lone: Node, said: bytes) -> None:
    with ExitStack() as stack:
        begun, silent = time.monotonic(), []
        for _ in range(CONNECTION_LIMIT + 100):
            silent.append(stack.enter_context(connect(lone, FLOOD)))
            with suppress(OSError):
                silent[-1].sendall(said)
        for source in (ELSEWHERE, FLOOD, ELSEWHERE, FLOOD):
            assert answer(stack.enter_context(connect(lone, source))) == b"HTTP/1.1 200 OK"
        assert time.monotonic() - begun < REQUEST_LIMIT_S, "the silent ones were cut before anything was seen"
        assert 100 <= closed(silent) <= 110
        assert closed(silent[300:]) == 0, "not the longest waiting ones were closed"
