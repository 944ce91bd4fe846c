"""What the drills do to PostgreSQL servers: set them up as containers would, tell them things, kill them."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from clients.bench.postgres import OWNER, Server, own_folder, run
from tests.nodes import ROOT, free_port

SCRIPTS = ROOT / "docker" / "postgres"
MEMORY, ROOM = Path("/dev/shm"), 4 * 2**30
SECRETS = {"replication": "it's a: secret", "node": r"another: \ secret"}


def place() -> Path | None:
    """Where the servers of tests are: in memory if there is room, for they sync a database for each test."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else None


@contextmanager
def primary(programs: Path) -> Iterator[Server]:
    """The first of the servers of a replicated store, as its container makes it: reached over TCP too."""
    with _over_tcp(programs) as running:
        cluster = ("-U", OWNER, "--locale", "C.UTF-8", "-E", "UTF8", "--no-sync")
        how = ("--auth-local=trust", "--auth-host=scram-sha-256")
        run(programs / "initdb", "-D", running.data, *cluster, *how)
        running.control("start")
        with (running.data / "pg_hba.conf").open("a", encoding="ascii") as allowed:
            allowed.write("host all all all scram-sha-256\n")  # as the image does before its scripts run
        _script(running, "primary.sh")
        running.control("restart")
        yield running


@contextmanager
def member(programs: Path, name: str, follows: Server) -> Iterator[Server]:
    """Another of its servers, which begins as a copy of one that takes writes."""
    with _over_tcp(programs) as running:
        place = {"FOLLOWS": follows.address, "PGPORT": str(follows.port), "SERVER": name}
        _script(running, "member.sh", "true", **place)
        running.control("start")
        yield running


def tell(server: Server, *commands: str) -> None:
    """Run commands as the superuser, each by itself."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        for each in commands:
            connection.execute(each)


def kill(server: Server) -> None:
    """Kill every process of the server at once."""
    leader = int((server.data / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
    for pid in (leader, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def _over_tcp(programs: Path) -> Iterator[Server]:
    with own_folder(place()) as folder:
        running = Server(folder, programs, free_port(), "127.0.0.1")
        try:
            yield running
        finally:
            running.control("stop", "-m", "immediate", check=False)


def _script(server: Server, name: str, *arguments: str, **environment: str) -> None:
    """Run one of the scripts of the containers on this server's data directory, with the secrets."""
    texts = {each: f"{secret}\n" for each, secret in SECRETS.items()}
    texts[name] = (SCRIPTS / name).read_text(encoding="utf-8")
    for each, text in texts.items():
        (server.folder / each).write_text(text, encoding="utf-8")
        (server.folder / each).chmod(0o644)  # the server's owner reads it
    given = {f"{each.upper()}_PASSWORD_FILE": str(server.folder / each) for each in SECRETS}
    given |= {"PGDATA": str(server.data), "PGHOST": str(server.folder), "PGPORT": str(server.port)}
    given |= {"PATH": f"{server.programs}:{os.environ['PATH']}"} | environment
    run(Path("/bin/sh"), server.folder / name, *arguments, environment=given)
