"""The refusals of this project, one meaning each.

Refusal                    something was asked that will not be done; nothing was changed
 |- Malformed              the input breaks a rule of its format; `problems` names each one
 |- Unauthenticated        nobody we know signed or sent this
 |- Forbidden              we know who asks, and they may not
 |- NotFound               there is no such thing here
 |- Conflict               it contradicts what is already recorded
 |- TooMuch                larger, longer or more often than the bounds allow
 |- Unproven               a signature, proof or digest does not hold
 |   `- Gap                  something in between is missing
 |- Busy                   try again shortly
 `- Damaged                what is stored contradicts itself; a person must look

Every refusal says what was refused, where, why, and what to do about it. Pure code raises no others
than `Malformed`, `Unproven`, `Conflict` and `TooMuch`. The table from refusals to HTTP status codes is
`node/api/problems.py`.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

SHOWN_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule: the field it stands in, the value as given (cut short), and the rule."""

    field: str
    value: str
    rule: str


def problem(field: str, value: object, rule: str) -> Problem:
    """Make a `Problem`, cutting a long value to what a person can read."""
    shown = value if isinstance(value, str) else repr(value)
    return Problem(field, shown[:SHOWN_CHARACTERS], rule)


def reason(error: Exception) -> str:
    """Why a file could not be opened, read or written, without the path, which stands in `where`."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


class Refusal(Exception):  # noqa: N818  # a refusal is the project's word
    """Something that will not be done: what, where, why, and what to do about it."""

    code = "refused"

    def __init__(
        self, what: str, *, where: str = "", why: str = "", do: str = "", problems: Iterable[Problem] = ()
    ) -> None:
        self.what, self.where, self.why, self.do = what, where, why, do
        self.problems = tuple(problems)
        super().__init__(self.sentence())

    def sentence(self) -> str:
        """The refusal as one line for a person."""
        parts = [self.what + (f" ({self.where})" if self.where else "")]
        parts += [f"{p.field}: {p.rule}" + (f" (got {p.value!r})" if p.value else "") for p in self.problems]
        parts += [part for part in (self.why, self.do) if part]
        return "; ".join(parts)

    def details(self, status: int = 0) -> dict[str, Any]:
        """The refusal as problem details (RFC 9457), without the members that have nothing to say."""
        told = {
            "type": f"urn:aeo:problem:{self.code}",
            "title": self.what,
            "status": status,
            "detail": self.sentence(),
            "where": self.where,
            "why": self.why,
            "do": self.do,
            "problems": [asdict(each) for each in self.problems],
        }
        return {name: value for name, value in told.items() if value}


class Malformed(Refusal):
    """The input breaks a rule of its format."""

    code = "malformed"


class Unauthenticated(Refusal):
    """Nobody we know signed or sent this."""

    code = "unauthenticated"


class Forbidden(Refusal):
    """We know who asks, and they may not."""

    code = "forbidden"


class NotFound(Refusal):
    """There is no such thing here."""

    code = "not-found"


class Conflict(Refusal):
    """It contradicts what is already recorded."""

    code = "conflict"


class TooMuch(Refusal):
    """Larger, longer or more often than the bounds allow."""

    code = "too-much"


class Unproven(Refusal):
    """A signature, proof or digest does not hold."""

    code = "unproven"


class Gap(Unproven):
    """Something in between is missing."""


class Busy(Refusal):
    """Try again shortly."""

    code = "busy"


class Damaged(Refusal):
    """What is stored contradicts itself."""

    code = "damaged"
