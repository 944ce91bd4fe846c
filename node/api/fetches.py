"""The routes of what is fetched one by one: an officer's question, and a partner's."""

from collections.abc import Collection
from functools import partial

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy import Connection
from starlette.responses import Response

from node.api import schemas
from node.api.edge import FromPeer, Node, Recorder, Told, durable, json
from node.exchange import fetches
from node.exchange.fetches import (
    IDENTIFIER_LIMIT,
    PURPOSE_LIMIT,
    REFERENCE_LIMIT,
    SCHEME_LIMIT,
    Case,
)
from node.ledger import canonical
from node.service import fetching
from node.service.access_log import AccessLog
from node.service.answers import Answers
from node.service.asking import Why
from node.service.fetching import Fetched, Fetcher, Tell
from node.service.parts import Parts
from node.service.tokens import Caller
from node.store import channels, records
from node.store.tables import LEDGER

router = APIRouter(prefix="/v1", tags=["operators"])
peers = APIRouter(prefix="/v1/peer", tags=["peers"])
PEER = "peer"
"""The role of a partner's node in the access log."""


class FetchWanted(schemas.Request):
    """One operator to ask a partner about. The partner is told all of this but who asks."""

    identifier: str = Field(min_length=1, max_length=IDENTIFIER_LIMIT)
    scheme: str = Field(default="", max_length=SCHEME_LIMIT, description="Any, unless given.")
    country: str = Field(default="", max_length=2, description="Whom to ask, where several can be.")
    agreement: str = Field(default="", max_length=64, description="Under which agreement, by its whole id.")
    purpose: str = Field(min_length=1, max_length=PURPOSE_LIMIT, description="What the answer is for.")
    reference: str = Field(
        min_length=1, max_length=REFERENCE_LIMIT, description="The case, such as the number of a declaration."
    )


class FetchedAnswer(BaseModel):
    """What the partner answered, proven: the operator as a lookup tells it now, or that nothing is shared."""

    country: str
    agreement: str
    entry: int = Field(description="Number of the entry of the partner's channel that answers.")
    shared: bool
    state: str = Field(description="Of the direction; what is not in operation tells nothing.")
    operator: schemas.OperatorAnswer | None


@router.post("/fetches", response_model=FetchedAnswer)
async def fetch(
    wanted: FetchWanted, request: Request, node: Node, caller: Told, access: Recorder
) -> Response:
    """Ask a partner about one operator, where the agreement has it fetched; answered once proven."""
    fetcher: Fetcher = request.app.state.fetcher
    answers: Answers = request.app.state.answers
    asked = partial(_fetch, wanted, fetcher, answers, node, caller, access)
    limit_s = node.settings.request_timeout_s + node.settings.peer_timeout_s
    return await fetcher.bound.answer(asked, limit_s)


def _fetch(
    wanted: FetchWanted, fetcher: Fetcher, answers: Answers, node: Parts, caller: Caller, access: AccessLog
) -> Response:
    with node.database.read() as connection:
        among = None if caller.channels is None else _agreements(connection, caller.channels)
        standing, peer = fetching.source(node, connection, wanted.country, wanted.agreement, among)
    number = standing.agreement.id
    case = Case(wanted.purpose, wanted.reference, caller.country or node.country)
    named = wanted.identifier, wanted.scheme
    question = fetching.question(node, number, peer.country, named, case)
    fetches.question(question.to_json())
    why, detail = Why(wanted.purpose, wanted.reference), {"of": peer.country, "agreement": number}
    access.record(caller, "fetch", why, [(wanted.identifier, [], False)], detail | {"asked": True})
    found = fetcher.fetch(peer, question)
    keys = [] if found.record_id is None else [(found.log, found.record_id)]
    access.record(caller, "fetch", why, [(wanted.identifier, keys, False)], detail | {"entry": found.entry})
    told = {"country": peer.country, "agreement": number, "entry": found.entry, "shared": bool(keys)}
    told["state"] = standing.state(peer.country, node.country, node.today())
    return json(told | {"operator": _told(answers, node, caller, found)})


def _agreements(connection: Connection, logs: Collection[int]) -> set[str]:
    return {each.agreement for each in channels.channels(connection) if each.log in logs}


def _told(answers: Answers, node: Parts, caller: Caller, found: Fetched) -> object:
    if found.record_id is None:
        return None
    key, tellers = (found.log, found.record_id), answers.tellers(caller.channels)
    with node.database.read() as connection:
        tin = channels.mirrored(connection, [key])[key].tin or ""
        told = answers.told(connection, tellers, [tin], "TIN", is_own_told=False)[tin]
    return next((each for _, _, record_id, each in told if record_id == found.record_id), None)


@peers.post("/fetch")
async def tell(request: Request, node: Node, peer: FromPeer, access: Recorder) -> Response:
    """Answer a partner's question in the channel to it; gives the number of the entry that does."""
    question = fetches.question(canonical.decode(await request.body()))
    named = question.named

    def record() -> None:
        with node.database.glance() as connection:
            keys = records.carrying(connection, named.identifier, named.scheme or None)
        own = sorted({key for key in keys if key[0] == LEDGER})
        caller, case = Caller(peer.name, peer.country, PEER), question.asked.case
        why, detail = Why(case.purpose, case.reference), {"agreement": question.agreement}
        access.record(caller, "fetch", why, [(named.identifier, own, False)], detail)

    await node.database.ask(record)
    entry = await durable(node, request.app.state.sequencer, Tell(peer.country, question))
    return json({"v": 1, "entry": entry})
