"""Running nodes for the tests of whole processes."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.bench import postgres as postgresql
from tests.nodes import QUICK, Node, Pair, copy_of, import_list, make, pair_in, running
from tests.postgres import place

STALENESS_S = 6

# What runs in a shell's background ignores interrupts, and so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgresql.Server]:
    """A PostgreSQL server of this test run; every test makes its own database on it."""
    programs = postgresql.folder_of_programs()
    if programs is None:
        pytest.skip("no PostgreSQL here: install Debian's package postgresql to run these tests")
    with postgresql.server(programs, place()) as running:
        yield running


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A running pair with both lists imported; tests may change operators of their own only."""
    with pair_in(tmp_path_factory.mktemp("pair")) as made:
        import_list(made.br, "br_oea.csv", "br-oea")
        import_list(made.uy, "uy_oec.csv", "uy-oec")
        made.await_copy()
        yield made


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A pair that has signed, with proofs good for six seconds, and stands still: `new_pair` copies it."""
    with pair_in(tmp_path_factory.mktemp("signed"), max_staleness_s=STALENESS_S) as made:
        for node in made.both():
            node.stop()
        yield made


@pytest.fixture
def new_pair(signed: Pair, tmp_path: Path) -> Iterator[Pair]:
    """A running pair without operators, for one test to destroy."""
    made = copy_of(signed, tmp_path, **QUICK)
    with running(*made.both()):
        yield made


@pytest.fixture(scope="session")
def unused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A new Brazilian node that never ran: what `lone` copies."""
    [node] = make(("BR",), tmp_path_factory.mktemp("unused"))
    yield node
    node.close()


@pytest.fixture
def lone(unused: Node, tmp_path: Path) -> Iterator[Node]:
    """A running Brazilian node without peers, for one test to destroy."""
    shutil.copytree(unused.home, tmp_path / "br")
    node = Node("BR", tmp_path / "br", unused.port)
    with running(node):
        yield node
