"""`aeo fsck` by several processes: what one finds several find, and none of them ends as a pass by dying."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import psycopg
import pytest

from clients.bench.operators import operators
from clients.demo.waiting import until
from node import settings
from node.assembly import parts_of
from node.errors import Busy
from node.records import model
from node.service import check_logs
from node.service.admit import AdmitList
from node.service.check import Finding, Several, check, check_start
from node.service.findings import Progress
from node.store import logs
from tests.nodes import DATABASE
from tests.postgres import Server
from tests.service.world import OFFICER, World, make_world, open_world

COUNT = 700
"""Operators: entries in three ranges of one bundle each."""
OUT = "log = (SELECT log FROM channel WHERE issuer = 'BR')"


@pytest.fixture(autouse=True)
def _short_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_logs, "RANGE", check_logs.BUNDLE)


def admit(world: World, start: int, count: int) -> None:
    listed = [model.to_json(model.parse(each)) for each in operators(start, count)]
    world.br.settle(AdmitList(listed, OFFICER))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nodes' homes, the one with operators, the other with its mirror of them."""
    folder = tmp_path_factory.mktemp("filled")
    world = make_world(folder)
    world.operate()
    for start in range(0, COUNT, 100):
        admit(world, start, 100)
    world.exchange()
    world.close()
    for country in ("br", "uy"):
        with sqlite3.connect(folder / country / DATABASE) as store:
            store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder


