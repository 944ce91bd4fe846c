"""Whether a benefit applies to an operator that a partner disclosed, and every reason why not.

A function of what was proven: the terms of the direction, its state, the operator's fields, the day, and how
old the proof is. Whoever has the same can work it out again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from node.agreements.rules import Json
from node.records import status

IN_OPERATION = "IN_OPERATION"
NOT_SHARED = "NOT_SHARED"


def in_words(state: str) -> str:
    """The state of a direction as a reason."""
    return f"the agreement is {state.lower().replace('_', ' ')} in this direction"


def against(
    terms: Json, state: str, read: str, programme: str | None, scope: Sequence[str], day: str, age_s: int
) -> list[str]:
    """Every reason against recognition; none: it applies.

    `terms` are those of the direction (`document.direction_terms`), `read` is the status as it must be read
    on the day (`status.as_read`), `age_s` how old the newest proof is.
    """
    found = [] if state == IN_OPERATION else [in_words(state)]
    if read != "ACTIVE":
        found.append(f"the status is {read}")
    direction = terms["direction"]
    if programme not in direction["accept_programmes"]:
        found.append("no authorisation under a programme that the agreement recognises")
    if missing := [each for each in direction["min_scope"] if each not in scope]:
        found.append("the authorisation does not cover " + ", ".join(missing))
    if day < terms["from"] or (terms["until"] and day > terms["until"]):
        found.append(f"the agreement is for {terms['from']} to {terms['until'] or 'further notice'}")
    if age_s > terms["max_staleness_s"]:
        found.append("the newest proof is older than the agreement allows")
    return found


def read(
    terms: Json, state: str, fields: Mapping[str, Any] | None, day: str, age_s: int
) -> tuple[str, list[str]]:
    """(the status as it must be read on a day, every reason against recognition).

    `fields`: what was disclosed last; None: the record has left the reader's view. The rest as in `against`.
    """
    if fields is None:
        return NOT_SHARED, unshared(state)
    found = status.as_read(str(fields["status"]), fields.get("valid_to"), day)
    scope = [str(each) for each in fields.get("scope") or []]
    return found, against(terms, state, found, fields.get("programme"), scope, day, age_s)


def unshared(state: str) -> list[str]:
    """The reasons against a record that has left the reader's view."""
    stopped = [] if state == IN_OPERATION else [in_words(state)]
    return [*stopped, "the issuer no longer shares this record with us"]
