"""Terms that cannot be kept as they read are refused, by the clause and with the reason."""

from typing import Any

import pytest

from contracts.terms import terms as ready_made
from node.agreements.terms import parse_terms
from node.errors import Malformed
from node.records.model import ROLES

KEY = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
DIRECTION = "terms.directions.BR-UY."
Change = dict[str, Any]

# Clauses of all directions, clauses of BR-UY; the clause that is named, and a part of the reason.
CASES: dict[str, tuple[Change, Change, str, str]] = {
    "it ends before it begins": ({"until": "2025-12-31"}, {}, "terms.until", "before `from`"),
    "notice of suspension longer than the agreement": (
        {"until": "2026-02-28", "suspension_notice_days": 60, "termination_notice_days": 58},
        {},
        "terms.suspension_notice_days",
        "is for 59 days",
    ),
    "notice of termination as long as the agreement": (
        {"until": "2026-01-31", "termination_notice_days": 31},
        {},
        "terms.termination_notice_days",
        "is for 31 days",
    ),
    "a precondition that a direct start goes around": (
        {"preconditions": {"pilot": ["adequacy judged"], "operation": []}},
        {},
        "terms.preconditions.operation",
        "before a pilot",
    ),
    "a role accepted and excluded": (
        {},
        {"accept_roles": ["broker", "exporter"], "exclude_roles": ["broker"]},
        f"{DIRECTION}exclude_roles",
        "accepts: broker",
    ),
    "every role excluded": (
        {},
        {"exclude_roles": list(ROLES)},
        f"{DIRECTION}exclude_roles",
        "nobody could be shared",
    ),
    "a scheme of which nobody has a number": (
        {},
        {"identifier_scheme": "CNJP"},
        f"{DIRECTION}identifier_scheme",
        "no record could have it",
    ),
    "a scheme that is not shown": (
        {},
        {"identifier_scheme": "LEI"},
        f"{DIRECTION}fields",
        "must hold identifiers.LEI",
    ),
    "a consent that is shown and not asked for": (
        {"consent": "NONE"},
        {"fields": [*ready_made()["directions"]["BR-UY"]["fields"], "mra_consent"]},  # type: ignore[index]
        f"{DIRECTION}fields",
        "ask for no consent",
    ),
    "traders who would have to consent": (
        {},
        {
            "accept_kinds": ["operator", "trader"],
            "fields": [*ready_made()["directions"]["BR-UY"]["fields"], "kind"],  # type: ignore[index]
        },
        f"{DIRECTION}accept_kinds",
        "a trader gives none",
    ),
    "a reader that has a node": (
        {},
        {"readers": [{"country": "UY", "administration": "Customs", "key": KEY}]},
        f"{DIRECTION}readers",
        "must not be a party",
    ),
    "a benefit without those who could have it": (
        {},
        {"share_statuses": ["SUSPENDED", "REVOKED"]},
        f"{DIRECTION}share_statuses",
        "must hold ACTIVE",
    ),
    "the programmes of the other side": (
        {},
        {"accept_programmes": ["UY-OEC"]},
        f"{DIRECTION}accept_programmes",
        "UY-OEC is the partner's",
    ),
}
TRADERS_ONLY: dict[str, Change] = {
    "accept_programmes": {"accept_programmes": ["BR-OEA"]},
    "accept_types": {"accept_types": ["OEA-S"]},
    "min_scope": {"min_scope": ["SECURITY"]},
    "accept_roles": {"accept_roles": ["exporter"]},
    "exclude_roles": {"exclude_roles": ["broker"]},
}


def refused(name: str, shared: Change, directed: Change) -> dict[str, str]:
    """The reason by clause."""
    agreed: dict[str, Any] = ready_made(name) | shared
    agreed["directions"]["BR-UY"] |= directed
    with pytest.raises(Malformed) as refusal:
        parse_terms(agreed, ("BR", "UY"))
    return {each.field: each.rule for each in refusal.value.problems}


@pytest.mark.parametrize("name", CASES)
def test_clauses_that_contradict_each_other_are_refused_by_name_and_reason(name: str) -> None:
    shared, directed, clause, reason = CASES[name]
    found = refused("br_uy", shared, directed)
    assert list(found) == [clause]
    assert reason in found[clause]


@pytest.mark.parametrize("clause", TRADERS_ONLY)
def test_a_clause_about_authorisations_is_not_agreed_for_traders_only(clause: str) -> None:
    found = refused("br_uy_master_data", {}, TRADERS_ONLY[clause])
    assert "`accept_kinds` has no operator" in found[f"{DIRECTION}{clause}"]


def test_every_contradiction_is_named_at_once() -> None:
    shared, directed = {"until": "2025-01-01"}, {"share_statuses": ["REVOKED"], "identifier_scheme": "LEI"}
    expected = {"terms.until", f"{DIRECTION}share_statuses", f"{DIRECTION}fields"}
    assert set(refused("br_uy", shared, directed)) == expected


def test_what_only_just_does_not_contradict_itself_is_agreed() -> None:
    agreed: dict[str, Any] = ready_made() | {
        "until": "2026-01-31",
        "termination_notice_days": 30,
        "rank": 100,
    }
    agreed["preconditions"] = {
        "pilot": ["adequacy judged"],
        "operation": ["pilot reviewed", "adequacy judged"],
    }
    agreed["directions"]["BR-UY"] |= {"accept_roles": ["exporter"], "exclude_roles": list(ROLES[2:])}
    assert parse_terms(agreed, ("BR", "UY")) == agreed
