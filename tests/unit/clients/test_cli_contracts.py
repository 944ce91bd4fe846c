"""`aeo contract`: without a node, a text is judged and tried over records, under the node's own rule."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clients.cli import main
from contracts import load
from contracts.rules import text
from contracts.terms import terms
from node.agreements import deciding
from tests.nodes import LISTS
from tests.service.world import operator

GOVERN = 'def govern(act, terms, signatures, today):\n    return need(terms["parties"])\n'
SEEN = {"record_id": "urn:aeo:br:1", "recorded_at": "2026-11-01T00:00:00.000Z"}


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Aeo = Callable[..., Done]


@pytest.fixture
def aeo(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Aeo:
    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["aeo", "contract", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.run()
        told = capfd.readouterr()
        return Done(int(str(ended.value.code or 0)), told.out, told.err)

    return call


def decides(folder: Path, *lines: str) -> Path:
    """A contract that decides so."""
    path = folder / "mine.py"
    body = "".join(f"    {line}\n" for line in lines)
    path.write_text(f"def decide(record, terms, today):\n{body}{GOVERN}", encoding="utf-8")
    return path


def written(folder: Path, content: object) -> Path:
    path = folder / "records.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2), encoding="utf-8")
    return path


# check


def test_a_contract_is_accepted_with_its_hash_and_the_bound_on_its_steps(aeo: Aeo) -> None:
    said, told = aeo("check", "mra_v1"), aeo("check", "mra_v1", "--json")
    contract = load(text())
    assert (said.code, told.code) == (0, 0)
    assert told.json == {
        "accepted": True,
        "sha256": contract.sha256,
        "steps": contract.steps,
        "most_steps": 10_000_000,
    }
    assert contract.sha256 in said.out
    assert f"at most {contract.steps['decide']:,} steps" in said.out


def test_a_refused_text_is_told_with_place_reason_and_what_to_write(aeo: Aeo, tmp_path: Path) -> None:
    file = decides(tmp_path, 'if "Ñandú" == record.tin:', '    return withhold("no")')
    said, told = aeo("check", file), aeo("check", file, "--json")
    assert (said.code, told.code) == (1, 1)
    assert told.json == {
        "accepted": False,
        "line": 2,
        "column": 19,
        "rule": "Attribute is not part of the language here",
        "instead": 'write `get(value, "name")` or `value["name"]`',
    }
    assert "line 2, column 19: Attribute" in said.out
    assert 'if "Ñandú" == record.tin:' in said.out


@pytest.mark.parametrize("content", [b"\xff", b"#" * 65_537, None])
def test_a_file_that_is_no_text_is_refused(aeo: Aeo, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_bytes(content)
    assert aeo("check", file).code == 2


def test_a_name_that_is_not_published_is_refused_with_those_that_are(aeo: Aeo) -> None:
    done = aeo("check", "mra_v9")
    assert done.code == 2
    assert "master_data_v1, mra_v1" in done.err


def test_what_is_ready_made_is_shown_as_the_parties_sign_it(aeo: Aeo) -> None:
    assert aeo("show", "mra_v1").out == text()
    assert json.loads(aeo("show", "br_uy").out) == terms()
    done = aeo("show", "mra_v9")
    assert done.code == 2
    assert "mra_v1" in done.err


# try


def trial(aeo: Aeo, contract: object, records: object, *options: str, terms: object = "br_uy") -> Done:
    given = ("--terms", terms, "--records", records, "--day", "2026-11-22", "--json", *options)
    return aeo("try", contract, *given)


SHAPES: dict[str, Callable[[Any], Any]] = {
    "one": lambda record: record,
    "a list": lambda record: [record],
    "lines": lambda record: f"{json.dumps(record)}\n\n",
    "one line, a list": lambda record: json.dumps([record]),
    "as lookup prints": lambda record: {"results": {"1": [{"tin": record["tin"], "fields": record}]}},
    "as a search prints": lambda record: {"suggestions": [{"score": 9, "operator": {"fields": record}}]},
    "as history prints": lambda record: {"versions": [{"kind": "recorded", "fields": record}]},
    "as a list is imported": lambda record: {"operators": [record], "dry_run": True},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("assigned", [{}, SEEN], ids=["to be recorded", "recorded"])
def test_records_are_taken_as_aeo_takes_and_prints_them(
    aeo: Aeo, tmp_path: Path, shape: str, assigned: dict[str, str]
) -> None:
    done = trial(aeo, "mra_v1", written(tmp_path, SHAPES[shape](operator() | assigned)))
    assert done.code == 0, done
    [listed] = done.json["listed"]
    assert (done.json["records"], done.json["refused"]) == (1, 0)
    assert (listed["tin"], listed["direction"], listed["answer"]) == ("BR99000001000101", "BR-UY", "share")
    # What the contract shares is what the terms list; the operator has no status_until to show.
    assert set(terms()["directions"]["BR-UY"]["fields"]) - set(listed["fields"]) == {"status_until"}  # type: ignore[index]


def test_a_national_list_is_counted_as_the_demonstration_counts_it(aeo: Aeo) -> None:
    done = trial(aeo, "mra_v1", LISTS / "br_oea.csv", "--profile", "br-oea", "--most", "0")
    answered = done.json["directions"]["BR-UY"]
    assert answered["shared"] == 134
    assert answered["withheld"] == {
        "type not accepted": 43,
        "consent not given": 17,
        "expired": 5,
        "status not shared": 1,
    }
    assert done.json["listed"] == []


def test_state_day_and_direction_are_as_if(aeo: Aeo, tmp_path: Path) -> None:
    file = written(tmp_path, [operator(), operator(2, country="AR", tin="AR99000002000148")])
    suspended = trial(aeo, "mra_v1", file, "--state", "SUSPENDED").json
    assert suspended["directions"]["BR-UY"]["withheld"] == {"agreement not in operation": 1}
    late = trial(aeo, "mra_v1", file, "--day", "2029-01-11", "--direction", "br-uy").json
    assert late["directions"] == {"BR-UY": {"shared": 0, "shared_fields": [], "withheld": {"expired": 1}}}
    assert (late["records"], late["refused"], late["without_direction"]) == (2, 0, 1)
    other = trial(aeo, "mra_v1", file, "--direction", "UY-BR").json
    assert (other["directions"]["UY-BR"]["shared"], other["listed"]) == (0, [])


def test_the_floor_is_the_nodes_own(aeo: Aeo, tmp_path: Path) -> None:
    records = written(tmp_path, operator() | SEEN)
    fields = terms()["directions"]["BR-UY"]["fields"]  # type: ignore[index]
    beyond = [*fields, "mra_contact"]
    for given, reason in (
        (beyond, "contract error: shares fields that the terms do not list: mra_contact"),
        (
            ["record_id", "country", "tin"],
            "contract error: no reader could rely on the record without programme, scope, status",
        ),
    ):
        contract = decides(tmp_path, f"return share({json.dumps(given)})")
        done = trial(aeo, contract, records)
        assert (done.code, done.json["listed"][0]["reason"]) == (1, reason)
        asked = {"direction": {"fields": fields}}
        own = deciding.decide(load(contract.read_text("utf-8")), operator() | SEEN, asked, "2026-11-22")
        assert own.reason == reason


def test_which_fields_go_is_told_for_each_kind_of_answer(aeo: Aeo, tmp_path: Path) -> None:
    needed = ["record_id", "country", "tin", "status", "programme", "scope"]
    contract = decides(
        tmp_path,
        'if has_any(get(record, "roles"), ["exporter"]):',
        f"    return share({json.dumps([*needed, 'legal_name'])})",
        f"return share({json.dumps(needed)})",
    )
    records = written(tmp_path, [operator(1), operator(2, roles=["importer"]), operator(3)])
    told = trial(aeo, contract, records).json
    assert told["directions"]["BR-UY"]["shared_fields"] == [
        {"records": 2, "fields": sorted([*needed, "legal_name"])},
        {"records": 1, "fields": sorted(needed)},
    ]
    shown = aeo("try", contract, "--terms", "br_uy", "--records", records, "--day", "2026-11-22")
    assert "BR-UY: of 2 the contract shares country, legal_name," in shown.out


def test_what_a_node_would_not_admit_is_named_and_the_rest_goes_on(aeo: Aeo, tmp_path: Path) -> None:
    lines = [operator(1), operator(2, status="FINE"), operator(3, kind="ship"), 7, operator(4)]
    records = written(tmp_path, "\n".join(map(json.dumps, lines)))
    done = trial(aeo, "mra_v1", records)
    assert done.code == 1
    assert (done.json["records"], done.json["refused"]) == (5, 3)
    assert [each["where"] for each in done.json["refusals"]] == ["line 2", "line 3", "line 4"]
    assert done.json["directions"]["BR-UY"]["shared"] == 2
    broken = written(tmp_path, "no records here")
    assert trial(aeo, "mra_v1", broken).json["refused"] == 1


def test_traders_are_tried_under_their_own_terms(aeo: Aeo, tmp_path: Path) -> None:
    kept = ("country", "tin", "identifiers", "legal_name", "address", "status", "status_since")
    trader = {name: operator()[name] for name in kept}
    trader |= {"kind": "trader", "effective_at": operator()["effective_at"]}
    records = written(tmp_path, trader)
    told = trial(aeo, "master_data_v1", records, terms="br_uy_master_data").json
    assert told["directions"]["BR-UY"]["shared"] == 1
    assert "kind" in told["listed"][0]["fields"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--direction", "BR-AR"), "must be one of BR-UY, UY-BR"),
        (("--day", "2026-02-30"), "--day"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    aeo: Aeo, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = trial(aeo, "mra_v1", written(tmp_path, operator()), *options)
    assert done.code == 2
    assert said in done.out


def test_a_text_outside_the_language_and_terms_out_of_form_are_refused(aeo: Aeo, tmp_path: Path) -> None:
    records = written(tmp_path, operator())
    refused = trial(aeo, decides(tmp_path, "return record.tin"), records)
    assert refused.code == 2
    assert refused.json["problems"][0]["field"] == "contract.text"
    for broken in ({}, terms() | {"directions": []}, terms() | {"directions": {"BR": {}}}):
        file = tmp_path / "terms.json"
        file.write_text(json.dumps(broken), encoding="utf-8")
        done = trial(aeo, "mra_v1", records, terms=file)
        assert done.code == 2
        assert any(each["field"].startswith("terms.") for each in done.json["problems"])


def test_only_so_many_are_held_of_a_long_file(aeo: Aeo, tmp_path: Path) -> None:
    records = written(tmp_path, "\n".join([json.dumps(operator())] * 2500))
    told = trial(aeo, "mra_v1", records, "--most", "7").json
    assert (told["records"], len(told["listed"])) == (2500, 7)
    assert told["directions"]["BR-UY"]["shared"] == 2500
