"""`aeo recover`: what a node lost whose store was put back, and what of that its partners hold.

What is lost is told by what this node itself signed: its own record and the checkpoints
that its peers have seen. Of what they give back only that counts which makes exactly the tree that was
signed; disclosures are then checked as a partner checks them. What they hold is what they were told: of a
record the disclosed fields, but neither the others, nor its key, nor who entered it and why, without which
the store cannot hold the entry. So a store is rebuilt (`rebuilding.py`) only where no record is missing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from node.errors import Conflict, Refusal, Unproven
from node.exchange import incoming, page
from node.exchange.card import Card, channel_origin, ledger_origin
from node.exchange.incoming import Disclosed, Reading
from node.exchange.outgoing import held_key
from node.exchange.page import Held, HeldChannel
from node.exchange.peers import PeerClient, asking
from node.ledger import canonical, merkle, moment, tiles
from node.ledger.checkpoint import Checkpoint
from node.ledger.encoding import b64u, unb64, unb64u
from node.ledger.entry import LedgerEntry, commitment
from node.ledger.merkle import leaf_hash
from node.records import model
from node.service import behind, rebuilding
from node.service.bookmark import FILE
from node.service.parts import Parts
from node.service.rebuilding import Told
from node.store import channels, incidents, logs
from node.store.channels import StoredChannel
from node.store.logs import Head
from node.store.tables import LEDGER

PATH: Final = "/v1/peer/held"
DAY_MS: Final = 86_400_000
HOW_TO_GO_ON: Final = """\
Nothing was changed here, and this store cannot be rebuilt from that: {why}.
Look for a newer store (the old disk with its -wal file, a standby, a later backup): with one that holds
everything the node goes on. There is no other way to go on with this ledger: keep the folder as it is, for
what it can still prove, and make a successor: `aeo init --succeeds` (docs/operate/recovery.md)."""
REBUILD: Final = "All of it is held by partners: stop the node, and `aeo recover --rebuild` writes it here."
ANY_FIELD: Final = ("record_id", "recorded_at", *model.FIELDS)
"""What a disclosure may show here: it was ours, and whether the terms allowed it is asked elsewhere."""
TOLD_LIMIT: Final = 20
HASH, NOTHING, ACT = "hash", "nothing", "agreement"


@dataclass(frozen=True, slots=True)
class Claim:
    """A checkpoint of a log of ours that our own key signed, and who showed it."""

    signed: Checkpoint
    by: str


@dataclass(slots=True)
class Lost:
    """One entry that the ledger in the store lacks: what is known of it again, and from whom.

    `known`: the entry's type if its body is, else `hash`, else `nothing`.
    """

    seq: int
    leaf: bytes = b""
    known: str = NOTHING
    entry: str = ""
    salt: str = ""
    body: canonical.Json = None
    record_id: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    by: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As the command tells it; what is empty is left out."""
        told: dict[str, Any] = {"seq": self.seq, "known": self.known, "leaf": b64u(self.leaf)}
        told |= {"time": moment.format(LedgerEntry.decode(self.entry.encode()).time) if self.entry else ""}
        told |= {"tin": self.fields.get("tin", ""), "record_id": self.record_id, "fields": self.fields}
        told |= {"entry": self.entry, "salt": self.salt, "body": self.body, "shown_by": self.by}
        return {name: value for name, value in told.items() if value not in ("", {}, [], None)}


@dataclass(slots=True)
class LostOf:
    """What one log lacks: how many entries it has, was signed with, and how many are had again."""

    origin: str
    held: int
    signed: int
    shown_by: list[str]
    again: int = 0

    def to_json(self) -> dict[str, Any]:
        """As the command tells it."""
        told = {"origin": self.origin, "held": self.held, "signed": self.signed}
        return {**told, "had_again": self.again, "shown_by": self.shown_by}


