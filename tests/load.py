"""Changes from many callers at once, each repeated until it is acknowledged, and the count at the end."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from clients.demo.waiting import until
from tests.nodes import Node, brazilian, told

CALLERS = 6
DROPPED = 8
"""Connections of a node that may have been cut off and not asked anything since."""


class Load:
    """Callers that record operators one by one, each again under its key until it is acknowledged.

    `broken` tells of the requests that got no answer at all: their connection broke, or `limit_s` was over.
    """

    def __init__(self, node: Node, limit_s: float = 5) -> None:
        """A short limit where processes are stopped: they keep what they took, the next go to another."""
        self._node, self._stop, self._next = node, threading.Event(), iter(range(1_000_000))
        self._limit_s, self.broken = limit_s, list[str]()
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
        until(lambda: len(self.acknowledged) >= begun + more, what="more acknowledged changes")

    def _call(self) -> None:
        headers = self._node.http.headers
        with httpx.Client(headers=headers, timeout=self._limit_s, trust_env=False) as client:
            while not self._stop.is_set():
                operator = brazilian(next(self._next))
                self.acknowledged[operator["tin"]] = self._acknowledged(client, operator)

    def _acknowledged(self, client: httpx.Client, operator: dict[str, object]) -> int:
        key = {"Idempotency-Key": f"load {operator['tin']}"}
        for _ in range(300):
            try:
                answer = client.post(f"{self._node.url}/v1/operators", json=operator, headers=key)
            except httpx.TransportError as error:
                self.broken.append(repr(error))
                time.sleep(0.1)
                continue
            self.statuses.add(answer.status_code)
            if answer.status_code == 200:
                return int(answer.json()["ledger_seq"])
            assert answer.headers["retry-after"] == "1"
            time.sleep(0.2)
        raise AssertionError(f"{operator['tin']} was never acknowledged")


def read(br: Node, path: str, **query: str) -> Any:
    """The answer at a path; each connection that was dropped may cost one 503 first."""
    for _ in range(DROPPED):
        answer = br.http.get(path, params=query or None)
        if answer.status_code != 503:
            break
    return told(answer)


def check_all(br: Node, load: Load, *, may_break: bool = False) -> None:
    """Everything acknowledged is there once, the ledger holds nothing else, and every request was answered.

    Connections may break where processes are killed or stopped.
    """
    br.reconnect()
    assert may_break or load.broken == []
    assert load.statuses <= {200, 503}
    assert br.fsck() == []
    for tin, seq in list(load.acknowledged.items())[::10]:
        [version] = read(br, f"/v1/operators/{tin}/history")["versions"]
        assert (version["version"], version["ledger_seq"]) == (1, seq)
    assert len(set(load.acknowledged.values())) == len(load.acknowledged)
    tins: list[str] = []
    page = read(br, "/v1/register")
    while True:
        tins += page["tins"]
        if page["next"] is None:
            break
        page = read(br, "/v1/register", after=page["next"])
    assert set(load.acknowledged) <= set(tins)
    size = int(br.http.get("/healthz").text.split()[1])
    assert size == 1 + len(tins), "the ledger holds the node's card and each operator once"
