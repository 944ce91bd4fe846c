"""A partner that may not see in what two worlds differ cannot tell them apart; and what it can tell by right.

A small part of `make leaks`, which takes more pairs and seeds every leak.
"""

import re
from pathlib import Path

import pytest

from tests.leaks.comparing import MAY_DIFFER, Comparison, Opaque, Unordered
from tests.leaks.measure import generated
from tests.leaks.nodes import Template, make_template
from tests.leaks.pairs import (
    ABROAD,
    FIRST_UNSEEN,
    KNOWN,
    NAMES,
    QUIET,
    Act,
    Making,
    Pair,
    Planned,
    Step,
    record,
)
from tests.leaks.pairs import asking as asking_pair
from tests.leaks.pairs import leaving as leaving_pair
from tests.leaks.pairs import planned as planned_pair
from tests.leaks.pairs import put_back as put_back_pair
from tests.leaks.pairs import replaced as replaced_pair
from tests.leaks.partner import leak
from tests.leaks.seeds import SEEDS

PAGE = Path(__file__).parents[2] / "docs/leaks.md"
QUICK = (
    "a_field_too_many",
    "elements_without_decoys",
    "the_time_of_an_entry_tells",
    "a_header_counts_requests",
)
QUICK += ("a_tombstone_tells_its_cause", "the_order_follows_what_is_hidden", "a_peer_may_search")
"""Leaks that are found in the first steps; and one that needs a node which answers officers."""
SEEN_ACTS = {"record", "import_list", "erase", "days_pass", "suspend", "resume", "report", "suspend_here"}


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(tmp_path_factory.mktemp("leaks"))


@pytest.mark.timeout(300)
def test_a_pair_with_every_kind_of_step_is_observed_alike(template: Template) -> None:
    assert leak(template, planned_pair()) is None


def test_that_pair_has_everything_that_can_be_done() -> None:
    done = {act.name for step in planned_pair().steps for act in step.acts}
    assert done == SEEN_ACTS | {"consent"} | {*ABROAD, *QUIET}


@pytest.mark.timeout(300)
def test_generated_pairs_are_observed_alike(template: Template) -> None:
    for pair in generated(3):
        assert leak(template, pair) is None, pair


def test_a_record_that_leaves_the_view_for_one_cause_is_observed_as_for_any_other(template: Template) -> None:
    assert leak(template, leaving_pair()) is None


def test_a_question_is_answered_alike_whatever_it_may_not_be_told(template: Template) -> None:
    pair = asking_pair()
    asked = [act.says for step in pair.steps for act in step.acts if act.name == "fetch"]
    assert {len(each["scheme"]) for each in asked} >= {0, 3}
    assert len(asked) > 40
    assert leak(template, pair) is None


def test_a_node_that_was_put_back_tells_nobody_which_channel_falls_short(template: Template) -> None:
    assert leak(template, put_back_pair()) is None


def test_an_agreement_that_is_replaced_shows_all_anew_alike(template: Template) -> None:
    assert leak(template, replaced_pair()) is None


@pytest.mark.parametrize("name", QUICK)
def test_a_seeded_leak_is_found(template: Template, name: str) -> None:
    with SEEDS[name]():
        assert leak(template, planned_pair()) is not None


def pair_of(*steps: tuple[Act, Act]) -> Pair:
    return Pair(tuple(Step("a step", acts) for acts in steps), (*KNOWN, FIRST_UNSEEN), NAMES)


def entering(number: int, **hidden: object) -> Act:
    drawn = Making(Planned())._drawn() | {"identifiers": ()} | hidden
    return Act("record", {"fields": record(number, {}, drawn), "by": "ana", "reason": "", "key": None})


LIMITS = {
    "ledger": [(entering(1), Act("nothing", {}))],
    "elements": [(entering(10, identifiers=(1,)), entering(10, identifiers=(1, 2, 3, 4)))],
    "version": [(entering(1), entering(2)), *((Act(name, {}),) * 2 for name in ("suspend", "resume"))],
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_a_partner_can_tell_by_right(template: Template, name: str) -> None:
    """Where this fails a limit is gone: take it out of the page."""
    assert leak(template, pair_of(*LIMITS[name])) is not None
    assert f"| `{name}` |" in PAGE.read_text(encoding="utf-8")


def test_the_page_lists_every_seeded_leak_and_no_other() -> None:
    listed = re.findall(r"^\| `(\w+)` \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert listed == list(SEEDS)
    assert len(SEEDS) >= 25


# The comparison itself


def found(one: object, other: object) -> list[str]:
    return list(Comparison().differences(one, other))


def opaque(value: str) -> Opaque:
    return Opaque("hash", value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": True}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([1, 2], [1]),
        ([opaque("x")], [opaque("xy")]),
        ([opaque("x"), opaque("x")], [opaque("y"), opaque("z")]),
        ([opaque("x"), opaque("z")], [opaque("y"), opaque("y")]),
        ([Opaque("salt", "x")], [opaque("x")]),
        ([Unordered((b"1", b"2"))], [Unordered((b"1",))]),
        ([Unordered((b"1",)), Unordered((b"1",))], [Unordered((b"1",)), Unordered((b"2",))]),
    ],
)
def test_a_difference_is_seen(one: object, other: object) -> None:
    assert found(one, other) != []


def test_random_values_may_differ_as_long_as_they_come_again_alike() -> None:
    one = [opaque("x"), opaque("y"), opaque("x"), Unordered((b"1", b"2"))]
    other = [opaque("p"), opaque("q"), opaque("p"), Unordered((b"3", b"4"))]
    assert found(one, other) == []


def test_every_value_that_may_differ_has_a_reason() -> None:
    assert all(len(reason) > 10 for reason in MAY_DIFFER.values())
