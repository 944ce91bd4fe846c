"""What checking costs: the size of a receipt, and how fast a log is re-read and a store recomputed."""

import subprocess
import sys
import time
from itertools import count
from pathlib import Path

from clients.bench import floors, usage
from clients.bench.figures import Conditions, Figure, Goal, Measure, against, in_turn
from clients.bench.floors import HASHED, SIGNED
from clients.bench.nodes import RunningNode, channel
from clients.bench.operators import operator

FSCK_RUNS = 2
AUDIT_RUNS = 5
KEY = "Key of its ledger: "


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
            "fsck_store_entries_per_s",
            "entries/s",
            runs["checked"],
            Conditions(
                f"`aeo fsck` of the issuer: {ledger} ledger entries and {disclosed} disclosures, every body "
                "opened and every credential verified; the start of the process included"
            ),
            ratios=against(runs["checked"], {SIGNED: runs[SIGNED]}),
        ),
    ]


def reread(node: RunningNode, folder: Path) -> list[Figure]:
    """`aeo audit` of the node's ledger, again and again from its first entry."""
    told = subprocess.run(node.command("card"), check=True, capture_output=True, text=True).stderr
    vkey = told.partition(KEY)[2].partition("\n")[0]
    size, states = node.client.health(), count()

    def audited(_: int) -> float:
        command = [sys.executable, "-m", "clients.cli.main", "audit", f"{node.url}/log", "--vkey", vkey]
        with usage.one_processor():
            ran = usage.run([*command, "--state", str(folder / f"{next(states)}.audit")])
        return size / ran.took_s

    runs = in_turn(AUDIT_RUNS, {"audited": audited, HASHED: floors.hashes()})
    what = f"`aeo audit` of {size} ledger entries as the issuer serves them: read over HTTP, hashed, held "
    what += "against the tiles, decoded, chained, the tree compared with the signed root; the start included"
    by = "the auditing process on one processor, the node on any"
    bare = Conditions(
        "hashlib alone, two SHA-256 for each entry", f"{floors.ENTRY_BYTES} and 65 bytes", "one thread"
    )
    return [
        Figure(
            "fsck_entries_per_s",
            "entries/s",
            runs["audited"],
            Conditions(what, concurrency=by),
            goal=Goal(20_000),
            ratios=against(runs["audited"], {HASHED: runs[HASHED]}),
        ),
        Figure(HASHED, "entries/s", runs[HASHED], bare, floor=True),
    ]


def _fsck_s(node: RunningNode) -> float:
    begun = time.perf_counter()
    subprocess.run(node.command("fsck"), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun
