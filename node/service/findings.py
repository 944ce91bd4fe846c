"""What `aeo fsck` reports, and how a check that cannot go on becomes a finding instead of a traceback."""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from node.errors import Busy
from node.exchange import incoming
from node.store.channels import LOWEST, Fed
from node.store.tables import LEDGER

Args = ParamSpec("Args")
Progress = Callable[[str, int, int], None]
"""Hears which log is looked at, how many entries of all logs are done, and of how many."""
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
    """Make a check, which may only raise; what stops it is a finding of its log and entry.

    Not so what the database refuses, after which it may have to be told to go on: see `Ground.attempt`.
    """
    try:
        yield from check(*args, **named) or ()
    except (SQLAlchemyError, Busy):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the other checks go on
        yield Finding(log, entry, why(error) if entry >= 0 else unfinished(error))


def unfinished(error: Exception) -> str:
    """What stopped the check of something as a whole, as a finding says it."""
    return f"it cannot be checked to its end: {why(error)}"


def why(error: Exception) -> str:
    """An error as a finding says it."""
    if isinstance(error, SQLAlchemyError):
        cause = str(getattr(error, "orig", None) or error)
        return f"the store cannot be read: {cause.partition(chr(10))[0]}"
    return incoming.why(error)


WAITING_LIMIT = 10_000
"""How many rows of the feed, and how many entries without one, are remembered when they do not match."""

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Telling:
    """What the feed must tell of one entry: record, kind and time, and one of these TINs."""

    log: str
    entry: int
    key: Key
    tins: Collection[str]


def tells(rows: Sequence[Fed], tellings: Sequence[Telling]) -> bool:
    """Whether these rows of the feed tell of exactly these entries, in their order."""
    return len(rows) == len(tellings) and all(
        row.key == told.key and row.tin in told.tins for row, told in zip(rows, tellings, strict=True)
    )


@dataclass(slots=True)
class Feed:
    """The change feed of one log where it does not tell of entries in their order.

    An entry that opened late stands late; whatever else is out of place is a finding.
    """

    seen: Seen
    log: int
    _rows: dict[Key, deque[Fed]] = field(default_factory=dict)
    _row_count: int = 0
    _waiting: dict[Key, deque[Telling]] = field(default_factory=dict)
    _waiting_count: int = 0
    _last: int = LOWEST

    def join(self, tellings: Iterable[Telling], rows: Iterable[Fed]) -> Iterator[Finding]:
        """Hold the rows of one range against its entries, and both against what is left of others."""
        for row in rows:
            if row.key in self._waiting:
                self._waiting_count -= 1
                yield from self._check(_first(self._waiting, row.key), row, is_late=True)
            else:
                self._rows.setdefault(row.key, deque()).append(row)
                self._row_count += 1
        for told in tellings:
            if told.key in self._rows:
                self._row_count -= 1
                row = _first(self._rows, told.key)
                yield from self._check(told, row, is_late=row.change < self._last)
                self._last = row.change
            elif self._waiting_count >= WAITING_LIMIT:
                yield untold(told)
            else:
                self._waiting.setdefault(told.key, deque()).append(told)
                self._waiting_count += 1
        while self._row_count > WAITING_LIMIT:
            self._row_count -= len(self._rows.pop(next(iter(self._rows))))

    def rest(self) -> Iterator[Finding]:
        """What still waits is not told of; rows that tell of nothing are a surplus."""
        for waiting in self._waiting.values():
            yield from map(untold, waiting)

    def _check(self, told: Telling, row: Fed, *, is_late: bool) -> Iterator[Finding]:
        self.seen["change", self.log] += 1
        # Only a partner's entries may open late.
        if row.tin not in told.tins or (is_late and self.log == LEDGER):
            yield untold(told)


def untold(told: Telling) -> Finding:
    """An entry of which the feed does not tell."""
    return Finding(told.log, told.entry, "the change feed does not tell of it as it should")


Thing = TypeVar("Thing")


def _first(of: dict[Key, deque[Thing]], key: Key) -> Thing:
    """Take the first thing under a key, and the key with its last one."""
    things = of[key]
    first = things.popleft()
    if not things:
        del of[key]
    return first
