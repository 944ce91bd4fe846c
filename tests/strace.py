"""System calls of a running process, listed or made to fail: strace, attached to it for a moment."""

import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

Call = tuple[str, str]
"""The name of a system call, and of the file that it is about."""

CALL = re.compile(r"^(?P<thread>\d+)\s+(?P<name>\w+)\((?P<rest>.*)$")
END_S = 5


class NotAttachedError(Exception):
    """What strace said when it could not be attached."""


@dataclass(frozen=True)
class Trace:
    """What strace wrote down about one moment; complete once it is detached."""

    out: Path
    files: Sequence[Path]

    def text(self) -> str:
        """A line for each call, and for each end of a process."""
        return self.out.read_text(encoding="utf-8", errors="replace")

    def counts(self) -> Counter[Call]:
        """How often each call was made, by the thread that made it most often."""
        found: dict[Call, Counter[str]] = {}
        for line in self.text().splitlines():
            if seen := CALL.match(line):
                call = (seen["name"], self._file(seen["rest"]))
                found.setdefault(call, Counter())[seen["thread"]] += 1
        return Counter({call: max(by_thread.values()) for call, by_thread in found.items()})

    def is_struck(self) -> bool:
        """Whether a call was made to fail."""
        return "(INJECTED)" in self.text()

    def _file(self, rest: str) -> str:
        named = [file for file in self.files if re.search(re.escape(str(file)) + r'[>"]', rest)]
        assert len(named) == 1, rest
        return named[0].name


def program() -> str:
    """Where strace is; skips the test where it is not, or may not be attached to a process."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("no strace here: install Debian's package strace to run this test")
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            with attached(found, other.pid, [], Path("/dev/null")):
                pass
        except NotAttachedError as error:
            pytest.skip(f"strace cannot be attached to a process here: {error}")
        finally:
            other.kill()
    return found


@contextmanager
def attached(strace: str, pid: int, files: Sequence[Path], out: Path, *tampering: str) -> Iterator[Trace]:
    """Trace the calls of all threads of a process that are about these files, while this lasts."""
    about = [word for file in files for word in ("-P", str(file))]
    told = [strace, "-f", "-y", "-s", "0", "-o", str(out), "-p", str(pid), *about, *tampering]
    with subprocess.Popen(told, stderr=subprocess.PIPE, text=True) as tracing:
        try:
            with _bounded(tracing):
                _await_attached(tracing)
            yield Trace(out, files)
        finally:
            with _bounded(tracing):
                tracing.terminate()
                tracing.communicate()


@contextmanager
def _bounded(tracing: subprocess.Popen[str]) -> Iterator[None]:
    """Kill strace if this takes long: told to let go of a process that is dying, it may wait for ever."""
    bound = threading.Timer(END_S, tracing.kill)
    bound.start()
    try:
        yield
    finally:
        bound.cancel()


def _await_attached(tracing: subprocess.Popen[str]) -> None:
    assert tracing.stderr is not None
    said = []
    for line in tracing.stderr:
        said.append(line)
        if "attached" in line:
            return
    raise NotAttachedError("".join(said).strip() or f"it did not say so within {END_S} s")
