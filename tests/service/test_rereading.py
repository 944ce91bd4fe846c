"""A partner re-reads a ledger a part at a time: what that takes does not grow with the ledger."""

from pathlib import Path

import pytest

from clients.bench.operators import operators
from node.ledger import tiles
from node.service import replication
from node.service.admit import AdmitList, Author
from node.service.replication import Follower
from node.service.sequencer import Sequencer
from node.store import logs
from node.store.tables import LEDGER
from tests.service.world import World

BUNDLES = 4


class Server:
    """What the issuer serves at `/log/`, with one byte of an entry changed where that is asked for."""

    def __init__(self, world: World) -> None:
        self._database = world.br.parts.database
        self.asked: list[str] = []
        self.changed: int | None = None

    def get_bytes(self, path: str) -> bytes:
        self.asked.append(path)
        with self._database.read() as connection:
            if "/entries/" in path:
                index, width = tiles.parse_bundle_path(path.removeprefix("/log/"))
                entries = logs.entries(connection, LEDGER, 256 * index, 256 * index + width)
                return tiles.encode_bundle([self._told(256 * index + at, e) for at, e in enumerate(entries)])
            tile = tiles.parse_path(path.removeprefix("/log/"))
            hashes = logs.tile(connection, LEDGER, tile.level, tile.index) or b""
            return hashes[: 32 * tile.width]

    def _told(self, seq: int, entry: bytes) -> bytes:
        return entry if seq != self.changed else entry[:-3] + bytes([entry[-3] ^ 1]) + entry[-2:]


@pytest.fixture
def server(known: World, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(replication, "BUNDLES_AT_ONCE", 2)
    rows = operators(1000, 256 * BUNDLES - known.br.ledger().size)
    known.br.settle(AdmitList(rows, Author("officer")))
    known.exchange()
    return Server(known)


@pytest.fixture
def follower(known: World, server: Server, monkeypatch: pytest.MonkeyPatch) -> Follower:
    parts = known.uy.parts
    with parts.database.read() as connection:
        peer = parts.peers.by_country(connection)["BR"]
    follower = Follower(parts, Sequencer(parts), peer)
    monkeypatch.setattr(follower, "_client", server)
    return follower


def bundles(server: Server) -> list[str]:
    asked = [Path(path).name for path in server.asked if "/entries/" in path]
    server.asked.clear()
    return asked


def test_a_ledger_is_re_read_a_part_at_a_time_and_then_from_its_start(
    follower: Follower, server: Server
) -> None:
    for expected in (["000", "001"], ["002", "003"], ["000", "001"]):
        follower._audit_round()
        assert bundles(server) == expected


def test_a_change_in_a_later_part_is_found_when_it_is_reached(
    known: World, follower: Follower, server: Server
) -> None:
    server.changed = 600
    follower._audit_round()
    assert known.uy.incidents() == []
    follower._audit_round()
    [incident] = known.uy.incidents()
    assert incident["kind"] == "altered"
    server.changed = None
    for _ in range(2):
        assert len(known.uy.incidents()) == 1
        follower._audit_round()
    assert known.uy.incidents() == []
