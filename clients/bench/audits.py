"""What checking costs: the size of a receipt, and how fast a store is recomputed from its entries."""

import subprocess
import time

from clients.bench.figures import Conditions, Figure, Measure, against, in_turn
from clients.bench.floors import SIGNED
from clients.bench.nodes import RunningNode, channel
from clients.bench.operators import operator

FSCK_RUNS = 2


def check(node: RunningNode, number: int, floor: Measure) -> list[Figure]:
    """The receipt of one more operator, and `fsck` of the store that has it; nothing else may write."""
    admitted = node.client.admit(operator(number))
    seq, receipt, disclosed = admitted["ledger_seq"], admitted["receipt"], channel(node)["size"]
    if seq is None or receipt is None:
        raise RuntimeError(f"operator {number} is not a new one")
    ledger = seq + 1
    runs = in_turn(FSCK_RUNS, {"checked": lambda _: (ledger + disclosed) / _fsck_s(node), SIGNED: floor})
    return [
        Figure(
            "proof_bytes",
            "bytes",
            [len(receipt)],
            Conditions(
                f"receipt (C2SP tlog-proof) of one of {ledger} entries: inclusion proof, signed checkpoint"
            ),
            better="lower",
        ),
        Figure(
            "fsck_entries_per_s",
            "entries/s",
            runs["checked"],
            Conditions(
                f"`aeo fsck` of the issuer: {ledger} ledger entries and {disclosed} disclosures, every body "
                "opened and every credential verified; the start of the process included"
            ),
            ratios=against(runs["checked"], {SIGNED: runs[SIGNED]}),
        ),
    ]


def _fsck_s(node: RunningNode) -> float:
    begun = time.perf_counter()
    subprocess.run(node.command("fsck"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun
