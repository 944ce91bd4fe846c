from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from contracts.rules import text as rules
from contracts.terms import terms as ready_made
from node.agreements import state as states
from node.agreements.act import Act, Instrument, sign
from node.agreements.document import Agreement, Party, draft
from node.agreements.state import ALLOWED, STATES, diagram, fold, propose
from node.errors import Conflict

KEYS = {country: ECKey.generate_key("P-256", private=True) for country in ("BR", "UY")}
TODAY = "2027-06-01"


def party(country: str) -> Party:
    key = KEYS[country].as_dict(private=False)
    public = {name: str(key[name]) for name in ("kty", "crv", "x", "y")}
    return Party(country, f"aeo.{country.lower()}.example", f"Customs of {country}", public)


def agreed() -> Agreement:
    parties = [party("BR"), party("UY")]
    return draft("Brazil and Uruguay", parties, ready_made(), rules(), "2026-11-01", b"n" * 16)


AGREEMENT = agreed()
SIGN = Act(AGREEMENT.digest(), "sign", None, None, None, "2026-12-01", (), "", (), b"a" * 16)
PILOT = replace(SIGN, act="start", issuer="BR", partner="UY", mode="pilot", effective="2027-01-01")
OPERATION = replace(PILOT, mode="operation", effective="2027-02-01")
SUSPEND = replace(PILOT, act="suspend", mode=None, effective="2027-03-01")
SUSPEND_AGAIN = replace(SUSPEND, nonce=b"b" * 16, effective="2027-03-02")
RESUME = replace(SUSPEND, act="resume", lifts=(SUSPEND.id,), effective="2027-04-01")
BACKWARD = replace(PILOT, issuer="UY", partner="BR")
TERMINATE = replace(SIGN, act="terminate", effective="2027-05-01")


def signed(act: Act, *countries: str) -> Instrument:
    return Instrument(act, tuple(sign(act, country, KEYS[country]) for country in countries))


def withdrawn_by(agreement: Agreement, told: list[Instrument], act: Act | None = None) -> tuple[str, ...]:
    return states.withdrawn_by(agreement, [(each.act, each.signed_by(agreement)) for each in told], act)


HISTORIES: list[tuple[list[Act], str]] = [
    ([], "NEGOTIATING"),
    ([SIGN], "SIGNED"),
    ([SIGN, PILOT], "PILOT"),
    ([SIGN, PILOT, OPERATION], "IN_OPERATION"),
    ([SIGN, OPERATION], "IN_OPERATION"),
    ([SIGN, BACKWARD], "SIGNED"),
    ([PILOT, OPERATION], "NEGOTIATING"),
    ([SIGN, SUSPEND], "SUSPENDED"),
    ([SIGN, OPERATION, SUSPEND], "SUSPENDED"),
    ([SIGN, OPERATION, SUSPEND, RESUME], "IN_OPERATION"),
    ([SIGN, PILOT, SUSPEND, RESUME], "PILOT"),
    ([SIGN, OPERATION, SUSPEND, SUSPEND_AGAIN, RESUME], "SUSPENDED"),
    ([SIGN, OPERATION, SUSPEND, replace(RESUME, issuer="UY", partner="BR")], "SUSPENDED"),
    ([SIGN, OPERATION, SUSPEND, replace(RESUME, effective="2027-06-02")], "SUSPENDED"),
    ([SIGN, OPERATION, replace(SUSPEND, effective="2027-06-02")], "IN_OPERATION"),
    ([SIGN, OPERATION, TERMINATE], "TERMINATED"),
    ([SIGN, OPERATION, SUSPEND, RESUME, TERMINATE], "TERMINATED"),
    ([SIGN, OPERATION, replace(TERMINATE, issuer="UY", partner="BR")], "IN_OPERATION"),
    ([SIGN, OPERATION, replace(TERMINATE, effective="2027-06-02")], "IN_OPERATION"),
    ([replace(SIGN, effective="2027-06-02")], "NEGOTIATING"),
]


@pytest.mark.parametrize(("acts", "state"), HISTORIES)
def test_complete_acts_add_up_to_a_state(acts: list[Act], state: str) -> None:
    assert fold(acts, "BR", "UY", TODAY) == state


def test_a_state_begins_on_the_effective_day() -> None:
    acts = [SIGN, PILOT, OPERATION, SUSPEND, RESUME, TERMINATE]
    days = ["2026-11-30", "2026-12-01", "2027-01-01", "2027-02-01", "2027-03-01", "2027-04-01", "2027-05-01"]
    seen = [fold(acts, "BR", "UY", day) for day in days]
    assert seen == [
        "NEGOTIATING",
        "SIGNED",
        "PILOT",
        "IN_OPERATION",
        "SUSPENDED",
        "IN_OPERATION",
        "TERMINATED",
    ]


def test_an_act_without_its_signatures_is_not_complete() -> None:
    assert signed(OPERATION, "BR", "UY").complete(AGREEMENT, TODAY).allowed
    for half in (signed(SIGN, "BR"), signed(OPERATION, "BR"), signed(RESUME, "UY")):
        assert not half.complete(AGREEMENT, TODAY).allowed
    assert signed(SUSPEND, "UY").complete(AGREEMENT, TODAY).allowed


EVERYTHING = [SIGN, PILOT, OPERATION, SUSPEND, SUSPEND_AGAIN, RESUME, BACKWARD, TERMINATE]

