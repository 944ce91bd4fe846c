"""Several whole nodes in one process, each pinned by every other, under as many agreements as a test signs.

Each pair is a `World`, so that the wire between two is the one of all other tests; the nodes are shared.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from contracts import rules
from node.service import genesis
from node.service.signing import Draft, Sign
from tests.service import stores
from tests.service.world import ROUNDS, Clock, Json, Node, World, make_home, open_node, opened, operator

CUITS = ("30500010912", "30707643193")
RUCS = ("800000358", "800195765")
RUT = "079000040015"


@dataclass
class Region:
    """The nodes by country, and the wires between them."""

    clock: Clock
    nodes: dict[str, Node]
    wires: list[World] = field(default_factory=list)

    def __post_init__(self) -> None:
        """A wire for each pair; each has nodes of its own, for a node remembers how far one peer has come."""
        for one, two in combinations(self.nodes.values(), 2):
            ends = [Node(each.home, each.parts, each.keeper) for each in (one, two)]
            self.wires.append(World(self.clock, *ends))

    def wire(self, one: str, two: str) -> World:
        """The wire between two."""
        [found] = [each for each in self.wires if {node.country for node in each.nodes} == {one, two}]
        return found

    def exchange(self) -> None:
        """Every wire, both ways, until nothing is new anywhere."""
        for _ in range(ROUNDS):
            before = [wire.cursors(node) for wire in self.wires for node in wire.nodes]
            for wire in self.wires:
                for node in wire.nodes:
                    while wire.carry(node):
                        pass
            steps = [node.keep() for node in self.nodes.values()]
            after = [wire.cursors(node) for wire in self.wires for node in wire.nodes]
            if before == after and not any(steps):
                return
        raise AssertionError("the nodes never came to rest")

    def agree(self, title: str, clauses: Any, contract: str = "mra_v2") -> str:
        """Draft these terms, have all sign, start every direction in operation; gives the agreement's id."""
        directions = [tuple(name.split("-")) for name in clauses["directions"]]
        countries = sorted({country for pair in directions for country in pair})
        drafter = self.nodes[countries[0]]
        agreed: str = drafter.settle(Draft(title, countries, clauses, rules.text(contract)))
        self.exchange()
        for country in countries:
            self.nodes[country].settle(Sign(agreed, "sign"))
            self.exchange()
        for issuer, partner in directions:
            self.both(agreed, "start", issuer, partner, mode="operation")
        self.exchange()
        return agreed

    def both(self, agreed: str, act: str, issuer: str, partner: str, **says: Any) -> None:
        """An act on a direction, proposed by its issuer and signed by its partner."""
        for country in (issuer, partner):
            self.nodes[country].settle(Sign(agreed, act, issuer, partner, **says))
            for node in self.wire(issuer, partner).nodes:
                self.wire(issuer, partner).carry(node)


@contextmanager
def new_region(folder: Path, countries: Sequence[str]) -> Iterator[Region]:
    """New nodes that have pinned each other and agreed on nothing."""
    for country in countries:
        make_home(folder / country.lower(), country)
    with _opened(folder, countries) as region:
        for node in region.nodes.values():
            genesis.start_ledger(node.parts)
        for wire in region.wires:
            wire.pin()
        region.exchange()
        yield region


@contextmanager
def copied_region(made: Path, folder: Path, countries: Sequence[str]) -> Iterator[Region]:
    """A copy, for one test, of nodes that were made before."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    for country in countries:
        stores.part(folder / country.lower())
    with _opened(folder, countries) as region:
        yield region
    for node in region.nodes.values():
        stores.drop(node.home)


@contextmanager
def _opened(folder: Path, countries: Sequence[str]) -> Iterator[Region]:
    clock = Clock()
    region = Region(clock, {country: open_node(folder / country.lower(), clock) for country in countries})
    yield region
    for node in region.nodes.values():
        node.parts.database.close()
        opened.remove(node)


def of(country: str, number: int = 1, **changed: Any) -> Json:
    """An operator of a country of Mercosur that the ready-made terms share."""
    if country == "BR":
        return operator(number, **changed)
    scheme, value, programme, kind = {
        "AR": ("CUIT", CUITS[number - 1], "AR-OEA", "OEA"),
        "PY": ("RUC", RUCS[number - 1], "PY-OEA", "OEA"),
        "UY": ("RUT", RUT, "UY-OEC", "OEC"),
    }[country]
    own = {"country": country, "tin": f"{country}{value}", "programme": programme, "national_types": [kind]}
    numbers: Json = {"identifiers": [{"scheme": scheme, "value": value}]}
    return operator(number) | {"legal_name": f"{country} Comercio {number}"} | own | numbers | changed
