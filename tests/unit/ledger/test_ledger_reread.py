"""A log is re-read to its signed root from wherever one stopped; whatever was changed is found, and named."""

from dataclasses import replace
from typing import Any

import pytest

from node.errors import Gap, Malformed, Unproven
from node.ledger import moment
from node.ledger.checkpoint import Checkpoint
from node.ledger.entry import LedgerEntry
from node.ledger.merkle import leaf_hash
from node.ledger.reread import Chain, Hashes, Progress, take
from tests.tlogs import ORIGIN, Book, ledger

SIZE = 700
LEDGER = ledger(SIZE)


@pytest.fixture
def book() -> Book:
    return Book(list(LEDGER))


def read(book: Book, signed: Checkpoint, progress: Progress | None = None) -> Progress:
    """Re-read all that is left; what was signed may be other than what is stored now."""
    hashes, progress = Hashes(book.tile, signed), progress or Progress()
    while not progress.done:
        progress = take(progress, hashes, book.bundle(progress.tree.size // 256))
    return progress


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 512, 700])
def test_a_ledger_is_re_read_to_its_signed_root(size: int) -> None:
    book = Book(LEDGER[:size])
    done = read(book, book.signed)
    assert (done.tree.size, done.tree.root()) == (size, book.root)
    assert done.chain is not None
    assert (done.chain.country, done.chain.last_leaf) == ("BR", leaf_hash(LEDGER[size - 1]))


def test_behind_any_whole_bundle_it_goes_on_also_to_a_tree_that_has_grown(book: Book) -> None:
    early = Hashes(book.tile, book.signed)
    stopped = take(take(Progress(), early, book.bundle(0)), early, book.bundle(1))
    assert not stopped.done
    book.append(ledger(400, LEDGER))
    assert read(book, book.signed, stopped) == read(book, book.signed)


def test_another_log_is_held_against_its_hashes_alone() -> None:
    book = Book([b"%d of theirs" % seq for seq in range(300)])
    done = read(book, book.signed)
    assert (done.chain, done.tree.size) == (None, 300)
    signed = book.signed
    book.change_entry(290, at=0)
    with pytest.raises(Unproven, match=r"a ledger was altered \(entry 290\)"):
        read(book, signed)


@pytest.mark.parametrize("seq", [0, 1, 254, 255, 256, 511, 512, 698, 699])
@pytest.mark.parametrize("at", [0, 50, -1])
def test_a_changed_byte_is_found_and_its_entry_is_named(book: Book, seq: int, at: int) -> None:
    signed = book.signed
    book.change_entry(seq, at % len(LEDGER[seq]) if at >= 0 else len(LEDGER[seq]) - 1)
    with pytest.raises(Unproven, match=rf"\(entry {seq}\); it is not the entry that was hashed"):
        read(book, signed)


@pytest.mark.parametrize("seq", [0, 1, 254, 256, 511 - 1])
def test_an_entry_that_was_changed_with_its_hash_is_named_by_the_next(book: Book, seq: int) -> None:
    signed = book.signed
    book.change_entry(seq)
    book.change_hash(0, seq, leaf_hash(book.entries[seq]))
    with pytest.raises(Unproven, match=rf"\(entry {seq}\); neither it nor its hash"):
        read(book, signed)


def test_where_no_entry_follows_in_the_bundle_the_bundle_is_named(book: Book) -> None:
    signed = book.signed
    book.change_entry(511)
    book.change_hash(0, 511, leaf_hash(book.entries[511]))
    with pytest.raises(Unproven, match="one of the entries 256 to 511"):
        read(book, signed)


@pytest.mark.parametrize(
    ("level", "place", "tile"),
    [(0, 3, "tile/0/000"), (0, 300, "tile/0/001"), (0, 690, ""), (1, 0, ""), (1, 1, "")],
)
def test_a_changed_hash_is_found_and_is_no_entrys_fault(
    book: Book, level: int, place: int, tile: str
) -> None:
    signed = book.signed
    book.change_hash(level, place)
    found = rf"a hash tile of a log was altered \({tile}\); its entries are as they were signed"
    edge = "the hash tiles of a log do not make the root that it signed"
    with pytest.raises(Unproven, match=found if tile else edge):
        read(book, signed)


