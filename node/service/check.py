"""`aeo fsck`: recomputes everything this node has stored from the entries up, and reports what differs.

Each finding names the log, the entry, what was expected and what was found. The quick check at start
looks at the newest entries only; the whole check reads everything once, streaming. What cannot be read is
a finding too: no check stops another.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from node.agreements import act as acts
from node.agreements import document, state
from node.agreements.act import Act
from node.agreements.document import Agreement
from node.errors import Busy, Damaged
from node.exchange.card import Card, check_follows, ledger_origin
from node.exchange.card import read as read_card
from node.exchange.standing import Standing, later_keys
from node.ledger import canonical
from node.ledger.encoding import b64u
from node.ledger.merkle import leaf_hash
from node.service import behind, introduction
from node.service.bookmark import FILE
from node.service.check_access import check_access
from node.service.check_channels import check_whole
from node.service.check_erasures import check_erasures
from node.service.check_logs import LogCheck, Noted, Recorded, check_head, check_tail
from node.service.check_reads import check_reads
from node.service.check_reports import check_reports
from node.service.crew import Alone, Several
from node.service.findings import Feed, Finding, Progress, guarded, unfinished, why
from node.service.ground import Ground, ground
from node.service.merging import receipt_entry
from node.service.parts import Parts
from node.store import access, agreements, channels, logs
from node.store.agreements import StoredAct
from node.store.channels import StoredChannel
from node.store.tables import ACCESS, LEDGER

__all__ = ["Finding", "Several", "check", "check_start", "entry_count"]


def check(
    parts: Parts, progress: Progress = lambda what, done, of: None, several: Several | None = None
) -> Iterator[Finding]:
    """Check the ledger, its bodies, every channel and the mirror; `progress` hears of it.

    What is written after it began is not looked at, also where `several` processes share the work.
    """
    crew = several or Alone()
    recorded = record(parts)
    with ExitStack() as held:
        if several is None:
            on = held.enter_context(ground(parts))
        else:
            with parts.database.still():
                several.begin()
                on = held.enter_context(ground(parts))
        yield from on.attempt("store", _everything, LogCheck(on, crew, progress))
        yield from on.attempt(FILE, recorded, on.connection)
        yield from on.attempt("incidents", behind.check_incidents, parts, on.connection)


def check_start(parts: Parts) -> Iterator[Finding]:
    """What must hold before the node serves: the ledger is its own, its head signed, its end unbroken."""
    try:
        yield from guarded("ledger", -1, _start, parts)
    except SQLAlchemyError as error:
        yield Finding("ledger", -1, unfinished(error))


def _start(parts: Parts) -> Iterator[Finding]:
    recorded = record(parts)
    with parts.database.read() as connection:
        head = logs.head(connection, LEDGER)
        if head is None:
            yield Finding("ledger", -1, "there is no ledger in this store; run `aeo init`")
            return
        yield from check_head(head, ledger_origin(parts.settings.name), parts.card, is_own=True)
        yield from check_tail(connection, head)
        yield from recorded(connection)
        yield from introduction.check_keys(parts, connection)


def record(parts: Parts) -> Callable[[Connection], Iterator[Finding]]:
    """Read the record that is kept apart from the store; gives the check of a later state against it."""
    try:
        note = parts.bookmark.note()
    except OSError as error:
        what = f"it cannot be read: {error.strerror or error}"
        return lambda connection: iter([Finding(FILE, -1, what)])
    return partial(behind.check_record, parts, note)


def entry_count(parts: Parts) -> int:
    """How many entries there are to check; 0 when that cannot be read, which the check itself will tell."""
    try:
        with parts.database.read(at_length=True) as connection:
            return logs.entry_count(connection)
    except (SQLAlchemyError, Busy, Damaged, TypeError):
        return 0


def _everything(check: LogCheck) -> Iterator[Finding]:
    is_sound = True
    for finding in _contents(check):
        is_sound = False
        yield finding
    # Behind an entry that cannot be read stands what belongs to it, so only a sound store has a surplus.
    if is_sound:
        yield from check.ground.attempt("store", surplus, check.ground.connection, check.seen)


def _contents(check: LogCheck) -> Iterator[Finding]:
    on, parts, connection = check.ground, check.ground.parts, check.ground.connection
    yield from on.found
    recorded = yield from _ledger(check)
    for channel in on.channels:
        where = f"channel {channel.log}"
        yield from on.attempt(where, _channel, check, channel)
        yield from on.attempt(where, _state, parts, channel, on.standings)
    for card in (card for card in on.cards.values() if card is not parts.card):
        origin = ledger_origin(card.name)
        yield from on.attempt(origin, check.copy, origin, card)
    yield from on.attempt("access log", check_access, check, recorded)
    yield from on.attempt("logs", _other_logs, connection, on.cards)
    yield from on.attempt("agreements", _agreements, check, recorded)
    yield from on.attempt("erasures", check_erasures, parts, connection, recorded)
    yield from on.attempt("reports", check_reports, parts, connection, recorded)
    yield from on.attempt("reads told", check_reads, parts, connection)
    yield from on.attempt("keys", introduction.check_keys, parts, connection)
    yield from on.attempt("cards", _own_cards, parts, connection, recorded)
    yield from on.attempt("peers", _recorded_cards, parts, on.cards, recorded)


def _ledger(check: LogCheck) -> Generator[Finding, None, Recorded]:
    on, noted, feed = check.ground, Noted(check.seen), Feed(check.seen, LEDGER)
    yield from on.attempt("ledger", check.log, LEDGER, on.parts.card, noted, feed, is_own=True)
    yield from feed.rest()
    return noted.recorded


def _channel(check: LogCheck, channel: StoredChannel) -> Iterator[Finding]:
    on, noted = check.ground, Noted(check.seen)
    issuer = on.issuer(channel)
    if issuer is None:
        yield Finding(f"channel {channel.log}", -1, f"its issuer {channel.issuer} is not pinned")
        return
    is_own = issuer is on.parts.card
    feed = None if is_own else Feed(check.seen, channel.log)
    yield from check.log(channel.log, issuer, noted, feed, is_own=is_own)
    if feed is not None:
        yield from feed.rest()
    yield from check_whole(on, channel, issuer, noted, check.seen)


def _state(parts: Parts, channel: StoredChannel, standings: dict[str, Standing]) -> Iterator[Finding]:
    """A channel is open under an agreement that is signed, and in a state that its acts give."""
    standing, where = standings.get(channel.agreement), f"channel {channel.log}"
    pair = (channel.issuer, channel.partner)
    if standing is None or pair not in standing.ways() or not standing.is_signed(parts.today()):
        yield Finding(where, -1, f"it is open, but {channel.agreement} is not proven to be signed by both")
        return
    if standing.agreement.supersedes or standing.replaced(parts.today()):
        return  # what it was told rests on the acts of two agreements
    recorded = [held.act for held in standing.held if held.ledger_seq is not None]
    counted = standing.state(*pair, parts.today())
    # What was told may lag behind the acts for a moment; it never runs ahead of what is proven of them.
    if channel.state != counted and channel.state == state.fold(recorded, *pair, parts.today()):
        what = f"its partner was told {channel.state}, but what is proven of its acts makes {counted}"
        yield Finding(where, -1, what)


def surplus(connection: Connection, seen: Counter[tuple[str, int]]) -> Iterator[Finding]:
    """Rows that belong to nothing that was checked."""
    stored = channels.row_counts(connection)
    for table, log in sorted(stored.keys() | seen.keys(), key=str):
        held, looked_at = stored.get((table, log), 0), seen[table, log]
        if held != looked_at:
            yield Finding(f"log {log}", -1, f"{table} holds {held} rows of it; {looked_at} belong there")


def _other_logs(connection: Connection, cards: dict[str, Card]) -> Iterator[Finding]:
    known = {ledger_origin(card.name) for card in cards.values()}
    for log, origin in channels.other_logs(connection):
        if log != ACCESS and origin not in known:
            yield Finding(origin, -1, "it is the log of no channel and of no pinned peer")


def _agreements(check: LogCheck, recorded: Recorded) -> Iterator[Finding]:
    """Agreements and acts are what their ids say, and signatures, receipts and ledger stand behind them."""
    parts, connection = check.ground.parts, check.ground.connection
    known: dict[str, Agreement] = {}
    for number, content in agreements.documents(connection).items():
        try:
            known[number] = agreement = document.parse(canonical.decode(content))
            if agreement.id != number or agreement.encode() != content:
                raise Damaged("its text is not the one its id names")
        except Exception as error:  # noqa: BLE001 - whatever it is, the next one is read
            yield Finding(f"agreement {number}", -1, why(error))
    held = {stored.act: stored for stored in agreements.acts(connection)}
    for each in held.values():
        check.seen["act", LEDGER] += 1
        check.seen["act_signature", LEDGER] += len(each.signatures)
        check.seen["act_receipt", LEDGER] += len(each.receipts)
        yield from guarded(
            f"act {each.act}", -1, _act, check.ground, each, known.get(each.agreement), recorded
        )
    origin = ledger_origin(parts.settings.name)
    for number, (seq, _) in recorded.acts.items():
        if number not in held:
            yield Finding(origin, seq, f"it records act {number}, which is gone")
    for number, (seq, text) in recorded.documents.items():
        if number not in known or known[number].to_json() != text:
            yield Finding(origin, seq, f"it records agreement {number}, which is gone or another")


def _act(on: Ground, stored: StoredAct, agreement: Agreement | None, recorded: Recorded) -> Iterator[Finding]:
    if agreement is None:
        raise Damaged("the agreement it is under is gone", where=stored.agreement)
    where, act = f"act {stored.act}", acts.parse_act(canonical.decode(stored.content))
    is_named = act.id == stored.act and act.encode() == stored.content
    if not is_named or act.agreement != agreement.digest():
        yield Finding(where, -1, "its content is not the one its id names under its agreement")
    for country, text in stored.signatures.items():
        yield from guarded(where, -1, _signature, on, act, agreement, country, text)
    for country, text in stored.receipts.items():
        yield from guarded(
            where, -1, _receipt, on, act, agreement, on.cards[agreement.party(country).name], text
        )
    seq, instrument = recorded.acts.get(stored.act, (None, None))
    if stored.ledger_seq != seq or (instrument and instrument.act != act):
        at = -1 if stored.ledger_seq is None else stored.ledger_seq
        yield Finding(where, at, f"the ledger entry does not hold the act; entry {seq} does")
    signed = {each.country for each in instrument.signatures} if instrument else set()
    if lacking := sorted(signed - stored.signatures.keys()):
        yield Finding(where, -1, f"the ledger holds signatures that are gone: {', '.join(lacking)}")


def _signature(on: Ground, act: Act, agreement: Agreement, country: str, text: str) -> None:
    signed = {"payload": b64u(act.encode()), "signatures": [canonical.decode(text.encode())]}
    acts.verify(
        act, acts.parse(signed).signatures[0], agreement.party(country), later_keys(agreement, on.cards)
    )


def _receipt(on: Ground, act: Act, agreement: Agreement, peer: Card, text: str) -> None:
    """The receipt holds by itself, and our copy of the peer's ledger has its entry."""
    receipt: Any = canonical.decode(text.encode())
    entry = receipt_entry(receipt, act, agreement, None, peer, on.parts.today(), on.cards)
    head = logs.head_of(on.connection, ledger_origin(peer.name))
    if head is None or logs.leaf_reader(on.connection, head)(entry.seq) != leaf_hash(entry.encode()):
        raise Damaged("the peer's ledger has another entry at this place", where=f"entry {entry.seq}")


