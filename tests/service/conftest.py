"""Worlds for the tests of one process; the signed one is made once and copied for each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.world import START_MS, World, make_world, open_world


@pytest.fixture
def strangers(tmp_path: Path) -> Iterator[World]:
    """Two nodes that have not met."""
    world = make_world(tmp_path)
    yield world
    world.close()


@pytest.fixture(scope="session")
def _operating(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("operating")
    world = make_world(folder)
    world.operate()
    world.close()
    return folder, world.agreement


@pytest.fixture
def world(_operating: tuple[Path, str], tmp_path: Path) -> Iterator[World]:
    """Two nodes with an agreement in operation in both directions, and no operators yet."""
    folder, agreement = _operating
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    opened = open_world(tmp_path, agreement, seed=1, ms=START_MS)
    yield opened
    opened.close()
