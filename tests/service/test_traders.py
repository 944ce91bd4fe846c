"""A trader goes the way of an operator, and no authorisation is ever read into it."""

import re
from typing import Any

import orjson
import pytest

from clients.bench.traders import trader
from contracts import rules, terms
from contracts.evaluation import Answer
from node.api.problems import encoded
from node.errors import Conflict, Malformed
from node.exchange.outgoing import Line
from node.records import model
from node.service.admit import AdmitList, Amend, Author, Outcome
from node.service.signing import Draft
from node.store import records
from node.store.database import table
from node.store.tables import Record
from tests.service.world import Json, Node, World, asking, operator

ONE, TWO = trader(1), trader(2)
TIN = ONE["tin"]


def authorised(of: Json = ONE, **changed: Any) -> Json:
    """The same trader, as an operator."""
    return operator(1) | {name: of[name] for name in ("tin", "identifiers", "legal_name")} | changed


def listed(node: Node, *rows: Json) -> list[Outcome]:
    work = AdmitList([model.to_json(model.parse(row)) for row in rows], Author("officer", "", "a list"))
    outcomes: list[Outcome] = node.settle(work)
    return outcomes


def arrange(world: World, **changed: Any) -> World:
    """A master data arrangement in operation in both directions; changes are of the direction BR-UY."""
    clauses: dict[str, Any] = terms.terms("br_uy_master_data")
    clauses["directions"]["BR-UY"] |= changed
    world.pin()
    drafted = Draft("Master data", ("BR", "UY"), clauses, rules.text("master_data_v1"))
    world.agreement = world.br.settle(drafted)
    world.both("sign")
    for issuer, partner in (("BR", "UY"), ("UY", "BR")):
        world.both("start", issuer, partner, mode="operation")
    return world


@pytest.fixture
def shared(strangers: World) -> World:
    """UY knows two traders of BR."""
    world = arrange(strangers)
    assert [outcome.kind for outcome in listed(world.br, ONE, TWO)] == ["new", "new"]
    world.exchange()
    return world


def test_a_partner_is_told_who_a_trader_is_and_recognises_nobody(shared: World) -> None:
    answer = shared.uy.look_up(TIN)
    assert answer["fields"] == {
        **{name: value for name, value in ONE.items() if name not in ("kind", "source_system")},
        **{name: answer["fields"][name] for name in ("record_id", "recorded_at")},
        "kind": "trader",
    }
    assert answer["status"]["value"] == "ACTIVE"
    assert not answer["recognition"]["applies"]
    assert answer["recognition"]["reasons"] == [
        "no authorisation under a programme that the agreement recognises"
    ]
    assert (shared.uy.incidents(), shared.uy.findings(), shared.br.findings()) == ([], [], [])


def test_a_trader_is_found_by_number_and_name_on_both_sides(shared: World) -> None:
    for node in shared.nodes:
        with asking(node) as (connection, answers):
            number = ONE["identifiers"][0]["value"]
            assert node.find([number])[number][0]["tin"] == TIN
            found = orjson.loads(
                encoded(answers.search(connection, answers.tellers(), ONE["legal_name"], 5))
            )["suggestions"]
            assert TIN in {each["operator"]["tin"] for each in found}
            assert answers.history(connection, answers.tellers(), TIN)["versions"]


def test_a_change_crosses_and_a_status_outside_the_terms_leaves_the_view(shared: World) -> None:
    shared.br.admit(ONE | {"activity": "6201"})
    shared.exchange()
    assert shared.uy.look_up(TIN)["fields"]["activity"] == "6201"
    shared.br.amend(TIN, status="WITHDRAWN")
    shared.exchange()
    number = ONE["identifiers"][0]["value"]
    [answer] = shared.uy.find([number])[number]
    assert (answer["fields"], answer["status"]["value"]) == (None, "NOT_SHARED")


def test_operators_are_none_of_a_master_data_arrangements_business(shared: World) -> None:
    shared.br.admit(operator(1))
    [partner] = shared.br.look_up(operator(1)["tin"])["partners"]
    assert partner["decision"] == {"answer": "withhold", "reason": "kind not accepted"}


def test_operators_are_shared_where_the_terms_say_so_and_are_not_recognised(strangers: World) -> None:
    fields = terms.terms("br_uy_master_data")["directions"]["BR-UY"]["fields"]  # type: ignore[index]
    world = arrange(strangers, accept_kinds=["operator", "trader"], fields=[*fields, "programme", "scope"])
    listed(world.br, operator(1), ONE)
    world.exchange()
    for tin in (operator(1)["tin"], TIN):
        answer = world.uy.look_up(tin)
        assert (answer["status"]["value"], answer["recognition"]["applies"]) == ("ACTIVE", False)
    assert world.uy.incidents() == []


def test_a_recognition_arrangement_shares_no_trader(world: World) -> None:
    world.br.admit(ONE)
    [partner] = world.br.look_up(TIN)["partners"]
    assert partner["decision"] == {"answer": "withhold", "reason": "programme not accepted"}


