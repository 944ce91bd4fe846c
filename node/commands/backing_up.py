"""`aeo backup`, `aeo restore`: the store as one file, and out of it again."""

import os
from pathlib import Path
from typing import Annotated

import typer

from node import assembly
from node.advice import pasted
from node.commands.home import HERE, Home, alone, progress
from node.errors import Conflict
from node.service import backup as backups
from node.service.backup import Contents

File = Annotated[Path, typer.Argument(help="The file of the backup.")]


def backup(file: File, home: Home = HERE) -> None:
    """Write the store into one file; the node may run. What is erased later cannot be read out of it."""
    parts = assembly.parts_of(home)
    new = file.with_name(f".{file.name}.part")
    if file.exists():
        raise Conflict(
            "there is a file of this name already", where=str(file), do="give the backup another name"
        )
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "wb") as out, progress("rows") as told:
            contents = backups.write(parts, out, told)
            out.flush()
            os.fsync(out.fileno())
        os.link(new, file)
    finally:
        new.unlink(missing_ok=True)
    typer.echo(_said(contents))
    typer.echo(
        f"It opens with {parts.backup_keys.path} alone: keep the newest copy of that, and no older one."
    )


def restore(
    file: File,
    home: Home = HERE,
    check: Annotated[bool, typer.Option("--check", help="Only see that it is whole and opens.")] = False,
) -> None:
    """Write the store of this home folder, which has settings and keys and no store, out of a backup."""
    parts = assembly.parts_of(home)
    with (
        alone(home, unless=check or parts.database.is_shared),
        file.open("rb") as held,
        progress("rows") as told,
    ):
        contents = backups.restore(parts, held, told, is_check=check)
    typer.echo(_said(contents))
    if contents.erased:
        typer.echo(f"{contents.erased} rows are of records that were erased since; they cannot be read back.")
    if not check:
        what = "`aeo fsck`, and `aeo recover` if partners have seen more than it holds; then `aeo serve`."
        typer.echo(pasted(f"Next: {what}"))


def _said(contents: Contents) -> str:
    rows = sum(contents.rows.values())
    of = f"{contents.name} as of {contents.made_at}"
    return f"{of}: {contents.ledger_size} ledger entries, {rows} rows."
