"""Two whole nodes in one process: real stores, keys, ledgers and channels; only the wire is a call.

Time is a number that tests set, randomness is seeded, and nothing runs unless a test says so: `settle`
does one piece of work in one transaction as the sequencer does, `keep` brings channels into line, and
`carry` takes one page from an issuer to a reader, through JSON, as replication does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import orjson

from contracts import rules, terms
from node import keys, settings
from node.api.problems import encoded
from node.assembly import parts_of
from node.errors import Malformed, Refusal, Unproven
from node.exchange import page, serving
from node.exchange.card import Card, credential_kid
from node.ledger import moment
from node.records import model
from node.service import accusing, copies, failures, genesis, taking_over
from node.service.admission import AdmitPeer, RenewPeer
from node.service.admit import AdmitOne, Amend, Author, Outcome
from node.service.answers import Answers
from node.service.batch import Batch, open_body
from node.service.check import Finding, check
from node.service.line import Keeper
from node.service.merging import Merge
from node.service.parts import Parts
from node.service.signing import Draft, Sign
from node.store import channels, incidents, logs
from node.store.tables import LEDGER
from tests.service import stores

START_MS = moment.parse("2026-11-22T12:00:00.000Z")
DAY_MS = 86_400_000
ROUNDS = 50
OFFICER = Author("officer", "as filed")

NAMES = ("", "Caatinga Eletrônica", "São Bento Agenciamento", "Mantiqueira Máquinas")
NAMES += ("Barra Funda Alimentos", "Chapada Têxtil", "Itapuã Papel")
CNPJS = (
    "",
    "99000001000101",
    "99000002000148",
    "99000003000192",
    "99000004000137",
    "99000005000181",
    "99000006000126",
)
LEIS = (
    "",
    "98450000000000000129",
    "98450000000000000226",
    "98450000000000000323",
    "98450000000000000420",
    "98450000000000000517",
    "98450000000000000614",
)

opened: "list[Node]" = []
"""The nodes that a test has opened: those that it forgets are closed behind it."""

Json = dict[str, Any]
Tamper = Callable[[Json], None]


@dataclass
class Clock:
    """The time of day of every node in a world."""

    ms: int = START_MS

    def __call__(self) -> int:
        return self.ms


@dataclass
class Node:
    """One node: its parts, and what its threads would hold."""

    home: Path
    parts: Parts
    keeper: Keeper = field(default_factory=Keeper)
    rev: int = 0

    @property
    def country(self) -> str:
        return self.parts.country

    def settle(self, work: Any) -> Any:
        """Do one piece of work in a transaction of its own; raises the refusal it answers."""
        answer: Any
        with self.parts.database.write() as connection:
            batch = Batch(self.parts, connection)
            batch.prepare(work.tins)
            try:
                answer = work.run(batch)
            except Refusal as refusal:
                answer = refusal
            batch.commit()
        batch.settle()
        self.parts.bell.ring()
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def keep(self, limit: int = 50) -> int:
        """Bring every channel into line; gives the number of steps."""
        for steps in range(ROUNDS):
            if not self.keeper.is_due(self.parts):
                return steps
            with self.parts.database.write() as connection:
                batch = Batch(self.parts, connection)
                self.keeper.step(batch, limit)
                batch.commit()
            batch.settle()
        raise AssertionError("the channels never came into line")

    def admit(self, operator: Json, key: str | None = None) -> Outcome:
        """Admit one operator, parsed as at the edge."""
        outcome: Outcome = self.settle(AdmitOne(model.to_json(model.parse(operator)), OFFICER, key))
        return outcome

    def amend(self, tin: str, **changes: Any) -> Outcome:
        """Change some fields of an operator."""
        outcome: Outcome = self.settle(Amend(tin, changes, changes, OFFICER))
        return outcome

    def look_up(self, tin: str) -> Json:
        """The node's answer about a TIN."""
        answers = Answers(self.parts)
        tellers = answers.tellers()
        with self.parts.database.read() as connection:
            answer: Json = orjson.loads(encoded(answers.operator(connection, tellers, tin)))
            return answer

    def find(self, values: list[str], scheme: str | None = None) -> dict[str, list[Json]]:
        """The node's answers about a list of identifiers."""
        answers = Answers(self.parts)
        tellers = answers.tellers()
        with self.parts.database.read() as connection:
            found = answers.operators(connection, tellers, values, scheme)
        told: dict[str, list[Json]] = orjson.loads(encoded(found))
        return told

    def incidents(self, *, only_open: bool = True) -> list[Json]:
        with self.parts.database.read() as connection:
            return incidents.listed(connection, only_open=only_open)

    def ledger(self) -> logs.Head:
        with self.parts.database.read() as connection:
            head = logs.head(connection, LEDGER)
        assert head is not None
        return head

    def log_of(self, issuer: str, partner: str) -> int:
        """The number of the one channel between these two here."""
        with self.parts.database.read() as connection:
            found = [
                c.log for c in channels.channels(connection) if (c.issuer, c.partner) == (issuer, partner)
            ]
        assert len(found) == 1, found
        return found[0]

    def channel_size(self, issuer: str, partner: str) -> int:
        log = self.log_of(issuer, partner)
        with self.parts.database.read() as connection:
            head = logs.head(connection, log)
        assert head is not None
        return head.size

    def findings(self) -> list[Finding]:
        return list(check(self.parts))


