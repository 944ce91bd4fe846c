"""How fast changes are taken in: lists, single changes by many clients, and lists into a partner's mirror.

Everything is measured in turn with the floors under it: node on SQLite, node on PostgreSQL, bare commits,
bare answers, and again from the start. A node gets records of numbers of its own in each round.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import orjson

from clients.bench.figures import Conditions, Figure, Goal, Measure, against, in_turn
from clients.bench.floors import SIGNED
from clients.bench.load import Drive, Load, request
from clients.bench.nodes import Pair, RunningNode
from clients.bench.operators import operators

PAGE = 500
PAGES = 4
IN_FLIGHT = 2
IMPORT_ROUNDS = 7
IMPORTED_FROM, SINGLE_FROM, MIRRORED_FROM, SHARED_FROM = 0, 1_000_000, 2_000_000, 3_000_000
FIRST_FROM = 5_000_000
CLIENTS = 64
ROUNDS = 7
ROUND_S = 1.5
MOST_PER_S = 4_000
"""More changes than a node takes in."""
ROUND_LIMIT = 10_000
MIRROR_ROUNDS = 5
MIRRORED = MIRROR_ROUNDS * PAGES * PAGE
DURABLE = {
    "": "SQLite WAL, synchronous=FULL; answered once durable",
    "postgresql": "PostgreSQL, fsync and synchronous_commit on; answered once durable",
    "postgresql_2": "PostgreSQL, fsync and synchronous_commit on; answered once durable; two node processes",
}
"""The stores that are compared, by what stands in the name of a figure for each."""


def named(name: str, store: str, unit: str) -> str:
    """The name of a figure for a store."""
    return "_".join(part for part in (name, store, unit) if part)


def imports(drive: Drive, nodes: Mapping[str, RunningNode], floors: Mapping[str, Measure]) -> list[Figure]:
    """Import new operators in pages, two in flight, without an agreement."""
    for node in nodes.values():  # what a node makes ready at its first list is not what is measured
        drive(pages(node.port, node.token, operators(FIRST_FROM, PAGE))).require(200)
    measures = {store: _importing(drive, node) for store, node in nodes.items()}
    runs = in_turn(IMPORT_ROUNDS, {**measures, **floors})
    return [
        Figure(
            named("import_records", store, "per_s"),
            "records/s",
            runs[store],
            Conditions(
                f"{IMPORT_ROUNDS} rounds of {PAGES} pages of {PAGE} new operators after one, no agreement",
                f"{payload_bytes(0)} bytes an operator",
                f"one client, {IN_FLIGHT} pages in flight",
                DURABLE[store],
            ),
            goal=None if store else Goal(5000),
            ratios=against(runs[store], {name: runs[name] for name in floors}),
        )
        for store in nodes
    ]


def single_changes(
    drive: Drive, nodes: Mapping[str, RunningNode], floors: Mapping[str, Measure], empty_port: int
) -> list[Figure]:
    """New operators one by one, from 64 clients at a time; each answer carries its receipt."""
    waits: dict[str, list[float]] = {store: [] for store in nodes}
    measures = {
        store: _changing(drive, node, SINGLE_FROM, waits[store].extend) for store, node in nodes.items()
    }
    posts = request("POST", "/", body=orjson.dumps(operators(0, 1)[0]))
    empty = Load(empty_port, [posts], CLIENTS, ROUND_S, repeat=True)
    measures |= {"empty_posts_per_s": lambda _: drive(empty).require(200).per_s, **floors}
    runs = in_turn(ROUNDS, measures)
    under = {name: runs[name] for name in ("empty_posts_per_s", *floors)}
    figures = [
        Figure(
            named("single_changes", store, "per_s"),
            "changes/s",
            runs[store],
            _single_conditions(store, "no agreement", waits[store]),
            goal=None if store else Goal(1500),
            ratios=against(runs[store], {name: of for name, of in under.items() if _belongs(name, store)}),
        )
        for store in nodes
    ]
    return figures + [_floor(name, of) for name, of in under.items()]


def shared_changes(drive: Drive, both: Pair, floor: Measure) -> Figure:
    """Single changes while a partner replicates them on the same processors; it has caught up at the end."""
    waits: list[float] = []

    def alone(at: int) -> float:
        both.catch_up()
        return floor(at)

    measure = _changing(drive, both.issuer, SHARED_FROM, waits.extend)
    runs = in_turn(ROUNDS, {"shared": measure, SIGNED: alone})
    told = "one agreement in operation, the partner replicating on the same processors"
    return Figure(
        "single_changes_shared_per_s",
        "changes/s",
        runs["shared"],
        _single_conditions("", told, waits),
        ratios=against(runs["shared"], {SIGNED: runs[SIGNED]}),
    )


def to_mirror(drive: Drive, pairs: Mapping[str, Pair], floor: Measure) -> list[Figure]:
    """Import new operators until the partner's mirror holds all of them, verified."""
    measures = {store: _mirroring(drive, pair) for store, pair in pairs.items()}
    runs = in_turn(MIRROR_ROUNDS, {**measures, SIGNED: floor})
    figures = [
        Figure(
            named("import_to_mirror", store, "per_s"),
            "records/s",
            runs[store],
            Conditions(
                f"{MIRROR_ROUNDS} rounds of {PAGES} pages of {PAGE} new operators, from the first request "
                "until the partner has verified and stored the last; both nodes on these processors",
                f"{payload_bytes(MIRRORED_FROM)} bytes an operator",
                f"one client, {IN_FLIGHT} pages in flight",
                DURABLE[store],
            ),
            goal=None if store else Goal(2000),
            ratios=against(runs[store], {SIGNED: runs[SIGNED]}),
        )
        for store in pairs
    ]
    return [*figures, _floor(SIGNED, runs[SIGNED])]


