"""What a partner sees follows the record, the agreement and the calendar, and shows no reason why."""

import re
from dataclasses import replace
from datetime import date, timedelta

import orjson
import pytest

from node.errors import Conflict, Malformed
from node.exchange import outgoing, sealing
from node.ledger import canonical
from node.ledger.entry import ChannelEntry
from node.service.batch import Batch
from node.service.line import Keeper
from node.service.signing import Sign
from node.store import channels, logs
from tests.service.world import CNPJS, DAY_MS, Json, World, asking, operator, withdrawn

ONE, TWO, THREE = (f"BR{cnpj}" for cnpj in CNPJS[1:4])


def opened(world: World, after: int = 0) -> list[tuple[str, Json]]:
    """(kind, body) of every entry that BR wrote for UY from a place on, opened with BR's own keys."""
    log, parts = world.br.log_of("BR", "UY"), world.br.parts
    found = []
    with parts.database.read() as connection:
        head = logs.head(connection, log)
        assert head is not None
        bodies = channels.sealed_behind(connection, log, after, head.size)
        for encoded in logs.entries(connection, log, after, head.size):
            entry = ChannelEntry.decode(encoded)
            epoch = channels.epochs(connection, log, [entry.epoch])[entry.epoch]
            owner = outgoing.epoch_owner(head.origin, entry.epoch)
            key = sealing.unwrap(parts.keys.store, epoch.wrapped, owner)
            key = sealing.entry_key(key, entry.seq)
            body = canonical.decode(sealing.unseal(key, bodies[entry.seq][0], entry.header()))
            assert isinstance(body, dict)
            found.append((entry.kind, body))
    return found


def size(world: World) -> int:
    return world.br.channel_size("BR", "UY")


def kinds(world: World, after: int) -> list[str]:
    return [kind for kind, _ in opened(world, after)]


def is_gone(world: World, tin: str) -> bool:
    answer = world.uy.look_up(tin)
    return (answer["status"]["value"], answer["fields"]) == ("NOT_SHARED", None)


def test_a_suspension_is_disclosed_with_its_status(known: World) -> None:
    before = size(known)
    known.br.amend(ONE, status="SUSPENDED", status_since="2026-11-22T11:00:00.000Z")
    assert kinds(known, before) == ["disclosure"]
    known.carry(known.uy)
    answer = known.uy.look_up(ONE)
    assert answer["status"] == {
        "value": "SUSPENDED",
        "stated": "SUSPENDED",
        "since": "2026-11-22T11:00:00.000Z",
    }
    assert answer["recognition"]["reasons"] == ["the status is SUSPENDED"]


def test_the_reason_of_a_suspension_does_not_travel(known: World) -> None:
    before = size(known)
    known.br.amend(ONE, status="SUSPENDED", status_reason_class="NON_COMPLIANCE")
    [(_, body)] = opened(known, before)
    assert b"NON_COMPLIANCE" not in canonical.encode(body)
    known.carry(known.uy)
    assert "status_reason_class" not in known.uy.look_up(ONE)["fields"]


CAUSES: dict[str, Json] = {
    "consent withdrawn": {"mra_consent": withdrawn("2026-11-22")},
    "out of scope": {"scope": ["CUSTOMS_COMPLIANCE"]},
    "type not accepted": {"national_types": ["OEA-C"]},
    "status not shared": {"status": "WITHDRAWN"},
    "programme changed": {"programme": "BR-OUTRO"},
}


@pytest.mark.parametrize("cause", CAUSES)
def test_a_record_that_leaves_the_view_leaves_a_tombstone_that_does_not_say_why(
    known: World, cause: str
) -> None:
    before = size(known)
    record_id = known.br.amend(ONE, **CAUSES[cause]).record_id
    assert opened(known, before) == [("tombstone", {"v": 1, "record_id": record_id})]
    known.carry(known.uy)
    assert is_gone(known, ONE)
    assert known.uy.look_up(ONE)["recognition"]["reasons"] == [
        "the issuer no longer shares this record with us"
    ]


