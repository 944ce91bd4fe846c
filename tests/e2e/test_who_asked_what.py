"""Who asked a running node what: by every route, across kills, in several processes, and never unrecorded."""

import os
import random
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from clients.bench.postgres import Server
from clients.cli.main import cli
from clients.demo.waiting import until
from node import assembly
from node.service import tokens
from tests.nodes import Node, Pair, brazilian, make

OPERATORS = [brazilian(number) for number in range(20)]
TIN = OPERATORS[1]["tin"]


def token(node: Node, role: str) -> str:
    parts = assembly.parts_of(node.home)
    try:
        return tokens.create(parts.database, role, f"a {role}", None, parts.now_ms(), parts.entropy)
    finally:
        parts.database.close()


def entries(node: Node, **wanted: Any) -> list[dict[str, Any]]:
    """All entries that are wanted, newest first, page by page."""
    found: list[dict[str, Any]] = []
    before = {}
    while True:
        page = node.get("/v1/access", limit=200, **wanted, **before)
        found += page["entries"]
        if page["next"] is None:
            return found
        before = {"before": page["next"]}


def test_every_route_that_tells_of_operators_is_recorded_with_its_purpose(lone: Node) -> None:
    lone.post("/v1/operators/import", {"operators": OPERATORS})
    of = f"/v1/operators/{TIN}"
    with lone.client(token(lone, "officer")) as officer:
        stated = {"purpose": "clearance", "reference": "26BR000012"}
        officer.get(of, params=stated)
        officer.get(of, headers={"aeo-purpose": "by header", "aeo-reference": "7"})
        officer.get("/v1/operators", params={"identifier": TIN[2:], "purpose": "número"})
        officer.post("/v1/operators/lookup", json={"identifiers": [TIN, "XX1"]}, params=stated)
        officer.get(f"{of}/history")
        officer.get(f"{of}/evidence")
        officer.get("/v1/search", params={"name": "Empresa Inventada 1"})
        officer.get("/v1/register")
        officer.get("/v1/reports")
        officer.get("/v1/suspended-here", params=stated)
        with officer.stream("GET", "/v1/changes", params={"after": 0, **stated}) as stream:
            next(line for line in stream.iter_lines() if line.startswith("data: "))
    told = entries(lone, of="a officer")
    kinds = ["lookup", "lookup", "lookup", "list", "history", "evidence", "search", "register"]
    kinds += ["export", "export", "changes"]
    assert [each["kind"] for each in reversed(told)] == kinds
    said = [(each.get("purpose"), each.get("reference")) for each in reversed(told)]
    assert said[:4] == [
        ("clearance", "26BR000012"),
        ("by header", "7"),
        ("número", None),
        ("clearance", "26BR000012"),
    ]
    record = lone.answer(TIN)["record_id"]
    about = [each["kind"] for each in entries(lone, of="a officer", identifier=record)]
    assert set(about) == {"changes", "search", "history", "evidence", "list", "lookup"}
    [listed] = [each["questions"] for each in told if each["kind"] == "list"]
    assert [(each["asked"], each["found"]) for each in listed] == [(TIN, True), (None, False)]
    assert len(told[0]["questions"][0]["told"]) == len(OPERATORS)
    assert lone.fsck() == []


@pytest.mark.parametrize(
    "stated",
    [{"purpose": "a\u0007b"}, {"purpose": "x" * 201}, {"reference": "x" * 101}, {"reference": "\u202e"}],
)
def test_what_is_not_printable_or_too_long_is_no_purpose(pair: Pair, stated: dict[str, str]) -> None:
    for path, more in ((f"/v1/operators/{TIN}", {}), ("/v1/operators", {"identifier": TIN})):
        refused = pair.br.http.get(path, params={**stated, **more})
        assert (refused.status_code, refused.json()["type"]) == (422, "urn:aeo:problem:malformed")


def test_only_auditors_read_it_and_that_is_recorded_too(lone: Node) -> None:
    lone.post("/v1/operators", OPERATORS[1])
    lone.answer(TIN)
    for role in ("reader", "officer"):
        with lone.client(token(lone, role)) as unentitled:
            assert unentitled.get("/v1/access").status_code == 403
            assert unentitled.get("/v1/access/0").status_code == 403
    with lone.client(token(lone, "auditor")) as auditor:
        first = auditor.get("/v1/access", params={"identifier": TIN, "purpose": "inspection"}).json()
        assert [each["kind"] for each in first["entries"]] == ["lookup"]
        assert auditor.get("/v1/access/0").json()["questions"][0]["asked"] == TIN
        assert auditor.get("/v1/access/99").status_code == 404
        again = auditor.get("/v1/access", params={"kind": "access"}).json()["entries"]
    assert [each.get("purpose") for each in again] == [None, None, "inspection"]
    assert again[2]["questions"][0]["asked"] == TIN
    assert {each["caller"]["label"] for each in again} == {"a auditor"}


