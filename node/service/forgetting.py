"""What the access log forgets: everything about a record that is erased, and every body that is too old.

The entries stay, and so does what each commits to; an entry of kind `forgotten` or `expired` says which
bodies, or which items of them, are gone, so that `aeo fsck` can tell it from what somebody took away.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from sqlalchemy import Connection

from node.exchange import sealing
from node.exchange.versions import Fields
from node.ledger.entry import AccessEntry
from node.service import asking
from node.service.access_writing import Writing, secrets_of
from node.service.asking import Asked, Key, Made, Secrets, Why
from node.service.parts import Parts
from node.store import access_log, logs, records
from node.store.tables import ACCESS

DAY_MS: Final = 86_400_000
PART: Final = 500
"""Bodies that are removed for their age in one transaction."""
NAMED_LIMIT: Final = 10_000
"""Items that one `forgotten` entry names."""


def forget(
    parts: Parts, connection: Connection, log: int, record_id: str, known: Iterable[Fields] = ()
) -> int:
    """Remove every trace of a record from the access log, within a transaction; gives from how many reads.

    The record as in the index: log 0 for an own one, else the incoming channel. Gone are that it was told,
    what was typed when it was told, and that its numbers or its name were asked for and not found. `known`:
    the fields of all its versions, for those that it had once. What was read before, and comes into the log
    only later, is forgotten then. Who asked, when, why, and what else was told in the same answer stay.
    """
    if access_log.state(connection) is None:
        return 0
    secrets = secrets_of(parts, connection)
    keys = traces(connection, secrets, log, record_id)
    keys |= {key for fields in known for key in _unfound(secrets, fields)}
    access_log.forget(connection, keys, parts.now_ms())
    return remove(parts, connection, secrets, keys)


def traces(connection: Connection, secrets: Secrets, log: int, record_id: str) -> set[Key]:
    """What the access log may hold of a record: itself, and its numbers and name as they were not found."""
    carried, named = records.indexed(connection, log, [record_id])[record_id]
    keys = {(log, record_id), *(secrets.unfound(number) for _, number in carried)}
    return keys | ({secrets.unfound(named[0], is_name=True)} if named else set())


def _unfound(secrets: Secrets, fields: Fields) -> Iterator[Key]:
    """What the access log keeps of the numbers and names of a version where they found nothing."""
    for each in (fields.get("tin"), *(item["value"] for item in fields.get("identifiers", ()))):
        if each:
            yield secrets.unfound(each)
    for each in (fields.get("legal_name"), fields.get("legal_name_latin"), *fields.get("trade_names", ())):
        if each:
            yield secrets.unfound(each, is_name=True)


def remove(
    parts: Parts, connection: Connection, secrets: Secrets, keys: Collection[Key], since: int = 0
) -> int:
    """Remove records, or digests of what was not found, from all bodies from an entry on; gives how many."""
    seqs = access_log.about(connection, keys, since)
    access_log.untell(connection, keys, since)
    gone, count, writing = list[list[int]](), 0, Writing(parts, connection)
    for seq in seqs:
        removed = _without(parts, connection, secrets, seq, keys, writing.seq)
        gone += [[seq, at] for at in removed]
        count += bool(removed)
        if len(gone) >= NAMED_LIMIT:
            writing.append(_said(parts, secrets, "forgotten", {"removed": gone}))
            gone = []
    if gone:
        writing.append(_said(parts, secrets, "forgotten", {"removed": gone}))
    writing.commit()
    return count


def expire(parts: Parts) -> int:
    """Remove the bodies of entries that are older than `access_days`; gives how many."""
    limit_ms = parts.now_ms() - parts.settings.access_days * DAY_MS
    with parts.database.read() as connection:
        before = first_since(connection, limit_ms)
        if not access_log.has_bodies(connection, before):
            return 0
    with parts.database.write(quietly=True) as connection:
        # First it is said, then it is done: if the process dies between, what is gone is accounted for.
        writing, seq = Writing(parts, connection), logs_size(connection)
        writing.append(_said(parts, secrets_of(parts, connection), "expired", {"before": before}))
        writing.commit()
        access_log.set_expired(connection, seq)
    count = 0
    while part := _expire_part(parts, before):
        count += part
    return count


def first_since(connection: Connection, time_ms: int) -> int:
    """The number of the first entry of the access log that is not older than a moment, or of the next one."""
    low, high = 0, logs_size(connection)
    while low < high:
        middle = (low + high) // 2
        if entry_at(connection, middle).time < time_ms:
            low = middle + 1
        else:
            high = middle
    return low


def entry_at(connection: Connection, seq: int) -> AccessEntry:
    """One entry of the access log."""
    [encoded] = logs.entries(connection, ACCESS, seq, seq + 1)
    return AccessEntry.decode(encoded)


def logs_size(connection: Connection) -> int:
    """How many entries the access log has."""
    head = logs.head(connection, ACCESS)
    return head.size if head else 0


def _expire_part(parts: Parts, before: int) -> int:
    with parts.database.write(quietly=True) as connection:
        return access_log.remove_before(connection, before, PART)


def _without(
    parts: Parts, connection: Connection, secrets: Secrets, seq: int, keys: Collection[Key], entry: int
) -> list[int]:
    """Remove items from one body; gives their places. None where the body is gone already."""
    sealed = access_log.bodies(connection, seq, seq + 1).get(seq)
    if sealed is None:
        return []
    commit = entry_at(connection, seq).commit
    body, gone = asking.unseal(secrets, commit, sealed).without(keys, entry)
    nonce = parts.entropy(sealing.NONCE_BYTES)
    access_log.set_body(connection, seq, asking.seal(secrets, commit, body.encode(), nonce))
    return gone


def _said(parts: Parts, secrets: Secrets, kind: str, detail: dict[str, Any]) -> Made:
    """An entry about earlier ones, which names no record."""
    return asking.make(Asked(parts.now_ms(), kind, None, Why(), (), detail), secrets, parts.entropy)
