"""The fixed list of functions a contract may call, and the values it answers with.

Guarantees that each function is pure, gives nothing larger than what it was given, and takes time
proportional to its arguments. Refuses a wrong kind of argument with `Misuse`, whose text never holds a
value, so that an answer made from it is the same on every machine and tells nothing about a record.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

MOST_ITEMS = 100
LONGEST_REASON = 200

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class Misuse(Exception):  # noqa: N818 - never leaves this package: it becomes an answer that withholds
    """A function of the language was called with something it does not take."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What `decide` said: the fields to share, sorted and unique, or the reason for withholding."""

    shared: bool
    fields: tuple[str, ...]
    reason: str

    def to_json(self) -> dict[str, object]:
        """Give the form in which a decision is kept and replayed."""
        if self.shared:
            return {"answer": "share", "fields": list(self.fields)}
        return {"answer": "withhold", "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Ruling:
    """What `govern` said: whether the act takes effect, and which countries have yet to sign it."""

    allowed: bool
    missing: tuple[str, ...]
    reason: str


def items_of(value: object) -> list[object]:
    """Give the list a loop runs over; raise `Misuse` if it is no list or has over `MOST_ITEMS` items."""
    if type(value) is not list:
        raise Misuse("a loop runs over a list")
    if len(value) > MOST_ITEMS:
        raise Misuse(f"a loop runs over at most {MOST_ITEMS} items")
    return value


def get(mapping: object, name: object, default: object = None) -> object:
    """Give the named member; `default` where it is absent or null, or where there is no mapping."""
    if mapping is None:
        return default
    if type(mapping) is not dict:
        raise Misuse("get looks into a dict")
    value = mapping.get(name)
    return default if value is None else value


def has_any(items: object, wanted: object) -> bool:
    """Tell whether a list holds at least one of the wanted values; None is an empty list."""
    return not _set(items).isdisjoint(_set(wanted))


def has_all(items: object, wanted: object) -> bool:
    """Tell whether a list holds every wanted value; None is an empty list."""
    return _set(items) >= _set(wanted)


def _set(items: object) -> set[object]:
    if items is None:
        return set()
    if type(items) is not list:
        raise Misuse("has_any and has_all take lists")
    return set(items_of(items))


def length(value: object) -> int:
    """Count the items of a list or dict, or the characters of a text."""
    if isinstance(value, str | list | dict):
        return len(value)
    raise Misuse("len counts a list, a dict or a text")


def in_order(items: object) -> list[object]:
    """Sort a list of texts, or a list of whole numbers; a mixed list has no order and is misuse."""
    if type(items) is not list or set(map(type, items)) not in (set(), {str}, {int}):
        raise Misuse("sorted takes a list of texts or a list of numbers")
    items_of(items)
    return sorted(items)


def days_between(start: object, end: object) -> int:
    """Count the days from one date (`YYYY-MM-DD`) to another; negative if the second is earlier."""
    return (_date(end) - _date(start)).days


def _date(text: object) -> date:
    if not isinstance(text, str) or not _DATE.fullmatch(text):
        raise Misuse("days_between takes dates written YYYY-MM-DD")
    return date.fromisoformat(text)


def share(fields: object) -> Answer:
    """Answer that these fields, and no others, may go to the partner."""
    return Answer(True, _texts(fields, f"share takes a list of 1 to {MOST_ITEMS} field names"), "")


def withhold(reason: object) -> Answer:
    """Answer that nothing goes to the partner, and why."""
    return Answer(False, (), _reason(reason))


def allow() -> Ruling:
    """Rule that the act takes effect with the signatures it has."""
    return Ruling(True, (), "")


def need(countries: object) -> Ruling:
    """Rule that the act takes effect once each of these countries has signed it."""
    return Ruling(False, _texts(countries, f"need takes a list of 1 to {MOST_ITEMS} countries"), "")


def refuse(reason: object) -> Ruling:
    """Rule that the act takes no effect, and why."""
    return Ruling(False, (), _reason(reason))


def _texts(values: object, rule: str) -> tuple[str, ...]:
    if type(values) is not list or len(values) > MOST_ITEMS or set(map(type, values)) != {str}:
        raise Misuse(rule)
    return tuple(sorted(set(values)))


def _reason(reason: object) -> str:
    if type(reason) is not str or not 0 < len(reason) <= LONGEST_REASON or "\n" in reason:
        raise Misuse(f"a reason is one line of 1 to {LONGEST_REASON} characters")
    return reason


FUNCTIONS: dict[str, Callable[..., object]] = {
    "get": get,
    "has_any": has_any,
    "has_all": has_all,
    "len": length,
    "sorted": in_order,
    "days_between": days_between,
    "share": share,
    "withhold": withhold,
    "allow": allow,
    "need": need,
    "refuse": refuse,
}
ARITY: dict[str, tuple[int, int]] = {
    "get": (2, 3),
    "has_any": (2, 2),
    "has_all": (2, 2),
    "len": (1, 1),
    "sorted": (1, 1),
    "days_between": (2, 2),
    "share": (1, 1),
    "withhold": (1, 1),
    "allow": (0, 0),
    "need": (1, 1),
    "refuse": (1, 1),
}
