"""National lists, as the spreadsheets administrations keep, read into operators or traders.

A profile (TOML) says how one country's columns map to fields; nothing about a country is code.
A list is read twice, and never held: the first reading (`survey`) shows that it can be trusted as a whole,
and keeps eight bytes of each number. Guarantees that every record yielded would be accepted by a node, that
every problem names line, column, value and rule, and that a bad row never hides the next one. Refuses a
whole file (`Malformed`, `TooMuch`), before any row is yielded, for what makes its rows doubtful: bytes of
another encoding, NUL, a quote that stays open to the end, a missing, unknown or repeated column, sizes beyond
the bounds; later only if it is written to between the readings. Refuses a row for a quote in the middle of
a cell, for a cell that a spreadsheet would run as a formula, for a word the profile does not know, and for
an identifier that an earlier line has.
White space around a cell is dropped and text is brought to NFC; nothing else is repaired.
"""

import csv
import os
import re
import tomllib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final, cast
from unicodedata import normalize

from clients.sdk.digests import Digests
from clients.sdk.numbers import fault
from node.errors import SHOWN_CHARACTERS, Malformed, Problem, TooMuch, problem, reason
from node.ledger import moment
from node.ledger.canonical import Json
from node.records import identifiers, model

MAX_ROWS: Final = 5_000_000
MAX_LINE_BYTES: Final = 65_536
MAX_ROW_LINES: Final = 64
MAX_CELL_CHARACTERS: Final = 1_000
MAX_PROFILE_BYTES: Final = 65_536

ENCODINGS: Final = ("utf-8", "windows-1252")
SEPARATORS: Final = (",", ";", "\t", "|")
LIST_SEPARATORS: Final = (";", ",", "|", "/")
DATES: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        "dd/mm/yyyy": re.compile(r"(?P<d>[0-9]{2})/(?P<m>[0-9]{2})/(?P<y>[0-9]{4})"),
        "dd.mm.yyyy": re.compile(r"(?P<d>[0-9]{2})\.(?P<m>[0-9]{2})\.(?P<y>[0-9]{4})"),
        "mm/dd/yyyy": re.compile(r"(?P<m>[0-9]{2})/(?P<d>[0-9]{2})/(?P<y>[0-9]{4})"),
        "yyyy-mm-dd": re.compile(r"(?P<y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})"),
    }
)

_PROFILES: Final = Path(__file__).parent / "profiles"
_PROFILE_NAME: Final = re.compile("[a-z0-9]+(?:-[a-z0-9]+)*")
_FORMULA: Final = re.compile(r"[=@]|[+-](?![0-9 ().-]*$)")
_BOM: Final = b"\xef\xbb\xbf"
_POSITION: Final = re.compile(r"\[[0-9]+\]")

