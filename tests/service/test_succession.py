"""A node whose keys were stolen is frozen, and another one goes on in its place, from what it stands by."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from clients.sdk import verifier
from contracts import rules, terms
from node import keys, settings
from node.api.problems import encoded
from node.assembly import parts_of
from node.errors import Conflict, NotFound, Unproven
from node.exchange import card
from node.exchange.card import Succession
from node.ledger import canonical
from node.ledger.checkpoint import stated
from node.ledger.encoding import b64u
from node.service import asof, erasing, succession
from node.service.accusing import is_frozen, is_stopped
from node.service.admission import AdmitPeer, Freeze
from node.service.answers import Answers
from node.service.batch import open_body
from node.service.erasing import Erase, HoldRecord, ReleaseRecord
from node.service.evidence import evidence
from node.service.reporting import ResumeHere, SuspendHere
from node.service.signing import Draft
from node.store import incidents, logs, records
from tests.service import stores
from tests.service.test_erasing import remains, told
from tests.service.world import CNPJS, LEIS, NAMES, Node, World, open_node, operator, withdrawn

ONE, TWO, THREE, FOUR = (f"BR{CNPJS[number]}" for number in (1, 2, 3, 4))
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


def test_whom_a_card_succeeds_is_of_its_country_and_ends(known: World) -> None:
    br, uy = known.br.parts.card, known.uy.parts.card
    two = replace(br, name="two", succeeds=Succession(br.name, 1, ""))
    three = replace(br, name="three", succeeds=Succession("two", 1, ""))
    cards = {each.name: each for each in (br, uy, two, three)}
    assert card.predecessors(three, cards) == {"two", br.name}
    assert card.predecessors(replace(three, country="UY"), cards) == frozenset()
    assert card.predecessors(replace(uy, succeeds=Succession("unknown", 1, "")), cards) == frozenset()
    circle = cards | {br.name: replace(br, succeeds=Succession("three", 1, ""))}
    assert card.predecessors(three, circle) == {"two", br.name}


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


def goes_on(
    world: World, first: Callable[[Node], object] = lambda _: None, **changed: Any
) -> tuple[Node, Node]:
    """The old node and the new one, which has told the partner its records under an agreement of its own."""
    old, new, _ = succeeded(world)
    first(new)
    world.uy.settle(AdmitPeer(new.parts.card.text, new.parts.card.fingerprint))
    world.br = new
    new.settle(AdmitPeer(world.uy.parts.card.text, world.uy.parts.card.fingerprint))
    world.agreement = world.draft(**changed)
    world.both("sign")
    world.both("start", "BR", "UY", mode="operation")
    return old, new


def begins(world: World, *fields: str, **changed: Any) -> None:
    """An agreement in operation that shows these fields besides, and the operators 1 to 3 told."""
    world.operate(**showing(*fields), **changed)
    for number in (1, 2, 3):
        world.br.admit(operator(number))
    world.exchange()


def showing(*fields: str) -> Any:
    directions: Any = deepcopy(terms.terms("br_uy")["directions"])
    directions["BR-UY"]["fields"] += fields
    return {"directions": directions}


def test_a_number_that_the_successor_does_not_show_does_not_bring_the_old_word_back(strangers: World) -> None:
    begins(strangers, "identifiers.LEI")
    _, new = goes_on(strangers)
    new.amend(ONE, status="SUSPENDED")
    strangers.exchange()
    assert strangers.uy.find([LEIS[1]]) == {LEIS[1]: []}
    assert strangers.uy.look_up(ONE)["status"]["value"] == "SUSPENDED"


def test_nobody_else_vanishes_by_a_number_that_is_his_tin(strangers: World) -> None:
    """Of ONE the successor tells nothing; TWO has a number that is ONE's TIN."""
    begins(strangers, "identifiers.EORI")
    two = [{"scheme": "CNPJ", "value": CNPJS[2]}, {"scheme": "EORI", "value": ONE}]
    goes_on(
        strangers,
        lambda new: (new.amend(ONE, mra_consent=withdrawn("2026-11-22")), new.amend(TWO, identifiers=two)),
        **showing("identifiers.EORI"),
    )
    assert {each["tin"] for each in strangers.uy.find([ONE])[ONE]} == {ONE, TWO}


def test_who_the_successor_tells_nothing_of_is_still_suggested_by_any_name(strangers: World) -> None:
    begins(strangers)
    clauses = terms.terms("br_uy") | showing("trade_names")
    strangers.agreement = strangers.br.settle(Draft("Second", ("BR", "UY"), clauses, rules.text("mra_v1")))
    strangers.both("sign")
    strangers.both("start", "BR", "UY", mode="operation")
    before = suggested(strangers.uy, "Marca oculta 1")
    assert ONE in before
    none = withdrawn("2026-11-22")
    goes_on(strangers, lambda new: [new.amend(each, mra_consent=none) for each in (ONE, TWO, THREE)])
    assert suggested(strangers.uy, "Marca oculta 1") == before


