"""`aeo serve`: the sockets and the home folder taken, the store looked at, and then the node's processes."""

import errno
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from node import assembly, settings
from node.commands.home import HERE, Home, alone
from node.errors import Conflict, Damaged, Malformed
from node.service import bookmark, check


def serve(
    home: Home = HERE,
    count: Annotated[
        int,
        typer.Option("--processes", min=1, max=64, help="How many processes serve; several take PostgreSQL."),
    ] = 1,
) -> None:
    """Serve the node: API, ledger, exchange with its peers. Refuses to start if the store is not sound."""
    from node import processes  # the web application with it, which no other command needs

    parts = assembly.parts_of(home)
    processes.log_to_stderr()
    with alone(home, unless=parts.database.is_shared):
        listening = _bound(parts.settings.host, parts.settings.port, home)
        parts.database.migrate()
        for finding in check.check_start(parts):
            raise _unsound(finding)
        typer.echo(f"{parts.settings.name} serves at {parts.settings.address}; Ctrl-C stops it.")
        if count == 1:
            processes.serve(parts, listening)
        elif parts.database.is_shared:
            processes.supervise(home, listening, count)
        else:
            why, do = "SQLite is for one process", "give the node a PostgreSQL database, or one process"
            raise Malformed("several processes need a store that they can share", why=why, do=do)


def _unsound(finding: check.Finding) -> Damaged:
    if finding.log == bookmark.FILE:
        what = "the store is not the one that this node last wrote"
        return Damaged(what, where=finding.log, why=finding.what)
    where = f"{finding.log}, entry {finding.entry}"
    return Damaged("the store is not sound", where=where, why=finding.what, do="run `aeo fsck`")


def _bound(host: str, port: int, home: Path) -> list[socket.socket]:
    """Sockets on every address of the host, taken before anything else is done; `Conflict` otherwise."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return [_taken(family, address) for family, address in dict.fromkeys((f[0], f[4]) for f in found)]
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        raise Conflict(
            "the port is taken" if in_use else "the node cannot listen here",
            where=f"{host}, port {port}",
            why="another program listens there, perhaps another node" if in_use else str(error),
            do=f"stop that program, or change `port` (and `address`, where peers look for it) in "
            f"{home / settings.FILE}"
            if in_use
            else f"correct `host` and `port` in {home / settings.FILE}",
        ) from None


def _taken(family: socket.AddressFamily, address: Any) -> socket.socket:
    """A socket that owns its address and does not listen yet, as asyncio would make it."""
    made = socket.socket(family, socket.SOCK_STREAM)
    if sys.platform != "win32":
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made
