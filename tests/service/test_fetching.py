"""Records that are fetched one by one: decided by the contract, told in the channel, as new as the answer."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from threading import Event, Semaphore
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.sdk import verifier
from clients.sdk.signed import public_jwk
from contracts import terms
from node.errors import Busy, Conflict, Malformed, NotFound, Unproven
from node.exchange import fetches, incoming
from node.exchange.fetches import Asker, Case, Named, Question
from node.exchange.outgoing import Line
from node.exchange.standing import asker
from node.ledger import canonical
from node.records.credential import es256_signer
from node.service import copies, fetching
from node.service.asof import as_of
from node.service.evidence import evidence
from node.service.fetching import Fetcher, Tell
from node.store import channels
from tests.service.test_erasing import history, sound
from tests.service.test_evidence import answered, assert_holds, failed, of, policy
from tests.service.test_keys import retired, rotated
from tests.service.test_reading_channels import whole_channel
from tests.service.world import CNPJS, LEIS, Json, World, operator, withdrawn

TIN, OTHER = f"BR{CNPJS[1]}", f"BR{CNPJS[2]}"
CASE = Case("import control", "DUA 2026-1", "UY")


def on_demand(**changed: Any) -> Json:
    """The ready-made directions with that from Brazil on demand."""
    directions: Json = deepcopy(terms.terms("br_uy")["directions"])
    directions["BR-UY"] |= {"mode": "ON_DEMAND"} | changed
    return directions


@pytest.fixture
def world(strangers: World) -> World:
    strangers.operate(directions=on_demand(), termination_notice_days=0)
    for number in (1, 2):
        strangers.br.admit(operator(number))
    strangers.exchange()
    return strangers


def ask(world: World, identifier: str, scheme: str = "", case: Case = CASE) -> Question:
    """A question of UY to BR."""
    return fetching.question(world.uy.parts, world.agreement, "BR", (identifier, scheme), case)


def fetch(world: World, identifier: str, scheme: str = "", case: Case = CASE) -> Json | None:
    """Ask as UY; gives the answer of a lookup there, or None where nothing is shared."""
    before, question = world.br.channel_size("BR", "UY"), ask(world, identifier, scheme, case)
    seq = world.br.settle(Tell("UY", question))
    assert seq >= before
    world.exchange()
    with world.uy.parts.database.read() as connection:
        row = channels.opened(connection, world.uy.log_of("BR", "UY"), seq)
    assert row is not None
    body = canonical.decode(row["body"])
    assert body["told"] == (question.told() if row["record_id"] else question.asked.to_json())
    return None if row["record_id"] is None else world.uy.look_up(TIN if TIN in str(body) else OTHER)


def test_nothing_is_told_until_it_is_asked_for(world: World) -> None:
    with pytest.raises(NotFound):
        world.uy.look_up(TIN)
    answer = fetch(world, TIN)
    assert answer is not None
    assert answer["recognition"]["applies"]
    with pytest.raises(NotFound):
        world.uy.look_up(OTHER)
    assert (world.br.findings(), world.uy.findings()) == ([], [])


@pytest.mark.parametrize(("number", "scheme"), [(TIN, "TIN"), (CNPJS[1], ""), (CNPJS[1], "CNPJ")])
def test_it_is_found_by_what_the_partner_may_see(world: World, number: str, scheme: str) -> None:
    answer = fetch(world, number, scheme)
    assert answer is not None
    assert answer["tin"] == TIN


def test_what_may_not_be_shared_is_answered_like_what_is_not_there(world: World) -> None:
    world.br.amend(OTHER, mra_consent=withdrawn("2026-11-22"))
    before = world.br.channel_size("BR", "UY")
    assert fetch(world, OTHER) is None
    assert fetch(world, "BR1") is None
    hidden, none = told(world, before, 2)
    for each in (hidden, none):
        assert [len(each["told"].pop(name)) for name in ("at", "about", "by")] == [24, 43, 86]
    assert hidden == none
    assert "2026" in str(none), "the reference is there"
    assert CNPJS[2] not in str(hidden)
    assert (world.br.findings(), world.uy.findings()) == ([], [])


def test_a_check_wants_no_decision_on_what_nobody_asked_for(world: World) -> None:
    world.clock.ms += 1000
    world.br.amend(OTHER, status="SUSPENDED")
    assert world.br.findings() == []
    assert fetch(world, TIN) is not None
    world.br.amend(TIN, mra_consent=withdrawn("2026-11-22"))
    world.br.amend(TIN, mra_consent={"given": True, "scope": "GENERAL", "from": "2026-11-22"})
    world.exchange()
    assert (world.br.findings(), world.uy.findings()) == ([], [])


def test_what_was_told_on_demand_is_read_by_whoever_does_not_know_the_mode(world: World) -> None:
    """As the issuer does that has lost what it told: `aeo recover`."""
    assert fetch(world, TIN) is not None
    entries, items, by, leaf_at = whole_channel(world)
    for mode, count in ((None, 0), (True, 0), (False, 1)):
        found = incoming.read(entries, items, replace(by, is_on_demand=mode), lambda _: {}, leaf_at)
        assert len(found.set_apart) == count
        assert [each.is_fetched for each in found.disclosed if each.fields] == [True] * (1 - count)


def test_by_an_identifier_that_is_not_shown_nothing_is_found(world: World) -> None:
    """Or asking would tell which operator has it."""
    assert "identifiers.LEI" not in terms.terms("br_uy")["directions"]["BR-UY"]["fields"]
    assert fetch(world, LEIS[1]) is None
    assert fetch(world, LEIS[1], "LEI") is None
    assert fetch(world, TIN) is not None
    assert (world.br.findings(), world.uy.findings()) == ([], [])


def test_a_hidden_record_with_the_same_identifier_shows_in_nothing(world: World) -> None:
    """Or asking for one that is shared would tell that another carries its number."""
    world.br.amend(OTHER, mra_consent=withdrawn("2026-11-22"))
    world.br.amend(OTHER, identifiers=[{"scheme": "CNPJ", "value": CNPJS[1]}])
    answer = fetch(world, CNPJS[1], "CNPJ")
    assert answer is not None
    assert answer["tin"] == TIN
    world.br.amend(OTHER, mra_consent={"given": True, "scope": "GENERAL", "from": "2026-11-22"})
    assert fetch(world, CNPJS[1], "CNPJ") is None, "which of the two is meant nobody can say"
    assert (world.br.findings(), world.uy.findings()) == ([], [])


def test_by_an_identifier_that_is_not_shown_nothing_leaves_the_view(world: World) -> None:
    """The day on which a record leaves the view may have begun and the sweep not: asking must not tell."""
    world.br.amend(TIN, valid_to="2026-11-22")
    assert fetch(world, TIN) is not None
    world.days_pass()
    size = world.br.channel_size("BR", "UY")
    world.br.settle(Tell("UY", ask(world, LEIS[1])))
    assert world.br.channel_size("BR", "UY") == size + 1
    world.br.settle(Tell("UY", ask(world, TIN)))
    assert world.br.channel_size("BR", "UY") == size + 3


class Wire:
    """The wire to BR, which answers every question as if it had been this one."""

    def __init__(self, world: World, question: Question) -> None:
        self._world, self._question = world, question

    def post(self, _path: str, _body: bytes) -> bytes:
        seq = self._world.br.settle(Tell("UY", self._question))
        self._world.exchange()
        return canonical.encode({"v": 1, "entry": seq})


@pytest.mark.parametrize("is_answered", [True, False])
def test_an_answer_to_another_question_is_none(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_answered: bool
) -> None:
    fetcher, question = Fetcher(world.uy.parts), ask(world, TIN)
    wire = Wire(world, question if is_answered else ask(world, TIN))
    monkeypatch.setattr(fetcher, "_client", lambda _peer: wire)
    if is_answered:
        assert fetcher.fetch(world.pinned(world.uy), question).record_id is not None
    else:
        with pytest.raises(Unproven, match="no answer to this question"):
            fetcher.fetch(world.pinned(world.uy), question)


def invented(world: World) -> Question:
    """A question that BR made up, and signed itself."""
    return signed_by(world, world.br.parts.keys.credential[0])


def signed_by(world: World, key: EllipticCurvePrivateKey, issuer: str = "BR") -> Question:
    """A question in the name of UY."""
    asks, case = Asker(world.agreement, issuer, "UY"), Case("what nobody asked for", "none", "UY")
    return asks.ask(Named(TIN, "", "A" * 43), case, world.clock.ms, es256_signer(key))


def reworded(world: World) -> Question:
    """A question of UY's to which BR gives another purpose."""
    question = ask(world, TIN)
    case = Case("what UY did not say", CASE.reference, "UY")
    return replace(question, asked=replace(question.asked, case=case))


