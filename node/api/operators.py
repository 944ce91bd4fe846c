"""Routes about operators: look up, search, history, changes; admit, import, status, consent."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, FastAPI, Header, Query, Request
from fastapi.routing import APIRoute
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from node.api import schemas
from node.api.edge import (
    For,
    Node,
    Officer,
    Reader,
    Recorder,
    access_of,
    durable,
    json,
    node_of,
    officer,
    read_out,
    reader,
    why_stated,
)
from node.api.edge import Told as ToldTo
from node.api.problems import UNKEPT
from node.api.receipts import Wait, awaited
from node.errors import Busy, Conflict, Malformed, TooMuch, problem
from node.ledger import moment
from node.records import identifiers, model
from node.service import consents, disclosures
from node.service.admit import AdmitList, AdmitOne, Amend, Author, Outcome
from node.service.answers import Answers, shown, unknown
from node.service.asking import Key, Question
from node.service.consents import ChangeConsent, Statement
from node.service.evidence import evidence, moment_of
from node.service.parts import Parts
from node.service.receipts import Receipts
from node.service.sequencer import Sequencer
from node.service.teller import Told
from node.service.tokens import Caller, Gate
from node.service.workshop import Unread
from node.store import channels, records
from node.store.tables import LARGEST, LEDGER


class LookUpRoute(APIRoute):
    """A route that is asked most: declared and documented like any other, resolved by hand.

    FastAPI's general way from a request to the arguments of `look_up` costs more than the answer.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same steps in the same order: who asks, may they, the answer."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive)
        caller, tin = await reader(request), scope["path_params"]["tin"]
        node, access = await node_of(request), await access_of(request)
        answer = await look_up(tin, request, node, caller, why_stated(request), access)
        await answer(scope, receive, send)


class AdmitRoute(APIRoute):
    """The route that most changes take, resolved by hand as well, but for requests out of the common form."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Who asks, may they, what do they record; the answer."""
        request = Request(scope, receive)
        key, kind = request.headers.get("idempotency-key"), request.headers.get("content-type")
        is_common = kind == "application/json" and not scope["query_string"] and len(key or "") <= KEY_LIMIT
        if scope["method"] not in (self.methods or ()) or not is_common:
            await super().handle(scope, receive, send)
            return
        caller = await officer(request)
        operator = _object(await request.body())
        answer = await admit(operator, request, await node_of(request), caller, key)
        await answer(scope, receive, send)


def _object(body: bytes) -> schemas.Operator:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _not_an_object(f"must be JSON: {error}") from None
    if type(value) is not dict:
        raise _not_an_object("must be a JSON object")
    return value


def _not_an_object(rule: str) -> Malformed:
    told = [problem("body", "", rule)]
    return Malformed("the request is out of form", do="see /openapi.json for its form", problems=told)


router = APIRouter(prefix="/v1", tags=["operators"])
KEY_LIMIT = 100

OnceKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=KEY_LIMIT,
        description="A repeated request with the same key changes nothing and gets the first answer.",
    ),
]


async def look_up(
    tin: str, request: Request, node: Node, caller: Reader, why: For, access: Recorder
) -> Response:
    """Is this operator an AEO, may I rely on it, can I prove it? By TIN."""
    answers: Answers = request.app.state.answers
    asked = tin[:64]

    def answer() -> Response:
        tellers = answers.tellers()
        with node.database.glance() as connection:
            found = answers.told(connection, tellers, [asked], "TIN")[asked][:1]
        access.record(caller, "lookup", why, [(asked, _keys(found), False)])
        if not found:
            raise unknown(asked, tellers)
        return json(found[0][3])

    return await node.database.ask(answer)


@router.get("/operators", response_model=schemas.OperatorList)
async def find(
    request: Request,
    node: Node,
    caller: Reader,
    why: For,
    access: Recorder,
    identifier: Annotated[str, Query(max_length=64)],
    scheme: Annotated[str | None, Query(max_length=16)] = None,
) -> Response:
    """By any identifier: CNPJ, RUT, EORI, AEO code, TIN; one scheme only where `scheme` is given."""
    answers: Answers = request.app.state.answers

    def answer() -> Response:
        tellers = answers.tellers()
        with node.database.glance() as connection:
            found = answers.told(connection, tellers, [identifier], scheme)
        access.record(caller, "lookup", why, _questions(found))
        return json({"results": shown(found)})

    return await node.database.ask(answer)


