"""Real nodes for tests: `python -m node` processes, each in a folder and on a port of its own.

Nothing here stands in for a part of a node. Every wait is for a condition and has a bound; what a node
printed is kept in its home folder and shown when it does not start.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
from stdnum.br import cnpj

from clients.demo import waiting
from clients.demo.waiting import until
from clients.sdk import importing
from contracts import rules, terms
from node import assembly
from node.exchange import card
from node.ledger import tiles
from node.ledger.checkpoint import Checkpoint, open_checkpoint
from node.ledger.note import Verifier
from node.service import check

ROOT = Path(__file__).resolve().parents[1]
LISTS = ROOT / "clients" / "demo" / "data"
FAST = {
    "AEO_WAIT_LIMIT_S": "2",
    "AEO_RETRY_S": "0.2",
    "AEO_AUDIT_EVERY_S": "1",
    "AEO_RATE_PER_MINUTE": "10000000",
}
QUICK = {"AEO_PAGE_LIMIT": "80", "AEO_WAIT_LIMIT_S": "0.5"}
START_LIMIT_S = 30.0
END_LIMIT_S = 40.0
"""Longer than a node gives its own processes to end."""
GIVEN: set[int] = set()
PRINTED = 3_000
"""Characters of what a node printed that a failure shows."""
DATABASE = "node.sqlite"


@dataclass
class Node:
    """One administration's node: its home folder, its process when it runs, and a client to it."""

    country: str
    home: Path
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        """Open the administrator's client."""
        self.http = self.client(self._token())

    def reconnect(self) -> None:
        """Begin with new connections: the process behind the old ones may be gone."""
        self.http.close()
        self.http = self.client(self._token())

    def _token(self) -> str:
        return (self.home / "administrator.token").read_text(encoding="utf-8").strip()

    @property
    def name(self) -> str:
        """The node's schema-less URL."""
        return name_of(self.country)

    @property
    def url(self) -> str:
        """Where it is reached, as on its card."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, token: str | None) -> httpx.Client:
        """A client with a token, or with none."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    def start(self, *options: str) -> None:
        """Start the process; `await_answer` tells when it serves."""
        with (self.home / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node", "serve", "--home", str(self.home), *options],
                stdout=log,
                stderr=log,
                env={**os.environ, **FAST, **self.environment},
                cwd=ROOT,
            )

    def await_answer(self) -> None:
        """Wait until the node serves."""
        until(self._serves, START_LIMIT_S, f"the start of {self.name}")

    def run(self) -> None:
        """Start and wait until the node serves."""
        self.start()
        self.await_answer()

    def kill(self) -> None:
        """Kill the process at once, as a loss of power would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask the process to stop."""
        self._end(signal.SIGTERM)

    def close(self) -> None:
        """End everything this object holds."""
        if self.process is not None:
            self.kill()
        self.http.close()

    def log(self) -> str:
        """What the process printed; nothing, if it was never started."""
        printed = self.home / "node.log"
        return printed.read_text(encoding="utf-8") if printed.exists() else ""

    def get(self, path: str, **query: Any) -> Any:
        """The JSON answer at a path; fails on a refusal."""
        return told(self.http.get(path, params=query or None))

    def post(self, path: str, body: object, **headers: str) -> Any:
        """The JSON answer to a body; fails on a refusal."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return told(self.http.post(path, json=body, headers=named))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m node ...` on this node's home folder."""
        return subprocess.run(
            [sys.executable, "-m", "node", *arguments, "--home", str(self.home)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=ROOT,
        )

    def fsck(self) -> list[dict[str, Any]]:
        """What `fsck` finds; its exit code must say the same."""
        done = self.command("fsck", "--json")
        assert done.stdout, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        assert done.returncode == (1 if found else 0)
        return found

    def findings(self) -> list[check.Finding]:
        """What the same check finds, without a process of its own; for checking again and again."""
        parts = assembly.parts_of(self.home)
        try:
            return list(check.check(parts))
        finally:
            parts.database.close()

    def answer(self, tin: str) -> Any:
        """What the node answers about a TIN."""
        return self.get(f"/v1/operators/{tin}")

    def channel(self, direction: str) -> Any:
        """The one channel `in` or `out` of this node; empty when there is none yet."""
        found = [each for each in self.get("/v1/channels")["channels"] if each["direction"] == direction]
        return found[0] if found else {}

    def incidents(self, kind: str) -> list[Any]:
        """The open incidents of one kind."""
        found = self.get("/v1/incidents", open_only=True)["incidents"]
        return [each for each in found if each["kind"] == kind]

    def holds(self, text: str) -> bool:
        """Whether a text stands anywhere in the files of this node."""
        wanted = text.encode()
        return any(wanted in path.read_bytes() for path in self.home.rglob("*") if path.is_file())

    @contextmanager
    def store(self) -> Iterator[sqlite3.Connection]:
        """The database behind the node's back; committed at the end."""
        connection = sqlite3.connect(self.home / DATABASE, timeout=10)
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def _end(self, how: int) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(END_LIMIT_S)
        self.process = None

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()[-2000:]
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False


@dataclass
class Pair:
    """Brazil and Uruguay with their signed arrangement."""

    br: Node
    uy: Node
    agreement: str

    def both(self) -> tuple[Node, Node]:
        """Both nodes."""
        return self.br, self.uy

    def await_copy(self, limit_s: float = 20.0) -> None:
        """Wait until each holds everything that the other has disclosed."""
        until(lambda: _is_copied(self.br, self.uy), limit_s, "Uruguay's copy of Brazil's channel")
        until(lambda: _is_copied(self.uy, self.br), limit_s, "Brazil's copy of Uruguay's channel")


def _is_copied(issuer: Node, partner: Node) -> bool:
    out, copy = issuer.channel("out"), partner.channel("in")
    return bool(out and copy and out["in_line"] and out["size"] == copy["size"])


def name_of(country: str) -> str:
    """The name of a country's node in tests."""
    return f"aeo.{country.lower()}.example"


def make(
    countries: tuple[str, ...],
    folder: Path,
    databases: Mapping[str, str] = MappingProxyType({}),
    **environment: str,
) -> list[Node]:
    """Make one new node for each country, side by side, on SQLite unless a URL is given; none runs yet."""
    places = {country: (folder / country.lower(), free_port()) for country in countries}
    making = [_init(country, home, port, databases.get(country)) for country, (home, port) in places.items()]
    assert [process.wait(START_LIMIT_S) for process in making] == [0] * len(making)
    return [Node(country, home, port, environment) for country, (home, port) in places.items()]


def free_port() -> int:
    """A port that nobody listens on now, and that nobody else in this test run is given."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = (port for port in iter(waiting.free_port, None) if port % workers == worker)
    port = next(port for port in ports if port not in GIVEN)
    GIVEN.add(port)  # also while whoever has it is stopped
    return port


def run_all(nodes: tuple[Node, ...]) -> None:
    """Start nodes side by side and wait until all of them serve."""
    for node in nodes:
        node.start()
    for node in nodes:
        node.await_answer()


def peer(one: Node, other: Node) -> None:
    """Let two running nodes pin each other's cards."""
    cards = {node.country: node.get("/v1/card") for node in (one, other)}
    for node, its in ((one, cards[other.country]), (other, cards[one.country])):
        node.post("/v1/peers", {"card": its["card"], "fingerprint": its["fingerprint"]})


def agree(br: Node, uy: Node, under: str = "br_uy", contract: str = "mra_v1", **changed_terms: Any) -> str:
    """Draft, sign and start an arrangement in both directions; gives its id."""
    wanted = {**terms.terms(under), **changed_terms}
    draft = {"title": "Brazil-Uruguay", "countries": ["BR", "UY"], "terms": wanted}
    agreement = str(br.post("/v1/agreements", draft | {"contract": rules.text(contract)})["agreement"])
    place = f"/v1/agreements/{agreement}"
    until(lambda: uy.http.get(place).is_success, what="the draft at the partner")
    for node in (br, uy):
        node.post(f"{place}/acts", {"act": "sign"})
    for node in (br, uy):
        until(lambda node=node: node.get(place)["signed"], what="the signatures in both ledgers")
    for issuer, partner in (("BR", "UY"), ("UY", "BR")):
        start = {"act": "start", "mode": "operation", "issuer": issuer, "partner": partner}
        for node in (br, uy):
            node.post(f"{place}/acts", start)
    for node in (br, uy):
        until(lambda node=node: _operates(node, place), what="the directions in operation")
    return agreement


@contextmanager
def running(*nodes: Node) -> Iterator[None]:
    """Run nodes side by side, and end them whatever happens; a failure shows what they printed last."""
    try:
        run_all(nodes)
        yield
    except BaseException as error:
        for node in nodes:
            error.add_note(f"{node.name} printed last:\n{node.log()[-PRINTED:]}")
        raise
    finally:
        for node in nodes:
            node.close()


@contextmanager
def pair_in(folder: Path, **changed_terms: Any) -> Iterator[Pair]:
    """A running pair in a folder, with its arrangement in operation both ways."""
    br, uy = make(("BR", "UY"), folder)
    with running(br, uy):
        peer(br, uy)
        yield Pair(br, uy, agree(br, uy, **changed_terms))


def copy_of(pair: Pair, folder: Path, **environment: str) -> Pair:
    """A copy of a stopped pair in another folder, on the same ports (its cards name them)."""
    nodes = []
    for node in pair.both():
        home = folder / node.home.name
        shutil.copytree(node.home, home)
        nodes.append(Node(node.country, home, node.port, environment))
    return Pair(nodes[0], nodes[1], pair.agreement)


def import_list(node: Node, file: str, profile: str) -> Any:
    """Import one of the lists that come with the demonstration; gives the counts."""
    rows = list(importing.read_import(LISTS / file, importing.load_profile(profile)))
    operators = [row.operator for row in rows if row.operator]
    return node.post("/v1/operators/import", {"operators": operators})["counts"]


def told(answer: httpx.Response) -> Any:
    """The JSON of an answer; fails on a refusal, showing it."""
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.text}"
    return answer.json()


