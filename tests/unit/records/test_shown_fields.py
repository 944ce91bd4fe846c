"""A field that a partner was shown has the form of the model, whatever its issuer signed."""

import pytest

from node.errors import Malformed
from node.records.model import check_fields


@pytest.mark.parametrize(
    "name", ["tin", "status", "valid_to", "scope", "record_id", "recorded_at", "legal_name"]
)
@pytest.mark.parametrize("value", [[], {"x": 1}, 5, None])
def test_a_value_of_another_form_is_refused(name: str, value: object) -> None:
    with pytest.raises(Malformed):
        check_fields({name: value})


@pytest.mark.parametrize("name", ["identifiers", "roles", "sites"])
def test_a_list_whose_elements_are_all_hidden_is_fine(name: str) -> None:
    check_fields({name: []})


@pytest.mark.parametrize("kind", ["operator", "ship", "", 5, [], None])
def test_a_kind_that_is_none_is_refused(kind: object) -> None:
    with pytest.raises(Malformed, match="kind"):
        check_fields({"kind": kind})  # type: ignore[dict-item]


@pytest.mark.parametrize("name", ["programme", "scope", "authorised_on", "mra_consent", "colour"])
def test_a_trader_is_shown_with_fields_of_a_trader_only(name: str) -> None:
    with pytest.raises(Malformed, match=name):
        check_fields({"kind": "trader", name: "BR-OEA"})


def test_what_hides_its_kind_is_read_as_an_operator() -> None:
    with pytest.raises(Malformed, match="activity: unknown field"):
        check_fields({"tin": "BR1", "activity": "4630"})
    check_fields({"kind": "trader", "tin": "BR1", "activity": "4630"})
