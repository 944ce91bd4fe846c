"""The issuer is told how often its operators were read, and never by whom."""

import io
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from contracts import terms
from node.exchange import reads as notice
from node.exchange.reads import Reads
from node.ledger.entry import LedgerEntry
from node.service import backup, erasing, telling_reads
from node.service.access_log import AccessLog, CommitHead
from node.service.asking import Why
from node.service.erasing import Erase
from node.service.telling_reads import Committed
from node.store import channels, logs
from node.store import reads as store
from node.store.tables import LEDGER
from tests.service import stores
from tests.service.test_access_log import OFFICER, ask, found, recording
from tests.service.test_backup import backup_of, restored, rows_of
from tests.service.test_erasing import remains, say, sound
from tests.service.test_fetching import fetch, on_demand
from tests.service.test_incoming import with_settings
from tests.service.world import CNPJS, Json, Node, World, operator

TIN, OTHER = f"BR{CNPJS[1]}", f"BR{CNPJS[2]}"
NAMING = "for Sra. Oculta of the port"
ERASE = Erase(TIN, "OBJECTION", "case 9", "officer")
DAY = 86_400_000


@pytest.fixture
def told(strangers: World) -> World:
    """Two nodes whose agreement asks for the record of reads; UY knows BR's operators 1 to 3."""
    strangers.operate(report_reads=True)
    for number in (1, 2, 3):
        strangers.br.admit(operator(number))
    strangers.exchange()
    return strangers


def record_of(world: World, tin: str) -> str:
    return str(world.uy.look_up(tin)["record_id"])


def read(world: World, *tins: str, kind: str = "lookup", why: str = "") -> None:
    """What an officer of UY asked about operators of BR."""
    log = world.uy.log_of("BR", "UY")
    with recording(world.uy) as access:
        ask(access, *(found(tin, (log, record_of(world, tin))) for tin in tins), kind=kind, why=Why(why, "7"))
        access.take_over()


def tell(node: Node) -> int:
    """Commit to the access log, and tell what is due, as its thread does; gives how many notices."""
    head = node.settle(CommitHead())
    return sum(node.settle(each) for each in telling_reads.due(node.parts, head)) if head else 0


def after_a_day(world: World) -> int:
    world.days_pass()
    made = tell(world.uy)
    world.exchange()
    return made


def listed(node: Node, identifier: str = "") -> list[Json]:
    with node.parts.database.read() as connection:
        return telling_reads.listed(node.parts, connection, identifier, 2**31 - 1, 100)


def counts(told: Json) -> list[tuple[str, str, str, int]]:
    return [(row["tin"], row["kind"], row["purpose"], row["times"]) for row in told["reads"]]


def unfounded(node: Node) -> list[Json]:
    return [each for each in node.incidents() if each["kind"] == "unfounded"]


def test_the_issuer_is_told_how_often_how_and_what_for_and_not_by_whom(told: World) -> None:
    read(told, TIN, why="clearance")
    read(told, TIN, OTHER, kind="list", why=NAMING)
    read(told, TIN, why="Clearance")
    assert after_a_day(told) == 1
    [received], [sent] = listed(told.br), listed(told.uy)
    expected = [(TIN, "list", "OTHER", 1), (TIN, "lookup", "CLEARANCE", 2), (OTHER, "list", "OTHER", 1)]
    assert counts(received) == counts(sent) == expected
    assert (received["direction"], received["partner"], received["follows"]) == ("received", "UY", True)
    assert (sent["direction"], sent["partner"], sent["follows"]) == ("sent", "BR", True)
    same = ("from", "to", "part", "parts", "ledger", "agreement", "told_at")
    assert {name: received[name] for name in same} == {name: sent[name] for name in same}
    assert (received["access"], sent["access"]["size"]) == (None, 3)
    assert listed(told.br, OTHER)[0]["reads"] == received["reads"][2:]
    assert listed(told.br, "nobody") == []
    sound(told)
    if not stores.ON_POSTGRESQL:
        words = (OFFICER.label, OFFICER.token, "Oculta", NAMING)
        assert remains(told.br.home, words) == set()
        assert not any(OFFICER.label.encode() in body for body in bodies_of_notices(told))


class Late:
    """The writer, which does what it is given when it is told to."""

    has_looked_back = leads = True

    def __init__(self, node: Node) -> None:
        self._node, self._waiting = node, list[tuple[Future[Any], Any]]()

    def submit(self, work: Any) -> Future[Any]:
        self._waiting.append((Future(), work))
        return self._waiting[-1][0]

    def write(self) -> list[str]:
        """Do what waits; gives what it was."""
        waiting, self._waiting = self._waiting, []
        for future, work in waiting:
            future.set_result(self._node.settle(work))
        return [type(work).__name__ for _, work in waiting]


