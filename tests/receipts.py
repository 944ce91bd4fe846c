"""What a node acknowledged, checked with the pure code alone against the ledger that it serves."""

from collections.abc import Collection
from typing import Any

from node.ledger import merkle, tiles
from node.ledger.checkpoint import Checkpoint
from node.ledger.entry import LedgerEntry
from node.ledger.proof import TlogProof
from tests.nodes import Node, checkpoint_of, entries_of, log_verifiers, origin_of, tile_reader

Answer = dict[str, Any]
"""What a node answered to the change of one operator."""


def check_every_receipt(node: Node, acknowledged: Collection[Answer]) -> set[Checkpoint]:
    """Each receipt holds, and its checkpoint, which is given, is the beginning of the newest ledger."""
    newest, verifiers, origin = checkpoint_of(node), log_verifiers(node), origin_of(node)
    entries = entries_of(node, newest.size)
    tree = tiles.Tree(tile_reader(node, newest.size), newest.size)
    assert merkle.root([merkle.leaf_hash(entry) for entry in entries]) == newest.root
    seen: set[Checkpoint] = set()
    for answer in acknowledged:
        proof = TlogProof.decode(answer["receipt"])
        assert proof.index == answer["ledger_seq"]
        seen.add(proof.verify(merkle.leaf_hash(entries[proof.index]), origin, verifiers))
    for old in seen:
        proven = tree.consistency_proof(old.size)
        merkle.verify_consistency(old.size, newest.size, old.root, newest.root, proven)
    return seen


def check_nothing_was_done_twice(node: Node, acknowledged: Collection[Answer]) -> None:
    """One ledger entry for each acknowledged new operator, and for nothing else that is a record."""
    entries = [LedgerEntry.decode(entry) for entry in entries_of(node, checkpoint_of(node).size)]
    positions = [answer["ledger_seq"] for answer in acknowledged]
    assert sorted(positions) == [entry.seq for entry in entries if entry.type == "record"]
    assert {answer["version"] for answer in acknowledged} == {1}
    known = list(acknowledged)[-1]
    assert node.answer(known["tin"])["provenance"]["ledger"]["seq"] == known["ledger_seq"]
