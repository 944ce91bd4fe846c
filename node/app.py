"""The web application of a node: the one place where its routes, threads and bounds meet its parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from node.api import access as access_routes
from node.api import (
    agreements,
    asof,
    description,
    edge,
    erasures,
    exchange,
    fetches,
    logs,
    operators,
    problems,
    receipts,
    reports,
    system,
    witness,
)
from node.errors import Malformed, NotFound, Refusal, TooMuch, problem
from node.service.access_log import AccessLog
from node.service.answers import Answers
from node.service.fetching import Fetcher
from node.service.parts import Parts
from node.service.presence import Presence
from node.service.receipts import Receipts
from node.service.replication import Replication
from node.service.sequencer import Sequencer
from node.service.submissions import Submissions
from node.service.tokens import Gate
from node.service.witnessing import Turns

DESCRIPTION = """
One customs administration's node of AEO Exchange: it records the own operators in a signed,
append-only ledger, shares with each partner what the signed agreement allows, and answers from
verified copies of what partners disclosed. People and systems send `Authorization: Bearer aeo_...`;
peer nodes sign their requests (RFC 9421). Refusals are problem details (RFC 9457) that say what was
wrong, where, and what to do.
"""


def build(parts: Parts) -> FastAPI:
    """The web application of a node; it writes and follows its peers while it runs."""
    sequencer = Sequencer(parts)
    replication = Replication(parts, sequencer)
    proofs = Receipts(parts)
    submissions = Submissions(parts, lambda: proofs.is_awaited)
    access = AccessLog(parts, sequencer)
    presence = Presence(parts, sequencer, replication, submissions)

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        sequencer.start()
        await to_thread.run_sync(access.start)
        presence.start()
        yield
        presence.stop()
        state.fetcher.close()
        await to_thread.run_sync(access.stop)
        sequencer.stop()
        parts.workshop.close()

    app = FastAPI(
        title="AEO Exchange node",
        version="1",
        description=DESCRIPTION,
        lifespan=running,
        telemetry={"logs": False},
        docs_url=None,
        redoc_url=None,
    )
    state = app.state
    state.parts, state.sequencer, state.replication = parts, sequencer, replication
    state.presence, state.access = presence, access
    state.gate, state.peer_gate, state.answers = Gate(parts), edge.PeerGate(parts), Answers(parts)
    state.receipts, state.asked, state.noted = proofs, {}, {}
    state.turns, state.fetcher = Turns(sequencer), Fetcher(parts)
    app.add_middleware(edge.BodyLimit, max_body_size=parts.settings.body_limit_bytes)
    app.add_middleware(edge.RateLimit, per_minute=parts.settings.rate_per_minute, gate=state.gate)
    app.add_exception_handler(Refusal, edge.on_refusal)
    app.add_exception_handler(Exception, edge.on_failure)
    app.add_exception_handler(RequestValidationError, _on_wrong_form)
    app.add_exception_handler(HTTPException, _on_http)
    operators.add_busiest(app)
    routers = (
        operators.router,
        erasures.router,
        fetches.router,
        reports.router,
        asof.router,
        system.router,
        access_routes.router,
        agreements.router,
    )
    of_logs = (logs.keys, logs.of_ledger, logs.of_channel, witness.router, receipts.router)
    for router in (*routers, exchange.peers, fetches.peers, *of_logs):
        app.include_router(router)
    app.openapi = lambda: description.described(app)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    return app


async def _on_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kinds = {404: NotFound, 413: TooMuch}
    return problems.answer(
        kinds.get(error.status_code, Malformed)(str(error.detail), do="see /openapi.json for what there is"),
        error.status_code,
    )


async def _on_wrong_form(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [problem(".".join(map(str, e["loc"])), e.get("input"), e["msg"]) for e in error.errors()[:20]]
    return problems.answer(
        Malformed("the request is out of form", do="see /openapi.json for its form", problems=found)
    )
