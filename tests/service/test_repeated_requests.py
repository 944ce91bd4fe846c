"""A caller that heard no answer repeats its request under the same key, and nothing happens twice."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from clients.sdk import importing
from node import app, assembly
from node.commands import beginning
from node.errors import Conflict, Malformed

LIST = Path(__file__).parents[2] / "clients/demo/data/br_oea.csv"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    beginning.init("aeo.br.example", "BR", "http://127.0.0.1:8000", home=tmp_path)
    built = app.build(assembly.parts_of(tmp_path))
    token = (tmp_path / "administrator.token").read_text(encoding="utf-8").strip()
    async with (
        built.router.lifespan_context(built),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(built),
            base_url="http://127.0.0.1:8000",
            headers={"authorization": f"Bearer {token}"},
        ) as client,
    ):
        yield client


@pytest.fixture
async def tin(node: httpx.AsyncClient) -> str:
    rows = importing.read_import(LIST, importing.load_profile("br-oea"))
    operator = next(row.operator for row in rows if row.operator and row.operator["status"] == "ACTIVE")
    assert (await node.post("/v1/operators", json=operator)).json()["outcome"] == "new"
    return str(operator["tin"])


@pytest.mark.parametrize(
    ("what", "asked", "other"),
    [
        ("status", {"status": "SUSPENDED"}, {"status": "REVOKED"}),
        ("consent", {"given": False}, {"given": True, "by": "x", "text": "x"}),
    ],
)
async def test_a_repeated_change_gets_the_first_answer_although_time_has_passed(
    node: httpx.AsyncClient, tin: str, what: str, asked: dict[str, object], other: dict[str, object]
) -> None:
    path, key = f"/v1/operators/{tin}/{what}", {"Idempotency-Key": "one request"}
    first = await node.post(path, json=asked, headers=key)
    again = await node.post(path, json=asked, headers=key)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["ledger_seq"] == first.json()["ledger_seq"]
    versions = (await node.get(f"/v1/operators/{tin}/history")).json()["versions"]
    assert [version["version"] for version in versions] == [1, 2]

    refused = await node.post(path, json=other, headers=key)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:aeo:problem:conflict")


@pytest.mark.parametrize("wrong", [{"name": "Not A Name"}, {"country": "BRA"}, {"address": "nowhere"}])
def test_a_node_that_cannot_be_made_is_refused_and_leaves_no_trace(
    tmp_path: Path, wrong: dict[str, str]
) -> None:
    told = {"name": "aeo.br.example", "country": "BR", "address": "http://127.0.0.1:8000"} | wrong
    home = tmp_path / "home"
    with pytest.raises(Malformed, match="the settings cannot be used"):
        beginning.init(**told, home=home)
    assert not home.exists()


def test_a_second_init_never_touches_the_first_node(tmp_path: Path) -> None:
    told = {"name": "aeo.br.example", "country": "BR", "address": "http://127.0.0.1:8000"}
    beginning.init(**told, home=tmp_path)
    before = _told_and_secret(tmp_path)
    with pytest.raises(Conflict, match="a node lives here already"):
        beginning.init(**told, home=tmp_path)
    assert _told_and_secret(tmp_path) == before


def _told_and_secret(home: Path) -> dict[Path, bytes]:
    files = [home / "settings.toml", home / "administrator.token", *(home / "keys").iterdir()]
    return {path: path.read_bytes() for path in files}
