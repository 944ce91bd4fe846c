"""Clauses that contradict each other: each may be agreed, and together they cannot be kept.

Guarantees that terms without a finding here can be obeyed as they read: somebody can be shared, a partner
can match and rely on what it gets, and no notice or precondition is without force. Looks only at terms whose
clauses are each in their form (see `terms.parse_terms`).
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

from node.errors import Problem, problem
from node.records.identifiers import SCHEMES
from node.records.model import OPERATOR, ROLES, TRADER

Clauses = dict[str, Any]


def of_terms(terms: Clauses) -> Iterator[Problem]:
    """What contradicts itself in the clauses that all directions share."""
    first, last = terms["from"], terms["until"]
    if last is not None and last < first:
        yield problem("terms.until", last, f"must not be before `from` ({first})")
    elif last is not None:
        days = (date.fromisoformat(last) - date.fromisoformat(first)).days + 1
        for name in ("suspension_notice_days", "termination_notice_days"):
            if terms[name] >= days:
                rule = f"must be shorter than the whole agreement, which is for {days} days"
                yield problem(f"terms.{name}", terms[name], rule)
    before = terms["preconditions"]
    if skipped := [each for each in before["pilot"] if each not in before["operation"]]:
        rule = "must hold what comes before a pilot: a direction may start in operation without one"
        yield problem("terms.preconditions.operation", f"without {', '.join(skipped)}", rule)


def of_direction(name: str, direction: Clauses, consent: str) -> Iterator[Problem]:
    """What contradicts itself in one direction, `<issuer>-<partner>`; `consent` is what all terms ask for."""
    kinds = direction.get("accept_kinds", [OPERATOR])
    checks = [_roles(direction), _identifier(direction), _consent(direction, kinds, consent)]
    checks.append(_programmes(direction, name.partition("-")[2]))
    if OPERATOR not in kinds:
        checks.append(_authorisation(direction))
    for check in checks:
        for clause, value, rule in check:
            yield problem(f"terms.directions.{name}.{clause}", value, rule)


Found = Iterator[tuple[str, object, str]]
"""(clause, value, the rule it breaks)."""


def _roles(direction: Clauses) -> Found:
    accepted, excluded = direction["accept_roles"] or [], direction["exclude_roles"] or []
    if both := [role for role in accepted if role in excluded]:
        yield "exclude_roles", excluded, f"must not name what `accept_roles` accepts: {', '.join(both)}"
    if set(excluded) >= set(ROLES):
        yield "exclude_roles", excluded, "must leave a role: nobody could be shared"


def _identifier(direction: Clauses) -> Found:
    scheme, fields = direction["identifier_scheme"], direction["fields"]
    if scheme not in SCHEMES:
        yield "identifier_scheme", scheme, f"must be one of {', '.join(SCHEMES)}: no record could have it"
    elif f"identifiers.{scheme}" not in fields:
        rule = (
            f"must hold identifiers.{scheme}: the partner could not match the record by `identifier_scheme`"
        )
        yield "fields", fields, rule


def _consent(direction: Clauses, kinds: list[str], consent: str) -> Found:
    if consent == "NONE" and "mra_consent" in direction["fields"]:
        yield "fields", "mra_consent", "must not hold mra_consent: the terms ask for no consent"
    if consent != "NONE" and TRADER in kinds:
        rule = f"must not hold {TRADER} while `consent` is {consent}: a trader gives none, so none is shared"
        yield "accept_kinds", kinds, rule


def _programmes(direction: Clauses, partner: str) -> Found:
    programmes, statuses = direction["accept_programmes"], direction["share_statuses"]
    if programmes and "ACTIVE" not in statuses:
        yield "share_statuses", statuses, "must hold ACTIVE: no benefit could ever be given"
    if swapped := [each for each in programmes if each.startswith(f"{partner}-")]:
        rule = f"must name the issuer's programmes: {', '.join(swapped)} is the partner's"
        yield "accept_programmes", programmes, rule


def _authorisation(direction: Clauses) -> Found:
    """Where no operator is shared, a clause about authorisations would have nobody to be about."""
    for clause in ("accept_programmes", "accept_types", "min_scope", "accept_roles", "exclude_roles"):
        if direction[clause]:
            yield clause, direction[clause], f"must be empty: `accept_kinds` has no {OPERATOR}"
