"""Several processes of one node on PostgreSQL: killed, paused, cut off; nothing acknowledged is lost."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from clients.bench.postgres import Server
from clients.demo.waiting import until
from node.errors import Busy
from node.store import engines
from node.store.database import READING_LIMIT, Database
from node.store.engines import Postgresql
from tests.load import Load, check_all
from tests.nodes import Node, Pair, agree, brazilian, make, peer

PROCESSES = 3
TAKEOVER_S = 40.0
ANSWERED_S = 45.0
"""Longer than a node lets anybody wait for an answer."""
LEADER = """
    SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE locktype = 'advisory' AND granted AND objid = %s
"""


@pytest.fixture
def several(postgres: Server, tmp_path: Path) -> Iterator[tuple[Node, str]]:
    """Brazil's node as three processes on one PostgreSQL, and the URL of its database."""
    url = postgres.create()
    [br] = make(("BR",), tmp_path, {"BR": url})
    br.start("--processes", str(PROCESSES))
    try:
        br.await_answer()
        yield br, url
    finally:
        br.stop()
        br.close()


def serving(node: Node) -> list[int]:
    """The pids of the processes that serve a node."""
    assert node.process is not None
    children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def leader(url: str) -> int | None:
    """The pid of the process that leads."""
    with psycopg.connect(url) as connection:
        row = connection.execute(LEADER, [Postgresql.lead]).fetchone()
    return int(str(row[0]).split()[1]) if row else None


def test_nothing_acknowledged_is_lost_when_processes_are_killed(several: tuple[Node, str]) -> None:
    br, url = several
    load = Load(br)
    load.goes_on()
    for victim in (lambda: until(lambda: leader(url)), lambda: serving(br)[0]):
        os.kill(victim(), signal.SIGKILL)
        load.goes_on()
        until(lambda: len(serving(br)) == PROCESSES, what="a process in its place")
    load.end()
    check_all(br, load, may_break=True)


def test_a_process_that_wakes_up_late_neither_leads_nor_writes_twice(several: tuple[Node, str]) -> None:
    br, url = several
    load = Load(br)
    load.goes_on()
    paused = until(lambda: leader(url), what="a leader")
    os.kill(paused, signal.SIGSTOP)
    with psycopg.connect(url) as connection:  # more than anybody takes who does not read them
        told = "SELECT pg_notify(%s, 'change ' || n) FROM generate_series(1, 5000) n"
        connection.execute(told, [Postgresql.bell])
    try:
        until(lambda: leader(url) not in (None, paused), TAKEOVER_S, "another leader")
        load.goes_on()
    finally:
        os.kill(paused, signal.SIGCONT)
    load.goes_on()
    assert leader(url) != paused
    load.end()
    check_all(br, load, may_break=True)


def test_dropped_connections_cost_a_503_at_most(several: tuple[Node, str]) -> None:
    br, url = several
    load = Load(br, ANSWERED_S)
    for _ in range(3):
        load.goes_on()
        with psycopg.connect(url, autocommit=True) as connection:
            ours = "datname = current_database() AND application_name LIKE 'aeo %'"
            connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")
    load.goes_on()
    load.end()
    check_all(br, load)


def test_a_database_that_restarts_costs_a_503_at_most(several: tuple[Node, str], postgres: Server) -> None:
    br, _ = several
    load = Load(br, ANSWERED_S)
    for how in ("fast", "immediate"):
        load.goes_on()
        postgres.control("restart", "-m", how)
    load.goes_on()
    load.end()
    check_all(br, load)


