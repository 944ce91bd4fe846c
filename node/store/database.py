"""One database, opened once: snapshots for reading, one writer at a time for writing."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import orjson
from sqlalchemy import (
    URL,
    ColumnElement,
    CompoundSelect,
    Connection,
    Executable,
    Select,
    Table,
    bindparam,
    make_url,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlmodel import SQLModel

from node.errors import Busy, Damaged
from node.store.engines import STATEMENT_MS, Attendance, Options, kind_of, unheld, unreached

Row = dict[str, Any]
T = TypeVar("T")

MIGRATIONS = Path(__file__).parent / "migrations"
WRITER_WAIT_S = 30
READY_LIMIT = 2
SCRUB_WAIT_S = 1.0
WORTH_COPYING = 16
"""So many rows at a time, or more, go to a server by COPY, and to a file as the driver takes them."""
ASKING_LIMIT = 16
"""Of the connections of one process, those that may be asked by its event loop at a time."""
ANSWER_LIMIT_S = 10.0
READING_LIMIT = 6
"""Of the others, those that may be read from at length at a time; some are left for the writer."""
READING_LIMIT_S = STATEMENT_MS / 1000


class Database:
    """An engine with a snapshot for each reader and one writer at a time."""

    def __init__(self, url: str, home: Path) -> None:
        """Open the database at `url`; a relative SQLite path is taken from `home`."""
        parsed = make_url(url)
        self._kind = kind_of(parsed)
        self._engine = self._kind.open(parsed, home)
        self._writer, self._may_read = threading.Lock(), threading.Event()
        self._may_read.set()
        self._ready: list[Connection] = []
        self._kept: Connection | None = None
        self._asking, self._reading = Bound(ASKING_LIMIT), Bound(READING_LIMIT)
        self._driver_error: type[Exception] = self._engine.dialect.loaded_dbapi.Error

    @property
    def url(self) -> URL:
        """Where the database is; shows no password."""
        return self._engine.url

    @property
    def is_shared(self) -> bool:
        """Whether several processes of one node may work on it at a time."""
        return self._kind.is_shared

    @contextmanager
    def attend(self) -> Iterator[Attendance]:
        """Take part among the processes of this node; `Busy` when the database cannot be reached."""
        with self._reached(), self._kind.attend(self._engine) as attendance:
            yield attendance

    @contextmanager
    def read(self, *, at_length: bool = False) -> Iterator[Connection]:
        """A connection that sees one consistent state and writes nothing.

        A server ends a statement that takes longer than anybody waits for it, unless it is read `at_length`.
        """
        self._may_read.wait(SCRUB_WAIT_S)
        with self._asked(), self._begun(self._kind.reading) as connection:
            if at_length:
                self._kind.take_time(connection)
            yield connection

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """A connection for single statements: each sees the newest committed state, none is held open.

        A few are kept ready: taking one out of the pool and giving it back takes longer than a lookup.
        """
        self._may_read.wait(SCRUB_WAIT_S)
        with self._asked():
            try:
                connection = self._ready.pop()
            except IndexError:
                connection = self._engine.connect().execution_options(**self._kind.glancing)
            try:
                yield connection
            except (SQLAlchemyError, self._driver_error):
                connection.invalidate()
                connection.close()
                raise
            finally:
                if connection.closed or len(self._ready) >= READY_LIMIT:
                    connection.close()
                else:
                    self._ready.append(connection)

    @contextmanager
    def jot(self) -> Iterator[Connection]:
        """A short transaction beside the one writer, of what may be lost with the server that holds it."""
        with self._asked(), self._begun(self._kind.writing) as connection:
            self._kind.write_lightly(connection)
            yield connection

    async def ask(self, question: Callable[[], T], within_s: float = ANSWER_LIMIT_S) -> T:
        """The answer to a question to this database, without holding up the event loop.

        A file answers sooner than a thread is found. A server may keep us waiting: nobody else waits with
        us, and after `within_s` it is `Busy`.
        """
        return await self._asking.answer(question, within_s) if self.is_shared else question()

    async def read_out(self, question: Callable[[], T], within_s: float = READING_LIMIT_S) -> T:
        """The answer to a question that takes a while, a list or a search, in a thread in any case.

        Of a server as many threads wait as `READING_LIMIT`, and none for longer than `within_s`.
        """
        if not self.is_shared:
            return await anyio.to_thread.run_sync(question)
        return await self._reading.answer(question, within_s)

    @contextmanager
    def write(self, *, quietly: bool = False) -> Iterator[Connection]:
        """A transaction of the one writer: all of it is durable on return, or none of it happened.

        `quietly`: no answer changes by it, so no other process is told, and no standby is waited for.
        """
        if not self._writer.acquire(timeout=WRITER_WAIT_S):
            raise Busy("the store is busy", do="try again shortly")
        try:
            with self._reached(), self._for_writing() as connection, connection.begin():
                self._kind.take_turn(connection)
                if quietly:
                    self._kind.write_lightly(connection)
                yield connection
                if not quietly:
                    self._kind.announce(connection)
        finally:
            self._writer.release()

    @contextmanager
    def _for_writing(self) -> Iterator[Connection]:
        """A connection for the writer.

        A file's is always the same one: what it has read stays true from one transaction to the next.
        """
        connection, self._kept = self._kept, None
        if connection is None:
            connection = self._engine.connect().execution_options(**self._kind.writing)
            self._kind.settle_in(connection)
        try:
            yield connection
        except (SQLAlchemyError, self._driver_error):
            connection.close()
            raise
        finally:
            if self._kind.keeps_writer and not connection.closed:
                self._kept = connection
            else:
                connection.close()

    @contextmanager
    def still(self) -> Iterator[None]:
        """Nothing is committed by anybody while this lasts: for readers that are to begin at one state."""
        with self._reached(), self._begun(self._kind.writing) as connection:
            self._kind.take_turn(connection)
            yield

    def scrub(self) -> bool:
        """Free the files of what was deleted; False when that cannot be now. Of a file all others wait."""
        if self.is_shared:
            with self._reached():
                return self._kind.scrub(self._engine)
        with self._writer, self._reached():
            self._may_read.clear()
            try:
                return self._kind.scrub(self._engine)
            finally:
                self._may_read.set()

    def reach(self) -> None:
        """`Busy` or `Damaged`, in the driver's words, unless the database can be used now."""
        try:
            with self.glance():
                pass
        except (Busy, Damaged) as refusal:
            raise unreached(self.url, refusal) from None

    def migrate(self) -> None:
        """Bring the schema to the newest version.

        `Busy` when the database cannot be reached, `Damaged` when its file cannot be read.
        """
        from alembic import command  # takes longer to load than most processes beside this one work
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        try:
            with self.write() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except (Busy, Damaged) as refusal:
            raise unreached(self.url, refusal) from None

    def close(self) -> None:
        """Let go of every connection."""
        while self._ready:
            self._ready.pop().close()
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        self._engine.dispose()

    @contextmanager
    def _begun(self, options: Options) -> Iterator[Connection]:
        """A connection of the pool, in a transaction."""
        with self._engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, self._driver_error) as error:
            refusal = self._kind.refusal(error)
            if refusal is None:
                raise
            raise refusal from error

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """As `_reached`; `Malformed` when what is looked for is nothing that the database could hold."""
        with self._reached():
            try:
                yield
            except (SQLAlchemyError, self._driver_error) as error:
                if self._kind.cannot_hold(error):
                    raise unheld(error) from error
                raise


