"""What a hostile or careless partner says of agreements: bounded, in the order of its ledger, as meant."""

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from joserfc.jwk import ECKey

from contracts import evaluation, rules, terms
from node.agreements import act as acts
from node.agreements import document
from node.agreements.act import Act, Instrument
from node.errors import Conflict, NotFound
from node.exchange.page import AgreementPart
from node.exchange.standing import HeldAct, Standing
from node.ledger.encoding import b64u
from node.service import merging
from node.service.batch import Batch
from node.service.merging import Merge
from node.service.signing import Draft, Sign, Withdraw, party_of, put_signature, record_complete
from node.store import agreements, channels
from tests.service.world import DAY_MS, Json, Node, World, operator

START: Json = {"act": "start", "issuer": "BR", "partner": "UY", "mode": "operation"}
Step = Callable[[Batch], Any]


def standing(node: Node, agreement: str) -> Standing:
    with node.parts.database.read() as connection:
        return node.parts.standings.current(connection)[agreement]


def known(node: Node) -> dict[str, Standing]:
    with node.parts.database.read() as connection:
        return node.parts.standings.current(connection)


def state(node: Node, agreement: str) -> str:
    return standing(node, agreement).state("BR", "UY", node.parts.today())


def held(node: Node, agreement: str, act: str) -> HeldAct:
    [found] = [each for each in standing(node, agreement).held if each.act.id == act]
    return found


def said(node: Node, agreement: document.Agreement, number: int = 0, **says: Any) -> Instrument:
    """An act in any words, signed with a node's key by hand."""
    base: Json = {"v": 1, "agreement": agreement.id, "act": "withdraw", "issuer": None, "partner": None}
    base |= {"mode": None, "effective": "2026-11-22", "lifts": [], "reason": "", "preconditions_met": []}
    act = acts.parse_act(base | {"nonce": b64u(number.to_bytes(16))} | says)
    key = ECKey.import_key(node.parts.keys.credential[0])
    return Instrument(act, (acts.sign(act, node.country, key),))


def page(agreement: document.Agreement, *told: Instrument) -> AgreementPart:
    parts = [{"instrument": each.to_json(), "receipt": None} for each in told]
    return AgreementPart.model_validate({"document": agreement.to_json(), "acts": parts})


def merge(node: Node, peer: Node, *pages: AgreementPart) -> list[str]:
    refused: list[str] = node.settle(Merge(peer.parts.card, pages))
    return refused


def drafts(world: World, count: int, text: str = "") -> list[document.Agreement]:
    """Drafts that UY made and BR has never seen."""
    parties = [party_of(node.parts.card) for node in world.nodes]
    return [
        document.draft(
            "x",
            parties,
            terms.terms("br_uy"),
            text or rules.text("mra_v1"),
            "2026-11-22",
            number.to_bytes(16),
        )
        for number in range(count)
    ]


class By:
    """Any steps in a transaction of a node that does not keep to the rules."""

    weight = 1
    tins = ()

    def __init__(self, run: Step) -> None:
        self.run = run


@pytest.fixture
def met(strangers: World) -> World:
    """Two nodes that pinned each other."""
    strangers.pin()
    return strangers


@pytest.fixture
def signed(met: World) -> World:
    """An agreement that both have signed, and no direction has started."""
    met.agreement = met.draft()
    met.both("sign")
    return met


# Room


def test_one_peers_drafts_do_not_fill_the_node(met: World) -> None:
    br, uy = met.nodes
    refused = merge(br, uy, *(page(each) for each in drafts(met, merging.DRAFTS_LIMIT + 5)))
    assert len(known(br)) == merging.DRAFTS_LIMIT
    assert len(refused) == 5
    assert "too many drafts with UY" in refused[0]
    declined = next(iter(known(br)))
    br.settle(Withdraw(declined))
    assert merge(br, uy, *(page(each) for each in drafts(met, merging.DRAFTS_LIMIT + 1))) == [], "room again"


def test_one_peers_contracts_are_compiled_up_to_a_size(met: World, monkeypatch: pytest.MonkeyPatch) -> None:
    text = rules.text("mra_v1")
    monkeypatch.setattr(merging, "CONTRACTS_LIMIT_BYTES", 4 * len(text))
    texts = [f"{text}\n# {number}\n" for number in range(10)]
    refused = merge(met.br, met.uy, *(page(drafts(met, 1, text)[0]) for text in texts))
    assert any("too many contracts at once" in each for each in refused)
    assert len(known(met.br)) < 5


def test_drafts_take_little_of_the_store(met: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "DRAFTS_LIMIT_BYTES", 20_000)
    refused = merge(met.br, met.uy, *(page(each) for each in drafts(met, 10)))
    assert refused
    assert sum(len(each.agreement.encode()) for each in known(met.br).values()) <= 20_000


