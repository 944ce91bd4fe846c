"""A node keeps how far it has signed its ledger apart from its store, and notices an older copy of that."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from node.errors import Conflict, Unproven
from node.ledger.checkpoint import Checkpoint
from node.service import behind, bookmark, succession
from node.service.bookmark import FILE, Bookmark
from node.service.check import check, check_start
from node.service.findings import Finding
from node.store.logs import Head
from tests.service.stores import files_only
from tests.service.test_incoming import signed
from tests.service.world import Node, World, open_node, operator

pytestmark = files_only


def store_files(home: Path) -> list[Path]:
    return sorted(home.glob("node.sqlite*"))


@contextmanager
def put_back(world: World, home: Path) -> Iterator[Node]:
    """BR after one more operator, its store as it was before that; what else is in its folder stays."""
    world.br.parts.database.close()
    shutil.copytree(world.br.home, home)
    world.br.admit(operator(4))
    world.br.parts.database.close()
    for file in store_files(world.br.home):
        file.unlink()
    for file in store_files(home):
        shutil.copy(file, world.br.home)
    node = open_node(world.br.home, world.clock)
    yield node
    node.parts.database.close()


def record_of(node: Node) -> Path:
    return node.home / FILE


def found(node: Node) -> list[Finding]:
    """What the check at the start finds, which the whole check finds too."""
    at_start = list(check_start(node.parts))
    assert list(check(node.parts)) == at_start
    return at_start


def head_of(node: Node, size: int, root: bytes) -> Head:
    """A head of BR's ledger with a root that it never had, signed by itself."""
    new = Checkpoint("aeo.br.example/ledger", size, root)
    return Head(0, new.origin, size, root, None, "", node.parts.sign(new))


def test_the_record_is_the_newest_checkpoint_of_the_ledger_and_for_this_account_only(known: World) -> None:
    for node in known.nodes:
        assert node.parts.bookmark.note() == node.ledger().checkpoint
    known.br.admit(operator(4))
    assert known.br.parts.bookmark.note() == known.br.ledger().checkpoint
    assert record_of(known.br).stat().st_mode & 0o777 == 0o600
    assert found(known.br) == []


def test_a_node_has_its_record_from_its_first_entry_on(strangers: World) -> None:
    assert behind.opened(strangers.br.parts, strangers.br.parts.bookmark.note()).size == 1


def test_an_older_copy_of_the_store_is_found(known: World, tmp_path: Path) -> None:
    with put_back(known, tmp_path / "old") as node:
        size = node.ledger().size
        [finding] = found(node)
        assert finding.log == FILE
        assert f"holds {size} entries of aeo.br.example/ledger, of which {size + 1} were" in finding.what
        assert "`aeo recover`" in finding.what


def test_a_successor_of_an_older_copy_commits_to_what_was_signed(known: World, tmp_path: Path) -> None:
    with put_back(known, tmp_path / "old") as node:
        size = node.ledger().size
        before = succession.predecessor(node.parts, "aeo2.br.example", "BR")
        assert (before.size, before.signed.size) == (size, size + 1)
        assert before.note == node.parts.bookmark.note()
        node.admit(operator(5))
        with pytest.raises(Conflict, match="contradicts"):
            succession.predecessor(node.parts, "aeo2.br.example", "BR")
        record_of(node).unlink()
        node.parts.bookmark.keep(replace(node.ledger(), checkpoint=other_key(known)))
        with pytest.raises(Unproven, match="remove the file"):
            succession.predecessor(node.parts, "aeo2.br.example", "BR")


def test_an_older_copy_that_was_written_on_is_found_by_its_other_root(known: World, tmp_path: Path) -> None:
    with put_back(known, tmp_path / "old") as node:
        kept = record_of(node).read_bytes()
        node.admit(operator(5))
        assert record_of(node).read_bytes() == kept, "an equal size is no newer one"
        [finding] = found(node)
        assert "are others than those that were signed" in finding.what
        node.admit(operator(6))
        record_of(node).write_bytes(kept)
        [finding] = found(node)
        assert "are others than those that were signed" in finding.what


