"""What every request passes before a route sees it: bounds on its size and rate, and who sends it.

Plain ASGI, outermost first: rate limit, body limit. Identity is checked by the routes' dependencies
(`caller`, `peer`), so that a route without one is visible in the code; a test lists them.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial, wraps
from typing import Annotated, Any, Protocol

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import Depends, Header, Query, Request
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from node.api import problems
from node.errors import Busy, Damaged, Malformed, Refusal, TooMuch, Unauthenticated, problem
from node.exchange import requests
from node.exchange.card import Card
from node.exchange.fetches import PURPOSE_LIMIT, REFERENCE_LIMIT
from node.exchange.requests import Message, RememberedReplays, Replays
from node.service.access_log import AccessLog
from node.service.accusing import check_told
from node.service.answers import Answers
from node.service.asking import Why
from node.service.parts import Parts
from node.service.sequencer import Work
from node.service.tokens import Caller, Gate
from node.store import access
from node.store.database import Database

WINDOW_S = 60
HOSTED = "hosted"
"""The role in the access log of an administration without a node that is served here."""
NOT_HOSTED = "no agreement names this key as a reader's here, or the address is not that of this node's card"
SIGNED_FOR = "with a reader's key only lookups, fetches and evidence are asked; see docs/hosted-readers.md"
ASK_AS_HOSTED = "sign with the key that the terms name (`readers`), over the address on the card"
BELIEVED = "aeo.caller"
"""In a request's scope: whom its token was found to belong to a moment ago."""

log = structlog.get_logger()


