"""Checkpoints: one spelling, and only under the log's own key."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.errors import Malformed, Unproven
from node.ledger import checkpoint, note
from node.ledger.checkpoint import Checkpoint
from node.ledger.merkle import EMPTY_ROOT

ORIGIN = "aeo.br.example/ledger"
EMPTY = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
EMPTY_TEXT = "aeo.br.example/ledger\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
HEAD = Checkpoint(ORIGIN, 70_000, bytes(range(32)))


def key(seed: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


LOG = note.ed25519_signer(ORIGIN, key(1))
WITNESS = note.cosigner("aeo.uy.example/witness", key(2))
SIGNED = checkpoint.sign_checkpoint(HEAD, [LOG])


def test_a_checkpoint_has_the_three_lines_of_the_specification() -> None:
    assert EMPTY.text() == EMPTY_TEXT
    assert checkpoint.parse(EMPTY_TEXT) == EMPTY
    assert checkpoint.parse(HEAD.text()) == HEAD


def test_a_signed_checkpoint_opens_under_the_logs_key() -> None:
    cosigned = SIGNED + note.cosign(HEAD.text(), WITNESS, 1)
    assert checkpoint.open_checkpoint(SIGNED, ORIGIN, [LOG.verifier()]) == HEAD
    assert checkpoint.open_checkpoint(cosigned, ORIGIN, [LOG.verifier(), WITNESS.verifier()]) == HEAD


def test_a_cosignature_alone_does_not_make_a_checkpoint() -> None:
    cosigned = SIGNED + note.cosign(HEAD.text(), WITNESS, 1)
    with pytest.raises(Unproven, match="own key"):
        checkpoint.open_checkpoint(cosigned, ORIGIN, [WITNESS.verifier()])


def test_a_cosigning_key_of_the_logs_name_does_not_make_a_checkpoint() -> None:
    namesake = note.cosigner(ORIGIN, key(3))
    cosigned = SIGNED + note.cosign(HEAD.text(), namesake, 1)
    with pytest.raises(Unproven, match="own key"):
        checkpoint.open_checkpoint(cosigned, ORIGIN, [namesake.verifier()])


def test_another_logs_checkpoint_is_refused_though_well_signed() -> None:
    other = "aeo.uy.example/ledger"
    signer = note.ed25519_signer(other, key(4))
    signed = checkpoint.sign_checkpoint(Checkpoint(other, 1, bytes(32)), [signer])
    with pytest.raises(Unproven, match=r"checkpoint of aeo\.uy"):
        checkpoint.open_checkpoint(signed, ORIGIN, [LOG.verifier(), signer.verifier()])


def test_a_text_that_names_the_log_but_is_signed_by_another_is_refused() -> None:
    signer = note.ed25519_signer("aeo.uy.example/ledger", key(4))
    with pytest.raises(Unproven, match="own key"):
        checkpoint.open_checkpoint(note.sign_note(HEAD.text(), [signer]), ORIGIN, [signer.verifier()])


def test_only_keys_with_the_origins_name_sign() -> None:
    for signers in ([], [note.ed25519_signer("aeo.uy.example/ledger", key(4))]):
        with pytest.raises(Malformed, match=ORIGIN):
            checkpoint.sign_checkpoint(HEAD, signers)


@pytest.mark.parametrize(
    "text",
    [
        "",
        EMPTY_TEXT[:-1],
        EMPTY_TEXT + "\n",
        EMPTY_TEXT + "an extension line\n",
        "\n" + EMPTY_TEXT,
        EMPTY_TEXT.replace("\n", "\r\n"),
        EMPTY_TEXT.replace("\n0\n", "\n00\n"),
        EMPTY_TEXT.replace("\n0\n", "\n01\n"),
        EMPTY_TEXT.replace("\n0\n", "\n+1\n"),
        EMPTY_TEXT.replace("\n0\n", "\n-0\n"),
        EMPTY_TEXT.replace("\n0\n", "\n1_0\n"),
        EMPTY_TEXT.replace("\n0\n", "\n 1\n"),
        EMPTY_TEXT.replace("\n0\n", "\n١\n"),
        EMPTY_TEXT.replace("\n0\n", "\n\n"),
        EMPTY_TEXT.replace("\n0\n", f"\n{2**63}\n"),
        EMPTY_TEXT.replace("\n0\n", "\n0\n\n"),
        EMPTY_TEXT.replace("FU=", "FV="),
        EMPTY_TEXT.replace("FU=", "FU"),
        EMPTY_TEXT.replace("FU=", "FU=="),
        EMPTY_TEXT.replace("+/", "-_"),
        EMPTY_TEXT.replace("47DE", ""),
        EMPTY_TEXT.replace(ORIGIN, ""),
        EMPTY_TEXT.replace(ORIGIN, "aeo br"),
        EMPTY_TEXT.replace(ORIGIN, ORIGIN + "+1"),
    ],
    ids=repr,
)
def test_no_other_text_is_a_checkpoint(text: str) -> None:
    with pytest.raises(Malformed):
        checkpoint.parse(text)


@pytest.mark.parametrize(
    ("size", "root"), [(-1, bytes(32)), (2**63, bytes(32)), (1, bytes(31)), (1, bytes(33))]
)
def test_a_head_that_no_log_has_is_refused(size: int, root: bytes) -> None:
    with pytest.raises(Malformed):
        Checkpoint(ORIGIN, size, root)
