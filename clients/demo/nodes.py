"""Real node processes for the demonstration: made, started, killed, searched and tampered with."""

import os
import sqlite3
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clients.demo.waiting import free_port, until
from clients.sdk.client import Node
from clients.sdk.connection import NodeUnreachable

START_LIMIT_S = 30.0
ENVIRONMENT = {"AEO_AUDIT_EVERY_S": "0.5", "AEO_RETRY_S": "0.5"}


@dataclass(slots=True)
class DemoNode:
    """One administration's node: its home folder, its process, and a client with its administrator token."""

    country: str
    name: str
    home: Path
    url: str
    client: Node
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """Kill the process at once, as a loss of power would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask the process to stop."""
        self.process.terminate()
        self.process.wait(10)

    def start(self) -> None:
        """Start the process again and wait until it answers."""
        self.process = _serve(self.home)
        self.await_answer()

    def await_answer(self) -> None:
        """Wait until the node serves; `RuntimeError` with its log when it does not."""
        until(
            self._answers,
            START_LIMIT_S,
            f"the node of {self.country} does not start: {self.home / 'node.log'}",
        )

    def fsck(self) -> list[str]:
        """What `aeo fsck` finds, line by line, and its exit code as the last line."""
        done = subprocess.run(
            [sys.executable, "-m", "node", "fsck", "--home", str(self.home)],
            capture_output=True,
            text=True,
            check=False,
        )
        return [*done.stdout.strip().splitlines(), str(done.returncode)]

    def holds(self, text: str) -> bool:
        """Whether this text stands anywhere in the node's files, plain or inside a presentation."""
        files = [path.read_bytes() for path in self.home.rglob("*") if path.is_file()]
        return any(wanted in content for content in files for wanted in spellings(text))

    def change_byte(self, seq: int, at: int) -> Callable[[], None]:
        """Change one byte of a stored ledger entry behind the node's back; gives what puts it back."""
        with sqlite3.connect(self.home / "node.sqlite") as store:
            (entry,) = store.execute(
                "SELECT entry FROM log_entry WHERE log = 0 AND seq = ?", (seq,)
            ).fetchone()
        self._store_entry(seq, entry[:at] + bytes([entry[at] ^ 1]) + entry[at + 1 :])
        return lambda: self._store_entry(seq, entry)

    def _store_entry(self, seq: int, entry: bytes) -> None:
        store = sqlite3.connect(self.home / "node.sqlite", timeout=10)
        try:
            with store:
                store.execute("UPDATE log_entry SET entry = ? WHERE log = 0 AND seq = ?", (entry, seq))
        finally:
            store.close()

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError((self.home / "node.log").read_text(encoding="utf-8")[-2000:])
        try:
            self.client.health()
        except NodeUnreachable:
            return False
        return True


def start(countries: dict[str, str], folder: Path) -> list[DemoNode]:
    """Make and start one node for each {country: administration}, side by side."""
    places = {country: (folder / country.lower(), free_port()) for country in countries}
    making = [_init(country, countries[country], home, port) for country, (home, port) in places.items()]
    for process in making:
        if process.wait(START_LIMIT_S):
            raise RuntimeError("a node could not be made: see the lines above")
    nodes = [_started(country, home, port) for country, (home, port) in places.items()]
    for node in nodes:
        node.await_answer()
    return nodes


def spellings(text: str) -> list[bytes]:
    """A text as it stands in a file: as it is, or within base64url at any of its three alignments."""
    found = [text.encode()]
    for shift in range(3):
        spelt = urlsafe_b64encode(bytes(shift) + text.encode()).rstrip(b"=")
        found.append(spelt[(0, 2, 3)[shift] : -1])
    return found


def _init(country: str, administration: str, home: Path, port: int) -> subprocess.Popen[bytes]:
    told = {"--home": str(home), "--country": country, "--name": f"aeo.{country.lower()}.example"}
    told |= {"--administration": administration, "--address": f"http://127.0.0.1:{port}", "--port": str(port)}
    arguments = [part for pair in told.items() for part in pair]
    return subprocess.Popen([sys.executable, "-m", "node", "init", *arguments], stdout=subprocess.DEVNULL)


def _started(country: str, home: Path, port: int) -> DemoNode:
    token = (home / "administrator.token").read_text(encoding="utf-8").strip()
    url = f"http://127.0.0.1:{port}"
    return DemoNode(country, f"aeo.{country.lower()}.example", home, url, Node(url, token), _serve(home))


def _serve(home: Path) -> subprocess.Popen[bytes]:
    with (home / "node.log").open("ab") as log:
        command = [sys.executable, "-m", "node", "serve", "--home", str(home)]
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **ENVIRONMENT})
