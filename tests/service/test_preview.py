"""What an arrangement would let out is told before anyone signs: exactly that, and nothing else changes."""

import json
from typing import Any

import pytest

from contracts import load, rules, terms
from node.agreements.document import Agreement
from node.agreements.preview import proposed
from node.errors import Malformed
from node.service import preview
from node.service.preview import Comparison
from node.store import agreements, channels
from tests.service.world import CNPJS, Node, World, operator, withdrawn

NEEDED = ["record_id", "country", "tin", "status", "programme", "scope"]
Json = dict[str, Any]
MRA = rules.text("mra_v1")


def tin(number: int) -> str:
    return f"BR{CNPJS[number]}"


def clauses(direction: Json | None = None, **changed: Any) -> Json:
    """The ready-made terms with some clauses changed, those of BR-UY apart."""
    made: Json = terms.terms() | changed  # type: ignore[assignment]
    made["directions"]["BR-UY"] |= direction or {}
    return made


def compared(node: Node, old: Agreement | None, new: Agreement) -> Json:
    return Comparison(node.parts, old, new).page()


def listed(page: Json) -> dict[str, Json]:
    return {each["tin"]: each for each in page["listed"]}


@pytest.fixture
def full(strangers: World) -> World:
    """Brazil has operators of several fates, and no agreement at all."""
    for number, changed in {
        1: {},
        2: {"national_types": ["OEA-C"]},
        3: {"mra_consent": withdrawn("2026-01-01")},
        4: {"roles": ["broker"]},
        5: {"valid_to": "2026-11-21"},
        6: {"status_until": "2027-01-01", "status": "SUSPENDED"},
    }.items():
        strangers.br.admit(operator(number, **changed))
    return strangers


def test_beside_nothing_all_that_is_shared_would_newly_leave(full: World) -> None:
    page = compared(full.br, None, proposed(clauses(), MRA))
    assert (page["records"], page["looked_at"], page["next"]) == (6, 6, None)
    counted = page["directions"]["BR-UY"]
    assert counted["leaves"] == {"no agreement": 3}
    assert counted["withheld"] == {"type not accepted": 1, "consent withdrawn": 1, "expired": 1}
    assert (counted["stops"], counted["changes"], counted["shared_alike"]) == ({}, {}, 0)
    found = listed(page)
    assert set(found) == {tin(1), tin(4), tin(6)}
    # A field that the record does not have does not leave.
    assert "status_until" in found[tin(6)]["gained"]
    assert "status_until" not in found[tin(1)]["gained"]
    assert "identifiers.CNPJ" in found[tin(1)]["gained"]
    assert page["clauses"] == ["there is no agreement to compare with: every clause is new"]
    assert "not known here" in page["arriving"]


def test_each_difference_is_told_with_its_reason_or_fields(full: World) -> None:
    fields = clauses()["directions"]["BR-UY"]["fields"]
    changed = {"accept_types": ["OEA-S", "OEA-C"], "exclude_roles": ["broker"]}
    changed["fields"] = [name for name in fields if name != "address"] + ["roles"]
    page = compared(full.br, proposed(clauses(), MRA), proposed(clauses(changed, retention_days=30), MRA))
    counted, found = page["directions"]["BR-UY"], listed(page)
    assert counted["leaves"] == {"type not accepted": 1}
    assert counted["stops"] == {"role not accepted": 1}
    assert counted["changes"] == {"+roles -address": 2}
    assert found[tin(2)]["change"] == "leaves"
    assert (found[tin(4)]["change"], found[tin(4)]["reason"]) == ("stops", "role not accepted")
    assert found[tin(4)]["lost"]
    assert found[tin(1)] | {"record_id": ""} == {
        "direction": "BR-UY",
        "tin": tin(1),
        "record_id": "",
        "change": "changes",
        "gained": ("roles",),
        "lost": ("address",),
    }
    assert page["clauses"] == [
        "retention_days: 1826 becomes 30",
        "directions.BR-UY.accept_types: adds OEA-C",
        "directions.BR-UY.exclude_roles: not limited becomes broker",
        "directions.BR-UY.fields: adds roles and drops address",
    ]


def test_the_same_arrangement_differs_in_nothing(full: World) -> None:
    page = compared(full.br, proposed(clauses(), MRA), proposed(clauses(), MRA))
    assert (page["listed"], page["clauses"], page["directions"]["BR-UY"]["shared_alike"]) == ([], [], 3)
    assert not page["directions"]["BR-UY"]["on_demand"]


def test_a_direction_on_demand_is_told_as_such(full: World) -> None:
    page = compared(full.br, proposed(clauses(), MRA), proposed(clauses({"mode": "ON_DEMAND"}), MRA))
    assert page["directions"]["BR-UY"]["on_demand"]
    assert page["clauses"] == ["directions.BR-UY.mode: is new: ON_DEMAND"]


