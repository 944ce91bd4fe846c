"""`aeo contract`: a contract before it is signed; whether it is in the language, and what it would share.

Its commands work without a node, and change nothing.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from clients.cli.output import FINDINGS, FINE, join, say, say_json, say_pairs, say_refusal, say_table
from node.errors import Malformed, Refusal, problem

if TYPE_CHECKING:
    from clients.sdk.trying import Tried

DISTINCT_SHOWN: Final = 5
State = Literal["NEGOTIATING", "SIGNED", "PILOT", "IN_OPERATION", "SUSPENDED", "TERMINATED"]

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Contracts, before they are signed.")

AsJson = Annotated[bool, typer.Option("--json", help="Print the answer, or the refusal, as JSON.")]
Given = Annotated[
    str, typer.Argument(metavar="FILE", help="The contract's file, or a published one by name.")
]


@cli.command("check", epilog="Example: aeo contract check mine.py")
def check(contract: Given, as_json: AsJson = False) -> None:
    """Say whether a text is a contract, and the most steps it can take; exit code 1 if it is refused."""
    try:
        code = _check(contract, as_json)
    except Refusal as refusal:
        code = say_refusal(refusal, as_json)
    raise typer.Exit(code)


@cli.command("show", epilog="Example: aeo contract show mra_v1 > mine.py")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A published contract, or ready-made terms.")],
) -> None:
    """Print a published contract, or ready-made terms, to begin one's own with."""
    from clients.cli.readymade import text_of

    try:
        typer.echo(text_of(name), nl=False)
    except Refusal as refusal:
        raise typer.Exit(say_refusal(refusal, as_json=False)) from None


@cli.command(
    "try", epilog="Example: aeo contract try mine.py --terms br_uy --records operators.json --direction BR-UY"
)
def try_(
    contract: Given,
    terms: Annotated[str, typer.Option(help="Ready-made terms by name, or a JSON file.")],
    records: Annotated[Path, typer.Option(help="The records: JSON, JSON lines, or a list with --profile.")],
    profile: Annotated[
        str | None,
        typer.Option(help="How a national list is read: br-oea, uy-oec, or a TOML file.", show_default=False),
    ] = None,
    direction: Annotated[
        str | None, typer.Option(help="Only this one, such as BR-UY.", show_default=False)
    ] = None,
    state: Annotated[State, typer.Option(help="As if the direction were in this state.")] = "IN_OPERATION",
    day: Annotated[
        str | None, typer.Option(help="As of this day, YYYY-MM-DD; today if absent.", show_default=False)
    ] = None,
    most: Annotated[int, typer.Option(help="List so many records one by one.", min=0, max=100_000)] = 20,
    as_json: AsJson = False,
) -> None:
    """Say which records of a file would be shared, which fields of each, and why the others would not.

    Exit code 1 when records were refused or the contract erred.
    """
    try:
        code = _try(contract, terms, records, profile, direction, state, day, most, as_json)
    except Refusal as refusal:
        code = say_refusal(refusal, as_json)
    raise typer.Exit(code)


def _check(name: str, as_json: bool) -> int:
    from clients.cli.readymade import contract_of
    from contracts import ContractRefused, load
    from contracts.language import MOST_STEPS

    text = contract_of(name)
    try:
        found = load(text)
    except ContractRefused as refused:
        told: dict[str, Any] = {"accepted": False, "line": refused.line, "column": refused.column}
        told |= {"rule": refused.rule, "instead": refused.instead}
        if as_json:
            say_json(told)
        else:
            say(f"Not a contract: {refused}")
            say_pairs([("", _pointed(text, refused.line))])
        return FINDINGS
    if as_json:
        say_json({"accepted": True, "sha256": found.sha256, "steps": found.steps, "most_steps": MOST_STEPS})
        return FINE
    say("This is a contract.")
    say_pairs([("SHA-256", found.sha256)])
    say_pairs((f"{entry} takes", f"at most {steps:,} steps") for entry, steps in found.steps.items())
    return FINE


def _pointed(text: str, line: int) -> str:
    """The line that a refusal speaks of."""
    lines = text.split("\n")
    return lines[line - 1].strip()[:100] if line <= len(lines) else ""


def _try(
    contract: str,
    terms: str,
    records: Path,
    profile: str | None,
    direction: str | None,
    state: str,
    day: str | None,
    most: int,
    as_json: bool,
) -> int:
    from clients.cli.progress import steps
    from clients.cli.readymade import contract_of, terms_of
    from clients.sdk.trying import records_in, try_contract
    from node.agreements.preview import proposed
    from node.ledger.moment import parse_date

    today = datetime.now(UTC).date().isoformat() if day is None else day
    try:
        parse_date(today)
    except Malformed:
        rule = "must be a real date YYYY-MM-DD"
        raise Malformed("the day is out of form", problems=[problem("--day", today, rule)]) from None
    agreement = proposed(terms_of(terms), contract_of(contract))
    with steps("trying", unit="records") as tell:
        found = _told(records_in(records, profile), tell)
        tried = try_contract(agreement, found, state, today, direction and direction.upper(), most)
    if as_json:
        say_json({"contract": agreement.contract_sha256, "day": today, "state": state} | tried.to_json())
    else:
        say(f"As of {today}, as if {state}; contract with SHA-256 {agreement.contract_sha256}")
        _say(tried)
    erred = any(why.startswith("contract error:") for each in tried.directions.values() for why in each)
    return FINDINGS if erred or tried.counts["refused"] else FINE


def _told(found: Any, tell: Any) -> Any:
    for count, each in enumerate(found, 1):
        if count % 1000 == 0:
            tell(count)
        yield each


def _say(tried: "Tried") -> None:
    told = tried.to_json()
    rows = [
        row
        for name, each in told["directions"].items()
        for row in (
            [name, "shared", each["shared"]],
            *([name, f"withheld: {why}", count] for why, count in each["withheld"].items()),
        )
    ]
    say_table(("direction", "answer", "records"), rows, "The terms have no direction.")
    for name, each in told["directions"].items():
        for alike in each["shared_fields"][:DISTINCT_SHOWN]:
            say(f"{name}: of {alike['records']} the contract shares {join(alike['fields'])}")
    if tried.counts["without_direction"]:
        say(f"{tried.counts['without_direction']} are of a country that issues none of these directions.")
    shown = [
        [each["where"], each["tin"], each["direction"], each["answer"], _what(each)] for each in tried.listed
    ]
    if shown:
        say_table(("where", "TIN", "direction", "answer", "how much, or why not"), shown, "")
    if 0 < len(shown) == tried.most and tried.counts["records"] > tried.most:
        say(f"These are the first {tried.most}; more with --most, which --json takes too.")
    if tried.refused:
        say(f"{tried.counts['refused']} refused, as a node would refuse them:")
        say_table(("where", "why"), [[each["where"], each["why"]] for each in tried.refused], "")


def _what(each: dict[str, Any]) -> str:
    if each["answer"] == "withhold":
        return str(each["reason"])
    without = f"; it has no {join(each['without'])}" if each["without"] else ""
    return f"{len(each['fields'])} fields{without}"
