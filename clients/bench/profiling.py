"""`make profile`: where the processor time of a node goes, part by part, under three loads.

py-spy looks at the running processes a hundred times a second. Each look is counted for the part whose code
is innermost on the stack; what has no Python code of its own (SHA-256, JSON, signatures) counts for its
caller. A part's time for a record is its share of the processor time that the process really used, which
is read from the operating system; `handing over` is between threads and processes. Each load is
driven twice: for the table and for the flame graph.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from clients.bench import reads, usage, writes
from clients.bench.load import Drive, Load, loader
from clients.bench.nodes import Pair, RunningNode, agree, pair
from clients.bench.operators import operators
from clients.bench.run import UNCACHED, UNMEASURED

FOLDER = Path("build/profile")
SECONDS = 6
RATE = 100
MOST_PAGES = 400
PARTS: Mapping[str, Sequence[str]] = {
    "parse": ("/node/records/model.py", "/node/records/identifiers.py", "/stdnum/", "/pydantic/"),
    "credential": ("/node/records/credential.py", "/node/exchange/versions.py"),
    "seal": ("/node/exchange/sealing.py",),
    "contract": ("/contracts/", "/node/agreements/deciding.py", "/node/exchange/outgoing.py"),
    "verify": ("/node/exchange/incoming.py", "/node/exchange/page.py"),
    "log": (
        "/node/ledger/merkle.py",
        "/node/ledger/tiles.py",
        "/node/ledger/note.py",
        "/node/ledger/checkpoint.py",
        "/node/ledger/entry.py",
        "/node/ledger/proof.py",
        "/node/exchange/log_writer.py",
        "/node/service/receipts.py",
    ),
    "SQL": ("/node/store/", "/sqlalchemy/", "/sqlite3/", "/psycopg/"),
    "handing over": (
        "/threading.py",
        "/queue.py",
        "/concurrent/futures/",
        "/multiprocessing/",
        "/node/service/workshop.py",
        "Alone.heard",
    ),
    "HTTP": (
        "/node/api/",
        "/node/exchange/requests.py",
        "/node/exchange/peers.py",
        "/fastapi/",
        "/starlette/",
        "/uvicorn/",
        "/httpx/",
        "/httpcore/",
        "/h11/",
        "/asyncio/",
        "/anyio/",
    ),
}
REST = "the rest"
OWN = "/node/"
LENT = ("/node/ledger/canonical.py", "/node/ledger/encoding.py", "/node/ledger/moment.py", "/node/errors.py")
"""Code of ours that works for whichever part called it."""
REFUSED = "py-spy may not look at the node; run it as root, or allow it: sysctl kernel.yama.ptrace_scope=0"


@dataclass(frozen=True, slots=True)
class Profiled:
    """Looks at one process under one load, and the processor time that it used for each record."""

    name: str
    looks: Mapping[str, int]
    us_per_record: float

    def cell(self, part: str) -> str:
        """A part's microseconds for a record, and its share."""
        total = sum(self.looks.values())
        share = self.looks.get(part, 0) / total if total else 0.0
        return f"{share * self.us_per_record:,.0f} us {share:4.0%}"


def main() -> int:
    """Profile, print the table, keep the flame graphs; 1 when that could not be done."""
    console = Console()
    os.environ.pop(UNCACHED, None)
    try:
        with TemporaryDirectory(prefix="aeo-profile-") as folder:
            found = list(_profiles(Path(folder), console))
    except UNMEASURED as error:
        console.print(f"Could not profile: {error}", style="red", markup=False)
        return 1
    console.print(table(found))
    console.print(f"Flame graphs: {FOLDER}/*.svg")
    return 0


def table(found: Sequence[Profiled]) -> Table:
    """A row for each part, a column for each process under its load."""
    shown = Table(title="Processor time for a record, by part", box=SIMPLE)
    shown.add_column("part")
    for each in found:
        shown.add_column(each.name, justify="right")
    for part in (*PARTS, REST):
        shown.add_row(part, *(each.cell(part) for each in found))
    shown.add_row("all", *(f"{each.us_per_record:,.0f} us 100%" for each in found))
    return shown


