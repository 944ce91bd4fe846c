"""Real processes on free ports: pairs of nodes with an agreement between them, and the empty endpoint.

Set up with httpx, whose cost does not matter there; nothing that is measured goes through it.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from contracts import rules, terms

LIMIT_S = 60.0
POLL_S = 0.01
UNLIMITED = {"AEO_RATE_PER_MINUTE": "10000000"}
"""The one setting that differs from what is shipped: the load comes from one caller."""


@dataclass(slots=True)
class RunningNode:
    """One administration's node; `database`: the URL of its store, a file in its home folder if empty."""

    country: str
    home: Path
    port: int
    processes: int = 1
    database: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def token(self) -> str:
        """The administrator's bearer token."""
        return (self.home / "administrator.token").read_text(encoding="utf-8").strip()

    @property
    def url(self) -> str:
        """Where the node answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process that was started; its children may serve."""
        if self.process is None:
            raise RuntimeError(f"the node of {self.country} does not run")
        return self.process.pid

    def call(self, method: str, path: str, json: Any = None) -> Any:
        """Ask the node; anything but success ends the run with what it said."""
        headers = {"authorization": f"Bearer {self.token}"}
        answer = httpx.request(method, self.url + path, json=json, headers=headers, timeout=LIMIT_S)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def command(self, name: str) -> list[str]:
        """A command on this node's home folder."""
        return [sys.executable, "-m", "node", name, "--home", str(self.home)]

    def init(self, address: str) -> None:
        """Make the node; `address` is where its peer reaches it."""
        told = {"--country": self.country, "--name": f"aeo.{self.country.lower()}.example"}
        told |= {"--address": address, "--port": str(self.port)}
        told |= {"--database": self.database} if self.database else {}
        arguments = [part for pair in told.items() for part in pair]
        subprocess.run([*self.command("init"), *arguments], check=True, stdout=subprocess.DEVNULL)

    def start(self) -> float:
        """Start the node; gives the seconds until it answers."""
        begun = time.perf_counter()
        self.launch()
        self.await_answer()
        return time.perf_counter() - begun

    def launch(self) -> None:
        """Start the node, and do not wait for it."""
        with (self.home / "node.log").open("ab") as log:
            command = [*self.command("serve"), "--processes", str(self.processes)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | UNLIMITED)

    def await_answer(self) -> None:
        """Wait until the node answers."""
        assert self.process is not None, "it was launched"
        until(partial(_answers, self.process, f"{self.url}/healthz"), "a node does not start")

    def stop(self) -> None:
        """Stop the node, if it runs."""
        if self.process is not None:
            _stop(self.process)
        self.process = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two nodes: Brazil's issues, Uruguay's is the partner."""

    issuer: RunningNode
    partner: RunningNode

    def both(self) -> tuple[RunningNode, RunningNode]:
        """Issuer and partner."""
        return self.issuer, self.partner

    def behind(self, every_s: float) -> Iterator[int]:
        """By how many entries of its channel the partner is behind, now and then, until it has them all."""
        least, moved = None, time.monotonic()
        while behind := channel(self.issuer)["size"] - channel(self.partner)["size"]:
            if least is None or behind < least:
                least, moved = behind, time.monotonic()
            if time.monotonic() - moved > LIMIT_S:
                raise RuntimeError(f"the partner does not catch up, {behind} entries behind")
            yield behind
            time.sleep(every_s)

    def catch_up(self) -> None:
        """Wait until the partner holds every entry of its channel; `RuntimeError` when it stands still."""
        for _ in self.behind(POLL_S):
            pass


@contextmanager
def pair(
    folder: Path, databases: Sequence[str] = ("", ""), processes: int = 1, address: str = "", port: int = 0
) -> Iterator[Pair]:
    """A node each for Brazil and Uruguay in new folders, started; stopped at the end.

    Settings as shipped, but for the bound on calls. `address`: where Uruguay reaches Brazil's node, if
    not at its `port`.
    """
    ports = (port or free_port(), free_port())
    made = Pair(
        *(
            RunningNode(country, folder / country.lower(), at, processes, database)
            for country, at, database in zip(("BR", "UY"), ports, databases, strict=True)
        )
    )
    try:
        for node, reached in zip(made.both(), (address, ""), strict=True):
            node.init(reached or node.url)
            node.launch()
        for node in made.both():
            node.await_answer()
        yield made
    finally:
        for node in made.both():
            node.stop()


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


def agree(both: Pair, contract: str = "mra_v1", of_terms: str = "br_uy") -> str:
    """Bring a ready-made agreement into operation from issuer to partner; gives its id."""
    issuer, partner = both.both()
    for one, other in ((issuer, partner), (partner, issuer)):
        card = other.call("GET", "/v1/card")
        one.call("POST", "/v1/peers", {"card": card["card"], "fingerprint": card["fingerprint"]})
    countries = [issuer.country, partner.country]
    draft = {"title": "Measured", "countries": countries, "terms": terms.terms(of_terms)}
    draft["contract"] = rules.text(contract)
    agreement = str(issuer.call("POST", "/v1/agreements", draft)["agreement"])
    start = {"act": "start", "mode": "operation", "issuer": issuer.country, "partner": partner.country}
    for act in ({"act": "sign"}, start):
        issuer.call("POST", f"/v1/agreements/{agreement}/acts", act)
        until(lambda: _waits_for_signature(partner, agreement), "a proposal does not arrive")
        partner.call("POST", f"/v1/agreements/{agreement}/acts", act)
        until(lambda: not _waits_for_signature(issuer, agreement), "a signature does not arrive")
    until(lambda: channel(partner)["state"] == "IN_OPERATION", "the agreement does not come into operation")
    until(lambda: channel(issuer)["in_line"], "the channel does not come into line")
    both.catch_up()
    return agreement


def channel(node: RunningNode) -> dict[str, Any]:
    """The one channel that is measured, as a node sees it."""
    of = [each for each in node.call("GET", "/v1/channels")["channels"] if each["issuer"] == "BR"]
    return dict(of[0]) if of else {"state": "", "size": 0, "in_line": False}


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
