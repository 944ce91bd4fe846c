"""P4: the page under attack. What does not hold is refused and kept; the truth is taken afterwards."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import select

from contracts.evaluation import Answer
from node.errors import Malformed, Refusal, Unproven
from node.exchange import notices, outgoing, sealing, versions
from node.exchange.card import ledger_origin
from node.exchange.outgoing import Line
from node.exchange.versions import Version
from node.ledger import canonical
from node.ledger.checkpoint import Checkpoint
from node.ledger.encoding import b64, b64u, unb64
from node.ledger.entry import ChannelEntry, LedgerEntry
from node.ledger.merkle import leaf_hash, root
from node.ledger.tiles import Tree
from node.records.credential import es256_signer
from node.service.batch import Batch
from node.service.erasing import Erase
from node.service.parts import Parts
from node.store import incidents, logs, records
from node.store.database import table
from node.store.tables import LEDGER, Incident, LogHead, Mirror
from tests.service.world import CNPJS, Json, Node, World, asking, kid_of, operator

Attack = Callable[[World, Json], None]

ONE, TWO, THREE, FOUR = (f"BR{cnpj}" for cnpj in CNPJS[1:5])


@pytest.fixture
def told(known: World) -> World:
    """UY knows operators 1 to 3; BR has since renamed 1, suspended 2 and recorded 4."""
    world = known
    world.clock.ms += 5_000
    world.br.amend(ONE, legal_name="Caatinga Nova S/A")
    world.br.amend(TWO, status="SUSPENDED")
    world.br.admit(operator(4))
    return world


def dump(node: Node) -> dict[str, list[Any]]:
    """Everything a node has stored, but the incidents."""
    found = {}
    with node.parts.database.read() as connection:
        for described in table(Mirror).metadata.sorted_tables:
            if described.name != table(Incident).name:
                found[described.name] = list(connection.execute(select(described)))
    return found


def entries_of(page: Json) -> list[Json]:
    found: list[Json] = page["channels"][0]["entries"]
    return found


def statuses(world: World) -> list[str]:
    return [world.uy.look_up(tin)["status"]["value"] for tin in (ONE, TWO, THREE)]


def is_up_to_date(world: World) -> None:
    assert statuses(world) == ["ACTIVE", "SUSPENDED", "ACTIVE"]
    assert world.uy.look_up(ONE)["fields"]["legal_name"] == "Caatinga Nova S/A"
    assert world.uy.look_up(FOUR)["recognition"]["applies"]
    assert world.uy.findings() == []


# The page as a whole


def drop_the_first(world: World, page: Json) -> None:
    del entries_of(page)[0]


def drop_one_in_the_middle(world: World, page: Json) -> None:
    del entries_of(page)[1]


def drop_the_last(world: World, page: Json) -> None:
    del entries_of(page)[-1]


def swap_two(world: World, page: Json) -> None:
    listed = entries_of(page)
    listed[0], listed[1] = listed[1], listed[0]


def repeat_one(world: World, page: Json) -> None:
    entries_of(page).insert(1, entries_of(page)[0])


def repeat_the_last(world: World, page: Json) -> None:
    entries_of(page).append(entries_of(page)[-1])


def rewrite_an_entry(world: World, page: Json) -> None:
    entry = ChannelEntry.decode(entries_of(page)[-1]["entry"].encode())
    forged = ChannelEntry(entry.channel, entry.seq, entry.prev, entry.time, "notice", entry.epoch, entry.body)
    entries_of(page)[-1]["entry"] = forged.encode().decode()


def entry_of_another_channel(world: World, page: Json) -> None:
    entry = ChannelEntry.decode(entries_of(page)[0]["entry"].encode())
    other = ChannelEntry(
        entry.channel + "X", entry.seq, entry.prev, entry.time, entry.kind, entry.epoch, entry.body
    )
    entries_of(page)[0]["entry"] = other.encode().decode()


def signed(parts: Parts, checkpoint: Checkpoint) -> str:
    """A checkpoint as the issuer's own keys sign and cosign it, whatever it says."""
    return parts.sign(checkpoint) + parts.beat(checkpoint.text())


def ledger_of(world: World, size: int) -> Checkpoint:
    """BR's true ledger at an earlier size."""
    with world.br.parts.database.read() as connection:
        encoded = logs.entries(connection, LEDGER, 0, size)
    origin = ledger_origin(world.br.parts.settings.name)
    return Checkpoint(origin, size, root([leaf_hash(entry) for entry in encoded]))


def seen_ledger_size(world: World) -> int:
    with world.uy.parts.database.read() as connection:
        head = logs.head_of(connection, ledger_origin(world.br.parts.settings.name))
    assert head is not None
    return head.size


def ledger_shortened(world: World, page: Json) -> None:
    shorter = ledger_of(world, seen_ledger_size(world) - 1)
    page["ledger"] = {"checkpoint": signed(world.br.parts, shorter), "leaves": "", "consistency": []}