Word = str | bool
Through = Callable[[Iterator["Row"]], Iterable["Row"]]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its header, the fields its cells fill, and how a cell is read.

    `form` is a key of `FORMS`; `words` maps the list's words, folded, to ours; `spelt` has them as written.
    """

    header: str
    fields: tuple[str, ...]
    form: str
    words: Mapping[str, Word] = field(default_factory=lambda: MappingProxyType({}))
    optional: bool = False
    spelt: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """How one administration's list is read; see `clients/sdk/profiles` for examples."""

    name: str
    encoding: str
    separator: str
    dates: str
    list_separator: str
    constants: Mapping[str, Json]
    scope: Mapping[str, tuple[str, ...]]
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one record as they stand under `header`; `line` counts from 1, the header's line.

    `fault`: why they cannot be told apart for certain; they are then what a guess makes of that line.
    """

    line: int
    header: tuple[str, ...]
    cells: tuple[str, ...]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ImportProblem:
    """What is wrong with one cell: where it stands, what it holds, and the rule it breaks.

    `column` is the list's own header, empty where no column is at fault; `field` is what it fills.
    """

    line: int
    column: str
    value: str
    rule: str
    field: str = ""


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """One record of the list: an operator in JSON, or the problems that keep it from being one.

    `tin`: whom it is about, where its number can be read; empty where not.
    """

    line: int
    operator: dict[str, Json] | None
    problems: tuple[ImportProblem, ...]
    tin: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """What the first reading of a list found: its rows, whom they are about, which numbers stand twice."""

    rows: int
    tins: Digests
    repeated: Digests
    state: tuple[int, int, int]

    def is_repeated(self, number: tuple[str, str]) -> bool:
        """Whether another row may have this number, so that lines must be remembered."""
        return bool(number[1]) and " ".join(number) in self.repeated


def load_profile(name_or_path: str | Path) -> Profile:
    """A profile that comes with the client (by name, "br-oea") or a TOML file (by its path).

    Raises `Malformed` for unknown or missing keys, `TooMuch` for a file of more than 64 KiB.
    """
    path = _profile_path(name_or_path)
    try:
        text = _bounded(path, MAX_PROFILE_BYTES).decode("utf-8")
        return _profile(tomllib.loads(text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        do = "give the path of a TOML file that you may read"
        raise Malformed("the profile cannot be read", where=str(path), why=reason(error), do=do) from error


def survey(path: Path, profile: Profile, through: Through = iter) -> Survey:
    """Read a list for the first time; `Malformed` or `TooMuch` when the file itself cannot be trusted.

    The rows go `through` a function of the caller's, which may count them as they pass.
    """
    state, rows, tins, numbers = _state(path), 0, Digests(), Digests()
    for row in through(read_rows(path, profile)):
        rows += 1
        found = _numbers(row, profile)
        for number in found:
            numbers.add(" ".join(number))
        if tin := _tin(row, profile, found):
            tins.add(tin)
    return Survey(rows, tins, numbers.repeated(), state)


def read_import(
    path: Path, profile: Profile, surveyed: Survey | None = None, from_line: int = 0
) -> Iterator[ImportedRow]:
    """Read a list row by row, from a line on; raises as `survey` does, whose finding may be handed in.

    Earlier rows are passed over unread, except those whose number a later one repeats.
    """
    found, lines_of = surveyed or survey(path, profile), dict[tuple[str, str], int]()
    _check_unchanged(path, found)
    for row in read_rows(path, profile):
        if row.line < from_line and not any(map(found.is_repeated, _numbers(row, profile))):
            continue
        try:
            operator = operator_from_row(row, profile)
            _check_unseen(operator, row, profile, found, lines_of)
        except Malformed as refusal:
            yield ImportedRow(
                row.line, None, _located(row, refusal, profile), _tin(row, profile, _numbers(row, profile))
            )
        else:
            yield ImportedRow(row.line, operator, (), str(operator["tin"]))
    _check_unchanged(path, found)


def read_rows(path: Path, profile: Profile) -> Iterator[Row]:
    """The rows of a CSV file below its header, streamed; raises as `read_import` does."""
    with _opened(path) as file:
        yield from _rows(_decoded(file, profile.encoding), profile)


def operator_from_row(row: Row, profile: Profile) -> dict[str, Json]:
    """The operator JSON of a row, complete and checked as a node checks it.

    Raises `Malformed`; each problem's `field` is the column's header (or the field, where no column
    fills it) and its value the cell.
    """
    cells = _cells(row)
    operator, problems = _filled(cells, profile)
    if problems:
        raise Malformed("the row was refused", where=f"line {row.line}", problems=problems)
    try:
        _derive(operator, profile)
        return model.to_json(model.parse(operator))
    except Malformed as refusal:
        # A cell that fills two fields breaks a rule once.
        named = dict.fromkeys(_by_column(broken, operator, cells, profile) for broken in refusal.problems)
        raise Malformed("the row was refused", where=f"line {row.line}", problems=named) from None


def refused_by_node(
    line: int, broken: Problem, operator: Mapping[str, Any], profile: Profile
) -> ImportProblem:
    """What a node found wrong with an operator out of this list, under the column that it came from."""
    column = _column_of(_source(broken.field, operator), profile)
    return ImportProblem(line, column.header if column else "", broken.value, broken.rule, broken.field)


# Reading the file.


def _state(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written to or replaced."""
    with _opened(path) as file:
        found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns


