"""An agreement of three is replaced by one of four: what operated goes on without a gap, who joins begins."""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.sdk import verifier
from clients.sdk.signed import public_jwk
from contracts import rules, terms
from node.api.agreements import summary
from node.errors import Conflict
from node.ledger import canonical
from node.service.answers import Answers
from node.service.batch import Batch
from node.service.erasing import Erase, HoldRecord, ReleaseRecord
from node.service.evidence import evidence
from node.service.reporting import ResumeHere, SuspendHere
from node.service.signing import Draft, Sign, Withdraw
from node.store import channels, records
from tests.service.region import Region, copied_region, new_region, of
from tests.service.test_evidence import assert_holds, changed, every_place, failed, policy
from tests.service.world import CNPJS, DAY_MS, Json, Node, World, asking, operator

THREE, FOUR = ("AR", "BR", "UY"), ("AR", "BR", "PY", "UY")
TINS = {country: str(of(country)["tin"]) for country in FOUR}
MEANT = {"BR": {"AR": True, "UY": True}, "UY": {"AR": True, "BR": True}, "AR": {"BR": True, "UY": True}}


def between(*countries: str, **changed: Any) -> Json:
    """The terms of the four, between some of them."""
    clauses: Any = deepcopy(terms.terms("mercosur")) | changed
    kept = {
        name: each for name, each in clauses["directions"].items() if set(name.split("-")) <= set(countries)
    }
    return dict(clauses) | {"directions": kept}


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("four")
    with new_region(folder, FOUR) as region:
        agreed = region.agree("Three", between(*THREE))
        for country, node in region.nodes.items():
            node.admit(of(country))
        region.exchange()
    return folder, agreed


@pytest.fixture
def made(_made: tuple[Path, str], tmp_path: Path) -> Iterator[tuple[Region, str]]:
    with copied_region(_made[0], tmp_path, FOUR) as region:
        yield region, _made[1]


def amend(
    region: Region, old: str, clauses: Json | None = None, *, by: str = "BR", title: str = "Four"
) -> str:
    """Draft the agreement that is to replace one, and carry it to all."""
    told = clauses or between(*FOUR)
    countries = sorted({each for name in told["directions"] for each in name.split("-")})
    drafted: str = region.nodes[by].settle(Draft(title, countries, told, rules.text("mra_v2"), old))
    region.exchange()
    return drafted


def all_sign(region: Region, drafted: str, *countries: str) -> None:
    for country in countries or FOUR:
        region.nodes[country].settle(Sign(drafted, "sign"))
        region.exchange()


def applies(node: Node) -> dict[str, bool]:
    """By country: whether the benefit applies here to its operator, of those that are known here."""
    answers = {each: node.find([tin])[tin] for each, tin in TINS.items() if each != node.country}
    return {each: found[0]["recognition"]["applies"] for each, found in answers.items() if found}


def told(node: Node, agreed: str) -> Json:
    with asking(node) as (connection, _):
        return summary(node.parts.standings.current(connection)[agreed], node.parts)


def states(node: Node, agreed: str) -> dict[str, str]:
    return {f"{each['issuer']}-{each['partner']}": each["state"] for each in told(node, agreed)["directions"]}


def sound(region: Region) -> None:
    """Nothing that any node checks or keeps is amiss."""
    for node in region.nodes.values():
        assert node.incidents() == []
        assert node.findings() == []


def test_what_operated_goes_on_and_who_joins_begins_at_signed(made: tuple[Region, str]) -> None:
    region, old = made
    new = amend(region, old)
    all_sign(region, new)
    ar, br, py, uy = region.nodes.values()
    assert states(br, new) == dict.fromkeys(
        ("AR-BR", "BR-AR", "BR-UY", "UY-BR"), "IN_OPERATION"
    ) | dict.fromkeys(("BR-PY", "PY-BR"), "SIGNED")
    assert set(states(py, new).values()) == {"SIGNED"}
    assert set(states(uy, old).values()) == {"TERMINATED"}
    assert (told(uy, old)["superseded_by"], told(uy, new)["supersedes"]) == (new, old)
    assert {node.country: applies(node) for node in (ar, br, uy)} == MEANT
    assert applies(py) == {}
    answer = uy.look_up(TINS["BR"])
    assert (answer["recognition"]["agreement"], answer["others"], answer["because"]) == (new, [], None)
    assert new in answer["provenance"]["channel"]["origin"]
    sound(region)
    for country in ("BR", "PY"):
        region.nodes[country].settle(Sign(new, "start", "BR", "PY", "operation"))
        region.exchange()
    assert applies(py) == {"BR": True}
    br.amend(TINS["BR"], legal_name="BR renamed")
    region.exchange()
    for node in (ar, py, uy):
        assert node.look_up(TINS["BR"])["fields"]["legal_name"] == "BR renamed"
    sound(region)


