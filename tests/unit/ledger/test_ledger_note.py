"""Signed notes and cosignatures in hostile hands."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from node.errors import Malformed, Unproven
from node.ledger import note
from node.ledger.encoding import b64, unb64

TEXT = "aeo.br.example/ledger\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
TIME_S = 1_795_356_000


def key(seed: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


LOG = note.ed25519_signer("aeo.br.example/ledger", key(1))
OTHER = note.ed25519_signer("aeo.uy.example/ledger", key(2))
WITNESS = note.cosigner("aeo.uy.example/witness", key(3))
LASTING = note.ml_dsa_cosigner("aeo.uy.example/witness", MLDSA44PrivateKey.from_seed_bytes(bytes(32)))
SIGNED = note.sign_note(TEXT, [LOG])
COSIGNED = SIGNED + note.cosign(TEXT, WITNESS, TIME_S) + note.cosign(TEXT, LASTING, TIME_S)
KNOWN = [LOG.verifier(), WITNESS.verifier(), LASTING.verifier()]


def test_what_was_signed_is_opened_with_the_time_of_its_cosignature() -> None:
    opened = note.open_note(COSIGNED, KNOWN)
    assert opened.text == TEXT
    assert [(each.name, each.time_s) for each in opened.signatures] == [
        (LOG.name, None),
        (WITNESS.name, TIME_S),
        (LASTING.name, TIME_S),
    ]
    assert "".join(each.line() for each in opened.signatures) == COSIGNED[len(TEXT) + 1 :]


def test_signers_and_verifiers_agree_on_their_keys() -> None:
    assert LOG.verifier() == note.ed25519_verifier(LOG.name, LOG.public_key)
    assert WITNESS.verifier() == note.cosigner_verifier(WITNESS.name, WITNESS.public_key)
    for verifier in KNOWN:
        assert note.parse_vkey(verifier.vkey()) == verifier


def test_one_key_in_two_roles_has_two_key_ids() -> None:
    both = note.ed25519_verifier("a.example", bytes(32)), note.cosigner_verifier("a.example", bytes(32))
    assert both[0].key_id != both[1].key_id


def test_unknown_keys_are_kept_and_mean_nothing() -> None:
    opened = note.open_note(note.sign_note(TEXT, [OTHER, LOG]), [LOG.verifier()])
    assert [each.name for each in opened.signatures] == [LOG.name]
    assert [each.name for each in opened.unverified] == [OTHER.name]


def test_a_known_name_with_another_key_is_unknown() -> None:
    impostor = note.ed25519_signer(LOG.name, key(9))
    with pytest.raises(Unproven, match="no known key"):
        note.open_note(note.sign_note(TEXT, [impostor]), [LOG.verifier()])


def test_a_note_that_no_known_key_signed_is_refused() -> None:
    for verifiers in ([], [OTHER.verifier()]):
        with pytest.raises(Unproven, match="no known key"):
            note.open_note(SIGNED, verifiers)


@pytest.mark.parametrize("spoilt", [1, 2, 3])
def test_one_bad_signature_of_a_known_key_spoils_the_note(spoilt: int) -> None:
    lines = COSIGNED.split("\n")
    at = lines.index("") + spoilt
    dash, name, encoded = lines[at].split(" ")
    raw = unb64(encoded)
    lines[at] = f"{dash} {name} {b64(raw[:-1] + bytes([raw[-1] ^ 1]))}"
    with pytest.raises(Unproven, match="bad"):
        note.open_note("\n".join(lines), KNOWN)


@pytest.mark.parametrize("witness", [WITNESS, LASTING])
def test_a_cosignature_cannot_be_given_another_time(witness: note.Signer) -> None:
    line = note.read_note(SIGNED + note.cosign(TEXT, witness, TIME_S))[1][1]
    moved = replace(line, payload=(TIME_S + 1).to_bytes(8, "big") + line.payload[8:])
    with pytest.raises(Unproven, match="bad"):
        note.open_note(SIGNED + moved.line(), KNOWN)


@pytest.mark.parametrize("length", [1, 7, 8, 63, 64, 71, 73])
def test_a_signature_of_the_wrong_length_is_bad(length: int) -> None:
    for verifier in (LOG.verifier(), WITNESS.verifier()):
        line = note.Signature(verifier.name, verifier.key_id, bytes(length)).line()
        with pytest.raises(Unproven, match="bad"):
            note.open_note(f"{TEXT}\n{line}", [verifier])


def test_a_plain_signature_is_no_cosignature() -> None:
    plain = note.ed25519_signer(WITNESS.name, key(3))
    line = note.read_note(note.sign_note(TEXT, [plain]))[1][0]
    disguised = note.Signature(WITNESS.name, WITNESS.verifier().key_id, bytes(8) + line.payload)
    with pytest.raises(Unproven, match="bad"):
        note.open_note(f"{TEXT}\n{disguised.line()}", [WITNESS.verifier()])


def test_a_known_key_signs_once_even_at_two_times() -> None:
    for twice in (SIGNED + SIGNED.split("\n\n")[1], COSIGNED + note.cosign(TEXT, WITNESS, TIME_S + 1)):
        with pytest.raises(Malformed, match="at most one"):
            note.open_note(twice, KNOWN)


def test_two_keys_that_cannot_be_told_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(note.Verifier, "key_id", b"same")
    with pytest.raises(Malformed, match="share"):
        note.open_note(SIGNED, [LOG.verifier(), note.ed25519_verifier(LOG.name, bytes(32))])


def test_the_same_key_may_be_known_twice() -> None:
    assert note.open_note(SIGNED, [LOG.verifier(), LOG.verifier()]).text == TEXT


def lines_of_strangers(count: int) -> str:
    return "".join(note.Signature(f"w{place}.example", bytes(4), bytes(64)).line() for place in range(count))


def test_sixty_four_signatures_are_accepted_and_no_more() -> None:
    assert len(note.open_note(SIGNED + lines_of_strangers(17), KNOWN).unverified) == 17
    assert len(note.open_note(SIGNED + lines_of_strangers(63), KNOWN).unverified) == 63
    with pytest.raises(Malformed, match="64"):
        note.open_note(SIGNED + lines_of_strangers(64), KNOWN)


def test_a_text_may_hold_blank_lines_and_lines_that_look_signed() -> None:
    text = f"first\n\n\n{SIGNED}\n"
    assert note.open_note(note.sign_note(text, [LOG]), KNOWN).text == text


def test_a_note_of_more_than_a_mebibyte_is_refused() -> None:
    with pytest.raises(Malformed, match="at most"):
        note.read_note("é" * (1 << 19) + SIGNED)
    with pytest.raises(Malformed, match="at most"):
        note.sign_note("a" * (1 << 20) + "\n", [LOG])


BODY, LINE = TEXT, SIGNED.split("\n\n")[1]


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        "\n",
        BODY,
        f"{BODY}\n",
        LINE,
        f"{BODY}{LINE}",
        f"{BODY}\n{LINE[:-1]}",
        f"{BODY}\n\n{LINE}",
        f"{BODY}\n{LINE}\n",
        f"{BODY}\n{LINE}\n{LINE}",
        f"\n{BODY}\n{LINE}",
        SIGNED.replace("\n", "\r\n"),
        SIGNED.replace("\n0\n", "\n0\r\n"),
        SIGNED.replace("\n0\n", "\n0\t\n"),
        SIGNED.replace("\n0\n", "\n0\x00\n"),
        SIGNED.replace("\n0\n", "\n0\x1f\n"),
        SIGNED.replace("\n0\n", "\n0\ud800\n"),
        SIGNED.replace("\u2014", "-"),
        SIGNED.replace("\u2014", "\u2013"),
        SIGNED.replace("\u2014 ", "\u2014"),
        SIGNED.replace("\u2014 ", "\u2014  "),
        SIGNED.replace("\u2014 ", "\u2014\u00a0"),
        f"{BODY}\n {LINE}",
        f"{BODY}\n{LINE[:-1]} \n",
        f"{BODY}\n{LINE[:-1]} AAAA\n",
        f"{BODY}\n{LINE[:-1]}=\n",
        f"{BODY}\n{LINE.rstrip('=' + chr(10))}\n",
        f"{BODY}\n{LINE.replace('/', '_').replace('_ledger', '/ledger')}-\n",
        f"{BODY}\n\u2014 aeo.br.example/ledger AAAAAA==\n",
        f"{BODY}\n\u2014 aeo.br.example/ledger \n",
        f"{BODY}\n\u2014 aeo.br.example/ledger\n",
        f"{BODY}\n\u2014  AAAAAAA=\n",
        f"{BODY}\n\u2014 a+b AAAAAAA=\n",
        f"{BODY}\n\u2014 a\u2003b AAAAAAA=\n",
        f"{BODY}\n{LINE}garbage\n",
    ],
    ids=repr,
)
def test_no_hostile_note_is_opened(hostile: str) -> None:
    with pytest.raises((Malformed, Unproven)):
        note.open_note(hostile, KNOWN)


def test_a_line_separator_of_another_script_ends_no_line() -> None:
    text = "one\u2028two\x85three\n"
    assert note.open_note(note.sign_note(text, [LOG]), KNOWN).text == text


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "return\r\n", "nul\x00\n", "half \ud800\n"])
def test_a_text_that_no_note_can_carry_is_not_signed(text: str) -> None:
    with pytest.raises(Malformed):
        note.sign_note(text, [LOG])
    with pytest.raises(Malformed):
        note.cosign(text, WITNESS, TIME_S)


def test_each_kind_of_key_signs_its_kind_of_signature_only() -> None:
    with pytest.raises(Malformed, match="time"):
        note.sign_note(TEXT, [WITNESS])
    with pytest.raises(Malformed, match="cosign"):
        note.cosign(TEXT, LOG, TIME_S)


@pytest.mark.parametrize("time_s", [-1, 2**63])
def test_a_time_that_cannot_be_written_is_not_cosigned(time_s: int) -> None:
    with pytest.raises(Malformed, match="1970"):
        note.cosign(TEXT, WITNESS, time_s)


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a+b", "a\nb", "a\u00a0b", "a\u2028b", "a\x00b", "a\x7f b", "\ud800"]
)
def test_a_name_that_a_line_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(Malformed, match="key name"):
        note.ed25519_verifier(name, bytes(32))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_public_key_of_the_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(Malformed, match="32"):
        note.cosigner_verifier("a.example", bytes(length))


def test_an_ml_dsa_cosignature_is_over_exactly_what_the_specification_says() -> None:
    line = note.read_note(SIGNED + note.cosign(TEXT, LASTING, TIME_S))[1][1]
    name, origin = b"aeo.uy.example/witness", b"aeo.br.example/ledger"
    said = b"subtree/v1\n\x00" + bytes([len(name)]) + name + TIME_S.to_bytes(8, "big")
    said += bytes([len(origin)]) + origin + bytes(16) + unb64(TEXT.split("\n")[2])
    MLDSA44PrivateKey.from_seed_bytes(bytes(32)).public_key().verify(line.payload[8:], said)
    assert line.payload[:8] == TIME_S.to_bytes(8, "big")


def test_an_ml_dsa_cosignature_is_of_its_cosigner_alone() -> None:
    [line] = note.read_note(f"{TEXT}\n{note.cosign(TEXT, LASTING, TIME_S)}")[1]
    other = note.Verifier("aeo.ar.example/witness", LASTING.kind, LASTING.public_key)
    renamed = note.Signature(other.name, other.key_id, line.payload).line()
    with pytest.raises(Unproven, match="bad"):
        note.open_note(f"{TEXT}\n{renamed}", [other])


@pytest.mark.parametrize(
    "text",
    [
        "a.example\n",
        "a.example\n1\n",
        "a.example\n01\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "a.example\n18446744073709551616\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "a.example\n1\n47DEQg==\n",
        f"{'a' * 256}\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
    ],
)
def test_only_a_checkpoint_is_cosigned_with_ml_dsa(text: str) -> None:
    with pytest.raises(Malformed):
        note.cosign(text, LASTING, TIME_S)


def test_who_cosigns_with_ml_dsa_has_a_name_that_fits() -> None:
    long = note.Signer("a" * 256, LASTING.kind, LASTING.public_key, LASTING.sign)
    with pytest.raises(Malformed, match="255"):
        note.cosign(TEXT, long, TIME_S)
