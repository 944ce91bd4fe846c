"""The logs as static files: who may read which, what caches are told, and that no size ever goes away."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from clients.demo.waiting import until
from node import keys
from node.exchange.card import Card, channel_origin
from node.exchange.card import read as read_card
from node.ledger import tiles
from node.ledger.checkpoint import Checkpoint, open_checkpoint, parse
from node.ledger.entry import ChannelEntry
from node.ledger.merkle import leaf_hash, root
from node.ledger.note import read_note
from tests.e2e.test_access import Partner, card_holder, is_problem, token
from tests.nodes import (
    Node,
    Pair,
    brazilian,
    bundles,
    checkpoint_of,
    copy_of,
    import_list,
    make,
    running,
    tile_reader,
)

IMMUTABLE = "public, max-age=31536000, immutable"
PLACES = ("/checkpoint", "/tile/0/000.p/1", "/tile/entries/000.p/1")

Get = Callable[[str], httpx.Response]


def card_of(node: Node) -> Card:
    return read_card(node.get("/v1/card")["card"])


def signing(as_: Node, to: Node) -> Get:
    """Asks one node as another, by signed requests."""
    partner = Partner(card_of(as_), keys.load("file:keys", as_.home), to)
    return lambda path: partner.get(partner.headers(path=path), path)


def whole(get: Get, prefix: str, origin: str, card: Card) -> tuple[Checkpoint, list[bytes]]:
    """A log as anyone reads it: checkpoint and entries, every tile recomputed from them."""
    head = open_checkpoint(get(f"{prefix}/checkpoint").text, origin, card.verifiers(origin))
    entries: list[bytes] = []
    for index, width in bundles(head.size):
        entries += tiles.decode_bundle(get(f"{prefix}/{tiles.bundle_path(index, width)}").content)
    leaves = [leaf_hash(entry) for entry in entries]
    for index, width in bundles(head.size):
        hashes = get(f"{prefix}/{tiles.Tile(0, index, width).path()}").content
        assert hashes == b"".join(leaves[index * 256 : index * 256 + width])
    assert root(leaves) == head.root
    return head, entries


# The ledger.


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, list[str]]]:
    """A node whose ledger grew beyond two full tiles, and each checkpoint that it published on the way."""
    [node] = make(("BR",), tmp_path_factory.mktemp("grown"))
    with running(node):
        published = [node.http.get("/log/checkpoint").text]
        for start, end in ((0, 1), (1, 3), (3, 200), (200, 254), (254, 255), (255, 300), (300, 520)):
            rows = [brazilian(number) for number in range(start, end)]
            node.post("/v1/operators/import", {"operators": rows})
            published.append(node.http.get("/log/checkpoint").text)
        yield node, published


def test_tools_are_told_what_each_file_is_and_how_long_it_stays(grown: tuple[Node, list[str]]) -> None:
    node, _ = grown
    with node.client(None) as anybody:
        head, *files = (anybody.get(f"/log{place}") for place in PLACES)
    assert (head.headers["content-type"], head.headers["cache-control"]) == (
        "text/plain; charset=utf-8",
        "no-cache",
    )
    for answer in files:
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["cache-control"] == IMMUTABLE


def test_every_size_that_was_published_stays_readable(grown: tuple[Node, list[str]]) -> None:
    node, published = grown
    sizes = set()
    for note in published:
        then = parse(read_note(note)[0])
        assert tiles.tree_root(tile_reader(node, then.size), then.size) == then.root
        entries: list[bytes] = []
        for index, width in bundles(then.size):
            entries += tiles.decode_bundle(node.http.get("/log/" + tiles.bundle_path(index, width)).content)
        assert root([leaf_hash(entry) for entry in entries]) == then.root
        sizes.add(then.size)
    assert len(sizes) == 8
    assert {256, 521} < sizes


def test_bundles_are_compressed_for_whom_it_suits_and_a_cache_is_told(grown: tuple[Node, list[str]]) -> None:
    node, _ = grown
    path = "/log/" + tiles.bundle_path(0)
    packed, plain = (
        node.http.get(path, headers={"accept-encoding": encoding}) for encoding in ("gzip", "identity")
    )
    assert packed.content == plain.content
    assert (packed.headers["content-encoding"], "content-encoding" in plain.headers) == ("gzip", False)
    assert int(packed.headers["content-length"]) < len(plain.content) / 1.5
    assert {each.headers["vary"] for each in (packed, plain)} == {"accept-encoding"}


def test_what_a_log_does_not_have_yet_is_not_found_and_not_kept(grown: tuple[Node, list[str]]) -> None:
    node, _ = grown
    size = checkpoint_of(node).size
    beyond = size % 256 + 1
    for place in (
        f"tile/0/002.p/{beyond}",
        f"tile/entries/002.p/{beyond}",
        "tile/0/002",
        "tile/1/000.p/3",
        "tile/2/000.p/1",
    ):
        answer = node.http.get(f"/log/{place}")
        assert is_problem(answer, 404), place
        assert answer.headers["cache-control"] == "no-store"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose ledger is not for everybody."""
    [node] = make(("BR",), tmp_path_factory.mktemp("closed"), AEO_LOG_PUBLIC="false")
    with running(node):
        yield node


