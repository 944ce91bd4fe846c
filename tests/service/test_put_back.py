"""What a peer has seen of a node's logs, and what the node makes of it: only its own signature stops it."""

import pytest

from node.errors import Malformed, Unproven
from node.ledger.checkpoint import Checkpoint, parse
from node.ledger.note import read_note
from node.service import behind
from node.service.witnessing import considered
from node.store import logs
from tests.service.test_incoming import signed
from tests.service.test_witnessing import badly_signed
from tests.service.world import Node, World, open_node, operator

ORIGIN = "aeo.br.example/ledger"


def seen_by_uy(world: World) -> dict[str, tuple[int, str]]:
    """{origin: (size, note)} of what UY has seen of BR's logs."""
    with world.uy.parts.database.read() as connection:
        notes = behind.seen_of(connection, "UY", world.br.parts.card)
    stated = [(parse(read_note(note)[0]), note) for note in notes]
    assert len({each.origin for each, _ in stated}) == len(stated)
    return {each.origin: (each.size, note) for each, note in stated}


def why(node: Node) -> str:
    with node.parts.database.read() as connection:
        return behind.told(node.parts, connection)


def ahead(world: World) -> str:
    """What BR signed of a ledger of ten entries more than its store has."""
    return signed(world.br.parts, Checkpoint(ORIGIN, world.br.ledger().size + 10, bytes(32)))


def show(world: World, note: str) -> None:
    behind.hold(world.br.parts, "aeo.uy.example", behind.opened(world.br.parts, note), note)


def test_a_peer_keeps_the_newest_of_the_ledger_and_of_each_channel_to_it(known: World) -> None:
    found = seen_by_uy(known)
    channel = f"aeo.br.example/channel/{known.agreement}/UY"
    sizes = {origin: size for origin, (size, _) in found.items()}
    assert sizes == {ORIGIN: known.br.ledger().size, channel: known.br.channel_size("BR", "UY")}
    for size, note in found.values():
        assert behind.opened(known.br.parts, note).size == size
    known.br.admit(operator(4))
    known.carry(known.uy)
    assert seen_by_uy(known)[ORIGIN][0] == known.br.ledger().size


def test_what_the_store_leads_up_to_stops_nothing(known: World) -> None:
    notes = [note for _, note in seen_by_uy(known).values()]
    known.br.admit(operator(4))
    for note in notes:
        show(known, note)
    assert why(known.br) == ""
    assert known.br.findings() == []


def test_only_a_signature_of_the_nodes_own_key_is_listened_to(known: World) -> None:
    new = Checkpoint(ORIGIN, 900, bytes(32))
    others = Checkpoint("aeo.uy.example/ledger", 900, bytes(32))
    foreign = signed(known.uy.parts, others)
    for note in (
        foreign,
        foreign.replace("aeo.uy.example", "aeo.br.example"),
        badly_signed(signed(known.br.parts, new)),
        new.text(),
        "",
    ):
        with pytest.raises((Unproven, Malformed)):
            behind.opened(known.br.parts, note)


def test_every_process_of_the_node_writes_nothing_until_the_store_leads_up_to_it(known: World) -> None:
    show(known, ahead(known))
    size = known.br.ledger().size
    other = open_node(known.br.home, known.clock)
    assert f"it holds {size} entries of {ORIGIN}, of which {size + 10} were signed" in why(other)
    with other.parts.database.write() as connection:
        refusal = behind.refusal(other.parts, connection)
    assert refusal is not None
    assert "aeo recover" in refusal.sentence()
    behind.caught_up(other.parts)
    assert why(other), "the store has not changed"
    [finding] = other.findings()
    assert finding.log == ORIGIN
    other.parts.database.close()


def test_a_node_that_was_put_back_cosigns_nothing(known: World) -> None:
    show(known, ahead(known))
    verdict = considered(known.br.parts, b"", None)
    assert getattr(verdict, "status", None) == 503


def test_what_is_told_outside_names_no_channel(known: World) -> None:
    """Whoever asks for health, news or a cosignature must not learn of agreements with others."""
    origin = f"aeo.br.example/channel/{known.agreement}/UY"
    show(known, signed(known.br.parts, Checkpoint(origin, 900, bytes(32))))
    assert known.agreement in why(known.br)
    with known.br.parts.database.read() as connection:
        outside = behind.told_outside(known.br.parts, connection)
    verdict = considered(known.br.parts, b"", None)
    assert outside == getattr(verdict, "why", None) == behind.CHANNEL_SHORT


def test_it_ends_when_the_store_leads_up_to_what_was_signed(known: World) -> None:
    """The incident is in the store; what was missing there comes back beneath it."""
    before = known.br.ledger()
    known.br.admit(operator(4))
    newest = known.br.ledger()
    with known.br.parts.database.write() as connection:
        logs.advance(connection, newest.size, before)
    show(known, newest.checkpoint)
    assert why(known.br)
    with known.br.parts.database.write() as connection:
        logs.advance(connection, before.size, newest)
    behind.caught_up(known.br.parts)
    assert why(known.br) == ""
    assert known.br.findings() == []