@dataclass
class World:
    """Brazil and Uruguay."""

    clock: Clock
    br: Node
    uy: Node
    agreement: str = ""

    @property
    def nodes(self) -> tuple[Node, Node]:
        return self.br, self.uy

    def other(self, node: Node) -> Node:
        return self.uy if node is self.br else self.br

    def page(self, reader: Node) -> Json:
        """What the other node answers this one, as JSON that a test may damage."""
        return self.answer(reader, self.cursors(reader))

    def answer(self, reader: Node, cursors: serving.Cursors) -> Json:
        """What the other node answers to these cursors of this one."""
        answer: Json = orjson.loads(orjson.dumps(_news(self.other(reader).parts, reader.parts.card, cursors)))
        return answer

    def cursors(self, reader: Node) -> serving.Cursors:
        """How far this node has come with the other."""
        with reader.parts.database.read() as connection:
            return copies.cursors(reader.parts, connection, self.pinned(reader), reader.rev)

    def pinned(self, reader: Node) -> Card:
        """The other node's card as this one has it."""
        with reader.parts.database.read() as connection:
            return reader.parts.peers.by_country(connection)[self.other(reader).country]

    def take(self, reader: Node, answer: Any) -> bool:
        """Take a page over as replication does; what does not hold is kept as an incident and raised.

        Gives whether there is more.
        """
        parts, peer, news = reader.parts, self.pinned(reader), None
        try:
            news = page.read(answer, peer.name)
            taken = taking_over.take(parts, peer, news, lambda card: reader.settle(RenewPeer(card)))
        except (Malformed, Unproven) as refusal:
            failures.failed(parts, peer, refusal, news)
            parts.bell.ring()
            raise
        if news.agreements is not None and taken.is_ledger_whole:
            reader.settle(Merge(taken.peer, tuple(news.agreements)))
            reader.rev = news.rev
        parts.bell.ring()
        return taken.more

    def carry(self, reader: Node, tamper: Tamper | None = None) -> bool:
        """One page to this node."""
        answer = self.page(reader)
        if tamper:
            tamper(answer)
        return self.take(reader, answer)

    def exchange(self) -> None:
        """Both directions, and both keepers, until nothing is new."""
        for _ in range(ROUNDS):
            before = [self.cursors(node) for node in self.nodes]
            more = [self.carry(node) for node in self.nodes if not self.is_stopped(node)]
            steps = [node.keep() for node in self.nodes]
            if not any(more) and not any(steps) and before == [self.cursors(node) for node in self.nodes]:
                return
        raise AssertionError("the nodes never came to rest")

    def pin(self) -> None:
        for node in self.nodes:
            card = self.other(node).parts.card
            node.settle(AdmitPeer(card.text, card.fingerprint))

    def is_stopped(self, reader: Node) -> bool:
        """Whether this node believes nothing new of the other, and so asks for nothing."""
        with reader.parts.database.read() as connection:
            return accusing.is_stopped(connection, self.pinned(reader))

    def draft(self, **changed: Any) -> str:
        """Draft the ready-made terms at BR."""
        clauses = terms.terms("br_uy") | changed
        drafted: str = self.br.settle(Draft("BR-UY", ("BR", "UY"), clauses, rules.text("mra_v1")))
        return drafted

    def both(self, act: str, issuer: str | None = None, partner: str | None = None, **says: Any) -> None:
        """An act that BR proposes and UY signs, carried until it stands in both ledgers."""
        self.br.settle(Sign(self.agreement, act, issuer, partner, **says))
        self.exchange()
        self.uy.settle(Sign(self.agreement, act, issuer, partner, **says))
        self.exchange()

    def operate(self, **changed: Any) -> None:
        """From two empty nodes to an agreement in operation in both directions."""
        self.pin()
        self.agreement = self.draft(**changed)
        self.both("sign")
        for issuer, partner in (("BR", "UY"), ("UY", "BR")):
            self.both("start", issuer, partner, mode="operation")

    def both_end(self) -> None:
        """BR ends the agreement."""
        self.br.settle(Sign(self.agreement, "terminate"))
        self.exchange()

    def days_pass(self, days: int = 1) -> None:
        self.clock.ms += days * DAY_MS

    def close(self) -> None:
        for node in self.nodes:
            node.parts.database.close()


