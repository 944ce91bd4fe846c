"""`aeo watch`, `aeo channels`, `aeo incidents`: what goes on between this node and its partners."""

import time
from base64 import b64decode
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from clients.cli.files import write_new
from clients.cli.output import FINDINGS, FINE, join, say, say_json, say_line, say_pairs, say_table, warn
from clients.cli.progress import steps
from clients.cli.session import Session, on_node
from node.errors import Malformed

RETRY_S: Final = 2.0
LOOK_S: Final = 1.0
KINDS: Final = {
    "recorded": "own record, new or changed",
    "disclosure": "partner's record, new or changed",
    "tombstone": "left our view: not recognised",
    "local": "suspended here, or resumed",
}
KIND_WIDTH: Final = max(map(len, KINDS.values()))


@on_node
def watch(
    session: Session,
    after: Annotated[
        int | None, typer.Option(min=0, help="Begin behind this change; 0 tells all.", show_default=False)
    ] = None,
) -> None:
    """Print a line for each change as it happens; resumes after an interruption, until Ctrl-C."""
    from clients.sdk.connection import NodeUnreachable

    session.node.health()
    place = session.node.newest_change() if after is None else after
    while True:
        try:
            for change in session.node.changes(place):
                place = change["change"]
                _say_change(session, dict(change))
        except NodeUnreachable as lost:
            warn(f"{lost.sentence()}; going on from change {place} in {RETRY_S:g} s")
            time.sleep(RETRY_S)


@on_node
def channels(
    session: Session,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="First tell how far the copies here have come, until they are whole."),
    ] = False,
) -> None:
    """Show each channel: its state, how many operators, how fresh it is, how far the partner has read."""
    if follow:
        _follow(session)
    if why := session.node.behind():
        warn(why)
    found = session.node.channels()
    if session.as_json:
        say_json(found)
        return
    columns = ("direction", "agreement", "state", "entries", "operators", "fresh", "partner has", "alerts")
    say_table(columns, [_channel(each) for each in found], "There is no channel: no agreement is signed.")


@on_node
def incidents(
    session: Session,
    open_only: Annotated[bool, typer.Option("--open", help="Only those not closed.")] = False,
    close: Annotated[int | None, typer.Option(min=1, help="Close this one, settled with the peer.")] = None,
    show: Annotated[int | None, typer.Option(min=1, help="Show this one with its evidence.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="With --show: write the evidence to this file.", show_default=False),
    ] = None,
) -> int:
    """Show what peers sent that failed verification; exit code 1 when there is any."""
    if show is None and out is not None:
        raise Malformed("nothing to write", do="say which incident with --show")
    if show is not None:
        return _show_incident(session, show, out)
    if close is not None:
        session.node.close_incident(close)
    found = session.node.incidents(open_only)
    if session.as_json:
        say_json(found)
    else:
        columns = ("incident", "peer", "kind", "first seen", "closed", "what")
        rows = [
            [
                each["incident"],
                each["peer"],
                each["kind"],
                each["first_seen"],
                each["closed"] or "OPEN",
                each["detail"],
            ]
            for each in found
        ]
        say_table(columns, rows, "Nothing has failed verification.")
    return FINDINGS if found else FINE


def _follow(session: Session) -> None:
    """Tell how much of what partners have signed is copied, until all of it is."""
    with steps("copied", unit="entries") as tell:
        while True:
            copies = [each for each in session.node.channels() if each["direction"] == "in"]
            done, of = (sum(each[name] for each in copies) for name in ("size", "signed_size"))
            tell(done, of=of)
            if done == of:
                return
            time.sleep(LOOK_S)


def _show_incident(session: Session, number: int, out: Path | None) -> int:
    found = dict(session.node.incident(number))
    if out is not None:
        write_new(out, b64decode(str(found["evidence"])), replace=False)
    if session.as_json:
        say_json(found)
        return FINE
    evidence = b64decode(str(found.pop("evidence")))
    say_pairs((name, value) for name, value in found.items())
    say(evidence.decode("utf-8", "backslashreplace"))
    return FINE


def _say_change(session: Session, change: dict[str, Any]) -> None:
    if session.as_json:
        say_line(change)
        return
    say(f"{change['change']:>8}  {change['time']}  {_in_words(change)}")


def _in_words(change: dict[str, Any]) -> str:
    """What happened, and to whom; of a notice what it says, and whose it is."""
    kind = change["kind"]
    if kind != "notice":
        return f"{KINDS.get(kind, kind):<{KIND_WIDTH}}  {change['tin'] or change['record_id']}"
    said = " ".join(["notice:", *(str(change[name]) for name in ("notice", "detail") if name in change)])
    return f"{said:<{KIND_WIDTH}}  {change['issuer']}, agreement {change['agreement'][:10]}"


def _channel(channel: dict[str, Any]) -> list[object]:
    told: list[object] = [f"{channel['issuer']}-{channel['partner']} {channel['direction']}"]
    told += [channel["agreement"][:10], channel["state"], channel["size"]]
    if channel["direction"] == "out":
        in_line = "in line" if channel["in_line"] else "catching up"
        return [*told, channel["shared"], in_line, _partner_has(channel), ""]
    fresh = channel["freshness"]
    age = f"{'yes' if fresh['fresh'] else 'STALE'}, {fresh['age_s']} of {fresh['limit_s']} s"
    return [*told, channel["in_view"], age, "", join(channel["alerts"])]


def _partner_has(channel: dict[str, Any]) -> str:
    """What the partner itself last said, by a signed request: how far it had come, and when."""
    asked = channel["partner_asked"]
    if asked is None:
        return "unknown: it has not asked since this node started"
    if asked["size"] is None:
        return f"asked at {asked['at']}, not about this channel"
    return f"{asked['size']} of {channel['size']}, asked at {asked['at']}"
