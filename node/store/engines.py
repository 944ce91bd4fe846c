"""The two kinds of database a node may rest on, and all that differs between them.

Each knows how to open its connections, how a reader sees one state, how one writer writes alone, and
which of its errors only mean "not now". Everything else in `node/store` is the same for both.
"""

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from node.errors import Busy, Damaged, Malformed, Refusal, problem

Options = Mapping[str, Any]

STATEMENT_MS = 30_000
"""A server ends what takes longer: by then nobody waits for it."""

log = structlog.get_logger()


class Kind(Protocol):
    """One kind of database."""

    reading: ClassVar[Options]
    """Execution options of a connection that sees one state from its first look to its last."""
    glancing: ClassVar[Options]
    """Of one whose every statement sees the newest state; no transaction is held open."""
    writing: ClassVar[Options]
    """Of the one writer."""

    def open(self, url: URL, home: Path) -> Engine:
        """The engine; a relative path is taken from `home`."""

    keeps_writer: bool
    """Whether the writer has one connection for good."""
    is_shared: bool
    """Whether several processes of one node may work on it at a time."""

    def settle_in(self, connection: Connection) -> None:
        """Prepare a connection for the writer."""

    def take_turn(self, connection: Connection) -> None:
        """Wait, inside a new transaction, until no other process writes."""

    def take_time(self, connection: Connection) -> None:
        """Let the statements of this transaction take as long as they do."""

    def write_lightly(self, connection: Connection) -> None:
        """Let this transaction wait for no other server."""

    def announce(self, connection: Connection) -> None:
        """Tell the other processes, once this transaction has committed, that something changed."""

    def scrub(self, engine: Engine) -> bool:
        """Free the files of what was deleted; False when that cannot be done now."""

    def attend(self, engine: Engine) -> AbstractContextManager["Attendance"]:
        """Take part among the processes of this node for as long as the context lasts."""

    def refusal(self, error: Exception) -> Refusal | None:
        """How a caller is told of an error that no request is to blame for; None for any other."""

    def cannot_hold(self, error: Exception) -> bool:
        """Whether an error means that no column could have a value that was given."""


class Attendance(Protocol):
    """One process among those of its node."""

    def leads(self) -> bool:
        """Whether this is the one process that does what only one should do; asked again, it stays so."""

    def heard(self, wait_s: float) -> bool:
        """Wait until another process announces a change; False when the time is over first."""


class Alone:
    """The only process there is."""

    def leads(self) -> bool:
        """Nobody else could."""
        return True

    def heard(self, wait_s: float) -> bool:
        """Nobody else is there."""
        time.sleep(wait_s)
        return False


class Sqlite:
    """A file in WAL mode with `synchronous=FULL`: a committed transaction survives a loss of power.

    Deleted content is overwritten (`secure_delete`). One process serves it.
    """

    connections = 64
    """More than the threads that serve requests, so that none waits for another's connection."""
    keeps_writer = True
    is_shared = False
    reading: ClassVar[Options] = {}
    writer_cache_kib = 32 * 1024
    # The driver commits by itself unless told to begin; setting and resetting a level costs more than
    # most statements.
    glancing: ClassVar[Options] = {"aeo_begin": False}
    writing: ClassVar[Options] = {"aeo_begin": "BEGIN IMMEDIATE"}
    busy_ms, scrub_ms = 10_000, 250
    pragmas = (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",
        f"busy_timeout={busy_ms}",
    )
    away = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN)
    damaged = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

    def open(self, url: URL, home: Path) -> Engine:
        """An engine in which SQLAlchemy, not the driver, says when a transaction begins."""
        if url.database and url.database != ":memory:":
            url = url.set(database=str((home / url.database).absolute()))
        engine = create_engine(url, pool_size=self.connections, max_overflow=0)

        @event.listens_for(engine, "connect")
        def _connect(connection: Any, _record: Any) -> None:
            connection.isolation_level = None
            for pragma in self.pragmas:
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            begin = connection.get_execution_options().get("aeo_begin", "BEGIN")
            if begin:
                connection.exec_driver_sql(begin)

        return engine

    def settle_in(self, connection: Connection) -> None:
        """Room for the inner pages of the indexes of some million records."""
        driver: Any = connection.connection.driver_connection
        driver.execute(f"PRAGMA cache_size = -{self.writer_cache_kib}")

    def take_turn(self, connection: Connection) -> None:
        """`BEGIN IMMEDIATE` waited already."""

    def take_time(self, connection: Connection) -> None:
        """They may."""

    def write_lightly(self, connection: Connection) -> None:
        """There is nobody to wait for."""

    def announce(self, connection: Connection) -> None:
        """There is nobody to tell."""

    def scrub(self, engine: Engine) -> bool:
        """The file has it overwritten (`secure_delete`) once the log of changes is moved into it and emptied.

        Whoever still reads an older state is in its way, and is waited for a moment only.
        """
        with engine.connect().execution_options(aeo_begin=False) as connection:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {self.scrub_ms}")
            try:
                is_busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {self.busy_ms}")
        return not is_busy

    @contextmanager
    def attend(self, engine: Engine) -> Iterator[Attendance]:
        """Alone."""
        yield Alone()

    def refusal(self, error: Exception) -> Refusal | None:
        """The disk is full or fails, or somebody held the file for longer than `busy_timeout`.

        SQLite tells of a disk that could not be read as of a file that is no database (`SQLITE_CORRUPT`).
        """
        cause = _cause(error)
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code not in self.away + self.damaged:
            return None
        why = str(getattr(cause, "sqlite_errorname", code))
        do = "repeat a change with the same idempotency key"
        if code in self.away:
            return Busy("the store cannot be used now", why=why, do=do)
        do += "; whoever runs the node looks after its disk and runs `aeo fsck`"
        return Damaged("the file of the store cannot be read", why=why, do=do)

    def cannot_hold(self, error: Exception) -> bool:
        """Whatever the routes let through can be looked for."""
        return False


