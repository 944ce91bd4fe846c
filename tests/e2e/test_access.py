"""Who may ask a node for what: bearer tokens with roles, signed requests of peers, bounds, hostile input."""

import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts import rules, terms
from node import app, assembly, keys
from node.exchange import card, requests
from node.exchange.card import Card
from node.service import tokens
from tests.nodes import Node, brazilian, make, name_of, running

OPEN = {
    "GET /healthz",
    "GET /openapi.json",
    "GET /v1/card",
    "GET /log/checkpoint",
    "GET /log/tile/entries/{place}",
    "GET /log/tile/{level}/{place}",
    "POST /witness/add-checkpoint",
}
SIGNED = {"GET /v1/peer/news", "GET /v1/peer/seen", "GET /v1/peer/held", "POST /v1/peer/fetch"}
CHANNEL = "GET /channel/{agreement}/{issuer}/{partner}"
PERMISSIONS = {
    f"{CHANNEL}/checkpoint": "look-up",
    f"{CHANNEL}/tile/entries/{{place}}": "look-up",
    f"{CHANNEL}/tile/{{level}}/{{place}}": "look-up",
    "GET /v1/access": "audit",
    "GET /v1/access/partners": "audit",
    "GET /v1/access/{seq}": "audit",
    "GET /v1/agreements": "look-up",
    "GET /v1/agreements/{agreement}": "look-up",
    "GET /v1/agreements/{agreement}/decisions": "look-up",
    "GET /v1/changes": "look-up",
    "GET /v1/channels": "look-up",
    "GET /v1/erasures": "audit",
    "GET /v1/incidents": "audit",
    "GET /v1/incidents/{incident}": "audit",
    "GET /v1/log": "look-up",
    "GET /v1/operators": "look-up",
    "GET /v1/operators/{tin}": "look-up",
    "GET /v1/operators/{tin}/as-of": "look-up",
    "GET /v1/operators/{tin}/consents": "change",
    "GET /v1/operators/{tin}/disclosures": "change",
    "GET /v1/operators/{tin}/evidence": "look-up",
    "GET /v1/operators/{tin}/history": "look-up",
    "GET /v1/peers": "look-up",
    "GET /v1/receipts/{seq}": "look-up",
    "GET /v1/register": "look-up",
    "GET /v1/reports": "look-up",
    "GET /v1/search": "look-up",
    "GET /v1/suspended-here": "look-up",
    "POST /v1/agreements": "administer",
    "POST /v1/agreements/compare": "preview",
    "POST /v1/agreements/{agreement}/acts": "administer",
    "POST /v1/agreements/{agreement}/withdraw": "administer",
    "POST /v1/fetches": "look-up",
    "POST /v1/incidents/{incident}/close": "administer",
    "POST /v1/operators": "change",
    "POST /v1/operators/import": "change",
    "POST /v1/operators/{tin}/erase": "administer",
    "POST /v1/operators/{tin}/hold": "administer",
    "POST /v1/operators/{tin}/irregularities": "change",
    "POST /v1/operators/{tin}/release": "administer",
    "POST /v1/operators/{tin}/resume-here": "change",
    "POST /v1/operators/{tin}/suspend-here": "change",
    "POST /v1/reports/{report}/acknowledge": "change",
    "POST /v1/operators/lookup": "look-up",
    "POST /v1/operators/{tin}/consent": "change",
    "POST /v1/operators/{tin}/status": "change",
    "POST /v1/peers": "administer",
    "POST /v1/peers/{country}/freeze": "administer",
}
ROLES = {
    "reader": {"look-up"},
    "officer": {"look-up", "change", "preview"},
    "auditor": {"look-up", "audit", "preview"},
    "administrator": {"look-up", "change", "preview", "audit", "administer"},
}
NEWS = "/v1/peer/news?card=1&rev=0&ledger=0"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A running node with generous bounds."""
    [made] = make(("BR",), tmp_path_factory.mktemp("access"))
    with running(made):
        yield made


@dataclass
class Partner:
    """The holder of a pinned card, whose requests a test signs itself."""

    card: Card
    keys: keys.NodeKeys
    node: Node

    def headers(
        self, method: str = "GET", path: str = NEWS, body: bytes = b"", **changed: Any
    ) -> dict[str, str]:
        """The headers of a request to the node, signed now with the pinned key unless changed."""
        url = changed.get("url", self.node.url + path)
        sender, at = changed.get("sender", self.card.name), changed.get("at", time.time())
        return requests.sign(method, url, body, sender, changed.get("key", self.keys.log[0]), at)

    def get(self, headers: dict[str, str], path: str = NEWS) -> httpx.Response:
        """Send a GET with these headers."""
        with self.node.client(None) as anybody:
            return anybody.get(path, headers=headers)


@pytest.fixture(scope="module")
def partner(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Partner:
    """A partner whose card is pinned at the node."""
    made = card_holder(tmp_path_factory.mktemp("partner"), "UY", node)
    node.post("/v1/peers", {"card": made.card.text, "fingerprint": made.card.fingerprint})
    return made


def card_holder(home: Path, country: str, node: Node) -> Partner:
    """Somebody with keys and a card of this country, who asks this node."""
    keys.make(home / "keys")
    own = keys.load("file:keys", home)
    told = card.write(name_of(country), country, f"Customs of {country}", "http://127.0.0.1:9", own)
    return Partner(told, own, node)


def routes_of(routes: Iterable[Any]) -> set[str]:
    """Every "METHOD /path" that the application serves, documented or not."""
    found: set[str] = set()
    for route in routes:
        if hasattr(route, "original_router"):
            found |= routes_of(route.original_router.routes)
        else:
            methods = route.methods - {"HEAD"}
            found |= {f"{method} {re.sub(':path}', '}', route.path)}" for method in methods}
    return found


def ask(client: httpx.Client, route: str, **given: Any) -> httpx.Response:
    """A request to a route with something in each place of its path; only the head of its answer is read."""
    method, _, path = route.partition(" ")
    place = re.sub(r"{\w+}", "BR0000", path)
    query = {"identifier": "BR0000", "name": "nobody", "rev": 0, "ledger": 0}
    body = {"json": {}} if method == "POST" else {}
    with client.stream(method, place, **{"params": query, **body, **given}) as answer:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            answer.read()
        return answer


def is_problem(answer: httpx.Response, status: int) -> bool:
    """Whether an answer is problem details of this status that name a type, a title and a sentence."""
    if answer.status_code != status or answer.headers["content-type"] != "application/problem+json":
        return False
    told = answer.json()
    texts = [told[name] for name in ("type", "title", "detail")]
    return told["status"] == status and all(texts) and told["type"].startswith("urn:aeo:problem:")


def token(node: Node, role: str, days: int | None = None, created_ms: int | None = None) -> str:
    """A new token in the store of a running node."""
    parts = assembly.parts_of(node.home)
    try:
        now_ms = parts.now_ms() if created_ms is None else created_ms
        return tokens.create(parts.database, role, f"a test's {role}", days, now_ms, os.urandom)
    finally:
        parts.database.close()


def test_every_route_is_known_here_as_open_signed_or_behind_a_permission(node: Node) -> None:
    served = routes_of(app.build(assembly.parts_of(node.home)).routes)
    assert served == OPEN | SIGNED | set(PERMISSIONS)


@pytest.mark.parametrize("route", sorted(SIGNED | set(PERMISSIONS)))
def test_nobody_gets_in_without_showing_who_they_are(node: Node, route: str) -> None:
    with node.client(None) as anybody:
        assert is_problem(ask(anybody, route), 401)


@pytest.mark.parametrize(
    "route", ["GET /healthz", "GET /openapi.json", "GET /v1/card", "GET /log/checkpoint"]
)
def test_what_is_public_needs_no_token(node: Node, route: str) -> None:
    with node.client(None) as anybody:
        assert ask(anybody, route).status_code == 200


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_its_permissions_say_and_nothing_more(node: Node, role: str) -> None:
    with node.client(token(node, role)) as client:
        for route, permission in PERMISSIONS.items():
            answer = ask(client, route)
            if permission in ROLES[role]:
                assert answer.status_code not in (401, 403), route
            else:
                assert is_problem(answer, 403), route


def test_a_bearer_token_does_not_open_the_routes_of_peers(node: Node) -> None:
    assert is_problem(node.http.get(NEWS), 401)


def test_a_revoked_token_stops_working(node: Node) -> None:
    secret = token(node, "reader")
    with node.client(secret) as client:
        assert client.get("/v1/agreements").status_code == 200
        assert node.command("token", "revoke", secret.split("_")[1]).returncode == 0
        deadline = time.monotonic() + 3
        while client.get("/v1/agreements").status_code == 200:
            assert time.monotonic() < deadline
        assert is_problem(client.get("/v1/agreements"), 401)


def test_an_expired_token_is_refused(node: Node) -> None:
    two_days_ago_ms = int(time.time() * 1000) - 2 * 86_400_000
    with node.client(token(node, "administrator", days=1, created_ms=two_days_ago_ms)) as client:
        assert "expired" in client.get("/v1/agreements").json()["title"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: good[:-1] + ("A" if good[-1] != "A" else "B"),
        lambda good: good.replace("aeo_", "aeo_0", 1),
        lambda good: "_".join(good.split("_", 2)[:2]) + "_",
        lambda good: good.upper(),
        lambda good: "",
        lambda good: "aeo__",
        lambda good: "'; DROP TABLE token; --",
    ],
)
def test_a_wrong_token_is_refused(node: Node, spoil: Any) -> None:
    good = node.http.headers["authorization"].removeprefix("Bearer ")
    with node.client(None) as anybody:
        header = {"authorization": f"Bearer {spoil(good)}".strip()}
        assert is_problem(anybody.get("/v1/agreements", headers=header), 401)


def test_no_secret_rests_in_the_store_or_the_log(node: Node) -> None:
    secret = token(node, "officer").split("_", 2)[2]
    private = (node.home / "keys" / "log.pem").read_text(encoding="utf-8").splitlines()[1]
    stored = b"".join(path.read_bytes() for path in node.home.glob("node.*"))
    assert secret.encode() not in stored
    assert private.encode() not in stored


# Requests of peers


def test_a_request_signed_by_a_pinned_peer_is_answered(partner: Partner) -> None:
    answer = partner.get(partner.headers())
    assert answer.status_code == 200
    assert answer.json()["channels"] == []


def test_a_replayed_request_is_refused(partner: Partner) -> None:
    headers = partner.headers()
    assert partner.get(headers).status_code == 200
    again = partner.get(headers)
    assert is_problem(again, 401)
    assert "already used" in again.json()["title"]


def test_a_request_signed_with_an_unknown_key_is_refused(partner: Partner, tmp_path: Path) -> None:
    stranger = card_holder(tmp_path, "AR", partner.node)
    assert is_problem(partner.get(stranger.headers()), 401)
    assert is_problem(partner.get(partner.headers(key=stranger.keys.log[0])), 401)
    assert is_problem(partner.get(partner.headers(key=partner.keys.cosign[0])), 401)


@pytest.mark.parametrize(
    "changed",
    [
        {"path": NEWS + "&wait=1"},
        {"path": "/v1/peer/news?card=1&ledger=0&rev=0"},
        {"method": "POST"},
        {"body": b"{}"},
        {"url": "http://127.0.0.1:9" + NEWS},
        {"at": time.time() - 400},
        {"at": time.time() + 400},
    ],
    ids=["query added", "query reordered", "method", "body", "another node", "expired", "from the future"],
)
def test_a_signature_over_another_request_is_refused(partner: Partner, changed: dict[str, Any]) -> None:
    assert is_problem(partner.get(partner.headers(**changed)), 401)


@pytest.mark.parametrize("header", ["signature", "signature-input", "content-digest"])
def test_a_request_with_a_changed_or_missing_header_is_refused(partner: Partner, header: str) -> None:
    headers = partner.headers()
    for value in ("aeo=:AAAA:", "aeo=()", "a=b;;", headers[header].replace("aeo=", "other=")[:-2]):
        assert is_problem(partner.get({**headers, header: value}), 401)
    assert is_problem(partner.get({name: each for name, each in headers.items() if name != header}), 401)


@pytest.mark.parametrize("parameter", ["nonce", "expires", "created", "keyid"])
def test_a_signature_without_one_of_its_parameters_is_refused(partner: Partner, parameter: str) -> None:
    headers = partner.headers()
    cut = re.sub(rf';{parameter}=("[^"]*"|\d+)', "", headers["signature-input"])
    assert cut != headers["signature-input"]
    assert is_problem(partner.get({**headers, "signature-input": cut}), 401)


def test_the_request_of_a_peer_carries_no_rights_of_a_person(partner: Partner) -> None:
    for path in ("/v1/operators/BR0", "/v1/incidents"):
        assert is_problem(partner.get(partner.headers(path=path), path), 401)


# Bounds


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A running node with narrow bounds."""
    narrow = {"AEO_BODY_LIMIT_BYTES": "4096", "AEO_LIST_LIMIT": "5", "AEO_RATE_PER_MINUTE": "60"}
    [made] = make(("BR",), tmp_path_factory.mktemp("bounded"), **narrow)
    with running(made):
        yield made


