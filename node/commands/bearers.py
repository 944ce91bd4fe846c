"""`aeo token`: the bearer tokens of the own administration, made, listed, revoked."""

import json
from typing import Annotated, Final

import typer

from node import advice, assembly, settings
from node.commands.home import HERE, Home
from node.errors import Malformed, problem
from node.service import tokens
from node.store.database import Database

LABEL_LIMIT: Final = 100

cli = typer.Typer(
    no_args_is_help=True, help="Bearer tokens of the own administration.", rich_markup_mode=None
)


@cli.command("create", epilog="Example: aeo token create --home br --role officer --label 'Port of Santos'")
def create(
    role: Annotated[str, typer.Option(help="officer, reader, auditor or administrator.")],
    label: Annotated[str, typer.Option(help="Whose it is.")],
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Days until it expires; never if absent.")
    ] = None,
    home: Home = HERE,
) -> None:
    """Create a token and print it once; only its hash is stored."""
    if not label.strip() or len(label) > LABEL_LIMIT:
        rule = f"must say whose the token is, in 1 to {LABEL_LIMIT} characters, such as 'Port of Santos'"
        raise Malformed("a token needs a label", problems=[problem("--label", label, rule)])
    parts = assembly.parts_of(home)
    typer.echo(tokens.create(parts.database, role, label, days, parts.now_ms(), parts.entropy))


@cli.command("list", epilog="Example: aeo token list --home br")
def listed(
    home: Home = HERE, as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False
) -> None:
    """List the tokens, without their secrets."""
    store = Database(settings.load(home).database_url, home)
    store.reach()
    rows = tokens.listed(store)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo(advice.pasted("There is no token; make one with `aeo token create`."))
        return
    typer.echo(f"{'token':<12}  {'role':<13}  {'state':<10}  label")
    for row in rows:
        state = (
            "revoked"
            if row["revoked_at"]
            else f"until {row['expires_at']}"
            if row["expires_at"]
            else "in force"
        )
        typer.echo(f"{row['token']}  {row['role']:<13}  {state:<10}  {row['label']}")


@cli.command("revoke", epilog="Example: aeo token revoke 0a1b2c3d4e5f --home br")
def revoke(number: Annotated[str, typer.Argument(help="The token's id.")], home: Home = HERE) -> None:
    """Revoke a token; it stops working within two seconds."""
    parts = assembly.parts_of(home)
    tokens.revoke(parts.database, number, parts.now_ms())
    typer.echo(f"Token {number} is revoked.")
