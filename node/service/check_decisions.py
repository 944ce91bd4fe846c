"""`aeo audit decisions`: every recorded decision made again, from the contract's text and what it was asked.

Its inputs are the fields of the record version, the terms as they stood, and the day. What it must have
been is compared byte for byte with what is recorded: hash of the contract, digest of the terms, digest of
the inputs, and answer. That the versions are those that the ledger commits to, and the agreements those
that were signed, is for `aeo fsck` to show.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from contracts.evaluation import Contract
from node.agreements import document, state
from node.agreements.document import Agreement, direction_terms
from node.errors import Damaged
from node.exchange import versions
from node.exchange.outgoing import Line
from node.exchange.versions import Version
from node.ledger import canonical
from node.ledger.encoding import b64u
from node.service.findings import Finding, Progress, guarded, why
from node.service.ground import Ground, bare
from node.service.parts import Parts
from node.store import agreements, channels, records
from node.store.channels import LOWEST, StoredChannel
from node.store.database import Row

PAGE = 500
SHOWN = 500
"""Characters of a value in a finding."""
Agreed = tuple[Agreement, Contract]
"""An agreement, and its contract compiled from the text in it."""
Made = tuple[Version, str] | Exception
"""A version opened, with the digest of its fields; or why it does not open."""


class Directions:
    """The own outgoing directions in every state they can be in, to make decisions again."""

    def __init__(self, own: list[StoredChannel], signed: Mapping[str, Agreed]) -> None:
        """`own` are the outgoing channels; those under other agreements than these are left out."""
        self.channels = own
        self.on_demand: set[int] = set()
        """Of them, those on which a record is told only when it is asked for."""
        self._lines: dict[tuple[int, str], Line] = {}
        for each in own:
            if each.agreement in signed:
                agreement, contract = signed[each.agreement]
                for told in state.STATES:
                    terms = direction_terms(agreement, each.issuer, each.partner, told)
                    line = Line(each, contract, terms, b64u(canonical.digest(terms)), told)
                    self._lines[each.log, line.terms_digest] = line
                    self.on_demand |= {each.log} if line.is_on_demand else set()

    def again(self, kept: Row, version: Version, record_digest: str) -> tuple[Row, Sequence[str] | None]:
        """A kept decision made again, and the fields it shares (None: it withholds)."""
        line = self._lines.get((kept["log"], kept["terms"]))
        if line is None:
            raise Damaged("a decision rests on terms that no agreement has", where=kept["terms"])
        answer = line.decide(version.fields, kept["day"])
        made = line.decision(version, answer, kept["day"], record_digest)
        return {"decision": kept["decision"], **made}, answer.fields if answer.shared else None


def named(kept: Row) -> str:
    """A decision as a finding names it."""
    return f"decision {kept['decision']} on version {kept['version']} of {kept['record_id']}"


def unlike(kept: Row, made: Row) -> Iterator[Finding]:
    """Where a decision is not what it must have been."""
    for name in sorted(name for name in kept if kept[name] != made[name]):
        what = f"{named(kept)}: its {name} is not the one that contract, terms and record give; "
        what += f"expected {str(made[name])[:SHOWN]}, found {str(kept[name])[:SHOWN]}"
        yield Finding(f"channel {kept['log']}", -1, what)


@dataclass(slots=True)
class Replay:
    """Every decision of a node, made again; `count` is how many so far."""

    parts: Parts
    progress: Progress = lambda what, done, of: None
    count: int = 0

    def findings(self) -> Iterator[Finding]:
        """What does not come out again; what is written after it began is not looked at."""
        with bare(self.parts) as on:
            yield from on.attempt("decisions", self._all, on)

    def _all(self, on: Ground) -> Iterator[Finding]:
        own = [each for each in channels.channels(on.connection) if each.issuer == self.parts.country]
        signed: dict[str, Agreed] = {}
        for number, content in agreements.documents(on.connection).items():
            yield from guarded(f"agreement {number}", -1, _read, number, content, signed)
        directions, after = Directions(own, signed), LOWEST
        of = channels.decision_count(on.connection)
        while kept := channels.decisions_after(on.connection, after, PAGE):
            after = kept[-1]["decision"]
            yield from self._page(on.connection, directions, kept)
            self.count += len(kept)
            self.progress("decisions", self.count, of)

    def _page(self, connection: Connection, directions: Directions, kept: list[Row]) -> Iterator[Finding]:
        opened: dict[tuple[str, int], Made] = {}
        wanted = {(each["record_id"], each["version"]) for each in kept}
        for stored in records.versions_named(connection, list(wanted)):
            at = (stored.record_id, stored.version)
            try:
                version = versions.unseal(stored, self.parts.keys.store)
                opened[at] = version, b64u(canonical.digest(version.fields))
            except Exception as error:  # noqa: BLE001 - whatever it is, the other decisions are made again
                opened[at] = error
        for each in kept:
            yield from guarded(f"channel {each['log']}", -1, _again, directions, each, opened)


def _read(number: str, content: bytes, into: dict[str, Agreed]) -> Iterator[Finding]:
    """An agreement, with its contract from the text; one that has another text than its id names is told."""
    agreement = document.parse(canonical.decode(content))
    into[number] = agreement, document.contract_of(agreement.contract_text)
    if agreement.id != number or agreement.encode() != content:
        yield Finding(f"agreement {number}", -1, "its text is not the one its id names")


def _again(directions: Directions, kept: Row, opened: Mapping[tuple[str, int], Made]) -> Iterator[Finding]:
    found = opened.get((kept["record_id"], kept["version"]))
    where = f"channel {kept['log']}"
    try:
        if found is None:
            raise Damaged("there is no such version")
        if isinstance(found, Exception):
            raise found
        made, _ = directions.again(kept, *found)
    except Exception as error:  # noqa: BLE001 - whatever it is, the next decision is made again
        yield Finding(where, -1, f"{named(kept)}: {why(error)}")
        return
    yield from unlike(kept, made)
