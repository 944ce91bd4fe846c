"""`aeo init`: a new node, also one that succeeds another of its administration."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from node import advice, assembly, keys, settings
from node.commands.home import HERE, Home, alone, progress
from node.errors import Conflict, Malformed, problem, reason
from node.service import genesis, succession, tokens
from node.service.parts import Parts
from node.service.succession import Predecessor
from node.store import logs
from node.store.database import Database
from node.store.tables import LEDGER

IN_WORDS: Final = {
    "name": "must be lower-case words with dots between, such as aeo.br.example",
    "country": "must be the two capital letters of a country (ISO 3166-1), such as BR",
    "administration": "must have 1 to 100 characters, such as Receita Federal do Brasil",
    "address": "must be http:// or https:// with a host and no path, such as http://127.0.0.1:8001",
    "port": "must be a whole number from 1 to 65535, such as 8001",
    "database_url": "must begin with sqlite: or postgresql:, such as postgresql:///aeo_br",
}


def init(
    name: Annotated[str, typer.Option(help="The node's schema-less URL.")],
    country: Annotated[str, typer.Option(help="ISO 3166-1 alpha-2 code.")],
    address: Annotated[str, typer.Option(help="Where peers reach this node.")],
    administration: Annotated[str, typer.Option(help="The administration's name.")] = "",
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    database: Annotated[
        str,
        typer.Option(help="URL of the store, such as postgresql:///aeo_br; a file unless given."),
    ] = "",
    succeeds: Annotated[
        Path | None, typer.Option(help="Home folder of a node of this administration that ends: see docs.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="With --succeeds: the checkpoint of its ledger to go on from.")
    ] = None,
    home: Home = HERE,
) -> None:
    """Make a new node: settings, keys (mode 0600), store, ledger, and a first administrator token.

    With --succeeds its ledger begins by committing to that of the node that ends, and its records are carried
    over.
    """
    values: dict[str, Any] = {"name": name, "country": country}
    values["administration"] = administration or f"Customs of {country}"
    values |= {"address": address.rstrip("/"), "host": host, "port": port}
    values |= {"database_url": database} if database else {}
    _check_options(values, home)
    _check_store_is_new(settings.checked(values, str(home)).database_url, home)
    with _ending(succeeds, checkpoint, name, country) as before:
        _make(home, values, before)


@contextmanager
def _ending(
    old: Path | None, checkpoint: Path | None, name: str, country: str
) -> Iterator[Predecessor | None]:
    """The node to be succeeded, which must not be served meanwhile."""
    if old is None:
        if checkpoint is not None:
            do = "give --succeeds too, the home folder of the node that ends"
            raise Malformed("a checkpoint of no node", where="--checkpoint", do=do)
        yield None
        return
    parts = assembly.parts_of(old)
    with alone(old, unless=parts.database.is_shared):
        note = _note(checkpoint) if checkpoint else ""
        yield succession.predecessor(parts, name, country, note)


def _note(checkpoint: Path) -> str:
    try:
        return checkpoint.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        do = "give the signed note as a partner kept it: `aeo incidents --show NUMBER -o FILE`"
        raise Malformed("this is not a checkpoint", where=str(checkpoint), do=do) from None


def _make(home: Path, values: dict[str, Any], before: Predecessor | None) -> None:
    name = values["name"]
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        do = "give another folder: --home"
        raise Conflict("the home folder cannot be made", where=str(home), why=reason(error), do=do) from None
    settings.write(home, values)
    keys.make(home / "keys")
    parts = assembly.parts_of(home)
    parts.database.migrate()
    if before is None:
        genesis.start_ledger(parts)
    else:
        _succeed(parts, before)
    secret = tokens.create(
        parts.database, "administrator", "first administrator", None, parts.now_ms(), parts.entropy
    )
    _write_secret(home / "administrator.token", secret)
    typer.echo(
        f"Node {name} is ready in {home}.\n"
        f"Administrator token: {home / 'administrator.token'}\n"
        f"Start it: {advice.program()} serve --home {shlex.quote(str(home))}"
    )


def _succeed(parts: Parts, before: Predecessor) -> None:
    """Begin as a successor, and say what it took over and what not."""
    with progress("records") as told:
        carried = succession.succeed(parts, before, told)
    signed = before.signed
    typer.echo(f"It succeeds {before.parts.settings.name} as of its {signed.size} entries.")
    if signed.size > before.size:
        typer.echo(f"{signed.size - before.size} entries are lost: the old store holds {before.size}.")
    elif before.size > signed.size:
        typer.echo(f"{before.size - signed.size} entries behind that are disowned.")
    typer.echo(f"{carried.count} records were carried over.")
    for each in carried.refused:
        typer.echo(f"Not carried over: {each.tin}: {each.message}")


def _check_options(values: dict[str, Any], home: Path) -> None:
    """The settings that `init` is about to write; what is wrong is told by option, in words."""
    try:
        settings.checked(values, str(home))
    except Malformed as refusal:
        told = [
            problem(f"--{p.field.removesuffix('_url')}", p.value, IN_WORDS.get(p.field, p.rule))
            for p in refusal.problems
        ]
        do = "correct the option, or the AEO_ variable of that name, and give the command again"
        raise Malformed(refusal.what, where=refusal.where, do=do, problems=told) from None


def _check_store_is_new(url: str, home: Path) -> None:
    """A database that others may have filled is looked at before anything is written."""
    store = Database(url, home)
    if store.is_shared:
        store.migrate()
        with store.glance() as connection:
            if logs.head(connection, LEDGER) is not None:
                do = "give another database, or start its node with `aeo serve`"
                raise Conflict("this database holds a ledger already", where="--database", do=do)
    store.close()


def _write_secret(path: Path, secret: str) -> None:
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(secret + "\n", encoding="utf-8")
