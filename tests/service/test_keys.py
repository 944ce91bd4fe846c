"""Keys are rotated one by one, both in use meanwhile; nothing stands still and all that was signed holds."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from clients.sdk import verifier
from node import keys, settings
from node.errors import Conflict, Malformed, NotFound, Unproven
from node.exchange import card, sealing
from node.exchange.card import credential_kid
from node.ledger import merkle, policy
from node.ledger.checkpoint import opened_checkpoint, stated
from node.ledger.entry import ChannelEntry
from node.ledger.note import open_note
from node.ledger.policy import Policy
from node.ledger.proof import TlogProof
from node.service.admission import AdmitPeer, RenewPeer
from node.service.check import check_start
from node.service.evidence import evidence
from node.service.introduction import Introduce
from node.service.receipts import Receipts
from node.service.rewrapping import rewrap
from node.service.signing import Sign
from node.service.submissions import Gathered, Submissions
from node.store import channels, logs, witnessed
from tests.service.world import CNPJS, Node, World, open_node

ONE = f"BR{CNPJS[1]}"
USES = ("log", "cosign", "cosign_pq", "credential", "seal", "store")


def restarted(world: World, node: Node) -> Node:
    """The node opened again out of its home, with its first work done."""
    node.parts.database.close()
    again = open_node(node.home, world.clock)
    again.rev = node.rev
    again.settle(Introduce())
    if node is world.br:
        world.br = again
    else:
        world.uy = again
    return again


def rotated(world: World, node: Node, *uses: str) -> Node:
    for use in uses:
        keys.rotate(node.home / "keys", use)
    return restarted(world, node)


def retired(world: World, node: Node, *uses: str) -> Node:
    for use in uses:
        keys.retire(node.home / "keys", use)
    return restarted(world, node)


def sound(world: World) -> None:
    assert [each.findings() for each in world.nodes] == [[], []]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("country", ["br", "uy"])
def test_a_key_is_rotated_and_retired_without_a_gap(known: World, use: str, country: str) -> None:
    """Before, between and after, changes reach the partner, and what was signed before holds."""
    known.br.amend(ONE, legal_name="Antes S/A")
    known.exchange()
    receipt = proof_of(known.br, known.br.ledger().size - 1)

    node = rotated(known, getattr(known, country), use)
    if use != "store":
        assert len(node.parts.card.of(use)) == 2
    known.br.amend(ONE, legal_name="Durante S/A")
    known.exchange()
    assert known.uy.look_up(ONE)["fields"]["legal_name"] == "Durante S/A"
    sound(known)

    if use == "store":
        rewrap(node.parts, lambda *_: None)
    retired(known, node, use)
    known.br.amend(ONE, legal_name="Depois S/A")
    known.exchange()
    assert known.uy.look_up(ONE)["fields"]["legal_name"] == "Depois S/A"
    assert not known.uy.incidents()
    assert not known.br.incidents()
    sound(known)
    entry, proof = receipt
    proof.verify(merkle.leaf_hash(entry), ORIGIN, known.br.parts.card.verifiers(ORIGIN, ever=True))


ORIGIN = "aeo.br.example/ledger"


def proof_of(node: Node, seq: int) -> tuple[bytes, TlogProof]:
    with node.parts.database.read() as connection:
        entry = logs.entries(connection, 0, seq, seq + 1)[0]
    return entry, TlogProof.decode(Receipts(node.parts).newest(seq).text)


def test_all_keys_at_once_and_again_leave_everything_verifiable(known: World) -> None:
    """Two rotations of everything at both nodes: what was signed at each time holds."""
    for round_ in (1, 2):
        for country in ("br", "uy"):
            node = rotated(known, getattr(known, country), *USES)
            known.exchange()
            said = f"round {round_} of {country}"
            node.settle(Sign(known.agreement, "suspend", "BR", "UY", reason=said))
            known.exchange()
            known.both("resume", "BR", "UY")
            rewrap(node.parts, lambda *_: None)
            retired(known, node, *USES)
        known.br.amend(ONE, legal_name=f"Rodada {round_} S/A")
        known.exchange()
    assert known.br.parts.card.number == known.uy.parts.card.number == 5
    answer = known.uy.look_up(ONE)
    assert answer["fields"]["legal_name"] == "Rodada 2 S/A"
    assert answer["recognition"]["applies"]
    sound(known)
    assert all(each.passed for each in verified(known, verifier.verify)), (
        "evidence rests on keys of three times"
    )


def verified(world: World, verify: Callable[[bytes, str], list[verifier.Result]]) -> list[verifier.Result]:
    """The checks of evidence under a policy that names the first key that the ledger ever had."""
    first = world.br.parts.card.of_log(ORIGIN, ever=True)[-1]
    with world.uy.parts.database.read() as connection:
        encoded = evidence(world.uy.parts, connection, ONE, world.clock.ms)
    return verify(encoded, f"log {first.vkey()}\nquorum none\n")


def test_a_card_has_room_for_forty_rotations_of_every_key(known: World) -> None:
    """As the decision about cards says, in characters as it travels."""
    before = len(known.br.parts.card.text)
    longer = len(retired(known, rotated(known, known.br, *USES[:-1]), *USES[:-1]).parts.card.text) - before
    assert round(longer, -2) == 3200
    assert before + 39 * longer < card.LIMIT_CHARACTERS < before + 41 * longer


def test_a_partner_that_was_away_during_the_whole_rotation_catches_up(known: World) -> None:
    """It asks with its own key, and the page that it gets leads from the keys that it knows to the newest."""
    for _ in range(2):
        retired(
            known,
            rotated(known, known.br, "log", "cosign", "cosign_pq", "credential", "seal"),
            "log",
            "cosign",
            "cosign_pq",
            "credential",
            "seal",
        )
    known.br.amend(ONE, legal_name="Depois S/A")
    known.exchange()
    assert known.pinned(known.uy).text == known.br.parts.card.text
    assert known.uy.look_up(ONE)["fields"]["legal_name"] == "Depois S/A"
    sound(known)


def test_a_retired_key_signs_nothing_any_more(known: World) -> None:
    """Credentials by ledger place, checkpoints by the newest card: the thief of an old key gains nothing."""
    before = known.br.parts.keys
    kid = credential_kid("aeo.br.example", card.jwk_of(before.credential[0]))
    node = retired(known, rotated(known, known.br, "log", "credential"), "log", "credential")
    known.exchange()
    size = node.ledger().size
    with pytest.raises(Unproven, match="did not count"):
        node.parts.card.credential_key(kid, size)
    node.parts.card.credential_key(kid, 0)

    def forged(answer: dict[str, object]) -> None:
        stolen = replace(node.parts, keys=replace(node.parts.keys, log=before.log))
        ledger = answer["ledger"]
        assert isinstance(ledger, dict)
        now = stated(ledger["checkpoint"])
        ledger["checkpoint"] = stolen.sign(now) + stolen.beat(now.text())

    known.br.amend(ONE, legal_name="Depois S/A")
    with pytest.raises(Unproven):
        known.carry(known.uy, forged)


@pytest.mark.parametrize("change", ["another key", "no history", "unsigned", "unrecorded", "older"])
def test_a_card_that_does_not_follow_is_refused(known: World, change: str) -> None:
    node = rotated(known, known.br, "log", "cosign", "cosign_pq")
    pinned = known.pinned(known.uy)

    def damage(answer: dict[str, object]) -> None:
        brought = answer["card"]
        assert isinstance(brought, dict)
        stranger = known.uy.parts.keys
        if change == "another key":
            brought["card"] = card.write(
                "aeo.br.example", "BR", "Customs of BR", "http://aeo.br.example", stranger
            ).text
        if change == "no history":
            made = card.write("aeo.br.example", "BR", "x", "http://aeo.br.example", node.parts.keys)
            brought["card"] = made.text
        if change == "unsigned":
            first, second, third = str(brought["card"]).split(".")
            brought["card"] = ".".join([first, second, third[:-4] + "AAAA"])
        if change == "unrecorded":
            moved = card.renew(node.parts.card, "x", "http://thief.example", node.parts.keys, 99)
            assert moved is not None
            brought["card"] = moved.text
        if change == "older":
            brought["card"] = pinned.text

    with pytest.raises((Unproven, Malformed)):
        known.carry(known.uy, damage)
    assert known.pinned(known.uy).text == pinned.text
    known.exchange()
    assert known.pinned(known.uy).text == node.parts.card.text


def test_people_may_pin_a_card_that_follows_but_no_other(known: World) -> None:
    node = rotated(known, known.br, "log")
    new = node.parts.card
    assert known.uy.settle(AdmitPeer(new.text, new.fingerprint)) == new
    older = known.uy.parts.card
    renewed = rotated(known, known.uy, "log").parts.card
    known.br.settle(AdmitPeer(renewed.text, renewed.fingerprint))
    with pytest.raises(Unproven, match="does not follow"):
        known.br.settle(AdmitPeer(older.text, older.fingerprint))
    with pytest.raises(Unproven, match="does not follow"):
        known.br.settle(RenewPeer(older))
    known.exchange()
    sound(known)


def test_whoever_stole_the_key_that_was_sealed_to_reads_nothing_new(known: World) -> None:
    stolen = known.uy.parts.keys.seal
    rotated(known, known.uy, "seal")
    known.exchange()
    known.br.amend(ONE, legal_name="Segredo S/A")
    log = known.br.log_of("BR", "UY")
    with known.br.parts.database.read() as connection:
        newest = channels.newest_epoch(connection, log)
        assert newest is not None
        assert newest.epoch == 2
        assert newest.envelope is not None
        head = logs.head(connection, log)
        assert head is not None
        told = ChannelEntry.decode(logs.entries(connection, log, head.size - 1, head.size)[0])
    assert told.epoch == 2
    with pytest.raises(Unproven):
        sealing.receive(newest.envelope, stolen, head.origin, 2)
    known.exchange()
    assert known.uy.look_up(ONE)["fields"]["legal_name"] == "Segredo S/A"


def test_what_was_sealed_to_a_key_that_is_gone_is_delivered_again(known: World) -> None:
    """The partner was away while the issuer wrote, and rotates before it hears of it."""
    known.br.amend(ONE, legal_name="Entretanto S/A")
    retired(known, rotated(known, known.uy, "seal"), "seal")
    known.carry(known.br)
    known.exchange()
    assert known.uy.look_up(ONE)["fields"]["legal_name"] == "Entretanto S/A"
    sound(known)


def test_keys_that_cannot_follow_are_refused_at_the_start(known: World) -> None:
    """An older key folder, or one whose older key is gone before the card says so, is not the node's."""
    folder = known.br.home / "keys"
    first = (folder / "log.pem").read_bytes()
    retired(known, rotated(known, known.br, "log"), "log")
    (folder / "log.pem").write_bytes(first)
    again = open_node(known.br.home, known.clock)
    assert any("log key" in each.what for each in check_start(again.parts))
    with pytest.raises(Conflict, match="log key"):
        again.settle(Introduce())


