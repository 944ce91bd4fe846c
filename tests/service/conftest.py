"""Worlds for the tests of one process; each kind is made once and copied for each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.world import World, make_world, open_world


@pytest.fixture(scope="session")
def _strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strangers")
    make_world(folder).close()
    return folder


@pytest.fixture(scope="session")
def _operating(_strangers: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("operating")
    shutil.copytree(_strangers, folder, dirs_exist_ok=True)
    world = open_world(folder)
    world.operate()
    world.close()
    return folder, world.agreement


@pytest.fixture
def strangers(_strangers: Path, tmp_path: Path) -> Iterator[World]:
    """Two nodes that have not met."""
    shutil.copytree(_strangers, tmp_path, dirs_exist_ok=True)
    opened = open_world(tmp_path, seed=1)
    yield opened
    opened.close()


@pytest.fixture
def world(_operating: tuple[Path, str], tmp_path: Path) -> Iterator[World]:
    """Two nodes with an agreement in operation in both directions, and no operators yet."""
    folder, agreement = _operating
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    opened = open_world(tmp_path, agreement, seed=1)
    yield opened
    opened.close()