def test_who_was_suspended_here_stays_so_under_the_new_one_until_that_is_lifted(
    made: tuple[Region, str],
) -> None:
    region, old = made
    uy, tin = region.nodes["UY"], TINS["BR"]
    uy.settle(SuspendHere(tin, "SECURITY", "case 1", "chief"))
    new = amend(region, old)
    all_sign(region, new)
    answer = uy.look_up(tin)["recognition"]
    assert (answer["agreement"], answer["applies"]) == (new, False)
    assert "suspended here" in str(answer["reasons"])
    assert applies(region.nodes["AR"])["BR"], "the decision of one binds nobody else"
    with pytest.raises(Conflict, match="suspended here already"):
        uy.settle(SuspendHere(tin, "SECURITY", "case 1", "chief", new))
    region.clock.ms += (terms.terms("mercosur")["retention_days"] + 2) * DAY_MS
    region.exchange()
    with uy.parts.database.read() as connection:
        [(log, _)] = records.carrying(connection, tin, "TIN")
        assert channels.by_log(connection)[log].agreement == new, "what the old one told is erased"
    assert "suspended here" in str(uy.look_up(tin)["recognition"]["reasons"])
    sound(region)
    uy.settle(ResumeHere(tin, "closed", "chief"))
    assert "suspended here" not in str(uy.look_up(tin)["recognition"]["reasons"])
    sound(region)


def test_who_is_suspended_before_the_new_one_tells_stays_so_and_the_issuer_hears_of_the_end(
    made: tuple[Region, str],
) -> None:
    region, old = made
    uy, br, tin = region.nodes["UY"], region.nodes["BR"], TINS["BR"]
    new = amend(region, old)
    all_sign(region, new, "AR", "BR", "PY")
    uy.settle(Sign(new, "sign"))
    uy.settle(SuspendHere(tin, "SECURITY", "case 1", "chief"))
    region.exchange()
    assert "suspended here" in str(uy.look_up(tin)["recognition"]["reasons"])
    assert uy.look_up(tin)["recognition"]["agreement"] == new
    assert "suspended it there" in str(br.look_up(tin)["alerts"])
    uy.settle(ResumeHere(tin, "closed", "chief"))
    region.exchange()
    assert uy.look_up(tin)["recognition"]["applies"]
    assert br.look_up(tin)["alerts"] == []
    sound(region)


def test_what_the_law_holds_is_held_as_it_is_told_under_the_new_one_too(made: tuple[Region, str]) -> None:
    region, old = made
    uy, br, tin = region.nodes["UY"], region.nodes["BR"], TINS["BR"]
    uy.settle(HoldRecord(tin, "court order 12", "counsel"))
    all_sign(region, amend(region, old))
    br.settle(Erase(tin, "NOT_NEEDED", "", "admin"))
    region.exchange()
    assert uy.look_up(tin)["fields"]["legal_name"], "what is told now is held as well"
    region.clock.ms += (terms.terms("mercosur")["retention_days"] + 2) * DAY_MS
    region.exchange()
    with uy.parts.database.read() as connection:
        assert len(records.carrying(connection, tin, "TIN")) == 2
    uy.settle(ReleaseRecord(tin))
    region.exchange()
    with uy.parts.database.read() as connection:
        assert records.carrying(connection, tin, "TIN") == []
    sound(region)


def test_who_was_suspended_here_is_not_where_the_new_terms_allow_it_no_more(
    made: tuple[Region, str],
) -> None:
    region, old = made
    uy = region.nodes["UY"]
    uy.settle(SuspendHere(TINS["BR"], "SECURITY", "case 1", "chief"))
    all_sign(region, amend(region, old, between(*FOUR, local_suspension=False)))
    assert uy.look_up(TINS["BR"])["recognition"]["applies"]


