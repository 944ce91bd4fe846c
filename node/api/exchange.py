"""The route for peers: news over signed requests."""

import time
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import Response

from node.api.edge import FromPeer, Node, json
from node.errors import Busy, Malformed, problem
from node.exchange import serving
from node.exchange.card import Card
from node.exchange.serving import CURSORS_LIMIT, Cursors
from node.ledger.encoding import parse_decimal
from node.service import behind, holding, introduction
from node.service.accusing import check_told
from node.service.batch import open_body
from node.service.introduction import NoteHeld
from node.service.parts import Parts

peers = APIRouter(prefix="/v1/peer", tags=["peers"])


@dataclass(frozen=True, slots=True)
class Asked:
    """The newest request for news of one peer: when it came, and the cursors it was signed with."""

    at_ms: int
    cursors: Cursors

    def is_reached_by(self, other: Cursors) -> bool:
        """Whether other cursors are as far as these everywhere, or further."""
        mine, theirs = self.cursors.channels, other.channels
        return all(theirs.get(number, -1) >= size for number, size in mine.items())


def asked_by(app: FastAPI) -> dict[str, Asked]:
    """The newest request of each peer, by country; kept in memory, since the start of this node only."""
    asked: dict[str, Asked] = app.state.asked
    return asked


@peers.get("/news")
async def news(
    request: Request,
    node: Node,
    peer: FromPeer,
    card: Annotated[int, Query(ge=1, description="Number of this node's card that the peer has.")],
    rev: Annotated[int, Query(ge=0, description="Revision of the agreements the peer has seen.")],
    ledger: Annotated[int, Query(ge=0, description="Size of this ledger the peer has proven.")],
    at: Annotated[
        list[str],
        Query(max_length=CURSORS_LIMIT, description="agreement:size, for each channel to the peer."),
    ] = [],  # noqa: B006
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait when there is nothing new.")] = 0,
) -> Response:
    """What is new for the peer that signed this request; waits when there is nothing."""
    if not request.app.state.sequencer.has_looked_back:
        raise Busy("this node is asking its peers what they have seen of it", do="ask again in a moment")
    cursors = Cursors(card, rev, ledger, dict(_cursor(text) for text in at))
    asked = asked_by(request.app)
    _note_held(request.app, peer, min(card, node.card.number))
    if wait or peer.country not in asked or asked[peer.country].is_reached_by(cursors):
        # Who neither waits nor has come further may be asking again for what came damaged.
        asked[peer.country] = Asked(node.now_ms(), cursors)
    deadline = min(wait, node.settings.wait_limit_s)
    await _until_news(node, peer, cursors, deadline)
    return json(await node.database.read_out(partial(_news, node, peer, cursors)))


def _note_held(app: FastAPI, peer: Card, number: int) -> None:
    """Have it noted that a peer has this card of ours: a turn of the writer for each later one, not more."""
    noted: dict[str, int] = app.state.noted

    def over(done: Future[None]) -> None:
        if done.exception() is None:
            noted[peer.name] = number

    if number > noted.get(peer.name, 0):
        app.state.sequencer.submit(NoteHeld(peer.name, number)).add_done_callback(over)


@peers.get("/seen")
async def seen(node: Node, peer: FromPeer) -> Response:
    """The largest checkpoints seen here of the asking peer's ledger and channels, as the peer signed them."""
    return json({"seen": await node.database.read_out(partial(_seen, node, peer))})


@peers.get("/held")
async def held(
    node: Node,
    peer: FromPeer,
    ledger: Annotated[int, Query(ge=0, description="Entries of its own ledger that the peer still has.")],
    at: Annotated[
        list[str],
        Query(max_length=CURSORS_LIMIT, description="agreement:size, for each of its channels to this node."),
    ] = [],  # noqa: B006
) -> Response:
    """What is held here of the asking peer's own ledger and channels, behind what it still has of them."""
    cursors = dict(_cursor(text) for text in at)
    return json(await node.database.read_out(partial(_held, node, peer, ledger, cursors)))


def _seen(node: Parts, peer: Card) -> list[str]:
    with node.database.read() as connection:
        check_told(connection, peer)
        return behind.seen_of(connection, node.country, peer)


def _held(node: Parts, peer: Card, ledger: int, at: dict[str, int]) -> dict[str, object]:
    with node.database.read() as connection:
        check_told(connection, peer)
        return holding.held(node, connection, peer, ledger, at)


def _has_news(node: Parts, peer: Card, cursors: Cursors) -> bool:
    with node.database.read() as connection:
        standings = node.standings.current(connection)
        return serving.has_news(connection, standings, node.card, peer, cursors)


def _news(node: Parts, peer: Card, cursors: Cursors) -> dict[str, object]:
    with node.database.read() as connection:
        check_told(connection, peer)
        if why := behind.told_outside(node, connection):
            raise Busy("this node has no news: its store is older than what it has signed", why=why)
        standings = node.standings.current(connection)
        return serving.news(
            connection,
            standings,
            introduction.newest(node, connection),
            peer,
            cursors,
            node.settings.page_limit,
            node.beat,
            lambda seq, sealed: open_body(node, seq, sealed),
        )


def _cursor(text: str) -> tuple[str, int]:
    agreement, colon, size = text.partition(":")
    if not colon or len(text) > 100:
        raise Malformed("a cursor is out of form", problems=[problem("at", text, "must be agreement:size")])
    return agreement, parse_decimal(size, "at")


async def _until_news(node: Parts, peer: Card, cursors: Cursors, deadline_s: float) -> None:
    """Wait, ring by ring, until one of them is about this peer or the time is over."""
    end = time.monotonic() + deadline_s
    while (left := end - time.monotonic()) > 0 and not node.bell.is_closed:
        with node.bell.ticket() as ticket:
            if await node.database.read_out(partial(_has_news, node, peer, cursors)):
                return
            await ticket.wait(left)
