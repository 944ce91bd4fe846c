"""Commands on a node's own home folder: handed, with all their arguments, to `python -m node`."""

import os
import sys
from typing import Final, NoReturn

import typer

COMMANDS: Final = {
    "init": (
        "Make a new node: settings, keys, store, ledger, a first token.",
        "aeo init --home br --country BR --name aeo.br.example --address http://127.0.0.1:8001 --port 8001",
    ),
    "serve": ("Serve the node.", "aeo serve --home br"),
    "card": (
        "Print the node's card, for a peer to pin, and its fingerprint.",
        "aeo card --home br > br.card",
    ),
    "fsck": (
        "Recompute everything that is signed or follows from it; exit code 1 when something differs.",
        "aeo fsck --home br",
    ),
    "keys": (
        "The node's keys: which are in use, a new one, and the older one retired.",
        "aeo keys rotate log --home br",
    ),
    "recover": (
        "Say what is lost if the store was put back, and what partners hold; writes only with --rebuild.",
        "aeo recover --home br",
    ),
    "backup": (
        "Write the store into one file, out of which what is erased later cannot be read back.",
        "aeo backup br.aeo-backup --home br",
    ),
    "restore": ("Write the store out of a backup.", "aeo restore br.aeo-backup --home br"),
    "token": (
        "Bearer tokens: create, list, revoke.",
        "aeo token create --home br --role officer --label 'Port of Santos'",
    ),
    "openapi": ("Print the OpenAPI description of the node's API.", "aeo openapi --home br"),
}
_AS_THEY_ARE: Final = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def add_to(cli: typer.Typer) -> None:
    """Add the commands; their own `--help` is the node's."""
    for name, (told, example) in COMMANDS.items():
        cli.command(name, help=told, epilog=f"Example: {example}", context_settings=_AS_THEY_ARE)(_hand_over)


def become(*arguments: str) -> NoReturn:
    """Become the node's own command; `-P` keeps the working directory from standing in for it."""
    sys.stdout.flush()
    own = [sys.executable, "-P", "-m", "node", *arguments]
    os.execv(sys.executable, own)  # noqa: S606  # no shell, our own interpreter


def _hand_over(context: typer.Context) -> None:
    become(str(context.info_name), *context.args)