def test_tombstones_of_different_causes_are_of_one_length(known: World) -> None:
    lengths = set()
    for tin, cause in ((ONE, "consent withdrawn"), (TWO, "status not shared"), (THREE, "out of scope")):
        known.br.amend(tin, **CAUSES[cause])
    with known.br.parts.database.read() as connection:
        bodies = channels.sealed_behind(connection, known.br.log_of("BR", "UY"), size(known) - 3, size(known))
    lengths = {len(sealed) for sealed, _ in bodies.values()}
    assert len(lengths) == 1


def test_what_left_the_view_is_told_once(known: World) -> None:
    known.br.amend(ONE, mra_consent=withdrawn("2026-11-22"))
    before = size(known)
    known.br.amend(ONE, legal_name="Invisível S/A")
    known.br.amend(ONE, status="SUSPENDED")
    known.br.amend(ONE, status="REVOKED")
    assert size(known) == before


def test_a_record_that_was_never_seen_leaves_no_trace(world: World) -> None:
    world.exchange()
    before = size(world)
    world.br.admit(operator(1, mra_consent=withdrawn("2026-11-22")))
    world.br.amend(ONE, legal_name="Invisível S/A")
    world.br.admit(operator(2, national_types=["OEA-C"]))
    assert size(world) == before


def test_consent_given_again_brings_the_record_back(known: World) -> None:
    known.br.amend(ONE, mra_consent=withdrawn("2026-11-22"))
    known.carry(known.uy)
    known.br.amend(ONE, mra_consent={"given": True, "scope": "GENERAL", "from": "2026-11-22"})
    known.carry(known.uy)
    assert known.uy.look_up(ONE)["recognition"]["applies"]


@pytest.mark.parametrize(
    "hidden",
    [
        {"mra_contact": "novo@empresa.example"},
        {"trade_names": ["Outra marca"]},
        {"roles": ["importer", "broker"]},
        {"identifiers": [{"scheme": "CNPJ", "value": CNPJS[1]}]},
        {"sites": [{"name": "Armazém", "address": {"line": "R", "city": "Santos", "country": "BR"}}]},
        {"mra_consent": {"given": True, "scope": "GENERAL", "from": "2025-02-10"}},
        {"effective_at": "2026-11-22T00:00:00.000Z"},
    ],
    ids=repr,
)
def test_a_change_of_what_the_partner_may_not_see_writes_nothing_to_its_channel(
    known: World, hidden: Json
) -> None:
    before, ledger = size(known), known.br.ledger().size
    assert known.br.amend(ONE, **hidden).kind == "changed"
    assert (size(known), known.br.ledger().size) == (before, ledger + 1)


def test_no_hidden_field_is_in_anything_that_was_disclosed(known: World) -> None:
    told = b"".join(canonical.encode(body) for _, body in opened(known))
    clear = b"".join(_disclosed(body) for kind, body in opened(known) if kind == "disclosure")
    for secret in ("oculto1@", "Marca oculta", "exporter", "LEI", "withdrawn_on", "officer", "as filed"):
        assert secret.encode() not in told + clear
    assert b"Caatinga" in clear, "the test reads what was disclosed"


def _disclosed(body: Json) -> bytes:
    return b"".join(canonical.encode(each) for each in body["credential"]["disclosures"])


def test_a_suspended_direction_leaves_nothing_and_resumes_with_everything(known: World) -> None:
    before = size(known)
    known.br.settle(Sign(known.agreement, "suspend", "BR", "UY"))
    known.br.keep()
    assert kinds(known, before) == ["notice", "tombstone", "tombstone", "tombstone"]
    assert opened(known, before)[0][1] == {"v": 1, "notice": "state", "detail": "SUSPENDED"}
    known.exchange()
    assert all(is_gone(known, tin) for tin in (ONE, TWO, THREE))
    known.br.amend(TWO, status="SUSPENDED")
    before = size(known)
    known.both("resume", "BR", "UY")
    assert kinds(known, before) == ["notice", "disclosure", "disclosure", "disclosure"]
    assert known.uy.look_up(ONE)["recognition"]["applies"]
    assert known.uy.look_up(TWO)["status"]["value"] == "SUSPENDED"


