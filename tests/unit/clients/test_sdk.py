"""The Python client against a real node, and against servers that misbehave on purpose."""

import inspect
import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from itertools import islice
from pathlib import Path

import httpx
import pytest

import clients.sdk
from clients.sdk import Node, NodeError, NodeUnreachable, connection
from clients.sdk import client as client_module
from contracts import rules, terms
from node.errors import Malformed
from node.ledger.merkle import leaf_hash
from node.ledger.proof import TlogProof
from tests import http_server, nodes
from tests.http_server import Answer
from tests.nodes import brazilian, free_port

OPENAPI = Path(__file__).parents[3] / "docs" / "openapi.json"
SPOKEN_ELSEWHERE = ("/log/", "/channel/", "/v1/peer/", "/witness/")
"""Read by verifiers and by peers, not by a client of one's own node."""


class Listening(httpx.HTTPTransport):
    """A transport that notes which requests it carried."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, str]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.heard.append((request.method.lower(), request.url.path))
        return super().handle_request(request)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[nodes.Node]]:
    """Brazil's node, which runs, and Uruguay's, which does not."""
    made = nodes.make(("BR", "UY"), tmp_path_factory.mktemp("sdk"))
    made[0].run()
    yield made
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def place(places: list[nodes.Node]) -> nodes.Node:
    return places[0]


@pytest.fixture
def br(place: nodes.Node) -> Iterator[Node]:
    with asking(place) as client:
        yield client


def asking(place: nodes.Node, transport: httpx.BaseTransport | None = None) -> Node:
    return Node(place.url, token_of(place), 30, transport=transport)


def token_of(place: nodes.Node) -> str:
    return (place.home / "administrator.token").read_text().strip()


def server(answer: Callable[[BaseHTTPRequestHandler], Answer]) -> AbstractContextManager[str]:
    """A small HTTP server that answers every request as told; gives its address."""
    return http_server.serving(lambda request, _body: answer(request), "HTTP/1.0")


def replies(*answers: Answer) -> tuple[Callable[[BaseHTTPRequestHandler], Answer], list[str]]:
    """A behaviour that gives these answers one after the other, and the requests it got."""
    rest, seen = iter(answers), list[str]()

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        seen.append(f"{request.command} {request.path} {request.headers.get('idempotency-key', '')}".strip())
        return next(rest, (500, {}, b"no more answers"))

    return answer, seen


BUSY: Answer = (503, {"retry-after": "0"}, b'{"title":"try again"}')
DONE: Answer = (200, {}, b'{"outcome":"new"}')


# What is promised.


def test_the_public_names_are_these() -> None:
    assert clients.sdk.__all__ == ["Node", "NodeError", "NodeUnreachable"]


def test_every_public_method_says_what_it_does() -> None:
    methods = inspect.getmembers(Node, inspect.isfunction)
    assert [name for name, method in methods if not (method.__doc__ or name.startswith("_"))] == []


def test_an_admitted_operator_is_found_by_tin_and_by_number(br: Node) -> None:
    operator = brazilian(1)
    admitted = br.admit(operator)
    assert (admitted["outcome"], admitted["version"]) == ("new", 1)
    assert br.look_up(operator["tin"])["fields"]["legal_name"] == operator["legal_name"]
    [found] = br.find(operator["identifiers"][0]["value"], "CNPJ")
    assert found["tin"] == operator["tin"]
    assert br.find(operator["identifiers"][0]["value"], "RUT") == []


def test_a_receipt_proves_the_change_to_whoever_holds_the_ledgers_key(br: Node, place: nodes.Node) -> None:
    admitted = br.admit(brazilian(2))
    proof = TlogProof.decode(admitted["receipt"] or "")
    entries = nodes.entries_of(place, nodes.checkpoint_of(place).size)
    seq = admitted["ledger_seq"]
    assert proof.index == seq
    known = nodes.log_verifiers(place)
    checkpoint = proof.verify(leaf_hash(entries[seq]), nodes.origin_of(place), known)
    assert checkpoint.size > seq


def test_health_is_the_size_of_the_ledger(br: Node, place: nodes.Node) -> None:
    assert br.health() == nodes.checkpoint_of(place).size


def test_a_change_sent_twice_with_one_key_is_made_once(br: Node) -> None:
    operator = brazilian(3)
    first = br.admit(operator, key="the-same")
    size = br.health()
    again = br.admit(operator, key="the-same")
    assert (again["version"], again["ledger_seq"]) == (first["version"], first["ledger_seq"])
    assert br.health() == size
    with pytest.raises(NodeError) as refused:
        br.admit(brazilian(4), key="the-same")
    assert refused.value.status == 409


def test_a_refusal_names_field_value_and_rule(br: Node) -> None:
    with pytest.raises(NodeError) as refused:
        br.admit(brazilian(5, status="ASLEEP"))
    [problem] = refused.value.problems
    assert refused.value.status == 422
    assert (problem.field, problem.value) == ("status", "ASLEEP")
    assert "ACTIVE" in problem.rule
    assert problem.rule in refused.value.detail


def test_what_is_not_known_is_a_404_with_advice(br: Node) -> None:
    with pytest.raises(NodeError) as refused:
        br.look_up("BR00000000000000")
    assert refused.value.status == 404
    assert refused.value.do


def test_a_path_cannot_be_led_astray_by_an_identifier(br: Node) -> None:
    for tin in ("../v1/peers", "x/history", "a?b=c", "a#b", "%2e%2e"):
        with pytest.raises(NodeError) as refused:
            br.look_up(tin)
        assert refused.value.status == 404, tin


def test_a_list_of_any_length_is_looked_up_in_pages(place: nodes.Node) -> None:
    operator = brazilian(6)
    wanted = [operator["tin"], *(f"BR{number:014d}" for number in range(2 * client_module.LOOKUP_PAGE))]
    transport = Listening()
    with asking(place, transport) as br:
        br.admit(operator)
        found = br.look_up_list(wanted)
    assert list(found) == wanted
    assert [identifier for identifier, answers in found.items() if answers] == [operator["tin"]]
    assert transport.heard.count(("post", "/v1/operators/lookup")) == 3


def test_the_register_is_read_to_its_end(br: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "REGISTER_PAGE", 2)
    new = [brazilian(number) for number in range(10, 15)]
    assert br.import_list(new, source="test")["counts"]["new"] == 5
    tins = list(br.register())
    assert tins == sorted(tins)
    assert {operator["tin"] for operator in new} < set(tins)


def test_a_dry_run_changes_nothing_and_says_what_would_be(br: Node) -> None:
    size = br.health()
    told = br.import_list([brazilian(20), brazilian(21, status="ASLEEP")], dry_run=True)
    assert (told["counts"]["new"], told["counts"]["refused"]) == (1, 1)
    assert [outcome["outcome"] for outcome in told["outcomes"]] == ["new", "refused"]
    assert br.health() == size


def test_status_and_consent_stand_in_the_history(br: Node) -> None:
    operator = brazilian(30)
    br.admit(operator)
    br.change_status(operator["tin"], "SUSPENDED", reason_class="UNDER_REVIEW", reason="a visit")
    br.change_consent(operator["tin"], False)
    versions = br.history(operator["tin"])["versions"]
    assert [each["status"] for each in versions] == ["ACTIVE", "SUSPENDED", "SUSPENDED"]
    assert [each["reason"] for each in versions] == ["", "a visit", ""]
    assert versions[-1]["fields"]["mra_consent"]["given"] is False


def test_a_name_is_suggested_without_its_accents(br: Node) -> None:
    br.admit(brazilian(40, legal_name="Açúcar Ibirapuitã do Jacuí Ltda"))
    [first, *_] = br.search("acucar ibirapuita jacui")["suggestions"]
    assert first["name"] == "Açúcar Ibirapuitã do Jacuí Ltda"


def test_the_feed_resumes_behind_the_last_change_and_loses_nothing(br: Node) -> None:
    start = br.newest_change()
    expected = [br.admit(brazilian(number))["tin"] for number in range(50, 56)]
    first = list(islice(br.changes(after=start), 2))
    rest = list(islice(br.changes(after=first[-1]["change"]), 4))
    assert [each["tin"] for each in first + rest] == expected
    assert br.newest_change() == rest[-1]["change"]


def test_an_identifier_is_found_as_people_write_it(br: Node) -> None:
    operator = brazilian(57)
    br.admit(operator)
    n = operator["identifiers"][0]["value"]
    written = f"{n[:2]}.{n[2:5]}.{n[5:8]}/{n[8:12]}-{n[12:]}"
    assert [found["tin"] for found in br.find(written)] == [operator["tin"]]
    [(asked, answers)] = br.look_up_list([written], "CNPJ").items()
    assert (asked, answers[0]["tin"]) == (written, operator["tin"])
    assert br.look_up(operator["tin"].lower())["tin"] == operator["tin"]


def test_an_agreement_is_drafted_signed_and_read(br: Node, places: list[nodes.Node]) -> None:
    card = places[1].command("card")
    fingerprint = card.stderr.rpartition("fingerprint: ")[2]
    with pytest.raises(NodeError, match="fingerprint"):
        br.add_peer(card.stdout, "0000 " * 8)
    assert br.add_peer(card.stdout, fingerprint)["country"] == "UY"
    assert [peer["name"] for peer in br.peers()] == ["aeo.uy.example"]
    agreement = br.draft_agreement("Test", ["BR", "UY"], terms.terms("br_uy"), rules.text("mra_v1"))
    assert br.agreements()[0]["waiting"][0]["missing"] == ["BR", "UY"]
    answer = br.act(agreement[:8], "sign")
    assert (answer["complete"], answer["missing"]) == (False, ["UY"])
    shown = br.agreement(agreement[:8])
    assert shown["agreement"] == agreement
    assert shown["document"]["contract"]["text"] == rules.text("mra_v1")
    assert not shown["signed"]
    assert [each["agreement"] for each in br.agreements()] == [agreement]
    assert br.decisions(agreement)["agreement"] == agreement
    compared = br.compare_arrangements({"agreement": agreement}, {"agreement": agreement[:8]})
    assert (compared["listed"], compared["clauses"], compared["next"]) == ([], [], None)
    assert br.withdraw(agreement, reason="superseded")["complete"]
    assert br.agreement(agreement)["withdrawn_by"] == [br.card()["country"]] == ["BR"]
    with pytest.raises(Malformed, match="empty"):
        br.agreement("")


def test_every_documented_route_has_a_method(place: nodes.Node) -> None:
    transport = Listening()
    with asking(place, transport) as br:
        admitted = br.admit(brazilian(60))
        tin = admitted["tin"]
        for ask in (br.health, br.card, br.log_keys, br.channels, br.incidents, br.agreements, br.peers):
            ask()
        assert br.find(tin) == br.look_up_list([tin])[tin] == [br.look_up(tin)]
        assert br.history(tin)["tin"] == tin
        assert tin in br.register()
        assert br.receipt(admitted["ledger_seq"] or 0).startswith(b"c2sp.org/tlog-proof@v1\n")
        assert br.search("Inventada")["suggestions"]
        next(br.changes(after=0))
        br.purpose, br.reference = "inspection", "26BR1"
        br.look_up_list([tin])
        newest = br.access(identifier=tin, kind="list")["entries"][0]
        assert (newest["purpose"], newest["reference"]) == ("inspection", "26BR1")
        assert br.access_entry(newest["seq"])["questions"] == newest["questions"]
        assert list(br.told_reads(tin)) == []
        br.change_status(tin, "SUSPENDED")
        br.change_consent(tin, given=False)
        assert br.consents(tin)[-1]["consent"] != br.consents(tin)[0]["consent"]
        assert br.disclosures(tin) == []
        assert br.as_of(tin)["tin"] == tin
        assert br.suspended_here() == list(br.reports()) == []
        assert br.hold(tin, "court order 12") == br.release(tin) == {"records": 1}
        assert br.erase(tin, "NOT_NEEDED", "case 1")["partners"] == []
        assert next(iter(br.erasures()))["partners"] == []
        assert br.import_list([brazilian(61)])["counts"]["new"] == 1
        for ask_in_vain in (
            lambda: br.draft_agreement("Test", ["BR", "AR"], {}, ""),
            lambda: br.agreement("unknown"),
            lambda: br.act("unknown", "sign"),
            lambda: br.withdraw("unknown"),
            lambda: br.decisions("unknown"),
            lambda: br.compare_arrangements(None, {"agreement": "unknown"}),
            lambda: br.add_peer("no card", ""),
            lambda: br.freeze_peer("AR", "no peer of ours"),
            lambda: br.close_incident(1),
            lambda: br.incident(1),
            lambda: br.suspend_here(tin, "CARGO", "case 1"),
            lambda: br.resume_here(tin, "case 1"),
            lambda: br.report_irregularity(tin, "CARGO", "seal broken"),
            lambda: br.acknowledge(1, "seal replaced"),
            lambda: br.evidence(tin),
            lambda: br.fetch(tin, "clearance", "26BR1"),
        ):
            with pytest.raises(NodeError):
                ask_in_vain()
    assert {
        route for route in documented() if not any(heard(route, each) for each in transport.heard)
    } == set()


def documented() -> set[tuple[str, str]]:
    """Every (method, path) of the description of the API that is for one's own administration."""
    paths = json.loads(OPENAPI.read_text())["paths"]
    return {
        (method, path) for path in paths if not path.startswith(SPOKEN_ELSEWHERE) for method in paths[path]
    }


