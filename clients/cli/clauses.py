"""The clauses of an agreement in words: what each one says, as it was signed."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from clients.cli.output import join

Words = Callable[[Any], str]


def terms_in_words(terms: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(clause, what it says) of the clauses that all directions share."""
    return _told(TERMS, terms)


def direction_in_words(direction: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(clause, what it says) of the clauses of one direction."""
    return _told(DIRECTION, direction)


def onward(value: str) -> str:
    """Whether what was told may be passed on."""
    if value == "NONE":
        return "not passed on to anybody"
    return "passed on with the written consent of the administration that told it"


def _told(words: Mapping[str, Words], clauses: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, said in words.items():
        if name in clauses:
            yield name, said(clauses[name])


def _plain(value: Any) -> str:
    return str(value)


def _yes(yes: str, no: str) -> Words:
    return lambda value: yes if value else no


def _listed(none: str) -> Words:
    return lambda value: join(value) if value else none


def _notice(days: int) -> str:
    return f"at least {days} days before it takes effect" if days else "none: it may take effect at once"


def _age(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    span = f"{hours} hours" if hours and not rest else f"{seconds} s"
    return f"a proof older than {span} is no ground for recognition"


def _consent(value: str) -> str:
    return {
        "NONE": "not asked for",
        "GENERAL": "of each operator: to being named to all partners, or under this agreement",
        "PER_AGREEMENT": "of each operator, given for this very agreement by its name",
    }[value]


def _preconditions(value: Mapping[str, list[str]]) -> str:
    return "; ".join(f"before {mode}: {join(met) or 'nothing'}" for mode, met in value.items())


TERMS: Final[Mapping[str, Words]] = {
    "name": _plain,
    "rank": lambda value: f"{value}: goes before agreements of a lower rank or none over the same operator",
    "purpose": _plain,
    "from": lambda value: f"{value}, the first day",
    "until": lambda value: f"{value}, the last day" if value else "no end is agreed",
    "consent": _consent,
    "preconditions": _preconditions,
    "max_staleness_s": _age,
    "retention_days": lambda value: f"what was told is kept for {value} days at most",
    "onward_transfer": onward,
    "suspension_notice_days": _notice,
    "termination_notice_days": _notice,
    "local_suspension": _yes(
        "each side may suspend the treatment of one of the other's operators",
        "neither side suspends the treatment of a single operator of the other's",
    ),
    "irregularity_notice": _yes(
        "each side tells the other of irregularities of its operators",
        "irregularities need not be told",
    ),
    "report_reads": _yes(
        "each side tells the other how often its operators were read, how and what for, and not by whom",
        "neither side tells the other what it reads",
    ),
    "joint_validation": _yes("validations are carried out jointly", "each side validates by itself"),
    "contacts": _plain,
}
DIRECTION: Final[Mapping[str, Words]] = {
    "mode": {
        "MIRROR": "records reach the partner as they change",
        "ON_DEMAND": "records are fetched one by one, each with purpose and reference, as of then",
    }.__getitem__,
    "readers": lambda value: "; ".join(
        f"{each['country']}, {each['administration']}, is served through the partner's node" for each in value
    ),
    "accept_kinds": _listed("operators"),
    "accept_programmes": _listed("none: nobody is recognised"),
    "accept_types": _listed("every type of these programmes"),
    "min_scope": _listed("nothing in particular"),
    "accept_roles": _listed("every role"),
    "exclude_roles": _listed("no role"),
    "share_statuses": _listed(""),
    "identifier_scheme": lambda value: f"{value}: the number by which the partner matches an operator",
    "fields": _listed(""),
}
