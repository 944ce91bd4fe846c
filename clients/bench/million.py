"""`make bench-million`: how a node and its partner's mirror bear a million records, beside ten thousand.

Two pairs of nodes on SQLite, each with a master data arrangement in operation. The small pair holds a
hundredth of the records and stays so: what must not grow is measured at both in turn, in the same run. The
large pair is filled to a hundredth, a tenth and all; after each step it is read what a record has taken.
The partner reaches the issuer over a counted wire. With fewer records than a million the figures have the
number in their names, no goals, and a report of their own, `build/bench-NUMBER.json`: a trial is never taken
for the real run.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from shutil import disk_usage
from statistics import median

from rich.console import Console

from clients.bench import floors, reads, report, run, sizes, usage
from clients.bench.figures import Conditions, Figure, Goal, Measure, in_turn
from clients.bench.load import Drive, loader
from clients.bench.nodes import Pair, RunningNode, agree, pair
from clients.bench.traders import PROFILE, trader, traders, write_list
from clients.bench.wire import Wire
from clients.bench.writes import DURABLE, pages
from clients.demo.waiting import free_port

COMMAND = "make bench-million"
MILLION = 1_000_000
SHARES = (100, 10, 1)
FEWEST = 1_000
LIST = "list.csv"
APPENDED = 1_000
APPEND_ROUNDS = 7
LOOKUP_ROUNDS = 9
STARTS = 3
FLOOR_RUNS = 3
SHORTEST_LIMIT_S = 60.0
SLOWEST_PER_S = 100
ASKED = 5_000
SAY_S = 5.0
MEMORY_MB = 400
DISK_BYTES = 30_000
"""More than a record takes in both nodes, with the list and the write-ahead logs."""
AGREEMENT = ("master_data_v1", "br_uy_master_data")
NAMES = {MILLION: "million", MILLION // 10: "100k", MILLION // 100: "10k"}


@dataclass(frozen=True, slots=True)
class Size:
    """How many records the large pair gets; a million, or fewer to try it."""

    records: int

    @property
    def small(self) -> int:
        """How many the small pair holds."""
        return self.records // SHARES[0]

    def name(self, count: int = 0) -> str:
        """A number of records in the name of a figure; all of them unless another is given."""
        return NAMES.get(count or self.records, str(count or self.records))

    def goal(self, p50: float) -> Goal | None:
        """A goal, which is for a million."""
        return Goal(p50) if self.records == MILLION else None

    @property
    def limit_s(self) -> float:
        """No command over all of them takes longer, on however slow a machine: else the run ends."""
        return SHORTEST_LIMIT_S + self.records / SLOWEST_PER_S

    @property
    def floor(self) -> str:
        """The name of the bare cost of the signatures, measured beside what has this size."""
        return f"es256_signed_and_verified_{self.name()}_per_s"

    def growth(self, name: str) -> str:
        """The name of a growth from the small to the large number."""
        return name if self.records == MILLION else f"{name}_{self.name()}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a pair has used so far."""

    records: int
    at_s: float
    import_cpu_s: float
    issuer: usage.Used
    partner: usage.Used
    issuer_bytes: int
    partner_bytes: int
    wire_bytes: int