def test_an_operator_is_recognised_under_the_programmes_of_the_agreement_only(
    known: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = known.br.look_up(operator(1)["tin"])["partners"][0]["decision"]["fields"]
    monkeypatch.setattr(Line, "decide", lambda *_: Answer(True, tuple(paths), ""))
    known.br.admit(operator(1, programme="BR-OTHER"))
    monkeypatch.undo()
    known.exchange()
    recognition = known.uy.look_up(operator(1)["tin"])["recognition"]
    assert recognition["reasons"] == ["no authorisation under a programme that the agreement recognises"]


def test_a_trader_that_hides_its_kind_is_not_used(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = shared.br.look_up(TIN)["partners"][0]["decision"]["fields"]
    hidden = tuple(path for path in paths if path != "kind")
    monkeypatch.setattr(Line, "decide", lambda *_: Answer(True, hidden, ""))
    shared.br.admit(ONE | {"legal_name": "Sem tipo Ltda"})
    monkeypatch.undo()
    shared.carry(shared.uy)
    [incident] = shared.uy.incidents()
    assert "lacks what every reader needs" in incident["detail"]
    assert "programme, scope" in incident["detail"]


def test_an_operator_whose_terms_are_a_traders_is_not_sent(strangers: World) -> None:
    paths = terms.terms("br_uy_master_data")["directions"]["BR-UY"]["fields"]  # type: ignore[index]
    generous = re.sub(r'    if get\(record, "kind".*\n.*\n', "", rules.text("master_data_v1"))
    line_terms = {"direction": {"state": "IN_OPERATION", "share_statuses": ["ACTIVE"], "fields": paths}}
    line_terms |= {"from": "2026-01-01", "consent": "NONE"}  # type: ignore[dict-item]
    from contracts import load

    line = Line(None, load(generous), line_terms, "", "IN_OPERATION")  # type: ignore[arg-type]
    assert line.decide(ONE, "2026-11-22").shared
    answer = line.decide(operator(1), "2026-11-22")
    assert (answer.shared, answer.reason) == (
        False,
        "contract error: no reader could rely on the record without programme, scope",
    )


def test_a_trader_that_is_authorised_becomes_an_operator_and_never_a_trader_again(shared: World) -> None:
    before = shared.br.look_up(TIN)["record_id"]
    assert shared.br.admit(authorised()).kind == "changed"
    assert shared.br.look_up(TIN)["record_id"] == before
    shared.exchange()
    assert shared.uy.findings() == []
    with pytest.raises(Conflict, match="an operator does not become a trader again"):
        shared.br.admit(ONE)
    [refused] = listed(shared.br, ONE)
    assert (refused.kind, refused.version) == ("refused", None)
    assert "leave it out of the list of traders" in refused.message


def test_a_list_makes_an_operator_of_a_trader_without_a_consent_to_compare(shared: World) -> None:
    assert [outcome.kind for outcome in listed(shared.br, authorised())] == ["changed"]
    assert [outcome.kind for outcome in listed(shared.br, authorised())] == ["unchanged"]


def test_an_authorisation_still_comes_before_its_effect(shared: World) -> None:
    with pytest.raises(Conflict, match="before the operator was authorised"):
        shared.br.admit(authorised(authorised_on="2025-06-01"))


def test_a_trader_in_a_list_is_held_to_what_was_recorded_by_hand(shared: World) -> None:
    shared.br.amend(TIN, status="SUSPENDED", effective_at="2026-11-20T00:00:00.000Z")
    [refused] = listed(shared.br, ONE | {"effective_at": "2026-11-21T00:00:00.000Z"})
    assert "the list would undo what was recorded by hand: SUSPENDED" in refused.message
    assert [outcome.kind for outcome in listed(shared.br, TWO)] == ["unchanged"]


def test_a_trader_gives_no_consent(shared: World) -> None:
    given = {"given": True, "scope": "GENERAL"}
    with pytest.raises(Malformed, match="mra_consent: unknown field"):
        shared.br.settle(Amend(TIN, given, {"mra_consent": given}, Author("officer")))


def test_the_register_tells_one_kind_from_the_other(shared: World) -> None:
    shared.br.admit(operator(1))
    with shared.br.parts.database.read() as connection:
        told = {kind: records.tins_after(connection, "", 9, kind) for kind in (None, *model.KINDS)}
        assert [records.count(connection, kind) for kind in told] == [3, 1, 2]
    assert told["operator"] == [operator(1)["tin"]]
    assert told["trader"] == sorted([TIN, TWO["tin"]])
    assert told[None] == sorted(told["operator"] + told["trader"])


def test_a_kind_that_was_changed_in_the_store_is_found(shared: World) -> None:
    record = table(Record)
    with shared.br.parts.database.write() as connection:
        connection.execute(record.update().where(record.c.tin == TIN).values(kind=None))
    [finding] = shared.br.findings()
    assert "its kind is kept as None, and is trader" in finding.what
