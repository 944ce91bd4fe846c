"""`aeo fetch`: ask a partner about one operator, where the agreement has it told only on demand."""

from typing import Annotated

import typer

from clients.cli.lookup import say_card
from clients.cli.output import FINE, NOTHING_FOUND, say, say_json
from clients.cli.session import Session, on_node


@on_node
def fetch(
    session: Session,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="TIN, CNPJ, RUT, EORI ...")],
    purpose: Annotated[str, typer.Option(help="What you ask for; the partner is told.")],
    reference: Annotated[
        str, typer.Option(help="The case, such as the number of a declaration; the partner is told.")
    ],
    scheme: Annotated[str, typer.Option(help="Of which scheme; else any.", show_default=False)] = "",
    country: Annotated[
        str, typer.Option("--from", help="Whom to ask, where several can be.", show_default=False)
    ] = "",
    agreement: Annotated[
        str, typer.Option(help="Under which agreement, by its whole id.", show_default=False)
    ] = "",
) -> int:
    """Ask a partner about one operator; it learns what for, not who asks. Exit code 4: not told."""
    found = session.node.fetch(identifier, purpose, reference, scheme, country, agreement)
    if session.as_json:
        say_json(found)
    elif found["operator"] is None:
        said = f"{found['country']} shares nothing under this identifier (entry {found['entry']})"
        state = found["state"].lower().replace("_", " ")
        stopped = "" if found["state"] == "IN_OPERATION" else f"; the agreement is {state} in this direction"
        say(f"{identifier}: {said}{stopped}.")
    else:
        say_card(found["operator"], {}, identifier)
    return FINE if found["operator"] else NOTHING_FOUND