@router.post("/operators/lookup", response_model=schemas.OperatorList)
@read_out
def look_up_list(
    wanted: schemas.LookupList, request: Request, node: Node, caller: ToldTo, why: For, access: Recorder
) -> Response:
    """Up to 1,000 identifiers in one call, of any scheme or of the one given."""
    _within(node, len(wanted.identifiers))
    answers: Answers = request.app.state.answers
    tellers, is_own_told = answers.tellers(caller.channels), caller.channels is None
    with node.database.read() as connection:
        asked = wanted.identifiers, wanted.scheme
        found = answers.told(connection, tellers, *asked, is_own_told=is_own_told)
    access.record(caller, "list", why, _questions(found))
    return json({"results": shown(found)})


@router.get("/operators/{tin}/evidence")
@read_out
def show_evidence(
    tin: str,
    node: Node,
    caller: ToldTo,
    why: For,
    access: Recorder,
    at: Annotated[
        str, Query(max_length=24, description="A moment, or a day, which means its end; now unless given.")
    ] = "",
    agreement: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """What a partner had told us about an operator at a moment, as a file that anyone can check offline."""
    at_ms, asked = moment_of(at, node.now_ms()), tin[:64]
    with node.database.read() as connection:
        told = [key for key in records.carrying(connection, asked, "TIN") if _is_told(caller, key)]
        detail = {"at": moment.format(at_ms), "agreement": agreement}
        access.record(caller, "evidence", why, [(asked, told, False)], detail)
        file = evidence(node, connection, asked, at_ms, agreement, caller.channels, caller.country)
        return Response(file, 200, UNKEPT, "application/json")


@router.get("/operators/{tin}/history")
@read_out
def history(tin: str, request: Request, node: Node, caller: Reader, why: For, access: Recorder) -> Response:
    """Every version of an operator that this node recorded or was told, oldest first.

    By any identifier, as a lookup; also of an operator that left our view.
    """
    answers: Answers = request.app.state.answers
    tellers, asked = answers.tellers(), tin[:64]
    with node.database.read() as connection:
        tins = _tins_of(connection, asked)
        told = {key for each in (asked, *tins) for key in records.carrying(connection, each)}
        access.record(caller, "history", why, [(asked, sorted(told), False)])
        return json(answers.history(connection, tellers, _one_of(tins, asked)))


@router.get("/search")
@read_out
def search(
    request: Request,
    node: Node,
    caller: Reader,
    why: For,
    access: Recorder,
    name: Annotated[str, Query(min_length=2, max_length=100)],
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
) -> Response:
    """Operators with a name like this one; accents and legal forms are ignored. Suggestions only."""
    answers: Answers = request.app.state.answers
    tellers = answers.tellers()
    with node.database.read() as connection:
        found, told = answers.searched(connection, tellers, name, limit)
    access.record(caller, "search", why, [(name, told, True)], {"limit": limit})
    return json(found)


@router.get("/register")
@read_out
def register(
    node: Node,
    caller: Reader,
    why: For,
    access: Recorder,
    after: Annotated[str, Query(max_length=64)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    kind: Literal["operator", "trader"] | None = None,
) -> Response:
    """The TINs of the own records in order, a page at a time, of one kind where `kind` is given.

    For comparing a list with the register; the first page has their total.
    """
    with node.database.read() as connection:
        tins = records.tins_after(connection, after, limit, kind)
        ends = [key for key in ends_of(connection, tins) if key[0] == LEDGER]
        access.record(caller, "register", why, [(None, ends, False)], {"count": len(tins), "of": kind})
        return json(
            {
                "tins": tins,
                "next": tins[-1] if len(tins) == limit else None,
                "total": None if after else records.count(connection, kind),
            }
        )


@router.get(
    "/changes", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}}
)
async def changes(
    request: Request,
    node: Node,
    caller: Reader,
    why: For,
    access: Recorder,
    after: Annotated[int | None, Query(ge=0, le=LARGEST)] = None,
    last_event_id: Annotated[int | None, Header(ge=0, le=LARGEST)] = None,
) -> Response:
    """Server-sent events, one whenever an answer may have changed; resumes after `Last-Event-ID`.

    Without a place to begin, the stream begins with the next change.
    """
    start = after if after is not None else last_event_id
    gate: Gate = request.app.state.gate
    header = request.headers.get("authorization", "")

    def record(rows: Sequence[dict[str, Any]]) -> None:
        told = sorted({(row["log"], row["record_id"]) for row in rows if row["record_id"]})
        access.record(caller, "changes", why, [(None, told, False)])

    events = _events(node, start, lambda: gate.is_good(header), record)
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def admit(
    operator: schemas.Operator,
    request: Request,
    node: Node,
    caller: Officer,
    key: OnceKey = None,
    reason: Annotated[str, Query(max_length=500)] = "",
    wait: Wait = "durable",
) -> Response:
    """Record an own operator, new or changed. Answered once durable, with a receipt."""
    parsed = model.to_json(model.parse(operator))
    return await _settled(request, node, AdmitOne(parsed, Author(caller.name, reason), key), wait)