def kept(world: World) -> Question:
    """A question of UY's that BR answers another day."""
    question = ask(world, TIN)
    world.clock.ms += (fetches.ANSWERED_S + 61) * 1000
    return question


def foretold(world: World) -> Question:
    """A question of UY's that BR answers before it was asked."""
    world.clock.ms += 90_000
    question = ask(world, TIN)
    world.clock.ms -= 90_000
    return question


def of_the_other_way(world: World) -> Question:
    """A question of UY's to another issuer."""
    return signed_by(world, world.uy.parts.keys.credential[0], "PY")


LIES = (invented, reworded, kept, foretold, of_the_other_way)


@pytest.mark.parametrize("lie", LIES)
def test_an_issuer_refuses_a_question_that_its_partner_did_not_ask_just_now(
    world: World, lie: Callable[[World], Question]
) -> None:
    size = world.br.channel_size("BR", "UY")
    with pytest.raises(Unproven, match=r"has not signed the question|not answered in its time"):
        world.br.settle(Tell("UY", lie(world)))
    assert world.br.channel_size("BR", "UY") == size


@pytest.mark.parametrize("tin", [TIN, OTHER])
@pytest.mark.parametrize("lie", LIES)
def test_what_the_reader_did_not_ask_for_is_set_apart(
    world: World, monkeypatch: pytest.MonkeyPatch, lie: Callable[[World], Question], tin: str
) -> None:
    """What is told, and that nothing is shared."""
    if tin == OTHER:
        world.br.amend(TIN, mra_consent=withdrawn("2026-11-22"))
    question = lie(world)
    with monkeypatch.context() as lying:
        lying.setattr(Asker, "check", lambda *_: None)
        world.br.settle(Tell("UY", question))
    world.exchange()
    [incident] = world.uy.incidents()
    assert incident["kind"] == "invalid"
    assert re.search("has not signed the question|not answered in its time", incident["detail"])
    assert world.uy.find([TIN]) == {TIN: []}
    assert world.uy.findings() == []


