"""An administration without a node is served by a partner's, with its own key and the same proofs."""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from clients.cli.main import cli
from clients.sdk import Node as Client
from clients.sdk import NodeError, verifier
from clients.sdk.signed import SignedBy, public_jwk, read_key
from contracts import terms
from tests.nodes import Node, Pair, brazilian, import_list, pair_in

TIN, HIDDEN = (str(brazilian(number)["tin"]) for number in (1, 2))
ADMINISTRATION = "A customs administration without a node"


@dataclass(frozen=True)
class Hosted:
    """The two nodes, and the reader's key in a file."""

    pair: Pair
    file: Path

    @property
    def key(self) -> Ed25519PrivateKey:
        return read_key(self.file.read_bytes(), "")

    @property
    def asking(self) -> list[str]:
        return ["--url", self.pair.uy.url, "--token-file", str(self.file)]

    def client(self, key: Ed25519PrivateKey | None = None) -> httpx.Client:
        return httpx.Client(base_url=self.pair.uy.url, auth=SignedBy(key or self.key))


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    folder = tmp_path_factory.mktemp("hosted")
    made = CliRunner().invoke(cli, ["reader", "key", str(folder / "py.key")])
    assert made.exit_code == 0
    directions = deepcopy(terms.terms("br_uy")["directions"])
    reader = {"country": "PY", "administration": ADMINISTRATION, "key": json.loads(made.stdout)}
    directions["BR-UY"]["readers"] = [reader]
    with pair_in(folder, directions=directions) as pair:
        pair.br.post("/v1/operators", brazilian(1))
        pair.br.post("/v1/operators", brazilian(2, mra_consent={"given": False, "scope": "GENERAL"}))
        import_list(pair.uy, "uy_oec.csv", "uy-oec")
        pair.await_copy()
        yield Hosted(pair, folder / "py.key")


def test_the_key_is_the_readers_alone_and_never_written_over(hosted: Hosted) -> None:
    assert hosted.file.stat().st_mode & 0o777 == 0o600
    again = CliRunner().invoke(cli, ["reader", "key", str(hosted.file)])
    assert again.exit_code == 2
    assert public_jwk(hosted.key)["crv"] == "Ed25519"


def test_it_looks_up_what_the_host_was_told_and_the_host_records_it(hosted: Hosted) -> None:
    why = ["--purpose", "import control", "--reference", "DI 7"]
    shown = CliRunner().invoke(cli, ["lookup", TIN, *why, *hosted.asking])
    assert shown.exit_code == 0, shown.output
    assert "YES, under Brazil-Uruguay" in shown.stdout
    [newest, *_] = hosted.pair.uy.get("/v1/access?kind=list")["entries"]
    assert (newest["caller"]["role"], newest["caller"]["label"]) == ("hosted", ADMINISTRATION)
    assert (newest["purpose"], newest["reference"]) == ("import control", "DI 7")


def test_it_learns_neither_what_the_host_was_not_told_nor_what_is_the_hosts(hosted: Hosted) -> None:
    own = hosted.pair.uy.get("/v1/register")["tins"][0]
    assert hosted.pair.uy.get(f"/v1/operators/{own}")["source"] == "own"
    for tin in (HIDDEN, own):
        assert CliRunner().invoke(cli, ["lookup", tin, *hosted.asking]).exit_code == 4
        with Client(hosted.pair.uy.url, auth=SignedBy(hosted.key)) as node:
            with pytest.raises(NodeError) as refused:
                node.evidence(tin)
            assert refused.value.status == 404


def test_it_holds_the_same_proofs(hosted: Hosted, tmp_path: Path) -> None:
    file = tmp_path / "case.json"
    made = CliRunner().invoke(cli, ["evidence", TIN, "-o", str(file), *hosted.asking])
    assert made.exit_code == 0, made.output
    policy = CliRunner().invoke(cli, ["log", "policy", "--ledger", "br", "--home", str(hosted.pair.uy.home)])
    results = verifier.verify(file.read_bytes(), policy.stdout)
    assert all(each.passed is not False for each in results), verifier.told(results)
    assert "the benefit applied" in results[-1].found


def test_what_the_host_decided_for_itself_stays_with_it(hosted: Hosted) -> None:
    uy = hosted.pair.uy
    uy.post(f"/v1/operators/{TIN}/suspend-here", {"class": "SECURITY", "reason": "case 4711 of the port"})
    try:
        assert not uy.get(f"/v1/operators/{TIN}")["recognition"]["applies"]
        with hosted.client() as client:
            answer = client.post("/v1/operators/lookup", json={"identifiers": [TIN]}).json()
        [found] = answer["results"][TIN]
        assert found["recognition"]["applies"]
        assert "4711" not in str(answer)
    finally:
        uy.post(f"/v1/operators/{TIN}/resume-here", {"reason": "closed"})


def test_nothing_else_is_open_to_it(hosted: Hosted) -> None:
    """Every route that takes no parameters but a TIN, by its own description."""
    described = hosted.pair.uy.get("/openapi.json")["paths"]
    told = {
        ("POST", "/v1/operators/lookup"),
        ("GET", "/v1/operators/{tin}/evidence"),
        ("POST", "/v1/fetches"),
    }
    asked = 0
    with hosted.client() as client:
        for path, methods in described.items():
            for method in (each.upper() for each in methods if each in ("get", "post")):
                is_open = path.startswith(("/log", "/channel", "/witness", "/healthz", "/openapi"))
                if (method, path) in told or is_open or path in ("/v1/card", "/v1/log"):
                    continue
                place = path.replace("{tin}", TIN).replace("{", "").replace("}", "")
                answer = client.request(method, place, json={} if method == "POST" else None)
                assert answer.status_code in (401, 422), (method, path, answer.text)
                asked += answer.status_code == 401
                is_known = answer.status_code == 422 or "peers" in methods[method.lower()].get("tags", ())
                assert is_known or "with a token" in answer.json()["title"], answer.text
    assert asked > 30


def test_another_key_a_replay_and_a_changed_request_are_nobodys(hosted: Hosted) -> None:
    body = {"identifiers": [TIN]}
    with hosted.client(Ed25519PrivateKey.generate()) as client:
        refused = client.post("/v1/operators/lookup", json=body)
        assert refused.status_code == 401
        assert "`readers`" in refused.json()["do"]
    with httpx.Client(base_url=hosted.pair.uy.url) as bare:
        request = bare.build_request("POST", "/v1/operators/lookup", json=body)
        signed = next(SignedBy(hosted.key).auth_flow(request))
        headers = dict(signed.headers)
        assert bare.post("/v1/operators/lookup", content=request.content, headers=headers).status_code == 200
        again = bare.post("/v1/operators/lookup", content=request.content, headers=headers)
        assert (again.status_code, "once" in again.json()["detail"]) == (401, True)
        fresh = dict(next(SignedBy(hosted.key).auth_flow(request)).headers)
        other = json.dumps({"identifiers": [HIDDEN]}).encode()
        fresh["content-length"] = str(len(other))
        assert bare.post("/v1/operators/lookup", content=other, headers=fresh).status_code == 401


def test_the_issuers_node_serves_it_nothing(hosted: Hosted) -> None:
    """The terms have it served by the partner."""
    br: Node = hosted.pair.br
    with httpx.Client(base_url=br.url, auth=SignedBy(hosted.key)) as client:
        assert client.post("/v1/operators/lookup", json={"identifiers": [TIN]}).status_code == 401
