"""Peers and outsiders that misbehave on purpose: what they send is bounded in time, memory and reach."""

import asyncio
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.cli import session
from clients.sdk import Node, NodeError
from node.api import connections
from node.errors import Busy, Malformed, TooMuch
from node.exchange import peers
from node.exchange.card import Card
from node.exchange.peers import PeerClient
from node.processes import bounds

TIMEOUT_S = 1.0
REQUEST_S = 1.0
LONG_S = 5.0  # what a machine that is busy does not make of a second
OK = b"HTTP/1.1 200 OK\r\n"
BOMB = gzip.compress(gzip.compress(bytes(2**20)))
ENCODED = OK + b"content-encoding: gzip, gzip\r\ncontent-length: %d\r\n\r\n" % len(BOMB) + BOMB

Behaviour = Callable[[socket.socket, bytes], None]


@contextmanager
def hostile(behave: Behaviour) -> Iterator[str]:
    """A server that reads the head of each request and then behaves as told; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, args=(server, behave), daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def accept(server: socket.socket, behave: Behaviour) -> None:
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            threading.Thread(target=talk, args=(connection, behave), daemon=True).start()


def talk(connection: socket.socket, behave: Behaviour) -> None:
    with connection, suppress(OSError):
        while head := connection.recv(65536):
            behave(connection, head)


def drip(start: bytes, again: bytes) -> Behaviour:
    """Sends a little every 20 ms, for longer than any caller should wait."""

    def behave(connection: socket.socket, _: bytes) -> None:
        connection.sendall(start)
        for _ in range(500):
            connection.sendall(again)
            time.sleep(0.02)

    return behave


@contextmanager
def asking(address: str) -> Iterator[PeerClient]:
    peer = Card("aeo.uy.example", "UY", "DNA", address, 1, {}, None, "")
    client = PeerClient(peer, "aeo.br.example", Ed25519PrivateKey.generate(), TIMEOUT_S, time.time)
    yield client
    client.close()


def test_an_encoded_answer_is_refused_before_it_is_decoded() -> None:
    heads = list[bytes]()

    def behave(connection: socket.socket, head: bytes) -> None:
        heads.append(head.lower())
        connection.sendall(ENCODED)

    with hostile(behave) as address, asking(address) as client, Node(address) as node:
        with pytest.raises(Malformed, match="encoded"):
            client.get_bytes("/v1/peer/news")
        with pytest.raises(NodeError, match="encoded"):
            node.card()
        with pytest.raises(NodeError, match="encoded"):
            next(node.changes())
    assert all(b"accept-encoding: identity\r\n" in head for head in heads)
    assert len(heads) == 3


def test_an_answer_without_an_end_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "ANSWER_LIMIT_BYTES", 2**16)
    with (
        hostile(drip(OK + b"\r\n", bytes(2**15))) as address,
        asking(address) as client,
        pytest.raises(TooMuch),
    ):
        client.get_bytes("/")


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"", b""),
        (OK, b"x: y\r\n"),
        (OK + b"x: ", b"y"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (OK + b"content-length: 9999\r\n\r\n", b"x"),
        (OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n"),
    ],
    ids=["silence", "headers", "one header", "1xx", "body", "chunks", "trailers"],
)
def test_a_dripping_peer_holds_a_request_no_longer_than_its_time(start: bytes, again: bytes) -> None:
    with hostile(drip(start, again)) as address, asking(address) as client:
        begun = time.monotonic()
        with pytest.raises(Busy, match=r"aeo\.uy\.example cannot be reached in time"):
            client.get_bytes("/v1/peer/news")
        assert time.monotonic() - begun < LONG_S


def test_each_request_on_a_kept_connection_has_its_own_time() -> None:
    ports = set[int]()

    def behave(connection: socket.socket, _: bytes) -> None:
        ports.add(connection.getpeername()[1])
        time.sleep(TIMEOUT_S / 2)
        connection.sendall(OK + b"content-length: 2\r\n\r\nok")

    with hostile(behave) as address, asking(address) as client:
        assert [client.get_bytes("/") for _ in range(4)] == [b"ok"] * 4
        assert client.get_bytes("/", wait_s=TIMEOUT_S) == b"ok"
    assert len(ports) == 1


@pytest.fixture
def br(tmp_path: Path) -> Path:
    (tmp_path / "settings.toml").write_text('host = "127.0.0.1"\nport = 1\n', encoding="utf-8")
    (tmp_path / "administrator.token").write_text("aeo_br\n", encoding="utf-8")
    (tmp_path / "other").write_text("aeo_other\n", encoding="utf-8")
    return tmp_path


def test_the_token_of_a_home_is_sent_to_that_home_only(br: Path) -> None:
    url, named = "http://elsewhere.test", {"AEO_HOME": str(br), "AEO_URL": "http://elsewhere.test"}
    for home, given, environment in ((None, None, named), (br, url, {}), (None, url, named)):
        with pytest.raises(Malformed, match=r"not sent to an address .* --token-file or AEO_TOKEN_FILE"):
            session.locate(home, given, None, environment)
    elsewhere = session.Place(url, "aeo_other")
    assert session.locate(None, None, None, named | {"AEO_TOKEN_FILE": str(br / "other")}) == elsewhere
    assert session.locate(br, url, None, {"AEO_TOKEN_FILE": str(br / "other")}) == elsewhere
    assert session.locate(None, None, br / "other", named) == elsewhere
    assert session.locate(None, None, None, {"AEO_HOME": str(br)}).token == "aeo_br"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the request, answers after longer than a request may take to come in."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(1.5 * REQUEST_S)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"okay"})


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server with the bounds that a node is served with, only shorter."""
    monkeypatch.setattr(connections, "REQUEST_LIMIT_S", REQUEST_S)
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_keep_alive=2, **bounds())
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(10)