class BodyLimit(RequestBodyLimitMiddleware):
    """Bounds the size of bodies; one that says itself that it is too large is refused unread."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer 413; one that announces no body has none (RFC 9112, 6.3)."""
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        length = headers.get(b"content-length", b"").decode("latin-1")
        if length.isdecimal() and int(length) > self.max_body_size:
            refusal = TooMuch(
                "the body is too large", why=f"the bound is {self.max_body_size} bytes", do="send it in parts"
            )
            await problems.answer(refusal)(scope, receive, send)
        elif length or b"transfer-encoding" in headers:
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class RateLimit:
    """Bounds the requests of each caller: by token where it is known to be good, else by address."""

    def __init__(self, app: ASGIApp, per_minute: int, gate: Gate) -> None:
        self._app, self._gate = app, gate
        self._limit, self._window = per_minute, -1
        self._hits: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer 429 with when to come again."""
        if scope["type"] == "http" and not self._hit(self._who(scope)):
            refusal = Busy(
                "too many requests", why=f"the bound is {self._limit} a minute", do="wait a moment"
            )
            await problems.answer(refusal, problems.TOO_OFTEN)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _hit(self, who: str) -> bool:
        """Count one more request; False when it is beyond the bound. Every minute all begin anew."""
        window = int(time.monotonic() // WINDOW_S)
        if window != self._window:
            self._window = window
            self._hits.clear()
        self._hits[who] += 1
        return self._hits[who] <= self._limit

    def _who(self, scope: Scope) -> str:
        for name, value in scope["headers"]:
            if name == b"authorization":
                caller = self._gate.believed(value.decode("latin-1"))
                if caller:
                    scope[BELIEVED] = caller
                    return caller.token
        client = scope.get("client")
        return client[0] if client else "unknown"


def json(content: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(problems.encoded(content), status, problems.UNKEPT, "application/json")


async def on_refusal(_request: Request, refusal: Exception) -> Response:
    """The handler that turns refusals into problem details."""
    if not isinstance(refusal, Refusal):
        raise refusal
    if isinstance(refusal, Damaged):
        log.error("a request met what is damaged", why=refusal.sentence())
    return problems.answer(refusal)


async def on_failure(_request: Request, error: Exception) -> Response:
    """The handler of whatever else went wrong; then the server logs it and breaks the connection off."""
    do = "repeat the request, a change with the same idempotency key; if it fails again, read the node's log"
    told = problems.answer(Refusal("the node failed at this request", why=type(error).__name__, do=do))
    told.headers["connection"] = "close"
    return told


class StoredReplays:
    """The memory that the processes of one node share.

    It waits for no standby, or peers would take up every thread while none confirms. After a failover a
    request that was overheard could be used once more, until its signature expires.
    """

    def __init__(self, database: Database) -> None:
        self._database, self._forgot_s = database, 0.0

    def use(self, sender: str, nonce: str, created_s: int, expires_s: float, now_s: float) -> None:
        """Use a nonce once; `Unauthenticated` the second time."""
        with self._database.jot() as connection:
            if now_s - self._forgot_s > WINDOW_S:
                self._forgot_s = now_s
                access.forget_nonces(connection, int(now_s))
            is_new = access.use_nonce(connection, sender, nonce, int(expires_s) + 1)
        if not is_new:
            raise requests.used_once(sender)


class PeerGate:
    """Tells which peer, or hosted reader, signed a request to this node."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._replays: Replays = RememberedReplays(parts.now_ms() / 1000)
        if parts.database.is_shared:
            self._replays = StoredReplays(parts.database)

    def peer(self, request: Request, body: bytes) -> Card:
        """The peer; `Unauthenticated` when the request is nobody's."""
        parts = self._parts
        with parts.database.glance() as connection:
            cards = {card.name: card for card in parts.peers.by_country(connection).values()}
        name = self._signer(request, body, {name: card.log_keys for name, card in cards.items()})
        with parts.database.glance() as connection:
            check_told(connection, cards[name])
        return cards[name]

    def hosted(self, request: Request, body: bytes, answers: Answers) -> Caller:
        """The administration without a node that signed; `Unauthenticated` when it is nobody's."""
        known = answers.hosted()
        try:
            name = self._signer(request, body, {each: (reader.key,) for each, (reader, _) in known.items()})
        except Unauthenticated as refusal:
            if refusal.what == requests.UNFOUNDED:
                refusal.why, refusal.do = NOT_HOSTED, ASK_AS_HOSTED
            raise
        reader, told_by = known[name]
        return Caller(name, reader.administration, HOSTED, told_by, reader.country)

    def _signer(self, request: Request, body: bytes, keys: Mapping[str, Sequence[Ed25519PublicKey]]) -> str:
        """Who signed a request, by name; each has these keys."""
        parts = self._parts
        query = f"?{request.url.query}" if request.url.query else ""
        url = parts.settings.address + request.scope.get("raw_path", b"").decode("latin-1") + query
        message = Message(request.method, url, dict(request.headers))
        return requests.verify(
            message,
            body,
            lambda sender: keys.get(sender, ()),
            self._replays,
            parts.now_ms() / 1000,
            parts.settings.clock_skew_s,
        )


def read_out(route: Callable[..., Response]) -> Callable[..., Awaitable[Response]]:
    """A route that reads at length: it holds up neither the event loop nor, for ever, a thread."""

    @wraps(route)
    async def reading(*, node: Parts, **given: Any) -> Response:
        return await node.database.read_out(partial(route, node=node, **given))

    return reading


class Writer(Protocol):
    """Who takes work for the node's one writer."""

    def submit(self, work: Any) -> Future[Any]:
        """Queue it; the future is resolved once it is durable."""


async def durable(parts: Parts, writer: Writer, work: Work) -> Any:
    """The answer of a change once it is durable; the change goes on even if the caller's time is over."""
    future = asyncio.wrap_future(writer.submit(work))
    try:
        return await asyncio.wait_for(asyncio.shield(future), parts.settings.request_timeout_s)
    except TimeoutError:
        raise Busy(
            "the change is still waiting to be written",
            do="repeat it with the same idempotency key to learn its outcome",
        ) from None


def _caller(permission: str) -> Callable[[Request], Awaitable[Caller]]:
    async def caller(request: Request) -> Caller:
        gate: Gate = request.app.state.gate
        found: Caller | None = request.scope.get(BELIEVED)
        if found is None:
            node: Parts = request.app.state.parts
            header = request.headers.get("authorization", "")
            if not header and "signature" in request.headers:
                raise Unauthenticated("this is asked with a token, not with a signature", do=SIGNED_FOR)
            found = await node.database.ask(lambda: gate.caller(header))
        found.require(permission)
        return found

    return caller