def pages(port: int, token: str, records: Sequence[object], page: int = PAGE, limit_s: float = 120.0) -> Load:
    """The import of these records."""
    parts = [records[at : at + page] for at in range(0, len(records), page)]
    bodies = [orjson.dumps({"operators": part}) for part in parts]
    requests = [request("POST", "/v1/operators/import", token, body) for body in bodies]
    return Load(port, requests, IN_FLIGHT, limit_s)


def singles(node: RunningNode, start: int, limit_s: float) -> Load:
    """New operators one by one, more of them than a node takes in within the time."""
    bodies = map(orjson.dumps, operators(start, math.ceil(limit_s * MOST_PER_S)))
    requests = [request("POST", "/v1/operators", node.token, body) for body in bodies]
    return Load(node.port, requests, CLIENTS, limit_s)


def payload_bytes(number: int) -> int:
    """The bytes of one operator as it is sent."""
    return len(orjson.dumps(operators(number, 1)[0]))


def _importing(drive: Drive, node: RunningNode) -> Measure:
    def measure(at: int) -> float:
        load = _round(node, IMPORTED_FROM, at)
        return PAGES * PAGE / drive(load).require(200).took_s

    return measure


def _mirroring(drive: Drive, pair: Pair) -> Measure:
    def measure(at: int) -> float:
        load, begun = _round(pair.issuer, MIRRORED_FROM, at), time.perf_counter()
        drive(load).require(200)
        pair.catch_up()
        return PAGES * PAGE / (time.perf_counter() - begun)

    return measure


def _round(node: RunningNode, start: int, at: int) -> Load:
    return pages(node.port, node.token, operators(start + at * PAGES * PAGE, PAGES * PAGE))


def _changing(drive: Drive, node: RunningNode, start: int, waited: Callable[[list[float]], None]) -> Measure:
    def measure(at: int) -> float:
        driven = drive(singles(node, start + at * ROUND_LIMIT, ROUND_S)).require(200)
        waited(driven.waits_ms)
        return driven.per_s

    return measure


def _single_conditions(store: str, with_what: str, waits: list[float]) -> Conditions:
    ordered = sorted(waits)
    middle, late = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return Conditions(
        f"POST /v1/operators in rounds of {ROUND_S:g} s, {with_what}; "
        f"a change waits {middle:.0f} ms at p50, {late:.0f} ms at p99",
        f"{payload_bytes(SINGLE_FROM)} bytes",
        f"{CLIENTS} clients from one asyncio process",
        DURABLE[store],
    )


def _belongs(floor: str, store: str) -> bool:
    """Whether a floor is under a figure on this store: commits only to the same kind of store."""
    if "commits" not in floor:
        return True
    return floor.startswith("postgresql" if store else "sqlite")


def _floor(name: str, runs: list[float]) -> Figure:
    commits = f"one row of {payload_bytes(0)} bytes a transaction"
    told = {
        "empty_posts_per_s": Conditions(
            "an empty FastAPI endpoint that receives the same bodies",
            f"{payload_bytes(0)} bytes",
            f"{CLIENTS} clients from one asyncio process",
        ),
        "sqlite_commits_per_s": Conditions("sqlite3 alone", commits, "one writer", DURABLE[""].split(";")[0]),
        "postgresql_commits_per_s": Conditions(
            "psycopg alone", commits, "one writer", DURABLE["postgresql"].split(";")[0]
        ),
        SIGNED: Conditions("cryptography alone, made and verified", "2,048 bytes each", "one thread"),
        "es256_signatures_per_s": Conditions("cryptography alone", "2,048 bytes each", "one thread"),
    }
    unit = f"{name.split('_')[1]}/s".replace("signed", "signatures")
    return Figure(name, unit, runs, told[name], floor=True)