def cosigned(node: Node, by: Node) -> Gathered:
    """The newest checkpoint of a node's ledger, with what its witness signs on it."""
    with node.parts.database.read() as connection:
        wanted = node.parts.policy(connection)
    return Gathered(node.ledger(), wanted, [by.parts.witness(stated(node.ledger().checkpoint).text())])


def give_policy(node: Node, like: Policy) -> None:
    """A policy file for the next start, with the newest key of the ledger, as `aeo log policy` has it."""
    text = policy.render(replace(like, logs={ORIGIN: tuple(node.parts.card.of_log(ORIGIN)[:1])}, urls={}))
    (node.home / "trust.policy").write_text(text, encoding="utf-8")
    told = node.home / settings.FILE
    if "trust.policy" not in told.read_text(encoding="utf-8"):
        with told.open("a", encoding="utf-8") as file:
            file.write('policy = "trust.policy"\n')


@pytest.mark.parametrize("is_given", [False, True], ids=["peers as witnesses", "a policy in a file"])
def test_what_was_cosigned_before_a_rotation_counts_and_makes_room_for_what_comes(
    known: World, is_given: bool
) -> None:
    """What is kept bears the older key only; the policy that is made of the peers names the newest."""
    before = cosigned(known.br, known.uy)
    seq = before.head.size - 1
    Submissions(known.br.parts, lambda: True)._keep(before)
    for change in (rotated, retired):
        if is_given:
            give_policy(known.br, before.policy)
        node = change(known, known.br, "log")
        found = Receipts(node.parts).witnessed(seq)
        assert found is not None
        assert found.is_witnessed
    assert (node.parts.given_policy is not None) is is_given
    after = cosigned(node, known.uy)
    Submissions(node.parts, lambda: True)._keep(after)
    with node.parts.database.read() as connection:
        kept = witnessed.cosigned(connection, ORIGIN)
    assert kept is not None
    assert (kept.size, kept.note) == (after.head.size, after.note)