def test_a_tile_above_others_is_proven_before_it_is_believed() -> None:
    """Two full tiles of level 1, and what stands over them."""
    book = Book([b"%d" % seq for seq in range(2 * 65_536 + 300)])
    signed = book.signed
    assert read(book, signed).done
    for level, place, tile in ((1, 1, "tile/1/000"), (1, 400, "tile/1/001")):
        kept = book.hashes.copy()
        book.change_hash(level, place)
        with pytest.raises(Unproven, match=rf"\({tile}\); it does not stand under the root"):
            read(book, signed)
        book.hashes = kept
    book.hashes[1, 0] = b"".join(
        sha
        for sha in [book.hashes[1, 0][:32]] * 128  # as many hashes as stand one level up
    )
    with pytest.raises(Unproven, match=r"\(tile/1/000\); it has 4096 bytes"):
        read(book, signed)


@pytest.mark.parametrize("size", [699, 701])
def test_another_size_than_was_signed_is_refused(book: Book, size: int) -> None:
    signed = Checkpoint(ORIGIN, size, book.root)
    with pytest.raises(Unproven):
        read(book, signed)


def test_a_bundle_of_another_width_is_refused(book: Book) -> None:
    hashes = Hashes(book.tile, book.signed)
    with pytest.raises(Unproven, match=r"another width than was asked for \(entries 0 to 255\)"):
        take(Progress(), hashes, book.bundle(2))
    with pytest.raises(Malformed, match="entries 0 to 255"):
        take(Progress(), hashes, b"\x00")


def changed(at: int, **values: Any) -> list[bytes]:
    """A ledger that signed another entry in the place of one, and the rest as it was."""
    return [*LEDGER[:at], replace(LedgerEntry.decode(LEDGER[at]), **values).encode(), *LEDGER[at + 1 : 400]]


@pytest.mark.parametrize(
    ("entries", "what", "kind"),
    [
        (changed(300, country="UY"), r"another country's entry \(entry 300\); UY", Unproven),
        (changed(300, seq=301), "BR, entry 301", Gap),
        (changed(300, prev=bytes(32)), r"BR, entry 300\); it follows another entry", Unproven),
        (changed(300, time=LedgerEntry.decode(LEDGER[298]).time), "time goes back .*entry 300", Unproven),
        ([*LEDGER[:300], b"{}", *LEDGER[301:400]], "entry 300", Malformed),
        ([*LEDGER[:300], LEDGER[300] + b" ", *LEDGER[301:400]], "entry 300", Malformed),
        ([*LEDGER[:256], *LEDGER[:100]], "entry 0", Gap),
    ],
    ids=["country", "seq", "prev", "time", "form", "spelling", "repeated"],
)
def test_a_ledger_that_signed_what_does_not_hang_together_is_found(
    entries: list[bytes], what: str, kind: type[Exception]
) -> None:
    book = Book(entries)
    with pytest.raises(kind, match=what):
        read(book, book.signed)


def test_times_may_stand_still() -> None:
    entry = LedgerEntry.decode(LEDGER[300])
    same = changed(300, time=LedgerEntry.decode(LEDGER[299]).time)[:301]
    assert moment.format(entry.time).encode() not in same[300]
    book = Book(same)
    assert read(book, book.signed).done


def test_what_goes_on_from_another_history_does_not_reach_the_root(book: Book) -> None:
    other = Book(ledger(SIZE, salt=1))
    stopped = take(Progress(), Hashes(other.tile, other.signed), other.bundle(0))
    with pytest.raises(Unproven, match="follows another entry"):
        read(book, book.signed, stopped)
    unchained = Progress(stopped.tree, Chain("BR", leaf_hash(LEDGER[255])))
    with pytest.raises(Unproven, match="do not make the root that was signed"):
        read(book, book.signed, unchained)
