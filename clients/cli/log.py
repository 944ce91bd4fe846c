"""`aeo log`: what tools of others need to check a ledger: its key, and whom to believe about it.

A trust policy is for one ledger. C2SP's have one quorum for all the logs in them, so with several ledgers in
one policy an administration could vouch for its own.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from clients.cli.output import say, say_json
from clients.cli.session import Session, on_node
from node.errors import NotFound

if TYPE_CHECKING:
    from clients.sdk.answers import LogKeys
    from node.ledger.policy import Policy

QUORUM_REMARK: Final = (
    "Any one of them is enough: it has seen this ledger grow without a change to what was there."
)
ALONE_REMARK: Final = "No partner is pinned, so nobody vouches for this ledger but who writes it."

cli = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="What tools of others need to check a ledger."
)


@cli.command("vkey", epilog="Example: aeo log vkey --home br")
@on_node
def vkey(session: Session) -> None:
    """Print the verifier key of the node's ledger (C2SP signed-note)."""
    keys = session.node.log_keys()
    if session.as_json:
        say_json(keys)
    else:
        say(keys["log"]["vkey"])


@cli.command("policy", epilog="Example: aeo log policy --home br")
@on_node
def policy(
    session: Session,
    ledger: Annotated[
        str | None,
        typer.Option(
            help="Country of the pinned peer whose ledger it is for; the own if absent.", show_default=False
        ),
    ] = None,
) -> None:
    """Print a trust policy for a ledger (C2SP tlog-policy): its key, and who must have cosigned it."""
    keys = session.node.log_keys()
    text = policy_for(ledger and ledger.upper(), [keys, *keys["peers"]])
    if session.as_json:
        say_json({"policy": text})
    else:
        for line in text.splitlines():
            say(line)


def policy_for(country: str | None, known: Sequence["LogKeys"]) -> str:
    """The policy for the ledger of a country, or of the first known; any of the others suffices as a witness.

    `NotFound` when the country is of none; `Malformed` when a card has a name or an address of no form.
    """
    from node.ledger.policy import render

    chosen = next((each for each in known if country in (None, each["country"])), None)
    if chosen is None:
        raise NotFound(
            "no peer is pinned for this country", where=str(country), do="list them with `aeo peer list`"
        )
    others = [each for each in known if each is not chosen]
    return render(_policy(chosen, others), _remarks(chosen, others))


def _policy(chosen: "LogKeys", others: Sequence["LogKeys"]) -> "Policy":
    from node.ledger.note import parse_vkey
    from node.ledger.policy import any_of

    witnesses = [
        (
            each["witness"]["name"],
            each["witness"]["url"],
            [parse_vkey(key) for key in each["witness"]["vkeys"]],
        )
        for each in others
    ]
    return any_of([parse_vkey(chosen["log"]["vkey"])], chosen["log"]["url"], witnesses)


def _remarks(chosen: "LogKeys", others: Sequence["LogKeys"]) -> dict[str, str]:
    said = {chosen["log"]["origin"]: f"The ledger of {_named(chosen)}, and where it is read."}
    for each in others:
        said[f"{each['witness']['name']}/1"] = (
            f"{_named(each)} cosigns under these keys, with all of them, and is asked to at this address."
        )
    from node.ledger.policy import ANY, NONE

    return said | ({ANY: QUORUM_REMARK} if others else {NONE: ALONE_REMARK})


def _named(keys: "LogKeys") -> str:
    return f"{keys['administration']} ({keys['country']}, {keys['name']})"