def _check_unchanged(path: Path, surveyed: Survey) -> None:
    if _state(path) != surveyed.state:
        do = "import it again when nobody writes to it; a repeated row changes nothing"
        raise Malformed("the list was changed while it was read", where=str(path), do=do)


def _bounded(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise TooMuch("the file is too large", where=str(path), why=f"at most {limit} bytes")
    return content


def _opened(path: Path) -> BinaryIO:
    """The file, which can be read twice."""
    if path.suffix.lower() in (".xlsx", ".xls", ".ods"):
        do = "save the sheet as CSV (UTF-8) and import that"
        raise Malformed("spreadsheet files are not supported in this version", where=str(path), do=do)
    if path.exists() and not path.is_file():
        do = "save the list as a file, and import that"
        why = "it is a folder" if path.is_dir() else ""
        raise Malformed("a list is read twice, which this cannot be", where=str(path), why=why, do=do)
    try:
        return path.open("rb")
    except OSError as error:
        do = "give the path of a list that you may read"
        raise Malformed("the list cannot be opened", where=str(path), why=reason(error), do=do) from error


def _decoded(file: BinaryIO, encoding: str) -> Iterator[str]:
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            raise TooMuch("a line is too long", where=f"line {number}", why=f"at most {MAX_LINE_BYTES} bytes")
        if b"\0" in raw:
            raise _file(number, "NUL", "a list holds text only", "save it as CSV in UTF-8")
        yield _line(raw.removeprefix(_BOM) if number == 1 else raw, number, encoding)


def _line(raw: bytes, number: int, encoding: str) -> str:
    if encoding != "utf-8" and not raw.isascii() and _is_utf8(raw):
        raise _file(number, raw, "the bytes are UTF-8", 'set encoding = "utf-8" in the profile')
    try:
        return raw.decode("cp1252" if encoding == "windows-1252" else encoding)
    except UnicodeDecodeError as error:
        found = raw[max(0, error.start - 8) : error.end + 8]
        why = f"byte {error.start + 1} is not {encoding}"
        do = 'save the list as UTF-8, or set encoding = "windows-1252" in the profile if it is that'
        raise _file(number, found, why, do) from None


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _rows(lines: Iterator[str], profile: Profile) -> Iterator[Row]:
    records = _records(_Lines(lines), profile.separator)
    _, names, fault = next(records, (0, [], ""))
    if fault:
        raise _unclosed(1, fault)
    if not names:
        raise Malformed("the list is empty", where="line 1", do="export it again, with its header")
    header = tuple(_tidy(name) for name in names)
    _check_header(header, profile)
    for count, (line, cells, fault) in enumerate(records):
        if count == MAX_ROWS:
            raise TooMuch("the list is too long", where=f"line {line}", why=f"at most {MAX_ROWS} rows")
        yield Row(line, header, tuple(cells), fault)


class _RowTooLongError(Exception):
    """A record goes on after `MAX_ROW_LINES` lines."""


class _Lines:
    """Lines, of which those that a faulty record swallowed can be given back."""

    def __init__(self, source: Iterator[str]) -> None:
        self._source = source
        self._ahead: deque[str] = deque()
        self.taken: list[str] = []
        self.ran_out = False
        self.open_since = 0
        """Where a quote opened that no line since then could have closed; 0: nowhere."""

    def __iter__(self) -> Iterator[str]:
        """The lines of one record, which takes as many as it needs."""
        self.taken = []
        while (line := self._next()) is not None:
            if len(self.taken) == MAX_ROW_LINES:
                self._ahead.appendleft(line)
                raise _RowTooLongError
            self.taken.append(line)
            yield line
        self.ran_out = True

    def give_back(self) -> None:
        """Let the next record begin on the second line that this one took."""
        self._ahead.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]

    def note_open(self, start: int) -> None:
        """Note where a quote opened, unless a line that was read already could close it."""
        self.open_since = 0 if any('"' in each for each in self._ahead) else start

    def _next(self) -> str | None:
        if self._ahead:
            return self._ahead.popleft()
        line = next(self._source, None)
        if line is not None and '"' in line:
            self.open_since = 0
        return line