async def _peer(request: Request) -> Card:
    gate: PeerGate = request.app.state.peer_gate
    node: Parts = request.app.state.parts
    body = await request.body()
    return await node.database.ask(lambda: gate.peer(request, body))


async def sender_of(request: Request) -> Card | None:
    """The peer that signed a request which takes no signature; `Unauthenticated` when a bad one is there."""
    return await _peer(request) if "signature" in request.headers else None


async def asking_country(request: Request) -> str:
    """Whose administration asks: that of the peer that signed the request, or the own, by a token."""
    if "signature" in request.headers:
        return (await _peer(request)).country
    await reader(request)
    node: Parts = request.app.state.parts
    return node.country


_PURPOSE = "What the answer is for; kept in the access log. Printable text, as the header too."
_REFERENCE = "The case that it is for, such as the number of a declaration; kept in the access log."


async def why_of(
    purpose: Annotated[str, Query(max_length=PURPOSE_LIMIT, description=_PURPOSE)] = "",
    reference: Annotated[str, Query(max_length=REFERENCE_LIMIT, description=_REFERENCE)] = "",
    aeo_purpose: Annotated[str, Header(max_length=PURPOSE_LIMIT)] = "",
    aeo_reference: Annotated[str, Header(max_length=REFERENCE_LIMIT)] = "",
) -> Why:
    """What the caller says that it asks for, in the query or else in a header; `Malformed` if unprintable."""
    return _stated(purpose or aeo_purpose, reference or aeo_reference)


def why_stated(request: Request) -> Why:
    """The same for a route that is resolved by hand."""
    query = request.query_params if request.scope["query_string"] else {}
    purpose = query.get("purpose") or request.headers.get("aeo-purpose", "")
    reference = query.get("reference") or request.headers.get("aeo-reference", "")
    return _stated(purpose, reference) if purpose or reference else NOTHING_STATED


NOTHING_STATED = Why()


def _stated(purpose: str, reference: str) -> Why:
    told = (("purpose", purpose, PURPOSE_LIMIT), ("reference", reference, REFERENCE_LIMIT))
    wrong = [
        problem(name, text, f"must be printable, and {limit} characters at most")
        for name, text, limit in told
        if len(text) > limit or not text.isprintable()
    ]
    if wrong:
        raise Malformed("what it is asked for cannot be recorded", do="correct it", problems=wrong)
    return Why(purpose, reference)


async def access_of(request: Request) -> AccessLog:
    """Where what is asked is recorded."""
    found: AccessLog = request.app.state.access
    return found


async def node_of(request: Request) -> Parts:
    """The parts of the node that serves a request."""
    parts: Parts = request.app.state.parts
    return parts


reader, officer = _caller("look-up"), _caller("change")


async def told(request: Request) -> Caller:
    """Who may be told of partners' operators: a reader by its token, or a hosted one by its signature."""
    if "signature" not in request.headers:
        return await reader(request)
    gate, node, answers = (getattr(request.app.state, each) for each in ("peer_gate", "parts", "answers"))
    body = await request.body()
    caller: Caller = await node.database.ask(lambda: gate.hosted(request, body, answers))
    return caller


Reader = Annotated[Caller, Depends(reader)]
Told = Annotated[Caller, Depends(told)]
Officer = Annotated[Caller, Depends(officer)]
Auditor = Annotated[Caller, Depends(_caller("audit"))]
Previewer = Annotated[Caller, Depends(_caller("preview"))]
Administrator = Annotated[Caller, Depends(_caller("administer"))]
FromPeer = Annotated[Card, Depends(_peer)]
Node = Annotated[Parts, Depends(node_of)]
For = Annotated[Why, Depends(why_of)]
Recorder = Annotated[AccessLog, Depends(access_of)]
