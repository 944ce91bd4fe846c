"""Admitting a peer: pinning its card, and recording that in the ledger."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from node.errors import Conflict, Unproven
from node.exchange import card
from node.exchange.card import Card
from node.service.batch import Batch
from node.store import access


@dataclass(frozen=True, slots=True)
class AdmitPeer:
    """A card to pin, with the fingerprint that people compared."""

    card: str
    fingerprint: str

    weight = 1
    tins: Sequence[str] = ()

    def run(self, batch: Batch) -> Card:
        """Pin it; `Unproven` when the fingerprint is another card's, `Conflict` when it replaces one."""
        peer = card.read(self.card)
        given = "".join(self.fingerprint.split()).upper().encode()
        if not hmac.compare_digest(given, peer.fingerprint.replace(" ", "").encode()):
            raise Unproven(
                "the fingerprint is not this card's",
                where=peer.name,
                why="the card may have been replaced on its way",
                do="compare it with the peer by telephone, as `aeo card` prints it there",
            )
        pinned = batch.parts.peers.by_country(batch.connection)
        if peer.country == batch.parts.country or peer.name == batch.parts.settings.name:
            raise Conflict(
                "this is the node's own card or country", where=peer.name, do="ask the partner for its card"
            )
        if any(each.name == peer.name and each.country != peer.country for each in pinned.values()):
            raise Conflict("a peer of this name is pinned for another country", where=peer.name)
        known = pinned.get(peer.country)
        if known and (known.name, known.keys) != (peer.name, peer.keys):
            raise Conflict(
                "a card with another name or other keys is pinned for this country",
                where=peer.country,
                do="find out why the peer's card changed before anything else",
            )
        if known and known.text == peer.text:
            return peer
        batch.append_body("member", {"v": 1, "card": peer.text})
        access.put_peer(
            batch.connection,
            {"name": peer.name, "country": peer.country, "card": peer.text, "pinned_at": batch.time},
        )
        batch.after_commit.append(batch.parts.peers.forget)
        return peer
