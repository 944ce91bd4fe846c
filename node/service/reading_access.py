"""Questions to the access log: an auditor's, by who, what, when and why; and what is told of reads elsewhere.

Bodies are sealed, so whatever is no time, no kind and no record is looked for by opening them, a bounded
number at a time: a page says where the next one begins, also where it found nothing.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from node.exchange import reads
from node.ledger import moment
from node.ledger.entry import AccessEntry
from node.service import asking, forgetting
from node.service.access_writing import secrets_of
from node.service.asking import Body, Key
from node.service.forgetting import first_since, logs_size
from node.service.parts import Parts
from node.store import access_log, channels, logs, records
from node.store.tables import ACCESS, LEDGER

LOOKED_AT: Final = 5_000
"""Entries that are opened for one page."""
SHOWN: Final = 20
"""Questions of an entry that a list shows."""
STEP: Final = 250

Json = dict[str, Any]
Counted = tuple[str, str, str]
"""Record, kind of read, and the code of the purpose."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What an auditor looks for; what is empty is not looked at. `since` and `until` in milliseconds."""

    caller: str = ""
    identifier: str = ""
    kind: str = ""
    purpose: str = ""
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, entry: AccessEntry) -> bool:
        """Whether an entry is one of those, by what it shows itself."""
        is_late = self.until_ms is not None and entry.time > self.until_ms
        return not is_late and self.kind in ("", entry.kind)

    def takes_body(self, body: Body | None) -> bool:
        """Whether its body is; one that expired is found by what its entry shows alone."""
        if body is None:
            return not (self.caller or self.purpose)
        caller, purpose = body.head.get("caller") or {}, body.head.get("purpose", "")
        is_caller = self.caller in ("", caller.get("token"), caller.get("label"))
        return is_caller and self.purpose.casefold() in purpose.casefold()


def keys_of(parts: Parts, connection: Connection, identifier: str) -> set[Key]:
    """The records with a number, or of this id, and what is kept where the number was not found."""
    found = set(records.carrying(connection, identifier))
    held, secrets = (
        [LEDGER, *(each.log for each in channels.channels(connection))],
        secrets_of(parts, connection),
    )
    meant = found | {(log, identifier) for log in held}
    return {secrets.unfound(identifier)}.union(
        *(forgetting.traces(connection, secrets, log, record_id) for log, record_id in meant)
    )


def page(parts: Parts, connection: Connection, wanted: Filter, before: int | None, limit: int) -> Json:
    """Up to `limit` entries before one, newest first; `next`: where to go on, None at the end."""
    secrets, size = secrets_of(parts, connection), logs_size(connection)
    start = size if before is None else min(before, size)
    found, at, looked_at = list[Json](), start, 0
    first = 0 if wanted.since_ms is None else first_since(connection, wanted.since_ms)
    if wanted.until_ms is not None:
        start = min(start, first_since(connection, wanted.until_ms + 1))
    about = keys_of(parts, connection, wanted.identifier) if wanted.identifier else set()
    for entry, sealed in _backwards(connection, about, start, first):
        at, looked_at = entry.seq, looked_at + 1
        body = asking.unseal(secrets, entry.commit, sealed) if sealed else None
        if wanted.takes(entry) and wanted.takes_body(body):
            found.append(told(connection, entry, body, SHOWN, about))
        if len(found) == limit or looked_at == LOOKED_AT:
            return {"entries": found, "next": at if at > first else None, "size": size}
    return {"entries": found, "next": None, "size": size}


def one(parts: Parts, connection: Connection, seq: int) -> Json | None:
    """One entry with all that is kept of it; None when there is none of this number."""
    if not 0 <= seq < logs_size(connection):
        return None
    [(entry, sealed)] = _entries(connection, range(seq, seq + 1))
    body = asking.unseal(secrets_of(parts, connection), entry.commit, sealed) if sealed else None
    return told(connection, entry, body, None)


def reads_of(parts: Parts, connection: Connection, log: int, start: int, stop: int) -> Counter[Counted]:
    """How often each record of one incoming channel was read, in which way and what for, by these entries.

    For the issuer, where an agreement wants it. Nothing of the caller, nor of what was typed, nor of other
    channels' records is in it.
    """
    wanted = set(access_log.about_log(connection, log, start, stop))
    secrets, counts = secrets_of(parts, connection), Counter[Counted]()
    for at in sorted({seq - seq % STEP for seq in wanted}):
        for entry, sealed in _entries(connection, range(max(at, start), min(at + STEP, stop))):
            if entry.seq not in wanted or sealed is None or entry.kind not in reads.KINDS:
                continue
            body = asking.unseal(secrets, entry.commit, sealed)
            purpose = reads.purpose_code(body.head.get("purpose", ""))
            counts.update((record_id, entry.kind, purpose) for of, record_id in body.about() if of == log)
    return counts


def told(
    connection: Connection,
    entry: AccessEntry,
    body: Body | None,
    shown: int | None,
    about: Collection[Key] = (),
) -> Json:
    """An entry as an auditor reads it, with what is `about` a record first.

    `expired`: its body was removed for its age.
    """
    answer: Json = {"seq": entry.seq, "time": moment.format(entry.time), "kind": entry.kind}
    if body is None:
        return answer | {"expired": True}
    of = channels.by_log(connection)
    questions = sorted(body.questions(), key=lambda each: not set(each[1]) & set(about))
    asked = [
        {"asked": typed, "found": bool(told), "told": [_record(of, key) for key in told]}
        for typed, told in questions[:shown]
    ]
    named = {name: body.head.get(name) for name in ("caller", "purpose", "reference", "detail")}
    gone = sum(1 for _ in body.gone())
    rest = len(questions) - len(asked)
    answer |= {"time": body.head["at"], "expired": False} | {
        name: each for name, each in named.items() if each
    }
    return answer | {"questions": asked, "more": rest, "forgotten": gone}


def _record(of: dict[int, channels.StoredChannel], key: Key) -> Json:
    log, record_id = key
    if log == LEDGER:
        return {"source": "own", "record_id": record_id}
    channel = of.get(log)
    place = {"issuer": channel.issuer, "agreement": channel.agreement} if channel else {}
    return {"source": "mirror", "record_id": record_id, **place}


Found = Iterator[tuple[AccessEntry, bytes | None]]


def _backwards(connection: Connection, about: Collection[Key], start: int, first: int) -> Found:
    """The entries before one, or those of them about some records, newest first, with their bodies."""
    if about:
        seqs = access_log.about(connection, about)
        for seq in reversed([seq for seq in seqs if first <= seq < start]):
            yield from _entries(connection, range(seq, seq + 1))
        return
    for stop in range(start, first, -STEP):
        yield from reversed(list(_entries(connection, range(max(first, stop - STEP), stop))))


def _entries(connection: Connection, seqs: range) -> Found:
    encoded: Sequence[bytes] = logs.entries(connection, ACCESS, seqs.start, seqs.stop)
    sealed = access_log.bodies(connection, seqs.start, seqs.stop)
    for seq, each in zip(seqs, encoded, strict=True):
        yield AccessEntry.decode(each), sealed.get(seq)


def question(connection: Connection, identifier: str) -> list[asking.Question]:
    """How it is recorded that an auditor looked for reads about a number."""
    if not identifier:
        return []
    return [(identifier, sorted(records.carrying(connection, identifier)), False)]
