"""Routes about erasing: an operator, what the law holds, and who has answered."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from node.api import schemas
from node.api.edge import Administrator, Auditor, Node, durable, json, read_out
from node.service import erasure_notices
from node.service.erasing import Erase, HoldRecord, ReleaseRecord
from node.store.tables import LARGEST

router = APIRouter(prefix="/v1", tags=["erasure"])
Ground = Literal["NOT_NEEDED", "CONSENT_WITHDRAWN", "OBJECTION", "UNLAWFUL", "LEGAL_OBLIGATION"]


class NewErasure(schemas.Request):
    """Why an operator is erased."""

    ground: Ground = Field(description="A ground of Article 17(1) of Regulation (EU) 2016/679.")
    reference: str = Field(
        min_length=1, max_length=100, description="Of the case file; names no person. It stays in this node."
    )


class NewHold(schemas.Request):
    """Why the law forbids to erase a record for now."""

    reason: schemas.Text = Field(description="A partner that asks to erase it is told this.")


class Answered(BaseModel):
    """What a partner was told of an erasure, and what it answered."""

    partner: str
    agreement: str
    notice: int = Field(description="The entry of the channel that told it.")
    answer: Literal["ERASED", "KEPT"] | None = Field(description="None: it has not answered yet.")
    answered_at: str | None
    ledger_seq: int | None = Field(description="The entry of the partner's ledger that records it.")
    reason: str | None = Field(description="Why the partner must keep it for now.")


class ErasureStatus(BaseModel):
    """An erasure that this ledger records; of one that a partner asked for, `partners` is empty."""

    erasure: int = Field(description="The ledger entry that records it.")
    time: str
    scrubbed: str | None = Field(description="When the files of the store were free of it; None: not yet.")
    partners: list[Answered]


class Erasures(BaseModel):
    """A page of erasures, newest first."""

    erasures: list[ErasureStatus]
    next: int | None


class ErasureMade(BaseModel):
    """An operator is erased here, and its partners are told."""

    erasure: int
    entries: int = Field(description="Entries of ledger and channels that have nothing behind them any more.")
    partners: list[str]


class Held(BaseModel):
    """How many records of this TIN are held now, or are no longer."""

    records: int


@router.post("/operators/{tin}/erase", response_model=ErasureMade)
async def erase(
    tin: str, wanted: NewErasure, request: Request, node: Node, caller: Administrator
) -> Response:
    """Erase an own operator here and at every partner that was told of it; it cannot be undone."""
    work = Erase(tin[:64], wanted.ground, wanted.reference, caller.name)
    return json(await durable(node, request.app.state.sequencer, work))


@router.post("/operators/{tin}/hold", response_model=Held)
async def hold(tin: str, wanted: NewHold, request: Request, node: Node, caller: Administrator) -> Response:
    """Keep a record, own or disclosed to us, whatever asks for its erasure, until it is released."""
    work = HoldRecord(tin[:64], wanted.reason, caller.name)
    return json({"records": await durable(node, request.app.state.sequencer, work)})


@router.post("/operators/{tin}/release", response_model=Held)
async def release(tin: str, request: Request, node: Node, _caller: Administrator) -> Response:
    """End a hold; what a partner asked to erase meanwhile is erased at once."""
    return json({"records": await durable(node, request.app.state.sequencer, ReleaseRecord(tin[:64]))})


@router.get("/erasures", response_model=Erasures)
@read_out
def erasures(
    node: Node,
    _caller: Auditor,
    before: Annotated[int, Query(ge=0, le=LARGEST)] = LARGEST,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Every erasure that this ledger records, and who has answered what."""
    with node.database.read() as connection:
        found: list[Any] = erasure_notices.status(connection, before, limit)
    return json({"erasures": found, "next": found[-1]["erasure"] if len(found) == limit else None})