class Bound:
    """So many questions at a time, each in a thread; one that was given up counts until its thread ends."""

    def __init__(self, limit: int) -> None:
        self._callers, self._threads = anyio.CapacityLimiter(limit), threading.Semaphore(limit)

    async def answer(self, question: Callable[[], T], within_s: float) -> T:
        """The answer, or after `within_s` `Busy`, though the thread goes on."""
        asked = partial(self._asked, question, time.monotonic() + within_s)
        try:
            with anyio.fail_after(within_s):
                return await anyio.to_thread.run_sync(asked, limiter=self._callers, abandon_on_cancel=True)
        except TimeoutError:
            raise Busy("the store does not answer", do="repeat the request in a moment") from None

    def _asked(self, question: Callable[[], T], until_s: float) -> T:
        if not self._threads.acquire(timeout=max(0.0, until_s - time.monotonic())):
            raise TimeoutError
        try:
            return question()
        finally:
            self._threads.release()


class EachOf(FunctionElement[str]):
    """The texts of a JSON list, a row each: one statement for any number of values."""

    name = "each_of"
    inherit_cache = True


@compiles(EachOf, "sqlite")
def _each_of_sqlite(element: EachOf, compiler: Any, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(EachOf, "postgresql")
def _each_of_postgresql(element: EachOf, compiler: Any, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS json))"


