"""Entries: their exact bytes, their chain, and what is not an entry."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import Malformed, Unproven
from node.ledger import entry, moment
from node.ledger.encoding import b64u
from node.ledger.entry import AccessEntry, ChannelEntry, LedgerEntry, check_chain, commitment
from node.ledger.merkle import leaf_hash

PREV, DIGEST = sha256(b"previous").digest(), sha256(b"body").digest()
TIME_MS = 1_795_356_000_123
LEDGER = LedgerEntry("BR", 41, PREV, TIME_MS, "record", DIGEST)
CHANNEL = ChannelEntry("aeo.br.example/channels/7", 3, PREV, TIME_MS, "disclosure", 2, DIGEST)

HASHES = st.binary(min_size=32, max_size=32)
SEQS = st.integers(1, 2**53 - 1)
TIMES = st.integers(0, moment.LATEST_MS)


def test_a_ledger_entry_has_the_bytes_of_the_design() -> None:
    assert LEDGER.encode().decode() == (
        f'{{"commit":"{b64u(DIGEST)}","country":"BR","prev":"{b64u(PREV)}","seq":41,'
        '"time":"2026-11-22T14:00:00.123Z","type":"record","v":1}'
    )


def test_a_channel_entry_has_the_bytes_of_the_design_and_its_header_lacks_the_body_alone() -> None:
    rest = (
        f'"channel":"aeo.br.example/channels/7","epoch":2,"kind":"disclosure","prev":"{b64u(PREV)}","seq":3,'
        '"time":"2026-11-22T14:00:00.123Z","v":1}'
    )
    assert CHANNEL.encode().decode() == f'{{"body":"{b64u(DIGEST)}",{rest}'
    assert CHANNEL.header().decode() == "{" + rest


def test_the_first_entry_has_no_previous_one() -> None:
    first = replace(LEDGER, seq=0, prev=None)
    assert b'"prev":null' in first.encode()
    assert LedgerEntry.decode(first.encode()) == first


@settings(deadline=None, max_examples=100)
@given(SEQS, HASHES, TIMES, st.sampled_from(sorted(entry.ENTRY_TYPES)), HASHES)
def test_a_ledger_entry_survives_the_round_trip(
    seq: int, prev: bytes, time: int, kind: str, commit: bytes
) -> None:
    written = LedgerEntry("UY", seq, prev, time, kind, commit)
    assert LedgerEntry.decode(written.encode()) == written


@settings(deadline=None, max_examples=100)
@given(SEQS, HASHES, TIMES, st.sampled_from(sorted(entry.CHANNEL_KINDS)), SEQS, HASHES)
def test_a_channel_entry_survives_the_round_trip(
    seq: int, prev: bytes, time: int, kind: str, epoch: int, body: bytes
) -> None:
    written = ChannelEntry("aeo.uy.example/c", seq, prev, time, kind, epoch, body)
    assert ChannelEntry.decode(written.encode()) == written


@settings(deadline=None, max_examples=100)
@given(SEQS, HASHES, TIMES, st.sampled_from(sorted(entry.ACCESS_KINDS)), HASHES)
def test_an_access_entry_survives_the_round_trip(
    seq: int, prev: bytes, time: int, kind: str, commit: bytes
) -> None:
    """Its bytes are written out by hand, and `decode` takes canonical JSON only."""
    written = AccessEntry("aeo.uy.example/access", seq, prev, time, kind, commit)
    assert AccessEntry.decode(written.encode()) == written


@pytest.mark.parametrize(
    "change",
    [{"log": 'a"/access'}, {"log": "aeo.uy.example/ledger"}, {"kind": "peek"}, {"seq": -1}, {"commit": b""}],
)
def test_an_access_entry_out_of_form_is_refused(change: dict[str, Any]) -> None:
    good = AccessEntry("aeo.uy.example/access", 1, DIGEST, 0, "lookup", DIGEST)
    with pytest.raises(Malformed):
        replace(good, **change)


def tampered(encoded: bytes, change: dict[str, Any]) -> bytes:
    members = {key: value for key, value in (orjson.loads(encoded) | change).items() if value is not ...}
    return orjson.dumps(members, option=orjson.OPT_SORT_KEYS)


FRAME: list[dict[str, Any]] = [
    {"v": 2},
    {"v": True},
    {"v": "1"},
    {"v": ...},
    {"extra": 1},
    {"seq": -1},
    {"seq": "41"},
    {"seq": True},
    {"seq": None},
    {"seq": 0},
    {"seq": 2**53},
    {"prev": None},
    {"prev": ""},
    {"prev": b64u(PREV) + "="},
    {"prev": b64u(PREV[:-1])},
    {"prev": b64u(PREV)[:-1] + "B"},
    {"prev": 7},
    {"time": "2026-11-22T14:00:00Z"},
    {"time": TIME_MS},
    {"time": "2026-02-30T14:00:00.123Z"},
]


@pytest.mark.parametrize(
    "change",
    [
        *FRAME,
        {"country": "br"},
        {"country": "BRA"},
        {"country": "B"},
        {"country": "B1"},
        {"country": "BR\n"},
        {"country": "ÉR"},
        {"country": None},
        {"type": "rumour"},
        {"type": ...},
        {"commit": b64u(DIGEST) + "A"},
        {"commit": None},
        {"commit": ...},
        {"kind": "record"},
    ],
    ids=repr,
)
def test_no_tampered_ledger_entry_is_read(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        LedgerEntry.decode(tampered(LEDGER.encode(), change))


@pytest.mark.parametrize(
    "change",
    [
        *FRAME,
        {"channel": ""},
        {"channel": "a b"},
        {"channel": None},
        {"kind": "record"},
        {"epoch": 0},
        {"epoch": "2"},
        {"epoch": None},
        {"body": ...},
        {"body": b64u(DIGEST[:-1])},
        {"country": "BR"},
    ],
    ids=repr,
)
def test_no_tampered_channel_entry_is_read(change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        ChannelEntry.decode(tampered(CHANNEL.encode(), change))


def test_an_entry_of_one_log_is_not_read_as_one_of_the_other() -> None:
    with pytest.raises(Malformed):
        LedgerEntry.decode(CHANNEL.encode())
    with pytest.raises(Malformed):
        ChannelEntry.decode(LEDGER.encode())


@pytest.mark.parametrize(
    "encoded", [b"", b"null", b"[]", b"{}", b"1", b'"v"', LEDGER.encode() + b"\n", b"x" * 65_536]
)
def test_what_is_no_object_of_these_keys_is_not_read(encoded: bytes) -> None:
    with pytest.raises(Malformed):
        LedgerEntry.decode(encoded)


def test_an_entry_out_of_form_is_not_made_and_every_problem_is_named() -> None:
    with pytest.raises(Malformed) as refusal:
        LedgerEntry("br", -1, b"short", -1, "rumour", b"")
    assert {each.field for each in refusal.value.problems} == {
        "country",
        "seq",
        "prev",
        "time",
        "type",
        "commit",
    }
    with pytest.raises(Malformed) as refusal:
        replace(CHANNEL, kind="rumour", epoch=0, body=b"")
    assert {each.field for each in refusal.value.problems} == {"kind", "epoch", "body"}


def test_a_chain_holds_from_its_first_entry_on() -> None:
    first = replace(LEDGER, seq=0, prev=None)
    second = replace(LEDGER, seq=1, prev=leaf_hash(first.encode()))
    check_chain(None, 0, first)
    check_chain(leaf_hash(first.encode()), 1, second)


@pytest.mark.parametrize("one", [LEDGER, CHANNEL])
def test_a_missing_repeated_or_replaced_entry_breaks_the_chain(one: entry.Entry) -> None:
    check_chain(PREV, one.seq, one)
    for expected_seq in (one.seq - 1, one.seq + 1):
        with pytest.raises(Unproven, match="must come next"):
            check_chain(PREV, expected_seq, one)
    for previous_leaf in (None, DIGEST):
        with pytest.raises(Unproven, match="another entry"):
            check_chain(previous_leaf, one.seq, one)


def test_a_first_entry_does_not_follow_anything() -> None:
    with pytest.raises(Unproven, match="another entry"):
        check_chain(PREV, 0, replace(LEDGER, seq=0, prev=None))


def test_a_commitment_is_the_salted_digest_and_cannot_be_mistaken_for_a_tree_hash() -> None:
    salt, body = bytes(range(32)), b'{"record":1}'
    assert commitment(salt, body) == sha256(b"\x02" + salt + body).digest()
    assert commitment(salt, body) != leaf_hash(salt + body)
    assert commitment(bytes(32), body) != commitment(salt, body)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_commitment_with_another_salt_length_is_refused(length: int) -> None:
    with pytest.raises(Malformed, match="32 bytes"):
        commitment(bytes(length), b"{}")
