"""`aeo fsck`: one changed byte in any stored row is reported, and nothing is reported of a sound store."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from node.service.check import check_start
from tests.service.world import CNPJS, Node, World, open_node, operator, withdrawn

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
