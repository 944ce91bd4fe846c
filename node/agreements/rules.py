"""Rules that hold for one value of an agreement document, and how what breaks them is refused."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from node.errors import Malformed, Problem, problem
from node.ledger.moment import parse_date

Json = dict[str, Any]

MOST_ITEMS = 64
LONGEST_TEXT = 500

Rule = Callable[[object], str]
"""A rule gives what is wrong with a value, or an empty text."""


def refusal(problems: Iterable[Problem]) -> Malformed:
    """That an agreement document is refused, with every problem named."""
    return Malformed("the agreement was refused", problems=problems, do="correct the draft and send it again")


def refuse(problems: list[Problem]) -> None:
    """Raise `Malformed` with these problems, if there are any."""
    if problems:
        raise refusal(problems)


def object_of(json: object, where: str, keys: tuple[str, ...], optional: tuple[str, ...] = ()) -> Json:
    """Give back an object that has all these keys and no other; raise `Malformed` otherwise."""
    if not isinstance(json, dict):
        raise refusal([problem(where, json, "must be an object")])
    missing = [problem(f"{where}.{key}", "absent", "is required") for key in keys if key not in json]
    unknown = [
        problem(f"{where}.{key}", "present", "is not known") for key in json if key not in keys + optional
    ]
    refuse(missing + unknown)
    return json


def check_members(members: Json, prefix: str, rules: Mapping[str, Rule]) -> list[Problem]:
    """What is wrong with the members of an object, each by its own rule."""
    broken = [(name, rule(members[name])) for name, rule in rules.items()]
    return [problem(prefix + name, members[name], why) for name, why in broken if why]


def is_unique(values: Iterable[object]) -> bool:
    """Whether no value comes twice."""
    listed = list(values)
    return len(set(listed)) == len(listed)


def matches(pattern: re.Pattern[str], what: str) -> Rule:
    """A text that matches as a whole; `what` it is then, in words."""
    return lambda value: "" if isinstance(value, str) and pattern.fullmatch(value) else f"must be {what}"


def one_of(choices: tuple[str, ...]) -> Rule:
    """One of these texts."""
    return lambda value: "" if value in choices else f"must be one of {', '.join(choices)}"


def whole_number(least: int, most: int) -> Rule:
    """A whole number within these bounds."""

    def rule(value: object) -> str:
        fits = type(value) is int and least <= value <= most
        return "" if fits else f"must be a whole number from {least} to {most}"

    return rule


def list_of(item: Rule, *, least: int = 1) -> Rule:
    """A list of different items, each by a rule; at most `MOST_ITEMS`."""

    def rule(value: object) -> str:
        if not isinstance(value, list) or not least <= len(value) <= MOST_ITEMS:
            return f"must be a list of {least} to {MOST_ITEMS} items"
        broken = [why for why in map(item, value) if why]
        return broken[0] if broken else "" if is_unique(value) else "must not repeat an item"

    return rule


def or_null(rule: Rule) -> Rule:
    """Nothing, or what a rule lets pass."""
    return lambda value: "" if value is None else rule(value)


def short_text(value: object) -> str:
    """A line of at most `LONGEST_TEXT` characters."""
    fits = isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and value.isprintable()
    return "" if fits else f"must be a line of 1 to {LONGEST_TEXT} characters"


def flag(value: object) -> str:
    """True or false."""
    return "" if isinstance(value, bool) else "must be true or false"


def real_date(value: object) -> str:
    """A real date, `YYYY-MM-DD`."""
    try:
        return "" if isinstance(value, str) and parse_date(value) else "must be a date YYYY-MM-DD"
    except Malformed:
        return "must be a real date YYYY-MM-DD"


COUNTRY = matches(re.compile(r"[A-Z]{2}", re.ASCII), "an ISO 3166-1 alpha-2 code, or EU")
