"""The promises of the store, for every kind of database that a node may run on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, event, func, inspect, make_url, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import SQLModel

from clients.bench.postgres import Server
from node.errors import Busy, Conflict, Damaged
from node.ledger.merkle import EMPTY_ROOT
from node.service.mirror import decided_on
from node.store import access, agreements, channels, database, incidents, logs, records, tables
from node.store.channels import StoredChannel, StoredEpoch
from node.store.database import Database, add, put, table
from node.store.logs import Head
from node.store.tables import Change, ChannelView, Decision, LogEntry, LogHead, Record, RecordVersion, Token

TIME = "2026-11-22T12:00:00.000Z"
WAIT_S = 10

Open = Callable[[], Database]


def sqlite(folder: Path) -> Database:
    return Database("sqlite:///store.sqlite", folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the store of this test, as another process would, as often as it is called."""
    found: list[Database] = []
    kinds = {"sqlite": lambda: "sqlite:///store.sqlite"}
    kinds["postgresql"] = lambda: request.getfixturevalue("postgres").create()
    url = kinds[request.param]()

    def again() -> Database:
        found.append(Database(url, tmp_path))
        return found[-1]

    yield again
    for each in found:
        each.close()
    if request.param == "postgresql":
        request.getfixturevalue("postgres").drop(url)


@pytest.fixture
def store(opened: Open) -> Database:
    """A migrated, empty store."""
    fresh = opened()
    fresh.migrate()
    return fresh


def head(log: int = 0, size: int = 0, checkpoint: str = "c") -> Head:
    return Head(log, f"origin {log}", size, bytes([size]) * 32, b"l" * 32, TIME, checkpoint)


def begun(store: Database) -> None:
    with store.write() as connection:
        logs.begin(connection, "origin 0", EMPTY_ROOT, TIME, "c", 0)


def count(connection: Connection, model: type[SQLModel]) -> int:
    return int(connection.execute(select(func.count()).select_from(table(model))).scalar_one())


class FailureError(Exception):
    """What goes wrong in the middle of a write."""


def test_the_migrated_schema_is_the_one_the_classes_describe(store: Database) -> None:
    with store.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
        present = set(inspect(connection).get_table_names())
    assert present == {*SQLModel.metadata.tables, "alembic_version"}


def test_the_comparison_sees_a_column_that_was_forgotten(store: Database) -> None:
    with store.write() as connection:
        connection.execute(text("ALTER TABLE token ADD COLUMN forgotten TEXT"))
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata)


def test_migrating_twice_changes_nothing(store: Database) -> None:
    begun(store)
    store.migrate()
    with store.read() as connection:
        assert logs.head(connection, 0) is not None


def test_an_older_store_is_brought_to_what_a_new_one_would_hold(opened: Open) -> None:
    store, config = opened(), Config()
    config.set_main_option("script_location", str(database.MIGRATIONS))
    known = {"tin": "BR1", "status": "ACTIVE", "status_since": TIME, "scope": ["SECURITY", "COMPLIANCE"]}
    rows = [(log, f"r{number}", orjson.dumps(known)) for log in (1, 2) for number in range(1500)]
    rows += [(1, "gone", None), (3, "dated", orjson.dumps(known | {"valid_to": "2029-01-01"}))]
    with store.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.execute(
            text("INSERT INTO mirror VALUES (:log, :record_id, 0, :fields, 0, 'c', NULL)"),
            [dict(zip(("log", "record_id", "fields"), row, strict=True)) for row in rows],
        )
    store.migrate()
    with store.read() as connection:
        found = channels.mirrored(connection, [row[:2] for row in rows])
    assert len(found) == len(rows)
    for row in found.values():
        fields = None if row.fields is None else orjson.loads(row.fields)
        assert row._asdict().items() >= decided_on(fields).items()
    assert (found[2, "r1499"].scope, found[3, "dated"].valid_to) == ("SECURITY COMPLIANCE", "2029-01-01")


def test_what_was_written_is_there_when_the_store_is_opened_again(store: Database, opened: Open) -> None:
    begun(store)
    with opened().read() as connection:
        assert logs.head(connection, 0) == Head(0, "origin 0", 0, EMPTY_ROOT, None, TIME, "c")