def test_the_old_channels_end_with_a_notice_and_tombstones_for_good(made: tuple[Region, str]) -> None:
    region, old = made
    all_sign(region, amend(region, old))
    uy, br = region.nodes["UY"], region.nodes["BR"]
    with uy.parts.database.read() as connection:
        channel = channels.channel(connection, old, "BR", "UY")
        assert channel is not None
        record = (channel.log, br.look_up(TINS["BR"])["record_id"])
        assert channels.mirrored(connection, [record])[record].fields is None
    assert told_in(br, old) == "TERMINATED"
    region.clock.ms += DAY_MS
    region.exchange()
    assert told_in(br, old) == "TERMINATED"
    sound(region)


def test_a_reader_is_served_what_was_told_under_an_agreement_that_names_it(made: tuple[Region, str]) -> None:
    """Not what came before it was named, nor anything once it is named no more."""
    region, old = made
    uy, key = region.nodes["UY"], public_jwk(Ed25519PrivateKey.generate())

    def naming(title: str, old: str, *readers: Json) -> str:
        clauses = between(*THREE, name=title.upper())
        clauses["directions"]["BR-UY"] |= {"readers": [*readers]} if readers else {}
        new = amend(region, old, clauses, title=title)
        all_sign(region, new, *THREE)
        return new

    def served() -> set[str]:
        told = Answers(uy.parts).hosted()
        with uy.parts.database.read() as connection:
            known = {each.log: each.agreement for each in channels.channels(connection)}
        return {known[log] for _, logs in told.values() for log in logs}

    reader = {"country": "PY", "administration": "One without a node", "key": key}
    first = naming("First", old, reader)
    assert served() == {first}
    second = naming("Second", first, reader)
    assert served() == {first, second}
    naming("Third", second)
    assert served() == set()


def test_at_no_step_of_it_is_there_a_gap_or_a_doubled_answer(made: tuple[Region, str]) -> None:
    """Pages hold two entries, and a node decides one record again at a time."""
    region, old = made
    br, uy = region.nodes["BR"], region.nodes["UY"]
    busy(region)
    new = amend(region, old)
    for country in FOUR:
        region.nodes[country].settle(Sign(new, "sign"))
        for _ in range(8):
            for wire in region.wires:
                for node in wire.nodes:
                    wire.carry(node)
                    whole(region)
            for node in region.nodes.values():
                step(node)
                whole(region)
    region.exchange()
    assert uy.look_up(TINS["BR"])["recognition"]["agreement"] == new
    assert told_in(br, old) == "TERMINATED"
    sound(region)


def test_who_reads_late_sees_the_new_channel_whole_before_the_old_one_ends(made: tuple[Region, str]) -> None:
    region, old = made
    busy(region)
    new = amend(region, old)
    all_sign(region, new, "AR", "BR", "PY")
    br, uy, others = region.nodes["BR"], region.nodes["UY"], ("AR", "BR", "PY")
    uy.settle(Sign(new, "sign"))
    for country in others:
        pull(region, country, "UY")
    for country in others:
        pull(region, "UY", country)
    uy.keep()
    for country in ("AR", "PY", "UY"):
        pull(region, "BR", country)
    br.keep()
    assert told_in(br, old) == "TERMINATED", "all is done before UY reads any of it"
    wire = region.wire("BR", "UY")
    [reader] = [node for node in wire.nodes if node.country == "UY"]
    pages = 0
    while wire.carry(reader):
        of_brazil(uy)
        pages += 1
    assert pages > 2
    region.exchange()
    of_brazil(uy)


def test_a_partner_that_does_not_begin_its_channel_is_not_told_by_the_old_terms_for_ever(
    world: World,
) -> None:
    """It signed the narrower terms, so that they count at the issuer, and goes on under the wider ones."""
    br, uy, (one, two, three) = world.br, world.uy, (f"BR{CNPJS[number]}" for number in (1, 2, 3))
    clauses: Any = deepcopy(terms.terms("br_uy"))
    clauses["directions"]["BR-UY"]["fields"].remove("address")
    br.admit(operator(1))
    world.exchange()
    assert "address" in uy.look_up(one)["fields"]

    def pull_all() -> None:
        for node in world.nodes * 5:
            world.carry(node)
            br.keep()

    new = br.settle(Draft("Narrower", ("BR", "UY"), clauses, rules.text("mra_v1"), world.agreement))
    pull_all()
    for node in world.nodes:
        node.settle(Sign(new, "sign"))
        pull_all()
    for days, number, tin, is_told in ((7, 2, two, True), (1, 3, three, False)):
        world.days_pass(days)
        pull_all()
        br.admit(operator(number))
        pull_all()
        assert (told_in(br, world.agreement) == "TERMINATED") is not is_told
        assert ("Rua" in told_by(uy, world.agreement, tin)) is is_told
    assert "address" not in uy.look_up(three)["fields"]
    world.exchange()
    assert [uy.look_up(tin)["recognition"]["applies"] for tin in (one, two, three)] == [True] * 3
    assert (br.findings(), uy.findings()) == ([], [])


