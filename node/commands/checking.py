"""`aeo fsck`, `aeo audit decisions`, `aeo recover`: whether what is stored holds, and what is lost of it."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from itertools import groupby, islice
from typing import Annotated, Final

import typer

from node import advice, assembly
from node.commands.home import HERE, Home, alone, progress
from node.service import check, check_decisions, recovery

WORTH_A_PROCESS: Final = 10_000
"""Entries for which the start of another process pays."""
MOST_TOLD: Final = 10_000
"""Of more findings than these a store tells nothing that these do not."""

audit = typer.Typer(no_args_is_help=True, help="What was decided, made again.", rich_markup_mode=None)


def fsck(
    home: Home = HERE,
    as_json: Annotated[bool, typer.Option("--json", help="Print findings as JSON.")] = False,
    count: Annotated[
        int,
        typer.Option(
            "--processes",
            min=0,
            max=64,
            help="How many processes share the work; 0: one for each processor, if there is enough to do.",
        ),
    ] = 0,
) -> None:
    """Recompute everything that is signed or follows from it; exit code 1 when something differs."""
    parts_of = partial(assembly.parts_of, home)
    parts = parts_of()
    count = count or min(_processors(), check.entry_count(parts) // WORTH_A_PROCESS)
    with progress() as told, check.Several(parts_of, count) if count > 1 else nullcontext() as several:
        found = check.check(parts, told, several)
        count = _say_json(found) if as_json else _say(found)
    if not as_json:
        typer.echo(
            f"{count} findings. Keep this store as it is; restore from a backup."
            if count
            else "Everything holds."
        )
    raise typer.Exit(1 if count else 0)


@audit.command("decisions", epilog="Example: aeo audit decisions --home br")
def audit_decisions(
    home: Home = HERE,
    as_json: Annotated[bool, typer.Option("--json", help="Print findings as JSON.")] = False,
) -> None:
    """Make every recorded decision again from contract text and inputs; exit code 1 when one differs."""
    with progress("decisions") as told:
        replay = check_decisions.Replay(assembly.parts_of(home), told)
        count = (_say_json if as_json else _say)(replay.findings())
    if not as_json:
        made = f"{replay.count} decisions made again"
        typer.echo(
            f"{made}, {count} findings. Keep this store as it is; run `aeo fsck`."
            if count
            else f"{made}; everything holds."
        )
    raise typer.Exit(1 if count else 0)


def _say(found: Iterator[check.Finding]) -> int:
    """Print findings as they come, the first `MOST_TOLD` of them; gives how many there were."""
    count = 0
    for count, each in enumerate(found, 1):
        if count <= MOST_TOLD:
            typer.echo(f"{each.log}, entry {each.entry}: {each.what}")
        elif count == MOST_TOLD + 1:
            typer.echo("More findings, which are only counted.")
    return count


def _say_json(found: Iterator[check.Finding]) -> int:
    """The same as one JSON list, once the check has come to its end; what was only counted stands last."""
    told = list(islice(found, MOST_TOLD))
    untold = sum(1 for _ in found)
    rest = [check.Finding("store", -1, f"{untold} more findings, which are only counted")] if untold else []
    members = [{"log": each.log, "entry": each.entry, "what": each.what} for each in told + rest]
    typer.echo(json.dumps(members))
    return len(told) + untold


def _processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def recover(
    home: Home = HERE,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything that is known again as JSON.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Write what is missing, where partners hold all of it.")
    ] = False,
) -> None:
    """Say what is lost if the store was put back, and what partners hold of it; writes only with --rebuild.

    Exit code 1 when something is lost. The partners' nodes must be in reach.
    """
    parts = assembly.parts_of(home)
    with alone(home, unless=not rebuild or parts.database.is_shared):
        report = recovery.recover(parts)
        if rebuild and not report.is_whole:
            recovery.rebuild(parts, report)
    if as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        _say_report(report)
    raise typer.Exit(0 if report.is_whole or report.is_rebuilt else 1)


def _say_report(report: recovery.Report) -> None:
    for who, reasons in report.unheard.items():
        for why in reasons:
            typer.echo(f"Not heard, or not as signed: {who}: {why}")
    if report.is_whole:
        typer.echo("Nothing is missing of what this node is known to have signed.")
        return
    for log in report.lost:
        typer.echo(
            f"{log.origin}: {log.held} entries here, {log.signed} were signed, as {', '.join(log.shown_by)} "
            f"show; {log.signed - log.held} are missing, of {log.again} of them the content is known again"
        )
    for contradiction in report.others:
        typer.echo(f"This store was written on after it was put back: {contradiction}")
    for told, run in groupby(report.entries, _known):
        first, *more = [each.seq for each in run]
        typer.echo(f"  entries {first} to {more[-1]}: {told}" if more else f"  entry {first}: {told}")
    known = [each for each in report.entries if each.body is not None]
    tins = sorted({each.fields["tin"] for each in known if "tin" in each.fields})
    typer.echo(f"Known again: {len(known)} of {len(report.entries)} entries, about {len(tins)} operators.")
    if report.is_rebuilt:
        typer.echo(advice.pasted("All of it was written again. Start the node, and then run `aeo fsck`."))
    elif reasons := report.against_rebuilding:
        typer.echo(advice.pasted(recovery.HOW_TO_GO_ON.format(why="; ".join(reasons[:3]))))
    else:
        typer.echo(advice.pasted(recovery.REBUILD))


def _known(lost: recovery.Lost) -> str:
    if lost.body is None:
        return "only its hash is known" if lost.leaf else "nothing is known of it"
    about = f" about {lost.fields['tin']}, {len(lost.fields)} fields" if "tin" in lost.fields else ""
    return f"{lost.known}{about}, as {', '.join(lost.by)} holds it"
