"""A PostgreSQL server of one's own, from whatever package the machine has; it ends with the run."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

OWNER = "postgres"
"""Who runs the server when we are root, which PostgreSQL refuses."""
NUMBERS = count()


def folder_of_programs() -> Path | None:
    """Where `initdb` is: the newest of Debian's versions, or on the path."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    found = versions[-1] if versions else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; reached through a socket in its own folder, and at an address if it has one."""

    folder: Path
    programs: Path
    port: int = 5432
    address: str = ""

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def url(self, name: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql:///{name}?host={self.folder}&port={self.port}&user={OWNER}"

    def create(self, how: str = "TEMPLATE template0") -> str:
        """A new database, made in this way; gives its URL."""
        name = f"t{next(NUMBERS)}"
        self.tell(f'CREATE DATABASE "{name}" {how}')
        return self.url(name)

    def copy(self, url: str) -> str:
        """A copy of the database at a URL, which nobody may be using; gives its URL."""
        return self.create(f'TEMPLATE "{_named(url)}"')

    def drop(self, url: str) -> None:
        """Remove the database at a URL."""
        self.tell(f'DROP DATABASE "{_named(url)}"')

    def tell(self, command: str) -> None:
        """Run a command as its owner."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(command.encode())

    def control(self, *arguments: str, check: bool = True) -> None:
        """`pg_ctl` on this server."""
        places = f"-c listen_addresses='{self.address}' -c unix_socket_directories='{self.folder}'"
        how = ("-l", self.folder / "log", "-o", f"{places} -p {self.port}")
        run(self.programs / "pg_ctl", "-D", self.data, "-w", *how, *arguments, check=check)


def _named(url: str) -> str:
    """The database that a URL is of."""
    return urlsplit(url).path[1:]


def run(
    program: Path, *arguments: object, check: bool = True, environment: Mapping[str, str] | None = None
) -> None:
    """Run one of PostgreSQL's programs, as its owner if we are root."""
    user = OWNER if os.geteuid() == 0 else None
    command = [str(program), *map(str, arguments)]
    given = os.environ | dict(environment or {})
    subprocess.run(command, check=check, user=user, cwd="/", stdout=subprocess.DEVNULL, env=given)


@contextmanager
def own_folder(place: Path | None = None) -> Iterator[Path]:
    """A folder of the server's owner in a place, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="aeo-pg-", dir=place) as made:
        if os.geteuid() == 0:
            os.chown(made, pwd.getpwnam(OWNER).pw_uid, -1)
        yield Path(made)


@contextmanager
def server(programs: Path, place: Path | None = None) -> Iterator[Server]:
    """A server with a fresh cluster, as the package sets it up, stopped and removed at the end."""
    with own_folder(place) as folder:
        running = Server(folder, programs)
        cluster = ("-U", OWNER, "-A", "trust", "--locale", "C.UTF-8", "-E", "UTF8", "--no-sync")
        run(programs / "initdb", "-D", running.data, *cluster)
        running.control("start")
        try:
            yield running
        finally:
            running.control("stop", "-m", "immediate", check=False)
