"""How long until the last partner has erased an operator, and proven so to its issuer."""

import time
from collections.abc import Sequence

from clients.bench.figures import Conditions, Figure
from clients.bench.nodes import Pair
from clients.bench.writes import DURABLE
from clients.demo.waiting import until

LIMIT_S = 30.0


def to_last_acknowledgement(pair: Pair, tins: Sequence[str]) -> Figure:
    """Erase these operators one behind the other."""
    waits = [_one(pair, tin) for tin in tins]
    return Figure(
        "erasure_to_last_ack_ms",
        "ms",
        waits,
        Conditions(
            f"{len(waits)} erasures, one partner; from sending the request at the issuer until its list "
            "of erasures has the partner's answer, held against the partner's ledger; "
            "resolution: one look, about 15 ms",
            "an operator with its disclosures",
            "one at a time, both nodes on these processors",
            DURABLE[""],
        ),
        better="lower",
    )


def _one(pair: Pair, tin: str) -> float:
    client = pair.issuer.client
    begun = time.perf_counter()
    made = client.erase(tin, "NOT_NEEDED", "measured")

    def is_answered() -> bool:
        newest = next(iter(client.erasures()))
        return newest["erasure"] == made["erasure"] and newest["partners"][0]["answer"] == "ERASED"

    until(is_answered, LIMIT_S, "the partner's answer")
    return 1000 * (time.perf_counter() - begun)