def test_a_head_moves_only_from_where_its_writer_saw_it(store: Database) -> None:
    begun(store)
    with store.write() as connection:
        logs.advance(connection, 0, head(size=3))
    with pytest.raises(Conflict, match="another writer"), store.write() as connection:
        logs.advance(connection, 0, head(size=4))
    with store.read() as connection:
        assert logs.head(connection, 0) == head(size=3)


def test_two_writers_that_saw_the_same_head_never_both_move_it(store: Database, opened: Open) -> None:
    begun(store)
    others = [opened() for _ in range(4)]
    outcomes: list[str] = []

    def move(own: Database, number: int) -> None:
        try:
            with own.write() as connection:
                logs.advance(connection, 0, head(size=1, checkpoint=str(number)))
            outcomes.append(f"moved {number}")
        except Conflict:
            outcomes.append("refused")

    together([lambda n=n, own=own: move(own, n) for n, own in enumerate(others)])
    moved = [outcome for outcome in outcomes if outcome != "refused"]
    assert (len(moved), outcomes.count("refused")) == (1, 3)
    with store.read() as connection:
        kept = logs.head(connection, 0)
    assert kept is not None
    assert f"moved {kept.checkpoint}" == moved[0]


def test_the_head_of_an_unknown_log_cannot_be_moved(store: Database) -> None:
    with pytest.raises(Conflict), store.write() as connection:
        logs.advance(connection, 0, head(log=7, size=1))


def fail_in_the_middle(store: Database) -> None:
    with store.write() as connection:
        logs.add_entries(connection, 0, 0, [b"a", b"b"])
        logs.advance(connection, 0, head(size=2))
        raise FailureError


def test_a_write_that_fails_leaves_nothing(store: Database) -> None:
    begun(store)
    with pytest.raises(FailureError):
        fail_in_the_middle(store)
    with store.read() as connection:
        assert count(connection, LogEntry) == 0
        assert logs.head(connection, 0) == Head(0, "origin 0", 0, EMPTY_ROOT, None, TIME, "c")
    with store.write() as connection:
        logs.add_entries(connection, 0, 0, [b"a"])


def test_an_entry_is_never_written_over(store: Database) -> None:
    with store.write() as connection:
        logs.add_entries(connection, 0, 0, [b"first"])
    with pytest.raises(IntegrityError), store.write() as connection:
        logs.add_entries(connection, 0, 0, [b"second"])
    with store.read() as connection:
        assert logs.entries(connection, 0, 0, 5) == [b"first"]


def test_a_reader_sees_one_state_from_its_first_look_to_its_last(store: Database) -> None:
    begun(store)
    with store.read() as reader:
        before = logs.head(reader, 0)
        with store.write() as writer:
            logs.advance(writer, 0, head(size=1))
            logs.add_entries(writer, 0, 0, [b"new"])
        assert logs.head(reader, 0) == before
        assert logs.entries(reader, 0, 0, 9) == []
    with store.read() as reader:
        assert logs.head(reader, 0) == head(size=1)


def test_a_glance_sees_the_newest_state_with_each_statement(store: Database) -> None:
    begun(store)
    with store.glance() as reader:
        assert logs.entries(reader, 0, 0, 9) == []
        with store.write() as writer:
            logs.add_entries(writer, 0, 0, [b"new"])
        assert logs.entries(reader, 0, 0, 9) == [b"new"]


def test_nobody_sees_a_write_before_it_is_whole(store: Database) -> None:
    with store.write() as writer:
        logs.add_entries(writer, 0, 0, [b"half"])
        with store.read() as reader, store.glance() as glance:
            assert logs.entries(reader, 0, 0, 9) == logs.entries(glance, 0, 0, 9) == []


def test_one_writer_at_a_time(store: Database, opened: Open) -> None:
    own = [store, store, opened()]
    inside, most = [0], [0]
    lock = threading.Lock()

    def write(database: Database, number: int) -> None:
        for turn in range(5):
            with database.write() as connection:
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                seen = count(connection, LogEntry)
                logs.add_entries(connection, number, turn, [b"%d" % seen])
                with lock:
                    inside[0] -= 1

    together([lambda n=n, d=d: write(d, n) for n, d in enumerate(own)])
    assert most == [1]
    with store.read() as connection:
        seen = [int(entry) for log in range(3) for entry in logs.entries(connection, log, 0, 9)]
    assert sorted(seen) == list(range(15)), "each writer saw all that was written before it"


