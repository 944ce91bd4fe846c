"""Trees, proofs and tiles against a second, naive implementation that follows RFC 6962 to the letter."""

from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import Malformed, Unproven
from node.ledger import merkle, tiles
from node.ledger.merkle import Frontier

EVERY_TREE_UP_TO = 64
EVERY_BIT_UP_TO = 20
LARGE = 70_000
LEAVES = [sha256(b"\x00" + str(seq).encode()).digest() for seq in range(LARGE)]

Store = dict[tuple[int, int], bytes]


def split(count: int) -> int:
    return 1 << (count - 1).bit_length() - 1


@cache
def naive_root(start: int, end: int) -> bytes:
    if end - start < 2:
        return LEAVES[start] if end > start else sha256().digest()
    middle = start + split(end - start)
    return sha256(b"\x01" + naive_root(start, middle) + naive_root(middle, end)).digest()


def naive_path(index: int, start: int, end: int) -> list[bytes]:
    if end - start == 1:
        return []
    middle = start + split(end - start)
    if index < middle:
        return [*naive_path(index, start, middle), naive_root(middle, end)]
    return [*naive_path(index, middle, end), naive_root(start, middle)]


def naive_subproof(old: int, start: int, end: int, complete: bool) -> list[bytes]:
    if old == end:
        return [] if complete else [naive_root(start, end)]
    middle = start + split(end - start)
    if old <= middle:
        return [*naive_subproof(old, start, middle, complete), naive_root(middle, end)]
    return [*naive_subproof(old, middle, end, False), naive_root(start, middle)]


def naive_consistency(old: int, new: int) -> list[bytes]:
    return naive_subproof(old, 0, new, True) if old else []


def reader(store: Store) -> tiles.ReadTile:
    return lambda level, index: store[level, index]


def stored(size: int) -> Store:
    return tiles.append(reader({}), 0, LEAVES[:size]).tiles


@pytest.fixture(scope="module")
def large() -> Store:
    return stored(LARGE)


def flipped(proof: list[bytes], every_bit: bool) -> Iterator[list[bytes]]:
    """The proof with one bit changed: each bit in turn, or one bit of each hash."""
    for place, each in enumerate(proof):
        for bit in range(256) if every_bit else [37 * place % 256]:
            changed = (int.from_bytes(each, "big") ^ 1 << bit).to_bytes(32, "big")
            yield [*proof[:place], changed, *proof[place + 1 :]]


def refused(check: Callable[[list[bytes]], None], proof: list[bytes]) -> bool:
    try:
        check(proof)
    except Unproven:
        return True
    return False


def spoilt(proof: list[bytes], size: int) -> Iterator[list[bytes]]:
    yield from flipped(proof, size <= EVERY_BIT_UP_TO)
    yield [*proof, bytes(32)]
    yield [bytes(32), *proof]
    if proof:
        yield []
        yield proof[1:]
        yield proof[:-1]
        yield [proof[0][:-1], *proof[1:]]


@pytest.mark.parametrize("size", range(EVERY_TREE_UP_TO + 1))
def test_every_small_tree_has_the_naive_root_however_it_is_built(size: int) -> None:
    expected = naive_root(0, size)
    assert merkle.root(LEAVES[:size]) == expected
    assert Frontier().extend(LEAVES[:size]).root() == expected
    assert tiles.tree_root(reader(stored(size)), size) == expected


@pytest.mark.parametrize("size", range(1, EVERY_TREE_UP_TO + 1))
def test_every_leaf_is_proven_and_no_spoilt_proof_of_it_holds(size: int) -> None:
    tree, root = tiles.Tree(reader(stored(EVERY_TREE_UP_TO)), size), naive_root(0, size)
    for index in range(size):
        proof = naive_path(index, 0, size)
        assert list(tree.inclusion_proof(index)) == proof

        def check(proof: list[bytes], index: int = index) -> None:
            merkle.verify_inclusion(index, size, LEAVES[index], proof, root)

        check(proof)
        assert all(refused(check, bad) for bad in spoilt(proof, size))


@pytest.mark.parametrize("size", range(2, EVERY_TREE_UP_TO + 1))
def test_no_leaf_is_proven_at_another_place_or_under_another_root(size: int) -> None:
    root = naive_root(0, size)
    for index in range(size):
        proof = naive_path(index, 0, size)
        for other in {index ^ 1, size - 1 - index, (index + 1) % size} - {index}:
            with pytest.raises(Unproven):
                merkle.verify_inclusion(other, size, LEAVES[index], proof, root)
            with pytest.raises(Unproven):
                merkle.verify_inclusion(index, size, LEAVES[other], proof, root)
        with pytest.raises(Unproven):
            merkle.verify_inclusion(index, size, LEAVES[index], proof, naive_root(0, size - 1))
    for outside in (-1, size):
        with pytest.raises(Unproven):
            merkle.verify_inclusion(outside, size, LEAVES[0], naive_path(0, 0, size), root)