def test_a_resumption_needs_both(known: World) -> None:
    known.br.settle(Sign(known.agreement, "suspend", "BR", "UY"))
    known.exchange()
    known.uy.settle(Sign(known.agreement, "resume", "BR", "UY"))
    known.exchange()
    assert is_gone(known, ONE)


def test_a_suspension_of_one_direction_leaves_the_other(known: World) -> None:
    known.br.settle(Sign(known.agreement, "suspend", "UY", "BR"))
    known.exchange()
    assert known.uy.look_up(ONE)["recognition"]["applies"]


def test_the_reader_stops_relying_on_a_direction_that_it_suspended_itself(known: World) -> None:
    known.uy.settle(Sign(known.agreement, "suspend", "BR", "UY"))
    answer = known.uy.look_up(ONE)
    assert answer["recognition"]["reasons"] == ["the agreement is suspended in this direction"]
    assert answer["fields"], "what was disclosed is still known"


def test_a_termination_takes_effect_on_its_day_and_for_good(known: World) -> None:
    effective = "2027-05-25"
    known.br.settle(Sign(known.agreement, "terminate", "BR", "UY", effective=effective))
    known.exchange()
    assert known.uy.look_up(ONE)["recognition"]["applies"]
    known.days_pass(184)
    known.exchange()
    assert is_gone(known, ONE)
    for act, mode in (("start", "operation"), ("suspend", None)):
        with pytest.raises(Conflict, match="not possible"):
            known.br.settle(Sign(known.agreement, act, "BR", "UY", mode=mode))
    with pytest.raises(Malformed):
        known.br.settle(Sign(known.agreement, "resume", "BR", "UY"))
    before = size(known)
    known.br.admit(operator(4))
    assert size(known) == before


def test_a_termination_without_the_agreed_notice_is_refused(known: World) -> None:
    with pytest.raises(Conflict, match="too soon") as refused:
        known.br.settle(Sign(known.agreement, "terminate", "BR", "UY"))
    named = re.search(r"choose (\S+) or a later day", refused.value.do)
    assert named is not None
    with pytest.raises(Conflict, match="too soon"):
        known.br.settle(Sign(known.agreement, "terminate", "BR", "UY", effective=day_before(named[1])))
    known.br.settle(Sign(known.agreement, "terminate", "BR", "UY", effective=named[1]))


def day_before(day: str) -> str:
    return str(date.fromisoformat(day) - timedelta(days=1))


def test_the_day_after_the_last_valid_one_leaves_a_tombstone(world: World) -> None:
    world.br.admit(operator(1, valid_to="2026-11-23"))
    world.br.admit(operator(2))
    world.exchange()
    before = size(world)
    world.days_pass()
    world.br.keep()
    assert size(world) == before, "the last day is still a valid one"
    world.days_pass()
    world.br.keep()
    assert kinds(world, before) == ["tombstone"]
    world.carry(world.uy)
    assert is_gone(world, ONE)
    assert world.uy.look_up(TWO)["recognition"]["applies"]


def test_consent_from_a_later_day_discloses_on_that_day(world: World) -> None:
    world.br.admit(operator(1, mra_consent={"given": True, "scope": "GENERAL", "from": "2026-11-24"}))
    world.exchange()
    before = size(world)
    world.days_pass()
    world.br.keep()
    assert size(world) == before
    world.days_pass()
    world.br.keep()
    assert kinds(world, before) == ["disclosure"]


