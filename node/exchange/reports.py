"""Reports: what a partner tells an issuer, on the way back, about one of the issuer's operators.

An irregularity (`Irregularity`), that the operator's treatment is suspended or resumed at the partner
(`Treatment`), and on the channel itself the issuer's answer to an irregularity (`Acknowledged`). Each names
the operator by the entry of the channel that disclosed it and by nothing else, so that an erasure of those
entries reaches it. Bodies are made here and strictly read.
"""

from dataclasses import dataclass
from typing import Any, Final

from node.errors import Malformed, problem
from node.exchange.notices import Json, is_line, malformed, notice, told_by

IRREGULARITY: Final = "irregularity"
TREATMENT: Final = "treatment"
ACKNOWLEDGED: Final = "acknowledged"
SUBJECTS: Final = (IRREGULARITY, TREATMENT, ACKNOWLEDGED)

CLASSES: Final = {
    "CARGO": "cargo, seal or container was tampered with, or held what it should not",
    "DECLARATION": "what was declared is not what was found",
    "SECURITY": "the security requirements of its programme are not met",
    "IDENTITY": "somebody else uses its number or its name",
    "RECORD": "what its record says is not so",
    "OTHER": "none of these",
}
"""What a report is about. It never says more of a person than the class and a short text need."""
SUSPENDED: Final = "SUSPENDED"
RESUMED: Final = "RESUMED"
LONGEST_TEXT: Final = 500


@dataclass(frozen=True, slots=True)
class Irregularity:
    """An irregularity of the operator that entry `entry` of the channel `channel` disclosed."""

    channel: str
    entry: int
    code: str
    text: str

    def body(self) -> bytes:
        """The body of the notice."""
        return notice(
            IRREGULARITY, self.code, {"channel": self.channel, "entry": self.entry, "text": self.text}
        )


@dataclass(frozen=True, slots=True)
class Treatment:
    """The reader suspends or resumes (`decision`) its treatment of the operator, by its own decision."""

    channel: str
    entry: int
    code: str
    decision: str

    def body(self) -> bytes:
        """The body of the notice."""
        told = {"channel": self.channel, "entry": self.entry, "class": self.code}
        return notice(TREATMENT, self.decision, told)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The issuer has taken note of the irregularity in entry `notice` of the way back, `channel`."""

    channel: str
    notice: int
    text: str

    def body(self) -> bytes:
        """The body of the notice."""
        return notice(ACKNOWLEDGED, self.text, {"channel": self.channel, "notice": self.notice})


Report = Irregularity | Treatment | Acknowledged


def read(body: Json) -> Report | None:
    """What a notice reports; None for any other subject, `Malformed` when it is out of form."""
    subject, detail = body["notice"], body["detail"]
    names = {
        IRREGULARITY: {"channel", "entry", "text"},
        TREATMENT: {"channel", "entry", "class"},
        ACKNOWLEDGED: {"channel", "notice"},
    }.get(subject)
    if names is None:
        return None
    told = told_by(body, names)
    if not isinstance(told["channel"], str):
        raise malformed(subject, "it must name a channel")
    entry = told["notice" if subject == ACKNOWLEDGED else "entry"]
    if type(entry) is not int or not 0 <= entry < 2**31:
        raise malformed(subject, "it must name an entry by its number")
    if subject == ACKNOWLEDGED:
        return Acknowledged(told["channel"], entry, _line(subject, detail))
    code = detail if subject == IRREGULARITY else told["class"]
    if not isinstance(code, str) or code not in CLASSES:
        raise malformed(subject, f"its class must be one of {', '.join(CLASSES)}")
    if subject == IRREGULARITY:
        return Irregularity(told["channel"], entry, code, _line(subject, told["text"]))
    if detail not in (SUSPENDED, RESUMED):
        raise malformed(subject, f"it must say {SUSPENDED} or {RESUMED}")
    return Treatment(told["channel"], entry, code, detail)


def check_text(text: str) -> str:
    """The text, if it may be sent; `Malformed` otherwise."""
    if is_line(text, LONGEST_TEXT):
        return text
    told = [problem("text", f"{len(text)} characters", f"must be a line of 1 to {LONGEST_TEXT} characters")]
    raise Malformed("this text cannot be sent", problems=told, do="shorten it to what the other must know")


def _line(subject: str, value: Any) -> str:
    if not is_line(value, LONGEST_TEXT):
        raise malformed(subject, f"its text must be a line of 1 to {LONGEST_TEXT} characters")
    return str(value)
