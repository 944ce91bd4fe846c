"""The published example of C2SP signed-note, and every way to spoil it."""

import pytest

from node.errors import Malformed, Unproven
from node.ledger.note import Verifier, open_note, parse_vkey

VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
TEXT = "This is an example message.\n"
ENCODED = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
LINE = f"— example.com/foo {ENCODED}\n"
NOTE = f"{TEXT}\n{LINE}"


def test_the_published_example_opens() -> None:
    opened = open_note(NOTE, [parse_vkey(VKEY)])
    assert opened.text == TEXT
    assert [each.line() for each in opened.signatures] == [LINE]
    assert opened.unverified == ()


def test_the_published_key_is_written_as_published() -> None:
    key = parse_vkey(VKEY)
    assert (key.name, key.kind, key.key_id.hex()) == ("example.com/foo", 1, "530d903a")
    assert key.vkey() == VKEY


@pytest.mark.parametrize("at", range(len(NOTE)))
def test_no_character_of_the_example_can_be_changed(at: int) -> None:
    changed = NOTE[:at] + ("x" if NOTE[at] != "x" else "y") + NOTE[at + 1 :]
    with pytest.raises((Malformed, Unproven)):
        open_note(changed, [parse_vkey(VKEY)])


@pytest.mark.parametrize(
    "vkey",
    [
        VKEY.replace("530d903a", "530D903A"),
        VKEY.replace("530d903a", "530d903b"),
        VKEY.replace("+Aeky", "+Aeiy"),
        VKEY.replace("+Aeky", "+Beky"),
        VKEY + "=",
        VKEY + "\n",
        VKEY[:-4],
        " " + VKEY,
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo",
        "",
    ],
)
def test_no_other_spelling_of_a_key_is_accepted(vkey: str) -> None:
    with pytest.raises(Malformed):
        parse_vkey(vkey)


@pytest.mark.parametrize("kind", [0, 2, 3, 5, 7, 0xFF])
def test_a_key_of_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(Malformed, match="kind"):
        Verifier("example.com/foo", kind, bytes(32))