def heard(route: tuple[str, str], request: tuple[str, str]) -> bool:
    pattern = re.sub(r"\{[a-z]+\}", "[^/]+", route[1])
    return route[0] == request[0] and re.fullmatch(pattern, request[1]) is not None


# What is refused.


def test_a_node_without_a_token_is_told_what_to_do(place: nodes.Node) -> None:
    with Node(place.url) as stranger, pytest.raises(NodeError) as refused:
        stranger.peers()
    assert refused.value.status == 401
    assert "aeo token create" in refused.value.do


def test_a_refusal_does_not_repeat_the_token(place: nodes.Node) -> None:
    false = "aeo_000000000000_a-secret-of-somebody"
    with Node(place.url, false) as stranger, pytest.raises(NodeError) as refused:
        stranger.peers()
    assert refused.value.status == 401
    assert "secret" not in refused.value.detail


def test_a_role_that_may_not_is_told_so(place: nodes.Node) -> None:
    token = place.command("token", "create", "--role", "reader", "--label", "test").stdout.strip()
    with Node(place.url, token) as reader:
        assert reader.peers() is not None
        with pytest.raises(NodeError) as refused:
            reader.admit(brazilian(70))
    assert refused.value.status == 403
    assert "officer" in refused.value.why


@pytest.mark.parametrize("url", ["", "aeo.br.example", "file:///etc/passwd", "ftp://aeo.br.example"])
def test_an_address_that_is_not_http_is_refused(url: str) -> None:
    with pytest.raises(Malformed, match="address"):
        Node(url)


