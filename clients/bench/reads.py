"""How fast questions are answered, against an endpoint that answers nothing in the same run."""

import random
from collections.abc import Sequence

import orjson

from clients.bench.figures import Figure, Goal
from clients.bench.load import Load, drive, request
from clients.bench.nodes import RunningNode, empty_endpoint

CLIENTS = 16
ROUNDS = 8
ROUND_S = 1.0
LIST = 1000
LISTS = 8


def lookups(node: RunningNode, tins: Sequence[str]) -> list[Figure]:
    """Lookups of mirrored operators and empty answers in turn: A B A B, and the ratio of each pair."""
    mixed = random.Random(0).sample(list(tins), len(tins))  # noqa: S311  # an order, not a secret
    asked = [request("GET", f"/v1/operators/{tin}", node.token) for tin in mixed]
    with empty_endpoint() as port:
        pair = [
            Load(node.port, asked, CLIENTS, ROUND_S, repeat=True),
            Load(port, [request("GET", "/")], CLIENTS, ROUND_S, repeat=True),
        ]
        rates = [driven.require(200).per_s for driven in drive(pair * (ROUNDS + 1))[2:]]
    found, empty = rates[::2], rates[1::2]
    told = f"{CLIENTS} clients, rounds of {ROUND_S:g} s in turn with the other, uvloop and httptools"
    of = f"{len(tins)} mirrored operators asked for by TIN in mixed order"
    return [
        Figure(
            "lookup_ratio",
            "ratio",
            [one / other for one, other in zip(found, empty, strict=True)],
            f"lookups a second over answers a second of an empty FastAPI endpoint; {of}; {told}",
            goal=Goal(0.5),
        ),
        Figure("lookups_per_s", "lookups/s", found, f"{of}; {told}"),
        Figure("empty_answers_per_s", "answers/s", empty, f"the empty endpoint; {told}"),
    ]


def lists(node: RunningNode, tins: Sequence[str]) -> Figure:
    """Lists of 1,000 identifiers in one call."""
    body = orjson.dumps({"identifiers": list(tins[:LIST])})
    asked = request("POST", "/v1/operators/lookup", node.token, body)
    (driven,) = drive([Load(node.port, [asked] * LISTS, 1, 30.0)])
    rates = [1000 * LIST / wait for wait in driven.require(200).waits_ms]
    told = f"POST /v1/operators/lookup with {LIST} TINs of mirrored operators, one call after the other"
    return Figure("bulk_lookup_ids_per_s", "identifiers/s", rates, told)