def test_a_writer_that_stands_still_is_cut_off_and_others_go_on(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Database(postgres.create(), tmp_path)
    other = Database(store.url.render_as_string(hide_password=False), tmp_path)
    store.migrate()
    monkeypatch.setattr(Postgresql, "stall_ms", 1000)
    with pytest.raises(Busy, match="changing hands"):
        _write_slowly(store)
    begun = time.monotonic()
    with other.write() as connection:
        connection.exec_driver_sql("SELECT 1")
    assert time.monotonic() - begun < 15
    for each in (store, other):
        each.close()


def test_a_writer_whom_the_server_does_not_cut_off_is_cut_off_by_who_leads(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Database(postgres.create(), tmp_path)
    store.migrate()
    monkeypatch.setattr(Postgresql, "stall_ms", 1000)
    url = store.url.render_as_string(hide_password=False).replace("+psycopg", "")
    stalled = psycopg.connect(url)
    stalled.execute(f"SELECT pg_advisory_xact_lock({Postgresql.turn})")
    with store.attend() as one, store.attend() as other, psycopg.connect(url, autocommit=True) as looking:

        def is_there() -> bool:
            asked = "SELECT FROM pg_stat_activity WHERE pid = %s"
            return looking.execute(asked, [stalled.info.backend_pid]).fetchone() is not None

        assert one.leads()
        assert one.leads()
        assert not other.leads()
        assert is_there(), "it may think for as long as any writer"
        until(lambda: one.leads() and not is_there(), what="its end")
        with store.write() as connection:
            connection.exec_driver_sql("SELECT 1")
    stalled.close()
    store.close()


def test_a_database_that_hangs_does_not_take_the_process_with_it(several: tuple[Node, str]) -> None:
    br, url = several
    br.stop()
    br.start("--processes", "1")
    br.await_answer()
    load = Load(br, ANSWERED_S)
    load.goes_on()
    held = "log_head", "record", "operator_identifier"  # a writer looks at the heads first
    asked, told = list[threading.Thread](), list[int]()
    paths = ["/v1/register"] * 50 + ["/v1/operators/BR1"] * 50
    with psycopg.connect(url) as connection:
        connection.execute(f"LOCK TABLE {', '.join(held)} IN ACCESS EXCLUSIVE MODE")
        asked = [threading.Thread(target=lambda path=path: told.append(status(br, path))) for path in paths]
        for each in asked:
            each.start()
        begun = time.monotonic()
        assert status(br, "/v1/card") == 200
        assert status(br, "/healthz") == 503
        assert time.monotonic() - begun < 6
        until(lambda: 503 in load.statuses, what="a change that is given up")
        connection.rollback()
    for each in asked:
        each.join()
    assert set(told) <= {200, 404, 503}
    until(lambda: status(br, "/healthz") == 200)
    load.goes_on()
    load.end()
    check_all(br, load)


async def test_nobody_waits_for_ever_for_a_server_that_hangs(postgres: Server, tmp_path: Path) -> None:
    store, over = Database(postgres.create(), tmp_path), threading.Event()
    for wait in (store.ask, store.read_out):
        with pytest.raises(Busy, match="does not answer"):
            await wait(over.wait, 0.2)
    over.set()
    assert await store.read_out(lambda: 1) == 1
    store.close()


async def test_a_thread_that_nobody_waits_for_counts_until_it_ends(postgres: Server, tmp_path: Path) -> None:
    store, over, begun = Database(postgres.create(), tmp_path), threading.Event(), list[int]()

    def hang() -> None:
        begun.append(1)
        over.wait()

    for _ in range(2 * READING_LIMIT):
        with pytest.raises(Busy, match="does not answer"):
            await store.read_out(hang, 0.1)
    assert len(begun) == READING_LIMIT
    over.set()
    assert await store.read_out(lambda: 1) == 1
    store.close()


def test_a_server_ends_what_nobody_waits_for(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "STATEMENT_MS", 200)
    store = Database(postgres.create(), tmp_path)
    for few in (store.read, store.glance):
        with pytest.raises(Busy, match="changing hands"), few() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(10)")
    for many in (lambda: store.read(at_length=True), store.write):
        with many() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(0.5)")
    store.close()


def status(node: Node, path: str) -> int:
    return httpx.get(node.url + path, headers=node.http.headers, timeout=30).status_code


def _write_slowly(store: Database) -> None:
    with store.write() as connection:
        time.sleep(3)
        connection.exec_driver_sql("SELECT 1")


def test_another_process_follows_the_partner_when_the_leader_dies(postgres: Server, tmp_path: Path) -> None:
    url = postgres.create()
    br, uy = make(("BR", "UY"), tmp_path, {"UY": url})
    br.start()
    uy.start("--processes", "2")
    try:
        for node in (br, uy):
            node.await_answer()
        peer(br, uy)
        pair = Pair(br, uy, agree(br, uy))
        operator = brazilian(1)
        br.post("/v1/operators", operator)
        pair.await_copy()
        os.kill(until(lambda: leader(url)), signal.SIGKILL)
        uy.reconnect()
        br.post(f"/v1/operators/{operator['tin']}/status", {"status": "SUSPENDED"})
        until(
            lambda: uy.answer(operator["tin"])["status"]["value"] == "SUSPENDED",
            TAKEOVER_S,
            "the suspension at the process that took over",
        )
        assert (br.fsck(), uy.fsck()) == ([], [])
    finally:
        for node in (br, uy):
            node.stop()
            node.close()