def told_by(node: Node, agreed: str, tin: str) -> str:
    """What stands here of BR's operator as told under one agreement."""
    with node.parts.database.read() as connection:
        channel = channels.channel(connection, agreed, "BR", node.country)
        assert channel is not None
        rows = channels.mirrored(connection, [(channel.log, str(node.look_up(tin)["record_id"]))])
    return str([row.fields for row in rows.values()])


def pull(region: Region, reader: str, issuer: str) -> None:
    """One node takes all that another has."""
    wire = region.wire(reader, issuer)
    [node] = [node for node in wire.nodes if node.country == reader]
    while wire.carry(node):
        pass


def busy(region: Region) -> None:
    """BR has more operators, and pages hold two entries."""
    for number in range(2, 6):
        region.nodes["BR"].admit(of("BR", number))
    region.exchange()
    for node in [*region.nodes.values(), *(end for wire in region.wires for end in wire.nodes)]:
        few = node.parts.settings.model_copy(update={"page_limit": 2})
        node.parts = replace(node.parts, settings=few)


def step(node: Node) -> None:
    """One step of bringing channels into line, of one record."""
    if node.keeper.is_due(node.parts):
        with node.parts.database.write() as connection:
            batch = Batch(node.parts, connection)
            node.keeper.step(batch, 1)
            batch.commit()
        batch.settle()


def whole(region: Region) -> None:
    for country, expected in MEANT.items():
        node = region.nodes[country]
        assert applies(node) == expected
        for each in expected:
            assert node.look_up(TINS[each])["others"] == []
    of_brazil(region.nodes["UY"])


def of_brazil(reader: Node) -> None:
    """The benefit applies to all operators of BR."""
    for number in range(1, 6):
        answer = reader.look_up(str(of("BR", number)["tin"]))
        assert answer["recognition"]["applies"], answer["recognition"]
        assert answer["others"] == []


def told_in(node: Node, agreed: str) -> str:
    """In which state UY is told of BR's operators under an agreement."""
    with node.parts.database.read() as connection:
        channel = channels.channel(connection, agreed, "BR", "UY")
    assert channel is not None
    return channel.state


def test_a_partner_that_cannot_hear_of_it_goes_on_under_the_old_one(made: tuple[Region, str]) -> None:
    """UY and PY hear nothing of each other: for UY the new one does not count, for BR it does."""
    region, old = made
    new = amend(region, old)
    cut = region.wire("PY", "UY")
    region.wires.remove(cut)
    all_sign(region, new)
    br, uy = region.nodes["BR"], region.nodes["UY"]
    br.amend(TINS["BR"], legal_name="BR renamed")
    region.exchange()
    assert states(br, old)["BR-UY"] == "TERMINATED"
    assert states(uy, old)["BR-UY"] == "IN_OPERATION"
    answer = uy.look_up(TINS["BR"])
    assert (answer["fields"]["legal_name"], answer["recognition"]["applies"]) == ("BR renamed", True)
    assert answer["recognition"]["agreement"] == old
    assert applies(br)["UY"]
    br.settle(Sign(new, "suspend", "BR", "UY"))
    region.exchange()
    assert uy.look_up(TINS["BR"])["fields"] is None, "what protects reaches the old channel too"
    assert br.findings() == []
    assert told_in(br, old) == "SUSPENDED"
    region.wires.append(cut)
    region.exchange()
    assert told_in(br, old) == "TERMINATED"
    assert states(uy, new)["BR-UY"] == "SUSPENDED"
    sound(region)


