"""How long until a partner's answer changes, from the moment the change is sent to the issuer.

The partner's change feed (server-sent events) says when to look; the clock stops when a lookup at the
partner, sent then, has answered with the new status. So the figure includes that lookup, and nothing is
polled. Changes leave on a fixed timetable, whether or not earlier ones have arrived.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import httpx
import orjson

from clients.bench.figures import Conditions, Figure, Goal, Measure, against, in_turn
from clients.bench.nodes import Pair
from clients.bench.writes import DURABLE, named

PER_S = 50
ROUNDS = 4
ARRIVAL_LIMIT_S = 10.0
STATUS = "SUSPENDED"
FLOOR = "bare_change_ms"


def change_to_answer(pairs: Mapping[str, Pair], tins: Sequence[str], bare: "Bare") -> list[Figure]:
    """Suspend each of these operators once, 50 a second, at each pair and the floor in turn."""
    parts = [tins[at * len(tins) // ROUNDS : (at + 1) * len(tins) // ROUNDS] for at in range(ROUNDS)]
    waits: dict[str, list[float]] = {name: [] for name in (*pairs, FLOOR)}

    def round_of(name: str) -> Measure:
        def measure(at: int) -> float:
            pair, part = pairs.get(name), parts[at]
            took_ms = asyncio.run(_Watch(pair).suspend(part) if pair else bare.changes(len(part)))
            waits[name] += took_ms
            return median(took_ms)

        return measure

    middles = in_turn(ROUNDS, {name: round_of(name) for name in waits})
    ratios = {store: against(middles[store], {FLOOR: middles[FLOOR]}) for store in pairs}
    figures = [_figure(store, waits[store], ratios[store]) for store in pairs]
    told = "two commits of one row by sqlite3 alone and two answers of an empty FastAPI endpoint, in a row"
    return [
        *figures,
        Figure(
            FLOOR,
            "ms",
            waits[FLOOR],
            Conditions(told, concurrency="one client, the same as the node's", durability=DURABLE[""]),
            better="lower",
            floor=True,
        ),
    ]


def _figure(store: str, waits: list[float], ratios: Mapping[str, float]) -> Figure:
    return Figure(
        named("change_to_answer", store, "ms"),
        "ms",
        waits,
        Conditions(
            f"{len(waits)} suspensions, agreement in operation; from sending the request at the issuer "
            "until a lookup at the partner, sent on the event of GET /v1/changes, has answered with the "
            "new status; resolution: one lookup, about 2 ms",
            "a status of one operator",
            f"{PER_S} changes a second on a fixed timetable, both nodes on these processors",
            DURABLE[store],
        ),
        better="lower",
        goal=None if store else Goal(25, 100),
        ratios=ratios,
    )


@dataclass(frozen=True, slots=True)
class Bare:
    """The floor: what a change costs that is only carried and kept, at the issuer and at the partner."""

    port: int
    commit: Callable[[], object]

    async def changes(self, count: int) -> list[float]:
        """The milliseconds of so many of them."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as client:
            return [await self._one(client) for _ in range(count)]

    async def _one(self, client: httpx.AsyncClient) -> float:
        begun = time.perf_counter()
        await client.post("/", json={"status": STATUS})
        self.commit()
        self.commit()
        await client.get("/")
        return 1000 * (time.perf_counter() - begun)


class _Watch:
    """The issuer's officer and the partner's system, on one event loop."""

    def __init__(self, pair: Pair) -> None:
        self._issuer, self._partner = (
            httpx.AsyncClient(
                base_url=node.url, headers={"authorization": f"Bearer {node.token}"}, timeout=ARRIVAL_LIMIT_S
            )
            for node in pair.both()
        )
        self._changed: dict[str, asyncio.Event] = {}
        self._listening = asyncio.Event()

    async def suspend(self, tins: Sequence[str]) -> list[float]:
        """The milliseconds that each change took to arrive."""
        self._changed = {tin: asyncio.Event() for tin in tins}
        async with self._issuer, self._partner:
            listener = asyncio.create_task(self._listen())
            try:
                await asyncio.wait_for(self._listening.wait(), ARRIVAL_LIMIT_S)
                begun = time.perf_counter()
                return await asyncio.gather(
                    *(self._one(tin, begun + at / PER_S) for at, tin in enumerate(tins))
                )
            finally:
                listener.cancel()
                await asyncio.wait([listener])

    async def _one(self, tin: str, at: float) -> float:
        await asyncio.sleep(at - time.perf_counter())
        sent = time.perf_counter()
        async with asyncio.timeout(ARRIVAL_LIMIT_S):
            answer = await self._issuer.post(f"/v1/operators/{tin}/status", json={"status": STATUS})
            answer.raise_for_status()
            await self._changed[tin].wait()
            while await self._status(tin) != STATUS:
                self._changed[tin].clear()
                await self._changed[tin].wait()
        return 1000 * (time.perf_counter() - sent)

    async def _status(self, tin: str) -> str:
        answer = await self._partner.get(f"/v1/operators/{tin}")
        return str(orjson.loads(answer.content)["status"]["value"])

    async def _listen(self) -> None:
        async with self._partner.stream("GET", "/v1/changes", timeout=None) as feed:
            async for line in feed.aiter_lines():
                self._listening.set()
                if line.startswith("data: "):
                    changed = self._changed.get(orjson.loads(line[6:])["tin"])
                    if changed is not None:
                        changed.set()
