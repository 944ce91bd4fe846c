"""Which node a command talks to, and with which token.

A home folder names a node on this machine: its `settings.toml` says where it listens, and its
`administrator.token` opens it, and nothing else: to an address from elsewhere it is never sent.
There an address and a token file name the node. Refuses a token that is given
as an argument, by having no such option: arguments are seen by everyone on the machine.
"""

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from threading import Event, Timer
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from clients.cli.output import say_refusal, warn
from node.errors import Malformed, Refusal, reason

if TYPE_CHECKING:
    import httpx

    from clients.sdk.client import Node

DEFAULT_HOME: Final = Path("aeo-node")
SETTINGS: Final = "settings.toml"
TOKEN: Final = "administrator.token"  # noqa: S105  # the name of a file
TIMEOUT_S: Final = 40.0
"""Longer than a node lets a change wait, so that its answer is heard."""
PEM: Final = "-----BEGIN"
SLOW_S: Final = 2.0
"""How long a person waits without a word."""
ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where a node listens, never we

_OPTIONS: Final = {
    "home": Annotated[
        Path | None,
        typer.Option("--home", help="Home folder of a node here (or AEO_HOME).", show_default=False),
    ],
    "url": Annotated[
        str | None, typer.Option("--url", help="Address of the node (or AEO_URL).", show_default=False)
    ],
    "token_file": Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            help="File with the token, or the key of a hosted reader (or AEO_TOKEN_FILE).",
            show_default=False,
        ),
    ],
    "as_json": Annotated[bool, typer.Option("--json", help="Print the answer, or the refusal, as JSON.")],
}


@dataclass(frozen=True, slots=True)
class Session:
    """The node a command asks, and whether a program reads the answer."""

    node: "Node"
    as_json: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node answers, and the token that opens it, or a hosted reader's key as PEM."""

    url: str
    token: str


def on_node(command: Callable[..., int | None]) -> Callable[..., None]:
    """Give a command the options that name a node; it is called with a session, and gives an exit code."""

    @wraps(command)
    def run(
        *, home: Path | None, url: str | None, token_file: Path | None, as_json: bool, **given: Any
    ) -> None:
        try:
            place = locate(home, url, token_file, os.environ)
            from clients.sdk.client import Node

            slow = f"{place.url} has not answered yet; it is waited for, {TIMEOUT_S:.0f} s at most"
            patience = nullcontext if as_json else patient(slow)
            token, auth = (place.token, None) if PEM not in place.token else ("", _signed(place.token))
            with Node(place.url, token, TIMEOUT_S, auth=auth, patience=patience) as node:
                code = command(Session(node, as_json), **given)
        except Refusal as refusal:
            code = say_refusal(refusal, as_json)
        raise typer.Exit(code or 0)

    own = list(signature(command).parameters.values())[1:]
    common = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=False if name == "as_json" else None, annotation=kind)
        for name, kind in _OPTIONS.items()
    ]
    run.__signature__ = Signature([*own, *common])  # type: ignore[attr-defined]  # what typer reads
    return run


def patient(text: str) -> Callable[[], AbstractContextManager[None]]:
    """What to wait in: it says a text on standard error, once, when a wait takes longer than `SLOW_S`."""
    said = Event()

    def tell() -> None:
        if not said.is_set():
            said.set()
            warn(text)

    @contextmanager
    def waiting() -> Iterator[None]:
        timer = Timer(SLOW_S, tell)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    return waiting


def locate(
    home: Path | None, url: str | None, token_file: Path | None, environment: Mapping[str, str]
) -> Place:
    """Where the node is; an option beats the environment. `Malformed` when nothing names a node."""
    chosen = home is not None and url is None
    if token_file is None and not chosen and "AEO_TOKEN_FILE" in environment:
        token_file = Path(environment["AEO_TOKEN_FILE"])
    if home is None and url is None:
        url = environment.get("AEO_URL")
        home = Path(environment["AEO_HOME"]) if "AEO_HOME" in environment else None
    if url is not None:
        return Place(url, _token(token_file))
    home = home or DEFAULT_HOME
    return Place(_address(home, environment), _token(token_file or home / TOKEN))


def _address(home: Path, environment: Mapping[str, str]) -> str:
    """Where the node of a home folder listens, read as the node reads it: the environment first."""
    try:
        told = tomllib.loads((home / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        do = "name a node with --home or --url, or make one with `aeo init`"
        why = f"{SETTINGS}: {reason(error)}"
        raise Malformed("no node lives here", where=str(home), why=why, do=do) from None
    host = environment.get("AEO_HOST") or str(told.get("host", "127.0.0.1"))
    port = environment.get("AEO_PORT") or told.get("port", 8000)
    host = ANYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _signed(pem: str) -> "httpx.Auth":
    from clients.sdk.signed import SignedBy, read_key

    return SignedBy(read_key(pem.encode(), "--token-file"))


def _token(path: Path | None) -> str:
    if path is None:
        why = "a home's own token is not sent to an address that does not come from that home"
        do = "name the file that holds it with --token-file or AEO_TOKEN_FILE"
        raise Malformed("no token was given", why=why, do=do)
    try:
        token = path.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        token = ""  # other letters than a token has
    except OSError as error:
        do = "make one with `aeo token create` and keep it in a file that only you can read"
        raise Malformed("the token cannot be read", where=str(path), why=reason(error), do=do) from None
    if token.startswith(PEM):
        return token
    if not token or not token.isprintable() or " " in token:
        do = "keep in it what `aeo token create` printed, and nothing else"
        raise Malformed("the token file does not hold one token", where=str(path), do=do)
    return token