@pytest.mark.parametrize("declared", [True, False], ids=["with its length", "in chunks"])
def test_a_body_over_the_limit_is_refused(bounded: Node, declared: bool) -> None:
    body = json.dumps({"identifiers": ["x" * 60] * 100}).encode()
    content = body if declared else (body[at : at + 500] for at in range(0, len(body), 500))
    with bounded.client(token(bounded, "reader")) as client:
        headers = {"content-type": "application/json"}
        assert is_problem(client.post("/v1/operators/lookup", content=content, headers=headers), 413)


def test_a_list_over_the_limit_is_refused(bounded: Node) -> None:
    with bounded.client(token(bounded, "officer")) as client:
        assert client.post("/v1/operators/lookup", json={"identifiers": ["x"] * 5}).status_code == 200
        assert is_problem(client.post("/v1/operators/lookup", json={"identifiers": ["x"] * 6}), 413)
        refused = client.post("/v1/operators/import", json={"operators": [{}] * 6})
        assert is_problem(refused, 413)


def test_too_many_requests_are_told_when_to_come_again(bounded: Node) -> None:
    first, second = token(bounded, "reader"), token(bounded, "reader")
    with bounded.client(first) as client:
        refused = first_refusal(client)
        assert is_problem(refused, 429)
        assert int(refused.headers["retry-after"]) > 0
    with bounded.client(second) as client:
        client.get("/v1/agreements")
        assert client.get("/v1/agreements").status_code == 200, "one caller's haste is not another's"