class Postgresql:
    """A PostgreSQL server, which any number of processes of one node share.

    One writes at a time: each takes an advisory lock for the length of its transaction. A process that
    stalls in the middle is cut off by the server, which undoes its transaction and frees the lock; and where
    the server does not, by whoever leads.
    """

    keeps_writer = False
    is_shared = True
    connections = 25
    """Of each process; a server allows 100 unless told otherwise."""
    reading: ClassVar[Options] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    glancing: ClassVar[Options] = {"isolation_level": "AUTOCOMMIT"}
    writing: ClassVar[Options] = {}
    turn, lead = 0x41454F00, 0x41454F01
    """The advisory locks of the writer and of the leader; locks are counted by database."""
    scrubbed: ClassVar[tuple[str, ...]] = (
        *("record", "record_version", "operator_identifier", "operator_name", "decision", "change"),
        *("channel_body", "mirror", "mirror_version", "incident", "idempotency"),
        *("ledger_body", "report", "local_decision", "reads_counted", "channel_view", "hold"),
        *("access_body", "access_told"),
    )
    """The tables that may have held what was erased."""
    scrub_limit_bytes = 1 << 28
    bell = "aeo_bell"
    wait_ms, stall_ms = 10_000, 5_000
    connect_s = 5
    # Connection lost, transaction undone or in the wrong state (a standby), too many connections, lock
    # not granted, server shutting down or starting (PostgreSQL, appendix A).
    away = ("08", "25", "40", "53", "55", "57")

    def __init__(self) -> None:
        self.me = secrets.token_hex(8)
        """By which this process knows its own announcements."""

    def open(self, url: URL, home: Path) -> Engine:
        """An engine that notices dead connections before it lends them, and looks at each server."""
        try:
            engine = create_engine(
                url.set(drivername="postgresql+psycopg"),
                pool_size=self.connections,
                max_overflow=0,
                pool_pre_ping=True,
                connect_args=self._connecting(),
            )
        except ImportError:
            raise Malformed(
                "the driver for PostgreSQL is not installed",
                do="install the project with its extra `pg`, which is psycopg",
            ) from None

        @event.listens_for(engine, "connect", insert=True)  # SQLAlchemy's own questions come after it
        def _connect(connection: Any, _record: Any) -> None:
            _check_server(connection)
            connection.execute(f"SET statement_timeout = {STATEMENT_MS}")
            connection.commit()

        return engine

    def _connecting(self) -> dict[str, Any]:
        """Of several hosts in the URL, the one that takes writes; one that fell silent is given up soon."""
        told = {"connect_timeout": self.connect_s, "application_name": f"aeo {os.getpid()}"}
        silent = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
        return told | silent | {"tcp_user_timeout": self.wait_ms, "target_session_attrs": "read-write"}

    def settle_in(self, connection: Connection) -> None:
        """As any other."""

    def take_turn(self, connection: Connection) -> None:
        """The advisory lock, until the transaction ends; what is read behind it is the newest state.

        No statement is ended for its length: a commit that waits for a standby would then be kept without it.
        """
        connection.exec_driver_sql(
            f"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {self.wait_ms}; "
            f"SET LOCAL idle_in_transaction_session_timeout = {self.stall_ms}; "
            f"SELECT pg_advisory_xact_lock({self.turn})"
        )

    def take_time(self, connection: Connection) -> None:
        """Without the bound that `open` sets."""
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")

    def write_lightly(self, connection: Connection) -> None:
        """Durable here, without waiting for a standby."""
        connection.exec_driver_sql("SET LOCAL synchronous_commit = local")

    def announce(self, connection: Connection) -> None:
        """A notification, which the server sends when the transaction commits."""
        connection.exec_driver_sql(f"NOTIFY {self.bell}, '{self.me}'")

    def scrub(self, engine: Engine) -> bool:
        """Small tables are written anew, which leaves nothing of it in their files; of large ones the server
        may write over it, and whoever runs it chooses the hour in which they are written anew.
        """
        is_done = True
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("SET lock_timeout = 1000")
            try:
                for name in self.scrubbed:
                    size = connection.exec_driver_sql(f"SELECT pg_total_relation_size('{name}')").scalar_one()
                    is_small = size <= self.scrub_limit_bytes
                    connection.exec_driver_sql(f"VACUUM ({'FULL' if is_small else 'TRUNCATE'}) {name}")
                    is_done = is_done and is_small
            finally:
                connection.invalidate()
        return is_done

    @contextmanager
    def attend(self, engine: Engine) -> Iterator[Attendance]:
        """A connection that hears notifications, and one that may hold the leader's lock.

        The server cuts the latter off when it is silent for `stall_ms`, so a process that stands still does
        not lead. It could not while it waits for that process to take one notification more.
        """
        with self._alone(engine) as hearing, self._alone(engine) as leading:
            _warn_of_one_alone(leading)
            leading.exec_driver_sql(f"SET idle_session_timeout = {self.stall_ms}")
            hearing.exec_driver_sql(f"LISTEN {self.bell}")
            yield Attending(hearing, leading, self)

    @contextmanager
    def _alone(self, engine: Engine) -> Iterator[Connection]:
        """A connection outside transactions; what it holds and hears ends with it."""
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            try:
                yield connection
            finally:
                connection.invalidate()

    def refusal(self, error: Exception) -> Refusal | None:
        """By the SQLSTATE class; an error without one came from the connection, not from the server."""
        cause = _cause(error)
        state = getattr(cause, "sqlstate", None)
        if state is None:
            is_away = type(cause).__name__ in ("OperationalError", "InterfaceError", "TimeoutError")
        else:
            is_away = str(state)[:2] in self.away
        return away(error) if is_away else None

    def cannot_hold(self, error: Exception) -> bool:
        """A text with a NUL, a number beyond its column."""
        return "DataError" in (each.__name__ for each in type(_cause(error)).__mro__)


