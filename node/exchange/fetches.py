"""Fetches: one record asked for by an identifier, with purpose and reference, and answered in the channel.

Where a direction is `ON_DEMAND`, the partner sends a question (`Question`) in a signed request, and the
answer is an entry of the issuer's channel: a disclosure with what it was asked for beside the record
(`Asked`), or a notice that nothing is shared. That one names nobody, and is the same whether there is no such
operator or none that may be shared. Bodies are made here and strictly read.
"""

from dataclasses import dataclass
from typing import Any, Final

from node.errors import Malformed, problem
from node.exchange.notices import Json, is_line, notice

FETCH: Final = "fetch"
WITHHELD: Final = "nothing is shared under this identifier"
PURPOSE_LIMIT, REFERENCE_LIMIT, IDENTIFIER_LIMIT, SCHEME_LIMIT = 200, 100, 64, 16
COUNTRY_LENGTH: Final = 2
LONGEST: Final = {
    "agreement": 64,
    "identifier": IDENTIFIER_LIMIT,
    "scheme": SCHEME_LIMIT,
    "purpose": PURPOSE_LIMIT,
    "reference": REFERENCE_LIMIT,
    "reader": COUNTRY_LENGTH,
}
"""The members of a question, each a line of so many characters; all are needed but for the scheme."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a record is fetched for, the number of the case, such as that of a declaration, and who asks.

    `reader`: the country of the partner, or of an administration that it hosts.
    """

    purpose: str
    reference: str
    reader: str

    def to_json(self) -> dict[str, str]:
        """As it stands beside what is told."""
        return {"purpose": self.purpose, "reference": self.reference, "reader": self.reader}

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
        if not is_line(json[name], limit) and (name, json[name]) != ("scheme", "")
    ]
    if wrong:
        raise Malformed("a question is out of form", problems=wrong, do="correct it and ask again")
    asked = Asked(json["purpose"], json["reference"], json["reader"])
    return Question(json["agreement"], json["identifier"], json["scheme"], asked)


def asked_in(told: Any) -> Asked:
    """What a disclosure, or a notice of this subject, says that it was asked for; `Malformed` otherwise."""
    limits = {name: LONGEST[name] for name in ("purpose", "reference", "reader")}
    is_whole = isinstance(told, dict) and set(told) == set(limits)
    if not is_whole or not all(is_line(told[name], limit) for name, limit in limits.items()):
        raise Malformed("what was asked for is out of form", why="it must hold purpose, reference and reader")
    return Asked(told["purpose"], told["reference"], told["reader"])


def read(body: Json) -> Asked | None:
    """What was asked for, where a notice says that nothing is shared; None for any other subject."""
    return asked_in(body.get("told")) if body["notice"] == FETCH else None
