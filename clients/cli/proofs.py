"""`aeo evidence`, `aeo receipt`, `aeo verify`: what can be handed to someone who trusts nobody."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import orjson
import typer

from clients.cli.access import Purpose, Reference, state
from clients.cli.files import read_bytes, read_text, write_new
from clients.cli.output import FINDINGS, FINE, say, say_json, warn
from clients.cli.session import Session, on_node
from node.advice import program

Out = Annotated[Path, typer.Option("--out", "-o", help="The file to write; it must not exist.")]
Forced = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]


@on_node
def evidence(
    session: Session,
    tin: Annotated[str, typer.Argument(help="The TIN of a partner's operator.")],
    out: Out,
    at: Annotated[
        str, typer.Option(help="A day, which means its end, or a moment in UTC.", show_default="now")
    ] = "",
    agreement: Annotated[
        str, typer.Option(help="The agreement, where several cover the operator.", show_default=False)
    ] = "",
    force: Forced = False,
    purpose: Purpose = "",
    reference: Reference = "",
) -> int:
    """Write what a partner had told us about an operator at a moment, provable to anyone, to a file."""
    state(session, purpose, reference)
    content = session.node.evidence(tin, at, agreement)
    until = orjson.loads(content)["at"]
    hint = f"Check it with `{program()} verify {shlex.quote(str(out))} --policy FILE`."
    return _written(session, content, out, force, {"at": until}, f"{tin} as of {until}, ", hint)


@on_node
def receipt(
    session: Session,
    entry: Annotated[int, typer.Argument(help="The number of a ledger entry, as a change was answered.")],
    out: Out,
    size: Annotated[
        int | None, typer.Option(help="Against the ledger of this size.", show_default="the newest")
    ] = None,
    witnessed: Annotated[
        bool, typer.Option("--witnessed", help="Wait until witnesses have cosigned.")
    ] = False,
    force: Forced = False,
) -> int:
    """Write the proof that the own ledger holds an entry (C2SP tlog-proof) to a file."""
    content = session.node.receipt(entry, size=size, witnessed=witnessed)
    return _written(session, content, out, force)


def _written(
    session: Session,
    content: bytes,
    out: Path,
    force: bool,
    also: Mapping[str, str] = MappingProxyType({}),
    about: str = "",
    hint: str = "",
) -> int:
    """Write what can be handed on to a new file, and say so."""
    write_new(out, content, replace=force)
    if session.as_json:
        say_json({"file": str(out), **also, "bytes": len(content)})
    else:
        say(f"{out}: {about}{len(content):,} bytes.")
        if hint:
            say(hint)
    return FINE


def verify(
    file: Annotated[Path, typer.Argument(help="Evidence, an accusation or a receipt; - for stdin.")],
    policy: Annotated[Path, typer.Option(help="The trust policy (C2SP tlog-policy).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check a file offline against a trust policy, step by step; exit code 1 unless all of it holds."""
    from dataclasses import asdict

    from clients.sdk import verifier
    from node.ledger.policy import LIMIT_CHARACTERS

    encoded = read_bytes(file, verifier.LIMIT_BYTES)
    results = verifier.verify(encoded, read_text(policy, LIMIT_CHARACTERS))
    holds = all(each.passed for each in results)
    if as_json:
        say_json({"holds": holds, "checks": [asdict(each) for each in results]})
    else:
        for line in verifier.told(results).splitlines():
            (say if holds else warn)(line)
    raise typer.Exit(FINE if holds else FINDINGS)
