"""Routes about agreements and peers: draft, sign, start, suspend; pin a card."""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

import orjson
from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy import Connection
from starlette.responses import Response

from node.agreements.document import Agreement
from node.agreements.preview import proposed
from node.api import schemas
from node.api.edge import (
    Administrator,
    For,
    Node,
    Previewer,
    Reader,
    Recorder,
    durable,
    json,
    read_out,
)
from node.errors import Malformed, NotFound, problem
from node.exchange import card
from node.exchange.standing import HeldAct, Standing
from node.service.accusing import is_frozen
from node.service.admission import AdmitPeer, Freeze
from node.service.parts import Parts
from node.service.preview import PAGE, Comparison
from node.service.signing import Draft, Sign, Withdraw
from node.store import access, channels
from node.store.database import Row
from node.store.tables import LEDGER

SHORTEST_ID = 6

router = APIRouter(prefix="/v1", tags=["agreements"])


class NewWithdrawal(schemas.Request):
    """What to take back: an act that is not signed by all it takes, or the whole draft."""

    act: str | None = Field(
        default=None, max_length=64, description="The act's id or how it begins; the draft itself if absent."
    )
    reason: str = Field(default="", max_length=500)


class Arrangement(schemas.Request):
    """An agreement or draft that the node knows, or else terms with a contract's text."""

    agreement: str | None = Field(
        default=None, max_length=64, description="The agreement's id, or how it begins."
    )
    terms: dict[str, Any] | None = None
    contract: str | None = Field(default=None, max_length=65_536, description="The contract's Python text.")


class Compared(schemas.Request):
    """Two arrangements, and which of the own records to look at."""

    old: Arrangement | None = Field(default=None, description="Nothing, if absent.")
    new: Arrangement
    after: str = Field(
        default="", max_length=100, pattern=r"^[!-~]*$", description="`next` of the page before."
    )
    limit: int = Field(default=PAGE, ge=1, le=PAGE, description="Most records to look at.")


class NewSignature(schemas.NewAct):
    """An act to sign, in the words of who signs; or the partner's proposal, named."""

    proposal: str | None = Field(
        default=None,
        max_length=64,
        description="The id, or how it begins, of the proposal to sign as it stands.",
    )


@router.get("/agreements")
@read_out
def list_agreements(node: Node, _caller: Reader) -> Response:
    """Every agreement this node knows, with the state of each direction today."""
    with node.database.read() as connection:
        standings = node.standings.current(connection)
    return json({"agreements": [summary(each, node) for each in standings.values()]})


@router.post("/agreements")
async def draft(new: schemas.NewAgreement, request: Request, node: Node, _caller: Administrator) -> Response:
    """Draft an agreement; the partner sees the draft, and nothing takes effect before both signed it."""
    old = ""
    if new.supersedes is not None:
        old = (await node.database.read_out(partial(_standing, node, new.supersedes))).agreement.id
    work = Draft(new.title, new.countries, new.terms, new.contract, old)
    return json({"agreement": await durable(node, request.app.state.sequencer, work)}, 201)


@router.post("/agreements/compare")
@read_out
def compare(asked: Compared, node: Node, caller: Previewer, why: For, access: Recorder) -> Response:
    """What an arrangement would let out of this node otherwise than another one, or none; changes nothing.

    Every own record of the page is decided under both, as of today and as if in operation.
    """
    old = None if asked.old is None else _arrangement(node, asked.old, "old")
    told = Comparison(node, old, _arrangement(node, asked.new, "new")).page(asked.after, asked.limit)
    listed = [(LEDGER, each["record_id"]) for each in told["listed"]]
    ends = list(dict.fromkeys([*listed[:1], *listed[-1:]]))
    access.record(caller, "export", why, [(None, ends, False)], {"count": len(listed)})
    return json(told)


