"""Witnesses of others, unchanged, cosign a ledger as it grows, and refuse another past of it.

They are sent what C2SP's tlog-witness says, made out of the checkpoints and tiles that a node serves.
"""

import base64
import hashlib
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from clients.demo.waiting import until
from node import keys
from node.ledger import note, tiles, witness
from node.ledger.checkpoint import Checkpoint, parse, sign_checkpoint
from node.ledger.encoding import b64
from node.ledger.merkle import EMPTY_ROOT
from tests.nodes import Node, free_port, origin_of, tile_reader
from tests.outside.conftest import Checked, Tools

NAME = "witness.example"


@dataclass(frozen=True)
class Witness:
    """A witness that runs: where, and the key of its cosignatures."""

    url: str
    key: note.Verifier

    def ask(self, old: int, proof: tuple[bytes, ...], checkpoint: str) -> httpx.Response:
        """Ask for a cosignature."""
        body = witness.request(old, proof, checkpoint)
        return httpx.post(f"{self.url}/add-checkpoint", content=body, trust_env=False)


def omniwitness(checked: Checked, folder: Path, key: Ed25519PrivateKey, port: int) -> list[str]:
    """How omniwitness is told of a log and of its own key, which is in the form of Go's signed notes."""
    raw = b"\x01" + key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    key_id = note.ed25519_signer(NAME, key).verifier().key_id.hex()
    (folder / "key").write_text(f"PRIVATE+KEY+{NAME}+{key_id}+{b64(raw)}", encoding="ascii")
    told = {"Origin": origin_of(checked.node), "PublicKey": checked.key, "URL": checked.url}
    lines = "\n    ".join(f"{name}: {value}" for name, value in told.items())
    (folder / "logs.yaml").write_text(f"Logs:\n  - {lines}\n", encoding="utf-8")
    options = {"private_key_path": folder / "key", "additional_logs": folder / "logs.yaml"}
    options |= {"listen": f"127.0.0.1:{port}", "metrics_listen": "", "db_file": folder / "store.sqlite"}
    return [f"--{name}={value}" for name, value in options.items()]


def litewitness(checked: Checked, folder: Path, key: Ed25519PrivateKey, port: int) -> list[str]:
    """How litewitness is told of a log, in its database, and of its own key, which an SSH agent holds."""
    with sqlite3.connect(folder / "store.sqlite") as store:
        store.execute(
            "CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT)"
        )
        store.execute("CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL)")
        store.execute("INSERT INTO log VALUES (?, 0, ?)", (origin_of(checked.node), b64(EMPTY_ROOT)))
        store.execute("INSERT INTO key VALUES (?, ?)", (origin_of(checked.node), checked.key))
    store.close()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1]
    digest = hashlib.sha256(base64.b64decode(public)).digest()
    options = {"name": NAME, "db": folder / "store.sqlite", "listen": f"127.0.0.1:{port}"}
    options |= {"ssh-agent": folder / "agent", "key": f"SHA256:{b64(digest).rstrip('=')}"}
    return [f"-{name}={value}" for name, value in options.items()]


@contextmanager
def agent_with(key: Ed25519PrivateKey, folder: Path) -> Iterator[None]:
    """An SSH agent that holds a key; litewitness takes its key from nowhere else."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("no ssh-agent here: install Debian's package openssh-client to run this test")
    (folder / "id").touch(mode=0o600)
    (folder / "id").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", folder / "agent"], stdout=subprocess.DEVNULL)
    try:
        until((folder / "agent").exists, what="the SSH agent")
        environment = {"SSH_AUTH_SOCK": str(folder / "agent")}
        subprocess.run([str(shutil.which("ssh-add")), "-q", folder / "id"], env=environment, check=True)
        yield
    finally:
        agent.terminate()
        agent.wait(10)


Configure = Callable[[Checked, Path, Ed25519PrivateKey, int], list[str]]


@pytest.fixture(params=[omniwitness, litewitness], ids=lambda each: each.__name__)
def cosigner(
    request: pytest.FixtureRequest, tools: Tools, grown: Checked, tmp_path: Path
) -> Iterator[Witness]:
    """Each of the witnesses, running, with nothing seen yet."""
    configure: Configure = request.param
    key, port = Ed25519PrivateKey.generate(), free_port()
    with agent_with(key, tmp_path), (tmp_path / "log").open("w+b") as log:
        command = [tools.folder / configure.__name__, *configure(grown, tmp_path, key, port)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            found = Witness(f"http://127.0.0.1:{port}", note.cosigner(NAME, key).verifier())
            until(lambda: answers(found, process, tmp_path / "log"), what="the witness")
            yield found
        finally:
            process.terminate()
            process.wait(10)


def answers(asked: Witness, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text(encoding="utf-8")
    try:
        return asked.ask(0, (), "nothing\n").status_code > 0
    except httpx.TransportError:
        return False


def growth(node: Node, old: int, size: int) -> tuple[bytes, ...]:
    """The proof that the ledger of one size is the beginning of that of another, out of the tiles served."""
    return tiles.Tree(tile_reader(node, size), size).consistency_proof(old)


def test_a_witness_of_others_cosigns_the_ledger_at_every_step(cosigner: Witness, grown: Checked) -> None:
    seen = 0
    verifiers = [note.parse_vkey(grown.key), cosigner.key]
    for file in grown.earlier:
        signed = file.read_text(encoding="utf-8")
        size = parse(note.read_note(signed)[0]).size
        answer = cosigner.ask(seen, growth(grown.node, seen, size), signed)
        assert answer.status_code == 200, answer.text
        opened = note.open_note(signed + answer.text, verifiers)
        assert [each.time_s is not None for each in opened.signatures] == [False, True]
        seen = size
    assert seen == 521


def test_a_witness_of_others_refuses_another_past(cosigner: Witness, grown: Checked) -> None:
    first, later = (file.read_text(encoding="utf-8") for file in (grown.earlier[3], grown.earlier[-1]))
    old, new = (parse(note.read_note(each)[0]) for each in (first, later))
    assert cosigner.ask(0, (), first).status_code == 200
    signer = note.ed25519_signer(new.origin, keys.load("file:keys", grown.node.home).log[0])
    forked = sign_checkpoint(Checkpoint(new.origin, new.size, bytes(32)), [signer])
    proof = growth(grown.node, old.size, new.size)
    assert cosigner.ask(old.size, proof, forked).status_code == 422
    known = cosigner.ask(old.size - 1, growth(grown.node, old.size - 1, new.size), later)
    assert (known.status_code, known.text) == (409, f"{old.size}\n")
    assert cosigner.ask(old.size, proof, later).status_code == 200