def ledger_rewritten(world: World, page: Json) -> None:
    """Another history of the same length, validly signed."""
    now = ledger_of(world, seen_ledger_size(world))
    other = Checkpoint(now.origin, now.size, bytes(32))
    page["ledger"] = {"checkpoint": signed(world.br.parts, other), "leaves": "", "consistency": []}


def ledger_rewritten_and_longer(world: World, page: Json) -> None:
    now = ledger_of(world, world.br.ledger().size)
    page["ledger"]["checkpoint"] = signed(world.br.parts, Checkpoint(now.origin, now.size, bytes(32)))


def ledger_of_another_origin(world: World, page: Json) -> None:
    page["ledger"]["checkpoint"] = page["channels"][0]["checkpoint"]


def ledger_signed_by_another(world: World, page: Json) -> None:
    now = ledger_of(world, world.br.ledger().size)
    stranger = Parts(
        **{n: getattr(world.br.parts, n) for n in Parts.__slots__} | {"keys": world.uy.parts.keys}
    )
    page["ledger"]["checkpoint"] = signed(stranger, now)


def ledger_without_cosignature(world: World, page: Json) -> None:
    page["ledger"]["checkpoint"] = page["ledger"]["checkpoint"].rpartition("—")[0]


def ledger_without_lasting_cosignature(world: World, page: Json) -> None:
    *head, _, beat, end = page["ledger"]["checkpoint"].split("\n")
    page["ledger"]["checkpoint"] = "\n".join([*head, beat, end])


def leaf_flipped(world: World, page: Json) -> None:
    leaves = bytearray(unb64(page["ledger"]["leaves"]))
    leaves[0] ^= 1
    page["ledger"]["leaves"] = b64(bytes(leaves))


def leaf_cut(world: World, page: Json) -> None:
    page["ledger"]["leaves"] = b64(unb64(page["ledger"]["leaves"])[:-1])


def leaf_left_out(world: World, page: Json) -> None:
    page["ledger"]["leaves"] = b64(unb64(page["ledger"]["leaves"])[:-32])


def leaf_too_many(world: World, page: Json) -> None:
    page["ledger"]["leaves"] = b64(unb64(page["ledger"]["leaves"]) + bytes(32))


def ledger_consistency_forged(world: World, page: Json) -> None:
    page["ledger"]["consistency"] = [b64(bytes(32))]


def channel_without_cosignature(world: World, page: Json) -> None:
    page["channels"][0]["checkpoint"] = page["channels"][0]["checkpoint"].rpartition("—")[0]


def channel_without_signature(world: World, page: Json) -> None:
    text, _, lines = page["channels"][0]["checkpoint"].partition("\n\n")
    page["channels"][0]["checkpoint"] = text + "\n\n" + lines.partition("\n")[2]


def channel_rewritten(world: World, page: Json) -> None:
    text = page["channels"][0]["checkpoint"].split("\n")
    now = Checkpoint(text[0], int(text[1]), bytes(32))
    page["channels"][0]["checkpoint"] = signed(world.br.parts, now)


def channel_shortened(world: World, page: Json) -> None:
    entries_of(page).clear()
    origin = page["channels"][0]["checkpoint"].split("\n")[0]
    page["channels"][0]["checkpoint"] = signed(world.br.parts, Checkpoint(origin, 1, bytes(32)))


def consistency_forged(world: World, page: Json) -> None:
    page["channels"][0]["consistency"] = [b64(bytes(32))]


def of_an_unknown_agreement(world: World, page: Json) -> None:
    page["channels"][0]["agreement"] = "unknown"


def envelope_that_is_no_base64(world: World, page: Json) -> None:
    page["channels"][0]["epochs"] = {"9": "%%%"}


WHOLE: list[tuple[Attack, str]] = [
    (drop_the_first, "missing"),
    (drop_one_in_the_middle, "missing"),
    (drop_the_last, "replaced"),
    (swap_two, "missing"),
    (repeat_one, "missing"),
    (repeat_the_last, "missing"),
    (rewrite_an_entry, "replaced"),
    (entry_of_another_channel, "replaced"),
    (ledger_shortened, "replaced"),
    (ledger_rewritten, "replaced"),
    (ledger_rewritten_and_longer, "replaced"),
    (ledger_of_another_origin, "replaced"),
    (ledger_signed_by_another, "replaced"),
    (ledger_without_cosignature, "replaced"),
    (ledger_without_lasting_cosignature, "replaced"),
    (leaf_flipped, "replaced"),
    (leaf_cut, "invalid"),
    (leaf_left_out, "replaced"),
    (leaf_too_many, "replaced"),
    (ledger_consistency_forged, "replaced"),
    (channel_without_cosignature, "replaced"),
    (channel_without_signature, "replaced"),
    (channel_rewritten, "replaced"),
    (channel_shortened, "replaced"),
    (consistency_forged, "replaced"),
    (of_an_unknown_agreement, "replaced"),
    (envelope_that_is_no_base64, "invalid"),
]


