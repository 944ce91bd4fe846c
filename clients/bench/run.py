"""`aeo bench`: measure everything once, print the table, write `build/bench.json`.

Every figure comes from this run, on this machine, against real node processes. A figure that misses its
goal is reported like any other; the exit code says only whether everything could be measured.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import SubprocessError
from tempfile import TemporaryDirectory

import httpx
from rich.console import Console

from clients.bench import audits, changes, floors, reads, writes
from clients.bench.figures import Figure, Goal, table, write
from clients.bench.machine import machine, versions
from clients.bench.nodes import RunningNode, agree, caught_up, two_nodes
from clients.bench.operators import operators

REPORT = Path("build/bench.json")
IMPORT_PAGES = 8
CHANGES = 300
ALONE = "no agreement"
SHARED = "one agreement in operation, the partner replicating on the same processors"
UNMEASURED = (RuntimeError, OSError, SubprocessError, httpx.HTTPError)


def main() -> int:
    """Measure, print, write; 1 when something could not be measured."""
    console, begun, found = Console(), time.monotonic(), list[Figure]()
    try:
        with TemporaryDirectory(prefix="aeo-bench-") as folder:
            for figure in _figures(Path(folder), console):
                console.print(
                    f"{time.monotonic() - begun:5.0f} s  {figure.name} {figure.percentile(50):,.4g}"
                )
                found.append(figure)
    except UNMEASURED as error:
        console.print(f"Could not measure: {error!r}", style="red", markup=False)
        return 1
    write(REPORT, machine(), versions(), found)
    console.print(table(found))
    console.print(f"Written: {REPORT}")
    return 0


def _figures(folder: Path, console: Console) -> Iterator[Figure]:
    """Every figure in the order in which the nodes fill."""
    console.print("Measuring the machine")
    yield floors.commits(folder, writes.payload_bytes(0))
    yield floors.signatures()
    yield floors.salts()
    console.print("Starting two nodes")
    with two_nodes(folder) as (issuer, partner):
        yield writes.imported(issuer, 0, IMPORT_PAGES, "import_records_per_s", Goal(1500), ALONE)
        yield writes.single_changes(issuer, 100_000, "single_changes_per_s", Goal(500), ALONE)
        console.print("Signing the agreement")
        agree(issuer, partner)
        caught_up(issuer, partner)
        yield from _shared(issuer, partner)


def _shared(issuer: RunningNode, partner: RunningNode) -> Iterator[Figure]:
    """What is measured with the agreement in operation."""
    tins = [str(each["tin"]) for each in operators(0, IMPORT_PAGES * writes.PAGE)]
    yield changes.change_to_answer(issuer, partner, tins[:CHANGES])
    yield writes.imported(issuer, 200_000, IMPORT_PAGES, "import_shared_records_per_s", None, SHARED)
    yield writes.single_changes(issuer, 300_000, "single_changes_shared_per_s", None, SHARED)
    caught_up(issuer, partner)
    yield from reads.lookups(partner, tins)
    yield reads.lists(partner, tins)
    yield from audits.check(issuer, 400_000)
