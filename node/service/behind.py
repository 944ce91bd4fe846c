"""Whether this node was put back: what it once signed of its logs, held against its store.

A node that goes on from an older copy of its store would sign a second history. What shows it is a checkpoint
that its own key signed and that the store does not lead up to; nobody else's word counts, so nobody else can
stop a node. It is looked for in the record beside the store (`bookmark.py`) and at the peers, which keep what
they have seen: before anything is written, and again with each peer that was away then. From then on nothing
is written, by no process of this node, until the store leads up to it.
"""

import threading
import time
from collections.abc import Iterator
from typing import Final

import orjson
import structlog
from sqlalchemy import Connection

from node.errors import Conflict, Malformed, NotFound, Refusal, Unproven
from node.exchange import incoming
from node.exchange.card import Card, ledger_origin
from node.exchange.peers import PeerClient
from node.keys import public_raw
from node.ledger import moment, tiles
from node.ledger.checkpoint import Checkpoint, open_checkpoint, stated
from node.ledger.note import ed25519_verifier, read_note
from node.service.bookmark import FILE
from node.service.findings import Finding
from node.service.parts import Parts
from node.store import channels, incidents, logs, witnessed
from node.store.incidents import WHOLE_PEER
from node.store.tables import LEDGER

BEHIND: Final = "behind"
"""Kind of incident, of which the peer is this node itself: its store was put back."""
SEEN_PATH: Final = "/v1/peer/seen"
LOOK_BACK_S: Final = 2.0
"""How long a node waits at its start for peers to say what they have seen of it."""
NOTES_LIMIT: Final = 1_000
"""Most logs of ours that one peer tells of."""
CHANNEL_SHORT: Final = "the store was put back: a channel has fewer entries, or others, than were signed"
DO: Final = "keep both as they are; `aeo recover` says what is lost"

log = structlog.get_logger()


def opened(parts: Parts, note: str, *, ever: bool = False) -> Checkpoint:
    """The checkpoint of a log of ours in a note that our own key signed.

    It is one in use, or one that we hold, for the store may be older than it. `ever`: or a retired one, where
    the note is one that people vouch for. `Unproven` or `Malformed` otherwise.
    """
    origin = read_note(note)[0].partition("\n")[0]
    if not origin.startswith(f"{parts.settings.name}/"):
        raise Unproven("a checkpoint is of no log of this node", where=origin)
    held = [ed25519_verifier(origin, public_raw(key)) for key in parts.keys.log]
    return open_checkpoint(note, origin, {*parts.card.verifiers(origin, ever=ever), *held})


def against(connection: Connection, signed: Checkpoint) -> str:
    """How our log contradicts a checkpoint that was signed of it; empty where it leads up to that."""
    head = logs.head_of(connection, signed.origin)
    size = head.size if head else 0
    if signed.size > size:
        return f"it holds {size} entries of {signed.origin}, of which {signed.size} were signed"
    if head and tiles.tree_root(logs.tile_reader(connection, head.log), signed.size) != signed.root:
        return f"its first {signed.size} entries of {signed.origin} are others than those that were signed"
    return ""


def check_record(parts: Parts, note: str, connection: Connection) -> Iterator[Finding]:
    """The record that is kept apart from the store is ours, and the ledger leads up to it.

    `note` was read before the state of the store that is looked at, so that what is written meanwhile is
    not taken for lost.
    """
    if not note or logs.head(connection, LEDGER) is None:
        return
    try:
        signed = recorded(parts, note)
    except Unproven as refusal:
        yield Finding(FILE, -1, refusal.sentence())
        return
    if found := against(connection, signed):
        yield Finding(FILE, -1, f"the store is an older copy, or another: {found}; {DO}")


def recorded(parts: Parts, note: str) -> Checkpoint:
    """The checkpoint of the ledger in the record beside the store; `Unproven` if this node signed no such."""
    try:
        signed = opened(parts, note, ever=True)
        if signed.origin != ledger_origin(parts.settings.name):
            raise Unproven("it is not of the ledger", where=signed.origin)
    except Refusal as refusal:
        do = "find out who wrote there; if this node was made anew in an old folder, remove the file"
        raise Unproven(
            "it is no checkpoint that this node signed", where=FILE, why=refusal.sentence(), do=do
        ) from None
    return signed


# What a peer keeps of us, and we of it


