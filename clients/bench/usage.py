"""What processes used: processor time and the most memory they had, as Linux counts them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

PROC = Path("/proc")
UTIME, CHILDREN_STIME = 11, 15
"""Between these stand, behind the name in `/proc/PID/stat`, utime, stime, and those of ended children."""


@dataclass(frozen=True, slots=True)
class Used:
    """Processor seconds of some processes together; the largest memory of any one of them, in MB."""

    cpu_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended: how long it took, and what it used."""

    took_s: float
    used: Used
    said: bytes


def of_tree(pid: int) -> Used:
    """What a running process and all below it have used since they started."""
    pids = list(_tree(pid))
    return Used(sum(map(_cpu_s, pids)), max(map(_peak_mb, pids), default=0.0))


def run(command: Sequence[str], limit_s: float = 60.0) -> Ran:
    """Run a command to its end, its errors and progress shown; `RuntimeError` when it fails or takes longer.

    Linux counts as its memory at least what this process had when it started the command.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None, "it is piped"
    killing = Timer(limit_s, process.kill)
    killing.daemon = True
    killing.start()
    with process.stdout as piped:
        said = piped.read()
    killing.cancel()  # before its number is free for another process
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: code {process.returncode}: {said[-2000:].decode()}")
    took_s = time.perf_counter() - begun
    return Ran(took_s, Used(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6), said)


@contextmanager
def one_processor() -> Iterator[None]:
    """What is started here, from this thread, runs on one processor, where the system can be told so."""
    if sys.platform != "linux":
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for task in (PROC / str(pid) / "task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                yield from _tree(int(child))


def _cpu_s(pid: int) -> float:
    with suppress(OSError):
        fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return sum(map(int, fields[UTIME:CHILDREN_STIME])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _peak_mb(pid: int) -> float:
    with suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0
