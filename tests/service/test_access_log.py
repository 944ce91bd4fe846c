"""Who asked what: recorded before it is answered, chained, forgotten where it must be; changes are found."""

import resource
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import orjson
import pytest
from sqlalchemy import text

from node import keys
from node.errors import Busy
from node.exchange.card import access_origin
from node.ledger import moment
from node.service import access_log, asking, forgetting, journal, reading_access, rewrapping
from node.service.access_log import AccessLog, CommitHead
from node.service.access_writing import secrets_of
from node.service.asking import Question, Why
from node.service.check import check
from node.service.erasing import Erase
from node.service.reading_access import Filter
from node.service.sequencer import Sequencer
from node.service.tokens import Caller
from node.store import logs
from node.store.tables import ACCESS, LEDGER
from tests.service.stores import files_only
from tests.service.world import CNPJS, NAMES, Node, World

OFFICER = Caller("0a1b2c3d4e5f", "Port of Montevideo", "officer")
AUDITOR = Caller("aaaaaaaaaaaa", "Inspection", "auditor")
RECORD = "urn:aeo:br:of-record-one"
OTHER = "urn:aeo:br:of-record-two"
TIN, SECOND, UNKNOWN = "BR99000001000101", "BR99000002000148", "UY210000000012"


@contextmanager
def writing(node: Node) -> Iterator[None]:
    """Somebody writes, and does not come to an end: a standby that is gone confirms nothing."""
    begun, over = Event(), Event()

    def write() -> None:
        with node.parts.database.write():
            begun.set()
            over.wait()

    with ThreadPoolExecutor() as pool:
        try:
            pool.submit(write)
            assert begun.wait(30)
            yield
        finally:
            over.set()


@contextmanager
def recording(node: Node) -> Iterator[AccessLog]:
    """The access log of a node; taken over only when a test says so, or at its stop."""
    sequencer = Sequencer(node.parts)
    log = AccessLog(node.parts, sequencer)
    log.start()
    sequencer.has_looked_back = True
    try:
        yield log
    finally:
        log.stop()


def ask(log: AccessLog, *questions: Question, kind: str = "lookup", why: Why = Why()) -> None:
    log.record(OFFICER, kind, why, questions)


def found(number: str, *told: tuple[int, str]) -> Question:
    return number, list(told), False


def page(node: Node, wanted: Filter = Filter(), **how: Any) -> list[dict[str, Any]]:
    with node.parts.database.read() as connection:
        entries: list[dict[str, Any]] = reading_access.page(
            node.parts, connection, wanted, how.get("before"), how.get("limit", 50)
        )["entries"]
    return entries


def change(node: Node, statement: str, **values: Any) -> None:
    """Change the store behind the node's back."""
    with node.parts.database.write() as connection:
        assert connection.execute(text(statement), values).rowcount > 0


def size(node: Node) -> int:
    with node.parts.database.read() as connection:
        head = logs.head(connection, ACCESS)
    return head.size if head else 0


def bodies(node: Node) -> bytes:
    """Every body of the access log, opened, and what they are found by."""
    with node.parts.database.read() as connection:
        secrets = secrets_of(node.parts, connection)
        opened = [
            asking.unseal(secrets, forgetting.entry_at(connection, seq).commit, sealed).encode()
            for seq, sealed in connection.execute(text("SELECT seq, sealed FROM access_body"))
        ]
        told = connection.execute(text("SELECT log, record_id FROM access_told")).all()
    return b"\n".join(opened) + repr(told).encode()


