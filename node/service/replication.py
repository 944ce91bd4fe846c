"""Follows every pinned peer: asks for news, verifies, takes over what is proven, and asks again.

One thread a peer, so a slow or dead one holds up nobody. Nothing is kept in memory that matters: after
a restart the cursors are read from what was stored. What does not hold is kept as an incident, answers
go on from what was proven before, and the peer is asked again after a pause.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from node.errors import Busy, Malformed, Refusal, Unproven
from node.exchange import page
from node.exchange.audit import Progress, audit_bundle
from node.exchange.card import Card, ledger_origin
from node.exchange.page import News
from node.exchange.peers import asking
from node.exchange.serving import Cursors
from node.ledger import moment
from node.service import accusing, behind, copies, erasing_disclosed, failures, reading_again, taking_over
from node.service.admission import RenewPeer
from node.service.erasing_disclosed import CarryOut
from node.service.merging import Merge
from node.service.parts import Parts
from node.service.sequencer import Sequencer
from node.store import agreements, channels, incidents, logs

FIRST_PAUSE_S = 0.1
WAITED_S = 1.0
"""A peer that has nothing new holds a request at least this long, or as long as it was asked to."""

BUNDLES_AT_ONCE = 64
"""Of 256 entries each: what is re-read of a peer's ledger before the next pause."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Took:
    """What one answer brought: whether the peer says there is more, and whether we came any further."""

    more: bool
    moved: bool


class Replication:
    """The followers of all peers."""

    def __init__(self, parts: Parts, sequencer: Sequencer) -> None:
        """`start` begins to follow."""
        self._parts, self._sequencer = parts, sequencer
        self._followers: dict[str, Follower] = {}
        self._lock = threading.Lock()
        self._started = False

    def start(self) -> None:
        """Follow every pinned peer."""
        self._started = True
        self.watch_peers()

    def watch_peers(self) -> None:
        """Begin to follow peers that were pinned since, or whose card has another address now."""
        with self._parts.database.read() as connection:
            cards = self._parts.peers.by_country(connection)
        with self._lock:
            if not self._started:
                return
            for country, card in cards.items():
                known = self._followers.get(country)
                if known is None or known.peer.text != card.text:
                    if known:
                        known.stop()
                    begun = Follower(self._parts, self._sequencer, card)
                    begun.start()  # before it is one of those that must be alive
                    self._followers[country] = begun

    @property
    def is_alive(self) -> bool:
        """Whether every peer is followed."""
        return all(
            each.is_alive for each in list(self._followers.values())
        )  # others add and remove meanwhile

    def stop(self) -> None:
        """Ask every follower to stop; nobody waits for a peer's answer."""
        with self._lock:
            self._started = False
            for follower in self._followers.values():
                follower.stop()
            self._followers.clear()