DRAFT = replace(SIGN, act="withdraw", nonce=b"w" * 16)
START = replace(DRAFT, lifts=(OPERATION.id,))


def test_a_withdrawal_names_one_proposal_and_nothing_else() -> None:
    by_uy = [signed(START, "UY")]
    assert withdrawn_by(AGREEMENT, by_uy, OPERATION) == ("UY",)
    for other in (PILOT, BACKWARD, SIGN, None):
        assert withdrawn_by(AGREEMENT, by_uy, other) == ()


def test_a_withdrawn_draft_takes_every_signature_on_it_back() -> None:
    by_br = [signed(DRAFT, "BR")]
    assert withdrawn_by(AGREEMENT, by_br) == ("BR",)
    assert withdrawn_by(AGREEMENT, by_br, replace(SIGN, reason="in other words")) == ("BR",)
    assert withdrawn_by(AGREEMENT, by_br, OPERATION) == ()


def test_a_withdrawal_counts_for_those_who_signed_it_only() -> None:
    assert withdrawn_by(AGREEMENT, [Instrument(START, ())], OPERATION) == ()
    forged = Instrument(START, (replace(signed(START, "UY").signatures[0], country="BR"),))
    assert withdrawn_by(AGREEMENT, [forged], OPERATION) == ()


@pytest.mark.parametrize("act", [SUSPEND, TERMINATE, DRAFT])
def test_what_restricts_counts_at_once_and_cannot_be_withdrawn(act: Act) -> None:
    assert withdrawn_by(AGREEMENT, [signed(replace(DRAFT, lifts=(act.id,)), "BR", "UY")], act) == ()


def test_a_withdrawal_never_waits_for_anybody() -> None:
    assert signed(START, "UY").complete(AGREEMENT, TODAY).allowed
    assert not signed(START).complete(AGREEMENT, TODAY).allowed


@settings(deadline=None, max_examples=15)
@given(st.randoms(use_true_random=False))
def test_withdrawals_add_up_to_the_same_in_any_order(random: object) -> None:
    held = [signed(START, "BR"), signed(START, "UY"), signed(DRAFT, "UY"), signed(OPERATION, "BR")]
    random.shuffle(held)  # type: ignore[attr-defined]
    for told in (held, held + held[:2]):
        assert withdrawn_by(AGREEMENT, told, OPERATION) == ("BR", "UY")
        assert withdrawn_by(AGREEMENT, told, SIGN) == withdrawn_by(AGREEMENT, told) == ("UY",)
        assert fold([each.act for each in told], "BR", "UY", TODAY) == "NEGOTIATING"


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(EVERYTHING)), st.randoms(use_true_random=False))
def test_the_fold_ignores_order_and_repetition(acts: list[Act], random: object) -> None:
    shuffled = [*acts, *acts[: len(acts) // 2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fold(acts, "BR", "UY", TODAY) == fold(shuffled, "BR", "UY", TODAY)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(EVERYTHING)))
def test_no_direction_is_live_before_the_agreement_is_signed(acts: list[Act]) -> None:
    unsigned = [act for act in acts if act.act != "sign"]
    assert fold(unsigned, "BR", "UY", TODAY) in {"NEGOTIATING", "TERMINATED"}


PROPOSED = {
    "sign": SIGN,
    "start": OPERATION,
    "suspend": SUSPEND,
    "resume": RESUME,
    "terminate": replace(TERMINATE, effective="2028-01-01"),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("act", PROPOSED)
def test_only_what_the_table_lists_may_be_proposed(state: str, act: str) -> None:
    if act in ALLOWED[state]:
        propose(AGREEMENT, PROPOSED[act], state, TODAY)
    else:
        with pytest.raises(Conflict, match="possible here: " + (", ".join(ALLOWED[state]) or "nothing")):
            propose(AGREEMENT, PROPOSED[act], state, TODAY)


def test_a_pilot_cannot_start_twice() -> None:
    with pytest.raises(Conflict):
        propose(AGREEMENT, PILOT, "PILOT", TODAY)


def test_a_termination_without_the_agreed_notice_is_refused() -> None:
    with pytest.raises(Conflict, match="180 days"):
        propose(AGREEMENT, replace(TERMINATE, effective="2027-11-27"), "SIGNED", TODAY)
    propose(AGREEMENT, replace(TERMINATE, effective="2027-11-28"), "SIGNED", TODAY)


def test_the_table_agrees_with_the_fold() -> None:
    steps = [("SIGNED", PILOT), ("SIGNED", OPERATION), ("PILOT", OPERATION), ("PILOT", SUSPEND)]
    before = {"SIGNED": [SIGN], "PILOT": [SIGN, PILOT], "IN_OPERATION": [SIGN, OPERATION]}
    steps += [
        ("IN_OPERATION", SUSPEND),
        ("IN_OPERATION", TERMINATE),
        ("SIGNED", SUSPEND),
        ("PILOT", TERMINATE),
    ]
    for state, act in steps:
        assert fold([*before[state], act], "BR", "UY", TODAY) in ALLOWED[state][act.act]


def test_the_diagram_draws_every_allowed_step() -> None:
    drawn = diagram()
    for state, acts in ALLOWED.items():
        for act, targets in acts.items():
            for target in set(targets) - {state}:
                assert f"    {state} --> {target}: {act}\n" in drawn
    assert drawn.startswith("stateDiagram-v2\n")