@pytest.mark.parametrize("place", PLACES)
def test_a_ledger_that_is_not_public_is_read_by_peers_and_the_own_administration(
    closed: Node, tmp_path: Path, place: str
) -> None:
    path, country = f"/log{place}", dict(zip(PLACES, ("UY", "AR", "PY"), strict=True))[place]
    stranger, peer = (card_holder(tmp_path / name, country, closed) for name in ("stranger", "peer"))
    with closed.client(None) as anybody:
        for headers in ({}, {"authorization": "Bearer aeo_x_y"}, stranger.headers(path=path)):
            refused = anybody.get(path, headers=headers)
            assert is_problem(refused, 401)
            assert refused.headers["cache-control"] == "no-store"
    closed.post("/v1/peers", {"card": peer.card.text, "fingerprint": peer.card.fingerprint})
    signed = peer.headers(path=path)
    with closed.client(token(closed, "reader")) as reader:
        for answer in (peer.get(signed, path), reader.get(path)):
            assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert is_problem(peer.get(signed, path), 401), "a signature works once"


def test_partners_follow_and_re_read_a_ledger_that_is_not_public(signed: Pair, tmp_path: Path) -> None:
    pair = copy_of(signed, tmp_path, AEO_LOG_PUBLIC="false")
    with running(*pair.both()):
        import_list(pair.br, "br_oea.csv", "br-oea")
        pair.await_copy()
        with pair.br.store() as store:
            where = "WHERE log = 0 AND seq = 9"
            (entry,) = store.execute(f"SELECT entry FROM log_entry {where}").fetchone()
            store.execute(f"UPDATE log_entry SET entry = ? {where}", (entry[:-20] + b"x" + entry[-19:],))

        def altered() -> list[str]:
            told = [each["detail"] for each in pair.uy.get("/v1/incidents")["incidents"]]
            return [detail for detail in told if "a ledger was altered" in detail]

        assert "entry 9" in until(altered, what="the incident")[0]


# Channels.


@pytest.fixture
def trio(new_pair: Pair, tmp_path: Path) -> tuple[Pair, Get]:
    """A pair with operators exchanged, and how a third pinned peer asks the issuer."""
    pair = new_pair
    import_list(pair.br, "br_oea.csv", "br-oea")
    pair.await_copy()
    third = card_holder(tmp_path / "third", "AR", pair.br)
    pair.br.post("/v1/peers", {"card": third.card.text, "fingerprint": third.card.fingerprint})
    return pair, lambda path: third.get(third.headers(path=path), path)


def test_a_channel_is_read_by_both_parties_at_either_of_them(trio: tuple[Pair, Get]) -> None:
    pair, _ = trio
    prefix = f"/channel/{pair.agreement}/BR/UY"
    origin, card = channel_origin(pair.br.name, pair.agreement, "UY"), card_of(pair.br)
    ways = (pair.br.http.get, pair.uy.http.get, signing(pair.uy, pair.br), signing(pair.br, pair.uy))
    found = [whole(get, prefix, origin, card) for get in ways]
    assert found[0][0].size > 100
    assert found == [found[0]] * 4
    assert {ChannelEntry.decode(entry).channel for entry in found[0][1]} == {origin}
    for get in ways:
        for place in PLACES:
            assert get(prefix + place).headers["cache-control"] == "no-store"
    back = f"/channel/{pair.agreement}/UY/BR"
    assert whole(
        signing(pair.br, pair.uy), back, channel_origin(pair.uy.name, pair.agreement, "BR"), card_of(pair.uy)
    )


def test_who_is_no_party_is_not_told_whether_there_is_a_channel(trio: tuple[Pair, Get]) -> None:
    pair, third = trio
    other = ("A" if pair.agreement[0] != "A" else "B") + pair.agreement[1:]
    there = f"/channel/{pair.agreement}/BR/UY"
    not_there = (f"/channel/{other}/BR/UY", f"/channel/{pair.agreement}/UY/PY", f"/channel/{other}/AR/BR")
    for place in (*PLACES, "/tile/0/999", "/tile/9/9"):
        told = third(there + place)
        assert is_problem(told, 404)
        for each in not_there:
            assert third(each + place).content == told.content
        with pair.br.client(None) as anybody:
            assert is_problem(anybody.get(there + place), 401)
            assert anybody.get(there + place).content == anybody.get(not_there[0] + place).content


def test_a_copy_that_is_behind_gives_what_it_has_under_the_issuers_checkpoint(
    signed: Pair, tmp_path: Path
) -> None:
    pair = copy_of(signed, tmp_path, AEO_PAGE_LIMIT="1")
    prefix = f"/channel/{pair.agreement}/BR/UY"
    with running(*pair.both()):
        import_list(pair.br, "br_oea.csv", "br-oea")

        def behind() -> int:
            told = pair.uy.channel("in")
            return int(told["size"]) if 0 < told.get("size", 0) < told["signed_size"] - 20 else 0

        until(behind, what="a copy that has begun")
        pair.br.kill()
        told = pair.uy.channel("in")
        held, signed_size = told["size"], told["signed_size"]
        note = pair.uy.http.get(f"{prefix}/checkpoint").text
        assert parse(read_note(note)[0]).size == signed_size > held
        for path in (tiles.bundle_path, lambda index, width: tiles.Tile(0, index, width).path()):
            assert pair.uy.http.get(f"{prefix}/{path(0, held)}").status_code == 200
            assert is_problem(pair.uy.http.get(f"{prefix}/{path(0, signed_size)}"), 404)