def test_what_was_asked_is_told_to_auditors_with_who_when_and_why(world: World) -> None:
    with recording(world.uy) as log:
        ask(log, found(TIN, (3, RECORD)), why=Why("clearance", "26BR000012"))
        world.clock.ms += 1000
        ask(log, found(TIN, (3, RECORD)), found(SECOND, (3, OTHER), (0, "own")), kind="list")
        log.record(AUDITOR, "search", Why(), [("caatinga", [(3, RECORD)], True)], {"limit": 10})
        log.take_over()
        search, listed, first = page(world.uy)
    assert first["caller"] == {"token": OFFICER.token, "label": OFFICER.label, "role": "officer"}
    assert (first["kind"], first["purpose"], first["reference"]) == ("lookup", "clearance", "26BR000012")
    assert first["time"] == moment.format(world.clock.ms - 1000)
    assert [each["asked"] for each in listed["questions"]] == [TIN, SECOND]
    assert [each["record_id"] for each in listed["questions"][1]["told"]] == [OTHER, "own"]
    assert (search["detail"], search["caller"]["role"]) == ({"limit": 10}, "auditor")
    assert world.uy.findings() == []


def test_an_auditor_finds_reads_by_who_what_when_kind_and_purpose(world: World) -> None:
    with recording(world.uy) as log:
        for number in range(6):
            asked = found(TIN, (3, RECORD)) if number % 2 else found(SECOND, (3, OTHER))
            caller = AUDITOR if number == 5 else OFFICER
            log.record(caller, "lookup", Why(f"case {number}"), [asked])
            world.clock.ms += 60_000
        log.take_over()
    begun = world.clock.ms - 6 * 60_000

    def seqs(**wanted: Any) -> list[int]:
        return [each["seq"] for each in page(world.uy, Filter(**wanted))]

    assert seqs() == [5, 4, 3, 2, 1, 0]
    assert seqs(caller=AUDITOR.label) == seqs(caller=AUDITOR.token) == [5]
    assert seqs(identifier=RECORD) == [5, 3, 1]
    assert seqs(identifier=RECORD, caller=OFFICER.token) == [3, 1]
    assert seqs(since_ms=begun + 120_000, until_ms=begun + 180_000) == [3, 2]
    assert seqs(purpose="CASE 4") == [4]
    assert seqs(kind="search") == []
    assert [each["seq"] for each in page(world.uy, before=4, limit=2)] == [3, 2]


def test_a_number_that_was_not_found_is_found_again_by_who_knows_it_and_stands_nowhere(world: World) -> None:
    with recording(world.uy) as log:
        ask(log, found(UNKNOWN))
        ask(log, ("Nobody We Know", [], True), kind="search")
        log.take_over()
        [entry] = page(world.uy, Filter(identifier="UY 21.000.000.0012"))
        [question] = entry["questions"]
        assert (question["asked"], question["found"], question["told"]) == (None, False, [])
        assert page(world.uy, Filter(identifier="UY210000000013")) == []
        told = bodies(world.uy)
    assert UNKNOWN.encode() not in told
    assert b"obody" not in told


@files_only
def test_nothing_of_what_was_asked_stands_in_the_files_in_the_clear(world: World) -> None:
    typed = "BR.typed.by.an.officer"
    with recording(world.uy) as log:
        ask(log, found(typed, (3, RECORD)), why=Why("a purpose in words"))
        assert_nowhere(world.uy, typed, OFFICER.label, "a purpose in words")
        log.take_over()
        assert_nowhere(world.uy, typed, OFFICER.label, "a purpose in words")


def assert_nowhere(node: Node, *texts: str) -> None:
    files = [path.read_bytes() for path in node.home.rglob("*") if path.is_file()]
    assert [each for each in texts if any(each.encode() in content for content in files)] == []