_CUT_OFF = """
    SELECT count(pg_terminate_backend(pid)) >= 0 FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE datname = current_database() AND locktype = 'advisory' AND objid = {turn} AND granted
    AND wait_event IN ('ClientRead', 'ClientWrite')
    AND state_change < clock_timestamp() - interval '{silent_ms} milliseconds'
"""
"""Ends the writer whose process neither says nor takes anything; whatever that is amid, it comes to true."""


class Attending:
    """One process on a shared PostgreSQL server."""

    def __init__(self, hearing: Connection, leading: Connection, of: Postgresql) -> None:
        self._hearing, self._leading, self._me, self._leads = hearing, leading, of.me, False
        self._lock, self._cut_off = of.lead, _CUT_OFF.format(turn=of.turn, silent_ms=2 * of.stall_ms)

    def leads(self) -> bool:
        """Try to get the leader's lock; or cut off a writer that stalls, which shows that the lock stands."""
        wanted = self._cut_off if self._leads else f"SELECT pg_try_advisory_lock({self._lock})"
        self._leads = bool(self._leading.exec_driver_sql(wanted).scalar_one())
        return self._leads

    def heard(self, wait_s: float) -> bool:
        """Wait for a notification of another's; the own ones were rung for already."""
        driver: Any = self._hearing.connection.driver_connection
        return any(note.payload != self._me for note in driver.notifies(timeout=wait_s))