def brazilian(number: int, **changed: Any) -> dict[str, Any]:
    """An invented Brazilian operator with a well-formed CNPJ of its own; secure, with consent."""
    root = f"{98_000_000 + number:08d}0001"
    digits = root + cnpj.calc_check_digits(root)
    operator = {
        "country": "BR",
        "issuing_authority": {"code": "RFB", "name": "Receita Federal do Brasil"},
        "tin": f"BR{digits}",
        "identifiers": [{"scheme": "CNPJ", "value": digits}],
        "authorisation_number": f"ADE {number}/2025",
        "legal_name": f"Empresa Inventada {number} Ltda",
        "address": {"line": f"Rua {number}", "city": "Santos", "country": "BR"},
        "programme": "BR-OEA",
        "national_types": ["OEA-S"],
        "scope": ["SECURITY"],
        "roles": ["exporter"],
        "status": "ACTIVE",
        "status_since": "2025-01-01T00:00:00.000Z",
        "authorised_on": "2025-01-01",
        "mra_consent": {"given": True, "scope": "GENERAL"},
        "effective_at": "2025-01-01T00:00:00.000Z",
    }
    return {**operator, **changed}


# The log over HTTP, checked with the pure code alone.


def log_verifiers(node: Node) -> list[Verifier]:
    """The keys that a node's ledger ever had, newest first, read from its card."""
    known = card.read(node.get("/v1/card")["card"]).verifiers(origin_of(node), ever=True)
    return [each for each in known if each.name == origin_of(node)]