def test_an_erased_record_leaves_no_trace_and_all_else_stays_provable(known: World) -> None:
    """The record's number, name and id, as told, typed, or asked for and not found."""
    node, log_of = known.uy, known.uy.log_of("BR", "UY")
    [answer] = node.find([CNPJS[1]])[CNPJS[1]]
    [kept] = node.find([CNPJS[2]])[CNPJS[2]]
    gone, stays = (log_of, answer["record_id"]), (log_of, kept["record_id"])
    with recording(node) as log:
        ask(log, found(CNPJS[1], gone), found(CNPJS[2], stays), kind="list")
        ask(log, (NAMES[1], [gone, stays], True), kind="search")
        ask(log, found(f"BR{CNPJS[1]}"))
        ask(log, (f"{NAMES[1]} S/A", [], True), kind="search")
        ask(log, found(CNPJS[2], stays))
        log.take_over()
        assert len(page(node, Filter(identifier=CNPJS[1]))) == 4
        with node.parts.database.write() as connection:
            assert forgetting.forget(node.parts, connection, *gone) == 4
        told = bodies(node)
        for trace in (CNPJS[1], NAMES[1], NAMES[1].encode("unicode_escape").decode(), answer["record_id"]):
            assert trace.encode() not in told
        assert CNPJS[2].encode() in told
        with node.parts.database.read() as connection:
            secrets = secrets_of(node.parts, connection)
        for unfound in (secrets.unfound(f"BR{CNPJS[1]}"), secrets.unfound(f"{NAMES[1]} S/A", is_name=True)):
            assert unfound[1].encode() not in told
    listed = page(node, Filter(identifier=kept["record_id"]))
    assert [each["kind"] for each in listed] == ["lookup", "search", "list"]
    assert [each["forgotten"] for each in listed] == [0, 2, 1]
    assert node.findings() == []


def test_what_was_asked_before_an_erasure_and_taken_over_behind_it_is_forgotten_too(known: World) -> None:
    node, log_of = known.uy, known.uy.log_of("BR", "UY")
    [answer] = node.find([CNPJS[1]])[CNPJS[1]]
    gone = (log_of, answer["record_id"])
    with recording(node) as log:
        log._folding.acquire()  # it waits, as in another process that is slow
        ask(log, found(CNPJS[1], gone))
        with node.parts.database.write() as connection:
            forgetting.forget(node.parts, connection, *gone)
        log._folding.release()
        log.take_over()
        known.clock.ms += 1
        assert answer["record_id"].encode() not in bodies(node)
        assert CNPJS[1].encode() not in bodies(node)
        ask(log, found(CNPJS[1], gone))
        log.take_over()
        assert answer["record_id"].encode() in bodies(node)
    assert node.findings() == []


@pytest.mark.parametrize("country", ["BR", "UY"])
def test_a_number_and_a_name_that_an_erased_operator_had_once_are_forgotten_too(
    known: World, country: str
) -> None:
    node, tin = {each.country: each for each in known.nodes}[country], f"BR{CNPJS[1]}"
    name = node.look_up(tin)["fields"]["legal_name"]
    known.br.amend(tin, identifiers=[{"scheme": "CNPJ", "value": CNPJS[5]}], legal_name="Nome Novo S/A")
    known.exchange()
    assert node.find([CNPJS[1]]) == {CNPJS[1]: []}
    with recording(node) as log:
        ask(log, found(CNPJS[1]))
        ask(log, (name, [], True))
        log.take_over()
        with node.parts.database.read() as connection:
            secrets = secrets_of(node.parts, connection)
        former = [secrets.unfound(CNPJS[1])[1], secrets.unfound(name, is_name=True)[1]]
        assert all(each.encode() in bodies(node) for each in former)
        known.br.settle(Erase(tin, "NOT_NEEDED", "case 1", "officer"))
        known.exchange()
        assert not any(each.encode() in bodies(node) for each in former)
    assert node.findings() == []


def test_bodies_go_when_they_are_old_and_the_entries_stay(world: World) -> None:
    node = world.uy
    with recording(node) as log:
        for _ in range(3):
            ask(log, found(TIN, (3, RECORD)))
        log.take_over()
        with node.parts.database.write() as connection:
            forgetting.forget(node.parts, connection, 3, RECORD)
        world.days_pass(node.parts.settings.access_days + 1)
        ask(log, found(SECOND, (3, OTHER)))
        log.take_over()
        assert forgetting.expire(node.parts) == 4
        assert forgetting.expire(node.parts) == 0
    told = page(node)
    assert [(each["kind"], each["expired"]) for each in told] == [
        ("expired", False),
        ("lookup", False),
        ("forgotten", True),
        ("lookup", True),
        ("lookup", True),
        ("lookup", True),
    ]
    assert told[0]["detail"] == {"before": 4}
    assert node.findings() == []


