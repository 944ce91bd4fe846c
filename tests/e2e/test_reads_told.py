"""Two running nodes: what officers asked is told to the issuer without them, and erased with the record."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from clients.cli.main import cli
from clients.demo.waiting import until
from node import assembly
from node.service import tokens
from tests.e2e.test_erasure import found, newest
from tests.nodes import Node, agree, brazilian, make, peer, running

OFFICER = "Sra. Oculta of the port"
WORDS = "because Sra. Oculta asked"
QUICK = {"AEO_ACCESS_COMMIT_EVERY_S": "0.5", "AEO_REPORT_READS_EVERY_S": "0.5"}


def officer_token(node: Node) -> str:
    parts = assembly.parts_of(node.home)
    try:
        return tokens.create(parts.database, "officer", OFFICER, None, parts.now_ms(), parts.entropy)
    finally:
        parts.database.close()


def told(node: Node, **asked: Any) -> list[tuple[str, str, str, int]]:
    """(TIN, kind, purpose, times) of all that was told, added up."""
    counts: dict[tuple[str, str, str], int] = {}
    for notice in node.get("/v1/access/partners", **asked)["notices"]:
        for row in notice["reads"]:
            key = row["tin"], row["kind"], row["purpose"]
            counts[key] = counts.get(key, 0) + row["times"]
    return sorted((*key, times) for key, times in counts.items())


def shown(node: Node, *options: str) -> str:
    ran = CliRunner().invoke(cli, ["access", "partners", *options, "--home", str(node.home)])
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_reads_are_told_without_who_made_them_and_erased_with_the_record(tmp_path: Path) -> None:
    br, uy = make(("BR", "UY"), tmp_path, **QUICK)
    first, second = brazilian(1)["tin"], brazilian(2)["tin"]
    with running(br, uy):
        peer(br, uy)
        agree(br, uy, report_reads=True)
        for number in (1, 2):
            br.post("/v1/operators", brazilian(number))
        until(lambda: uy.http.get(f"/v1/operators/{second}").is_success, what="the copies")
        with uy.client(officer_token(uy)) as officer:
            for purpose in ("clearance", WORDS):
                stated = {"purpose": purpose, "reference": "26BR0000123"}
                assert officer.get(f"/v1/operators/{first}/evidence", params=stated).is_success
            officer.post("/v1/operators/lookup", json={"identifiers": [first, second]}).raise_for_status()
        expected = [
            (first, "evidence", "CLEARANCE", 1), (first, "evidence", "OTHER", 1),
            (first, "list", "NONE", 1), (second, "list", "NONE", 1),
        ]  # fmt: skip
        until(lambda: [each for each in told(br) if each[1] != "lookup"] == expected, what="what was read")
        until(lambda: told(uy) == told(br), what="both to know the same")
        assert all(each["follows"] for each in br.get("/v1/access/partners")["notices"])
        assert {tin for tin, *_ in told(br, identifier=first)} == {first}
        table = shown(br, "--identifier", first)
        assert "CLEARANCE" in table
        assert second not in table
        assert json.loads(shown(uy, "--json"))[0]["access"]["size"] > 0
        assert [node.incidents("unfounded") for node in (br, uy)] == [[], []]
        br.post(f"/v1/operators/{first}/erase", {"ground": "OBJECTION", "reference": "case 7"})
        for node in (br, uy):
            until(lambda node=node: {tin for tin, *_ in told(node)} == {second}, what="it to be erased")
            until(lambda node=node: newest(node)["scrubbed"], what="the files to be free of it")
        for node in (br, uy):
            node.stop()
            assert node.fsck() == []
            assert found(node.home, (first,)) == {}
        assert found(br.home, (OFFICER, WORDS, "26BR0000123")) == {}


def test_without_the_clause_nothing_is_told(tmp_path: Path) -> None:
    br, uy = make(("BR", "UY"), tmp_path, **QUICK)
    with running(br, uy):
        peer(br, uy)
        agree(br, uy)
        br.post("/v1/operators", brazilian(1))
        tin = brazilian(1)["tin"]
        until(lambda: uy.http.get(f"/v1/operators/{tin}").is_success, what="the copy")
        size = uy.channel("out")["size"]
        committed = _commitments(uy)
        until(lambda: _commitments(uy) > committed + 2, what="the ledger to commit to what was read")
        assert uy.channel("out")["size"] == size
        assert (told(br), told(uy)) == ([], [])


def _commitments(node: Node) -> int:
    """How many entries the ledger has; here nothing but commitments comes in."""
    return int(node.get("/v1/log", limit=1)["size"])


@pytest.mark.parametrize("role", ["reader", "officer"])
def test_only_auditors_see_it(role: str, lone: Node) -> None:
    parts = assembly.parts_of(lone.home)
    try:
        secret = tokens.create(parts.database, role, f"a {role}", None, parts.now_ms(), parts.entropy)
    finally:
        parts.database.close()
    with lone.client(secret) as unentitled:
        assert unentitled.get("/v1/access/partners").status_code == 403
    assert lone.get("/v1/access/partners")["notices"] == []
    recorded = lone.get("/v1/access", kind="access")["entries"]
    assert {"partners": True} in [each.get("detail") for each in recorded]