def test_when_the_successors_tombstone_is_over_the_old_word_does_not_come_back(strangers: World) -> None:
    begins(strangers, max_staleness_s=86_400)
    _, new = goes_on(strangers, retention_days=0)
    new.amend(ONE, mra_consent=withdrawn("2026-11-22"))
    strangers.exchange()
    strangers.clock.ms += 13 * 3_600_000
    strangers.exchange()
    strangers.uy.keep()
    assert told_of(strangers.uy, ONE) == []
    assert strangers.uy.findings() == []


def test_what_held_is_asked_of_the_successor_once_it_has_told(known: World) -> None:
    _, new = goes_on(known)
    new.amend(ONE, status="REVOKED")
    known.exchange()
    with known.uy.parts.database.read() as connection:
        now = known.clock.ms
        [told] = asof.as_of(known.uy.parts, connection, ONE, now, now)["answers"]
    assert told["status"]["value"] == "REVOKED"


def suggested(node: Node, name: str) -> list[str]:
    """The TINs of the operators that are suggested for a name, the likest first."""
    answers = Answers(node.parts)
    tellers = answers.tellers()
    with node.parts.database.read() as connection:
        found: Any = orjson.loads(encoded(answers.search(connection, tellers, name, 5)))
    return [each["operator"]["tin"] for each in found["suggestions"]]


def test_what_a_successor_says_of_an_operator_takes_the_place_of_what_was_said_before(known: World) -> None:
    """The old node's word is proven, and new enough; yet its administration says otherwise now."""
    _, new = goes_on(known)
    new.amend(ONE, status="SUSPENDED", legal_name="Depois S/A")
    new.amend(TWO, mra_consent=withdrawn("2026-11-22"))
    known.exchange()
    told = known.uy.find([ONE, TWO, THREE])
    assert [len(each) for each in told.values()] == [1, 1, 1]
    assert told[ONE][0]["status"]["value"] == "SUSPENDED"
    assert told[TWO][0]["status"]["value"] == "NOT_SHARED"
    assert told[THREE][0]["recognition"]["applies"]
    assert suggested(known.uy, f"{NAMES[1]} S/A") == [], "its name before"
    assert suggested(known.uy, f"{NAMES[3]} S/A") == [THREE]


def test_who_is_erased_at_a_successor_disappears_from_what_the_old_node_told_too(known: World) -> None:
    _, new = goes_on(known)
    assert len(told_of(known.uy, ONE)) == 2
    new.settle(Erase(ONE, "NOT_NEEDED", "case 7", "admin"))
    known.exchange()
    with pytest.raises(NotFound):
        known.uy.look_up(ONE)
    assert known.uy.look_up(TWO)["recognition"]["applies"]
    assert told(new) == [("UY", "ERASED")]
    assert [each.findings() for each in (new, known.uy)] == [[], []]
    if not stores.ON_POSTGRESQL:
        assert erasing.scrub(known.uy.parts)
        assert remains(known.uy.home) == set()


def test_who_was_suspended_here_stays_so_where_a_successor_tells_of_it(known: World) -> None:
    known.uy.settle(SuspendHere(ONE, "SECURITY", "case 1", "chief"))
    goes_on(known)
    [told] = known.uy.find([ONE])[ONE]
    assert told["provenance"]["ledger"]["origin"] == f"{NEW}/ledger"
    assert "suspended here" in str(told["recognition"]["reasons"])
    assert known.uy.look_up(TWO)["recognition"]["applies"]
    known.uy.settle(ResumeHere(ONE, "closed", "chief"))
    assert known.uy.look_up(ONE)["recognition"]["applies"]


def test_a_hold_keeps_what_the_old_node_told_as_well(known: World) -> None:
    _, new = goes_on(known)
    known.uy.settle(HoldRecord(ONE, "court order 12", "admin"))
    new.settle(Erase(ONE, "NOT_NEEDED", "", "admin"))
    known.exchange()
    assert len(told_of(known.uy, ONE)) == 2
    assert told(new) == [("UY", "KEPT")]
    known.uy.settle(ReleaseRecord(ONE))
    known.exchange()
    assert told(new) == [("UY", "ERASED")]
    assert told_of(known.uy, ONE) == []
    assert known.uy.findings() == []


def test_what_the_old_node_told_is_kept_no_longer_than_the_term_from_its_end(known: World) -> None:
    """Also what the new one never told: nobody would ask to erase it."""
    _, new, _ = succeeded(known)
    known.uy.settle(AdmitPeer(new.parts.card.text, new.parts.card.fingerprint))
    days = terms.terms("br_uy")["retention_days"]
    known.days_pass(days)
    known.uy.keep()
    assert len(told_of(known.uy, ONE)) == 1
    known.days_pass(1)
    known.uy.keep()
    assert told_of(known.uy, ONE) == []
    assert known.uy.findings() == []


def told_of(node: Node, tin: str) -> list[tuple[int, str]]:
    """(log, record) of what a node holds under a TIN."""
    with node.parts.database.read() as connection:
        return records.carrying(connection, tin, "TIN")


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
