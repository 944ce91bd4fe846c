"""The entry of `aeo`: every command put together."""

import sys
from importlib import import_module
from typing import Annotated

import typer

from clients.cli import (
    access,
    agreements,
    audit,
    contracts,
    differences,
    erasures,
    fetching,
    irregularities,
    local,
    log,
    lookup,
    operators,
    peers,
    proofs,
    suspensions,
    watching,
)
from clients.cli.output import EXIT_CODES, say_refusal
from node.advice import program
from node.errors import Refusal

EXAMPLES = (
    "aeo demo",
    "aeo init --home br --country BR --name aeo.br.example --address http://127.0.0.1:8001 --port 8001",
    "aeo serve --home br",
    "aeo operator import list.csv --profile br-oea --home br",
    "aeo lookup 99000001000101 --home br",
)
EPILOG = (
    "\b\nExamples:\n  "
    + "\n  ".join(EXAMPLES)
    + "\n\n\b\nExit codes:\n"
    + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
)

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="AEO Exchange: tell other administrations, provably, who your Authorized Economic Operators are.",
    epilog=EPILOG,
)
local.add_to(cli)
cli.add_typer(peers.cli, name="peer")
cli.add_typer(log.cli, name="log")
agreements.cli.command(
    "diff",
    epilog="Example: aeo mra diff Zk3c1d mine.json --contract mine.py --home br",
    context_settings={"ignore_unknown_options": True},
)(differences.diff)
cli.add_typer(agreements.cli, name="mra")
cli.add_typer(contracts.cli, name="contract")
cli.add_typer(operators.cli, name="operator")
cli.add_typer(erasures.cli, name="erasure")
cli.add_typer(access.cli, name="access")
cli.add_typer(suspensions.cli, name="suspension")
cli.add_typer(irregularities.cli, name="irregularity")
cli.command("lookup", epilog="Example: aeo lookup 99000001000101 --home uy")(lookup.lookup)
cli.command(
    "fetch",
    epilog='Example: aeo fetch 99000001000101 --purpose "import control" --reference "DUA 1" --home uy',
)(fetching.fetch)
cli.command(
    "evidence", epilog="Example: aeo evidence BR99000001000101 --at 2026-11-22 -o case.json --home uy"
)(proofs.evidence)
cli.command("verify", epilog="Example: aeo verify case.json --policy trust.policy")(proofs.verify)
cli.command("receipt", epilog="Example: aeo receipt 41 -o 41.tlog-proof --home br")(proofs.receipt)
cli.command(
    "audit",
    cls=audit.OrDecisions,
    epilog="Example: aeo audit https://aeo.br.example/log --vkey aeo.br.example/ledger+0a1b2c3d+AW...=",
)(audit.audit)
cli.command("watch", epilog="Example: aeo watch --home uy")(watching.watch)
cli.command("channels", epilog="Example: aeo channels --home uy")(watching.channels)
cli.command("incidents", epilog="Example: aeo incidents --open --home uy")(watching.incidents)


@cli.command(epilog="Example: aeo demo --keep")
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the nodes running at the end.")] = False,
) -> None:
    """Show it all: two nodes, an arrangement, two lists, a suspension, an attack noticed."""
    raise typer.Exit(import_module("clients.demo.run").main(keep))


@cli.command(epilog="Example: aeo bench")
def bench() -> None:
    """Measure this machine's nodes."""
    raise typer.Exit(import_module("clients.bench.run").main())


def run() -> None:
    """Run the command line; what is refused is one sentence on standard error."""
    try:
        cli(prog_name=program())
    except Refusal as refusal:
        sys.exit(say_refusal(refusal, as_json=False))


if __name__ == "__main__":
    run()