class Follower:
    """Follows one peer."""

    def __init__(self, parts: Parts, sequencer: Sequencer, peer: Card) -> None:
        self._parts, self._sequencer, self.peer = parts, sequencer, peer
        self._client = parts.client(peer)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._follow, name=f"follow {peer.name}", daemon=True),
            threading.Thread(target=self._audit, name=f"audit {peer.name}", daemon=True),
        ]
        self._rev, self._has_looked_back = 0, False
        self._progress = Progress()
        self._unread_since_ms: int | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the peer is followed."""
        return all(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after what is under way."""
        self._stop.set()

    def _follow(self) -> None:
        pause_s, wait_s = 0.0, 0.0
        while not self._stop.wait(pause_s):
            try:
                self._note_lateness()
                began_s = time.monotonic()
                took = self._once(wait_s)
                is_early = time.monotonic() - began_s < min(wait_s, WAITED_S)
                # An answer that brings nothing is as good as none, unless it was waited for.
                is_idle = not took.moved and (took.more or is_early)
                pause_s = self._longer(pause_s) if is_idle else 0.0
                wait_s = 0.0 if took.more and took.moved else self._parts.settings.wait_limit_s
            except Busy as refusal:
                log.info("peer not reached", peer=self.peer.name, why=refusal.sentence())
                pause_s = self._longer(pause_s)
            except Refusal as refusal:
                log.error("news refused", peer=self.peer.name, why=refusal.sentence())
                pause_s = self._longer(pause_s)
            except Exception as error:  # noqa: BLE001  # a follower must outlive whatever a peer sends
                log.error("news could not be taken over", peer=self.peer.name, why=repr(error))
                pause_s = self._longer(pause_s)

    def _once(self, wait_s: float) -> Took:
        """Ask once and take over the answer."""
        parts, peer = self._parts, self.peer
        with parts.database.read() as connection:
            if accusing.is_stopped(connection, peer):
                return Took(more=False, moved=False)
            at, known = copies.cursors(parts, connection, peer, self._rev), agreements.rev(connection)
        self._look_back()
        answer = self._client.get_bytes(_path(at) + (f"&wait={wait_s:g}" if wait_s else ""), wait_s)
        news, taken = take_over(parts, peer, answer, self._client.get_bytes, self._renew)
        if taken.is_ledger_whole:  # else receipts may rest on entries that our copy does not reach
            self._merge(news)
        parts.bell.ring()
        self._have_erased()
        is_new = news.agreements is not None
        return Took(taken.more or is_new, taken.has_grown or (is_new and known != self._known()))

    def _have_erased(self) -> None:
        """Have what the peer asks to erase erased at once."""
        with self._parts.database.glance() as connection:
            is_asked = erasing_disclosed.is_asked(connection)
        if is_asked:
            self._sequencer.submit(CarryOut())

    def _renew(self, peer: Card) -> None:
        """Pin a later card of the peer, and go by it from now on."""
        self._sequencer.submit(RenewPeer(peer)).result(self._parts.settings.request_timeout_s)
        client, self._client = self._client, self._parts.client(peer)
        self.peer = peer
        client.close()
        log.info("a peer has a new card", peer=peer.name, number=peer.number)

    def _look_back(self) -> None:
        """Before its first news, hear what the peer has seen of us; it may have been away at our start."""
        if self._has_looked_back:
            return
        try:
            behind.ask(self._parts, self._client)
            self._has_looked_back = True
        except Refusal as refusal:  # its news are not worth less for it, and it is asked again
            log.info("a peer does not say what it has seen", peer=self.peer.name, why=refusal.sentence())

    def _known(self) -> int:
        """The revision of the agreements that we hold."""
        with self._parts.database.read() as connection:
            return agreements.rev(connection)

    def _merge(self, news: News) -> None:
        if news.agreements is None:
            return
        with self._parts.database.read() as connection:
            if behind.told(self._parts, connection):
                return
        refused = self._sequencer.submit(Merge(self.peer, tuple(news.agreements))).result(
            self._parts.settings.request_timeout_s
        )
        if refused:
            log.warning("a part of the peer's agreements was refused", peer=self.peer.name, why=refused)
        self._rev = news.rev

    def _longer(self, pause_s: float) -> float:
        return min(max(2 * pause_s, FIRST_PAUSE_S), self._parts.settings.retry_s)

    def _note_lateness(self) -> None:
        """Flag a channel whose newest proof is older than the agreement allows."""
        parts, now_ms = self._parts, self._parts.now_ms()
        with parts.database.read() as connection:
            late = [
                (channel.log, head.time)
                for number, standing in copies.expected(parts, connection, self.peer)
                if (channel := channels.channel(connection, number, self.peer.country, parts.country))
                and (head := logs.head(connection, channel.log))
                and now_ms - moment.parse(head.time) > 1000 * int(standing.agreement.terms["max_staleness_s"])
            ]
        for number, since in late:
            with parts.database.write() as connection:
                detail = f"nothing proven since {since}"
                incidents.note(
                    connection,
                    incidents.row(self.peer.name, number, -1, "late", detail, b"", moment.format(now_ms)),
                )

    def _audit(self) -> None:
        """Re-read the peer's ledger, over and over, a part at a time: old entries must still be those signed.

        What that takes does not grow with the ledger; how long until it comes round again does.
        """
        while not self._stop.wait(self._parts.settings.audit_every_s):
            for step in (self._audit_round, self._ask_again):
                try:
                    step()
                except Exception as error:  # noqa: BLE001  # an auditor must outlive whatever a peer sends
                    log.error("audit failed", peer=self.peer.name, why=repr(error))

    def _audit_round(self) -> None:
        """Re-read the ledger; flag it when that has not been possible for longer than is allowed."""
        try:
            self._reread()
            self._unread_since_ms = None
        except Exception as error:
            self._unread_since_ms = self._unread_since_ms or self._parts.now_ms()
            failures.unaudited(self._parts, self.peer, self._unread_since_ms, error)
            self._parts.bell.ring()
            raise

    def _ask_again(self) -> None:
        """Ask once more for entries that did not open: a fault of transport or storage may be repaired."""
        parts = self._parts
        with parts.database.read() as connection:
            at = copies.cursors(parts, connection, self.peer, self._rev)
            first = {
                number: rows[0]["seq"]
                for number, rows in reading_again.unopened(parts, connection, self.peer).items()
            }
        if first:
            answer = self._client.get_bytes(_path(replace(at, channels=first)))
            reading_again.take_again(parts, self.peer, page.read(page.loads(answer), self.peer.name))
            parts.bell.ring()

    def _reread(self) -> None:
        """Go on with it for some bundles; the next time from there, also after a peer that was away."""
        parts, peer = self._parts, self.peer
        with parts.database.read() as connection:
            head = logs.head_of(connection, ledger_origin(peer.name))
        for _ in range(BUNDLES_AT_ONCE):
            if head is None or self._stop.is_set():
                return
            try:
                self._progress = audit_bundle(self._client.get_bytes, self._progress, head, peer.country)
            except (Malformed, Unproven) as refusal:
                self._progress = Progress()
                failures.altered(parts, peer, refusal)
                parts.bell.ring()
                return
            if self._progress.done:
                self._progress = Progress()
                failures.unaltered(parts, peer)
                parts.bell.ring()
                return


def take_over(
    parts: Parts, peer: Card, answer: bytes, fetch: Callable[[str], bytes], renew: taking_over.Renew
) -> tuple[News, taking_over.Taken]:
    """Take over what a peer answered; what does not hold is kept, pursued by what it serves, and raised."""
    news = None
    try:
        news = page.read(page.loads(answer), peer.name)
        return news, taking_over.take(parts, peer, news, renew)
    except (Malformed, Unproven) as refusal:
        failures.failed(parts, peer, refusal, news)
        if news is not None:
            accusing.pursue(parts, peer, news.ledger.checkpoint, fetch)
        parts.bell.ring()
        raise


def _path(at: Cursors) -> str:
    """The request for what is behind these cursors."""
    query = [("card", at.card), ("rev", at.rev), ("ledger", at.ledger)]
    channels_at = [("at", f"{number}:{size}") for number, size in at.channels.items()]
    return asking("/v1/peer/news", [*query, *channels_at])