@pytest.mark.parametrize(("attack", "kind"), WHOLE, ids=[attack.__name__ for attack, _ in WHOLE])
def test_a_page_that_does_not_hold_is_not_used_and_the_truth_is_taken_afterwards(
    told: World, attack: Attack, kind: str
) -> None:
    before = dump(told.uy)
    page = told.page(told.uy)
    attack(told, page)
    with pytest.raises((Unproven, Malformed)):
        told.take(told.uy, page)
    assert dump(told.uy) == before
    [incident] = told.uy.incidents()
    assert (incident["kind"], incident["peer"]) == (kind, "aeo.br.example")
    assert told.uy.look_up(ONE)["alerts"], "the answer names the open incident"
    told.carry(told.uy)
    is_up_to_date(told)
    assert told.uy.incidents() == []
    assert len(told.uy.incidents(only_open=False)) == 1
    assert told.uy.look_up(ONE)["alerts"] == []


SHAPES: list[Any] = [None, [], "news", 7, {}, {"v": 1}]
WRONG: list[tuple[str, Any]] = [
    ("v", 2),
    ("v", "1"),
    ("v", True),
    ("rev", -1),
    ("rev", 1.5),
    ("agreements", {}),
    ("agreements", [{"document": [], "acts": []}]),
    ("ledger", None),
    ("ledger", {"checkpoint": "x", "leaves": "", "consistency": []}),
    ("ledger", {"checkpoint": "\x00\n\n— x y\n", "leaves": "", "consistency": ["x" * 44]}),
    ("ledger", {"checkpoint": "x", "consistency": []}),
    ("channels", [None]),
    ("channels", [[]]),
    ("extra", 1),
]
WRONG_CHANNEL: list[tuple[str, Any]] = [
    ("agreement", 5),
    ("agreement", "x" * 65),
    ("checkpoint", None),
    ("checkpoint", "a\nb"),
    ("checkpoint", "origin\n99999999999999999999\nAAAA\n\n— x AAAAAAAA\n"),
    ("consistency", ["not base64 at all!!"]),
    ("epochs", {"0": "AA=="}),
    ("epochs", {"-1": "AA=="}),
    ("epochs", {"1e3": "AA=="}),
    ("epochs", []),
    ("entries", [{"entry": "{}", "body": None}]),
    ("entries", [{"entry": "[" * 5000, "body": None}]),
    ("entries", [{"entry": '{"a":1,"a":2}', "body": None}]),
    ("entries", [{"entry": "x", "body": 5}]),
    ("entries", [{"entry": "x"}]),
    ("entries", {}),
]


def test_an_answer_of_another_shape_is_refused_and_the_next_is_taken(told: World) -> None:
    before = dump(told.uy)
    page = told.page(told.uy)
    channel = page["channels"][0]
    hostile = [*SHAPES, *(page | {name: value} for name, value in WRONG)]
    hostile += [page | {"channels": [channel | {name: value}]} for name, value in WRONG_CHANNEL]
    for answer in hostile:
        with pytest.raises((Unproven, Malformed)):
            told.take(told.uy, answer)
        assert dump(told.uy) == before
    assert "invalid" in {each["kind"] for each in told.uy.incidents()} <= {"invalid", "replaced"}
    told.carry(told.uy)
    is_up_to_date(told)
    assert told.uy.incidents() == []


# Time


def test_a_checkpoint_from_the_future_is_refused(told: World) -> None:
    told.clock.ms += 120_000
    early = told.page(told.uy)
    told.clock.ms -= 120_000
    with pytest.raises(Unproven, match="future"):
        told.take(told.uy, early)
    told.carry(told.uy)
    is_up_to_date(told)


def test_an_old_checkpoint_replayed_cannot_make_the_present_look_fresh_or_old(told: World) -> None:
    told.carry(told.uy)
    old = told.page(told.uy)
    told.clock.ms += 600_000
    told.carry(told.uy)
    proven_at = told.uy.look_up(ONE)["freshness"]["proven_at"]
    with pytest.raises(Unproven, match="older"):
        told.take(told.uy, old)
    told.take(told.uy, told.page(told.uy))
    assert told.uy.look_up(ONE)["freshness"]["proven_at"] == proven_at


@pytest.mark.parametrize("part", ["ledger", "channel"])
def test_either_checkpoint_replayed_alone_is_refused(told: World, part: str) -> None:
    told.carry(told.uy)
    old = told.page(told.uy)
    told.clock.ms += 60_000
    told.carry(told.uy)
    mixed = told.page(told.uy)
    if part == "ledger":
        mixed["ledger"] = old["ledger"]
    else:
        mixed["channels"] = old["channels"]
    with pytest.raises(Unproven, match="older"):
        told.take(told.uy, mixed)


