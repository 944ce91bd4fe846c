"""Whom a node asks to witness its ledger: the trust policy that it was given, or its peers."""

from collections.abc import Sequence

from node.exchange.card import Card, cosigner_name, ledger_origin
from node.ledger.policy import Policy, any_of

LOG_PATH = "/log"
WITNESS_PATH = "/witness"


def policy_of(own: Card, peers: Sequence[Card]) -> Policy:
    """The ledger of `own`, and its peers as witnesses, of whom one suffices that signs with all its keys."""
    log, *_ = own.verifiers(ledger_origin(own.name))
    witnesses = (
        (cosigner_name(each.name), each.address + WITNESS_PATH, each.newest_cosigners) for each in peers
    )
    return any_of(log, own.address + LOG_PATH, witnesses)