@dataclass(slots=True)
class Report:
    """What is lost: of each log that lacks something, each missing ledger entry, and what was not told."""

    lost: list[LostOf] = field(default_factory=list)
    entries: list[Lost] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """Logs in the store that are not the beginning of what was signed, in words."""
    unheard: dict[str, list[str]] = field(default_factory=dict)
    """What peers did not answer, or what did not hold of it."""
    told: dict[str, Told] = field(default_factory=dict, repr=False)
    """The missing entries of channels that are known whole, by origin."""
    signed: dict[str, Checkpoint] = field(default_factory=dict, repr=False)
    """The largest checkpoint that was signed of each log that lacks something."""
    is_rebuilt: bool = False

    def tell(self, who: str, why: str) -> None:
        """Note what somebody did not answer, or what did not hold; of many the first are kept."""
        known = self.unheard.setdefault(who, [])
        if len(known) < TOLD_LIMIT:
            known.append(why)

    @property
    def is_whole(self) -> bool:
        """Whether nothing that is known of is missing."""
        return not self.lost and not self.others

    @property
    def against_rebuilding(self) -> list[str]:
        """Every reason why the store cannot be rebuilt from what partners hold."""
        reasons = [f"this store was written on: {each}" for each in self.others]
        reasons += [f"{who} was not heard: {each}" for who, why in self.unheard.items() for each in why]
        if gone := [each.seq for each in self.entries if each.known != ACT]:
            reasons.append(f"partners do not hold all of {len(gone)} ledger entries, such as {gone[0]}")
        of_channels = {each.origin for each in self.lost} - {self.ledger, *self.told}
        return reasons + [f"{origin} is not had again whole" for origin in sorted(of_channels)]

    @property
    def ledger(self) -> str:
        """The origin of the ledger, if that is among the logs that lack something."""
        return next((each.origin for each in self.lost if each.origin.endswith("/ledger")), "")

    def to_json(self) -> dict[str, Any]:
        """As the command tells it."""
        told: dict[str, Any] = {"whole": self.is_whole, "lost": [each.to_json() for each in self.lost]}
        told |= {"entries": [each.to_json() for each in self.entries], "contradictions": self.others}
        return told | {"unheard": self.unheard, "rebuilt": self.is_rebuilt}


def rebuild(parts: Parts, report: Report) -> None:
    """Write what is missing, where partners hold all of it; `Conflict` says why not."""
    if reasons := report.against_rebuilding:
        what = "this store cannot be rebuilt from what partners hold"
        raise Conflict(what, why="; ".join(reasons[:TOLD_LIMIT]), do="see docs/operate/recovery.md")
    missing = [
        page.OpenedEntry.model_validate({"entry": each.entry, "salt": each.salt, "body": each.body})
        for each in report.entries
    ]
    rebuilding.rebuild(parts, report.signed.get(report.ledger), missing, list(report.told.values()))
    report.is_rebuilt = True


def recover(parts: Parts) -> Report:
    """Ask the record and every peer what is lost, and the peers for what they hold of it."""
    report = Report()
    with parts.database.read() as connection:
        cards = list(parts.peers.by_country(connection).values())
    clients = {card.name: parts.client(card) for card in cards}
    try:
        claims = _claims(parts, clients, report)
        with parts.database.read() as connection:
            _weigh(connection, claims, report)
            if report.lost:
                _Search(parts, connection, claims, report).run(clients)
    finally:
        for client in clients.values():
            client.close()
    return report


def _claims(parts: Parts, clients: Mapping[str, PeerClient], report: Report) -> list[Claim]:
    """What this node signed, as its record, its incidents and its peers show it."""
    found = list[Claim]()
    with parts.database.read() as connection:
        rows = incidents.open_of_kind(connection, parts.settings.name, behind.BEHIND)
    shown = [("an incident", row["evidence"].decode()) for row in rows]
    try:
        shown.append((FILE, parts.bookmark.note()))
    except OSError as error:
        report.tell(FILE, error.strerror or str(error))
    for by, note in shown:
        try:
            found += [Claim(behind.opened(parts, note, ever=True), by)] if note else []
        except Refusal as refusal:
            report.tell(by, refusal.sentence())
    for name, client in clients.items():
        try:
            found += [Claim(signed, name) for signed, _ in behind.told_by(parts, client)]
        except Refusal as refusal:
            report.tell(name, refusal.sentence())
    return found


def _weigh(connection: Connection, claims: Sequence[Claim], report: Report) -> None:
    """What each log lacks, the ledger first, and which are others than were signed."""
    for origin in dict.fromkeys(claim.signed.origin for claim in claims):
        of_log = [claim for claim in claims if claim.signed.origin == origin]
        head = logs.head_of(connection, origin)
        held = head.size if head else 0
        reached = [claim for claim in of_log if claim.signed.size <= held]
        report.others += dict.fromkeys(
            what for claim in reached if (what := behind.against(connection, claim.signed))
        )
        newest = max((claim.signed for claim in of_log), key=lambda signed: signed.size)
        signed = newest.size
        if signed > held:
            report.signed[origin] = newest
            by = list(dict.fromkeys(claim.by for claim in of_log if claim.signed.size > held))
            report.lost.append(LostOf(origin, held, signed, by))
    report.lost.sort(key=lambda each: not each.origin.endswith("/ledger"))