def test_invented_tokens_do_not_escape_the_bound(bounded: Node) -> None:
    with bounded.client(None) as anybody:
        statuses = [
            anybody.get("/v1/agreements", headers={"authorization": f"Bearer aeo_{n}_x"}).status_code
            for n in range(200)
        ]
    assert set(statuses) == {401, 429}


def first_refusal(client: httpx.Client) -> httpx.Response:
    """The first answer that is not 200, of up to three minutes' worth of requests."""
    answers = (client.get("/v1/agreements") for _ in range(180))
    return next(answer for answer in answers if answer.status_code != 200)


# Refusals and hostile input


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def hostile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Partner]:
    """A partner at a node on each kind of database: what one stores, the other may refuse."""
    if request.param == "sqlite":
        yield request.getfixturevalue("partner")
        return
    urls = {"BR": request.getfixturevalue("postgres").create()}
    [made] = make(("BR",), tmp_path_factory.mktemp("hostile"), urls)
    with running(made):
        its = card_holder(tmp_path_factory.mktemp("its"), "UY", made)
        made.post("/v1/peers", {"card": its.card.text, "fingerprint": its.card.fingerprint})
        yield its


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/operators", 405),
        ("GET", "/v1/operators", 422),
        ("GET", "/v1/operators/BR1", 404),
        ("GET", "/v1/operators/BR1/history", 404),
        ("GET", "/v1/agreements/none", 404),
        ("GET", "/v1/search?name=a", 422),
        ("GET", "/v1/register?limit=0", 422),
        ("GET", "/v1/changes?after=-1", 422),
        ("GET", "/log/tile/0/999", 404),
        ("GET", "/log/tile/0/000.p/256", 422),
        ("POST", "/v1/operators", 422),
        ("POST", "/v1/peers", 422),
    ],
)
def test_every_refusal_is_problem_details(node: Node, method: str, path: str, status: int) -> None:
    assert is_problem(node.http.request(method, path), status)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 422),
        (b"{", {}, 422),
        (b"[]", {}, 422),
        (b"NaN", {}, 422),
        (b"{}", {}, 422),
        (b'{"tin": "BR1", "tin": "BR2"}', {}, 422),
        (b"{}", {"content-type": "text/plain"}, 422),
        (b"{}", {"content-type": "application/json; charset=utf-8"}, 422),
        (b"{}", {"idempotency-key": "k" * 101}, 422),
        (b"{}", {"authorization": "Bearer aeo_wrong"}, 401),
        (b"{}", {"authorization": ""}, 401),
    ],
)
def test_an_operator_out_of_form_is_refused_as_problem_details(
    node: Node, body: bytes, headers: dict[str, str], status: int
) -> None:
    given = {"content-type": "application/json"} | headers
    assert is_problem(node.http.post("/v1/operators", content=body, headers=given), status)


