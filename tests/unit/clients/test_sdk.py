"""The client: what it asks of a real node, and what it refuses of a false one."""

import inspect
import socket
from collections.abc import Callable, Iterator
from itertools import islice
from threading import Thread

import httpx
import orjson
import pytest

import clients.sdk
from clients.sdk import client
from clients.sdk.client import Node, NodeError, NodeUnreachable
from node.errors import Malformed
from tests.nodes import Node as RunningNode
from tests.nodes import Pair, brazilian, free_port, until

Handler = Callable[[httpx.Request], httpx.Response]


def against(handler: Handler, token: str = "secret") -> Node:
    return Node("http://node.test", token, transport=httpx.MockTransport(handler))


def answering(content: bytes, status: int = 200) -> Handler:
    return lambda _request: httpx.Response(status, content=content)


@pytest.fixture
def br(pair: Pair) -> Iterator[Node]:
    with opened(pair.br) as node:
        yield node


@pytest.fixture
def uy(pair: Pair) -> Iterator[Node]:
    with opened(pair.uy) as node:
        yield node


def opened(running: RunningNode) -> Node:
    token = (running.home / "administrator.token").read_text(encoding="utf-8").strip()
    return Node(running.url, token, 30)


def test_the_public_names_are_these() -> None:
    assert clients.sdk.__all__ == ["Node", "NodeError", "NodeUnreachable"]


def test_every_public_method_says_what_it_does() -> None:
    methods = inspect.getmembers(Node, inspect.isfunction)
    assert all(method.__doc__ for name, method in methods if not name.startswith("_"))


# Against a false node.


def test_a_redirect_is_refused_and_the_token_goes_nowhere_else() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(302, headers={"location": "http://thief.test/"})

    with pytest.raises(NodeError) as caught:
        against(handler).card()
    assert caught.value.status == 302
    assert asked == ["node.test"]


def test_a_proxy_named_by_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        with Node(f"http://127.0.0.1:{free_port()}", timeout_s=1) as node, pytest.raises(NodeUnreachable):
            node.health()
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"", b'"text"', b"\xff", b'{"other": 1}'])
def test_an_answer_that_is_not_a_nodes_is_refused(content: bytes) -> None:
    with pytest.raises(NodeError, match="not a node's"):
        against(answering(content)).channels()


@pytest.mark.parametrize("content", [b"fine 3\n", b"ok\n", b"ok -1\n", b"<html>ok 3</html>"])
def test_a_page_that_is_not_a_nodes_health_is_refused(content: bytes) -> None:
    with pytest.raises(NodeError, match="not a node's"):
        against(answering(content)).health()


def test_an_answer_beyond_the_bound_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_LIMIT_BYTES", 1000)
    sent: list[int] = []

    def endless() -> Iterator[bytes]:
        while True:
            sent.append(100)
            yield b" " * 100

    with pytest.raises(NodeError, match="too large"):
        against(lambda _request: httpx.Response(200, content=endless())).card()
    assert sum(sent) <= 1100


def test_a_refusal_is_told_in_the_nodes_own_words() -> None:
    told = {"title": "no", "status": 422, "where": "here", "why": "so", "do": "else"}
    told["problems"] = [{"field": "tin", "value": "x", "rule": "must be a TIN"}]
    with pytest.raises(NodeError) as caught:
        against(answering(orjson.dumps(told), 422)).look_up("x")
    refusal = caught.value
    assert (refusal.status, refusal.title, refusal.where, refusal.why, refusal.do) == (
        422,
        "no",
        "here",
        "so",
        "else",
    )
    assert [(each.field, each.value, each.rule) for each in refusal.problems] == [
        ("tin", "x", "must be a TIN")
    ]
    assert refusal.detail == "no (here); tin: must be a TIN (got 'x'); so; else"


