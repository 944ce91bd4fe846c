"""The page for officials says what the code does."""

import re
from pathlib import Path

import pytest

from contracts import ContractRefused, check, load
from contracts.functions import FUNCTIONS, MOST_ITEMS
from contracts.language import MOST_CALLS_DEEP, MOST_DEPTH, MOST_STEPS

PAGE = (Path(__file__).parents[3] / "docs" / "contracts.md").read_text("utf-8")
EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]


def test_the_example_runs_as_described() -> None:
    contract = load(EXAMPLE)
    terms: dict[str, object] = {"parties": ["BR", "UY"]}
    terms["direction"] = {"state": "IN_OPERATION", "fields": ["tin"]}
    record: dict[str, object] = {"roles": ["exporter"], "valid_to": "2027-03-01"}
    assert contract.decide(record, terms, "2027-01-30").shared
    assert contract.decide(record, terms, "2027-01-31").reason == "expires soon"
    assert contract.decide({}, terms, "2027-01-31").reason == "not an exporter"
    assert contract.govern({"act": "suspend"}, terms, ["UY"], "").allowed
    assert contract.govern({"act": "resume"}, terms, ["UY"], "").missing == ("BR",)


def test_every_function_and_bound_is_on_the_page() -> None:
    assert all(f"`{name}(" in PAGE for name in FUNCTIONS)
    assert (MOST_ITEMS, MOST_STEPS, MOST_DEPTH) == (100, 10_000_000, 40)
    assert f"functions are {MOST_CALLS_DEEP} deep at most" in " ".join(PAGE.split())


def test_the_refusal_on_the_page_is_the_one_given() -> None:
    with pytest.raises(ContractRefused) as refused:
        check("def decide(record, terms, today):\n    x = record.tin\n    return x\n")
    assert str(refused.value) in PAGE
