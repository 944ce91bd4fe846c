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
