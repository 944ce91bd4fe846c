"""A country in two regions is no bridge: what one told it never reaches the other, whatever that one asks.

Uruguay has an arrangement with Brazil, and another with Argentina and Paraguay. Brazil's operator is known to
Uruguay. Argentina, a peer of all, tries every route that Uruguay serves, with every identifier of Brazil's.
"""

import asyncio
import json
from base64 import b64encode
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import orjson
import pytest

from contracts import terms
from node import app
from node.errors import Refusal
from node.exchange import requests, serving
from node.exchange.card import channel_origin
from node.ledger.encoding import b64u
from node.service import behind, holding
from node.service.parts import Parts
from node.store import channels, logs
from tests.docs.test_docs import served as routes_of
from tests.service import stores
from tests.service.region import Region, copied_region, new_region, of
from tests.service.test_witness_route import WAIT_S, served
from tests.service.world import CNPJS, Json, _news, operator

pytestmark = stores.files_only
COUNTRIES = ("AR", "BR", "PY", "UY")
TIN, ROUTES_LEAST = f"BR{CNPJS[1]}", 25
ITS_OWN: Json = {
    "authorisation_number": "ADE 4711/2025",
    "address": {"line": "Rua do Ouvidor 4711", "city": "Santos", "country": "BR"},
}
ONWARD = ("NONE", "WITH_WRITTEN_CONSENT")


def southern(onward: str) -> Json:
    """Argentina, Paraguay and Uruguay, all six directions."""
    clauses: Any = deepcopy(terms.terms("mercosur"))
    kept = {name: each for name, each in clauses["directions"].items() if "BR" not in name}
    return dict(clauses) | {"name": "MRA-SOUTHERN", "directions": kept, "onward_transfer": onward}


@dataclass
class Met:
    """The four, with what of Brazil's and of its arrangement must never be seen in the other region."""

    region: Region
    northern: str
    southern: str
    record_id: str
    secrets: dict[str, bytes]

    @property
    def bridge(self) -> Parts:
        return self.region.nodes["UY"].parts

    @property
    def asking(self) -> Parts:
        return self.region.nodes["AR"].parts


@pytest.fixture(scope="module", params=ONWARD)
def _made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    folder = tmp_path_factory.mktemp("regions")
    with new_region(folder, COUNTRIES) as region:
        northern = region.agree("Of two", terms.terms("br_uy") | {"onward_transfer": request.param})
        three = region.agree("Of three", southern(request.param))
        for country in ("AR", "PY", "UY"):
            region.nodes[country].admit(of(country))
        for number in (1, 2):
            region.nodes["BR"].admit(operator(number, **ITS_OWN))
        region.exchange()
        # What is told again, suspended and gone travels the same ways.
        region.nodes["BR"].amend(TIN, status="SUSPENDED", status_since="2026-11-22T11:00:00.000Z")
        region.exchange()
    return folder, northern, three


@pytest.fixture
def met(_made: tuple[Path, str, str], tmp_path: Path) -> Iterator[Met]:
    folder, northern, three = _made
    with copied_region(folder, tmp_path, COUNTRIES) as region:
        known = region.nodes["UY"].look_up(TIN)
        record_id, secrets = known["record_id"], {}
        secrets["legal name"] = known["fields"]["legal_name"].encode()
        secrets["authorisation"] = known["fields"]["authorisation_number"].encode()
        secrets["number"] = CNPJS[1].encode()
        secrets["address"] = known["fields"]["address"]["line"].encode()
        secrets["record"] = record_id.encode()
        secrets["credential"] = known["provenance"]["credential"].encode()
        secrets["arrangement"] = northern.encode()
        secrets["terms"] = b"MRA-BR-UY"
        secrets |= _of_channel(region.nodes["UY"].parts, northern, record_id)
        yield Met(region, northern, three, record_id, secrets)


