"""The one place where the parts of a node are put together."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from anyio import to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from node import keys, settings
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
from node.errors import Malformed, NotFound, Refusal, TooMuch, problem, reason
from node.exchange import card
from node.exchange.peers import OwnCard, Peers
from node.exchange.standing import Standings
from node.exchange.versions import Signatory
from node.ledger import policy
from node.ledger.policy import Policy
from node.records.credential import es256_signer
from node.service.access_log import AccessLog
from node.service.answers import Answers
from node.service.backup_keys import BackupKeys
from node.service.bell import Bell
from node.service.bookmark import Bookmark
from node.service.fetching import Fetcher
from node.service.parts import Parts
from node.service.presence import Presence
from node.service.receipts import Receipts
from node.service.replication import Replication
from node.service.sequencer import Sequencer
from node.service.submissions import Submissions
from node.service.tokens import Gate
from node.service.witnessing import Turns
from node.service.workshop import Workshop
from node.store import access
from node.store.database import Database

DESCRIPTION = """
One customs administration's node of AEO Exchange: it records the own operators in a signed,
append-only ledger, shares with each partner what the signed agreement allows, and answers from
verified copies of what partners disclosed. People and systems send `Authorization: Bearer aeo_...`;
peer nodes sign their requests (RFC 9421). Refusals are problem details (RFC 9457) that say what was
wrong, where, and what to do.
"""


def parts_of(home: Path) -> Parts:
    """The parts of the node whose home folder is `home`; `Refusal` says what is missing.

    `Busy` or `Damaged`, in the driver's words, when its store cannot be used now.
    """
    told = settings.load(home)
    own_keys = keys.load(told.keys, home)
    signing = own_keys.credential[0]
    signatory = Signatory(
        told.name, card.credential_kid(told.name, card.jwk_of(signing)), es256_signer(signing)
    )
    database, peers = Database(told.database_url, home), Peers()
    own = OwnCard(_own_card(database, told, own_keys))

    return Parts(
        settings=told,
        database=database,
        keys=own_keys,
        own=own,
        peers=peers,
        standings=Standings(told.country, partial(peers.with_own, own=own)),
        bell=Bell(),
        bookmark=Bookmark(home),
        backup_keys=BackupKeys(_key_store(told.keys, home)),
        workshop=Workshop(signatory, told.keys, home, told.signing_processes),
        given_policy=_given_policy(told.policy, home, own.card),
        now_ms=lambda: time.time_ns() // 1_000_000,
        entropy=os.urandom,
    )


def _key_store(uri: str, home: Path) -> Path:
    """The folder of the key store; the home folder for keys that come from the environment."""
    scheme, _, place = uri.partition(":")
    return home / place if scheme == "file" else home


def _own_card(database: Database, told: settings.Settings, own_keys: keys.NodeKeys) -> card.Card:
    """The newest card that the ledger holds; before there is one, the card that will be its first."""
    database.reach()
    with database.glance() as connection:
        text = access.own_card(connection) if access.has_cards(connection) else ""
    if text:
        return card.read(text)
    return card.write(told.name, told.country, told.administration, told.address, own_keys)


def _given_policy(file: str, home: Path, own: card.Card) -> Policy | None:
    """The trust policy that the settings name; `Malformed` unless it is one, and for this ledger.

    Whichever key of the ledger it names, what an older one signed still counts here.
    """
    if not file:
        return None
    place = home / file
    do = f"mend it, or take `policy` out of {home / settings.FILE}: any one of the peers is then asked"
    try:
        given = policy.parse(place.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        what = "the trust policy cannot be read"
        raise Malformed(what, where=str(place), why=reason(error), do=do) from None
    except Malformed as refusal:
        raise Malformed(refusal.what, where=str(place), do=do, problems=refusal.problems) from None
    origin = card.ledger_origin(own.name)
    named = given.logs.get(origin, ())
    if not set(own.of_log(origin)) & set(named):
        do = "give it the `log` line that `aeo log policy` prints"
        raise Malformed("the trust policy does not name this ledger", where=str(place), why=origin, do=do)
    every = dict.fromkeys([*named, *own.of_log(origin, ever=True)])
    return replace(given, logs={**given.logs, origin: tuple(every)})


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
