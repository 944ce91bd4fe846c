"""The nodes of paired worlds: how they begin, and what is done by hand in them."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from fastapi import FastAPI

from contracts import rules, terms
from node import app
from node.errors import Busy
from node.service import tokens
from node.service.access_log import AccessLog, CommitHead
from node.service.bell import Bell, Ticket
from node.service.reporting import ReportIrregularity
from node.service.sequencer import Sequencer, Work, _Item
from node.service.signing import Draft
from tests.leaks.pairs import FOREIGN_DRAFTS, KNOWN, Fields, tin_of, with_argentina
from tests.service.region import Region, new_region, of
from tests.service.world import Node, operator

COUNTRIES = ("AR", "BR", "PY", "UY")
THREE = ("AR", "BR", "PY")
ARGENTINE = str(of("AR")["tin"])
"""An operator that Argentina told Brazil of."""


# The world that every other begins as


@dataclass(frozen=True, slots=True)
class Template:
    """Homes of nodes that have pinned each other; the agreements of Brazil with Uruguay (one by which records
    are mirrored, one by which they are asked for), with Argentina, and with Argentina and Paraguay, drafts
    with Argentina, and a token of an administrator at each node."""

    folder: Path
    shared: str
    asked: str
    foreign: str
    three: str
    drafts: tuple[str, ...]
    tokens: Mapping[str, str]
    record_ids: frozenset[str]


def make_template(folder: Path) -> Template:
    """Brazil with three partners, who know three of its operators; one more is known to others than Uruguay.

    Argentina has told of an operator of its own, and has reported something of each of the three."""
    foreign_terms = with_argentina()
    with new_region(folder, COUNTRIES) as region:
        br = region.nodes["BR"]
        shared = region.agree("Brazil - Uruguay", terms.terms("br_uy"), "mra_v1")
        asked = region.agree("Brazil - Uruguay, on demand", on_demand(), "mra_v1")
        foreign = region.agree("Brazil - Argentina", foreign_terms, "mra_v1")
        three = region.agree("Argentina - Brazil - Paraguay", of_three())
        drafts = [br.settle(foreign_draft(f"Draft {number}")) for number in range(FOREIGN_DRAFTS)]
        ids = [br.admit(operator(number)).record_id for number in KNOWN]
        br.admit(operator(4, mra_consent={"given": True, "scope": "GENERAL", "from": "2026-12-24"}))
        region.nodes["AR"].admit(of("AR"))
        region.exchange()
        _report(region, foreign)
        made = {
            country: tokens.create(
                node.parts.database, "administrator", "chefe", None, region.clock(), node.parts.entropy
            )
            for country, node in region.nodes.items()
        }
    return Template(folder, shared, asked, foreign, three, tuple(drafts), made, frozenset(map(str, ids)))


def on_demand() -> Fields:
    """The terms with Uruguay by which Brazil tells what it is asked for."""
    clauses: Any = deepcopy(terms.terms("br_uy"))
    outward = clauses["directions"]["BR-UY"] | {"mode": "ON_DEMAND"}
    return dict(clauses) | {"directions": {"BR-UY": outward}}


def of_three() -> Fields:
    """The terms of the four, between the three of them that are not Uruguay."""
    clauses: Any = deepcopy(terms.terms("mercosur"))
    kept = {name: each for name, each in clauses["directions"].items() if "UY" not in name}
    return dict(clauses) | {"directions": kept}


def _report(region: Region, foreign: str) -> None:
    for number in KNOWN:
        said = ("CARGO", f"seal {number} was broken", "inspector")
        region.nodes["AR"].settle(ReportIrregularity(tin_of(number), *said, foreign))
    region.exchange()


def foreign_draft(title: str, supersedes: str = "") -> Draft:
    return Draft(title, ("AR", "BR"), with_argentina(), rules.text("mra_v1"), supersedes)


# What is done by hand


class ByHand(Sequencer):
    """The one writer of a node, each of whose turns is taken by whoever asks for it."""

    def submit(self, work: Work) -> "Future[Any]":
        """Write it now."""
        self.has_looked_back = True
        item = _Item(work)
        self._settle([item])
        return item.future

    @property
    def is_alive(self) -> bool:
        """It is there whenever it is asked."""
        return True


class ReadsByHand(AccessLog):
    """What was asked of a node, taken over when it is said, and not by a thread."""

    def _run(self) -> None:
        """Nothing goes on by itself."""

    def keep(self) -> None:
        """Take over what was asked, and have the ledger commit to it if that is due."""
        with suppress(Busy):  # a store that was put back takes nothing
            self.take_over()
            if self._is_due():
                self._sequencer.submit(CommitHead())

    def let_go(self) -> None:
        """Close the files in which reads wait."""
        self._put_away()
        for each in self._full:
            each.close()


class Following:
    """In the place of those that follow peers: the one who asks does what they would do."""

    is_alive = True


class ToldBell(Bell):
    """A bell that tells whether the one who waits has looked at what there is, and waits again."""

    is_awaited = False

    def ring(self) -> None:
        """As every bell."""
        self.is_awaited = False
        super().ring()

    @contextmanager
    def ticket(self) -> Iterator[Ticket]:
        """As every bell."""
        with super().ticket() as ticket:
            yield _Told(self, ticket)


class _Told(Ticket):
    def __init__(self, bell: ToldBell, ticket: Ticket) -> None:
        super().__init__(ticket._event)
        self._bell = bell

    async def wait(self, timeout_s: float) -> bool:
        self._bell.is_awaited = not self._event.is_set()
        return await super().wait(timeout_s)


class Entropy:
    """Random bytes out of a seed: of each length a stream, all of them begun anew for each step."""

    def __init__(self, seed: str) -> None:
        self._seed, self._streams = seed, dict[int, Random]()
        self.begin("start")

    def begin(self, step: str) -> None:
        """Begin the streams of a step."""
        self._step = step
        self._streams.clear()

    def __call__(self, size: int) -> bytes:
        stream = self._streams.setdefault(size, Random(f"{self._seed} {self._step} {size}"))
        return stream.randbytes(size)


def served(node: Node) -> FastAPI:
    """The application of a node."""
    with patch.object(app, "Sequencer", ByHand), patch.object(app, "AccessLog", ReadsByHand):
        built = app.build(node.parts)
    built.state.sequencer.has_looked_back = True
    built.state.access.start()
    built.state.presence = built.state.replication = Following()
    return built


def routes_of(served_routes: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """(method, path) of every route."""
    for route in served_routes:
        if hasattr(route, "original_router"):
            yield from routes_of(route.original_router.routes)
        else:
            yield from ((method, route.path) for method in sorted(route.methods - {"HEAD"}))
