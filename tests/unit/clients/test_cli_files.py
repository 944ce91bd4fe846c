"""Files that commands read and write: what is wrong is told with what to do, and nothing is left behind."""

from pathlib import Path

import pytest

from clients.cli.files import read_object, read_text, write_new
from clients.sdk.importing import load_profile, survey
from node.errors import Conflict, Refusal
from tests.unit.clients.test_cli import Aeo, aeo

__all__ = ("aeo",)

LIMIT_BYTES = 100


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "list").write_text("[1]", encoding="utf-8")
    (tmp_path / "long").write_bytes(b" " * (LIMIT_BYTES + 1))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere", "No such file or directory"),
        ("folder", "Is a directory"),
        ("empty/below", "Not a directory"),
        ("empty", "zero-length"),
        ("list", "one JSON object"),
        ("long", "at most 100 bytes"),
        ("bytes", "can't decode"),
    ],
)
def test_what_cannot_be_read_is_told_once_with_what_to_do(files: Path, name: str, why: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_object(files / name, LIMIT_BYTES)
    told = refused.value
    assert why in told.sentence()
    assert told.sentence().count(str(files / name)) == 1
    assert told.do
    assert "Errno" not in told.sentence()


@pytest.mark.parametrize("name", ["-", "folder", "nowhere/file"])
@pytest.mark.parametrize("replace", [False, True])
def test_what_cannot_be_written_leaves_nothing_behind(
    files: Path, monkeypatch: pytest.MonkeyPatch, name: str, replace: bool
) -> None:
    monkeypatch.chdir(files)
    before = sorted(files.rglob("*"))
    with pytest.raises(Refusal) as refused:
        write_new(Path(name), b"content", replace=replace)
    assert refused.value.do
    assert sorted(files.rglob("*")) == before


def test_a_file_is_replaced_only_when_that_is_asked_for(files: Path) -> None:
    with pytest.raises(Conflict):
        write_new(files / "list", b"{}", replace=False)
    assert read_text(files / "list", LIMIT_BYTES) == "[1]"
    write_new(files / "list", b"{}", replace=True)
    assert read_text(files / "list", LIMIT_BYTES) == "{}"


@pytest.mark.parametrize(("name", "says"), [("folder", "a folder"), ("nowhere", "that you may read")])
def test_a_list_that_is_no_file_is_told_as_such(files: Path, name: str, says: str) -> None:
    with pytest.raises(Refusal, match=says):
        survey(files / name, load_profile("br-oea"))


@pytest.mark.parametrize("name", ["./folder", "br-oae", "nowhere.toml"])
def test_a_profile_that_is_not_there_is_told_with_how_to_give_ones_own(name: str) -> None:
    with pytest.raises(Refusal) as refused:
        load_profile(name)
    assert "toml" in refused.value.do.lower()


def test_a_token_file_with_anything_else_is_told_what_it_should_hold(aeo: Aeo, files: Path) -> None:
    done = aeo("lookup", "1", "--url", "http://127.0.0.1:1", "--token-file", str(files / "empty"))
    assert (done.code, done.out) == (2, "")
    assert "token create` printed, and nothing else" in done.err
