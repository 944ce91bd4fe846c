"""How fast questions are answered, against an endpoint that answers nothing in the same run."""

import random
from collections.abc import Sequence

import orjson

from clients.bench.figures import Conditions, Figure, Goal, Measure, against, in_turn
from clients.bench.load import Drive, Load, request
from clients.bench.nodes import RunningNode

CLIENTS = 16
ROUNDS = 9
ROUND_S = 1.0
LIST = 1000
LISTS = 9


def lookups(drive: Drive, node: RunningNode, tins: Sequence[str], empty_port: int) -> list[Figure]:
    """Lookups of mirrored operators and empty answers in turn, and the ratio of each pair."""
    asked = asking(node, tins)
    empty = Load(empty_port, [request("GET", "/")], CLIENTS, ROUND_S, repeat=True)
    measures: dict[str, Measure] = {
        "found": lambda _: drive(asked).require(200).per_s,
        "empty": lambda _: drive(empty).require(200).per_s,
    }
    for measure in measures.values():
        measure(0)  # what is read for the first time is not what is measured
    runs = in_turn(ROUNDS, measures)
    found, nothing = runs["found"], runs["empty"]
    of, many = f"{len(tins)} mirrored operators asked for by TIN in mixed order", f"{CLIENTS} clients"
    told = f"rounds of {ROUND_S:g} s in turn with the other, uvloop and httptools"
    return [
        Figure(
            "lookup_ratio",
            "ratio",
            [one / other for one, other in zip(found, nothing, strict=True)],
            Conditions(
                f"lookups a second over answers a second of an empty FastAPI endpoint, one process each; "
                f"{of}; {told}",
                concurrency=many,
            ),
            goal=Goal(0.7),
        ),
        Figure(
            "lookups_per_s",
            "lookups/s",
            found,
            Conditions(f"{of}; {told}", concurrency=many),
            ratios=against(found, {"empty_answers_per_s": nothing}),
        ),
        Figure(
            "empty_answers_per_s",
            "answers/s",
            nothing,
            Conditions(f"an empty FastAPI endpoint; {told}", concurrency=many),
            floor=True,
        ),
    ]


def lists(drive: Drive, node: RunningNode, tins: Sequence[str], empty_port: int) -> list[Figure]:
    """Lists of 1,000 identifiers in one call, in turn with an endpoint that only receives them."""
    body = orjson.dumps({"identifiers": list(tins[:LIST])})
    asked = Load(node.port, [request("POST", "/v1/operators/lookup", node.token, body)], 1, 60.0)
    empty = Load(empty_port, [request("POST", "/", body=body)], 1, 60.0)
    count, floor = len(tins[:LIST]), "empty_list_ids_per_s"
    measures: dict[str, Measure] = {
        name: lambda _, load=load: 1000 * count / drive(load).require(200).waits_ms[0]  # type: ignore[misc]
        for name, load in (("found", asked), (floor, empty))
    }
    for measure in measures.values():
        measure(0)
    runs = in_turn(LISTS, measures)
    payload, concurrency = f"{count} TINs a call", "one client, one call after the other"
    told = f"POST /v1/operators/lookup of mirrored operators, {LISTS} calls in turn with the floor"
    return [
        Figure(
            "bulk_lookup_ids_per_s",
            "identifiers/s",
            runs["found"],
            Conditions(told, payload, concurrency),
            goal=Goal(100_000),
            ratios=against(runs["found"], {floor: runs[floor]}),
        ),
        Figure(
            floor,
            "identifiers/s",
            runs[floor],
            Conditions("an empty FastAPI endpoint that receives the same bodies", payload, concurrency),
            floor=True,
        ),
    ]


def asking(node: RunningNode, tins: Sequence[str]) -> Load:
    """A round of lookups by TIN, in mixed order."""
    mixed = random.Random(0).sample(list(tins), len(tins))  # noqa: S311  # an order, not a secret
    asked = [request("GET", f"/v1/operators/{tin}", node.token) for tin in mixed]
    return Load(node.port, asked, CLIENTS, ROUND_S, repeat=True)
