"""What `aeo fsck` reports, and how a check that cannot go on becomes a finding instead of a traceback."""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import ParamSpec

from sqlalchemy.exc import SQLAlchemyError

from node.exchange import incoming
from node.store.database import Row
from node.store.tables import LEDGER

Args = ParamSpec("Args")
Told = Callable[[str, int, int], None]
Seen = Counter[tuple[str, int]]
"""How many rows of (table, log) a check has looked at and found to belong there."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction: in which log, at which entry (-1: the log as a whole), and what it is."""

    log: str
    entry: int
    what: str


def guarded(
    log: str,
    entry: int,
    check: Callable[Args, Iterator[Finding] | None],
    *args: Args.args,
    **named: Args.kwargs,
) -> Iterator[Finding]:
    """Make a check, which may only raise; what stops it is a finding of its log and entry."""
    try:
        yield from check(*args, **named) or ()
    except Exception as error:  # noqa: BLE001 - whatever it is, the other checks go on
        yield Finding(
            log, entry, why(error) if entry >= 0 else f"it cannot be checked to its end: {why(error)}"
        )


def why(error: Exception) -> str:
    """An error as a finding says it."""
    if isinstance(error, SQLAlchemyError):
        return f"the store cannot be read: {getattr(error, 'orig', None) or error}"
    return incoming.why(error)


AHEAD = 256
"""How many rows of the feed are looked at for one that is not in its place."""
WAITING_LIMIT = 10_000

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Telling:
    """What the feed must tell of one entry: record, kind and time, and one of these TINs."""

    log: str
    entry: int
    key: Key
    tins: Collection[str]


@dataclass(slots=True)
class Feed:
    """The change feed of one log, held against what it is to tell; an entry that opened late stands late."""

    rows: Iterator[Row]
    seen: Seen
    log: int
    _ahead: deque[Row] = field(default_factory=deque)
    _waiting: dict[Key, deque[Telling]] = field(default_factory=dict)
    _waiting_count: int = 0
    _last: int = 0

    def tells(self, told: Telling) -> Iterator[Finding]:
        """Find the row about an entry, or wait for it."""
        yield from self._look_ahead()
        for at, row in enumerate(self._ahead):
            if _key(row) == told.key:
                del self._ahead[at]
                yield from self._check(told, row)
                return
        if self._waiting_count >= WAITING_LIMIT:
            yield _untold(told)
            return
        self._waiting_count += 1
        self._waiting.setdefault(told.key, deque()).append(told)

    def rest(self) -> Iterator[Finding]:
        """Read the feed to its end; what still waits then is not told of."""
        yield from self._look_ahead(to_the_end=True)
        for waiting in self._waiting.values():
            yield from map(_untold, waiting)

    def _look_ahead(self, *, to_the_end: bool = False) -> Iterator[Finding]:
        while to_the_end or len(self._ahead) < AHEAD:
            row = next(self.rows, None)
            if row is None:
                return
            if waiting := self._waiting.get(_key(row)):
                self._waiting_count -= 1
                yield from self._check(waiting.popleft(), row)
            elif len(self._ahead) < AHEAD:
                self._ahead.append(row)

    def _check(self, told: Telling, row: Row) -> Iterator[Finding]:
        self.seen["change", self.log] += 1
        is_late = self.log == LEDGER and row["change"] < self._last  # only a partner's entries may open late
        self._last = row["change"]
        if row["tin"] not in told.tins or is_late:
            yield _untold(told)


def _key(row: Row) -> Key:
    return row["record_id"], row["kind"], row["time"]


def _untold(told: Telling) -> Finding:
    return Finding(told.log, told.entry, "the change feed does not tell of it as it should")