def _of_channel(parts: Parts, agreement: str, record_id: str) -> dict[str, bytes]:
    """What names the last entry of the channel from Brazil, opens the record's ledger entry, and the root."""
    with parts.database.read() as connection:
        channel = channels.channel(connection, agreement, "BR", "UY")
        assert channel is not None
        head = logs.head(connection, channel.log)
        assert head is not None
        [entry] = logs.entries(connection, channel.log, head.size - 1, head.size)
        body = orjson.loads(channels.mirror_history(connection, channel.log, record_id)[-1]["body"])
    root = head.checkpoint.splitlines()[2]
    told = {
        "channel entry": orjson.loads(entry)["body"],
        "salt": body["ledger"]["salt"],
        "channel root": root,
    }
    return {name: str(each).encode() for name, each in told.items()}


def leaked(met: Met, told: bytes, request: bytes = b"") -> list[str]:
    """What of Brazil's is in these bytes, by name; what the request itself said does not count."""
    return [
        name
        for name, secret in met.secrets.items()
        if any(form in told for form in _forms(secret)) and secret not in request
    ]


def _forms(secret: bytes) -> tuple[bytes, ...]:
    escaped = json.dumps(secret.decode())[1:-1].encode()
    return secret, escaped, b64encode(secret), b64u(secret).encode()


def test_the_bridge_itself_has_all_of_it_so_that_the_search_can_find_it(met: Met) -> None:
    home = met.region.nodes["UY"].home
    files = b"".join(path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file())
    assert set(leaked(met, files)) == set(met.secrets)
    assert met.region.nodes["AR"].look_up(of("UY")["tin"])["recognition"]["applies"], "it does exchange"
    assert met.region.nodes["PY"].look_up(of("AR")["tin"])["recognition"]["applies"]


@pytest.mark.parametrize("country", ["AR", "PY"])
def test_nothing_of_it_is_stored_in_the_other_region(met: Met, country: str) -> None:
    home = met.region.nodes[country].home
    files = [path for path in sorted(home.rglob("*")) if path.is_file()]
    assert any(b"UY Comercio" in path.read_bytes() for path in files), "the search reads what arrived"
    assert {path.name: found for path in files if (found := leaked(met, path.read_bytes()))} == {}


def test_no_news_of_it_is_told_whatever_cursors_are_asked_with(met: Met) -> None:
    bridge, peer = met.bridge, met.asking.card
    agreements = [met.northern, met.southern, "x" * 43, channel_origin("aeo.br.example", met.northern, "UY")]
    told = 0
    for asked in ([], agreements, *([each] for each in agreements)):
        for size, ledger in product((0, 1, 10**6), (0, 10**6)):
            answer = _news(bridge, peer, serving.Cursors(1, 0, ledger, dict.fromkeys(asked, size)))
            assert leaked(met, orjson.dumps(answer)) == []
            assert {each["agreement"] for each in answer["channels"]} <= {met.southern}
            told += len(answer["channels"])
    assert told, "it was told of its own"


def test_what_is_held_and_seen_of_it_is_given_to_its_issuer_alone(met: Met) -> None:
    bridge = met.bridge
    at = {met.northern: 0, met.southern: 0}
    with bridge.database.read() as connection:
        for country in ("AR", "PY"):
            card = met.region.nodes[country].parts.card
            given = holding.held(bridge, connection, card, 0, at)
            assert {each["agreement"] for each in given["channels"]} == {met.southern}
            assert leaked(met, orjson.dumps([given, behind.seen_of(connection, "UY", card)])) == []
        given = holding.held(bridge, connection, met.region.nodes["BR"].parts.card, 0, at)
        assert [each["agreement"] for each in given["channels"]] == [met.northern]


