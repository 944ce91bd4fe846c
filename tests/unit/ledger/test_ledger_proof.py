"""Offline proofs: written, read, verified, and every field tampered with."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.errors import Malformed, Unproven
from node.ledger import note, tiles
from node.ledger.checkpoint import Checkpoint, sign_checkpoint
from node.ledger.encoding import b64
from node.ledger.merkle import leaf_hash
from node.ledger.proof import TlogProof

ORIGIN = "aeo.br.example/ledger"
LEAVES = [leaf_hash(b"entry %d" % seq) for seq in range(600)]
TREE = tiles.append(lambda level, index: b"", 0, LEAVES)
HEAD = Checkpoint(ORIGIN, TREE.size, TREE.root)
LOG = note.ed25519_signer(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
WITNESS = note.cosigner("aeo.uy.example/witness", Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32))
SIGNED = sign_checkpoint(HEAD, [LOG]) + note.cosign(HEAD.text(), WITNESS, 1_795_356_000)
KNOWN = [LOG.verifier(), WITNESS.verifier()]


def read_tile(level: int, index: int) -> bytes:
    return TREE.tiles[level, index]


PROOF = TlogProof(300, tiles.Tree(read_tile, 600).inclusion_proof(300), SIGNED, b"the salt")


@pytest.mark.parametrize("index", [0, 1, 255, 256, 511, 512, 599])
def test_a_proof_made_is_read_and_verified(index: int) -> None:
    proof = TlogProof(index, tiles.Tree(read_tile, 600).inclusion_proof(index), SIGNED)
    read = TlogProof.decode(proof.encode())
    assert read == proof
    assert read.verify(LEAVES[index], ORIGIN, KNOWN) == HEAD


def test_a_proof_has_the_lines_of_the_specification() -> None:
    lines = ["c2sp.org/tlog-proof@v1", "extra dGhlIHNhbHQ=", "index 300", *map(b64, PROOF.hashes), "", SIGNED]
    assert PROOF.encode() == "\n".join(lines)
    assert TlogProof.decode(PROOF.encode()) == PROOF
    assert replace(PROOF, extra=b"").encode().startswith("c2sp.org/tlog-proof@v1\nindex 300\n")


def test_a_log_of_one_entry_is_proven_without_hashes() -> None:
    one = Checkpoint(ORIGIN, 1, LEAVES[0])
    proof = TlogProof(0, (), sign_checkpoint(one, [LOG]))
    assert TlogProof.decode(proof.encode()).verify(LEAVES[0], ORIGIN, KNOWN) == one


def test_the_extra_is_not_authenticated() -> None:
    assert replace(PROOF, extra=b"anything").verify(LEAVES[300], ORIGIN, KNOWN) == HEAD


def test_another_leaf_or_origin_or_key_is_not_proven() -> None:
    stranger = note.ed25519_verifier(ORIGIN, bytes(32))
    for leaf, origin, verifiers in (
        (LEAVES[301], ORIGIN, KNOWN),
        (LEAVES[300], "aeo.uy.example/ledger", KNOWN),
        (LEAVES[300], ORIGIN, [stranger]),
        (LEAVES[300], ORIGIN, [WITNESS.verifier()]),
    ):
        with pytest.raises(Unproven):
            PROOF.verify(leaf, origin, verifiers)


@pytest.mark.parametrize(
    "tampered",
    [
        replace(PROOF, index=301),
        replace(PROOF, index=600),
        replace(PROOF, hashes=PROOF.hashes[1:]),
        replace(PROOF, hashes=PROOF.hashes[::-1]),
        replace(PROOF, hashes=(*PROOF.hashes, bytes(32))),
        replace(PROOF, hashes=(bytes(32), *PROOF.hashes[1:])),
        replace(PROOF, checkpoint=SIGNED.replace("\n600\n", "\n601\n")),
        replace(PROOF, checkpoint=SIGNED.replace(b64(HEAD.root), b64(LEAVES[0]))),
        replace(PROOF, checkpoint=sign_checkpoint(replace(HEAD, root=LEAVES[0]), [LOG])),
    ],
)
def test_a_proof_with_one_field_tampered_does_not_hold(tampered: TlogProof) -> None:
    with pytest.raises(Unproven):
        TlogProof.decode(tampered.encode()).verify(LEAVES[300], ORIGIN, KNOWN)


TEXT = PROOF.encode()
FIRST_HASH = b64(PROOF.hashes[0])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2sp.org/tlog-proof@v1",
        "c2sp.org/tlog-proof@v1\n",
        TEXT.replace("@v1", "@v2"),
        "\n" + TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("index 300", "index 0300"),
        TEXT.replace("index 300", "index +300"),
        TEXT.replace("index 300", "index  300"),
        TEXT.replace("index 300", "index -1"),
        TEXT.replace("index 300", f"index {2**63}"),
        TEXT.replace("index 300\n", ""),
        TEXT.replace("index 300\n", "index 300\nindex 300\n"),
        TEXT.replace("extra dGhlIHNhbHQ=", "extra "),
        TEXT.replace("extra dGhlIHNhbHQ=", "extra dGhlIHNhbHR="),
        TEXT.replace("extra dGhlIHNhbHQ=", "extra dGhlIHNhbHQ=\nextra dGhlIHNhbHQ="),
        TEXT.replace("extra dGhlIHNhbHQ=\nindex 300\n", "index 300\nextra dGhlIHNhbHQ=\n"),
        TEXT.replace(FIRST_HASH, FIRST_HASH[:-1]),
        TEXT.replace(FIRST_HASH, FIRST_HASH + " "),
        TEXT.replace(FIRST_HASH, b64(bytes(31))),
        TEXT.replace(FIRST_HASH, "\n".join([b64(bytes(32))] * 60)),
        "c2sp.org/tlog-proof@v1\nindex 0",
        "x" * (2**21 + 1),
    ],
    ids=lambda text: repr(text[:60]),
)
def test_no_other_text_is_a_proof(text: str) -> None:
    with pytest.raises(Malformed):
        TlogProof.decode(text)


def test_a_proof_that_cannot_be_written_is_not_made() -> None:
    for change in ({"index": -1}, {"index": 2**63}, {"hashes": (bytes(31),)}, {"hashes": (bytes(32),) * 64}):
        with pytest.raises(Malformed):
            replace(PROOF, **change)
    with pytest.raises(Malformed, match="extra"):
        replace(PROOF, extra=bytes(65_537))