@dataclass(slots=True)
class Signed:
    """The floor: signatures made and verified, one for each record; before and after what it is under."""

    size: Size
    runs: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Some more runs."""
        bare = floors.signed_and_verified()
        self.runs += [bare(at) for at in range(FLOOR_RUNS)]

    def under(self, per_s: float) -> dict[str, float]:
        """What so many records a second are of the signatures before and after, as the ratios of a figure."""
        return {self.size.floor: per_s / median(self.runs[-2 * FLOOR_RUNS :])}

    def figure(self) -> Figure:
        """All runs."""
        told = Conditions("cryptography alone, made and verified", "2,048 bytes each", "one thread")
        return Figure(self.size.floor, "signatures/s", self.runs, told, floor=True)


def main() -> int:
    """Measure with the number of records that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m clients.bench.million", description=__doc__)
    parser.add_argument("--records", type=int, default=MILLION, help="fewer than a million, to try it")
    size = Size(parser.parse_args().records)
    if not FEWEST <= size.records <= 10 * MILLION or not usage.PROC.is_dir():
        print("It takes 1,000 to 10,000,000 records, and Linux", file=sys.stderr)
        return 2
    free = disk_usage(Path()).free
    if free < (needed := size.records * DISK_BYTES):
        print(f"{size.records} records take {needed / 1e9:.0f} GB, and {free / 1e9:.0f} are free here")
        return 2
    if size.records == MILLION:
        return run.told(COMMAND, lambda folder, console: figures(folder, console, size))
    trial = report.PATH.with_name(f"bench-{size.records}.json")
    command = f"{COMMAND} RECORDS={size.records}"
    return run.told(command, lambda folder, console: figures(folder, console, size), trial)


def figures(folder: Path, console: Console, size: Size) -> Iterator[Figure]:
    """Fill, read, compare, restart, check."""
    with ExitStack() as stack:
        port = free_port()
        wire = stack.enter_context(Wire(port))
        small = stack.enter_context(pair(folder / "small"))
        large = stack.enter_context(
            pair(folder / "large", address=f"http://127.0.0.1:{wire.port}", port=port)
        )
        drive, signed = stack.enter_context(loader()), Signed(size)
        for each in (small, large):
            agree(each, *AGREEMENT)
        console.print(f"Importing {size.small:,} traders, then {size.records:,}")
        _fill(small, folder, 0, size.small, console)
        yield from _filled(large, folder, wire, signed, console)
        pairs = {"small": small, "large": large}
        console.print("Appending and looking up at both, in turn")
        yield from _growth(drive, pairs, size)
        yield from _memory(large, size)
        console.print("Starting the issuers again, in turn")
        yield _starts(pairs, size)
        for each in pairs.values():
            for node in each.both():
                node.stop()
        console.print("Checking with `aeo fsck`")
        yield from _audited(large, signed)
        yield signed.figure()


def _filled(large: Pair, folder: Path, wire: Wire, signed: Signed, console: Console) -> Iterator[Figure]:
    """Fill the large pair in steps; what a record took in each, and all of them together."""
    imports, size = list[usage.Ran](), signed.size
    signed.measure()
    readings = [_read(large, wire, 0, 0.0)]
    for share in SHARES:
        until = size.records // share
        imports.append(_fill(large, folder, readings[-1].records, until, console))
        readings.append(_read(large, wire, until, imports[-1].used.cpu_s))
        yield from _of_step(readings[-2], readings[-1], size)
    signed.measure()
    took_s = sum(ran.took_s for ran in imports)
    told = f"`aeo operator import` of {size.records} traders in three lists, the mirror filling meanwhile"
    yield _rate(f"import_{size.name()}_per_s", size.records / took_s, told, signed)
    told = f"{size.records} traders until the last is verified and stored at the partner"
    whole_s = readings[-1].at_s - readings[0].at_s
    yield _rate(f"import_to_mirror_{size.name()}_per_s", size.records / whole_s, told, signed)
    peak = max(ran.used.peak_mb for ran in imports)
    yield _peak(f"import_peak_memory_{size.name()}_mb", peak, "the process of `aeo operator import`", size)
    yield from _lengths(large.issuer, size)
    write_list(folder / LIST, 0, size.small)
    again = _imported(large.issuer, folder / LIST, "unchanged", size.small)
    told = f"the list of the first {size.small} traders once more, among {size.records}; nothing changes"
    yield _rate(f"import_again_{size.name()}_per_s", size.small / again.took_s, told, signed)


def _lengths(issuer: RunningNode, size: Size) -> Iterator[Figure]:
    """The bytes of a record by the lengths in the tables: its own, and for each partner."""
    parts = sizes.parts_of_version(issuer.home / run.DATABASE)
    for name, wanted in (("own", False), ("partner", True)):
        of = {part: length for part, length in parts.items() if ("channel" in part) == wanted}
        told = ", ".join(f"{part} {length:,.0f}" for part, length in of.items())
        yield Figure(
            f"{name}_bytes_per_record_{size.name()}",
            "bytes",
            [sum(of.values())],
            _conditions(f"lengths in the issuer's tables: {told}"),
            better="lower",
        )


