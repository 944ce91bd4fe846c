"""One log of the store, from its entries up: form, chain, tiles, root, head and signature.

Reads each entry once, a bundle at a time, in ranges that can be checked in any process and in any order;
what stands behind the entries is checked by whoever is handed the decoded bundle. What takes the whole
log (the tree, the head) is put together from what the ranges leave.
"""

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from node.agreements import act as acts
from node.agreements.act import Instrument
from node.errors import Damaged
from node.exchange.card import Card
from node.exchange.card import read as read_card
from node.exchange.incoming import prove
from node.ledger import canonical, merkle, moment, tiles
from node.ledger.checkpoint import Checkpoint, open_checkpoint
from node.ledger.entry import AccessEntry, ChannelEntry, Entry, LedgerEntry, check_chain
from node.ledger.merkle import leaf_hash
from node.service.findings import Feed, Finding, Progress, Seen, Telling, guarded, tells, unfinished, why
from node.service.ground import Ground
from node.store import channels, logs
from node.store.channels import HIGHEST, LOWEST
from node.store.logs import Head
from node.store.tables import ACCESS, LEDGER

BUNDLE = tiles.TILE_WIDTH
RANGE = 8 * BUNDLE
"""Entries checked in one go: what is found in them is held until all of them are done."""
Entries = Sequence[Entry | None]


@dataclass(frozen=True, slots=True)
class Range:
    """Some entries of one log, bundle by bundle; `fed`: which rows of the feed should tell of them."""

    head: Head
    start: int
    stop: int
    fed: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the ledger itself holds of acts and peers: the newest entry about each."""

    acts: dict[str, tuple[int, Instrument]] = field(default_factory=dict)
    documents: dict[str, tuple[int, canonical.Json]] = field(default_factory=dict)
    cards: dict[str, int] = field(default_factory=dict)
    own_cards: dict[int, tuple[int, str]] = field(default_factory=dict)
    erasures: dict[int, dict[str, list[int]]] = field(default_factory=dict)
    """The entries that each erasure took, by origin."""
    access: dict[int, tuple[int, str]] = field(default_factory=dict)
    """(size, root) of the access log, as each entry commits to it."""
    decisions: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The own decisions about operators of partners, by ledger entry."""

    def note(self, entry: LedgerEntry, body: dict[str, canonical.Json]) -> None:
        """Remember what an entry is about."""
        if entry.type == "key":
            text = str(body["card"])
            self.own_cards[read_card(text).number] = (entry.seq, text)
        if entry.type == "erasure":
            body_entries: Any = body["entries"]
            self.erasures[entry.seq] = body_entries
        if entry.type == "access":
            told: Any = body["access"]
            self.access[entry.seq] = int(told["size"]), str(told["root"])
        if entry.type == "member":
            self.cards[str(body["card"])] = entry.seq
        if entry.type == "agreement" and "local" in body:
            local: Any = body["local"]
            self.decisions[entry.seq] = local
        elif entry.type == "agreement":
            instrument = acts.parse(body["instrument"])
            self.acts[instrument.act.id] = (entry.seq, instrument)
            if "document" in body:
                self.documents[str(body["agreement"])] = (entry.seq, body["document"])

    def update(self, later: "Recorded") -> None:
        """Take over what later entries hold."""
        self.acts.update(later.acts)
        self.documents.update(later.documents)
        self.cards.update(later.cards)
        self.own_cards.update(later.own_cards)
        self.erasures.update(later.erasures)
        self.access.update(later.access)
        self.decisions.update(later.decisions)


@dataclass(slots=True)
class Noted:
    """What entries leave that only their whole log can answer for."""

    seen: Seen = field(default_factory=Counter)
    tellings: list[Telling] = field(default_factory=list)
    recorded: Recorded = field(default_factory=Recorded)
    epochs: set[int] = field(default_factory=set)
    state: str = ""
    unaccounted: int = 0

    def update(self, later: "Noted") -> None:
        """Take over what the next range left, but for what the feed is to tell of it."""
        self.seen.update(later.seen)
        self.recorded.update(later.recorded)
        self.epochs |= later.epochs
        self.state = later.state or self.state
        self.unaccounted += later.unaccounted


class Behind(Protocol):
    """Checks what stands behind the entries of one range."""

    noted: Noted

    def __call__(self, head: Head, start: int, entries: Entries) -> Iterator[Finding]:
        """One bundle, from an entry on; None in place of an entry that is out of form."""


@dataclass(slots=True)
class Checked:
    """A range that was checked: for the tree, its complete tiles' roots, the leaves behind them, its end."""

    noted: Noted
    findings: list[Finding] = field(default_factory=list)
    tops: list[bytes] = field(default_factory=list)
    edge: list[bytes] = field(default_factory=list)
    last: bytes | None = None
    is_cut: bool = False
    is_told: bool = False
    """Whether the feed tells of it exactly."""


