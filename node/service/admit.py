"""Admitting changes of own operators: one, or a list in which each row stands for itself.

A list never undoes what somebody recorded by hand. It changes a status only with a date after the day on
which the status was last set by hand, and it may withdraw a consent, but not give or widen one that was
set otherwise by hand.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from node.errors import Busy, Conflict, NotFound, Problem, Refusal
from node.exchange import sealing, versions
from node.exchange.versions import Draft, Fields
from node.ledger import moment
from node.ledger.encoding import b64u
from node.records import model, status
from node.service.batch import Batch
from node.store import records

RECORD_ID_BYTES = 16
MOMENTS = ("status_since", "effective_at")
ABOUT_STATUS = {"status", *MOMENTS, "status_reason_class", "status_until"}
MIDNIGHT = "T00:00:00.000Z"
DAY_EVERYWHERE_MS = 36 * 3_600_000
"""From the beginning of a day in UTC to its end where it ends last."""
UNNAMED_LIST = "a list"


@dataclass(frozen=True, slots=True)
class Author:
    """Who asks for a change, and why; stands in the ledger only as a commitment.

    `source` names the list that the change came out of; it is empty for a change made by hand.
    """

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
        author = replace(self.author, source=self.author.source or UNNAMED_LIST)
        return [self._one(batch, operator, author) for operator in self.operators]

    def _one(self, batch: Batch, operator: Fields, author: Author) -> Outcome:
        before = batch.additions
        try:
            row = _of_list(batch, operator)
            return foresee(batch, row) if self.dry_run else admit(batch, row, author)
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
        """Whether it only says again which status or consent there is: that must not move its dates."""
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


def admit(
    batch: Batch, operator: Fields, author: Author, statement: Mapping[str, Any] | None = None
) -> Outcome:
    """Add a new version of an operator; `Conflict` when its status cannot change so.

    With a `statement` of the operator there is something to record even where no field changes.
    """
    foreseen = foresee(batch, operator)
    if foreseen.kind == "unchanged" and statement is None:
        return foreseen
    current = batch.current(operator["tin"])
    record_id = current.record_id if current else _new_record_id(batch)
    number = current.number + 1 if current else 1
    draft = Draft(
        record_id=record_id,
        number=number,
        ledger_seq=batch.next_seq,
        key=current.key if current else batch.parts.entropy(sealing.KEY_BYTES),
        fields={**operator, "record_id": record_id, "recorded_at": batch.time},
        private={"version": number, **author.private()} | ({"statement": statement} if statement else {}),
    )
    batch.add_version(draft)
    kind = "changed" if foreseen.kind == "unchanged" else foreseen.kind
    return Outcome(kind, draft.tin, record_id, number, draft.ledger_seq)


def foresee(batch: Batch, operator: Fields) -> Outcome:
    """What `admit` would do, changing nothing."""
    current = batch.current(operator["tin"])
    _check_country(batch, operator)
    _check_kind(operator, current)
    _check_not_ahead(batch, operator)
    _check_authorised_by_then(operator, current)
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


def _of_list(batch: Batch, operator: Fields) -> Fields:
    """What a row of a list comes to; `Conflict` where it would undo what was recorded after it was made."""
    current = batch.current(operator["tin"])
    if current is None:
        return operator
    _check_kind(operator, current)
    row = _completed(operator, current.operator)
    if row != current.operator:
        _check_not_older(row, current)
        _check_status_by_hand(batch, row, current)
        _check_consent_by_hand(batch, row, current)
    return row


def _completed(row: Fields, recorded: Fields) -> Fields:
    """The row with what the record says more precisely of the same status on that day, and consent.

    A list's date, kept as its midnight, means the whole day, in whatever time zone.
    """
    told = dict(row)
    if _says_again(row.get("mra_consent"), recorded.get("mra_consent")):
        told["mra_consent"] = recorded["mra_consent"]
    lag_ms = moment.parse(recorded["effective_at"]) - moment.parse(row["effective_at"][:10] + MIDNIGHT)
    longest_ms = 0 if recorded["effective_at"].endswith(MIDNIGHT) else DAY_EVERYWHERE_MS
    if row["status"] == recorded["status"] and 0 <= lag_ms <= longest_ms:
        told = {name: value for name, value in recorded.items() if name in ABOUT_STATUS} | told
        told |= {name: max(row[name], recorded[name]) for name in MOMENTS}
    return {name: told[name] for name in model.FIELDS if name in told}


def _says_again(consent: Mapping[str, Any] | None, recorded: Mapping[str, Any] | None) -> bool:
    """Whether a consent says nothing that the recorded one does not say, except on which day."""
    if consent is None or recorded is None:
        return False
    same = (consent["given"], consent["scope"]) == (recorded["given"], recorded["scope"])
    return same and set(consent) <= set(recorded)


def _check_not_older(row: Fields, current: Draft) -> None:
    if row["effective_at"] < current.fields["effective_at"]:
        raise Conflict(
            "the list is older than what is recorded",
            where=row["tin"],
            why=f"it speaks of {row['effective_at']}, the record of {current.fields['effective_at']}",
            do="export a new list, or use `aeo operator status` for this operator alone",
        )


def _check_status_by_hand(batch: Batch, row: Fields, current: Draft) -> None:
    """By the day of recording: a suspension of long ago, entered today, is no older than today."""
    if row["status"] == current.fields["status"]:
        return
    by_hand = _last_by_hand(batch, current, lambda fields: (fields["status"], fields["status_since"]))
    if by_hand and row["effective_at"][:10] <= by_hand.fields["recorded_at"][:10]:
        raise Conflict(
            f"the list would undo what was recorded by hand: {current.fields['status']}",
            where=row["tin"],
            why=f"it says {row['status']} of {row['effective_at'][:10]}, which is not after the day on which "
            f"the status was set by hand, {by_hand.fields['recorded_at'][:10]}",
            do="if the list is right, use `aeo operator status` for this operator alone",
        )


def _check_consent_by_hand(batch: Batch, row: Fields, current: Draft) -> None:
    consent = row.get("mra_consent")
    if not consent or not consent["given"] or consent == current.fields.get("mra_consent"):
        return
    by_hand = _last_by_hand(batch, current, lambda fields: fields.get("mra_consent"))
    said = by_hand.fields.get("mra_consent") if by_hand else None
    if by_hand and said and not _covers(said, consent["scope"]):
        raise Conflict(
            "the list would give or widen a consent that was set otherwise by hand",
            where=row["tin"],
            why=f"on {by_hand.fields['recorded_at'][:10]} it was "
            + (f"given for {', '.join(said['scope'])} only" if said["given"] else "withdrawn"),
            do="correct the list, or, if the operator consents, use `aeo operator consent --give`",
        )


def _covers(consent: Mapping[str, Any], scope: str | list[str]) -> bool:
    """Whether a consent that was set by hand goes as far as a list would have it."""
    if consent["scope"] == model.GENERAL:
        return bool(consent["given"])
    return bool(consent["given"]) and scope != model.GENERAL and set(scope) <= set(consent["scope"])


def _last_by_hand(batch: Batch, current: Draft, about: Callable[[Fields], object]) -> Draft | None:
    """The newest version in which somebody, and not a list, set what `about` reads of it."""
    stored = records.versions(batch.connection, current.record_id)
    known: list[Draft] = [versions.unseal(each, batch.parts.keys.store) for each in stored]
    known += [current] if current.number > len(known) else []
    if len(known) < current.number:
        raise Busy("this operator is being changed at this moment", where=current.tin, do="import it again")
    found, before = None, None
    for version in known:
        if about(version.fields) != before and not version.private["source"]:
            found = version
        before = about(version.fields)
    return found


def _check_authorised_by_then(operator: Fields, current: Draft | None) -> None:
    """Only an annulment reaches back to before the authorisation; what is recorded so already may stay."""
    effective_at, authorised_on = dates = [operator.get(name) for name in ("effective_at", "authorised_on")]
    if current and dates == [current.fields.get(name) for name in ("effective_at", "authorised_on")]:
        return
    if authorised_on and operator["status"] != "ANNULLED" and operator["effective_at"][:10] < authorised_on:
        raise Conflict(
            "a status cannot take effect before the operator was authorised",
            where=operator["tin"],
            why=f"it says {effective_at}, the authorisation is of {authorised_on}",
            do="correct the date; only ANNULLED reaches back further",
        )


def _check_kind(operator: Fields, current: Draft | None) -> None:
    """A record keeps its kind, or takes one that it may turn into."""
    old, new = model.kind_of(current.fields) if current else None, model.kind_of(operator)
    if old is not None and old != new and (old, new) not in model.BECOMES:
        raise Conflict(
            f"an {old} does not become a {new} again",
            where=operator["tin"],
            why="what it was authorised for, and how that ended, stays in its record",
            do=f"leave it out of the list of {new}s; if its authorisation ended, use `aeo operator status`",
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