def add_busiest(app: FastAPI) -> None:
    """Add the routes that are asked most, to the application itself, where they are found first."""
    app.router.add_api_route(
        "/v1/operators/{tin}",
        look_up,
        tags=["operators"],
        response_model=schemas.OperatorAnswer,
        route_class_override=LookUpRoute,
    )
    app.router.add_api_route(
        "/v1/operators",
        admit,
        methods=["POST"],
        tags=["operators"],
        response_model=schemas.Admitted,
        route_class_override=AdmitRoute,
    )


@router.post("/operators/{tin}/status", response_model=schemas.Admitted)
async def change_status(
    tin: str,
    change: schemas.StatusChange,
    request: Request,
    node: Node,
    caller: Officer,
    key: OnceKey = None,
    wait: Wait = "durable",
) -> Response:
    """Suspend, reinstate, revoke ... an own operator, along its life cycle."""
    at = change.effective_at or moment.format(node.now_ms())
    changes = {
        "status": change.status,
        "status_since": at,
        "effective_at": at,
        "status_reason_class": change.reason_class,
        "status_until": None,
    }
    return await _settled(
        request, node, Amend(tin, change.model_dump(), changes, Author(caller.name, change.reason), key), wait
    )


@router.post("/operators/{tin}/consent", response_model=schemas.Admitted)
async def change_consent(
    tin: str,
    change: schemas.ConsentChange,
    request: Request,
    node: Node,
    caller: Officer,
    key: OnceKey = None,
    wait: Wait = "durable",
) -> Response:
    """Record that an operator gives or withdraws consent to being named to partners, and in which words."""
    said = Statement(change.by, change.text, change.document)
    author = Author(caller.name, change.reason)
    return await _settled(
        request, node, ChangeConsent(tin, change.given, change.scope, said, author, key), wait
    )


@router.get("/operators/{tin}/consents", response_model=schemas.Consents)
@read_out
def list_consents(tin: str, node: Node, caller: Officer, why: For, access: Recorder) -> Response:
    """Each time that an own operator's consent was recorded: what, when, who said so and in which words."""
    asked = tin[:64]
    with node.database.read() as connection:
        access.record(caller, "history", why, [(asked, records.carrying(connection, asked), False)])
        return json({"tin": tin, "consents": consents.register(node, connection, identifiers.plain(asked))})


@router.get("/operators/{tin}/disclosures", response_model=schemas.Disclosures)
@read_out
def list_disclosures(tin: str, node: Node, caller: Officer, why: For, access: Recorder) -> Response:
    """What was disclosed about an own operator, to whom, when, and which fields."""
    asked = tin[:64]
    with node.database.read() as connection:
        access.record(caller, "history", why, [(asked, records.carrying(connection, asked), False)])
        told = disclosures.report(node, connection, identifiers.plain(asked))
        return json({"tin": tin, "disclosures": told})


@router.post("/operators/import", response_model=schemas.ImportOutcome)
async def import_list(wanted: schemas.ImportList, request: Request, node: Node, caller: Officer) -> Response:
    """Admit a list; a refused operator never stops the others, and a repeated list changes nothing."""
    _within(node, len(wanted.operators))
    parsed = await run_in_threadpool(node.workshop.parse, wanted.operators)
    good = [each for each in parsed if not isinstance(each, Unread)]
    sequencer: Sequencer = request.app.state.sequencer
    work = AdmitList(good, Author(caller.name, "import", wanted.source), wanted.dry_run)
    done = iter(await durable(node, sequencer, work) if good else [])
    outcomes = [_unread(each) if isinstance(each, Unread) else next(done) for each in parsed]
    counts = {
        kind: sum(each.kind == kind for each in outcomes)
        for kind in ("new", "changed", "unchanged", "refused")
    }
    return json(
        {"dry_run": wanted.dry_run, "counts": counts, "outcomes": [each.to_json() for each in outcomes]}
    )


