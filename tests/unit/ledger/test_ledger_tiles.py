"""Addresses of tiles, bundles of entries, and the frontier's bytes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import Malformed
from node.ledger import tiles
from node.ledger.merkle import Frontier, leaf_hash
from node.ledger.tiles import Tile


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 0, 1), "tile/0/000.p/1"),
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(1, 999, 255), "tile/1/999.p/255"),
        (Tile(2, 1000), "tile/2/x001/000"),
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),
        (Tile(63, 5), "tile/63/005"),
    ],
)
def test_a_tile_has_the_path_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.path() == path
    assert tiles.parse_path(path) == tile


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 63), st.integers(0, 2**55 - 1), st.integers(1, 256))
def test_every_address_survives_the_round_trip(level: int, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert tiles.parse_path(tile.path()) == tile
    assert tiles.parse_bundle_path(tiles.bundle_path(index, width)) == (index, width)


HOSTILE_PLACES = [
    "0",
    "00",
    "0000",
    "x000/000",
    "x000/067",
    "x001/67",
    "001/234",
    "x001/x234",
    "x1/234",
    "-01",
]
HOSTILE_PLACES += [
    "000.p/0",
    "000.p/256",
    "000.p/257",
    "000.p/01",
    "000.p/",
    "000.p/1_0",
    "000.p/+1",
    "000p/1",
]
HOSTILE_PLACES += [
    "000/",
    "/000",
    "000\n",
    " 000",
    "000.p/1/",
    "../000",
    "٠٠٠",
    "X001/000",
    "999/" * 7 + "999",
]


@pytest.mark.parametrize("place", HOSTILE_PLACES)
def test_no_other_path_names_a_tile_or_bundle(place: str) -> None:
    with pytest.raises(Malformed):
        tiles.parse_path(f"tile/0/{place}")
    with pytest.raises(Malformed):
        tiles.parse_bundle_path(f"tile/entries/{place}")


@pytest.mark.parametrize(
    "path", ["tile/64/000", "tile/00/000", "tile/-1/000", "tile/entries/000", "/tile/0/000", ""]
)
def test_no_other_level_names_a_tile(path: str) -> None:
    with pytest.raises(Malformed):
        tiles.parse_path(path)


@pytest.mark.parametrize(
    ("level", "index", "width"), [(64, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)]
)
def test_a_tile_that_cannot_be_has_no_address(level: int, index: int, width: int) -> None:
    with pytest.raises(Malformed):
        Tile(level, index, width)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=256))
def test_a_bundle_gives_back_its_entries(entries: list[bytes]) -> None:
    assert tiles.decode_bundle(tiles.encode_bundle(entries)) == tuple(entries)


def test_a_bundle_is_length_and_entry_in_turn() -> None:
    assert tiles.encode_bundle([b"abc", b""]) == b"\x00\x03abc\x00\x00"
    longest = bytes(65_535)
    assert tiles.decode_bundle(tiles.encode_bundle([longest])) == (longest,)


@pytest.mark.parametrize("entries", [[], [b""] * 257, [bytes(65_536)]])
def test_a_bundle_out_of_bounds_is_not_written(entries: list[bytes]) -> None:
    with pytest.raises(Malformed):
        tiles.encode_bundle(entries)


@pytest.mark.parametrize(
    "bundle", [b"", b"\x00", b"\x00\x03ab", b"\x00\x01a\x00", b"\x00\x00" * 257, b"\xff\xff"]
)
def test_a_bundle_cut_short_or_overfull_is_not_read(bundle: bytes) -> None:
    with pytest.raises(Malformed):
        tiles.decode_bundle(bundle)


def test_a_leaf_that_is_not_a_hash_is_not_appended() -> None:
    with pytest.raises(Malformed, match="32 bytes"):
        tiles.append(lambda level, index: b"", 0, [b"an entry"])


def test_appending_nothing_changes_nothing() -> None:
    grown = tiles.append(lambda level, index: b"", 0, [])
    assert (grown.tiles, grown.size, grown.root) == ({}, 0, Frontier().root())


FRONTIER = Frontier().extend([leaf_hash(b"%d" % seq) for seq in range(11)])


@pytest.mark.parametrize(
    ("size", "hashes"),
    [
        (11, FRONTIER.hashes[:-1]),
        (11, (*FRONTIER.hashes, bytes(32))),
        (11, (*FRONTIER.hashes[:-1], bytes(31))),
        (12, FRONTIER.hashes),
        (-1, FRONTIER.hashes),
    ],
)
def test_a_frontier_that_no_tree_has_is_refused(size: int, hashes: tuple[bytes, ...]) -> None:
    with pytest.raises(Malformed):
        Frontier(size, hashes)
