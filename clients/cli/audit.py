"""`aeo audit`: somebody else's log, re-read by whoever trusts nobody; `aeo audit decisions`: one's own.

The log is named by its address alone, so the one word that is no address is the other command.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand

from clients.cli.files import read_text
from clients.cli.local import become
from clients.cli.output import CONTRADICTED, FINDINGS, FINE, say, say_json, say_pairs, say_refusal
from clients.cli.progress import steps
from node.errors import Malformed, Refusal
from node.ledger.encoding import b64

if TYPE_CHECKING:
    from clients.sdk.auditing import Report
    from node.ledger.policy import Policy

DECISIONS: Final = "decisions"


class OrDecisions(TyperCommand):
    """Hands `aeo audit decisions` over, with all its arguments, to the node's own command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments, unless they are not for this command."""
        if args[:1] == [DECISIONS]:
            become("audit", *args)
        return super().parse_args(ctx, args)


def audit(
    url: Annotated[str, typer.Argument(help="Prefix under which the log is served, or `decisions`.")],
    vkey: Annotated[str, typer.Option(help="The log's key, as a line name+id+key.", show_default=False)] = "",
    policy_file: Annotated[
        Path | None,
        typer.Option("--policy", help="A trust policy (C2SP tlog-policy) that names it.", show_default=False),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="Where to keep how far it came; named by the log, here.", show_default=False),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report, or the refusal, as JSON.")
    ] = False,
) -> None:
    """Re-read a whole log against what it signed, and that against the last audit; goes on where it stopped.

    With `decisions` instead of an address, every decision of the own node is made again: see
    `aeo audit decisions --help`.
    """
    try:
        code = _audit(url, _trusted(vkey, policy_file), state, as_json)
    except Refusal as refusal:
        code = say_refusal(refusal, as_json)
    raise typer.Exit(code)


def _trusted(vkey: str, policy_file: Path | None) -> "Policy":
    from clients.sdk.auditing import trusting
    from node.ledger import policy

    if bool(vkey) == (policy_file is not None):
        do = "give --vkey, as `aeo card` prints it for whoever keeps the log, or --policy"
        raise Malformed("an audit needs the key of the log, once", do=do)
    if policy_file is None:
        try:
            return trusting(vkey)
        except Malformed as refusal:
            do = (
                'give the line itself, as `aeo log vkey` prints it there; out of a file: --vkey "$(cat FILE)"'
            )
            raise Malformed("--vkey is not a key", problems=refusal.problems, do=do) from None
    return policy.parse(read_text(policy_file, policy.LIMIT_CHARACTERS))


def _audit(url: str, trusted: "Policy", state: Path | None, as_json: bool) -> int:
    from clients.sdk.auditing import audit as reread
    from clients.sdk.tlog import Log

    with Log(url) as log, steps("auditing", unit="entries") as tell:
        report = reread(log, trusted, state, lambda done, of: tell(done, of=of))
    if as_json:
        say_json(_told(report))
    else:
        _say(report)
    if report.accused is not None:
        return CONTRADICTED
    return FINE if report.found is None else FINDINGS


def _told(report: "Report") -> dict[str, Any]:
    """The report for a program."""
    signed, chain, found = report.signed, report.chain, report.found
    return {
        "origin": signed.origin,
        "size": signed.size,
        "root": b64(signed.root),
        "before": report.before,
        "read": report.read,
        "country": chain and chain.country,
        "state": str(report.state),
        "found": None if found is None else found.details(),
        "accusation": report.accused and str(report.accused),
    }


def _say(report: "Report") -> None:
    """The report for a person."""
    signed, chain = report.signed, report.chain
    if report.found is not None:
        say(f"FOUND in {signed.origin}: {report.found.sentence()}")
    else:
        say(f"{signed.origin}: everything holds.")
    form = (
        "hashes only: they are not a ledger's" if chain is None else f"a ledger of {chain.country}, chained"
    )
    earlier = (
        "" if report.before is None else f"; {signed.size - report.before:,} more than at the last audit"
    )
    say_pairs(
        [
            ("signed", f"{signed.size:,} entries, root {b64(signed.root)}{earlier}"),
            ("entries", form if signed.size else ""),
            ("re-read", f"{report.read:,} in this run"),
            ("state", report.state),
        ]
    )
