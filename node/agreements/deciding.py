"""What a contract's answer is held to, wherever it is asked: in a node, in its audit, in a preview.

A contract decides within a floor that no contract can go below: it shares no field that the terms do not
list, and nothing from which no reader could rely on the record. An answer beyond that withholds.
"""

from contracts import Answer, Contract
from node.agreements.rules import Json
from node.records import model

_NEEDED = {kind: frozenset(names) for kind, names in model.NEEDED.items()}


def decide(contract: Contract, fields: Json, terms: Json, today: str) -> Answer:
    """What the contract answers about a record on a day, held to the terms and to what a reader needs.

    `fields` is a record as JSON with `record_id` and `recorded_at`; `terms` as `direction_terms` makes them.
    Raises `Malformed` for a record of a kind that is not known.
    """
    answer = contract.decide(fields, terms, today)
    if not answer.shared:
        return answer
    shared = frozenset(answer.fields)
    if lacking := _NEEDED[model.kind_of(fields)] - shared:
        return _error("no reader could rely on the record without", lacking)
    if beyond := shared.difference(terms["direction"]["fields"]):
        return _error("shares fields that the terms do not list:", beyond)
    return answer


def _error(what: str, names: frozenset[str]) -> Answer:
    return Answer(False, (), f"contract error: {what} {', '.join(sorted(names))}")