@router.get("/agreements/{agreement}")
@read_out
def show(agreement: str, node: Node, _caller: Reader) -> Response:
    """One agreement: its document with terms and contract, its acts, who signed, whose ledger holds them."""
    standing = _standing(node, agreement)
    today = node.today()
    acts = [
        {
            "act": held.act.id,
            "says": held.act.to_json(),
            "signed_by": list(held.signed),
            "complete": standing.is_complete(held, today),
            "counts": standing.counts(held, today),
            "withdrawn_by": _withdrawn(standing, held, today),
            "own_ledger_seq": held.ledger_seq,
            "proven_in_ledgers_of": sorted(held.receipts),
        }
        for held in standing.held
    ]
    return json(summary(standing, node) | {"document": standing.agreement.to_json(), "acts": acts})


@router.post("/agreements/{agreement}/acts")
async def act(
    agreement: str, new: NewSignature, request: Request, node: Node, _caller: Administrator
) -> Response:
    """Sign an act for this administration: the one a partner proposed in these words, or a new proposal."""
    standing = await node.database.read_out(partial(_standing, node, agreement))
    named = None if new.proposal is None else _act_id(standing, new.proposal)
    work = Sign(
        standing.agreement.id,
        new.act,
        new.issuer,
        new.partner,
        new.mode,
        new.effective,
        new.reason,
        tuple(new.preconditions_met),
        named,
    )
    return json(await durable(node, request.app.state.sequencer, work))


@router.post("/agreements/{agreement}/withdraw")
async def withdraw(
    agreement: str, new: NewWithdrawal, request: Request, node: Node, _caller: Administrator
) -> Response:
    """Take back a draft or a proposal, or decline a partner's; refused once all have signed it."""
    standing = await node.database.read_out(partial(_standing, node, agreement))
    named = None if new.act is None else _act_id(standing, new.act)
    work = Withdraw(standing.agreement.id, named, new.reason)
    return json(await durable(node, request.app.state.sequencer, work))


@router.get("/agreements/{agreement}/decisions")
@read_out
def decisions(agreement: str, node: Node, _caller: Reader) -> Response:
    """What the contract answered for each own record: how many are shared, and why the others are not."""
    standing = _standing(node, agreement)
    with node.database.read() as connection:
        lines = [
            line
            for line in node.lines(connection, node.today())
            if line.channel.agreement == standing.agreement.id and line.carries_records
        ]
        told = [
            {
                "partner": line.channel.partner,
                "state": line.state,
                "shared": channels.shared_count(connection, line.channel.log),
            }
            | _reasons(channels.newest_answer_counts(connection, line.channel.log))
            for line in lines
        ]
    return json({"agreement": standing.agreement.id, "directions": told})


@router.get("/peers")
@read_out
def list_peers(node: Node, _caller: Reader) -> Response:
    """The peers whose cards are pinned here."""
    with node.database.read() as connection:
        rows = access.peers(connection)
        told = [_told(connection, row) for row in rows]
    return json({"peers": told})


@router.post("/peers")
async def add_peer(new: schemas.NewPeer, request: Request, node: Node, _caller: Administrator) -> Response:
    """Pin a peer's card; the fingerprint must be the one you compared with the peer over another channel."""
    peer = await durable(node, request.app.state.sequencer, AdmitPeer(new.card, new.fingerprint))
    await node.database.ask(request.app.state.replication.watch_peers)
    return json(_peer(peer), 201)


@router.post("/peers/{country}/freeze")
async def freeze_peer(
    country: schemas.CountryPath, new: schemas.Freeze, request: Request, node: Node, _caller: Administrator
) -> Response:
    """Believe nothing new of a peer from now on, and tell it nothing: its keys are in other hands."""
    peer, note = await durable(node, request.app.state.sequencer, Freeze(country, new.reason))
    return json({"name": peer.name, "country": peer.country, "checkpoint": note})


def _told(connection: Connection, row: Row) -> dict[str, Any]:
    """A peer with what is known of it here."""
    peer = card.read(row["card"])
    told = {"pinned_at": row["pinned_at"], "number": peer.number, "has_card": row["holds"]}
    return _peer(peer) | told | {"frozen": is_frozen(connection, peer), "successor": row["successor"]}