def test_nobody_listening_is_unreachable() -> None:
    with (
        Node(f"http://127.0.0.1:{free_port()}") as nowhere,
        pytest.raises(NodeUnreachable, match="aeo serve"),
    ):
        nowhere.health()


def test_silence_is_unreachable_when_the_time_is_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with Node(url, timeout_s=0.1) as node, pytest.raises(NodeUnreachable, match="in time"):
            node.health()


def test_a_feed_that_ends_is_unreachable_and_what_came_is_kept() -> None:
    body = b'id: 7\nevent: recorded\ndata: {"change":7}\n\n'
    answer, _ = replies((200, {"content-type": "text/event-stream"}, body))
    with server(answer) as url, Node(url) as node:
        feed = node.changes(6)
        assert next(feed) == {"change": 7}
        with pytest.raises(NodeUnreachable):
            next(feed)


def test_the_token_does_not_follow_a_redirect() -> None:
    elsewhere, reached = replies()
    with server(elsewhere) as trap:
        answer, _ = replies((307, {"location": f"{trap}/v1/peers"}, b""))
        with server(answer) as url, Node(url, "aeo_1_x") as node, pytest.raises(NodeError, match="redirects"):
            node.peers()
    assert reached == []


def test_a_proxy_in_the_environment_does_not_get_the_token(
    place: nodes.Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, seen = replies()
    with server(answer) as trap:
        monkeypatch.setenv("HTTP_PROXY", trap)
        monkeypatch.setenv("ALL_PROXY", trap)
        monkeypatch.setenv("NO_PROXY", "")
        with asking(place) as br:
            br.peers()
    assert seen == []


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"[]", b'"ok"', b"{}", b"\xff", b""])
def test_an_answer_that_is_not_a_nodes_is_refused(body: bytes) -> None:
    answer, _ = replies((200, {}, body))
    with server(answer) as url, Node(url) as node, pytest.raises(NodeError, match="not a node's"):
        node.peers()


