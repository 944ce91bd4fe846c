"""Whom a node asks to witness its ledger: the trust policy that it was given, or its peers."""

from collections.abc import Sequence

from node.exchange.card import Card, ledger_origin
from node.ledger.policy import NONE, Group, Policy, Witness

WITNESS_PATH = "/witness"
ANY = "any-peer"


def policy_of(own: Card, peers: Sequence[Card]) -> Policy:
    """The log of `own`, and as its witnesses the peers, of whom one suffices that signs with all its keys."""
    origin, witnesses, groups = ledger_origin(own.name), dict[str, Witness](), dict[str, Group]()
    for peer in peers:
        names = (f"{peer.name}/ed25519", f"{peer.name}/ml-dsa-44")
        url = peer.address + WITNESS_PATH
        witnesses |= {name: Witness(key, url) for name, key in zip(names, peer.cosigners, strict=True)}
        groups[peer.name] = Group(len(names), names)
    if peers:
        groups[ANY] = Group(1, tuple(peer.name for peer in peers))
    log, *_ = own.verifiers(origin)
    return Policy({origin: (log,)}, witnesses, groups, ANY if peers else NONE)
