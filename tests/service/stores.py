"""The stores of the worlds: files, or with AEO_TEST_STORE=postgresql databases of one server."""

import os
from pathlib import Path

import pytest

from clients.bench.postgres import Server
from node import settings
from node.settings import FILE

ON_POSTGRESQL = os.environ.get("AEO_TEST_STORE", "sqlite") == "postgresql"
files_only = pytest.mark.skipif(ON_POSTGRESQL, reason="it looks into the file of the store")

servers: list[Server] = []
"""The one that a run on PostgreSQL has."""


def of_a_new_home() -> dict[str, str]:
    """What the settings of a new home say of its store."""
    return {"database_url": servers[0].create()} if ON_POSTGRESQL else {}


def part(home: Path) -> None:
    """Give a copied home a copy of the store of the home that it is a copy of; nobody may be using that."""
    if ON_POSTGRESQL:
        told = settings.load(home).database_url
        file = home / FILE
        text = file.read_text(encoding="utf-8").replace(told, servers[0].copy(told))
        file.write_text(text, encoding="utf-8")


def drop(home: Path) -> None:
    """Remove what `part` made."""
    if ON_POSTGRESQL:
        servers[0].drop(settings.load(home).database_url)