def test_a_suspension_and_a_notice_that_runs_are_taken_over(made: tuple[Region, str]) -> None:
    region, old = made
    uy, br = region.nodes["UY"], region.nodes["BR"]
    uy.settle(Sign(old, "suspend", "BR", "UY"))
    br.settle(Sign(old, "terminate", "BR", "AR", effective="2027-05-21"))
    region.exchange()
    new = amend(region, old)
    all_sign(region, new)
    assert states(uy, new)["BR-UY"] == "SUSPENDED"
    assert states(br, new)["BR-AR"] == "IN_OPERATION"
    for node in (br, uy):
        node.settle(Sign(new, "resume", "BR", "UY"))
        region.exchange()
    assert states(uy, new)["BR-UY"] == states(br, new)["BR-UY"] == "IN_OPERATION"
    assert applies(uy)["BR"]
    region.clock.ms += 180 * DAY_MS
    region.exchange()
    assert states(br, new)["BR-AR"] == "TERMINATED"
    sound(region)


def test_nobody_is_amended_away(made: tuple[Region, str]) -> None:
    region, old = made
    with pytest.raises(Conflict, match="not a party of the new one: UY"):
        amend(region, old, between("AR", "BR", "PY"))
    day = "2027-05-21"
    region.nodes["UY"].settle(Sign(old, "leave", effective=day))
    region.exchange()
    with pytest.raises(Conflict, match="not a party of the new one: UY"):
        amend(region, old, between("AR", "BR", "PY"))
    region.clock.ms += 180 * DAY_MS
    region.exchange()
    new = amend(region, old, between("AR", "BR", "PY"))
    all_sign(region, new, "AR", "BR", "PY")
    assert states(region.nodes["AR"], new)["AR-BR"] == "IN_OPERATION"
    with asking(region.nodes["UY"]) as (connection, _):
        assert new not in region.nodes["UY"].parts.standings.current(connection), (
            "it is none of UY's business"
        )
    sound(region)