def test_a_writer_that_waits_too_long_is_told_that_the_store_is_busy(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WRITER_WAIT_S", 0.05)
    with store.write(), pytest.raises(Busy), store.write():
        raise AssertionError("two writers at once")
    with store.write() as connection:
        logs.add_entries(connection, 0, 0, [b"free again"])


def test_readers_do_not_wait_for_a_writer(store: Database) -> None:
    begun(store)
    with store.write() as connection:
        logs.advance(connection, 0, head(size=1))
        done: list[int] = []

        def look() -> None:
            with store.read() as reader:
                found = logs.head(reader, 0)
            assert found is not None
            done.append(found.size)

        together([look])
    assert done == [0]


def test_put_replaces_and_add_refuses(store: Database) -> None:
    row = {"log": 1, "record_id": "r", "digest": b"one", "seq": 1}
    with store.write() as connection:
        channels.add_channel(connection, StoredChannel(1, "a", "BR", "UY", "", ""))
        put(connection, ChannelView, [row])
        put(connection, ChannelView, [row | {"digest": b"two", "seq": 2}])
        assert channels.views(connection, ["r"]) == {(1, "r"): b"two"}
        put(connection, ChannelView, [])
        add(connection, ChannelView, [])
    with pytest.raises(IntegrityError), store.write() as connection:
        add(connection, ChannelView, [row])
    with store.read() as connection:
        assert channels.views(connection, ["r", "unknown"]) == {(1, "r"): b"two"}


def test_a_refused_put_of_many_rows_keeps_none(store: Database) -> None:
    good = {"token": "t", "role": "reader", "label": "l", "secret_hash": b"h", "created_at": TIME}
    good |= {"expires_at": None, "revoked_at": None}
    with pytest.raises(IntegrityError), store.write() as connection:
        put(connection, Token, [good, good | {"token": "u", "secret_hash": None}])
    with store.read() as connection:
        assert access.tokens(connection) == []


# Queries


def test_entries_and_tiles_come_back_by_their_place(store: Database) -> None:
    with store.write() as connection:
        logs.add_entries(connection, 0, 0, [b"0", b"1", b"2"])
        logs.add_entries(connection, 1, 0, [b"other log"])
        logs.put_tiles(connection, 0, {(0, 0): b"short", (1, 0): b"level 1"})
        logs.put_tiles(connection, 0, {(0, 0): b"longer"})
    with store.read() as connection:
        assert logs.entries(connection, 0, 1, 3) == [b"1", b"2"]
        assert logs.entries(connection, 0, 3, 3) == []
        assert logs.tile(connection, 0, 0, 0) == b"longer"
        assert logs.tile(connection, 1, 0, 0) is None
        read = logs.tile_reader(connection, 0)
        assert read(1, 0) == b"level 1"
        with pytest.raises(Damaged, match="tile is missing"):
            read(0, 1)
        with pytest.raises(Damaged, match="body"):
            logs.body(connection, 5)


def test_each_log_has_a_number_and_an_origin_of_its_own(store: Database) -> None:
    with store.write() as connection:
        numbers = [
            logs.begin(connection, f"log {n}", EMPTY_ROOT, TIME, "c", 0 if n == 0 else None)
            for n in (0, 1, 2)
        ]
        assert numbers == [0, 1, 2]
        found = logs.head_of(connection, "log 1")
        assert found is not None
        assert (found.log, logs.head_of(connection, "log 9")) == (1, None)
    with pytest.raises(IntegrityError), store.write() as connection:
        logs.begin(connection, "log 1", EMPTY_ROOT, TIME, "c")


def test_versions_of_a_record_come_newest_or_all(store: Database) -> None:
    with store.write() as connection:
        for record, tin, newest in (("a", "BR1", 2), ("b", "BR2", 1)):
            put(
                connection,
                Record,
                [{"record_id": record, "tin": tin, "version": newest, "wrapped_key": b"k"}],
            )
        add(
            connection,
            RecordVersion,
            [
                {"record_id": record, "version": version, "ledger_seq": seq, "sealed": b"%d" % seq}
                for record, version, seq in (("a", 1, 1), ("b", 1, 2), ("a", 2, 3))
            ],
        )
    with store.read() as connection:
        newest = records.newest_by_tin(connection, ["BR1", "BR2", "BR3"])
        assert {tin: each.ledger_seq for tin, each in newest.items()} == {"BR1": 3, "BR2": 2}
        assert [each.version for each in records.versions(connection, "a")] == [1, 2]
        behind = records.versions_behind(connection, 1, 3)
        assert [(each.ledger_seq, named, last) for each, named, last in behind] == [
            (1, 2, False),
            (2, 1, True),
        ]
        assert [each.record_id for each in records.newest_after(connection, "", 1)] == ["a"]
        assert [each.record_id for each in records.newest_after(connection, "a", 9)] == ["b"]
        assert records.newest(connection, ["c"]) == []
        assert records.tins_after(connection, "BR1", 9) == ["BR2"]
        assert records.count(connection) == 2
    trader = {"record_id": "t", "tin": "BR0", "version": 1, "wrapped_key": b"k", "kind": "trader"}
    with store.write() as connection:
        put(connection, Record, [trader])
    with store.read() as connection:
        told = {kind: records.tins_after(connection, "", 9, kind) for kind in (None, "operator", "trader")}
        assert told == {None: ["BR0", "BR1", "BR2"], "operator": ["BR1", "BR2"], "trader": ["BR0"]}
        assert [records.count(connection, kind) for kind in told] == [3, 2, 1]
    with pytest.raises(IntegrityError), store.write() as connection:
        put(connection, Record, [{"record_id": "z", "tin": "BR1", "version": 1, "wrapped_key": b"k"}])


def test_the_index_finds_by_any_identifier_and_forgets_what_was_replaced(store: Database) -> None:
    def entry(*identifiers: tuple[str, str]) -> dict[str, object]:
        return {"identifiers": list(identifiers), "name": "N", "folded": "n"}

    with store.write() as connection:
        records.index(connection, 0, {"a": entry(("TIN", "BR1"), ("CNPJ", "1"), ("CNPJ", "1"))})
        records.index(connection, 4, {"u": entry(("RUT", "1"))})
        assert sorted(records.find(connection, ["1"])) == [("1", "CNPJ", 0, "a"), ("1", "RUT", 4, "u")]
        assert records.find(connection, ["1"], "RUT") == [("1", "RUT", 4, "u")]
        records.index(connection, 0, {"a": entry(("TIN", "BR1"))})
        assert records.find(connection, ["1"]) == [("1", "RUT", 4, "u")]
        assert records.names(connection, 9) == [(0, "a", "N", "n"), (4, "u", "N", "n")]
        records.clear_index(connection, 4, ["u"])
        assert records.find(connection, ["1"]) == []


def filled(store: Database, count: int) -> None:
    """Mirrored operators, each with a TIN and an identifier of its own."""
    shared = {"log": 1, "fields": b"{}", "ledger_seq": 0, "credential": "c", "doubt": None, "tin": None}
    shared |= {"status": None, "status_since": None, "valid_to": None, "programme": None, "scope": None}
    index = {
        f"r{number}": {
            "identifiers": [("TIN", f"T{number}"), ("CNPJ", f"C{number}")],
            "name": "",
            "folded": "",
        }
        for number in range(count)
    }
    with store.write() as connection:
        rows = [shared | {"record_id": record_id, "seq": seq} for seq, record_id in enumerate(index)]
        channels.put_mirror(connection, rows, [])
        records.index(connection, 1, index, set(index))
        if connection.dialect.name == "postgresql":
            connection.execute(text("ANALYZE"))


def plan(connection: Connection, statement: str, values: object) -> str:
    """How the database would find the rows of a statement."""
    how = "EXPLAIN" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    cursor = connection.connection.cursor()
    cursor.execute(f"{how} {statement}", values)
    return "\n".join(str(row[-1]) for row in cursor.fetchall())


@pytest.mark.parametrize("scheme", [None, "TIN"])
@pytest.mark.parametrize("asked", [1, 100])
def test_a_lookup_is_one_statement_that_goes_by_indexes(
    store: Database, asked: int, scheme: str | None
) -> None:
    filled(store, 20_000)
    asks, sent = [f"T{number}" for number in range(asked)], list[tuple[str, object]]()
    with store.read() as connection, pytest.MonkeyPatch.context() as patched:
        honest = database.Prepared.each

        def noted(self: database.Prepared, to: Connection, values: dict[str, object]) -> object:
            written, names, fixed = self._write(to)
            given = fixed | values
            sent.append((written, given if names is None else [given[name] for name in names]))
            return honest(self, to, values)

        patched.setattr(database.Prepared, "each", noted)
        found = list(channels.look_up(connection, asks, scheme))
        assert sorted(hit[0] for hit in found) == sorted(asks)
        assert all(hit[3] is not None and hit[3].record_id == hit[2] for hit in found)
        [told] = [plan(connection, *each) for each in sent]
    scans = ("Seq Scan", "SCAN operator_identifier", "SCAN mirror")
    assert not any(scan in told for scan in scans), told


def test_a_lookup_finds_what_carries_a_number_and_nothing_else(store: Database) -> None:
    filled(store, 10)
    with store.read() as connection:
        assert {hit[:3] for hit in channels.look_up(connection, ["T1", "C2", "T99"])} == {
            ("T1", 1, "r1"),
            ("C2", 1, "r2"),
        }
        assert [hit[2] for hit in channels.look_up(connection, ["T1", "C2"], "CNPJ")] == ["r2"]
        for asked in (["T1\0"], ["T1\0", "T2\0x"], []):
            assert list(channels.look_up(connection, asked)) == []
        assert list(channels.look_up(connection, ["T1"], "TIN\0")) == []


def test_names_are_found_by_their_pieces_those_with_most_of_them_first(store: Database) -> None:
    folded = {"a": "alfa norte", "b": "beta", "c": "alfa 100_ beta", "d": "gama"}
    index = {each: {"identifiers": [], "name": name, "folded": name} for each, name in folded.items()}
    with store.write() as connection:
        records.index(connection, 1, index)

    def found(*pieces: str, limit: int = 9) -> list[str]:
        with store.read() as connection:
            return [row[1] for row in records.names_with(connection, pieces, limit)]

    assert found("beta", "alfa") == ["c", "a", "b"]
    assert found("beta", "alfa", limit=1) == ["c"]
    assert (found("norte"), found("10__"), found("zeta"), found()) == (["a"], [], [], [])


def test_channels_epochs_and_views(store: Database) -> None:
    with store.write() as connection:
        new = StoredChannel(3, "agreement", "BR", "UY", "", "")
        channels.add_channel(connection, new)
        channels.set_line(connection, 3, "IN_OPERATION", "2026-11-22")
        moved = replace(new, state="IN_OPERATION", day="2026-11-22")
        assert channels.channels(connection) == [moved]
        assert channels.channel(connection, "agreement", "BR", "UY") == moved
        assert channels.channel(connection, "agreement", "UY", "BR") is None
        for epoch in (1, 2):
            channels.add_epoch(connection, StoredEpoch(3, epoch, b"w", None))
        assert channels.newest_epoch(connection, 3) == StoredEpoch(3, 2, b"w", None)
        assert set(channels.epochs(connection, 3, [1, 7])) == {1}
        put(
            connection,
            ChannelView,
            [{"log": 3, "record_id": r, "digest": d, "seq": 0} for r, d in (("a", b"d"), ("b", None))],
        )
        assert channels.shared_count(connection, 3) == 1
    with pytest.raises(IntegrityError), store.write() as connection:
        channels.add_channel(connection, StoredChannel(4, "agreement", "BR", "UY", "", ""))


def test_the_newest_decision_is_the_one_that_counts(store: Database) -> None:
    base = {"log": 1, "version": 1, "day": "2026-11-22", "contract": "c", "terms": "t", "input": "i"}
    with store.write() as connection:
        for record, answer in (("a", "first"), ("b", "other"), ("c", "second"), ("a", "second")):
            add(connection, Decision, [base | {"record_id": record, "answer": answer}])
        add(connection, Decision, [base | {"log": 2, "record_id": "a", "answer": "third"}])
        assert channels.newest_answer_counts(connection, 1) == {"second": 2, "other": 1}
        assert channels.newest_answer_counts(connection, 3) == {}
        assert channels.newest_answers(connection, 1, ["a", "z"]) == {"a": "second"}


def test_an_incident_seen_again_is_one_incident_and_reopens(store: Database) -> None:
    row = {"peer": "p", "log": 1, "seq": 4, "kind": "missing", "detail": "d", "evidence": b"e"}
    row |= {
        "evidence_digest": "same",
        "record_id": None,
        "first_seen": "t1",
        "last_seen": "t1",
        "closed": None,
    }
    with store.write() as connection:
        incidents.note(connection, row)
        assert incidents.close_kinds(connection, "p", 1, ["missing"], "t2") == 1
        assert incidents.close_kinds(connection, "p", 1, ["missing"], "t2") == 0
        assert incidents.listed(connection, only_open=True) == []
        incidents.note(connection, row | {"last_seen": "t3", "detail": "again"})
        [found] = incidents.listed(connection, only_open=True)
        assert (found["first_seen"], found["last_seen"], found["detail"]) == ("t1", "t3", "again")
        for peer, log, seq in (("p", 1, 2), ("p", 2, 1), ("q", 1, 1)):
            incidents.note(connection, row | {"peer": peer, "log": log, "seq": seq})
        about = incidents.still_open(connection, "p", 1)
        assert [(each["peer"], each["log"], each["seq"]) for each in about] == [("p", 1, 2), ("p", 1, 4)]
        assert incidents.close_kinds(connection, "p", 2, ["missing"], "t4") == 1
        incidents.note(connection, row | {"evidence_digest": "another"})
        assert len(incidents.listed(connection, only_open=False)) == 5


def test_closed_incidents_make_room_and_open_ones_without_room_are_counted(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incidents, "INCIDENTS_LIMIT", 3)
    row = {"peer": "p", "log": 1, "kind": "invalid", "detail": "d", "evidence": b"e", "record_id": None}
    row |= {"evidence_digest": "same", "first_seen": "t1", "last_seen": "t1", "closed": None}
    with store.write() as connection:
        incidents.note_all(connection, [row | {"seq": seq} for seq in range(3)])
        [first, *_] = incidents.still_open(connection, "p", 1)
        assert incidents.close(connection, first["incident"], "t2")
        incidents.note_all(connection, [row | {"seq": seq} for seq in (3, 4, 5)])
        apart, counted = incidents.set_apart(connection, "p", 1)
        assert ([each.seq for each in apart], counted) == ([1, 2, 3], 3)
        told = [(each["seq"], each["detail"]) for each in incidents.still_open(connection, "p", 1)]
        assert told[0] == (incidents.FOLDED, "3 more entries of this channel failed: not kept singly")
        assert channels.undecided(connection, 1, 0) == []


def test_numbers_of_the_change_feed_are_never_given_twice(store: Database) -> None:
    row = {"log": 0, "record_id": "r", "tin": "t", "kind": "recorded", "time": TIME}
    with store.write() as connection:
        add(connection, Change, [row, row])
        assert channels.newest_change(connection) == 2
        connection.execute(table(Change).delete())
        add(connection, Change, [row])
        assert [each["change"] for each in channels.changes_after(connection, 0, 9)] == [3]
        assert channels.changes_after(connection, 3, 9) == []


def test_every_write_about_an_agreement_moves_the_revision(store: Database) -> None:
    with store.write() as connection:
        revisions = [agreements.rev(connection)]
        agreements.add_document(connection, "a", b"text")
        revisions.append(agreements.rev(connection))
        agreements.add_act(connection, "act", "a", b"content")
        revisions.append(agreements.rev(connection))
        agreements.put_signature(connection, "act", "BR", "s")
        revisions.append(agreements.rev(connection))
        agreements.put_receipt(connection, "act", "UY", "r")
        revisions.append(agreements.rev(connection))
        agreements.set_ledger_seq(connection, "act", 7)
        revisions.append(agreements.rev(connection))
        assert revisions == sorted(set(revisions))
        [act] = agreements.acts(connection)
        assert (act.signatures, act.receipts, act.ledger_seq) == ({"BR": "s"}, {"UY": "r"}, 7)
        assert agreements.documents(connection) == {"a": b"text"}


def test_a_token_is_revoked_once_and_an_answer_belongs_to_one_caller(store: Database) -> None:
    token = {"token": "t", "role": "reader", "label": "l", "secret_hash": b"h", "created_at": TIME}
    answer = {"caller": "c", "key": "k", "request": b"r", "answer": b"a", "time": TIME}
    with store.write() as connection:
        access.add_token(connection, token | {"expires_at": None, "revoked_at": None})
        assert access.revoke_token(connection, "t", TIME)
        assert not access.revoke_token(connection, "t", TIME)
        assert not access.revoke_token(connection, "unknown", TIME)
        assert access.token(connection, "unknown") is None
        access.remember_answers(connection, [answer])
        assert access.answered(connection, "c", "k") == (b"r", b"a")
        assert access.answered(connection, "another", "k") is None
        access.forget_answers(connection, TIME)
        assert access.answered(connection, "c", "k") is not None
        access.forget_answers(connection, "2026-11-22T12:00:00.001Z")
        assert access.answered(connection, "c", "k") is None


# SQLite's own


@pytest.fixture
def file(tmp_path: Path) -> Database:
    """A migrated SQLite store."""
    fresh = sqlite(tmp_path)
    fresh.migrate()
    return fresh


@pytest.mark.parametrize("way", ["read", "glance", "write"])
def test_sqlite_is_durable_on_every_connection(file: Database, way: str) -> None:
    for _ in range(2):
        with getattr(file, way)() as connection:
            found = {
                name: pragma(connection, name) for name in ("journal_mode", "synchronous", "secure_delete")
            }
            assert found == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}
            assert pragma(connection, "foreign_keys") == 1
            assert int(str(pragma(connection, "busy_timeout"))) >= 1000


