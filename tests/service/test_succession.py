"""A node whose keys were stolen is frozen, and another one goes on in its place, from what it stands by."""

from dataclasses import replace
from pathlib import Path

import pytest

from clients.sdk import verifier
from node import keys, settings
from node.assembly import parts_of
from node.errors import Conflict, Unproven
from node.exchange import card
from node.exchange.card import Succession
from node.ledger import canonical
from node.ledger.checkpoint import stated
from node.ledger.encoding import b64u
from node.service import succession
from node.service.accusing import is_frozen, is_stopped
from node.service.admission import AdmitPeer, Freeze
from node.service.batch import open_body
from node.service.evidence import evidence
from node.store import incidents, logs
from tests.service import stores
from tests.service.world import CNPJS, Node, World, open_node, operator

ONE, TWO, FOUR = (f"BR{CNPJS[number]}" for number in (1, 2, 4))
NEW = "aeo2.br.example"


def new_home(folder: Path, name: str = NEW) -> Path:
    home = folder / "br2"
    home.mkdir()
    values = {"name": name, "country": "BR", "administration": "Customs of BR", "signing_processes": 0}
    settings.write(home, values | stores.of_a_new_home() | {"address": f"http://{name}"})
    keys.make(home / "keys")
    return home


def succeeded(world: World, note: str = "") -> tuple[Node, Node, succession.Carried]:
    """The old node, the one that succeeds it, and what was carried over."""
    old, home = world.br, new_home(world.br.home.parent)
    parts = parts_of(home)
    parts.database.migrate()
    parts.database.close()
    new = open_node(home, world.clock)
    before = succession.predecessor(old.parts, NEW, "BR", note)
    carried = succession.succeed(new.parts, before, lambda *_: None)
    return old, new, carried


def test_a_successor_goes_on_with_the_records_and_is_believed_again(known: World) -> None:
    old, new, carried = succeeded(known)
    assert (carried.count, carried.refused) == (3, ())
    size = old.ledger().size
    assert new.parts.card.succeeds == Succession("aeo.br.example", size, b64u(old.ledger().root))
    assert new.look_up(ONE)["fields"]["legal_name"] == old.look_up(ONE)["fields"]["legal_name"]

    known.uy.settle(AdmitPeer(new.parts.card.text, new.parts.card.fingerprint))
    [frozen] = known.uy.incidents()
    assert (frozen["kind"], frozen["peer"]) == ("frozen", "aeo.br.example")
    assert known.uy.look_up(ONE)["recognition"]["applies"], "what was proven stands while it is new"
    assert any("frozen" in each for each in known.uy.look_up(ONE)["alerts"])

    known.br, known.agreement = new, ""
    new.settle(AdmitPeer(known.uy.parts.card.text, known.uy.parts.card.fingerprint))
    known.agreement = known.draft()
    known.both("sign")
    known.both("start", "BR", "UY", mode="operation")
    new.amend(ONE, legal_name="Depois S/A")
    known.exchange()
    told = known.uy.find([ONE])[ONE]
    by_name = {each["provenance"]["ledger"]["origin"]: each for each in told}
    assert by_name[f"{NEW}/ledger"]["fields"]["legal_name"] == "Depois S/A"
    assert by_name[f"{NEW}/ledger"]["recognition"]["applies"]
    assert [each.findings() for each in (old, new, known.uy)] == [[], [], []]


def test_evidence_of_what_the_old_node_told_holds_after_the_succession(known: World) -> None:
    agreement = known.agreement
    log, *_ = known.br.parts.card.verifiers("aeo.br.example/ledger")
    _, new, _ = succeeded(known)
    known.uy.settle(AdmitPeer(new.parts.card.text, new.parts.card.fingerprint))
    with known.uy.parts.database.read() as connection:
        encoded = evidence(known.uy.parts, connection, ONE, known.clock.ms, agreement)
    results = verifier.verify(encoded, f"log {log.vkey()}\nquorum none\n")
    assert [each for each in results if not each.passed] == []


