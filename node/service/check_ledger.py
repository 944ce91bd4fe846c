"""What stands behind the own ledger: record versions, other bodies, and all that is derived from them.

Each version is opened once. Held against it are its commitment and credential, its row in the change
feed, every decision on it (run again), and, where it is the newest, the index and what partners see.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from node.errors import Damaged
from node.exchange import outgoing, versions
from node.exchange.card import ledger_origin
from node.exchange.versions import Version
from node.ledger import canonical, moment
from node.ledger.encoding import b64u
from node.ledger.entry import LedgerEntry, commitment
from node.records import credential
from node.service.batch import index_row, open_body
from node.service.check_decisions import Directions, named, unlike
from node.service.check_logs import Entries, Noted
from node.service.findings import Finding, Seen, Telling, guarded
from node.service.ground import Ground
from node.service.parts import Parts
from node.store import channels, erasures, logs, records
from node.store.database import Row
from node.store.logs import Head
from node.store.records import Found, StoredVersion
from node.store.reports import LOCAL_WORD
from node.store.tables import LEDGER


@dataclass(slots=True)
class LedgerBodies:
    """Checks the bodies behind the ledger, bundle by bundle."""

    parts: Parts
    connection: Connection
    directions: Directions
    noted: Noted = field(default_factory=Noted)

    @classmethod
    def on(cls, ground: Ground) -> "LedgerBodies":
        """With every contract loaded."""
        own = [
            each for each in ground.channels if each.issuer == ground.parts.country and ground.carries(each)
        ]
        signed = {number: (each.agreement, each.contract) for number, each in ground.standings.items()}
        return cls(ground.parts, ground.connection, Directions(own, signed))

    def __call__(self, head: Head, start: int, entries: Entries) -> Iterator[Finding]:
        """Every entry is committed to a version or another body that opens."""
        stop = start + len(entries)
        stored = {each[0].ledger_seq: each for each in records.versions_behind(self.connection, start, stop)}
        bodies = logs.bodies(self.connection, start, stop)
        self.noted.seen["record_version", LEDGER] += len(stored)
        self.noted.seen["ledger_body", LEDGER] += len(bodies)
        about = Stored.read(self, [each[0].record_id for each in stored.values()])
        gone = erasures.erased(self.connection, LEDGER, start, stop)
        for seq, entry in enumerate(entries, start):
            if seq in stored and seq in bodies:
                yield Finding(head.origin, seq, "two bodies are behind it")
            if not isinstance(entry, LedgerEntry):
                continue
            if seq in gone and seq not in stored and seq not in bodies:
                continue
            if entry.type == "record":
                yield from guarded(head.origin, seq, self._version, head, entry, stored.get(seq), about)
            else:
                yield from guarded(head.origin, seq, self._body, entry, bodies.get(seq))

    def _body(self, entry: LedgerEntry, sealed: bytes | None) -> None:
        if sealed is None:
            raise Damaged("no body is behind it")
        salt, content = open_body(self.parts, entry.seq, sealed)
        if commitment(salt, content) != entry.commit:
            raise Damaged("its body is not what the entry commits to")
        body = canonical.decode(content)
        if entry.type == "erasure":
            key = ("", "erased", moment.format(entry.time))
            origin = ledger_origin(self.parts.settings.name)
            self.noted.tellings.append(Telling(origin, entry.seq, key, ("",)))
        if isinstance(body, dict):
            self.noted.recorded.note(entry, body)
        if entry.seq in self.noted.recorded.decisions:
            said = self.noted.recorded.decisions[entry.seq]
            key = (str(said["record_id"]), LOCAL_WORD, moment.format(entry.time))
            origin = ledger_origin(self.parts.settings.name)
            self.noted.tellings.append(Telling(origin, entry.seq, key, (str(said["tin"]),)))

    def _version(
        self, head: Head, entry: LedgerEntry, kept: tuple[StoredVersion, int, bool] | None, about: "Stored"
    ) -> Iterator[Finding]:
        if kept is None:
            raise Damaged("no record version is behind it")
        stored, named, is_newest = kept
        version = versions.unseal(stored, self.parts.keys.store)
        where = f"version {stored.version} of {stored.record_id}"
        if entry.commit != version.commit():
            yield Finding(head.origin, entry.seq, f"{where} is not what the entry commits to")
        by = version.signed
        if by.issuer != self.parts.settings.name:
            yield Finding(head.origin, entry.seq, f"the credential is of {by.issuer}")
        public = self.parts.card.credential_key(by.kid, entry.seq)
        credential.es256_verify(public, by.signature, version.credential.signed_part)
        key = (stored.record_id, "recorded", moment.format(entry.time))
        self.noted.tellings.append(Telling(head.origin, entry.seq, key, (version.tin,)))
        shown = yield from self._decided(version, about)
        if is_newest:
            yield from self._newest(stored, named, version, about, shown)

    def _decided(
        self, version: Version, about: "Stored"
    ) -> Generator[Finding, None, dict[int, Sequence[str] | None]]:
        """Each decision comes out again; gives, by channel, the newest one's fields (None: withheld)."""
        digest = b64u(canonical.digest(version.fields))
        newest: dict[int, Sequence[str] | None] = {}
        for kept in about.decisions.get((version.record_id, version.number), ()):
            self.noted.seen["decision", kept["log"]] += 1
            try:
                made, newest[kept["log"]] = self.directions.again(kept, version, digest)
            except Damaged as error:
                yield Finding(f"channel {kept['log']}", -1, f"{named(kept)}: {error.sentence()}")
                continue
            yield from unlike(kept, made)
        return newest

    def _newest(
        self,
        stored: StoredVersion,
        named: int,
        version: Version,
        about: "Stored",
        shown: dict[int, Sequence[str] | None],
    ) -> Iterator[Finding]:
        """The newest version is the one named, indexed, and shown to partners as decided."""
        self.noted.seen["record", LEDGER] += 1
        if (named, stored.tin) != (version.number, version.tin):
            what = (
                f"it names version {named} of {stored.tin}; the newest is {version.number} of {version.tin}"
            )
            yield Finding(f"record {stored.record_id}", stored.ledger_seq, what)
        if stored.kind != version.fields.get("kind"):
            what = f"its kind is kept as {stored.kind}, and is {version.fields.get('kind')}"
            yield Finding(f"record {stored.record_id}", stored.ledger_seq, what)
        yield from check_index(self.noted.seen, LEDGER, stored.record_id, version.fields, about.index)
        for channel in self.directions.channels:
            log, where = channel.log, f"channel {channel.log}"
            if log in self.directions.on_demand:
                yield from self._told_on_demand(log, stored.record_id, about, shown.get(log))
                continue
            if channel.day and log not in shown:
                yield Finding(where, -1, f"there is no decision on the newest version of {stored.record_id}")
            if channel.day or log in shown:
                paths = shown.get(log)
                view = None if paths is None else outgoing.view_digest(version.fields, paths)
                if (about.views[log].get(stored.record_id, (-1, None))[1]) != view:
                    what = f"the view kept of {stored.record_id} is not what was decided"
                    yield Finding(where, about.views[log].get(stored.record_id, (-1, None))[0], what)

    def _told_on_demand(
        self, log: int, record_id: str, about: "Stored", paths: Sequence[str] | None
    ) -> Iterator[Finding]:
        """What a partner has asked for is in its view, as it was then, for as long as it is shared."""
        place, view = about.views[log].get(record_id, (-1, None))
        if view is not None and paths is None:
            yield Finding(f"channel {log}", place, f"the view kept of {record_id} is not what was decided")


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored about the records of one bundle."""

    decisions: dict[tuple[str, int], list[Row]]
    views: dict[int, dict[str, tuple[int, bytes | None]]]
    index: Found

    @classmethod
    def read(cls, of: LedgerBodies, record_ids: list[str]) -> "Stored":
        """Those of these records."""
        decisions: dict[tuple[str, int], list[Row]] = {}
        own = [each.log for each in of.directions.channels]
        for log in own:
            for row in channels.decisions_on(of.connection, log, record_ids):
                decisions.setdefault((row["record_id"], row["version"]), []).append(row)
        views = {log: channels.views_of(of.connection, log, record_ids) for log in own}
        return cls(decisions, views, records.indexed(of.connection, LEDGER, record_ids))


def check_index(
    seen: Seen, log: int, record_id: str, fields: Row, index: Found, *, is_named: bool = True
) -> Iterator[Finding]:
    """An operator is found by every identifier it carries, and by its names while it is in view."""
    carried, name = index[record_id]
    expected = index_row(fields)
    seen["operator_identifier", log] += len(carried)
    seen["operator_name", log] += name is not None
    if carried != set(expected["identifiers"]):
        yield Finding(f"index of log {log}", -1, f"{record_id} is not found by what it carries")
    wanted = (expected["name"], expected["folded"]) if is_named and expected["name"] else None
    if name != wanted:
        yield Finding(f"index of log {log}", -1, f"{record_id} is not found by its names")