FIRST_AS_99 = "SELECT 99, block, sealed FROM access_body WHERE seq = 1"
FIRST_BODY = "(SELECT sealed FROM access_body WHERE seq = 1)"
FIRST_ENTRY = "(SELECT entry FROM log_entry WHERE log = -1 AND seq = 1)"
CHANGED = {
    "DELETE FROM access_body WHERE seq = 2": "no body is behind it",
    "DELETE FROM access_told WHERE seq = 2": "not found by what it is about",
    "INSERT INTO access_told (block, log, record_id, seq) VALUES (0, 0, 'x', 1)": "access_told holds",
    f"INSERT INTO access_body (seq, block, sealed) {FIRST_AS_99}": "access_body holds",
    f"UPDATE access_body SET sealed = {FIRST_BODY} WHERE seq = 2": "does not open",
    "DELETE FROM log_entry WHERE log = -1 AND seq = 2": "missing",
    f"UPDATE log_entry SET entry = {FIRST_ENTRY} WHERE log = -1 AND seq = 2": "not the one that was hashed",
    "UPDATE log_head SET size = 4 WHERE log = -1": "not that of the head",
    "UPDATE access_state SET expired = 3": "no whole entry of kind expired",
}


@pytest.mark.parametrize("statement", CHANGED, ids=list(CHANGED.values()))
def test_a_row_changed_behind_the_nodes_back_is_found(world: World, statement: str) -> None:
    with recording(world.uy) as log:
        for number in range(5):
            ask(log, found(f"{TIN}{number}", (3, RECORD)))
        log.take_over()
    assert world.uy.findings() == []
    change(world.uy, statement)
    told = world.uy.findings()
    assert CHANGED[statement] in " ".join(each.what for each in told), told


def test_an_item_taken_away_by_someone_with_the_key_is_found(world: World) -> None:
    node = world.uy
    with recording(node) as log:
        ask(log, found(TIN, (3, RECORD)), found(SECOND, (3, OTHER)), kind="list")
        log.take_over()
        with node.parts.database.write() as connection:
            secrets, commit = secrets_of(node.parts, connection), forgetting.entry_at(connection, 0).commit
            [sealed] = connection.execute(text("SELECT sealed FROM access_body")).scalars()
            body, _ = asking.unseal(secrets, commit, sealed).without({(3, RECORD)}, 0)
            again = asking.seal(secrets, commit, body.encode(), bytes(12))
            connection.execute(text("UPDATE access_body SET sealed = :sealed"), {"sealed": again})
            connection.execute(text("DELETE FROM access_told WHERE record_id = :id"), {"id": RECORD})
    [finding] = node.findings()
    assert "is no whole entry of kind forgotten" in finding.what


def test_the_ledger_commits_to_the_log_in_time_whether_or_not_anything_was_read(world: World) -> None:
    node = world.uy
    every_ms = int(node.parts.settings.access_commit_every_s * 1000)
    with recording(node) as log:
        begun = node.ledger().size
        world.clock.ms += every_ms
        node.settle(CommitHead())
        assert node.ledger().size == begun  # nothing was ever read
        ask(log, found(TIN, (3, RECORD)))
        log.take_over()
        for commits in (1, 2):
            node.settle(CommitHead())
            assert node.ledger().size == begun + commits
            node.settle(CommitHead())
            node.settle(CommitHead(is_last=True))
            assert node.ledger().size == begun + commits  # it is not due, and nothing is new
            world.clock.ms += every_ms
        world.clock.ms -= every_ms
        ask(log, found(TIN, (3, RECORD)))
        log.take_over()
        node.settle(CommitHead(is_last=True))
        assert node.ledger().size == begun + 3
    assert node.findings() == []