def test_a_contract_is_compiled_once_and_not_by_the_writer(
    met: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{rules.text('mra_v1')}\n# compiled once: {time.monotonic_ns()}\n"
    compiled: list[str] = []

    def load(text: str) -> evaluation.Contract:
        compiled.append(text)
        return evaluation.load(text)

    monkeypatch.setattr(document, "load", load)
    work = Merge(met.uy.parts.card, [page(each) for each in drafts(met, 3, text)])
    assert compiled == [text]
    met.br.settle(work)
    for agreement in known(met.br):
        met.br.settle(Sign(agreement, "sign"))
    assert compiled == [text]


def test_what_has_not_moved_is_not_read_again(signed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    other = signed.draft()
    before = known(signed.br)
    verified: list[str] = []
    verify = acts.verify

    def noted(
        act: Act, signature: acts.Signature, party: document.Party, later: acts.LaterKeys = acts.NO_LATER
    ) -> None:
        verified.append(act.id)
        verify(act, signature, party, later)

    monkeypatch.setattr(acts, "verify", noted)
    signed.br.settle(Sign(other, "sign"))
    after = known(signed.br)
    assert after[signed.agreement] is before[signed.agreement]
    assert after[other].agreement is before[other].agreement
    assert len(verified) == 1
    signed.br.settle(Sign(signed.agreement, **START))
    [sign] = before[signed.agreement].held
    assert known(signed.br)[signed.agreement].held[0] is sign
    assert len(verified) == 2


def test_what_a_stranger_says_of_a_draft_is_not_in_the_own_ledger(met: World) -> None:
    br, uy = met.nodes
    [draft] = drafts(met, 1)
    size = br.ledger().size
    told = [said(uy, draft, number, act="sign") for number in range(100)]
    told += [said(uy, draft, number) for number in range(100)]
    told += [
        said(uy, draft, 1, act="suspend", issuer="BR", partner="UY"),
        said(uy, draft, 2, act="terminate"),
    ]
    refused = merge(br, uy, page(draft, *told))
    assert len(refused) == merging.REFUSALS_LIMIT
    assert len(standing(br, draft.id).held) <= 2
    assert br.ledger().size == size
    assert br.findings() == []


def test_withdrawals_and_proposals_of_a_partner_do_not_pile_up(signed: World) -> None:
    br, uy = signed.nodes
    agreement = standing(br, signed.agreement).agreement
    start = uy.settle(Sign(signed.agreement, **START))["act"]
    signed.exchange()
    before = len(standing(br, signed.agreement).held)
    starts = [said(uy, agreement, number, **START) for number in range(20)]
    assert len(merge(br, uy, page(agreement, *starts))) == 20
    withdrawals = [said(uy, agreement, number, lifts=[start]) for number in range(20)]
    assert len(merge(br, uy, page(agreement, *withdrawals))) == 19
    unknown = [said(uy, agreement, number, lifts=[b64u(bytes([number] * 32))]) for number in range(20)]
    assert len(merge(br, uy, page(agreement, *unknown))) == 20
    stops = [said(uy, agreement, number, act="suspend", issuer="BR", partner="UY") for number in range(20)]
    merge(br, uy, page(agreement, *stops))
    assert state(br, signed.agreement) == "SUSPENDED"
    assert len(standing(br, signed.agreement).held) <= before + 1 + 8


def test_attempts_that_were_taken_back_all_arrive_together(signed: World) -> None:
    """A partner that was away sees proposals and withdrawals of many days at once, in whatever order."""
    br, uy = signed.nodes
    agreement = standing(br, signed.agreement).agreement
    told = []
    for number in range(6):
        proposed = said(uy, agreement, number, **START)
        told += [proposed, said(uy, agreement, number, lifts=[proposed.act.id])]
    last = said(uy, agreement, 99, **START)
    told.append(last)
    random.Random(5).shuffle(told)
    assert merge(br, uy, page(agreement, *told)) == []
    assert br.settle(Sign(signed.agreement, **START))["act"] == last.act.id


# Order in the partner's ledger


def put(node: Node, agreement: str, instrument: Instrument) -> None:
    def run(batch: Batch) -> None:
        agreements.add_act(batch.connection, instrument.act.id, agreement, instrument.act.encode())
        put_signature(batch.connection, instrument.act, instrument.signatures[0])
        record_complete(batch, agreement)

    node.settle(By(run))


def sign_only(node: Node, act: Act) -> None:
    """A signature that is told before the act is entered."""
    key = ECKey.import_key(node.parts.keys.credential[0])
    node.settle(By(lambda batch: put_signature(batch.connection, act, acts.sign(act, node.country, key))))


def enter(node: Node, agreement: str, number: str) -> None:
    """What an honest node never does: enter an act that was withdrawn."""
    instrument = held(node, agreement, number).instrument.to_json()
    body: Json = {"v": 1, "agreement": agreement, "instrument": instrument}
    node.settle(
        By(
            lambda batch: agreements.set_ledger_seq(
                batch.connection, number, batch.append_body("agreement", body)
            )
        )
    )


def crossed(world: World) -> tuple[str, str]:
    """BR enters a start that UY signed; UY's ledger holds its withdrawal and no start."""
    br, uy = world.nodes
    br.admit(operator(1))
    start = br.settle(Sign(world.agreement, **START))["act"]
    world.exchange()
    sign_only(uy, held(uy, world.agreement, start).act)
    world.carry(br)
    assert held(br, world.agreement, start).ledger_seq is not None
    withdrawal = said(uy, standing(uy, world.agreement).agreement, lifts=[start])
    put(uy, world.agreement, withdrawal)
    return start, withdrawal.act.id


def hiding(number: str) -> Callable[[Json], None]:
    """A page without the receipt of one act."""

    def tamper(answer: Json) -> None:
        for told in answer["agreements"] or []:
            for each in told["acts"]:
                if acts.parse(each["instrument"]).act.id == number:
                    each["receipt"] = None

    return tamper


def without(number: str) -> Callable[[Json], None]:
    """A page that does not tell of one act."""

    def tamper(answer: Json) -> None:
        for told in answer["agreements"] or []:
            told["acts"] = [each for each in told["acts"] if acts.parse(each["instrument"]).act.id != number]

    return tamper


@pytest.mark.parametrize("order", ["withdrawal first", "together", "withdrawal last"])
def test_an_act_that_its_party_entered_behind_its_withdrawal_never_counts(signed: World, order: str) -> None:
    br, uy = signed.nodes
    start, withdrawal = crossed(signed)
    if order == "withdrawal first":
        signed.carry(br)
    enter(uy, signed.agreement, start)
    if order == "withdrawal last":
        signed.carry(br, without(withdrawal))
        br.rev = 0
    signed.carry(br)
    br.keep()
    assert (
        held(br, signed.agreement, start).entered["UY"] > held(br, signed.agreement, withdrawal).entered["UY"]
    )
    assert state(br, signed.agreement) == "SIGNED"
    [incident] = br.incidents()
    assert incident["kind"] == "withdrawn"
    assert start in incident["detail"]
    with br.parts.database.read() as connection:
        assert channels.shared_count(connection, br.log_of("BR", "UY")) == 0


def test_a_start_does_not_count_while_its_withdrawal_is_unproven(signed: World) -> None:
    br, uy = signed.nodes
    start, withdrawal = crossed(signed)
    enter(uy, signed.agreement, start)
    signed.carry(br, hiding(withdrawal))
    assert held(br, signed.agreement, withdrawal).receipts == {}
    assert state(br, signed.agreement) == "SIGNED"


def test_who_waits_for_the_partners_ledger_can_withdraw(signed: World) -> None:
    br, uy = signed.nodes
    start = br.settle(Sign(signed.agreement, **START))["act"]
    signed.exchange()
    sign_only(uy, held(uy, signed.agreement, start).act)
    signed.carry(br)
    assert held(br, signed.agreement, start).ledger_seq is not None
    br.settle(Withdraw(signed.agreement, start))
    signed.exchange()
    assert held(uy, signed.agreement, start).ledger_seq is None, "UY heard of it before it entered the start"
    for node in signed.nodes:
        assert state(node, signed.agreement) == "SIGNED"
        assert node.findings() == []
        assert node.incidents() == []
    again = br.settle(Sign(signed.agreement, **START))["act"]
    assert again != start
    signed.exchange()
    uy.settle(Sign(signed.agreement, **START))
    signed.exchange()
    assert [state(node, signed.agreement) for node in signed.nodes] == ["IN_OPERATION"] * 2


def test_a_withdrawal_that_comes_behind_the_entries_of_both_changes_nothing(signed: World) -> None:
    br, uy = signed.nodes
    start = br.settle(Sign(signed.agreement, **START))["act"]
    signed.exchange()
    uy.settle(Sign(signed.agreement, **START))
    signed.carry(br, hiding(start))
    br.settle(Withdraw(signed.agreement, start))
    signed.exchange()
    assert [state(node, signed.agreement) for node in signed.nodes] == ["IN_OPERATION"] * 2
    for node in signed.nodes:
        assert node.findings() == []
        assert node.incidents() == []


# Words


@pytest.mark.parametrize(
    ("proposed", "why"),
    [
        ({"reason": "BR confirms everything"}, "its reason is 'BR confirms everything', not ''"),
        ({"preconditions_met": ("BR accepts liability",)}, "BR accepts liability; not: none"),
        ({"effective": "2027-06-01"}, "it takes effect on 2027-06-01, not on 2026-11-22"),
    ],
)
def test_the_partners_words_are_signed_only_when_they_are_meant(
    signed: World, proposed: Json, why: str
) -> None:
    br, uy = signed.nodes
    number = uy.settle(Sign(signed.agreement, **START, **proposed))["act"]
    signed.exchange()
    with pytest.raises(Conflict) as refused:
        br.settle(Sign(signed.agreement, **START))
    assert why in refused.value.sentence()
    assert f"--act {number}" in refused.value.do
    assert held(br, signed.agreement, number).signed == ("UY",)
    with pytest.raises(NotFound, match="no such proposal"):
        br.settle(Sign(signed.agreement, "resume", "BR", "UY", proposal=number))
    assert br.settle(Sign(signed.agreement, **START, proposal=number)) == {
        "act": number,
        "complete": True,
        "missing": [],
    }


def test_the_same_words_typed_by_both_are_one_act(signed: World) -> None:
    words: Json = {"reason": "As agreed", "preconditions_met": ("validated",), "effective": "2026-12-01"}
    number = signed.uy.settle(Sign(signed.agreement, **START, **words))["act"]
    signed.exchange()
    assert signed.br.settle(Sign(signed.agreement, **START, **words))["act"] == number


def test_a_proposal_of_yesterday_is_signed_today(signed: World) -> None:
    number = signed.uy.settle(Sign(signed.agreement, **START))["act"]
    signed.exchange()
    signed.days_pass()
    assert signed.br.settle(Sign(signed.agreement, **START))["act"] == number


@pytest.mark.parametrize("named", [True, False])
def test_a_resumption_that_leaves_a_suspension_is_not_signed(world: World, named: bool) -> None:
    br, uy = world.nodes
    uy.settle(Sign(world.agreement, "suspend", "BR", "UY"))
    world.exchange()
    number = uy.settle(Sign(world.agreement, "resume", "BR", "UY"))["act"]
    stays = br.settle(Sign(world.agreement, "suspend", "BR", "UY"))["act"]
    world.exchange()
    with pytest.raises(Conflict, match=f"suspended would stay what it does not lift: {stays}"):
        br.settle(Sign(world.agreement, "resume", "BR", "UY", proposal=number if named else None))


def test_a_resumption_that_lifts_something_else_is_not_signed(world: World) -> None:
    br, uy = world.nodes
    first = uy.settle(Sign(world.agreement, "suspend", "BR", "UY"))["act"]
    other = uy.settle(Sign(world.agreement, "suspend", "UY", "BR"))["act"]
    world.exchange()
    agreement = standing(br, world.agreement).agreement
    lifts = said(uy, agreement, act="resume", issuer="BR", partner="UY", lifts=sorted([first, other]))
    assert merge(br, uy, page(agreement, lifts)) == []
    with pytest.raises(Conflict, match=f"it lifts what is not suspended here: {other}"):
        br.settle(Sign(world.agreement, "resume", "BR", "UY", proposal=lifts.act.id))


@pytest.mark.parametrize(
    ("act", "day"), [("start", "2025-12-31"), ("start", "2026-11-21"), ("sign", "2026-11-21")]
)
def test_nothing_takes_effect_before_the_agreement(met: World, act: str, day: str) -> None:
    br, uy = met.nodes
    met.agreement = met.draft()
    met.exchange()
    says = START if act == "start" else {"act": "sign"}
    if act == "start":
        met.both("sign")
    with pytest.raises(Conflict, match="cannot take effect before the agreement"):
        br.settle(Sign(met.agreement, **says, effective=day))
    backdated = said(uy, standing(br, met.agreement).agreement, effective=day, **says)
    assert merge(br, uy, page(standing(br, met.agreement).agreement, backdated))


def test_a_start_is_not_before_the_day_of_the_terms(met: World) -> None:
    clauses = terms.terms("br_uy") | {"from": "2027-01-01"}
    met.agreement = met.br.settle(Draft("later", ("BR", "UY"), clauses, rules.text("mra_v1")))
    met.both("sign")
    with pytest.raises(Conflict, match="choose 2027-01-01 or a later day"):
        met.br.settle(Sign(met.agreement, **START))
    met.both(**START, effective="2027-01-01")
    assert state(met.br, met.agreement) == "SIGNED"
    met.clock.ms += 60 * DAY_MS
    assert state(met.br, met.agreement) == "IN_OPERATION"
