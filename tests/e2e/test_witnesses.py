"""Witnesses and evidence over real nodes: what three administrations show each other, and others."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from clients.cli.main import cli
from clients.demo.waiting import until
from clients.sdk import verifier
from node.exchange import card
from node.exchange.trust import policy_of
from node.ledger.entry import LedgerEntry
from node.ledger.merkle import leaf_hash
from node.ledger.policy import Policy
from node.ledger.proof import TlogProof
from tests.nodes import ROOT, Node, agree, brazilian, checkpoint_of, entries_of, make, peer, running


@dataclass
class Three:
    """BR and UY under an arrangement, and AR, which knows both; and the policy that BR keeps to."""

    br: Node
    uy: Node
    ar: Node
    policy: Policy


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    br, uy, ar = make(("BR", "UY", "AR"), tmp_path_factory.mktemp("three"), AEO_WITNESS_WAIT_S="3")
    with running(br, uy, ar):
        peer(br, uy)
        agree(br, uy)
        peer(br, ar)
        peer(uy, ar)
        own, *peers = (card_of(node) for node in (br, uy, ar))
        yield Three(br, uy, ar, policy_of(own, peers))


def card_of(node: Node) -> card.Card:
    return card.read(node.get("/v1/card")["card"])


def admitted(node: Node, number: int, **query: str) -> Any:
    answer = node.http.post("/v1/operators", json=brazilian(number), params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def proven(node: Node, text: str) -> TlogProof:
    """A receipt that proves an entry of this node's ledger."""
    proof = TlogProof.decode(text)
    entry = entries_of(node, checkpoint_of(node).size)[proof.index]
    own = card_of(node)
    origin = card.ledger_origin(own.name)
    proof.verify(leaf_hash(entry), origin, own.verifiers(origin))
    assert LedgerEntry.decode(entry).seq == proof.index
    return proof


def test_a_change_is_answered_once_a_partner_has_cosigned_it(three: Three) -> None:
    br = three.br
    told = admitted(br, 1, wait="witnessed")
    assert told["witnessed"]
    assert len(told["cosigned_by"]) >= 2, "a witness has two keys"
    found = three.policy.open(proven(br, told["receipt"]).checkpoint)
    assert found.checkpoint.size > told["ledger_seq"]


def test_the_served_checkpoint_carries_the_cosignatures(three: Three) -> None:
    br = three.br
    admitted(br, 2)

    def is_cosigned() -> bool:
        note = br.http.get("/log/checkpoint").text
        return three.policy.is_quorum(three.policy.cosigned(note).times_s)

    until(is_cosigned, what="the cosignatures of a quorum")


def test_a_receipt_can_be_had_later_against_any_checkpoint(three: Three) -> None:
    br = three.br
    first = admitted(br, 3)
    admitted(br, 4, wait="witnessed")
    path = f"/v1/receipts/{first['ledger_seq']}"
    newest = proven(br, br.http.get(path, params={"wait": "witnessed"}).text)
    assert three.policy.open(newest.checkpoint).checkpoint.size > first["ledger_seq"] + 1
    earlier = proven(br, br.http.get(path, params={"size": first["ledger_seq"] + 1}).text)
    assert f"\n{first['ledger_seq'] + 1}\n" in earlier.checkpoint
    assert br.http.get(path, params={"size": 10_000}).status_code == 404
    assert br.http.get("/v1/receipts/99999").status_code == 404
    assert br.http.get(path, params={"wait": "never"}).status_code == 422
    assert httpx.get(f"{br.url}{path}").status_code == 401


def test_requests_to_a_witness_that_are_out_of_form_get_their_code(three: Three) -> None:
    uy, ar = three.uy, three.ar
    note = ar.http.get("/log/checkpoint").text
    for body, code in (
        (b"", 400),
        (b"old 0\n\n" + note.encode(), 409),
        (b"old 0\n\n" + note.replace("aeo.ar", "aeo.xx").encode(), 404),
        (b"old 99999\n\n" + note.encode(), 400),
    ):
        answer = httpx.post(f"{uy.url}/witness/add-checkpoint", content=body)
        assert answer.status_code == code, answer.text
        if code == 409:
            assert answer.headers["content-type"] == "text/x.tlog.size"
            assert answer.text.strip().isdecimal()
    assert uy.get("/v1/incidents")["incidents"] == []