async def test_no_route_tells_it_to_a_peer_of_another_arrangement(met: Met) -> None:
    routes = sorted(routes_of(app.build(met.bridge).routes))
    assert len(routes) > ROUTES_LEAST
    found, answered = {}, set()
    async with served(met.region.nodes["UY"]) as (client, sequencer):
        sequencer.start()
        async with asyncio.timeout(WAIT_S):
            while not sequencer.has_looked_back:
                await asyncio.sleep(0.01)
        for route in routes:
            for method, path, body in _requests(met, route):
                for headers in ({}, _signed(met, method, path, body), {"authorization": "Bearer aeo_x.y"}):
                    answer = await client.request(method, path, content=body, headers=headers)
                    said = answer.content + repr(answer.headers.multi_items()).encode()
                    if names := leaked(met, said, unquote(path).encode() + body):
                        found[f"{method} {path}"] = names
                    if answer.is_success:
                        answered.add(route)
    assert found == {}
    assert {"GET /v1/peer/news", "GET /v1/peer/held", "GET /v1/peer/seen", "GET /log/checkpoint"} <= answered
    assert not any("/v1/operators" in each or "/v1/search" in each for each in answered)


def test_the_bridge_cannot_record_the_operator_of_another_as_its_own(met: Met) -> None:
    fields = met.region.nodes["UY"].look_up(TIN)["fields"]
    whole = operator(1) | {
        name: value for name, value in fields.items() if name not in ("record_id", "recorded_at")
    }
    with pytest.raises(Refusal, match="UY"):
        met.region.nodes["UY"].admit(whole)


def _requests(met: Met, route: str) -> Iterator[tuple[str, str, bytes]]:
    """A route with every value of the other region in its place, and what might be asked of it."""
    method, path = route.split(" ")
    parts = {
        "tin": (TIN, CNPJS[1], met.record_id),
        "agreement": (met.northern, met.southern),
        "place": ("000.p/1", "000", "x000/000"),
        "level": ("0", "1"),
        "country": ("BR",),
        "seq": ("0", "3"),
        "incident": ("1",),
        "report": ("1",),
    }
    names = [name for name in parts if f"{{{name}}}" in path]
    pairs = list(permutations(("AR", "BR", "UY"), 2)) if "{issuer}" in path else [("", "")]
    for values in product(*(parts[name] for name in names)):
        filled = path
        for name, value in zip(names, values, strict=True):
            filled = filled.replace(f"{{{name}}}", quote(value))
        for issuer, partner in pairs:
            asked = filled.replace("{issuer}", issuer).replace("{partner}", partner)
            for query in _queries(met, path):
                for body in _bodies(met, path) if method == "POST" else (b"",):
                    yield method, asked + query, body


def _queries(met: Met, path: str) -> tuple[str, ...]:
    at = "&".join(f"at={each}:0" for each in (met.northern, met.southern))
    return {
        "/v1/peer/news": (f"?card=1&rev=0&ledger=0&{at}", "?card=1&rev=0&ledger=0"),
        "/v1/peer/held": (f"?ledger=0&{at}", "?ledger=0"),
        "/v1/operators": (f"?identifier={CNPJS[1]}", f"?identifier={TIN}"),
        "/v1/search": ("?name=Caatinga",),
        "/v1/operators/{tin}/evidence": ("", f"?agreement={met.northern}"),
        "/v1/receipts/{seq}": ("", "?wait=witnessed"),
    }.get(path, ("",))


def _bodies(met: Met, path: str) -> tuple[bytes, ...]:
    """Among them: a witness is asked about Brazil's ledger, and about its channel to Uruguay."""
    if path == "/witness/add-checkpoint":
        origins = ("aeo.br.example/ledger", channel_origin("aeo.br.example", met.northern, "UY"))
        root = b64encode(bytes(32)).decode()
        return tuple(f"old 0\n\n{each}\n1\n{root}\n\n— x AAAAAAAA\n".encode() for each in origins)
    return (b"{}", orjson.dumps({"identifiers": [TIN, CNPJS[1]]}))


def _signed(met: Met, method: str, path: str, body: bytes) -> dict[str, str]:
    """The headers of a request that Argentina's node signs."""
    url, asking = met.bridge.settings.address + path, met.asking
    return requests.sign(method, url, body, asking.settings.name, asking.keys.log[0], asking.now_ms() / 1000)
