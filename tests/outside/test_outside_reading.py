"""Others' tools prove every entry of a ledger and that it only grew, and notice one changed bit.

Two of them, which share no code: Go's packages for its own transparency log (`ledger/` calls them), and
Tessera's `fsck`, by the command in `docs/verify-from-outside.md`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node import keys
from node.ledger import note
from node.ledger.checkpoint import Checkpoint, parse, sign_checkpoint
from tests.e2e.test_access import token
from tests.nodes import ROOT, Node, brazilian, make, origin_of, running
from tests.outside.conftest import Checked, Tools, key_file

PAGE = ROOT / "docs" / "verify-from-outside.md"
SOUND, UNSOUND = "Successfully fsck'd log", "fsck failed"


def fsck(tools: Tools, checked: Checked, *options: str) -> str:
    """What fsck says, which tells a failure in words only: its exit code is 0 all the same."""
    [command] = re.findall(r"^    \./fsck (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    for said, here in {"https://aeo.br.example/log": checked.url, "br.vkey": str(checked.vkey)}.items():
        assert said in command
        command = command.replace(said, here)
    done = tools.run("fsck", *command.split(), *options)
    assert done.returncode == 0, done.stderr
    assert (SOUND in done.stderr) != (UNSOUND in done.stderr), done.stderr
    return done.stderr


def test_gos_own_packages_prove_every_entry_and_that_the_ledger_only_grew(
    tools: Tools, grown: Checked
) -> None:
    done = tools.run("ledger", grown.url, grown.key, *grown.earlier)
    assert (done.returncode, done.stdout) == (0, "all 521 entries proven\n"), done.stderr


def test_the_fsck_of_another_project_finds_the_ledger_sound(tools: Tools, grown: Checked) -> None:
    assert f"{SOUND} with size 521" in fsck(tools, grown)


@pytest.mark.parametrize(
    ("table", "column", "where", "at"),
    [
        ("log_entry", "entry", "seq = 7", -20),
        ("log_entry", "entry", "seq = 520", 10),
        ("log_tile", "hashes", "level = 0 AND idx = 0", 32 * 200),
        ("log_tile", "hashes", "level = 0 AND idx = 2", 5),
        ("log_tile", "hashes", "level = 1 AND idx = 0", 40),
    ],
)
def test_one_changed_bit_is_noticed(
    tools: Tools, grown: Checked, table: str, column: str, where: str, at: int
) -> None:
    with changed(grown.node, table, column, where, at):
        assert tools.run("ledger", grown.url, grown.key).returncode == 1
        assert UNSOUND in fsck(tools, grown)
    assert SOUND in fsck(tools, grown)


@contextmanager
def changed(node: Node, table: str, column: str, where: str, at: int) -> Iterator[None]:
    """One bit of what is stored of the ledger flipped, for a while."""
    where = f"WHERE log = 0 AND {where}"
    with node.store() as store:
        (good,) = store.execute(f"SELECT {column} FROM {table} {where}").fetchone()
        bad = bytearray(good)
        bad[at] ^= 1
        store.execute(f"UPDATE {table} SET {column} = ? {where}", (bytes(bad),))
    try:
        yield
    finally:
        with node.store() as store:
            store.execute(f"UPDATE {table} SET {column} = ? {where}", (good,))


def test_another_past_is_noticed_though_the_log_itself_signed_it(
    tools: Tools, grown: Checked, tmp_path: Path
) -> None:
    then = parse(note.read_note(grown.earlier[2].read_text(encoding="utf-8"))[0])
    signer = note.ed25519_signer(then.origin, keys.load("file:keys", grown.node.home).log[0])
    forked = sign_checkpoint(Checkpoint(then.origin, then.size, bytes(32)), [signer])
    (tmp_path / "forked").write_text(forked, encoding="utf-8")
    done = tools.run("ledger", grown.url, grown.key, tmp_path / "forked")
    assert (done.returncode, done.stdout) == (1, "")


def test_another_key_does_not_open_the_ledger(tools: Tools, grown: Checked, tmp_path: Path) -> None:
    stranger = note.ed25519_signer(origin_of(grown.node), Ed25519PrivateKey.generate())
    (tmp_path / "br.vkey").write_text(stranger.verifier().vkey(), encoding="utf-8")
    other = Checked(grown.node, tmp_path / "br.vkey")
    assert tools.run("ledger", other.url, other.key).returncode == 1
    assert UNSOUND in fsck(tools, other)


def test_a_ledger_that_is_not_public_is_checked_with_a_token(tools: Tools, tmp_path: Path) -> None:
    [node] = make(("BR",), tmp_path, AEO_LOG_PUBLIC="false")
    with running(node):
        node.post("/v1/operators/import", {"operators": [brazilian(number) for number in range(20)]})
        closed = Checked(node, key_file(node, tmp_path))
        assert UNSOUND in fsck(tools, closed)
        assert SOUND in fsck(tools, closed, f"--bearer_token={token(node, 'reader')}")