def test_what_came_behind_the_checkpoint_is_disowned_and_not_carried_over(known: World) -> None:
    """The thief wrote with the stolen keys, and the partner took it, before anybody knew."""
    note = known.br.ledger().checkpoint
    known.br.amend(ONE, legal_name="Fantasma S/A")
    known.br.admit(operator(4))
    known.exchange()
    _, new, carried = succeeded(known, note)
    assert carried.count == 3
    assert new.look_up(ONE)["fields"]["legal_name"] != "Fantasma S/A"
    known.uy.settle(AdmitPeer(new.parts.card.text, new.parts.card.fingerprint))
    for tin in (ONE, FOUR):
        recognition = known.uy.look_up(tin)["recognition"]
        assert not recognition["applies"]
        assert any("disowns" in each for each in recognition["reasons"])
    assert known.uy.look_up(TWO)["recognition"]["applies"], "what it stands by is not touched"
    assert known.uy.findings() == []


def test_a_frozen_node_is_not_believed_and_is_told_nothing(known: World) -> None:
    known.uy.settle(Freeze("BR", "chaves roubadas"))
    known.uy.settle(Freeze("BR", "once is enough"))
    [incident] = known.uy.incidents()
    assert incident["kind"] == "frozen"
    assert "chaves roubadas" in incident["detail"]
    with known.uy.parts.database.read() as connection:
        row = incidents.with_evidence(connection, incident["incident"])
        assert row is not None
        assert stated(row["evidence"].decode()).size == known.br.ledger().size
        assert is_stopped(connection, known.pinned(known.uy))
        assert is_frozen(connection, known.pinned(known.uy))
    known.br.amend(ONE, legal_name="Fantasma S/A")
    with pytest.raises(Conflict, match="believed"):
        known.carry(known.uy)
    answer = known.uy.look_up(ONE)
    assert answer["fields"]["legal_name"] != "Fantasma S/A"
    assert any("chaves roubadas" in each for each in answer["alerts"])
    assert known.uy.findings() == []


@pytest.mark.parametrize("wrong", ["nothing", "another node", "another history"])
def test_no_other_card_takes_the_place_of_a_pinned_one(known: World, wrong: str) -> None:
    size, root = known.br.ledger().size, b64u(known.br.ledger().root)
    after = {
        "nothing": None,
        "another node": Succession("aeo.ar.example", size, root),
        "another history": Succession("aeo.br.example", size, b64u(bytes(32))),
    }[wrong]
    folder = known.br.home / "other"
    keys.make(folder)
    own = keys.load("file:other", known.br.home)
    made = card.write(NEW, "BR", "Customs of BR", f"http://{NEW}", own, after)
    with pytest.raises((Conflict, Unproven)):
        known.uy.settle(AdmitPeer(made.text, made.fingerprint))
    assert known.pinned(known.uy).name == "aeo.br.example"
    assert known.uy.incidents() == []


def test_a_node_that_was_succeeded_never_comes_back(known: World) -> None:
    old, new, _ = succeeded(known)
    known.uy.settle(AdmitPeer(new.parts.card.text, new.parts.card.fingerprint))
    with pytest.raises(Conflict, match="known already"):
        known.uy.settle(AdmitPeer(old.parts.card.text, old.parts.card.fingerprint))


@pytest.mark.parametrize("wrong", ["name", "country", "unsigned", "contradicted", "channel"])
def test_what_cannot_be_succeeded_is_refused_before_anything_is_written(known: World, wrong: str) -> None:
    old = known.br.parts
    name, country, note = NEW, "BR", known.br.ledger().checkpoint
    if wrong == "name":
        name = "aeo.br.example"
    if wrong == "country":
        country = "UY"
    if wrong == "unsigned":
        note = known.uy.ledger().checkpoint
    if wrong == "contradicted":
        note = old.sign(replace(stated(note), root=bytes(32)))
    if wrong == "channel":
        with old.database.read() as connection:
            head = logs.head(connection, known.br.log_of("BR", "UY"))
        assert head is not None
        note = head.checkpoint
    with pytest.raises((Conflict, Unproven)):
        succession.predecessor(old, name, country, note)


def test_a_successor_says_so_in_its_first_entry(known: World) -> None:
    old, new, _ = succeeded(known)
    with new.parts.database.read() as connection:
        _, content = open_body(new.parts, 0, logs.body(connection, 0))
    body = canonical.decode(content)
    assert isinstance(body, dict)
    assert body["card"] == new.parts.card.text
    assert body["predecessor"] == {"card": old.parts.card.text, "checkpoint": note_of(old)}


def note_of(old: Node) -> str:
    return succession.predecessor(old.parts, NEW, "BR").note