def origin_of(node: Node) -> str:
    """The origin of a node's ledger."""
    return f"{node.name}/ledger"


def checkpoint_of(node: Node) -> Checkpoint:
    """The newest checkpoint of a node's ledger, its signature checked."""
    answer = node.http.get("/log/checkpoint")
    assert answer.status_code == 200
    return open_checkpoint(answer.text, origin_of(node), log_verifiers(node))


def bundles(size: int) -> list[tuple[int, int]]:
    """The (index, width) of every entry bundle of a log of this size."""
    starts = range(0, size, tiles.TILE_WIDTH)
    return [(start // tiles.TILE_WIDTH, min(tiles.TILE_WIDTH, size - start)) for start in starts]


def entries_of(node: Node, size: int) -> list[bytes]:
    """The entries of a ledger, read as anyone may read them."""
    found: list[bytes] = []
    for index, width in bundles(size):
        answer = node.http.get("/log/" + tiles.bundle_path(index, width))
        assert answer.status_code == 200, answer.text
        found += tiles.decode_bundle(answer.content)
    return found


def tile_reader(node: Node, size: int) -> tiles.ReadTile:
    """A reader of a ledger's tiles over HTTP, for the pure code."""
    known: dict[tuple[int, int], bytes] = {}

    def read(level: int, index: int) -> bytes:
        if (level, index) not in known:
            width = min(tiles.TILE_WIDTH, (size >> (8 * level)) - index * tiles.TILE_WIDTH)
            answer = node.http.get("/log/" + tiles.Tile(level, index, width).path())
            assert answer.status_code == 200, answer.text
            known[level, index] = answer.content
        return known[level, index]

    return read


def _init(country: str, home: Path, port: int, database: str | None) -> subprocess.Popen[bytes]:
    arguments = ["--home", str(home), "--country", country, "--name", name_of(country)]
    arguments += ["--address", f"http://127.0.0.1:{port}", "--port", str(port)]
    arguments += ["--database", database] if database else []
    command = [sys.executable, "-m", "node", "init", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)


def _operates(node: Node, place: str) -> bool:
    return all(each["state"] == "IN_OPERATION" for each in node.get(place)["directions"])
