"""nginx in front of a node, as `docs/operate/cache.md` describes it: the ledger is read without the node."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from clients.demo.waiting import until
from node.ledger import tiles
from tests.nodes import ROOT, Node, brazilian, free_port, make

PAGE = ROOT / "docs" / "operate" / "cache.md"
AROUND = """
{user}
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {described}
}}
"""


@contextmanager
def cache_before(node: Node, folder: Path) -> Iterator[httpx.Client]:
    """The configuration of the page with this node's port, a free one for the cache, and a folder."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("no nginx here: install Debian's package nginx-light to run this test")
    [described] = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    port = free_port()
    named = {"127.0.0.1:8080": f"127.0.0.1:{port}", "127.0.0.1:8001": f"127.0.0.1:{node.port}"}
    named["/var/cache/nginx/aeo"] = str(folder / "cache")
    for said, here in named.items():
        assert said in described
        described = described.replace(said, here)
    user = "user root;" if os.geteuid() == 0 else ""  # or its worker could not reach the test's folder
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder, described=described, user=user))
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers=node.http.headers, timeout=30
        ) as client:
            until(lambda: _answers(client), what="the cache")
            yield client
    finally:
        process.terminate()
        process.wait(10)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_tiles_and_bundles_are_served_by_a_cache_when_the_node_is_gone(tmp_path: Path) -> None:
    [node] = make(("BR",), tmp_path)
    node.run()
    try:
        node.post("/v1/operators/import", {"operators": [brazilian(number) for number in range(300)]})
        (tmp_path / "nginx").mkdir()
        with cache_before(node, tmp_path / "nginx") as client:
            immutable = [tiles.Tile(0, 0).path(), tiles.Tile(0, 1, 45).path(), tiles.bundle_path(0)]
            first = [client.get(f"/log/{path}") for path in immutable]
            assert {(each.status_code, each.headers["x-cache"]) for each in first} == {(200, "MISS")}
            assert client.get("/log/checkpoint").headers["x-cache"] in ("MISS", "EXPIRED", "BYPASS")
            missing = client.get(f"/log/{tiles.bundle_path(7)}")
            assert (missing.status_code, missing.headers.get("x-cache", "MISS")) == (404, "MISS")
            node.stop()
            again = [client.get(f"/log/{path}") for path in immutable]
            assert {(each.status_code, each.headers["x-cache"]) for each in again} == {(200, "HIT")}
            assert [each.content for each in again] == [each.content for each in first]
            for encoding in ("identity", "br, gzip"):
                spelt = client.get(f"/log/{immutable[2]}", headers={"accept-encoding": encoding})
                assert (spelt.headers["x-cache"], spelt.content) == ("HIT", first[2].content)
                assert ("content-encoding" in spelt.headers) == ("gzip" in encoding)
            assert client.get("/log/checkpoint").status_code == 502
            node.run()
            assert client.get("/log/checkpoint").status_code == 200
            assert len(client.get("/v1/register").json()["tins"]) == 300
    finally:
        node.close()
