"""Consent of an operator to being named to partners: given and withdrawn, by whom, when, and in which words.

What was said stands in the record's version, sealed and committed to in the ledger with who entered it; it
never leaves the node, and is erased with the record. Only whether consent was given can concern a partner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection

from node.errors import Conflict, Malformed, NotFound, problem
from node.exchange import versions
from node.exchange.versions import Fields
from node.records import model
from node.service.admit import Author, Outcome, admit, once
from node.service.batch import Batch
from node.service.parts import Parts
from node.store import records

Scope = Literal["GENERAL"] | Sequence[str]


@dataclass(frozen=True, slots=True)
class Statement:
    """What the operator said: by whom, in which words, and the SHA-256 (hex) of the paper if there is one."""

    by: str = ""
    text: str = ""
    document: str = ""

    def to_json(self) -> dict[str, str]:
        """As it is kept."""
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name)}


@dataclass(frozen=True, slots=True)
class ChangeConsent:
    """An operator gives its consent, for all agreements or for these alone, or withdraws it, wholly or for
    these.

    Without a statement by somebody, in words or on paper, no consent is given. A withdrawal needs none.
    """

    tin: str
    given: bool
    scope: Scope
    statement: Statement
    author: Author
    key: str | None = None

    weight = 1

    @property
    def tins(self) -> Sequence[str]:
        """The operator's TIN."""
        return [self.tin]

    def run(self, batch: Batch) -> Outcome:
        """Record it, in effect at once. `Malformed` without evidence, `NotFound`, `Conflict` as below."""
        self._check_evidence()
        asked = {"tin": self.tin, "given": self.given, "scope": self.scope, "said": self.statement.to_json()}
        return once(batch, self.author.caller, self.key, asked, lambda: self._admit(batch))

    def _check_evidence(self) -> None:
        said = self.statement
        missing = [] if said.by else [problem("by", "", "who at the operator consents")]
        if not (said.text or said.document):
            missing.append(problem("text", "", "in which words, or the SHA-256 of the paper in `document`"))
        if self.given and missing:
            do = "record who consented, and to what text"
            raise Malformed("a consent without evidence is none", where=self.tin, problems=missing, do=do)

    def _admit(self, batch: Batch) -> Outcome:
        current = batch.current(self.tin)
        if current is None:
            do = "look it up by another identifier, or register it first"
            raise NotFound("no own operator has this TIN", where=self.tin, do=do)
        recorded, said = current.fields.get("mra_consent"), self.statement.to_json()
        consent = self._consent(recorded, batch.today)
        statement = said | {"given": self.given, "scope": self.scope}
        if _is_same(consent, recorded) and (not said or statement == current.private.get("statement")):
            return Outcome("unchanged", current.tin, current.record_id, current.number, current.ledger_seq)
        operator = model.to_json(model.parse({**current.operator, "mra_consent": consent}))
        return admit(batch, operator, self.author, statement)

    def _consent(self, recorded: Fields | None, today: str) -> Fields:
        """The consent that it comes to; `Conflict` for a part of a consent that was given for everything."""
        scope = self.scope if self.scope == model.GENERAL else list(self.scope)
        if self.given:
            return {"given": True, "scope": scope, "from": today}
        if recorded is None or not recorded["given"] or scope == model.GENERAL:
            return {"given": False, "scope": model.GENERAL, "withdrawn_on": today}
        if recorded["scope"] == model.GENERAL:
            raise Conflict(
                "a consent for all agreements is not withdrawn for single ones",
                where=self.tin,
                do="withdraw it, or give it anew for the agreements that stay",
            )
        left = [each for each in recorded["scope"] if each not in scope]
        if left:
            return {**recorded, "scope": left}
        return {"given": False, "scope": model.GENERAL, "withdrawn_on": today}


def _is_same(consent: Fields, recorded: Fields | None) -> bool:
    """Whether nothing but its day is new."""
    return recorded is not None and all(consent[name] == recorded.get(name) for name in ("given", "scope"))


def register(parts: Parts, connection: Connection, tin: str) -> list[dict[str, Any]]:
    """Each time that the consent of an own operator was recorded, oldest first: what, when, by whom, with
    which words.

    `NotFound` when no own operator has this TIN.
    """
    found = records.newest_by_tin(connection, [tin])
    if tin not in found:
        raise NotFound("no own operator has this TIN", where=tin)
    told, before = list[dict[str, Any]](), None
    for stored in records.versions(connection, found[tin].record_id):
        version = versions.unseal(stored, parts.keys.store)
        consent, said = version.fields.get("mra_consent"), version.private.get("statement")
        if consent != before or said is not None:
            told.append(
                {
                    "recorded_at": version.fields["recorded_at"],
                    "ledger_seq": version.ledger_seq,
                    "consent": consent,
                    "statement": said,
                    "entered_by": version.private["actor"],
                    "reason": version.private["reason"],
                    "source": version.private["source"],
                }
            )
        before = consent
    return told
