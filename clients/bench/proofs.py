"""What proof costs: a receipt that a partner has cosigned, and evidence that is checked offline."""

import asyncio
import time
from collections.abc import Sequence

import httpx
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from clients.bench.figures import Conditions, Figure, Goal
from clients.bench.nodes import Pair, RunningNode
from clients.bench.writes import DURABLE
from clients.sdk import verifier
from node.ledger import tiles
from node.ledger.checkpoint import Checkpoint, sign_checkpoint
from node.ledger.merkle import leaf_hash
from node.ledger.note import cosign, ed25519_signer, ml_dsa_cosigner
from node.ledger.proof import TlogProof

PER_S = 20
RECEIPTS = 200
VERIFIED = 40
LIMIT_S = 10.0
STATUS = "SUSPENDED"


def witnessed_receipt(issuer: RunningNode, tins: Sequence[str]) -> Figure:
    """Suspend each of these once, 20 a second; each answer waits for the partner's cosignature."""
    waits = asyncio.run(_suspended(issuer, tins[:RECEIPTS]))
    return Figure(
        "witnessed_receipt_ms",
        "ms",
        waits,
        Conditions(
            f"{len(waits)} suspensions with `wait=witnessed`, partner replicating: from the request until "
            "the answer with a receipt whose checkpoint the partner has cosigned, Ed25519 and ML-DSA-44",
            "a status of one operator",
            f"{PER_S} changes a second on a fixed timetable, both nodes on these processors",
            DURABLE[""],
        ),
        better="lower",
        goal=Goal(60, 200),
    )


async def _suspended(issuer: RunningNode, tins: Sequence[str]) -> list[float]:
    headers = {"authorization": f"Bearer {issuer.token}"}
    async with httpx.AsyncClient(base_url=issuer.url, headers=headers, timeout=LIMIT_S) as client:
        begun = time.perf_counter()
        one = (_one(client, tin, begun + at / PER_S) for at, tin in enumerate(tins))
        return await asyncio.gather(*one)


async def _one(client: httpx.AsyncClient, tin: str, at: float) -> float:
    await asyncio.sleep(at - time.perf_counter())
    sent = time.perf_counter()
    asked = client.post(f"/v1/operators/{tin}/status", json={"status": STATUS}, params={"wait": "witnessed"})
    answer = (await asked).raise_for_status()
    took_ms = 1000 * (time.perf_counter() - sent)
    if not orjson.loads(answer.content)["witnessed"]:
        raise RuntimeError("the partner has not cosigned a change in time")
    return took_ms


def evidence(pair: Pair, tin: str) -> list[Figure]:
    """What a partner can show of one operator: how long it takes to check, and how large it is."""
    encoded, policy = pair.partner.client.evidence(tin), _policy(pair)
    runs = []
    for _ in range(VERIFIED):
        begun = time.perf_counter()
        results = verifier.verify(encoded, policy)
        runs.append(1000 * (time.perf_counter() - begun))
        if not all(each.passed for each in results):
            raise RuntimeError(verifier.told(results))
    told = f"evidence about one operator with {encoded.count(b'ledger_proof')} disclosures"
    return [
        Figure(
            "evidence_verify_ms",
            "ms",
            runs,
            Conditions(
                f"{told}: every numbered check of `aeo verify`, the start of the process not included"
            ),
            better="lower",
            goal=Goal(100),
        ),
        Figure("evidence_bytes", "bytes", [len(encoded)], Conditions(told), better="lower"),
    ]


def _policy(pair: Pair) -> str:
    """Brazil's ledger, and Uruguay as the witness of it with all its keys."""
    log = pair.issuer.client.log_keys()["log"]["vkey"]
    keys = pair.partner.client.log_keys()["witness"]["vkeys"]
    names = [f"partner{at}" for at in range(len(keys))]
    witnesses = [f"witness {name} {key}" for name, key in zip(names, keys, strict=True)]
    return "\n".join([f"log {log}", *witnesses, f"group partner all {' '.join(names)}", "quorum partner", ""])


def proof_bytes(name: str, count: int) -> Figure:
    """The receipt of an entry in a ledger of so many, made as a node makes it, of a tree in memory."""
    leaves = [leaf_hash(at.to_bytes(8)) for at in range(count)]
    grown = tiles.append(_no_tile, 0, leaves)
    tree = tiles.Tree(lambda level, index: grown.tiles[level, index], count)
    signed = Checkpoint("aeo.br.example/ledger", grown.size, grown.root)
    note = sign_checkpoint(signed, [ed25519_signer(signed.origin, Ed25519PrivateKey.generate())])
    note += cosign(signed.text(), ml_dsa_cosigner("aeo.br.example/witness", MLDSA44PrivateKey.generate()), 0)
    proof = TlogProof(1, tree.inclusion_proof(1), note)
    told = f"receipt (C2SP tlog-proof) of one of {count} entries: {len(proof.hashes)} hashes, checkpoint, "
    told += "the log's Ed25519 and the node's ML-DSA-44 signature; the tree in memory"
    return Figure(f"proof_bytes_{name}", "bytes", [len(proof.encode())], Conditions(told), better="lower")


def _no_tile(level: int, index: int) -> bytes:
    raise KeyError((level, index))