def test_the_outside_sees_of_a_commitment_its_time_and_type_alone(world: World) -> None:
    with recording(world.uy) as log:
        ask(log, found(TIN, (3, RECORD)))
        log.take_over()
        world.uy.settle(CommitHead(is_last=True))
    with world.uy.parts.database.read() as connection:
        [entry] = logs.entries(connection, LEDGER, world.uy.ledger().size - 1, world.uy.ledger().size)
    assert b'"type":"access"' in entry
    assert set(orjson.loads(entry)) == {"v", "country", "seq", "prev", "time", "type", "commit"}
    world.exchange()
    assert world.br.findings() == []


def test_a_log_that_was_cut_or_written_anew_contradicts_the_ledger(world: World, tmp_path: Path) -> None:
    """By somebody who has every key of the node: the log itself is sound."""
    node = world.uy

    def write(*numbers: str) -> None:
        with recording(node) as log:
            for number in numbers:
                ask(log, found(number, (3, RECORD)))
            log.take_over()

    write("1", "2", "3")
    node.settle(CommitHead(is_last=True))
    assert node.findings() == []
    for others, told in ((("1",), "it was shortened, or put back"), (("1", "2", "4"), "which were others")):
        with node.parts.database.write() as connection:
            for table in ("access_body", "access_told", "access_state", "access_segment"):
                connection.execute(text(f"DELETE FROM {table}"))
            for table in ("log_entry", "log_tile", "log_head"):
                connection.execute(text(f"DELETE FROM {table} WHERE log = -1"))
        write(*others)
        [finding] = node.findings()
        assert finding.log == access_origin(node.parts.settings.name)
        assert told in finding.what


def test_a_file_of_reads_is_taken_over_once_whenever_the_process_dies(world: World, tmp_path: Path) -> None:
    node = world.uy
    with recording(node) as log:
        log._folding.acquire()
        ask(log, found(TIN, (3, RECORD)))
        ask(log, found(SECOND, (3, OTHER)))
        [file] = (node.home / journal.FOLDER).glob("*.reads")
        shutil.copy(file, tmp_path / file.name)
        log._folding.release()
        log.take_over()
        assert not file.exists()
    # As if it had died behind the transaction, before the file was gone.
    shutil.copy(tmp_path / file.name, file)
    with recording(node) as log:
        log.take_over()
        assert not file.exists()
    assert len(page(node)) == 2
    # As if it had died before it: another file of the same content, that the store does not know.
    shutil.copy(tmp_path / file.name, file.with_name("left" + file.suffix))
    with recording(node):
        pass
    assert len(page(node)) == 4
    assert node.findings() == []


def test_what_a_loss_of_power_left_of_a_read_is_set_aside(world: World, tmp_path: Path) -> None:
    node = world.uy
    with recording(node) as log:
        log._folding.acquire()
        ask(log, found(TIN, (3, RECORD)))
        ask(log, found(SECOND, (3, OTHER)))
        [file] = (node.home / journal.FOLDER).glob("*.reads")
        shutil.copy(file, tmp_path / file.name)
        log._folding.release()
        log.take_over()
    torn = (tmp_path / file.name).read_bytes()[:-10]
    file.with_name("torn" + file.suffix).write_bytes(torn + bytes(100))
    with recording(node):
        pass
    assert len(page(node)) == 3
    assert len(list((node.home / journal.FOLDER).glob("*.damaged"))) == 1
    assert node.findings() == []


def test_several_processes_write_one_chain(world: World) -> None:
    with recording(world.uy) as one, recording(world.uy) as other:
        for _ in range(3):
            for log in (one, other):
                ask(log, found(TIN, (3, RECORD)))
                log.take_over()
    assert size(world.uy) == 6
    assert world.uy.findings() == []