def test_sqlite_takes_the_writers_lock_at_once(file: Database, tmp_path: Path) -> None:
    other = sqlite(tmp_path)
    with file.write(), other.read() as connection:
        connection.execute(text("PRAGMA busy_timeout=0"))
        with pytest.raises(OperationalError, match="locked"):
            add(connection, LogHead, [vars_of(head())])


def test_sqlite_keeps_the_physical_form_of_its_tables(file: Database) -> None:
    with file.read() as connection:
        made = dict(connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type='table'")).all())
    without_rowid = {name for name, sql in made.items() if "WITHOUT ROWID" in sql}
    counted = {name for name, sql in made.items() if "AUTOINCREMENT" in sql}
    described = SQLModel.metadata.tables.items()
    assert without_rowid == {n for n, t in described if t.dialect_options["sqlite"]["with_rowid"] is False}
    assert counted == {n for n, t in described if t.dialect_options["sqlite"]["autoincrement"]}
    assert ("log_entry" in without_rowid, "change" in counted) == (True, True)


def test_a_relative_sqlite_path_lies_in_the_home_folder(tmp_path: Path) -> None:
    assert Database("sqlite:///x.sqlite", tmp_path).url.database == str(tmp_path / "x.sqlite")
    assert Database("sqlite:////elsewhere/x.sqlite", tmp_path).url.database == "/elsewhere/x.sqlite"


def test_every_class_of_the_store_is_a_table() -> None:
    described = {c.__tablename__ for c in vars(tables).values() if hasattr(c, "__table__")}
    assert described == set(SQLModel.metadata.tables)


def pragma(connection: Connection, name: str) -> object:
    return connection.execute(text(f"PRAGMA {name}")).scalar_one()


def vars_of(kept: Head) -> dict[str, object]:
    return {name: getattr(kept, name) for name in Head.__slots__}


@contextmanager
def no_error() -> Iterator[list[BaseException]]:
    """Collects what threads raise, and raises the first."""
    raised: list[BaseException] = []
    yield raised
    if raised:
        raise raised[0]


def together(acts: list[Callable[[], object]]) -> None:
    """Run acts in threads that begin at the same moment; each must end."""
    gate = threading.Barrier(len(acts))
    with no_error() as raised:

        def run(act: Callable[[], object]) -> None:
            try:
                gate.wait(WAIT_S)
                act()
            except BaseException as error:  # noqa: BLE001  # raised again in the test's own thread
                raised.append(error)

        threads = [threading.Thread(target=run, args=(act,), daemon=True) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()


def test_more_values_than_one_statement_takes_are_all_looked_for(store: Database) -> None:
    numbers = [{"value": f"V{at}", "scheme": "TIN", "log": 0, "record_id": f"r{at}"} for at in range(600)]
    with store.write() as connection:
        add(connection, tables.OperatorIdentifier, numbers)
    with store.read() as connection:
        found = records.indexed(connection, 0, [f"r{at}" for at in range(600)])
        assert records.indexed(connection, 0, []) == {}
    assert found == {f"r{at}": ({("TIN", f"V{at}")}, None) for at in range(600)}


def test_nothing_is_committed_while_readers_begin(store: Database, opened: Open) -> None:
    other, written = opened(), threading.Event()

    def write() -> None:
        with other.write() as connection:
            add(connection, LogHead, [vars_of(head())])
        written.set()

    with store.still():
        writer = threading.Thread(target=write)
        writer.start()
        assert not written.wait(0.3)
    assert written.wait(WAIT_S)
    writer.join()


def test_a_server_that_falls_silent_is_given_up_and_one_that_takes_writes_is_sought(
    postgres: Server, tmp_path: Path
) -> None:
    store = Database(postgres.create(), tmp_path)
    with store.glance() as connection:
        driver: Any = connection.connection.driver_connection
        told = driver.info.get_parameters()
    store.close()
    idle, interval, times = (int(told[f"keepalives_{each}"]) for each in ("idle", "interval", "count"))
    assert idle + interval * times <= 15
    assert int(told["tcp_user_timeout"]) <= 15_000
    assert told["target_session_attrs"] == "read-write"


UNSOUND = {
    "synchronous_commit": "ALTER DATABASE {} SET synchronous_commit = off",
    "collation": "",
    "server_encoding": "",
}


@pytest.mark.parametrize(
    ("where", "of"), [*((each, "LATIN1") for each in UNSOUND), ("server_encoding", "SQL_ASCII")]
)
def test_a_server_that_would_not_keep_a_ledger_is_refused_whenever_it_is_reached(
    postgres: Server, tmp_path: Path, where: str, of: str
) -> None:
    """A server that takes over may be set up otherwise than the first."""
    how = {
        "collation": " LOCALE_PROVIDER icu ICU_LOCALE 'en'",
        "server_encoding": f" LOCALE 'C' ENCODING '{of}'",
    }
    url = postgres.create("TEMPLATE template0" + how.get(where, ""))
    store = Database(url, tmp_path)
    if UNSOUND[where]:
        store.migrate()
        postgres.tell(UNSOUND[where].format(make_url(url).database))
        store.close()
    with pytest.raises(Damaged, match=f"not set up for a ledger \\({where}\\)"), store.read():
        pass
    store.close()


def test_the_notices_of_a_channel_are_found_without_reading_its_disclosures(store: Database) -> None:
    shared = {"log": 1, "time": TIME, "received_at": TIME, "body": b"{}"}
    rows = [shared | {"seq": seq, "record_id": f"r{seq}", "kind": "disclosure"} for seq in range(5_000)]
    rows[7] |= {"record_id": None, "kind": "notice"}
    rows[9] |= {"record_id": None, "kind": "notice"}
    with store.write() as connection:
        channels.put_mirror(connection, [], rows)
        if connection.dialect.name == "postgresql":
            connection.execute(text("ANALYZE"))
    sent = list[tuple[str, object]]()
    with store.read() as connection:
        noted = event.listens_for(connection, "before_cursor_execute")
        noted(lambda _connection, _cursor, statement, values, *_: sent.append((statement, values)))
        assert [each["seq"] for each in channels.notices(connection, 1)] == [9, 7]
    with store.read() as connection:
        assert "ix_mirror_version_record" in plan(connection, *sent[0])


def test_many_rows_at_a_time_are_stored_as_they_are(store: Database) -> None:
    text_, last = 'tab\t, \\N, \\., \n, \r, quote", é, 😀, NULL, ', 2**31 - 1
    rows = [
        {"log": 1, "seq": seq, "record_id": None if seq % 2 else text_, "kind": "disclosure"}
        | {"time": "", "received_at": TIME, "body": bytes(range(256)) if seq else b""}
        for seq in [*range(50), last]
    ]
    fed = [{"log": 1, "record_id": text_, "tin": str(seq), "kind": "k", "time": TIME} for seq in range(50)]
    with store.write() as connection:
        add(connection, tables.MirrorVersion, rows)
        add(connection, Change, fed)
    with store.read() as connection:
        found = connection.execute(select(table(tables.MirrorVersion)).order_by(text("seq"))).mappings()
        assert [dict(row) for row in found] == rows
        told = connection.execute(select(table(Change)).order_by(text("change"))).mappings()
        assert [{name: row[name] for name in fed[0]} for row in told] == fed
    with pytest.raises(Exception, match=r"(?i)unique"), store.write() as connection:
        add(connection, tables.MirrorVersion, rows)


def test_the_writer_goes_on_after_what_failed_and_what_was_given_up(store: Database) -> None:
    begun(store)
    with pytest.raises(IntegrityError), store.write() as connection:
        add(connection, LogHead, [vars_of(head())])
    with suppress(FailureError), store.write() as connection:
        logs.advance(connection, 0, head(size=1))
        raise FailureError
    with store.write() as connection:
        found = logs.head(connection, 0)
        assert found is not None
        assert found.size == 0
        logs.advance(connection, 0, head(size=1))
    with store.read() as connection:
        assert logs.head(connection, 0) == head(size=1)
