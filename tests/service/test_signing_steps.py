"""P8: nothing is shared under an agreement before both signatures are proven to be in both ledgers."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from joserfc.jwk import ECKey

from contracts import rules, terms
from node.agreements import act as acts
from node.agreements import document
from node.errors import Conflict, NotFound
from node.exchange import serving
from node.exchange.page import AgreementPart
from node.ledger import canonical
from node.ledger.encoding import b64u
from node.ledger.tiles import Tree
from node.service.batch import open_body
from node.service.merging import Merge
from node.service.signing import Draft, Sign, party_of
from node.store import channels, logs
from node.store.tables import LEDGER
from tests.service.world import CNPJS, Json, Node, World, make_home, open_node, operator

TIN = f"BR{CNPJS[1]}"


def state(node: Node, agreement: str, issuer: str = "BR", partner: str = "UY") -> str:
    with node.parts.database.read() as connection:
        standing = node.parts.standings.current(connection)[agreement]
    return standing.state(issuer, partner, node.parts.today())


def out_channels(node: Node) -> list[channels.StoredChannel]:
    with node.parts.database.read() as connection:
        return [each for each in channels.channels(connection) if each.issuer == node.country]


def shares_nothing(world: World) -> None:
    """No record was disclosed by anyone, and none is in anyone's mirror."""
    for node in world.nodes:
        node.keep()
        with node.parts.database.read() as connection:
            for channel in channels.channels(connection):
                assert channels.shared_count(connection, channel.log) == 0
                assert channels.mirror_counts(connection, channel.log) == (0, 0)


def agreements_of(node: Node, world: World) -> list[Json]:
    """What a node tells its peer of agreements, as JSON."""
    told = world.page(world.other(node))["agreements"]
    return told or []


def merge(node: Node, peer: Node, told: list[Json]) -> list[str]:
    parts = tuple(AgreementPart.model_validate(each) for each in told)
    refused: list[str] = node.settle(Merge(peer.parts.card, parts))
    return refused


def follow_ledger(world: World, reader: Node) -> None:
    """The reader proves where the other's ledger is now, and hears nothing of agreements."""
    world.carry(reader, lambda page: page.update(agreements=None))


@pytest.fixture
def met(strangers: World) -> World:
    """Two nodes that pinned each other; BR has an operator that it would share."""
    strangers.pin()
    strangers.br.admit(operator(1))
    return strangers


def test_nothing_is_disclosed_before_both_signatures_are_in_both_ledgers(met: World) -> None:
    br, uy = met.nodes

    def nothing_yet() -> None:
        shares_nothing(met)
        assert out_channels(br) == []

    met.agreement = met.draft()
    nothing_yet()
    br.settle(Sign(met.agreement, "sign"))
    nothing_yet()
    met.carry(uy)
    nothing_yet()
    uy.settle(Sign(met.agreement, "sign"))
    nothing_yet()
    uy_alone = agreements_of(uy, met)
    assert [bool(act["receipt"]) for act in uy_alone[0]["acts"]] == [True], "UY's ledger holds the act"
    stripped = deepcopy(uy_alone)
    stripped[0]["acts"][0]["receipt"] = None
    assert merge(br, uy, stripped) == []
    assert state(br, met.agreement) == "NEGOTIATING", "both signed, but UY's ledger is not proven to hold it"
    nothing_yet()
    assert merge(br, uy, uy_alone), "the receipt rests on a tree that BR has not proven to follow the last"
    assert state(br, met.agreement) == "NEGOTIATING"
    nothing_yet()
    follow_ledger(met, br)
    assert merge(br, uy, uy_alone) == []
    assert state(br, met.agreement) == "SIGNED"
    br.keep()
    assert len(out_channels(br)) == 1
    shares_nothing(met)


def test_a_signed_agreement_shares_nothing_until_both_started_the_direction(met: World) -> None:
    br, uy = met.nodes
    met.agreement = met.draft()
    met.both("sign")
    shares_nothing(met)
    br.settle(Sign(met.agreement, "start", "BR", "UY", mode="operation"))
    met.exchange()
    shares_nothing(met)
    uy.settle(Sign(met.agreement, "start", "BR", "UY", mode="operation"))
    met.exchange()
    assert uy.look_up(TIN)["recognition"]["applies"]
    assert state(uy, met.agreement, "UY", "BR") == "SIGNED", "the other direction is another decision"