def test_a_busy_node_is_asked_again_with_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(client.time, "sleep", pauses.append)
    keys: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        if len(keys) < 3:
            return httpx.Response(503, headers={"retry-after": "2"}, json={"title": "busy"})
        return httpx.Response(200, json={"outcome": "new"})

    assert against(handler).change_status("BR1", "SUSPENDED") == {"outcome": "new"}
    assert pauses == [2.0, 2.0]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_a_node_that_stays_busy_is_given_up_and_a_pause_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(client.time, "sleep", pauses.append)
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(429, headers={"retry-after": "86400"}, json={"title": "busy"})

    with pytest.raises(NodeError, match="busy"):
        against(handler).peers()
    assert len(asked) == client.TRIES
    assert pauses == [client.PAUSE_LIMIT_S] * (client.TRIES - 1)


def test_a_signature_is_never_sent_twice() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(503, json={"title": "busy"})

    with pytest.raises(NodeError, match="busy"):
        against(handler).act("id", "suspend")
    assert asked == ["/v1/agreements/id/acts"]


def test_a_path_cannot_be_left_through_an_identifier() -> None:
    asked: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path)
        return httpx.Response(200, json={})

    against(handler).look_up("../peers?x=1#")
    assert asked == [b"/v1/operators/..%2Fpeers%3Fx%3D1%23"]


def test_an_address_that_is_not_http_is_refused() -> None:
    with pytest.raises(Malformed, match="address"):
        Node("file:///etc/passwd", "secret")


def test_a_long_list_is_looked_up_in_pages() -> None:
    pages: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked = orjson.loads(request.content)["identifiers"]
        pages.append(len(asked))
        return httpx.Response(200, json={"results": {each: [] for each in asked}})

    found = against(handler).look_up_list(str(number) for number in range(client.LOOKUP_PAGE + 3))
    assert pages == [client.LOOKUP_PAGE, 3]
    assert len(found) == client.LOOKUP_PAGE + 3


def test_the_register_is_read_to_its_end() -> None:
    pages = {"": ("A", "B"), "B": ("C",)}

    def handler(request: httpx.Request) -> httpx.Response:
        tins = pages[request.url.params["after"]]
        return httpx.Response(200, json={"tins": tins, "next": "B" if "B" in tins else None, "total": 3})

    assert list(against(handler).register()) == ["A", "B", "C"]


def test_a_stream_that_ends_is_an_interruption_and_resumes_behind_the_place() -> None:
    places: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        places.append(request.headers.get("last-event-id"))
        content = b': hello\n\nid: 8\nevent: recorded\ndata: {"change": 8}\n\n'
        return httpx.Response(200, content=content)

    changes = against(handler).changes(7)
    assert next(changes) == {"change": 8}
    with pytest.raises(NodeUnreachable):
        next(changes)
    assert places == ["7"]


# Against a real node.


def test_a_node_that_is_not_there_is_unreachable() -> None:
    with Node(f"http://127.0.0.1:{free_port()}") as node, pytest.raises(NodeUnreachable):
        node.health()


def test_the_node_introduces_itself(br: Node, pair: Pair) -> None:
    assert br.health() > 0
    assert br.card()["name"] == pair.br.name
    assert [peer["country"] for peer in br.peers()] == ["UY"]


def test_without_a_token_the_node_refuses(pair: Pair) -> None:
    with Node(pair.br.url) as node, pytest.raises(NodeError) as caught:
        node.channels()
    assert caught.value.status == 401


def test_a_change_here_is_seen_and_told_there(br: Node, uy: Node) -> None:
    operator = brazilian(910_001)
    tin = operator["tin"]
    admitted = br.admit(operator, reason="a test")
    assert (admitted["outcome"], admitted["version"]) == ("new", 1)
    assert str(admitted["receipt"]).startswith("c2sp.org/tlog-proof@v1")
    until(lambda: uy.find(tin), what="the operator at the partner")
    assert uy.find(operator["identifiers"][0]["value"], "CNPJ")[0]["tin"] == tin

    assert br.change_status(tin, "SUSPENDED", reason_class="UNDER_REVIEW")["outcome"] == "changed"
    until(lambda: uy.look_up(tin)["status"]["value"] == "SUSPENDED", what="the suspension")
    recognition = uy.look_up(tin)["recognition"]
    assert recognition is not None
    assert not recognition["applies"]

    br.change_consent(tin, given=False)
    record_id = br.look_up(tin)["record_id"]
    until(lambda: uy.find(tin)[0]["status"]["value"] == "NOT_SHARED", what="the tombstone")
    assert uy.find(tin)[0]["record_id"] == record_id
    assert [version["version"] for version in br.history(tin)["versions"]] == [1, 2, 3]


