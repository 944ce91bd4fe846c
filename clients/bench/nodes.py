"""Real processes on free ports: pairs of nodes with an agreement between them, and the empty endpoint.

Each node is asked by one client that is kept. Of what is measured only the moment at which a partner has
caught up is seen through it, by few and small questions.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from clients.demo.waiting import POLL_S, free_port, until
from clients.sdk.client import Node
from clients.sdk.connection import NodeUnreachable
from contracts import rules, terms

LIMIT_S = 60.0
LONGEST_S = 1.0
MOST_PER_S = 10_000
"""More entries than a partner takes over: before that time is over there is no need to look again."""
UNLIMITED = {"AEO_RATE_PER_MINUTE": "10000000"}
"""The one setting that differs from what is shipped: the load comes from one caller."""


@dataclass(slots=True)
class RunningNode:
    """One administration's node; `database`: the URL of its store, a file in its home folder if empty.

    From `init` on there is the administrator's `token`, and `client`, which asks with it.
    """

    country: str
    home: Path
    port: int
    processes: int = 1
    database: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    token: str = field(init=False, repr=False)
    client: Node = field(init=False, repr=False)

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
        self.token = (self.home / "administrator.token").read_text(encoding="utf-8").strip()
        self.client = Node(self.url, self.token, LIMIT_S)

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
        until(self._answers, LIMIT_S, "the start of a node")

    def stop(self) -> None:
        """Stop the node, if it runs."""
        if self.process is not None:
            _stop(self.process)
        self.process = None

    def _answers(self) -> bool:
        assert self.process is not None, "it was launched"
        _require_running(self.process)
        try:
            self.client.health()
        except NodeUnreachable:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Pair:
    """Two nodes: Brazil's issues, Uruguay's is the partner."""

    issuer: RunningNode
    partner: RunningNode

    def both(self) -> tuple[RunningNode, RunningNode]:
        """Issuer and partner."""
        return self.issuer, self.partner

    def behind(self) -> Iterator[int]:
        """By how many of the entries that the issuer has disclosed until now the partner is behind.

        Until it has them all, which is seen within `POLL_S`; `RuntimeError` when it stands still.
        """
        size = _disclosed(self.issuer)
        least, moved = size, time.monotonic()
        while (behind := size - _disclosed(self.partner)) > 0:
            if behind < least:
                least, moved = behind, time.monotonic()
            if time.monotonic() - moved > LIMIT_S:
                raise RuntimeError(f"the partner does not catch up, {behind} entries behind")
            yield behind
            time.sleep(min(max(POLL_S, behind / MOST_PER_S), LONGEST_S))

    def catch_up(self) -> None:
        """Wait until the partner holds every entry of its channel; `RuntimeError` when it stands still."""
        for _ in self.behind():
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
    with ExitStack() as stack:
        for node, reached in zip(made.both(), (address, ""), strict=True):
            node.init(reached or node.url)
            stack.enter_context(node.client)
            stack.callback(node.stop)
            node.launch()
        for node in made.both():
            node.await_answer()
        yield made


@contextmanager
def empty_endpoint() -> Iterator[int]:
    """The empty endpoint; gives its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "clients.bench.empty", str(port)])
    try:
        until(partial(_listens, process, port), LIMIT_S, "the start of the empty endpoint")
        yield port
    finally:
        _stop(process)


def agree(both: Pair, contract: str = "mra_v1", of_terms: str = "br_uy") -> str:
    """Bring a ready-made agreement into operation from issuer to partner; gives its id."""
    issuer, partner = both.both()
    for one, other in ((issuer, partner), (partner, issuer)):
        card = other.client.card()
        one.client.add_peer(card["card"], card["fingerprint"])
    countries = [issuer.country, partner.country]
    agreement = issuer.client.draft_agreement(
        "Measured", countries, terms.terms(of_terms), rules.text(contract)
    )
    issuer.client.act(agreement, "sign")
    until(lambda: _knows(partner, agreement), LIMIT_S, "the draft at the partner")
    partner.client.act(agreement, "sign")
    until(lambda: all(_is_signed(node, agreement) for node in both.both()), LIMIT_S, "both signatures")
    for node in both.both():
        node.client.act(agreement, "start", mode="operation", issuer=issuer.country, partner=partner.country)
    until(lambda: channel(partner)["state"] == "IN_OPERATION", LIMIT_S, "the agreement in operation")
    until(lambda: channel(issuer)["in_line"], LIMIT_S, "the channel in line")
    both.catch_up()
    return agreement


def channel(node: RunningNode) -> dict[str, Any]:
    """The one channel that is measured, as a node sees it."""
    of = [each for each in node.client.channels() if each["issuer"] == "BR"]
    return dict(of[0]) if of else {"state": "", "size": 0, "in_line": False}


def _disclosed(node: RunningNode) -> int:
    return int(channel(node)["size"])


def _require_running(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        raise RuntimeError(f"a process ended with code {process.returncode} before it answered")


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    _require_running(process)
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_signed(node: RunningNode, agreement: str) -> bool:
    return node.client.agreement(agreement)["signed"]


def _knows(node: RunningNode, agreement: str) -> bool:
    return any(each["agreement"] == agreement for each in node.client.agreements())


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