class Prepared:
    """A statement written out once for the driver: for the few that are asked thousands of times a second.

    SQLAlchemy's own way from a statement to its rows takes longer than the database does.
    """

    def __init__(self, statement: Select[Any] | CompoundSelect[Any]) -> None:
        """Every value of `statement` that changes is a `bindparam` of one value."""
        self._statement = statement
        self._written: dict[str, tuple[str, Sequence[str] | None, Row]] = {}

    def rows(self, connection: Connection, values: Row) -> list[tuple[Any, ...]]:
        """The rows for these values."""
        return list(self.each(connection, values))

    def each(self, connection: Connection, values: Row) -> Iterator[tuple[Any, ...]]:
        """The rows for these values, one after the other."""
        text, names, fixed = self._written.get(connection.dialect.name) or self._write(connection)
        given = fixed | values
        cursor: Any = connection.connection.cursor()
        try:
            cursor.execute(text, given if names is None else [given[name] for name in names])
            yield from cursor
        except connection.dialect.loaded_dbapi.Error as error:
            raise DBAPIError(text, given, error) from error
        finally:
            cursor.close()

    def _write(self, connection: Connection) -> tuple[str, Sequence[str] | None, Row]:
        compiled = self._statement.compile(dialect=connection.dialect)
        fixed = {name: value for name, value in compiled.params.items() if value is not None}
        written = self._written[connection.dialect.name] = (str(compiled), compiled.positiontup, fixed)
        return written


def among(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """One of the texts that `listed` wrote, handed in as `values`."""
    return column.in_(select(EachOf(bindparam("values")).table_valued("value").c.value))


def listed(values: Sequence[str]) -> str:
    """Texts for one statement with `among`, however many."""
    return orjson.dumps(list(values)).decode()


def table(model: type[SQLModel]) -> Table:
    """The SQLAlchemy Core table of a table class."""
    found: Table = model.__table__  # type: ignore[attr-defined]
    return found


def put(connection: Connection, model: type[SQLModel], rows: Sequence[Row]) -> None:
    """Insert rows, replacing those of the same primary key."""
    if rows:
        connection.execute(_putting(model, connection.dialect.name), list(rows))


def put_new(connection: Connection, model: type[SQLModel], row: Row) -> bool:
    """Insert one row unless there is one of its primary key; False then."""
    into = table(model)
    statement = _insert(connection.dialect.name)(into).on_conflict_do_nothing().returning(*into.primary_key)
    return connection.execute(statement, row).first() is not None


def _insert(dialect: str) -> Callable[[Table], Any]:
    return postgresql.insert if dialect == "postgresql" else sqlite.insert


@cache
def _putting(model: type[SQLModel], dialect: str) -> Executable:
    into = table(model)
    statement = _insert(dialect)(into)
    keys = [column.name for column in into.primary_key]
    rest = {column.name: statement.excluded[column.name] for column in into.c if column.name not in keys}
    if not rest:
        return statement.on_conflict_do_nothing()  # type: ignore[no-any-return]
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)  # type: ignore[no-any-return]


def add(connection: Connection, model: type[SQLModel], rows: Sequence[Row]) -> None:
    """Insert rows that must be new; all have values for the same columns."""
    if len(rows) >= WORTH_COPYING and connection.dialect.name == "postgresql":
        _copy(connection, model, rows)
    elif len(rows) >= WORTH_COPYING:
        text, names = _inserting(model, tuple(rows[0]))
        connection.exec_driver_sql(text, [tuple(map(row.__getitem__, names)) for row in rows])
    elif rows:
        connection.execute(table(model).insert(), list(rows))


@cache
def _inserting(model: type[SQLModel], given: Sequence[str]) -> tuple[str, Sequence[str]]:
    """An insert as SQLite's driver takes it, and the order in which it takes the values."""
    values: Row = {name: bindparam(name) for name in given}
    compiled = table(model).insert().values(values).compile(dialect=sqlite.dialect(paramstyle="qmark"))
    assert compiled.positiontup is not None, "it is written with question marks"
    return str(compiled), compiled.positiontup


def _copy(connection: Connection, model: type[SQLModel], rows: Sequence[Row]) -> None:
    """Insert many rows by PostgreSQL's COPY, which takes less of its time than as many inserts."""
    names = list(rows[0])
    driver: Any = connection.connection.cursor()
    with driver as cursor, cursor.copy(f"COPY {table(model).name} ({', '.join(names)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row([row[name] for name in names])
