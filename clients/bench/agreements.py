"""What a change costs where many agreements are in force, and a question where records are told on demand."""

import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from clients.bench.figures import Conditions, Figure
from clients.bench.nodes import Pair, agree, pair
from clients.bench.operators import operators
from clients.bench.writes import DURABLE
from clients.demo.waiting import until
from contracts import rules, terms

AGREEMENTS = 10
OPERATORS = 20
CHANGES = 200
FETCHES = 100
LIMIT_S = 60.0
STATUSES = ("SUSPENDED", "ACTIVE")


def under_many(folder: Path) -> Iterator[Figure]:
    """Change operators that ten agreements share with one partner; then let it ask for them one by one."""
    with pair(folder) as both:
        agree(both)
        for number in range(1, AGREEMENTS):
            _agree_again(both, f"MEASURED-{number}")
        made = operators(1, OPERATORS)
        both.issuer.client.import_list(made)
        tins = [str(each["tin"]) for each in made]
        until(lambda: all(each["in_line"] for each in _channels(both)), LIMIT_S, "the channels in line")
        yield _changes(both.issuer.client, tins)
        asked = _agree_again(both, "MEASURED-ON-DEMAND", mode="ON_DEMAND")
        both.catch_up()
        yield _fetches(both.partner.client, tins, asked)


def _changes(issuer: Any, tins: Sequence[str]) -> Figure:
    waits = [
        _ms(partial(issuer.change_status, tins[at % OPERATORS], STATUSES[at // OPERATORS % 2]))
        for at in range(CHANGES)
    ]
    return Figure(
        "change_under_10_agreements_ms",
        "ms",
        waits,
        Conditions(
            f"{CHANGES} changes of status of {OPERATORS} operators that {AGREEMENTS} agreements share with "
            "one partner: from sending the request until the receipt, with ten decisions and ten "
            "disclosures in the same transaction",
            "a status of one operator",
            "one client, both nodes on these processors",
            DURABLE[""],
        ),
        better="lower",
    )


def _fetches(partner: Any, tins: Sequence[str], agreement: str) -> Figure:
    waits = [
        _ms(partial(partner.fetch, tins[at % OPERATORS], "clearance", str(at), agreement=agreement))
        for at in range(FETCHES)
    ]
    return Figure(
        "fetch_ms",
        "ms",
        waits,
        Conditions(
            f"{FETCHES} questions about {OPERATORS} operators that are told on demand: from asking the own "
            "node until its answer, with the issuer's decision and entry, and their proof at the partner",
            "a whole record",
            "one client, both nodes on these processors",
            DURABLE[""],
        ),
        better="lower",
    )


def _agree_again(both: Pair, name: str, **clauses: str) -> str:
    """One more agreement between the two, in operation from Brazil to Uruguay; gives its id.

    `clauses`: those of the direction from Brazil to Uruguay that are otherwise.
    """
    issuer, partner = (node.client for node in both.both())
    said: Any = deepcopy(terms.terms("br_uy")) | {"name": name}
    said["directions"]["BR-UY"] |= clauses
    agreement = issuer.draft_agreement(name, ["BR", "UY"], said, rules.text("mra_v1"))
    issuer.act(agreement, "sign")
    until(lambda: any(each["agreement"] == agreement for each in partner.agreements()), LIMIT_S, "the draft")
    partner.act(agreement, "sign")
    nodes = (issuer, partner)
    until(lambda: all(node.agreement(agreement)["signed"] for node in nodes), LIMIT_S, "both signatures")
    for node in nodes:
        node.act(agreement, "start", mode="operation", issuer="BR", partner="UY")
    until(lambda: _operates(both, agreement), LIMIT_S, "the agreement in operation")
    return str(agreement)


def _operates(both: Pair, agreement: str) -> bool:
    of = [each for each in _channels(both) if each["agreement"] == agreement]
    return bool(of) and of[0]["state"] == "IN_OPERATION" and of[0]["in_line"]


def _channels(both: Pair) -> Sequence[dict[str, Any]]:
    return [dict(each) for each in both.issuer.client.channels() if each["issuer"] == "BR"]


def _ms(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - begun)
