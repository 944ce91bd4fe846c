"""Fetches: one record asked for by an identifier, with purpose and reference, and answered in the channel.

Where a direction is `ON_DEMAND`, the partner sends a question (`Question`) in a signed request, and the
answer is an entry of the issuer's channel: a disclosure with what it was asked for beside the record
(`Asked`), or a notice that nothing is shared. That one names nobody, and is the same whether there is no such
operator or none that may be shared. Bodies are made here and strictly read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from node.errors import Malformed, problem
from node.exchange.notices import Json, notice

FETCH: Final = "fetch"
WITHHELD: Final = "nothing is shared under this identifier"
PURPOSE_LIMIT, REFERENCE_LIMIT, IDENTIFIER_LIMIT, SCHEME_LIMIT = 200, 100, 64, 16
LONGEST: Final = {
    "agreement": 64,
    "identifier": IDENTIFIER_LIMIT,
    "scheme": SCHEME_LIMIT,
    "purpose": PURPOSE_LIMIT,
    "reference": REFERENCE_LIMIT,
}
"""The members of a question, each a line of so many characters; all are needed but for the scheme."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a record is fetched for, and the number of the case, such as that of a declaration."""

    purpose: str
    reference: str

    def to_json(self) -> dict[str, str]:
        """As it stands beside what is told."""
        return {"purpose": self.purpose, "reference": self.reference}

    def withheld(self) -> bytes:
        """The body of the notice that nothing is shared."""
        return notice(FETCH, WITHHELD, self.to_json())


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a peer; an empty scheme: whichever this identifier is of."""

    agreement: str
    identifier: str
    scheme: str
    asked: Asked

    def to_json(self) -> dict[str, str]:
        """The body of the request."""
        told = {"agreement": self.agreement, "identifier": self.identifier, "scheme": self.scheme}
        return told | self.asked.to_json()


def question(json: object) -> Question:
    """The question of a request's body; `Malformed` says what is wrong with it."""
    if not isinstance(json, dict) or set(json) != set(LONGEST):
        raise Malformed("a question is out of form", why="it must hold " + ", ".join(LONGEST))
    wrong = [
        problem(name, json[name], f"must be a line of {0 if name == 'scheme' else 1} to {limit} characters")
        for name, limit in LONGEST.items()
        if not _is_line(json[name], limit, least=0 if name == "scheme" else 1)
    ]
    if wrong:
        raise Malformed("a question is out of form", problems=wrong, do="correct it and ask again")
    asked = Asked(json["purpose"], json["reference"])
    return Question(json["agreement"], json["identifier"], json["scheme"], asked)


def asked_in(told: object) -> Asked:
    """What a disclosure, or a notice of this subject, says that it was asked for; `Malformed` otherwise."""
    limits = {"purpose": PURPOSE_LIMIT, "reference": REFERENCE_LIMIT}
    is_whole = isinstance(told, Mapping) and set(told) == set(limits)
    if not is_whole or not all(_is_line(told[name], limit) for name, limit in limits.items()):  # type: ignore[index]
        raise Malformed("what was asked for is out of form", why="it must hold a purpose and a reference")
    return Asked(told["purpose"], told["reference"])  # type: ignore[index]


def read(body: Json) -> Asked | None:
    """What was asked for, where a notice says that nothing is shared; None for any other subject."""
    return asked_in(body.get("told")) if body["notice"] == FETCH else None


def _is_line(value: Any, limit: int, least: int = 1) -> bool:
    is_text = isinstance(value, str) and least <= len(value) <= limit and value.isprintable()
    return is_text and (not least or bool(value.strip()))