def part_of(stack: str) -> str:
    """The part whose code is innermost on a stack, outermost frame first, as py-spy writes it.

    Code of ours that no part names is the rest, whatever framework called it.
    """
    for frame in reversed(stack.split(";")):
        for part, places in PARTS.items():
            if any(place in frame for place in places):
                return part
        if OWN in frame and not any(place in frame for place in LENT):
            break
    return REST


def counted(lines: Iterable[str]) -> Counter[str]:
    """Looks by part, out of py-spy's raw lines: a stack and how often it was seen."""
    looks: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        looks[part_of(stack)] += int(count)
    return looks


def _profiles(folder: Path, console: Console) -> Iterator[Profiled]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        drive, both = stack.enter_context(loader()), stack.enter_context(pair(folder))
        agree(both)
        console.print("Import, with a partner that takes it over")
        numbers = iter(range(0, 90_000_000, MOST_PAGES * writes.PAGE))
        _importing(
            drive, both, next(numbers)
        )  # begins the processes of both workshops, which is done only once
        both.catch_up()
        nodes = {"import_issuer": both.issuer, "import_partner": both.partner}
        yield from _under(nodes, lambda: _importing(drive, both, next(numbers)))
        both.catch_up()
        console.print("Single changes by 64 clients")
        yield from _under({"change_issuer": both.issuer}, lambda: _changing(drive, both, next(numbers)))
        both.catch_up()
        console.print("Lookups in the mirror")
        tins = [str(each["tin"]) for each in operators(0, writes.PAGE)]
        yield from _under({"lookup_partner": both.partner}, lambda: _asking(drive, both, tins))


def _under(nodes: Mapping[str, RunningNode], work: Callable[[], int]) -> Iterator[Profiled]:
    """Profile these nodes while the work is done, for the table and then for the flame graphs."""
    before = {name: usage.of_tree(node.pid).cpu_s for name, node in nodes.items()}
    raw, done = _watched(nodes, "raw", "txt", work)
    used = {name: usage.of_tree(node.pid).cpu_s - before[name] for name, node in nodes.items()}
    _watched(nodes, "flamegraph", "svg", work)
    for name, file in raw.items():
        looks = counted(file.read_text(encoding="utf-8").splitlines())
        yield Profiled(name.replace("_", ", "), looks, 1e6 * used[name] / done)


def _watched(
    nodes: Mapping[str, RunningNode], form: str, ending: str, work: Callable[[], int]
) -> tuple[dict[str, Path], int]:
    files = {name: FOLDER / f"{name}.{ending}" for name in nodes}
    watching = [_spy(node, form, files[name]) for name, node in nodes.items()]
    done = work()
    for process in watching:
        said, _ = process.communicate(timeout=60)
        if process.returncode:
            raise RuntimeError(f"{REFUSED}\n{said.decode(errors='replace')[-500:]}")
    return files, done


def _spy(node: RunningNode, form: str, file: Path) -> subprocess.Popen[bytes]:
    told = {"--pid": node.pid, "--format": form, "--output": file, "--duration": SECONDS, "--rate": RATE}
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--subprocesses", "--full-filenames"]
    command += [str(part) for pair_ in told.items() for part in pair_]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _importing(drive: Drive, both: Pair, start: int) -> int:
    """Import pages, one step after the other, until the time is over."""
    issuer, until, done = both.issuer, time.monotonic() + SECONDS + 1, 0
    while time.monotonic() < until:
        records = operators(start + done, 2 * writes.PAGE)
        drive(writes.pages(issuer.port, issuer.token, records)).require(200)
        done += len(records)
    return done


def _changing(drive: Drive, both: Pair, start: int) -> int:
    return len(drive(writes.singles(both.issuer, start, SECONDS + 1.0)).require(200).waits_ms)


def _asking(drive: Drive, both: Pair, tins: Sequence[str]) -> int:
    asked = reads.asking(both.partner, tins)
    load = Load(asked.port, asked.requests, asked.clients, SECONDS + 1.0, repeat=True)
    return len(drive(load).require(200).waits_ms)


if __name__ == "__main__":
    sys.exit(main())
