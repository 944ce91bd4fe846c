"""What `aeo mra sign` says comes next."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from clients.cli.agreements import _say_what_next
from clients.cli.session import Session

STATES = {"BR-UY": "IN_OPERATION", "UY-BR": "SIGNED"}


def next_of(capsys: pytest.CaptureFixture[str], supersedes: str | None) -> str:
    told = [dict(zip(("issuer", "partner"), each.split("-"), strict=True)) for each in STATES]
    before = {"directions": [each | {"state": STATES["-".join(each.values())]} for each in told]}
    node = SimpleNamespace(agreement=lambda each: before)
    document: Any = {"terms": {"directions": STATES}}
    found = {"agreement": "A" * 43, "supersedes": supersedes, "document": document}
    _say_what_next(cast(Session, SimpleNamespace(node=node)), found)
    return capsys.readouterr().out


def test_a_new_agreement_is_started_in_every_direction(capsys: pytest.CaptureFixture[str]) -> None:
    said = next_of(capsys, None)
    assert "goes on" not in said
    assert all(f"--direction {each}" in said for each in STATES)


def test_what_operates_under_the_one_it_replaces_is_not_started(capsys: pytest.CaptureFixture[str]) -> None:
    said = next_of(capsys, "B" * 43)
    assert "goes on by itself: BR-UY\n" in said
    assert "--direction BR-UY" not in said
    assert "--direction UY-BR" in said
