"""History changed behind a node's back: its own check, its partner and the answers all show it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from clients.demo.waiting import until
from node import __main__
from node.commands import checking
from tests.nodes import DATABASE, Node, Pair, brazilian, checkpoint_of, origin_of

OPERATORS = [brazilian(number) for number in range(20)]
SEEN = brazilian(900)


def change_byte(node: Node, seq: int, at: int = -20) -> None:
    """Flip one bit of a stored ledger entry, as someone with the database in hand can."""
    with node.store() as store:
        where = "WHERE log = 0 AND seq = ?"
        (entry,) = store.execute(f"SELECT entry FROM log_entry {where}", (seq,)).fetchone()
        changed = bytearray(entry)
        changed[at] ^= 1
        store.execute(f"UPDATE log_entry SET entry = ? {where}", (bytes(changed), seq))


def admit(pair: Pair, operators: list[dict[str, Any]]) -> None:
    """Record operators at the issuer and wait for the partner's copy."""
    pair.br.post("/v1/operators/import", {"operators": operators})
    pair.await_copy()


def test_fsck_names_the_entry_of_which_one_byte_was_changed(lone: Node) -> None:
    lone.post("/v1/operators/import", {"operators": OPERATORS})
    for seq, at in ((7, -1), (8, -20), (9, 10)):
        change_byte(lone, seq, at)
        found = {(finding.log, finding.entry) for finding in lone.findings()}
        assert (origin_of(lone), seq) in found
        assert found <= {(origin_of(lone), each) for each in (seq, seq + 1, -1)}
        change_byte(lone, seq, at)
    change_byte(lone, 7)
    said = lone.command("fsck")
    assert said.returncode == 1
    assert f"{origin_of(lone)}, entry 7:" in said.stdout
    change_byte(lone, 7)
    assert lone.fsck() == []


