"""Receipts: given with a change, at once or once witnesses have cosigned it, and again whenever asked for."""

import time
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import PlainTextResponse, Response

from node.api.edge import Node, Reader
from node.api.problems import UNKEPT
from node.service.parts import Parts
from node.service.receipts import Receipt, Receipts
from node.store.tables import LARGEST

router = APIRouter(prefix="/v1/receipts", tags=["operators"])

Number = Annotated[int, Path(ge=0, le=LARGEST)]
Wait = Annotated[
    Literal["durable", "witnessed"],
    Query(
        description="`witnessed`: wait, for a bounded time, until a quorum of the trust policy's witnesses "
        "has cosigned a checkpoint that holds it."
    ),
]


@router.get("/{seq}", response_class=PlainTextResponse)
async def receipt(
    seq: Number,
    request: Request,
    node: Node,
    _caller: Reader,
    size: Annotated[
        int | None, Query(ge=1, le=LARGEST, description="Against the ledger of this size; else the newest.")
    ] = None,
    wait: Wait = "durable",
) -> Response:
    """The receipt of a ledger entry (C2SP tlog-proof, the entry as its extra), against any checkpoint."""
    receipts: Receipts = request.app.state.receipts
    if size is not None:
        found = await node.database.ask(partial(receipts.at, seq, size))
    else:
        with receipts.awaited(is_wanted=wait == "witnessed"):
            found = await awaited(node, receipts, seq, wait)
    found = await node.database.ask(partial(receipts.with_entry, seq, found))
    return PlainTextResponse(
        found.text, headers=UNKEPT | {"aeo-witnessed": "true" if found.is_witnessed else "false"}
    )


async def awaited(node: Parts, receipts: Receipts, seq: int, wait: str) -> Receipt:
    """The receipt of an entry; once it is witnessed, or the time for that is over."""
    if wait == "witnessed" and (found := await _witnessed(node, receipts, seq)) is not None:
        return found
    return await node.database.ask(partial(receipts.newest, seq))


async def _witnessed(node: Parts, receipts: Receipts, seq: int) -> Receipt | None:
    end = time.monotonic() + node.settings.witness_wait_s
    while True:
        with node.bell.ticket() as ticket:
            found = await node.database.ask(partial(receipts.witnessed, seq))
            left_s = end - time.monotonic()
            if found is not None or left_s <= 0 or node.bell.is_closed:
                return found
            await ticket.wait(left_s)
