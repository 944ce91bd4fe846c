"""An agreement that replaces another: when, by whom, and what goes on; the same whatever arrives first."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.rules import text as rules
from contracts.terms import terms as ready_made
from node.agreements.act import Act
from node.agreements.amending import begins, bound, carried, replacement, taken_over
from node.agreements.document import Agreement, draft, parse
from node.agreements.state import TERMINATED, fold
from node.errors import Malformed
from tests.unit.agreements.test_agreement_leaving import party

TODAY = "2027-06-01"
THREE, FOUR = ("AR", "BR", "UY"), ("AR", "BR", "PY", "UY")
PAIRS = tuple(permutations(FOUR, 2))


def agreed(*countries: str, supersedes: str = "", **changed: Any) -> Agreement:
    clauses: Any = ready_made("mercosur") | changed
    kept = {
        name: each for name, each in clauses["directions"].items() if set(name.split("-")) <= set(countries)
    }
    told = dict(clauses) | {"directions": kept}
    return draft(
        "Mercosur", map(party, countries), told, rules("mra_v2"), "2026-11-01", b"n" * 16, supersedes
    )


OLD = agreed(*THREE)
NEW = agreed(*FOUR, supersedes=OLD.id)


def act_on(agreement: Agreement, kind: str, effective: str = "2027-01-01", **says: Any) -> Act:
    nothing = Act(agreement.digest(), kind, None, None, None, effective, (), "", (), b"a" * 16)
    return replace(nothing, **says)


def start(agreement: Agreement, issuer: str, partner: str, mode: str = "operation", **says: Any) -> Act:
    return act_on(agreement, "start", issuer=issuer, partner=partner, mode=mode, **says)


SIGNED = act_on(OLD, "sign")
STARTED = [start(OLD, *pair) for pair in permutations(THREE, 2)]
OPERATING = (SIGNED, *STARTED)
TAKING = act_on(NEW, "sign", "2027-03-01")


def under_new(
    *more: Act, new: Agreement = NEW, own: tuple[Act, ...] = (), today: str = TODAY
) -> dict[str, str]:
    """By direction: its state under the new agreement, after these acts under the old one."""
    sign = replace(TAKING, agreement=new.digest())
    acts = carried([(new, [sign, *own]), (OLD, [*OPERATING, *more])], today)
    return {f"{one}-{two}": fold(acts, one, two, today) for one, two in PAIRS}


def test_a_document_names_what_it_replaces_or_nothing() -> None:
    assert parse(NEW.to_json()) == NEW
    assert NEW.supersedes == OLD.id
    assert "supersedes" not in OLD.to_json(), "what was signed before reads as it did"
    for junk in ("", "x", OLD.id[:-1], 1, None):
        with pytest.raises(Malformed, match="supersedes"):
            parse(NEW.to_json() | {"supersedes": junk})


def test_what_operated_goes_on_and_who_joins_is_signed() -> None:
    found = under_new()
    assert {name for name, state in found.items() if state == "IN_OPERATION"} == {
        f"{one}-{two}" for one, two in permutations(THREE, 2)
    }
    assert {state for name, state in found.items() if "PY" in name} == {"SIGNED"}
    assert set(under_new(today="2027-02-28").values()) == {"NEGOTIATING"}


def test_restrictions_go_on_and_are_lifted_under_the_new_one() -> None:
    suspended = act_on(OLD, "suspend", issuer="BR", partner="UY")
    ends = act_on(OLD, "terminate", "2027-05-01", issuer="UY", partner="BR")
    found = under_new(suspended, ends)
    assert (found["BR-UY"], found["UY-BR"]) == ("SUSPENDED", TERMINATED)
    lifted = act_on(NEW, "resume", issuer="BR", partner="UY", lifts=(suspended.id,))
    assert under_new(suspended, own=(lifted,))["BR-UY"] == "IN_OPERATION"


def test_what_had_ended_by_that_day_begins_anew() -> None:
    ended = act_on(OLD, "terminate", "2027-02-01", issuer="BR", partner="UY")
    assert under_new(ended)["BR-UY"] == "SIGNED"
    gone = act_on(OLD, "leave", "2027-02-01", issuer="BR")
    found = under_new(gone)
    assert {state for name, state in found.items() if "BR" in name} == {"SIGNED"}
    assert found["AR-UY"] == "IN_OPERATION"


def test_a_leave_that_crosses_is_not_lost() -> None:
    found = under_new(act_on(OLD, "leave", "2027-05-01", issuer="BR"))
    assert {state for name, state in found.items() if "BR" in name and "PY" not in name} == {TERMINATED}


def test_a_start_goes_on_only_with_what_the_new_terms_ask_for_first() -> None:
    asked = agreed(*FOUR, supersedes=OLD.id, preconditions={"pilot": [], "operation": ["An audit"]})
    met = start(OLD, "AR", "BR", preconditions_met=("An audit",), nonce=b"b" * 16)
    pilot = start(OLD, "AR", "UY", "pilot")
    found = under_new(met, pilot, new=asked)
    assert (found["AR-BR"], found["AR-UY"], found["BR-UY"]) == ("IN_OPERATION", "PILOT", "SIGNED")


def test_it_begins_when_it_is_signed_and_its_terms_have_begun() -> None:
    assert begins(NEW, []) is None
    assert begins(NEW, [TAKING]) == "2027-03-01"
    later = agreed(*FOUR, supersedes=OLD.id, **{"from": "2027-05-01"})
    assert begins(later, [TAKING]) == "2027-05-01"
    assert replacement((OLD, OPERATING), [(later, [TAKING])], "2027-04-30") is None
    assert replacement((OLD, OPERATING), [(later, [TAKING])], "2027-05-01") == ("2027-05-01", later.id)


def test_whom_the_old_one_binds_is_in_the_new_one_or_it_replaces_nothing() -> None:
    without = agreed("AR", "BR", "PY", supersedes=OLD.id)
    sign, gone = act_on(without, "sign", "2027-03-01"), act_on(OLD, "leave", "2027-03-01", issuer="UY")
    assert replacement((OLD, OPERATING), [(without, [sign])], TODAY) is None
    assert (
        replacement((OLD, [*OPERATING, replace(gone, effective="2027-03-02")]), [(without, [sign])], TODAY)
        is None
    )
    assert bound(OLD, [gone], "2027-03-01") == ("AR", "BR")
    assert replacement((OLD, [*OPERATING, gone]), [(without, [sign])], TODAY)


def test_a_draft_is_not_replaced() -> None:
    assert replacement((OLD, STARTED), [(NEW, [TAKING])], TODAY) is None


def test_of_two_the_first_day_and_then_the_smaller_id_replaces() -> None:
    other = agreed(*FOUR, supersedes=OLD.id, max_staleness_s=60)
    mine, theirs = (NEW, [TAKING]), (other, [act_on(other, "sign", "2027-03-01")])
    told = replacement((OLD, OPERATING), [mine, theirs], TODAY)
    assert (
        told == replacement((OLD, OPERATING), [theirs, mine], TODAY) == ("2027-03-01", min(NEW.id, other.id))
    )
    sooner = (other, [act_on(other, "sign", "2027-02-01")])
    assert replacement((OLD, OPERATING), [mine, sooner], TODAY) == ("2027-02-01", other.id)


def test_a_chain_takes_over_from_its_beginning() -> None:
    third = agreed(*FOUR, supersedes=NEW.id)
    begun = start(NEW, "BR", "PY")
    chain = [(third, [act_on(third, "sign", "2027-04-01")]), (NEW, [TAKING, begun]), (OLD, list(OPERATING))]
    acts = carried(chain, TODAY)
    assert [fold(acts, *pair, TODAY) for pair in (("BR", "PY"), ("BR", "UY"), ("PY", "BR"))] == [
        "IN_OPERATION",
        "IN_OPERATION",
        "SIGNED",
    ]
    assert fold(carried(chain[:1], TODAY), "BR", "UY", TODAY) == "SIGNED", "who joins knows nothing before"


EVERYTHING = [
    *OPERATING,
    act_on(OLD, "suspend", issuer="BR", partner="UY"),
    act_on(OLD, "terminate", "2027-02-01", issuer="AR", partner="UY"),
    act_on(OLD, "terminate", "2027-05-01", issuer="UY", partner="AR"),
    act_on(OLD, "leave", "2027-02-01", issuer="BR"),
    act_on(OLD, "leave", "2027-05-01", issuer="UY"),
    act_on(OLD, "terminate", "2027-02-15"),
]
UNDER_NEW = [TAKING, replace(TAKING, effective="2027-04-01"), start(NEW, "BR", "PY"), start(NEW, "PY", "BR")]
UNDER_NEW += [act_on(NEW, "leave", issuer="AR"), act_on(NEW, "suspend", issuer="AR", partner="BR")]


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.sampled_from(EVERYTHING)),
    st.lists(st.sampled_from(UNDER_NEW)),
    st.randoms(use_true_random=False),
)
def test_who_holds_the_same_acts_agrees_whatever_came_first(
    old: list[Act], new: list[Act], random: Any
) -> None:
    def told(before: list[Act], own: list[Act]) -> list[str]:
        acts = carried([(NEW, own), (OLD, before)], TODAY)
        return [fold(acts, *pair, TODAY) for pair in PAIRS]

    again, own = [*old, *old[: len(old) // 2]], [*new, *new[:1]]
    random.shuffle(again)
    random.shuffle(own)
    assert told(old, new) == told(again, own)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(EVERYTHING)))
def test_nothing_lives_under_the_new_one_that_did_not_under_the_old(acts: list[Act]) -> None:
    """On the day it begins no direction is more than it was; later the old one's restrictions still hold."""
    live = ("PILOT", "IN_OPERATION")
    over = taken_over(NEW, "2027-03-01", acts)
    for pair in PAIRS:
        for day in ("2027-03-01", TODAY):
            if fold([TAKING, *over], *pair, day) in live:
                assert fold([SIGNED, *acts], *pair, day) in live