def test_a_record_behind_the_store_contradicts_nothing(known: World) -> None:
    kept = record_of(known.br).read_bytes()
    known.br.admit(operator(4))
    record_of(known.br).write_bytes(kept)
    assert found(known.br) == []


@pytest.mark.parametrize("text", ["", "\0" * 300])
def test_what_a_loss_of_power_may_leave_counts_as_no_record(known: World, text: str) -> None:
    record_of(known.br).write_text(text, encoding="utf-8")
    assert found(known.br) == []
    known.br.admit(operator(4))
    assert known.br.parts.bookmark.note() == known.br.ledger().checkpoint


def test_a_slot_that_was_torn_leaves_the_checkpoint_before(known: World) -> None:
    before = known.br.ledger().checkpoint
    known.br.admit(operator(4))
    kept = record_of(known.br).read_bytes()
    newest = known.br.ledger().checkpoint.encode()
    for at in (0, 60, 1000, len(newest) - 1):
        place = kept.index(newest) + at
        record_of(known.br).write_bytes(kept[:place] + b"#" * 512 + kept[place + 512 :])
        assert known.br.parts.bookmark.note() == before
        assert found(known.br) == []
    known.br.admit(operator(5))
    assert known.br.parts.bookmark.note() == known.br.ledger().checkpoint


def other_key(world: World) -> str:
    return world.uy.ledger().checkpoint


def other_size(world: World) -> str:
    text = world.br.ledger().checkpoint
    return text.replace(f"\n{world.br.ledger().size}\n", f"\n{world.br.ledger().size + 1}\n", 1)


def no_note(_: World) -> str:
    return "something else\n"


def a_channels(world: World) -> str:
    origin = "aeo.br.example/another"
    return signed(world.br.parts, Checkpoint(origin, 900, bytes(32)))


@pytest.mark.parametrize("written", [other_key, other_size, no_note, a_channels])
def test_a_record_that_this_node_did_not_sign_is_a_finding_of_its_own(known: World, written: object) -> None:
    assert callable(written)
    record_of(known.br).unlink()
    known.br.parts.bookmark.keep(replace(known.br.ledger(), checkpoint=written(known)))
    [finding] = found(known.br)
    assert (finding.log, "no checkpoint that this node signed" in finding.what) == (FILE, True)


def test_a_record_that_cannot_be_read_is_a_finding(known: World) -> None:
    record_of(known.br).unlink()
    record_of(known.br).mkdir()
    [finding] = found(known.br)
    assert "cannot be read" in finding.what


def test_an_older_checkpoint_never_replaces_a_newer_one(known: World) -> None:
    """Processes of one node come to the file in any order."""
    heads = [head_of(known.br, size, bytes([size]) * 32) for size in range(100, 140)]
    marks = [Bookmark(known.br.home) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda mark=mark, at=at: [mark.keep(each) for each in heads[at::4]])
        for at, mark in enumerate(marks)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    marks[0].keep(heads[3])
    assert known.br.parts.bookmark.note() == heads[-1].checkpoint
    left = {path.name for path in known.br.home.iterdir() if path.name.startswith(FILE)}
    assert left == {FILE, bookmark.LOCK}


def test_where_the_record_cannot_be_written_the_log_says_so_and_writing_goes_on(known: World) -> None:
    """A disk that is full and a folder that stands in the way are refused alike."""
    old = record_of(known.br).read_bytes()
    record_of(known.br).unlink()
    record_of(known.br).mkdir()
    with capture_logs() as logged:
        for number in (4, 5):
            known.br.admit(operator(number))
    [told] = logged
    assert (told["log_level"], told["where"]) == ("error", str(record_of(known.br)))
    assert "could not be written" in told["event"]
    record_of(known.br).rmdir()
    record_of(known.br).write_bytes(old)
    assert found(known.br) == []
    known.br.admit(operator(6))
    assert known.br.parts.bookmark.note() == known.br.ledger().checkpoint