@pytest.mark.parametrize("query", [{}, {"reason": "as filed"}])
def test_an_operator_is_recorded_once_for_each_key_with_or_without_a_reason(
    node: Node, query: dict[str, str]
) -> None:
    record, key = brazilian(40 + len(query)), {"idempotency-key": f"key {query}"}
    first, again = (node.http.post("/v1/operators", json=record, params=query, headers=key) for _ in range(2))
    assert (first.status_code, first.json()["outcome"]) == (200, "new")
    assert again.json() | {"receipt": ""} == first.json() | {"receipt": ""}
    other = node.http.post("/v1/operators", json=brazilian(44), params=query, headers=key)
    assert is_problem(other, 409)


NASTY_TEXTS = [
    "",
    " ",
    "\x00",
    "a\x00b",
    "\ufeff",
    "\u202eoperator",
    "\ud800",
    "e\u0301" * 40,
    "𐍈" * 30,
    "%00%ff%2e%2e%2f",
    "../../etc/passwd",
    "' OR 1=1; --",
    "=cmd|' /C calc'!A0",
    "{{7*7}}${7*7}",
    "<script>alert(1)</script>",
    "1e999",
    "-1",
    "9" * 30,
    str(2**53 - 1),
    "NaN",
    "x" * 4_000,
    "x036/x028/x797/x018/x963/967",
    "\r\nSet-Cookie: a=b",
]
NASTY_VALUES: list[Any] = [
    *NASTY_TEXTS,
    None,
    True,
    0,
    -1,
    2**63,
    10**40,
    1.5,
    [],
    {},
    [[[[]]]],
    [None],
    [{"scheme": "CNPJ"}],
    {"\ud800": "\x00"},
    {"v": 10**40},
]
NASTY_BODIES = [
    b"",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"0",
    b'"x"',
    b"[" * 100_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"operators": NaN}',
    b'{"operators": [{"tin": 1e400}]}',
    b'{"operators": [' + b"9" * 10_000 + b"]}",
    b'{"given": true, "given": false, "": 1}',
]