def test_a_record_that_is_told_for_another_is_set_apart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as lying:
        own = fetching._own
        lying.setattr(fetching, "_own", lambda connection, _: own(connection, ask(world, OTHER)))
        world.br.settle(Tell("UY", ask(world, TIN)))
    world.exchange()
    [incident] = world.uy.incidents()
    assert "another identifier than was asked for" in incident["detail"]
    assert world.uy.find([TIN, OTHER]) == {TIN: [], OTHER: []}


@pytest.mark.parametrize("lie", LIES)
def test_evidence_of_what_nobody_asked_for_is_none(
    world: World, monkeypatch: pytest.MonkeyPatch, lie: Callable[[World], Question]
) -> None:
    """Where both nodes lie."""
    question = lie(world)
    with monkeypatch.context() as lying:
        lying.setattr(Asker, "check", lambda *_: None)
        world.br.settle(Tell("UY", question))
        world.exchange()
    assert failed(verifier.verify(of(world, TIN), policy(world))) == [10]


def test_evidence_of_what_is_told_for_another_is_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as lying:
        own = fetching._own
        lying.setattr(fetching, "_own", lambda connection, _: own(connection, ask(world, OTHER)))
        lying.setattr(Named, "is_of", lambda *_: True)
        world.br.settle(Tell("UY", ask(world, TIN)))
        world.exchange()
    assert failed(verifier.verify(of(world, OTHER), policy(world))) == [10]


def test_questions_are_asked_and_stay_proven_while_a_key_is_rotated(world: World) -> None:
    fetch(world, TIN)
    node = rotated(world, world.uy, "credential")
    with pytest.raises(Unproven, match="ask again in a moment"):
        world.br.settle(Tell("UY", ask(world, TIN)))
    world.exchange()
    assert fetch(world, TIN) is not None
    world.exchange()
    retired(world, node, "credential")
    world.exchange()
    assert fetch(world, TIN) is not None
    world.exchange()
    assert_holds(world, of(world, TIN))
    assert len(json.loads(of(world, TIN))["told"]) == 3
    assert (world.br.findings(), world.uy.findings(), world.uy.incidents()) == ([], [], [])