def test_a_day_on_which_nothing_changed_writes_nothing(known: World) -> None:
    before = size(known)
    for _ in range(3):
        known.days_pass()
        known.exchange()
    assert size(known) == before
    assert known.br.keep() == 0


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 50])
def test_every_record_is_decided_again_however_small_the_steps(world: World, limit: int) -> None:
    for number in (1, 2, 3, 4):
        world.br.admit(operator(number, valid_to="2026-11-22"))
    world.exchange()
    world.days_pass()
    world.br.keep(limit)
    with world.br.parts.database.read() as connection:
        assert channels.shared_count(connection, world.br.log_of("BR", "UY")) == 0


def test_a_day_that_ends_in_the_middle_of_the_work_begins_it_anew(world: World) -> None:
    """Records decided for yesterday must not count as decided for today."""
    for number in (1, 2, 3, 4):
        world.br.admit(operator(number, valid_to="2026-11-23"))
    world.exchange()
    world.days_pass()
    step(world)
    world.days_pass()
    world.br.keep(3)
    with world.br.parts.database.read() as connection:
        assert channels.shared_count(connection, world.br.log_of("BR", "UY")) == 0


def test_a_step_that_was_not_stored_is_done_again(world: World) -> None:
    for number in (1, 2, 3, 4):
        world.br.admit(operator(number, valid_to="2026-11-22"))
    world.exchange()
    world.days_pass()
    with pytest.raises(ZeroDivisionError):
        step(world, fail=True)
    world.br.parts.standings.forget()
    world.br.keeper.rest()
    world.br.keep(3)
    with world.br.parts.database.read() as connection:
        assert channels.shared_count(connection, world.br.log_of("BR", "UY")) == 0


def step(world: World, *, fail: bool = False) -> None:
    """One step of three records; one that fails is rolled back, as when the disk is full."""
    with world.br.parts.database.write() as connection:
        batch = Batch(world.br.parts, connection)
        world.br.keeper.step(batch, 3)
        batch.commit()
        assert fail is False or 1 // 0


def test_an_epoch_ends_and_the_next_key_reaches_the_partner(known: World) -> None:
    settings = known.br.parts.settings.model_copy(update={"epoch_entries": 2})
    known.br.parts = replace(known.br.parts, settings=settings)
    for name in "ABCDE":
        known.br.amend(ONE, legal_name=f"{name} S/A")
    with known.br.parts.database.read() as connection:
        newest = channels.newest_epoch(connection, known.br.log_of("BR", "UY"))
    assert newest is not None
    assert newest.epoch >= 3
    known.carry(known.uy)
    assert known.uy.look_up(ONE)["fields"]["legal_name"] == "E S/A"
    assert known.uy.incidents() == []


def test_each_decision_is_kept_with_its_reason(known: World) -> None:
    known.br.amend(ONE, mra_consent=withdrawn("2026-11-22"))
    with asking(known.br) as (connection, _):
        counts = channels.newest_answer_counts(connection, known.br.log_of("BR", "UY"))
    told = [
        (answer["answer"], answer.get("reason"), counts[each])
        for each in counts
        if (answer := orjson.loads(each))
    ]
    assert sorted(told) == [("share", None, 2), ("withhold", "consent withdrawn", 1)]


def test_nothing_is_disclosed_twice_after_a_restart_of_the_keeper(known: World) -> None:
    before = size(known)
    known.br.keeper = Keeper()
    known.br.keep()
    known.clock.ms += DAY_MS
    known.br.keeper = Keeper()
    known.br.keep()
    assert size(known) == before


def test_who_leads_again_goes_on_where_the_other_leader_stopped(known: World) -> None:
    """One begins a pass and loses the lead; the other announces a suspension and is gone."""
    for number in (4, 5, 6):
        known.br.admit(operator(number))
    known.exchange()
    known.days_pass()
    first, second = Keeper(), Keeper()
    known.br.keeper = first
    step(known)
    known.br.settle(Sign(known.agreement, "suspend", "BR", "UY"))
    known.br.keeper = second
    step(known)
    known.br.keeper = first
    known.exchange()
    with known.br.parts.database.read() as connection:
        assert channels.shared_count(connection, known.br.log_of("BR", "UY")) == 0
    assert known.br.findings() == []
