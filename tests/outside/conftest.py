"""Tools that nobody here wrote, unchanged, and the ledger of a real node for them to check.

`go.mod` names each tool and its version, and `go.sum` what is in it. Go keeps what it fetched and built in
its own caches, so only the first run takes long (a minute or two).
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.nodes import ROOT, Node, brazilian, make, running

HERE = Path(__file__).parent
FIRST_RUN_S = 600
NOT_AS_PINNED = re.compile("checksum mismatch|SECURITY ERROR")
STEPS = ((0, 1), (1, 3), (3, 254), (254, 255), (255, 520))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first waits for all of it to be fetched and built."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(FIRST_RUN_S))


@dataclass(frozen=True)
class Tools:
    """The tools, built."""

    folder: Path

    def run(self, tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run one to its end."""
        command = [self.folder / tool, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def in_go(*arguments: str) -> subprocess.CompletedProcess[str]:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        pytest.skip("no Go here: install it (https://go.dev/dl) to run these tests")
    return subprocess.run([go, *arguments], cwd=HERE, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    """The tools, built from exactly what `go.sum` says; without a network to fetch them these tests skip."""
    fetched = in_go("list", "-deps", "tool", "./...")
    if fetched.returncode and not NOT_AS_PINNED.search(fetched.stderr):
        pytest.skip(f"Go cannot fetch the tools here: {fetched.stderr[-300:]}")
    assert fetched.returncode == 0, fetched.stderr
    folder = tmp_path_factory.mktemp("tools")
    built = in_go("build", "-o", f"{folder}/", "tool", "./...")
    assert built.returncode == 0, built.stderr
    return Tools(folder)


@dataclass(frozen=True)
class Checked:
    """A node whose ledger is to be checked, its verifier key in a file, and earlier checkpoints in files."""

    node: Node
    vkey: Path
    earlier: tuple[Path, ...] = ()

    @property
    def url(self) -> str:
        """Where the ledger is read."""
        return f"{self.node.url}/log"

    @property
    def key(self) -> str:
        """The verifier key."""
        return self.vkey.read_text(encoding="utf-8").strip()


@pytest.fixture(scope="session")
def grown(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checked]:
    """A ledger beyond two full tiles, and a checkpoint from each step on its way."""
    folder = tmp_path_factory.mktemp("grown")
    [node] = make(("BR",), folder)
    with running(node):
        earlier = [saved(node, folder / "first")]
        for start, end in STEPS:
            rows = [brazilian(number) for number in range(start, end)]
            node.post("/v1/operators/import", {"operators": rows})
            earlier.append(saved(node, folder / f"after-{end}"))
        yield Checked(node, key_file(node, folder), tuple(earlier))


def key_file(node: Node, folder: Path) -> Path:
    """What `aeo log vkey` prints, in a file as it is."""
    file = folder / "br.vkey"
    file.write_text(aeo(node, "log", "vkey"), encoding="utf-8")
    return file


def aeo(node: Node, *arguments: str) -> str:
    """What a command of ours prints."""
    command = [sys.executable, "-m", "clients.cli.main", *arguments, "--home", str(node.home)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


def saved(node: Node, file: Path) -> Path:
    """The newest checkpoint of a node's ledger, in a file."""
    file.write_text(node.http.get("/log/checkpoint").text, encoding="utf-8")
    return file