def test_a_replayed_page_of_entries_changes_nothing(told: World) -> None:
    page = told.page(told.uy)
    told.take(told.uy, deepcopy(page))
    before = dump(told.uy)
    with pytest.raises(Unproven):
        told.take(told.uy, page)
    assert dump(told.uy) == before


def test_who_keeps_entries_back_does_not_look_fresh(told: World) -> None:
    """A page without the newest entries, with a good proof that they exist, is no proof of the present."""
    limit_s = told.uy.look_up(ONE)["freshness"]["limit_s"]
    for _ in range(3):
        told.clock.ms += 1000 * limit_s // 2
        page = told.page(told.uy)
        size = told.uy.channel_size("BR", "UY")
        withhold(told, page, size)
        told.take(told.uy, page)
    answer = told.uy.look_up(TWO)
    assert not answer["freshness"]["fresh"]
    assert not answer["recognition"]["applies"]
    told.carry(told.uy)
    is_up_to_date(told)


def withhold(world: World, page: Json, size: int) -> None:
    entries_of(page).clear()
    log = world.br.log_of("BR", "UY")
    with world.br.parts.database.read() as connection:
        head = logs.head(connection, log)
        assert head is not None
        proof = Tree(logs.tile_reader(connection, log), head.size).consistency_proof(size)
    page["channels"][0]["consistency"] = [b64(each) for each in proof]


def test_a_long_channel_arrives_page_by_page(told: World) -> None:
    """An honest short page is taken, says that there is more, and the next goes on behind it."""
    told.br.parts = with_settings(told.br.parts, page_limit=1)
    before = told.uy.channel_size("BR", "UY")
    taken = [(told.carry(told.uy), told.uy.channel_size("BR", "UY") - before) for _ in range(4)]
    assert taken == [(True, 1), (True, 2), (False, 3), (False, 3)]
    is_up_to_date(told)


# One entry


def flip_the_body(world: World, page: Json) -> None:
    body = bytearray(unb64(entries_of(page)[0]["body"]))
    body[-1] ^= 1
    entries_of(page)[0]["body"] = b64(bytes(body))


def body_of_another_entry(world: World, page: Json) -> None:
    entries_of(page)[0]["body"] = entries_of(page)[1]["body"]


def no_body(world: World, page: Json) -> None:
    entries_of(page)[0]["body"] = None


ONE_ENTRY = [flip_the_body, body_of_another_entry, no_body]


@pytest.mark.parametrize("attack", ONE_ENTRY)
def test_a_bad_entry_is_set_apart_and_the_others_go_on(told: World, attack: Attack) -> None:
    told.carry(told.uy, lambda page: attack(told, page))
    [incident] = told.uy.incidents()
    assert (incident["kind"], incident["seq"]) == ("invalid", 5)
    assert told.uy.look_up(ONE)["fields"]["legal_name"] == "Caatinga Eletrônica S/A", (
        "the last that was proven"
    )
    assert told.uy.look_up(TWO)["status"]["value"] == "SUSPENDED"
    assert told.uy.look_up(FOUR)["status"]["value"] == "ACTIVE"
    assert told.uy.look_up(ONE)["alerts"]
    told.br.amend(ONE, legal_name="Caatinga Terceira S/A")
    told.carry(told.uy)
    people_settle(told)
    answer = told.uy.look_up(ONE)
    assert (answer["fields"]["legal_name"], answer["recognition"]["reasons"]) == ("Caatinga Terceira S/A", [])


@pytest.mark.parametrize("attack", [flip_the_body, body_of_another_entry, no_body])
def test_while_an_entry_does_not_open_no_older_record_is_recognised(world: World, attack: Attack) -> None:
    world.br.admit(operator(1))
    world.exchange()
    world.br.amend(ONE, status="SUSPENDED")
    world.br.admit(operator(2))
    world.carry(world.uy, lambda page: attack(world, page))
    for tin in (ONE, TWO):
        recognition = world.uy.look_up(tin)["recognition"]
        assert not recognition["applies"]
        assert "may be about this operator" in recognition["reasons"][0]
    world.br.amend(ONE, status="ACTIVE")
    world.carry(world.uy)
    assert not world.uy.look_up(ONE)["recognition"]["applies"], "it is for people to settle"
    people_settle(world)
    assert world.uy.look_up(ONE)["recognition"]["applies"]


def people_settle(world: World) -> None:
    """Close every open incident, as an administrator does after talking to the peer."""
    for incident in world.uy.incidents():
        with world.uy.parts.database.write() as connection:
            assert incidents.close(connection, incident["incident"], "2026-11-22T13:00:00.000Z")
    world.uy.parts.bell.ring()


