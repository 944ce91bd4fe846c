"""A contract tried over records that lie in a file, without a node: what would be shared, and why not.

The records are read as they come: JSON or JSON lines, each an operator or trader as `aeo operator add` takes
it or as `aeo lookup --json` and `aeo operator history --json` print it, or a national list with its profile.
Nothing is written anywhere. Decides with the node's own rule (`node.agreements.deciding`); a record that a
node would not admit is refused, and named by its place. Holds the counts and the first records, so that a
million take no more memory than a thousand.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from clients.sdk.importing import load_profile, read_import
from node.agreements.document import Agreement
from node.agreements.preview import Outlook, held, outlook
from node.errors import Malformed, TooMuch, problem, reason
from node.records import model

FILE_LIMIT_BYTES: Final = 64 * 2**20
"""Of a file that is one JSON text; JSON lines and national lists are streamed."""
LINE_LIMIT_BYTES: Final = 2**20
ASSIGNED: Final = ("record_id", "recorded_at")
NOT_RECORDED: Final = "not recorded"
WITHIN: Final = ("fields", "operator", "operators", "results", "suggestions", "versions")
"""Where the answers of a node hold records, and answers that do."""

Found = tuple[str, dict[str, Any] | str]
"""Where a record stands, and the record; or why it cannot be read."""


@dataclass(slots=True)
class Tried:
    """What a contract answered: for each direction, and for the first `most` records one by one."""

    most: int
    directions: dict[str, Counter[str]] = field(default_factory=dict)
    shared: dict[str, Counter[tuple[str, ...]]] = field(default_factory=dict)
    listed: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """The whole of it for a program."""
        return {
            "records": self.counts["records"],
            "refused": self.counts["refused"],
            "without_direction": self.counts["without_direction"],
            "directions": {name: self._direction(name) for name in self.directions},
            "listed": self.listed,
            "refusals": self.refused,
        }

    def _direction(self, name: str) -> dict[str, Any]:
        shared = self.shared.get(name, Counter())
        return {
            "shared": shared.total(),
            "shared_fields": [
                {"records": count, "fields": list(paths)} for paths, count in shared.most_common()
            ],
            "withheld": dict(self.directions[name].most_common()),
        }


def try_contract(
    agreement: Agreement, found: Iterable[Found], state: str, day: str, direction: str | None, most: int
) -> Tried:
    """Ask the contract about each record, in each direction (or one) that its country issues.

    `day` is `YYYY-MM-DD`, `state` one of an agreement's. Raises `Malformed` for a direction not in the terms.
    """
    names = list(agreement.terms["directions"])
    if direction is not None and direction not in names:
        rule = f"must be one of {', '.join(names)}"
        raise Malformed("no such direction", problems=[problem("--direction", direction, rule)])
    tried = Tried(most, {name: Counter() for name in names if direction in (None, name)})
    looks: dict[str, Outlook] = {}
    for place, record in found:
        tried.counts["records"] += 1
        try:
            fields = _as_seen(record, day)
        except Malformed as refusal:
            _refuse(tried, place, refusal)
            continue
        issuer = fields["country"]
        look = looks.setdefault(issuer, outlook(agreement, issuer, state))
        _ask(tried, look, place, fields, day)
    return tried


def _as_seen(record: dict[str, Any] | str, day: str) -> dict[str, Any]:
    """A record as a contract sees it; what a node would assign stands for what is not there."""
    if isinstance(record, str):
        raise Malformed(record)
    stated = {name: value for name, value in record.items() if name not in ASSIGNED}
    fields: dict[str, Any] = model.to_json(model.parse(stated))
    assigned = {"record_id": NOT_RECORDED, "recorded_at": f"{day}T00:00:00.000Z"}
    return fields | {name: str(record.get(name, instead)) for name, instead in assigned.items()}


def _refuse(tried: Tried, place: str, refusal: Malformed) -> None:
    tried.counts["refused"] += 1
    if len(tried.refused) < tried.most:
        tried.refused.append({"where": place, "why": refusal.sentence()})


def _ask(tried: Tried, look: Outlook, place: str, fields: Mapping[str, Any], day: str) -> None:
    asked = [to for to in look.directions if f"{fields['country']}-{to}" in tried.directions]
    tried.counts["without_direction"] += not asked
    for partner in asked:
        name = f"{fields['country']}-{partner}"
        answer = look.answer(partner, dict(fields), day)
        told: dict[str, Any] = {"where": place, "tin": fields["tin"], "direction": name}
        if answer.shared:
            shown = held(dict(fields), answer.fields)
            tried.shared.setdefault(name, Counter())[answer.fields] += 1
            told |= {"answer": "share", "fields": list(shown)}
            told["without"] = [path for path in answer.fields if path not in shown]
        else:
            tried.directions[name][answer.reason] += 1
            told |= {"answer": "withhold", "reason": answer.reason}
        if len(tried.listed) < tried.most:
            tried.listed.append(told)


def records_in(path: Path, profile: str | None = None) -> Iterator[Found]:
    """The records in a file, each with its place; `Malformed` or `TooMuch` when the file cannot be read."""
    if profile is not None:
        for row in read_import(path, load_profile(profile)):
            why = "; ".join(f"{each.column}: {each.rule}" for each in row.problems)
            yield f"line {row.line}", row.operator if row.operator is not None else why
        return
    try:
        with path.open("rb") as file:
            yield from _json_records(file, path)
    except OSError as error:
        do = "give the path of a file that you may read"
        raise Malformed("the file cannot be read", where=str(path), why=reason(error), do=do) from None


def _json_records(file: BinaryIO, path: Path) -> Iterator[Found]:
    """Of a file whose first line is a whole value each line by itself, of any other the one value in it."""
    first = file.readline(LINE_LIMIT_BYTES + 1)
    is_lines = _json(first) is not None
    file.seek(0)
    if not is_lines:
        content = file.read(FILE_LIMIT_BYTES + 1)
        if len(content) > FILE_LIMIT_BYTES:
            do = "write each record on a line of its own (JSON lines)"
            raise TooMuch(
                "the file is too large", where=str(path), why=f"at most {FILE_LIMIT_BYTES:,} bytes", do=do
            )
        yield from _records(_json(content), "the file")
        return
    number = 0
    while line := file.readline(LINE_LIMIT_BYTES + 1):
        number += 1
        if len(line) > LINE_LIMIT_BYTES and number > 1:
            raise TooMuch(
                "a line is too long", where=f"{path}, line {number}", why="at most 1 MiB", do="split it"
            )
        if line.strip():
            yield from _records(_json(line), f"line {number}")


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _records(value: Any, place: str) -> Iterator[Found]:
    """Every record within a JSON value."""
    if isinstance(value, list):
        for index, each in enumerate(value, 1):
            yield from _records(each, f"{place}, record {index}")
        return
    if not isinstance(value, dict):
        yield place, "this is no record: it is not a JSON object; a national list needs its profile"
        return
    inside = [name for name in WITHIN if name in value]
    if not inside:
        yield place, value
    for name in inside:
        within = value[name]
        # An answer's `results` are by what was asked for, each a list.
        yield from _records(list(within.values()) if name == "results" else within, place)
