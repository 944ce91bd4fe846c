"""Keeps outgoing channels in line with their agreements and with the calendar.

When a direction starts, is suspended, resumed or terminated, and when a new day begins (validity and
consent are judged by the day), every record is decided again, in small steps between the batches. What
partners ask to erase is erased first, and what the terms allow to keep no longer when all is in line.
The place in the work stands beside the channel's state and moves in the same transaction, so that whoever
leads next goes on where the last leader stopped, and begins anew where the state or the day moved since.
"""

from sqlalchemy import Connection

from node.exchange import notices, versions
from node.exchange.outgoing import Line
from node.ledger import moment
from node.service import erasing_disclosed
from node.service.batch import Batch
from node.service.parts import Parts
from node.store import access, channels, records
from node.store.agreements import rev

REMEMBER_MS = 7 * 86_400_000
"""How long the answer to an idempotency key is remembered."""


class Keeper:
    """Finds what is out of line and mends it step by step."""

    def __init__(self) -> None:
        self._checked: tuple[int, int, str, bool] | None = None
        self._at: int | None = None
        self._failing: set[int] = set()
        self.is_busy = False

    def is_due(self, parts: Parts) -> bool:
        """Whether an agreement, the channels or the day moved since everything was in line."""
        with parts.database.glance() as connection:
            is_due = self._mark(parts, connection) != self._checked
        self.is_busy = self.is_busy and is_due  # what made it busy may be over without it
        return is_due

    def rest(self) -> None:
        """Pause after a failure; the next look begins anew, for the last step was not stored.

        The channel that failed comes last from now on, so that it holds up no other.
        """
        if self._at is not None:
            self._failing.add(self._at)
        self._checked, self.is_busy = None, False

    def step(self, batch: Batch, limit: int) -> None:
        """Mend one thing: open a channel, announce a state, or decide up to `limit` records again."""
        mark = self._mark(batch.parts, batch.connection)
        self._open_channels(batch)
        if erasing_disclosed.is_asked(batch.connection):
            erasing_disclosed.carry_out_all(batch)
            # All may have been in line before: look again, or this work would never be seen to be over.
            self._checked, self.is_busy = None, True
            return
        for line in sorted(batch.lines(), key=lambda line: line.channel.log in self._failing):
            self._at = line.channel.log
            if line.channel.state != line.state:
                self._announce(batch, line)
                self.is_busy = True
                return
            if line.channel.day != batch.today and not line.carries_records:
                channels.set_line(batch.connection, line.channel.log, line.state, batch.today)
            elif line.channel.day != batch.today:
                self._decide_again(batch, line, limit)
                self.is_busy = True
                return
        self._at = None
        if erasing_disclosed.erase_what_is_over(batch):
            self.is_busy = True
            return
        self._failing.clear()
        access.forget_answers(batch.connection, moment.format(max(0, batch.now_ms - REMEMBER_MS)))
        self._checked, self.is_busy = mark, False

    def _mark(self, parts: Parts, connection: Connection) -> tuple[int, int, str, bool]:
        return (
            rev(connection),
            channels.newest(connection),
            parts.today(),
            erasing_disclosed.is_asked(connection),
        )

    def _open_channels(self, batch: Batch) -> None:
        have = {(line.channel.agreement, line.channel.partner) for line in batch.lines()}
        peers = batch.parts.peers.by_country(batch.connection)
        for number, standing in batch.parts.standings.current(batch.connection).items():
            if standing.is_signed(batch.today):
                for issuer, partner in standing.ways():
                    is_new = issuer == batch.parts.country and (number, partner) not in have
                    if is_new and standing.is_with(peers.get(partner)):
                        batch.open_channel(number, partner)

    def _announce(self, batch: Batch, line: Line) -> None:
        """Tell the partner the new state first; what it means for each record follows."""
        batch.notice(line, notices.notice(notices.STATE, line.state))
        channels.set_line(batch.connection, line.channel.log, line.state, "")

    def _decide_again(self, batch: Batch, line: Line, limit: int) -> None:
        """The next records behind those decided today; a day that ends in between begins the work anew."""
        log = line.channel.log
        found = records.newest_after(batch.connection, line.channel.decided_up_to(batch.today), limit)
        batch.prepare_views([stored.record_id for stored in found])
        known = channels.newest_answers(batch.connection, log, [stored.record_id for stored in found])
        for stored in found:
            batch.show([line], versions.unseal(stored, batch.parts.keys.store), known.get(stored.record_id))
        if len(found) < limit:
            channels.set_line(batch.connection, log, line.state, batch.today)
        else:
            channels.set_place(batch.connection, log, batch.today, found[-1].record_id)