def test_a_question_holds_under_an_agreement_that_was_signed_while_a_key_was_rotated(
    strangers: World,
) -> None:
    """It names the newer key: what the older one signs shows nobody who asked."""
    rotated(strangers, strangers.uy, "credential")
    strangers.operate(directions=on_demand(), termination_notice_days=0)
    strangers.br.admit(operator(1))
    strangers.exchange()
    assert fetch(strangers, TIN) is not None
    assert_holds(strangers, of(strangers, TIN))
    with pytest.raises(Unproven, match="has not signed the question"):
        strangers.br.settle(Tell("UY", signed_by(strangers, strangers.uy.parts.keys.credential[1])))


def test_a_key_that_was_retired_asks_for_nothing_any_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has it now; what it signed before it ended still holds."""
    [old] = world.uy.parts.keys.credential
    fetch(world, TIN)
    world.clock.ms += 1000
    retired(world, rotated(world, world.uy, "credential"), "credential")
    world.clock.ms += 1000
    world.exchange()
    with pytest.raises(Unproven, match="has not signed the question"):
        world.br.settle(Tell("UY", signed_by(world, old)))
    with monkeypatch.context() as lying:
        lying.setattr(Asker, "check", lambda *_: None)
        world.br.settle(Tell("UY", signed_by(world, old)))
    world.exchange()
    [incident] = world.uy.incidents()
    assert "has not signed the question" in incident["detail"]
    entries, items, by, leaf_at = whole_channel(world)
    with world.uy.parts.database.read() as connection:
        standing = world.uy.parts.standings.current(connection)[world.agreement]
        ends = copies._ends(connection, world.uy.parts.card)
    own = asker(standing, "BR", world.uy.parts.card, ends)
    read = incoming.read(entries, items, replace(by, is_on_demand=True, asker=own), lambda _: {}, leaf_at)
    assert (sum(each.is_fetched for each in read.disclosed), len(read.set_apart)) == (1, 1)


def test_clocks_may_differ_as_much_as_a_verifier_allows_and_no_more(world: World) -> None:
    """Whatever the nodes allow besides: what both took over must hold for whoever has only the file."""
    world.clock.ms += 1000 * fetches.SKEW_S
    question = ask(world, TIN)
    world.clock.ms -= 1000 * fetches.SKEW_S
    world.br.settle(Tell("UY", question))
    world.exchange()
    assert_holds(world, of(world, TIN))
    assert verifier.ANSWERED_MS == 1000 * fetches.ANSWERED_S
    assert verifier.DATING_MS == 1000 * fetches.SKEW_S


def test_a_partner_that_is_silent_takes_up_no_more_than_its_share(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetcher, peer, gone = Fetcher(world.uy.parts), world.pinned(world.uy), Event()
    arrived = Semaphore(0)

    class Silent:
        def post(self, _path: str, _body: bytes) -> bytes:
            arrived.release()
            gone.wait()
            raise Busy("it is away")

    monkeypatch.setattr(fetcher, "_client", lambda _peer: Silent())
    question = ask(world, TIN)
    with ThreadPoolExecutor() as pool:
        try:
            waiting = [pool.submit(fetcher.fetch, peer, question) for _ in range(fetching.AT_ONCE_OF_ONE)]
            for _ in waiting:
                assert arrived.acquire(timeout=30)
            with pytest.raises(Busy, match="other questions first"):
                fetcher.fetch(peer, question)
            waiting.append(pool.submit(fetcher.fetch, replace(peer, country="AR"), question))
            assert arrived.acquire(timeout=30), "another partner is asked"
        finally:
            gone.set()
        assert {str(each.exception()) for each in waiting} == {"it is away"}
    with pytest.raises(Busy, match="it is away"):
        fetcher.fetch(peer, question)


def test_a_change_is_told_when_it_is_asked_for_again_and_not_before(world: World) -> None:
    fetch(world, TIN)
    size = world.br.channel_size("BR", "UY")
    world.br.amend(TIN, legal_name="Nome Novo S/A")
    world.exchange()
    assert world.br.channel_size("BR", "UY") == size
    assert world.uy.look_up(TIN)["fields"]["legal_name"] != "Nome Novo S/A"
    assert world.br.findings() == []
    answer = fetch(world, TIN)
    assert answer is not None
    assert answer["fields"]["legal_name"] == "Nome Novo S/A"
    assert (world.br.findings(), world.uy.findings()) == ([], [])


def test_that_a_record_left_the_view_is_told_at_once(world: World) -> None:
    fetch(world, TIN)
    world.br.amend(TIN, mra_consent=withdrawn("2026-11-22"))
    world.exchange()
    answer = world.uy.look_up(TIN)
    assert answer["status"]["value"] == "NOT_SHARED"
    assert "`aeo fetch`" in answer["recognition"]["reasons"][-1]
    size = world.br.channel_size("BR", "UY")
    world.br.amend(OTHER, mra_consent=withdrawn("2026-11-22"))
    world.exchange()
    assert world.br.channel_size("BR", "UY") == size, "of what was never told nothing is"
    assert (world.br.findings(), world.uy.findings()) == ([], [])


def test_an_answer_is_as_new_as_the_question(world: World) -> None:
    limit_s = terms.terms("br_uy")["max_staleness_s"]
    fetch(world, TIN)
    world.clock.ms += (limit_s + 1) * 1000
    world.exchange()
    answer = world.uy.look_up(TIN)
    assert answer["freshness"] == {
        "proven_at": "2026-11-22T12:00:00.000Z",
        "age_s": limit_s + 1,
        "limit_s": limit_s,
        "fresh": False,
    }
    assert answer["recognition"]["reasons"] == ["the newest proof is older than the agreement allows"]
    again = fetch(world, TIN)
    assert again is not None
    assert again["recognition"]["applies"]
    assert again["freshness"]["age_s"] == 0
    assert (world.br.findings(), world.uy.findings()) == ([], [])


def test_every_record_that_was_told_leaves_the_view_when_the_agreement_ends(world: World) -> None:
    fetch(world, TIN)
    world.both_end()
    assert world.uy.look_up(TIN)["status"]["value"] == "NOT_SHARED"
    with pytest.raises(Conflict, match="nothing can be fetched"):
        world.br.settle(Tell("UY", ask(world, TIN)))
    assert (world.br.findings(), world.uy.findings()) == ([], [])


def test_evidence_is_as_old_as_what_was_told(world: World) -> None:
    fetch(world, TIN)
    assert_holds(world, of(world, TIN))
    world.clock.ms += (terms.terms("br_uy")["max_staleness_s"] + 1) * 1000
    world.exchange()
    file = of(world, TIN)
    assert_holds(world, file)
    assert answered(file)["reasons"] == ["the newest proof is older than the agreement allows"]
    fetch(world, TIN, case=Case("another", "DUA 2", "UY"))
    file = of(world, TIN)
    assert_holds(world, file)
    assert answered(file) == {"status": "ACTIVE", "applies": True, "reasons": [], "age_s": 0}
    with world.uy.parts.database.read() as connection:
        at_ms = world.clock.ms + (terms.terms("br_uy")["max_staleness_s"] + 1) * 1000
        found = as_of(world.uy.parts, connection, TIN, at_ms, at_ms)
    [answer] = found["answers"]
    assert answer["recognition"]["reasons"] == ["the newest proof is older than the agreement allows"]


@pytest.mark.parametrize("partner", ["AR", "BR"])
def test_a_question_of_who_has_no_channel_is_refused(world: World, partner: str) -> None:
    size = world.br.ledger().size
    with pytest.raises(Conflict, match="nothing can be fetched"):
        world.br.settle(Tell(partner, ask(world, TIN)))
    assert world.br.ledger().size == size


def test_what_was_fetched_is_kept_as_long_as_the_terms_say_from_then(strangers: World) -> None:
    strangers.operate(directions=on_demand(), retention_days=30)
    strangers.br.admit(operator(1))
    strangers.exchange()
    fetch(strangers, TIN)
    strangers.days_pass(20)
    fetch(strangers, TIN)
    strangers.days_pass(11)
    strangers.exchange()
    assert len(history(strangers.uy, TIN)) == 1
    strangers.days_pass(20)
    strangers.exchange()
    with pytest.raises(NotFound):
        strangers.uy.look_up(TIN)
    sound(strangers)
    strangers.br.amend(TIN, mra_consent=withdrawn("2026-11-22"))
    strangers.exchange()
    with pytest.raises(NotFound):
        strangers.uy.look_up(TIN)
    assert strangers.uy.incidents() == []
    sound(strangers)


def test_nobody_is_told_whom_the_agreement_does_not_name(world: World) -> None:
    with pytest.raises(Conflict, match="is not told anything here"):
        world.br.settle(Tell("UY", ask(world, TIN, case=Case("why", "DUA 1", "PY"))))


def test_a_reader_that_the_partner_hosts_is_told_as_such(strangers: World) -> None:
    key = public_jwk(Ed25519PrivateKey.generate())
    reader = {"country": "PY", "administration": "An administration without a node", "key": key}
    strangers.operate(directions=on_demand(readers=[reader]))
    strangers.br.admit(operator(1))
    strangers.exchange()
    uy = strangers.uy.parts
    assert fetch(strangers, TIN, case=Case("secret of the host", "DUA 9", "UY")) is not None
    with uy.database.read() as connection, pytest.raises(NotFound):
        evidence(uy, connection, TIN, strangers.clock.ms, "", [strangers.uy.log_of("BR", "UY")], "PY")
    assert fetch(strangers, TIN, case=Case("why", "DI 1", "PY")) is not None
    with uy.database.read() as connection:
        only = [strangers.uy.log_of("BR", "UY")]
        file = evidence(uy, connection, TIN, strangers.clock.ms, "", only, "PY")
    assert_holds(strangers, file)
    assert len(json.loads(file)["told"]) == 1, "what the host asked for, and why, is the host's"
    assert len(json.loads(of(strangers, TIN))["told"]) == 2
    assert (strangers.br.findings(), strangers.uy.findings()) == ([], [])


def test_what_is_mirrored_is_not_fetched(world: World) -> None:
    with pytest.raises(Conflict, match="nothing can be fetched"):
        world.uy.settle(Tell("BR", ask(world, TIN)))


def test_a_reader_finds_whom_it_can_ask(world: World) -> None:
    with world.uy.parts.database.read() as connection:
        standing, peer = fetching.source(world.uy.parts, connection, "", "")
        assert (standing.agreement.id, peer.country) == (world.agreement, "BR")
        with pytest.raises(NotFound, match="no partner has agreed"):
            fetching.source(world.uy.parts, connection, "AR", "")
    with world.br.parts.database.read() as connection, pytest.raises(NotFound):
        fetching.source(world.br.parts, connection, "", "")


@pytest.mark.parametrize("name", fetches.LONGEST)
@pytest.mark.parametrize("value", ["a" * 300, "a\nb", 7, None, ""])
def test_a_question_out_of_form_is_refused(name: str, value: object) -> None:
    asked = Asker("A" * 43, "BR", "UY").ask(Named(TIN, "", "A" * 43), CASE, 0, lambda _: bytes(64))
    good = asked.to_json()
    assert fetches.question(good) == asked
    if (name, value) != ("scheme", ""):
        with pytest.raises(Malformed, match=name):
            fetches.question(good | {name: value})


def test_a_record_that_is_pushed_where_it_should_be_fetched_is_set_apart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An issuer that mirrors in spite of the terms."""
    with monkeypatch.context() as patched:
        patched.setattr(Line, "is_on_demand", False)
        world.br.admit(operator(3))
        world.exchange()
    assert_set_apart(world, f"BR{CNPJS[3]}")


def test_a_record_that_is_told_as_asked_for_where_it_should_be_mirrored_is_set_apart(
    strangers: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    strangers.operate()
    with monkeypatch.context() as patched:
        patched.setattr(Line, "is_on_demand", True)
        strangers.br.admit(operator(1))
        strangers.br.settle(Tell("UY", ask(strangers, TIN)))
        strangers.exchange()
    assert_set_apart(strangers, TIN)


def assert_set_apart(world: World, tin: str) -> None:
    """UY keeps one incident, and knows nothing of the operator."""
    [incident] = world.uy.incidents()
    assert (incident["kind"], "another mode" in incident["detail"]) == ("invalid", True)
    assert world.uy.find([tin]) == {tin: []}


def told(world: World, start: int, count: int) -> list[Json]:
    """The bodies of entries that UY opened."""
    found = []
    with world.uy.parts.database.read() as connection:
        for seq in range(start, start + count):
            row = channels.opened(connection, world.uy.log_of("BR", "UY"), seq)
            assert row is not None
            found.append(canonical.decode(row["body"]))
    return found
