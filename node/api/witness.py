"""The route of a witness (C2SP tlog-witness): cosigns the checkpoints of peers' logs that only grow."""

from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from node.api.edge import Node, durable, sender_of
from node.api.problems import RETRY_AFTER_S, UNKEPT
from node.errors import Refusal
from node.ledger.witness import LIMIT_BYTES, SIZE_TYPE, Accepted, Rejected
from node.service.parts import Parts
from node.service.witnessing import AddCheckpoint, Answer, KeepRefused, Turns, considered

router = APIRouter(prefix="/witness", tags=["witness"])

ANSWERS = {
    400: "Out of form, or an old size beyond the checkpoint's.",
    403: "No key that is trusted for this log signed it.",
    404: "This log is not watched here.",
    409: "The old size is not the one recorded, which is the answer.",
    422: "The checkpoint does not follow the one recorded.",
    503: "Nothing can be cosigned now; `Retry-After` tells when to ask again.",
}
LATER = {"retry-after": str(RETRY_AFTER_S)}


@router.post(
    "/add-checkpoint",
    response_class=PlainTextResponse,
    responses={status: {"description": told} for status, told in ANSWERS.items()},
)
async def add_checkpoint(request: Request, node: Node) -> Response:
    """Cosign a checkpoint of a peer's ledger, or of its channel to us if the peer signed the request.

    The body is `old SIZE`, the consistency proof a line a hash, an empty line, and the checkpoint; the answer
    is this node's cosignature lines, Ed25519 and ML-DSA-44. It is kept before it is answered.
    """
    body = await request.body()
    sender = await sender_of(request)
    verdict = await node.database.read_out(partial(considered, node, body[: LIMIT_BYTES + 1], sender))
    if isinstance(verdict, AddCheckpoint | KeepRefused):
        verdict = await _written(node, request.app.state.turns, verdict)
    if isinstance(verdict, Accepted):
        return PlainTextResponse(node.witness(verdict.checkpoint.text()), headers=UNKEPT)
    headers = UNKEPT | (LATER if verdict.status == 503 else {})
    if verdict.size is not None:
        return Response(f"{verdict.size}\n", verdict.status, headers | {"content-type": SIZE_TYPE})
    return PlainTextResponse(f"{verdict.why}\n", verdict.status, headers)


async def _written(node: Parts, turns: Turns, work: AddCheckpoint | KeepRefused) -> Answer:
    """The writer's answer; its refusal says only that a witness cannot cosign now."""
    try:
        answer: Answer = await durable(node, turns, work)
    except Refusal as refusal:
        return Rejected(503, refusal.what)
    return answer
