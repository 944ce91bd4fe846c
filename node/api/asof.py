"""The route that answers as of a moment, by what was known at another."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from node.api import schemas
from node.api.edge import For, Node, Reader, Recorder, json, read_out
from node.service.asof import as_of
from node.service.evidence import moment_of
from node.store import records

router = APIRouter(prefix="/v1", tags=["operators"])
MOMENT = "A moment, or a day, which means its end; now unless given."


class AsOfAnswer(BaseModel):
    """What held then, by the own record or as told under one agreement."""

    source: Literal["own", "mirror"]
    country: str
    agreement: str | None
    status: schemas.Status = Field(
        description="NOTHING: what was known took effect later only; NOT_SHARED: it had left our view."
    )
    clocks: dict[str, Any] | None = Field(
        description="`effective_at` and `recorded_at` as far as they are shown; of what was told also "
        "`told_at` and `received_at`; and its place in ledger and channel."
    )
    fields: dict[str, Any] | None
    recognition: schemas.Recognition | None = Field(description="None for own operators.")


class AsOf(BaseModel):
    """What held at `effective`, as far as this node knew at `known`."""

    tin: str
    effective: str
    known: str
    answers: list[AsOfAnswer]


@router.get("/operators/{tin}/as-of", response_model=AsOf)
@read_out
def look_up_as_of(
    tin: str,
    node: Node,
    caller: Reader,
    why: For,
    access: Recorder,
    effective: Annotated[str, Query(max_length=24, description=MOMENT)] = "",
    known: Annotated[str, Query(max_length=24, description=MOMENT)] = "",
) -> Response:
    """What held for an operator at one moment, as far as this node knew at another; own or told."""
    now_ms = node.now_ms()
    at_ms, known_ms = moment_of(effective, now_ms, "effective"), moment_of(known, now_ms, "known")
    with node.database.read() as connection:
        access.record(caller, "history", why, [(tin[:64], records.carrying(connection, tin[:64]), False)])
        return json(as_of(node, connection, tin[:64], at_ms, known_ms))
