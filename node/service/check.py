"""`aeo fsck`: recomputes everything this node has stored from the entries up, and reports what differs.

Each finding names the log, the entry, what was expected and what was found. The quick check at start
looks at the newest entries only; the whole check reads everything once, streaming. What cannot be read is
a finding too: no check stops another.
"""

from collections.abc import Generator, Iterator
from typing import Any

from sqlalchemy import Connection

from node.agreements import act as acts
from node.agreements import document, state
from node.agreements.act import Act
from node.agreements.document import Agreement
from node.errors import Damaged
from node.exchange.card import Card, ledger_origin
from node.exchange.card import read as read_card
from node.exchange.standing import Standing, load_standings
from node.ledger import canonical
from node.ledger.encoding import b64u
from node.service.check_channels import Incoming, Outgoing
from node.service.check_ledger import Directions, LedgerBodies, Recorded, surplus
from node.service.check_logs import LogCheck, check_head, check_tail
from node.service.findings import Feed, Finding, Seen, Told, guarded, why
from node.service.merging import receipt_tree
from node.service.parts import Parts
from node.store import access, agreements, channels, logs
from node.store.agreements import StoredAct
from node.store.channels import StoredChannel
from node.store.tables import LEDGER

__all__ = ["Finding", "check", "check_start"]


def check(parts: Parts, told: Told = lambda what, done, of: None) -> Iterator[Finding]:
    """Check the ledger, its bodies, every channel and the mirror; `told` hears of progress."""
    yield from guarded("store", -1, _everything, parts, told)


def check_start(parts: Parts) -> Iterator[Finding]:
    """What must hold before the node serves: the ledger is its own, its head signed, its end unbroken."""
    yield from guarded("ledger", -1, _start, parts)


def _start(parts: Parts) -> Iterator[Finding]:
    with parts.database.read() as connection:
        head = logs.head(connection, LEDGER)
        if head is None:
            yield Finding("ledger", -1, "there is no ledger in this store; run `aeo init`")
            return
        yield from check_head(head, ledger_origin(parts.settings.name), parts.card, is_own=True)
        yield from check_tail(connection, head)


def _everything(parts: Parts, told: Told) -> Iterator[Finding]:
    with parts.database.read() as connection:
        of_logs, is_sound = LogCheck(connection, told, Seen()), True
        for finding in _contents(parts, of_logs):
            is_sound = False
            yield finding
        # Behind an entry that cannot be read stands what belongs to it, so only a sound store has a surplus.
        if is_sound:
            yield from guarded("store", -1, surplus, connection, of_logs.seen)


def _contents(parts: Parts, of_logs: LogCheck) -> Iterator[Finding]:
    connection = of_logs.connection
    cards = yield from _cards(parts, connection)
    standings = yield from _standings(parts, connection)
    stored = channels.channels(connection)
    own = Directions([each for each in stored if each.issuer == parts.country], standings)
    feed = Feed(channels.feed_of(connection, LEDGER), of_logs.seen, LEDGER)
    behind = LedgerBodies(parts, connection, of_logs.seen, own, feed, parts.card.credential_key)
    yield from guarded("ledger", -1, of_logs.log, LEDGER, parts.card, behind, is_own=True)
    yield from guarded("change feed", -1, feed.rest)
    for channel in stored:
        yield from guarded(f"channel {channel.log}", -1, _channel, parts, of_logs, channel, cards)
        yield from guarded(f"channel {channel.log}", -1, _state, parts, channel, standings)
    for card in (card for card in cards.values() if card is not parts.card):
        proven = logs.head_of(connection, ledger_origin(card.name))
        if proven is not None:
            yield from guarded(proven.origin, -1, check_head, proven, proven.origin, card, is_own=False)
    yield from guarded("logs", -1, _other_logs, connection, cards)
    yield from guarded("agreements", -1, _agreements, parts, of_logs, cards, behind.recorded)
    yield from guarded("peers", -1, _recorded_cards, parts, cards, behind.recorded)


def _cards(parts: Parts, connection: Connection) -> Generator[Finding, None, dict[str, Card]]:
    """The cards by country, as they stand in the store."""
    found: dict[str, Card] = {}
    try:
        stored = access.peers(connection)
    except Exception as error:  # noqa: BLE001 - whatever it is, the own logs are checked without peers
        yield Finding("peers", -1, why(error))
        stored = []
    for row in stored:
        try:
            card = read_card(row["card"])
            if (card.name, card.country) != (row["name"], row["country"]):
                raise Damaged("a card is pinned for another node", where=row["name"])
            found[card.country] = card
        except Exception as error:  # noqa: BLE001 - whatever it is, the next card is read
            yield Finding(f"peer {row['name']}", -1, why(error))
    return {**found, parts.country: parts.card}


def _standings(parts: Parts, connection: Connection) -> Generator[Finding, None, dict[str, Standing]]:
    """The agreements as the node reads them; none when one of them cannot be read."""
    try:
        return load_standings(connection, parts.country)
    except Exception as error:  # noqa: BLE001 - what it is, is found again where agreements are checked
        yield Finding("agreements", -1, f"decisions cannot be checked: {why(error)}")
        return {}


def _channel(
    parts: Parts, of_logs: LogCheck, channel: StoredChannel, cards: dict[str, Card]
) -> Iterator[Finding]:
    connection, seen = of_logs.connection, of_logs.seen
    if channel.issuer not in cards:
        yield Finding(f"channel {channel.log}", -1, f"its issuer {channel.issuer} is not pinned")
        return
    issuer = cards[channel.issuer]
    behind: Outgoing | Incoming
    if channel.issuer == parts.country:
        behind = Outgoing(parts, connection, seen, channel)
    else:
        feed = Feed(channels.feed_of(connection, channel.log), seen, channel.log)
        behind = Incoming(parts, connection, seen, channel, issuer, feed)
    yield from of_logs.log(channel.log, issuer, behind, is_own=issuer is parts.card)
    yield from behind.rest()