def test_an_epoch_key_of_somebody_else_does_not_keep_the_true_one_out(
    world: World,
) -> None:
    """Anyone can seal a key for UY; it is kept only once it has opened what the issuer signed."""
    world.br.parts = with_settings(world.br.parts, epoch_entries=2)
    world.br.admit(operator(1))
    origin = world.page(world.uy)["channels"][0]["checkpoint"].split("\n")[0]

    def forge(page: Json) -> None:
        for number in page["channels"][0]["epochs"]:
            forged = sealing.deliver(bytes(32), world.uy.parts.card.seal_key, origin, int(number))
            page["channels"][0]["epochs"][number] = b64(forged)

    world.carry(world.uy, forge)
    assert {each["kind"] for each in world.uy.incidents()} == {"invalid"}
    world.br.amend(ONE, legal_name="Segunda S/A")
    world.carry(world.uy)
    assert world.uy.look_up(ONE)["fields"]["legal_name"] == "Segunda S/A"


@pytest.mark.parametrize("envelope", ["another partner's", "another epoch's", "empty", "short"])
def test_an_envelope_that_is_not_for_this_reader_opens_nothing(world: World, envelope: str) -> None:
    world.br.parts = with_settings(world.br.parts, epoch_entries=2)
    world.br.admit(operator(1))
    page = world.page(world.uy)
    origin = page["channels"][0]["checkpoint"].split("\n")[0]
    [number] = page["channels"][0]["epochs"]
    key, other = bytes(32), X25519PrivateKey.generate().public_key()
    forged = {
        "another partner's": sealing.deliver(key, other, origin, int(number)),
        "another epoch's": sealing.deliver(key, world.uy.parts.card.seal_key, origin, int(number) + 1),
        "empty": b"",
        "short": b"x" * 31,
    }
    page["channels"][0]["epochs"][number] = b64(forged[envelope])
    world.take(world.uy, page)
    assert {each["kind"] for each in world.uy.incidents()} == {"invalid"}
    world.br.amend(ONE, legal_name="Segunda S/A")
    world.carry(world.uy)
    people_settle(world)
    assert world.uy.look_up(ONE)["recognition"]["applies"]


def with_settings(parts: Parts, **changed: Any) -> Parts:
    settings = parts.settings.model_copy(update=changed)
    return replace(parts, settings=settings)


# An issuer that lies


class Liar:
    """BR's own node, which says whatever it is told to, rightly sealed, chained and signed."""

    def __init__(self, world: World) -> None:
        self._world, self._node = world, world.br

    def held(self, tin: str, number: int | None = None) -> Version:
        """A true version of an operator: the newest, or one by its number."""
        with self._node.parts.database.read() as connection:
            found = records.newest_by_tin(connection, [tin])[tin]
            if number is not None:
                found = records.versions(connection, found.record_id)[number - 1]
        return versions.unseal(found, self._node.parts.keys.store)

    def body(self, version: Version, paths: tuple[str, ...] | None = None) -> Json:
        """The disclosure of a version, as members that may be changed."""
        with self._node.parts.database.read() as connection:
            [line] = [
                each
                for each in self._node.parts.lines(connection, self._node.parts.today())
                if each.channel.partner == "UY"
            ]
            [entry] = logs.entries(connection, LEDGER, version.ledger_seq, version.ledger_seq + 1)
        encoded = outgoing.disclosure(version, paths or line.terms["direction"]["fields"], entry)
        members = canonical.decode(encoded)
        assert isinstance(members, dict)
        return members

    def say(self, kind: str, content: bytes, ledger_seq: int | None = None) -> None:
        """Append any body to the channel."""
        with self._node.parts.database.write() as connection:
            batch = Batch(self._node.parts, connection)
            [line] = [each for each in batch.lines() if each.channel.partner == "UY"]
            batch._writer(line).append(kind, content, batch.now_ms, ledger_seq)
            batch.commit()

    def disclose(self, members: Json, ledger_seq: int) -> None:
        self.say("disclosure", canonical.encode(members), ledger_seq)

    def record(self, tin: str, forged: Json) -> Version:
        """A version with fields of any form, committed to in the ledger and signed."""
        old, parts = self.held(tin), self._node.parts
        with parts.database.write() as connection:
            batch = Batch(parts, connection)
            fields = {n: v for n, v in {**old.operator, **forged}.items() if v is not None}
            draft = versions.Draft(
                record_id=old.record_id,
                number=old.number + 1,
                ledger_seq=batch.next_seq,
                key=old.key,
                fields=fields | {"record_id": old.record_id, "recorded_at": batch.time},
                private=old.private,
            )
            by = versions.Signatory(
                parts.settings.name, kid_of(parts), es256_signer(parts.keys.credential[0])
            )
            forged_version = versions.sign(draft, by)
            batch.append("record", forged_version.commit())
            batch.commit()
        return forged_version

    def misplace(self, tin: str, seq: int | None = None) -> None:
        """Disclose a true version as resting on a ledger entry that is not the one in the ledger."""
        version = self.held(tin)
        members = self.body(version)
        entry = LedgerEntry.decode(members["ledger"]["entry"].encode())
        other = replace(entry, time=entry.time + 1, seq=entry.seq if seq is None else seq)
        members["ledger"]["entry"] = other.encode().decode()
        self.disclose(members, version.ledger_seq)


