"""A data-protection officer watches one operator disappear from every node, by searching the files."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from clients.demo.waiting import until
from tests.nodes import DATABASE, ROOT, Node, brazilian, pair_in

PERSON = {
    "legal_name": "Firma Apagada Ltda",
    "trade_names": ["Marca Apagada"],
    "mra_contact": "apagada@x.example",
}
NEEDLES = ("Firma Apagada", "Marca Apagada", "apagada@x.example", "firma apagada")


def found(home: Path, needles: tuple[str, ...]) -> dict[str, list[str]]:
    """The files of a home folder in which one of these texts stands, whatever is in them."""
    told: dict[str, list[str]] = {}
    for file in (file for file in home.rglob("*") if file.is_file()):
        held = file.read_bytes()
        if has := [each for each in needles if each.encode() in held]:
            told[file.name] = has
    return told


def is_known(node: Node, tin: str) -> bool:
    return node.http.get(f"/v1/operators/{tin}").status_code == 200


def newest(node: Node) -> Any:
    """The newest erasure that a node's ledger records."""
    return node.get("/v1/erasures")["erasures"][0]


def restored(node: Node, folder: Path) -> Path:
    """A home folder with the store out of the backup that was made before, and the key store as it is now."""
    home = folder / "restored" / node.country
    home.mkdir(parents=True)
    shutil.copytree(node.home / "keys", home / "keys")
    shutil.copy(node.home / "settings.toml", home)
    backup = str(node.home.parent / f"{node.country}.backup")
    assert node.command("backup", backup).returncode == 2, "it is there already"
    done = subprocess.run(
        [sys.executable, "-m", "node", "restore", backup, "--home", str(home)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "erased since" in done.stdout
    return home


def test_an_operator_disappears_from_every_file_of_every_node(tmp_path: Path) -> None:
    with pair_in(tmp_path) as pair:
        br, uy = pair.both()
        operator, other = brazilian(1, **PERSON), brazilian(2)
        tin, needles = operator["tin"], (*NEEDLES, operator["tin"], operator["tin"][2:])
        br.post("/v1/operators", operator, idempotency_key="first")
        br.post("/v1/operators", other)
        pair.await_copy()
        br.post("/v1/operators", operator | {"legal_name": "Firma Apagada S/A"})
        pair.await_copy()
        record_id = br.get(f"/v1/operators/{tin}")["record_id"]
        assert found(br.home, needles), "or nothing would be shown"
        assert found(uy.home, needles)
        for node in pair.both():
            assert node.command("backup", str(node.home.parent / f"{node.country}.backup")).returncode == 0
        uy.kill()
        made = br.post(f"/v1/operators/{tin}/erase", {"ground": "OBJECTION", "reference": "case 7"})
        assert made["partners"] == ["UY"]
        assert not is_known(br, tin)
        until(
            lambda: br.get("/v1/erasures")["erasures"][0]["scrubbed"],
            what="the issuer's files to be free of it",
        )
        assert found(br.home, (*needles, record_id)) == {}
        assert newest(br)["partners"][0]["answer"] is None
        uy.run()
        until(lambda: newest(br)["partners"][0]["answer"] == "ERASED", what="the partner's answer")
        assert not is_known(uy, tin)
        assert is_known(uy, other["tin"])
        until(
            lambda: uy.get("/v1/erasures")["erasures"][0]["scrubbed"],
            what="the partner's files to be free of it",
        )
        assert found(uy.home, (*needles, record_id)) == {}
        for node in pair.both():
            assert tin not in node.http.get("/v1/access").text, "who asked is kept, about whom is not"
            again = restored(node, tmp_path)
            assert found(again, (*needles, record_id)) == {}
            assert other["tin"].encode() in (again / DATABASE).read_bytes()
            node.stop()
            assert found(node.home, (*needles, record_id)) == {}
            assert node.fsck() == []
