"""A backup is the store in one file; what is erased later cannot be read out of any, and the rest can."""

import io
import shutil
from pathlib import Path
from typing import Any

import pytest

from node import settings
from node.errors import Conflict, Malformed, NotFound, Unproven
from node.exchange import key_tree
from node.exchange.key_tree import KeyTree
from node.service import backup, erasing
from node.service.erasing import Erase
from node.service.reporting import Acknowledge, ReportIrregularity, SuspendHere
from node.store import reports
from node.store.tables import LARGEST
from tests.service import stores
from tests.service.world import CNPJS, Node, World, open_node, operator

TIN, OTHER = (f"BR{CNPJS[number]}" for number in (1, 2))
ERASE = Erase(TIN, "NOT_NEEDED", "case 1", "officer")


def told(*_: Any) -> None:
    """Nobody looks."""


def backup_of(node: Node) -> bytes:
    out = io.BytesIO()
    backup.write(node.parts, out, told)
    return out.getvalue()


def restored(node: Node, content: bytes, folder: Path, world: World) -> tuple[Node, backup.Contents]:
    """The node, out of its backup, its settings and its key store as that is now."""
    home = folder / node.home.name
    home.mkdir(parents=True)
    shutil.copytree(node.home / "keys", home / "keys")
    shutil.copy(node.home / settings.FILE, home)
    if stores.ON_POSTGRESQL:
        url = settings.load(home).database_url
        file = home / settings.FILE
        file.write_text(file.read_text(encoding="utf-8").replace(url, stores.of_a_new_home()["database_url"]))
    again = open_node(home, world.clock)
    contents = backup.restore(again.parts, io.BytesIO(content), told)
    again.parts.database.close()
    return open_node(home, world.clock), contents


def rows_of(node: Node) -> dict[str, list[tuple[Any, ...]]]:
    with node.parts.database.read() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(table.select())), key=repr)
            for table in backup._tables()
        }


def test_a_store_comes_back_as_it_was(known: World, tmp_path: Path) -> None:
    known.br.amend(TIN, legal_name="Outro Nome S/A")
    known.exchange()
    for node in known.nodes:
        again, contents = restored(node, backup_of(node), tmp_path / "again", known)
        assert contents.erased == 0
        assert rows_of(again) == rows_of(node)
        assert again.findings() == []
        assert again.look_up(TIN) == node.look_up(TIN)


def test_a_restored_node_goes_on(known: World, tmp_path: Path) -> None:
    known.br, _ = restored(known.br, backup_of(known.br), tmp_path / "again", known)
    known.br.admit(operator(4))
    known.exchange()
    assert known.uy.look_up(f"BR{CNPJS[4]}")["recognition"]["applies"]
    assert [node.findings() for node in known.nodes] == [[], []]
    assert known.uy.incidents() == []


def test_what_is_erased_later_cannot_be_read_back(known: World, tmp_path: Path) -> None:
    before = {node.country: backup_of(node) for node in known.nodes}
    known.br.settle(ERASE)
    known.exchange()
    for node in known.nodes:
        assert erasing.scrub(node.parts)
        again, contents = restored(node, before[node.country], tmp_path / "again", known)
        assert contents.erased > 0
        with pytest.raises(NotFound):
            again.look_up(TIN)
        assert again.look_up(OTHER)["fields"] is not None
        kept = b"".join(file.read_bytes() for file in again.home.rglob("*") if file.is_file())
        assert stores.ON_POSTGRESQL or TIN.encode() not in kept


def test_what_was_reported_and_decided_of_it_cannot_be_read_back_either(known: World, tmp_path: Path) -> None:
    known.uy.settle(SuspendHere(TIN, "SECURITY", "case 4711", "chief"))
    known.uy.settle(ReportIrregularity(TIN, "CARGO", "seal broken", "officer"))
    known.exchange()
    known.br.settle(Acknowledge(_number_of(known.br), "seal replaced", "officer"))
    known.exchange()
    before = {node.country: (backup_of(node), rows_of(node)) for node in known.nodes}
    known.br.settle(ERASE)
    known.exchange()
    for node in known.nodes:
        assert erasing.scrub(node.parts)
        content, held = before[node.country]
        again, _ = restored(node, content, tmp_path / "again", known)
        left = rows_of(again)
        assert held["report"]
        assert left["report"] == left["local_decision"] == []
        assert left["log_entry"] == held["log_entry"], "of the logs nothing is missing"
        assert not any(TIN in str(row) for rows in left.values() for row in rows)
        lost = {
            name: len(held[name]) - len(left[name])
            for name in ("ledger_body", "channel_body", "mirror_version")
        }
        assert lost == LOST[node.country]