def _rate(name: str, per_s: float, told: str, signed: Signed) -> Figure:
    return Figure(name, "records/s", [per_s], _conditions(told), ratios=signed.under(per_s))


def _of_step(before: Reading, after: Reading, size: Size) -> Iterator[Figure]:
    """What each record of a step took: bytes of each file, bytes on the wire, processor time."""
    records = after.records - before.records
    at = size.name(after.records)
    took = {
        ("issuer_disk_bytes_per_record", "bytes"): after.issuer_bytes - before.issuer_bytes,
        ("partner_disk_bytes_per_record", "bytes"): after.partner_bytes - before.partner_bytes,
        ("wire_bytes_per_record", "bytes"): after.wire_bytes - before.wire_bytes,
        ("issuer_cpu_us_per_record", "us"): 1e6 * (after.issuer.cpu_s - before.issuer.cpu_s),
        ("partner_cpu_us_per_record", "us"): 1e6 * (after.partner.cpu_s - before.partner.cpu_s),
        ("import_cpu_us_per_record", "us"): 1e6 * after.import_cpu_s,
    }
    told = f"traders {before.records} to {after.records}, shared with one partner"
    for (name, unit), total in took.items():
        yield Figure(f"{name}_{at}", unit, [total / records], _conditions(told), better="lower")


def _growth(drive: Drive, pairs: Mapping[str, Pair], size: Size) -> Iterator[Figure]:
    """Appends and lookups at the large pair over the same at the small one, in turn."""
    appends = in_turn(APPEND_ROUNDS, {name: _appending(drive, each, size) for name, each in pairs.items()})
    told = f"at {size.records} records over at {size.small}, in turn, partner replicating"
    yield Figure(
        size.growth("append_growth"),
        "ratio",
        [one / other for one, other in zip(appends["large"], appends["small"], strict=True)],
        _conditions(f"time to append {APPENDED} traders {told}"),
        better="lower",
        goal=size.goal(1.3),
    )
    waits = {
        name: _asking(drive, each, count)
        for (name, each), count in zip(pairs.items(), (size.small, size.records), strict=True)
    }
    late = in_turn(LOOKUP_ROUNDS, waits)
    yield Figure(
        size.growth("lookup_p99_growth"),
        "ratio",
        [one / other for one, other in zip(late["large"], late["small"], strict=True)],
        Conditions(
            f"p99 of lookups by TIN in the mirror {told}, rounds of {reads.ROUND_S:g} s",
            concurrency=f"{reads.CLIENTS} clients",
        ),
        better="lower",
        goal=size.goal(1.3),
    )
    yield Figure(
        f"lookup_p99_{size.name()}_ms",
        "ms",
        late["large"],
        Conditions(f"the same at {size.records} records", concurrency=f"{reads.CLIENTS} clients"),
        better="lower",
    )


def _appending(drive: Drive, each: Pair, size: Size) -> Measure:
    node = each.issuer

    def measure(at: int) -> float:
        load = pages(node.port, node.token, traders(size.records + at * APPENDED, APPENDED))
        took_s = drive(load).require(200).took_s
        each.catch_up()
        return took_s

    return measure


