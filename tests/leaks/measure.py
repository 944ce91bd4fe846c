"""`make leaks`: seeds every leak, one at a time, and says which of them the paired worlds show.

First the node as it is: no pair may differ. Then each leak, with the written pairs and, where those do not
find it, with generated ones. Writes `build/leaks.json`; the exit code is 1 if a leak was missed or the node
as it is leaks.
"""

import json
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import structlog
from hypothesis import HealthCheck, Phase, given, settings

from tests.leaks.nodes import Template, make_template
from tests.leaks.pairs import Pair, asking, leaving, pairs, planned, put_back, replaced
from tests.leaks.partner import leak
from tests.leaks.seeds import SEEDS

REPORT = Path("build/leaks.json")
GENERATED, GENERATED_FOR_SEEDS = 12, 4
AS_IT_IS = ""
Found = tuple[int, str] | None


def written() -> list[Pair]:
    """The pairs that were written out."""
    return [planned(), put_back(), leaving(), replaced(), asking()]


def generated(count: int) -> list[Pair]:
    """So many that were not, the same in each run."""
    found: list[Pair] = []
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    how = settings(max_examples=count, derandomize=True, database=None, deadline=None)

    @settings(how, phases=[Phase.generate], suppress_health_check=checks)
    @given(pairs())
    def collect(pair: Pair) -> None:
        found.append(pair)

    collect()
    return found


def sought(template: Template, name: str, among: Sequence[Pair]) -> Found:
    """The first of these pairs that shows a leak, and by what; None if none does."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    seeded: AbstractContextManager[None] = SEEDS[name]() if name else nullcontext()
    with seeded:
        for number, pair in enumerate(among, 1):
            if (told := leak(template, pair)) is not None:
                return number, told
    return None


def measured(template: Template) -> Iterator[tuple[str, Found]]:
    """What was found of each leak, and of the node as it is; as it comes in."""
    among, more = written(), generated(GENERATED)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context) as pool:
        asked: dict[Future[Found], str] = {
            pool.submit(sought, template, AS_IT_IS, [pair]): AS_IT_IS for pair in (*among, *more)
        }
        tries = [*among, *more[:GENERATED_FOR_SEEDS]]
        asked |= {pool.submit(sought, template, name, tries): name for name in SEEDS}
        for each in as_completed(asked):
            yield asked[each], each.result()


def main() -> int:
    """Measure, tell, write; gives the exit code."""
    begun_s, missed, leaking = time.monotonic(), list[str](), list[str]()
    with tempfile.TemporaryDirectory(prefix="aeo-leaks-") as folder:
        for name, found in measured(make_template(Path(folder))):
            if name:
                missed += [] if found else [name]
                print(f"{'found ' if found else 'MISSED'}  {name:42} {found[1][:100] if found else ''}")
            elif found:
                leaking.append(found[1])
                print(f"LEAKS   the node as it is: {found[1]}")
    told = {"seeded": len(SEEDS), "found": len(SEEDS) - len(missed), "missed": sorted(missed)}
    told |= {"pairs": len(written()) + GENERATED, "leaks": leaking}
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    seeds = f"{told['found']} of {told['seeded']} seeded leaks found"
    as_it_is = f"the node as it is tells {len(leaking)} of {told['pairs']} pairs of worlds apart"
    print(f"{seeds}; {as_it_is}; {time.monotonic() - begun_s:.0f} s. {REPORT}")
    return 1 if missed or leaking else 0


if __name__ == "__main__":
    sys.exit(main())