def test_a_commitment_is_told_before_the_next_takes_its_place(told: World) -> None:
    """However soon the next is due, and however late the writer comes to write it."""
    read(told, TIN)
    told.days_pass()
    writer = Late(told.uy)
    access = AccessLog(with_settings(told.uy.parts, access_commit_every_s=0.0), writer)  # type: ignore[arg-type]
    for _ in range(3):
        access._keep()
    assert writer.write() == ["CommitHead"]
    access._keep()
    assert writer.write() == ["TellReads", "CommitHead"]
    told.exchange()
    assert [counts(each) for each in listed(told.br)] == [[(TIN, "lookup", "NONE", 1)]]


def bodies_of_notices(world: World) -> list[bytes]:
    with world.br.parts.database.read() as connection:
        log, size = world.br.log_of("UY", "BR"), world.br.channel_size("UY", "BR")
        return [row["body"] for row in channels.told_behind(connection, log, 0, size).values()]


def test_it_is_told_once_a_day_at_most_and_nothing_where_nothing_was_read(told: World) -> None:
    size = told.uy.channel_size("UY", "BR")
    assert after_a_day(told) == 0
    read(told, TIN)
    assert after_a_day(told) == 1
    read(told, TIN)
    told.clock.ms += DAY // 2
    assert tell(told.uy) == 0
    told.clock.ms += DAY // 2
    assert tell(told.uy) == 1
    assert after_a_day(told) == 0
    told.exchange()
    second, first = listed(told.br)
    assert first["to"] == second["from"] < second["to"]
    assert second["follows"]
    assert told.uy.channel_size("UY", "BR") == size + 2
    sound(told)


def test_what_is_counted_twice_is_told_once(told: World) -> None:
    read(told, TIN)
    told.days_pass()
    head = told.uy.settle(CommitHead())
    [work], [again] = (telling_reads.due(told.uy.parts, head) for _ in range(2))
    assert (told.uy.settle(work), told.uy.settle(again)) == (1, 0)


def test_the_issuer_is_not_told_how_much_else_was_read(told: World) -> None:
    read(told, TIN)
    with recording(told.uy) as access:
        for number in range(7):
            ask(access, found(f"own {number}", (0, "an own operator")))
        access.take_over()
    after_a_day(told)
    [received] = listed(told.br)
    assert (received["access"], len(received["reads"])) == (None, 1)
    body = b"".join(bodies_of_notices(told))
    assert b'"size"' not in body
    assert listed(told.uy)[0]["access"]["size"] == 8


def test_it_goes_in_parts_of_bounded_size(told: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling_reads, "MOST_ROWS", 2)
    for kind in ("lookup", "list", "history"):
        read(told, TIN, OTHER, kind=kind)
    assert after_a_day(told) == 3
    assert [(each["part"], each["parts"], each["follows"]) for each in listed(told.br)] == [
        (3, 3, True), (2, 3, True), (1, 3, True),
    ]  # fmt: skip
    sound(told)


@pytest.mark.parametrize("clause", [{}, {"report_reads": False}])
def test_without_the_clause_nothing_is_told_and_nothing_heard(clause: Json, strangers: World) -> None:
    strangers.operate(**clause)
    strangers.br.admit(operator(1))
    strangers.exchange()
    read(strangers, TIN)
    size = strangers.uy.channel_size("UY", "BR")
    assert after_a_day(strangers) == 0
    assert strangers.uy.channel_size("UY", "BR") == size
    say(strangers.uy, honest(strangers).body())
    strangers.exchange()
    assert "do not ask for" in unfounded(strangers.br)[0]["detail"]
    assert listed(strangers.br) == []


def test_the_way_back_of_a_one_way_arrangement_carries_it(strangers: World) -> None:
    clauses: Any = terms.terms("br_uy")
    strangers.pin()
    one_way = {"BR-UY": clauses["directions"]["BR-UY"]}
    strangers.agreement = strangers.draft(directions=one_way, report_reads=True)
    strangers.both("sign")
    strangers.both("start", "BR", "UY", mode="operation")
    strangers.br.admit(operator(1))
    strangers.exchange()
    read(strangers, TIN)
    assert after_a_day(strangers) == 1
    assert counts(listed(strangers.br)[0]) == [(TIN, "lookup", "NONE", 1)]
    sound(strangers)


# What does not hold


