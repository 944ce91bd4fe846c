"""Our canonical JSON against the reference implementation of RFC 8785."""

import json
from typing import Any
from unicodedata import normalize

import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import Malformed
from node.ledger import canonical

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KEYS = st.text(st.characters(max_codepoint=127), max_size=6)
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
SAFE = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXT.map(lambda text: normalize("NFC", text)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300)
@given(SAFE)
def test_on_the_safe_subset_our_bytes_are_those_of_rfc8785(value: Any) -> None:
    encoded = canonical.encode(value)
    assert encoded == rfc8785.dumps(value)
    assert canonical.decode(encoded) == value


@settings(deadline=None, max_examples=300)
@given(ANY)
def test_whatever_we_accept_rfc8785_writes_the_same(value: Any) -> None:
    try:
        encoded = canonical.encode(value)
    except Malformed:
        return
    assert encoded == rfc8785.dumps(value)


@settings(deadline=None, max_examples=300)
@given(ANY, st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]))
def test_bytes_of_another_writer_are_read_only_if_they_are_ours(
    value: Any, ascii_only: bool, separators: tuple[str, str]
) -> None:
    encoded = json.dumps(value, ensure_ascii=ascii_only, separators=separators).encode(errors="surrogatepass")
    try:
        read = canonical.decode(encoded)
    except Malformed:
        return
    assert canonical.encode(read) == encoded