@pytest.fixture
def liar(known: World) -> Liar:
    return Liar(known)


def is_doubted(world: World, *reasons: str) -> None:
    """Only operator 1 lost its recognition, for this reason; and the next honest entry restores it."""
    assert [each["kind"] for each in world.uy.incidents()] == ["invalid"]
    recognition = world.uy.look_up(ONE)["recognition"]
    assert not recognition["applies"]
    for reason in reasons:
        assert reason in recognition["reasons"][0]
    assert world.uy.look_up(TWO)["recognition"]["applies"]
    world.br.amend(ONE, legal_name="Depois S/A")
    world.carry(world.uy)
    assert world.uy.look_up(ONE)["recognition"]["applies"]
    assert world.uy.look_up(ONE)["fields"]["legal_name"] == "Depois S/A"


@pytest.mark.parametrize("seq", [None, 1, 10_000])
def test_a_record_whose_ledger_entry_is_not_in_the_ledger_is_not_recognised(
    known: World, liar: Liar, seq: int | None
) -> None:
    liar.misplace(ONE, seq)
    known.carry(known.uy)
    is_doubted(known, "failed verification", "not the one that stands in the ledger")


@pytest.mark.parametrize("kind", ["tombstone", "notice"])
def test_what_a_store_cannot_hold_is_set_apart_and_holds_up_nothing(
    known: World, liar: Liar, kind: str
) -> None:
    """PostgreSQL holds no NUL: a page with one in it would fail whenever it is taken."""
    told = {"kept": "a\0b"} if kind == "notice" else {}
    body = notices.notice("kept", "a\0b", told) if told else outgoing.tombstone("a\0b")
    liar.say(kind, body)
    liar.say("notice", notices.notice("hello", "a\\u0000b: a backslash and what follows, no NUL"))
    known.exchange()
    [incident] = known.uy.incidents()
    assert (incident["kind"], incident["seq"]) == ("invalid", known.br.channel_size("BR", "UY") - 2)
    assert "NUL" in incident["detail"]


def test_the_words_of_an_incident_can_be_stored_anywhere() -> None:
    assert incidents.row("peer", 1, 1, "invalid", "a\0b", b"", "now")["detail"] == "a\ufffdb"


def test_a_field_beyond_the_terms_is_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Line.decide

    def generous(line: Line, fields: Json, today: str) -> Answer:
        answer = honest(line, fields, today)
        return (
            Answer(answer.shared, (*answer.fields, "mra_contact"), answer.reason) if answer.shared else answer
        )

    world.br.admit(operator(1))
    world.br.admit(operator(2))
    world.exchange()
    monkeypatch.setattr(Line, "decide", generous)
    world.br.amend(ONE, legal_name="Com contato S/A")
    monkeypatch.undo()
    world.carry(world.uy)
    assert "mra_contact" not in world.uy.look_up(ONE)["fields"]
    is_doubted(world, "beyond the terms", "mra_contact")


def test_an_identifier_beyond_the_terms_is_not_used(known: World, liar: Liar) -> None:
    version = liar.held(ONE)
    paths = tuple(p for p in liar_paths(known) if p != "identifiers.CNPJ")
    liar.disclose(liar.body(version, (*paths, "identifiers.LEI")), version.ledger_seq)
    known.carry(known.uy)
    is_doubted(known, "beyond the terms", "identifiers.LEI")


def liar_paths(world: World) -> tuple[str, ...]:
    with world.br.parts.database.read() as connection:
        standing = world.br.parts.standings.current(connection)[world.agreement]
    return tuple(standing.agreement.terms["directions"]["BR-UY"]["fields"])


@pytest.mark.parametrize("left_out", ["record_id", "country", "tin", "status", "programme", "scope"])
def test_a_disclosure_without_what_every_reader_needs_is_not_used(
    known: World, liar: Liar, left_out: str
) -> None:
    version = liar.held(ONE)
    paths = tuple(p for p in liar_paths(known) if p != left_out)
    liar.disclose(liar.body(version, paths), version.ledger_seq)
    known.carry(known.uy)
    is_doubted(known, "lacks", left_out)


def test_the_credential_of_another_record_is_not_used(known: World, liar: Liar) -> None:
    one, two = liar.held(ONE), liar.held(TWO)
    liar.disclose(liar.body(one) | {"credential": liar.body(two)["credential"]}, one.ledger_seq)
    known.carry(known.uy)
    is_doubted(known, "another credential")


