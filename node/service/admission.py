"""What happens to a peer's card: pinned, renewed, frozen, or succeeded by another node's.

Whatever is pinned is recorded in the own ledger.
"""

import hmac
from dataclasses import dataclass

from node.errors import Conflict, NotFound, Unproven
from node.exchange import card, sealing
from node.exchange.card import Card, check_follows, ledger_origin
from node.exchange.outgoing import held_key, new_epoch
from node.exchange.peers import Peers
from node.ledger.encoding import b64u
from node.ledger.entry import ChannelEntry
from node.service.accusing import check_believed, copied_root, freeze, is_frozen
from node.service.batch import Batch, SmallWork
from node.store import access, channels, logs
from node.store.database import Row


@dataclass(frozen=True, slots=True)
class AdmitPeer(SmallWork):
    """A card to pin, with the fingerprint that people compared."""

    card: str
    fingerprint: str

    def run(self, batch: Batch) -> Card:
        """Pin it; `Unproven` when the fingerprint is another card's, `Conflict` when it replaces one.

        Of a node that is not believed no later card is pinned: whoever has its keys can write one.
        """
        peer = card.read(self.card)
        given = "".join(self.fingerprint.split()).upper().encode()
        if not hmac.compare_digest(given, peer.fingerprint.replace(" ", "").encode()):
            raise Unproven(
                "the fingerprint is not this card's",
                where=peer.name,
                why="the card may have been replaced on its way",
                do="compare it with the peer by telephone, as the command aeo card prints it there",
            )
        peers = Peers()  # with what this batch pinned before
        pinned = peers.by_country(batch.connection)
        if peer.country == batch.parts.country or peer.name == batch.parts.settings.name:
            raise Conflict(
                "this is the node's own card or country", where=peer.name, do="ask the partner for its card"
            )
        known, namesake = pinned.get(peer.country), peers.by_name(batch.connection).get(peer.name)
        if namesake is not None and namesake != known:
            why = "it is pinned for another country, or was succeeded by another node"
            raise Conflict("a peer of this name is known already", where=peer.name, why=why)
        if known and known.text == peer.text:
            return peer
        if known and known.name != peer.name:
            succeed(batch, peer, known)
            known = None
        if known is not None:
            check_believed(batch.connection, known)
        pin(batch, peer, known)
        return peer


@dataclass(frozen=True, slots=True)
class RenewPeer(SmallWork):
    """A later card of a pinned peer, which came with news and was proven to stand in the peer's ledger."""

    peer: Card

    def run(self, batch: Batch) -> Card:
        """Pin it in place of the earlier one; `Unproven` when it does not follow that."""
        known = Peers().by_country(batch.connection).get(self.peer.country)
        if known is None:
            raise Unproven("a card came of a peer that is not pinned", where=self.peer.name)
        check_believed(batch.connection, known)
        if known.text != self.peer.text:
            pin(batch, self.peer, known)
        return self.peer


@dataclass(frozen=True, slots=True)
class Freeze(SmallWork):
    """People were told that a peer's keys are in other hands: it is frozen at what is proven of it."""

    country: str
    reason: str

    def run(self, batch: Batch) -> tuple[Card, str]:
        """Believe nothing new of it and tell it nothing: its card, and what is proven of its ledger here.

        That is a checkpoint, as a note; empty if there is none. `NotFound` for a country without a peer.
        """
        peer = batch.parts.peers.by_country(batch.connection).get(self.country)
        if peer is None:
            raise NotFound("no peer is pinned for this country", where=self.country, do="see `aeo peer list`")
        if not is_frozen(batch.connection, peer):
            freeze(batch.connection, peer, self.reason, batch.time)
        head = logs.head_of(batch.connection, ledger_origin(peer.name))
        return peer, head.checkpoint if head else ""


def succeed(batch: Batch, peer: Card, known: Card) -> None:
    """A node takes the place of the one that is pinned, of which nothing new counts from now on.

    `Conflict` when its card does not say so, `Unproven` when it succeeds another history than we hold.
    """
    connection, after = batch.connection, peer.succeeds
    if after is None or after.name != known.name:
        raise Conflict(
            "a card with another name is pinned for this country",
            where=peer.country,
            why=f"{known.name}, which this card does not say it succeeds",
            do="find out why the peer's card changed before anything else",
        )
    root = copied_root(connection, ledger_origin(known.name), after.size)
    if root is not None and b64u(root) != after.root:
        why = f"the first {after.size} entries of {known.name} are others than those proven here"
        raise Unproven(
            "a node succeeds another history", where=peer.name, why=why, do="keep both, and ask it why"
        )
    if not is_frozen(connection, known):
        freeze(connection, known, f"it was succeeded by {peer.name}", batch.time)
    access.succeed_peer(connection, known.name, peer.name)


def pin(batch: Batch, peer: Card, known: Card | None) -> None:
    """Pin a card and record that in the ledger; `Unproven` when it does not follow the one that is pinned.

    Who has another key to seal to gets the epoch keys of its channels again under that, and new ones for what
    comes: whoever stole the older one learns nothing of it.
    """
    if known is not None:
        check_follows(known, peer)
    batch.append_body("member", {"v": 1, "card": peer.text})
    row: Row = {"name": peer.name, "country": peer.country, "card": peer.text, "pinned_at": batch.time}
    row |= {"holds": access.held_by(batch.connection, peer.name)}
    access.put_peer(batch.connection, row)
    batch.after_commit.append(batch.parts.peers.forget)
    if known is not None and known.of("seal")[0] != peer.of("seal")[0]:
        _deliver_again(batch, peer)


def _deliver_again(batch: Batch, peer: Card) -> None:
    parts, connection = batch.parts, batch.connection
    for channel in channels.channels(connection):
        head = logs.head(connection, channel.log)
        if (channel.issuer, channel.partner) != (parts.country, peer.country) or head is None:
            continue
        newest = channels.newest_epoch(connection, channel.log)
        number = newest.epoch if newest else 0
        for epoch in channels.epochs(connection, channel.log, range(1, number + 1)).values():
            key = held_key(parts.keys.store, head.origin, epoch)
            envelope = sealing.deliver(key, peer.seal_key, head.origin, epoch.epoch)
            channels.set_envelope(connection, channel.log, epoch.epoch, envelope)
        last = logs.entries(connection, channel.log, head.size - 1, head.size)
        if last and ChannelEntry.decode(last[0]).epoch == number:
            _, new = new_epoch(
                channel.log, head.origin, number + 1, parts.keys.store, peer.seal_key, parts.entropy
            )
            channels.add_epoch(connection, new)
