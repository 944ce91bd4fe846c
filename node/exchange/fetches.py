"""Fetches: one record asked for by an identifier, with purpose and reference, and answered in the channel.

Where a direction is `ON_DEMAND`, the partner sends a question (`Question`) in a signed request, and the
answer is an entry of the issuer's channel: a disclosure with the question beside the record, or a notice
that nothing is shared. That one names nobody, and is the same whether there is no such operator or none that
may be shared. Bodies are made here and strictly read.

Each question is signed by who asks (`Asker`), and commits to the identifier: an issuer can prove what it was
asked for, and cannot tell what nobody asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from node.errors import Malformed, Refusal, Unproven, problem
from node.exchange.card import Jwk, public_key
from node.exchange.notices import Json, is_line, notice
from node.ledger import canonical, moment
from node.ledger.encoding import b64u, unb64u
from node.ledger.entry import commitment
from node.records import identifiers
from node.records.credential import es256_verify

FETCH: Final = "fetch"
WITHHELD: Final = "nothing is shared under this identifier"
PURPOSE_LIMIT, REFERENCE_LIMIT, IDENTIFIER_LIMIT, SCHEME_LIMIT = 200, 100, 64, 16
COUNTRY_LENGTH: Final = 2
ANSWERED_S: Final = 300
"""A question is answered so soon, by the issuer's clock, or not at all."""
SKEW_S: Final = 60
"""How far the clocks of the two may be apart, whatever a node allows besides: verifiers know no settings."""
NAMED: Final = {"identifier": IDENTIFIER_LIMIT, "scheme": SCHEME_LIMIT, "salt": 43}
ASKED: Final = {
    "purpose": PURPOSE_LIMIT,
    "reference": REFERENCE_LIMIT,
    "reader": COUNTRY_LENGTH,
    "at": 24,
    "about": 43,
    "by": 86,
}
LONGEST: Final = {"agreement": 64, **NAMED, **ASKED}
"""The members of a question, each a line of so many characters; all are needed but for the scheme."""


@dataclass(frozen=True, slots=True)
class Case:
    """What a record is fetched for, the number of the case, such as that of a declaration, and who asks.

    `reader`: the country of the partner, or of an administration that it hosts.
    """

    purpose: str
    reference: str
    reader: str

    def to_json(self) -> dict[str, str]:
        """As it is shown."""
        return {"purpose": self.purpose, "reference": self.reference, "reader": self.reader}


@dataclass(frozen=True, slots=True)
class Named:
    """The identifier that is asked by, and the salt (32 bytes, base64url) of the commitment to it.

    An empty scheme: whichever this identifier is of.
    """

    identifier: str
    scheme: str
    salt: str

    def to_json(self) -> dict[str, str]:
        """As it stands in a question, and beside what is told."""
        return {"identifier": self.identifier, "scheme": self.scheme, "salt": self.salt}

    def about(self) -> str:
        """What commits to it (32 bytes, base64url), and shows nothing of it."""
        content = canonical.encode({"identifier": self.identifier, "scheme": self.scheme})
        return b64u(commitment(unb64u(self.salt), content))

    def is_of(self, fields: Mapping[str, Any]) -> bool:
        """Whether fields of a record show this identifier."""
        value = identifiers.plain(self.identifier)
        shown = identifiers.carried(fields)
        return any(value == number and self.scheme in ("", scheme) for scheme, number in shown)