def honest(world: World, **changed: Any) -> Reads:
    """What UY may tell BR now: one lookup, up to the newest entry of its ledger that commits to its log."""
    world.uy.settle(CommitHead(is_last=True))
    entry = newest(world.uy, "access")
    channel, log = f"aeo.br.example/channel/{world.agreement}/UY", world.uy.log_of("BR", "UY")
    with world.uy.parts.database.read() as connection:
        told_at = store.told_of(connection, log, [record_of(world, TIN)])
    [at] = told_at.values()
    made = Reads(channel, "2026-11-22T12:00:00.000Z", entry, 1, 1, ((at, "lookup", "NONE", 1),))
    return replace(made, **changed)


def newest(node: Node, kind: str) -> LedgerEntry:
    with node.parts.database.read() as connection:
        encoded = logs.entries(connection, LEDGER, 0, node.ledger().size)
    entries = [LedgerEntry.decode(each) for each in encoded]
    return [each for each in entries if each.type == kind][-1]


def test_what_is_honest_is_taken(told: World) -> None:
    read(told, TIN)
    say(told.uy, honest(told).body())
    told.carry(told.br)
    assert counts(listed(told.br)[0]) == [(TIN, "lookup", "NONE", 1)]
    assert unfounded(told.br) == []


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (lambda world, said: replace(said, channel=said.channel.replace("/UY", "/AR")), "not between us"),
        (
            lambda world, said: replace(
                said, channel=f"aeo.uy.example/channel/{world.agreement}/BR"
            ),
            "not between us",
        ),
        (lambda world, said: replace(said, entry=replace(said.entry, time=said.entry.time + 1)), "end with"),
        (lambda world, said: replace(said, entry=replace(said.entry, seq=said.entry.seq + 99)), "end with"),
        (lambda world, said: replace(said, entry=replace(said.entry, country="BR")), "end with"),
        (lambda world, said: replace(said, rows=((0, "lookup", "NONE", 1),)), "told of no operator"),
        (lambda world, said: replace(said, rows=((4_000, "lookup", "NONE", 1),)), "told of no operator"),
        (lambda world, said: replace(said, rows=((1, "gossip", "NONE", 1),)), "out of form"),
        (lambda world, said: replace(said, rows=((1, "lookup", "Sra. Oculta", 1),)), "out of form"),
        (lambda world, said: replace(said, part=2), "out of form"),
    ],
    ids=[
        "another's channel", "the other channel", "another time", "no entry", "another country", "a notice",
        "no such entry", "no kind", "free text", "more parts than there are",
    ],
)  # fmt: skip
def test_what_does_not_hold_changes_nothing(
    lie: Callable[[World, Reads], Reads], why: str, told: World
) -> None:
    read(told, TIN)
    say(told.uy, lie(told, honest(told)).body())
    told.exchange()
    [incident] = unfounded(told.br)
    assert incident["peer"] == "aeo.uy.example"
    assert why in incident["detail"]
    assert listed(told.br) == []
    assert told.br.findings() == []


def test_a_period_is_not_told_twice(told: World) -> None:
    read(told, TIN)
    after_a_day(told)
    read(told, TIN)
    told.days_pass()
    overlapping = honest(told)
    say(told.uy, overlapping.body())
    told.exchange()
    assert "told twice" in unfounded(told.br)[0]["detail"]
    assert len(listed(told.br)) == 1


def test_what_is_missing_between_two_periods_shows(told: World) -> None:
    read(told, TIN)
    after_a_day(told)
    read(told, TIN)
    told.days_pass()
    late = honest(told, since="2026-11-23T18:00:00.000Z")
    say(told.uy, late.body())
    told.exchange()
    assert [each["follows"] for each in listed(told.br)] == [False, True]
    assert unfounded(told.br) == []


def test_every_kind_of_read_can_be_told() -> None:
    assert set(notice.KINDS) >= {"lookup", "list", "search", "history", "evidence", "changes", "export"}


# Erased with the record


@pytest.mark.parametrize("is_carried", [True, False], ids=["when all has arrived", "on the way"])
def test_an_erasure_takes_what_was_told_of_the_record_and_leaves_the_rest(
    is_carried: bool, told: World
) -> None:
    read(told, TIN, OTHER, why="risk")
    after_a_day(told)
    read(told, TIN, kind="evidence")
    told.days_pass()
    assert tell(told.uy) == 1
    if is_carried:
        told.exchange()
    record = record_of(told, TIN)
    told.br.settle(ERASE)
    told.exchange()
    for node in told.nodes:
        rows = [row for each in listed(node) for row in counts(each)]
        assert rows == [(OTHER, "lookup", "RISK", 1)]
        assert listed(node, record) == []
    assert not any(b'"reads"' in body for body in bodies_of_notices(told))
    sound(told)
    if not stores.ON_POSTGRESQL:
        for node in told.nodes:
            assert erasing.scrub(node.parts)
            assert remains(node.home, (TIN, record)) == set()
    read(told, OTHER)
    assert after_a_day(told) == 1
    told.br.settle(Erase(OTHER, "OBJECTION", "case 10", "officer"))
    told.exchange()
    assert [row for node in told.nodes for each in listed(node) for row in each["reads"]] == []
    sound(told)