def _records(lines: _Lines, separator: str) -> Iterator[tuple[int, list[str], str]]:
    """(line, cells, why they are only a guess) of each record that is not empty.

    A stray quote may swallow lines that follow; they are read again as records of their own.
    """
    start = 1
    while True:
        fault = ""
        try:
            cells = next(csv.reader(lines, delimiter=separator, strict=True), None)
        except csv.Error as error:
            if lines.ran_out:
                raise _unclosed(start, str(error)) from None
            fault = f"must be CSV ({error}): leave a quote out, or write it twice in a quoted cell"
        except _RowTooLongError:
            lines.note_open(start)
            fault = f"must be CSV: a quote opens and does not close within {MAX_ROW_LINES} lines"
        if fault:
            lines.give_back()
            cells = _guess(lines.taken[0], separator)
        if cells is None:
            break
        if cells:
            yield start, cells, fault
        start += len(lines.taken)
    if lines.open_since:
        raise _unclosed(lines.open_since, "the quote stays open to the end")


def _guess(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error:
        return line.split(separator)


def _unclosed(line: int, why: str) -> Malformed:
    do = "look there for a quote that opens a cell and never closes"
    return Malformed("the list is not CSV", where=f"the row that begins at line {line}", why=why, do=do)


def _check_header(header: tuple[str, ...], profile: Profile) -> None:
    known = [column.header for column in profile.columns]
    if len(header) == 1 < len(known):
        raise _not_separated(header[0], profile)
    problems = [problem(name, "", "column is missing") for name in known if name not in header]
    problems += [
        problem(name, "", "column is unknown to the profile") for name in header if name not in known
    ]
    problems += [
        problem(name, "", "column stands twice") for n, name in enumerate(header) if name in header[:n]
    ]
    if problems:
        do = f"export the columns {', '.join(known)}, separated by {profile.separator!r}"
        raise Malformed("the header does not fit", where=f"profile {profile.name}", do=do, problems=problems)


def _not_separated(header: str, profile: Profile) -> Malformed:
    """A header of one column, which is that of another separator."""
    likely = max((each for each in SEPARATORS if each != profile.separator), key=header.count)
    why = f"the file has one column; profile {profile.name} expects {len(profile.columns)}"
    why += f" with {profile.separator!r} between"
    do = f"export the list again with {profile.separator!r} between the columns"
    if likely in header:
        why += f", and between these stands {likely!r}"
        do += f", or use a profile that says separator = {likely!r}"
    return Malformed("the list has another separator", where="line 1", why=why, do=do)


def _file(line: int, found: object, why: str, do: str) -> Malformed:
    where = f"line {line}"
    return Malformed("the list cannot be read", where=where, do=do, problems=[problem(where, found, why)])


# Reading a row.


def _cells(row: Row) -> dict[str, str]:
    if row.fault:
        raise Malformed("the row was refused", problems=[problem("row", row.cells[0], row.fault)])
    if len(row.cells) != len(row.header):
        rule = f"must have {len(row.header)} cells, as the header has (has {len(row.cells)})"
        raise Malformed("the row was refused", problems=[problem("row", row.cells[0], rule)])
    cells = dict(zip(row.header, map(_tidy, row.cells), strict=True))
    problems = [problem(name, cell, _cell_fault(cell)) for name, cell in cells.items() if _cell_fault(cell)]
    if problems:
        raise Malformed("the row was refused", where=f"line {row.line}", problems=problems)
    return cells


def _tidy(cell: str) -> str:
    return normalize("NFC", cell.strip(" \t\u00a0"))


def _cell_fault(cell: str) -> str:
    if len(cell) > MAX_CELL_CHARACTERS:
        return f"must have at most {MAX_CELL_CHARACTERS} characters"
    return "must not be a formula (begin with = + - or @)" if _FORMULA.match(cell) else ""


def _filled(cells: Mapping[str, str], profile: Profile) -> tuple[dict[str, Any], list[Problem]]:
    operator: dict[str, Any] = {}
    problems: list[Problem] = []
    for path, constant in profile.constants.items():
        _put(operator, path, constant)
    for column in profile.columns:
        cell = cells[column.header]
        if not cell:
            problems += [] if column.optional else [problem(column.header, cell, _empty(column))]
            continue
        try:
            _fill(operator, column, FORMS[column.form](cell, column, profile))
        except Malformed as refusal:
            problems += [problem(column.header, cell, broken.rule) for broken in refusal.problems]
    return operator, problems


def _empty(column: Column) -> str:
    return f"must not be empty; {_choice(column)}" if column.words else "must not be empty"


def _choice(column: Column) -> str:
    return f"must be one of {', '.join(column.spelt)}"


def _fill(operator: dict[str, Any], column: Column, value: Json) -> None:
    for path in column.fields:
        if path.startswith("identifiers."):
            operator.setdefault("identifiers", []).append({"scheme": _scheme(path), "value": value})
        else:
            _put(operator, path, value)


def _put(operator: dict[str, Any], path: str, value: Json) -> None:
    outer, _, inner = path.partition(".")
    if inner:
        operator.setdefault(outer, {})[inner] = value
    else:
        operator[outer] = value


def _scheme(path: str) -> str:
    return path.partition(".")[2]


def _derive(operator: dict[str, Any], profile: Profile) -> None:
    """Fill what follows from the rest: the TIN from the first identifier, a scope from the types."""
    for first in operator.get("identifiers", [])[:1]:
        operator["tin"] = identifiers.tin_of(operator["country"], first["scheme"], first["value"])
    if not profile.scope:
        return
    granted = [scope for kind in operator.get("national_types", ()) for scope in profile.scope.get(kind, ())]
    operator["scope"] = [scope for scope in model.SCOPES if scope in granted]


def _as_text(cell: str, _column: Column, _profile: Profile) -> Json:
    return cell


def _as_word(cell: str, column: Column, _profile: Profile) -> Json:
    word = column.words.get(_folded(cell))
    if word is None:
        raise _broken(_choice(column))
    return word


def _as_list(cell: str, column: Column, profile: Profile) -> Json:
    parts = [_tidy(part) for part in cell.split(profile.list_separator)]
    if not all(parts):
        raise _broken(f"must be values separated by {profile.list_separator!r}, none of them empty")
    return [_as_word(part, column, profile) if column.words else part for part in parts]


def _as_date(cell: str, _column: Column, profile: Profile) -> Json:
    match = DATES[profile.dates].fullmatch(cell)
    if match is None:
        raise _broken(f"must be a date written {profile.dates}")
    try:
        return moment.parse_date("{y}-{m}-{d}".format(**match.groupdict()))
    except Malformed:
        raise _broken("must be a day that exists") from None


def _as_midnight(cell: str, column: Column, profile: Profile) -> Json:
    return f"{_as_date(cell, column, profile)}T00:00:00.000Z"


def _as_identifier(cell: str, column: Column, _profile: Profile) -> Json:
    scheme = _scheme(column.fields[0])
    wrong = fault(scheme, cell)
    if wrong:
        raise _broken(wrong)
    return identifiers.check(scheme, cell)


FORMS: Final[Mapping[str, Callable[[str, Column, Profile], Json]]] = MappingProxyType(
    {
        "text": _as_text,
        "word": _as_word,
        "list": _as_list,
        "date": _as_date,
        "midnight": _as_midnight,
        "identifier": _as_identifier,
    }
)


def _folded(word: str) -> str:
    """As words are compared: without regard to case and spaces."""
    return "".join(word.casefold().split())


def _broken(rule: str) -> Malformed:
    return Malformed("the cell was refused", problems=[problem("", "", rule)])


# Naming what went wrong.


def _numbers(row: Row, profile: Profile) -> list[tuple[str, str]]:
    """(scheme, value) of each number of a row that can be read; "" for one that cannot."""
    if len(row.cells) != len(row.header):
        return []
    cells = dict(zip(row.header, map(_tidy, row.cells), strict=True))
    columns = [each for each in profile.columns if each.form == "identifier" and cells[each.header]]
    written = [(_scheme(column.fields[0]), cells[column.header]) for column in columns]
    return [(scheme, _checked(scheme, cell)) for scheme, cell in written]


def _checked(scheme: str, cell: str) -> str:
    try:
        return identifiers.check(scheme, cell)
    except Malformed:
        return ""


def _tin(row: Row, profile: Profile, numbers: list[tuple[str, str]]) -> str:
    """Whom a row is about, as far as the first of its numbers, and its country, can be read."""
    for scheme, value in numbers[:1]:
        try:
            return identifiers.tin_of(_country(row, profile), scheme, value)
        except Malformed:
            return ""
    return ""


def _country(row: Row, profile: Profile) -> str:
    column = _column_of("country", profile)
    if column is None:
        return str(profile.constants.get("country", ""))
    return str(FORMS[column.form](_tidy(row.cells[row.header.index(column.header)]), column, profile))


def _by_column(
    broken: Problem, operator: Mapping[str, Any], cells: Mapping[str, str], profile: Profile
) -> Problem:
    column = _column_of(_source(broken.field, operator), profile)
    if column is None:
        return broken
    return problem(column.header, cells[column.header], broken.rule)


def _source(path: str, operator: Mapping[str, Any]) -> str:
    """The path, as a profile writes it, of what a refused field was made from."""
    numbers = operator.get("identifiers", [])
    if path.startswith(("identifiers[", "tin")) and numbers:
        position = int(path.partition("[")[2].partition("]")[0] or 0)
        return f"identifiers.{numbers[position]['scheme']}"
    return "national_types" if path.startswith("scope") else _POSITION.sub("", path)


def _column_of(path: str, profile: Profile) -> Column | None:
    return next((column for column in profile.columns if path in column.fields), None)


def _check_unseen(
    operator: Mapping[str, Json],
    row: Row,
    profile: Profile,
    surveyed: Survey,
    lines_of: dict[tuple[str, str], int],
) -> None:
    numbers = cast("list[dict[str, str]]", operator["identifiers"])
    keys = [(number["scheme"], number["value"]) for number in numbers]
    keys = [key for key in keys if surveyed.is_repeated(key)]
    repeated = [key for key in keys if key in lines_of]
    if repeated:
        problems = [_repeat(key, lines_of[key], profile) for key in repeated]
        raise Malformed("the row was refused", where=f"line {row.line}", problems=problems)
    lines_of.update(dict.fromkeys(keys, row.line))


def _repeat(key: tuple[str, str], line: int, profile: Profile) -> Problem:
    column = _column_of(f"identifiers.{key[0]}", profile)
    return problem(column.header if column else key[0], key[1], f"stands already in line {line}")


def _located(row: Row, refusal: Malformed, profile: Profile) -> tuple[ImportProblem, ...]:
    fields = {column.header: ", ".join(column.fields) for column in profile.columns}
    return tuple(
        ImportProblem(row.line, p.field, p.value, p.rule, fields[p.field])
        if p.field in fields
        else ImportProblem(row.line, "", p.value, p.rule, p.field)
        for p in refusal.problems
    )


# Reading a profile.


def _profile_path(name_or_path: str | Path) -> Path:
    if isinstance(name_or_path, Path) or name_or_path.endswith(".toml"):
        return Path(name_or_path)
    path = _PROFILES / f"{name_or_path}.toml"
    if _PROFILE_NAME.fullmatch(name_or_path) is None or not path.is_file():
        known = ", ".join(sorted(found.stem for found in _PROFILES.glob("*.toml")))
        do = f"use one of {known}, or the path of your own, which ends with .toml"
        raise Malformed("there is no such profile", where=name_or_path[:SHOWN_CHARACTERS], do=do)
    return path


def _profile(table: Mapping[str, Any]) -> Profile:
    _check_keys("profile", table, Profile.__slots__, ("scope",))
    _check_choice("encoding", table["encoding"], ENCODINGS)
    _check_choice("separator", table["separator"], SEPARATORS)
    _check_choice("dates", table["dates"], DATES)
    _check_type("name", table["name"], str)
    _check_choice("list_separator", table["list_separator"], LIST_SEPARATORS)
    _check_type("constants", table["constants"], dict)
    columns = _columns(table["columns"])
    _check_targets([*table["constants"], *(path for column in columns for path in column.fields)])
    return Profile(**{**table, "scope": _scope(table.get("scope", {})), "columns": columns})


def _columns(tables: object) -> tuple[Column, ...]:
    _check_type("columns", tables, list)
    columns = tuple(_column(table) for table in cast("list[Any]", tables))
    if not any(column.form == "identifier" for column in columns):
        raise _profile_fault("columns", "", "one column must hold an identifier")
    return columns


def _check_targets(paths: list[str]) -> None:
    """Each field is filled once, and never both as a whole and in parts."""
    for n, path in enumerate(paths):
        _check_choice("field", path.partition(".")[0], model.FIELDS)
        if any(path == other or path.startswith(f"{other}.") for other in paths[:n] + paths[n + 1 :]):
            raise _profile_fault("field", path, "is filled twice")


def _column(table: object) -> Column:
    _check_type("columns", table, dict)
    found = cast("dict[str, Any]", table)
    _check_keys("columns", found, ("header", "fields", "form", "words", "optional"), ("words", "optional"))
    _check_type("header", found["header"], str)
    _check_choice("form", found["form"], FORMS)
    _check_type("optional", found.get("optional", False), bool)
    words = _words(found.get("words", {}), found["form"])
    header, spelt = normalize("NFC", found["header"]), tuple(found.get("words", ()))
    return Column(header, _targets(found), found["form"], words, found.get("optional", False), spelt)


def _words(table: object, form: str) -> Mapping[str, Word]:
    _check_type("words", table, dict)
    if form == "word" and not table:
        raise _profile_fault("words", table, "a column of words must list them")
    words = cast("dict[str, Word]", table)
    return MappingProxyType({_folded(normalize("NFC", word)): ours for word, ours in words.items()})


def _targets(column: Mapping[str, Any]) -> tuple[str, ...]:
    paths, form = column["fields"], column["form"]
    _check_type("fields", paths, list)
    for path in paths:
        _check_type("fields", path, str)
        if form == "identifier" or path.startswith("identifiers"):
            _check_choice("form", form, ("identifier",))
            _check_choice("fields", path, [f"identifiers.{scheme}" for scheme in identifiers.SCHEMES])
    if not paths or (form == "identifier" and len(paths) > 1):
        raise _profile_fault("fields", paths, "name one field, or several that share a value")
    return tuple(paths)


def _scope(table: object) -> Mapping[str, tuple[str, ...]]:
    _check_type("scope", table, dict)
    granted = cast("dict[str, list[str]]", table)
    for scopes in granted.values():
        _check_type("scope", scopes, list)
        for scope in scopes:
            _check_choice("scope", scope, model.SCOPES)
    return MappingProxyType({kind: tuple(scopes) for kind, scopes in granted.items()})


def _check_keys(where: str, table: Mapping[str, Any], keys: Iterable[str], optional: Iterable[str]) -> None:
    known, spared = tuple(keys), tuple(optional)
    problems = [problem(key, "", "unknown key") for key in table if key not in known]
    problems += [problem(key, "", "missing key") for key in known if key not in table and key not in spared]
    if problems:
        raise Malformed("the profile was refused", where=where, problems=problems)


def _check_choice(key: str, value: object, allowed: Iterable[str]) -> None:
    known = tuple(allowed)
    if value not in known:
        raise _profile_fault(key, value, f"must be one of {', '.join(map(repr, known))}")


def _check_type(key: str, value: object, kind: type) -> None:
    if type(value) is not kind:
        raise _profile_fault(key, value, f"must be of type {kind.__name__}")


def _profile_fault(key: str, value: object, rule: str) -> Malformed:
    return Malformed("the profile was refused", problems=[problem(key, value, rule)])
