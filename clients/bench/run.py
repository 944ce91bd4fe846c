"""`aeo bench`: measure everything once, print the table, add it to `build/bench.json`, draw it.

Every figure comes from this run, on this machine, against real node processes. A figure that misses its
goal is reported like any other; the exit code says only whether everything could be measured.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from subprocess import SubprocessError
from tempfile import TemporaryDirectory
from threading import Event, Thread

import httpx
from rich.console import Console

from clients.bench import (
    agreements,
    audits,
    changes,
    decisions,
    erasures,
    floors,
    postgres,
    proofs,
    reads,
    report,
    sizes,
    writes,
)
from clients.bench.figures import Figure
from clients.bench.load import Drive, loader
from clients.bench.machine import machine, versions
from clients.bench.nodes import Pair, agree, empty_endpoint, pair
from clients.bench.operators import operators
from node.errors import Refusal

COMMAND = "make bench"
DATABASE = "node.sqlite"
TINS = 4_000
CHANGES = 400
ERASED = 30
NO_SERVER = "No PostgreSQL here (Debian's package postgresql): its rows are left out"
UNMEASURED = (RuntimeError, Refusal, OSError, SubprocessError, httpx.HTTPError, ExceptionGroup)
WIDTH = 160
SAY_S = 10.0
UNCACHED = "PYTHONDONTWRITEBYTECODE"
"""Not handed on: a node that is started again finds its compiled code, as an installed one does."""


def main() -> int:
    """Measure, print, write; 1 when something could not be measured."""
    return told(COMMAND, figures)


def told(command: str, measure: Callable[[Path, Console], Iterator[Figure]], path: Path = report.PATH) -> int:
    """Run a measurement in a folder of its own: progress, table, report and plot.

    The folder is where the report is, on a disk and not in memory. When something cannot be measured, what
    was measured before it is told all the same.
    """
    console, begun, found, code = Console(), time.monotonic(), list[Figure](), 0
    console.width = max(console.width, WIDTH)
    os.environ.pop(UNCACHED, None)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        report.read(path)
        with TemporaryDirectory(prefix="measured-", dir=path.parent) as folder, _pulse(console, begun):
            for figure in measure(Path(folder).resolve(), console):
                since = time.monotonic() - begun
                console.print(f"{since:5.0f} s  {figure.name} {figure.percentile(50):,.4g}")
                found.append(figure)
    except (*UNMEASURED, KeyboardInterrupt) as error:
        console.print(f"Could not measure: {error!r}", style="red", markup=False)
        code = 1
    if found:
        at = {"at": started, "took_s": round(time.monotonic() - begun)}
        _tell(report.write(path, command, at, machine(), versions(), found), path, found, console)
    return code


@contextmanager
def _pulse(console: Console, begun: float) -> Iterator[None]:
    """Say now and then that the run goes on: until a figure is there it may take minutes."""
    over = Event()

    def say() -> None:
        while not over.wait(SAY_S):
            console.print(f"{time.monotonic() - begun:5.0f} s")

    saying = Thread(target=say, daemon=True)
    saying.start()
    try:
        yield
    finally:
        over.set()
        saying.join()


def _tell(written: report.Report, path: Path, found: list[Figure], console: Console) -> None:
    console.print(report.table(found))
    console.print(f"Written: {path}")
    if find_spec("matplotlib") is None:
        console.print("No plot: matplotlib, one of the tools for developers, is not installed")
        return
    from clients.bench import plot

    drawn = path.with_suffix(".svg")
    plot.draw(written["results"], drawn)
    console.print(f"Drawn: {drawn}")


def figures(folder: Path, console: Console) -> Iterator[Figure]:
    """Every figure in the order in which the nodes fill."""
    with ExitStack() as stack:
        server = _server(stack, console)
        console.print("Starting the nodes")
        pairs = {store: stack.enter_context(made) for store, made in _pairs(folder, server)}
        drive, empty_port = stack.enter_context(loader()), stack.enter_context(empty_endpoint())
        commits = _commits(stack, folder, server)
        bare = changes.Bare(empty_port, commits["sqlite"])
        console.print("Measuring in turn, without an agreement")
        yield floors.salts()
        yield decisions.decisions()
        yield from _alone(drive, pairs, commits, empty_port)
        console.print("Signing the agreements")
        for each in pairs.values():
            agree(each)
        yield from _shared(drive, pairs, empty_port, bare)


def _server(stack: ExitStack, console: Console) -> postgres.Server | None:
    programs = postgres.folder_of_programs()
    if programs is None or find_spec("psycopg") is None:
        console.print(NO_SERVER)
        return None
    return stack.enter_context(postgres.server(programs))


def _pairs(
    folder: Path, server: postgres.Server | None
) -> Iterator[tuple[str, AbstractContextManager[Pair]]]:
    """A pair of nodes for each store that is compared."""
    yield "", pair(folder / "sqlite")
    for processes, store in enumerate(("postgresql", "postgresql_2") if server else (), start=1):
        assert server is not None
        yield store, pair(folder / store, (server.create(), server.create()), processes)


def _commits(stack: ExitStack, folder: Path, server: postgres.Server | None) -> dict[str, floors.Act]:
    size = writes.payload_bytes(0)
    commits = {"sqlite": stack.enter_context(floors.sqlite_commit(folder, size))}
    if server is not None:
        commits["postgresql"] = stack.enter_context(floors.postgresql_commit(server.create(), size))
    return commits


def _alone(
    drive: Drive, pairs: Mapping[str, Pair], commits: Mapping[str, floors.Act], empty_port: int
) -> Iterator[Figure]:
    """What is measured without an agreement."""
    issuers = {store: each.issuer for store, each in pairs.items()}
    signatures = {"es256_signatures_per_s": floors.signatures()}
    yield from writes.imports(drive, issuers, signatures)
    bare = {f"{store}_commits_per_s": floors.rate(commit) for store, commit in commits.items()}
    yield from writes.single_changes(drive, issuers, {**bare, **signatures}, empty_port)


def _shared(drive: Drive, pairs: Mapping[str, Pair], empty_port: int, bare: changes.Bare) -> Iterator[Figure]:
    """What is measured with the agreement in operation."""
    tins = [str(each["tin"]) for each in operators(writes.IMPORTED_FROM, TINS)]
    yield from changes.change_to_answer(pairs, tins[:CHANGES], bare)
    issuer, partner = pairs[""].both()
    yield proofs.witnessed_receipt(issuer, tins[CHANGES:])
    pairs[""].catch_up()
    yield from proofs.evidence(pairs[""], tins[CHANGES])
    files = {"issuer": issuer.home / DATABASE, "partner": partner.home / DATABASE}
    before = {where: sizes.file_bytes(file) for where, file in files.items()}
    signed = floors.signed_and_verified()
    yield from writes.to_mirror(drive, pairs, signed)
    for where, file in files.items():
        yield sizes.growth(before[where], sizes.file_bytes(file), writes.MIRRORED, where)
    yield sizes.of_version(files["issuer"])
    yield writes.shared_changes(drive, pairs[""], signed)
    kept = sizes.file_bytes(files["partner"]), sizes.reads_kept(files["partner"])
    yield from reads.lookups(drive, partner, tins, empty_port)
    yield sizes.of_reads(partner.client, files["partner"], kept)
    yield from reads.lists(drive, partner, tins, empty_port)
    yield erasures.to_last_acknowledgement(pairs[""], tins[-ERASED:])
    yield from agreements.under_many(issuer.home.parent / "ten")
    yield from audits.check(issuer, 4_000_000, signed)
    yield from audits.reread(issuer, issuer.home.parent)
    for name, count in (("10k", 10_000), ("million", 1_000_000)):
        yield proofs.proof_bytes(name, count)
