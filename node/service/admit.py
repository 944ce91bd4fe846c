"""Admitting changes of own operators: one, or a list in which each row stands for itself."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from node.errors import Conflict, NotFound, Problem, Refusal
from node.exchange import versions
from node.exchange.versions import Fields
from node.ledger.encoding import b64u
from node.records import model, status
from node.service.batch import Batch

RECORD_ID_BYTES = 16
ABOUT_STATUS = {"status", "status_since", "effective_at", "status_reason_class", "status_until"}


@dataclass(frozen=True, slots=True)
class Author:
    """Who asks for a change, and why; stands in the ledger only as a commitment."""

    caller: str
    reason: str = ""
    source: str = ""

    def private(self) -> dict[str, str]:
        """What is committed to."""
        return {"actor": self.caller, "reason": self.reason, "source": self.source}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change: new, changed, unchanged or refused."""

    kind: str
    tin: str
    record_id: str | None = None
    version: int | None = None
    ledger_seq: int | None = None
    problems: tuple[Problem, ...] = ()
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """As it is answered."""
        told: dict[str, Any] = {"outcome": self.kind, "tin": self.tin}
        told |= {"record_id": self.record_id, "version": self.version, "ledger_seq": self.ledger_seq}
        if self.kind == "refused":
            told |= {
                "message": self.message,
                "problems": [{"field": p.field, "value": p.value, "rule": p.rule} for p in self.problems],
            }
        return told


@dataclass(frozen=True, slots=True)
class AdmitList:
    """Operators to admit, each already parsed; a refused one never stops the others."""

    operators: Sequence[Fields]
    author: Author
    dry_run: bool = False

    @property
    def weight(self) -> int:
        """One for each operator."""
        return len(self.operators)

    @property
    def tins(self) -> Sequence[str]:
        """The operators' TINs."""
        return [operator["tin"] for operator in self.operators]

    def run(self, batch: Batch) -> list[Outcome]:
        """Admit one after the other."""
        return [self._one(batch, operator) for operator in self.operators]

    def _one(self, batch: Batch, operator: Fields) -> Outcome:
        before = batch.additions
        try:
            _check_not_older(batch, operator)
            return (foresee if self.dry_run else admit)(batch, operator, self.author)
        except Refusal as refusal:
            if batch.additions != before:
                raise
            return Outcome("refused", operator["tin"], problems=refusal.problems, message=refusal.sentence())


@dataclass(frozen=True, slots=True)
class AdmitOne:
    """One operator to admit, once for each idempotency key of its caller."""

    operator: Fields
    author: Author
    key: str | None = None

    weight = 1

    @property
    def tins(self) -> Sequence[str]:
        """The operator's TIN."""
        return [self.operator["tin"]]

    def run(self, batch: Batch) -> Outcome:
        """Admit it, or give the answer that was given before."""
        return once(
            batch,
            self.author.caller,
            self.key,
            self.operator,
            lambda: admit(batch, self.operator, self.author),
        )


@dataclass(frozen=True, slots=True)
class Amend:
    """A change of some fields of a known operator, such as its status or consent.

    `asked` is the request as it came: a repeated one is recognised by it, since `changes` hold the time.
    """

    tin: str
    asked: Mapping[str, Any]
    changes: Mapping[str, Any]
    author: Author
    key: str | None = None

    weight = 1

    @property
    def tins(self) -> Sequence[str]:
        """The operator's TIN."""
        return [self.tin]

    def run(self, batch: Batch) -> Outcome:
        """Admit the amended operator; `NotFound` when there is none, `Malformed` when a field is wrong."""
        asked = {"tin": self.tin, **self.asked}
        return once(batch, self.author.caller, self.key, asked, lambda: self._admit(batch))

    def _repeats(self, fields: Fields) -> bool:
        """Whether it only says again which status the operator has: that must not move its dates."""
        told = (
            self.changes.get("status"),
            self.changes.get("status_reason_class") or fields.get("status_reason_class"),
        )
        is_status = "status" in self.changes and set(self.changes) <= ABOUT_STATUS
        return is_status and told == (fields["status"], fields.get("status_reason_class"))

    def _admit(self, batch: Batch) -> Outcome:
        current = batch.current(self.tin)
        if current is None:
            raise NotFound(
                "no own operator has this TIN",
                where=self.tin,
                do="look it up by another identifier, or register it first",
            )
        if self._repeats(current.fields):
            return Outcome("unchanged", current.tin, current.record_id, current.number, current.ledger_seq)
        amended = {
            name: value for name, value in {**current.operator, **self.changes}.items() if value is not None
        }
        return admit(batch, model.to_json(model.parse(amended)), self.author)