def test_who_restricts_waits_for_nobody(world: World) -> None:
    world.br.admit(operator(1))
    world.exchange()
    world.uy.settle(Sign(world.agreement, "suspend", "BR", "UY"))
    assert state(world.uy, world.agreement) == "SUSPENDED"
    assert not world.uy.look_up(TIN)["recognition"]["applies"]
    assert state(world.br, world.agreement) == "IN_OPERATION", "BR has not heard of it yet"


def test_two_that_sign_unaware_of_each_other_sign_one_act(met: World) -> None:
    met.agreement = met.draft()
    met.exchange()
    for node in met.nodes:
        node.settle(Sign(met.agreement, "sign"))
    met.exchange()
    assert [state(node, met.agreement) for node in met.nodes] == ["SIGNED", "SIGNED"]


def test_the_same_proposal_twice_is_refused_and_an_act_out_of_turn_too(met: World) -> None:
    met.agreement = met.draft()
    met.br.settle(Sign(met.agreement, "sign"))
    with pytest.raises(Conflict, match="proposed already"):
        met.br.settle(Sign(met.agreement, "sign"))
    with pytest.raises(Conflict, match="not possible"):
        met.br.settle(Sign(met.agreement, "start", "BR", "UY", mode="operation"))
    with pytest.raises(NotFound):
        met.br.settle(Sign("no-such-agreement", "sign"))


def test_a_draft_between_strangers_is_refused(strangers: World) -> None:
    with pytest.raises(Conflict, match="pinned"):
        strangers.draft()
    strangers.pin()
    clauses = terms.terms("br_uy")
    with pytest.raises(Conflict, match="BR is not among"):
        strangers.br.settle(Draft("UY alone", ("UY",), clauses, rules.text("mra_v1")))


# Attacks on what is merged

Forge = Callable[[World, Json], None]


def signatures(told: Json) -> list[Json]:
    found: list[Json] = told["acts"][0]["instrument"]["signatures"]
    return found


def uys_signature_twice(world: World, told: Json) -> None:
    """A partial signature, repeated: UY signs in BR's place."""
    own = ECKey.import_key(world.uy.parts.keys.credential[0])
    act = acts.parse(told["acts"][0]["instrument"]).act
    forged = acts.sign(act, "BR", own)
    signatures(told)[0] |= {"protected": forged.protected, "signature": forged.signature}


def signature_of_another_act(world: World, told: Json) -> None:
    """Replayed: UY's signature over other words."""
    act = acts.parse(told["acts"][0]["instrument"]).act
    other = acts.parse_act(act.to_json() | {"effective": "2026-01-02"})
    replayed = acts.sign(other, "UY", ECKey.import_key(world.uy.parts.keys.credential[0]))
    mine = next(s for s in signatures(told) if s["protected"] == replayed.protected)
    mine["signature"] = replayed.signature


def signature_of_another_agreement(world: World, told: Json) -> None:
    """Mixed: an act on a text with other terms, rightly signed by UY."""
    text = document.parse(told["document"])
    other = document.parse(text.to_json() | {"title": "another text"})
    act = acts.parse(told["acts"][0]["instrument"]).act
    moved = acts.parse_act(act.to_json() | {"agreement": b64u(other.digest())})
    signed = acts.sign(moved, "UY", ECKey.import_key(world.uy.parts.keys.credential[0]))
    told["acts"][0]["instrument"] = acts.Instrument(moved, (signed,)).to_json()


def broken_signature(world: World, told: Json) -> None:
    for each in signatures(told):
        first = each["signature"][0]
        each["signature"] = ("A" if first != "A" else "B") + each["signature"][1:]


def header_with_another_algorithm(world: World, told: Json) -> None:
    for each in signatures(told):
        each["protected"] = b64u(canonical.encode({"alg": "none", "kid": "UY:x", "typ": "aeo-act+jws"}))


