"""What stands behind the entries of the access log, and what the ledger commits to of it.

A body that is gone must be older than the newest `expired` entry says; an item that is gone must be named by
the `forgotten` entry that it names. So what was forgotten is told from what somebody took away.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from node.errors import Damaged
from node.exchange.card import access_origin
from node.ledger import tiles
from node.ledger.encoding import unb64u
from node.ledger.entry import AccessEntry
from node.service import asking
from node.service.access_writing import secrets_of
from node.service.asking import Body, Secrets
from node.service.check_logs import Entries, LogCheck, Noted, Recorded
from node.service.findings import Finding, guarded
from node.service.forgetting import entry_at
from node.service.ground import Ground
from node.store import access_log, logs
from node.store.logs import Head
from node.store.tables import ACCESS

TOLD, BODIES = "access_told", "access_body"


@dataclass(slots=True)
class AccessBodies:
    """Checks the bodies beside the access log, bundle by bundle."""

    connection: Connection
    secrets: Secrets
    before: int
    """Of entries before this one the bodies were removed for their age."""
    noted: Noted = field(default_factory=Noted)
    _named: dict[int, set[tuple[int, int]]] = field(default_factory=dict)

    @classmethod
    def on(cls, ground: Ground) -> "AccessBodies":
        """With the key of the log, and what its newest `expired` entry says."""
        connection = ground.connection
        secrets, state = secrets_of(ground.parts, connection), access_log.state(connection)
        made = cls(connection, secrets, 0)
        if state is not None and state.expired is not None:
            made.before = int(made._said(state.expired, "expired")["before"])
        return made

    def __call__(self, head: Head, start: int, entries: Entries) -> Iterator[Finding]:
        """Every entry has its body, whole but for what was forgotten, and is found by what it is about."""
        stored = access_log.bodies(self.connection, start, start + len(entries))
        self.noted.seen[BODIES, ACCESS] += len(stored)
        opened: dict[int, Body] = {}
        for seq, entry in enumerate(entries, start):
            if isinstance(entry, AccessEntry):
                yield from guarded(head.origin, seq, self._body, head, entry, stored.get(seq), opened)
        wanted = {(*key, seq) for seq, body in opened.items() for key in body.about()}
        found = access_log.told_of(self.connection, start, start + len(entries))
        self.noted.seen[TOLD, ACCESS] += len(found & wanted)
        for seq in sorted({seq for _, _, seq in wanted - found}):
            yield Finding(head.origin, seq, "it is not found by what it is about")

    def _body(
        self, head: Head, entry: AccessEntry, sealed: bytes | None, opened: dict[int, Body]
    ) -> Iterator[Finding]:
        if entry.log != head.origin:
            yield Finding(head.origin, entry.seq, f"it is of {entry.log}")
        if sealed is None:
            if entry.seq >= self.before:
                raise Damaged("no body is behind it, and no entry says that it expired")
            return
        body = asking.unseal(self.secrets, entry.commit, sealed)
        body.check(entry.commit)
        opened[entry.seq] = body
        for at, by in body.gone():
            if (entry.seq, at) not in self._forgotten(by):
                yield Finding(head.origin, entry.seq, f"item {at} is gone, and entry {by} does not say so")

    def _forgotten(self, by: int) -> set[tuple[int, int]]:
        """(entry, item) of all that one `forgotten` entry names."""
        if by not in self._named:
            self._named[by] = {(seq, at) for seq, at in self._said(by, "forgotten")["removed"]}
        return self._named[by]

    def _said(self, seq: int, kind: str) -> dict[str, Any]:
        """What an entry about earlier ones says; `Damaged` when it is none, or not what it commits to."""
        entry, sealed = (
            entry_at(self.connection, seq),
            access_log.bodies(self.connection, seq, seq + 1).get(seq),
        )
        if entry.kind != kind or sealed is None:
            raise Damaged(f"entry {seq} is no whole entry of kind {kind}")
        body = asking.unseal(self.secrets, entry.commit, sealed)
        body.check(entry.commit)
        detail: dict[str, Any] = body.head["detail"]
        return detail


def check_access(check: LogCheck, recorded: Recorded) -> Iterator[Finding]:
    """The access log as a log, and every head of it that the ledger commits to."""
    on = check.ground
    origin, head = access_origin(on.parts.settings.name), logs.head(on.connection, ACCESS)
    if head is None:
        for seq in recorded.access:
            yield Finding(origin, -1, f"entry {seq} of the ledger commits to it, and it is gone")
        return
    noted = Noted(check.seen)
    yield from check.log(ACCESS, on.parts.card, noted, None, is_own=True)
    if head.origin != origin:
        yield Finding(origin, -1, f"in its place is {head.origin}")
    read_tile = logs.tile_reader(on.connection, ACCESS)
    for seq, (size, root) in recorded.access.items():
        where = f"entry {seq} of the ledger commits to {size} entries"
        if size > head.size:
            yield Finding(origin, -1, f"{where}, and there are {head.size}: it was shortened, or put back")
        elif tiles.tree_root(read_tile, size) != unb64u(root):
            yield Finding(origin, -1, f"{where}, which were others")
    yield from _surplus(check)


def _surplus(check: LogCheck) -> Iterator[Finding]:
    """Bodies, and rows that say what they are about, which belong to no entry."""
    seen = check.seen.pop((BODIES, ACCESS), 0), check.seen.pop((TOLD, ACCESS), 0)
    for name, held, looked_at in zip(
        (BODIES, TOLD), access_log.counts(check.ground.connection), seen, strict=True
    ):
        if held != looked_at:
            yield Finding("access log", -1, f"{name} holds {held} rows; {looked_at} belong there")