def check_range(ground: Ground, range_: Range, behind: Behind) -> Checked:
    """Check a range of entries, and what stands behind them."""
    done = Checked(behind.noted)
    try:
        done.findings.extend(_entries(ground, range_, behind, done))
        if range_.fed is not None:
            _feed(ground, range_, done)
    except SQLAlchemyError as error:
        ground.recover()
        what = f"the entries {range_.start} to {range_.stop - 1}: {unfinished(error)}"
        done.findings.append(Finding(range_.head.origin, -1, what))
    return done


def _entries(ground: Ground, range_: Range, behind: Behind | None, done: Checked) -> Iterator[Finding]:
    head, connection, seen = range_.head, ground.connection, done.noted.seen
    before = logs.entries(connection, head.log, range_.start - 1, range_.start)
    done.last = leaf_hash(before[0]) if before else None
    for start in range(range_.start, range_.stop, BUNDLE):
        stop = min(start + BUNDLE, range_.stop)
        encoded = logs.entries(connection, head.log, start, stop)
        seen["log_entry", head.log] += len(encoded)
        if missing := stop - start - len(encoded):
            done.is_cut = True
            yield Finding(head.origin, start, f"{missing} entries are missing behind it")
            return
        leaves = [leaf_hash(entry) for entry in encoded]
        seen["log_tile", head.log] += 1
        yield from guarded(head.origin, -1, _tile, connection, head, start // BUNDLE, leaves)
        entries = yield from decoded(head, start, encoded, leaves, done.last)
        if behind is not None:
            try:
                yield from guarded(head.origin, -1, behind, head, start, entries)
            except SQLAlchemyError as error:
                ground.recover()
                behind = None  # one finding for a range is enough; its entries are looked at all the same
                what = f"what is behind the entries {start} to {range_.stop - 1}: {unfinished(error)}"
                yield Finding(head.origin, -1, what)
        if len(leaves) == BUNDLE:
            done.tops.append(merkle.root(leaves))
        else:
            done.edge = leaves
        done.last = leaves[-1]


def _tile(connection: Connection, head: Head, index: int, leaves: list[bytes]) -> Iterator[Finding]:
    stored = logs.tile(connection, head.log, 0, index) or b""
    if stored == b"".join(leaves):
        return
    if len(stored) > 32 * len(leaves):
        what = f"the tile of entries {index * BUNDLE} and on holds more than there is"
        yield Finding(head.origin, -1, what)
    for at, leaf in enumerate(leaves):
        if stored[32 * at : 32 * at + 32] != leaf:
            what = "the entry is not the one that was hashed into the tree"
            yield Finding(head.origin, index * BUNDLE + at, what)


def _feed(ground: Ground, range_: Range, done: Checked) -> None:
    """Whether the rows that should tell of a range do; else it is left to whoever sees the whole feed."""
    assert range_.fed is not None, "it was looked at"
    rows = channels.feed_of(ground.connection, range_.head.log, *range_.fed)
    done.is_told = tells(rows, done.noted.tellings)
    if done.is_told:
        done.noted.seen["change", range_.head.log] += len(rows)
        done.noted.tellings = []


class Crew(Protocol):
    """Whoever checks ranges."""

    def over(self, ground: Ground, ranges: Iterator[Range]) -> Generator[tuple[Range, Checked], None, None]:
        """Check them; given in their order, each as soon as it is done."""


@dataclass(slots=True)
class LogCheck:
    """The check of one log after the other: who makes it, who hears of it, and what it has seen."""

    ground: Ground
    crew: Crew
    progress: Progress
    seen: Seen = field(default_factory=Counter)
    done: int = 0

    def log(
        self, log: int, signer: Card, noted: Noted, feed: Feed | None, *, is_own: bool
    ) -> Iterator[Finding]:
        """Everything about one log; stops where entries are missing. `noted` is what its ranges leave."""
        head = logs.head(self.ground.connection, log)
        if head is None:
            yield Finding(f"log {log}", -1, "it has no head")
            return
        tops, last = list[bytes](), Checked(noted)
        with closing(self.crew.over(self.ground, self._ranges(head, is_fed=feed is not None))) as checked:
            for range_, last in checked:
                yield from last.findings
                noted.update(last.noted)
                if feed is not None and not last.is_told:
                    yield from self.ground.attempt("change feed", self._told, range_, last, feed)
                tops += last.tops
                self.done += range_.stop - range_.start
                self.progress(head.origin, self.done, self.ground.entries)
                if last.is_cut:
                    return
        if last.last != head.last_leaf:
            yield Finding(head.origin, head.size - 1, "the last entry is not the one the head names")
        yield from self._tree(head, tops, last.edge)
        yield from check_head(head, head.origin, signer, is_own=is_own)

    def copy(self, origin: str, signer: Card) -> Iterator[Finding]:
        """Our copy of a peer's ledger, of which the hashes are kept: the tiles, the tree, the head."""
        head = logs.head_of(self.ground.connection, origin)
        if head is None:
            return
        tops, edge = list[bytes](), list[bytes]()
        for index in range(-(-head.size // BUNDLE)):
            hashes = logs.tile(self.ground.connection, head.log, 0, index) or b""
            self.seen["log_tile", head.log] += 1
            if len(hashes) != 32 * min(BUNDLE, head.size - index * BUNDLE):
                yield Finding(origin, -1, f"the tile of entries {index * BUNDLE} and on is not whole")
                return
            edge = merkle.split(hashes)
            tops += [merkle.root(edge)] if len(edge) == BUNDLE else []
        if head.last_leaf != (edge[-1] if edge else None):
            yield Finding(origin, head.size - 1, "the last entry is not the one the head names")
        yield from self._tree(head, tops, [] if len(edge) == BUNDLE else edge)
        yield from check_head(head, origin, signer, is_own=False)

    def _ranges(self, head: Head, *, is_fed: bool) -> Iterator[Range]:
        """The ranges of a log, each with the rows of the feed that tell of it if all are in their place."""
        after = LOWEST
        for start in range(0, head.size, RANGE):
            stop = min(start + RANGE, head.size)
            if not is_fed:
                yield Range(head, start, stop)
                continue
            mark = HIGHEST
            if stop < head.size:
                try:
                    mark = channels.feed_mark(self.ground.connection, head.log, after, start, stop)
                except SQLAlchemyError:
                    self.ground.recover()  # whoever reads the rows says why they cannot be read
            yield Range(head, start, stop, (after, mark))
            after = mark

    def _told(self, range_: Range, done: Checked, feed: Feed) -> Iterator[Finding]:
        assert range_.fed is not None, "its log has a feed"
        rows = channels.feed_of(self.ground.connection, range_.head.log, *range_.fed)
        yield from feed.join(done.noted.tellings, rows)

    def _tree(self, head: Head, tops: list[bytes], edge: list[bytes]) -> Iterator[Finding]:
        """The root, and every tile above the entries, byte for byte as the entries make it."""
        grown = tiles.append(lambda *at: b"", 0, tops)
        made = {(level + 1, index): hashes for (level, index), hashes in grown.tiles.items()}
        made_with_edge = made | {(0, len(tops)): b"".join(edge)}
        if tiles.tree_root(lambda *at: made_with_edge[at], head.size) != head.root:
            yield Finding(head.origin, -1, "the entries do not make the root of the head")
        self.seen["log_tile", head.log] += len(made)
        for (level, index), hashes in made.items():
            if logs.tile(self.ground.connection, head.log, level, index) != hashes:
                yield Finding(head.origin, -1, f"tile {index} of level {level} is not what the entries make")


def decoded(
    head: Head, start: int, encoded: list[bytes], leaves: list[bytes], last: bytes | None
) -> Generator[Finding, None, Entries]:
    """Decode entries and check their chain; gives them, with None for each that is out of form."""
    kind: type[Entry] = ChannelEntry
    if head.log in (LEDGER, ACCESS):
        kind = LedgerEntry if head.log == LEDGER else AccessEntry
    entries: list[Entry | None] = []
    for at, each in enumerate(encoded):
        entry = None
        try:
            entry = kind.decode(each)
            check_chain(leaves[at - 1] if at else last, start + at, entry)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next entry is looked at too
            yield Finding(head.origin, start + at, why(error))
        entries.append(entry)
    return entries


def check_head(head: Head, origin: str, signer: Card, *, is_own: bool) -> Iterator[Finding]:
    """The signature on a head; a copy may end before the checkpoint that its entries were proven against."""
    try:
        signed = _signed(head, origin, signer, is_own=is_own)
    except Exception as error:  # noqa: BLE001 - a head that cannot be read is a finding
        yield Finding(head.origin, -1, why(error))
        return
    is_whole = signed.size == head.size and signed.root == head.root
    if not is_whole and (is_own or signed.size <= head.size):
        yield Finding(head.origin, -1, "the signed checkpoint is not that of the head")


def _signed(head: Head, origin: str, signer: Card, *, is_own: bool) -> Checkpoint:
    """The checkpoint that was signed; a copied one also carries the time up to which it is proven."""
    if is_own:
        return open_checkpoint(head.checkpoint, origin, signer.verifiers(origin, ever=True))
    proven = prove(head.checkpoint, signer, origin, float("inf"), ever=True)
    if moment.format(proven.time_s * 1000) < head.time:
        raise Damaged("the head claims to be proven later than its checkpoint says", where=origin)
    return proven.checkpoint


def check_tail(connection: Connection, head: Head) -> Iterator[Finding]:
    """The newest entries hang together and end as the head says."""
    start = max(0, head.size - BUNDLE)
    encoded = logs.entries(connection, head.log, start, head.size)
    if len(encoded) != head.size - start:
        yield Finding(head.origin, start, "entries are missing behind it")
        return
    before = logs.entries(connection, head.log, start - 1, start)
    leaves = [leaf_hash(entry) for entry in encoded]
    yield from decoded(head, start, encoded, leaves, leaf_hash(before[0]) if before else None)
    if leaves and leaves[-1] != head.last_leaf:
        yield Finding(head.origin, head.size - 1, "the last entry is not the one the head names")