def _counts_hosts(url: URL) -> int:
    """How many servers a URL names: each in a `host` of its own, or several in one."""
    return sum(len(each.split(",")) for each in url.normalized_query.get("host", ()))


_CREATE = "create the database with `createdb --template template0 --locale C.UTF-8 --encoding UTF8 NAME`"
REQUIRED = (
    ("fsync", ("on",), "set fsync = on: a loss of power must not lose what was answered"),
    ("full_page_writes", ("on",), "set full_page_writes = on"),
    ("synchronous_commit", ("on", "remote_apply"), "set synchronous_commit = on, for this role too"),
    ("server_encoding", ("UTF8",), _CREATE),
)
"""(setting, allowed values, what to do)."""
IN_ORDER = "'B' < 'a' AND 'Z' < U&'\\00E9' AND U&'\\00E9' < U&'\\+01F600'"
"""Whether the database orders texts by their code points, whoever provides its collation."""
ASKED = ", ".join(f"current_setting('{name}')" for name, *_ in REQUIRED)


def _check_server(driver: Any) -> None:
    """`Damaged` unless a server that was just reached keeps what it says it keeps.

    It may be another one than at the start: which of several takes writes is not for the node to say.
    """
    if driver.info.encoding != "utf-8":
        raise _not_set_up("server_encoding", f"it reaches us as {driver.info.encoding}", _CREATE)
    for (name, wanted, do), value in zip(REQUIRED, driver.execute(f"SELECT {ASKED}").fetchone(), strict=True):
        if value not in wanted:
            raise _not_set_up(name, f"it is {value}; it must be {' or '.join(wanted)}", do)
    if not driver.execute(f"SELECT {IN_ORDER}").fetchone()[0]:
        raise _not_set_up("collation", "it does not order texts by their code points", _CREATE)


def _not_set_up(where: str, why: str, do: str) -> Damaged:
    return Damaged("the PostgreSQL server is not set up for a ledger", where=where, why=why, do=do)


def _warn_of_one_alone(connection: Connection) -> None:
    """Of several servers, one that confirms nothing to the others is warned of: it may be the last left."""
    names = "synchronous_standby_names"
    if _counts_hosts(connection.engine.url) > 1 and not connection.exec_driver_sql(f"SHOW {names}").scalar():
        log.warning(
            "a failover would lose what was acknowledged",
            where=names,
            why="the URL names several servers, and commits wait for no standby",
            do="set it as soon as there is a standby (docs/operate/postgresql.md)",
        )


def kind_of(url: URL) -> Kind:
    """The kind of database at a URL; `Malformed` for one that no node can rest on."""
    kinds: dict[str, Kind] = {"sqlite": Sqlite(), "postgresql": Postgresql()}
    kind = kinds.get(url.get_backend_name())
    if kind is None:
        rule = "must begin with sqlite: or postgresql:"
        raise Malformed("no such database", problems=[problem("database_url", url.drivername, rule)])
    return kind


def away(error: Exception) -> Busy:
    """How a caller is told that the database is not there now."""
    return Busy(
        "the store cannot be reached or is changing hands",
        why=type(error).__name__,
        do="repeat the request in a moment, a change with the same idempotency key",
    )


def _cause(error: Exception) -> BaseException | None:
    """What the driver raised."""
    return error.orig if isinstance(error, DBAPIError) else error


def unheld(error: Exception) -> Malformed:
    """How a caller is told that nothing of the kind can be here."""
    why = str(_cause(error)).partition("\n")[0]
    return Malformed("the store can hold nothing of the kind", why=why, do="correct what you ask for")


def unreached(url: URL, refusal: Busy | Damaged) -> Refusal:
    """How whoever runs the node is told the same: with the driver's words, and without the password."""
    cause = refusal.__cause__
    driver = cause.orig if isinstance(cause, DBAPIError) else cause
    where, why = url.render_as_string(hide_password=True), str(driver or refusal.what).partition("\n")[0]
    if isinstance(refusal, Damaged):
        do = "keep it as it is, look after the disk, and restore from a backup that holds everything"
        return Damaged(refusal.what, where=where, why=why, do=do)
    do = "see that it runs and takes connections from here, and that its URL is right"
    return Busy("the database cannot be used now", where=where, why=why, do=do)
