"""`aeo audit decisions`: every recorded decision comes out again, and what was changed is named."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from node.agreements import document
from node.exchange import versions
from node.ledger import canonical
from node.service import check_decisions
from node.service.check_decisions import Replay
from node.service.signing import Sign
from node.store import channels, records
from tests.nodes import ROOT
from tests.service.stores import files_only
from tests.service.test_check import raw
from tests.service.world import CNPJS, Node, World, operator, withdrawn

ONE, TWO = (f"BR{cnpj}" for cnpj in CNPJS[1:3])


@pytest.fixture
def lived(known: World) -> World:
    """Decisions that share and that withhold, of several days and in several states."""
    known.br.amend(ONE, legal_name="Nova S/A")
    known.br.amend(TWO, mra_consent=withdrawn("2026-11-22"))
    known.br.admit(operator(4, national_types=["OEA-C"]))
    known.br.admit(operator(5, valid_to="2026-11-23"))
    known.exchange()
    known.days_pass(3)
    known.exchange()
    known.br.settle(Sign(known.agreement, "suspend", "BR", "UY"))
    known.exchange()
    return known


def found(node: Node) -> list[str]:
    return [f"{each.log}: {each.what}" for each in Replay(node.parts).findings()]


def decisions(node: Node, columns: str = "decision") -> list[tuple[object, ...]]:
    connection = raw(node)
    try:
        return connection.execute(f"SELECT {columns} FROM decision ORDER BY decision").fetchall()
    finally:
        connection.close()


def edit(node: Node, statement: str, *values: object) -> None:
    connection = raw(node)
    assert connection.execute(statement, values).rowcount
    connection.close()


def test_every_decision_of_a_sound_store_comes_out_again(
    lived: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lived.br.parts.database.read() as connection:
        kept = channels.decisions_after(connection, channels.LOWEST, 1000)
    assert len({each["day"] for each in kept}) > 1
    assert len({each["terms"] for each in kept}) > 1
    assert {json.loads(each["answer"])["answer"] for each in kept} == {"share", "withhold"}
    for page in (500, 3, 1):
        monkeypatch.setattr(check_decisions, "PAGE", page)
        told: list[tuple[str, int, int]] = []
        replay = Replay(lived.br.parts, lambda *at, told=told: told.append(at))
        assert list(replay.findings()) == []
        assert replay.count == len(kept)
        assert told[-1] == ("decisions", len(kept), len(kept))
    assert found(lived.uy) == []


EDITS = [
    ("answer = replace(answer, 'status', 'roles')", "its answer is not the one"),
    ("answer = answer || ' '", "its answer is not the one"),
    ("day = '2026-11-20'", "its input is not the one"),
    ("input = 'x'", "its input is not the one"),
    ("contract = 'f' || contract", "its contract is not the one"),
    ("terms = 'x'", "terms that no agreement has (x)"),
    ("log = 77", "terms that no agreement has"),
    ("version = 9", "there is no such version"),
    ("record_id = 'nobody'", "there is no such version"),
]


@files_only
@pytest.mark.parametrize(("change", "what"), EDITS, ids=lambda value: value)
def test_a_changed_decision_is_named_with_what_was_expected_and_what_found(
    lived: World, change: str, what: str
) -> None:
    number, answer = decisions(lived.br, "decision, answer")[0]
    edit(lived.br, f"UPDATE decision SET {change} WHERE decision = ?", number)
    [told] = found(lived.br)
    assert f"decision {number} on version " in told
    assert what in told
    if "answer" in change:
        assert f"; expected {answer}, found " in told


@files_only
def test_a_changed_contract_is_named_and_so_is_each_decision_it_would_change(lived: World) -> None:
    connection = raw(lived.br)
    [(content,)] = connection.execute("SELECT document FROM agreement").fetchall()
    connection.close()
    changed = canonical.decode(content)
    assert isinstance(changed, dict)
    contract = changed["contract"]
    assert isinstance(contract, dict)
    text = str(contract["text"]).replace("type not accepted", "another type")
    assert text != contract["text"]
    changed["contract"] = {"text": text, "sha256": sha256(text.encode()).hexdigest()}
    document.parse(changed)  # it is a contract as good as the one that was signed
    edit(lived.br, "UPDATE agreement SET document = ?", canonical.encode(changed))
    told = found(lived.br)
    assert told[0] == f"agreement {lived.agreement}: its text is not the one its id names"
    kept = decisions(lived.br, "decision, answer")
    for number, answer in kept:
        of = [each for each in told if f"decision {number} on" in each]
        assert any("its contract is not the one" in each for each in of)
        differs = "type not accepted" in str(answer)
        assert any("its answer is not the one" in each for each in of) == differs
    assert any("type not accepted" in str(answer) for _, answer in kept)


@files_only
def test_an_agreement_that_cannot_be_read_is_named_and_so_are_its_decisions(lived: World) -> None:
    edit(lived.br, "UPDATE agreement SET document = CAST(substr(document, 2) AS BLOB)")
    first, *told = found(lived.br)
    assert first.startswith(f"agreement {lived.agreement}: ")
    assert len(told) == len(decisions(lived.br))


@files_only
def test_a_version_that_does_not_open_is_named_by_each_decision_on_it(lived: World) -> None:
    record_id, version, count = decisions(lived.br, "record_id, version, (SELECT count(*) FROM decision AS o"
                                          " WHERE (o.record_id, o.version) ="
                                          " (decision.record_id, decision.version))")[0]  # fmt: skip
    edit(
        lived.br,
        "UPDATE record_version SET sealed = CAST(substr(sealed, 1, 50) || x'00' || substr(sealed, 52)"
        " AS BLOB) WHERE record_id = ? AND version = ?",
        record_id,
        version,
    )
    told = found(lived.br)
    assert len(told) == count
    assert all(f"on version {version} of {record_id}: " in each for each in told)


@files_only
def test_a_version_sealed_anew_with_the_nodes_own_key_is_named(lived: World) -> None:
    """Whoever has the keys can change what a decision was about, and then its digest is another."""
    parts = lived.br.parts
    with parts.database.read() as connection:
        stored = records.newest_by_tin(connection, [f"BR{CNPJS[4]}"])[f"BR{CNPJS[4]}"]
    version = versions.unseal(stored, parts.keys.store)
    forged = replace(version, fields=version.fields | {"national_types": ["OEA-S"]}).seal(bytes(12))
    edit(lived.br, "UPDATE record_version SET sealed = ? WHERE ledger_seq = ?", forged, stored.ledger_seq)
    told = found(lived.br)
    assert all(f"on version 1 of {stored.record_id}: " in each for each in told)
    assert any("its input is not the one" in each for each in told)
    assert any("its answer is not the one" in each for each in told)


@files_only
def test_what_stops_the_replay_is_told_and_no_traceback(lived: World) -> None:
    edit(lived.br, "UPDATE decision SET day = CAST(x'ff' AS BLOB), version = 'x'")
    assert len(found(lived.br)) == len(decisions(lived.br))
    connection = raw(lived.br)
    connection.execute("DROP TABLE decision")
    connection.close()
    [told] = found(lived.br)
    assert "it cannot be checked to its end" in told


ELSEWHERE = [
    {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C"},
    {"PYTHONHASHSEED": "4000", "TZ": "Pacific/Kiritimati", "LC_ALL": "C.UTF-8"},
    {"PYTHONHASHSEED": "77", "TZ": "America/Montevideo", "LC_ALL": "tr_TR.UTF-8", "PYTHONUTF8": "0"},
]


def command(home: Path, *options: str, **environment: str) -> tuple[int, str]:
    """The command itself, in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "node", "audit", "decisions", "--home", str(home), *options],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        cwd=ROOT,
        env=os.environ | environment,
        timeout=60,
    )
    assert done.stdout, done.stderr
    return done.returncode, done.stdout


@files_only
@pytest.mark.parametrize("environment", ELSEWHERE, ids=lambda each: each["LC_ALL"])
def test_another_interpreter_elsewhere_decides_the_same(lived: World, environment: dict[str, str]) -> None:
    """What it must have been is what was recorded in this process, with this one's seed, zone and locale."""
    kept = decisions(lived.br)
    assert command(lived.br.home, **environment) == (
        0,
        f"{len(kept)} decisions made again; everything holds.\n",
    )
    edit(lived.br, "UPDATE decision SET answer = answer || ' ' WHERE decision = ?", kept[0][0])
    code, told = command(lived.br.home, "--json", **environment)
    [only] = json.loads(told)
    assert (code, only["entry"]) == (1, -1)
    assert f"decision {kept[0][0]} on version" in only["what"]
