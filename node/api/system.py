"""Routes about the node itself: health, card, channels, what failed verification."""

from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request
from starlette.responses import PlainTextResponse, Response

from node.api.edge import Administrator, Auditor, Node, Reader, durable, json, read_out
from node.api.exchange import Asked, asked_by
from node.errors import Busy, NotFound
from node.ledger import moment
from node.ledger.checkpoint import stated
from node.ledger.encoding import b64
from node.service import behind
from node.service.answers import Answers
from node.service.failures import CloseIncident
from node.service.parts import Parts
from node.service.reach import Reach
from node.store import channels, incidents, logs, witnessed
from node.store.tables import LARGEST, LEDGER

HEALTH_LIMIT_S = 2.0

Number = Annotated[int, Path(ge=1, le=LARGEST)]

router = APIRouter(tags=["node"])


@router.get("/healthz", response_class=PlainTextResponse)
async def health(request: Request, node: Node) -> Response:
    """Whether the node serves: `ok` and the size of its ledger; 503 when a part or its store does not.

    A node whose store was put back answers questions and writes nothing: `behind`, the size, and why.
    """
    state = request.app.state
    if not (state.sequencer.is_alive and state.replication.is_alive and state.presence.is_alive):
        raise Busy("a part of the node stands still", do="read the node's log, and restart it")
    return PlainTextResponse(await node.database.ask(partial(_health, node), HEALTH_LIMIT_S))


def _health(node: Parts) -> str:
    with node.database.glance() as connection:
        head, why = logs.head(connection, LEDGER), behind.told_outside(node, connection)
    size = head.size if head else 0
    return f"behind {size}\n{why}\n" if why else f"ok {size}\n"


@router.get("/v1/card")
async def card(node: Node) -> Response:
    """This node's signed card; compare its fingerprint with the administration over another channel."""
    own = node.card
    told = {"card": own.text, "fingerprint": own.fingerprint, "name": own.name, "country": own.country}
    return json(told)


@router.get("/v1/channels")
@read_out
def list_channels(request: Request, node: Node, _caller: Reader) -> Response:
    """Every channel: what goes out and what the partner has of it, what comes in and how fresh it is."""
    answers: Answers = request.app.state.answers
    asked = asked_by(request.app)
    reaches = answers.reaches()  # first, for it reads by a connection of its own
    with node.database.read() as connection:
        outgoing = [
            _outgoing(node, connection, line) | _fetched(asked.get(line.channel.partner), line)
            for line in node.lines(connection, node.today())
        ]
        incoming = [_incoming(node, connection, reach) for reach in reaches.values()]
    return json({"channels": outgoing + incoming})


@router.get("/v1/incidents")
@read_out
def list_incidents(node: Node, _caller: Auditor, open_only: bool = False) -> Response:
    """What peers sent that failed verification: kept apart with the reason, never used."""
    with node.database.read() as connection:
        return json({"incidents": incidents.listed(connection, only_open=open_only)})


@router.get("/v1/incidents/{incident}")
@read_out
def show_incident(incident: Number, node: Node, _caller: Auditor) -> Response:
    """One incident with its evidence (base64): what the peer signed, or the entry that failed."""
    with node.database.read() as connection:
        found = incidents.with_evidence(connection, incident)
    if found is None:
        raise NotFound(
            "there is no incident of this number", where=str(incident), do="list them with `aeo incidents`"
        )
    return json(found | {"evidence": b64(found["evidence"])})


@router.post("/v1/incidents/{incident}/close")
async def close_incident(incident: Number, request: Request, node: Node, _caller: Administrator) -> Response:
    """Close an incident that people have settled with the peer.

    Needed only where an entry could not be read at all: until then nothing on its channel is recognised.
    """
    await durable(node, request.app.state.sequencer, CloseIncident(incident))
    return json({"incident": incident, "closed": True})


def _outgoing(node: Parts, connection: Any, line: Any) -> dict[str, Any]:
    head = logs.head(connection, line.channel.log)
    told: dict[str, Any] = {
        "direction": "out",
        "agreement": line.channel.agreement,
        "issuer": node.country,
        "partner": line.channel.partner,
    }
    told |= {
        "state": line.state,
        "in_line": (line.channel.state, line.channel.day) == (line.state, node.today()),
    }
    cosigned = witnessed.cosigned(connection, head.origin) if head else None
    return told | {
        "size": head.size if head else 0,
        "shared": channels.shared_count(connection, line.channel.log),
        "partner_cosigned": cosigned.size if cosigned else None,
    }


def _fetched(asked: Asked | None, line: Any) -> dict[str, Any]:
    """How far the partner says it has come, signed by it; None: it has not asked since the start."""
    told = asked and {
        "at": moment.format(asked.at_ms),
        "size": asked.cursors.channels.get(line.channel.agreement),
    }
    return {"partner_asked": told}


def _incoming(node: Parts, connection: Any, reach: Reach) -> dict[str, Any]:
    head = logs.head(connection, reach.channel.log)
    in_view, gone = channels.mirror_counts(connection, reach.channel.log)
    told: dict[str, Any] = {
        "direction": "in",
        "agreement": reach.channel.agreement,
        "issuer": reach.channel.issuer,
        "partner": node.country,
    }
    told |= {"state": reach.state, "size": head.size if head else 0, "in_view": in_view, "left_view": gone}
    told |= {"signed_size": stated(head.checkpoint).size if head else 0}
    told |= {
        "ledger_size": reach.ledger_size,
        "freshness": reach.freshness(node.now_ms()),
        "alerts": list(reach.alerts),
    }
    notices = [
        {"channel_seq": row["seq"], "told_at": row["time"]} | orjson.loads(row["body"])
        for row in channels.notices(connection, reach.channel.log)
    ]
    return told | {"notices": notices, "read_at": moment.format(node.now_ms())}
