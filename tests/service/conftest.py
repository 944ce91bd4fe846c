"""Worlds for the tests of one process; each kind is made once and copied for each test."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.service import stores
from tests.service.world import World, make_world, open_world, opened, operator

Made = tuple[Path, str]


@pytest.fixture(scope="session", autouse=True)
def _server(request: pytest.FixtureRequest) -> None:
    if stores.ON_POSTGRESQL:
        stores.servers.append(request.getfixturevalue("postgres"))


@pytest.fixture(scope="session")
def _strangers(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("strangers")
    make_world(folder).close()
    return folder, ""


@pytest.fixture(scope="session")
def _operating(_strangers: Made, tmp_path_factory: pytest.TempPathFactory) -> Made:
    with _copy(_strangers, tmp_path_factory.mktemp("operating")) as world:
        world.operate()
    return world.br.home.parent, world.agreement


@pytest.fixture(scope="session")
def _known(_operating: Made, tmp_path_factory: pytest.TempPathFactory) -> Made:
    with _copy(_operating, tmp_path_factory.mktemp("known")) as world:
        for number in (1, 2, 3):
            world.br.admit(operator(number))
        world.exchange()
    return world.br.home.parent, world.agreement


@pytest.fixture
def strangers(_strangers: Made, tmp_path: Path) -> Iterator[World]:
    """Two nodes that have not met."""
    with _for_one_test(_strangers, tmp_path) as opened:
        yield opened


@pytest.fixture
def world(_operating: Made, tmp_path: Path) -> Iterator[World]:
    """Two nodes with an agreement in operation in both directions, and no operators yet."""
    with _for_one_test(_operating, tmp_path) as opened:
        yield opened


@pytest.fixture
def known(_known: Made, tmp_path: Path) -> Iterator[World]:
    """Two nodes with an agreement in operation; UY knows BR's operators 1 to 3."""
    with _for_one_test(_known, tmp_path) as opened:
        yield opened


@contextmanager
def _copy(made: Made, folder: Path) -> Iterator[World]:
    """A copy to be copied again."""
    shutil.copytree(made[0], folder, dirs_exist_ok=True)
    for home in (folder / "br", folder / "uy"):
        stores.part(home)
    opened = open_world(folder, made[1], seed=len(str(folder)))
    yield opened
    opened.close()


@contextmanager
def _for_one_test(made: Made, folder: Path) -> Iterator[World]:
    begun = len(opened)
    with _copy(made, folder) as world:
        yield world
    for node in opened[begun:]:
        node.parts.database.close()
    del opened[begun:]
    for node in world.nodes:
        stores.drop(node.home)
