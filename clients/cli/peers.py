"""`aeo peer`: the nodes of other administrations whose cards are pinned here."""

from pathlib import Path
from typing import Annotated

import typer

from clients.cli.files import read_text
from clients.cli.output import say, say_json, say_table
from clients.cli.session import Session, on_node

CARD_LIMIT_BYTES = 1 << 17

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The nodes of other administrations.")


@cli.command("add", epilog='Example: aeo peer add uy.card --fingerprint "0A1B 2C3D ..." --home br')
@on_node
def add(
    session: Session,
    file: Annotated[Path, typer.Argument(help="The peer's card, as its `aeo card` printed it; - for stdin.")],
    fingerprint: Annotated[str, typer.Option(help="As the peer read it to you over another channel.")],
) -> None:
    """Pin a peer's card; refused unless the fingerprint is that card's."""
    peer = session.node.add_peer(read_text(file, CARD_LIMIT_BYTES).strip(), fingerprint)
    if session.as_json:
        say_json(peer)
    else:
        say(f"{peer['name']} ({peer['country']}, {peer['administration']}) is pinned: {peer['fingerprint']}")


@cli.command("freeze", epilog='Example: aeo peer freeze UY --reason "its keys were stolen" --home br')
@on_node
def freeze(
    session: Session,
    country: Annotated[str, typer.Argument(help="The administration's country.")],
    reason: Annotated[str, typer.Option(help="What you were told; it stands in every answer.")],
) -> None:
    """Believe nothing new of a peer and tell it nothing: its keys are in other hands."""
    frozen = session.node.freeze_peer(country, reason)
    if session.as_json:
        say_json(frozen)
        return
    _, size, root, *_ = [*frozen["checkpoint"].split("\n"), "", "0", "none"]
    say(f"{frozen['name']} is frozen at {size} entries of its ledger, root {root}.")
    say("To take that back, close the incident `frozen`: `aeo incidents --open`, `aeo incidents --close`.")


@cli.command("list", epilog="Example: aeo peer list --home br")
@on_node
def list_peers(session: Session) -> None:
    """List the pinned peers."""
    peers = session.node.peers()
    if session.as_json:
        say_json(peers)
        return
    columns = ("country", "name", "administration", "address", "fingerprint", "pinned_at", "number")
    rows = [[peer.get(column, "") for column in columns] for peer in peers]
    say_table(columns, rows, "No peer is pinned; pin one with `aeo peer add`.")
