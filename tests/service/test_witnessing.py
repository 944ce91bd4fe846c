"""P3: a node witnesses its peers' logs; one that signs two histories is found and not believed."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest

from node.errors import Conflict, Unproven
from node.exchange.card import channel_origin, ledger_origin
from node.ledger import tiles
from node.ledger.accusation import Accusation
from node.ledger.checkpoint import Checkpoint
from node.ledger.encoding import b64
from node.ledger.merkle import EMPTY_ROOT
from node.ledger.note import open_note
from node.ledger.tiles import Tree
from node.ledger.witness import Accepted, Rejected, request
from node.service.accusing import FORKED, UNPROVEN, is_stopped, pursue
from node.service.witnessing import AddCheckpoint, Answer, KeepRefused, considered
from node.store import incidents, logs, witnessed
from node.store.tables import LEDGER
from tests.service.test_incoming import ONE, signed
from tests.service.world import Json, Node, Tamper, World, operator

ORIGIN = "aeo.br.example/ledger"


@dataclass
class History:
    """A tree of BR's ledger, as it is or otherwise from some entry on, that BR's own keys sign."""

    world: World
    leaves: list[bytes]

    def note(self, size: int) -> str:
        return signed(self.world.br.parts, Checkpoint(ORIGIN, size, self.tree(size).root()))

    def tree(self, size: int) -> Tree:
        grown = tiles.append(lambda *_: b"", 0, self.leaves[:size])
        return Tree(lambda level, index: grown.tiles[level, index], size)

    def body(self, old: int, size: int) -> bytes:
        return request(old, self.tree(size).consistency_proof(old), self.note(size))


def truth(world: World) -> History:
    with world.br.parts.database.read() as connection:
        head = logs.head(connection, LEDGER)
        assert head is not None
        leaf_at = logs.leaf_reader(connection, head)
        return History(world, [leaf_at(seq) for seq in range(head.size)])


def lie(world: World, start: int, size: int = 0) -> History:
    """The same up to an entry, others from there on."""
    leaves = truth(world).leaves
    return History(
        world, leaves[:start] + [bytes([each]) * 32 for each in range(max(size, len(leaves)) - start)]
    )


def add(node: Node, body: bytes, sender: Any = None) -> str | Rejected:
    """What a node answers to a request for its cosignature, as its route does."""
    verdict = considered(node.parts, body, sender)
    answer: Answer = node.settle(verdict) if isinstance(verdict, AddCheckpoint | KeepRefused) else verdict
    return node.parts.witness(answer.checkpoint.text()) if isinstance(answer, Accepted) else answer


def refused(world: World, note: str) -> KeepRefused:
    """A checkpoint of BR as it is kept that does not follow."""
    return KeepRefused(world.br.parts.card, note, Rejected(422, "", signed=note))


def badly_signed(note: str) -> str:
    """The note with a bad signature by the log's own key."""
    text, _, lines = note.partition("\n\n")
    first, rest = lines.split("\n", 1)
    return f"{text}\n\n{first[:-12]}AAAAAAAA{first[-4:]}\n{rest}"


def status(answer: str | Rejected) -> int:
    return answer.status if isinstance(answer, Rejected) else 200


@contextmanager
def unwritable(node: Node) -> Iterator[None]:
    """A node whose store must not be written to."""
    database, write = node.parts.database, node.parts.database.write

    def refuse() -> Any:
        raise AssertionError("there was nothing to write")

    database.write = refuse  # type: ignore[method-assign]  # the store's own edge
    try:
        yield
    finally:
        database.write = write  # type: ignore[method-assign]


def seen_size(node: Node, origin: str = ORIGIN) -> int:
    with node.parts.database.read() as connection:
        seen = witnessed.seen(connection, origin)
    return seen.size if seen else 0


def kinds(world: World) -> list[str]:
    return [each["kind"] for each in world.uy.incidents()]


