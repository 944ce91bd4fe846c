"""One write, failed or killed at each of the system calls by which it touches its store.

A real node on SQLite, strace attached to it for the length of one write. Call after call is made to fail, or
the process is killed as it enters it, all on one history, so that each fault meets what those before left
behind. After each: a caller who was answered was told the truth; the request, repeated under its key, is
done once; `fsck` finds nothing; and every receipt handed out until then still holds.

A call is swept from the first time on that a write makes it until a write ends before coming so far: every
kill, and every I/O error. Of full disks and of reading anew some times are taken, and each with
`AEO_FAULT_SWEEP=all`. Locks are not failed: no file system that a store belongs on refuses to take one back.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx
import pytest

from clients.demo.waiting import until
from tests import strace
from tests.nodes import DATABASE, Node, Pair, brazilian, free_port, pair_in, running, told
from tests.receipts import Answer, check_every_receipt, check_nothing_was_done_twice
from tests.strace import Call, Trace

STORE, WAL, SHARED = DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"
KILL, EIO, ENOSPC = "signal=KILL", "error=EIO", "error=ENOSPC"
WRITES, SYNCS = ("pwrite64", WAL), ("fdatasync", WAL)
MOVES, STORE_ENDS, STORE_SYNCS = ("pwrite64", STORE), ("ftruncate", STORE), ("fdatasync", STORE)
LOCKS = {"fcntl"}
LOOKS = {"pread64", "newfstatat", "fstat", "lseek"}
"""At these the store is the same before and behind: a kill there is a kill at the next other call."""
GROWS = {"pwrite64", "ftruncate", "openat"}
"""These fail on a full disk too."""
QUIET = {"AEO_RETRY_S": "600", "AEO_AUDIT_EVERY_S": "600"}
"""The partner is away, and is not asked for again and again."""
A_LOG = 45
"""So many writes make more of the 1,000 pages at which SQLite moves its log into the store."""
EACH = os.environ.get("AEO_FAULT_SWEEP") == "all"
MOVED = range(1, 33) if EACH else (1, 2, 4, 8, 16, 32)
"""Which of the pages that are moved are struck; there are more."""
END_S = 15
MOST = 500
"""More often than this no write makes a call; a sweep that comes so far has no end."""
EVERYTHING_S = 3600 if EACH else 600

pytestmark = pytest.mark.timeout(EVERYTHING_S)


def every(first: int = 1, step: int = 1) -> Iterable[int]:
    """The first time that a write makes a call, the second ..."""
    return range(first, MOST, step)


def powers() -> Iterable[int]:
    """The first time, the second, the fourth ...: soon more often than pages lie in any log that is moved."""
    return (2**power for power in range(16))


def some() -> Iterable[int]:
    """The same, or each."""
    return every() if EACH else powers()


def tampering(name: str, how: str) -> tuple[str, ...]:
    """What tells strace to make a call fail."""
    return "-e", f"trace={name}", f"--inject={name}:{how}"


@dataclass
class Victim:
    """A node whose writes are struck, and what it acknowledged."""

    node: Node
    program: str
    receipts: list[Answer] = field(default_factory=list)
    done: list[Answer] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    def calls(self) -> dict[Call, int]:
        """The calls about the store that one write makes, and how often; locks are left out."""
        operator = brazilian(next(self.numbers))
        with self.traced(STORE, WAL, SHARED) as trace:
            self.ask(operator)
        self.settle(operator)
        return {call: times for call, times in trace.counts().items() if call[0] not in LOCKS}

    def sweep_short(self, call: Call, how: str, numbers: Iterable[int], *, forgets: bool = False) -> int:
        """The same with a short log. One that comes to be moved is read whole: a move that fails each time
        has more to read each time, so that a sweep of its reads would not end."""
        self.move_log()
        return self.sweep(call, how, numbers, forgets=forgets)

    def sweep(self, call: Call, how: str, numbers: Iterable[int], *, forgets: bool = False) -> int:
        """Strike a call the first time that a write makes it, the next time ...; gives how often it came."""
        for struck, number in enumerate(numbers):
            if forgets:
                self.forget_pages()
            if not self.is_struck(call, how, number):
                return struck
        raise AssertionError("the numbers ended before the calls did")

    def is_struck(self, call: Call, how: str, number: int = 1) -> bool:
        """Write while a call fails; gives whether it came. Everything must hold behind it."""
        operator, (name, file) = brazilian(next(self.numbers)), call
        with self.traced(file, tampering=tampering(name, f"{how}:when={number}")) as trace:
            heard = self.ask(operator)
            if heard is None:
                self._await_end()
        if heard is not None:
            self._check_true(heard)
        killed = heard is None or not self._answers()  # a call may also come behind the answer
        if killed:
            assert how == KILL
            self._await_end()
            self.again()
        answer = self.settle(operator)
        if heard is not None and heard.is_success:
            assert heard.json()["ledger_seq"] == answer["ledger_seq"]
        assert self.node.findings() == []
        check_every_receipt(self.node, self.receipts)
        return killed or trace.is_struck()

    def is_struck_moving(self, call: Call, how: str, number: int) -> bool:
        """Strike a call by which the log is moved into the store; gives whether it came.

        What notes who asked moves it too, at any moment: then it is filled, and struck once more.
        """
        return self.is_struck(call, how, number) or any(
            self._is_struck_full(call, how, number) for _ in range(3)
        )

    def _is_struck_full(self, call: Call, how: str, number: int) -> bool:
        self.fill_log()
        return self.is_struck(call, how, number)

    def again(self) -> None:
        """The process starts again."""
        self.node.kill()
        self.node.run()

    def forget_pages(self) -> None:
        """Let the node read every page again that it needs, as the first write of a process does."""
        with closing(sqlite3.connect(self.node.home / STORE)) as other:
            other.execute(f"PRAGMA user_version = {next(self.numbers)}")

    def fill_log(self) -> None:
        """Write, while a reader keeps the log from being moved, until the next write will move it."""
        with closing(sqlite3.connect(self.node.home / STORE)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM log_entry").fetchone()
            for _ in range(A_LOG):
                self.write()

    def move_log(self) -> None:
        """Move the log into the store, so that the next write begins it anew; the node may be at it too."""
        with closing(sqlite3.connect(self.node.home / STORE)) as mover:
            moved = lambda: mover.execute("PRAGMA wal_checkpoint").fetchone()[0] == 0  # noqa: E731
            until(moved, what="the log to be moved")

    def _answers(self) -> bool:
        try:
            self.node.http.get("/healthz")
        except httpx.TransportError:
            return False
        return True

    def _await_end(self) -> None:
        """The process has ended, for strace too: told to detach before, that may wait for ever."""
        assert self.node.process is not None
        self.node.process.wait(END_S)

    def traced(self, *files: str, tampering: Iterable[str] = ()) -> AbstractContextManager[Trace]:
        assert self.node.process is not None
        about, out = [self.node.home / file for file in files], self.node.home / "calls"
        return strace.attached(self.program, self.node.process.pid, about, out, *tampering)

    def ask(self, operator: dict[str, Any]) -> httpx.Response | None:
        """The answer, or None where the connection broke."""
        key = {"idempotency-key": str(operator["tin"])}
        try:
            return self.node.http.post("/v1/operators", json=operator, headers=key)
        except httpx.TransportError:
            return None

    def _check_true(self, heard: httpx.Response) -> None:
        """It is an answer with its receipt, or problem details that leave open whether it was written."""
        if heard.is_success:
            self.receipts.append(heard.json())
            return
        assert heard.headers["content-type"] == "application/problem+json", heard.text
        assert heard.status_code in (500, 503)
        assert heard.json()["why"].startswith("SQLITE_")
        assert "same idempotency key" in heard.json()["do"]

    def write(self) -> Answer:
        """A write that nothing befalls."""
        return self.settle(brazilian(next(self.numbers)))

    def settle(self, operator: dict[str, Any]) -> Answer:
        """Repeat the request; now it must be answered."""
        heard = self.ask(operator)
        assert heard is not None
        answer: Answer = told(heard)
        assert (answer["outcome"], answer["version"]) == ("new", 1)
        self.receipts.append(answer)
        self.done.append(answer)
        return answer


Victims = tuple[Victim, Victim]


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Brazil and Uruguay with their agreement in operation, so that a write goes into a channel too."""
    strace.program()
    with pair_in(tmp_path_factory.mktemp("struck"), max_staleness_s=86_400) as pair:
        pair.uy.stop()
        pair.br.stop()
        yield pair


