"""Accusations: every fork is proven, and no honest log is ever accused."""

import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.errors import Malformed, Unproven
from node.ledger import canonical, merkle, note, tiles
from node.ledger.accusation import Accusation, between
from node.ledger.checkpoint import Checkpoint, sign_checkpoint
from node.ledger.merkle import EMPTY_ROOT, leaf_hash

ORIGIN = "aeo.br.example/ledger"
LOG = note.ed25519_signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))
OTHER = note.ed25519_signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
KNOWN = [LOG.verifier()]
SIZE = 7


def leaves(history: int) -> list[bytes]:
    """A history for each number: its bits are the entries."""
    return [leaf_hash(bytes([at, history >> at & 1])) for at in range(SIZE)]


def root(history: int, size: int) -> bytes:
    return merkle.root(leaves(history)[:size]) if size else EMPTY_ROOT


def signed(history: int, size: int, by: note.Signer = LOG) -> str:
    return sign_checkpoint(Checkpoint(ORIGIN, size, root(history, size)), [by])


def proof(history: int, old: int, size: int) -> tuple[bytes, ...]:
    grown = tiles.append(lambda *at: b"", 0, leaves(history)[:size])
    return tiles.Tree(lambda *at: grown.tiles[at], size).consistency_proof(old)


def accused(one: int, old: int, other: int, size: int) -> Accusation:
    """What a finder makes of a checkpoint of one history and a later one of another."""
    older, newer = signed(one, old), signed(other, size)
    if old == size:
        return Accusation(older, newer)
    return Accusation(older, newer, root(other, old), proof(other, old, size))


def test_every_two_histories_are_told_from_one() -> None:
    for old, size in itertools.combinations_with_replacement(range(1, SIZE + 1), 2):
        for one in (0b0000000, 0b0000001, 0b0100000, 0b1111111):
            other = 0b0000000
            accusation = accused(one, old, other, size)
            assert Accusation.decode(accusation.encode()) == accusation
            if root(one, old) == root(other, old):
                with pytest.raises(Unproven):
                    accusation.check(KNOWN)
            else:
                older, newer = accusation.check(KNOWN)
                assert (older.size, newer.size) == (old, size)


def test_a_logs_own_tiles_accuse_it_of_every_contradiction_and_of_nothing_else() -> None:
    for old, size in itertools.combinations_with_replacement(range(SIZE + 1), 2):
        for one, other in itertools.product((0b0000000, 0b0000001, 0b0100000, 0b1111111), repeat=2):
            grown = tiles.append(lambda *at: b"", 0, leaves(other)[:size])
            older, newer = signed(one, old), signed(other, size)
            found = between(older, newer, KNOWN, lambda *at, of=grown.tiles: of[at])
            if root(one, old) == root(other, old):
                assert found is None
            else:
                assert found == accused(one, old, other, size)
                found.check(KNOWN)


def test_tiles_of_another_tree_accuse_nobody() -> None:
    grown = tiles.append(lambda *at: b"", 0, leaves(0b0000010))
    with pytest.raises(Unproven):
        between(signed(0, 3), signed(0, SIZE), KNOWN, lambda *at: grown.tiles[at])
    with pytest.raises(Unproven, match="no known key"):
        between(signed(0, 3), signed(0, SIZE, OTHER), KNOWN, lambda *at: grown.tiles[at])


@pytest.mark.parametrize(("old", "size"), [(1, 2), (3, 7), (4, 7), (6, 7)])
def test_no_proof_makes_an_honest_log_guilty(old: int, size: int) -> None:
    honest = accused(0, old, 0, size)
    guesses = [bytes(32), root(1, old), root(0, size), b"", bytes(33)]
    proofs = [honest.proof, honest.proof[:-1], (*honest.proof, bytes(32)), proof(1, old, size), ()]
    for guess, hashes in itertools.product(guesses, proofs):
        with pytest.raises(Unproven):
            Accusation(honest.older, honest.newer, guess, hashes).check(KNOWN)


def test_every_bit_of_a_proof_counts() -> None:
    guilty = accused(1, 3, 0, 7)
    for at, each in enumerate(guilty.proof):
        flipped = bytes([each[0] ^ 1]) + each[1:]
        changed = (*guilty.proof[:at], flipped, *guilty.proof[at + 1 :])
        with pytest.raises(Unproven):
            Accusation(guilty.older, guilty.newer, guilty.root, changed).check(KNOWN)


def test_what_somebody_else_signed_accuses_nobody() -> None:
    with pytest.raises(Unproven, match="no known key"):
        Accusation(signed(0, 3), signed(1, 3, OTHER)).check(KNOWN)


def test_the_empty_tree_begins_every_history() -> None:
    with pytest.raises(Unproven):
        Accusation(signed(0, 0), signed(1, 3), bytes(32), ()).check(KNOWN)


def test_the_smaller_one_comes_first() -> None:
    guilty = accused(1, 3, 0, 7)
    with pytest.raises(Malformed, match="smaller"):
        Accusation(guilty.newer, guilty.older, guilty.root, guilty.proof).check(KNOWN)


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "aeo-accusation/v2"},
        {"more": 1},
        {"older": 1},
        {"root": 1},
        {"root": "AAAA="},
        {"proof": "x"},
        {"proof": [1]},
        {"proof": ["AA=="] * 64},
    ],
)
def test_another_form_is_refused(changed: dict[str, object]) -> None:
    content = canonical.decode(accused(1, 3, 0, 7).encode())
    assert isinstance(content, dict)
    with pytest.raises(Malformed):
        Accusation.decode(canonical.encode(content | changed))
