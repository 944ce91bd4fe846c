"""Routes about single operators of a partner: own decisions, irregularities, and acknowledgements."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from node.api import schemas
from node.api.edge import For, Node, Officer, Reader, Recorder, durable, json, read_out
from node.api.operators import ends_of
from node.service import reporting
from node.service.reporting import Acknowledge, ReportIrregularity, ResumeHere, SuspendHere
from node.store.tables import LARGEST

router = APIRouter(prefix="/v1", tags=["operators"])
Class = Literal["CARGO", "DECLARATION", "SECURITY", "IDENTITY", "RECORD", "OTHER"]
Under = Annotated[
    str, Field(max_length=64, description="One agreement, by its whole id; else every one that tells of it.")
]


class LocalSuspension(schemas.Request):
    """Why a partner's operator is not treated as recognised here any more."""

    code: Class = Field(alias="class", description="The issuer is told this, where the terms ask for it.")
    reason: schemas.Text = Field(description="For the own file and answers; never leaves the node.")
    agreement: Under = ""


class LocalResumption(schemas.Request):
    """Why it is again."""

    reason: schemas.Text = Field(description="For the own file; never leaves the node.")
    agreement: Under = ""


class NewIrregularity(schemas.Request):
    """An irregularity of a partner's operator, as its issuer is told of it."""

    code: Class = Field(alias="class")
    text: schemas.Text = Field(
        description="One line. No more of a person than the issuer needs to act on it."
    )
    agreement: str = Field(
        default="", max_length=64, description="Under which agreement, where several cover it."
    )


class NewAcknowledgement(schemas.Request):
    """What the partner that reported an irregularity is answered."""

    text: schemas.Text


class LocalDecision(BaseModel):
    """An own decision about a partner's operator, under each of these agreements."""

    decision: Literal["SUSPENDED", "RESUMED"]
    ledger_entries: list[int]
    agreements: list[str]
    told: list[str] = Field(description="The issuer, once for each agreement whose terms ask for that.")


class SuspendedHere(BaseModel):
    """An operator of a partner whose treatment is suspended here."""

    tin: str
    country: str
    agreement: str
    since: str
    code: Class = Field(alias="class")
    reason: str
    by: str
    ledger_seq: int


class AllSuspendedHere(BaseModel):
    """All of them."""

    suspended: list[SuspendedHere]


class Report(BaseModel):
    """What was reported about one operator, to us or by us, and the acknowledgement.

    Who reported and who acknowledged is known in their own administration only.
    """

    report: int
    direction: Literal["received", "sent"]
    partner: str
    agreement: str
    tin: str
    kind: Literal["IRREGULARITY", "SUSPENDED", "RESUMED"]
    code: Class = Field(alias="class")
    text: str
    told_at: str
    by: str | None
    acknowledged_at: str | None
    acknowledgement: str | None
    acknowledged_by: str | None


class Reports(BaseModel):
    """A page of reports, newest first."""

    reports: list[Report]
    next: int | None


class Reported(BaseModel):
    """A report that was sent, or acknowledged."""

    report: int
    partner: str
    agreement: str


@router.post("/operators/{tin}/suspend-here", response_model=LocalDecision)
async def suspend_here(
    tin: str, wanted: LocalSuspension, request: Request, node: Node, caller: Officer
) -> Response:
    """Stop treating a partner's operator as recognised, by own decision, where the terms allow it."""
    work = SuspendHere(tin[:64], wanted.code, wanted.reason, caller.name, wanted.agreement)
    return json(await durable(node, request.app.state.sequencer, work))


@router.post("/operators/{tin}/resume-here", response_model=LocalDecision)
async def resume_here(
    tin: str, wanted: LocalResumption, request: Request, node: Node, caller: Officer
) -> Response:
    """Lift an own decision on a partner's operator; what its issuer says of it counts again."""
    work = ResumeHere(tin[:64], wanted.reason, caller.name, wanted.agreement)
    return json(await durable(node, request.app.state.sequencer, work))


@router.get("/suspended-here", response_model=AllSuspendedHere)
@read_out
def suspended_here(node: Node, caller: Reader, why: For, access: Recorder) -> Response:
    """Every partner's operator whose treatment is suspended here, with why, by whom, and since when."""
    with node.database.read() as connection:
        found = reporting.suspended(node, connection)
        ends = ends_of(connection, [each["tin"] for each in found])
    access.record(caller, "export", why, [(None, ends, False)], {"count": len(found), "of": "suspensions"})
    return json({"suspended": found})


@router.post("/operators/{tin}/irregularities", response_model=Reported)
async def report_irregularity(
    tin: str, wanted: NewIrregularity, request: Request, node: Node, caller: Officer
) -> Response:
    """Report an irregularity of a partner's operator to its issuer, where the terms ask for it."""
    work = ReportIrregularity(tin[:64], wanted.code, wanted.text, caller.name, wanted.agreement)
    return json(await durable(node, request.app.state.sequencer, work))


@router.get("/reports", response_model=Reports)
@read_out
def reports(
    node: Node,
    caller: Reader,
    why: For,
    access: Recorder,
    before: Annotated[int, Query(ge=0, le=LARGEST)] = LARGEST,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """What partners reported of our operators, and we of theirs, with the acknowledgements; newest first."""
    with node.database.read() as connection:
        found: list[Any] = reporting.listed(connection, before, limit)
        ends = ends_of(connection, [each["tin"] for each in found])
    access.record(caller, "export", why, [(None, ends, False)], {"count": len(found), "of": "reports"})
    return json({"reports": found, "next": found[-1]["report"] if len(found) == limit else None})


@router.post("/reports/{report}/acknowledge", response_model=Reported)
async def acknowledge(
    report: Annotated[int, Path(ge=0, le=LARGEST)],
    wanted: NewAcknowledgement,
    request: Request,
    node: Node,
    caller: Officer,
) -> Response:
    """Tell the partner that reported an irregularity of an own operator that note was taken of it."""
    work = Acknowledge(report, wanted.text, caller.name)
    return json(await durable(node, request.app.state.sequencer, work))