def admit(batch: Batch, operator: Fields, author: Author) -> Outcome:
    """Add a new version of an operator; `Conflict` when its status cannot change so."""
    foreseen = foresee(batch, operator, author)
    if foreseen.kind == "unchanged":
        return foreseen
    current = batch.current(operator["tin"])
    number = current.number + 1 if current else 1
    version = versions.issue(
        operator,
        current.record_id if current else _new_record_id(batch),
        number,
        batch.ledger.seq,
        current.key if current else batch.parts.entropy(32),
        author.private(),
        batch.time,
        batch.parts.settings.name,
        batch.parts.kid,
        batch.sign_credential,
    )
    batch.add_version(version)
    return Outcome(foreseen.kind, version.tin, version.record_id, number, version.ledger_seq)


def foresee(batch: Batch, operator: Fields, author: Author) -> Outcome:
    """What `admit` would do, changing nothing."""
    _check_country(batch, operator)
    _check_not_ahead(batch, operator)
    current = batch.current(operator["tin"])
    if current is None:
        status.transition(None, operator["status"])
        return Outcome("new", operator["tin"])
    if current.operator == operator:
        return Outcome("unchanged", operator["tin"], current.record_id, current.number, current.ledger_seq)
    status.transition(current.fields["status"], operator["status"])
    return Outcome("changed", operator["tin"], current.record_id, current.number, current.ledger_seq)


def once(batch: Batch, caller: str, key: str | None, request: object, act: Callable[[], Outcome]) -> Outcome:
    """Act once for each (caller, key): a repeated request gets the first answer, another one `Conflict`."""
    if key is None:
        return act()
    digest = hashlib.sha256(orjson.dumps(request, option=orjson.OPT_SORT_KEYS)).digest()
    given = batch.answered(caller, key)
    if given and given[0] != digest:
        raise Conflict(
            "this idempotency key was used for another request",
            where=key,
            do="use a new key for a new request",
        )
    if given:
        return Outcome(**orjson.loads(given[1]))
    outcome = act()
    batch.remember(
        caller,
        key,
        digest,
        orjson.dumps({name: getattr(outcome, name) for name in Outcome.__slots__ if name != "problems"}),
    )
    return outcome


def _check_not_older(batch: Batch, operator: Fields) -> None:
    """A list must not undo what was recorded after it was made, such as a suspension."""
    current = batch.current(operator["tin"])
    if current and current.operator != operator and operator["effective_at"] < current.fields["effective_at"]:
        raise Conflict(
            "the list is older than what is recorded",
            where=operator["tin"],
            why=f"it speaks of {operator['effective_at']}, the record of {current.fields['effective_at']}",
            do="export a new list, or use `aeo operator status` for this operator alone",
        )


def _check_not_ahead(batch: Batch, operator: Fields) -> None:
    """What is recorded takes effect at once, so a fact of the future has to wait for its day."""
    if operator["effective_at"] > batch.time:
        raise Conflict(
            "a change cannot take effect in the future",
            where=operator["tin"],
            why=f"it says {operator['effective_at']}, now is {batch.time}",
            do="record it on that day",
        )


def _check_country(batch: Batch, operator: Fields) -> None:
    if operator["country"] != batch.parts.country:
        raise Conflict(
            "an administration records its own operators only",
            where=operator["tin"],
            why=f"this node is {batch.parts.country}'s, the record says {operator['country']}",
        )


def _new_record_id(batch: Batch) -> str:
    return f"urn:aeo:{batch.parts.country.lower()}:{b64u(batch.parts.entropy(RECORD_ID_BYTES))}"
