"""Imports go one way: the contracts in pyproject.toml hold, and a forbidden import breaks them."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("node", "contracts", "clients")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run lint-imports over the sources in a folder, with no cache."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def copy(folder: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))


def test_imports_go_one_way() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_import_against_the_direction_is_seen(tmp_path: Path) -> None:
    copy(tmp_path)
    with (tmp_path / "node/ledger/merkle.py").open("a") as file:
        file.write("\nfrom node.store import logs\n")
    with (tmp_path / "contracts/functions.py").open("a") as file:
        file.write("\nimport node.errors\n")
    with (tmp_path / "node/advice.py").open("a") as file:
        file.write("\nfrom node.ledger import moment\n")
    (tmp_path / "node/stray.py").touch()
    done = lint(tmp_path)
    assert done.returncode != 0
    assert "node.ledger.merkle -> node.store.logs" in done.stdout
    assert "contracts.functions -> node.errors" in done.stdout
    assert "node.advice -> node.ledger.moment" in done.stdout
    assert "- node.stray" in done.stdout


def test_the_processes_beside_the_serving_one_do_not_load_what_only_serving_needs() -> None:
    """Each of them loads what the command line loads, and there are as many as there are processors."""
    told = "import sys, node.__main__; print(*{'fastapi', 'uvicorn', 'alembic'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "\n"
