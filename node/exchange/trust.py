"""Whom a node asks to witness its ledger: the trust policy that it was given, or its peers."""

from collections.abc import Sequence

from node.exchange.card import Card, cosigner_name, ledger_origin
from node.ledger.policy import Policy, any_of

LOG_PATH = "/log"
WITNESS_PATH = "/witness"


def policy_of(own: Card, peers: Sequence[Card]) -> Policy:
    """The ledger of `own`, and its peers as witnesses, of whom one suffices that signs with all its keys.

    The ledger is named with every key that it ever had: what is kept may be signed with an older one.
    """
    logs = own.of_log(ledger_origin(own.name), ever=True)
    witnesses = (
        (cosigner_name(each.name), each.address + WITNESS_PATH, each.newest_cosigners) for each in peers
    )
    return any_of(logs, own.address + LOG_PATH, witnesses)