def test_without_the_signature_of_all_nothing_is_replaced(
    made: tuple[Region, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of dishonest nodes, too, that draft and sign without UY: the others' nodes count no such amendment."""
    region, old = made
    new = amend(region, old)
    all_sign(region, new, "AR", "BR", "PY")
    assert set(states(region.nodes["BR"], old).values()) == {"IN_OPERATION"}
    with monkeypatch.context() as patched:
        patched.setattr("node.service.signing.check_replaceable", lambda *_: None)
        without = amend(region, old, between("AR", "BR", "PY"), title="Without UY")
        for country in ("AR", "BR"):
            region.nodes[country].settle(Withdraw(new))
        all_sign(region, without, "AR", "BR", "PY")
    ar, uy = region.nodes["AR"], region.nodes["UY"]
    assert states(ar, old)["AR-UY"] == "IN_OPERATION"
    assert states(ar, without)["AR-BR"] == "SIGNED", "it is signed, but takes nothing over"
    assert {node.country: applies(node) for node in (ar, uy, region.nodes["BR"])} == MEANT


def test_of_two_amendments_an_honest_party_signs_one(made: tuple[Region, str]) -> None:
    region, old = made
    one = amend(region, old)
    two = amend(region, old, between(*THREE, max_staleness_s=60), by="AR", title="Fresher")
    all_sign(region, one, "AR", "BR")
    with pytest.raises(Conflict, match="another amendment of the same agreement is signed here"):
        region.nodes["AR"].settle(Sign(two, "sign"))
    region.nodes["AR"].settle(Withdraw(one))
    region.exchange()
    region.nodes["BR"].settle(Withdraw(one))
    all_sign(region, two, *THREE)
    assert set(states(region.nodes["BR"], two).values()) == {"IN_OPERATION"}
    with pytest.raises(Conflict):
        region.nodes["UY"].settle(Sign(one, "sign"))
    with pytest.raises(Conflict, match="it was replaced already"):
        amend(region, old)
    sound(region)


def test_of_two_that_count_all_nodes_hold_the_same(
    made: tuple[Region, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    region, old = made
    one = amend(region, old, between(*THREE), title="One")
    two = amend(region, old, between(*THREE), by="AR", title="Two")
    monkeypatch.setattr("node.service.signing._refuse_amendment", lambda *_: None)
    for country in THREE:
        for drafted in (one, two):
            region.nodes[country].settle(Sign(drafted, "sign"))
        region.exchange()
    first, second = sorted((one, two))
    for country in THREE:
        node = region.nodes[country]
        assert set(states(node, first).values()) == {"IN_OPERATION"}
        assert set(states(node, second).values()) == set(states(node, old).values()) == {"TERMINATED"}
    assert {country: applies(region.nodes[country]) for country in THREE} == MEANT


def test_what_is_not_in_force_is_not_amended(made: tuple[Region, str]) -> None:
    region, old = made
    draft = region.nodes["BR"].settle(Draft("Draft", THREE, between(*THREE), rules.text("mra_v2")))
    with pytest.raises(Conflict, match="only an agreement that all have signed"):
        amend(region, draft)
    for country in THREE:
        region.nodes[country].settle(Sign(old, "terminate"))
        region.exchange()
    with pytest.raises(Conflict, match="what has ended is not amended"):
        amend(region, old)


def test_an_amendment_that_begins_later_takes_over_on_that_day(made: tuple[Region, str]) -> None:
    region, old = made
    new = amend(region, old, between(*FOUR, **{"from": "2026-11-30"}))
    all_sign(region, new)
    assert states(region.nodes["UY"], old)["BR-UY"] == "IN_OPERATION"
    assert states(region.nodes["UY"], new)["BR-UY"] == "SIGNED"
    region.clock.ms += 8 * DAY_MS
    region.exchange()
    assert states(region.nodes["UY"], old)["BR-UY"] == "TERMINATED"
    assert {country: applies(region.nodes[country]) for country in MEANT} == MEANT
    sound(region)


def test_who_left_may_join_again_and_begins_anew(made: tuple[Region, str]) -> None:
    region, old = made
    region.nodes["UY"].settle(Sign(old, "leave", effective="2027-05-21"))
    region.exchange()
    region.clock.ms += 180 * DAY_MS
    region.exchange()
    new = amend(region, old, between(*THREE))
    all_sign(region, new, *THREE)
    assert states(region.nodes["BR"], new) == {
        "AR-BR": "IN_OPERATION",
        "BR-AR": "IN_OPERATION",
        "BR-UY": "SIGNED",
        "UY-BR": "SIGNED",
    }
    sound(region)


def test_evidence_names_the_agreement_of_its_moment_and_holds(made: tuple[Region, str]) -> None:
    region, old = made
    uy, wire, before_ms = region.nodes["UY"], region.wire("BR", "UY"), region.clock.ms
    region.clock.ms += DAY_MS
    region.exchange()
    new = amend(region, old)
    all_sign(region, new)
    again = amend(region, new, between(*FOUR, max_staleness_s=1200), title="Again")
    all_sign(region, again)
    for at_ms, agreement in ((before_ms, old), (region.clock.ms, again)):
        with asking(uy) as (connection, _):
            encoded = evidence(uy.parts, connection, TINS["BR"], at_ms)
        assert b'"applies":true' in encoded
        results = assert_holds(wire, encoded)
        assert any(agreement in each.found for each in results)


def test_no_value_of_what_was_replaced_can_be_another_or_left_out(made: tuple[Region, str]) -> None:
    region, old = made
    all_sign(region, amend(region, old))
    uy, wire = region.nodes["UY"], region.wire("BR", "UY")
    with asking(uy) as (connection, _):
        content = json.loads(evidence(uy.parts, connection, TINS["BR"], region.clock.ms))
    assert_holds(wire, canonical.encode(content))
    unseen = []
    for path in list(every_place(content["before"]))[::11]:
        damaged = json.loads(json.dumps(content))
        inner = damaged["before"]
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = changed(inner[path[-1]])
        if not failed(verifier.verify(canonical.encode(damaged), policy(wire))):
            unseen.append(path)
    assert unseen == []
    without = {name: each for name, each in content.items() if name != "before"}
    assert failed(verifier.verify(canonical.encode(without), policy(wire))) == [12], "nothing was taken over"
    [before] = content["before"]
    for at in range(len(before["acts"])):
        fewer = before | {"acts": before["acts"][:at] + before["acts"][at + 1 :]}
        assert failed(verifier.verify(canonical.encode(content | {"before": [fewer]}), policy(wire)))
    twice = content | {"before": [before, before]}
    assert failed(verifier.verify(canonical.encode(twice), policy(wire))) == [5]