@pytest.fixture(scope="module")
def victims(met: Pair) -> Iterator[Victims]:
    """Brazil's node and a copy of it, side by side, while Uruguay's is away: they share what takes long."""
    home, port = met.br.home.with_name("copy"), free_port()
    shutil.copytree(met.br.home, home)
    nodes = (
        Node("BR", met.br.home, met.br.port, QUIET),
        Node("BR", home, port, QUIET | {"AEO_PORT": str(port)}),
    )
    with running(*nodes):
        one, other = (Victim(node, strace.program()) for node in nodes)
        yield one, other


def side_by_side(works: Iterable[Callable[[], Any]]) -> list[Any]:
    with ThreadPoolExecutor() as pool:
        return [each.result() for each in [pool.submit(work) for work in works]]


@pytest.fixture(scope="module")
def calls(victims: Victims) -> dict[Call, int]:
    """The calls of one write, of the first of a process and of a later one."""
    found: dict[Call, int] = {}
    for _ in range(3):
        found |= victims[0].calls()
    assert found[WRITES] > 20
    assert found[SYNCS] >= 1
    return found


def test_a_process_that_is_killed_at_any_call_of_a_write_loses_and_repeats_nothing(
    victims: Victims, calls: dict[Call, int]
) -> None:
    changing = [call for call in calls if call[0] not in LOOKS]

    def killed(victim: Victim, first: int) -> int:
        return {call: victim.sweep(call, KILL, every(first, 2)) for call in changing}[WRITES]

    one, other = victims
    times = side_by_side([lambda: killed(one, 1), lambda: killed(other, 2)])
    assert min(times) > 10
    check_all(victims)


