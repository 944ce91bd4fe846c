"""One database, opened once: snapshots for reading, one writer at a time for writing.

SQLite runs in WAL mode with `synchronous=FULL`: a transaction that was committed survives a kill of
the process and a loss of power. Deleted content is overwritten (`secure_delete`).
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    CompoundSelect,
    Connection,
    Engine,
    Executable,
    Select,
    Table,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import SQLModel

from node.errors import Busy

Row = dict[str, Any]

PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
    "busy_timeout=10000",
)
MIGRATIONS = Path(__file__).parent / "migrations"
WRITER_WAIT_S = 30
READY_LIMIT = 2
CONNECTIONS_LIMIT = 64
"""More than the threads that serve requests, so that none waits for another's connection."""


class Database:
    """An engine with a snapshot for each reader and a lock around the one writer."""

    def __init__(self, url: str, home: Path) -> None:
        """Open the database at `url`; a relative SQLite path is taken from `home`."""
        self.url = _absolute(url, home)
        self._engine = create_engine(self.url, pool_size=CONNECTIONS_LIMIT, max_overflow=0)
        self._writer = threading.Lock()
        self._unheld: Row = {"isolation_level": "AUTOCOMMIT"}
        if self._engine.dialect.name == "sqlite":
            _speak_sqlite(self._engine)
            # The driver commits by itself unless told to begin; setting and resetting a level costs
            # more than most statements.
            self._unheld = {"aeo_begin": False}
        self._ready: list[Connection] = []
        self._driver_error: type[Exception] = self._engine.dialect.loaded_dbapi.Error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one consistent state and writes nothing."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """A connection for single statements: each sees the newest committed state, none is held open.

        A few are kept ready: taking one out of the pool and giving it back takes longer than a lookup.
        """
        try:
            connection = self._ready.pop()
        except IndexError:
            connection = self._engine.connect().execution_options(**self._unheld)
        try:
            yield connection
        except (SQLAlchemyError, self._driver_error):
            connection.close()
            raise
        finally:
            if connection.closed or len(self._ready) >= READY_LIMIT:
                connection.close()
            else:
                self._ready.append(connection)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction of the one writer: all of it is durable on return, or none of it happened."""
        if not self._writer.acquire(timeout=WRITER_WAIT_S):
            raise Busy("the store is busy", do="try again shortly")
        try:
            with self._engine.connect().execution_options(aeo_write=True) as connection, connection.begin():
                yield connection
        finally:
            self._writer.release()

    def migrate(self) -> None:
        """Bring the schema to the newest version."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self._engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()

    def close(self) -> None:
        """Let go of every connection."""
        while self._ready:
            self._ready.pop().close()
        self._engine.dispose()


class Prepared:
    """A statement written out once for the driver: for the few that are asked thousands of times a second.

    SQLAlchemy's own way from a statement to its rows takes five times as long as SQLite's.
    """

    def __init__(self, statement: Select[Any] | CompoundSelect[Any]) -> None:
        """Every value of `statement` that changes is a `bindparam` of one value."""
        self._statement = statement
        self._written: dict[str, tuple[str, Sequence[str] | None, Row]] = {}

    def rows(self, connection: Connection, values: Row) -> list[tuple[Any, ...]]:
        """The rows for these values."""
        text, names, fixed = self._written.get(connection.dialect.name) or self._write(connection)
        given = fixed | values
        cursor = connection.connection.cursor()
        try:
            cursor.execute(text, given if names is None else [given[name] for name in names])
            return list(cursor.fetchall())
        finally:
            cursor.close()

    def _write(self, connection: Connection) -> tuple[str, Sequence[str] | None, Row]:
        compiled = self._statement.compile(dialect=connection.dialect)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        written = self._written[connection.dialect.name] = (str(compiled), compiled.positiontup, fixed)
        return written


def table(model: type[SQLModel]) -> Table:
    """The SQLAlchemy Core table of a table class."""
    found: Table = model.__table__  # type: ignore[attr-defined]
    return found


def put(connection: Connection, model: type[SQLModel], rows: Sequence[Row]) -> None:
    """Insert rows, replacing those of the same primary key."""
    if rows:
        connection.execute(_putting(model, connection.dialect.name), list(rows))


@cache
def _putting(model: type[SQLModel], dialect: str) -> Executable:
    into = table(model)
    insert: Callable[[Table], Any] = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(into)
    keys = [column.name for column in into.primary_key]
    rest = {column.name: statement.excluded[column.name] for column in into.c if column.name not in keys}
    if not rest:
        return statement.on_conflict_do_nothing()  # type: ignore[no-any-return]
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)  # type: ignore[no-any-return]


def add(connection: Connection, model: type[SQLModel], rows: Sequence[Row]) -> None:
    """Insert rows that must be new."""
    if rows:
        connection.execute(table(model).insert(), list(rows))


def _absolute(url: str, home: Path) -> str:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return url
    return parsed.set(database=str((home / parsed.database).absolute())).render_as_string(hide_password=False)


def _speak_sqlite(engine: Engine) -> None:
    """Let SQLAlchemy, not the driver, say when a transaction begins: writers take the lock at once."""

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("aeo_begin", True):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("aeo_write") else "BEGIN")
