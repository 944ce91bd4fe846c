"""Traders between two real nodes: from a register's file to the partner's answer, and a check of both."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.bench.traders import PROFILE, trader, write_list
from clients.demo.waiting import until
from tests.nodes import ROOT, Node, Pair, agree, brazilian, make, peer, running
from tests.unit.clients.test_cli import Aeo, aeo

__all__ = ("aeo",)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Two nodes with a master data arrangement in operation both ways."""
    br, uy = make(("BR", "UY"), tmp_path)
    with running(br, uy):
        peer(br, uy)
        yield Pair(br, uy, agree(br, uy, "br_uy_master_data", "master_data_v1"))


def recorded(node: Node, kind: str = "trader") -> int:
    total: int = node.get("/v1/register", kind=kind)["total"]
    return total


def test_traders_are_imported_copied_looked_up_and_hold(aeo: Aeo, pair: Pair, tmp_path: Path) -> None:
    register = tmp_path / "register.csv"
    write_list(register, 0, 600)
    pair.br.post("/v1/operators", brazilian(1))
    done = aeo("operator", "import", str(register), "--profile", PROFILE, at=pair.br)
    assert (done.code, done.out) == (0, "600 new, 0 changed, 0 unchanged, 0 refused\n")
    pair.await_copy()
    followed = aeo("channels", "--follow", "--json", at=pair.uy).json
    [copied] = [each for each in followed if each["direction"] == "in"]
    assert copied["size"] == copied["signed_size"] == pair.br.channel("out")["size"]

    told = aeo("mra", "decisions", pair.agreement, "--json", at=pair.br).json["directions"]
    assert [(each["shared"], each["withheld"]) for each in told] == [(600, {"kind not accepted": 1})]
    answer = pair.uy.answer(trader(599)["tin"])
    assert (answer["fields"]["activity"], answer["source"]) == (trader(599)["activity"], "mirror")
    assert answer["recognition"]["reasons"] == [
        "no authorisation under a programme that the agreement recognises"
    ]
    card = aeo("lookup", trader(7)["identifiers"][0]["value"], at=pair.uy).out
    assert "trader, not an authorised operator, activity" in card
    assert "NO, under Brazil-Uruguay" in card
    assert aeo("lookup", "--name", trader(7)["legal_name"], at=pair.uy).code == 0
    assert pair.uy.http.get(f"/v1/operators/{brazilian(1)['tin']}").status_code == 404

    for node in pair.both():
        node.stop()
        assert node.fsck() == []


def test_an_import_that_was_killed_is_run_again_and_records_each_trader_once(
    aeo: Aeo, pair: Pair, tmp_path: Path
) -> None:
    register = tmp_path / "register.csv"
    write_list(register, 0, 3_000)
    command = ["operator", "import", str(register), "--profile", PROFILE, "--home", str(pair.br.home)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from clients.cli.main import run; run()", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: recorded(pair.br) > 500, what="the first pages")
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = recorded(pair.br)
    assert before < 3_000, "it was over before it was killed"

    again = aeo(*command[:-2], "--json", at=pair.br).json
    assert again["counts"]["new"] + again["counts"]["unchanged"] == recorded(pair.br) == 3_000
    assert again["counts"]["unchanged"] >= 500
    pair.await_copy(60)
    pair.br.stop()
    assert pair.br.fsck() == []