@pytest.mark.parametrize(
    "forge",
    [
        uys_signature_twice,
        signature_of_another_act,
        signature_of_another_agreement,
        broken_signature,
        header_with_another_algorithm,
    ],
)
def test_a_signature_that_is_not_the_partys_over_this_act_counts_for_nothing(
    met: World, forge: Forge
) -> None:
    br, uy = met.nodes
    met.agreement = met.draft()
    met.exchange()
    uy.settle(Sign(met.agreement, "sign"))
    told = agreements_of(uy, met)
    forged = deepcopy(told)
    forge(met, forged[0])
    if forge is uys_signature_twice:
        forged[0]["acts"][0]["instrument"]["signatures"] += signatures(told[0])
    ledger = br.ledger().size
    assert forge is uys_signature_twice or merge(br, uy, forged)
    merge(br, uy, forged)
    assert state(br, met.agreement) == "NEGOTIATING"
    assert br.ledger().size == ledger
    shares_nothing(met)
    merge(br, uy, told)
    br.settle(Sign(met.agreement, "sign"))
    met.exchange()
    assert state(br, met.agreement) == "SIGNED", "the true signature still counts afterwards"


def receipt_of(told: Json) -> Json:
    found: Json = told["acts"][0]["receipt"]
    return found


def with_another_salt(world: World, told: Json) -> None:
    receipt_of(told)["salt"] = b64u(bytes(32))


def with_another_body(world: World, told: Json) -> None:
    receipt_of(told)["body"]["agreement"] = "another"


def of_the_ledgers_first_entry(world: World, told: Json) -> None:
    """A rightly proven entry of UY's ledger that is about something else."""
    parts = world.uy.parts
    with parts.database.read() as connection:
        head = logs.head(connection, LEDGER)
        assert head is not None
        tree = Tree(logs.tile_reader(connection, LEDGER), head.size)
        told["acts"][0]["receipt"] = serving.receipt(
            connection, 0, tree, head, lambda seq, sealed: open_body(parts, seq, sealed)
        )


def from_the_readers_own_ledger(world: World, told: Json) -> None:
    """BR's own receipt, sent back to it as UY's."""
    world.uy.settle(Merge(world.br.parts.card, ()))
    own = agreements_of(world.br, world)
    told["acts"][0]["receipt"] = own[0]["acts"][0]["receipt"]


def with_half_of_the_signatures(world: World, told: Json) -> None:
    receipt_of(told)["body"]["instrument"]["signatures"].pop()


def with_another_index(world: World, told: Json) -> None:
    receipt_of(told)["proof"] = receipt_of(told)["proof"].replace("index ", "index 1", 1)


def with_a_checkpoint_that_the_log_did_not_sign(world: World, told: Json) -> None:
    head, _, lines = receipt_of(told)["proof"].rpartition("\n\n")
    receipt_of(told)["proof"] = f"{head}\n\n{lines.partition(chr(10))[2]}"


def of_no_form(world: World, told: Json) -> None:
    told["acts"][0]["receipt"] = {"entry": 5, "salt": None, "body": {}, "proof": []}


@pytest.mark.parametrize(
    "forge",
    [
        with_another_salt,
        with_another_body,
        of_the_ledgers_first_entry,
        from_the_readers_own_ledger,
        with_half_of_the_signatures,
        with_another_index,
        with_a_checkpoint_that_the_log_did_not_sign,
        of_no_form,
    ],
)
def test_a_forged_receipt_proves_nothing(met: World, forge: Forge) -> None:
    br, uy = met.nodes
    met.agreement = met.draft()
    br.settle(Sign(met.agreement, "sign"))
    met.carry(uy)
    uy.settle(Sign(met.agreement, "sign"))
    told = agreements_of(uy, met)
    stripped = deepcopy(told)
    stripped[0]["acts"][0]["receipt"] = None
    merge(br, uy, stripped)
    follow_ledger(met, br)
    forged = deepcopy(told)
    forge(met, forged[0])
    assert merge(br, uy, forged), "the refusal says what was wrong"
    assert state(br, met.agreement) == "NEGOTIATING"
    br.keep()
    assert out_channels(br) == []
    assert merge(br, uy, told) == []
    assert state(br, met.agreement) == "SIGNED"


