"""The drill of a stolen key, with real processes: frozen by the partner, and succeeded by another node."""

import subprocess
import sys
from pathlib import Path

import pytest

from clients.demo.waiting import until
from clients.sdk import verifier
from tests.nodes import ROOT, Node, Pair, agree, brazilian, free_port, log_verifiers, peer

ONE, TWO, THREE = (brazilian(number) for number in (1, 2, 3))
NAME = "aeo2.br.example"


class Successor(Node):
    """The node that takes the place of Brazil's."""

    @property
    def name(self) -> str:
        """Its own name."""
        return NAME


def init(old: Node, home: Path, port: int, *more: str) -> "subprocess.CompletedProcess[str]":
    arguments = ["--home", str(home), "--country", "BR", "--name", NAME, "--port", str(port)]
    arguments += ["--address", f"http://127.0.0.1:{port}", "--succeeds", str(old.home), *more]
    command = [sys.executable, "-m", "node", "init", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)


def test_a_node_whose_keys_were_stolen_is_frozen_and_succeeded(new_pair: Pair, tmp_path: Path) -> None:
    br, uy = new_pair.both()
    br.post("/v1/operators", ONE)
    new_pair.await_copy()
    policy = f"log {log_verifiers(br)[0].vkey()}\nquorum none\n"

    frozen = uy.post("/v1/peers/BR/freeze", {"reason": "keys stolen, told by telephone"})
    assert frozen["checkpoint"].startswith(f"{br.name}/ledger\n")
    br.post("/v1/operators", TWO)  # the thief, with the keys and the address of the node
    until(lambda: "nothing is told to this node" in br.log(), what="the refusal of whoever asks in its name")
    assert uy.http.get(f"/v1/operators/{TWO['tin']}").status_code == 404
    told = uy.answer(ONE["tin"])
    assert told["recognition"] is not None
    assert any("told by telephone" in each for each in told["alerts"])

    note, home, port = tmp_path / "frozen", tmp_path / "br2", free_port()
    note.write_text(frozen["checkpoint"])
    refused = init(br, home, port, "--checkpoint", str(note))
    assert refused.returncode == 2, "the old node still runs"
    assert "served already" in refused.stderr
    assert not home.exists()
    br.stop()
    made = init(br, home, port, "--checkpoint", str(note))
    assert made.returncode == 0, made.stderr
    assert "1 records were carried over" in made.stdout
    assert "1 entries behind that are disowned" in made.stdout

    new = Successor("BR", home, port)
    try:
        new.run()
        peer(new, uy)
        agree(new, uy)
        new.post("/v1/operators", THREE)
        until(lambda: uy.http.get(f"/v1/operators/{THREE['tin']}").is_success, what="the successor's news")
        answer = uy.answer(ONE["tin"])
        assert answer["recognition"]["applies"]
        assert answer["provenance"]["ledger"]["origin"] == f"{NAME}/ledger"
        assert br.fsck() == new.fsck() == uy.fsck() == []
        old = uy.http.get(f"/v1/operators/{ONE['tin']}/evidence", params={"agreement": new_pair.agreement})
        assert old.status_code == 200, old.text
        assert [each for each in verifier.verify(old.content, policy) if not each.passed] == []
        again = uy.http.post("/v1/peers", json=card_of(br))
        assert again.status_code == 409, "a node that was succeeded never comes back"
    finally:
        new.close()


def card_of(node: Node) -> dict[str, str]:
    done = node.command("card")
    fingerprint = done.stderr.rpartition("fingerprint: ")[2].strip()
    return {"card": done.stdout.strip(), "fingerprint": fingerprint}


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--succeeds", "nowhere"), "nowhere"),
        (("--checkpoint", "nothing"), "no node"),
    ],
)
def test_wrong_words_make_no_node(tmp_path: Path, option: tuple[str, str], said: str) -> None:
    arguments = ["--home", str(tmp_path / "new"), "--country", "BR", "--name", NAME, *option]
    command = [sys.executable, "-m", "node", "init", *arguments, "--address", "http://127.0.0.1:9"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2, done.stdout
    assert said in done.stderr, done.stderr
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_no_text_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"\xff\xfe")
    for home, more in (("br", ()), ("br2", ("--succeeds", "br", "--checkpoint", "junk"))):
        arguments = ["init", "--home", home, "--country", "BR", "--name", f"aeo.{home}.example", *more]
        done = subprocess.run(
            [sys.executable, "-m", "node", *arguments, "--address", "http://127.0.0.1:9"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT)},
        )
    assert done.returncode == 2
    assert "not a checkpoint" in done.stderr
    assert not (tmp_path / "br2").exists()