def _state(parts: Parts, channel: StoredChannel, standings: dict[str, Standing]) -> Iterator[Finding]:
    """A channel is open under an agreement that is signed, and in a state that its acts give."""
    standing, where = standings.get(channel.agreement), f"channel {channel.log}"
    pair = (channel.issuer, channel.partner)
    if standing is None or pair not in standing.directions() or not standing.is_signed(parts.today()):
        yield Finding(where, -1, f"it is open, but {channel.agreement} is not proven to be signed by both")
        return
    recorded = [held.act for held in standing.held if held.ledger_seq is not None]
    counted = standing.state(*pair, parts.today())
    # What was told may lag behind the acts for a moment; it never runs ahead of what is proven of them.
    if channel.state != counted and channel.state == state.fold(recorded, *pair, parts.today()):
        what = f"its partner was told {channel.state}, but what is proven of its acts makes {counted}"
        yield Finding(where, -1, what)


def _other_logs(connection: Connection, cards: dict[str, Card]) -> Iterator[Finding]:
    known = {ledger_origin(card.name) for card in cards.values()}
    for _, origin in channels.other_logs(connection):
        if origin not in known:
            yield Finding(origin, -1, "it is the log of no channel and of no pinned peer")


def _agreements(
    parts: Parts, of_logs: LogCheck, cards: dict[str, Card], recorded: Recorded
) -> Iterator[Finding]:
    """Agreements and acts are what their ids say, and signatures, receipts and ledger stand behind them."""
    known: dict[str, Agreement] = {}
    for number, content in agreements.documents(of_logs.connection).items():
        try:
            known[number] = agreement = document.parse(canonical.decode(content))
            if agreement.id != number or agreement.encode() != content:
                raise Damaged("its text is not the one its id names")
        except Exception as error:  # noqa: BLE001 - whatever it is, the next one is read
            yield Finding(f"agreement {number}", -1, why(error))
    held = {stored.act: stored for stored in agreements.acts(of_logs.connection)}
    for each in held.values():
        of_logs.seen["act", LEDGER] += 1
        of_logs.seen["act_signature", LEDGER] += len(each.signatures)
        of_logs.seen["act_receipt", LEDGER] += len(each.receipts)
        yield from guarded(
            f"act {each.act}", -1, _act, parts, each, known.get(each.agreement), cards, recorded
        )
    origin = ledger_origin(parts.settings.name)
    for number, (seq, _) in recorded.acts.items():
        if number not in held:
            yield Finding(origin, seq, f"it records act {number}, which is gone")
    for number, (seq, text) in recorded.documents.items():
        if number not in known or known[number].to_json() != text:
            yield Finding(origin, seq, f"it records agreement {number}, which is gone or another")


def _act(
    parts: Parts, stored: StoredAct, agreement: Agreement | None, cards: dict[str, Card], recorded: Recorded
) -> Iterator[Finding]:
    if agreement is None:
        raise Damaged("the agreement it is under is gone", where=stored.agreement)
    where, act = f"act {stored.act}", acts.parse_act(canonical.decode(stored.content))
    is_named = act.id == stored.act and act.encode() == stored.content
    if not is_named or act.agreement != agreement.digest():
        yield Finding(where, -1, "its content is not the one its id names under its agreement")
    for country, text in stored.signatures.items():
        yield from guarded(where, -1, _signature, act, agreement, country, text)
    for country, text in stored.receipts.items():
        yield from guarded(where, -1, _receipt, parts, act, agreement, cards[country], text)
    seq, instrument = recorded.acts.get(stored.act, (None, None))
    if stored.ledger_seq != seq or (instrument and instrument.act != act):
        at = -1 if stored.ledger_seq is None else stored.ledger_seq
        yield Finding(where, at, f"the ledger entry does not hold the act; entry {seq} does")
    signed = {each.country for each in instrument.signatures} if instrument else set()
    if lacking := sorted(signed - stored.signatures.keys()):
        yield Finding(where, -1, f"the ledger holds signatures that are gone: {', '.join(lacking)}")


def _signature(act: Act, agreement: Agreement, country: str, text: str) -> None:
    signed = {"payload": b64u(act.encode()), "signatures": [canonical.decode(text.encode())]}
    acts.verify(act, acts.parse(signed).signatures[0], agreement.party(country))


def _receipt(parts: Parts, act: Act, agreement: Agreement, peer: Card, text: str) -> None:
    """The receipt holds by itself; which tree was followed when it came is not kept."""
    receipt: Any = canonical.decode(text.encode())
    receipt_tree(receipt, act, agreement, None, peer, parts.today())


def _recorded_cards(parts: Parts, cards: dict[str, Card], recorded: Recorded) -> Iterator[Finding]:
    """The card pinned for each country is the newest one that the ledger records."""
    newest = {read_card(text).country: (seq, text) for text, seq in recorded.cards.items()}
    origin = ledger_origin(parts.settings.name)
    for country, (seq, text) in newest.items():
        if country not in cards or cards[country].text != text:
            yield Finding(origin, seq, f"it records the card of {country}, which is gone or another")
    for country in sorted(cards.keys() - newest.keys() - {parts.country}):
        yield Finding(f"peer {cards[country].name}", -1, "no ledger entry records its card")
