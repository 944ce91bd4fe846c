"""`python -m node`: the commands that touch a node's own home folder."""

import errno
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from node import advice, keys, processes, settings
from node import app as application
from node.api import problems
from node.errors import Conflict, Damaged, Malformed, Refusal, problem
from node.exchange.card import ledger_origin
from node.service import bookmark, check, check_decisions, genesis, recovery, rotation, succession, tokens
from node.service.parts import Parts
from node.service.succession import Predecessor
from node.store import logs
from node.store.database import Database
from node.store.tables import LEDGER

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=__doc__,
    rich_markup_mode=None,
)
token = typer.Typer(
    no_args_is_help=True, help="Bearer tokens of the own administration.", rich_markup_mode=None
)
cli.add_typer(token, name="token")
keyring = typer.Typer(invoke_without_command=True, help="The node's keys.", rich_markup_mode=None)
cli.add_typer(keyring, name="keys")
audit = typer.Typer(no_args_is_help=True, help="What was decided, made again.", rich_markup_mode=None)
cli.add_typer(audit, name="audit")

Home = Annotated[Path, typer.Option("--home", envvar="AEO_HOME", help="The node's home folder.")]
HERE = Path("aeo-node")
LOCK: Final = "serving.lock"
LABEL_LIMIT: Final = 100
WORTH_A_PROCESS: Final = 10_000
"""Entries for which the start of another process pays."""
SAY_S: Final = 10.0
MOST_TOLD: Final = 10_000
"""Of more findings than these a store tells nothing that these do not."""
IN_WORDS: Final = {
    "name": "must be lower-case words with dots between, such as aeo.br.example",
    "country": "must be the two capital letters of a country (ISO 3166-1), such as BR",
    "administration": "must have 1 to 100 characters, such as Receita Federal do Brasil",
    "address": "must be http:// or https:// with a host and no path, such as http://127.0.0.1:8001",
    "port": "must be a whole number from 1 to 65535, such as 8001",
    "database_url": "must begin with sqlite: or postgresql:, such as postgresql:///aeo_br",
}