def seen_of(connection: Connection, own: str, peer: Card) -> list[str]:
    """The notes of the largest checkpoints seen here of a peer's ledger, and of its channels to us."""
    origin = ledger_origin(peer.name)
    seen = witnessed.seen(connection, origin)
    heads = [logs.head_of(connection, origin)]
    heads += [
        logs.head(connection, channel.log)
        for channel in channels.channels(connection)
        if (channel.issuer, channel.partner) == (peer.country, own)
    ]
    own_logs = f"{peer.name}/"
    notes = [
        head.checkpoint for head in heads if head and head.checkpoint and head.origin.startswith(own_logs)
    ]
    if seen is None:
        return notes
    of_ledger = [note for note in notes if stated(note).origin == origin]
    others = [note for note in notes if note not in of_ledger]
    return [max([seen.note, *of_ledger], key=lambda note: stated(note).size), *others]


def ask(parts: Parts, client: PeerClient) -> None:
    """Ask a peer what it has seen of our logs, and hold ours against it; a refusal: it does not answer."""
    for signed, note in told_by(parts, client):
        hold(parts, client.peer.name, signed, note)


def told_by(parts: Parts, client: PeerClient) -> Iterator[tuple[Checkpoint, str]]:
    """Each checkpoint of ours that a peer has seen, if we signed it, with its note; refusals as `ask`."""
    try:
        notes = _notes(client.get_bytes(SEEN_PATH))
    except NotFound:  # a peer that does not keep them for us
        return
    for note in notes:
        try:
            signed = opened(parts, note)
            yield signed, incoming.signed_part(note, parts.card, signed.origin) or note
        except (Malformed, Unproven) as refusal:
            log.warning("a peer shows what we did not sign", peer=client.peer.name, why=refusal.sentence())


def _notes(answer: bytes) -> list[str]:
    try:
        notes = orjson.loads(answer)["seen"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise Malformed("a peer's answer is out of form", where=SEEN_PATH, why=repr(error)) from None
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise Malformed("a peer's answer is out of form", where=SEEN_PATH)
    return notes[:NOTES_LIMIT]


def hold(parts: Parts, by: str, signed: Checkpoint, note: str) -> None:
    """Hold our log against a checkpoint of it; from then on nothing is written, if it contradicts it."""
    with parts.database.read() as connection:
        found = against(connection, signed)
    if not found:
        return
    what = f"the store was put back: {found}, as {by} has seen; {DO}"
    with parts.database.write() as connection:
        time_ = moment.format(parts.now_ms())
        claim = signed.text().encode()
        row = incidents.row(parts.settings.name, WHOLE_PEER, -1, BEHIND, what, note.encode(), time_, claim)
        incidents.note(connection, row)
    log.error("this node writes nothing from now on", why=what)
    parts.bell.ring()


def look_back(parts: Parts) -> None:
    """Ask every peer, side by side; who has not answered in time is asked again when it is followed."""
    caught_up(parts)
    with parts.database.read() as connection:
        peers = list(parts.peers.by_country(connection).values())
    asking = [threading.Thread(target=look_back_at, args=(parts, peer), daemon=True) for peer in peers]
    until_s = time.monotonic() + LOOK_BACK_S
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(max(0.0, until_s - time.monotonic()))


def look_back_at(parts: Parts, peer: Card) -> None:
    """Ask one peer, if it answers."""
    client = parts.client(peer, LOOK_BACK_S)
    try:
        ask(parts, client)
    except Exception as error:  # noqa: BLE001  # whatever a peer answers, the node starts
        log.info("a peer does not say what it has seen", peer=peer.name, why=repr(error))
    finally:
        client.close()


# What follows


def told(parts: Parts, connection: Connection) -> str:
    """Why nothing may be written here; empty as long as nothing shows that the store was put back."""
    return incidents.open_detail(connection, parts.settings.name, BEHIND)


def told_outside(parts: Parts, connection: Connection) -> str:
    """The same for whoever asks: if a channel falls short not which, for others must not know of it."""
    why = told(parts, connection)
    return CHANNEL_SHORT if f"{parts.settings.name}/channel/" in why else why


def refusal(parts: Parts, connection: Connection) -> Conflict | None:
    """The refusal of whatever would be written, if the store was put back."""
    if why := told(parts, connection):
        return Conflict("this node writes nothing: its store is older than what it has signed", why=why)
    return None


def caught_up(parts: Parts) -> None:
    """Close what no longer holds: the store leads up to it again."""
    with parts.database.read() as connection:
        rows = incidents.open_of_kind(connection, parts.settings.name, BEHIND)
        over = [row for row in rows if not against(connection, stated(row["evidence"].decode()))]
    if over:
        with parts.database.write() as connection:
            for row in over:
                incidents.close(connection, row["incident"], moment.format(parts.now_ms()))


def check_incidents(parts: Parts, connection: Connection) -> Iterator[Finding]:
    """What peers have seen of this node that the store does not lead up to."""
    for row in incidents.open_of_kind(connection, parts.settings.name, BEHIND):
        yield Finding(stated(row["evidence"].decode()).origin, -1, row["detail"])
