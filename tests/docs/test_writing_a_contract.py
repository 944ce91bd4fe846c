"""The lesson is followed word by word: commands are run, edits made, and what it shows is what comes."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import LISTS, ROOT, import_list, make, running

PAGE = (ROOT / "docs" / "writing-a-contract.md").read_text(encoding="utf-8")
STEP = re.compile(r"^    (aeo [^\n]+)$|^```(diff|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
AEO = f'aeo() {{ "{sys.executable}" -m clients.cli.main "$@"; }}; '


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the list, and a node in it that has imported the list."""
    folder = tmp_path_factory.mktemp("lesson")
    shutil.copy(LISTS / "br_oea.csv", folder / "list.csv")
    [node] = make(("BR",), folder)
    with running(node):
        import_list(node, "br_oea.csv", "br-oea")
        yield folder


def run(command: str, folder: Path) -> str:
    """What a command prints, as a person sees it."""
    own = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        ["bash", "-c", AEO + command],
        cwd=folder,
        env=own,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 1), f"{command}: {done.stderr}"
    return done.stdout


def edit(told: str, folder: Path) -> None:
    """Make an edit that stands as a diff, in the one place where it fits."""
    head, *lines = told.splitlines()
    path = folder / head.removeprefix("# ")
    before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
    after = "\n".join(line[1:] for line in lines if not line.startswith("-"))
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, told
    path.write_text(text.replace(before, after), encoding="utf-8")


def plain(text: str) -> list[str]:
    """Lines without what only makes tables wide."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return [line for line in lines if line.strip("\u2500 ")]


def missing(shown: str, printed: str) -> list[str]:
    """Which lines of what a page shows do not come in this order; `...` stands for any others."""
    rest, gone = plain(printed), []
    for line in plain(shown):
        start = line.removesuffix("...")
        if line == "...":
            continue
        found = [
            at for at, each in enumerate(rest) if (each.startswith(start) if start != line else each == line)
        ]
        if found:
            rest = rest[found[0] + 1 :]
        else:
            gone.append(line)
    return gone


def test_the_lesson_is_followed_as_it_stands(desk: Path) -> None:
    printed, compared = "", 0
    for command, kind, content in STEP.findall(PAGE):
        if command:
            printed = run(command, desk)
        elif kind == "diff":
            edit(content, desk)
        else:
            compared += 1
            assert missing(content, printed) == [], printed
    assert compared > 6


def test_what_a_page_shows_is_compared_in_earnest() -> None:
    assert missing("a\n...\nc d\n", "a\nb\nc   d\n") == []
    assert missing("of 12 ...\n", "of 12 others\n") == []
    assert missing("c\na\n", "a\nc\n") == ["a"]
    assert missing("of 13 ...\n", "of 12 others\n") == ["of 13 ..."]