@pytest.mark.parametrize("new", range(EVERY_TREE_UP_TO + 1))
def test_every_growth_is_proven_and_no_spoilt_proof_of_it_holds(new: int) -> None:
    tree, new_root = tiles.Tree(reader(stored(EVERY_TREE_UP_TO)), new), naive_root(0, new)
    for old in range(new + 1):
        proof, old_root = naive_consistency(old, new), naive_root(0, old)
        assert list(tree.consistency_proof(old)) == proof

        def check(proof: list[bytes], old: int = old, old_root: bytes = old_root) -> None:
            merkle.verify_consistency(old, new, old_root, new_root, proof)

        check(proof)
        assert all(refused(check, bad) for bad in spoilt(proof, new))


@pytest.mark.parametrize("new", range(2, EVERY_TREE_UP_TO + 1))
def test_no_growth_is_proven_from_another_past_or_to_another_present(new: int) -> None:
    new_root, forged = naive_root(0, new), sha256(b"another history").digest()
    for old in range(1, new):
        proof, old_root = naive_consistency(old, new), naive_root(0, old)
        for roots in ((forged, new_root), (old_root, forged), (new_root, old_root)):
            with pytest.raises(Unproven):
                merkle.verify_consistency(old, new, *roots, proof)
        with pytest.raises(Unproven):
            merkle.verify_consistency(new, old, new_root, old_root, proof)


@pytest.mark.parametrize("size", range(2, EVERY_TREE_UP_TO + 1))
def test_no_inner_node_is_proven_as_a_leaf(size: int) -> None:
    root = naive_root(0, size)
    for index in range(size):
        node, proof = LEAVES[index], naive_path(index, 0, size)
        place, last = index, size - 1
        while proof:
            if place & 1 or place == last:
                node = merkle.node_hash(proof.pop(0), node)
                while place and not place & 1:
                    place, last = place >> 1, last >> 1
            else:
                node = merkle.node_hash(node, proof.pop(0))
            place, last = place >> 1, last >> 1
            with pytest.raises(Unproven):
                merkle.verify_inclusion(index, size, node, proof, root)
        assert node == root


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 63, 64])
def test_a_proof_that_climbs_past_the_root_is_refused(size: int) -> None:
    root, above = naive_root(0, size), sha256(b"above").digest()
    for index in range(size):
        proof = [*naive_path(index, 0, size), above]
        for higher in (merkle.node_hash(root, above), merkle.node_hash(above, root)):
            with pytest.raises(Unproven):
                merkle.verify_inclusion(index, size, LEAVES[index], proof, higher)
    for old in range(1, size):
        proof, old_root = [*naive_consistency(old, size), above], naive_root(0, old)
        higher, old_higher = merkle.node_hash(above, root), merkle.node_hash(above, old_root)
        for roots in ((old_root, higher), (old_higher, higher), (old_root, merkle.node_hash(root, above))):
            with pytest.raises(Unproven):
                merkle.verify_consistency(old, size, *roots, proof)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_a_growth_proven_for_one_size_is_not_proven_for_twice_that_size(size: int) -> None:
    for old in range(1, size + 1):
        proof, roots = naive_consistency(old, size), (naive_root(0, old), naive_root(0, size))
        with pytest.raises(Unproven):
            merkle.verify_consistency(old, 2 * size, *roots, proof)


def test_two_hashes_cut_at_another_place_prove_nothing() -> None:
    joined, root = LEAVES[0] + LEAVES[1], naive_root(0, 2)
    for cut in (0, 31, 33, 64):
        with pytest.raises(Unproven, match="32 bytes"):
            merkle.verify_inclusion(0, 2, joined[:cut], [joined[cut:]], root)
        with pytest.raises(Unproven, match="32 bytes"):
            merkle.verify_consistency(1, 2, joined[:cut], root, [joined[cut:]])