@dataclass(frozen=True, slots=True)
class Asked:
    """What stands of a question beside its answer, signed by who asks.

    `at`: when it was asked, by the clock of who asks; `about`: what commits to the identifier; `by`: an ES256
    signature (64 bytes, base64url) over `statement`.
    """

    case: Case
    at: str
    about: str
    by: str = ""

    def to_json(self) -> dict[str, str]:
        """As it stands beside what is told."""
        return self.case.to_json() | {"at": self.at, "about": self.about, "by": self.by}

    def statement(self, agreement: str, issuer: str, partner: str) -> bytes:
        """What is signed: all this, asked of `issuer` by `partner` under an agreement."""
        of = {"v": 1, "asks": FETCH, "agreement": agreement, "issuer": issuer, "partner": partner}
        return canonical.encode(of | self.case.to_json() | {"at": self.at, "about": self.about})

    def withheld(self) -> bytes:
        """The body of the notice that nothing is shared."""
        return notice(FETCH, WITHHELD, self.to_json())


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a peer."""

    agreement: str
    named: Named
    asked: Asked

    def to_json(self) -> dict[str, str]:
        """The body of the request."""
        return {"agreement": self.agreement} | self.told()

    def told(self) -> dict[str, str]:
        """What stands beside a record that it is answered with."""
        return self.named.to_json() | self.asked.to_json()


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks in one direction of an agreement.

    `keys`: the public keys (JWK) that it signs with, each with when it ended (ms); None: it is in use.
    """

    agreement: str
    issuer: str
    partner: str
    keys: tuple[tuple[Jwk, int | None], ...] = ()

    def ask(self, named: Named, case: Case, now_ms: int, sign: Callable[[bytes], bytes]) -> Question:
        """A question, signed with one of the keys."""
        asked = Asked(case, moment.format(now_ms), named.about())
        by = b64u(sign(asked.statement(self.agreement, self.issuer, self.partner)))
        return Question(self.agreement, named, replace(asked, by=by))

    def check(self, asked: Asked, answered_ms: int) -> None:
        """`Unproven` unless it was asked by this one, in this direction, and shortly before the answer."""
        statement = asked.statement(self.agreement, self.issuer, self.partner)
        asked_ms = moment.parse(asked.at)
        keys = [key for key, ended_ms in self.keys if ended_ms is None or asked_ms <= ended_ms]
        if not any(_holds(key, asked, statement) for key in keys):
            do = "ask again in a moment; what was told all the same is not to be relied on"
            raise Unproven(f"{self.partner} has not signed the question that is answered", do=do)
        if not -SKEW_S <= (answered_ms - asked_ms) / 1000 <= ANSWERED_S + SKEW_S:
            why = f"it was asked at {asked.at} and answered at {moment.format(answered_ms)}"
            do = "set the clocks of both nodes, and ask again"
            raise Unproven("a question is not answered in its time", why=why, do=do)


def _holds(key: Jwk, asked: Asked, statement: bytes) -> bool:
    try:
        es256_verify(public_key(key, "question"), unb64u(asked.by), statement)
    except Refusal:
        return False
    return True


def question(json: object) -> Question:
    """The question of a request's body; `Malformed` says what is wrong with it."""
    told = _lines(json, LONGEST)
    return Question(told["agreement"], *_question_in({name: told[name] for name in (*NAMED, *ASKED)}))


def _question_in(told: object) -> tuple[Named, Asked]:
    """What a disclosure says that it was asked for; `Malformed` otherwise."""
    lines = _lines(told, NAMED | ASKED)
    named = Named(lines["identifier"], lines["scheme"], lines["salt"])
    asked = _asked_in({name: lines[name] for name in ASKED})
    if named.about() != asked.about:
        raise Malformed("a question is out of form", why="it commits to another identifier than it names")
    return named, asked


def _asked_in(told: object) -> Asked:
    """What a notice of this subject says that was asked for; `Malformed` otherwise."""
    lines = _lines(told, ASKED)
    case = Case(lines["purpose"], lines["reference"], lines["reader"])
    return Asked(case, lines["at"], lines["about"], lines["by"])


def _lines(json: object, limits: Mapping[str, int]) -> dict[str, str]:
    if not isinstance(json, dict) or set(json) != set(limits):
        raise Malformed("a question is out of form", why="it must hold " + ", ".join(limits))
    wrong = [
        problem(name, json[name], f"must be a line of {0 if name == 'scheme' else 1} to {limit} characters")
        for name, limit in limits.items()
        if not is_line(json[name], limit) and (name, json[name]) != ("scheme", "")
    ]
    if wrong:
        raise Malformed("a question is out of form", problems=wrong, do="correct it and ask again")
    return json


def read(body: Json) -> Asked | None:
    """What was asked for, where a notice says that nothing is shared; None for any other subject."""
    return _asked_in(body.get("told")) if body["notice"] == FETCH else None


@dataclass(frozen=True, slots=True)
class Answers:
    """What an entry answers; `named`: what was asked by, None where nothing is shared."""

    named: Named | None
    asked: Asked


def answered(kind: str, body: Json) -> Answers | None:
    """What an entry's body answers; None for one that answers no question."""
    if kind == "notice":
        asked = read(body)
        return Answers(None, asked) if asked else None
    return Answers(*_question_in(body["told"])) if "told" in body else None
