"""What the drills do to a PostgreSQL server: copy it to a standby, kill it."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import psycopg

from clients.bench.postgres import OWNER, Server, run


def standby(primary: Server, folder: Path) -> Server:
    """A copy of this server that follows it, started; what is committed here is then on both."""
    other = Server(folder, primary.programs)
    source = ("-h", primary.folder, "-U", OWNER)
    run(primary.programs / "pg_basebackup", "-D", other.data, "-R", "-c", "fast", *source)
    other.control("start")
    with psycopg.connect(primary.url("postgres"), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
    return other


def kill(server: Server) -> None:
    """Kill every process of the server at once."""
    leader = int((server.data / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
    for pid in (leader, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
