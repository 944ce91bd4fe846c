"""How long until a partner's answer changes, from the moment the change is sent to the issuer.

The partner's change feed (server-sent events) says when to look; the clock stops when a lookup at the
partner, sent then, has answered with the new status. So the figure includes that lookup, and nothing is
polled. Changes leave on a fixed timetable, whether or not earlier ones have arrived.
"""

import asyncio
import time
from collections.abc import Sequence

import httpx
import orjson

from clients.bench.figures import Figure, Goal
from clients.bench.nodes import RunningNode

PER_S = 20
ARRIVAL_LIMIT_S = 10.0
STATUS = "SUSPENDED"


def change_to_answer(issuer: RunningNode, partner: RunningNode, tins: Sequence[str]) -> Figure:
    """Suspend each of these operators once, 20 a second."""
    waits = asyncio.run(_Watch(issuer, partner).suspend(tins))
    return Figure(
        "change_to_answer_ms",
        "ms",
        waits,
        f"{len(tins)} suspensions, {PER_S} a second, two node processes on SQLite as shipped, agreement "
        "in operation; from sending the request at the issuer until a lookup at the partner, sent on the "
        "event of GET /v1/changes, has answered with the new status; resolution: one lookup, about 2 ms",
        better="lower",
        goal=Goal(50, 150),
    )


class _Watch:
    """The issuer's officer and the partner's system, on one event loop."""

    def __init__(self, issuer: RunningNode, partner: RunningNode) -> None:
        self._issuer, self._partner = (
            httpx.AsyncClient(
                base_url=node.url, headers={"authorization": f"Bearer {node.token}"}, timeout=ARRIVAL_LIMIT_S
            )
            for node in (issuer, partner)
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
