"""How fast an administration's own changes are taken in: lists, and single changes by many clients."""

import orjson

from clients.bench.figures import Figure, Goal
from clients.bench.load import Driven, Load, drive, request
from clients.bench.nodes import RunningNode
from clients.bench.operators import operators

PAGE = 500
CLIENTS = 64
ROUNDS = 5
ROUND_S = 2.0
ROUND_LIMIT = 4_000
"""More changes than a node takes in within a round."""
DURABLE = "SQLite WAL, synchronous=FULL, each answered once durable"


def imported(
    node: RunningNode, start: int, pages: int, name: str, goal: Goal | None, with_what: str
) -> Figure:
    """Import pages of new operators, one page after the other."""
    bodies = [orjson.dumps({"operators": operators(start + at * PAGE, PAGE)}) for at in range(pages)]
    requests = [request("POST", "/v1/operators/import", node.token, body) for body in bodies]
    (driven,) = drive([Load(node.port, requests, 1, 60.0)])
    rates = [1000 * PAGE / wait for wait in driven.require(200).waits_ms]
    return Figure(
        name,
        "records/s",
        rates,
        f"{pages} pages of {PAGE} new operators ({len(bodies[0]) // PAGE} bytes each) by one client, one "
        f"page after the other, {with_what}; {DURABLE}",
        goal=goal,
    )


def single_changes(node: RunningNode, start: int, name: str, goal: Goal | None, with_what: str) -> Figure:
    """New operators one by one, from 64 clients at a time; each answer carries its receipt."""
    loads = [_single(node, start + at * ROUND_LIMIT) for at in range(ROUNDS)]
    driven = [each.require(200) for each in drive(loads)]
    return Figure(
        name,
        "changes/s",
        [each.per_s for each in driven],
        f"{CLIENTS} concurrent clients from one asyncio process, {ROUND_S:g} s a round, POST /v1/operators "
        f"of {payload_bytes(start)} bytes, {with_what}; {DURABLE}; {_waits(driven)}",
        goal=goal,
    )


def payload_bytes(number: int) -> int:
    """The bytes of one operator as it is sent."""
    return len(orjson.dumps(operators(number, 1)[0]))


def _single(node: RunningNode, start: int) -> Load:
    bodies = map(orjson.dumps, operators(start, ROUND_LIMIT))
    requests = [request("POST", "/v1/operators", node.token, body) for body in bodies]
    return Load(node.port, requests, CLIENTS, ROUND_S)


def _waits(driven: list[Driven]) -> str:
    waits = sorted(wait for each in driven for wait in each.waits_ms)
    middle, late = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    return f"a change waits {middle:.0f} ms at p50, {late:.0f} ms at p99"
