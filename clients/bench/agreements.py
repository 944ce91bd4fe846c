"""What a change costs where many agreements are in force: each contract decides, each channel is written."""

import time
from collections.abc import Sequence
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
LIMIT_S = 60.0
STATUSES = ("SUSPENDED", "ACTIVE")


def change_under_ten(folder: Path) -> Figure:
    """Change operators that ten agreements share with one partner, one change behind the other."""
    with pair(folder) as both:
        agree(both)
        for number in range(1, AGREEMENTS):
            _agree_again(both, number)
        issuer = both.issuer.client
        made = operators(1, OPERATORS)
        issuer.import_list(made)
        tins = [str(each["tin"]) for each in made]
        until(lambda: all(each["in_line"] for each in _channels(both)), LIMIT_S, "the channels in line")
        waits = [
            _change(issuer, tins[at % OPERATORS], STATUSES[at // OPERATORS % 2]) for at in range(CHANGES)
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


def _agree_again(both: Pair, number: int) -> None:
    """One more agreement between the two, under a name of its own, in operation from Brazil to Uruguay."""
    issuer, partner = (node.client for node in both.both())
    clauses = terms.terms("br_uy") | {"name": f"MEASURED-{number}"}
    agreement = issuer.draft_agreement(f"Measured {number}", ["BR", "UY"], clauses, rules.text("mra_v1"))
    issuer.act(agreement, "sign")
    until(lambda: any(each["agreement"] == agreement for each in partner.agreements()), LIMIT_S, "the draft")
    partner.act(agreement, "sign")
    nodes = (issuer, partner)
    until(lambda: all(node.agreement(agreement)["signed"] for node in nodes), LIMIT_S, "both signatures")
    for node in nodes:
        node.act(agreement, "start", mode="operation", issuer="BR", partner="UY")
    until(lambda: _operates(both, agreement), LIMIT_S, "the agreement in operation")


def _operates(both: Pair, agreement: str) -> bool:
    of = [each for each in _channels(both) if each["agreement"] == agreement]
    return bool(of) and of[0]["state"] == "IN_OPERATION" and of[0]["in_line"]


def _channels(both: Pair) -> Sequence[dict[str, Any]]:
    return [dict(each) for each in both.issuer.client.channels() if each["issuer"] == "BR"]


def _change(client: Any, tin: str, status: str) -> float:
    begun = time.perf_counter()
    client.change_status(tin, status)
    return 1000 * (time.perf_counter() - begun)
