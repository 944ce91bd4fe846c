"""`aeo reader`: the key of an administration without a node, which is served through a partner's."""

import os
from pathlib import Path
from typing import Annotated

import typer

from clients.cli.output import say_json, say_refusal, warn
from node.errors import Conflict, Malformed, Refusal, reason

cli = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Administrations that a partner's node serves."
)


@cli.command("key", epilog="Example: aeo reader key py.key")
def key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to keep it; only you may read it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print a refusal as JSON.")] = False,
) -> None:
    """Make a key to ask with (`--token-file FILE`), and print what the agreement names it by (`readers`)."""
    try:
        say_json(_made(file))
    except Refusal as refusal:
        raise typer.Exit(say_refusal(refusal, as_json)) from None
    warn(f"{file} is secret, and stays here; what is printed goes into the terms.")


def _made(file: Path) -> dict[str, str]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from clients.sdk.signed import public_jwk

    new = Ed25519PrivateKey.generate()
    pem = new.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
            out.write(pem)
    except FileExistsError:
        raise Conflict("there is a file of this name", where=str(file), do="give another name") from None
    except OSError as error:
        raise Malformed("the key cannot be written", where=str(file), why=reason(error)) from None
    return public_jwk(new)