def _own_cards(parts: Parts, connection: Connection, recorded: Recorded) -> Iterator[Finding]:
    """The own cards that are kept are those that the ledger records, each following the one before."""
    origin, kept = ledger_origin(parts.settings.name), access.own_cards(connection)
    for number in sorted(kept.keys() | recorded.own_cards.keys()):
        if kept.get(number) != recorded.own_cards.get(number):
            seq, _ = recorded.own_cards.get(number, (-1, ""))
            yield Finding(origin, seq, f"card {number} is kept as another than the ledger records")
    for before, after in pairwise(read_card(text) for _, (_, text) in sorted(recorded.own_cards.items())):
        check_follows(before, after)


def _recorded_cards(parts: Parts, cards: dict[str, Card], recorded: Recorded) -> Iterator[Finding]:
    """The card pinned of each node is the newest one that the ledger records."""
    newest = {read_card(text).name: (seq, text) for text, seq in recorded.cards.items()}
    origin = ledger_origin(parts.settings.name)
    for name, (seq, text) in newest.items():
        if name not in cards or cards[name].text != text:
            yield Finding(origin, seq, f"it records the card of {name}, which is gone or another")
    for name in sorted(cards.keys() - newest.keys() - {parts.card.name}):
        yield Finding(f"peer {name}", -1, "no ledger entry records its card")
