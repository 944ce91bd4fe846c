import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contracts import Answer, Ruling, load

ROOT = Path(__file__).parents[3]


def deciding(body: str, govern: str = "return allow()") -> str:
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    governing = f"def govern(act, terms, signatures, today):\n    {govern}\n"
    return f"def decide(record, terms, today):\n{lines}{governing}"


def test_shared_fields_are_sorted_and_unique() -> None:
    answer = load(deciding('return share(["tin", "a", "tin"])')).decide({}, {}, "")
    assert answer == Answer(True, ("a", "tin"), "")
    assert answer.to_json() == {"answer": "share", "fields": ["a", "tin"]}


def test_a_reason_is_kept() -> None:
    answer = load(deciding('return withhold("closed")')).decide({}, {}, "")
    assert answer.to_json() == {"answer": "withhold", "reason": "closed"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return True", "contract error: decide gave neither share nor withhold"),
        ("return allow()", "contract error: decide gave neither share nor withhold"),
        ("x = 1", "contract error: decide gave neither share nor withhold"),
        ('x = 1\nreturn share(record["fields"])', "contract error: KeyError, line 3"),
        ("return share([])", "contract error: share takes a list of 1 to 100 field names, line 2"),
        ("return share([1])", "contract error: share takes a list of 1 to 100 field names, line 2"),
        ('return share("tin")', "contract error: share takes a list of 1 to 100 field names, line 2"),
        ('return withhold("")', "contract error: a reason is one line of 1 to 200 characters, line 2"),
        ("return withhold(1)", "contract error: a reason is one line of 1 to 200 characters, line 2"),
        (
            'return withhold("""a\nb""")',
            "contract error: a reason is one line of 1 to 200 characters, line 2",
        ),
        ('x = 1 < "a"\nreturn x', "contract error: TypeError, line 2"),
        ("x = get(1, 2)\nreturn x", "contract error: get looks into a dict, line 2"),
        (
            'x = sorted([1, "a"])\nreturn x',
            "contract error: sorted takes a list of texts or a list of numbers, line 2",
        ),
        (
            "x = sorted([True, 1])\nreturn x",
            "contract error: sorted takes a list of texts or a list of numbers, line 2",
        ),
        ("x = len(1)\nreturn x", "contract error: len counts a list, a dict or a text, line 2"),
        ('x = has_any("ab", ["a"])\nreturn x', "contract error: has_any and has_all take lists, line 2"),
        ("x = has_all([[1]], [1])\nreturn x", "contract error: TypeError, line 2"),
        (
            'x = days_between("20260101", "2026-01-01")\nreturn x',
            "contract error: days_between takes dates written YYYY-MM-DD, line 2",
        ),
        ('x = days_between("2026-02-30", "2026-01-01")\nreturn x', "contract error: ValueError, line 2"),
        ("for x in today:\n    y = x\nreturn y", "contract error: a loop runs over a list, line 2"),
        ("if record:\n    y = 1\nreturn y", "contract error: NameError, line 4"),
        ("x = [y for y in [\n\n1] if y[0]]\nreturn x", "contract error: TypeError, line 2"),
    ],
)
def test_an_error_withholds_and_says_the_same_everywhere(body: str, reason: str) -> None:
    assert load(deciding(body)).decide({}, {}, "") == Answer(False, (), reason)


@pytest.mark.parametrize("given", [None, 1, "x", [], [[]]])
def test_inputs_of_a_wrong_kind_withhold(given: object) -> None:
    contract = load(deciding('return share(terms["fields"])'))
    assert not contract.decide(given, given, "").shared  # type: ignore[arg-type]


def test_an_input_nested_without_end_withholds() -> None:
    loop: list[object] = []
    loop.append(loop)
    other: list[object] = []
    other.append(other)
    answer = load(deciding('x = record["a"] == terms["a"]\nreturn share(["tin"])')).decide(
        {"a": loop}, {"a": other}, ""
    )
    assert answer == Answer(False, (), "contract error: RecursionError, line 2")


def test_a_contract_cannot_change_what_it_is_given() -> None:
    body = 'x = sorted(record["scope"])\ny = [z for z in x if z != "A"]\nreturn share(y)'
    record: dict[str, object] = {"scope": ["C", "B", "A"]}
    before = copy.deepcopy(record)
    assert load(deciding(body)).decide(record, {}, "").fields == ("B", "C")
    assert record == before


@pytest.mark.parametrize(
    ("govern", "signatures", "ruling"),
    [
        ("return allow()", [], Ruling(True, (), "")),
        ('return need(["UY", "BR", "UY"])', [], Ruling(False, ("BR", "UY"), "not yet signed by BR, UY")),
        ('return need(["UY", "BR"])', ["BR"], Ruling(False, ("UY",), "not yet signed by UY")),
        ('return need(["UY", "BR"])', ["UY", "BR", "AR"], Ruling(True, (), "")),
        ('return refuse("never")', ["UY", "BR"], Ruling(False, (), "never")),
        ('return withhold("x")', [], Ruling(False, (), "contract error: govern gave no ruling")),
        ("return True", [], Ruling(False, (), "contract error: govern gave no ruling")),
        (
            "return need([])",
            [],
            Ruling(False, (), "contract error: need takes a list of 1 to 100 countries, line 4"),
        ),
        ('return act["x"]', [], Ruling(False, (), "contract error: KeyError, line 4")),
    ],
)
def test_only_an_explicit_ruling_lets_an_act_take_effect(
    govern: str, signatures: list[str], ruling: Ruling
) -> None:
    contract = load(deciding('return withhold("x")', govern))
    assert contract.govern({}, {}, signatures, "") == ruling


REPLAY = """
from contracts import load
from contracts.rules import text
from contracts.terms import terms
contract, clauses = load(text()), terms()
clauses |= {"direction": clauses["directions"]["BR-UY"] | {"state": "PILOT"}}
record = {"programme": "BR-OEA", "national_types": ["OEA-S"], "scope": ["SECURITY"], "status": "ACTIVE",
          "mra_consent": {"given": True, "scope": "GENERAL"}}
print(contract.sha256, contract.decide(record, clauses, "2027-01-01").to_json())
print(contract.decide({}, {}, "").to_json(), contract.decide(record, clauses, "2020-01-01").to_json())
"""


def test_the_answer_is_the_same_under_another_hash_seed_time_zone_and_locale() -> None:
    worlds = [("0", "UTC", "C"), ("1", "America/Montevideo", "pt_BR.UTF-8"), ("4242", "Asia/Tokyo", "tr_TR")]
    said = {
        subprocess.run(
            [sys.executable, "-c", REPLAY],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": locale},
            capture_output=True,
            check=True,
        ).stdout
        for seed, zone, locale in worlds
    }
    assert len(said) == 1
    assert b"'answer': 'share'" in said.pop()