def test_nothing_is_told_when_the_store_takes_nothing_for_too_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "BACKLOG_BYTES", 3_000)
    with recording(world.uy) as log:
        with log._folding:
            ask(log, found(TIN, (3, RECORD)))
            log_bytes = log.waiting_bytes
        log.take_over()
        with log._folding:
            for _ in range(3_000 // log_bytes):
                ask(log, found(TIN, (3, RECORD)))
            with pytest.raises(Busy, match="cannot be recorded, so nothing is told"):
                ask(log, found(TIN, (3, RECORD)))
        log.take_over()
        assert size(world.uy) == 1 + 3_000 // log_bytes
        ask(log, found(TIN, (3, RECORD)))


def test_a_read_that_the_disk_does_not_take_whole_leaves_nothing_of_itself(world: World) -> None:
    """A limit on the size of files stands for a full disk: of the last record a part is written."""
    begun = resource.getrlimit(resource.RLIMIT_FSIZE)
    with recording(world.uy) as log, log._folding:
        ask(log, found(TIN, (3, RECORD)))
        [file] = (world.uy.home / journal.FOLDER).glob("*.reads")
        whole = file.stat().st_size
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 100, begun[1]))
        try:
            with pytest.raises(Busy, match="File too large"):
                ask(log, found(TIN, (3, RECORD)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, begun)
            signal.signal(signal.SIGXFSZ, before)
        assert file.stat().st_size == whole
        ask(log, found(SECOND, (3, OTHER)))
    assert size(world.uy) == 2
    assert world.uy.findings() == []


def test_an_issuer_can_be_told_what_was_read_of_its_records_and_not_by_whom(world: World) -> None:
    with recording(world.uy) as log:
        ask(log, found(TIN, (3, RECORD)), found(SECOND, (4, OTHER)), kind="list", why=Why("risk", "7"))
        ask(log, found(UNKNOWN))
        ask(log, found(TIN, (3, RECORD)), why=Why("Sra. Oculta asked me to"))
        ask(log, found(TIN, (3, RECORD)), kind="access")
        ask(log, found(TIN, (3, RECORD)))
        log.take_over()
    with world.uy.parts.database.read() as connection:
        told = [
            reading_access.reads_of(world.uy.parts, connection, 3, *of) for of in ((0, 4), (4, 5), (5, 9))
        ]
    assert told[0] == {(RECORD, "list", "RISK"): 1, (RECORD, "lookup", "OTHER"): 1}
    assert told[1:] == [{(RECORD, "lookup", "NONE"): 1}, {}]


def test_the_log_is_read_with_a_store_key_that_came_after_it(world: World) -> None:
    node = world.uy
    with recording(node) as log:
        ask(log, found(TIN, (3, RECORD)))
        log.take_over()
    keys.rotate(node.home / "keys", "store")
    both = replace(node.parts, keys=keys.load(node.parts.settings.keys, node.home))
    rewrapping.rewrap(both, lambda *told: None)
    newest = replace(both, keys=replace(both.keys, store=both.keys.store[:1]))
    with newest.database.read() as connection:
        [entry] = reading_access.page(newest, connection, Filter(), None, 10)["entries"]
    assert entry["questions"][0]["asked"] == TIN
    assert [each for each in check(newest) if "access" in each.log] == []


def test_text_that_is_no_unicode_is_recorded_as_far_as_it_is(world: World) -> None:
    with recording(world.uy) as log:
        ask(log, found("half \ud800 a pair", (3, RECORD)), ("\ud800", [], True))
        log.take_over()
    assert page(world.uy)[0]["questions"][0]["asked"] == "half ? a pair"
    assert world.uy.findings() == []


def test_the_end_of_a_node_does_not_wait_for_a_store_that_stands_still(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read stays in its file, and is taken over at the next start."""
    monkeypatch.setattr(access_log, "STOP_S", 0.2)
    with recording(world.uy) as access:
        ask(access, found(TIN))
        access.take_over()
    with recording(world.uy) as access, writing(world.uy):
        ask(access, found(SECOND))
        begun_s = time.monotonic()
        access.stop()
        assert time.monotonic() - begun_s < 15, "a writer waits for another twice as long"
        assert len(page(world.uy)) == 1
    with recording(world.uy) as access:
        access.take_over()
    assert len(page(world.uy)) == 2