def test_evidence_is_written_and_checked_by_the_commands(three: Three, tmp_path: Path) -> None:
    br, uy = three.br, three.uy
    tin = admitted(br, 5)["tin"]
    until(lambda: uy.http.get(f"/v1/operators/{tin}").is_success, what="the operator at the partner")
    out, policy = tmp_path / "case.json", tmp_path / "policy"
    own, reader = card_of(br), card_of(uy)
    log, *_ = own.verifiers("aeo.br.example/ledger")
    policy.write_text(f"log {log.vkey()}\nwitness uy {reader.newest_cosigners[1].vkey()}\nquorum uy\n")
    run = CliRunner().invoke
    done = run(cli, ["evidence", tin, "-o", str(out), "--home", str(uy.home)])
    assert done.exit_code == 0, done.output
    assert f"{tin} as of {json.loads(out.read_bytes())['at']}" in done.output
    assert run(cli, ["evidence", tin, "-o", str(out), "--home", str(uy.home)]).exit_code == 2, "it exists"
    done = run(cli, ["verify", str(out), "--policy", str(policy), "--json"])
    assert done.exit_code == 0, done.output
    assert [each["number"] for each in json.loads(done.stdout)["checks"]] == list(
        range(1, len(verifier.STEPS) + 1)
    )
    out.write_bytes(out.read_bytes().replace(b'"applies":true', b'"applies":null'))
    assert run(cli, ["verify", str(out), "--policy", str(policy)]).exit_code == 1
    done = run(
        cli, ["receipt", "1", "-o", str(tmp_path / "1.tlog-proof"), "--home", str(br.home), "--witnessed"]
    )
    assert done.exit_code == 0, done.output
    proven(br, (tmp_path / "1.tlog-proof").read_text())


def test_the_commands_of_the_page_run_as_they_are_written(three: Three, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    commands = re.findall(
        r"^    ((?:aeo evidence|aeo log|aeo verify case|python verifier).*)$", page, re.MULTILINE
    )
    assert len(commands) == 4
    tin = admitted(three.br, 8)["tin"]
    until(lambda: three.uy.http.get(f"/v1/operators/{tin}").is_success, what="the operator at the partner")
    (tmp_path / "uy").symlink_to(three.uy.home)
    shutil.copy(str(verifier.__file__), tmp_path)
    script = "\n".join(commands).replace("BR99000001000101", tin)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("It holds.") == 2


def test_a_partner_cosigns_how_much_of_its_channel_there_is(three: Three) -> None:
    br = three.br
    admitted(br, 7)

    def is_cosigned() -> bool:
        told = br.channel("out")
        return bool(told["partner_cosigned"] == told["size"])

    until(is_cosigned, what="the partner's cosignature on the channel")
    assert br.channel("out")["partner_cosigned"] > 0


def test_without_a_witness_writing_goes_on_and_receipts_say_so(three: Three, tmp_path: Path) -> None:
    br, uy, ar = three.br, three.uy, three.ar
    uy.stop()
    ar.stop()
    told = admitted(br, 6, wait="witnessed")
    assert (told["witnessed"], told["cosigned_by"]) == (False, [])
    proven(br, told["receipt"])
    out, entry = tmp_path / "6.tlog-proof", str(told["ledger_seq"])
    asked = ["receipt", entry, "-o", str(out), "--home", str(br.home)]
    refused = CliRunner().invoke(cli, [*asked, "--witnessed"])
    assert (refused.exit_code, out.exists()) == (2, False)
    assert "is not witnessed yet" in refused.output
    assert CliRunner().invoke(cli, [*asked, "--size", entry, "--witnessed"]).exit_code == 2
    assert CliRunner().invoke(cli, asked).exit_code == 0
    uy.run()
    path = f"/v1/receipts/{told['ledger_seq']}"

    def is_witnessed() -> bool:
        text = br.http.get(path, params={"wait": "witnessed"}).text
        return three.policy.is_quorum(three.policy.cosigned(TlogProof.decode(text).checkpoint).times_s)

    until(is_witnessed, what="the cosignature of a witness that is back")
    ar.run()
    for node in (br, uy, ar):
        assert node.fsck() == []