def test_a_receipt_of_another_act_proves_nothing(met: World) -> None:
    br, uy = met.nodes
    met.agreement = met.draft()
    met.both("sign")
    br.settle(Sign(met.agreement, "start", "BR", "UY", mode="operation"))
    met.exchange()
    uy.settle(Sign(met.agreement, "start", "BR", "UY", mode="operation"))
    told = agreements_of(uy, met)
    by_act = {acts.parse(each["instrument"]).act.act: each for each in told[0]["acts"]}
    by_act["start"]["receipt"] = by_act["sign"]["receipt"]
    follow_ledger(met, br)
    assert merge(br, uy, told)
    assert state(br, met.agreement) == "SIGNED"
    shares_nothing(met)


def test_a_document_that_names_another_key_for_a_party_is_refused(met: World) -> None:
    br, uy = met.nodes
    stranger = ECKey.generate_key("P-256").as_dict(private=False)
    key = {part: str(stranger[part]) for part in ("kty", "crv", "x", "y")}
    for country, known in (("BR", br.parts.card), ("UY", uy.parts.card)):
        other = uy.parts.card if country == "BR" else br.parts.card
        parties = [document.Party(country, known.name, "Customs", key), party_of(other)]
        told = document.draft(
            "BR-UY", parties, terms.terms("br_uy"), rules.text("mra_v1"), "2026-11-22", bytes(16)
        )
        assert merge(br, uy, [{"document": told.to_json(), "acts": []}])
        with pytest.raises(NotFound):
            br.settle(Sign(told.id, "sign"))


def test_a_document_that_names_another_node_for_a_party_is_refused(met: World) -> None:
    br, uy = met.nodes
    own = party_of(br.parts.card)
    moved = document.Party("UY", "elsewhere.example", "Customs", party_of(uy.parts.card).key)
    told = document.draft(
        "t", [own, moved], terms.terms("br_uy"), rules.text("mra_v1"), "2026-11-22", bytes(16)
    )
    assert merge(br, uy, [{"document": told.to_json(), "acts": []}])


def test_a_peer_that_is_no_party_cannot_bring_an_agreement(met: World) -> None:
    make_home(met.br.home.parent / "ar", "AR")
    ar = open_node(met.br.home.parent / "ar", met.clock)
    met.agreement = met.draft()
    told = agreements_of(met.br, met)
    assert merge(met.uy, ar, told), "AR is not between BR and UY"
    with pytest.raises(NotFound):
        met.uy.settle(Sign(met.agreement, "sign"))
    ar.parts.database.close()


def test_a_document_whose_contract_is_outside_the_language_is_refused(met: World) -> None:
    met.draft()
    told = agreements_of(met.br, met)
    told[0]["document"]["contract"]["text"] = "import os\n"
    assert merge(met.uy, met.br, told)


def test_hostile_shapes_are_refused_and_the_good_part_is_still_taken(met: World) -> None:
    br, uy = met.nodes
    met.agreement = met.draft()
    br.settle(Sign(met.agreement, "sign"))
    told = agreements_of(br, met)
    good = told[0]["acts"][0]
    hostile: list[Any] = [{}, {"payload": 5, "signatures": "x"}, {"payload": b64u(b"[]"), "signatures": []}]
    hostile += [
        {"payload": good["instrument"]["payload"], "signatures": [{"protected": "e30", "signature": ""}]}
    ]
    told[0]["acts"] = [{"instrument": each, "receipt": None} for each in hostile] + [good]
    refused = merge(uy, br, [{"document": {"v": 1}, "acts": []}, *told])
    assert len(refused) == 1 + len(hostile)
    uy.settle(Sign(met.agreement, "sign"))
    met.exchange()
    assert state(br, met.agreement) == "SIGNED"


def test_a_change_of_contract_or_terms_is_another_agreement(met: World) -> None:
    met.agreement = met.draft()
    wider = met.draft(retention_days=1)
    assert wider != met.agreement
    met.exchange()
    met.uy.settle(Sign(met.agreement, "sign"))
    met.exchange()
    with met.br.parts.database.read() as connection:
        standings = met.br.parts.standings.current(connection)
    assert len(standings[met.agreement].held) == 1
    assert standings[wider].held == ()
