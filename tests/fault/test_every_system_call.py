"""One write, failed or killed at each of the system calls by which it touches its store.

A real node on SQLite, strace attached to it for the length of one write. Call after call is made to fail, or
the process is killed as it enters it, all on one history, so that each fault meets what those before left
behind. After each: a caller who was answered was told the truth; the request, repeated under its key, is
done once; `fsck` finds nothing; and every receipt handed out until then still holds.

A call is swept from the first time on that a write makes it until a write ends before coming so far. Where
that would take too long, its first, second, fourth, eighth ... time is taken, and each with
`AEO_FAULT_SWEEP=all`. Locks are not failed: no file system that a store belongs on refuses to take one back.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

import httpx
import pytest

from clients.demo.waiting import free_port
from tests import strace
from tests.nodes import DATABASE, Node, Pair, brazilian, pair_in, running, told
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
END_S = 15
EVERYTHING_S = 600

pytestmark = pytest.mark.timeout(EVERYTHING_S)


def some() -> Iterable[int]:
    """The first time, the second, the fourth ...; or each."""
    return count(1) if os.environ.get("AEO_FAULT_SWEEP") == "all" else (2**power for power in count())


@dataclass
class Victim:
    """A node whose writes are struck, and what it acknowledged."""

    node: Node
    program: str
    receipts: list[Answer] = field(default_factory=list)
    done: list[Answer] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def calls(self) -> dict[Call, int]:
        """The calls about the store that one write makes, and how often; locks are left out."""
        operator = brazilian(next(self._numbers))
        with self._traced(STORE, WAL, SHARED) as trace:
            self._ask(operator)
        self._settle(operator)
        return {call: times for call, times in trace.counts().items() if call[0] not in LOCKS}

    def sweep(self, call: Call, how: str, numbers: Iterable[int], before: Callable[[], None] = int) -> int:
        """Strike a call the first time that a write makes it, the next time ...; gives how often it came."""
        for struck, number in enumerate(numbers):
            before()
            if not self.is_struck(call, how, number):
                return struck
        raise AssertionError("the numbers ended before the calls did")

    def is_struck(self, call: Call, how: str, number: int = 1) -> bool:
        """Write while a call fails; gives whether it came. Everything must hold behind it."""
        operator, (name, file) = brazilian(next(self._numbers)), call
        with self._traced(
            file, tampering=("-e", f"trace={name}", f"--inject={name}:{how}:when={number}")
        ) as trace:
            heard = self._ask(operator)
            if heard is None:
                self._await_end()
        if heard is None:
            assert trace.is_killed()
            self.again()
        else:
            self._check_true(heard)
        answer = self._settle(operator)
        if heard is not None and heard.is_success:
            assert heard.json()["ledger_seq"] == answer["ledger_seq"]
        assert self.node.findings() == []
        check_every_receipt(self.node, self.receipts)
        return trace.is_struck()

    def again(self) -> None:
        """The process starts again."""
        self.node.kill()
        self.node.run()

    def fill_log(self) -> None:
        """Write, while a reader keeps the log from being moved, until the next write will move it."""
        with closing(sqlite3.connect(self.node.home / STORE)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM log_entry").fetchone()
            for _ in range(A_LOG):
                self._settle(brazilian(next(self._numbers)))

    def move_log(self) -> None:
        """Move the log into the store, so that the next write begins it anew."""
        with closing(sqlite3.connect(self.node.home / STORE)) as mover:
            assert mover.execute("PRAGMA wal_checkpoint").fetchone()[0] == 0

    def _await_end(self) -> None:
        """The process has ended, for strace too: told to detach before, that would wait for ever."""
        assert self.node.process is not None
        self.node.process.wait(END_S)

    def _traced(self, *files: str, tampering: Iterable[str] = ()) -> AbstractContextManager[Trace]:
        assert self.node.process is not None
        about, out = [self.node.home / file for file in files], self.node.home / "calls"
        return strace.attached(self.program, self.node.process.pid, about, out, *tampering)

    def _ask(self, operator: dict[str, Any]) -> httpx.Response | None:
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

    def _settle(self, operator: dict[str, Any]) -> Answer:
        """Repeat the request; now it must be answered."""
        heard = self._ask(operator)
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
    with pair_in(tmp_path_factory.mktemp("struck")) as pair:
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
    def killed(at: int) -> int:
        numbers = [count(1) for _ in calls]
        struck = {
            call: victims[at].sweep(call, KILL, islice(each, at, None, len(victims)))
            for call, each in zip(calls, numbers, strict=True)
            if call[0] not in LOOKS
        }
        return struck[WRITES]

    times = side_by_side([lambda at=at: killed(at) for at in range(len(victims))])
    assert min(times) > 10
    check_all(victims)


def test_a_write_of_which_any_call_fails_is_refused_or_done(victims: Victims, calls: dict[Call, int]) -> None:
    one, other = victims

    def warm() -> None:
        struck = {call: one.sweep(call, EIO, count(1)) for call in calls}
        assert struck[WRITES] > 20
        assert struck[SYNCS] >= 1

    def full_disk() -> None:
        for call in calls:
            if call[0] in GROWS:
                other.sweep(call, ENOSPC, some())
        for file in (STORE, WAL):  # the first write of a process reads most
            other.sweep(("pread64", file), EIO, some(), before=other.again)

    side_by_side([warm, full_disk])
    check_all(victims)


def test_a_log_that_is_moved_into_the_store_may_be_interrupted_at_any_call(victims: Victims) -> None:
    one, other = victims

    def pages() -> None:
        for how in (KILL, EIO, ENOSPC):
            one.fill_log()
            assert one.sweep(MOVES, how, some()) > 5

    def rest() -> None:
        other.fill_log()  # and full it stays, as long as it is not moved to its end
        for how in (KILL, EIO):
            for call, number in ((SYNCS, 2), (STORE_ENDS, 1), (STORE_SYNCS, 1)):
                assert other.is_struck(call, how, number)

    side_by_side([pages, rest])
    check_all(victims)


def test_a_log_that_is_begun_anew_may_be_interrupted_at_any_call(victims: Victims) -> None:
    for how in (EIO, KILL):
        for call, number in ((WRITES, 1), (SYNCS, 1), (WRITES, 2)):
            victims[0].move_log()
            assert victims[0].is_struck(call, how, number)
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