def test_the_whole_disclosure_of_another_record_under_this_ones_name_is_not_used(
    known: World, liar: Liar
) -> None:
    one, two = liar.held(ONE), liar.held(TWO)
    liar.disclose(liar.body(two) | {"record_id": one.record_id}, two.ledger_seq)
    known.carry(known.uy)
    is_doubted(known, "another record")


def test_a_credential_that_the_ledger_does_not_commit_to_is_not_used(known: World, liar: Liar) -> None:
    old = liar.held(ONE)
    known.br.amend(ONE, mra_contact="novo@empresa.example")
    new = liar.held(ONE)
    liar.disclose(liar.body(new) | {"credential": liar.body(old)["credential"]}, new.ledger_seq)
    known.carry(known.uy)
    is_doubted(known, "another credential")


def test_an_older_version_disclosed_again_is_not_used(known: World, liar: Liar) -> None:
    known.br.amend(ONE, legal_name="Nova S/A")
    known.carry(known.uy)
    old = liar.held(ONE, 1)
    liar.disclose(liar.body(old), old.ledger_seq)
    known.carry(known.uy)
    assert known.uy.look_up(ONE)["fields"]["legal_name"] == "Nova S/A"
    is_doubted(known, "older version")


@pytest.mark.parametrize("in_one_page", [True, False])
def test_a_tombstone_does_not_let_an_older_version_back_in(world: World, in_one_page: bool) -> None:
    liar = Liar(world)
    world.br.admit(operator(1))
    world.br.amend(ONE, legal_name="Nova S/A")
    world.br.amend(ONE, status="WITHDRAWN")
    if not in_one_page:
        world.carry(world.uy)
    old = liar.held(ONE, 1)
    world.carry(world.uy)
    liar.disclose(liar.body(old), old.ledger_seq)
    world.carry(world.uy)
    assert world.uy.look_up(ONE)["status"]["value"] == "NOT_SHARED"
    assert [each["kind"] for each in world.uy.incidents()] == ["invalid"]


def test_a_tombstone_of_what_was_never_disclosed_is_set_apart(known: World, liar: Liar) -> None:
    for number in range(2):
        liar.say("tombstone", outgoing.tombstone(f"urn:aeo:br:never{number}"))
        known.exchange()
    incidents_now = known.uy.incidents()
    assert [each["record_id"] for each in incidents_now] == ["urn:aeo:br:never1", "urn:aeo:br:never0"]
    assert all("never disclosed" in each["detail"] for each in incidents_now)
    with known.uy.parts.database.read() as connection:
        assert "never" not in str(connection.execute(select(table(Mirror))).all())
    assert all(known.uy.look_up(tin)["recognition"]["applies"] for tin in (ONE, TWO))
    assert known.uy.findings() == []


def test_a_tombstone_of_what_may_have_been_disclosed_is_taken(known: World, liar: Liar) -> None:
    """A disclosure was erased here: the record that leaves our view may be that one."""
    known.br.settle(Erase(TWO, "OBJECTION", "case 1", "officer"))
    known.exchange()
    liar.say("tombstone", outgoing.tombstone("urn:aeo:br:perhaps"))
    known.exchange()
    assert known.uy.incidents() == []


def test_a_commitment_opened_with_another_salt_or_body_is_not_used(known: World, liar: Liar) -> None:
    version = liar.held(ONE)
    members = liar.body(version)
    members["ledger"]["salt"] = b64u(bytes(32))
    liar.disclose(members, version.ledger_seq)
    known.carry(known.uy)
    is_doubted(known, "commits to another body")


def test_a_body_that_the_commitment_does_not_hold_is_not_used(known: World, liar: Liar) -> None:
    version = liar.held(ONE)
    members = liar.body(version)
    members["ledger"]["body"]["private"] = b64u(bytes(32))
    liar.disclose(members, version.ledger_seq)
    known.carry(known.uy)
    is_doubted(known, "commits to another body")


def test_a_ledger_entry_that_is_no_record_or_not_in_the_ledger_is_not_used(known: World, liar: Liar) -> None:
    version = liar.held(ONE)
    members = liar.body(version)
    with known.br.parts.database.read() as connection:
        [first] = logs.entries(connection, LEDGER, 0, 1)
    members["ledger"]["entry"] = first.decode()
    liar.disclose(members, 0)
    known.carry(known.uy)
    is_doubted(known, "not a record of the issuer")


def test_a_flipped_digit_in_a_disclosed_value_is_not_used(known: World, liar: Liar) -> None:
    version = liar.held(ONE)
    members = liar.body(version)
    [number] = [each for each in members["credential"]["disclosures"] if each[1] == "authorisation_number"]
    number[2] = number[2][:-1] + ("0" if number[2][-1] != "0" else "1")
    liar.disclose(members, version.ledger_seq)
    known.carry(known.uy)
    is_doubted(known)


