"""A draft or proposal that not all have signed can be taken back or declined; both sides agree on it."""

from typing import Any

import pytest
from joserfc.jwk import ECKey

from contracts import rules, terms
from node.agreements import act as acts
from node.api.agreements import summary
from node.errors import Conflict, NotFound
from node.exchange.page import AgreementPart
from node.exchange.standing import Standing
from node.ledger.encoding import b64u
from node.service.merging import Merge
from node.service.signing import Draft, Sign, Withdraw
from tests.service.world import Json, Node, World, operator

START: Json = {"act": "start", "issuer": "BR", "partner": "UY", "mode": "operation"}


def standing(node: Node, agreement: str) -> Standing:
    with node.parts.database.read() as connection:
        return node.parts.standings.current(connection)[agreement]


def state(node: Node, agreement: str) -> str:
    return standing(node, agreement).state("BR", "UY", node.parts.today())


def told(node: Node, agreement: str) -> dict[str, Any]:
    return summary(standing(node, agreement), node.parts)


def waits(node: Node, agreement: str) -> list[tuple[str, list[str]]]:
    return [(each["act"], each["missing"]) for each in told(node, agreement)["waiting"]]


def sound(world: World) -> None:
    for node in world.nodes:
        assert node.findings() == []
        assert node.incidents() == []


@pytest.fixture
def met(strangers: World) -> World:
    """Two nodes that pinned each other, with a draft of BR's that both hold."""
    strangers.pin()
    strangers.agreement = strangers.draft()
    strangers.exchange()
    return strangers


@pytest.fixture
def signed(met: World) -> World:
    """The draft is signed by both, and no direction has started."""
    met.both("sign")
    return met


def test_a_fresh_draft_waits_for_all(met: World) -> None:
    for node in met.nodes:
        assert waits(node, met.agreement) == [("sign", ["BR", "UY"])]
    met.uy.settle(Sign(met.agreement, "sign"))
    assert waits(met.uy, met.agreement) == [("sign", ["BR"])]


@pytest.mark.parametrize("signers", ["", "br", "uy"])
@pytest.mark.parametrize("who", ["br", "uy"])
def test_a_draft_is_withdrawn_by_its_author_or_declined_by_the_other(
    met: World, who: str, signers: str
) -> None:
    if signers:
        getattr(met, signers).settle(Sign(met.agreement, "sign"))
        met.exchange()
    node: Node = getattr(met, who)
    node.settle(Withdraw(met.agreement, reason="superseded"))
    met.exchange()
    for each in met.nodes:
        assert waits(each, met.agreement) == []
        assert told(each, met.agreement)["withdrawn_by"] == [who.upper()]
        assert state(each, met.agreement) == "NEGOTIATING"
        with pytest.raises(Conflict, match=f"the draft was withdrawn.*by {who.upper()}"):
            each.settle(Sign(met.agreement, "sign"))
    met.agreement = met.draft()
    met.both("sign")
    assert [state(each, met.agreement) for each in met.nodes] == ["SIGNED", "SIGNED"]
    sound(met)


@pytest.mark.parametrize("who", ["br", "uy"])
def test_a_proposal_is_withdrawn_or_declined_and_may_be_made_again_the_same_day(
    signed: World, who: str
) -> None:
    first = signed.br.settle(Sign(signed.agreement, **START))["act"]
    signed.exchange()
    getattr(signed, who).settle(Withdraw(signed.agreement, first))
    signed.exchange()
    for node in signed.nodes:
        assert waits(node, signed.agreement) == []
        assert told(node, signed.agreement)["withdrawn_by"] == [], "the agreement itself stands"
    again = signed.uy.settle(Sign(signed.agreement, **START))
    assert again["act"] != first
    assert again["missing"] == ["BR"]
    signed.exchange()
    assert signed.br.settle(Sign(signed.agreement, **START)) == {**again, "complete": True, "missing": []}
    signed.exchange()
    assert [state(node, signed.agreement) for node in signed.nodes] == ["IN_OPERATION"] * 2
    sound(signed)


def test_two_that_propose_again_unaware_of_each_other_propose_one_act(signed: World) -> None:
    first = signed.br.settle(Sign(signed.agreement, **START))["act"]
    signed.br.settle(Withdraw(signed.agreement, first))
    signed.exchange()
    made = {node.settle(Sign(signed.agreement, **START))["act"] for node in signed.nodes}
    assert len(made) == 1
    signed.exchange()
    assert [state(node, signed.agreement) for node in signed.nodes] == ["IN_OPERATION"] * 2


