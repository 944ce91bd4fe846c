"""How far a long command has come: a bar on a terminal, and elsewhere a line now and then."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from clients.cli.output import warn

EVERY_S: Final = 10.0
RECENT_S: Final = 60.0
SHORTEST_S: Final = 0.001


class Tell(Protocol):
    """Tells that so many steps are done, what else is to be known, and of how many, where that moves."""

    def __call__(self, done: int, place: str = "", of: int | None = None) -> None:
        """Tell it."""


@contextmanager
def steps(what: str, total: int | None = None, unit: str = "rows") -> Iterator[Tell]:
    """Count the steps of some work, of which there are `total` where that is known."""
    console, said = Console(stderr=True), time.monotonic()
    recent = deque([(said, 0)])
    columns = (TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)

        def tell(done: int, place: str = "", of: int | None = total) -> None:
            nonlocal said
            now = time.monotonic()
            recent.append((now, done))
            while now - recent[0][0] > RECENT_S and len(recent) > 2:
                recent.popleft()
            since, before = recent[0]
            text = f"{what}: {so_far(done, of, (done - before) / max(now - since, SHORTEST_S), unit)}{place}"
            bar.update(task, completed=done, total=of, description=text)
            if bar.disable and now - said >= EVERY_S:
                said = now
                warn(text)

        yield tell


def so_far(done: int, total: int | None, a_second: float, unit: str = "rows") -> str:
    """So many of how many, how fast of late, and how long it will take at that."""
    text = f"{done:,} {unit}" if total is None else f"{done:,} of {total:,} {unit}"
    if a_second < 1:
        return text
    text += f", {a_second:,.0f} a second"
    return text if total is None else f"{text}, {_duration((total - done) / a_second)} left"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    )