def accusation(world: World) -> Accusation:
    [incident] = [each for each in world.uy.incidents() if each["kind"] == FORKED]
    with world.uy.parts.database.read() as connection:
        found = incidents.with_evidence(connection, incident["incident"])
    assert found is not None
    return Accusation.decode(found["evidence"])


def assert_shown(world: World) -> None:
    """The accusation holds for anyone with BR's card, the answers say so, and nothing new is taken."""
    found = accusation(world)
    older, newer = found.check(world.br.parts.card.verifiers(ORIGIN))
    assert (older.size, older.root) != (newer.size, newer.root)
    with world.uy.parts.database.read() as connection:
        assert is_stopped(connection, world.br.parts.card)
    answer = world.uy.look_up(ONE)
    assert answer["fields"]["tin"] == ONE, "what was proven is still answered"
    assert any("two histories" in each for each in answer["alerts"])
    history = truth(world)
    assert status(add(world.uy, history.body(seen_size(world.uy), len(history.leaves)))) == 403
    assert world.uy.findings() == []


def test_a_checkpoint_that_follows_is_kept_and_cosigned_with_both_keys(known: World) -> None:
    known.br.admit(operator(4))
    history, old = truth(known), seen_size(known.uy)
    size = len(history.leaves)
    assert 0 < old < size, "what came with news counts"
    lines = add(known.uy, history.body(old, size))
    assert isinstance(lines, str)
    opened = open_note(history.note(size) + lines, known.uy.parts.card.cosigners())
    assert {each.time_s for each in opened.signatures} == {known.clock.ms // 1000}
    assert len(opened.signatures) == 2
    assert seen_size(known.uy) == size
    again = add(known.uy, request(size, (), history.note(size)))
    assert isinstance(again, str), "the same again is cosigned again"
    known.carry(known.uy)
    assert known.uy.incidents() == []
    assert known.uy.findings() == []


def test_a_witness_that_never_saw_the_log_begins_with_any_checkpoint(strangers: World) -> None:
    history = truth(strangers)
    assert status(add(strangers.uy, history.body(0, 1))) == 404, "nobody has pinned it"
    strangers.pin()
    history = truth(strangers)
    assert status(add(strangers.uy, history.body(0, len(history.leaves)))) == 200


def test_requests_that_do_not_follow_get_the_codes_of_the_specification(known: World) -> None:
    known.br.admit(operator(4))
    history, old = truth(known), seen_size(known.uy)
    size, note = len(history.leaves), history.note(len(history.leaves))
    proof = history.tree(size).consistency_proof(old)
    stranger = signed(known.uy.parts, Checkpoint(ORIGIN, size, history.tree(size).root()))
    elsewhere = signed(known.br.parts, Checkpoint("aeo.xx.example/ledger", 1, bytes(32)))
    wanted = [
        (404, request(0, (), elsewhere)),
        (403, request(old, proof, stranger)),
        (403, request(old, proof, badly_signed(note))),
        (400, b""),
        (400, b"old 1\n"),
        (400, b"\xff" + request(old, proof, note)),
        (400, request(old, proof, note).replace(b"old ", b"old 0")),
        (400, request(old, proof * 64, note)),
        (400, request(size + 1, proof, note)),
        (400, bytes(1 << 19)),
        (409, request(0, (), note)),
        (409, request(old - 1, proof, note)),
        (422, request(old, (), note)),
        (422, request(old, (*proof, bytes(32)), note)),
    ]
    for code, body in wanted:
        assert status(add(known.uy, body)) == code, body[:80]
    told = add(known.uy, request(0, (), note))
    assert isinstance(told, Rejected)
    assert told.size == old
    assert seen_size(known.uy) == old, "nothing was kept"
    known.carry(known.uy)
    assert known.uy.incidents() == [], "a wrong proof accuses nobody, once the copy shows what is true"


def test_a_channel_is_watched_for_its_issuer_only(known: World) -> None:
    known.br.admit(operator(4))
    origin = channel_origin("aeo.br.example", known.agreement, "UY")
    with known.br.parts.database.read() as connection:
        head = logs.head_of(connection, origin)
        assert head is not None
        old = seen_size(known.uy, origin)
        proof = Tree(logs.tile_reader(connection, head.log), head.size).consistency_proof(old)
    body = request(old, proof, head.checkpoint)
    assert status(add(known.uy, body)) == 404
    assert status(add(known.uy, body, known.uy.parts.card)) == 404
    assert status(add(known.uy, body, known.br.parts.card)) == 200
    known.carry(known.uy)
    assert known.uy.incidents() == []


@pytest.mark.parametrize("longer", [0, 3])
def test_two_roots_for_one_size_are_found_by_whoever_sees_the_second(known: World, longer: int) -> None:
    if longer:
        for number in range(4, 4 + longer):
            known.br.admit(operator(number))
        history = truth(known)
        assert status(add(known.uy, history.body(seen_size(known.uy), len(history.leaves)))) == 200
    forged = lie(known, 3)
    size = seen_size(known.uy)
    assert status(add(known.uy, request(size, (), forged.note(size)))) == 422
    assert kinds(known) == [FORKED]
    assert_shown(known)


def test_a_smaller_tree_that_our_copy_does_not_begin_with_is_an_accusation(known: World) -> None:
    forged, size = lie(known, 3), seen_size(known.uy)
    answer = add(known.uy, request(size - 1, (), forged.note(size - 1)))
    assert status(answer) == 409
    known.uy.settle(refused(known, forged.note(size - 1)))
    assert_shown(known)


def test_a_larger_tree_that_did_not_follow_is_weighed_once_our_copy_reaches_it(known: World) -> None:
    size = seen_size(known.uy)
    forged = lie(known, 3, size + 2)
    assert status(add(known.uy, forged.body(size, size + 2))) == 422
    assert kinds(known) == [UNPROVEN]
    known.br.admit(operator(4))
    known.carry(known.uy)
    assert kinds(known) == [UNPROVEN], "our copy is one entry short"
    known.br.admit(operator(5))
    known.carry(known.uy)
    assert kinds(known) == [FORKED]
    assert_shown(known)


def test_what_was_cosigned_and_what_comes_with_news_must_be_one_history(known: World) -> None:
    size = seen_size(known.uy)
    forged = lie(known, size, size + 2)
    assert status(add(known.uy, forged.body(size, size + 2))) == 200, "it follows what was seen"
    known.br.admit(operator(4))
    known.carry(known.uy)
    assert kinds(known) == [], "it may be the beginning of it"
    known.br.admit(operator(5))
    before = known.uy.channel_size("BR", "UY")
    with pytest.raises(Unproven, match="two histories"):
        known.carry(known.uy)
    assert known.uy.channel_size("BR", "UY") == before, "nothing of that page was used"
    assert_shown(known)


def test_a_log_that_signed_more_than_it_has_is_not_believed(known: World) -> None:
    """Whoever signs a tree of any size, to be asked about no smaller one, stands by it or is refused."""
    size = seen_size(known.uy)
    forged = lie(known, size, size + 100)
    assert status(add(known.uy, forged.body(size, size + 100))) == 200
    known.br.admit(operator(4))
    known.carry(known.uy)
    assert kinds(known) == [], "what was on its way is taken"
    known.clock.ms += 120_000
    with pytest.raises(Unproven, match="shorter than it was signed"):
        known.carry(known.uy)
    assert kinds(known) == ["replaced"]


def held_back(world: World, size: int) -> Tamper:
    """BR's ledger as it is signed, without its last leaves, rightly proven."""

    def tamper(page: Json) -> None:
        with world.br.parts.database.read() as connection:
            head = logs.head(connection, LEDGER)
            assert head is not None
            tree = Tree(logs.tile_reader(connection, LEDGER), head.size)
            page["ledger"]["leaves"] = b64(tiles.leaf_hashes(tree.read_tile, size, head.size - 1))
            page["ledger"]["consistency"] = [b64(each) for each in tree.consistency_proof(head.size - 1)]

    return tamper


def test_who_keeps_the_last_leaf_back_looks_neither_fresh_nor_whole(known: World) -> None:
    limit_s = known.uy.look_up(ONE)["freshness"]["limit_s"]
    for number in (4, 5):
        known.br.admit(operator(number))
        known.clock.ms += 1000 * limit_s
        known.take(known.uy, tampered(known, copy_size(known)))
    answer = known.uy.look_up(ONE)
    assert not answer["freshness"]["fresh"]
    assert not answer["recognition"]["applies"]
    forged, copy = lie(known, 3, copy_size(known) + 2), copy_size(known)
    assert status(add(known.uy, forged.body(copy, copy + 1))) == 422, "it must follow our copy too"
    known.uy.settle(refused(known, forged.note(copy)))
    assert UNPROVEN in kinds(known)
    with pytest.raises(Conflict, match="accused"):
        known.exchange()
    assert FORKED in kinds(known), "weighed once our copy is whole"


def copy_size(world: World) -> int:
    with world.uy.parts.database.read() as connection:
        head = logs.head_of(connection, ORIGIN)
    assert head is not None
    return head.size


def tampered(world: World, size: int) -> Json:
    page = world.page(world.uy)
    held_back(world, size)(page)
    return page


def test_a_log_that_is_cosigned_again_and_again_ahead_of_what_it_serves_is_found(known: World) -> None:
    size = seen_size(known.uy)
    old = known.page(known.uy)
    for more in range(1, 5):
        forged = lie(known, size, size + 10)
        assert status(add(known.uy, forged.body(seen_size(known.uy), size + more))) == 200
        known.clock.ms += 30_000
    assert old["ledger"]["checkpoint"]
    with pytest.raises(Unproven, match="shorter than it was signed"):
        known.carry(known.uy)


def test_the_same_checkpoint_again_takes_no_turn_of_the_writer(known: World) -> None:
    history, size = truth(known), seen_size(known.uy)
    assert isinstance(considered(known.uy.parts, request(size, (), history.note(size)), None), Accepted)


def test_a_checkpoint_that_does_not_follow_takes_a_turn_only_if_it_shows_something_new(known: World) -> None:
    size = seen_size(known.uy)
    history = truth(known)
    wrong = request(size, (bytes(32),), history.note(size))
    assert isinstance(considered(known.uy.parts, wrong, None), Rejected), "our copy shows that it is true"
    known.br.admit(operator(4))
    ahead = request(size, (), truth(known).note(size + 1))
    assert status(add(known.uy, ahead)) == 422
    assert kinds(known) == [UNPROVEN]
    with unwritable(known.uy):
        assert status(add(known.uy, ahead)) == 422, "it is kept already"


def test_what_was_found_while_a_checkpoint_waited_for_the_writer_counts(known: World) -> None:
    known.br.admit(operator(4))
    history, size = truth(known), seen_size(known.uy)
    body = history.body(size, len(history.leaves))
    first, second = (considered(known.uy.parts, body, None) for _ in range(2))
    assert isinstance(known.uy.settle(first), Accepted)
    assert known.uy.settle(second).size == len(history.leaves), "recorded meanwhile"
    known.br.admit(operator(5))
    history, size = truth(known), seen_size(known.uy)
    waiting = considered(known.uy.parts, history.body(size, len(history.leaves)), None)
    assert status(add(known.uy, request(size, (), lie(known, 3).note(size)))) == 422
    assert known.uy.settle(waiting).status == 403, "accused meanwhile"
    assert seen_size(known.uy) == size
    assert_shown(known)


def test_what_others_wrote_under_a_checkpoint_is_not_kept(known: World) -> None:
    """So that no note grows until an accusation finds no room."""
    known.br.admit(operator(4))
    history, old = truth(known), seen_size(known.uy)
    size = len(history.leaves)
    junk = "".join(f"— aeo.xx.example/{number} {'A' * 3996}\n" for number in range(60))
    body = request(old, history.tree(size).consistency_proof(old), history.note(size) + junk)
    assert status(add(known.uy, body)) == 200
    with known.uy.parts.database.read() as connection:
        seen = witnessed.seen(connection, ORIGIN)
    assert seen is not None
    assert len(seen.note) < 8_000
    assert status(add(known.uy, request(size, (), lie(known, 3).note(size) + junk))) == 422
    assert_shown(known)


def test_a_checkpoint_that_our_copy_contradicts_is_not_cosigned(known: World) -> None:
    """The witness has seen less than the copy holds: only the copy can tell."""
    size = seen_size(known.uy)
    known.br.admit(operator(4))
    known.br.admit(operator(5))
    known.carry(known.uy)
    with known.uy.parts.database.write() as connection:
        old = truth(known)
        witnessed.see(
            connection,
            ORIGIN,
            witnessed.Seen(size, old.tree(size).root(), old.note(size), size, "2026-11-22T12:00:00.000Z"),
        )
    forged, copy = lie(known, size, size + 3), size + 2
    assert status(add(known.uy, forged.body(size, size + 1))) == 409, "our copy is longer"
    assert status(add(known.uy, forged.body(copy, copy + 1))) == 422
    assert kinds(known) == [UNPROVEN]
    known.br.admit(operator(6))
    known.carry(known.uy)
    assert_shown(known)


@pytest.mark.parametrize("more", [0, 2])
def test_news_of_another_history_are_pursued_to_an_accusation(known: World, more: int) -> None:
    """The peer serves the tiles of what it signed, as any log does."""
    size = seen_size(known.uy)
    forged = lie(known, 3, size + more)
    asked = list[str]()

    def fetch(path: str) -> bytes:
        asked.append(path)
        tile = tiles.parse_path(path.removeprefix("/log/"))
        return forged.tree(size + more).read_tile(tile.level, tile.index)

    pursue(known.uy.parts, known.br.parts.card, forged.note(size + more), fetch)
    assert bool(asked) == bool(more)
    assert_shown(known)


def test_news_that_are_true_but_damaged_accuse_nobody(known: World) -> None:
    known.br.admit(operator(4))
    history = truth(known)
    size = len(history.leaves)

    def fetch(path: str) -> bytes:
        tile = tiles.parse_path(path.removeprefix("/log/"))
        return history.tree(size).read_tile(tile.level, tile.index)

    notes = (history.note(size), history.note(size - 1), history.note(1), "nothing", history.note(1)[:-9])
    with unwritable(known.uy):
        for note in notes:
            pursue(known.uy.parts, known.br.parts.card, note, fetch)
    assert known.uy.incidents() == []


def test_an_accusation_is_settled_by_people(known: World) -> None:
    size = seen_size(known.uy)
    add(known.uy, request(size, (), lie(known, 3).note(size)))
    [incident] = known.uy.incidents()
    with known.uy.parts.database.write() as connection:
        assert incidents.close(connection, incident["incident"], "2026-11-22T13:00:00.000Z")
    known.uy.parts.bell.ring()
    known.br.admit(operator(4))
    known.carry(known.uy)
    assert known.uy.look_up(ONE)["alerts"] == []
    history = truth(known)
    assert status(add(known.uy, request(len(history.leaves), (), history.note(len(history.leaves))))) == 200


def test_the_empty_tree_has_one_root(strangers: World) -> None:
    strangers.pin()
    for root, code in ((EMPTY_ROOT, 200), (bytes(32), 422)):
        note = signed(strangers.br.parts, Checkpoint(ledger_origin("aeo.br.example"), 0, root))
        with unwritable(strangers.uy) if code == 200 else nullcontext():
            assert status(add(strangers.uy, request(0, (), note))) == code