def test_a_notice_that_was_erased_before_it_arrived_is_missed(told: World) -> None:
    read(told, TIN, OTHER)
    told.days_pass()
    assert tell(told.uy) == 1
    told.br.settle(ERASE)
    told.carry(told.uy)
    told.uy.keep()
    told.exchange()
    assert listed(told.br) == []
    assert [counts(each) for each in listed(told.uy)] == [[(OTHER, "lookup", "NONE", 1)]]
    read(told, OTHER)
    assert after_a_day(told) == 1
    [received] = listed(told.br)
    assert (received["follows"], counts(received)) == (False, [(OTHER, "lookup", "NONE", 1)])
    assert told.br.incidents() == []
    sound(told)


def test_what_the_reader_may_keep_no_longer_stays_counted_at_the_issuer(told: World) -> None:
    read(told, TIN)
    after_a_day(told)
    told.br.amend(TIN, mra_consent={"given": False, "scope": "GENERAL", "withdrawn_on": "2026-11-23"})
    told.exchange()
    told.days_pass(2_000)
    told.exchange()
    assert [row for each in listed(told.uy) for row in each["reads"]] == []
    assert counts(listed(told.br)[0]) == [(TIN, "lookup", "NONE", 1)]
    sound(told)


def test_what_was_read_and_erased_before_it_was_told_is_not_told(told: World) -> None:
    read(told, TIN, OTHER)
    told.days_pass()
    head = told.uy.settle(CommitHead())
    [work] = telling_reads.due(told.uy.parts, head)
    told.br.settle(ERASE)
    told.exchange()
    assert told.uy.settle(work) == 1
    told.exchange()
    assert counts(listed(told.br)[0]) == [(OTHER, "lookup", "NONE", 1)]
    sound(told)


def test_a_backup_made_before_is_restored_without_it(told: World, tmp_path: Path) -> None:
    read(told, TIN)
    read(told, OTHER)
    after_a_day(told)
    record = record_of(told, TIN)
    before = {node.country: backup_of(node) for node in told.nodes}
    told.br.settle(ERASE)
    told.exchange()
    for node in told.nodes:
        assert erasing.scrub(node.parts)
        again, _ = restored(node, before[node.country], tmp_path / "again", told)
        left = rows_of(again)
        [row] = left["reads_counted"]
        assert OTHER in row
        assert not any(record in str(row) for rows in left.values() for row in rows)
        assert backup.restore(node.parts, io.BytesIO(before[node.country]), lambda *_: None, is_check=True)


# fsck


def test_what_is_kept_of_it_is_held_against_what_was_told_and_read(told: World) -> None:
    read(told, TIN)
    after_a_day(told)
    for node in told.nodes:
        with node.parts.database.write() as connection:
            connection.execute(update(store.COUNTED).values(times=9))
    assert any("not kept as it was told" in each.what for each in told.br.findings())
    assert any("not what the access log has" in each.what for each in told.uy.findings())


def test_a_reader_that_leaves_reads_out_is_found_by_an_audit_of_its_store(told: World) -> None:
    read(told, TIN)
    read(told, OTHER)
    told.days_pass()
    head: Committed = told.uy.settle(CommitHead())
    [work] = telling_reads.due(told.uy.parts, head)
    fewer = {key: times for key, times in work.counts.items() if key[0] != record_of(told, OTHER)}
    told.uy.settle(replace(work, counts=fewer))
    told.exchange()
    assert len(listed(told.br)[0]["reads"]) == 1, "the issuer cannot know"
    assert any("not what the access log has" in each.what for each in told.uy.findings())


def test_a_record_that_is_fetched_one_by_one_is_counted_as_such(strangers: World) -> None:
    strangers.operate(directions=on_demand(), report_reads=True)
    strangers.br.admit(operator(1))
    strangers.exchange()
    assert fetch(strangers, TIN) is not None
    read(strangers, TIN, kind="fetch", why="inspection")
    assert after_a_day(strangers) == 1
    assert counts(listed(strangers.br)[0]) == [(TIN, "fetch", "INSPECTION", 1)]
    sound(strangers)
