"""Several processes of one node on PostgreSQL: killed, paused, cut off; nothing acknowledged is lost."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest

from node.errors import Busy
from node.store.database import Database
from node.store.engines import Postgresql
from tests.nodes import Node, Pair, agree, brazilian, make, peer, until
from tests.postgres import Server

PROCESSES = 3
CALLERS = 6
TAKEOVER_S = 10.0
LEADER = """
    SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE locktype = 'advisory' AND granted AND objid = %s
"""


class Load:
    """Callers that record operators one by one, each again under its key until it is acknowledged."""

    def __init__(self, node: Node) -> None:
        self._node, self._stop, self._next = node, threading.Event(), iter(range(1_000_000))
        self.acknowledged: dict[str, int] = {}
        self.statuses: set[int] = set()
        self._pool = ThreadPoolExecutor(CALLERS)
        self._callers = [self._pool.submit(self._call) for _ in range(CALLERS)]

    def end(self) -> None:
        """Let every caller finish what it began."""
        self._stop.set()
        for caller in self._callers:
            caller.result(60)
        self._pool.shutdown()

    def goes_on(self, more: int = 20) -> None:
        """Wait until as many more changes were acknowledged."""
        begun = len(self.acknowledged)
        until(lambda: len(self.acknowledged) >= begun + more, 30, "more acknowledged changes")

    def _call(self) -> None:
        with httpx.Client(headers=self._node.http.headers, timeout=30, trust_env=False) as client:
            while not self._stop.is_set():
                operator = brazilian(next(self._next))
                self.acknowledged[operator["tin"]] = self._acknowledged(client, operator)

    def _acknowledged(self, client: httpx.Client, operator: dict[str, object]) -> int:
        key = {"Idempotency-Key": f"load {operator['tin']}"}
        for _ in range(300):
            try:
                answer = client.post(f"{self._node.url}/v1/operators", json=operator, headers=key)
            except httpx.TransportError:
                time.sleep(0.1)  # the process that answered this connection is gone; another takes the next
                continue
            self.statuses.add(answer.status_code)
            if answer.status_code == 200:
                return int(answer.json()["ledger_seq"])
            assert answer.headers["retry-after"] == "1"
            time.sleep(0.2)
        raise AssertionError(f"{operator['tin']} was never acknowledged")


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


def check_all(br: Node, load: Load) -> None:
    """Everything acknowledged is there once, and the ledger holds nothing else."""
    br.reconnect()
    assert load.statuses <= {200, 503}
    assert br.fsck() == []
    for tin, seq in list(load.acknowledged.items())[::10]:
        [version] = br.get(f"/v1/operators/{tin}/history")["versions"]
        assert (version["version"], version["ledger_seq"]) == (1, seq)
    assert len(set(load.acknowledged.values())) == len(load.acknowledged)
    tins: list[str] = []
    page = br.get("/v1/register")
    while True:
        tins += page["tins"]
        if page["next"] is None:
            break
        page = br.get("/v1/register", after=page["next"])
    assert set(load.acknowledged) <= set(tins)
    size = int(br.http.get("/healthz").text.split()[1])
    assert size == 1 + len(tins), "the ledger holds the node's card and each operator once"


def test_nothing_acknowledged_is_lost_when_processes_are_killed(several: tuple[Node, str]) -> None:
    br, url = several
    load = Load(br)
    load.goes_on()
    for pid in (leader(url), *serving(br)[:1]):
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        load.goes_on()
        until(lambda: len(serving(br)) == PROCESSES, what="a process in its place")
    load.end()
    check_all(br, load)


def test_a_process_that_wakes_up_late_neither_leads_nor_writes_twice(several: tuple[Node, str]) -> None:
    br, url = several
    load = Load(br)
    load.goes_on()
    paused = until(lambda: leader(url), what="a leader")
    os.kill(paused, signal.SIGSTOP)
    try:
        until(lambda: leader(url) not in (None, paused), TAKEOVER_S, "another leader")
        load.goes_on()
    finally:
        os.kill(paused, signal.SIGCONT)
    load.goes_on()
    assert leader(url) != paused
    load.end()
    check_all(br, load)


def test_dropped_connections_cost_a_503_at_most(several: tuple[Node, str]) -> None:
    br, url = several
    load = Load(br)
    for _ in range(3):
        load.goes_on()
        with psycopg.connect(url, autocommit=True) as connection:
            ours = "datname = current_database() AND application_name LIKE 'aeo %'"
            connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")
    load.goes_on()
    load.end()
    check_all(br, load)


def test_a_writer_that_stands_still_is_cut_off_and_others_go_on(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Postgresql, "stall_ms", 500)
    store = Database(postgres.create(), tmp_path)
    other = Database(store.url.render_as_string(hide_password=False), tmp_path)
    store.migrate()
    with pytest.raises(Busy, match="changing hands"):
        _write_slowly(store)
    begun = time.monotonic()
    with other.write() as connection:
        connection.exec_driver_sql("SELECT 1")
    assert time.monotonic() - begun < 5
    for each in (store, other):
        each.close()


def _write_slowly(store: Database) -> None:
    with store.write() as connection:
        time.sleep(1.5)
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