def described(node: Node) -> dict[str, Any]:
    """The routes of a node as it describes them, by "METHOD /path"."""
    paths = node.get("/openapi.json")["paths"]
    return {f"{method.upper()} {path}": told for path, each in paths.items() for method, told in each.items()}


def quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))


def nasty_requests(route: str, told: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Requests with a nasty text in each place of the path, the query and the headers of a route."""
    method, _, path = route.partition(" ")
    places = {each["name"]: each["in"] for each in told.get("parameters", [])}
    for (name, where), text in itertools.product(places.items(), NASTY_TEXTS):
        values = {each: quoted(text if each == name else "0") for each in places}
        url = re.sub(r"{(\w+)}", lambda found, values=values: values[found[1]] or "0", path)
        query = "&".join(f"{each}={values[each]}" for each, its in places.items() if its == "query")
        headers = (
            {name: text[:500].strip()} if where == "header" and text.isascii() and text.isprintable() else {}
        )
        yield method, f"{url}?{query}", {"headers": headers}


def nasty_bodies(route: str, told: dict[str, Any], good: dict[str, Any]) -> Iterator[bytes]:
    """Bodies of a route with a nasty value for each member of a good one, and bodies that are none."""
    if "requestBody" not in told:
        return
    yield from NASTY_BODIES
    for name, value in itertools.product(good, NASTY_VALUES):
        yield json.dumps({**good, name: value}).encode()
        if isinstance(good[name], list):
            yield json.dumps({**good, name: [value]}).encode()


def good_bodies(partner: Partner) -> dict[str, dict[str, Any]]:
    return {
        "POST /v1/operators": brazilian(500),
        "POST /v1/operators/import": {"operators": [brazilian(501)], "dry_run": True, "source": "list"},
        "POST /v1/operators/lookup": {"identifiers": ["BR1"], "scheme": "CNPJ"},
        "POST /v1/operators/{tin}/status": {
            "status": "ACTIVE",
            "effective_at": "2025-01-01T00:00:00.000Z",
            "reason_class": "OTHER",
            "reason": "x",
        },
        "POST /v1/operators/{tin}/consent": {
            "given": True,
            "scope": ["MRA"],
            "by": "x",
            "text": "x",
            "document": "0" * 64,
            "reason": "x",
        },
        "POST /v1/operators/{tin}/erase": {"ground": "UNLAWFUL", "reference": "x"},
        "POST /v1/operators/{tin}/hold": {"reason": "x"},
        "POST /v1/operators/{tin}/suspend-here": {"class": "CARGO", "reason": "x", "agreement": "x"},
        "POST /v1/operators/{tin}/resume-here": {"reason": "x", "agreement": "x"},
        "POST /v1/operators/{tin}/irregularities": {"class": "CARGO", "text": "x", "agreement": "x"},
        "POST /v1/reports/{report}/acknowledge": {"text": "x"},
        "POST /v1/fetches": {
            "identifier": "x",
            "scheme": "CNPJ",
            "country": "UY",
            "agreement": "x",
            "purpose": "x",
            "reference": "x",
        },
        "POST /v1/agreements": {"title": "T", "countries": ["BR", "UY"], "terms": {}, "contract": "x"},
        "POST /v1/agreements/compare": {
            "old": {"terms": terms.terms(), "contract": rules.text()},
            "new": {"terms": terms.terms(), "contract": rules.text()},
            "after": "urn:aeo",
            "limit": 5,
        },
        "POST /v1/agreements/{agreement}/acts": {
            "act": "sign",
            "issuer": "BR",
            "partner": "UY",
            "mode": "pilot",
            "effective": "2026-01-01",
            "reason": "x",
            "preconditions_met": ["x"],
        },
        "POST /v1/agreements/{agreement}/withdraw": {"act": "x", "reason": "x"},
        "POST /v1/peers": {"card": partner.card.text, "fingerprint": partner.card.fingerprint},
        "POST /v1/peers/{country}/freeze": {"reason": "x"},
    }


def fault_of(send: Callable[[], AbstractContextManager[httpx.Response]]) -> str | None:
    """What is wrong with the answer to a hostile request; None: a success, or a refusal in its form."""
    try:
        with send() as answer:
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                return None
            answer.read()
            is_fine = answer.is_success or (answer.is_client_error and is_problem(answer, answer.status_code))
            return None if is_fine else f"{answer.status_code} {answer.text[:200]}"
    except httpx.TransportError as error:
        return repr(error)


def test_a_hostile_path_query_or_header_never_breaks_the_node(hostile: Partner) -> None:
    node, broken = hostile.node, {}
    for route, told in described(node).items():
        for method, url, given in nasty_requests(route, told):
            if route in SIGNED:
                given = {"headers": hostile.headers(method, url)}
            if fault := fault_of(partial(node.http.stream, method, url, timeout=30, **given)):
                broken[f"{method} {url[:100]}"] = fault
    assert broken == {}
    assert "Traceback" not in node.log()


def test_a_hostile_body_never_breaks_the_node(hostile: Partner) -> None:
    node, good, known = hostile.node, good_bodies(hostile), brazilian(499)
    node.post("/v1/operators", known)
    headers, broken = {"content-type": "application/json"}, {}
    for route, told in described(node).items():
        place = route.partition(" ")[2]
        path = re.sub(r"{\w+}", known["tin"], place)
        if body := good.get(route):
            nul = re.sub(r"{\w+}", "BR%00", place)
            fault = fault_of(partial(node.http.stream, "POST", nul, json=body))
            broken |= {(nul, b""): fault} if fault else {}
        for body in nasty_bodies(route, told, good.get(route, {})):
            if fault := fault_of(partial(node.http.stream, "POST", path, content=body, headers=headers)):
                broken[path, body[:200]] = fault
    assert set(good) == {route for route, told in described(node).items() if "requestBody" in told}
    assert broken == {}
    assert "Traceback" not in node.log()


def test_after_all_hostile_input_the_node_still_writes_and_is_sound(hostile: Partner) -> None:
    node = hostile.node
    assert node.post("/v1/operators", brazilian(600))["outcome"] == "new"
    assert node.fsck() == []


def test_nobody_says_for_himself_where_he_calls_from(lone: Node) -> None:
    """Else whoever invents an address for each request is bounded by nothing."""
    lone.stop()
    lone.environment = {"AEO_RATE_PER_MINUTE": "20"}
    lone.run()
    assert 429 in _statuses_from_invented_places(lone)
    lone.stop()
    lone.environment |= {"AEO_PROXIES": "127.0.0.1"}
    lone.run()
    assert _statuses_from_invented_places(lone) == {200}


def _statuses_from_invented_places(node: Node) -> set[int]:
    places = [{"x-forwarded-for": f"192.0.2.{number}"} for number in range(40)]
    with node.client(None) as anyone:
        return {anyone.get("/v1/card", headers=headers).status_code for headers in places}