def test_the_tiles_of_seventy_thousand_entries_are_those_of_the_specification(large: Store) -> None:
    widths = {address: len(tile) // 32 for address, tile in large.items()}
    assert widths == (
        {(0, index): 256 for index in range(273)} | {(0, 273): 112, (1, 0): 256, (1, 1): 17, (2, 0): 1}
    )


def test_every_hash_of_every_tile_is_the_subtree_it_stands_for(large: Store) -> None:
    for (level, index), tile in large.items():
        span = 256**level
        places = range(index * 256, index * 256 + len(tile) // 32)
        assert tile == b"".join(naive_root(place * span, (place + 1) * span) for place in places)


BOUNDARIES = [1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 65_792, 65_793, 69_999, 70_000]


@pytest.mark.parametrize("size", BOUNDARIES)
def test_trees_around_tile_boundaries_answer_from_the_tiles_of_a_later_size(large: Store, size: int) -> None:
    tree, root = tiles.Tree(reader(large), size), naive_root(0, size)
    assert tree.root() == root
    for index in {0, 1, 255, 256, 65_535, 65_536, size // 2, size - 2, size - 1} & set(range(size)):
        assert list(tree.inclusion_proof(index)) == naive_path(index, 0, size)
    for old in {each for each in BOUNDARIES if each <= size}:
        assert list(tree.consistency_proof(old)) == naive_consistency(old, size)
        merkle.verify_consistency(old, size, naive_root(0, old), root, tree.consistency_proof(old))


@pytest.mark.parametrize("size", BOUNDARIES)
def test_appending_at_a_boundary_gives_the_tiles_of_appending_everything_at_once(
    large: Store, size: int
) -> None:
    grown = tiles.append(reader(large), size - 1, LEAVES[size - 1 : size])
    assert grown.root == naive_root(0, size)
    assert grown.size == size
    expected = stored(size)
    assert grown.tiles == {address: expected[address] for address in grown.tiles}
    assert {(0, (size - 1) // 256)} <= grown.tiles.keys()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=6))
def test_a_log_grown_in_batches_is_the_log_grown_at_once(batches: list[int]) -> None:
    store: Store = {}
    frontier, size = Frontier(), 0
    for count in batches:
        leaves = LEAVES[size : size + count]
        grown = tiles.append(reader(store), size, leaves)
        store |= grown.tiles
        frontier, size = frontier.extend(leaves), size + count
        assert grown.size == frontier.size == size
        assert grown.root == frontier.root() == merkle.root(LEAVES[:size])
    assert store == stored(size)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 9), st.lists(st.booleans(), max_size=40), st.integers(0, 9))
def test_a_frontier_grows_by_whole_subtrees_as_by_their_leaves(
    height: int, by_leaves: list[bool], rest: int
) -> None:
    step, frontier = 1 << height, Frontier()
    for at, each in enumerate(by_leaves):
        leaves = LEAVES[at * step : (at + 1) * step]
        frontier = frontier.extend(leaves) if each else frontier.extend([merkle.root(leaves)], height)
    size = len(by_leaves) * step
    assert frontier == Frontier().extend(LEAVES[:size])
    frontier = frontier.extend(LEAVES[size : size + rest])
    if frontier.size % step:
        with pytest.raises(Malformed):
            frontier.extend([bytes(32)], height)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_random_proofs_of_a_large_tree_are_the_naive_ones(large: Store, data: st.DataObject) -> None:
    new = data.draw(st.integers(1, LARGE))
    index, old = data.draw(st.integers(0, new - 1)), data.draw(st.integers(0, new))
    tree = tiles.Tree(reader(large), new)
    proof = tree.inclusion_proof(index)
    assert list(proof) == naive_path(index, 0, new)
    merkle.verify_inclusion(index, new, LEAVES[index], proof, naive_root(0, new))
    assert list(tree.consistency_proof(old)) == naive_consistency(old, new)


@pytest.mark.parametrize(
    ("address", "index"),
    [((0, 200), 51_201), ((0, 273), 69_999), ((1, 0), 300), ((1, 1), 65_800), ((2, 0), 69_000)],
)
def test_a_changed_bit_in_a_stored_tile_never_yields_a_proof_that_holds(
    large: Store, address: tuple[int, int], index: int
) -> None:
    tile = large[address]
    damaged = {**large, address: bytes([tile[0] ^ 1]) + tile[1:]}
    proof = tiles.Tree(reader(damaged), LARGE).inclusion_proof(index)
    with pytest.raises(Unproven):
        merkle.verify_inclusion(index, LARGE, LEAVES[index], proof, naive_root(0, LARGE))


@pytest.mark.parametrize(
    "cut", [lambda tile: tile[:-32], lambda tile: tile[:-1], lambda tile: tile + bytes(8192)]
)
def test_a_tile_of_the_wrong_length_is_refused(large: Store, cut: Callable[[bytes], bytes]) -> None:
    damaged = {**large, (0, 273): cut(large[0, 273])}
    with pytest.raises(Unproven, match="level 0, index 273"):
        tiles.tree_root(reader(damaged), LARGE)
    with pytest.raises(Unproven, match="level 0, index 273"):
        tiles.append(reader(damaged), LARGE, LEAVES[:1])


def test_appending_reads_the_right_edge_only(large: Store) -> None:
    asked: list[tuple[int, int]] = []

    def watched(level: int, index: int) -> bytes:
        asked.append((level, index))
        return large[level, index]

    tiles.append(watched, LARGE, LEAVES[:300])
    assert set(asked) == {(0, 273), (1, 1), (2, 0)}


def test_a_page_of_proofs_reads_each_tile_once(large: Store) -> None:
    asked: list[tuple[int, int]] = []

    def watched(level: int, index: int) -> bytes:
        asked.append((level, index))
        return large[level, index]

    tree = tiles.Tree(watched, LARGE)
    for index in range(60_000, 60_500):
        tree.inclusion_proof(index)
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize(
    "question", [lambda tree: tree.inclusion_proof(5), lambda tree: tree.consistency_proof(6)]
)
def test_what_a_tree_does_not_hold_it_does_not_prove(question: Callable[[tiles.Tree], object]) -> None:
    with pytest.raises(Malformed):
        question(tiles.Tree(reader(stored(5)), 5))