def test_nothing_is_told_that_cannot_be_recorded(lone: Node) -> None:
    """A file in the place of the folder stands for a disk that takes nothing."""
    lone.post("/v1/operators", OPERATORS[1])
    folder = lone.home / "access"
    assert lone.answer(TIN)
    until(lambda: not list(folder.iterdir()), what="what was asked in the store")
    folder.rmdir()
    folder.touch()
    asked = [
        lone.http.get(f"/v1/operators/{TIN}"),
        lone.http.get("/v1/operators/nobody"),
        lone.http.post("/v1/operators/lookup", json={"identifiers": [TIN]}),
        lone.http.get(f"/v1/operators/{TIN}/history"),
        lone.http.get("/v1/search", params={"name": "Empresa"}),
        lone.http.get("/v1/register"),
        lone.http.get("/v1/access"),
    ]
    for answer in asked:
        assert answer.status_code == 503
        assert TIN not in answer.text
        assert answer.json()["title"] == "what is asked cannot be recorded, so nothing is told"
        assert "disk" in answer.json()["do"]
        assert answer.headers["retry-after"] == "1"
    with lone.http.stream("GET", "/v1/changes", params={"after": 0}) as stream:
        assert TIN not in stream.read().decode()
    assert lone.http.get("/healthz").status_code == 200
    assert lone.post("/v1/operators", OPERATORS[2])["outcome"] == "new"
    folder.unlink()
    assert lone.answer(TIN)
    assert lone.fsck() == []


class Asking:
    """Lookups from several threads, each with a reference of its own; those that were answered are kept."""

    def __init__(self, node: Node) -> None:
        self.node, self.answered, self._count, self._lock = node, list[str](), 0, threading.Lock()

    def ask_until_refused(self, limit: int = 10_000) -> None:
        with httpx.Client(base_url=self.node.url, headers=self.node.http.headers, trust_env=False) as client:
            for _ in range(limit):
                with self._lock:
                    self._count += 1
                    reference = str(self._count)
                try:
                    if client.get(f"/v1/operators/{TIN}", params={"reference": reference}).status_code != 200:
                        return
                except httpx.TransportError:
                    return
                self.answered.append(reference)


def check_recorded(node: Node, asking: Asking) -> None:
    """What was answered is recorded, and nothing twice."""
    kept = Counter(each["reference"] for each in entries(node, kind="lookup") if "reference" in each)
    assert set(asking.answered) <= kept.keys()
    assert set(kept.values()) == {1}


def test_what_was_answered_is_recorded_through_kills_at_any_moment(lone: Node) -> None:
    lone.post("/v1/operators", OPERATORS[1])
    asking, chance = Asking(lone), random.Random(7)
    with ThreadPoolExecutor(3) as threads:
        for _ in range(5):
            done = [threads.submit(asking.ask_until_refused) for _ in range(3)]
            threading.Event().wait(chance.uniform(0.3, 1.3))
            lone.kill()
            for each in done:
                each.result()
            lone.run()
            lone.reconnect()
    assert len(asking.answered) > 100
    check_recorded(lone, asking)
    assert lone.fsck() == []


def test_processes_of_one_node_write_one_log_and_a_killed_one_loses_nothing(
    postgres: Server, tmp_path: Path
) -> None:
    [br] = make(("BR",), tmp_path, {"BR": postgres.create()})
    br.start("--processes", "2")
    try:
        br.await_answer()
        br.post("/v1/operators", OPERATORS[1])
        asking = Asking(br)
        with ThreadPoolExecutor(4) as threads:
            done = [threads.submit(asking.ask_until_refused, 300) for _ in range(4)]
            until(lambda: len(asking.answered) > 100, what="some answers")
            assert br.process is not None
            children = Path(f"/proc/{br.process.pid}/task/{br.process.pid}/children").read_text().split()
            served = [
                int(each) for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()
            ]
            os.kill(served[0], signal.SIGKILL)
            for each in done:
                each.result()
        br.reconnect()
        left = br.home / "access"
        until(lambda: br.http.get("/healthz").status_code == 200, what="the node")
        until(lambda: not list(left.glob("*.reads")), what="what the killed process left, taken over")
        check_recorded(br, asking)
        br.stop()
        assert br.fsck() == []
    finally:
        br.close()


def test_the_ledger_commits_to_the_log_as_time_goes_by_and_at_the_stop(lone: Node) -> None:
    lone.post("/v1/operators", OPERATORS[1])
    lone.stop()
    lone.environment = {**lone.environment, "AEO_ACCESS_COMMIT_EVERY_S": "0.5"}
    lone.run()
    begun = int(lone.http.get("/healthz").text.split()[1])
    lone.answer(TIN)
    until(lambda: int(lone.http.get("/healthz").text.split()[1]) >= begun + 2, what="two commitments")
    lone.stop()
    assert lone.fsck() == []
    with lone.store() as store:
        store.execute("DELETE FROM access_body")
        store.execute("DELETE FROM access_told")
    assert "no body is behind it" in lone.fsck()[0]["what"]


def test_the_commands_state_a_purpose_and_list_who_asked(lone: Node) -> None:
    lone.post("/v1/operators", OPERATORS[1])
    run, home = CliRunner(), ["--home", str(lone.home)]
    stated = ["--purpose", "clearance", "--reference", "26BR1"]
    assert run.invoke(cli, ["lookup", TIN, *stated, *home]).exit_code == 0
    assert run.invoke(cli, ["lookup", "BR000", *home]).exit_code == 4
    told = run.invoke(cli, ["access", "list", "--identifier", TIN, *home])
    assert told.exit_code == 0
    assert all(word in told.stdout for word in (TIN, "clearance", "26BR1", "first administrator"))
    shown = run.invoke(cli, ["access", "show", "0", *home])
    assert "{" not in shown.stdout
    assert (shown.exit_code, TIN in shown.stdout, "clearance" in shown.stdout) == (0, True, True)
    assert "nothing was found" in run.invoke(cli, ["access", "show", "1", *home]).stdout
    assert run.invoke(cli, ["access", "list", "--identifier", "BR111", *home]).exit_code == 4
    assert run.invoke(cli, ["access", "show", "999", *home]).exit_code == 2
