"""`aeo keys`: which keys are in use, a new one beside the one before, and the older one retired."""

import json
from typing import Annotated

import typer

from node import advice, assembly
from node.commands.home import HERE, Home, progress
from node.service import rotation

cli = typer.Typer(invoke_without_command=True, help="The node's keys.", rich_markup_mode=None)
Uses = Annotated[list[str], typer.Argument(metavar="KEY...", help=", ".join(rotation.USES))]


@cli.callback(epilog="Example: aeo keys --home br")
def state(
    context: typer.Context,
    home: Home = HERE,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show the node's keys, since when each counts, and which card each partner has."""
    if context.invoked_subcommand is None:
        now = rotation.state(assembly.parts_of(home))
        typer.echo(json.dumps(now.to_json()) if as_json else "\n".join(rotation.lines(now)))


@cli.command("rotate", epilog="Example: aeo keys rotate log --home br")
def rotate(uses: Uses, home: Home = HERE) -> None:
    """Make a new key; the one before is used beside it until it is retired."""
    typer.echo("Next: " + advice.pasted(rotation.rotate(assembly.parts_of(home), home, uses)))


@cli.command("retire", epilog="Example: aeo keys retire log --home br")
def retire(
    uses: Uses,
    home: Home = HERE,
    even_so: Annotated[bool, typer.Option("--even-so", help="Though a partner has not heard yet.")] = False,
) -> None:
    """Destroy the older of two keys in use; for `store`, once everything is wrapped with the newer one."""
    with progress("keys") as told:
        do = rotation.retire(assembly.parts_of(home), home, uses, even_so=even_so, told=told)
    typer.echo("Next: " + advice.pasted(do))
