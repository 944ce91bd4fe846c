"""`python -m node`: the commands that touch a node's own home folder."""

import json
import os
import sys

import typer

from node import advice, assembly
from node.api import problems
from node.commands import backing_up, bearers, beginning, checking, keyring, serving
from node.commands.home import HERE, Home
from node.errors import Refusal
from node.exchange.card import ledger_origin

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=__doc__,
    rich_markup_mode=None,
)
cli.command(
    epilog="Example: aeo init --home br --country BR --name aeo.br.example "
    "--address http://127.0.0.1:8001 --port 8001"
)(beginning.init)
cli.command(epilog="Example: aeo serve --home br")(serving.serve)
cli.command(epilog="Example: aeo fsck --home br")(checking.fsck)
cli.command(epilog="Example: aeo recover --home br")(checking.recover)
cli.command(epilog="Example: aeo backup br.aeo-backup --home br")(backing_up.backup)
cli.command(epilog="Example: aeo restore br.aeo-backup --home br")(backing_up.restore)
cli.add_typer(bearers.cli, name="token")
cli.add_typer(keyring.cli, name="keys")
cli.add_typer(checking.audit, name="audit")


@cli.command(epilog="Example: aeo card --home br > br.card")
def card(home: Home = HERE) -> None:
    """Print the node's signed card, for a peer to pin; its fingerprint and ledger key go to the terminal."""
    own = assembly.parts_of(home).card
    typer.echo(own.text)
    typer.echo(f"Key of its ledger: {own.of_log(ledger_origin(own.name))[0].vkey()}", err=True)
    typer.echo(f"{own.name} ({own.country}), fingerprint: {own.fingerprint}", err=True)


@cli.command(epilog="Example: aeo openapi > docs/openapi.json")
def openapi(home: Home = HERE) -> None:
    """Print the OpenAPI description of the node's API."""
    from node import app  # the web framework with it, which no other command here needs

    typer.echo(json.dumps(app.build(assembly.parts_of(home)).openapi(), indent=1, sort_keys=True))


def main() -> None:
    """Run the command line; exit code 2 for a refusal: a sentence, or with `--json` its problem details."""
    os.umask(0o077)  # what a node stores is for its own account only
    try:
        cli(prog_name=advice.program())
    except Refusal as refusal:
        _tell(refusal)
    except OSError as error:
        _tell(Refusal(error.strerror or str(error), where=str(error.filename or "no file")))
    sys.exit(2)


def _tell(refusal: Refusal) -> None:
    refusal.do = advice.pasted(refusal.do)
    if "--json" in sys.argv:
        typer.echo(json.dumps(problems.problem_of(refusal), indent=2))
    else:
        typer.echo(f"Refused: {refusal.sentence()}", err=True)


if __name__ == "__main__":
    main()
