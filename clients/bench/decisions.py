"""How many decisions one core makes: the standard contract, with the floor below it, as a node asks it."""

import time
from typing import Any, Final

from clients.bench.figures import Conditions, Figure, Goal, in_turn
from clients.bench.operators import operators
from contracts import rules, terms
from node.agreements.preview import outlook, proposed

RECORDS: Final = 500
ROUNDS: Final = 7
ROUND_S: Final = 0.4
DAY: Final = "2027-01-15"
CONTRACT, TERMS, PARTNER = "mra_v1", "br_uy", "UY"


def decisions() -> Figure:
    """Decisions a second of processor time, each about another operator, all of them shared."""
    asked = [each | _assigned(number) for number, each in enumerate(operators(1, RECORDS))]
    direction = outlook(proposed(terms.terms(TERMS), rules.text(CONTRACT)), "BR").directions[PARTNER]
    if not all(direction.answer(each, DAY).shared for each in asked):
        raise RuntimeError("an operator that was to be shared is withheld")

    def measure(_: int) -> float:
        made, begun = 0, time.thread_time()
        while (took := time.thread_time() - begun) < ROUND_S:
            for each in asked:
                direction.answer(each, DAY)
            made += len(asked)
        return made / took

    return Figure(
        "decisions_per_s",
        "1/s",
        in_turn(ROUNDS, {"decisions": measure})["decisions"],
        Conditions(
            f"the contract {CONTRACT} under the terms {TERMS}, every rule passed, and what it is held to; a "
            "second of processor time",
            payload=f"{RECORDS} operators as JSON",
            concurrency="one thread",
        ),
        goal=Goal(100_000),
    )


def _assigned(number: int) -> dict[str, Any]:
    """What a node adds to a record."""
    return {"record_id": f"urn:aeo:br:{number:022d}", "recorded_at": "2026-11-22T12:00:00.000Z"}
