"""Several nodes, their witnesses and perhaps a liar, in one process: clock, network and disk out of one seed.

The nodes are whole: real stores, keys, ledgers and channels, driven at the level of their use cases.
Between them is a network that loses requests, loses answers after they took effect, delivers answers late
or again; under them a disk that fails before or after a commit; and a clock that a schedule moves on.
Whatever happens next is drawn from the seed, so that a schedule which breaks a promise is run again by its
number.

The liar is Brazil's own store as it was at some moment, with all its keys, that went on otherwise since:
what an intruder, a restored backup or a dishonest administration can do. What must hold is checked after
each step and, once everything is healed and at rest, as a whole.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import orjson

from node.errors import Busy, NotFound, Refusal
from node.exchange.card import ledger_origin
from node.ledger import tiles
from node.ledger.accusation import Accusation
from node.ledger.entry import LedgerEntry
from node.ledger.merkle import leaf_hash
from node.ledger.proof import TlogProof
from node.ledger.tiles import Tree
from node.ledger.witness import request
from node.service import accusing, copies, replication, witnessing
from node.service.accusing import FORKED
from node.service.admission import RenewPeer
from node.service.merging import Merge
from node.service.receipts import Receipts
from node.service.witnessing import AddCheckpoint, KeepRefused
from node.store import channels, incidents, logs
from node.store.tables import LEDGER
from tests.service.world import CNPJS, Clock, Node, _news, open_node, operator

LIAR = "liar"
HONEST = ("br", "uy", "ar")
STATUSES = ("ACTIVE", "SUSPENDED")
ROUNDS = 12


class Lost(Exception):  # noqa: N818  # it is lost
    """The network or the disk did not do what was asked, or did not say so."""


@dataclass
class Simulation:
    """One schedule: its nodes, what draws what happens, and what has been promised so far."""

    random: Random
    clock: Clock
    nodes: dict[str, Node]
    receipts: list[tuple[str, bytes]] = field(default_factory=list)
    late: list[tuple[str, str, bytes]] = field(default_factory=list)
    reached: dict[tuple[str, str], int] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    lied: bool = False

    # What may happen

    def step(self) -> None:
        """One thing that happens, drawn by weight; what it was is noted for whoever reads a failure."""
        acts: list[tuple[int, Callable[[], None]]] = [
            (6, self.change),
            (8, self.ask_for_news),
            (5, self.ask_for_cosignature),
            (4, self.hand_on),
            (2, self.arrive_late),
            (3, self.time_passes),
            (1, self.restart),
        ]
        if LIAR in self.nodes:
            acts += [(4, self.lie)]
        [act] = self.random.choices([act for _, act in acts], [weight for weight, _ in acts])
        try:
            act()
        except (Refusal, Lost) as error:
            self.told.append(f"  {type(error).__name__}: {error}")
        self.check()

    def change(self) -> None:
        """Brazil records or changes an operator; whoever is answered keeps the receipt."""
        self.record("br")

    def lie(self) -> None:
        """The liar does the same in its own history."""
        self.lied = True
        self.record(LIAR)

    def record(self, name: str) -> None:
        number = self.random.randrange(1, len(CNPJS))
        status = self.random.choice(STATUSES)
        text = f"{name} {self.random.randrange(10**6)} S/A"
        self.told.append(f"{name} records {number} {status}")
        with self.disk(name) as node:
            outcome = node.admit(operator(number, legal_name=text, status=status))
        if outcome.ledger_seq is not None and name == "br":
            receipt = Receipts(node.parts).newest(outcome.ledger_seq).text
            [entry] = _entries(node, outcome.ledger_seq)
            self.receipts.append((receipt, entry))

    def ask_for_news(self) -> None:
        """A reader asks Brazil, or the liar in its place, for news."""
        reader = self.random.choice(("uy", "ar"))
        issuer = self.brazil()
        self.told.append(f"{reader} asks {issuer} for news")
        self.request()
        answer = self.news(issuer, reader)
        if self.random.random() < 0.2:
            self.late.append((reader, issuer, answer))
        self.answer()
        self.take(reader, issuer, answer)

    def ask_for_cosignature(self) -> None:
        """Brazil, or the liar in its place, asks a witness."""
        issuer, witness = self.brazil(), self.random.choice(("uy", "ar"))
        self.told.append(f"{issuer} asks {witness} to cosign")
        self.submit(self.nodes[issuer], LEDGER, witness)

    def hand_on(self) -> None:
        """One reader shows the other what it holds of Brazil's ledger."""
        one, other = self.random.sample(("uy", "ar"), 2)
        self.told.append(f"{one} shows {other} Brazil's ledger")
        origin = ledger_origin("aeo.br.example")
        with self.nodes[one].parts.database.read() as connection:
            head = logs.head_of(connection, origin)
        if head is not None and head.is_whole:
            self.submit(self.nodes[one], head.log, other)

    def arrive_late(self) -> None:
        """An answer that was on its way, or that somebody kept, arrives now."""
        if self.late:
            reader, issuer, answer = self.random.choice(self.late)
            self.told.append(f"{reader} gets an old answer of {issuer}")
            self.take(reader, issuer, answer)

    def time_passes(self) -> None:
        """Seconds, minutes or hours."""
        self.clock.ms += self.random.choice((1_000, 30_000, 600_000, 7_200_000))

    def restart(self) -> None:
        """A process ends and begins again on what its disk holds."""
        name = self.random.choice(HONEST)
        self.told.append(f"{name} restarts")
        self.reopen(name)

    # The network and the disk

    def brazil(self) -> str:
        """Who answers in Brazil's name."""
        return self.random.choice(("br", LIAR)) if LIAR in self.nodes else "br"

    def request(self) -> None:
        """A request is on its way."""
        if self.random.random() < 0.1:
            raise Lost("the request")

    def answer(self) -> None:
        """An answer is on its way back: what was asked for is done."""
        if self.random.random() < 0.1:
            raise Lost("the answer")

    @contextmanager
    def disk(self, name: str) -> Iterator[Node]:
        """A node whose next transaction may fail before it commits, or after that without a word."""
        node, fault = self.nodes[name], self.random.random()
        database, write = node.parts.database, node.parts.database.write

        @contextmanager
        def failing() -> Iterator[Any]:
            with write() as connection:
                yield connection
                if fault < 0.05:
                    raise Lost("the disk before the commit")
            if fault > 0.95:
                raise Lost("the disk after the commit")

        database.write = failing  # type: ignore[method-assign]  # what a disk does to the same call
        try:
            yield node
        except Lost:
            database.write = write  # type: ignore[method-assign]
            self.reopen(name)  # a node whose store failed is begun again
            raise
        finally:
            database.write = write  # type: ignore[method-assign]

    def reopen(self, name: str) -> None:
        old = self.nodes[name]
        old.parts.database.close()
        opened = open_node(old.home, self.clock, self.random.randrange(10**9))
        self.nodes[name] = replace(opened, rev=0)

    # What the nodes do

    def news(self, issuer: str, reader: str) -> bytes:
        """What an issuer answers to where a reader is."""
        node = self.nodes[reader]
        with node.parts.database.read() as connection:
            at = copies.cursors(node.parts, connection, self.nodes["br"].parts.card, node.rev)
        return orjson.dumps(_news(self.nodes[issuer].parts, node.parts.card, at))

    def take(self, reader: str, issuer: str, answer: bytes) -> None:
        """Take an answer over, and then its agreements, as a follower does."""
        peer, parts = self.nodes["br"].parts.card, self.nodes[reader].parts
        with parts.database.read() as connection:
            if accusing.is_stopped(connection, peer):
                return
        with self.disk(reader) as node:
            news, taken = replication.take_over(
                node.parts, peer, answer, self.tiles_of(issuer), lambda card: node.settle(RenewPeer(card))
            )
            if news.agreements is not None and taken.is_ledger_whole:
                node.settle(Merge(peer, tuple(news.agreements)))
                node.rev = news.rev

    def tiles_of(self, issuer: str) -> Callable[[str], bytes]:
        """The tiles of an issuer's ledger, as anyone may read them."""

        def fetch(path: str) -> bytes:
            wanted = tiles.parse_path(path.removeprefix("/log/"))
            with self.nodes[issuer].parts.database.read() as connection:
                hashes = logs.tile(connection, LEDGER, wanted.level, wanted.index) or b""
            if len(hashes) < 32 * wanted.width:
                raise Busy("there is no such tile")
            return hashes[: 32 * wanted.width]

        return fetch

    def submit(self, asker: Node, log: int, witness: str) -> None:
        """Ask a witness for a cosignature of a log that the asker holds."""
        with asker.parts.database.read() as connection:
            head = logs.head(connection, log)
            assert head is not None
            tree = Tree(logs.tile_reader(connection, log), head.size)
            old = self._known_to(witness, head.origin)
            self.request()
            if old > head.size:
                return
            body = request(old, tree.consistency_proof(old), head.checkpoint)
        verdict = witnessing.considered(self.nodes[witness].parts, body, None)
        with self.disk(witness) as node:
            if isinstance(verdict, AddCheckpoint | KeepRefused):
                node.settle(verdict)
        self.answer()

    def _known_to(self, witness: str, origin: str) -> int:
        """What its 409 would say."""
        with self.nodes[witness].parts.database.read() as connection:
            return accusing.recorded(connection, origin)[0]

    # What must hold

    def check(self) -> None:
        """After each step: nobody went back, and nobody is accused who did not lie."""
        for name in ("uy", "ar"):
            with self.nodes[name].parts.database.read() as connection:
                found = {"ledger": logs.head_of(connection, ledger_origin("aeo.br.example"))}
                for channel in channels.channels(connection):
                    if channel.issuer == "BR":
                        found[channel.agreement] = logs.head(connection, channel.log)
            for what, head in found.items():
                size = head.size if head else 0
                assert size >= self.reached.get((name, what), 0), f"{name} went back in {what}"
                self.reached[name, what] = size
            if not self.lied:
                assert not self.accusations(name), f"{name} accuses an honest node"

    def accusations(self, name: str) -> list[Accusation]:
        """What a node holds against Brazil; each must convince whoever has Brazil's keys."""
        node, card = self.nodes[name], self.nodes["br"].parts.card
        with node.parts.database.read() as connection:
            rows = incidents.open_of_kind(connection, card.name, FORKED)
        found = [Accusation.decode(row["evidence"]) for row in rows]
        for each in found:
            each.check(card.verifiers(each.origin))
        return found

    def heal(self) -> None:
        """Everything arrives from now on, and every answer is Brazil's own; until nothing is new."""
        self.random = Sure()
        for _ in range(ROUNDS):
            self.clock.ms += 61_000
            for reader in ("uy", "ar"):
                for act in (self._news_for(reader), self._handing_on(reader)):
                    try:
                        act()
                    except (Refusal, Lost) as error:
                        self.told.append(f"  healed, {reader}: {error}")
            self.nodes["br"].keep()

    def _news_for(self, reader: str) -> Callable[[], None]:
        return lambda: self.take(reader, "br", self.news("br", reader))

    def _handing_on(self, reader: str) -> Callable[[], None]:
        def show() -> None:
            other = "ar" if reader == "uy" else "uy"
            with self.nodes[reader].parts.database.read() as connection:
                head = logs.head_of(connection, ledger_origin("aeo.br.example"))
            if head is not None and head.is_whole:
                self.submit(self.nodes[reader], head.log, other)

        return show

    def check_whole(self) -> None:
        """At rest: every store is sound, every receipt true, and the readers hold the truth or tell."""
        for name, node in self.nodes.items():
            assert node.findings() == [], f"fsck of {name}"
        truth = self.nodes["br"]
        for text, entry in self.receipts:
            proof, card = TlogProof.decode(text), truth.parts.card
            origin = ledger_origin(card.name)
            proof.verify(leaf_hash(entry), origin, card.verifiers(origin))
            assert _entries(truth, proof.index) == [entry], (
                "a receipt was given for an entry that is not there"
            )
            assert LedgerEntry.decode(entry).seq == proof.index
        accused = {name: bool(self.accusations(name)) for name in ("uy", "ar")}
        if not self.lied:
            assert not any(accused.values())
            assert {self._root(name) for name in accused} == {self.nodes["br"].ledger().root}
        if not any(accused.values()):
            self.check_copies()
        if self.is_split():
            assert any(accused.values()), "two readers hold two histories, and nobody says so"

    def check_copies(self) -> None:
        """Nobody was shown a lie: the readers hold what Brazil's ledger says."""
        truth, reader = self.nodes["br"], self.nodes["uy"]
        if self.lied and self._root("uy") != self._root("br"):
            return  # it was shown the liar's history alone, from the beginning
        for number in range(1, len(CNPJS)):
            tin = f"BR{CNPJS[number]}"
            try:
                mine = truth.look_up(tin)
            except NotFound:
                continue
            theirs = reader.look_up(tin)
            assert theirs["fields"]["legal_name"] == mine["fields"]["legal_name"], tin
            assert theirs["fields"]["status"] == mine["fields"]["status"], tin

    def is_split(self) -> bool:
        """Whether the two readers hold trees of which neither begins the other."""
        sizes = {name: self._size(name) for name in ("uy", "ar")}
        least = min(sizes.values())
        return least > 0 and len({self._root(name, least) for name in sizes}) > 1

    def _size(self, name: str) -> int:
        with self.nodes[name].parts.database.read() as connection:
            head = logs.head_of(connection, ledger_origin("aeo.br.example"))
        return head.size if head else 0

    def _root(self, name: str, size: int | None = None) -> bytes:
        with self.nodes[name].parts.database.read() as connection:
            head = logs.head_of(connection, ledger_origin("aeo.br.example"))
            assert head is not None
            return Tree(logs.tile_reader(connection, head.log), head.size if size is None else size).root()

    def close(self) -> None:
        for node in self.nodes.values():
            node.parts.database.close()


class Sure(Random):
    """Draws nothing that fails."""

    def random(self) -> float:
        return 0.5


def _entries(node: Node, seq: int) -> list[bytes]:
    with node.parts.database.read() as connection:
        return logs.entries(connection, LEDGER, seq, seq + 1)


def opened(folder: Path, seed: int, clock: Clock) -> Simulation:
    """A simulation on the homes in a folder."""
    random = Random(seed)
    names = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]
    nodes = {name: open_node(folder / name, clock, seed) for name in names}
    return Simulation(random, clock, nodes)
