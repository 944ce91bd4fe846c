"""Receipts: proof that an entry is in the ledger, as a C2SP tlog-proof against the newest checkpoint."""

from node.errors import Damaged, NotFound
from node.ledger.proof import TlogProof
from node.ledger.tiles import inclusion_proof
from node.service.parts import Parts
from node.store import logs
from node.store.tables import LEDGER


def proof_text(parts: Parts, seq: int) -> str:
    """The receipt of one entry; `NotFound` when the ledger has none of this number."""
    with parts.database.read() as connection:
        head = logs.head(connection, LEDGER)
        if head is None:
            raise Damaged("the store has no ledger", do="run `aeo fsck`")
        if not 0 <= seq < head.size:
            raise NotFound("the ledger has no such entry", where=f"entry {seq}", why=f"it has {head.size}")
        hashes = inclusion_proof(logs.tile_reader(connection, LEDGER), seq, head.size)
        return TlogProof(seq, hashes, head.checkpoint).encode()
