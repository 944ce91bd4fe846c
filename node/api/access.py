"""The routes of the access log: who asked what, for auditors alone; asking for it is recorded as well."""

from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from node.api import schemas
from node.api.edge import Auditor, For, Node, Recorder, json, read_out
from node.errors import NotFound, Refusal
from node.ledger import moment
from node.service import reading_access, telling_reads
from node.service.access_log import AccessLog
from node.service.evidence import moment_of
from node.service.reading_access import Filter
from node.store.tables import LARGEST

router = APIRouter(prefix="/v1/access", tags=["node"])

PAGE_LIMIT = 200
TOLD_LIMIT = 20
"""Notices of reads in a page, each of up to some hundred operators."""
Kind = Literal[
    "lookup",
    "list",
    "search",
    "history",
    "evidence",
    "register",
    "changes",
    "export",
    "fetch",
    "access",
    "forgotten",
    "expired",
]
Number = Annotated[int, Path(ge=0, le=LARGEST)]
Moment = Annotated[str, Query(max_length=24, description="A day, or a moment (RFC 3339, UTC, milliseconds).")]

log = structlog.get_logger()


@router.get("", response_model=schemas.AccessPage)
@read_out
def list_reads(
    node: Node,
    caller: Auditor,
    why: For,
    access: Recorder,
    of: Annotated[str, Query(max_length=200, description="Id or label of the caller's token.")] = "",
    identifier: Annotated[
        str, Query(max_length=64, description="Any identifier of an operator, or the id of a record.")
    ] = "",
    kind: Kind | None = None,
    since: Moment = "",
    until: Moment = "",
    stated: Annotated[str, Query(max_length=200, description="What the purpose holds.")] = "",
    before: Annotated[int | None, Query(ge=0, le=LARGEST, description="Go on before this entry.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT)] = 50,
) -> Response:
    """Who asked what, newest first, a page at a time: `next` is where the next one begins."""
    since_ms = (
        moment.parse(f"{since}T00:00:00.000Z" if len(since) == len("2026-11-22") else since)
        if since
        else None
    )
    until_ms = moment_of(until, node.now_ms()) if until else None
    wanted = Filter(of, identifier, kind or "", stated, since_ms, until_ms)
    _taken_over(access)
    told = {"of": of, "kind": kind, "since": since, "until": until, "stated": stated, "before": before}
    with node.database.read() as connection:
        asked = reading_access.question(connection, identifier)
        found = reading_access.page(node, connection, wanted, before, limit)
    access.record(caller, "access", why, asked, {name: each for name, each in told.items() if each})
    return json(found | {"waiting_bytes": access.waiting_bytes})


@router.get("/partners", response_model=schemas.ToldReadsPage)
@read_out
def list_told_reads(
    node: Node,
    caller: Auditor,
    why: For,
    access: Recorder,
    identifier: Annotated[
        str, Query(max_length=64, description="Any identifier of an operator, or the id of a record.")
    ] = "",
    before: Annotated[int, Query(ge=0, le=LARGEST, description="Go on before this notice.")] = LARGEST,
    limit: Annotated[int, Query(ge=1, le=TOLD_LIMIT)] = TOLD_LIMIT,
) -> Response:
    """How often partners read the own operators, and this node theirs, as it was told; newest first."""
    with node.database.read() as connection:
        asked = reading_access.question(connection, identifier)
        found = telling_reads.listed(node, connection, identifier, before, limit)
    access.record(caller, "access", why, asked, {"partners": True})
    return json({"notices": found, "next": found[-1]["notice"] if len(found) == limit else None})


@router.get("/{seq}", response_model=schemas.AccessEntry)
@read_out
def show_read(seq: Number, node: Node, caller: Auditor, why: For, access: Recorder) -> Response:
    """One entry of the access log, with all that was asked and told."""
    _taken_over(access)
    with node.database.read() as connection:
        found = reading_access.one(node, connection, seq)
    access.record(caller, "access", why, [], {"entry": seq})
    if found is None:
        do = "list them with `aeo access list`"
        raise NotFound("the access log has no such entry", where=str(seq), do=do)
    return json(found)


def _taken_over(access: AccessLog) -> None:
    """Have what was asked of this process until now in the log; else what is there is told."""
    try:
        access.take_over()
    except Refusal as refusal:
        log.warning("the access log lacks what was asked last", why=refusal.sentence())
