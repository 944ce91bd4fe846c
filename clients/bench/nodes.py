"""Real processes on free ports: two nodes with an agreement between them, and the empty endpoint.

Set up with httpx, whose cost does not matter there; nothing that is measured goes through it.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from contracts import rules, terms

LIMIT_S = 60.0
POLL_S = 0.01
ENVIRONMENT = {"AEO_RATE_PER_MINUTE": "10000000"}
"""The one setting that differs from what is shipped: the load comes from one caller."""


@dataclass(slots=True)
class RunningNode:
    """One administration's node."""

    country: str
    home: Path
    port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def token(self) -> str:
        """The administrator's bearer token."""
        return (self.home / "administrator.token").read_text(encoding="utf-8").strip()

    @property
    def url(self) -> str:
        """Where the node answers."""
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, json: Any = None) -> Any:
        """Ask the node; anything but success ends the run with what it said."""
        headers = {"authorization": f"Bearer {self.token}"}
        answer = httpx.request(method, self.url + path, json=json, headers=headers, timeout=LIMIT_S)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()


@contextmanager
def two_nodes(folder: Path) -> Iterator[tuple[RunningNode, RunningNode]]:
    """A node each for Brazil and Uruguay, as shipped, in new folders; stopped at the end."""
    brazil, uruguay = (_started(country, folder / country.lower()) for country in ("BR", "UY"))
    try:
        for node in (brazil, uruguay):
            until(partial(_answers, node.process, f"{node.url}/healthz"), "a node does not start")
        yield brazil, uruguay
    finally:
        _stop(brazil.process, uruguay.process)


@contextmanager
def empty_endpoint() -> Iterator[int]:
    """The empty endpoint; gives its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "clients.bench.empty", str(port)])
    try:
        until(partial(_answers, process, f"http://127.0.0.1:{port}/"), "the empty endpoint does not start")
        yield port
    finally:
        _stop(process)


def agree(issuer: RunningNode, partner: RunningNode) -> str:
    """Bring the ready-made agreement into operation from issuer to partner; gives its id."""
    for one, other in ((issuer, partner), (partner, issuer)):
        card = other.call("GET", "/v1/card")
        one.call("POST", "/v1/peers", {"card": card["card"], "fingerprint": card["fingerprint"]})
    countries = [issuer.country, partner.country]
    draft = {"title": "Measured", "countries": countries, "terms": terms.terms(), "contract": rules.text()}
    agreement = str(issuer.call("POST", "/v1/agreements", draft)["agreement"])
    start = {"act": "start", "mode": "operation", "issuer": issuer.country, "partner": partner.country}
    for act in ({"act": "sign"}, start):
        issuer.call("POST", f"/v1/agreements/{agreement}/acts", act)
        until(lambda: _waits_for_signature(partner, agreement), "a proposal does not arrive")
        partner.call("POST", f"/v1/agreements/{agreement}/acts", act)
        until(lambda: not _waits_for_signature(issuer, agreement), "a signature does not arrive")
    until(lambda: channel(partner)["state"] == "IN_OPERATION", "the agreement does not come into operation")
    until(lambda: channel(issuer)["in_line"], "the channel does not come into line")
    return agreement


def channel(node: RunningNode) -> dict[str, Any]:
    """The one channel that is measured, as a node sees it."""
    of = [each for each in node.call("GET", "/v1/channels")["channels"] if each["issuer"] == "BR"]
    return dict(of[0]) if of else {"state": "", "size": 0, "in_line": False}


def caught_up(issuer: RunningNode, partner: RunningNode) -> None:
    """Wait until the partner holds every entry of its channel."""
    until(lambda: channel(partner)["size"] == channel(issuer)["size"], "the partner does not catch up")


def until(holds: Callable[[], bool], otherwise: str) -> None:
    """Wait until a condition holds; `RuntimeError` when it never does."""
    end = time.monotonic() + LIMIT_S
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(otherwise)
        time.sleep(POLL_S)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _started(country: str, home: Path) -> RunningNode:
    port = free_port()
    told = {"--home": str(home), "--country": country, "--name": f"aeo.{country.lower()}.example"}
    told |= {"--address": f"http://127.0.0.1:{port}", "--port": str(port)}
    command = [sys.executable, "-m", "node"]
    arguments = [part for pair in told.items() for part in pair]
    subprocess.run([*command, "init", *arguments], check=True, stdout=subprocess.DEVNULL)
    with (home / "node.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "serve", "--home", str(home)], stdout=log, stderr=log, env=os.environ | ENVIRONMENT
        )
    return RunningNode(country, home, port, process)


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"a process ended with code {process.returncode} before it answered")
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def _waits_for_signature(node: RunningNode, agreement: str) -> bool:
    known = {each["agreement"]: each for each in node.call("GET", "/v1/agreements")["agreements"]}
    return agreement in known and bool(known[agreement]["waiting"])


def _stop(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