async def _settled(
    request: Request, node: Parts, work: AdmitOne | Amend | ChangeConsent, wait: Wait
) -> Response:
    sequencer: Sequencer = request.app.state.sequencer
    receipts: Receipts = request.app.state.receipts
    with receipts.awaited(is_wanted=wait == "witnessed"):
        outcome: Outcome = await durable(node, sequencer, work)
        told = outcome.to_json() | {"receipt": None, "cosigned_by": [], "witnessed": False}
        if outcome.ledger_seq is not None:
            receipt = await awaited(node, receipts, outcome.ledger_seq, wait)
            told |= {"receipt": receipt.text, "cosigned_by": list(receipt.cosigned_by)}
            told["witnessed"] = receipt.is_witnessed
    return json(told)


def _unread(row: Unread) -> Outcome:
    return Outcome("refused", row.tin, problems=row.problems, message=row.message)


def _keys(told: Sequence[Told]) -> list[Key]:
    """The records that answers are about."""
    return [(log, record_id) for _, log, record_id, _ in told]


def _questions(found: Mapping[str, Sequence[Told]]) -> list[Question]:
    return [(value, _keys(told), False) for value, told in found.items()]


def _is_told(caller: Caller, key: Key) -> bool:
    """Whether a record is a partner's, and one that the caller may be told of."""
    return key[0] != LEDGER and (caller.channels is None or key[0] in caller.channels)


def ends_of(connection: Connection, tins: Sequence[str]) -> list[Key]:
    """The records of the first and the last of a list, which stand for it in the access log."""
    ends = (*tins[:1], *tins[-1:])
    return list(dict.fromkeys(key for tin in ends for key in records.carrying(connection, tin, "TIN")))


def _tins_of(connection: Connection, identifier: str) -> list[str]:
    """The TINs of the operators with this identifier."""
    hits = records.find(connection, [identifiers.plain(identifier)])
    exact = [hit for hit in hits if hit[1] == "TIN"]
    carried = (records.indexed(connection, log, [found])[found][0] for _, _, log, found in exact or hits)
    return sorted({value for numbers in carried for scheme, value in numbers if scheme == "TIN"})


def _one_of(tins: Sequence[str], identifier: str) -> str:
    """The one TIN, the identifier itself where there is none; several: `Conflict`."""
    if len(tins) > 1:
        told = [problem(tin, "", "has this identifier") for tin in tins[:10]]
        do = "give the TIN of the one that is meant"
        raise Conflict("several operators have this identifier", where=identifier, problems=told, do=do)
    return tins[0] if tins else identifier


def _within(node: Parts, count: int) -> None:
    limit = node.settings.list_limit
    if count > limit:
        raise TooMuch(
            "the list is too long", why=f"{count} items, the bound is {limit}", do="send it in parts"
        )


async def _events(
    node: Parts,
    after: int | None,
    may_go_on: Callable[[], bool],
    record: Callable[[Sequence[dict[str, Any]]], None],
) -> AsyncIterator[bytes]:
    """The stream; it ends when the token is revoked or has expired, or what it tells cannot be recorded."""
    place = await node.database.ask(partial(_newest, node)) if after is None else after
    yield b": the stream of changes, from behind this place\nid: %d\n\n" % place
    while await node.database.ask(may_go_on) and not node.bell.is_closed:
        with node.bell.ticket() as ticket:
            rows = await node.database.read_out(partial(_told_after, node, place))
            try:
                if rows:
                    record(rows)
            except Busy as refusal:
                yield b": %s\n\n" % refusal.what.encode()
                return
            for row in rows:
                place = row["change"]
                yield b"id: %d\nevent: %s\ndata: %s\n\n" % (place, row["kind"].encode(), orjson.dumps(row))
            if not rows and not await ticket.wait(node.settings.wait_limit_s):
                yield b": nothing new\n\n"


def _newest(node: Parts) -> int:
    with node.database.glance() as connection:
        return channels.newest_change(connection)


def _told_after(node: Parts, place: int) -> list[dict[str, Any]]:
    with node.database.glance() as connection:
        return [row | _notice(connection, row) for row in channels.changes_after(connection, place, 500)]


def _notice(connection: Connection, row: dict[str, Any]) -> dict[str, Any]:
    """What a notice says, and who sent it under which agreement; nothing for other changes.

    The feed does not name the entry; the notices received at one moment stand in it in their order.
    """
    if row["kind"] != "notice":
        return {}
    behind = channels.changes_after(connection, row["change"], 500)
    later = sum(all(each[name] == row[name] for name in ("log", "time", "kind")) for each in behind)
    received = channels.notices(connection, row["log"], 500)
    told = [orjson.loads(each["body"]) for each in received if each["received_at"] == row["time"]]
    sender = channels.by_log(connection)[row["log"]]
    said = {"issuer": sender.issuer, "agreement": sender.agreement}
    return said | {name: told[later][name] for name in ("notice", "detail") if later < len(told)}
