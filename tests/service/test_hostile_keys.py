"""What thieves of keys, hostile peers and careless operators try with cards: none of it is believed."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from node import keys
from node.api import exchange
from node.errors import Conflict, Forbidden, Malformed, Unproven
from node.exchange import card
from node.exchange.card import Card, Succession
from node.ledger.checkpoint import stated
from node.ledger.encoding import b64u
from node.service import accusing, behind, introduction, rotation
from node.service.admission import AdmitPeer, Freeze, RenewPeer
from node.service.batch import Batch
from node.service.check import check_start
from node.service.introduction import Introduce
from node.service.merging import Merge
from node.service.signing import Sign
from tests.service import stores
from tests.service.test_hostile_agreements import page, said, standing
from tests.service.test_keys import restarted, retired, rotated
from tests.service.test_submissions import submitting
from tests.service.world import CNPJS, Node, World, open_node, operator

ONE = f"BR{CNPJS[1]}"


def rewritten(node: Node, change: Callable[[Card], Card]) -> Card:
    """A card of a node that says something else, signed with its keys."""
    return card._signed(change(node.parts.card), node.parts.keys)


def recorded(node: Node, new: Card) -> None:
    """A hostile node enters the card it likes."""
    with node.parts.database.write() as connection:
        batch = Batch(node.parts, connection)
        introduction.record(batch, new)
        batch.commit()
    batch.settle()


@pytest.mark.parametrize("place", [1, 1 << 40])
def test_no_key_ends_before_the_card_that_says_so(known: World, place: int) -> None:
    """Else an issuer could disown what it has signed, by dating the end of a key back."""
    node = rotated(known, known.br, "credential")
    known.exchange()
    first, second = node.parts.card.keys["credential"]

    def ended(now: Card) -> Card:
        listed = (replace(first, until=place), second)
        return replace(now, number=now.number + 1, keys={**now.keys, "credential": listed})

    recorded(node, rewritten(node, ended))
    with pytest.raises(Unproven, match="place"):
        known.carry(known.uy)
    assert known.pinned(known.uy).number == 2


def test_no_key_counts_from_before_the_card_that_says_so(known: World) -> None:
    keys.rotate(known.br.home / "keys", "credential")
    known.br.parts.database.close()
    node = known.br = open_node(known.br.home, known.clock)
    new = card.renew(node.parts.card, "Customs of BR", "http://aeo.br.example", node.parts.keys, 1)
    assert new is not None
    recorded(node, new)
    with pytest.raises(Unproven, match="place"):
        known.carry(known.uy)


def keys_in(folder: Path) -> keys.NodeKeys:
    keys.make(folder)
    return keys.load(f"file:{folder.name}", folder.parent)


def test_nobody_disowns_what_another_country_says(known: World) -> None:
    made = keys_in(known.uy.home / "other")
    root = known.br.ledger().root
    stranger = card.write(
        "aeo.ar.example",
        "AR",
        "x",
        "http://aeo.ar.example",
        made,
        Succession("aeo.br.example", 0, b64u(root)),
    )
    known.uy.settle(AdmitPeer(stranger.text, stranger.fingerprint))
    assert known.uy.look_up(ONE)["recognition"]["applies"]


def test_a_store_key_that_opens_nothing_is_found_at_the_start(known: World) -> None:
    folder = known.br.home / "keys"
    (folder / "store.pem").unlink()
    shutil.copy(known.uy.home / "keys" / "store.pem", folder / "store.pem")
    again = open_node(known.br.home, known.clock)
    assert any("store key" in each.what for each in check_start(again.parts))


def test_the_older_store_key_stays_until_a_node_was_started_with_the_newer(known: World) -> None:
    """The running node knows the older one only: what it writes meanwhile would be lost."""
    keys.rotate(known.br.home / "keys", "store")
    beside = open_node(known.br.home, known.clock)
    with pytest.raises(Conflict, match="not been started"):
        rotation.retire(beside.parts, known.br.home, ["store"], even_so=True, told=lambda *_: None)
    restarted(known, known.br)
    rotation.retire(known.br.parts, known.br.home, ["store"], even_so=True, told=lambda *_: None)


@pytest.mark.parametrize("which", ["retired", "stranger"])
def test_an_older_key_that_does_not_count_is_refused_at_the_start(known: World, which: str) -> None:
    folder = known.br.home / "keys"
    first = (folder / "log.pem").read_bytes()
    retired(known, rotated(known, known.br, "log"), "log")
    stranger = known.uy.home / "keys" / "log.pem"
    (folder / "log.old.pem").write_bytes(first if which == "retired" else stranger.read_bytes())
    (folder / "log.old.pem").chmod(0o600)
    again = open_node(known.br.home, known.clock)
    assert any("log key" in each.what for each in check_start(again.parts))
    with pytest.raises(Conflict, match="log key"):
        again.settle(Introduce())


def test_a_partner_that_ended_or_is_frozen_is_not_waited_for(known: World) -> None:
    known.br.settle(Freeze("UY", "stolen"))
    rotated(known, known.br, "log")
    assert (known.br.home / "keys" / "log.old.pem").exists()
    rotation.retire(known.br.parts, known.br.home, ["log"], even_so=False, told=lambda *_: None)
    assert not (known.br.home / "keys" / "log.old.pem").exists()


def test_a_request_that_waits_for_news_is_told_nothing_once_its_sender_is_frozen(known: World) -> None:
    cursors, peer = known.cursors(known.uy), known.pinned(known.br)
    assert exchange._news(known.br.parts, peer, cursors)["v"] == 1
    known.br.settle(Freeze("UY", "stolen"))
    known.br.amend(ONE, legal_name="Segredo S/A")
    with pytest.raises(Forbidden, match="frozen"):
        exchange._news(known.br.parts, peer, cursors)
    for answer in (exchange._seen, lambda *of: exchange._held(*of, 0, {})):
        with pytest.raises(Forbidden, match="frozen"):
            answer(known.br.parts, peer)


def test_a_later_card_of_a_frozen_node_is_not_pinned(known: World) -> None:
    new = rotated(known, known.br, "seal").parts.card
    known.uy.settle(Freeze("BR", "stolen"))
    with pytest.raises(Conflict, match="believed"):
        known.uy.settle(AdmitPeer(new.text, new.fingerprint))


def test_two_cards_in_one_batch_are_held_against_each_other(known: World) -> None:
    second = rotated(known, known.br, "log").parts.card
    third = retired(known, known.br, "log").parts.card
    with known.uy.parts.database.write() as connection:
        batch = Batch(known.uy.parts, connection)
        AdmitPeer(third.text, third.fingerprint).run(batch)
        with pytest.raises(Unproven, match="does not follow"):
            RenewPeer(second).run(batch)
        batch.commit()
    batch.settle()
    assert known.pinned(known.uy).number == 3


def test_a_frozen_partner_is_neither_asked_as_a_witness_nor_shown_a_log(known: World) -> None:
    known.br.amend(ONE, legal_name="Depois S/A")
    for is_asked in (True, False):
        with submitting(known.br.parts) as submissions:
            submissions._handed_on_s = float("-inf")
            submissions._round()
            submissions._hand_on()
            origins = {origin.split("/")[1] for origin, _ in submissions._targets}
            assert origins == ({"ledger", "channel"} if is_asked else set())
        known.br.settle(Freeze("UY", "stolen"))


def test_a_peer_cannot_have_cards_pinned_for_ever(known: World) -> None:
    """Each is an entry in the ledger of its partner."""
    assert rewritten(known.br, lambda now: replace(now, number=card.MOST_CARDS)).number == card.MOST_CARDS
    for number in (card.MOST_CARDS + 1, 1 << 52):
        with pytest.raises(Malformed, match="well formed"):
            rewritten(known.br, lambda now: replace(now, number=number))  # noqa: B023


@pytest.mark.parametrize("field", ["administration", "address"])
def test_nothing_on_a_card_drives_a_terminal_or_ends_a_line(known: World, field: str) -> None:
    """Partners take a later card by themselves, and show it to people."""
    with pytest.raises(Malformed, match="well formed"):
        rewritten(known.br, lambda now: replace(now, **{field: "http://x\x1b[2J\nlog forged"}))


def test_an_act_signed_with_a_retired_key_counts_only_where_its_ledger_has_it(known: World) -> None:
    """Whoever stole it, a third party to an agreement, or the wire, would stop what others agreed."""
    agreement = standing(known.uy, known.agreement).agreement
    stolen = said(known.br, agreement, 1, act="suspend", issuer="BR", partner="UY", reason="forged")
    honest = said(known.br, agreement, 2, act="suspend", issuer="BR", partner="UY", reason="honest")
    assert known.uy.settle(Merge(known.pinned(known.uy), (page(agreement, honest),))) == []
    retired(known, rotated(known, known.br, "credential"), "credential")
    known.exchange()
    before = len(standing(known.uy, known.agreement).held)
    [why] = known.uy.settle(Merge(known.pinned(known.uy), (page(agreement, honest, stolen),)))
    assert "retired" in why
    assert len(standing(known.uy, known.agreement).held) == before


def test_an_act_signed_before_its_key_was_retired_is_proven_by_its_ledger(known: World) -> None:
    """The partner was away for the whole rotation."""
    known.br.settle(Sign(known.agreement, "suspend", "BR", "UY", reason="before"))
    retired(known, rotated(known, known.br, "credential"), "credential")
    known.exchange()
    assert standing(known.uy, known.agreement).state("BR", "UY", known.uy.parts.today()) == "SUSPENDED"
    assert known.uy.findings() == []


def test_a_card_that_comes_with_a_second_history_is_not_pinned(known: World) -> None:
    """The thief of all keys goes on from an older copy of the store, and rotates."""
    thief = World(known.clock, known.br, known.uy, known.agreement)
    honest = known.br.home.parent / "honest"
    known.br.parts.database.close()
    shutil.copytree(known.br.home, honest)
    stores.part(honest)
    true = open_node(honest, known.clock)
    true.admit(operator(4))
    head, peer = true.ledger(), known.pinned(known.uy)
    with known.uy.parts.database.write() as connection:
        accusing.see(connection, peer, stated(head.checkpoint), head.checkpoint, "2026-11-22T12:00:00.000Z")
    true.parts.database.close()
    rotated(thief, thief.br, "log", "seal")
    thief.br.admit(operator(5))
    with pytest.raises(accusing.Forked):
        thief.carry(known.uy)
    assert known.pinned(known.uy).number == 1
    [incident] = known.uy.incidents()
    assert incident["kind"] == "forked"
    assert known.uy.findings() == []


def test_a_retired_key_does_not_stop_its_own_node(known: World) -> None:
    """A partner that stole it shows a checkpoint that this node never signed."""
    stolen = known.br.parts
    now = stated(known.br.ledger().checkpoint)
    node = retired(known, rotated(known, known.br, "log", "cosign_pq"), "log", "cosign_pq")
    forged = stolen.sign(replace(now, size=1 << 20, root=bytes(32)))
    with pytest.raises(Unproven):
        behind.opened(node.parts, forged)
    assert behind.opened(node.parts, node.ledger().checkpoint).size == node.ledger().size


def test_a_store_from_before_a_rotation_knows_what_the_newest_keys_signed(known: World) -> None:
    """Only its keys are newer than it, and what partners have seen is its own all the same."""
    older = known.br.home.parent / "older"
    known.br.parts.database.close()
    shutil.copytree(known.br.home, older)
    stores.part(older)
    node = retired(known, rotated(known, known.br, "log", "cosign_pq"), "log", "cosign_pq")
    shutil.rmtree(older / "keys")
    shutil.copytree(node.home / "keys", older / "keys")
    back = open_node(older, known.clock)
    signed = behind.opened(back.parts, node.ledger().checkpoint)
    with back.parts.database.read() as connection:
        assert "were signed" in behind.against(connection, signed)
    [why] = [each.what for each in check_start(back.parts) if "log key" in each.what]
    assert "older than the keys" in why
    back.parts.database.close()


@pytest.mark.parametrize("change", [{"kid": "x"}, {"use": "sig"}, {"x": "="}])
def test_a_key_for_credentials_has_one_spelling(known: World, change: dict[str, str]) -> None:
    """Else a partner would take what no one else can check with the file that it is shown."""
    [first] = known.br.parts.card.keys["credential"]
    spelt = first.key | {
        name: value if name != "x" else first.key["x"] + value for name, value in change.items()
    }

    def other(now: Card) -> Card:
        return replace(now, keys={**now.keys, "credential": (replace(first, key=spelt),)})

    with pytest.raises(Malformed):
        rewritten(known.br, other)


@pytest.mark.skipif(not stores.ON_POSTGRESQL, reason="one process writes a SQLite store")
def test_a_process_that_was_started_with_a_retired_key_signs_nothing(known: World) -> None:
    """Several processes of a node; one of them was forgotten when the others were started again."""
    forgotten = known.br
    keys.rotate(forgotten.home / "keys", "log")
    other = open_node(forgotten.home, known.clock)
    with other.parts.database.read() as connection:
        assert introduction.refusal(other.parts, connection) is None, "its key is to come onto the card"
    other.settle(Introduce())
    with other.parts.database.read() as connection:
        assert introduction.refusal(forgotten.parts, connection) is None, "both keys are in use"
    other.parts.database.close()
    keys.retire(forgotten.home / "keys", "log")
    other = open_node(forgotten.home, known.clock)
    other.settle(Introduce())
    with other.parts.database.read() as connection:
        assert introduction.refusal(other.parts, connection) is None
        assert introduction.refusal(forgotten.parts, connection) is not None
    other.parts.database.close()
