"""One party leaves an agreement of several: its directions end, the others' go on, nobody ends it for all."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from contracts.rules import text as rules
from contracts.terms import terms as ready_made
from node.agreements.act import Act, Instrument, parse_act, sign, stops
from node.agreements.document import Agreement, Party, draft
from node.agreements.state import admit, fold, propose, short_notice, takes_back
from node.errors import Conflict, Malformed

COUNTRIES = ("AR", "BR", "PY", "UY")
KEYS = {country: ECKey.generate_key("P-256", private=True) for country in COUNTRIES}
PAIRS = tuple(permutations(COUNTRIES, 2))
TODAY = "2027-06-01"


def party(country: str) -> Party:
    key = KEYS[country].as_dict(private=False)
    public = {name: str(key[name]) for name in ("kty", "crv", "x", "y")}
    return Party(country, f"aeo.{country.lower()}.example", f"Customs of {country}", public)


def agreed(name: str, *countries: str) -> Agreement:
    return draft(name, map(party, countries), ready_made(name), rules("mra_v2"), "2026-11-01", b"n" * 16)


FOUR, TWO = agreed("mercosur", *COUNTRIES), agreed("br_uy", "BR", "UY")
SIGN = Act(FOUR.digest(), "sign", None, None, None, "2026-12-01", (), "", (), b"a" * 16)
STARTS = [replace(SIGN, act="start", issuer=one, partner=two, mode="operation") for one, two in PAIRS]
LEAVE = replace(SIGN, act="leave", issuer="BR", effective="2027-06-01")
END = replace(SIGN, act="terminate", effective="2028-01-01")
OPERATING = [SIGN, *STARTS]


def allowed(act: Act, *countries: str, agreement: Agreement = FOUR) -> bool:
    act = replace(act, agreement=agreement.digest())
    held = Instrument(act, tuple(sign(act, country, KEYS[country]) for country in countries))
    return held.complete(agreement, TODAY).allowed


def test_exactly_the_directions_from_and_to_who_leaves_end_and_on_that_day() -> None:
    for pair in PAIRS:
        assert fold([*OPERATING, LEAVE], *pair, "2027-05-31") == "IN_OPERATION"
        after = fold([*OPERATING, LEAVE], *pair, "2027-06-01")
        assert after == ("TERMINATED" if "BR" in pair else "IN_OPERATION")


def test_nothing_brings_back_who_left() -> None:
    again = [replace(each, effective="2027-06-01", nonce=b"z" * 16) for each in STARTS]
    assert fold([*OPERATING, LEAVE, *again], "AR", "BR", TODAY) == "TERMINATED"


def test_when_all_but_one_have_left_nothing_is_left() -> None:
    gone = [replace(LEAVE, issuer=country) for country in COUNTRIES[:3]]
    assert {fold([*OPERATING, *gone], *pair, TODAY) for pair in PAIRS} == {"TERMINATED"}
    two_left = [fold([*OPERATING, *gone[:2]], *pair, TODAY) for pair in (("PY", "UY"), ("UY", "PY"))]
    assert two_left == ["IN_OPERATION", "IN_OPERATION"]


def test_one_signature_is_enough_to_leave_and_it_is_that_of_who_leaves() -> None:
    assert stops(LEAVE, FOUR)
    assert allowed(LEAVE, "BR")
    assert not allowed(LEAVE, "AR", "PY", "UY")
    assert not allowed(replace(LEAVE, issuer="XX"), *COUNTRIES)


def test_no_party_can_add_a_leave_of_another() -> None:
    known = {SIGN.id: (SIGN, COUNTRIES)}
    admit(FOUR, LEAVE, "BR", "UY", known)
    with pytest.raises(Conflict, match="AR cannot leave for BR"):
        admit(FOUR, LEAVE, "AR", "UY", known)


def test_leaving_takes_the_notice_of_termination() -> None:
    with pytest.raises(Conflict, match="180 days of notice"):
        propose(FOUR, replace(LEAVE, effective="2027-11-27"), "IN_OPERATION", TODAY)
    propose(FOUR, replace(LEAVE, effective="2027-11-28"), "IN_OPERATION", TODAY)
    with pytest.raises(Conflict, match="possible here: sign"):
        propose(FOUR, replace(LEAVE, effective="2028-01-01"), "NEGOTIATING", TODAY)


def test_the_end_of_an_agreement_of_several_takes_all_of_them() -> None:
    assert not stops(END, FOUR)
    assert not allowed(END, "BR")
    assert not allowed(END, *COUNTRIES[:3])
    assert allowed(END, *COUNTRIES)
    assert short_notice(FOUR, replace(END, effective=TODAY), TODAY) == "", "nobody is surprised"


def test_one_of_two_ends_theirs_alone_as_ever() -> None:
    assert stops(END, TWO)
    assert allowed(END, "UY", agreement=TWO)
    assert short_notice(TWO, replace(END, effective=TODAY), TODAY)


def test_one_party_of_a_direction_ends_that_direction_alone() -> None:
    one = replace(END, issuer="AR", partner="BR")
    assert allowed(one, "AR")
    assert not allowed(one, "PY", "UY")


def test_what_waits_for_all_can_be_taken_back_and_a_leave_cannot() -> None:
    back = replace(SIGN, act="withdraw", lifts=(END.id,))
    assert takes_back(back, END, FOUR)
    assert not takes_back(replace(back, lifts=(LEAVE.id,)), LEAVE, FOUR)


@pytest.mark.parametrize(
    "changed", [{"issuer": None}, {"partner": "UY"}, {"mode": "pilot"}, {"lifts": [SIGN.id]}]
)
def test_a_leave_names_who_leaves_and_nothing_else(changed: dict[str, object]) -> None:
    assert parse_act(LEAVE.to_json()) == LEAVE
    with pytest.raises(Malformed):
        parse_act(LEAVE.to_json() | changed)


EVERYTHING = [*OPERATING, LEAVE, replace(LEAVE, issuer="UY", effective="2027-07-01"), END]
EVERYTHING += [replace(END, issuer="AR", partner="PY", effective="2027-01-01")]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(EVERYTHING)), st.randoms(use_true_random=False))
def test_the_fold_ignores_order_and_repetition(acts: list[Act], random: object) -> None:
    shuffled = [*acts, *acts[: len(acts) // 2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for day in ("2027-05-31", TODAY, "2028-02-01"):
        told = [[fold(each, *pair, day) for pair in PAIRS] for each in (acts, shuffled)]
        assert told[0] == told[1]