@pytest.mark.parametrize("body", [b"", b"ok", b"ok -1", b"ok 1 2", b"fine 3", "ok ٣".encode()])
def test_a_page_that_answers_anything_is_not_healthy(body: bytes) -> None:
    answer, _ = replies((200, {}, body))
    with server(answer) as url, Node(url) as node, pytest.raises(NodeError, match="not a node's"):
        node.health()


def test_an_answer_beyond_the_bound_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_LIMIT_BYTES", 1000)
    answer, _ = replies((200, {}, b" " * 1001))
    with server(answer) as url, Node(url) as node, pytest.raises(NodeError, match="too large"):
        node.peers()


@pytest.mark.parametrize("body", [b"<h1>Bad gateway</h1>", b"[1]", b'{"title":null,"problems":[3]}'])
def test_a_refusal_in_no_known_form_still_tells_its_status(body: bytes) -> None:
    answer, _ = replies((502, {}, body))
    with server(answer) as url, Node(url) as node, pytest.raises(NodeError, match="502") as refused:
        node.peers()
    assert refused.value.status == 502


def test_a_busy_node_is_asked_again_with_the_same_key() -> None:
    answer, seen = replies(BUSY, BUSY, DONE)
    with server(answer) as url, Node(url) as node:
        assert node.admit({})["outcome"] == "new"
    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert len(seen[0].split()) == 3, "an idempotency key was sent"