def _asking(drive: Drive, each: Pair, count: int) -> Measure:
    numbers = random.Random(0).sample(range(count), min(count, ASKED))  # noqa: S311  # an order, not a secret
    asked = reads.asking(each.partner, [str(trader(number)["tin"]) for number in numbers])
    drive(asked).require(200)

    def measure(_: int) -> float:
        waits = sorted(drive(asked).require(200).waits_ms)
        return waits[len(waits) * 99 // 100]

    return measure


def _starts(pairs: Mapping[str, Pair], size: Size) -> Figure:
    """From the command until the node answers, with all its records and with few."""
    started = in_turn(STARTS, {name: _starting(each.issuer) for name, each in pairs.items()})
    few = sorted(started["small"])[STARTS // 2]
    told = f"`aeo serve` of the issuer until it answers, with {size.records} records; with {size.small}"
    return Figure(
        f"start_{size.name()}_s",
        "s",
        started["large"],
        Conditions(f"{told}, in turn, {few:.2f} s"),
        better="lower",
        goal=size.goal(2),
    )


def _starting(node: RunningNode) -> Measure:
    def measure(_: int) -> float:
        node.stop()
        return node.start()

    return measure


def _memory(large: Pair, size: Size) -> Iterator[Figure]:
    """The most memory that a process of each node had from its start to here."""
    for who, node in (("issuer", large.issuer), ("partner", large.partner)):
        peak = usage.of_tree(node.pid).peak_mb
        told = f"the largest process of the {who} over {size.records} records and all that was asked since"
        yield _peak(f"{who}_peak_memory_{size.name()}_mb", peak, told, size)


def _audited(large: Pair, signed: Signed) -> Iterator[Figure]:
    """`aeo fsck` of both, one after the other, while no node runs."""
    size = signed.size
    for who, node in (("", large.issuer), ("mirror_", large.partner)):
        signed.measure()
        ran = usage.run(node.command("fsck"), size.limit_s)
        signed.measure()
        told = f"`aeo fsck` of {size.records} records, {'their mirror' if who else 'ledger and channel'}"
        yield Figure(
            f"fsck_{who}{size.name()}_s",
            "s",
            [ran.took_s],
            Conditions(f"{told}; everything holds"),
            better="lower",
            goal=None if who else size.goal(30),
            ratios={name: 1 / of for name, of in signed.under(size.records / ran.took_s).items()},
        )
        cpu = Conditions(f"{told}; processor time")
        yield Figure(f"fsck_{who}cpu_{size.name()}_s", "s", [ran.used.cpu_s], cpu, better="lower")
        yield _peak(f"fsck_{who}peak_memory_{size.name()}_mb", ran.used.peak_mb, told, size)


def _peak(name: str, peak_mb: float, told: str, size: Size) -> Figure:
    return Figure(name, "MB", [peak_mb], Conditions(told), better="lower", goal=size.goal(MEMORY_MB))


def _fill(each: Pair, folder: Path, start: int, until: int, console: Console) -> usage.Ran:
    """Import a list of traders and wait for the mirror; gives what the import took."""
    path = folder / LIST
    write_list(path, start, until - start)
    ran = _imported(each.issuer, path, "new", until - start)
    said = time.monotonic()
    for behind in each.behind():
        if time.monotonic() - said >= SAY_S:
            said = time.monotonic()
            console.print(f"        the mirror is {behind:,} behind")
    return ran


def _imported(node: RunningNode, path: Path, outcome: str, count: int) -> usage.Ran:
    command = [sys.executable, "-m", "clients.cli.main", "operator", "import", str(path)]
    ran = usage.run([*command, "--profile", PROFILE, "--json", "--home", str(node.home)], Size(count).limit_s)
    counts = json.loads(ran.said)["counts"]
    if counts[outcome] != count:
        raise RuntimeError(f"of {count} rows not all are {outcome}: {counts}")
    return ran


def _read(large: Pair, wire: Wire, records: int, import_cpu_s: float) -> Reading:
    issuer, partner = large.both()
    return Reading(
        records,
        time.perf_counter(),
        import_cpu_s,
        usage.of_tree(issuer.pid),
        usage.of_tree(partner.pid),
        sizes.file_bytes(issuer.home / run.DATABASE),
        sizes.file_bytes(partner.home / run.DATABASE),
        wire.count,
    )


def _conditions(what: str) -> Conditions:
    payload = len(str(trader(0)))
    return Conditions(what, f"about {payload} bytes a trader", "one client, two pages in flight", DURABLE[""])


if __name__ == "__main__":
    sys.exit(main())
