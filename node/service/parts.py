"""The parts of a running node that the use cases are handed; made in one place, `node/assembly.py`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from node.agreements.document import direction_terms
from node.exchange.card import Card, cosigner_name
from node.exchange.outgoing import Line
from node.exchange.peers import OwnCard, PeerClient, Peers
from node.exchange.standing import Standing, Standings
from node.keys import NodeKeys
from node.ledger import canonical, moment
from node.ledger.checkpoint import Checkpoint, sign_checkpoint
from node.ledger.encoding import b64u
from node.ledger.entry import ChannelEntry
from node.ledger.note import Signer, cosign, cosigner, ed25519_signer, ml_dsa_cosigner
from node.ledger.policy import Policy
from node.service.backup_keys import BackupKeys
from node.service.bell import Bell
from node.service.bookmark import Bookmark
from node.service.handing_over import told_state
from node.service.workshop import Workshop
from node.settings import Settings
from node.store import channels, logs
from node.store.database import Database


@dataclass(frozen=True, slots=True)
class Parts:
    """Settings, store, keys, clock and randomness of one node."""

    settings: Settings
    database: Database
    keys: NodeKeys = field(repr=False)
    own: OwnCard
    peers: Peers
    standings: Standings
    bell: Bell
    bookmark: Bookmark
    backup_keys: BackupKeys
    workshop: Workshop
    given_policy: Policy | None
    now_ms: Callable[[], int]
    entropy: Callable[[int], bytes]

    @property
    def card(self) -> Card:
        """The node's own card, as its ledger holds it."""
        return self.own.card

    @property
    def country(self) -> str:
        """The administration's country."""
        return self.settings.country

    def sign(self, checkpoint: Checkpoint) -> str:
        """The note of a checkpoint of one of this node's logs, signed with its log key and ML-DSA-44.

        While a key is being rotated, both sign.
        """
        note = sign_checkpoint(checkpoint, [ed25519_signer(checkpoint.origin, key) for key in self.keys.log])
        return note + self._lasting(checkpoint.text())

    def beat(self, text: str) -> str:
        """This node's cosignature line on a checkpoint text: it stands by it as of now."""
        return self._cosigned(text, [cosigner(self._witness, key) for key in self.keys.cosign])

    def witness(self, text: str) -> str:
        """The cosignature lines of both kinds of this node as a witness of somebody else's checkpoint."""
        return self.beat(text) + self._lasting(text)

    def _lasting(self, text: str) -> str:
        return self._cosigned(text, [ml_dsa_cosigner(self._witness, key) for key in self.keys.cosign_pq])

    def _cosigned(self, text: str, signers: list[Signer]) -> str:
        return "".join(cosign(text, signer, self.now_ms() // 1000) for signer in signers)

    @property
    def _witness(self) -> str:
        return cosigner_name(self.settings.name)

    def cards(self, connection: Connection) -> dict[str, Card]:
        """The cards of all nodes that are or were pinned, and of this one, by name."""
        return self.peers.with_own(connection, self.own)

    def issuer_of(self, connection: Connection, channel: channels.StoredChannel) -> Card:
        """Whose channel it is: a node that is pinned, or was until another succeeded it, or this one."""
        agreement = self.standings.current(connection)[channel.agreement].agreement
        return self.cards(connection)[agreement.party(channel.issuer).name]

    def current(self, connection: Connection) -> dict[str, Card]:
        """The cards of all pinned peers and of this node, by country."""
        return {**self.peers.by_country(connection), self.country: self.card}

    def policy(self, connection: Connection) -> Policy:
        """Who must cosign this node's ledger: as the settings say, else any one of the peers."""
        if self.given_policy is not None:
            return self.given_policy
        return self.peers.policy(connection, self.card)

    def client(self, peer: Card, limit_s: float = float("inf")) -> PeerClient:
        """A client that signs its requests to a peer; each ends within `peer_timeout_s`, or `limit_s`."""
        limit_s = min(limit_s, self.settings.peer_timeout_s)
        return PeerClient(
            peer, self.settings.name, self.keys.known_to_peers, limit_s, lambda: self.now_ms() / 1000
        )

    def today(self) -> str:
        """The date of now, in UTC."""
        return moment.date_of(self.now_ms())

    def lines(self, connection: Connection, today: str) -> list[Line]:
        """Every outgoing direction whose agreement is signed in both ledgers and has its channel."""
        standings, peers = self.standings.current(connection), self.peers.by_country(connection)
        stored = channels.channels(connection)
        return [
            line_of(connection, standings[channel.agreement], channel, stored, today)
            for channel in stored
            if channel.issuer == self.country
            and standings[channel.agreement].is_with(peers.get(channel.partner))
        ]


def line_of(
    connection: Connection,
    standing: Standing,
    channel: channels.StoredChannel,
    stored: Sequence[channels.StoredChannel],
    today: str,
) -> Line:
    """An outgoing direction as it stands on one day, among all channels that are stored."""

    def begun(log: int) -> str:
        first = logs.entries(connection, log, 0, 1)
        return moment.date_of(ChannelEntry.decode(first[0]).time) if first else today

    state = told_state(standing, channel, stored, today, begun)
    terms = direction_terms(standing.agreement, channel.issuer, channel.partner, state)
    return Line(channel, standing.contract, terms, b64u(canonical.digest(terms)), state)
