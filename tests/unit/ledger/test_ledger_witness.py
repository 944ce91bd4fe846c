"""A witness's answers, each with its status code, in the order of the specification."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.ledger import merkle, note, tiles, witness
from node.ledger.checkpoint import Checkpoint, sign_checkpoint
from node.ledger.encoding import b64
from node.ledger.merkle import EMPTY_ROOT, leaf_hash
from node.ledger.witness import Accepted, Rejected, Watched

ORIGIN = "aeo.br.example/ledger"
LEAVES = [leaf_hash(bytes([number])) for number in range(9)]


def signer(seed: int, name: str = ORIGIN) -> note.Signer:
    return note.ed25519_signer(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


LOG, OTHER = signer(1), signer(2)


def root(size: int) -> bytes:
    return merkle.root(LEAVES[:size]) if size else EMPTY_ROOT


def proof(old: int, size: int) -> tuple[bytes, ...]:
    grown = tiles.append(lambda *at: b"", 0, LEAVES[:size])
    return tiles.Tree(lambda *at: grown.tiles[at], size).consistency_proof(old)


def signed(size: int, by: note.Signer = LOG, of: bytes | None = None) -> str:
    return sign_checkpoint(Checkpoint(by.name, size, root(size) if of is None else of), [by])


def asked(old: int, size: int, by: note.Signer = LOG, of: bytes | None = None) -> bytes:
    hashes = proof(old, size) if 0 < old < size else ()
    return witness.request(old, hashes, signed(size, by, of))


def answer(body: bytes, seen: int = 0) -> Accepted | Rejected:
    known = Watched([LOG.verifier()], seen, root(seen))
    return witness.examine(body, lambda origin: known if origin == ORIGIN else None)


def status(body: bytes, seen: int = 0) -> int:
    said = answer(body, seen)
    return 200 if isinstance(said, Accepted) else said.status


def test_every_tree_that_follows_from_every_other_is_accepted() -> None:
    for size in range(len(LEAVES) + 1):
        for old in range(size + 1):
            said = answer(asked(old, size), seen=old)
            assert said == Accepted(Checkpoint(ORIGIN, size, root(size)), signed(size), old)


def test_what_the_log_signed_beside_other_keys_is_accepted() -> None:
    cosigned = signed(3) + note.Signature("w.example", bytes(4), bytes(72)).line()
    assert status(witness.request(0, (), cosigned)) == 200


def test_the_size_recorded_is_told_to_who_assumes_another() -> None:
    for old, size, seen in ((0, 5, 3), (4, 5, 3), (2, 2, 3), (3, 5, 0)):
        said = answer(asked(old, size), seen)
        assert isinstance(said, Rejected)
        assert (said.status, said.size, said.signed) == (409, seen, None)


@pytest.mark.parametrize(
    ("body", "seen", "code"),
    [
        (
            witness.request(
                0, (), sign_checkpoint(Checkpoint("x.example/l", 0, EMPTY_ROOT), [signer(1, "x.example/l")])
            ),
            0,
            404,
        ),
        (asked(0, 3, OTHER), 0, 403),
        (asked(0, 3).replace(b"\n3\n", b"\n4\n"), 0, 403),
        (b"old 4\n\n" + signed(3).encode(), 4, 400),
        (b"old 03\n\n" + signed(3).encode(), 3, 400),
        (b"old -1\n\n" + signed(3).encode(), 0, 400),
        (b"old  0\n\n" + signed(3).encode(), 0, 400),
        (b"Old 0\n\n" + signed(3).encode(), 0, 400),
        (b"old 0\r\n\n" + signed(3).encode(), 0, 400),
        (b"old 0\nAAAA=\n\n" + signed(3).encode(), 0, 400),
        (b"old 0\n \n\n" + signed(3).encode(), 0, 400),
        (b"\n\n" + signed(3).encode(), 0, 400),
        (b"old 0\n" + signed(3).encode().replace(b"\n\n", b"\n"), 0, 400),
        (b"", 0, 400),
        (b"\xff\n\n" + signed(3).encode(), 0, 400),
        (b"old 3\n" + b"\n".join([b64(bytes(32)).encode()] * 64) + b"\n\n" + signed(4).encode(), 3, 400),
        (b"old 0\n\n" + signed(3).encode() + b"x" * witness.LIMIT_BYTES, 0, 400),
        (b"old 0\n" + b64(bytes(32)).encode() + b"\n\n" + signed(3).encode(), 0, 422),
        (witness.request(3, (), signed(5)), 3, 422),
        (witness.request(3, proof(3, 5)[:-1], signed(5)), 3, 422),
        (witness.request(3, (*proof(3, 5), bytes(32)), signed(5)), 3, 422),
        (asked(3, 5, of=bytes(32)), 3, 422),
        (asked(3, 3, of=bytes(32)), 3, 422),
        (witness.request(3, (bytes(32),), signed(3)), 3, 422),
        (asked(0, 0, of=bytes(32)), 0, 422),
    ],
)
def test_each_refusal_has_its_code(body: bytes, seen: int, code: int) -> None:
    assert status(body, seen) == code


def test_an_unknown_log_is_told_before_whatever_else_is_wrong() -> None:
    assert status(b"nonsense\n\nx.example/l\nnonsense") == 404


def test_an_unsigned_checkpoint_is_told_before_the_form_of_the_request() -> None:
    assert status(b"nonsense\n\n" + signed(3, OTHER).encode()) == 403


def test_a_history_that_the_log_signed_beside_the_one_recorded_is_evidence() -> None:
    said = answer(asked(3, 3, of=bytes(32)), seen=3)
    assert isinstance(said, Rejected)
    assert said.signed == signed(3, of=bytes(32))


@pytest.mark.parametrize("hashes", [(), (bytes(32),), (*proof(3, 5), bytes(32)), proof(3, 5)[:-1]])
def test_a_checkpoint_that_does_not_follow_is_kept_whoever_is_wrong(hashes: tuple[bytes, ...]) -> None:
    said = answer(witness.request(3, hashes, signed(5)), seen=3)
    assert isinstance(said, Rejected)
    assert (said.status, said.signed) == (422, signed(5))


def test_nobody_makes_evidence_of_what_the_log_did_not_sign() -> None:
    said = answer(asked(3, 3, OTHER, of=bytes(32)), seen=3)
    assert isinstance(said, Rejected)
    assert said.signed is None
