"""Whoever signs, and whoever reads an answer, is told each clause that binds them in words."""

import re
from pathlib import Path
from typing import Any

import pytest

from clients.cli import clauses
from clients.cli.lookup import say_card
from clients.sdk.answers import agreed_number
from contracts.terms import terms as ready_made
from node.agreements import terms

PAGE = (Path(__file__).parents[3] / "docs" / "clauses.md").read_text("utf-8")
SHARED = {*terms.TERMS_RULES, *terms.OPTIONAL_RULES} - {"directions"}
DIRECTED = {*terms.DIRECTION_RULES, *terms.MASTER_DATA_RULES, *terms.OPTIONAL_DIRECTION_RULES}


def test_every_clause_that_can_be_agreed_has_words_and_a_row_on_the_page() -> None:
    assert set(clauses.TERMS) == SHARED
    assert set(clauses.DIRECTION) == DIRECTED
    assert [name for name in (*SHARED, *DIRECTED) if f"| `{name}`" not in PAGE] == []


@pytest.mark.parametrize(
    ("clause", "value", "said"),
    [
        ("onward_transfer", "NONE", "not passed on to anybody"),
        ("onward_transfer", "WITH_WRITTEN_CONSENT", "written consent of the administration that told it"),
        ("suspension_notice_days", 60, "at least 60 days"),
        ("suspension_notice_days", 0, "at once"),
        ("max_staleness_s", 86_400, "older than 24 hours"),
        ("max_staleness_s", 900, "older than 900 s"),
        ("until", None, "no end"),
        ("until", "2030-12-31", "2030-12-31, the last day"),
        ("consent", "PER_AGREEMENT", "this very agreement"),
        ("local_suspension", False, "neither side suspends"),
        ("joint_validation", True, "jointly"),
        ("rank", 3, "3: goes before"),
        ("report_reads", True, "and not by whom"),
        ("report_reads", False, "neither side tells"),
        (
            "preconditions",
            {"pilot": [], "operation": ["a", "b"]},
            "before pilot: nothing; before operation: a, b",
        ),
    ],
)
def test_a_clause_reads_as_what_it_means(clause: str, value: object, said: str) -> None:
    told: dict[str, Any] = ready_made() | {clause: value}
    assert said in dict(clauses.terms_in_words(told))[clause]


def test_a_direction_says_what_is_left_open() -> None:
    told: dict[str, Any] = ready_made()["directions"]["BR-UY"]  # type: ignore[index]
    said = dict(clauses.direction_in_words(told))
    assert (said["accept_roles"], said["exclude_roles"]) == ("every role", "no role")
    assert said["identifier_scheme"].startswith("CNPJ: ")
    assert "accept_kinds" not in said, "it was not agreed"
    reader = {"country": "PY", "administration": "Customs of PY", "key": {}}
    said = dict(clauses.direction_in_words(told | {"mode": "ON_DEMAND", "readers": [reader]}))
    assert "one by one" in said["mode"]
    assert said["readers"] == "PY, Customs of PY, is served through the partner's node"


def answer(agreement: str, *reasons: str, **told: Any) -> Any:
    """One operator as a node answers."""
    bound = {"purpose": "Mutual recognition only", "onward_transfer": "NONE", "keep_until": "2031-11-22"}
    rest: dict[str, Any] = {
        "tin": "BR1",
        "record_id": "urn:x:1",
        "country": "BR",
        "source": "mirror",
        "fields": {"legal_name": "X S/A", "identifiers": [{"scheme": "CNPJ", "value": "99000001000101"}]},
        "status": {"value": "ACTIVE", "stated": "ACTIVE", "since": None},
        "recognition": {
            "applies": not reasons,
            "agreement": agreement * 43,
            "title": f"Title {agreement}",
            "reasons": list(reasons),
        },
        "partners": None,
        "provenance": {"ledger": {"origin": "o", "seq": 1, "proven_size": 2}},
        "freshness": None,
        "clauses": bound | {"identifier_scheme": "CNPJ"},
        "alerts": [],
        "because": None,
        "others": [],
    }
    return rest | told


def test_an_officer_reads_what_binds_him_and_every_agreement(capsys: pytest.CaptureFixture[str]) -> None:
    behind = answer("b", "the agreement is suspended in this direction")
    say_card(answer("a", because="recognition applies under it", others=[behind]), {})
    shown = " ".join(capsys.readouterr().out.split())
    assert "number CNPJ 99000001000101" in shown
    assert "recognition YES, under Title a" in shown
    assert "because recognition applies under it" in shown
    assert "also NO, under Title b (bbbbbbbbbb): the agreement is suspended in this direction" in shown
    assert "purpose Mutual recognition only" in shown
    assert "this data not passed on to anybody; kept until 2031-11-22 at most" in shown


def test_the_number_of_an_answer_is_the_one_of_the_agreed_scheme() -> None:
    numbers = [{"scheme": "LEI", "value": "L"}, {"scheme": "CNPJ", "value": "C"}]
    assert agreed_number(answer("a", fields={"identifiers": numbers})) == ("CNPJ", "C")
    assert agreed_number(answer("a", fields={"identifiers": numbers[:1]})) is None
    assert agreed_number(answer("a", fields=None)) is None
    assert agreed_number(answer("a", clauses=None)) is None


def test_every_test_that_the_page_names_is_there() -> None:
    tests = Path(__file__).parents[2]
    named = set(re.findall(r"`(test_\w+\.py)`", PAGE))
    assert len(named) > 10
    assert {name for name in named if not list(tests.rglob(name))} == set()