@pytest.fixture
def homes(filled: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    return tmp_path


def findings(home: Path, processes: int, told: Progress = lambda *_: None) -> list[Finding]:
    opened = partial(parts_of, home)
    parts = opened()
    try:
        with Several(opened, processes) if processes > 1 else nullcontext() as several:
            return list(check(parts, told, several))
    finally:
        parts.database.close()


def edit(home: Path, statement: str) -> None:
    store = sqlite3.connect(home / DATABASE, isolation_level=None)
    assert store.execute(statement).rowcount, statement
    store.close()


def test_several_processes_find_nothing_wrong_with_a_sound_store(homes: Path) -> None:
    told: list[tuple[str, int, int]] = []
    for country in ("br", "uy"):
        told.clear()
        assert findings(homes / country, 2, lambda *how_far: told.append(how_far)) == []
        done = [each[1] for each in told]
        assert done == sorted(done)
        assert done[-1] == told[-1][2] >= COUNT


BR, UY = "aeo.br.example/ledger", "aeo.uy.example/ledger"
LATE = [
    ("br", "UPDATE log_entry SET entry = CAST(replace(CAST(entry AS TEXT), 'BR', 'BX') AS BLOB)"
     " WHERE log = 0 AND seq = 650", [(BR, 650)]),
    ("br", "UPDATE record_version SET sealed = zeroblob(900) WHERE ledger_seq = 333", [(BR, 333)]),
    ("br", "UPDATE record_version SET sealed = zeroblob(900) WHERE ledger_seq IN (256, 512)",
     [(BR, 256), (BR, 512)]),
    ("br", "DELETE FROM change WHERE change = (SELECT max(change) FROM change WHERE log = 0)", [(BR, 704)]),
    ("br", f"DELETE FROM decision WHERE {OUT} AND record_id = (SELECT record_id FROM record_version"
     " WHERE ledger_seq = 600)", [("channel 2", -1)]),
    ("br", "DELETE FROM log_tile WHERE log = 0 AND level = 1", [(BR, -1)]),
    ("br", "UPDATE log_head SET root = zeroblob(32) WHERE log = 0", [(BR, -1)]),
    ("uy", "UPDATE mirror SET fields = CAST(replace(CAST(fields AS TEXT), 'Modelo', 'Modela') AS BLOB)"
     f" WHERE {OUT} AND seq = 600", [("mirror of BR", 600)]),
]  # fmt: skip


@pytest.mark.parametrize(("country", "statement", "places"), LATE, ids=lambda value: str(value)[:60])
def test_a_fault_in_a_later_range_is_found_in_its_place(
    homes: Path, country: str, statement: str, places: list[tuple[str, int]]
) -> None:
    edit(homes / country, statement)
    found = findings(homes / country, 2)
    assert found == findings(homes / country, 1)
    assert set(places) <= {(each.log, each.entry) for each in found}
    assert len(found) <= 4


def test_rows_of_the_feed_in_another_range_than_their_entries_are_found_one_by_one(homes: Path) -> None:
    """The first operator's row stands behind all others: every range has a row that is the next one's."""
    first = "(SELECT min(change) FROM change WHERE log = 0)"
    edit(homes / "br", f"UPDATE change SET change = 100000 WHERE change = {first}")
    [finding] = findings(homes / "br", 2)
    assert finding.what == "the change feed does not tell of it as it should"
    assert finding == findings(homes / "br", 1)[0]


def test_entries_missing_in_the_middle_end_the_check_of_their_log_only(homes: Path) -> None:
    edit(homes / "br", "DELETE FROM log_entry WHERE log = 0 AND seq = 300")
    found = findings(homes / "br", 2)
    assert Finding(BR, 256, "1 entries are missing behind it") in found
    assert found == findings(homes / "br", 1)


def test_what_is_written_while_it_checks_is_not_looked_at(homes: Path) -> None:
    world = open_world(homes)
    begun = iter([True])

    def told(*_: Any) -> None:
        if next(begun, False):
            admit(world, COUNT, 50)

    assert findings(homes / "br", 2, told) == []
    assert next(begun, None) is None
    assert findings(homes / "br", 2) == []
    world.close()


def test_a_process_that_dies_is_an_error_and_no_pass(homes: Path) -> None:
    def told(*_: Any) -> None:
        for process in active_children():
            os.kill(process.pid or 0, signal.SIGKILL)

    with pytest.raises(Busy, match=r"ended before its work was done.*ended with code -9"):
        findings(homes / "br", 2, told)
    assert active_children() == []


def children_of(process: subprocess.Popen[str]) -> list[int]:
    told = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(each) for each in told.split() if b"multiprocessing-fork" in command_of(int(each))]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def interrupted(homes: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Starts a check whose processes stand still as soon as they exist; whatever is left of it is ended."""
    command = [sys.executable, "-m", "node", "fsck", "--home", str(homes / "br"), "--processes", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield lambda: process
        process.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_end_of_the_check_ends_its_processes(
    interrupted: Callable[[], "subprocess.Popen[str]"], number: int, code: int
) -> None:
    process = interrupted()
    workers = until(lambda: len(found := children_of(process)) == 2 and found)
    if number == signal.SIGINT:
        os.kill(workers[0], signal.SIGSTOP)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == code
    assert "holds" not in said
    until(lambda: not any(command_of(pid) for pid in workers), what="the end of the processes")


def on_postgresql(server: Server, home: Path) -> str:
    """A copy of a node's store on PostgreSQL, under the same settings; gives its URL."""
    url = server.create()
    told = settings.load(home)
    values = {name: getattr(told, name) for name in ("name", "country", "administration", "address")}
    old = parts_of(home)
    (home / settings.FILE).unlink()
    settings.write(home, values | {"database_url": url})
    new = parts_of(home)
    new.database.migrate()
    copy(home / DATABASE, url)
    old.database.close()
    new.database.close()
    return url


def copy(file: Path, url: str) -> None:
    """Every row of every table."""
    with sqlite3.connect(file) as source, psycopg.connect(url) as target:
        names = [row[0] for row in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in (name for name in names if not name.startswith(("sqlite_", "alembic"))):
            rows = source.execute(f"SELECT * FROM {name}")
            columns = [column[0] for column in rows.description]
            with target.cursor().copy(f"COPY {name} ({', '.join(columns)}) FROM STDIN") as into:
                for row in rows:
                    into.write_row(row)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_store_on_postgresql_is_checked_as_one_in_a_file_is(
    postgres: Server, homes: Path, processes: int
) -> None:
    for country in ("br", "uy"):
        on_postgresql(postgres, homes / country)
        assert findings(homes / country, processes) == []


@pytest.mark.parametrize("processes", [1, 2])
def test_what_postgresql_refuses_is_a_finding_and_the_rest_is_checked(
    postgres: Server, homes: Path, processes: int
) -> None:
    url = on_postgresql(postgres, homes / "br")
    with psycopg.connect(url, autocommit=True) as store:
        store.execute("DROP TABLE ledger_body")
        store.execute("UPDATE log_entry SET entry = entry || '\\x00' WHERE log = 0 AND seq = 650")
    found = findings(homes / "br", processes)
    assert any('relation "ledger_body" does not exist' in each.what for each in found)
    assert (BR, 650) in {(each.log, each.entry) for each in found}
    assert not any("current transaction is aborted" in each.what for each in found)


def test_a_lost_postgresql_is_an_error_and_no_finding(postgres: Server, homes: Path) -> None:
    url = on_postgresql(postgres, homes / "br")

    def told(*_: Any) -> None:
        with psycopg.connect(url, autocommit=True) as store:
            store.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    with pytest.raises(Busy):
        findings(homes / "br", 1, told)


def test_the_check_at_the_start_reads_no_more_the_more_there_is(
    homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counted(connection: Any, log: int, start: int, stop: int, entries: Any = logs.entries) -> Any:
        asked.append(stop - start)
        return entries(connection, log, start, stop)

    monkeypatch.setattr(logs, "entries", counted)
    parts = parts_of(homes / "br")
    assert list(check_start(parts)) == []
    assert sum(asked) == check_logs.BUNDLE + 1
    parts.database.close()
