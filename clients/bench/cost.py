"""The tables of the page on costs, out of a report of `make bench-million`; as text, or put into the page.

What a record took is measured. What that comes to for many administrations is worked out here from the last
step of the run, as if every record cost the same: the page says how far that is true.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from clients.bench import report
from clients.bench.million import COMMAND, NAMES

ADMINISTRATIONS: Final = 180
TRADERS: Final = 100_000_000
CHANGED_A_DAY: Final = 0.01
STEPS: Final = "issuer_disk_bytes_per_record_"
MEASURED: Final = {
    "processor time at the issuer": ("issuer_cpu_us_per_record", "us"),
    "processor time at the partner": ("partner_cpu_us_per_record", "us"),
    "processor time of `aeo operator import`": ("import_cpu_us_per_record", "us"),
    "on disk at the issuer": ("issuer_disk_bytes_per_record", "bytes"),
    "on disk at the partner": ("partner_disk_bytes_per_record", "bytes"),
    "on the wire, both ways": ("wire_bytes_per_record", "bytes"),
}
COUNTS: Final = {name: count for count, name in NAMES.items()}
Values = Mapping[str, float]


def main(arguments: Sequence[str]) -> int:
    """`REPORT [PAGE]`: print the tables, or put them into the page."""
    told, *page = [Path(each) for each in arguments] or [report.PATH]
    found = report.read(told)
    results = found["results"]
    values = {each["name"]: float(each["p50"]) for each in results}
    if not any(name.startswith(STEPS) for name in values):
        print(f"{told} has no figures of `make bench-million`; run it first", file=sys.stderr)
        return 2
    took_s = max(at["took_s"] for run, at in found["runs"].items() if run.startswith(COMMAND))
    tables = {"the run": of_run(values, took_s)}
    tables |= {"measured": measured(values), "worked out": worked_out(values)}
    for path in page:
        text = path.read_text(encoding="utf-8")
        for name, table in tables.items():
            begins, ends = f"<!-- {name} begins -->\n", f"<!-- {name} ends -->"
            before, _, behind = text.partition(begins)
            text = before + begins + table + ends + behind.partition(ends)[2]
        path.write_text(text, encoding="utf-8")
    if not page:
        print("\n".join(tables.values()))
    return 0


def steps_of(figures: Values) -> list[str]:
    """The numbers of records after each step of the run, as the names have them."""
    return [name.removeprefix(STEPS) for name in figures if name.startswith(STEPS)]


def of_run(figures: Values, took_s: float) -> str:
    """What else to know of the run: how fast the machine was, how long it took, how much memory."""
    step = steps_of(figures)[-1]
    signatures = figures[f"es256_signed_and_verified_{step}_per_s"]
    peak = max(value for name, value in figures.items() if name.endswith(f"_peak_memory_{step}_mb"))
    rows = [
        ["in that run", ""],
        ["ES256 signatures made and verified, one thread", f"{signatures:,.0f} a second"],
        ["the whole of it", _time(took_s)],
        ["the most memory that one process had", f"{peak:,.0f} MB"],
    ]
    return _markdown(rows)


def measured(figures: Values) -> str:
    """What a record took in each step, and the last step over the first."""
    steps = steps_of(figures)
    rows = [["for each record", *(f"up to {step}" for step in steps), "last over first"]]
    for what, (name, unit) in MEASURED.items():
        values = [figures[f"{name}_{step}"] for step in steps]
        rows.append([what, *(f"{value:,.0f} {unit}" for value in values), f"{values[-1] / values[0]:.2f}"])
    return _markdown(rows)


def worked_out(figures: Values) -> str:
    """What the last step's record comes to for `ADMINISTRATIONS` with `TRADERS`."""
    step = steps_of(figures)[-1]
    at = {name: figures[f"{name}_{step}"] for name, _ in MEASURED.values()}
    own, changed = TRADERS / ADMINISTRATIONS, TRADERS * CHANGED_A_DAY
    entering_us = at["issuer_cpu_us_per_record"] + at["import_cpu_us_per_record"]
    check_s = figures[f"fsck_cpu_{step}_s"] / _number(step)
    rows = [
        [f"{ADMINISTRATIONS} administrations, {TRADERS:,} traders", "processor time", "disk", "wire"],
        [
            f"one administration enters its {own:,.0f} and shares them with one partner",
            _time(own * entering_us / 1e6),
            _bytes(own * at["issuer_disk_bytes_per_record"]),
            _bytes(own * at["wire_bytes_per_record"]),
        ],
        [
            "each further partner, by the lengths in the tables",
            "",
            _bytes(own * figures[f"partner_bytes_per_record_{step}"]),
            _bytes(own * at["wire_bytes_per_record"]),
        ],
        [
            f"one partner takes over all {TRADERS:,}",
            _time(TRADERS * at["partner_cpu_us_per_record"] / 1e6),
            _bytes(TRADERS * at["partner_disk_bytes_per_record"]),
            _bytes(TRADERS * at["wire_bytes_per_record"]),
        ],
        [
            f"a day on which {CHANGED_A_DAY:.0%} of all change, at one partner",
            _time(changed * at["partner_cpu_us_per_record"] / 1e6),
            _bytes(changed * at["partner_disk_bytes_per_record"]),
            _bytes(changed * at["wire_bytes_per_record"]),
        ],
        [f"`aeo fsck` of one administration's {own:,.0f}", _time(own * check_s), "", ""],
    ]
    return _markdown(rows)


def _number(step: str) -> int:
    return COUNTS.get(step) or int(step)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = [f"| {' | '.join(row)} |\n" for row in rows]
    return head + "|---" * len(rows[0]) + "|\n" + "".join(rest)


def _time(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:,.1f} min"
    return f"{seconds / 3600:,.1f} h"


def _bytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