def test_a_channel_is_served_with_a_signature_of_the_newest_key(known: World) -> None:
    """Also where it did not grow since its partner cosigned it, whose word on it stays."""
    log = known.br.log_of("BR", "UY")
    with known.br.parts.database.write() as connection:
        head = logs.head(connection, log)
        assert head is not None
        lines = known.uy.parts.witness(stated(head.checkpoint).text())
        witnessed.keep(connection, head.origin, head.size, head.checkpoint + lines)
    node = retired(known, rotated(known, known.br, "log"), "log")
    with node.parts.database.read() as connection:
        head = logs.head(connection, log)
        assert head is not None
        note = witnessed.published(connection, head)
    [newest] = node.parts.card.of_log(head.origin)
    opened = open_note(note, [newest, *known.uy.parts.card.cosigners()])
    assert opened_checkpoint(opened, head.origin).size == head.size
    assert len(opened.signatures) == 3


def test_a_second_rotation_waits_for_the_first(known: World) -> None:
    folder = known.br.home / "keys"
    keys.rotate(folder, "log")
    with pytest.raises(Conflict, match="rotated already"):
        keys.rotate(folder, "log")
    keys.retire(folder, "log")
    with pytest.raises(NotFound, match="no older key"):
        keys.retire(folder, "log")


@pytest.mark.parametrize("cut", ["before", "between"])
def test_a_rotation_that_was_cut_short_is_completed(known: World, cut: str) -> None:
    folder = known.br.home / "keys"
    (folder / "log.new.pem").write_bytes(b"half a key")
    if cut == "between":
        os.link(folder / "log.pem", folder / "log.old.pem")
        assert len(keys.load("file:keys", known.br.home).log) == 1
    keys.rotate(folder, "log")
    old, new = (folder / name for name in ("log.old.pem", "log.pem"))
    assert old.read_bytes() != new.read_bytes()
    assert not (folder / "log.new.pem").exists()
    assert {path.stat().st_mode & 0o777 for path in (old, new)} == {0o600}
    assert len(keys.load("file:keys", known.br.home).log) == 2


def test_another_address_is_news_too(known: World) -> None:
    told = known.br.home / settings.FILE
    told.write_text(told.read_text().replace("http://aeo.br.example", "http://new.br.example"))
    restarted(known, known.br)
    known.exchange()
    assert known.pinned(known.uy).address == "http://new.br.example"
    assert known.pinned(known.uy).number == 2
    sound(known)