@pytest.mark.parametrize("first", ["br", "uy"])
@pytest.mark.parametrize("what", ["sign", "start"])
def test_a_withdrawal_that_crosses_the_other_signature_means_the_same_to_both(
    met: World, what: str, first: str
) -> None:
    says: Json = {"act": "sign"}
    if what == "start":
        met.both("sign")
        met.br.admit(operator(1))
        says = START
    proposed = met.br.settle(Sign(met.agreement, **says))["act"]
    met.exchange()
    met.br.settle(Withdraw(met.agreement, proposed if what == "start" else None))
    assert met.uy.settle(Sign(met.agreement, **says))["complete"], "UY has not heard of it"
    met.carry(getattr(met, first))
    met.exchange()
    before = "NEGOTIATING" if what == "sign" else "SIGNED"
    for node in met.nodes:
        assert state(node, met.agreement) == before
        [held] = [each for each in standing(node, met.agreement).held if each.act.id == proposed]
        assert standing(node, met.agreement).withdrawn_by(held.act) == ("BR",)
        assert waits(node, met.agreement) == []
    [held] = [each for each in standing(met.br, met.agreement).held if each.act.id == proposed]
    assert held.ledger_seq is None, "BR's ledger, which decides, never holds it"
    sound(met)


def test_what_all_have_signed_cannot_be_withdrawn(signed: World) -> None:
    signed.both(**START)
    for node in signed.nodes:
        for held in standing(node, signed.agreement).held:
            with pytest.raises(Conflict, match=r"cannot be withdrawn.*suspend the direction, or terminate"):
                node.settle(Withdraw(signed.agreement, held.act.id))
        with pytest.raises(Conflict, match="cannot be withdrawn"):
            node.settle(Withdraw(signed.agreement))
    assert state(signed.br, signed.agreement) == "IN_OPERATION"


def test_a_partner_that_withdraws_what_counts_changes_nothing(signed: World) -> None:
    signed.both(**START)
    br, uy = signed.nodes
    held = standing(br, signed.agreement)
    named = next(each.act for each in held.held if each.act.act == "start")
    for lifts in ([], [named.id]):
        says = named.to_json() | {"act": "withdraw", "issuer": None, "partner": None, "mode": None}
        act = acts.parse_act(says | {"lifts": lifts, "nonce": b64u(bytes(16))})
        signature = acts.sign(act, "UY", ECKey.import_key(uy.parts.keys.credential[0]))
        part = {"instrument": acts.Instrument(act, (signature,)).to_json(), "receipt": None}
        page = AgreementPart.model_validate({"document": held.agreement.to_json(), "acts": [part]})
        assert br.settle(Merge(uy.parts.card, (page,))) == []
    assert state(br, signed.agreement) == "IN_OPERATION"
    assert told(br, signed.agreement)["withdrawn_by"] == []
    assert told(br, signed.agreement)["signed"]


def test_a_suspension_cannot_be_withdrawn_and_its_resumption_can(signed: World) -> None:
    signed.both(**START)
    suspension = signed.uy.settle(Sign(signed.agreement, "suspend", "BR", "UY"))["act"]
    with pytest.raises(Conflict, match="cannot be withdrawn"):
        signed.uy.settle(Withdraw(signed.agreement, suspension))
    signed.exchange()
    resumption = signed.br.settle(Sign(signed.agreement, "resume", "BR", "UY"))["act"]
    signed.exchange()
    signed.uy.settle(Withdraw(signed.agreement, resumption))
    signed.exchange()
    assert [state(node, signed.agreement) for node in signed.nodes] == ["SUSPENDED"] * 2
    assert waits(signed.br, signed.agreement) == []
    signed.both("resume", "BR", "UY")
    assert [state(node, signed.agreement) for node in signed.nodes] == ["IN_OPERATION"] * 2


def test_a_withdrawal_of_nothing_or_twice_is_refused(met: World) -> None:
    with pytest.raises(NotFound):
        met.br.settle(Withdraw(met.agreement, b64u(bytes(32))))
    with pytest.raises(NotFound):
        met.br.settle(Withdraw("no-such-agreement"))
    met.br.settle(Withdraw(met.agreement))
    with pytest.raises(Conflict, match=r"withdrawn already.*by BR"):
        met.br.settle(Withdraw(met.agreement))
    met.exchange()
    met.uy.settle(Withdraw(met.agreement))
    met.exchange()
    for node in met.nodes:
        assert told(node, met.agreement)["withdrawn_by"] == ["BR", "UY"], "declined too, so it takes no room"
    sound(met)


def test_both_ledgers_hold_a_withdrawal(signed: World) -> None:
    start = signed.br.settle(Sign(signed.agreement, **START))["act"]
    signed.exchange()
    withdrawal = signed.uy.settle(Withdraw(signed.agreement, start))["act"]
    signed.exchange()
    for node in signed.nodes:
        [held] = [each for each in standing(node, signed.agreement).held if each.act.id == withdrawal]
        assert held.ledger_seq is not None
        assert set(held.receipts) == {signed.other(node).country}


@pytest.mark.parametrize("countries", [("BR", "BR"), ("BR", "UY", "UY")])
def test_a_draft_with_oneself_is_refused(met: World, countries: tuple[str, ...]) -> None:
    with pytest.raises(Conflict, match=r"between different administrations.*BR is this node's own country"):
        met.br.settle(Draft("alone", countries, terms.terms("br_uy"), rules.text("mra_v1")))
