"""What commands on a node's home folder share: the folder, held by one process; how far a long one is."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from node.errors import Conflict

Home = Annotated[Path, typer.Option("--home", envvar="AEO_HOME", help="The node's home folder.")]
HERE = Path("aeo-node")
LOCK: Final = "serving.lock"
SAY_S: Final = 10.0
"""Where there is no terminal, how long a command is silent at most."""


@contextmanager
def alone(home: Path, *, unless: bool) -> Iterator[None]:
    """Hold the home folder for this process, unless its store is shared; the lock ends with it."""
    if unless or sys.platform == "win32":
        yield
        return
    import fcntl

    with (home / LOCK).open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            who = f"process {lock.read().strip() or 'unknown'}"
            why = f"{who} serves it, and two would write one ledger"
            do = f"ask the one that runs, or stop it ({who}) and start again"
            raise Conflict("this node is served already", where=str(home), why=why, do=do) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def progress(unit: str = "entries") -> Iterator[Callable[[str, int, int], None]]:
    """How far a check is, how fast it goes and what time is left; without a terminal, a line now and then.

    What is printed meanwhile stands above it where both go to the terminal; anywhere else it goes as it is.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    begun = time.monotonic()
    console, said = Console(stderr=True), begun
    shown = Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),
    )
    with shown as progress:
        task = progress.add_task("checking", total=None, rate="")

        def told(what: str, done: int, of: int) -> None:
            nonlocal said
            rate = f"{done / (time.monotonic() - begun):,.0f} {unit}/s"
            progress.update(task, description=what, completed=done, total=of, rate=rate)
            if progress.disable and time.monotonic() - said >= SAY_S:
                said = time.monotonic()
                typer.echo(f"{what}: {done:,} of {of:,}, {rate}", err=True)

        yield told
