"""What every part of a check stands on: one state of the store, and what is read from it once.

A check goes on behind whatever the database refuses: PostgreSQL takes no further statement in a
transaction in which one has failed, so each attempt ends where it can be gone back to.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from node.agreements.document import direction_terms, is_on_demand
from node.errors import Busy, Damaged
from node.exchange.card import Card
from node.exchange.card import read as read_card
from node.exchange.standing import Standing, load_standings
from node.service.findings import Args, Finding, guarded, unfinished, why
from node.service.parts import Parts
from node.store import access, channels, logs
from node.store.channels import StoredChannel
from node.store.database import Row

Found = TypeVar("Found")
_SAVED = "aeo_check"


@dataclass(slots=True)
class Ground:
    """One state of the store; `found` is what was wrong with what everything else is read by."""

    parts: Parts
    connection: Connection
    cards: dict[str, Card] = field(default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)
    channels: list[StoredChannel] = field(default_factory=list)
    entries: int = 0
    """How many all logs have together."""
    found: list[Finding] = field(default_factory=list)

    def channel(self, log: int) -> StoredChannel:
        """The channel of a log."""
        return next(each for each in self.channels if each.log == log)

    def issuer(self, channel: StoredChannel) -> Card | None:
        """The node that writes a channel, as its agreement names it; None when its card is not to be had."""
        standing = self.standings.get(channel.agreement)
        if standing is not None:
            return self.cards.get(standing.agreement.party(channel.issuer).name)
        return next((card for card in self.cards.values() if card.country == channel.issuer), None)

    def carries(self, channel: StoredChannel) -> bool:
        """Whether records travel on a channel: it is not the way back of a direction, for notices."""
        standing = self.standings.get(channel.agreement)
        return standing is None or (channel.issuer, channel.partner) in standing.directions()

    def is_on_demand(self, channel: StoredChannel) -> bool:
        """Whether the records of a channel that carries them are told only when they are asked for."""
        standing = self.standings.get(channel.agreement)
        if standing is None:
            return False
        return is_on_demand(direction_terms(standing.agreement, channel.issuer, channel.partner, ""))

    def attempt(
        self,
        log: str,
        check: Callable[Args, Iterator[Finding] | None],
        *args: Args.args,
        **named: Args.kwargs,
    ) -> Iterator[Finding]:
        """Make a check of something as a whole; what stops it is a finding, and the next one goes on."""
        try:
            yield from guarded(log, -1, check, *args, **named)
        except SQLAlchemyError as error:
            self.recover()
            yield Finding(log, -1, unfinished(error))

    def recover(self) -> None:
        """Let the database forget a statement that failed; `Busy` when it cannot go on."""
        try:
            self.connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {_SAVED}")
        except SQLAlchemyError as error:
            do = "see that the database runs, and give the command again"
            raise Busy("the check could not go on", where="store", why=why(error), do=do) from error

    def _read(self, log: str, told: str, read: Callable[[], Found], otherwise: Found) -> Found:
        """Read something; without it the check goes on, and says so."""
        try:
            return read()
        except SQLAlchemyError as error:
            self.recover()
            self.found.append(Finding(log, -1, f"{told}{why(error)}"))
        except Exception as error:  # noqa: BLE001 - whatever it is, the own logs are checked without it
            self.found.append(Finding(log, -1, f"{told}{why(error)}"))
        return otherwise

    def _read_cards(self) -> dict[str, Card]:
        """The cards by name of the node, as they stand in the store."""
        found: dict[str, Card] = {}
        rows: list[Row] = self._read("peers", "", partial(access.peers, self.connection), [])
        for row in rows:
            card = self._read(f"peer {row['name']}", "", partial(_card, row), None)
            if card is not None:
                found[card.name] = card
        return {**found, self.parts.card.name: self.parts.card}


def _card(row: Row) -> Card | None:
    card = read_card(row["card"])
    if (card.name, card.country) != (row["name"], row["country"]):
        raise Damaged("a card is pinned for another node", where=row["name"])
    return card


@contextmanager
def bare(parts: Parts) -> Iterator[Ground]:
    """The newest state of the store, from the first look until the context ends; nothing is read yet."""
    with parts.database.read(at_length=True) as connection:
        connection.exec_driver_sql(f"SAVEPOINT {_SAVED}")
        yield Ground(parts, connection)


@contextmanager
def ground(parts: Parts) -> Iterator[Ground]:
    """The newest state of the store, from now until the context ends."""
    with bare(parts) as made:
        connection = made.connection
        made.cards = made._read_cards()  # the first look, which takes the state
        told = "decisions cannot be checked: "
        made.standings = made._read(
            "agreements", told, lambda: load_standings(connection, parts.country, made.cards), {}
        )
        made.channels = made._read("channels", "", lambda: channels.channels(connection), [])
        made.entries = made._read("store", "", lambda: logs.entry_count(connection), 0)
        yield made