def test_a_presentation_with_half_of_its_digests_cut_is_not_used(known: World, liar: Liar) -> None:
    version = liar.held(ONE)
    members = liar.body(version)
    digests = members["credential"]["digests"]
    members["credential"]["digests"] = digests[: len(digests) // 2]
    liar.disclose(members, version.ledger_seq)
    known.carry(known.uy)
    is_doubted(known)


FORGED: list[Json] = [
    {"scope": 5},
    {"scope": {"SECURITY": True}},
    {"scope": ["SECURITY", 7]},
    {"status": "HAPPY"},
    {"status": ["ACTIVE"]},
    {"valid_to": 20290110},
    {"valid_to": "9999-99-99"},
    {"valid_to": ["2029-01-10"]},
    {"tin": 5},
    {"tin": "UY1"},
    {"tin": "br1"},
    {"legal_name": {"a": 1}},
    {"identifiers": [{"scheme": "CNPJ"}]},
    {"identifiers": [{"scheme": "CNPJ", "value": 5}]},
    {"address": "Rua 1"},
    {"status_since": None, "status_until": "never"},
    {"national_types": [[]]},
    {"country": "UY"},
]


def test_a_signed_value_of_another_form_is_not_used(known: World, liar: Liar) -> None:
    for forged in FORGED:
        version = liar.record(ONE, forged)
        liar.disclose(liar.body(version), version.ledger_seq)
    known.carry(known.uy)
    assert [each["kind"] for each in known.uy.incidents()] == ["invalid"] * len(FORGED)
    answer = known.uy.look_up(ONE)
    assert (answer["status"]["value"], answer["recognition"]["applies"]) == ("ACTIVE", False)
    with asking(known.uy) as (connection, answers):
        assert answers.search(connection, answers.tellers(), "Caatinga", 5)["suggestions"]


SHAPELESS = [
    b"",
    b"null",
    b"[]",
    b'{"v":2}',
    b'{"v":1}',
    b'{"record_id":5,"v":1}',
    b'{"record_id":["x"],"v":1}',
    b'{"record_id":{"a":"b"},"v":1}',
    b'{"record_id":null,"v":1}',
    b'{"v":1,"record_id":"x"}',
    b"\xff\xfe",
    b"[" * 400,
]
SHAPELESS_DISCLOSURES = [
    b'{"record_id":"x","v":1}',
    b'{"ledger":5,"record_id":"x","v":1}',
    b'{"ledger":{"body":{},"entry":"{}","salt":"!"},"record_id":"x","v":1}',
    b'{"credential":"~","ledger":{"body":{},"entry":"{}","salt":"!"},"record_id":"x","v":1}',
    b'{"credential":{"kid":"x"},"ledger":{"body":{},"entry":"{}","salt":"!"},"record_id":"x","v":1}',
]


@pytest.mark.parametrize("kind", ["disclosure", "tombstone"])
def test_a_body_of_another_shape_is_set_apart_and_the_channel_goes_on(
    known: World, liar: Liar, kind: str
) -> None:
    bodies = SHAPELESS + (SHAPELESS_DISCLOSURES if kind == "disclosure" else [])
    for content in bodies:
        liar.say(kind, content, 5)
    known.br.amend(TWO, status="SUSPENDED")
    known.carry(known.uy)
    assert [each["kind"] for each in known.uy.incidents()] == ["invalid"] * len(bodies)
    assert statuses(known) == ["ACTIVE", "SUSPENDED", "ACTIVE"]


def test_what_was_refused_is_kept_as_evidence(told: World) -> None:
    missing, invalid = told.page(told.uy), told.page(told.uy)
    drop_the_first(told, missing)
    with pytest.raises(Refusal):
        told.take(told.uy, missing)
    flip_the_body(told, invalid)
    told.take(told.uy, invalid)
    with told.uy.parts.database.read() as connection:
        rows = list(connection.execute(select(table(Incident))).mappings())
    kept = {row["kind"]: orjson.loads(row["evidence"]) for row in rows}
    signed_parts = [missing["ledger"], *missing["channels"]]
    refused = [{name: part[name] for name in ("checkpoint", "consistency")} for part in signed_parts]
    item = entries_of(invalid)[0]
    assert kept == {"missing": refused, "invalid": {"entry": item["entry"], "body": item["body"]}}


def test_a_peer_stays_refused_for_as_long_as_it_lies(told: World) -> None:
    """A rewritten ledger cannot be waited out: only the history that was seen goes on."""
    for _ in range(3):
        told.clock.ms += 60_000
        with pytest.raises(Unproven):
            told.carry(told.uy, lambda page: ledger_rewritten(told, page))
    [incident] = told.uy.incidents()
    assert incident["first_seen"] < incident["last_seen"]
    with told.uy.parts.database.read() as connection:
        sizes = connection.execute(select(table(LogHead).c.size)).scalars().all()
        assert incidents.listed(connection, only_open=True)
    assert sizes
    assert statuses(told) == ["ACTIVE", "ACTIVE", "ACTIVE"]
