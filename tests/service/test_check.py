"""`aeo fsck`: one changed byte in any stored row is reported, and nothing is reported of a sound store."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from node.exchange import card, page
from node.service import reading_again
from node.service.batch import Batch
from node.service.check import check_start
from tests.service.stores import files_only
from tests.service.test_incoming import Liar
from tests.service.world import CNPJS, Node, World, open_node, operator, withdrawn

pytestmark = files_only

ONE, TWO = (f"BR{cnpj}" for cnpj in CNPJS[1:3])


@pytest.fixture
def lived(known: World) -> World:
    """Two nodes with some history in every table."""
    known.br.amend(ONE, legal_name="Nova S/A")
    known.br.amend(TWO, mra_consent=withdrawn("2026-11-22"))
    known.exchange()
    return known


@dataclass(frozen=True)
class Row:
    """A stored value: table, column, and which row of it."""

    node: str
    table: str
    column: str
    where: str = "1"

    def __str__(self) -> str:
        return f"{self.node}: {self.table}.{self.column} where {self.where}"


OUT = "log = (SELECT log FROM channel WHERE issuer = 'BR')"
BACK = "log = (SELECT log FROM channel WHERE issuer = 'UY')"
COPY = "log = (SELECT log FROM log_head WHERE origin = 'aeo.br.example/ledger')"

ROWS = [
    Row("br", "log_entry", "entry", "log = 0 AND seq = 0"),
    Row("br", "log_entry", "entry", "log = 0 AND seq = 6"),
    Row("br", "log_entry", "entry", f"{OUT} AND seq = 2"),
    Row("br", "log_entry", "entry", f"{BACK} AND seq = 0"),
    Row("br", "log_tile", "hashes", "log = 0"),
    Row("br", "log_tile", "hashes", OUT),
    Row("br", "log_tile", "hashes", BACK),
    Row("br", "ledger_body", "sealed", "seq = 0"),
    Row("br", "ledger_body", "sealed", "seq = 2"),
    Row("br", "record_version", "sealed", "version = 1"),
    Row("br", "record_version", "sealed", "version = 2"),
    Row("br", "record", "wrapped_key"),
    Row("br", "channel_body", "sealed", f"{OUT} AND seq = 2"),
    Row("br", "channel_epoch", "wrapped", OUT),
    Row("br", "log_head", "root", "log = 0"),
    Row("br", "log_head", "root", OUT),
    Row("br", "log_head", "last_leaf", "log = 0"),
    Row("br", "log_head", "last_leaf", OUT),
    Row("br", "log_head", "checkpoint", "log = 0"),
    Row("br", "log_head", "checkpoint", OUT),
    Row("uy", "log_entry", "entry", f"{OUT} AND seq = 2"),
    Row("uy", "log_tile", "hashes", OUT),
    Row("uy", "log_head", "root", OUT),
    Row("uy", "log_head", "last_leaf", OUT),
    Row("uy", "log_head", "checkpoint", OUT),
    Row("uy", "log_head", "root", COPY),
    Row("uy", "log_head", "checkpoint", COPY),
    Row("uy", "mirror", "fields", "fields IS NOT NULL"),
    Row("uy", "mirror_version", "body", "seq = 5"),
]


def raw(node: Node) -> sqlite3.Connection:
    """The store's file, past the node's own code."""
    node.parts.database.close()
    return sqlite3.connect(node.home / "node.sqlite", isolation_level=None)


def node_of(world: World, name: str) -> Node:
    return world.br if name == "br" else world.uy


def write(node: Node, row: Row, change: Callable[[bytes], bytes]) -> tuple[bytes, bytes]:
    """Change one stored value in place; gives it before and after."""
    connection = raw(node)
    try:
        [(key, kind, value)] = connection.execute(
            f"SELECT {_keys(connection, row.table)}, typeof({row.column}), CAST({row.column} AS BLOB)"
            f" FROM {row.table} WHERE {row.where} LIMIT 1"
        ).fetchall()
        changed = change(value)
        connection.execute(
            f"UPDATE {row.table} SET {row.column} = CAST(? AS {kind})"
            f" WHERE {_keys(connection, row.table)} = ?",
            (changed, key),
        )
    finally:
        connection.close()
    return value, changed


def _keys(connection: sqlite3.Connection, table: str) -> str:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[5]]
    return " || '/' || ".join(columns)


def flipped(at: float) -> Callable[[bytes], bytes]:
    """Flip the lowest bit of the byte at this part of the value."""

    def change(value: bytes) -> bytes:
        place = min(int(at * len(value)), len(value) - 1)
        return value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]

    return change


def test_a_sound_store_reports_nothing(lived: World) -> None:
    for node in lived.nodes:
        assert node.findings() == []
        assert list(check_start(node.parts)) == []


def test_a_sound_store_reports_nothing_after_a_restart(known: World) -> None:
    assert raw(known.uy).execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert known.uy.findings() == []


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_one_flipped_bit_is_found_wherever_it_is(lived: World, row: Row) -> None:
    node = node_of(lived, row.node)
    for at in (0.0, 0.13, 0.37, 0.5, 0.71, 0.9, 1.0):
        before, after = write(node, row, flipped(at))
        assert before != after
        assert node.findings(), f"byte at {at} of {len(before)}"
        write(node, row, lambda _, before=before: before)
    assert node.findings() == []


DELETED = [
    Row("br", "log_entry", "entry", "log = 0 AND seq = 3"),
    Row("br", "log_entry", "entry", f"{OUT} AND seq = 1"),
    Row("br", "log_tile", "hashes", "log = 0"),
    Row("br", "ledger_body", "sealed", "seq = 1"),
    Row("br", "record_version", "sealed", "version = 1"),
    Row("br", "channel_body", "sealed", f"{OUT} AND seq = 3"),
    Row("br", "channel_epoch", "wrapped", OUT),
    Row("br", "log_head", "root", OUT),
    Row("uy", "log_entry", "entry", f"{OUT} AND seq = 1"),
    Row("uy", "mirror_version", "body", "seq = 5"),
    Row("br", "peer", "card"),
    Row("br", "log_head", "root", "log = 0"),
]


@pytest.mark.parametrize("row", DELETED, ids=str)
def test_a_deleted_row_is_found(lived: World, row: Row) -> None:
    connection = raw(node_of(lived, row.node))
    assert connection.execute(f"DELETE FROM {row.table} WHERE {row.where}").rowcount
    connection.close()
    node = node_of(lived, row.node)
    node.parts.peers.forget()
    assert node.findings()


def test_a_tombstone_made_of_a_disclosure_is_found(lived: World) -> None:
    connection = raw(lived.uy)
    assert connection.execute("UPDATE mirror SET fields = NULL WHERE fields IS NOT NULL").rowcount
    connection.close()
    assert lived.uy.findings()


@pytest.mark.parametrize("where", [OUT, COPY])
def test_a_proof_made_to_look_newer_than_it_is_is_found(lived: World, where: str) -> None:
    row = Row("uy", "log_head", "time", where)
    write(lived.uy, row, lambda value: value.replace(b"2026", b"2027"))
    assert lived.uy.findings()


def test_a_store_put_back_behind_its_own_checkpoint_is_found(lived: World) -> None:
    """Head and entries of an older state under a checkpoint that was given out since."""
    with lived.br.parts.database.read() as _:
        old = lived.br.ledger()
    lived.br.admit(operator(4))
    connection = raw(lived.br)
    connection.execute(
        "UPDATE log_head SET size = ?, root = ?, last_leaf = ? WHERE log = 0",
        (old.size, old.root, old.last_leaf),
    )
    connection.execute("DELETE FROM log_entry WHERE log = 0 AND seq >= ?", (old.size,))
    connection.execute("DELETE FROM record_version WHERE ledger_seq >= ?", (old.size,))
    connection.close()
    assert "the signed checkpoint is not that of the head" in {each.what for each in lived.br.findings()}
    assert list(check_start(lived.br.parts))


AT_THE_END = [row for row in ROWS if row.node == "br" and row.where.startswith("log = 0")]


@pytest.mark.parametrize("row", [row for row in AT_THE_END if row.table != "log_tile"], ids=str)
def test_the_quick_look_at_the_start_finds_what_stands_at_the_end(lived: World, row: Row) -> None:
    write(lived.br, row, flipped(0.5))
    assert list(check_start(lived.br.parts))


def test_another_nodes_keys_do_not_pass_for_the_own(lived: World) -> None:
    for name in ("log", "store", "credential"):
        mine, other = (node.home / "keys" / f"{name}.pem" for node in lived.nodes)
        kept = mine.read_bytes()
        mine.write_bytes(other.read_bytes())
        swapped = open_node(lived.br.home, lived.clock)
        assert swapped.findings(), name
        swapped.parts.database.close()
        mine.write_bytes(kept)


OTHER_SIGNATURE = "(SELECT signature FROM act_signature AS o WHERE o.country = act_signature.country"
OTHER_SIGNATURE += " AND o.act <> act_signature.act LIMIT 1)"
OTHER_RECEIPT = "(SELECT o.receipt FROM act_receipt AS o WHERE o.act <> act_receipt.act LIMIT 1)"
EDITS = [
    ("br", "UPDATE record SET version = 1 WHERE version = 2"),
    ("br", f"UPDATE record SET tin = 'BR00' WHERE tin = '{ONE}'"),
    ("br", "DELETE FROM operator_identifier WHERE scheme = 'LEI'"),
    ("br", "UPDATE operator_identifier SET value = value || '0' WHERE scheme = 'CNPJ'"),
    ("br", "INSERT INTO operator_identifier VALUES ('X', 'TIN', 0, 'nobody')"),
    ("uy", "DELETE FROM operator_identifier"),
    ("uy", "UPDATE operator_identifier SET value = value || '0'"),
    ("uy", f"DELETE FROM mirror WHERE {OUT} AND fields IS NOT NULL"),
    ("uy", "UPDATE mirror_version SET kind = 'notice', record_id = NULL WHERE kind = 'tombstone'"),
    ("uy", "UPDATE mirror SET seq = (SELECT min(v.seq) FROM mirror_version AS v WHERE v.record_id ="
     " mirror.record_id AND v.kind = 'disclosure') WHERE fields IS NULL"),
    ("br", "UPDATE agreement SET agreement = 'x' || agreement"),
    ("br", "UPDATE agreement SET document = CAST(replace(CAST(document AS TEXT), 'BR-UY', 'BR-UX') AS BLOB)"),
    ("br", "UPDATE act SET content = CAST(replace(CAST(content AS TEXT), 'operation', 'pilot') AS BLOB)"),
    ("br", f"UPDATE act_signature SET signature = {OTHER_SIGNATURE}"),
    ("br", f"UPDATE act_receipt SET receipt = {OTHER_RECEIPT}"),
    ("br", "UPDATE act_receipt SET receipt = replace(receipt, 'index ', 'index 1')"),
    ("br", "UPDATE act_receipt SET receipt = '{}'"),
    ("br", "UPDATE act SET ledger_seq = (SELECT max(ledger_seq) FROM act) WHERE ledger_seq IS NOT NULL"),
    ("br", "UPDATE act SET ledger_seq = 0"),
    ("br", "UPDATE peer SET card = '{}'"),
    ("br", "UPDATE peer SET card = 'not a card'"),
    ("uy", "DELETE FROM channel WHERE issuer = 'BR'"),
    ("br", "DELETE FROM channel WHERE issuer = 'BR'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "edit"), EDITS, ids=lambda value: value)
def test_an_edit_of_what_is_answered_is_found_and_stops_nothing(lived: World, name: str, edit: str) -> None:
    connection = raw(node_of(lived, name))
    assert connection.execute(edit).rowcount
    connection.close()
    node_of(lived, name).parts.peers.forget()
    assert node_of(lived, name).findings()


NEWEST = "decision = (SELECT max(decision) FROM decision WHERE record_id = (SELECT record_id FROM record"
NEWEST += f" WHERE tin = '{ONE}'))"
A_VIEW = f"{OUT} AND digest IS NOT NULL"
A_TOMBSTONE = f"{OUT} AND digest IS NULL"
SIGNED_IN = "(SELECT ledger_seq FROM act WHERE ledger_seq IS NOT NULL ORDER BY ledger_seq"
DERIVED = [
    ("br", "UPDATE operator_name SET folded = folded || 'x' WHERE log = 0", "is not found by its names"),
    ("br", "UPDATE operator_name SET name = lower(name) WHERE log = 0", "is not found by its names"),
    ("br", "DELETE FROM operator_name WHERE log = 0", "is not found by its names"),
    ("br", "INSERT INTO operator_name VALUES (0, 'nobody', 'No', 'no')", "operator_name holds"),
    ("uy", "UPDATE operator_name SET folded = folded || 'x'", "is not found by its names"),
    ("uy", "DELETE FROM operator_name", "is not found by its names"),
    ("br", f"UPDATE channel_view SET digest = zeroblob(32) WHERE {A_VIEW}", "is not what was told"),
    ("br", f"UPDATE channel_view SET digest = zeroblob(32) WHERE {A_VIEW}", "is not what was decided"),
    ("br", f"UPDATE channel_view SET digest = NULL WHERE {A_VIEW}", "is not what was told"),
    ("br", f"UPDATE channel_view SET digest = zeroblob(32) WHERE {A_TOMBSTONE}", "is not what was told"),
    ("br", f"UPDATE channel_view SET seq = seq - 1 WHERE {A_VIEW}", "but the view kept is another"),
    ("br", f"UPDATE channel_view SET seq = 4000 WHERE {A_VIEW}", "channel_view holds"),
    ("br", f"DELETE FROM channel_view WHERE {A_VIEW}", "but the view kept is another"),
    ("br", "UPDATE channel_body SET ledger_seq = 5 WHERE ledger_seq IS NOT NULL", "about ledger entry"),
    ("br", "UPDATE channel_body SET ledger_seq = 5 WHERE ledger_seq IS NULL", "about a ledger entry"),
    ("br", f"UPDATE decision SET contract = 'f' || contract WHERE {NEWEST}", "its contract is not"),
    ("br", f"UPDATE decision SET terms = 'x' WHERE {NEWEST}", "terms that no agreement has"),
    ("br", f"UPDATE decision SET input = 'x' WHERE {NEWEST}", "its input is not"),
    ("br", f"UPDATE decision SET day = '2026-11-21' WHERE {NEWEST}", "its input is not"),
    ("br", f"UPDATE decision SET answer = replace(answer, 'status', 'roles') WHERE {NEWEST}", "its answer"),
    ("br", f"UPDATE decision SET version = 9 WHERE {NEWEST}", "there is no decision on the newest version"),
    ("br", f"DELETE FROM decision WHERE {NEWEST}", "there is no decision on the newest version"),
    ("br", "DELETE FROM decision WHERE version = 1", "there is no decision on version 1"),
    ("br", f"UPDATE channel_epoch SET envelope = zeroblob(80) WHERE {OUT}", "not as it was delivered"),
    ("br", f"UPDATE channel_epoch SET envelope = zeroblob(0) WHERE {OUT}", "not as it was delivered"),
    ("br", f"UPDATE channel_epoch SET envelope = NULL WHERE {OUT}", "not as it was delivered"),
    ("br", "UPDATE channel_epoch SET envelope = CAST(zeroblob(32) || substr(envelope, 33) AS BLOB)"
     f" WHERE {OUT}", "a point that is no key"),
    ("br", "UPDATE channel SET state = 'PILOT' WHERE issuer = 'BR'", "its state is kept as PILOT"),
    ("br", "UPDATE change SET record_id = 'nobody' WHERE change = 2", "the change feed does not tell of"),
    ("br", "UPDATE change SET tin = 'BR00' WHERE change = 2", "the change feed does not tell of"),
    ("br", "UPDATE change SET kind = 'disclosure' WHERE change = 2", "the change feed does not tell of"),
    ("br", "UPDATE change SET time = replace(time, '2026', '2025') WHERE change = 2", "does not tell of"),
    ("br", "UPDATE change SET change = -change WHERE change = (SELECT max(change) FROM change WHERE log = 0)",
     "the change feed does not tell of"),
    ("br", "DELETE FROM change WHERE change = 2", "the change feed does not tell of"),
    ("br", "INSERT INTO change SELECT 99, log, record_id, tin, kind, time FROM change LIMIT 1",
     "change holds"),
    ("uy", "UPDATE change SET tin = 'BR00'", "the change feed does not tell of"),
    ("uy", "DELETE FROM change WHERE kind = 'tombstone'", "the change feed does not tell of"),
    ("uy", "DELETE FROM change WHERE kind = 'notice'", "the change feed does not tell of"),
    ("uy", "UPDATE mirror SET credential = 'x' WHERE fields IS NOT NULL",
     "another ledger entry or credential"),
    ("uy", "UPDATE mirror SET ledger_seq = 1", "another ledger entry or credential"),
    ("uy", "UPDATE mirror SET ledger_seq = 1 WHERE fields IS NULL", "another ledger entry or credential"),
    ("uy", "UPDATE mirror SET doubt = 'nothing'", "is not what was set apart"),
    *(("uy", f"UPDATE mirror SET {change} WHERE {of}", "not those that were disclosed") for change, of in (
        ("status = 'REVOKED'", "fields IS NOT NULL"),
        ("status = 'ACTIVE'", "fields IS NULL"),
        ("tin = 'BR1'", "fields IS NOT NULL"),
        ("scope = 'COMPLIANCE'", "fields IS NOT NULL"),
        ("valid_to = '2999-01-01'", "fields IS NOT NULL"),
        ("status_since = NULL", "fields IS NOT NULL"),
        ("programme = 'UY-OEC'", "fields IS NOT NULL"),
    )),
    ("uy", "INSERT INTO mirror (log, record_id, seq, ledger_seq, credential)"
     " SELECT log, 'nobody', 0, -1, '' FROM mirror LIMIT 1",
     "mirror holds"),
    ("uy", "UPDATE mirror_version SET time = replace(time, '2026', '2025')", "it is mirrored as another"),
    ("uy", "UPDATE mirror_version SET received_at = replace(received_at, '2026', '2025')",
     "does not tell of"),
    ("uy", "DELETE FROM mirror_version WHERE kind = 'notice'", "neither mirrored nor set apart"),
    ("uy", "DELETE FROM channel_epoch WHERE envelope IS NULL", "the key that opened it is gone"),
    ("br", f"DELETE FROM act WHERE ledger_seq = {SIGNED_IN} LIMIT 1)", ", which is gone"),
    ("br", f"UPDATE act SET ledger_seq = NULL WHERE ledger_seq = {SIGNED_IN} LIMIT 1)",
     "hold the act; entry"),
    ("br", f"UPDATE act SET ledger_seq = {SIGNED_IN} DESC LIMIT 1) WHERE ledger_seq > 0",
     "hold the act; entry"),
    ("br", "DELETE FROM agreement", ", which is gone or another"),
    ("br", "DELETE FROM act_signature WHERE country = 'UY'", "the ledger holds signatures that are gone: UY"),
    ("br", "UPDATE act_receipt SET receipt = json_set(receipt, '$.z', 1)",
     "a receipt is not of the agreed form"),
    ("br", "DELETE FROM act_receipt", "is not proven to be signed by both"),
    ("br",
     "DELETE FROM act_receipt WHERE act IN (SELECT act FROM act WHERE CAST(content AS TEXT) LIKE '%start%')",
     "but what is proven of its acts makes SIGNED"),
    ("br", "DELETE FROM peer", "it records the card of aeo.uy.example, which is gone"),
    ("br", "INSERT INTO ledger_body SELECT seq + 4000, sealed FROM ledger_body LIMIT 1", "ledger_body holds"),
    ("br", "INSERT INTO ledger_body SELECT 6, sealed FROM ledger_body LIMIT 1", "two bodies are behind it"),
    ("br", "INSERT INTO log_entry SELECT log, seq + 4000, entry FROM log_entry WHERE log = 0",
     "log_entry holds"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "edit", "what"), DERIVED, ids=lambda value: value)
def test_an_edit_of_what_is_derived_is_named(lived: World, name: str, edit: str, what: str) -> None:
    node = node_of(lived, name)
    connection = raw(node)
    assert connection.execute(edit).rowcount
    connection.close()
    node.parts.peers.forget()
    assert any(what in each.what for each in node.findings()), node.findings()


def test_one_changed_row_of_the_feed_is_one_finding(lived: World) -> None:
    version = (
        "SELECT v.record_id, v.ledger_seq FROM record_version v JOIN record USING (record_id) WHERE tin = ?"
    )
    connection = raw(lived.br)
    [(record_id, seq)] = connection.execute(version, (f"BR{CNPJS[3]}",)).fetchall()
    assert connection.execute("UPDATE change SET kind = 'x' WHERE record_id = ?", (record_id,)).rowcount == 1
    connection.close()
    told = [each for each in lived.br.findings() if "change feed" in each.what]
    assert [(each.log, each.entry) for each in told] == [("aeo.br.example/ledger", seq)]


def test_what_was_set_apart_accounts_for_an_entry_and_for_the_doubt(known: World) -> None:
    known.br.amend(ONE, legal_name="Nova S/A")
    Liar(known).misplace(ONE)
    known.carry(known.uy)
    assert known.uy.incidents()
    assert known.uy.findings() == []
    connection = raw(known.uy)
    connection.execute("CREATE TEMP TABLE kept AS SELECT incident, record_id FROM incident")
    assert connection.execute("UPDATE incident SET record_id = NULL").rowcount
    assert known.uy.findings() == []  # a doubt may rest on an entry that does not say whom it is about
    assert connection.execute("UPDATE mirror SET doubt = 'other' WHERE doubt IS NOT NULL").rowcount
    assert any("the doubt kept" in each.what for each in known.uy.findings())
    whom = "SELECT record_id FROM kept WHERE kept.incident = incident.incident"
    connection.execute(f"UPDATE incident SET record_id = ({whom})")
    assert connection.execute("UPDATE mirror SET doubt = NULL WHERE doubt IS NOT NULL").rowcount
    assert any("the doubt kept" in each.what for each in known.uy.findings())
    connection.execute("DELETE FROM incident")
    connection.close()
    assert any("neither mirrored nor set apart" in each.what for each in known.uy.findings())


@pytest.mark.parametrize("then", ["nothing", "a change", "a tombstone"])
def test_an_entry_that_opened_late_is_told_of_late_and_nothing_is_wrong_with_that(
    known: World, then: str
) -> None:
    def withhold(answer: dict[str, Any]) -> None:
        for part in answer["channels"]:
            for item in part["entries"]:
                item["body"] = None

    before = known.cursors(known.uy).channels
    known.br.amend(ONE, legal_name="Nova S/A")
    known.carry(known.uy, withhold)
    if then == "a change":
        known.br.amend(ONE, legal_name="Outra S/A")
    if then == "a tombstone":
        known.br.amend(ONE, mra_consent=withdrawn("2026-11-22"))
    known.br.amend(TWO, legal_name="Terceira S/A")
    known.clock.ms += 1000
    known.exchange()
    assert known.uy.findings() == []
    known.clock.ms += 1000
    asked = replace(known.cursors(known.uy), channels=before)
    news = page.read(known.answer(known.uy, asked), known.br.parts.card.name)
    reading_again.take_again(known.uy.parts, known.br.parts.card, news)
    assert known.uy.incidents() == []
    assert known.uy.findings() == []


UNREADABLE = [
    "UPDATE log_head SET size = 4000000000000000 WHERE log = 0",
    "UPDATE log_head SET size = 'many' WHERE log = 0",
    "UPDATE log_head SET size = -1 WHERE log = 0",
    "UPDATE log_head SET checkpoint = CAST(x'ff' AS TEXT) WHERE log = 0",
    "UPDATE log_head SET checkpoint = 7 WHERE log = 0",
    "UPDATE log_head SET last_leaf = 7 WHERE log = 0",
    "UPDATE log_entry SET entry = CAST(entry AS TEXT) WHERE log = 0",
    "UPDATE log_entry SET entry = 7 WHERE log = 0",
    "DROP TABLE log_head",
    "DROP TABLE log_entry",
]


@pytest.mark.parametrize("edit", UNREADABLE)
def test_what_cannot_be_read_is_a_finding_and_no_traceback(lived: World, edit: str) -> None:
    connection = raw(lived.br)
    connection.execute(edit)
    connection.close()
    assert list(check_start(lived.br.parts))
    assert lived.br.findings()


LATER_ONLY = [
    "UPDATE peer SET name = CAST(x'ff' AS TEXT)",
    "UPDATE decision SET log = 'x'",
    "UPDATE change SET log = 'x'",
    "UPDATE record_version SET sealed = 'x'",
    "UPDATE record SET wrapped_key = 7",
    "UPDATE channel SET log = log + 77",
    "UPDATE channel SET agreement = 'x'",
    "UPDATE log_tile SET hashes = 7",
    "DROP TABLE change",
    "DROP TABLE mirror_version",
    "DROP TABLE act_receipt",
    "DROP TABLE ledger_body",
    "DROP TABLE peer",
]


@pytest.mark.parametrize("edit", LATER_ONLY)
def test_what_stops_one_check_does_not_stop_the_ledgers(lived: World, edit: str) -> None:
    """The ledger comes first and the pinned cards last: what is wrong with either is still found."""
    moved = lived.uy.parts
    other = card.renew(
        moved.card, "Customs of UY", "http://elsewhere.example", moved.keys, lived.uy.ledger().size
    )
    assert other is not None
    pinned = lived.br.settle(Pinned(other))
    lived.br.amend(ONE, legal_name="Outra S/A")
    newest = lived.br.ledger().size - 1
    connection = raw(lived.br)
    assert connection.execute(SPOIL, (newest,)).rowcount == 1
    connection.execute(edit)
    connection.close()
    lived.br.parts.peers.forget()
    found = lived.br.findings()
    places = {(each.log, each.entry) for each in found}
    assert ("aeo.br.example/ledger", newest) in places
    is_seen = ("aeo.br.example/ledger", pinned) in places
    assert is_seen != any("no ledger entry records its card" in each.what for each in found)


SPOIL = "UPDATE log_entry SET entry = CAST(replace(entry, 'BR', 'BX') AS BLOB) WHERE log = 0 AND seq = ?"


@dataclass(frozen=True)
class Pinned:
    """Records that another card was pinned, and leaves the old one in the store."""

    other: card.Card
    tins: tuple[str, ...] = ()

    def run(self, batch: Batch) -> int:
        return batch.append_body("member", {"v": 1, "card": self.other.text})


def test_a_record_without_a_number_that_may_be_shown_is_told_soundly(known: World) -> None:
    """Its list of numbers is shown with none in it."""
    hidden = operator(4)["identifiers"][1:]
    known.br.admit(operator(4, identifiers=hidden))
    known.exchange()
    assert known.uy.look_up(f"BR{CNPJS[4]}")["fields"]["identifiers"] == []
    assert known.br.findings() == known.uy.findings() == []
