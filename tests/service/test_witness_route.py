"""The route of a witness, over the whole application of one node: who gets a turn of its one writer.

The writer is begun when a test says so, and until then whoever waits for it waits.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import httpx

from node import app
from node.ledger.tiles import Tree
from node.ledger.witness import request
from node.service.sequencer import Sequencer
from node.service.signing import Sign
from node.store import logs
from node.store.tables import LEDGER
from tests.service.test_put_back import ahead, show
from tests.service.test_witnessing import seen_size
from tests.service.world import Node, World, operator

PATH = "/witness/add-checkpoint"
WAIT_S, FLOOD = 20, 20


@asynccontextmanager
async def served(node: Node) -> AsyncIterator[tuple[httpx.AsyncClient, Sequencer]]:
    """A client of the node's application, and the writer, which is ended at the end if it was begun."""
    built = app.build(node.parts)
    sequencer: Sequencer = built.state.sequencer
    transport = httpx.ASGITransport(built)
    async with httpx.AsyncClient(transport=transport, base_url=node.parts.settings.address) as client:
        try:
            yield client, sequencer
        finally:
            if sequencer.is_alive:
                sequencer.stop()


async def waiting(sequencer: Sequencer, count: int) -> None:
    """Until so many wait for the writer."""
    async with asyncio.timeout(WAIT_S):
        while sequencer._queue.qsize() < count:
            await asyncio.sleep(0.01)


async def heard(asked: Awaitable[httpx.Response]) -> httpx.Response:
    """The answer, when it comes."""
    return await asyncio.wait_for(asked, WAIT_S)


def whole_ledger(node: Node, old: int) -> bytes:
    """The request about a node's ledger as it stands, behind a size."""
    head = node.ledger()
    with node.parts.database.read() as connection:
        proof = Tree(logs.tile_reader(connection, LEDGER), head.size).consistency_proof(old)
    return request(old, proof, head.checkpoint)


async def test_a_witness_that_turns_out_to_be_put_back_cosigns_nothing_and_says_when_to_ask(
    known: World,
) -> None:
    """BR is the witness here; 409 would say which size it has recorded."""
    origin = "aeo.uy.example/ledger"
    old = seen_size(known.br, origin)
    known.uy.settle(Sign(known.agreement, "suspend", "UY", "BR"))
    async with served(known.br) as (client, sequencer):
        asked = asyncio.create_task(client.post(PATH, content=whole_ledger(known.uy, old)))
        await waiting(sequencer, 1)
        show(known, ahead(known))
        sequencer.start()
        answer = await heard(asked)
    assert (answer.status_code, answer.headers.get("retry-after")) == (503, "1")
    assert "its store is older" in answer.text
    assert seen_size(known.br, origin) == old


async def test_a_flood_by_strangers_takes_one_turn_of_the_writer_for_each_kind_and_log(known: World) -> None:
    """What a log has signed anyone can get, and send to its witnesses as often as he likes."""
    old = seen_size(known.uy)
    known.br.admit(operator(4))
    follows = whole_ledger(known.br, old)
    wrong = request(old, (bytes(32),), known.br.ledger().checkpoint)
    async with served(known.uy) as (client, sequencer):
        asked = [asyncio.create_task(client.post(PATH, content=body)) for body in (follows, wrong) * FLOOD]
        async with asyncio.timeout(WAIT_S):
            while sum(each.done() for each in asked) < len(asked) - 2:
                await asyncio.sleep(0.01)
        assert sequencer._queue.qsize() == 2
        for each in asked:
            if each.done():
                assert (each.result().status_code, each.result().headers.get("retry-after")) == (503, "1")
        sequencer.start()
        answers = await asyncio.wait_for(asyncio.gather(*asked), WAIT_S)
        assert sorted({each.status_code for each in answers}) == [200, 422, 503]
        assert seen_size(known.uy) == old + 1
        known.br.admit(operator(5))
        answer = await heard(client.post(PATH, content=whole_ledger(known.br, old + 1)))
        assert answer.status_code == 200, "the turn was given back"