def test_of_more_findings_than_anybody_reads_the_rest_is_counted(
    lone: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a wrong store key every version is one: they are neither all held nor all told."""
    lone.post("/v1/operators/import", {"operators": OPERATORS})
    with lone.store() as store:
        store.execute("UPDATE record_version SET sealed = zeroblob(50)")
    monkeypatch.setattr(checking, "MOST_TOLD", 5)

    def said(*options: str) -> str:
        done = CliRunner().invoke(__main__.cli, ["fsck", "--home", str(lone.home), *options])
        assert done.exit_code == 1
        return done.stdout

    *told, more, end = said().splitlines()
    assert (len(told), more) == (5, "More findings, which are only counted.")
    assert end.startswith(f"{len(OPERATORS)} findings. ")
    *first, last = json.loads(said("--json"))
    assert [f"{each['log']}, entry {each['entry']}: {each['what']}" for each in first] == told
    rest = f"{len(OPERATORS) - 5} more findings, which are only counted"
    assert last == {"log": "store", "entry": -1, "what": rest}


SECRETLY_CHANGED = (
    "UPDATE log_tile SET hashes = CAST(zeroblob(32) || substr(hashes, 33) AS BLOB) WHERE log = 0",
    "UPDATE record_version SET sealed = CAST(substr(sealed, 1, 50) || x'00' || substr(sealed, 52) AS BLOB)",
    "UPDATE log_head SET checkpoint = replace(checkpoint, '21', '20') WHERE log = 0",
    "DELETE FROM log_entry WHERE log = 0 AND seq = 5",
    "DELETE FROM record_version WHERE ledger_seq = 5",
    "DELETE FROM ledger_body WHERE seq = 0",
)


def test_fsck_finds_changed_tiles_bodies_and_heads_and_what_is_missing(lone: Node, tmp_path: Path) -> None:
    lone.post("/v1/operators/import", {"operators": OPERATORS})
    lone.stop()
    with lone.store() as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = shutil.copy(lone.home / DATABASE, tmp_path / "whole")
    for statement in SECRETLY_CHANGED:
        with lone.store() as store:
            assert store.execute(statement).rowcount > 0
        assert lone.findings() != [], statement
        shutil.copy(whole, lone.home / DATABASE)
    assert lone.findings() == []


def test_a_node_whose_last_entries_were_changed_refuses_to_start(lone: Node) -> None:
    lone.post("/v1/operators/import", {"operators": OPERATORS})
    lone.stop()
    change_byte(lone, 19)
    refused = lone.command("serve")
    assert refused.returncode == 2
    assert "entry 19" in refused.stderr
    assert "fsck" in refused.stderr


def test_a_partner_notices_one_changed_byte_and_says_so_in_its_answers(pair: Pair) -> None:
    br, uy = pair.br, pair.uy
    admit(pair, [SEEN])
    assert uy.answer(SEEN["tin"])["alerts"] == []
    change_byte(br, 9)
    [incident] = until(lambda: uy.incidents("altered"), what="the partner's note")
    assert incident["peer"] == br.name
    assert "entry 9" in incident["detail"]
    answer = until(lambda: (found := uy.answer(SEEN["tin"]))["alerts"] and found)
    assert answer["alerts"][0].startswith("altered: ")
    assert answer["fields"]["legal_name"] == SEEN["legal_name"]
    assert [each.entry for each in br.findings() if "hashed" in each.what] == [9]
    change_byte(br, 9)
    until(lambda: not uy.incidents("altered"), what="the end of the incident")
    assert uy.answer(SEEN["tin"])["alerts"] == []


def test_a_mirror_changed_behind_the_partners_back_is_found_by_its_check(pair: Pair) -> None:
    admit(pair, [SEEN])
    change = "UPDATE mirror SET fields = CAST(replace(CAST(fields AS TEXT), ?, ?) AS BLOB)"
    change += " WHERE fields IS NOT NULL"
    try:
        with pair.uy.store() as store:
            store.execute(change, (SEEN["legal_name"], "Another"))
        [finding] = pair.uy.findings()
        assert finding.log == "mirror of BR"
    finally:
        with pair.uy.store() as store:
            store.execute(change, ("Another", SEEN["legal_name"]))
    assert pair.uy.findings() == []


def restore(node: Node, copy: Path) -> None:
    """Put an older copy of the database in the place of the present one."""
    for file in node.home.glob(DATABASE + "*"):
        file.unlink()
    for file in copy.glob(DATABASE + "*"):
        shutil.copy(file, node.home / file.name)


@pytest.fixture
def forked(new_pair: Pair, tmp_path: Path) -> Pair:
    """A pair whose issuer stands still, with its database put back to before its last five operators."""
    admit(new_pair, OPERATORS[:5])
    new_pair.br.stop()
    shutil.copytree(new_pair.br.home, tmp_path / "older")
    new_pair.br.run()
    admit(new_pair, OPERATORS[5:10])
    new_pair.br.stop()
    restore(new_pair.br, tmp_path / "older")
    # It would notice by this, and by what its partner tells it, whose answers it gives no time to come.
    (new_pair.br.home / "last-checkpoint").unlink()
    new_pair.br.environment = {**new_pair.br.environment, "AEO_PEER_TIMEOUT_S": "0.0001"}
    return new_pair


def test_a_shortened_and_then_rewritten_history_is_noticed_and_never_used(forked: Pair) -> None:
    br, uy = forked.br, forked.uy
    proven = uy.channel("in")
    br.run()
    [shortened] = until(lambda: uy.incidents("replaced"), what="the note of the shortened history")
    assert shortened["peer"] == br.name
    br.post("/v1/operators/import", {"operators": OPERATORS[10:]})
    assert checkpoint_of(br).size > proven["ledger_size"]
    until(
        lambda: uy.incidents("replaced")[0]["detail"] != shortened["detail"], what="the note of the rewriting"
    )
    now = uy.channel("in")
    assert (now["size"], now["ledger_size"]) == (proven["size"], proven["ledger_size"])
    kept = uy.answer(OPERATORS[7]["tin"])
    assert kept["fields"]["legal_name"] == OPERATORS[7]["legal_name"]
    assert any(alert.startswith("replaced: ") for alert in kept["alerts"])
    assert uy.http.get(f"/v1/operators/{OPERATORS[15]['tin']}").status_code == 404
    assert uy.fsck() == []


def test_what_nobody_foresaw_is_told_as_problem_details_and_the_node_goes_on(lone: Node) -> None:
    with lone.store() as store:
        store.execute("ALTER TABLE operator_name RENAME TO misplaced")
    for _ in range(3):
        answer = lone.http.get("/v1/search", params={"name": "anybody"})
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert (answer.json()["type"], answer.json()["why"]) == (
            "urn:aeo:problem:refused",
            "OperationalError",
        )
    with lone.store() as store:
        store.execute("ALTER TABLE misplaced RENAME TO operator_name")
    assert lone.get("/v1/search", name="anybody")["suggestions"] == []


@pytest.mark.parametrize("command", [("fsck",), ("fsck", "--json"), ("serve",), ("token", "list")])
def test_a_file_that_is_no_database_is_refused_in_words(lone: Node, command: tuple[str, ...]) -> None:
    lone.stop()
    for file in lone.home.glob(f"{DATABASE}*"):
        file.unlink()
    (lone.home / DATABASE).write_bytes(b"no database" * 1000)
    said = lone.command(*command)
    assert said.returncode == 2
    assert "file is not a database" in said.stdout + said.stderr
    assert "restore from a backup" in said.stdout + said.stderr
    assert "Traceback" not in said.stdout + said.stderr
    if "--json" in command:
        assert json.loads(said.stdout)["type"] == "urn:aeo:problem:damaged"
