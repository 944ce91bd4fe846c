from itertools import product

import pytest

from node.errors import Conflict, Malformed
from node.records.status import STATUSES, TRANSITIONS, as_read, diagram, transition


def test_the_table_names_only_known_statuses() -> None:
    assert {new for _, new in TRANSITIONS} == set(STATUSES)
    assert {old for old, _ in TRANSITIONS} <= {None, *STATUSES}


@pytest.mark.parametrize(("old", "new"), list(product((None, *STATUSES), STATUSES)))
def test_a_status_moves_only_along_the_table(old: str | None, new: str) -> None:
    if old == new:
        assert transition(old, new) == "amend"
    elif (old, new) in TRANSITIONS:
        assert transition(old, new) == TRANSITIONS[old, new]
    else:
        with pytest.raises(Conflict, match=f"{old} cannot become {new}"):
            transition(old, new)


def test_a_record_may_enter_in_any_status() -> None:
    assert {transition(None, new) for new in STATUSES} == {"grant", "enter"}


@pytest.mark.parametrize("final", ["ANNULLED", "SUPERSEDED"])
def test_nothing_follows_a_final_status(final: str) -> None:
    with pytest.raises(Conflict, match=f"{final} is final"):
        transition(final, "ACTIVE")


def test_a_lost_authorisation_returns_only_by_a_new_grant() -> None:
    assert {transition(old, "ACTIVE") for old in ("REVOKED", "WITHDRAWN", "EXPIRED")} == {"grant"}
    with pytest.raises(Conflict, match="the life cycle allows: ACTIVE"):
        transition("REVOKED", "SUSPENDED")


@pytest.mark.parametrize(("old", "new"), [("ACTIVE", "NOT_SHARED"), ("active", "ACTIVE"), (None, "")])
def test_a_word_that_is_no_status_is_refused(old: str | None, new: str) -> None:
    with pytest.raises(Malformed, match="unknown status"):
        transition(old, new)


@pytest.mark.parametrize(
    ("status", "valid_to", "today", "read"),
    [
        ("ACTIVE", "2026-11-22", "2026-11-22", "ACTIVE"),
        ("ACTIVE", "2026-11-22", "2026-11-23", "EXPIRED"),
        ("SUSPENDED", "2026-11-22", "2026-11-23", "EXPIRED"),
        ("REVOKED", "2026-11-22", "2026-11-23", "REVOKED"),
        ("ANNULLED", "2026-11-22", "2026-11-23", "ANNULLED"),
        ("ACTIVE", None, "2099-01-01", "ACTIVE"),
    ],
)
def test_a_silent_issuer_cannot_keep_an_operator_alive(
    status: str, valid_to: str | None, today: str, read: str
) -> None:
    assert as_read(status, valid_to, today) == read


def test_an_unknown_status_is_not_read_as_anything() -> None:
    with pytest.raises(Malformed):
        as_read("ALIVE", "2020-01-01", "2026-01-01")


def test_the_diagram_shows_every_transition_once() -> None:
    lines = diagram().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert len(lines) == len(TRANSITIONS) + 1
    assert "    [*] --> ACTIVE : grant" in lines
    assert "    SUSPENDED --> ACTIVE : reinstate" in lines