LOST = {
    "BR": {"ledger_body": 0, "channel_body": 2, "mirror_version": 2},
    "UY": {"ledger_body": 1, "channel_body": 2, "mirror_version": 2},
}
"""At the issuer the disclosure and the acknowledgement, and two notices that came; at the partner its own
decision, two notices that went, and disclosure and acknowledgement as they came."""


def _number_of(node: Node) -> int:
    """The number of the irregularity that a node was told of."""
    with node.parts.database.read() as connection:
        return next(
            each.report for each in reports.all_reports(connection) if each.kind == reports.IRREGULARITY
        )


def test_a_backup_made_after_holds_everything_else(known: World, tmp_path: Path) -> None:
    backup_of(known.br)
    known.br.settle(ERASE)
    known.exchange()
    assert erasing.scrub(known.br.parts)
    again, contents = restored(known.br, backup_of(known.br), tmp_path / "again", known)
    assert contents.erased == 0
    assert again.findings() == []
    assert again.look_up(OTHER) == known.br.look_up(OTHER)


def test_keys_of_before_any_backup_are_not_missed(known: World) -> None:
    known.br.settle(ERASE)
    assert erasing.scrub(known.br.parts)
    assert not known.br.parts.backup_keys.path.exists()


def test_a_process_that_died_before_the_keys_went_lets_them_go_later(known: World) -> None:
    content = backup_of(known.br)
    known.br.settle(ERASE)
    again = open_node(known.br.home, known.clock)
    assert erasing.scrub(again.parts)
    assert backup.restore(again.parts, io.BytesIO(content), told, is_check=True).erased > 0


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_not_whole_restores_nothing(at: float, known: World, tmp_path: Path) -> None:
    content = backup_of(known.br)
    cut = content[: int(len(content) * at)]
    flipped = bytearray(content)
    flipped[int(len(content) * at)] ^= 1
    for damaged in (cut, bytes(flipped), content + b"x"):
        with pytest.raises((Malformed, Unproven)):
            restored(known.br, damaged, tmp_path / f"again{len(damaged)}{damaged == cut}", known)


def test_no_store_is_overwritten(known: World) -> None:
    with pytest.raises(Conflict, match="there is a store already"):
        backup.restore(known.br.parts, io.BytesIO(backup_of(known.br)), told)


def test_the_backup_of_another_node_is_refused(known: World, tmp_path: Path) -> None:
    backup_of(known.uy)
    with pytest.raises(Conflict, match="another node"):
        backup.restore(known.uy.parts, io.BytesIO(backup_of(known.br)), told)


def test_without_its_keys_a_backup_says_nothing(known: World) -> None:
    content = backup_of(known.br)
    known.br.parts.backup_keys.path.unlink()
    with pytest.raises(NotFound, match=r"backup\.keys"):
        backup.restore(known.br.parts, io.BytesIO(content), told)
    assert not any(each.encode() in content for each in (TIN, CNPJS[1], "Caatinga"))


def test_the_key_store_may_be_read_by_nobody_else(known: World) -> None:
    backup_of(known.br)
    assert known.br.parts.backup_keys.path.stat().st_mode & 0o077 == 0
    known.br.parts.backup_keys.path.chmod(0o644)
    with pytest.raises(Exception, match="may be read by others"):
        known.br.parts.backup_keys.load()


# The tree


def test_every_key_but_the_destroyed_ones_stays_as_it_was() -> None:
    tree = KeyTree.of(bytes(range(32)))
    paths = [tree.free_path(key_tree.name(str(number))) for number in range(200)]
    keys = {path: tree.key(path) for path in paths}
    assert len(set(keys.values())) == 200
    left = tree.without(paths[:50])
    assert [left.has(path) for path in paths] == [False] * 50 + [True] * 150
    assert all(left.key(path) == keys[path] for path in paths[50:])
    with pytest.raises(Unproven):
        left.key(paths[0])
    assert left.without(paths[:50]).seeds == left.seeds, "what is gone is gone"


def test_nothing_that_is_left_leads_to_a_destroyed_key() -> None:
    tree = KeyTree.of(bytes(32))
    path = tree.free_path(key_tree.name("owner"))
    left = tree.without([path])
    assert not any(path.startswith(above) for above in left.seeds)
    assert len(left.seeds) == 15 * key_tree.DEPTH


def test_an_owner_whose_key_is_gone_gets_another() -> None:
    tree, owner = KeyTree.of(bytes(32)), key_tree.name("owner")
    left = tree.without([tree.free_path(owner)])
    assert left.free_path(owner) != tree.free_path(owner)
    assert len(left.seeds) < LARGEST