def test_a_write_of_which_any_call_fails_is_refused_or_done(victims: Victims, calls: dict[Call, int]) -> None:
    one, other = victims

    def warm() -> None:
        struck = {call: one.sweep_short(call, EIO, every()) for call in calls}
        assert struck[WRITES] > 20
        assert struck[SYNCS] >= 1

    def full_disk() -> None:
        for call in calls:
            if call[0] in GROWS:
                other.sweep_short(call, ENOSPC, some())
        reads = [("pread64", file) for file in (STORE, WAL)]
        assert sum(other.sweep_short(call, EIO, some(), forgets=True) for call in reads) > 2

    side_by_side([warm, full_disk])
    check_all(victims)


def test_a_log_that_is_moved_into_the_store_may_be_interrupted_at_any_call(victims: Victims) -> None:
    one, other = victims

    def pages() -> None:
        for how in (KILL, EIO, ENOSPC):
            for number in MOVED:
                assert one.is_struck_moving(MOVES, how, number)

    def rest() -> None:
        for how in (KILL, EIO):
            for call, number in ((SYNCS, 2), (STORE_ENDS, 1), (STORE_SYNCS, 1)):
                assert other.is_struck_moving(call, how, number)

    side_by_side([pages, rest])
    check_all(victims)


def test_a_log_that_is_begun_anew_may_be_interrupted_at_any_call(victims: Victims) -> None:
    for how in (EIO, KILL):
        for call, number in ((WRITES, 1), (SYNCS, 1), (WRITES, 2)):
            victims[0].move_log()
            assert victims[0].is_struck(call, how, number)
    check_all(victims)


def test_a_commit_of_which_the_sync_failed_is_refused_and_may_be_there_at_the_next_start(
    victims: Victims,
) -> None:
    victim, operator = victims[0], brazilian(next(victims[0].numbers))
    with victim.traced(WAL, tampering=tampering("fdatasync", EIO)) as trace:
        heard = victim.ask(operator)
    assert trace.is_struck()
    assert heard is not None
    assert (heard.status_code, heard.json()["why"]) == (503, "SQLITE_IOERR_FSYNC")
    assert victim.node.http.get(f"/v1/operators/{operator['tin']}").status_code == 404
    victim.again()
    found = victim.node.http.get(f"/v1/operators/{operator['tin']}")
    answer = victim.settle(operator)
    if found.is_success:  # unless something else, such as who asked just now, was written over it since
        assert found.json()["provenance"]["ledger"]["seq"] == answer["ledger_seq"]
    check_all(victims)


def test_while_the_disk_is_full_nothing_is_written_and_everything_is_answered(victims: Victims) -> None:
    victim = victims[0]
    known = victim.write()
    late = [brazilian(next(victim.numbers)) for _ in range(5)]
    with victim.traced(WAL, tampering=tampering("pwrite64", ENOSPC)):
        for operator in late:
            heard = victim.ask(operator)
            assert heard is not None
            assert (heard.status_code, heard.json()["why"]) == (503, "SQLITE_FULL")
            assert victim.node.answer(known["tin"])["provenance"]["ledger"]["seq"] == known["ledger_seq"]
            assert victim.node.http.get("/healthz").status_code == 200
    for operator in late:
        victim.settle(operator)
    assert victim.node.findings() == []
    check_all(victims)


def test_the_partner_gets_all_of_it_once(met: Pair, victims: Victims) -> None:
    victims[0].move_log()
    met.uy.run()
    met.await_copy()
    assert met.uy.channel("in")["in_view"] == len(victims[0].done)
    assert [node.fsck() for node in met.both()] == [[], []]
    assert met.uy.get("/v1/incidents")["incidents"] == []


def check_all(victims: Victims) -> None:
    """Each change is there once, in two histories full of faults."""
    for victim in victims:
        check_nothing_was_done_twice(victim.node, victim.done)