def test_a_busy_node_is_not_asked_for_ever() -> None:
    answer, seen = replies(*[BUSY] * 20)
    with server(answer) as url, Node(url) as node, pytest.raises(NodeError) as refused:
        node.admit({})
    assert refused.value.status == 503
    assert len(seen) == connection.TRIES


def test_a_node_cannot_make_its_caller_wait_as_long_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSE_LIMIT_S", 0.01)
    answer, seen = replies(*[(429, {"retry-after": "86400"}, b"{}")] * 20)
    with server(answer) as url, Node(url) as node, pytest.raises(NodeError) as refused:
        node.peers()
    assert refused.value.status == 429
    assert len(seen) == connection.TRIES


@pytest.mark.parametrize("line", [b"id: -1\n\n", b"id: x\n\n", b"id: \n\n"])
def test_a_place_that_is_no_number_is_refused(line: bytes) -> None:
    answer, _ = replies((200, {"content-type": "text/event-stream"}, line))
    with server(answer) as url, Node(url) as node, pytest.raises(NodeError, match="not a node's"):
        node.newest_change()


def test_an_act_is_never_signed_twice_because_the_node_was_busy() -> None:
    answer, seen = replies(BUSY, DONE)
    with server(answer) as url, Node(url) as node, pytest.raises(NodeError):
        node.act("an-agreement", "suspend")
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ("urn:aeo:problem:conflict", "conflict"),
        ("urn:aeo:problem:unreachable", "node-error"),
        ("about:blank", "node-error"),
        (7, "node-error"),
    ],
)
def test_a_refusal_keeps_the_type_that_the_node_gave_it(told: object, code: str) -> None:
    answer, _ = replies((409, {}, json.dumps({"type": told, "title": "no"}).encode()))
    with server(answer) as url, Node(url) as node, pytest.raises(NodeError) as refused:
        node.peers()
    assert refused.value.details()["type"] == f"urn:aeo:problem:{code}"