def test_another_contract_is_told_and_one_that_goes_beyond_the_terms_lets_nothing_out(full: World) -> None:
    govern = MRA[MRA.index("def start") :]
    field = 'def decide(record, terms, today):\n    return share(["record_id", "mra_contact"])\n\n\n'
    new = proposed(clauses(), field + govern)
    page = compared(full.br, proposed(clauses(), MRA), new)
    lacking = "country, programme, scope, status, tin"
    why = f"contract error: no reader could rely on the record without {lacking}"
    assert page["directions"]["BR-UY"]["stops"] == {why: 3}
    assert page["directions"]["BR-UY"]["withheld"] == {why: 3}
    assert [each for each in page["clauses"] if new.contract_sha256 in each]


def test_a_direction_that_ends_takes_everything_with_it_and_a_new_one_brings_it(full: World) -> None:
    third: Json = clauses()
    third["directions"] = {
        "BR-AR": third["directions"]["BR-UY"] | {"fields": [*NEEDED, "identifiers.CNPJ"]},
        "UY-BR": third["directions"]["UY-BR"],
    }
    page = compared(full.br, proposed(clauses(), MRA), proposed(third, MRA))
    assert page["directions"]["BR-UY"]["stops"] == {"no such direction": 3}
    assert page["directions"]["BR-AR"]["leaves"] == {"no such direction": 3}
    assert "directions.BR-UY: is left out" in " ".join(page["clauses"])


def test_an_issuer_of_nothing_looks_at_nothing(full: World) -> None:
    other = json.loads(json.dumps(clauses()).replace('"BR', '"AR').replace("-BR", "-AR"))
    page = compared(full.br, None, proposed(other, MRA))
    assert (page["directions"], page["listed"], page["looked_at"], page["next"]) == ({}, [], 0, None)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7])
def test_pages_add_up_to_the_whole(full: World, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = Comparison(full.br.parts, None, proposed(clauses(), MRA))
    whole, after, found, looked_at = comparison.page(), "", [], 0
    while after is not None:
        page = comparison.page(after, limit)
        assert page["looked_at"] <= limit
        found, looked_at, after = found + page["listed"], looked_at + page["looked_at"], page["next"]
    assert (found, looked_at) == (whole["listed"], 6)
    monkeypatch.setattr(preview, "LISTED_LIMIT", 1)
    assert len(comparison.page()["listed"]) == 1
    monkeypatch.setattr(preview, "LISTED_LIMIT", 100)
    monkeypatch.setattr(preview, "STEPS_LIMIT", 2 * load(MRA).steps["decide"])
    assert comparison.page()["looked_at"] == 2


def test_it_tells_what_the_node_then_does(full: World) -> None:
    """What was previewed as leaving is what leaves, once the arrangement is signed and in operation."""
    page = compared(full.br, None, proposed(clauses(), MRA))
    full.operate()
    full.exchange()
    log = full.br.log_of("BR", "UY")
    with full.br.parts.database.read() as connection:
        answers = channels.newest_answer_counts(connection, log)
        number = next(iter(agreements.documents(connection)))
        signed = full.br.parts.standings.current(connection)[number].agreement
    shared = sum(count for answer, count in answers.items() if json.loads(answer)["answer"] == "share")
    assert shared == len(page["listed"]) == channels_shared(full.br, log)
    for number in (1, 2, 3, 4, 5, 6):
        told = full.uy.find([CNPJS[number]])[CNPJS[number]]
        assert bool(told) == (tin(number) in listed(page))
        for answer in told:
            assert set(listed(page)[tin(number)]["gained"]) >= set(answer["fields"]) - {"identifiers"}
    assert compared(full.br, signed, proposed(clauses(), MRA))["listed"] == []


def channels_shared(node: Node, log: int) -> int:
    with node.parts.database.read() as connection:
        return channels.shared_count(connection, log)


def test_nothing_is_changed(full: World) -> None:
    before = {path: path.read_bytes() for path in full.br.home.glob("node.sqlite")}
    size = full.br.ledger().size
    compared(full.br, None, proposed(clauses(), MRA))
    assert full.br.ledger().size == size
    assert before == {path: path.read_bytes() for path in full.br.home.glob("node.sqlite")}


@pytest.mark.parametrize(
    ("changed", "text", "field"),
    [
        ({"until": "2020-01-01"}, MRA, "terms.until"),
        ({"consent": "MAYBE"}, MRA, "terms.consent"),
        ({"surprise": 1}, MRA, "terms.surprise"),
        ({}, "import os\n", "contract.text"),
    ],
)
def test_what_could_not_be_drafted_is_not_compared(changed: Json, text: str, field: str) -> None:
    with pytest.raises(Malformed) as refused:
        proposed(clauses(**changed), text)
    assert [each.field for each in refused.value.problems] == [field]