def summary(standing: Standing, node: Parts) -> dict[str, Any]:
    """An agreement in short."""
    agreement, today = standing.agreement, node.today()
    directions = [
        {
            "issuer": i,
            "partner": p,
            "state": standing.state(i, p, today),
            "ends": _ends(standing, i, p, today),
        }
        for i, p in standing.directions()
    ]
    signed, after = standing.is_signed(today), standing.replaced(today)
    told = {
        "agreement": agreement.id,
        "title": agreement.title,
        "parties": list(agreement.countries),
        "drafted_on": agreement.drafted_on,
    }
    return told | {
        "contract": agreement.contract_sha256,
        "directions": directions,
        "waiting": _waiting(standing, today),
        "withdrawn_by": [] if signed else list(standing.withdrawn_by()),
        "signed": signed,
        "supersedes": agreement.supersedes or None,
        "superseded_by": after[1].agreement.id if after else None,
    }


def _ends(standing: Standing, issuer: str, partner: str, today: str) -> str | None:
    """The first day on which a direction is terminated, if that is settled."""
    days = [
        act.effective
        for act in standing.acts(today)
        if act.act in ("terminate", "leave") and act.concerns(issuer, partner)
    ]
    after = standing.replaced(today)
    return min([*days, *([after[0]] if after else [])], default=None)


def _waiting(standing: Standing, today: str) -> list[dict[str, Any]]:
    """What waits for a signature, and whose; a draft that nobody has signed waits for all."""
    agreement = standing.agreement
    open_ones = [
        {
            "act": held.act.act,
            "issuer": held.act.issuer,
            "partner": held.act.partner,
            "mode": held.act.mode,
            "signed_by": list(held.signed),
            "missing": list(ruling.missing),
        }
        for held in standing.held
        if not (ruling := standing.ruling(held, today)).allowed and not standing.withdrawn_by(held.act)
    ]
    begun = any(held.act.act == "sign" and not standing.withdrawn_by(held.act) for held in standing.held)
    if begun or standing.withdrawn_by():
        return open_ones
    fresh: dict[str, Any] = {"act": "sign", "issuer": None, "partner": None, "mode": None, "signed_by": []}
    return [fresh | {"missing": list(agreement.countries)}, *open_ones]


def _withdrawn(standing: Standing, held: HeldAct, today: str) -> list[str]:
    return [] if standing.counts(held, today) else list(standing.withdrawn_by(held.act))


def _arrangement(node: Parts, told: Arrangement, where: str) -> Agreement:
    """The agreement that is known, or the one that terms and contract would make."""
    if told.agreement is not None and told.terms is None and told.contract is None:
        return _standing(node, told.agreement).agreement
    if told.agreement is None and told.terms is not None and told.contract is not None:
        return proposed(told.terms, told.contract)
    rule = "must be an agreement's id, or terms and a contract's text"
    raise Malformed("it is not said what to compare", problems=[problem(where, "", rule)])


def _standing(node: Parts, agreement: str) -> Standing:
    """An agreement by its id, or by the beginning of it where only one begins so."""
    with node.database.read() as connection:
        standings = node.standings.current(connection)
    return standings[_one(agreement, standings, "agreement", "`aeo mra list`")]


def _act_id(standing: Standing, start: str) -> str:
    """The id of the one act under an agreement that begins so."""
    return _one(start, (held.act.id for held in standing.held), "act", "`aeo mra show`")


def _one(start: str, known: Iterable[str], what: str, see: str) -> str:
    """The one id that begins so."""
    found = [number for number in known if len(start) >= SHORTEST_ID and number.startswith(start)]
    if len(found) != 1:
        why = "several begin so" if found else f"give at least {SHORTEST_ID} characters of an id known here"
        raise NotFound(f"there is no such {what} here", where=start, why=why, do=f"list them with {see}")
    return found[0]


def _reasons(counts: dict[str, int]) -> dict[str, Any]:
    withheld: Counter[str] = Counter()
    for text, count in counts.items():
        answer = orjson.loads(text)
        if answer["answer"] == "withhold":
            withheld[answer["reason"]] += count
    return {"decided": sum(counts.values()), "withheld": dict(withheld.most_common())}


def _peer(peer: card.Card) -> dict[str, Any]:
    told = {
        "name": peer.name,
        "country": peer.country,
        "administration": peer.administration,
        "address": peer.address,
    }
    return told | {"fingerprint": peer.fingerprint}
