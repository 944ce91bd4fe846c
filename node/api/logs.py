"""Routes of the logs, as static tiles that tools of others read (C2SP tlog-tiles), and of their keys.

The ledger is read by anybody, or, where `log_public` is off, by peers and the own administration. A channel
is read by its two parties, at either of them: whoever is neither is told the same whether or not it exists. A
copy of a partner's channel may be behind the checkpoint that its issuer signed; what it lacks is not found.
"""

import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import PlainTextResponse, Response

from node.api.edge import Node, Reader, asking_country, json, read_out
from node.api.problems import UNKEPT
from node.errors import NotFound
from node.exchange.card import Card, cosigner_name, ledger_origin
from node.exchange.trust import LOG_PATH, WITNESS_PATH
from node.ledger import tiles
from node.ledger.merkle import MAX_SIZE
from node.service.parts import Parts
from node.store import channels, logs, witnessed
from node.store.tables import LEDGER

IMMUTABLE = {"cache-control": "public, max-age=31536000, immutable"}
FRESH = {"cache-control": "no-cache"}
BYTES: dict[int | str, dict[str, Any]] = {200: {"content": {"application/octet-stream": {}}}}

AGREEMENT = re.compile(r"[A-Za-z0-9_-]{1,64}")
COUNTRY = re.compile(r"[A-Z]{2}")

Asking = Annotated[str, Depends(asking_country)]


@dataclass(frozen=True, slots=True)
class Shown:
    """A log that whoever asks may read, by its number; and whether anybody may."""

    log: int
    is_public: bool

    def headers(self, public: Mapping[str, str]) -> Mapping[str, str]:
        """The headers of an answer: what is not for everybody is kept by no cache."""
        return public if self.is_public else UNKEPT


async def ledger(request: Request, node: Node) -> None:
    """Let whoever asks read the ledger; `Unauthenticated` or `Forbidden` where it is not public."""
    if not node.settings.log_public:
        await asking_country(request)
    request.state.shown = Shown(LEDGER, node.settings.log_public)


async def channel(
    request: Request, node: Node, agreement: str, issuer: str, partner: str, asking: Asking
) -> None:
    """Let a party read its channel; for everybody else there is none."""
    found = await node.database.ask(partial(_channel, node, agreement, issuer, partner))
    if found is None or asking not in (issuer, partner):
        raise NotFound("there is no such channel of yours", do="list the channels with `aeo channels`")
    request.state.shown = Shown(found.log, False)


def _channel(node: Parts, agreement: str, issuer: str, partner: str) -> channels.StoredChannel | None:
    if not (AGREEMENT.fullmatch(agreement) and COUNTRY.fullmatch(issuer) and COUNTRY.fullmatch(partner)):
        return None
    with node.database.glance() as connection:
        return channels.channel(connection, agreement, issuer, partner)


async def shown(request: Request) -> Shown:
    """The log that the router's dependency let through."""
    found: Shown = request.state.shown
    return found


This = Annotated[Shown, Depends(shown)]

keys = APIRouter(prefix="/v1/log", tags=["log"])
of_ledger = APIRouter(prefix="/log", tags=["log"], dependencies=[Depends(ledger)])
of_channel = APIRouter(
    prefix="/channel/{agreement}/{issuer}/{partner}", tags=["log"], dependencies=[Depends(channel)]
)


@keys.get("")
@read_out
def show_keys(node: Node, _caller: Reader) -> Response:
    """The ledger's size, origin, address and C2SP verifier key; of the own witness, and of each peer."""
    with node.database.read() as connection:
        head = logs.head(connection, LEDGER)
        peers = node.peers.by_country(connection)
    own = _keys_of(node.card) | {"size": head.size if head else 0}
    return json(own | {"peers": [_keys_of(peers[country]) for country in sorted(peers)]})


@of_ledger.get("/checkpoint", response_class=PlainTextResponse)
@of_channel.get("/checkpoint", response_class=PlainTextResponse)
@read_out
def checkpoint(node: Node, this: This) -> Response:
    """The newest signed checkpoint of the log, with the cosignatures it has (C2SP tlog-checkpoint)."""
    with node.database.glance() as connection:
        head = logs.head(connection, this.log)
        if head is None:
            raise NotFound("there is no such log yet")
        note = witnessed.published(connection, head)
    return PlainTextResponse(note, headers=this.headers(FRESH))


@of_ledger.get("/tile/entries/{place:path}", responses=BYTES)
@of_channel.get("/tile/entries/{place:path}", responses=BYTES)
@read_out
def bundle(place: str, request: Request, node: Node, this: This) -> Response:
    """A bundle of up to 256 entries of the log (C2SP tlog-tiles)."""
    index, width = tiles.parse_bundle_path(f"tile/entries/{place}")
    start = index * tiles.TILE_WIDTH
    with node.database.glance() as connection:
        entries = logs.entries(connection, this.log, start, min(start + width, MAX_SIZE))
    if len(entries) < width:
        raise NotFound("the log has no such bundle yet", where=place, do="read the checkpoint for its size")
    return _packed(tiles.encode_bundle(entries), request, this.headers(IMMUTABLE))


@of_ledger.get("/tile/{level}/{place:path}", responses=BYTES)
@of_channel.get("/tile/{level}/{place:path}", responses=BYTES)
@read_out
def tile(level: str, place: str, node: Node, this: This) -> Response:
    """A tile of up to 256 hashes of the log (C2SP tlog-tiles)."""
    wanted = tiles.parse_path(f"tile/{level}/{place}")
    with node.database.glance() as connection:
        hashes = logs.tile(connection, this.log, wanted.level, wanted.index)
    size = wanted.width * 32
    if hashes is None or len(hashes) < size:
        raise NotFound("the log has no such tile yet", where=place, do="read the checkpoint for its size")
    headers = dict(this.headers(IMMUTABLE))
    return Response(hashes[:size], media_type="application/octet-stream", headers=headers)


def _packed(content: bytes, request: Request, headers: Mapping[str, str]) -> Response:
    """Bytes, compressed if the caller takes that; the same bytes every time."""
    sent = {**headers, "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = gzip.compress(content, 6, mtime=0)
        sent["content-encoding"] = "gzip"
    return Response(content, media_type="application/octet-stream", headers=sent)


def _keys_of(card: Card) -> dict[str, Any]:
    """The keys on a card as C2SP verifier keys, with where its log is read and its witness asked."""
    origin = ledger_origin(card.name)
    witness = {"name": cosigner_name(card.name), "url": card.address + WITNESS_PATH}
    return {
        "name": card.name,
        "country": card.country,
        "administration": card.administration,
        "log": {"origin": origin, "url": card.address + LOG_PATH, "vkey": card.of_log(origin)[0].vkey()},
        "witness": witness | {"vkeys": [each.vkey() for each in card.newest_cosigners]},
    }