@cli.command(
    epilog="Example: aeo init --home br --country BR --name aeo.br.example "
    "--address http://127.0.0.1:8001 --port 8001"
)
def init(
    name: Annotated[str, typer.Option(help="The node's schema-less URL.")],
    country: Annotated[str, typer.Option(help="ISO 3166-1 alpha-2 code.")],
    address: Annotated[str, typer.Option(help="Where peers reach this node.")],
    administration: Annotated[str, typer.Option(help="The administration's name.")] = "",
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    database: Annotated[
        str,
        typer.Option(help="URL of the store, such as postgresql:///aeo_br; a file unless given."),
    ] = "",
    succeeds: Annotated[
        Path | None, typer.Option(help="Home folder of a node of this administration that ends: see docs.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="With --succeeds: the checkpoint of its ledger to go on from.")
    ] = None,
    home: Home = HERE,
) -> None:
    """Make a new node: settings, keys (mode 0600), store, ledger, and a first administrator token.

    With --succeeds its ledger begins by committing to that of the node that ends, and its records are carried
    over.
    """
    values: dict[str, Any] = {"name": name, "country": country}
    values["administration"] = administration or f"Customs of {country}"
    values |= {"address": address.rstrip("/"), "host": host, "port": port}
    values |= {"database_url": database} if database else {}
    _check_options(values, home)
    _check_store_is_new(settings.checked(values, str(home)).database_url, home)
    with _ending(succeeds, checkpoint, name, country) as before:
        _make(home, values, before)


@contextmanager
def _ending(
    old: Path | None, checkpoint: Path | None, name: str, country: str
) -> Iterator[Predecessor | None]:
    """The node to be succeeded, which must not be served meanwhile."""
    if old is None:
        if checkpoint is not None:
            do = "give --succeeds too, the home folder of the node that ends"
            raise Malformed("a checkpoint of no node", where="--checkpoint", do=do)
        yield None
        return
    parts = _reached(old)
    with nullcontext() if parts.database.is_shared else _alone(old):
        note = _note(checkpoint) if checkpoint else ""
        yield succession.predecessor(parts, name, country, note)


def _note(checkpoint: Path) -> str:
    try:
        return checkpoint.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        do = "give the signed note as a partner kept it: `aeo incidents --show NUMBER -o FILE`"
        raise Malformed("this is not a checkpoint", where=str(checkpoint), do=do) from None


def _make(home: Path, values: dict[str, Any], before: Predecessor | None) -> None:
    name = values["name"]
    home.mkdir(parents=True, exist_ok=True)
    settings.write(home, values)
    keys.make(home / "keys")
    parts = application.parts_of(home)
    parts.database.migrate()
    if before is None:
        genesis.start_ledger(parts)
    else:
        _succeed(parts, before)
    secret = tokens.create(
        parts.database, "administrator", "first administrator", None, parts.now_ms(), parts.entropy
    )
    _write_secret(home / "administrator.token", secret)
    typer.echo(
        f"Node {name} is ready in {home}.\n"
        f"Administrator token: {home / 'administrator.token'}\n"
        f"Start it: {advice.program()} serve --home {shlex.quote(str(home))}"
    )


def _succeed(parts: Parts, before: Predecessor) -> None:
    """Begin as a successor, and say what it took over and what not."""
    with _progress("records") as told:
        carried = succession.succeed(parts, before, told)
    signed = before.signed
    typer.echo(f"It succeeds {before.parts.settings.name} as of its {signed.size} entries.")
    if signed.size > before.size:
        typer.echo(f"{signed.size - before.size} entries are lost: the old store holds {before.size}.")
    elif before.size > signed.size:
        typer.echo(f"{before.size - signed.size} entries behind that are disowned.")
    typer.echo(f"{carried.count} records were carried over.")
    for each in carried.refused:
        typer.echo(f"Not carried over: {each.tin}: {each.message}")


def _check_options(values: dict[str, Any], home: Path) -> None:
    """The settings that `init` is about to write; what is wrong is told by option, in words."""
    try:
        settings.checked(values, str(home))
    except Malformed as refusal:
        told = [
            problem(f"--{p.field.removesuffix('_url')}", p.value, IN_WORDS.get(p.field, p.rule))
            for p in refusal.problems
        ]
        do = "correct the option, or the AEO_ variable of that name, and give the command again"
        raise Malformed(refusal.what, where=refusal.where, do=do, problems=told) from None


def _check_store_is_new(url: str, home: Path) -> None:
    """A database that others may have filled is looked at before anything is written."""
    store = Database(url, home)
    if store.is_shared:
        store.migrate()
        with store.glance() as connection:
            if logs.head(connection, LEDGER) is not None:
                do = "give another database, or start its node with `aeo serve`"
                raise Conflict("this database holds a ledger already", where="--database", do=do)
    store.close()


@cli.command(epilog="Example: aeo serve --home br")
def serve(
    home: Home = HERE,
    count: Annotated[
        int,
        typer.Option("--processes", min=1, max=64, help="How many processes serve; several take PostgreSQL."),
    ] = 1,
) -> None:
    """Serve the node: API, ledger, exchange with its peers. Refuses to start if the store is not sound."""
    parts = application.parts_of(home)
    processes.log_to_stderr()
    with nullcontext() if parts.database.is_shared else _alone(home):
        listening = _bound(parts.settings.host, parts.settings.port, home)
        parts.database.migrate()
        for finding in check.check_start(parts):
            raise _unsound(finding)
        if count == 1:
            processes.serve(parts, listening)
        elif parts.database.is_shared:
            processes.supervise(home, listening, count)
        else:
            why, do = "SQLite is for one process", "give the node a PostgreSQL database, or one process"
            raise Malformed("several processes need a store that they can share", why=why, do=do)


def _unsound(finding: check.Finding) -> Damaged:
    if finding.log == bookmark.FILE:
        what = "the store is not the one that this node last wrote"
        return Damaged(what, where=finding.log, why=finding.what)
    where = f"{finding.log}, entry {finding.entry}"
    return Damaged("the store is not sound", where=where, why=finding.what, do="run `aeo fsck`")


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the home folder for this process; the lock ends with the process, however that ends."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with (home / LOCK).open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            who = f"process {lock.read().strip() or 'unknown'}"
            why = f"{who} serves it, and two would write one ledger"
            do = f"ask the one that runs, or stop it ({who}) and start again"
            raise Conflict("this node is served already", where=str(home), why=why, do=do) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _bound(host: str, port: int, home: Path) -> list[socket.socket]:
    """Sockets on every address of the host, taken before anything else is done; `Conflict` otherwise."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return [_taken(family, address) for family, address in dict.fromkeys((f[0], f[4]) for f in found)]
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        raise Conflict(
            "the port is taken" if in_use else "the node cannot listen here",
            where=f"{host}, port {port}",
            why="another program listens there, perhaps another node" if in_use else str(error),
            do=f"stop that program, or change `port` (and `address`, where peers look for it) in "
            f"{home / settings.FILE}"
            if in_use
            else f"correct `host` and `port` in {home / settings.FILE}",
        ) from None


def _taken(family: socket.AddressFamily, address: Any) -> socket.socket:
    """A socket that owns its address and does not listen yet, as asyncio would make it."""
    made = socket.socket(family, socket.SOCK_STREAM)
    if sys.platform != "win32":
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


@cli.command(epilog="Example: aeo card --home br > br.card")
def card(home: Home = HERE) -> None:
    """Print the node's signed card, for a peer to pin; its fingerprint and ledger key go to the terminal."""
    own = application.parts_of(home).card
    typer.echo(own.text)
    ledger_key, *_ = own.verifiers(ledger_origin(own.name))
    typer.echo(f"Key of its ledger: {ledger_key.vkey()}", err=True)
    typer.echo(f"{own.name} ({own.country}), fingerprint: {own.fingerprint}", err=True)


@cli.command(epilog="Example: aeo fsck --home br")
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
    parts_of = partial(application.parts_of, home)
    parts = _reached(home)
    count = count or min(_processors(), check.entry_count(parts) // WORTH_A_PROCESS)
    with _progress() as told, check.Several(parts_of, count) if count > 1 else nullcontext() as several:
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
    with _progress("decisions") as told:
        replay = check_decisions.Replay(_reached(home), told)
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


@contextmanager
def _progress(unit: str = "entries") -> Iterator[Callable[[str, int, int], None]]:
    """How far a check is, how fast it goes and what time is left; without a terminal, a line now and then.

    What is printed meanwhile stands above it where both go to the terminal; anywhere else it goes as it is.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    begun = time.monotonic()
    console, said = Console(stderr=True), begun
    shown = Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),
    )
    with shown as progress:
        task = progress.add_task("checking", total=None, rate="")

        def told(what: str, done: int, of: int) -> None:
            nonlocal said
            rate = f"{done / (time.monotonic() - begun):,.0f} {unit}/s"
            progress.update(task, description=what, completed=done, total=of, rate=rate)
            if progress.disable and time.monotonic() - said >= SAY_S:
                said = time.monotonic()
                typer.echo(f"{what}: {done:,} of {of:,}, {rate}", err=True)

        yield told


@cli.command(epilog="Example: aeo recover --home br")
def recover(
    home: Home = HERE,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything that is known again as JSON.")
    ] = False,
) -> None:
    """Say what is lost if the store was put back, and what partners hold of it; changes nothing.

    Exit code 1 when something is lost. The partners' nodes must be in reach.
    """
    report = recovery.recover(_reached(home))
    if as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        _say_report(report)
    raise typer.Exit(0 if report.is_whole else 1)


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
    for each in report.entries[:MOST_TOLD]:
        typer.echo(f"  entry {each.seq}: {_known(each)}")
    if len(report.entries) > MOST_TOLD:
        typer.echo("More entries; `--json` has them all.")
    known = [each for each in report.entries if each.body is not None]
    tins = sorted({each.fields["tin"] for each in known if "tin" in each.fields})
    typer.echo(f"Known again: {len(known)} of {len(report.entries)} entries, about {len(tins)} operators.")
    typer.echo(advice.pasted(recovery.HOW_TO_GO_ON))


def _known(lost: recovery.Lost) -> str:
    if lost.body is None:
        return "only its hash is known" if lost.leaf else "nothing is known of it"
    about = f" about {lost.fields['tin']}, {len(lost.fields)} fields" if "tin" in lost.fields else ""
    return f"{lost.known}{about}, as {', '.join(lost.by)} holds it"


@keyring.callback(epilog="Example: aeo keys --home br")
def keyring_state(
    context: typer.Context,
    home: Home = HERE,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show the node's keys, since when each counts, and which card each partner has."""
    if context.invoked_subcommand is None:
        now = rotation.state(_reached(home))
        typer.echo(json.dumps(now.to_json()) if as_json else "\n".join(rotation.lines(now)))


Uses = Annotated[list[str], typer.Argument(metavar="KEY...", help=", ".join(rotation.USES))]


@keyring.command("rotate", epilog="Example: aeo keys rotate log --home br")
def keyring_rotate(uses: Uses, home: Home = HERE) -> None:
    """Make a new key; the one before is used beside it until it is retired."""
    typer.echo("Next: " + advice.pasted(rotation.rotate(_reached(home), home, uses)))


@keyring.command("retire", epilog="Example: aeo keys retire log --home br")
def keyring_retire(
    uses: Uses,
    home: Home = HERE,
    even_so: Annotated[bool, typer.Option("--even-so", help="Though a partner has not heard yet.")] = False,
) -> None:
    """Destroy the older of two keys in use; for `store`, once everything is wrapped with the newer one."""
    with _progress("keys") as told:
        do = rotation.retire(_reached(home), home, uses, even_so=even_so, told=told)
    typer.echo("Next: " + advice.pasted(do))


@cli.command(epilog="Example: aeo openapi > docs/openapi.json")
def openapi(home: Home = HERE) -> None:
    """Print the OpenAPI description of the node's API."""
    typer.echo(json.dumps(application.build(application.parts_of(home)).openapi(), indent=1, sort_keys=True))


@token.command("create", epilog="Example: aeo token create --home br --role officer --label 'Port of Santos'")
def token_create(
    role: Annotated[str, typer.Option(help="officer, reader, auditor or administrator.")],
    label: Annotated[str, typer.Option(help="Whose it is.")],
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Days until it expires; never if absent.")
    ] = None,
    home: Home = HERE,
) -> None:
    """Create a token and print it once; only its hash is stored."""
    if not label.strip() or len(label) > LABEL_LIMIT:
        rule = f"must say whose the token is, in 1 to {LABEL_LIMIT} characters, such as 'Port of Santos'"
        raise Malformed("a token needs a label", problems=[problem("--label", label, rule)])
    parts = _reached(home)
    typer.echo(tokens.create(parts.database, role, label, days, parts.now_ms(), parts.entropy))


@token.command("list", epilog="Example: aeo token list --home br")
def token_list(
    home: Home = HERE, as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False
) -> None:
    """List the tokens, without their secrets."""
    store = Database(settings.load(home).database_url, home)
    store.reach()
    rows = tokens.listed(store)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo(advice.pasted("There is no token; make one with `aeo token create`."))
        return
    typer.echo(f"{'token':<12}  {'role':<13}  {'state':<10}  label")
    for row in rows:
        state = (
            "revoked"
            if row["revoked_at"]
            else f"until {row['expires_at']}"
            if row["expires_at"]
            else "in force"
        )
        typer.echo(f"{row['token']}  {row['role']:<13}  {state:<10}  {row['label']}")


@token.command("revoke", epilog="Example: aeo token revoke 0a1b2c3d4e5f --home br")
def token_revoke(number: Annotated[str, typer.Argument(help="The token's id.")], home: Home = HERE) -> None:
    """Revoke a token; it stops working within two seconds."""
    parts = _reached(home)
    tokens.revoke(parts.database, number, parts.now_ms())
    typer.echo(f"Token {number} is revoked.")


def main() -> None:
    """Run the command line; exit code 2 for a refusal: a sentence, or with `--json` its problem details."""
    os.umask(0o077)  # what a node stores is for its own account only
    try:
        cli(prog_name=advice.program())
    except Refusal as refusal:
        _tell(refusal)
    except OSError as error:
        _tell(Refusal(error.strerror or str(error), where=str(error.filename or "no file")))
    sys.exit(2)


def _tell(refusal: Refusal) -> None:
    refusal.do = advice.pasted(refusal.do)
    if "--json" in sys.argv:
        typer.echo(json.dumps(problems.problem_of(refusal), indent=2))
    else:
        typer.echo(f"Refused: {refusal.sentence()}", err=True)


def _reached(home: Path) -> Parts:
    """The parts of a node whose store can be used now."""
    parts = application.parts_of(home)
    parts.database.reach()
    return parts


def _write_secret(path: Path, secret: str) -> None:
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(secret + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