WHOLE = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"


@pytest.mark.parametrize(
    "half", [b"", b"GET / HT", WHOLE[:-1], b"\r\n"], ids=["none", "head", "body", "empty"]
)
@pytest.mark.parametrize("before", [b"", WHOLE], ids=["first", "second"])
def test_half_a_request_is_cut_off_in_time(listening: int, before: bytes, half: bytes) -> None:
    with socket.create_connection(("127.0.0.1", listening), 2 * LONG_S) as outsider:
        if before:
            outsider.sendall(before)
            assert outsider.recv(65536).startswith(b"HTTP/1.1 200")
            half = half or b"\r\n"
        begun = time.monotonic()
        outsider.sendall(half)
        with suppress(ConnectionResetError):
            assert b"HTTP/1.1 200" not in outsider.recv(65536)
        assert 0.5 * REQUEST_S < time.monotonic() - begun < LONG_S


def test_a_dripped_request_is_cut_off_in_time(listening: int) -> None:
    with socket.create_connection(("127.0.0.1", listening), 2 * LONG_S) as outsider:
        begun = time.monotonic()
        outsider.sendall(b"GET / HTTP/1.1\r\n")
        with pytest.raises(OSError):  # noqa: PT011, PT012  # reset or broken, as it happens
            while time.monotonic() - begun < 2 * LONG_S:
                outsider.sendall(b"x: y\r\n")
                time.sleep(0.02)
        assert time.monotonic() - begun < LONG_S


def test_a_whole_request_may_wait_long_for_its_answer(listening: int) -> None:
    with socket.create_connection(("127.0.0.1", listening), 2 * LONG_S) as caller:
        for _ in range(2):
            caller.sendall(WHOLE + b"\r\n")
            answer = b""
            while not answer.endswith(b"okay"):
                answer += caller.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")


def test_there_are_only_so_many_connections(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTION_LIMIT", 2)
    with socket.create_connection(("127.0.0.1", listening), 2 * LONG_S) as first:
        first.sendall(WHOLE)
        time.sleep(0.1)  # the server has the whole request, and answers it
        with (
            socket.create_connection(("127.0.0.1", listening), 2 * LONG_S) as second,
            suppress(ConnectionResetError),
        ):
            assert second.recv(1) == b""
        assert first.recv(65536).startswith(b"HTTP/1.1 200")