def make_home(home: Path, country: str) -> None:
    """A node's home folder with settings, keys and an empty, migrated store."""
    home.mkdir(parents=True)
    name = f"aeo.{country.lower()}.example"
    values = {"name": name, "country": country, "administration": f"Customs of {country}"}
    values |= {"signing_processes": 0} | stores.of_a_new_home()
    settings.write(home, values | {"address": f"http://{name}"})
    keys.make(home / "keys")
    parts = parts_of(home)
    parts.database.migrate()
    parts.database.close()


def open_node(home: Path, clock: Clock, seed: int = 0) -> Node:
    """Open the node that lives in `home`, as its process does at the start."""
    random = Random(f"{seed} {home.name}")
    opened.append(Node(home, replace(parts_of(home), now_ms=clock, entropy=random.randbytes)))
    return opened[-1]


def open_world(folder: Path, agreement: str = "", seed: int = 0, ms: int = START_MS) -> World:
    """Open the two nodes whose homes are in `folder`."""
    clock = Clock(ms)
    br, uy = (open_node(folder / country, clock, seed) for country in ("br", "uy"))
    return World(clock, br, uy, agreement)


def make_world(folder: Path) -> World:
    """Two new nodes, each with its ledger begun, that do not know each other."""
    for country in ("br", "uy"):
        make_home(folder / country, country.upper())
    world = open_world(folder)
    for node in world.nodes:
        genesis.start_ledger(node.parts)
    return world


def kid_of(parts: Parts) -> str:
    """The id of the key that signs a node's credentials."""
    return credential_kid(parts.settings.name, parts.card.of("credential")[0])


@contextmanager
def asking(node: Node) -> Iterator[tuple[Any, Answers]]:
    """A connection of a node and its answers, for questions that are not a lookup by TIN."""
    with node.parts.database.read() as connection:
        yield connection, Answers(node.parts)


def _news(parts: Parts, peer: Card, cursors: serving.Cursors) -> Json:
    with parts.database.read() as connection:
        return serving.news(
            connection,
            parts.standings.current(connection),
            parts.card,
            peer,
            cursors,
            parts.settings.page_limit,
            parts.beat,
            lambda seq, sealed: open_body(parts, seq, sealed),
        )


def operator(number: int = 1, **changed: Any) -> Json:
    """A Brazilian operator that the ready-made terms share; `changed` fields, None to leave one out."""
    cnpj = CNPJS[number]
    fields: Json = {
        "country": "BR",
        "issuing_authority": {"code": "RFB", "name": "Receita Federal do Brasil"},
        "tin": f"BR{cnpj}",
        "identifiers": [{"scheme": "CNPJ", "value": cnpj}, {"scheme": "LEI", "value": LEIS[number]}],
        "authorisation_number": f"ADE {number}/2025",
        "legal_name": f"{NAMES[number]} S/A",
        "trade_names": [f"Marca oculta {number}"],
        "address": {"line": f"Rua {number}", "city": "Santos", "subdivision": "SP", "country": "BR"},
        "programme": "BR-OEA",
        "national_types": ["OEA-S"],
        "scope": ["SECURITY"],
        "roles": ["exporter"],
        "status": "ACTIVE",
        "status_since": "2025-01-10T00:00:00.000Z",
        "authorised_on": "2025-01-10",
        "valid_to": "2029-01-10",
        "mra_consent": {"given": True, "scope": "GENERAL", "from": "2025-01-10"},
        "mra_contact": f"oculto{number}@empresa.example",
        "effective_at": "2025-01-10T00:00:00.000Z",
    }
    return {name: value for name, value in (fields | changed).items() if value is not None}


def withdrawn(day: str) -> Json:
    """A consent that was withdrawn."""
    return {"given": False, "scope": "GENERAL", "withdrawn_on": day}