class _Search:
    """The search at the peers for what is missing."""

    def __init__(self, parts: Parts, connection: Connection, claims: Sequence[Claim], report: Report) -> None:
        self._parts, self._connection, self._report = parts, connection, report
        self._claims = claims
        self._origin = ledger_origin(parts.settings.name)
        head = logs.head(connection, LEDGER)
        assert head is not None, "the store has a ledger"
        self._head = head
        of_ledger = [each for each in report.lost if each.origin == self._origin]
        signed = of_ledger[0].signed if of_ledger else head.size
        self._entries = {seq: Lost(seq) for seq in range(head.size, signed)}

    def run(self, clients: Mapping[str, PeerClient]) -> None:
        """Ask each peer; what does not hold of one leaves the others'."""
        heard = dict[str, _Heard]()
        for name, client in clients.items():
            if name not in self._report.unheard:
                try:
                    heard[name] = self._asked(client)
                    self._take_leaves(heard[name])
                except incoming.BROKEN as error:
                    self._report.tell(name, incoming.why(error))
        for name, each in heard.items():
            takes: list[Callable[[], None]] = [partial(self._take_acts, name, each)]
            takes += [
                partial(self._take_channel, name, clients[name].peer, channel)
                for channel in each.channels.values()
            ]
            for take in takes:
                try:
                    take()
                except incoming.BROKEN as error:
                    self._report.tell(name, incoming.why(error))
        self._report.entries = list(self._entries.values())
        for lost in self._report.lost:
            if lost.origin == self._origin:
                lost.again = sum(each.known not in (HASH, NOTHING) for each in self._entries.values())

    def _asked(self, client: PeerClient) -> "_Heard":
        """All that a peer holds, page by page."""
        heard = _Heard()
        own: dict[str, int] = {
            channel.agreement: head.size
            for channel in channels.channels(self._connection)
            if (channel.issuer, channel.partner) == (self._parts.country, client.peer.country)
            and (head := logs.head(self._connection, channel.log))
        }
        while True:
            sizes = own | {
                name: own.get(name, 0) + len(each.entries) for name, each in heard.channels.items()
            }
            query: list[tuple[str, object]] = [("ledger", self._head.size + len(heard.leaves))]
            query += [("at", f"{name}:{size}") for name, size in sizes.items()]
            path = asking(PATH, query)
            is_more = heard.add(page.read_held(page.loads(client.get_bytes(path)), client.peer.name))
            self._check_amount(client.peer, heard)
            if not is_more:
                return heard

    def _check_amount(self, peer: Card, heard: "_Heard") -> None:
        """A peer cannot hold more than we signed; whoever gives more would never come to an end."""
        most = {self._origin: len(self._entries)}
        most |= {each.origin: each.signed - each.held for each in self._report.lost}
        told = {self._origin: len(heard.leaves)}
        for name, each in heard.channels.items():
            told[channel_origin(self._parts.settings.name, name, peer.country)] = len(each.entries)
        for origin, count in told.items():
            if count > most.get(origin, 0):
                raise Unproven("a peer gives more entries than were signed", where=origin)

    def _take_leaves(self, heard: "_Heard") -> None:
        """Take the hashes of missing entries that make, with ours, a tree that was signed."""
        sizes = self._head.size, self._head.size + len(heard.leaves)
        signed = [
            claim.signed
            for claim in self._claims
            if claim.signed.origin == self._origin and sizes[0] < claim.signed.size <= sizes[1]
        ]
        if not signed:
            return
        newest = max(signed, key=lambda each: each.size)
        read_tile = logs.tile_reader(self._connection, LEDGER)
        leaves = heard.leaves[: newest.size - self._head.size]
        if tiles.append(read_tile, self._head.size, leaves).root != newest.root:
            what = "the hashes that a peer holds do not make, behind our entries, the tree that was signed"
            raise Unproven(what, where=self._origin)
        for seq, leaf in enumerate(leaves, self._head.size):
            lost = self._entries[seq]
            lost.leaf, lost.known = leaf, HASH if lost.known == NOTHING else lost.known

    def _leaf_at(self, seq: int) -> bytes:
        if seq < self._head.size:
            return logs.leaf_reader(self._connection, self._head)(seq)
        return self._entries[seq].leaf if seq in self._entries else b""

    def _take_acts(self, by: str, heard: "_Heard") -> None:
        """Take entries that stand in the tree by their hash, each with the body that it commits to."""
        for opened in heard.acts:
            entry = LedgerEntry.decode(opened.entry.encode())
            body = canonical.encode(opened.body)
            if commitment(unb64u(opened.salt), body) == entry.commit:
                self._take(by, entry.seq, opened.entry, opened.salt, opened.body)

    def _take(self, by: str, seq: int, entry: str, salt: str, body: canonical.Json) -> Lost | None:
        lost = self._entries.get(seq)
        if lost is None or leaf_hash(entry.encode()) != lost.leaf:
            return None
        lost.entry, lost.salt, lost.body = entry, salt, body
        lost.known = LedgerEntry.decode(entry.encode()).type
        lost.by += [by] if by not in lost.by else []
        return lost

    def _take_channel(self, by: str, peer: Card, heard: HeldChannel) -> None:
        """Take the entries of a channel that make the tree which was signed, and what they disclose."""
        origin = channel_origin(self._parts.settings.name, heard.agreement, peer.country)
        lost = [each for each in self._report.lost if each.origin == origin]
        if not lost or not heard.entries:
            return
        stored = channels.channel(self._connection, heard.agreement, self._parts.country, peer.country)
        head = logs.head(self._connection, stored.log) if stored else None
        head = head or Head(-1, origin, 0, merkle.EMPTY_ROOT, None, incoming.NEVER, "")
        entries = incoming.check_entries(heard.entries, head, 0, self._parts.now_ms() + DAY_MS)
        self._check_signed(head, [leaf_hash(item.entry.encode()) for item in heard.entries])
        keys = self._epoch_keys(stored, heard, origin)
        by_us = Reading(self._parts.card, ANY_FIELD, keys, is_on_demand=None)
        found = incoming.read(entries, heard.entries, by_us, lambda _: {}, self._leaf_at)
        for apart in found.set_apart:
            self._report.tell(by, f"entry {apart.seq} of {origin}: {apart.reason}")
        lost[0].again = len(found.disclosed)
        if not found.set_apart and head.size + len(entries) == lost[0].signed:
            channel = stored or StoredChannel(-1, heard.agreement, self._parts.country, peer.country, "", "")
            signed = self._report.signed[origin]
            told = Told(channel, peer, signed, entries, heard.entries, found.disclosed, keys)
            self._report.told[origin] = told
        for each in found.disclosed:
            if each.fields is not None:
                self._take_disclosure(by, each)

    def _check_signed(self, head: Head, leaves: list[bytes]) -> None:
        """`Unproven` unless the channel with these entries is what was signed of it."""
        sizes = {
            claim.signed.size: claim.signed.root
            for claim in self._claims
            if claim.signed.origin == head.origin
        }
        read_tile = logs.tile_reader(self._connection, head.log)
        grown = tiles.append(read_tile, head.size, leaves)
        if grown.size not in sizes:
            what = "the peer's copy of a channel is not whole yet"
            raise Unproven(what, where=head.origin, do="give the command again in a moment")
        if sizes[grown.size] != grown.root:
            what = "the entries that a peer holds do not make, behind ours, the tree that was signed"
            raise Unproven(what, where=head.origin)

    def _epoch_keys(self, stored: StoredChannel | None, heard: HeldChannel, origin: str) -> dict[int, bytes]:
        held = dict[int, bytes]()
        if stored is not None:
            numbers = [int(number) for number in heard.epochs]
            for number, epoch in channels.epochs(self._connection, stored.log, numbers).items():
                held[number] = held_key(self._parts.keys.store, origin, epoch)
        return incoming.epoch_keys(held, heard.epochs, self._parts.keys.seal, origin)

    def _take_disclosure(self, by: str, each: Disclosed) -> None:
        opening: Any = canonical.decode(each.body)
        about = opening["ledger"]
        lost = self._take(by, each.ledger_seq, about["entry"], about["salt"], about["body"])
        if lost is not None:
            lost.record_id, lost.fields = str(each.record_id), lost.fields | (each.fields or {})


class _Heard:
    """What one peer has told, put together from its answers."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self.acts: Sequence[page.OpenedEntry] = ()
        self.channels: dict[str, HeldChannel] = {}

    def add(self, answer: Held) -> bool:
        """Take in an answer; gives whether it brought anything."""
        leaves = merkle.split(unb64(answer.leaves))
        self.leaves += leaves
        self.acts = self.acts or answer.acts
        for each in answer.channels:
            known = self.channels.get(each.agreement, each.model_copy(update={"epochs": {}, "entries": []}))
            grown = {"epochs": known.epochs | each.epochs, "entries": known.entries + each.entries}
            self.channels[each.agreement] = each.model_copy(update=grown)
        return bool(leaves) or any(each.entries for each in answer.channels)