def test_the_same_key_admits_once_and_another_request_under_it_is_refused(br: Node) -> None:
    operator = brazilian(910_002)
    first = br.admit(operator, key="once")
    assert br.admit(operator, key="once")["ledger_seq"] == first["ledger_seq"]
    with pytest.raises(NodeError) as caught:
        br.admit({**operator, "legal_name": "Outra Ltda"}, key="once")
    assert caught.value.status == 409


def test_an_unknown_operator_is_not_found(br: Node) -> None:
    with pytest.raises(NodeError) as caught:
        br.look_up("BR00000000000000")
    assert caught.value.status == 404
    assert br.find("BR00000000000000") == []
    assert br.look_up_list(["BR00000000000000"]) == {"BR00000000000000": []}


def test_a_list_is_imported_row_by_row_and_a_dry_run_changes_nothing(br: Node) -> None:
    good, bad = brazilian(910_003), {**brazilian(910_004), "status": "SPLENDID"}
    dry = br.import_list([good, bad], dry_run=True)
    assert dry["counts"] == {"new": 1, "changed": 0, "unchanged": 0, "refused": 1}
    assert br.find(good["tin"]) == []
    done = br.import_list([good, bad], source="a test")
    assert [each["outcome"] for each in done["outcomes"]] == ["new", "refused"]
    assert [each["field"] for each in done["outcomes"][1]["problems"]] == ["status"]
    assert good["tin"] in list(br.register())


def test_a_search_suggests_by_likeness(br: Node) -> None:
    found = br.search("caatinga eletronica", limit=3)
    assert found["suggestions"][0]["name"].startswith("Caatinga")


def test_agreements_channels_and_decisions_are_told(br: Node, uy: Node, pair: Pair) -> None:
    [summary] = br.agreements()
    assert summary["agreement"] == pair.agreement
    assert {each["state"] for each in summary["directions"]} == {"IN_OPERATION"}
    assert br.agreement(pair.agreement)["document"]["terms"]["name"] == "MRA-BR-UY"
    assert {each["direction"] for each in uy.channels()} == {"in", "out"}
    [decided] = br.decisions(pair.agreement)["directions"]
    assert decided["shared"] > 0
    assert br.incidents(open_only=True) == []


def test_an_act_out_of_turn_is_refused(br: Node, pair: Pair) -> None:
    with pytest.raises(NodeError) as caught:
        br.act(pair.agreement, "sign")
    assert caught.value.status == 409


def test_a_peer_whose_fingerprint_differs_is_refused(br: Node, uy: Node) -> None:
    with pytest.raises(NodeError) as caught:
        br.add_peer(uy.card()["card"], "0000 " * 8)
    assert caught.value.status == 422


def test_changes_are_told_as_they_happen_and_again_from_a_place(br: Node) -> None:
    told = list(islice(br.changes(after=0), 3))
    assert [each["change"] for each in told] == sorted({each["change"] for each in told})
    behind = next(iter(br.changes(after=told[0]["change"])))
    assert behind == told[1]

    seen: list[str] = []
    watching = Thread(target=lambda: seen.append(next(br.changes())["tin"]), daemon=True)
    watching.start()
    operators = (brazilian(number) for number in range(910_100, 910_200))
    until(lambda: br.admit(next(operators)) and seen, what="a change in the stream")
    watching.join(5)
    assert seen[0].startswith("BR98")
