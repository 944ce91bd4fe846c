"""Whether this node was put back: what it once signed of its ledger, held against its store.

A node that goes on from an older copy of its store would sign a second history of its ledger. What shows
it is a checkpoint that its own key signed and that the store does not lead up to; nobody else's word counts.
"""

from collections.abc import Iterator

from sqlalchemy import Connection

from node.errors import Refusal
from node.exchange.card import ledger_origin
from node.ledger import tiles
from node.ledger.checkpoint import Checkpoint, open_checkpoint
from node.service.bookmark import FILE
from node.service.findings import Finding
from node.service.parts import Parts
from node.store import logs
from node.store.logs import Head
from node.store.tables import LEDGER

DO = "keep both as they are; `aeo recover` says what is lost"


def opened(parts: Parts, note: str) -> Checkpoint:
    """The checkpoint of our ledger in a note that our own key signed; `Unproven`, `Malformed` otherwise."""
    origin = ledger_origin(parts.settings.name)
    return open_checkpoint(note, origin, parts.card.verifiers(origin))


def against(connection: Connection, head: Head, signed: Checkpoint) -> str:
    """How the ledger contradicts a checkpoint that was signed of it; empty where it leads up to it."""
    if signed.size > head.size:
        return f"it holds {head.size} entries of the ledger, of which {signed.size} were signed"
    if tiles.tree_root(logs.tile_reader(connection, LEDGER), signed.size) != signed.root:
        return f"its first {signed.size} entries of the ledger are others than those that were signed"
    return ""


def check_record(parts: Parts, note: str, connection: Connection) -> Iterator[Finding]:
    """The record that is kept apart from the store is ours, and the ledger leads up to it.

    `note` was read before the state of the store that is looked at, so that what is written meanwhile is
    not taken for lost.
    """
    head = logs.head(connection, LEDGER)
    if not note or head is None:
        return
    try:
        signed = opened(parts, note)
    except Refusal as refusal:
        do = "find out who wrote there; if this node was made anew in an old folder, remove the file"
        yield Finding(FILE, -1, f"it is no checkpoint that this node signed: {refusal.sentence()}; {do}")
        return
    if found := against(connection, head, signed):
        yield Finding(FILE, -1, f"the store is an older copy, or another: {found}; {DO}")
